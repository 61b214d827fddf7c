"""Serve ``/metrics``, ``/healthz`` and ``/readyz`` over HTTP."""

from __future__ import annotations

import errno
import gzip
import os
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client import (
    CollectorRegistry,
)
from prometheus_client.exposition import choose_encoder, gzip_accepted

from sentstream.errors import UsageError
from sentstream.kafka.watch.metrics import Metrics


def _fine() -> str | None:
    return None


class Server:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz`` from a thread while a ``with`` block runs.

    Args:
        metrics: The metrics for ``/metrics``.
        port: The port to listen on; 0 for any free one (see ``port``).
        host: The address or host name to listen on; by default all addresses of IPv6 and IPv4, or of IPv4
            without IPv6.
        healthy: Returns why ``/healthz`` should answer 503, in one line, or None for 200.
        ready: The same for ``/readyz``.

    Raises (on entry):
        UsageError: The port is taken, not allowed or invalid; the host is not an address of this machine.
    """

    def __init__(
        self,
        metrics: Metrics,
        port: int,
        *,
        host: str | None = None,
        healthy: Callable[[], str | None] = _fine,
        ready: Callable[[], str | None] = _fine,
    ) -> None:
        self._registry, self._host, self._port = metrics.registry, host, port
        self._checks = {"/healthz": healthy, "/readyz": ready}

    @property
    def port(self) -> int:
        """The port it listens on, within the block."""
        return int(self._http.server_address[1])

    def __enter__(self) -> Self:
        try:
            self._http = _Http(self._host, self._port, self._registry, self._checks)
        except OSError as error:
            wrong_host = isinstance(error, socket.gaierror) or _is_about_the_address(error)
            where = self._host or "all addresses"
            raise UsageError(
                f"--metrics-port {self._port}: cannot listen on {where}: {_reason_of(error)}",
                hint="--metrics-host takes an address of this machine, e.g. 127.0.0.1 or ::1"
                if wrong_host
                else "choose another port, or 0 for any free port",
            ) from error
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.1,), name="sentstream-metrics", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True  # an idle client does not delay the exit

    def __init__(
        self,
        host: str | None,
        port: int,
        registry: CollectorRegistry,
        checks: Mapping[str, Callable[[], str | None]],
    ) -> None:
        self.registry, self.checks = registry, checks
        listening = _listening(host, port)
        # HTTPServer would look up the host's name in DNS when it binds, which may take long.
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


def _listening(host: str | None, port: int) -> socket.socket:
    """Return a listening socket; without ``host``, on all addresses of both families.

    Raises:
        OSError: It cannot listen there.
    """
    if not 0 <= port <= 0xFFFF:
        raise OSError("not a port: 0 to 65535")
    if host is None:
        try:
            return _listening("::", port)
        except OSError as error:
            if not _is_about_the_address(error):
                raise
        return _listening("0.0.0.0", port)
    family, _, _, _, (address, _, *scope) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    both = family == socket.AF_INET6 and address == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((address, port, *scope), family=family, dualstack_ipv6=both)


def _reason_of(error: OSError) -> str:
    """Return only the reason, without the address that ``create_server`` appends."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _is_about_the_address(error: BaseException) -> bool:
    """Return whether this machine lacks the address, or its whole family."""
    return getattr(error, "errno", None) in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, socket.EAI_FAMILY)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    server_version, sys_version = "sentstream", ""
    timeout = 10  # seconds to wait for a client

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.server.registry), kind)
        elif path in self.server.checks:
            try:
                reason = self.server.checks[path]()
            except Exception as error:
                self._say(500, f"this is a bug: {type(error).__name__}: {error}")
                return
            self._say(200 if reason is None else 503, "ok" if reason is None else reason)
        elif path == "/":
            self._answer(200, _INDEX, "text/html; charset=utf-8")
        else:
            self._say(404, f"not found; available: {', '.join(['/metrics', *self.server.checks])}")

    do_HEAD = do_GET

    def _say(self, status: int, line: str) -> None:
        self._answer(status, f"{' '.join(line.split())}\n".encode(), "text/plain; charset=utf-8")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if len(body) > 1_000 and gzip_accepted(self.headers.get("Accept-Encoding", "")):
            body = gzip.compress(body, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests: standard error is for the loop's messages."""


_INDEX = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>sentstream</title><h1>sentstream consume</h1>"
    b"<p><a href=/metrics>metrics</a>, <a href=/healthz>alive?</a>, <a href=/readyz>ready?</a>"
)
