"""A GPU compared with the CPU of the same machine: inference alone by batch size, and ``score``.

Contenders run in separate processes, alternating in rounds; what counts is the ratio within a
round. A full run is appended to ``benchmarks/history.jsonl``.

    python benchmarks/cuda.py                            # about five minutes
    python benchmarks/cuda.py --quick                    # few rows, one round; not saved
    python benchmarks/cuda.py --model tweets-small --device 1
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import history  # noqa: E402
from benchmarks.contenders import Files  # noqa: E402
from benchmarks.figures import Comparison, Figure  # noqa: E402
from benchmarks.machine import PACKAGES, commit, machine, machine_line, versions  # noqa: E402
from benchmarks.process import ContenderFailed, run  # noqa: E402
from benchmarks.rows import has_data, read_texts  # noqa: E402
from benchmarks.table import table  # noqa: E402
from benchmarks.timing import timed  # noqa: E402
from sentstream.bundle import DEFAULT_MODEL, load_bundle  # noqa: E402
from sentstream.cuda.driver import driver  # noqa: E402
from sentstream.session import RUN_ROWS, Provider, Session, usable_cpus  # noqa: E402

#: Maximum rows of a run on CUDA; on the CPU, where the default is 512, larger runs gain nothing.
CUDA_ROWS = (256, 1024, 4096, 16_384)
#: Minimum number of calling threads, so that one copies while another computes.
_THREADS = 4
_ROWS = {"cpu": 500_000, "cuda": 4_000_000}
_QUICK_SHARE = 20
#: CUDA initializes during its first runs.
_WARM = 2


def inference(model: str, path: Path, rows: int, provider: Provider, run_rows: int, device: int) -> Any:
    """Measure token ids -> probabilities; also return where the nodes ran."""
    bundle = load_bundle(model)
    on_cuda = provider == "cuda"
    # Without the cache of repeated rows: the example tweets are repeated again and again.
    session = Session(bundle, provider, run_rows, device=device if on_cuda else None, remember=False)
    threads = max(_THREADS, usable_cpus()) if on_cuda else usable_cpus()
    texts = read_texts(path, rows).combine_chunks()
    size = -(-len(texts) // threads)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(
            pool.map(bundle.text.encode, [texts[start : start + size] for start in range(0, rows, size)])
        )
        for _ in range(_WARM):
            list(pool.map(session.probabilities, [bundle.text.encode(texts[:size:16])] * threads))
        figures = timed(rows, lambda: list(pool.map(session.probabilities, parts)))
    return {**figures, "placement": str(session.placement or "")}


def comparisons(model: str) -> list[Comparison]:
    """Return the comparisons in table order; their names in the history include the model."""
    largest = f"inference-cuda-{CUDA_ROWS[-1]}"
    return [
        *(
            Comparison(
                f"cuda-{rows}-{model}",
                f"inference alone, runs of up to {rows:,} rows: CUDA ÷ CPU",
                *(f"inference-cuda-{rows}", "inference-cpu", None),
            )
            for rows in CUDA_ROWS
        ),
        Comparison(f"cuda-score-{model}", "Parquet to Parquet: CUDA ÷ CPU", "score-cuda", "score-cpu", None),
        Comparison(
            f"cuda-end-to-end-{model}",
            "on CUDA: Parquet to Parquet ÷ inference alone",
            *("score-cuda", largest, None, "share"),
        ),
    ]


def contenders(files: Files, model: str, device: int, share: int) -> dict[str, list[str]]:
    """Return all contenders, each a command that prints JSON."""
    rows = {provider: count // share for provider, count in _ROWS.items()}
    paths = {provider: str(files.tweets(count)) for provider, count in rows.items()}

    def alone(provider: str, run_rows: int) -> list[str]:
        arguments = (model, paths[provider], rows[provider], provider, run_rows, device)
        return [sys.executable, "-m", "benchmarks.cuda", "--inference", *map(str, arguments)]

    def score(provider: str) -> list[str]:
        command = [sys.executable, "-m", "sentstream", "score", paths[provider], "--json", "--overwrite"]
        command += ["--output", str(files.output), "--model", model, "--provider", provider]
        return command + (["--device", str(device)] if provider == "cuda" else [])

    return {
        "inference-cpu": alone("cpu", RUN_ROWS),
        **{f"inference-cuda-{count}": alone("cuda", count) for count in CUDA_ROWS},
        "score-cpu": score("cpu"),
        "score-cuda": score("cuda"),
    }


def measure(commands: Mapping[str, list[str]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Return what each contender printed in each round."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            report_progress(f"round {number + 1} of {rounds}: {name}")
            results[name].append(run(command))
    return results


def report_progress(line: str) -> None:
    """Print progress to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def report(info: dict[str, Any], results: Mapping[str, Any], figures: Sequence[Figure], path: Path) -> None:
    """Print what ran, the figures of each contender, and the ratios."""
    print(f"{info['machine']['gpu']} compared with {machine_line(info['machine'])}, model {info['model']},")
    print(f"{'real' if info['data'] else 'example'} tweets, medians of {info['rounds']} alternating rounds\n")
    print(f"on {info['machine']['gpu']}: {info['placement']}\n")
    print("| contender | rows/s | min – max | peak memory, MB |\n|---|---:|---:|---:|")
    for name, rounds in results.items():
        speeds = [one["rows_per_second"] for one in rounds]
        peak = max(one["peak_mb"] for one in rounds)
        spread = f"{min(speeds):,.0f} – {max(speeds):,.0f}"
        print(f"| {name} | {statistics.median(speeds):,.0f} | {spread} | {peak:.0f} |")
    print()
    print("\n".join(table(figures, history.changes(history.read(path), info, figures))))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", type=int, default=0, metavar="N")
    parser.add_argument("--quick", action="store_true", help="few rows, one round; the run is not saved")
    parser.add_argument("--rounds", type=int, metavar="N", help="number of rounds; default 3, with --quick 1")
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="compare with this file and append this run to it; default benchmarks/history.jsonl",
    )
    parser.add_argument("--inference", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    options = parse(arguments)
    if options.inference:
        model, path, rows, provider, run_rows, device = options.inference
        pa.set_cpu_count(1)  # the thread count is fixed here; Arrow's threads would add to it
        print(json.dumps(inference(model, Path(path), int(rows), provider, int(run_rows), int(device))))
        return 0
    gpus = driver()
    if lacking := gpus.lacks(options.device):
        print(f"nothing to measure: {lacking}", file=sys.stderr)
        return 1
    if not has_data():
        report_progress(
            "no data sets (SENTSTREAM_DATA): the example tweets are repeated instead of real ones"
        )
    with tempfile.TemporaryDirectory() as folder:
        share = _QUICK_SHARE if options.quick else 1
        try:
            commands = contenders(Files(Path(folder)), options.model, options.device, share)
            results = measure(commands, options.rounds)
        except ContenderFailed as error:
            print(f"a contender failed: {error}", file=sys.stderr)
            return 1
    figures = [one.figure(results) for one in comparisons(options.model)]
    info = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {**machine(), "gpu": gpus.names[options.device]},
        "versions": versions((*PACKAGES, "onnxruntime-gpu")),
        "data": has_data(),
        "quick": options.quick,
        "rounds": options.rounds,
        "model": options.model,
        "placement": results[f"inference-cuda-{CUDA_ROWS[-1]}"][0]["placement"],
        "figures": {figure.name: figure.kept() for figure in figures},
        "curves": {},
    }
    path = options.history or HERE / "history.jsonl"
    report(info, results, figures, path)
    if options.history or not options.quick:
        history.append(path, info)
    return 0


if __name__ == "__main__":
    sys.exit(main())
