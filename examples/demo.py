"""Print what ``sentstream score`` added to ``examples/tweets.parquet``: a table of rows and a summary.

Run by ``make demo``; by hand: ``python examples/demo.py SCORED.parquet [ROWS]``.
"""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"positive": "green", "negative": "red"}
WIDTH = 60


def one_line(text: str | None, width: int = WIDTH) -> Text:
    """Return a tweet as one line that is safe to print: without control or direction characters."""
    if text is None:
        return Text("null", style="dim italic")
    if not text.strip():
        return Text(repr(text[:width]), style="dim italic")
    shown = "".join(c if unicodedata.category(c)[0] != "C" else "·" for c in text[: width + 1])
    return Text(shown[: width - 1] + "…" if len(shown) > width else shown)


def label(value: str | None) -> Text:
    """Return a label in its color."""
    return Text(value, style=STYLES.get(value, "yellow")) if value else Text("null", style="dim italic")


def rows_table(rows: list[dict[str, Any]]) -> Table:
    """Build a table of rows, one per line."""
    table = Table("text", "intended", "sentiment", title="Sample of the rows", title_justify="left")
    table.add_column("score", justify="right")
    for row in rows:
        score = "" if row["sentiment_score"] is None else f"{row['sentiment_score']:.3f}"
        table.add_row(
            one_line(row["text"]), row["expected"] or Text("–", style="dim"), label(row["sentiment"]), score
        )
    return table


def summary_table(rows: list[dict[str, Any]]) -> Table:
    """Count predicted labels by the label that the author intended."""
    tally = Counter((row["expected"] or "–", row["sentiment"] or "null") for row in rows)
    meant = sorted({m for m, _ in tally}, key=lambda m: -sum(n for (k, _), n in tally.items() if k == m))
    labels = sorted(
        {sentiment for _, sentiment in tally}, key=lambda sentiment: (sentiment == "null", sentiment)
    )
    table = Table(
        "intended",
        title="All rows: intended label (rows) and predicted label (columns)",
        title_justify="left",
    )
    for sentiment in (*labels, "all"):
        table.add_column(sentiment, justify="right")
    for m in meant:
        counts = [tally[m, sentiment] for sentiment in labels]
        table.add_row(m, *map(str, counts), str(sum(counts)))
    return table


def main(path: Path, shown: int = 24) -> None:
    """Print both tables, and how often the predicted label is the intended one."""
    with pq.ParquetFile(path) as file:
        scored = file.read(use_threads=False)
    rows = scored.to_pylist()
    console = Console(width=None if sys.stdout.isatty() else 120)
    step = max(1, len(rows) // shown)
    console.print(rows_table(rows[step // 2 :: step][:shown]))
    console.print(summary_table(rows))
    found_labels = {row["sentiment"] for row in rows} - {None}
    sure = [row for row in rows if row["sentiment"] and row["expected"] in found_labels]
    agreed = sum(row["sentiment"] == row["expected"] for row in sure)
    metadata = {key.decode(): value.decode() for key, value in (scored.schema.metadata or {}).items()}
    labels = " or ".join(filter(None, (", ".join(sorted(found_labels)[:-1]), *sorted(found_labels)[-1:])))
    console.print(f"{agreed} of {len(sure)} tweets that were intended as {labels} got that label.")
    console.print(
        f"Model {metadata['sentstream.model']} {metadata['sentstream.model_version']}, "
        f"{metadata['sentstream.model_digest'][:19]}…; all columns in {path}",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
