"""The shipped int8 models: the slow path's bits in any batch, and their stated figures on real tweets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.bundle import Bundle, load_bundle
from sentstream.model import Model
from sentstream.scorer import Scorer
from sentstream.session import Session
from sentstream.text import Encoded
from sentstream_train.network.arrays import Network, Recurrent
from sentstream_train.network.onnx_graph import to_onnx
from sentstream_train.store.trained import network_of

NAMES = ("tweets", "tweets-small")
ROOT = Path(__file__).parents[1]
#: Of the labels, how many int8 may change, and of the macro-recall, what it may cost: docs/bundle.md.
MOST_FLIPS = 0.005
ROWS = cases(40_000, 100_000)
WORDS = [
    "good",
    "bad",
    "so",
    "not",
    "happy",
    ":)",
    "#fail",
    "@you",
    "http://t.co/x",
    "zzqx",
    "🙂",
    "...",
    "no",
]
TEXTS = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.lists(st.sampled_from(WORDS), min_size=60, max_size=90).map(" ".join),
)


@pytest.fixture(scope="module", params=NAMES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(request.param)


def one_by_one(bundle: Bundle, column: pa.Array) -> list[npt.NDArray[np.float32]]:
    """The slow path: each text in its own batch."""
    session = Session(bundle, "cpu", max_batch=1)
    return [session.probabilities(bundle.text.encode(column.slice(row, 1)))[0] for row in range(len(column))]


@settings(max_examples=cases(40), deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=40),
    max_batch=st.integers(1, 300),
    window=st.integers(1, 50),
    threads=st.integers(1, 4),
)
def test_bits_match_the_slow_path(
    bundle: Bundle, texts: list[str | None], max_batch: int, window: int, threads: int
) -> None:
    column = pa.array(texts, pa.string())
    batch = pa.record_batch({"text": column})
    scorer = Scorer(bundle, Session(bundle, "cpu", max_batch=max_batch))
    pieces = [batch.slice(start, window) for start in range(0, len(batch), window)]
    found = pa.Table.from_batches([part.batch for part in scorer.score_stream(pieces, threads)])
    columns = [found[f"sentiment_prob_{label}"].to_numpy(zero_copy_only=False) for label in bundle.labels]
    expected = np.array(one_by_one(bundle, column))
    np.testing.assert_array_equal(np.stack(columns, axis=1).view(np.uint32), expected.view(np.uint32))


def without_rounding(network: Network) -> Network:
    """The same weights, and states that are not rounded."""
    layers = [
        replace(layer, forward=replace(layer.forward, scale=None))
        if isinstance(layer, Recurrent) and layer.forward is not None
        else layer
        for layer in network.layers
    ]
    return replace(network, layers=tuple(layers))


def real_tweets() -> pa.Array:
    data = Path(os.environ.get("SENTSTREAM_DATA", ROOT.parent / "shared" / "data"))
    paths = list(data.glob("*/tweets.parquet"))
    if not paths:
        assert os.environ.get("CI") != "true", f"no tweets in {data}"
        pytest.skip("no real tweets here")
    with pq.ParquetFile(paths[0]) as file:
        return file.read(["text"], use_threads=False)["text"].combine_chunks().slice(0, ROWS)


def windows(encoded: Encoded, rows: int) -> Iterator[Encoded]:
    """Runs of rows."""
    for start in range(0, len(encoded), rows):
        offsets = encoded.offsets[start : start + rows + 1]
        part = slice(int(offsets[0]), int(offsets[-1]))
        pairs = None if encoded.pairs is None else encoded.pairs[part]
        yield Encoded(offsets - offsets[0], encoded.words[part], pairs)


@pytest.mark.slow
def test_int8_stays_within_its_bound_on_real_tweets(bundle: Bundle) -> None:
    network = network_of(bundle)
    assert network.precision == "int8"
    plain = without_rounding(network)
    assert plain.precision == "fp32"
    twin = replace(bundle, model=to_onnx(plain))
    column = real_tweets()
    encoded = bundle.text.encode(column)
    first, second = (
        np.concatenate([session.probabilities(part) for part in windows(encoded, 32_768)])
        for session in (Session(bundle, "cpu"), Session(twin, "cpu"))
    )
    assert len(first) == ROWS
    known = ~np.isnan(second[:, 0])
    first, second = first[known], second[known]
    flips = (first.argmax(axis=1) != second.argmax(axis=1)).mean()
    moved = np.abs(first - second).max(axis=1)
    assert 0 < flips < MOST_FLIPS  # 0 would say that nothing was rounded
    assert 1e-5 < moved.mean() < 0.01
    # The same bits from run to run.
    again = Model(bundle, Session(bundle, "cpu", max_batch=100), 2).score(column)
    for index, label in enumerate(bundle.labels):
        column = again[f"sentiment_prob_{label}"].to_numpy()[known]
        np.testing.assert_array_equal(column.view(np.uint32), first[:, index].view(np.uint32))
