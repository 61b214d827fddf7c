"""The same tweets read from and written to each format, alternating: times relative to Parquet.

Each run is a separate process; what counts is the ratio within a round, as the median over the rounds. The
time is the summary's: reading, scoring and writing, without startup. The CPU time of the whole process is
printed next to it; a busy machine changes it less.

    python benchmarks/formats.py                        # 500,000 tweets, 5 rounds
    python benchmarks/formats.py --rows 50000 --rounds 1
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import pyarrow as pa

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.machine import machine, machine_line  # noqa: E402
from benchmarks.process import run  # noqa: E402
from benchmarks.rows import has_data, tweets  # noqa: E402
from sentstream.dataset.formats.api import Format, Layout  # noqa: E402
from sentstream.dataset.formats.write import open_writer  # noqa: E402

#: File name -> how the file is written.
KINDS: dict[str, Layout] = {
    "a.parquet": Layout("parquet"),
    "a.csv": Layout("csv"),
    "a.csv.gz": Layout("csv", "gzip"),
    "a.jsonl": Layout("jsonl"),
    "a.jsonl.zst": Layout("jsonl", "zstd"),
    "a.arrow": Layout("arrow"),
    "a.arrows": Layout("arrow-stream"),
    "a.orc": Layout("orc"),
}
#: Targets for the text formats.
MOST: dict[Format, float] = {"csv": 1.4, "jsonl": 1.4}


def write(folder: Path, rows: int) -> None:
    """Write the same rows in each format: an id, a day, the text, a number."""
    table = pa.table(
        {
            "id": pa.array([str(1_900_000_000_000_000_000 + row) for row in range(rows)]),
            "day": pa.array([f"2026-{row % 12 + 1:02}-{row % 28 + 1:02}" for row in range(rows)]),
            "text": tweets(rows),
            "likes": pa.array([str(row * 7919 % 1000) for row in range(rows)]),
        }
    )
    for name, layout in KINDS.items():
        with (folder / name).open("wb") as file, open_writer(file, table.schema, layout, ()) as writer:
            for batch in table.to_batches(max_chunksize=1 << 16):
                writer.write(batch)


def seconds(folder: Path, name: str) -> tuple[float, float]:
    """Return the wall-clock seconds of one run, and its CPU seconds."""
    figures = run([sys.executable, "-m", "sentstream", "score", str(folder / name), "--overwrite", "--json"])
    return float(figures["seconds"]), float(figures["cpu"])


def ratio(times: list[tuple[float, float]], of_parquet: list[tuple[float, float]], index: int) -> float:
    """Return the median over the rounds of a time relative to Parquet's in the same round."""
    return statistics.median(
        ours[index] / parquet[index] for ours, parquet in zip(times, of_parquet, strict=True)
    )


def main() -> int:
    """Print a table; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(machine_line(machine()))
    print(f"{options.rows:,} {'tweets' if has_data() else 'random texts'}, {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.rows)
        times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
        for _ in range(options.rounds):
            for kind in KINDS:
                times[kind].append(seconds(folder, kind))
    missed = False
    for kind, layout in KINDS.items():
        clock, processor = (ratio(times[kind], times["a.parquet"], index) for index in (0, 1))
        limit = MOST.get(layout.format) if layout.codec is None else None
        late = limit is not None and clock > limit
        missed = missed or late
        goal = "" if limit is None else f"  (at most {limit}{', missed' if late else ''})"
        took = statistics.median(time for time, _ in times[kind])
        print(f"{kind:<12} {took:7.2f} s  {clock:5.2f} × Parquet, CPU {processor:5.2f}{goal}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
