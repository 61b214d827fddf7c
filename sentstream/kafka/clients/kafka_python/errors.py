"""Translate kafka-python's errors into sentstream's, and retry."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar

from kafka import errors as kafka

from sentstream import errors
from sentstream.kafka.clients.api import OTHER_ASSIGNOR, StaleGenerationError
from sentstream.kafka.clients.patience import Deadline, watched

T = TypeVar("T")

#: The group has rebalanced, or the coordinator has ended the transaction.
_STALE = (
    kafka.CommitFailedError,
    kafka.ConcurrentTransactionsError,
    kafka.DuplicateSequenceNumberError,
    kafka.IllegalGenerationError,
    kafka.InvalidProducerIdMappingError,
    kafka.InvalidTxnStateError,
    kafka.OutOfOrderSequenceNumberError,
    kafka.RebalanceInProgressError,
    kafka.TransactionAbortableError,
    kafka.TransactionAbortedError,
    kafka.UnknownMemberIdError,
    kafka.UnknownProducerIdError,
    kafka.UnstableOffsetCommitError,
)
FENCED = (kafka.FencedInstanceIdError, kafka.InvalidProducerEpochError, kafka.ProducerFencedError)
_SETTLING = 10.0  # seconds until a broker that has just restarted knows its topics
_CODE = re.compile(r"\[Error (-?\d+)\]")


def retried(action: Callable[[], T], deadline: Deadline, backoff: float, settling: float = _SETTLING) -> T:
    """Run an action, and repeat it after retriable errors, in a separate thread (``watched``).

    Args:
        action: The action.
        deadline: When to stop retrying.
        backoff: Seconds between attempts.
        settling: Seconds for which an unknown topic counts as retriable.

    Raises:
        kafka.errors.KafkaError: The last error.
    """
    last: list[kafka.KafkaError] = []
    settled = time.monotonic() + settling

    def attempts() -> T:
        while True:
            try:
                return action()
            except kafka.RetriableError as error:
                unknown = isinstance(error, kafka.UnknownTopicOrPartitionError)
                if deadline.left() == 0 or (unknown and time.monotonic() >= settled):
                    raise
                last.append(error)
            time.sleep(backoff)

    try:
        return watched(attempts, deadline)
    except TimeoutError:
        raise last[-1] if last else kafka.KafkaTimeoutError("no answer in time") from None


def root(error: BaseException) -> BaseException:
    """Return the original error, which kafka-python may pass on only as an argument or text of another."""
    while type(error) is kafka.KafkaError:
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if inner is None:
            code = _CODE.search(str(error))
            if code is None or int(code[1]) not in kafka.kafka_errors:
                break
            inner = kafka.for_code(int(code[1]))()
        error = inner
    return error


def translated(
    error: BaseException, action: str, *, gone: type[errors.KafkaError] = errors.BrokerUnreachableError
) -> Exception:
    """Return sentstream's error for one of kafka-python's.

    Args:
        error: kafka-python's error.
        action: What was attempted, to begin the message with: ``group g``, ``topic t``.
        gone: The class to use when retries ran out because no broker answered.
    """
    error = root(error)
    text = _message_of(error)
    if isinstance(error, errors.SentstreamError | StaleGenerationError):
        return error
    if isinstance(error, _STALE):
        return StaleGenerationError(f"{action}: {text}")
    if isinstance(error, kafka.FencedInstanceIdError):
        return errors.FencedError(
            f"{action}: another member with our group.instance.id has taken over",
            hint="run only one instance under each name",
        )
    if isinstance(error, FENCED):
        return errors.FencedError(
            f"{action}: another producer with our transactional.id has taken over",
            hint="run only one instance under each name",
        )
    if isinstance(error, kafka.InconsistentGroupProtocolError):
        return errors.KafkaError(f"{action}: {OTHER_ASSIGNOR[0]}", hint=OTHER_ASSIGNOR[1])
    if isinstance(error, kafka.AuthorizationError):
        return errors.AuthorizationError(f"not allowed: {_forbidden(error, action)}", hint="ask for an ACL")
    if isinstance(error, kafka.SaslAuthenticationFailedError | kafka.UnsupportedSaslMechanismError):
        return errors.AuthenticationError(f"{action}: the broker rejects the login: {text}")
    if isinstance(error, kafka.InvalidTopicError):
        return errors.TopicNotFoundError(f"{action}: not a valid topic name")
    if isinstance(error, kafka.InvalidTransactionTimeoutError):
        return errors.ClientConfigError(
            f"{action}: transaction.timeout.ms is larger than the broker allows",
            hint="lower it, or raise the broker's transaction.max.timeout.ms",
        )
    if isinstance(error, kafka.UnknownTopicOrPartitionError):
        return errors.TopicNotFoundError(f"{action}: no such topic or partition")
    if isinstance(error, kafka.KafkaConfigurationError):
        return errors.ClientConfigError(f"{action}: {text}")
    if isinstance(error, kafka.RetriableError):
        return gone(f"{action}: no answer from the broker for too long ({text})")
    return errors.KafkaError(f"{action}: {text}")


def _message_of(error: BaseException) -> str:
    """Return the error as one line."""
    name = type(error).__name__.removesuffix("Error")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    detail = " ".join(str(arg) for arg in error.args if isinstance(arg, str) and arg)
    return f"{words}: {' '.join(detail.split())}" if detail else words


def _forbidden(error: kafka.AuthorizationError, action: str) -> str:
    """Return the topic or group that was refused, or ``action``."""
    named = error.args[0] if error.args else None
    if isinstance(error, kafka.TopicAuthorizationFailedError) and named:
        topics = [named] if isinstance(named, str) else sorted(map(str, named))
        return f"topic {', '.join(topics)}"
    if isinstance(error, kafka.GroupAuthorizationFailedError) and isinstance(named, str):
        return f"group {named}"
    if isinstance(error, kafka.ClusterAuthorizationFailedError):
        return f"{action} (cluster)"
    return action
