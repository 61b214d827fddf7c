"""Synthetic tweets from words of a model's vocabulary, so that checks need no data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sentstream.text import Vocabulary

_SPECIAL = 2  # <pad> and <unk>
#: Added to a word's rank, its position in the vocabulary, to flatten the head of Zipf's law.
_FLATTENED = 3


def synthetic_tweets(vocabulary: Vocabulary, lengths: Sequence[int], seed: int = 0) -> pa.StringArray:
    """Create tweets of the given lengths; equal arguments give equal tweets.

    Args:
        vocabulary: The source of the words; frequent words are drawn more often (Zipf's law).
        lengths: Number of words of each tweet.
        seed: The random seed.
    """
    known = vocabulary.words.to_pylist()[_SPECIAL:]
    # Plain words, each of which is one token under most text rules; the text path gives the real count.
    words = [word for word in known if word.isascii() and word.isalpha()] or known
    weights = 1 / (np.arange(len(words)) + _FLATTENED)
    drawn = np.random.default_rng(seed).choice(len(words), sum(lengths), p=weights / weights.sum())
    ends = np.cumsum(lengths)
    rows = (drawn[end - length : end] for end, length in zip(ends, lengths, strict=True))
    return pa.array([" ".join(words[index] for index in row) for row in rows], pa.string())
