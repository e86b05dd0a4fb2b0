"""Streams of text and bytes, as users read and write them."""

from __future__ import annotations

import mimetypes
import os
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import trio

from ._core import LocalProtocolError
from ._errors import DisconnectedError

if TYPE_CHECKING:
    from ._core import ByteStreamInfo, IncomingStream, OutgoingStream, TextStreamInfo, models
    from ._session import Session

T = TypeVar("T", str, bytes)
R = TypeVar("R", bound="_Reader[Any]")
W = TypeVar("W", bound="_Writer")

BURST = 32
"""Pieces that a reader hands out between two full checkpoints."""
FILE_PIECE = 256 << 10
"""Bytes read from a file at a time."""
WHOLE = 64 << 20
"""Bytes of a stream that is read as a whole, unless another limit is given."""

StreamHandler = Callable[..., Awaitable[object] | None]


# ------------------------------------------------------------------ reading


class _Reader(Generic[T]):
    """An incoming stream: an async iterator over its pieces, as they come."""

    def __init__(self, session: Session, core: IncomingStream) -> None:
        self._session = session
        self._core = core
        self._wake: trio.Event | None = None
        self._burst = 0
        self._gathering = False
        token = trio.lowlevel.current_trio_token()

        def gone(_: object) -> None:
            if not core.done:
                _run_soon(token, session.close_stream, core)

        core.owner = weakref.ref(self, gone)
        session.readers.add(self)

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
            piece = self._session.read_stream(self._core)
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
            self._session.gather_stream(self._core, limit)
        while not self._core.done:
            await self._wait()
        if self._core.error is not None:
            raise self._core.error
        return cast("T", self._core.whole)

    async def _wait(self) -> None:
        if self._session.ended.is_set():
            raise DisconnectedError(self._session.reason)
        if self._wake is None:
            self._wake = trio.Event()
        await self._wake.wait()

    def wake(self) -> None:
        """There is something to read, or never will be."""
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def close(self) -> None:
        """Read no more: what has come and what is still to come is dropped. A reader that is forgotten is closed."""
        self._session.close_stream(self._core)

    async def aclose(self) -> None:
        """Like ``close``."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class TextStreamReader(_Reader[str]):
    """An incoming text stream: ``async for text in reader``, or ``await reader.read_all()``.

    Iterating raises StreamError when the stream does not end as it should, after all that came before; and
    DisconnectedError when the room ends in the middle.
    """

    @property
    def info(self) -> TextStreamInfo:
        """What its header says."""
        return cast("TextStreamInfo", self._core.info)


class ByteStreamReader(_Reader[bytes]):
    """An incoming byte stream: ``async for data in reader``, or ``await reader.read_all()``; see TextStreamReader."""

    @property
    def info(self) -> ByteStreamInfo:
        """What its header says."""
        return cast("ByteStreamInfo", self._core.info)


def _run_soon(token: trio.lowlevel.TrioToken, fn: Callable[..., object], *args: object) -> None:
    """For the garbage collector, which may come at any time and in any thread."""
    try:
        token.run_sync_soon(fn, *args)
    except trio.RunFinishedError:
        pass


class StreamReaders(Generic[R]):
    """The incoming streams of one topic, as they begin: an async iterator and a context manager that ends it."""

    def __init__(self, session: Session, text: bool, topic: str) -> None:
        self._session = session
        self._text = text
        self._topic = topic
        self._queue: deque[R] = deque()
        self._wake = trio.Event()
        self._closed = False
        session.listen_streams(text, topic, self._put)

    def _put(self, reader: R, identity: str) -> None:
        self._queue.append(reader)
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        while True:
            await trio.lowlevel.checkpoint()
            if self._queue:
                return self._queue.popleft()
            if self._closed or self._session.ended.is_set():
                raise StopAsyncIteration
            self._wake = trio.Event()
            self._session.stream_lists.add(self)
            await self._wake.wait()

    def wake(self) -> None:
        """The room has ended."""
        self._wake.set()

    def close(self) -> None:
        """Take no more streams; those that nobody has taken are closed."""
        if not self._closed:
            self._closed = True
            self._session.unlisten_streams(self._text, self._topic)
            for reader in self._queue:
                reader.close()
            self._queue.clear()
            self._wake.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


# ------------------------------------------------------------------ writing


class _Writer:
    """An outgoing stream."""

    def __init__(self, session: Session, core: OutgoingStream) -> None:
        self._session = session
        self._core = core
        self._lock = trio.Lock()
        token = trio.lowlevel.current_trio_token()
        self._finalizer = weakref.finalize(self, _run_soon, token, session.abort_stream, core, "abandoned")
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._core.info.topic!r} {self._core.sent} bytes>"

    async def _write(self, data: Any) -> None:
        async with self._lock:
            for packet in self._core.write(data):
                await self._session.send_stream(self._core, packet)

    async def aclose(self, *, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        """End the stream. With a ``reason`` its readers get an error: it did not end as it should.

        Leaving the ``async with`` block does it; there an exception is the reason. Does nothing when it has ended.
        """
        if reason or self._core.closed:
            await trio.lowlevel.checkpoint()
            self.abort(reason)
            return
        async with self._lock:
            try:
                for packet in self._core.finish(attributes):
                    await self._session.send_stream(self._core, packet)
            except BaseException as error:
                self.abort(describe(error))
                raise

    def abort(self, reason: str) -> None:
        """End the stream with an error at its readers, as far as they can still be told."""
        self._session.abort_stream(self._core, reason)


class TextStreamWriter(_Writer):
    """An outgoing text stream."""

    @property
    def info(self) -> TextStreamInfo:
        """What its header says."""
        return cast("TextStreamInfo", self._core.info)

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
        return cast("ByteStreamInfo", self._core.info)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send some bytes; see ``TextStreamWriter.write``."""
        await self._write(data)


class Opening(Generic[W]):
    """A stream about to be opened: use it as ``async with ... as writer``, or await it for the writer."""

    def __init__(self, session: Session, kind: type[W], make: Callable[[float], OutgoingStream]) -> None:
        self._session = session
        self._kind = kind
        self._make = make
        self._writer: W | None = None

    def __await__(self) -> Generator[Any, Any, W]:
        return self._open().__await__()

    async def _open(self) -> W:
        await trio.lowlevel.checkpoint_if_cancelled()
        core = self._session.open_stream(self._make)
        try:
            await self._session.send_stream(core, core.header)
        except BaseException as error:
            self._session.abort_stream(core, describe(error))
            raise
        return self._kind(self._session, core)

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


async def send_whole(session: Session, make: Callable[[float], tuple[OutgoingStream, Iterator[models.DataPacket]]]) -> Any:
    """Send a stream that is known as a whole; its info."""
    await trio.lowlevel.checkpoint_if_cancelled()
    core, packets = session.open_stream(make)
    try:
        for packet in packets:
            await session.send_stream(core, packet)
    except BaseException as error:
        session.abort_stream(core, describe(error))
        raise
    return core.info


async def send_file(
    session: Session,
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
    out = session.engine.streams_out
    async with await trio.open_file(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        piece = await file.read(min(size, FILE_PIECE))
        if len(piece) == size:
            info = await send_whole(session, lambda now: out.send_bytes(piece, now, compress=compress, **about))
            if on_progress is not None:
                on_progress(1.0)
            return cast("ByteStreamInfo", info)

        def make(now: float) -> OutgoingStream:
            core = out.open_bytes(now, total_size=size, **about)
            if compress:
                out.compressing(core, piece[: 64 << 10])
            return core

        async with Opening(session, ByteStreamWriter, make) as writer:
            done = 0
            while piece:
                await writer.write(piece)
                done += len(piece)
                if on_progress is not None:
                    on_progress(done / size)
                piece = await file.read(min(size - done, FILE_PIECE))
        return writer.info
