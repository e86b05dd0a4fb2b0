"""The rooms of a server, by name, and who is in them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.limits import SFU_ROOMS
from ..base.wallclock import WallClock
from .calls import CallEnded
from .options import ServerOptions
from .participant import ServerParticipant
from .room import Room

if TYPE_CHECKING:
    from ..proto import models

CODECS = (
    *("audio/PCMU", "audio/PCMA", "audio/opus", "audio/red"),
    *("video/VP8", "video/H264", "video/VP9", "video/AV1", "video/H265", "video/rtx"),
)
ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Registry:
    """The part of the server that knows its rooms."""

    def __init__(self, options: ServerOptions, entropy: Entropy, wall: WallClock) -> None:
        self.counters = Counters()
        self._options = options
        self._entropy = entropy
        self._wall = wall
        self._rooms: dict[str, Room] = {}
        self._ended: deque[CallEnded] = deque()
        self._calls = 0

    def unix(self, now: float) -> float:
        """Unix time of a moment."""
        return self._wall.unix_at(now)

    def make_track_sid(self, prefix: str) -> str:
        """A sid that nothing else has."""
        return prefix + self._entropy.token(12, ALNUM)

    def call(self, participant: ServerParticipant, request: Any, kind: str, now: float) -> int:
        """PerformRpc of the server API: the number by which the end of the call will be known."""
        self._calls += 1
        caller = "RPC_" + self._entropy.token(12, ALNUM)
        participant.room.calls.begin(self._calls, kind, caller, participant, request, now)
        return self._calls

    @property
    def rooms(self) -> list[Room]:
        """All rooms."""
        return list(self._rooms.values())

    @property
    def remote_unmute(self) -> bool:
        """Whether the API may unmute."""
        return self._options.remote_unmute

    def has_place(self, name: str) -> bool:
        """Whether a room of this name exists, or can still be made."""
        return name in self._rooms or len(self._rooms) < SFU_ROOMS

    def room(self, name: str) -> Room | None:
        """A room by its name."""
        return self._rooms.get(name)

    def create_room(self, request: Any, now: float) -> Room:
        """CreateRoom of the server API: a new room, or the one that there is."""
        found = self._rooms.get(request.name)
        if found is not None:
            return found
        options, unix = self._options, self._wall.unix_at(now)
        info = proto.models.Room(
            sid="RM_" + self._entropy.token(12, ALNUM),
            name=request.name,
            metadata=request.metadata,
            empty_timeout=request.empty_timeout or int(options.empty_timeout),
            departure_timeout=request.departure_timeout or int(options.departure_timeout),
            max_participants=request.max_participants or options.max_participants,
            creation_time=int(unix),
            creation_time_ms=int(unix * 1000),
        )
        info.enabled_codecs.extend([proto.models.Codec(mime=mime) for mime in CODECS])
        room = self._rooms[info.name] = Room(info, self._entropy.bytes(16), self.counters, self._ended, now)
        return room

    def identities(self, room: str) -> list[str]:
        """Who is in a room, in the order of joining."""
        found = self._rooms.get(room)
        return list(found.participants) if found is not None else []

    def signal_of(self, room: str, identity: str) -> int:
        """The number of somebody's signalling link, 0 when there is none."""
        participant = self._find(room, identity)
        return participant.signal if participant is not None else 0

    def participant(self, room: str, identity: str) -> ServerParticipant | None:
        """The server's half of a session, if there is one; for tests, which may speak for it."""
        return self._find(room, identity)

    def participants(self, room: str) -> list[models.ParticipantInfo]:
        """What is told of everybody in a room."""
        found = self._rooms.get(room)
        return [participant.info for participant in found.participants.values()] if found is not None else []

    def _find(self, room: str, identity: str) -> ServerParticipant | None:
        found = self._rooms.get(room)
        return found.participants.get(identity) if found is not None else None
