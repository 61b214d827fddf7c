"""Letters in disguise -> plain ones: "ｌｏｖｅ", "𝓵𝓸𝓿𝓮", "ⓛⓞⓥⓔ" and "🄻🄾🅅🄴" are read as words.

What is folded stands for one character of ASCII by NFKC and is full-width (U+FF01 to U+FF5E), of the
mathematical letters and digits (U+1D400 to U+1D7FF) and those of their kind in U+2100 to U+214F, a circled
letter (U+24B6 to U+24E9) or a squared one (U+1F130 to U+1F149). The rest of NFKC is left alone: it would make
"TM" of ™, "1⁄2" of ½ and "2" of ², and rewrite other scripts. So are two of these that are emoji, Ⓜ and ℹ.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]

_UPPER, _LOWER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz"
#: The first code point of a run, and what it and those after it stand for; 0 for those that stay.
_RUNS = (
    (0x2102, b"C"),  # letters that were here before the mathematical alphabets, which lack them
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
#: The first byte of the least of them, and the code points that four bytes from 0xF0 on can say.
_LEAST, _MOST = 0xE2, 0x40000


@cache
def plain_letters() -> Bytes:
    """``uint8[code points below 0x40000]``: the ASCII that each stands for, 0 for one that stays.

    >>> chr(plain_letters()[ord("𝓵")])
    'l'
    """
    table = np.zeros(_MOST, np.uint8)
    for first, letters in _RUNS:
        table[first : first + len(letters)] = np.frombuffer(letters, np.uint8)
    return table


def fold(data: Bytes, offsets: Offsets) -> tuple[Bytes, Offsets, Offsets | None]:
    """Write plain letters in the place of those in disguise.

    Args:
        data: Valid UTF-8.
        offsets: ``int64[rows + 1]``, where each row begins.

    Returns:
        The bytes and where each row begins; and ``int64[bytes]``, which byte of ``data`` each comes from,
        None where nothing was folded.
    """
    at = (data >= _LEAST).nonzero()[0]
    if not len(at):
        return data, offsets, None
    lead = data[at].astype(np.int32)
    second, third, fourth = (
        data[np.minimum(at + shift, len(data) - 1)].astype(np.int32) & 0x3F for shift in (1, 2, 3)
    )
    code = np.where(
        lead < 0xF0, (lead & 0x0F) << 12 | second << 6 | third, second << 12 | third << 6 | fourth
    )
    plain = plain_letters()[np.where(lead > 0xF0, 0, code)]
    found = plain > 0
    at, plain, lead = at[found], plain[found], lead[found]
    if not len(at):
        return data, offsets, None
    folded = data.copy()
    folded[at] = plain
    keep = np.ones(len(data), np.bool_)
    keep[at + 1] = keep[at + 2] = False
    keep[at[lead == 0xF0] + 3] = False
    origins = keep.nonzero()[0]
    return folded[origins], np.searchsorted(origins, offsets), origins
