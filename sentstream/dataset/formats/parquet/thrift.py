"""Read and write structs in Thrift's compact protocol, such as Parquet footers.

A struct is a dictionary of its fields by id; each value has its type, so that unknown fields are preserved.
Source: thrift-compact-protocol.md of Apache Thrift.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
_DEEPEST: Final = 32


@dataclass
class Value:
    """A value with its type: a number, bytes, a list of values of one type, or a struct.

    Attributes:
        kind: Its type in the compact protocol.
        data: An int, the eight bytes of a double, bytes, a list, or a dictionary.
        item: The type of a list's items.
    """

    kind: int
    data: Any
    item: int = 0


Struct: TypeAlias = dict[int, Value]


def read_struct(data: bytes) -> Struct:
    """Read the struct at the start of some bytes; bytes after it are ignored.

    Raises:
        ValueError: There is no valid struct.
    """
    try:
        return _read_struct(data, 0, 0)[0]
    except IndexError:
        raise ValueError("a Thrift struct is truncated") from None


def write_struct(fields: Struct) -> bytes:
    """Return the bytes of a struct."""
    out = bytearray()
    _write_struct(fields, out)
    return bytes(out)


def _read_struct(data: bytes, offset: int, depth: int) -> tuple[Struct, int]:
    if depth > _DEEPEST:
        raise ValueError("a Thrift struct is nested too deeply")
    fields: Struct = {}
    field = 0
    while True:
        head, offset = data[offset], offset + 1
        if not head:
            return fields, offset
        kind = head & 15
        if head >> 4:
            field += head >> 4
        else:
            number, offset = _varint(data, offset)
            field = _signed(number)
        if kind in (TRUE, FALSE):
            fields[field] = Value(kind, kind == TRUE)
        else:
            fields[field], offset = _read(data, offset, kind, depth)


def _read(data: bytes, offset: int, kind: int, depth: int) -> tuple[Value, int]:
    if kind in (I16, I32, I64):
        number, offset = _varint(data, offset)
        return Value(kind, _signed(number)), offset
    if kind in (TRUE, FALSE, BYTE):  # a boolean in a list is a byte
        return Value(kind, data[offset]), offset + 1
    if kind == BINARY:
        length, offset = _varint(data, offset)
        return Value(kind, _exact(data, offset, length)), offset + length
    if kind == DOUBLE:
        return Value(kind, _exact(data, offset, 8)), offset + 8
    if kind == STRUCT:
        fields, offset = _read_struct(data, offset, depth + 1)
        return Value(kind, fields), offset
    if kind in (LIST, SET):
        head, offset = data[offset], offset + 1
        count = head >> 4
        if count == 15:
            count, offset = _varint(data, offset)
        items = []
        for _ in range(count):
            item, offset = _read(data, offset, head & 15, depth + 1)
            items.append(item)
        return Value(kind, items, head & 15), offset
    raise ValueError(f"a Thrift struct has a field of type {kind}")


def _exact(data: bytes, offset: int, length: int) -> bytes:
    if offset + length > len(data):
        raise IndexError
    return bytes(data[offset : offset + length])


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    number = 0
    for shift in itertools.count(0, 7):
        byte, offset = data[offset], offset + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, offset
        if shift > 63:
            break
    raise ValueError("a Thrift struct has an unterminated number")


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _write_struct(fields: Struct, out: bytearray) -> None:
    last = 0
    for field, value in sorted(fields.items()):
        kind = (TRUE if value.data else FALSE) if value.kind in (TRUE, FALSE) else value.kind
        if 0 < field - last < 16:
            out.append((field - last) << 4 | kind)
        else:
            out.append(kind)
            _write_varint(_zigzag(field), out)
        last = field
        if value.kind not in (TRUE, FALSE):
            _write(value, out)
    out.append(0)


def _write(value: Value, out: bytearray) -> None:
    if value.kind in (I16, I32, I64):
        _write_varint(_zigzag(value.data), out)
    elif value.kind in (TRUE, FALSE, BYTE):
        out.append(value.data)
    elif value.kind == BINARY:
        _write_varint(len(value.data), out)
        out += value.data
    elif value.kind == DOUBLE:
        out += value.data
    elif value.kind == STRUCT:
        _write_struct(value.data, out)
    else:
        count = len(value.data)
        if count < 15:
            out.append(count << 4 | value.item)
        else:
            out.append(0xF0 | value.item)
            _write_varint(count, out)
        for item in value.data:
            _write(item, out)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _write_varint(number: int, out: bytearray) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
