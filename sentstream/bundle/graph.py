"""What an ONNX file must be before this runtime opens it, checked without the ``onnx`` package.

Field numbers are those of ``onnx.proto`` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto);
a test compares them with the package's own descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sentstream.bundle.wire import Message
from sentstream.errors import BundleGraphError

#: Opsets that the checks below were written for; Squeeze and Unsqueeze are stable from 13 on, and 21
#: is what the oldest supported ONNX Runtime knows.
OPSETS = range(13, 22)
IR_VERSIONS = range(7, 11)

_DEFAULT_DOMAIN = ("", "ai.onnx")
_FLOAT, _INT32 = 1, 6  # TensorProto.DataType
_TYPE_NAMES = {_FLOAT: "float32", _INT32: "int32"}
_RANK = 2
_MAX_DEPTH = 16

#: Operators that rearrange ids and leave each of them what it is (first input in, outputs out).
_REARRANGE = frozenset(
    "Cast Expand Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split()
)
#: Operators that keep the rows of a table where they are.
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

    name, i, t, g, tensors, graphs = 1, 3, 5, 6, 10, 11
    sparse_tensor, sparse_tensors = 22, 23


class TENSOR:
    """Field numbers of ``TensorProto``."""

    dims, name, external_data, data_location = 1, 8, 13, 14


class VALUE:
    """Field numbers of ``ValueInfoProto``, ``TypeProto`` and ``TensorShapeProto``."""

    name, type = 1, 2
    tensor_type = 1
    elem_type, shape = 1, 2
    dim = 1
    dim_value = 1


@dataclass(frozen=True)
class _Scope:
    """The names that a (sub)graph sees: its own and those around it."""

    ids: dict[str, str] = field(default_factory=dict)  # value -> the graph input whose ids it holds
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # constant -> its shape

    def inner(self) -> _Scope:
        return _Scope(dict(self.ids), dict(self.shapes))

    def forget(self, name: str) -> None:
        """``name`` is defined anew and hides the outer one."""
        self.ids.pop(name, None)
        self.shapes.pop(name, None)


def check_graph(
    model: bytes, *, opset: int, inputs: Sequence[str], output: str, classes: int, rows: dict[str, int]
) -> None:
    """Check that an ONNX file is self-contained, standard, and what the bundle's config declares.

    Args:
        model: The file.
        opset: Its declared opset of the default domain.
        inputs: Its declared inputs, each ``int32[batch, time]`` with both sizes left open.
        output: Its declared output, ``float32[batch, classes]``.
        classes: How many labels there are.
        rows: For each input, the rows that its look-up tables must have.

    Raises:
        BundleGraphError: Malformed, external data, a custom domain or function, training
            information, another opset, other inputs or outputs, or a table of another size.
    """
    proto = Message(memoryview(model))
    if proto.number(MODEL.ir_version) not in IR_VERSIONS:
        raise BundleGraphError(
            f"model.onnx has IR version {proto.number(MODEL.ir_version)}, "
            f"not {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        )
    if MODEL.functions in proto or MODEL.training_info in proto:
        raise BundleGraphError("model.onnx holds functions or training information")
    _check_opsets(proto, opset)
    graph = proto.message(MODEL.graph)
    if graph is None:
        raise BundleGraphError("model.onnx holds no graph")
    _check_values(graph, inputs, output, classes)

    found: dict[str, set[int]] = {name: set() for name in inputs}
    _walk(graph, _Scope(ids={name: name for name in inputs}), found, depth=0)
    for name, sizes in found.items():
        # A table that cannot be told apart is left to the session, which tries the largest ids.
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
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        given = ", ".join("any" if size is None else str(size) for size in sizes)
        raise BundleGraphError(f"model.onnx: {name} has the shape [{given}], not [{wanted}]")


def _walk(graph: Message, scope: _Scope, found: dict[str, set[int]], *, depth: int) -> None:
    """Check every node and tensor of a graph and of those inside it; note the rows of look-up tables."""
    if depth > _MAX_DEPTH:
        raise BundleGraphError(f"model.onnx nests graphs more than {_MAX_DEPTH} deep")
    if GRAPH.sparse_initializer in graph:
        raise BundleGraphError("model.onnx holds a sparse tensor")
    for tensor in graph.messages(GRAPH.initializer):
        name = tensor.text(TENSOR.name)
        if depth == 0 and name in scope.ids:
            raise BundleGraphError(f"model.onnx: the input {name} is also a constant")
        scope.forget(name)
        scope.shapes[name] = _check_tensor(tensor)
    for node in graph.messages(GRAPH.node):
        _visit(node, scope, found, depth)


def _check_tensor(tensor: Message) -> tuple[int, ...]:
    """The shape of a tensor that is held in the file itself."""
    if tensor.number(TENSOR.data_location) or TENSOR.external_data in tensor:
        raise BundleGraphError(f"model.onnx keeps the tensor {tensor.text(TENSOR.name)!r} in another file")
    return tuple(tensor.numbers(TENSOR.dims))


def _visit(node: Message, scope: _Scope, found: dict[str, set[int]], depth: int) -> None:
    operator, domain = node.text(NODE.op_type), node.text(NODE.domain)
    if domain not in _DEFAULT_DOMAIN:
        raise BundleGraphError(f"model.onnx has a node {operator!r} of the custom domain {domain!r}")
    inputs, outputs = node.texts(NODE.input), node.texts(NODE.output)
    axis = 0
    constant: tuple[int, ...] | None = None
    for attribute in node.messages(NODE.attribute):
        if ATTRIBUTE.sparse_tensor in attribute or ATTRIBUTE.sparse_tensors in attribute:
            raise BundleGraphError("model.onnx holds a sparse tensor")
        for tensor in (*attribute.messages(ATTRIBUTE.t), *attribute.messages(ATTRIBUTE.tensors)):
            constant = _check_tensor(tensor)
        for body in (*attribute.messages(ATTRIBUTE.g), *attribute.messages(ATTRIBUTE.graphs)):
            _walk(body, _body_scope(body, inputs, scope), found, depth=depth + 1)
        if attribute.text(ATTRIBUTE.name) == "axis":
            axis = attribute.number(ATTRIBUTE.i)

    first = inputs[0] if inputs else ""
    ids, shape = scope.ids.get(first), scope.shapes.get(first)
    if operator == "Gather" and shape is not None and len(inputs) > 1 and inputs[1] in scope.ids:
        if not -len(shape) <= axis < len(shape):
            raise BundleGraphError(f"model.onnx: a Gather of axis {axis} from a table of shape {list(shape)}")
        found[scope.ids[inputs[1]]].add(shape[axis])
    for name in outputs:
        scope.forget(name)
        if ids is not None and operator in _REARRANGE:
            scope.ids[name] = ids
        if shape is not None and operator in _SAME_ROWS:
            scope.shapes[name] = shape
        if constant is not None and operator == "Constant":
            scope.shapes[name] = constant


def _body_scope(body: Message, inputs: list[str], outer: _Scope) -> _Scope:
    """What a Scan's or Loop's body sees: its inputs are the node's own, one to one and in order."""
    scope = outer.inner()
    names = [value.text(VALUE.name) for value in body.messages(GRAPH.input)]
    for name in names:
        scope.forget(name)
    for name, given in zip(names, inputs, strict=False):
        if given in outer.ids:
            scope.ids[name] = outer.ids[given]
    return scope
