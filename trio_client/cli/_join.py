"""``trio-livekit join``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import trio

from .. import _core as core
from .._connect import connect
from ._exits import Exit, Failure, sent_away
from ._places import find_token, find_url
from ._stop import stop_after, until_stopped
from ._transcript import Transcript, describe

REFRESH = 0.25
"""Seconds between two looks at the levels."""


class Meter:
    """Counts the frames of one subscribed track."""

    def __init__(self, track: Any, who: str) -> None:
        self.track = track
        self.who = who
        self.frames = 0
        self.bytes = 0

    async def run(self) -> None:
        """Read, and count, until the track ends."""
        async for frame in self.track.frames():
            self.frames += 1
            self.bytes += len(frame.data)


class Levels:
    """The line below a transcript: who is heard, and what comes in."""

    def __init__(self, transcript: Transcript, room: Any) -> None:
        self._transcript = transcript
        self._room = room
        self._meters: dict[Any, Meter] = {}

    def add(self, track: Any, who: str) -> None:
        """A track has been subscribed to."""
        meter = self._meters[track] = Meter(track, who)
        self._room.start_soon(meter.run)

    def remove(self, track: Any) -> None:
        """A track has ended."""
        self._meters.pop(track, None)

    async def run(self) -> None:
        """Keep the line current."""
        while True:
            self._transcript.status(self._line())
            await trio.sleep(REFRESH)

    def _line(self) -> str:
        parts = [f"{self._room.name}: {len(self._room.remote_participants)} others"]
        parts += self._transcript.speakers(self._room)
        for meter in self._meters.values():
            rate = meter.bytes * 8 / 1000 / REFRESH
            parts.append(f"{meter.who} {meter.frames / REFRESH:.0f}/s {rate:.0f} kbit/s")
            meter.frames = meter.bytes = 0
        return "  ".join(parts)


async def run(arguments: Namespace) -> int:
    """Join, and tell until stopped or sent away."""
    url = find_url(arguments)
    token = find_token(arguments, url)
    transcript = Transcript()
    ended: core.DisconnectReason | None = None
    try:
        async with (
            connect(url, token, auto_subscribe=not arguments.no_subscribe) as room,
            until_stopped() as scope,
        ):
            stop_after(scope, arguments.seconds)
            me = room.local_participant.identity
            others = ", ".join(sorted(room.remote_participants)) or "nobody else"
            transcript.say(f"joined {room.name} as {me}, with {others}")
            levels = Levels(transcript, room)
            with room.events(overflow="drop_oldest") as events:
                if transcript.live:
                    room.start_soon(levels.run)
                if arguments.send is not None:
                    permissions = room.local_participant.permissions
                    if permissions is not None and not permissions.can_publish_data:  # which no server says
                        raise Failure(Exit.REJECTED, "The token does not allow to publish data.")
                    await room.local_participant.publish_data(arguments.send.encode(), topic=arguments.topic)
                    transcript.say("sent")
                async for event in events:
                    if text := describe(event):
                        transcript.say(text)
                    match event:
                        case core.TrackSubscribed(track=track, participant=participant):
                            levels.add(track, f"{participant.identity} {track.publication.kind.name.lower()}")
                        case core.TrackUnsubscribed(track=track):
                            levels.remove(track)
                        case core.Disconnected(reason=reason):
                            ended = reason
        if ended is None:
            transcript.say("left")
    finally:
        transcript.close()
    if ended is not None:
        raise sent_away(ended)
    return Exit.OK
