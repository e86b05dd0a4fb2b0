"""Data tracks through the development server, from one engine to others."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base import limits
from sansio.base.errors import LocalProtocolError
from sansio.events import DataTrackPublished, DataTrackUnpublished, ParticipantActive, Reconnected
from sansio.room.data_track_packets import DataTrackFrame
from sansio.room.data_tracks import DataTrackReadable
from sansio.room.requests import RequestDone, RequestFailed
from sansio.types import RequestReason, Scenario
from tests.unit.room.party import Party

rtc = proto.rtc
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


class Tracks(Party):
    """With short ways to publish and subscribe."""

    def publish(self, name, track):
        token, core = self.engines[name].publish_data_track(track, self.now)
        self.world.poke(name)
        self.run(lambda: any(done.token == token for done in self.found(name, RequestDone)))
        return core

    def subscribe(self, name, track="pos", capacity=64):
        engine = self.engines[name]
        self.run(lambda: self.find(name, track))
        stream = engine.subscribe_data_track(self.find(name, track), capacity, self.now)
        self.world.poke(name)
        self.wait(1.0)
        return stream

    def find(self, name, track):
        for other in self.engines[name].state.remote_participants.values():
            for found in other.data_tracks.values():
                if found.name == track:
                    return found
        return None

    def push(self, name, core, payload, stamp=None):
        sent = self.engines[name].push_data_track(core, DataTrackFrame(payload, stamp), self.now)
        self.world.poke(name)
        return sent

    def refused(self, name, request):
        """The reason for which the server refuses a request that no engine of ours would make."""
        seen = []
        self.tamper(name, lambda response: seen.append(response.request_response.reason))
        self.engines[name]._link.send(*request, self.now)
        self.world.poke(name)
        self.wait(1.0)
        return [RequestReason(reason) for reason in seen if reason]


def read(stream):
    frames = []
    while (frame := stream.read()) is not None:
        frames.append(frame)
    return frames


@MODES
def test_frames_of_every_size_reach_every_subscriber(single):
    with Tracks("alice", "bob", "carol", single_peer_connection=single) as party:
        core = party.publish("alice", "pos")
        assert core.published
        assert core.sid.startswith("DTR_")
        (event,) = party.found("bob", DataTrackPublished)
        assert (event.track.name, event.track.publisher_identity) == ("pos", "alice")
        first, second = party.subscribe("bob"), party.subscribe("carol")
        again = party.engines["bob"].subscribe_data_track(event.track, 1, party.now)
        payloads = [b"", b"x", bytes(1000), bytes(range(256)) * 200]
        for number, payload in enumerate(payloads):
            assert party.push("alice", core, payload, number)
            party.wait(0.5)
        for stream in (first, second):
            assert read(stream) == [DataTrackFrame(payload, number) for number, payload in enumerate(payloads)]
        assert [frame.lost for frame in read(again)] == [3]
        assert {output.stream for output in party.found("bob", DataTrackReadable)} == {first, again}
        party.engines["bob"].unsubscribe_data_track(first, party.now)
        party.engines["bob"].unsubscribe_data_track(again, party.now)
        party.world.poke("bob")
        party.wait(1.0)
        party.push("alice", core, b"y")
        party.wait(1.0)
        assert read(second) == [DataTrackFrame(b"y")]
        party.engines["alice"].unpublish_data_track(core, party.now)
        party.world.poke("alice")
        party.run(lambda: party.found("carol", DataTrackUnpublished))
        assert second.ended == "unpublished"
        assert not party.push("alice", core, b"z")
        assert party.engines["alice"].diagnostics()["data_tracks"] == {}


def test_what_the_server_refuses():
    with Tracks("alice", "bob") as party:
        core = party.publish("alice", "pos")
        publish = "publish_data_track_request"
        for reason, request in (
            (RequestReason.INVALID_HANDLE, {"pub_handle": 70_000, "name": "x"}),
            (RequestReason.INVALID_NAME, {"pub_handle": 2}),
            (RequestReason.DUPLICATE_HANDLE, {"pub_handle": core.handle, "name": "x"}),
            (RequestReason.DUPLICATE_NAME, {"pub_handle": 2, "name": "pos"}),
        ):
            assert party.refused("alice", (publish, rtc.PublishDataTrackRequest(**request))) == [reason]
        unknown = rtc.UnpublishDataTrackRequest(pub_handle=9)
        assert party.refused("alice", ("unpublish_data_track_request", unknown)) == [RequestReason.INVALID_HANDLE]
        update = rtc.UpdateDataSubscription()
        update.updates.add(track_sid="DTR_nothing", subscribe=True)
        party.engines["bob"]._link.send("update_data_subscription", update, party.now)
        party.world.poke("bob")
        party.wait(1.0)
        party.engines["alice"]._parts.transports.send_data_track([b"short", bytes(12)], party.now)
        party.world.poke("alice")
        party.wait(1.0)
        counted = party.rooms.server.counters.snapshot()
        assert (counted["data_subscription_ignored"], counted["data_track_unknown"]) == (1, 2)


def test_who_may_not_publish_data():
    with Tracks() as party:
        token = party.rooms.token("alice", can_publish_data=False)
        alice = party.enter("alice", token=token)
        party.run(lambda: party.found("alice", ParticipantActive) or alice.state.connection.name == "CONNECTED")
        party.wait(1.0)
        alice.publish_data_track("pos", party.now)
        party.world.poke("alice")
        party.run(lambda: party.found("alice", RequestFailed))
        assert party.found("alice", RequestFailed)[0].error.reason is RequestReason.NOT_ALLOWED
        assert not alice.data_tracks.local


def test_the_servers_limits(monkeypatch):
    monkeypatch.setattr("sansio.sfu.data_tracks.SFU_DATA_TRACKS", 2)
    monkeypatch.setattr("sansio.sfu.data_tracks.SFU_DATA_SUBSCRIPTIONS", 1)
    with Tracks("alice", "bob") as party:
        for name in ("one", "two"):
            party.publish("alice", name)
        third = rtc.PublishDataTrackRequest(pub_handle=9, name="three")
        assert party.refused("alice", ("publish_data_track_request", third)) == [RequestReason.LIMIT_EXCEEDED]
        first, second = party.subscribe("bob", "one"), party.subscribe("bob", "two")
        party.wait(12.0)
        assert (first.ended, second.ended) == ("", "refused")


def test_handles_that_are_in_use_are_passed_over():
    with Tracks("alice", "bob") as party:
        party.publish("alice", "one")
        core = party.publish("alice", "two")
        party.subscribe("bob", "one")
        tracks = party.rooms.server._rooms["room"].data_tracks
        tracks._last = 0xFFFF
        stream = party.subscribe("bob", "two")
        assert list(tracks._subscriptions[party.there("bob")]) == [1, 2]
        party.push("alice", core, b"x")
        party.wait(1.0)
        assert read(stream) == [DataTrackFrame(b"x")]


def test_frames_that_cannot_be_delivered_are_dropped():
    with Tracks("alice", "bob") as party:
        core = party.publish("alice", "pos")
        stream = party.subscribe("bob")
        there = party.there("bob")
        channel = there.peers[-1].channels.pop("_data_track")
        party.push("alice", core, b"lost")
        party.wait(1.0)
        there.peers[-1].channels["_data_track"] = channel
        party.world.partition("bob", "server")
        for _ in range(30):
            party.push("alice", core, bytes(15_000))
            party.wait(0.05)
        assert there.counters["frame_undeliverable"] == 1
        assert there.counters["frame_dropped"] > 5
        assert read(stream) == []


def test_a_publisher_does_not_wait_for_the_network():
    with Tracks("alice", "bob") as party:
        core = party.publish("alice", "pos")
        party.world.partition("alice", "server")
        assert [party.push("alice", core, bytes(100_000)) for _ in range(4)] == [True, True, True, False]
        with pytest.raises(LocalProtocolError, match="put together again"):
            party.push("alice", core, bytes(limits.DATA_TRACK_PACKETS * 16_000))


@MODES
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_new_session_of_either_side(single, who):
    with Tracks("alice", "bob", single_peer_connection=single) as party:
        core = party.publish("alice", "pos")
        stream = party.subscribe("bob")
        party.push("alice", core, b"before")
        party.wait(1.0)
        party.engines[who].simulate(Scenario.FULL_RECONNECT, party.now)
        party.world.poke(who)
        party.run(lambda: party.found(who, Reconnected))
        party.wait(3.0)
        assert core.published
        assert party.push("alice", core, b"after")
        party.wait(1.0)
        assert [frame.payload for frame in read(stream)] == [b"before", b"after"]
        assert not stream.ended


def test_a_resume_keeps_everything():
    with Tracks("alice", "bob") as party:
        core = party.publish("alice", "pos")
        stream = party.subscribe("bob")
        for name in ("alice", "bob"):
            party.engines[name].simulate(Scenario.SIGNAL_RECONNECT, party.now)
            party.world.poke(name)
            party.run(lambda name=name: party.found(name, Reconnected))
        party.push("alice", core, b"after")
        party.wait(1.0)
        assert read(stream) == [DataTrackFrame(b"after")]


def test_who_leaves_takes_tracks_and_subscriptions_along():
    with Tracks("alice", "bob") as party:
        party.publish("alice", "pos")
        mine = party.publish("bob", "pos of bob")
        stream = party.subscribe("bob")
        party.subscribe("alice", "pos of bob")
        party.stop("alice")
        party.run(lambda: party.found("bob", DataTrackUnpublished))
        assert stream.ended == "participant left"
        tracks = party.rooms.server._rooms["room"].data_tracks
        assert len(tracks._tracks) == 1
        assert party.push("bob", mine, b"to nobody")
        party.wait(1.0)
        party.stop("bob")
        party.run(lambda: party.engines["bob"].closed)
        assert not party.engines["bob"]._parts.transports.send_data_track([bytes(12)], party.now)
        party.engines["bob"].unsubscribe_data_track(stream, party.now)
        assert not party.push("bob", mine, b"to nobody")
        with pytest.raises(LocalProtocolError, match="not connected"):
            party.engines["bob"].publish_data_track("x", party.now)
