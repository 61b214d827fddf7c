"""Connect to a cluster and log in, or explain why that fails.

The libraries retry and then report only that no broker answered, whatever the cause. So this module makes
one connection step by step (name, TCP, TLS, Kafka, login), and the step that fails has its own error.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import kafka.errors
from kafka.net.sasl import get_sasl_mechanism
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

from sentstream.errors import AuthenticationError, BrokerUnreachableError, KafkaError, TlsError, one_line
from sentstream.kafka.access.access import Access
from sentstream.kafka.access.login import Login
from sentstream.kafka.access.network import most_telling
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.access.tls_errors import explain, is_end, lacks_tls

#: Brokers of a cluster that are tried before reporting that none can be reached.
_BROKERS = 5
_LARGEST_ANSWER = 16 << 20
#: Maximum seconds for a probe, which only makes an error clearer.
_PROBE = 2.0


def reach(settings: Settings) -> None:
    """Connect to the cluster, log in, and check that an address that it advertises can be reached.

    Takes at most ``socket.connection.setup.timeout.ms``, 10 s by default. Bootstrap servers are tried until
    one works; if none does, the error is that of the one where we got furthest.

    Raises:
        BrokerUnreachableError: Unknown host, connection refused, no answer, not Kafka, or the advertised
            addresses cannot be reached from here.
        TlsError: The handshake fails.
        AuthenticationError: The login fails.
        ClientConfigError: A security setting cannot be used.
    """
    options = _ProbeOptions(Access.read(settings), settings.text("client.id", "sentstream"))
    failures = []
    servers = settings.servers()
    deadline = time.monotonic() + settings.integer("socket.connection.setup.timeout.ms", 10_000) / 1000
    for index, server in enumerate(servers):
        attempt = _Attempt(_Address(*server), options, _share(deadline, len(servers) - index))
        try:
            brokers = attempt.introduce()
        except KafkaError as error:
            failures.append((attempt.steps, error))
            continue
        finally:
            attempt.close()
        _reach_one(brokers, attempt.address, options, deadline)
        return
    raise max(failures, key=lambda failure: failure[0])[1]


class _Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class _ProbeOptions:
    """How to connect to each broker."""

    access: Access
    client_id: str


def _share(deadline: float, ways: int) -> float:
    """Return the deadline of the next attempt if ``ways`` attempts share the remaining time."""
    now = time.monotonic()
    return now + max(0.0, deadline - now) / ways


def _reach_one(brokers: Sequence[_Address], via: _Address, options: _ProbeOptions, deadline: float) -> None:
    """Check that at least one address that the cluster advertises can be reached from here."""
    if via in brokers or not brokers:
        return
    tried = brokers[:_BROKERS]
    failures = []
    for index, address in enumerate(tried):
        attempt = _Attempt(address, options, _share(deadline, len(tried) - index))
        try:
            attempt.connect()
        except KafkaError as error:
            failures.append((attempt.steps, error))
        else:
            return
        finally:
            attempt.close()
    worst = max(failures, key=lambda failure: failure[0])[1]
    raise type(worst)(
        f"{via} answers, but the cluster advertises an address that cannot be used: {worst.message}",
        hint="the broker's advertised.listeners must be reachable from this machine",
    )


class _Attempt:
    """One connection, made step by step; ``steps`` counts those that succeeded."""

    def __init__(self, address: _Address, options: _ProbeOptions, deadline: float) -> None:
        self.address = address
        self.steps = 0
        self._how = options
        self._deadline = deadline
        self._seconds = max(0.0, deadline - time.monotonic())
        self._socket: socket.socket | None = None
        self._protocol = KafkaProtocol(client_id=options.client_id, receive_message_max_bytes=_LARGEST_ANSWER)

    def introduce(self) -> list[_Address]:
        """Connect, log in, and return the addresses of the cluster's brokers."""
        self.connect()
        answer = self._ask(ApiVersionsRequest(version=0))
        self.steps += 1
        versions = {each.api_key: (each.min_version, each.max_version) for each in answer.api_keys or ()}
        if self._how.access.login is not None:
            self._log_in(self._how.access.login)
        self.steps += 1
        request = MetadataRequest(topics=[], allow_auto_topic_creation=False)
        try:
            request.API_VERSION = BrokerVersionData(api_versions=versions).api_version(request)
        except kafka.errors.KafkaError as error:
            raise BrokerUnreachableError(
                f"{self.address} runs a version of Kafka that is too old: {error}"
            ) from None
        try:
            answer = self._ask(request)
        except BrokerUnreachableError as error:
            if self._how.access.login is not None or not isinstance(error.__cause__, ConnectionError):
                raise
            right = "SASL_PLAINTEXT" if self._how.access.context is None else "SASL_SSL"
            raise AuthenticationError(
                f"{self.address} closes the connection to clients that have not logged in",
                hint=f"it probably requires SASL: set security.protocol={right} and sasl.mechanism",
            ) from error
        return [_Address(each.host, each.port) for each in answer.brokers]

    def connect(self) -> None:
        """Connect with TCP, and TLS if configured."""
        self._socket = self._tcp()
        self.steps += 1
        if self._how.access.context is not None:
            self._socket = self._tls(self._how.access.context, self._socket)
        self.steps += 1

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _left(self) -> float:
        """Return the seconds left, as a socket timeout (never 0, which would mean non-blocking)."""
        return max(0.001, self._deadline - time.monotonic())

    def _unreachable(self, reason: str, hint: str | None = None) -> BrokerUnreachableError:
        return self._fail(f"cannot be reached: {reason}", hint)

    def _fail(self, reason: str, hint: str | None = None) -> BrokerUnreachableError:
        return BrokerUnreachableError(f"{self.address} {reason}", hint=hint)

    # TCP

    def _tcp(self) -> socket.socket:
        found = _resolve(self.address, self._left())
        if isinstance(found, OSError):
            raise self._unreachable(f"unknown host: {found.strerror}", "check bootstrap.servers")
        if found is None:
            raise self._unreachable(f"no name server answered in {self._seconds:.1f} s")
        self.steps += 1
        errors: list[OSError] = []
        end = self._deadline
        for index, (family, kind, number, _, where) in enumerate(found):
            connection = socket.socket(family, kind, number)
            try:
                connection.settimeout(max(0.001, _share(end, len(found) - index) - time.monotonic()))
                connection.connect(where)
            except OSError as error:
                connection.close()
                errors.append(error)
            else:
                return connection
        reason = most_telling(errors or [TimeoutError()])
        if isinstance(reason, ConnectionRefusedError):
            raise self._unreachable("connection refused", "is the broker running, and is the port right?")
        if isinstance(reason, TimeoutError):
            raise self._unreachable(
                f"no answer in {self._seconds:.1f} s", "is the broker running, and does a firewall block it?"
            )
        raise self._unreachable(reason.strerror or str(reason))

    # TLS

    def _tls(self, context: ssl.SSLContext, plain: socket.socket) -> socket.socket:
        plain.settimeout(self._left())
        name = self.address.host.rstrip(".")
        try:
            connection = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
            self._socket = connection
            connection.do_handshake()
        except TimeoutError:
            raise self._fail(
                f"accepts the connection but does not answer the TLS handshake within {self._seconds:.1f} s",
                "a port without TLS may do this, too; check security.protocol",
            ) from None
        except ssl.SSLError as error:
            raise self._tls_error(error) from error
        except OSError as error:
            raise self._no_tls(error.strerror or str(error)) from error
        return connection

    def _tls_error(self, error: ssl.SSLError) -> TlsError:
        if lacks_tls(error):
            return self._no_tls("it does not answer with TLS")
        connection, where = self._socket, f"TLS to {self.address} fails"
        agreed = isinstance(connection, ssl.SSLSocket) and connection.cipher() is not None
        return explain(
            error,
            self.address.host,
            where,
            certified=self._how.access.files.certificate is not None,
            agreed=agreed,
        )

    def _no_tls(self, reason: str) -> TlsError:
        where = f"TLS to {self.address} fails"
        plain = replace(self._how, access=replace(self._how.access, context=None, login=None))
        if self._probe(plain):
            right = self._how.access.protocol.replace("SASL_SSL", "SASL_PLAINTEXT").replace(
                "SSL", "PLAINTEXT"
            )
            right = right if self._how.access.login is None else "SASL_PLAINTEXT"
            return TlsError(
                f"{where}: the broker does not use TLS on this port",
                hint=f"use its TLS port, or set security.protocol={right}",
            )
        return TlsError(f"{where}: {reason}", hint="is it the TLS port of a Kafka broker?")

    def _probe(self, options: _ProbeOptions) -> bool:
        """Return whether the port answers if we connect as ``options`` says."""
        attempt = _Attempt(self.address, options, time.monotonic() + min(_PROBE, self._left() + 0.1))
        try:
            attempt.connect()
            if options.access.context is None:
                attempt._ask(ApiVersionsRequest(version=0), first=False)
        except TlsError as error:
            # An alert also proves TLS.
            return isinstance(error.__cause__, ssl.SSLError) and "ALERT" in (error.__cause__.reason or "")
        except KafkaError:
            return False
        finally:
            attempt.close()
        return True

    # Kafka

    def _ask(self, request: Any, *, first: bool = True) -> Any:
        """Send a request and return its answer."""
        assert self._socket is not None
        self._protocol.send_request(request)
        question, received = self._protocol.send_bytes(), b""
        while True:
            data = self._exchange(self._socket, question, first)
            question, received = b"", (received + data)[:8]
            try:
                answers = self._protocol.receive_bytes(data)
            except Exception as error:  # whatever the library raises on an answer that is not Kafka's
                raise self._not_kafka(received, first) from error
            for _, answer in answers:
                return answer

    def _exchange(self, connection: socket.socket, question: bytes, first: bool) -> bytes:
        """Send some bytes and return the next ones received."""
        try:
            connection.settimeout(self._left())
            connection.sendall(question)
            connection.settimeout(self._left())
            data = connection.recv(1 << 16)
            if not data:
                raise ConnectionResetError
        except TimeoutError:
            raise self._fail(
                f"accepts the connection but does not answer within {self._seconds:.1f} s",
                "the broker may hang, or use TLS: check security.protocol",
            ) from None
        except ssl.SSLError as error:  # in TLS 1.3 the broker checks our certificate after the handshake
            if not is_end(error):
                raise self._tls_error(error) from error
            closed = ConnectionResetError()
            raise self._ended(closed, first) from closed
        except OSError as error:
            raise self._ended(error, first) from error
        return data

    def _ended(self, error: OSError, first: bool) -> KafkaError:
        """Return the error for a connection that the broker closed."""
        if self.steps == _CONNECTED and first and (wrong := self._wants_tls()):
            return wrong
        return self._fail(
            "accepts the connection but closes it immediately"
            if isinstance(error, ConnectionError)
            else f"fails: {error.strerror or error}",
            "is it a Kafka broker, and is security.protocol right?",
        )

    def _not_kafka(self, started: bytes, first: bool) -> KafkaError:
        if first and (wrong := self._wants_tls()):
            return wrong
        server = "an HTTP server" if started.startswith(b"HTTP/") else "something else"
        return self._fail(f"is not a Kafka broker: {server} answers", "check bootstrap.servers")

    def _wants_tls(self) -> KafkaError | None:
        """Return an error if the port uses TLS and we are not configured to; otherwise None."""
        if self._how.access.context is not None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if not self._probe(replace(self._how, access=replace(self._how.access, context=context, login=None))):
            return None
        right = "SSL or SASL_SSL" if self._how.access.login is None else "SASL_SSL"
        return self._fail(
            f"uses TLS, but security.protocol is {self._how.access.protocol}",
            f"set security.protocol={right}",
        )

    # SASL

    def _log_in(self, login: Login) -> None:
        as_user = "" if login.username is None else f" as {login.username!r}"
        where = f"login at {self.address}{as_user} with {login.mechanism} fails"
        answer = self._ask(SaslHandshakeRequest(mechanism=login.mechanism, version=1))
        if answer.error_code == kafka.errors.IllegalSaslStateError.errno:
            right = "SSL" if self._how.access.context is not None else "PLAINTEXT"
            raise AuthenticationError(
                f"{where}: the broker does not ask for a login on this port",
                hint=f"use its SASL port, or set security.protocol={right}",
            )
        if answer.error_code:
            raise AuthenticationError(
                f"{where}: the broker has not enabled the mechanism",
                hint=f"it has enabled: {', '.join(answer.mechanisms)}",
            )
        mechanism = get_sasl_mechanism(login.mechanism)(
            host=self.address.host,
            sasl_mechanism=login.mechanism,
            sasl_plain_username=login.username,
            sasl_plain_password=login.password,
            sasl_oauth_token_provider=TokenProvider(login),
        )
        detail = ""
        while not mechanism.is_done():
            answer = self._ask(SaslAuthenticateRequest(mechanism.auth_bytes(), version=1))
            if answer.error_code:
                reason = answer.error_message or kafka.errors.for_code(answer.error_code).__name__
                raise AuthenticationError(
                    f"{where}: {one_line(reason if detail in reason else f'{reason} {detail}')}",
                    hint=_login_hint(login.mechanism),
                )
            if login.mechanism == "OAUTHBEARER" and answer.auth_bytes:
                detail = answer.auth_bytes.decode("utf-8", "replace")
            try:
                mechanism.receive(answer.auth_bytes)
            except (ValueError, KeyError) as error:  # the broker does not prove that it knows the password
                raise AuthenticationError(f"{where}: {error}") from None


#: The value of ``steps`` once connected: name, TCP, TLS or none.
_CONNECTED = 3


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Provides tokens through kafka-python's interface."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def token(self) -> str:
        assert self._login.token is not None
        return self._login.token().value

    def extensions(self) -> dict[str, str]:
        return dict(self._login.extensions)


def _login_hint(mechanism: str) -> str:
    if mechanism == "OAUTHBEARER":
        return "check the token's audience, issuer and expiry"
    return "check username and password in sasl.jaas.config"


def _resolve(address: _Address, seconds: float) -> list[Any] | OSError | None:
    """Return the socket addresses of a name, or the error of the lookup; None if that takes too long.

    Runs in a thread, since the system's resolver has no timeout.
    """
    found: list[list[Any] | OSError] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(*address, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)
        except UnicodeError:  # a label that is empty or too long
            found.append(socket.gaierror(socket.EAI_NONAME, "invalid host name"))

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None
