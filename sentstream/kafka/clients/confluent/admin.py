"""Requests to the cluster outside any group, with confluent-kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection
from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import admin as library_admin

from sentstream.errors import AuthorizationError, TopicNotFoundError
from sentstream.kafka.clients.api import Origin, Partition, StoredRecord
from sentstream.kafka.clients.confluent.errors import (
    ANY_TOPIC,
    AUTHORIZATION,
    NO_TOPIC,
    Cluster,
    ErrorCollector,
    await_broker,
    bounded,
    calling,
    is_lost,
    library_error,
    opened,
)
from sentstream.kafka.clients.confluent.reader import Reader
from sentstream.kafka.clients.confluent.records import raise_first, topic_partitions
from sentstream.kafka.clients.patience import Deadline

_library: Any = library_admin  # its type hints are incomplete
_SPREADING = 10.0  # seconds until all brokers know a new topic
_BACKOFF = 0.05  # seconds
_LARGEST = 1_048_588  # the default of max.message.bytes


class ConfluentAdmin:
    """An ``api.Admin`` on confluent-kafka.

    Args:
        config: librdkafka's configuration.
        reader: Opens a reader.
        cluster: State that the client's handles share.
    """

    def __init__(self, config: Mapping[str, Any], reader: Callable[[], Reader], cluster: Cluster) -> None:
        self._config, self._cluster, self._open_reader = config, cluster, reader
        self._opened: Reader | None = None
        self._cluster_id: str | None = None
        self._open()
        await_broker(self._admin, self._errors_seen, self._deadline())

    def _deadline(self) -> Deadline:
        return self._cluster.patience.deadline(self._cluster.seconds)

    def _open(self) -> None:
        self._errors_seen = ErrorCollector(self._cluster.verify)
        self._handle = [opened(_library.AdminClient, self._config, self._errors_seen)]
        self._errors_seen.serve = lambda: self._admin.poll(0)

    def _check_brokers(self) -> None:
        """Reopen the handle if the library waits for something that cannot happen."""
        if is_lost(self._admin, self._cluster.fresh):
            bounded(self._handle.clear)
            self._open()

    def partitions(self, topics: Collection[str]) -> dict[str, int]:
        found = self._ask("asking for topics failed", lambda s: self._admin.list_topics(timeout=s)).topics
        if missing := [topic for topic in topics if topic not in found]:
            self._check_hidden(missing)
        return {topic: len(found[topic].partitions) for topic in topics if topic in found}

    def _check_hidden(self, topics: Collection[str]) -> None:
        """Check that topics do not exist, rather than being hidden from us: a list of all omits both.

        Raises:
            AuthorizationError: We may not see a topic.
        """

        def ask(seconds: float) -> list[str]:
            request = TopicCollection(list(topics))
            futures = self._admin.describe_topics(request, request_timeout=seconds)
            return [topic for topic, future in futures.items() if _is_forbidden(future)]

        for topic in self._ask("asking for topics failed", ask):
            raise AuthorizationError(f"not allowed: topic {topic}", hint="ask for an ACL")

    def origins(self, topics: Collection[str]) -> dict[str, Origin]:
        def ask(topic: str, seconds: float) -> Any:
            request = TopicCollection([topic])
            return self._admin.describe_topics(request, request_timeout=seconds)[topic].result()

        if self._cluster_id is None:
            metadata = self._ask(
                "asking for the cluster failed", lambda s: self._admin.list_topics(ANY_TOPIC, timeout=s)
            )
            self._cluster_id = str(metadata.cluster_id)
        found = {}
        for topic in topics:
            with suppress(TopicNotFoundError):
                described = self._ask(f"asking for topic {topic!r} failed", partial(ask, topic))
                # The library uses the base64 of RFC 2045, Kafka's tools the URL-safe one.
                name = str(described.topic_id).translate(str.maketrans("+/", "-_"))
                found[topic] = Origin(self._cluster_id, "" if not name.strip("A") else name)
        return found

    def create(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        def make(seconds: float) -> None:
            request = [_library.NewTopic(topic, partitions, config=dict(configs or {}))]
            self._admin.create_topics(request, operation_timeout=seconds, request_timeout=seconds)[
                topic
            ].result()

        def failure(error: LibraryError) -> Exception:
            return self._errors_seen.explain(error, f"topic {topic!r} cannot be created")

        try:
            calling(make, self._deadline(), lambda error: _Failed(error, failure(error)))
        except _Failed as failed:
            if failed.error.code() != LibraryError.TOPIC_ALREADY_EXISTS:
                raise failed.failure from failed
        deadline = time.monotonic() + _SPREADING
        with suppress(AuthorizationError):  # we may be allowed to create topics but not to see them
            while topic not in self.partitions([topic]) and time.monotonic() < deadline:
                time.sleep(_BACKOFF)

    def largest_record(self, topic: str) -> int:
        resource = _library.ConfigResource(_library.ResourceType.TOPIC, topic)
        try:
            found = self._ask(
                f"asking for the settings of topic {topic!r} failed",
                lambda s: self._admin.describe_configs([resource], request_timeout=s)[resource].result(),
            )
        except (AuthorizationError, TopicNotFoundError):
            return _LARGEST
        entry = found.get("max.message.bytes")
        return _LARGEST if entry is None or entry.value is None else int(entry.value)

    def committed(self, group: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        if not partitions:
            return {}
        request = ConsumerGroupTopicPartitions(group, topic_partitions(partitions))

        def ask(seconds: float) -> Any:
            futures = self._admin.list_consumer_group_offsets([request], request_timeout=seconds)
            found = futures[group].result().topic_partitions
            raise_first(found)
            return found

        found = self._ask(f"asking for the offsets of group {group!r} failed", ask)
        return {Partition(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def end_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return self._reader.offsets(partitions, "latest") if partitions else {}

    def read(self, partition: Partition, offset: int, limit: int) -> list[StoredRecord]:
        return self._reader.read(partition, offset, limit)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        bounded(self._handle.clear)  # runs the destructor, its only way to close

    @property
    def _admin(self) -> Any:
        return self._handle[0]

    @property
    def _reader(self) -> Reader:
        if self._opened is None:
            self._opened = self._open_reader()
        return self._opened

    def _ask(self, action: str, call: Callable[[float], Any]) -> Any:
        return calling(
            call,
            self._deadline(),
            lambda error: self._errors_seen.explain(error, action),
            self._check_brokers,
        )


def _is_forbidden(future: Any) -> bool:
    """Return whether the answer is that we are not authorized."""
    try:
        future.result()
    except KafkaException as exception:
        code = library_error(exception).code()
        if code not in AUTHORIZATION | NO_TOPIC:
            raise
        return code in AUTHORIZATION
    return False


class _Failed(Exception):
    """A library's error, and the error to raise for it."""

    def __init__(self, error: LibraryError, failure: Exception) -> None:
        super().__init__(error, failure)
        self.error, self.failure = error, failure
