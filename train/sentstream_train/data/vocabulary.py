"""Learn the vocabulary of a training set: frequent words, then frequent word pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.text import Encoded, Tokens, Vocabulary
from sentstream.text.vocabulary import SPECIAL, UNKNOWN, previous_words


def learn_words(sides: Sequence[Tokens], size: int, min_count: int) -> Vocabulary:
    """The ``size`` most frequent tokens (including the two special ones); ties are sorted by token."""
    counted = pc.value_counts(pa.chunked_array([side.text for side in sides], pa.string()))
    words, counts = counted.field("values"), counted.field("counts")
    table = pa.table({"word": words, "count": counts})
    table = table.filter(pc.and_(pc.greater_equal(table["count"], min_count), pc.is_valid(table["word"])))
    table = table.filter(pc.invert(pc.is_in(table["word"], value_set=pa.array([*SPECIAL, ""]))))
    table = table.sort_by([("count", "descending"), ("word", "ascending")])
    kept = table["word"].slice(0, max(0, size - len(SPECIAL))).combine_chunks()
    return Vocabulary(pa.concat_arrays([pa.array(SPECIAL, pa.string()), kept]))


def learn_pairs(sides: Sequence[Encoded], words: Vocabulary, size: int, min_count: int) -> Vocabulary:
    """The same words and the ``size`` most frequent pairs of adjacent known words in these rows."""
    return with_pairs(words, rank_pairs(sides, words, min_count)[:size])


def with_pairs(words: Vocabulary, pairs: npt.NDArray[np.int32]) -> Vocabulary:
    """The same words and these pairs, sorted by word ids."""
    return Vocabulary(words.words, pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


def rank_pairs(sides: Sequence[Encoded], words: Vocabulary, min_count: int) -> npt.NDArray[np.int32]:
    """``int32[n, 2]``: pairs of adjacent known words, the most frequent first; ties sorted by word ids."""
    counted = pc.value_counts(pa.chunked_array([_pair_keys(side, len(words)) for side in sides], pa.int64()))
    pairs = counted.field("values").to_numpy()
    counts = counted.field("counts").to_numpy()
    frequent = counts >= min_count
    pairs, counts = pairs[frequent], counts[frequent]
    ranked = pairs[np.lexsort((pairs, -counts))]
    return np.stack((ranked // len(words), ranked % len(words)), axis=1).astype(np.int32)


def _pair_keys(rows: Encoded, words: int) -> pa.Array:
    """Each pair of adjacent known words as one number."""
    previous = previous_words(rows.words, rows.offsets)
    known = (previous != UNKNOWN) & (rows.words != UNKNOWN)
    return pa.array(previous[known].astype(np.int64) * words + rows.words[known])
