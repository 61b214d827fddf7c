"""A random sample of texts in bounded memory, for any number and order of texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sentstream.analyze.cells import Ints
from sentstream.analyze.keys import mix

#: Maximum size of a sample.
_MOST_ROWS, _MOST_BYTES = 200_000, 64 << 20


class TextSample:
    """Keeps each row with the same probability, which is halved whenever the sample becomes too large.

    The selection is a function of the row number, so the same rows give the same sample.

    Args:
        most_rows: Maximum number of rows in the sample.
    """

    def __init__(self, most_rows: int = _MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._rows = self._halvings = 0
        self._texts: list[pa.Array] = []
        self._labels: list[Ints] = []
        self._chances: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []

    def add(self, texts: pa.Array, label: Ints) -> None:
        """Sample from some rows.

        Args:
            texts: ``large_string`` without nulls.
            label: ``int64[rows]``.
        """
        chances = mix(np.arange(self._rows, self._rows + len(texts), dtype=np.uint64) + np.uint64(1))
        self._rows += len(texts)
        self._texts.append(texts)
        self._labels.append(label)
        self._chances.append(chances)
        if self._halvings:
            self._keep(len(self._texts) - 1)
        while sum(map(len, self._texts)) > self._most_rows or self._bytes() > _MOST_BYTES:
            self._halvings += 1
            for index in range(len(self._texts)):
                self._keep(index)
            self._texts = [pa.concat_arrays(self._texts)]
            self._labels = [np.concatenate(self._labels)]
            self._chances = [np.concatenate(self._chances)]

    def _bytes(self) -> int:
        return sum(int(texts.nbytes) for texts in self._texts)

    def _keep(self, index: int) -> None:
        """Reduce a portion to the rows that are still selected."""
        kept = self._chances[index] >> np.uint64(64 - self._halvings) == 0
        self._texts[index] = self._texts[index].filter(pa.array(kept))
        self._labels[index] = self._labels[index][kept]
        self._chances[index] = self._chances[index][kept]

    def drawn(self) -> tuple[pa.Array, Ints]:
        """The sampled texts in order, and their labels."""
        if not self._texts:
            return pa.array([], pa.large_string()), np.zeros(0, np.int64)
        return pa.concat_arrays(self._texts), np.concatenate(self._labels)
