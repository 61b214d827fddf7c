"""Decide whether a network is better than the one before, or only looks better by chance."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream_train.measure.metrics import Labels

Probabilities: TypeAlias = npt.NDArray[np.float32]

_SMALLEST = 1e-7
#: 23 of 1,000 guesses exceed chance by at least this many standard errors.
LIKELY = 2.0
#: Hardly one of 10,000 does; required if all other rows are evidence against a network.
CERTAIN = 4.0


def reason_not_better(
    before: Probabilities,
    after: Probabilities,
    truth: Labels,
    weights: npt.NDArray[np.float32] | None = None,
    *,
    errors: float = LIKELY,
) -> str:
    """Why a network does not count as better than the one before it; empty if it does.

    It is better if, on held-out rows,

    * its loss is lower by more than the standard error of the difference (the one-standard-error rule of
      Breiman et al. 1984: the simpler network, here the one before, stays if chance could explain it);
    * the weighted number of right rows is no lower;
    * its macro-recall exceeds a guess's by more than ``errors`` standard errors. If labels are unrelated to
      the texts, a network that only predicts their frequencies has a lower loss than a trained one, and as
      many right rows, but the recalls of a guess.

    Args:
        before, after: ``float32[rows, classes]``; rows without tokens (NaN) do not count.
        truth: ``int32[rows]``, each row's class.
        weights: ``float32[rows]``: the weight of each row; None: all the same.
        errors: How many standard errors; 0 skips this check, for a network that never learned these labels
            and so has nothing to lose.
    """
    valid = ~(np.isnan(before[:, 0]) | np.isnan(after[:, 0]))
    before, after, truth = before[valid], after[valid], truth[valid]
    weight = np.ones(len(truth)) if weights is None else weights[valid].astype(np.float64)
    rows = np.arange(len(truth))
    if not len(rows):
        return "no held-out row has a word"
    right = [np.maximum(side[rows, truth].astype(np.float64), _SMALLEST) for side in (before, after)]
    gained = weight * np.log(right[1] / right[0])
    if gained.mean() <= gained.std() / math.sqrt(len(rows)):
        return "no lower loss" if gained.mean() <= 0 else "a lower loss by chance only"
    answers = after.argmax(axis=1)
    if (weight * (answers == truth)).sum() < (weight * (before.argmax(axis=1) == truth)).sum():
        return "fewer rows right"
    if errors and errors_above_guess(after, truth) <= errors:
        return "no better than a guess"
    return ""


def errors_above_guess(predicted: Probabilities, truth: Labels) -> float:
    """By how many standard errors a network's macro-recall exceeds a guess's.

    The guess predicts each label as often as the network does, regardless of the row.

    Args:
        predicted: ``float32[rows, classes]``; rows without tokens (NaN) do not count.
        truth: ``int32[rows]``, each row's class.
    """
    valid = ~np.isnan(predicted[:, 0])
    answers, truth = predicted[valid].argmax(axis=1), truth[valid]
    if not len(truth):
        return 0.0
    table = np.zeros((predicted.shape[1], predicted.shape[1]))
    np.add.at(table, (truth, answers), 1)
    support = table.sum(axis=1)
    occurs = support > 0
    recall, share = np.diagonal(table)[occurs] / support[occurs], table.sum(axis=0)[occurs] / len(truth)
    error = math.sqrt((share * (1 - share) / support[occurs]).sum()) / occurs.sum()
    return float((recall.mean() - share.mean()) / error) if error else 0.0
