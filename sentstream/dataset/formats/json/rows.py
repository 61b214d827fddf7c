"""Write rows of a record batch as JSON objects, column by column: no Python objects until rows are bytes.

integers             exact, all 64 bits                   9007199254740993
floats               the shortest that round-trips        0.1; NaN and infinity: null
text                 UTF-8, with minimal escapes          "größe \\"L\\""; an invalid byte: U+FFFD
decimals             text, since readers parse numbers as floats  "1.50"
dates and times      ISO 8601; with a time zone, in UTC   "2026-11-25T10:00:00.000000Z"
durations            an integer in the column's unit
binary               base64
lists, structs       arrays, objects; maps are objects with text keys
null                 null
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import ColumnTypeError
from sentstream.text import is_text
from sentstream.text.clean import buffers_of
from sentstream.text.storage import as_text, plain_values, value_type

_TEXT: Final = pa.large_string()
_NOTHING, _COMMA, _NULL, _OPEN, _CLOSE, _BEGIN, _END = (
    pa.scalar(text, _TEXT) for text in ("", ",", "null", "[", "]", "{", "}")
)
_QUOTE: Final = pa.scalar('"', _TEXT)
#: All characters that JSON needs escaped; the backslash first, since the other escapes contain it.
_ESCAPES: Final = (
    {"\\": "\\\\", '"': '\\"'}
    | {chr(code): f"\\u{code:04x}" for code in range(32)}
    | {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
)


def json_objects(batch: pa.RecordBatch) -> list[bytes]:
    """Return each row as a JSON object, with the columns in order.

    Raises:
        ColumnTypeError: A column's type cannot be written as JSON.
    """
    if not batch.num_columns:
        return [b"{}"] * len(batch)
    objects: list[bytes] = _object(batch.schema.names, batch.columns).cast(pa.large_binary()).to_pylist()
    return objects


def json_fields(batch: pa.RecordBatch) -> pa.Array:
    """Return each row as the inside of a JSON object, ``"a":…,"b":…``: ``large_string``, without nulls.

    Raises:
        ColumnTypeError: A column's type cannot be written as JSON.
    """
    if not batch.num_columns:
        return pa.array([""] * len(batch), _TEXT)
    return _object(batch.schema.names, batch.columns, _NOTHING, _NOTHING)


def json_values(column: pa.Array) -> pa.Array:
    """Return a column as JSON: ``large_string``, without nulls.

    Raises:
        ColumnTypeError: The column's type cannot be written as JSON.
    """
    return _json(column)


def as_binary(column: pa.Array) -> pa.Array:
    """Return a text or binary column as ``large_binary``, byte for byte; nulls stay null."""
    column = plain_values(column)
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.binary_view(), safe=False)
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    return column.cast(pa.large_binary(), safe=False)


def is_binary(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds bytes."""
    kind = value_type(kind)
    known = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(is_of(kind) for is_of in known)


def _json(column: pa.Array) -> pa.Array:
    """Return a column as JSON: ``large_string``, without nulls."""
    kind = column.type
    if kind != value_type(kind):
        return _json(plain_values(column))
    if pa.types.is_null(kind):
        written = column.cast(_TEXT)
    elif is_text(kind):
        written = _quoted(_escaped(as_text(column)))
    elif is_binary(kind):
        raw = as_binary(column).to_pylist()
        coded = [None if value is None else base64.b64encode(value).decode() for value in raw]
        written = _quoted(pa.array(coded, _TEXT))
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        written = column.cast(_TEXT)
    elif pa.types.is_floating(kind):
        if pa.types.is_float16(kind):
            column = column.cast(pa.float32())
        written = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type)).cast(_TEXT)
    elif pa.types.is_decimal(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        written = _quoted(column.cast(_TEXT))
    elif pa.types.is_timestamp(kind):
        written = _moments(column)
    elif pa.types.is_duration(kind):
        written = column.cast(pa.int64()).cast(_TEXT)
    elif pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        objects = _object(names, column.flatten()) if names else pa.array(["{}"] * len(column), _TEXT)
        return _where(column, objects)
    elif pa.types.is_map(kind):
        return _map(column)
    elif _is_list(kind):
        return _where(column, _list(column, _json(pc.list_flatten(column)), _OPEN, _CLOSE))
    else:
        raise ColumnTypeError(
            f"a column of type {kind} cannot be written as JSON", hint="leave it out with --columns"
        )
    return written.fill_null(_NULL)


def _is_list(kind: pa.DataType) -> bool:
    known = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(is_of(kind) for is_of in known)


def _object(
    names: Sequence[str], columns: Sequence[pa.Array], opening: pa.Scalar = _BEGIN, closing: pa.Scalar = _END
) -> pa.Array:
    """Return columns of equal length as objects, ``{"a":…,"b":…}``."""
    parts = []
    for name, column in zip(names, columns, strict=True):
        key = _escaped(pa.array([name], _TEXT))[0].as_py()
        parts += [pa.scalar(f'{opening}"{key}":', _TEXT), _json(column)]
        opening = _COMMA
    return pc.binary_join_element_wise(*parts, closing, _NOTHING)


def _list(lists: pa.Array, values: pa.Array, before: pa.Scalar, after: pa.Scalar) -> pa.Array:
    """Join the JSON of list values into one text per list; the caller handles null lists."""
    lengths = pc.list_value_length(lists)
    if pa.types.is_fixed_size_list(lists.type):  # a null has a length, but list_flatten skips it
        lengths = pc.if_else(lists.is_valid(), lengths, pa.scalar(0, lengths.type))
    ends = pc.cumulative_sum(lengths.fill_null(0).cast(pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, values), _COMMA)
    return pc.binary_join_element_wise(before, joined, after, _NOTHING)


def _map(column: pa.Array) -> pa.Array:
    """Return maps as objects, ``{"key":…}``; a key that is not text is written as its JSON in quotes."""
    kind = column.type
    pairs = column.cast(
        pa.list_(pa.struct([pa.field("key", kind.key_type, False), pa.field("value", kind.item_type)]))
    )
    keys, values = pc.list_flatten(pairs).flatten()
    named = _json(keys)
    if not is_text(keys.type):
        named = pc.if_else(pc.starts_with(named, '"'), named, _quoted(_escaped(named)))
    fields = pc.binary_join_element_wise(named, _json(values), pa.scalar(":", _TEXT))
    return _where(column, _list(pairs, fields, pa.scalar("{", _TEXT), _END))


def _where(column: pa.Array, written: pa.Array) -> pa.Array:
    """Return the written values, and ``null`` where the column is null."""
    return pc.if_else(column.is_valid(), written, _NULL) if column.null_count else written


def _quoted(text: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(_QUOTE, text, _QUOTE, _NOTHING)


def _escaped(text: pa.Array) -> pa.Array:
    """Escape text, with one pass for each special character that occurs."""
    data, _ = buffers_of(text)
    counts = np.bincount(data, minlength=256)
    for character, escape in _ESCAPES.items():
        if counts[ord(character)]:
            text = pc.replace_substring(text, character, escape)
    return text


def _moments(column: pa.Array) -> pa.Array:
    """Return timestamps in ISO 8601: Arrow's text with a T between date and time."""
    zoned = column.type.tz is not None
    text = column.cast(pa.timestamp(column.type.unit)).cast(_TEXT)
    text = pc.replace_substring_regex(text, r"^([-+0-9]+) (\S+)$", r"\1T\2Z" if zoned else r"\1T\2")
    return _quoted(text)
