"""Frequent words and phrases of tweets, and emoji, as texts that a teacher can label.

A student with a table of words and pairs has to know how the teacher labels "could be better" or 👎 alone,
and there are few enough of these to label them all. Phrases of up to five words are counted in the tweets of
the transfer set and in all of Sentiment140.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.text import LINK, MENTION, UNKNOWN, Encoded, TextPath, TextRules, tokenize
from sentstream_train.data.vocabulary import learn_words

#: Maximum number of phrases of one word, of two and so on, and the minimum count of each.
MOST = (60_000, 60_000, 50_000, 30_000, 20_000)
FEWEST = 20
#: Unicode blocks whose symbols are emoji, or used as such; all predate Unicode 13.
_EMOJI = ((0x2600, 0x27BF), (0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F900, 0x1F9FF))

Ids = npt.NDArray[np.int64]


def phrases_of(texts: Sequence[pa.Array], limits: Sequence[int] = MOST, fewest: int = FEWEST) -> pa.Array:
    """Return frequent phrases, the shortest first, and those of one length by descending frequency.

    Args:
        texts: Columns of tweets.
        limits: Maximum number of phrases of one word, of two and so on.
        fewest: Minimum count of a phrase.
    """
    rules = TextRules.preset("tweets-3")
    vocabulary = learn_words([tokenize(column, rules, 1000)[0] for column in texts], limits[0], fewest)
    path = TextPath(rules, vocabulary)
    words = vocabulary.words
    masked = pa.compute.is_in(words, value_set=pa.array([MENTION, LINK])).to_numpy(zero_copy_only=False)
    masked[: UNKNOWN + 1] = True
    encoded = [path.encode(column) for column in texts]
    phrases = [_spelled(words, ids) for ids in _frequent(encoded, masked, limits, fewest)]
    return pa.concat_arrays(phrases)


def _frequent(
    sides: Sequence[Encoded], masked: npt.NDArray[np.bool_], limits: Sequence[int], fewest: int
) -> Iterator[Ids]:
    """Yield ``int64[phrases, n]`` for n of 1, 2 …: word ids of the phrases.

    A phrase can be frequent only if its prefix is (Agrawal and Srikant 1994), so each round looks only at
    places where the last one found something, and counts 64-bit numbers.
    """
    ids = np.concatenate([side.words for side in sides]).astype(np.int64)
    begins = np.zeros(len(ids) + 1, np.bool_)
    start = 0
    for side in sides:
        begins[side.offsets + start] = True
        start += len(side.words)
    size, free = len(masked), ~masked[ids]
    #: The number, in the last round, of the phrase that ends at each place; -1 for none.
    last = np.where(free, ids, -1)
    known = np.arange(size, dtype=np.int64)[:, None]
    yield known[~masked]
    for number in limits[1:]:
        continues = free & ~begins[:-1]
        continues[0] = False
        before = np.full(len(ids), -1, np.int64)
        before[1:] = last[:-1]
        indices = np.flatnonzero(continues & (before >= 0))
        keys, index, counts = np.unique(
            before[indices] * size + ids[indices], return_inverse=True, return_counts=True
        )
        frequent = np.flatnonzero(counts >= fewest)
        number_of = np.full(len(keys), -1, np.int64)
        number_of[frequent] = np.arange(len(frequent))
        last = np.full(len(ids), -1, np.int64)
        last[indices] = number_of[index]
        known = np.concatenate((known[keys[frequent] // size], (keys[frequent] % size)[:, None]), axis=1)
        ranked = np.argsort(-counts[frequent], kind="stable")[:number]
        yield known[ranked]


def _spelled(words: pa.Array, ids: Ids) -> pa.Array:
    """Return phrases as texts."""
    columns = [words.take(pa.array(column)) for column in ids.T]
    return pa.compute.binary_join_element_wise(*columns, " ") if len(columns) > 1 else columns[0]


def emoji() -> pa.Array:
    """Return each emoji of one code point, once and repeated three times."""
    points = [point for first, last in _EMOJI for point in range(first, last + 1)]
    alone = [chr(point) for point in points if unicodedata.category(chr(point)) == "So"]
    return pa.array([*alone, *(3 * one for one in alone)])


def fingerprint_of(texts: pa.Array) -> str:
    """Return the SHA-256 of the texts, one per line."""
    return hashlib.sha256("\n".join(texts.to_pylist()).encode()).hexdigest()
