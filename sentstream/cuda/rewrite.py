"""A graph for CUDA: its provider has no ``MatMulInteger`` of ``uint8`` and ``int8``.

States stay whole numbers, carried as ``float32``: q - 128 in place of q, so that the first one is 0 and
there is no zero point. Their product with the weights, whole numbers too, is one of ``float32``, and
exact: no sum of it reaches 2**24, whatever the order. So it gives the numbers that the CPU has, and only
what is not a whole number (tanh, the head) may differ in its last bits. The quantizer's saturation becomes
a ``Clip``; the highest of states and their sum stay exact as well.

A graph that is not built so is left as it is. Nothing of the bundle changes: this is made in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

#: Whole numbers below it are exact in float32, and so are their sums.
EXACT = 2**24
_Array = npt.NDArray[Any]
_UINT8 = TensorProto.UINT8


class _Other(Exception):
    """A graph of another kind."""


def use_float_products(model: ModelProto) -> int:
    """Rewrite products of ``uint8`` states as products of ``float32``, in place.

    Args:
        model: Any graph.

    Returns:
        How many products were rewritten; 0 where the graph is left as it was.
    """
    graph, done = model.graph, 0
    constants = _constants(graph)
    for scan in graph.node:
        if scan.op_type == "Scan":
            try:
                plan = _Plan.of(graph, scan, constants)
            except _Other:
                continue
            plan.apply(graph)
            done += len(plan.products)
    if done:
        _prune(graph)
    return done


def body_of(scan: NodeProto) -> GraphProto:
    """What a ``Scan`` runs at each step."""
    body: GraphProto = next(one.g for one in scan.attribute if one.name == "body")
    return body


def scan_inputs(scan: NodeProto) -> int:
    """How many of a ``Scan``'s last inputs it reads a step at a time."""
    return int(next(one.i for one in scan.attribute if one.name == "num_scan_inputs"))


def names_read(graph: GraphProto) -> Counter[str]:
    """How often each name is read, by the graphs inside of this one as well."""
    counts = Counter(one.name for one in graph.output)
    for node in graph.node:
        counts.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                counts.update(names_read(attribute.g))
    return counts


@dataclass
class _Plan:
    """What is to be done to one ``Scan``, once all of it is known to be possible.

    Attributes:
        scan: The node.
        zero: The ``uint8`` that stands for 0.
        whole: Names of the ``uint8`` values of its body.
        firsts: The nodes that make the first states.
        read: Nodes that read the last states, by what they make of them.
        products: Product -> its weights, and the cast after it.
        folded: Products of constants -> their values.
        saturated: What quantizers make of values that ``uint8`` need not hold.
        most: The largest whole number that a state is.
    """

    scan: NodeProto
    zero: int
    whole: set[str]
    firsts: list[NodeProto]
    read: dict[str, NodeProto]
    products: dict[str, tuple[_Array, NodeProto]] = field(default_factory=dict)
    folded: dict[str, _Array] = field(default_factory=dict)
    saturated: set[str] = field(default_factory=set)
    most: int = 0

    @classmethod
    def of(cls, graph: GraphProto, scan: NodeProto, constants: dict[str, _Array]) -> _Plan:
        """Raises ``_Other`` where a step cannot be rewritten as a whole."""
        body, states = body_of(scan), len(scan.input) - scan_inputs(scan)
        indices = [index for index, one in enumerate(body.input[:states]) if _kind(one) == _UINT8]
        producers = {name: node for node in graph.node for name in node.output}
        firsts = [_need(producers.get(scan.input[index])) for index in indices]
        reads = names_read(graph)
        _check(all(reads[one.output[0]] == 1 for one in firsts))
        lasts = {scan.output[index] for index in indices}
        read = {one.output[0]: one for one in graph.node if lasts & set(one.input)}
        _check(sum(reads[name] for name in lasts) == len(read))
        plan = cls(
            scan, _zero_of(body, constants), {body.input[index].name for index in indices}, firsts, read
        )
        # Plain numbers are all that anybody makes of the last states.
        for node in read.values():
            _check(node.op_type == "DequantizeLinear" and len(node.input) == 3)
            _check(node.input[0] in lasts and constants.get(node.input[1], np.zeros(0)).size == 1)
            _check(plan._is_zero(node.input[2], constants))
        plan._walk(body, constants)
        plan.most = max(plan.most, *(abs(_filled(first) - plan.zero) for first in firsts))
        outputs = [index for index, one in enumerate(body.output) if one.name in plan.whole]
        _check(bool(plan.products) and outputs == indices)
        for weights, _ in plan.products.values():
            _check(int(np.abs(weights.astype(np.int64)).sum(axis=0).max()) * plan.most < EXACT)
        return plan

    def _walk(self, body: GraphProto, constants: dict[str, _Array]) -> None:
        producers = {name: node for node in body.node for name in node.output}
        reads = names_read(body)
        for node in body.node:
            whole_inputs = [name for name in node.input if name in self.whole]
            if node.op_type == "QuantizeLinear":
                source, scale, zero = node.input
                _check(scale in constants and constants[scale].size == 1 and self._is_zero(zero, constants))
                # Tanh lies within ±1: mostly no more than what uint8 holds on either side.
                limit = int(np.rint(np.float32(1) / constants[scale].reshape(())))
                bounded = source in producers and producers[source].op_type == "Tanh"
                if not bounded or not 0 < limit <= min(self.zero, 255 - self.zero):
                    limit = max(self.zero, 255 - self.zero)
                    self.saturated.add(node.output[0])
                self.most = max(self.most, limit)
                self.whole.add(node.output[0])
            elif node.op_type == "MatMulInteger":
                _check(len(node.input) == 3 and whole_inputs == [node.input[0]])
                weights = constants.get(node.input[1], np.zeros(0))
                _check(
                    weights.dtype == np.int8 and weights.ndim == 2 and self._is_zero(node.input[2], constants)
                )
                after = [one for one in body.node if node.output[0] in one.input]
                _check(len(after) == 1 == reads[node.output[0]] and _casts_to_float(after[0]))
                self.products[node.output[0]] = weights, after[0]
            elif whole_inputs and node.op_type == "Cast":
                _check(node.attribute[0].i == TensorProto.INT32)
            elif whole_inputs:
                _check(node.op_type in ("Concat", "Max") and len(whole_inputs) == len(node.input))
                self.whole.add(node.output[0])
            elif node.op_type == "Mul" and all(name in constants for name in node.input):
                left, right = (constants[name] for name in node.input)
                self.folded[node.output[0]] = left * right

    def _is_zero(self, name: str, constants: dict[str, _Array]) -> bool:
        value = constants.get(name, np.zeros(0))
        return value.dtype == np.uint8 and value.size == 1 and int(value.reshape(())) == self.zero

    def _named(self, name: str) -> str:
        """The name of a constant of this ``Scan``'s."""
        return f"{self.scan.output[0]}.{name}"

    def apply(self, graph: GraphProto) -> None:
        """Do it."""
        for first in self.firsts:
            (value,) = first.attribute
            start = helper.make_tensor("value", TensorProto.FLOAT, [1], [_filled(first) - self.zero])
            value.t.CopyFrom(start)
        for node in self.read.values():
            del node.input[2]
            node.op_type = "Mul"
        for name, number in (("zero", self.zero), ("least", -self.zero), ("most", 255 - self.zero)):
            graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), self._named(name)))
        body = body_of(self.scan)
        for one in (*body.input, *body.output):
            if one.name in self.whole:
                one.type.tensor_type.elem_type = TensorProto.FLOAT
        nodes = list(self._nodes(body, graph))
        del body.node[:]
        body.node.extend(nodes)

    def _nodes(self, body: GraphProto, graph: GraphProto) -> Iterable[NodeProto]:
        casts = [cast.output[0] for _, cast in self.products.values()]
        for node in body.node:
            name = node.output[0]
            if node.op_type == "QuantizeLinear":
                # A division and a rounding to even, as QuantizeLinear has them: the same numbers.
                rounded = f"{name}.rounded" if name in self.saturated else name
                yield helper.make_node("Div", node.input[:2], [f"{name}.steps"])
                yield helper.make_node("Round", [f"{name}.steps"], [rounded])
                if name in self.saturated:
                    yield helper.make_node(
                        "Clip", [rounded, self._named("least"), self._named("most")], [name]
                    )
            elif node.op_type == "Cast" and node.input[0] in self.whole:
                yield helper.make_node("Add", [node.input[0], self._named("zero")], [f"{name}.whole"])
                yield helper.make_node("Cast", [f"{name}.whole"], [name], to=TensorProto.INT32)
            elif name in self.products:
                weights, cast = self.products[name]
                graph.initializer.append(
                    numpy_helper.from_array(weights.astype(np.float32), f"{name}.weights")
                )
                yield helper.make_node("MatMul", [node.input[0], f"{name}.weights"], [cast.output[0]])
            elif name in self.folded:
                graph.initializer.append(numpy_helper.from_array(self.folded[name], name))
            elif name not in casts:
                yield node


def _constants(graph: GraphProto) -> dict[str, _Array]:
    """What a graph knows beforehand: its constants, some side by side, and the largest of equal ones."""
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "Concat" and all(name in constants for name in node.input):
            (axis,) = (one.i for one in node.attribute if one.name == "axis")
            constants[node.output[0]] = np.concatenate([constants[name] for name in node.input], axis=axis)
        elif node.op_type == "ReduceMax":
            source = producers.get(node.input[0])
            if source is not None and source.op_type == "ConstantOfShape" and len(source.attribute) == 1:
                constants[node.output[0]] = numpy_helper.to_array(source.attribute[0].t).reshape(())
    return constants


def _zero_of(body: GraphProto, constants: dict[str, _Array]) -> int:
    """The ``uint8`` that the quantizers of a step put 0 at."""
    zeros = [one.input[2] for one in body.node if one.op_type == "QuantizeLinear" and len(one.input) == 3]
    _check(bool(zeros) and constants.get(zeros[0], np.zeros(0)).size == 1)
    return int(constants[zeros[0]].reshape(()))


def _filled(node: NodeProto) -> int:
    """What a node fills a first state with."""
    _check(node.op_type == "ConstantOfShape" and len(node.attribute) == 1)
    return int(numpy_helper.to_array(node.attribute[0].t).reshape(()))


def _kind(value: Any) -> int:
    return int(value.type.tensor_type.elem_type)


def _casts_to_float(node: NodeProto) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT


def _need(node: NodeProto | None) -> NodeProto:
    if node is None:
        raise _Other
    return node


def _check(possible: bool) -> None:
    if not possible:
        raise _Other


def _prune(graph: GraphProto) -> None:
    """Take out what nobody reads any more."""
    while True:
        reads = names_read(graph)
        nodes = [node for node in graph.node if any(reads[name] for name in node.output)]
        if len(nodes) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(nodes)
    kept = [one for one in graph.initializer if reads[one.name]]
    del graph.initializer[:]
    graph.initializer.extend(kept)
