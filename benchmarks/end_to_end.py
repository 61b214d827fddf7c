"""Parquet in, Parquet out: sentstream beside Keras ``predict`` and VADER, on the same tweets and cores.

Each contender is a process of its own, run in turn, round after round, so that a noisy neighbor hurts
all alike; what counts is the ratio within the run. Peers get what speeds them up: Keras gets token ids
that were made beforehand, in batches of 2,048 padded to their own longest tweet, and TensorFlow's own
threads; VADER gets a process a core. Neither pays for reading or writing Parquet, nor for starting up.

    python benchmarks/end_to_end.py                # 1 M tweets, then the peak memory of 20 M
    python benchmarks/end_to_end.py --memory 0     # without the long file
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent


def tweets(rows: int) -> pa.ChunkedArray:
    """Real tweets where the data is at hand, else the example file over and over."""
    folder = Path(os.environ.get("SENTSTREAM_DATA", HERE.parent.parent / "shared" / "data"))
    source = folder / "sentiment140" / "train.parquet"
    if not source.exists():
        source = HERE.parent / "examples" / "tweets.parquet"
        print(f"no {folder}: the example tweets are repeated instead of real ones", file=sys.stderr)
    column = pq.read_table(source, columns=["text"])["text"]
    # Rows of the file are ordered by label; a stride mixes them.
    order = pa.array([(place * 7919) % len(column) for place in range(min(rows, len(column)))])
    column = column.take(order)
    times = -(-rows // len(column))
    return pa.chunked_array(column.chunks * times).slice(0, rows)


def write_long(path: Path, rows: int) -> None:
    """A file of so many tweets, written a part at a time."""
    part = pa.table({"text": tweets(min(rows, 1_000_000))})
    with pq.ParquetWriter(path, part.schema, compression="zstd") as writer:
        for start in range(0, rows, len(part)):
            writer.write_table(part.slice(0, min(len(part), rows - start)))


def write_apart(path: Path, rows: int) -> None:
    """``write_long`` in a process of its own: Linux counts this one's memory as its children's peak."""
    subprocess.run([sys.executable, __file__, "--write", path, str(rows)], check=True)


def run(command: list[str]) -> dict[str, Any]:
    """Run one contender; its JSON, with CPU seconds and peak memory as the system counts them."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    figures: dict[str, Any] = json.loads(output)
    figures["cpu"] = usage.ru_utime + usage.ru_stime
    figures["peak_mib"] = usage.ru_maxrss / 1024
    return figures


def score_command(source: Path, target: Path) -> list[str]:
    command = [sys.executable, "-m", "sentstream", "score", str(source), "-o", str(target)]
    return [*command, "--provider", "cpu", "--overwrite", "--json"]


def contenders(folder: Path, rows: int) -> dict[str, list[str]]:
    tweets_file = folder / "tweets.parquet"
    write_apart(tweets_file, rows)
    peer = [sys.executable, str(HERE / "peers.py")]
    return {
        "sentstream score": score_command(tweets_file, folder / "scored.parquet"),
        "Keras predict, same weights, padded batches": [*peer, "keras", str(tweets_file)],
        "the same, sorted by length first": [*peer, "keras-sorted", str(tweets_file)],
        "VADER, a process a core": [*peer, "vader", str(tweets_file)],
        "sentstream text path alone": [*peer, "text", str(tweets_file)],
    }


def machine() -> str:
    name = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    return f"{len(os.sched_getaffinity(0))} cores of {name}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=20_000_000, help="rows of the long file; 0: none")
    parser.add_argument("--write", nargs=2, metavar=("FILE", "ROWS"), help="only write a file of tweets")
    options = parser.parse_args()
    if options.write:
        write_long(Path(options.write[0]), int(options.write[1]))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        commands = contenders(folder, options.rows)
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                rounds[name].append(run(command))
        table(rounds, options.rows)
        if options.memory:
            write_apart(folder / "long.parquet", options.memory)
            figures = run(score_command(folder / "long.parquet", folder / "scored.parquet"))
            print(f"peak memory of {options.memory:,} rows: {figures['peak_mib']:.0f} MiB")


def table(rounds: dict[str, list[dict[str, Any]]], rows: int) -> None:
    """Medians, and the ratio of each round's sentstream to its peer."""
    print(f"{rows:,} tweets, {machine()}, medians of {len(rounds['sentstream score'])} rounds in turn\n")
    print("| contender | tweets/s | sentstream is × as fast | CPU µs a tweet | peak memory, MiB |")
    print("|---|---:|---:|---:|---:|")
    ours = rounds["sentstream score"]
    for name, figures in rounds.items():
        rate = statistics.median(f["rows_per_second"] for f in figures)
        ratio = statistics.median(
            mine["rows_per_second"] / f["rows_per_second"] for mine, f in zip(ours, figures, strict=True)
        )
        cpu = statistics.median(1e6 * f["cpu"] / f["rows"] for f in figures)
        peak = statistics.median(f["peak_mib"] for f in figures)
        shown = "" if name.startswith("sentstream") else f"{ratio:.1f}"
        print(f"| {name} | {rate:,.0f} | {shown} | {cpu:.1f} | {peak:.0f} |")
    text = statistics.median(
        f["cpu_seconds"] / f["rows"] / (mine["cpu"] / mine["rows"])
        for f, mine in zip(rounds["sentstream text path alone"], ours, strict=True)
    )
    print(f"\ntokenizing and look-up: {100 * text:.0f} % of sentstream's CPU time")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
