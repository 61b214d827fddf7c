"""Numbers in a file without types, such as CSV: text is read as numbers where it is compared with one."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import InputFormatError, one_line
from sentstream.text.storage import as_text

#: The first that all values of a batch can be read as, exactly but for the last.
_KINDS: Final = (pa.int64(), pa.decimal128(38, 18), pa.float64())
_SHOWN: Final = 40  # characters of a value that a message shows


def numbers(texts: pa.Array, name: str) -> pa.Array:
    """A column of text as numbers; nulls stay.

    >>> numbers(pa.array(["7", " 1.5", None]), "likes").to_pylist()
    [Decimal('7.000000000000000000'), Decimal('1.500000000000000000'), None]

    Args:
        texts: The column.
        name: The name used in messages.

    Raises:
        InputFormatError: A value is no number; the message has the first one.
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
    """The first text that is no number."""
    for text in texts.drop_null():
        try:
            pa.array([text.as_py()]).cast(pa.float64())
        except pa.ArrowInvalid:
            return str(text.as_py())
    return ""
