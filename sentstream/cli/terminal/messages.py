"""Words for people."""

from __future__ import annotations

from sentstream.cli.terminal.streams import print_message


def warn(line: str) -> None:
    """One line on standard error that is not an error."""
    print_message(f"sentstream: {' '.join(line.split())}")


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def harmless_line(text: str) -> str:
    """Text that can stand in a line: no line ends, and nothing that moves cursors or hides text."""
    from sentstream.report.markup import printable

    return printable(" ".join(text.split()))
