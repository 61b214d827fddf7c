"""Charts of evaluations and inspections, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sentstream.markup import Html, tag
from sentstream.report.axes import WIDTH, axes, short_count, svg, tick_x, x_at, y_at
from sentstream.report.words import percent

_LONGEST_NAME = 34


def reliability(bins: Sequence[Mapping[str, Any]]) -> Html:
    """Accuracy by confidence, one dot per bin, larger for more rows; the diagonal is perfect calibration.

    Args:
        bins: ``rows``, ``confidence`` and ``accuracy`` of each.
    """
    height = 300
    used = [one for one in bins if one["rows"]]
    maximum = max((one["rows"] for one in used), default=1)
    shapes = [
        axes(height, "confidence", "accuracy", [(f"{tick} %", tick / 100) for tick in range(0, 101, 25)]),
        *(tick_x(height, f"{tick} %", tick / 100) for tick in range(0, 101, 25)),
        tag("line", x1=x_at(0), y1=y_at(height, 0), x2=x_at(1), y2=y_at(height, 1), class_="ideal"),
    ]
    for one in used:
        x, y = x_at(one["confidence"]), y_at(height, one["accuracy"])
        means = f"confidence {percent(one['confidence'], 1)}, accuracy {percent(one['accuracy'], 1)}"
        words = f"{one['rows']:,} rows: {means}"
        shapes += [
            tag("line", x1=x, y1=y_at(height, one["confidence"]), x2=x, y2=y, class_="gap"),
            tag(
                "circle",
                tag("title", words),
                cx=x,
                cy=y,
                r=2.5 + 6 * (one["rows"] / maximum) ** 0.5,
                class_="dot",
            ),
        ]
    return svg(height, "Reliability diagram", shapes)


def confidence_histogram(bins: Sequence[Mapping[str, Any]]) -> Html:
    """Rows by confidence, with the right rows below the wrong ones.

    Args:
        bins: ``low``, ``high``, ``rows`` and ``accuracy`` of each.
    """
    height = 300
    top = max((one["rows"] for one in bins), default=0) or 1
    shapes = [
        axes(height, "confidence", "rows", _count_ticks(top)),
        *(tick_x(height, f"{tick} %", tick / 100) for tick in range(0, 101, 25)),
    ]
    for one in bins:
        right = one["rows"] * (one["accuracy"] or 0.0)
        x, width = x_at(one["low"]) + 0.5, x_at(one["high"]) - x_at(one["low"]) - 1
        edges = f"{100 * one['low']:.0f} to {percent(one['high'], 0)}"
        words = f"{edges}: {one['rows']:,} rows, {round(right):,} correct"
        for low, high, kind in ((0.0, right, "right"), (right, one["rows"], "wrong")):
            if high > low:
                y = y_at(height, high / top)
                shapes.append(
                    tag(
                        "rect",
                        tag("title", words),
                        x=x,
                        y=y,
                        width=width,
                        height=y_at(height, low / top) - y,
                        class_=kind,
                    )
                )
    return svg(height, "Histogram of confidence", shapes)


def length_histogram(rows: Sequence[int], bin_width: int, unit: str) -> Html:
    """Rows by length; the last bin has all longer rows.

    Args:
        rows: Number of rows in each bin.
        bin_width: Number of lengths per bin.
        unit: The unit of the length, such as tokens.
    """
    height = 200
    top = max(rows, default=0) or 1
    step = max(1, len(rows) // 5)
    shapes = [axes(height, f"{unit} per row (last: all longer rows)", "rows", _count_ticks(top))]
    for index, number in enumerate(rows):
        low, high = x_at(index / len(rows)), x_at((index + 1) / len(rows))
        y = y_at(height, number / top)
        first = index * bin_width
        words = f"{first}{f' to {first + bin_width - 1}' if bin_width > 1 else ''} {unit}: {number:,} rows"
        shapes.append(
            tag(
                "rect",
                tag("title", words),
                x=low + 0.4,
                y=y,
                width=max(0.5, high - low - 0.8),
                height=y_at(height, 0) - y,
                class_="right",
            )
        )
        if index % step == 0:
            shapes.append(tick_x(height, str(first), (index + 0.5) / len(rows)))
    return svg(height, f"Histogram of length in {unit}", shapes)


def intervals(systems: Sequence[tuple[str, float, tuple[float, float]]]) -> Html:
    """Accuracies with their intervals; the first system has another color.

    Args:
        systems: (name, accuracy, (low, high)) of each, from 0 to 1.
    """
    row, height = 40, 40 * len(systems) + 34
    low = min(19, int(min(ends[0] for _, _, ends in systems) * 20)) / 20
    high = min(1.0, (int(max(ends[1] for _, _, ends in systems) * 20) + 1) / 20)
    bottom = height - 28.0

    def x(share: float) -> float:
        return 20 + (share - low) / (high - low) * (WIDTH - 42)

    step = next(step for step in (5, 10, 20) if (high - low) * 100 / step <= 6)
    shapes: list[Html] = []
    for tick in range(-(-round(low * 100) // step) * step, round(high * 100) + 1, step):
        position = x(tick / 100)
        shapes += [
            tag("line", x1=position, y1=0, x2=position, y2=bottom, class_="grid"),
            tag("text", f"{tick} %", x=position, y=bottom + 16, text_anchor="middle"),
        ]
    for index, (name, accuracy, (left, right)) in enumerate(systems):
        kind, y = ("model" if index == 0 else "other"), index * row + 28.0
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        shapes += [
            tag("text", short, x=20, y=y - 12, class_="name"),
            tag("text", f"{100 * accuracy:.2f} %", x=WIDTH - 22, y=y - 12, text_anchor="end", class_="name"),
            tag("line", x1=x(left), y1=y, x2=x(right), y2=y, class_=f"whisker {kind}"),
            tag("circle", cx=x(accuracy), cy=y, r=5, class_=f"mark {kind}"),
        ]
    return svg(height, "Accuracy with 95 % interval", shapes)


def coverage_curve(points: Sequence[Mapping[str, Any]]) -> Html:
    """Accuracy, with its interval, and macro-recall by the share of the rows kept.

    Args:
        points: ``coverage``, ``accuracy``, ``interval`` and ``macro_recall`` of each.
    """
    height = 300
    least = min(min(point["interval"][0], point["macro_recall"]) for point in points)
    bottom = min(0.9, int(least * 10) / 10)

    def at(point: Mapping[str, Any], share: float) -> str:
        return f"{x_at(point['coverage']):.2f},{y_at(height, (share - bottom) / (1 - bottom)):.2f}"

    step = 5 if bottom >= 0.7 else 10 if bottom >= 0.4 else 20
    ticks = range(-(-round(100 * bottom) // step) * step, 101, step)
    over = [at(point, point["interval"][1]) for point in points]
    under = [at(point, point["interval"][0]) for point in reversed(points)]
    shapes = [
        axes(
            height,
            "share of rows kept",
            "accuracy, macro-recall",
            [(f"{tick} %", (tick / 100 - bottom) / (1 - bottom)) for tick in ticks],
        ),
        *(tick_x(height, f"{tick} %", tick / 100) for tick in range(0, 101, 25)),
        tag("polygon", points=" ".join(over + under), class_="band"),
        tag("polyline", points=" ".join(at(one, one["macro_recall"]) for one in points), class_="second"),
        tag("polyline", points=" ".join(at(one, one["accuracy"]) for one in points), class_="first"),
    ]
    for point in points:
        x, y = at(point, point["accuracy"]).split(",")
        words = f"{percent(point['coverage'], 1)} kept: accuracy {percent(point['accuracy'])}"
        shapes.append(tag("circle", tag("title", words), cx=float(x), cy=float(y), r=3.5, class_="dot"))
    return svg(height, "Accuracy by the share of rows kept", shapes)


def _count_ticks(top: int) -> list[tuple[str, float]]:
    """Round numbers from 0 up to ``top``, at most six."""
    tens = 10 ** max(0, len(str(top)) - 2)
    size = next(tens * step for step in (1, 2, 5, 10, 20, 50) if top <= 5 * tens * step)
    return [(short_count(value), value / top) for value in range(0, top + 1, size)]
