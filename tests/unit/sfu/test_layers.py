"""Layers that nobody needs."""

from __future__ import annotations

from sansio import proto
from sansio.sfu.layers import PAUSE_DELAY
from tests.unit.sfu.door import Door, pair, sending

rtc, models = proto.rtc, proto.models


def test_a_publisher_that_leaves_is_told_nothing_more():
    door, alice, bob = pair()
    sid = door.publish(alice, "cam", "1", "video")
    track = door.there("alice").tracks[sid]
    door.request(bob, subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=False))
    room = door.server.room("room")
    assert room.layers._pauses
    room.layers._pauses["TR_gone"] = door.now + 5.0
    door.request(alice, leave=rtc.LeaveRequest())
    assert list(room.layers._pauses) == ["TR_gone"]
    room.layers._tell(track, (True, True, True))
    door.turn(5.0)
    assert not room.layers._pauses
    assert len(door.messages("subscribed_quality_update", alice)) == 1


def test_a_wish_that_comes_back_in_time_pauses_nothing():
    door, alice, bob = pair()
    sid = door.publish(alice, "cam", "1", "video")
    for wanted in (False, True):
        door.request(bob, subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=wanted))
    door.turn(5.0)
    assert len(door.messages("subscribed_quality_update", alice)) == 1


def test_nobody_needs_layers_of_a_track_that_nobody_takes():
    door = Door()
    alice = door.enter("alice")
    door.publish(alice, "cam", "1", "video")
    door.turn(10.0)
    assert not door.messages("subscribed_quality_update", alice)


def test_layers_are_told_at_once_when_they_are_needed_and_late_when_not():
    door, alice, bob = pair()
    tracks = [door.publish(alice, "cam", "1", "video")]
    tracks.append(door.publish(alice, "mic", "2", others=[sending("video", "1", "cam")]))

    def told():
        found = door.messages("subscribed_quality_update", alice)
        return [[layer.enabled for layer in each.subscribed_qualities] for each in found]

    assert told() == [[True, True, True]]
    for wanted in (False, True):
        door.request(bob, subscription=rtc.UpdateSubscription(track_sids=tracks, subscribe=wanted))
        door.turn(PAUSE_DELAY)
    assert told() == [[True, True, True], [False, False, False], [True, True, True]]
