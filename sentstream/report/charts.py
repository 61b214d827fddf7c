"""Charts as inline SVG: pure functions of numbers. Colors come from the page's style sheet, so that a
dark page has dark charts; a chart is 360 units wide, which is a phone's width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sentstream.report.markup import Html, join, tag
from sentstream.report.words import percent

WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 22.0, 10.0, 40.0
_LONGEST_NAME = 34


def reliability(bins: Sequence[Mapping[str, Any]]) -> Html:
    """Accuracy against confidence, one dot a bin, larger for more rows; perfect calibration is the diagonal.

    Args:
        bins: ``rows``, ``confidence`` and ``accuracy`` of each.
    """
    height = 300
    used = [one for one in bins if one["rows"]]
    most = max((one["rows"] for one in used), default=1)
    shapes = [
        _axes(height, "confidence", "accuracy", [(f"{tick} %", tick / 100) for tick in range(0, 101, 25)]),
        *(_tick_x(height, f"{tick} %", tick / 100) for tick in range(0, 101, 25)),
        tag("line", x1=_x(0), y1=_y(height, 0), x2=_x(1), y2=_y(height, 1), class_="ideal"),
    ]
    for one in used:
        x, y = _x(one["confidence"]), _y(height, one["accuracy"])
        means = f"confidence {percent(one['confidence'], 1)}, accuracy {percent(one['accuracy'], 1)}"
        words = f"{one['rows']:,} rows: {means}"
        shapes += [
            tag("line", x1=x, y1=_y(height, one["confidence"]), x2=x, y2=y, class_="gap"),
            tag(
                "circle",
                tag("title", words),
                cx=x,
                cy=y,
                r=2.5 + 6 * (one["rows"] / most) ** 0.5,
                class_="dot",
            ),
        ]
    return _svg(height, "Reliability diagram", shapes)


def confidence_histogram(bins: Sequence[Mapping[str, Any]]) -> Html:
    """Rows by confidence, the right ones below the wrong ones.

    Args:
        bins: ``low``, ``high``, ``rows`` and ``accuracy`` of each.
    """
    height = 300
    top = max((one["rows"] for one in bins), default=0) or 1
    shapes = [
        _axes(height, "confidence", "rows", _count_ticks(top)),
        *(_tick_x(height, f"{tick} %", tick / 100) for tick in range(0, 101, 25)),
    ]
    for one in bins:
        right = one["rows"] * (one["accuracy"] or 0.0)
        x, width = _x(one["low"]) + 0.5, _x(one["high"]) - _x(one["low"]) - 1
        edges = f"{100 * one['low']:.0f} to {percent(one['high'], 0)}"
        words = f"{edges}: {one['rows']:,} rows, {round(right):,} right"
        for low, high, kind in ((0.0, right, "right"), (right, one["rows"], "wrong")):
            if high > low:
                y = _y(height, high / top)
                shapes.append(
                    tag(
                        "rect",
                        tag("title", words),
                        x=x,
                        y=y,
                        width=width,
                        height=_y(height, low / top) - y,
                        class_=kind,
                    )
                )
    return _svg(height, "Histogram of the confidence", shapes)


def length_histogram(rows: Sequence[int], bin_width: int, unit: str) -> Html:
    """Rows by length; the last bin holds all that is longer.

    Args:
        rows: Rows of each bin.
        bin_width: Lengths that share a bin.
        unit: What the length counts.
    """
    height = 200
    top = max(rows, default=0) or 1
    step = max(1, len(rows) // 5)
    shapes = [_axes(height, f"{unit} a row (last: all that is longer)", "rows", _count_ticks(top))]
    for place, number in enumerate(rows):
        low, high = _x(place / len(rows)), _x((place + 1) / len(rows))
        y = _y(height, number / top)
        first = place * bin_width
        words = f"{first}{f' to {first + bin_width - 1}' if bin_width > 1 else ''} {unit}: {number:,} rows"
        shapes.append(
            tag(
                "rect",
                tag("title", words),
                x=low + 0.4,
                y=y,
                width=max(0.5, high - low - 0.8),
                height=_y(height, 0) - y,
                class_="right",
            )
        )
        if place % step == 0:
            shapes.append(_tick_x(height, str(first), (place + 0.5) / len(rows)))
    return _svg(height, f"Histogram of the length in {unit}", shapes)


def intervals(systems: Sequence[tuple[str, float, tuple[float, float]]]) -> Html:
    """Accuracies with their intervals, the first system in another color.

    Args:
        systems: (name, accuracy, (low, high)) of each; shares of 1.
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
        at = x(tick / 100)
        shapes += [
            tag("line", x1=at, y1=0, x2=at, y2=bottom, class_="grid"),
            tag("text", f"{tick} %", x=at, y=bottom + 16, text_anchor="middle"),
        ]
    for place, (name, accuracy, (left, right)) in enumerate(systems):
        kind, y = ("model" if place == 0 else "other"), place * row + 28.0
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        shapes += [
            tag("text", short, x=20, y=y - 12, class_="name"),
            tag("text", f"{100 * accuracy:.2f} %", x=WIDTH - 22, y=y - 12, text_anchor="end", class_="name"),
            tag("line", x1=x(left), y1=y, x2=x(right), y2=y, class_=f"whisker {kind}"),
            tag("circle", cx=x(accuracy), cy=y, r=5, class_=f"mark {kind}"),
        ]
    return _svg(height, "Accuracy with its 95 % interval", shapes)


def _x(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(height: int, share: float) -> float:
    return height - _BOTTOM - share * (height - _BOTTOM - _TOP)


def _svg(height: int, title: str, shapes: Sequence[Html]) -> Html:
    return tag("svg", tag("title", title), join(shapes), viewBox=f"0 0 {WIDTH} {height}", role="img")


def _axes(height: int, x_title: str, y_title: str, ticks: Sequence[tuple[str, float]]) -> Html:
    middle = (_TOP + height - _BOTTOM) / 2
    return join(
        [
            *(
                join(
                    [
                        tag("line", x1=_LEFT, y1=_y(height, at), x2=_x(1), y2=_y(height, at), class_="grid"),
                        tag("text", words, x=_LEFT - 5, y=_y(height, at) + 4, text_anchor="end"),
                    ]
                )
                for words, at in ticks
            ),
            tag("text", x_title, x=_x(0.5), y=height - 4, text_anchor="middle"),
            tag(
                "text",
                y_title,
                x=0,
                y=0,
                text_anchor="middle",
                transform=f"translate(9 {middle}) rotate(-90)",
            ),
        ]
    )


def _tick_x(height: int, words: str, at: float) -> Html:
    return tag("text", words, x=_x(at), y=height - _BOTTOM + 15, text_anchor="middle")


def _count_ticks(top: int) -> list[tuple[str, float]]:
    """Round numbers from 0 up to ``top``, at most six."""
    tens = 10 ** max(0, len(str(top)) - 2)
    size = next(tens * step for step in (1, 2, 5, 10, 20, 50) if top <= 5 * tens * step)
    return [(_short(value), value / top) for value in range(0, top + 1, size)]


def _short(value: int) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 1000 else str(value)
