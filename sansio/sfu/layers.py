"""Which layers of video anybody takes, told to who publishes it: more at once, fewer after a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import proto
from ..base.contract import INF

if TYPE_CHECKING:
    from .room import Room
    from .track import UpTrack

PAUSE_DELAY = 5.0
"""Seconds after which a publisher is told that a layer is not needed any more."""


class Layers:
    """Those of the tracks in a room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._pauses: dict[str, float] = {}

    @property
    def due(self) -> float:
        """When ``tick`` has to be called."""
        return min(self._pauses.values(), default=INF)

    def judge(self, track: UpTrack, now: float) -> None:
        """Somebody takes a track now, or no longer, or in another way."""
        if track.kind != "video":
            return
        needed, before = _needed(track), track.told_qualities
        if needed == before or (before is None and not any(needed)):
            self._pauses.pop(track.sid, None)
        elif before is None or needed > before:
            self._tell(track, needed)
        else:
            self._pauses.setdefault(track.sid, now + PAUSE_DELAY)

    def forget(self, track: UpTrack) -> None:
        """A track has ended."""
        self._pauses.pop(track.sid, None)

    def tick(self, now: float) -> None:
        """Tell of layers that have not been needed for a while."""
        for sid, at in list(self._pauses.items()):
            if at <= now:
                del self._pauses[sid]
                found = self._room.find_track(sid)
                if found is not None:
                    self._tell(found[1], _needed(found[1]))

    def _tell(self, track: UpTrack, needed: tuple[bool, ...]) -> None:
        self._pauses.pop(track.sid, None)
        track.told_qualities = needed
        found = self._room.find_track(track.sid)
        if found is None:
            return
        rtc = proto.rtc
        update = rtc.SubscribedQualityUpdate(track_sid=track.sid)
        layers = [
            rtc.SubscribedQuality(quality=name, enabled=enabled)
            for name, enabled in zip(("LOW", "MEDIUM", "HIGH"), needed, strict=True)
        ]
        update.subscribed_qualities.extend(layers)
        codec = track.info.mime_type.partition("/")[2].lower()
        update.subscribed_codecs.append(rtc.SubscribedCodec(codec=codec, qualities=layers))
        found[0].send("subscribed_quality_update", update)


def _needed(track: UpTrack) -> tuple[bool, ...]:
    """Of the three layers, those up to the best that somebody takes."""
    wanted = max([down.max_layer for down in track.downs.values() if down.enabled], default=-1)
    return tuple([layer <= wanted for layer in range(3)])
