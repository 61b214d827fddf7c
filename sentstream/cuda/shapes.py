"""Which nodes of a graph reckon with shapes only."""

from __future__ import annotations

from onnx import GraphProto

_SOURCES = ("Shape", "Size")


def name_nodes(graph: GraphProto) -> None:
    """Give every node the name of what it makes, so that a profile tells them apart."""
    for node in graph.node:
        node.name = node.output[0]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                name_nodes(attribute.g)


def shape_nodes(graph: GraphProto, outer: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the nodes whose inputs are shapes, or made of nothing but shapes and constants.

    What fills a tensor of such a shape is none of them: that is as large as the rows.

    Args:
        graph: Its nodes have names.
        outer: Values of shapes in the graph around.
    """
    values, constants = set(outer), {one.name for one in graph.initializer}
    found = set[str]()
    for node in graph.node:
        bodies = [one.g for one in node.attribute if one.HasField("g")]
        for body in bodies:
            found |= shape_nodes(body, frozenset(values))
        given = [name for name in node.input if name not in constants]
        derived = bool(given) and all(name in values for name in given)
        if node.op_type in _SOURCES or (derived and not bodies and node.op_type != "ConstantOfShape"):
            found.add(node.name)
            values.update(node.output)
    return frozenset(found)
