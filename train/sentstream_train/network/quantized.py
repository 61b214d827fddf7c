"""The recurrence in int8: stacked ``SimpleRNN`` layers whose matrix products run on integers.

A state of tanh or hard_tanh is in -1 to 1, so one fixed scale works for every step: state ≈ (q - 128) / 127
with ``uint8`` q. Weights are ``int8`` with one scale per column. The first layer's input does not change: a
row of the folded look-up, added in ``float32``. hard_tanh costs nothing: a quantizer that saturates computes
it, except that its lower end is one step below -1.

Weights are limited to ±64. A CPU without VNNI adds two products of ``uint8`` and ``int8`` in 16 bits and
saturates the sum (VPMADDUBSW); with 64, 2 × 255 × 64 = 32,640 still fits. So the sums are exact on any CPU
and in any order, and do not depend on the other rows of a batch.

That limit costs one bit. GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323) makes up for it: it
rounds the weights row by row and adjusts the following rows to compensate for the error, measured on the
network's states on given tweets. Compared with rounding to nearest, it halves the change of probabilities.
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
from sentstream_train.network.arrays import Dense, Direction, Floats, Network, Recurrent
from sentstream_train.network.scales import column_scales

Doubles = npt.NDArray[np.float64]
Shares = npt.NDArray[np.float32]

#: States as ``uint8``: steps from 0 to 1, the size of a step, and the value for 0.
_STATE_STEPS = 127
STATE_SCALE = np.float32(1 / _STATE_STEPS)
ZERO_STATE = np.uint8(128)
#: Keras' name of the activation that clips to -1 and 1.
HARD_TANH = "hard_tanh"
#: The activations whose states are in -1 to 1.
_BOUNDED: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "tanh": np.tanh,
    # The lower end of uint8 is one step below -1.
    HARD_TANH: lambda value: value.clip(-STATE_SCALE * ZERO_STATE, 1),
}
#: Largest absolute value of an integer weight.
MOST_WEIGHT = 64
#: Share of the mean second moment that is added to the diagonal, as in the paper: without it, corrections
#: by states that hardly vary could become arbitrarily large.
_DAMPING = 0.01
#: Rows per batch: sums of up to 1,040 products of two states stay below 2**24, so float32 is exact.
_BATCH = 1024
_LEAST = 1e-30  # of a probability whose logarithm is taken
_NAMES = {"simple": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}


def quantize(network: Network, rows: Encoded) -> Network:
    """Round the weights of the recurrent layers for products in int8.

    Args:
        network: Look-up with the first projection folded in, forward ``SimpleRNN`` layers with tanh or
            hard_tanh, then layers without recurrence, which do not change.
        rows: Tweets like those that will be scored; a thousand are plenty.

    Returns:
        The network with rounded weights. Run in ``float32``, it differs from the graph in int8 only by the
        rounding of the states.

    Raises:
        ModelFormatError: The network is not supported (``check_quantizable``).
    """
    stack = check_quantizable(network)
    moments = _moments(network, stack, rows)
    rounded = [
        replace(layer, forward=_round(way, moment))
        for (layer, way), moment in zip(stack, moments, strict=True)
    ]
    return replace(network, layers=(*rounded, *network.layers[len(stack) :]))


def correct_bias(network: Network, rounded: Shares, exact: Shares) -> Network:
    """Correct the classifier's bias by the mean change of the logits that rounding caused.

    Rounding errors of weights do not cancel out over a tweet; their mean hardly depends on the tweet (Nagel
    et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2).

    Args:
        network: The rounded network, ending with a softmax.
        rounded: ``float32[rows, classes]``, its probabilities, in int8, of tweets like those to score.
        exact: Those of the network before it was rounded.
    """
    last = network.layers[-1]
    assert isinstance(last, Dense)
    if last.activation != "softmax":
        return network
    change = np.log(np.maximum(rounded, _LEAST)) - np.log(np.maximum(exact, _LEAST))
    # To four decimals, so that the last bits of float32 on another CPU do not matter.
    mean = np.round((change - change.mean(axis=1, keepdims=True)).mean(axis=0, dtype=np.float64), 4)
    return replace(
        network, layers=(*network.layers[:-1], replace(last, bias=last.bias - mean.astype(np.float32)))
    )


def saturates(network: Network) -> bool:
    """Whether, in int8, the saturating quantizer after the first layer's sums is its activation."""
    first = network.layers[0]
    return isinstance(first, Recurrent) and first.activation == HARD_TANH


def check_quantizable(network: Network) -> list[tuple[Recurrent, Direction]]:
    """The recurrent layers of a network and their weights, if they can be int8.

    Raises:
        ModelFormatError: A layer cannot be int8; the message says why, and what is supported.
    """
    directions: list[tuple[Recurrent, Direction]] = []
    for index, layer in enumerate(network.layers, start=1):
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
            description = f"a {reads}{cell} of {layer.activation}"
            raise _refuse(f"layer {index} is {description}", "leave out --precision int8")
        if index == 1 and way.kernel is not None:
            raise _refuse(
                "its first projection is not folded into the tables",
                "leave out --no-fold, or leave out --precision int8 if the tables would be too large",
            )
        directions.append((layer, way))
    if not directions:
        raise _refuse("it has no recurrent layer", "leave out --precision int8")
    return directions


def _refuse(why: str, hint: str) -> ModelFormatError:
    return ModelFormatError(
        f"the network cannot be int8: {why}; only forward SimpleRNN layers with tanh or hard_tanh over folded"
        " tables are supported",
        hint=hint,
    )


def _moments(network: Network, stack: list[tuple[Recurrent, Direction]], rows: Encoded) -> list[Doubles]:
    """Second moments per layer: the sums of products of every two of its inputs, in int8 steps."""
    inputs = [layer.units + (0 if way.kernel is None else len(way.kernel)) for layer, way in stack]
    moments = [np.zeros((width, width)) for width in inputs]
    lookup = network.lookup
    tables = [lookup.words] if lookup.pairs is None else [lookup.words, lookup.pairs]
    for batch in exact_length_batches(rows.lengths, _BATCH):
        length = int(rows.lengths[batch[0]])
        ids = id_matrix(rows, batch, length).reshape(len(batch), length, len(tables))
        states = [np.zeros((len(batch), layer.units), np.float32) for layer, _ in stack]
        for step in range(length):
            parts = [lookup.rows(table[ids[:, step, index]]) for index, table in enumerate(tables)]
            value: Any = sum(parts[1:], parts[0])
            for index, (layer, way) in enumerate(stack):
                seen = states[index] if way.kernel is None else np.concatenate((value, states[index]), axis=1)
                whole = np.rint(seen * _STATE_STEPS)
                moments[index] += whole.T @ whole
                activate = _BOUNDED[layer.activation]
                value = activate(seen @ _weights(way) + (value if way.kernel is None else 0) + _bias(way))
                states[index] = value
    return moments


def _weights(way: Direction) -> Floats:
    """The weights of the layer below's state and of the layer's own state, stacked."""
    return way.recurrent if way.kernel is None else np.concatenate((way.kernel, way.recurrent))


def _bias(way: Direction) -> Floats | float:
    return 0.0 if way.bias is None else way.bias


def _round(way: Direction, moment: Doubles) -> Direction:
    """A direction with weights rounded by GPTQ to integer multiples of one scale per column.

    A column that was rounded before (``column_scales``) has no error to compensate and does not change.
    """
    scale = column_scales([_weights(way)], MOST_WEIGHT)
    weights = _weights(way).astype(np.float64)
    damped = moment + max(_DAMPING * moment.diagonal().mean(), 1.0) * np.eye(len(moment))
    # Row k of the factor: how the rows after k compensate for an error in row k.
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
