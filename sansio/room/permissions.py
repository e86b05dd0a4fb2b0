"""Who may subscribe to our tracks. The server keeps the last word we said for the length of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from attrs import evolve, field, frozen

from .. import proto
from ..base.errors import LocalProtocolError


def _several(sids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sids)


@frozen
class ParticipantTrackPermission:
    """What one participant may subscribe to: all our tracks, or those with the given sids."""

    participant_identity: str
    allow_all: bool = False
    allowed_track_sids: tuple[str, ...] = field(default=(), converter=_several)


class TrackPermissions:
    """What was set last, to be said again to a server that has forgotten it."""

    def __init__(self, send: Callable[[str, Any, float], None]) -> None:
        self._send = send
        self._everybody = True
        self._permissions: tuple[ParticipantTrackPermission, ...] = ()

    @property
    def restricted(self) -> bool:
        """Whether not everybody may have everything, which the server has to know before it knows a track."""
        return not self._everybody

    def set(self, everybody: bool, permissions: Iterable[ParticipantTrackPermission], now: float) -> None:
        """Replace what was set before, and tell the server."""
        permissions = tuple(permissions)
        for permission in permissions:
            if not permission.participant_identity:
                raise LocalProtocolError("a permission names the identity of a participant")
        try:
            message = _message(everybody, permissions)
        except (TypeError, ValueError, UnicodeError) as error:
            raise LocalProtocolError(f"identities and sids must be text: {error}") from None
        self._send("subscription_permission", message, now)
        self._everybody, self._permissions = everybody, permissions

    def say(self, now: float) -> None:
        """Tell a server that took us (back) in; by itself it allows everything."""
        if self.restricted:
            self._send("subscription_permission", _message(self._everybody, self._permissions), now)

    def rename(self, old: str, new: str, now: float) -> None:
        """A track of ours has another sid, after a new start of the session."""
        renamed = tuple(
            [
                evolve(
                    permission, allowed_track_sids=[new if sid == old else sid for sid in permission.allowed_track_sids]
                )
                for permission in self._permissions
            ]
        )
        if renamed != self._permissions:
            self._permissions = renamed
            with suppress(LocalProtocolError):  # too many requests wait for the link: when it is back, it is told
                self.say(now)


def _message(everybody: bool, permissions: Iterable[ParticipantTrackPermission]) -> Any:
    message = proto.rtc.SubscriptionPermission(all_participants=everybody)
    for permission in permissions:
        message.track_permissions.add(
            participant_identity=permission.participant_identity,
            all_tracks=permission.allow_all,
            track_sids=permission.allowed_track_sids,
        )
    return message
