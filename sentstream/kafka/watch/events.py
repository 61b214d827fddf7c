"""Events of the consume loop for its observers: metrics, the live display, the log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sentstream.drift.distribution import Distribution
from sentstream.kafka.clients.api import Partition

Rebalance: TypeAlias = Literal["assigned", "revoked", "lost"]


class Sample(NamedTuple):
    """A scored tweet, to display."""

    text: str
    label: str
    score: float


@dataclass(frozen=True)
class Committed:
    """Records whose results and offsets are committed.

    Attributes:
        labels: The number of records of each label of the model (0 included).
        unlabeled: Records whose text is null, empty or white space: passed on with null labels.
        tombstones: Records without a value: passed on unchanged.
        truncated: Records whose text was cut at the model's character cap.
        dead: The number of dead letters by error class.
        replicas: Records read again only for their dead letters, since their rows were already on disk.
        score_seconds: Time of text path and graph.
        batch_seconds: Time from the first record's arrival to the end of the commit.
        times: The records' timestamps in ms since 1970 (UTC), -1 if none, in no particular order.
        newest: The largest record timestamp, in ms since 1970 (UTC); -1 if there is none.
        offsets: For each partition, the offset after its last record here.
        samples: A few scored tweets.
        seen: The distribution of the model's outputs, for drift.
    """

    labels: Mapping[str, int]
    unlabeled: int = 0
    tombstones: int = 0
    truncated: int = 0
    dead: Mapping[str, int] = field(default_factory=dict)
    replicas: int = 0
    score_seconds: float = 0.0
    batch_seconds: float = 0.0
    times: Sequence[int] | NDArray[np.int64] = field(default=(), compare=False)
    newest: int = -1
    offsets: Mapping[Partition, int] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    seen: Distribution = field(default_factory=Distribution)

    @property
    def records(self) -> int:
        """The number of all records."""
        scored = sum(self.labels.values()) + self.unlabeled
        return scored + self.tombstones + sum(self.dead.values()) + self.replicas


class Observer(Protocol):
    """Is notified of events. Its methods return immediately and never raise."""

    def committed(self, done: Committed) -> None:
        """Results and offsets were committed."""

    def aborted(self, reason: str) -> None:
        """A transaction was aborted; its records are read again."""

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        """Partitions were assigned, revoked or lost; ``owned`` are ours afterwards."""

    def lags(self, lag: Mapping[Partition, int]) -> None:
        """Report last stable offset minus committed offset of our partitions, about once a second."""


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def committed(self, done: Committed) -> None:
        for observer in self._observers:
            observer.committed(done)

    def aborted(self, reason: str) -> None:
        for observer in self._observers:
            observer.aborted(reason)

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        for observer in self._observers:
            observer.rebalanced(kind, partitions, owned)

    def lags(self, lag: Mapping[Partition, int]) -> None:
        for observer in self._observers:
            observer.lags(lag)
