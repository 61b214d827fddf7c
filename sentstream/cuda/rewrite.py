"""Rewrite a graph for CUDA, whose provider has no ``MatMulInteger`` of ``uint8`` and ``int8``.

States remain integers, but are stored as ``float32``: q - 128 instead of q, so that the initial state is 0
and there is no zero point. Their products with the weights, also integers, are computed in ``float32`` and
are exact, because no sum reaches 2**24, in any order. So the products equal those on the CPU, and only values
that are not integers (tanh, the head) may differ in the last bits.

Graphs with a different structure are not changed. The rewrite is in memory; the bundle does not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

#: Integers below this are exact in float32, and so are sums below it.
EXACT = 2**24
_Array = npt.NDArray[Any]
_UINT8 = TensorProto.UINT8


class _Other(Exception):
    """The graph has a different structure."""


def use_float_products(model: ModelProto) -> int:
    """Rewrite products of ``uint8`` states as ``float32`` products, in place.

    Args:
        model: Any graph.

    Returns:
        The number of products rewritten; 0 if the graph is unchanged.
    """
    graph, done = model.graph, 0
    known = _constants(graph)
    for scan in graph.node:
        if scan.op_type == "Scan":
            try:
                plan = _Plan.of(graph, scan, known)
            except _Other:
                continue
            plan.apply(graph)
            done += len(plan.products)
    if done:
        _prune(graph)
    return done


def body_of(scan: NodeProto) -> GraphProto:
    """The graph that a ``Scan`` runs at each step."""
    body: GraphProto = next(one.g for one in scan.attribute if one.name == "body")
    return body


def scan_inputs(scan: NodeProto) -> int:
    """The number of a ``Scan``'s last inputs that it reads step by step."""
    return int(next(one.i for one in scan.attribute if one.name == "num_scan_inputs"))


def names_read(graph: GraphProto) -> Counter[str]:
    """How often each name is read, including in subgraphs."""
    found = Counter(one.name for one in graph.output)
    for node in graph.node:
        found.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found.update(names_read(attribute.g))
    return found


@dataclass
class _Plan:
    """The rewrite of one ``Scan``, created only if all of it is possible.

    Attributes:
        scan: The node.
        zero: The ``uint8`` zero point.
        whole: Names of the ``uint8`` values in its body.
        firsts: The nodes that create the initial states.
        products: Product -> its weights, and the cast after it.
        folded: Products of constants -> their values.
        most: The largest absolute value of a state.
    """

    scan: NodeProto
    zero: int
    whole: set[str]
    firsts: list[NodeProto]
    products: dict[str, tuple[_Array, NodeProto]] = field(default_factory=dict)
    folded: dict[str, _Array] = field(default_factory=dict)
    most: int = 0

    @classmethod
    def of(cls, graph: GraphProto, scan: NodeProto, known: dict[str, _Array]) -> _Plan:
        """Plan the rewrite; raises ``_Other`` if the step cannot be rewritten completely."""
        body, states = body_of(scan), len(scan.input) - scan_inputs(scan)
        places = [at for at, one in enumerate(body.input[:states]) if _kind(one) == _UINT8]
        made = {name: node for node in graph.node for name in node.output}
        firsts = [_need(made.get(scan.input[at])) for at in places]
        zeros = {_filled(one) for one in firsts}
        reads = names_read(graph)
        _check(len(zeros) == 1 and all(reads[one.output[0]] == 1 for one in firsts))
        # The final uint8 states must not be used.
        _check(not any(reads[scan.output[at]] for at in places))
        plan = cls(scan, zeros.pop(), {body.input[at].name for at in places}, firsts)
        plan._walk(body, known)
        outputs = [at for at, one in enumerate(body.output) if one.name in plan.whole]
        _check(bool(plan.products) and outputs == places)
        for weights, _ in plan.products.values():
            _check(int(np.abs(weights.astype(np.int64)).sum(axis=0).max()) * plan.most < EXACT)
        return plan

    def _walk(self, body: GraphProto, known: dict[str, _Array]) -> None:
        made = {name: node for node in body.node for name in node.output}
        reads = names_read(body)
        for node in body.node:
            given = [name for name in node.input if name in self.whole]
            if node.op_type == "QuantizeLinear":
                source, scale, zero = node.input
                _check(made[source].op_type == "Tanh" if source in made else False)
                _check(scale in known and known[scale].size == 1 and self._is_zero(zero, known))
                # tanh is within ±1: the quantized range must fit into uint8 on both sides of the zero point.
                self.most = max(self.most, int(np.rint(np.float32(1) / known[scale].reshape(()))))
                _check(0 < self.most <= min(self.zero, 255 - self.zero))
                self.whole.add(node.output[0])
            elif node.op_type == "MatMulInteger":
                _check(len(node.input) == 3 and given == [node.input[0]])
                weights = known.get(node.input[1], np.zeros(0))
                _check(weights.dtype == np.int8 and weights.ndim == 2 and self._is_zero(node.input[2], known))
                after = [one for one in body.node if node.output[0] in one.input]
                _check(len(after) == 1 == reads[node.output[0]] and _casts_to_float(after[0]))
                self.products[node.output[0]] = weights, after[0]
            elif given:
                _check(node.op_type == "Concat" and len(given) == len(node.input))
                self.whole.add(node.output[0])
            elif node.op_type == "Mul" and all(name in known for name in node.input):
                left, right = (known[name] for name in node.input)
                self.folded[node.output[0]] = left * right

    def _is_zero(self, name: str, known: dict[str, _Array]) -> bool:
        value = known.get(name, np.zeros(0))
        return value.dtype == np.uint8 and value.size == 1 and int(value.reshape(())) == self.zero

    def apply(self, graph: GraphProto) -> None:
        """Apply the rewrite to the graph."""
        for first in self.firsts:
            (value,) = first.attribute
            value.t.CopyFrom(helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0]))
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
                # Division and rounding to even, as in QuantizeLinear: the same numbers.
                yield helper.make_node("Div", node.input[:2], [f"{name}.steps"])
                yield helper.make_node("Round", [f"{name}.steps"], [name])
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
    """The constants of a graph, including concatenated ones and the maximum of a constant fill."""
    found = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "Concat" and all(name in found for name in node.input):
            (axis,) = (one.i for one in node.attribute if one.name == "axis")
            found[node.output[0]] = np.concatenate([found[name] for name in node.input], axis=axis)
        elif node.op_type == "ReduceMax":
            source = made.get(node.input[0])
            if source is not None and source.op_type == "ConstantOfShape" and len(source.attribute) == 1:
                found[node.output[0]] = numpy_helper.to_array(source.attribute[0].t).reshape(())
    return found


def _filled(node: NodeProto) -> int:
    """The value that a node fills an initial state with."""
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
    """Remove nodes and constants that are no longer read."""
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
