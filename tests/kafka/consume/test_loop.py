"""The consume loop under rebalances, aborts, slow models and moving offsets, against a real broker.

Each test ends by counting each number, as a reader of committed records sees it: none missing, none twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka_runs import (
    FailsAtFirst,
    Run,
    counted,
    exactly_once,
    fill_tweets,
    intercepting,
    settings,
    wait_until,
)
from kafka_tools import committed, fill, make_topic, new_name

from sentstream.errors import BrokerUnreachableError, FencedError, KafkaError, TopicNotFoundError
from sentstream.kafka.clients.api import (
    Outgoing,
    Partition,
    Producer,
    StaleGenerationError,
    UnacknowledgedError,
)
from sentstream.kafka.clients.kafka_python.consumer import stored
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.consume.run import Consumption, Options


@pytest.fixture(name="start")
def _start(kafka: Any, bundle: Path) -> Iterator[Callable[..., Run]]:
    """Starts a run, which ends with the test."""
    runs: list[Run] = []

    def start(*topics: str, given: dict[str, Any] | None = None, **more: Any) -> Run:
        run = {name: more.pop(name) for name in ("client", "before_scoring", "intercept") if name in more}
        options = {"group": f"{topics[0]}-group"} | more
        runs.append(
            Run(Options(topics, **options), settings(kafka.bootstrap, **(given or {})), model=bundle, **run)
        )
        return runs[-1]

    yield start
    for run in runs:
        run.ask()
    for run in runs:
        run.__exit__(None, None, None)


class Slow:
    """Takes so many seconds before each batch is scored, until ``seconds`` is set to less."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        until = time.monotonic() + self.seconds
        while self.seconds and time.monotonic() < until:
            time.sleep(0.02)


def all_committed(bootstrap: str, topic: str, count: int) -> Callable[[], bool]:
    """Whether the group has committed ``count`` records of a topic without transactions."""
    return lambda: sum(committed(bootstrap, f"{topic}-group", topic).values()) == count


# Aborts


@pytest.mark.parametrize("verb", ["begin", "send", "add_offsets", "commit"])
def test_records_are_reread_after_an_abort(
    kafka: Any, topic: Any, start: Any, client: str, verb: str
) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(200))
    stale = FailsAtFirst(StaleGenerationError("for a test"), 3)
    intercept = intercepting(producer={verb: stale})
    seen = start(name, client=client, until_end=True, max_batch=30, intercept=intercept).ended()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(200)
    assert (seen.records, seen.reasons) == (200, ["for a test"] * 3)
    assert stale.left == 0


class Pending:
    """Offsets that stay pending from the ``nth`` call of a method on, which fails."""

    def __init__(self, nth: int) -> None:
        self._left = nth
        self.now = threading.Event()

    def fail(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.now.set()
            raise StaleGenerationError("for a test")

    def committed(self) -> None:
        if self.now.is_set():
            raise StaleGenerationError("a transaction on the group's offsets is pending")


def test_unended_offsets_do_not_block_a_sink_that_knows_its_commits(
    kafka: Any, topic: Any, start: Any, client: str
) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(200))
    pending = Pending(3)
    intercept = intercepting(producer={"send": pending.fail}, consumer={"committed": pending.committed})
    run = start(name, client=client, max_batch=30, intercept=intercept)
    run.until(lambda: run.seen.records == 200, "all are committed")
    run.stop()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(200)
    assert any("continuing from what this instance has committed" in line for line in run.warnings)


def test_unknown_commit_waits_for_the_offsets(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(200))
    pending = Pending(2)
    intercept = intercepting(producer={"commit": pending.fail}, consumer={"committed": pending.committed})
    run = start(name, client=client, max_batch=30, intercept=intercept)
    run.until(lambda: len(run.seen.reasons) >= 1, "it has tried")
    before = run.seen.records
    time.sleep(5)  # longer than it waits before it would go on
    assert run.seen.records == before
    assert not any("continuing from" in line for line in run.warnings)
    pending.now.clear()
    run.until(lambda: run.seen.records == 200, "all are committed")
    run.stop()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(200)


@pytest.mark.slow
def test_timed_out_transaction_is_repeated(kafka: Any, topic: Any, start: Any) -> None:
    """The broker looks for such transactions every ten seconds."""
    name, target = topic(), topic()
    fill_tweets(kafka.bootstrap, name, range(50))
    first = Partition(target, 0)
    admin = open_client("kafka-python", settings(kafka.bootstrap)).admin()
    waits = [lambda: wait_until(lambda: admin.end_offsets([first])[first] > 0, "the coordinator's abort")]
    intercept = intercepting(producer={"add_offsets": lambda: waits.pop()() if waits else None})
    seen = start(
        name, to_topic=target, until_end=True, given={"transaction.timeout.ms": 1000}, intercept=intercept
    ).ended()
    admin.close()
    assert counted(kafka.bootstrap, target) == exactly_once(50)
    assert len(seen.reasons) == 1


def test_stale_at_least_once_commit_loses_nothing(kafka: Any, topic: Any, start: Any) -> None:
    name = topic()
    fill_tweets(kafka.bootstrap, name, range(50))
    calls: list[int] = []

    def second() -> None:  # the first is that of the start
        calls.append(1)
        if len(calls) == 2:
            raise StaleGenerationError("for a test")

    intercept = intercepting(consumer={"commit": second})
    seen = start(name, guarantee="at-least-once", until_end=True, intercept=intercept).ended()
    assert seen.reasons == ["for a test"]
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(50) + exactly_once(50)


def test_endless_aborts_are_an_error(kafka: Any, topic: Any, start: Any) -> None:
    name = topic()
    fill_tweets(kafka.bootstrap, name, range(5))
    stale = FailsAtFirst(StaleGenerationError("for a test"), 1000)
    run = start(name, intercept=intercepting(producer={"begin": stale}))
    with pytest.raises(KafkaError, match="100 transactions in a row were aborted; the last: for a test"):
        run.ended()
    assert committed(kafka.bootstrap, f"{name}-group", name) in ({}, {0: 0})


# Rebalances


def test_joining_member_waits_for_a_slow_batch(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name, slow = topic(4), Slow(1.5)
    fill_tweets(kafka.bootstrap, name, range(400))
    one = start(name, client=client, before_scoring=slow)
    one.until(slow.begun.is_set)
    two = start(name, client=client)
    two.joined(2)
    slow.seconds = 0.0
    fill_tweets(kafka.bootstrap, name, range(400, 500))
    wait_until(all_committed(kafka.bootstrap, name, 500), "committed")
    assert one.stop().reasons == []  # what was under way was finished
    two.stop()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(500)
    assert ("revoked" in one.seen.kinds(), "lost" in one.seen.kinds()) == (True, False)
    assert one.seen.records + two.seen.records == 500


def test_joining_member_does_not_wait_forever(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name, slow = topic(4), Slow(3600)
    fill_tweets(kafka.bootstrap, name, range(400))
    one = start(name, client=client, before_scoring=slow)
    one.until(slow.begun.is_set)
    two = start(name, client=client)
    two.joined(2)  # the budget is half of the session timeout
    assert one.seen.reasons == ["scoring took longer than the rebalance timeout"]
    slow.seconds = 0.0
    wait_until(all_committed(kafka.bootstrap, name, 400), "committed")
    one.stop()
    two.stop()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(400)


@pytest.mark.parametrize("slowness", [0.0, 4.0])
def test_rebalances_under_load_lose_and_duplicate_nothing(
    kafka: Any, topic: Any, start: Any, client: str, slowness: float
) -> None:
    """Slow or fast: 4 s are more than a rebalance waits."""
    name, total = topic(6), 1500
    slow = Slow(slowness)
    feeding = threading.Thread(
        target=lambda: [
            (fill_tweets(kafka.bootstrap, name, range(begin, begin + 100)), time.sleep(0.2))
            for begin in range(0, total, 100)
        ]
    )
    feeding.start()
    runs = [start(name, client=client, max_batch=20, before_scoring=slow)]
    runs[0].joined(6)
    for _ in range(2):
        runs += [start(name, client=client, max_batch=20, before_scoring=slow) for _ in range(2)]
        for run in runs[-2:]:
            run.joined()
        for run in runs[-3:-1]:
            run.ask()
        for run in runs[-3:-1]:
            run.ended()
    slow.seconds = 0.0
    feeding.join()
    wait_until(all_committed(kafka.bootstrap, name, total), "committed")
    runs[-1].stop()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(total)
    assert sum(run.seen.records for run in runs) == total
    assert sum("revoked" in run.seen.kinds() for run in runs) >= 1


def test_successor_ends_the_transaction_of_its_predecessor(
    kafka: Any, topic: Any, start: Any, client: str
) -> None:
    name, held, go = topic(), threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert go.wait(60)

    fill_tweets(kafka.bootstrap, name, range(50))
    options = {"client": client, "instance": "pod-0"}
    old = start(name, intercept=intercepting(producer={"add_offsets": hold}), **options)
    old.until(held.is_set)
    new = start(name, until_end=True, **options)
    assert new.ended().records == 50
    go.set()
    with pytest.raises(FencedError):
        old.ended()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(50)
    assert old.seen.records == 0


# A slow model


def test_slow_model_stays_in_the_group(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name, slow = topic(2), Slow(5.0)
    fill_tweets(kafka.bootstrap, name, range(60))
    interval = {"max.poll.interval.ms": 3000, "session.timeout.ms": 2000}
    seen = start(name, client=client, before_scoring=slow, given=interval, max_messages=60).ended()
    assert seen.kinds() == ["assigned"]
    assert (seen.records, seen.reasons) == (60, [])
    assert len(seen.lag) >= 4  # it went on reporting
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(60)


def test_stop_finishes_scored_batches(kafka: Any, topic: Any, start: Any) -> None:
    name, slow = topic(), Slow(1.5)
    fill_tweets(kafka.bootstrap, name, range(100))
    run = start(name, before_scoring=slow, max_batch=10)
    run.until(slow.begun.is_set)
    done = run.stop().records
    assert 10 <= done <= 40
    assert committed(kafka.bootstrap, f"{name}-group", name) == {0: done}
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(done)


def test_stop_with_unacknowledged_commit_delivers_nothing_twice(
    kafka: Any, topic: Any, start: Any, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker has committed, but its answer was lost."""
    name = topic()
    fill_tweets(kafka.bootstrap, name, range(100))
    runs: list[Run] = []

    def intercept(consumption: Consumption) -> Consumption:
        opened = consumption.client.producer

        def producer(transactional_id: str | None) -> Producer:
            inner = opened(transactional_id)
            commit = inner.commit

            def lose() -> None:
                commit()
                monkeypatch.setattr(inner, "commit", commit)
                wait_until(lambda: runs)
                runs[0].ask()
                raise UnacknowledgedError("for a test")

            monkeypatch.setattr(inner, "commit", lose)
            return inner

        monkeypatch.setattr(consumption.client, "producer", producer)
        return consumption

    runs.append(start(name, client=client, max_batch=10, intercept=intercept))
    with suppress(BrokerUnreachableError):
        runs[0].ended()
    assert committed(kafka.bootstrap, f"{name}-group", name) == {0: 10}
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(10)
    start(name, client=client, until_end=True).ended()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(100)


# Where to start


def test_start_at_earliest_latest_and_time(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name = topic()
    fill(
        kafka.bootstrap,
        name,
        [(b"k", b'{"id":%d,"text":"a"}' % number, (), 1000 * number) for number in range(10)],
    )
    for where, first in ("earliest", 0), ("latest", 10), (4000, 4), (3001, 4), (1 << 40, 10):
        target = new_name()
        options = {"client": client, "until_end": True, "group": new_name(), "to_topic": target}
        seen = start(name, start=where, dead_letter_topic=f"{name}.dlq", **options).ended()
        assert seen.records == 10 - first, where
        assert sorted(counted(kafka.bootstrap, target)) == list(range(first, 10))


def test_latest_is_kept_without_commits(kafka: Any, topic: Any, start: Any) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(10))
    start(name, start="latest").joined(2).stop()
    fill_tweets(kafka.bootstrap, name, range(10, 30))
    assert start(name, start="latest", until_end=True).ended().records == 20
    assert sorted(counted(kafka.bootstrap, f"{name}.scored")) == list(range(10, 30))


def test_added_partitions_are_read_from_the_beginning(
    kafka: Any, topic: Any, start: Any, client: str
) -> None:
    name = topic(1)
    run = start(name, client=client, start="latest", given={"metadata.max.age.ms": 500})
    run.joined()
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        admin.create_partitions({name: 3})
        admin.wait_for_topics([name])
    wait_until(lambda: len(_partitions(kafka.bootstrap, name)) == 3)
    fill_tweets(kafka.bootstrap, name, range(60))
    run.until(lambda: run.seen.records == 60, "60 records")
    run.stop()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(60)


@pytest.mark.parametrize("where", ["latest", 1 << 41], ids=["latest", "a moment"])
def test_partition_added_while_stopped_is_read_from_the_beginning(
    kafka: Any, topic: Any, start: Any, client: str, where: Any
) -> None:
    name, other = topic(1), topic(2)
    fill_tweets(kafka.bootstrap, name, range(100, 110))
    fill_tweets(kafka.bootstrap, other, range(200, 210))
    options = {"client": client, "start": where, "until_end": True, "group": f"{name}-group"}
    assert start(name, **options).ended().records == 0
    fill_tweets(kafka.bootstrap, name, range(3))
    assert start(name, **options).ended().records == 3
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        admin.create_partitions({name: 2})
        admin.wait_for_topics([name])
    wait_until(lambda: len(_partitions(kafka.bootstrap, name)) == 2)
    fill_tweets(kafka.bootstrap, name, range(3, 10), partition=1)
    # A topic that the group has never read is begun where it is told.
    together = {**options, "to_topic": f"{name}.scored", "dead_letter_topic": f"{name}.dlq"}
    assert start(name, other, **together).ended().records == 7
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(10)
    assert committed(kafka.bootstrap, f"{name}-group", other).keys() == {0, 1}


def test_latest_with_one_uncommitted_partition(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name = topic(3)
    for number in range(3):
        fill_tweets(kafka.bootstrap, name, range(10 * number, 10 * number + 10), partition=number)
    consumer = open_client("kafka-python", settings(kafka.bootstrap)).consumer(
        f"{name}-group", instance=None, limit=1
    )
    try:
        consumer._consumer.commit(stored({Partition(name, 0): 10, Partition(name, 2): 10}, {}))  # type: ignore[attr-defined]
    finally:
        consumer.close()
    assert start(name, client=client, start="latest", until_end=True).ended().records == 10
    assert sorted(counted(kafka.bootstrap, f"{name}.scored")) == list(range(10, 20))


def test_two_instances_of_a_new_group_start_at_latest(
    kafka: Any, topic: Any, start: Any, client: str
) -> None:
    name = topic(4)
    for number in range(4):
        fill_tweets(kafka.bootstrap, name, range(100, 110), partition=number)
    runs = [start(name, client=client, start="latest") for _ in range(2)]
    wait_until(lambda: sum(len(run.seen.owned) for run in runs) == 4 and all(run.seen.owned for run in runs))
    for number in range(4):
        fill_tweets(kafka.bootstrap, name, range(5 * number, 5 * number + 5), partition=number)
    wait_until(lambda: sum(run.seen.records for run in runs) >= 20)
    for run in runs:
        run.stop()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(20)


def _partitions(bootstrap: str, topic: str) -> set[int]:
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    try:
        return set(producer.partitions_for(topic))
    finally:
        producer.close()


def test_recreated_topic_is_an_error(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name = topic()
    fill_tweets(kafka.bootstrap, name, range(20))
    start(name, client=client, until_end=True).ended()
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        admin.alter_group_offsets(f"{name}-group", {TopicPartition(name, 0): _at(500)})
    with pytest.raises(
        KafkaError, match=f"{name}-0 ends at offset 20, but the group has committed 500"
    ) as caught:
        start(name, client=client).ended()
    assert caught.value.exit_code == 70
    assert "--group" in str(caught.value)


def _at(offset: int) -> Any:
    from kafka.structs import OffsetAndMetadata

    return OffsetAndMetadata(offset, "", -1)


def test_deleted_unread_records_give_a_warning(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name = topic()
    fill_tweets(kafka.bootstrap, name, range(10))
    start(name, client=client, until_end=True).ended()
    fill_tweets(kafka.bootstrap, name, range(10, 30))
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        admin.delete_records({TopicPartition(name, 0): 25})
    run = start(name, client=client, until_end=True)
    assert run.ended().records == 5
    assert run.warnings == [
        f"{name}-0: offsets 10 to 24 were deleted before they were read (raise the topic's retention)"
    ]
    assert sorted(counted(kafka.bootstrap, f"{name}.scored")) == [*range(10), *range(25, 30)]


@pytest.mark.parametrize("when", ["at the start", "in the middle"])
def test_retention_overtaking_the_position_gives_a_warning(
    kafka: Any, topic: Any, start: Any, client: str, when: str
) -> None:
    """The records are deleted between lookup and fetch; the other partition does not wait."""
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(40), partition=0)

    def delete() -> None:
        with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
            admin.delete_records({TopicPartition(name, 0): 25})
        fill_tweets(kafka.bootstrap, name, range(40, 80), partition=1)

    seeks = [delete] if when == "at the start" else [lambda: None, delete]  # the second reads again
    intercept = intercepting(
        consumer={"seek": lambda: seeks.pop(0)() if seeks else None},
        producer={} if when == "at the start" else {"send": FailsAtFirst(StaleGenerationError("for a test"))},
    )
    run = start(name, client=client, max_batch=10, intercept=intercept)
    run.until(lambda: run.seen.records == 55, "55 records")
    run.stop()
    assert run.warnings[2:] == [
        f"{name}-0: offsets 0 to 24 were deleted before they were read (raise the topic's retention)"
    ]
    assert sorted(counted(kafka.bootstrap, f"{name}.scored")) == [*range(25, 40), *range(40, 80)]


# When to end


def test_two_members_end_together_at_the_end(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name = topic(4)
    fill_tweets(kafka.bootstrap, name, range(500))
    runs = [start(name, client=client, until_end=True, max_batch=50) for _ in range(2)]
    for run in runs:
        run.ended()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(500)
    assert sum(run.seen.records for run in runs) == 500


@pytest.mark.parametrize("partitions", [1, 3])
def test_empty_topic_is_at_its_end(topic: Any, start: Any, partitions: int) -> None:
    assert start(topic(partitions), until_end=True).ended().records == 0


# Lag


def test_lag_matches_the_admin_client_and_returns_to_0(
    kafka: Any, topic: Any, start: Any, client: str
) -> None:
    """For a topic that ends with transaction markers, which are never delivered."""
    name, slow = topic(2), Slow(1.5)
    admin = open_client("kafka-python", settings(kafka.bootstrap)).admin()
    producer = open_client("kafka-python", settings(kafka.bootstrap)).producer(new_name())
    for end in producer.commit, producer.commit, producer.abort:
        producer.begin()
        assert (
            producer.send([Outgoing(name, b"k", b'{"text":"a"}', partition=index % 2) for index in range(20)])
            == []
        )
        end()
    producer.close()
    both = [Partition(name, 0), Partition(name, 1)]
    wait_until(lambda: admin.end_offsets(both) == {both[0]: 33, both[1]: 33})
    run = start(name, client=client, before_scoring=slow)
    run.until(lambda: {both[0]: 33, both[1]: 33} in run.seen.lag, "the whole lag")
    slow.seconds = 0.0
    run.until(lambda: run.seen.lag[-1] == {both[0]: 0, both[1]: 0}, "no lag")
    group = admin.committed(f"{name}-group", both)
    assert group == admin.end_offsets(both)
    run.stop()
    assert run.seen.records == 40
    # The next run has nothing to do, though records cannot tell it so.
    assert start(name, client=client, until_end=True).ended().records == 0
    admin.close()


def test_unavailable_lag_stops_nothing(kafka: Any, topic: Any, start: Any, client: str) -> None:
    """The client's own codes say that there is no such partition, when it has only lost sight of it."""
    name = topic()
    fill_tweets(kafka.bootstrap, name, range(20))
    asked: list[int] = []

    def fail() -> None:
        asked.append(1)
        if len(asked) > 1:  # the first is that of the start
            raise TopicNotFoundError("for a test")

    run = start(name, client=client, intercept=intercepting(consumer={"end_offsets": fail})).joined()
    run.until(lambda: len(asked) > 2, "lags were asked for")
    fill_tweets(kafka.bootstrap, name, range(20, 40))
    run.until(lambda: run.seen.records == 40, "all is committed")
    run.stop()


def test_pending_transaction_is_neither_lag_nor_read(kafka: Any, topic: Any, start: Any) -> None:
    name = topic()
    producer = open_client("kafka-python", settings(kafka.bootstrap)).producer(new_name())
    fill_tweets(kafka.bootstrap, name, range(5))
    producer.begin()
    producer.send([Outgoing(name, None, b'{"id":5,"text":"pending"}')])
    run = start(name)
    run.until(lambda: run.seen.records == 5 and run.seen.lag and run.seen.lag[-1] == {Partition(name, 0): 0})
    producer.commit()
    run.until(lambda: run.seen.records == 6)
    run.stop()
    producer.close()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(6)


def test_only_committed_results_of_other_runs_are_read(kafka: Any, start: Any, client: str) -> None:
    """The results of one run are the source of the next, aborted transactions in between."""
    name = make_topic(kafka.bootstrap, 2)
    fill_tweets(kafka.bootstrap, name, range(100))
    stale = FailsAtFirst(StaleGenerationError("for a test"), 3)
    start(
        name, client=client, until_end=True, max_batch=20, intercept=intercepting(producer={"commit": stale})
    ).ended()
    again = start(f"{name}.scored", client=client, until_end=True, prefix="again").ended()
    assert again.records == 100
    assert counted(kafka.bootstrap, f"{name}.scored.scored") == exactly_once(100)
    assert again.lag[-1] == {Partition(f"{name}.scored", 0): 0, Partition(f"{name}.scored", 1): 0}
