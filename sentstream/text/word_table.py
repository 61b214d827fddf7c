"""A hash table that maps words to their positions in a vocabulary, on the bytes that Arrow stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions: TypeAlias = npt.NDArray[np.int32 | np.int64]
Numbers: TypeAlias = npt.NDArray[np.uint64]

_FREE = -1  # an empty slot
_STEP = 8  # bytes that are processed together, as one number
#: Masks for such a number if only 0 to 8 of its bytes belong to the word.
_KEPT = np.array([(1 << 8 * count) - 1 for count in range(_STEP + 1)], np.uint64)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(0xD6E8FEB86659FD93))


@dataclass(frozen=True)
class _Words:
    """The words of an Arrow array, for reading eight bytes at a time.

    Attributes:
        numbers: For each byte, the little-endian number that starts there.
        starts: The first byte of each word.
        lengths: The length of each word in bytes.
    """

    numbers: Numbers
    starts: Positions
    lengths: Positions

    @classmethod
    def of(cls, words: pa.StringArray) -> _Words:
        """The words of an array without nulls."""
        _, ends, data = words.buffers()
        offsets = np.frombuffer(ends, np.int32)[words.offset : words.offset + len(words) + 1].astype(np.int64)
        first, last = int(offsets[0]), int(offsets[-1])
        padded = np.zeros(last - first + _STEP, np.uint8)
        if last > first:
            padded[: last - first] = np.frombuffer(data, np.uint8)[first:last]
        numbers = np.ndarray((len(padded) - _STEP + 1,), "<u8", padded, strides=(1,))
        return cls(numbers, offsets[:-1] - first, np.diff(offsets))

    def step(self, some: Positions | slice, number: int) -> Numbers:
        """Eight bytes of some words, from byte ``8 * number`` on; zero past the end of a word."""
        start, left = self.starts[some] + _STEP * number, self.lengths[some] - _STEP * number
        chunk: Numbers = self.numbers[start] & _KEPT[np.minimum(left, _STEP)]
        return chunk


class WordTable:
    """A hash table with open addressing that is built once; Arrow's ``index_in`` builds one per call.

    >>> WordTable(pa.array(["<pad>", "good", "marvelous"])).find(pa.array(["marvelous", "bad"])).tolist()
    [2, -1]

    Args:
        words: The vocabulary, without nulls and duplicates.
    """

    def __init__(self, words: pa.StringArray) -> None:
        self._words = known = _Words.of(words)
        self._longest = int(known.lengths.max(initial=0))
        hashes, self._firsts = _hashes(known)
        bits = max(1, (4 * len(words)).bit_length())  # an eighth to a quarter full
        self._shift, self._mask = np.uint64(64 - bits), (1 << bits) - 1
        self._slots = np.full(1 << bits, _FREE, np.int32)
        left, home = np.arange(len(words)), self._home(hashes)
        while len(left):
            free = self._slots[home] == _FREE
            self._slots[home[free]] = left[free]  # if several words compete for a slot, one gets it
            waits = self._slots[home] != left
            left, home = left[waits], (home[waits] + 1) & self._mask

    def _home(self, hashes: Numbers) -> Positions:
        return ((hashes * _MIX[2]) >> self._shift).view(np.int64)

    def find(self, words: pa.StringArray) -> npt.NDArray[np.int32]:
        """``int32[words]``: each word's position in the table's words; -1 if it is not there."""
        asked, fits = _Words.of(words), None
        if not len(self._firsts):
            return np.full(len(words), _FREE, np.int32)
        if int(asked.lengths.max(initial=0)) > self._longest:  # may be a megabyte: skip them
            fits = (asked.lengths <= self._longest).nonzero()[0]
            asked = _Words(asked.numbers, asked.starts[fits], asked.lengths[fits])
        hashes, firsts = _hashes(asked)
        home = self._home(hashes)
        slots = self._slots.take(home)
        same = self._same(slots, firsts, asked, np.arange(len(home)))
        ids = np.where(same, slots, np.int32(_FREE))
        left = (~same & (slots != _FREE)).nonzero()[0]  # few: displaced by other words, or missing
        while len(left):
            home[left] = (home[left] + 1) & self._mask
            slots = self._slots[home[left]]
            same = self._same(slots, firsts[left], asked, left)
            ids[left[same]] = slots[same]
            left = left[~same & (slots != _FREE)]
        if fits is None:
            return ids
        found = np.full(len(words), _FREE, np.int32)
        found[fits] = ids
        return found

    def _same(
        self, slots: Positions, firsts: Numbers, asked: _Words, indices: Positions
    ) -> npt.NDArray[np.bool_]:
        """Whether each slot holds the requested word; False for an empty slot."""
        lengths = asked.lengths.take(indices)
        same: npt.NDArray[np.bool_] = self._firsts.take(slots) == firsts
        same &= self._words.lengths.take(slots) == lengths
        same &= slots != _FREE
        long = (same & (lengths > _STEP)).nonzero()[0]
        same[long] = self._equal(slots[long].astype(np.int64), asked, indices[long])
        return same

    def _equal(self, known: Positions, asked: _Words, indices: Positions) -> npt.NDArray[np.bool_]:
        """Whether words with equal lengths and equal first eight bytes are equal."""
        equal = np.ones(len(indices), np.bool_)
        left, number = np.arange(len(indices)), 1
        while len(left):
            equal[left] &= self._words.step(known[left], number) == asked.step(indices[left], number)
            number += 1
            left = left[asked.lengths[indices[left]] > _STEP * number]
        return equal


def _hashes(words: _Words) -> tuple[Numbers, Numbers]:
    """A hash of each word, and its first eight bytes as a number."""
    firsts = words.step(slice(None), 0)
    hashes = (firsts ^ (firsts >> _MIX[1])) * _MIX[0] + words.lengths.view(np.uint64)
    left, number = (words.lengths > _STEP).nonzero()[0], 1
    while len(left):
        mixed = hashes[left] ^ words.step(left, number)
        hashes[left] = (mixed ^ (mixed >> _MIX[1])) * _MIX[0]
        number += 1
        left = left[words.lengths[left] > _STEP * number]
    hashes ^= hashes >> _MIX[1]
    return hashes, firsts
