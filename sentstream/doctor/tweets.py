"""Tweets that nobody wrote: words of a model's own vocabulary, so that a check needs no data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sentstream.text import Vocabulary

_SPECIAL = 2  # <pad> and <unk>
#: Added to a word's place in the vocabulary, which is its rank: the flattened head of Zipf's law.
_FLATTENED = 3


def synthetic_tweets(vocabulary: Vocabulary, lengths: Sequence[int], seed: int = 0) -> pa.StringArray:
    """Tweets of given lengths; the same arguments give the same tweets.

    Args:
        vocabulary: Where the words come from, the frequent ones more often (Zipf's law).
        lengths: Words of each tweet.
        seed: Of the drawing.
    """
    known = vocabulary.words.to_pylist()[_SPECIAL:]
    # Plain words, each of which is one token by most rules; how many there really are, the text path says.
    words = [word for word in known if word.isascii() and word.isalpha()] or known
    weights = 1 / (np.arange(len(words)) + _FLATTENED)
    drawn = np.random.default_rng(seed).choice(len(words), sum(lengths), p=weights / weights.sum())
    ends = np.cumsum(lengths)
    rows = (drawn[end - length : end] for end, length in zip(ends, lengths, strict=True))
    return pa.array([" ".join(words[place] for place in row) for row in rows], pa.string())
