"""How good everybody's connections are, told to themselves and to those who get their tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import proto
from ..base.contract import INF

if TYPE_CHECKING:
    from .participant import ServerParticipant
    from .room import Room

QUALITY_INTERVAL = 5.0
"""Seconds between two judgements of connections."""


class Quality:
    """``due``: when ``tick`` has to be called."""

    def __init__(self, room: Room) -> None:
        self.due = INF
        self._room = room

    def watch(self, now: float) -> None:
        """Somebody is there."""
        self.due = min(self.due, now + QUALITY_INTERVAL)

    def forget(self, participant: ServerParticipant) -> None:
        """Somebody has left."""
        for other in self._room.participants.values():
            other.told_qualities.pop(participant.sid, None)

    def tick(self, now: float) -> None:
        """Judge, and tell what has changed."""
        participants = self._room.participants.values()
        self.due = now + QUALITY_INTERVAL if participants else INF
        scores = [(participant, *_score(participant)) for participant in participants if participant.active]
        for listener in participants:
            update = proto.rtc.ConnectionQualityUpdate()
            for other, quality, score in scores:
                if other is not listener and not listener.takes_from(other):
                    continue
                if listener.told_qualities.get(other.sid) != quality:
                    listener.told_qualities[other.sid] = quality
                    info = update.updates.add(participant_sid=other.sid, score=score)
                    info.quality = quality  # type: ignore[assignment]  # a member of the enum
            if update.updates:
                listener.send("connection_quality", update)


def _score(participant: ServerParticipant) -> tuple[int, float]:
    """Quality and score of a participant's connections, by what is lost on the way."""
    losses = [stream.loss for peer in participant.peers for stream in peer.connection.media.streams if stream.started]
    losses += [down.loss for peer in participant.peers for down in peer.connection.media.downs]
    loss = max(losses, default=0.0)
    qualities = proto.models
    if not all(peer.connection.transport.ice.selected_addr is not None for peer in participant.peers if peer.up):
        return int(qualities.LOST), 0.0
    if loss < 0.02:
        return int(qualities.EXCELLENT), 4.5
    if loss < 0.1:
        return int(qualities.GOOD), 3.5
    return int(qualities.POOR), 2.0
