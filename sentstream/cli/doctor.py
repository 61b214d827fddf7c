"""``sentstream doctor``: check the installation, the machine and the models."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sentstream.cli.options.common import Json
from sentstream.cli.terminal.streams import is_terminal, open_console, print_data, print_json

if TYPE_CHECKING:
    from sentstream.doctor import Finding

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}
_VERDICT, _ABOUT = 7, 18  # columns


EXAMPLES = """[bold]Examples[/bold]

sentstream doctor

sentstream doctor --no-benchmark --json
"""


def doctor(
    benchmark: Annotated[
        bool,
        typer.Option(
            "--benchmark/--no-benchmark",
            help="Measure the model's speed against plain matrix products, for a second.",
        ),
    ] = True,
    json: Json = False,
) -> None:
    """Check the installation and the machine.

    Reports versions, ONNX Runtime packages, which execution providers work and why
    others do not, cores, CPU quota, memory, shipped models and speed. Each line is ok, a
    note (scoring still works) or a problem (something does not).

    The exit code is that of the first problem, or 0.
    """
    from sentstream.doctor import Report, examine

    report = Report()
    for section in examine(speed=benchmark):
        report.sections.append(section)
        if not json:
            for finding in section.findings:
                _print(finding)
    if json:
        print_json(report.to_dict())
    raise typer.Exit(report.exit_code)


def _print(finding: Finding) -> None:
    from sentstream.markup import printable

    text, hint = printable(finding.text), printable(finding.hint or "")
    if not is_terminal(sys.stdout):
        words = f"{text} ({hint})" if hint else text
        print_data(f"{finding.verdict:{_VERDICT}}  {finding.about:{_ABOUT}}  {words}", flush=True)
        return
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 2))
    line.add_column(width=_VERDICT)
    line.add_column(width=_ABOUT)
    line.add_column(overflow="fold")
    line.add_row(
        Text(finding.verdict, style=_STYLES[finding.verdict]), Text(finding.about, style="bold"), Text(text)
    )
    if hint:
        line.add_row("", "", Text(f"→ {hint}", style="cyan"))
    open_console().print(line)
