"""The server lets us in, and media does not come up: what is said of it."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.events import Connected
from sansio.room.outputs import Ended, JoinFailed, MediaFailure
from sansio.sfu.participant import ServerParticipant
from sansio.testing.netem import Link
from sansio.testing.pairs import SERVER_ADDRESS, Rooms, host_candidate
from sansio.testing.world import World
from sansio.types import DisconnectReason

MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


def failure(world: World, rooms: Rooms, seconds: float = 15.0) -> MediaFailure:
    """Run until the join has failed, which must take ``seconds`` from here."""
    start = world.now
    world.run(lambda: rooms.outputs("alice", Ended), limit=60)
    assert seconds - 0.1 <= world.now - start <= seconds + 0.2
    assert not rooms.outputs("alice", Connected)
    (failed,) = rooms.outputs("alice", JoinFailed)
    (ended,) = rooms.outputs("alice", Ended)
    assert ended.reason is DisconnectReason.MEDIA_FAILURE
    assert isinstance(failed.error, MediaFailure)
    return failed.error


@MODES
def test_no_datagram_gets_through(single):
    with World(1, link=Link(latency=0.02)) as world:
        rooms = Rooms(world)
        alice = rooms.enter("alice", single_peer_connection=single)
        world.partition("alice", "server")
        error = failure(world, rooms)
        assert error.detail == "ICE: no candidate pair works"
        assert error.verdict == "UDP is blocked; no TURN server was offered."
        assert len(error.pairs) == (1 if single else 2)
        for pair in error.pairs:
            assert (pair.local.type, pair.local.address) == ("host", "10.2.0.1")
            assert (pair.remote.type, pair.remote.address, pair.remote.port) == ("host", *SERVER_ADDRESS)
            assert (pair.protocol, pair.selected) == ("udp", False)
            assert pair.checks_sent >= 5
        assert ("failed", "no answer") in [(pair.state, pair.last_error) for pair in error.pairs]
        assert alice.closed


def test_less_patience_than_ice_has():
    with World(1, link=Link(latency=0.02)) as world:
        rooms = Rooms(world)
        rooms.enter("alice", media_timeout=2.0)
        world.partition("alice", "server")
        error = failure(world, rooms, 2.0)
        assert error.detail == "no pair of candidates got through within 2 s"
        (pair,) = error.pairs
        assert pair.state == "in progress"
        assert pair.checks_sent >= 3


def test_the_server_does_not_listen(monkeypatch):
    """It never answers our offer, nor makes one of its own."""
    monkeypatch.setattr(ServerParticipant, "handle_offer", lambda *args: None)
    monkeypatch.setattr(ServerParticipant, "offer_subscriber", lambda *args: None)
    for single, detail in ((True, "the server did not answer our offer"), (False, "the server made no offer")):
        with World(1, link=Link(latency=0.02)) as world:
            rooms = Rooms(world)
            rooms.enter("alice", single_peer_connection=single)
            error = failure(world, rooms)
            assert error.detail == f"{detail} within 15 s"
            assert error.pairs == ()


def test_the_server_has_no_candidate_that_fits(monkeypatch):
    with World(1, link=Link(latency=0.02)) as world:
        rooms = Rooms(world)
        monkeypatch.setattr(rooms.server, "_candidate", host_candidate(("fd00::1", 7882)))
        rooms.enter("alice", media_timeout=2.0)
        world.partition("alice", "server")
        error = failure(world, rooms, 2.0)
        assert error.detail == "no candidate of the server fitted one of ours within 2 s"
        assert error.pairs == ()


def test_checks_pass_and_dtls_does_not(monkeypatch):
    receive = ServerParticipant.receive_datagram

    def only_checks(self, target, port, data, addr, now):
        if data[0] < 4:
            receive(self, target, port, data, addr, now)

    monkeypatch.setattr(ServerParticipant, "receive_datagram", only_checks)
    with World(1, link=Link(latency=0.02)) as world:
        rooms = Rooms(world)
        rooms.enter("alice", media_timeout=5.0)
        error = failure(world, rooms, 5.0)
        assert error.detail.startswith("a pair of candidates got through, but no DTLS")
        assert error.detail.endswith("within 5 s")
        (pair,) = error.pairs
        assert (pair.state, pair.selected) == ("succeeded", True)


def test_the_answer_cannot_be_used(monkeypatch):
    def nonsense(self, offer, now):
        self.send("answer", proto.rtc.SessionDescription(type="answer", sdp="nonsense", id=offer.id))

    monkeypatch.setattr(ServerParticipant, "handle_offer", nonsense)
    with World(1, link=Link(latency=0.02)) as world:
        rooms = Rooms(world)
        rooms.enter("alice")
        error = failure(world, rooms, 0.0)
        assert error.detail.startswith("negotiation: ")
