"""Encoding pictures. A call costs milliseconds: it belongs into a worker thread."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from ._av import Colorspace, Flags, PictureType, av

CLOCK = 90000
"""Of the timestamps of video."""
BITS_PER_PIXEL = 0.1
"""Of a bitrate that is not told, at 30 frames a second: about what LiveKit's own clients spend on a camera."""
PIXELS_PER_THREAD = 640 * 360
"""An encoder has a thread of its own for so many, and four at most: more wait for each other."""
KEYFRAME_EACH = 60
"""Seconds between two key frames at most: those that are needed are asked for."""
ENCODERS = {"vp8": "libvpx", "h264": "libx264"}
DECODERS = {"vp8": "vp8", "h264": "h264", "vp9": "vp9", "av1": "libdav1d"}
OPTIONS = {
    "vp8": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "1"},
    # Constrained baseline, which every receiver takes; parameter sets go with each key frame (RFC 6184 section 8.4).
    # Chromium takes the colours for those of BT.709 unless told otherwise. VP8 has no others than those of BT.601.
    "h264": {
        "preset": "superfast",
        "tune": "zerolatency",
        "profile": "baseline",
        "forced-idr": "1",
        "x264-params": "repeat-headers=1:scenecut=0:colormatrix=smpte170m:colorprim=smpte170m:transfer=smpte170m",
    },
}


class VideoEncoder:
    """Encodes pictures of any size and format, scaled to ``width`` and ``height``."""

    def __init__(self, codec: str, width: int, height: int, fps: float, bitrate: int | None) -> None:
        self.codec = codec
        self.width = width
        self.height = height
        self.fps = fps
        self.bitrate = bitrate or int(width * height * BITS_PER_PIXEL * 30 * math.sqrt(fps / 30))
        self._context: Any = None

    def encode(self, picture: av.VideoFrame, timestamp: int, keyframe: bool) -> bytes:
        """The encoded picture; empty if the encoder leaves it out. Timestamps only grow."""
        if self._context is None:
            self._context = self._open()
        matrix = Colorspace.ITU601 if picture.colorspace == Colorspace.ITU709 else None
        picture = picture.reformat(self.width, self.height, "yuv420p", dst_colorspace=matrix)
        kept = picture.pts, picture.time_base or Fraction(0), picture.pict_type  # it may be the caller's own
        picture.pts, picture.time_base = timestamp, Fraction(1, CLOCK)
        picture.pict_type = PictureType.I if keyframe else PictureType.NONE
        try:
            return b"".join([bytes(packet) for packet in self._context.encode(picture)])
        finally:
            picture.pts, picture.time_base, picture.pict_type = kept

    def _open(self) -> Any:
        context: Any = av.CodecContext.create(ENCODERS[self.codec], "w")
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.time_base = Fraction(1, CLOCK)
        context.framerate = Fraction(self.fps).limit_denominator(1001)
        context.bit_rate = self.bitrate
        context.gop_size = max(1, round(self.fps * KEYFRAME_EACH))
        context.max_b_frames = 0
        context.thread_count = max(1, min(4, self.width * self.height // PIXELS_PER_THREAD))
        rate = str(self.bitrate)
        context.options = {**OPTIONS[self.codec], "maxrate": rate, "bufsize": rate}
        return context


class VideoDecoder:
    """Decodes whole encoded pictures, each when it is given. ``failed``: the last one could not be."""

    def __init__(self, codec: str) -> None:
        self.failed = False
        self._context: Any = av.CodecContext.create(DECODERS[codec], "r")
        self._context.thread_count = 1  # more would each hold a picture back, as would the order of B-frames
        self._context.flags |= Flags.low_delay

    def decode(self, data: bytes, timestamp: int) -> list[av.VideoFrame]:
        """The pictures that come of it, none if it cannot be decoded. Their time begins with timestamp 0."""
        if not data:  # which would end the decoder
            self.failed = True
            return []
        packet = av.Packet(data)
        packet.time_base = Fraction(1, CLOCK)
        packet.pts = timestamp
        try:
            found: list[av.VideoFrame] = self._context.decode(packet)
        except av.FFmpegError:
            self.failed = True
            return []
        self.failed = False
        return found
