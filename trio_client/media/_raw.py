"""Publishing pictures, which a worker thread encodes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

import trio

from .._core import LocalProtocolError
from .._tracks import EncodedFrame, LocalVideoTrack
from ._av import PictureType, av
from ._pcm import SupportsBuffer

CLOCK = 90000
BITS_PER_PIXEL = 0.1
"""Of a bitrate that is not told, at 30 frames a second; as many as LiveKit's own clients spend on a camera."""
KEYFRAME_EACH = 60
"""Seconds between two key frames at most: those that are needed are asked for."""
ENCODERS = {"vp8": "libvpx", "h264": "libx264"}
OPTIONS = {
    "vp8": {
        "deadline": "realtime",
        "cpu-used": "8",
        "lag-in-frames": "0",
        "error-resilient": "1",
    },
    # Constrained baseline, which every receiver takes; parameter sets go with each key frame (RFC 6184 section 8.4).
    "h264": {
        "preset": "superfast",
        "tune": "zerolatency",
        "profile": "baseline",
        "forced-idr": "1",
        "x264-params": "repeat-headers=1:scenecut=0",
    },
}


class RawVideoTrack(LocalVideoTrack):
    """Video to publish, written as pictures.

    ``width`` and ``height`` are those that are sent, even numbers; pictures of other sizes are scaled. ``fps`` is about
    how many come a second and ``bitrate`` how many bits are to be spent in one: both only steer the encoder.
    """

    def __init__(
        self,
        name: str,
        width: int,
        height: int,
        codec: Literal["vp8", "h264"] = "vp8",
        fps: float = 30,
        bitrate: int | None = None,
    ) -> None:
        if codec not in ENCODERS:
            raise LocalProtocolError(f"pictures are encoded as {' or '.join(ENCODERS)}, not as {codec}")
        if not (0 < width < 1 << 14 and 0 < height < 1 << 14) or width % 2 or height % 2:
            raise LocalProtocolError("pictures are of an even number of pixels, up to 16 382 a side")
        if not 0 < fps <= 1000:
            raise LocalProtocolError("up to 1000 pictures are sent a second")
        super().__init__(name, codec=codec, width=width, height=height)
        self.fps = fps
        self.bitrate = bitrate or int(width * height * BITS_PER_PIXEL * 30 * math.sqrt(fps / 30))
        self._encoder: Any = None
        self._lock = trio.StrictFIFOLock()
        self._limiter = trio.CapacityLimiter(1)
        self._began: float | None = None
        self._last = -1

    async def write(
        self,
        frame: av.VideoFrame | SupportsBuffer | EncodedFrame | bytes,
        *,
        format: str = "rgb24",
        time: float | None = None,
    ) -> bool:
        """Encode and send one picture. True if it was sent; False if it was dropped: the track is muted, or too much is
        queued already.

        An av.VideoFrame of any size and format, or a numpy array of ``format``: "rgb24", "bgr24", "rgba", "bgra" and
        "gray" are arrays of height x width x channels, "yuv420p" one of 1.5 height x width. ``time``: when it is to
        be seen, in seconds from any beginning; the time of writing unless told. Write pictures when they are due:
        nothing paces them. Key frames are made when they are wanted.

        Cancelled while the thread works, it is waited for. Raises LocalProtocolError when the track is not published
        or that is no picture, and DisconnectedError when the room has ended.
        """
        if isinstance(frame, EncodedFrame):
            raise LocalProtocolError("this track is written as pictures; LocalVideoTrack takes encoded frames")
        _, core = await self._ready()
        async with self._lock:
            if core.muted:
                return False
            now = trio.current_time()
            if self._began is None:
                self._began = now if time is None else time
            stamp = max(self._last + 1, round(((now if time is None else time) - self._began) * CLOCK))
            wanted = bool(self.keyframe_wanted)
            data = await trio.to_thread.run_sync(self._encode, frame, format, stamp, wanted, limiter=self._limiter)
            self._last = stamp
            core_now, session = self._core, self._session
            if core_now is None or session is None or core_now.sender is None:
                return False  # ended, or broken, meanwhile
            return self._write(session, core_now, EncodedFrame(data=data, timestamp=stamp)) if data else False

    # ------------------------------------------------------------------ in the worker thread

    def _encode(self, frame: Any, format: str, stamp: int, keyframe: bool) -> bytes:
        picture = _picture(frame, format).reformat(self.width, self.height, "yuv420p")
        if self._encoder is None:
            self._encoder = self._open()
        kept = picture.pts, picture.time_base or Fraction(0), picture.pict_type  # it may be the writer's own
        picture.pts, picture.time_base = stamp, Fraction(1, CLOCK)
        picture.pict_type = PictureType.I if keyframe else PictureType.NONE
        try:
            return b"".join([bytes(packet) for packet in self._encoder.encode(picture)])
        finally:
            picture.pts, picture.time_base, picture.pict_type = kept

    def _open(self) -> Any:
        encoder: Any = av.CodecContext.create(ENCODERS[self.codec], "w")
        encoder.width, encoder.height, encoder.pix_fmt = self.width, self.height, "yuv420p"
        encoder.time_base = Fraction(1, CLOCK)
        encoder.framerate = Fraction(self.fps).limit_denominator(1001)
        encoder.bit_rate = self.bitrate
        encoder.gop_size = max(1, round(self.fps * KEYFRAME_EACH))
        encoder.max_b_frames = 0
        rate = str(self.bitrate)
        encoder.options = {**OPTIONS[self.codec], "maxrate": rate, "bufsize": rate}
        return encoder


def _picture(frame: Any, format: str) -> av.VideoFrame:
    if isinstance(frame, av.VideoFrame):
        return frame
    try:
        return av.VideoFrame.from_ndarray(frame, format=format)
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        raise LocalProtocolError(f"no picture of the format {format}: {error}") from None
