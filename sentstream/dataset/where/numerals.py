"""Parse text as numbers, for comparisons in untyped files such as CSV."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import InputFormatError, one_line
from sentstream.text.storage import as_text

#: The first type that all values of a batch can be parsed as is used; all but the last are exact.
_KINDS: Final = (pa.int64(), pa.decimal128(38, 18), pa.float64())
_SHOWN: Final = 40  # characters of a value shown in messages


def numbers(texts: pa.Array, name: str) -> pa.Array:
    """Parse a text column as numbers; nulls stay null.

    >>> numbers(pa.array(["7", " 1.5", None]), "likes").to_pylist()
    [Decimal('7.000000000000000000'), Decimal('1.500000000000000000'), None]

    Args:
        texts: The column.
        name: The name used in messages.

    Raises:
        InputFormatError: A value is not a number; the message shows the first one.
    """
    trimmed = pc.utf8_trim_whitespace(as_text(texts))
    for kind in _KINDS:
        try:
            return trimmed.cast(kind)
        except pa.ArrowInvalid:
            continue
    raise InputFormatError(
        f"column {name!r} holds {one_line(_first_other(trimmed), _SHOWN)!r}, which is not a number",
        hint="quote the number in --where to compare as text, or convert the file",
    )


def _first_other(texts: pa.Array) -> str:
    """Return the first text that is not a number."""
    for text in texts.drop_null():
        try:
            pa.array([text.as_py()]).cast(pa.float64())
        except pa.ArrowInvalid:
            return str(text.as_py())
    return ""
