"""``deploy/kafka_ready.sh``, the broker's health check in ``docker-compose.yml``, against a real broker."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "kafka_ready.sh"

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None, reason="no bash here, which the broker's image has"
)


def ready(host: str, port: int | str) -> bool:
    done = subprocess.run(
        ["bash", str(SCRIPT), host, str(port)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    return done.returncode == 0


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that reads the request of each connection in turn, sends this answer and stays."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed
                    return
                with connection, contextlib.suppress(ConnectionError):  # the other side need not read all
                    connection.recv(18, socket.MSG_WAITALL)
                    connection.sendall(answer)
                    connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)  # ends the accept
        thread.join(60)


def test_serving_broker_is_ready(kafka: Any) -> None:
    wait_until(lambda: ready(*kafka.bootstrap.rsplit(":", 1)))


def test_hung_broker_is_not_ready(local_kafka: Any) -> None:
    local_kafka.pause()
    assert not ready(*local_kafka.bootstrap.rsplit(":", 1))
    local_kafka.resume()
    wait_until(lambda: ready(*local_kafka.bootstrap.rsplit(":", 1)))  # one probe waits only seconds


def test_no_broker_is_not_ready() -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        assert not ready("127.0.0.1", bound.getsockname()[1])


@pytest.mark.parametrize(("brokers", "expected"), [(0, False), (1, True), (3, True), (256, True)], ids=str)
def test_fenced_broker_is_not_listed(brokers: int, expected: bool) -> None:
    answer = struct.pack(">iii", 12, 1, brokers) + b"\0" * 4
    with answering(answer) as port:
        if expected:
            wait_until(lambda: ready("127.0.0.1", port))
        else:
            assert not ready("127.0.0.1", port)


def test_partial_answer_is_not_ready() -> None:
    with answering(b"\0\0\0\1") as port:
        assert not ready("127.0.0.1", port)
