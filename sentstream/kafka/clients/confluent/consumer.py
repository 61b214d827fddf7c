"""A consumer group member with librdkafka, which fetches and sends heartbeats in its own threads."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition
from confluent_kafka import Consumer as LibraryConsumer
from confluent_kafka import KafkaError as LibraryError

from sentstream.errors import BrokerUnreachableError, FencedError, one_line
from sentstream.kafka.clients.api import (
    OFFSETS_PENDING,
    PENDING,
    Listener,
    Partition,
    PositionLostError,
    StaleGenerationError,
    StartAt,
    StoredRecord,
    UnreadableRecordError,
)
from sentstream.kafka.clients.confluent.errors import (
    ANY_TOPIC,
    FENCED,
    NO_TOPIC,
    UNREACHABLE,
    UNREADABLE,
    Cluster,
    ErrorCollector,
    await_broker,
    bounded,
    calling,
    converted,
    is_lost,
    library_error,
    opened,
)
from sentstream.kafka.clients.confluent.reader import Reader
from sentstream.kafka.clients.confluent.records import (
    Place,
    raise_first,
    stored,
    topic_partitions,
    with_notes,
)

_MOST = 1_000_000  # records that the library returns at once
_MISSING = 3.0  # seconds until all brokers know a new topic
_BACKOFF = 0.1  # seconds
_DOWN = 5.0  # seconds without a broker before, and between, checks whether one can be reached
_ASKING = 2.0  # seconds
_CALLBACKS = 1.0  # seconds; while a commit hangs in another thread, they may hang, too
_RECENT = 60.0  # seconds; longer than a session lasts by default


class ConfluentConsumer:
    """An ``api.Consumer`` on confluent-kafka.

    Args:
        config: librdkafka's configuration.
        cluster: State that the client's handles share.
        clear: Removes a predecessor whose place cannot be taken; None for a dynamic member.
        leave: Removes us, a static member, from the group, which librdkafka cannot; None for a dynamic one.
        reader: Opens a reader. On our own connection, a request would wait for the pending fetch.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        cluster: Cluster,
        clear: Callable[[Collection[str]], None] | None,
        leave: Callable[[], None] | None,
        reader: Callable[[], Reader],
    ) -> None:
        self._config, self._cluster, self._leave = config, cluster, leave
        self._clear, self._open_reader = clear, reader
        self._patience, self._seconds = cluster.patience, cluster.seconds
        self._listener: Listener | None = None
        self.notes: dict[str, str] = {}
        self.found: dict[Partition, str] = {}
        self._topics: list[str] = []
        self._open()
        try:
            await_broker(self._consumer, self._errors_seen, self._patience.deadline(self._seconds))
        except BaseException:
            bounded(self._consumer.close, self._patience.closing)
            raise
        self._errors_seen.last = self._fenced = self._lost_at = -math.inf
        self._reads = self._lost_in = 0  # number of reads; the one in which partitions were lost
        self._looking = 0.0  # when to check again whether the brokers are lost
        self._opened: Reader | None = None
        self._owned: set[Partition] = set()
        self._positions: dict[Place, int] = {}
        self._paused = self._closed = False
        self._notifying = False  # whether the listener is being called, within a call of the library
        self._waiting: list[Any] = []  # messages read but not yet returned
        self._starts: dict[Partition, int | None] = {}  # of partitions that are being assigned
        self._moved: dict[Partition, int | None] = {}  # sought or lost during a call of the library
        self._raised: BaseException | None = None

    def _open(self) -> None:
        self._errors_seen = ErrorCollector(self._cluster.verify)
        self._consumer = opened(LibraryConsumer, self._config, self._errors_seen)
        self._errors_seen.serve = self._serve

    def subscribe(self, topics: Collection[str], listener: Listener) -> None:
        for topic in topics:
            self._await_topic(topic)
        self._listener, self._topics = listener, list(topics)
        self._join()

    def _join(self) -> None:
        if self._clear is not None:
            self._clear(self._topics)
        self._consumer.subscribe(
            self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def _check_brokers(self) -> None:
        """Join again, as a new member, if the library has lost all brokers.

        Raises:
            StaleGenerationError: It had. The listener was told that all partitions are lost.
        """
        if not self._notifying and is_lost(self._consumer, self._cluster.fresh):
            self._rejoin("librdkafka has lost all brokers")

    def _may_have_fenced_ourselves(self) -> bool:
        """Return whether we may have been fenced by ourselves, not by another instance.

        After an outage, or a pause that is longer than a session, the library joins again, and an earlier
        request may be refused. If we are fenced again soon after, there is another instance. If there is
        one at first, partitions are lost with the error or after it, not in an earlier read.
        """
        now = time.monotonic()
        was_lost = self._lost_in < self._reads and now - self._lost_at < _RECENT
        was_out = now - self._errors_seen.last < _RECENT or self._patience.was_out
        return (was_out or was_lost) and now - self._fenced > 2 * _RECENT

    def _rejoin(self, reason: str) -> NoReturn:
        owned, old = list(self._owned), [self._consumer]
        self._notify_lost(owned)
        self._open()
        self._forget_all(owned)
        # First: the old one might recover, join again with our group.instance.id, and fence its successor.
        bounded(old.clear, self._patience.closing)
        if self._listener is not None:
            self._join()
        raise StaleGenerationError(f"{reason}; rejoining the group")

    def _forget_all(self, owned: list[Partition]) -> None:
        self._owned.difference_update(owned)
        for one in owned:
            self._positions.pop(one, None)
            self._moved[one] = None
        self._forget(owned)

    def _serve(self) -> None:
        """Run the library's callbacks, unless a poll might return records, which would be lost."""
        if self._listener is None:
            self._consumer.poll(0)

    def _await_topic(self, topic: str) -> None:
        """Wait until the brokers know the topic, which may be new.

        Raises:
            TopicNotFoundError: They do not know it after ``_MISSING`` seconds.
        """
        deadline = time.monotonic() + _MISSING
        while True:
            found = self._ask(
                f"looking for topic {topic!r} failed",
                lambda seconds: self._consumer.list_topics(topic, timeout=seconds),
            )
            error = found.topics[topic].error
            if error is None:
                return
            if not (error.retriable() or error.code() in NO_TOPIC) or time.monotonic() > deadline:
                raise converted(error, f"topic {topic!r} cannot be read")
            time.sleep(_BACKOFF)

    # Reading

    def poll(self, seconds: float, limit: int) -> list[StoredRecord]:
        deadline = time.monotonic() + seconds
        while True:
            if not self._waiting:
                self._waiting = self._read(deadline, min(limit, _MOST))
            records = self._take(limit)
            if records:
                return records
            left = deadline - time.monotonic()
            if not self._waiting and left <= 0:
                self._check_reachable()
                return []

    def _read(self, deadline: float, limit: int) -> list[Any]:
        """Return the messages fetched so far; if none, wait for the first and those fetched with it."""
        self._moved = {}
        self._reads += 1
        messages: list[Any] = []
        try:
            messages = self._consumer.consume(limit, 0)
            if not messages and self._raised is None:
                first = self._consumer.poll(max(0.0, deadline - time.monotonic()))
                if first is not None:
                    messages = [first]
                    if limit > 1 and self._raised is None:
                        messages += self._consumer.consume(limit - 1, 0)
        except KafkaException as exception:
            raise self._errors_seen.explain(library_error(exception), "reading failed") from exception
        finally:
            if self._moved:
                messages = self._without_moved(messages)
            if self._raised is not None:
                self._waiting = messages
                self._raise()
        return messages

    def _without_moved(self, messages: list[Any]) -> list[Any]:
        """Drop messages of partitions that were sought or lost during the read; repeat the seeks."""
        moved, self._moved = self._moved, {}
        for partition, offset in moved.items():
            if offset is not None and partition in self._owned:
                self._seek(partition, offset)
        return [each for each in messages if (each.topic(), each.partition()) not in moved]

    def _raise(self) -> None:
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    def _take(self, limit: int) -> list[StoredRecord]:
        """Return the waiting records, up to the first error."""
        waiting, positions = self._waiting, self._positions
        records: list[StoredRecord] = []
        for index, message in enumerate(waiting):
            if (error := message.error()) is not None:
                if error.code() == LibraryError._PARTITION_EOF:
                    self._note_end(message)
                    continue
                self._waiting = waiting[index + (not records) :]
                if records:
                    return records
                self._fail(message, error)
                continue
            try:
                record = stored(message)
            except ValueError as problem:
                self._waiting = waiting[index + (not records) :]
                if records:
                    return records
                partition = Partition(message.topic(), message.partition())
                offset = message.offset()
                self.seek({partition: offset})
                raise UnreadableRecordError(partition, offset, offset + 1, str(problem)) from problem
            topic, partition_number, offset = record[:3]
            if offset >= positions.get((topic, partition_number), 0):
                positions[topic, partition_number] = offset + 1
                records.append(record)
                if len(records) == limit:
                    self._waiting = waiting[index + 1 :]
                    return records
        self._waiting = []
        if records:
            self._errors_seen.note_records()
        return records

    def _note_end(self, message: Any) -> None:
        """Note that the end of a partition was reached, past any control records."""
        partition = message.topic(), message.partition()
        if partition in self._owned and message.offset() >= self._positions.get(partition, 0):
            self._positions[partition] = message.offset()
        self._errors_seen.note_records()

    def _fail(self, message: Any, error: LibraryError) -> None:
        """Raise the error of a failed read; return if it can be ignored so far."""
        code = error.code()
        if code in UNREADABLE and message.topic() is not None and message.offset() is not None:
            partition = Partition(message.topic(), message.partition())
            begin = max(message.offset(), 0)
            offset = max(begin, self._positions.get(partition, 0))
            end = max(self._reader.batch_end(partition, begin), offset + 1)
            self.seek({partition: offset})  # the library would skip it, or loop
            raise UnreadableRecordError(partition, offset, end, one_line(error.str()))
        if code == LibraryError._MAX_POLL_EXCEEDED:  # the listener is told next that all partitions are lost
            return
        if code in UNREACHABLE or error.retriable():
            self._errors_seen(error)
            return
        if code == LibraryError._AUTO_OFFSET_RESET:
            partition = Partition(message.topic(), message.partition())
            if partition not in self._owned:
                return
            if partition not in self._positions:  # no position was set, and no offset is committed
                self._seek(partition, OFFSET_BEGINNING)
                return
            raise PositionLostError(partition, self._positions[partition])
        if code in FENCED | {LibraryError._FATAL} and self._may_have_fenced_ourselves():
            self._fenced = time.monotonic()
            self._rejoin("fenced after an outage or the end of its session")
        raise converted(error, f"reading {message.topic() or 'as a member of the group'} failed")

    def _check_reachable(self) -> None:
        """Raise if no broker has been reached for too long; reopen the handle if it has lost all brokers."""
        down, may_look = self._errors_seen.down(), time.monotonic() > self._looking
        due = may_look and down > min(_DOWN, self._seconds, self._patience.seconds)
        doubtful = may_look and self._errors_seen.is_doubtful
        if not (due or doubtful or self._errors_seen.is_final):
            return
        if due:
            with contextlib.suppress(StaleGenerationError):  # the listener was told
                self._check_brokers()
            self._raise()
        self._looking = time.monotonic() + _DOWN
        try:  # the library's last report may be outdated
            self._ask("the brokers cannot be reached", self._ask_anything, _ASKING)
        except BrokerUnreachableError:
            self._errors_seen.note_silence()
            if self._patience.is_too_long(down, self._seconds):
                raise

    # Positions

    def pause(self) -> None:
        self._paused = True
        self._consumer.pause(topic_partitions(self._owned))

    def resume(self) -> None:
        self._paused = False
        self._consumer.resume(topic_partitions(self._owned))

    def assignment(self) -> set[Partition]:
        return set(self._owned)

    def positions(self) -> dict[Partition, int]:
        return {one: self._positions[one] for one in self._owned if one in self._positions}

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        for partition, offset in offsets.items():
            if partition in self._starts:
                self._starts[partition] = offset
            elif partition in self._owned:
                self._seek(partition, offset)
            else:
                raise StaleGenerationError(
                    f"{partition.topic}-{partition.partition} is no longer assigned to this instance"
                )
            self._positions[partition] = offset
            self._moved[partition] = offset
        self._forget(offsets)

    def _seek(self, partition: Partition, offset: int) -> None:
        target = TopicPartition(*partition, offset)
        try:
            self._consumer.seek(target)
        except KafkaException as exception:
            if library_error(exception).code() != LibraryError._STATE:
                raise self._errors_seen.explain(library_error(exception), "seeking failed") from exception
            self._reassign(target)

    def _reassign(self, target: TopicPartition) -> None:
        """Fetch a partition from an offset on if a seek fails because it is not being fetched.

        It has just been assigned, or the library has given it up, as it does permanently if its position
        has left the log (``auto.offset.reset=error``).
        """
        try:
            self._consumer.incremental_unassign([target])
            self._consumer.incremental_assign([target])
        except KafkaException as exception:  # not in the library's assignment
            raise StaleGenerationError(
                f"{target.topic}-{target.partition} is no longer assigned to this instance"
            ) from exception
        if self._paused:
            self._consumer.pause([target])
        else:  # one that was revoked while paused would still be paused
            self._consumer.resume([target])

    def _forget(self, partitions: Collection[Partition]) -> None:
        gone = set(partitions)
        self._waiting = [one for one in self._waiting if (one.topic(), one.partition()) not in gone]

    # Requests to the brokers

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        def ask(seconds: float) -> list[TopicPartition]:
            found: list[TopicPartition] = self._consumer.committed(
                topic_partitions(partitions), timeout=seconds
            )
            raise_first(found)
            return found

        if not partitions:
            return {}
        try:
            found = self._ask("asking for committed offsets failed", ask, min(self._seconds, PENDING))
        except BrokerUnreachableError as error:
            # While a transaction is pending, the library keeps retrying and then reports a timeout.
            self._ask("asking for committed offsets failed", self._ask_anything)
            raise StaleGenerationError(OFFSETS_PENDING) from error
        self.found.update({Partition(one.topic, one.partition): _note(one) for one in found})
        return {Partition(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def beginning_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return self.offsets_at(partitions, "earliest")

    def end_offsets(
        self, partitions: Collection[Partition], seconds: float | None = None
    ) -> dict[Partition, int]:
        return self._offsets_at(partitions, "latest", seconds)

    def offsets_at(self, partitions: Collection[Partition], start: StartAt) -> dict[Partition, int]:
        return self._offsets_at(partitions, start)

    def _offsets_at(
        self, partitions: Collection[Partition], start: StartAt, seconds: float | None = None
    ) -> dict[Partition, int]:
        if not partitions:
            return {}
        found = self._reader.offsets(partitions, start, seconds)
        self._errors_seen.clear()
        if later := set(partitions) - set(found):
            found |= self._offsets_at(later, "latest", seconds)
        return found

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if not offsets:
            return
        if self._errors_seen.down():  # the commit itself would wait for a minute
            self._ask("committing offsets failed", self._ask_anything)
        to_commit = with_notes(offsets, self.notes)
        consumer = self._consumer

        def commit(_seconds: float) -> None:
            raise_first(consumer.commit(offsets=to_commit, asynchronous=False))

        # Without a coordinator the library would wait forever.
        self._ask("committing offsets failed", commit)

    def group(self) -> Any:
        if not self._owned:  # before our first rebalance, the broker would treat us as a non-member
            raise StaleGenerationError("no partition of the group is assigned to this instance")
        return self._consumer.consumer_group_metadata()

    @property
    def _reader(self) -> Reader:
        if self._opened is None:
            self._opened = self._open_reader()
        return self._opened

    def _ask(self, action: str, call: Callable[[float], Any], seconds: float | None = None) -> Any:
        answer = calling(
            call,
            self._patience.deadline(self._seconds if seconds is None else seconds),
            lambda error: self._explain(error, action),
            self._check_brokers,
            # The library's extension aborts if another thread calls it within a callback.
            apart=not self._notifying,
        )
        self._errors_seen.clear()
        return answer

    def _explain(self, error: LibraryError, action: str) -> Exception:
        failure = self._errors_seen.explain(error, action)
        if isinstance(failure, FencedError) and self._may_have_fenced_ourselves():
            return StaleGenerationError(failure.message)  # ``poll`` handles it
        return failure

    def _ask_anything(self, seconds: float) -> None:
        """Make a request that any broker can answer.

        If made on our own handle within a callback, the library would forget that it is in one, and abort
        the process at the next callback of the same poll.
        """
        if self._notifying:
            self._reader.ask_anything(seconds)
        else:
            self._consumer.list_topics(ANY_TOPIC, timeout=seconds)

    # Rebalance callbacks, called by the library within a read and within ``close``

    def _assigned(self, consumer: LibraryConsumer, partitions: list[TopicPartition]) -> None:
        if self._closed or consumer is not self._consumer:
            return
        del consumer  # or the traceback of an error would keep the handle alive after ``close``
        owned = [Partition(one.topic, one.partition) for one in partitions]
        self._owned.update(owned)
        self._starts = dict.fromkeys(owned)
        self._notify(lambda listener: listener.assigned(owned))
        starts, self._starts = self._starts, {}
        for one in partitions:
            if (offset := starts[Partition(one.topic, one.partition)]) is not None:
                one.offset = offset
        self._consumer.incremental_assign(partitions)
        if self._paused:
            self._consumer.pause(partitions)
        else:  # one that was revoked while paused would still be paused
            self._consumer.resume(partitions)

    def _revoked(self, consumer: LibraryConsumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        del consumer
        owned = [Partition(one.topic, one.partition) for one in partitions]
        if owned:
            self._notify(lambda listener: listener.revoked(owned))
        self._drop(owned, partitions)

    def _lost(self, consumer: LibraryConsumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        del consumer
        owned = [Partition(one.topic, one.partition) for one in partitions]
        self._errors_seen.is_doubtful = True  # the library may have given up waiting for its coordinator
        self._lost_at, self._lost_in = time.monotonic(), self._reads
        self._notify_lost(owned)
        self._drop(owned, partitions)

    def _drop(self, owned: list[Partition], partitions: list[TopicPartition]) -> None:
        self._forget_all(owned)
        self._consumer.incremental_unassign(partitions)

    def _notify_lost(self, owned: list[Partition]) -> None:
        if owned:
            self._notify(lambda listener: listener.lost(owned))

    def _notify(self, notification: Callable[[Listener], None]) -> None:
        """Call the listener; keep its errors for ``poll``: raised here, the records read would be lost."""
        if self._listener is not None and not self._closed:
            self._notifying = True
            try:
                notification(self._listener)
            except BaseException as error:
                if self._raised is None:
                    self._raised = error
            finally:
                self._notifying = False

    # Closing

    def close(self, *, leave: bool = True) -> None:
        """Close without calling the listener, within a few seconds.

        A static member's handle is destroyed instead, after the callbacks of a rebalance in progress. A close
        would run them itself, and may end the group under them. librdkafka 2.16 then never answers the call
        that gives the partitions up (``rd_kafka_cgrp_op_serve``), which the extension waits for with the GIL
        held: no thread and no signal handler would ever run again.
        """
        if self._closed:
            return
        self._closed, self._raised = True, None
        is_member = self._listener is not None and not self._errors_seen.down()
        closing = self._patience.closing
        if self._leave is None:
            bounded(self._consumer.close, closing)
        else:
            bounded(self._run_callbacks, _CALLBACKS)
            handle = [self._consumer]
            del self._consumer
            if bounded(handle.clear, closing) and leave and is_member:
                bounded(self._leave, closing)
        if self._opened is not None:
            self._opened.close()

    def _run_callbacks(self) -> None:
        """Run the callbacks of a rebalance in progress, and drop all fetched messages.

        librdkafka 2.16 never ends a handle that is destroyed while it waits for such a callback
        (``rd_kafka_cgrp_try_terminate``): its main thread would take up a core as long as the process lives.
        """
        with contextlib.suppress(KafkaException, RuntimeError):
            self._consumer.consume(_MOST, 0)


def _note(committed: TopicPartition) -> str:
    """Return the metadata of a committed offset; "" if it cannot be read.

    Metadata that the library has written ends with the zero byte of its C string, and the library sometimes
    reads past it.
    """
    try:
        return (committed.metadata or "").partition("\0")[0]
    except UnicodeDecodeError as error:
        note, end, _ = bytes(error.object).partition(b"\0")
        return note.decode() if end and note.isascii() else ""
