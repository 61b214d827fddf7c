"""The results of an examination: findings for people, facts for scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sentstream.errors import SentstreamError, one_line

#: ``problem``: something that should work does not. ``note``: it works, but this is worth knowing.
Verdict: TypeAlias = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        about: The subject, in a word or two.
        verdict: The verdict.
        text: The finding, as one line.
        hint: What to do about it.
        exit_code: The command's exit code if this is a problem; otherwise 0.
    """

    about: str
    verdict: Verdict
    text: str
    hint: str | None = None
    exit_code: int = 0


@dataclass(frozen=True)
class Section:
    """The results about one subject.

    Attributes:
        name: Its key in the JSON report.
        facts: JSON-serializable data; None if nothing could be found out.
        findings: The lines for people.
    """

    name: str
    facts: Any
    findings: list[Finding] = field(default_factory=list)


def problem(subject: str, error: Exception) -> Finding:
    """The finding for an error, including unexpected errors."""
    if isinstance(error, SentstreamError):
        return Finding(subject, "problem", error.message, error.hint, error.exit_code)
    words = one_line(f"{type(error).__name__}: {error}")
    return Finding(subject, "problem", words, "run again with --debug", SentstreamError.exit_code)
