"""Builders of server messages, and a room that they are fed to."""

from __future__ import annotations

from collections import deque

from sansio import proto
from sansio.room.state import RoomState

JOINED, ACTIVE, DISCONNECTED = 1, 2, 3


def info(identity="bob", sid="PA_bob", version=1, state=ACTIVE, tracks=(), **fields):
    return proto.models.ParticipantInfo(
        identity=identity, sid=sid, version=version, state=state, tracks=list(tracks), **fields
    )


def track(sid="TR_1", name="mic", muted=False, **fields):
    fields.setdefault("source", 2)
    return proto.models.TrackInfo(sid=sid, name=name, muted=muted, **fields)


def update(*infos):
    return proto.rtc.ParticipantUpdate(participants=infos)


def join(*others, own=None, room=None, **fields):
    return proto.rtc.JoinResponse(
        participant=own or info("alice", "PA_alice", 0, JOINED),
        other_participants=others,
        room=room or proto.models.Room(sid="RM_1", name="lobby"),
        **fields,
    )


def speakers(*levels):
    return proto.rtc.SpeakersChanged(
        speakers=[proto.models.SpeakerInfo(sid=sid, level=level, active=active) for sid, level, active in levels]
    )


class Room(RoomState):
    """A joined room and its events."""

    def __init__(self, *others, factories=None, **fields):
        super().__init__(deque(), factories)
        self.apply_join(join(*others, **fields))
        assert not self._outbox

    def events(self):
        seen = list(self._outbox)
        self._outbox.clear()
        return seen

    def update(self, *infos):
        self.apply_update(update(*infos))
        return self.events()


def names(seen):
    return [event.name or event.participant_name for event in seen]
