"""An idempotent or transactional producer with kafka-python."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple, NoReturn

from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka
from kafka.partitioner import DefaultPartitioner
from kafka.serializer import Serializer

from sentstream.errors import BrokerUnreachableError, FencedError, KafkaError, TopicNotFoundError, one_line
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import (
    Headers,
    Outgoing,
    Partition,
    Refusal,
    StaleGenerationError,
    UnacknowledgedError,
)
from sentstream.kafka.clients.ending import Ending
from sentstream.kafka.clients.kafka_python.consumer import stored
from sentstream.kafka.clients.kafka_python.errors import root, translated
from sentstream.kafka.clients.kafka_python.records import HeaderKey
from sentstream.kafka.clients.kafka_python.transactions import Coordinator
from sentstream.kafka.clients.patience import Deadline, Patience

_BATCH_BYTES = 256 << 10
_REQUEST_BYTES = 64 << 20  # the broker decides what is too large, not the client
_TOPIC_MS = 3000  # until a topic that the brokers do not know is reported as missing
_CLOSE_SECONDS = 4.0

#: A record is refused because of its content.
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
_REFUSED = (
    kafka.InvalidRecordError,
    kafka.InvalidTimestampError,
    kafka.PolicyViolationError,
    *_TOO_LARGE,
)


def producer_config(settings: Settings, transactional_id: str | None) -> dict[str, Any]:
    """Return the options of kafka-python's producer, except for the connection."""
    compression = settings.text("compression.type", "none")
    linger = settings.integer("linger.ms", 5)  # costs nothing, since sends end with a flush
    delivery = settings.integer("delivery.timeout.ms", 120_000)
    return {
        "acks": "all",
        "allow_auto_create_topics": False,
        "batch_size": settings.integer("batch.size", _BATCH_BYTES),
        "compression_type": None if compression == "none" else compression,
        "delivery_timeout_ms": delivery,
        "enable_idempotence": True,
        "linger_ms": linger,
        "max_block_ms": settings.integer("max.block.ms", 60_000),
        "max_in_flight_requests_per_connection": settings.integer("max.in.flight.requests.per.connection", 5),
        "max_request_size": settings.integer("max.request.size", _REQUEST_BYTES),
        "metrics_enabled": False,
        # This is also the wait while the last transaction is still being ended; Java waits 20 ms, too.
        "retry_backoff_ms": settings.integer("retry.backoff.ms", 20),
        "transaction_timeout_ms": settings.integer("transaction.timeout.ms", 30_000),
        "transactional_id": transactional_id,
        "value_serializer": _Opener(),
    }


class PythonProducer:
    """An ``api.Producer`` on kafka-python."""

    def __init__(
        self,
        open_: Callable[[Any, dict[str, Any]], Any],
        config: dict[str, Any],
        settings: Settings,
        patience: Patience | None = None,
    ) -> None:
        self._open, self._config, self._patience = open_, config, patience or Patience()
        self._id: str | None = config["transactional_id"]
        self._seconds = config["delivery_timeout_ms"] / 1000
        self._lifetime = config["transaction_timeout_ms"] / 1000
        self._begun: float | None = None  # when the open transaction began
        self._broken = False  # kafka-python's producer is unusable
        self._over = False  # fenced, so a new producer would not help
        self.notes: dict[str, str] = {}
        self._ending = Ending()
        self._coordinator = Coordinator(
            self._id or "",
            lambda: closing(open_(KafkaAdminClient, {})),
            lambda: self._patience.deadline(config["max_block_ms"] / 1000),
        )
        self._producer = self._built()

    def begin(self) -> None:
        self._rebuild_if_unusable()
        with self._errors("begin"):
            self._producer.begin_transaction()
        self._begun = time.monotonic()
        self._ending.begun()

    def send(self, messages: Sequence[Outgoing]) -> list[Refusal]:
        refused: list[Refusal] = []
        todo: list[tuple[int, Outgoing]] = list(enumerate(messages))
        if self._id is None:
            self._rebuild_if_unusable()
        deadline = self._patience.deadline(self._seconds)
        for topic in {message.topic for message in messages}:
            self._await_topic(topic, deadline)
        while todo:
            undelivered, error = self._attempt(todo, refused, deadline)
            if not undelivered:
                break
            self._broken = True
            if self._id is not None:
                if refused:
                    break  # the transaction must be aborted anyway
                self._fail(error, "send")
            if not _is_passing(error) or deadline.left() == 0:
                self._fail(error, "send")
            self._rebuild()
            todo = undelivered
        if refused and self._id is None and self._has_error():
            self._rebuild()
        return sorted(refused)

    def add_offsets(self, offsets: Mapping[Partition, int], group: Any) -> None:
        if group.generation_id < 0:  # the broker would treat it as a consumer outside the group
            raise StaleGenerationError(f"group {group.group_id}: not a member at present")
        with self._errors(f"offsets of group {group.group_id}"):
            to_commit = stored(offsets, self.notes)
            self._ending.adding()
            self._await(self._manager.send_offsets_to_transaction(to_commit, group), self._seconds)
        self._ending.added()

    def commit(self) -> None:
        with self._errors("commit"):
            self._await(self._manager.begin_commit(), self._seconds)
        self._begun = None
        self._ending.ended(committed=True)

    def abort(self) -> None:
        if self._over:
            return  # the producer that fenced us has aborted it, or the coordinator will
        if not self._broken and self._begun is not None:
            try:
                with self._errors("abort"):
                    self._await(self._manager.begin_abort(), self._seconds)
                self._ending.ended(committed=False)
            except (StaleGenerationError, KafkaError):
                if self._over:
                    raise
        self._begun = None
        with suppress(BrokerUnreachableError):  # the next send raises it
            self._rebuild_if_unusable()

    def settle(self, group: str, partitions: Collection[Partition]) -> bool:
        if self._id is None or self._begun is not None or self._over:
            return False
        self._rebuild_if_unusable()
        return self._coordinator.end_again(self._ending, group, partitions)

    def close(self) -> None:
        """Close within a few seconds."""
        if self._begun is not None and not self._broken and not self._over:
            with suppress(kafka.KafkaError):
                self._await(self._manager.begin_abort(), self._closing)
        self._begun = None
        _discard(self._producer, self._closing)

    # Internals

    @property
    def _manager(self) -> Any:
        return self._producer._transaction_manager

    def _built(self) -> Any:
        """Return a new producer; with a transactional.id it aborts what an earlier one has left open."""
        # A separate partitioner, since one remembers its producer's open batches.
        producer = self._open(KafkaProducer, self._config | {"partitioner": DefaultPartitioner()})
        if self._id is not None:
            # An epoch bump loses the transaction silently, and might take the id from a newer producer.
            producer._transaction_manager._supports_epoch_bump = lambda: False
            try:
                self._ending.look(self._coordinator.describe())
                self._init(producer)
                now = producer._transaction_manager.producer_id_and_epoch
                self._ending.renewed((now.producer_id, now.epoch))
            except BaseException as error:
                _discard(producer, self._closing)
                if isinstance(error, kafka.KafkaError):
                    raise translated(error, f"transactional.id {self._id}") from error
                raise
        return producer

    def _init(self, producer: Any) -> None:
        """Initialize transactions in short waits, each of which continues the previous one."""
        deadline = self._patience.deadline(producer.config["max_block_ms"] / 1000)
        usual = producer.config["max_block_ms"]
        while True:
            producer.config["max_block_ms"] = 1000 * deadline.slice()
            try:
                producer.init_transactions()
                break
            except kafka.KafkaTimeoutError:
                if deadline.left() == 0:
                    raise
        producer.config["max_block_ms"] = usual

    def _rebuild_if_unusable(self) -> None:
        """Rebuild the producer if it is unusable."""
        if self._broken:
            self._rebuild()

    def _rebuild(self) -> None:
        _discard(self._producer, self._closing)
        self._broken = True
        self._producer = self._built()
        self._broken = False

    @property
    def _closing(self) -> float:
        return min(_CLOSE_SECONDS, self._patience.closing)

    def _await_topic(self, topic: str, deadline: Deadline) -> None:
        """Wait until the topic is known.

        Raises:
            TopicNotFoundError: The brokers know no such topic.
        """
        producer = self._producer
        while producer._metadata.partitions_for_topic(topic) is None:
            asked = time.monotonic()
            try:
                producer._wait_on_metadata(topic, _TOPIC_MS)
            except kafka.RetriableError as error:
                if producer._metadata._last_successful_refresh_ms / 1000 > asked:
                    raise TopicNotFoundError(
                        f"no topic {topic!r}", hint="create it, or check the name"
                    ) from error
                if deadline.left() == 0:
                    self._fail(error, f"topic {topic}")
            except kafka.KafkaError as error:
                self._fail(error, f"topic {topic}")

    def _attempt(
        self, todo: Iterable[tuple[int, Outgoing]], refused: list[Refusal], deadline: Deadline
    ) -> tuple[list[tuple[int, Outgoing]], BaseException]:
        """Send the messages, and add refusals to ``refused``.

        Returns:
            The messages that were neither delivered nor refused, and the error.
        """
        send = self._producer.send
        sent: list[tuple[int, Outgoing, Any]] = []
        undelivered: list[tuple[int, Outgoing]] = []
        error: BaseException = kafka.KafkaError("not sent")
        for index, message in todo:
            topic, key, value, headers, timestamp, partition = message
            try:
                future = send(topic, _Envelope(value, headers), key, _Filled(), partition, timestamp)
            except kafka.MessageSizeTooLargeError as refusal:
                refused.append(_refusal(index, refusal))
            except kafka.KafkaError as exception:
                if not self._has_error():
                    self._fail(exception, f"topic {topic}")
                undelivered.append((index, message))
                error = exception
            except ValueError as exception:
                raise KafkaError(f"topic {topic}: {exception}") from exception
            else:
                sent.append((index, message, future))
        self._flush(deadline)
        for index, message, future in sent:
            failure = future.exception
            if failure is None and future.is_done:
                continue
            own = failure is not None and _is_own(future)
            if own and isinstance(failure, _REFUSED):
                refused.append(_refusal(index, failure))
            else:
                if own or not undelivered:
                    error = failure or kafka.KafkaTimeoutError()
                undelivered.append((index, message))
        undelivered.sort(key=lambda each: each[0])
        if refused:
            self._broken = self._broken or self._id is not None or self._has_error()
        return undelivered, error

    def _flush(self, deadline: Deadline) -> None:
        while True:
            try:
                self._producer.flush(deadline.slice())
                return
            except kafka.UnknownError:
                continue  # a batch was split, so there are new ones to wait for
            except kafka.KafkaTimeoutError as failure:
                if deadline.left() == 0:
                    self._fail(failure, "send")

    def _await(self, result: Any, seconds: float) -> None:
        """Wait for a result with a deadline, unlike kafka-python.

        Raises:
            kafka.errors.KafkaTimeoutError: No answer in time.
        """
        self._producer._sender.wakeup()
        deadline = self._patience.deadline(seconds)
        while not result.wait(timeout_ms=1000 * deadline.slice()):
            if deadline.left() == 0:
                raise kafka.KafkaTimeoutError("no answer in time")

    def _has_error(self) -> bool:
        return bool(self._manager.has_error())

    @contextmanager
    def _errors(self, action: str) -> Generator[None, None, None]:
        try:
            yield
        except kafka.KafkaError as error:
            self._fail(error, action)

    def _fail(self, error: BaseException, action: str) -> NoReturn:
        """Raise our error for one of kafka-python's, and note whether the producer can be rebuilt."""
        cause = root(error)
        if type(cause) is kafka.KafkaError and self._manager.last_error is not None:
            cause = root(self._manager.last_error)
        self._broken = True
        where = f"transactional.id {self._id}, {action}" if self._id is not None else action
        if isinstance(cause, kafka.ProducerFencedError | kafka.InvalidProducerEpochError) and self._expired():
            raise StaleGenerationError(
                f"{where}: the transaction took longer than {self._lifetime:g} s"
            ) from error
        text = str(cause)
        if "for unknown reasons" in text or "Invalid transition" in text:
            raise StaleGenerationError(f"{where}: {text}") from error
        converted = translated(cause, where, gone=UnacknowledgedError)
        self._over = isinstance(converted, FencedError)
        raise converted from error

    def _expired(self) -> bool:
        """Return whether the coordinator ended our transaction for its age, and no other producer has our id.

        Both have the same error: our epoch is not the current one. Ending a transaction raises the epoch by
        one, and a new producer by one more.
        """
        if self._begun is None or time.monotonic() - self._begun < self._lifetime:
            return False
        now = self._coordinator.glance()
        if now is None:
            return True  # an older broker, or not allowed to ask: decide by age
        current = self._manager.producer_id_and_epoch
        return now.is_aborted and now.identity == (current.producer_id, current.epoch + 1)


def _is_passing(error: BaseException) -> bool:
    """Return whether a new producer may succeed: records failed with others, or the sequence is broken."""
    error = root(error)
    return not isinstance(
        error, kafka.AuthorizationError | kafka.RetriableError | kafka.SaslAuthenticationFailedError
    )


def _is_own(future: Any) -> bool:
    """Return whether a record's own batch failed, rather than being dropped because another failed.

    kafka-python reports the same error for both, but offset and timestamp -1 only for the latter.
    """
    result = future._produce_future.value
    return result is None or result[0] != -1


def _refusal(index: int, error: BaseException) -> Refusal:
    """Return the refusal of a record, with the broker's message without kafka-python's text around it."""
    if isinstance(error, _TOO_LARGE):
        return Refusal(index, "the record is too large", "size")
    detail = error.args[0] if error.args else None
    reason = one_line(detail or getattr(error, "description", error))
    # For two such records in one batch kafka-python raises InvalidRecordError, so check the text.
    for_its_time = isinstance(error, kafka.InvalidTimestampError) or reason.startswith("Timestamp ")
    return Refusal(index, reason, "time" if for_its_time else "other")


def _discard(producer: Any, seconds: float) -> None:
    """Close a producer immediately; unsent records are dropped."""
    producer._sender.force_close()
    producer._sender.join(seconds)
    with suppress(kafka.KafkaError):
        producer.close(timeout=0)


class _Envelope(NamedTuple):
    """A record's value and headers, wrapped to pass kafka-python's checks."""

    value: bytes | None
    headers: Headers


class _Filled(list[Any]):
    """Headers whose size kafka-python does not compute, since it fails if a value is None."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


class _Opener(Serializer):  # type: ignore[misc]
    """Unwraps envelopes.

    ``KafkaProducer.send`` refuses records without key and value, and headers without value. It checks only
    its arguments: the serializer, which runs later, may return None and add headers.
    """

    def serialize(self, topic: str, headers: list[Any], data: _Envelope) -> bytes | None:
        value, added = data
        for key, header in added:
            headers.append((key if key.isascii() else HeaderKey(key), header))
        return value
