"""Emoji of several code points -> one token each: families, flags, keycaps (Unicode Technical Standard 51).

Variation selectors and skin tones are already removed, as in rules before version 3: "👍🏽" is "👍".
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

JOINER, KEYCAP = "\u200d".encode(), "\u20e3".encode()
#: Maximum size in bytes of sequences that are checked for repeats; the longest recommended one has 35.
_LONGEST = 64


def begins_with(data: Bytes, positions: Offsets, text: bytes) -> Flags:
    """Whether the data at each place begins with these bytes: a character, or a prefix of several."""
    found: Flags = data[positions] == text[0]
    for shift, byte in enumerate(text[1:], 1):
        found &= _after(data, positions, shift) == byte
    return found


def _after(data: Bytes, positions: Offsets, shift: int) -> Bytes:
    return data[np.minimum(positions + shift, len(data) - 1)]


def skip_back(data: Bytes, positions: Offsets) -> Offsets:
    """The last byte before each place, skipping variation selectors and skin tones; -1 if there is none."""
    positions = positions - 1
    for _ in range(2):
        last, third, second, first = (data[np.maximum(positions - shift, 0)] for shift in range(4))
        selector = (last < 0x90) & (third == 0xB8) & (second == 0xEF)
        tone = (last >= 0xBB) & (third == 0x8F) & (second == 0x9F) & (first == 0xF0)
        positions = np.maximum(positions - 3 * selector - 4 * tone, -1)
    return positions


def join(data: Bytes, leads: Offsets, begins_row: Flags, limit: int) -> tuple[Offsets, Offsets, Offsets]:
    """Find symbols that continue the token before them, and tokens repeated too often in succession.

    Args:
        data: The bytes of some rows, without variation selectors, skin tones and joiners that join nothing.
        leads: The start of each symbol, including the base of a keycap.
        begins_row: Which symbols are the first of their row.
        limit: Maximum number of equal tokens in succession; 0 is no limit.

    Returns:
        The starts of symbols that continue the token before them; the starts and ends of surplus tokens.
    """
    first = data[leads]
    sizes = np.where(first >= 0xF0, 4, np.where(first >= 0xE0, 3, np.where(first < 0x80, 1, 2)))
    touches = np.zeros(len(leads), np.bool_)
    touches[1:] = (leads[1:] == leads[:-1] + sizes[:-1]) & ~begins_row[1:]
    joiner = begins_with(data, leads, JOINER)
    continues = joiner.copy()
    continues[1:] |= joiner[:-1]
    continues[1:] |= begins_with(data, leads[1:], KEYCAP) & (first[:-1] < 0x80)
    letters = begins_with(data, leads, b"\xf0\x9f\x87") & (_after(data, leads, 3) >= 0xA6)
    second = letters & touches
    second[1:] &= letters[:-1]
    # In a run of regional indicator letters, every second one ends a flag.
    order = np.arange(len(leads))
    second &= (order - np.maximum.accumulate(np.where(second, 0, order))) % 2 == 1
    continues = (continues & touches) | second
    tokens = (~continues).nonzero()[0]
    lasts = np.append(tokens[1:], len(leads))[: len(tokens)] - 1
    starts, ends = leads[tokens], leads[lasts] + sizes[lasts]
    again = _repeats(data, starts, ends - starts, touches[tokens], limit) if limit else tokens[:0]
    return leads[continues], starts[again], ends[again]


def _repeats(data: Bytes, starts: Offsets, sizes: Offsets, touches: Flags, limit: int) -> Offsets:
    """The indices of tokens that repeat their predecessors beyond the limit."""
    same = touches & (sizes <= _LONGEST)
    same[1:] &= sizes[1:] == sizes[:-1]
    positions = same.nonzero()[0]
    for shift in range(int(sizes[positions].max(initial=0))):
        index = np.minimum(shift, sizes[positions] - 1)
        positions = positions[data[starts[positions] + index] == data[starts[positions - 1] + index]]
    order = np.arange(len(positions))
    fresh = np.ones(len(positions), np.bool_)
    fresh[1:] = np.diff(positions) != 1
    return positions[order - np.maximum.accumulate(np.where(fresh, order, 0)) + 1 >= limit]


def find_sequences(data: Bytes, starts: Offsets, sizes: Offsets) -> tuple[Offsets, Offsets]:
    """The indices of tokens that are emoji of several code points, and the size in bytes of the first one."""
    long = (sizes > 3).nonzero()[0]
    positions = starts[long]
    first = np.where(data[positions] < 0x80, 1, np.where(data[positions] < 0xF0, 3, 4))
    picture = begins_with(data, positions, b"\xf0\x9f") | (
        (data[positions] == 0xE2) & (_after(data, positions, 1) < 0xB0)
    )
    keycap = (first == 1) & begins_with(data, positions + 1, KEYCAP)
    found = (picture & (sizes[long] > first)) | keycap
    return long[found], first[found]
