"""Totals of the consume loop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.events import Committed, Rebalance


class Totals:
    """Totals since its creation.

    Args:
        clock: Returns a monotonic time in seconds.

    Attributes:
        rebalances: How often partitions were assigned, revoked or lost.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self.records = self.unlabeled = self.tombstones = self.truncated = self.replicas = 0
        self.aborts = self.rebalances = 0
        self.labels: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()

    @property
    def scored(self) -> int:
        """The number of messages with a label."""
        return sum(self.labels.values())

    @property
    def seconds(self) -> float:
        """The seconds since its creation."""
        return self._clock() - self._start

    @property
    def rate(self) -> float:
        """The messages per second."""
        return self.records / max(self.seconds, 1e-9)

    def committed(self, done: Committed) -> None:
        self.records += done.records
        self.unlabeled += done.unlabeled
        self.tombstones += done.tombstones
        self.truncated += done.truncated
        self.replicas += done.replicas
        self.labels.update(done.labels)
        self.dead.update(done.dead)

    def aborted(self, reason: str) -> None:
        self.aborts += 1

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        self.rebalances += 1

    def lags(self, lag: Mapping[Partition, int]) -> None:
        """Ignore it: a lag is not a total."""

    def to_dict(self) -> dict[str, Any]:
        """Return the totals as JSON-compatible values."""
        seconds = self.seconds
        return {
            "records": self.records,
            "scored": self.scored,
            "labels": dict(self.labels),
            "unlabeled": self.unlabeled,
            "tombstones": self.tombstones,
            "truncated": self.truncated,
            "dead_letters": dict(self.dead),
            "replicas": self.replicas,
            "aborts": self.aborts,
            "rebalances": self.rebalances,
            "seconds": round(seconds, 3),
            "records_per_second": round(self.records / max(seconds, 1e-9), 1),
        }
