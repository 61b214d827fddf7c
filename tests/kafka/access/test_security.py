"""Java's security settings become a TLS context, PEM text and a login; secrets are not exposed."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from sentstream.errors import AuthenticationError, ClientConfigError, TlsError
from sentstream.kafka.access import login as logins
from sentstream.kafka.access.access import Access
from sentstream.kafka.access.login import login
from sentstream.kafka.access.oauth import Token
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.access.tls import Pem, pem, protocol, tls

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
PASSWORD = "key-secret"


def load(**given: str) -> Settings:
    return Settings.load(
        overrides={name.replace("_", "."): value for name, value in given.items()}, environ={}
    )


class Store:
    """Certificates and keys: our own, an encrypted key, and another's certificate."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("ours", "other"):
            request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
            names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
            self.openssl(*request, *names, "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        encrypt = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", f"pass:{PASSWORD}"]
        self.openssl(*encrypt, "-in", "ours.key", "-out", "ours.encrypted.key")
        self.ca = directory / "ours.pem"
        self.certificate = self.ca.read_text()
        self.key = (directory / "ours.key").read_text()
        self.encrypted_key = (directory / "ours.encrypted.key").read_text()

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command")
    return Store(tmp_path_factory.mktemp("certificates"))


def context(**given: str) -> ssl.SSLContext:
    made = Access.read(load(security_protocol="SSL", **given)).context
    assert made is not None
    return made


# TLS


def test_without_tls_there_is_no_context() -> None:
    assert protocol(load()) == "PLAINTEXT"
    assert Access.read(load()).context is None
    assert tls(load(security_protocol="SASL_PLAINTEXT"), Pem()) is None


def test_certificates_and_host_names_are_checked_by_default(store: Store) -> None:
    usual = context(ssl_truststore_location=str(store.ca), ssl_truststore_type="PEM")
    assert usual.verify_mode is ssl.CERT_REQUIRED
    assert usual.check_hostname
    assert usual.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(usual.get_ca_certs()) == 1
    lenient = context(ssl_endpoint_identification_algorithm="")
    assert lenient.verify_mode is ssl.CERT_REQUIRED
    assert not lenient.check_hostname


def test_system_trust_store_by_default(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(store.ca))
    monkeypatch.setenv("SSL_CERT_DIR", str(store.directory / "none"))
    assert [dict(each["subject"][0])["commonName"] for each in context().get_ca_certs()] == ["ours"]


def test_protocols_and_ciphers_can_be_chosen() -> None:
    only = context(ssl_enabled_protocols="TLSv1.2")
    assert (only.minimum_version, only.maximum_version) == (ssl.TLSVersion.TLSv1_2,) * 2
    assert context(ssl_enabled_protocols="TLSv1.3,SSLv3").minimum_version is ssl.TLSVersion.TLSv1_3
    assert context(ssl_cipher_suites="TLS_AES_256_GCM_SHA384").minimum_version is ssl.TLSVersion.TLSv1_3
    names = {
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384": "ECDHE-ECDSA-AES256-SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384": "DHE-RSA-AES256-GCM-SHA384",
    }
    chosen = context(ssl_cipher_suites=", ".join(names))
    assert chosen.maximum_version is ssl.TLSVersion.TLSv1_2
    older = {each["name"] for each in chosen.get_ciphers() if each["protocol"] != "TLSv1.3"}
    assert older == set(names.values())


def test_unsafe_protocols_and_unknown_ciphers_are_rejected() -> None:
    with pytest.raises(ClientConfigError, match="has no protocol that is safe"):
        context(ssl_enabled_protocols="TLSv1,TLSv1.1")
    with pytest.raises(ClientConfigError, match="has no cipher suite"):
        context(ssl_cipher_suites="TLS_NONE_WITH_NONE")


# PEM


def test_stores_may_contain_other_text(store: Store) -> None:
    key_store = store.write("both.pem", f"Bag Attributés\n{store.key}subject=x\n{store.certificate}\n")
    given = {"ssl_keystore_location": key_store, "ssl_truststore_location": str(store.ca)}
    found = pem(load(**given))
    assert found.key == store.key
    assert found.certificate == found.ca == store.certificate
    assert found.password is None
    context(**given)


@pytest.mark.parametrize("line_end", ["\n", "\\n", " ", "\r\n"])
def test_inline_certificates_and_key(store: Store, line_end: str) -> None:
    given = {
        "ssl_truststore_certificates": store.certificate.replace("\n", line_end),
        "ssl_keystore_certificate_chain": store.certificate.replace("\n", line_end) * 2,
        "ssl_keystore_key": store.key.replace("\n", line_end),
    }
    found = pem(load(**given))
    assert found.certificate == store.certificate * 2
    assert found.key == store.key
    assert len(context(**given).get_ca_certs()) == 1


def test_encrypted_key(store: Store) -> None:
    given = {"ssl_keystore_certificate_chain": store.certificate, "ssl_keystore_key": store.encrypted_key}
    context(**given, ssl_key_password=PASSWORD)
    assert pem(load(**given, ssl_key_password=PASSWORD)).password == PASSWORD
    with pytest.raises(ClientConfigError, match=r"the private key is encrypted \(set ssl.key.password\)"):
        context(**given)
    with pytest.raises(ClientConfigError, match=r"ssl.key.password does not open the private key"):
        context(**given, ssl_key_password="wrong")


@pytest.mark.parametrize("memory", [True, False])
def test_key_is_not_left_on_disk(
    store: Store, memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not memory:
        monkeypatch.delattr("os.memfd_create", raising=False)
    seen = []
    load_chain = ssl.SSLContext.load_cert_chain

    def look(self: ssl.SSLContext, path: str, **more: Any) -> None:
        seen.extend(each.stat().st_mode & 0o777 for each in tmp_path.iterdir())
        load_chain(self, path, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)
    given = {"ssl_keystore_certificate_chain": store.certificate, "ssl_keystore_key": store.key}
    context(**given)
    with pytest.raises(ClientConfigError):
        context(**given | {"ssl_keystore_certificate_chain": (store.directory / "other.pem").read_text()})
    assert seen == ([] if memory else [0o600, 0o600])
    assert list(tmp_path.iterdir()) == []


def test_mismatched_settings_are_rejected(store: Store) -> None:
    other = (store.directory / "other.pem").read_text()
    damaged = store.certificate.replace("M", "!", 1)
    refusals = {
        "the key does not match the certificate": {
            "ssl_keystore_certificate_chain": other,
            "ssl_keystore_key": store.key,
        },
        r"set without a certificate \(set ssl.keystore.certificate.chain": {"ssl_keystore_key": store.key},
        r"set without a key \(set ssl.keystore.key": {"ssl_keystore_certificate_chain": store.certificate},
        "contains no private key": {"ssl_keystore_location": str(store.ca)},
        "contains no certificate": {"ssl_truststore_certificates": store.key},
        "is damaged": {"ssl_truststore_certificates": damaged},
        "a certificate is damaged": {
            "ssl_truststore_certificates": store.certificate.replace("\n", "\nAAAA", 1)
        },
        "cannot be read: No such file": {"ssl_truststore_location": "/none.pem"},
        "is not PEM": {
            "ssl_truststore_location": store.write("empty.pem", ""),
            "ssl_truststore_type": "PEM",
        },
    }
    for reason, given in refusals.items():
        with pytest.raises(ClientConfigError, match=reason) as refusal:
            context(**given)
        assert "\n" not in str(refusal.value)


def test_key_is_not_shown(store: Store) -> None:
    given = {"ssl_keystore_certificate_chain": store.certificate, "ssl_keystore_key": store.encrypted_key}
    shown = repr(pem(load(**given, ssl_key_password=PASSWORD)))
    assert PASSWORD not in shown
    assert "PRIVATE" not in shown


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
@pytest.mark.skipif(shutil.which("keytool") is None, reason="no keytool command")
def test_hinted_commands_convert_a_java_trust_store(store: Store, kind: str) -> None:
    java_store = store.directory / f"trust store.{kind.lower()}"
    subprocess.run(
        [
            *("keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", store.ca),
            *("-keystore", java_store, "-storetype", kind, "-storepass", "changeit"),
        ],
        check=True,
        capture_output=True,
    )
    with pytest.raises(ClientConfigError, match=f"is {kind}, but only PEM is supported") as refusal:
        context(ssl_truststore_location=str(java_store))
    command = (refusal.value.hint or "").removeprefix("convert it: ").partition(";")[0]
    subprocess.run(["sh", "-c", command], input=b"changeit\n", check=True, capture_output=True)
    converted = f"{store.directory}/trust store.pem"
    assert f"ssl.truststore.location={converted}" in str(refusal.value)
    assert len(context(ssl_truststore_location=converted, ssl_truststore_type="PEM").get_ca_certs()) == 1


@pytest.mark.skipif(shutil.which("keytool") is None, reason="no keytool command")
def test_hinted_commands_convert_a_java_key_store(store: Store) -> None:
    store.openssl(
        *("pkcs12", "-export", "-in", "ours.pem", "-inkey", "ours.key", "-out", "k.p12"),
        *("-passout", "pass:changeit"),
    )
    with pytest.raises(ClientConfigError, match="is PKCS12, but only PEM is supported") as refusal:
        context(ssl_keystore_location=f"{store.directory}/k.p12")
    command = (refusal.value.hint or "").removeprefix("convert it: ").partition(";")[0]
    # The commands ask for passwords at the terminal; options give them here.
    command = command.replace(
        " -deststoretype", " -deststorepass changeit -srcstorepass changeit -deststoretype"
    )
    command += f" -passin pass:changeit -passout pass:{PASSWORD}"
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    assert f"ssl.keystore.location={store.directory}/k.pem and ssl.key.password" in str(refusal.value)
    context(ssl_keystore_location=f"{store.directory}/k.pem", ssl_key_password=PASSWORD)


# SASL


def sasl(mechanism: str, jaas: str | None = None, **given: str) -> Settings:
    line = {} if jaas is None else {"sasl_jaas_config": jaas}
    return load(security_protocol="SASL_SSL", sasl_mechanism=mechanism, **line, **given)


def test_without_sasl_there_is_no_login() -> None:
    assert login(load(security_protocol="SSL", sasl_mechanism="PLAIN")) is None


@pytest.mark.parametrize(
    ("jaas", "username", "password"),
    [
        (f'{PLAIN} required username="alice" password="secret";', "alice", "secret"),
        (f"{PLAIN} REQUIRED\n\tusername = 'alice'\n\tpassword='it''s' ;", None, None),
        (f"{PLAIN} required username=alice password=secret;", "alice", "secret"),
        (f'{PLAIN} required username="a\\"b" password="c\\\\d;=\'e";', 'a"b', "c\\d;='e"),
        (f'{PLAIN} required username="\\141\\tb" password="\\0";', "a\tb", "\0"),
        (f'/* ours */ {PLAIN} required // so\n username="a" password="";', "a", ""),
        (f'{PLAIN} required username="ä" password="p" serviceName="kafka";', "ä", "p"),
        (f'kafkashaded.{PLAIN} required username="a" password="p";', "a", "p"),
    ],
)
def test_jaas_lines_match_java(jaas: str, username: str | None, password: str | None) -> None:
    if username is None:
        with pytest.raises(ClientConfigError):
            login(sasl("PLAIN", jaas))
        return
    found = login(sasl("PLAIN", jaas))
    assert found is not None
    assert (found.mechanism, found.username, found.password) == ("PLAIN", username, password)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "scram-sha-512"])
def test_scram_has_its_own_module(mechanism: str) -> None:
    found = login(sasl(mechanism, f'{SCRAM} required username="alice" password="secret";'))
    assert found is not None
    assert found.mechanism == mechanism.upper()
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("jaas", "reason"),
    [
        (None, "sasl.mechanism=PLAIN needs sasl.jaas.config"),
        (f'{SCRAM} required username="a" password="secret";', "does not name the login module for PLAIN"),
        (f'{PLAIN} required username="a";', "has no username or no password"),
        (f'{PLAIN} required username="a" password="secret"', "must be: LoginModule required"),
        (f'{PLAIN} required username="a" password="secret;', "must be: LoginModule required"),
        (f'{PLAIN} required username="a" password=secret==;', "must be: LoginModule required"),
        (f'{PLAIN} username="a" password="secret";', "must be: LoginModule required"),
        (f"{PLAIN} required; {PLAIN} required;", "must be: LoginModule required"),
        (";", "must be: LoginModule required"),
    ],
)
def test_unusable_jaas_line_is_rejected_without_being_shown(jaas: str | None, reason: str) -> None:
    with pytest.raises(ClientConfigError, match=reason) as refusal:
        login(sasl("PLAIN", jaas))
    assert "secret" not in str(refusal.value)
    assert f"e.g. {PLAIN} required username=" in str(refusal.value)


@pytest.mark.parametrize("given", [{"sasl_mechanism": "GSSAPI"}, {}, {"sasl_mechanism": "AWS_MSK_IAM"}])
def test_unsupported_mechanisms_are_rejected(given: dict[str, str]) -> None:
    with pytest.raises(ClientConfigError, match=r"is not supported \(use one of: PLAIN, SCRAM-SHA-256"):
        login(load(security_protocol="SASL_SSL", **given))


# OAUTHBEARER


def token(settings: Settings) -> Token:
    found = login(settings)
    assert found is not None
    assert found.token is not None
    return found.token()


def jwt(**claims: Any) -> str:
    parts = ({"alg": "none"}, claims)
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().strip("=") for each in parts)
        + "."
    )


def test_unsigned_tokens() -> None:
    jaas = f'{OAUTH} required unsecuredLoginStringClaim_sub="alice" unsecuredLoginLifetimeSeconds="60";'
    made = token(sasl("OAUTHBEARER", jaas))
    assert made.principal == "alice"
    assert 50 < made.expires_at - time.time() <= 60
    claims = json.loads(base64.urlsafe_b64decode(made.value.split(".")[1] + "=="))
    assert claims["sub"] == "alice"
    assert claims["exp"] == made.expires_at
    assert made.value not in repr(made)


def test_unsigned_token_is_not_issued_in_the_future(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jaas = f'{OAUTH} required unsecuredLoginStringClaim_sub="alice";'
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.1239)
    made = token(sasl("OAUTHBEARER", jaas))
    claims = json.loads(base64.urlsafe_b64decode(made.value.split(".")[1] + "=="))
    assert 1000 * claims["iat"] <= 1_700_000_000_123 < 1000 * claims["exp"]  # as the broker compares them


def test_token_file_is_reread(tmp_path: Path) -> None:
    file = tmp_path / "the token"
    settings = sasl("OAUTHBEARER", **{"sasl.oauthbearer.token.endpoint.url": file.as_uri()})
    found = login(settings)
    assert found is not None
    assert found.token is not None
    with pytest.raises(AuthenticationError, match="cannot be read: No such file"):
        found.token()
    file.write_text(f"{jwt(sub='alice', exp=2_000_000_000)}\n")
    assert found.token() == Token(jwt(sub="alice", exp=2_000_000_000), 2_000_000_000.0, "alice")
    file.write_text("opaque")
    assert found.token().value == "opaque"
    assert 290 < found.token().expires_at - time.time() <= 300
    file.write_text("two words")
    with pytest.raises(AuthenticationError, match="contains no token"):
        found.token()


class Provider(HTTPServer):
    """An identity provider that issues numbered tokens, or gives a prepared answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str | None, dict[str, list[str]]]] = []
        self.answer: tuple[int, bytes] | None = None
        self.life: float | None = 3600
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/token"

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.requests.append((self.headers["Authorization"], form))
        about = {"access_token": jwt(sub="svc", n=len(self.server.requests)), "token_type": "bearer"}
        if self.server.life is not None:
            about["expires_in"] = self.server.life
        status, body = self.server.answer or (200, json.dumps(about).encode())
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("no_proxy", "*")
    server = Provider()
    yield server
    server.close()


def credentials(url: str, **given: str) -> Settings:
    jaas = (
        f'{OAUTH} required clientId="my id" clientSecret="s:e%cret" scope="kafka read" extension_pool="p1";'
    )
    return sasl("OAUTHBEARER", jaas, **{"sasl.oauthbearer.token.endpoint.url": url}, **given)


def test_client_credentials_token_is_cached(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    found = login(credentials(provider.url))
    assert found is not None
    assert found.token is not None
    assert found.extensions == {"pool": "p1"}
    first = found.token()
    assert first.principal == "svc"
    assert 3590 < first.expires_at - time.time() <= 3600
    basic = "Basic " + base64.b64encode(b"my id:s:e%cret").decode()
    form = {"grant_type": ["client_credentials"], "scope": ["kafka read"]}
    assert provider.requests == [(basic, form)]
    start = time.time()
    monkeypatch.setattr("time.time", lambda: start + 0.79 * 3600)
    assert found.token() == first
    monkeypatch.setattr("time.time", lambda: start + 0.81 * 3600)
    assert found.token() != first
    assert len(provider.requests) == 2


def test_settings_override_the_jaas_line(provider: Provider) -> None:
    prefix = "sasl.oauthbearer."
    more = {
        f"{prefix}client.credentials.client.id": "a b",
        f"{prefix}client.credentials.client.secret": "c/d",
        f"{prefix}scope": "other",
        f"{prefix}header.urlencode": "true",
    }
    token(credentials(provider.url, **more))
    basic, form = provider.requests[0]
    assert basic == "Basic " + base64.b64encode(b"a+b:c%2Fd").decode()
    assert form["scope"] == ["other"]


def test_token_expiry_from_its_claims(provider: Provider) -> None:
    provider.answer = (200, json.dumps({"access_token": jwt(sub="x", exp=2_000_000_000)}).encode())
    assert token(credentials(provider.url)).expires_at == 2_000_000_000


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (
            401,
            b'{"error": "invalid_client"}',
            r"refused the request: HTTP 401 \(invalid_client\) \(check the client ID",
        ),
        (400, b"<html>", "refused the request: HTTP 400 "),
        (302, b"", "refused the request: HTTP 302"),
        (200, b"<html>", "answered without an access_token"),
        (200, b"[]", "answered without an access_token"),
        (200, b'{"access_token": 1}', "answered without an access_token"),
    ],
)
def test_provider_error_is_one_line(provider: Provider, status: int, body: bytes, reason: str) -> None:
    provider.answer = (status, body)
    with pytest.raises(AuthenticationError, match=f"the token endpoint {provider.url} {reason}") as refusal:
        token(credentials(provider.url))
    assert "e%cret" not in str(refusal.value)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("order", [1, -1], ids=["no way first", "no way last"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_unreachable_token_endpoint(
    provider: Provider, scheme: str, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if ``localhost`` also resolves to ``::1`` on a machine without IPv6."""
    provider.close()
    hosts = ["127.255.255.255", "127.0.0.1"][::order]  # there is no way to a broadcast address by TCP
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, provider.server_port)) for host in hosts]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    url = f"{scheme}://localhost:{provider.server_port}/token"
    with pytest.raises(AuthenticationError, match="cannot be reached: Connection refused"):
        token(credentials(url))


@pytest.mark.parametrize("closes", [True, False])
def test_token_endpoint_without_tls(
    provider: Provider, closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if closes:
        monkeypatch.setattr(Handler, "handle", lambda handler: handler.rfile.read(1))
    with pytest.raises(TlsError, match="does not answer with TLS") as refusal:
        token(credentials(provider.url.replace("http:", "https:")))
    assert "check sasl.oauthbearer.token.endpoint.url" in str(refusal.value)


def test_token_endpoint_must_be_trusted(store: Store, provider: Provider) -> None:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(store.ca, store.directory / "ours.key")
    provider.socket = ours.wrap_socket(provider.socket, server_side=True)
    url = provider.url.replace("http:", "https:")
    assert token(credentials(url, ssl_truststore_location=str(store.ca))).principal == "svc"
    with pytest.raises(TlsError, match=r"the token endpoint .*self-signed certificate"):
        token(credentials(url))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://idp.example.org/token", "would be sent unencrypted to idp.example.org"),
        ("ftp://localhost/token", "is not a URL"),
        ("token", "is not a URL"),
        ("https://[::1/token", "is not a URL"),
    ],
)
def test_invalid_endpoints_are_rejected(url: str, reason: str) -> None:
    with pytest.raises(ClientConfigError, match=reason):
        login(credentials(url))


def test_missing_token_settings_are_named() -> None:
    with pytest.raises(ClientConfigError, match=r"needs sasl.oauthbearer.token.endpoint.url"):
        login(sasl("OAUTHBEARER"))
    with pytest.raises(ClientConfigError, match="has no client ID or no client secret"):
        login(sasl("OAUTHBEARER", **{"sasl.oauthbearer.token.endpoint.url": "https://idp.example.org/t"}))


def test_every_mechanism_has_its_login_module() -> None:
    assert set(logins._MODULES) == set(logins.MECHANISMS)
