"""Translate LIKE patterns into RE2 regular expressions (https://github.com/google/re2/wiki/Syntax)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import UsageError, first_line, one_line


def regular_expression(pattern: str, escape: str = "", *, ignore_case: bool = False) -> str:
    """Return an expression that matches whole texts: ``%`` is any sequence of characters, ``_`` is one.

    >>> regular_expression("50!%%", "!")
    '(?s)^50\\\\x{25}.*$'

    Args:
        pattern: The pattern.
        escape: The escape character; "" for none.
        ignore_case: Whether it will be matched against lower-cased texts.

    Raises:
        UsageError: The pattern ends with the escape character, or is too large.
    """
    parts: list[str] = []
    characters = iter(pattern)
    for one in characters:
        if one == escape:
            following = next(characters, None)
            if following is None:
                raise UsageError(
                    f"--where: LIKE {one_line(pattern)!r} ends with its escape character",
                    hint="write it twice",
                )
            parts.append(_literal(following, ignore_case))
        elif one == "%":
            if not parts or parts[-1] != ".*":
                parts.append(".*")
        else:
            parts.append("." if one == "_" else _literal(one, ignore_case))
    expression = f"(?s)^{''.join(parts)}$"
    try:
        pc.match_substring_regex(pa.array([""]), expression)
    except pa.ArrowInvalid as error:
        raise UsageError(f"--where: LIKE {one_line(pattern, 80)!r}: {first_line(error)}") from error
    return expression


def _literal(character: str, ignore_case: bool) -> str:
    if ignore_case:
        character = pc.utf8_lower(pa.scalar(character)).as_py()
    return character if character.isalnum() and character.isascii() else f"\\x{{{ord(character):x}}}"
