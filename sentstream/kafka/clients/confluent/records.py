"""Convert librdkafka's messages to records, and records to what it sends."""

from __future__ import annotations

import functools
import gc
import operator
from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from sentstream.kafka.clients.api import Headers, Partition, StartAt, StoredRecord

Place = tuple[str, int]
# If headers cannot be read, the library leaves an exception pending, which Python notices only on a call
# through methodcaller. After a direct call that has run often enough, it would be raised anywhere later.
_headers = operator.methodcaller("headers")
_new = tuple.__new__  # a NamedTuple's constructor takes twice as long


def stored(message: Any) -> StoredRecord:
    """Return a message without an error as a record.

    Raises:
        ValueError: Its headers cannot be read: several keys are not UTF-8.
    """
    try:
        headers = _headers(message) or []
    except (SystemError, UnicodeDecodeError) as error:
        headers = _odd_headers(message, error)
    return _new(
        StoredRecord,
        (
            message.topic(),
            message.partition(),
            message.offset(),
            message.timestamp()[1],
            message.key(),
            message.value(),
            headers,
        ),
    )


def _odd_headers(message: Any, error: BaseException) -> Headers:
    """Return headers with one key that is not UTF-8, which confluent-kafka 2.16 cannot read.

    Its first call fails with the key's bytes in the exception's cause. Later calls return tuples whose first
    element is a null pointer, so only the garbage collector can inspect them safely.
    """
    cause = error if isinstance(error, UnicodeDecodeError) else error.__cause__
    try:
        pairs: list[Any] = _headers(message) or []
    except (SystemError, UnicodeDecodeError):
        pairs = []
    held = [gc.get_referents(pair) for pair in pairs]
    if not isinstance(cause, UnicodeDecodeError) or sum(len(each) == 1 for each in held) != 1:
        raise ValueError("a header's key is not UTF-8, and confluent-kafka cannot read it") from error
    key = cause.object.decode("utf-8", "surrogateescape")
    return [(key, each[0]) if len(each) == 1 else pair for pair, each in zip(pairs, held, strict=True)]


def sendable(headers: Headers) -> list[tuple[str, bytes | None]]:
    """Return headers without surrogates in their keys, on which the library crashes.

    A key that is not UTF-8 is sent as the Java client reads it: with U+FFFD for invalid bytes.
    """
    return [(_key(key), value) for key, value in headers]


@functools.lru_cache(maxsize=1024)
def _key(key: str) -> str:
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def offsets(
    consumer: Consumer, partitions: Collection[Partition], start: StartAt, seconds: float
) -> dict[Partition, int]:
    """Return the offsets at ``start``, with one request per broker; a time after the last record is left out.

    The latest is the last stable offset, since all our consumers read committed records.
    """
    code = start if isinstance(start, int) else {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}[start]
    wanted = [TopicPartition(topic, partition, code) for topic, partition in partitions]
    found = consumer.offsets_for_times(wanted, timeout=seconds)
    raise_first(found)
    return {Partition(one.topic, one.partition): one.offset for one in found if one.offset >= 0}


def with_notes(offsets: Mapping[Partition, int], notes: Mapping[str, str]) -> list[TopicPartition]:
    """Return offsets as librdkafka commits them, with the notes of their topics as metadata."""
    return [TopicPartition(*each, offset, notes.get(each.topic, "")) for each, offset in offsets.items()]


def topic_partitions(partitions: Collection[Place]) -> list[TopicPartition]:
    """Return partitions as the library's objects."""
    return [TopicPartition(topic, partition) for topic, partition in partitions]


def raise_first(partitions: Collection[TopicPartition]) -> None:
    """Raise the first error of one of these partitions, as the library does for other errors."""
    for one in partitions:
        if one.error is not None:
            raise KafkaException(one.error)
