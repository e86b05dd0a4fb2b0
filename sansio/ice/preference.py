"""Which path is better: pure functions for priorities, pairing and the moment of nomination.

Our order of paths, best first: direct UDP, UDP through a relay, direct TCP, a relay reached by TCP, a relay reached by
TLS. The recommended type preferences of RFC 8445 know no transport, so ours are spread to carry that order to the peer
too: a controlled peer follows a second nomination only to a pair of higher priority.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from .candidate import HOST, PRFLX, RELAY, SRFLX, TCP, UDP, Candidate

# ---- kinds of path, in order: a smaller number is a better path
DIRECT_UDP = 0
RELAYED_UDP = 1
DIRECT_TCP = 2
RELAYED_TCP = 3
RELAYED_TLS = 4
PATH_NAMES = ("direct UDP", "relayed UDP", "direct TCP", "relayed TCP", "relayed TLS")

# ---- scopes of addresses: only equal ones pair
_GLOBAL = 0
_LINK_LOCAL = 1
_LOOPBACK = 2
_UNUSABLE = 3

SAME_KIND_WAIT = 0.02
"""Least time (seconds) that a valid pair waits for a better one of its own kind of path."""
OTHER_KIND_WAIT = 0.05
"""Least time (seconds) that a valid pair waits for a better kind of path."""


def type_preference(type: str, protocol: str, relay_protocol: str = "") -> int:
    """The upper byte of a priority, 0 to 126 (RFC 8445 section 5.1.2.1)."""
    if type == RELAY:
        return {"tcp": 30, "tls": 20}.get(relay_protocol, 80)
    if protocol == TCP:
        return {HOST: 60, PRFLX: 55, SRFLX: 50}[type]
    return {HOST: 126, PRFLX: 110, SRFLX: 100}[type]


def local_preference(rank: int, address: str) -> int:
    """The middle 16 bits of a priority: interfaces by ``rank`` (0 first), IPv6 just before IPv4, loopback last.

    IPv6 and IPv4 of one interface stay neighbours, so that checks alternate families (RFC 8421 section 4).
    """
    scope = _scope(address)
    preference = 65535 - 256 * min(rank, 60) - (0 if ":" in address else 128)
    return preference - 32768 * (scope == _LOOPBACK) - 16384 * (scope == _LINK_LOCAL)


def candidate_priority(type_preference: int, local_preference: int, component: int = 1) -> int:
    """The 32-bit priority of a candidate (RFC 8445 section 5.1.2.1)."""
    return type_preference << 24 | local_preference << 8 | 256 - component


def peer_reflexive_priority(candidate: Candidate) -> int:
    """What our checks announce in PRIORITY: the priority of a reflexive candidate that the peer may discover.

    Behind a relay it keeps below every direct path, so that an early discovery does not turn the order around.
    """
    if candidate.type == RELAY:
        preference = type_preference(RELAY, candidate.protocol, candidate.relay_protocol) - 1
    else:
        preference = type_preference(PRFLX, candidate.protocol)
    return preference << 24 | candidate.priority & 0xFFFFFF


def pair_priority(controlling: int, controlled: int) -> int:
    """The 64-bit priority of a pair from both candidates' priorities (RFC 8445 section 6.1.2.3)."""
    low, high = (controlled, controlling) if controlling > controlled else (controlling, controlled)
    return low << 32 | high << 1 | (controlling > controlled)


def path_kind(local: Candidate, remote: Candidate) -> int:
    """The kind of path that a pair is. How the peer reaches its own relay is not known and counted as UDP."""
    if local.type == RELAY:
        return {"tcp": RELAYED_TCP, "tls": RELAYED_TLS}.get(local.relay_protocol, RELAYED_UDP)
    if remote.type == RELAY:
        return RELAYED_UDP if remote.protocol == UDP else RELAYED_TCP
    return DIRECT_TCP if remote.protocol == TCP else DIRECT_UDP


def _scope(address: str) -> int:
    ip = IPv6Address(address) if ":" in address else IPv4Address(address)
    if ip.is_unspecified or ip.is_multicast:
        return _UNUSABLE
    if ip.is_loopback:
        return _LOOPBACK
    return _LINK_LOCAL if ip.is_link_local else _GLOBAL


def usable_address(address: str) -> bool:
    """Whether an IP address can be that of a candidate: neither unspecified nor multicast."""
    return _scope(address) != _UNUSABLE


def is_loopback(address: str) -> bool:
    """Whether an IP address never leaves this host."""
    return _scope(address) == _LOOPBACK


def is_link_local(address: str) -> bool:
    """Whether an IP address is valid on one link only."""
    return _scope(address) == _LINK_LOCAL


def can_pair(local: str, remote: str) -> bool:
    """Whether packets can go between two IP addresses: of one family, and both global, link-local or loopback."""
    return (":" in local) == (":" in remote) and _scope(local) == _scope(remote)


def nomination_wait(kind: int, best_kind: int, is_top: bool, rtt: float) -> float:
    """How long (seconds) a valid pair must wait for a better one before it may be nominated.

    That is from its own validation, or for another kind of path from the first check of the better one.
    The top of the live pairs is nominated at once. A pair of the best kind of path that is still possible waits only
    for checks that left with its own to come back; a pair of a lower kind gives the better kind three round trips.
    """
    if is_top:
        return 0.0
    if kind <= best_kind:
        return max(SAME_KIND_WAIT, rtt / 2)
    return max(OTHER_KIND_WAIT, 3 * rtt)
