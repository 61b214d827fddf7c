"""Charts of scores and groups, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.markup import Html, join, tag
from sentstream.report.axes import axes, quiet_svg, round_ticks, short_count, tick_x, x_at, y_at
from sentstream.report.charts import label_kinds
from sentstream.report.sentiment.figures import share_of, signed
from sentstream.report.words import Data, percent

_HEIGHT = 240


def score_histogram(histogram: Data, labels: Sequence[str], title: str) -> Html:
    """A stacked histogram of rows by a figure, with one color per label.

    Args:
        histogram: ``low``, ``high``, ``labels`` and ``rows``, ``[label][bin]``.
        labels: All labels, which determine the colors.
        title: Name of the figure.
    """
    low, high, rows = histogram["low"], histogram["high"], histogram["rows"]
    bins = len(rows[0]) if rows else 1
    first = 0
    if low == 0:  # the highest probability is never below chance, so leave out empty bins at the start
        used = [index for index in range(bins) if any(counts[index] for counts in rows)]
        first = min(used, default=0) * 10 // bins * bins // 10
    low = low + (high - low) * first / bins
    totals = [sum(counts[index] for counts in rows) for index in range(first, bins)]
    ticks = round_ticks(0, max(totals, default=1) or 1)
    shapes = [
        axes(
            _HEIGHT,
            title,
            "rows",
            [(short_count(round(tick)), tick / ticks[-1]) for tick in ticks if tick == round(tick)],
        )
    ]
    signs = low < 0
    for tick in round_ticks(low, high, 4):
        if low <= tick <= high:
            words = signed(tick, 1) if signs else percent(tick, 0)
            shapes.append(tick_x(_HEIGHT, words, (tick - low) / (high - low)))
    kinds = dict(zip(labels, label_kinds(labels), strict=True))
    step = (high - low) / len(totals)
    for index in range(len(totals)):
        left, right = (x_at(edge / len(totals)) for edge in (index, index + 1))
        ends = [
            signed(low + step * edge) if signs else percent(low + step * edge, 1)
            for edge in (index, index + 1)
        ]
        floor = 0
        for label, counts in zip(histogram["labels"], rows, strict=True):
            number = counts[first + index]
            if not number:
                continue
            top, bottom = (y_at(_HEIGHT, part / ticks[-1]) for part in (floor + number, floor))
            floor += number
            shapes.append(
                tag(
                    "rect",
                    tag("title", f"{ends[0]} to {ends[1]}: {number:,} {label}"),
                    x=left + 0.4,
                    y=top,
                    width=right - left - 0.8,
                    height=bottom - top,
                    class_=f"fill l{kinds[label]}",
                )
            )
    return quiet_svg(_HEIGHT, f"Rows by {title}", shapes)


def share_bar(figures: Data, labels: Sequence[str]) -> Html:
    """The labels' shares as a stacked bar, for a table cell next to the numbers."""
    width, height = 160.0, 16
    kinds = label_kinds(labels)
    shapes: list[Html] = []
    left = 0.0
    for label, kind in zip(labels, kinds, strict=True):
        share = share_of(figures, label)
        part = width * share["share"] if share else 0.0
        if part:
            words = f"{label} {percent(share['share'] if share else None, 1)}"
            shapes.append(
                tag(
                    "rect",
                    tag("title", words),
                    x=left,
                    y=1,
                    width=part,
                    height=height - 2,
                    class_=f"fill l{kind}",
                )
            )
        left += part
    return tag("svg", join(shapes), viewBox=f"0 0 {width:g} {height}", aria_hidden="true")
