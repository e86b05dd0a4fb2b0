from __future__ import annotations

from collections import deque

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.limits import EARLY_DATAGRAMS
from sansio.dtls.engine import default_engine
from sansio.dtls.identity import DtlsIdentity
from sansio.dtls.plain import PlainEngine
from sansio.ice.agent import IceOptions, IceState, IceStateChanged, PairSelected, RoleChanged
from sansio.peer.transport import PeerTransport, TransportConnected, TransportFailed
from sansio.sctp.association import HeartbeatAcked
from sansio.sctp.channel import ChannelOpened, ChannelReadable
from sansio.testing.netem import Link
from sansio.testing.pairs import A, B, host_candidate
from sansio.testing.world import World
from tests.sim.wire import what
from tests.unit.peer.ends import IDENTITIES, Transports

LINK = Link(latency=0.02)
BAD = Link(latency=0.03, jitter=0.02, loss=0.15, duplication=0.1, reorder=0.15)
REAL = {name: DtlsIdentity.generate(1.8e9, Entropy(name.encode())) for name in "ab"}
ENGINES = {"plain": (PlainEngine, IDENTITIES), "openssl": (default_engine, REAL)}


def talk(pair: Transports) -> int:
    """Open a channel and send a message each way; the channel's number."""
    channel = pair.ends["a"].channels.open("chat", now=pair.world.now)
    pair.send("a", channel, b"from a")
    pair.run(lambda: pair.outputs("b", ChannelReadable))
    assert pair.read("b", channel) == [b"from a"]
    pair.send("b", channel, b"from b")
    pair.run(lambda: pair.outputs("a", ChannelReadable))
    assert pair.read("a", channel) == [b"from b"]
    return channel


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("roles", [("server", "client"), ("client", "server")], ids="-".join)
def test_connects_and_carries_data_both_ways(engine, roles):
    factory, identities = ENGINES[engine]
    with World(1, link=LINK) as world:
        pair = Transports(world, roles=roles, engine=factory, identities=identities)
        pair.run(pair.connected)
        a, b = pair.ends["a"], pair.ends["b"]
        for name, transport in pair.ends.items():
            (connected,) = pair.outputs(name, TransportConnected)
            assert connected.profile == transport.profile
            assert 0 < connected.rtt < 0.041
            (selected,) = pair.outputs(name, PairSelected)
            assert (selected.port, selected.addr) == (1, B if name == "a" else A)
        assert a.profile == b.profile == "AEAD_AES_128_GCM"
        assert (a.local_key, a.remote_key) == (b.remote_key, b.local_key)
        assert a.local_key != a.remote_key
        channel = talk(pair)
        # RFC 8832 section 6: the client's channels are even
        assert channel % 2 == (0 if roles[0] == "client" else 1)
        (opened,) = pair.outputs("b", ChannelOpened)
        assert (opened.label, opened.ours) == ("chat", False)
        assert a.counters.snapshot() == b.counters.snapshot() == {}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(4))
def test_connects_over_a_bad_link(engine, seed):
    factory, identities = ENGINES[engine]
    with World(seed, link=BAD) as world:
        pair = Transports(world, engine=factory, identities=identities)
        pair.run(pair.up, limit=60)
        channel = pair.ends["a"].channels.open("chat", now=world.now)
        sent = [b"%d" % n * (1 + n * 50) for n in range(40)]
        for message in sent:
            pair.send("a", channel, message)
        got: list[bytes] = []
        pair.run(lambda: got.extend(pair.read("b", channel)) or len(got) == len(sent), limit=120)
        assert got == sent


# ------------------------------------------------------------------ what comes in


@pytest.fixture
def pair():
    world = World(1, link=LINK)
    made = Transports(world)
    made.run(made.up)
    return made


def test_datagrams_are_told_apart_by_their_first_byte_and_source(pair):
    a = pair.ends["a"]
    now = pair.world.now
    for data in (b"", b"\x80" + bytes(20), b"\xbf" + bytes(20), b"\x05", b"\x40\0\0", b"\xff"):
        a.receive_datagram(1, data, B, now)
    for data in (b"\x80" + bytes(20), b"\x16" + bytes(20), b"\x17\xfe\xfd" + bytes(30)):
        a.receive_datagram(1, data, ("203.0.113.1", 5000), now)
        a.receive_datagram(2, data, B, now)
    assert a.counters.snapshot() == {"unknown_kind": 3, "unknown_source": 6}
    assert a.srtp_receiver.counters.snapshot() == {"srtp_invalid": 2}
    a.receive_datagram(1, b"\0\1garbage", ("203.0.113.1", 5000), now)
    assert a.ice.counters["stun_malformed"] == 1
    a.receive_datagram(1, b"\x16\xfe", B, now)
    assert a.dtls.counters["dtls_malformed"] == 1
    assert a.advance(now) > now
    assert not a.outbox


def test_nothing_is_delivered_from_the_wrong_certificate():
    with World(1, link=LINK) as world:
        pair = Transports(world, announced={"a": IDENTITIES["a"], "b": IDENTITIES["a"]})
        pair.run(lambda: pair.outputs("a", TransportFailed) and pair.outputs("b", TransportFailed))
        (failed,) = pair.outputs("a", TransportFailed)
        assert failed == TransportFailed("dtls", "fingerprint: the peer's certificate is not the announced one")
        (told,) = pair.outputs("b", TransportFailed)
        assert told.layer == "dtls"
        assert not pair.ends["a"].connected
        assert not pair.outputs("a", TransportConnected)


def early_source(world: World, name: str = "a") -> Transports:
    """A pair in which only "b" has the description of the other, so that its checks come early."""
    pair = Transports(world, introduce=False)
    pair.introduce("b")
    world.run_for(0.1)
    assert pair.ends["a"].ice.is_valid_source(1, B)
    return pair


def test_dtls_datagrams_that_come_before_the_description_are_kept():
    """A ClientHello can overtake the answer; it is answered when the answer is there."""
    with World(1, link=LINK) as world:
        hello = first_flight(world)
    with World(1, link=LINK) as world:
        pair = early_source(world)
        a = pair.ends["a"]
        a.receive_datagram(1, hello, B, world.now)
        before = len(world.trace)
        pair.introduce("a")
        pair.run(lambda: pair.outputs("a", PairSelected))
        world.run_for(0.001)
        sizes = [(line.source, line.kind) for line in world.trace[before:]]
        assert ("a", "dtls") in sizes


def first_flight(world: World) -> bytes:
    seen: list[bytes] = []
    pair = Transports(world)
    receive = pair.ends["a"].receive_datagram

    def spy(port, data, src, now):
        if data[0] == 22:
            seen.append(data)
        receive(port, data, src, now)

    world.node("a").deliver = spy
    pair.run(lambda: seen)
    return seen[0]


def test_not_more_early_datagrams_are_kept_than_the_limit_says():
    with World(1, link=LINK) as world:
        pair = early_source(world)
        a = pair.ends["a"]
        for n in range(EARLY_DATAGRAMS + 3):
            a.receive_datagram(1, b"\x16" + bytes([n]) * 30, B, world.now)
        assert a.counters.snapshot() == {"early_overflow": 3}
        pair.introduce("a")
        pair.run(pair.connected)
        assert a.dtls.counters["dtls_malformed"] == EARLY_DATAGRAMS


def test_data_that_overtakes_the_last_flight_of_the_handshake_is_not_lost():
    """The peer's INIT comes before its Finished: it waits inside DTLS."""
    with World(1, link=LINK) as world:
        pair = Transports(world, roles=("client", "server"))
        a = pair.ends["a"]
        receive, held = a.receive_datagram, []

        def swap(port, data, src, now):
            if what(data) == "finished" and not held:
                held.append(data)
                return
            receive(port, data, src, now)
            if held and what(data) == "init":
                receive(port, held[0], src, now)

        world.node("a").deliver = swap
        pair.run(pair.up)
        assert held
        assert a.dtls.counters["dtls_resent"] == 0
        talk(pair)


def test_what_dtls_owes_behind_data_in_one_datagram_leaves_at_once():
    """Application data and a repeated handshake message together: the data is read, and our last flight repeated."""
    with World(1, link=LINK, kind=what) as world:
        pair = Transports(world)
        a, seen = pair.ends["a"], []
        receive = a.receive_datagram

        def add(port, data, src, now):
            if "init" in what(data) and not seen:
                seen.append(now)
                data += bytes([22, 0xFE, 0xFD]) + bytes(8) + (13).to_bytes(2, "big") + bytes([20]) + bytes(12)
            receive(port, data, src, now)

        world.node("a").deliver = add
        pair.run(lambda: seen)
        world.run_for(0.001)
        assert a.dtls.counters["dtls_resent"] == 1
        assert "finished" in [line.kind for line in world.trace if line.source == "a" and line.time == seen[0]]
        pair.run(pair.up)


# ------------------------------------------------------------------ failing and closing


def test_no_way_through_is_told_with_the_pairs_that_were_tried():
    with World(1, link=Link(down=True)) as world:
        pair = Transports(world)
        pair.run(lambda: pair.outputs("a", TransportFailed))
        assert pair.outputs("a", TransportFailed) == [TransportFailed("ice", "no candidate pair works")]
        (report,) = pair.ends["a"].pairs_report()
        assert (report.remote.transport_address, report.state, report.last_error) == (B, "failed", "no answer")
        assert report.checks_sent > 3


def test_end_of_candidates_ends_a_hopeless_search_early():
    with World(1, link=Link(down=True)) as world:
        pair = Transports(world, ice=IceOptions(retransmissions=2))
        pair.ends["a"].end_of_remote(world.now)
        pair.touch("a")
        pair.run(lambda: pair.outputs("a", TransportFailed))
        assert world.now < 2.0


def test_close_aborts_sctp_and_says_goodbye_at_once(pair):
    world = pair.world
    a = pair.ends["a"]
    a.close(world.now)
    assert [what(item.data) for item in a.transmits] == ["abort", "alert"]
    assert a.advance(world.now) == INF
    pair.touch("a")
    pair.run(lambda: pair.outputs("b", TransportFailed))
    assert pair.outputs("b", TransportFailed)[0].layer == "sctp"
    assert pair.outputs("b", TransportFailed)[0].detail.startswith("aborted")
    world.run_for(0.1)
    assert pair.ends["b"].counters["close_notify"] == 1
    a.close(world.now)
    a.receive_datagram(1, b"\x17\xfe\xfd", B, world.now)
    assert not a.transmits
    assert not a.counters.snapshot()
    assert a.advance(world.now) == INF


def test_close_before_dtls_is_silent():
    with World(1, link=LINK) as world:
        pair = Transports(world)
        world.run_for(0.03)
        a = pair.ends["a"]
        a.transmits.clear()
        a.close(world.now)
        assert not a.transmits
        assert a.closed
        assert a.ice.state is IceState.CLOSED


def test_close_notify_alone_is_counted_and_silences_sctp(pair):
    """LiveKit's server may say no more than that: why, its signalling tells."""
    world = pair.world
    b = pair.ends["b"]
    b.dtls.close(world.now)
    b._flush_dtls()
    pair.touch("b")
    world.run_for(0.1)
    a = pair.ends["a"]
    assert a.counters["close_notify"] == 1
    assert not a.connected
    assert not pair.outputs("a", TransportFailed)
    channel = a.channels.open("late", now=world.now)
    a.channels.send(channel, b"into the void", world.now)
    a.touch_data()
    a.advance(world.now)
    assert not a.transmits


# ------------------------------------------------------------------ paths


def test_a_path_that_comes_back_is_used_at_once(pair):
    """SCTP does not wait for the timer that grew during the outage."""
    world = pair.world
    channel = talk(pair)
    world.partition("a", "b")
    pair.send("a", channel, b"lost at first")
    pair.run(lambda: pair.ends["a"].ice.state is IceState.DISCONNECTED)
    world.run_for(4.0)
    world.partition("a", "b", down=False)
    back = IceStateChanged(IceState.CONNECTED)
    pair.run(lambda: pair.outputs("a").count(back) == 2)
    world.run_for(0.05)
    assert pair.read("b", channel) == [b"lost at first"]


def test_a_path_that_is_said_to_work_again_is_used_at_once(pair):
    """For an owner who knows better than ICE, such as after a change of networks."""
    world = pair.world
    channel = talk(pair)
    world.partition("a", "b")
    pair.send("a", channel, b"lost at first")
    world.run_for(4.0)
    world.partition("a", "b", down=False)
    world.run_for(0.001)
    assert pair.read("b", channel) == []
    pair.ends["a"].path_restored(world.now)
    pair.touch("a")
    world.run_for(0.03)
    assert pair.read("b", channel) == [b"lost at first"]


def test_a_probe_is_answered_over_the_path(pair):
    world = pair.world
    world.run_for(1.0)
    pair.ends["a"].probe(world.now)
    pair.touch("a")
    pair.run(lambda: pair.outputs("a", HeartbeatAcked), limit=0.1)
    assert [event.rtt for event in pair.outputs("a", HeartbeatAcked)] == [pytest.approx(0.04)]


def test_data_revives_a_silent_path(pair):
    """While only STUN is lost the data itself says that the peer is there."""
    world = pair.world
    channel = talk(pair)
    for name in "ab":
        receive = pair.ends[name].receive_datagram

        def without_stun(port, data, src, now, receive=receive):
            if data[0] >= 4:
                receive(port, data, src, now)

        world.node(name).deliver = without_stun
    pair.run(lambda: pair.ends["a"].ice.state is IceState.DISCONNECTED)
    pair.send("b", channel, b"still here")
    pair.run(lambda: pair.ends["a"].ice.state is IceState.CONNECTED, limit=0.03)
    assert pair.read("a", channel) == [b"still here"]


def test_a_restart_keeps_the_association(pair):
    world = pair.world
    channel = talk(pair)
    a, b = pair.ends["a"], pair.ends["b"]
    a.restart_ice(world.now)
    b.restart_ice(world.now)
    pair.introduce("a")
    pair.introduce("b")
    pair.run(lambda: len(pair.outputs("a", PairSelected)) == len(pair.outputs("b", PairSelected)) == 2)
    pair.send("a", channel, b"after")
    world.run_for(0.1)
    assert pair.read("b", channel) == [b"after"]
    assert len(pair.outputs("a", TransportConnected)) == 1


def test_the_same_description_again_changes_nothing(pair):
    a = pair.ends["a"]
    channels = a.channels
    pair.introduce("a", role="client", fingerprint=("sha-256", "00"))
    pair.world.run_for(1.0)
    assert a.channels is channels
    assert a.connected
    assert len(pair.outputs("a", PairSelected)) == 1


def test_without_a_port_nothing_leaves_until_there_is_one_again(pair):
    world = pair.world
    channel = talk(pair)
    a = pair.ends["a"]
    a.remove_local(1, world.now)
    pair.send("a", channel, b"waits")
    world.run_for(0.5)
    assert a.ice.selected_addr is None
    sent = [line for line in world.trace if line.source == "a"]
    world.run_for(0.2)
    assert [line for line in world.trace if line.source == "a"] == sent
    del world.node("a").ports[1]
    address = ("10.0.0.7", 5007)
    world._bind(world.node("a"), 2, address)
    a.add_local(host_candidate(address), 2, world.now)
    pair.touch("a")
    pair.run(lambda: a.ice.selected_port == 2)
    got: list[bytes] = []
    pair.run(lambda: got.extend(pair.read("b", channel)) or got)
    assert got == [b"waits"]


def test_a_failed_send_is_known_to_ice(pair):
    a = pair.ends["a"]
    a.send_failed(1, B, "no route to host", pair.world.now)
    a.advance(pair.world.now)
    assert [report.last_error for report in a.pairs_report()] == ["no route to host"]


def test_a_full_socket_holds_data_back(pair):
    world = pair.world
    channel = talk(pair)
    a = pair.ends["a"]
    world.run_for(0.5)
    a.set_blocked(True)
    pair.send("a", channel, b"later")
    world.run_for(0.2)
    assert pair.read("b", channel) == []
    a.set_blocked(False)
    pair.touch("a")
    world.run_for(0.05)
    assert pair.read("b", channel) == [b"later"]


def test_the_facts_of_ice_are_passed_on(pair):
    assert pair.kinds("a")[:3] == ["IceStateChanged", "PairSelected", "IceStateChanged"]
    with World(1, link=LINK) as world:
        other = Transports(world, introduce=False)
        other.introduce("b", lite=True)
        other.run(lambda: other.outputs("b", RoleChanged))
        assert other.outputs("b", RoleChanged) == [RoleChanged(True)]


# ------------------------------------------------------------------ the contract


def test_a_fresh_transport_has_nothing_to_do():
    transport = PeerTransport(Entropy(b"x"), IDENTITIES["a"], deque(), controlling=True, dtls_engine=PlainEngine)
    assert transport.advance(0.0) == INF
    assert transport.advance(0.0) == INF
    assert not transport.connected
    assert not transport.outbox
    transport.touch_data()
    assert transport.advance(1.0) == INF


def test_stun_is_answered_without_a_description():
    """The checks of the peer are verified with our own password."""
    with World(1, link=LINK) as world:
        pair = Transports(world, introduce=False)
        pair.introduce("b")
        pair.run(lambda: pair.ends["b"].pairs_report()[0].state == "succeeded")
        answers = [line for line in world.trace if line.source == "a" and line.kind == "stun"]
        assert answers
        assert pair.ends["a"].ice.state is IceState.NEW
