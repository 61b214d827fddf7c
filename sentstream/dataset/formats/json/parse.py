"""Parse blocks of JSON lines into record batches with one row per line.

pyarrow parses them in C++. It accepts objects regardless of line ends, so its result is used only if each
line begins and ends with an object's braces and there are as many objects as lines: a closing brace followed
by an opening one only occurs between two objects. What pyarrow rejects (broken surrogates, duplicate fields,
spaces around a line), and blocks with errors, are parsed again line by line in Python, which locates the
error. Of duplicate fields the last counts, as in JavaScript, Java and Python.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from sentstream.dataset.formats.api import WHOLE_LINE
from sentstream.dataset.formats.json.blocks import Block
from sentstream.errors import InputFormatError, SentstreamError, is_out_of_memory

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_BLANKS: Final = b" \t\r\n"
_MOST_DIGITS: Final = 4000  # of an integer that Python parses
_OPEN, _CLOSE, _NEWLINE = b"{}\n"


def parse(block: Block, schema: pa.Schema, name: str) -> pa.RecordBatch:
    """Parse the lines of a block, except blank ones, as rows.

    Args:
        block: The lines.
        schema: The fields to read, with types from ``find_schema``; missing fields are null. The column
            ``*``, of type ``large_binary``, gets the whole line, from brace to brace, with a line feed.
        name: The file's name in messages.

    Raises:
        InputFormatError: A line is not UTF-8, not a JSON object, or has a field of another type.
    """
    lines = schema.get_field_index(WHOLE_LINE)
    fields = schema if lines < 0 else schema.remove(lines)
    batch = _fast(block.data, fields)
    if batch is None:
        batch = _slow(block, fields, name)
    return pa.RecordBatch.from_arrays([batch.column(field.name) for field in schema], schema=schema)


def objects(block: Block, name: str) -> list[tuple[int, bytes, dict[str, Any]]]:
    """Return the number, the bytes and the object of each line of a block, except blank ones.

    Raises:
        InputFormatError: A line is not UTF-8, or not a JSON object.
    """
    result = []
    for number, line in enumerate(block.data.split(b"\n"), block.first):
        if line := line.strip(_BLANKS):
            result.append((number, line, _object(line, f"{name}, line {number:,}")))
    return result


def read_fast(data: bytes, schema: pa.Schema | None) -> pa.Table | None:
    """Parse lines with pyarrow; None if it rejects them.

    Args:
        data: The lines.
        schema: The fields to read; None infers them.
    """
    options = {} if schema is None else {"explicit_schema": schema, "unexpected_field_behavior": "ignore"}
    try:
        table = pajson.read_json(
            pa.BufferReader(data),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pajson.ParseOptions(newlines_in_values=False, **options),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        if is_out_of_memory(error):
            raise
        return None
    return table


def _fast(data: bytes, fields: pa.Schema) -> pa.RecordBatch | None:
    if b"\r\n" in data:
        data = data.replace(b"\r\n", b"\n")
    while b"\n\n" in data:
        data = data.replace(b"\n\n", b"\n")
    data = data.removeprefix(b"\n")
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == _NEWLINE)
    offsets = np.concatenate([[0], ends + 1])
    if not (len(ends) and (raw[offsets[:-1]] == _OPEN).all() and (raw[ends - 1] == _CLOSE).all()):
        return None
    whole = pa.Array.from_buffers(
        pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    try:
        whole.cast(pa.large_string())  # is it UTF-8?
    except pa.ArrowInvalid:
        return None
    table = read_fast(data, fields)
    if table is None or len(table) != len(ends):
        return None
    columns = [column.combine_chunks() for column in table.select(fields.names).columns]
    return pa.RecordBatch.from_arrays([*columns, whole], names=[*fields.names, WHOLE_LINE])


def _slow(block: Block, fields: pa.Schema, name: str) -> pa.RecordBatch:
    columns: list[list[Any]] = [[] for _ in fields]
    whole = []
    for number, line, parsed in objects(block, name):
        whole.append(line + b"\n")
        for field, values in zip(fields, columns, strict=True):
            try:
                values.append(_value(parsed.get(field.name), field.type, field.name))
            except _MismatchError as error:
                raise InputFormatError(
                    f"{name}, line {number:,}: field {error.path!r} holds {error.held}, not {error.wanted}",
                    hint="fix the line, or remove the field",
                ) from None
    arrays = [pa.array(values, field.type) for field, values in zip(fields, columns, strict=True)]
    return pa.RecordBatch.from_arrays(
        [*arrays, pa.array(whole, pa.large_binary())], names=[*fields.names, WHOLE_LINE]
    )


class _MismatchError(Exception):
    """A value of another type than the schema's."""

    def __init__(self, path: str, value: object, expected: pa.DataType) -> None:
        super().__init__(path)
        self.path, self.held = path, kind_of(value)
        self.wanted = _NAMES.get(str(expected), "an object" if pa.types.is_struct(expected) else "an array")


_NAMES: Final = {
    "string": "text",
    "int64": "a 64-bit integer",
    "double": "a number",
    "bool": "true or false",
    "null": "null",
}


def kind_of(value: object) -> str:
    """Return the JSON type of a value, for messages."""
    kinds = {dict: "an object", list: "an array", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _value(value: Any, kind: pa.DataType, path: str) -> Any:
    """Convert a value to a type; raise if it does not fit."""
    if value is None:
        return None
    if pa.types.is_string(kind) and type(value) is str:
        return _SURROGATES.sub("\ufffd", value) if not value.isascii() else value
    if pa.types.is_struct(kind) and type(value) is dict:
        names = [kind.field(index) for index in range(kind.num_fields)]
        return {one.name: _value(value.get(one.name), one.type, f"{path}.{one.name}") for one in names}
    if pa.types.is_list(kind) and type(value) is list:
        return [_value(one, kind.value_type, f"{path}[]") for one in value]
    if pa.types.is_boolean(kind) and type(value) is bool:
        return value
    if pa.types.is_floating(kind) and type(value) in (int, float):
        return float(value)
    if pa.types.is_integer(kind) and type(value) is int and -(1 << 63) <= value < 1 << 63:
        return value
    raise _MismatchError(path, value, kind)


def _whole_number(text: str) -> int | float:
    return int(text) if len(text) < _MOST_DIGITS else float(text)


_decode = json.JSONDecoder(parse_int=_whole_number).decode


def object_of(line: bytes) -> dict[str, Any]:
    """Return the object in a line that is known to be valid."""
    parsed: dict[str, Any] = _decode(line.decode())
    return parsed


def _object(line: bytes, location: str) -> dict[str, Any]:
    try:
        parsed = _decode(line.decode())
    except UnicodeDecodeError as error:
        raise InputFormatError(
            f"{location} is not UTF-8: byte 0x{line[error.start]:02x} at character {error.start + 1:,}",
            hint="convert it from its encoding, e.g. iconv -f WINDOWS-1252 -t UTF-8",
        ) from None
    except json.JSONDecodeError as error:
        raise _not_json(line, error, location) from None
    except RecursionError:
        raise InputFormatError(f"{location} is nested too deeply", hint="remove the line") from None
    if type(parsed) is not dict:
        raise InputFormatError(
            f"{location} is {kind_of(parsed)}, not a JSON object", hint="JSON lines have one object per line"
        )
    return parsed


def _not_json(line: bytes, error: json.JSONDecodeError, location: str) -> SentstreamError:
    if error.msg == "Extra data":
        return InputFormatError(
            f"{location}: extra data after the object, at character {error.pos + 1:,}",
            hint="JSON lines have one object per line",
        )
    reason = error.msg.rstrip(": ").removesuffix(" at").lower()
    return InputFormatError(
        f"{location} is not JSON: {reason} at character {error.pos + 1:,}",
        hint="JSON lines have one object per line; is the file truncated, or one object on many lines?",
    )
