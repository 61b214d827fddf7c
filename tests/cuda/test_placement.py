"""Which node ran where, how that is reported, and which nodes compute shapes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cuda_tools import float_networks, int8_networks
from onnx import GraphProto

from sentstream.cuda.opening import prepare_graph
from sentstream.cuda.placement import CPU, CUDA, Node, Placement, read_profile
from sentstream.cuda.shapes import name_nodes, shape_nodes
from sentstream.session import ON_CPU, create, import_runtime
from sentstream_train.network.onnx_graph import to_onnx

NETWORKS = {**float_networks(), **int8_networks()}
SHAPES = frozenset({"length", "rows"})
MIXED = Placement(
    (
        Node("product", "MatMul", CUDA),
        Node("state", "Tanh", CUDA),
        Node("rows", "Concat", CPU),
        Node("whole", "MatMulInteger", CPU),
        Node("length", "Shape", CUDA),
    ),
    SHAPES,
)


def event(name: str, operator: str, provider: str) -> dict[str, Any]:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "args": {"op_name": operator, "provider": provider},
    }


class TestPlacement:
    def test_nodes_left_on_the_cpu(self) -> None:
        assert MIXED.counts == {CUDA: 3, CPU: 2}
        assert MIXED.compute_on_cpu == (Node("whole", "MatMulInteger", CPU),)
        assert MIXED.shapes_on_cpu == (Node("rows", "Concat", CPU),)
        assert json.loads(json.dumps(MIXED.to_dict())) == {
            "nodes": {CUDA: 3, CPU: 2},
            "compute_on_cpu": [{"name": "whole", "operator": "MatMulInteger"}],
            "shapes_on_cpu": [{"name": "rows", "operator": "Concat"}],
        }
        assert pickle.loads(pickle.dumps(MIXED)) == MIXED  # it comes from another process

    def test_one_line_summary(self) -> None:
        assert str(MIXED) == "3 nodes on CUDA, 2 nodes on the CPU (not for shapes: whole (MatMulInteger))"
        shapes = Placement((*MIXED.nodes[:3], MIXED.nodes[4]), SHAPES)
        assert str(shapes) == "3 nodes on CUDA, 1 node on the CPU (shapes only)"
        assert str(Placement((Node("x", "Add", CPU),))) == "1 node on the CPU"
        many = Placement((MIXED.nodes[0], *(Node(f"n{number}", "Add", CPU) for number in range(20))))
        assert "n6 (Add), n7 (Add), 12 more)" in str(many)

    def test_read_from_a_profile(self) -> None:
        events = [
            {"cat": "Session", "name": "model_loading", "args": {}},
            {"cat": "Node", "name": "product_fence_before", "args": {"op_name": "MatMul"}},
            {"cat": "Node", "name": "other"},
            event("product", "MatMul", CUDA),
            event("rows", "Concat", CPU),
        ]
        found = read_profile(events, SHAPES)
        assert found.nodes == (Node("product", "MatMul", CUDA), Node("rows", "Concat", CPU))
        assert found.shapes_on_cpu == found.nodes[1:]

    @pytest.mark.parametrize("name", ["2 layers max+mean, pairs", "gru fb last, folded", "lstm f max+mean"])
    def test_every_node_runs_once_over_one_token(self, name: str, tmp_path: Path) -> None:
        """A profile of one token counts nodes, and they keep their names."""
        prepared = prepare_graph(to_onnx(NETWORKS[name]))
        runtime = import_runtime()
        session = create(runtime, prepared.model, ON_CPU, profile=str(tmp_path / "profile"))
        inputs = [one.name for one in session.get_inputs()]
        session.run(None, {one: np.ones((2, 1), np.int32) for one in inputs})
        found = read_profile(json.loads(Path(session.end_profiling()).read_text("utf-8")), prepared.shapes)
        names = [node.name for node in found.nodes]
        assert len(set(names)) == len(names) > 10
        assert {node.provider for node in found.nodes} == {CPU}
        assert {node.operator for node in found.shapes_on_cpu} <= {"Shape", "Concat", "Cast"}
        assert "Scan" in {node.operator for node in found.compute_on_cpu}
        session.run(None, {one: np.ones((2, 3), np.int32) for one in inputs})  # it goes on without


def nodes_of(graph: GraphProto) -> dict[str, str]:
    found = {}
    for node in graph.node:
        found[node.name] = node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= nodes_of(attribute.g)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_shape_nodes(name: str) -> None:
    graph = onnx.load_from_string(to_onnx(NETWORKS[name])).graph
    name_nodes(graph)
    named, shapes = nodes_of(graph), shape_nodes(graph)
    operators = [named[one] for one in shapes]
    assert "Shape" in operators
    # The mean of states in int8 takes off a zero point per token: their number is multiplied by it.
    assert set(operators) <= {"Shape", "Concat", "Cast", "Mul"}
    assert ("Mul" in operators) == ("hard_tanh" in name and "mean" in name)
    # All that is joined to a shape, and none that joins states or rows.
    joined = {
        node.name
        for node in graph.node
        if node.op_type == "Concat" and "Shape" in named.get(node.input[0], "")
    }
    assert joined == {one for one in shapes if named[one] == "Concat"}
