"""What all charts share: inline SVG, 360 units wide, which is a phone's width.

Colors come from the page's style sheet, so that a dark page has dark charts.
"""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.report.markup import Html, join, tag

WIDTH = 360
LEFT, RIGHT, TOP, BOTTOM = 56.0, 22.0, 10.0, 40.0


def x_at(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_at(height: int, share: float) -> float:
    return height - BOTTOM - share * (height - BOTTOM - TOP)


def svg(height: int, title: str, shapes: Sequence[Html]) -> Html:
    return tag("svg", tag("title", title), join(shapes), viewBox=f"0 0 {WIDTH} {height}", role="img")


def axes(height: int, x_title: str, y_title: str, ticks: Sequence[tuple[str, float]]) -> Html:
    middle = (TOP + height - BOTTOM) / 2
    return join(
        [
            *(
                join(
                    [
                        tag(
                            "line",
                            x1=LEFT,
                            y1=y_at(height, at),
                            x2=x_at(1),
                            y2=y_at(height, at),
                            class_="grid",
                        ),
                        tag("text", words, x=LEFT - 5, y=y_at(height, at) + 4, text_anchor="end"),
                    ]
                )
                for words, at in ticks
            ),
            tag("text", x_title, x=x_at(0.5), y=height - 4, text_anchor="middle"),
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


def tick_x(height: int, words: str, at: float) -> Html:
    return tag("text", words, x=x_at(at), y=height - BOTTOM + 15, text_anchor="middle")


def short_count(value: int) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 1000 else str(value)
