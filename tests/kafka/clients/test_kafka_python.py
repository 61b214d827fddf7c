"""Specifics of the kafka-python client; what all clients do is tested in test_clients.py."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kafka import KafkaAdminClient, errors
from kafka.future import Future
from kafka_runs import settings
from kafka_tools import new_name
from processes import wait_until

from sentstream.errors import BrokerUnreachableError
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.clients.kafka_python.client import PythonClient
from sentstream.kafka.clients.kafka_python.membership import Coordinator
from sentstream.kafka.clients.patience import Patience


class Ready:
    """A listener that wants nothing."""

    def assigned(self, partitions: Any) -> None: ...

    def revoked(self, partitions: Any) -> None: ...

    def lost(self, partitions: Any) -> None: ...


def test_unopened_connection_times_out(kafka: Any, topic: Any) -> None:
    """As with a TLS handshake that the broker does not answer any more: the library sets it no limit."""
    name = topic()
    first = Partition(name, 0)
    client = PythonClient(settings(kafka.bootstrap, default_api_timeout_ms=2000), Patience(300))
    consumer = client.consumer(new_name(), instance=None, limit=10)
    try:
        consumer.subscribe([name], Ready())
        while first not in consumer.assignment():
            consumer.poll(0.1, 10)
        consumer.commit({first: 7})
        manager: Any = consumer._consumer._manager  # type: ignore[attr-defined]
        build, hung = manager._build_transport, []

        async def hang(node: Any, **options: Any) -> Any:
            """To each address once: the coordinator has a connection of its own."""
            if node.node_id not in hung:
                hung.append(node.node_id)
                await Future()
            return await build(node, **options)

        async def lose() -> None:
            for connection in list(manager._conns.values()):
                connection.close(errors.KafkaConnectionError("for a test"))

        manager._build_transport = hang
        manager._net.run(lose)

        def answers() -> bool:  # the loop asks again, too
            try:
                return consumer.committed([first]) == {first: 7}
            except BrokerUnreachableError:
                return False

        wait_until(answers, "the committed offset is told")
        assert hung
    finally:
        consumer.close()


def test_leader_assigns_new_partitions_on_a_slow_machine(
    kafka: Any, topic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library forgets a join that outlasts its poll if only the new partitions had asked for it."""
    name = topic()
    given = settings(kafka.bootstrap, metadata_max_age_ms=500, session_timeout_ms=6000)
    consumer = PythonClient(given, Patience(300)).consumer(new_name(), instance=None, limit=10)

    def assigned(count: int) -> bool:
        consumer.poll(0.1, 10)
        return len(consumer.assignment()) == count

    try:
        consumer.subscribe([name], Ready())
        wait_until(lambda: assigned(1), "the first partition")
        shared_out, perform = [], Coordinator._perform_assignment

        def slowly(*given: Any) -> Any:
            shared_out.append(given)
            time.sleep(0.3)
            return perform(*given)

        monkeypatch.setattr(Coordinator, "_perform_assignment", slowly)
        with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
            admin.create_partitions({name: 3})
        wait_until(lambda: assigned(3), "the new partitions")
        consumer.commit({Partition(name, 2): 0})
        assert shared_out
    finally:
        consumer.close()


def test_sockets_are_closed_explicitly(kafka: Any, topic: Any) -> None:
    """Not even one with unsent data, which the library waits for and then forgets."""
    name = topic()
    consumer = PythonClient(settings(kafka.bootstrap)).consumer(new_name(), instance=None, limit=10)
    consumer.subscribe([name], Ready())
    while not consumer.assignment():
        consumer.poll(0.1, 10)
    library: Any = consumer._consumer  # type: ignore[attr-defined]
    sockets = [each for each in library._net.sentstream_sockets if each.fileno() >= 0]
    assert sockets
    for connection in library._manager._conns.values():
        connection.transport._write_buffer.append(b"unsent")
        connection.transport._writing = True
    consumer.close()
    assert [each.fileno() for each in sockets] == [-1] * len(sockets)
