"""Whole sessions with the small server, in virtual time."""

from __future__ import annotations

import pytest

from sansio.base.contract import OpenSignal
from sansio.events import Connected, ParticipantConnected, ParticipantDisconnected
from sansio.room.outputs import Ended, JoinFailed, MediaFailure
from sansio.signal.refusal import RefusalKind
from sansio.testing.netem import Link
from sansio.testing.pairs import Rooms
from sansio.testing.world import World
from sansio.types import DisconnectReason

GOOD = Link(latency=0.02)
BAD = Link(latency=0.05, jitter=0.03, loss=0.1, duplication=0.05, reorder=0.1)


def read_all(engine):
    found = []
    while (packet := engine.read_data()) is not None:
        found.append(packet)
    return found


@pytest.mark.parametrize("link", [GOOD, BAD], ids=["good", "bad"])
@pytest.mark.parametrize("mode", [None, True, False], ids=["auto", "single", "dual"])
@pytest.mark.parametrize("seed", range(3))
def test_two_join_talk_and_leave(mode, link, seed):
    with World(seed, link=link) as world:
        rooms = Rooms(world)
        alice = rooms.enter("alice", single_peer_connection=mode)
        world.run(lambda: rooms.outputs("alice", Connected), limit=30)
        bob = rooms.enter("bob", single_peer_connection=mode)
        world.run(lambda: rooms.outputs("bob", Connected), limit=30)
        assert list(bob.state.remote_participants) == ["alice"]
        world.run(lambda: rooms.outputs("alice", ParticipantConnected), limit=30)

        assert alice.publish_data(b"hello", topic="chat", now=world.now)
        world.poke("alice")
        packets = []
        world.run(lambda: packets.extend(read_all(bob)) or packets, limit=30)
        (packet,) = packets
        assert (packet.payload, packet.topic, packet.participant.identity) == (b"hello", "chat", "alice")

        bob.stop(world.now)
        world.poke("bob")
        world.run(lambda: rooms.outputs("alice", ParticipantDisconnected), limit=30)
        assert [end.reason for end in rooms.outputs("bob", Ended)] == [DisconnectReason.CLIENT_INITIATED]
        alice.stop(world.now)
        world.poke("alice")
        world.run_until_quiet(limit=60)
        assert alice.closed
        assert not world.node("alice").ports


@pytest.mark.parametrize("seed", range(3))
def test_many_reliable_messages_arrive_once_and_in_order(seed):
    with World(seed, link=BAD) as world:
        rooms = Rooms(world)
        alice, bob = rooms.enter("alice"), rooms.enter("bob")
        world.run(lambda: rooms.outputs("alice", Connected) and rooms.outputs("bob", Connected), limit=30)
        for n in range(200):
            assert alice.publish_data(b"%d" % n, now=world.now)
        world.poke("alice")
        got = []

        def received():
            if packets := read_all(bob):
                got.extend(packet.payload for packet in packets)
                world.poke("bob")
            return len(got) >= 200

        world.run(received, limit=60)
        assert got == [b"%d" % n for n in range(200)]


def test_a_join_takes_as_few_round_trips_as_it_can():
    """Signalling costs one round trip here; then ICE, then DTLS: the second flight of each is the last we wait for."""
    with World(link=Link(latency=0.05), signal_latency=0.05) as world:
        rooms = Rooms(world)
        rooms.enter("alice")
        world.run(lambda: rooms.outputs("alice", Connected), limit=30)
        assert world.now <= 0.1 * 4 + 0.03


def test_a_server_without_the_new_path_is_asked_the_old_way():
    with World(link=GOOD) as world:
        rooms = Rooms(world, path_v1=False)
        rooms.enter("alice")
        world.run(lambda: rooms.outputs("alice", Connected), limit=30)
        urls = [request.url for request in rooms.outputs("alice", OpenSignal)]
        assert ["/rtc/v1" in url for url in urls] == [True, False]


def test_a_bad_token_is_refused_with_the_servers_words():
    with World(link=GOOD) as world:
        rooms = Rooms(world)
        engine = rooms.enter("alice", token="nonsense")
        world.run(lambda: engine.closed, limit=30)
        (failed,) = rooms.outputs("alice", JoinFailed)
        assert failed.error.kind is RefusalKind.TOKEN_REJECTED
        assert failed.error.status == 401
        world.run_until_quiet(limit=60)


def test_a_server_whose_datagrams_do_not_get_through():
    with World(link=GOOD) as world:
        rooms = Rooms(world)
        engine = rooms.enter("alice")
        world.partition("alice", "server")
        world.run(lambda: engine.closed, limit=60)
        (failed,) = rooms.outputs("alice", JoinFailed)
        assert isinstance(failed.error, MediaFailure)
        assert failed.error.pairs
        world.run_until_quiet(limit=60)


def test_the_second_of_an_identity_ends_the_first():
    with World(link=GOOD) as world:
        rooms = Rooms(world)
        first = rooms.enter("alice")
        world.run(lambda: rooms.outputs("alice", Connected), limit=30)
        rooms.enter("alice", node="again")
        world.run(lambda: rooms.outputs("again", Connected) and first.closed, limit=30)
        assert [end.reason for end in rooms.outputs("alice", Ended)] == [DisconnectReason.DUPLICATE_IDENTITY]
