"""An idempotent or transactional producer with librdkafka."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import KafkaException
from confluent_kafka import Producer as LibraryProducer

from sentstream.errors import BrokerUnreachableError, FencedError, KafkaError
from sentstream.kafka.clients.api import (
    Cause,
    Outgoing,
    Partition,
    Refusal,
    StaleGenerationError,
    UnacknowledgedError,
)
from sentstream.kafka.clients.confluent.errors import (
    DRAGGED,
    FENCED,
    MOVING,
    PURGED,
    REFUSED,
    TOO_LARGE,
    UNKNOWN,
    Cluster,
    ErrorCollector,
    await_broker,
    bounded,
    calling,
    is_lost,
    library_error,
    missing,
    opened,
)
from sentstream.kafka.clients.confluent.records import sendable, with_notes
from sentstream.kafka.clients.ending import Ending
from sentstream.kafka.clients.kafka_python.transactions import Coordinator
from sentstream.kafka.clients.patience import watched

_ATTEMPT = 0.2  # seconds
_LOOK = 1.0  # seconds per wait within the library, which cannot be interrupted
_ABORTING = 3.0  # seconds, when closing
_ADDING = 10.0  # seconds; then the transaction is restarted
_GRACE = 5.0  # seconds
_SMALL = 16_384  # bytes of a batch, if a topic does not accept larger ones
_SERVE = 1000  # records between runs of the delivery callbacks
_SLOW = 5.0  # seconds of waiting for acknowledgements between checks whether the brokers are lost


class ConfluentProducer:
    """An ``api.Producer`` on confluent-kafka.

    A timestamp of 0 (1970) cannot be sent: librdkafka replaces it by the current time.

    Args:
        config: librdkafka's configuration; a transactional.id enables transactions.
        seconds: How long beginning or ending a transaction or adding offsets may take.
        coordinator: The coordinator of our transactional.id; None without one.
        reasons: Asks the broker why it refuses each of these records; None if it does not say.
        cluster: State that the client's handles share.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        seconds: float,
        coordinator: Coordinator | None,
        reasons: Callable[[Sequence[Outgoing]], Sequence[str | None]],
        cluster: Cluster,
    ) -> None:
        self._config, self._seconds, self._coordinator = config, seconds, coordinator
        self._ask_reasons, self._cluster, self._patience = reasons, cluster, cluster.patience
        self.notes: dict[str, str] = {}
        self._ending = Ending()
        self._batch = config["batch.size"]  # the normal size
        self._transactional = "transactional.id" in config
        self._transaction_seconds = config.get("transaction.timeout.ms", 0) / 1000
        # The library counts from when it gets the record, so it times out before us.
        self._delivery_seconds = config["delivery.timeout.ms"] / 1000 + 5
        self._began: float | None = None
        self._sent: list[Outgoing] | None = None  # all of the open transaction; None once it has offsets
        self._broken = self._fenced = False  # unusable; permanently
        self._errors_seen = ErrorCollector(cluster.verify)
        self._handle: list[Any] = []
        self._build()

    @property
    def _producer(self) -> Any:
        return self._handle[0]

    def _build(self) -> None:
        self._errors_seen = ErrorCollector(self._cluster.verify)
        self._handle = [opened(LibraryProducer, self._config, self._errors_seen)]
        self._errors_seen.serve = lambda: self._producer.poll(0)
        try:
            await_broker(self._producer, self._errors_seen, self._patience.deadline(self._cluster.seconds))
            if self._coordinator is not None:
                self._ending.look(self._coordinator.describe())
                calling(
                    lambda seconds: self._producer.init_transactions(min(seconds, _LOOK)),
                    self._patience.deadline(self._seconds),
                    self._not_started,
                )
                self._ending.renewed(self._current_identity())
        except BaseException:
            self._broken = True
            self._destroy()
            raise
        self._broken, self._began, self._sent = False, None, None

    def _not_started(self, error: LibraryError) -> Exception:
        action = f"{self._name}, starting"
        if error.code() == LibraryError.CONCURRENT_TRANSACTIONS:
            return BrokerUnreachableError(f"{action}: its last transaction is still ending")
        return self._errors_seen.explain(error, action)

    def _current_identity(self) -> tuple[int, int] | None:
        """Return our producer id and epoch, from the coordinator, since the library does not expose them."""
        found = None if self._coordinator is None else self._coordinator.describe()
        return None if found is None else found.identity

    # Transactions

    def begin(self) -> None:
        self._rebuild_if_unusable()
        self._call("begin", lambda _: self._producer.begin_transaction())
        self._began, self._sent = time.monotonic(), []
        self._ending.begun()

    def send(self, messages: Sequence[Outgoing]) -> list[Refusal]:
        self._rebuild_if_unusable()
        failed = self._try(messages)
        while suspects := self._suspects(messages, failed):
            if not self._transactional:  # the other records are already written
                self._rebuild_for_smaller_batches(failed[suspects[0]])
                again = self._try([messages[index] for index in suspects])
                failed = {index: error for index, error in failed.items() if index not in suspects}
                failed |= {suspects[index]: error for index, error in again.items()}
            elif self._sent is None:
                self._shrink(failed[suspects[0]])
                self._broken = True
                raise StaleGenerationError("a topic accepts only smaller batches than were sent")
            else:
                before = self._sent
                self._rebuild_for_smaller_batches(failed[suspects[0]])
                self.begin()
                failed = self._try([*before, *messages])
                self._sent = before
                failed = {index - len(before): error for index, error in failed.items()}
        if failed:
            return self._refusals(messages, failed)
        if self._sent is not None:
            self._sent.extend(messages)
        return []

    def add_offsets(self, offsets: Mapping[Partition, int], group: Any) -> None:
        to_commit = with_notes(offsets, self.notes)
        patience = min(self._seconds, self._transaction_seconds, _ADDING)

        def add(seconds: float) -> None:
            self._producer.send_offsets_to_transaction(to_commit, group, seconds)

        def call() -> None:  # in one attempt: after a timeout, the library requires an abort
            self._call("adding offsets", add, patience, check=None)

        self._ending.adding()
        try:  # librdkafka 2.16 may wait forever for a coordinator that was gone (its issue 5456)
            watched(call, self._patience.deadline(patience + _GRACE), self._check_brokers)
        except TimeoutError:
            self._broken = True
            raise self._undelivered(f"{self._name}, adding offsets: no answer in time") from None
        self._sent = None
        self._ending.added()

    def commit(self) -> None:
        # In short attempts, each of which continues the previous one.
        self._call("commit", self._commit_soon, check=self._check_brokers)
        self._began = self._sent = None
        self._ending.ended(committed=True)

    def abort(self) -> None:
        if self._fenced:  # a new producer would fence the one that fenced us
            self._began = self._sent = None
            return
        if self._began is not None and not self._broken:
            try:
                self._call("abort", self._abort_soon, check=self._check_brokers)
                self._ending.ended(committed=False)
                self._ending.identity = self._current_identity()  # the library may have raised the epoch
            except (StaleGenerationError, KafkaError):
                self._broken = True
        self._began = self._sent = None
        if self._config["batch.size"] != self._batch:
            self._config = {**self._config, "batch.size": self._batch}
            self._broken = True
        if self._broken:
            with contextlib.suppress(BrokerUnreachableError):  # the next send raises it
                self._rebuild_if_unusable()

    def settle(self, group: str, partitions: Collection[Partition]) -> bool:
        if self._coordinator is None or self._began is not None or self._fenced:
            return False
        self._rebuild_if_unusable()
        return self._coordinator.end_again(self._ending, group, partitions)

    def close(self) -> None:
        if self._began is not None and not self._broken and self._handle:
            with contextlib.suppress(KafkaException):
                self._producer.abort_transaction(min(_ABORTING, self._patience.closing))
        self._began, self._broken = None, True
        self._destroy()

    # Internals

    def _try(self, messages: Sequence[Outgoing]) -> dict[int, LibraryError]:
        """Send messages, wait for the delivery of each, and return the errors by index."""
        failed: dict[int, LibraryError] = {}
        try:
            self._produce(messages, failed)
            self._flush(failed)
        except KafkaException as exception:  # a fatal error, raised when callbacks are run
            exception.__traceback__ = None  # its frames hold the library's producer
            raise self._failure(library_error(exception), f"{self._name}, sending") from exception
        return failed

    def _suspects(self, messages: Sequence[Outgoing], failed: Mapping[int, LibraryError]) -> list[int]:
        """Return the indexes of records that may have been refused because of others in their batch.

        A record larger than a batch has a batch to itself.
        """
        size = self._config["batch.size"]
        if size <= 1:
            return []
        return [
            index
            for index, error in sorted(failed.items())
            if error.code() in REFUSED | DRAGGED
            and index >= 0
            and (error.code() != LibraryError.MSG_SIZE_TOO_LARGE or _bytes(messages[index]) <= size)
        ]

    def _commit_soon(self, seconds: float) -> None:
        self._producer.commit_transaction(min(seconds, _LOOK))

    def _abort_soon(self, seconds: float) -> None:
        """Abort in short attempts: each purges the messages that were requeued and would otherwise stay."""
        self._producer.abort_transaction(min(seconds, _ATTEMPT))

    def _shrink(self, error: LibraryError) -> None:
        """Use smaller batches from the next build on, or of one record until an abort if size is not why."""
        size, smaller = self._config["batch.size"], 1
        if error.code() == LibraryError.MSG_SIZE_TOO_LARGE:
            self._batch = smaller = _SMALL if size > _SMALL else 1
        self._config = {**self._config, "batch.size": smaller}

    def _rebuild_for_smaller_batches(self, error: LibraryError) -> None:
        if self._began is not None:
            with contextlib.suppress(KafkaException):
                self._abort_soon(_ABORTING)
        self._shrink(error)
        self._destroy()
        self._build()

    def _rebuild_if_unusable(self) -> None:
        """Rebuild the producer if it is unusable."""
        if self._broken and not self._fenced:
            self._destroy()
            self._build()

    def _produce(self, messages: Sequence[Outgoing], failed: dict[int, LibraryError]) -> None:
        """Pass all messages to the library; errors are added to ``failed``, now or later, by index."""

        def report(index: int, error: LibraryError | None, _message: object) -> None:
            if error is not None:
                failed[index] = error

        produce, poll, partial = self._producer.produce, self._producer.poll, functools.partial
        for index, (topic, key, value, headers, timestamp, partition) in enumerate(messages):
            while True:
                try:
                    produce(
                        topic,
                        value,
                        key,
                        -1 if partition is None else partition,
                        partial(report, index),
                        None,
                        timestamp or 0,
                        sendable(headers) if headers else None,
                    )
                except BufferError:
                    if len(self._producer):
                        poll(0.1)
                        continue
                    too_large = "it is larger than buffer.memory"
                    failed[index] = LibraryError(LibraryError.MSG_SIZE_TOO_LARGE, too_large)
                except KafkaException as exception:
                    failed[index] = library_error(exception)
                break
            if index % _SERVE == 0:
                poll(0)
            if failed and self._is_lost(failed):
                return

    def _is_lost(self, failed: Mapping[int, LibraryError]) -> bool:
        """Return whether waiting for the rest is useless: after any failure a transaction must be aborted."""
        return self._transactional or any(error.code() not in REFUSED | DRAGGED for error in failed.values())

    def _flush(self, failed: Mapping[int, LibraryError]) -> None:
        """Wait until all messages are delivered or failed; the library's ``flush`` hides fatal errors."""
        deadline = self._patience.deadline(self._delivery_seconds)
        pause = time.monotonic() + _SLOW
        while left := len(self._producer):
            if failed and self._is_lost(failed):
                return
            if deadline.left() == 0:
                raise self._undelivered(f"{left} records were not acknowledged in time")
            self._producer.poll(0.1)
            if time.monotonic() > pause:
                self._check_brokers()
                pause = time.monotonic() + _SLOW

    def _check_brokers(self) -> None:
        """Raise if the library has lost all brokers."""
        if is_lost(self._producer, self._cluster.fresh):
            self._broken = True
            if self._transactional:
                raise StaleGenerationError(f"{self._name}: librdkafka has lost all brokers")
            raise self._undelivered("librdkafka has lost all brokers")  # sent records may be written or not

    def _refusals(self, messages: Sequence[Outgoing], failed: Mapping[int, LibraryError]) -> list[Refusal]:
        """Return the records that were refused; raise if the failure has another cause."""
        refusals = [
            Refusal(index, *_refused_for(error))
            for index, error in sorted(failed.items())
            if error.code() in REFUSED and index >= 0
        ]
        if refusals and self._transactional:
            self._broken = True  # its sequence numbers have a gap from now on
            return self._with_reasons(messages, refusals)  # the others failed with them
        for index, error in sorted(failed.items()):
            if error.code() not in PURGED and (error.code() not in REFUSED or index < 0):
                raise self._undeliverable(messages[max(index, 0)], error)
        if not refusals:  # all were purged for another reason, which this call raises
            self._call("sending", lambda _: self._producer.begin_transaction())
        return self._with_reasons(messages, refusals)

    def _with_reasons(self, messages: Sequence[Outgoing], refusals: list[Refusal]) -> list[Refusal]:
        """Add the broker's messages, which librdkafka's Python binding does not pass on, to the refusals."""
        asked = [refusal for refusal in refusals if refusal.cause != "size"]
        if not asked:
            return refusals
        reasons = self._ask_reasons([messages[refusal.position] for refusal in asked])
        explained = {
            refusal.position: reason for refusal, reason in zip(asked, reasons, strict=True) if reason
        }
        return [each._replace(reason=explained.get(each.position, each.reason)) for each in refusals]

    def _undeliverable(self, message: Outgoing, error: LibraryError) -> Exception:
        action = f"sending to topic {message.topic}"
        if error.code() in UNKNOWN:
            wanted = [Partition(message.topic, message.partition or 0)]
            if (gone := missing(self._producer, wanted, self._cluster, action)) is not None:
                return gone
        return self._failure(error, action)

    def _call(
        self,
        action: str,
        call: Callable[[float], Any],
        seconds: float | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        deadline = self._patience.deadline(self._seconds if seconds is None else seconds)
        calling(call, deadline, lambda error: self._failure(error, f"{self._name}, {action}"), check)

    @property
    def _name(self) -> str:
        return f"transactional.id {self._config['transactional.id']}" if self._transactional else "producer"

    def _failure(self, error: LibraryError, action: str) -> Exception:
        """Return the error to raise, and note whether the library's producer is still usable."""
        self._broken |= error.fatal()
        if error.code() in FENCED and error.fatal():
            if self._is_expired():
                return StaleGenerationError(f"{action}: it took longer than transaction.timeout.ms")
            self._fenced = True
            return FencedError(
                f"{action}: another producer with our transactional.id has taken over",
                hint="run only one instance under each name",
            )
        if error.code() == LibraryError.FENCED_INSTANCE_ID and self._patience.was_out:
            return StaleGenerationError(f"{action}: {error.str()}")  # the consumer finds out who it was
        failure = self._errors_seen.explain(error, action)
        if self._transactional and error.txn_requires_abort() and error.code() in MOVING:
            return StaleGenerationError(f"{action}: {error.str()}")
        if isinstance(failure, BrokerUnreachableError) or error.code() == LibraryError._MSG_TIMED_OUT:
            return self._undelivered(f"{action}: {error.str()}")
        doomed = self._transactional and (error.fatal() or error.txn_requires_abort())
        if type(failure) is KafkaError and doomed:
            return StaleGenerationError(failure.message)
        return failure

    def _is_expired(self) -> bool:
        """Return whether the coordinator ended our transaction for its age, and no other producer has our id.

        Both have the same error: our epoch is not the current one. Ending a transaction raises the epoch by
        one, and a new producer by one more.
        """
        if self._began is None or time.monotonic() - self._began < self._transaction_seconds:
            return False
        identity = self._ending.identity
        now = None if self._coordinator is None else self._coordinator.glance()
        if identity is None or now is None:
            return True  # decide by age
        return now.is_aborted and now.identity == (identity[0], identity[1] + 1)

    def _undelivered(self, message: str) -> UnacknowledgedError:
        return UnacknowledgedError(
            message, hint="check that the brokers are running, or raise delivery.timeout.ms"
        )

    def _destroy(self) -> None:
        """Destroy the library's producer and its queue.

        The destructor may hang without a broker, so it runs in a thread, and no other reference may remain.
        """
        handle, self._handle = self._handle, []
        self._errors_seen.serve = None

        def destroy() -> None:
            try:
                handle[0].purge()
            finally:
                handle.clear()

        if handle:
            bounded(destroy, self._patience.closing)


def _refused_for(error: LibraryError) -> tuple[str, Cause]:
    """Return librdkafka's message for a refused record, and the cause."""
    if error.code() in TOO_LARGE:
        return "the record is too large", "size"
    return error.str(), "time" if error.code() == LibraryError.INVALID_TIMESTAMP else "other"


def _bytes(message: Outgoing) -> int:
    """Return a lower bound of a record's bytes in a batch."""
    headers = sum(len(key) + len(value or b"") for key, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers
