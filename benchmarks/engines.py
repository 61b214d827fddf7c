"""DuckDB, polars and pandas compared with ``Model.score``: the same tweets, the same model, in one process.

They run in turn, round after round. CPU time is measured, so that a busy machine does not distort it; what
counts is the ratio to ``Model.score`` within a round, as the median over the rounds. Wall-clock ratios are
printed, too, for an idle machine. DuckDB runs as ``register`` sets it up, and with one thread per CPU.

    python benchmarks/engines.py                                      # 2,000,000 tweets, 3 rounds
    python benchmarks/engines.py --rows 200000 --rounds 1 --model tweets-small
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import sentstream.duckdb  # noqa: E402
import sentstream.pandas  # noqa: E402
from benchmarks.machine import machine, machine_line  # noqa: E402
from benchmarks.rows import has_data, tweets  # noqa: E402
from benchmarks.timing import timed  # noqa: E402
from sentstream.polars import Sentiment  # noqa: E402
from sentstream.session import usable_cpus  # noqa: E402

TARGET = 0.8
BASE = "Model.score"
SLOWER = "DuckDB, threads=None"  # for comparison, without a target


def doors(model: sentstream.Model, table: pa.Table) -> dict[str, Callable[[], object]]:
    """Return the measured calls: each labels all rows, from data that its library already holds."""
    con = duckdb.connect()
    sentstream.duckdb.register(con, model)
    usual = con.sql("select current_setting('threads')").fetchall()[0][0]
    con.register("arrow_tweets", table)
    con.execute("create table tweets as from arrow_tweets")
    frame, lazy = table.to_pandas(), pl.DataFrame(table).lazy()
    label: Any = Sentiment(pl.col("text")).label(model)

    def sql(threads: int) -> pa.Table:
        con.execute(f"set threads = {threads}")
        return con.sql("select sentiment(text) from tweets").to_arrow_table()

    def series() -> pd.DataFrame:
        return sentstream.pandas.score(frame, model=model)

    return {
        BASE: lambda: model.score(table),
        "DuckDB": lambda: sql(usual),
        SLOWER: lambda: sql(usable_cpus()),
        "polars": lambda: lazy.select(label).collect(),
        "polars, streaming": lambda: lazy.select(label).collect(engine="streaming"),
        "pandas": series,
    }


def main() -> int:
    """Print a table; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model")
    options = parser.parse_args()
    model = sentstream.load(options.model)
    table = pa.table({"text": tweets(options.rows)})
    print(machine_line(machine()))
    print(f"{options.rows:,} {'tweets' if has_data() else 'random texts'}, {model}, {options.rounds} rounds")
    measured = doors(model, table)
    model.score(table.slice(0, 100_000))
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in measured}
    for _ in range(options.rounds):
        for name, work in measured.items():
            results[name].append(timed(options.rows, work))
    print(f"{'':24} {'rows/s':>12} {'wall ratio':>10} {'CPU ratio':>10} {'target':>7}")
    missed = False
    for name, rounds in results.items():
        ratios = {
            kind: statistics.median(
                base[kind] / one[kind] for base, one in zip(results[BASE], rounds, strict=True)
            )
            for kind in ("seconds", "cpu_seconds")
        }
        rate = statistics.median(one["rows_per_second"] for one in rounds)
        print(
            f"{name:24} {rate:12,.0f} {ratios['seconds']:10.2f} {ratios['cpu_seconds']:10.2f} {TARGET:7.2f}"
        )
        missed |= ratios["cpu_seconds"] < TARGET and name != SLOWER
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
