"""HTML and SVG generation with function calls; text is escaped unless it is already markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

#: Control characters, surrogates, and characters that change the text direction.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Html(str):
    """A string of markup; any other ``str`` is text."""

    __slots__ = ()


def printable(text: str) -> str:
    """Return text that is safe for a page or a terminal: characters that could mislead become U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def tag(name: str, *children: str, **attributes: str | float | None) -> Html:
    """Return an element.

    Args:
        name: Name of the element.
        children: Its contents; a ``str`` that is not ``Html`` is escaped.
        attributes: ``class_`` is ``class`` and ``stroke_width`` is ``stroke-width``; None omits it.

    >>> tag("p", "a < b", tag("b", "!"), class_="note")
    '<p class="note">a &lt; b<b>!</b></p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Html:
    """Concatenate pieces of markup and text; text is escaped."""
    return Html(
        "".join(
            child if isinstance(child, Html) else html.escape(printable(child), quote=False)
            for child in children
        )
    )


def _attribute(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return html.escape(printable(str(value)))
