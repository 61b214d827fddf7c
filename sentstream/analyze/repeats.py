"""Count repeated texts in bounded memory: exact for few texts, from a sample for many.

Texts are sampled by a key of the text, so either all rows of a text are in the sample or none, and results
generalize to all rows (Gibbons 2001, "Distinct sampling"). When the sample becomes too large, half of it is
dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sentstream.analyze.keyed_sums import KeyedSums
from sentstream.analyze.keys import Keys, rough_keys, text_keys

#: Maximum number of distinct texts and of rows in the sample.
_MOST_TEXTS, _MOST_ROWS = 200_000, 600_000
#: Rows whose keys are computed at once; this takes nine times the bytes of their texts.
_ROWS_AT_ONCE = 16_384
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Repeats:
    """How often texts repeat.

    Attributes:
        distinct: Number of distinct texts.
        repeated: Number of rows whose text occurred in an earlier row.
        most: Number of rows of the most frequent text in the sample.
        sampled: The sampled share of the texts; 1 if the counts are exact.
    """

    distinct: int
    repeated: int
    most: int
    sampled: float


class TextRepeats:
    """Counts repeats of texts, portion by portion."""

    def __init__(self) -> None:
        self._sums = KeyedSums(pa.uint64(), 1, merge_at=_MOST_TEXTS)
        self._halvings = self._rows = self._drawn = 0

    def add(self, texts: pa.Array) -> None:
        """Count some texts.

        Args:
            texts: ``string`` or ``large_string`` without nulls.
        """
        self._rows += len(texts)
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            self._add(texts.slice(start, _ROWS_AT_ONCE))

    def _add(self, texts: pa.Array) -> None:
        rough = rough_keys(texts)
        if self._halvings:
            kept = self._is_drawn(rough)
            texts, rough = texts.filter(pa.array(kept)), rough[kept]
        # The upper bits select the sample; the lower bits distinguish texts with the same rough key.
        keys = (rough & ~_LOW) | (text_keys(texts) & _LOW)
        self._drawn += len(keys)
        self._sums.add(pa.array(keys), np.ones((len(keys), 1), np.int64))
        self._shrink()

    def _is_drawn(self, keys: Keys) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.asarray(keys >> np.uint64(64 - self._halvings) == 0)

    def _shrink(self) -> None:
        while self._drawn > _MOST_ROWS or self._sums.known > _MOST_TEXTS:
            keys, counts = self._sums.merged()
            self._halvings += 1
            kept = self._is_drawn(keys.to_numpy())
            self._sums.replace(keys.filter(pa.array(kept)), counts[kept])
            self._drawn = int(counts[kept].sum())

    def repeats(self) -> Repeats:
        """The counts for all texts; estimates if they were sampled."""
        _, counts = self._sums.merged()
        drawn = int(counts.sum())
        if not drawn:
            return Repeats(0, 0, 0, 1.0)
        # Scaled by rows, not by powers of two, because the size of the sample is random, too.
        distinct = round(self._rows * len(counts) / drawn) if self._halvings else len(counts)
        return Repeats(distinct, self._rows - distinct, int(counts.max()), 0.5**self._halvings)
