"""Turn a message that cannot be scored into a dead letter that says why, and back.

A dead letter is the original record (key, value, headers, timestamp) with our headers appended to its own:

    sentstream.error.class        MessageFieldError
    sentstream.error.message      no field 'tweet'; its fields: 'id', 'user'
    sentstream.error.stage        read, decode, score or produce
    sentstream.error.value        omitted: 1048576 bytes, sha256:…; only if left out; so .key and .headers
    sentstream.source.topic       tweets
    sentstream.source.topic_id    Gz4pNlELQF-XN9mRUwslng, if known: identifies the topic if recreated
    sentstream.source.partition   3
    sentstream.source.offset      1234
    sentstream.source.timestamp   1700000000000 (ms since 1970, UTC; -1: none)
    sentstream.replays            how often it has been replayed, if it has

Numbers are in decimal. A replayed record keeps only ``sentstream.replays``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sentstream.errors import MessageDecodeError, MessageError, MessageSizeError
from sentstream.kafka.clients.api import Headers, Outgoing, Partition, Record

ERROR_CLASS: Final = "sentstream.error.class"
ERROR_MESSAGE: Final = "sentstream.error.message"
ERROR_STAGE: Final = "sentstream.error.stage"
#: Headers for the parts that were left out of a dead letter because it would have been too large.
OMITTED_VALUE: Final = "sentstream.error.value"
OMITTED_KEY: Final = "sentstream.error.key"
OMITTED_HEADERS: Final = "sentstream.error.headers"
SOURCE_TOPIC: Final = "sentstream.source.topic"
SOURCE_TOPIC_ID: Final = "sentstream.source.topic_id"
SOURCE_PARTITION: Final = "sentstream.source.partition"
SOURCE_OFFSET: Final = "sentstream.source.offset"
SOURCE_TIMESTAMP: Final = "sentstream.source.timestamp"
REPLAYS: Final = "sentstream.replays"
_OMITTED = (OMITTED_VALUE, OMITTED_KEY, OMITTED_HEADERS)
_OURS = frozenset(
    {
        *(ERROR_CLASS, ERROR_MESSAGE, ERROR_STAGE, *_OMITTED),
        *(SOURCE_TOPIC, SOURCE_TOPIC_ID, SOURCE_PARTITION, SOURCE_OFFSET, SOURCE_TIMESTAMP, REPLAYS),
    }
)

_BATCH_OVERHEAD = 61  # bytes of a record batch (v2) without its records
_RECORD_OVERHEAD = 36  # bytes of a record's numeric fields, each varint at its longest
_HEADER_OVERHEAD = 10
_NOTICE = 128  # bytes of the notice of an omission; smaller parts are not worth leaving out
_LONGEST_MESSAGE = 500  # characters of an error message


def dead_letter_topic(source: str, named: str | None = None) -> str:
    """Return the dead letter topic of a source topic: ``named``, or ``{source}.dlq``."""
    return named or f"{source}.dlq"


@dataclass(frozen=True)
class DeadLetter:
    """A record that cannot be scored, and why."""

    record: Record
    error: MessageError

    def outgoing(self, topic: str, *, limit: int, topic_id: str = "") -> Outgoing:
        """Return the dead letter; it has no partition, so its key selects one.

        Our headers from an earlier failure are replaced. A header key that is not UTF-8, which clients
        cannot send, is backslash-escaped.

        Args:
            topic: The dead letter topic.
            limit: The largest record that the topic (or the producer, if less) accepts, in bytes. Above it
                the value is left out, then the key, then the headers, unless they are tiny. A header
                records the length and digest of each; the source headers tell where to read them again.
            topic_id: The id of the record's topic, if known.
        """
        record = self.record
        own = tuple((_sendable(name), value) for name, value in _foreign(record.headers))
        fields = self._headers(topic_id)
        key, value = record.key, record.value
        whole = Outgoing(topic, key, value, (*own, *fields), _sent(record.timestamp))
        if record_size(whole) <= limit:
            return whole
        for name, part in zip(_OMITTED, (value, key, _flat(own)), strict=True):
            if part is None or len(part) <= _NOTICE or record_size(whole) <= limit:
                continue
            fields.append((name, _omitted(part)))
            if name == OMITTED_VALUE:
                whole = whole._replace(value=None)
            elif name == OMITTED_KEY:
                whole = whole._replace(key=None)
            else:
                own = ()
            whole = whole._replace(headers=(*own, *fields))
        return whole

    def _headers(self, topic_id: str) -> list[tuple[str, bytes | None]]:
        record, line = self.record, str(self.error)
        if len(line) > _LONGEST_MESSAGE:
            line = f"{line[: _LONGEST_MESSAGE - 1]}…"
        fields = {
            ERROR_CLASS: type(self.error).__name__,
            ERROR_MESSAGE: line,
            ERROR_STAGE: self.error.stage,
            SOURCE_TOPIC: record.topic,
            SOURCE_PARTITION: record.partition,
            SOURCE_OFFSET: record.offset,
            SOURCE_TIMESTAMP: record.timestamp,
        }
        if topic_id:
            fields[SOURCE_TOPIC_ID] = topic_id
        if replays := _replays(record.headers):
            fields[REPLAYS] = replays
        return [(name, str(value).encode(errors="backslashreplace")) for name, value in fields.items()]


@dataclass(frozen=True)
class ParsedDeadLetter:
    """A dead letter, parsed.

    Attributes:
        error_class, message, stage: Why the record failed.
        source, offset, timestamp: Where the record was; the timestamp is in ms since 1970 (UTC), -1 if none.
        key, value, headers: Those of the record, except for what was left out.
        left_out: What was left out: length and digest of each of ``value``, ``key``, ``headers``.
        replays: How often the record had been replayed when it failed.
    """

    error_class: str
    message: str
    stage: str
    source: Partition
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    left_out: Mapping[str, str]
    replays: int

    @property
    def omitted(self) -> bool:
        """Whether a part is missing, so that the source must be read again.

        It was left out, or never known: at the stage ``read`` the client could not read the record.
        """
        return bool(self.left_out) or self.stage == "read"

    @classmethod
    def parse(cls, record: Record) -> ParsedDeadLetter | None:
        """Parse a record of a dead letter topic; return None if it is not a dead letter from sentstream."""
        fields = {
            name: value.decode(errors="replace") for name, value in record.headers if value and name in _OURS
        }
        try:
            source = Partition(fields[SOURCE_TOPIC], int(fields[SOURCE_PARTITION]))
            offset, timestamp = int(fields[SOURCE_OFFSET]), int(fields.get(SOURCE_TIMESTAMP, -1))
            error_class = fields[ERROR_CLASS]
        except (KeyError, ValueError):
            return None
        if source.partition < 0 or offset < 0:
            return None
        return cls(
            error_class,
            fields.get(ERROR_MESSAGE, ""),
            fields.get(ERROR_STAGE, ""),
            source,
            offset,
            timestamp,
            record.key,
            record.value,
            tuple(_foreign(record.headers)),
            {name.rpartition(".")[2]: fields[name] for name in _OMITTED if name in fields},
            _replays(record.headers),
        )

    def restored(self, topic: str | None = None, *, original: Record | None = None) -> Outgoing:
        """Return the original record, with its replay count raised by one.

        Args:
            topic: The topic to send it to; None for the source topic. There it goes to its original
                partition, so that records of one key stay in order; elsewhere its key selects one.
            original: The record at ``source`` and ``offset``, read again. Needed if ``omitted``.

        Raises:
            MessageSizeError: A part was left out and no original was given.
            MessageDecodeError: The record could not be read and no original was given, or the original is
                not the record that the letter was made from.
        """
        location = f"{self.source.topic}-{self.source.partition} at offset {self.offset}"
        again = "read the record from its topic while it is still there"
        key, value, headers = self.key, self.value, tuple(self.headers)
        if self.omitted and original is None:
            if not self.left_out:
                raise MessageDecodeError(f"{location} could not be read", hint=again)
            parts = " and ".join(self.left_out)
            raise MessageSizeError(f"the {parts} of {location} did not fit into its dead letter", hint=again)
        if self.omitted and original is not None:
            own = tuple((_sendable(name), what) for name, what in _foreign(original.headers))
            originals = {"value": original.value, "key": original.key, "headers": _flat(own)}
            same = (original.topic, original.partition, original.offset) == (*self.source, self.offset)
            if not same or any(
                _omitted(originals[part] or b"") != digest.encode() for part, digest in self.left_out.items()
            ):
                raise MessageDecodeError(f"{location} is not the record that the dead letter was made from")
            key, value, headers = original.key, original.value, own
        home = topic is None or topic == self.source.topic
        return Outgoing(
            self.source.topic if topic is None else topic,
            key,
            value,
            (*headers, (REPLAYS, str(self.replays + 1).encode())),
            _sent(self.timestamp),
            self.source.partition if home else None,
        )


def record_size(outgoing: Outgoing) -> int:
    """Return an upper bound of a record's size in bytes, as brokers compare it with ``max.message.bytes``.

    This is the size of a record batch (v2) with only this record, compressed or not: incompressible data
    grows by up to 0.4 %.
    """
    size = _BATCH_OVERHEAD + _RECORD_OVERHEAD + len(outgoing.key or b"") + len(outgoing.value or b"")
    for name, value in outgoing.headers:
        size += _HEADER_OVERHEAD + len(name.encode(errors="surrogatepass")) + len(value or b"")
    return size + size // 250 + 64


def _foreign(headers: Headers) -> Iterable[tuple[str, bytes | None]]:
    """Return a record's headers without ours."""
    return [(name, value) for name, value in headers if name not in _OURS]


def _replays(headers: Headers) -> int:
    """Return how often a record has been replayed; 0 without a valid header."""
    for name, value in reversed(headers):
        if name == REPLAYS and value and len(value) <= 9 and value.isdigit():
            return int(value)
    return 0


def _sendable(name: str) -> str:
    """Return a header key as valid UTF-8: an invalid byte becomes, for example, ``\\xff``."""
    try:
        str.encode(name)
    except UnicodeEncodeError:
        return str.encode(name, errors="surrogateescape").decode(errors="backslashreplace")
    return name


def _sent(timestamp: int) -> int | None:
    """Return the timestamp to send; None, which means the time of sending, if the record had none."""
    return timestamp if timestamp >= 0 else None


def _omitted(data: bytes) -> bytes:
    return f"omitted: {len(data)} bytes, sha256:{hashlib.sha256(data).hexdigest()}".encode()


def _flat(headers: Headers) -> bytes:
    """Return headers as bytes, for the digest."""
    return repr([(name, value) for name, value in headers]).encode()
