"""Build an ONNX graph of standard operators from a network; any ONNX Runtime can run it.

Inputs ``words`` (and ``pairs``): ``int32[batch, time]``, all rows of the same length, at least 1. Output
``probabilities``: ``float32[batch, classes]``. There is no mask. Inside, time is the first axis, so that one
step of all rows is contiguous. Layers that read forward run in one ``Scan``, together with the pooling over
them; its body has the matrix products with the states and the cells' arithmetic. ONNX Runtime's own ``RNN``
operator is slower at these sizes, and keeps its weights unpacked.

A network in int8 (see ``quantized``) carries its states between steps as ``uint8``, the input of the next
``MatMulInteger`` and a quarter of the bytes. States of ``hard_tanh`` exist only as ``uint8``:
``QuantizeLinear``, which saturates, is the activation, and pooling over time works on integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sentstream_train.network.arrays import (
    GATES,
    Dense,
    Direction,
    Lookup,
    Network,
    Pooling,
    Recurrent,
    all_arrays,
)
from sentstream_train.network.quantized import HARD_TANH, STATE_SCALE, ZERO_STATE, saturates

OPSET, IR_VERSION = 17, 8
_LOWEST = float(np.finfo(np.float32).min)
#: Keras' name of an activation -> ONNX operator and its attributes.
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "relu": ("Relu", {}),
    "linear": ("Identity", {}),
    "softsign": ("Softsign", {}),
    # Keras 3 has relu6(x + 3) / 6.
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    HARD_TANH: ("Clip", {}),
}


class _Nodes:
    """A list of nodes under construction; every value gets a unique name."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.nodes, self.constants = prefix, list[Any](), list[Any]()

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        return self.add_many(operator, *inputs, outputs=1, name=name, **attributes)[0]

    def add_many(
        self, operator: str, *inputs: str, outputs: int, name: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node; return the names of its outputs."""
        stem = name or f"{self.prefix}{len(self.nodes)}_{operator.lower()}"
        names = [stem] if outputs == 1 else [f"{stem}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=stem, **attributes))
        return names

    def join(self, parts: Sequence[str]) -> str:
        """Concatenate values along the last axis."""
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=-1)

    def split(self, value: str, parts: int, width: int) -> list[str]:
        """Split a value along the last axis into parts of equal width."""
        sizes = self.constant(np.full(parts, width, np.int64))
        return self.add_many("Split", value, sizes, outputs=parts, axis=-1)

    def constant(self, value: npt.NDArray[Any] | np.generic, name: str = "") -> str:
        name = name or f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def activate(self, activation: str, value: str, name: str = "") -> str:
        operator, attributes = ACTIVATIONS[activation]
        bounds = [self.constant(np.float32(end)) for end in (-1, 1)] if operator == "Clip" else []
        return self.add(operator, value, *bounds, name=name, **attributes)


class _Steps(_Nodes):
    """The body of a ``Scan`` under construction.

    Args:
        prefix: Prefix of the names of its values.
        graph: The outer graph.
        batch: Name of the value in ``graph`` that is the number of rows.

    Attributes:
        firsts: Names of the initial values, in ``graph``, of everything that is carried between steps.
        ins, outs: Values from the step before, and values for the next step.
    """

    def __init__(self, prefix: str, graph: _Nodes, batch: str) -> None:
        super().__init__(prefix)
        self.graph, self.batch = graph, batch
        self.firsts, self.ins, self.outs = list[str](), list[Any](), list[Any]()

    def carry(
        self, name: str, new: str, width: int, *, first: float = 0, kind: int = TensorProto.FLOAT
    ) -> None:
        """Carry a value of ``[batch, width]``: ``new`` of one step is ``name`` of the next."""
        self.firsts.append(_states(self.graph, self.batch, width, first, kind))
        self.ins.append(_value(name, width, kind))
        self.outs.append(_value(new, width, kind))


def to_onnx(network: Network, wordless: npt.NDArray[np.float32] | None = None) -> bytes:
    """Build the graph of a network and check it with ``onnx.checker``.

    Args:
        network: Look-up and layers; the last is ``Dense`` with ``softmax``, or ``sigmoid`` of one unit.
        wordless: ``float32[classes]``, the output for rows that start with padding, which are texts without
            tokens. None: padding is an id like any other.

    Returns:
        The ONNX file, opset 17. Its constants have their names from ``arrays.all_arrays``.
    """
    graph = _Nodes("n")
    for name, array in all_arrays(network).items():
        graph.constant(array, name)
    batch = graph.add("Shape", "words", end=1)
    rows = _gather(graph, network.lookup)
    value, done = "", _forward_layers(network)
    if done:
        value = _stack(graph, network, done, rows, batch)
        done += isinstance(network.layers[done], Pooling)
    else:
        value = _vectors(graph, network.lookup, rows)
    for index, layer in enumerate(network.layers[done:], start=done + 1):
        name = f"layer_{index}"
        if isinstance(layer, Recurrent):
            value = _both_ways(graph, layer, name, value, batch)
        elif isinstance(layer, Pooling):
            operators = {"max": "ReduceMax", "mean": "ReduceMean"}
            parts = [graph.add(operators[part], value, axes=[0], keepdims=0) for part in layer.parts]
            value = graph.join(parts)
        else:
            value = _dense(graph, layer, name, value)
    if wordless is not None:
        first = graph.add("Gather", "words", graph.constant(np.zeros(1, np.int64)), axis=1)
        constant = graph.constant(wordless[None], "wordless")
        value = graph.add("Where", graph.add("Cast", first, to=TensorProto.BOOL), value, constant)
    graph.add("Identity", value, name="probabilities")

    inputs = ["words"] if network.lookup.pairs is None else ["words", "pairs"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "sentstream",
            [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "time"]) for name in inputs],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", network.classes])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sentstream",
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def with_metadata(graph: bytes, facts: Mapping[str, str]) -> bytes:
    """The same ONNX file with ``metadata_props``, which any ONNX Runtime can read."""
    model = onnx.load_model_from_string(graph)
    helper.set_model_props(model, dict(facts))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _gather(graph: _Nodes, lookup: Lookup) -> list[str]:
    """The stored table rows of all ids: one or two values ``[time, batch, width]``."""
    tables = ["words"] if lookup.pairs is None else ["words", "pairs"]
    return [graph.add("Gather", f"{ids}_table", graph.add("Transpose", ids, perm=[1, 0])) for ids in tables]


def _vectors(nodes: _Nodes, lookup: Lookup, rows: Sequence[str], *, scaled: bool = True) -> str:
    """Stored rows as ``float32`` vectors of the same shape; unless ``scaled``, in units of the scale."""
    if lookup.scale is not None:
        rows = [nodes.add("Cast", row, to=TensorProto.FLOAT) for row in rows]
    value = rows[0] if len(rows) == 1 else nodes.add("Add", *rows)
    return nodes.add("Mul", value, "table_scale") if lookup.scale is not None and scaled else value


def _forward_layers(network: Network) -> int:
    """How many of the first layers read only forward; they run in one ``Scan``."""
    count = 0
    for layer in network.layers:
        if not isinstance(layer, Recurrent) or layer.forward is None or layer.backward is not None:
            break
        count += 1
    return count


def _states(graph: _Nodes, batch: str, units: int, value: float = 0, kind: int = TensorProto.FLOAT) -> str:
    """A value ``[batch, units]`` filled with one number."""
    shape = graph.add("Concat", batch, graph.constant(np.array([units], np.int64)), axis=0)
    filled = helper.make_tensor("value", kind, [1], [value])
    return graph.add("ConstantOfShape", shape, value=filled)


def _value(name: str, width: int, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, ["batch", width])


def _stack(graph: _Nodes, network: Network, count: int, rows: list[str], batch: str) -> str:
    """The first ``count`` layers and the pooling over them in one ``Scan``, all layers step by step.

    A step's data stays in the processor's cache, and no layer writes out its states for the next one, so
    this takes about two thirds of the time of separate layers.
    """
    lookup, layers = network.lookup, [one for one in network.layers[:count] if isinstance(one, Recurrent)]
    pooling = network.layers[count]
    body = _Steps("step.", graph, batch)
    stored = TensorProto.FLOAT if lookup.scale is None else TensorProto.INT8
    steps = [_value(f"step.rows_{index}", lookup.width, stored) for index in range(len(rows))]
    int8 = network.precision == "int8"
    unit = _unit(network) if int8 else None
    value = _vectors(body, lookup, [step.name for step in steps], scaled=unit is None)
    if int8:
        _state_constants(graph)
    below = ""
    for index, layer in enumerate(layers, start=1):
        name = f"layer_{index}.forward"
        if int8:
            value, below = _int8_step(body, layer, name, value, below, unit if index == 1 else None)
        else:
            value = _float_step(body, layer, name, value)
    units = layers[-1].units
    whole = int8 and layers[-1].activation == HARD_TANH  # the states exist only as uint8
    if whole and isinstance(pooling, Pooling):
        _pool_whole(body, pooling, below, units)
    elif isinstance(pooling, Pooling):
        for part in pooling.parts:
            new = body.add("Max" if part == "max" else "Add", f"step.{part}", value)
            body.carry(f"step.{part}", new, units, first=_LOWEST if part == "max" else 0)
    elif layers[-1].sequences:
        body.outs.append(_value(body.add("Identity", value), units))
    elif int8 and not whole:  # float states, because the carried ones are rounded
        body.carry("step.last", value, units)
    found = graph.add_many(
        "Scan",
        *body.firsts,
        *rows,
        outputs=len(body.outs),
        name="layers",
        body=helper.make_graph(body.nodes, "step", [*body.ins, *steps], body.outs, body.constants),
        num_scan_inputs=len(rows),
    )
    if not isinstance(pooling, Pooling):
        if whole:
            return graph.add("DequantizeLinear", found[-1], "state_scale", "state_zero")
        if int8:
            return found[-1]
        last = sum(2 if layer.cell == "lstm" else 1 for layer in layers[:-1])
        return found[-1] if layers[-1].sequences else found[last]
    parts: dict[str, str] = dict(zip(pooling.parts, found[-len(pooling.parts) :], strict=True))
    if whole:
        parts = _from_whole(graph, parts)
    if "mean" in parts:
        length = graph.add("Cast", graph.add("Shape", "words", start=1), to=TensorProto.FLOAT)
        parts["mean"] = graph.add("Div", parts["mean"], length)
    return graph.join(list(parts.values()))


def _float_step(body: _Steps, layer: Recurrent, name: str, value: str) -> str:
    """One step of a layer of the stack: from the output of the layer below to the new state."""
    assert layer.forward is not None
    bias = [] if layer.forward.bias is None else [f"{name}.bias"]
    if layer.forward.kernel is not None:
        value = body.add("Gemm", value, f"{name}.kernel", *bias)
    elif bias:
        value = body.add("Add", value, *bias)
    states = _step(body, layer, layer.forward, name, value)
    for state, new in states.items():
        body.carry(f"{name}.{state}", new, layer.units)
    return states["h"]


def _state_constants(graph: _Nodes) -> None:
    """The constants of states stored as ``uint8``, for all layers in int8.

    ONNX Runtime fuses ``MatMulInteger``, ``Cast`` and ``Mul`` only if the factor is a product that it cannot
    fold into a constant; the fusion saves an eighth to a quarter of the time. So the scale exists a second
    time, as the maximum over a vector of it with one element per token.
    """
    graph.constant(np.array(STATE_SCALE), "state_scale")
    graph.constant(np.array(ZERO_STATE), "state_zero")
    filled = helper.make_tensor("value", TensorProto.FLOAT, [1], [float(STATE_SCALE)])
    scales = graph.add("ConstantOfShape", graph.add("Shape", "words", start=1), value=filled)
    graph.add("ReduceMax", scales, axes=[0], keepdims=0, name="state_factor")


def _unit(network: Network) -> np.float32 | None:
    """The tables' scale if the first layer's sums can stay in units of it, else None.

    That saves a multiplication per token. It needs one scale for all columns, and a quantizer right after
    the sums whose scale absorbs it, as with hard_tanh but not with tanh.
    """
    scale = network.lookup.scale
    if scale is None or not saturates(network) or not (scale == scale[0]).all():
        return None
    unit: np.float32 = scale[0]
    return unit


def _pool_whole(body: _Steps, pooling: Pooling, states: str, units: int) -> None:
    """Carry the maximum of ``uint8`` states, and their sum."""
    for part in pooling.parts:
        if part == "max":
            new, kind = body.add("Max", "step.max", states), TensorProto.UINT8
        else:
            plain = body.add("Cast", states, to=TensorProto.INT32)
            new, kind = body.add("Add", "step.mean", plain), TensorProto.INT32
        body.carry(f"step.{part}", new, units, kind=kind)


def _from_whole(graph: _Nodes, parts: Mapping[str, str]) -> dict[str, str]:
    """The results of ``_pool_whole`` as maximum and sum of ``float32`` states."""
    found = dict(parts)
    if "max" in parts:
        found["max"] = graph.add("DequantizeLinear", parts["max"], "state_scale", "state_zero")
    if "mean" in parts:
        length = graph.add("Cast", graph.add("Shape", "words", start=1), to=TensorProto.INT32)
        zeros = graph.add("Mul", length, graph.constant(np.int32(ZERO_STATE)))
        steps = graph.add("Cast", graph.add("Sub", parts["mean"], zeros), to=TensorProto.FLOAT)
        found["mean"] = graph.add("Mul", steps, "state_scale")
    return found


def _int8_step(
    body: _Steps, layer: Recurrent, name: str, value: str, below: str, unit: np.float32 | None
) -> tuple[str, str]:
    """One step of a ``SimpleRNN`` of the stack in int8.

    Args:
        body: The body of the ``Scan``.
        layer: The layer.
        name: Prefix of the names of its weights.
        value: For the first layer, the projected look-up.
        below: For other layers, the new state of the layer below as ``uint8``. Both states are
            concatenated, and so are their weights: one product instead of two.
        unit: The unit of ``value``; None: 1.

    Returns:
        The new state as ``float32`` (with ``hard_tanh``, before the activation), and as ``uint8``.
    """
    assert layer.forward is not None
    assert layer.forward.scale is not None
    states, weights = f"{name}.q", f"{name}.recurrent"
    if below:
        states = body.join([below, states])
        weights = body.graph.add("Concat", f"{name}.kernel", weights, axis=0)
        value = f"{name}.bias"
    scale, state_scale = f"{name}.scale", "state_scale"
    if unit is not None:
        scale = body.graph.constant(layer.forward.scale / unit, f"{name}.scale_in_steps")
        state_scale = body.graph.constant(STATE_SCALE / unit, "state_scale_in_steps")
    product = body.add("MatMulInteger", states, weights, "state_zero")
    factor = body.add("Mul", "state_factor", scale)
    projected = body.add("Mul", body.add("Cast", product, to=TensorProto.FLOAT), factor)
    new = body.add("Add", projected, value)
    if layer.activation != HARD_TANH:  # for hard_tanh, the quantizer is the activation
        new = body.activate(layer.activation, new, f"{name}.new_h")
    rounded = body.add("QuantizeLinear", new, state_scale, "state_zero", name=f"{name}.new_q")
    body.carry(f"{name}.q", rounded, layer.units, first=int(ZERO_STATE), kind=TensorProto.UINT8)
    return new, rounded


def _both_ways(graph: _Nodes, layer: Recurrent, name: str, value: str, batch: str) -> str:
    """A layer that reads backward (too), or follows one that does: one ``Scan`` per direction."""
    width = GATES[layer.cell] * layer.units
    ways = [(way, one) for way in ("forward", "backward") if (one := getattr(layer, way)) is not None]
    if ways[0][1].kernel is None and len(ways) > 1:
        projected = graph.split(value, len(ways), width)
    elif ways[0][1].kernel is None:
        projected = [value]
    else:
        projected = [graph.add("MatMul", value, f"{name}.{way}.kernel") for way, _ in ways]
    found = []
    for (way, direction), inputs in zip(ways, projected, strict=True):
        prefix = f"{name}.{way}"
        body = _Nodes(f"{prefix}.")
        states = _step(body, layer, direction, prefix, f"{prefix}.x")
        ins = [_value(f"{prefix}.{state}", layer.units) for state in states]
        outs = [_value(new, layer.units) for new in states.values()]
        if layer.sequences:
            outs.append(_value(body.add("Identity", states["h"]), layer.units))
        backward = int(way == "backward")
        scanned = graph.add_many(
            "Scan",
            *[_states(graph, batch, layer.units) for _ in states],
            inputs if direction.bias is None else graph.add("Add", inputs, f"{prefix}.bias"),
            outputs=len(outs),
            name=f"{prefix}.scan",
            body=helper.make_graph(
                body.nodes, f"{prefix}.step", [*ins, _value(f"{prefix}.x", width)], outs, body.constants
            ),
            num_scan_inputs=1,
            scan_input_directions=[backward],
            **({"scan_output_directions": [backward]} if layer.sequences else {}),
        )
        found.append(scanned[-1] if layer.sequences else scanned[0])
    return graph.join(found)


def _step(body: _Nodes, layer: Recurrent, direction: Direction, name: str, x: str) -> dict[str, str]:
    """One step of a layer: from its states and the projected input ``x`` to the new states, by name."""
    recurrent, h, c = f"{name}.recurrent", f"{name}.h", f"{name}.c"
    new_h, new_c = f"{name}.new_h", f"{name}.new_c"

    def gate(value: str) -> str:
        return body.activate(layer.recurrent_activation, value)

    if layer.cell == "simple":
        body.activate(layer.activation, body.add("Gemm", h, recurrent, x), new_h)
        return {"h": new_h}
    if layer.cell == "gru":
        _gru(body, layer, direction, name, x)
        return {"h": new_h}
    i, f, g, o = body.split(body.add("Gemm", h, recurrent, x), 4, layer.units)
    kept, fresh = body.add("Mul", gate(f), c), body.add("Mul", gate(i), body.activate(layer.activation, g))
    body.add("Add", kept, fresh, name=new_c)
    body.add("Mul", gate(o), body.activate(layer.activation, new_c), name=new_h)
    return {"h": new_h, "c": new_c}


def _gru(body: _Nodes, layer: Recurrent, direction: Direction, name: str, x: str) -> None:
    """h = z·h + (1 - z)·candidate with gates z and r (Cho et al. 2014); both variants of the reset gate."""
    h, units = f"{name}.h", layer.units
    x_z, x_r, x_h = body.split(x, 3, units)

    def gate(left: str, right: str) -> str:
        return body.activate(layer.recurrent_activation, body.add("Add", left, right))

    bias = [f"{name}.recurrent_bias"] if direction.recurrent_bias is not None else []
    if layer.reset_after:
        h_z, h_r, h_h = body.split(body.add("Gemm", h, f"{name}.recurrent", *bias), 3, units)
        z = gate(x_z, h_z)
        reset = body.add("Mul", gate(x_r, h_r), h_h)
    else:
        gates = body.constant(np.ascontiguousarray(direction.recurrent[:, : 2 * units]), f"{name}.gates")
        rest = body.constant(np.ascontiguousarray(direction.recurrent[:, 2 * units :]), f"{name}.rest")
        h_z, h_r = body.split(body.add("Gemm", h, gates), 2, units)
        z = gate(x_z, h_z)
        reset = body.add("Gemm", body.add("Mul", gate(x_r, h_r), h), rest)
    candidate = body.activate(layer.activation, body.add("Add", x_h, reset))
    one = body.constant(np.ones((), np.float32))
    kept, fresh = body.add("Mul", z, h), body.add("Mul", body.add("Sub", one, z), candidate)
    body.add("Add", kept, fresh, name=f"{name}.new_h")


def _dense(graph: _Nodes, layer: Dense, name: str, value: str) -> str:
    value = graph.add("Gemm", value, f"{name}.kernel", f"{name}.bias")
    if layer.activation == "softmax":
        return graph.add("Softmax", value, axis=-1)
    value = graph.activate(layer.activation, value)
    if layer.kernel.shape[1] == 1:  # one sigmoid: the second label's probability
        rest = graph.add("Sub", graph.constant(np.ones((), np.float32)), value)
        value = graph.add("Concat", rest, value, axis=-1)
    return value
