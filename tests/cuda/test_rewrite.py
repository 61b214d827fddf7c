"""The rewritten graph for CUDA gives the same bits as the int8 graph; other graphs stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cuda_tools import feed_of, float_networks, int8_networks
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sentstream.bundle import list_models, load_bundle
from sentstream.cuda.opening import prepare_graph
from sentstream.cuda.rewrite import EXACT, body_of, use_float_products
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.session import ON_CPU, Session, create, import_runtime
from sentstream_train.network.onnx_graph import to_onnx
from sentstream_train.network.quantized import MOST_WEIGHT

ROOT = Path(__file__).resolve().parents[2]
INT8, FLOAT = int8_networks(), float_networks()
SHIPPED = [name for name in list_models() if b"MatMulInteger" in load_bundle(name).model]


def every_node(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from every_node(attribute.g)


def scan_of(model: ModelProto) -> NodeProto:
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    return scan


def run(model: bytes, feed: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int32]]]) -> bytes:
    (found,) = create(import_runtime(), model, ON_CPU).run(None, feed)
    return bytes(found.tobytes())


@pytest.mark.parametrize("name", INT8)
class TestInt8:
    def test_same_bits(self, name: str) -> None:
        network = INT8[name]
        before = to_onnx(network)
        after = prepare_graph(before).model
        for rows, length in ((1, 1), (2, 1), (64, 7), (3, 50)):
            feed = feed_of(network, rows, length)
            assert run(after, feed) == run(before, feed)

    def test_remaining_operators(self, name: str) -> None:
        model = onnx.load_from_string(to_onnx(INT8[name]))
        layers = sum(node.op_type == "MatMulInteger" for node in every_node(model.graph))
        assert use_float_products(model) == layers > 0
        onnx.checker.check_model(model, full_check=True)
        operators = [node.op_type for node in every_node(model.graph)]
        assert not {"MatMulInteger", "QuantizeLinear", "ReduceMax", "DequantizeLinear"} & set(operators)
        assert operators.count("MatMul") == operators.count("Round") == layers
        kinds = {one.type.tensor_type.elem_type for one in body_of(scan_of(model)).input}
        assert TensorProto.UINT8 not in kinds
        # Nothing stays behind that nobody reads.
        read = {one for node in every_node(model.graph) for one in node.input}
        assert {one.name for one in model.graph.initializer} <= read


@pytest.mark.parametrize("name", FLOAT)
def test_graph_without_int8_products_is_unchanged(name: str) -> None:
    model = onnx.load_from_string(to_onnx(FLOAT[name]))
    before = model.SerializeToString(deterministic=True)
    assert use_float_products(model) == 0
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", SHIPPED)
class TestShipped:
    def test_labels_and_bits_for_all_lengths(self, name: str) -> None:
        bundle = load_bundle(name)
        digest, model = bundle.digest, bytes(bundle.model)
        lengths = [*range(1, 61), *range(70, 200, 10)] * 8
        examples = pq.read_table(ROOT / "examples/tweets.parquet")["text"].cast(pa.string())
        texts = [*examples.chunks, synthetic_tweets(bundle.text.vocabulary, lengths)]
        encoded = bundle.text.encode(pa.concat_arrays(texts))
        before = Session(bundle, "cpu").probabilities(encoded)
        changed = replace(bundle, model=prepare_graph(bundle.model).model)
        after = Session(changed, "cpu").probabilities(encoded)
        assert len(before) > 800
        np.testing.assert_array_equal(after.view(np.int32), before.view(np.int32))
        assert (bundle.digest, bytes(bundle.model)) == (digest, model)
        assert load_bundle(name).digest == digest

    def test_sums_stay_exact(self, name: str) -> None:
        """Sums are exact in float32 in any order, by a wide margin."""
        model = onnx.load_from_string(prepare_graph(load_bundle(name).model).model)
        weights = [
            numpy_helper.to_array(one) for one in model.graph.initializer if one.name.endswith(".weights")
        ]
        assert weights
        for one in weights:
            assert np.array_equal(one, np.rint(one))
            assert np.abs(one).max() <= MOST_WEIGHT
            assert 128 * np.abs(one).sum(axis=0).max() < EXACT / 8


def widen(model: ModelProto) -> None:
    """Weights whose sums may reach 2**24."""
    for one in list(model.graph.initializer):
        if one.data_type == TensorProto.INT8 and one.name.startswith("layer"):
            rows = EXACT // (127 * 127) + 1
            whole = np.full((rows, one.dims[1]), 127, np.int8)
            model.graph.initializer.remove(one)
            model.graph.initializer.append(numpy_helper.from_array(whole, one.name))


def retype(model: ModelProto) -> None:
    """States of an activation that may exceed the range of uint8."""
    for node in body_of(scan_of(model)).node:
        if node.op_type == "Tanh":
            node.op_type = "Relu"


def rescale(model: ModelProto) -> None:
    """Steps so fine that tanh does not fit."""
    for one in model.graph.initializer:
        if one.name == "state_scale":
            one.CopyFrom(numpy_helper.from_array(np.array([1 / 200], np.float32), "state_scale"))


def shift(model: ModelProto) -> None:
    """A first state that is not 0."""
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape" and node.attribute[0].t.data_type == TensorProto.UINT8:
            node.attribute[0].t.CopyFrom(helper.make_tensor("value", TensorProto.UINT8, [1], [7]))


@pytest.mark.parametrize("change", [retype, rescale, shift])
def test_uint8_saturation_is_reproduced(change: Callable[[ModelProto], None]) -> None:
    network = INT8["1 layers max+mean, pairs"]
    model = onnx.load_from_string(to_onnx(network))
    change(model)
    before = model.SerializeToString(deterministic=True)
    assert use_float_products(model) == 1
    after = model.SerializeToString(deterministic=True)
    feed = feed_of(network, 64, 9)
    assert run(after, feed) == run(before, feed) != run(to_onnx(network), feed)


def use_the_last_state(model: ModelProto) -> None:
    """Another node reads a state as uint8."""
    last = scan_of(model).output[0]
    model.graph.node.append(helper.make_node("Cast", [last], ["seen"], to=TensorProto.FLOAT))
    model.graph.output.append(helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["b", "u"]))


def use_a_state_inside(model: ModelProto) -> None:
    """An operator in the body that does not support float32."""
    body = body_of(scan_of(model))
    body.node.append(helper.make_node("Cast", [body.input[0].name], ["seen"], to=TensorProto.FLOAT))


def give_weights_a_zero_point(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.int8), "other_zero"))
    for node in body_of(scan_of(model)).node:
        if node.op_type == "MatMulInteger":
            node.input.append("other_zero")


@pytest.mark.parametrize(
    "change",
    [widen, use_the_last_state, use_a_state_inside, give_weights_a_zero_point],
)
def test_inexact_rewrites_are_skipped(change: Callable[[ModelProto], None]) -> None:
    model = onnx.load_from_string(to_onnx(INT8["1 layers max+mean, pairs"]))
    change(model)
    before = model.SerializeToString(deterministic=True)
    assert use_float_products(model) == 0
    assert model.SerializeToString(deterministic=True) == before
