"""A stream scales by its consumer group: instances come and go under load, each tweet is scored once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from effort import LONG
from kafka import KafkaAdminClient
from kafka.errors import RetriableError
from kafka_faults import SENTSTREAM, Instances, Outcome, count, expected, from_topic, settle, tweets
from kafka_runs import available
from kafka_tools import DIRECT, committed, fill
from processes import wait_until

PARTITIONS = 4
STAGES = (1, 2, 4, 1)
TEXTS = tweets(2_000)["text"].to_pylist()
CHUNK = 100
pytestmark = pytest.mark.slow


@pytest.fixture(name="client", params=["kafka-python", "confluent"] if LONG else ["kafka-python"])
def _client(request: pytest.FixtureRequest) -> str:
    return available(request.param)


def text(number: int) -> str | None:
    """The text of a numbered tweet."""
    return TEXTS[number % len(TEXTS)]


@dataclass
class Feed:
    """Sends numbered tweets to a topic in a thread, from ``with`` until its end.

    Attributes:
        sent: How many are in the topic.
        error: What ended it before.
    """

    bootstrap: str
    topic: str
    sent: int = 0
    error: BaseException | None = None

    def __enter__(self) -> Feed:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _send(self) -> None:
        try:
            while not self._done.wait(0.1):
                rows = [
                    {"id": number, "text": text(number)} for number in range(self.sent, self.sent + CHUNK)
                ]
                records = [(str(row["id"]).encode(), json.dumps(row).encode(), (), None) for row in rows]
                fill(self.bootstrap, self.topic, records)
                self.sent += CHUNK
        except BaseException as error:
            self.error = error


def shares(bootstrap: str, group: str) -> list[int]:
    """How many partitions each member has; nothing during a rebalance."""
    try:
        with KafkaAdminClient(bootstrap_servers=bootstrap, **DIRECT) as admin:
            found = admin.describe_groups([group])[group]
    except RetriableError:
        return []
    if found["group_state"] != "Stable":
        return []
    return sorted(
        sum(len(topic["partitions"]) for topic in member["member_assignment"]["assigned_partitions"])
        for member in found["members"]
        if member["member_assignment"]
    )


def is_even(bootstrap: str, group: str, members: int) -> bool:
    """Whether so many members have the same number of partitions each."""
    return shares(bootstrap, group) == [PARTITIONS // members] * members


def test_scaling_under_load_scores_each_tweet_once(
    kafka, topic: Callable[..., str], tmp_path: Path, client: str
) -> None:
    name = topic(PARTITIONS)
    group = f"{name}-group"
    config = tmp_path / "client.properties"
    config.write_text("session.timeout.ms=6000\nheartbeat.interval.ms=500\ntransaction.timeout.ms=6000\n")
    command = [
        *[*SENTSTREAM, "consume", "--topic", name, "--group", group, "--client", client],
        *["--bootstrap-servers", kafka.bootstrap, "--client-config", str(config)],
        *["--max-batch", "250", "--threads", "1"],
    ]
    outcome = Outcome()
    instances = Instances(command, tmp_path, 0, outcome)

    def progress() -> int:
        return sum(committed(kafka.bootstrap, group, name).values())

    try:
        with Feed(kafka.bootstrap, name) as feed:
            for members in STAGES:
                instances.scale(members)
                wait_until(
                    partial(is_even, kafka.bootstrap, group, members), f"{members} share out: {tmp_path}"
                )
                before, sent = progress(), feed.sent
                wait_until(lambda then=before: progress() > then, f"{members} get on: {tmp_path}")
                wait_until(lambda then=sent: feed.sent > then or feed.error, "tweets come in")
        assert feed.error is None
        settle(instances, kafka.bootstrap, group, name, PARTITIONS)
        instances.scale(0)
    finally:
        instances.end()
    numbers = range(feed.sent)
    table = pa.table({"id": numbers, "text": pa.array(map(text, numbers), pa.string())})
    count(outcome, expected(table, tmp_path), from_topic(kafka.bootstrap, f"{name}.scored"))
    print(f"{' → '.join(map(str, STAGES))} instances, {client}: {feed.sent} tweets")
    assert (outcome.missing, outcome.doubled, outcome.different) == (0, 0, 0), outcome
    assert not outcome.codes, f"instances ended by themselves: {outcome.codes}"
