"""Convert the Java client's security settings into a TLS context for Python.

Certificates and keys are PEM, in files or in the settings themselves. A private key that was decrypted or
written into the settings never stays on disk.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import shlex
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sentstream.errors import ClientConfigError
from sentstream.kafka.access.settings import Settings


@dataclass(frozen=True)
class Pem:
    """Certificates and key as PEM text; each is None if not set.

    Attributes:
        ca: The CAs to trust; None for the system's.
        certificate: Our certificate and its chain.
        key: Our private key, encrypted or not.
        password: The password of an encrypted key.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def protocol(settings: Settings) -> str:
    """Return ``security.protocol``: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    return settings.text("security.protocol", "PLAINTEXT")


def tls(settings: Settings, files: Pem) -> ssl.SSLContext | None:
    """Return the TLS context for brokers, with our certificate if there is one; None without TLS.

    Args:
        settings: The client's settings.
        files: The result of ``pem``.

    Raises:
        ClientConfigError: A certificate or key is damaged, the password does not open the key, or another
            setting cannot be used.
    """
    if not protocol(settings).endswith("SSL"):
        return None
    context = context_with(settings, files.ca)
    if files.ca is None:
        context.load_default_certs()
    if settings.text("ssl.endpoint.identification.algorithm", "https") == "":
        context.check_hostname = False
    if files.certificate is not None and files.key is not None:
        _load_key(context, files, settings)
    return context


def pem(settings: Settings) -> Pem:
    """Return the certificates and the key, from files or inline settings.

    Raises:
        ClientConfigError: A store cannot be read, is not PEM, or lacks a certificate or key.
    """
    trusted = _store(settings, "ssl.truststore", "ssl.truststore.certificates")
    ca = None if trusted is None else _blocks(trusted[0], "CERTIFICATE", trusted[1])
    chain = _store(settings, "ssl.keystore", "ssl.keystore.certificate.chain")
    inline = settings.text("ssl.keystore.key")
    if chain is None:
        if inline is not None:
            raise ClientConfigError(
                f"{settings.where('ssl.keystore.key')} is set without a certificate",
                hint="set ssl.keystore.certificate.chain too",
            )
        return Pem(ca, None, None, None)
    if inline is None and settings.text("ssl.keystore.certificate.chain") is not None:
        raise ClientConfigError(
            f"{settings.where('ssl.keystore.certificate.chain')} is set without a key",
            hint="set ssl.keystore.key too",
        )
    text, where = chain
    certificate = _blocks(text, "CERTIFICATE", where)
    key = (
        _blocks(text, "PRIVATE KEY", where)
        if inline is None
        else _blocks(inline, "PRIVATE KEY", settings.where("ssl.keystore.key"))
    )
    password = settings.text("ssl.key.password")
    if "ENCRYPTED" in key and password is None:
        raise ClientConfigError(f"{where}: the private key is encrypted", hint="set ssl.key.password")
    return Pem(ca, certificate, key, password)


def context_with(settings: Settings, ca: str | None) -> ssl.SSLContext:
    """Return a context that trusts ``ca``, with the configured TLS versions and ciphers.

    Raises:
        ClientConfigError: A setting cannot be used, or a CA certificate is damaged.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    versions = _list(settings.text("ssl.enabled.protocols", ""))
    known = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
    if versions:
        chosen = [known[each] for each in versions if each in known]
        if not chosen:
            raise ClientConfigError(
                f"{settings.where('ssl.enabled.protocols')} has no protocol that is safe to use",
                hint="use TLSv1.2, TLSv1.3 or both",
            )
        context.minimum_version, context.maximum_version = min(chosen), max(chosen)
    if suites := _list(settings.text("ssl.cipher.suites", "")):
        older = [each for each in suites if not re.match(r"TLS_(AES|CHACHA20)_", each)]
        if not older:  # OpenSSL always offers all of TLS 1.3
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        else:
            try:
                context.set_ciphers(":".join(map(_openssl_name, older)))
            except ssl.SSLError as error:
                raise ClientConfigError(
                    f"{settings.where('ssl.cipher.suites')} has no cipher suite that is available here"
                ) from error
            if len(older) == len(suites):
                context.maximum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        try:
            context.load_verify_locations(cadata=ca)
        except (ssl.SSLError, ValueError) as error:
            name = "ssl.truststore.certificates"
            if settings.text(name) is None:
                name = "ssl.truststore.location"
            raise ClientConfigError(f"{settings.where(name)}: a certificate is damaged") from error
    return context


def _openssl_name(suite: str) -> str:
    """Return OpenSSL's name of a TLS 1.2 cipher suite.

    >>> _openssl_name("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    'ECDHE-RSA-AES128-GCM-SHA256'
    >>> _openssl_name("TLS_RSA_WITH_AES_256_CBC_SHA")
    'AES256-SHA'
    """
    name = re.sub(r"^TLS_(RSA_WITH_)?", "", suite).replace("_WITH_", "_").replace("_CBC_", "_")
    name = re.sub(r"AES_(\d+)", r"AES\1", name).replace("_", "-")
    return name.replace("CHACHA20-POLY1305-SHA256", "CHACHA20-POLY1305")


def _load_key(context: ssl.SSLContext, files: Pem, settings: Settings) -> None:
    """Load our certificate and key into the context; OpenSSL reads them only from files."""
    name = "ssl.keystore.location"
    if settings.text("ssl.keystore.certificate.chain") is not None:
        name = "ssl.keystore.certificate.chain"
    with _file(f"{files.key}{files.certificate}") as path:
        try:
            # Without a password OpenSSL would prompt at the terminal.
            context.load_cert_chain(path, password=files.password or "")
        except ssl.SSLError as error:
            where = settings.where(name)
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ClientConfigError(f"{where}: the key does not match the certificate") from error
            if files.key is not None and "ENCRYPTED" in files.key:
                where = settings.where("ssl.key.password")
                raise ClientConfigError(f"{where} does not open the private key") from error
            raise ClientConfigError(f"{where}: the key or the certificate is damaged") from error


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """Yield the path of a temporary file with this text, in memory if the system supports it."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("key")
        path = f"/proc/self/fd/{handle}"
        try:
            if os.path.exists(path):
                os.write(handle, text.encode())
                yield path
                return
        finally:
            os.close(handle)
    handle, path = tempfile.mkstemp()  # readable only by us
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        yield path
    finally:
        os.unlink(path)


def _store(settings: Settings, store: str, inline: str) -> tuple[str, str] | None:
    """Return the text of a store and where it comes from; None if it is not set."""
    text = settings.text(inline)
    if text is not None:
        return text, settings.where(inline)
    location = settings.text(f"{store}.location")
    if location is None:
        return None
    where = f"{settings.where(f'{store}.location')}={location}"
    try:
        content = Path(location).read_bytes()
    except OSError as error:
        raise ClientConfigError(f"{where} cannot be read: {error.strerror or error}") from error
    if b"-----BEGIN " not in content:
        kind = settings.text(f"{store}.type", "JKS").upper()
        kind = "JKS" if content.startswith(b"\xfe\xed\xfe\xed") else "PKCS12" if content[:1] == b"0" else kind
        if kind == "PEM":
            raise ClientConfigError(f"{where} is not PEM", hint="it has no -----BEGIN …----- line")
        raise ClientConfigError(
            f"{where} is {kind}, but only PEM is supported", hint=_conversion(store, location)
        )
    return content.decode("utf-8", "replace"), where


def _conversion(store: str, location: str) -> str:
    """Return a hint with the commands that convert a Java store to PEM."""
    source, stem = shlex.quote(location), os.path.splitext(location)[0]
    target = shlex.quote(f"{stem}.pem")
    if store == "ssl.truststore":
        commands = f"keytool -list -rfc -keystore {source} > {target}"
    else:
        middle = shlex.quote(f"{stem}.for-openssl.p12")
        commands = (
            f"keytool -importkeystore -srckeystore {source} -destkeystore {middle} -deststoretype PKCS12"
            f" && openssl pkcs12 -in {middle} -out {target}"
        )
    more = "" if store == "ssl.truststore" else " and ssl.key.password to the new passphrase"
    return f"convert it: {commands}; then set {store}.type=PEM, {store}.location={stem}.pem{more}"


def _blocks(text: str, description: str, where: str) -> str:
    """Return the PEM blocks of one kind, without any text around them and with normal line breaks."""
    found = re.findall(
        rf"-----BEGIN ([A-Z0-9 ]*{description})-----(.*?)-----END \1-----",
        text.replace("\\n", "\n"),
        re.DOTALL,
    )
    if not found:
        raise ClientConfigError(
            f"{where} contains no {description.lower()}",
            hint=f"it must contain -----BEGIN {description}-----",
        )
    return "".join(_block(label, body, where) for label, body in found)


def _block(label: str, body: str, where: str) -> str:
    if ":" not in body:  # otherwise a key in an old format, whose headers need their line breaks
        data = "".join(body.split())
        try:
            base64.b64decode(data, validate=True)
        except binascii.Error:
            raise ClientConfigError(f"{where}: a {label.lower()} is damaged") from None
        body = "\n" + "".join(f"{data[start : start + 64]}\n" for start in range(0, len(data), 64))
    return f"-----BEGIN {label}-----{body}-----END {label}-----\n"


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
