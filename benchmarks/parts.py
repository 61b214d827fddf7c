"""Parts of sentstream alone, and the upper bound set by arithmetic: each a process that prints JSON.

python -m benchmarks.parts text MODEL FILE ROWS         # tokenizing and look-up, on all cores
python -m benchmarks.parts inference MODEL FILE ROWS    # token ids to probabilities, on all cores
python -m benchmarks.parts gemm MODEL [THREADS]         # matrix products of that model's shapes
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.rows import read_texts
from benchmarks.timing import timed
from sentstream.bundle import Bundle, load_bundle
from sentstream.doctor.gemm import gemm_chain
from sentstream.doctor.reference import Product, products, read_graph
from sentstream.model import BATCH_ROWS
from sentstream.session import ON_CPU, RUN_ROWS, Session, create, import_runtime, usable_cpus

_CHAIN, _SECONDS = 32, 0.75


def parts_of(path: Path, rows: int) -> list[pa.Array]:
    """Read the tweets in batches of the size that ``score`` reads."""
    texts = read_texts(path, rows).combine_chunks()
    return [texts.slice(start, BATCH_ROWS) for start in range(0, len(texts), BATCH_ROWS)]


def text(bundle: Bundle, path: Path, rows: int) -> dict[str, Any]:
    """Measure the text path alone."""
    parts = parts_of(path, rows)
    bundle.text.encode(parts[0][:5000])
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return timed(rows, lambda: list(pool.map(bundle.text.encode, parts)))


def inference(bundle: Bundle, path: Path, rows: int) -> dict[str, Any]:
    """Measure the graph alone, in the runs that ``score`` makes of its batches; also in GFLOP/s."""
    session = Session(bundle, "cpu", remember=False)
    encoded = [bundle.text.encode(part) for part in parts_of(path, rows)]
    every_token, every_row = flops(products(read_graph(bundle.model)))
    done = every_token * sum(len(one.words) for one in encoded) + every_row * rows
    session.probabilities(bundle.text.encode(pa.array(["a first run makes room"] * RUN_ROWS)))
    with ThreadPoolExecutor(usable_cpus()) as pool:
        figures = timed(rows, lambda: list(pool.map(session.probabilities, encoded)))
    return {**figures, "gflops": done / figures["seconds"] / 1e9}


def flops(products: list[Product]) -> tuple[int, int]:
    """Return the operations in matrix products, per token and per row; other operations are not counted."""
    every_token = sum(one.flops for one in products if one.every_token)
    return every_token, sum(one.flops for one in products if not one.every_token)


def gemm(bundle: Bundle, threads: int) -> dict[str, Any]:
    """Measure fp32 matrix products of the shapes that the graph has at each token, on ``threads`` threads.

    ONNX Runtime's ``Gemm``, where each result is the next product's input, and NumPy's BLAS (to be run with
    one thread of its own) are measured; the faster one counts, for each shape.
    """
    shapes = Counter((one.inner, one.outer) for one in products(read_graph(bundle.model)) if one.every_token)
    seconds, work = 0.0, 0
    for (inner, outer), count in shapes.items():
        one = 2 * RUN_ROWS * inner * outer
        seconds += count * one / max(rate(inner, outer, threads) for rate in (_runtime_rate, _blas_rate))
        work += count * one
    return {"gflops": work / seconds / 1e9, "shapes": [[RUN_ROWS, *shape] for shape in shapes]}


def _runtime_rate(inner: int, outer: int, threads: int) -> float:
    session = create(import_runtime(), gemm_chain(RUN_ROWS, inner, outer, _CHAIN), ON_CPU)
    rows = np.random.default_rng(0).normal(size=(RUN_ROWS, inner)).astype(np.float32)
    work = _CHAIN * 2 * RUN_ROWS * inner * outer
    return _rate(lambda: partial(session.run, None, {"rows": rows}), work, threads)


def _blas_rate(inner: int, outer: int, threads: int) -> float:
    random = np.random.default_rng(0)
    left, right = (
        random.normal(size=size).astype(np.float32) for size in ((RUN_ROWS, inner), (inner, outer))
    )

    def product() -> Callable[[], object]:
        out = np.empty((RUN_ROWS, outer), np.float32)
        return lambda: [np.matmul(left, right, out=out) for _ in range(_CHAIN)]

    return _rate(product, _CHAIN * 2 * RUN_ROWS * inner * outer, threads)


def _rate(make: Callable[[], Callable[[], object]], work: int, threads: int) -> float:
    """Return operations per second of all threads together, each repeating its own action."""

    def again(_: int) -> float:
        action, count = make(), 0
        action()
        start = time.perf_counter()
        while (wall := time.perf_counter() - start) < _SECONDS:
            action()
            count += 1
        return count * work / wall

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(again, range(threads)))


def main() -> None:
    command, model, *arguments = sys.argv[1:]
    bundle = load_bundle(model)
    pa.set_cpu_count(1)  # the thread count is fixed here; Arrow's threads would add to it
    if command == "gemm":
        print(json.dumps(gemm(bundle, int(arguments[0]) if arguments else usable_cpus())))
    else:
        print(
            json.dumps(
                {"text": text, "inference": inference}[command](bundle, Path(arguments[0]), int(arguments[1]))
            )
        )


if __name__ == "__main__":
    main()
