"""Who speaks, and who is told."""

from __future__ import annotations

from sansio import proto
from sansio.base.contract import INF
from sansio.sfu.speakers import SPEAKER_INTERVAL
from tests.unit.sfu.door import pair, receiving, sending

rtc, models = proto.rtc, proto.models


def test_speakers_are_told_to_those_who_hear_them():
    door, alice, bob = pair()
    deaf = door.enter("deaf", auto_subscribe=False)
    track = door.there("alice").tracks[door.publish(alice, "mic", "1")]
    door.publish(alice, "cam", "2", "video", [sending("audio", "1", "mic")])
    track.meter.level, track.meter._since = 0.3, door.now
    door.turn(SPEAKER_INTERVAL)
    for link in (alice, bob):
        (told,) = door.messages("speakers_changed", link)
        assert [(each.sid, each.level, each.active) for each in told.speakers] == [
            (door.there("alice").sid, 0.375, True)
        ]
    assert not door.messages("speakers_changed", deaf)
    door.turn(SPEAKER_INTERVAL)
    assert len(door.messages("speakers_changed", bob)) == 1
    track.set_muted(True, door.now)
    door.turn(SPEAKER_INTERVAL)
    told = door.messages("speakers_changed", bob)[-1]
    assert [(each.level, each.active) for each in told.speakers] == [(0.0, False)]
    door.offer(alice, receiving("audio", "1", "inactive"), sending("video", "2", "cam"))
    door.turn(SPEAKER_INTERVAL)
    assert door.server.room("room").speakers.due == INF


def test_somebody_counts_as_speaking_for_a_while():
    door, alice, bob = pair()
    speakers = door.server.room("room").speakers
    speakers.force(door.there("alice"), door.now + 1.0, door.now)
    door.turn(SPEAKER_INTERVAL)
    assert [each.active for each in door.messages("speakers_changed", bob)[-1].speakers] == [True]
    door.turn(1.0)
    assert [each.active for each in door.messages("speakers_changed", bob)[-1].speakers] == [False]
    assert speakers.due == INF
    speakers.force(door.there("alice"), door.now + 1.0, door.now)
    door.request(alice, leave=rtc.LeaveRequest())
    assert not speakers._forced
