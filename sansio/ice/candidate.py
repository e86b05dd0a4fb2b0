"""Candidates: the attribute line of RFC 8839 section 5.1 and RFC 6544, and the JSON form in which they trickle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from zlib import crc32

from attrs import frozen

from ..base.contract import Address
from ..base.errors import ParseError

UDP = "udp"
TCP = "tcp"

HOST = "host"
SRFLX = "srflx"
PRFLX = "prflx"
RELAY = "relay"

_MAX_LINE = 1024


@frozen
class Candidate:
    """One transport address that a side can be reached at.

    ``address`` is a canonical IP address, or a name (mDNS for example) where the peer sent one: see ``is_ip``.
    ``related_*`` is the base of a reflexive or relayed candidate, as far as the peer tells it. ``tcptype`` is
    "active", "passive" or "so" for TCP. ``extensions`` keeps every other attribute in order. ``relay_protocol`` is how
    we reach our own relay ("udp", "tcp", "tls"); it ranks the paths and is not written to the line.
    """

    foundation: str
    component: int
    protocol: str
    priority: int
    address: str
    port: int
    type: str
    related_address: str = ""
    related_port: int = 0
    tcptype: str = ""
    ufrag: str = ""
    extensions: tuple[tuple[str, str], ...] = ()
    relay_protocol: str = ""

    @property
    def transport_address(self) -> Address:
        """Where to send to."""
        return self.address, self.port

    @property
    def is_ip(self) -> bool:
        """Whether the address is an IP address, not a name."""
        return ip_version(self.address) != 0

    @property
    def usable(self) -> bool:
        """Whether we can do anything with it: component 1, UDP or TCP, a known type and an IP address.

        Component 2 is RTCP without multiplexing; servers repeat every candidate for it.
        """
        return (
            self.component == 1
            and self.protocol in (UDP, TCP)
            and self.type in (HOST, SRFLX, PRFLX, RELAY)
            and self.port > 0
            and self.is_ip
        )

    def to_sdp(self) -> str:
        """The attribute's text, from ``candidate:`` on and without ``a=``."""
        text = (
            f"candidate:{self.foundation} {self.component} {self.protocol} {self.priority}"
            f" {self.address} {self.port} typ {self.type}"
        )
        if self.related_address:
            text += f" raddr {self.related_address} rport {self.related_port}"
        if self.tcptype:
            text += f" tcptype {self.tcptype}"
        for name, value in self.extensions:
            text += f" {name} {value}"
        if self.ufrag:
            text += f" ufrag {self.ufrag}"
        return text


@frozen
class TrickledCandidate:
    """A candidate as it arrives on its own; without a candidate it says that there will be no more."""

    candidate: Candidate | None
    mid: str | None = None
    index: int | None = None
    ufrag: str = ""


def ip_version(address: str) -> int:
    """4 or 6 for an IP address, 0 for anything else."""
    try:
        if ":" in address:
            IPv6Address(address)
            return 6
        IPv4Address(address)
    except ValueError:
        return 0
    return 4


def canonical_address(address: str) -> str:
    """An IP address in the form in which sockets report it (RFC 5952); a name unchanged."""
    try:
        return str(IPv6Address(address)) if ":" in address else str(IPv4Address(address))
    except ValueError:
        return address


def first_of_each_family(addresses: Iterable[str]) -> list[str]:
    """Of the answer to a lookup, the first IPv4 and the first IPv6 address, in the order given."""
    found: dict[int, str] = {}
    for address in addresses:
        version = ip_version(address)
        if version:
            found.setdefault(version, canonical_address(address))
    return list(found.values())


def foundation(type: str, address: str, by: str) -> str:
    """Equal for candidates of ours of which checks can be expected to end alike (RFC 8445 section 5.1.1.3).

    ``address`` is that of the base, or of the server for a relay; ``by`` is the STUN server, or the protocol.
    """
    return str(crc32(f"{type} {address} {by}".encode()))


def _number(text: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise ParseError("candidate has something else where a number belongs")
    number = int(text)
    if number > limit:
        raise ParseError("candidate has a number out of range")
    return number


def parse_candidate(line: str) -> Candidate:
    """Parse a candidate line with or without ``a=`` and ``candidate:``, a type or protocol of any kind included."""
    if len(line) > _MAX_LINE:
        raise ParseError("candidate line too long")
    text = line.strip().removeprefix("a=").removeprefix("candidate:")
    words = text.split()
    if len(words) < 8 or words[6] != "typ":
        raise ParseError("candidate line lacks fields")
    related_address, related_port, tcptype, ufrag = "", 0, "", ""
    extensions: list[tuple[str, str]] = []
    # name and value alternate; a last name without value is tolerated as empty
    for at in range(8, len(words), 2):
        name = words[at]
        value = words[at + 1] if at + 1 < len(words) else ""
        if name == "raddr":
            related_address = canonical_address(value)
        elif name == "rport":
            related_port = _number(value, 65535)
        elif name == "tcptype":
            tcptype = value.lower()
        elif name == "ufrag":
            ufrag = value
        elif value:
            extensions.append((name, value))
    return Candidate(
        foundation=words[0],
        component=_number(words[1], 256),
        protocol=words[2].lower(),
        priority=_number(words[3], 0xFFFFFFFF),
        address=canonical_address(words[4]),
        port=_number(words[5], 65535),
        type=words[7].lower(),
        related_address=related_address,
        related_port=related_port,
        tcptype=tcptype,
        ufrag=ufrag,
        extensions=tuple(extensions),
    )


def to_init(candidate: Candidate | None, mid: str = "0", index: int = 0, ufrag: str = "") -> str:
    """The JSON text of an RTCIceCandidateInit; without a candidate, the end-of-candidates mark."""
    return json.dumps(
        {
            "candidate": "" if candidate is None else candidate.to_sdp(),
            "sdpMid": mid,
            "sdpMLineIndex": index,
            "usernameFragment": ufrag or None,
        },
        separators=(",", ":"),
    )


def parse_init(text: str) -> TrickledCandidate:
    """Parse an RTCIceCandidateInit; members may be null or missing, an empty candidate means end-of-candidates.

    ``ufrag`` is the one beside the candidate or else the one inside its line: it names the generation (ICE restart).
    """
    if len(text) > 4 * _MAX_LINE:
        raise ParseError("trickled candidate too long")
    try:
        members = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError("trickled candidate is not JSON") from error
    if not isinstance(members, dict):
        raise ParseError("trickled candidate is not a JSON object")
    line = members.get("candidate") or ""
    mid = members.get("sdpMid")
    index = members.get("sdpMLineIndex")
    ufrag = members.get("usernameFragment") or ""
    if not isinstance(line, str) or not isinstance(ufrag, str):
        raise ParseError("trickled candidate has members of wrong type")
    candidate = parse_candidate(line) if line.strip() else None
    return TrickledCandidate(
        candidate=candidate,
        mid=mid if isinstance(mid, str) else None,
        index=index if isinstance(index, int) else None,
        ufrag=ufrag or (candidate.ufrag if candidate is not None else ""),
    )
