"""Helpers for tests with Kafka: fill topics, read them, look at offsets."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import TransactionState
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import InvalidReplicationFactorError, RetriableError
from kafka.net.sasl.oauth import AbstractTokenProvider
from processes import PATIENCE, wait_until

from sentstream.kafka.access.oauth import unsigned
from sentstream.kafka.clients.kafka_python.client import _ClosingSockets

Record = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]], int | None]
"""Key, value, headers and time in milliseconds (None for now)."""

#: As in our own clients: kafka-python leaves sockets that cannot connect to the garbage collector,
#: which then warns in some unrelated test.
DIRECT = {"proxy_url": f"{_ClosingSockets.SCHEMES[0]}://"}


def _separate_random_generators() -> None:
    """Give kafka-python's threads, which may outlive their test, their own random generator.

    Hypothesis complains if the global one changes during a test.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("kafka.") and getattr(module, "random", None) is random:
            module.random = random.Random()


_separate_random_generators()


def make_topic(bootstrap: str, partitions: int = 1, *, name: str = "", **configs: Any) -> str:
    """Create a topic and wait until it is visible; ``retention_ms=1000`` sets ``retention.ms``."""
    name = name or new_name()
    settings = {key.replace("_", "."): str(value) for key, value in configs.items()}
    topics = {name: {"num_partitions": partitions, "replication_factor": 1, "configs": settings}}
    with KafkaAdminClient(bootstrap_servers=bootstrap, **DIRECT) as admin:
        wait_until(lambda: _created(admin, topics), f"topic {name} is created")
        admin.wait_for_topics([name], timeout_ms=1000 * PATIENCE)
    return name


def _created(admin: KafkaAdminClient, wanted: Any) -> bool:
    """Try to create topics; return False while a broker that has just started refuses."""
    try:
        admin.create_topics(wanted)
    except InvalidReplicationFactorError:
        return False
    return True


def new_name() -> str:
    """Return an unused name for a topic or a group."""
    return f"test-{uuid.uuid4().hex[:12]}"


def fill(
    bootstrap: str, topic: str, records: Iterable[Record], partition: int | None = None, **client: Any
) -> list[tuple[int, int]]:
    """Send the records, idempotently; return the partition and offset of each once all are acknowledged.

    kafka-python rejects a record with neither key nor value, and a header without a value.
    """
    settings = {"linger_ms": 5, "acks": "all", "enable_idempotence": True} | client
    producer = KafkaProducer(bootstrap_servers=bootstrap, **DIRECT, **settings)
    try:
        futures = [
            producer.send(topic, value, key, list(headers), partition, timestamp)
            for key, value, headers, timestamp in records
        ]
        producer.flush(PATIENCE)
        done = [future.get(timeout=PATIENCE) for future in futures]
    finally:
        producer.close(10)
    return [(record.partition, record.offset) for record in done]


def drain(
    bootstrap: str, topic: str, *, isolation: str = "read_committed", **client: Any
) -> list[ConsumerRecord]:
    """Return all records of the topic up to its current end, by partition and offset.

    With ``read_committed``, the end is where the first open transaction begins, and records of aborted ones
    are left out.
    """
    settings = {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "fetch_max_wait_ms": 50,
        "max_poll_records": 5000,
    } | client
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, **DIRECT, isolation_level=isolation, **settings)
    try:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise AssertionError(f"there is no topic {topic}")
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        found: dict[TopicPartition, list[ConsumerRecord]] = {partition: [] for partition in partitions}
        deadline = time.monotonic() + PATIENCE
        while True:
            ends: dict[TopicPartition, int] = consumer.end_offsets(partitions)
            _read_to(consumer, ends, found)
            # A transaction's marker is written shortly after its commit returns; until then its records are
            # between the end and the high watermark, which a fetch returns. One may also stay open forever.
            marks = {each: consumer.highwater(each) for each in partitions}
            behind = [each for each, mark in marks.items() if mark is None or mark > ends[each]]
            if not behind or (None not in marks.values() and _holds_transactions(bootstrap, behind, client)):
                break
            if time.monotonic() > deadline:
                raise AssertionError(f"ended transactions are not seen: ends {ends}, high watermarks {marks}")
            for partition, records in consumer.poll(timeout_ms=100).items():
                found[partition] += records
    finally:
        consumer.close(autocommit=False)
    return [
        record for partition in partitions for record in found[partition] if record.offset < ends[partition]
    ]


def _holds_transactions(bootstrap: str, partitions: Sequence[TopicPartition], client: dict[str, Any]) -> bool:
    """Return whether an unended transaction holds the end of each partition."""
    with KafkaAdminClient(bootstrap_servers=bootstrap, **DIRECT, **client) as admin:
        producers = {
            partition: {
                each.current_transaction_start_offset: each.producer_id
                for each in state.active_producers
                if each.current_transaction_start_offset >= 0
            }
            for partition, state in admin.describe_producers(partitions).items()
        }
        open_transactions = admin.list_transactions(state_filters=[TransactionState.ONGOING.value])
    ongoing = {each.producer_id for transactions in open_transactions.values() for each in transactions}
    return all(open_ and open_[min(open_)] in ongoing for open_ in producers.values())


def _read_to(
    consumer: KafkaConsumer,
    ends: dict[TopicPartition, int],
    found: dict[TopicPartition, list[ConsumerRecord]],
) -> None:
    """Read until each partition is at its end."""
    deadline = time.monotonic() + PATIENCE
    # Compare positions, not records: the last offsets may be transaction markers.
    while behind := [each for each in ends if consumer.position(each) < ends[each]]:
        if time.monotonic() > deadline:
            where = {each.partition: (consumer.position(each), ends[each]) for each in behind}
            raise AssertionError(f"not read to its end, (position, end) by partition: {where}")
        for partition, records in consumer.poll(timeout_ms=500).items():
            found[partition] += records


def committed(bootstrap: str, group: str, topic: str, **client: Any) -> dict[int, int]:
    """Return the group's committed offsets by partition; partitions without one are left out.

    Retries while the coordinator has just been elected or moved, as on a new broker.
    """
    deadline = time.monotonic() + PATIENCE
    with KafkaAdminClient(bootstrap_servers=bootstrap, **DIRECT, **client) as admin:
        while True:
            try:
                offsets = admin.list_group_offsets(group).get(group, {})
                break
            except RetriableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
    return {
        partition.partition: commit.offset
        for partition, commit in offsets.items()
        if partition.topic == topic and commit.offset >= 0
    }


class UnsecuredTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Unsigned OAUTHBEARER tokens, which LocalKafka's SASL_SSL listener accepts."""

    def __init__(self, subject: str = "alice", lifetime: float = 3600.0) -> None:
        self.subject = subject
        self.lifetime = lifetime

    def token(self) -> str:
        """Return a JSON web token issued now."""
        return unsigned(self.subject, self.lifetime)().value
