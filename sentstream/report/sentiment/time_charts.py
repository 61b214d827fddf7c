"""Charts over time, as inline SVG.

Each chart is drawn twice, for a phone and for a wide page; the style sheet shows the one that fits. A line at
the top describes the bucket under the mouse, without a script.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from sentstream.markup import Html, join, tag
from sentstream.report.axes import (
    BOTTOM,
    LEFT,
    TOP,
    WIDTH,
    axes,
    quiet_svg,
    round_ticks,
    short_count,
    x_at,
    y_at,
)
from sentstream.report.charts import label_kinds
from sentstream.report.sentiment.figures import row_count_text, share_of, signed, signed_interval
from sentstream.report.words import Data, percent

_WIDE = 920
_HEIGHT, _SHORT = 260, 130
#: Vertical position of the line that describes the bucket under the mouse.
_TOLD = 12
_CHARACTER = 6.2  # width in units of an average character at the style sheet's size


def value_over_time(timeline: Data) -> Html:
    """A chart of the mean value of each bucket, with its interval shaded."""
    buckets = timeline["buckets"]
    figures = [bucket["figures"] for bucket in buckets]
    valued = [one for one in figures if one and one["value"] is not None]
    sure = [one for one in valued if not one["few"]] or valued
    ends = [end for one in sure for end in one["value_interval"]]
    ticks = round_ticks(min(0.0, *ends), max(0.0, *ends))
    low, high = ticks[0], ticks[-1]

    def at(value: float) -> float:
        return (min(high, max(low, value)) - low) / (high - low)

    def draw(width: int) -> Html:
        shapes = [
            _frame(
                timeline, width, "mean value", [(signed(tick, _digits(ticks)), at(tick)) for tick in ticks]
            )
        ]
        shapes.append(_rule(width, at(0.0)))
        for run in _runs([one if one and one["value"] is not None else None for one in figures]):
            shapes += _band(width, run, len(buckets), lambda one: [at(end) for end in one["value_interval"]])
            shapes.append(_line(width, run, len(buckets), lambda one: at(one["value"]), "first"))
        for index, one in enumerate(figures):
            if one and one["value"] is not None:
                x, y = _x(width, index, len(buckets)), y_at(_HEIGHT, at(one["value"]))
                kind = "ring" if one["few"] else "dot"
                shapes.append(tag("circle", cx=x, cy=y, r=2.5 if len(buckets) > 40 else 3.5, class_=kind))
        shapes += _columns(timeline, width, _HEIGHT, _value_words)
        return quiet_svg(_HEIGHT, "Mean value over time, with 95 % intervals", shapes, width)

    return _both(draw)


def shares_over_time(timeline: Data, labels: Sequence[str]) -> Html:
    """A chart with a line per label for its share in each bucket, with intervals shaded."""
    buckets = timeline["buckets"]
    figures = [bucket["figures"] for bucket in buckets]
    shares = [share for one in figures if one for share in one["shares"]]
    sure = [share for one in figures if one and not one["few"] for share in one["shares"]]
    tops = [share["share"] for share in shares] + [share["interval"][1] for share in sure]
    ticks = [tick for tick in round_ticks(0.0, max(tops, default=1.0)) if tick <= 1.0]
    high = ticks[-1]

    def middle(share: Data) -> float:
        return float(share["share"] / high)

    def ends(share: Data) -> list[float]:
        return [min(1.0, end / high) for end in share["interval"]]

    def draw(width: int) -> Html:
        shapes = [
            _frame(timeline, width, "share", [(percent(tick, 0), tick / high) for tick in ticks]),
        ]
        for label, kind in zip(labels, label_kinds(labels), strict=True):
            for run in _runs([one and share_of(one, label) for one in figures]):
                shapes += _band(width, run, len(buckets), ends, f"tint l{kind}")
                shapes.append(_line(width, run, len(buckets), middle, f"label l{kind}"))
                if len(run) == 1:
                    index, one = run[0]
                    x, y = _x(width, index, len(buckets)), y_at(_HEIGHT, middle(one))
                    shapes.append(tag("circle", cx=x, cy=y, r=3, class_=f"label l{kind}"))

        def tooltip(one: Data) -> str:
            return ", ".join(f"{share['label']} {percent(share['share'], 1)}" for share in one["shares"])

        shapes += _columns(timeline, width, _HEIGHT, tooltip)
        return quiet_svg(_HEIGHT, "Share of each label over time, with 95 % intervals", shapes, width)

    return _both(draw)


def rows_over_time(timeline: Data) -> Html:
    """A chart of the number of labeled rows in each bucket."""
    buckets = timeline["buckets"]
    figures = [bucket["figures"] for bucket in buckets]
    top = max((one["labeled"] for one in figures if one), default=1) or 1
    ticks = round_ticks(0, top, 3)

    def draw(width: int) -> Html:
        shapes = [
            _frame(
                timeline,
                width,
                "rows",
                [(short_count(round(tick)), tick / ticks[-1]) for tick in ticks if tick == round(tick)],
                _SHORT,
            )
        ]
        step = (x_at(1, width) - LEFT) / len(buckets)
        for index, one in enumerate(figures):
            if one and one["labeled"]:
                y = y_at(_SHORT, one["labeled"] / ticks[-1])
                shapes.append(
                    tag(
                        "rect",
                        x=LEFT + index * step + step * 0.1,
                        y=y,
                        width=max(0.8, step * 0.8),
                        height=y_at(_SHORT, 0) - y,
                        class_="mass",
                    )
                )
        shapes += _columns(timeline, width, _SHORT, lambda one: f"{row_count_text(one)} with a label")
        return quiet_svg(_SHORT, "Rows over time", shapes, width)

    return _both(draw)


def _value_words(one: Data) -> str:
    if one["value"] is None:
        return "no labeled rows"
    return f"{signed(one['value'])} ({signed_interval(one['value_interval'])}), rows: {row_count_text(one)}"


def _both(draw: Callable[[int], Html]) -> Html:
    """A chart in two widths, for a phone and for a wide page; only one of them is visible."""
    return join([tag("div", draw(WIDTH), class_="narrow"), tag("div", draw(_WIDE), class_="wide")])


def _digits(ticks: Sequence[float]) -> int:
    return 1 if all(round(tick, 1) == tick for tick in ticks) else 2


def _x(width: int, index: int, count: int) -> float:
    """The horizontal middle of a bucket."""
    return x_at((index + 0.5) / count, width)


def _frame(
    timeline: Data, width: int, title: str, ticks: Sequence[tuple[str, float]], height: int = _HEIGHT
) -> Html:
    buckets = timeline["buckets"]
    shapes = [axes(height, "", title, ticks, width)]
    before = ""
    for index, first, second in _time_ticks(timeline, width):
        x = _x(width, index, len(buckets))
        shapes.append(tag("text", first, x=x, y=height - BOTTOM + 15, text_anchor="middle"))
        if second and second != before:
            shapes.append(tag("text", second, x=x, y=height - BOTTOM + 30, text_anchor="middle"))
        before = second
    return join(shapes)


def _time_ticks(timeline: Data, width: int) -> Iterator[tuple[int, str, str]]:
    """The tick labels of the time axis: the index of the bucket, and two lines of text."""
    buckets = timeline["buckets"]
    room = (width - LEFT) / 74
    step = max(1, -(-len(buckets) // max(1, int(room))))
    for index in range((len(buckets) - 1) % step // 2, len(buckets), step):
        yield index, *_tick_words(buckets[index]["start"], timeline["bucket"])


def _tick_words(start: str, bucket: str) -> tuple[str, str]:
    """A tick label for a bucket, in two lines.

    >>> _tick_words("2026-03-04T07:00:00+01:00", "hour"), _tick_words("2026-03-02", "week")
    (('07:00', '4 Mar 2026'), ('2 Mar', '2026'))
    """
    time = datetime.fromisoformat(start)
    month = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[time.month - 1]
    if "T" in start:
        clock = f"{time:%H:%M:%S}" if "second" in bucket else f"{time:%H:%M}"
        return clock, f"{time.day} {month} {time.year:04}"
    if bucket == "year":
        return f"{time.year:04}", ""
    if bucket == "quarter":
        return f"Q{(time.month + 2) // 3}", f"{time.year:04}"
    return (month if bucket == "month" else f"{time.day} {month}"), f"{time.year:04}"


def _rule(width: int, position: float) -> Html:
    y = y_at(_HEIGHT, position)
    return tag("line", x1=LEFT, y1=y, x2=x_at(1, width), y2=y, class_="ideal")


def _runs(figures: Sequence[Data | None]) -> Iterator[list[tuple[int, Data]]]:
    """Yield runs of figures without gaps, with their indices."""
    run: list[tuple[int, Data]] = []
    for index, one in enumerate(figures):
        if one is None:
            if run:
                yield run
            run = []
        else:
            run.append((index, one))
    if run:
        yield run


def _line(
    width: int, run: Sequence[tuple[int, Data]], count: int, value_of: Callable[[Data], float], kind: str
) -> Html:
    points = " ".join(
        f"{_x(width, index, count):.1f},{y_at(_HEIGHT, value_of(one)):.1f}" for index, one in run
    )
    return tag("polyline", points=points, class_=kind)


def _band(
    width: int,
    run: Sequence[tuple[int, Data]],
    count: int,
    ends: Callable[[Data], Sequence[float]],
    kind: str = "band",
) -> list[Html]:
    """The intervals of a run of buckets as a band; for a single bucket, a short one around it."""
    low = [(_x(width, index, count), y_at(_HEIGHT, ends(one)[0])) for index, one in run]
    high = [(_x(width, index, count), y_at(_HEIGHT, ends(one)[1])) for index, one in run]
    if len(run) == 1:
        half = min(4.0, (width - LEFT) / count / 3)
        low, high = ([(x - half, y), (x + half, y)] for ((x, y),) in (low, high))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*high, *reversed(low)])
    return [tag("polygon", points=points, class_=kind)]


def _columns(timeline: Data, width: int, height: int, tooltip: Callable[[Data], str]) -> list[Html]:
    """The description of each bucket, shown while the mouse is in its column."""
    buckets = timeline["buckets"]
    step = (x_at(1, width) - LEFT) / len(buckets)
    limit = int((width - LEFT) / _CHARACTER)
    shapes = []
    for index, bucket in enumerate(buckets):
        figures = bucket["figures"]
        words = f"{bucket['label']}: {'no rows' if figures is None else tooltip(figures)}"
        short = words if len(words) <= limit else f"{words[: limit - 1]}…"
        shapes.append(
            tag(
                "g",
                tag("rect", x=LEFT + index * step, y=TOP, width=step, height=height - BOTTOM - TOP),
                tag("text", short, x=x_at(1, width), y=_TOLD, text_anchor="end"),
                class_="told",
            )
        )
    return shapes
