"""``--where`` that keeps a hundredth of the rows, by folder or by row group, relative to scoring all rows.

Each run is a separate process, measured in CPU time, so that a busy machine does not distort it. The startup
time is subtracted: that of the same command with ``--dry-run`` on a single file. What counts is the ratio
within a round, as the median over the rounds.

    python benchmarks/where.py                         # 1,000,000 tweets, 3 rounds
    python benchmarks/where.py --rows 100000 --rounds 1
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.machine import machine, machine_line  # noqa: E402
from benchmarks.process import run  # noqa: E402
from benchmarks.rows import has_data, tweets  # noqa: E402

PARTS = 100
#: What is kept -> input, condition, and target if there is one.
KINDS: dict[str, tuple[str, str, float | None]] = {
    "one folder of 100": ("folders", "part = 42", 0.03),
    "one folder of 100, and half of its rows": ("folders", "part = 42 and half", None),
    "one row group of 100, by a number column": ("one.parquet", "part = 42", None),
    "one row group of 100, by a text column": ("one.parquet", "word = 'part 42'", None),
    "one row in 100 of each row group": ("one.parquet", "hundredth = 42", None),
}


def write(folder: Path, rows: int) -> None:
    """Write the same rows as 100 files in Hive folders, and as one file of 100 row groups."""
    number = np.arange(rows)
    part = number * PARTS // rows
    table = pa.table(
        {
            "id": number,
            "part": part,
            "word": pa.array([f"part {one}" for one in range(PARTS)]).take(pa.array(part)),
            "hundredth": number % 100,
            "half": pa.array(number % 2 == 0),
            "text": tweets(rows).combine_chunks(),
        }
    )
    size = rows // PARTS
    pq.write_table(table, folder / "one.parquet", row_group_size=size)
    for one in range(PARTS):
        path = folder / "folders" / f"part={one}" / "a.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table.slice(one * size, size).drop_columns("part"), path)


def seconds(folder: Path, source: str, *options: str) -> float:
    """Return the CPU seconds of one run."""
    command = [sys.executable, "-m", "sentstream", "score", str(folder / source), *options]
    return float(run([*command, "--overwrite", "--json", "--output", f"{folder / 'out'}/"])["cpu"])


def main() -> int:
    """Print a table; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = options.rows // PARTS * PARTS
    print(machine_line(machine()))
    print(f"{rows:,} {'tweets' if has_data() else 'random texts'}, {options.rounds} rounds")
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows)
        ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(options.rounds):
            start = seconds(folder, "folders/part=0/a.parquet", "--dry-run", "--where", "half")
            whole = {source: seconds(folder, source) - start for source in ("folders", "one.parquet")}
            for kind, (source, where, _) in KINDS.items():
                some = seconds(folder, source, "--where", where) - start
                ratios[kind].append(some / whole[source])
            print(f"startup {start:.2f} s, all rows {whole['folders']:.2f} and {whole['one.parquet']:.2f} s")
    print(f"{'kept':45} {'÷ all':>8} {'target':>8}")
    for kind, (_, _, target) in KINDS.items():
        ratio = statistics.median(ratios[kind])
        print(f"{kind:45} {ratio:8.3f} {'' if target is None else target:>8}")
        missed |= target is not None and ratio > target
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
