"""TCP connections to a name with several addresses, and which of their errors to report."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import urllib.request
from collections.abc import Iterable
from typing import Any

#: Errors of addresses that this machine has no route to: ``localhost`` is ``::1`` and 127.0.0.1 even
#: without IPv6.
_NO_WAY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH}


def most_telling(errors: Iterable[OSError]) -> OSError:
    """Return the error to show when every address of a name failed, in any order.

    A refused connection says more than a timeout, since it comes from the right machine. A timeout says
    more than a missing route.

    >>> most_telling([ConnectionRefusedError(111, "refused"), OSError(99, "cannot assign the address")])
    ConnectionRefusedError(111, 'refused')
    """

    def rank(error: OSError) -> int:
        if isinstance(error, ConnectionRefusedError):
            return 3
        return 0 if error.errno in _NO_WAY else 1 if isinstance(error, TimeoutError) else 2

    return max(errors, key=rank)


def create_connection(*arguments: Any, **options: Any) -> socket.socket:
    """Call ``socket.create_connection``, but raise the most telling error of all addresses.

    Raises:
        OSError: No address can be connected to.
    """
    try:
        return socket.create_connection(*arguments, **options, all_errors=True)
    except ExceptionGroup as failed:
        raise most_telling(error for error in failed.exceptions if isinstance(error, OSError)) from None


def http_handlers(context: ssl.SSLContext) -> list[urllib.request.BaseHandler]:
    """Return handlers for HTTP and HTTPS URLs that raise the errors of ``create_connection``."""
    return [_Http(), _Https(context)]


class _Connecting(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._create_connection = create_connection  # http.client keeps it there to be replaced


class _ConnectingSecurely(_Connecting, http.client.HTTPSConnection):
    pass


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connecting, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._trusting = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_ConnectingSecurely, req, context=self._trusting)
