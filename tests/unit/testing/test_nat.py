"""NATs and firewalls, alone and in a world; the oracle of direct paths against ICE."""

from __future__ import annotations

import itertools
from collections import deque

import pytest

from sansio.base.contract import Interface, Transmit
from sansio.ice.agent import IceAgent, IceState, PairSelected
from sansio.ice.gather import CandidateFound, Gatherer
from sansio.testing.nat import (
    BLOCKED,
    FILTERED,
    NO_UDP,
    OPEN,
    REFUSED,
    TCP_443,
    UDP_443,
    Dependence,
    Firewall,
    Nat,
    Site,
    direct_path_possible,
)
from sansio.testing.netem import Link
from sansio.testing.turnserver import TurnServer
from sansio.testing.world import World

from .toys import Client, Echo

INNER = ("192.168.0.2", 5000)
FAR, FAR_OTHER_PORT, OTHER = ("203.0.113.1", 1), ("203.0.113.1", 2), ("203.0.113.2", 1)
KINDS = [(mapping, filtering) for mapping in Dependence for filtering in Dependence]


@pytest.mark.parametrize(("mapping", "shared"), [("NOTHING", 1), ("ADDRESS", 2), ("PORT", 3)])
def test_what_a_mapping_looks_at(mapping, shared):
    nat = Nat("198.51.100.1", mapping=Dependence[mapping])
    outer = [nat.outgoing(INNER, far, 0.0) for far in (FAR, FAR_OTHER_PORT, OTHER)]
    assert len(set(outer)) == shared
    assert {host for host, _ in outer} == {"198.51.100.1"}
    assert [nat.outgoing(INNER, far, 1.0) for far in (FAR, FAR_OTHER_PORT, OTHER)] == outer
    assert nat.outgoing(("192.168.0.3", 5000), FAR, 0.0) not in outer
    assert nat.inner(outer[0]) == INNER
    assert nat.inner(("198.51.100.1", 9)) is None


@pytest.mark.parametrize(("filtering", "let_in"), [("NOTHING", [1, 1, 1]), ("ADDRESS", [1, 1, 0]), ("PORT", [1, 0, 0])])
def test_whom_a_filter_lets_in(filtering, let_in):
    nat = Nat("198.51.100.1", filtering=Dependence[filtering])
    outer = nat.outgoing(INNER, FAR, 0.0)
    found = [nat.incoming(far, outer, 1.0) for far in (FAR, FAR_OTHER_PORT, OTHER)]
    assert found == [INNER if yes else None for yes in let_in]
    assert nat.incoming(FAR, ("198.51.100.1", 9), 1.0) is None


def test_a_binding_expires_unless_it_is_used():
    nat = Nat("198.51.100.1", expiry=30.0)
    outer = nat.outgoing(INNER, FAR, 0.0)
    assert nat.outgoing(INNER, FAR, 29.0) == outer
    assert nat.incoming(FAR, outer, 58.0) == INNER
    assert nat.incoming(FAR, outer, 59.0) is None
    later = nat.outgoing(INNER, FAR, 60.0)
    assert later != outer
    assert nat.inner(outer) is None
    kept = Nat("198.51.100.1", expiry=30.0, refreshed_inbound=True)
    outer = kept.outgoing(INNER, FAR, 0.0)
    assert [kept.incoming(FAR, outer, now) for now in (29.0, 58.0, 87.0)] == [INNER] * 3


def test_a_router_that_starts_anew_forgets_everything():
    nat = Nat("198.51.100.1")
    outer = nat.outgoing(INNER, FAR, 0.0)
    nat.rebind()
    assert nat.incoming(FAR, outer, 0.0) is None
    assert nat.outgoing(INNER, FAR, 0.0)[1] != outer[1]
    nat.rebind("198.51.100.9")
    assert nat.outgoing(INNER, FAR, 0.0)[0] == "198.51.100.9"


def test_firewalls():
    far = [("x", 443), ("x", 3478)]
    verdicts = {
        wall: [wall.verdict(protocol, to) for protocol in ("udp", "tcp") for to in far]
        for wall in (OPEN, UDP_443, NO_UDP, TCP_443, Firewall(udp=(), refuses=True))
    }
    assert list(verdicts.values()) == [
        ["", "", "", ""],
        ["", BLOCKED, "", ""],
        [BLOCKED, BLOCKED, "", ""],
        [BLOCKED, BLOCKED, "", BLOCKED],
        [REFUSED, REFUSED, "", ""],
    ]


def test_what_leaves_a_site():
    nat = Nat("198.51.100.1")
    site = Site(nat)
    assert site.leave("udp", INNER, FAR, 0.0) == ("198.51.100.1", nat.first_port)
    assert site.leave("tcp", INNER, FAR, 0.0) == ("198.51.100.1", 5000)
    six = ("2001:db8::2", 5000), ("2001:db8::1", 1)
    assert site.leave("udp", *six, 0.0) == six[0]
    assert Site(ipv6=False).leave("tcp", *six, 0.0) == BLOCKED
    assert Site(ipv6=False).leave("tcp", INNER, FAR, 0.0) == INNER
    assert Site(portal=True).leave("udp", INNER, FAR, 0.0) == BLOCKED
    assert Site(portal=True).leave("tcp", INNER, FAR, 0.0) == INNER
    assert Site(firewall=NO_UDP).leave("udp", INNER, FAR, 0.0) == BLOCKED


# ------------------------------------------------------------------ in a world


class Talker(Client):
    """Sends what it is told to; keeps answers and what arrives."""

    def __init__(self):
        super().__init__()
        self.transmits, self.seen = deque(), []

    def handle_datagram(self, port, data, addr, now):
        self.seen.append((data, addr))


def street(site, *, hosts=()):
    """A talker "a" behind a router, an echo "b" on the open network."""
    world = World(1, link=Link(latency=0.01))
    a, b = Talker(), Echo()
    world.add("a", a, {1: INNER}, hosts=hosts)
    world.add("b", b, {1: FAR})
    world.place(site, "a")
    return world, a, b


def say(world, name, target, data=b"hello", port=1):
    world.node(name).machine.transmits.append(Transmit(port, data, target))
    world.poke(name)
    world.run_until_quiet()
    return world.trace[-1].verdict


def test_a_world_translates_both_ways():
    site = Site(Nat("198.51.100.1", expiry=10.0))
    world, a, b = street(site)
    assert say(world, "a", FAR) == "ok"
    (_, _, outer) = b.seen[0]
    assert outer[0] == "198.51.100.1"
    assert [addr for _, addr in a.seen] == [FAR]
    assert say(world, "b", INNER) == "unreachable"
    assert say(world, "b", ("198.51.100.1", 9)) == "unreachable"
    world.run_for(11.0)
    assert say(world, "b", outer) == FILTERED
    world.rebind(site, "198.51.100.2")
    assert say(world, "b", outer) == "unreachable"
    say(world, "a", FAR)
    assert b.seen[-1][2][0] == "198.51.100.2"
    assert a.seen[-1] == (b"\x00pong", FAR)


@pytest.mark.parametrize("hairpin", [True, False])
def test_two_behind_one_router(hairpin):
    site = Site(Nat("198.51.100.1", filtering=Dependence.NOTHING, hairpin=hairpin))
    world, a, _ = street(site)
    c = Talker()
    world.add("c", c, {1: ("192.168.0.3", 5000)})
    world.place(site, "c")
    say(world, "a", ("192.168.0.3", 5000))
    assert c.seen == [(b"hello", INNER)], "neighbours need no router"
    say(world, "a", FAR)
    outer = world.node("b").machine.seen[0][2]
    say(world, "c", outer)
    assert [addr[0] for _, addr in a.seen[1:]] == (["198.51.100.1"] if hairpin else [])


def test_a_refusal_is_told_and_a_silent_firewall_is_not():
    world, a, b = street(Site(firewall=Firewall(udp=(), refuses=True)))
    assert say(world, "a", FAR) == REFUSED
    assert a.answers == [("port_send_failed", 1, FAR, REFUSED)]
    world, a, b = street(Site(firewall=NO_UDP))
    assert say(world, "a", FAR) == BLOCKED
    assert not a.answers
    assert not b.seen
    world.place(Site(firewall=Firewall(udp=(), refuses=True)), "b")
    assert say(world, "b", INNER) == REFUSED, "an echo has no ear for that"


def test_a_host_without_its_address_cannot_send():
    world, a, b = street(Site(), hosts=[INNER[0]])
    world.readdress("a", ["192.168.0.9"])
    assert say(world, "a", FAR) == "no address"
    assert a.answers == [("port_send_failed", 1, FAR, "no address")]
    assert not b.seen


def test_a_node_that_is_removed():
    world, a, b = street(Site())
    a.transmits.append(Transmit(1, b"x", FAR))
    world.poke("a")
    world.run_for(0.005)
    world.remove("b")
    world.run_until_quiet()
    assert not b.seen
    assert say(world, "a", FAR) == "unreachable"
    world.add("b", Echo(), {1: FAR})
    assert say(world, "a", FAR) == "ok"


# ------------------------------------------------------------------ ICE and the oracle

STUN_SERVER = ("203.0.113.1", 3478)


class Peer:
    """An ICE agent with its gatherer, as one machine."""

    def __init__(self, world, label, address, controlling):
        self.agent = IceAgent(world.entropy.fork(label), controlling=controlling)
        self.transmits, self.outbox = self.agent.transmits, self.agent.outbox
        self.candidates = []
        ports = itertools.count(1)
        self.gatherer = Gatherer(world.entropy.fork(label + " gather"), lambda: next(ports))
        self.gatherer.add_servers([f"stun:{STUN_SERVER[0]}:{STUN_SERVER[1]}"], 0.0)
        self.gatherer.start([Interface("eth0", address)], 0.0)

    def port_opened(self, port, address, now):
        self.gatherer.port_opened(port, address, now)

    def port_send_failed(self, port, addr, error, now):
        self.agent.send_failed(port, addr, error, now)

    def handle_datagram(self, port, data, addr, now):
        if not self.gatherer.handle_stun(port, data, addr, now):
            self.agent.handle_stun(port, data, addr, now)

    def advance(self, now):
        due = self.gatherer.advance(now)
        self.transmits.extend(self.gatherer.transmits)
        self.gatherer.transmits.clear()
        while self.gatherer.outbox:
            output = self.gatherer.outbox.popleft()
            if isinstance(output, CandidateFound):
                self.candidates.append(output.candidate)
                self.agent.add_local(output.candidate, output.port, now)
            else:
                self.outbox.append(output)
        return min(due, self.agent.advance(now))


def connect(nats, seed=1):
    """Two agents behind routers of their own, which learn all of each other; whether they find a path."""
    world = World(seed, link=Link(latency=0.02))
    world.add("stun", TurnServer(world.entropy), {1: STUN_SERVER})
    peers = []
    for number, (name, nat) in enumerate(zip("ab", nats, strict=True)):
        host = f"192.168.{number}.2" if nat else f"198.51.100.{100 + number}"
        peers.append(Peer(world, name, host, controlling=not number))
        world.add(name, peers[-1], hosts=[host])
        if nat:
            world.place(Site(nat), name)
    world.run_for(2.0)
    for peer, other in (peers, peers[::-1]):
        peer.agent.set_remote_credentials(other.agent.local_ufrag, other.agent.local_pwd, world.now)
        for candidate in other.candidates:
            peer.agent.add_remote(candidate, world.now)
    for name in "ab":
        world.poke(name)
    world.run_for(20.0)
    return all(
        peer.agent.state is IceState.CONNECTED
        and [output for output in world.node(name).outputs if isinstance(output, PairSelected)]
        for name, peer in zip("ab", peers, strict=True)
    )


def kinds(number):
    return Nat(f"198.51.100.{number}", *KINDS[number % 10 - 1]) if number % 10 else None


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations_with_replacement(range(10), 2)))
def test_ice_finds_a_direct_path_exactly_where_there_is_one(a, b):
    nats = kinds(a), kinds(b)
    if nats[1] is not None:
        nats[1].external = f"198.51.100.{b + 10}"
    assert direct_path_possible(*nats) is direct_path_possible(*nats[::-1])
    assert connect(nats) is direct_path_possible(*nats)
