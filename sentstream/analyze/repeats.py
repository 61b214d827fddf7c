"""How many texts are repeats of others, in bounded memory: exactly while they are few, then from a sample.

Texts are drawn by a key of their own, so that of a text all rows are drawn or none, and what is found among
those that were drawn holds for all (Gibbons 2001, "Distinct sampling"). When too many were drawn, every other
one goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sentstream.analyze.keyed_sums import KeyedSums
from sentstream.analyze.keys import Keys, rough_keys, text_keys

#: Different texts that are kept track of, and rows that are looked at for it.
_MOST_TEXTS, _MOST_ROWS = 200_000, 600_000
#: Rows whose keys are made at once: they take nine times the bytes of their texts.
_ROWS_AT_ONCE = 16_384
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Repeats:
    """How often texts repeat.

    Attributes:
        distinct: Different texts.
        repeated: Rows whose text is also that of an earlier row.
        most: How many rows the text has that has most, of those that were looked at.
        sampled: The share of the texts that were looked at; 1 where the counts are exact.
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
        # Above, what a text is drawn by; below, what tells it from others that begin and end alike.
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
        """What was found, of all texts; estimated where not all were looked at."""
        _, counts = self._sums.merged()
        drawn = int(counts.sum())
        if not drawn:
            return Repeats(0, 0, 0, 1.0)
        # The share among those drawn, not their number times two: how many were drawn is chance, too.
        distinct = round(self._rows * len(counts) / drawn) if self._halvings else len(counts)
        return Repeats(distinct, self._rows - distinct, int(counts.max()), 0.5**self._halvings)
