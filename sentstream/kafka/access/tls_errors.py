"""Translate OpenSSL's errors into what they mean for a connection to a broker."""

from __future__ import annotations

import ssl

from sentstream.errors import TlsError

#: OpenSSL's names of the alerts that a broker sends about our certificate.
_CERTIFICATE_ALERTS = {
    "CERTIFICATE_REQUIRED": "the broker requires a client certificate",
    "BAD_CERTIFICATE": "the broker refuses our certificate",
    "CERTIFICATE_UNKNOWN": "the broker refuses our certificate",
    "UNSUPPORTED_CERTIFICATE": "the broker refuses our certificate",
    "UNKNOWN_CA": "the broker does not trust the CA of our certificate",
    "CERTIFICATE_EXPIRED": "our certificate has expired",
    "CERTIFICATE_REVOKED": "our certificate is revoked",
}
#: OpenSSL's verification codes for the broker's certificate.
_NOT_YET, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64


def is_end(error: ssl.SSLError) -> bool:
    """Return whether the peer has closed the connection.

    The error depends on OpenSSL: most versions report a protocol violation, 3.0.20 a normal end (Python
    requests that with ``SSL_OP_IGNORE_UNEXPECTED_EOF``).
    """
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def lacks_tls(error: ssl.SSLError) -> bool:
    """Return whether a handshake error indicates that the peer does not use TLS at all."""
    return is_end(error) or error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")


def explain(error: ssl.SSLError, host: str, where: str, *, certified: bool, agreed: bool) -> TlsError:
    """Return the error to show for a failed handshake.

    Args:
        error: OpenSSL's error.
        host: The broker's host name that we connected to.
        where: The beginning of the message.
        certified: Whether we had a client certificate.
        agreed: Whether a protocol and a cipher suite had been negotiated.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
            return TlsError(
                f"{where}: the broker's certificate is not for {host}",
                hint="connect by a name in the certificate, or skip the check with an empty "
                "ssl.endpoint.identification.algorithm",
            )
        if error.verify_code in (_EXPIRED, _NOT_YET):
            return TlsError(
                f"{where}: the broker's {error.verify_message}",
                hint="renew the certificate, or check this machine's clock",
            )
        return TlsError(
            f"{where}: the broker's certificate is not trusted: {error.verify_message}",
            hint="ssl.truststore.location must contain the CA that signed it, as PEM",
        )
    reason = error.reason or ""
    if agreed and reason.endswith("ALERT_HANDSHAKE_FAILURE"):
        reason = "ALERT_BAD_CERTIFICATE"  # some versions of Java, for a missing one in TLS 1.2
    for alert, meaning in _CERTIFICATE_ALERTS.items():
        if reason.endswith(f"ALERT_{alert}"):
            wants = meaning if certified else "the broker requires a client certificate"
            return TlsError(
                f"{where}: {wants}",
                hint="ssl.keystore.location must contain our certificate and its key, as PEM",
            )
    if reason.endswith("ALERT_HANDSHAKE_FAILURE"):
        return TlsError(
            f"{where}: the broker and this client have no TLS version or cipher in common",
            hint="check ssl.cipher.suites and ssl.enabled.protocols",
        )
    return TlsError(f"{where}: {reason.replace('_', ' ').lower() or error}")
