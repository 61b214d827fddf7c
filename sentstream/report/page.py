"""A page that stands alone: its style, its building blocks, and how it gets to disk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentstream.errors import OutputExistsError
from sentstream.report.markup import Html, join, tag

#: No script, and nothing fetched from anywhere, whatever the data says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = Path(__file__).with_name("page.css")
_CONTENTS_FROM = 4  # sections that deserve a table of contents


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading.

    Attributes:
        title: The heading.
        content: What is below it.
    """

    title: str
    content: Html


def render_page(title: str, lead: str, *parts: Html | Section, version: str) -> str:
    """A whole HTML document; one of several sections has a table of contents.

    Args:
        title: What it is about.
        lead: One sentence below it.
        parts: What is on it.
        version: The version of sentstream whose figures these are.
    """
    names = list(_anchors([part.title for part in parts if isinstance(part, Section)]))
    left = (anchor for _, anchor in names)
    head = tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", title),
        tag("style", Html(_STYLE.read_text("utf-8"))),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", lead, class_="lead")),
        *([_contents(names)] if len(names) >= _CONTENTS_FROM else []),
        tag("main", *(_section(part, next(left)) if isinstance(part, Section) else part for part in parts)),
        tag("footer", f"Made by sentstream {version}. The page loads nothing and runs no script."),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def section(title: str, *parts: str) -> Section:
    """A part of the page under a heading."""
    return Section(title, join(parts))


def _section(part: Section, anchor: str) -> Html:
    return tag("section", tag("h2", part.title), part.content, id=anchor)


def _anchors(titles: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each title with an anchor that is its own.

    >>> list(_anchors(["Worst errors", "Files", "Files"]))
    [('Worst errors', 'worst-errors-1'), ('Files', 'files-1'), ('Files', 'files-2')]
    """
    seen: Counter[str] = Counter()
    for title in titles:
        name = re.sub(r"\W+", "-", title.lower()).strip("-") or "section"
        seen[name] += 1
        yield title, f"{name}-{seen[name]}"


def _contents(names: Sequence[tuple[str, str]]) -> Html:
    items = (tag("li", tag("a", title, href=f"#{anchor}")) for title, anchor in names)
    return tag("nav", tag("ul", *items), class_="contents", aria_label="Contents")


def scrolling(inner: Html, label: str) -> Html:
    """A table that may be wider than the page: it can be scrolled with a finger, a mouse, or the keyboard.

    Args:
        inner: The table.
        label: What it is called where it cannot be seen.
    """
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=label)


def tiles(facts: Sequence[tuple[str, str, str]]) -> Html:
    """Figures to be seen at once: (name, figure, note)."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value, tag("small", note))) for name, value, note in facts),
        class_="tiles",
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = ()) -> Html:
    """A table.

    Args:
        head: Names of the columns; empty for a table of facts.
        rows: Cells: text, or ``td`` elements as ``share_cell`` makes them.
        texts: Columns beside the first that hold words, not figures.
    """
    kinds = dict.fromkeys(texts, "text")
    body = [
        tag(
            "tr",
            *(
                cell if isinstance(cell, Html) else tag("td", cell, class_=kinds.get(place))
                for place, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    names = [tag("th", name, scope="col", class_=kinds.get(place)) for place, name in enumerate(head)]
    top = [tag("thead", tag("tr", *names))] if head else []
    named = ", ".join(filter(None, head)) or ", ".join(str(row[0]) for row in rows[:3])
    return scrolling(tag("table", *top, tag("tbody", *body)), f"Table: {named}")


def share_cell(share: float, words: str) -> Html:
    """A cell with a bar behind its words; ``share`` is of 1."""
    return tag("td", words, class_="bar", style=f"--share: {min(1.0, max(0.0, share)):.4f}")


def figure(chart: Html, caption: str) -> Html:
    """A chart and what it shows."""
    return tag("figure", chart, tag("figcaption", caption))


def columns(*parts: str) -> Html:
    """Parts side by side, where the page is wide enough."""
    return tag("div", *(tag("div", join([part])) for part in parts), class_="columns")


def file_table(files: Sequence[dict[str, object]]) -> Html:
    """The files that the rows came from."""
    rows = [(str(one["name"]), f"{one['rows']:,}", str(one["sha256"])[:16]) for one in files]
    return table(("file", "rows", "SHA-256"), rows)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse early what ``write_page`` would refuse at the end.

    Raises:
        OutputExistsError: The file is there and ``overwrite`` is not set, or it is a directory.
    """
    if path.is_dir():
        raise OutputExistsError(f"{path} is a directory", hint="name a file")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} already exists", hint="choose another name, or give --overwrite")


def write_page(path: Path, page: str, *, overwrite: bool) -> None:
    """Write a page, whole or not at all; missing parents are made.

    Raises:
        OutputExistsError: The file is there and ``overwrite`` is not set, or it is a directory.
        OutputWriteError: The disk is full, or the place is not writable.
    """
    check_target(path, overwrite=overwrite)
    from sentstream.files.commit import whole_file

    with whole_file(path, overwrite=overwrite) as file:
        file.write(page.encode())
