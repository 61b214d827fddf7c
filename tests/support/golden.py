"""Ten thousand made-up tweets and the bits of their scores, which every interface has to reproduce."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

import sentstream
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.scorer.added_columns import label_fields

#: Texts that break careless code: blank, too long, odd characters.
ODD = [None, "", " \t\n", "x" * 5_000, "a\0b", "😂👍🏽 ok", "مرحبا good", "ﬁne ＧＯＯＤ", "@a http://b.c #d"]
ROWS = 10_000


@cache
def golden_model() -> sentstream.Model:
    """Return the model of ``sentstream score``, on two threads."""
    return sentstream.load(provider="cpu", threads=2)


@cache
def golden_tweets() -> pa.Table:
    """Return ``id`` and ``text`` of tweets of random words, of every length up to 60, and the odd ones."""
    model = golden_model()
    lengths = np.random.default_rng(10).integers(1, 60, ROWS - len(ODD)).tolist()
    drawn = synthetic_tweets(model.bundle.text.vocabulary, lengths).cast(pa.string())
    texts = pa.concat_arrays([drawn, pa.array(ODD, pa.string())])
    order = np.random.default_rng(11).permutation(ROWS)
    return pa.table({"id": np.arange(ROWS), "text": texts.take(pa.array(order))})


@cache
def golden_bits() -> list[tuple[Any, ...]]:
    """Return the result of ``Model.score`` for them."""
    return bits(golden_model().score(golden_tweets()))


def bits(scored: pa.Table) -> list[tuple[Any, ...]]:
    """Return id, label and the bits of the numbers of each row, by id."""
    label, *numbers = (field.name for field in label_fields("sentiment", golden_model().labels))
    columns = [scored["id"].cast(pa.int64()), scored[label].cast(pa.string())]
    for name in numbers:
        assert scored[name].type == pa.float32()
        flat = scored[name].combine_chunks()
        shown = flat.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint32)
        columns.append(
            pa.chunked_array([pa.array(shown, mask=flat.is_null().to_numpy(zero_copy_only=False))])
        )
    table = pa.table(columns, names=["id", *map(str, range(len(columns) - 1))]).sort_by("id")
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))
