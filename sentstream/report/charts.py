"""Charts shared by several pages, and the chart of an explanation, as inline SVG."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from sentstream.markup import Html, join, tag
from sentstream.report.axes import BOTTOM, axes, svg, x_at, y_at
from sentstream.report.words import percent

_CURVE = 240  # height of a curve over words, without the words
_MOST_WORDS, _LONGEST_WORD = 20, 14  # maximum words on an axis, and characters of each


def prefix_curve(labels: Sequence[str], steps: Sequence[Mapping[str, Any]]) -> Html:
    """A line chart of each label's probability after each word, with the words (or every nth) on the axis.

    Args:
        labels: The labels; up to six lines differ in color and dashes.
        steps: ``token`` and ``probabilities`` of each step.
    """
    last = max(1, len(steps) - 1)
    ticks = [(f"{tick} %", tick / 100) for tick in range(0, 101, 25)]
    shapes = [axes(_CURVE, "", "probability", ticks)]
    indices = range(0, len(steps), max(1, -(-len(steps) // _MOST_WORDS)))
    words = {index: _shortened(steps[index]["token"]) for index in indices}
    for index, word in words.items():
        transform = f"translate({x_at(index / last):.2f} {_CURVE - BOTTOM + 12:.0f}) rotate(-55)"
        shapes.append(tag("text", word, text_anchor="end", transform=transform))
    # The words are slanted; this is how far down they reach.
    height = _CURVE - round(BOTTOM) + 20 + round(5.5 * max(map(len, words.values()), default=0))
    kinds = label_kinds(labels)
    for index, label in enumerate(labels):
        kind = f"label l{kinds[index]}"
        shares = [step["probabilities"][index] for step in steps]
        points = [(x_at(step_index / last), y_at(_CURVE, share)) for step_index, share in enumerate(shares)]
        line = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        shapes.append(tag("polyline", tag("title", label), points=line, class_=kind))
        for (x, y), step in zip(points, steps, strict=True):
            tooltip = f"after {step['token']}: {label} {percent(step['probabilities'][index], 1)}"
            shapes.append(tag("circle", tag("title", tooltip), cx=x, cy=y, r=2.5, class_=kind))
    shapes += _legend(height, labels)
    return svg(height + 22 * -(-len(labels) // 3), "Probability after each word", shapes)


def label_kinds(labels: Sequence[str]) -> list[int]:
    """The kind of each label, 0 to 5, for the classes ``l0`` to ``l5`` of the style sheet.

    Negative, neutral and positive have fixed colors; other labels get the remaining ones. Labels share a
    color only if none is left.

    >>> label_kinds(["negative", "positive"]), label_kinds(["bad", "good"]), label_kinds(["x", "negative"])
    ([0, 2], [0, 2], [2, 0])
    """
    usual = {"negative": 0, "neutral": 1, "positive": 2}
    order = (0, 2, 1, 3, 4, 5)
    free = [kind for kind in order if kind not in {usual.get(label) for label in labels}]
    turns = itertools.cycle(free)
    return [usual[label] if label in usual else next(turns) for label in labels]


def whisker(
    value: float,
    ends: Sequence[float],
    scale: tuple[float, float],
    reference: float | None = None,
    *,
    kind: str = "model",
) -> Html:
    """A value and its interval in a table cell; an interval beyond the scale ends in an arrow.

    Args:
        value: The value.
        ends: The interval.
        scale: The values at the left and the right edge of the cell.
        reference: Where to draw a dashed line; None for none.
        kind: ``model``, or ``other`` for a paler one.
    """
    low, high = scale
    width, height = 160, 16

    def x(number: float) -> float:
        return 4 + min(1.0, max(0.0, (number - low) / (high - low))) * (width - 8)

    shapes = [tag("line", x1=x(ends[0]), y1=8, x2=x(ends[1]), y2=8, class_=f"whisker {kind}")]
    for beyond, edge, point in ((ends[0] < low, 8, 0), (ends[1] > high, width - 8, width)):
        if beyond:
            shapes.append(tag("path", d=f"M{point},8 L{edge},2.5 L{edge},13.5 Z", class_=f"mark {kind}"))
    if low <= value <= high:
        shapes.append(tag("circle", cx=x(value), cy=8, r=4, class_=f"mark {kind}"))
    if reference is not None:
        line = tag("line", x1=x(reference), y1=0, x2=x(reference), y2=height, class_="ideal")
        shapes.insert(0, line)
    return tag("svg", join(shapes), viewBox=f"0 0 {width} {height}", aria_hidden="true")


def _shortened(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD else f"{word[: _LONGEST_WORD - 1]}…"


def _legend(height: int, labels: Sequence[str]) -> list[Html]:
    """The legend below the axes, with three labels per row."""
    shapes = []
    kinds = label_kinds(labels)
    for index, label in enumerate(labels):
        x, y = 14 + 116 * (index % 3), height + 12 + 22 * (index // 3)
        short = label if len(label) < 14 else label[:12] + "…"
        shapes += [
            tag("line", x1=x, y1=y, x2=x + 22, y2=y, class_=f"label l{kinds[index]}"),
            tag("text", short, x=x + 27, y=y + 4, class_="name"),
        ]
    return shapes
