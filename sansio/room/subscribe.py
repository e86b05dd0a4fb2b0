"""The tracks of others: which of them come here, and as what.

Media and the news of its publication travel different ways and may come in either order, and nothing is told before
the session is connected: what is mapped early waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .. import events, proto
from ..base.errors import LocalProtocolError
from ..peer.media import TrackMapped, TrackUnmapped
from ..rtp.receiver import RtpReceiver
from ..types import ReceiverStats, SubscriptionStatus, TrackKind, VideoQuality
from .publication import RemoteTrackPublication
from .state import RoomState
from .track import RemoteTrack

if TYPE_CHECKING:
    from ..proto import rtc

MakeTrack = Callable[[RemoteTrackPublication, RtpReceiver], RemoteTrack]


class Subscriptions:
    """The subscribed tracks. What the user has chosen is remembered, for the server that takes us back."""

    def __init__(self, state: RoomState, outbox: deque[Any], make: MakeTrack) -> None:
        self._state = state
        self._outbox = outbox
        self._make = make
        self._connected = False
        self._tracks: dict[str, RemoteTrack] = {}
        self._by_receiver: dict[RtpReceiver, RemoteTrack] = {}
        self._waiting: dict[str, TrackMapped] = {}
        self._wanted: dict[str, bool] = {}
        self._settings: dict[str, rtc.UpdateTrackSettings] = {}
        self.unwelcome: list[rtc.UpdateSubscription] = []
        """Requests that tracks come no longer, which came although the user does not want them: a new session begins
        with everything, and what was said too early is not heeded."""
        state.on_unpublish = self._unpublished

    def track_of(self, receiver: RtpReceiver) -> RemoteTrack | None:
        """The live track that a receiver belongs to."""
        return self._by_receiver.get(receiver)

    # ------------------------------------------------------------------ media comes and goes

    def handle_mapped(self, mapped: TrackMapped) -> None:
        """A section carries a track."""
        self._waiting[mapped.track_sid] = mapped  # as many as there are sections
        self.settle()

    def connected(self) -> None:
        """From now on tracks are told of."""
        self._connected = True
        self.settle()

    def settle(self) -> None:
        """Match what waits with the publications, some of which may be new."""
        if not self._connected:
            return
        for sid, mapped in list(self._waiting.items()):
            publication = self._state.remote_publication(mapped.participant_sid, sid)
            if publication is None or sid in self._tracks:
                continue
            del self._waiting[sid]
            track = self._tracks[sid] = self._make(publication, mapped.receiver)
            self._by_receiver[mapped.receiver] = track
            before = publication.subscription_status
            publication.track, publication.subscribed = track, True
            self._outbox.append(events.TrackSubscribed(track, publication, publication.participant))
            self._tell_status(publication, before)
            if not publication.desired:
                self.unwelcome.append(subscription(publication, False))

    def handle_unmapped(self, unmapped: TrackUnmapped) -> None:
        """A section does not carry its track any more."""
        waiting = self._waiting.get(unmapped.track_sid)
        if waiting is not None and waiting.receiver is unmapped.receiver:
            del self._waiting[unmapped.track_sid]
        track = self._by_receiver.get(unmapped.receiver)
        if track is not None:
            self._end(track, "unsubscribed")

    def _unpublished(self, publication: RemoteTrackPublication) -> None:
        self._wanted.pop(publication.sid, None)
        self._settings.pop(publication.sid, None)
        track = self._tracks.get(publication.sid)
        if track is not None:
            self._end(track, "unpublished")

    def _end(self, track: RemoteTrack, reason: str) -> None:
        publication = track.publication
        del self._tracks[publication.sid]
        del self._by_receiver[track.receiver]
        track.ended = reason
        track.receiver.end(reason)
        before = publication.subscription_status
        publication.track, publication.subscribed = None, False
        self._outbox.append(events.TrackUnsubscribed(track, publication, publication.participant))
        self._tell_status(publication, before)

    def _tell_status(self, publication: RemoteTrackPublication, before: SubscriptionStatus) -> None:
        status = publication.subscription_status
        if status is not before:
            event = events.TrackSubscriptionStatusChanged(publication, status, publication.participant)
            self._outbox.append(event)

    def stats(self) -> dict[str, ReceiverStats]:
        """By the sid of the track."""
        return {sid: track.stats() for sid, track in self._tracks.items()}

    def end_all(self, reason: str) -> None:
        """The peer connections are gone, and every track with them."""
        self._connected = False
        self._waiting.clear()
        self.unwelcome.clear()
        for track in list(self._tracks.values()):
            self._end(track, reason)

    # ------------------------------------------------------------------ what the user wants

    def missing(self, mapped: Iterable[str]) -> tuple[int, int]:
        """Audio and video tracks that the server will send us, beside those that sections carry already."""
        carried = dict.fromkeys(mapped)
        counts = {TrackKind.AUDIO: 0, TrackKind.VIDEO: 0}
        for participant in self._state.remote_participants.values():
            for sid, publication in participant.track_publications.items():
                wanted = publication.desired and publication.subscription_allowed
                if publication.kind in counts and wanted and sid not in carried:
                    counts[publication.kind] += 1
        return counts[TrackKind.AUDIO], counts[TrackKind.VIDEO]

    def set_subscribed(self, publication: RemoteTrackPublication, subscribed: bool) -> None:
        """The server was asked for a track to come here, or not."""
        self._wanted[publication.sid] = subscribed
        before = publication.subscription_status
        publication.desired = subscribed
        self._tell_status(publication, before)

    def remember(self, sid: str, settings: rtc.UpdateTrackSettings) -> None:
        """What was said of how a track is to come."""
        self._settings[sid] = settings

    def restated(self, auto_subscribe: bool) -> list[rtc.UpdateSubscription]:
        """The user's choices, for a server that knows nothing of them."""
        differing = self.differing(auto_subscribe)
        return [
            subscription(publication, publication.desired)
            for participant in self._state.remote_participants.values()
            for sid, publication in participant.track_publications.items()
            if sid in differing
        ]

    @property
    def settings(self) -> list[rtc.UpdateTrackSettings]:
        """How tracks are to come, where that was said."""
        return list(self._settings.values())

    def differing(self, auto_subscribe: bool) -> list[str]:
        """The tracks for which the user has chosen otherwise than ``auto_subscribe`` does."""
        return [sid for sid, wanted in self._wanted.items() if wanted != auto_subscribe]


def subscription(publication: RemoteTrackPublication, wanted: bool) -> rtc.UpdateSubscription:
    """The request for a track to come here, or not."""
    request = proto.rtc.UpdateSubscription(track_sids=[publication.sid], subscribe=wanted)
    request.participant_tracks.add(participant_sid=publication.participant.sid, track_sids=[publication.sid])
    return request


def track_settings(
    sid: str, *, enabled: bool, quality: VideoQuality | None, width: int, height: int, fps: int
) -> rtc.UpdateTrackSettings:
    """The request for how a subscribed track is to come."""
    if min(width, height, fps) < 0 or max(width, height, fps) > 0xFFFF:
        raise LocalProtocolError("dimensions and frame rate are 0 (any) to 65535")
    settings = proto.rtc.UpdateTrackSettings(
        track_sids=[sid], disabled=not enabled, width=width, height=height, fps=fps
    )
    wanted = VideoQuality.HIGH if quality is None else quality
    settings.quality = wanted.value  # type: ignore[assignment]
    return settings
