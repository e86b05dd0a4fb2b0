"""What users do, where it is not told of with the part that does it."""

from __future__ import annotations

from sansio import proto
from sansio.room.data_tracks import PUBLISH_TIMEOUT
from tests.unit.room.studio import Studio

rtc, models = proto.rtc, proto.models


def test_a_data_track_that_a_new_session_does_not_take_is_given_up():
    studio = Studio()
    _, track = studio.engine.publish_data_track("numbers", studio.now)
    studio.turn()
    info = models.DataTrackInfo(pub_handle=track.handle, sid="DTR_1", name="numbers")
    studio.say(publish_data_track_response=rtc.PublishDataTrackResponse(info=info))
    assert track.published
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    studio.begin()
    studio.join()
    studio.connect()
    assert len(studio.sent("publish_data_track_request")) == 2
    assert list(studio.engine.data_tracks.local.values()) == [track]
    studio.wait(PUBLISH_TIMEOUT)
    assert not track.published
    assert not studio.engine.data_tracks.local
