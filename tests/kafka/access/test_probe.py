"""Every reason why a broker is unreachable is identified, in one line that says what to do."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sentstream.errors import AuthenticationError, BrokerUnreachableError, KafkaError, TlsError
from sentstream.kafka.access.probe import reach
from sentstream.kafka.access.settings import Settings
from tools.fetched import Unavailable
from tools.local_kafka import LocalKafka, free_port

MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "OAUTHBEARER": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}


def load(servers: str, **given: str) -> Settings:
    names = {name.replace("_", "."): value for name, value in given.items()}
    return Settings.load(overrides=names | {"bootstrap.servers": servers}, environ={})


def user(mechanism: str, password: str = "alice-secret", name: str = "alice") -> dict[str, str]:
    """The settings of a login."""
    jaas = f'{MODULES[mechanism]} required username="{name}" password="{password}";'
    return {"sasl_mechanism": mechanism, "sasl_jaas_config": jaas}


def subject(name: str, lifetime: int = 60) -> dict[str, str]:
    """The settings of a login with an unsigned token."""
    options = f'unsecuredLoginStringClaim_sub="{name}" unsecuredLoginLifetimeSeconds="{lifetime}"'
    return {
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_jaas_config": f"{MODULES['OAUTHBEARER']} required {options};",
    }


def trust(broker: LocalKafka) -> dict[str, str]:
    """The settings that trust the broker's certificate."""
    return {"ssl_truststore_location": str(broker.ca), "ssl_truststore_type": "PEM"}


def certificate(broker: LocalKafka) -> dict[str, str]:
    """The settings of a client's certificate that the broker trusts."""
    return {
        "ssl_keystore_certificate_chain": broker.client_certificate.read_text(),
        "ssl_keystore_key": broker.client_key.read_text(),
    }


def refusal(kind: type[KafkaError], servers: str, **given: str) -> str:
    """The one line that ``reach`` ends with."""
    with pytest.raises(kind) as error:
        reach(load(servers, **given))
    assert type(error.value) is kind
    line = str(error.value)
    assert "\n" not in line
    assert "secret" not in line
    assert servers in line
    return line


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


# Logging in


def test_plaintext_broker(secure_kafka: LocalKafka) -> None:
    reach(load(secure_kafka.bootstrap))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_right_and_wrong_password(secure_kafka: LocalKafka, mechanism: str) -> None:
    options = {"security_protocol": "SASL_SSL", **trust(secure_kafka)}
    reach(load(secure_kafka.sasl_ssl, **options, **user(mechanism)))
    line = refusal(AuthenticationError, secure_kafka.sasl_ssl, **options, **user(mechanism, "wrong"))
    assert line.startswith(f"login at {secure_kafka.sasl_ssl} as 'alice' with {mechanism} fails: ")
    assert "nvalid" in line
    assert "(check username and password in sasl.jaas.config)" in line


def test_unknown_user(secure_kafka: LocalKafka) -> None:
    options = {"security_protocol": "SASL_SSL", **trust(secure_kafka)}
    login = user("SCRAM-SHA-512", name="nobody")
    assert "as 'nobody'" in refusal(AuthenticationError, secure_kafka.sasl_ssl, **options, **login)


def test_valid_and_expired_token(secure_kafka: LocalKafka) -> None:
    options = {"security_protocol": "SASL_SSL", **trust(secure_kafka)}
    reach(load(secure_kafka.sasl_ssl, **options, **subject("alice")))
    line = refusal(AuthenticationError, secure_kafka.sasl_ssl, **options, **subject("alice", 0))
    assert "with OAUTHBEARER fails: " in line
    assert line.count("invalid_token") == 1
    assert "check the token's audience" in line


def test_disabled_mechanism_error_lists_enabled_ones(secure_kafka: LocalKafka) -> None:
    options = {"security_protocol": "SASL_PLAINTEXT"}
    reach(load(secure_kafka.sasl_plaintext, **options, **user("PLAIN")))
    line = refusal(AuthenticationError, secure_kafka.sasl_plaintext, **options, **user("SCRAM-SHA-512"))
    assert "the broker has not enabled the mechanism (it has enabled: PLAIN)" in line


def test_missing_login(secure_kafka: LocalKafka) -> None:
    line = refusal(AuthenticationError, secure_kafka.sasl_plaintext)
    assert "set security.protocol=SASL_PLAINTEXT and sasl.mechanism" in line
    options = {"security_protocol": "SSL", **trust(secure_kafka)}
    line = refusal(AuthenticationError, secure_kafka.sasl_ssl, **options)
    assert "set security.protocol=SASL_SSL and sasl.mechanism" in line


def test_unexpected_login(secure_kafka: LocalKafka) -> None:
    options = {"security_protocol": "SASL_PLAINTEXT"}
    line = refusal(AuthenticationError, secure_kafka.bootstrap, **options, **user("PLAIN"))
    assert (
        "does not ask for a login on this port (use its SASL port, or set security.protocol=PLAINTEXT)"
        in line
    )


# TLS


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_client_certificate_present_and_missing(secure_kafka: LocalKafka, version: str) -> None:
    options = {"security_protocol": "SSL", "ssl_enabled_protocols": version, **trust(secure_kafka)}
    reach(load(secure_kafka.mtls, **options, **certificate(secure_kafka)))
    line = refusal(TlsError, secure_kafka.mtls, **options)
    assert "the broker requires a client certificate (ssl.keystore.location must contain" in line


def test_client_certificate_of_another_authority(secure_kafka: LocalKafka) -> None:
    options = {"security_protocol": "SSL", **trust(secure_kafka)}
    stranger = {
        "ssl_keystore_certificate_chain": secure_kafka.other_ca.read_text(),
        "ssl_keystore_key": secure_kafka.other_ca.with_suffix(".key").read_text(),
    }
    line = refusal(TlsError, secure_kafka.mtls, **options, **stranger)
    assert "the broker refuses our certificate" in line or "does not trust the CA" in line


def test_untrusted_authority(secure_kafka: LocalKafka) -> None:
    for trusted in ({}, {"ssl_truststore_location": str(secure_kafka.other_ca)}):
        line = refusal(TlsError, secure_kafka.mtls, security_protocol="SSL", **trusted)
        assert "the broker's certificate is not trusted: " in line
        assert "ssl.truststore.location must contain the CA" in line


def test_host_name_mismatch_can_be_allowed(secure_kafka: LocalKafka) -> None:
    other = (
        f"127.1:{port_of(secure_kafka.mtls)}"  # the same address, by a name that is not in the certificate
    )
    options = {"security_protocol": "SSL", **trust(secure_kafka), **certificate(secure_kafka)}
    line = refusal(TlsError, other, **options)
    assert "the broker's certificate is not for 127.1 (connect by a name in the certificate" in line
    reach(load(other, **options, ssl_endpoint_identification_algorithm=""))


def test_tls_to_a_plaintext_port(secure_kafka: LocalKafka) -> None:
    line = refusal(TlsError, secure_kafka.bootstrap, security_protocol="SSL", **trust(secure_kafka))
    assert "does not use TLS on this port (use its TLS port, or set security.protocol=PLAINTEXT)" in line
    options = {"security_protocol": "SASL_SSL", **trust(secure_kafka), **user("PLAIN")}
    line = refusal(TlsError, secure_kafka.sasl_plaintext, **options)
    assert "or set security.protocol=SASL_PLAINTEXT)" in line


def test_plaintext_to_a_tls_port(secure_kafka: LocalKafka) -> None:
    for address in (secure_kafka.mtls, secure_kafka.sasl_ssl):
        line = refusal(BrokerUnreachableError, address)
        assert "uses TLS, but security.protocol is PLAINTEXT (set security.protocol=SSL or SASL_SSL)" in line
    options = {"security_protocol": "SASL_PLAINTEXT", **user("PLAIN")}
    line = refusal(BrokerUnreachableError, secure_kafka.sasl_ssl, **options)
    assert "(set security.protocol=SASL_SSL)" in line


def test_no_common_protocol(secure_kafka: LocalKafka) -> None:
    suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"  # the broker's key is RSA
    options = {"security_protocol": "SSL", "ssl_cipher_suites": suite, **trust(secure_kafka)}
    assert "check ssl.cipher.suites" in refusal(TlsError, secure_kafka.mtls, **options)


def test_expired_certificate(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command")
    request = "req -newkey rsa:2048 -nodes -subj /CN=old -addext subjectAltName=IP:127.0.0.1"
    for command in (
        f"{request} -keyout key.pem -out old.csr",
        "x509 -req -in old.csr -copy_extensions copyall -signkey key.pem -days -1 -out old.pem",
    ):
        done = subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=False, capture_output=True)
        if done.returncode:
            pytest.skip("this openssl makes no expired certificates")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "old.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with suppress(OSError), connection:
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        old = str(tmp_path / "old.pem")
        line = refusal(TlsError, address, security_protocol="SSL", ssl_truststore_location=old)
        thread.join()
    assert (
        "the broker's certificate has expired (renew the certificate, or check this machine's clock)" in line
    )


def test_missing_certificate_answered_by_handshake_failure(tmp_path: Path) -> None:
    """As OpenSSL and some versions of Java do by TLS 1.2, whose alert is that of nothing in common, too."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command")
    make = "req -x509 -newkey rsa:2048 -nodes -subj /CN=us -addext subjectAltName=IP:127.0.0.1 -days 2"
    command = ["openssl", *make.split(), "-keyout", "key.pem", "-out", "us.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tmp_path / "us.pem", tmp_path / "key.pem")
    context.load_verify_locations(tmp_path / "us.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with suppress(OSError), connection:
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        address, us = f"127.0.0.1:{listening.getsockname()[1]}", str(tmp_path / "us.pem")
        line = refusal(TlsError, address, security_protocol="SSL", ssl_truststore_location=us)
        thread.join()
    assert "the broker requires a client certificate (ssl.keystore.location must contain" in line


# Nobody there


def test_connection_refused() -> None:
    line = refusal(BrokerUnreachableError, f"127.0.0.1:{free_port()}")
    assert "cannot be reached: connection refused" in line


@pytest.mark.parametrize("order", [1, -1], ids=["no way first", "no way last"])
def test_connection_refused_on_every_address(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    hosts = ["127.255.255.255", "127.0.0.1"][::order]  # there is no way to a broadcast address by TCP
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in hosts]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    line = refusal(BrokerUnreachableError, f"localhost:{port}")
    assert "cannot be reached: connection refused" in line


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", f"{'x' * 64}.invalid"])
def test_unknown_host(host: str) -> None:
    line = refusal(BrokerUnreachableError, f"{host}:9092")
    assert "unknown host" in line
    assert "(check bootstrap.servers)" in line


@contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """A server that is not Kafka: sends this answer to anything; never answers if None."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                connection, _ = listening.accept()
                kept.append(connection)
                if connection.recv(1 << 16) == b"end":
                    return
                if answer is not None:
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        address = listening.getsockname()
        try:
            yield f"127.0.0.1:{address[1]}"
        finally:
            with socket.create_connection(address) as last:
                last.sendall(b"end")
            thread.join()
            for connection in kept:
                connection.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "accepts the connection but closes it immediately"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not a Kafka broker: an HTTP server answers"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is not a Kafka broker: something else answers"),
        (b"\0\0\0\x08\0\0\0\x01\0\0\0\0", "is not a Kafka broker: something else answers"),
        (b"\0\0\0\x0a\0\0\0\x01\0\0\0\0\x7f\xff", "is not a Kafka broker: something else answers"),
        (b"\0\0\0\x02\0\0", "is not a Kafka broker: something else answers"),
        (b"\0\0\0\0", "is not a Kafka broker: something else answers"),
        # TLS's own goodbye, which is what OpenSSL 3.0.20 makes of any end of a connection.
        (b"\x15\x03\x03\0\x02\x01\0", "is not a Kafka broker: something else answers"),
    ],
)
def test_not_a_broker(answer: bytes, reason: str) -> None:
    with server(answer) as address:
        assert reason in refusal(BrokerUnreachableError, address)
        line = refusal(TlsError, address, security_protocol="SSL")
        assert "is it the TLS port of a Kafka broker?" in line


@pytest.mark.parametrize(
    ("protocol", "reason"), [("PLAINTEXT", "does not answer within"), ("SSL", "TLS handshake within")]
)
def test_silent_server_times_out(protocol: str, reason: str) -> None:
    with server(None) as address:
        settings = {"security_protocol": protocol, "socket_connection_setup_timeout_ms": "300"}
        assert f"{reason} 0.3 s" in refusal(BrokerUnreachableError, address, **settings)


def test_silent_name_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: over.wait(30))
    try:
        line = refusal(
            BrokerUnreachableError, "slow.example.org:9092", socket_connection_setup_timeout_ms="200"
        )
    finally:
        over.set()
    assert "no name server answered in 0.2 s" in line


# Several servers


def test_one_server_of_several_is_enough(secure_kafka: LocalKafka) -> None:
    with server(None) as silent:
        servers = f"no-such-host.invalid:1,{silent},127.0.0.1:{free_port()},{secure_kafka.bootstrap}"
        reach(load(servers, socket_connection_setup_timeout_ms="9000"))


def test_furthest_attempt_wins_among_errors(secure_kafka: LocalKafka) -> None:
    dead = f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokerUnreachableError, match=dead):
        reach(load(f"no-such-host.invalid:9092,{dead},no-such-host.invalid:9093"))
    options = {"security_protocol": "SASL_SSL", **trust(secure_kafka), **user("PLAIN", "wrong")}
    with pytest.raises(AuthenticationError, match="Invalid username or password"):
        reach(load(f"{dead},{secure_kafka.sasl_ssl},{secure_kafka.bootstrap}", **options))


def test_unadvertised_address_is_accepted(secure_kafka: LocalKafka) -> None:
    reach(load(f"localhost:{port_of(secure_kafka.bootstrap)}"))


@pytest.mark.slow
def test_unreachable_advertised_address() -> None:
    port = free_port()
    settings = {"advertised.listeners": "PLAINTEXT://kafka.internal.invalid:9092"}
    try:
        with LocalKafka(port=port, settings=settings) as broker:
            line = refusal(BrokerUnreachableError, broker.bootstrap)
    except Unavailable as error:
        pytest.skip(str(error))
    assert f"127.0.0.1:{port} answers, but the cluster advertises an address that cannot be used" in line
    assert "kafka.internal.invalid:9092 cannot be reached: unknown host" in line
    assert "(the broker's advertised.listeners must be reachable" in line


# A broker that hangs comes last: it takes a while to come back to itself.


def test_hung_broker(secure_kafka: LocalKafka) -> None:
    secure_kafka.pause()
    try:
        settings = {"socket_connection_setup_timeout_ms": "300"}
        line = refusal(BrokerUnreachableError, secure_kafka.bootstrap, **settings)
    finally:
        secure_kafka.resume()
    assert "accepts the connection but does not answer within 0.3 s" in line
    reach(load(secure_kafka.bootstrap))
