"""URLs of STUN and TURN servers (RFC 7064, RFC 7065)."""

from __future__ import annotations

from attrs import frozen

from ..base.errors import ParseError
from .candidate import canonical_address, ip_version

_DEFAULT_PORT = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}
_MAX_URL = 512


@frozen
class ServerUrl:
    """One server: ``scheme`` "stun", "stuns", "turn" or "turns"; ``host`` a name or a canonical IP address.

    ``transport`` is how to reach it, "udp" or "tcp"; on the secure schemes that is DTLS or TLS.
    """

    scheme: str
    host: str
    port: int
    transport: str

    @property
    def relays(self) -> bool:
        """Whether it is a TURN server."""
        return self.scheme in ("turn", "turns")

    @property
    def secure(self) -> bool:
        """Whether it is reached by TLS or DTLS."""
        return self.scheme in ("stuns", "turns")


def parse_server_url(url: str) -> ServerUrl:
    """Parse ``stun:host[:port]`` or ``turn:host[:port][?transport=udp|tcp]`` and their secure forms."""
    if len(url) > _MAX_URL or not url.isascii() or any(c.isspace() for c in url):
        raise ParseError("server URL too long or with strange characters")
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in _DEFAULT_PORT:
        raise ParseError("server URL of unknown scheme")
    authority, question, query = rest.partition("?")
    transport = "tcp" if scheme in ("stuns", "turns") else "udp"
    if question:
        name, _, transport = query.partition("=")
        transport = transport.lower()
        if name.lower() != "transport" or transport not in ("udp", "tcp") or not scheme.startswith("turn"):
            raise ParseError("server URL with an unknown query")
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or ip_version(host) != 6 or (tail and not tail.startswith(":")):
            raise ParseError("server URL with a malformed IPv6 address")
        port_text = tail[1:]
        has_port = bool(tail)
    else:
        host, has_colon, port_text = authority.partition(":")
        has_port = bool(has_colon)
    if not host or any(c in "/@[]#" for c in host):
        raise ParseError("server URL without a proper host")
    port = _DEFAULT_PORT[scheme]
    if has_port:
        if not port_text.isdigit() or len(port_text) > 5 or not 0 < int(port_text) < 65536:
            raise ParseError("server URL with a malformed port")
        port = int(port_text)
    return ServerUrl(scheme, canonical_address(host), port, transport)
