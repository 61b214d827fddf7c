"""TCP connections to a name with several addresses, and which of their errors is worth telling."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import urllib.request
from collections.abc import Iterable
from typing import Any

#: What a machine answers for an address that it has no way to: ``localhost`` is ``::1`` and 127.0.0.1 also
#: where there is no IPv6.
_NO_WAY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH}


def most_telling(errors: Iterable[OSError]) -> OSError:
    """The error to show when every address of a name failed, in whatever order they were tried.

    A refusal says more than silence, since it comes from the machine that was meant, and silence says more
    than that there is no way to an address from here.

    >>> most_telling([ConnectionRefusedError(111, "refused"), OSError(99, "cannot assign the address")])
    ConnectionRefusedError(111, 'refused')
    """

    def rank(error: OSError) -> int:
        if isinstance(error, ConnectionRefusedError):
            return 3
        return 0 if error.errno in _NO_WAY else 1 if isinstance(error, TimeoutError) else 2

    return max(errors, key=rank)


def create_connection(*arguments: Any, **options: Any) -> socket.socket:
    """``socket.create_connection`` with the most telling error of all addresses, not that of the first.

    Raises:
        OSError: No address can be connected to.
    """
    try:
        return socket.create_connection(*arguments, **options, all_errors=True)
    except ExceptionGroup as failed:
        raise most_telling(error for error in failed.exceptions if isinstance(error, OSError)) from None


def http_handlers(context: ssl.SSLContext) -> list[urllib.request.BaseHandler]:
    """What opens HTTP and HTTPS URLs, with errors as ``create_connection`` has them."""
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
