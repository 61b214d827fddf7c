"""Missing access rights, and a group that we may not join: one line with a hint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka_runs import QUICK, Run, fill_tweets, settings
from kafka_tools import make_topic

from sentstream.errors import AuthorizationError, KafkaError
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.consume.run import Options
from tools.fetched import Unavailable
from tools.local_kafka import LocalKafka, Security

SETTINGS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # who comes without security
}
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
READ, WRITE, CREATE = ACLOperation.READ, ACLOperation.WRITE, ACLOperation.CREATE
TOPIC, GROUP = ResourceType.TOPIC, ResourceType.GROUP


@pytest.fixture(name="guarded", scope="module")
def _guarded() -> Iterator[LocalKafka]:
    """A broker on which alice has no rights by default."""
    try:
        with LocalKafka(security=Security(), settings=SETTINGS) as broker:
            yield broker
    except Unavailable as error:
        pytest.skip(f"no Kafka broker: {error}")


def allow(broker: LocalKafka, kind: ResourceType, name: str, *operations: ACLOperation) -> None:
    pattern = ResourcePattern(
        kind, name, ACLResourcePatternType.PREFIXED if kind != TOPIC else ACLResourcePatternType.LITERAL
    )
    wanted = [ACL("User:alice", "*", each, ACLPermissionType.ALLOW, pattern) for each in operations]
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        admin.create_acls(wanted)


def source(broker: LocalKafka) -> str:
    """A topic with tweets; alice has all rights except those on dead letters."""
    name = make_topic(broker.bootstrap)
    fill_tweets(broker.bootstrap, name, range(3))
    allow(broker, TOPIC, name, READ)
    allow(broker, TOPIC, f"{name}.scored", WRITE, CREATE)
    allow(broker, GROUP, name, READ)
    allow(broker, ResourceType.TRANSACTIONAL_ID, name, WRITE)
    return name


def as_alice(broker: LocalKafka) -> Settings:
    given = {
        "bootstrap.servers": broker.sasl_plaintext,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": f'{PLAIN} required username="alice" password="alice-secret";',
    }
    return Settings.load(overrides=QUICK | given, environ={})


@pytest.mark.parametrize("exists", [True, False], ids=["there", "missing"])
def test_hidden_dead_letter_topic_is_named_and_the_hint_works(
    guarded: LocalKafka, bundle: Path, client: str, exists: bool
) -> None:
    name = source(guarded)
    letters = make_topic(guarded.bootstrap) if exists else f"{name}.dlq"
    options = Options([name], group=name, dead_letter_topic=letters, until_end=True)

    def run() -> Run:
        return Run(options, as_alice(guarded), client=client, model=bundle)

    with pytest.raises(AuthorizationError) as caught:
        run().ended()
    assert str(caught.value) == (
        f"not allowed: topic {letters} (this needs the ACL Write on the topic, "
        "and Create if the topic does not exist)"
    )
    allow(guarded, TOPIC, letters, WRITE, *([] if exists else [CREATE]))
    assert run().ended().records == 3


def test_hidden_source_is_not_reported_as_missing(guarded: LocalKafka, bundle: Path, client: str) -> None:
    name = make_topic(guarded.bootstrap)
    with pytest.raises(AuthorizationError) as caught:
        Run(Options([name], group=name), as_alice(guarded), client=client, model=bundle).ended()
    assert str(caught.value) == f"not allowed: topic {name} (this needs the ACL Read on the topic)"


@contextmanager
def member(bootstrap: str, topic: str, group: str) -> Iterator[None]:
    """A member that requests the range assignor."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        partition_assignment_strategy=[RangePartitionAssignor],
        enable_auto_commit=False,
    )
    joined, stop = threading.Event(), threading.Event()

    def poll() -> None:
        while not stop.is_set():
            # kafka-python may forget a join that outlasts its poll (see membership.Coordinator).
            consumer.poll(timeout_ms=100 if joined.is_set() else 10_000, max_records=1)
            if consumer.assignment():
                joined.set()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        assert joined.wait(60)
        yield
    finally:
        stop.set()
        thread.join(60)
        consumer.close(autocommit=False)


def test_group_with_another_assignor_is_reported_and_the_hint_works(
    kafka: Any, topic: Callable[..., str], bundle: Path, client: str
) -> None:
    name = topic()
    fill_tweets(kafka.bootstrap, name, range(3))

    def run(group: str) -> Run:
        options = Options([name], group=group, until_end=True)
        return Run(options, settings(kafka.bootstrap), client=client, model=bundle)

    with member(kafka.bootstrap, name, f"{name}-group"):
        with pytest.raises(KafkaError) as caught:
            run(f"{name}-group").ended()
        assert str(caught.value).endswith(
            ": the group has members whose partition assignor is not cooperative-sticky "
            "(choose another --group, or stop those members first)"
        )
        assert caught.value.exit_code == 70
        assert run(f"{name}-other").ended().records == 3
    assert run(f"{name}-group").ended().records == 3
