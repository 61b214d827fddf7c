"""Requests outside any group, with kafka-python."""

from __future__ import annotations

import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka
from kafka.admin import ConfigResource, ConfigResourceType

from sentstream.errors import SentstreamError
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Origin, Partition, PositionLostError, Record, is_starting_up
from sentstream.kafka.clients.kafka_python.consumer import PythonConsumer
from sentstream.kafka.clients.kafka_python.errors import retried, translated
from sentstream.kafka.clients.patience import Patience

T = TypeVar("T")

_LARGEST_RECORD = 1_048_588  # a broker's default message.max.bytes
_POLL_SECONDS = 0.25


class PythonAdmin:
    """An ``api.Admin`` on kafka-python."""

    def __init__(
        self,
        open_: Callable[[Any, dict[str, Any]], Any],
        reading: dict[str, Any],
        settings: Settings,
        patience: Patience,
    ) -> None:
        self._open, self._reading, self._settings = open_, reading, settings
        self._patience = patience
        self._seconds = settings.integer("default.api.timeout.ms", 60_000) / 1000
        self._backoff = settings.integer("retry.backoff.ms", 100)
        self._admin = open_(KafkaAdminClient, {"retry_backoff_ms": self._backoff})
        self._reader: PythonConsumer | None = None
        self._cluster: str | None = None

    def partitions(self, topics: Collection[str]) -> dict[str, int]:
        if not topics:
            return {}
        return self._retried(lambda: self._counted(topics), "topics")

    def origins(self, topics: Collection[str]) -> dict[str, Origin]:
        if not topics:
            return {}

        def ask() -> dict[str, Origin]:
            if self._cluster is None:
                self._cluster = str(self._admin.describe_cluster()["cluster_id"])
            return {
                topic["name"]: Origin(self._cluster, _topic_id(topic.get("topic_id")))
                for topic in self._described(topics)
            }

        return self._retried(ask, "topics")

    def create(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        request = {
            topic: {"num_partitions": partitions, "replication_factor": -1, "configs": dict(configs or {})}
        }

        def attempt() -> None:
            answer = self._admin.create_topics(request, raise_errors=False)["topics"][0]
            error = kafka.for_code(answer["error_code"])
            if error is kafka.TopicAuthorizationFailedError:
                raise error({topic})
            if error is kafka.InvalidReplicationFactorError and is_starting_up(answer["error_message"] or ""):
                raise kafka.NodeNotReadyError(answer["error_message"])
            if error not in (kafka.NoError, kafka.TopicAlreadyExistsError):
                raise error(answer["error_message"])
            self._admin.wait_for_topics([topic])

        self._retried(attempt, f"create topic {topic}")

    def largest_record(self, topic: str) -> int:
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]

        def attempt() -> int:
            answer = self._admin.describe_configs(asked, config_filter="all")
            value = answer.get("topic", {}).get(topic, {}).get("max.message.bytes", {}).get("value")
            return int(value) if value else _LARGEST_RECORD

        return self._retried(attempt, f"configuration of topic {topic}")

    def committed(self, group: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        if not partitions:
            return {}
        request = {group: [TopicPartition(*each) for each in partitions]}

        def attempt() -> Any:
            try:
                return self._admin.list_group_offsets(request)
            except kafka.GroupAuthorizationFailedError as error:  # so that the message names only the group
                raise kafka.GroupAuthorizationFailedError(group) from error

        found = self._retried(attempt, f"offsets of group {group}")
        return {
            Partition(*each): stored_offset.offset
            for each, stored_offset in found.get(group, {}).items()
            if stored_offset.offset >= 0
        }

    def end_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return self._consumer().end_offsets(partitions)

    def read(self, partition: Partition, offset: int, limit: int) -> Sequence[Record]:
        consumer = self._consumer()
        end = consumer.end_offsets([partition])[partition]
        offset = max(offset, consumer.beginning_offsets([partition])[partition])
        consumer.assign(partition, offset)
        deadline = self._patience.deadline(self._seconds)
        while consumer.positions().get(partition, offset) < end and deadline.left() > 0:
            try:
                if records := consumer.poll(_POLL_SECONDS, limit):
                    return records
            except PositionLostError:  # deleted in the meantime
                consumer.seek({partition: consumer.beginning_offsets([partition])[partition]})
        return []

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._admin.close()

    # Internals

    def _consumer(self) -> PythonConsumer:
        if self._reader is None:
            self._reader = PythonConsumer(self._open, self._reading, self._settings, self._patience)
        return self._reader

    def _counted(self, topics: Collection[str]) -> dict[str, int]:
        return {topic["name"]: len(topic["partitions"]) for topic in self._described(topics)}

    def _described(self, topics: Collection[str]) -> Iterator[dict[str, Any]]:
        """Yield the brokers' descriptions of the topics that exist."""
        for topic in self._admin.describe_topics(list(topics)):
            error = kafka.for_code(topic["error_code"])
            if error is kafka.TopicAuthorizationFailedError:
                raise error({topic["name"]})
            if error in (kafka.UnknownTopicOrPartitionError, kafka.InvalidTopicError):
                continue
            if error is not kafka.NoError:
                raise error()
            yield topic

    def _retried(self, action: Callable[[], T], description: str) -> T:
        with self._errors(description):
            return retried(action, self._patience.deadline(self._seconds), self._backoff / 1000)

    @contextmanager
    def _errors(self, action: str) -> Generator[None, None, None]:
        try:
            yield
        except (kafka.KafkaError, SentstreamError) as error:
            raise translated(error, action) from error


def _topic_id(found: object) -> str:
    """Return a topic's id as Kafka's tools print it.

    >>> _topic_id("1b3e2936-510b-405f-9737-d991530b259e")
    'Gz4pNlELQF-XN9mRUwslng'
    """
    number = uuid.UUID(str(found)) if found else uuid.UUID(int=0)
    return urlsafe_b64encode(number.bytes).decode().rstrip("=") if number.int else ""
