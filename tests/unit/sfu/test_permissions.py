"""What a participant may do."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.sfu.permissions import may_publish, update_permission
from sansio.sfu.token import Claims
from tests.unit.sfu.door import Door, receiving, sending

rtc, models = proto.rtc, proto.models


@pytest.mark.parametrize(
    ("claims", "source", "may"),
    [
        ({}, models.CAMERA, True),
        ({"can_publish": False}, models.CAMERA, False),
        ({"can_publish_sources": ("camera",)}, models.CAMERA, True),
        ({"can_publish_sources": ("camera", "nonsense")}, models.MICROPHONE, False),
        ({"can_publish": False, "can_publish_sources": ("camera",)}, models.CAMERA, False),
    ],
)
def test_tracks_may_be_published_by_their_source(claims, source, may):
    assert may_publish(Claims("alice", "room", **claims), source) == may


def test_what_is_not_allowed_any_more_ends():
    door = Door()
    alice, bob = door.enter("alice"), door.enter("bob")
    door.offer(bob, receiving("audio", "1"), receiving("video", "2"))
    mine = door.publish(alice, "mic", "1", source=models.MICROPHONE)
    door.publish(alice, "cam", "2", "video", [sending("audio", "1", "mic")], source=models.CAMERA)
    door.add_track(alice, "screen", "video", source=models.SCREEN_SHARE)
    door.request(alice, publish_data_track_request=rtc.PublishDataTrackRequest(pub_handle=1, name="n"))
    there = door.there("alice")
    permission = models.ParticipantPermission(can_publish=True, can_publish_sources=[models.MICROPHONE] * 2)
    update_permission(door.server, there, permission, door.now)
    door.turn()
    assert there.claims.can_publish_sources == ("microphone",)
    assert list(there.tracks) == list(door.there("bob").downs) == [mine]
    assert not there.pending
    assert not there.info.data_tracks
    shown = door.messages("update", bob)[-1].participants[0]
    assert [track.sid for track in shown.tracks] == [mine]
    assert not shown.data_tracks
    permission.can_publish_data = True
    update_permission(door.server, there, permission, door.now)
    assert list(there.tracks) == [mine]
    assert there.claims.can_publish_data


def test_sources_that_nobody_knows_allow_nothing():
    """None named would allow everything."""
    door = Door()
    alice = door.enter("alice")
    door.publish(alice, "mic", "1", source=models.MICROPHONE)
    there = door.there("alice")
    update_permission(door.server, there, models.ParticipantPermission(can_publish=True, can_publish_sources=[99]), 0.0)
    assert not there.tracks
    assert door.add_track(alice, "cam", "video", source=models.CAMERA) is None
