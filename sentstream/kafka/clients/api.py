"""The interface that a Kafka client must implement for sentstream, and the types it uses.

There are two implementations: kafka-python (``kafka_python``, always installed) and confluent-kafka
(``confluent``, extra ``fast-kafka``). The loop knows only this file, and both pass the same tests.

Beyond what its library does, a client must accept and return bytes, retry what can be retried within
``delivery.timeout.ms``, check the delivery of every record, and turn the library's errors into those of
``sentstream.errors`` or the exceptions below.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from sentstream.errors import DeliveryError

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
#: Where to start in a partition without a committed offset; an int is a timestamp in ms since 1970 (UTC).
StartAt: TypeAlias = Literal["earliest", "latest"] | int


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Origin(NamedTuple):
    """The identity of a topic, which distinguishes it from others of the same name.

    Attributes:
        cluster: The cluster's id.
        topic: The topic's id (KIP-516), as Kafka's tools print it; "" from brokers before 2.8.
    """

    cluster: str
    topic: str

    def note(self) -> str:
        """Return the metadata to commit with a group's offsets, for comparison later."""
        return f"sentstream cluster={self.cluster} topic={self.topic}"


class Record(Protocol):
    """A record as a consumer returns it.

    ``timestamp`` is in ms since 1970 (UTC), or -1 if there is none. A header key that is not UTF-8
    has surrogate escapes (PEP 383).
    """

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class StoredRecord(NamedTuple):
    """A ``Record`` as plain data."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Outgoing(NamedTuple):
    """A record to send. Without ``partition`` the key selects it, as in the Java client (murmur2)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int | None = None
    partition: int | None = None


PENDING = 2.0  # seconds that ``Consumer.committed`` waits for pending transactions on the group's offsets

#: Why a record is refused: its size, its timestamp, or another property of it.
Cause: TypeAlias = Literal["size", "time", "other"]


class Refusal(NamedTuple):
    """A record that the broker, or the client on its behalf, refuses because of its content.

    Attributes:
        position: Its index in the list that was sent, from 0.
        reason: The broker's message, if the client passes it on (KIP-467).
        cause: Why it is refused.
    """

    position: int
    reason: str
    cause: Cause = "other"


#: The message when committed offsets stay unstable.
OFFSETS_PENDING = "a transaction on the group's offsets is pending"
#: The message and hint when the group's members use another partition assignor.
OTHER_ASSIGNOR = (
    "the group has members whose partition assignor is not cooperative-sticky",
    "choose another --group, or stop those members first",
)


def is_starting_up(reason: str) -> bool:
    """Return whether a topic could not be created because the cluster has just started.

    A broker is "fenced" until its first heartbeat is answered (KIP-631). While all brokers are fenced, Kafka
    rejects any replication factor.
    """
    return "fenced" in reason


class UnacknowledgedError(DeliveryError):
    """No broker acknowledged in time, so it is unknown what was received and whether it was committed.

    After ``abort`` the group's offsets tell.
    """


class StaleGenerationError(Exception):
    """The group has rebalanced, or the coordinator ended the transaction.

    Abort, and read again from the committed offsets. Not a user error: the loop handles it and continues.
    """


class UnreadableRecordError(Exception):
    """The client cannot read the record at an offset: a failed checksum or an unknown compression.

    ``next_offset`` is the first offset after the unreadable part.
    """

    def __init__(self, partition: Partition, offset: int, next_offset: int, reason: str) -> None:
        super().__init__(f"{partition.topic}-{partition.partition} at offset {offset}: {reason}")
        self.partition, self.offset, self.next_offset, self.reason = partition, offset, next_offset, reason


class PositionLostError(Exception):
    """The log has no record at a position: retention has deleted it, or the position is past the end.

    Seek to an offset that exists; other partitions are not affected.
    """

    def __init__(self, partition: Partition, offset: int) -> None:
        super().__init__(f"{partition.topic}-{partition.partition} has no offset {offset}")
        self.partition, self.offset = partition, offset


class Listener(Protocol):
    """Callbacks for rebalances, called from within ``poll``.

    A callback may take up to the session timeout (the client keeps sending heartbeats) and may call
    any method of the consumer except ``poll``, ``subscribe`` and ``close``.
    """

    def assigned(self, partitions: Collection[Partition]) -> None:
        """These partitions were assigned to us; no record of them has been read yet.

        May be empty: more members than partitions, or a rebalance that moved only partitions of others.
        """

    def revoked(self, partitions: Collection[Partition]) -> None:
        """These partitions go to another member when this returns; work in flight can still be committed."""

    def lost(self, partitions: Collection[Partition]) -> None:
        """These partitions already belong to another member; nothing can be committed for them."""


class Consumer(Protocol):
    """A member of a consumer group that reads committed records and commits only when told to.

    Attributes:
        notes: The metadata to commit with the offsets of each topic from now on.
        found: The metadata of the offset that ``committed`` last returned for each partition; "" if none.

    Errors of any method: ``FencedError`` (another member with our group.instance.id),
    ``AuthenticationError``, ``AuthorizationError``, ``TopicNotFoundError``, ``BrokerUnreachableError``
    (retries used up).
    """

    notes: dict[str, str]
    found: dict[Partition, str]

    def subscribe(self, topics: Collection[str], listener: Listener) -> None:
        """Join the group for these topics (cooperative-sticky assignment)."""

    def poll(self, seconds: float, limit: int) -> Sequence[Record]:
        """Wait up to ``seconds`` for records and return at most ``limit``, in order within a partition.

        Returns as soon as there are any.

        Raises:
            UnreadableRecordError: The record at the position cannot be read. Seek past it.
            PositionLostError: The position is no longer in the log. Seek to one that is.
        """

    def pause(self) -> None:
        """Stop fetching, also from partitions assigned later; keep calling ``poll`` to stay a member."""

    def resume(self) -> None:
        """Undo ``pause``."""

    def assignment(self) -> set[Partition]:
        """Return the partitions assigned to this consumer."""

    def positions(self) -> dict[Partition, int]:
        """Return the next offset to read of each assigned partition that has a position."""

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Continue reading at these offsets, regardless of what has been fetched."""

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the group's stable committed offsets (KIP-447); partitions without one are left out.

        Raises:
            StaleGenerationError: They stay unstable for ``PENDING`` seconds: a transaction is pending.
        """

    def beginning_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the first offset in the log of each partition."""

    def end_offsets(
        self, partitions: Collection[Partition], seconds: float | None = None
    ) -> dict[Partition, int]:
        """Return the last stable offsets, where committed records end.

        Args:
            partitions: The partitions.
            seconds: How long to try; None for as long as any other request.
        """

    def offsets_at(self, partitions: Collection[Partition], start: StartAt) -> dict[Partition, int]:
        """Return where to start: the earliest or latest offset, or the first at or after a timestamp."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit outside a transaction; an offset is that of the next record to read.

        Raises:
            StaleGenerationError: No longer a member, or a rebalance is in progress.
        """

    def group(self) -> Any:
        """Return the group metadata for ``Producer.add_offsets``: member and generation (KIP-447)."""

    def close(self, *, leave: bool = True) -> None:
        """Close the consumer. A dynamic member leaves the group; a static one does so only with ``leave``."""


class Producer(Protocol):
    """An idempotent producer, with or without a transactional.id.

    Attributes:
        notes: The metadata to commit with the offsets of each topic from now on.

    After ``StaleGenerationError``, ``UnacknowledgedError``, ``BrokerUnreachableError`` or a refusal, the
    transaction must be aborted. If the library's producer is unusable then, ``abort`` builds a new one; if no
    broker answers, the next ``abort`` or ``begin`` does.

    Errors of any method: ``FencedError`` (a newer producer with our transactional.id),
    ``AuthenticationError``, ``AuthorizationError``, ``TopicNotFoundError``, ``UnacknowledgedError`` (within
    ``delivery.timeout.ms``), ``BrokerUnreachableError`` (no producer can be built).
    """

    notes: dict[str, str]

    def begin(self) -> None:
        """Begin a transaction."""

    def send(self, messages: Sequence[Outgoing]) -> list[Refusal]:
        """Send all messages, wait until the broker has each, and return those it refuses.

        Raises:
            StaleGenerationError: The coordinator has ended the transaction (timeout).
        """

    def add_offsets(self, offsets: Mapping[Partition, int], group: Any) -> None:
        """Add the group's offsets to the transaction.

        Raises:
            StaleGenerationError: The group has rebalanced.
        """

    def commit(self) -> None:
        """Commit the transaction.

        Raises:
            StaleGenerationError: The coordinator has ended it.
        """

    def abort(self) -> None:
        """Abort the transaction, if one is open."""

    def settle(self, group: str, partitions: Collection[Partition]) -> bool:
        """End our last transaction a second time, with the same outcome; call between transactions.

        A broker that was killed while it ended one may not have notified all partitions of it. The group's
        offsets are then pending, and readers of a partition are blocked, until we end another one there.
        It does no harm if all were notified. "Our" includes an earlier process with our transactional.id.

        Args:
            group: The group whose offsets our transactions include.
            partitions: The partitions that they may have written to.

        Returns:
            Whether that was done; False if the outcome of the last transaction is not certain.
        """

    def close(self) -> None:
        """Close the producer; an open transaction is aborted."""


class Admin(Protocol):
    """Requests to the cluster outside any group."""

    def partitions(self, topics: Collection[str]) -> dict[str, int]:
        """Return the number of partitions of each topic; topics that do not exist are left out.

        Raises:
            AuthorizationError: We may not see a topic, so it is unknown whether it exists.
        """

    def origins(self, topics: Collection[str]) -> dict[str, Origin]:
        """Return the ids of each topic and its cluster; topics that do not exist are left out."""

    def create(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        """Create a topic with the broker's default replication; it is no error if the topic exists.

        Args:
            topic: The topic's name.
            partitions: The number of partitions.
            configs: Topic configs, such as ``retention.ms``; None for the broker's defaults.

        Raises:
            AuthorizationError: Not allowed.
        """

    def largest_record(self, topic: str) -> int:
        """Return a topic's ``max.message.bytes``; the broker's default, 1,048,588, if not allowed to ask."""

    def committed(self, group: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the committed offsets of any group; partitions without one are left out."""

    def end_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return each partition's last stable offset, where committed records end."""

    def read(self, partition: Partition, offset: int, limit: int) -> Sequence[Record]:
        """Return committed records of a partition from an offset on, outside any group; [] at the end."""

    def close(self) -> None:
        """Close the connections."""


class Client(Protocol):
    """A Kafka library and its settings. Whatever it opens waits no longer than its ``Patience`` allows."""

    name: str

    def check(self) -> None:
        """Connect to the cluster and log in, or raise an error that says why not.

        Raises:
            BrokerUnreachableError, TlsError, AuthenticationError: The cause; raised within little more
                than ``socket.connection.setup.timeout.ms``.
        """

    def consumer(self, group: str, *, instance: str | None, limit: int) -> Consumer:
        """Open a consumer; ``instance`` is its group.instance.id, ``limit`` the largest ``poll`` expected."""

    def producer(self, transactional_id: str | None) -> Producer:
        """Open a producer; with an id, it is ready for ``begin``."""

    def admin(self) -> Admin:
        """Open an ``Admin``."""
