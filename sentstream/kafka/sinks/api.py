"""What the consume loop asks of whoever takes its results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from sentstream.kafka.clients.api import Consumer, Partition
from sentstream.kafka.scoring.work import Work


class Sink(Protocol):
    """Takes the results of batches in order. The loop calls it from one thread at a time."""

    def begin(self, first: Mapping[Partition, int]) -> dict[Partition, int]:
        """Where to begin in partitions that the group has no offset of, given where it would else.

        What comes before the offset that is committed for one is taken for done, even after a crash.
        """

    def start(
        self, committed: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        """Where to read partitions that have come or are read again, given committed offsets and ends."""

    def take(self, work: Work) -> None:
        """Deliver a batch; what is durable when this returns is for the sink to say (``committed``).

        Raises:
            StaleGenerationError: Nothing of the batch is committed. ``abort``, then read again.
        """

    def tick(self) -> None:
        """Do what time asks for; called about once a second."""

    def idle(self, positions: Mapping[Partition, int]) -> None:
        """Nothing is under way and all before these offsets has been taken: commit what is not."""

    def finish(self, partitions: Collection[Partition] | None = None) -> None:
        """Make all of these partitions durable now, and commit it; None for every one."""

    def abort(self) -> None:
        """Drop all that is not durable."""

    def drop(self, partitions: Collection[Partition]) -> None:
        """Drop what is not durable of partitions that are somebody else's now."""

    @property
    def committed(self) -> Mapping[Partition, int]:
        """The committed offsets, as far as this sink knows.

        One that may or may not have been committed, since no broker has said, is not among them.
        """


def commit_ahead(
    consumer: Consumer, committed: dict[Partition, int], positions: Mapping[Partition, int]
) -> None:
    """Commit positions beyond what is committed: only control records lie between."""
    ahead = {one: offset for one, offset in positions.items() if offset > committed.get(one, offset)}
    if ahead:
        consumer.commit(ahead)
        committed.update(ahead)
