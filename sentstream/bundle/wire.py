"""Just enough of protobuf's wire format to look into an ONNX file without the ``onnx`` package.

Source: https://protobuf.dev/programming-guides/encoding/. Stricter than protobuf's own parser,
because a reader that guesses can be made to see another file than ONNX Runtime does: groups,
truncated input, over-long varints and a singular field that is given twice are errors.
"""

from __future__ import annotations

from collections.abc import Iterator

from sentstream.errors import BundleGraphError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10  # 64 bits, 7 a byte


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The unsigned 64-bit number at ``at``, and where it ends."""
    value = 0
    for place, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + place + 1
    raise BundleGraphError("model.onnx is malformed: a number is cut off or too long")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Each field of a message: its number, and its value (a number, or the bytes it holds)."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind == _FIXED64:
            size = 8
        elif kind == _FIXED32:
            size = 4
        else:
            raise BundleGraphError(f"model.onnx is malformed: a field of wire type {kind}")
        if number == 0 or size > end - at:
            raise BundleGraphError("model.onnx is malformed: a field is cut off or has no number")
        yield number, data[at : at + size]
        at += size


def signed(value: int) -> int:
    """A varint as the signed 64-bit number that it stands for."""
    return value - (1 << 64) if value >> 63 else value


class Message:
    """One protobuf message: its fields by number, values not looked into.

    Raises:
        BundleGraphError: Here, or in any method, where the bytes are not what was asked for.
    """

    def __init__(self, data: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(data):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def _one(self, number: int) -> int | memoryview | None:
        values = self._fields.get(number, [])
        if len(values) > 1:
            # Protobuf would take the last, or merge them: two ways to hide a part of a file.
            raise BundleGraphError(f"model.onnx is malformed: field {number} is given {len(values)} times")
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
        found: list[int] = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                found.append(signed(value))
                continue
            at = 0
            while at < len(value):
                item, at = _varint(value, at)
                found.append(signed(item))
        return found

    def text(self, number: int) -> str:
        """The text of a singular field; empty where it is missing."""
        return _text(self._one(number), number)

    def texts(self, number: int) -> list[str]:
        """The texts of a repeated field."""
        return [_text(value, number) for value in self._fields.get(number, [])]

    def message(self, number: int) -> Message | None:
        """The message of a singular field, or None where it is missing."""
        value = self._one(number)
        return None if value is None else _message(value, number)

    def messages(self, number: int) -> Iterator[Message]:
        """The messages of a repeated field."""
        for value in self._fields.get(number, []):
            yield _message(value, number)


def _text(value: int | memoryview | None, number: int) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        raise BundleGraphError(f"model.onnx is malformed: field {number} is not text")
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise BundleGraphError(f"model.onnx is malformed: field {number} is not UTF-8") from error


def _message(value: int | memoryview, number: int) -> Message:
    if isinstance(value, int):
        raise BundleGraphError(f"model.onnx is malformed: field {number} is not a message")
    return Message(value)
