"""A failing network: an HTTP proxy in front of a real object store."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        every: One of this many requests gets a fault, in turn: a 503 instead of being forwarded, a response
            that is lost although the request was carried out, a connection cut in the response body.
        delay: Seconds before each response.
        stall: Seconds before a request body is forwarded, after half of it has arrived.
        refuse: Requests with this in their path are denied.
        down: Whether every connection is cut before a response.
        seen: The requests, as method and path.
        injected: Number of faults by kind.
        held: Number of requests whose body was stalled.
        refused: Number of connections cut because the network was down.
    """

    every: int = 0
    delay: float = 0.0
    stall: float = 0.0
    refuse: str = ""
    down: bool = False
    seen: list[tuple[str, str]] = field(default_factory=list)
    injected: dict[str, int] = field(default_factory=dict)
    held: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._kinds = itertools.cycle(("busy", "lost", "cut"))
        self._lock = threading.Lock()

    def next(self) -> str:
        """Return the fault of the next request, or an empty string."""
        with self._lock:
            if not self.every or next(self._numbers) % self.every:
                return ""
            kind = next(self._kinds)
            self.injected[kind] = self.injected.get(kind, 0) + 1
            return kind


@contextmanager
def faulty_proxy(upstream: str, faults: Faults) -> Iterator[str]:
    """A proxy in front of a server, for the duration of the block; yield its address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.upstream, server.faults = urlsplit(upstream).netloc, faults
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    upstream: str
    faults: Faults
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have gone."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        if self.server.faults.down:
            self.server.faults.refused += 1
            self.close_connection = True
            return
        super().handle_one_request()

    def _pass(self) -> None:
        faults = self.server.faults
        faults.seen.append((self.command, self.path))
        if faults.down:
            faults.refused += 1
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length // 2) if faults.stall else b""
        if faults.stall and length:
            faults.held += 1
            time.sleep(faults.stall)
        body += self.rfile.read(length - len(body))
        if len(body) < length:  # the client has gone, so drop the request
            self.close_connection = True
            return
        time.sleep(faults.delay)
        if faults.refuse and faults.refuse in self.path:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        kind = faults.next()
        if kind == "busy":
            response = (
                b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            )
            self.send_response(503)
            self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(response)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response)
            return
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            connection.send(body)
            answer = connection.getresponse()
            data = answer.read()
            if kind == "lost" or faults.down:
                self.close_connection = True
                return
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "keep-alive"):
                    self.send_header(name, value)
            if answer.getheader("Content-Length") is None:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if kind == "cut":
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            else:
                self.wfile.write(data)
        finally:
            connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass
