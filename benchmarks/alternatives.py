"""Ideas to make the graph faster that were tried and not adopted, so that they can be tried again.

python benchmarks/alternatives.py unrolled      # one graph per length, without the Scan: is it faster?
python benchmarks/alternatives.py dequantized   # DequantizeLinear for the rows of the tables: is it?
python benchmarks/alternatives.py arena         # ONNX Runtime's memory arena, with one thread and with all
python benchmarks/alternatives.py prefixes      # steps that tweets with the same first words could share
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import machine, machine_line
from benchmarks.rows import tweets
from sentstream.bundle import load_bundle
from sentstream.session import ON_CPU, RUN_ROWS, create, import_runtime, usable_cpus

MODELS = ("tweets", "tweets-small", "sentiment140")
_LENGTH, _SECONDS, _ROUNDS = 20, 2.0, 9
_WINDOWS = (16_384, 32_768, 262_144)


def unroll(model: bytes, length: int) -> bytes:
    """Return the graph for rows of one length: the body of its ``Scan`` repeated for each step."""
    proto = onnx.load_from_string(model)
    graph, nodes = proto.graph, list[Any]()
    for node in graph.node:
        if node.op_type != "Scan":
            nodes.append(node)
            continue
        attributes = {one.name: one for one in node.attribute}
        body, scanned = attributes["body"].g, attributes["num_scan_inputs"].i
        states = list(node.input[: len(node.input) - scanned])
        graph.initializer.extend(body.initializer)
        for index, source in enumerate(node.input[len(states) :]):
            rows = [f"rows_{index}_{step}" for step in range(length)]
            nodes.append(helper.make_node("Split", [source], [f"{name}_" for name in rows], axis=0))
            nodes += [helper.make_node("Squeeze", [f"{name}_", "first_axis"], [name]) for name in rows]
        for step in range(length):
            inputs = [*states, *(f"rows_{index}_{step}" for index in range(scanned))]
            names = dict(zip((one.name for one in body.input), inputs, strict=True))
            for inner in body.node:
                names |= {name: f"{name}.{step}" for name in inner.output}
                copied = onnx.NodeProto()
                copied.CopyFrom(inner)
                del copied.input[:], copied.output[:]
                copied.input.extend(names.get(name, name) for name in inner.input)
                copied.output.extend(names[name] for name in inner.output)
                nodes.append(copied)
            states = [names[one.name] for one in body.output]
        pairs = zip(states, node.output, strict=True)
        nodes += [helper.make_node("Identity", [state], [name]) for state, name in pairs]
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "first_axis"))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return bytes(proto.SerializeToString())


def dequantize(model: bytes) -> bytes:
    """Return the graph with one operator for the ``Cast`` and ``Mul`` on the stored rows of the tables."""
    proto = onnx.load_from_string(model)
    (scan,) = (node for node in proto.graph.node if node.op_type == "Scan")
    body = next(one for one in scan.attribute if one.name == "body").g
    casts = [node for node in body.node[:2] if node.op_type == "Cast"]
    add, mul = body.node[len(casts)], body.node[len(casts) + 1]
    for node in casts:
        node.op_type = "DequantizeLinear"
        node.input.append(mul.input[1])
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("axis", 1))
    add.output[0] = mul.output[0]
    body.node.remove(mul)
    return bytes(proto.SerializeToString())


def _drawn(session: Any, rows: int, length: int) -> dict[str, npt.NDArray[np.int32]]:
    """Draw token ids for a run, the same each time."""
    random = np.random.default_rng(0)
    return {
        one.name: random.integers(2, 3000, (rows, length)).astype(np.int32) for one in session.get_inputs()
    }


def time_side_by_side(change: Callable[[bytes], bytes]) -> None:
    """Time the original and the changed graphs in turn, on rows of one length."""
    runtime = import_runtime()
    print("| model | rows | shipped, µs | changed, µs | changed ÷ shipped | max difference |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in MODELS:
        model = load_bundle(name).model
        sessions = [create(runtime, one, ON_CPU) for one in (model, change(model))]
        for rows in (2, RUN_ROWS):
            feed = _drawn(sessions[0], rows, _LENGTH)
            first, second = (one.run(None, feed)[0] for one in sessions)
            times: list[list[float]] = [[], []]
            end = time.perf_counter() + _SECONDS
            while time.perf_counter() < end:
                for session, measured in zip(sessions, times, strict=True):
                    began = time.perf_counter()
                    session.run(None, feed)
                    measured.append(1e6 * (time.perf_counter() - began))
            ships, changed = map(statistics.median, times)
            apart = f"{np.abs(first - second).max():.0e}"
            print(f"| {name} | {rows} | {ships:,.0f} | {changed:,.0f} | {changed / ships:.2f} | {apart} |")


def arena() -> None:
    """Measure CPU time with and without the arena, in turn, as in ``score``. Rerun it: processes differ."""
    runtime = import_runtime()

    def open_with_arena(model: bytes, options: Any, **more: Any) -> Any:
        options.enable_cpu_mem_arena = True
        return runtime.InferenceSession(model, options, **more)

    changed = SimpleNamespace(
        SessionOptions=runtime.SessionOptions,
        ExecutionMode=runtime.ExecutionMode,
        InferenceSession=open_with_arena,
    )
    print(
        "| model | threads | without, CPU µs per row | with, CPU µs per row | without ÷ with |\n"
        "|---|---:|---:|---:|---:|"
    )
    for name in MODELS:
        model = load_bundle(name).model
        sessions = [create(one, model, ON_CPU) for one in (runtime, changed)]
        feeds = [_drawn(sessions[0], RUN_ROWS, length) for length in range(5, 36, 2)]
        for threads in sorted({1, usable_cpus()}):
            times: list[list[float]] = [[], []]
            with ThreadPoolExecutor(threads) as pool:
                for _ in range(_ROUNDS):
                    for session, measured in zip(sessions, times, strict=True):
                        began = time.process_time()
                        list(pool.map(partial(_run_all, session, feeds), range(threads)))
                        rows = threads * len(feeds) * RUN_ROWS
                        measured.append(1e6 * (time.process_time() - began) / rows)
            without, including = map(statistics.median, times)
            print(f"| {name} | {threads} | {without:.2f} | {including:.2f} | {including / without:.2f} |")


def _run_all(session: Any, feeds: list[dict[str, npt.NDArray[np.int32]]], _: int) -> None:
    for feed in feeds:
        session.run(None, feed)


def shared_steps(rows: npt.NDArray[np.int32]) -> int:
    """Count the steps of ``int32[rows, length]`` whose word, and all words before it, another row shares."""
    ordered = rows[np.lexsort(rows.T[::-1])]
    same = np.cumprod(ordered[1:] == ordered[:-1], axis=1)
    return int(same.sum())


def prefixes() -> None:
    """Count the shared steps in windows of tweets."""
    encoded = load_bundle("tweets").text.encode(tweets(max(_WINDOWS)))
    lengths = encoded.lengths
    print("| window, rows | shared steps among rows of one length |\n|---:|---:|")
    for window in _WINDOWS:
        shared = 0
        for start in range(0, len(encoded), window):
            part = lengths[start : start + window]
            for length in np.unique(part[part > 0]).tolist():
                positions = encoded.offsets[start + np.flatnonzero(part == length)]
                shared += shared_steps(encoded.words.take(positions[:, None] + np.arange(length)))
        print(f"| {window:,} | {shared / len(encoded.words):.1%} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices: dict[str, Callable[[], None]] = {
        "unrolled": partial(time_side_by_side, partial(unroll, length=_LENGTH)),
        "dequantized": partial(time_side_by_side, dequantize),
        "arena": arena,
        "prefixes": prefixes,
    }
    parser.add_argument("which", choices=choices)
    which = parser.parse_args().which
    print(f"{machine_line(machine())}\n")
    choices[which]()
