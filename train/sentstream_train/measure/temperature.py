"""Temperature scaling: one number that every logit is divided by (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from sentstream_train.measure.metrics import Floats, Labels

#: Where a temperature is looked for. A model that needs one beyond has another trouble than its scale.
LOWEST, HIGHEST = 0.05, 20.0
FOLDS = 5
#: Fewer rows say more about themselves than about a temperature.
FEWEST = 100

#: Of the temperature's logarithm.
_PRECISION = 1e-6
_AT_BOUND = 1e-3


def fit_temperature(logits: Floats, truth: Labels) -> float:
    """The temperature from LOWEST to HIGHEST with the lowest log loss; the same rows give the same.

    The loss is convex in the temperature's inverse, so there is one lowest place, and Brent's method
    on the logarithm finds it.

    Args:
        logits: ``float64[rows, labels]``.
        truth: ``int[rows]``.
    """
    margins = logits - logits[np.arange(len(truth)), truth][:, None]

    def loss(logarithm: float) -> float:
        return float(logsumexp(margins * math.exp(-logarithm), axis=1).mean())

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
