"""Write an ONNX file with a chain of matrix products, without the ``onnx`` package.

Each product takes the result of the previous one, like the steps of a recurrence. Rows and weights stay in
the processor's cache, so the chain measures arithmetic.
"""

from __future__ import annotations

import numpy as np

from sentstream.bundle.graph import GRAPH, MODEL, NODE, OPSET, TENSOR, VALUE

_FLOAT, _IR_VERSION, _OPSET = 1, 8, 17


def gemm_chain(rows: int, inner: int, outer: int, count: int) -> bytes:
    """Return an ONNX file: ``rows``, float32[rows, inner] → ``result``, by ``count`` ``Gemm`` nodes.

    Args:
        rows: Number of rows of every product.
        inner: Columns of the first product's left side.
        outer: Columns of its result. The second product goes back to ``inner``, and so on.
        count: Number of products, even.
    """
    random = np.random.default_rng(1)
    weights = {
        # Scaled so that values neither grow nor shrink to denormals, which are slow.
        name: random.normal(0, shape[0] ** -0.5, shape).astype("<f4")
        for name, shape in (("there", (inner, outer)), ("back", (outer, inner)))
    }
    names = ["rows", *(f"value_{index}" for index in range(1, count)), "result"]
    nodes = [
        _text(NODE.input, names[index])
        + _text(NODE.input, ("there", "back")[index % 2])
        + _text(NODE.output, names[index + 1])
        + _text(NODE.op_type, "Gemm")
        for index in range(count)
    ]
    tensors = [
        b"".join(_number(TENSOR.dims, size) for size in value.shape)
        + _number(TENSOR.data_type, _FLOAT)
        + _text(TENSOR.name, name)
        + _field(TENSOR.raw_data, value.tobytes())
        for name, value in weights.items()
    ]
    graph = [
        *(_field(GRAPH.node, node) for node in nodes),
        _text(_GRAPH_NAME, "gemm"),
        *(_field(GRAPH.initializer, tensor) for tensor in tensors),
        _field(GRAPH.input, _value("rows", rows, inner)),
        _field(GRAPH.output, _value("result", rows, inner)),
    ]
    opset = _text(OPSET.domain, "") + _number(OPSET.version, _OPSET)
    return (
        _number(MODEL.ir_version, _IR_VERSION)
        + _field(MODEL.graph, b"".join(graph))
        + _field(MODEL.opset_import, opset)
    )


_GRAPH_NAME = 2  # field number in GraphProto


def _value(name: str, *sizes: int) -> bytes:
    """A ``ValueInfoProto``: a float32 tensor of these sizes."""
    dims = b"".join(_field(VALUE.dim, _number(VALUE.dim_value, size)) for size in sizes)
    tensor = _number(VALUE.elem_type, _FLOAT) + _field(VALUE.shape, dims)
    return _text(VALUE.name, name) + _field(VALUE.type, _field(VALUE.tensor_type, tensor))


def _varint(value: int) -> bytes:
    """Encode a number with seven bits per byte, lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())
