"""Publishing sound as samples: resampled, cut into frames of 20 ms, paced and encoded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import trio

from .._core import LocalProtocolError, MediaClock
from .._tracks import EncodedFrame, LocalAudioTrack
from ._av import av
from ._opus import FRAME, LAYOUTS, RATE, OpusEncoder, loudness

if TYPE_CHECKING:
    from .._core import core_track
    from .._session import Session

AHEAD = 0.02
"""Seconds that a frame may leave before its time, so that a writer in real time never waits."""
QUEUE = 0.2
"""Seconds of sound that wait to be sent at most, unless told otherwise, before a writer waits."""
VOICE = 50
"""The level in -dBov from which on sound counts as voice."""
QUIET = 80
"""The level from which on, with DTX, sound need not be sent."""
QUIET_AFTER = 10
"""Quiet frames that are sent before DTX begins."""
QUIET_EACH = 20
"""One quiet frame in so many is sent all the same, as Opus encoders do, so that listeners know we are there."""


class SupportsBuffer(Protocol):
    """An array as numpy makes them."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


Pcm = bytes | bytearray | memoryview | SupportsBuffer | av.AudioFrame
"""Signed 16-bit samples, channels interleaved; or an av.AudioFrame of any format."""


class PcmAudioTrack(LocalAudioTrack):
    """Audio to publish, written as samples.

    ``sample_rate`` and ``channels`` are those of what is written. ``stereo``: send two channels; as many as are written
    unless told. ``bitrate`` in bit/s: 48 000 a channel unless told. ``dtx``: silence is not sent. ``red``: see
    LocalAudioTrack. ``queue``: seconds of sound that may wait to be sent, before ``write`` waits.
    """

    def __init__(
        self,
        name: str = "",
        sample_rate: int = RATE,
        channels: int = 1,
        *,
        stereo: bool | None = None,
        bitrate: int | None = None,
        dtx: bool = True,
        red: bool = True,
        queue: float = QUEUE,
    ) -> None:
        if channels < 1 or sample_rate < 1:
            raise LocalProtocolError("sound has at least one channel and one sample a second")
        super().__init__(name, stereo=channels > 1 if stereo is None else stereo, dtx=dtx, red=red)
        self.sample_rate = sample_rate
        self.channels = channels
        self.bitrate = bitrate
        self._out = 2 if self.stereo else 1  # channels that are sent
        self._size = 2 * self._out * FRAME
        self._most = queue
        self._encoder: OpusEncoder | None = None
        self._clock = MediaClock(RATE)
        self._resampler: av.AudioResampler | None = None
        self._resamples: tuple[Any, ...] = ()
        self._queue = bytearray()
        self._quiet = 0
        self._sending = False

    # ------------------------------------------------------------------ what users call

    async def write(self, frame: Pcm | EncodedFrame) -> bool:
        """Send some sound, as much as one likes. False if the track is muted: the sound is let go then.

        Signed 16-bit samples at the track's rate, channels interleaved, in anything that has a buffer (numpy arrays
        too), or an av.AudioFrame, whose own rate, layout and format count. What does not fill a frame of 20 ms waits
        for the rest. Frames leave when they are due by the number of samples before them: a writer in real time is
        not held up, one that is faster waits until no more than ``queue`` seconds are left, and one that pauses goes
        on with a new time. Cancelled while it waits, the sound is sent all the same (see ``clear``).

        Raises LocalProtocolError when the track is not published or that is not sound, and DisconnectedError when
        the room has ended.
        """
        if isinstance(frame, EncodedFrame):
            raise LocalProtocolError("this track is written as samples; LocalAudioTrack takes encoded frames")
        session, core = await self._ready()
        for samples in self._convert(frame):
            self._put(samples, session, core)
        while len(self._queue) >= self._size and self.queued > self._most and self._core is not None:
            await self._lot.park()
            session.check()
        return not core.muted

    @property
    def queued(self) -> float:
        """Seconds of sound that wait to be sent."""
        return len(self._queue) / (2 * self._out * RATE)

    def clear(self) -> None:
        """Forget what waits to be sent: what was written is not heard any more from now on."""
        self._queue.clear()
        self._resampler = None
        self._lot.unpark_all()

    async def drain(self) -> None:
        """Wait until everything that was written is sent; what does not fill a frame is filled up with silence."""
        session, core = await self._ready()
        if self._resampler is not None:
            resampler, self._resampler = self._resampler, None
            for samples in _samples(resampler.resample(None)):
                self._put(samples, session, core)
        if self._queue:
            self._queue.extend(bytes(-len(self._queue) % self._size))
            self._put(b"", session, core)
        while self._queue and self._core is not None:
            await self._lot.park()
            session.check()

    # ------------------------------------------------------------------ samples

    def _convert(self, frame: Pcm) -> Iterable[bytes | memoryview]:
        """The same sound at 48 kHz, with as many channels as are sent."""
        if not isinstance(frame, av.AudioFrame):
            samples = self._check(frame)
            if self.sample_rate == RATE and self.channels == self._out:
                return (samples,)
            frame = self._frame(samples)
        if not frame.samples:
            return ()
        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if self._resampler is None or kind != self._resamples:
            self._resamples = kind
            self._resampler = av.AudioResampler("s16", LAYOUTS[self._out], RATE)
        return _samples(self._resampler.resample(frame))

    def _check(self, data: bytes | bytearray | memoryview | SupportsBuffer) -> memoryview:
        try:
            view = memoryview(data)  # type: ignore[arg-type]  # arrays have a buffer
            samples = view.cast("B") if view.format != "B" else view
        except TypeError as error:
            raise LocalProtocolError(f"no samples: {error}") from None
        if view.format not in "hBbc":
            raise LocalProtocolError(f"samples are signed 16-bit integers, not of the format {view.format!r}")
        if samples.nbytes % (2 * self.channels):
            raise LocalProtocolError(f"{samples.nbytes} bytes are no whole samples of {self.channels} channels")
        return samples

    def _frame(self, samples: memoryview) -> av.AudioFrame:
        layout = LAYOUTS[self.channels] if self.channels < len(LAYOUTS) else f"{self.channels}c"
        frame = av.AudioFrame("s16", layout, samples.nbytes // (2 * self.channels))
        if frame.samples:
            frame.planes[0].update(samples)  # type: ignore[arg-type]  # anything with a buffer
        frame.sample_rate = self.sample_rate
        return frame

    # ------------------------------------------------------------------ frames

    def _put(self, samples: bytes | memoryview, session: Session, core: core_track.LocalTrack) -> None:
        """Send what is due, and leave the rest to a task."""
        queue, size = self._queue, self._size
        if not queue and len(samples) == size and not self._waits(trio.current_time()):
            self._send(samples, session, core)
            return
        queue += samples
        if not self._sending and len(queue) >= size and self._turn(session, core) is not None:
            self._sending = session.spawn(self._run(session), f"trio_client {self!r}")

    def _waits(self, now: float) -> bool:
        return self._clock.started and self._clock.until - AHEAD > now

    def _turn(self, session: Session, core: core_track.LocalTrack) -> float | None:
        """Send the frames that are due; when the next is, None when there is none."""
        queue, size = self._queue, self._size
        while len(queue) >= size:
            if self._waits(trio.current_time()):
                return self._clock.until - AHEAD
            frame = bytes(queue[:size])
            del queue[:size]
            self._send(frame, session, core)
        return None

    async def _run(self, session: Session) -> None:
        """Send what waits, each frame when it is due."""
        try:
            while not session.ended.is_set() and self._session is session and (core := self._core) is not None:
                if not core.started:  # the connection is being mended
                    await self._lot.park()
                    continue
                due = self._turn(session, core)
                self._lot.unpark_all()
                if due is None:
                    break
                await trio.sleep_until(due)
        finally:
            self._sending = False
            self._lot.unpark_all()

    def _send(self, samples: bytes | memoryview, session: Session, core: core_track.LocalTrack) -> None:
        timestamp, _ = self._clock.count(FRAME, trio.current_time())
        if core.muted:
            self._quiet = 0
            return
        level = loudness(samples)
        if self.dtx:
            self._quiet = self._quiet + 1 if level >= QUIET else 0
            if self._quiet > QUIET_AFTER and self._quiet % QUIET_EACH:
                return
        if self._encoder is None:
            self._encoder = OpusEncoder(self._out, self.bitrate or 48_000 * self._out)
        packet = self._encoder.encode(samples)
        self._write(
            session,
            core,
            EncodedFrame(data=packet, timestamp=timestamp, duration=FRAME, level=level, voice=level <= VOICE),
        )

    def _detach(self) -> None:
        self._queue.clear()
        self._resampler = None
        super()._detach()


def _samples(frames: Iterable[av.AudioFrame]) -> Iterable[memoryview]:
    for frame in frames:
        yield memoryview(frame.planes[0])[: frame.samples * 2 * len(frame.layout.channels)]
