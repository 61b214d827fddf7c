"""The sections of a model card: split hand-written notes, and merge them with generated sections."""

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
        title: The heading, without the ``##``.
        lines: The lines below it, without blank lines at the ends.
    """

    title: str
    lines: tuple[str, ...]


def read_notes(path: Path) -> tuple[Section, ...]:
    """Read the sections of a Markdown file; text before the first ``## `` heading is ignored.

    Raises:
        InputNotFoundError: The file does not exist.
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
    """The sections of a text, split at its ``## `` headings, except those in fenced code blocks."""
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
    """Merge notes into the generated sections.

    A note with the title of an existing section is appended to it. Any other note becomes a section after
    the previous note or, if it is the first, before the last generated section.
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
    """Both texts, separated by a blank line, or not if a list continues."""
    if not first or not second:
        return first or second
    one_list = first[-1].startswith("- ") and second[0].startswith("- ")
    return (*first, *second) if one_list else (*first, "", *second)
