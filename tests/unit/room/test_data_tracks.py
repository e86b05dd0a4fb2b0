"""Data tracks of a session: asked for, told of, lost and found again."""

from __future__ import annotations

from collections import deque

import pytest

from sansio import events, proto
from sansio.base import limits
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.room.data_track_packets import DataTrackFrame, encode_frame
from sansio.room.data_tracks import PUBLISH_TIMEOUT, RETURN_TIME, SUBSCRIBE_TIMEOUT, DataTrackReadable, DataTracks
from sansio.room.requests import RequestDone, RequestFailed, Requests
from sansio.types import DisconnectReason, RequestReason

from .build import DISCONNECTED, Room, info, join

models, rtc = proto.models, proto.rtc


def described(sid="DTR_1", name="pos", handle=1, **fields):
    return models.DataTrackInfo(sid=sid, name=name, pub_handle=handle, **fields)


class Desk:
    """A room, its data tracks, and what they ask of the server."""

    def __init__(self, *tracks):
        self.room = Room(info("bob", "PA_bob", data_tracks=list(tracks)))
        self.requests = Requests(self.room._outbox)
        self.sent = []
        self.outbox = self.room._outbox
        self.tracks = DataTracks(
            self.outbox, self.requests, Entropy(b"x"), lambda kind, message, now: self.sent.append((kind, message))
        )
        self.now = 0.0
        self.room.on_data_track = self.tracks.appeared
        self.room.on_data_track_gone = lambda track, reason: self.tracks.disappeared(track, reason, self.now)
        self.room.on_own_data_tracks = self.tracks.handle_own
        self.version = 1

    def track(self, sid="DTR_1"):
        return self.room.remote_participants["bob"].data_tracks[sid]

    def tell(self, *tracks, identity="bob", sid="PA_bob", **fields):
        """News of a participant."""
        self.version += 1
        seen = self.room.update(info(identity, sid, self.version, data_tracks=list(tracks), **fields))
        self.tracks.settle(self.now)
        return seen

    def handles(self, **handles):
        """What the server says of handles: sid to handle."""
        message = rtc.DataTrackSubscriberHandles()
        for sid, handle in handles.items():
            message.sub_handles[handle].track_sid = sid
        self.tracks.handle_handles(message)

    def packet(self, handle=48, frame=0, payload=b"x"):
        for data in encode_frame(handle, frame, frame, 0, payload, None):
            self.tracks.handle_packet(data)

    def take(self):
        """What was asked of the server since the last call: sid and whether it is wanted."""
        asked = [(update.track_sid, update.subscribe) for _, message in self.sent for update in message.updates]
        self.sent.clear()
        return asked

    def full(self):
        """No request can be sent any more; returns what sends them else."""

        def refuse(kind, message, now):
            raise LocalProtocolError("the queue is full")

        send, self.tracks._send = self.tracks._send, refuse
        return send

    def told(self):
        found = [output.stream for output in self.outbox if isinstance(output, DataTrackReadable)]
        self.outbox.clear()
        return found


# ------------------------------------------------------------------ those of others


def test_tracks_come_and_go_with_events():
    desk = Desk(described())
    bob, track = desk.room.remote_participants["bob"], desk.track()
    assert (track.sid, track.name, track.handle, track.publisher_identity) == ("DTR_1", "pos", 1, "bob")
    assert "'pos'" in repr(track)
    assert not track.uses_e2ee
    (event,) = desk.tell(described(), described("DTR_2", "secret", 2, encryption=1))
    second = desk.track("DTR_2")
    assert event == events.DataTrackPublished(second, bob)
    assert event.args() == (second,)
    assert second.uses_e2ee
    (event,) = desk.tell(described("DTR_2", "secret", 2, encryption=1))
    assert event == events.DataTrackUnpublished("DTR_1", track, bob)
    assert event.args() == ("DTR_1",)
    assert not track.published
    seen = desk.tell(state=DISCONNECTED)
    assert [type(event) for event in seen] == [events.DataTrackUnpublished, events.ParticipantDisconnected]


def test_tracks_of_one_participant_are_limited(monkeypatch):
    monkeypatch.setattr(limits, "DATA_TRACKS_PER_PARTICIPANT", 2)
    desk = Desk(*[described(f"DTR_{number}", str(number), number) for number in range(1, 5)])
    assert list(desk.room.remote_participants["bob"].data_tracks) == ["DTR_1", "DTR_2"]
    assert desk.room.counters["too_many_data_tracks"] == 1


def test_subscribed_read_and_given_up():
    desk = Desk(described())
    first = desk.tracks.subscribe(desk.track(), 8, 0.0)
    second = desk.tracks.subscribe(desk.track(), 8, 0.0)
    assert desk.take() == [("DTR_1", True)]
    assert desk.tracks.due == desk.tracks.advance(0.0) == SUBSCRIBE_TIMEOUT
    desk.handles(DTR_1=48)
    assert desk.tracks.advance(0.0) == INF
    desk.packet(48, 0, b"one")
    desk.packet(48, 1, b"two")
    assert desk.told() == [first, second]
    assert [first.read() for _ in range(3)] == [DataTrackFrame(b"one"), DataTrackFrame(b"two"), None]
    desk.packet(48, 2)
    desk.packet(48, 3, bytes(20_000))
    assert desk.told() == [first]
    desk.tracks.unsubscribe(first, 1.0)
    assert desk.told() == []  # it was told before
    assert (first.ended, first.read()) == ("unsubscribed", None)
    desk.tracks.unsubscribe(first, 1.0)
    assert desk.take() == []
    desk.tracks.unsubscribe(second, 1.0)
    assert desk.take() == [("DTR_1", False)]
    desk.packet(48, 4)
    assert desk.told() == []


def test_a_reader_that_is_slow_loses_the_oldest():
    desk = Desk(described())
    stream = desk.tracks.subscribe(desk.track(), 2, 0.0)
    desk.handles(DTR_1=48)
    for number in (0, 1, 4, 5, 6):
        desk.packet(48, number, b"%d" % number)
    assert stream.dropped == 3
    frames = [stream.read(), stream.read()]
    assert [(frame.payload, frame.lost) for frame in frames] == [(b"5", 5), (b"6", 0)]
    assert stream.read() is None


def test_what_has_no_place(monkeypatch):
    desk = Desk(described())
    track = desk.track()
    with pytest.raises(LocalProtocolError, match="at least one frame"):
        desk.tracks.subscribe(track, 0, 0.0)
    desk.packet(48)
    desk.tracks.handle_packet(b"nonsense")
    desk.tracks.subscribe(track, 1, 0.0)
    desk.handles(DTR_1=48, DTR_other=49)
    block = b"\0\4\1\x0d" + bytes(16)
    desk.tracks.handle_packet(bytes((0x1C, 0, 0, 48)) + bytes(8) + block)
    assert desk.tracks.counters.snapshot() == {
        "data_track_unhandled": 1,
        "data_track_undecodable": 1,
        "data_track_unknown": 1,
        "data_track_encrypted": 1,
    }
    monkeypatch.setattr(limits, "DATA_TRACK_STREAMS", 1)
    with pytest.raises(LocalProtocolError, match="1 subscriptions"):
        desk.tracks.subscribe(track, 1, 0.0)
    desk.tell()
    with pytest.raises(LocalProtocolError, match="not published any more"):
        desk.tracks.subscribe(track, 1, 0.0)


def test_a_track_that_does_not_come():
    desk = Desk(described())
    stream = desk.tracks.subscribe(desk.track(), 1, 0.0)
    assert desk.tracks.advance(SUBSCRIBE_TIMEOUT) == INF
    assert stream.ended == "refused"
    assert desk.told() == [stream]
    assert stream.read() is None
    desk.take()
    again = desk.tracks.subscribe(desk.track(), 1, 20.0)
    assert desk.take() == [("DTR_1", True)]
    assert not again.ended


def test_the_end_of_a_track():
    desk = Desk(described())
    stream = desk.tracks.subscribe(desk.track(), 4, 0.0)
    desk.handles(DTR_1=48)
    desk.packet()
    desk.tell()
    assert stream.ended == "unpublished"
    assert stream.read() == DataTrackFrame(b"x")
    assert stream.read() is None


@pytest.mark.parametrize("reason", [1, 4])
def test_a_publisher_that_leaves_for_good(reason):
    desk = Desk(described())
    stream = desk.tracks.subscribe(desk.track(), 4, 0.0)
    desk.tell(state=DISCONNECTED, disconnect_reason=reason)
    assert stream.ended == "participant left"


def test_a_publisher_that_comes_back():
    desk = Desk(described(), described("DTR_2", "other", 2))
    stream = desk.tracks.subscribe(desk.track(), 4, 0.0)
    other = desk.tracks.subscribe(desk.track("DTR_2"), 4, 0.0)
    desk.handles(DTR_1=48, DTR_2=49)
    desk.packet(48, 7)
    desk.take()
    desk.now = 1.0
    desk.tell(state=DISCONNECTED, disconnect_reason=2)
    assert not stream.ended
    assert desk.tracks.advance(1.0) == 1.0 + RETURN_TIME
    desk.tell(identity="bob", sid="PA_new")
    desk.now = 2.0
    desk.tell(described("DTR_9"), identity="bob", sid="PA_new")
    assert desk.take() == [("DTR_9", True)]
    desk.tell(described("DTR_9"), identity="bob", sid="PA_new")
    assert desk.take() == []
    assert stream.track is desk.track("DTR_9")
    desk.handles(DTR_9=50)
    desk.packet(50, 0, b"new")
    assert [stream.read(), stream.read()] == [DataTrackFrame(b"x"), DataTrackFrame(b"new")]
    assert desk.tracks.advance(1.0 + RETURN_TIME) == INF
    assert other.ended == "participant left"


def test_subscriptions_given_up_while_too_many_requests_wait():
    desk = Desk(described(), described("DTR_2", "other", 2), described("DTR_3", "third", 3))
    streams = [desk.tracks.subscribe(desk.track(f"DTR_{number}"), 4, 0.0) for number in (1, 2, 3)]
    desk.take()
    send = desk.full()
    for stream in streams:
        desk.tracks.unsubscribe(stream, 1.0)
        assert stream.ended == "unsubscribed"
    assert desk.told() == streams
    with pytest.raises(LocalProtocolError, match="full"):
        desk.tracks.subscribe(desk.track(), 4, 1.0)
    desk.handles(DTR_1=48, DTR_2=49)
    assert desk.tracks.counters["data_track_unknown"] == 2
    desk.tracks._send = send
    again = desk.tracks.subscribe(desk.track(), 4, 1.0)  # it is wanted after all
    assert desk.take() == [("DTR_1", True)]
    desk.tell(described(), described("DTR_2", "other", 2))  # the third has gone
    assert desk.take() == [("DTR_2", False)]
    desk.tell(described(), described("DTR_2", "other", 2))
    assert desk.take() == []
    # a new session knows nothing of what was not wanted in the old one
    desk.full()
    desk.tracks.unsubscribe(again, 2.0)
    desk.tracks.suspend(2.0)
    desk.tracks._send = send
    desk.tracks.rejoined(2.0)
    assert desk.take() == []


def test_a_publisher_comes_back_while_too_many_requests_wait():
    desk = Desk(described())
    stream = desk.tracks.subscribe(desk.track(), 4, 0.0)
    desk.tell(state=DISCONNECTED)
    desk.take()
    send = desk.full()
    desk.tell(described("DTR_9"), sid="PA_new")
    desk.tracks._send = send
    assert desk.take() == []
    desk.tracks.settle(1.0)
    assert desk.take() == [("DTR_9", True)]
    assert desk.tracks.advance(1.0) == 1.0 + SUBSCRIBE_TIMEOUT
    assert stream.ended == ""


def test_subscriptions_given_up_while_a_publisher_is_away(monkeypatch):
    desk = Desk(described(), described("DTR_2", "other", 2))
    first = desk.tracks.subscribe(desk.track(), 4, 0.0)
    second = desk.tracks.subscribe(desk.track("DTR_2"), 4, 0.0)
    monkeypatch.setattr(limits, "DATA_TRACKS_AWAITED", 1)
    desk.tell(state=DISCONNECTED)
    assert (first.ended, second.ended) == ("", "participant left")
    desk.tracks._waiting["somebody", 1, "else"] = ([], None, 1.0)
    desk.take()
    desk.tracks.unsubscribe(first, 1.0)
    assert first.ended == "unsubscribed"
    desk.tell(described(), identity="bob", sid="PA_new")
    assert desk.take() == []  # nobody wants it any more
    third = desk.tracks.subscribe(desk.track(), 4, 1.0)
    desk.tracks.unsubscribe(third, 1.0)
    desk.tell(identity="bob", sid="PA_new", state=DISCONNECTED)
    assert desk.tracks.advance(99.0) == INF


def test_two_tracks_of_one_name_and_handle_cannot_both_come_back():
    desk = Desk(described(), described("DTR_2"))
    first = desk.tracks.subscribe(desk.track(), 4, 0.0)
    second = desk.tracks.subscribe(desk.track("DTR_2"), 4, 0.0)
    desk.tell(state=DISCONNECTED)
    assert (first.ended, second.ended) == ("", "participant left")
    assert desk.tracks.advance(99.0) == INF
    assert first.ended == "participant left"


# ------------------------------------------------------------------ ours


def test_published_sent_and_ended():
    desk = Desk()
    token, track = desk.tracks.publish("pos", 0.0)
    ((kind, request),) = desk.sent
    assert (kind, request.pub_handle, request.name) == ("publish_data_track_request", 1, "pos")
    assert not track.published
    desk.tracks.handle_published(described(), 0.0)
    assert desk.outbox.popleft() == RequestDone(token, track)
    assert (track.sid, track.published) == ("DTR_1", True)
    assert "DTR_1" in repr(track)
    packets = desk.tracks.encode(track, DataTrackFrame(bytes(20_000)), 1.0)
    desk.tracks.sent(track, len(packets))
    (last,) = desk.tracks.encode(track, DataTrackFrame(b"x"), 1.5)
    assert last[2:8] == bytes((0, 1, 0, 2, 0, 1))
    assert int.from_bytes(last[8:12], "big") - int.from_bytes(packets[0][8:12], "big") in (45_000, 45_000 - 2**32)
    desk.sent.clear()
    desk.tracks.unpublish(track, 2.0)
    desk.tracks.unpublish(track, 2.0)
    assert [(kind, request.pub_handle) for kind, request in desk.sent] == [("unpublish_data_track_request", 1)]
    assert not track.published
    desk.tracks.handle_unpublished(described())
    assert not desk.tracks.local


@pytest.mark.parametrize("name", ["", 5, "x" * 257, "ä" * 129])
def test_names_that_cannot_be(name):
    with pytest.raises(LocalProtocolError, match="name"):
        Desk().tracks.publish(name, 0.0)


def test_more_that_cannot_be_published(monkeypatch):
    desk = Desk()
    desk.tracks.publish("pos", 0.0)
    with pytest.raises(LocalProtocolError, match="already"):
        desk.tracks.publish("pos", 0.0)
    with pytest.raises(LocalProtocolError, match="not the name"):
        desk.tracks.publish("\ud800", 0.0)
    monkeypatch.setattr(limits, "LOCAL_DATA_TRACKS", 1)
    with pytest.raises(LocalProtocolError, match="1 data tracks"):
        desk.tracks.publish("other", 0.0)


def test_a_request_that_cannot_be_sent():
    desk = Desk()
    desk.full()
    with pytest.raises(LocalProtocolError, match="full"):
        desk.tracks.publish("pos", 0.0)
    assert not desk.tracks.local
    assert len(desk.requests) == 0


def test_handles_go_round_and_pass_over_those_in_use():
    desk = Desk()
    desk.tracks.publish("one", 0.0)
    desk.tracks._last_handle = 0xFFFF
    assert desk.tracks.publish("two", 0.0)[1].handle == 2


def test_refused_or_forgotten():
    desk = Desk()
    token, _ = desk.tracks.publish("pos", 0.0)
    desk.requests.handle_response(
        rtc.RequestResponse(reason=2, publish_data_track=rtc.PublishDataTrackRequest(pub_handle=1)), 0.0
    )
    desk.tracks.sweep(0.0)
    (failed,) = desk.outbox
    assert isinstance(failed, RequestFailed)
    assert not desk.tracks.local
    token, track = desk.tracks.publish("pos", 0.0)
    assert desk.requests.advance(PUBLISH_TIMEOUT) == INF
    assert desk.outbox[-1].error.reason is RequestReason.TIMED_OUT
    desk.tracks.sweep(0.0)
    desk.sent.clear()
    desk.tracks.handle_published(described(handle=track.handle), 0.0)  # late
    assert [kind for kind, _ in desk.sent] == ["unpublish_data_track_request"]
    token, track = desk.tracks.publish("pos", 0.0)
    desk.requests.cancel(token)
    desk.tracks.cancel(token, 0.0)
    desk.tracks.cancel(token, 0.0)
    assert not desk.tracks.local
    desk.tracks.unpublish(track, 0.0)
    _, track = desk.tracks.publish("pos", 0.0)
    desk.sent.clear()
    desk.tracks.unpublish(track, 0.0)  # the server's answer is still to come
    assert not desk.sent
    assert desk.tracks.counters.snapshot() == {"data_track_unwanted": 1}


def test_the_server_ends_a_track():
    desk = Desk()
    _, track = desk.tracks.publish("pos", 0.0)
    desk.tracks.handle_published(described(), 0.0)
    own = {"identity": "alice", "sid": "PA_alice"}
    desk.tell(**own)  # an older list, which does not have it yet
    assert track.published
    desk.tell(described(), **own)
    assert track.published
    desk.tell(**own)
    assert not track.published
    _, track = desk.tracks.publish("pos", 0.0)
    desk.tracks.handle_published(described("DTR_2", handle=2), 0.0)
    desk.tracks.handle_unpublished(described("DTR_1", handle=2))
    assert track.published
    desk.tracks.handle_unpublished(described("DTR_2", handle=2))
    assert not track.published


def test_a_new_session_gets_everything_again():
    desk = Desk(described())
    _, track = desk.tracks.publish("mine", 0.0)
    desk.tracks.handle_published(described("DTR_m", "mine"), 0.0)
    desk.tracks.publish("waits", 0.0)
    stream = desk.tracks.subscribe(desk.track(), 4, 0.0)
    desk.handles(DTR_1=48)
    state = rtc.SyncState()
    desk.tracks.sync(state)
    assert [entry.info.sid for entry in state.publish_data_tracks] == ["DTR_m"]
    assert [update.track_sid for update in state.data_subscription.updates] == ["DTR_1"]
    assert desk.tracks.active
    desk.sent.clear()
    desk.requests.fail_all(DisconnectReason.STATE_MISMATCH)
    desk.tracks.suspend(1.0)
    assert not track.published
    desk.packet(48)
    assert stream.read() is None
    desk.room.apply_join(join(info("bob", "PA_bob", data_tracks=[described()])))
    desk.tracks.rejoined(2.0)
    assert [kind for kind, _ in desk.sent] == ["publish_data_track_request", "update_data_subscription"]
    assert desk.sent[0][1].pub_handle == track.handle
    desk.tracks.handle_published(described("DTR_n", "mine"), 2.0)
    assert (track.sid, track.published) == ("DTR_n", True)
    desk.handles(DTR_1=7)
    desk.packet(7, 3, b"again")
    assert stream.read() == DataTrackFrame(b"again")
    desk.outbox.clear()
    desk.tracks.end()
    assert stream.ended == "room ended"
    assert desk.told() == []  # it was told of the frame
    assert not track.published
    assert not desk.tracks.active


def test_the_end_while_publishers_are_away():
    desk = Desk(described())
    stream = desk.tracks.subscribe(desk.track(), 4, 0.0)
    desk.tell(state=DISCONNECTED)
    desk.told()
    desk.tracks.end()
    assert stream.ended == "room ended"
    assert desk.told() == [stream]
    assert desk.tracks.advance(1.0) == INF


def test_nothing_is_told_to_nobody():
    assert DataTracks(deque(), Requests(deque()), Entropy(b"y"), lambda *args: None).advance(0.0) == INF
