"""What `--activation hard_tanh` saves in int8: the same graph with each activation, alternating.

python benchmarks/activations.py [MODEL ...]    # CPU time of one thread; by default of the models in int8

Weights are the model's own; where the activation is hard_tanh, all columns of the tables have one scale, as
in an export. What comes out means nothing, and takes the time that it takes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import machine, machine_line
from sentstream.bundle import load_bundle
from sentstream.session import ON_CPU, create, import_runtime
from sentstream_train.network.arrays import Network, Recurrent
from sentstream_train.network.onnx_graph import to_onnx
from sentstream_train.store.trained import network_of

_LENGTH, _ROUNDS, _RUN_ROWS = 15, 101, (64, 128, 256, 512)


def activated(network: Network, activation: str) -> Network:
    """The same weights, with this activation."""
    layers = tuple(
        replace(one, activation=activation) if isinstance(one, Recurrent) else one for one in network.layers
    )
    lookup = network.lookup
    if activation == "hard_tanh" and lookup.scale is not None:
        lookup = replace(lookup, scale=np.full_like(lookup.scale, lookup.scale.max()))
    return Network(lookup, layers)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["tweets", "tweets-small"], metavar="MODEL")
    models = parser.parse_args().models
    print(f"{machine_line(machine())}\n")
    print(
        "| model | rows per run | tanh, µs per step | hard_tanh, µs per step | speedup |\n"
        "|---|---:|---:|---:|---:|"
    )
    for name in models:
        network = network_of(load_bundle(name))
        graphs = [to_onnx(activated(network, one)) for one in ("tanh", "hard_tanh")]
        sessions = [create(import_runtime(), graph, ON_CPU) for graph in graphs]
        for rows in _RUN_ROWS:
            random = np.random.default_rng(0)
            feed = {
                one.name: random.integers(2, 3000, (rows, _LENGTH)).astype(np.int32)
                for one in sessions[0].get_inputs()
            }
            times: list[list[float]] = [[], []]
            for _ in range(_ROUNDS):
                for session, measured in zip(sessions, times, strict=True):
                    began = time.process_time()
                    for _ in range(512 // rows):
                        session.run(None, feed)
                    measured.append(1e6 * (time.process_time() - began) / (512 // rows) / _LENGTH)
            tanh, hard = map(statistics.median, times)
            faster = statistics.median(one / other for one, other in zip(*times, strict=True))
            print(f"| {name} | {rows} | {tanh:,.1f} | {hard:,.1f} | {faster:.2f} |")


if __name__ == "__main__":
    main()
