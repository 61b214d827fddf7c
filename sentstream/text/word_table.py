"""Where each of many words stands in a vocabulary: a hash table over the bytes that Arrow stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Places: TypeAlias = npt.NDArray[np.int32 | np.int64]
Numbers: TypeAlias = npt.NDArray[np.uint64]

_FREE = -1  # no word's slot
_STEP = 8  # bytes that are looked at together, as one number
#: What is left of such a number, where a word ends within it: 0 to 8 bytes.
_KEPT = np.array([(1 << 8 * count) - 1 for count in range(_STEP + 1)], np.uint64)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(0xD6E8FEB86659FD93))


@dataclass(frozen=True)
class _Words:
    """Words as Arrow has them, to be read in steps of eight bytes.

    Attributes:
        numbers: The number that begins at each byte, little-endian.
        starts: The byte at which each word begins.
        lengths: Its bytes.
    """

    numbers: Numbers
    starts: Places
    lengths: Places

    @classmethod
    def of(cls, words: pa.StringArray) -> _Words:
        """Those of an array without nulls."""
        _, ends, data = words.buffers()
        offsets = np.frombuffer(ends, np.int32)[words.offset : words.offset + len(words) + 1].astype(np.int64)
        first, last = int(offsets[0]), int(offsets[-1])
        padded = np.zeros(last - first + _STEP, np.uint8)
        if last > first:
            padded[: last - first] = np.frombuffer(data, np.uint8)[first:last]
        numbers = np.ndarray((len(padded) - _STEP + 1,), "<u8", padded, strides=(1,))
        return cls(numbers, offsets[:-1] - first, np.diff(offsets))

    def step(self, some: Places | slice, number: int) -> Numbers:
        """The eight bytes of some words from ``8 * number`` on, zero where the word has ended."""
        start, left = self.starts[some] + _STEP * number, self.lengths[some] - _STEP * number
        found: Numbers = self.numbers[start] & _KEPT[np.minimum(left, _STEP)]
        return found


class WordTable:
    """A hash table with open addressing that is built once; Arrow's ``index_in`` builds one a call.

    >>> WordTable(pa.array(["<pad>", "good", "marvelous"])).find(pa.array(["marvelous", "bad"])).tolist()
    [2, -1]

    Args:
        words: Without nulls, and each once.
    """

    def __init__(self, words: pa.StringArray) -> None:
        self._words = known = _Words.of(words)
        self._longest = int(known.lengths.max(initial=0))
        hashes, self._firsts = _hashes(known)
        bits = max(1, (4 * len(words)).bit_length())  # an eighth to a quarter full
        self._shift, self._mask = np.uint64(64 - bits), (1 << bits) - 1
        self._slots = np.full(1 << bits, _FREE, np.int32)
        left, at = np.arange(len(words)), self._home(hashes)
        while len(left):
            free = self._slots[at] == _FREE
            self._slots[at[free]] = left[free]  # of several that want a slot, one gets it
            waits = self._slots[at] != left
            left, at = left[waits], (at[waits] + 1) & self._mask

    def _home(self, hashes: Numbers) -> Places:
        return ((hashes * _MIX[2]) >> self._shift).view(np.int64)

    def find(self, words: pa.StringArray) -> npt.NDArray[np.int32]:
        """``int32[words]``: the place of each among those of the table, -1 where it is not."""
        asked, fits = _Words.of(words), None
        if not len(self._firsts):
            return np.full(len(words), _FREE, np.int32)
        if int(asked.lengths.max(initial=0)) > self._longest:  # such a word may be a megabyte: not read
            fits = (asked.lengths <= self._longest).nonzero()[0]
            asked = _Words(asked.numbers, asked.starts[fits], asked.lengths[fits])
        hashes, firsts = _hashes(asked)
        at = self._home(hashes)
        there = self._slots.take(at)
        same = self._same(there, firsts, asked, np.arange(len(at)))
        ids = np.where(same, there, np.int32(_FREE))
        left = (~same & (there != _FREE)).nonzero()[0]  # few: they stand behind others, or nowhere
        while len(left):
            at[left] = (at[left] + 1) & self._mask
            there = self._slots[at[left]]
            same = self._same(there, firsts[left], asked, left)
            ids[left[same]] = there[same]
            left = left[~same & (there != _FREE)]
        if fits is None:
            return ids
        found = np.full(len(words), _FREE, np.int32)
        found[fits] = ids
        return found

    def _same(self, there: Places, firsts: Numbers, asked: _Words, places: Places) -> npt.NDArray[np.bool_]:
        """Whether what stands in a slot is the word that is asked for; no word stands in a free one."""
        lengths = asked.lengths.take(places)
        same: npt.NDArray[np.bool_] = self._firsts.take(there) == firsts
        same &= self._words.lengths.take(there) == lengths
        same &= there != _FREE
        long = (same & (lengths > _STEP)).nonzero()[0]
        same[long] = self._equal(there[long].astype(np.int64), asked, places[long])
        return same

    def _equal(self, known: Places, asked: _Words, places: Places) -> npt.NDArray[np.bool_]:
        """Whether words of the same length, whose first eight bytes are the same, are so to their ends."""
        equal = np.ones(len(places), np.bool_)
        left, number = np.arange(len(places)), 1
        while len(left):
            equal[left] &= self._words.step(known[left], number) == asked.step(places[left], number)
            number += 1
            left = left[asked.lengths[places[left]] > _STEP * number]
        return equal


def _hashes(words: _Words) -> tuple[Numbers, Numbers]:
    """A hash of each word, and the number that its first eight bytes are."""
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
