"""What users do, where it is not told of with the part that does it."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base.errors import LocalProtocolError
from sansio.room.data_tracks import PUBLISH_TIMEOUT
from sansio.room.requests import RequestFailed
from sansio.room.track import TrackDescription
from tests.unit.room.build import info, track
from tests.unit.room.studio import Studio

rtc, models = proto.rtc, proto.models
VOICE = TrackDescription(codec="opus")


def test_what_a_full_signal_queue_does_not_take_has_not_happened():
    bob = info(tracks=[track()], data_tracks=[models.DataTrackInfo(pub_handle=1, sid="DTR_b", name="b")])
    studio = Studio(bob)
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
    seen = len(studio.outputs)
    for operation, args in (
        (engine.set_subscribed, (publication, False)),
        (engine.unpublish_data_track, (own,)),
        (engine.unsubscribe_data_track, (stream,)),
    ):
        with pytest.raises(LocalProtocolError, match="too many requests wait"):
            operation(*args, studio.now)
    studio.turn()
    assert len(studio.outputs) == seen
    assert publication.desired
    assert own.published
    assert engine.data_tracks.local == {own.handle: own}
    assert stream.ended == ""


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
