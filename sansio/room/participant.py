"""Participants: live objects that a room's state keeps up to date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from ..types import (
    ConnectionQuality,
    DisconnectReason,
    ParticipantKind,
    ParticipantState,
    Permissions,
    TrackSource,
)
from .data_tracks import RemoteDataTrack
from .publication import LocalTrackPublication, RemoteTrackPublication, TrackPublication


class Participant:
    """Somebody in the room. A live object: its attributes show what is now; do not set them.

    ``identity`` is given by the access token and stays over reconnects, ``sid`` names one session of it. ``metadata``
    and ``attributes`` belong to the application. ``kind_value`` is the number of ``kind`` on the wire, for kinds that
    are UNKNOWN here. ``audio_level`` is 0 to 1; ``connection_score`` is the server's raw number behind
    ``connection_quality``. ``client_protocol`` and ``capabilities`` tell which formats the participant's client can
    read. ``joined_at`` is in UTC, None until told.
    """

    __slots__ = (
        "identity",
        "sid",
        "name",
        "metadata",
        "attributes",
        "kind",
        "kind_value",
        "permissions",
        "joined_at",
        "state",
        "is_publisher",
        "is_speaking",
        "audio_level",
        "connection_quality",
        "connection_score",
        "disconnect_reason",
        "client_protocol",
        "capabilities",
        "_version",
        "_size",
        "_publications",
        "_publications_view",
        "_data_tracks",
        "__weakref__",
    )

    is_local = False

    def __init__(self, identity: str, sid: str) -> None:
        self.identity = identity
        self.sid = sid
        self.name = ""
        self.metadata = ""
        self.attributes: Mapping[str, str] = MappingProxyType({})
        self.kind = ParticipantKind.STANDARD
        self.kind_value = 0
        self.permissions: Permissions | None = None
        self.joined_at: datetime | None = None
        self.state = ParticipantState.JOINING
        self.is_publisher = False
        self.is_speaking = False
        self.audio_level = 0.0
        self.connection_quality = ConnectionQuality.UNKNOWN
        self.connection_score = 0.0
        self.disconnect_reason: DisconnectReason | None = None
        self.client_protocol = 0
        self.capabilities: tuple[int, ...] = ()
        self._version = -1
        self._size = 0
        self._publications: dict[str, Any] = {}
        self._publications_view: Mapping[str, Any] = MappingProxyType(self._publications)
        self._data_tracks: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(identity={self.identity!r}, sid={self.sid!r})"

    @property
    def track_publications(self) -> Mapping[str, TrackPublication]:
        """Publications by track sid; a read-only view that is always current."""
        return self._publications_view

    def get_track_publication(self, which: TrackSource | str) -> TrackPublication | None:
        """The first publication with this source, or with this name; None when there is none."""
        found: TrackPublication | None = self._find(which)
        return found

    def _find(self, which: TrackSource | str) -> Any:
        for publication in self._publications.values():
            if which in (publication.source, publication.name):
                return publication
        return None


class RemoteParticipant(Participant):
    """Somebody else in the room. Who leaves and comes back is a new object."""

    __slots__ = ()

    @property
    def data_tracks(self) -> Mapping[str, RemoteDataTrack]:
        """Data tracks by sid; a read-only view that is always current."""
        return MappingProxyType(self._data_tracks)

    @property
    def track_publications(self) -> Mapping[str, RemoteTrackPublication]:
        """Publications by track sid; a read-only view that is always current."""
        return self._publications_view

    def get_track_publication(self, which: TrackSource | str) -> RemoteTrackPublication | None:
        """The first publication with this source, or with this name; None when there is none."""
        found: RemoteTrackPublication | None = self._find(which)
        return found


class LocalParticipant(Participant):
    """Ourselves. One object for the whole life of a room, also over reconnects that change its ``sid``."""

    __slots__ = ()

    is_local = True

    def __init__(self) -> None:
        super().__init__("", "")

    @property
    def track_publications(self) -> Mapping[str, LocalTrackPublication]:
        """Publications by track sid; a read-only view that is always current."""
        return self._publications_view

    def get_track_publication(self, which: TrackSource | str) -> LocalTrackPublication | None:
        """The first publication with this source, or with this name; None when there is none."""
        found: LocalTrackPublication | None = self._find(which)
        return found
