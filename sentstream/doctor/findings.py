"""What an examination gives: findings for people, facts for scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sentstream.errors import SentstreamError, one_line

#: ``problem``: something that ought to score does not. ``note``: it scores, and this is worth knowing.
Verdict: TypeAlias = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        about: What it is about, in a word or two.
        verdict: How it is.
        text: What was found, one line.
        hint: What to do about it.
        exit_code: Of the command, where this is a problem; else 0.
    """

    about: str
    verdict: Verdict
    text: str
    hint: str | None = None
    exit_code: int = 0


@dataclass(frozen=True)
class Section:
    """Everything about one thing.

    Attributes:
        name: Its key in the JSON report.
        facts: JSON-ready; None where nothing could be learned.
        findings: What people read.
    """

    name: str
    facts: Any
    findings: list[Finding] = field(default_factory=list)


def problem(about: str, error: Exception) -> Finding:
    """What an error means for the report. One that nobody raised on purpose is one, too."""
    if isinstance(error, SentstreamError):
        return Finding(about, "problem", error.message, error.hint, error.exit_code)
    words = one_line(f"{type(error).__name__}: {error}")
    return Finding(about, "problem", words, "run again with --debug", SentstreamError.exit_code)
