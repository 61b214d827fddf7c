"""The int8 recurrence: exactly the same integers in NumPy, 16 bits are enough, and what is rejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from bundles import draw_encoded, make_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sentstream.bundle import load_bundle
from sentstream.errors import ModelFormatError
from sentstream.session import Session
from sentstream.text import Encoded
from sentstream_train.network.arrays import (
    Direction,
    Layer,
    Lookup,
    Network,
    Pooling,
    Recurrent,
    all_arrays,
    rebuild,
    same_numbers,
)
from sentstream_train.network.conversion import from_keras, to_keras
from sentstream_train.network.onnx_graph import to_onnx
from sentstream_train.network.quantized import (
    MOST_WEIGHT,
    STATE_SCALE,
    ZERO_STATE,
    check_quantizable,
    correct_bias,
    quantize,
)
from sentstream_train.network.tables import fold, to_int8
from tests.train.network.test_onnx_graph import Maker, reference

Ints = npt.NDArray[np.int32]
WORDS, PAIRS, WIDTH = 300, 90, 24


def make(
    units: tuple[int, ...] = (24, 17),
    *,
    pairs: bool = True,
    pooling: Any = ("max", "mean"),
    seed: int = 0,
    activations: tuple[str, ...] = (),
) -> Network:
    """Folded look-up, so many ``SimpleRNN`` layers (of tanh), pooling or the last state, softmax."""
    random = np.random.default_rng(seed)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return random.normal(0, shape[0] ** -0.5, shape).astype(np.float32)

    table = 2 * drawn(PAIRS + 1, WIDTH) if pairs else None
    if table is not None:
        table[0] = 0
    layers: list[Layer] = []
    width = WIDTH
    for index, (size, activation) in enumerate(
        zip(units, activations or ["tanh"] * len(units), strict=True), start=1
    ):
        way = Direction(drawn(width, size), drawn(size, size), 0.1 * drawn(1, size)[0])
        sequences = bool(pooling) or index < len(units)
        layers.append(Recurrent("simple", size, sequences, way, activation=activation))
        width = size
    if pooling:
        layers.append(Pooling(pooling))
        width *= len(pooling)
    head = Maker(seed).dense(width)
    return fold(Network(Lookup(drawn(WORDS, WIDTH) * 4, table), (*layers, head)))


def tweets(pairs: bool = True, rows: int = 200, seed: int = 1) -> Encoded:
    return draw_encoded(WORDS, PAIRS if pairs else None, rows, seed=seed)


def int8_weights(network: Network) -> list[npt.NDArray[np.int8]]:
    """Of each layer, as the graph multiplies with them."""
    arrays, found = all_arrays(network), []
    for index, layer in enumerate(network.layers, start=1):
        if isinstance(layer, Recurrent):
            parts = [arrays.get(f"layer_{index}.forward.{part}") for part in ("kernel", "recurrent")]
            found.append(np.concatenate([part for part in parts if part is not None]))
    return found


def exposing(network: Network) -> tuple[bytes, list[str]]:
    """The same graph, and what its ``MatMulInteger`` and ``QuantizeLinear`` give at each step."""
    model = onnx.load_from_string(to_onnx(network))
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    body = next(one.g for one in scan.attribute if one.name == "body")
    kinds = {"MatMulInteger": TensorProto.INT32, "QuantizeLinear": TensorProto.UINT8}
    names = []
    for node in list(body.node):
        if (kind := kinds.get(node.op_type)) is not None:
            name = f"seen_{len(names)}"
            body.node.append(helper.make_node("Identity", [node.output[0]], [f"step.{name}"]))
            body.output.append(helper.make_tensor_value_info(f"step.{name}", kind, ["batch", None]))
            scan.output.append(name)
            model.graph.output.append(helper.make_tensor_value_info(name, kind, ["time", "batch", None]))
            names.append(name)
    onnx.checker.check_model(model)
    return model.SerializeToString(), names


def feed_of(network: Network, rows: int, length: int, seed: int = 4) -> dict[str, Ints]:
    random = np.random.default_rng(seed)
    feed = {"words": random.integers(0, WORDS, (rows, length)).astype(np.int32)}
    if network.lookup.pairs is not None:
        feed["pairs"] = random.integers(0, PAIRS + 1, (rows, length)).astype(np.int32)
    return feed


def run(model: bytes, feed: dict[str, Ints], wanted: list[str] | None = None) -> list[npt.NDArray[Any]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: list[npt.NDArray[Any]] = session.run(wanted or ["probabilities"], feed)
    return found


def in_numpy(network: Network, feed: dict[str, Ints]) -> npt.NDArray[np.float32]:
    """Probabilities, with whole numbers where the graph has them and float32 elsewhere."""
    lookup, weights = network.lookup, int8_weights(network)
    stack = [layer for layer in network.layers if isinstance(layer, Recurrent)]
    value = lookup.rows(lookup.words)[feed["words"]]
    if lookup.pairs is not None:
        value = value + lookup.rows(lookup.pairs)[feed["pairs"]]
    states = [np.full((len(value), one.shape[1]), ZERO_STATE) for one in weights]
    highest: list[npt.NDArray[np.float32]] = []
    for step in range(value.shape[1]):
        for index, (layer, weight) in enumerate(zip(stack, weights, strict=True)):
            way = layer.forward
            assert way is not None
            assert way.scale is not None
            seen = states[index] if not index else np.concatenate((states[index - 1], states[index]), axis=1)
            product = (seen.astype(np.int32) - int(ZERO_STATE)) @ weight.astype(np.int32)
            added = value[:, step] if not index else way.bias
            new = product.astype(np.float32) * (STATE_SCALE * way.scale) + added
            new = np.tanh(new) if layer.activation == "tanh" else new
            states[index] = (np.rint(new / STATE_SCALE) + int(ZERO_STATE)).clip(0, 255).astype(np.uint8)
            if layer.activation == "hard_tanh":  # whose states are never anything else
                new = (states[index].astype(np.float32) - int(ZERO_STATE)) * STATE_SCALE
        highest.append(new)
    found = np.array(highest)
    parts = {"max": found.max(axis=0), "mean": found.mean(axis=0)}
    pooling = next((layer.parts for layer in network.layers if isinstance(layer, Pooling)), ())
    flat = np.concatenate([parts[part] for part in pooling], axis=1) if pooling else found[-1]
    head: Any = network.layers[-1]
    logits = flat @ head.kernel + head.bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def _below_the_most(network: Network) -> Network:
    """The same with columns in which no number is the largest that int8 has."""
    lookup, (first, *rest) = network.lookup, network.layers
    assert isinstance(first, Recurrent)
    assert first.forward is not None
    assert first.forward.scale is not None
    assert lookup.scale is not None
    words, pairs = lookup.words.copy(), None if lookup.pairs is None else lookup.pairs.copy()
    for table in (words, pairs):
        if table is not None:
            table[:, 2] = table[:, 2].clip(-101, 101)
    whole = np.rint(first.forward.recurrent / first.forward.scale)
    whole[:, 1] = whole[:, 1].clip(-MOST_WEIGHT + 3, MOST_WEIGHT - 3)
    recurrent = whole.astype(np.float32) * first.forward.scale
    way = replace(first.forward, recurrent=recurrent)
    return Network(Lookup(words, pairs, lookup.scale), (replace(first, forward=way), *rest))


SHAPES: list[dict[str, Any]] = [
    {"units": (24,)},
    {"units": (24, 17)},
    {"units": (24, 31, 9), "pooling": ("mean", "max")},
    {"units": (24,), "pooling": ()},
    {"units": (24, 17), "pooling": (), "pairs": False},
    {"units": (24, 17), "pooling": ("max",), "pairs": False},
    {"units": (24, 17), "pooling": ("mean",)},
    {"units": (24, 17), "activations": ("hard_tanh", "hard_tanh")},
    {"units": (24,), "activations": ("hard_tanh",), "pooling": ("mean", "max"), "pairs": False},
    {"units": (24, 17), "activations": ("hard_tanh", "hard_tanh"), "pooling": ()},
    {"units": (24, 31, 9), "activations": ("tanh", "hard_tanh", "tanh")},
    {"units": (24, 17), "activations": ("hard_tanh", "tanh"), "pooling": ("max",)},
    {"units": (24, 17), "activations": ("tanh", "hard_tanh"), "pooling": ("mean",)},
]
CLIPPED = [shape for shape in SHAPES if set(shape.get("activations", ())) == {"hard_tanh"}]
TABLES: dict[str, Callable[[Network], Network]] = {
    "float32 tables": lambda network: network,
    "int8 tables": to_int8,
    "int8 tables of one scale": lambda network: to_int8(network, one_scale=True),
}


def named(shape: dict[str, Any]) -> str:
    return " ".join(map(str, shape.values()))


@pytest.mark.parametrize("shape", SHAPES, ids=named)
class TestGraph:
    def test_integers_match_numpy(self, shape: dict[str, Any]) -> None:
        network = quantize(make(**shape), tweets(shape.get("pairs", True)))
        weights = int8_weights(network)
        model, names = exposing(network)
        *seen, _ = run(model, feed_of(network, 37, 9), [*names, "probabilities"])
        assert len(seen) == 2 * len(weights)
        products, states = seen[0::2], seen[1::2]
        for index, weight in enumerate(weights):
            assert products[index].dtype == np.int32
            assert states[index].dtype == np.uint8
            before = np.concatenate([np.full_like(states[index][:1], ZERO_STATE), states[index][:-1]])
            given = before if not index else np.concatenate((states[index - 1], before), axis=2)
            expected = (given.astype(np.int32) - int(ZERO_STATE)) @ weight.astype(np.int32)
            np.testing.assert_array_equal(products[index], expected)
        assert all(len(np.unique(one)) > 100 for one in states)  # not constants that anything would equal

    @pytest.mark.parametrize("tables", TABLES)
    def test_probabilities_match_numpy(self, shape: dict[str, Any], tables: str) -> None:
        network = quantize(TABLES[tables](make(**shape)), tweets(shape.get("pairs", True)))
        for rows, length in ((64, 11), (1, 1), (2, 40)):
            feed = feed_of(network, rows, length)
            (given,) = run(to_onnx(network), feed)
            difference = np.abs(given - in_numpy(network, feed)).max(axis=1)
            # Another tanh or order of operations may round a state to its neighbor, in few rows and not far.
            assert np.median(difference) < 1e-6
            assert difference.max() < 0.02

    def test_close_to_the_original_network(self, shape: dict[str, Any]) -> None:
        before = make(**shape)
        after = quantize(before, tweets(shape.get("pairs", True)))
        feed = feed_of(before, 50, 12)
        pairs = feed.get("pairs", feed["words"])
        expected = reference(before, feed["words"], pairs)
        (given,) = run(to_onnx(after), feed)
        assert 0 < np.abs(given - expected).mean() < 0.01
        # What the weights alone change, in double precision: the network is plain numbers, too.
        assert 0 < np.abs(reference(after, feed["words"], pairs) - expected).mean() < 0.01

    def test_corrected_bias_removes_the_mean_change(self, shape: dict[str, Any]) -> None:
        before = make(**shape)
        after = quantize(before, tweets(shape.get("pairs", True)))
        feed = feed_of(before, 200, 12)
        exact, rounded = (run(to_onnx(one), feed)[0] for one in (before, after))
        (corrected,) = run(to_onnx(correct_bias(after, rounded, exact)), feed)

        def change(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
            difference = np.log(shares) - np.log(exact)
            return (difference - difference.mean(axis=1, keepdims=True)).mean(axis=0, dtype=np.float64)

        assert np.abs(change(rounded)).max() > 3e-4
        assert np.abs(change(corrected)).max() < 1e-4

    def test_quantization_is_idempotent(self, shape: dict[str, Any]) -> None:
        """Through Keras a bundle's network loses its scales, but it is not rounded again."""
        network = _below_the_most(to_int8(quantize(make(**shape), tweets(shape.get("pairs", True)))))
        plain = fold(from_keras(to_keras(network)))
        assert plain.lookup.scale is None
        assert plain.precision == "fp32"
        again = quantize(to_int8(plain), tweets(shape.get("pairs", True), seed=9))
        assert same_numbers(again, plain)
        arrays = all_arrays(again)
        for name, array in all_arrays(network).items():
            assert arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(arrays[name], array)

    def test_network_is_rebuilt_from_constants(self, shape: dict[str, Any]) -> None:
        network = quantize(make(**shape), tweets(shape.get("pairs", True)))
        model = onnx.load_from_string(to_onnx(network))
        arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        described = network.describe()
        assert described["precision"] == network.precision == "int8"
        again = rebuild(described, arrays)
        assert to_onnx(again) == to_onnx(network)
        for name, array in all_arrays(network).items():
            assert arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(arrays[name], array)

    def test_onnx_runtime_fuses_each_product(self, shape: dict[str, Any], tmp_path: Path) -> None:
        """Without it, int8 takes an eighth to a quarter more time."""
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3
        network = quantize(make(**shape), tweets(shape.get("pairs", True)))
        onnxruntime.InferenceSession(to_onnx(network), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(tmp_path / "optimized.onnx").graph
        bodies = [one.g for node in graph.node for one in node.attribute if one.name == "body"]
        kinds = [node.op_type for body in bodies for node in body.node]
        assert kinds.count("MatMulIntegerToFloat") == len(shape["units"])
        assert "MatMulInteger" not in kinds


def body_of(model: bytes) -> list[onnx.NodeProto]:
    """The nodes of a step."""
    (scan,) = (node for node in onnx.load_from_string(model).graph.node if node.op_type == "Scan")
    return list(next(one.g for one in scan.attribute if one.name == "body").node)


class TestClipped:
    """States of ``hard_tanh``: whole numbers from the quantizer on."""

    @pytest.mark.parametrize("shape", CLIPPED, ids=named)
    @pytest.mark.parametrize("tables", TABLES)
    def test_steps_have_only_integer_states(self, shape: dict[str, Any], tables: str) -> None:
        network = TABLES[tables](make(**shape))
        nodes = body_of(to_onnx(quantize(network, tweets(shape.get("pairs", True)))))
        kinds = [node.op_type for node in nodes]
        assert not {"Tanh", "Clip", "DequantizeLinear"} & set(kinds)
        assert kinds.count("QuantizeLinear") == len(shape["units"])
        scaled = any("table_scale" in node.input for node in nodes)
        assert scaled == (tables == "int8 tables")  # sums stay in steps of the tables

    def test_quantizer_saturates_at_both_ends(self) -> None:
        """Sums far outside of -1 to 1: the ends of uint8, and never what wraps around."""
        network = make((24, 17), activations=("hard_tanh", "hard_tanh"))
        lookup = network.lookup
        network = replace(network, lookup=replace(lookup, words=lookup.words * np.float32(40)))
        model, names = exposing(quantize(network, tweets()))
        found = run(model, feed_of(network, 37, 9), names)
        assert {0, 255} <= set(np.unique(found[1]).tolist())
        values = lookup.words[feed_of(network, 37, 9)["words"][:, 0]] * np.float32(40)
        assert lookup.pairs is not None
        values = values + lookup.pairs[feed_of(network, 37, 9)["pairs"][:, 0]]
        expected = (np.rint(values / STATE_SCALE) + 128).clip(0, 255)  # the first step has no state yet
        np.testing.assert_array_equal(found[1][0], expected)

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.1, 1.0, 20.0]))
    def test_rows_have_the_same_bits_in_any_order(self, seed: int, scale: float) -> None:
        network = make((24, 17), activations=("hard_tanh", "hard_tanh"), seed=seed % 7)
        lookup = network.lookup
        network = replace(network, lookup=replace(lookup, words=lookup.words * np.float32(scale)))
        session = onnxruntime.InferenceSession(
            to_onnx(quantize(to_int8(network, one_scale=True), tweets())), providers=["CPUExecutionProvider"]
        )
        random = np.random.default_rng(seed)
        feed = feed_of(network, 23, int(random.integers(1, 20)), seed=seed)
        (whole,) = session.run(None, feed)
        assert np.isfinite(whole).all()
        order = random.permutation(23)
        (mixed,) = session.run(None, {name: ids[order] for name, ids in feed.items()})
        assert mixed.tobytes() == whole[order].tobytes()
        for row in (0, 22):
            (alone,) = session.run(None, {name: ids[[row, row]] for name, ids in feed.items()})
            assert alone[0].tobytes() == alone[1].tobytes() == whole[row].tobytes()

    def test_tables_with_one_scale_keep_it(self) -> None:
        """A bundle that was a Keras model for a while."""
        shape = CLIPPED[0]
        network = to_int8(quantize(make(**shape), tweets()), one_scale=True)
        assert network.lookup.scale is not None
        assert len(set(network.lookup.scale.tolist())) == 1
        plain = fold(from_keras(to_keras(network)))
        again = quantize(to_int8(plain, one_scale=True), tweets(seed=9))
        assert to_onnx(again) == to_onnx(network)


def pairs_in_16_bits(states: npt.NDArray[np.uint8], weights: npt.NDArray[np.int8]) -> Ints:
    """What a CPU without VNNI computes: products of neighbors added in 16 bits that saturate, then in 32."""
    products = states[:, :, None].astype(np.int32) * weights[None].astype(np.int32)
    if products.shape[1] % 2:
        products = np.concatenate((products, np.zeros_like(products[:, :1])), axis=1)
    summed = products[:, 0::2] + products[:, 1::2]
    sums: Ints = np.clip(summed, -(2**15), 2**15 - 1).sum(axis=1, dtype=np.int32)
    return sums


def worst_states(weights: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """For each column, the states that drive its sum up, and those that drive it down."""
    columns = weights.T
    return np.concatenate((np.where(columns > 0, 255, 0), np.where(columns < 0, 255, 0))).astype(np.uint8)


class TestSixteenBits:
    def test_two_products_always_fit(self) -> None:
        assert 2 * 255 * MOST_WEIGHT <= 2**15 - 1
        assert 2 * 255 * -MOST_WEIGHT >= -(2**15)
        ends = np.array([[0, 0], [0, 255], [255, 0], [255, 255]], np.uint8)
        weights = np.array(
            [[a, b] for a in (-MOST_WEIGHT, MOST_WEIGHT) for b in (-MOST_WEIGHT, MOST_WEIGHT)], np.int8
        ).T
        np.testing.assert_array_equal(
            pairs_in_16_bits(ends, weights), ends.astype(np.int32) @ weights.astype(np.int32)
        )

    def test_full_int8_range_would_overflow(self) -> None:
        """Shows that the emulation works, and why there is a limit."""
        weights = np.full((2, 1), 127, np.int8)
        assert pairs_in_16_bits(worst_states(weights)[:1], weights).tolist() == [[2**15 - 1]]

    @pytest.mark.parametrize("scale", [1.0, 30.0, 1e-3])
    def test_no_layer_saturates(self, scale: float) -> None:
        network = make((24, 40), seed=3)
        first, second, *rest = network.layers
        assert isinstance(second, Recurrent)
        assert second.forward is not None
        way = replace(second.forward, recurrent=second.forward.recurrent * np.float32(scale))
        network = quantize(
            replace(network, layers=(first, replace(second, forward=way), *rest)), tweets(rows=60)
        )
        random = np.random.default_rng(5)
        for weights in int8_weights(network):
            assert np.abs(weights.astype(np.int32)).max() == MOST_WEIGHT  # the room is used
            drawn = random.integers(0, 256, (50, len(weights))).astype(np.uint8)
            for order in (np.arange(len(weights)), random.permutation(len(weights))):
                states = np.concatenate((worst_states(weights), drawn))[:, order]
                exact = states.astype(np.int32) @ weights[order].astype(np.int32)
                np.testing.assert_array_equal(pairs_in_16_bits(states, weights[order]), exact)

    @settings(max_examples=50, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 200))
    def test_runtime_product_matches_32_bits(self, seed: int, width: int) -> None:
        """The operator alone, at the ends of what states and weights may be."""
        random = np.random.default_rng(seed)
        states = random.choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), (5, width))
        weights = random.choice(np.array([-MOST_WEIGHT, -1, 0, MOST_WEIGHT], np.int8), (width, 3))
        node = helper.make_node("MatMulInteger", ["states", "weights", "zero"], ["product"])
        graph = helper.make_graph(
            [node],
            "product",
            [helper.make_tensor_value_info("states", TensorProto.UINT8, [5, width])],
            [helper.make_tensor_value_info("product", TensorProto.INT32, [5, 3])],
            [
                numpy_helper.from_array(weights, "weights"),
                numpy_helper.from_array(np.array(ZERO_STATE), "zero"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (product,) = session.run(None, {"states": states})
        expected = (states.astype(np.int32) - int(ZERO_STATE)) @ weights.astype(np.int32)
        np.testing.assert_array_equal(product, expected)


class TestRounding:
    def test_weights_are_multiples_of_column_scales(self) -> None:
        before = make((24, 17), seed=6)
        after = quantize(before, tweets())
        for weights, layer in zip(int8_weights(after), after.layers, strict=False):
            assert isinstance(layer, Recurrent)
            way = layer.forward
            assert way is not None
            assert way.scale is not None
            plain = way.recurrent if way.kernel is None else np.concatenate((way.kernel, way.recurrent))
            assert weights.dtype == np.int8
            assert np.abs(weights.astype(np.int32)).max() <= MOST_WEIGHT
            np.testing.assert_array_equal(weights.astype(np.float32) * way.scale, plain)
        for one, other in zip(before.layers, after.layers, strict=True):
            if isinstance(one, Recurrent):
                assert isinstance(other, Recurrent)
                assert one.forward is not None
                assert other.forward is not None
                assert one.forward.bias is other.forward.bias
            else:
                assert one is other
        assert after.lookup is before.lookup

    def test_better_than_rounding_to_nearest(self) -> None:
        """On other tweets than those it looked at; their states go together, as those of a trained model."""
        random = np.random.default_rng(7)
        network = make((24, 17), seed=7)
        few = random.normal(0, 1, (WORDS, 4)) @ random.normal(0, 1, (4, WIDTH))
        network = replace(network, lookup=replace(network.lookup, words=few.astype(np.float32)))
        after = quantize(network, tweets(rows=400))
        feed = feed_of(network, 300, 12, seed=8)
        value = network.lookup.rows(network.lookup.words)[feed["words"]]
        value = value + network.lookup.rows(network.lookup.pairs)[feed["pairs"]]  # type: ignore[arg-type]
        first, rounded = (one.layers[0].forward for one in (network, after))  # type: ignore[union-attr]
        assert first is not None
        assert rounded is not None
        scale = np.abs(first.recurrent).max(axis=0) / MOST_WEIGHT
        nearest = np.rint(first.recurrent / scale) * scale
        state, errors = np.zeros((300, 24), np.float32), [0.0, 0.0]
        for step in range(12):
            for index, weights in enumerate((rounded.recurrent, nearest)):
                errors[index] += float(((state @ (weights - first.recurrent)) ** 2).sum())
            state = np.tanh(value[:, step] + state @ first.recurrent)
        assert 0 < errors[0] < 0.5 * errors[1]

    def test_equal_tweets_give_equal_bytes(self) -> None:
        network = make((24, 17))
        graphs = {to_onnx(quantize(network, tweets(seed=2))) for _ in range(3)}
        assert len(graphs) == 1
        assert to_onnx(quantize(network, tweets(seed=3))) not in graphs

    @pytest.mark.parametrize("rows", [1, 5])
    def test_few_tweets_of_one_token_and_columns_of_zeros(self, rows: int) -> None:
        """No data: states that were never seen, weights that are all zero."""
        network = make((24, 17))
        first, *rest = network.layers
        assert isinstance(first, Recurrent)
        assert first.forward is not None
        recurrent = first.forward.recurrent.copy()
        recurrent[:, :5] = 0
        network = replace(
            network, layers=(replace(first, forward=replace(first.forward, recurrent=recurrent)), *rest)
        )
        short = Encoded(np.arange(rows + 1), np.arange(1, rows + 1, dtype=np.int32), np.zeros(rows, np.int32))
        after = quantize(network, short)
        weights, _ = int8_weights(after)
        assert not weights[:, :5].any()
        assert weights[:, 5:].any(axis=0).all()
        assert all(np.isfinite(array).all() for array in all_arrays(after).values())
        feed = feed_of(after, 20, 6)
        difference = np.abs(run(to_onnx(after), feed)[0] - reference(network, feed["words"], feed["pairs"]))
        assert difference.mean() < 0.02


class TestBundle:
    def test_bundle_is_valid_and_deterministic(self, tmp_path: Path) -> None:
        bundles = [load_bundle(make_bundle(tmp_path / name, precision="int8")) for name in ("a", "b")]
        assert bundles[0].digest != load_bundle(make_bundle(tmp_path / "c")).digest
        assert bundles[0].model == bundles[1].model
        vocabulary = bundles[0].text.vocabulary
        rows = draw_encoded(len(vocabulary), vocabulary.pair_count, 300, seed=9)
        tables = [Session(bundle, "cpu").probabilities(rows) for bundle in (*bundles, *bundles)]
        assert len({table.tobytes() for table in tables}) == 1
        assert np.isfinite(tables[0]).all()


def layer_of(network: Network, **changes: Any) -> Network:
    first, *rest = network.layers
    assert isinstance(first, Recurrent)
    return replace(network, layers=(replace(first, **changes), *rest))


def gru_or_lstm(cell: str) -> Network:
    maker = Maker(1)
    layer = maker.recurrent(cell, 6, ways="f", sequences=False)
    return fold(Network(maker.lookup(), (layer, maker.dense(4))))


def both_ways(ways: str) -> Network:
    maker = Maker(2)
    layer = maker.recurrent("simple", 6, ways=ways, sequences=False)
    return fold(Network(maker.lookup(), (layer, maker.dense(layer.width))))


def not_folded() -> Network:
    maker = Maker(3)
    layer = maker.recurrent("simple", 6, ways="f", sequences=False)
    return Network(maker.lookup(), (layer, maker.dense(4)))


def without_recurrence() -> Network:
    maker = Maker(4)
    return Network(maker.lookup(), (Pooling(("max",)), maker.dense(6)))


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (gru_or_lstm("gru"), "layer 1 is a GRU of tanh"),
        (gru_or_lstm("lstm"), "layer 1 is a LSTM of tanh"),
        (both_ways("fb"), "layer 1 is a bidirectional SimpleRNN of tanh"),
        (both_ways("b"), "layer 1 is a backward-reading SimpleRNN of tanh"),
        (layer_of(make(), activation="relu"), "layer 1 is a SimpleRNN of relu"),
        (not_folded(), "its first projection is not folded into the tables"),
        (without_recurrence(), "it has no recurrent layer"),
    ],
    ids=["gru", "lstm", "bidirectional", "backward", "relu", "not folded", "no recurrence"],
)
def test_unsupported_networks_name_what_is_supported(network: Network, why: str) -> None:
    for refused in (lambda: check_quantizable(network), lambda: quantize(network, tweets())):
        with pytest.raises(ModelFormatError) as caught:
            refused()
        assert caught.value.exit_code == 61
        assert why in caught.value.message
        assert (
            "only forward SimpleRNN layers with tanh or hard_tanh over folded tables are supported"
            in caught.value.message
        )
        assert "\n" not in str(caught.value)
        assert caught.value.hint is not None
        assert "--precision int8" in caught.value.hint
