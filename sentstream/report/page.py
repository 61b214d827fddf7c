"""A page that stands alone: its style, its building blocks, and how it gets to disk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentstream.errors import OutputExistsError
from sentstream.markup import Html, join, tag
from sentstream.report.words import percent
from sentstream.storage.open import open_storage

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
    return f"<!DOCTYPE html>\n{tag('html', head, _told_apart(body), lang='en')}\n"


def _told_apart(body: Html) -> Html:
    """The same, but of regions with one name the second has a number, and so on: screen readers list them."""
    seen: Counter[str] = Counter()

    def number(found: re.Match[str]) -> str:
        seen[found[1]] += 1
        return found[0] if seen[found[1]] == 1 else f'{found[0][:-1]} ({seen[found[1]]})"'

    return Html(re.sub(r'role="region" aria-label="([^"]*)"', number, body))


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
    names = [
        tag("th", name, scope="col", class_=kinds.get(place)) if name else tag("td")
        for place, name in enumerate(head)
    ]
    top = [tag("thead", tag("tr", *names))] if head else []
    named = ", ".join(filter(None, head)) or ", ".join(str(row[0]) for row in rows[:3])
    return scrolling(tag("table", *top, tag("tbody", *body)), f"Table: {named}")


def heat_table(rows: Sequence[str], heads: Sequence[str], counts: Sequence[Sequence[int]], name: str) -> Html:
    """Counts of ``[row][column]``, the darker the larger their share of the row; the diagonal is what agrees.

    Args:
        rows: Names of the rows.
        heads: Names of the columns.
        counts: The counts.
        name: What the table is called where it cannot be seen.
    """
    body = []
    for place, (row, numbers) in enumerate(zip(rows, counts, strict=True)):
        total = sum(numbers)
        cells = [
            tag(
                "td",
                f"{number:,}",
                tag("small", percent(number / total if total else None, 1)),
                class_="hit" if column == place else None,
                style=f"--share: {number / total if total else 0:.4f}",
            )
            for column, number in enumerate(numbers)
        ]
        body.append(tag("tr", tag("th", row, scope="row"), *cells))
    top = tag("tr", tag("td"), *(tag("th", head, scope="col") for head in heads))
    made = tag("table", tag("thead", top), tag("tbody", *body), class_="heat")
    return scrolling(made, f"Table: {name}")


def folded(summary: str, *parts: str) -> Html:
    """What is behind a chart, opened by a click or a key."""
    return tag("details", tag("summary", summary), *parts)


def legend(names: Sequence[tuple[str, int]], *, lines: bool = False) -> Html:
    """What the colors of a chart are.

    Args:
        names: Names, and the kind of each, ``label_kinds``.
        lines: Whether they are lines, which have dashes, too, and not areas.
    """
    items = []
    for name, kind in names:
        if lines:
            mark = tag("line", x1=0, y1=7, x2=28, y2=7, class_=f"label l{kind}")
        else:
            mark = tag("rect", width=14, height=14, rx=3, class_=f"fill l{kind}")
        swatch = tag("svg", mark, viewBox=f"0 0 {28 if lines else 14} 14", aria_hidden="true")
        items.append(tag("li", swatch, name, class_="line" if lines else None))
    return tag("ul", *items, class_="legend")


def share_cell(share: float, words: str, kind: int | None = None) -> Html:
    """A cell with a bar behind its words; ``share`` is of 1, ``kind`` the label's whose color it has."""
    color = "" if kind is None else f" l{kind}"
    return tag("td", words, class_=f"bar{color}", style=f"--share: {min(1.0, max(0.0, share)):.4f}")


def figure(chart: Html, caption: str) -> Html:
    """A chart and what it shows."""
    return tag("figure", chart, tag("figcaption", caption))


def columns(*parts: str, slim: bool = False) -> Html:
    """Parts side by side, where the page is wide enough: for two, of slim ones for three."""
    kind = "columns slim" if slim else "columns"
    return tag("div", *(tag("div", join([part])) for part in parts), class_=kind)


def file_table(files: Sequence[dict[str, object]]) -> Html:
    """The files that the rows came from."""
    rows = [(str(one["name"]), f"{one['rows']:,}", str(one["sha256"])[:16]) for one in files]
    return table(("file", "rows", "SHA-256"), rows)


def check_target(target: Path | str, *, overwrite: bool, options: Mapping[str, str] | None = None) -> None:
    """Refuse early what ``write_page`` would refuse at the end.

    Args:
        target: A path or a URI.
        overwrite: Whether a file that is there is replaced.
        options: Settings of object stores.

    Raises:
        OutputExistsError: The file is there and ``overwrite`` is not set, or it is a directory.
        OutputWriteError: The place is not writable.
    """
    storage = open_storage(str(target), options)
    storage.check_writable(str(target), overwrite=overwrite)
    if not overwrite and storage.find(str(target)) is not None:  # of an object, only that tells
        raise OutputExistsError(f"{target} already exists", hint="choose another name, or give --overwrite")


def write_page(
    target: Path | str, page: str | bytes, *, overwrite: bool, options: Mapping[str, str] | None = None
) -> None:
    """Write a page, another text or a picture, whole or not at all; missing parents are made.

    Args:
        target: A path or a URI.
        page: What is written; text as UTF-8.
        overwrite: Whether a file that is there is replaced.
        options: Settings of object stores.

    Raises:
        OutputExistsError: The file is there and ``overwrite`` is not set, or it is a directory.
        OutputWriteError: The disk is full, or the place is not writable.
    """
    check_target(target, overwrite=overwrite, options=options)
    with open_storage(str(target), options).create(str(target), overwrite=overwrite) as file:
        file.write(page if isinstance(page, bytes) else page.encode())
