"""Words for people."""

from __future__ import annotations

import sys


def warn(line: str) -> None:
    """One line on standard error that is not an error."""
    print(f"sentstream: {' '.join(line.split())}", file=sys.stderr, flush=True)


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
