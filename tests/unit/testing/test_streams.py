"""TCP connections that are refused, not trusted, taken by a portal, or lead nowhere."""

from __future__ import annotations

from collections import deque

import pytest

from sansio.base.contract import ClosePort, OpenStream, Transmit
from sansio.testing.nat import EXPIRED, PRIVATE_AUTHORITY, TCP_443, Firewall, Nat, Site
from sansio.testing.netem import Link
from sansio.testing.streams import PORTAL_PAGE, PORTAL_TLS
from sansio.testing.world import World

from .test_world import Caller, Listener

ADDRESS = ("203.0.113.1", 443)


def place(*, tls=False, site=None, address=ADDRESS, hosts=("192.168.0.2",)):
    world = World(1, link=Link(latency=0.02))
    caller, listener = Caller(OpenStream(6, address, tls=tls)), Listener()
    world.add("a", caller, hosts=hosts)
    world.add("b", listener)
    world.listen_stream(ADDRESS, "b")
    if site is not None:
        world.place(site, "a")
    return world, caller, listener


def say(world, data=b"hello"):
    world.node("a").machine.transmits.append(Transmit(6, data, ADDRESS))
    world.poke("a")
    world.run_until_quiet()


def test_tls_costs_a_round_trip_more():
    times = []
    for tls in (False, True):
        world, caller, listener = place(tls=tls, site=Site(Nat("198.51.100.1"), TCP_443))
        world.run(lambda caller=caller: caller.answers)
        times.append(world.now)
        say(world)
        assert listener.got == b"hello"
        assert caller.got == b"\x00pong"
        assert listener.accepted[0][1][0] == "198.51.100.1"
        assert world.connections("a") == 1
    assert times == pytest.approx([0.04, 0.08])


def test_firewalls():
    world, caller, _ = place(site=Site(firewall=Firewall(tcp=(80,))))
    world.run_until_quiet()
    assert caller.answers == [("port_failed", 6, "no connection within 10 s")]
    assert world.now == pytest.approx(10.0)
    world, caller, _ = place(site=Site(firewall=Firewall(tcp=(80,), refuses=True)))
    world.run_until_quiet()
    assert caller.answers == [("port_failed", 6, "connection refused")]
    assert world.now == 0.0
    world, caller, _ = place(address=("2001:db8::1", 443))
    world.run_until_quiet()
    assert caller.answers == [("port_failed", 6, "connection refused")]


@pytest.mark.parametrize("reason", [EXPIRED, PRIVATE_AUTHORITY])
def test_certificates(reason):
    for tls, answer in ((True, "port_failed"), (False, "port_opened")):
        world, caller, _ = place(tls=tls)
        world.distrust(ADDRESS, reason)
        world.run_until_quiet()
        assert caller.answers[0][0] == answer
        assert (reason in caller.answers[0]) is tls


def test_a_portal_talks_http_to_everybody():
    world, caller, listener = place(site=Site(portal=True))
    world.run_until_quiet()
    assert caller.answers[0][:2] == ("port_opened", 6)
    assert world.connections("a") == 1
    say(world)
    assert caller.got == PORTAL_PAGE
    assert caller.answers[1:] == [("port_failed", 6, "closed by the other end")]
    assert not listener.accepted
    world, caller, _ = place(site=Site(portal=True))
    world.run_until_quiet()
    caller.outbox.append(ClosePort(6))
    world.poke("a")
    world.run_until_quiet()
    assert world.connections("a") == 0
    world, caller, _ = place(tls=True, site=Site(portal=True))
    world.run_until_quiet()
    assert caller.answers == [("port_failed", 6, PORTAL_TLS)]


def test_a_stranded_connection_leads_nowhere():
    site = Site(Nat("198.51.100.1"))
    world, caller, listener = place(site=site)
    world.run_until_quiet()
    caller.transmits.append(Transmit(6, b"on its way", ADDRESS))
    world.poke("a")
    world.run_for(0.01)
    world.rebind(site)
    say(world, b"lost")
    assert listener.got == b""
    assert world.trace[-1].verdict == "stale"
    caller.outbox.append(ClosePort(6))
    world.poke("a")
    world.run_until_quiet()
    assert listener.closed == []
    assert len(caller.answers) == 1


def test_a_server_that_is_removed_breaks_its_connections():
    world, caller, _listener = place()
    world.run_until_quiet()
    world.remove("b")
    world.run_until_quiet()
    assert caller.answers[1:] == [("port_failed", 6, "closed by the other end")]
    caller.outbox = deque([OpenStream(7, ADDRESS)])
    world.poke("a")
    world.run_until_quiet()
    assert caller.answers[-1] == ("port_failed", 7, "connection refused")
