"""Compare two data sets: shares, drift, and what changed in the rows that both have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sentstream.analyze.agreement import LabelPairs, can_be_the_same, value_change
from sentstream.analyze.gathering import Totals, example
from sentstream.analyze.intervals import Interval, difference_interval, paired_interval
from sentstream.analyze.result import Comparison, Drift, Histogram, Scores, ShareChange
from sentstream.analyze.rows import Portion, ScoredFiles
from sentstream.analyze.strongest import Example, Strongest, shown_text
from sentstream.drift.distances import jensen_shannon, stability_index
from sentstream.text.storage import as_text


class Versus:
    """Collects the "before" rows, and pairs of rows while both data sets have the same rows.

    Args:
        before: The "before" rows.
        after: The reported rows.
        shown: Number of changed rows to show.

    Attributes:
        totals: The counts of the "before" rows.
    """

    def __init__(self, before: ScoredFiles, after: ScoredFiles, shown: int) -> None:
        self.totals = Totals(before)
        self._after, self._apart = after, can_be_the_same(before, after)
        self._pairs, self._changed = LabelPairs(after.labels), Strongest(shown)

    def add(self, before: Portion | None, after: Portion | None) -> None:
        """Process rows side by side: the same number of each, or rows of one data set alone."""
        value = None
        if before is not None:
            value = before.value(self.totals.labels)
            self.totals.add(before, value)
        if self._apart is not None:
            return
        if before is None or after is None:
            self._apart = "one data set has more rows"
        elif not self._pairs.add(before, after):
            self._apart = self._pairs.apart
        elif self._changed.most:
            self._look(before, after)

    def _look(self, before: Portion, after: Portion) -> None:
        assert after.texts is not None
        labels, texts = self._after.labels, as_text(after.texts)
        value, value_before = after.value(labels), before.value(labels)

        def row(index: int) -> Example:
            return replace(
                example(self._after, after, index, value),
                before=labels.all[before.label[index]],
                value_before=None if value_before is None else float(value_before[index]),
            )

        def text_of(index: int) -> str:
            return shown_text(texts[index].as_py() or "")

        self._changed.add(value_change(before, after, labels), text_of, row)

    def comparison(self, names: tuple[str, ...], after: Scores) -> Comparison:
        """Return the comparison.

        Args:
            names: The "before" inputs as given.
            after: The figures of the reported rows.
        """
        before = self.totals.scores(names)
        paired = self._apart is None
        labels = dict.fromkeys(share.label for one in (before, after) for share in one.figures.shares)
        agreement = None
        if paired:
            agreement = self._pairs.agreement(self._changed.found())
        return Comparison(
            before,
            paired,
            self._apart,
            tuple(self._change(label, before, after, paired) for label in labels),
            tuple(_drift(before, after)),
            agreement,
        )

    def _change(self, label: str, before: Scores, after: Scores, paired: bool) -> ShareChange:
        counts: list[tuple[int, int] | None] = []
        for one in (before, after):
            rows = [share.rows for share in one.figures.shares if share.label == label]
            counts.append((rows[0] if rows else 0, one.figures.labeled) if one.figures.labeled else None)
        first, second = counts
        if first is None or second is None:
            return ShareChange(
                label, first and first[0] / first[1], second and second[0] / second[1], None, None
            )
        shares = first[0] / first[1], second[0] / second[1]
        ends: Interval = difference_interval(first, second)
        if paired and first[1] == second[1]:
            index = self._after.labels.all.index(label)
            counted = self._pairs.counts
            same = int(counted[index, index])
            gained, lost = int(counted[:, index].sum()) - same, int(counted[index].sum()) - same
            ends = paired_interval(gained, lost, first[1])
        return ShareChange(label, *shares, shares[1] - shares[0], ends)


def _drift(before: Scores, after: Scores) -> list[Drift]:
    """How far labels, scores and values moved, if both data sets have them."""
    if not before.figures.labeled or not after.figures.labeled:
        return []
    moves = []
    names = [[share.label for share in one.figures.shares] for one in (before, after)]
    labels = list(dict.fromkeys([*names[0], *names[1]]))
    counts = [
        [sum(share.rows for share in one.figures.shares if share.label == label) for label in labels]
        for one in (before, after)
    ]
    moves.append(_moved("labels", counts[0], counts[1]))
    if len(before.probabilities) == len(after.probabilities):
        moves.append(_moved("scores", _bins(before.scores), _bins(after.scores)))
    if before.values is not None and after.values is not None:
        moves.append(_moved("values", _bins(before.values), _bins(after.values)))
    return moves


def _bins(histogram: Histogram) -> list[int]:
    """The number of rows in each of ten bins; with finer bins, chance would look like drift."""
    fine = np.array(histogram.rows, np.int64).sum(axis=0)
    tens: list[int] = fine.reshape(10, -1).sum(axis=1).tolist()
    return tens


def _moved(name: str, before: list[int], after: list[int]) -> Drift:
    return Drift(name, stability_index(before, after), jensen_shannon(before, after))
