"""Publishing pictures, which a worker thread encodes."""

from __future__ import annotations

from typing import Any, Literal

import trio

from .._core import LocalProtocolError
from .._tracks import EncodedFrame, LocalVideoTrack
from ._av import av
from ._pcm import SupportsBuffer
from ._video import CLOCK, ENCODERS, VideoEncoder


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
        self._encoder = VideoEncoder(codec, width, height, fps, bitrate)
        self._lock = trio.StrictFIFOLock()
        self._limiter = trio.CapacityLimiter(1)
        self._began: float | None = None
        self._last = -1

    async def write(  # type: ignore[override]  # pictures in place of frames; of one layer
        self,
        frame: av.VideoFrame | SupportsBuffer | EncodedFrame | bytes,
        *,
        format: str = "rgb24",
        time: float | None = None,
    ) -> bool:
        """Encode and send one picture. True if it was sent; False if it was dropped: the track is muted, nobody wants
        it, or too much is queued already.

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
            if core.paused():
                return False
            now = trio.current_time()
            if self._began is None:
                self._began = now if time is None else time
            stamp = max(self._last + 1, round(((now if time is None else time) - self._began) * CLOCK))
            wanted = bool(self.keyframe_wanted)
            data = await trio.to_thread.run_sync(self._encode, frame, format, stamp, wanted, limiter=self._limiter)
            self._last = stamp
            core_now, session = self._core, self._session
            if core_now is None or session is None or not core_now.started:
                return False  # ended, or broken, meanwhile
            return self._write(session, core_now, EncodedFrame(data=data, timestamp=stamp)) if data else False

    def _encode(self, frame: Any, format: str, timestamp: int, keyframe: bool) -> bytes:
        """In the worker thread."""
        return self._encoder.encode(_picture(frame, format), timestamp, keyframe)


def _picture(frame: Any, format: str) -> av.VideoFrame:
    if isinstance(frame, av.VideoFrame):
        return frame
    try:
        return av.VideoFrame.from_ndarray(frame, format=format)
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        raise LocalProtocolError(f"no picture of the format {format}: {error}") from None
