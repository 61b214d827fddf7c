"""Exactly once, whatever is killed; and a control that shows that the count would detect duplicates.

``make test-faults`` runs it long (``SENTSTREAM_FAULTS=long``), ``make test`` briefly.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from kafka_faults import Scenario, run

from tools.local_kafka import LocalKafka

LONG = os.environ.get("SENTSTREAM_FAULTS") == "long"
SCENARIO = (
    Scenario(tweets=100_000, rate=1_500, kills=30, restart_broker=True, zombie=True)
    if LONG
    else Scenario(tweets=6_000, rate=800, kills=4)
)
pytestmark = pytest.mark.slow


@pytest.fixture(name="client", params=["kafka-python", "confluent"] if LONG else ["kafka-python"])
def _client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_topic_output_loses_and_duplicates_nothing(
    local_kafka: LocalKafka, topic, tmp_path: Path, client
) -> None:
    name = topic(SCENARIO.partitions)
    outcome = run(replace(SCENARIO, client=client), local_kafka, name, tmp_path)
    print(f"exactly once, {client}: {outcome}")
    assert (outcome.missing, outcome.doubled, outcome.different) == (0, 0, 0), outcome
    assert outcome.kills >= SCENARIO.kills
    assert outcome.busy >= SCENARIO.kills // 3, f"hardly anything was at work: {outcome}"


def test_parquet_output_loses_and_duplicates_nothing(
    local_kafka: LocalKafka, topic, tmp_path: Path, client
) -> None:
    name = topic(SCENARIO.partitions)
    outcome = run(replace(SCENARIO, client=client), local_kafka, name, tmp_path, parquet=True)
    print(f"to Parquet, {client}: {outcome}")
    assert (outcome.missing, outcome.doubled, outcome.different) == (0, 0, 0), outcome
    assert outcome.busy >= SCENARIO.kills // 3, f"hardly anything was at work: {outcome}"


def test_at_least_once_loses_nothing_but_may_duplicate(
    local_kafka: LocalKafka, topic, tmp_path: Path, client
) -> None:
    options = ["--delivery", "at-least-once", "--max-batch", "20"]
    control = Scenario(tweets=3_000, rate=800, kills=2, kill_uncommitted=True, client=client, options=options)
    for attempt in range(4):  # a commit may have been on its way to the broker
        place = tmp_path / str(attempt)
        place.mkdir()
        outcome = run(control, local_kafka, topic(SCENARIO.partitions), place)
        print(f"at least once, {client}: {outcome}")
        assert (outcome.missing, outcome.different) == (0, 0), outcome
        if outcome.doubled:
            break
    assert outcome.doubled > 0, f"doubles are not seen: {outcome}"
