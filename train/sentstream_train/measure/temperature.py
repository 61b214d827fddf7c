"""Temperature scaling: divide every logit by one number (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from sentstream_train.measure.metrics import Floats, Labels

#: The search range. A model that needs a temperature outside it has a problem other than its scale.
LOWEST, HIGHEST = 0.05, 20.0
FOLDS = 5
#: With fewer rows, a fitted temperature mostly reflects the sample.
FEWEST = 100

Sets: TypeAlias = npt.NDArray[np.int64]

#: Tolerances for the temperature's logarithm.
_PRECISION = 1e-6
_AT_BOUND = 1e-3


def fit_temperature(logits: Floats, truth: Labels, sets: Sets | None = None) -> float:
    """The temperature from LOWEST to HIGHEST with the lowest log loss; deterministic.

    The loss is convex in the inverse of the temperature, so it has one minimum, which Brent's method on
    the logarithm finds.

    Args:
        logits: ``float64[rows, labels]``.
        truth: ``int[rows]``.
        sets: ``int[rows]``, the set of each row. The loss is then the mean of the sets' losses, so that
            small and large sets have the same weight. None: each row has the same weight.
    """
    margins = logits - logits[np.arange(len(truth)), truth][:, None]
    if sets is not None:
        _, sets, rows_of = np.unique(sets, return_inverse=True, return_counts=True)

    def loss(logarithm: float) -> float:
        of_rows = logsumexp(margins * math.exp(-logarithm), axis=1)
        if sets is None:
            return float(of_rows.mean())
        return float((np.bincount(sets, of_rows) / rows_of).mean())

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    result = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": _PRECISION})
    return math.exp(float(result.x))


def is_at_bound(temperature: float) -> bool:
    """Whether a fitted temperature is at LOWEST or HIGHEST, so that the minimum is probably outside."""
    return any(abs(math.log(temperature / bound)) < _AT_BOUND for bound in (LOWEST, HIGHEST))


def at_temperature(logits: Floats, temperature: float) -> Floats:
    """``float64[rows, labels]``: the probabilities at a temperature."""
    probabilities: Floats = softmax(logits / temperature, axis=1)
    return probabilities


def cross_validated(logits: Floats, truth: Labels) -> Floats:
    """``float64[rows, labels]``: each row's probabilities at the temperature fitted to the other folds.

    Args:
        logits: ``float64[rows, labels]``, at least ``FOLDS`` rows.
        truth: ``int[rows]``.
    """
    # Random folds, because the rows may be sorted.
    fold = np.random.default_rng(1).permutation(len(truth)) % FOLDS
    table = np.empty(logits.shape)
    for number in range(FOLDS):
        inside = fold == number
        table[inside] = at_temperature(logits[inside], fit_temperature(logits[~inside], truth[~inside]))
    return table


def left_one_out(logits: Floats, truth: Labels, sets: Sets) -> tuple[Floats, list[float]]:
    """Each set's probabilities at the temperature fitted to the other sets, equally weighted.

    Args:
        logits: ``float64[rows, labels]``.
        truth: ``int[rows]``.
        sets: ``int[rows]``, the set of each row, from 0; two or more sets, none of them empty.

    Returns:
        ``float64[rows, labels]``, and the temperature used for each set.
    """
    table, temperatures = np.empty(logits.shape), []
    for number in range(int(sets.max()) + 1):
        inside = sets == number
        temperature = fit_temperature(logits[~inside], truth[~inside], sets[~inside])
        table[inside] = at_temperature(logits[inside], temperature)
        temperatures.append(temperature)
    return table, temperatures
