"""The effect of a different tanh on an int8 network: the bound for GPUs, determined without one.

CUDA's ``tanhf`` is within 2 units in the last place (CUDA C++ Programming Guide, "Mathematical Functions"),
and the CPU's differs; everything else in a step is the same (see ``sentstream.cuda.rewrite``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import ModelProto, helper, numpy_helper

from sentstream.bundle import Bundle, load_bundle
from sentstream.cuda.opening import prepare_graph
from sentstream.cuda.rewrite import body_of
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.session import Session
from sentstream_train.network.arrays import Recurrent
from sentstream_train.network.onnx_graph import to_onnx
from sentstream_train.store.trained import network_of

ROOT = Path(__file__).resolve().parents[2]
UNITS_IN_THE_LAST_PLACE = 4


def perturb(model: ModelProto, seed: int) -> bytes:
    """The same graph with each unit's tanh a little off, by up to 4 units in the last place."""
    random = np.random.default_rng(seed)
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    body, nodes = body_of(scan), []
    widths = {one.name: one.type.tensor_type.shape.dim[-1].dim_value for one in body.output}
    for node in body.node:
        nodes.append(node)
        if node.op_type == "Tanh":
            name = node.output[0]
            width = widths[name.replace(".new_h", ".new_q")]
            steps = random.integers(-UNITS_IN_THE_LAST_PLACE, UNITS_IN_THE_LAST_PLACE + 1, width)
            factors = (1 + steps * np.float64(2**-23)).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(factors, f"{name}.off"))
            node.output[0] = f"{name}.exact"
            nodes.append(helper.make_node("Mul", [f"{name}.exact", f"{name}.off"], [name]))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del body.node[:]
    body.node.extend(kept)
    return bytes(model.SerializeToString())


def with_tanh(bundle: Bundle) -> Bundle:
    """The same weights with tanh: the shipped int8 networks have hard_tanh, which has no such differences."""
    network = network_of(bundle)
    layers = tuple(
        replace(one, activation="tanh") if isinstance(one, Recurrent) else one for one in network.layers
    )
    return replace(bundle, model=to_onnx(replace(network, layers=layers)))


@pytest.mark.parametrize("name", ["tweets", "tweets-small"])
@pytest.mark.parametrize("seed", [0, 1])
def test_tanh_differences_move_probabilities_little(name: str, seed: int) -> None:
    bundle = with_tanh(load_bundle(name))
    model = onnx.load_from_string(prepare_graph(bundle.model).model)
    changed = replace(bundle, model=perturb(model, seed))
    examples = pq.read_table(ROOT / "examples/tweets.parquet")["text"].cast(pa.string()).chunks
    texts = [*examples, synthetic_tweets(bundle.text.vocabulary, [*range(1, 41)] * 25)]
    encoded = bundle.text.encode(pa.concat_arrays(texts))
    exact, off = (Session(one, "cpu").probabilities(encoded) for one in (bundle, changed))
    moved = np.abs(exact - off)[~np.isnan(exact).any(axis=1)].max(axis=1)
    assert 0 < (moved > 1e-6).mean() < 0.1
    assert moved.max() < 0.02
    assert moved.mean() < 1e-4
