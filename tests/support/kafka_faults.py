"""Kill ``sentstream consume`` repeatedly, restart the broker, stall an instance, and count results.

Numbered tweets go into a topic while instances that score them are killed at random. In the end, each
number must be in the output once, with the same bits as from ``sentstream score``. With at-least-once
delivery, some must be there twice: this control shows that the count would detect duplicates.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from kafka import KafkaConsumer, TopicPartition
from kafka_tools import committed, drain, fill
from processes import PATIENCE

from tools.local_kafka import LocalKafka

ROOT = Path(__file__).resolve().parents[2]
SENTSTREAM = [sys.executable, "-c", "import sys; from sentstream.cli import main; sys.exit(main())"]
#: Exit codes that an instance may end with by itself: fenced after a stall, no broker for too long, delivery.
EXCUSED = {71, 76, 77}
FIELDS = ("sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive")


@dataclass(frozen=True)
class Scenario:
    """What to do to the instances.

    Attributes:
        tweets: Number of tweets.
        rate: Incoming tweets per second.
        kills: Minimum number of SIGKILLs.
        instances: Number of instances that run at once.
        restart_broker: Whether the broker is restarted once.
        zombie: Whether an instance is once suspended for longer than its session, then resumed.
        in_the_act: Whether all instances are killed at once, after sending results and before
            committing the offsets; there are no other faults then.
        options: More options of ``consume``.
        client: The Kafka client.
    """

    tweets: int
    rate: int
    kills: int
    instances: int = 2
    partitions: int = 4
    restart_broker: bool = False
    zombie: bool = False
    kill_uncommitted: bool = False
    options: Sequence[str] = ()
    client: str = "kafka-python"


@dataclass
class Outcome:
    """The result of a scenario.

    Attributes:
        missing: Number of tweets without a result.
        doubled: Number of tweets with more than one result.
        different: Number of results whose label or probabilities differ from ``sentstream score``.
        kills: SIGKILLs of running instances.
        busy: How many of them came while the group was making progress.
        codes: Exit codes of instances that ended by themselves.
        seconds: How long it took.
    """

    missing: int = 0
    doubled: int = 0
    different: int = 0
    kills: int = 0
    busy: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        ended = dict(self.codes) or "none"
        return (
            f"missing {self.missing}, doubled {self.doubled}, different {self.different}; "
            f"{self.kills} kills ({self.busy} of them at work), ended by themselves: {ended}; "
            f"{self.seconds:.0f} s"
        )


def tweets(count: int) -> pa.Table:
    """Return numbered tweets of many lengths; some are empty or null."""
    words = (
        "so happy to see you again today :) what a sad , lousy morning ... @friend http://x.y #fun 😂 né"
    ).split()
    chance = random.Random(count)
    texts: list[str | None] = []
    for number in range(count):
        if number % 97 == 0:
            texts.append(None if number % 2 else "")
        else:
            texts.append(f"{' '.join(chance.choices(words, k=chance.randint(1, 25)))} {number}")
    return pa.table({"id": pa.array(range(count), pa.int64()), "text": pa.array(texts, pa.string())})


def expected(table: pa.Table, directory: Path) -> dict[int, tuple[str | None, bytes]]:
    """Return the label of each number from ``sentstream score``, and the bits of its probabilities."""
    source, target = directory / "tweets.parquet", directory / "expected.parquet"
    pq.write_table(table, source)
    subprocess.run([*SENTSTREAM, "score", source, "--output", target], check=True, capture_output=True)
    scored = pq.ParquetFile(target).read(use_threads=False)
    columns = [scored[name].to_pylist() for name in ("id", "sentiment", *FIELDS)]
    return {number: (label, bits(shares)) for number, label, *shares in zip(*columns, strict=True)}


def bits(shares: Sequence[float | None]) -> bytes:
    """Return probabilities as the bits of float32."""
    return b"".join(b"null" if share is None else struct.pack("<f", share) for share in shares)


class Instances:
    """Running instances, each with its own log."""

    def __init__(self, command: Sequence[str], directory: Path, count: int, outcome: Outcome) -> None:
        self._command, self._directory, self._outcome = command, directory, outcome
        self._made = 0
        self._numbers: dict[int, int] = {}  # by process id
        self.running: list[subprocess.Popen[bytes]] = [self.start() for _ in range(count)]

    def start(self) -> subprocess.Popen[bytes]:
        """Start a new instance."""
        self._made += 1
        environment = {**os.environ, "XDG_STATE_HOME": str(self._directory)}
        with open(self.log(self._made), "wb") as log:
            instance = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=ROOT, env=environment)
        self._numbers[instance.pid] = self._made
        return instance

    def _living(self) -> list[int]:
        return [self._numbers[instance.pid] for instance in self.running]

    def log(self, number: int) -> Path:
        """Return the log of the ``number``-th instance that was started."""
        return self._directory / f"instance-{number}.log"

    def restart_exited(self) -> None:
        """Restart instances that ended by themselves, as an orchestrator would."""
        for index, instance in enumerate(self.running):
            code = instance.poll()
            if code is not None:
                self._outcome.codes[code] += 1
                if code not in EXCUSED:
                    raise AssertionError(f"an instance ended with {code}: {self.tail()}")
                self.running[index] = self.start()

    def scale(self, count: int) -> None:
        """Scale as an autoscaler would: start more, or SIGTERM the youngest, which must exit with 0."""
        while len(self.running) < count:
            self.running.append(self.start())
        leaving = self.running[count:]
        for instance in leaving:
            instance.send_signal(signal.SIGTERM)
        for instance in leaving:
            code = instance.wait(timeout=PATIENCE)
            assert code == 0, f"after SIGTERM, an instance ended with {code}: {self.tail()}"
        del self.running[count:]

    def kill(self, index: int) -> None:
        """SIGKILL one, and start another in its place."""
        instance = self.running[index]
        if instance.poll() is None:
            instance.kill()
            instance.wait()
            self._outcome.kills += 1
            self.running[index] = self.start()

    def kill_when(self, act: Callable[[], bool], progress: Callable[[], int]) -> None:
        """SIGKILL all once ``act`` is true, and start others. They are suspended while it is checked."""
        deadline = time.monotonic() + PATIENCE
        while True:
            before = progress()
            while progress() == before:
                self.restart_exited()
                assert time.monotonic() < deadline, f"no progress: {self.tail()}"
                time.sleep(0.02)
            for instance in self.running:
                instance.send_signal(signal.SIGSTOP)
            if act():
                break
            for instance in self.running:
                instance.send_signal(signal.SIGCONT)
        for index in range(len(self.running)):
            self.kill(index)

    def tail(self) -> str:
        """Return the last lines of all logs."""
        lines = []
        for number in range(1, self._made + 1):
            text = self.log(number).read_text("utf-8", "replace").strip()
            if text:
                lines.append(f"{number}: {text[-400:]}")
        return "\n".join(lines[-6:])

    def stop(self) -> None:
        """SIGTERM all: they finish, commit and exit with 0."""
        deadline = time.monotonic() + PATIENCE
        while not all(" started " in self.log(number).read_text() for number in self._living()):
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.2)
        for instance in self.running:
            instance.send_signal(signal.SIGTERM)
        for instance in self.running:
            code = instance.wait(timeout=PATIENCE)
            assert code == 0, f"after SIGTERM, an instance ended with {code}: {self.tail()}"

    def end(self) -> None:
        """Clean up: no instance survives."""
        for instance in self.running:
            if instance.poll() is None:
                instance.send_signal(signal.SIGCONT)
                instance.kill()
                instance.wait()


def run(
    scenario: Scenario,
    kafka: LocalKafka,
    topic: str,
    directory: Path,
    *,
    parquet: bool = False,
    seed: int = 0,
) -> Outcome:
    """Play a scenario with a broker and an empty topic."""
    began = time.monotonic()
    outcome = Outcome()
    table = tweets(scenario.tweets)
    wanted = expected(table, directory)
    group = f"{topic}-group"
    config = directory / "client.properties"
    config.write_text("session.timeout.ms=6000\nheartbeat.interval.ms=500\ntransaction.timeout.ms=6000\n")
    target = directory / "scored"
    options = ["--to-parquet", str(target), "--roll-after", "700ms"] if parquet else []
    command = [
        *[*SENTSTREAM, "consume", "--topic", topic, "--group", group, "--client", scenario.client],
        *["--bootstrap-servers", kafka.bootstrap, "--client-config", str(config)],
        *["--max-batch", "250", "--threads", "1", *options, *scenario.options],
    ]
    calm = threading.Lock()  # the feed, which is not under test, waits while the broker is down
    feeder = threading.Thread(target=feed, args=(scenario, kafka.bootstrap, topic, table, calm), daemon=True)
    instances = Instances(command, directory, scenario.instances, outcome)

    def progress() -> int:
        return sum(committed(kafka.bootstrap, group, topic).values())

    try:
        feeder.start()
        if scenario.kill_uncommitted:
            instances.kill_when(
                lambda: is_uncommitted(kafka.bootstrap, group, topic, scenario.partitions), progress
            )
        else:
            inject_faults(
                scenario,
                instances,
                kafka,
                random.Random(seed),
                outcome,
                progress,
                calm,
            )
        feeder.join()
        settle(instances, kafka.bootstrap, group, topic, scenario.partitions)
        instances.stop()
    finally:
        instances.end()
    found = from_parquet(target) if parquet else from_topic(kafka.bootstrap, f"{topic}.scored")
    count(outcome, wanted, found)
    outcome.seconds = time.monotonic() - began
    return outcome


def feed(scenario: Scenario, bootstrap: str, topic: str, table: pa.Table, calm: threading.Lock) -> None:
    """Send the tweets to the topic at the scenario's rate."""
    rows = table.to_pylist()
    began = time.monotonic()
    step = max(1, scenario.rate // 4)
    for start in range(0, len(rows), step):
        time.sleep(max(0.0, began + start / scenario.rate - time.monotonic()))
        records = [
            (str(row["id"]).encode(), json.dumps(row, ensure_ascii=False).encode(), (), None)
            for row in rows[start : start + step]
        ]
        with calm:
            fill(bootstrap, topic, records)


def inject_faults(
    scenario: Scenario,
    instances: Instances,
    kafka: LocalKafka,
    chance: random.Random,
    outcome: Outcome,
    progress: Callable[[], int],
    calm: threading.Lock,
) -> None:
    """Kill instances, restart the broker, suspend an instance and resume it."""
    while outcome.kills < scenario.kills:
        instances.restart_exited()
        before, deadline = progress(), time.monotonic() + PATIENCE
        while (now := progress()) == before < scenario.tweets:  # until there is nothing left to do
            instances.restart_exited()
            assert time.monotonic() < deadline, f"no progress: {instances.tail()}"
            time.sleep(0.1)
        outcome.busy += now > before
        time.sleep(chance.uniform(0.0, 2.0))
        instances.kill(chance.randrange(len(instances.running)))
        if scenario.restart_broker and outcome.kills == scenario.kills // 3:
            with calm:
                kafka.restart()
        if scenario.zombie and outcome.kills == scenario.kills * 2 // 3:
            time.sleep(3)
            stopped = instances.running[0]
            stopped.send_signal(signal.SIGSTOP)
            instances.running[0] = instances.start()
            time.sleep(9)  # longer than its session and its transaction
            stopped.send_signal(signal.SIGCONT)
            instances.running.append(stopped)


def is_uncommitted(bootstrap: str, group: str, topic: str, partitions: int) -> bool:
    """Return whether there are more results than committed records, each of which gives one result."""
    with KafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        ends = consumer.end_offsets(
            [TopicPartition(f"{topic}.scored", number) for number in range(partitions)]
        )
    return sum(ends.values()) > sum(committed(bootstrap, group, topic).values())


def settle(instances: Instances, bootstrap: str, group: str, topic: str, partitions: int) -> None:
    """Wait until the group has committed everything in the topic."""
    with KafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        ends = consumer.end_offsets([TopicPartition(topic, number) for number in range(partitions)])
    wanted = {one.partition: end for one, end in ends.items() if end}
    deadline = time.monotonic() + PATIENCE
    while (now := committed(bootstrap, group, topic)) != wanted:
        if time.monotonic() > deadline:
            raise AssertionError(f"committed {now} of {wanted}: {instances.tail()}")
        instances.restart_exited()
        time.sleep(0.5)


Found = Iterator[tuple[int, str | None, bytes]]


def from_topic(bootstrap: str, topic: str) -> Found:
    """Yield what a reader of committed records finds."""
    for record in drain(bootstrap, topic):
        row = json.loads(record.value)
        yield row["id"], row["sentiment"], bits([row[name] for name in FIELDS])


def from_parquet(directory: Path) -> Found:
    """Yield what is in the files."""
    for path in sorted(directory.rglob("*.parquet")):
        for row in pq.ParquetFile(path).read(use_threads=False).to_pylist():
            yield json.loads(row["value"])["id"], row["sentiment"], bits([row[name] for name in FIELDS])


def count(outcome: Outcome, wanted: dict[int, tuple[str | None, bytes]], found: Found) -> None:
    """Compare the results with what was expected."""
    seen: Counter[int] = Counter()
    for number, label, shares in found:
        seen[number] += 1
        outcome.different += wanted[number] != (label, shares)
    outcome.missing = sum(number not in seen for number in wanted)
    outcome.doubled = sum(times > 1 for times in seen.values())
