"""Recording tracks into a file, as they are."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from .._core import LocalProtocolError, opus
from .._tasks import together
from .._threads import in_thread
from .._tracks import RemoteAudioTrack, RemoteTrack
from ._av import av
from ._opus import LAYOUTS, RATE
from ._video import CLOCK

if TYPE_CHECKING:
    from .._core import Frame

FLUSH = 0.25
"""Seconds between two writes to the file."""
PATIENCE = 5.0
"""Seconds that the first frame of a track is waited for, unless told otherwise."""
SYNC_PATIENCE = 1.5
"""Seconds that the senders' clocks are waited for besides: reports come about once a second."""
IMPLAUSIBLE = 2.0
"""Seconds that tracks may be apart by their senders' clocks and by when they came; if it is more, clocks are wrong."""
LATE = 2.0
"""Seconds that sound may come late, before silence is written in its place."""
RESYNC = 0.04
"""Seconds that a track may go wrong by, before it is put right."""
TOLERANCE = RATE // 100
"""Samples that sound may be away from where it ought to be, before a hole is filled."""
OVERLAP = RATE // 20
"""Samples of sound too many, before a packet is left out."""
SILENCE = ((960, b"\xf8\xff\xfe"), (480, b"\xf0\xff\xfe"), (240, b"\xe8\xff\xfe"), (120, b"\xe0\xff\xfe"))
"""Packets of silence, and their samples."""
MOST_FRAMES = 20_000
"""Frames of one track that wait for the others' first."""
MOST_NONSENSE = 3
"""First pictures of a track that cannot be decoded, until it is left out."""
IVF = {"vp8": b"VP80", "vp9": b"VP90", "av1": b"AV01"}


@frozen
class Recorded:
    """What has become of a track: ``frames`` that are in the file, ``lost`` ones that are not, and where in the file it
    ``ended``, in seconds."""

    track: RemoteTrack
    frames: int
    lost: int
    ended: float


class _Clock:
    """The wall clock of one participant. The server hands it on as it is, so that those of others may be wrong by any
    time against it.

    ``shift``: what a time of that clock becomes a time of the file with, None until known. ``tracks``: how many of the
    participant are recorded. ``alone``: there is one track in all, which is in step with itself.
    """

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        self.tracks = 0
        self.shift: float | None = None
        self.origin = 0.0
        """When the file begins, in our own time; the same for all."""


class _Input:
    """One track, and where it stands in the file."""

    def __init__(self, track: RemoteTrack, clock: _Clock) -> None:
        self.track = track
        self.frames = track.frames()
        self.waiting: list[Frame] = []
        self.stream: Any = None
        self.clock = clock
        self.base = 0.0  # what a frame's time becomes a time of the file with
        self.arrival = float("inf")  # the least difference of arrival and time
        self.next = 0  # in units of the stream's clock
        self.payload_type = 0
        self.nonsense = 0  # first frames that were none
        self.count = 0
        self.lost = 0

    @property
    def audio(self) -> bool:
        return isinstance(self.track, RemoteAudioTrack)

    @property
    def codec(self) -> str:
        format = self.track.receiver.format
        return "opus" if self.audio else format.codec if format is not None else ""

    def take(self, frame: Frame) -> None:
        self.arrival = min(self.arrival, frame.arrival - frame.time)
        if not self.audio and not frame.keyframe and not self.waiting and self.stream is None:
            return  # nobody could begin with it
        self.waiting.append(frame)
        if len(self.waiting) > MOST_FRAMES:
            del self.waiting[0]

    @property
    def lives(self) -> bool:
        """Whether there is sound, or silence."""
        return self.audio and not self.frames.ended

    @property
    def settled(self) -> bool:
        """Whether its first frame is here, or is not worth waiting for."""
        return bool(self.waiting or self.frames.ended) or self.nonsense >= MOST_NONSENSE

    def taken(self) -> list[Frame]:
        """What waits, which is the caller's from now on."""
        frames, self.waiting = self.waiting, []
        return frames

    @property
    def ntp_base(self) -> float | None:
        """The sender's wall clock at the time 0, by the last frame."""
        last = self.waiting[-1]
        return None if last.ntp_time is None else last.ntp_time - last.time

    # ------------------------------------------------------------------ packets, in the worker thread

    def packets(self, frames: Iterable[Frame]) -> list[Any]:
        found: list[Any] = []
        for frame in frames:
            if frame.ntp_time is not None and not self.clock.alone:
                self.follow(frame.ntp_time - frame.time)
            # A sender that lies about its time gets no further than it really is.
            at = min(max(0.0, frame.time + self.base), frame.arrival - self.clock.origin + IMPLAUSIBLE)
            self.lost += frame.lost
            found += self._sound(frame.data, at) if self.audio else self._picture(frame, at)
        return found

    def silence(self, until: float) -> list[Any]:
        """Silence up to a time of the file: as it goes on, so that the others need not wait for what comes then."""
        found: list[Any] = []
        ahead = round(until * RATE) - self.next
        for length, silence in SILENCE:
            while ahead >= length:
                found.append(self._packet(silence, length, True))
                ahead -= length
        return found

    def follow(self, ntp_base: float, least: float = RESYNC) -> None:
        """Keep to the sender's clock, as the first track that told it stands to it."""
        if self.clock.shift is None:
            self.clock.shift = self.base - ntp_base
        base = ntp_base + self.clock.shift
        if least < abs(base - self.base) < IMPLAUSIBLE:
            self.base = base

    def _sound(self, data: bytes, at: float) -> list[Any]:
        """A packet, with silence in the hole before it. Sound follows sound without a break."""
        samples = opus.duration(data)
        ahead = round(at * RATE) - self.next
        if not samples or ahead < -OVERLAP:
            return []
        found = self.silence(at) if ahead > TOLERANCE else []
        found.append(self._packet(data, samples, True))
        self.count += 1
        return found

    def _picture(self, frame: Frame, at: float) -> list[Any]:
        if frame.payload_type != self.payload_type:  # another codec, which the file cannot change to
            self.lost += 1
            return []
        self.next = max(self.next, round(at * CLOCK))
        self.count += 1
        return [self._packet(frame.data, 1, frame.keyframe)]

    def _packet(self, data: bytes, length: int, keyframe: bool) -> Any:
        packet: Any = av.Packet(data)
        packet.pts = packet.dts = self.next
        packet.time_base = Fraction(1, RATE if self.audio else CLOCK)
        if self.audio:
            packet.duration = length
        packet.is_keyframe = keyframe
        packet.stream = self.stream
        self.next += length
        return packet


class _Writer:
    """The file. All of it belongs into a worker thread."""

    def __init__(self, path: str) -> None:
        self.started = False
        try:
            self.container = av.open(path, "w")
        except ValueError as error:
            raise LocalProtocolError(f"{path} does not name a kind of file that can be written: {error}") from None

    def start(self, inputs: Sequence[_Input]) -> None:
        """Write the header, for inputs that have a frame; not yet, if the frame of one is nonsense."""
        templates: dict[_Input, Any] = {}
        for found in inputs:
            if not found.audio and (template := _template(found.codec, found.waiting[0].data)) is None:
                found.nonsense += 1
                del found.waiting[0]
                while found.waiting and not found.waiting[0].keyframe:
                    del found.waiting[0]
                return
            templates[found] = None if found.audio else template
        try:
            for found, template in templates.items():
                first = found.waiting[0]
                found.payload_type = first.payload_type
                if template is None:
                    layout = LAYOUTS[2 if opus.stereo(first.data) else 1]
                    found.stream = self.container.add_stream("libopus", rate=RATE, layout=layout)
                else:
                    found.stream = self.container.add_stream_from_template(template)
            self.container.start_encoding()
        except (ValueError, av.FFmpegError) as error:
            codecs = ", ".join([found.codec for found in inputs])
            raise LocalProtocolError(f"a {self.container.format.name} file does not hold {codecs}: {error}") from None
        self.started = True

    def write(self, work: Sequence[tuple[_Input, list[Frame], float]]) -> None:
        """Write frames of tracks, or silence up to a time where there are none."""
        packets = []
        for found, frames, until in work:
            packets += [(packet, found) for packet in (found.packets(frames) if frames else found.silence(until))]
        packets.sort(key=lambda pair: pair[0].pts * pair[0].time_base)
        for packet, found in packets:
            try:
                self.container.mux_one(packet)
            except av.error.InvalidDataError:  # a sender's nonsense
                found.lost += 1

    def close(self) -> None:
        """Finish the file, which is only there since the header was written."""
        self.container.close()


def _template(codec: str, data: bytes) -> Any:
    """A stream like that of a file which holds this key frame: it has the size and what decoders need to know. None
    for a frame from which that cannot be told."""
    if codec != "h264":
        head = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, IVF[codec], 0, 0, CLOCK, 1, 1, 0)
        data = head + struct.pack("<IQ", len(data), 0) + data
    try:
        stream = av.open(io.BytesIO(data), format="h264" if codec == "h264" else "ivf").streams.video[0]
    except (IndexError, av.FFmpegError):
        return None
    return stream if stream.codec_context.width else None


async def record(
    track_or_tracks: RemoteTrack | Iterable[RemoteTrack], path: str | os.PathLike[str], *, wait: float = PATIENCE
) -> list[Recorded]:
    """Record remote tracks into one file, as they are: nothing is transcoded.

    The name of the file tells its kind: .ogg and .opus hold Opus, .webm Opus and VP8, .mp4 Opus and H.264, .mkv them
    all. Tracks of one participant are put in step by its clock, participants by when what they sent arrived. Where
    sound is missing the file has silence, where pictures are missing it shows the last; video begins with a key frame.
    A track whose first frame does not come within ``wait`` seconds (of the first of any track) is left out.

    Ends when all tracks have ended; what was recorded of each. Cancelled, the file is finished as well. There is no
    file where nothing came. Raises LocalProtocolError for tracks that the kind of file does not hold, and OSError when
    it cannot be written. Writing takes place in a worker thread.
    """
    tracks = [track_or_tracks] if isinstance(track_or_tracks, RemoteTrack) else list(track_or_tracks)
    if not tracks or len(set(tracks)) < len(tracks):
        raise LocalProtocolError("each track is recorded once, and there is one at least")
    limiter = trio.CapacityLimiter(1)
    writer = await in_thread(_Writer, os.fspath(path), limiter=limiter)
    inputs: list[_Input] = []
    clocks: dict[str, _Clock] = {}

    async def flush() -> None:
        with trio.CancelScope(shield=True):  # what is taken out is written
            if not writer.started and (there := _place(inputs)):
                await in_thread(writer.start, there, limiter=limiter)
            now = trio.current_time()
            work = [
                (found, found.taken(), now - found.clock.origin - LATE if found.lives else 0.0)
                for found in inputs
                if found.stream is not None
            ]
            if work:
                await in_thread(writer.write, work, limiter=limiter)

    try:
        for track in tracks:
            clock = clocks.setdefault(track.publication.participant.sid, _Clock(len(tracks) == 1))
            inputs.append(_Input(track, clock))
            clock.tracks += 1
        async with together() as nursery:
            for found in inputs:
                nursery.start_soon(_collect, found)
            while not all(found.frames.ended for found in inputs):
                if not writer.started:
                    await _gather(inputs, wait)
                await flush()
                await trio.sleep(FLUSH)
    finally:
        for found in inputs:
            found.frames.close()
        with trio.CancelScope(shield=True):
            try:
                await flush()
                while not writer.started and _place(inputs):  # what came first was nonsense
                    await flush()
            finally:
                await in_thread(writer.close, limiter=limiter)
    return [
        Recorded(found.track, found.count, found.lost, found.next / (RATE if found.audio else CLOCK))
        for found in inputs
    ]


async def _collect(found: _Input) -> None:
    async for frame in found.frames:
        found.take(frame)


async def _gather(inputs: Sequence[_Input], wait: float) -> None:
    """Until there is a first frame of every track, and its sender's clock is known; not for ever."""
    first = complete = None
    while not all(found.frames.ended for found in inputs):
        now = trio.current_time()
        there = [found for found in inputs if found.waiting]
        if there and first is None:
            first = now
        if first is not None and (now >= first + wait or all(found.settled for found in inputs)):
            complete = now if complete is None else complete
            synced = all(found.clock.tracks == 1 or found.ntp_base is not None for found in there)
            if synced or len(there) == 1 or now > complete + SYNC_PATIENCE:
                return
        await trio.sleep(FLUSH / 5)


def _place(inputs: Sequence[_Input]) -> list[_Input]:
    """Put the tracks that have a frame on one time line: those of a participant in step by its clock, participants by
    when their tracks came."""
    there = [found for found in inputs if found.waiting and found.nonsense < MOST_NONSENSE]
    for found in there:
        found.base, found.clock.shift = found.arrival, None
    for found in there:
        if (ntp_base := found.ntp_base) is not None and not found.clock.alone:
            found.follow(ntp_base, 0.0)
    origin = min([found.base + found.waiting[0].time for found in there], default=0.0)
    for found in there:
        found.base -= origin
        found.clock.origin = origin
    for clock in dict.fromkeys([found.clock for found in there]):
        if clock.shift is not None:
            clock.shift -= origin
    return there
