"""Lists of column names, as for ``--columns``."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable

from sentstream.errors import UsageError


def names_from(variable: str, *default: str) -> Callable[[], list[str]]:
    """The default factory of a repeatable option that takes column names.

    The environment variable separates names by commas; typer would split it at spaces, which a column's
    name may contain.
    """

    def names() -> list[str]:
        text = os.environ.get(variable)
        return next(csv.reader([text], skipinitialspace=True), []) if text else list(default)

    return names


def parse_columns(text: str | None, option: str = "--columns") -> list[str] | None:
    """Parse names such as ``id,text``; a name with a comma is in double quotes.

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
            f"{option} takes names separated by commas, not {text!r}", hint=f"e.g. {option} id,text"
        )
    return names
