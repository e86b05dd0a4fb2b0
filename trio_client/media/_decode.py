"""Remote tracks, decoded."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Self

import trio

from .._closing import Closing
from .._core import LocalProtocolError
from .._threads import in_thread
from .._tracks import WRITES, Frames, RemoteAudioTrack, RemoteTrack, RemoteVideoTrack
from ._av import av
from ._opus import LAYOUTS, RATE, OpusDecoder
from ._video import CLOCK, VideoDecoder

if TYPE_CHECKING:
    from .._core import Frame

FILL = 1.0
"""Seconds of sound at most that are made up where some is missing, unless told otherwise."""
PATIENCE = 0.05
"""Seconds that sound may be late before some is made up for it (``bridge``). What a usual network delays, and one
request for a lost packet, is over by then, so that little is replaced that comes after all; and a hole this short is
hardly heard.
"""
PACE = 0.99
"""How much of its length a frame lasts, when it is reckoned when the next one is due. Frames of a burst last one after
the other, but what one late frame or a fast clock of the sender has put the reckoning ahead is forgotten in time.
"""
BATCH = 8
"""Pictures that one call of the worker thread decodes at most."""


class PcmFrame:
    """Some decoded sound.

    ``data``: signed 16-bit samples, channels interleaved, as a memoryview of format "h" (numpy.asarray takes it).
    ``samples`` of each channel at ``sample_rate``. ``time``: of its first sample, in seconds since the track's first
    frame. ``ntp_time``: the same by the sender's wall clock, as Unix time, None until it is known. ``concealed``: it
    was lost or never sent, and the decoder made it up. ``gap``: seconds without sound before it, not made up.
    """

    __slots__ = ("channels", "concealed", "data", "gap", "ntp_time", "sample_rate", "time")

    def __init__(
        self,
        data: memoryview,
        sample_rate: int,
        channels: int,
        time: float,
        ntp_time: float | None,
        concealed: bool,
        gap: float,
    ) -> None:
        self.data = data
        self.sample_rate = sample_rate
        self.channels = channels
        self.time = time
        self.ntp_time = ntp_time
        self.concealed = concealed
        self.gap = gap

    def __repr__(self) -> str:
        made_up = ", concealed" if self.concealed else ""
        return f"PcmFrame({self.samples} samples, {self.sample_rate} Hz, time={self.time:.3f}{made_up})"

    @property
    def samples(self) -> int:
        """Of each channel."""
        return len(self.data) // self.channels

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples / self.sample_rate


class _Decoded(Closing):
    """What both kinds have in common: an async iterator over a track's frames, and a context manager that ends it."""

    __slots__ = ("_frames", "_ready", "_reads", "_track")

    def __init__(self, track: RemoteTrack, capacity: int | None) -> None:
        self._track = track
        self._ready: deque[Any] = deque()
        self._reads = 0
        self._frames: Frames = track.frames(capacity=capacity)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._track!r}{' ' + self.ended if self.ended else ''}>"

    @property
    def ended(self) -> str:
        """Why it ended, as of ``Frames``; empty while it lives."""
        return self._frames.ended

    def close(self) -> None:
        """Read no more."""
        self._frames.close()
        self._ready.clear()

    async def _checkpoint(self) -> None:
        """For what may be given without waiting for a frame."""
        self._reads += 1
        if self._reads >= WRITES:
            self._reads = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    def __aiter__(self) -> Self:
        return self


class DecodedAudio(_Decoded):
    """The sound of a track, from ``decode_audio``: an async iterator of PcmFrame."""

    __slots__ = (
        "_base",
        "_bridge",
        "_bridged",
        "_channels",
        "_chunk",
        "_concealed",
        "_decoder",
        "_due",
        "_end",
        "_expected",
        "_fill",
        "_gap",
        "_held",
        "_held_time",
        "_ntp_shift",
        "_produced",
        "_rate",
        "_real",
        "_resampler",
    )

    def __init__(
        self,
        track: RemoteAudioTrack,
        sample_rate: int,
        channels: int,
        frame_ms: float | None,
        capacity: int | None,
        fill: float,
        bridge: float,
    ) -> None:
        if not isinstance(track, RemoteAudioTrack):
            raise LocalProtocolError(f"{track!r} is no audio")
        if not 1 <= channels < len(LAYOUTS):
            raise LocalProtocolError("sound is decoded into one channel or two")
        chunk = 0 if frame_ms is None else round(sample_rate * frame_ms / 1000)
        if sample_rate < 1 or (frame_ms is not None and chunk < 1):
            raise LocalProtocolError("a frame has at least one sample")
        if not 0 <= bridge < inf:
            raise LocalProtocolError("a bridge has some seconds, or none")
        self._rate = sample_rate
        self._channels = channels
        self._fill = round(fill * RATE)
        self._decoder = OpusDecoder(channels)
        self._expected: int | None = None  # the timestamp behind what was given
        self._real = 0  # the timestamp behind the last frame that came: from there on it was made up
        self._bridge = self._bridged = round(bridge * RATE)  # samples, and those made up since there was sound
        self._due = 0.0  # when the frame of the expected timestamp should come, in our time
        self._end = 0.0  # the time behind what was given
        self._ntp_shift: float | None = None
        self._gap = 0.0  # before what is given next
        self._concealed = False  # whether what is held was made up, at least in part
        self._chunk = chunk * channels  # items of a frame of ``frame_ms``, 0 for whatever comes
        self._held = bytearray()  # too little for a frame
        self._held_time = 0.0
        self._resampler: av.AudioResampler | None = None
        self._base = 0.0  # the time of the resampler's first sample, and how many it has given
        self._produced = 0
        super().__init__(track, capacity)

    async def __anext__(self) -> PcmFrame:
        ready = self._ready
        if ready:
            await self._checkpoint()
        while not ready:
            try:
                if self._bridged < self._bridge:
                    await self._checkpoint()
                    frame = await self._frames._before(self._due + PATIENCE)
                else:
                    frame = await self._frames.__anext__()
            except StopAsyncIteration:
                if self.ended == "closed" or not self._held:
                    raise
                self._flush()
            else:
                if frame is None:
                    self._make_up()
                else:
                    self._decode(frame)
        found: PcmFrame = ready.popleft()
        return found

    def _decode(self, frame: Frame) -> None:
        """The sound of a frame, after what is missing before it."""
        ntp_time = frame.ntp_time
        self._ntp_shift = None if ntp_time is None else ntp_time - frame.time
        late = 0  # samples of it that were made up already
        if self._expected is not None and frame.timestamp != self._expected:
            missing = frame.timestamp - self._expected
            if 0 < missing <= self._fill:
                self._conceal(missing, frame.time - missing / RATE)
                self._expected = self._real = frame.timestamp
                self._due += missing / RATE
                self._end = frame.time
            elif self._real <= frame.timestamp < self._expected:
                late = -missing
            else:  # a pause, or a step back
                self._flush()
                self._resampler = None
                self._gap = max(0.0, missing / RATE)
        data = self._decoder.decode(frame.data)
        if not data:
            return
        count = len(data) // self._channels
        self._real = frame.timestamp + count
        if self._bridge:
            self._due = max(self._due, frame.arrival + late / RATE)
            if count <= late:
                return
            data = data[late * self._channels :]
            self._bridged = 0
            self._due += PACE * (count - late) / RATE
            self._end = frame.time + count / RATE
        self._expected = self._real
        self._resample(data, frame.time + late / RATE, False)

    def _make_up(self) -> None:
        """Sound in place of a frame that has not come: as long as one, or what is left of the bridge."""
        assert self._expected is not None  # there was sound, or there is nothing to bridge
        data = self._decoder.conceal()[: (self._bridge - self._bridged) * self._channels]
        count = len(data) // self._channels
        if not count:
            self._bridged = self._bridge
            return
        self._resample(data, self._end, True)
        self._bridged += count
        self._expected += count
        self._due += count / RATE
        self._end += count / RATE

    def _conceal(self, missing: int, time: float) -> None:
        """Sound for that many samples."""
        while missing > 0:
            data = self._decoder.conceal()[: missing * self._channels]
            if not data:
                break
            count = len(data) // self._channels
            self._resample(data, time, True)
            missing -= count
            time += count / RATE

    def _resample(self, data: memoryview, time: float, concealed: bool) -> None:
        if self._rate == RATE:
            self._give(data, time, concealed)
            return
        if self._resampler is None:
            self._resampler = av.AudioResampler("s16", LAYOUTS[self._channels], self._rate)
            self._base, self._produced = time, 0
        frame = av.AudioFrame("s16", LAYOUTS[self._channels], len(data) // self._channels)
        frame.sample_rate = RATE
        frame.planes[0].update(data.cast("B"))  # type: ignore[arg-type]  # anything with a buffer
        for out in self._resampler.resample(frame):
            found = memoryview(out.planes[0])[: out.samples * 2 * self._channels].cast("h")
            self._give(found, self._base + self._produced / self._rate, concealed)
            self._produced += out.samples

    def _give(self, data: memoryview, time: float, concealed: bool) -> None:
        chunk, held = self._chunk, self._held
        if not chunk or (len(data) == chunk and not held):
            self._append(data, time, concealed)
            return
        if not held:
            self._held_time = time
        held += data.cast("B")
        self._concealed = self._concealed or concealed
        while len(held) >= 2 * chunk:
            self._append(memoryview(bytes(held[: 2 * chunk])).cast("h"), self._held_time, self._concealed)
            del held[: 2 * chunk]
            self._held_time += chunk / self._channels / self._rate
            self._concealed = concealed and bool(held)

    def _flush(self) -> None:
        """What is held becomes a frame, filled up with silence."""
        if self._held:
            self._held += bytes(2 * self._chunk - len(self._held))
            self._append(memoryview(bytes(self._held)).cast("h"), self._held_time, self._concealed)
            self._held.clear()
            self._concealed = False

    def _append(self, data: memoryview, time: float, concealed: bool) -> None:
        ntp_time = None if self._ntp_shift is None else time + self._ntp_shift
        self._ready.append(PcmFrame(data, self._rate, self._channels, time, ntp_time, concealed, self._gap))
        self._gap = 0.0


def decode_audio(
    track: RemoteAudioTrack,
    sample_rate: int = RATE,
    channels: int = 1,
    *,
    frame_ms: float | None = None,
    capacity: int | None = None,
    fill: float = FILL,
    bridge: float = 0.0,
) -> DecodedAudio:
    """The sound of a remote track from now on, as an async iterator of PcmFrame, and a context manager that ends it.

    Frames have ``frame_ms`` milliseconds, or as much as the sender has put into a packet, which is 20 as a rule. Sound
    that was lost, or left out in silence (DTX), is made up by the decoder when what follows is there, up to ``fill``
    seconds at once; a longer pause only shows as ``gap`` of the next frame. ``capacity``: see ``RemoteTrack.frames``.

    ``bridge``: seconds of sound that are made up, in real time, while nothing comes, and when the track has ended, so
    that a listener hears a fade and no break. A frame that comes after its time was made up is dropped, or cut to the
    rest. With 0.0 all that was said is given, however late, which is what recognition of speech wants.
    """
    return DecodedAudio(track, sample_rate, channels, frame_ms, capacity, fill, bridge)


class DecodedVideo(_Decoded):
    """The pictures of a track, from ``decode_video``: an async iterator of av.VideoFrame."""

    __slots__ = ("_batch", "_codec", "_decoder", "_limiter")

    def __init__(self, track: RemoteVideoTrack, capacity: int | None) -> None:
        if not isinstance(track, RemoteVideoTrack):
            raise LocalProtocolError(f"{track!r} is no video")
        self._limiter = trio.CapacityLimiter(1)
        self._batch: list[Frame] = []
        self._codec = ""
        self._decoder: VideoDecoder | None = None
        super().__init__(track, capacity)

    async def __anext__(self) -> av.VideoFrame:
        ready = self._ready
        if ready:
            await self._checkpoint()
        while not ready:
            if not self._batch:
                self._batch.append(await self._frames.__anext__())
            while len(self._batch) < BATCH and (more := self._frames.read()) is not None:
                self._batch.append(more)
            format = self._track.receiver.format
            codec = self._codec if format is None else format.codec
            # Cancelled before it has begun, the batch stays for the next time: what follows builds on it.
            found, failed = await in_thread(self._decode, self._batch, codec, limiter=self._limiter)
            self._batch = []
            ready.extend(found)
            if failed:
                self._track.request_keyframe()
        picture: av.VideoFrame = ready.popleft()
        return picture

    def _decode(self, batch: list[Frame], codec: str) -> tuple[list[av.VideoFrame], bool]:
        """In the worker thread: the pictures of some frames, and whether the last could not be decoded."""
        if codec != self._codec or self._decoder is None:
            self._decoder, self._codec = VideoDecoder(codec), codec
        found = []
        for frame in batch:
            for picture in self._decoder.decode(frame.data, round(frame.time * CLOCK)):
                picture.opaque = frame
                found.append(picture)
        return found, self._decoder.failed


def decode_video(track: RemoteVideoTrack, *, capacity: int | None = None) -> DecodedVideo:
    """The pictures of a remote track from now on, as an async iterator of av.VideoFrame, and a context manager that
    ends it.

    ``time`` of a picture is in seconds since the track's first frame, and its ``opaque`` the encoded frame, with
    ``ntp_time``, ``lost`` and ``keyframe``. Pictures are decoded in a worker thread; when that fails, a key frame is
    asked for. ``capacity``: see ``RemoteTrack.frames``.
    """
    return DecodedVideo(track, capacity)
