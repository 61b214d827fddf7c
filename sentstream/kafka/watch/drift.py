"""Drift metrics: the model's outputs in a sliding window, and their distance from a reference."""

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

_SLOTS = 60  # slots per window, which advances by one slot at a time


class Baseline(NamedTuple):
    """The distribution that a window is compared with.

    Attributes:
        texts: Counts of the model's outputs on texts.
        name: Their source: ``reference`` is a file of ``sentstream reference``; ``training`` is the rows held
            out of the model's training, from its bundle.
        labels: Whether to compare labels too; not if only one side can have ``uncertain``.
    """

    texts: Distribution
    name: Literal["reference", "training"] = "reference"
    labels: bool = True


class Drift(Collector, Observer):
    """Gauges of a sliding window: the results committed in the last ``window`` seconds.

    The mean score and the share of unknown words are absent while the window is empty. Distances from the
    baseline are absent below 1,000 texts: with fewer, large distances occur by chance.

    Args:
        registry: The registry of the gauges.
        window: The window's length in seconds.
        baseline: The distribution to compare with; None for none.
        clock: Returns a monotonic time in seconds.
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
        """Ignore it: aborted records are not counted."""

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        """Ignore it: counted records stay in the window."""

    def lags(self, lag: Mapping[Partition, int]) -> None:
        """Ignore it."""

    def _drop_old(self) -> int:
        """Remove slots that have left the window; return the current slot."""
        slot = int(self._clock() * _SLOTS / self._window)
        while self._slots and self._slots[0][0] <= slot - _SLOTS:
            self._slots.popleft()
        return slot

    def seen(self) -> Distribution:
        """Return the distribution in the window now."""
        with self._lock:
            self._drop_old()
            if not self._slots:
                return Distribution()
            first, *others = (one for _, one in self._slots)
        return sum(others, first)

    def distances(self) -> dict[str, float]:
        """Return the population stability indexes from the baseline by feature; {} with too few texts."""
        return self._distances(self.seen())

    def _distances(self, seen: Distribution) -> dict[str, float]:
        if self._baseline is None or seen.texts < LEAST_TEXTS:
            return {}
        distances = self._baseline.texts.distances(seen)
        return {name: distances[name] for name in distances if name != "labels" or self._baseline.labels}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges with their current values."""
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
    """Return a gauge; without a sample if there is no value."""
    gauge = GaugeMetricFamily(f"sentstream_drift_{name}", documentation)
    if value is not None:
        gauge.add_metric([], value)
    return gauge
