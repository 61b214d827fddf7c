"""Kafka in half a minute: a local broker, a stream of tweets, their labels, and dead letters.

Run by ``make demo-kafka``. It needs Java 17 or newer and, the first time, Maven. Only the broker's jars
remain, in ``build/``. ``--fetch`` just fetches those, and needs only Python's standard library.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.fetched import Unavailable  # noqa: E402
from tools.local_kafka import LocalKafka, StartError, java, libraries  # noqa: E402

TWEETS = "examples/tweets.parquet"
TOPIC = "tweets"
PARTITIONS = 4
RATE = 30  # tweets per second
SHOWN = 12
POISON = [
    b'{"id": 1, "note": "there is no text here"}',
    b"this is not JSON",
    b'{"id": 3, "text": "caf\xe9 au lait, in Latin-1"}',
]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NEXT = """
[bold]What next[/bold]

Start a broker that runs until Ctrl-C. Send tweets in a second terminal, and label them in a third:

  python3 tools/local_kafka.py --port 9092
  .venv/bin/sentstream produce examples/tweets.parquet --topic tweets --partitions 4 --rate 20 --loop
  .venv/bin/sentstream consume --topic tweets --metrics-port 9464

Start a second consume and kill -9 one of the two: each tweet still gets one result (docs/streaming.md).
The same with Prometheus and Grafana, in Docker: docker compose up --build --wait (docs/compose.md)."""


class Failure(Exception):
    """A command failed, or the results are wrong."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fetch", action="store_true", help="only check for Java and fetch the broker")
    for number in ENDING:
        signal.signal(number, interrupted)
    try:
        if parser.parse_args().fetch:
            java()
            libraries()
        else:
            demonstrate()
    except (Unavailable, StartError, Failure) as error:
        sys.exit(f"demo-kafka: {error}")
    except KeyboardInterrupt as error:
        print("\ninterrupted; the broker was stopped and its data removed", file=sys.stderr)
        sys.exit(128 + error.args[0])


def interrupted(number: int, _frame: object) -> NoReturn:
    """Clean up, and ignore further signals meanwhile: make forwards SIGTERM even to processes that got it."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def demonstrate() -> None:
    """Run the whole demo.

    Raises:
        Unavailable: No Java.
        StartError: The broker does not start.
        Failure: A command failed, or a tweet has no result, or two.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    say("[bold]Starting a Kafka broker on this machine …[/bold]")
    with tempfile.TemporaryDirectory(prefix="sentstream-demo-") as scratch, LocalKafka() as kafka:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("SENTSTREAM_")}
        environment = {
            **mine,
            "SENTSTREAM_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "XDG_STATE_HOME": scratch,  # where consume remembers its name
        }
        rows = prepare(kafka.bootstrap)
        say(
            f"The topic [bold]{TOPIC}[/bold] has {PARTITIONS} partitions. {rows} tweets arrive, "
            f"{RATE} per second; {len(POISON)} messages that cannot be labeled are already there.\n"
        )
        play(rows + len(POISON), environment)
        scored = read(kafka.bootstrap, f"{TOPIC}.scored")
        results = [json.loads(record.value) for record in scored]
        show(results, scored)
        ids = Counter(result["id"] for result in results)
        if len(ids) != rows or set(ids.values()) != {1}:
            raise Failure(f"{rows} tweets, but {len(results)} results for {len(ids)} of them")
        say(f"{rows} tweets, {len(results)} results: exactly one per tweet.\n")
        run(["dead-letters", "show", "--topic", TOPIC], environment)
    say("The broker was stopped and its data removed.")
    say(NEXT)


def prepare(bootstrap: str) -> int:
    """Create the topic and send the messages that cannot be scored; return the number of tweets to send."""
    import pyarrow.parquet as pq
    from kafka import KafkaAdminClient, KafkaProducer

    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics(
            {TOPIC: {"num_partitions": PARTITIONS, "replication_factor": 1}}, wait_for_metadata=True
        )
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    sent = [producer.send(TOPIC, value, b"poison") for value in POISON]
    for one in sent:
        one.get(timeout=30)
    producer.close()
    return int(pq.read_metadata(ROOT / TWEETS).num_rows)


def play(messages: int, environment: dict[str, str]) -> None:
    """Send the tweets, and score all messages as they arrive.

    Raises:
        Failure: One of the two commands failed.
    """
    produce = ["produce", TWEETS, "--topic", TOPIC, "--key-column", "id", "--rate", str(RATE)]
    consume = ["consume", "--topic", TOPIC, "--max-messages", str(messages)]
    show_command(produce, " &")
    with started(produce, environment, stderr=subprocess.PIPE) as producer:
        show_command(consume)
        with started(consume, environment) as consumer:
            while consumer.poll() is None:
                if producer.poll():
                    assert producer.stderr is not None
                    raise Failure(f"sentstream produce failed: {producer.stderr.read()}")
                time.sleep(0.1)
            if consumer.returncode:
                raise Failure(f"sentstream consume ended with {consumer.returncode}")
    print()


def read(bootstrap: str, topic: str) -> list[Any]:
    """Return all committed records of a topic."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        found: list[Any] = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for records in consumer.poll(timeout_ms=500).values():
                found += records
        return found
    finally:
        consumer.close(autocommit=False)


def show(results: Sequence[dict[str, Any]], records: Sequence[Any]) -> None:
    """Print some of the results, the count of each label, and one message's headers."""
    from rich.console import Console
    from rich.table import Table

    from examples.demo import label, one_line

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table("text", "sentiment", title=f"Sample of {TOPIC}.scored", title_justify="left")
    table.add_column("score", justify="right")
    labeled = [result for result in results if result["sentiment"]]
    step = max(1, len(labeled) // SHOWN)
    for result in labeled[step // 2 :: step][:SHOWN]:
        table.add_row(
            one_line(result["text"]), label(result["sentiment"]), f"{result['sentiment_score']:.3f}"
        )
    console.print(table)
    counts = Counter(result["sentiment"] or "null (no text)" for result in results)
    console.print("Labels: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    headers = {name: value.decode() for name, value in records[0].headers}
    named = f"{headers['sentstream.model']}, {headers['sentstream.model_digest'][:19]}…"
    console.print(f"Model named in the headers: {named}")


@contextmanager
def started(
    arguments: Sequence[str], environment: dict[str, str], **more: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a sentstream command in the background; ask it to stop if it still runs at the end.

    It gets its own session: Ctrl-C then reaches only this process, and each command is asked to stop once.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "sentstream", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        **more,
    )
    try:
        yield process
        process.wait(30)
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def run(arguments: Sequence[str], environment: dict[str, str]) -> None:
    """Run a sentstream command to its end.

    Raises:
        Failure: It failed.
    """
    show_command(arguments)
    with started(arguments, environment) as process:
        if process.wait():
            raise Failure(f"sentstream {arguments[0]} ended with {process.returncode}")
    print()


def show_command(arguments: Sequence[str], more: str = "") -> None:
    """Print a command as it would be typed."""
    from rich.markup import escape

    say(f"[dim]$[/dim] [bold]{escape(shlex.join(['sentstream', *arguments]))}[/bold]{more}")


def say(text: str) -> None:
    """Print text right away."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
