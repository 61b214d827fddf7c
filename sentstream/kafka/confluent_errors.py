"""What librdkafka's errors are in ``sentstream.errors``, and what it tells on the side."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
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
)
from sentstream.kafka.client import StaleGenerationError

T = TypeVar("T")

#: librdkafka's own log. It goes nowhere unless somebody gives it a handler: what matters becomes an error.
LOGGER = logging.getLogger("sentstream.kafka.librdkafka")
LOGGER.addHandler(logging.NullHandler())
LOGGER.propagate = False

_BACKOFF = 0.1  # seconds
_CLOSING = 5.0  # seconds
_PROBE = 1.0  # seconds
_SLICE = 5.0  # seconds of waiting after which to look whether it can be of any use
_RECONNECTING = 12.0  # seconds; librdkafka waits up to 10 before it connects anew
ANY_TOPIC = "__consumer_offsets"  # asking for all would take long where there are many


def _codes(names: str) -> frozenset[int]:
    """The codes of these names; one that the installed library does not know yet is left out."""
    return frozenset(
        code for name in names.split() if isinstance(code := getattr(LibraryError, name, None), int)
    )


AUTHENTICATION = _codes(
    "_AUTHENTICATION SASL_AUTHENTICATION_FAILED UNSUPPORTED_SASL_MECHANISM ILLEGAL_SASL_STATE"
    " SECURITY_DISABLED"
)
TLS = _codes("_SSL")
AUTHORIZATION = _codes(
    "TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED"
    " TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
)
NO_TOPIC = _codes(
    "UNKNOWN_TOPIC_OR_PART _UNKNOWN_TOPIC _UNKNOWN_PARTITION TOPIC_EXCEPTION UNKNOWN_TOPIC_ID"
    " INCONSISTENT_TOPIC_ID"
)
FENCED = _codes(
    "_FENCED FENCED_INSTANCE_ID PRODUCER_FENCED INVALID_PRODUCER_EPOCH TRANSACTION_COORDINATOR_FENCED"
)
STALE = _codes(
    "ILLEGAL_GENERATION UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS UNSTABLE_OFFSET_COMMIT _ASSIGNMENT_LOST"
    " _STATE FENCED_MEMBER_EPOCH STALE_MEMBER_EPOCH INVALID_TXN_STATE TRANSACTION_ABORTABLE"
    " CONCURRENT_TRANSACTIONS _AUTO_OFFSET_RESET OFFSET_OUT_OF_RANGE UNKNOWN_PRODUCER_ID"
    " INVALID_PRODUCER_ID_MAPPING OUT_OF_ORDER_SEQUENCE_NUMBER"
)
UNREACHABLE = _codes(
    "_TRANSPORT _ALL_BROKERS_DOWN _TIMED_OUT _TIMED_OUT_QUEUE _RESOLVE _WAIT_COORD _RETRY _NODE_UPDATE"
    " REQUEST_TIMED_OUT NETWORK_EXCEPTION BROKER_NOT_AVAILABLE LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION"
    " COORDINATOR_NOT_AVAILABLE COORDINATOR_LOAD_IN_PROGRESS NOT_COORDINATOR KAFKA_STORAGE_ERROR"
    " NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND _DESTROY_BROKER REPLICA_NOT_AVAILABLE"
    " REBOOTSTRAP_REQUIRED"
)
TOO_LARGE = _codes("MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE")
#: What a broker refuses a record for.
REFUSED = TOO_LARGE | _codes("INVALID_RECORD INVALID_TIMESTAMP POLICY_VIOLATION")
#: A sound record in a batch with one that was refused.
DRAGGED = _codes("_INVALID_DIFFERENT_RECORD")
#: A batch that cannot be read.
UNREADABLE = _codes("_BAD_MSG _BAD_COMPRESSION _NOT_IMPLEMENTED INVALID_MSG MSG_SIZE_TOO_LARGE")
PURGED = _codes("_PURGE_QUEUE _PURGE_INFLIGHT")
#: A leader that has just come, or come back, and a client that does not know it yet.
MOVING = _codes(
    "FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION"
    " NOT_COORDINATOR COORDINATOR_NOT_AVAILABLE COORDINATOR_LOAD_IN_PROGRESS OFFSET_NOT_AVAILABLE"
    " REPLICA_NOT_AVAILABLE KAFKA_STORAGE_ERROR"
)
#: What is worth another try though the library does not say so of every call.
_AGAIN = MOVING | UNREACHABLE - _codes("_TIMED_OUT _TIMED_OUT_QUEUE _ALL_BROKERS_DOWN")


class Trouble:
    """What the library says on the side (``error_cb``), since calls that fail say only that time is up."""

    def __init__(self) -> None:
        #: Lets the library call us; it does so only when asked for something.
        self.serve: Callable[[], object] | None = None
        self._reason: LibraryError | None = None
        self._down_since: float | None = None

    def __call__(self, error: LibraryError) -> None:
        """Remember it."""
        code = error.code()
        if code in AUTHENTICATION | TLS:
            self._reason = error
        elif code == LibraryError._ALL_BROKERS_DOWN and self._down_since is None:
            self._down_since = time.monotonic()
        elif code in UNREACHABLE and (self._reason is None or self._reason.code() in UNREACHABLE):
            self._reason = error

    def served(self) -> None:
        """Let the library tell what is wrong."""
        if self.serve is not None:
            with contextlib.suppress(KafkaException):
                self.serve()

    def clear(self) -> None:
        """A broker has answered."""
        self._reason = self._down_since = None

    @property
    def is_final(self) -> bool:
        """Whether no broker lets us in, which waiting will not change."""
        reason = self._reason
        return (
            self._down_since is not None
            and reason is not None
            and reason.code() in AUTHENTICATION | TLS
            and "OAUTHBEARER token" not in reason.str()  # the next refresh may succeed
        )

    def down(self) -> float:
        """For how many seconds no broker has been reached, as far as the library tells."""
        return 0.0 if self._down_since is None else time.monotonic() - self._down_since

    def explain(self, error: LibraryError, doing: str) -> Exception:
        """As ``converted``, with the reason if one is known."""
        if error.code() in UNREACHABLE:
            self.served()
        if error.code() in UNREACHABLE and self._reason is not None:
            return converted(self._reason, doing)
        return converted(error, doing)


def converted(error: LibraryError, doing: str) -> Exception:
    """One of ``sentstream.errors``, or StaleGenerationError; ``doing`` says what failed."""
    code, text = error.code(), f"{doing}: {_plain(error)}"
    if code in STALE:
        return StaleGenerationError(text)
    if code in AUTHENTICATION:
        return AuthenticationError(text, hint="check sasl.mechanism and sasl.jaas.config")
    if code in TLS:
        return TlsError(text, hint="check ssl.truststore.location and security.protocol")
    if code in AUTHORIZATION:
        return AuthorizationError(text, hint="ask for the ACL, or log in as somebody else")
    if code in NO_TOPIC:
        return TopicNotFoundError(text, hint="check its name, or create it")
    if code in FENCED or code == LibraryError._FATAL:  # nothing else is fatal to a consumer
        return FencedError(
            text, hint="another instance runs under the same name; give each its own --instance-id"
        )
    if code == LibraryError.INVALID_TRANSACTION_TIMEOUT:
        return ClientConfigError(f"{text} (transaction.timeout.ms)", hint="lower transaction.timeout.ms")
    if code in UNREACHABLE:
        return BrokerUnreachableError(text, hint="check bootstrap.servers, and that the brokers run")
    return KafkaError(text)


def _plain(error: LibraryError) -> str:
    """What the library says of it, on one line."""
    return " ".join(error.str().split()).rstrip(". ")


def library_error(exception: KafkaException) -> LibraryError:
    """The error that an exception carries."""
    error: LibraryError = exception.args[0]
    return error


def calling(
    call: Callable[[float], T],
    seconds: float,
    failure: Callable[[LibraryError], Exception],
    check: Callable[[], None] | None = None,
) -> T:
    """Call it with the seconds that are left, and again while it may yet succeed.

    Args:
        call: What to do.
        seconds: For how long.
        failure: Makes an exception of the library's error.
        check: Called every few seconds while it does not succeed; it may raise.

    Raises:
        Exception: What ``failure`` makes of the library's error, or ``check`` raises.
    """
    deadline = time.monotonic() + seconds
    pause = time.monotonic() + _SLICE if check is not None else deadline
    while True:
        try:
            return call(max(0.01, min(deadline, pause) - time.monotonic()))
        except KafkaException as exception:
            error = library_error(exception)
            timed_out = error.code() == LibraryError._TIMED_OUT and pause < deadline
            again = error.retriable() or error.code() in _AGAIN or timed_out
            if not again or error.txn_requires_abort() or time.monotonic() + _BACKOFF >= deadline:
                raise failure(error) from exception
        if check is not None and time.monotonic() >= pause:
            check()
            pause = time.monotonic() + _SLICE
        time.sleep(_BACKOFF)


def opened(kind: Callable[..., T], config: Mapping[str, Any], trouble: Trouble) -> T:
    """One of the library's clients.

    Raises:
        AuthenticationError, TlsError: There is no token to log in with.
        ClientConfigError: librdkafka cannot use a setting.
    """
    if (token := config.get("oauth_cb")) is not None:
        token("")  # within the library nobody would learn why there is none
    try:
        return kind({**config, "error_cb": trouble}, logger=LOGGER)
    except KafkaException as exception:
        error = library_error(exception)
        if error.code() in AUTHENTICATION:
            raise converted(error, "logging in failed") from exception
        raise ClientConfigError(f"confluent-kafka refuses the settings: {_plain(error)}") from exception


def await_broker(handle: Any, trouble: Trouble, seconds: float) -> None:
    """Wait until one of the library's clients has reached a broker.

    Raises:
        BrokerUnreachableError, AuthenticationError, TlsError: It has not.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            handle.list_topics(ANY_TOPIC, timeout=max(0.01, min(_PROBE, deadline - time.monotonic())))
            trouble.clear()
            return
        except KafkaException as exception:
            trouble.served()
            if trouble.is_final or time.monotonic() >= deadline:
                raise trouble.explain(library_error(exception), "no broker answers") from exception
        time.sleep(_BACKOFF)


def is_lost(handle: Any, fresh: Callable[[], Any]) -> bool:
    """Whether one of the library's clients has lost all brokers for good, though they are there.

    librdkafka (2.10 to 2.16) drops the brokers that a response does not name, and one that has just come
    back from a stall may name none. It is then to start anew from bootstrap.servers; but where the same
    response stops the timer for that (``rd_kafka_rebootstrap``, ``rd_kafka_rebootstrap_tmr_stop``), it never
    will, and waits forever for a broker that it does not ask.

    Args:
        handle: The client.
        fresh: Makes another one for the same brokers, which knows nothing yet.
    """
    if _knows_brokers(handle, _PROBE):
        return False
    other = [fresh()]
    there = _knows_brokers(other[0], 2 * _PROBE)
    bounded(other.clear)  # what it has for a destructor
    lost = there and not _knows_brokers(handle, _RECONNECTING)
    if lost:
        LOGGER.warning("librdkafka has lost all brokers, and is started anew")
    return lost


def _knows_brokers(handle: Any, seconds: float) -> bool:
    """Whether it comes to know a broker within so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(KafkaException):  # at once where a connection breaks
            if handle.list_topics(ANY_TOPIC, timeout=left).brokers:
                return True
        time.sleep(_BACKOFF)
    return False


def watched(call: Callable[[], T], seconds: float, check: Callable[[], None] | None = None) -> T:
    """Call it in a thread of its own, and wait no longer than so.

    Args:
        call: What to do.
        seconds: For how long.
        check: Called every few seconds until it is done; it may raise.

    Raises:
        TimeoutError: It has not come back. It goes on, and nobody can end it.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="sentstream-watched", daemon=True)
    deadline = time.monotonic() + seconds
    thread.start()
    if check is not None:
        while thread.is_alive() and (left := deadline - time.monotonic()) > _SLICE:
            thread.join(min(left, _SLICE))
            if thread.is_alive():
                check()
    thread.join(max(0.0, deadline - time.monotonic()))
    if failed:
        raise failed[0]
    if thread.is_alive():
        raise TimeoutError
    return done[0]


def bounded(closing: Callable[[], object]) -> bool:
    """Close something, for which the library may want a broker that is gone; whether it was done in time."""

    def close() -> None:
        with contextlib.suppress(Exception):
            closing()

    thread = threading.Thread(target=close, name="sentstream-close", daemon=True)
    thread.start()
    thread.join(_CLOSING)
    return not thread.is_alive()
