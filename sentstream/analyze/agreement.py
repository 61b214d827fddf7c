"""Compare two scorings of the same rows: which labels changed, after checking that the rows are the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from sentstream.analyze.cells import Ints
from sentstream.analyze.intervals import Interval, wilson
from sentstream.analyze.rows import Portion, ScoredFiles
from sentstream.analyze.scored import Labels
from sentstream.analyze.strongest import Example
from sentstream.text.storage import as_text


@dataclass(frozen=True)
class Agreement:
    """Agreement of two scorings of the same rows.

    Attributes:
        labels: The labels, and None for rows without a label.
        counts: Number of rows by ``[label before][label after]``.
        rows: Number of rows with a label in both.
        same: Number of those with the same label in both.
        interval: 95 % interval of their share (Wilson 1927).
        kappa: Agreement beyond chance, at most 1 (Cohen 1960); None if chance alone makes it perfect.
        changed: The rows whose value changed most, or a probability if there is no value.
    """

    labels: tuple[str | None, ...]
    counts: tuple[tuple[int, ...], ...]
    rows: int
    same: int
    interval: Interval | None
    kappa: float | None
    changed: tuple[Example, ...]


class LabelPairs:
    """Counts the labels of pairs of rows.

    Args:
        labels: The labels of both data sets.

    Attributes:
        apart: Why the rows are not the same; None while they are.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._width = len(labels.all) + 1
        self._counts: Ints = np.zeros((self._width, self._width), np.int64)
        self._rows = 0
        self.apart: str | None = None

    def add(self, before: Portion, after: Portion) -> bool:
        """Count pairs of rows; return whether the rows are the same so far."""
        if self.apart is None and before.texts is not None and after.texts is not None:
            same = pc.equal(as_text(before.texts).fill_null(""), as_text(after.texts).fill_null(""))
            if not pc.all(same, min_count=0).as_py():
                odd = int(np.flatnonzero(~same.to_numpy(zero_copy_only=False))[0])
                self.apart = f"row {self._rows + odd:,} has a different text"
        if self.apart is None:
            cells = before.label * self._width + after.label
            self._counts += np.bincount(cells, minlength=self._width**2).reshape(self._width, self._width)
            self._rows += len(before)
        return self.apart is None

    @property
    def counts(self) -> Ints:
        """``int64[labels + 1, labels + 1]``: rows by label before and after; the last index is no label."""
        return self._counts

    def agreement(self, changed: tuple[Example, ...]) -> Agreement:
        """Return the agreement; ``changed`` are the rows that changed most."""
        used = [
            index
            for index in range(self._width)
            if self._counts[index].any() or self._counts[:, index].any() or index < len(self._labels.names)
        ]
        names = (*self._labels.all, None)
        inner = self._counts[:-1, :-1]
        rows, same = int(inner.sum()), int(np.trace(inner))
        kappa = None
        if rows:
            expected = float((inner.sum(axis=0) / rows) @ (inner.sum(axis=1) / rows))
            kappa = (same / rows - expected) / (1 - expected) if expected < 1 else None
        return Agreement(
            tuple(names[index] for index in used),
            tuple(tuple(int(self._counts[one, other]) for other in used) for one in used),
            rows,
            same,
            wilson(same, rows) if rows else None,
            kappa,
            changed,
        )


def pairs(
    before: Iterator[Portion], after: Iterator[Portion]
) -> Iterator[tuple[Portion | None, Portion | None]]:
    """Yield rows of two data sets side by side: the same number of each, or None for one that has ended."""
    left, right = next(before, None), next(after, None)
    while left is not None or right is not None:
        if left is None or right is None:
            yield left, right
            left = None if left is None else next(before, None)
            right = None if right is None else next(after, None)
            continue
        rows = min(len(left), len(right))
        yield left.slice(0, rows), right.slice(0, rows)
        left = left.slice(rows, len(left) - rows) if len(left) > rows else next(before, None)
        right = right.slice(rows, len(right) - rows) if len(right) > rows else next(after, None)


def can_be_the_same(before: ScoredFiles, after: ScoredFiles) -> str | None:
    """Return why two data sets cannot have the same rows; None if they may."""
    if before.labels.names != after.labels.names:
        return "their labels differ"
    if before.rows is not None and after.rows is not None and before.rows != after.rows:
        return f"{before.rows:,} rows before, {after.rows:,} now"
    if not (before.has_texts and after.has_texts):
        return "there is no text column to tell whether the rows are the same"
    return None


def value_change(
    before: Portion, after: Portion, labels: Labels
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """``float64[rows]``: how far the scores moved; minus infinity if not at all, or without both labels."""
    first, second = before.value(labels), after.value(labels)
    if first is None or second is None:
        moved = np.abs(before.probabilities - after.probabilities).max(axis=1).astype(np.float64)
    else:
        moved = np.abs(second - first)
    both = (before.label < len(labels.all)) & (after.label < len(labels.all))
    return np.where(both & (moved > 0), moved, -np.inf)
