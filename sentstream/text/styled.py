"""Styled letters -> plain letters: "ｌｏｖｅ", "𝓵𝓸𝓿𝓮", "ⓛⓞⓥⓔ" and "🄻🄾🅅🄴" are read as words.

A character is folded if NFKC maps it to one ASCII character and it is full-width (U+FF01 to U+FF5E), a
mathematical letter or digit (U+1D400 to U+1D7FF, and the similar ones in U+2100 to U+214F), a circled letter
(U+24B6 to U+24E9) or a squared one (U+1F130 to U+1F149). The rest of NFKC is not applied: it would turn ™
into "TM", ½ into "1⁄2" and ² into "2", and rewrite other scripts. The emoji Ⓜ and ℹ are not folded either.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]

_UPPER, _LOWER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz"
#: The first code point of a run, and what it and its successors stand for; 0 for those not folded.
_RUNS = (
    (0x2102, b"C"),  # letters that are missing from the mathematical alphabets because these came first
    (0x210A, b"gHHHh"),
    (0x2110, b"IILl"),
    (0x2115, b"N"),
    (0x2119, b"PQRRR"),
    (0x2124, b"Z"),
    (0x2128, b"Z"),
    (0x212C, b"BC"),
    (0x212F, b"eEF"),
    (0x2133, b"Mo"),
    (0x2145, b"Ddeij"),
    (0x24B6, _UPPER.replace(b"M", b"\x00") + _LOWER),
    (0xFF01, bytes(range(0x21, 0x7F))),
    (0x1D400, 13 * (_UPPER + _LOWER)),  # bold, italic, script … monospace
    (0x1D7CE, 5 * b"0123456789"),
    (0x1F130, _UPPER),
)
#: The lowest first byte of a folded character; the number of code points whose first byte is at most 0xF0.
_LEAST, _MOST = 0xE2, 0x40000


@cache
def plain_letters() -> Bytes:
    """``uint8[0x40000]``: the ASCII character that each code point stands for, 0 if it is not folded.

    >>> chr(plain_letters()[ord("𝓵")])
    'l'
    """
    table = np.zeros(_MOST, np.uint8)
    for first, letters in _RUNS:
        table[first : first + len(letters)] = np.frombuffer(letters, np.uint8)
    return table


def fold(data: Bytes, offsets: Offsets) -> tuple[Bytes, Offsets, Offsets | None]:
    """Replace styled letters with plain ones.

    Args:
        data: Valid UTF-8.
        offsets: ``int64[rows + 1]``, the start of each row.

    Returns:
        The new bytes and row offsets; and ``int64[bytes]``, the index in ``data`` that each byte comes from,
        or None if nothing was folded.
    """
    positions = (data >= _LEAST).nonzero()[0]
    if not len(positions):
        return data, offsets, None
    lead = data[positions].astype(np.int32)
    second, third, fourth = (
        data[np.minimum(positions + shift, len(data) - 1)].astype(np.int32) & 0x3F for shift in (1, 2, 3)
    )
    code = np.where(
        lead < 0xF0, (lead & 0x0F) << 12 | second << 6 | third, second << 12 | third << 6 | fourth
    )
    plain = plain_letters()[np.where(lead > 0xF0, 0, code)]
    has_fold = plain > 0
    positions, plain, lead = positions[has_fold], plain[has_fold], lead[has_fold]
    if not len(positions):
        return data, offsets, None
    folded = data.copy()
    folded[positions] = plain
    keep = np.ones(len(data), np.bool_)
    keep[positions + 1] = keep[positions + 2] = False
    keep[positions[lead == 0xF0] + 3] = False
    origins = keep.nonzero()[0]
    return folded[origins], np.searchsorted(origins, offsets), origins
