"""The cost of small inputs: one row from the shell, single tweets in Python, and what their shortcuts save.

python benchmarks/latency.py
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sentstream
from benchmarks.machine import machine, machine_line
from benchmarks.rows import tweets
from sentstream.text import path, vocabulary

MODELS = ("tweets", "tweets-small")
_RUNS, _TWEETS = 9, 1000
_ROUNDS = 5
#: The code paths for few rows or words, and the limit below which they are used.
SHORTCUTS = {
    "tokens by regular expressions": (path, "_FEW_ROWS"),
    "pairs looked up one by one": (vocabulary, "_FEW_WORDS"),
}
_IMPORTS = "import pyarrow.parquet, onnxruntime, typer"


def cpu_seconds(command: list[str]) -> float:
    """Return user and system time of a process, as the median of several runs."""
    measured = []
    for _ in range(_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(measured)


def milliseconds(model: sentstream.Model, texts: list[str]) -> list[float]:
    """Return the times of single tweets, scored one after the other; sorted."""
    for text in texts[:50]:
        model.score([text])
    measured = []
    for text in texts:
        began = time.perf_counter()
        model.score([text])
        measured.append(1e3 * (time.perf_counter() - began))
    return sorted(measured)


def cpu_milliseconds(model: sentstream.Model, texts: list[str]) -> float:
    """Return the calling thread's median CPU time per tweet."""
    measured = []
    for text in texts:
        began = time.thread_time()
        model.score([text])
        measured.append(1e3 * (time.thread_time() - began))
    return statistics.median(measured)


def saved(model: sentstream.Model, texts: list[str], module: ModuleType, limit: str) -> float:
    """Return the CPU time per tweet without a shortcut relative to that with it, measured in turn."""
    usual, ways = getattr(module, limit), (list[float](), list[float]())
    for _ in range(_ROUNDS):
        for way, value in zip(ways, (usual, -1), strict=True):
            setattr(module, limit, value)
            way.append(cpu_milliseconds(model, texts))
    setattr(module, limit, usual)
    on, off = map(min, ways)
    return off / on


def main() -> None:
    print(f"{machine_line(machine())}\n")
    texts = tweets(_TWEETS).to_pylist()
    print(f"imports alone ({_IMPORTS}): {cpu_seconds([sys.executable, '-c', _IMPORTS]):.2f} s of CPU")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "one.parquet")
        pq.write_table(pa.table({"text": texts[:1]}), path)
        for name in MODELS:
            command = [sys.executable, "-m", "sentstream", "score", path, "--overwrite", "--model", name]
            print(f"score of one row, {name}: {cpu_seconds([*command, '--provider', 'cpu']):.2f} s of CPU")
    for name in MODELS:
        model = sentstream.load(name, provider="cpu")
        found = milliseconds(model, texts)
        p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
        print(f"a tweet in Python, {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        for shortcut, (module, limit) in SHORTCUTS.items():
            times = saved(model, texts[:300], module, limit)
            print(f"    without {shortcut}: {times:.2f} times the CPU time")


if __name__ == "__main__":
    main()
