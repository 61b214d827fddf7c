"""Words that distinguish labels: log odds with an informative Dirichlet prior (Monroe et al. 2008)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Weight of the prior, in tokens, distributed over the words as in the whole data set.
PRIOR_TOKENS = 1000.0


def log_odds(own: npt.NDArray[np.int64], rest: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How typical each word is of one group of texts compared with the rest, as a z-score.

    The log odds ratio under a Dirichlet prior, divided by its standard deviation (Monroe, Colaresi and Quinn
    2008, "Fightin' Words", Political Analysis 16, eqs. 15, 20 and 22). The prior is the whole corpus, so that
    neither function words nor words that occur once rank highest.

    Args:
        own: ``int64[words]``, each word's count in the group.
        rest: ``int64[words]``, its count elsewhere; every word occurs somewhere.

    Returns:
        ``float64[words]``; positive if the word is more frequent in the group. Above 1.96, the difference is
        significant for a word that was chosen beforehand.
    """
    together = own + rest
    total = max(1, int(together.sum()))
    prior = PRIOR_TOKENS * together / total
    inside, outside = own + prior, rest + prior
    all_inside, all_outside = own.sum() + PRIOR_TOKENS, rest.sum() + PRIOR_TOKENS
    difference = np.log(inside / (all_inside - inside)) - np.log(outside / (all_outside - outside))
    scores: npt.NDArray[np.float64] = difference / np.sqrt(1 / inside + 1 / outside)
    return scores


def frequent_words(
    words: pa.Array, counts: npt.NDArray[np.int64], column: int, limit: int
) -> list[dict[str, Any]]:
    """The words that are most typical of one label compared with all others.

    Args:
        words: ``string[words]``, distinct.
        counts: ``int64[words, labels]``.
        column: Index of the label.
        limit: Maximum number of words; words that are not typical of the label are left out.
    """
    own = counts[:, column]
    rest = counts.sum(axis=1) - own
    if len(words) < 2:  # the only word has infinite odds everywhere
        return []
    scores = log_odds(own, rest)
    best = np.lexsort((-own, -scores))[:limit]
    return [
        {
            "word": words[index].as_py(),
            "z": round(float(scores[index]), 2),
            "count": int(own[index]),
            "elsewhere": int(rest[index]),
        }
        for index in best.tolist()
        if scores[index] > 0
    ]
