"""Sums by key, collected portion by portion; used for words, groups, times and texts."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: ``int64`` or ``float64``, ``[keys, columns]``; integers up to 2**53 are exact in both.
Sums: TypeAlias = npt.NDArray[Any]


class KeyedSums:
    """A row of sums for each distinct key.

    Args:
        kind: The type of the keys; null is a key like any other.
        columns: Number of sums per key.
        dtype: The type of the sums.
        merge_at: Number of pending keys that triggers a merge; affects memory, not results.

    >>> sums = KeyedSums(pa.string(), 2)
    >>> sums.add(pa.array(["a", "b"]), np.array([[1, 0], [0, 1]]))
    False
    >>> sums.add(pa.array(["b"]), np.array([[5, 5]]))
    False
    >>> sums.merged()[0].to_pylist(), sums.merged()[1].tolist()
    (['a', 'b'], [[1, 0], [5, 6]])
    """

    def __init__(
        self, kind: pa.DataType, columns: int, *, dtype: npt.DTypeLike = np.int64, merge_at: int = 1_500_000
    ) -> None:
        self.columns, self._dtype, self._merge_at = columns, dtype, merge_at
        self._keys: list[pa.Array] = [pa.array([], kind)]
        self._sums: list[Sums] = [np.zeros((0, columns), dtype)]

    def add(self, keys: pa.Array, sums: Sums) -> bool:
        """Add a portion.

        Args:
            keys: The keys; they need not be distinct.
            sums: ``[keys, columns]``.

        Returns:
            Whether this triggered a merge, so that ``known`` is up to date.
        """
        self._keys.append(keys)
        self._sums.append(sums.astype(self._dtype, copy=False))
        if sum(map(len, self._keys[1:])) > self._merge_at:
            self.merged()
            return True
        return False

    @property
    def known(self) -> int:
        """Number of distinct keys as of the last merge, without pending ones."""
        return len(self._keys[0])

    def merged(self) -> tuple[pa.Array, Sums]:
        """The distinct keys in order of first occurrence, and their sums, ``[keys, columns]``."""
        if len(self._keys) > 1:
            encoded = pa.concat_arrays(self._keys).dictionary_encode(null_encoding="encode")
            codes, given = encoded.indices.to_numpy(), np.concatenate(self._sums)
            sums = [np.bincount(codes, column, len(encoded.dictionary)) for column in given.T]
            self._keys = [encoded.dictionary]
            self._sums = [np.stack(sums, axis=1).astype(self._dtype)]
        return self._keys[0], self._sums[0]

    def replace(self, keys: pa.Array, sums: Sums) -> None:
        """Replace all keys and sums."""
        self._keys, self._sums = [keys], [sums]
