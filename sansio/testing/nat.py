"""What stands between a host and the network: NATs, firewalls, broken IPv6, captive portals, certificates.

A ``Site`` is a local network behind one router. ``World.place`` puts nodes into it; nodes in no site are on the open
network. Inside a site everybody reaches everybody; what leaves it passes the firewall and then the NAT, and what comes
from outside needs a binding of the NAT that lets it in (RFC 4787 for the words).
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from attrs import define, field, frozen

from ..base.contract import Address

Protocol = Literal["udp", "tcp"]

BLOCKED = "blocked"
"""A verdict: dropped on the way, and nobody is told."""
REFUSED = "refused"
"""A verdict: the sender is told at once (an ICMP message, or a filter in its own kernel)."""
FILTERED = "filtered"
"""A verdict: the NAT at the far end lets nobody in from there."""
NO_ADDRESS = "no address"
"""A verdict: the socket is bound to an address that the host does not have any more."""

EXPIRED = "no TLS session: certificate verify failed: certificate has expired"
"""What a driver says of a certificate whose time is over."""
PRIVATE_AUTHORITY = "no TLS session: certificate verify failed: unable to get local issuer certificate"
"""What a driver says of a certificate that an authority unknown to this host has signed."""


class Dependence(Enum):
    """What of the far end a NAT looks at (RFC 4787 sections 4.1 and 5)."""

    NOTHING = "nothing"
    ADDRESS = "address"
    PORT = "address and port"

    def key(self, far: Address) -> tuple[str, int]:
        """Equal for the far ends that are not told apart."""
        if self is Dependence.NOTHING:
            return "", 0
        return far if self is Dependence.PORT else (far[0], 0)


@define(eq=False)
class _Binding:
    inner: Address
    outer: Address
    expires: float
    contacts: dict[tuple[str, int], None] = field(factory=dict)


@define(eq=False)
class Nat:
    """A translator of UDP over IPv4 with the address ``external`` on the outside.

    ``mapping``: which far ends share one outer port. ``filtering``: from whom packets are let in, once something was
    sent to them. ``expiry``: seconds without use after which a binding is gone; whether packets that come in count as
    use is ``refreshed_inbound``. ``hairpin``: whether hosts inside reach each other by their outer addresses.
    """

    external: str
    mapping: Dependence = Dependence.NOTHING
    filtering: Dependence = Dependence.PORT
    expiry: float = 120.0
    refreshed_inbound: bool = False
    hairpin: bool = False
    first_port: int = 20_000
    _bindings: dict[tuple[Address, tuple[str, int]], _Binding] = field(factory=dict, init=False)
    _outer: dict[Address, _Binding] = field(factory=dict, init=False)
    _next: int = field(default=0, init=False)

    def outgoing(self, inner: Address, far: Address, now: float) -> Address:
        """The outer address of a packet from ``inner`` to ``far``, by a new binding where there is none."""
        key = inner, self.mapping.key(far)
        binding = self._bindings.get(key)
        if binding is None or binding.expires <= now:
            if binding is not None:
                del self._outer[binding.outer]
            outer = (self.external, self.first_port + self._next)
            self._next += 1
            binding = self._bindings[key] = self._outer[outer] = _Binding(inner, outer, now)
        binding.expires = now + self.expiry
        binding.contacts[self.filtering.key(far)] = None
        return binding.outer

    def inner(self, outer: Address) -> Address | None:
        """Whose an outer address is, whether or not anything would be let in."""
        binding = self._outer.get(outer)
        return binding.inner if binding is not None else None

    def incoming(self, far: Address, outer: Address, now: float) -> Address | None:
        """The host that a packet from ``far`` to ``outer`` is let in for, or None."""
        binding = self._outer.get(outer)
        if binding is None or binding.expires <= now or self.filtering.key(far) not in binding.contacts:
            return None
        if self.refreshed_inbound:
            binding.expires = now + self.expiry
        return binding.inner

    def rebind(self, external: str = "") -> None:
        """Forget every binding, as after a restart of the router; the next ones get other ports, maybe elsewhere."""
        self._bindings.clear()
        self._outer.clear()
        self.external = external or self.external
        self._next += 1000


@frozen
class Firewall:
    """Which ports of the far end may be reached: None means every one. ``refuses``: the sender is told at once."""

    udp: tuple[int, ...] | None = None
    tcp: tuple[int, ...] | None = None
    refuses: bool = False

    def verdict(self, protocol: Protocol, far: Address) -> str:
        """BLOCKED, REFUSED, or empty for what may pass."""
        ports = self.udp if protocol == "udp" else self.tcp
        if ports is None or far[1] in ports:
            return ""
        return REFUSED if self.refuses else BLOCKED


OPEN = Firewall()
UDP_443 = Firewall(udp=(443,))
"""No UDP but to port 443."""
NO_UDP = Firewall(udp=())
TCP_443 = Firewall(udp=(), tcp=(443,))
"""Nothing but TCP to port 443."""


@define(eq=False)
class Site:
    """A local network and its way out. Every attribute may be changed while the world runs.

    ``ipv6``: without it IPv6 addresses exist and what leaves by them vanishes. ``portal``: a captive portal stands in
    the way: UDP vanishes, TCP connects to the portal, which talks HTTP to whoever speaks and has no certificate that
    fits.
    """

    nat: Nat | None = None
    firewall: Firewall = OPEN
    ipv6: bool = True
    portal: bool = False

    def leave(self, protocol: Protocol, source: Address, far: Address, now: float) -> Address | str:
        """The address by which a packet or connection leaves, or the verdict on one that does not."""
        six = ":" in source[0]
        verdict = self.firewall.verdict(protocol, far)
        if verdict:
            return verdict
        if (six and not self.ipv6) or (self.portal and protocol == "udp"):
            return BLOCKED
        if self.nat is None or six:
            return source
        return self.nat.outgoing(source, far, now) if protocol == "udp" else (self.nat.external, source[1])


STUN: Address = ("192.0.2.255", 3478)
ROUNDS = 4
"""Turns after which two hosts have learnt every address of each other that they ever will."""


def direct_path_possible(a: Nat | None, b: Nat | None) -> bool:
    """Whether ICE can find a direct UDP path between two hosts, each behind a NAT like that or (None) behind none.

    Played on fresh NATs: both ask a STUN server and tell each other what it saw; each checks whatever it knows of the
    other, learns from where checks come (peer-reflexive candidates), and a check has succeeded when its answer comes
    back from where it was sent to (RFC 8445 section 7.2.5.2.1).
    """
    nats = [_fresh(nat, f"198.51.100.{n}") for n, nat in enumerate((a, b))]
    inner = [("10.0.0.2", 5000), ("10.0.1.2", 5000)]
    known: list[dict[Address, None]] = [{}, {}]
    for side, nat in enumerate(nats):
        known[1 - side][nat.outgoing(inner[side], STUN, 0.0) if nat else inner[side]] = None
    for _ in range(ROUNDS):
        for side in (0, 1):
            for there in list(known[side]):
                here = _pass(nats[side], inner[side], nats[1 - side], inner[1 - side], there)
                if here is None:
                    continue
                known[1 - side][here] = None
                if _pass(nats[1 - side], inner[1 - side], nats[side], inner[side], here) == there:
                    return True
    return False


def _fresh(nat: Nat | None, external: str) -> Nat | None:
    return Nat(external, nat.mapping, nat.filtering) if nat is not None else None


def _pass(sender: Nat | None, source: Address, receiver: Nat | None, inner: Address, target: Address) -> Address | None:
    """The address from which a packet is seen to come, None where it does not get through."""
    outer = sender.outgoing(source, target, 0.0) if sender is not None else source
    arrived = receiver.incoming(outer, target, 0.0) if receiver is not None else target
    return outer if arrived == inner else None
