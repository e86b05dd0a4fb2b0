"""Tracks: the media of a publication, while it flows here or from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from ..base.errors import LocalProtocolError
from ..types import TrackKind, TrackSource

if TYPE_CHECKING:
    from ..peer.media import Sending
    from ..proto import models
    from ..rtp.frame import Frame
    from ..rtp.receiver import ReceiverStats, RtpReceiver
    from ..rtp.sender import RtpSender, SenderStats
    from .publication import LocalTrackPublication, RemoteTrackPublication

CODECS = {"opus": TrackKind.AUDIO, "vp8": TrackKind.VIDEO, "h264": TrackKind.VIDEO}
"""What a track of ours may be encoded in."""


class RemoteTrack:
    """A subscribed track of somebody else. ``ended`` is empty while it lives, then says why it ended.

    Frames are kept only while the track is enabled (``RoomEngine.enable_track``).
    """

    __slots__ = ("ended", "publication", "receiver", "__weakref__")

    def __init__(self, publication: RemoteTrackPublication, receiver: RtpReceiver) -> None:
        self.publication = publication
        self.receiver = receiver
        self.ended = ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.sid}>"

    @property
    def sid(self) -> str:
        """The server's id of the track."""
        return self.publication.sid

    @property
    def name(self) -> str:
        """The name that its publisher gave it."""
        return self.publication.name

    @property
    def kind(self) -> TrackKind:
        """Audio or video."""
        return TrackKind.AUDIO if self.receiver.kind == "audio" else TrackKind.VIDEO

    @property
    def muted(self) -> bool:
        """Whether the publisher has muted it."""
        return self.publication.muted

    def read(self) -> Frame | None:
        """The next frame that waits, or None."""
        return self.receiver.read()

    def stats(self) -> ReceiverStats:
        """Counters of what has been received."""
        return self.receiver.stats()


@frozen(kw_only=True)
class TrackDescription:
    """A track to publish. ``codec`` is "opus", "vp8" or "h264".

    ``red``: send copies of earlier audio frames along (RFC 2198), if the server takes that. ``dtx``: the encoder may
    leave frames of silence out. ``stream`` names the group of tracks that are to be played in step; the server groups
    by source without it. ``width`` and ``height`` are those of a video in pixels.
    """

    codec: str
    name: str = ""
    source: TrackSource = TrackSource.UNKNOWN
    red: bool = True
    dtx: bool = True
    stereo: bool = False
    stream: str = ""
    muted: bool = False
    width: int = 0
    height: int = 0
    owner: Any = field(default=None, eq=False)
    """The object that the publication shows as its ``track``; the LocalTrack itself without one."""

    def __attrs_post_init__(self) -> None:
        if self.codec not in CODECS:
            raise LocalProtocolError(f"tracks are published as {', '.join(CODECS)}, not as {self.codec}")
        if min(self.width, self.height) < 0 or max(self.width, self.height) > 65535:
            raise LocalProtocolError("a video is 0 to 65535 pixels wide and high")

    @property
    def kind(self) -> TrackKind:
        """Audio or video."""
        return CODECS[self.codec]


class LocalTrack:
    """A track of ours, from the request to publish it on. ``publication`` is None until the server has accepted it.

    ``cid`` is our name for it, another one after each new start of the session. ``sending`` is its place in the peer
    connection; frames can leave when that has a sender.
    """

    __slots__ = ("cid", "description", "info", "publication", "sending", "withdrawn")

    def __init__(self, description: TrackDescription) -> None:
        self.description = description
        self.cid = ""
        self.sending: Sending | None = None
        self.publication: LocalTrackPublication | None = None
        self.info: models.TrackInfo | None = None
        self.withdrawn = False

    def __repr__(self) -> str:
        return f"<LocalTrack {self.description.name!r} {self.cid}>"

    @property
    def sender(self) -> RtpSender | None:
        """What sends it, None until that is negotiated."""
        return self.sending.sender if self.sending is not None else None

    @property
    def muted(self) -> bool:
        """Whether it is muted, by us or by the server."""
        return self.publication.muted if self.publication is not None else self.description.muted

    def stats(self) -> SenderStats | None:
        """Counters of what has been sent since it was last negotiated."""
        sender = self.sender
        return sender.stats() if sender is not None else None
