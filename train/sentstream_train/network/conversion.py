"""Convert Keras models to networks of plain arrays, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from sentstream.errors import ModelFormatError
from sentstream_train.network.arrays import (
    GATES,
    Dense,
    Direction,
    Floats,
    Layer,
    Lookup,
    Network,
    Pooling,
    Recurrent,
)
from sentstream_train.network.layers import MaskedPooling, WordDropout, WordPairEmbedding
from sentstream_train.network.onnx_graph import ACTIVATIONS

_NOTHING_AT_INFERENCE = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    WordDropout,
)
_CELLS: dict[Any, Any] = {
    keras.layers.SimpleRNN: "simple",
    keras.layers.GRU: "gru",
    keras.layers.LSTM: "lstm",
}


def from_keras(model: keras.Sequential) -> Network:
    """The network of a Keras model: look-up, recurrent layers, pooling, dense layers.

    Raises:
        ModelFormatError: A layer, the order of layers or a setting is not supported.
    """
    lookup: Lookup | None = None
    layers: list[Layer] = []
    flat = False  # whether the time axis is gone
    for layer in model.layers:
        if isinstance(layer, _NOTHING_AT_INFERENCE):
            continue
        if lookup is None:
            lookup = _lookup(layer)
            continue
        if isinstance(layer, (keras.layers.Activation, keras.layers.Softmax)):
            layers[-1] = _activated(layers, layer)
            continue
        if isinstance(layer, keras.layers.Dense):
            converted: Layer = _dense(layer)
        else:
            converted = _over_time(layer)
        if flat != isinstance(converted, Dense):
            raise _refuse(layer, "follows a layer that has" + (" no" if flat else "") + " time steps")
        flat = (
            flat
            or isinstance(converted, Pooling)
            or (isinstance(converted, Recurrent) and not converted.sequences)
        )
        layers.append(converted)
    if lookup is None or not layers or not _ends_in_probabilities(layers[-1]):
        raise ModelFormatError(
            "the model does not end in probabilities",
            hint="its last layer must be Dense with softmax, or one sigmoid",
        )
    return Network(lookup, tuple(layers))


def _ends_in_probabilities(last: Layer) -> bool:
    if not isinstance(last, Dense):
        return False
    return (last.activation == "softmax") == (last.kernel.shape[1] > 1) and last.activation in (
        "softmax",
        "sigmoid",
    )


def _refuse(layer: Any, why: str) -> ModelFormatError:
    return ModelFormatError(f"the layer {layer.name} ({type(layer).__name__}) {why}")


def _lookup(layer: Any) -> Lookup:
    if isinstance(layer, WordPairEmbedding):
        pairs = _array(layer.pair_table)
        pairs[0] = 0.0  # "no pair" adds nothing, whatever the row contains
        return Lookup(_array(layer.word_table), pairs)
    if isinstance(layer, keras.layers.Embedding):
        return Lookup(_array(layer.embeddings))
    raise _refuse(layer, "comes first, where an Embedding is required")


def _array(variable: Any) -> Floats:
    return np.array(keras.ops.convert_to_numpy(variable), np.float32)


def _over_time(layer: Any) -> Layer:
    if isinstance(layer, MaskedPooling):
        return Pooling(("max", "mean") if layer.mode == "mean-max" else (layer.mode,))
    if isinstance(layer, keras.layers.GlobalMaxPooling1D):
        return Pooling(("max",))
    if isinstance(layer, keras.layers.GlobalAveragePooling1D):
        return Pooling(("mean",))
    if isinstance(layer, keras.layers.Bidirectional):
        if layer.merge_mode != "concat":
            raise _refuse(layer, f"merges its directions by {layer.merge_mode!r}, not by 'concat'")
        ahead, back = _recurrent(layer.forward_layer), _recurrent(layer.backward_layer)
        if ahead.forward is None or back.backward is None:
            raise _refuse(layer, "wraps a layer that goes backwards")
        return replace(ahead, backward=back.backward)
    if type(layer) in _CELLS:
        converted = _recurrent(layer)
        if converted.backward is not None and converted.sequences:
            raise _refuse(layer, "goes backwards and returns sequences, whose order it reverses")
        return converted
    raise _refuse(layer, "is not supported in a bundle")


def _recurrent(layer: Any) -> Recurrent:
    for name in ("activation", "recurrent_activation"):
        function = getattr(layer, name, None)
        if function is not None and function.__name__ not in ACTIVATIONS:
            raise _refuse(layer, f"uses the {name} {function.__name__}; supported: {', '.join(ACTIVATIONS)}")
    if layer.stateful or layer.return_state:
        raise _refuse(layer, "keeps its state between batches, or returns it")
    cell, units = _CELLS[type(layer)], layer.units
    width = GATES[cell] * units
    bias, recurrent_bias = np.zeros(width, np.float32), None
    if layer.use_bias:
        bias = _array(layer.cell.bias)
        if bias.ndim == 2:  # GRU with reset_after: biases of the input and of the state
            bias, recurrent_bias = bias[0], bias[1]
    direction = Direction(
        _array(layer.cell.kernel), _array(layer.cell.recurrent_kernel), bias, recurrent_bias
    )
    return Recurrent(
        cell=cell,
        units=units,
        sequences=layer.return_sequences,
        forward=None if layer.go_backwards else direction,
        backward=direction if layer.go_backwards else None,
        activation=layer.activation.__name__,
        recurrent_activation=getattr(getattr(layer, "recurrent_activation", None), "__name__", "sigmoid"),
        reset_after=getattr(layer, "reset_after", True),
    )


def _dense(layer: Any) -> Dense:
    name = layer.activation.__name__
    if name not in (*ACTIVATIONS, "softmax"):
        raise _refuse(layer, f"uses the activation {name}; supported: softmax, {', '.join(ACTIVATIONS)}")
    bias = _array(layer.bias) if layer.use_bias else np.zeros(layer.units, np.float32)
    return Dense(_array(layer.kernel), bias, name)


def _activated(layers: list[Layer], layer: Any) -> Dense:
    """The last dense layer, merged with a separate activation layer that follows it."""
    last = layers[-1] if layers else None
    name = "softmax" if isinstance(layer, keras.layers.Softmax) else layer.activation.__name__
    if not isinstance(last, Dense) or last.activation != "linear" or name not in (*ACTIVATIONS, "softmax"):
        raise _refuse(layer, "does not follow a Dense layer without an activation")
    return replace(last, activation=name)


def to_keras(network: Network, *, mask_zero: bool = True) -> keras.Sequential:
    """A Keras model that computes the same as a network.

    A folded look-up becomes a wide embedding whose projection selects columns: it computes the same
    numbers, and the layer can be fine-tuned.

    Args:
        network: The network.
        mask_zero: Whether to mask id 0, as in training; False if rows are padded with it.
    """
    lookup = network.lookup
    words = lookup.rows(lookup.words)
    layers: list[Any] = []
    if lookup.pairs is None:
        layers.append(keras.layers.Embedding(*words.shape, mask_zero=mask_zero, name="embedding"))
    else:
        layers.append(WordPairEmbedding(len(words), len(lookup.pairs), lookup.width, name="embedding"))
    weights = [[words] if lookup.pairs is None else [words, lookup.rows(lookup.pairs)]]
    for index, layer in enumerate(network.layers, start=1):
        name = f"layer_{index}" if index < len(network.layers) else "probabilities"
        if isinstance(layer, Pooling):
            layers.append(MaskedPooling("mean-max" if len(layer.parts) == 2 else layer.parts[0], name=name))
            weights.append([])
        elif isinstance(layer, Dense):
            layers.append(keras.layers.Dense(layer.kernel.shape[1], activation=layer.activation, name=name))
            weights.append([layer.kernel, layer.bias])
        else:
            layers.append(_keras_recurrent(layer, name))
            weights.append(_keras_weights(layer, lookup.width))
    pairs = lookup.pairs is not None
    tokens = keras.Input((None, 2) if pairs else (None,), dtype="int32", name="tokens")
    model = keras.Sequential([tokens, *layers], name="sentstream")
    for built, values in zip(layers, weights, strict=True):
        built.set_weights(values)
    return model


def _keras_recurrent(layer: Recurrent, name: str) -> Any:
    kind = next(kind for kind, cell in _CELLS.items() if cell == layer.cell)
    settings: dict[str, Any] = {"activation": layer.activation, "return_sequences": layer.sequences}
    if layer.cell != "simple":
        settings["recurrent_activation"] = layer.recurrent_activation
    if layer.cell == "gru":
        settings["reset_after"] = layer.reset_after
    if len(layer.directions) == 2:
        return keras.layers.Bidirectional(kind(layer.units, **settings), name=name)
    return kind(layer.units, go_backwards=layer.forward is None, name=name, **settings)


def _keras_weights(layer: Recurrent, inputs: int) -> list[npt.NDArray[Any]]:
    values: list[npt.NDArray[Any]] = []
    width = GATES[layer.cell] * layer.units
    for index, direction in enumerate(layer.directions):
        kernel = direction.kernel
        if kernel is None:
            kernel = np.eye(inputs, dtype=np.float32)[:, index * width : (index + 1) * width]
        bias = np.zeros(width, np.float32) if direction.bias is None else direction.bias
        if layer.cell == "gru" and layer.reset_after:
            rest = direction.recurrent_bias
            bias = np.stack((bias, np.zeros_like(bias) if rest is None else rest))
        values += [kernel, direction.recurrent, bias]
    return values
