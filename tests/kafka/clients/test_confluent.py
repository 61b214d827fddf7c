"""Specifics of the confluent-kafka client; what all clients do is tested in test_clients.py."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import processes
import pytest
from kafka import KafkaProducer
from kafka_tools import drain
from processes import PATIENCE, child

from sentstream.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnreachableError,
    ClientConfigError,
    DeliveryError,
    FencedError,
    MissingExtraError,
    TlsError,
    TopicNotFoundError,
    how_to_install,
)
from sentstream.kafka.access.settings import USED, Integer, Settings
from sentstream.kafka.clients.api import (
    Consumer,
    Outgoing,
    Partition,
    Producer,
    StaleGenerationError,
    StoredRecord,
    UnreadableRecordError,
)
from sentstream.kafka.clients.confluent import settings as configs
from sentstream.kafka.clients.confluent.client import ConfluentClient
from sentstream.kafka.clients.confluent.consumer import ConfluentConsumer
from sentstream.kafka.clients.confluent.errors import ErrorCollector, converted, is_lost, opened
from sentstream.kafka.clients.confluent.records import sendable
from tools.local_kafka import LocalKafka

confluent_kafka = pytest.importorskip("confluent_kafka")

MODULES = "org.apache.kafka.common.security"
SCRAM = f'{MODULES}.scram.ScramLoginModule required username="alice" password="alice-secret";'


class Broker(Protocol):
    @property
    def bootstrap(self) -> str: ...


class MakeTopic(Protocol):
    def __call__(self, partitions: int = 1, **configs: Any) -> str: ...


def load(servers: str = "localhost:9092", **given: str) -> Settings:
    names = {name.replace("_", "."): value for name, value in given.items()}
    return Settings.load(overrides={"bootstrap.servers": servers, **names}, environ={})


@pytest.fixture
def closing() -> Iterator[Callable[..., Any]]:
    """Closes its arguments when the test ends."""
    with ExitStack() as stack:

        def close_later(opened: Any) -> Any:
            stack.callback(opened.close)
            return opened

        yield close_later


class Reading:
    """A listener that starts at the beginning and records its calls."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.told: list[tuple[str, list[Partition]]] = []

    def assigned(self, partitions: Collection[Partition]) -> None:
        self.told.append(("assigned", sorted(partitions)))
        self.consumer.seek(self.consumer.beginning_offsets(partitions))

    def revoked(self, partitions: Collection[Partition]) -> None:
        self.told.append(("revoked", sorted(partitions)))

    def lost(self, partitions: Collection[Partition]) -> None:
        self.told.append(("lost", sorted(partitions)))


def wait_until(condition: Callable[[], Any], consumer: Consumer) -> list[StoredRecord]:
    """Poll until a condition is true; return all records received."""
    records: list[Any] = []
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        records += consumer.poll(0.1, 1000)
    return records


def read(consumer: Consumer, count: int) -> list[StoredRecord]:
    records: list[Any] = []
    deadline = time.monotonic() + PATIENCE
    while len(records) < count:
        assert time.monotonic() < deadline, records
        records += consumer.poll(0.2, count - len(records))
    return records


def send(producer: Producer, messages: Sequence[Outgoing]) -> None:
    producer.begin()
    assert producer.send(messages) == []
    producer.commit()


# Settings


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(MissingExtraError) as caught:
        ConfluentClient(load())
    assert caught.value.hint == how_to_install("fast-kafka")


def test_java_names_are_mapped_to_librdkafka() -> None:
    settings = load(
        connections_max_idle_ms="-1",
        request_timeout_ms="20000",
        receive_buffer_bytes="-1",
        send_buffer_bytes="70000",
        reconnect_backoff_ms="20000",
        fetch_max_wait_ms="100",
        fetch_min_bytes="0",
        session_timeout_ms="6000",
        client_rack="a",
        max_request_size="5000000",
        buffer_memory="33554432",
        linger_ms="7",
        compression_type="zstd",
        batch_size="0",
    )
    consumer = configs.consumer(settings, "g", "i-1")
    assert {
        "group.id": "g",
        "group.instance.id": "i-1",
        "connections.max.idle.ms": 0,
        "socket.timeout.ms": 20_000,
        "socket.receive.buffer.bytes": 0,
        "socket.send.buffer.bytes": 70_000,
        "reconnect.backoff.max.ms": 20_000,
        "fetch.wait.max.ms": 100,
        "fetch.min.bytes": 1,
        "session.timeout.ms": 6000,
        "client.rack": "a",
        "client.id": "sentstream",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "partition.assignment.strategy": "cooperative-sticky",
    }.items() <= consumer.items()
    producer = configs.producer(settings, None)
    assert {
        "message.max.bytes": 5_000_000,
        "queue.buffering.max.kbytes": 32_768,
        "linger.ms": 7,
        "compression.type": "zstd",
        "batch.size": 1,
        "request.timeout.ms": 20_000,
        "delivery.timeout.ms": 120_000,
        "partitioner": "murmur2_random",
    }.items() <= producer.items()
    assert "transactional.id" not in producer
    assert "group.instance.id" not in configs.consumer(settings, "g", None)


def test_delivery_timeout_is_bounded_by_the_transaction() -> None:
    config = configs.producer(load(transaction_timeout_ms="8000"), "tx")
    assert config["transactional.id"] == "tx"
    assert config["transaction.timeout.ms"] == config["delivery.timeout.ms"] == 8000
    assert config["socket.timeout.ms"] < 8000


@pytest.mark.parametrize("end", ["low", "high"])
def test_librdkafka_accepts_every_allowed_number(end: str) -> None:
    given = {name: str(getattr(kind, end)) for name, kind in USED.items() if isinstance(kind, Integer)}
    settings = Settings.load(overrides=given, environ={})
    opened(
        confluent_kafka.Consumer, configs.consumer(settings, "g", "i"), ErrorCollector(lambda: None)
    ).close()
    for transactional_id in None, "id":
        opened(
            confluent_kafka.Producer,
            configs.producer(settings, transactional_id),
            ErrorCollector(lambda: None),
        )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"max_poll_interval_ms": "5000", "session_timeout_ms": "6000"}, "max.poll.interval.ms"),
        ({"security_protocol": "SSL", "ssl_enabled_protocols": "TLSv1.3"}, "ssl.enabled.protocols"),
    ],
)
def test_unsupported_settings_are_reported(given: dict[str, str], named: str) -> None:
    with pytest.raises(ClientConfigError, match=named):
        configs.consumer(load(**given), "g", None)


def test_errors_are_distinguished_and_one_line() -> None:
    error = confluent_kafka.KafkaError
    assert isinstance(converted(error(error.ILLEGAL_GENERATION), "commit"), StaleGenerationError)
    assert isinstance(converted(error(error.FENCED_INSTANCE_ID), "poll"), FencedError)
    failure = converted(error(error._AUTHENTICATION, "SASL failed\nfor reasons."), "logging in failed")
    assert isinstance(failure, AuthenticationError)
    assert failure.message == "logging in failed: SASL failed for reasons"


def test_unknown_only_to_the_library_is_not_missing_in_the_cluster() -> None:
    """Negative codes are librdkafka's own: it may have lost its brokers, and with them all that it knew."""
    names = [name for name in dir(confluent_kafka.KafkaError) if name.isupper() and name.startswith("_")]
    errors = [confluent_kafka.KafkaError(getattr(confluent_kafka.KafkaError, name)) for name in names]
    local = [error for error in errors if error.code() < 0]
    assert len(local) > 40
    for error in local:
        assert not isinstance(converted(error, "t"), TopicNotFoundError | AuthorizationError), error.name()
        explained = ErrorCollector(lambda: None).explain(error, "t")
        assert not isinstance(explained, AuthenticationError | TlsError), error.name()
    # With _DESTROY a delivery fails, too, whose broker the library dropped while the topic was deleted.
    for code in confluent_kafka.KafkaError._UNKNOWN_PARTITION, confluent_kafka.KafkaError._DESTROY:
        unknown = converted(confluent_kafka.KafkaError(code), "lags")
        assert isinstance(unknown, BrokerUnreachableError)


def test_failed_login_is_diagnosed() -> None:
    """A connection that breaks while we log in looks to librdkafka like a login that was refused."""
    error = confluent_kafka.KafkaError(confluent_kafka.KafkaError._AUTHENTICATION, "broken off")

    def refused() -> None:
        raise AuthenticationError("the password is wrong")

    assert str(ErrorCollector(refused).explain(error, "reading")) == "the password is wrong"
    assert isinstance(ErrorCollector(lambda: None).explain(error, "reading"), BrokerUnreachableError)


# Security


def secured(broker: LocalKafka, **more: str) -> dict[str, str]:
    return {"security_protocol": "SASL_SSL", "ssl_truststore_location": str(broker.ca)} | {
        "ssl_truststore_type": "PEM",
        **more,
    }


def exchange(settings: Settings, topic: str, closing: Callable[..., Any]) -> None:
    """Write a record and read it."""
    client = ConfluentClient(settings)
    client.check()
    admin = closing(client.admin())
    admin.create(topic, 1)
    send(closing(client.producer(topic)), [Outgoing(topic, b"k", b"v")])
    (record,) = admin.read(Partition(topic, 0), 0, 10)
    assert (record.key, record.value) == (b"k", b"v")


def test_scram_over_tls(secure_kafka: LocalKafka, closing: Callable[..., Any]) -> None:
    given = secured(secure_kafka, sasl_mechanism="SCRAM-SHA-512", sasl_jaas_config=SCRAM)
    exchange(load(secure_kafka.sasl_ssl, **given), "scram", closing)


def test_client_certificate(secure_kafka: LocalKafka, closing: Callable[..., Any]) -> None:
    given = {
        "security_protocol": "SSL",
        "ssl_truststore_certificates": secure_kafka.ca.read_text(),
        "ssl_truststore_type": "PEM",
        "ssl_keystore_type": "PEM",
        "ssl_keystore_certificate_chain": secure_kafka.client_certificate.read_text(),
        "ssl_keystore_key": secure_kafka.client_key.read_text(),
        "ssl_endpoint_identification_algorithm": "",
    }
    exchange(load(secure_kafka.mtls, **given), "certificate", closing)


def test_tokens_are_fetched_on_demand(secure_kafka: LocalKafka, closing: Callable[..., Any]) -> None:
    jaas = f'{MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="alice";'
    given = secured(secure_kafka, sasl_mechanism="OAUTHBEARER", sasl_jaas_config=jaas)
    exchange(load(secure_kafka.sasl_ssl, **given), "token", closing)


def test_token_error_is_explained(secure_kafka: LocalKafka, tmp_path: Path) -> None:
    given = secured(secure_kafka, sasl_mechanism="OAUTHBEARER")
    given["sasl_oauthbearer_token_endpoint_url"] = (tmp_path / "token").as_uri()
    client = ConfluentClient(load(secure_kafka.sasl_ssl, **given))
    with pytest.raises(AuthenticationError, match="token"):
        client.producer(None)


def test_wrong_password_is_an_authentication_error(
    secure_kafka: LocalKafka, capfd: pytest.CaptureFixture[str]
) -> None:
    jaas = SCRAM.replace("alice-secret", "hunter2")
    given = secured(secure_kafka, sasl_mechanism="SCRAM-SHA-512", sasl_jaas_config=jaas)
    client = ConfluentClient(load(secure_kafka.sasl_ssl, max_block_ms="3000", **given))
    with pytest.raises(AuthenticationError) as caught:
        client.producer("tx")
    assert "hunter2" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "librdkafka writes its log to stderr unless told not to"


# Positions


def test_requests_are_not_delayed_by_a_fetch(
    kafka: Broker, topic: MakeTopic, closing: Callable[..., Any]
) -> None:
    name = topic()
    client = ConfluentClient(load(kafka.bootstrap, fetch_max_wait_ms="60000"))
    consumer = closing(client.consumer(f"g-{name}", instance=None, limit=10))
    consumer.subscribe([name], Reading(consumer))
    wait_until(consumer.assignment, consumer)
    consumer.poll(0.3, 10)
    began = time.monotonic()
    assert consumer.end_offsets(consumer.assignment()) == {Partition(name, 0): 0}
    assert time.monotonic() - began < 60


# Headers


class Odd(str):
    """A header's key that kafka-python encodes as we like."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return str.encode(self, "utf-8", "surrogateescape")


def test_header_key_that_is_not_utf8_is_read_with_surrogates(
    kafka: Broker, topic: MakeTopic, closing: Callable[..., Any]
) -> None:
    name = topic()
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for _ in range(100):  # Python calls in another way what it has called often
        producer.send(name, b"before", headers=[("a", b"1")])
    producer.send(name, b"one", headers=[("a", b"1"), (Odd("\udcffk"), b"2"), ("b", b"3")])
    producer.send(name, b"two", headers=[(Odd("\udcffk"), b"2"), (Odd("\udcfe"), b"3")])
    producer.send(name, b"after")
    producer.flush()
    producer.close()
    consumer = closing(ConfluentClient(load(kafka.bootstrap)).consumer(f"g-{name}", instance=None, limit=10))
    consumer.subscribe([name], Reading(consumer))
    *_, before, odd = read(consumer, 101)
    assert before.headers == [("a", b"1")]
    assert odd.value == b"one"
    assert odd.headers == [("a", b"1"), ("\udcffk", b"2"), ("b", b"3")]
    with pytest.raises(UnreadableRecordError, match="not UTF-8") as caught:
        wait_until(lambda: False, consumer)
    assert (caught.value.offset, caught.value.next_offset) == (101, 102)
    consumer.seek({caught.value.partition: 102})
    assert [record.value for record in read(consumer, 1)] == [b"after"]


def test_headers_match_the_java_client() -> None:
    headers = [("a", None), ("\udcffk", b"1"), ("é", b"")]
    assert sendable(headers) == [("a", None), ("�k", b"1"), ("é", b"")]


# Sending


@pytest.mark.parametrize("transactional_id", [None, "transactional"])
def test_small_record_is_not_rejected_because_of_its_neighbors(
    kafka: Broker, topic: MakeTopic, closing: Callable[..., Any], transactional_id: str | None
) -> None:
    name = topic(max_message_bytes=3000)
    client = ConfluentClient(load(kafka.bootstrap))
    producer = closing(client.producer(transactional_id and name))
    messages = [Outgoing(name, None, b"%d" % n * (4000 if n == 7 else 800)) for n in range(9)]
    if transactional_id is None:
        assert [refusal.position for refusal in producer.send(messages)] == [7]
    else:
        producer.begin()
        assert producer.send(messages[:2]) == []
        assert [refusal.position for refusal in producer.send(messages[2:])] == [5]
        producer.abort()
        del messages[7]
        send(producer, messages)
    values = [record.value[:1] for record in drain(kafka.bootstrap, name)]
    assert sorted(values) == [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"8"]


# The broker fails


@pytest.fixture
def loses_brokers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the next check report that the brokers are lost.

    Whether librdkafka comes to that depends on which of its threads is faster.
    """

    def lose(module: str) -> None:
        found = iter([True])
        name = f"sentstream.kafka.clients.confluent.{module}"
        monkeypatch.setattr(f"{name}.is_lost", lambda handle, fresh: next(found, False))

    return lose


#: A member whose listener asks the brokers something, with another callback in the same poll.
ASKING = """
import sys, time
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.confluent import consumer as module
from sentstream.kafka.clients.confluent.client import ConfluentClient
from sentstream.kafka.clients.patience import Patience

told = []
opened = module.opened
module.opened = lambda kind, config, trouble: opened(
    kind, {**config, "statistics.interval.ms": 20, "stats_cb": told.append}, trouble
)

class Listener:
    asked = 0

    def assigned(self, partitions):
        consumer._ask("asking failed", consumer._ask_anything)
        self.asked = len(told)
        time.sleep(0.5)

    def revoked(self, partitions): ...
    def lost(self, partitions): ...

servers, topic = sys.argv[1:]
listener = Listener()
settings = Settings.load(overrides={"bootstrap.servers": servers}, environ={})
consumer = ConfluentClient(settings, Patience(300)).consumer(topic, instance=None, limit=10)
consumer.subscribe([topic], listener)
while not listener.asked or len(told) < listener.asked + 5:
    consumer.poll(1.0, 10)
consumer.close()
print("well")
"""


def test_listener_that_queries_brokers_does_not_crash(kafka: Broker, topic: MakeTopic) -> None:
    """The library aborts where a callback follows one that has listed topics with the same handle."""
    command = [sys.executable, "-c", ASKING, kafka.bootstrap, topic()]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.communicate(timeout=PATIENCE) == ("well\n", "")
    assert process.returncode == 0


def test_static_member_closing_in_a_rebalance_ends_its_threads(
    kafka: Broker, topic: MakeTopic, closing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one would wait for a callback of the rebalance forever, and take up a core."""
    callbacks: list[str] = []
    for name in "_assigned", "_revoked", "_lost":
        monkeypatch.setattr(ConfluentConsumer, name, recording(getattr(ConfluentConsumer, name), callbacks))
    name, others = topic(2), library_handles()
    client = ConfluentClient(load(kafka.bootstrap, heartbeat_interval_ms="300"))
    first = closing(client.consumer(f"g-{name}", instance="first", limit=10))
    reading = Reading(first)
    first.subscribe([name], reading)
    wait_until(lambda: len(first.assignment()) == 2, first)
    second = closing(client.consumer(f"g-{name}", instance="second", limit=10))
    second.subscribe([name], Reading(second))  # the first is to give up one of its partitions
    wait_until(lambda: "_assigned" in callbacks[1:], second)
    told = list(reading.told)
    first.close()
    assert reading.told == told
    wait_until(lambda: len(second.assignment()) == 2, second)
    second.close()
    processes.wait_until(lambda: library_handles() <= others)


def test_member_fenced_after_its_session_ended_rejoins(
    kafka: Broker, topic: MakeTopic, closing: Callable[..., Any]
) -> None:
    """An earlier request of its own may have fenced it. If not, it fences the other one, which then ends."""
    name = topic()
    client = ConfluentClient(load(kafka.bootstrap, heartbeat_interval_ms="300"))
    consumer = closing(client.consumer(f"g-{name}", instance="one", limit=10))
    reading = Reading(consumer)
    consumer.subscribe([name], reading)
    wait_until(consumer.assignment, consumer)
    client._leave(f"g-{name}", "one")  # as the coordinator does when a session ends
    wait_until(lambda: [kind for kind, _ in reading.told] == ["assigned", "lost", "assigned"], consumer)
    other = closing(client.consumer(f"g-{name}", instance="one", limit=10))
    other.subscribe([name], Reading(other))
    with pytest.raises(StaleGenerationError, match="fenced"):
        wait_until(lambda: other.poll(0.1, 1), consumer)
    with pytest.raises(FencedError, match="instance"):
        wait_until(lambda: consumer.poll(0.1, 1), other)


def library_handles() -> int:
    """How many handles librdkafka runs in this process; each has a main thread."""
    count = 0
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # the thread has just ended
            count += path.read_text().startswith("rdk:main")
    return count


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux lists threads there")
def test_error_of_a_listener_does_not_keep_a_closed_handle_alive(kafka: Broker, topic: MakeTopic) -> None:
    """It would join again with the same name, and fence its successor."""
    name, before = topic(), library_handles()
    consumer = ConfluentClient(load(kafka.bootstrap)).consumer(f"g-{name}", instance="one", limit=10)
    reading = Reading(consumer)

    def fail(_: Collection[Partition]) -> None:
        raise StaleGenerationError("for a test")

    reading.assigned = fail  # type: ignore[method-assign]
    consumer.subscribe([name], reading)
    gc.disable()  # which would find the handle in a circle at any time
    try:
        with pytest.raises(StaleGenerationError, match="for a test") as raised:
            wait_until(lambda: False, consumer)
        consumer.close(leave=False)
        processes.wait_until(lambda: library_handles() <= before, "the handle is gone")
        assert raised.tb is not None  # it was held until now
    finally:
        gc.enable()


def recording(method: Callable[..., None], calls: list[str]) -> Callable[..., None]:
    """Wrap a method so that it records its name in ``calls`` first."""

    @functools.wraps(method)
    def record(*arguments: Any) -> None:
        calls.append(method.__name__)
        method(*arguments)

    return record


@pytest.mark.slow
def test_records_do_not_prove_that_an_outage_is_over(
    local_kafka: LocalKafka, topic: MakeTopic, closing: Callable[..., Any]
) -> None:
    """They may have been fetched before it, and the library reports it only once."""
    name = topic()
    client = ConfluentClient(load(local_kafka.bootstrap, default_api_timeout_ms="3000"))
    send(closing(client.producer(f"of-{name}")), [Outgoing(name, None, b"one")])
    consumer = closing(client.consumer(f"g-{name}", instance=None, limit=10))
    consumer.subscribe([name], Reading(consumer))
    read(consumer, 1)
    local_kafka.stop()
    wait_until(lambda: consumer._errors_seen.down() > 0, consumer)
    consumer._errors_seen.note_records()
    with pytest.raises(BrokerUnreachableError):
        wait_until(lambda: False, consumer)


class TestLostBrokers:
    """librdkafka may drop all brokers for good when one that comes back from a stall names none."""

    def test_brokers_are_lost_only_if_another_client_finds_them(
        self, kafka: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sentstream.kafka.clients.confluent.errors._RECONNECTING", 0.5)

        def at(address: str) -> Any:
            return confluent_kafka.Producer(
                {"bootstrap.servers": address, "error_cb": lambda error: None, "log_level": 0}
            )

        nowhere = "127.0.0.1:1"
        assert is_lost(at(nowhere), lambda: at(kafka.bootstrap))
        assert not is_lost(at(kafka.bootstrap), lambda: at(kafka.bootstrap))
        assert not is_lost(at(nowhere), lambda: at(nowhere))

    @pytest.mark.slow
    def test_transaction_is_restarted(
        self,
        local_kafka: LocalKafka,
        topic: MakeTopic,
        closing: Callable[..., Any],
        loses_brokers: Callable[[str], None],
    ) -> None:
        name = topic()
        producer = closing(ConfluentClient(load(local_kafka.bootstrap)).producer(f"of-{name}"))
        producer.begin()
        assert producer.send([Outgoing(name, None, b"first")]) == []
        loses_brokers("producer")
        local_kafka.pause()
        with pytest.raises(StaleGenerationError, match="lost all brokers"):
            producer.send([Outgoing(name, None, b"more")])
        local_kafka.resume()
        producer.abort()
        send(producer, [Outgoing(name, None, b"second")])
        assert [each.value for each in drain(local_kafka.bootstrap, name)] == [b"second"]

    @pytest.mark.slow
    def test_without_a_transaction_sending_ends(
        self,
        local_kafka: LocalKafka,
        topic: MakeTopic,
        closing: Callable[..., Any],
        loses_brokers: Callable[[str], None],
    ) -> None:
        """The sent records may or may not be there."""
        name = topic()
        producer = closing(ConfluentClient(load(local_kafka.bootstrap)).producer(None))
        assert producer.send([Outgoing(name, None, b"first")]) == []
        loses_brokers("producer")
        local_kafka.pause()
        with pytest.raises(DeliveryError, match="lost all brokers"):
            producer.send([Outgoing(name, None, b"second")])
        local_kafka.resume()
        assert producer.send([Outgoing(name, None, b"third")]) == []

    @pytest.mark.slow
    def test_member_rejoins(
        self,
        local_kafka: LocalKafka,
        topic: MakeTopic,
        closing: Callable[..., Any],
        loses_brokers: Callable[[str], None],
    ) -> None:
        name = topic()
        client = ConfluentClient(load(local_kafka.bootstrap, session_timeout_ms="6000"))
        send(closing(client.producer(f"of-{name}")), [Outgoing(name, None, b"one")])
        consumer = closing(client.consumer(f"g-{name}", instance=None, limit=100))
        reading = Reading(consumer)
        consumer.subscribe([name], reading)
        assert [record.value for record in read(consumer, 1)] == [b"one"]
        loses_brokers("consumer")
        local_kafka.pause()
        with pytest.raises(StaleGenerationError, match="rejoining the group"):
            consumer.commit({Partition(name, 0): 1})
        local_kafka.resume()
        assert consumer.assignment() == set()
        assert [record.value for record in read(consumer, 1)] == [b"one"]
        assert [kind for kind, _ in reading.told] == ["assigned", "lost", "assigned"]
