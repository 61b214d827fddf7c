"""What tweets are made of: their frequent words and phrases, and emoji, as texts that a teacher can label.

What a teacher makes of "could be better" or of 👎 alone is what a student with a table of words and pairs has
to know, and there are few enough of them to be labeled all. Phrases are counted in the tweets of the transfer
set and in all of Sentiment140; a phrase has up to five words.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.text import LINK, MENTION, UNKNOWN, Encoded, TextPath, TextRules, tokenize
from sentstream_train.data.vocabulary import learn_words

#: The most frequent phrases of one word, of two and so on that are taken, and how often each has to be there.
MOST = (60_000, 60_000, 50_000, 30_000, 20_000)
FEWEST = 20
#: Blocks of Unicode whose symbols are emoji, or used as such; all of them were there before Unicode 13.
_EMOJI = ((0x2600, 0x27BF), (0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F900, 0x1F9FF))

Ids = npt.NDArray[np.int64]


def phrases_of(texts: Sequence[pa.Array], most: Sequence[int] = MOST, fewest: int = FEWEST) -> pa.Array:
    """Frequent phrases, the shortest first and of one length the most frequent.

    Args:
        texts: Columns of tweets.
        most: How many phrases of one word, of two and so on, at most.
        fewest: How often a phrase has to be there.
    """
    rules = TextRules.preset("tweets-3")
    vocabulary = learn_words([tokenize(column, rules, 1000)[0] for column in texts], most[0], fewest)
    path = TextPath(rules, vocabulary)
    words = vocabulary.words
    masked = pa.compute.is_in(words, value_set=pa.array([MENTION, LINK])).to_numpy(zero_copy_only=False)
    masked[: UNKNOWN + 1] = True
    encoded = [path.encode(column) for column in texts]
    found = [_spelled(words, ids) for ids in _frequent(encoded, masked, most, fewest)]
    return pa.concat_arrays(found)


def _frequent(
    sides: Sequence[Encoded], masked: npt.NDArray[np.bool_], most: Sequence[int], fewest: int
) -> Iterator[Ids]:
    """``int64[phrases, n]`` for n of 1, 2 …: word ids of the phrases.

    A phrase is frequent only if what it begins with is (Agrawal and Srikant 1994), so each round looks
    only at places where the last one found something, and counts numbers of 64 bits.
    """
    ids = np.concatenate([side.words for side in sides]).astype(np.int64)
    begins = np.zeros(len(ids) + 1, np.bool_)
    start = 0
    for side in sides:
        begins[side.offsets + start] = True
        start += len(side.words)
    size, free = len(masked), ~masked[ids]
    #: The phrase that ends at each place, by its number in the last round; -1 where there is none.
    last = np.where(free, ids, -1)
    known = np.arange(size, dtype=np.int64)[:, None]
    yield known[~masked]
    for number in most[1:]:
        goes_on = free & ~begins[:-1]
        goes_on[0] = False
        before = np.full(len(ids), -1, np.int64)
        before[1:] = last[:-1]
        places = np.flatnonzero(goes_on & (before >= 0))
        keys, at, counts = np.unique(
            before[places] * size + ids[places], return_inverse=True, return_counts=True
        )
        frequent = np.flatnonzero(counts >= fewest)
        number_of = np.full(len(keys), -1, np.int64)
        number_of[frequent] = np.arange(len(frequent))
        last = np.full(len(ids), -1, np.int64)
        last[places] = number_of[at]
        known = np.concatenate((known[keys[frequent] // size], (keys[frequent] % size)[:, None]), axis=1)
        ranked = np.argsort(-counts[frequent], kind="stable")[:number]
        yield known[ranked]


def _spelled(words: pa.Array, ids: Ids) -> pa.Array:
    """Phrases as texts."""
    columns = [words.take(pa.array(column)) for column in ids.T]
    return pa.compute.binary_join_element_wise(*columns, " ") if len(columns) > 1 else columns[0]


def emoji() -> pa.Array:
    """Each emoji of one code point, alone and three times."""
    points = [point for first, last in _EMOJI for point in range(first, last + 1)]
    alone = [chr(point) for point in points if unicodedata.category(chr(point)) == "So"]
    return pa.array([*alone, *(3 * one for one in alone)])


def fingerprint_of(texts: pa.Array) -> str:
    """What stands for the texts: the SHA-256 of them, a line each."""
    return hashlib.sha256("\n".join(texts.to_pylist()).encode()).hexdigest()


def write(texts: pa.Array, path: Path) -> None:
    """Write texts as a Parquet file, whole or not at all."""
    beside = path.with_suffix(".new")
    pq.write_table(pa.table({"text": texts}), beside, compression="zstd")
    os.replace(beside, path)
