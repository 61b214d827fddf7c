"""Names of columns, as ``--columns`` takes them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable

from sentstream.errors import UsageError


def names_from(variable: str, *default: str) -> Callable[[], list[str]]:
    """What gives the names of an option that may be given several times, where it is not given at all.

    In the environment variable they are separated by commas; typer would take it apart at spaces, which a
    column's name may have.
    """

    def names() -> list[str]:
        text = os.environ.get(variable)
        return next(csv.reader([text], skipinitialspace=True), []) if text else list(default)

    return names


def parse_columns(text: str | None, option: str = "--columns") -> list[str] | None:
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
            f"{option} takes names separated by commas, not {text!r}", hint=f"e.g. {option} id,text"
        )
    return names
