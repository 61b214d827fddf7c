"""What runs, and what both views know of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentstream.kafka.clients.api import Partition
    from sentstream.kafka.watch.events import Committed, Rebalance

MOST_PARTITIONS = 8  # that are named


@dataclass(frozen=True)
class About:
    """What runs, in words.

    Attributes:
        source: The topic or topics.
        target: The topic or directory that results go to.
        group: The consumer group.
        model: Name and version of the model.
        provider: What runs it.
        client: The Kafka client.
        delivery: ``exactly-once`` or ``at-least-once``.
    """

    source: str
    target: str
    group: str
    model: str
    provider: str
    client: str
    delivery: str


class Totals:
    """Sums of everything since it was made.

    Args:
        clock: A monotonic time in s.

    Attributes:
        rebalances: Times that partitions came or went.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self.records = self.unlabeled = self.tombstones = self.truncated = self.replicas = 0
        self.aborts = self.rebalances = 0
        self.labels: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()

    @property
    def scored(self) -> int:
        """Messages with a label."""
        return sum(self.labels.values())

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return self._clock() - self._start

    @property
    def rate(self) -> float:
        """Messages per second."""
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
        """A lag is no sum."""

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
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


class Watch:
    """What both views know."""

    def __init__(self, about: About, clock: Callable[[], float]) -> None:
        self.about, self._clock = about, clock
        self.totals = Totals(clock)
        self.owned: frozenset[Partition] = frozenset()
        self.lag: dict[Partition, int] = {}
        self._last_commit: float | None = None

    def committed(self, done: Committed) -> None:
        self.totals.committed(done)
        self._last_commit = self._clock()

    def aborted(self, reason: str) -> None:
        self.totals.aborted(reason)

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        self.totals.rebalanced(kind, partitions, owned)
        self.owned = frozenset(owned)
        self.lag = {partition: lag for partition, lag in self.lag.items() if partition in self.owned}

    def lags(self, lag: Mapping[Partition, int]) -> None:
        self.lag = dict(lag)

    def _commit_age(self) -> float | None:
        return None if self._last_commit is None else self._clock() - self._last_commit


def names(partitions: Collection[Partition]) -> str:
    """``tweets-0,tweets-1``; of many, the first and how many more."""
    first = [f"{one.topic}-{one.partition}" for one in sorted(partitions)[:MOST_PARTITIONS]]
    more = len(partitions) - len(first)
    return ",".join([*first, *([f"…{more}_more"] if more else [])]) or "-"


def one_line(text: str) -> str:
    """Text that can stand in a line: no line ends, and nothing that moves cursors or hides text."""
    from sentstream.report.markup import printable

    return printable(" ".join(text.split()))
