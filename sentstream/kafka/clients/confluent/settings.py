"""Translate settings from the Java client's names to librdkafka's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sentstream.errors import ClientConfigError
from sentstream.kafka.access.access import Access
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.access.tls import Pem

TRANSACTION_MS = 30_000
_RECONNECT_MS = 1000  # with librdkafka's 10 s it would still wait after the broker is back
_LARGEST = 64 << 20  # bytes of a record; the broker has its own limit
_FETCH = 52_428_800  # fetch.max.bytes of the Java client
_RESPONSE = 100_000_000  # bytes that librdkafka accepts in one response by default

#: Java's name -> librdkafka's name for the same setting, and librdkafka's limits if they are narrower.
_COMMON: Mapping[str, tuple[str, int, int]] = {
    "connections.max.idle.ms": ("connections.max.idle.ms", 0, 2**31 - 1),
    "metadata.max.age.ms": ("metadata.max.age.ms", 1, 86_400_000),
    "receive.buffer.bytes": ("socket.receive.buffer.bytes", 0, 100_000_000),
    "reconnect.backoff.max.ms": ("reconnect.backoff.max.ms", 0, 3_600_000),
    "reconnect.backoff.ms": ("reconnect.backoff.ms", 0, 3_600_000),
    "request.timeout.ms": ("socket.timeout.ms", 10, 300_000),
    "retry.backoff.ms": ("retry.backoff.ms", 1, 300_000),
    "send.buffer.bytes": ("socket.send.buffer.bytes", 0, 100_000_000),
    "socket.connection.setup.timeout.ms": ("socket.connection.setup.timeout.ms", 1000, 2**31 - 1),
}
_CONSUMER: Mapping[str, tuple[str, int, int]] = {
    "fetch.max.wait.ms": ("fetch.wait.max.ms", 0, 300_000),
    "fetch.min.bytes": ("fetch.min.bytes", 1, 100_000_000),
    "heartbeat.interval.ms": ("heartbeat.interval.ms", 1, 3_600_000),
    "max.partition.fetch.bytes": ("max.partition.fetch.bytes", 1, 1_000_000_000),
    "max.poll.interval.ms": ("max.poll.interval.ms", 1, 86_400_000),
    "session.timeout.ms": ("session.timeout.ms", 1, 3_600_000),
}
_PRODUCER: Mapping[str, tuple[str, int, int]] = {
    "linger.ms": ("linger.ms", 0, 900_000),
    "max.in.flight.requests.per.connection": ("max.in.flight.requests.per.connection", 1, 5),
    "request.timeout.ms": ("request.timeout.ms", 1, 900_000),
    "retries": ("retries", 1, 2**31 - 1),
}


def common(settings: Settings) -> dict[str, Any]:
    """Return what every handle of the library needs: the brokers' addresses and how to log in.

    Raises:
        ClientConfigError: librdkafka does not support the value of a setting.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": settings.text("bootstrap.servers"),
        "client.id": settings.text("client.id", "sentstream"),
        "client.dns.lookup": settings.text("client.dns.lookup", "use_all_dns_ips"),
        "log.connection.close": False,
        **_numbers(settings, _COMMON),
        **_security(settings),
    }
    if "metadata.max.age.ms" in config:  # another setting controls when new partitions are seen
        config["topic.metadata.refresh.interval.ms"] = min(config["metadata.max.age.ms"], 3_600_000)
    config.setdefault("reconnect.backoff.max.ms", _RECONNECT_MS)
    for low, high, default in (
        ("reconnect.backoff.ms", "reconnect.backoff.max.ms", _RECONNECT_MS),
        ("retry.backoff.ms", "retry.backoff.max.ms", 1000),
    ):
        if config.get(low, 0) > config.get(high, default):
            config[high] = config[low]
    return config


def consumer(settings: Settings, group: str, instance: str | None) -> dict[str, Any]:
    """Return the configuration of a group member; without ``instance``, a dynamic one."""
    fetch = max(1000, min(settings.integer("fetch.max.bytes", _FETCH), 2**31 - 513))
    config = {
        **reader(settings, group),
        **_numbers(settings, _CONSUMER),
        "partition.assignment.strategy": "cooperative-sticky",
        "fetch.max.bytes": fetch,
        "message.max.bytes": 1000,  # not used by a consumer, but fetch.max.bytes must not be less
        "receive.message.max.bytes": max(_RESPONSE, fetch + 512),
    }
    if instance is not None:
        config["group.instance.id"] = instance
    if config.get("max.poll.interval.ms", 300_000) < config.get("session.timeout.ms", 45_000):
        raise ClientConfigError(
            f"{settings.where('max.poll.interval.ms')} is below session.timeout.ms",
            hint="confluent-kafka requires it to be at least as long",
        )
    return config


def reader(settings: Settings, group: str) -> dict[str, Any]:
    """Return the configuration of a consumer that chooses its partitions itself."""
    config = {
        **common(settings),
        "group.id": group,
        "allow.auto.create.topics": False,
        "auto.offset.reset": "error",  # readers set the position
        "check.crcs": settings.flag("check.crcs", True),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,  # gives the end of a partition that ends with control records
        "isolation.level": "read_committed",
    }
    if (rack := settings.text("client.rack")) is not None:
        config["client.rack"] = rack
    return config


def producer(settings: Settings, transactional_id: str | None) -> dict[str, Any]:
    """Return the configuration of an idempotent producer; with ``transactional_id``, a transactional one."""
    largest = min(settings.integer("max.request.size", _LARGEST), 1_000_000_000)
    timeout = settings.integer("delivery.timeout.ms", 120_000)
    config = {
        **common(settings),
        "acks": "all",
        # Java's 16 KiB would take twice as long; if a topic accepts less, the producer adapts.
        "batch.size": max(1, min(settings.integer("batch.size", 1_000_000), 2**31 - 1)),
        "compression.type": settings.text("compression.type", "none"),
        "delivery.report.only.error": True,
        "enable.idempotence": True,
        "linger.ms": 5,
        "message.max.bytes": max(1000, largest),
        "partitioner": "murmur2_random",  # as the Java client does
        "topic.metadata.propagation.max.ms": 5000,  # until a topic is reported as missing
        "queue.buffering.max.messages": 0,  # only a limit in bytes
        **_numbers(settings, _PRODUCER),
    }
    if (memory := settings.integer("buffer.memory", 0)) > 0:
        config["queue.buffering.max.kbytes"] = max(1, min(memory >> 10, 2**31 - 1))
    if transactional_id is not None:
        transaction = settings.integer("transaction.timeout.ms", TRANSACTION_MS)
        transaction = max(1000, min(transaction, 2**31 - 1000))  # the library adds to it
        timeout = min(timeout or transaction, transaction)
        config |= {"transactional.id": transactional_id, "transaction.timeout.ms": transaction}
        # The library does not allow a longer timeout for an answer than for the transaction.
        config["socket.timeout.ms"] = min(
            config.get("socket.timeout.ms", 60_000), max(transaction - 100, 900)
        )
    return config | {"delivery.timeout.ms": timeout}


def _numbers(settings: Settings, names: Mapping[str, tuple[str, int, int]]) -> dict[str, int]:
    """Return the settings of ``names`` that are set, within librdkafka's limits; Java's -1 becomes 0."""
    return {
        option: max(low, min(settings.integer(name, 0), high))
        for name, (option, low, high) in names.items()
        if settings.text(name) is not None
    }


def _security(settings: Settings) -> dict[str, Any]:
    access = Access.read(settings)  # also checks certificates and keys, with better errors
    config: dict[str, Any] = {"security.protocol": access.protocol}
    if access.context is not None:
        config |= _tls(settings, access.files)
        if settings.text("ssl.cipher.suites") is not None:
            suites = access.context.get_ciphers()
            names = [suite["name"] for suite in suites if suite["protocol"] != "TLSv1.3"]
            config["ssl.cipher.suites"] = ":".join(names)
    if (login := access.login) is not None:
        config["sasl.mechanism"] = login.mechanism
        if (token := login.token) is not None:
            extensions = dict(login.extensions)

            def give(_config: str) -> tuple[str, float, str, dict[str, str]]:
                value, expires_at, principal = token()
                return value, expires_at, principal, extensions

            config["oauth_cb"] = give
        else:
            config |= {"sasl.username": login.username, "sasl.password": login.password}
    return config


def _tls(settings: Settings, files: Pem) -> dict[str, Any]:
    versions = settings.text("ssl.enabled.protocols")
    if versions is not None and not {"TLSv1.2", "TLSv1.3"} <= {each.strip() for each in versions.split(",")}:
        raise ClientConfigError(
            f"{settings.where('ssl.enabled.protocols')}: confluent-kafka cannot disable TLSv1.2 or TLSv1.3",
            hint="remove it, or use --client kafka-python",
        )
    check = settings.text("ssl.endpoint.identification.algorithm", "https")
    config = {
        "ssl.ca.pem": files.ca,
        "ssl.certificate.pem": files.certificate,
        "ssl.key.pem": files.key,
        "ssl.key.password": files.password,
        "ssl.endpoint.identification.algorithm": check or "none",
    }
    return {name: value for name, value in config.items() if value is not None}
