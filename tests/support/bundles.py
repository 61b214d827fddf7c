"""Tiny bundles with random weights: real graphs and real sessions, in a fraction of a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from sentstream.bundle import load_bundle, make_config, replace_config, save_bundle, with_reference
from sentstream.drift.held_out import HeldOut
from sentstream.model import Model
from sentstream.text import Encoded, TextRules, Vocabulary
from sentstream_train.config import Activation
from sentstream_train.network.arrays import Dense, Direction, Layer, Lookup, Network, Pooling, Recurrent
from sentstream_train.network.onnx_graph import OPSET, to_onnx
from sentstream_train.network.quantized import quantize

WORDS = (
    "<pad> <unk> i you love hate it this is not so good bad great awful day the a my @u @url ! ? . :) :( 😂"
).split()


def make_network(
    words: int,
    pairs: int | None,
    classes: int,
    *,
    units: int = 8,
    seed: int = 0,
    activation: Activation = "tanh",
) -> Network:
    """Build lookup → SimpleRNN → SimpleRNN → maximum and mean → softmax, with weights drawn from ``seed``."""
    random = np.random.default_rng(seed)

    def drawn(*shape: int, scale: float = 0.5) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return random.normal(0, scale, shape).astype(np.float32)

    lookup = Lookup(drawn(words, units), None if pairs is None else drawn(pairs + 1, units))
    if lookup.pairs is not None:
        lookup.pairs[0] = 0
    first = Direction(None, drawn(units, units, scale=0.3), drawn(units))
    second = Direction(drawn(units, units), drawn(units, units, scale=0.3), drawn(units))
    layers: tuple[Layer, ...] = (
        Recurrent("simple", units, True, first, activation=activation),
        Recurrent("simple", units, True, second, activation=activation),
        Pooling(("max", "mean")),
        Dense(drawn(2 * units, classes, scale=2.0), drawn(classes), "softmax"),
    )
    return Network(lookup, layers)


def draw_encoded(words: int, pairs: int | None, rows: int, *, seed: int = 1) -> Encoded:
    """Draw rows of 1 to 19 ids."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate(([0], np.cumsum(random.integers(1, 20, rows)))).astype(np.int64)
    ids = random.integers(1, words, offsets[-1]).astype(np.int32)
    pair_ids = None if pairs is None else random.integers(0, pairs + 1, offsets[-1]).astype(np.int32)
    return Encoded(offsets, ids, pair_ids)


def make_bundle(
    directory: Path,
    *,
    labels: tuple[str, ...] = ("negative", "positive"),
    pairs: bool = True,
    seed: int = 0,
    name: str = "tiny",
    max_chars: int = 1000,
    precision: Literal["fp32", "int8"] = "fp32",
    activation: Activation = "tanh",
    rules: TextRules | None = None,
) -> Path:
    """Write a bundle of a tiny network; the same arguments give the same digest."""
    known_pairs = np.array([[2, 4], [9, 11], [12, 21]], np.int32) if pairs else None
    vocabulary = Vocabulary(WORDS, known_pairs, escaped=rules is not None and rules.cuts)
    count = None if known_pairs is None else len(known_pairs)
    network = make_network(len(WORDS), count, len(labels), seed=seed, activation=activation)
    if precision == "int8":
        rows = draw_encoded(len(WORDS), count, 200, seed=seed)
        network = quantize(network, rows)
    config = make_config(
        name=name,
        version="0.0.1",
        labels=labels,
        rules=rules or TextRules(),
        vocabulary=vocabulary,
        opset=OPSET,
        max_chars=max_chars,
        provenance={"network": network.describe()},
    )
    save_bundle(directory, model=to_onnx(network), vocabulary=vocabulary, config=config, card="# tiny\n")
    return directory


def add_reference(
    directory: Path, texts: Sequence[str | None], source: str = "validation rows of mine.parquet"
) -> HeldOut:
    """Add a drift reference, computed from these texts, to a bundle."""
    scorer = Model.load(str(directory), provider="cpu", threads=1).scorer(columns=[])
    reference = HeldOut(source, scorer.score(pa.record_batch({"text": texts})).distribution)
    replace_config(directory, with_reference(load_bundle(directory).config, reference))
    return reference
