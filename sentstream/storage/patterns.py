"""Globs over object names, with the syntax of the shell and of Python's ``glob``."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable, Sequence

_ANYWHERE = "**"


def split_magic(uri: str) -> tuple[str, str]:
    """Split a URI into the directory above the first part with a wildcard, and the pattern below it.

    >>> split_magic("s3://bucket/tweets/day=*/*.parquet")
    ('s3://bucket/tweets', 'day=*/*.parquet')
    >>> split_magic("s3://bucket/tweets")
    ('s3://bucket/tweets', '')
    """
    parts = uri.split("/")
    first = next(
        (index for index, part in enumerate(parts) if index > 2 and glob.has_magic(part)), len(parts)
    )
    return "/".join(parts[:first]), "/".join(parts[first:])


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that matches relative names: ``*`` within a part, ``**`` for any number of parts.

    As in a shell, a part that begins with a dot is only matched by a pattern that does, too.

    >>> matches = matcher("day=*/**/[ab].parquet")
    >>> matches("day=1/a.parquet"), matches("day=1/deep/er/b.parquet"), matches("day=1/.c/a.parquet")
    (True, True, False)
    """
    parts = [
        None if part == _ANYWHERE else (part.startswith("."), re.compile(fnmatch.translate(part)))
        for part in pattern.split("/")
        if part
    ]
    return lambda name: _match(parts, name.split("/"))


def _match(parts: Sequence[tuple[bool, re.Pattern[str]] | None], names: Sequence[str]) -> bool:
    if not parts:
        return not names
    if parts[0] is None:
        visible = next((index for index, name in enumerate(names) if name.startswith(".")), len(names))
        return any(_match(parts[1:], names[index:]) for index in range(visible + 1))
    if not names:
        return False
    hidden, expression = parts[0]
    fits = (hidden or not names[0].startswith(".")) and expression.match(names[0])
    return bool(fits) and _match(parts[1:], names[1:])
