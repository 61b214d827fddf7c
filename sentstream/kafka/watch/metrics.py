"""Prometheus metrics of the consume loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.events import Committed, Observer, Rebalance

# These would be an unused second series for each counter and histogram.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Upper bounds of the buckets of time histograms, in seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Upper bounds of the buckets of end-to-end delays, in seconds: from one batch to a week of downtime.
DELAYS = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    3_600.0,
    14_400.0,
    86_400.0,
    604_800.0,
)
#: Upper bounds of the buckets of records per batch.
RECORDS = (1, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)
#: The outcomes of a message in ``sentstream_messages_total``.
RESULTS = ("scored", "unlabeled", "tombstone", "dead_letter", "replica")


class Metrics(Observer):
    """Metrics of the consume loop in a separate registry, with the usual metrics of a Python process.

    The times of the last commit and of the newest record are absent before the first commit.

    Args:
        build: The labels of ``sentstream_build_info``: version, model, model_version, digest, provider,
            client, group.
        scoring: The id of the scoring process, if separate: it has its own metrics, such as
            ``sentstream_scoring_process_resident_memory_bytes``.
        wall: Returns the time in seconds since 1970 (UTC).
    """

    def __init__(
        self,
        build: Mapping[str, str],
        *,
        scoring: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        self._wall = wall
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        if scoring is not None:
            ProcessCollector(namespace="sentstream_scoring", pid=lambda: scoring, registry=registry)
        Info("sentstream_build", "The versions that run.", registry=registry).info(dict(build))
        self._messages = Counter(
            "sentstream_messages",
            "Messages whose result and offset are committed, by outcome; "
            "a replica is one that was read again only for its dead letter.",
            ["result"],
            registry=registry,
        )
        self._labels = Counter("sentstream_labels", "Messages by label.", ["label"], registry=registry)
        self._dead = Counter(
            "sentstream_dead_letters", "Dead letters by error.", ["error"], registry=registry
        )
        self._truncated = Counter(
            "sentstream_truncated", "Texts cut at the model's character cap.", registry=registry
        )
        self._batch_seconds = Histogram(
            "sentstream_batch_seconds",
            "Time from a batch's first record to the end of its commit.",
            buckets=SECONDS,
            registry=registry,
        )
        self._scoring_seconds = Histogram(
            "sentstream_scoring_seconds",
            "Time to score a batch: text path and graph.",
            buckets=SECONDS,
            registry=registry,
        )
        self._delays = _Delays(
            "sentstream_end_to_end_delay_seconds",
            "Time from a record's own timestamp to the end of the commit of its result.",
        )
        registry.register(self._delays)
        self._batch_records = Histogram(
            "sentstream_batch_records", "Records per batch.", buckets=RECORDS, registry=registry
        )
        self._lag = Gauge(
            "sentstream_consumer_lag",
            "Last stable offset minus committed offset, for each assigned partition.",
            ["topic", "partition"],
            registry=registry,
        )
        self._last_commit = Gauge(
            "sentstream_last_commit_timestamp_seconds",
            "When the last commit of results ended, for each assigned partition.",
            ["topic", "partition"],
            registry=registry,
        )
        self._newest = _HiddenUntilSet(
            Gauge(
                "sentstream_newest_record_timestamp_seconds",
                "The largest timestamp of the last batch's records.",
                registry=None,
            ),
            registry,
        )
        self._commits = Counter("sentstream_commits", "Batches that were committed.", registry=registry)
        self._aborts = Counter("sentstream_aborts", "Transactions that were aborted.", registry=registry)
        self._rebalances = Counter(
            "sentstream_rebalances",
            "Times that partitions were assigned or revoked.",
            ["kind"],
            registry=registry,
        )
        self._assigned = Gauge(
            "sentstream_assigned_partitions", "Partitions assigned to this instance.", registry=registry
        )
        self._shown: dict[Gauge, set[Partition]] = {self._lag: set(), self._last_commit: set()}
        # A series that exists from the start counts from 0.
        for result in RESULTS:
            self._messages.labels(result)
        for kind in get_args(Rebalance):
            self._rebalances.labels(kind)

    def committed(self, done: Committed) -> None:
        counts = (
            sum(done.labels.values()),
            done.unlabeled,
            done.tombstones,
            sum(done.dead.values()),
            done.replicas,
        )
        for result, count in zip(RESULTS, counts, strict=True):
            self._messages.labels(result).inc(count)
        for label, count in done.labels.items():
            self._labels.labels(label).inc(count)
        for error, count in done.dead.items():
            self._dead.labels(error).inc(count)
        self._truncated.inc(done.truncated)
        self._batch_seconds.observe(done.batch_seconds)
        self._scoring_seconds.observe(done.score_seconds)
        self._batch_records.observe(done.records)
        self._commits.inc()
        now = self._wall()
        for one in done.offsets:
            self._show(self._last_commit, one, now)
        self._delays.observe(now, done.times)
        if done.newest >= 0:
            self._newest.set(done.newest / 1000)

    def aborted(self, reason: str) -> None:
        self._aborts.inc()

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        self._rebalances.labels(kind).inc()
        self._assigned.set(len(owned))
        for gauge in self._shown:
            self._keep(gauge, owned)

    def lags(self, lag: Mapping[Partition, int]) -> None:
        self._keep(self._lag, lag)
        for partition, records in lag.items():
            self._show(self._lag, partition, records)

    def _show(self, gauge: Gauge, partition: Partition, value: float) -> None:
        gauge.labels(partition.topic, str(partition.partition)).set(value)
        self._shown[gauge].add(partition)

    def _keep(self, gauge: Gauge, partitions: Collection[Partition]) -> None:
        """Remove the series of all other partitions, which other instances report."""
        for gone in self._shown[gauge].difference(partitions):
            gauge.remove(gone.topic, str(gone.partition))
        self._shown[gauge].intersection_update(partitions)


class _Delays(Collector):
    """A histogram that accepts many values at once, unlike that of prometheus_client."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._counts, self._sum = np.zeros(len(DELAYS) + 1, np.int64), 0.0
        self._lock = threading.Lock()

    def observe(self, now: float, times: Sequence[int] | NDArray[np.int64]) -> None:
        """Count records with these times; those without one are left out, future ones count as now."""
        stamps = np.asarray(times, np.int64)
        seconds = np.maximum(0.0, now - stamps[stamps >= 0] / 1000)
        counts = np.bincount(np.searchsorted(DELAYS, seconds), minlength=len(DELAYS) + 1)
        with self._lock:
            self._counts += counts
            self._sum += float(seconds.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        with self._lock:
            sums, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = [*map(floatToGoString, DELAYS), "+Inf"]
        buckets = list(zip(bounds, sums, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)


class _HiddenUntilSet:
    """A gauge that is hidden until it has a value: a time of 0 would raise an alert."""

    def __init__(self, gauge: Gauge, registry: CollectorRegistry) -> None:
        self._gauge, self._registry, self._shown = gauge, registry, False

    def set(self, value: float) -> None:
        self._gauge.set(value)
        if not self._shown:
            self._registry.register(self._gauge)
            self._shown = True
