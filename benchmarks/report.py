"""The cost of a report of scored rows, compared with DuckDB reading the same columns of the same files.

Each run is a separate process. The report computes everything: over time, by two columns, words, texts,
repeats. DuckDB reads every byte of these columns and keeps none. Memory is that of the whole process.

    python benchmarks/report.py                        # 2,000,000 rows in 10 files
    python benchmarks/report.py --rows 20000000 --files 100
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.machine import machine, machine_line  # noqa: E402
from benchmarks.process import run  # noqa: E402
from benchmarks.rows import has_data, tweets  # noqa: E402

#: Targets of a report: CPU seconds beyond DuckDB's for 20 million rows, and memory in MB (10⁶ bytes).
TARGET_SECONDS, TARGET_ROWS, TARGET_MB = 60.0, 20_000_000, 1_000.0
LABELS = ("negative", "neutral", "positive")
_PART = 200_000
COLUMNS = ("text", "created_at", "lang", "airline", "sentiment", *(f"sentiment_prob_{one}" for one in LABELS))
_READ = """
import duckdb, sys
folder, *names = sys.argv[1:]
each = ", ".join(f"bit_xor(hash({name}))" for name in names)
connection = duckdb.connect()
connection.execute("set enable_progress_bar = false")
connection.execute(f"select {each} from read_parquet('{folder}/*.parquet')").fetchall()
print("{}")
"""


def write(folder: Path, rows: int, files: int) -> None:
    """Write scored rows with random probabilities, spread over a year, several languages and airlines."""
    random = np.random.default_rng(0)
    texts = tweets(min(rows, 1_000_000)).combine_chunks()
    size = rows // files
    for number in range(files):
        with pq.ParquetWriter(folder / f"{number:03}.parquet", _schema(), compression="zstd") as writer:
            for start in range(0, size, _PART):
                count = min(_PART, size - start)
                first = number * size + start
                writer.write_table(_part(random, texts, first, count, rows))


def _schema() -> pa.Schema:
    return pa.schema(
        {
            "created_at": pa.timestamp("us", "UTC"),
            "lang": pa.string(),
            "airline": pa.string(),
            "text": pa.string(),
            "sentiment": pa.string(),
            "sentiment_score": pa.float32(),
            **{f"sentiment_prob_{label}": pa.float32() for label in LABELS},
        }
    )


def _part(random: np.random.Generator, texts: pa.Array, first: int, count: int, rows: int) -> pa.Table:
    """Return some of the rows; texts beyond the first million are made distinct by a number at their end."""
    at = np.arange(first, first + count)
    table = random.dirichlet((0.6, 0.5, 0.7), count).astype(np.float32)
    own = texts.take(pa.array(at % len(texts)))
    if rows > len(texts):
        suffix = pa.array((at // len(texts)).astype(str)).cast(own.type)
        own = pc.binary_join_element_wise(own, suffix, pa.scalar(" ", own.type))
    second = 1_767_225_600 + at * (365 * 86_400) // rows
    languages, airlines = (
        np.array(["en", "de", "pt", "es", "fr"]),
        np.array([f"line {one}" for one in range(40)]),
    )
    columns: dict[str, Any] = {
        "created_at": pa.array(second * 1_000_000 + random.integers(0, 1_000_000, count)).cast(
            pa.timestamp("us", "UTC")
        ),
        "lang": languages[random.integers(0, 5, count)],
        "airline": airlines[random.integers(0, 40, count)],
        "text": own,
        "sentiment": np.array(LABELS)[table.argmax(axis=1)],
        "sentiment_score": table.max(axis=1),
        **{f"sentiment_prob_{label}": table[:, index] for index, label in enumerate(LABELS)},
    }
    return pa.table(columns).cast(_schema())


def main() -> int:
    """Print the cost of both; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--write", type=Path, help="only write the rows to this folder")
    options = parser.parse_args()
    if options.write:
        write(options.write, options.rows, options.files)
        return 0
    print(machine_line(machine()))
    print(f"{options.rows:,} rows of {'tweets' if has_data() else 'random texts'} in {options.files} files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "scored"
        folder.mkdir()
        # In a separate process: the peak memory of this one would count as that of the processes it starts.
        rows = ["--rows", str(options.rows), "--files", str(options.files)]
        subprocess.run([sys.executable, __file__, *rows, "--write", str(folder)], check=True)
        reading = run([sys.executable, "-c", _READ, str(folder), *COLUMNS])
        report = run(
            [
                *(sys.executable, "-m", "sentstream", "report", str(folder), "--json", "--model", "tweets"),
                *("--output", str(Path(name) / "report.html"), "--time-column", "created_at"),
                *("--by", "lang", "--by", "airline"),
            ]
        )
        page = (Path(name) / "report.html").stat().st_size
    for what, figures in (("DuckDB reads", reading), ("report", report)):
        print(f"{what:14} {figures['cpu']:8.1f} CPU s {figures['peak_mb']:8,.0f} MB")
    more = (report["cpu"] - reading["cpu"]) * TARGET_ROWS / options.rows
    print(f"report minus DuckDB, for {TARGET_ROWS:,} rows: {more:.0f} CPU s (target {TARGET_SECONDS:.0f})")
    print(f"page: {page:,} bytes")
    return int(more > TARGET_SECONDS or report["peak_mb"] > TARGET_MB)


if __name__ == "__main__":
    sys.exit(main())
