"""A published track: what is known of it, its sources, and those who take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.limits import SFU_NAME, SHORT_LIST
from ..rtp.packet import RtpPacket
from ..sdp.codecs import DEPENDENCY_DESCRIPTOR
from ..sdp.media import Codec
from .upstream import LevelMeter, UpStream

if TYPE_CHECKING:
    from ..proto import models, rtc
    from .downstream import DownTrack
    from .media import MediaRelay

_RIDS = {"q": 0, "h": 1, "f": 2, "2": 0, "1": 1, "0": 2}
_SOURCES = {1: "C", 2: "M", 3: "S", 4: "s"}


def track_prefix(kind: int, source: int) -> str:
    """The beginning of a track's sid."""
    return f"TR_{'V' if kind else 'A'}{_SOURCES.get(source, '')}"


class UpTrack:
    """A track of a participant, from its AddTrackRequest on.

    ``mid`` is the section that carries it, empty before. ``sdp_cid`` is what the description calls it. ``media`` is the
    relay of the publisher's connection. ``layered``: it comes in several layers of which one is sent. ``downs``: by
    the sid of the subscriber.
    """

    def __init__(self, sid: str, publisher_sid: str, request: rtc.AddTrackRequest) -> None:
        self.sid = sid
        self.kind = "video" if request.type == proto.models.VIDEO else "audio"
        self.cids = [request.cid, *[codec.cid for codec in request.simulcast_codecs[:SHORT_LIST] if codec.cid]]
        self.stream_id = f"{publisher_sid}|{sid}"
        self.mid = ""
        self.sdp_cid = ""
        self.media: MediaRelay | None = None
        self.layered = False
        self.downs: dict[str, DownTrack] = {}
        self.meter = LevelMeter()
        self.told_subscribed = False
        self.told_qualities: tuple[bool, ...] | None = None
        self.streams: list[UpStream] = []
        self.codec = request.simulcast_codecs[0].codec.lower() if request.simulcast_codecs else ""
        self.info = _make_info(sid, request)

    @property
    def cid(self) -> str:
        """The client's own name for it."""
        return self.cids[0]

    @property
    def descriptor_id(self) -> int:
        """The id of the dependency descriptor in the publisher's packets."""
        return self.media.extensions.get(DEPENDENCY_DESCRIPTOR, 0) if self.media is not None else 0

    def touch(self) -> None:
        """A stream of it owes the publisher a request."""
        assert self.media is not None
        self.media.touch()

    # ------------------------------------------------------------------ layers

    def layer_of(self, rid: str, rids: tuple[str, ...]) -> int:
        """Which layer a rid names: by LiveKit's own names, else by its place."""
        return _RIDS.get(rid, min(rids.index(rid), 2))

    def stream_of(self, rid: str) -> UpStream | None:
        """The source of a rid."""
        for stream in self.streams:
            if stream.rid == rid:
                return stream
        return None

    def add_stream(self, stream: UpStream) -> None:
        """A source of it is known."""
        self.streams.append(stream)
        self.streams.sort(key=lambda each: each.layer)
        for layers in [self.info.layers, *[codec.layers for codec in self.info.codecs]]:
            for place, layer in enumerate(layers):
                if place == stream.layer:
                    layer.ssrc = stream.ssrc
                    layer.rid = stream.rid
                    layer.spatial_layer = stream.layer

    def best(self, most: int, now: float) -> UpStream | None:
        """The source to send: the highest live layer up to ``most``, else the lowest live one, else the lowest."""
        live = [stream for stream in self.streams if stream.live(now)]
        within = [stream for stream in live if stream.layer <= most]
        return within[-1] if within else live[0] if live else self.streams[0] if self.streams else None

    def forward(self, stream: UpStream, packet: RtpPacket, codec: Codec, keyframe: bool, now: float) -> None:
        """A packet of it came: to everybody who takes the track."""
        if self.info.muted:
            return
        for down in self.downs.values():
            down.forward(stream, packet, codec, keyframe, now)

    def set_muted(self, muted: bool, now: float) -> None:
        """Nothing is forwarded while it is muted."""
        if muted == self.info.muted:
            return
        self.info.muted = muted
        for down in self.downs.values():
            down.pause()
            if not muted:
                down.ask_keyframe(now)

    def layer_for(self, setting: rtc.UpdateTrackSettings) -> int:
        """The layer that a subscriber's settings ask for: by size where one is given, else by quality."""
        if setting.width:
            wanted = min(setting.width, setting.height) if setting.height else setting.width
            for place, layer in enumerate(self.info.layers):
                if min(layer.width, layer.height) >= wanted:
                    return min(place, 2)
            return 2
        return min(int(setting.quality), 2)

    def describe(self, mime: str, mid: str) -> None:
        """Its section is known, and by that its codec."""
        self.mid = self.info.mid = mid
        self.info.mime_type = mime
        if not self.info.codecs:
            self.info.codecs.add(cid=self.cid)
        self.info.codecs[0].mid = mid
        self.info.codecs[0].mime_type = mime


def _make_info(sid: str, request: rtc.AddTrackRequest) -> models.TrackInfo:
    models = proto.models
    info = models.TrackInfo(
        sid=sid,
        type=request.type,
        name=request.name[:SFU_NAME],
        muted=request.muted,
        width=request.width,
        height=request.height,
        source=request.source,
        disable_red=request.disable_red,
        encryption=request.encryption,
        stream=request.stream or _stream_name(request.source),
        backup_codec_policy=request.backup_codec_policy,
    )
    info.audio_features.extend(request.audio_features[:SHORT_LIST])
    info.stereo = models.TF_STEREO in request.audio_features or request.stereo
    info.disable_dtx = models.TF_NO_DTX in request.audio_features or request.disable_dtx
    layers = sorted(request.layers[:SHORT_LIST], key=lambda layer: layer.quality)
    info.layers.extend(layers)
    info.simulcast = len(layers) > 1
    kind = "video" if request.type == models.VIDEO else "audio"
    for codec in request.simulcast_codecs[:SHORT_LIST]:
        added = info.codecs.add(cid=codec.cid or request.cid, mime_type=f"{kind}/{codec.codec.lower()}")
        own = sorted(codec.layers[:SHORT_LIST], key=lambda layer: layer.quality) or layers
        added.layers.extend(own)
        mode: Any = codec.video_layer_mode or (2 if codec.codec.lower() in ("vp9", "av1") else 1)
        added.video_layer_mode = mode
    if info.codecs:
        info.mime_type = info.codecs[0].mime_type
    return info


def _stream_name(source: int) -> str:
    return {1: "camera", 2: "camera", 3: "screen", 4: "screen"}.get(source, "unknown")
