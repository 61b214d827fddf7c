"""Find the nodes of a graph that only compute shapes."""

from __future__ import annotations

from onnx import GraphProto

_SOURCES = ("Shape", "Size")


def name_nodes(graph: GraphProto) -> None:
    """Name every node after its first output, so that a profile can tell them apart."""
    for node in graph.node:
        node.name = node.output[0]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                name_nodes(attribute.g)


def shape_nodes(graph: GraphProto, outer: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the nodes that compute shapes, or values derived only from shapes and constants.

    A node that fills a tensor of such a shape is not included: its output is as large as the rows.

    Args:
        graph: A graph with named nodes.
        outer: Names of shape values in the enclosing graph.
    """
    values, constants = set(outer), {one.name for one in graph.initializer}
    found = set[str]()
    for node in graph.node:
        bodies = [one.g for one in node.attribute if one.HasField("g")]
        for body in bodies:
            found |= shape_nodes(body, frozenset(values))
        inputs = [name for name in node.input if name not in constants]
        derived = bool(inputs) and all(name in values for name in inputs)
        if node.op_type in _SOURCES or (derived and not bodies and node.op_type != "ConstantOfShape"):
            found.add(node.name)
            values.update(node.output)
    return frozenset(found)
