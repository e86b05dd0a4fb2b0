"""Tracks: the media of a publication, while it flows here or from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from ..base.errors import LocalProtocolError
from ..types import TrackKind, TrackSource, VideoQuality, total_stats

if TYPE_CHECKING:
    from ..peer.media import Sending
    from ..proto import models
    from ..rtp.frame import Frame
    from ..rtp.receiver import RtpReceiver
    from ..rtp.sender import RtpSender
    from ..types import ReceiverStats, SenderStats
    from .publication import LocalTrackPublication, RemoteTrackPublication

MOST_PIXELS = 65535
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


RIDS = ("q", "h", "f")
"""What the encodings of simulcast are called, from the lowest on."""


@frozen(kw_only=True)
class VideoLayer:
    """One encoding of a video: its size in pixels, and the bits a second that it takes at most, 0 if that is open."""

    width: int
    height: int
    bitrate: int = 0

    def __attrs_post_init__(self) -> None:
        if not (0 < self.width <= MOST_PIXELS and 0 < self.height <= MOST_PIXELS):
            raise LocalProtocolError(f"a layer is 1 to {MOST_PIXELS} pixels wide and high")
        if not 0 <= self.bitrate < 1 << 32:
            raise LocalProtocolError("a bitrate has up to 32 bits")


@frozen(kw_only=True)
class TrackDescription:
    """A track to publish. ``codec`` is "opus", "vp8" or "h264".

    ``red``: send copies of earlier audio frames along (RFC 2198), if the server takes that. ``dtx``: the encoder may
    leave frames of silence out. ``stream`` names the group of tracks that are to be played in step; the server groups
    by source without it. ``width`` and ``height`` are those of a video in pixels. ``layers``, from the lowest on, are
    its encodings, when there are several (simulcast). ``dynacast``: those that nobody wants are paused.
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
    layers: tuple[VideoLayer, ...] = ()
    dynacast: bool = True
    owner: Any = field(default=None, eq=False)
    """The object that the publication shows as its ``track``; the LocalTrack itself without one."""

    def __attrs_post_init__(self) -> None:
        if self.codec not in CODECS:
            raise LocalProtocolError(f"tracks are published as {', '.join(CODECS)}, not as {self.codec}")
        if min(self.width, self.height) < 0 or max(self.width, self.height) > MOST_PIXELS:
            raise LocalProtocolError(f"a video is 0 to {MOST_PIXELS} pixels wide and high")
        if len(self.layers) > len(RIDS) or (self.layers and self.kind is not TrackKind.VIDEO):
            raise LocalProtocolError(f"a video has up to {len(RIDS)} layers, and audio none")

    @property
    def kind(self) -> TrackKind:
        """Audio or video."""
        return CODECS[self.codec]

    @property
    def rids(self) -> tuple[str, ...]:
        """The names of several encodings; empty for one alone."""
        return RIDS[: len(self.layers)] if len(self.layers) > 1 else ()

    @property
    def qualities(self) -> tuple[VideoQuality, ...]:
        """What each encoding is to the server, which takes a single one for the best there is."""
        if len(self.layers) > 1:
            return (VideoQuality.LOW, VideoQuality.MEDIUM, VideoQuality.HIGH)[: len(self.layers)]
        return (VideoQuality.HIGH,)


class LocalTrack:
    """A track of ours, from the request to publish it on. ``publication`` is None until the server has accepted it.

    ``cid`` is our name for it, another one after each new start of the session. ``sending`` is its place in the peer
    connection, None while it has to wait for one; frames can leave when that has senders. ``confirmed`` tells whether
    the server of this session lists it among our tracks. ``wanted`` tells of each layer whether somebody wants it.
    """

    __slots__ = ("cid", "confirmed", "description", "info", "publication", "sending", "wanted", "withdrawn")

    def __init__(self, description: TrackDescription) -> None:
        self.description = description
        self.cid = ""
        self.sending: Sending | None = None
        self.publication: LocalTrackPublication | None = None
        self.info: models.TrackInfo | None = None
        self.wanted: tuple[bool, ...] = (True,) * len(description.qualities)
        self.withdrawn = self.confirmed = False

    def __repr__(self) -> str:
        return f"<LocalTrack {self.description.name!r} {self.cid}>"

    @property
    def started(self) -> bool:
        """Whether it is negotiated."""
        return self.sending is not None and bool(self.sending.senders)

    def sender(self, layer: int = 0) -> RtpSender | None:
        """What sends a layer, None until that is negotiated, and when the server does not take the layer."""
        return self.sending.senders[layer] if self.sending is not None and self.sending.senders else None

    @property
    def senders(self) -> list[RtpSender]:
        """What sends the layers that the server takes."""
        return [sender for sender in self.sending.senders if sender is not None] if self.sending is not None else []

    @property
    def muted(self) -> bool:
        """Whether it is muted, by us or by the server."""
        return self.publication.muted if self.publication is not None else self.description.muted

    def paused(self, layer: int = 0) -> bool:
        """Whether frames of a layer are dropped: the track is muted, nobody wants the layer, or the server takes no
        such layer."""
        return self.muted or not self.wanted[layer] or (self.started and self.sender(layer) is None)

    def stats(self, layer: int | None = None) -> SenderStats | None:
        """Counters of what has been sent since it was last negotiated, of one layer or of all together."""
        if not self.started:
            return None
        if layer is None:
            return total_stats([sender.stats() for sender in self.senders])
        sender = self.sender(layer)
        return sender.stats() if sender is not None else None
