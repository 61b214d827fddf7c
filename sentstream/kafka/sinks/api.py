"""The interface of a sink, the destination of the consume loop's results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from sentstream.kafka.clients.api import Consumer, Partition
from sentstream.kafka.scoring.work import Work


class Sink(Protocol):
    """Receives the results of batches in order. The loop calls it from one thread at a time."""

    def begin(self, first: Mapping[Partition, int]) -> dict[Partition, int]:
        """Return where to begin in partitions without a committed offset, given the default positions.

        Records before the offset that is then committed count as done, even after a crash.
        """

    def start(
        self, committed: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        """Return where to read partitions that are new or reread, given committed offsets and ends."""

    def take(self, work: Work) -> None:
        """Accept a batch; it may become durable later (see ``committed``).

        Raises:
            StaleGenerationError: Nothing of the batch is committed. ``abort``, then read again.
        """

    def tick(self) -> None:
        """Do periodic work; called about once a second."""

    def idle(self, positions: Mapping[Partition, int]) -> None:
        """Commit these positions if needed: all records before them have been taken."""

    def finish(self, partitions: Collection[Partition] | None = None) -> None:
        """Make the results of these partitions durable now, and commit; None for all."""

    def abort(self) -> None:
        """Drop all results that are not durable."""

    def drop(self, partitions: Collection[Partition]) -> None:
        """Drop results that are not durable, of partitions that now belong to another member."""

    @property
    def committed(self) -> Mapping[Partition, int]:
        """The committed offsets, as far as this sink knows.

        Excludes offsets of a commit whose outcome is unknown because no broker answered.
        """


def commit_ahead(
    consumer: Consumer, committed: dict[Partition, int], positions: Mapping[Partition, int]
) -> None:
    """Commit positions past the committed offsets; only control records are in between."""
    ahead = {one: offset for one, offset in positions.items() if offset > committed.get(one, offset)}
    if ahead:
        consumer.commit(ahead)
        committed.update(ahead)
