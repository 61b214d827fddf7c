"""A message that cannot be scored -> a dead letter that says why -> the message again.

A dead letter is the original record (key, value, headers, timestamp) with headers of ours after its own:

    sentstream.error.class        MessageFieldError
    sentstream.error.message      no field 'tweet'; its fields: 'id', 'user'
    sentstream.error.stage        read, decode, score or produce
    sentstream.error.value        omitted: 1048576 bytes, sha256:…; only if left out; so .key and .headers
    sentstream.source.topic       tweets
    sentstream.source.topic_id    Gz4pNlELQF-XN9mRUwslng, if it is known: another of that name has another
    sentstream.source.partition   3
    sentstream.source.offset      1234
    sentstream.source.timestamp   1700000000000 (ms since 1970, UTC; -1: none)
    sentstream.replays            how often it has been put back, if it has

Numbers are in decimal. On a record that is put back only ``sentstream.replays`` stays.
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
#: What was left out of a dead letter that would have been too large.
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
_RECORD_OVERHEAD = 36  # bytes of a record's own numbers, each varint at its longest
_HEADER_OVERHEAD = 10
_NOTICE = 128  # bytes that the word of an omission takes: less is not worth leaving out
_LONGEST_MESSAGE = 500  # characters of an error's line


def dead_letter_topic(source: str, named: str | None = None) -> str:
    """The dead letter topic of a source topic: the one that was named, or ``{source}.dlq``."""
    return named or f"{source}.dlq"


@dataclass(frozen=True)
class DeadLetter:
    """A record that cannot be scored, and why."""

    record: Record
    error: MessageError

    def outgoing(self, topic: str, *, limit: int, topic_id: str = "") -> Outgoing:
        """The dead letter; without a partition, so its key decides.

        What it carries from an earlier failure is replaced. A header whose key is not UTF-8, which no
        client sends, gets its backslash-escaped form.

        Args:
            topic: The dead letter topic.
            limit: The largest record that topic (or the producer, if less) takes, in bytes. Above it the
                value is left out, then the key, then the headers, unless they are tiny; a header says so,
                with the length and digest, and where it can be read again is in the letter anyway.
            topic_id: The id of the record's topic, where it is known.
        """
        record = self.record
        own = tuple((_sendable(name), value) for name, value in _foreign(record.headers))
        said = self._said(topic_id)
        key, value = record.key, record.value
        whole = Outgoing(topic, key, value, (*own, *said), _sent(record.timestamp))
        if record_size(whole) <= limit:
            return whole
        for name, part in zip(_OMITTED, (value, key, _flat(own)), strict=True):
            if part is None or len(part) <= _NOTICE or record_size(whole) <= limit:
                continue
            said.append((name, _omitted(part)))
            if name == OMITTED_VALUE:
                whole = whole._replace(value=None)
            elif name == OMITTED_KEY:
                whole = whole._replace(key=None)
            else:
                own = ()
            whole = whole._replace(headers=(*own, *said))
        return whole

    def _said(self, topic_id: str) -> list[tuple[str, bytes | None]]:
        record, line = self.record, str(self.error)
        if len(line) > _LONGEST_MESSAGE:
            line = f"{line[: _LONGEST_MESSAGE - 1]}…"
        said = {
            ERROR_CLASS: type(self.error).__name__,
            ERROR_MESSAGE: line,
            ERROR_STAGE: self.error.stage,
            SOURCE_TOPIC: record.topic,
            SOURCE_PARTITION: record.partition,
            SOURCE_OFFSET: record.offset,
            SOURCE_TIMESTAMP: record.timestamp,
        }
        if topic_id:
            said[SOURCE_TOPIC_ID] = topic_id
        if replays := _replays(record.headers):
            said[REPLAYS] = replays
        return [(name, str(what).encode(errors="backslashreplace")) for name, what in said.items()]


@dataclass(frozen=True)
class Letter:
    """A dead letter, read back.

    Attributes:
        error_class, message, stage: Why it is one.
        source, offset, timestamp: The record it was; the timestamp in ms since 1970 (UTC), -1 if none.
        key, value, headers: The record's own, as far as they were not left out.
        left_out: What was left out: each of ``value``, ``key``, ``headers`` with its length and digest.
        replays: How often it had been put back when it failed.
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
        """Whether something is missing here, so that the source has to be read again.

        Left out, or never known: at the stage ``read`` the client could not read the record.
        """
        return bool(self.left_out) or self.stage == "read"

    @classmethod
    def parse(cls, record: Record) -> Letter | None:
        """Read a record of a dead letter topic; None if it is not one of sentstream's dead letters."""
        said = {
            name: value.decode(errors="replace") for name, value in record.headers if value and name in _OURS
        }
        try:
            source = Partition(said[SOURCE_TOPIC], int(said[SOURCE_PARTITION]))
            offset, timestamp = int(said[SOURCE_OFFSET]), int(said.get(SOURCE_TIMESTAMP, -1))
            error_class = said[ERROR_CLASS]
        except (KeyError, ValueError):
            return None
        if source.partition < 0 or offset < 0:
            return None
        return cls(
            error_class,
            said.get(ERROR_MESSAGE, ""),
            said.get(ERROR_STAGE, ""),
            source,
            offset,
            timestamp,
            record.key,
            record.value,
            tuple(_foreign(record.headers)),
            {name.rpartition(".")[2]: said[name] for name in _OMITTED if name in said},
            _replays(record.headers),
        )

    def restored(self, topic: str | None = None, *, original: Record | None = None) -> Outgoing:
        """The record as it was, with one more replay counted.

        Args:
            topic: Where to; None is the topic it came from. There it goes into the partition it came
                from, so that records of one key stay in order; elsewhere its key decides.
            original: The record at ``source`` and ``offset``, read again. Needed where ``omitted``.

        Raises:
            MessageSizeError: Something was left out and no original was given.
            MessageDecodeError: It could not be read and no original was given, or the original is not
                the record that the letter was made of.
        """
        place = f"{self.source.topic}-{self.source.partition} at offset {self.offset}"
        again = "read the record from its topic while it is still there"
        key, value, headers = self.key, self.value, tuple(self.headers)
        if self.omitted and original is None:
            if not self.left_out:
                raise MessageDecodeError(f"{place} could not be read", hint=again)
            parts = " and ".join(self.left_out)
            raise MessageSizeError(f"the {parts} of {place} did not fit into its dead letter", hint=again)
        if self.omitted and original is not None:
            own = tuple((_sendable(name), what) for name, what in _foreign(original.headers))
            there = {"value": original.value, "key": original.key, "headers": _flat(own)}
            same = (original.topic, original.partition, original.offset) == (*self.source, self.offset)
            if not same or any(
                _omitted(there[part] or b"") != said.encode() for part, said in self.left_out.items()
            ):
                raise MessageDecodeError(f"{place} is not the record that the dead letter was made from")
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
    """Upper bound of a record's size in bytes, as brokers compare it with ``max.message.bytes``.

    That is the size of a batch (record batch v2) with this record only, compressed or not: what cannot
    be compressed grows by up to 0.4 %.
    """
    size = _BATCH_OVERHEAD + _RECORD_OVERHEAD + len(outgoing.key or b"") + len(outgoing.value or b"")
    for name, value in outgoing.headers:
        size += _HEADER_OVERHEAD + len(name.encode(errors="surrogatepass")) + len(value or b"")
    return size + size // 250 + 64


def _foreign(headers: Headers) -> Iterable[tuple[str, bytes | None]]:
    """A record's headers without ours."""
    return [(name, value) for name, value in headers if name not in _OURS]


def _replays(headers: Headers) -> int:
    """How often a record has been put back; 0 where nothing readable says so."""
    for name, value in reversed(headers):
        if name == REPLAYS and value and len(value) <= 9 and value.isdigit():
            return int(value)
    return 0


def _sendable(name: str) -> str:
    """A header's key as UTF-8: a stray byte becomes ``\\xff``."""
    try:
        str.encode(name)
    except UnicodeEncodeError:
        return str.encode(name, errors="surrogateescape").decode(errors="backslashreplace")
    return name


def _sent(timestamp: int) -> int | None:
    """A timestamp to send; a record without one gets the time of sending."""
    return timestamp if timestamp >= 0 else None


def _omitted(what: bytes) -> bytes:
    return f"omitted: {len(what)} bytes, sha256:{hashlib.sha256(what).hexdigest()}".encode()


def _flat(headers: Headers) -> bytes:
    """Headers as bytes, to take a digest of."""
    return repr([(name, value) for name, value in headers]).encode()
