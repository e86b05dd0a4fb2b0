"""What the handshake carries: INIT and INIT-ACK with their parameters, and the state cookie (RFC 9260 section 5).

Nothing here has any state: the cookie holds what an association would have to remember between INIT and COOKIE-ECHO.
"""

from __future__ import annotations

import hashlib
import hmac
from struct import Struct
from typing import NamedTuple

from . import chunks

STREAMS = 65535
"""As many streams as there are numbers, in both directions."""
FORWARD = 1
ZERO = 4
"""Extensions of the peer: it takes FORWARD-TSN, and packets whose checksum is zero. The cookie holds them in a byte."""

_COOKIE = Struct(">dIIIIIHHBII")
_MAC = 16
_REPORTED = 8
"""Unknown parameters that are reported, at most."""
_ZERO_OVER_DTLS = chunks.EDMID_DTLS.to_bytes(4, "big")


class Hello(NamedTuple):
    """An INIT or INIT-ACK: ``unknown`` are the parameters that its sender wants to be told of."""

    init: chunks.Init
    extensions: int
    cookie: bytes
    unknown: list[tuple[int, bytes]]


class Cookie(NamedTuple):
    """What is put into a cookie. The tie tags are those of the association that there is already (section 5.2.2)."""

    issued: float
    tag: int
    peer_tag: int
    tsn: int
    peer_tsn: int
    window: int
    outbound: int
    inbound: int
    extensions: int
    tie_ours: int
    tie_peer: int


def read_hello(body: bytes) -> Hello:
    """The body of an INIT or INIT-ACK. Raises ParseError."""
    init = chunks.decode_init(body)
    extensions = 0
    cookie = b""
    unknown: list[tuple[int, bytes]] = []
    for kind, value in init.parameters:
        if kind == chunks.STATE_COOKIE:
            cookie = value
        elif kind == chunks.FORWARD_TSN_SUPPORTED:
            extensions |= FORWARD
        elif kind == chunks.SUPPORTED_EXTENSIONS:
            if chunks.FORWARD_TSN in value:
                extensions |= FORWARD
        elif kind == chunks.ZERO_CHECKSUM:
            if value == _ZERO_OVER_DTLS:
                extensions |= ZERO
        elif kind > 15:
            # Types up to 15 are those of RFC 9260 and of no use here, such as addresses.
            if kind & 0x4000:
                unknown.append((kind, value[:32]))
            if not kind & 0x8000:
                break
    return Hello(init, extensions, cookie, unknown[:_REPORTED])


def our_parameters(*, zero_checksum: bool) -> list[tuple[int, bytes]]:
    """What our own INIT and INIT-ACK say."""
    # Forward-TSN-supported first: the LiveKit server overlooks an empty parameter at the end.
    out = [
        (chunks.FORWARD_TSN_SUPPORTED, b""),
        (chunks.SUPPORTED_EXTENSIONS, bytes((chunks.RE_CONFIG, chunks.FORWARD_TSN))),
    ]
    if zero_checksum:
        out.append((chunks.ZERO_CHECKSUM, _ZERO_OVER_DTLS))
    return out


def seal_cookie(cookie: Cookie, key: bytes) -> bytes:
    """The cookie as the peer is to send it back."""
    fields = _COOKIE.pack(*cookie)
    return fields + _mac(fields, key)


def open_cookie(data: bytes, key: bytes) -> Cookie | None:
    """A cookie of ours; None when it is none."""
    fields = data[:-_MAC]
    if len(fields) != _COOKIE.size or not hmac.compare_digest(_mac(fields, key), data[-_MAC:]):
        return None
    return Cookie(*_COOKIE.unpack(fields))


def _mac(fields: bytes, key: bytes) -> bytes:
    return hmac.digest(key, fields, hashlib.sha256)[:_MAC]
