"""Streams of text and bytes, as users read and write them."""

from __future__ import annotations

import mimetypes
import os
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import trio

from ._closing import Closing
from ._collected import run_soon
from ._core import ByteStreamInfo, LocalProtocolError, TextStreamInfo
from ._errors import DisconnectedError
from ._groups import leaves
from ._subscription import handler_name

if TYPE_CHECKING:
    from ._core import IncomingStream, OutgoingStream, models
    from ._session import Session

T = TypeVar("T", str, bytes)
R = TypeVar("R", bound="_Reader[Any]")
S = TypeVar("S")
W = TypeVar("W", bound="_Writer")

BURST = 32
"""Pieces that a reader hands out between two full checkpoints."""
FILE_PIECE = 256 << 10
"""Bytes read from a file at a time."""
WHOLE = 64 << 20
"""Bytes of a stream that is read as a whole, unless another limit is given."""

StreamHandler = Callable[..., Awaitable[object] | None]


# ------------------------------------------------------------------ reading


class _Reader(Closing, Generic[T]):
    """An incoming stream: an async iterator over its pieces, as they come."""

    def __init__(self, streams: Streams, core: IncomingStream) -> None:
        self._streams = streams
        self._core = core
        self._lot = trio.lowlevel.ParkingLot()
        self._burst = 0
        self._gathering = False
        token = trio.lowlevel.current_trio_token()

        def gone(_: object) -> None:
            if not core.done:
                run_soon(token, streams.close, core)

        core.owner = weakref.ref(self, gone)
        streams.waiting.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._core.info.topic!r} from {self._core.identity!r}>"

    @property
    def participant_identity(self) -> str:
        """Who sends it; "" for the server."""
        return self._core.identity

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._gathering:
            raise LocalProtocolError("the stream is being read as a whole")
        while True:
            self._burst += 1
            if self._burst < BURST:
                await trio.lowlevel.checkpoint_if_cancelled()
            else:
                self._burst = 0
                await trio.lowlevel.checkpoint()
            piece = self._streams.read(self._core)
            if piece is not None:
                return cast("T", piece)
            if self._core.done:
                if self._core.error is not None:
                    raise self._core.error
                raise StopAsyncIteration
            await self._wait()

    async def read_all(self, *, limit: int = WHOLE) -> T:
        """All of the stream that was not read yet, once it has ended.

        Raises StreamError when it does not end as it should; failure TOO_LARGE when it has more than ``limit`` bytes.
        Raises DisconnectedError when the room ends before. Cancelled, it may be called again, and waits on.
        """
        await trio.lowlevel.checkpoint()
        if not self._gathering:
            self._gathering = True
            self._streams.gather(self._core, limit)
        while not self._core.done:
            await self._wait()
        if self._core.error is not None:
            raise self._core.error
        return cast("T", self._core.whole)

    async def _wait(self) -> None:
        self._streams.session.check()
        await self._lot.park()

    def wake(self) -> None:
        """There is something to read, or never will be."""
        self._lot.unpark_all()

    def close(self) -> None:
        """Read no more: what has come and what is still to come is dropped. A reader that is forgotten is closed."""
        self._streams.close(self._core)


class TextStreamReader(_Reader[str]):
    """An incoming text stream: ``async for text in reader``, or ``await reader.read_all()``.

    Iterating raises StreamError when the stream does not end as it should, after all that came before; and
    DisconnectedError when the room ends in the middle.
    """

    @property
    def info(self) -> TextStreamInfo:
        """What its header says."""
        return cast(TextStreamInfo, self._core.info)


class ByteStreamReader(_Reader[bytes]):
    """An incoming byte stream: ``async for data in reader``, or ``await reader.read_all()``; see TextStreamReader."""

    @property
    def info(self) -> ByteStreamInfo:
        """What its header says."""
        return cast(ByteStreamInfo, self._core.info)


class StreamReaders(Closing, Generic[R]):
    """The incoming streams of one topic, as they begin: an async iterator, and a context manager that ends it.

    One that nobody refers to any more is closed.
    """

    def __init__(self, streams: Streams, text: bool, topic: str) -> None:
        self._streams = streams
        self._queue: deque[R] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self._closed = False

        def opened(reader: Any, identity: str) -> None:
            if (readers := ref()) is not None:
                readers._queue.append(reader)
                readers.wake()

        def gone(_: object = None) -> None:
            streams.unregister(text, topic, only=opened)

        streams.register(text, topic, opened)
        ref = weakref.ref(self, gone)
        self._unregister = gone
        streams.waiting.add(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        while True:
            await trio.lowlevel.checkpoint()
            if self._queue:
                return self._queue.popleft()
            if self._closed or self._streams.session.ended.is_set():
                raise StopAsyncIteration
            await self._lot.park()

    def wake(self) -> None:
        """There is a reader to take, or never will be."""
        self._lot.unpark_all()

    def close(self) -> None:
        """Take no more streams; those that nobody has taken are closed."""
        if not self._closed:
            self._closed = True
            self._unregister()
            for reader in self._queue:
                reader.close()
            self._queue.clear()
            self.wake()


# ------------------------------------------------------------------ writing


class _Writer:
    """An outgoing stream."""

    def __init__(self, streams: Streams, core: OutgoingStream) -> None:
        self._streams = streams
        self._core = core
        self._lock = trio.Lock()
        token = trio.lowlevel.current_trio_token()
        self._finalizer = weakref.finalize(self, run_soon, token, streams.abort, core, "abandoned")
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._core.info.topic!r} {self._core.sent} bytes>"

    async def _write(self, data: Any) -> None:
        async with self._lock:
            for packet in self._core.write(data):
                await self._streams.send(self._core, packet)

    async def aclose(self, *, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        """End the stream. With a ``reason`` its readers get an error: it did not end as it should.

        Leaving the ``async with`` block does it; there an exception is the reason. Does nothing when it has ended.
        """
        if reason or self._core.closed:
            await trio.lowlevel.checkpoint()
            self.abort(reason)
            return
        try:
            async with self._lock:
                for packet in self._core.finish(attributes):
                    await self._streams.send(self._core, packet)
        except BaseException as error:
            self.abort(describe(error))
            raise

    def abort(self, reason: str) -> None:
        """End the stream with an error at its readers, as far as they can still be told."""
        self._streams.abort(self._core, reason)


class TextStreamWriter(_Writer):
    """An outgoing text stream."""

    @property
    def info(self) -> TextStreamInfo:
        """What its header says."""
        return cast(TextStreamInfo, self._core.info)

    async def write(self, text: str) -> None:
        """Send a piece of text; waits like ``publish_data`` while the network is slower.

        Cancelled, a part of it may have been sent. Raises StreamError when the connection was made anew since the
        stream began: others have seen us leave, and it cannot go on.
        """
        await self._write(text)


class ByteStreamWriter(_Writer):
    """An outgoing byte stream."""

    @property
    def info(self) -> ByteStreamInfo:
        """What its header says."""
        return cast(ByteStreamInfo, self._core.info)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send some bytes; see ``TextStreamWriter.write``."""
        await self._write(data)


class Opening(Generic[W]):
    """A stream about to be opened: use it as ``async with ... as writer``, or await it for the writer."""

    def __init__(self, streams: Streams, kind: type[W], make: Callable[[float], OutgoingStream]) -> None:
        self._streams = streams
        self._kind = kind
        self._make = make
        self._writer: W | None = None

    def __await__(self) -> Generator[Any, Any, W]:
        return self._open().__await__()

    async def _open(self) -> W:
        await trio.lowlevel.checkpoint_if_cancelled()
        core = self._streams.open(self._make)
        try:
            await self._streams.send(core, core.header)
        except BaseException as error:
            self._streams.abort(core, describe(error))
            raise
        return self._kind(self._streams, core)

    async def __aenter__(self) -> W:
        self._writer = await self._open()
        return self._writer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._writer is not None
        if error is not None:
            self._writer.abort(describe(error))
        elif not self._writer._core.closed:
            await self._writer.aclose()


def describe(error: BaseException) -> str:
    """What others are told of our exception: its kind only."""
    return "cancelled" if isinstance(error, trio.Cancelled) else f"the sender failed: {type(error).__name__}"


class Streams:
    """What a session has to do with streams."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.waiting: weakref.WeakSet[Any] = weakref.WeakSet()
        """Readers, and what waits for new ones: woken when the room ends."""
        self._handlers: dict[tuple[bool, str], StreamHandler] = {}

    # ------------------------------------------------------------------ in

    def register(self, text: bool, topic: str, handler: StreamHandler) -> None:
        """Give the readers of streams of this topic to ``handler(reader, identity)``. ValueError if there is one."""
        if not callable(handler):
            raise TypeError(f"a handler must be callable, not {handler!r}")
        if (text, topic) in self._handlers:
            raise ValueError(f"the topic {topic!r} has a handler of {'text' if text else 'byte'} streams already")
        self.session.engine.streams_in.listen(text=text, topic=topic)
        self._handlers[text, topic] = handler

    def unregister(self, text: bool, topic: str, *, only: StreamHandler | None = None) -> None:
        """Forget a handler; nothing happens if there is none, or another than ``only``."""
        handler = self._handlers.get((text, topic))
        if handler is not None and only in (None, handler):
            del self._handlers[text, topic]
            self.session.engine.streams_in.unlisten(text=text, topic=topic)

    def opened(self, core: IncomingStream) -> None:
        """A stream has begun."""
        text = isinstance(core.info, TextStreamInfo)
        handler = self._handlers.get((text, core.info.topic))
        if handler is None:  # it was removed since the stream began
            self.close(core)
            return
        reader = TextStreamReader(self, core) if text else ByteStreamReader(self, core)
        coroutine = self.session.hub.call(handler, (reader, core.identity))
        if coroutine is not None and not self.session.spawn(self._run(coroutine, core), handler_name(handler)):
            coroutine.close()  # what was given to spawn is only the wrapper around it

    async def _run(self, coroutine: Coroutine[Any, Any, object], core: IncomingStream) -> None:
        """A handler at work. That its stream fails is the sender's doing, and must not end our room."""
        try:
            await coroutine
        except Exception as error:
            causes = list(leaves(error))  # a nursery of the handler may have wrapped it
            over = (DisconnectedError,) if self.session.ended.is_set() or self.session.leaving else ()
            if not all(cause is core.error or isinstance(cause, over) for cause in causes):
                raise
            if core.error in causes:
                self.session.counters.add("stream_handler_failed")

    @trio.lowlevel.enable_ki_protection
    def read(self, core: IncomingStream) -> bytes | str | None:
        """The next piece of a stream, if there is one now."""
        piece = core.read(trio.current_time())
        self._pump()
        return piece

    @trio.lowlevel.enable_ki_protection
    def gather(self, core: IncomingStream, limit: int) -> None:
        """Put a stream together as a whole."""
        core.gather(trio.current_time(), limit=limit)
        self._pump()

    @trio.lowlevel.enable_ki_protection
    def close(self, core: IncomingStream) -> None:
        """Nobody reads a stream any more."""
        core.close(trio.current_time())
        self._pump()

    def _pump(self) -> None:
        session = self.session
        if session.engine.owing and not session.driver.broken:  # the window has opened
            session.driver.pump()

    def end(self) -> None:
        """The room has ended."""
        for waiting in list(self.waiting):
            waiting.wake()

    # ------------------------------------------------------------------ out

    @trio.lowlevel.enable_ki_protection
    def open(self, make: Callable[[float], S]) -> S:
        """Make a stream of ours."""
        self.session.check_open()
        return make(trio.current_time())

    async def send(self, core: OutgoingStream, packet: models.DataPacket) -> None:
        """Send a packet of a stream when its turn has come."""
        await self.session.send_in_line(True, self._attempt, core, packet)

    def _attempt(self, core: OutgoingStream, packet: models.DataPacket) -> bool:
        core.check()
        return self.session.send_packet(packet)

    @trio.lowlevel.enable_ki_protection
    def abort(self, core: OutgoingStream, reason: str) -> None:
        """Tell the readers of a stream that no more will come: now, or by a task when there is room; or never."""
        session = self.session
        packet = core.abort(reason)
        if packet is None or session.ended.is_set() or session.leaving or session.driver.broken:
            return
        if session.reliable_line or not session.send_packet(packet):
            session.spawn(session.send_in_line(True, session.send_packet, packet), "trio_client stream end")

    def open_text(self, **header: Any) -> Opening[TextStreamWriter]:
        """A text stream to be written piece by piece."""
        out = self.session.engine.streams_out
        return Opening(self, TextStreamWriter, lambda now: out.open_text(now, **header))

    def open_bytes(self, **header: Any) -> Opening[ByteStreamWriter]:
        """A byte stream to be written piece by piece."""
        out = self.session.engine.streams_out
        return Opening(self, ByteStreamWriter, lambda now: out.open_bytes(now, **header))


async def send_whole(
    streams: Streams, make: Callable[[float], tuple[OutgoingStream, Iterator[models.DataPacket]]]
) -> Any:
    """Send a stream that is known as a whole; its info."""
    await trio.lowlevel.checkpoint_if_cancelled()
    core, packets = streams.open(make)
    try:
        for packet in packets:
            await streams.send(core, packet)
    except BaseException as error:
        streams.abort(core, describe(error))
        raise
    return core.info


async def send_file(
    streams: Streams,
    path: str | os.PathLike[str],
    *,
    name: str | None,
    mime_type: str | None,
    compress: bool,
    on_progress: Callable[[float], object] | None,
    header: Mapping[str, Any],
) -> ByteStreamInfo:
    """Send a file as a byte stream, piece by piece."""
    kind = mime_type or mimetypes.guess_type(os.fspath(path))[0] or "application/octet-stream"
    about = {**header, "name": os.path.basename(os.fspath(path)) if name is None else name, "mime_type": kind}
    out = streams.session.engine.streams_out
    async with await trio.open_file(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        piece = await file.read(min(size, FILE_PIECE))
        if len(piece) == size:
            info = await send_whole(streams, lambda now: out.send_bytes(piece, now, compress=compress, **about))
            if on_progress is not None:
                on_progress(1.0)
            return cast(ByteStreamInfo, info)

        def make(now: float) -> OutgoingStream:
            core = out.open_bytes(now, total_size=size, **about)
            if compress:
                out.compressing(core, piece[: 64 << 10])
            return core

        async with Opening(streams, ByteStreamWriter, make) as writer:
            done = 0
            while piece:
                await writer.write(piece)
                done += len(piece)
                if on_progress is not None:
                    on_progress(done / size)
                piece = await file.read(min(size - done, FILE_PIECE))
        return writer.info
