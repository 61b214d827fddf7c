"""The run, and the state that both views share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentstream.kafka.watch.totals import Totals

if TYPE_CHECKING:
    from sentstream.kafka.clients.api import Partition
    from sentstream.kafka.watch.events import Committed, Rebalance

MOST_PARTITIONS = 8  # maximum that are named


@dataclass(frozen=True)
class RunInfo:
    """The run, in words.

    Attributes:
        source: The topic or topics.
        target: The topic or directory that results go to.
        group: The consumer group.
        model: Name and version of the model.
        provider: The execution provider.
        client: The Kafka client.
        delivery: ``exactly-once`` or ``at-least-once``.
        drift_from: The baseline of drift: ``reference``, ``training`` or ``nothing``.
    """

    source: str
    target: str
    group: str
    model: str
    provider: str
    client: str
    delivery: str
    drift_from: str = "nothing"


class Watch:
    """The state that both views share.

    Args:
        run_info: The run.
        clock: A monotonic time in s.
        drift: Gives the drift of the texts from ``run_info.drift_from``: a population stability index by
            distribution; empty without a baseline.
    """

    def __init__(
        self,
        run_info: RunInfo,
        clock: Callable[[], float],
        drift: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.run_info, self._clock, self._drift = run_info, clock, drift
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
    """``tweets-0,tweets-1``; if there are many, the first ones and the number of the others."""
    first = [f"{one.topic}-{one.partition}" for one in sorted(partitions)[:MOST_PARTITIONS]]
    more = len(partitions) - len(first)
    return ",".join([*first, *([f"…{more}_more"] if more else [])]) or "-"
