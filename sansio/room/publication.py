"""Publications: what is known of a track before, and besides, its media."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base import limits
from ..types import AudioFeature, Dimensions, EncryptionType, StreamState, SubscriptionStatus, TrackKind, TrackSource

if TYPE_CHECKING:
    from ..proto import models
    from .participant import LocalParticipant, Participant, RemoteParticipant


class TrackPublication:
    """A published track, as the server describes it. A live object: its attributes show what is now; do not set them.

    ``mime_type`` is such as "audio/opus" and may be empty until media flows; ``dimensions`` is None for audio;
    ``stream`` groups tracks that are to be played in step; ``mid`` is the publisher's, only useful for own tracks.
    ``track`` is the media object, None as long as there is none.
    """

    __slots__ = (
        "participant",
        "sid",
        "name",
        "kind",
        "source",
        "muted",
        "subscribed",
        "track",
        "mime_type",
        "dimensions",
        "encryption",
        "simulcast",
        "stream",
        "mid",
        "audio_features",
        "__weakref__",
    )

    participant: Participant

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.name = ""
        self.kind = TrackKind.UNKNOWN
        self.source = TrackSource.UNKNOWN
        self.muted = False
        self.subscribed = False
        self.track: Any = None
        self.mime_type = ""
        self.dimensions: Dimensions | None = None
        self.encryption = EncryptionType.NONE
        self.simulcast = False
        self.stream = ""
        self.mid = ""
        self.audio_features: tuple[AudioFeature, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sid={self.sid!r}, kind={self.kind.name}, source={self.source.name})"

    def _describe(self, info: models.TrackInfo) -> None:
        """Take over everything but the mute state."""
        self.name = info.name
        self.kind = TrackKind(info.type)
        self.source = TrackSource(info.source)
        self.mime_type = info.mime_type
        self.dimensions = Dimensions(info.width, info.height) if self.kind is TrackKind.VIDEO else None
        self.encryption = EncryptionType(info.encryption)
        self.simulcast = info.simulcast
        self.stream = info.stream
        self.mid = info.mid
        self.audio_features = tuple([AudioFeature(value) for value in info.audio_features[: limits.SHORT_LIST]])


class RemoteTrackPublication(TrackPublication):
    """A track of a remote participant.

    ``subscribed`` tells whether its media comes here, ``desired`` whether it is to; ``subscription_allowed`` whether
    the publisher lets us have it; ``stream_state`` whether the server has paused it.
    """

    __slots__ = ("desired", "subscription_allowed", "stream_state")

    participant: RemoteParticipant

    def __init__(self, participant: RemoteParticipant, sid: str) -> None:
        super().__init__(sid)
        self.participant = participant
        self.desired = True
        self.subscription_allowed = True
        self.stream_state = StreamState.ACTIVE

    @property
    def subscription_status(self) -> SubscriptionStatus:
        """Where the subscription stands."""
        if self.subscribed:
            return SubscriptionStatus.SUBSCRIBED
        return SubscriptionStatus.DESIRED if self.desired else SubscriptionStatus.UNSUBSCRIBED

    def _update(self, info: models.TrackInfo) -> None:
        self._describe(info)
        self.muted = info.muted


class LocalTrackPublication(TrackPublication):
    """A track of ours. ``subscribed`` tells whether somebody has subscribed to it.

    ``muted`` is what we want; ``muted_on_server`` what the server last showed. They differ while a mute request is on
    its way or got lost, and the latter is to be sent again then.

    ``layers_wanted`` tells of each layer of a video, from the lowest on, whether somebody wants it; empty until the
    server says so.
    """

    __slots__ = ("layers_wanted", "muted_on_server")

    participant: LocalParticipant

    def __init__(self, participant: LocalParticipant, sid: str) -> None:
        super().__init__(sid)
        self.participant = participant
        self.muted_on_server = False
        self.layers_wanted: tuple[bool, ...] = ()

    def _update(self, info: models.TrackInfo) -> None:
        self._describe(info)
        self.muted_on_server = info.muted
