"""The charts of ``sentstream report`` as one PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sentstream.markup import printable
from sentstream.report.charts import label_kinds
from sentstream.report.sentiment.figures import (
    group_name,
    is_valued,
    labels_shown,
    rest_name,
    share_of,
    span_words,
)
from sentstream.report.words import Data, count

#: Colors and dash patterns by the kind of a label.
_COLORS = ("#c8553d", "#5a6675", "#2f6fb2", "#1c2430", "#1c2430", "#1c2430")
_DASHES = ("-", "--", ":", "-", "-.", (0, (1, 4)))
_MOST_GROUPS, _MOST_TICKS, _LONGEST = 40, 8, 32
_WIDTH, _CHART, _LINE = 9.0, 2.4, 0.24  # inches: picture's width; heights of a chart over time, of a group


def draw_sentiment(data: Data) -> bytes:
    """A PNG with value, shares and rows over time (if there are times), labels, and charts per grouping.

    Args:
        data: The output of ``sentstream report --json``.
    """
    timeline, valued, labels = data["time"], is_valued(data), labels_shown(data)
    charts: list[tuple[float, Any]] = []
    buckets = [] if timeline is None else timeline["buckets"]
    if any(bucket["figures"] and bucket["figures"]["labeled"] for bucket in buckets):
        if valued:
            charts.append((_CHART, lambda axes: _value(axes, buckets)))
        charts.append((_CHART, lambda axes: _shares(axes, buckets, labels)))
        charts.append((_CHART / 1.5, lambda axes: _rows(axes, buckets)))
    charts.append((0.8 + _LINE * len(labels), lambda axes: _labels(axes, data["scores"]["figures"], labels)))
    for grouping in data["groups"]:
        named = _named(grouping)
        size = 0.9 + _LINE * len(named)
        charts.append(
            (size, lambda axes, one=grouping, rows=named: _groups(axes, one["column"], rows, labels))
        )
        if valued:
            charts.append((size, lambda axes, one=grouping, rows=named: _values(axes, one["column"], rows)))
    sizes = [size for size, _ in charts]
    # Names are not formulas; characters that the font lacks become boxes without a warning.
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(_WIDTH, sum(sizes) + 0.5), layout="constrained")
        figure.suptitle(_title(data), fontsize=11)
        cells = figure.subplots(len(charts), 1, squeeze=False, height_ratios=sizes)
        for axes, (_, draw) in zip(cells[:, 0], charts, strict=True):
            axes.grid(alpha=0.25)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            draw(axes)
        FigureCanvasAgg(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _title(data: Data) -> str:
    rows = data["scores"]["figures"]["rows"]
    span = span_words(data["time"])
    return f"{count(rows)} {'row' if rows == 1 else 'rows'}" + (f", {span}" if span else "")


def _short(name: str) -> str:
    line = printable(" ".join(name.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _head(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)


def _over_time(axes: Any, buckets: Sequence[Data]) -> None:
    indices = range(0, len(buckets), max(1, -(-len(buckets) // _MOST_TICKS)))
    axes.set_xticks(list(indices), [buckets[index]["label"] for index in indices], fontsize=8)
    axes.set_xlim(-0.5, len(buckets) - 0.5)


def _line(axes: Any, points: Sequence[tuple[float, Sequence[float]] | None], **style: Any) -> Any:
    """A line with shaded intervals; None is a gap."""
    nothing = float("nan")
    indices = range(len(points))
    middle = [nothing if one is None else one[0] for one in points]
    low, high = ([nothing if one is None else one[1][end] for one in points] for end in (0, 1))
    axes.fill_between(indices, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return axes.plot(indices, middle, marker="o", markersize=2.5, **style)[0]


def _value(axes: Any, buckets: Sequence[Data]) -> None:
    values = [one["figures"] for one in buckets]
    points = [
        None if not one or one["value"] is None else (one["value"], one["value_interval"]) for one in values
    ]
    _line(axes, points, color=_COLORS[2])
    axes.axhline(0, color=_COLORS[1], linestyle="--", linewidth=0.8)
    _over_time(axes, buckets)
    _head(axes, "Mean value, P(positive) − P(negative); shaded: the 95 % interval")


def _shares(axes: Any, buckets: Sequence[Data], labels: Sequence[str]) -> None:
    lines = []
    for label, kind in zip(labels, label_kinds(labels), strict=True):
        shares = [one["figures"] and share_of(one["figures"], label) for one in buckets]
        points = [
            (100 * one["share"], [100 * end for end in one["interval"]]) if one else None for one in shares
        ]
        lines.append(_line(axes, points, color=_COLORS[kind], linestyle=_DASHES[kind]))
    axes.set_ylim(bottom=0)
    axes.legend(lines, [f" {_short(label)}" for label in labels], frameon=False, fontsize=8, loc="best")
    _over_time(axes, buckets)
    _head(axes, "Share of each label, %; shaded: the 95 % interval")


def _rows(axes: Any, buckets: Sequence[Data]) -> None:
    counts = [one["figures"]["labeled"] if one["figures"] else 0 for one in buckets]
    axes.bar(range(len(buckets)), counts, color="#8593a3")
    _over_time(axes, buckets)
    _head(axes, "Rows with a label")


def _labels(axes: Any, figures: Data, labels: Sequence[str]) -> None:
    shares = [share_of(figures, label) for label in labels]
    widths = [100 * one["share"] if one else 0.0 for one in shares]
    ends = [
        [abs(100 * one["interval"][end] - 100 * one["share"]) if one else 0.0 for one in shares]
        for end in (0, 1)
    ]
    colors = [_COLORS[kind] for kind in label_kinds(labels)]
    axes.barh(range(len(labels)), widths, xerr=ends, color=colors, ecolor="#1c2430", capsize=2)
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels], fontsize=8)
    axes.invert_yaxis()
    _head(axes, "Share of each label, %, with its 95 % interval")


def _named(grouping: Data) -> list[tuple[str, Data]]:
    """The groups to draw, the largest first."""
    named = [(_short(group_name(one["name"])), one["figures"]) for one in grouping["groups"][:_MOST_GROUPS]]
    if grouping["rest"] is not None and len(grouping["groups"]) <= _MOST_GROUPS:
        named.append((rest_name(grouping), grouping["rest"]))
    return named


def _groups(axes: Any, column: str, named: Sequence[tuple[str, Data]], labels: Sequence[str]) -> None:
    left = [0.0] * len(named)
    for label, kind in zip(labels, label_kinds(labels), strict=True):
        shares = [share_of(figures, label) for _, figures in named]
        widths = [100 * one["share"] if one else 0.0 for one in shares]
        axes.barh(range(len(named)), widths, left=left, color=_COLORS[kind], label=f" {_short(label)}")
        left = [before + width for before, width in zip(left, widths, strict=True)]
    _group_names(axes, named)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    _head(axes, f"Shares by {_short(column)}, %")


def _values(axes: Any, column: str, named: Sequence[tuple[str, Data]]) -> None:
    for index, (_, figures) in enumerate(named):
        if figures["value"] is not None:
            color = "#8593a3" if figures["few"] else _COLORS[2]
            axes.plot(figures["value_interval"], [index, index], color=color, linewidth=2)
            axes.plot([figures["value"]], [index], marker="o", color=color)
    axes.axvline(0, color=_COLORS[1], linestyle="--", linewidth=0.8)
    _group_names(axes, named)
    _head(axes, f"Mean value by {_short(column)}, with its 95 % interval; gray: fewer than 30 rows")


def _group_names(axes: Any, named: Sequence[tuple[str, Data]]) -> None:
    axes.set_yticks(range(len(named)), [name for name, _ in named], fontsize=8)
    axes.set_ylim(len(named) - 0.5, -0.5)
