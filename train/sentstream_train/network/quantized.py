"""The recurrence in int8: stacked ``SimpleRNN`` layers whose products run on whole numbers.

A state of tanh or hard_tanh lies in -1 to 1, so that one scale, known beforehand, serves every step:
state ≈ (q - 128) / 127, q of ``uint8``. Weights are ``int8``, with a scale a column. The first layer's
input stays what it is, a row of the folded look-up that is added in ``float32``. Of hard_tanh nothing is left
to compute: a quantizer that saturates is it, but for its lower end, a step below -1.

Weights go up to ±64 only. A CPU without VNNI adds two products of ``uint8`` and ``int8`` in 16 bits and
cuts the sum off there (VPMADDUBSW); with 64, 2 × 255 × 64 = 32,640 still fits. So the sums are exact
on any CPU, in any order: nothing of them depends on what stands beside a row.

The bit that this costs, rounding with a view to what it does gives back: GPTQ (Frantar et al. 2022,
https://arxiv.org/abs/2210.17323) rounds row after row of the weights, and lets the rows that follow make
good the error on the states that the network has on given tweets. Against rounding to nearest it
halves what a probability moves by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream.errors import ModelFormatError
from sentstream.text import Encoded
from sentstream_train.data.lengths import exact_length_batches, id_matrix
from sentstream_train.network.arrays import Direction, Floats, Network, Recurrent
from sentstream_train.network.scales import column_scales

Doubles = npt.NDArray[np.float64]

#: A state of 1 and one of 0, as ``uint8``.
_STATE_STEPS = 127
STATE_SCALE = np.float32(1 / _STATE_STEPS)
ZERO_STATE = np.uint8(128)
#: Keras' name of what cuts off at -1 and 1.
HARD_TANH = "hard_tanh"
#: The activations whose states lie in -1 to 1.
_BOUNDED: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "tanh": np.tanh,
    # As uint8 ends: a step below -1.
    HARD_TANH: lambda value: value.clip(-STATE_SCALE * ZERO_STATE, 1),
}
#: Largest weight in either direction.
MOST_WEIGHT = 64
#: Share of the mean second moment that is added to all of them, as in the paper: without it, states
#: that hardly vary could be made use of without measure.
_DAMPING = 0.01
#: Rows at a time: 1,040 products of two states still add up to less than 2**24, exactly in float32.
_BATCH = 1024
_NAMES = {"simple": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}


def quantize(network: Network, rows: Encoded) -> Network:
    """Round the weights of the recurrent layers for products in int8.

    Args:
        network: Look-up with the first projection folded in, ``SimpleRNN`` layers of tanh or hard_tanh
            that read forward, then layers without recurrence, which stay as they are.
        rows: Tweets like those that will be scored; a thousand are plenty.

    Returns:
        The network with the rounded weights: run in ``float32``, it differs from the graph in int8
        by the rounding of the states only.

    Raises:
        ModelFormatError: Another network; the message says what can be int8.
    """
    stack = check_quantizable(network)
    moments = _moments(network, stack, rows)
    rounded = [
        replace(layer, forward=_round(way, moment))
        for (layer, way), moment in zip(stack, moments, strict=True)
    ]
    return replace(network, layers=(*rounded, *network.layers[len(stack) :]))


def saturates(network: Network) -> bool:
    """Whether the first layer's activation, in int8, is the saturation of the quantizer after its sums."""
    first = network.layers[0]
    return isinstance(first, Recurrent) and first.activation == HARD_TANH


def check_quantizable(network: Network) -> list[tuple[Recurrent, Direction]]:
    """The recurrent layers of a network, if they can be int8.

    Raises:
        ModelFormatError: They cannot; the message says which layer, and what can be.
    """
    found: list[tuple[Recurrent, Direction]] = []
    for place, layer in enumerate(network.layers, start=1):
        if not isinstance(layer, Recurrent):
            continue
        way, cell = layer.forward, _NAMES[layer.cell]
        if (
            layer.cell != "simple"
            or layer.activation not in _BOUNDED
            or way is None
            or layer.backward is not None
        ):
            reads = "" if layer.backward is None else "backward-reading " if way is None else "bidirectional "
            what = f"a {reads}{cell} of {layer.activation}"
            raise _refuse(f"layer {place} is {what}", "leave out --precision int8")
        if place == 1 and way.kernel is not None:
            raise _refuse(
                "its first projection is not folded into the tables",
                "leave out --no-fold, or leave out --precision int8 if the tables would be too large",
            )
        found.append((layer, way))
    if not found:
        raise _refuse("it has no recurrent layer", "leave out --precision int8")
    return found


def _refuse(why: str, hint: str) -> ModelFormatError:
    return ModelFormatError(
        f"the network cannot be int8: {why}; only forward SimpleRNN layers with tanh or hard_tanh over folded"
        " tables are supported",
        hint=hint,
    )


def _moments(network: Network, stack: list[tuple[Recurrent, Direction]], rows: Encoded) -> list[Doubles]:
    """For each layer, how its inputs in int8 go together: sums of the products of every two of them."""
    inputs = [layer.units + (0 if way.kernel is None else len(way.kernel)) for layer, way in stack]
    moments = [np.zeros((width, width)) for width in inputs]
    lookup = network.lookup
    tables = [lookup.words] if lookup.pairs is None else [lookup.words, lookup.pairs]
    for batch in exact_length_batches(rows.lengths, _BATCH):
        length = int(rows.lengths[batch[0]])
        ids = id_matrix(rows, batch, length).reshape(len(batch), length, len(tables))
        states = [np.zeros((len(batch), layer.units), np.float32) for layer, _ in stack]
        for step in range(length):
            parts = [lookup.rows(table[ids[:, step, place]]) for place, table in enumerate(tables)]
            value: Any = sum(parts[1:], parts[0])
            for place, (layer, way) in enumerate(stack):
                seen = states[place] if way.kernel is None else np.concatenate((value, states[place]), axis=1)
                whole = np.rint(seen * _STATE_STEPS)
                moments[place] += whole.T @ whole
                activate = _BOUNDED[layer.activation]
                value = activate(seen @ _weights(way) + (value if way.kernel is None else 0) + _bias(way))
                states[place] = value
    return moments


def _weights(way: Direction) -> Floats:
    """Weights of the layer below and of the layer's own state, one upon the other."""
    return way.recurrent if way.kernel is None else np.concatenate((way.kernel, way.recurrent))


def _bias(way: Direction) -> Floats | float:
    return 0.0 if way.bias is None else way.bias


def _round(way: Direction, moment: Doubles) -> Direction:
    """A direction whose weights are whole multiples of a scale a column, rounded by GPTQ.

    A column that is round already (``column_scales``) has no error to make good, and stays as it is.
    """
    scale = column_scales([_weights(way)], MOST_WEIGHT)
    weights = _weights(way).astype(np.float64)
    damped = moment + max(_DAMPING * moment.diagonal().mean(), 1.0) * np.eye(len(moment))
    # Row k of the factor: how the rows after k make good an error in row k.
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    whole = np.empty_like(weights)
    for row in range(len(weights)):
        whole[row] = np.clip(np.rint(weights[row] / scale), -MOST_WEIGHT, MOST_WEIGHT)
        error = (weights[row] - whole[row] * scale) / upper[row, row]
        weights[row + 1 :] -= np.outer(upper[row, row + 1 :], error)
    multiples = whole.astype(np.float32) * scale
    if way.kernel is None:
        return replace(way, recurrent=multiples, scale=scale)
    below = len(way.kernel)
    return replace(way, kernel=multiples[:below], recurrent=multiples[below:], scale=scale)
