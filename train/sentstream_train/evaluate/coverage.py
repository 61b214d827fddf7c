"""Accuracy by coverage: what is gained by giving no label to uncertain rows.

The risk-coverage curve of selective classification (El-Yaniv and Wiener 2010; Geifman and El-Yaniv
2017, arXiv 1705.08500), for accuracy instead of error.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream_train.evaluate.judged import Judged
from sentstream_train.measure.metrics import rounded

Scores: TypeAlias = npt.NDArray[np.float32]

#: Percentages of the rows to keep.
STEPS = tuple(range(100, 0, -10))
#: A threshold has the fewest digits with which it keeps at most this share of all rows too many.
_SLACK = 0.005
_DIGITS = range(2, 7)


@dataclass(frozen=True)
class CoveragePoint:
    """The figures of the rows whose score is not below a threshold.

    Attributes:
        threshold: The lowest score that is kept.
        rows: How many rows are kept.
        coverage: The share of all rows that is kept.
        accuracy: The share of the kept rows that is right.
        interval: 95 % interval of the accuracy (Wilson 1927).
        macro_recall: Mean recall of the labels that occur in the kept rows.
    """

    threshold: float
    rows: int
    coverage: float
    accuracy: float
    interval: tuple[float, float]
    macro_recall: float


@dataclass(frozen=True)
class Coverage:
    """Accuracy by coverage.

    Attributes:
        area: Area under the curve: the mean accuracy of the 1, 2, … all rows with the highest scores.
        best_area: The area if every right row had a higher score than every wrong one.
        points: At 100 %, 90 %, … 10 % of the rows; fewer if many rows have the same score.
    """

    area: float
    best_area: float
    points: tuple[CoveragePoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data, rounded."""
        figures: dict[str, Any] = rounded(asdict(self))
        return figures


def cover(judged: Judged) -> Coverage:
    """The accuracy of the rows with the highest scores, for several shares of all rows."""
    ascending = np.sort(judged.score)
    points: list[CoveragePoint] = []
    for step in STEPS:
        threshold = _threshold(ascending, step) if step < 100 else 0.0
        # The comparison that a reader of the float32 column makes.
        kept = judged.score >= np.float32(threshold)
        if points and int(kept.sum()) == points[-1].rows:
            continue
        found = judged.measured(kept)
        share = found.rows / len(judged)
        points.append(
            CoveragePoint(threshold, found.rows, share, found.accuracy, found.interval, found.macro_recall)
        )
    right = int(judged.right.sum())
    indices = np.arange(1, len(judged) + 1)
    return Coverage(
        area=_area(judged.score, judged.right),
        best_area=float((np.minimum(indices, right) / indices).mean()),
        points=tuple(points),
    )


def _threshold(ascending: Scores, step: int) -> float:
    """A threshold that keeps ``step`` percent of the rows or slightly more, rounded down to few digits."""
    rows = len(ascending)
    wanted = math.ceil(rows * step / 100)
    exact = float(ascending[rows - wanted])
    for digits in _DIGITS:
        scaled = math.floor(exact * 10.0**digits)
        # The next one up may be the same float32: 0.65 is 0.64999998.
        up, down = (scaled + 1) / 10.0**digits, scaled / 10.0**digits
        threshold = up if np.float32(up) <= exact else down
        kept = rows - int(np.searchsorted(ascending, np.float32(threshold)))
        if kept - wanted <= _SLACK * rows:
            break
    return threshold


def _area(score: Scores, right: npt.NDArray[np.bool_]) -> float:
    """Mean accuracy of the first 1, 2, … rows by score; rows with equal scores count as evenly mixed."""
    order = np.argsort(-score, kind="stable")
    ordered, hits = score[order], np.cumsum(right[order])
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    indices = np.arange(1, len(ordered) + 1)
    at = np.interp(indices, np.append(0, ends + 1), np.append(0, hits[ends]))
    return float((at / indices).mean())
