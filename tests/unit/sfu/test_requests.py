"""What clients ask for, and what they are told."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base.contract import CloseSignal
from sansio.base.limits import (
    SFU_CHOICES,
    SFU_NAME,
    SFU_PENDING_TRACKS,
    SFU_QUEUED_TRACKS,
    SFU_TRACK_REQUEST,
    SFU_TRACKS,
)
from sansio.sfu.server import AcceptSignal, RefuseSignal
from sansio.signal.urls import JoinSettings, join_url, resume_url
from tests.unit.sfu.door import Door, receiving, sending

rtc, models = proto.rtc, proto.models
Reason = rtc.RequestResponse


def pair(**claims):
    """Alice may publish, Bob has a place for a track of each kind."""
    door = Door()
    alice, bob = door.enter("alice", **claims), door.enter("bob")
    door.offer(bob, receiving("audio", "1"), receiving("video", "2"))
    return door, alice, bob


def reasons(door, link):
    return [response.reason for response in door.messages("request_response", link)]


# ------------------------------------------------------------------ publishing


def test_a_track_is_accepted_named_and_told_of():
    door, alice, bob = pair()
    layers = [{"quality": 2, "width": 640}, {"quality": 0, "width": 160}]
    track = door.add_track(
        alice,
        "cam",
        "video",
        name="camera",
        source=models.CAMERA,
        width=640,
        height=480,
        layers=layers,
        simulcast_codecs=[{"codec": "vp8", "cid": "cam"}, {"codec": "vp9"}],
    )
    assert track.sid.startswith("TR_VC")
    assert (track.name, track.stream, track.simulcast, track.mime_type) == ("camera", "camera", True, "video/vp8")
    assert [layer.width for layer in track.layers] == [160, 640]
    assert [(codec.cid, codec.video_layer_mode) for codec in track.codecs] == [("cam", 1), ("cam", 2)]
    assert not door.messages("update", bob)
    door.offer(alice, sending("video", "1", "cam", rids=("q", "h")))
    told = door.messages("update", bob)[-1].participants[0]
    assert told.is_publisher
    assert [(found.sid, found.mid, found.mime_type) for found in told.tracks] == [(track.sid, "1", "video/VP8")]
    screen = door.add_track(alice, "mic", name="m", audio_features=[models.TF_STEREO, models.TF_NO_DTX])
    assert (screen.stream, screen.stereo, screen.disable_dtx) == ("unknown", True, True)
    assert screen.sid.startswith("TR_A")


def test_what_may_not_be_published_is_refused_with_an_echo():
    door, alice, _ = pair(can_publish=False)
    assert door.add_track(alice, "c") is None
    (response,) = door.messages("request_response", alice)
    assert (response.reason, response.add_track.cid) == (Reason.NOT_ALLOWED, "c")


def test_sources_may_be_limited():
    door, alice, _ = pair(can_publish_sources=("microphone", "nonsense"))
    assert door.messages("join", alice)[0].participant.permission.can_publish_sources == [models.MICROPHONE]
    assert door.add_track(alice, "a", source=models.MICROPHONE)
    assert door.add_track(alice, "b", source=models.CAMERA) is None


def test_tracks_that_make_no_sense():
    door, alice, _ = pair()
    door.request(alice, add_track=rtc.AddTrackRequest(cid="d", type=models.DATA))
    sid = door.publish(alice, "mic", "1")
    door.add_track(alice, "e", sid="TR_unknown")
    door.add_track(alice, "e", sid=sid)
    assert reasons(door, alice) == [Reason.UNSUPPORTED_TYPE, Reason.NOT_FOUND, Reason.UNSUPPORTED_TYPE]


def test_pending_tracks_are_limited():
    door, alice, _ = pair()
    for number in range(SFU_PENDING_TRACKS):
        assert door.add_track(alice, f"c{number}")
    assert door.add_track(alice, "more") is None
    assert reasons(door, alice) == [Reason.LIMIT_EXCEEDED]


def test_tracks_are_limited(monkeypatch):
    assert SFU_TRACKS > 2
    monkeypatch.setattr("sansio.sfu.requests.SFU_TRACKS", 2)
    door, alice, _ = pair()
    door.publish(alice, "mic", "1")
    door.publish(alice, "cam", "2", "video", [sending("audio", "1", "mic")])
    assert door.add_track(alice, "more") is None
    assert reasons(door, alice) == [Reason.LIMIT_EXCEEDED]


def test_what_is_said_of_a_track_is_limited():
    door, alice, _ = pair()
    assert door.add_track(alice, "long", stream="x" * (SFU_TRACK_REQUEST - 100))
    assert door.add_track(alice, "longer", stream="x" * SFU_TRACK_REQUEST) is None
    assert reasons(door, alice) == [Reason.LIMIT_EXCEEDED]


def test_a_name_in_use_waits_for_its_end():
    door, alice, bob = pair()
    first = door.publish(alice, "mic", "1")
    for _ in range(SFU_QUEUED_TRACKS + 1):
        door.request(alice, add_track=rtc.AddTrackRequest(cid="mic"))
    assert reasons(door, alice) == [Reason.QUEUED] * SFU_QUEUED_TRACKS + [Reason.LIMIT_EXCEEDED]
    door.offer(alice, receiving("audio", "1", "inactive"))
    published = [found.track.sid for found in door.messages("track_published", alice)]
    assert len(published) == 2
    assert published[0] == first != published[1]
    assert len(door.there("alice").queued["mic"]) == SFU_QUEUED_TRACKS - 1
    assert not door.messages("update", bob)[-1].participants[0].tracks
    for _ in range(2):
        door.offer(alice, sending("audio", "1", "mic"))
        door.offer(alice, receiving("audio", "1", "inactive"))
    assert not door.there("alice").queued


def test_a_section_may_come_before_its_announcement():
    door, alice, bob = pair()
    door.offer(alice, sending("audio", "1", "mic"))
    assert not door.messages("update", bob)
    sid = door.add_track(alice, "mic").sid
    assert [track.sid for track in door.messages("update", bob)[-1].participants[0].tracks] == [sid]


def test_a_section_of_unknown_name_takes_the_first_announcement_of_its_kind():
    door, alice, _ = pair()
    door.add_track(alice, "cam", "video")
    sid = door.add_track(alice, "mic").sid
    door.offer(alice, sending("audio", "1", "other"))
    assert list(door.there("alice").tracks) == [sid]
    assert door.there("alice").tracks[sid].sdp_cid == "other"


def test_another_track_in_the_same_section_ends_the_first():
    door, alice, bob = pair()
    first = door.publish(alice, "one", "1")
    second = door.publish(alice, "two", "1")
    assert list(door.there("alice").tracks) == [second]
    assert first not in door.there("bob").downs
    assert second in door.there("bob").downs
    assert [track.sid for track in door.messages("update", bob)[-1].participants[0].tracks] == [second]


def test_muting():
    door, alice, bob = pair()
    door.add_track(alice, "first", "video")
    pending = door.add_track(alice, "later").sid
    door.request(alice, mute=rtc.MuteTrackRequest(sid=pending, muted=True))
    door.offer(alice, sending("audio", "1", "later"))
    assert door.messages("update", bob)[-1].participants[0].tracks[0].muted
    updates = len(door.messages("update", bob))
    door.request(alice, mute=rtc.MuteTrackRequest(sid=pending, muted=True))
    assert len(door.messages("update", bob)) == updates
    door.request(alice, mute=rtc.MuteTrackRequest(sid=pending, muted=False))
    assert not door.messages("update", bob)[-1].participants[0].tracks[0].muted
    door.request(alice, mute=rtc.MuteTrackRequest(sid="TR_none", muted=True))
    assert reasons(door, alice) == [Reason.NOT_FOUND]


def test_features_and_size_of_a_track_may_change():
    door, alice, bob = pair()
    mic = door.publish(alice, "mic", "1")
    cam = door.publish(alice, "cam", "2", "video", [sending("audio", "1", "mic")])
    door.request(
        alice, update_audio_track=rtc.UpdateLocalAudioTrack(track_sid=mic, features=[models.TF_NOISE_SUPPRESSION])
    )
    door.request(alice, update_video_track=rtc.UpdateLocalVideoTrack(track_sid=cam, width=64, height=48))
    tracks = {track.sid: track for track in door.messages("update", bob)[-1].participants[0].tracks}
    assert tracks[mic].audio_features == [models.TF_NOISE_SUPPRESSION]
    assert (tracks[cam].width, tracks[cam].height) == (64, 48)
    door.request(alice, update_audio_track=rtc.UpdateLocalAudioTrack(track_sid="x"))
    door.request(alice, update_video_track=rtc.UpdateLocalVideoTrack(track_sid="x"))
    assert reasons(door, alice) == [Reason.NOT_FOUND] * 2


# ------------------------------------------------------------------ subscribing


def test_everything_comes_by_itself_and_both_are_told():
    door, alice, bob = pair()
    sid = door.publish(alice, "mic", "1")
    assert [told.track_sid for told in door.messages("track_subscribed", alice)] == [sid]
    (told,) = door.messages("subscription_permission_update", bob)
    assert (told.track_sid, told.participant_sid, told.allowed) == (sid, door.there("alice").sid, True)
    (requirement,) = door.messages("media_sections_requirement", bob)
    assert (requirement.num_audios, requirement.num_videos) == (0, 0)
    answer = door.offer(bob, receiving("audio", "1"), receiving("video", "2"))
    assert (answer.media[1].direction, answer.media[1].msid.track) == ("sendonly", sid)
    assert door.messages("answer", bob)[-1].mid_to_track_id == {"1": sid}


def test_without_auto_subscribe_nothing_comes_unless_it_is_asked_for():
    door = Door()
    alice = door.enter("alice")
    bob = door.enter("bob", auto_subscribe=False)
    door.offer(bob, receiving("audio", "1"))
    sid = door.publish(alice, "mic", "1")
    there = door.there("bob")
    assert not there.downs
    door.request(bob, subscription=rtc.UpdateSubscription(track_sids=[sid, "TR_none"], subscribe=True))
    assert list(there.downs) == [sid]
    group = models.ParticipantTracks(participant_sid="x", track_sids=[sid])
    door.request(bob, subscription=rtc.UpdateSubscription(participant_tracks=[group], subscribe=False))
    assert not there.downs
    door.request(alice, subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=True))
    assert not door.there("alice").downs  # nobody gets a track of its own


def test_a_wish_may_come_before_the_track():
    door, alice, bob = pair()
    sid = door.add_track(alice, "mic").sid
    door.request(bob, subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=False))
    door.request(bob, track_setting=rtc.UpdateTrackSettings(track_sids=["TR_late"], disabled=True))
    door.offer(alice, sending("audio", "1", "mic"))
    assert not door.there("bob").downs


def test_wishes_are_limited(monkeypatch):
    assert SFU_CHOICES > 1
    monkeypatch.setattr("sansio.sfu.requests.SFU_CHOICES", 1)
    door, _, bob = pair()
    for request in (
        {"subscription": rtc.UpdateSubscription(track_sids=["a", "b"])},
        {"track_setting": rtc.UpdateTrackSettings(track_sids=["a", "c"])},
        {"sync_state": rtc.SyncState(track_sids_disabled=["d", "a"])},
    ):
        door.request(bob, **request)
    assert list(door.there("bob").choices) == ["a"]
    assert door.there("bob").counters["choice_limit"] == 3


def test_wishes_name_tracks_and_keep_no_more_than_they_need():
    door, _, bob = pair()
    sids = ["a", "x" * (SFU_NAME + 1)]
    door.request(bob, track_setting=rtc.UpdateTrackSettings(track_sids=sids, width=9, height=8, quality=1))
    ((sid, choice),) = door.there("bob").choices.items()
    assert (sid, choice.setting) == ("a", rtc.UpdateTrackSettings(width=9, height=8, quality=1))
    assert door.there("bob").counters["choice_limit"] == 1


def test_how_a_track_is_wanted():
    door, alice, bob = pair()
    layers = [{"quality": 0, "width": 320, "height": 180}, {"quality": 1, "width": 640, "height": 360}]
    sid = door.publish(alice, "cam", "1", "video", layers=[*layers, {"quality": 2, "width": 1280, "height": 720}])
    down = door.there("bob").downs[sid]

    def setting(**fields):
        door.request(bob, track_setting=rtc.UpdateTrackSettings(track_sids=[sid], **fields))
        return down.max_layer, down.enabled

    assert setting(quality=models.LOW) == (0, True)
    assert setting(quality=models.HIGH) == (2, True)
    assert setting(quality=models.OFF) == (2, False)
    assert setting(width=600, height=300) == (1, True)
    assert setting(width=100) == (0, True)
    assert setting(width=4000, height=4000) == (2, True)
    assert setting(disabled=True) == (0, False)
    told = door.messages("subscribed_quality_update", alice)
    assert [[each.enabled for each in update.subscribed_qualities] for update in told] == [[True, True, True]]
    assert told[0].subscribed_codecs[0].codec == "vp8"
    door.turn(5.0)
    told = door.messages("subscribed_quality_update", alice)
    assert [[each.enabled for each in update.subscribed_qualities] for update in told[1:]] == [[False] * 3]


def test_more_layers_are_wanted_at_once_fewer_after_a_while():
    door, alice, bob = pair()
    sid = door.publish(alice, "cam", "1", "video")

    def say(quality):
        door.request(bob, track_setting=rtc.UpdateTrackSettings(track_sids=[sid], quality=quality))
        updates = door.messages("subscribed_quality_update", alice)
        return sum([each.enabled for each in updates[-1].subscribed_qualities]), len(updates)

    assert say(models.LOW) == (3, 1)
    assert say(models.HIGH) == (3, 1)
    assert say(models.LOW) == (3, 1)
    door.turn(4.0)
    door.server.room("room").tick(door.now)
    assert say(models.MEDIUM) == (3, 1)
    door.turn(1.0)
    assert say(models.MEDIUM) == (2, 2)
    assert say(models.HIGH) == (3, 3)


def test_the_publisher_says_who_may_have_its_tracks():
    door, alice, bob = pair()
    carol = door.enter("carol")
    sid = door.publish(alice, "mic", "1")

    def permit(*permissions, everybody=False):
        message = rtc.SubscriptionPermission(all_participants=everybody, track_permissions=permissions)
        door.request(alice, subscription_permission=message)
        return ["".join(door.there(name).downs) for name in ("bob", "carol")]

    assert permit() == ["", ""]
    assert [told.allowed for told in door.messages("subscription_permission_update", bob)] == [True, False]
    assert permit(rtc.TrackPermission(participant_identity="bob", all_tracks=True)) == [sid, ""]
    carol_sid = door.there("carol").sid
    assert permit(rtc.TrackPermission(participant_sid=carol_sid, track_sids=[sid])) == ["", sid]
    assert permit(rtc.TrackPermission(participant_sid=carol_sid, track_sids=["TR_other"])) == ["", ""]
    assert permit(rtc.TrackPermission(all_tracks=True), everybody=True) == ["", ""]  # names nobody: not heeded
    assert permit(everybody=True) == [sid, sid]
    assert carol


def test_who_may_not_subscribe_gets_nothing():
    door = Door()
    alice = door.enter("alice")
    bob = door.enter("bob", can_subscribe=False)
    door.publish(alice, "mic", "1")
    assert not door.there("bob").downs
    assert not door.messages("join", bob)[0].subscriber_primary


# ------------------------------------------------------------------ coming back


def active(door, *names):
    for name in names:
        door.there(name).active = True
    door.turn()


def resume(door, name, **settings):
    there = door.there(name)
    url = resume_url("ws://x", JoinSettings(**settings), sid=there.sid, single=there.single)
    assert door.knock(url, identity=name) == AcceptSignal(door.links)
    return door.links


def test_a_resume_tells_everything_that_may_have_changed():
    door, alice, bob = pair()
    door.publish(alice, "mic", "1")
    active(door, "alice", "bob")
    door.server.signal_closed(bob, "gone", door.now)
    door.turn(1.0)
    carol = door.enter("carol")
    door.request(carol, leave=rtc.LeaveRequest())
    door.forget()
    bob = resume(door, "bob")
    assert door.said(bob)[:4] == ["reconnect", "update", "update", "room_update"]
    gone, present = door.messages("update", bob)
    assert [(info.identity, info.state) for info in gone.participants] == [
        ("carol", models.ParticipantInfo.DISCONNECTED)
    ]
    assert [info.identity for info in present.participants] == ["alice", "bob"]
    assert door.messages("reconnect", bob)[0].server_info.protocol == 17
    door.request(bob, sync_state=rtc.SyncState(track_sids_disabled=[*door.there("alice").tracks]))
    (down,) = door.there("bob").downs.values()
    assert not down.enabled
    assert not door.messages("leave", bob)


def test_a_client_that_thinks_it_publishes_something_else_starts_anew():
    door, alice, _ = pair()
    sid = door.publish(alice, "mic", "1")
    pending = door.add_track(alice, "later").sid
    active(door, "alice")

    def sync(*sids):
        tracks = [rtc.TrackPublishedResponse(cid="c", track=models.TrackInfo(sid=each)) for each in sids]
        door.request(alice, sync_state=rtc.SyncState(publish_tracks=tracks))

    sync(sid, pending)
    assert not door.messages("leave", alice)
    sync("TR_other")
    (leave,) = door.messages("leave", alice)
    assert (leave.action, leave.reason) == (rtc.LeaveRequest.RECONNECT, models.STATE_MISMATCH)
    assert CloseSignal(alice) in door.outputs
    assert door.there("alice") is None


# ------------------------------------------------------------------ drills


def simulate(door, link, **scenario):
    return door.request(link, simulate=rtc.SimulateScenario(**scenario))


def test_somebody_is_made_to_speak():
    door, alice, bob = pair()
    sid = door.there("alice").sid
    simulate(door, alice, speaker_update=2)
    for _ in range(3):
        door.turn(0.4)
    (told,) = door.messages("speakers_changed", bob)
    assert [(each.sid, each.active) for each in told.speakers] == [(sid, True)]
    assert told.speakers[0].level == pytest.approx(1.0)
    for _ in range(5):
        door.turn(0.4)
    quiet = door.messages("speakers_changed", bob)[-1]
    assert [(each.sid, each.active) for each in quiet.speakers] == [(sid, False)]


@pytest.mark.parametrize("scenario", ["node_failure", "migration"])
def test_a_server_that_dies_says_nothing(scenario):
    door, alice, bob = pair()
    fresh = simulate(door, alice, **{scenario: True})
    assert CloseSignal(alice) in fresh
    assert not door.messages("leave", alice)
    assert door.there("alice") is None
    assert door.messages("update", bob)[-1].participants[0].state == models.ParticipantInfo.DISCONNECTED


def test_a_server_that_shuts_down_says_so():
    door, alice, _ = pair()
    simulate(door, alice, server_leave=True)
    assert [leave.reason for leave in door.messages("leave", alice)] == [models.SERVER_SHUTDOWN]


def test_another_kind_of_candidates_is_told_at_the_next_join():
    door = Door(tcp_address=("10.1.0.1", 7881))
    link = door.enter("alice")
    door.offer(link)
    assert [("tcp" in each.candidateInit, each.final) for each in door.messages("trickle", link)] == [
        (False, False),
        (True, True),
    ]
    simulate(door, link, switch_candidate_protocol=1)
    simulate(door, link, leave_request_full_reconnect=True)
    assert door.there("alice").counters["scenario_ignored"] == 1
    link = door.enter("alice")
    (join,) = door.messages("join", link)
    assert not join.fast_publish
    assert join.HasField("client_configuration")
    door.offer(link)
    assert ["tcp" in each.candidateInit for each in door.messages("trickle", link)] == [True]
    simulate(door, link, switch_candidate_protocol=2)
    link = door.enter("alice")
    assert door.messages("join", link)[0].client_configuration.force_relay == models.ENABLED


def test_in_dual_mode_it_is_told_at_once_by_new_credentials():
    door = Door()
    link = door.enter("alice", single=False)
    simulate(door, link, switch_candidate_protocol=1)
    assert len(door.messages("offer", link)) == 2


def test_preferences_are_limited(monkeypatch):
    monkeypatch.setattr("sansio.sfu.server.SFU_PREFERENCES", 2)
    door = Door()
    for name in ("a", "b", "c"):
        simulate(door, door.enter(name), switch_candidate_protocol=1)
    assert [identity for _, identity in door.server._preferences] == ["b", "c"]


def test_a_resume_may_be_spoiled_once():
    door, alice, _ = pair()
    active(door, "alice")
    simulate(door, alice, disconnect_signal_on_resume=True)
    second = resume(door, "alice")
    assert door.messages("reconnect", second)
    assert CloseSignal(second) in door.outputs
    third = resume(door, "alice")
    assert CloseSignal(third) not in door.outputs


def test_a_resume_may_be_refused_once():
    door, alice, _ = pair()
    active(door, "alice")
    simulate(door, alice, disconnect_signal_on_resume_no_messages=True)
    url = resume_url("ws://x", JoinSettings(), sid=door.there("alice").sid)
    assert door.knock(url) == RefuseSignal(door.links, 500, "connection closed by media")
    simulate(door, alice, disconnect_signal_on_resume_no_messages=True)
    door.now += 6.0
    assert door.knock(url) == AcceptSignal(door.links)


# ------------------------------------------------------------------ the rest


def test_old_pings_are_answered():
    door, alice, _ = pair()
    door.request(alice, ping=5)
    assert door.messages("pong", alice) == [1_800_000_000_000]


def test_candidates_that_cannot_be_read_are_refused_with_an_echo():
    door, alice, _ = pair()
    door.request(alice, trickle=rtc.TrickleRequest(candidateInit='{"candidate":""}'))
    door.request(alice, trickle=rtc.TrickleRequest(candidateInit="{"))
    (response,) = door.messages("request_response", alice)
    assert (response.reason, response.trickle.candidateInit) == (Reason.UNCLASSIFIED_ERROR, "{")


def test_data_tracks_are_answered():
    door, alice, _ = pair()
    door.request(alice, publish_data_track_request=rtc.PublishDataTrackRequest(pub_handle=3, name="n"))
    (response,) = door.messages("publish_data_track_response", alice)
    assert (response.info.pub_handle, response.info.name) == (3, "n")
    door.request(alice, unpublish_data_track_request=rtc.UnpublishDataTrackRequest(pub_handle=3))
    (response,) = door.messages("unpublish_data_track_response", alice)
    assert response.info.pub_handle == 3


def test_tracks_may_be_announced_with_the_join():
    door = Door()
    request = rtc.AddTrackRequest(cid="mic")
    door.knock(join_url("ws://x", JoinSettings(), single=True, add_tracks=[request]))
    assert [found.cid for found in door.messages("track_published")] == ["mic"]
