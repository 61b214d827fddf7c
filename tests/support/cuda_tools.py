"""Networks of every kind that can be exported, and a simulated CUDA device that is the CPU."""

from __future__ import annotations

from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from bundles import draw_encoded

from sentstream import session as session_module
from sentstream.cuda import opening
from sentstream.cuda.driver import Driver
from sentstream.cuda.placement import CPU, CUDA
from sentstream.session import ON_CPU, import_runtime
from sentstream_train.network.arrays import (
    GATES,
    Dense,
    Direction,
    Layer,
    Lookup,
    Network,
    Pooling,
    Recurrent,
)
from sentstream_train.network.onnx_graph import ACTIVATIONS
from sentstream_train.network.quantized import quantize, saturates
from sentstream_train.network.tables import fold, to_int8

WORDS, PAIRS, WIDTH, UNITS = 40, 12, 8, 6
_random = np.random.default_rng(0)


def drawn(*shape: int) -> npt.NDArray[np.float32]:
    return _random.normal(0, 0.5, shape).astype(np.float32)


def lookup(*, pairs: bool = True) -> Lookup:
    table = drawn(PAIRS + 1, WIDTH) if pairs else None
    if table is not None:
        table[0] = 0
    return Lookup(drawn(WORDS, WIDTH), table)


def layer(cell: Any, inputs: int, ways: str, *, sequences: bool = True, **more: Any) -> Recurrent:
    def way() -> Direction:
        width = GATES[cell] * UNITS
        after = cell == "gru" and more.get("reset_after", True)
        return Direction(
            drawn(inputs, width), drawn(UNITS, width), drawn(width), drawn(width) if after else None
        )

    forward, backward = (way() if one in ways else None for one in "fb")
    return Recurrent(cell, UNITS, sequences, forward, backward, **more)


def network(layers: list[Layer], width: int, *, pairs: bool = True, sigmoid: bool = False) -> Network:
    head = (
        Dense(drawn(width, 1), drawn(1), "sigmoid")
        if sigmoid
        else Dense(drawn(width, 3), drawn(3), "softmax")
    )
    return Network(lookup(pairs=pairs), (*layers, head))


@cache
def float_networks() -> dict[str, Network]:
    """Return cells, directions, pooling, activations, folded or not, with both kinds of tables."""
    networks: dict[str, Network] = {}
    for cell, ways, pooling in product(("simple", "gru", "lstm"), ("f", "b", "fb"), (("max", "mean"), ())):
        width = UNITS * len(ways)
        second = layer(cell, width, ways, sequences=bool(pooling))
        layers: list[Layer] = [layer(cell, WIDTH, ways), second, *([Pooling(pooling)] if pooling else [])]
        networks[f"{cell} {ways} {'+'.join(pooling) or 'last'}"] = network(
            layers, width * max(1, len(pooling))
        )
    networks["gru, reset before"] = network(
        [layer("gru", WIDTH, "f", sequences=False, reset_after=False)], UNITS
    )
    for name in ACTIVATIONS:
        gates = name if "sigmoid" in name else "sigmoid"  # with other gates, states would grow without bounds
        one = layer("lstm", WIDTH, "f", sequences=False, activation=name, recurrent_activation=gates)
        networks[f"lstm of {name}"] = network([one], UNITS, pairs=False)
    networks["a sigmoid"] = network([layer("simple", WIDTH, "f", sequences=False)], UNITS, sigmoid=True)
    folded = {f"{name}, folded": fold(one) for name, one in networks.items()}
    small = {
        f"{name}, int8 tables": to_int8(one) for name, one in folded.items() if name.startswith("simple f")
    }
    return networks | folded | small


@cache
def int8_networks() -> dict[str, Network]:
    """Return networks with an int8 recurrence, over both kinds of tables."""
    networks: dict[str, Network] = {}
    kinds = product((1, 2, 3), (("max", "mean"), ("mean",), ()), (True, False), ("tanh", "hard_tanh"))
    for count, pooling, pairs, activation in kinds:
        layers: list[Layer] = [
            layer(
                "simple",
                UNITS if index else WIDTH,
                "f",
                sequences=bool(pooling) or index < count - 1,
                activation=activation,
            )
            for index in range(count)
        ]
        layers += [Pooling(pooling)] if pooling else []
        plain = fold(network(layers, UNITS * max(1, len(pooling)), pairs=pairs))
        rows = draw_encoded(WORDS, PAIRS if pairs else None, 60)
        name = f"{count} layers {'+'.join(pooling) or 'last'}{', pairs' if pairs else ''}"
        name += "" if activation == "tanh" else f" of {activation}"
        networks[name] = quantize(plain, rows)
        networks[f"{name}, int8 tables"] = quantize(to_int8(plain), rows)
        if saturates(plain):
            networks[f"{name}, int8 tables of one scale"] = quantize(to_int8(plain, one_scale=True), rows)
    return networks


def feed_of(one: Network, rows: int, length: int, seed: int = 0) -> dict[str, npt.NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    feed = {"words": random.integers(0, WORDS, (rows, length)).astype(np.int32)}
    if one.lookup.pairs is not None:
        feed["pairs"] = random.integers(0, PAIRS + 1, (rows, length)).astype(np.int32)
    return feed


class Pretended:
    """A CUDA device that is the CPU: everything is real except the kernels.

    Attributes:
        options: The provider options of each opened session.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, devices: int = 2) -> None:
        self.options: list[dict[str, str]] = []
        onnxruntime = import_runtime()
        available = [CUDA, *(name for name in onnxruntime.get_available_providers() if name != CUDA)]
        real = opening.provider_options

        def options(device: int, memory: int | None) -> list[Any]:
            self.options.append(real(device, memory)[0][1])
            return ON_CPU

        def bound(*arguments: Any, device: tuple[str, int], at_once: int) -> Any:
            assert device[0] == "cuda"
            return real_bound(*arguments, device=("cpu", 0), at_once=at_once)

        real_bound = opening.BoundRuns
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
        names = tuple(f"pretended {number}" for number in range(devices))
        monkeypatch.setattr(session_module, "driver", partial(Driver, devices, None, names))
        monkeypatch.setattr(opening, "preload", lambda _: None)
        monkeypatch.setattr(opening, "provider_options", options)
        monkeypatch.setattr(opening, "BoundRuns", bound)
        monkeypatch.setattr(opening, "CUDA", CPU)
