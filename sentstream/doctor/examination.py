"""The whole examination, section by section."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from sentstream.doctor.benchmark import benchmark
from sentstream.doctor.findings import Finding, Section, Verdict, problem
from sentstream.doctor.machine import memory, processor
from sentstream.doctor.models import models
from sentstream.doctor.packages import packages, runtime
from sentstream.doctor.providers import providers


@dataclass
class Report:
    """The results so far.

    Attributes:
        sections: The sections in the order of the examination.
    """

    sections: list[Section] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """The findings of all sections."""
        return [finding for section in self.sections for finding in section.findings]

    @property
    def exit_code(self) -> int:
        """The exit code of the first problem; 0 if there is none."""
        return next((finding.exit_code for finding in self.findings if finding.exit_code), 0)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        verdicts = {finding.verdict for finding in self.findings}
        return "problem" if "problem" in verdicts else "note" if "note" in verdicts else "ok"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-serializable data."""
        return {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "findings": [asdict(finding) for finding in self.findings],
            **{section.name: section.facts for section in self.sections},
        }


def examine(*, speed: bool = True) -> Iterator[Section]:
    """Examine this installation and machine; yield each section as soon as it is complete.

    Args:
        speed: Whether to run the benchmark, which takes about a second.
    """
    steps: list[tuple[str, Callable[[], Section]]] = [
        ("packages", packages),
        ("onnxruntime", runtime),
        ("providers", providers),
        ("processor", processor),
        ("memory", memory),
        ("models", models),
    ]
    if speed:
        steps.append(("benchmark", benchmark))
    for name, step in steps:
        try:
            yield step()
        except Exception as error:  # whatever is broken, continue with the rest
            yield Section(name, None, [problem(name, error)])
