"""Bootstrap confidence intervals, computed from counts of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Counts: TypeAlias = npt.NDArray[np.int64]
Figures: TypeAlias = npt.NDArray[np.float64]

RESAMPLES = 1000


def percentile_interval(
    cells: Counts, figure: Callable[[Counts], Figures], seed: int = 1
) -> tuple[float, float]:
    """95 % interval of a figure: percentiles of bootstrap resamples (Efron and Tibshirani 1993, chapter 13).

    Drawing rows with replacement is the same as drawing the count of each cell from a multinomial
    distribution, so a million rows take as long as a hundred.

    Args:
        cells: ``int64[…]``: counts of rows, at least one, by everything that the figure depends on.
        figure: Computes the figure: ``int64[resamples, …]`` -> ``float64[resamples]``.
        seed: Seed of the draws.
    """
    rows = int(cells.sum())
    drawn = np.random.default_rng(seed).multinomial(rows, cells.ravel() / rows, RESAMPLES)
    low, high = np.percentile(figure(drawn.reshape(RESAMPLES, *cells.shape)), (2.5, 97.5))
    return float(low), float(high)


def mean_recalls(cells: Counts) -> Figures:
    """``float64[sets]``: mean recall of the labels that occur in each set of rows.

    Args:
        cells: ``int64[sets, labels, 2]``: counts of rows by label and by wrong/right.
    """
    support = cells.sum(axis=2)
    recall = cells[:, :, 1] / np.maximum(support, 1)
    recalls: Figures = recall.sum(axis=1) / (support > 0).sum(axis=1)
    return recalls
