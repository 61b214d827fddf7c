"""Kafka in, Kafka out: the cost of scoring in a stream, the delay of results, and whether memory grows.

A real broker runs on the same cores. Two loops run in turn over the same topic, round after round: the real
consume loop, and the same transactions without scoring (poll, send the same bytes, add offsets, commit),
which is the client's own upper bound on this machine. What counts is the ratio.

Then tweets arrive at half the measured rate, and a reader of committed records measures how long after the
append of a tweet (the broker's timestamp) its result can be read.

    python benchmarks/stream.py                          # both clients, about 5 minutes
    python benchmarks/stream.py --soak 600               # and 10 minutes at half load: memory, lag
    python benchmarks/stream.py --client kafka-python    # one client
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.machine import machine_line  # noqa: E402
from benchmarks.rows import tweets  # noqa: E402
from sentstream.kafka.access.settings import Settings  # noqa: E402
from sentstream.kafka.clients.api import Outgoing, Partition  # noqa: E402
from sentstream.kafka.clients.open import open_client  # noqa: E402
from sentstream.kafka.consume.run import Options, prepare  # noqa: E402
from sentstream.kafka.names import ClientName  # noqa: E402
from sentstream.kafka.watch.events import Committed, Rebalance  # noqa: E402
from sentstream.model import ModelOptions  # noqa: E402
from tools.local_kafka import LocalKafka  # noqa: E402

PARTITIONS = 4
CLIENTS: tuple[ClientName, ...] = ("kafka-python", "confluent")
TOPIC = "tweets"


def settings(bootstrap: str) -> Settings:
    return Settings.load(overrides={"bootstrap.servers": bootstrap})


class Pace:
    """A listener that records when records were committed."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []

    def committed(self, done: Committed) -> None:
        self.marks.append((time.perf_counter(), done.records))

    def aborted(self, reason: str) -> None:
        raise SystemExit(f"aborted: {reason}")

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        """Ignored."""

    def lags(self, lag: Mapping[Partition, int]) -> None:
        """Ignored."""

    def rate(self) -> dict[str, float]:
        """Return records per second from the first commit to the last."""
        records = sum(count for _, count in self.marks[1:])
        seconds = self.marks[-1][0] - self.marks[0][0]
        return {"rate": records / seconds, "commits": len(self.marks), "records": records + self.marks[0][1]}


def scored_loop(client: ClientName, bootstrap: str, group: str) -> dict[str, float]:
    """Run the consume loop from the beginning of the topic to its current end."""
    pace = Pace()
    options = Options(topics=[TOPIC], group=group, to_topic=f"{group}.out", until_end=True)
    cluster = settings(bootstrap)
    on_cpu = ModelOptions(provider="cpu")
    with prepare(options, cluster, client=client, model=on_cpu, own_process=True) as consumption:
        consumption.run(pace, warn=lambda line: None)
    return pace.rate()


class Bare:
    """The same transactions without scoring."""

    def __init__(self, client: ClientName, bootstrap: str, group: str) -> None:
        kafka = open_client(client, settings(bootstrap))
        admin = kafka.admin()
        every = [Partition(TOPIC, number) for number in range(PARTITIONS)]
        self.ends = admin.end_offsets(every)
        admin.create(f"{group}.out", PARTITIONS)
        admin.close()
        self.producer = kafka.producer(group)
        self.consumer = kafka.consumer(group, instance=None, limit=Options.max_batch)
        self.target = f"{group}.out"

    def assigned(self, partitions: Collection[Partition]) -> None:
        self.consumer.seek(self.consumer.offsets_at(partitions, "earliest"))

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Nothing is in flight."""

    lost = revoked

    def run(self) -> dict[str, float]:
        pace = Pace()
        self.consumer.subscribe([TOPIC], self)
        offsets: dict[Partition, int] = {}
        while any(offsets.get(one, 0) < end for one, end in self.ends.items()):
            records = self.consumer.poll(0.25, Options.max_batch)
            if not records:
                continue
            messages = []
            for record in records:
                offsets[Partition(record.topic, record.partition)] = record.offset + 1
                messages.append(
                    Outgoing(
                        self.target,
                        record.key,
                        record.value,
                        record.headers,
                        record.timestamp,
                        record.partition,
                    )
                )
            self.producer.begin()
            self.producer.send(messages)
            self.producer.add_offsets(offsets, self.consumer.group())
            self.producer.commit()
            pace.committed(Committed({"": len(records)}))
        self.consumer.close()
        self.producer.close()
        return pace.rate()


def child(*arguments: str) -> dict[str, Any]:
    """Run one contender in its own process."""
    run = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def fill(client: ClientName, bootstrap: str, topic: str, values: list[bytes]) -> None:
    kafka = open_client(client, settings(bootstrap))
    producer = kafka.producer(None)
    for start in range(0, len(values), 5000):
        producer.send(
            [
                Outgoing(topic, None, value, (), None, (start + index) % PARTITIONS)
                for index, value in enumerate(values[start : start + 5000])
            ]
        )
    producer.close()


def feed(
    client: ClientName, bootstrap: str, topic: str, values: list[bytes], rate: float, seconds: float
) -> int:
    """Send tweets at a given rate, in steps of 20 ms; return their number."""
    kafka = open_client(client, settings(bootstrap))
    producer = kafka.producer(None)
    began, sent = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        due = int(now * rate)
        if due > sent:
            producer.send(
                [
                    Outgoing(topic, None, values[number % len(values)], (), None, number % PARTITIONS)
                    for number in range(sent, due)
                ]
            )
            sent = due
        time.sleep(0.02)
    producer.close()
    return sent


def read_delays(client: ClientName, bootstrap: str, topic: str, count: int) -> list[float]:
    """Return the seconds from each tweet's append until a reader of committed records has its result."""
    kafka = open_client(client, settings(bootstrap))
    consumer = kafka.consumer(f"{topic}-reader", instance=None, limit=10_000)

    class FromTheStart:
        def assigned(self, partitions: Collection[Partition]) -> None:
            consumer.seek(consumer.offsets_at(partitions, "earliest"))

        def revoked(self, partitions: Collection[Partition]) -> None:
            """Never called: there is no other reader."""

        lost = revoked

    consumer.subscribe([topic], FromTheStart())
    delays: list[float] = []
    deadline = time.monotonic() + 3600
    while len(delays) < count and time.monotonic() < deadline:
        records = consumer.poll(0.25, 10_000)
        now = time.time() * 1000
        delays += [(now - record.timestamp) / 1000 for record in records]
    consumer.close()
    return delays


def memory(pid: int) -> float:
    """Return the resident memory of a process and its descendants, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20) + sum(memory(int(child)) for child in children)


def half_load(
    client: ClientName, bootstrap: str, values: list[bytes], rate: float, seconds: float, name: str
) -> dict[str, Any]:
    """Measure delays, memory and lag at half the loop's maximum rate."""
    source = f"{name}.in"
    kafka = open_client(client, settings(bootstrap))
    admin = kafka.admin()
    admin.create(source, PARTITIONS)
    admin.create(f"{source}.scored", PARTITIONS)
    command = [sys.executable, "-m", "sentstream", "consume", "--topic", source, "--group", name]
    command += ["--client", client, "--bootstrap-servers", bootstrap]
    consume = subprocess.Popen(command, cwd=HERE.parent, stderr=subprocess.DEVNULL)
    reader = subprocess.Popen(
        [
            sys.executable,
            __file__,
            "--delays",
            client,
            bootstrap,
            f"{source}.scored",
            str(int(rate * seconds)),
        ],
        stdout=subprocess.PIPE,
    )
    sizes: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            sizes.append(memory(consume.pid))

    watcher = threading.Thread(target=watch)
    try:
        time.sleep(4)  # both have joined their groups
        watcher.start()
        sent = feed(client, bootstrap, source, values, rate, seconds)
        every = [Partition(source, number) for number in range(PARTITIONS)]
        ends, deadline = admin.end_offsets(every), time.monotonic() + 60
        while (lag := sum(ends.values()) - sum(admin.committed(name, every).values())) > 0:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert reader.stdout is not None
        delays = json.loads(reader.stdout.read())
    finally:
        done.set()
        consume.terminate()
        if consume.wait(30):
            print(f"consume exited with code {consume.returncode}", file=sys.stderr)
        reader.kill()
        reader.wait()
    watcher.join()
    half = len(sizes) // 2
    return {
        "sent": sent,
        "rate": rate,
        "p50": delays["p50"],
        "p99": delays["p99"],
        "max": delays["max"],
        "lag": lag,
        "peak": max(sizes),
        "growth": statistics.median(sizes[-5:]) - statistics.median(sizes[half : half + 5]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tweets", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30, help="duration of the half-load test in seconds")
    parser.add_argument(
        "--soak",
        type=float,
        default=0,
        help="seconds of another half-load test, which watches memory; default none",
    )
    parser.add_argument("--client", choices=CLIENTS, action="append")
    parser.add_argument("--loop", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--delays", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        kind, client, bootstrap, group = options.loop
        gc.set_threshold(50_000, 10, 10)  # as the consume command does
        run = scored_loop if kind == "scored" else lambda *arguments: Bare(*arguments).run()
        print(json.dumps(run(client, bootstrap, group)))
        return
    if options.delays:
        client, bootstrap, topic, count = options.delays
        delays = np.array(read_delays(client, bootstrap, topic, int(int(count) * 0.99)))
        shares = dict(zip(("p50", "p99", "max"), np.quantile(delays, [0.5, 0.99, 1]).tolist(), strict=True))
        print(json.dumps(shares))
        return
    values = [
        json.dumps({"id": number, "text": text}, ensure_ascii=False).encode()
        for number, text in enumerate(tweets(options.tweets).to_pylist())
    ]
    size = statistics.mean(map(len, values))
    print(
        f"{options.tweets:,} tweets of {size:.0f} bytes, {PARTITIONS} partitions, broker on the same "
        f"{machine_line()}, medians of {options.rounds} alternating rounds\n"
    )
    clients = options.client or CLIENTS
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalKafka(
            Path(folder),
            memory="1g",
            settings={"log.message.timestamp.type": "LogAppendTime"},
            lasting=True,
        ) as kafka,
    ):
        measure(kafka.bootstrap, clients, values, options)


def measure(bootstrap: str, clients: Collection[ClientName], values: list[bytes], options: Any) -> None:
    admin = open_client("kafka-python", settings(bootstrap)).admin()
    admin.create(TOPIC, PARTITIONS)
    admin.close()
    fill("kafka-python", bootstrap, TOPIC, values)
    head = (
        "client",
        "consume, tweets/s",
        "without scoring, messages/s",
        "ratio",
        "commits",
        "p50",
        "p99",
        "peak MiB",
    )
    row(*head)
    row("---", *["---:"] * 7)
    for client in clients:
        rounds: dict[str, list[dict[str, Any]]] = {"scored": [], "bare": []}
        for number in range(options.rounds):
            for kind, results in rounds.items():
                results.append(child("--loop", kind, client, bootstrap, f"{kind}-{client}-{number}"))
                assert results[-1]["records"] == len(values), results[-1]
        scored, bare = (statistics.median(one["rate"] for one in results) for results in rounds.values())
        pairs = zip(rounds["scored"], rounds["bare"], strict=True)
        ratio = statistics.median(one["rate"] / other["rate"] for one, other in pairs)
        commits = statistics.median(one["commits"] for one in rounds["scored"])
        half = half_load(client, bootstrap, values, scored / 2, options.seconds, f"half-{client}")
        rates = f"{scored:,.0f}", f"{bare:,.0f}", f"{ratio:.0%}", f"{commits:,.0f}"
        row(client, *rates, f"{half['p50']:.2f} s", f"{half['p99']:.2f} s", f"{half['peak']:.0f}")
        if options.soak:
            soak = half_load(client, bootstrap, values, scored / 2, options.soak, f"soak-{client}")
            print(
                f"\n{client}, {options.soak / 60:.0f} minutes at {soak['rate']:,.0f} tweets/s: "
                f"{soak['sent']:,} tweets, p99 {soak['p99']:.2f} s, peak memory {soak['peak']:.0f} MiB, "
                f"{soak['growth']:+.0f} MiB over the second half, lag {soak['lag']} at the end\n",
                flush=True,
            )


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
