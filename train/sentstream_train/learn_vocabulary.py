"""The vocabulary of a training set: its frequent words, then its frequent word pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.text import Encoded, Tokens, Vocabulary
from sentstream.text.vocabulary import SPECIAL, UNKNOWN, previous_words


def learn_words(tokens: Tokens, size: int, min_count: int) -> Vocabulary:
    """The ``size`` most frequent tokens (the two special ones included), ties in order of text."""
    counted = pc.value_counts(tokens.text)
    words, counts = counted.field("values"), counted.field("counts")
    table = pa.table({"word": words, "count": counts})
    table = table.filter(pc.and_(pc.greater_equal(table["count"], min_count), pc.is_valid(table["word"])))
    table = table.filter(pc.invert(pc.is_in(table["word"], value_set=pa.array([*SPECIAL, ""]))))
    table = table.sort_by([("count", "descending"), ("word", "ascending")])
    kept = table["word"].slice(0, max(0, size - len(SPECIAL))).combine_chunks()
    return Vocabulary(pa.concat_arrays([pa.array(SPECIAL, pa.string()), kept]))


def learn_pairs(rows: Encoded, words: Vocabulary, size: int, min_count: int) -> Vocabulary:
    """The same words and the ``size`` most frequent pairs of known neighbors among these rows."""
    previous = previous_words(rows.words, rows.offsets)
    known = (previous != UNKNOWN) & (rows.words != UNKNOWN)
    keys = previous[known].astype(np.int64) * len(words) + rows.words[known]
    counted = pc.value_counts(pa.array(keys))
    found = counted.field("values").to_numpy()
    counts = counted.field("counts").to_numpy()
    frequent = counts >= min_count
    found, counts = found[frequent], counts[frequent]
    best = np.lexsort((found, -counts))[:size]
    chosen = np.sort(found[best])
    pairs = np.stack((chosen // len(words), chosen % len(words)), axis=1).astype(np.int32)
    return Vocabulary(words.words, pairs)
