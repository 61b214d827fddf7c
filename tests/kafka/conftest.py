"""A Kafka broker for the tests: one per module that needs one, or an external one.

``SENTSTREAM_TEST_BOOTSTRAP=host:port`` names an external broker; tests that stop or stall the broker, or
that need its security, are then skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest
from bundles import make_bundle
from kafka import KafkaAdminClient
from kafka_runs import CLIENTS, available
from kafka_tools import make_topic

from tools.fetched import Unavailable
from tools.local_kafka import LocalKafka, Security


class Broker(Protocol):
    """What tests need of the broker."""

    @property
    def bootstrap(self) -> str:
        """Its address."""


@dataclass(frozen=True)
class ExternalKafka:
    """A broker that was started elsewhere."""

    bootstrap: str
    external: bool = True


class Topic(Protocol):
    """Creates a topic and returns its name; ``retention_ms=1000`` sets ``retention.ms``."""

    def __call__(self, partitions: int = 1, **configs: Any) -> str: ...


def unavailable(error: Unavailable) -> NoReturn:
    """Skip what needs a broker; in CI, where there must be one, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"no Kafka broker: {error}", pytrace=False)
    pytest.skip(f"no Kafka broker: {error}")


@pytest.fixture(scope="module")
def kafka() -> Iterator[Broker]:
    """The broker of this module.

    Not of the whole process: an idle broker takes CPU time too, and a start after a kill reads the logs of
    all topics, which among those of a few hundred other tests takes ten times as long as the first start.
    """
    if address := os.environ.get("SENTSTREAM_TEST_BOOTSTRAP"):
        yield ExternalKafka(address)
        return
    try:
        with LocalKafka() as broker:
            yield broker
    except Unavailable as error:
        unavailable(error)


@pytest.fixture(scope="module")
def secure_kafka() -> Iterator[LocalKafka]:
    """A second broker, with security."""
    if os.environ.get("SENTSTREAM_TEST_BOOTSTRAP"):
        pytest.skip("the broker that SENTSTREAM_TEST_BOOTSTRAP names may have no security")
    try:
        with LocalKafka(security=Security()) as broker:
            yield broker
    except Unavailable as error:
        unavailable(error)


@pytest.fixture
def local_kafka(kafka: Broker) -> Iterator[LocalKafka]:
    """The broker, for tests that stop, stall or kill it; it runs again for the next test."""
    if not isinstance(kafka, LocalKafka):
        pytest.skip("the broker that SENTSTREAM_TEST_BOOTSTRAP names is not ours to stop")
    yield kafka
    if kafka.alive:
        kafka.resume()
    else:
        kafka.start()


@pytest.fixture
def topic(kafka: Broker) -> Iterator[Topic]:
    """Makes topics for one test; they are deleted after it from a broker that is not ours."""
    made: list[str] = []

    def make(partitions: int = 1, **configs: Any) -> str:
        made.append(make_topic(kafka.bootstrap, partitions=partitions, **configs))
        return made[-1]

    yield make
    if made and isinstance(kafka, ExternalKafka):
        with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
            admin.delete_topics(made)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is small and quick to open."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """The name of a Kafka client: a test that asks for one runs with each."""
    return available(request.param)


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps instance ids in a temporary directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
