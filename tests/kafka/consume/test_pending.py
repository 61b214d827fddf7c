"""``consume`` in a group whose offsets a broker has left pending: see ``kafka.clients.ending``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka_logs import await_end, lose_markers
from kafka_runs import Run, counted, exactly_once, fill_tweets, intercepting, settings

from sentstream.kafka.clients.api import StaleGenerationError
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.consume.run import Options
from tools.local_kafka import LocalKafka

pytestmark = pytest.mark.slow


@pytest.fixture(name="start")
def _start(local_kafka: LocalKafka, bundle: Path, client: str) -> Iterator[Callable[..., Run]]:
    """Starts an instance of a topic's group, which ends with the test."""
    runs: list[Run] = []

    def start(
        topic: str,
        instance: str = "one",
        intercept: Callable[..., Any] = lambda same: same,
        session_timeout_ms: int = 2000,  # so that what takes some sessions does not take long
        **more: Any,
    ) -> Run:
        runs.append(
            Run(
                Options([topic], group=f"{topic}-group", instance=instance, max_batch=30, **more),
                settings(local_kafka.bootstrap, session_timeout_ms=session_timeout_ms),
                client=client,
                model=bundle,
                intercept=intercept,
            )
        )
        return runs[-1]

    yield start
    for run in runs:
        run.__exit__(None, None, None)


def transactional_id(topic: str, instance: str = "one") -> str:
    """That of an instance."""
    return f"{topic}-group-{instance}"


def lose(kafka: LocalKafka, topic: str, *instances: str) -> None:
    """Have the broker forget what it reported of the last transactions."""
    lose_markers(kafka, [transactional_id(topic, one) for one in instances], [f"{topic}.scored"])


def test_restarted_instance_continues(local_kafka: LocalKafka, topic: Any, start: Callable[..., Run]) -> None:
    name = topic(2)
    fill_tweets(local_kafka.bootstrap, name, range(100))
    assert start(name, until_end=True).ended().records == 100
    lose(local_kafka, name, "one")
    fill_tweets(local_kafka.bootstrap, name, range(100, 140))
    again = start(name, until_end=True).ended()
    assert again.records == 40  # none of those before
    assert counted(local_kafka.bootstrap, f"{name}.scored") == exactly_once(140)


@pytest.mark.parametrize("results", ["results known", "results pending"])
def test_abort_of_the_next_transaction_does_not_drop_pending_offsets(
    local_kafka: LocalKafka, topic: Any, start: Callable[..., Run], results: str
) -> None:
    """The broker dies after the first commit, and the second fails: only the second batch is read again."""
    name = topic(2)
    fill_tweets(local_kafka.bootstrap, name, range(100))

    def lose_once() -> None:
        if run.seen.records and not lost:
            lost.append(run.seen.records)
            changed = [f"{name}.scored"] if results == "results pending" else []
            lose_markers(local_kafka, [transactional_id(name)], changed)

    def fail() -> None:
        if lost and not failed:
            failed.append(True)
            raise StaleGenerationError("the group has rebalanced")

    lost: list[int] = []
    failed: list[bool] = []
    hooks = intercepting(consumer={"poll": lose_once}, producer={"commit": fail})
    run = start(name, until_end=True, intercept=hooks, session_timeout_ms=45_000)
    run.ended()
    assert failed
    assert 0 < lost[0] < 100
    assert counted(local_kafka.bootstrap, f"{name}.scored") == exactly_once(100)


def test_owner_ends_the_transaction_others_wait_for(
    local_kafka: LocalKafka, topic: Any, start: Callable[..., Run]
) -> None:
    name = topic()
    fill_tweets(local_kafka.bootstrap, name, range(100))
    start(name, until_end=True).ended()
    lose(local_kafka, name, "one")
    fill_tweets(local_kafka.bootstrap, name, range(100, 140))
    other = start(name, "two")
    other.until(lambda: other.seen.reasons, "it waits")
    assert other.seen.records == 0
    one = start(name, "one")
    other.until(lambda: other.seen.records + one.seen.records == 40, "all are committed")
    for run in other, one:
        run.stop()
    assert counted(local_kafka.bootstrap, f"{name}.scored") == exactly_once(140)


def test_undecidable_transaction_is_reported_to_the_operator(
    local_kafka: LocalKafka, topic: Any, start: Callable[..., Run], client: Any
) -> None:
    name = topic(2)
    fill_tweets(local_kafka.bootstrap, name, range(100))
    start(name, until_end=True).ended()
    lose(local_kafka, name, "one")
    # With each of them the coordinator forgets.
    for _ in range(2):
        open_client(client, settings(local_kafka.bootstrap)).producer(transactional_id(name)).close()
        await_end(local_kafka.bootstrap, transactional_id(name))
    run = start(name)
    run.until(lambda: any("nothing ends it" in line for line in run.warnings), "it says so")
    assert run.seen.records == 0
    run.stop()
