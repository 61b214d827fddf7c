"""Charts as inline SVG: pure functions of numbers. Colors come from the page's style sheet, so that a
dark page has dark charts; a chart is 360 units wide, which is a phone's width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sentstream.report.markup import Html, join, tag
from sentstream.report.words import percent

WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 22.0, 10.0, 40.0
_LONGEST_NAME = 34
_CURVE = 240  # height of a curve over words, above the words
_MOST_WORDS, _LONGEST_WORD = 20, 14  # words that an axis holds, and characters of each


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


def coverage_curve(points: Sequence[Mapping[str, Any]]) -> Html:
    """Accuracy, with its interval, and macro-recall by the share of the rows that is kept.

    Args:
        points: ``coverage``, ``accuracy``, ``interval`` and ``macro_recall`` of each.
    """
    height = 300
    least = min(min(point["interval"][0], point["macro_recall"]) for point in points)
    bottom = min(0.9, int(least * 10) / 10)

    def at(point: Mapping[str, Any], share: float) -> str:
        return f"{_x(point['coverage']):.2f},{_y(height, (share - bottom) / (1 - bottom)):.2f}"

    step = 5 if bottom >= 0.7 else 10 if bottom >= 0.4 else 20
    ticks = range(-(-round(100 * bottom) // step) * step, 101, step)
    over = [at(point, point["interval"][1]) for point in points]
    under = [at(point, point["interval"][0]) for point in reversed(points)]
    shapes = [
        _axes(
            height,
            "share of the rows that is kept",
            "of these, right",
            [(f"{tick} %", (tick / 100 - bottom) / (1 - bottom)) for tick in ticks],
        ),
        *(_tick_x(height, f"{tick} %", tick / 100) for tick in range(0, 101, 25)),
        tag("polygon", points=" ".join(over + under), class_="band"),
        tag("polyline", points=" ".join(at(one, one["macro_recall"]) for one in points), class_="second"),
        tag("polyline", points=" ".join(at(one, one["accuracy"]) for one in points), class_="first"),
    ]
    for point in points:
        x, y = at(point, point["accuracy"]).split(",")
        words = f"{percent(point['coverage'], 1)} kept: accuracy {percent(point['accuracy'])}"
        shapes.append(tag("circle", tag("title", words), cx=float(x), cy=float(y), r=3.5, class_="dot"))
    return _svg(height, "Accuracy by the share of the rows that is kept", shapes)


def prefix_curve(labels: Sequence[str], steps: Sequence[Mapping[str, Any]]) -> Html:
    """A line a label: its probability after each word; the words stand along the axis, of many every nth.

    Args:
        labels: The labels; the lines of six are told apart by colors and by dashes.
        steps: ``token`` and ``probabilities`` of each.
    """
    last = max(1, len(steps) - 1)
    ticks = [(f"{tick} %", tick / 100) for tick in range(0, 101, 25)]
    shapes = [_axes(_CURVE, "", "probability", ticks)]
    places = range(0, len(steps), max(1, -(-len(steps) // _MOST_WORDS)))
    words = {place: _shortened(steps[place]["token"]) for place in places}
    for place, word in words.items():
        there = f"translate({_x(place / last):.2f} {_CURVE - _BOTTOM + 12:.0f}) rotate(-55)"
        shapes.append(tag("text", word, text_anchor="end", transform=there))
    # They stand aslant; this is how far they reach down.
    height = _CURVE - round(_BOTTOM) + 20 + round(5.5 * max(map(len, words.values()), default=0))
    kinds = label_kinds(labels)
    for place, label in enumerate(labels):
        kind = f"label l{kinds[place]}"
        points = [(_x(at / last), _y(_CURVE, step["probabilities"][place])) for at, step in enumerate(steps)]
        line = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        shapes.append(tag("polyline", tag("title", label), points=line, class_=kind))
        for (x, y), step in zip(points, steps, strict=True):
            said = f"after {step['token']}: {label} {percent(step['probabilities'][place], 1)}"
            shapes.append(tag("circle", tag("title", said), cx=x, cy=y, r=2.5, class_=kind))
    shapes += _legend(height, labels)
    return _svg(height + 22 * -(-len(labels) // 3), "Probability after each word", shapes)


def label_kinds(labels: Sequence[str]) -> list[int]:
    """How each label is drawn, 0 to 5: the class ``l0`` to ``l5`` of the style sheet.

    Negative, neutral and positive have colors of their own; other labels take those that are left, and
    only where there are more than six do labels share one.

    >>> label_kinds(["negative", "positive"]), label_kinds(["bad", "good"]), label_kinds(["x", "negative"])
    ([0, 2], [0, 2], [2, 0])
    """
    usual = {"negative": 0, "neutral": 1, "positive": 2}
    order = (0, 2, 1, 3, 4, 5)
    free = [kind for kind in order if kind not in {usual.get(label) for label in labels}]
    turns = itertools.cycle(free)
    return [usual[label] if label in usual else next(turns) for label in labels]


def _shortened(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD else f"{word[: _LONGEST_WORD - 1]}…"


def _legend(height: int, labels: Sequence[str]) -> list[Html]:
    """What each line is, three a row, below the axes."""
    shapes = []
    kinds = label_kinds(labels)
    for place, label in enumerate(labels):
        x, y = 14 + 116 * (place % 3), height + 12 + 22 * (place // 3)
        short = label if len(label) < 14 else label[:12] + "…"
        shapes += [
            tag("line", x1=x, y1=y, x2=x + 22, y2=y, class_=f"label l{kinds[place]}"),
            tag("text", short, x=x + 27, y=y + 4, class_="name"),
        ]
    return shapes


def search_curve(trials: Sequence[Mapping[str, Any]]) -> Html:
    """The score of each trial, those that were given up pale, and the best so far as a line.

    Args:
        trials: ``number``, ``state`` and ``score`` of each.
    """
    height = 300
    bottom, top, ticks = _score_scale(trials)
    last = max(1, max((one["number"] for one in trials), default=1))

    def at(one: Mapping[str, Any]) -> tuple[float, float]:
        return _x(one["number"] / last), _y(height, (one["score"] - bottom) / (top - bottom))

    path: list[str] = []
    best: Mapping[str, Any] | None = None
    for one in trials:
        if one["state"] == "complete" and (best is None or one["score"] > best["score"]):
            path += [] if best is None else [f"{at(one)[0]:.2f},{at(best)[1]:.2f}"]
            path.append(f"{at(one)[0]:.2f},{at(one)[1]:.2f}")
            best = one
    if best is not None:
        path.append(f"{_x(1):.2f},{at(best)[1]:.2f}")
    numbers = sorted({round(last * part / 4) for part in range(5)})
    shapes = [
        _axes(height, "trial", "score", ticks),
        *(_tick_x(height, str(number), number / last) for number in numbers),
        tag("polyline", points=" ".join(path), class_="first"),
    ]
    shapes += [_trial_dot(*at(one), one) for one in trials if one["score"] is not None]
    return _svg(height, "Score by trial", shapes)


def setting_chart(trials: Sequence[Mapping[str, Any]], name: str, domain: Any) -> Html:
    """The score by the value of a setting.

    Args:
        trials: ``number``, ``state``, ``score`` and ``settings`` of each.
        name: The setting.
        domain: What it varies over: a list of choices, or ``low``, ``high`` and ``log``.
    """
    height = 200
    bottom, top, ticks = _score_scale(trials)
    places = _places(domain)
    shapes = [_axes(height, name.replace("_", " "), "score", ticks)]
    shapes += [_tick_x(height, words, at) for words, at in _setting_ticks(domain, places)]
    for one in trials:
        if one["score"] is not None and name in one["settings"]:
            x = _x(places(one["settings"][name]))
            shapes.append(_trial_dot(x, _y(height, (one["score"] - bottom) / (top - bottom)), one))
    return _svg(height, f"Score by {name}", shapes)


def _places(domain: Any) -> Callable[[Any], float]:
    """From a value of a setting to its place on the axis, 0 to 1."""
    if isinstance(domain, list):
        return lambda value: (domain.index(value) + 0.5) / len(domain)
    low, high = domain["low"], domain["high"]
    if domain.get("log"):
        return lambda value: math.log(value / low) / math.log(high / low)
    return lambda value: float((value - low) / (high - low))


def _setting_ticks(domain: Any, places: Callable[[Any], float]) -> list[tuple[str, float]]:
    if isinstance(domain, list):
        words = {True: "yes", False: "no"}
        return [
            (words[value] if isinstance(value, bool) else _figure(value), places(value)) for value in domain
        ]
    low, high = domain["low"], domain["high"]
    middle = math.sqrt(low * high) if domain.get("log") else (low + high) / 2
    return [(_figure(low), 0.0), (_figure(middle), places(middle)), (_figure(high), 1.0)]


def _figure(value: Any) -> str:
    if isinstance(value, str):
        return value
    return _short(round(value)) if isinstance(value, int) or abs(value) >= 1000 else f"{value:.2g}"


def _trial_dot(x: float, y: float, trial: Mapping[str, Any]) -> Html:
    """A trial; one that was given up is a ring."""
    pruned = trial["state"] == "pruned"
    words = f"trial {trial['number']}: {percent(trial['score'])}{', given up' if pruned else ''}"
    return tag("circle", tag("title", words), cx=x, cy=y, r=3.5, class_="ring" if pruned else "dot")


def _score_scale(trials: Sequence[Mapping[str, Any]]) -> tuple[float, float, list[tuple[str, float]]]:
    """The ends of an axis that holds all scores, and its ticks: (words, share of the axis)."""
    scores = [one["score"] for one in trials if one["score"] is not None] or [0.0, 1.0]
    low, high = 100 * min(scores), 100 * max(scores)
    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if high - low <= 5 * step)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    ticks = [
        (f"{place * step:.{0 if step >= 1 else 1}f} %", (place - first) / (last - first))
        for place in range(first, last + 1)
    ]
    return first * step / 100, last * step / 100, ticks


def whisker(
    value: float, ends: Sequence[float], scale: tuple[float, float], reference: float | None = None
) -> Html:
    """A value and its interval in a table's cell; where it goes on beyond the scale it ends in an arrow.

    Args:
        value: The value.
        ends: The interval.
        scale: What the left and the right edge of the cell stand for.
        reference: Where to draw a dashed line.
    """
    low, high = scale
    width, height = 160, 16

    def x(at: float) -> float:
        return 4 + min(1.0, max(0.0, (at - low) / (high - low))) * (width - 8)

    shapes = [tag("line", x1=x(ends[0]), y1=8, x2=x(ends[1]), y2=8, class_="whisker model")]
    for beyond, edge, point in ((ends[0] < low, 8, 0), (ends[1] > high, width - 8, width)):
        if beyond:
            shapes.append(tag("path", d=f"M{point},8 L{edge},2.5 L{edge},13.5 Z", class_="mark model"))
    if low <= value <= high:
        shapes.append(tag("circle", cx=x(value), cy=8, r=4, class_="mark model"))
    if reference is not None:
        line = tag("line", x1=x(reference), y1=0, x2=x(reference), y2=height, class_="ideal")
        shapes.insert(0, line)
    return tag("svg", join(shapes), viewBox=f"0 0 {width} {height}", aria_hidden="true")


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
                transform=f"translate(11 {middle}) rotate(-90)",
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
