"""Temperature scaling: divide every logit by one number (Guo et al. 2017, arXiv 1706.04599).

Optionally, an offset per label is added to the logits first, so that labels that are rare in the training
data are predicted as readily as frequent ones (logit adjustment, Menon et al. 2021, arXiv 2007.07314).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp, softmax

from sentstream_train.measure.metrics import Floats, Labels

#: The search range. A model that needs a temperature outside it has a problem other than its scale.
LOWEST, HIGHEST = 0.05, 20.0
FOLDS = 5
#: With fewer rows, a fitted temperature mostly reflects the sample.
FEWEST = 100
#: The same for an offset, and the rows of one label.
FEWEST_OF_LABEL = 20

Sets: TypeAlias = npt.NDArray[np.int64]

#: Tolerances for the temperature's logarithm.
_PRECISION = 1e-6
_AT_BOUND = 1e-3
#: Largest absolute value of an offset.
_MOST_OFFSET = 5.0


@dataclass(frozen=True)
class Scaling:
    """A change of logits: add an offset per label, then divide by the temperature.

    Attributes:
        temperature: Above 0.
        offsets: One per label, with a mean of 0; empty for none.
    """

    temperature: float
    offsets: tuple[float, ...] = ()

    def probabilities(self, logits: Floats) -> Floats:
        """``float64[rows, labels]``: the probabilities after the change."""
        return at_temperature(logits + self.offsets if self.offsets else logits, self.temperature)


def fit_scaling(logits: Floats, truth: Labels, sets: Sets | None = None, *, balance: bool = False) -> Scaling:
    """Fit a temperature, after offsets if ``balance`` is set.

    Args:
        logits: ``float64[rows, labels]``.
        truth: ``int[rows]``.
        sets: ``int[rows]``, the set of each row; all sets have the same weight.
        balance: Also fit offsets.
    """
    if not balance:
        return Scaling(fit_temperature(logits, truth, sets))
    offsets = fit_offsets(logits, truth, sets)
    return Scaling(fit_temperature(logits + offsets, truth, sets), tuple(map(float, offsets)))


def fit_offsets(logits: Floats, truth: Labels, sets: Sets | None = None) -> Floats:
    """The offsets with the lowest log loss if all labels of a set have the same weight.

    They are fitted together with a temperature, which is discarded. The loss is convex in the inverse of the
    temperature and in the offsets over the temperature.

    Args:
        logits: ``float64[rows, labels]``.
        truth: ``int[rows]``.
        sets: ``int[rows]``, the set of each row; all sets have the same weight.

    Returns:
        ``float64[labels]``, with a mean of 0, within ±5.
    """
    labels = logits.shape[1]
    group = truth if sets is None else np.unique(sets, return_inverse=True)[1] * labels + truth
    found, group, rows_of = np.unique(group, return_inverse=True, return_counts=True)
    of_set = found // labels  # how many labels a set has
    weight = (1 / rows_of / np.bincount(of_set)[of_set])[group] / len(np.unique(of_set))
    own = np.arange(len(truth)), truth

    def loss(numbers: Floats) -> tuple[float, Floats]:
        scaled = logits * numbers[0] + numbers[1:]
        residue = softmax(scaled, axis=1)
        value = float(weight @ (logsumexp(scaled, axis=1) - scaled[own]))
        residue[own] -= 1
        residue *= weight[:, None]
        return value, np.append((residue * logits).sum(), residue.sum(axis=0))

    bounds = [(1 / HIGHEST, 1 / LOWEST), *[(None, None)] * labels]
    start = np.append(1.0, np.zeros(labels))
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, tol=_PRECISION**2)
    offsets = result.x[1:] / result.x[0]
    centered: Floats = np.clip(offsets - offsets.mean(), -_MOST_OFFSET, _MOST_OFFSET)
    return centered


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


def cross_validated(logits: Floats, truth: Labels, *, balance: bool = False) -> Floats:
    """``float64[rows, labels]``: each row's probabilities with the scaling fitted to the other folds.

    Args:
        logits: ``float64[rows, labels]``, at least ``FOLDS`` rows.
        truth: ``int[rows]``.
        balance: As in ``fit_scaling``.
    """
    # Random folds, because the rows may be sorted.
    fold = np.random.default_rng(1).permutation(len(truth)) % FOLDS
    table = np.empty(logits.shape)
    for number in range(FOLDS):
        inside = fold == number
        scaling = fit_scaling(logits[~inside], truth[~inside], balance=balance)
        table[inside] = scaling.probabilities(logits[inside])
    return table


def left_one_out(
    logits: Floats, truth: Labels, sets: Sets, *, balance: bool = False
) -> tuple[Floats, list[Scaling]]:
    """Each set's probabilities with the scaling fitted to the other sets, equally weighted.

    Args:
        logits: ``float64[rows, labels]``.
        truth: ``int[rows]``.
        sets: ``int[rows]``, the set of each row, from 0; two or more sets, none of them empty.
        balance: As in ``fit_scaling``.

    Returns:
        ``float64[rows, labels]``, and the scaling used for each set.
    """
    table, scalings = np.empty(logits.shape), []
    for number in range(int(sets.max()) + 1):
        inside = sets == number
        scaling = fit_scaling(logits[~inside], truth[~inside], sets[~inside], balance=balance)
        table[inside] = scaling.probabilities(logits[inside])
        scalings.append(scaling)
    return table, scalings
