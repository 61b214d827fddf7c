"""A consumer group member with kafka-python."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka import errors as kafka
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.base import MemberState
from kafka.structs import OffsetAndMetadata

from sentstream.errors import BrokerUnreachableError, TopicNotFoundError
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import (
    OFFSETS_PENDING,
    PENDING,
    Listener,
    Partition,
    PositionLostError,
    Record,
    StaleGenerationError,
    StartAt,
    UnreadableRecordError,
)
from sentstream.kafka.clients.kafka_python.errors import retried, translated
from sentstream.kafka.clients.kafka_python.membership import Coordinator, Relay
from sentstream.kafka.clients.kafka_python.records import CarefulFetcher
from sentstream.kafka.clients.kafka_python.succession import remove_predecessor
from sentstream.kafka.clients.patience import Patience

T = TypeVar("T")

_CLOSE = 4.0  # seconds to leave the group
_DOWN = 1.0  # seconds without a connection that do not count as an outage
_SETTLING = 10.0  # seconds until a broker that has just restarted knows its topics
_TOPIC_SECONDS = 3.0  # until a topic that the brokers do not know is reported as missing
_RECORD_BYTES = 1024  # a generous tweet with its key and headers


def consumer_config(settings: Settings, limit: int) -> dict[str, Any]:
    """Return the options of kafka-python's consumer, except for connection and group.

    Args:
        settings: The client's settings.
        limit: The largest poll expected; a fetch of one partition should hold that many records.
    """
    config = {
        "allow_auto_create_topics": False,
        "auto_offset_reset": "none",  # otherwise it would silently skip deleted records
        "check_crcs": settings.flag("check.crcs", True),
        "client_rack": settings.text("client.rack", ""),
        "enable_auto_commit": False,
        "fetch_max_bytes": settings.integer("fetch.max.bytes", 50 << 20),
        "fetch_max_wait_ms": settings.integer("fetch.max.wait.ms", 500),
        "fetch_min_bytes": settings.integer("fetch.min.bytes", 1),
        "heartbeat_interval_ms": settings.integer("heartbeat.interval.ms", 3000),
        "isolation_level": "read_committed",
        "max_partition_fetch_bytes": settings.integer(
            "max.partition.fetch.bytes", max(1 << 20, limit * _RECORD_BYTES)
        ),
        "max_poll_interval_ms": settings.integer("max.poll.interval.ms", 300_000),
        "max_poll_records": limit,
        "metrics_enabled": False,
        "partition_assignment_strategy": (CooperativeStickyAssignor,),
        "retry_backoff_ms": settings.integer("retry.backoff.ms", 100),
    }
    session = settings.integer("session.timeout.ms", 0)
    if session:  # kafka-python's default depends on the broker's version
        config["session_timeout_ms"] = session
        if settings.text("heartbeat.interval.ms") is None:
            config["heartbeat_interval_ms"] = max(1, min(3000, session // 3))
    return config


class PythonConsumer:
    """An ``api.Consumer`` on kafka-python."""

    def __init__(
        self,
        open_: Callable[[Any, dict[str, Any]], Any],
        config: dict[str, Any],
        settings: Settings,
        patience: Patience,
    ) -> None:
        self._group = config.get("group_id")
        self._instance = config.get("group_instance_id")
        self._patience = patience
        self._seconds = settings.integer("default.api.timeout.ms", 60_000) / 1000
        self._open, self._config = open_, config
        self._consumer = open_(KafkaConsumer, config)
        self._second: Any = None
        self.notes: dict[str, str] = {}
        self.found: dict[Partition, str] = {}
        self._consumer._fetcher.__class__ = CarefulFetcher
        self._consumer._coordinator.__class__ = Coordinator
        self._relay: Relay | None = None
        self._paused = False
        self._answered = self._coordinated = time.monotonic()

    def subscribe(self, topics: Collection[str], listener: Listener) -> None:
        self._relay = Relay(listener, self._consumer, self._hold)
        with self._errors("subscribe"):
            if self._group is not None and self._instance is not None:
                self._remove_predecessor(self._group, self._instance, topics)
            self._consumer.subscribe(list(topics), listener=self._relay)
            self._await_topics(topics)

    def assign(self, partition: Partition, offset: int) -> None:
        """Read one partition from an offset on, outside any group."""
        with self._errors("assign"):
            self._consumer.assign([TopicPartition(*partition)])
            self._consumer.seek(TopicPartition(*partition), offset)

    def poll(self, seconds: float, limit: int) -> Sequence[Record]:
        relay = self._relay
        try:
            found = self._consumer.poll(timeout_ms=max(0, seconds * 1000), max_records=limit)
        except UnreadableRecordError as error:
            raise self._within_log(error) from error
        except kafka.OffsetOutOfRangeError as error:
            (lost, offset), *_ = error.args[0].items()
            raise PositionLostError(Partition(*lost), offset) from error
        except kafka.LogTruncationError as error:
            truncated = Partition(*next(iter(error.divergent_offsets)))
            raise PositionLostError(truncated, self.positions().get(truncated, 0)) from error
        except kafka.NoOffsetForPartitionError:  # no position has been set yet
            found = {}
        except kafka.KafkaError as error:
            if relay is not None and (failure := relay.taken()) is not None:
                raise failure from None
            if not isinstance(error, kafka.RetriableError):
                raise self._translated(error) from error
            found = {}
        if found:
            self._answered = time.monotonic()
            if len(found) == 1:
                return next(iter(found.values()))
            return list(itertools.chain.from_iterable(found.values()))
        self._look()
        return []

    def pause(self) -> None:
        self._paused = True
        self._hold(self._consumer.assignment())

    def resume(self) -> None:
        self._paused = False
        self._consumer.resume(*self._consumer.paused())

    def assignment(self) -> set[Partition]:
        return {Partition(*each) for each in self._consumer.assignment()}

    def positions(self) -> dict[Partition, int]:
        subscription = self._consumer._subscription  # the public method asks the broker if one is missing
        with subscription._lock:
            return {
                Partition(*each): state.position.offset
                for each, state in subscription.assignment.items()
                if state.position is not None
            }

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        for partition, offset in offsets.items():
            self._consumer.seek(TopicPartition(*partition), offset)

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        if not partitions:
            return {}
        request = [TopicPartition(*each) for each in partitions]
        began = time.monotonic()

        def ask() -> Any:
            try:
                return self._fetch_committed(request)
            except kafka.UnstableOffsetCommitError as error:
                if time.monotonic() - began >= min(self._seconds, PENDING):
                    raise StaleGenerationError(OFFSETS_PENDING) from error
                raise

        with self._errors("committed offsets"):
            found = self._retried(ask)
        # librdkafka commits metadata with the zero byte of its C string.
        self.found.update(
            {
                Partition(*each): (stored_offset.metadata or "").rstrip("\0")
                for each, stored_offset in found.items()
            }
        )
        return {Partition(*each): stored_offset.offset for each, stored_offset in found.items()}

    def beginning_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return self._offsets(partitions, "beginning_offsets")

    def end_offsets(
        self, partitions: Collection[Partition], seconds: float | None = None
    ) -> dict[Partition, int]:
        return self._offsets(partitions, "end_offsets", seconds)

    def offsets_at(self, partitions: Collection[Partition], start: StartAt) -> dict[Partition, int]:
        if start == "earliest":
            return self.beginning_offsets(partitions)
        ends = self.end_offsets(partitions)
        if start == "latest" or not ends:
            return ends
        request = {TopicPartition(*each): start for each in partitions}
        with self._errors("offsets of a time"):
            found = self._retried(lambda: self._consumer.offsets_for_times(request, timeout_ms=self._ms))
        # Records that are not committed yet have offsets too; these are cut to the end.
        return {
            Partition(*each): end if stored_offset is None else min(stored_offset.offset, end)
            for each, stored_offset in found.items()
            for end in (ends[Partition(*each)],)
        }

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if offsets:
            with self._errors("commit"):
                to_commit = stored(offsets, self.notes)
                self._retried(lambda: self._consumer.commit(to_commit, timeout_ms=self._ms))

    def group(self) -> Any:
        return self._consumer.group_metadata()

    def close(self, *, leave: bool = True) -> None:
        """Close without calling the listener, within a few seconds."""
        if self._relay is not None:
            self._relay.closed = True
        if leave:
            # kafka-python never lets a static member leave (KIP-345); this method decides who is static.
            self._consumer._coordinator.is_dynamic_member = lambda: True
        for each in (self._consumer, self._second):
            if each is not None:
                with suppress(kafka.KafkaError):
                    each.close(autocommit=False, timeout_ms=1000 * min(_CLOSE, self._patience.closing))

    # Internals

    def _hold(self, partitions: Collection[Any]) -> None:
        if self._paused:
            self._consumer.pause(*partitions)

    def _look(self) -> None:
        """After an empty poll, check that a broker is connected and that we are not fenced.

        Raises:
            BrokerUnreachableError: No broker has been connected for too long.
            FencedError: Another member has taken over, which kafka-python notes without an error.
        """
        now = time.monotonic()
        coordinator = self._consumer._coordinator
        if self._group is None or coordinator.coordinator_id is not None:
            self._coordinated = now
        elif now - self._coordinated > self._seconds:
            self._reconnect()
        if any(connection.connected for connection in list(self._consumer._manager._conns.values())):
            self._answered = now
        elif (down := now - self._answered) > _DOWN and self._patience.is_too_long(down, self._seconds):
            raise BrokerUnreachableError(
                f"{self._name}: no broker for {down:.0f} s",
                hint="check bootstrap.servers, and that the brokers are running",
            )
        if self._instance is not None:
            with coordinator._lock:
                fenced = coordinator.state is MemberState.STABLE and not (
                    coordinator._heartbeat_enabled or coordinator.rejoining or coordinator.rejoin_needed
                )
            if fenced:
                raise self._translated(kafka.FencedInstanceIdError())

    def _within_log(self, error: UnreadableRecordError) -> UnreadableRecordError:
        """Return the error with ``next_offset`` cut to the end: it may come from damaged data."""
        partition, following = error.partition, error.next_offset
        with suppress(kafka.KafkaError):
            end = self._consumer.highwater(TopicPartition(*partition))
            if end is not None and error.offset < end:
                following = min(following, end)
        return UnreadableRecordError(partition, error.offset, following, error.reason)

    def _remove_predecessor(self, group: str, instance: str, topics: Collection[str]) -> None:
        admin = self._open(KafkaAdminClient, {"retry_backoff_ms": self._config["retry_backoff_ms"]})
        try:
            self._retried(lambda: remove_predecessor(admin, group, instance, topics))
        finally:
            admin.close()

    def _await_topics(self, topics: Collection[str]) -> None:
        """Wait until the topics are known.

        Raises:
            TopicNotFoundError: The brokers know no such topic.
        """
        cluster, net, manager = self._consumer._cluster, self._consumer._net, self._consumer._manager
        deadline = time.monotonic() + _TOPIC_SECONDS
        while True:
            # If a single topic is asked for and does not exist, the answer is an error.
            with suppress(kafka.UnknownTopicOrPartitionError, kafka.TopicAuthorizationFailedError):
                self._retried(
                    lambda: net.run(manager.wait_for, cluster.request_update(), self._ms), settling=0
                )
            if forbidden := cluster.unauthorized_topics & set(topics):
                raise kafka.TopicAuthorizationFailedError(forbidden)
            missing = [topic for topic in topics if not cluster.partitions_for_topic(topic)]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise TopicNotFoundError(f"no topic {missing[0]!r}", hint="create it, or check the name")
            time.sleep(0.1)

    def _await_partitions(self, partitions: Collection[Partition]) -> None:
        """Wait until the partitions are known; for unknown ones kafka-python would retry until its timeout.

        Raises:
            TopicNotFoundError: The brokers know no such topic or partition.
        """
        cluster = self._consumer._cluster
        unknown = [
            each
            for each in partitions
            if each.partition not in (cluster.partitions_for_topic(each.topic) or ())
        ]
        if unknown:
            for each in unknown:
                cluster.add_topic(each.topic)
            self._await_topics({each.topic for each in unknown})
        for topic, number in unknown:
            if number not in cluster.partitions_for_topic(topic):
                raise TopicNotFoundError(f"topic {topic} has no partition {number}")

    def _fetch_committed(self, request: list[TopicPartition]) -> Any:
        consumer = self._consumer
        coordinator, manager, net = consumer._coordinator, consumer._manager, consumer._net
        if not net.run(coordinator.ensure_coordinator_ready_async, self._ms):
            self._reconnect()
            raise kafka.CoordinatorNotAvailableError()

        async def ask() -> Any:  # the public method hides why it has to wait
            asked = net.call_soon_with_future(coordinator._send_offset_fetch_request, request)
            return await manager.wait_for(asked, self._ms)

        try:
            return net.run(ask)
        except kafka.KafkaTimeoutError:
            self._reconnect()
            raise

    def _reconnect(self) -> None:
        """Drop all connections and pending requests; the next request opens new connections.

        kafka-python times out a request only once it is sent. A request for a connection that is being
        opened waits as long as that takes, and a TLS handshake with a stopped broker never ends.
        """
        consumer = self._consumer
        coordinator, manager = consumer._coordinator, consumer._manager

        async def drop() -> None:
            error = kafka.KafkaConnectionError("no answer in time")
            coordinator.coordinator_dead(error)
            for node, connection in list(manager._conns.items()):
                connection.close(error)
                if not connection.close_future.is_done:
                    connection.connection_lost(error)
                manager._conns.pop(node, None)

        consumer._net.run(drop)
        self._coordinated = time.monotonic()

    @property
    def _ms(self) -> float:
        return self._seconds * 1000

    def _retried(
        self, action: Callable[[], T], seconds: float | None = None, settling: float = _SETTLING
    ) -> T:
        deadline = self._patience.deadline(self._seconds if seconds is None else seconds)
        return retried(action, deadline, self._consumer.config["retry_backoff_ms"] / 1000, settling)

    def _offsets(
        self, partitions: Collection[Partition], verb: str, seconds: float | None = None
    ) -> dict[Partition, int]:
        """Call the method ``verb`` of a second kafka-python consumer, which has its own connection.

        A broker answers the requests of a connection in order, so on that of the records this would wait up
        to ``fetch.max.wait.ms`` for the pending fetch.
        """
        if not partitions:
            return {}
        with self._errors("offsets"):
            self._await_partitions(partitions)
            if self._second is None:
                alone = self._group is None
                self._second = self._consumer if alone else self._open(KafkaConsumer, self._groupless())
            ask, request = getattr(self._second, verb), [TopicPartition(*each) for each in partitions]
            timeout = self._ms if seconds is None else 1000 * seconds
            found = self._retried(lambda: ask(request, timeout_ms=timeout), seconds)
        return {Partition(*each): offset for each, offset in found.items()}

    def _groupless(self) -> dict[str, Any]:
        return {name: value for name, value in self._config.items() if not name.startswith("group_")}

    @property
    def _name(self) -> str:
        return "consumer" if self._group is None else f"group {self._group}"

    def _translated(self, error: BaseException) -> Exception:
        return translated(error, self._name)

    @contextmanager
    def _errors(self, action: str) -> Generator[None, None, None]:
        try:
            yield
        except kafka.KafkaError as error:
            raise translated(error, f"{self._name}, {action}") from error


def stored(
    offsets: Mapping[Partition, int], notes: Mapping[str, str]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return offsets as kafka-python commits them, with the notes of their topics as metadata.

    A note ends with a zero byte, as in librdkafka, which may otherwise read past the end.
    """
    ended = {topic: f"{note}\0" if note else "" for topic, note in notes.items()}
    return {
        TopicPartition(*each): OffsetAndMetadata(offset, ended.get(each.topic, ""), -1)
        for each, offset in offsets.items()
    }
