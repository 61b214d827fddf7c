"""Health depends on the progress of every partition: on a simulated clock, and with a real broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from kafka_runs import (
    FailsAtFirst,
    Run,
    fill_tweets,
    intercepting,
    settings,
    wait_until,
)
from kafka_tools import new_name

from sentstream.kafka.clients.api import Client, Outgoing, Partition, StaleGenerationError
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.consume.run import Consumption, Options
from sentstream.kafka.watch.events import Committed
from sentstream.kafka.watch.health import Health

ONE, TWO = Partition("tweets", 0), Partition("tweets", 1)


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """Health with a fake clock and assigned partitions."""

    def __init__(self, *partitions: Partition, limit: float = 60.0, hold: float = 0.0) -> None:
        self.clock = Clock()
        self.health = Health(limit, hold=hold, clock=self.clock, wall=Clock(1_700_000_075.0))
        if partitions:
            self.health.rebalanced("assigned", partitions, partitions)

    def after(self, seconds: float, lag: Mapping[Partition, int], **offsets: int) -> str | None:
        """The health reason when these lags are reported after so many seconds."""
        self.clock.now += seconds
        self.health.lags(lag)
        return self.health.reason()

    def commit(self, **offsets: int) -> None:
        """``commit(tweets_0=5)``"""
        named = {Partition(*(part.rsplit("_", 1)[0], int(part[-1]))): at for part, at in offsets.items()}
        self.health.committed(Committed({"positive": 1}, offsets=named))


class TestTiming:
    def test_stuck_partition_is_named_with_lag_and_time(self) -> None:
        watched = Watched(ONE, TWO)
        assert watched.after(60, {ONE: 7, TWO: 0}) is None
        assert watched.after(15, {ONE: 9, TWO: 0}) == (
            "tweets-0 has made no progress for 75 s, since 2023-11-14T22:13:20Z,"
            " and is 9 records behind the end"
        )

    def test_all_stuck_partitions_are_named(self) -> None:
        reason = Watched(ONE, TWO).after(61, {ONE: 1, TWO: 2})
        assert reason is not None
        assert "tweets-0 has made no progress for 61 s" in reason
        assert "; tweets-1 has made no progress for 61 s" in reason

    def test_commit_is_progress(self) -> None:
        watched = Watched(ONE)
        for offset in range(1, 10):
            assert watched.after(50, {ONE: 1000}) is None
            watched.commit(tweets_0=offset)

    def test_commit_of_another_partition_is_not_progress(self) -> None:
        watched = Watched(ONE, TWO)
        for offset in 1, 2:
            watched.after(31, {ONE: 5, TWO: 5})
            watched.commit(tweets_1=offset)
        reason = watched.health.reason()
        assert reason is not None
        assert "tweets-0" in reason
        assert "tweets-1" not in reason

    def test_commit_without_advance_is_not_progress(self) -> None:
        watched = Watched(ONE)
        watched.commit(tweets_0=5)
        assert watched.after(31, {ONE: 5}) is None
        watched.commit(tweets_0=5)
        assert watched.after(31, {ONE: 5})

    def test_abort_is_not_progress_and_its_reason_is_reported(self) -> None:
        watched = Watched(ONE)
        for _ in range(6):
            assert watched.after(10, {ONE: 5}) is None
            watched.health.aborted("the coordinator\nhas moved")
        reason = watched.after(1, {ONE: 5})
        assert reason is not None
        assert reason.endswith("; the last transaction was aborted: the coordinator has moved")

    def test_idle_is_healthy_forever(self) -> None:
        watched = Watched(ONE)
        assert all(watched.after(50, {ONE: 0}) is None for _ in range(100))
        assert watched.after(50, {ONE: 1}) is None  # the time counts from when there was something
        assert watched.after(11, {ONE: 1})

    def test_no_partitions_is_healthy_forever(self) -> None:
        watched = Watched(ONE)
        watched.health.rebalanced("revoked", [ONE], [])
        assert all(watched.after(50, {}) is None for _ in range(10))

    def test_unknown_offsets_are_unhealthy(self) -> None:
        assert Watched(ONE, TWO).after(61, {TWO: 0}) == (
            "tweets-0 has made no progress for 61 s, since 2023-11-14T22:13:34Z, and its lag is unknown"
        )

    @pytest.mark.parametrize("kind", ["revoked", "lost"])
    def test_reassignment_is_not_progress(self, kind: Any) -> None:
        watched = Watched(ONE)
        for _ in range(3):
            assert watched.after(19, {ONE: 5}) is None
            watched.health.rebalanced(kind, [ONE], [])
            watched.clock.now += 1
            watched.health.rebalanced("assigned", [ONE], [ONE])
        assert watched.after(1, {ONE: 5})

    def test_returning_partition_starts_over(self) -> None:
        watched = Watched(ONE)
        watched.health.rebalanced("revoked", [ONE], [])
        watched.clock.now += 61
        watched.health.rebalanced("assigned", [ONE], [ONE])
        assert watched.after(60, {ONE: 5}) is None
        assert watched.after(1, {ONE: 5})

    def test_rows_may_wait_for_the_end_of_their_file(self) -> None:
        watched = Watched(ONE, hold=300)
        assert all(watched.after(60, {ONE: 5}) is None for _ in range(6))
        assert watched.after(1, {ONE: 5})

    def test_silent_loop_is_stuck_with_all_partitions(self) -> None:
        watched = Watched(TWO, ONE, hold=300)
        watched.clock.now += 75
        assert watched.health.reason() == (
            "the consume loop has not reported for 75 s, since 2023-11-14T22:13:20Z; "
            "its partitions: tweets-0, tweets-1"
        )
        assert watched.after(0, {ONE: 0, TWO: 0}) is None

    def test_joining_may_take_a_while(self) -> None:
        watched = Watched()
        watched.clock.now += 10_000
        assert watched.health.reason() is None

    def test_ready_once_joined_even_without_partitions(self) -> None:
        health = Health()
        assert health.waiting() == "has not joined the consumer group yet"
        health.lags({})
        assert health.waiting()
        health.rebalanced("assigned", [], [])
        assert health.waiting() is None


# Against a real broker


class Case:
    """A monitored run with its own clock."""

    def __init__(self, run: Callable[[Health], Run]) -> None:
        self.clock = Clock()
        self.health = Health(300, clock=self.clock)
        self.run = run(self.health)

    def later(self) -> None:
        """Let more than the limit pass, and wait until the loop has reported since."""
        self.clock.now += 301
        seen = len(self.run.seen.lag)
        self.run.until(lambda: len(self.run.seen.lag) >= seen + 2, "two reports")


@pytest.fixture(name="watch")
def _watch(kafka: Any, bundle: Path) -> Iterator[Callable[..., Case]]:
    """Starts a monitored run, which ends with the test."""
    cases: list[Case] = []

    def start(topic: str, *, given: Mapping[str, Any] | None = None, **more: Any) -> Case:
        run = {name: more.pop(name) for name in ("client", "before_scoring", "intercept") if name in more}
        options = Options([topic], **({"group": f"{topic}-group"} | more))
        configured = settings(kafka.bootstrap, **(given or {}))
        cases.append(Case(lambda health: Run(options, configured, model=bundle, observer=health, **run)))
        return cases[-1]

    yield start
    for case in cases:
        case.run.ask()
    for case in cases:
        case.run.__exit__(None, None, None)


class UnresponsiveConsumer:
    """A consumer that receives nothing from one partition, as if its leader did not answer."""

    def __init__(self, inner: Any, partition: Partition) -> None:
        self._inner, self._partition = inner, partition

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def poll(self, seconds: float, limit: int) -> Any:
        found = self._inner.poll(seconds, limit)
        return [one for one in found if (one.topic, one.partition) != self._partition]

    def positions(self) -> dict[Partition, int]:
        return {one: at for one, at in self._inner.positions().items() if one != self._partition}


def unresponsive_for(partition: Partition) -> Callable[[Consumption], Consumption]:
    class InterceptingClient:
        def __init__(self, client: Client) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def consumer(self, group: str, **options: Any) -> Any:
            return UnresponsiveConsumer(self._client.consumer(group, **options), partition)

    return lambda consumption: replace(consumption, client=InterceptingClient(consumption.client))  # type: ignore[arg-type]


def test_one_stuck_partition_among_healthy_ones(kafka: Any, topic: Any, watch: Any, client: str) -> None:
    name = topic(3)
    stuck = Partition(name, 1)
    fill_tweets(kafka.bootstrap, name, range(10), partition=1)
    case = watch(name, client=client, intercept=unresponsive_for(stuck))
    case.run.joined(3)
    fill_tweets(kafka.bootstrap, name, range(10, 30), partition=0)
    case.run.until(lambda: case.run.seen.records >= 20)
    assert case.health.reason() is None
    case.later()
    reason = case.health.reason()
    assert reason is not None
    assert reason.startswith(f"{name}-1 has made no progress for 301 s")
    assert reason.endswith("and is 10 records behind the end")


def test_endless_aborts_are_unhealthy(
    kafka: Any, topic: Any, watch: Any, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentstream.kafka.consume.loop._MOST_STALE", 10**9)
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(5), partition=0)
    stale = FailsAtFirst(StaleGenerationError("for a test"), 10**9)
    case = watch(name, client=client, intercept=intercepting(producer={"commit": stale}))
    case.run.until(lambda: len(case.run.seen.reasons) >= 2, "two aborts")
    assert case.health.reason() is None
    case.later()
    reason = case.health.reason()
    assert reason is not None
    assert f"{name}-0 has made no progress for 301 s" in reason
    assert f"{name}-1" not in reason
    assert reason.endswith("; the last transaction was aborted: for a test")
    stale.left = 0
    case.run.until(lambda: case.run.seen.records == 5)
    assert case.health.reason() is None


def test_idle_partitions_with_trailing_markers_are_healthy(
    kafka: Any, topic: Any, watch: Any, client: str
) -> None:
    name, go = topic(3), threading.Event()
    producer = open_client("kafka-python", settings(kafka.bootstrap)).producer(new_name())
    producer.begin()
    assert producer.send([Outgoing(name, b"k", b'{"text":"a"}', partition=0) for _ in range(5)]) == []
    producer.commit()
    producer.close()
    fill_tweets(kafka.bootstrap, name, range(2000), partition=1)
    given = {"max.partition.fetch.bytes": 1000}  # else all of the one come before anything of the other
    case = watch(name, client=client, max_batch=5, before_scoring=lambda: go.wait(0.05), given=given)
    lag = case.run.seen.lag
    case.run.until(
        lambda: lag and lag[-1].get(Partition(name, 0)) == 0 and lag[-1].get(Partition(name, 1), 0) > 0,
        "nothing is left of the one, and something of the other",
    )
    case.later()
    assert case.health.reason() is None
    go.set()
    case.run.until(lambda: case.run.seen.records == 2005)
    for _ in range(2):
        case.later()
        assert case.health.reason() is None


def test_instance_without_partitions_is_ready_and_healthy(
    kafka: Any, topic: Any, watch: Any, client: str
) -> None:
    name = topic(1)
    cases = [watch(name, client=client) for _ in range(2)]
    wait_until(lambda: any(case.run.seen.owned for case in cases))
    for case in cases:
        case.run.until(lambda case=case: len(case.run.seen.lag) >= 2)  # type: ignore[misc]
        case.run.until(lambda case=case: case.health.waiting() is None, "it is ready")  # type: ignore[misc]
    for case in cases:
        case.later()
        assert case.health.reason() is None
