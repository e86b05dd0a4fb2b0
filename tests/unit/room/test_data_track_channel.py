"""The channel of data tracks, between clients of the small server."""

from __future__ import annotations

import pytest

from sansio.room.data_track_channel import DATA_TRACK, DATA_TRACK_BUDGET
from sansio.room.data_track_packets import DataTrackFrame
from sansio.testing.netem import Link
from tests.unit.room.party import Party

MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
PACKET = bytes(1000)


def channels(party):
    return party.engines["alice"]._parts.transports.publisher.channels


@MODES
def test_it_is_opened_when_it_is_first_wanted(single):
    with Party("alice", single_peer_connection=single) as party:
        transports = party.engines["alice"]._parts.transports
        party.wait(1.0)
        assert DATA_TRACK not in channels(party)
        assert not transports.send_data_track([PACKET], party.now)
        transports.want_data_tracks(party.now)
        number = channels(party)[DATA_TRACK]
        transports.want_data_tracks(party.now)
        assert channels(party)[DATA_TRACK] == number
        assert number in transports.publisher.data_tracks
        assert transports.send_data_track([PACKET], party.now)


@MODES
def test_what_is_wanted_before_the_others_exist_is_opened_with_them(single):
    with Party() as party:
        alice = party.enter("alice", single_peer_connection=single)
        alice._parts.transports.want_data_tracks(party.now)
        assert not channels(party)
        party.wait(1.0)
        assert list(channels(party)) == ["_reliable", "_lossy", DATA_TRACK]


def test_frames_are_refused_while_earlier_ones_wait():
    with Party("alice") as party:
        party.wait(1.0)
        party.world.set_link("alice", "server", Link(latency=0.02, rate=1_000_000))
        transports = party.engines["alice"]._parts.transports
        transports.want_data_tracks(party.now)
        sent = 0
        while transports.send_data_track([PACKET] * 10, party.now):
            sent += 10 * len(PACKET)
        assert DATA_TRACK_BUDGET < sent <= DATA_TRACK_BUDGET + 20 * len(PACKET)
        party.world.poke("alice")
        party.wait(5.0)
        assert transports.send_data_track([PACKET], party.now)


def test_nothing_is_sent_once_the_association_is_over():
    with Party("alice") as party:
        party.wait(1.0)
        transports = party.engines["alice"]._parts.transports
        transports.want_data_tracks(party.now)
        transports.publisher.connection.transport.association.abort(party.now)
        assert not transports.send_data_track([PACKET], party.now)
        party.stop("alice")
        party.run(lambda: party.engines["alice"].closed)
        assert not transports.send_data_track([PACKET], party.now)


def test_packets_of_others_are_handed_on_and_leave_the_window_open():
    with Party("alice", "bob") as party:
        alice, bob = party.engines["alice"], party.engines["bob"]
        _, mine = alice.publish_data_track("pos", party.now)
        party.world.poke("alice")
        party.run(lambda: bob.state.remote_participants["alice"].data_tracks)
        (theirs,) = bob.state.remote_participants["alice"].data_tracks.values()
        stream = bob.subscribe_data_track(theirs, 8, party.now)
        party.world.poke("bob")
        party.wait(1.0)
        assert alice.push_data_track(mine, DataTrackFrame(b"here"), party.now)
        party.world.poke("alice")
        party.wait(1.0)
        assert stream.read() == DataTrackFrame(b"here")
        assert party.transport("bob").association.receiver.held == 0
