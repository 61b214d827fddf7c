"""Curves: how time and memory change with rows, row groups, retweets and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders import MODEL, SMALL, Files, score
from benchmarks.figures import Figure
from benchmarks.process import run

#: The longest tweet of a curve has 500 tokens, which is more than a model reads by default.
_MAX_CHARS = 20_000
#: Below this many rows, a file's fixed costs (opening, naming) are visible.
_SETTLED = 100_000


@dataclass(frozen=True)
class Curve:
    """A curve.

    Attributes:
        name: Its name for ``--only``.
        title: What it shows.
        column: What is varied, as in the table head.
        points: The values.
        command: Files and point -> number of rows and command.
        per: The unit that times are divided by: a row or a token.
    """

    name: str
    title: str
    column: str
    points: Sequence[int]
    command: Callable[[Files, int], tuple[int, list[str]]]
    per: str = "row"

    def measure(self, files: Files, report_progress: Callable[[str], None]) -> list[dict[str, Any]]:
        """Measure each point once."""
        points = []
        for point in self.points:
            report_progress(f"{self.name}: {point:,}")
            rows, command = self.command(files, point)
            figures = run(command)
            units = rows * (point if self.per == "token" else 1)
            points.append(
                {
                    "at": point,
                    "rows": rows,
                    "us": 1e6 * figures["seconds"] / units,
                    "cpu_us": 1e6 * figures["cpu"] / units,
                    "peak_mb": figures["peak_mb"],
                }
            )
        return points


def curves(quick: bool) -> tuple[Curve, ...]:
    """Return all curves; with ``quick`` up to 100,000 rows."""
    limit, grouped, tokens = (100_000, 50_000, 200_000) if quick else (20_000_000, 500_000, 2_000_000)

    def of_rows(files: Files, rows: int) -> tuple[int, list[str]]:
        return rows, score(files.tweets(rows), files.output, MODEL)

    def of_groups(files: Files, group: int) -> tuple[int, list[str]]:
        return grouped, score(files.tweets(grouped, group=group), files.output, SMALL)

    def of_tokens(files: Files, length: int) -> tuple[int, list[str]]:
        rows = tokens // length
        source = files.tweets(rows, length=length)
        return rows, score(source, files.output, MODEL, "--max-chars", _MAX_CHARS)

    def of_repeats(files: Files, percent: int) -> tuple[int, list[str]]:
        return grouped, score(files.tweets(grouped, repeats=percent), files.output, MODEL)

    lengths = [1, 2, 5, 10, 20, 50, 100, 200, 500]
    sizes = [rows for rows in (1_000, 10_000, 100_000, 1_000_000, 20_000_000) if rows <= limit]
    groups = [rows for rows in (1_000, 10_000, 100_000, 500_000) if rows <= grouped]
    return (
        Curve("rows", f"rows per file, {MODEL}", "rows", sizes, of_rows),
        Curve("row-groups", f"rows per row group, {grouped:,} rows, {SMALL}", "rows", groups, of_groups),
        Curve(
            "repeats",
            f"percentage of rows that are retweets, {grouped:,} rows, {MODEL}",
            "percent",
            [0, 20, 40, 60],
            of_repeats,
        ),
        Curve("tokens", f"tokens per row, {tokens:,} tokens, {MODEL}", "tokens", lengths, of_tokens, "token"),
    )


def curve_figures(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Figure]:
    """Return the figures of the curves that the history keeps: whether time and memory per row stay flat."""
    figures = []
    points = measured.get("rows", ())
    if points:
        last = points[-1]
        settled = next((one for one in points if one["rows"] >= _SETTLED), last)
        peak = max(one["peak_mb"] for one in points)
        title = f"peak memory, {points[0]['rows']:,} to {last['rows']:,} rows"
        figures.append(Figure("memory", title, peak, settled["peak_mb"], peak, "mb", 600.0, more=False))
        ratio = last["us"] / settled["us"]
        title = f"time per row, {last['rows']:,} rows ÷ {settled['rows']:,}"
        figures.append(
            Figure(
                *("rows", title, ratio, ratio, ratio, "ratio", None, False),
                *(last["us"], settled["us"], "µs"),
            )
        )
    return figures
