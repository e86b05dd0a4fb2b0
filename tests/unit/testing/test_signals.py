"""Signalling links that are refused, fall silent, lead nowhere, or are taken by a portal."""

from __future__ import annotations

import pytest

from sansio.base.contract import CloseSignal, OpenSignal, SendSignal, SignalFailure
from sansio.testing.nat import EXPIRED, TCP_443, Firewall, Nat, Site
from sansio.testing.world import World

from .toys import Client

SILENCE = SignalFailure("timeout", "no answer")


def place(url="ws://sfu.test/rtc", *, site=None, judges=False):
    client, server = Client(OpenSignal(1, url)), Client()
    world = World(signal_latency=0.05)
    world.add("c", client, hosts=["10.0.0.1"])
    world.add("s", server)
    world.listen(url.partition("//")[2].partition("/")[0], "s", judges=judges)
    if site is not None:
        world.place(site, "c")
    return world, client, server


def opened(**options):
    world, client, server = place(**options)
    world.run_until_quiet()
    assert client.answers == [("signal_opened", 1)]
    assert world.connections("c") == world.connections("s") == 1
    return world, client, server


def ask(world, name, *requests):
    world.node(name).machine.ask(*requests)
    world.poke(name)


def test_silence_delays_what_is_sent_as_tcp_does():
    world, client, server = opened()
    world.silence_signals("c")
    world.silence_signals("c")
    begun = world.now
    ask(world, "c", SendSignal(1, b"up 1"), SendSignal(1, b"up 2"))
    ask(world, "s", SendSignal(1001, b"down"))
    world.run_for(1.0)
    assert len(server.answers) == len(client.answers) == 1
    world.silence_signals("c", down=False)
    world.run_until_quiet()
    assert server.answers[1:] == [("signal_received", 1001, b"up 1"), ("signal_received", 1001, b"up 2")]
    assert client.answers[1:] == [("signal_received", 1, b"down")]
    assert world.now - begun == pytest.approx(1.4)  # repeated after 0.2, 0.6 and 1.4 s
    world.silence_signals("c", down=False)


def test_a_link_closed_in_silence_is_closed_at_the_other_end_afterwards():
    world, _client, server = opened()
    world.silence_signals("c")
    ask(world, "c", SendSignal(1, b"bye"), CloseSignal(1))
    world.run_for(5.0)
    assert len(server.answers) == 1
    world.silence_signals("c", down=False)
    world.run_until_quiet()
    assert [answer[0] for answer in server.answers[1:]] == ["signal_received", "signal_closed"]
    assert world.connections("c") == world.connections("s") == 0


@pytest.mark.parametrize(("seconds", "at"), [(0.5, 1.1), (2.5, 3.1), (13.5, 14.1), (14.5, None), (100.0, None)])
def test_a_link_asked_for_in_silence(seconds, at):
    world, client, _ = place()
    world.silence_signals("c")
    world.at(seconds, world.silence_signals, "c", False)
    world.run(lambda: client.answers, limit=30)
    if at is None:
        assert client.answers == [("signal_failed", 1, SILENCE)]
        assert world.now == pytest.approx(15.0)
    else:
        assert client.answers == [("signal_opened", 1)]
        assert world.now == pytest.approx(at)


def test_who_gives_up_in_silence_hears_no_more():
    world, client, server = place()
    world.silence_signals("c")
    world.run_for(0.5)
    ask(world, "c", CloseSignal(1))
    world.run_for(8.0)
    world.silence_signals("c", down=False)
    world.run_until_quiet()
    assert client.answers == server.answers == []
    world, client, _ = place(site=Site(firewall=TCP_443))
    world.run_for(14.5)  # after the last request
    ask(world, "c", CloseSignal(1))
    world.run_until_quiet()
    assert client.answers == []


def test_a_stranded_link_leads_nowhere():
    world, client, server = opened()
    ask(world, "s", SendSignal(1001, b"on its way"))
    world.run_for(0.01)
    world.readdress("c", ["10.0.0.2"])
    ask(world, "c", SendSignal(1, b"lost"))
    ask(world, "s", SendSignal(1001, b"lost"))
    world.run_until_quiet()
    world.cut_signals("c")
    ask(world, "c", CloseSignal(1))
    world.run_until_quiet()
    assert client.answers[1:] == [("signal_received", 1, b"on its way")]
    assert len(server.answers) == 1
    assert (world.connections("c"), world.connections("s")) == (0, 1)


def test_a_router_that_forgets_strands_links():
    site = Site(Nat("198.51.100.1"))
    world, _client, server = opened(site=site)
    world.rebind(site)
    ask(world, "c", SendSignal(1, b"lost"))
    world.run_until_quiet()
    assert len(server.answers) == 1


def test_firewalls_and_links():
    world, client, _ = place("wss://sfu.test/rtc", site=Site(firewall=TCP_443))
    world.run_until_quiet()
    assert client.answers == [("signal_opened", 1)]
    world, client, _ = place("ws://sfu.test:7880/rtc", site=Site(firewall=TCP_443))
    world.run_until_quiet()
    assert client.answers == [("signal_failed", 1, SILENCE)]
    assert world.now == pytest.approx(15.0)
    world, client, _ = place("ws://sfu.test/rtc", site=Site(firewall=Firewall(tcp=(443,), refuses=True)))
    world.run_until_quiet()
    assert client.answers == [("signal_failed", 1, SignalFailure("tcp", "connection refused"))]
    assert world.now == 0.0


def test_a_portal_answers_for_the_server():
    world, client, server = place(site=Site(portal=True))
    world.run_until_quiet()
    assert client.answers == [("signal_failed", 1, SignalFailure("http", "the server answered 302", 302, ""))]
    world, client, server = place("wss://sfu.test/rtc", site=Site(portal=True))
    world.run_until_quiet()
    assert client.answers[0][2].kind == "tls"
    assert server.answers == []


def test_a_certificate_that_is_not_trusted():
    world, client, server = place("wss://sfu.test/rtc")
    world.distrust("sfu.test", EXPIRED)
    world.run_until_quiet()
    assert client.answers == [("signal_failed", 1, SignalFailure("tls", EXPIRED))]
    assert server.answers == []


def test_a_server_that_is_removed_breaks_its_links():
    world, client, _ = opened()
    world.remove("s")
    ask(world, "c", OpenSignal(2, "ws://sfu.test/rtc"))
    world.run_until_quiet()
    failed = ("signal_failed", 2, SignalFailure("tcp", "nobody listens at sfu.test"))
    assert client.answers[1:] == [("signal_closed", 1, "connection reset"), failed]


@pytest.mark.parametrize("refused", [True, False])
def test_a_link_cut_before_the_servers_judgement_arrives(refused):
    world, client, _server = place(judges=True)
    world.run_for(0.06)
    if refused:
        world.refuse_signal("s", 1001, 401, "no")
    else:
        world.accept_signal("s", 1001)
    world.cut_signals("c")
    world.run_until_quiet()
    assert client.answers == [("signal_closed", 1, "cut")]
