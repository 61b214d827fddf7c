"""An analyst's job: a data set in many folders, a run that is killed and resumed, queries over the result.

    python examples/large_job.py FOLDER [--rows 5000000] [--files 40]

It writes the data set to ``FOLDER/tweets``, one folder per day, and scores it into ``FOLDER/scored``. It
kills that run once half of the files are done, resumes it and verifies the outputs. Then it counts labels
with DuckDB, pandas and polars, which must agree. Needs the extras cpu and test, as in the environment of
``make test``.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: (day, label) -> number of rows.
Counts: TypeAlias = "dict[tuple[str, str], int]"

FIRST_DAY = datetime.date(2026, 9, 1)
SUBJECTS = "the new phone|this bus line|the neighbor's dog|the update|our office|that film".split("|")
VERDICTS = "is great|is awful|is okay, I guess|made my day|ruined my week|comes on Monday".split("|")


def main() -> None:
    """Make, score, kill, resume, check, query."""
    parser = argparse.ArgumentParser(description="A large job: score, kill, resume, check, query.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--files", type=int, default=40)
    args = parser.parse_args()
    tweets, scored = args.folder / "tweets", args.folder / "scored"

    make_tweets(tweets, args.rows, args.files)
    print(f"made {args.rows:,} tweets in {args.files} folders: {tweets}", flush=True)

    print("killed" if kill_halfway(tweets, scored, args.files) else "already done", flush=True)
    subprocess.run(command("score", str(tweets), "--output", f"{scored}/", "--resume"), check=True)
    subprocess.run(command("verify", f"{scored}/", "--inputs", str(tweets), "--sample", "100"), check=True)

    results = {name: query(scored) for name, query in QUERIES.items()}
    first, *others = results.values()
    if any(other != first for other in others):
        sys.exit(f"the counts do not agree: {results}")
    totals: Counter[str] = Counter()
    for (_, label), count in first.items():
        totals[label] += count
    print(f"{', '.join(results)} agree: {dict(sorted(totals.items()))}")


def make_tweets(folder: Path, rows: int, files: int) -> None:
    """Write one file per day, ``day=2026-09-01/part-0.parquet``, with about the same number of rows each."""
    chance = np.random.default_rng(1)
    texts = pa.array([f"{subject} {verdict}" for subject in SUBJECTS for verdict in VERDICTS])
    ends = np.linspace(0, rows, files + 1).astype(int)
    for number, (start, stop) in enumerate(itertools.pairwise(ends)):
        path = folder / f"day={FIRST_DAY + datetime.timedelta(number)}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen = pa.array(chance.integers(0, len(texts), stop - start))
        pq.write_table(pa.table({"id": np.arange(start, stop), "text": texts.take(chosen)}), path)


def command(*arguments: str) -> list[str]:
    """Return a sentstream command line."""
    return [sys.executable, "-m", "sentstream", *arguments]


def kill_halfway(tweets: Path, scored: Path, files: int) -> bool:
    """Score, and SIGKILL the run once half of the outputs exist; return whether it was still running."""
    with subprocess.Popen(command("score", str(tweets), "--output", f"{scored}/", "--resume")) as run:
        while run.poll() is None and len(list(scored.glob("day=*/*.parquet"))) < files / 2:
            time.sleep(0.01)
        run.kill()
        return run.wait() != 0


def with_duckdb(scored: Path) -> Counts:
    """Count with DuckDB, which reads the folder names as a column."""
    import duckdb

    sql = f"SELECT day::VARCHAR, sentiment, count(*) FROM '{scored}/**/*.parquet' GROUP BY ALL"
    return {(day, label): count for day, label, count in duckdb.execute(sql).fetchall()}


def with_pandas(scored: Path) -> Counts:
    """Count with pandas; it takes the folder and skips the manifest in ``_sentstream``."""
    import pandas as pd

    rows = pd.read_parquet(scored, columns=["day", "sentiment"])
    counts = rows.groupby(["day", "sentiment"], observed=True).size()
    return {(str(day), str(label)): int(count) for (day, label), count in counts.items()}


def with_polars(scored: Path) -> Counts:
    """Count with polars; it takes a glob, because it would read the manifest, too."""
    import polars as pl

    rows = pl.scan_parquet(scored / "**" / "*.parquet", hive_partitioning=True)
    counts = rows.group_by("day", "sentiment").len().collect()
    return {(str(day), label): count for day, label, count in counts.iter_rows()}


QUERIES = {"DuckDB": with_duckdb, "pandas": with_pandas, "polars": with_polars}


if __name__ == "__main__":
    main()
