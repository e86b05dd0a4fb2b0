"""Publishing pictures, which a worker thread encodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import trio

from .._core import LocalProtocolError, VideoLayer
from .._threads import in_thread
from .._tracks import EncodedFrame, LocalVideoTrack
from ._av import av
from ._pcm import SupportsBuffer
from ._video import CLOCK, ENCODERS, VideoEncoder


class RawVideoTrack(LocalVideoTrack):
    """Video to publish, written as pictures.

    ``width`` and ``height`` are those that are sent, even numbers; pictures of other sizes are scaled. ``fps`` is about
    how many come a second and ``bitrate`` how many bits are to be spent in one: both only steer the encoder.
    ``layers``: smaller encodings and the whole one, from the lowest on, for simulcast; each is scaled and encoded while
    somebody wants it. ``dynacast``: see LocalVideoTrack.
    """

    def __init__(
        self,
        name: str,
        width: int,
        height: int,
        codec: Literal["vp8", "h264"] = "vp8",
        fps: float = 30,
        bitrate: int | None = None,
        *,
        layers: Iterable[VideoLayer] = (),
        dynacast: bool = True,
    ) -> None:
        if codec not in ENCODERS:
            raise LocalProtocolError(f"pictures are encoded as {' or '.join(ENCODERS)}, not as {codec}")
        if not 0 < fps <= 1000:
            raise LocalProtocolError("up to 1000 pictures are sent a second")
        shapes = tuple(layers)
        for across, down in [(width, height), *[(shape.width, shape.height) for shape in shapes]]:
            if not (0 < across < 1 << 14 and 0 < down < 1 << 14) or across % 2 or down % 2:
                raise LocalProtocolError("pictures are of an even number of pixels, up to 16 382 a side")
        super().__init__(name, codec=codec, width=width, height=height, layers=shapes, dynacast=dynacast)
        self._encoders = [
            VideoEncoder(codec, layer.width, layer.height, fps, layer.bitrate or (None if shapes else bitrate))
            for layer in self.layers
        ]
        self._lock = trio.StrictFIFOLock()
        self._limiter = trio.CapacityLimiter(1)
        self._began: float | None = None
        self._last = -1

    async def write(  # type: ignore[override]  # pictures in place of frames, for all layers at once
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
        await self._ready()
        async with self._lock:
            wanted = [
                (place, bool(layer.keyframe_wanted)) for place, layer in enumerate(self.layers) if not layer.paused
            ]
            if not wanted:
                return False
            now = trio.current_time()
            if self._began is None:
                self._began = now if time is None else time
            stamp = max(self._last + 1, round(((now if time is None else time) - self._began) * CLOCK))
            encoded = await in_thread(self._encode, frame, format, stamp, wanted, limiter=self._limiter)
            self._last = stamp
            core, session = self._core, self._session
            sent = False
            if core is not None and session is not None and core.started:  # not ended, nor broken, meanwhile
                for layer, data in encoded:
                    if data:
                        sent |= self._write(session, core, EncodedFrame(data=data, timestamp=stamp), layer)
            return sent

    def _encode(
        self, frame: Any, format: str, timestamp: int, wanted: Sequence[tuple[int, bool]]
    ) -> list[tuple[int, bytes]]:
        """In the worker thread: the picture for each layer, and whether that is to be a key frame."""
        picture = _picture(frame, format)
        return [(layer, self._encoders[layer].encode(picture, timestamp, keyframe)) for layer, keyframe in wanted]


def _picture(frame: Any, format: str) -> av.VideoFrame:
    if isinstance(frame, av.VideoFrame):
        return frame
    try:
        return av.VideoFrame.from_ndarray(frame, format=format)
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        raise LocalProtocolError(f"no picture of the format {format}: {error}") from None
