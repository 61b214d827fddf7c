"""The shared parts of all charts: axes and inline SVG, 360 units wide, which is the width of a phone.

Colors come from the page's style sheet, so charts adapt to dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sentstream.markup import Html, join, tag

WIDTH = 360
LEFT, RIGHT, TOP, BOTTOM = 56.0, 22.0, 10.0, 40.0


def x_at(share: float, width: float = WIDTH) -> float:
    return LEFT + share * (width - LEFT - RIGHT)


def y_at(height: int, share: float) -> float:
    return height - BOTTOM - share * (height - BOTTOM - TOP)


def svg(height: int, title: str, shapes: Sequence[Html]) -> Html:
    return tag("svg", tag("title", title), join(shapes), viewBox=f"0 0 {WIDTH} {height}", role="img")


def quiet_svg(height: int, label: str, shapes: Sequence[Html], width: float = WIDTH) -> Html:
    """``svg`` without a title tooltip, for charts whose parts have tooltips with values."""
    return tag("svg", join(shapes), viewBox=f"0 0 {width:g} {height}", role="img", aria_label=label)


def axes(
    height: int, x_title: str, y_title: str, ticks: Sequence[tuple[str, float]], width: float = WIDTH
) -> Html:
    middle = (TOP + height - BOTTOM) / 2
    return join(
        [
            *(
                join(
                    [
                        tag(
                            "line",
                            x1=LEFT,
                            y1=y_at(height, position),
                            x2=x_at(1, width),
                            y2=y_at(height, position),
                            class_="grid",
                        ),
                        tag("text", words, x=LEFT - 5, y=y_at(height, position) + 4, text_anchor="end"),
                    ]
                )
                for words, position in ticks
            ),
            *(
                [tag("text", x_title, x=x_at(0.5, width), y=height - 4, text_anchor="middle")]
                if x_title
                else []
            ),
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


def tick_x(height: int, words: str, position: float, width: float = WIDTH) -> Html:
    return tag("text", words, x=x_at(position, width), y=height - BOTTOM + 15, text_anchor="middle")


def round_ticks(low: float, high: float, limit: int = 5) -> list[float]:
    """Evenly spaced round numbers from at most ``low`` to at least ``high``.

    >>> round_ticks(-0.13, 0.21), round_ticks(0, 37)
    ([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3], [0.0, 10.0, 20.0, 30.0, 40.0])
    """
    span = max(high - low, 1e-9)
    ten = 10.0 ** math.floor(math.log10(span / limit))
    step = next(ten * one for one in (1, 2, 5, 10) if span <= limit * ten * one)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def short_count(value: int) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 1000 else str(value)
