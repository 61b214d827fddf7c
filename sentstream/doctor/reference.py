"""A second opinion on a graph: its nodes, one by one, in NumPy and double precision; and what they cost.

It knows the operators that the exported graphs of the models that ship are made of, with the attributes
that those have, and refuses every other: an opinion about half of a graph would be none.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream.bundle.graph import ATTRIBUTE, GRAPH, MODEL, NODE, TENSOR, VALUE
from sentstream.bundle.wire import Message

Array: TypeAlias = npt.NDArray[Any]
Values: TypeAlias = ChainMap[str, Array]

#: TensorProto.DataType -> how NumPy reads it.
_TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}
_FLOAT, _INT32 = 1, 6


class Unknown(Exception):
    """The graph holds something that this module does not know."""


@dataclass(frozen=True)
class Graph:
    """A graph or the body of a ``Scan``."""

    inputs: list[str]
    outputs: list[str]
    constants: dict[str, Array]
    nodes: list[Node]


@dataclass(frozen=True)
class Node:
    """A node; each attribute is a number, a list of numbers, a tensor, or a graph."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Product:
    """A product of rows with a constant matrix.

    Attributes:
        inner: Numbers of a row before it.
        outer: Numbers of a row after it.
        every_token: Whether it runs for each token, not once a row.
    """

    inner: int
    outer: int
    every_token: bool

    @property
    def flops(self) -> int:
        """Operations a row, of floating-point or whole numbers: a multiplication and an addition a weight."""
        return 2 * self.inner * self.outer


def read_graph(model: bytes) -> Graph:
    """The graph of an ONNX file that a bundle's checks have passed.

    Raises:
        Unknown: A tensor or attribute of another kind.
    """
    graph = Message(memoryview(model)).message(MODEL.graph)
    if graph is None:
        raise Unknown("a model without a graph")
    return _graph(graph)


def _graph(graph: Message) -> Graph:
    return Graph(
        [value.text(VALUE.name) for value in graph.messages(GRAPH.input)],
        [value.text(VALUE.name) for value in graph.messages(GRAPH.output)],
        {tensor.text(TENSOR.name): _tensor(tensor) for tensor in graph.messages(GRAPH.initializer)},
        [_node(node) for node in graph.messages(GRAPH.node)],
    )


def _node(node: Message) -> Node:
    attributes = {one.text(ATTRIBUTE.name): _attribute(one) for one in node.messages(NODE.attribute)}
    return Node(node.text(NODE.op_type), node.texts(NODE.input), node.texts(NODE.output), attributes)


def _attribute(one: Message) -> Any:
    if (body := one.message(ATTRIBUTE.g)) is not None:
        return _graph(body)
    if (tensor := one.message(ATTRIBUTE.t)) is not None:
        return _tensor(tensor)
    if ATTRIBUTE.ints in one:
        return one.numbers(ATTRIBUTE.ints)
    return one.number(ATTRIBUTE.i)


def _tensor(tensor: Message) -> Array:
    kind, name = tensor.number(TENSOR.data_type), tensor.text(TENSOR.name)
    data = tensor.data(TENSOR.raw_data)
    if kind not in _TYPES:
        raise Unknown(f"the tensor {name!r} of type {kind}")
    if data is None and kind != _FLOAT and TENSOR.int32_data in tensor:  # whole numbers of up to 32 bits
        numbers = tensor.numbers(TENSOR.int32_data)
        return np.array(numbers, _TYPES[kind]).reshape(tensor.numbers(TENSOR.dims))
    if data is None:
        if kind != _FLOAT or TENSOR.float_data not in tensor:
            raise Unknown(f"the tensor {name!r} in an unknown encoding")
        data = tensor.data(TENSOR.float_data)  # packed: as in raw_data
    assert data is not None
    return np.frombuffer(data, _TYPES[kind]).reshape(tensor.numbers(TENSOR.dims))


def evaluate(graph: Graph, feed: dict[str, Array]) -> list[Array]:
    """What a graph gives.

    Args:
        graph: The graph.
        feed: Its inputs by name.

    Raises:
        Unknown: An operator, or an attribute of one.
    """
    return _run(graph, ChainMap(dict(feed)))


def _run(graph: Graph, values: Values) -> list[Array]:
    values.update(graph.constants)
    for node in graph.nodes:
        names = _ATTRIBUTES.get(node.operator)
        if names is None or not node.attributes.keys() <= names:
            raise Unknown(
                f"the operator {node.operator} with {', '.join(node.attributes) or 'no attributes'}"
            )
        inputs = [values[name] for name in node.inputs]
        found = (
            _scan(node, inputs, values)
            if node.operator == "Scan"
            else [_SIMPLE[node.operator](node, *inputs)]
        )
        values.update(zip(node.outputs, found, strict=True))
    return [values[name] for name in graph.outputs]


def _scan(node: Node, inputs: Sequence[Array], values: Values) -> list[Array]:
    """Steps over the first axis of the last inputs; the inputs before them are states."""
    body: Graph = node.attributes["body"]
    count = len(inputs) - node.attributes["num_scan_inputs"]
    states, outputs = list(inputs[:count]), list[list[Array]]()
    for step in zip(*inputs[count:], strict=True):
        found = _run(body, values.new_child(dict(zip(body.inputs, (*states, *step), strict=True))))
        states = found[:count]
        outputs.append(found[count:])
    return states + [np.stack(column) for column in zip(*outputs, strict=True)]


def _gemm(node: Node, left: Array, right: Array, *bias: Array) -> Array:
    return left @ right + (bias[0] if bias else 0)


def _softmax(node: Node, value: Array) -> Array:
    axis = node.attributes.get("axis", -1)
    powers = np.exp(value - value.max(axis=axis, keepdims=True))
    shares: Array = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def _shape(node: Node, value: Array) -> Array:
    """The sizes from ``start`` to ``end``."""
    return np.array(value.shape[node.attributes.get("start", 0) : node.attributes.get("end")], np.int64)


def _cast(node: Node, value: Array) -> Array:
    """Every float is a double here."""
    kinds = {_FLOAT: np.float64, _INT32: np.int32}
    if node.attributes["to"] not in kinds:
        raise Unknown(f"a Cast to type {node.attributes['to']}")
    return value.astype(kinds[node.attributes["to"]])


def _filled(node: Node, shape: Array) -> Array:
    value = node.attributes["value"]
    return np.full(shape, value.item(), np.float64 if value.dtype.kind == "f" else value.dtype)


def _quantize(node: Node, value: Array, scale: Array, zero: Array) -> Array:
    """Quantize in single precision, as the runtime does: a value between two steps goes the same way."""
    low, high = np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max
    steps = np.rint(value.astype(np.float32) / scale.astype(np.float32)) + zero
    return steps.clip(low, high).astype(zero.dtype)


def _dequantize(node: Node, value: Array, scale: Array, zero: Array) -> Array:
    plain: Array = (value.astype(np.int32) - zero.astype(np.int32)) * scale.astype(np.float64)
    return plain


def _whole_product(node: Node, left: Array, right: Array, zero: Array) -> Array:
    return (left.astype(np.int32) - zero.astype(np.int32)) @ right.astype(np.int32)


def _highest(node: Node, value: Array) -> Array:
    highest: Array = value.max(
        axis=tuple(node.attributes["axes"]), keepdims=bool(node.attributes["keepdims"])
    )
    return highest


_SIMPLE: dict[str, Callable[..., Array]] = {
    "Add": lambda node, left, right: left + right,
    "Cast": _cast,
    "Clip": lambda node, value, low, high: value.clip(low, high),
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node.attributes["axis"]),
    "ConstantOfShape": _filled,
    "DequantizeLinear": _dequantize,
    "Div": lambda node, left, right: left / right,
    "Gather": lambda node, table, ids: table[ids],
    "Gemm": _gemm,
    "Identity": lambda node, value: value,
    "MatMulInteger": _whole_product,
    "Max": lambda node, *values: reduce(np.maximum, values),
    "Mul": lambda node, left, right: left * right,
    "QuantizeLinear": _quantize,
    "ReduceMax": _highest,
    "Shape": _shape,
    "Softmax": _softmax,
    "Sub": lambda node, left, right: left - right,
    "Tanh": lambda node, value: np.tanh(value),
    "Transpose": lambda node, value: value.transpose(node.attributes["perm"]),
}
#: The attributes of each operator that are understood: one that is not given has its default.
_ATTRIBUTES: dict[str, frozenset[str]] = {
    **dict.fromkeys(_SIMPLE, frozenset()),
    "Cast": frozenset({"to"}),
    "Concat": frozenset({"axis"}),
    "ConstantOfShape": frozenset({"value"}),
    "ReduceMax": frozenset({"axes", "keepdims"}),
    "Scan": frozenset({"body", "num_scan_inputs"}),
    "Shape": frozenset({"start", "end"}),
    "Softmax": frozenset({"axis"}),
    "Transpose": frozenset({"perm"}),
}


def is_rounded(graph: Graph) -> bool:
    """Whether states are rounded on the way: two computations of them may then be a step apart."""
    return any(
        node.operator == "QuantizeLinear"
        or any(isinstance(value, Graph) and is_rounded(value) for value in node.attributes.values())
        for node in graph.nodes
    )


def products(graph: Graph) -> list[Product]:
    """The matrix products of a graph, from the shapes of its constants.

    These are the operations that count: look-ups, sums and tanh are a few for each unit, a product has one
    for each pair of units. Those in the body of a ``Scan``, which goes over the tokens, run for each token.
    """
    return list(_products(graph, {}, every_token=False))


def _products(graph: Graph, outer: dict[str, Array], *, every_token: bool) -> Iterator[Product]:
    constants = {**outer, **graph.constants}
    for node in graph.nodes:
        if node.operator == "Concat" and all(name in constants for name in node.inputs):  # one upon the other
            parts = [constants[name] for name in node.inputs]
            constants[node.outputs[0]] = np.concatenate(parts, axis=node.attributes["axis"])
        if node.operator in ("Gemm", "MatMul", "MatMulInteger") and node.inputs[1] in constants:
            inner, width = constants[node.inputs[1]].shape
            yield Product(inner, width, every_token)
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from _products(value, constants, every_token=True)
