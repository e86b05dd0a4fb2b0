"""What a participant may do, and what becomes of it when that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from .. import proto
from .participant import SOURCES, ServerParticipant
from .token import Claims

if TYPE_CHECKING:
    from ..proto import models
    from .server import SfuServer


def may_publish(claims: Claims, source: int) -> bool:
    """Whether tracks of a source may be published."""
    sources = claims.can_publish_sources
    return claims.can_publish and (not sources or source in [SOURCES.get(name, -1) for name in sources])


def update_permission(
    server: SfuServer, participant: ServerParticipant, permission: models.ParticipantPermission, now: float
) -> None:
    """The API changes what a participant may do: what it may not publish or get any more ends."""
    names = {number: name for name, number in SOURCES.items()}
    sources = dict.fromkeys([names.get(source, "unknown") for source in permission.can_publish_sources])
    claims = evolve(
        participant.claims,
        can_publish=permission.can_publish,
        can_subscribe=permission.can_subscribe,
        can_publish_data=permission.can_publish_data,
        can_update_own_metadata=permission.can_update_metadata,
        can_publish_sources=tuple(sources),
        hidden=permission.hidden,
    )
    participant.set_permission(claims)
    room = participant.room
    if not claims.can_publish_data:
        room.data_tracks.withdraw(participant)
    room.announce(participant)
    participant.pending = {
        cid: track for cid, track in participant.pending.items() if may_publish(claims, track.info.source)
    }
    forbidden = [track for track in participant.tracks.values() if not may_publish(claims, track.info.source)]
    for track in forbidden:
        participant.send("track_unpublished", proto.rtc.TrackUnpublishedResponse(track_sid=track.sid))
        room.unpublish(participant, track)
    if forbidden:
        room.refresh_tracks(participant)
    room.reconcile_all(participant, now)
    server.refresh_token(participant, now)
