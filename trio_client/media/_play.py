"""Playing a file into a room, without transcoding where it holds what tracks are sent as."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import trio

from .._core import LocalProtocolError, TrackSource
from .._errors import DisconnectedError
from .._tasks import together
from .._threads import in_thread
from .._tracks import EncodedFrame, LocalAudioTrack, LocalVideoTrack
from ._av import av
from ._gop import Gop
from ._opus import RATE, OpusDecoder, loudness
from ._pcm import VOICE, PcmAudioTrack
from ._raw import RawVideoTrack
from ._video import CLOCK, VideoEncoder

if TYPE_CHECKING:
    from .._room import Room

BATCH = 16
"""Packets that one call of the worker thread reads."""
BUFFER = 128
"""Frames of one track that are read ahead at most."""
TAIL = 0.2
"""Seconds after the last frame before its track is unpublished: listeners hear it later than it comes."""
GUESSED_RATE = 25
"""Pictures a second, where a file does not tell."""
TOLERANCE = RATE // 100
"""Samples that a sound may be away from where it ought to be: containers round times to milliseconds."""


class _Source:
    """One stream of a file: the track that it becomes, and the frames between the file and the track."""

    def __init__(self, stream: Any, track: LocalAudioTrack | LocalVideoTrack) -> None:
        self.stream = stream
        self.track: Any = track
        self.send, self.receive = trio.open_memory_channel[tuple[float, Any]](BUFFER)

    def frames(self, packet: Any, time: float) -> Iterator[tuple[float, Any]]:
        """In the worker thread: what a packet holds, and when it is due in seconds of the file."""
        raise NotImplementedError  # a base: sound and pictures, passed on or coded anew, each do it their way

    async def write(self, frame: Any, time: float) -> None:
        """Send a frame, now that it is due."""
        raise NotImplementedError

    async def finish(self) -> None:
        """Everything is written."""


class _Opus(_Source):
    """Opus packets as they are. They are decoded too, but only to tell how loud they are."""

    def __init__(self, stream: Any, name: str) -> None:
        super().__init__(stream, LocalAudioTrack(name, stereo=stream.codec_context.layout.nb_channels > 1))
        self.decoder = OpusDecoder(1)
        self.next: int | None = None

    def frames(self, packet: Any, time: float) -> Iterator[tuple[float, Any]]:
        data = bytes(packet)
        samples = self.decoder.decode(data)
        if samples:
            timestamp = round(time * RATE)
            if self.next is not None and abs(timestamp - self.next) <= TOLERANCE:
                timestamp = self.next
            self.next = timestamp + len(samples)
            level = loudness(samples)
            yield time, EncodedFrame(data=data, timestamp=timestamp, level=level, voice=level <= VOICE)

    async def write(self, frame: Any, time: float) -> None:
        await self.track.write(frame)


class _Sound(_Source):
    """Any other sound: decoded, and encoded by the track, which paces it."""

    def __init__(self, stream: Any, name: str) -> None:
        super().__init__(stream, PcmAudioTrack(name, stereo=stream.codec_context.layout.nb_channels > 1))

    def frames(self, packet: Any, time: float) -> Iterator[tuple[float, Any]]:
        for frame in packet.decode():
            yield time, frame

    async def write(self, frame: Any, time: float) -> None:
        await self.track.write(frame)

    async def finish(self) -> None:
        await self.track.drain()


class _Video(_Source):
    """VP8 or H.264 as it is, except from a picture that has to become a key frame to the next that is one."""

    def __init__(self, stream: Any, name: str, codec: str, bitrate: int | None) -> None:
        context = stream.codec_context
        width, height = context.width, context.height
        super().__init__(stream, LocalVideoTrack(name, codec=codec, width=width, height=height))  # type: ignore[arg-type]
        encoder = VideoEncoder(codec, width & ~1, height & ~1, float(_rate(stream)), bitrate)
        encoder.bitrate = max(encoder.bitrate, context.bit_rate or 0)
        self.gop = Gop(encoder)
        self.limiter = trio.CapacityLimiter(1)
        self.filter: Any = None
        if codec == "h264" and (context.extradata or b"")[:1] == b"\1":  # the form of MP4, with lengths
            self.filter = av.BitStreamFilterContext("h264_mp4toannexb", stream)

    def frames(self, packet: Any, time: float) -> Iterator[tuple[float, Any]]:
        for out in self.filter.filter(packet) if self.filter is not None else (packet,):
            yield time, (bytes(out), out.is_keyframe)

    async def write(self, frame: Any, time: float) -> None:
        data, keyframe = frame
        timestamp = round(time * CLOCK)
        wanted = bool(self.track.keyframe_wanted)
        if not self.gop.passes(data, timestamp, keyframe, wanted):
            data = await in_thread(self.gop.frame, wanted, limiter=self.limiter)
        if data:
            await self.track.write(EncodedFrame(data=data, timestamp=timestamp))


class _Pictures(_Source):
    """Any other video: decoded, and encoded as VP8."""

    def __init__(self, stream: Any, name: str, bitrate: int | None) -> None:
        context = stream.codec_context
        size = context.width + 1 & ~1, context.height + 1 & ~1
        super().__init__(stream, RawVideoTrack(name, *size, fps=float(_rate(stream)), bitrate=bitrate))

    def frames(self, packet: Any, time: float) -> Iterator[tuple[float, Any]]:
        for frame in packet.decode():
            yield (frame.time if frame.time is not None else time), frame

    async def write(self, frame: Any, time: float) -> None:
        await self.track.write(frame, time=time)


def _rate(stream: Any) -> Any:
    return stream.average_rate or stream.guessed_rate or GUESSED_RATE


class _File:
    """An open file; all but ``sources`` belongs into a worker thread."""

    def __init__(self, path: str, audio: bool, video: bool, name: str, bitrate: int | None) -> None:
        self.container = av.open(path)
        try:
            self.sources: list[_Source] = []
            streams = self.container.streams
            if audio and streams.audio:
                self.sources.append(_sound(streams.audio[0], name))
            if video and streams.video:
                self.sources.append(_picture(streams.video[0], name, bitrate))
            if not self.sources:
                raise LocalProtocolError(f"{path} has nothing to play")
            self._packets = self.container.demux([source.stream for source in self.sources])
        except BaseException:
            self.container.close()
            raise
        self._by_index = {source.stream.index: source for source in self.sources}
        self._counts = dict.fromkeys(self._by_index, 0)

    def read(self) -> list[tuple[_Source, float, Any]] | None:
        """Some frames, in the order of the file; None at its end."""
        found: list[tuple[_Source, float, Any]] = []
        for _ in range(BATCH):
            packet = next(self._packets, None)
            if packet is None:
                return found or None
            source = self._by_index[packet.stream.index]
            if packet.size == 0 and isinstance(source, _Opus | _Video):
                continue  # the end of the stream, which only decoders have to know
            time = self._time(packet)
            found += [(source, due, frame) for due, frame in source.frames(packet, time)]
        return found

    def _time(self, packet: Any) -> float:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            return float(stamp * packet.time_base)
        index = packet.stream.index
        self._counts[index] += 1  # a bare stream has no times
        return float((self._counts[index] - 1) / _rate(packet.stream)) if packet.stream.type == "video" else 0.0

    def close(self) -> None:
        self.container.close()


def _sound(stream: Any, name: str) -> _Source:
    context = stream.codec_context
    if context.name in ("opus", "libopus") and context.layout.nb_channels <= 2:
        return _Opus(stream, name)
    return _Sound(stream, name)


def _picture(stream: Any, name: str, bitrate: int | None) -> _Source:
    context = stream.codec_context
    codec = {"vp8": "vp8", "libvpx": "vp8", "h264": "h264"}.get(context.name)
    # Pictures that are shown in another order than they come in are more than RTP receivers expect.
    if codec is not None and not context.has_b_frames:
        return _Video(stream, name, codec, bitrate)
    return _Pictures(stream, name, bitrate)


async def play_file(
    room: Room,
    path: str | os.PathLike[str],
    *,
    audio: bool = True,
    video: bool = True,
    name: str = "",
    audio_source: TrackSource = TrackSource.MICROPHONE,
    video_source: TrackSource = TrackSource.CAMERA,
    bitrate: int | None = None,
) -> None:
    """Play a file into the room: publish its first sound and its first video, each as a track, send them in real time
    and in step, and unpublish them at the end. Cancelled, they are unpublished at once.

    Any file that PyAV reads: WAV, Ogg, MP4, WebM, IVF, bare H.264 and so on. Opus, VP8, and H.264 without B-frames are
    sent as they are; video only until somebody needs a key frame that the file does not have there, and again from its
    next one on. The rest is decoded, and encoded as Opus and VP8, with ``bitrate`` for the video.

    ``audio`` and ``video`` choose what is played. ``name``: of the tracks, that of the file unless told. The sources
    tell others what the tracks are. Raises OSError for a file that cannot be read, av.FFmpegError (an OSError or a
    ValueError as well) for one that is not understood, and what ``publish_track`` raises.
    """
    text = os.fspath(path)
    title = name or os.path.basename(text)
    limiter = trio.CapacityLimiter(1)
    file = await in_thread(_File, text, audio, video, title, bitrate, limiter=limiter)
    try:
        for source in file.sources:
            kind = audio_source if isinstance(source.track, LocalAudioTrack) else video_source
            await room.local_participant.publish_track(source.track, source=kind, stream=title)
        clock = _Clock()
        async with together() as nursery:
            nursery.start_soon(_read, file, limiter)
            for source in file.sources:
                nursery.start_soon(_send, source, clock)
    finally:
        for source in file.sources:
            if (publication := source.track.publication) is not None:
                with contextlib.suppress(LocalProtocolError, DisconnectedError):  # the room ends anyway
                    room._session.unpublish(publication.sid)
        with trio.CancelScope(shield=True):
            await in_thread(file.close, limiter=limiter)


class _Clock:
    """When the file began, once its first frame is there; the same for all its tracks."""

    def __init__(self) -> None:
        self.began: float | None = None

    def due(self, time: float) -> float:
        if self.began is None:
            self.began = trio.current_time() - time
        return self.began + time


async def _read(file: _File, limiter: trio.CapacityLimiter) -> None:
    """Read ahead, as far as the channels take."""
    while (batch := await in_thread(file.read, limiter=limiter)) is not None:
        for source, time, frame in batch:
            await source.send.send((time, frame))
    for source in file.sources:
        source.send.close()


async def _send(source: _Source, clock: _Clock) -> None:
    """Send each frame when it is due."""
    async for time, frame in source.receive:
        await trio.sleep_until(clock.due(time))
        await source.write(frame, time)
    await source.finish()
    await trio.sleep(TAIL)
