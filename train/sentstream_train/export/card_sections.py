"""The sections of a model card: those that are generated, and what people wrote to go with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentstream.errors import InputError, InputNotFoundError

_HEADING = re.compile(r"## +(.*\S)\s*")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_NONE = "start a section with a line such as: ## Data and licenses"


@dataclass(frozen=True)
class Section:
    """A section of a card.

    Attributes:
        title: Its heading, without the ``##``.
        lines: What stands below, without blank lines at the ends.
    """

    title: str
    lines: tuple[str, ...]


def read_notes(path: Path) -> tuple[Section, ...]:
    """The sections of a Markdown file. What stands before the first ``## `` is for the file's own readers.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is not UTF-8, cannot be read, or has no section.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise InputNotFoundError(f"the notes {path} do not exist", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the notes {path} are not UTF-8: {error}", hint="save them as UTF-8") from error
    except OSError as error:
        raise InputError(f"the notes {path} cannot be read: {error.strerror or error}") from error
    sections = split_sections(text)
    if not sections:
        raise InputError(f"the notes {path} have no section", hint=_NONE)
    return sections


def split_sections(text: str) -> tuple[Section, ...]:
    """The sections of a text, cut at its ``## `` headings; one inside a fenced block is none."""
    found: list[tuple[str, list[str]]] = []
    fence = ""
    for line in text.splitlines():
        heading = None if fence else _HEADING.fullmatch(line)
        if heading:
            found.append((heading[1], []))
            continue
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence):
                fence = ""
        if found:
            found[-1][1].append(line.rstrip())
    return tuple(Section(title, _trimmed(lines)) for title, lines in found)


def _trimmed(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple("\n".join(lines).strip("\n").split("\n")) if any(lines) else ()


def weave(generated: Sequence[Section], notes: Sequence[Section]) -> list[Section]:
    """Put notes where they belong.

    One with the title of a section that is there goes to its end. Any other becomes a section behind the
    note that it follows, or, if it follows none, before the last generated one.
    """
    together = list(generated)
    before: int | None = None
    for note in notes:
        same = (place for place, one in enumerate(together) if one.title.casefold() == note.title.casefold())
        place = next(same, None)
        if place is not None:
            together[place] = Section(together[place].title, _joined(together[place].lines, note.lines))
        else:
            place = len(together) - 1 if before is None else before + 1
            together.insert(place, note)
        before = place
    return together


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """One below the other; two lists become one."""
    if not first or not second:
        return first or second
    one_list = first[-1].startswith("- ") and second[0].startswith("- ")
    return (*first, *second) if one_list else (*first, "", *second)
