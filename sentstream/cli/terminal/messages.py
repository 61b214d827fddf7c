"""Messages for people."""

from __future__ import annotations

from sentstream.cli.terminal.streams import print_message
from sentstream.errors import counted


def warn(line: str) -> None:
    """Print a warning or note on standard error, on one line."""
    print_message(f"sentstream: {' '.join(line.split())}", level="warning")


def inform(line: str) -> None:
    """Print information on standard error, on one line."""
    print_message(f"sentstream: {' '.join(line.split())}")


def counted_rows(rows: int | None) -> str:
    """A number of rows in words; None if it is known only at the end.

    >>> counted_rows(1), counted_rows(None)
    ('1 row', 'rows not counted')
    """
    return "rows not counted" if rows is None else counted(rows, "row")


def harmless_line(text: str) -> str:
    """Text safe for one line: no line breaks, and no characters that move the cursor or hide text."""
    from sentstream.markup import printable

    return printable(" ".join(text.split()))
