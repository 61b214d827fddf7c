"""Start the whole stack, break it, check that every message is labeled exactly once, and stop it again.

    python3 deploy/check.py            three minutes on an idle machine; needs only Docker with compose
    python3 deploy/check.py --grafana  include Grafana
    python3 deploy/check.py --keep     leave it running

It can run beside another stack of yours, unless that one uses the port 29092. Exit code 0: all checks passed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "sentstream-check"
KAFKA_PORT, PROMETHEUS_PORT, GRAFANA_PORT = 29092, 19090, 13000  # Kafka's also within its container
SERVICES = ["kafka", "topics", "produce", "consume", "prometheus"]
TOPIC = "tweets"

#: Runs in the container of `produce`, which has a Kafka client; prints offsets as JSON.
OFFSETS = """
import json
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
with KafkaAdminClient(bootstrap_servers="kafka:9092") as admin:
    committed = admin.list_group_offsets("sentstream").get("sentstream", {})
consumer = KafkaConsumer(bootstrap_servers="kafka:9092")
places = [TopicPartition("tweets", number) for number in consumer.partitions_for_topic("tweets")]
ends = consumer.end_offsets(places)
print(json.dumps({
    "end": sum(ends.values()),
    "committed": sum(found.offset for place, found in committed.items() if place.topic == "tweets"),
}))
"""
#: Runs there, too: compares every message of the topic with the results and dead letters, per partition.
AUDIT = """
import json
from collections import Counter
from kafka import KafkaConsumer, TopicPartition

def read(topic):
    consumer = KafkaConsumer(
        bootstrap_servers="kafka:9092", isolation_level="read_committed",
        auto_offset_reset="earliest", enable_auto_commit=False, check_crcs=False)
    places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends = consumer.end_offsets(places)
    found = {place.partition: [] for place in places}
    while any(consumer.position(place) < ends[place] for place in places):
        for place, records in consumer.poll(timeout_ms=500).items():
            found[place.partition] += records
    consumer.close(autocommit=False)
    return found

source, scored, dead = read("tweets"), read("tweets.scored"), read("tweets.dlq")
letters = Counter(
    (int(headers["sentstream.source.partition"]), int(headers["sentstream.source.offset"]))
    for records in dead.values() for record in records for headers in [dict(record.headers)])
labels, wrong = Counter(), []
for number, records in source.items():
    passed = [record for record in records if (number, record.offset) not in letters]
    results = scored[number]
    if len(passed) != len(results):
        wrong.append(f"partition {number}: {len(passed)} messages, {len(results)} results")
    for before, after in zip(passed, results):
        old, new = (json.loads(record.value) for record in (before, after))
        same = before.key == after.key and before.timestamp == after.timestamp
        if not same or any(new[name] != value for name, value in old.items()):
            wrong.append(f"partition {number}: offset {before.offset} became {after.offset}, another message")
            break
        labels[new.get("sentiment")] += 1
digests = {value.decode() for records in scored.values() for record in records
           for key, value in record.headers if key == "sentstream.model_digest"}
print(json.dumps({
    "messages": sum(map(len, source.values())), "results": sum(map(len, scored.values())),
    "dead_letters": sum(letters.values()), "twice_dead": sum(n - 1 for n in letters.values()),
    "labels": {str(label): count for label, count in labels.items()}, "digests": sorted(digests),
    "wrong": wrong}))
"""


class Failure(Exception):
    """A check failed."""


def log(text: str) -> None:
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", flush=True)


STARTED = time.monotonic()


def run(*command: str, stdin: str | None = None, patience: float = 600) -> str:
    """Run a command and return what it printed.

    Raises:
        Failure: It failed.
    """
    environment = {
        **os.environ,
        "COMPOSE_PROJECT_NAME": PROJECT,
        "KAFKA_PORT": str(KAFKA_PORT),
        "PROMETHEUS_PORT": str(PROMETHEUS_PORT),
        "GRAFANA_PORT": str(GRAFANA_PORT),
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
    if done.returncode:
        raise Failure(
            f"{' '.join(command)[:200]}: exit code {done.returncode}: {done.stderr[-2000:].strip()}"
        )
    return done.stdout


def compose(*arguments: str, stdin: str | None = None, patience: float = 600) -> str:
    return run("docker", "compose", *arguments, stdin=stdin, patience=patience)


def until(description: str, condition: Callable[[], Any], patience: float = 120) -> Any:
    """Wait until a condition is true, and return its value.

    Raises:
        Failure: It does not become true in time.
    """
    begin = time.monotonic()
    last: Any = None
    while time.monotonic() - begin < patience:
        try:
            last = condition()
        except (Failure, OSError, ValueError) as error:  # a container that is starting, a broker that is away
            last = error
        else:
            if last:
                log(f"{description} ({time.monotonic() - begin:.1f} s)")
                return last
        time.sleep(0.5)
    raise Failure(f"timed out after {patience:.0f} s: {description}; last seen: {last}")


def offsets() -> dict[str, int]:
    """Return ``end`` of the topic and what is ``committed``, summed over its partitions."""
    result: dict[str, int] = json.loads(compose("exec", "-T", "produce", "python", "-", stdin=OFFSETS))
    return result


def await_progress(description: str, messages: int = 1) -> None:
    """Wait until this many more messages are committed."""
    start: int | None = None

    def beyond() -> bool:
        nonlocal start
        committed = offsets()["committed"]
        start = committed if start is None else start
        return committed >= start + messages

    until(description, beyond)


def containers(service: str) -> list[dict[str, Any]]:
    """Return what ``docker inspect`` reports about a service's containers."""
    names = compose("ps", "--all", "--quiet", service).split()
    found: list[dict[str, Any]] = json.loads(run("docker", "inspect", *names)) if names else []
    return found


def healthy(service: str) -> bool:
    states = [container["State"] for container in containers(service)]
    return bool(states) and all(state.get("Health", {}).get("Status") == "healthy" for state in states)


def kill(container: dict[str, Any]) -> None:
    """Kill its process as the kernel would: after `docker kill`, Docker would not restart it."""
    code = f"import os; os.kill({container['State']['Pid']}, 9)"
    image = container["Config"]["Image"]
    run("docker", "run", "--rm", "--pid=host", "--user=0", "--entrypoint=python", image, "-c", code)


def prometheus(query: str) -> list[dict[str, Any]]:
    """Return the current result of a query."""
    url = f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


def value(query: str) -> float:
    """Return the single value of a query; 0 if there is none."""
    samples = prometheus(query)
    return float(samples[0]["value"][1]) if samples else 0.0


def panels() -> list[tuple[str, str]]:
    """Return titles and queries of the dashboard that the stack can answer; Grafana's variables are set."""
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/sentstream.json").read_text("utf-8"))
    return [
        (panel["title"], re.sub(r"\$\w+", ".*", re.sub(r"\$__\w+", "1m", target["expr"])))
        for panel in dashboard["panels"]
        for target in panel["targets"]
        if "sentstream_drift_psi" not in target["expr"]  # needs 1,000 texts in its window
    ]


def check_start(services: list[str]) -> None:
    compose("up", "--detach", "--build", "--wait", "--wait-timeout", "300", *services, patience=1200)
    log("all services are up and healthy")
    with socket.create_connection(("localhost", KAFKA_PORT), 5):
        log(f"the host reaches the broker at localhost:{KAFKA_PORT}")
    line = compose(
        *("exec", "-T", "kafka", "/opt/kafka/bin/kafka-console-consumer.sh"),
        *("--bootstrap-server", f"localhost:{KAFKA_PORT}", "--topic", f"{TOPIC}.scored", "--from-beginning"),
        *("--isolation-level", "read_committed", "--max-messages", "1", "--timeout-ms", "60000"),
    )
    message = json.loads(line)
    if "sentiment" not in message:
        raise Failure(f"no label in {line}")
    log(f"a result, read through the host's listener: {message['text']!r} is {message['sentiment']}")
    compose(
        *("exec", "-T", "kafka", "/opt/kafka/bin/kafka-console-producer.sh"),
        *("--bootstrap-server", "kafka:9092", "--topic", TOPIC),
        stdin="this is not JSON\n",
    )
    log("sent a message that cannot be scored")


def check_alerts() -> None:
    """Test with Prometheus's own image that the alerts fire when they should."""
    image = containers("prometheus")[0]["Config"]["Image"]
    mount = f"{ROOT / 'deploy'}:/deploy:ro"
    tool = ("docker", "run", "--rm", "--volume", mount, "--entrypoint=promtool", image)
    run(*tool, "check", "config", "/deploy/prometheus.yml")
    run(*tool, "test", "rules", "/deploy/alerts.test.yml")
    log("the alerts pass their tests")


def check_metrics() -> None:
    until("Prometheus sees sentstream", lambda: value('sum(up{job="sentstream"})') == 1)
    until("messages per second > 0", lambda: value("sum(rate(sentstream_messages_total[1m]))"))
    until("a dead letter is counted", lambda: value('sum(sentstream_messages_total{result="dead_letter"})'))
    waiting = panels()

    def answered() -> bool:
        waiting[:] = [(title, query) for title, query in waiting if not prometheus(query)]
        return not waiting

    try:
        until(f"all {len(waiting)} queries of the dashboard return data", answered, 60)
    except Failure as failure:
        raise Failure(f"{failure}; without data: {waiting}") from None


def kill_and_wait(service: str) -> None:
    """Kill consume, and wait until Docker has restarted it and it commits again."""
    (container,) = containers("consume")
    kill(container)
    dead = container["State"]["Pid"]
    until(
        f"{service}: Docker restarted it", lambda: containers("consume")[0]["State"]["Pid"] not in (0, dead)
    )
    await_progress(f"{service}: it commits again")


def check_kills() -> None:
    load = compose(
        *("run", "--detach", "--no-deps", "produce", "produce", "/examples/tweets.parquet"),
        *("--topic", TOPIC, "--key-column", "id", "--rate", "2000/s", "--loop"),
    ).strip()
    try:
        for turn in range(1, 4):
            await_progress(f"kill {turn}: messages flow", 2000)
            kill_and_wait(f"kill {turn}")
    finally:
        run("docker", "rm", "--force", load)
    until("healthy again", lambda: healthy("consume"))


def check_broker() -> None:
    before = containers("consume")[0]
    compose("restart", "kafka")
    log("restarted the broker")
    until("the broker is healthy again", lambda: healthy("kafka"))
    await_progress("messages flow again")
    until("consume is healthy", lambda: healthy("consume"))
    restarts = containers("consume")[0]["RestartCount"] - before["RestartCount"]
    log(f"consume restarted {restarts} times meanwhile" if restarts else "consume kept running")


def check_scale() -> None:
    compose("up", "--detach", "--wait", "--no-recreate", "--scale", "consume=2", "consume")
    until("Prometheus sees both instances", lambda: value('count(up{job="sentstream"} == 1)') == 2)
    until(
        "two partitions for each",
        lambda: (
            sorted(float(one["value"][1]) for one in prometheus("sentstream_assigned_partitions")) == [2, 2]
        ),
    )
    await_progress("messages flow")


def check_all_once() -> None:
    compose("stop", "produce")
    audit = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "python", "produce", "-")
    until(
        "all that was sent is committed",
        lambda: len({*json.loads(compose(*audit, stdin=OFFSETS)).values()}) == 1,
    )
    begin = time.monotonic()
    compose("stop", "consume")
    codes = [container["State"]["ExitCode"] for container in containers("consume")]
    log(f"stopped consume in {time.monotonic() - begin:.1f} s; exit codes {codes}")
    if any(codes):
        raise Failure(f"exit codes {codes} after SIGTERM")
    audited = json.loads(compose(*audit, stdin=AUDIT))
    log(json.dumps(audited))
    if audited["wrong"] or audited["twice_dead"] or audited["dead_letters"] != 1:
        raise Failure("not every message was processed exactly once")
    if audited["messages"] != audited["results"] + audited["dead_letters"]:
        raise Failure("messages are missing or duplicated")
    log(f"{audited['messages']:,} messages, each exactly once")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the stack of docker-compose.yml.")
    parser.add_argument("--grafana", action="store_true", help="include Grafana")
    parser.add_argument("--keep", action="store_true", help="leave it running")
    options = parser.parse_args()
    services = [*SERVICES, *(["grafana"] if options.grafana else [])]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stack is stopped then, too
    try:
        check_start(services)
        check_alerts()
        check_metrics()
        check_kills()
        check_broker()
        check_scale()
        check_all_once()
    except Failure as failure:
        log(f"FAILED: {failure}")
        print(compose("logs", "--no-color", "--tail", "25"), file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            compose("down", "--volumes", "--timeout", "30")
            log("stopped and removed")
    log("all checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
