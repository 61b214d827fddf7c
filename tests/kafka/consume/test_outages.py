"""``consume`` without a broker, in every phase: it keeps retrying while it may, gives up, and can be stopped.

The timeouts of single calls are short here, and the broker is away for longer than any of them. ``make
test-faults`` runs every phase with both clients; ``make test`` those in ``BRIEFLY``, each with one of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kafka_runs import (
    CLIENTS,
    FailsAtFirst,
    Run,
    counted,
    exactly_once,
    fill_tweets,
    intercepting,
    settings,
)
from kafka_tools import committed

from sentstream.errors import BrokerUnreachableError
from sentstream.kafka.clients.api import StaleGenerationError
from sentstream.kafka.consume.run import Options
from tools.local_kafka import LocalKafka

pytestmark = pytest.mark.slow

LONG = os.environ.get("SENTSTREAM_FAULTS") == "long"
AWAY = 12.0  # seconds: longer than any of these
CAPS = {
    "default.api.timeout.ms": 8000,
    "delivery.timeout.ms": 8000,
    "max.block.ms": 8000,
    "request.timeout.ms": 6000,
    "transaction.timeout.ms": 10_000,
}
#: Each phase without a broker that listens, or with one that has been stopped and says nothing.
OUTAGES = [
    ("idle", "kill"),
    ("fetch", "stall"),
    ("send", "kill"),
    ("add_offsets", "stall"),
    ("commit", "kill"),
    ("rewind", "stall"),
    ("commit at least once", "kill"),
]
OTHERS = [(phase, "stall" if how == "kill" else "kill") for phase, how in OUTAGES]
#: What `make test` plays: nothing under way, a transaction under way, and reading again.
BRIEFLY = ("idle", "commit", "rewind")


def played(outages: list[tuple[str, str]], first: int) -> list[Any]:
    """Client, phase and how of each test; the clients take turns unless all are to be played."""
    chosen = [outage for outage in outages if LONG or outage[0] in BRIEFLY]
    return [
        pytest.param(client, phase, method, id=f"{client}-{phase}-{method}")
        for number, (phase, method) in enumerate(chosen)
        for index, client in enumerate(CLIENTS)
        if LONG or number % len(CLIENTS) == (index + first) % len(CLIENTS)
    ]


class Outage:
    """Stops or stalls the broker at the ``nth`` call."""

    def __init__(self, kafka: LocalKafka, method: str, nth: int = 1) -> None:
        self._kafka, self._how, self._left = kafka, method, nth
        self.begun = threading.Event()

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._kafka.pause() if self._how == "stall" else self._kafka.kill()
            self.begun.set()

    def end(self) -> None:
        """Bring it back."""
        self._kafka.resume() if self._how == "stall" else self._kafka.start()


def hooks(phase: str, outage: Outage) -> Mapping[str, Any]:
    """Return what to do before which method."""
    if phase == "rewind":
        return {
            "producer": {"send": FailsAtFirst(StaleGenerationError("for a test"))},
            "consumer": {"committed": outage},
        }
    if phase == "commit at least once":
        return {"consumer": {"commit": outage}}
    if phase == "fetch":
        return {"consumer": {"poll": outage}}
    return {} if phase == "idle" else {"producer": {phase: outage}}


#: The first of these belongs to the start.
NTH = {"fetch": 8, "rewind": 2, "commit at least once": 3}


class Scene:
    """A run in a topic of 200 tweets, and an outage in one of its phases."""

    def __init__(
        self,
        kafka: LocalKafka,
        topic: str,
        bundle: Path,
        client: str,
        phase: str,
        method: str,
        retry_for: float,
    ) -> None:
        self._kafka, self.topic, self._bundle, self._client = kafka, topic, bundle, client
        self.outage = Outage(kafka, method, NTH.get(phase, 1 if phase == "idle" else 2))
        fill_tweets(kafka.bootstrap, topic, range(200))
        guarantee = "at-least-once" if phase == "commit at least once" else "exactly-once"
        self.run = self.start(
            intercept=intercepting(**hooks(phase, self.outage)), retry_for=retry_for, guarantee=guarantee
        )
        if phase == "idle":
            self.run.until(lambda: self.committed() == 200, "all is done")
            self.outage()
        self.run.until(self.outage.begun.is_set, "the outage has begun")

    def start(self, *, intercept: Any = None, **options: Any) -> Run:
        """Start a run of the same group, with short timeouts if it is intercepted."""
        more = {} if intercept is None else {"intercept": intercept}
        given = {} if intercept is None else CAPS
        return Run(
            Options([self.topic], group=f"{self.topic}-group", max_batch=40, instance="one", **options),
            settings(self._kafka.bootstrap, **given),
            client=self._client,
            model=self._bundle,
            **more,
        )

    def committed(self) -> int:
        """How many messages the group has committed."""
        return sum(committed(self._kafka.bootstrap, f"{self.topic}-group", self.topic).values())

    def finish(self, run: Run, count: int, *, exactly: bool = True) -> None:
        """Have all committed, stop, and count."""
        run.until(lambda: self.committed() == count, f"{count} are committed")
        run.stop()
        found = counted(self._kafka.bootstrap, f"{self.topic}.scored")
        if exactly:
            assert found == exactly_once(count)
        else:
            assert set(found) == set(range(count))


@pytest.fixture(name="play")
def _play(local_kafka: LocalKafka, topic: Any, bundle: Path, client: str) -> Iterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def play(phase: str, method: str, retry_for: float) -> Scene:
        scenes.append(Scene(local_kafka, topic(2), bundle, client, phase, method, retry_for))
        return scenes[-1]

    yield play
    for scene in scenes:
        scene.run.__exit__(None, None, None)


@pytest.mark.parametrize(("client", "phase", "method"), played(OUTAGES, 0), indirect=["client"])
def test_outage_longer_than_any_timeout_is_survived(
    play: Callable[..., Scene], kafka: Any, phase: str, method: str
) -> None:
    scene = play(phase, method, 300)
    over = threading.Event()
    threading.Timer(AWAY, over.set).start()
    scene.run.until(over.is_set, "it goes on without a broker")
    scene.outage.end()
    fill_tweets(kafka.bootstrap, scene.topic, range(200, 240))
    scene.finish(scene.run, 240, exactly=phase != "commit at least once")


@pytest.mark.parametrize(("client", "phase", "method"), played(OUTAGES, 1), indirect=["client"])
def test_too_long_outage_ends_the_run_and_the_next_continues(
    play: Callable[..., Scene], phase: str, method: str
) -> None:
    scene = play(phase, method, 3)
    with pytest.raises(BrokerUnreachableError, match=r"no broker for 3 s: .*raise --retry-for"):
        scene.run.ended()
    scene.outage.end()
    with scene.start() as again:
        scene.finish(again, 200, exactly=phase != "commit at least once")


@pytest.mark.parametrize(("client", "phase", "method"), played(OTHERS, 0), indirect=["client"])
def test_stop_request_does_not_wait_for_brokers(play: Callable[..., Scene], phase: str, method: str) -> None:
    """Within the 60 s that ``ended`` waits, the grace period that the documentation asks for."""
    scene = play(phase, method, 3600)
    scene.run.ask()
    with suppress(BrokerUnreachableError):  # where something was under way
        scene.run.ended()
    assert scene.run.error is None or "what was not committed is read again" in str(scene.run.error)
    assert scene.run.error is None or phase != "idle"
    scene.outage.end()
    with scene.start() as again:
        scene.finish(again, 200, exactly=phase != "commit at least once")
