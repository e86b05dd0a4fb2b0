"""Why a TLS session was not agreed on."""

from __future__ import annotations

import ssl


def explain_tls(error: BaseException | None) -> str:
    """A sentence for the cause of a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {error.verify_message}"
    hung_up = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)  # which of them depends on OpenSSL
    if isinstance(error, ssl.SSLError) and not hung_up and "EOF" not in (error.reason or ""):
        return f"no TLS session: {error.reason or error}"
    return "the server closed the connection in the TLS handshake"
