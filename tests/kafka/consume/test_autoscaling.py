"""What an autoscaler sees from outside: a group's lag is 0 soon after the last message.

A topic that is written in transactions ends with their markers, which have offsets but are never delivered. A
consumer that commits only what it has read stays one behind forever, and KEDA keeps an instance for it
(https://github.com/kedacore/keda/issues/5675).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka_runs import Run, counted, exactly_once, settings, tweet
from kafka_tools import DIRECT, committed, new_name
from processes import wait_until

from sentstream.kafka.clients.api import Outgoing, Partition
from sentstream.kafka.clients.kafka_python.consumer import stored
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.consume.run import Options
from sentstream.kafka.sinks.dataset import Rolling
from tools.fetched import Unavailable
from tools.local_kafka import consumer_groups

PARTITIONS = 4
pytestmark = pytest.mark.slow


def write(bootstrap: str, topic: str, numbers: range, end: str = "commit") -> None:
    """Write numbered tweets to all partitions in one transaction, and end it."""
    producer = open_client("kafka-python", settings(bootstrap)).producer(new_name())
    producer.begin()
    messages = [
        Outgoing(
            topic,
            None,
            f'{{"id": {number}, "text": "{tweet(number)}"}}'.encode(),
            partition=number % PARTITIONS,
        )
        for number in numbers
    ]
    assert producer.send(messages) == []
    getattr(producer, end)()
    producer.close()


def keda_lag(bootstrap: str, group: str, topic: str) -> int:
    """What KEDA's scaler ``kafka`` computes, with ``offsetResetPolicy: earliest``.

    As ``getLagForPartition`` of KEDA 2.21: for each partition, the high watermark (sarama asks without an
    isolation level) minus the committed offset; where nothing is committed, minus the first offset.
    """
    done = committed(bootstrap, group, topic)
    with KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_uncommitted", **DIRECT) as consumer:
        every = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        latest, earliest = consumer.end_offsets(every), consumer.beginning_offsets(every)
    return sum(latest[one] - done.get(one.partition, earliest[one]) for one in every)


def described(bootstrap: str, group: str, topic: str) -> dict[int, tuple[int, int, int]]:
    """What ``kafka-consumer-groups --describe`` shows of each partition: current and end offset, lag."""
    try:
        shown = consumer_groups(bootstrap, "--describe", "--group", group)
    except Unavailable as error:  # a broker that somebody else runs needs no Java here
        pytest.skip(f"no kafka-consumer-groups: {error}")
    lines = [line.split() for line in shown.splitlines()]
    (head,) = (line for line in lines if line[:3] == ["GROUP", "TOPIC", "PARTITION"])
    rows = [dict(zip(head, line, strict=False)) for line in lines if line[:2] == [group, topic]]
    return {
        int(row["PARTITION"]): (int(row["CURRENT-OFFSET"]), int(row["LOG-END-OFFSET"]), int(row["LAG"]))
        for row in rows
    }


@pytest.fixture(name="start")
def _start(kafka: Any, bundle: Path) -> Iterator[Callable[..., Run]]:
    """Starts a run, which ends with the test."""
    runs: list[Run] = []

    def start(topic: str, client: str, **options: Any) -> Run:
        chosen = Options([topic], group=f"{topic}-group", **options)
        runs.append(Run(chosen, settings(kafka.bootstrap), client=client, model=bundle))
        return runs[-1]

    yield start
    for run in runs:
        run.__exit__(None, None, None)


def test_keda_lag_returns_to_0_with_trailing_markers(kafka: Any, topic: Any, start: Any, client: str) -> None:
    name = topic(PARTITIONS)
    group, results = f"{name}-group", f"{name}.scored"
    write(kafka.bootstrap, name, range(40))
    # It starts the first instance. Markers come a moment after a transaction's end is acknowledged.
    wait_until(lambda: keda_lag(kafka.bootstrap, group, name) == 40 + PARTITIONS, "records and markers")
    run = start(name, client)
    run.until(lambda: keda_lag(kafka.bootstrap, group, name) == 0, "the lag is 0")
    assert run.seen.records == 40
    # An instance that runs already, and a transaction that leaves nothing but its marker.
    write(kafka.bootstrap, name, range(40, 60), end="abort")
    run.until(lambda: keda_lag(kafka.bootstrap, group, name) == 0, "the lag of aborted ones is 0")
    write(kafka.bootstrap, name, range(40, 80))
    written = time.monotonic()
    run.until(lambda: keda_lag(kafka.bootstrap, group, name) == 0, "the lag is 0 again")
    print(f"{client}: KEDA's lag is 0 within {time.monotonic() - written:.1f} s of the last message")
    assert run.seen.records == 80
    # 40, 20 aborted, and 40; the markers of three transactions.
    assert described(kafka.bootstrap, group, name) == dict.fromkeys(range(PARTITIONS), (28, 28, 0))
    run.stop()
    assert keda_lag(kafka.bootstrap, group, name) == 0  # nor does it start one again
    assert counted(kafka.bootstrap, results) == exactly_once(80)


def test_lag_stays_above_0_without_passing_markers(kafka: Any, topic: Any) -> None:
    """The control: a plain consumer that commits what it has read is one behind in each partition."""
    name = topic(PARTITIONS)
    group = f"{name}-group"
    write(kafka.bootstrap, name, range(40))
    with KafkaConsumer(
        bootstrap_servers=kafka.bootstrap,
        group_id=group,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **DIRECT,
    ) as plain:
        every = [TopicPartition(name, number) for number in range(PARTITIONS)]
        plain.assign(every)
        ends: dict[TopicPartition, int] = {}
        while sum(ends.values()) < 40:
            for one, records in plain.poll(500).items():
                ends[one] = records[-1].offset + 1
        plain.commit(stored({Partition(*one): end for one, end in ends.items()}, {}))
    assert keda_lag(kafka.bootstrap, group, name) == PARTITIONS
    assert {lag for _, _, lag in described(kafka.bootstrap, group, name).values()} == {1}


def test_keda_lag_returns_to_0_with_file_output(
    kafka: Any, topic: Any, start: Any, client: str, tmp_path: Path
) -> None:
    """Rows wait for the end of their file; then the offsets pass the markers, too."""
    name = topic(PARTITIONS)
    group = f"{name}-group"
    write(kafka.bootstrap, name, range(40))
    run = start(name, client, to_parquet=tmp_path / "scored", rolling=Rolling(seconds=1.0))
    run.until(lambda: keda_lag(kafka.bootstrap, group, name) == 0, "the lag is 0")
    run.stop()
    assert run.seen.records == 40
