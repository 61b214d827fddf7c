"""Names of columns, as ``--columns`` takes them."""

from __future__ import annotations

import csv

from sentstream.errors import UsageError


def parse_columns(text: str | None) -> list[str] | None:
    """``id,text`` as names; one that holds a comma stands in double quotes.

    >>> parse_columns('id,"a, b"')
    ['id', 'a, b']

    Raises:
        UsageError: An empty name, or none.
    """
    if text is None:
        return None
    names = next(csv.reader([text], skipinitialspace=True), [])
    if not all(names) or not names:
        raise UsageError(
            f"--columns takes names separated by commas, not {text!r}", hint="e.g. --columns id,text"
        )
    return names
