"""Translate librdkafka's errors into ``sentstream.errors``, collect its separate reports, and retry."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import KafkaException

from sentstream.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnreachableError,
    ClientConfigError,
    FencedError,
    KafkaError,
    TlsError,
    TopicNotFoundError,
    one_line,
)
from sentstream.kafka.clients.api import OTHER_ASSIGNOR, Partition, StaleGenerationError, is_starting_up
from sentstream.kafka.clients.patience import CHECKING, Deadline, Patience, watched

T = TypeVar("T")

#: librdkafka's log. It is discarded unless a handler is added: what matters becomes an error.
LOGGER = logging.getLogger("sentstream.kafka.librdkafka")
LOGGER.addHandler(logging.NullHandler())
LOGGER.propagate = False

_BACKOFF = 0.1  # seconds
_CLOSING = 5.0  # seconds
_PROBE = 1.0  # seconds
_SETTLING = 10.0  # seconds until a broker that has just restarted knows its topics
_RECONNECTING = 12.0  # seconds; librdkafka waits up to 10 before it reconnects
ANY_TOPIC = "__consumer_offsets"  # asking for all topics would take long if there are many


def _codes(names: str) -> frozenset[int]:
    """Return the codes of these names, without those that the installed library does not know."""
    return frozenset(
        code for name in names.split() if isinstance(code := getattr(LibraryError, name, None), int)
    )


AUTHENTICATION = _codes(
    "_AUTHENTICATION SASL_AUTHENTICATION_FAILED UNSUPPORTED_SASL_MECHANISM ILLEGAL_SASL_STATE"
    " SECURITY_DISABLED"
)
TLS = _codes("_SSL")
#: Also reported when a connection breaks during a handshake or login.
_HEARSAY = _codes("_AUTHENTICATION _SSL")
AUTHORIZATION = _codes(
    "TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED"
    " TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
)
NO_TOPIC = _codes("UNKNOWN_TOPIC_OR_PART TOPIC_EXCEPTION UNKNOWN_TOPIC_ID INCONSISTENT_TOPIC_ID")
#: The library does not know the topic or group, or forgot it with its brokers; only the cluster knows.
UNKNOWN = _codes("_UNKNOWN_TOPIC _UNKNOWN_PARTITION _UNKNOWN_BROKER _UNKNOWN_GROUP _WAIT_CACHE _NOENT")
FENCED = _codes(
    "_FENCED FENCED_INSTANCE_ID PRODUCER_FENCED INVALID_PRODUCER_EPOCH TRANSACTION_COORDINATOR_FENCED"
)
STALE = _codes(
    "ILLEGAL_GENERATION UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS UNSTABLE_OFFSET_COMMIT _ASSIGNMENT_LOST"
    " _STATE FENCED_MEMBER_EPOCH STALE_MEMBER_EPOCH INVALID_TXN_STATE TRANSACTION_ABORTABLE"
    " CONCURRENT_TRANSACTIONS _AUTO_OFFSET_RESET OFFSET_OUT_OF_RANGE UNKNOWN_PRODUCER_ID"
    " INVALID_PRODUCER_ID_MAPPING OUT_OF_ORDER_SEQUENCE_NUMBER"
)
#: ``_DESTROY`` also fails a request whose broker the library has dropped, as when it learns of another one.
UNREACHABLE = (
    _codes(
        "_TRANSPORT _DESTROY _ALL_BROKERS_DOWN _TIMED_OUT _TIMED_OUT_QUEUE _RESOLVE _WAIT_COORD _RETRY"
        " _NODE_UPDATE REQUEST_TIMED_OUT NETWORK_EXCEPTION BROKER_NOT_AVAILABLE LEADER_NOT_AVAILABLE"
        " NOT_LEADER_FOR_PARTITION COORDINATOR_NOT_AVAILABLE COORDINATOR_LOAD_IN_PROGRESS"
        " NOT_COORDINATOR KAFKA_STORAGE_ERROR"
        " NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND _DESTROY_BROKER REPLICA_NOT_AVAILABLE"
        " REBOOTSTRAP_REQUIRED _OUTDATED _PREV_IN_PROGRESS _INTR"
    )
    | UNKNOWN
)
TOO_LARGE = _codes("MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE")
#: A broker refuses a record because of its content.
REFUSED = TOO_LARGE | _codes("INVALID_RECORD INVALID_TIMESTAMP POLICY_VIOLATION")
#: A valid record in a batch with one that was refused.
DRAGGED = _codes("_INVALID_DIFFERENT_RECORD")
#: A batch that cannot be read.
UNREADABLE = _codes("_BAD_MSG _BAD_COMPRESSION _NOT_IMPLEMENTED INVALID_MSG MSG_SIZE_TOO_LARGE")
PURGED = _codes("_PURGE_QUEUE _PURGE_INFLIGHT")
#: A leader is new or has just restarted, and the client does not know it yet.
MOVING = _codes(
    "FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION"
    " NOT_COORDINATOR COORDINATOR_NOT_AVAILABLE COORDINATOR_LOAD_IN_PROGRESS OFFSET_NOT_AVAILABLE"
    " REPLICA_NOT_AVAILABLE KAFKA_STORAGE_ERROR"
)
#: Errors to retry, which the library does not mark as retriable for every call.
_AGAIN = MOVING | UNREACHABLE - _codes("_DESTROY _TIMED_OUT _TIMED_OUT_QUEUE _ALL_BROKERS_DOWN")


class ErrorCollector:
    """Collects the errors of ``error_cb``, since failing calls report only a timeout."""

    def __init__(self, verify: Callable[[], object]) -> None:
        """``verify`` raises an error if the cluster cannot be reached."""
        self._verify = verify
        #: Lets the library run its callbacks, which it does only within calls.
        self.serve: Callable[[], object] | None = None
        #: When the library last reported that it cannot reach a broker.
        self.last = -math.inf
        #: Whether a broker may be unreachable. The library reports an outage once, and records that arrive
        #: afterwards may have been fetched before it, so only an answer proves that it is over.
        self.is_doubtful = False
        self._reason: LibraryError | None = None
        self._down_since: float | None = None

    def __call__(self, error: LibraryError) -> None:
        """Remember an error."""
        code = error.code()
        if code in UNREACHABLE:
            self.last = time.monotonic()
            self.is_doubtful = True
        if code in AUTHENTICATION | TLS:
            self._reason = error
        elif code == LibraryError._ALL_BROKERS_DOWN and self._down_since is None:
            self._down_since = time.monotonic()
        elif code in UNREACHABLE and (self._reason is None or self._reason.code() in UNREACHABLE):
            self._reason = error

    def served(self) -> None:
        """Let the library report errors."""
        if self.serve is not None:
            with contextlib.suppress(KafkaException):
                self.serve()

    def clear(self) -> None:
        """Note that a broker has answered."""
        self.note_records()
        self.is_doubtful = False

    def note_records(self) -> None:
        """Note that records have arrived."""
        self._reason = self._down_since = None

    def note_silence(self) -> None:
        """Note that no broker has answered a request."""
        if self._down_since is None:
            self._down_since = time.monotonic()

    @property
    def is_final(self) -> bool:
        """Whether all brokers refuse the login or TLS, which waiting does not change."""
        reason = self._reason
        return (
            self._down_since is not None
            and reason is not None
            and reason.code() in AUTHENTICATION | TLS
            and "OAUTHBEARER token" not in reason.str()  # the next refresh may succeed
        )

    def down(self) -> float:
        """Return for how many seconds no broker has been reached, according to the library."""
        return 0.0 if self._down_since is None else time.monotonic() - self._down_since

    def explain(self, error: LibraryError, action: str) -> Exception:
        """Like ``converted``, but for an unreachable broker, give the collected reason if there is one."""
        if error.code() in UNREACHABLE:
            self.served()
        if error.code() in UNREACHABLE and self._reason is not None:
            error = self._reason
        if error.code() in _HEARSAY:
            try:
                self._verify()
            except KafkaError as proof:
                return proof
            self._reason = None
            return _unreachable(f"{action}: {_plain(error)}")
        return converted(error, action)


def converted(error: LibraryError, action: str) -> Exception:
    """Return one of ``sentstream.errors``, or StaleGenerationError; ``action`` says what failed."""
    code, text = error.code(), f"{action}: {_plain(error)}"
    if code in STALE:
        return StaleGenerationError(text)
    if code == LibraryError.INCONSISTENT_GROUP_PROTOCOL:
        return KafkaError(f"{action}: {OTHER_ASSIGNOR[0]}", hint=OTHER_ASSIGNOR[1])
    if code in AUTHENTICATION:
        return AuthenticationError(text, hint="check sasl.mechanism and sasl.jaas.config")
    if code in TLS:
        return TlsError(text, hint="check ssl.truststore.location and security.protocol")
    if code in AUTHORIZATION:
        return AuthorizationError(text, hint="ask for the ACL, or log in as another user")
    if code in NO_TOPIC:
        return TopicNotFoundError(text, hint="check the name, or create it")
    if code in FENCED or code == LibraryError._FATAL:  # nothing else is fatal to a consumer
        return FencedError(text, hint="another instance has the same name; give each its own --instance-id")
    if code == LibraryError.INVALID_TRANSACTION_TIMEOUT:
        return ClientConfigError(f"{text} (transaction.timeout.ms)", hint="lower transaction.timeout.ms")
    if code in UNREACHABLE:
        return _unreachable(text)
    return KafkaError(text)


def _unreachable(text: str) -> BrokerUnreachableError:
    return BrokerUnreachableError(text, hint="check bootstrap.servers, and that the brokers are running")


def _plain(error: LibraryError) -> str:
    """Return the library's message as one line."""
    return one_line(error.str()).rstrip(". ")


def library_error(exception: KafkaException) -> LibraryError:
    """Return the error in an exception."""
    error: LibraryError = exception.args[0]
    return error


def calling(
    call: Callable[[float], T],
    deadline: Deadline,
    failure: Callable[[LibraryError], Exception],
    check: Callable[[], None] | None = None,
    *,
    apart: bool = False,
) -> T:
    """Call a function with the seconds left, and repeat it after retriable errors.

    Args:
        call: The function.
        deadline: When to stop retrying.
        failure: Converts the library's error to the exception to raise.
        check: Called every few seconds until the call succeeds; it may raise.
        apart: Run it in a separate thread, so that the wait ends if the deadline moves closer.

    Raises:
        Exception: What ``failure`` returns for the library's error, or ``check`` raises.
    """
    if apart:
        try:
            return watched(lambda: calling(call, deadline, failure, lambda: None), deadline, check)
        except TimeoutError:
            raise failure(LibraryError(LibraryError._TIMED_OUT)) from None
    looked = time.monotonic()
    while True:
        left = deadline.left()
        limit = left if check is None else min(left, CHECKING)
        try:
            return call(max(0.01, limit))
        except KafkaException as exception:
            error = library_error(exception)
            again = error.retriable() or error.code() in _AGAIN
            again |= error.code() == LibraryError._TIMED_OUT and limit < left
            again |= error.code() == LibraryError.INVALID_REPLICATION_FACTOR and is_starting_up(error.str())
            if not again or error.txn_requires_abort() or deadline.left() <= _BACKOFF:
                raise failure(error) from exception
        if check is not None and time.monotonic() - looked >= CHECKING:
            check()
            looked = time.monotonic()
        time.sleep(_BACKOFF)


@dataclass(frozen=True)
class Cluster:
    """State that all of a client's library handles share.

    Attributes:
        patience: How long to continue without a broker.
        seconds: How long a request to the broker may take.
        fresh: Opens another of the library's clients, for comparison.
        verify: Raises an error if the cluster cannot be reached.
    """

    patience: Patience
    seconds: float
    fresh: Callable[[], Any]
    verify: Callable[[], object]


def missing(
    handle: Any, partitions: Collection[Partition], cluster: Cluster, action: str
) -> TopicNotFoundError | None:
    """Return an error if the cluster keeps reporting that one of these partitions does not exist.

    A broker that has just restarted may not know any topic yet.
    """
    settled = cluster.patience.deadline(min(_SETTLING, cluster.seconds))
    while True:
        gone = None
        for topic in {partition.topic for partition in partitions}:
            try:
                found = handle.list_topics(topic, timeout=max(0.01, settled.slice(CHECKING))).topics[topic]
            except KafkaException:
                return None
            if found.error is not None:
                gone = topic if found.error.code() in NO_TOPIC else None
            elif lacking := [
                one for one in partitions if one.topic == topic and one.partition not in found.partitions
            ]:
                gone = f"{topic}-{lacking[0].partition}"
        if gone is None:
            return None
        if settled.left() == 0:
            return TopicNotFoundError(f"{action}: there is no {gone}", hint="check the name, or create it")
        time.sleep(_BACKOFF)


def opened(kind: Callable[..., T], config: Mapping[str, Any], collector: ErrorCollector) -> T:
    """Open one of the library's clients.

    Raises:
        AuthenticationError, TlsError: There is no token to log in with.
        ClientConfigError: librdkafka cannot use a setting.
    """
    if (token := config.get("oauth_cb")) is not None:
        token("")  # an error within the library would not say why there is none
    try:
        return kind({**config, "error_cb": collector}, logger=LOGGER)
    except KafkaException as exception:
        error = library_error(exception)
        if error.code() in AUTHENTICATION:
            raise converted(error, "logging in failed") from exception
        raise ClientConfigError(f"confluent-kafka rejects the settings: {_plain(error)}") from exception


def await_broker(handle: Any, collector: ErrorCollector, deadline: Deadline) -> None:
    """Wait until one of the library's clients has reached a broker.

    Raises:
        BrokerUnreachableError, AuthenticationError, TlsError: It could not reach one, and why.
    """
    while True:
        try:
            handle.list_topics(ANY_TOPIC, timeout=max(0.01, deadline.slice(_PROBE)))
            collector.clear()
            return
        except KafkaException as exception:
            collector.served()
            if collector.is_final or deadline.left() == 0:
                failure = collector.explain(library_error(exception), "no broker answers")
                if deadline.left() == 0 or not isinstance(failure, BrokerUnreachableError):
                    raise failure from exception
        time.sleep(_BACKOFF)


def is_lost(handle: Any, fresh: Callable[[], Any]) -> bool:
    """Return whether one of the library's clients has lost all brokers permanently, though they are up.

    librdkafka (2.10 to 2.16) drops the brokers that a response does not name, and one that has just resumed
    after a stall may name none. It should then start again from bootstrap.servers. But if the same response
    stops the timer for that (``rd_kafka_rebootstrap``, ``rd_kafka_rebootstrap_tmr_stop``), it never does, and
    waits forever.

    Args:
        handle: The client.
        fresh: Opens another one for the same brokers, without any state.
    """
    if _knows_brokers(handle, _PROBE):
        return False
    other = [fresh()]
    found_by_other = _knows_brokers(other[0], 2 * _PROBE)
    bounded(other.clear)  # runs the destructor, its only way to close
    lost = found_by_other and not _knows_brokers(handle, _RECONNECTING)
    if lost:
        LOGGER.warning("librdkafka has lost all brokers and is restarted")
    return lost


def _knows_brokers(handle: Any, seconds: float) -> bool:
    """Return whether the client knows a broker within this many seconds."""
    deadline = time.monotonic() + seconds
    known: list[bool] = []

    def look() -> None:
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(KafkaException):  # raised immediately if a connection breaks
                if handle.list_topics(ANY_TOPIC, timeout=left).brokers:
                    known.append(True)
                    return
            time.sleep(_BACKOFF)

    bounded(look, seconds)  # while a commit hangs in another thread, this may hang, too
    return bool(known)


def bounded(closing: Callable[[], object], seconds: float = _CLOSING) -> bool:
    """Run a call, such as a close, that may hang without a broker; return whether it finished in time."""

    def close() -> None:
        with contextlib.suppress(Exception):
            closing()

    thread = threading.Thread(target=close, name="sentstream-close", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
