"""Which way media takes through every kind of router and firewall, how soon, and what is said of the ways not taken."""

from __future__ import annotations

import itertools

import pytest

from sansio.base.entropy import Entropy
from sansio.events import Connected, Disconnected, Reconnected
from sansio.ice.paths import TurnServerConfig
from sansio.ice.verdict import path_verdict
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.room.outputs import JoinFailed, MediaFailure
from sansio.signal.refusal import RefusalKind
from sansio.testing.nat import (
    EXPIRED,
    NO_UDP,
    OPEN,
    PRIVATE_AUTHORITY,
    TCP_443,
    UDP_443,
    Dependence,
    Firewall,
    Nat,
    Site,
)
from sansio.testing.netem import TOO_LONG, Link
from sansio.testing.pairs import SERVER_ADDRESS, Rooms
from sansio.testing.turnserver import TurnServer
from sansio.testing.world import World
from sansio.types import DisconnectReason

RTT = 0.04
TURN = ("203.0.113.1", 443)
TCP = ("10.1.0.1", 7881)
IPV6 = ("2001:db8::1", 7882)
NATS = [None, *itertools.product(Dependence, Dependence)]
REFUSING = {"udp": Firewall(udp=(443,), tcp=(443,), refuses=True), "tcp": Firewall(udp=(), tcp=(443,), refuses=True)}

FIREWALLS = {
    "open": (OPEN, "direct UDP", 4.1),
    "udp 443": (UDP_443, "relayed UDP", 8.1),
    "udp 443, refusing": (REFUSING["udp"], "relayed UDP", 8.1),
    "no udp": (NO_UDP, "direct TCP", 6.1),
    "no udp, refusing": (Firewall(udp=(), refuses=True), "direct TCP", 5.1),
    "tcp 443": (TCP_443, "relayed TLS", 10.1),
    "tcp 443, refusing": (REFUSING["tcp"], "relayed TLS", 10.1),
}
"""What may pass, what wins then, and in how many round trips a session is connected at most."""


class Visit:
    """Alice joins from a place with a router, by whatever the server and a TURN server offer."""

    def __init__(self, site=None, *, single=True, seed=1, link=None, server=None, hosts=(), url="", **options):
        self.world = World(seed, link=link or Link(latency=RTT / 2), signal_latency=RTT / 2)
        self.rooms = Rooms(self.world, tcp_address=TCP, **(server or {}))
        self.turn = TurnServer(Entropy(b"turn"), hosts=(TURN[0],))
        self.world.add("turn", self.turn, {1: TURN}, hosts=self.turn.hosts)
        self.world.listen_stream(TURN, "turn")
        urls = [f"turn:{TURN[0]}:443?transport=udp", f"turns:{TURN[0]}:443?transport=tcp"]
        self.alice = self.rooms.enter(
            "alice",
            site=site,
            url=url or "wss://server.test",
            hosts=hosts,
            single_peer_connection=single,
            turn_servers=tuple([TurnServerConfig(url, "user", "pass") for url in urls]),
            **options,
        )

    def __enter__(self):
        self.world.__enter__()
        return self

    def __exit__(self, *error):
        return self.world.__exit__(*error)

    def connect(self):
        self.world.run(lambda: self.rooms.outputs("alice", Connected), limit=20)
        return self.world.now / RTT

    def way(self):
        """How media goes on the connection that we control, which is the first."""
        pairs, _ = self.alice.media_report()
        return next(pair.type for pair in pairs if pair.selected)

    def verdict(self):
        return path_verdict(*self.alice.media_report())

    def talk(self, size=60_000):
        """Large and small data both ways by way of an echo."""
        bob = self.rooms.enter("bob")
        self.world.run(lambda: self.rooms.outputs("bob", Connected), limit=20)
        self.world.run_for(1.0)
        for sender, name, receiver in ((self.alice, "alice", bob), (bob, "bob", self.alice)):
            for number in range(5):
                assert sender.publish_data(bytes([number]) * size, now=self.world.now)
            self.world.poke(name)
            got = []

            def read(receiver=receiver, got=got):
                while (packet := receiver.read_data()) is not None:
                    got.append(packet.payload)
                    self.world.poke("bob" if receiver is bob else "alice")
                return len(got) == 5

            self.world.run(read, limit=60)
            assert got == [bytes([number]) * size for number in range(5)]


def router(nat):
    return None if nat is None else Nat("198.51.100.1", *nat, expiry=30.0)


def name(nat):
    return "none" if nat is None else f"{nat[0].value}/{nat[1].value}"


@pytest.mark.parametrize("wall", FIREWALLS)
@pytest.mark.parametrize("nat", NATS, ids=name)
def test_the_best_way_that_is_open_wins(nat, wall):
    firewall, way, most = FIREWALLS[wall]
    with Visit(Site(router(nat), firewall)) as visit:
        took = visit.connect()
        visit.world.run_for(1.0)
        assert visit.way() == way
        assert took <= (3.1 if nat is None and way == "direct UDP" else most)
        verdict = visit.verdict()
        assert ("the best kind of path" in verdict) is (way == "direct UDP")
        if "refusing" not in wall and "udp" in wall and way != "relayed UDP":
            assert "UDP is blocked, also to the TURN server" in verdict
        visit.world.run_for(60.0)
        assert visit.way() == way
        assert not visit.rooms.outputs("alice", Reconnected)


@pytest.mark.parametrize("wall", ["open", "udp 443", "no udp", "tcp 443"])
def test_two_peer_connections_take_the_same_way(wall):
    firewall, way, most = FIREWALLS[wall]
    with Visit(Site(router(NATS[-1]), firewall), single=False) as visit:
        assert visit.connect() <= most + 4
        visit.world.run_for(1.0)
        assert visit.way() == way
        visit.talk(1000)


def test_a_binding_lives_on_what_ice_sends():
    """Five seconds are the shortest that a router may keep a binding and still carry ICE at all."""
    with Visit(Site(Nat("198.51.100.1", expiry=5.0))) as visit:
        visit.connect()
        visit.world.run_for(120.0)
        assert visit.way() == "direct UDP"
        assert not visit.rooms.outputs("alice", Reconnected)
        visit.talk(1000)


def test_nothing_is_open():
    with Visit(Site(firewall=TCP_443)) as visit:
        visit.world.distrust(TURN, PRIVATE_AUTHORITY)
        visit.world.run(lambda: visit.alice.closed, limit=60)
        (failed,) = visit.rooms.outputs("alice", JoinFailed)
        assert isinstance(failed.error, MediaFailure)
        verdict = failed.error.verdict
        assert "UDP is blocked, also to the TURN server" in verdict
        assert "TURN over TLS was offered, but its certificate is not trusted" in verdict
        assert "unable to get local issuer certificate" in verdict
        assert {way.kind for way in failed.error.ways} >= {"relay over udp", "relay over tls", "tcp"}
        assert all(pair.checks_sent for pair in failed.error.pairs)


def test_an_expired_certificate_of_the_relay_leaves_the_other_ways():
    with Visit(Site(firewall=NO_UDP)) as visit:
        visit.world.distrust(TURN, EXPIRED)
        visit.connect()
        assert visit.way() == "direct TCP"


@pytest.mark.parametrize("reason", [EXPIRED, PRIVATE_AUTHORITY])
def test_a_server_whose_certificate_is_not_trusted(reason):
    with Visit() as visit:
        visit.world.distrust("server.test", reason)
        visit.world.run(lambda: visit.alice.closed, limit=20)
        (failed,) = visit.rooms.outputs("alice", JoinFailed)
        assert failed.error.kind is RefusalKind.UNREACHABLE
        assert reason.rpartition(": ")[2].lower() in str(failed.error).lower()


# ------------------------------------------------------------------ IPv6, small packets, portals


@pytest.mark.parametrize("works", [True, False])
def test_ipv6_that_leads_nowhere_costs_nothing(works):
    site = Site(ipv6=works)
    hosts = ("2001:db8::a", "10.2.0.77")
    with Visit(site, server={"more_addresses": (IPV6,)}, hosts=hosts) as visit:
        took = visit.connect()
        assert visit.way() == "direct UDP"
        assert took <= 4.5
        (pair,) = [pair for pair in visit.alice.media_report()[0] if pair.selected]
        assert pair.remote.address == SERVER_ADDRESS[0]
        visit.world.run_for(5.0)
        visit.talk(1000)


@pytest.mark.parametrize("wall", ["open", "udp 443"])
@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
def test_what_we_send_fits_the_smallest_mtu(wall, single):
    """1280 bytes are what every IPv6 link carries; what is larger vanishes, and no ICMP message says so."""
    firewall, way, _ = FIREWALLS[wall]
    with Visit(Site(firewall=firewall), single=single, link=Link(latency=RTT / 2, mtu=1280 - 48)) as visit:
        visit.connect()
        visit.talk()
        assert visit.way() == way
        verdicts = {line.verdict for line in visit.world.trace}
        assert TOO_LONG not in verdicts
        longest = max(line.length for line in visit.world.trace if line.kind in ("dtls", "turn", "stun"))
        assert 1000 < longest <= 1280 - 48


@pytest.mark.parametrize("url", ["wss://server.test", "ws://server.test"])
def test_a_portal_instead_of_the_network(url):
    with Visit(Site(portal=True), url=url) as visit:
        visit.world.run(lambda: visit.alice.closed, limit=20)
        (failed,) = visit.rooms.outputs("alice", JoinFailed)
        assert failed.error.kind in (RefusalKind.UNREACHABLE, RefusalKind.SERVICE_NOT_FOUND, RefusalKind.PROTOCOL)
        assert ("portal" in str(failed.error)) is url.startswith("wss") or "302" in str(failed.error)
        assert not visit.world.node("alice").ports


def test_a_portal_that_comes_back_in_the_middle():
    """The hour that was paid for is over: an outage like any other, with an end."""
    site = Site(Nat("198.51.100.1"))
    with Visit(site, reconnect=ReconnectPolicy(budget=30.0)) as visit:
        visit.connect()
        visit.world.run_for(5.0)
        site.portal = True
        visit.world.rebind(site)
        visit.world.run_for(20.0)
        site.portal = False
        visit.world.run(lambda: visit.rooms.outputs("alice", Reconnected), limit=30)
        visit.talk(1000)
        site.portal = True
        visit.world.rebind(site)
        begun = visit.world.now
        visit.world.run(lambda: visit.alice.closed, limit=120)
        assert visit.world.now - begun < 60.0
        (end,) = visit.rooms.outputs("alice", Disconnected)
        assert end.reason in (DisconnectReason.SIGNAL_CLOSE, DisconnectReason.MEDIA_FAILURE)
        assert "portal" in end.detail


def test_refusals_are_not_taken_for_silence():
    """Told at once that UDP may not pass, nobody waits for answers to it."""
    times = []
    for wall in ("no udp", "no udp, refusing"):
        with Visit(Site(firewall=FIREWALLS[wall][0])) as visit:
            times.append(visit.connect())
    assert times[1] <= times[0]
