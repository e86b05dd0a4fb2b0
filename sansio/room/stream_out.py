"""Streams that we send: a header, chunks of up to 15 000 bytes, a trailer; each is one reliable data packet.

What is known as a whole (``send_text``, ``send_bytes``) may take a shorter form, which peers read from client_protocol
2 on: a small payload travels inside the header, which is then the whole stream, and DEFLATE is used when everybody who
gets the stream lists the capability. The form is chosen by what is known of the recipients when the stream begins: an
identity that nobody in the room has counts as version 0, and a broadcast takes everybody known into account.

Nothing here sends: the methods yield packets, one after the other, and a packet counts as sent when the next one is
asked for. Whoever stops in between can go on with the next write: no part is lost or doubled.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base import limits
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError
from ..base.wallclock import WallClock
from .stream_info import (
    BYTES_TYPE,
    CHUNK_BYTES,
    TEXT_TYPE,
    ByteStreamInfo,
    StreamError,
    StreamFailure,
    TextOperation,
    TextStreamInfo,
    decode_header,
)

if TYPE_CHECKING:
    from ..proto import models
    from .state import RoomState

INLINE_PROTOCOL = 2
"""From this client_protocol on a peer reads inline payloads, and compressed ones if it has the capability."""
CAP_DEFLATE = 2
"""ClientInfo.Capability of peers that inflate."""
AT_ONCE = 256 << 10
"""Bytes that are compressed in one go, to see what comes of it; of more, ``SAMPLE`` bytes are tried."""
SAMPLE = 64 << 10
"""Bytes given to the compressor at a time, so that it never holds up everything else for long."""
WORTH_IT = 0.9
"""A larger payload is compressed when its sample shrinks to this."""


class OutgoingStream:
    """One stream of ours. ``info`` is what its header says; ``sent`` counts the bytes taken, before compression."""

    __slots__ = ("info", "header", "sent", "closed", "_out", "_destinations", "_index", "_packer", "_packed")

    def __init__(
        self,
        out: OutgoingStreams,
        header: models.DataPacket,
        info: TextStreamInfo | ByteStreamInfo,
    ) -> None:
        self.info = info
        self.header = header
        self.sent = 0
        self.closed = False
        self._out: OutgoingStreams | None = out
        self._destinations = tuple(header.destination_identities)
        self._index = 0
        self._packer: Any = None
        self._packed = bytearray()
        out.open[self] = None

    # ------------------------------------------------------------------ what users do

    def write(self, data: bytes | bytearray | memoryview | str) -> Iterator[models.DataPacket]:
        """The packets that carry ``data``: what is written at once is not held back to be sent with the next write.

        Raises LocalProtocolError for data of the wrong kind, when the stream is closed, and for more than its header
        has announced; StreamError when the connection was made anew since it began.
        """
        self.check()
        view = memoryview(self._encoded(data))
        size = self.info.size
        if size is not None and self.sent + len(view) > size:
            raise LocalProtocolError(f"the stream was announced with {size} bytes: it cannot have more")
        if self._packer is not None:
            return self._write_packed(view)
        return self._write_text(view) if isinstance(data, str) else self._write(view)

    def finish(self, attributes: Mapping[str, str] | None = None) -> Iterator[models.DataPacket]:
        """The packets that end the stream. Raises LocalProtocolError when fewer bytes were written than announced."""
        self.check()
        size = self.info.size
        if size is not None and self.sent < size:
            raise LocalProtocolError(f"the stream was announced with {size} bytes, but {self.sent} were written")
        return self._finish(self._trailer("", attributes))

    def abort(self, reason: str) -> models.DataPacket | None:
        """The packet that tells the receivers that no more will come; None when there is nobody to tell."""
        if self.closed or self._out is None:
            return None
        self._close()
        return self._trailer(reason or "aborted", None)

    def restarted(self) -> None:
        """The session has begun anew: the receivers have given the stream up."""
        self._out = None

    def check(self) -> None:
        """Raise unless packets of this stream may be sent: LocalProtocolError or StreamError."""
        if self.closed:
            raise LocalProtocolError("the stream is closed")
        if self._out is None:
            raise StreamError(StreamFailure.RECONNECTED)

    # ------------------------------------------------------------------ packets

    def _close(self) -> None:
        self.closed = True
        if self._out is not None:
            self._out.open.pop(self, None)

    def _encoded(self, data: bytes | bytearray | memoryview | str) -> bytes | memoryview:
        if isinstance(self.info, TextStreamInfo):
            if not isinstance(data, str):
                raise LocalProtocolError(f"a text stream takes str, not {type(data).__name__}")
            return encode_text(data)
        return as_bytes(data)

    def _write(self, view: memoryview) -> Iterator[models.DataPacket]:
        for start in range(0, len(view), CHUNK_BYTES):
            part = view[start : start + CHUNK_BYTES]
            yield self._chunk(bytes(part))
            self._index += 1
            self.sent += len(part)

    def _write_text(self, view: memoryview) -> Iterator[models.DataPacket]:
        start, end = 0, len(view)
        while start < end:
            stop = min(start + CHUNK_BYTES, end)
            while stop < end and view[stop] & 0xC0 == 0x80:  # inside a character
                stop -= 1
            yield self._chunk(bytes(view[start:stop]))
            self._index += 1
            self.sent += stop - start
            start = stop

    def _write_packed(self, view: memoryview) -> Iterator[models.DataPacket]:
        packed = self._packed
        for start in range(0, len(view), SAMPLE):
            part = view[start : start + SAMPLE]
            packed += self._packer.compress(part)
            self.sent += len(part)
            while len(packed) >= CHUNK_BYTES:
                yield self._chunk(bytes(packed[:CHUNK_BYTES]))
                self._index += 1
                del packed[:CHUNK_BYTES]

    def _finish(self, trailer: models.DataPacket) -> Iterator[models.DataPacket]:
        if self._packer is not None:
            self._packed += self._packer.flush()
            self._packer = None
            while self._packed:
                yield self._chunk(bytes(self._packed[:CHUNK_BYTES]))
                self._index += 1
                del self._packed[:CHUNK_BYTES]
        yield trailer
        self._close()

    def _packet(self) -> models.DataPacket:
        return proto.models.DataPacket(destination_identities=self._destinations)

    def _chunk(self, content: bytes) -> models.DataPacket:
        packet = self._packet()
        chunk = packet.stream_chunk
        chunk.stream_id = self.info.stream_id
        chunk.chunk_index = self._index
        chunk.content = content
        return packet

    def _trailer(self, reason: str, attributes: Mapping[str, str] | None) -> models.DataPacket:
        packet = self._packet()
        trailer = packet.stream_trailer
        trailer.stream_id = self.info.stream_id
        trailer.reason = reason
        _set_attributes(trailer, attributes)
        if packet.ByteSize() > CHUNK_BYTES:
            raise LocalProtocolError("the attributes at the end of the stream are too large for one packet")
        return packet


class OutgoingStreams:
    """Makes our streams. ``open`` has those that have not ended."""

    def __init__(self, state: RoomState, entropy: Entropy, wall: WallClock) -> None:
        self.open: dict[OutgoingStream, None] = {}
        self._state = state
        self._entropy = entropy
        self._wall = wall

    def open_text(
        self,
        now: float,
        *,
        topic: str = "",
        attributes: Mapping[str, str] | None = None,
        destination_identities: Iterable[str] = (),
        stream_id: str | None = None,
        total_size: int | None = None,
        reply_to_id: str = "",
        attachments: Iterable[str] = (),
        operation: TextOperation = TextOperation.CREATE,
        version: int = 0,
    ) -> OutgoingStream:
        """A text stream to be written piece by piece. Its ``header`` is to be sent first.

        ``total_size`` counts bytes of UTF-8. Raises LocalProtocolError for arguments of the wrong kind, for a header
        above 15 000 bytes, and when too many streams are open.
        """
        packet = self._header(topic, attributes, destination_identities, stream_id, total_size, TEXT_TYPE, now)
        text = packet.stream_header.text_header
        text.SetInParent()
        try:
            text.reply_to_stream_id = reply_to_id
            text.attached_stream_ids.extend(attachments)
            text.operation_type = operation.value  # type: ignore[assignment]  # any int: enums are open
            text.version = version
        except (TypeError, ValueError) as error:
            raise LocalProtocolError(f"not the header of a text stream: {error}") from None
        return self._open(packet)

    def open_bytes(
        self,
        now: float,
        *,
        name: str = "",
        topic: str = "",
        mime_type: str = BYTES_TYPE,
        attributes: Mapping[str, str] | None = None,
        destination_identities: Iterable[str] = (),
        stream_id: str | None = None,
        total_size: int | None = None,
    ) -> OutgoingStream:
        """A byte stream to be written piece by piece. Its ``header`` is to be sent first. Raises like ``open_text``."""
        packet = self._header(topic, attributes, destination_identities, stream_id, total_size, mime_type, now)
        try:
            packet.stream_header.byte_header.SetInParent()
            packet.stream_header.byte_header.name = name
        except (TypeError, ValueError) as error:
            raise LocalProtocolError(f"not the header of a byte stream: {error}") from None
        return self._open(packet)

    def send_text(
        self, text: str, now: float, *, compress: bool = True, **header: Any
    ) -> tuple[OutgoingStream, Iterator[models.DataPacket]]:
        """A text that is known as a whole: its stream, and all packets of it. ``header`` is as for ``open_text``."""
        if not isinstance(text, str):
            raise LocalProtocolError(f"a text stream takes str, not {type(text).__name__}")
        payload = encode_text(text)
        stream = self.open_text(now, total_size=len(payload), **header)
        return stream, self._whole(stream, payload, text, compress)

    def send_bytes(
        self, data: bytes | bytearray | memoryview, now: float, *, compress: bool = True, **header: Any
    ) -> tuple[OutgoingStream, Iterator[models.DataPacket]]:
        """Bytes that are known as a whole: their stream, and all packets of it. ``header`` is as for ``open_bytes``."""
        payload = as_bytes(data)
        stream = self.open_bytes(now, total_size=len(payload), **header)
        return stream, self._whole(stream, payload, payload, compress)

    def compressing(self, stream: OutgoingStream, sample: bytes | memoryview) -> None:
        """Compress a stream of known size that has just been opened, if its recipients can and ``sample`` shrinks."""
        _, deflate = self.accepted(stream.header.destination_identities)
        if deflate and len(_deflated(sample)) <= len(sample) * WORTH_IT:
            stream.header.stream_header.compression = proto.models.DataStream.DEFLATE_RAW
            stream._packer = _packer()

    def accepted(self, destinations: Iterable[str]) -> tuple[bool, bool]:
        """Whether all recipients read inline payloads, and whether all of them inflate as well."""
        remote = self._state.remote_participants
        wanted: list[Any] = [remote.get(identity) for identity in destinations] or list(remote.values())
        inline = all(peer is not None and peer.client_protocol >= INLINE_PROTOCOL for peer in wanted)
        return inline, inline and all(CAP_DEFLATE in peer.capabilities for peer in wanted)

    def restarted(self) -> None:
        """The session has begun anew: to the others we have left, and with us our streams."""
        for stream in self.open:
            stream.restarted()
        self.open.clear()

    # ------------------------------------------------------------------ inside

    def _header(
        self,
        topic: str,
        attributes: Mapping[str, str] | None,
        destinations: Iterable[str],
        stream_id: str | None,
        total_size: int | None,
        mime_type: str,
        now: float,
    ) -> models.DataPacket:
        if len(self.open) >= limits.STREAMS_OUT:
            raise LocalProtocolError(f"{limits.STREAMS_OUT} streams of ours are open: close some first")
        if isinstance(destinations, str):
            raise LocalProtocolError("destination_identities must be several identities, not one string")
        packet = proto.models.DataPacket()
        header = packet.stream_header
        try:
            packet.destination_identities.extend(destinations)
            header.stream_id = stream_id or self._entropy.uuid()
            header.timestamp = int(self._wall.unix_at(now) * 1000)
            header.topic = topic
            header.mime_type = mime_type
            if total_size is not None:
                header.total_length = total_size
            _set_attributes(header, attributes)
        except (TypeError, ValueError) as error:  # also what is no valid Unicode
            raise LocalProtocolError(f"not the header of a stream: {error}") from None
        return packet

    def _open(self, packet: models.DataPacket) -> OutgoingStream:
        if packet.ByteSize() > CHUNK_BYTES:
            raise LocalProtocolError(
                f"the header of the stream has {packet.ByteSize()} bytes, more than the {CHUNK_BYTES} that others "
                "accept: send less in its attributes"
            )
        return OutgoingStream(self, packet, decode_header(packet.stream_header))

    def _whole(
        self, stream: OutgoingStream, payload: bytes | memoryview, data: Any, compress: bool
    ) -> Iterator[models.DataPacket]:
        header = stream.header.stream_header
        inline, deflate = self.accepted(stream.header.destination_identities)
        deflate = deflate and compress
        if inline and len(payload) <= AT_ONCE:
            packed = _deflated(payload) if deflate else b""
            smaller = deflate and len(packed) < len(payload)
            header.inline_content = packed if smaller else bytes(payload)
            if smaller:
                header.compression = proto.models.DataStream.DEFLATE_RAW
            if stream.header.ByteSize() <= CHUNK_BYTES:
                return self._inline(stream, len(payload))
            header.ClearField("inline_content")
            if smaller:
                stream._packer = _packer()
        elif deflate:
            self.compressing(stream, payload[:SAMPLE])
        return self._chunked(stream, data)

    @staticmethod
    def _inline(stream: OutgoingStream, size: int) -> Iterator[models.DataPacket]:
        yield stream.header
        stream.sent = size
        stream._close()

    @staticmethod
    def _chunked(stream: OutgoingStream, data: Any) -> Iterator[models.DataPacket]:
        yield stream.header
        yield from stream.write(data)
        yield from stream.finish()


def encode_text(text: str) -> bytes:
    """The UTF-8 of a text. Raises LocalProtocolError for half a surrogate pair, which has none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"the text cannot be sent: {error}") from None


def as_bytes(data: object) -> bytes | memoryview:
    """Bytes of any kind, as bytes or a flat view. Raises LocalProtocolError for anything else."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        view = memoryview(data)
        return view.cast("B") if view.c_contiguous else view.tobytes()
    raise LocalProtocolError(f"a byte stream takes bytes, not {type(data).__name__}")


def _set_attributes(part: Any, attributes: Mapping[str, str] | None) -> None:
    for name, value in (attributes or {}).items():
        part.attributes[name] = value


def _packer() -> Any:
    return zlib.compressobj(wbits=-zlib.MAX_WBITS)  # raw: neither header nor checksum


def _deflated(data: bytes | memoryview) -> bytes:
    packer = _packer()
    return bytes(packer.compress(data) + packer.flush())
