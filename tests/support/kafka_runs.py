"""Runs of ``sentstream consume`` in the test's process, and what they report."""

from __future__ import annotations

import json
import struct
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from kafka_tools import drain, fill
from processes import PATIENCE, wait_until

from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Admin, Client, Consumer, Partition, Producer
from sentstream.kafka.clients.patience import Patience
from sentstream.kafka.consume.run import Consumption, Options, prepare
from sentstream.kafka.scoring.process import Scoring
from sentstream.kafka.watch.events import Committed, Observer, Observers, Rebalance
from sentstream.model import Model, ModelOptions

CLIENTS = ("kafka-python", "confluent")
FIELDS = ("sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive")
#: Settings of a group that detects changes of its members quickly.
QUICK = {
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "200",
    "transaction.timeout.ms": "10000",
    "fetch.max.wait.ms": "100",
}


def available(client: str) -> str:
    """Return the name of a client; the test is skipped if it is not installed."""
    if client == "confluent":
        pytest.importorskip("confluent_kafka")
    return client


def settings(bootstrap: str, **overrides: object) -> Settings:
    """Return settings of a quick group; ``max_poll_interval_ms=3000`` sets ``max.poll.interval.ms``."""
    named = {name.replace("_", "."): str(value) for name, value in overrides.items()}
    return Settings.load(overrides={"bootstrap.servers": bootstrap} | QUICK | named, environ={})


class Recorder:
    """An observer that records what the loop reports."""

    def __init__(self) -> None:
        self.done: list[Committed] = []
        self.reasons: list[str] = []
        self.moves: list[tuple[Rebalance, set[Partition]]] = []
        self.owned: set[Partition] = set()
        self.lag: list[dict[Partition, int]] = []

    def committed(self, done: Committed) -> None:
        self.done.append(done)

    def aborted(self, reason: str) -> None:
        self.reasons.append(reason)

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        self.moves.append((kind, set(partitions)))
        self.owned = set(owned)

    def lags(self, lag: Mapping[Partition, int]) -> None:
        self.lag.append(dict(lag))

    @property
    def records(self) -> int:
        """The number of committed records."""
        return sum(one.records for one in list(self.done))

    def total(self, name: str) -> int:
        """Return the sum of a count of ``Committed``."""
        return sum(getattr(one, name) for one in list(self.done))

    def labels(self) -> Counter[str]:
        """Return the sums of the labels."""
        return sum((Counter(one.labels) for one in list(self.done)), Counter())

    def dead(self) -> Counter[str]:
        """Return the number of dead letters by class."""
        return sum((Counter(one.dead) for one in list(self.done)), Counter())

    def kinds(self) -> list[str]:
        """Return the kinds of the rebalances."""
        return [kind for kind, _ in list(self.moves)]


class Run:
    """``prepare`` and ``run`` in a thread.

    Args:
        options: What to consume, and how.
        given: The client's settings.
        client: The Kafka client.
        model: The bundle.
        observer: Another observer besides ``seen``.
        before_scoring: Called by the scoring thread before each batch.
        meddle: Called with the checked setup, which it may replace.
        more: Further arguments of ``prepare``.
    """

    def __init__(
        self,
        options: Options,
        kafka_settings: Settings,
        *,
        client: Any = "kafka-python",
        model: Path,
        observer: Observer | None = None,
        before_scoring: Callable[[], None] | None = None,
        intercept: Callable[[Consumption], Consumption] = lambda consumption: consumption,
        **more: Any,
    ) -> None:
        self.options, self.seen, self.warnings = options, Recorder(), list[str]()
        self.summary: dict[str, Any] = {}
        self.error: BaseException | None = None
        self._before, self._intercept = before_scoring, intercept
        self._observer: Observer = self.seen if observer is None else Observers(self.seen, observer)
        self._patience: Patience | None = None
        self._stop = False
        arguments = {
            "client": client,
            "model": ModelOptions(model=str(model), provider="cpu", threads=1),
            **more,
        }
        self._thread = threading.Thread(
            target=self._run, args=(options, kafka_settings, arguments), daemon=True
        )
        self._thread.start()

    def _run(self, options: Options, kafka_settings: Settings, arguments: dict[str, Any]) -> None:
        try:
            with prepare(options, kafka_settings, warn=self.warnings.append, **arguments) as consumption:
                if self._before is not None:
                    held = Held(consumption.scoring, self._before)
                    ready = self._intercept(replace(consumption, scoring=held))
                else:
                    ready = self._intercept(consumption)
                self.summary = consumption.to_dict()
                self._patience = ready.patience
                if self._stop:
                    self._patience.stop()
                ready.run(self._observer, warn=self.warnings.append)
        except BaseException as error:
            self.error = error

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def until(self, holds: Callable[[], object], description: str = "") -> None:
        """Wait until a condition is true while it runs."""

        def check() -> bool:
            if self.error is not None:
                raise self.error
            return bool(holds()) or not self.alive

        wait_until(check, f"{description}; {self.seen.moves} {self.seen.reasons} {self.warnings}")
        if not holds():
            raise self.error or AssertionError(f"it ended before: {description or holds}")

    def joined(self, count: int = 1) -> Self:
        """Wait until it owns ``count`` partitions."""
        self.until(lambda: len(self.seen.owned) >= count, f"{count} partitions are ours")
        return self

    def ask(self) -> None:
        """Ask it to stop, without waiting."""
        self._stop = True
        if self._patience is not None:
            self._patience.stop()

    def ended(self) -> Recorder:
        """Wait until it has ended by itself, and raise its error, if any."""
        self._thread.join(PATIENCE)
        assert not self.alive, f"it does not end: {self.seen.moves} {self.seen.reasons} {self.seen.lag[-3:]}"
        if self.error is not None:
            raise self.error
        return self.seen

    def stop(self) -> Recorder:
        """Ask it to stop, and wait."""
        self.ask()
        return self.ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ask()
        self._thread.join(PATIENCE)


class Held:
    """A scorer that calls a function before each batch."""

    def __init__(self, scoring: Scoring, before: Callable[[], None]) -> None:
        self._scoring, self._before, self.model_info = scoring, before, scoring.model_info

    def score(self, texts: Any) -> Any:
        """See ``Scoring``."""
        self._before()
        return self._scoring.score(texts)


class Interceptor:
    """A producer or consumer that calls a function before some of its methods."""

    def __init__(self, inner: Any, before: Mapping[str, Callable[[], None]]) -> None:
        self._inner, self._before = inner, before

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)
        before = self._before.get(name)
        if before is None:
            return verb

        def call(*arguments: Any, **options: Any) -> Any:
            before()
            return verb(*arguments, **options)

        return call


def intercepting(
    *,
    producer: Mapping[str, Callable[[], None]] | None = None,
    consumer: Mapping[str, Callable[[], None]] | None = None,
) -> Callable[[Consumption], Consumption]:
    """Return an ``intercept`` for ``Run`` that calls functions before methods of a client."""

    class InterceptingClient:
        def __init__(self, client: Client) -> None:
            self._client, self.name = client, client.name

        def producer(self, transactional_id: str | None) -> Producer:
            return Interceptor(self._client.producer(transactional_id), producer or {})  # type: ignore[return-value]

        def consumer(self, group: str, **options: Any) -> Consumer:
            return Interceptor(self._client.consumer(group, **options), consumer or {})  # type: ignore[return-value]

        def admin(self) -> Admin:
            return self._client.admin()

    return lambda consumption: replace(consumption, client=InterceptingClient(consumption.client))


class FailsAtFirst:
    """A callable that raises an error the first ``times`` times."""

    def __init__(self, error: BaseException, times: int = 1) -> None:
        self._error, self.left = error, times

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise self._error


def tweet(number: int) -> str:
    """Return a numbered tweet."""
    words = "i love you so good bad awful hate it great this is not a day".split()
    picked = [words[(number * step) % len(words)] for step in range(1, 2 + number % 9)]
    return f"{' '.join(picked)} {number}"


def fill_tweets(bootstrap: str, topic: str, numbers: Sequence[int], **options: Any) -> None:
    """Send numbered tweets, with their numbers as keys."""
    records = [
        (str(number).encode(), json.dumps({"id": number, "text": tweet(number)}).encode(), (), None)
        for number in numbers
    ]
    fill(bootstrap, topic, records, **options)


def counted(bootstrap: str, topic: str) -> Counter[int]:
    """Return how often each number is in the results."""
    return Counter(json.loads(record.value)["id"] for record in drain(bootstrap, topic))


def exactly_once(count: int) -> Counter[int]:
    """Return what ``counted`` should return."""
    return Counter(range(count))


def bits(shares: Sequence[float | None]) -> list[bytes | None]:
    """Return probabilities as the bits of float32."""
    return [None if share is None else struct.pack("<f", share) for share in shares]


def expected(model: Path, texts: Sequence[str | None], **more: Any) -> list[tuple[str | None, list[Any]]]:
    """Return the label of each text from ``Model.score``, and the bits of its probabilities."""
    table = Model.load(str(model), provider="cpu", threads=1, **more).score(list(texts))
    columns = [table[name].to_pylist() for name in ("sentiment", *FIELDS)]
    return [(label, bits(shares)) for label, *shares in zip(*columns, strict=True)]


def as_expected(value: bytes) -> tuple[str | None, list[Any]]:
    """Return a result in the form of ``expected``."""
    row = json.loads(value)
    return row["sentiment"], bits([row[name] for name in FIELDS])
