"""The results table, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.curves import Curve
from benchmarks.figures import Figure
from benchmarks.history import Change

FELL = "▼"
_MISSED = "missed"


def shown(value: float, kind: str) -> str:
    """Format a figure in its unit.

    >>> shown(0.754, "share"), shown(11.93, "ratio"), shown(5.27, "points"), shown(412.4, "mb")
    ('75 %', '11.93', '5.3', '412 MB')
    """
    formats = {"share": f"{value:.0%}", "ratio": f"{value:.2f}", "points": f"{value:.1f}"}
    return formats.get(kind, f"{value:.0f} MB").replace("%", " %")


def moved(change: Change | None, kind: str) -> str:
    """Format the change since the last run; it is marked if it is worse by more than the spread."""
    if change is None:
        return ""
    text = shown(abs(change.moved), kind)
    return f"{'−' if change.moved < 0 else '+'}{text}{f' {FELL}' if change.worse else ''}"


def table(figures: Sequence[Figure], changes: Mapping[str, Change]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| figure | ours | theirs | value | spread | target | since last run |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for figure in figures:
        pair = ["" if one is None else amount(one, figure.unit) for one in (figure.ours, figure.theirs)]
        value = f"**{shown(figure.value, figure.kind)}**"
        spread = ""
        if figure.low != figure.high:
            spread = f"{shown(figure.low, figure.kind)} – {shown(figure.high, figure.kind)}"
        bar = ""
        if figure.bar is not None:
            sign = ("≥" if figure.more else "≤") if figure.bar else ">"
            bar = f"{sign} {shown(figure.bar, figure.kind)}{'' if figure.reached else f' {_MISSED}'}"
        cells = (figure.title, *pair, value, spread, bar, moved(changes.get(figure.name), figure.kind))
        yield f"| {' | '.join(cells)} |"


def amount(value: float, unit: str) -> str:
    """Format a compared value; large ones get no decimals.

    >>> amount(74_123.4, "rows/s"), amount(13.27, "µs"), amount(72.17, "%")
    ('74,123 rows/s', '13.3 µs', '72.2 %')
    """
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.1f} {unit}"


def curve_table(curve: Curve, points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a curve's table."""
    yield f"{curve.title}:"
    yield ""
    yield f"| {curve.column} | µs per {curve.per} | CPU µs per {curve.per} | peak memory, MB |"
    yield "|---:|---:|---:|---:|"
    for one in points:
        yield f"| {one['at']:,} | {one['us']:.2f} | {one['cpu_us']:.2f} | {one['peak_mb']:.0f} |"
