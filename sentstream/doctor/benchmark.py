"""A one-second benchmark: the default model's speed, compared with plain matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from sentstream.bundle import DEFAULT_MODEL, load_bundle
from sentstream.doctor.findings import Finding, Section
from sentstream.doctor.gemm import gemm_chain
from sentstream.doctor.reference import Unknown, products, read_graph
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.errors import SentstreamError
from sentstream.scorer import Scorer
from sentstream.scorer.added_columns import TEXT_COLUMN
from sentstream.session import ON_CPU, RUN_ROWS, Session, create, import_runtime, usable_cpus

_PRODUCTS = 16
#: The parts take turns, so that other load on the machine slows all of them equally.
_ROUNDS, _SLICE = 4, 0.08  # seconds per slice: one second in total
#: Lengths of the tweets that are scored repeatedly: a full run of each length, 15 words on average.
_LENGTHS = list(chain.from_iterable([length] * RUN_ROWS for length in range(8, 23, 2)))


@dataclass
class Work:
    """The work that some threads did.

    Attributes:
        units: Units of work done.
        cpu: CPU seconds of all threads together.
        rate: Units per wall-clock second of all threads together, averaged over the rounds.
    """

    units: float = 0
    cpu: float = 0
    rate: float = 0


def benchmark() -> Section:
    """Compare the default model with plain matrix products, on as many threads as ``score`` uses."""
    try:
        measured = measure(usable_cpus())
    except (SentstreamError, Unknown) as error:
        return Section("benchmark", None, [Finding("speed", "note", f"not measured: {error}")])
    return Section("benchmark", measured, _findings(measured))


def measure(threads: int) -> dict[str, Any]:
    """Measure for about a second.

    The fraction is based on CPU time, which a quota or other load does not affect; tweets per second are
    wall-clock rates, as a user sees them.

    Args:
        threads: Number of threads that work at the same time, independently.

    Raises:
        SentstreamError: ONNX Runtime is missing, or the default model is not valid.
        Unknown: The operations of the graph cannot be counted.
    """
    onnxruntime, bundle = import_runtime(), load_bundle(DEFAULT_MODEL)
    session = Session(bundle, "cpu", remember=False)
    texts = synthetic_tweets(bundle.text.vocabulary, _LENGTHS)
    encoded = bundle.text.encode(texts)
    found = products(read_graph(bundle.model))
    token_flops = sum(one.flops for one in found if one.every_token)
    tweet_flops = sum(one.flops for one in found if not one.every_token)
    flops = token_flops * len(encoded.words) + tweet_flops * len(encoded)
    # The product with the most operations, a recurrent one.
    main = max((one for one in found if one.every_token), key=lambda one: one.flops, default=None)
    if main is None:
        raise Unknown("the graph has no per-token matrix product")

    plain = create(onnxruntime, gemm_chain(RUN_ROWS, main.inner, main.outer, _PRODUCTS), ON_CPU)
    rows = np.random.default_rng(0).normal(size=(RUN_ROWS, main.inner)).astype(np.float32)
    batch = pa.record_batch({TEXT_COLUMN: texts})
    scorer = Scorer(bundle, session)
    parts: dict[str, tuple[Callable[[], object], float]] = {
        "gemm": (partial(plain.run, None, {"rows": rows}), _PRODUCTS * RUN_ROWS * main.flops),
        "model": (partial(session.probabilities, encoded), len(encoded)),
        "score": (partial(scorer.score, batch), len(texts)),
    }
    done = {name: Work() for name in parts}
    with ThreadPoolExecutor(threads) as pool:
        for action, _ in parts.values():
            action()  # the first run allocates memory
        for _ in range(_ROUNDS):
            for name, (action, units) in parts.items():
                for count, cpu, wall in pool.map(partial(_work, action), [_SLICE] * threads):
                    done[name].units += count * units
                    done[name].cpu += cpu
                    done[name].rate += count * units / wall / _ROUNDS
    gemm, model = done["gemm"].units / done["gemm"].cpu, done["model"].units / done["model"].cpu
    model_flops = model * flops / len(encoded)
    return {
        "model": bundle.name,
        "threads": threads,
        "shape": [RUN_ROWS, main.inner, main.outer],
        "flops_per_token": token_flops,
        "tokens_per_tweet": len(encoded.words) / len(encoded),
        "gemm_flops_per_cpu_second": gemm,
        "model_flops_per_cpu_second": model_flops,
        "fraction": model_flops / gemm,
        "model_tweets_per_second": done["model"].rate,
        "score_tweets_per_second": done["score"].rate,
    }


def _work(action: Callable[[], object], seconds: float) -> tuple[int, float, float]:
    """Repeat an action; return the number of times, this thread's CPU seconds, and wall-clock seconds."""
    count, start, cpu = 0, time.perf_counter(), time.thread_time()
    while not count or time.perf_counter() - start < seconds:
        action()
        count += 1
    return count, time.thread_time() - cpu, time.perf_counter() - start


def _findings(found: dict[str, Any]) -> list[Finding]:
    threads, (rows, inner, outer) = found["threads"], found["shape"]
    model, gemm = (found[f"{name}_flops_per_cpu_second"] / 1e9 for name in ("model", "gemm"))
    return [
        Finding(
            "arithmetic",
            "ok",
            f"{found['model']} does {model:.1f} G operations/s per core, {found['fraction']:.0%} of the "
            f"{gemm:.1f} of plain matrix products in fp32 ({rows}×{inner} by {inner}×{outer}, ONNX Runtime's"
            " Gemm)",
        ),
        Finding(
            "speed",
            "ok",
            f"{found['score_tweets_per_second']:,.0f} tweets/s from text to labels with {threads} "
            f"thread{'s' * (threads != 1)}, {found['model_tweets_per_second']:,.0f} from token IDs "
            f"({found['tokens_per_tweet']:.0f} tokens per tweet)",
        ),
    ]
