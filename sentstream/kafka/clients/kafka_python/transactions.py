"""Requests to a transaction coordinator that producers do not make.

librdkafka does not have them, so both clients use kafka-python's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, suppress
from itertools import groupby
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as kafka
from kafka.protocol.producer.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
)

from sentstream.errors import KafkaError
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.clients.ending import Described, Ending
from sentstream.kafka.clients.kafka_python.errors import retried, translated
from sentstream.kafka.clients.patience import Deadline

_OFFSETS = "__consumer_offsets"
_BACKOFF = 0.1  # seconds
_VERSION = 3  # of the requests; later ones (KIP-890) raise the epoch without the libraries' knowledge


class Coordinator:
    """The coordinator of a transactional.id.

    Args:
        transactional_id: The id.
        open_: Opens kafka-python's admin client.
        deadline: Starts the deadline of a request.
    """

    def __init__(
        self,
        transactional_id: str,
        open_: Callable[[], AbstractContextManager[KafkaAdminClient]],
        deadline: Callable[[], Deadline],
    ) -> None:
        self._id, self._open, self._deadline = transactional_id, open_, deadline
        self._resuming = False  # a transaction of ``end_again`` may still be open

    def describe(self) -> Described | None:
        """Return its report about the id; None if the id is unknown, Kafka older than 3.0, or we may not ask.

        Raises:
            BrokerUnreachableError: It does not answer.
        """

        def attempt() -> Described | None:
            with self._open() as admin:
                return self._described(admin)

        self._resuming = False
        try:
            return retried(attempt, self._deadline(), _BACKOFF)
        except (kafka.AuthorizationError, kafka.UnsupportedVersionError):
            return None
        except kafka.KafkaError as error:
            raise translated(error, self._name) from error

    def glance(self) -> Described | None:
        """Like ``describe``, but without retries; None also if it does not answer."""
        try:
            with self._open() as admin:
                return self._described(admin)
        except (kafka.KafkaError, KafkaError):
            return None

    def end_again(self, ending: Ending, group: str, partitions: Collection[Partition]) -> bool:
        """End a transaction without records the same way as the last one, to notify all its partitions.

        Args:
            ending: The outcome of the last one; its producer ends this one, too, and must be the id's newest.
            group: The group whose offsets it included.
            partitions: The partitions that it may have written to.

        Returns:
            Whether that was done; False if the outcome is unknown, another producer has the id now, or the
            coordinator refuses.

        Raises:
            BrokerUnreachableError: The coordinator does not answer.
            KafkaError: It refuses to finish what was begun.
        """
        who, committed = ending.identity, ending.committed
        if who is None or committed is None:
            return False
        deadline = self._deadline()
        common: dict[str, Any] = {
            "transactional_id": self._id,
            "producer_id": who[0],
            "producer_epoch": who[1],
            "max_version": _VERSION,
        }

        def is_ours() -> bool:
            with self._open() as admin:
                transaction = self._described(admin)
            return (
                transaction is not None
                and transaction.identity == who
                and (transaction.is_at_rest or self._resuming)
            )

        try:
            if not retried(is_ours, deadline, _BACKOFF):
                return False
            self._order(AddOffsetsToTxnRequest(group_id=group, **common), deadline)
            self._resuming = True
            for topic, numbers in _by_topic(partitions if ending.is_latest else ()):
                with suppress(kafka.AuthorizationError):
                    self._order(_adding(topic, numbers, **common), deadline)
            self._order(EndTxnRequest(committed=committed, **common), deadline)
            self._resuming = False
        except kafka.KafkaError as error:
            if self._resuming or isinstance(error, kafka.RetriableError):
                raise translated(error, self._name) from error
            return False
        return True

    @property
    def _name(self) -> str:
        return f"transactional.id {self._id}"

    def _described(self, admin: KafkaAdminClient) -> Described | None:
        try:
            transaction = admin.describe_transactions([self._id])[self._id]
        except kafka.TransactionalIdNotFoundError:
            return None
        carries = any(each.topic == _OFFSETS for each in transaction.topic_partitions)
        return Described(
            transaction.state.value, transaction.producer_id, transaction.producer_epoch, carries
        )

    def _order(self, request: Any, deadline: Deadline) -> None:
        """Send a request to the coordinator, with retries; all these requests are idempotent."""

        def attempt() -> None:
            with self._open() as admin:
                node = admin.describe_transactions([self._id])[self._id].coordinator_id

                async def send() -> Any:
                    return await admin._manager.send(request, node_id=node)

                for code in _codes(admin._manager.run(send)):
                    if (error := kafka.for_code(code)) is not kafka.NoError:
                        raise error()

        retried(attempt, deadline, _BACKOFF)


def _by_topic(partitions: Collection[Partition]) -> Iterator[tuple[str, list[int]]]:
    for topic, group in groupby(sorted(partitions), key=lambda each: each.topic):
        yield topic, [each.partition for each in group]


def _adding(topic: str, partitions: list[int], **common: Any) -> AddPartitionsToTxnRequest:
    wanted = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=topic, partitions=partitions)
    version = common.pop("max_version")
    names = {f"v3_and_below_{name}": value for name, value in common.items()}
    return AddPartitionsToTxnRequest(v3_and_below_topics=[wanted], max_version=version, **names)


def _codes(answer: Any) -> Iterator[int]:
    """Yield the error codes of an answer, the most specific ones first."""
    topics = getattr(answer, "results_by_topic_v3_and_below", None)
    if topics is None:
        yield answer.error_code
    else:
        codes = [each.partition_error_code for topic in topics for each in topic.results_by_partition]
        yield from sorted(codes, key=lambda code: code == kafka.OperationNotAttemptedError.errno)
