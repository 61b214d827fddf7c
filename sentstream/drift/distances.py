"""How far two distributions are apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: What the field reads a population stability index by (Siddiqi 2006, "Credit Risk Scorecards").
PSI_SOME, PSI_LARGE = 0.1, 0.25
#: Rows that a cell has at least, so that one that is empty on one side only is not infinitely far.
_LEAST = 0.5


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    """The population stability index: 0 for the same shares; below 0.1 is little, above 0.25 is much.

    It is the symmetrized Kullback-Leibler divergence, in nats, of the shares with half a row added to a cell.

    >>> round(stability_index([50, 50], [50, 50]), 6), round(stability_index([50, 50], [90, 10]), 2)
    (0.0, 0.85)

    Args:
        before: Rows of each cell.
        after: Rows of the same cells.
    """
    first, second = (_shares(np.asarray(counts, np.float64) + _LEAST) for counts in (before, after))
    return float(((second - first) * np.log(second / first)).sum())


def jensen_shannon(before: Sequence[int], after: Sequence[int]) -> float:
    """The Jensen-Shannon divergence in bits: 0 for the same shares, 1 where no cell has rows of both.

    >>> jensen_shannon([1, 1], [2, 2]), jensen_shannon([1, 0], [0, 1])
    (0.0, 1.0)

    Args:
        before: Rows of each cell, not all 0.
        after: Rows of the same cells.
    """
    first, second = (_shares(np.asarray(counts, np.float64)) for counts in (before, after))
    middle = (first + second) / 2
    return max(0.0, (_divergence(first, middle) + _divergence(second, middle)) / 2)


def _shares(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares


def _divergence(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    there = first > 0
    return float((first[there] * np.log2(first[there] / second[there])).sum())
