"""kafka-python as a ``Client``."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from kafka import errors as kafka
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket

from sentstream.errors import BrokerUnreachableError
from sentstream.kafka.access.access import Access
from sentstream.kafka.access.probe import TokenProvider, reach
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Admin, Consumer, Producer
from sentstream.kafka.clients.kafka_python.admin import PythonAdmin
from sentstream.kafka.clients.kafka_python.consumer import PythonConsumer, consumer_config
from sentstream.kafka.clients.kafka_python.errors import translated
from sentstream.kafka.clients.kafka_python.producer import PythonProducer, producer_config
from sentstream.kafka.clients.kafka_python.records import read_any_header
from sentstream.kafka.clients.patience import Patience

T = TypeVar("T")

_ATTEMPT = 5.0  # seconds per attempt to connect, before checking whether there is time for another
_NEVER = 2**31 - 1  # ms, for connections.max.idle.ms
# Larger than any answer, and smaller than the first bytes of a TLS alert taken as a length.
_LARGEST_ANSWER = 256 << 20

# kafka-python also logs what our errors say; to see its logs, add a handler.
logging.getLogger("kafka").addHandler(logging.NullHandler())


class PythonClient:
    """kafka-python as an ``api.Client``."""

    name = "kafka-python"

    def __init__(self, settings: Settings, patience: Patience | None = None) -> None:
        self._settings, self._patience = settings, patience or Patience()
        self._connection = connection(settings)
        read_any_header()

    def check(self) -> None:
        reach(self._settings)

    def consumer(self, group: str, *, instance: str | None, limit: int) -> Consumer:
        config = consumer_config(self._settings, limit)
        config |= {"group_id": group, "group_instance_id": instance}
        return PythonConsumer(self._open, config, self._settings, self._patience)

    def producer(self, transactional_id: str | None) -> Producer:
        config = producer_config(self._settings, transactional_id)
        return PythonProducer(self._open, config, self._settings, self._patience)

    def admin(self) -> Admin:
        reading = consumer_config(self._settings, 500)
        return PythonAdmin(self._open, reading, self._settings, self._patience)

    def _open(self, kind: Callable[..., T], config: dict[str, Any]) -> T:
        """Open one of kafka-python's clients and connect it.

        Raises:
            KafkaError: It cannot connect. Nothing stays open then.
        """
        deadline = self._patience.deadline(self._connection["bootstrap_timeout_ms"] / 1000)
        while True:
            try:
                attempt = 1000 * max(0.01, deadline.slice(_ATTEMPT))
                return opened(
                    kind, self._settings, self._connection | config | {"bootstrap_timeout_ms": attempt}
                )
            except kafka.KafkaTimeoutError as error:
                if deadline.left() > 0:
                    continue
                if not self._patience.stopping:
                    reach(self._settings)  # kafka-python does not say why
                servers = self._settings.text("bootstrap.servers")
                raise BrokerUnreachableError(f"{servers}: no broker answered in time") from error
            except kafka.KafkaError as error:
                raise translated(error, "the client cannot start") from error


def opened(kind: Callable[..., T], settings: Settings, config: dict[str, Any]) -> T:
    """Open one of kafka-python's clients, and leave nothing open if that fails.

    The library's own constructors leave their connections and a thread behind.

    Raises:
        kafka.errors.KafkaError: The constructor failed.
    """
    created: list[Any] = []

    def connections(**configs: Any) -> Any:
        timeout = settings.integer("socket.connection.setup.timeout.ms", 10_000)
        created.append(KafkaNetClient(socket_connection_setup_timeout_ms=timeout, **configs))
        return created[-1]

    try:
        return kind(**config, kafka_client=connections)
    except BaseException:
        for each in created:
            with suppress(Exception):
                each.close()
        raise


def connection(settings: Settings) -> dict[str, Any]:
    """Return the options that consumers, producers and admin clients share."""
    access = Access.read(settings)
    idle = settings.integer("connections.max.idle.ms", 540_000)
    config: dict[str, Any] = {
        "bootstrap_servers": (settings.text("bootstrap.servers") or "").split(","),
        "bootstrap_timeout_ms": settings.integer("default.api.timeout.ms", 60_000),
        "client_id": settings.text("client.id", "sentstream"),
        "client_dns_lookup": settings.text("client.dns.lookup", "use_all_dns_ips"),
        "connections_max_idle_ms": idle if idle >= 0 else _NEVER,
        "proxy_url": f"{_ClosingSockets.SCHEMES[0]}://",
        "metadata_max_age_ms": settings.integer("metadata.max.age.ms", 300_000),
        "receive_message_max_bytes": _LARGEST_ANSWER,
        # With kafka-python's default it might wait half a minute after the broker is back.
        "reconnect_backoff_ms": settings.integer("reconnect.backoff.ms", 50),
        "reconnect_backoff_max_ms": settings.integer("reconnect.backoff.max.ms", 1000),
        "request_timeout_ms": settings.integer("request.timeout.ms", 30_000),
        "security_protocol": access.protocol,
    }
    for name, key in (
        ("receive.buffer.bytes", "receive_buffer_bytes"),
        ("send.buffer.bytes", "send_buffer_bytes"),
    ):
        size = settings.integer(name, -1)
        config[key] = size if size >= 0 else None
    if access.context is not None:
        config["ssl_context"] = access.context
    if (login := access.login) is not None:
        config["sasl_mechanism"] = login.mechanism
        config["sasl_plain_username"] = login.username
        config["sasl_plain_password"] = login.password
        if login.token is not None:
            config["sasl_oauth_token_provider"] = TokenProvider(login)
    return config


class _ClosingSockets(KafkaNetSocket):  # type: ignore[misc]
    """Sockets that are closed at the latest with their client.

    kafka-python leaves some to the garbage collector: those that cannot connect, and those with unsent data
    when the client was closed.
    """

    SCHEMES = ("sentstream-direct",)

    async def sock_connect(self, net: Any, sock: Any, sockaddr: Any, timeout_at: float | None = None) -> Any:
        _sockets_of(net).add(sock)
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise


def _sockets_of(net: Any) -> weakref.WeakSet[Any]:
    """Return the set of an event loop's sockets, which are closed when the loop is."""
    sockets: weakref.WeakSet[Any] | None = getattr(net, "sentstream_sockets", None)
    if sockets is None:
        sockets = net.sentstream_sockets = weakref.WeakSet()
        close = net.close

        def close_all() -> None:
            # TLS replaces our socket by another one; those with unsent data are found in the selector.
            waiting = [key.fileobj for key in list((net._selector.get_map() or {}).values())]
            close()
            for each in (*sockets, *waiting):
                each.close()

        net.close = close_all
    return sockets
