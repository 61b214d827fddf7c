"""Prometheus: what the consume loop does as metrics, and whether it is alive, over HTTP."""

from __future__ import annotations

import errno
import gzip
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, get_args

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
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from sentstream.errors import UsageError
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.events import Committed, Observer, Rebalance

# They would be a second series for each counter and histogram that nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Upper ends of the time histograms' buckets, in seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Upper ends of the buckets of end-to-end delays, in seconds: from one batch to a week of standstill.
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
#: Upper ends of the buckets of records a batch.
RECORDS = (1, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)
#: What can become of a message, as ``sentstream_messages_total`` tells it.
RESULTS = ("scored", "unlabeled", "tombstone", "dead_letter", "replica")


class Metrics(Observer):
    """What happened, in a registry of its own, with the usual metrics of a Python process.

    The time of the last commit and that of the newest record are not there before the first.

    Args:
        build: The labels of ``sentstream_build_info``: version, model, model_version, digest, provider,
            client, group.
        scoring: The id of the process that scores, where it is another one: it has metrics of its own, as
            ``sentstream_scoring_process_resident_memory_bytes``.
        wall: The time in s since 1970 (UTC).
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
        Info("sentstream_build", "What runs.", registry=registry).info(dict(build))
        self._messages = Counter(
            "sentstream_messages",
            "Messages whose result and offset are committed, by what became of them; "
            "a replica is one that was read again only for its dead letter.",
            ["result"],
            registry=registry,
        )
        self._labels = Counter(
            "sentstream_labels", "Messages that got each label.", ["label"], registry=registry
        )
        self._dead = Counter(
            "sentstream_dead_letters", "Dead letters by error.", ["error"], registry=registry
        )
        self._truncated = Counter(
            "sentstream_truncated", "Texts cut at the model's character cap.", registry=registry
        )
        self._batch_seconds = Histogram(
            "sentstream_batch_seconds",
            "From a batch's first record to the end of its commit.",
            buckets=SECONDS,
            registry=registry,
        )
        self._scoring_seconds = Histogram(
            "sentstream_scoring_seconds",
            "Text path and graph, a batch.",
            buckets=SECONDS,
            registry=registry,
        )
        self._delays = _Delays(
            "sentstream_end_to_end_delay_seconds",
            "From a record's own timestamp to the end of the commit of its result.",
        )
        registry.register(self._delays)
        self._batch_records = Histogram(
            "sentstream_batch_records", "Records a batch.", buckets=RECORDS, registry=registry
        )
        self._lag = Gauge(
            "sentstream_consumer_lag",
            "Last stable offset minus committed offset, of the partitions that are ours.",
            ["topic", "partition"],
            registry=registry,
        )
        self._last_commit = Gauge(
            "sentstream_last_commit_timestamp_seconds",
            "When the last commit of results ended, of the partitions that are ours.",
            ["topic", "partition"],
            registry=registry,
        )
        self._newest = _Late(
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
            "sentstream_rebalances", "Times that partitions came or went.", ["kind"], registry=registry
        )
        self._assigned = Gauge(
            "sentstream_assigned_partitions", "Partitions that are ours.", registry=registry
        )
        self._shown: dict[Gauge, set[Partition]] = {self._lag: set(), self._last_commit: set()}
        # A series that is there from the start can be counted from 0.
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
        """Drop the series of all others: what is theirs is somebody else's to tell."""
        for gone in self._shown[gauge].difference(partitions):
            gauge.remove(gone.topic, str(gone.partition))
        self._shown[gauge].intersection_update(partitions)


class _Delays(Collector):
    """A histogram that takes many values at once, which prometheus_client's takes one by one."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._counts, self._sum = np.zeros(len(DELAYS) + 1, np.int64), 0.0
        self._lock = threading.Lock()

    def observe(self, now: float, times: Sequence[int] | NDArray[np.int64]) -> None:
        """Count records of these times; those without one are left out, and none is from the future."""
        stamps = np.asarray(times, np.int64)
        seconds = np.maximum(0.0, now - stamps[stamps >= 0] / 1000)
        found = np.bincount(np.searchsorted(DELAYS, seconds), minlength=len(DELAYS) + 1)
        with self._lock:
            self._counts += found
            self._sum += float(seconds.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        with self._lock:
            sums, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = [*map(floatToGoString, DELAYS), "+Inf"]
        buckets = list(zip(bounds, sums, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)


class _Late:
    """A gauge that is not shown before it has a value: a time of 0 would be an alert."""

    def __init__(self, gauge: Gauge, registry: CollectorRegistry) -> None:
        self._gauge, self._registry, self._shown = gauge, registry, False

    def set(self, value: float) -> None:
        self._gauge.set(value)
        if not self._shown:
            self._registry.register(self._gauge)
            self._shown = True


def _fine() -> str | None:
    return None


class Server:
    """``/metrics``, ``/healthz`` and ``/readyz`` over HTTP, from a thread, while a ``with`` block runs.

    Args:
        metrics: What ``/metrics`` tells.
        port: The port to listen on; 0 is any that is free (see ``port``).
        host: The address to listen on, or a name that has one; by default all of IPv6 and IPv4, or of IPv4
            where there is no IPv6.
        healthy: Why ``/healthz`` should answer 503, in one line, or None for 200.
        ready: The same for ``/readyz``.

    Raises (on entry):
        UsageError: The port is taken, not allowed or not a port; the host is not an address of this machine.
    """

    def __init__(
        self,
        metrics: Metrics,
        port: int,
        *,
        host: str | None = None,
        healthy: Callable[[], str | None] = _fine,
        ready: Callable[[], str | None] = _fine,
    ) -> None:
        self._registry, self._host, self._port = metrics.registry, host, port
        self._checks = {"/healthz": healthy, "/readyz": ready}

    @property
    def port(self) -> int:
        """The port it listens on, within the block."""
        return int(self._http.server_address[1])

    def __enter__(self) -> Self:
        try:
            self._http = _Http(self._host, self._port, self._registry, self._checks)
        except OSError as error:
            wrong_host = isinstance(error, socket.gaierror) or _is_about_the_address(error)
            where = self._host or "all addresses"
            raise UsageError(
                f"--metrics-port {self._port}: cannot listen on {where}: {_said(error)}",
                hint="--metrics-host takes an address of this machine, as 127.0.0.1 or ::1"
                if wrong_host
                else "choose another port, or 0 for any that is free",
            ) from error
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.1,), name="sentstream-metrics", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True  # a client that says nothing holds up no exit

    def __init__(
        self,
        host: str | None,
        port: int,
        registry: CollectorRegistry,
        checks: Mapping[str, Callable[[], str | None]],
    ) -> None:
        self.registry, self.checks = registry, checks
        listening = _listening(host, port)
        # HTTPServer would ask DNS for the host's name when it binds, and may wait long.
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nobody's concern."""


def _listening(host: str | None, port: int) -> socket.socket:
    """A socket that listens there; on all addresses of both families where it is told none.

    Raises:
        OSError: It cannot.
    """
    if not 0 <= port <= 0xFFFF:
        raise OSError("not a port: 0 to 65535")
    if host is None:
        try:
            return _listening("::", port)
        except OSError as error:
            if not _is_about_the_address(error):
                raise
        return _listening("0.0.0.0", port)
    family, _, _, _, (address, _, *scope) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    both = family == socket.AF_INET6 and address == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((address, port, *scope), family=family, dualstack_ipv6=both)


def _said(error: OSError) -> str:
    """The reason alone; ``create_server`` writes an address behind it."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _is_about_the_address(error: BaseException) -> bool:
    """Whether this machine has no such address, or none of that family."""
    return getattr(error, "errno", None) in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, socket.EAI_FAMILY)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    server_version, sys_version = "sentstream", ""
    timeout = 10  # seconds that a client may keep us waiting

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.server.registry), kind)
        elif path in self.server.checks:
            try:
                reason = self.server.checks[path]()
            except Exception as error:
                self._say(500, f"this is a bug: {type(error).__name__}: {error}")
                return
            self._say(200 if reason is None else 503, "ok" if reason is None else reason)
        elif path == "/":
            self._answer(200, _INDEX, "text/html; charset=utf-8")
        else:
            self._say(404, f"not here; there are {', '.join(['/metrics', *self.server.checks])}")

    do_HEAD = do_GET

    def _say(self, status: int, line: str) -> None:
        self._answer(status, f"{' '.join(line.split())}\n".encode(), "text/plain; charset=utf-8")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if len(body) > 1_000 and gzip_accepted(self.headers.get("Accept-Encoding", "")):
            body = gzip.compress(body, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Standard error is for what the loop has to say."""


_INDEX = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>sentstream</title><h1>sentstream consume</h1>"
    b"<p><a href=/metrics>metrics</a>, <a href=/healthz>alive?</a>, <a href=/readyz>ready?</a>"
)
