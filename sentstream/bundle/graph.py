"""The checks of an ONNX file before this runtime opens it, without the ``onnx`` package.

Field numbers are from ``onnx.proto`` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto); a test
compares them with the package's own descriptors.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sentstream.bundle.wire import Message
from sentstream.errors import BundleGraphError

#: Opsets that the checks below were written for: Squeeze and Unsqueeze are stable from 13 on, and 21 is the
#: newest that the oldest supported ONNX Runtime supports.
OPSETS = range(13, 22)
IR_VERSIONS = range(7, 11)

_DEFAULT_DOMAIN = ("", "ai.onnx")
_FLOAT, _INT32, _INT64 = 1, 6, 7  # TensorProto.DataType
_TYPE_NAMES = {_FLOAT: "float32", _INT32: "int32"}
_MAX_DEPTH, _MAX_RANK = 16, 8
_MOST_ZEROS = 2**16  # maximum values per row from ConstantOfShape: the first state of a very wide layer
#: Bytes 4 to 8 of a file in ONNX Runtime's own format, which it would otherwise load.
_ORT_FORMAT = b"ORTM"

_OPERATORS = """
Abs Add And AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv DequantizeLinear
Div DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten GRU Gather Gemm GlobalAveragePool GlobalMaxPool
Greater GreaterOrEqual HardSigmoid HardSwish Identity LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax Loop MatMul MatMulInteger Max MaxPool Mean Min Mul Neg Not Or PRelu Pad Pow QuantizeLinear RNN
Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape ReverseSequence Scan
Selu Shape Sigmoid Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Unsqueeze
Where
"""
#: Operators used in text networks. None is random or makes large outputs from small inputs, as RandomNormal,
#: Range, OneHot and Resize do. Loop, Expand, ConstantOfShape, Pad and Tile are limited to sizes that are
#: known beforehand.
OPERATORS = frozenset(_OPERATORS.split())
#: Operators that rearrange ids without changing them (from the first input to the outputs).
_REARRANGE = frozenset(
    {
        "Cast",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
#: Operators whose output contains sizes that their inputs contain.
_KEEP_SIZES = frozenset({"Cast", "Concat", "Gather", "Identity", "Slice", "Squeeze", "Unsqueeze"})
#: Operators with possibly large outputs -> the field of ``_Scope`` and the input index that bound them.
_BOUND = {
    "ConstantOfShape": ("sizes", 0),
    "Expand": ("sizes", 1),
    "Loop": ("sizes", 0),
    "Pad": ("largest", 1),
    "Tile": ("sizes", 1),
}
#: Operators whose outputs may be larger than their inputs: in a Loop, they could grow repeatedly.
_GROW = frozenset({"Concat", "ConstantOfShape", "Expand", "Loop", "Pad", "Scan", "Tile"})
#: Operators that keep the shape of a table.
_SAME_ROWS = frozenset({"Cast", "DequantizeLinear", "Identity"})


class MODEL:
    """Field numbers of ``ModelProto``."""

    ir_version, graph, opset_import, training_info, functions = 1, 7, 8, 20, 25


class OPSET:
    """Field numbers of ``OperatorSetIdProto``."""

    domain, version = 1, 2


class GRAPH:
    """Field numbers of ``GraphProto``."""

    node, initializer, input, output, sparse_initializer = 1, 5, 11, 12, 15


class NODE:
    """Field numbers of ``NodeProto``."""

    input, output, op_type, attribute, domain = 1, 2, 4, 5, 7


class ATTRIBUTE:
    """Field numbers of ``AttributeProto``."""

    name, i, t, g, ints, tensors, graphs = 1, 3, 5, 6, 8, 10, 11
    sparse_tensor, sparse_tensors = 22, 23


class TENSOR:
    """Field numbers of ``TensorProto``."""

    dims, data_type, float_data, int32_data, int64_data, name, raw_data = 1, 2, 4, 5, 7, 8, 9
    external_data, data_location = 13, 14


class VALUE:
    """Field numbers of ``ValueInfoProto``, ``TypeProto`` and ``TensorShapeProto``."""

    name, type = 1, 2
    tensor_type = 1
    elem_type, shape = 1, 2
    dim = 1
    dim_value = 1


@dataclass(frozen=True)
class _Scope:
    """The names visible in a (sub)graph, its own before outer ones; None if a name hides an outer one."""

    #: Value -> the graph input whose ids it contains.
    ids: ChainMap[str, str | None] = field(default_factory=ChainMap)
    #: Constant -> its shape.
    shapes: ChainMap[str, tuple[int, ...] | None] = field(default_factory=ChainMap)
    #: Value that contains sizes -> the product of the constant ones (the others come from an input).
    sizes: ChainMap[str, int | None] = field(default_factory=ChainMap)
    #: Constant with a few integers -> the largest absolute value.
    largest: ChainMap[str, int | None] = field(default_factory=ChainMap)
    #: Whether it is inside a Loop.
    repeated: bool = False

    def inner(self, repeated: bool) -> _Scope:
        ids, shapes = self.ids.new_child(), self.shapes.new_child()
        return _Scope(ids, shapes, self.sizes.new_child(), self.largest.new_child(), repeated)

    def forget(self, name: str) -> None:
        """Record that ``name`` is redefined and hides the outer one."""
        self.ids[name] = self.shapes[name] = self.sizes[name] = self.largest[name] = None

    def hold(self, name: str, tensor: Message) -> None:
        """Record that ``name`` is a constant."""
        self.forget(name)
        shape = self.shapes[name] = _check_tensor(tensor)
        kind = tensor.number(TENSOR.data_type)
        if kind in (_INT32, _INT64) and len(shape) < 2 and math.prod(shape) <= _MAX_RANK:
            numbers = [abs(number) for number in _whole_numbers(tensor, kind)]
            self.sizes[name], self.largest[name] = _product(numbers), max(numbers, default=0)


def check_graph(
    model: bytes, *, opset: int, inputs: Sequence[str], output: str, classes: int, rows: dict[str, int]
) -> None:
    """Check that an ONNX file is self-contained, standard, and as declared in the bundle's config.

    Args:
        model: The contents of the file.
        opset: The declared opset of the default domain.
        inputs: The declared inputs, each ``int32[batch, time]`` with both sizes dynamic.
        output: The declared output, ``float32[batch, classes]``.
        classes: Number of labels.
        rows: For each input, the number of rows that its lookup tables must have.

    Raises:
        BundleGraphError: The file is malformed, or has external data, a custom domain or function, an
            operator not in ``OPERATORS``, training information, a different opset, different inputs or
            outputs, a tensor larger than its data, or a table of a different size.
    """
    if model[4:8] == _ORT_FORMAT:
        raise BundleGraphError("model.onnx is in ONNX Runtime's own format", hint="use the ONNX file")
    proto = Message(memoryview(model))
    if proto.number(MODEL.ir_version) not in IR_VERSIONS:
        raise BundleGraphError(
            f"model.onnx has IR version {proto.number(MODEL.ir_version)}, "
            f"not {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        )
    if MODEL.functions in proto or MODEL.training_info in proto:
        raise BundleGraphError("model.onnx contains functions or training information")
    _check_opsets(proto, opset)
    graph = proto.message(MODEL.graph)
    if graph is None:
        raise BundleGraphError("model.onnx contains no graph")
    _check_values(graph, inputs, output, classes)

    found: dict[str, set[int]] = {name: set() for name in inputs}
    scope = _Scope()
    scope.ids.update({name: name for name in inputs})
    _walk(graph, scope, found, depth=0)
    for name, sizes in found.items():
        # Tables that are not recognized here are checked by the session, which runs the largest ids.
        for size in sizes - {rows[name]}:
            raise BundleGraphError(
                f"model.onnx looks {name} up in a table of {size} rows; the vocabulary has {rows[name]}"
            )


def _check_opsets(proto: Message, opset: int) -> None:
    versions: list[int] = []
    for entry in proto.messages(MODEL.opset_import):
        domain = entry.text(OPSET.domain)
        if domain not in _DEFAULT_DOMAIN:
            raise BundleGraphError(f"model.onnx imports the custom operator domain {domain!r}")
        versions.append(entry.number(OPSET.version))
    if versions != [opset]:
        raise BundleGraphError(f"model.onnx has opset {versions}; config.json declares {opset}")
    if opset not in OPSETS:
        raise BundleGraphError(
            f"model.onnx has opset {opset}, not {OPSETS[0]} to {OPSETS[-1]}", hint="export it with opset 17"
        )


def _check_values(graph: Message, inputs: Sequence[str], output: str, classes: int) -> None:
    found = list(graph.messages(GRAPH.input))
    names = [value.text(VALUE.name) for value in found]
    if names != list(inputs):
        raise BundleGraphError(f"model.onnx has the inputs {names}; config.json declares {list(inputs)}")
    for value in found:
        _check_value(value, _INT32, (None, None))
    found = list(graph.messages(GRAPH.output))
    names = [value.text(VALUE.name) for value in found]
    if names != [output]:
        raise BundleGraphError(f"model.onnx has the outputs {names}; config.json declares [{output!r}]")
    _check_value(found[0], _FLOAT, (None, classes))


def _check_value(value: Message, kind: int, shape: tuple[int | None, ...]) -> None:
    name = value.text(VALUE.name)
    outer = value.message(VALUE.type)
    tensor = outer.message(VALUE.tensor_type) if outer else None
    if tensor is None or tensor.number(VALUE.elem_type) != kind:
        raise BundleGraphError(f"model.onnx: {name} is not a tensor of {_TYPE_NAMES[kind]}")
    dims = tensor.message(VALUE.shape)
    sizes = [
        dim.number(VALUE.dim_value) if VALUE.dim_value in dim else None
        for dim in (dims.messages(VALUE.dim) if dims else ())
    ]
    if tuple(sizes) != shape:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        actual = ", ".join("any" if size is None else str(size) for size in sizes)
        raise BundleGraphError(f"model.onnx: {name} has the shape [{actual}], not [{expected}]")


def _walk(graph: Message, scope: _Scope, found: dict[str, set[int]], *, depth: int) -> None:
    """Check every node and tensor of a graph and its subgraphs; record the rows of lookup tables."""
    if depth > _MAX_DEPTH:
        raise BundleGraphError(f"model.onnx nests graphs more than {_MAX_DEPTH} levels deep")
    if GRAPH.sparse_initializer in graph:
        raise BundleGraphError("model.onnx contains a sparse tensor")
    for tensor in graph.messages(GRAPH.initializer):
        name = tensor.text(TENSOR.name)
        if depth == 0 and name in found:
            raise BundleGraphError(f"model.onnx: the input {name} is also a constant")
        scope.hold(name, tensor)
    for node in graph.messages(GRAPH.node):
        _visit(node, scope, found, depth)


def _check_tensor(tensor: Message) -> tuple[int, ...]:
    """Check that a tensor's data is in the file itself and complete; return its shape."""
    if tensor.number(TENSOR.data_location) or TENSOR.external_data in tensor:
        raise BundleGraphError(f"model.onnx stores the tensor {tensor.text(TENSOR.name)!r} in another file")
    shape = tuple(tensor.numbers(TENSOR.dims))
    if len(shape) > _MAX_RANK or min(shape, default=0) < 0 or math.prod(shape) > tensor.size:
        raise BundleGraphError(
            f"model.onnx: the size of the tensor {tensor.text(TENSOR.name)!r} does not match its data"
        )
    return shape


def _whole_numbers(tensor: Message, kind: int) -> list[int]:
    """The values of an int32 or int64 tensor."""
    raw = tensor.data(TENSOR.raw_data)
    if raw is None:
        return tensor.numbers(TENSOR.int64_data if kind == _INT64 else TENSOR.int32_data)
    size = 8 if kind == _INT64 else 4
    return [
        int.from_bytes(raw[start : start + size], "little", signed=True) for start in range(0, len(raw), size)
    ]


def _visit(node: Message, scope: _Scope, found: dict[str, set[int]], depth: int) -> None:
    operator, domain = node.text(NODE.op_type), node.text(NODE.domain)
    if domain not in _DEFAULT_DOMAIN:
        raise BundleGraphError(f"model.onnx has a node {operator!r} of the custom domain {domain!r}")
    if operator not in OPERATORS:
        raise BundleGraphError(
            f"model.onnx has a node {operator!r}, which is not an operator that a text model may use"
        )
    inputs, outputs = node.texts(NODE.input), node.texts(NODE.output)
    axis = 0
    constant: Message | None = None
    for attribute in node.messages(NODE.attribute):
        if ATTRIBUTE.sparse_tensor in attribute or ATTRIBUTE.sparse_tensors in attribute:
            raise BundleGraphError("model.onnx contains a sparse tensor")
        if (tensor := attribute.message(ATTRIBUTE.t)) is not None:
            constant = tensor
            _check_tensor(tensor)
        for tensor in attribute.messages(ATTRIBUTE.tensors):
            _check_tensor(tensor)
        bodies = [attribute.message(ATTRIBUTE.g), *attribute.messages(ATTRIBUTE.graphs)]
        for body in bodies:
            if body is not None:
                inner = _body_scope(body, inputs, scope, repeated=scope.repeated or operator == "Loop")
                _walk(body, inner, found, depth=depth + 1)
        name = attribute.text(ATTRIBUTE.name)
        if name == "axis":
            axis = attribute.number(ATTRIBUTE.i)
        if name == "pads" and max(map(abs, attribute.numbers(ATTRIBUTE.ints)), default=0) > _MOST_ZEROS:
            raise BundleGraphError("model.onnx pads by an unreasonable amount")

    first = inputs[0] if inputs else ""
    ids, shape = scope.ids.get(first), scope.shapes.get(first)
    looked_up = scope.ids.get(inputs[1]) if len(inputs) > 1 else None
    if operator == "Gather" and shape is not None and looked_up is not None:
        if not -len(shape) <= axis < len(shape):
            raise BundleGraphError(f"model.onnx: a Gather on axis {axis} of a table of shape {list(shape)}")
        found[looked_up].add(shape[axis])
    sizes = _sizes(operator, inputs, scope)
    if scope.repeated and operator in _GROW:
        raise BundleGraphError(
            f"model.onnx has a node {operator!r} in a Loop, where its values could grow without bound"
        )
    _check_bounds(operator, inputs, scope)
    for name in outputs:
        scope.forget(name)
        if ids is not None and operator in _REARRANGE:
            scope.ids[name] = ids
        if shape is not None and operator in _SAME_ROWS:
            scope.shapes[name] = shape
        if sizes is not None:
            scope.sizes[name] = sizes
        if constant is not None and operator == "Constant":
            scope.hold(name, constant)


def _check_bounds(operator: str, inputs: list[str], scope: _Scope) -> None:
    """Check that tensor sizes and loop counts are determined by the input's shape and by constants."""
    known, where = _BOUND.get(operator, ("", 0))
    if not known:
        return
    size = getattr(scope, known).get(inputs[where]) if where < len(inputs) else None
    if size is None or size > _MOST_ZEROS:
        phrase = "runs a loop whose step count" if operator == "Loop" else "makes a tensor whose size"
        raise BundleGraphError(f"model.onnx {phrase} is unknown or unreasonable")


def _sizes(operator: str, inputs: list[str], scope: _Scope) -> int | None:
    """If a node's output contains sizes, the product of the constant ones; otherwise None."""
    if operator == "Shape":
        return 1
    if operator not in _KEEP_SIZES:
        return None
    operands = inputs if operator == "Concat" else inputs[:1]
    known = [size for name in operands if (size := scope.sizes.get(name)) is not None]
    return _product(known) if len(known) == len(operands) else None


def _product(sizes: Iterable[int]) -> int:
    """The product of the sizes, capped just above ``_MOST_ZEROS``."""
    product = 1
    for size in sizes:
        product = min(product * size, _MOST_ZEROS + 1)
    return product


def _body_scope(body: Message, inputs: list[str], outer: _Scope, *, repeated: bool) -> _Scope:
    """The scope of a Scan's or Loop's body, whose inputs correspond one to one to the node's inputs."""
    scope = outer.inner(repeated)
    names = [value.text(VALUE.name) for value in body.messages(GRAPH.input)]
    for name in names:
        scope.forget(name)
    for name, outer_name in zip(names, inputs, strict=False):
        scope.ids[name] = outer.ids.get(outer_name)
    return scope
