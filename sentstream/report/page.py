"""Standalone HTML pages: style, building blocks, and writing to disk."""

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

#: No scripts, and nothing loaded from elsewhere, regardless of the data.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = Path(__file__).with_name("page.css")
_CONTENTS_FROM = 4  # minimum number of sections for a table of contents


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Attributes:
        title: The heading.
        content: The content below it.
    """

    title: str
    content: Html


def render_page(title: str, lead: str, *parts: Html | Section, version: str) -> str:
    """Return a complete HTML document, with a table of contents if it has four or more sections.

    Args:
        title: The title.
        lead: One sentence below the title.
        parts: The contents.
        version: The version of sentstream that computed the figures.
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
    """Number regions that have the same name, from the second on, because screen readers list them."""
    seen: Counter[str] = Counter()

    def number(found: re.Match[str]) -> str:
        seen[found[1]] += 1
        return found[0] if seen[found[1]] == 1 else f'{found[0][:-1]} ({seen[found[1]]})"'

    return Html(re.sub(r'role="region" aria-label="([^"]*)"', number, body))


def section(title: str, *parts: str) -> Section:
    """A part of the page with a heading."""
    return Section(title, join(parts))


def _section(part: Section, anchor: str) -> Html:
    return tag("section", tag("h2", part.title), part.content, id=anchor)


def _anchors(titles: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each title with a unique anchor.

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
    """Make a table that may be wider than the page scrollable, by touch, mouse or keyboard.

    Args:
        inner: The table.
        label: Its name for screen readers.
    """
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=label)


def tiles(facts: Sequence[tuple[str, str, str]]) -> Html:
    """Tiles with the main figures: (name, figure, note)."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value, tag("small", note))) for name, value, note in facts),
        class_="tiles",
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = ()) -> Html:
    """A table.

    Args:
        head: Names of the columns; empty for a table of facts.
        rows: Cells: text, or ``td`` elements such as from ``share_cell``.
        texts: Indices of columns, other than the first, that contain text instead of figures.
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
    """A heat map table of counts, shaded by their share of the row; the diagonal is agreement.

    Args:
        rows: Names of the rows.
        heads: Names of the columns.
        counts: The counts, ``[row][column]``.
        name: The table's name for screen readers.
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
    """Collapsed details, such as the figures behind a chart."""
    return tag("details", tag("summary", summary), *parts)


def legend(names: Sequence[tuple[str, int]], *, lines: bool = False) -> Html:
    """The legend of a chart.

    Args:
        names: Names, and the kind of each (see ``label_kinds``).
        lines: Whether the chart has lines, which are also dashed, instead of areas.
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
    """A cell with a bar behind its text.

    Args:
        share: The length of the bar, from 0 to 1.
        words: The text.
        kind: The kind of the label whose color it has (see ``label_kinds``).
    """
    color = "" if kind is None else f" l{kind}"
    return tag("td", words, class_=f"bar{color}", style=f"--share: {min(1.0, max(0.0, share)):.4f}")


def figure(chart: Html, caption: str) -> Html:
    """A chart with a caption."""
    return tag("figure", chart, tag("figcaption", caption))


def columns(*parts: str, slim: bool = False) -> Html:
    """Parts side by side if the page is wide enough: two columns, or three if ``slim``."""
    kind = "columns slim" if slim else "columns"
    return tag("div", *(tag("div", join([part])) for part in parts), class_=kind)


def file_table(files: Sequence[dict[str, object]]) -> Html:
    """A table of the files that the rows come from."""
    rows = [(str(one["name"]), f"{one['rows']:,}", str(one["sha256"])[:16]) for one in files]
    return table(("file", "rows", "SHA-256"), rows)


def check_target(target: Path | str, *, overwrite: bool, options: Mapping[str, str] | None = None) -> None:
    """Check early that ``write_page`` can write a file.

    Args:
        target: A path or a URI.
        overwrite: Whether to replace an existing file.
        options: Settings for object stores.

    Raises:
        OutputExistsError: The file exists and ``overwrite`` is not set, or it is a directory.
        OutputWriteError: The location is not writable.
    """
    storage = open_storage(str(target), options)
    storage.check_writable(str(target), overwrite=overwrite)
    if not overwrite and storage.find(str(target)) is not None:  # needed for object stores
        raise OutputExistsError(f"{target} already exists", hint="choose another name, or give --overwrite")


def write_page(
    target: Path | str, page: str | bytes, *, overwrite: bool, options: Mapping[str, str] | None = None
) -> None:
    """Write a page, or other text or bytes, atomically; missing parent directories are created.

    Args:
        target: A path or a URI.
        page: The contents; text is written as UTF-8.
        overwrite: Whether to replace an existing file.
        options: Settings for object stores.

    Raises:
        OutputExistsError: The file exists and ``overwrite`` is not set, or it is a directory.
        OutputWriteError: The disk is full, or the location is not writable.
    """
    check_target(target, overwrite=overwrite, options=options)
    with open_storage(str(target), options).create(str(target), overwrite=overwrite) as file:
        file.write(page if isinstance(page, bytes) else page.encode())
