"""Metrics as Prometheus reads them: over HTTP, parsed with its own parsers."""

from __future__ import annotations

import errno
import gzip
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from processes import PATIENCE, child
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sentstream.errors import UsageError
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.events import Committed
from sentstream.kafka.watch.health import Health
from sentstream.kafka.watch.http import Server
from sentstream.kafka.watch.metrics import Metrics

BUILD = {
    "version": "0.1.0",
    "model": "sentiment140",
    "model_version": "1.0.0",
    "digest": "sha256:ab",
    "provider": "cpu",
    "client": "kafka-python",
    "group": "sentstream",
}
ONE, TWO, OTHER = Partition("tweets", 0), Partition("tweets", 1), Partition('odd"name\\', 0)
BATCH = Committed(
    labels={"negative": 2, "positive": 5},
    unlabeled=1,
    tombstones=3,
    truncated=4,
    dead={"MessageDecodeError": 2, "MessageFieldError": 1},
    replicas=6,
    score_seconds=0.02,
    batch_seconds=0.2,
    times=[1_700_000_000_500, 1_699_999_991_000, 1_700_000_009_000, 1_600_000_000_000, -1],
    newest=1_700_000_000_500,
    offsets={ONE: 24},
)


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(server: Server, path: str, *, host: str = "127.0.0.1", method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection(host, server.port, timeout=PATIENCE)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): one for name, one in headers.items()}
        )
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def read(text: str, parse: Callable[[str], Iterator[object]] = parse_text) -> dict[str, float]:
    """Each sample by its name and labels, as ``name{label=value}``."""
    found = {}
    for family in parse(text):
        for sample in family.samples:  # type: ignore[attr-defined]
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.fixture(name="metrics")
def _metrics() -> Metrics:
    return Metrics(BUILD, wall=Clock(1_700_000_001.0))


def scrape(metrics: Metrics) -> dict[str, float]:
    with Server(metrics, 0, host="127.0.0.1") as server:
        return read(ask(server, "/metrics").text)


class TestMetrics:
    def test_counts_of_a_batch(self, metrics: Metrics) -> None:
        metrics.committed(BATCH)
        metrics.committed(BATCH)
        found = scrape(metrics)
        for result, count in {
            "scored": 14, "unlabeled": 2, "tombstone": 6, "dead_letter": 6, "replica": 12
        }.items():  # fmt: skip
            assert found[f"sentstream_messages_total{{result={result}}}"] == count
        assert found["sentstream_labels_total{label=negative}"] == 4
        assert found["sentstream_labels_total{label=positive}"] == 10
        assert found["sentstream_dead_letters_total{error=MessageDecodeError}"] == 4
        assert found["sentstream_dead_letters_total{error=MessageFieldError}"] == 2
        assert found["sentstream_truncated_total"] == 8
        assert found["sentstream_commits_total"] == 2

    def test_results_add_up_to_the_records(self, metrics: Metrics) -> None:
        metrics.committed(BATCH)
        found = scrape(metrics)
        results = [value for name, value in found.items() if name.startswith("sentstream_messages_total")]
        assert sum(results) == BATCH.records == found["sentstream_batch_records_sum"]

    def test_histograms_hold_seconds_from_1_ms_to_60_s(self, metrics: Metrics) -> None:
        metrics.committed(BATCH)
        metrics.committed(Committed({}, batch_seconds=90))
        found = scrape(metrics)
        assert found["sentstream_scoring_seconds_bucket{le=0.01}"] == 1
        assert found["sentstream_scoring_seconds_bucket{le=0.025}"] == 2
        assert found["sentstream_batch_seconds_bucket{le=0.1}"] == 0
        assert found["sentstream_batch_seconds_bucket{le=0.25}"] == 1
        assert found["sentstream_batch_seconds_bucket{le=60.0}"] == 1
        assert found["sentstream_batch_seconds_bucket{le=+Inf}"] == 2
        assert found["sentstream_batch_seconds_sum"] == pytest.approx(90.2)
        assert found["sentstream_batch_seconds_bucket{le=0.001}"] == 0

    def test_time_metrics_appear_with_the_first_value(self, metrics: Metrics) -> None:
        last = "sentstream_last_commit_timestamp_seconds{partition=0,topic=tweets}"
        newest = "sentstream_newest_record_timestamp_seconds"
        assert not {last, newest} & scrape(metrics).keys()
        metrics.committed(Committed({"positive": 1}, offsets={ONE: 1}))
        found = scrape(metrics)
        assert found[last] == 1_700_000_001.0
        assert newest not in found
        metrics.committed(BATCH)
        assert scrape(metrics)[newest] == 1_700_000_000.5
        metrics.committed(Committed({"positive": 1}))
        assert scrape(metrics)[newest] == 1_700_000_000.5

    def test_last_commit_is_per_owned_partition(self) -> None:
        wall = Clock(1_700_000_001.0)
        metrics = Metrics(BUILD, wall=wall)

        def shown() -> dict[str, float]:
            name = "sentstream_last_commit_timestamp_seconds"
            return {n.removeprefix(name): v for n, v in scrape(metrics).items() if n.startswith(name)}

        metrics.rebalanced("assigned", [ONE, TWO], [ONE, TWO])
        metrics.committed(Committed({"positive": 2}, offsets={ONE: 1, TWO: 1}))
        wall.now += 7
        metrics.committed(Committed({"positive": 1}, offsets={TWO: 2}))
        series = "{{partition={},topic=tweets}}".format
        assert shown() == {series(0): 1_700_000_001, series(1): 1_700_000_008}
        metrics.lags({TWO: 0})  # that the lag of the other is not known is no reason
        assert len(shown()) == 2
        metrics.rebalanced("revoked", [ONE], [TWO])
        assert shown() == {series(1): 1_700_000_008}

    def test_delays_use_record_timestamps(self, metrics: Metrics) -> None:
        metrics.committed(BATCH)  # at 1_700_000_001: 0.5 s and 10 s old, 8 s ahead, 3 years old, without one
        metrics.committed(Committed({"positive": 1}))
        found = scrape(metrics)
        name = "sentstream_end_to_end_delay_seconds"
        counts = {le: found[f"{name}_bucket{{le={le}}}"] for le in ("0.1", "0.25", "0.5", "5.0", "10.0")}
        assert counts == {"0.1": 1, "0.25": 1, "0.5": 2, "5.0": 2, "10.0": 3}
        assert found[f"{name}_bucket{{le=604800.0}}"] == 3
        assert found[f"{name}_bucket{{le=+Inf}}"] == found[f"{name}_count"] == 4
        assert found[f"{name}_sum"] == pytest.approx(0 + 0.5 + 10 + 100_000_001)

    def test_scoring_process_has_its_own_metrics(self) -> None:
        found = scrape(Metrics(BUILD))
        assert not any(name.startswith("sentstream_scoring_process") for name in found)
        with child([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            metrics = Metrics(BUILD, scoring=other.pid)
            found = scrape(metrics)
            own, its = (f"{prefix}process_resident_memory_bytes" for prefix in ("", "sentstream_scoring_"))
            assert 0 < found[its] != found[own]
            assert "sentstream_scoring_process_cpu_seconds_total" in found
        assert its not in scrape(metrics)  # when it has ended

    def test_no_created_series(self, metrics: Metrics) -> None:
        metrics.committed(BATCH)
        with Server(metrics, 0, host="127.0.0.1") as server:
            for accepted in "text/plain", "application/openmetrics-text;version=1.0.0":
                assert "_created" not in ask(server, "/metrics", Accept=accepted).text

    def test_lag_of_revoked_partitions_disappears(self, metrics: Metrics) -> None:
        def shown() -> dict[str, float]:
            return {n: v for n, v in scrape(metrics).items() if n.startswith("sentstream_consumer_lag")}

        series = "sentstream_consumer_lag{{partition={},topic=tweets}}".format
        metrics.rebalanced("assigned", [ONE, TWO], [ONE, TWO])
        assert shown() == {}
        metrics.lags({ONE: 7, TWO: 9})
        assert shown() == {series(0): 7, series(1): 9}
        metrics.rebalanced("revoked", [TWO], [ONE])
        assert shown() == {series(0): 7}
        metrics.lags({ONE: 8})
        assert shown() == {series(0): 8}
        metrics.lags({TWO: 1, OTHER: 2})
        assert shown() == {series(1): 1, 'sentstream_consumer_lag{partition=0,topic=odd"name\\}': 2}
        metrics.rebalanced("lost", [TWO, OTHER], [])
        assert shown() == {}
        metrics.lags({})
        assert shown() == {}

    def test_rebalances_aborts_and_partitions(self, metrics: Metrics) -> None:
        found = scrape(metrics)
        for kind in ("assigned", "revoked", "lost"):
            assert found[f"sentstream_rebalances_total{{kind={kind}}}"] == 0
        metrics.rebalanced("assigned", [ONE, TWO], [ONE, TWO])
        metrics.rebalanced("revoked", [ONE], [TWO])
        metrics.aborted("the group has moved on")
        found = scrape(metrics)
        assert found["sentstream_rebalances_total{kind=assigned}"] == 1
        assert found["sentstream_rebalances_total{kind=revoked}"] == 1
        assert found["sentstream_assigned_partitions"] == 1
        assert found["sentstream_aborts_total"] == 1

    def test_build_and_process_info(self, metrics: Metrics) -> None:
        found = scrape(metrics)
        labels = ",".join(f"{name}={value}" for name, value in sorted(BUILD.items()))
        assert found[f"sentstream_build_info{{{labels}}}"] == 1
        assert found["process_resident_memory_bytes"] > 1e6
        assert any(name.startswith("python_info") for name in found)
        assert any(name.startswith("python_gc_collections_total") for name in found)

    def test_every_metric_has_a_help_text_and_the_right_type(self, metrics: Metrics) -> None:
        metrics.committed(BATCH)
        metrics.lags({ONE: 1})
        with Server(metrics, 0, host="127.0.0.1") as server:
            families = list(parse_text(ask(server, "/metrics").text))
        for family in families:
            if family.name.startswith("sentstream_"):
                assert family.documentation.endswith("."), family.name
                assert family.type in ("counter", "gauge", "histogram"), family.name

    def test_registries_are_independent(self, metrics: Metrics) -> None:
        Metrics(BUILD).committed(BATCH)
        assert scrape(metrics)["sentstream_commits_total"] == 0

    def test_scrapes_during_rebalances(self, metrics: Metrics) -> None:
        stop, failed = threading.Event(), []

        def turn() -> None:
            try:
                while not stop.is_set():
                    metrics.lags({Partition("tweets", number): number for number in range(20)})
                    metrics.committed(BATCH)
                    metrics.rebalanced("lost", [], [])
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=turn)
        thread.start()
        try:
            with Server(metrics, 0, host="127.0.0.1") as server:
                for _ in range(30):
                    answer = ask(server, "/metrics")
                    assert answer.status == 200
                    read(answer.text)
        finally:
            stop.set()
            thread.join()
        assert not failed


class TestServer:
    def test_health_changes_over_time(self, metrics: Metrics) -> None:
        clock = Clock()
        health = Health(60, clock=clock)
        with Server(metrics, 0, host="127.0.0.1", healthy=health.reason, ready=health.waiting) as server:
            assert (ask(server, "/healthz").status, ask(server, "/readyz").status) == (200, 503)
            health.rebalanced("assigned", [ONE], [ONE])
            assert (ask(server, "/healthz").text, ask(server, "/readyz").text) == ("ok\n", "ok\n")
            clock.now += 61
            sick = ask(server, "/healthz")
            assert sick.status == 503
            assert "has not reported for 61 s" in sick.text
            assert "tweets-0" in sick.text
            assert sick.text.count("\n") == 1
            health.lags({ONE: 0})
            assert ask(server, "/healthz").status == 200

    def test_failing_check_is_unhealthy(self, metrics: Metrics) -> None:
        def broken() -> str | None:
            raise ValueError("two\nlines")

        with Server(metrics, 0, host="127.0.0.1", healthy=broken) as server:
            answer = ask(server, "/healthz")
        assert answer.status == 500
        assert answer.text == "this is a bug: ValueError: two lines\n"

    def test_openmetrics_on_request(self, metrics: Metrics) -> None:
        metrics.committed(BATCH)
        with Server(metrics, 0, host="127.0.0.1") as server:
            plain = ask(server, "/metrics")
            openly = ask(
                server, "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
            )
        assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert openly.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert openly.text.endswith("# EOF\n")
        found = read(openly.text, parse_openmetrics)
        assert found["sentstream_messages_total{result=scored}"] == 7

    def test_gzip_if_accepted(self, metrics: Metrics) -> None:
        with Server(metrics, 0, host="127.0.0.1") as server:
            packed = ask(server, "/metrics", Accept_Encoding="deflate, gzip")
            small = ask(server, "/healthz", Accept_Encoding="gzip")
        assert packed.headers["content-encoding"] == "gzip"
        assert "sentstream_commits_total" in read(gzip.decompress(packed.body).decode())
        assert "content-encoding" not in small.headers
        assert small.text == "ok\n"

    def test_index_and_404_for_the_rest(self, metrics: Metrics) -> None:
        with Server(metrics, 0, host="127.0.0.1") as server:
            index, lost = ask(server, "/"), ask(server, "/nothing")
            assert ask(server, "/healthz?verbose=1").status == 200
            assert ask(server, "/", method="POST").status == 501
        assert index.status == 200
        assert all(path in index.text for path in ("/metrics", "/healthz", "/readyz"))
        assert lost.status == 404
        assert lost.text == "not found; available: /metrics, /healthz, /readyz\n"

    @pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/nothing"])
    def test_head_request(self, metrics: Metrics, path: str) -> None:
        with Server(metrics, 0, host="127.0.0.1") as server:
            full, head = ask(server, path), ask(server, path, method="HEAD")
        assert head.body == b""
        assert head.status == full.status
        assert head.headers["content-type"] == full.headers["content-type"]
        assert int(head.headers["content-length"]) > 0

    def test_server_logs_nothing(self, metrics: Metrics, capfd: pytest.CaptureFixture[str]) -> None:
        with Server(metrics, 0, host="127.0.0.1") as server:
            ask(server, "/metrics")
            ask(server, "/nothing")
            with socket.create_connection(("127.0.0.1", server.port)) as rude:
                rude.sendall(b"what is this?\r\n\r\n")
                rude.recv(1_000)
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", server.port)) as gone:
                    gone.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            assert ask(server, "/healthz").status == 200
        assert capfd.readouterr() == ("", "")

    def test_server_hides_its_version(self, metrics: Metrics) -> None:
        with Server(metrics, 0, host="127.0.0.1") as server:
            assert ask(server, "/").headers["server"].strip() == "sentstream"

    def test_silent_client_blocks_nothing(self, metrics: Metrics) -> None:
        with socket.socket() as silent:
            with Server(metrics, 0, host="127.0.0.1") as server:
                silent.connect(("127.0.0.1", server.port))
                assert ask(server, "/healthz").status == 200
                begun = time.monotonic()
            assert time.monotonic() - begun < 5

    def test_server_is_closed_after_the_block(self, metrics: Metrics) -> None:
        with Server(metrics, 0, host="127.0.0.1") as server:
            port = server.port
            assert any(thread.name == "sentstream-metrics" for thread in threading.enumerate())
            ask(server, "/metrics")
        assert not any(thread.name == "sentstream-metrics" for thread in threading.enumerate())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with Server(metrics, port, host="127.0.0.1") as server:  # at once, on the same port
            assert server.port == port
            assert ask(server, "/healthz").status == 200

    def test_port_in_use(self, metrics: Metrics) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(UsageError) as caught, Server(metrics, port, host="127.0.0.1"):
                pass
        assert caught.value.message == (
            f"--metrics-port {port}: cannot listen on 127.0.0.1: Address already in use"
        )
        assert caught.value.hint == "choose another port, or 0 for any free port"

    @pytest.mark.parametrize(("port", "host"), [(70_000, "127.0.0.1"), (-1, "127.0.0.1"), (0, "203.0.113.1")])
    def test_invalid_addresses(self, metrics: Metrics, port: int, host: str) -> None:
        with (
            pytest.raises(UsageError, match=f"--metrics-port {port}: cannot listen on {host}: "),
            Server(metrics, port, host=host),
        ):
            pass

    def test_all_ipv4_addresses_by_default(self, metrics: Metrics) -> None:
        with Server(metrics, 0) as server:
            assert ask(server, "/healthz").text == "ok\n"

    def test_ipv6_at_the_same_time(self, metrics: Metrics) -> None:
        need_ipv6()
        with Server(metrics, 0) as server:
            for host in "127.0.0.1", "::1":
                assert ask(server, "/healthz", host=host).text == "ok\n"

    def test_ipv4_only_without_ipv6(self, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
        create = socket.create_server

        def create_server(address: Any, *, family: int, dualstack_ipv6: bool) -> socket.socket:
            if family == socket.AF_INET6:  # as a kernel without it says
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            return create(address, family=family, dualstack_ipv6=dualstack_ipv6)

        monkeypatch.setattr(socket, "create_server", create_server)
        with Server(metrics, 0) as server:
            assert ask(server, "/healthz").text == "ok\n"

    def test_single_address_only(self, metrics: Metrics) -> None:
        need_ipv6()
        for host, other in ("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("0.0.0.0", "::1"):
            with Server(metrics, 0, host=host) as server:
                assert ask(server, "/healthz", host=host.replace("0.0.0.0", "127.0.0.1")).text == "ok\n"
                with pytest.raises(OSError, match=r"refused|assign|unreachable"):
                    ask(server, "/healthz", host=other)

    @pytest.mark.parametrize("host", ["203.0.113.1", "::g"])
    def test_foreign_address_has_its_own_hint(self, metrics: Metrics, host: str) -> None:
        with pytest.raises(UsageError) as caught, Server(metrics, 0, host=host):
            pass
        assert caught.value.hint == "--metrics-host takes an address of this machine, e.g. 127.0.0.1 or ::1"

    def test_port_used_on_ipv4_only_is_in_use(self, metrics: Metrics) -> None:
        with socket.create_server(("0.0.0.0", 0)) as taken:
            port = taken.getsockname()[1]
            with (
                pytest.raises(UsageError, match=f"--metrics-port {port}: cannot listen on all addresses: "),
                Server(metrics, port),
            ):
                pass


def need_ipv6() -> None:
    """Skip where this machine has no IPv6."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
