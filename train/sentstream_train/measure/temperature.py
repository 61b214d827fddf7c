"""Temperature scaling: one number that every logit is divided by (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from sentstream_train.measure.metrics import Floats, Labels

#: Where a temperature is looked for. A model that needs one beyond has another trouble than its scale.
LOWEST, HIGHEST = 0.05, 20.0
FOLDS = 5
#: Fewer rows say more about themselves than about a temperature.
FEWEST = 100

Sets: TypeAlias = npt.NDArray[np.int64]

#: Of the temperature's logarithm.
_PRECISION = 1e-6
_AT_BOUND = 1e-3


def fit_temperature(logits: Floats, truth: Labels, sets: Sets | None = None) -> float:
    """The temperature from LOWEST to HIGHEST with the lowest log loss; the same rows give the same.

    The loss is convex in the temperature's inverse, so there is one lowest place, and Brent's method
    on the logarithm finds it.

    Args:
        logits: ``float64[rows, labels]``.
        truth: ``int[rows]``.
        sets: ``int[rows]``, the set of each row: the loss is then the mean of the sets' losses, so that a
            large set counts as much as a small one. None: each row counts the same.
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
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": _PRECISION})
    return math.exp(float(found.x))


def is_at_bound(temperature: float) -> bool:
    """Whether the lowest log loss lies at LOWEST or HIGHEST, and so probably beyond."""
    return any(abs(math.log(temperature / bound)) < _AT_BOUND for bound in (LOWEST, HIGHEST))


def at_temperature(logits: Floats, temperature: float) -> Floats:
    """``float64[rows, labels]``: the probabilities."""
    found: Floats = softmax(logits / temperature, axis=1)
    return found


def cross_validated(logits: Floats, truth: Labels) -> Floats:
    """``float64[rows, labels]``: the probabilities of each row at the temperature that the other folds give.

    Args:
        logits: ``float64[rows, labels]``, of at least ``FOLDS`` rows.
        truth: ``int[rows]``.
    """
    # Whatever the order of the rows: the folds are drawn, not cut.
    fold = np.random.default_rng(1).permutation(len(truth)) % FOLDS
    table = np.empty(logits.shape)
    for number in range(FOLDS):
        inside = fold == number
        table[inside] = at_temperature(logits[inside], fit_temperature(logits[~inside], truth[~inside]))
    return table


def left_one_out(logits: Floats, truth: Labels, sets: Sets) -> tuple[Floats, list[float]]:
    """The probabilities of each set at the temperature that the other sets give, each counting the same.

    Args:
        logits: ``float64[rows, labels]``.
        truth: ``int[rows]``.
        sets: ``int[rows]``, the set of each row, counted from 0; two sets or more, none of them empty.

    Returns:
        ``float64[rows, labels]``, and the temperature that each set was given.
    """
    table, temperatures = np.empty(logits.shape), []
    for number in range(int(sets.max()) + 1):
        inside = sets == number
        temperature = fit_temperature(logits[~inside], truth[~inside], sets[~inside])
        table[inside] = at_temperature(logits[inside], temperature)
        temperatures.append(temperature)
    return table, temperatures
