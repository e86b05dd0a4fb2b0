"""Tracks as users see them: encoded frames written, encoded frames read."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, Self

import trio
from attrs import frozen

from ._closing import Closing
from ._collected import run_soon
from ._core import LocalProtocolError, TrackKind, TrackSource, VideoLayer, VideoQuality, core_track

if TYPE_CHECKING:
    from ._core import Frame, LocalTrackPublication, RemoteTrackPublication, RtpReceiver, SenderStats
    from ._session import Session

WRITES = 16
"""Frames that one track takes between two full checkpoints, so that a flood does not keep others from running."""


@frozen(kw_only=True)
class EncodedFrame:
    """One encoded frame to send.

    ``timestamp`` and ``duration`` are in units of the codec's clock (48 000 a second for Opus, 90 000 for video);
    without a timestamp audio counts itself on and video takes the time of writing. ``level`` is the loudness of audio
    in -dBov, 0 (loudest) to 127: without it nobody is seen speaking. ``voice`` tells whether it is speech.
    """

    data: bytes
    timestamp: int | None = None
    duration: int | None = None
    level: int | None = None
    voice: bool = False


class LocalTrack:
    """What tracks of ours have in common, audio or video."""

    kind: TrackKind

    def __init__(self, name: str) -> None:
        self.name = name
        self.publication: LocalTrackPublication | None = None
        """Where it is published, None while it is not."""
        self._session: Session | None = None
        self._core: core_track.LocalTrack | None = None
        self._lot = trio.lowlevel.ParkingLot()
        self._writes = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _describe(self, source: TrackSource | None, name: str, stream: str) -> core_track.TrackDescription:
        raise NotImplementedError  # the base of audio and video, which each say what they are; not exported by itself

    async def write(self, frame: bytes | EncodedFrame) -> bool:
        """Send one encoded frame. True if it was sent; False if it was dropped: the track is muted, video waits for a
        key frame, or too much is queued already.

        Waits while the connection is being made or mended. Raises LocalProtocolError when the track is not published
        or the frame is not one of its codec, and DisconnectedError when the room has ended.
        """
        session, core = await self._ready()
        return self._write(session, core, frame)

    async def _ready(self) -> tuple[Session, core_track.LocalTrack]:
        """A checkpoint, and a wait until frames can be sent."""
        self._writes += 1
        if self._writes >= WRITES:
            self._writes = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            core, session = self._core, self._session
            if core is None or session is None:
                raise LocalProtocolError(f"{self!r} is not published")
            if core.started:
                return session, core
            session.check()
            await self._lot.park()

    @trio.lowlevel.enable_ki_protection
    def _write(
        self, session: Session, core: core_track.LocalTrack, frame: bytes | EncodedFrame, layer: int = 0
    ) -> bool:
        session.check()
        now = trio.current_time()
        if isinstance(frame, EncodedFrame):
            sent = session.engine.write_frame(
                core,
                frame.data,
                now,
                timestamp=frame.timestamp,
                duration=frame.duration,
                level=frame.level,
                voice=frame.voice,
                layer=layer,
            )
        else:
            sent = session.engine.write_frame(core, frame, now, layer=layer)
        session.driver.pump_soon()
        if not sent:
            self._lot.unpark_all()  # a key frame may be wanted
        return sent

    def stats(self) -> SenderStats | None:
        """Counters of what was sent, of all layers together; None while nothing can be."""
        return self._core.stats() if self._core is not None else None

    # ------------------------------------------------------------------ what the session tells

    def _attach(self, session: Session, core: core_track.LocalTrack) -> None:
        self._session, self._core = session, core

    def _detach(self) -> None:
        self._session = self._core = self.publication = None
        self._wake()

    def _wake(self) -> None:
        """Something has changed: look again at what you wait for."""
        self._lot.unpark_all()


class LocalAudioTrack(LocalTrack):
    """Audio to publish: Opus, 48 kHz, a packet a frame.

    ``stereo``: it has two channels. ``dtx``: the encoder may leave out frames of silence. ``red``: send a copy of the
    frame before along with each, which repairs single losses (RFC 2198).
    """

    kind = TrackKind.AUDIO

    def __init__(self, name: str = "", *, stereo: bool = False, dtx: bool = True, red: bool = True) -> None:
        super().__init__(name)
        self.stereo = stereo
        self.dtx = dtx
        self.red = red

    def _describe(self, source: TrackSource | None, name: str, stream: str) -> core_track.TrackDescription:
        return core_track.TrackDescription(
            codec="opus",
            name=name or self.name,
            source=TrackSource.MICROPHONE if source is None else source,
            red=self.red,
            dtx=self.dtx,
            stereo=self.stereo,
            stream=stream,
            owner=self,
        )


class LocalVideoTrack(LocalTrack):
    """Video to publish: a whole picture a frame, of H.264 in Annex B form.

    ``layers``: the encodings of it, from the lowest on, when there are several (simulcast); write each picture once for
    each, by ``write(frame, layer=...)`` or ``layers[...].write(frame)``. ``dynacast``: layers that no subscriber wants
    are paused: what is written to them is dropped, and need not be encoded. A track without layers is then paused while
    nobody subscribes.
    """

    kind = TrackKind.VIDEO

    def __init__(
        self,
        name: str = "",
        *,
        codec: Literal["vp8", "h264"] = "vp8",
        width: int = 0,
        height: int = 0,
        layers: Iterable[VideoLayer] = (),
        dynacast: bool = True,
    ) -> None:
        super().__init__(name)
        self.codec = codec
        self.width = width
        self.height = height
        self.dynacast = dynacast
        self._layers = tuple(layers)
        description = self._describe(None, "", "")
        shapes = self._layers or (None,)
        self.layers = tuple(
            [
                LocalLayer(self, place, shape, quality)
                for place, (shape, quality) in enumerate(zip(shapes, description.qualities, strict=True))
            ]
        )
        """The encodings, the lowest first: one, unless there is simulcast."""

    @property
    def keyframe_wanted(self) -> Wish:
        """Whether the next frame, of any layer, has to be a key frame; ``await`` it to wait for that."""
        return Wish(self, lambda: any(layer._wants_keyframe() for layer in self.layers))

    async def write(self, frame: bytes | EncodedFrame, *, layer: int | None = None) -> bool:
        """Send one encoded picture, of a layer if there are several.

        True if it was sent; False if it was dropped: the track is muted, nobody wants the layer, a key frame has to
        come first, or too much is queued already. Waits while the connection is being made or mended. Raises
        LocalProtocolError when the track is not published, the frame is not one of its codec, or there is no such
        layer, and DisconnectedError when the room has ended.
        """
        if layer is None:
            if len(self.layers) > 1:
                raise LocalProtocolError(f"{self!r} has {len(self.layers)} layers: tell which one the frame is of")
            layer = 0
        elif not 0 <= layer < len(self.layers):
            raise LocalProtocolError(f"{self!r} has no layer {layer}")
        session, core = await self._ready()
        return self._write(session, core, frame, layer)

    def _describe(self, source: TrackSource | None, name: str, stream: str) -> core_track.TrackDescription:
        return core_track.TrackDescription(
            codec=self.codec,
            name=name or self.name,
            source=TrackSource.CAMERA if source is None else source,
            stream=stream,
            width=self.width,
            height=self.height,
            layers=self._layers,
            dynacast=self.dynacast,
            owner=self,
        )


class LocalLayer:
    """One encoding of a video track of ours.

    ``quality`` is what subscribers ask for it by; ``width``, ``height`` and ``bitrate`` are as the track was made with.
    """

    __slots__ = ("_index", "_track", "bitrate", "height", "quality", "width")

    def __init__(self, track: LocalVideoTrack, index: int, shape: VideoLayer | None, quality: VideoQuality) -> None:
        self._track = track
        self._index = index
        self.quality = quality
        self.width = track.width if shape is None else shape.width
        self.height = track.height if shape is None else shape.height
        self.bitrate = 0 if shape is None else shape.bitrate

    def __repr__(self) -> str:
        return f"<LocalLayer {self.quality.name} of {self._track!r}>"

    async def write(self, frame: bytes | EncodedFrame) -> bool:
        """Send one encoded picture of this layer; see ``LocalVideoTrack.write``."""
        return await self._track.write(frame, layer=self._index)

    @property
    def paused(self) -> bool:
        """Whether frames are dropped now: the track is not published, it is muted, or nobody wants this layer."""
        core = self._track._core
        return core is None or core.paused(self._index)

    @property
    def wanted(self) -> Wish:
        """Whether the layer is not paused; ``await`` it to wait until it is wanted (again)."""
        return Wish(self._track, lambda: not self.paused)

    @property
    def keyframe_wanted(self) -> Wish:
        """Whether the next frame of the layer has to be a key frame; ``await`` it to wait for that."""
        return Wish(self._track, self._wants_keyframe)

    def _wants_keyframe(self) -> bool:
        core = self._track._core
        sender = core.sender(self._index) if core is not None else None
        return sender is not None and sender.keyframe_wanted and not sender.paused

    def stats(self) -> SenderStats | None:
        """Counters of what was sent of this layer, None while nothing can be."""
        core = self._track._core
        return core.stats(self._index) if core is not None else None


class Wish:
    """True while something is wanted of a track of ours. Awaiting it waits until it is, at once if it is already.

    Awaiting raises LocalProtocolError when the track is not published, or no longer, and DisconnectedError when the
    room has ended.
    """

    __slots__ = ("_holds", "_track")

    def __init__(self, track: LocalVideoTrack, holds: Callable[[], bool]) -> None:
        self._track = track
        self._holds = holds

    def __bool__(self) -> bool:
        return self._holds()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._holds():
            if self._track._session is None:
                raise LocalProtocolError(f"{self._track!r} is not published")
            self._track._session.check()
            await self._track._lot.park()


# ------------------------------------------------------------------ remote


class Frames(Closing):
    """The frames of a remote track for one reader: an async iterator, and a context manager that ends it.

    ``ended`` is empty while it lives, and then says why it ended: "unsubscribed", "unpublished", "reconnecting" (the
    track comes again as a new one), "disconnected" or "closed". ``capacity`` frames wait at most.
    """

    # The only reader of a track takes frames out of the receiver itself. Several get them into queues of their own,
    # which overflow in the same way: sound loses its oldest frame, and pictures go on with a key frame.

    __slots__ = ("__weakref__", "_needs_keyframe", "_pending", "_queue", "_track", "capacity", "ended")

    def __init__(self, track: RemoteTrack, capacity: int, late: bool) -> None:
        self._track = track
        self.capacity = capacity
        self.ended = ""
        self._queue: deque[Frame] = deque()
        self._needs_keyframe = late and track.kind is TrackKind.VIDEO
        self._pending = 0  # frames lost since the last one that went into the queue

    def __repr__(self) -> str:
        return f"<Frames of {self._track!r}{' ' + self.ended if self.ended else ''}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        track = self._track
        track._reads += 1
        if track._reads >= WRITES:
            track._reads = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        while not self.ended:
            frame = self.read()
            if frame is not None:
                return frame
            if track.ended:
                self.ended = track.ended
                break
            await track._park()
        raise StopAsyncIteration

    async def _before(self, deadline: float) -> Frame | None:
        """The next frame, or None when none has come by then, by Trio's clock; also when the track has ended, which
        ``__anext__`` tells. Raises StopAsyncIteration when the reader was closed. No checkpoint unless it waits."""
        over = False
        while not self.ended:
            frame = self.read()
            if frame is not None or over:
                return frame
            over = trio.current_time() >= deadline
            if over:  # we may be what is late, and frames wait in a socket: its turn comes first
                await trio.lowlevel.checkpoint()
            else:
                with trio.CancelScope(deadline=deadline):
                    await self._track._park()
        raise StopAsyncIteration

    def read(self) -> Frame | None:
        """The next frame if one waits, else None."""
        if self._queue:
            return self._queue.popleft()
        if self.ended:
            return None
        return self._track._read(self)

    def _put(self, frame: Frame) -> None:
        """One more frame, which other readers get too."""
        if self._needs_keyframe:
            if not frame.keyframe:
                self._pending += frame.lost + 1
                return
            self._needs_keyframe = False
        queue, lost = self._queue, 0
        if len(queue) >= self.capacity:
            keep = 0 if self._track.kind is TrackKind.VIDEO else len(queue) - 1
            for place in range(len(queue) - 1, 0, -1):
                if queue[place].keyframe:
                    keep = len(queue) - place
                    break
            while len(queue) > keep:
                lost += queue.popleft().lost + 1
            if queue:
                queue[0] = queue[0].after(lost)
                lost = 0
            elif self._track.kind is TrackKind.VIDEO and not frame.keyframe:
                self._pending = lost + frame.lost + 1
                self._needs_keyframe = True
                self._track.request_keyframe()
                return
        lost += self._pending
        self._pending = 0
        queue.append(frame.after(lost) if lost else frame)

    def close(self) -> None:
        """Read no more. Without another reader, frames are dropped from now on, at next to no cost."""
        if not self.ended:
            self.ended = "closed"
            self._queue.clear()
            self._track._forget()


class RemoteTrack(core_track.RemoteTrack):
    """A subscribed track of somebody else, from TrackSubscribed. ``ended`` says why it ended, empty while it lives."""

    __slots__ = ("_most", "_parked", "_readers", "_reads", "_session")

    def __init__(self, session: Session, publication: RemoteTrackPublication, receiver: RtpReceiver) -> None:
        super().__init__(publication, receiver)
        self._session = session
        self._readers: list[weakref.ref[Frames]] = []
        self._parked: list[trio.lowlevel.Task] = []
        self._most = receiver.capacity
        self._reads = 0

    @trio.lowlevel.enable_ki_protection
    def frames(self, *, capacity: int | None = None) -> Frames:
        """The encoded frames from now on, for one reader. Several readers each get all of them, at a pace of their own.
        Nothing is kept while there is none, and one that nobody refers to any more is none.

        ``capacity``: frames that wait at most, 50 of audio and 60 of video unless told otherwise, and not more. When
        they are full, the oldest audio goes, and video goes on with its next key frame; ``lost`` of the next frame
        tells. A frame has ``data``, ``timestamp`` (in units of the clock, unwrapped), ``time`` (seconds since the
        first frame), ``ntp_time`` (the sender's wall clock as Unix time, None until it is known), ``keyframe``,
        and ``lost`` (frames missing before it).
        """
        if capacity is not None and capacity < 1:
            raise LocalProtocolError("a capacity is at least one frame")
        self._share()  # what came before is for those who read already
        late = self.receiver.enabled  # in the midst of pictures, which begin with a key frame for this one too
        frames = Frames(self, self._most if capacity is None else min(self._most, capacity), late)
        token = trio.lowlevel.current_trio_token()

        def forgotten(_: object) -> None:
            run_soon(token, self._count_readers)

        self._readers.append(weakref.ref(frames, forgotten))
        self._count_readers()
        if late:
            self.request_keyframe()
        return frames

    def _living(self) -> list[Frames]:
        found = [reader() for reader in self._readers]
        return [frames for frames in found if frames is not None and not frames.ended]

    def _read(self, frames: Frames) -> Frame | None:
        """The next frame for a reader whose queue is empty."""
        if len(self._readers) == 1 and not frames._needs_keyframe:
            return self.read()
        self._share()
        return frames._queue.popleft() if frames._queue else None

    def _share(self) -> None:
        """Give what waits to every reader."""
        living = self._living()
        while (frame := self.read()) is not None:
            for frames in living:
                frames._put(frame)

    def _forget(self) -> None:
        """A reader was closed: others may wait for what it would have read."""
        self._count_readers()
        self._wake()

    def _count_readers(self) -> None:
        """Readers have come or gone."""
        living = self._living()
        self._readers = [reader for reader in self._readers if reader() in living]
        self.receiver.capacity = living[0].capacity if len(living) == 1 else self._most
        if self.receiver.enabled != bool(living):
            self._enable(bool(living))

    @trio.lowlevel.enable_ki_protection
    def _enable(self, enabled: bool) -> None:
        if not self.ended and not self._session.ended.is_set():
            self._session.engine.enable_track(self, enabled, trio.current_time())
            self._session.driver.pump()

    @trio.lowlevel.enable_ki_protection
    def request_keyframe(self) -> None:
        """Ask the publisher of a video for a key frame, which the server does once in half a second at most. It is done
        by itself where one is needed to go on. Audio has none."""
        if self.kind is TrackKind.VIDEO and not self.ended and not self._session.ended.is_set():
            self._session.engine.request_keyframe(self, trio.current_time())
            self._session.driver.pump()

    async def _park(self) -> None:
        """Wait until there may be something to read. A ParkingLot does the same at several times the cost, and this
        happens for each packet."""
        task = trio.lowlevel.current_task()
        self._parked.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self) -> None:
        if len(self._readers) > 1:
            self._share()
        if self._parked:
            parked, self._parked = self._parked, []
            for task in parked:
                trio.lowlevel.reschedule(task)


class RemoteAudioTrack(RemoteTrack):
    """Audio of somebody else: a frame is an Opus packet, of 48 kHz."""

    __slots__ = ()


class RemoteVideoTrack(RemoteTrack):
    """Video of somebody else: a frame is a whole encoded picture, of H.264 in Annex B form."""

    __slots__ = ()


def make_remote_track(session: Session, publication: RemoteTrackPublication, receiver: RtpReceiver) -> RemoteTrack:
    """The track that a receiver stands for."""
    kind = RemoteAudioTrack if receiver.kind == "audio" else RemoteVideoTrack
    return kind(session, publication, receiver)


__all__ = [
    "EncodedFrame",
    "Frames",
    "LocalAudioTrack",
    "LocalLayer",
    "LocalTrack",
    "LocalVideoTrack",
    "RemoteAudioTrack",
    "RemoteTrack",
    "RemoteVideoTrack",
    "Wish",
    "make_remote_track",
]
