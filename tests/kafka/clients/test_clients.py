"""The contract of ``kafka.clients.api`` for both Kafka clients, against a real broker."""

from __future__ import annotations

import importlib
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import crc32c
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka_tools import new_name
from processes import PATIENCE, child, wait_until

from sentstream.errors import (
    AuthenticationError,
    BrokerUnreachableError,
    ClientConfigError,
    DeliveryError,
    FencedError,
    TopicNotFoundError,
)
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import (
    Client,
    Consumer,
    Outgoing,
    Partition,
    Producer,
    Record,
    StaleGenerationError,
    UnacknowledgedError,
    UnreadableRecordError,
)
from tools.local_kafka import LocalKafka

ROOT = Path(__file__).resolve().parents[3]

#: name -> module and class; a client whose library is not installed is skipped.
CLIENTS = {
    "kafka-python": ("sentstream.kafka.clients.kafka_python.client", "PythonClient"),
    "confluent-kafka": ("sentstream.kafka.clients.confluent.client", "ConfluentClient"),
}

Connect = Callable[..., Client]
#: A session that is longer than any test.
LONG = {"session_timeout_ms": 1_200_000, "max_poll_interval_ms": 1_200_000}


@pytest.fixture(params=list(CLIENTS))
def make_client(request: pytest.FixtureRequest) -> Callable[[Settings], Client]:
    """The class of a client."""
    module, name = CLIENTS[request.param]
    try:
        found: Callable[[Settings], Client] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("sentstream"):
            raise
        pytest.skip(f"{error.name} is not installed")
    return found


@pytest.fixture
def connect(make_client: Callable[[Settings], Client], kafka: Any) -> Connect:
    """Makes a client; ``session_timeout_ms=6000`` sets ``session.timeout.ms``."""

    def make(**settings: object) -> Client:
        given = {name.replace("_", "."): str(value) for name, value in settings.items()}
        # Members learn of a rebalance from heartbeats.
        usual = {"bootstrap.servers": kafka.bootstrap, "heartbeat.interval.ms": "300"}
        return make_client(Settings.load(overrides=usual | given, environ={}))

    return make


@pytest.fixture
def client(connect: Connect) -> Client:
    """A client with default settings."""
    return connect()


class Member:
    """A group member that records its listener's calls and starts at the committed offset, or at 0.

    ``calls`` has assignments and revocations; ``idle`` is true once it has joined without a partition.
    """

    def __init__(
        self, client: Client, group: str, *topics: str, instance: str | None = None, limit: int = 1000
    ) -> None:
        self.consumer = client.consumer(group, instance=instance, limit=limit)
        self.calls: list[tuple[str, set[Partition]]] = []
        self.idle = False
        self.records: list[Record] = []
        self.then: Callable[[str, Collection[Partition]], None] = lambda kind, partitions: None
        try:
            self.consumer.subscribe(topics, self)
        except BaseException:
            self.consumer.close()
            raise

    def assigned(self, partitions: Collection[Partition]) -> None:
        self.idle |= not partitions
        if not partitions:
            return
        self.calls.append(("assigned", set(partitions)))
        committed = self.consumer.committed(partitions)
        self.consumer.seek({each: committed.get(each, 0) for each in partitions})
        self.then("assigned", partitions)

    def revoked(self, partitions: Collection[Partition]) -> None:
        self.calls.append(("revoked", set(partitions)))
        self.then("revoked", partitions)

    def lost(self, partitions: Collection[Partition]) -> None:
        self.calls.append(("lost", set(partitions)))
        self.then("lost", partitions)

    def poll(self, seconds: float = 0.1, limit: int = 1000) -> Sequence[Record]:
        records = self.consumer.poll(seconds, limit)
        self.records.extend(records)
        return records


def members(*all_: Member, until: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Let the members poll in turn until a condition is true."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, [each.calls for each in all_]
        for each in all_:
            each.poll(0.1 / len(all_))


@contextmanager
def joined(
    client: Client, topic: str, group: str = "", *, count: int | None = None, **options: Any
) -> Iterator[Member]:
    """A member that has been assigned (``count``) partitions."""
    member = Member(client, group or new_name(), topic, **options)
    try:
        members(member, until=lambda: len(member.consumer.assignment()) >= (count or 1))
        yield member
    finally:
        member.consumer.close()


@contextmanager
def producing(client: Client, transactional_id: str | None = None) -> Iterator[Producer]:
    producer = client.producer(transactional_id)
    try:
        yield producer
    finally:
        producer.close()


def threads_of_clients() -> int:
    """How many threads kafka-python runs in this process, for itself or for librdkafka's client."""
    return sum("kafka-io" in each.name or "network-thread" in each.name for each in threading.enumerate())


def members_of(bootstrap: str, group: str) -> list[str | None]:
    """The instance ids of a group's members according to the broker; None for a dynamic member."""
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        return [each.get("group_instance_id") for each in admin.describe_groups([group])[group]["members"]]


@contextmanager
def calls() -> Iterator[list[int]]:
    """Count function calls in this thread: a measure of work that does not depend on the machine."""
    made = [0]

    def count(_: object, event: str, __: object) -> None:
        made[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield made
    finally:
        sys.setprofile(None)


def read(member: Member, count: int) -> list[Record]:
    """Poll until the given number of records has arrived in total."""
    members(member, until=lambda: len(member.records) >= count)
    return member.records


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def message(topic: str, value: str | bytes, **more: Any) -> Outgoing:
    return Outgoing(topic, more.pop("key", None), value.encode() if isinstance(value, str) else value, **more)


ODD = [
    (b"key", b"value", (("h", b"1"), ("h", b"2")), 1_700_000_000_000),
    (None, None, (), 1),
    (b"", b"", (("", b""),), 1_000),
    (b"tombstone", None, (("none", None),), 2),
    (None, b"\xff\x00", (("\udcff", b"bad"), ("grün", "☃".encode())), 3),
    (b"after", b"a bad header", (("plain", b"x"),), 4),
]


def sent_name(client: Client, name: str) -> str:
    """The header name that is sent: librdkafka's binding cannot send names that are not UTF-8."""
    if client.name == "kafka-python":
        return name
    return name.encode(errors="surrogateescape").decode(errors="replace")


class TestRecords:
    def test_unusual_records_round_trip(self, client: Client, topic: Any) -> None:
        name = topic()
        with producing(client) as producer, joined(client, name) as member:
            sent = [Outgoing(name, key, value, headers, at) for key, value, headers, at in ODD]
            assert producer.send(sent) == []
            records = read(member, len(ODD))
        found = [(each.key, each.value, tuple(each.headers), each.timestamp) for each in records]
        assert found == [
            (key, value, tuple((sent_name(client, one), what) for one, what in headers), at)
            for key, value, headers, at in ODD
        ]
        assert [each.offset for each in records] == list(range(len(ODD)))
        assert {(each.topic, each.partition) for each in records} == {(name, 0)}
        assert all(type(each.key) in (bytes, type(None)) for each in records)

    @pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
    def test_each_compression(self, connect: Connect, topic: Any, compression: str) -> None:
        name, client = topic(), connect(compression_type=compression)
        sent = [
            message(name, f"{number} {'tweet ' * 20}", headers=[("\udce4", b"")]) for number in range(500)
        ]
        with producing(client) as producer, joined(client, name) as member:
            assert producer.send(sent) == []
            assert values(read(member, 500)) == [each.value for each in sent]
            assert member.records[7].headers == [(sent_name(client, "\udce4"), b"")]

    def test_headers_can_be_passed_on(self, client: Client, topic: Any) -> None:
        name = topic()
        with producing(client) as producer, joined(client, name) as member:
            producer.send([Outgoing(name, None, b"", [("\udc80", b"1"), ("é", None)])])
            first = read(member, 1)[0]
            producer.send([Outgoing(name, first.key, first.value, first.headers)])
            second = read(member, 2)[1]
        assert second.headers == first.headers == [(sent_name(client, "\udc80"), b"1"), ("é", None)]

    def test_record_without_timestamp_gets_the_current_time(self, client: Client, topic: Any) -> None:
        name, before = topic(), int(time.time() * 1000)
        with producing(client) as producer, joined(client, name) as member:
            producer.send([message(name, "x")])
            assert before <= read(member, 1)[0].timestamp <= time.time() * 1000

    def test_keys_choose_the_same_partition_as_java(self, client: Client, topic: Any) -> None:
        # org.apache.kafka.common.utils.Utils.murmur2, of 5 partitions
        expected = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
        name = topic(partitions=5)
        with producing(client) as producer, joined(client, name, count=5) as member:
            producer.send([Outgoing(name, key, b"") for key in expected])
            records = read(member, len(expected))
        assert {each.key: each.partition for each in records} == {
            key: (value & 0x7FFFFFFF) % 5 for key, value in expected.items()
        }

    def test_explicit_partition(self, client: Client, topic: Any) -> None:
        name = topic(partitions=3)
        with producing(client) as producer, joined(client, name, count=3) as member:
            producer.send([message(name, str(number), key=b"k", partition=number) for number in range(3)])
            assert {each.partition: each.value for each in read(member, 3)} == {0: b"0", 1: b"1", 2: b"2"}

    def test_poll_is_limited_and_ordered(self, client: Client, topic: Any) -> None:
        name = topic()
        with producing(client) as producer, joined(client, name) as member:
            producer.send([message(name, str(number)) for number in range(1000)])
            sizes = []
            while len(member.records) < 1000:
                sizes.append(len(member.poll(5, 300)))
        assert max(sizes) == 300
        assert values(member.records) == [str(number).encode() for number in range(1000)]

    def test_large_poll_is_one_poll(self, client: Client, topic: Any) -> None:
        name = topic()
        with producing(client) as producer, joined(client, name, limit=5000) as member:
            producer.send([message(name, f"{number} {'tweet ' * 30}") for number in range(5000)])
            member.consumer.seek({Partition(name, 0): 0})
            polls = 0
            while len(member.records) < 5000:
                polls += bool(member.poll(5, 5000))
        assert polls <= 3

    def test_large_records_come_through(self, client: Client, topic: Any) -> None:
        name = topic(max_message_bytes=12_000_000)
        with producing(client) as producer, joined(client, name) as member:
            assert producer.send([message(name, b"x" * 10_000_000), message(name, "small")]) == []
            assert [len(each.value or b"") for each in read(member, 2)] == [10_000_000, 5]


class TestTransactions:
    def test_committed_records_are_visible_and_aborted_are_not(self, client: Client, topic: Any) -> None:
        name = topic()
        with producing(client, new_name()) as producer, joined(client, name) as member:
            producer.begin()
            producer.send([message(name, "aborted")])
            producer.abort()
            producer.begin()
            producer.send([message(name, "committed")])
            assert member.poll(0.5) == []
            producer.commit()
            assert values(read(member, 1)) == [b"committed"]

    def test_positions_pass_transaction_markers(self, client: Client, topic: Any) -> None:
        name = topic()
        first = Partition(name, 0)
        with producing(client, new_name()) as producer, joined(client, name) as member:
            for end, goal in (producer.commit, 2), (producer.abort, 4):
                producer.begin()
                producer.send([message(name, "x")])
                end()
                members(member, until=lambda: member.consumer.positions() == {first: goal})  # noqa: B023
                assert member.consumer.end_offsets([first]) == {first: goal}

    def test_ends_are_the_last_stable_offsets(self, client: Client, topic: Any) -> None:
        name = topic()
        first = Partition(name, 0)
        admin = client.admin()
        with producing(client, new_name()) as producer, joined(client, name) as member:
            producer.begin()
            producer.send([message(name, "pending")])
            assert member.consumer.end_offsets([first]) == {first: 0} == admin.end_offsets([first])
            assert member.consumer.offsets_at([first], "latest") == {first: 0}
            assert member.consumer.offsets_at([first], 0) == {first: 0}
            producer.commit()
            members(member, until=lambda: member.consumer.end_offsets([first]) == {first: 2})
            assert admin.end_offsets([first]) == {first: 2}
        admin.close()

    def test_offsets_are_committed_with_the_transaction(self, client: Client, topic: Any) -> None:
        name = topic()
        first = Partition(name, 0)
        with producing(client, new_name()) as producer, joined(client, name) as member:
            for end, expected in (producer.abort, {}), (producer.commit, {first: 7}):
                producer.begin()
                producer.send([message(name, "x")])
                producer.add_offsets({first: 7}, member.consumer.group())
                end()
                assert member.consumer.committed([first]) == expected

    def test_committed_offsets_wait_for_a_pending_transaction(self, connect: Connect, topic: Any) -> None:
        name = topic()
        first = Partition(name, 0)
        client = connect(default_api_timeout_ms=1000)
        with producing(client, new_name()) as producer, joined(client, name) as member:
            producer.begin()
            producer.add_offsets({first: 3}, member.consumer.group())
            with pytest.raises(StaleGenerationError):
                member.consumer.committed([first])
            producer.commit()
            members(member, until=lambda: member.consumer.committed([first]) == {first: 3})

    def test_offsets_only_and_empty_transactions(self, client: Client, topic: Any) -> None:
        name = topic()
        first = Partition(name, 0)
        with producing(client, new_name()) as producer, joined(client, name) as member:
            producer.begin()
            producer.commit()
            producer.begin()
            assert producer.send([]) == []
            producer.add_offsets({first: 1}, member.consumer.group())
            producer.commit()
            assert member.consumer.committed([first]) == {first: 1}
            producer.abort()  # none is open

    def test_stale_member_adds_no_offsets(self, client: Client, topic: Any) -> None:
        name, group = topic(partitions=2), new_name()
        with producing(client, new_name()) as producer, joined(client, name, group, count=2) as one:
            old = one.consumer.group()
            other = Member(client, group, name)
            try:
                members(one, other, until=lambda: len(other.consumer.assignment()) == 1)
                producer.begin()
                producer.send([message(name, "lost", partition=0)])
                with pytest.raises(StaleGenerationError):
                    producer.add_offsets({Partition(name, 0): 5}, old)
                producer.abort()
                # The producer goes on.
                producer.begin()
                producer.send([message(name, "kept", partition=0)])
                producer.add_offsets({Partition(name, 0): 6}, one.consumer.group())
                producer.commit()
                assert one.consumer.committed([Partition(name, 0)]) == {Partition(name, 0): 6}
                members(one, other, until=lambda: bool(one.records or other.records))
                assert values(one.records + other.records) == [b"kept"]
            finally:
                other.consumer.close()

    def test_non_member_adds_no_offsets(self, client: Client, topic: Any) -> None:
        name = topic()
        member = Member(client, new_name(), name)
        with producing(client, new_name()) as producer:
            producer.begin()
            with pytest.raises(StaleGenerationError):
                producer.add_offsets({Partition(name, 0): 5}, member.consumer.group())
            producer.abort()
        member.consumer.close()

    @pytest.mark.parametrize("verb", ["send", "add_offsets", "commit"])
    def test_newer_producer_with_the_same_id_fences(self, client: Client, topic: Any, verb: str) -> None:
        name, transactional_id = topic(), new_name()
        with producing(client, transactional_id) as old, joined(client, name) as member:
            old.begin()
            old.send([message(name, "old")])
            with producing(client, transactional_id) as new:
                call = {
                    "send": lambda: old.send([message(name, "older")]),
                    "add_offsets": lambda: old.add_offsets({Partition(name, 0): 1}, member.consumer.group()),
                    "commit": old.commit,
                }[verb]
                with pytest.raises(FencedError, match=transactional_id):
                    call()
                old.abort()  # does not fence back
                old.close()
                new.begin()
                new.send([message(name, "new")])
                new.commit()
            assert values(read(member, 1)) == [b"new"]

    def test_closing_aborts(self, client: Client, topic: Any) -> None:
        name = topic()
        first = Partition(name, 0)
        with joined(client, name) as member:
            with producing(client, new_name()) as producer:
                producer.begin()
                producer.send([message(name, "x")])
            members(member, until=lambda: member.consumer.end_offsets([first]) == {first: 2})
            assert member.poll(1) == member.records == []

    def test_new_producer_ends_the_transaction_of_a_dead_one(self, client: Client, topic: Any) -> None:
        name, transactional_id = topic(), new_name()
        first = Partition(name, 0)
        with joined(client, name) as member, producing(client, transactional_id) as old:
            old.begin()
            old.send([message(name, "x")])
            assert member.consumer.end_offsets([first]) == {first: 0}
            with producing(client, transactional_id):
                members(member, until=lambda: member.consumer.end_offsets([first]) == {first: 2})

    @pytest.mark.slow
    def test_timed_out_transaction_can_be_repeated(self, connect: Connect, topic: Any) -> None:
        name = topic()
        first = Partition(name, 0)
        client = connect(transaction_timeout_ms=1000)
        with producing(client, new_name()) as producer, joined(client, name) as member:
            producer.begin()
            producer.send([message(name, "too late")])
            members(member, until=lambda: member.consumer.end_offsets([first]) == {first: 2})
            with pytest.raises(StaleGenerationError):
                producer.commit()
            producer.abort()
            producer.begin()
            producer.send([message(name, "again")])
            producer.commit()
            assert values(read(member, 1)) == [b"again"]

    @pytest.mark.slow
    def test_expired_producer_does_not_fence_its_successor(self, connect: Connect, topic: Any) -> None:
        name, transactional_id = topic(), new_name()
        first = Partition(name, 0)
        client = connect(transaction_timeout_ms=1000)
        with producing(client, transactional_id) as zombie, joined(client, name) as member:
            zombie.begin()
            zombie.send([message(name, "too late")])
            members(member, until=lambda: member.consumer.end_offsets([first]) == {first: 2})
            with producing(client, transactional_id) as new:
                with pytest.raises(FencedError):
                    zombie.commit()
                zombie.abort()
                new.begin()
                new.send([message(name, "new")])
                new.commit()
            assert values(read(member, 1)) == [b"new"]

    def test_transaction_timeout_above_the_limit_is_a_config_error(self, connect: Connect) -> None:
        with pytest.raises(ClientConfigError, match=r"transaction\.timeout\.ms"):
            connect(transaction_timeout_ms=2_000_000_000).producer(new_name())


class TestRejections:
    @pytest.mark.parametrize("transactional", [True, False])
    def test_too_large_record_is_named_and_the_producer_continues(
        self, client: Client, topic: Any, transactional: bool
    ) -> None:
        name = topic()
        many = [message(name, str(number)) for number in range(20)]
        too_large = message(name, b"x" * 2_000_000)
        with (
            producing(client, new_name() if transactional else None) as producer,
            joined(client, name) as member,
        ):
            if transactional:
                producer.begin()
            refused = producer.send([*many[:10], too_large, *many[10:]])
            assert [each.position for each in refused] == [10]
            assert refused[0] == (10, "the record is too large", "size")
            if transactional:
                producer.abort()
                producer.begin()
                assert producer.send(many) == []
                producer.commit()
            assert sorted(values(read(member, 20))) == sorted(each.value for each in many)

    def test_client_setting_rejects_before_the_broker(self, connect: Connect, topic: Any) -> None:
        name = topic()
        with producing(connect(max_request_size=1000)) as producer:
            refused = producer.send([message(name, "small"), message(name, b"x" * 2000)])
            assert [each.position for each in refused] == [1]

    def test_small_topic_limit_splits_batches(self, client: Client, topic: Any) -> None:
        name = topic(max_message_bytes=2000)
        sent = [message(name, b"x" * 100, headers=[("\udcff", None)]) for _ in range(100)]
        sent[42] = message(name, b"y" * 3000)
        with producing(client) as producer, joined(client, name) as member:
            assert [each.position for each in producer.send(sent)] == [42]
            assert len(read(member, 99)) == 99

    @pytest.mark.parametrize("transactional", [True, False])
    def test_other_broker_rejections_are_named(self, client: Client, topic: Any, transactional: bool) -> None:
        name = topic(cleanup_policy="compact")
        sent = [message(name, str(number), key=b"k") for number in range(10)]
        sent[3] = message(name, "no key")  # a compacted topic takes none without
        with (
            producing(client, new_name() if transactional else None) as producer,
            joined(client, name) as member,
        ):
            if transactional:
                producer.begin()
            assert producer.send(sent) == [
                (3, f"Compacted topic cannot accept message without key in topic partition {name}-0", "other")
            ]
            if transactional:
                producer.abort()
                producer.begin()
                assert producer.send(sent[:3]) == []
                producer.commit()
                assert len(read(member, 3)) == 3
            else:
                assert values(read(member, 9)) == [each.value for each in [*sent[:3], *sent[4:]]]

    def test_timestamp_rejections_have_the_brokers_message(self, client: Client, topic: Any) -> None:
        name = topic(message_timestamp_after_max_ms=60_000)
        now, ahead = int(time.time() * 1000), [3_600_000, 7_200_000]
        times = [now, now + ahead[0], now + ahead[1], now]
        with producing(client) as producer:
            refused = producer.send([message(name, str(each), timestamp=each) for each in times])
        assert [(each.position, each.cause) for each in refused] == [(1, "time"), (2, "time")]
        for each in refused:
            assert each.reason.startswith(f"Timestamp {times[each.position]} of message with offset ")

    def test_asking_for_the_reason_writes_nothing_visible(
        self, client: Client, topic: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if client.name != "confluent-kafka":
            pytest.skip("kafka-python tells why")
        from kafka_tools import drain

        from sentstream.kafka.clients.confluent.refusals import reasons

        name = topic()
        given = client._settings  # type: ignore[attr-defined]
        assert reasons(given, new_name(), [message(name, "taken after all")]) == [None]
        assert drain(given.text("bootstrap.servers"), name) == []


class TestGroup:
    def test_partitions_move_without_stopping_the_others(self, client: Client, topic: Any) -> None:
        name, group = topic(partitions=4), new_name()
        all_ = {Partition(name, number) for number in range(4)}
        with joined(client, name, group, count=4) as one:
            assert one.calls == [("assigned", all_)]
            two = Member(client, group, name)
            members(one, two, until=lambda: len(two.consumer.assignment()) == 2)
            moved = two.consumer.assignment()
            assert one.calls[1:] == [("revoked", moved)]
            assert two.calls == [("assigned", moved)]
            assert one.consumer.assignment() == all_ - moved
            two.consumer.close()
            members(one, until=lambda: one.consumer.assignment() == all_)
            assert one.calls[-1] == ("assigned", moved)

    def test_member_without_partitions_is_notified(self, client: Client, topic: Any) -> None:
        name, group = topic(), new_name()
        with joined(client, name, group) as one:
            two = Member(client, group, name)
            members(one, two, until=lambda: two.idle)
            assert two.calls == []
            two.consumer.close()

    @pytest.mark.parametrize("resumed", [False, True], ids=["resumed later", "resumed before"])
    def test_partitions_lost_and_regained_while_paused_are_read(
        self, client: Client, topic: Any, resumed: bool
    ) -> None:
        name, group = topic(partitions=2), new_name()
        all_ = {Partition(name, number) for number in range(2)}
        with producing(client) as producer, joined(client, name, group, count=2) as one:
            one.consumer.pause()
            two = Member(client, group, name)
            members(one, two, until=lambda: len(two.consumer.assignment()) == 1)
            if resumed:
                one.consumer.resume()
            two.consumer.close()
            members(one, until=lambda: one.consumer.assignment() == all_)
            producer.send([message(name, "x", partition=number) for number in range(2)])
            if not resumed:
                assert not any(one.poll() for _ in range(5))
                one.consumer.resume()
            members(one, until=lambda: len(one.records) == 2)

    def test_listener_may_be_slow_and_call_the_consumer(self, connect: Connect, topic: Any) -> None:
        client = connect(session_timeout_ms=1500, heartbeat_interval_ms=200)
        name, group = topic(partitions=2), new_name()

        def slowly(kind: str, partitions: Collection[Partition]) -> None:
            if kind == "revoked":
                time.sleep(3)  # the session would have ended long ago
                one.consumer.commit(dict.fromkeys(partitions, 1))
                assert one.consumer.committed(partitions) == dict.fromkeys(partitions, 1)
                one.consumer.end_offsets(partitions)
                one.consumer.positions()
                one.consumer.group()

        with producing(client) as producer, joined(client, name, group, count=2) as one:
            producer.send([message(name, "x", partition=number) for number in range(2)])
            one.then = slowly
            two = Member(client, group, name)
            done = threading.Event()
            polling = threading.Thread(target=lambda: members(two, until=done.is_set))
            polling.start()
            members(one, until=lambda: len(one.calls) == 2)
            members(one, until=lambda: len(two.consumer.assignment()) == 1)
            members(one, until=lambda: two.consumer.positions() == dict.fromkeys(one.calls[1][1], 1))
            done.set()
            polling.join()
            two.consumer.close()
            assert [kind for kind, _ in one.calls] == ["assigned", "revoked"]

    def test_listener_errors_are_raised_by_poll(self, client: Client, topic: Any) -> None:
        class OursError(Exception):
            pass

        def fail(kind: str, partitions: Collection[Partition]) -> None:
            raise OursError(kind)

        member = Member(client, new_name(), topic())
        member.then = fail
        with pytest.raises(OursError, match="assigned"):
            members(member, until=lambda: False)
        member.consumer.close()

    def test_evicted_member_is_notified_of_lost_partitions(self, connect: Connect, topic: Any) -> None:
        client = connect(max_poll_interval_ms=1000, session_timeout_ms=1000, heartbeat_interval_ms=200)
        name, group = topic(), new_name()
        first = Partition(name, 0)
        with joined(client, name, group) as one, joined(connect(), name, group, count=0) as two:
            members(two, until=lambda: two.consumer.assignment() == {first})  # one does not poll
            with pytest.raises(StaleGenerationError):
                one.consumer.commit({first: 1})
            members(one, two, until=lambda: ("lost", {first}) in one.calls)
            assert ("revoked", {first}) not in one.calls

    def test_pausing_keeps_the_membership(self, connect: Connect, topic: Any) -> None:
        client = connect(max_poll_interval_ms=3000, session_timeout_ms=3000, heartbeat_interval_ms=200)
        name = topic()
        with producing(client) as producer, joined(client, name) as member:
            member.consumer.pause()
            producer.send([message(name, "x")])
            deadline = time.monotonic() + 6.5
            while time.monotonic() < deadline:
                assert member.poll(0.2) == []
            assert member.calls == [("assigned", {Partition(name, 0)})]
            member.consumer.commit({Partition(name, 0): 0})
            member.consumer.resume()
            assert values(read(member, 1)) == [b"x"]

    def test_assignments_while_paused_are_paused(self, client: Client, topic: Any) -> None:
        name, group = topic(partitions=2), new_name()
        with producing(client) as producer, joined(client, name, group, count=2) as one:
            producer.send([message(name, str(number), partition=number) for number in range(2)])
            two = Member(client, group, name)
            two.consumer.pause()
            members(one, two, until=lambda: len(two.consumer.assignment()) == 1)
            for _ in range(10):
                assert two.poll(0.1) == []
            two.consumer.resume()
            assert len(read(two, 1)) == 1
            two.consumer.close()

    def test_paused_consumer_waits_idle(self, client: Client, topic: Any) -> None:
        with joined(client, topic()) as member:
            member.consumer.pause()
            began = time.monotonic()
            with calls() as made:
                assert member.consumer.poll(1.0, 10) == []
            assert time.monotonic() - began > 0.8
            assert sum(made) < 20_000  # a loop that does not wait makes that many in a moment

    def test_seek_backward_and_forward(self, client: Client, topic: Any) -> None:
        name = topic()
        first = Partition(name, 0)
        with producing(client) as producer, joined(client, name) as member:
            producer.send([message(name, str(number)) for number in range(10)])
            read(member, 10)
            for offset in 0, 9, 5:
                member.records.clear()
                member.consumer.seek({first: offset})
                assert member.consumer.positions() == {first: offset}
                assert values(read(member, 10 - offset))[0] == str(offset).encode()

    def test_all_kinds_of_offsets(self, client: Client, topic: Any) -> None:
        name = topic(partitions=2)
        zero, one = both = [Partition(name, number) for number in range(2)]
        with producing(client) as producer, joined(client, name, count=2) as member:
            producer.send([message(name, "x", partition=0, timestamp=1000 * at) for at in (1, 2, 3)])
            consumer = member.consumer
            assert consumer.beginning_offsets(both) == {zero: 0, one: 0}
            assert consumer.end_offsets(both) == {zero: 3, one: 0}
            assert consumer.offsets_at(both, "earliest") == {zero: 0, one: 0}
            assert consumer.offsets_at(both, "latest") == {zero: 3, one: 0}
            assert consumer.offsets_at(both, 2000) == {zero: 1, one: 0}
            assert consumer.offsets_at(both, 2001) == {zero: 2, one: 0}
            assert consumer.offsets_at(both, 4000) == {zero: 3, one: 0}
            assert consumer.committed(both) == {}
            consumer.commit({zero: 2})
            assert consumer.committed(both) == {zero: 2}
            for question in consumer.committed, consumer.end_offsets, consumer.beginning_offsets:
                assert question([]) == {}
            consumer.commit({})

    def test_positions_do_not_block_without_assignment(self, client: Client, topic: Any) -> None:
        member = Member(client, new_name(), topic())
        assert member.consumer.positions() == {}
        assert member.consumer.assignment() == set()
        member.consumer.close()

    def test_new_static_member_fences_the_old(self, connect: Connect, topic: Any) -> None:
        client = connect(session_timeout_ms=6000, heartbeat_interval_ms=200)
        name, group, instance = topic(), new_name(), new_name()
        with (
            producing(client) as producer,
            joined(client, name, group, instance=instance) as old,
            joined(client, name, group, instance=instance) as new,
        ):
            with pytest.raises(FencedError, match="instance"):
                members(old, new, until=lambda: False)
            with pytest.raises(FencedError):
                old.consumer.commit({Partition(name, 0): 1})
            producer.send([message(name, "x")])
            assert values(read(new, 1)) == [b"x"]

    def test_fenced_static_member_adds_no_offsets(self, client: Client, topic: Any) -> None:
        name, group, instance = topic(), new_name(), new_name()
        with joined(client, name, group, instance=instance) as old, producing(client, new_name()) as producer:
            metadata = old.consumer.group()
            with joined(client, name, group, instance=instance):
                producer.begin()
                with pytest.raises(FencedError):
                    producer.add_offsets({Partition(name, 0): 1}, metadata)

    @pytest.mark.parametrize("leave", [True, False])
    def test_static_member_leaves_only_on_request(
        self, connect: Connect, kafka: Any, topic: Any, leave: bool
    ) -> None:
        name, group = topic(), new_name()
        one = Member(connect(**LONG), group, name, instance="one")
        members(one, until=lambda: len(one.consumer.assignment()) == 1)
        one.consumer.close(leave=leave)
        if leave:
            wait_until(lambda: members_of(kafka.bootstrap, group) == [], "it leaves before its session ends")
        else:
            assert members_of(kafka.bootstrap, group) == ["one"]

    def test_successor_causes_no_rebalance_if_nothing_is_missing(self, client: Client, topic: Any) -> None:
        name, group = topic(4), new_name()
        old, other = (Member(client, group, name, instance=one) for one in ("one", "two"))
        both = old.consumer, other.consumer
        members(old, other, until=lambda: [len(each.assignment()) for each in both] == [2, 2])
        owned = old.consumer.assignment()
        old.consumer.close(leave=False)
        heir = Member(client, group, name, instance="one")
        members(heir, until=lambda: heir.consumer.assignment() == owned)  # the other is not needed
        for each in heir, other:
            each.consumer.close()

    #: A static member that has four partitions, and is killed when it should give some of them away.
    DIES = """if True:
        import os, signal, sys
        from sentstream.kafka.clients.open import open_client
        from sentstream.kafka.access.settings import Settings
        from tests.kafka.clients.test_clients import Member

        name, bootstrap, topic, group = sys.argv[1:]
        given = {"bootstrap.servers": bootstrap, "heartbeat.interval.ms": "300"}
        client = open_client(name, Settings.load(overrides=given, environ={}))
        member = Member(client, group, topic, instance="one")
        member.then = lambda kind, _: kind == "revoked" and os.kill(os.getpid(), signal.SIGKILL)
        while len(member.consumer.assignment()) < 4:
            member.poll()
        print("owns", flush=True)
        while True:
            member.poll()
        """

    def test_death_during_handover_leaves_no_orphaned_partition(
        self, client: Client, kafka: Any, topic: Any
    ) -> None:
        name, group = topic(4), new_name()
        library = "confluent" if client.name == "confluent-kafka" else client.name
        command = [sys.executable, "-c", self.DIES, library, kafka.bootstrap, name, group]
        path = os.pathsep.join([str(ROOT / "tests" / "support"), str(ROOT)])
        environment = os.environ | {"PYTHONPATH": path}
        with child(command, env=environment, stdout=subprocess.PIPE, text=True) as dying:
            assert dying.stdout is not None
            assert dying.stdout.readline() == "owns\n"
            other = Member(client, group, name, instance="two")
            members(other, until=lambda: dying.poll() is not None)
            assert dying.returncode == -signal.SIGKILL
        heir = Member(client, group, name, instance="one")
        both = heir.consumer, other.consumer
        members(heir, other, until=lambda: sum(len(each.assignment()) for each in both) == 4)
        for each in both:
            assert len(each.assignment()) == 2
            each.close()

    def test_dynamic_member_leaves(self, connect: Connect, kafka: Any, topic: Any) -> None:
        name, group = topic(), new_name()
        for leave in True, False:
            member = Member(connect(**LONG), group, name)
            members(member, until=lambda: len(member.consumer.assignment()) == 1)  # noqa: B023
            member.consumer.close(leave=leave)
            wait_until(lambda: members_of(kafka.bootstrap, group) == [], "it leaves before its session ends")

    def test_closing_within_a_rebalance_leaves(self, connect: Connect, kafka: Any, topic: Any) -> None:
        name, group = topic(2), new_name()
        one, two = (Member(connect(**LONG), group, name, instance=each) for each in ("one", "two"))
        both = one.consumer, two.consumer
        members(one, two, until=lambda: [len(each.assignment()) for each in both] == [1, 1])
        one.consumer.close()
        time.sleep(2)  # librdkafka joins again in the background, and then waits for its callback
        began = time.monotonic()
        two.consumer.close()
        assert time.monotonic() - began < 4
        wait_until(lambda: members_of(kafka.bootstrap, group) == [], "it leaves before its session ends")

    def test_closing_does_not_call_the_listener(self, client: Client, topic: Any) -> None:
        with joined(client, topic()) as member:
            member.calls.clear()
        assert member.calls == []


class TestMissing:
    def test_missing_topic(self, client: Client) -> None:
        with pytest.raises(TopicNotFoundError, match="nowhere"):
            Member(client, new_name(), "nowhere")
        with producing(client) as producer, pytest.raises(TopicNotFoundError, match="nowhere"):
            producer.send([message("nowhere", "x")])
        admin = client.admin()
        with pytest.raises(TopicNotFoundError, match="nowhere"):
            admin.end_offsets([Partition("nowhere", 0)])
        admin.close()

    def test_missing_partition(self, client: Client, topic: Any) -> None:
        name = topic()
        with joined(client, name) as member, pytest.raises(TopicNotFoundError, match=name):
            member.consumer.end_offsets([Partition(name, 7)])

    def test_missing_broker(self, connect: Connect) -> None:
        nowhere = "127.0.0.1:1"
        client = connect(
            bootstrap_servers=nowhere,
            default_api_timeout_ms=500,
            socket_connection_setup_timeout_ms=500,
        )
        for verb in (
            client.check,
            client.admin,
            lambda: client.producer(None),
            lambda: client.producer("id"),
            lambda: client.consumer("group", instance=None, limit=1),
        ):
            with pytest.raises(BrokerUnreachableError, match=nowhere):
                verb()

    def test_wrong_password(
        self, make_client: Callable[[Settings], Client], secure_kafka: LocalKafka
    ) -> None:
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"

        def client(password: str) -> Client:
            given = {
                "bootstrap.servers": secure_kafka.sasl_ssl,
                "default.api.timeout.ms": "5000",
                "security.protocol": "SASL_SSL",
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(secure_kafka.ca),
                "sasl.mechanism": "PLAIN",
                "sasl.jaas.config": f'{module} required username="alice" password="{password}";',
            }
            return make_client(Settings.load(overrides=given, environ={}))

        admin = client("alice-secret").admin()
        assert admin.partitions(["nowhere"]) == {}
        admin.close()
        wrong = client("not-hers")
        for verb in wrong.check, wrong.admin, lambda: wrong.consumer("g", instance=None, limit=1):
            with pytest.raises(AuthenticationError) as caught:
                verb()
            assert "not-hers" not in str(caught.value)


class TestAdmin:
    def test_topics(self, client: Client, topic: Any) -> None:
        admin = client.admin()
        name, new = topic(partitions=3), new_name()
        assert admin.partitions([name, "nowhere", "not a name"]) == {name: 3}
        assert admin.partitions([]) == {}
        admin.create(new, 2)
        assert admin.partitions([new]) == {new: 2}
        admin.create(new, 5)  # already exists
        assert admin.partitions([new]) == {new: 2}
        with pytest.raises(TopicNotFoundError, match="not a name"):
            admin.create("not a name", 1)
        admin.close()

    def test_largest_record(self, client: Client, topic: Any, kafka: Any) -> None:
        admin = client.admin()
        name = topic()
        assert admin.largest_record(name) == 1_048_588 == admin.largest_record("nowhere")
        with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as other:
            other.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": "2000"})]
            )
        assert admin.largest_record(name) == 2000
        admin.close()

    def test_committed_offsets_of_any_group(self, client: Client, topic: Any) -> None:
        admin = client.admin()
        name, group = topic(partitions=2), new_name()
        both = [Partition(name, number) for number in range(2)]
        assert admin.committed(group, both) == {} == admin.committed(group, [])
        with joined(client, name, group, count=2) as member:
            member.consumer.commit({both[1]: 4})
        assert admin.committed(group, both) == {both[1]: 4}
        admin.close()

    def test_reading_outside_of_a_group(self, client: Client, topic: Any) -> None:
        admin = client.admin()
        name = topic(partitions=2)
        one = Partition(name, 1)
        assert admin.read(one, 0, 10) == []
        with producing(client, new_name()) as producer:
            for end in producer.abort, producer.commit:
                producer.begin()
                producer.send([message(name, str(number), partition=1) for number in range(10)])
                end()
        # The coordinator answers before it has written the markers, one for each transaction.
        wait_until(lambda: admin.end_offsets([one]) == {one: 22}, "both transactions have ended")
        first = admin.read(one, 0, 4)
        assert values(first) == [b"0", b"1", b"2", b"3"]
        assert len(admin.read(one, first[-1].offset + 1, 100)) == 6
        assert admin.read(one, admin.end_offsets([one])[one], 10) == []
        assert admin.read(Partition(name, 0), 0, 10) == []
        admin.close()


def log_of(kafka: LocalKafka, topic: str) -> Path:
    return kafka.directory / "data" / f"{topic}-0" / f"{0:020}.log"


def batches(log: bytes) -> list[int]:
    """The offsets in a log file where its batches begin."""
    found, at = [], 0
    while at + 12 <= len(log) and (length := struct.unpack_from(">i", log, at + 8)[0]):
        found.append(at)
        at += 12 + length
    return found


def transactions(log: bytes) -> str:
    """What a log file holds: a line per batch, with its producer's id and epoch; markers in capitals."""
    lines = []
    for at in batches(log):
        (offset,), attributes = struct.unpack_from(">q", log, at), log[at + 22]
        producer, epoch, _, count = struct.unpack_from(">qhii", log, at + 43)
        what = f"{count} records"
        if attributes & 0x20:  # a control batch; its record's lengths take a byte each
            what = "COMMIT" if struct.unpack_from(">h", log, at + 68)[0] else "ABORT"
        lines.append(f"{offset}: producer {producer}, epoch {epoch}: {what}")
    return "\n".join(lines)


class TestUnreadable:
    """Log files that are damaged on the broker's disk while the broker is stopped."""

    @staticmethod
    def damage(log: bytearray, begin: int, end: int, what: str) -> None:
        """Damage one batch."""
        if what == "checksum":
            log[end - 1] ^= 1
        elif what == "length":  # what the batch says of its number of records: part of what is summed
            struct.pack_into(">i", log, begin + 23, 1_000_000)
        else:
            log[begin + 22] |= 7
            struct.pack_into(">I", log, begin + 17, crc32c.crc32c(bytes(log[begin + 21 : end])))

    @pytest.mark.slow
    def test_damaged_batch_is_reported_and_can_be_skipped(
        self, connect: Connect, topic: Any, local_kafka: LocalKafka
    ) -> None:
        """Of five batches of five records, the middle three are damaged, each in a different way."""
        name = topic()
        first = Partition(name, 0)
        client = connect(linger_ms=1000)  # what is sent at once is one batch
        with producing(client) as producer:
            for batch in range(5):
                producer.send([message(name, f"{batch}{number}") for number in range(5)])
        local_kafka.stop()
        path = log_of(local_kafka, name)
        log = bytearray(path.read_bytes())
        begins = batches(bytes(log))
        assert len(begins) == 5
        for number, what in enumerate(["checksum", "length", "codec"], 1):
            self.damage(log, begins[number], begins[number + 1], what)
        path.write_bytes(log)
        local_kafka.start()
        with joined(client, name) as member:
            if not member.records:
                read(member, 5)
            for begin in 5, 10, 15:
                assert values(member.records) == [f"0{number}".encode() for number in range(5)]
                for _ in range(2):  # it stays there until somebody seeks
                    with pytest.raises(UnreadableRecordError) as caught:
                        members(member, until=lambda: False)
                    error = caught.value
                    assert (error.partition, error.offset, error.next_offset) == (first, begin, begin + 5)
                    assert member.consumer.positions() == {first: begin}
                member.consumer.seek({first: error.next_offset})
            assert values(read(member, 10)[5:]) == [f"4{number}".encode() for number in range(5)]


class TestOutages:
    @pytest.mark.slow
    @pytest.mark.parametrize("outage", ["restart", "stall", "kill"])
    def test_outage_is_survived(
        self, client: Client, topic: Any, local_kafka: LocalKafka, outage: str
    ) -> None:
        """Consume, produce and commit transactions during it: every record has exactly one result."""
        source, target, group = topic(partitions=2), topic(), new_name()
        total = 300
        with producing(client) as feeding:
            feeding.send([message(source, str(number), key=str(number).encode()) for number in range(total)])

        def disturb() -> None:
            time.sleep(1)
            if outage == "stall":
                local_kafka.pause()
                time.sleep(8)
                local_kafka.resume()
            elif outage == "restart":
                local_kafka.restart()
            else:
                local_kafka.kill()
                local_kafka.start()

        def settle() -> None:
            producer.settle(group, [Partition(target, 0)])

        disturbing = threading.Thread(target=disturb)
        with producing(client, new_name()) as producer, joined(client, source, group, count=2) as member:
            disturbing.start()
            deadline = time.monotonic() + 400  # a session (45 s) may have to end meanwhile
            batch, before = list(member.records), set[Partition]()
            while batch or disturbing.is_alive() or sum(member.consumer.positions().values()) < total:
                assert time.monotonic() < deadline, state(local_kafka.bootstrap, target)
                try:
                    batch = batch or list(member.consumer.poll(0.2, 10))
                except StaleGenerationError:  # from the listener: a transaction on the offsets is pending
                    rewind(member.consumer, producer, settle)
                    continue
                time.sleep(0.05)
                offsets = {Partition(each.topic, each.partition): each.offset + 1 for each in batch}
                try:
                    member.consumer.committed(before)  # as ``Delivery`` does: see ``clients.ending``
                    producer.begin()
                    producer.send([Outgoing(target, each.key, each.value) for each in batch])
                    if offsets:
                        producer.add_offsets(offsets, member.consumer.group())
                    producer.commit()
                    before = set(offsets)
                except (StaleGenerationError, UnacknowledgedError, BrokerUnreachableError):
                    producer.abort()
                    rewind(member.consumer, producer, settle)
                batch = []
            disturbing.join()
            with joined(client, target) as reader:
                try:
                    read(reader, total)
                except AssertionError as error:
                    error.add_note(
                        f"{len(reader.records)} of {total}; {state(local_kafka.bootstrap, target)}"
                    )
                    raise
                found = sorted(values(reader.records))
                seen = transactions(log_of(local_kafka, target).read_bytes())
                assert found == sorted(str(number).encode() for number in range(total)), seen
                assert reader.poll(1) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["stop", "stall"])
    def test_closing_does_not_wait_for_brokers(
        self, connect: Connect, topic: Any, local_kafka: LocalKafka, method: str
    ) -> None:
        """All other timeouts are an hour, so the test would time out if closing waited for one of them."""
        name, before = topic(), threads_of_clients()
        hour = 3_600_000
        client = connect(default_api_timeout_ms=hour, delivery_timeout_ms=hour, max_block_ms=hour)
        producer = client.producer(new_name())
        producer.begin()
        producer.send([message(name, "x")])
        admin = client.admin()
        with joined(client, name, instance="one") as member:
            local_kafka.stop() if method == "stop" else local_kafka.pause()
            for close in producer.close, admin.close, member.consumer.close:
                close()
            wait_until(lambda: threads_of_clients() <= before, "no thread of a client is left")

    @pytest.mark.slow
    def test_unacknowledged_record_is_reported(
        self, connect: Connect, topic: Any, local_kafka: LocalKafka
    ) -> None:
        name = topic()
        client = connect(
            delivery_timeout_ms=2000, request_timeout_ms=1000, default_api_timeout_ms=2000, max_block_ms=2000
        )
        for transactional_id in None, new_name():
            if transactional_id:  # its coordinator is ready once a client with more patience has opened it
                with producing(connect(), transactional_id):
                    pass
            with producing(client, transactional_id) as producer:
                deadline = time.monotonic() + PATIENCE
                while True:
                    if transactional_id:
                        producer.begin()
                    try:
                        producer.send([message(name, "x")])
                        break
                    except (UnacknowledgedError, BrokerUnreachableError):  # not ready within 2 s
                        assert time.monotonic() < deadline
                        producer.abort()
                local_kafka.pause()
                began = time.monotonic()
                with pytest.raises(DeliveryError):
                    producer.send([message(name, "y")])
                assert time.monotonic() - began < 60  # the default is 120 s
                producer.abort()
                local_kafka.resume()
            with closing(connect().admin()) as admin:  # it waits until the broker is itself again
                admin.create(made := new_name(), 1)
                assert admin.partitions([made]) == {made: 1}

    @pytest.mark.slow
    def test_consumer_reports_a_missing_broker(
        self, connect: Connect, topic: Any, local_kafka: LocalKafka
    ) -> None:
        client = connect(default_api_timeout_ms=3000)
        with joined(client, topic()) as member:
            local_kafka.stop()
            with pytest.raises(BrokerUnreachableError):
                members(member, until=lambda: False)
            with pytest.raises(BrokerUnreachableError):
                member.consumer.commit(dict.fromkeys(member.consumer.assignment(), 0))


def state(bootstrap: str, topic: str) -> str:
    """The broker's view of a topic: end offsets by isolation level, and open transactions."""
    partition = TopicPartition(topic, 0)
    ends = {}
    for isolation in "read_committed", "read_uncommitted":
        with KafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation) as consumer:
            ends[isolation] = consumer.end_offsets([partition])[partition]
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        transactions = admin.list_transactions(state_filters=["Ongoing", "PrepareCommit", "PrepareAbort"])
        open_ = [each.transactional_id for some in transactions.values() for each in some]
        found = admin.describe_transactions(open_)
    return f"ends {ends}; open transactions {found}"


def rewind(consumer: Consumer, producer: Producer, settle: Callable[[], None]) -> None:
    """Seek to the committed offsets; if they are pending, settle, and try again."""
    deadline = time.monotonic() + 300
    while True:
        owned = consumer.assignment()
        try:
            committed = consumer.committed(owned)
            break
        except (StaleGenerationError, BrokerUnreachableError) as error:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)
            with suppress(BrokerUnreachableError):
                producer.abort()  # if it could not before
                if isinstance(error, StaleGenerationError):
                    settle()
    consumer.seek({each: committed.get(each, 0) for each in owned})
