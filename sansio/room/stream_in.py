"""Streams that others send: put together, checked, and kept until their readers take them.

A stream is only kept when somebody listens for its topic. It is known by its sender's identity and its id, so nobody
can write into another's. Its parts come in order, since the channel keeps order; a missing one ends the stream. A part
may come again with a higher version (text that was not compressed): it takes the place of the old one, if that was not
read yet. What is compressed stays so until it is read, and is inflated in small pieces, so that a few bytes on the wire
cannot fill the memory.

Readers set the pace: what they have not taken stays charged to the receive window of the transport, which all data
shares. Once ``STREAMS_UNREAD`` bytes wait, a reader that has taken nothing for ``STREAM_STALL`` seconds has its stream
ended, the largest first, so that it cannot hold up the others for good.
"""

from __future__ import annotations

import codecs
import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from .. import proto
from ..base import limits
from ..base.contract import INF
from ..base.counters import Counters
from ..base.errors import LocalProtocolError, ParseError
from .stream_info import ByteStreamInfo, StreamError, StreamFailure, TextStreamInfo, decode_header

if TYPE_CHECKING:
    from ..proto import models

SENDER_GRACE = 2.0
"""Seconds for what a sender that has left sent before: the news of its leaving takes another way, and may be faster."""
REASON = 500
"""Characters kept of a sender's reason."""

Done = Callable[["IncomingStream", float], None]


class Hold(Protocol):
    """Bytes that are charged to the receive window."""

    def release(self) -> None:
        """They are not kept any more. Called once."""


@frozen(eq=False)
class StreamOpened:
    """Somebody sends a stream that is listened for."""

    stream: IncomingStream


@frozen(eq=False)
class StreamReadable:
    """``stream.read()`` has something to give, or the stream is done. Not repeated until ``read`` gave None."""

    stream: IncomingStream


class IncomingStream:
    """One stream. ``identity`` is the sender's, "" for the server; ``owner`` is for whoever reads.

    When ``done`` nothing more will come, and ``error`` says whether it ended as it should. ``whole`` has all of it
    then, if ``gather`` was asked for.
    """

    __slots__ = (
        "info",
        "identity",
        "sid",
        "owner",
        "done",
        "error",
        "whole",
        "_home",
        "_parts",
        "_holds",
        "_unread",
        "_next",
        "_over",
        "_end",
        "_versions",
        "_inflate",
        "_tail",
        "_more",
        "_text",
        "_length",
        "_gathered",
        "_cost",
        "_limit",
        "_finished",
        "_told",
        "_read_at",
        "_orphan_at",
    )

    def __init__(
        self, home: IncomingStreams, info: TextStreamInfo | ByteStreamInfo, identity: str, sid: str, now: float
    ) -> None:
        self.info = info
        self.identity = identity
        self.sid = sid
        self.owner: Any = None
        self.done = False
        self.error: StreamError | None = None
        self.whole: bytes | str | None = None
        self._home = home
        self._parts: deque[_Part] = deque()
        self._holds: list[Hold] = []
        self._unread = 0
        self._next = 0
        self._over = False
        self._end: StreamError | None = None
        self._versions: dict[int, int] = {}
        self._inflate: Any = None
        self._tail = b""
        self._more = False
        self._text: Any = None
        if isinstance(info, TextStreamInfo):
            self._text = codecs.getincrementaldecoder("utf-8")("strict")
        self._length = 0
        self._gathered: dict[int, bytes] | None = None
        self._cost = 0
        self._limit = 0
        self._finished: Done | None = None
        self._told = False
        self._read_at = now
        self._orphan_at = INF

    def __repr__(self) -> str:
        return f"<IncomingStream {self.info.stream_id} from {self.identity!r}{' done' if self.done else ''}>"

    @property
    def key(self) -> tuple[str, str]:
        """How the stream is found."""
        return self.identity, self.info.stream_id

    # ------------------------------------------------------------------ reading

    def read(self, now: float) -> bytes | str | None:
        """The next piece, never an empty one; None when there is none now. Then ``done`` says if there ever will be."""
        self._read_at = now
        while not self.done:
            data = self._take()
            if data is None:
                if self._over:
                    self._settle(b"", now)
                else:
                    self._told = False
                break
            piece = self._check(data, now)
            if piece:
                return piece
        return None

    def gather(self, now: float, *, limit: int = limits.STREAM_WHOLE, finished: Done | None = None) -> None:
        """Put all that was not read yet together in ``whole``, as long as it has at most ``limit`` bytes.

        ``finished`` is called when the stream is done; without it, StreamReadable tells. Parts that are replaced by
        later versions are replaced here as well.
        """
        if self._gathered is not None:
            raise LocalProtocolError("the stream is being read as a whole")
        if self.done:
            if self.error is None:
                self.whole = b"" if self._text is None else ""
            return
        self._gathered = {}
        self._limit = limit + self._length
        self._finished = finished
        self._told = True
        parts = list(self._parts)
        self._release(now)
        if self._more or self._tail:
            self._gather(0, b"", now)
        for part in parts:
            if not self.done:
                self._gather(part.index, part.content, now)
        if not self.done and self._over:
            self._settle(self._joined(), now)

    def close(self, now: float) -> None:
        """Nobody will read the rest: forget it, and what is still to come."""
        if not self.done:
            self._finish(None, now)

    # ------------------------------------------------------------------ what arrives

    def compressed(self) -> None:
        """The content is to be inflated."""
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def keep(self, size: int, now: float) -> None:
        """So many bytes of the packet that is being handled describe the stream: they are kept as long as it is."""
        if self._gathered is None:
            self._holds.append(self._home.hold(size))
            self._home.charge(self, size + limits.STREAM_PART_COST, now)

    def add(self, index: int, version: int, content: bytes, now: float) -> None:
        """A chunk."""
        if self._orphan_at != INF:
            self._orphan_at = now + SENDER_GRACE
        if index > self._next:
            self.end(StreamError(StreamFailure.GAP), now)
            return
        if index < self._next:
            self._replace(index, version, content, now)
            return
        self._next += 1
        if version > 0:
            self._remember(index, version)
        if self._gathered is not None:
            self._gather(index, content, now)
            return
        self._parts.append(_Part(index, content, self._home.hold(len(content))))
        self._home.charge(self, len(content) + limits.STREAM_PART_COST, now)
        self._tell()

    def _replace(self, index: int, version: int, content: bytes, now: float) -> None:
        """A part that was there: a repetition, or a newer version."""
        counters = self._home.counters
        if version <= self._versions.get(index, 0) or self._inflate is not None:
            counters.add("stream_chunk_duplicate")
            return
        if self._gathered is not None and index in self._gathered:
            if self._remember(index, version):
                self._gather(index, content, now)
            return
        place = index - (self._next - len(self._parts))
        if place < 0 or self._gathered is not None:
            counters.add("stream_update_too_late")
        elif self._remember(index, version):
            old = self._parts[place]
            old.hold.release()
            self._parts[place] = _Part(index, content, self._home.hold(len(content)))
            self._home.charge(self, len(content) - len(old.content), now)

    def _remember(self, index: int, version: int) -> bool:
        if index not in self._versions and len(self._versions) >= limits.STREAM_VERSIONS:
            self._home.counters.add("stream_update_refused")
            return False
        self._versions[index] = version
        return True

    def end(self, error: StreamError | None, now: float) -> None:
        """No more will arrive. What has arrived can be read, then comes ``error``, if there is one."""
        self._over = True
        self._end = error
        self._home.forget(self)
        if self._gathered is not None:
            self._settle(self._joined(), now)
        else:
            self._tell()

    def fail(self, failure: StreamFailure, now: float, detail: str = "") -> None:
        """End at once: what has arrived is not to be read any more."""
        self._finish(StreamError(failure, detail), now)

    # ------------------------------------------------------------------ inside

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._home.outbox.append(StreamReadable(self))

    def _take(self) -> bytes | None:
        """The next content, inflated; None when there is none."""
        if self._inflate is None:
            return self._pop()
        if self._more or self._tail:
            return self._inflated(self._tail)
        part = self._pop()
        return None if part is None else self._inflated(part)

    def _pop(self) -> bytes | None:
        if not self._parts:
            return None
        part = self._parts.popleft()
        part.hold.release()
        self._home.charge(self, -len(part.content) - limits.STREAM_PART_COST, self._read_at)
        return part.content

    def _inflated(self, data: bytes) -> bytes:
        """What ``data`` begins with; the rest waits in ``_tail``. Fails the stream if it is damaged."""
        inflate = self._inflate
        try:
            out: bytes = inflate.decompress(data, limits.STREAM_INFLATE)
        except zlib.error as error:
            self.fail(StreamFailure.BAD_COMPRESSION, self._read_at, str(error))
            return b""
        self._tail = inflate.unconsumed_tail
        self._more = len(out) == limits.STREAM_INFLATE  # there may be more inside, without any input
        if inflate.unused_data:
            self.fail(StreamFailure.BAD_COMPRESSION, self._read_at, "it goes on behind its end")
            return b""
        return out

    def _check(self, data: bytes, now: float) -> bytes | str:
        """Content on its way to the reader. Fails the stream if it is too much, or no text."""
        self._length += len(data)
        if not self._fits(now):
            return b""
        if self._text is None:
            return data
        try:
            text: str = self._text.decode(data)
        except UnicodeDecodeError:
            self.fail(StreamFailure.BAD_TEXT, now)
            return ""
        return text

    def _fits(self, now: float) -> bool:
        if self.info.size is not None and self._length > self.info.size:
            self.fail(StreamFailure.TOO_LONG, now)
        elif self._length > self._home.max_bytes:
            self.fail(StreamFailure.TOO_LARGE, now)
        else:
            return True
        return False

    def _gather(self, index: int, content: bytes, now: float) -> None:
        """A part of a stream that is read as a whole."""
        self._read_at = now
        if self._inflate is None:
            self._put(index, content, now)
            return
        pieces = self._gathered
        assert pieces is not None
        data = self._inflated(self._tail or content)
        while not self.done:
            self._put(len(pieces), data, now)
            if self.done or not (self._more or self._tail):
                break
            data = self._inflated(self._tail)

    def _put(self, index: int, content: bytes, now: float) -> None:
        assert self._gathered is not None
        old = self._gathered.get(index)
        self._gathered[index] = content
        more = len(content) - len(old or b"")
        cost = more if old is not None else more + limits.STREAM_PART_COST
        self._length += more
        self._cost += cost
        self._home.gathered += cost
        if self._length > self._limit or self._home.gathered > limits.STREAMS_WHOLE:
            self.fail(StreamFailure.TOO_LARGE, now)
        elif not self._versions:  # parts may be replaced by shorter ones
            self._fits(now)

    def _joined(self) -> bytes:
        return b"".join((self._gathered or {}).values())

    def _settle(self, rest: bytes, now: float) -> None:
        """Everything has come, and but for ``rest`` it was read: did it end as it should?"""
        if self._end is not None:
            self._finish(self._end, now)
            return
        if not self._fits(now):
            return
        cut = self._inflate is not None and self._next and not self._inflate.eof
        if cut or (self.info.size is not None and self._length < self.info.size):
            self.fail(StreamFailure.INCOMPLETE, now)
            return
        whole: bytes | str = rest
        if self._text is not None:
            try:
                whole = self._text.decode(rest, True)
            except UnicodeDecodeError:
                self.fail(StreamFailure.BAD_TEXT, now)
                return
        if self._gathered is not None:
            self.whole = whole
        self._finish(None, now)

    def _release(self, now: float) -> None:
        """Nothing waits to be read any more."""
        for part in self._parts:
            part.hold.release()
        self._parts.clear()
        for hold in self._holds:
            hold.release()
        self._holds.clear()
        self._home.charge(self, -self._unread, now)

    def _finish(self, error: StreamError | None, now: float) -> None:
        home = self._home
        self.done = True
        self.error = error
        self._release(now)
        self._versions.clear()
        self._tail, self._more, self._inflate = b"", False, None
        home.gathered -= self._cost
        self._cost = 0
        if self._gathered is not None:
            self._gathered = {}
            self._told = False
        home.forget(self)
        if self._finished is not None:
            self._finished(self, now)
        else:
            self._tell()


class _Part:
    __slots__ = ("index", "content", "hold")

    def __init__(self, index: int, content: bytes, hold: Hold) -> None:
        self.index = index
        self.content = content
        self.hold = hold


class IncomingStreams:
    """All streams of others. ``due`` is when ``advance`` has to be called; ``max_bytes`` bounds each stream.

    ``hold(size)`` charges bytes of the packet that is being handled to the receive window until they are released.
    """

    def __init__(
        self, outbox: deque[Any], hold: Callable[[int], Hold], *, max_bytes: int = limits.STREAM_BYTES
    ) -> None:
        self.outbox = outbox
        self.counters = Counters()
        self.hold = hold
        self.max_bytes = max_bytes
        self.due = INF
        self.gathered = 0
        """Bytes of streams that are being read as a whole."""
        self._topics: dict[tuple[bool, str], tuple[Done, int] | None] = {}
        self._streams: dict[tuple[str, str], IncomingStream] = {}
        self._senders: dict[str, int] = {}
        self._unread: dict[IncomingStream, None] = {}
        self._unread_bytes = 0
        self._full_since = INF

    def __len__(self) -> int:
        """Streams under way."""
        return len(self._streams)

    # ------------------------------------------------------------------ topics

    def listen(self, *, text: bool, topic: str) -> None:
        """Streams of this topic are wanted from now on. Raises LocalProtocolError if they were, or for too many."""
        self._listen((text, topic), None)

    def intercept(self, topic: str, finished: Done, limit: int) -> None:
        """Text streams of this topic are read as a whole, inside the core, and given to ``finished`` when done."""
        self._listen((True, topic), (finished, limit))

    def _listen(self, key: tuple[bool, str], who: tuple[Done, int] | None) -> None:
        if key in self._topics:
            kind = "text" if key[0] else "byte"
            raise LocalProtocolError(f"{kind} streams of the topic {key[1]!r} have a handler already")
        if len(self._topics) >= limits.STREAM_TOPICS:
            raise LocalProtocolError(f"streams of {limits.STREAM_TOPICS} topics are listened for already")
        self._topics[key] = who

    def unlisten(self, *, text: bool, topic: str) -> None:
        """New streams of this topic are no longer wanted; those under way go on."""
        self._topics.pop((text, topic), None)

    # ------------------------------------------------------------------ what arrives

    def handle_header(self, packet: models.DataPacket, now: float) -> None:
        """A stream begins."""
        header, identity = packet.stream_header, packet.participant_identity
        try:
            info = decode_header(header)
        except ParseError:
            self.counters.add("stream_bad_header")
            return
        topic = (isinstance(info, TextStreamInfo), info.topic)
        if topic not in self._topics:
            self.counters.add("stream_unheard")
            return
        key = (identity, info.stream_id)
        if key in self._streams:
            self.counters.add("stream_duplicate")
            return
        if len(self._streams) >= limits.STREAMS_IN or self._senders.get(identity, 0) >= limits.STREAMS_PER_SENDER:
            self.counters.add("stream_refused")
            return
        stream = IncomingStream(self, info, identity, packet.participant_sid, now)
        self._streams[key] = stream
        self._senders[identity] = self._senders.get(identity, 0) + 1
        within = self._topics[topic]
        if within is None:
            self.outbox.append(StreamOpened(stream))
            stream.keep(header.ByteSize() - len(header.inline_content), now)
        else:
            stream.gather(now, limit=within[1], finished=within[0])
        self._begin(stream, header, now)

    def _begin(self, stream: IncomingStream, header: models.DataStream.Header, now: float) -> None:
        compression = header.compression
        if compression == proto.models.DataStream.DEFLATE_RAW:
            stream.compressed()
        elif compression != proto.models.DataStream.NONE:
            stream.fail(StreamFailure.BAD_COMPRESSION, now, f"compression {int(compression)} is not known")
            return
        if stream.info.size is not None and stream.info.size > self.max_bytes:
            stream.fail(StreamFailure.TOO_LARGE, now)
            return
        if header.HasField("inline_content"):
            stream.add(0, 0, header.inline_content, now)
            if not stream.done:
                stream.end(None, now)

    def handle_chunk(self, packet: models.DataPacket, now: float) -> None:
        """A part of a stream."""
        chunk = packet.stream_chunk
        stream = self._streams.get((packet.participant_identity, chunk.stream_id))
        if stream is None:
            self.counters.add("stream_chunk_unknown")  # also of streams that nobody listens for
            return
        stream.add(chunk.chunk_index, chunk.version, chunk.content, now)

    def handle_trailer(self, packet: models.DataPacket, now: float) -> None:
        """A stream ends."""
        trailer = packet.stream_trailer
        stream = self._streams.get((packet.participant_identity, trailer.stream_id))
        if stream is None:
            self.counters.add("stream_trailer_unknown")
            return
        if trailer.attributes:
            stream.info.attributes.update(sorted(trailer.attributes.items()))
            stream.keep(trailer.ByteSize(), now)
        error = StreamError(StreamFailure.ABORTED, trailer.reason[:REASON]) if trailer.reason else None
        stream.end(error, now)

    # ------------------------------------------------------------------ who comes and goes

    def participant_left(self, identity: str, sid: str, now: float) -> None:
        """A sender has left: its streams end, unless their ends are about to arrive."""
        for stream in self._streams.values():
            if stream.identity == identity and stream.sid in ("", sid):
                stream._orphan_at = now + SENDER_GRACE
                self.due = min(self.due, stream._orphan_at)

    def restarted(self, now: float) -> None:
        """Our session has begun anew: what was sent meanwhile is lost."""
        for stream in list(self._streams.values()):
            stream.end(StreamError(StreamFailure.RECONNECTED), now)

    def advance(self, now: float) -> float:
        """End what is stuck; the next deadline."""
        due = INF
        for stream in [stream for stream in self._streams.values() if stream._orphan_at != INF]:
            if stream._orphan_at <= now and self._full_since != INF:
                stream._orphan_at = now + SENDER_GRACE  # its end may wait at the server, with all other data
            if stream._orphan_at <= now:
                stream.end(StreamError(StreamFailure.SENDER_LEFT), now)
            else:
                due = min(due, stream._orphan_at)
        while self._full_since != INF:
            largest = max(self._unread, key=_unread)
            at = max(self._full_since, largest._read_at) + limits.STREAM_STALL
            if at > now:
                due = min(due, at)
                break
            self.counters.add("stream_overflow")
            largest.fail(StreamFailure.OVERFLOW, now)
        self.due = due
        return due

    # ------------------------------------------------------------------ what the streams tell

    def charge(self, stream: IncomingStream, cost: int, now: float) -> None:
        """A stream holds so many bytes more unread, or fewer."""
        stream._unread += cost
        self._unread_bytes += cost
        if stream._unread:
            self._unread[stream] = None
        else:
            self._unread.pop(stream, None)
        if self._unread_bytes < limits.STREAMS_UNREAD:
            self._full_since = INF
        elif self._full_since == INF:
            self._full_since = now
            self.due = min(self.due, now + limits.STREAM_STALL)

    def forget(self, stream: IncomingStream) -> None:
        """Nothing more will arrive for a stream."""
        if self._streams.get(stream.key) is not stream:
            return
        del self._streams[stream.key]
        count = self._senders[stream.identity] - 1
        if count:
            self._senders[stream.identity] = count
        else:
            del self._senders[stream.identity]

    def diagnostics(self) -> dict[str, Any]:
        """Counters, JSON-ready."""
        return {"streams": len(self._streams), "unread": self._unread_bytes, **self.counters.snapshot()}


def _unread(stream: IncomingStream) -> int:
    return stream._unread
