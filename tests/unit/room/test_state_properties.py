"""Any sequence of messages: the state equals a simple model, and the events alone lead from the old state to the new.

The model is written without regard to how the state does it: plain dictionaries, one rule after the other.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sansio import events, proto
from sansio.types import ParticipantState, StreamState

from .build import DISCONNECTED, Room, info, join, speakers, track, update

IDENTITIES = ["alice", "bob", "bob", "carol", "carol", "dave", ""]
SIDS = ["PA_alice", "PA_1", "PA_1", "PA_2", "PA_2", "PA_3", ""]
TEXTS = st.sampled_from(["", "", "a", "b"])

tracks = st.lists(st.builds(track, sid=st.sampled_from(["TR_1", "TR_2", "TR_3", ""]), muted=st.booleans()), max_size=3)
infos = st.builds(
    info,
    identity=st.sampled_from(IDENTITIES),
    sid=st.sampled_from(SIDS),
    version=st.integers(0, 3),
    state=st.sampled_from([0, 1, 2, 2, 2, 3, 77]),
    tracks=tracks,
    name=TEXTS,
    metadata=TEXTS,
    attributes=st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2),
)
own_infos = st.builds(
    info,
    identity=st.just("alice"),
    sid=st.sampled_from(["PA_alice", "PA_alice2"]),
    version=st.integers(0, 3),
    name=TEXTS,
)
rooms = st.builds(
    proto.models.Room,
    sid=st.sampled_from(["", "RM_1", "RM_2"]),
    name=TEXTS,
    metadata=TEXTS,
    num_participants=st.integers(0, 2),
    active_recording=st.booleans(),
)
known_sids = st.sampled_from(["PA_alice", "PA_1", "PA_2", "PA_3", "PA_none"])
known_tracks = st.sampled_from(["TR_1", "TR_2", "TR_3"])
messages = st.one_of(
    st.builds(lambda infos: ("update", update(*infos)), st.lists(infos, max_size=4)),
    st.builds(lambda infos: ("update", update(*infos)), st.lists(infos, max_size=4)),
    st.builds(
        lambda own, infos, room: ("join", join(*infos, own=own, room=room)),
        own_infos,
        st.lists(infos, max_size=4),
        rooms,
    ),
    st.builds(
        lambda own, infos, room: (
            "moved",
            proto.rtc.RoomMovedResponse(participant=own, other_participants=infos, room=room),
        ),
        own_infos,
        st.lists(infos, max_size=4),
        rooms,
    ),
    st.just(("begin", None)),
    st.just(("end", None)),
    st.builds(
        lambda levels: ("speakers", speakers(*levels)),
        st.lists(st.tuples(known_sids, st.sampled_from([0.25, 0.5, 1.0]), st.booleans()), max_size=4),
    ),
    st.builds(lambda room: ("room", proto.rtc.RoomUpdate(room=room)), rooms),
    st.builds(
        lambda sid, quality: (
            "quality",
            proto.rtc.ConnectionQualityUpdate(updates=[{"participant_sid": sid, "quality": quality}]),
        ),
        known_sids,
        st.integers(0, 4),
    ),
    st.builds(
        lambda sid, track_sid, state: (
            "stream",
            proto.rtc.StreamStateUpdate(
                stream_states=[{"participant_sid": sid, "track_sid": track_sid, "state": state}]
            ),
        ),
        known_sids,
        known_tracks,
        st.integers(0, 2),
    ),
    st.builds(
        lambda sid, track_sid, allowed: (
            "allowed",
            proto.rtc.SubscriptionPermissionUpdate(participant_sid=sid, track_sid=track_sid, allowed=allowed),
        ),
        known_sids,
        known_tracks,
        st.booleans(),
    ),
    st.builds(lambda sid, muted: ("publish", track(sid, muted=muted)), known_tracks, st.booleans()),
    st.builds(lambda sid, muted: ("mute", (sid, muted)), known_tracks, st.booleans()),
    st.builds(lambda sid: ("unpublished", proto.rtc.TrackUnpublishedResponse(track_sid=sid)), known_tracks),
    st.builds(lambda sid: ("subscribed", proto.rtc.TrackSubscribed(track_sid=sid)), known_tracks),
)


def feed(room, kind, message):
    match kind:
        case "update":
            room.apply_update(message)
        case "join":
            room.apply_join(message)
        case "moved":
            room.apply_room_moved(message)
        case "begin":
            room.begin_resync()
        case "end":
            room.end_resync()
        case "speakers":
            room.apply_speakers(message)
        case "room":
            room.apply_room_update(message)
        case "quality":
            room.apply_quality(message)
        case "stream":
            room.apply_stream_state(message)
        case "allowed":
            room.apply_subscription_permission(message)
        case "publish":
            room.add_local_publication(message)
        case "mute":
            room.apply_mute(*message)
        case "unpublished":
            room.apply_track_unpublished(message)
        case "subscribed":
            room.apply_track_subscribed(message)


# ------------------------------------------------------------------ the model


class Model:
    """Who is there and what they have, by the rules of the protocol."""

    def __init__(self):
        self.own = {"identity": "alice", "sid": "PA_alice", "version": 0, "name": "", "metadata": "", "attributes": {}}
        self.others = {}
        self.mentioned = None

    def handle(self, kind, message):
        if kind in ("update", "join", "moved"):
            infos = message.participants if kind == "update" else message.other_participants
            if kind in ("join", "moved"):
                self.tell_own(message.participant)
            if kind != "update":
                there = [one.sid for one in infos]
                self.others = {identity: one for identity, one in self.others.items() if one["sid"] in there}
            for one in infos:
                self.tell(one)
        elif kind == "begin":
            self.mentioned = []
        elif kind == "end" and self.mentioned is not None:
            self.others = {identity: one for identity, one in self.others.items() if one in self.mentioned}
            self.mentioned = None

    def tell_own(self, one):
        self.own.update(identity=one.identity, sid=one.sid, **described(one))

    def tell(self, one):
        if not (one.identity and one.sid):
            return
        if one.identity == self.own["identity"] or one.sid == self.own["sid"]:
            stale = one.sid == self.own["sid"] and one.version < self.own["version"]
            if one.state != DISCONNECTED and not stale:
                self.tell_own(one)
            return
        known = self.others.get(one.identity)
        if known and known["sid"] == one.sid:
            if one.state == DISCONNECTED:
                del self.others[one.identity]
            elif one.version >= known["version"]:
                known.update(described(one), tracks=self.tracks(one))
        elif one.state != DISCONNECTED:
            self.others.pop(one.identity, None)
            if one.sid in [other["sid"] for other in self.others.values()]:
                return
            self.others[one.identity] = {"sid": one.sid, **described(one), "tracks": self.tracks(one)}
        if self.mentioned is not None and one.identity in self.others:
            now = self.others[one.identity]
            self.mentioned = [other for other in self.mentioned if other is not now] + [now]

    def tracks(self, one):
        return {track.sid: track.muted for track in one.tracks if track.sid}


def described(one):
    return {
        "version": one.version,
        "name": one.name,
        "metadata": one.metadata,
        "attributes": dict(one.attributes),
    }


def seen(room):
    """The same of the room."""

    def common(participant):
        return {
            "sid": participant.sid,
            "version": participant._version,
            "name": participant.name,
            "metadata": participant.metadata,
            "attributes": dict(participant.attributes),
        }

    own = {"identity": room.local_participant.identity, **common(room.local_participant)}
    others = {
        participant.identity: {
            **common(participant),
            "tracks": {sid: publication.muted for sid, publication in participant.track_publications.items()},
        }
        for participant in room.remote_participants.values()
    }
    return own, others


@given(st.lists(messages, max_size=12))
@settings(max_examples=150)
def test_the_state_is_that_of_the_model(sequence):
    room, model = Room(), Model()
    for kind, message in sequence:
        feed(room, kind, message)
        model.handle(kind, message)
        assert seen(room) == (model.own, model.others)


# ------------------------------------------------------------------ events alone


ROOM = ("sid", "name", "metadata", "num_participants", "is_recording")


def of_participant(participant):
    return {
        "name": participant.name,
        "metadata": participant.metadata,
        "attributes": dict(participant.attributes),
        "active": participant.state is ParticipantState.ACTIVE,
        "quality": participant.connection_quality,
        "speaking": participant.is_speaking,
        "tracks": {sid: of_publication(publication) for sid, publication in participant.track_publications.items()},
    }


def of_publication(publication):
    return {
        "muted": publication.muted,
        "subscribed": publication.subscribed,
        "allowed": getattr(publication, "subscription_allowed", True),
        "stream": getattr(publication, "stream_state", StreamState.ACTIVE),
    }


def snapshot(room):
    """Everything that has an event, keyed by the objects themselves."""
    return {
        "room": {name: getattr(room, name) for name in ROOM},
        "speakers": [(one, one.audio_level) for one in room.active_speakers],
        "there": {one: of_participant(one) for one in [room.local_participant, *room.remote_participants.values()]},
    }


def advance(state, event):
    """One event applied to a snapshot."""
    there = state["there"]
    match event:
        case events.ParticipantConnected(participant=one):
            assert one not in there
            there[one] = {**of_participant(one), "tracks": {}, "active": False, "speaking": False}
        case events.ParticipantDisconnected(participant=one):
            assert there.pop(one)["tracks"] == {}
        case events.ParticipantActive(participant=one):
            there[one]["active"] = True
        case events.ParticipantNameChanged(participant=one):
            assert event.previous != event.new_name
            there[one]["name"] = event.new_name
        case events.ParticipantMetadataChanged(participant=one):
            there[one]["metadata"] = event.metadata
        case events.ParticipantAttributesChanged(participant=one):
            merged = {**event.previous, **event.changed}
            there[one]["attributes"] = {key: value for key, value in merged.items() if value}
        case events.ConnectionQualityChanged(participant=one):
            there[one]["quality"] = event.quality
        case events.IsSpeakingChanged(participant=one):
            assert there[one]["speaking"] is not event.speaking
            there[one]["speaking"] = event.speaking
        case events.ActiveSpeakersChanged():
            now = list(zip(event.speakers, event.levels, strict=True))
            assert state["speakers"] != now
            state["speakers"] = now
        case events.TrackPublished(publication=track) | events.LocalTrackPublished(publication=track):
            assert track.sid not in there[event.participant]["tracks"]
            there[event.participant]["tracks"][track.sid] = of_publication(track)
        case events.TrackUnpublished(publication=track) | events.LocalTrackUnpublished(publication=track):
            del there[event.participant]["tracks"][track.sid]
        case events.TrackMuted(publication=track) | events.TrackUnmuted(publication=track):
            there[event.participant]["tracks"][track.sid]["muted"] = isinstance(event, events.TrackMuted)
        case events.TrackSubscriptionPermissionChanged(publication=track):
            there[event.participant]["tracks"][track.sid]["allowed"] = event.allowed
        case events.TrackStreamStateChanged(publication=track):
            there[event.participant]["tracks"][track.sid]["stream"] = event.state
        case events.LocalTrackSubscribed(publication=track):
            there[event.participant]["tracks"][track.sid]["subscribed"] = True
        case events.RoomUpdated():
            state["room"].update({name: event.changed[name] for name in ROOM if name in event.changed})
        case events.Moved():
            assert state["room"]["name"] == event.previous_name
            state["room"]["name"] = event.room_name
        case events.RoomMetadataChanged():
            assert state["room"]["metadata"] == event.previous != event.metadata
        case events.RecordingStatusChanged():
            assert state["room"]["is_recording"] is not event.recording
        case _:
            raise AssertionError(event)


def without_lost_activity(state):
    """Nobody is told that a participant stopped being active, which real servers never say."""
    return {**state, "there": {one: {**facts, "active": None} for one, facts in state["there"].items()}}


@given(st.lists(messages, max_size=10))
@settings(max_examples=150)
def test_events_alone_lead_from_the_old_state_to_the_new(sequence):
    room = Room()
    for kind, message in sequence:
        state = snapshot(room)
        feed(room, kind, message)
        for event in room.events():
            advance(state, event)
        assert without_lost_activity(state) == without_lost_activity(snapshot(room))
