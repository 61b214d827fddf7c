"""Read partitions with librdkafka, outside any group."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import Consumer as LibraryConsumer
from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import KafkaException, TopicPartition

from sentstream.kafka.clients.api import Partition, StartAt, StoredRecord
from sentstream.kafka.clients.confluent.errors import (
    ANY_TOPIC,
    UNKNOWN,
    UNREADABLE,
    Cluster,
    ErrorCollector,
    bounded,
    calling,
    converted,
    is_lost,
    library_error,
    missing,
    opened,
)
from sentstream.kafka.clients.confluent.records import offsets, stored

_PROBE = 5.0  # seconds


class Reader:
    """Reads one partition at a time.

    Args:
        config: librdkafka's configuration.
        cluster: State that the client's handles share.
    """

    def __init__(self, config: Mapping[str, Any], cluster: Cluster) -> None:
        self._config, self._cluster, self._seconds = config, cluster, cluster.seconds
        self._open()

    def _open(self) -> None:
        self._errors_seen = ErrorCollector(self._cluster.verify)
        self._consumer = opened(LibraryConsumer, self._config, self._errors_seen)
        self._errors_seen.serve = functools.partial(self._consumer.poll, 0)

    def _check_brokers(self) -> None:
        """Reopen the handle if the library has lost all brokers."""
        if is_lost(self._consumer, self._cluster.fresh):
            self.close()
            self._open()

    def offsets(
        self, partitions: Collection[Partition], start: StartAt, seconds: float | None = None
    ) -> dict[Partition, int]:
        """Return offsets as ``records.offsets`` does, within ``seconds`` or the default time.

        Raises:
            TopicNotFoundError: The cluster knows no such topic or partition.
            BrokerUnreachableError: No answer in time.
        """
        action = f"asking for the offsets of {_names(partitions)} failed"
        deadline = self._cluster.patience.deadline(self._seconds if seconds is None else seconds)

        def ask(left: float) -> dict[Partition, int]:
            try:
                return offsets(self._consumer, partitions, start, left)
            except KafkaException as exception:
                if library_error(exception).code() in UNKNOWN:
                    error = missing(self._consumer, partitions, self._cluster, action)
                    if error is not None:
                        raise error from exception
                raise

        return calling(
            ask,
            deadline,
            lambda error: self._errors_seen.explain(error, action),
            self._check_brokers,
            apart=True,
        )

    def ask_anything(self, seconds: float) -> None:
        """Make a request that any broker can answer.

        Raises:
            KafkaException: None answers within ``seconds``.
        """
        self._consumer.list_topics(ANY_TOPIC, timeout=seconds)

    def read(self, partition: Partition, offset: int, limit: int) -> list[StoredRecord]:
        """Return up to ``limit`` committed records from an offset on; [] at the end."""
        begin = self.offsets([partition], "earliest")[partition]
        self._consumer.assign([TopicPartition(*partition, max(offset, begin))])
        deadline = time.monotonic() + self._seconds
        records: list[StoredRecord] = []
        try:
            while len(records) < limit:
                first = self._consumer.poll(max(0.0, deadline - time.monotonic()))
                if first is None:
                    if time.monotonic() >= deadline:
                        timeout = LibraryError(LibraryError._TIMED_OUT)
                        raise self._errors_seen.explain(timeout, f"reading {partition.topic} failed")
                    continue
                for message in [first, *self._consumer.consume(max(1, limit - len(records) - 1), 0)]:
                    if self._is_end(message, partition):
                        return records
                    if message.error() is None and len(records) < limit:
                        records.append(stored(message))
            return records
        finally:
            self._consumer.unassign()

    def _is_end(self, message: Any, partition: Partition) -> bool:
        error = message.error()
        if error is None or message.topic() != partition.topic:
            return False
        if error.code() in (LibraryError._PARTITION_EOF, LibraryError._AUTO_OFFSET_RESET):
            return True
        raise converted(error, f"reading {partition.topic}-{partition.partition} failed")

    def batch_end(self, partition: Partition, begin: int) -> int:
        """Return the first offset after the unreadable batch at ``begin``, which librdkafka does not tell.

        A read at any offset within the batch fails at its beginning, so a binary search finds its end.
        """
        bad, good = begin, self.offsets([partition], "latest")[partition]
        while good - bad > 1:
            middle = (bad + good) // 2
            if self._is_within(partition, begin, middle):
                bad = middle
            else:
                good = middle
        return bad + 1

    def _is_within(self, partition: Partition, begin: int, offset: int) -> bool:
        """Return whether an offset is in the unreadable batch that begins at ``begin``."""
        self._consumer.assign([TopicPartition(*partition, offset)])
        deadline = time.monotonic() + _PROBE
        while (left := deadline - time.monotonic()) > 0:
            message: Any = self._consumer.poll(left)
            if message is not None and message.topic() == partition.topic:
                error = message.error()
                return error is not None and error.code() in UNREADABLE and message.offset() == begin
        return False

    def close(self) -> None:
        """Close the connections."""
        bounded(self._consumer.close, self._cluster.patience.closing)


def _names(partitions: Collection[Partition]) -> str:
    """Return the topics of partitions, for messages.

    >>> _names([Partition("b", 0), Partition("a", 0), Partition("a", 1)])
    'a, b'
    """
    return ", ".join(sorted({partition.topic for partition in partitions}))
