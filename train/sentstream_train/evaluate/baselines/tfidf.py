"""A linear baseline: logistic regression on TF-IDF of words and word pairs.

Features come from the text path and its vocabulary, not from scikit-learn's vectorizer: they are the same
tokens as the network's, without a Python object per word. Measured: 1.56 million tweets take 65 s and 2.3 GB
on one core.
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

#: Maximum number of features of each kind: more than customary with scikit-learn, but they fit in memory.
WORDS, PAIRS = 100_000, 400_000
FOLDS = 5


class TfidfClassifier:
    """Logistic regression (C = 1) on TF-IDF (logarithmic counts, unit-length rows) of words and pairs.

    Args:
        classes: Number of labels.
        seed: Seed for the solver's order of rows.
    """

    def __init__(self, classes: int, seed: int = 1) -> None:
        self.classes, self.seed = classes, seed

    def fit(self, tokens: Tokens, labels: Labels) -> TfidfClassifier:
        """Fit to rows.

        Args:
            tokens: The rows' tokens.
            labels: ``int32[rows]``, at least two distinct ones.

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
        # saga is the only solver for sparse rows in scikit-learn that stays in float32, and was the fastest.
        self._regression = LogisticRegression(solver="saga", tol=1e-3, max_iter=1000, random_state=self.seed)
        self._regression.fit(features, labels)
        return self

    def probabilities(self, tokens: Tokens) -> Floats:
        """``float64[rows, classes]``; 0 for labels that were not in the training rows."""
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
        # Pair ids start at 1; 0 means no pair.
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
    """Assign rows to stratified folds and keep groups together.

    Args:
        groups: ``uint64[rows]``, equal for rows that belong together; a group's label is its first row's.
        labels: ``int32[rows]``.
        folds: Number of folds.
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
