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

#: The fraction of its lifetime after which a token is renewed, as in the Java client.
_USED_LIFE = 0.8
#: The assumed lifetime of a token that does not state one, in seconds.
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
    """Requests tokens from an identity provider (OAuth 2.0 client credentials grant), and caches them.

    Safe to call from several threads. Uses the proxies of the environment.

    Raises (when called):
        AuthenticationError: The provider cannot be reached, or refuses the request.
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
        # A redirected request would send the secret to another server.
        self._opener = urllib.request.build_opener(*http_handlers(context), _NoRedirects())
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._renew_at = 0.0

    def __call__(self) -> Token:
        """Return a token that has not expired; request a new one when it is due for renewal."""
        with self._lock:
            now = time.time()
            if self._token is None or now >= self._renew_at:
                self._token = _token(*self._ask(), now)
                self._renew_at = now + (self._token.expires_at - now) * _USED_LIFE
            return self._token

    def _ask(self) -> tuple[str, float | None]:
        """Request a token; return it and its lifetime in seconds, if the answer states one."""
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
                failure = "does not answer with TLS" if lacks_tls(error.reason) else f"fails: {error.reason}"
                raise TlsError(
                    f"{where} {failure}", hint="check sasl.oauthbearer.token.endpoint.url"
                ) from None
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
    """Return a function that reads the token from a file each time, since another program renews it."""

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
    """Return a function that makes unsigned tokens, which only brokers set up for tests accept."""

    def make() -> Token:
        now = time.time()
        # In whole seconds, like most issuers: the broker's clock has whole milliseconds, so a token issued
        # in the current millisecond would appear to come from the future and be refused.
        claims = {"sub": subject, "iat": int(now), "exp": now + lifetime}
        parts = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "none"}, claims)
        )
        return Token(".".join([*parts, ""]), now + lifetime, subject)

    return make


def endpoint(url: str) -> str:
    """Return a URL without the parts that may be secret: user, password, query."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Return None, which makes a redirect an error."""


def _token(value: str, life: float | None, now: float) -> Token:
    claims = _claims(value)
    until = claims.get("exp") if life is None else now + life
    if not isinstance(until, int | float):
        until = now + _UNTOLD_LIFE
    return Token(value, float(until), str(claims.get("sub", "")))


def _claims(value: str) -> dict[str, Any]:
    """Return the claims of a JSON web token, unverified (the broker verifies it); {} for other tokens."""
    parts = value.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the OAuth 2.0 error code in parentheses, such as ``invalid_client``; "" without one."""
    try:
        answer = json.loads(error.read(_LARGEST_ANSWER))
        reason = answer.get("error") if isinstance(answer, dict) else None
    except (OSError, ValueError):
        reason = None
    fitting = isinstance(reason, str) and reason.isprintable() and len(reason) < 80
    return f" ({reason})" if fitting else ""
