"""Who speaks in a room: how loud everybody's tracks are, told to those who get them."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from .. import proto
from ..base.contract import INF, NOW

if TYPE_CHECKING:
    from .participant import ServerParticipant
    from .room import Room

SPEAKER_INTERVAL = 0.4
"""Seconds between two looks at who speaks."""
LEAST_LEVEL = 10 ** (-35 / 20)
FORCED_LEVEL = 0.9


class Speakers:
    """``due``: when ``tick`` has to be called, INF while nobody can be heard."""

    def __init__(self, room: Room) -> None:
        self.due = INF
        self._room = room
        self._forced: dict[ServerParticipant, float] = {}

    def watch(self, now: float) -> None:
        """Somebody can be heard from now on."""
        self.due = min(self.due, now + SPEAKER_INTERVAL)

    def force(self, participant: ServerParticipant, until: float, now: float) -> None:
        """Count somebody as speaking for a while."""
        self._forced[participant] = until
        self.watch(now)

    def forget(self, participant: ServerParticipant) -> None:
        """Somebody has left."""
        self._forced.pop(participant, None)

    def tick(self, now: float) -> None:
        """Tell everybody what has changed."""
        levels: dict[ServerParticipant, float] = {}
        audible = False
        participants = self._room.participants.values()
        for participant in participants:
            level = 0.0
            for track in participant.tracks.values():
                if track.kind == "audio" and not track.info.muted:
                    level = max(level, track.meter.read(now))
                    audible = True
            if self._forced.get(participant, NOW) > now:
                level, audible = FORCED_LEVEL, True
            else:
                self._forced.pop(participant, None)
            if level >= LEAST_LEVEL:
                levels[participant] = ceil(level * 8) / 8
        for participant in participants:
            self._tell(participant, levels)
        self.due = now + SPEAKER_INTERVAL if audible or levels else INF

    def _tell(self, listener: ServerParticipant, levels: dict[ServerParticipant, float]) -> None:
        heard = {
            speaker.sid: level
            for speaker, level in levels.items()
            if speaker is listener or speaker in self._forced or listener.takes_from(speaker)
        }
        told = listener.told_speakers
        if heard == told:
            return
        listener.told_speakers = heard
        changed = [(sid, level, True) for sid, level in heard.items() if told.get(sid) != level]
        changed += [(sid, 0.0, False) for sid in told if sid not in heard]
        update = proto.rtc.SpeakersChanged()
        for sid, level, active in changed:
            update.speakers.append(proto.models.SpeakerInfo(sid=sid, level=level, active=active))
        listener.send("speakers_changed", update)
