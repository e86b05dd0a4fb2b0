"""The simulated network, with toy machines."""

from __future__ import annotations

from collections import deque

import pytest

from sansio.base.contract import (
    INF,
    ClosePort,
    CloseSignal,
    OpenSignal,
    OpenStream,
    OpenUdp,
    Resolve,
    SendSignal,
    SignalFailure,
    Transmit,
)
from sansio.testing.netem import Link
from sansio.testing.world import SimulationFailed, World, kind_of
from tests.unit.testing.toys import Burst, Busy, Client, Echo, Pinger

A, B = ("10.0.0.1", 5000), ("10.0.0.2", 5000)


def ping_world(seed=1, link=None, count=5, **options):
    world = World(seed, link=link, **options)
    pinger, echo = Pinger(B, count), Echo()
    world.add("a", pinger, {1: A})
    world.add("b", echo, {1: B})
    pinger.start(world.now)
    return world, pinger, echo


# ------------------------------------------------------------------ time and order


def test_pings_take_a_round_trip_each():
    world, pinger, echo = ping_world(link=Link(latency=0.05))
    world.run(lambda: pinger.closed)
    assert pinger.answered == [0, 1, 2, 3, 4]
    assert world.now == pytest.approx(0.5)
    assert [addr for _, _, addr in echo.seen] == [A] * 5
    assert [str(line) for line in world.trace[:2]] == [
        "    0.000000 a > b 8 stun ok",
        "    0.050000 b > a 6 stun ok",
    ]
    assert world.node("a").outputs == [*[("answered", n) for n in range(5)], ("closed",)]


def test_the_clock_may_begin_anywhere():
    world, pinger, _ = ping_world(start=1e6)
    world.run(lambda: pinger.closed)
    assert world.now == pytest.approx(1e6 + 0.1)


@pytest.mark.parametrize("seed", range(5))
def test_pings_get_through_a_bad_network(seed):
    world, pinger, _ = ping_world(seed, Link(0.03, jitter=0.02, loss=0.2, duplication=0.1, reorder=0.1), count=20)
    world.run(lambda: pinger.closed)
    assert pinger.answered == list(range(20))
    assert {line.verdict for line in world.trace} >= {"ok", "lost"}


def test_one_seed_gives_one_trace_and_another_seed_another():
    def trace(seed):
        world, _, _ = ping_world(seed, Link(loss=0.3, jitter=0.01), count=20)
        world.run_until_quiet()
        return world.trace, world.digest()

    assert trace(1) == trace(1) == trace(b"1")
    assert trace(1) != trace(2)


def test_what_is_scheduled_happens_in_order_and_never_in_the_past():
    world, happened = World(), []
    world.at(2.0, happened.append, "second")
    world.at(1.0, happened.append, "first")
    world.at(2.0, happened.append, "third")
    world.at(2.0, world.at, 0.5, lambda: happened.append(world.now))
    world.run(lambda: len(happened) == 4)
    assert happened == ["first", "second", "third", 2.0]


def test_run_for_leaves_the_clock_at_its_end():
    world, pinger, _ = ping_world(link=Link(latency=0.05))
    world.run_for(0.22)
    assert world.now == 0.22
    assert pinger.answered == [0, 1]
    world.run_for(10)
    assert world.now == pytest.approx(10.22)
    assert pinger.closed


# ------------------------------------------------------------------ links and addresses


def test_a_partition_and_its_end():
    world, pinger, _ = ping_world()
    world.partition("a", "b")
    world.at(1.0, world.partition, "a", "b", False)
    world.run(lambda: pinger.closed)
    assert pinger.answered == list(range(5))
    assert [line.verdict for line in world.trace[:5]] == ["down"] * 5
    assert world.now > 1.0


def test_one_direction_can_be_set_alone_and_both_together():
    world, pinger, echo = ping_world()
    world.link("b", "a").loss = 1.0
    world.run_until_quiet()
    assert pinger.closed
    assert not pinger.answered
    assert len(echo.seen) == Pinger.MOST_TRIES

    world, pinger, echo = ping_world()
    world.set_link("a", "b", Link(latency=0.3))
    world.run_for(0.35)
    assert len(echo.seen) == 1
    assert [link.latency for link in world.links("a", "b")] == [0.3, 0.3]
    assert world.link("a", "b") is not world.link("b", "a")


def test_setting_a_link_anew_keeps_its_row_of_fates():
    def fates(change):
        world, _, _ = ping_world(3, Link(loss=0.4), count=9)
        if change:
            world.at(0.5, world.set_link, "a", "b", Link(loss=0.4))
        world.run_until_quiet()
        return [line.verdict for line in world.trace if line.source == "a"]

    assert fates(True) == fates(False)


def test_a_port_that_moves_loses_what_is_on_its_way_and_goes_on_from_its_new_address():
    world, pinger, echo = ping_world(link=Link(latency=0.05))
    world.at(0.07, world.move, "a", 1, ("10.0.0.9", 6000))
    world.run(lambda: pinger.closed)
    assert pinger.answered == list(range(5))
    assert {addr for _, _, addr in echo.seen} == {A, ("10.0.0.9", 6000)}


def test_plain_bytes_go_to_the_peer():
    world = World()
    a, b = Burst(10, 20), Burst(5)
    world.add("a", a, {1: A}, peer=B, transmits=a.packets, deliver=lambda port, data, addr, now: a.take(data, now))
    world.add("b", b, {1: B}, peer=A, transmits=b.packets, deliver=lambda port, data, addr, now: b.take(data, now))
    world.run_until_quiet()
    assert [len(data) for _, data in b.seen] == [10, 20]
    assert [len(data) for _, data in a.seen] == [5]


def test_what_has_nowhere_to_go_is_noted():
    world, echo = World(), Echo()
    world.add("b", echo, {1: B})
    echo.transmits.append(Transmit(1, b"x", A))
    echo.transmits.append(Transmit(2, b"x", A))
    world.run_until_quiet()
    assert [(line.target, line.verdict) for line in world.trace] == [
        ("10.0.0.1:5000", "unreachable"),
        ("10.0.0.1:5000", "closed port"),
    ]


def test_an_address_belongs_to_one_port():
    world = World()
    world.add("a", Echo(), {1: A})
    with pytest.raises(ValueError, match="is taken"):
        world.add("b", Echo(), {1: A})


def test_kinds_by_the_first_byte():
    kinds = {
        0: "stun",
        3: "stun",
        19: "other",
        20: "dtls",
        63: "dtls",
        64: "turn",
        128: "rtp",
        191: "rtp",
        192: "other",
    }
    assert {first: kind_of(bytes([first])) for first in kinds} == kinds
    assert kind_of(b"") == "other"


# ------------------------------------------------------------------ requests


def test_ports_are_opened_at_the_hosts_addresses():
    client = Client(
        OpenUdp(1, "10.0.0.1"),
        OpenUdp(2, "10.0.0.1"),
        OpenUdp(3, "10.9.9.9"),
        OpenUdp(4, "10.0.0.1", 700, 700),
        OpenUdp(5, "10.0.0.1", 700, 700),
        OpenStream(6, ("10.0.0.2", 443)),
    )
    world = World()
    world.add("a", client, hosts=["10.0.0.1"])
    world.run_until_quiet()
    assert client.answers == [
        ("port_opened", 1, ("10.0.0.1", 40000)),
        ("port_opened", 2, ("10.0.0.1", 40001)),
        ("port_failed", 3, "10.9.9.9 is not an address of a"),
        ("port_opened", 4, ("10.0.0.1", 700)),
        ("port_failed", 5, "no port is free"),
        ("port_failed", 6, "connection refused"),
    ]
    assert world.now == 2 * world.signal_latency


def test_a_closed_port_receives_nothing_and_its_address_is_free():
    client, echo = Client(OpenUdp(1, "10.0.0.1")), Echo()
    world = World(link=Link(latency=1.0))
    world.add("a", client, hosts=["10.0.0.1"])
    world.add("b", echo, {1: B})
    world.run_until_quiet()
    echo.transmits.append(Transmit(1, b"x", ("10.0.0.1", 40000)))
    world.poke("b")
    world.run_for(0.5)
    client.ask(ClosePort(1), ClosePort(77))
    world.poke("a")
    world.run_until_quiet()
    assert not world.node("a").ports
    client.ask(OpenUdp(2, "10.0.0.1", 40000, 40000))
    world.poke("a")
    world.run_until_quiet()
    assert client.answers[-1] == ("port_opened", 2, ("10.0.0.1", 40000))


def test_names_are_looked_up():
    client, world = Client(Resolve(1, "turn.test"), Resolve(2, "nowhere.test")), World()
    world.names["turn.test"] = ["10.0.0.7", "10.0.0.8"]
    world.add("a", client)
    world.run_until_quiet()
    assert client.answers == [("resolved", 1, ["10.0.0.7", "10.0.0.8"]), ("resolved", 2, [])]
    assert world.now == pytest.approx(0.01)


def test_other_outputs_go_to_perform():
    client, world, performed = Client("event"), World(), []
    world.add("a", client, perform=lambda output, now: performed.append((output, now)))
    world.add("b", Client("unheard"))
    world.run_until_quiet()
    assert performed == [("event", 0.0)]
    assert world.node("b").outputs == ["unheard"]


def signal_world():
    client, server = Client(OpenSignal(1, "ws://sfu.test/rtc?x=1", (("k", "v"),))), Client()
    world = World(signal_latency=0.05)
    world.add("c", client)
    world.add("s", server)
    world.listen("sfu.test", "s")
    return world, client, server


def test_a_signalling_link_is_reliable_and_ordered():
    world, client, server = signal_world()
    world.run_until_quiet()
    assert client.answers == [("signal_opened", 1)]
    assert server.answers == [("signal_accepted", 1001, "ws://sfu.test/rtc?x=1", (("k", "v"),))]
    assert world.now == pytest.approx(0.1)
    client.ask(SendSignal(1, b"one"), SendSignal(1, b"two"))
    server.ask(SendSignal(1001, b"hello"))
    world.poke("c")
    world.poke("s")
    world.run_until_quiet()
    assert server.answers[1:] == [("signal_received", 1001, b"one"), ("signal_received", 1001, b"two")]
    assert client.answers[1:] == [("signal_received", 1, b"hello")]


def test_what_the_server_says_first_arrives_after_the_link_is_open():
    world, client, server = signal_world()
    world.run_for(0.05)
    server.ask(SendSignal(1001, b"early"))
    world.poke("s")
    world.run_until_quiet()
    assert client.answers == [("signal_opened", 1), ("signal_received", 1, b"early")]


def test_closing_after_sending_delivers_what_was_sent():
    world, client, server = signal_world()
    world.run_until_quiet()
    client.ask(SendSignal(1, b"bye"), CloseSignal(1), CloseSignal(1))
    world.poke("c")
    world.run_until_quiet()
    assert server.answers[1:] == [
        ("signal_received", 1001, b"bye"),
        ("signal_closed", 1001, "closed by the other end"),
    ]
    client.ask(SendSignal(1, b"late"), CloseSignal(1))
    world.poke("c")
    world.run_until_quiet()
    assert len(server.answers) == 3
    assert world.trace[-1].verdict == "closed"


def test_a_cut_link_tells_both_ends_and_loses_what_was_on_its_way():
    world, client, server = signal_world()
    world.run_until_quiet()
    client.ask(SendSignal(1, b"lost"))
    world.poke("c")
    world.at(world.now + 0.01, world.cut_signals, "c")
    world.run_until_quiet()
    assert client.answers[1:] == [("signal_closed", 1, "cut")]
    assert server.answers[1:] == [("signal_closed", 1001, "cut")]
    world.cut_signals("c")
    world.run_until_quiet()
    assert len(client.answers) == 2


def judging_world():
    client, server = Client(OpenSignal(1, "ws://sfu.test/rtc")), Client()
    world = World(signal_latency=0.05)
    world.add("c", client)
    world.add("s", server)
    world.listen("sfu.test", "s", judges=True)
    world.run_until_quiet()
    assert client.answers == []
    assert server.answers == [("signal_accepted", 1001, "ws://sfu.test/rtc", ())]
    return world, client, server


def test_a_server_that_judges_takes_a_link_and_says_the_first_word():
    world, client, server = judging_world()
    world.accept_signal("s", 1001)
    server.ask(SendSignal(1001, b"join"))
    world.poke("s")
    world.run_until_quiet()
    assert client.answers == [("signal_opened", 1), ("signal_received", 1, b"join")]


def test_a_server_that_judges_refuses_a_link():
    world, client, server = judging_world()
    world.refuse_signal("s", 1001, 401, "no permission")
    world.run_until_quiet()
    assert client.answers == [
        ("signal_failed", 1, SignalFailure("http", "the server answered 401", 401, "no permission"))
    ]
    assert len(server.answers) == 1
    world.accept_signal("s", 1001)
    world.refuse_signal("s", 1001, 401, "")
    world.run_until_quiet()
    assert len(client.answers) == 1


def test_nobody_listens():
    client, world = Client(OpenSignal(1, "ws://other.test:7880")), World()
    world.add("c", client)
    world.run_until_quiet()
    assert client.answers == [("signal_failed", 1, SignalFailure("tcp", "nobody listens at other.test:7880"))]


# ------------------------------------------------------------------ failures


def test_failures_show_the_seed_and_the_end_of_the_trace():
    world, _, _ = ping_world(seed=4711)
    with pytest.raises(SimulationFailed) as caught:
        world.run(lambda: False)
    text = str(caught.value)
    assert "nothing will ever happen again" in text
    assert "seed 4711" in text
    assert str(world.trace[-1]) in text


def test_what_takes_too_long():
    world, _, _ = ping_world(link=Link(latency=1.0))
    with pytest.raises(SimulationFailed, match=r"not done within 0\.5 s"):
        world.run(lambda: False, limit=0.5)
    with pytest.raises(SimulationFailed, match=r"not quiet within 0\.5 s"):
        world.run_until_quiet(limit=0.5)


def test_a_machine_that_asks_for_no_time_at_all():
    world = World()
    world.add("a", Busy())
    with pytest.raises(SimulationFailed, match=r"busy loop: a wants to be called at 0\.0"):
        world.run_until_quiet()


def test_machines_that_keep_each_other_busy():
    class Talkative(Echo):
        def advance(self, now):
            self.outbox.append("again")
            return INF

    world = World()
    world.add("a", Talkative(), perform=lambda output, now: None)
    with pytest.raises(SimulationFailed, match="livelock"):
        world.run_until_quiet()


def test_a_condition_that_keeps_a_machine_busy():
    world = World()
    world.add("a", Echo())
    with pytest.raises(SimulationFailed, match="livelock"):
        world.run(lambda: world.poke("a"))


def test_machines_that_cannot_be_wired():
    world = World()
    lone = Burst(1)
    world.add("a", lone, {1: A}, transmits=lone.packets)
    with pytest.raises(SimulationFailed, match="has no peer"):
        world.run_until_quiet()

    world, echo = World(), Echo()
    echo.transmits.append(Transmit(1, b"x", A))
    world.add("a", Burst(), {1: A})
    world.add("b", echo, {1: B})
    with pytest.raises(SimulationFailed, match="a takes no datagrams"):
        world.run_until_quiet()


def test_an_exception_out_of_the_block_carries_the_story():
    def breaks():
        with World(seed=9) as world:
            world.at(1.0, lambda: 1 // 0)
            world.run_until_quiet()

    with pytest.raises(ZeroDivisionError) as caught:
        breaks()
    assert "seed 9" in caught.value.__notes__[0]
    with pytest.raises(SimulationFailed) as failed, World(seed=9) as world:
        world.run(lambda: False)
    assert not hasattr(failed.value, "__notes__")
    with World() as world:
        world.run_until_quiet()


# ------------------------------------------------------------------ streams


class Listener(Echo):
    """Echoes on the connections that it takes, and keeps what happens to them."""

    def __init__(self):
        super().__init__()
        self.accepted, self.closed, self.got = [], [], b""

    def stream_accepted(self, port, address, now):
        self.accepted.append((port, address))

    def stream_closed(self, port, now):
        self.closed.append(port)

    def handle_datagram(self, port, data, addr, now):
        self.got += data
        super().handle_datagram(port, data, addr, now)


class Caller(Client):
    """Opens one stream, and keeps what comes by it."""

    def __init__(self, *requests):
        super().__init__(*requests)
        self.transmits, self.got = deque(), b""

    def handle_datagram(self, port, data, addr, now):
        self.got += data


def streams(link=None, address=("10.0.0.2", 443)):
    world = World(1, link=link or Link(latency=0.02))
    caller, listener = Caller(OpenStream(6, ("10.0.0.2", 443), tls=True)), Listener()
    world.add("a", caller, hosts=["10.0.0.1"])
    world.add("b", listener)
    world.listen_stream(address, "b")
    return world, caller, listener


def test_a_stream_carries_bytes_in_order():
    world, caller, listener = streams(Link(latency=0.02, jitter=0.05, loss=0.3, reorder=0.3))
    world.run(lambda: caller.answers)
    assert world.now == pytest.approx(0.08)
    [(_, port, (host, _))] = caller.answers
    assert (port, host) == (6, "10.0.0.1")
    for number in range(50):
        caller.transmits.append(Transmit(6, b"%d " % number, ("10.0.0.2", 443)))
    world.poke("a")
    world.run_until_quiet()
    assert listener.got == b"".join([b"%d " % number for number in range(50)])
    assert caller.got == 50 * b"\x00pong"
    caller.outbox.append(ClosePort(6))
    world.poke("a")
    world.run_until_quiet()
    assert listener.closed == [listener.accepted[0][0]]
    caller.transmits.append(Transmit(6, b"late", ("10.0.0.2", 443)))
    world.poke("a")
    world.run_until_quiet()
    assert not listener.got.endswith(b"late")


def test_a_stream_that_nobody_takes_or_that_meets_silence():
    world, caller, _ = streams(address=("10.0.0.2", 80))
    world.run_until_quiet()
    assert caller.answers == [("port_failed", 6, "connection refused")]
    world, caller, listener = streams()
    world.partition("a", "b")
    world.run_until_quiet()
    assert caller.answers == [("port_failed", 6, "no connection within 10 s")]
    assert world.now == pytest.approx(10.0)
    assert not listener.accepted


def test_streams_are_cut_or_fall_silent():
    world, caller, listener = streams()
    world.run(lambda: caller.answers)
    world.partition("a", "b")
    caller.transmits.append(Transmit(6, b"lost", ("10.0.0.2", 443)))
    world.poke("a")
    world.run_until_quiet()
    assert not listener.got
    world.partition("a", "b", down=False)
    caller.transmits.append(Transmit(6, b"under way", ("10.0.0.2", 443)))
    world.poke("a")
    world.run_for(0.001)
    world.cut_streams("a")
    world.run_until_quiet()
    assert not listener.got
    assert caller.answers[1:] == [("port_failed", 6, "closed by the other end")]
    assert len(listener.closed) == 1


def test_a_stream_closed_from_both_ends():
    world, caller, listener = streams()
    world.run(lambda: caller.answers)
    caller.outbox.append(ClosePort(6))
    listener.outbox.append(ClosePort(listener.accepted[0][0]))
    world.poke("a")
    world.poke("b")
    world.run_until_quiet()
    assert listener.closed == []
    assert len(caller.answers) == 1
