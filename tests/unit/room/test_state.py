"""The rules by which messages become state and events."""

from __future__ import annotations

import math
from collections import deque

import pytest

from sansio import events, proto
from sansio.base import limits
from sansio.room.participant import LocalParticipant, Participant, RemoteParticipant
from sansio.room.publication import LocalTrackPublication, RemoteTrackPublication, TrackPublication
from sansio.room.state import Factories, RoomState
from sansio.types import (
    AudioFeature,
    ConnectionQuality,
    ConnectionState,
    Dimensions,
    DisconnectReason,
    EncryptionType,
    ParticipantKind,
    ParticipantState,
    Permissions,
    ServerInfo,
    StreamState,
    SubscriptionError,
    TrackKind,
    TrackSource,
)

from .build import DISCONNECTED, JOINED, Room, info, join, names, speakers, track

# ------------------------------------------------------------------ beginning


def test_before_joining_nothing_is_known():
    state = RoomState(deque())
    assert not state.joined
    assert state.connection is ConnectionState.DISCONNECTED
    assert state.local_participant.identity == ""
    assert dict(state.remote_participants) == {}
    assert state.active_speakers == ()
    assert (state.sid, state.name, state.metadata, state.is_recording) == ("", "", "", False)
    assert (state.num_participants, state.num_publishers, state.max_participants) == (0, 0, 0)
    assert state.server_info == ServerInfo()


def test_the_first_join_is_no_change():
    room = Room(
        info("bob", tracks=[track()], name="Bob", attributes={"b": "2", "a": "1"}),
        own=info("alice", "PA_alice", 0, JOINED, permission=proto.models.ParticipantPermission(can_publish=True)),
        room=proto.models.Room(
            sid="RM_1",
            name="lobby",
            metadata="m",
            num_participants=2,
            num_publishers=1,
            max_participants=9,
            empty_timeout=300,
            departure_timeout=20,
            creation_time=1_700_000_000,
            active_recording=True,
        ),
        server_info=proto.models.ServerInfo(
            edition=1, version="1.2.3", protocol=17, region="eu", node_id="N", agent_protocol=1
        ),
    )
    assert room.joined
    assert (room.sid, room.name, room.metadata, room.is_recording) == ("RM_1", "lobby", "m", True)
    assert (room.num_participants, room.num_publishers, room.max_participants) == (2, 1, 9)
    assert (room.empty_timeout, room.departure_timeout) == (300, 20)
    assert room.creation_time.timestamp() == 1_700_000_000
    assert room.local_participant.identity == "alice"
    assert room.local_participant.permissions == Permissions(can_publish=True)
    assert room.server_info.version == "1.2.3"
    assert room.server_info.edition == 1
    bob = room.remote_participants["bob"]
    assert list(bob.attributes.items()) == [("a", "1"), ("b", "2")]
    assert list(bob.track_publications) == ["TR_1"]
    assert repr(bob) == "RemoteParticipant(identity='bob', sid='PA_bob')"


def test_server_info_of_old_servers():
    room = Room(server_version="1.0.0", server_region="us")
    assert (room.server_info.version, room.server_info.region) == ("1.0.0", "us")


def test_views_are_read_only():
    room = Room(info("bob", attributes={"a": "1"}, tracks=[track()]))
    bob = room.remote_participants["bob"]
    for view in (room.remote_participants, bob.attributes, bob.track_publications):
        with pytest.raises(TypeError):
            view["x"] = None


def test_factories_make_the_objects():
    class Local(LocalParticipant):
        pass

    class Remote(RemoteParticipant):
        pass

    class LocalPub(LocalTrackPublication):
        pass

    class RemotePub(RemoteTrackPublication):
        pass

    room = Room(info(tracks=[track()]), factories=Factories(Local, Remote, LocalPub, RemotePub))
    bob = room.remote_participants["bob"]
    assert type(room.local_participant) is Local
    assert type(bob) is Remote
    assert type(bob.track_publications["TR_1"]) is RemotePub
    assert type(room.add_local_publication(track("TR_me"))) is LocalPub
    assert (room.local_participant.is_local, bob.is_local) == (True, False)


def test_the_base_classes_do_for_both_sides():
    participant = Participant("bob", "PA_bob")
    participant._publications["TR_1"] = publication = TrackPublication("TR_1")
    assert participant.track_publications["TR_1"] is participant.get_track_publication("") is publication
    assert participant.get_track_publication(TrackSource.CAMERA) is None


def test_connection_states():
    room = Room()
    room.set_connection_state(ConnectionState.CONNECTING)
    room.set_connection_state(ConnectionState.CONNECTING)
    room.connected()
    room.disconnected(DisconnectReason.ROOM_DELETED)
    assert room.connection is ConnectionState.DISCONNECTED
    assert room.events() == [
        events.ConnectionStateChanged(ConnectionState.CONNECTING, ConnectionState.DISCONNECTED),
        events.ConnectionStateChanged(ConnectionState.CONNECTED, ConnectionState.CONNECTING),
        events.Connected(),
        events.ConnectionStateChanged(ConnectionState.DISCONNECTED, ConnectionState.CONNECTED),
        events.Disconnected(DisconnectReason.ROOM_DELETED),
    ]


# ------------------------------------------------------------------ coming and going


def test_a_newcomer_is_announced_before_its_tracks():
    room = Room()
    seen = room.update(info(tracks=[track("TR_1"), track("TR_2", "cam", source=1, type=1)]))
    bob = room.remote_participants["bob"]
    assert seen == [
        events.ParticipantConnected(bob),
        events.ParticipantActive(bob),
        events.TrackPublished(bob.track_publications["TR_1"], bob),
        events.TrackPublished(bob.track_publications["TR_2"], bob),
    ]


def test_becoming_active_is_told_once():
    room = Room()
    assert names(room.update(info(state=JOINED))) == ["participant_connected"]
    assert names(room.update(info(version=2))) == ["participant_active"]
    assert names(room.update(info(version=3))) == []


def test_whoever_leaves_loses_the_tracks_first():
    room = Room(info(tracks=[track("TR_1"), track("TR_2")]))
    bob = room.remote_participants["bob"]
    publications = list(bob.track_publications.values())
    seen = room.update(info(version=9, state=DISCONNECTED, disconnect_reason=1))
    assert seen == [
        events.TrackUnpublished(publications[0], bob),
        events.TrackUnpublished(publications[1], bob),
        events.ParticipantDisconnected(bob, DisconnectReason.CLIENT_INITIATED),
    ]
    assert bob.state is ParticipantState.DISCONNECTED
    assert bob.disconnect_reason is DisconnectReason.CLIENT_INITIATED
    assert not room.remote_participants
    assert not bob.track_publications


def test_a_bare_disconnect_is_enough():
    room = Room(info(version=5))
    assert names(room.update(info(version=0, state=DISCONNECTED))) == ["participant_disconnected"]


def test_a_later_session_that_has_ended_took_the_place_of_the_one_we_know():
    """The server has told nothing of its beginning, and tells nothing of the end of the one before it."""
    room = Room(info(joined_at_ms=5000))
    bob = room.remote_participants["bob"]
    for ignored in ({}, {"joined_at_ms": 4999}, {"joined_at_ms": 5000}, {"joined_at": 5}):
        assert room.update(info(sid="PA_other", state=DISCONNECTED, **ignored)) == []
    seen = room.update(info(sid="PA_later", state=DISCONNECTED, joined_at_ms=5001, disconnect_reason=4))
    assert seen == [events.ParticipantDisconnected(bob, DisconnectReason.PARTICIPANT_REMOVED)]
    assert not room.remote_participants
    room = Room(info())
    assert room.update(info(sid="PA_later", state=DISCONNECTED, joined_at=5)) == []


def test_disconnects_of_other_sessions_and_of_strangers_are_ignored():
    room = Room(info())
    assert room.update(info(sid="PA_old", state=DISCONNECTED), info("carol", "PA_c", state=DISCONNECTED)) == []
    assert list(room.remote_participants) == ["bob"]
    assert room.counters["disconnect_of_unknown"] == 2


def test_the_same_identity_with_another_sid_left_and_came_back():
    room = Room(info(tracks=[track()]))
    old = room.remote_participants["bob"]
    seen = room.update(info(sid="PA_new", version=0, tracks=[track("TR_new")]))
    new = room.remote_participants["bob"]
    assert names(seen) == [
        "track_unpublished",
        "participant_disconnected",
        "participant_connected",
        "participant_active",
        "track_published",
    ]
    assert seen[1].participant is old is not new is seen[2].participant
    assert room._find("PA_bob") is None
    assert room._find("PA_new") is new


def test_versions_order_infos_of_one_sid():
    room = Room(info(version=5, name="Bob"))
    assert room.update(info(version=4, name="older")) == []
    assert room.counters["stale_participant_info"] == 1
    assert names(room.update(info(version=5, name="equal"))) == ["participant_name_changed"]
    assert room.remote_participants["bob"].name == "equal"


def test_duplicates_inside_one_message():
    room = Room()
    assert names(room.update(info(state=JOINED), info(version=2), info(version=1, state=DISCONNECTED))) == [
        "participant_connected",
        "participant_active",
        "participant_disconnected",
    ]


def test_infos_without_identity_or_sid_are_ignored():
    room = Room()
    assert room.update(info(identity=""), info(sid="")) == []
    assert room.counters["participant_without_id"] == 2


def test_a_sid_belongs_to_one_identity():
    room = Room(info())
    assert room.update(info("carol", "PA_bob")) == []
    assert room.counters["sid_of_somebody_else"] == 1
    assert room._bytes == room.remote_participants["bob"]._size


def test_unknown_values_are_kept_as_unknown():
    room = Room(info(kind=77, state=42, capabilities=[1, 99], client_protocol=2, is_publisher=True))
    bob = room.remote_participants["bob"]
    assert (bob.kind, bob.kind_value, bob.state) == (ParticipantKind.UNKNOWN, 77, ParticipantState.UNKNOWN)
    assert (bob.capabilities, bob.client_protocol, bob.is_publisher) == ((1, 99), 2, True)


# ------------------------------------------------------------------ what participants say of themselves


def test_changes_carry_what_was_and_what_is():
    room = Room(info(name="B", metadata="m", attributes={"a": "1", "b": "2"}))
    bob = room.remote_participants["bob"]
    before = bob.attributes
    allowed = proto.models.ParticipantPermission(
        can_subscribe=True, can_publish=True, can_publish_data=True, can_publish_sources=[1, 99], hidden=True,
        can_update_metadata=True, agent=True, can_subscribe_metrics=True,
    )  # fmt: skip
    seen = room.update(info(version=2, name="Bob", metadata="n", attributes={"b": "3", "c": "4"}, permission=allowed))
    permissions = Permissions(
        can_subscribe=True,
        can_publish=True,
        can_publish_data=True,
        can_publish_sources=(TrackSource.CAMERA, TrackSource.UNKNOWN),
        hidden=True,
        can_update_metadata=True,
        agent=True,
        can_subscribe_metrics=True,
    )
    assert seen == [
        events.ParticipantNameChanged("Bob", bob, "B"),
        events.ParticipantMetadataChanged("m", bob, "n"),
        events.ParticipantAttributesChanged({"b": "3", "c": "4", "a": ""}, bob, {"a": "1", "b": "2"}),
        events.ParticipantPermissionsChanged(None, bob, permissions),
    ]
    assert dict(bob.attributes) == {"b": "3", "c": "4"}
    assert dict(before) == {"a": "1", "b": "2"}
    # no permission in an info says nothing about it
    assert room.update(info(version=3, name="Bob", metadata="n", attributes={"b": "3", "c": "4"})) == []
    assert bob.permissions == permissions


def test_times_of_joining():
    room = Room(
        info(joined_at=1_700_000_000), info("carol", "PA_c", joined_at=1_700_000_000, joined_at_ms=1_700_000_000_500)
    )
    assert room.remote_participants["bob"].joined_at.timestamp() == 1_700_000_000
    assert room.remote_participants["carol"].joined_at.timestamp() == 1_700_000_000.5
    assert room.local_participant.joined_at is None


# ------------------------------------------------------------------ ourselves


@pytest.mark.parametrize(("identity", "sid"), [("alice", "PA_alice"), ("alice", "PA_other"), ("else", "PA_alice")])
def test_our_own_info_is_known_by_identity_or_sid(identity, sid):
    room = Room()
    seen = room.update(info(identity, sid, 3, name="Alice"))
    assert names(seen) == ["participant_name_changed"]
    assert seen[0].participant is room.local_participant
    assert (room.local_participant.identity, room.local_participant.sid) == (identity, sid)
    assert not room.remote_participants


def test_our_own_versions_count_too():
    room = Room(own=info("alice", "PA_alice", 4))
    assert room.update(info("alice", "PA_alice", 3, name="older")) == []
    assert names(room.update(info("alice", "PA_alice", 4, name="equal"))) == ["participant_name_changed"]
    assert room.counters["stale_participant_info"] == 1


def test_our_own_disconnect_is_not_told_this_way():
    room = Room(own=info("alice", "PA_alice", 4, name="Alice"))
    assert room.update(info("alice", "PA_alice", 9, DISCONNECTED)) == []
    assert room.local_participant.name == "Alice"
    assert room.counters["own_disconnect"] == 1


def test_own_publications():
    room = Room()
    alice = room.local_participant
    publication = room.add_local_publication(track("TR_me", muted=True))
    assert room.events() == [events.LocalTrackPublished(publication, alice)]
    assert alice.track_publications["TR_me"] is publication is alice.get_track_publication("mic")
    assert alice.get_track_publication("cam") is None
    assert publication.participant is alice
    assert (publication.muted, publication.muted_on_server) == (True, True)
    assert room.add_local_publication(track("TR_me", mid="0")) is publication
    assert publication.mid == "0"
    room.apply_track_subscribed(proto.rtc.TrackSubscribed(track_sid="TR_me"))
    room.apply_track_subscribed(proto.rtc.TrackSubscribed(track_sid="TR_me"))
    assert room.events() == [events.LocalTrackSubscribed(publication, alice)]
    assert publication.subscribed
    room.apply_track_unpublished(proto.rtc.TrackUnpublishedResponse(track_sid="TR_me"))
    room.apply_track_unpublished(proto.rtc.TrackUnpublishedResponse(track_sid="TR_me"))
    assert room.events() == [events.LocalTrackUnpublished(publication, alice)]
    assert room.counters["unknown_track"] == 1


def test_the_server_mutes_our_track():
    room = Room()
    publication = room.add_local_publication(track("TR_me"))
    room.events()
    room.apply_mute("TR_me", True)
    room.apply_mute("TR_me", True)
    assert (publication.muted, publication.muted_on_server) == (True, True)
    room.apply_mute("TR_me", False)
    room.apply_mute("TR_else", False)
    alice = room.local_participant
    assert room.events() == [events.TrackMuted(publication, alice), events.TrackUnmuted(publication, alice)]
    assert room.counters["unknown_track"] == 1


def test_own_infos_describe_tracks_but_neither_mute_nor_remove_them():
    room = Room()
    publication = room.add_local_publication(track("TR_me"))
    room.events()
    mine = track("TR_me", muted=True, mime_type="audio/red")
    assert room.update(info("alice", "PA_alice", 2, tracks=[mine, track("TR_strange")])) == []
    assert (publication.muted, publication.muted_on_server, publication.mime_type) == (False, True, "audio/red")
    assert room.update(info("alice", "PA_alice", 3)) == []
    assert list(room.local_participant.track_publications) == ["TR_me"]


# ------------------------------------------------------------------ publications


def test_a_publication_is_described():
    room = Room(
        info(
            tracks=[
                track(
                    "TR_a",
                    "voice",
                    type=0,
                    mime_type="audio/opus",
                    encryption=1,
                    stream="camera",
                    audio_features=[0, 99],
                ),
                track("TR_v", "cam", type=1, source=1, width=640, height=480, simulcast=True, mid="1"),
                track("TR_x", "x", type=9, source=9, encryption=9),
            ]
        )
    )
    bob = room.remote_participants["bob"]
    voice, cam, strange = bob.track_publications.values()
    assert (voice.kind, voice.source, voice.mime_type) == (TrackKind.AUDIO, TrackSource.MICROPHONE, "audio/opus")
    assert (voice.encryption, voice.stream, voice.dimensions) == (EncryptionType.GCM, "camera", None)
    assert voice.audio_features == (AudioFeature.STEREO, AudioFeature.UNKNOWN)
    assert (cam.kind, cam.dimensions, cam.simulcast, cam.mid) == (TrackKind.VIDEO, Dimensions(640, 480), True, "1")
    assert (strange.kind, strange.source, strange.encryption.name) == (
        TrackKind.UNKNOWN,
        TrackSource.UNKNOWN,
        "UNKNOWN",
    )
    assert (voice.subscribed, voice.track, voice.subscription_allowed) == (False, None, True)
    assert voice.stream_state is StreamState.ACTIVE
    assert bob.get_track_publication(TrackSource.CAMERA) is cam
    assert bob.get_track_publication(TrackSource.SCREEN_SHARE) is None
    assert bob.get_track_publication("x") is strange
    assert repr(cam) == "RemoteTrackPublication(sid='TR_v', kind=VIDEO, source=CAMERA)"


def test_tracks_are_a_complete_list():
    room = Room(info(tracks=[track("TR_1"), track("TR_2")]))
    bob = room.remote_participants["bob"]
    one, two = bob.track_publications.values()
    seen = room.update(info(version=2, tracks=[track("TR_3"), track("TR_2", "renamed", muted=True), track("")]))
    three = bob.track_publications["TR_3"]
    assert seen == [
        events.TrackUnpublished(one, bob),
        events.TrackPublished(three, bob),
        events.TrackMuted(two, bob),
    ]
    assert two.name == "renamed"
    assert room.update(info(version=3, tracks=[track("TR_2"), track("TR_3"), track("TR_3", "last wins")])) == [
        events.TrackUnmuted(two, bob)
    ]
    assert three.name == "last wins"


def test_stream_states():
    room = Room(info(tracks=[track()]))
    bob = room.remote_participants["bob"]
    publication = bob.track_publications["TR_1"]
    states = [("PA_bob", "TR_1", 1), ("PA_bob", "TR_1", 1), ("PA_bob", "TR_else", 1), ("PA_else", "TR_1", 1)]
    room.apply_stream_state(
        proto.rtc.StreamStateUpdate(
            stream_states=[
                proto.rtc.StreamStateInfo(participant_sid=participant, track_sid=sid, state=state)
                for participant, sid, state in states
            ]
        )
    )
    assert room.events() == [events.TrackStreamStateChanged(publication, StreamState.PAUSED, bob)]
    assert publication.stream_state is StreamState.PAUSED
    assert room.counters["unknown_track"] == 2


def test_subscription_permissions():
    room = Room(info(tracks=[track()]))
    bob = room.remote_participants["bob"]
    publication = bob.track_publications["TR_1"]
    for allowed in (True, False, False, True):
        room.apply_subscription_permission(
            proto.rtc.SubscriptionPermissionUpdate(participant_sid="PA_bob", track_sid="TR_1", allowed=allowed)
        )
    room.apply_subscription_permission(
        proto.rtc.SubscriptionPermissionUpdate(participant_sid="PA_bob", track_sid="DTR_1")
    )
    assert room.events() == [
        events.TrackSubscriptionPermissionChanged(publication, False, bob),
        events.TrackSubscriptionPermissionChanged(publication, True, bob),
    ]
    assert room.counters["unknown_track"] == 1


def test_failed_subscriptions():
    room = Room(info("carol", "PA_c"), info(tracks=[track()]))
    bob = room.remote_participants["bob"]
    room.apply_subscription_response(proto.rtc.SubscriptionResponse(track_sid="TR_1", err=1))
    room.apply_subscription_response(proto.rtc.SubscriptionResponse(track_sid="TR_2", err=2))
    assert room.events() == [
        events.TrackSubscriptionFailed("TR_1", bob, SubscriptionError.CODEC_UNSUPPORTED),
        events.TrackSubscriptionFailed("TR_2", None, SubscriptionError.TRACK_NOT_FOUND),
    ]


# ------------------------------------------------------------------ speakers and quality


def test_speakers_are_differences():
    room = Room(info(), info("carol", "PA_c"))
    bob, carol, alice = room.remote_participants["bob"], room.remote_participants["carol"], room.local_participant
    room.apply_speakers(
        speakers(("PA_bob", 0.25, True), ("PA_alice", 0.5, True), ("PA_nobody", 1.0, True), ("", 1, True))
    )
    assert room.events() == [
        events.IsSpeakingChanged(bob, True),
        events.IsSpeakingChanged(alice, True),
        events.ActiveSpeakersChanged((alice, bob), (0.5, 0.25)),
    ]
    assert room.active_speakers == (alice, bob)
    assert (bob.is_speaking, bob.audio_level) == (True, 0.25)
    assert room.counters["unknown_participant"] == 2
    room.apply_speakers(speakers(("PA_bob", 0.75, True), ("PA_c", 0.9, False)))
    assert room.events() == [events.ActiveSpeakersChanged((bob, alice), (0.75, 0.5))]
    room.apply_speakers(speakers(("PA_bob", 0.75, True)))
    assert room.events() == []
    room.apply_speakers(speakers(("PA_bob", 0.75, False)))
    assert room.events() == [events.IsSpeakingChanged(bob, False), events.ActiveSpeakersChanged((alice,), (0.5,))]
    assert (bob.audio_level, carol.is_speaking) == (0.0, False)


@pytest.mark.parametrize(
    ("wire", "level"), [(math.nan, 0.0), (-1.0, 0.0), (0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (7.0, 1.0), (math.inf, 1.0)]
)
def test_levels_are_between_zero_and_one(wire, level):
    room = Room(info())
    room.apply_speakers(speakers(("PA_bob", wire, True)))
    assert room.remote_participants["bob"].audio_level == level


def test_who_leaves_speaks_no_more():
    room = Room(info(), info("carol", "PA_c"))
    bob, carol = room.remote_participants.values()
    room.apply_speakers(speakers(("PA_bob", 0.5, True), ("PA_c", 0.25, True)))
    room.events()
    seen = room.update(info(version=2, state=DISCONNECTED))
    assert seen == [
        events.ParticipantDisconnected(bob, DisconnectReason.UNKNOWN_REASON),
        events.ActiveSpeakersChanged((carol,), (0.25,)),
    ]
    assert (bob.is_speaking, bob.audio_level) == (False, 0.0)


def test_connection_quality():
    room = Room(info())
    bob, alice = room.remote_participants["bob"], room.local_participant
    assert bob.connection_quality is ConnectionQuality.UNKNOWN
    updates = [("PA_bob", 2, 4.5), ("PA_alice", 0, 1.0), ("PA_bob", 2, 4.25), ("PA_nobody", 1, 2.0), ("PA_bob", 9, 0.5)]
    room.apply_quality(
        proto.rtc.ConnectionQualityUpdate(
            updates=[
                proto.rtc.ConnectionQualityInfo(participant_sid=sid, quality=quality, score=score)
                for sid, quality, score in updates
            ]
        )
    )
    assert room.events() == [
        events.ConnectionQualityChanged(ConnectionQuality.EXCELLENT, bob, ConnectionQuality.UNKNOWN, 4.5),
        events.ConnectionQualityChanged(ConnectionQuality.POOR, alice, ConnectionQuality.UNKNOWN, 1.0),
        events.ConnectionQualityChanged(ConnectionQuality.UNKNOWN, bob, ConnectionQuality.EXCELLENT, 0.5),
    ]
    assert bob.connection_score == 0.5
    assert room.counters["unknown_participant"] == 1


# ------------------------------------------------------------------ the room


def test_room_updates():
    room = Room()
    news = proto.models.Room(name="lobby", metadata="new", active_recording=True, num_participants=3)
    room.apply_room_update(proto.rtc.RoomUpdate(room=news))
    assert room.events() == [
        events.RoomMetadataChanged("new", ""),
        events.RecordingStatusChanged(True),
        events.RoomUpdated({"metadata": "new", "num_participants": 3, "is_recording": True}),
    ]
    assert room.sid == "RM_1"  # an empty one says nothing
    room.apply_room_update(proto.rtc.RoomUpdate(room=news))
    assert room.events() == []
    news.creation_time_ms = 1_700_000_000_250
    news.sid = "RM_2"
    room.apply_room_update(proto.rtc.RoomUpdate(room=news))
    assert room.events() == [events.RoomUpdated({"sid": "RM_2", "creation_time": room.creation_time})]
    assert room.creation_time.microsecond == 250_000


def test_a_later_join_is_compared_with_what_was():
    room = Room(info(tracks=[track()]), info("carol", "PA_c", 5), info("dave", "PA_d"))
    bob = room.remote_participants["bob"]
    room.apply_speakers(speakers(("PA_bob", 0.5, True)))
    room.events()
    room.apply_join(
        join(
            info("carol", "PA_c2"),
            info(version=2, tracks=[track(), track("TR_2")]),
            info("erin", "PA_e"),
            own=info("alice", "PA_alice2", 0, name="Alice"),
            room=proto.models.Room(sid="RM_1", name="lobby", num_participants=4),
        )
    )
    seen = room.events()
    assert [(event.name, getattr(event.source, "identity", None)) for event in seen] == [
        ("participant_name_changed", "alice"),
        ("", "bob"),
        ("active_speakers_changed", None),
        ("participant_disconnected", "carol"),
        ("participant_disconnected", "dave"),
        ("room_updated", None),
        ("participant_connected", "carol"),
        ("participant_active", "carol"),
        ("track_published", "bob"),
        ("participant_connected", "erin"),
        ("participant_active", "erin"),
    ]
    assert room.remote_participants["bob"] is bob
    assert (bob.is_speaking, bob.audio_level) == (False, 0.0)
    assert room.active_speakers == ()
    assert room.local_participant.sid == "PA_alice2"


def test_own_versions_begin_again_with_a_join():
    room = Room(own=info("alice", "PA_alice", 7))
    room.apply_join(join(own=info("alice", "PA_alice", 0, JOINED, name="again")))
    assert room.local_participant.name == "again"
    assert names(room.update(info("alice", "PA_alice", 1, name="later"))) == [
        "participant_name_changed",
        "participant_name_changed",
    ]


def test_being_moved():
    room = Room(info(), info("carol", "PA_c"))
    room.apply_speakers(speakers(("PA_alice", 0.5, True)))
    room.events()
    room.apply_room_moved(
        proto.rtc.RoomMovedResponse(
            room=proto.models.Room(sid="RM_2", name="hall", metadata="m"),
            token="secret",
            participant=info("alice", "PA_alice2", 0),
            other_participants=[info("carol", "PA_c", 2), info(sid="PA_bob2")],
        )
    )
    seen = room.events()
    assert names(seen[:2]) == ["is_speaking_changed", "active_speakers_changed"]
    del seen[:2]
    assert names(seen) == [
        "participant_disconnected",
        "moved",
        "room_metadata_changed",
        "room_updated",
        "participant_connected",
        "participant_active",
    ]
    assert seen[1] == events.Moved("hall", "lobby")
    assert seen[3].changed == {"sid": "RM_2", "metadata": "m"}
    assert (room.name, room.sid, room.local_participant.sid) == ("hall", "RM_2", "PA_alice2")
    assert room.remote_participants["bob"].sid == "PA_bob2"


def test_a_full_picture_in_pieces():
    room = Room(info("b", "PA_b", 5), info("c", "PA_c"), info("d", "PA_d"), info("e", "PA_e"))
    room.begin_resync()
    assert room.update(info("b", "PA_b", 4, name="stale, but there")) == []
    room.update(info("d", "PA_d2"), info("f", "PA_f"))
    assert names(room.update(info("e", "PA_e", 2), info("e", "PA_e", 3, DISCONNECTED))) == ["participant_disconnected"]
    room.end_resync()
    assert names(room.events()) == ["participant_disconnected"]
    assert list(room.remote_participants) == ["b", "d", "f"]
    room.end_resync()
    assert room.events() == []


# ------------------------------------------------------------------ limits


def test_participants_are_bounded(monkeypatch):
    monkeypatch.setattr(limits, "PARTICIPANTS", 3)
    room = Room()
    seen = room.update(*[info(f"p{i}", f"PA_{i}") for i in range(5)])
    assert len([event for event in seen if isinstance(event, events.ParticipantConnected)]) == 3
    assert room.counters["too_many_participants"] == 2
    room.update(info("p0", "PA_0", 2, DISCONNECTED), info("p4", "PA_4"))
    assert list(room.remote_participants) == ["p1", "p2", "p4"]


def test_tracks_are_bounded():
    room = Room()
    room.update(info(tracks=[track(f"TR_{i}") for i in range(limits.TRACKS_PER_PARTICIPANT + 3)]))
    bob = room.remote_participants["bob"]
    assert len(bob.track_publications) == limits.TRACKS_PER_PARTICIPANT
    assert room.counters["too_many_tracks"] == 3
    seen = room.update(info(version=2, tracks=[track("TR_5"), track("TR_new")]))
    assert list(bob.track_publications) == ["TR_5", "TR_new"]
    assert len(seen) == limits.TRACKS_PER_PARTICIPANT


def test_attributes_are_bounded():
    room = Room()
    attributes = {f"{i:05}": "x" for i in range(limits.ATTRIBUTES_PER_PARTICIPANT + 2)}
    room.update(info(attributes=attributes))
    assert list(room.remote_participants["bob"].attributes) == sorted(attributes)[:-2]
    assert room.counters["too_many_attributes"] == 2


def test_short_lists_are_bounded():
    many = [1] * (limits.SHORT_LIST + 1)
    room = Room(
        info(
            capabilities=many,
            tracks=[track(audio_features=many)],
            permission=proto.models.ParticipantPermission(can_publish_sources=many),
        )
    )
    bob = room.remote_participants["bob"]
    assert len(bob.capabilities) == limits.SHORT_LIST
    assert len(bob.track_publications["TR_1"].audio_features) == limits.SHORT_LIST
    assert len(bob.permissions.can_publish_sources) == limits.SHORT_LIST


def test_just_as_much_as_is_allowed_is_taken(monkeypatch):
    one = info(metadata="x" * 100, attributes={"a": "1", "b": "2"})
    for name in ("PARTICIPANT_INFO_BYTES", "ROOM_STATE_BYTES"):
        monkeypatch.setattr(limits, name, one.ByteSize())
    monkeypatch.setattr(limits, "ATTRIBUTES_PER_PARTICIPANT", 2)
    room = Room(one)
    assert list(room.remote_participants) == ["bob"]
    assert room.counters.snapshot() == {}


def test_the_size_of_an_info_is_bounded():
    room = Room(info())
    huge = "x" * limits.PARTICIPANT_INFO_BYTES
    assert room.update(info(version=2, metadata=huge), info("carol", "PA_c", metadata=huge)) == []
    assert room.counters["participant_info_too_large"] == 2
    assert list(room.remote_participants) == ["bob"]
    assert names(room.update(info(version=3, state=DISCONNECTED, metadata=huge))) == ["participant_disconnected"]


def test_the_size_of_all_infos_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "ROOM_STATE_BYTES", 3000)
    room = Room(info(metadata="x" * 1000), info("carol", "PA_c", metadata="x" * 1000))
    room.update(info("dave", "PA_d", metadata="x" * 1000), info(version=2, metadata="x" * 2000))
    assert list(room.remote_participants) == ["bob", "carol"]
    assert room.counters["participant_info_too_large"] == 2
    room.update(info(version=3, metadata=""), info("dave", "PA_d", metadata="x" * 1000))
    assert list(room.remote_participants) == ["bob", "carol", "dave"]
    room.update(*[info(p.identity, p.sid, 9, DISCONNECTED) for p in room.remote_participants.values()])
    assert room._bytes == 0
