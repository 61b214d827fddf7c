"""A linear baseline: TF-IDF of words and word pairs under logistic regression.

The features come from the text path and its vocabulary rather than from scikit-learn's vectorizer: the
same tokens as the network's, and no Python object for a word of a tweet. Measured: 1.56 million tweets
take 65 s and 2.3 GB on one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream.analyze.keys import Keys
from sentstream.errors import MissingExtraError
from sentstream.text import UNKNOWN, Encoded, TextPath, TextRules, Tokens
from sentstream_train.data.vocabulary import learn_pairs, learn_words

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

#: Most features of each kind: more than scikit-learn's customary limits, few enough for the memory.
WORDS, PAIRS = 100_000, 400_000
FOLDS = 5


class TfidfClassifier:
    """TF-IDF (logarithmic counts, rows of length 1) of words and pairs, and a logistic regression (C = 1).

    Args:
        classes: How many labels there are.
        seed: Seed of the solver's order of rows.
    """

    def __init__(self, classes: int, seed: int = 1) -> None:
        self.classes, self.seed = classes, seed

    def fit(self, tokens: Tokens, labels: Labels) -> TfidfClassifier:
        """Learn from rows.

        Args:
            tokens: Their tokens.
            labels: ``int32[rows]``; at least two different ones.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        try:
            from sklearn.feature_extraction.text import TfidfTransformer
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise MissingExtraError(
                "the baseline TF-IDF needs scikit-learn, which is not installed",
                extra="train",
            ) from error
        words = learn_words([tokens], WORDS, 1)
        rows = TextPath(TextRules(), words).look_up(tokens)
        self._text = TextPath(TextRules(), learn_pairs([rows], words, PAIRS, 1))
        self._weights = TfidfTransformer(sublinear_tf=True)
        features = self._weights.fit_transform(self._counts(tokens))
        # Of scikit-learn's solvers for sparse rows saga alone stays in float32; it was also the fastest.
        self._regression = LogisticRegression(solver="saga", tol=1e-3, max_iter=1000, random_state=self.seed)
        self._regression.fit(features, labels)
        return self

    def probabilities(self, tokens: Tokens) -> Floats:
        """``float64[rows, classes]``; 0 for a label that was not among those learned from."""
        known = self._regression.predict_proba(self._weights.transform(self._counts(tokens)))
        table = np.zeros((len(known), self.classes))
        table[:, self._regression.classes_] = known
        return table

    def _counts(self, tokens: Tokens) -> Any:
        """A sparse ``float32[rows, words + pairs]`` matrix of counts."""
        from scipy.sparse import csr_matrix

        vocabulary = self._text.vocabulary
        rows: Encoded = self._text.look_up(tokens)
        assert rows.pairs is not None
        # A pair's id is its place plus one, and 0 is no pair.
        columns = np.stack((rows.words, len(vocabulary) - 1 + rows.pairs), axis=1)
        known = np.stack((rows.words != UNKNOWN, rows.pairs > 0), axis=1)
        known[rows.offsets[:-1][rows.lengths > 0], 1] = (
            False  # the vocabulary pairs a first word with nothing
        )
        running = np.concatenate((np.zeros(1, np.int64), np.cumsum(known.sum(axis=1))))
        shape = (len(rows), len(vocabulary) + vocabulary.pair_count)
        ids = columns[known].astype(np.int32)
        counts = csr_matrix((np.ones(len(ids), np.float32), ids, running[rows.offsets]), shape=shape)
        counts.sum_duplicates()
        return counts


def deal_folds(groups: Keys, labels: Labels, folds: int, seed: int) -> Labels:
    """Deal rows to folds: a group stays together, and each fold gets its share of each label.

    Args:
        groups: ``uint64[rows]``, equal for rows that belong together; a group's label is its first row's.
        labels: ``int32[rows]``.
        folds: How many.
        seed: Seed of the draw.

    Returns:
        ``int32[rows]``, each row's fold.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    draw = np.random.default_rng(seed).random(len(first))
    order = np.lexsort((draw, labels[first]))
    fold = np.empty(len(first), np.int32)
    fold[order] = np.arange(len(first)) % folds
    dealt: Labels = fold[group]
    return dealt
