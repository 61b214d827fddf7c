"""What a connection to a cluster needs: protocol, TLS and login, read once from the settings."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from sentstream.kafka.access.login import Login, login
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.access.tls import Pem, pem, protocol, tls


@dataclass(frozen=True)
class Access:
    """What a connection needs besides an address.

    Attributes:
        protocol: ``security.protocol``: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        context: The TLS context, with our certificate if there is one; None without TLS.
        files: Certificates and key as PEM text; all None without TLS.
        login: The SASL login; None if the protocol has none.
    """

    protocol: str
    context: ssl.SSLContext | None = field(repr=False)
    files: Pem
    login: Login | None

    @classmethod
    def read(cls, settings: Settings) -> Access:
        """Read certificates, key and login.

        Raises:
            ClientConfigError: A security setting cannot be used, or a file cannot be read.
        """
        security = protocol(settings)
        files = pem(settings) if security.endswith("SSL") else Pem()
        return cls(security, tls(settings, files), files, login(settings))
