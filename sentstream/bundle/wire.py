"""A minimal reader of protobuf's wire format, to inspect an ONNX file without the ``onnx`` package.

Source: https://protobuf.dev/programming-guides/encoding/. It is stricter than protobuf's own parser,
because a lenient reader could be made to see a different file than ONNX Runtime does. Errors are: groups,
truncated input, overlong varints, field numbers with more than 29 bits (protobuf would drop the higher
bits), values of an unexpected wire type, and a singular field that appears twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from sentstream.errors import BundleGraphError

#: A varint, the bytes of a fixed-size number, or the contents of a length-delimited field.
Value: TypeAlias = int | bytes | memoryview

#: Maximum fields and packed numbers read from a file: many more than a graph has, too few to exhaust memory.
MOST_FIELDS = 1_000_000

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10  # 64 bits, 7 per byte
_KEY_BITS = 32  # a field's number and wire type together


def _varint(data: memoryview, offset: int) -> tuple[int, int]:
    """The unsigned 64-bit number at ``offset``, and its end."""
    value = 0
    for index, byte in enumerate(data[offset : offset + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                break
            return value, offset + index + 1
    raise BundleGraphError("model.onnx is malformed: a number is truncated or too long")


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a message: number and value of each."""
    offset, end = 0, len(data)
    while offset < end:
        key, offset = _varint(data, offset)
        number, kind = key >> 3, key & 7
        if number == 0 or key >> _KEY_BITS:
            raise BundleGraphError("model.onnx is malformed: a field number is missing or too large")
        if kind == _VARINT:
            value, offset = _varint(data, offset)
            yield number, value
            continue
        if kind == _BYTES:
            size, offset = _varint(data, offset)
        elif kind == _FIXED64:
            size = 8
        elif kind == _FIXED32:
            size = 4
        else:
            raise BundleGraphError(f"model.onnx is malformed: a field of wire type {kind}")
        if size > end - offset:
            raise BundleGraphError("model.onnx is malformed: a field is truncated")
        piece = data[offset : offset + size]
        yield number, piece if kind == _BYTES else bytes(piece)
        offset += size


def signed(value: int) -> int:
    """A varint as a signed 64-bit number."""
    return value - (1 << 64) if value >> 63 else value


class Quota:
    """The remaining number of fields that may be read from a file."""

    def __init__(self, limit: int = MOST_FIELDS) -> None:
        self._left = limit

    def take(self) -> None:
        """Count one field.

        Raises:
            BundleGraphError: The file has too many fields.
        """
        self._left -= 1
        if self._left < 0:
            raise BundleGraphError("model.onnx has more fields than any graph needs")


class Message:
    """A protobuf message: its fields by number, with values not yet parsed.

    Args:
        data: Its bytes.
        quota: The quota shared with the other messages of the file.

    Attributes:
        size: Its length in bytes.

    Raises:
        BundleGraphError: In the constructor or any method: the bytes are malformed or of the wrong kind.
    """

    def __init__(self, data: memoryview, quota: Quota | None = None) -> None:
        self.size = len(data)
        self._quota = quota or Quota()
        self._fields: dict[int, list[Value]] = {}
        for number, value in _fields(data):
            self._quota.take()
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def _one(self, number: int) -> Value | None:
        values = self._fields.get(number, [])
        if len(values) > 1:
            # Protobuf would take the last one or merge them; either could hide a part of the file.
            raise BundleGraphError(f"model.onnx is malformed: field {number} appears {len(values)} times")
        return values[0] if values else None

    def number(self, number: int, default: int = 0) -> int:
        """The signed number of a singular field."""
        value = self._one(number)
        if value is None:
            return default
        if not isinstance(value, int):
            raise BundleGraphError(f"model.onnx is malformed: field {number} is not a number")
        return signed(value)

    def numbers(self, number: int) -> list[int]:
        """The signed numbers of a repeated field, packed or not."""
        values: list[int] = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                values.append(signed(value))
                continue
            packed, offset = _held(value, number, "a list of numbers"), 0
            while offset < len(packed):
                item, offset = _varint(packed, offset)
                self._quota.take()
                values.append(signed(item))
        return values

    def data(self, number: int) -> memoryview | None:
        """The bytes of a singular field, or None if it is missing."""
        value = self._one(number)
        return None if value is None else _held(value, number, "bytes")

    def text(self, number: int) -> str:
        """The text of a singular field; empty if it is missing."""
        value = self._one(number)
        return "" if value is None else _text(value, number)

    def texts(self, number: int) -> list[str]:
        """The texts of a repeated field."""
        return [_text(value, number) for value in self._fields.get(number, [])]

    def message(self, number: int) -> Message | None:
        """The message of a singular field, or None if it is missing."""
        value = self._one(number)
        return None if value is None else Message(_held(value, number, "a message"), self._quota)

    def messages(self, number: int) -> Iterator[Message]:
        """The messages of a repeated field."""
        for value in self._fields.get(number, []):
            yield Message(_held(value, number, "a message"), self._quota)


def _held(value: Value, number: int, kind: str) -> memoryview:
    """The contents of a length-delimited field."""
    if not isinstance(value, memoryview):
        raise BundleGraphError(f"model.onnx is malformed: field {number} is not {kind}")
    return value


def _text(value: Value, number: int) -> str:
    try:
        return str(_held(value, number, "text"), "utf-8")
    except UnicodeDecodeError as error:
        raise BundleGraphError(f"model.onnx is malformed: field {number} is not UTF-8") from error
