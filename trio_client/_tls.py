"""TLS over a connected stream, and why there is none."""

from __future__ import annotations

import ssl

import trio


class TlsError(Exception):
    """No TLS session: the message says why."""


async def open_tls(
    stream: trio.abc.Stream, host: str, context: ssl.SSLContext | None
) -> trio.SSLStream[trio.abc.Stream]:
    """Agree on TLS with ``host``. ``context`` None: the system's trusted authorities.

    The caller bounds the time. Raises TlsError; then, and when cancelled, the stream is closed.
    """
    try:
        context = context or ssl.create_default_context()
        tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        await tls.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        match error:
            case trio.BrokenResourceError():
                raise TlsError(_explain(error.__cause__)) from None
            case ssl.SSLError():
                raise TlsError(f"the ssl_context cannot be used: {error.reason or error}") from None
            case ValueError():
                raise TlsError("the host name cannot stand in a certificate") from None
        raise
    return tls


def _explain(error: BaseException | None) -> str:
    """A sentence for the cause of a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {error.verify_message}"
    hung_up = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)  # which of them depends on OpenSSL
    if isinstance(error, ssl.SSLError) and not hung_up and "EOF" not in (error.reason or ""):
        return f"no TLS session: {error.reason or error}"
    return "the server closed the connection in the TLS handshake"
