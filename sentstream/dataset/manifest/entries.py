"""A compact mapping of outputs to their entries, stored as the lines of the manifest."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from sentstream.dataset.manifest.records import Entry, entry_of, output_of
from sentstream.packed import Packed


class Entries(Mapping[str, Entry]):
    """The last entry of each output; entries of complete outputs take precedence."""

    def __init__(self) -> None:
        self._lines: Packed[bytes] = Packed()
        self._hashes, self._whole = array("q"), array("b")
        self._sorted: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None

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
        line = self.line(name)
        if line is None:
            raise KeyError(name)
        return entry_of(line)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._index(name) is not None

    def __iter__(self) -> Iterator[str]:
        hashes, _ = self._by_hash()
        again = bool(np.any(hashes[1:] == hashes[:-1]))
        for index, name in enumerate(map(output_of, self._lines)):
            if not again or self._index(name) == index:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _index(self, name: str) -> int | None:
        """Return the index of the line that counts for an output; None if there is none."""
        hashes, indices = self._by_hash()
        at = int(np.searchsorted(hashes, hash(name), "right")) - 1
        while at >= 0 and int(hashes[at]) == hash(name):
            index = int(indices[at])
            if output_of(self._lines[index]) == name:
                return index
            at -= 1
        return None

    def _by_hash(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the sorted hashes of the names, and the index of each one's line; the last one counts."""
        if self._sorted is None:
            hashes = np.array(self._hashes, np.int64)
            indices = np.lexsort((np.array(self._whole), hashes))  # lexsort is stable
            self._sorted = hashes[indices], indices
        return self._sorted
