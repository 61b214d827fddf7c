"""Distances between two distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: The usual thresholds for a population stability index (Siddiqi 2006, "Credit Risk Scorecards").
PSI_SOME, PSI_LARGE = 0.1, 0.25
#: Rows added to each cell, so that a cell that is empty on one side only does not give infinity.
_LEAST = 0.5


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    """The population stability index: 0 for equal shares; below 0.1 is small, above 0.25 is large.

    It is the symmetrized Kullback-Leibler divergence of the shares in nats, with half a row added per cell.

    >>> round(stability_index([50, 50], [50, 50]), 6), round(stability_index([50, 50], [90, 10]), 2)
    (0.0, 0.85)

    Args:
        before: Number of rows in each cell.
        after: Number of rows in the same cells.
    """
    first, second = (_shares(np.asarray(counts, np.float64) + _LEAST) for counts in (before, after))
    return float(((second - first) * np.log(second / first)).sum())


def jensen_shannon(before: Sequence[int], after: Sequence[int]) -> float:
    """The Jensen-Shannon divergence in bits: 0 for equal shares, 1 if no cell has rows on both sides.

    >>> jensen_shannon([1, 1], [2, 2]), jensen_shannon([1, 0], [0, 1])
    (0.0, 1.0)

    Args:
        before: Number of rows in each cell, not all 0.
        after: Number of rows in the same cells, not all 0.
    """
    first, second = (_shares(np.asarray(counts, np.float64)) for counts in (before, after))
    middle = (first + second) / 2
    return max(0.0, (_divergence(first, middle) + _divergence(second, middle)) / 2)


def _shares(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares


def _divergence(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    positive = first > 0
    return float((first[positive] * np.log2(first[positive] / second[positive])).sum())
