"""What the consume loop tells whoever watches it: metrics, the live view, the log."""

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
    """A scored tweet, to look at."""

    text: str
    label: str
    score: float


@dataclass(frozen=True)
class Committed:
    """Some records whose results and offsets are committed.

    Attributes:
        labels: For each label of the model, how many records got it (0 included).
        unlabeled: Records whose text is null, empty or white space: passed on with null labels.
        tombstones: Records without a value: passed on as they are.
        truncated: Records whose text was cut at the model's character cap.
        dead: For each error class, how many records became dead letters.
        replicas: Records read again only for their dead letters, since their rows were on disk already.
        score_seconds: Time that text path and graph took.
        batch_seconds: Time from the first record's arrival to the end of the commit.
        times: The records' timestamps in ms since 1970 (UTC), -1 where there is none, in no order.
        newest: The largest record timestamp, in ms since 1970 (UTC); -1 if there is none.
        offsets: For each partition, the offset after its last record among these.
        samples: A few scored tweets.
        seen: What the model made of the texts, to see drift by.
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
        """All of them."""
        scored = sum(self.labels.values()) + self.unlabeled
        return scored + self.tombstones + sum(self.dead.values()) + self.replicas


class Observer(Protocol):
    """Is told what happens. Its methods return at once, and never raise."""

    def committed(self, done: Committed) -> None:
        """Results and offsets are committed."""

    def aborted(self, reason: str) -> None:
        """A transaction was aborted; its records are read again."""

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        """Partitions came or went; ``owned`` are ours after it."""

    def lags(self, lag: Mapping[Partition, int]) -> None:
        """Last stable offset minus committed offset, for each partition of ours; about once a second."""


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
