"""CUDA's provider has a kernel for every node that is exported, with the types that the node has there.

The table is from ONNX Runtime: docs/OperatorKernels.md, "Operators implemented by CUDAExecutionProvider", at
opset 17, in its repository (github.com/microsoft/onnxruntime) at commit 001d12d2623f. For each operator it
lists only the types that matter here: those of float32 graphs, of ids and of shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxruntime
import pytest
from cuda_tools import float_networks, int8_networks
from onnx import GraphProto, NodeProto, TensorProto, shape_inference

from sentstream.bundle import list_models, load_bundle
from sentstream.cuda.opening import prepare_graph
from sentstream_train.network.onnx_graph import to_onnx

F, I8, U8, I32, I64 = (
    TensorProto.FLOAT,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT32,
    TensorProto.INT64,
)
ANY, FLOATS = {F, I8, U8, I32, I64}, {F}
#: Operator -> the types of its first input; of the inputs behind it, where they are others; of outputs.
KERNELS: dict[str, tuple[set[int], set[int], set[int]]] = {
    "Add": ({F, I8, U8, I32, I64},) * 3,
    "Cast": (ANY, set(), ANY),
    "Clip": ({F, I8, U8, I64},) * 3,
    "Concat": (ANY,) * 3,
    "ConstantOfShape": ({I64}, set(), ANY),
    "DequantizeLinear": ({I8, U8}, {F, I8, U8}, FLOATS),
    "Div": (ANY,) * 3,
    "Gather": (ANY, {I32, I64}, ANY),
    "Gemm": (FLOATS,) * 3,
    "HardSigmoid": (FLOATS, set(), FLOATS),
    "Identity": (ANY, set(), ANY),
    "MatMul": (FLOATS,) * 3,
    "MatMulInteger": ({I8}, {I8}, {I32}),
    "Max": ({F, I32, I64},) * 3,
    "Mul": (ANY,) * 3,
    "QuantizeLinear": (FLOATS, {F, I8, U8}, {I8, U8}),
    "ReduceMax": ({F, I32, I64}, set(), {F, I32, I64}),
    "ReduceMean": ({F, I32}, set(), {F, I32}),
    "Relu": (FLOATS, set(), FLOATS),
    "Round": (FLOATS, set(), FLOATS),
    "Scan": (ANY,) * 3,
    "Shape": (ANY, set(), {I64}),
    "Sigmoid": (FLOATS, set(), FLOATS),
    "Softmax": (FLOATS, set(), FLOATS),
    "Softsign": (FLOATS, set(), FLOATS),
    "Split": (ANY, {I64}, ANY),
    "Sub": (ANY,) * 3,
    "Tanh": (FLOATS, set(), FLOATS),
    "Transpose": (ANY, set(), ANY),
}
INT8, FLOAT = int8_networks(), float_networks()


def without_kernel(graph: GraphProto, outer: dict[str, int] | None = None) -> Iterator[str]:
    """The nodes that CUDA has no kernel for, with their types."""
    kinds = dict(outer or {})
    kinds |= {one.name: one.data_type for one in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from without_kernel(attribute.g, kinds)
        first, others, outputs = KERNELS.get(node.op_type, (set(), set(), set()))
        inputs = [kinds[name] for name in node.input if name]
        made = [kinds[name] for name in node.output if name in kinds]
        assert made, node  # a type that nobody knows would pass
        if inputs[0] not in first or not set(inputs[1:]) <= others or not set(made) <= outputs:
            yield f"{node.op_type} {inputs} {made}"


def lacking(model: bytes) -> list[str]:
    return list(without_kernel(shape_inference.infer_shapes(onnx.load_from_string(model)).graph))


def after_onnx_runtime(model: bytes, path: Path) -> bytes:
    """The graph before its nodes are assigned to providers."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return path.read_bytes()


@pytest.mark.parametrize("name", [*FLOAT, *INT8])
def test_every_exported_node_has_a_kernel(name: str, tmp_path: Path) -> None:
    model = to_onnx({**FLOAT, **INT8}[name])
    assert onnx.load_from_string(model).opset_import[0].version == 17
    prepared = prepare_graph(model).model
    assert lacking(prepared) == []
    assert lacking(after_onnx_runtime(prepared, tmp_path / "optimized.onnx")) == []


@pytest.mark.parametrize("name", list_models())
def test_every_shipped_node_has_a_kernel(name: str) -> None:
    assert lacking(prepare_graph(load_bundle(name).model).model) == []


def test_int8_products_have_no_kernel() -> None:
    """Shows that the check works, and why graphs are rewritten."""
    found = lacking(to_onnx(INT8["2 layers max+mean, pairs"]))
    assert [one.split()[0] for one in found] == ["MatMulInteger"] * 2


def test_kernel_table_has_no_unknown_operators() -> None:
    def operators(graph: GraphProto) -> Iterator[str]:
        node: NodeProto
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from operators(attribute.g)

    used = set[str]()
    for network in (*FLOAT.values(), *INT8.values()):
        model = to_onnx(network)
        used.update(operators(onnx.load_from_string(model).graph))
        used.update(operators(onnx.load_from_string(prepare_graph(model).model).graph))
    assert used == KERNELS.keys()
