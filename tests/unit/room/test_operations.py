"""What users do, where it is not told of with the part that does it."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import PENDING_REQUESTS, SIGNAL_QUEUE
from sansio.room.data_lanes import RELIABLE_BUDGET
from sansio.room.data_tracks import PUBLISH_TIMEOUT
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.subscribe import subscription
from sansio.room.track import TrackDescription
from sansio.types import RequestReason
from tests.unit.room.build import info, join, track, update
from tests.unit.room.desk import Desk
from tests.unit.room.studio import Studio

rtc, models = proto.rtc, proto.models
VOICE = TrackDescription(codec="opus")


def bob(version=1):
    data_track = models.DataTrackInfo(pub_handle=1, sid="DTR_b", name="b")
    return info(version=version, tracks=[track()], data_tracks=[data_track])


def choosy():
    """A session without a link whose queue of requests is full, in which much was chosen before; and what was."""
    studio = Studio(bob())
    engine = studio.engine
    _, own = engine.publish_data_track("numbers", studio.now)
    studio.turn()
    described = models.DataTrackInfo(pub_handle=own.handle, sid="DTR_1", name="numbers")
    studio.say(publish_data_track_response=rtc.PublishDataTrackResponse(info=described))
    participant = engine.state.remote_participants["bob"]
    (publication,) = participant.track_publications.values()
    stream = engine.subscribe_data_track(participant.data_tracks["DTR_b"], 4, studio.now)
    studio.closed()  # the link is away: what is asked for waits
    while True:
        try:
            engine.set_track_settings(publication, studio.now)
        except LocalProtocolError:
            break
    studio.turn()
    return studio, publication, own, stream


def test_what_a_full_signal_queue_does_not_take_has_not_happened():
    studio, publication, own, _ = choosy()
    engine, seen = studio.engine, len(studio.outputs)
    for operation, args in ((engine.set_subscribed, (publication, False)), (engine.unpublish_data_track, (own,))):
        with pytest.raises(LocalProtocolError, match="too many requests wait"):
            operation(*args, studio.now)
    studio.turn()
    assert len(studio.outputs) == seen
    assert publication.desired
    assert own.published
    assert engine.data_tracks.local == {own.handle: own}


def test_a_resume_with_a_full_signal_queue():
    """What the session itself has to say then waits until there is room."""
    studio, publication, _, stream = choosy()
    engine = studio.engine
    engine.unsubscribe_data_track(stream, studio.now)
    engine.unsubscribe_data_track(stream, studio.now)
    assert stream.ended == "unsubscribed"
    studio.wait(1)
    before = len(studio.sent())
    studio.opened()
    forgotten = models.DataTrackInfo(pub_handle=9)  # given up before the server has answered
    engine._subscriptions.unwelcome.append(subscription(publication, False))
    for message in (
        rtc.SignalResponse(reconnect=rtc.ReconnectResponse()),
        rtc.SignalResponse(publish_data_track_response=rtc.PublishDataTrackResponse(info=forgotten)),
        rtc.SignalResponse(update=update(bob(2))),
    ):
        engine.signal_received(studio.link, message.SerializeToString(), studio.now)
    studio.wait(1)
    assert not studio.sent("sync_state")[0].data_subscription.updates
    told = studio.sent()[before:]
    assert told[0] == "sync_state"
    assert told.count("track_setting") == SIGNAL_QUEUE + 1  # and once what it may have forgotten
    assert told.count("subscription") == 1
    (given_up,) = studio.sent("update_data_subscription")[1:]
    assert [(entry.track_sid, entry.subscribe) for entry in given_up.updates] == [("DTR_b", False)]
    before = len(studio.sent())
    studio.wait(1)
    assert "update_data_subscription" not in studio.sent()[before:]
    assert not studio.ended


def test_the_time_of_an_operation_does_not_go_back():
    studio = Studio()
    token, _ = studio.engine.publish_track(VOICE, studio.now - 1000.0)
    studio.turn()
    assert not studio.found(RequestFailed)
    studio.engine.cancel(token, studio.now - 1000.0)
    studio.wait(60)
    assert not studio.found(RequestFailed)


def test_a_data_track_that_a_new_session_does_not_take_is_given_up():
    studio = Studio()
    _, own = studio.engine.publish_data_track("numbers", studio.now)
    studio.turn()
    info = models.DataTrackInfo(pub_handle=own.handle, sid="DTR_1", name="numbers")
    studio.say(publish_data_track_response=rtc.PublishDataTrackResponse(info=info))
    assert own.published
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    studio.begin()
    studio.join()
    studio.connect()
    assert len(studio.sent("publish_data_track_request")) == 2
    assert list(studio.engine.data_tracks.local.values()) == [own]
    studio.wait(PUBLISH_TIMEOUT)
    assert not own.published
    assert not studio.engine.data_tracks.local


# ------------------------------------------------------------------ requests


def test_requests_are_sent_and_answered():
    desk = Desk().joined()
    engine = desk.engine
    tokens = [
        engine.set_name("Alice", desk.now),
        engine.set_metadata("about", desk.now),
        engine.set_attributes({"k": "v", "gone": ""}, desk.now),
    ]
    desk.turn()
    name, metadata, attributes = desk.sent("update_metadata")
    assert (name.name, metadata.metadata, dict(attributes.attributes)) == ("Alice", "about", {"k": "v", "gone": ""})
    assert [request.request_id for request in (name, metadata, attributes)] == tokens
    response = rtc.RequestResponse
    desk.say(request_response=response(request_id=tokens[1], reason=response.NOT_ALLOWED, message="no"))
    desk.say(request_response=response(request_id=tokens[0]))
    assert desk.found(RequestDone) == [RequestDone(tokens[0])]
    (failed,) = desk.found(RequestFailed)
    assert (failed.token, failed.error.reason) == (tokens[1], RequestReason.NOT_ALLOWED)
    assert "no" in str(failed.error)
    desk.wait(5.1)
    assert [(other.token, other.error.reason) for other in desk.found(RequestFailed)[1:]] == [
        (tokens[2], RequestReason.TIMED_OUT)
    ]


def test_a_cancelled_request_is_not_answered():
    desk = Desk().joined()
    token = desk.engine.set_name("Alice", desk.now)
    desk.engine.cancel(token, desk.now)
    desk.say(request_response=rtc.RequestResponse(request_id=token))
    desk.wait(6.0)
    assert not desk.found(RequestDone)
    assert not desk.found(RequestFailed)


def test_pending_requests_fail_when_the_session_ends():
    desk = Desk().joined()
    token = desk.engine.set_name("Alice", desk.now)
    desk.say(leave=rtc.LeaveRequest(reason=models.PARTICIPANT_REMOVED))
    (failed,) = desk.found(RequestFailed)
    assert (failed.token, failed.error.reason) == (token, RequestReason.ROOM_ENDED)
    assert "PARTICIPANT_REMOVED" in str(failed.error)


def test_requests_that_cannot_be_made_change_nothing():
    desk = Desk()
    desk.start()
    for misuse in (desk.engine.set_name, desk.engine.set_metadata):
        with pytest.raises(LocalProtocolError, match="not connected"):
            misuse("x", desk.now)
    desk.opened()
    desk.say(join=join())
    with pytest.raises(LocalProtocolError, match="empty"):
        desk.engine.set_name("", desk.now)
    with pytest.raises(LocalProtocolError, match="longer"):
        desk.engine.set_metadata("x" * (3 << 20), desk.now)
    with pytest.raises(LocalProtocolError, match="text"):
        desk.engine.set_attributes({"k": 5}, desk.now)
    assert desk.engine.set_name("first", desk.now) == 1
    for _ in range(PENDING_REQUESTS - 1):
        desk.engine.set_name("again", desk.now)
    with pytest.raises(LocalProtocolError, match=str(PENDING_REQUESTS)):
        desk.engine.set_name("too many", desk.now)
    desk.engine.stop(desk.now)
    with pytest.raises(LocalProtocolError, match="not connected"):
        desk.engine.set_name("x", desk.now)


# ------------------------------------------------------------------ data before media


def test_data_is_queued_between_the_join_and_the_channels_up_to_a_budget():
    desk = Desk()
    desk.start()
    with pytest.raises(LocalProtocolError, match="not connected"):
        desk.engine.publish_data(b"x", now=desk.now)
    desk.opened()
    desk.say(join=join())
    chunk = bytes(60_000)
    taken = 0
    while desk.engine.publish_data(chunk, now=desk.now):
        taken += len(chunk)
    assert RELIABLE_BUDGET <= taken < RELIABLE_BUDGET + len(chunk)
    assert desk.engine.publish_data(chunk, reliable=False, now=desk.now)
    assert desk.engine.publish_data(chunk, reliable=False, now=desk.now)
    assert not desk.engine.publish_data(b"", reliable=False, now=desk.now)
    desk.turn()
    assert desk.engine.read_data() is None


def test_what_is_too_large_is_refused_before_anything_changes():
    desk = Desk().joined()
    with pytest.raises(LocalProtocolError, match="64000"):
        desk.engine.publish_data(bytes(64_000), now=desk.now)
    with pytest.raises(LocalProtocolError, match="bytes"):
        desk.engine.publish_data("text", now=desk.now)
    assert desk.engine._parts.transports.accepted == 0
