"""A compact mapping of outputs to their entries, stored as the lines of the manifest."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from operator import eq

import numpy as np

from sentstream.dataset.manifest.records import Entry, entry_of, output_of
from sentstream.packed import Packed


class Entries(Mapping[str, Entry]):
    """The last entry of each output; entries of complete outputs take precedence."""

    def __init__(self) -> None:
        self._lines: Packed[bytes] = Packed()
        self._hashes, self._whole = array("q"), array("b")
        self._sorted: tuple[memoryview[int], memoryview[int]] | None = None

    def add(self, entry: Entry, line: bytes) -> None:
        """Add an entry, with its line."""
        self._lines.append(line)
        self._hashes.append(hash(entry.output))
        self._whole.append(entry.state == "done")
        self._sorted = None

    def line(self, name: str) -> bytes | None:
        """Return the line of an output's entry; None if there is none."""
        index = self._index(name)
        return None if index is None else self._lines[index]

    def __getitem__(self, name: str) -> Entry:
        for index in self._candidates(name):
            entry = entry_of(self._lines[index])
            if entry.output == name:
                return entry
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._index(name) is not None

    def __iter__(self) -> Iterator[str]:
        hashes, _ = self._by_hash()
        again = any(map(eq, hashes, hashes[1:]))
        for index, name in enumerate(map(output_of, self._lines)):
            if not again or self._index(name) == index:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _index(self, name: str) -> int | None:
        """Return the index of the line that counts for an output; None if there is none."""
        return next((one for one in self._candidates(name) if output_of(self._lines[one]) == name), None)

    def _candidates(self, name: str) -> Iterator[int]:
        """Yield the indices of the lines whose names have the same hash; the first one of a name counts."""
        hashes, indices = self._by_hash()
        at = bisect_right(hashes, hash(name)) - 1
        while at >= 0 and hashes[at] == hash(name):
            yield indices[at]
            at -= 1

    def _by_hash(self) -> tuple[memoryview[int], memoryview[int]]:
        """Return the sorted hashes of the names, and the index of each one's line; the last one counts."""
        if self._sorted is None:
            hashes = np.array(self._hashes, np.int64)
            indices = np.lexsort((np.array(self._whole), hashes))  # lexsort is stable
            # As memory views, since looking up a single value in an array takes longer.
            self._sorted = hashes[indices].data, indices.data
        return self._sorted
