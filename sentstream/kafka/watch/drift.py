"""What the model made of the last hour's texts, and how far that is from a reference: for ``/metrics``."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sentstream.drift.distribution import LEAST_TEXTS, Distribution
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.events import Committed, Observer, Rebalance

_SLOTS = 60  # parts in which a window goes on


class Baseline(NamedTuple):
    """What a window is compared with.

    Attributes:
        texts: Counts of texts.
        name: What they are of: ``reference`` is a file of ``sentstream reference``, ``training`` the rows
            that were held out of the model's training, which its bundle tells of.
        labels: Whether labels are compared, too: not where only one side can have ``uncertain``.
    """

    texts: Distribution
    name: Literal["reference", "training"] = "reference"
    labels: bool = True


class Drift(Collector, Observer):
    """Gauges of a sliding window: of what was committed in the last ``window`` seconds.

    The mean score and the share of unknown words are not there while the window is empty, nor are distances
    from the baseline before there are 1,000 texts in it: fewer are far from anything by chance.

    Args:
        registry: Where the gauges are shown.
        window: Its length in seconds.
        baseline: What they are compared with; None for nothing.
        clock: A monotonic time in s.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        window: float,
        baseline: Baseline | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window, self._baseline, self._clock = window, baseline, clock
        self._slots: deque[tuple[int, Distribution]] = deque()
        self._lock = threading.Lock()
        registry.register(self)

    def committed(self, done: Committed) -> None:
        with self._lock:
            slot = self._drop_old()
            if self._slots and self._slots[-1][0] == slot:
                self._slots[-1] = slot, self._slots[-1][1] + done.seen
            else:
                self._slots.append((slot, done.seen))

    def aborted(self, reason: str) -> None:
        """Nothing of it counts."""

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        """What was seen was seen."""

    def lags(self, lag: Mapping[Partition, int]) -> None:
        """Of no interest here."""

    def _drop_old(self) -> int:
        """Forget what has left the window; returns the slot that it is now."""
        slot = int(self._clock() * _SLOTS / self._window)
        while self._slots and self._slots[0][0] <= slot - _SLOTS:
            self._slots.popleft()
        return slot

    def seen(self) -> Distribution:
        """What is in the window now."""
        with self._lock:
            self._drop_old()
            if not self._slots:
                return Distribution()
            first, *others = (one for _, one in self._slots)
        return sum(others, first)

    def distances(self) -> dict[str, float]:
        """The population stability index from the baseline, by what is compared; {} of too few texts."""
        return self._distances(self.seen())

    def _distances(self, seen: Distribution) -> dict[str, float]:
        if self._baseline is None or seen.texts < LEAST_TEXTS:
            return {}
        found = self._baseline.texts.distances(seen)
        return {of: found[of] for of in found if of != "labels" or self._baseline.labels}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as they are now."""
        seen = self.seen()
        yield _gauge("window_seconds", "The length of the window of the other drift metrics.", self._window)
        yield _gauge("texts", "Texts in the window that got a label.", seen.texts)
        shares = GaugeMetricFamily(
            "sentstream_drift_label_share",
            "The share of each label among the texts in the window.",
            labels=["label"],
        )
        for label, count in seen.labels.items():
            if seen.texts:
                shares.add_metric([label], count / seen.texts)
        yield shares
        yield _gauge("score_mean", "The mean score of the texts in the window.", seen.mean_score)
        yield _gauge(
            "unknown_word_share",
            "The share of words in the window that are not in the model's vocabulary.",
            seen.unknown_share,
        )
        distances = GaugeMetricFamily(
            "sentstream_drift_psi",
            "Population stability index of the window against the reference or the model's training rows:"
            " above 0.25 is large.",
            labels=["of", "against"],
        )
        name = "" if self._baseline is None else self._baseline.name
        for of, distance in self._distances(seen).items():
            distances.add_metric([of, name], distance)
        yield distances


def _gauge(name: str, documentation: str, value: float | None) -> GaugeMetricFamily:
    """A gauge; without a sample where there is no value."""
    gauge = GaugeMetricFamily(f"sentstream_drift_{name}", documentation)
    if value is not None:
        gauge.add_metric([], value)
    return gauge
