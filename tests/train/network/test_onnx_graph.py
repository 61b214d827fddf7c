"""The exported graph compared with a plain NumPy recurrence: double precision, one row and step at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from bundles import make_network

from sentstream_train.network.arrays import (
    GATES,
    Dense,
    Direction,
    Layer,
    Lookup,
    Network,
    Pooling,
    Recurrent,
    all_arrays,
    rebuild,
)
from sentstream_train.network.onnx_graph import ACTIVATIONS, IR_VERSION, OPSET, to_onnx
from sentstream_train.network.tables import MOST_FOLDED_BYTES, fold, to_int8

Doubles = npt.NDArray[np.float64]

WORDS, PAIRS, WIDTH, UNITS = 11, 5, 6, 4
FUNCTIONS: dict[str, Callable[[Doubles], Doubles]] = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
}


def step(layer: Recurrent, way: Direction, x: Doubles, h: Doubles, c: Doubles) -> tuple[Doubles, Doubles]:
    """One step of Keras' cells (https://keras.io/api/layers/recurrent_layers/): the new states."""
    act, gate = FUNCTIONS[layer.activation], FUNCTIONS[layer.recurrent_activation]
    u = layer.units
    recurrent = way.recurrent.astype(np.float64)
    if layer.cell == "simple":
        return act(x + h @ recurrent), c
    if layer.cell == "lstm":
        i, f, g, o = np.split(x + h @ recurrent, 4)
        c = gate(f) * c + gate(i) * act(g)
        return gate(o) * act(c), c
    x_z, x_r, x_h = np.split(x, 3)
    bias = np.zeros(3 * u) if way.recurrent_bias is None else way.recurrent_bias.astype(np.float64)
    if layer.reset_after:
        h_z, h_r, h_h = np.split(h @ recurrent + bias, 3)
        z, r = gate(x_z + h_z), gate(x_r + h_r)
        candidate = act(x_h + r * h_h)
    else:
        z, r = gate(x_z + h @ recurrent[:, :u]), gate(x_r + h @ recurrent[:, u : 2 * u])
        candidate = act(x_h + (r * h) @ recurrent[:, 2 * u :])
    return z * h + (1 - z) * candidate, c


def run_layer(layer: Recurrent, steps: Doubles) -> Doubles:
    """``[time, inputs]`` -> ``[time, width]``, or ``[width]`` where only the last state is wanted."""
    outs, start = [], 0
    for way, backward in ((layer.forward, False), (layer.backward, True)):
        if way is None:
            continue
        width = GATES[layer.cell] * layer.units
        if way.kernel is None:  # projected already: each direction owns a part of the columns
            projected = steps[:, start : start + width]
            start += width
        else:
            projected = steps @ way.kernel.astype(np.float64)
        if way.bias is not None:  # folded: the look-up has it
            projected = projected + way.bias
        h = c = np.zeros(layer.units)
        states = []
        for x in projected[::-1] if backward else projected:
            h, c = step(layer, way, x, h, c)
            states.append(h)
        outs.append(np.array(states[::-1] if backward else states) if layer.sequences else h)
    return np.concatenate(outs, axis=-1)


def reference(network: Network, words: npt.NDArray[np.int32], pairs: npt.NDArray[np.int32]) -> Doubles:
    """Class probabilities of ``[batch, time]`` ids."""
    lookup, results = network.lookup, []
    for row, pair_row in zip(words, pairs, strict=True):
        value = lookup.rows(lookup.words).astype(np.float64)[row]
        if lookup.pairs is not None:
            value = value + lookup.rows(lookup.pairs)[pair_row]
        for layer in network.layers:
            if isinstance(layer, Recurrent):
                value = run_layer(layer, value)
            elif isinstance(layer, Pooling):
                parts = {"max": value.max(axis=0), "mean": value.mean(axis=0)}
                value = np.concatenate([parts[part] for part in layer.parts])
            else:
                value = value @ layer.kernel.astype(np.float64) + layer.bias
                if layer.activation == "softmax":
                    value = np.exp(value - value.max()) / np.exp(value - value.max()).sum()
                else:
                    value = FUNCTIONS[layer.activation](value)
                    if len(value) == 1:
                        value = np.array([1 - value[0], value[0]])
        results.append(value)
    return np.array(results)


class Maker:
    """Draws weights."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)

    def floats(self, *shape: int) -> npt.NDArray[np.float32]:
        return self.random.normal(0, 0.6, shape).astype(np.float32)

    def lookup(self, *, pairs: bool = True, width: int = WIDTH) -> Lookup:
        table = self.floats(PAIRS + 1, width) if pairs else None
        if table is not None:
            table[0] = 0
        return Lookup(self.floats(WORDS, width), table)

    def recurrent(self, cell: Any, inputs: int, *, ways: str, **settings: Any) -> Recurrent:
        def one() -> Direction:
            gates = GATES[cell] * UNITS
            second = self.floats(gates) if cell == "gru" and settings.get("reset_after", True) else None
            return Direction(
                self.floats(inputs, gates), self.floats(UNITS, gates), self.floats(gates), second
            )

        forward = one() if "f" in ways else None
        backward = one() if "b" in ways else None
        return Recurrent(cell, UNITS, settings.pop("sequences"), forward, backward, **settings)

    def dense(self, inputs: int, outputs: int = 3, activation: str = "softmax") -> Dense:
        return Dense(self.floats(inputs, outputs), self.floats(outputs), activation)


def compare(network: Network, *, tolerance: float = 2e-6, length: int = 7, batch: int = 5) -> None:
    """Run the graph and the recurrence on random ids and compare them."""
    random = np.random.default_rng(99)
    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    for rows, time in ((batch, length), (1, 1), (2, 13)):
        words = random.integers(0, WORDS, (rows, time)).astype(np.int32)
        pairs = random.integers(0, PAIRS + 1, (rows, time)).astype(np.int32)
        feed = {"words": words} if network.lookup.pairs is None else {"words": words, "pairs": pairs}
        (given,) = session.run(["probabilities"], feed)
        expected = reference(network, words, pairs)
        assert given.dtype == np.float32
        assert given.shape == expected.shape == (rows, network.classes)
        assert np.abs(given - expected).max() < tolerance


CELLS: list[tuple[str, dict[str, Any]]] = [
    ("simple", {}),
    ("gru", {"reset_after": True}),
    ("gru", {"reset_after": False}),
    ("lstm", {}),
]


@pytest.mark.parametrize(("cell", "settings"), CELLS, ids=["simple", "gru after", "gru before", "lstm"])
@pytest.mark.parametrize("ways", ["f", "b", "fb"])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize(
    ("folded", "int8"), [(False, False), (True, False), (True, True), (False, True)], ids=str
)
def test_every_cell_in_every_direction(
    cell: str, settings: dict[str, Any], ways: str, sequences: bool, folded: bool, int8: bool
) -> None:
    make = Maker()
    first = make.recurrent(cell, WIDTH, ways=ways, sequences=sequences, **settings)
    layers: tuple[Layer, ...] = (first,)
    width = first.width
    if sequences:
        layers = (*layers, Pooling(("max", "mean")))
        width *= 2
    network = Network(make.lookup(), (*layers, make.dense(width)))
    if folded:
        plain, network = network, fold(network)
        assert network.lookup.width == GATES[cell] * UNITS * len(ways)
        assert all(way.kernel is None for way in network.layers[0].directions)  # type: ignore[union-attr]
        compare(plain)
    if int8:
        network = to_int8(network)
        assert network.lookup.words.dtype == np.int8
    compare(network)


@pytest.mark.parametrize(
    ("below", "above"), list(itertools.product(["simple", "gru", "lstm"], repeat=2)), ids=str
)
def test_stacked_layers(below: str, above: str) -> None:
    make = Maker(1)
    first = make.recurrent(below, WIDTH, ways="fb", sequences=True)
    second = make.recurrent(above, first.width, ways="fb", sequences=True)
    third = make.recurrent("simple", second.width, ways="f", sequences=False)
    compare(fold(Network(make.lookup(), (first, second, third, make.dense(third.width)))))


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize(("cell", "settings"), CELLS, ids=["simple", "gru after", "gru before", "lstm"])
def test_every_activation(cell: str, settings: dict[str, Any], activation: str) -> None:
    make = Maker(2)
    layer = make.recurrent(cell, WIDTH, ways="f", sequences=False, activation=activation, **settings)
    if activation in ("relu", "linear"):  # without a bound, weights that shrink keep the states small
        layer = replace(layer, forward=replace(layer.forward, recurrent=0.1 * layer.forward.recurrent))  # type: ignore[union-attr, type-var]
    compare(Network(make.lookup(), (layer, make.dense(UNITS))), tolerance=1e-5)


@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize(("cell", "settings"), CELLS[1:], ids=["gru after", "gru before", "lstm"])
def test_every_gate(cell: str, settings: dict[str, Any], gate: str) -> None:
    make = Maker(3)
    layer = make.recurrent(cell, WIDTH, ways="fb", sequences=False, recurrent_activation=gate, **settings)
    compare(Network(make.lookup(), (layer, make.dense(2 * UNITS))))


@pytest.mark.parametrize("parts", [("max",), ("mean",), ("max", "mean"), ("mean", "max")])
def test_every_pooling(parts: tuple[Any, ...]) -> None:
    make = Maker(4)
    layer = make.recurrent("simple", WIDTH, ways="f", sequences=True)
    compare(Network(make.lookup(), (layer, Pooling(parts), make.dense(len(parts) * UNITS))))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_softmax_with_several_classes(classes: int) -> None:
    make = Maker(5)
    layer = make.recurrent("gru", WIDTH, ways="f", sequences=False)
    network = Network(make.lookup(), (layer, make.dense(UNITS, classes)))
    assert network.classes == classes
    compare(network)


def test_sigmoid_is_the_second_label() -> None:
    make = Maker(6)
    layer = make.recurrent("lstm", WIDTH, ways="f", sequences=False)
    network = Network(make.lookup(), (layer, make.dense(UNITS, 1, "sigmoid")))
    assert network.classes == 2
    compare(network)


@pytest.mark.parametrize("hidden", ["relu", "tanh"])
def test_dense_layers_before_the_last(hidden: str) -> None:
    make = Maker(7)
    layer = make.recurrent("simple", WIDTH, ways="f", sequences=False)
    compare(Network(make.lookup(), (layer, make.dense(UNITS, 5, hidden), make.dense(5, 2))))


@pytest.mark.parametrize("int8", [False, True])
def test_without_pairs(int8: bool) -> None:
    make = Maker(8)
    layer = make.recurrent("gru", WIDTH, ways="f", sequences=False)
    network = fold(Network(make.lookup(pairs=False), (layer, make.dense(UNITS))))
    compare(to_int8(network) if int8 else network)


def test_long_tweet_stays_close() -> None:
    make = Maker(9)
    layer = make.recurrent("simple", WIDTH, ways="f", sequences=True)
    network = Network(make.lookup(), (layer, Pooling(("max", "mean")), make.dense(2 * UNITS)))
    compare(network, length=400, tolerance=1e-5)


class TestTables:
    def test_folding_does_not_change_the_output(self) -> None:
        make = Maker(10)
        layer = make.recurrent("lstm", WIDTH, ways="fb", sequences=False)
        network = Network(make.lookup(), (layer, make.dense(2 * UNITS)))
        folded = fold(network)
        words = np.arange(10, dtype=np.int32).reshape(2, 5)
        pairs = np.array([[0, 1, 2, 3, 4], [5, 4, 0, 0, 1]], np.int32)
        assert np.abs(reference(network, words, pairs) - reference(folded, words, pairs)).max() < 1e-6

    def test_folded_networks_are_unchanged(self) -> None:
        network = make_network(9, 3, 2)
        assert fold(network) is network
        make = Maker(11)
        flat = Network(make.lookup(), (Pooling(("mean",)), make.dense(WIDTH)))
        assert fold(flat) is flat

    def test_large_tables_are_not_folded(self) -> None:
        make = Maker(12)
        layer = make.recurrent("lstm", WIDTH, ways="fb", sequences=False)
        rows = MOST_FOLDED_BYTES // (4 * 8 * UNITS) + 1
        wide = np.broadcast_to(np.zeros((1, WIDTH), np.float32), (rows, WIDTH))
        network = Network(Lookup(wide), (layer, make.dense(2 * UNITS)))
        assert fold(network) is network

    def test_int8_error_is_at_most_half_a_step(self) -> None:
        lookup = Maker(13).lookup()
        network = Network(lookup, (Pooling(("mean",)), Maker(14).dense(WIDTH)))
        small = to_int8(network).lookup
        assert small.scale is not None
        assert small.pairs is not None
        assert lookup.pairs is not None
        highest = np.maximum(np.abs(lookup.words).max(axis=0), np.abs(lookup.pairs).max(axis=0))
        for before, after in ((lookup.words, small.words), (lookup.pairs, small.pairs)):
            assert after.dtype == np.int8
            assert after.min() >= -127
            assert (np.abs(before - small.rows(after)) <= highest / 254 * 1.0001).all()
        assert not small.pairs[0].any()
        assert (
            to_int8(to_int8(network)).lookup is to_int8(network).lookup
            or to_int8(to_int8(network)).lookup.words.tobytes() == small.words.tobytes()
        )

    def test_zero_column_stays_zero(self) -> None:
        lookup = Lookup(np.zeros((4, 3), np.float32))
        small = to_int8(Network(lookup, (Pooling(("mean",)), Maker().dense(3)))).lookup
        assert small.scale is not None
        assert np.isfinite(small.scale).all()
        assert not small.rows(small.words).any()


class TestFile:
    def test_standard_onnx_of_the_stated_versions(self) -> None:
        model = onnx.load_from_string(to_onnx(make_network(9, 3, 2)))
        onnx.checker.check_model(model, full_check=True)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
        assert model.ir_version == IR_VERSION
        assert [value.name for value in model.graph.input] == ["words", "pairs"]
        assert [value.name for value in model.graph.output] == ["probabilities"]

    def test_equal_networks_give_equal_bytes(self) -> None:
        assert to_onnx(make_network(9, 3, 2, seed=5)) == to_onnx(make_network(9, 3, 2, seed=5))
        assert to_onnx(make_network(9, 3, 2, seed=5)) != to_onnx(make_network(9, 3, 2, seed=6))

    @pytest.mark.parametrize(("cell", "settings"), CELLS, ids=["simple", "gru after", "gru before", "lstm"])
    def test_network_is_rebuilt_from_constants_and_description(
        self, cell: str, settings: dict[str, Any]
    ) -> None:
        make = Maker(15)
        layer = make.recurrent(cell, WIDTH, ways="fb", sequences=True, **settings)
        network = to_int8(fold(Network(make.lookup(), (layer, Pooling(("max",)), make.dense(2 * UNITS)))))
        model = onnx.load_from_string(to_onnx(network))
        arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
        again = rebuild(network.describe(), arrays)
        assert to_onnx(again) == to_onnx(network)
        for name, array in all_arrays(network).items():
            np.testing.assert_array_equal(arrays[name], array)
        assert again.parameters == network.parameters

    def test_no_reduction_over_the_innermost_axis(self) -> None:
        """Such a sum depends on where in memory a row lies, so on its neighbors."""
        make = Maker(16)
        layer = make.recurrent("gru", WIDTH, ways="fb", sequences=True)
        network = Network(make.lookup(), (layer, Pooling(("max", "mean")), make.dense(4 * UNITS)))
        for node in onnx.load_from_string(to_onnx(network)).graph.node:
            if node.op_type.startswith("Reduce"):
                (axes,) = [attribute.ints for attribute in node.attribute if attribute.name == "axes"]
                assert list(axes) == [0]
