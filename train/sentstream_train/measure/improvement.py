"""Is a network better than the one before, or did held-out rows, which are few, only look so?"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream_train.measure.metrics import Labels

Probabilities: TypeAlias = npt.NDArray[np.float32]

_SMALLEST = 1e-7
#: 23 of 1,000 guesses are at least this many standard errors above chance.
LIKELY = 2.0
#: And hardly one of 10,000: what it takes where all other rows speak against it.
CERTAIN = 4.0


def why_no_better(
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
      Breiman et al. 1984: what is simpler, here the network before, stays where chance could have decided);
    * no fewer rows are right, each counted by its weight;
    * its macro-recall is above that of a guess by more than some standard errors. Where labels say nothing of
      the texts, a network that gives up and says how frequent each is has a lower loss than one that was
      trained, and as many rows right; but its recalls are those of a guess.

    Args:
        before, after: ``float32[rows, classes]``; rows without tokens, of NaN, do not count.
        truth: ``int32[rows]``, each row's class.
        weights: ``float32[rows]``: what each row counts; None: all the same.
        errors: How many standard errors; 0 where the network before has never learned these labels, so that
            it has nothing to lose.
    """
    there = ~(np.isnan(before[:, 0]) | np.isnan(after[:, 0]))
    before, after, truth = before[there], after[there], truth[there]
    weight = np.ones(len(truth)) if weights is None else weights[there].astype(np.float64)
    rows = np.arange(len(truth))
    if not len(rows):
        return "no held-out row has a word"
    right = [np.maximum(side[rows, truth].astype(np.float64), _SMALLEST) for side in (before, after)]
    gained = weight * np.log(right[1] / right[0])
    if gained.mean() <= gained.std() / math.sqrt(len(rows)):
        return "no lower loss" if gained.mean() <= 0 else "a lower loss by chance only"
    given = after.argmax(axis=1)
    if (weight * (given == truth)).sum() < (weight * (before.argmax(axis=1) == truth)).sum():
        return "fewer rows right"
    if errors and errors_above_guess(after, truth) <= errors:
        return "no better than a guess"
    return ""


def errors_above_guess(said: Probabilities, truth: Labels) -> float:
    """By how many standard errors the macro-recall of a network is above that of a guess.

    The guess gives each label as often as the network does, whatever the row.

    Args:
        said: ``float32[rows, classes]``; rows without tokens, of NaN, do not count.
        truth: ``int32[rows]``, each row's class.
    """
    there = ~np.isnan(said[:, 0])
    given, truth = said[there].argmax(axis=1), truth[there]
    if not len(truth):
        return 0.0
    table = np.zeros((said.shape[1], said.shape[1]))
    np.add.at(table, (truth, given), 1)
    support = table.sum(axis=1)
    occurs = support > 0
    recall, share = np.diagonal(table)[occurs] / support[occurs], table.sum(axis=0)[occurs] / len(truth)
    error = math.sqrt((share * (1 - share) / support[occurs]).sum()) / occurs.sum()
    return float((recall.mean() - share.mean()) / error) if error else 0.0
