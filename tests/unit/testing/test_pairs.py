"""The ready-made pairs come up and talk, over a good network and a bad one."""

from __future__ import annotations

import pytest

from sansio.base.entropy import Entropy
from sansio.dtls import DtlsConnected, DtlsIdentity, default_engine
from sansio.events import Connected, Reconnected
from sansio.ice.agent import IceState, PairSelected
from sansio.room.outputs import JoinFailed
from sansio.sctp.channel import ChannelReadable
from sansio.sfu.options import DropSignal
from sansio.testing.netem import Link
from sansio.testing.pairs import A, B, Rooms, drain, dtls_pair, ice_pair, sctp_pair
from sansio.testing.world import World

BAD = Link(latency=0.03, jitter=0.01, loss=0.15, duplication=0.1, reorder=0.1)


@pytest.mark.parametrize("link", [Link(), BAD], ids=["good", "bad"])
@pytest.mark.parametrize("engine", ["plain", "openssl"])
def test_dtls(engine, link):
    options = {}
    if engine == "openssl":
        names = (DtlsIdentity.generate(1.8e9, Entropy(b"a")), DtlsIdentity.generate(1.8e9, Entropy(b"b")))
        options = {"engine": default_engine, "names": names}
    with World(seed=3, link=link) as world:
        a, b = dtls_pair(world, **options)
        world.run(lambda: a.connected and b.connected, limit=30)
        (up,) = [output for output in world.node("a").outputs if isinstance(output, DtlsConnected)]
        (other,) = [output for output in world.node("b").outputs if isinstance(output, DtlsConnected)]
        assert (up.local_key, up.remote_key) == (other.remote_key, other.local_key)
        world.link("a", "b").loss = 0.0
        a.datagrams.append(a.seal(b"hello"))
        world.poke("a")
        world.run(lambda: b.plaintexts, limit=30)
        assert drain(b.plaintexts) == [b"hello"]
        assert not b.plaintexts


@pytest.mark.parametrize("link", [Link(), BAD], ids=["good", "bad"])
def test_ice(link):
    with World(seed=4, link=link) as world:
        a, b = ice_pair(world)
        world.run(lambda: a.state is b.state is IceState.CONNECTED, limit=30)
        assert (a.selected_addr, b.selected_addr) == (B, A)
        assert [type(output) for output in world.node("a").outputs].count(PairSelected) >= 1
        a.close(world.now)
        b.close(world.now)
        world.run_until_quiet()


@pytest.mark.parametrize("link", [Link(), BAD], ids=["good", "bad"])
def test_sctp(link):
    with World(seed=5, link=link) as world:
        a, b = sctp_pair(world)
        channel = a.open("chat", now=world.now)
        a.send(channel, b"hello", world.now)
        world.poke("a")
        readable = world.node("b").outputs
        world.run(lambda: any(isinstance(output, ChannelReadable) for output in readable), limit=60)
        assert b.read(channel) == b"hello"
        a.abort(world.now)
        world.poke("a")
        b.abort(world.now)
        world.poke("b")
        world.run_until_quiet()


@pytest.mark.parametrize("link", [Link(), BAD], ids=["good", "bad"])
def test_rooms(link):
    with World(seed=6, link=link) as world:
        rooms = Rooms(world)
        alice = rooms.enter("alice", room="den")
        world.run(lambda: rooms.outputs("alice", Connected), limit=30)
        assert (alice.state.name, alice.state.local_participant.identity) == ("den", "alice")
        refused = rooms.enter("bob", token="nonsense", node="bob's")
        world.run(lambda: refused.closed, limit=30)
        assert rooms.outputs("bob's", JoinFailed)
        alice.stop(world.now)
        world.poke("alice")
        world.run_until_quiet()


def test_a_room_whose_media_goes_by_tcp():
    with World(seed=1) as world:
        rooms = Rooms(world, tcp_address=("10.1.0.1", 7881), udp=False)
        rooms.enter("alice", hosts=["10.7.0.1", "2001:db8::7"], url="wss://server.test")
        world.run(lambda: rooms.outputs("alice", Connected), limit=30)
        assert {host for host, _ in world.node("alice").ports.values()} == {"10.7.0.1", "2001:db8::7"}
        assert world.connections("alice") == 2


def test_a_server_that_drops_a_link_and_one_that_is_started_again():
    with World(seed=1) as world:
        rooms = Rooms(world)
        rooms.enter("alice")
        world.run(lambda: rooms.outputs("alice", Connected), limit=30)
        rooms.server.outbox.append(DropSignal(rooms.server.signal_of("room", "alice")))
        world.poke("server")
        world.run(lambda: rooms.outputs("alice", Reconnected), limit=30)
        before = rooms.server
        rooms.stop_server()
        rooms.start_server()
        assert rooms.server is not before
        world.run(lambda: len(rooms.outputs("alice", Reconnected)) == 2, limit=30)
        assert [info.identity for info in rooms.server.participants("room")] == ["alice"]
