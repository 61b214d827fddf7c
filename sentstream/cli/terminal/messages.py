"""Words for people."""

from __future__ import annotations

from sentstream.cli.terminal.streams import print_message
from sentstream.errors import counted


def warn(line: str) -> None:
    """One line on standard error that is not an error, but may be one to somebody."""
    print_message(f"sentstream: {' '.join(line.split())}", level="warning")


def inform(line: str) -> None:
    """One line on standard error that is as it should be."""
    print_message(f"sentstream: {' '.join(line.split())}")


def counted_rows(rows: int | None) -> str:
    """A number of rows; None where only reading to the end tells it.

    >>> counted_rows(1), counted_rows(None)
    ('1 row', 'rows not counted')
    """
    return "rows not counted" if rows is None else counted(rows, "row")


def harmless_line(text: str) -> str:
    """Text that can stand in a line: no line ends, and nothing that moves cursors or hides text."""
    from sentstream.markup import printable

    return printable(" ".join(text.split()))
