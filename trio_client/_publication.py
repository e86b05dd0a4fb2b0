"""Publications as users see them: the core's live objects, with what can be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._core import VideoQuality, core_publication

if TYPE_CHECKING:
    from ._core import ReceiverStats, SenderStats
    from ._participant import LocalParticipant, RemoteParticipant
    from ._session import Session


class LocalTrackPublication(core_publication.LocalTrackPublication):
    """A track of ours, published."""

    __slots__ = ("_session",)

    def __init__(self, session: Session, participant: LocalParticipant, sid: str) -> None:
        super().__init__(participant, sid)
        self._session = session

    async def mute(self) -> None:
        """Mute the track: frames written to it are dropped, and the others are told.

        Raises DisconnectedError when the room has ended or is being left.
        """
        await trio.lowlevel.checkpoint()
        self._set_muted(True)

    async def unmute(self) -> None:
        """Unmute the track. Video goes on with the next key frame, which is wanted now. Raises like ``mute``."""
        await trio.lowlevel.checkpoint()
        self._set_muted(False)

    def _set_muted(self, muted: bool) -> None:
        self._session.do(self._session.engine.set_track_muted, self.sid, muted)
        self.track._wake()  # what it waits for, a key frame say, may be wanted now

    def stats(self) -> SenderStats | None:
        """Counters of what was sent of the track, of all layers together; None while nothing can be."""
        stats: SenderStats | None = self.track.stats() if self.track is not None else None
        return stats

    async def wait_for_subscription(self) -> None:
        """Wait until somebody has subscribed to the track. Raises DisconnectedError when the room ends before."""
        await self._session.wait_until(lambda: self.subscribed)


class RemoteTrackPublication(core_publication.RemoteTrackPublication):
    """A track of somebody else, whether it comes here or not.

    What asks the server for something raises DisconnectedError when the room has ended or is being left.
    """

    __slots__ = ("_dimensions", "_enabled", "_fps", "_quality", "_session")

    def __init__(self, session: Session, participant: RemoteParticipant, sid: str) -> None:
        super().__init__(participant, sid)
        self._session = session
        self._enabled = True
        self._quality: VideoQuality | None = None
        self._dimensions = (0, 0)
        self._fps = 0

    def stats(self) -> ReceiverStats | None:
        """Counters of what came of the track, None unless it is subscribed."""
        stats: ReceiverStats | None = self.track.stats() if self.track is not None else None
        return stats

    def set_subscribed(self, subscribed: bool) -> None:
        """Ask for the track, or for it to come no longer. TrackSubscribed or TrackUnsubscribed follows."""
        self._session.do(self._session.engine.set_subscribed, self, subscribed)

    def set_enabled(self, enabled: bool) -> None:
        """Have the server send the track, or pause it while we stay subscribed."""
        self._enabled = enabled
        self._tell()

    def set_video_quality(self, quality: VideoQuality) -> None:
        """The best simulcast layer that is to come, whatever dimensions were asked for before."""
        self._quality = quality
        self._dimensions = (0, 0)  # to the server these go before any quality
        self._tell()

    def set_video_dimensions(self, width: int, height: int) -> None:
        """The size in which the video is shown: the server sends the smallest layer that covers it.

        A quality that was asked for before counts no longer.
        """
        self._dimensions = (width, height)
        self._tell()

    def set_video_fps(self, fps: int) -> None:
        """Frames a second that are enough."""
        self._fps = fps
        self._tell()

    def _tell(self) -> None:
        width, height = self._dimensions
        self._session.do(
            self._session.engine.set_track_settings,
            self,
            enabled=self._enabled,
            quality=self._quality,
            width=width,
            height=height,
            fps=self._fps,
        )
