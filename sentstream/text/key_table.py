"""A hash table in NumPy arrays that maps numbers to their positions in an array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sentstream.errors import BundleSchemaError

_FREE = -1  # an empty entry
_ENTRY_BITS = 63
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(27), np.uint64(0x94D049BB133111EB))
_ALL_BITS = (1 << 64) - 1


class KeyTable:
    """A hash table with open addressing that is built once; Arrow's ``index_in`` builds one per call.

    An entry packs key and id into one number, so that a lookup reads one location.

    Args:
        keys: ``int64[n]``, non-negative.

    Raises:
        BundleSchemaError: A key repeats, or there are too many words and pairs for 63 bits.
    """

    def __init__(self, keys: npt.NDArray[np.int64]) -> None:
        bits = max(1, (4 * len(keys)).bit_length())  # an eighth to a quarter full
        self._shift, self._mask = np.uint64(64 - bits), (1 << bits) - 1
        self._id_bits = len(keys).bit_length()
        if int(keys.max(initial=0)).bit_length() + self._id_bits > _ENTRY_BITS:
            raise BundleSchemaError(f"{len(keys):,} pairs are too many for this number of words")
        self._entries = np.full(1 << bits, _FREE, np.int64)
        new = (keys << self._id_bits) + np.arange(1, len(keys) + 1)
        left, home = np.arange(len(keys)), self._home(keys)
        while len(left):
            free = self._entries[home] == _FREE
            self._entries[home[free]] = new[left[free]]  # if several keys compete for a slot, one gets it
            entries = self._entries[home]
            if ((entries != new[left]) & (entries >> self._id_bits == keys[left])).any():
                raise BundleSchemaError("the vocabulary repeats a word pair")
            waits = entries != new[left]
            left, home = left[waits], (home[waits] + 1) & self._mask

    def _home(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The first slot for each key, mixed as in SplitMix64 because keys are often consecutive."""
        mixed = keys.view(np.uint64) * _MIX[0]
        mixed ^= mixed >> _MIX[1]
        mixed *= _MIX[2]
        return (mixed >> self._shift).view(np.int64)

    def find(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """``int32[keys]``: each key's position in the table's keys plus one; 0 if it is not there."""
        home = self._home(keys)
        found = self._entries.take(home)
        ids: npt.NDArray[np.int32] = found.astype(np.int32) & np.int32((1 << self._id_bits) - 1)
        same = found >> self._id_bits == keys
        ids *= same
        left = (~same & (found != _FREE)).nonzero()[0]  # few: displaced by other keys, or missing
        home = home[left]
        while len(left):
            home = (home + 1) & self._mask
            found = self._entries[home]
            same = found >> self._id_bits == keys[left]
            ids[left[same]] = found[same] & ((1 << self._id_bits) - 1)
            on = ~same & (found != _FREE)
            left, home = left[on], home[on]
        return ids

    def find_few(self, keys: Sequence[int]) -> list[int]:
        """The same as ``find``, for a few keys, one by one in Python."""
        (first, shift, second), far = map(int, _MIX), int(self._shift)
        entry_at, id_bits, mask = self._entries.item, self._id_bits, self._mask
        found = []
        for key in keys:
            mixed = key * first & _ALL_BITS
            home = ((mixed ^ (mixed >> shift)) * second & _ALL_BITS) >> far
            entry = entry_at(home)
            while entry >> id_bits != key and entry != _FREE:
                home = (home + 1) & mask
                entry = entry_at(home)
            found.append(0 if entry == _FREE else entry & ((1 << id_bits) - 1))
        return found
