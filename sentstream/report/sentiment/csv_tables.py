"""The figures of an analysis as CSV tables, for drawing your own charts."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from sentstream.report.sentiment.figures import is_valued, labels_shown, share_of
from sentstream.report.words import Data


def csv_tables(data: Data) -> Iterator[tuple[str, str]]:
    """Yield the name and contents of each file. Numbers have the precision of JSON; there are no texts.

    Args:
        data: The output of ``sentstream report --json``.
    """
    labels = labels_shown(data)
    head = _figures_head(labels, valued=is_valued(data))
    yield "labels.csv", _written(["of", *head], [["all", *_figures(data["scores"]["figures"], labels, data)]])
    if data["time"] is not None:
        rows = [[one["start"], *_figures(one["figures"], labels, data)] for one in data["time"]["buckets"]]
        yield "time.csv", _written(["start", *head], rows)
    for number, grouping in enumerate(data["groups"], 1):
        rows = [[one["name"], *_figures(one["figures"], labels, data)] for one in grouping["groups"]]
        name = re.sub(r"[^\w.-]+", "_", grouping["column"])
        yield f"by-{number}-{name}.csv", _written([grouping["column"], *head], rows)
    if data["words"] is not None:
        rows = [
            [one["label"], word["word"], word["count"], word["elsewhere"], word["z"]]
            for one in data["words"]["labels"]
            for word in one["words"]
        ]
        yield "words.csv", _written(["label", "word", "count", "elsewhere", "z"], rows)


def _figures_head(labels: Sequence[str], *, valued: bool) -> list[str]:
    shares = [f"{label}_{suffix}" for label in labels for suffix in ("rows", "share", "low", "high")]
    return ["rows", "labeled", *shares, *(["value", "value_low", "value_high"] if valued else [])]


def _figures(figures: Data | None, labels: Sequence[str], data: Data) -> list[Any]:
    valued = is_valued(data)
    if figures is None:
        return [0, 0, *[None] * (4 * len(labels) + 3 * valued)]
    cells: list[Any] = [figures["rows"], figures["labeled"]]
    for label in labels:
        share = share_of(figures, label)
        cells += [None] * 4 if share is None else [share["rows"], share["share"], *share["interval"]]
    if valued:
        cells += [figures["value"], *(figures["value_interval"] or (None, None))]
    return cells


def _written(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return file.getvalue()
