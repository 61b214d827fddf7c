"""Find the tweet's text in a message value, and add its labels to the value.

A JSON value is parsed only to find the text. The output is the original bytes with the new fields before
the last brace, so 64-bit ids, spellings of numbers, escapes and the order of fields are unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import (
    MessageClashError,
    MessageDecodeError,
    MessageError,
    MessageFieldError,
    UsageError,
)

Format: TypeAlias = Literal["json", "text"]

#: Fields that are searched for a tweet's text, full texts before truncated ones: next to a text truncated at
#: 140 characters there is ``extended_tweet`` (Twitter API v1.1), next to one at 280, ``note_tweet`` (v2).
TEXT_FIELDS: Final = (
    "full_text",
    "extended_tweet.full_text",
    "note_tweet.text",
    "text",
    "data.note_tweet.text",
    "data.text",
)
#: The output field for the text of a plain text message.
TEXT_KEY: Final = "text"

_LONGEST = 40  # characters of a message that an error may quote
_MOST = 8  # keys of a message that an error may list
_SURROGATES = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\n\r]*")
_ABSENT: Final = object()
_CURLY = ord("{"), ord("}")
_BLANKS = b" \t\n\r"


class Codec:
    """Decodes values and encodes them with labels; safe to use from several threads.

    JSON is parsed strictly (RFC 8259: UTF-8, one object, no NaN), but a byte order mark is accepted. If a
    field occurs twice, the last one counts, as in JavaScript, Java and Python.

    Args:
        format: ``json``: values are JSON objects. ``text``: values are the tweets themselves.
        field: Path of the text, such as ``payload.tweet.text``; a top-level field with this literal name
            takes precedence. None: the first of ``TEXT_FIELDS`` that exists and is not null. JSON only.
        prefix: Name of the label field, and prefix of the other added fields.
        labels: The model's labels, in the order of their fields.

    Raises:
        UsageError: A prefix that is empty or not UTF-8, an empty field; a field, or the prefix ``text``,
            with the format ``text``.
    """

    def __init__(self, format: Format, *, field: str | None, prefix: str, labels: Sequence[str]) -> None:
        if not prefix:
            raise UsageError("the prefix is empty", hint="give the label field a name")
        if field == "":
            raise UsageError("the field's name is empty", hint="leave it out to find the text automatically")
        if format == "text" and field is not None:
            raise UsageError(f"plain text has no field {field!r}", hint="leave it out, or read JSON")
        #: The names of the added fields, in their order.
        self.added: Final = (prefix, f"{prefix}_score", *(f"{prefix}_prob_{label}" for label in labels))
        try:
            "".join(self.added).encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"the prefix {prefix!r} is not UTF-8", hint="choose another --prefix") from error
        if format == "text" and TEXT_KEY in self.added:
            raise UsageError(
                f"the field {TEXT_KEY!r} already belongs to the message", hint="choose another --prefix"
            )
        self.format: Final = format
        self.field: Final = field
        self._path = None if field is None else tuple(field.split("."))
        self._read: Callable[[bytes], str | None] = self._from_json if format == "json" else _utf8
        self._keys = [f",{_dumps(name)}:" for name in self.added]

    def text(self, value: bytes) -> str | None:
        """Return the text of one message; None if it is null. A lone surrogate becomes U+FFFD.

        Args:
            value: The value; not for tombstones, which have none.

        Raises:
            MessageDecodeError: Not UTF-8, not JSON, not one object, or nested too deeply.
            MessageFieldError: No text field, or one that is not a string.
            MessageClashError: A field that would be added already exists.
        """
        return self._read(value)

    def texts(self, values: Sequence[bytes]) -> list[str | MessageError | None]:
        """Return the text of each message, or the error that ``text`` raises for it."""
        read = self._read
        texts: list[str | MessageError | None] = []
        for value in values:
            try:
                texts.append(read(value))
            except MessageError as error:
                texts.append(_bare(error))
        return texts

    def outputs(
        self, values: Sequence[bytes], texts: Sequence[str | None], scored: pa.RecordBatch
    ) -> list[bytes]:
        """Return the output values.

        Args:
            values: n values that ``text`` has read.
            texts: Their n texts.
            scored: n rows with the columns that ``Scorer`` adds: ``{prefix}`` (string),
                ``{prefix}_score`` and ``{prefix}_prob_{label}`` (float32); null without a label.

        Returns:
            n JSON objects. Each number is the shortest that parses as the same float32; non-finite numbers
            become null, since JSON cannot represent them.
        """
        ends = self._ends(scored)
        if self.format == "text":
            return [b'{"text":' + _dumps(text).encode() + end for text, end in zip(texts, ends, strict=True)]
        opening, closing = _CURLY
        return [
            value[:-1] + end  # the common case: no space around the brace, not an empty object
            if value[-1] == closing and value[-2] > 0x20 and value[-2] != opening
            else _spliced(value, end)
            for value, end in zip(values, ends, strict=True)
        ]

    def _ends(self, scored: pa.RecordBatch) -> list[bytes]:
        """Return what follows each message's own fields: ``,"sentiment":"positive",…}``."""
        name, *shares = self.added
        labels = scored.column(name).dictionary_encode()
        quoted = pa.array([_dumps(label) for label in labels.dictionary.to_pylist()], pa.string())
        parts = [self._keys[0], quoted.take(labels.indices)]
        for key, share in zip(self._keys[1:], shares, strict=True):
            parts += [key, _numbers(scored.column(share))]
        joined = pc.binary_join_element_wise(
            *parts, "}", "", null_handling="replace", null_replacement="null"
        )
        ends: list[bytes] = joined.cast(pa.binary()).to_pylist()
        return ends

    def _from_json(self, value: bytes) -> str | None:
        message = _object(value)
        for name in self.added:
            if name in message:
                raise MessageClashError(
                    f"the message already has a field {_shown(name)}", hint="choose another --prefix"
                )
        text = _found(message) if self._path is None else self._at(message, self._path)
        if type(text) is str:
            return text if text.isascii() else _without_surrogates(text)
        if text is None:
            return None
        if text is not _ABSENT:
            raise MessageFieldError(f"the text field {self._named(message)} holds {_kind(text)}, not text")
        expected = ", ".join(TEXT_FIELDS) if self.field is None else _shown(self.field)
        raise MessageFieldError(
            f"no field {expected}; {_listed(message)}", hint="choose another --text-field"
        )

    def _at(self, message: dict[str, Any], path: tuple[str, ...]) -> object:
        """Return the value at the path; null along the path counts as a null text."""
        assert self.field is not None
        if self.field in message:
            return message[self.field]
        value: Any = message
        for name in path:
            if value is None:
                return None
            if type(value) is not dict or name not in value:
                return _ABSENT
            value = value[name]
        return value

    def _named(self, message: dict[str, Any]) -> str:
        """Return the name of the field that was used, for an error."""
        if self.field is not None:
            return _shown(self.field)
        return next(_shown(name) for name, path in _PATHS if _step(message, path) not in (_ABSENT, None))


_PATHS = [(name, tuple(name.split("."))) for name in TEXT_FIELDS]


def _found(message: dict[str, Any]) -> object:
    """Return the first text field that is not null; None if all existing ones are null."""
    found: object = _ABSENT
    for _, path in _PATHS:
        if path[0] in message:
            value = _step(message, path)
            if value is None:
                found = None
            elif value is not _ABSENT:
                return value
    return found


def _step(message: dict[str, Any], path: tuple[str, ...]) -> object:
    value: Any = message
    for name in path:
        if type(value) is not dict or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _no_constant(name: str) -> float:
    raise MessageDecodeError(f"not JSON: {name} is not a JSON number")


# Numbers are parsed but not used; float accepts any length, while int fails above 4,300 digits.
_decode = json.JSONDecoder(parse_int=float, parse_constant=_no_constant).raw_decode
_dumps = json.JSONEncoder(ensure_ascii=False).encode


def _object(value: bytes) -> dict[str, Any]:
    """Parse the bytes, which must be exactly one JSON object."""
    raw = _utf8(value)
    try:
        message, end = _decode(
            raw, 0 if raw.startswith("{") else _after_space(raw, int(raw.startswith("\ufeff")))
        )
    except json.JSONDecodeError as error:
        raise _not_json(raw, error) from None
    except RecursionError:
        raise MessageDecodeError("the message is nested too deeply") from None
    if end != len(raw) and (end := _after_space(raw, end)) != len(raw):
        raise MessageDecodeError(f"not one JSON object: extra data at character {end}")
    if type(message) is not dict:
        raise MessageDecodeError(f"the message is {_kind(message)}, not a JSON object")
    return message


def _after_space(raw: str, start: int) -> int:
    match = _SPACE.match(raw, start)
    assert match is not None
    return match.end()


def _not_json(raw: str, error: json.JSONDecodeError) -> MessageDecodeError:
    if not raw.strip(" \t\n\r\ufeff"):
        return MessageDecodeError("not JSON: the message is empty")
    hint = None
    if raw.startswith("\0"):
        hint = "it starts like a Schema Registry message; only plain JSON is supported"
    reason = error.msg.rstrip(": ").removesuffix(" at").lower()
    return MessageDecodeError(f"not JSON: {reason} at character {error.pos}", hint=hint)


def _utf8(value: bytes) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise MessageDecodeError(f"not UTF-8: {error.reason} at byte {error.start}") from None


def _without_surrogates(text: str) -> str:
    try:
        text.encode()  # faster than searching for surrogates, which are rare
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def _bare(error: MessageError) -> MessageError:
    """Remove an error's traceback and causes, which would keep the whole batch alive."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def _numbers(column: pa.Array) -> pa.Array:
    """Convert float32 to the shortest text that parses as the same float32; null if not finite."""
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float32())).cast(pa.string())


def _spliced(value: bytes, end: bytes) -> bytes:
    """Return any object's bytes with ``end`` instead of its last brace."""
    head = value.rstrip(_BLANKS)[:-1]
    return head + (end[1:] if head.rstrip(_BLANKS).endswith(b"{") else end)


def _kind(value: object) -> str:
    """Return the JSON name of a value's type, with its article."""
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", float: "a number"}
    return kinds.get(type(value), "null")


def _shown(name: str) -> str:
    """Return a name in quotes, shortened and printable."""
    return repr(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")


def _listed(message: dict[str, Any]) -> str:
    """Return which fields a message has, for an error."""
    if not message:
        return "the message has no fields"
    names = ", ".join(_shown(name) for name in list(message)[:_MOST])
    return f"its fields: {names}{', …' if len(message) > _MOST else ''}"
