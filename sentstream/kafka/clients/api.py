"""The few verbs that sentstream needs of a Kafka client, and what the answers look like.

Two clients stand behind them: kafka-python (``kafka_python``, always there) and confluent-kafka
(``confluent``, extra ``fast-kafka``). The loop knows only this file, so both pass the same tests.

What a client must do beyond its library: take bytes and give bytes, retry what can be retried within
``delivery.timeout.ms``, check the fate of every record, and turn the library's errors into those of
``sentstream.errors`` or the two signals below.
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
    """What tells a topic from any other of its name.

    Attributes:
        cluster: The cluster's id.
        topic: The topic's id (KIP-516), as Kafka's tools write it; "" from brokers before 2.8.
    """

    cluster: str
    topic: str

    def note(self) -> str:
        """What is written beside a group's offsets, to be compared."""
        return f"sentstream cluster={self.cluster} topic={self.topic}"


class Record(Protocol):
    """A record as a consumer gives it.

    ``timestamp`` is in ms since 1970 (UTC), -1 where there is none. A header's key that is not UTF-8
    holds surrogate escapes (PEP 383).
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
    """A record to send. Without ``partition`` the key decides, as in the Java client (murmur2)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int | None = None
    partition: int | None = None


PENDING = 2.0  # seconds that ``Consumer.committed`` waits for transactions on the group's offsets

#: What a record is refused for: its size, its timestamp, or something else about it.
Cause: TypeAlias = Literal["size", "time", "other"]


class Refusal(NamedTuple):
    """A record that the broker, or the client for it, refuses for what it is.

    Attributes:
        place: Its index in what was sent, from 0.
        reason: The broker's own words, where the client passes them on (KIP-467).
        cause: What it is refused for.
    """

    place: int
    reason: str
    cause: Cause = "other"


#: What is the matter where committed offsets stay unstable.
OFFSETS_PENDING = "a transaction on the group's offsets is pending"
#: What is the matter where a group's members share its partitions out in another way, and what to do.
OTHER_ASSIGNOR = (
    "the group has members whose partition assignor is not cooperative-sticky",
    "choose another --group, or stop those members first",
)


def is_coming_back(reason: str) -> bool:
    """Whether a topic could not be created because the cluster has just started.

    Until a broker's first heartbeat is answered it is "fenced" (KIP-631), and with all of them fenced, Kafka
    says that no replication factor will do.
    """
    return "fenced" in reason


class UnacknowledgedError(DeliveryError):
    """No broker has acknowledged in time: what it has got, and whether it committed, is not known.

    After ``abort`` the group's offsets tell.
    """


class StaleGenerationError(Exception):
    """The group has moved on, or the coordinator ended the transaction: abort, and read from committed.

    Not an error of the user's: the loop takes it and goes on.
    """


class UnreadableRecordError(Exception):
    """The client cannot read what stands at an offset: a failed checksum, an unknown compression.

    ``next_offset`` is the first offset after what cannot be read.
    """

    def __init__(self, partition: Partition, offset: int, next_offset: int, reason: str) -> None:
        super().__init__(f"{partition.topic}-{partition.partition} at offset {offset}: {reason}")
        self.partition, self.offset, self.next_offset, self.reason = partition, offset, next_offset, reason


class PositionLostError(Exception):
    """The log has no record at a position: retention has deleted it, or the position is past the end.

    Seek to an offset that is there; other partitions are not concerned.
    """

    def __init__(self, partition: Partition, offset: int) -> None:
        super().__init__(f"{partition.topic}-{partition.partition} has no offset {offset}")
        self.partition, self.offset = partition, offset


class Listener(Protocol):
    """Told of rebalances, from within ``poll``, whose caller waits meanwhile.

    A listener may take its time up to the session timeout (the client keeps up heartbeats) and may call
    any verb of the consumer but ``poll``, ``subscribe`` and ``close``.
    """

    def assigned(self, partitions: Collection[Partition]) -> None:
        """These are ours from now on; no record of them has been read yet.

        It may be none: more members than partitions, or a rebalance that was about those of others.
        """

    def revoked(self, partitions: Collection[Partition]) -> None:
        """These go to somebody else when this returns; what is under way can still be committed."""

    def lost(self, partitions: Collection[Partition]) -> None:
        """These are somebody else's already; nothing about them can be committed any more."""


class Consumer(Protocol):
    """A member of a consumer group that reads committed records and commits only when told to.

    Attributes:
        notes: For a topic, what is written beside its committed offsets from now on.
        found: For a partition, what stood beside the offset that ``committed`` gave last; "" is nothing.

    Errors of any verb: ``FencedError`` (another member with our group.instance.id),
    ``AuthenticationError``, ``AuthorizationError``, ``TopicNotFoundError``, ``BrokerUnreachableError``
    (retries used up).
    """

    notes: dict[str, str]
    found: dict[Partition, str]

    def subscribe(self, topics: Collection[str], listener: Listener) -> None:
        """Join the group for these topics (cooperative-sticky assignment)."""

    def poll(self, seconds: float, most: int) -> Sequence[Record]:
        """Wait for records, at most ``seconds``, and give at most ``most``; those of a partition in order.

        Returns with what is there as soon as there is something.

        Raises:
            UnreadableRecordError: What stands at the position cannot be read. Seek past it.
            PositionLostError: The position is not in the log any more. Seek to one that is.
        """

    def pause(self) -> None:
        """Fetch no more (also not from what is assigned later), but stay a member: ``poll`` goes on."""

    def resume(self) -> None:
        """Undo ``pause``."""

    def assignment(self) -> set[Partition]:
        """The partitions that are ours."""

    def positions(self) -> dict[Partition, int]:
        """Where the next ``poll`` goes on, for each assigned partition that has a position."""

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Go on there, whatever has been fetched."""

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The group's committed offsets, stable ones (KIP-447); partitions without one are left out.

        Raises:
            StaleGenerationError: They stay unstable for ``PENDING`` seconds: a transaction is pending.
        """

    def beginning_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The first offsets that are still there."""

    def end_offsets(
        self, partitions: Collection[Partition], seconds: float | None = None
    ) -> dict[Partition, int]:
        """The ends as a reader of committed records sees them: the last stable offsets.

        Args:
            partitions: Which.
            seconds: How long to try; None for as long as any other question.
        """

    def offsets_at(self, partitions: Collection[Partition], start: StartAt) -> dict[Partition, int]:
        """Where to start: the earliest, the latest, or the first record not older than a timestamp."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit outside of a transaction; an offset is that of the next record to read.

        Raises:
            StaleGenerationError: Not a member any more, or a rebalance is under way.
        """

    def group(self) -> Any:
        """The group metadata that ``Producer.add_offsets`` wants: member and generation (KIP-447)."""

    def close(self, *, leave: bool = True) -> None:
        """Close; a dynamic member leaves the group. A static member leaves it only with ``leave``."""


class Producer(Protocol):
    """An idempotent producer, with a transactional.id or without.

    Attributes:
        notes: For a topic, what is written beside its offsets from now on.

    After ``StaleGenerationError``, ``UnacknowledgedError``, ``BrokerUnreachableError`` or a refusal the
    transaction has to be aborted. A client that its library leaves unusable then builds itself anew within
    ``abort``, or, where no broker answers, within the next ``abort`` or ``begin``.

    Errors of any verb: ``FencedError`` (a newer producer with our transactional.id),
    ``AuthenticationError``, ``AuthorizationError``, ``TopicNotFoundError``, ``UnacknowledgedError`` (within
    ``delivery.timeout.ms``), ``BrokerUnreachableError`` (no producer can be built).
    """

    notes: dict[str, str]

    def begin(self) -> None:
        """Begin a transaction."""

    def send(self, messages: Sequence[Outgoing]) -> list[Refusal]:
        """Send all, wait until the broker has each, and say which it refuses.

        Raises:
            StaleGenerationError: The coordinator has ended the transaction (its timeout).
        """

    def add_offsets(self, offsets: Mapping[Partition, int], group: Any) -> None:
        """Make the group's offsets part of the transaction.

        Raises:
            StaleGenerationError: The group has moved on.
        """

    def commit(self) -> None:
        """Commit the transaction.

        Raises:
            StaleGenerationError: The coordinator has ended it.
        """

    def abort(self) -> None:
        """Abort the transaction, if one is open."""

    def settle(self, group: str, partitions: Collection[Partition]) -> bool:
        """End our last transaction once more, as it was ended, between two others.

        A broker that was killed while it ended one may not have told all that it was about: the group's
        offsets are pending then, and a partition's readers stand still, until we end another one there. It
        harms nobody where all were told. An earlier process with our transactional.id counts as us.

        Args:
            group: The group whose offsets our transactions carry.
            partitions: What they may have written to.

        Returns:
            Whether that was done; False where it is not proved how the last one was ended.
        """

    def close(self) -> None:
        """Close; an open transaction is aborted."""


class Admin(Protocol):
    """What is asked of the cluster outside of a group."""

    def partitions(self, topics: Collection[str]) -> dict[str, int]:
        """The number of partitions of each topic that is there; others are left out.

        Raises:
            AuthorizationError: A topic is not ours to see, so that nobody can say whether it is there.
        """

    def origins(self, topics: Collection[str]) -> dict[str, Origin]:
        """The ids of each topic that is there, and of its cluster; others are left out."""

    def create(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        """Create a topic with the broker's default replication; that it already exists is no error.

        Args:
            topic: Its name.
            partitions: How many.
            configs: Topic configs, as ``retention.ms``; the broker's own where None.

        Raises:
            AuthorizationError: Not allowed.
        """

    def largest_record(self, topic: str) -> int:
        """``max.message.bytes`` of a topic; the broker's default, 1,048,588, where it may not be asked."""

    def committed(self, group: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Committed offsets of any group; partitions without one are left out."""

    def end_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Each partition's last stable offset: where committed records end."""

    def read(self, partition: Partition, offset: int, most: int) -> Sequence[Record]:
        """Some committed records of a partition from an offset on, outside of any group; [] at the end."""

    def close(self) -> None:
        """Close."""


class Client(Protocol):
    """A Kafka library, with its settings. All that it opens waits no longer than its ``Patience`` allows."""

    name: str

    def check(self) -> None:
        """Reach the cluster and log in, or say why not.

        Raises:
            BrokerUnreachableError, TlsError, AuthenticationError: Told apart; within
                ``socket.connection.setup.timeout.ms`` and a little.
        """

    def consumer(self, group: str, *, instance: str | None, most: int) -> Consumer:
        """A consumer; ``instance`` is its group.instance.id, ``most`` the largest ``poll`` to come."""

    def producer(self, transactional_id: str | None) -> Producer:
        """A producer; with an id, ready for ``begin``."""

    def admin(self) -> Admin:
        """The rest."""
