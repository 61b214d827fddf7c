"""A trained network as plain arrays, the form between a Keras model and an ONNX graph.

It has only what inference needs: no dropout, and no padding, because batches have tweets of one exact
length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream_train.config import Cell

Floats: TypeAlias = npt.NDArray[np.float32]
#: The number of gates of each cell: the parts of its kernels, in Keras' order.
GATES: dict[str, int] = {"simple": 1, "gru": 3, "lstm": 4}
#: Parts of a direction that are stored as integers if it has a scale.
_SCALED = ("kernel", "recurrent")


@dataclass(frozen=True)
class Lookup:
    """The tables that turn ids into vectors; a token's vector is (word row + pair row) × scale.

    Attributes:
        words: ``float32`` or ``int8[words, width]``.
        pairs: The same for word pairs, row 0 ("no pair") all zeros; None without pairs.
        scale: ``float32[width]`` if the tables are ``int8``, else None.
    """

    words: npt.NDArray[Any]
    pairs: npt.NDArray[Any] | None = None
    scale: Floats | None = None

    @property
    def width(self) -> int:
        return int(self.words.shape[1])

    def rows(self, table: npt.NDArray[Any]) -> Floats:
        """Rows of a table as ``float32``, multiplied by the scale."""
        plain: Floats = table.astype(np.float32)
        return plain if self.scale is None else plain * self.scale


@dataclass(frozen=True)
class Direction:
    """The weights of one recurrent layer in one direction, for ``g`` gates.

    Attributes:
        kernel: ``float32[inputs, g × units]``, or None if it is folded into the look-up.
        recurrent: ``float32[units, g × units]``.
        bias: ``float32[g × units]``, added to the projected input, or None if it is folded, too.
        recurrent_bias: ``float32[g × units]``, added to the projected state (GRU), or None.
        scale: ``float32[units]`` if the products run in int8: each column of ``kernel`` and ``recurrent``
            is its scale times int8 integers (see ``quantized``). Else None.
    """

    kernel: Floats | None
    recurrent: Floats
    bias: Floats | None
    recurrent_bias: Floats | None = None
    scale: Floats | None = None


@dataclass(frozen=True)
class Recurrent:
    """One recurrent layer.

    Attributes:
        cell: The kind of the cell.
        units: Width of the state.
        sequences: Whether it returns the state after each step, or only the last one.
        forward, backward: Weights of each direction; None: it does not read in that direction.
        activation, recurrent_activation: Names of the functions; the second is for the gates.
        reset_after: GRU: whether the reset gate is applied to the projected state (Keras' default).
    """

    cell: Cell
    units: int
    sequences: bool
    forward: Direction | None
    backward: Direction | None = None
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    reset_after: bool = True

    @property
    def directions(self) -> tuple[Direction, ...]:
        return tuple(one for one in (self.forward, self.backward) if one is not None)

    @property
    def width(self) -> int:
        return self.units * len(self.directions)


@dataclass(frozen=True)
class Pooling:
    """Pooling over time: the maximum, the mean, or both concatenated in this order."""

    parts: tuple[Literal["max", "mean"], ...]


@dataclass(frozen=True)
class Dense:
    """A dense layer: ``float32[inputs, outputs]``, ``float32[outputs]``, the activation's name."""

    kernel: Floats
    bias: Floats
    activation: str


Layer: TypeAlias = Recurrent | Pooling | Dense


@dataclass(frozen=True)
class Network:
    """Look-up, then layers; the last returns one probability per class (or one sigmoid for two)."""

    lookup: Lookup
    layers: tuple[Layer, ...]

    @property
    def classes(self) -> int:
        last = self.layers[-1]
        assert isinstance(last, Dense)
        return max(2, int(last.kernel.shape[1]))

    def describe(self) -> dict[str, Any]:
        """The architecture as JSON-ready data; ``rebuild`` restores the network from it and the arrays."""
        return {
            "width": self.lookup.width,
            "tables": str(self.lookup.words.dtype),
            "precision": self.precision,
            "pairs": self.lookup.pairs is not None,
            "layers": [_describe(layer) for layer in self.layers],
        }

    @property
    def precision(self) -> Literal["fp32", "int8"]:
        """The precision of the recurrent layers' matrix products."""
        ways = (way for layer in self.layers if isinstance(layer, Recurrent) for way in layer.directions)
        return "int8" if any(way.scale is not None for way in ways) else "fp32"

    @property
    def parameters(self) -> int:
        """The number of all values in the arrays."""
        total: int = sum(array.size for array in all_arrays(self).values())
        return total


def _describe(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, Pooling):
        return {"kind": "pooling", "parts": list(layer.parts)}
    if isinstance(layer, Dense):
        return {"kind": "dense", "units": layer.kernel.shape[1], "activation": layer.activation}
    return {
        "kind": "recurrent",
        "cell": layer.cell,
        "units": layer.units,
        "sequences": layer.sequences,
        "forward": layer.forward is not None,
        "backward": layer.backward is not None,
        "activation": layer.activation,
        "recurrent_activation": layer.recurrent_activation,
        "reset_after": layer.reset_after,
    }


def arrays_of(layer: Layer) -> dict[str, npt.NDArray[Any]]:
    """A layer's arrays by name, in their stored form."""
    if isinstance(layer, Pooling):
        return {}
    if isinstance(layer, Dense):
        return {"kernel": layer.kernel, "bias": layer.bias}
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, direction in (("forward", layer.forward), ("backward", layer.backward)):
        if direction is None:
            continue
        for part in ("kernel", "recurrent", "bias", "recurrent_bias", "scale"):
            array = getattr(direction, part)
            if array is None:
                continue
            if direction.scale is not None and part in _SCALED:
                array = np.rint(array / direction.scale).astype(np.int8)
            arrays[f"{name}.{part}"] = array
    return arrays


def rebuild(described: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Network:
    """A network from the results of ``describe`` and ``all_arrays``.

    Raises:
        KeyError: An array or a part of the description is missing.
    """
    lookup = Lookup(arrays["words_table"], arrays.get("pairs_table"), arrays.get("table_scale"))
    layers: list[Layer] = []
    for index, layer in enumerate(described["layers"], start=1):
        prefix = f"layer_{index}."
        if layer["kind"] == "pooling":
            layers.append(Pooling(tuple(layer["parts"])))
        elif layer["kind"] == "dense":
            layers.append(Dense(arrays[prefix + "kernel"], arrays[prefix + "bias"], layer["activation"]))
        else:
            forward, backward = (
                _direction(arrays, f"{prefix}{name}.") if layer[name] else None
                for name in ("forward", "backward")
            )
            layers.append(
                Recurrent(
                    layer["cell"],
                    layer["units"],
                    layer["sequences"],
                    forward,
                    backward,
                    layer["activation"],
                    layer["recurrent_activation"],
                    layer["reset_after"],
                )
            )
    return Network(lookup, tuple(layers))


def _direction(arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Direction:
    scale = arrays.get(f"{prefix}scale")
    kernel, recurrent = arrays.get(f"{prefix}kernel"), arrays[f"{prefix}recurrent"]
    if scale is not None:
        kernel, recurrent = None if kernel is None else kernel * scale, recurrent * scale
    return Direction(
        kernel, recurrent, arrays.get(f"{prefix}bias"), arrays.get(f"{prefix}recurrent_bias"), scale
    )


def all_arrays(network: Network) -> dict[str, npt.NDArray[Any]]:
    """Every array of a network by name: ``words_table``, ``layer_1.forward.kernel`` …"""
    arrays: dict[str, npt.NDArray[Any]] = {"words_table": network.lookup.words}
    if network.lookup.pairs is not None:
        arrays["pairs_table"] = network.lookup.pairs
    if network.lookup.scale is not None:
        arrays["table_scale"] = network.lookup.scale
    for index, layer in enumerate(network.layers, start=1):
        arrays.update({f"layer_{index}.{name}": array for name, array in arrays_of(layer).items()})
    return arrays


def same_numbers(one: Network, other: Network) -> bool:
    """Whether two networks of the same architecture have equal weights, scaled integers or not."""
    ours, theirs = (all_arrays(_unscaled(network)) for network in (one, other))
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def _unscaled(network: Network) -> Network:
    """The network with ``float32`` weights instead of scaled integers."""
    lookup = network.lookup
    pairs = None if lookup.pairs is None else lookup.rows(lookup.pairs)
    layers = tuple(_unscaled_layer(layer) for layer in network.layers)
    return Network(Lookup(lookup.rows(lookup.words), pairs), layers)


def _unscaled_layer(layer: Layer) -> Layer:
    if not isinstance(layer, Recurrent):
        return layer
    ways = {name: getattr(layer, name) for name in ("forward", "backward")}
    return replace(layer, **{name: way and replace(way, scale=None) for name, way in ways.items()})
