"""Charts of a hyperparameter search, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sentstream.markup import Html, tag
from sentstream.report.axes import axes, short_count, svg, tick_x, x_at, y_at
from sentstream.report.words import percent


def search_curve(trials: Sequence[Mapping[str, Any]]) -> Html:
    """The score of each trial as a dot (pruned: a ring), and the best score so far as a line.

    Args:
        trials: ``number``, ``state`` and ``score`` of each.
    """
    height = 300
    bottom, top, ticks = _score_scale(trials)
    last = max(1, max((one["number"] for one in trials), default=1))

    def at(one: Mapping[str, Any]) -> tuple[float, float]:
        return x_at(one["number"] / last), y_at(height, (one["score"] - bottom) / (top - bottom))

    path: list[str] = []
    best: Mapping[str, Any] | None = None
    for one in trials:
        if one["state"] == "complete" and (best is None or one["score"] > best["score"]):
            path += [] if best is None else [f"{at(one)[0]:.2f},{at(best)[1]:.2f}"]
            path.append(f"{at(one)[0]:.2f},{at(one)[1]:.2f}")
            best = one
    if best is not None:
        path.append(f"{x_at(1):.2f},{at(best)[1]:.2f}")
    numbers = sorted({round(last * part / 4) for part in range(5)})
    shapes = [
        axes(height, "trial", "score", ticks),
        *(tick_x(height, str(number), number / last) for number in numbers),
        tag("polyline", points=" ".join(path), class_="first"),
    ]
    shapes += [_trial_dot(*at(one), one) for one in trials if one["score"] is not None]
    return svg(height, "Score by trial", shapes)


def setting_chart(trials: Sequence[Mapping[str, Any]], name: str, domain: Any) -> Html:
    """The scores by the value of a setting.

    Args:
        trials: ``number``, ``state``, ``score`` and ``settings`` of each.
        name: The setting.
        domain: The setting's values: a list of choices, or ``low``, ``high`` and ``log``.
    """
    height = 200
    bottom, top, ticks = _score_scale(trials)
    scale = _scale(domain)
    shapes = [axes(height, name.replace("_", " "), "score", ticks)]
    shapes += [tick_x(height, words, position) for words, position in _setting_ticks(domain, scale)]
    for one in trials:
        if one["score"] is not None and name in one["settings"]:
            x = x_at(scale(one["settings"][name]))
            shapes.append(_trial_dot(x, y_at(height, (one["score"] - bottom) / (top - bottom)), one))
    return svg(height, f"Score by {name}", shapes)


def _scale(domain: Any) -> Callable[[Any], float]:
    """A function from a setting's value to its position on the axis, 0 to 1."""
    if isinstance(domain, list):
        return lambda value: (domain.index(value) + 0.5) / len(domain)
    low, high = domain["low"], domain["high"]
    if domain.get("log"):
        return lambda value: math.log(value / low) / math.log(high / low)
    return lambda value: float((value - low) / (high - low))


def _setting_ticks(domain: Any, scale: Callable[[Any], float]) -> list[tuple[str, float]]:
    if isinstance(domain, list):
        words = {True: "yes", False: "no"}
        return [
            (words[value] if isinstance(value, bool) else _figure(value), scale(value)) for value in domain
        ]
    low, high = domain["low"], domain["high"]
    middle = math.sqrt(low * high) if domain.get("log") else (low + high) / 2
    return [(_figure(low), 0.0), (_figure(middle), scale(middle)), (_figure(high), 1.0)]


def _figure(value: Any) -> str:
    if isinstance(value, str):
        return value
    return short_count(round(value)) if isinstance(value, int) or abs(value) >= 1000 else f"{value:.2g}"


def _trial_dot(x: float, y: float, trial: Mapping[str, Any]) -> Html:
    """The dot of a trial, or a ring if it was pruned."""
    pruned = trial["state"] == "pruned"
    words = f"trial {trial['number']}: {percent(trial['score'])}{', pruned' if pruned else ''}"
    return tag("circle", tag("title", words), cx=x, cy=y, r=3.5, class_="ring" if pruned else "dot")


def _score_scale(trials: Sequence[Mapping[str, Any]]) -> tuple[float, float, list[tuple[str, float]]]:
    """The ends of an axis that includes all scores, and its ticks: (label, position from 0 to 1)."""
    scores = [one["score"] for one in trials if one["score"] is not None] or [0.0, 1.0]
    low, high = 100 * min(scores), 100 * max(scores)
    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if high - low <= 5 * step)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    ticks = [
        (f"{index * step:.{0 if step >= 1 else 1}f} %", (index - first) / (last - first))
        for index in range(first, last + 1)
    ]
    return first * step / 100, last * step / 100, ticks
