"""Convert any Keras model from token ids to probabilities to an ONNX graph, with tf2onnx."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from sentstream.errors import ModelFormatError, first_line
from sentstream_train.network.onnx_graph import IR_VERSION, OPSET

_INPUT, _OUTPUT = "words", "probabilities"
#: Operators that can be attributed to one layer, because tf2onnx does not merge them across layers.
_OF_LAYERS = frozenset("MatMul Gemm Conv LSTM GRU RNN Loop Gather Softmax".split())


def convert(
    model: Any, *, classes: int, wordless: npt.NDArray[np.float32] | None = None, unmasked: bool = False
) -> bytes:
    """Convert a Keras model to an ONNX graph.

    Args:
        model: From ``int32[batch, time]`` to ``[batch, classes]``, or to one sigmoid for two classes.
        classes: Number of classes.
        wordless: ``float32[classes]``, the output for rows that start with padding, for graphs whose rows
            are not padded. None: padding is an id like any other.
        unmasked: Leave out the masks of Embedding layers, for rows without padding.

    Returns:
        The ONNX file: one input ``words``, one output ``probabilities``, standard operators. Operators with
        weights are named after their layer.

    Raises:
        ModelFormatError: tf2onnx cannot convert the model.
    """
    masked = (
        [layer for layer in model._flatten_layers() if getattr(layer, "mask_zero", False)] if unmasked else []
    )
    for layer in masked:
        layer.mask_zero = False
    try:
        proto = _convert(model)
    finally:
        for layer in masked:
            layer.mask_zero = True
    try:
        layers = frozenset(layer.name for layer in model._flatten_layers())
        return _with_bundle_interface(proto, layers, classes, wordless)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelFormatError(f"the output of tf2onnx is not a valid graph: {first_line(error)}") from error


def _convert(model: Any) -> Any:
    with _quiet():
        import tf2onnx

        shape = tf.TensorSpec([None, *model.input_shape[1:]], tf.int32, name=_INPUT)
        function = tf.function(lambda words: model(words, training=False), input_signature=[shape])
        try:
            proto, _ = tf2onnx.convert.from_function(
                function, input_signature=[shape], opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
            )
        except Exception as error:
            raise ModelFormatError(f"tf2onnx cannot convert the model: {first_line(error)}") from error
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    other = sorted({node.op_type for graph in _graphs(proto.graph) for node in graph.node} - known)
    if other:
        raise ModelFormatError(
            f"tf2onnx does not support the TensorFlow operators {', '.join(other)}",
            hint="use other layers or activations",
        )
    return proto


def _erfc(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Convert ``erfc(x)``, which gelu uses and tf2onnx 1.17 does not support, to ``1 - erf(x)``."""
    node.type, value = "Erf", node.output[0]
    readers = context.find_output_consumers(value)
    one = context.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    rest = context.make_node("Sub", [one, value], name=f"{name}_rest").output[0]
    for reader in readers:
        context.replace_input(reader, value, rest)


def _with_bundle_interface(
    proto: Any, layers: frozenset[str], classes: int, wordless: npt.NDArray[np.float32] | None
) -> bytes:
    """The graph with the input and output of a bundle, serialized."""
    graph = proto.graph
    _rename(graph, layers)
    value = graph.output[0].name
    width = graph.output[0].type.tensor_type.shape.dim[-1].dim_value

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(array: npt.NDArray[Any], name: str) -> str:
        graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    if width == 1:  # one sigmoid: the second label's probability
        rest = add("Sub", [constant(np.ones((), np.float32), "one"), value], "rest")
        value = add("Concat", [rest, value], "both", axis=-1)
    if wordless is not None:
        first = add("Gather", [_INPUT, constant(np.zeros(1, np.int64), "first_place")], "first", axis=1)
        has_words = add("Cast", [first], "has_words", to=TensorProto.BOOL)
        value = add("Where", [has_words, value, constant(wordless[None], "wordless")], "of_words")
    add("Identity", [value], _OUTPUT)
    model = helper.make_model(
        helper.make_graph(
            graph.node,
            "sentstream",
            [helper.make_tensor_value_info(_INPUT, TensorProto.INT32, ["batch", "time"])],
            [helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, ["batch", classes])],
            graph.initializer,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sentstream",
    )
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _rename(graph: Any, layers: frozenset[str]) -> None:
    """Name values and nodes after their layers if those are certain, else after their operators.

    tf2onnx names merged nodes after any of their origins, and its numbers depend on earlier work of the
    process.
    """
    names = {"": "", graph.input[0].name: _INPUT}
    taken = {_INPUT, _OUTPUT}

    def named(old: str, stem: str) -> str:
        if old not in names:
            fresh, number = stem, 1
            while fresh in taken:
                number += 1
                fresh = f"{stem}_{number}"
            taken.add(fresh)
            names[old] = fresh
        return names[old]

    for inner in _graphs(graph):
        for value in inner.input:
            value.name = named(value.name, "step")
        for node in inner.node:
            stem = node.op_type
            if stem in _OF_LAYERS and (layer := _layer(node.output[0], layers)):
                stem = f"{layer}/{stem}"
            node.output[:] = [named(name, stem) for name in node.output]
            node.input[:] = [named(name, f"{stem}/given") for name in node.input]
            node.name = node.output[0]
    for inner in _graphs(graph):
        for value in (*inner.output, *inner.initializer):
            value.name = named(value.name, "constant")
        inner.ClearField("value_info")
        constants = sorted(inner.initializer, key=lambda tensor: str(tensor.name))
        inner.ClearField("initializer")
        inner.initializer.extend(constants)


def _layer(name: str, layers: frozenset[str]) -> str:
    """The layer in a TensorFlow name, a path; TensorFlow may add a number to each part."""
    for part in name.split("/"):
        for known in (part, part.rpartition("_")[0]):
            if known in layers:
                return known
    return ""


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress tf2onnx's warnings and what it writes to standard error."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
