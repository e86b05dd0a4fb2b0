"""Recorded sessions: what a real server told, replayed through the room's state.

Each file has the server's messages about the room, in order, and most have what the reference client told its
application meanwhile. Our events must be the same facts in the same order, but for the differences named here.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from pathlib import Path

import pytest

from sansio import events, proto
from sansio.room.data import DataReceiver
from sansio.room.requests import Requests
from sansio.room.state import RoomState
from sansio.types import (
    ConnectionQuality,
    ConnectionState,
    DisconnectReason,
    ParticipantState,
    TrackKind,
    TrackSource,
)

from .build import Room, info, track

DATA = Path(__file__).parents[2] / "data" / "room"
SESSIONS = sorted(DATA.glob("*.json"))


class Session:
    """A state that is fed whole signal messages, as the engine does it."""

    def __init__(self):
        self.outbox = deque()
        self.state = RoomState(self.outbox)
        self.requests = Requests(deque())
        self.resuming = False

    def handle(self, raw):
        response = proto.rtc.SignalResponse.FromString(raw)
        kind = response.WhichOneof("message")
        message = getattr(response, kind)
        state = self.state
        match kind:
            case "join":
                state.apply_join(message)
            case "reconnect":
                state.begin_resync()
                self.resuming = True
            case "update":
                state.apply_update(message)
            case "room_update":
                state.apply_room_update(message)
                if self.resuming:  # the server sends it right behind the full update
                    self.resuming = False
                    state.end_resync()
            case "speakers_changed":
                state.apply_speakers(message)
            case "connection_quality":
                state.apply_quality(message)
            case "mute":
                state.apply_mute(message.sid, message.muted)
            case "track_published":
                state.add_local_publication(message.track)
            case "track_unpublished":
                state.apply_track_unpublished(message)
            case "track_subscribed":
                state.apply_track_subscribed(message)
            case "stream_state_update":
                state.apply_stream_state(message)
            case "subscription_permission_update":
                state.apply_subscription_permission(message)
            case "request_response":
                self.requests.handle_response(message, 0.0)
            case _:
                assert kind == "leave"


def replay(name):
    recording = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    session = Session()
    for message in recording["messages"]:
        session.handle(base64.b64decode(message))
    return session, recording


def as_reference(event):
    """An event in the words of the reference client; None for what it does not tell or was not recorded."""
    match event:
        case events.ParticipantConnected() | events.ParticipantDisconnected() | events.ParticipantActive():
            return [event.name, event.participant.identity]
        case events.TrackPublished() | events.TrackUnpublished():
            return [event.name, event.publication.sid, event.participant.identity]
        case events.TrackMuted() | events.TrackUnmuted():
            return [event.name, event.participant.identity, event.publication.sid]
        case events.LocalTrackSubscribed():
            return [event.name, event.publication.sid]
        case events.ParticipantNameChanged():
            return [event.name, event.participant.identity, event.previous, event.new_name]
        case events.ParticipantMetadataChanged():
            return [event.name, event.participant.identity, event.previous, event.metadata]
        case events.ParticipantAttributesChanged():
            return [event.name, None, event.participant.identity]
        case events.ParticipantPermissionsChanged():
            return [event.name, event.participant.identity, "ParticipantPermission"]
        case events.ConnectionQualityChanged():
            return [event.name, event.participant.identity, event.quality.value]
    return None


NOT_OURS = {
    # muting an own track is told by the operation, not by the server
    "mute-unmute-py-v1": [
        ["track_muted", "alice", "TR_AMNmhB9T8N76Dd"],
        ["track_unmuted", "alice", "TR_AMNmhB9T8N76Dd"],
    ],
    # it lets everybody leave and come back in a full reconnect, though nobody did
    "full-reconnect-py-v1": [
        ["track_unpublished", "TR_AMW4hrCMbXs2KP", "bob"],
        ["participant_disconnected", "bob"],
        ["participant_connected", "bob"],
        ["participant_active", "bob"],
        ["track_published", "TR_AMW4hrCMbXs2KP", "bob"],
    ],
    # it tells a forced mute twice: from the mute message, and from the update that follows
    "admin-mute-py-v1": [
        ["track_muted", "alice", "TR_AMP3YYRnCJDsTJ"],
        ["track_unmuted", "alice", "TR_AMP3YYRnCJDsTJ"],
    ],
}
"""What the reference client told once more than we do, by session."""


@pytest.mark.parametrize("path", [path for path in SESSIONS if "py" in path.stem], ids=lambda path: path.stem)
def test_the_same_facts_as_the_reference_client(path):
    session, recording = replay(path.stem)
    ours = [fact for fact in map(as_reference, session.outbox) if fact]
    theirs = list(recording["reference_client"])
    for fact in NOT_OURS.get(path.stem, []):
        theirs.remove(fact)
    assert ours == theirs


def told(session, *types):
    return [event for event in session.outbox if isinstance(event, types)]


def test_join_with_a_publisher_present():
    state = replay("join-existing-publisher-py-v1")[0].state
    bob = state.remote_participants["bob"]
    (publication,) = [pub for pub in bob.track_publications.values() if pub.kind is TrackKind.AUDIO]
    assert state.joined
    assert state.name.startswith("cap-join-existing-publisher")
    assert state.sid.startswith("RM_")
    assert state.creation_time is not None
    assert state.creation_time.year == 2026
    assert state.server_info.version == "1.13.5"
    assert state.server_info.protocol >= 17
    assert state.num_participants == 2
    assert bob.name == "Bob"
    assert bob.state is ParticipantState.ACTIVE
    assert bob.joined_at is not None
    assert publication is bob.get_track_publication(TrackSource.MICROPHONE)
    assert publication is bob.get_track_publication("mic")
    assert publication.mime_type == "audio/red"
    assert publication.participant is bob
    assert state.local_participant.identity == "alice"
    assert state.local_participant.permissions.can_publish
    assert state.local_participant.connection_quality is ConnectionQuality.EXCELLENT
    assert state.counters.snapshot() == {}


def test_a_hidden_participant_is_never_seen():
    state = replay("hidden-participant-js-v1")[0].state
    assert list(state.remote_participants) == ["bob"]


def test_everybody_left():
    session, _ = replay("participant-join-leave-py-v1")
    assert not session.state.remote_participants
    assert [event.reason for event in told(session, events.ParticipantDisconnected)] == [
        DisconnectReason.CLIENT_INITIATED,
        DisconnectReason.CLIENT_INITIATED,
    ]
    assert session.state.active_speakers == ()


def test_a_replaced_identity_is_a_new_participant():
    session, _ = replay("duplicate-identity-observer-py-v1")
    (gone,) = told(session, events.ParticipantDisconnected)
    (came,) = told(session, events.ParticipantConnected)
    assert gone.participant is not came.participant
    assert gone.participant.sid != came.participant.sid
    assert gone.participant.identity == came.participant.identity == "bob"
    assert session.state.remote_participants["bob"] is came.participant
    assert not gone.participant.track_publications


def test_own_metadata_and_its_answers():
    session, _ = replay("metadata-update-py-v1")
    alice, bob = session.state.local_participant, session.state.remote_participants["bob"]
    changes = [
        (dict(event.changed), event.participant.identity)
        for event in told(session, events.ParticipantAttributesChanged)
    ]
    assert changes == [
        ({"a": "1", "b": "2"}, "alice"),
        ({"a": ""}, "alice"),
        ({"z": "1"}, "bob"),
        ({"api": "yes"}, "alice"),
    ]
    assert alice.name == "Api Name"
    assert dict(alice.attributes) == {"api": "yes", "b": "2"}
    assert bob.metadata == "bm"
    assert session.requests.counters["unknown_request"] == 4  # the requests of the recorded client, not ours


def test_permissions_come_and_go():
    session, _ = replay("admin-permission-py-v1")
    seen = [
        (event.permissions.can_publish, event.permissions.can_subscribe)
        for event in told(session, events.ParticipantPermissionsChanged)
    ]
    assert seen == [(False, True), (True, False), (True, True), (True, True)]
    assert session.state.local_participant.permissions.can_publish_sources == (TrackSource.CAMERA,)
    assert len(told(session, events.LocalTrackUnpublished)) == 1
    assert not session.state.local_participant.track_publications


def test_the_publisher_decides_who_may_subscribe():
    session, _ = replay("subscription-permission-py-v1")
    assert [event.allowed for event in told(session, events.TrackSubscriptionPermissionChanged)] == [False, True]


def test_the_server_mutes_a_track_of_ours():
    session, _ = replay("admin-mute-py-v1")
    muted, unmuted = told(session, events.TrackMuted, events.TrackUnmuted)
    assert isinstance(muted, events.TrackMuted)
    assert isinstance(unmuted, events.TrackUnmuted)
    assert muted.participant is session.state.local_participant
    assert not unmuted.publication.muted_on_server


def test_a_resume_changes_nobody():
    session, _ = replay("resume-signal-reconnect-py-v1")
    assert told(session, events.ParticipantConnected, events.ParticipantDisconnected) == []
    assert list(session.state.remote_participants) == ["bob"]


def test_a_full_reconnect_keeps_those_who_stayed():
    session, _ = replay("full-reconnect-py-v1")
    state = session.state
    assert told(session, events.ParticipantConnected, events.ParticipantDisconnected) == []
    assert list(state.remote_participants) == ["bob"]
    assert state.local_participant.sid


def test_speakers_of_a_drill():
    session, _ = replay("sim-speaker-py-v0")
    for event in told(session, events.ActiveSpeakersChanged):
        assert list(event.levels) == sorted(event.levels, reverse=True)
        assert len(event.levels) == len(event.speakers)
    assert told(session, events.IsSpeakingChanged)


def test_simulcast_is_seen():
    session, _ = replay("publish-video-simulcast-py-v1")
    (publication,) = session.state.local_participant.track_publications.values()
    assert publication.kind is TrackKind.VIDEO
    assert publication.simulcast
    assert publication.subscribed
    assert publication.dimensions.width > publication.dimensions.height > 0


def test_every_declared_event_is_emitted_by_some_session():
    """By a recorded one, or by the few messages at the end that no recording has. The engine tells of fresh tokens."""
    seen = set()
    for path in SESSIONS:
        seen.update(map(type, replay(path.stem)[0].outbox))
    room = Room(info(tracks=[track()]))
    room.set_connection_state(ConnectionState.CONNECTING)
    room.connected()
    moved = proto.rtc.RoomMovedResponse(room=proto.models.Room(name="hall", active_recording=True, metadata="m"))
    moved.other_participants.append(info(tracks=[track()]))
    room.apply_room_moved(moved)
    state = proto.rtc.StreamStateInfo(participant_sid="PA_bob", track_sid="TR_1", state=1)
    room.apply_stream_state(proto.rtc.StreamStateUpdate(stream_states=[state]))
    room.apply_subscription_response(proto.rtc.SubscriptionResponse(track_sid="TR_1", err=1))
    own = room.add_local_publication(track("TR_own"))
    room.set_layers_wanted(own, (True, False))
    room.rename_local_publication(own, track("TR_new"))
    room.disconnected(DisconnectReason.CLIENT_INITIATED)
    seen.update(map(type, room.events()))
    for payload in ("user", "chat_message", "transcription", "sip_dtmf"):
        data = proto.models.DataPacket(**{payload: {}})
        seen.add(type(DataReceiver(room).receive(data.SerializeToString(), True, 0.0)))
    engine_only = {events.TokenRefreshed, events.SignalReconnecting, events.Reconnecting, events.Reconnected}
    engine_only |= {events.TrackSubscribed, events.TrackUnsubscribed, events.TrackSubscriptionStatusChanged}
    engine_only |= {events.DataUnacknowledged}
    assert set(events.ALL) - seen == engine_only
