"""Tokens for SASL OAUTHBEARER: from an identity provider (KIP-768), from a file, or unsigned for tests."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sentstream.errors import AuthenticationError, TlsError
from sentstream.kafka.access.network import http_handlers
from sentstream.kafka.access.tls_errors import lacks_tls

#: How much of its life a token is used for, as in the Java client.
_USED_LIFE = 0.8
#: A token that does not tell its end is asked for again after so many seconds.
_UNTOLD_LIFE = 300.0
_LARGEST_ANSWER = 1 << 20


class Token(NamedTuple):
    """A bearer token; ``expires_at`` is in seconds since 1970 (UTC)."""

    value: str
    expires_at: float
    principal: str

    def __repr__(self) -> str:
        return f"Token(…, expires_at={self.expires_at!r}, principal={self.principal!r})"


class ClientCredentials:
    """Asks an identity provider for tokens (OAuth 2.0 client credentials grant), and keeps each a while.

    Safe to call from several threads. Proxies are those of the environment.

    Raises (when called):
        AuthenticationError: The provider cannot be reached, or refuses.
        TlsError: Its certificate is not trusted.
    """

    def __init__(
        self,
        url: str,
        client: str,
        secret: str,
        *,
        scope: str | None,
        context: ssl.SSLContext,
        quote: bool,
        seconds: float,
    ) -> None:
        self._url, self._client, self._secret = url, client, secret
        self._scope, self._quote, self._seconds = scope, quote, seconds
        # A redirected request would carry the secret to somebody else.
        self._opener = urllib.request.build_opener(*http_handlers(context), _NoRedirects())
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._renew_at = 0.0

    def __call__(self) -> Token:
        """A token that is good for a while yet."""
        with self._lock:
            now = time.time()
            if self._token is None or now >= self._renew_at:
                self._token = _token(*self._ask(), now)
                self._renew_at = now + (self._token.expires_at - now) * _USED_LIFE
            return self._token

    def _ask(self) -> tuple[str, float | None]:
        """A new token, and how many seconds it lives if the answer says so."""
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        pair = [self._client, self._secret]
        if self._quote:
            pair = [urllib.parse.quote_plus(each) for each in pair]
        basic = base64.b64encode(":".join(pair).encode()).decode()
        request = urllib.request.Request(
            self._url,
            data=urllib.parse.urlencode(form).encode(),
            headers={"Authorization": f"Basic {basic}", "Accept": "application/json"},
        )
        where = f"the token endpoint {endpoint(self._url)}"
        try:
            with self._opener.open(request, timeout=self._seconds) as response:
                answer = json.loads(response.read(_LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            with error:
                raise AuthenticationError(
                    f"{where} refused the request: HTTP {error.code}{_reason(error)}",
                    hint="check the client ID, the client secret and the scope",
                ) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise TlsError(
                    f"{where}: {error.reason.verify_message}",
                    hint="its CA must be in the system's trust store or in ssl.truststore.location",
                ) from None
            if isinstance(error.reason, ssl.SSLError):
                said = "does not answer with TLS" if lacks_tls(error.reason) else f"fails: {error.reason}"
                raise TlsError(f"{where} {said}", hint="check sasl.oauthbearer.token.endpoint.url") from None
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise AuthenticationError(
                f"{where} cannot be reached: {reason}", hint="check sasl.oauthbearer.token.endpoint.url"
            ) from None
        except OSError as error:
            raise AuthenticationError(f"{where} cannot be reached: {error.strerror or error}") from None
        except ValueError:
            answer = None
        value = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(value, str) or not value:
            raise AuthenticationError(f"{where} answered without an access_token")
        life = answer.get("expires_in")
        try:
            return value, None if life is None else float(life)
        except (TypeError, ValueError):
            return value, None


def from_file(path: Path) -> Callable[[], Token]:
    """Reads the token anew each time, since something else renews it."""

    def read() -> Token:
        try:
            value = path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise AuthenticationError(
                f"the token in {path} cannot be read: {error.strerror or error}"
            ) from None
        except UnicodeDecodeError:
            value = ""
        if not value or any(character.isspace() for character in value):
            raise AuthenticationError(f"{path} contains no token")
        return _token(value, None, time.time())

    return read


def unsigned(subject: str, lifetime: float) -> Callable[[], Token]:
    """Tokens that nobody signed: only a broker set up for tests takes them."""

    def make() -> Token:
        now = time.time()
        # In whole seconds, as most issuers say it: the broker's clock counts whole milliseconds, so it
        # would find a token of this very millisecond to come from the future, and refuse it.
        claims = {"sub": subject, "iat": int(now), "exp": now + lifetime}
        parts = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "none"}, claims)
        )
        return Token(".".join([*parts, ""]), now + lifetime, subject)

    return make


def endpoint(url: str) -> str:
    """A URL without what may be secret in it: user, password, query."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """None: a redirection is an error."""


def _token(value: str, life: float | None, now: float) -> Token:
    claims = _claims(value)
    until = claims.get("exp") if life is None else now + life
    if not isinstance(until, int | float):
        until = now + _UNTOLD_LIFE
    return Token(value, float(until), str(claims.get("sub", "")))


def _claims(value: str) -> dict[str, Any]:
    """What a JSON web token says of itself (the broker checks it); {} of any other token."""
    parts = value.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _reason(error: urllib.error.HTTPError) -> str:
    """The error code that OAuth 2.0 prescribes, such as ``invalid_client``."""
    try:
        answer = json.loads(error.read(_LARGEST_ANSWER))
        reason = answer.get("error") if isinstance(answer, dict) else None
    except (OSError, ValueError):
        reason = None
    fitting = isinstance(reason, str) and reason.isprintable() and len(reason) < 80
    return f" ({reason})" if fitting else ""
