"""The rows of a search, tokenized and counted once: each trial's vocabulary is a subset of the largest.

A vocabulary has the most frequent words first, so a smaller one is a prefix of it, and tokens beyond the
prefix are unknown. Pairs are ranked once, too: a smaller vocabulary has the most frequent pairs of its words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentstream.text import Encoded, TextPath, Vocabulary
from sentstream.text.vocabulary import UNKNOWN
from sentstream_train.config import DataConfig, NetworkConfig
from sentstream_train.data.split import Split
from sentstream_train.data.vocabulary import learn_words, rank_pairs, with_pairs


@dataclass(frozen=True)
class _Counted:
    """What all trials with the same ``min_count`` share."""

    vocabulary: Vocabulary
    train: Encoded
    validation: Encoded
    pairs: npt.NDArray[np.int32]


class Rows:
    """The rows of a search.

    Args:
        split: The rows.
        data: How texts are read.
        words: The largest vocabulary size of any trial.
        pairs: Whether any trial uses word pairs.
    """

    def __init__(self, split: Split, data: DataConfig, *, words: int, pairs: bool) -> None:
        self.split, self._data, self._words, self._pairs = split, data, words, pairs
        self._counted: dict[int, _Counted] = {}

    def encode(self, network: NetworkConfig) -> tuple[Vocabulary, Encoded, Encoded]:
        """The vocabulary that ``runs.train.learn`` would learn, and the token ids of both sides."""
        if network.min_count not in self._counted:
            self._counted[network.min_count] = self._count(network.min_count)
        counted = self._counted[network.min_count]
        size = max(network.words, UNKNOWN + 1)
        vocabulary = Vocabulary(counted.vocabulary.words.slice(0, size))
        if network.pairs:
            known = (counted.pairs < len(vocabulary)).all(axis=1)
            vocabulary = with_pairs(vocabulary, counted.pairs[known][: network.pairs])
        return vocabulary, _narrow(counted.train, vocabulary), _narrow(counted.validation, vocabulary)

    def _count(self, min_count: int) -> _Counted:
        vocabulary = learn_words([self.split.train], self._words, min_count)
        path = TextPath(self._data.rules, vocabulary, self._data.max_chars)
        train, validation = path.look_up(self.split.train), path.look_up(self.split.validation)
        ranked = rank_pairs([train], vocabulary, min_count) if self._pairs else np.empty((0, 2), np.int32)
        return _Counted(vocabulary, train, validation, ranked)


def _narrow(rows: Encoded, vocabulary: Vocabulary) -> Encoded:
    words = np.where(rows.words < len(vocabulary), rows.words, UNKNOWN).astype(np.int32, copy=False)
    pairs = None if vocabulary.pairs is None else vocabulary.pair_ids(words, rows.offsets)
    return Encoded(rows.offsets, words, pairs, rows.truncated)
