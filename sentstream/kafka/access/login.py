"""SASL login, configured as in the Java client."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from sentstream.errors import ClientConfigError
from sentstream.kafka.access.oauth import ClientCredentials, Token, from_file, unsigned
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.access.tls import context_with, pem, protocol

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "OAUTHBEARER": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}


@dataclass(frozen=True)
class Login:
    """How to log in with SASL.

    Attributes:
        mechanism: One of ``MECHANISMS``.
        username: For PLAIN and SCRAM.
        password: For PLAIN and SCRAM.
        token: For OAUTHBEARER: returns a token that has not expired, from any thread. Raises
            AuthenticationError or TlsError if it cannot get one.
        extensions: For OAUTHBEARER: SASL extensions (RFC 7628), which some cloud services require.
    """

    mechanism: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: Callable[[], Token] | None = field(default=None, repr=False)
    extensions: Mapping[str, str] = field(default_factory=dict, repr=False)


def login(settings: Settings) -> Login | None:
    """Return the SASL login; None if the protocol has none.

    Raises:
        ClientConfigError: The mechanism is not supported, or a setting that it needs is missing.
    """
    if not protocol(settings).startswith("SASL"):
        return None
    mechanism = (settings.text("sasl.mechanism") or "GSSAPI").upper()
    if mechanism not in MECHANISMS:
        default = "" if settings.text("sasl.mechanism") else ", the default,"
        raise ClientConfigError(
            f"{settings.where('sasl.mechanism')}: {mechanism}{default} is not supported",
            hint=f"use one of: {', '.join(MECHANISMS)}",
        )
    options = _jaas(settings, mechanism)
    if mechanism == "OAUTHBEARER":
        return _oauth(settings, options)
    if "username" not in options or "password" not in options:
        _refuse(settings, "has no username or no password", mechanism)
    return Login(mechanism, options["username"], options["password"])


_WORD = re.compile(
    r"""\s+|//[^\n]*|/\*.*?\*/"""
    r"""|(?P<quoted>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<bare>[^\s=;"']+)|(?P<sign>[=;])""",
    re.DOTALL,
)
_JAAS_ESCAPE = re.compile(r"\\([0-3][0-7]{2}|[0-7]{1,2}|.)", re.DOTALL)
_JAAS_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _jaas(settings: Settings, mechanism: str) -> dict[str, str]:
    """Return the login module's options in ``sasl.jaas.config``; {} if it is unset and not required."""
    line = settings.text("sasl.jaas.config")
    if line is None:
        if mechanism == "OAUTHBEARER":
            return {}
        raise ClientConfigError(
            f"sasl.mechanism={mechanism} needs sasl.jaas.config", hint=_example(mechanism)
        )
    words = _words(line)
    if words is None or words.count((";", True)) != 1 or words[-1] != (";", True) or len(words) < 3:
        _refuse(settings, 'must be: LoginModule required name="value" … ;', mechanism)
    (module, _), (control, _), options = words[0], words[1], words[2:-1]
    module = module.rpartition(".")[2]
    if module != _MODULES[mechanism].rpartition(".")[2]:
        _refuse(settings, f"does not name the login module for {mechanism}", mechanism)
    triples = [options[start : start + 3] for start in range(0, len(options), 3)]
    if control.lower() not in ("required", "requisite", "sufficient", "optional") or not all(
        len(three) == 3 and three[1] == ("=", True) and not three[0][1] and not three[2][1]
        for three in triples
    ):
        _refuse(settings, 'must be: LoginModule required name="value" … ;', mechanism)
    return {name: value for (name, _), _, (value, _) in triples}


def _words(line: str) -> list[tuple[str, bool]] | None:
    """Return the tokens of a JAAS line, each with whether it is ``=`` or ``;``; None if malformed."""
    words, position = [], 0
    while position < len(line):
        match = _WORD.match(line, position)
        if match is None:
            return None
        position = match.end()
        if match["quoted"]:
            words.append((_JAAS_ESCAPE.sub(_unescape, match["quoted"][1:-1]), False))
        elif match["bare"] or match["sign"]:
            words.append((match[0], bool(match["sign"])))
    return words


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code, 8)) if code.isdigit() and code < "8" else _JAAS_CONTROLS.get(code, code)


def _refuse(settings: Settings, reason: str, mechanism: str) -> NoReturn:
    """Raise an error with an example as its hint, since the line itself is secret."""
    raise ClientConfigError(f"{settings.where('sasl.jaas.config')} {reason}", hint=_example(mechanism))


def _example(mechanism: str) -> str:
    options = 'clientId="…" clientSecret="…"' if mechanism == "OAUTHBEARER" else 'username="…" password="…"'
    return f"e.g. {_MODULES[mechanism]} required {options};"


def _oauth(settings: Settings, options: Mapping[str, str]) -> Login:
    prefix = "extension_"
    extensions = {
        name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)
    }
    return Login("OAUTHBEARER", token=_tokens(settings, options), extensions=extensions)


def _tokens(settings: Settings, options: Mapping[str, str]) -> Callable[[], Token]:
    """Return the function that gets tokens: from a file, an identity provider, or unsigned."""
    name = "sasl.oauthbearer.token.endpoint.url"
    url = settings.text(name)
    if url is None:
        subject = options.get("unsecuredLoginStringClaim_sub")
        if subject is None:
            raise ClientConfigError(
                f"sasl.mechanism=OAUTHBEARER needs {name}", hint="use https://… or file:///path/to/token"
            )
        life = options.get("unsecuredLoginLifetimeSeconds", "3600")
        if not re.fullmatch(r"[0-9]{1,9}", life):
            _refuse(settings, "has an unsecuredLoginLifetimeSeconds that is not a number", "OAUTHBEARER")
        return unsigned(subject, float(life))
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise ClientConfigError(f"{settings.where(name)} is not a URL") from None
    if parts.scheme == "file":
        return from_file(Path(urllib.parse.unquote(parts.path)))
    if parts.scheme not in ("https", "http") or not host:
        raise ClientConfigError(
            f"{settings.where(name)} is not a URL", hint="use https://… or file:///path/to/token"
        )
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        raise ClientConfigError(
            f"{settings.where(name)}: the client secret would be sent unencrypted to {host}",
            hint="use https",
        )
    credentials = "sasl.oauthbearer.client.credentials.client."
    client = settings.text(f"{credentials}id", options.get("clientId"))
    secret = settings.text(f"{credentials}secret", options.get("clientSecret"))
    if client is None or secret is None:
        raise ClientConfigError(
            "sasl.mechanism=OAUTHBEARER has no client ID or no client secret",
            hint=f"set {credentials}id and .secret, or clientId and clientSecret in sasl.jaas.config",
        )
    context = context_with(settings, pem(settings).ca)
    context.load_default_certs()  # the identity provider often has another CA than the brokers
    return ClientCredentials(
        url,
        client,
        secret,
        scope=settings.text("sasl.oauthbearer.scope", options.get("scope")),
        context=context,
        quote=settings.flag("sasl.oauthbearer.header.urlencode", False),
        seconds=settings.integer("sasl.login.connect.timeout.ms", 10_000) / 1000,
    )
