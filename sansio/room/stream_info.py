"""What streams of text and bytes are described by, and how they fail. Shared by both directions."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from ..base.errors import ParseError, RemoteProtocolError

if TYPE_CHECKING:
    from ..proto import models

CHUNK_BYTES = 15_000
"""Content of one chunk, and the largest packet with a header, as in all clients of LiveKit."""
TEXT_TYPE = "text/plain"
BYTES_TYPE = "application/octet-stream"


class TextOperation(Enum):
    """What a text stream does to a message (TextHeader.operation_type)."""

    CREATE = 0
    UPDATE = 1
    DELETE = 2
    REACTION = 3

    @classmethod
    def _missing_(cls, value: object) -> TextOperation:
        return cls.CREATE


@frozen(kw_only=True)
class StreamInfo:
    """What the header of a stream says.

    ``timestamp`` is the sender's clock, in milliseconds since 1970. ``size`` is the number of bytes to come, before
    compression (of text: in UTF-8), None when the sender does not know. ``attributes`` also has, once the stream has
    ended, those that came with its end.
    """

    stream_id: str
    topic: str = ""
    mime_type: str = ""
    timestamp: int = 0
    size: int | None = None
    attributes: dict[str, str] = field(factory=dict)


@frozen(kw_only=True)
class TextStreamInfo(StreamInfo):
    """A text stream. ``attachments`` are ids of byte streams that belong to it."""

    attachments: tuple[str, ...] = ()
    reply_to_id: str = ""
    operation: TextOperation = TextOperation.CREATE
    version: int = 0
    generated: bool = False


@frozen(kw_only=True)
class ByteStreamInfo(StreamInfo):
    """A byte stream; ``name`` is that of a file, or what the sender calls it."""

    name: str = ""


class StreamFailure(Enum):
    """Why a stream ended before its time."""

    ABORTED = "aborted"
    """The sender gave up; the message has its reason."""
    SENDER_LEFT = "sender_left"
    """The sender left the room in the middle."""
    INCOMPLETE = "incomplete"
    """It ended with fewer bytes than its header had promised."""
    TOO_LONG = "too_long"
    """It had more bytes than its header had promised."""
    TOO_LARGE = "too_large"
    """It has more bytes than are accepted here."""
    GAP = "gap"
    """A part is missing."""
    BAD_COMPRESSION = "bad_compression"
    """Compressed in an unknown way, or what was to be decompressed is damaged."""
    BAD_TEXT = "bad_text"
    """The text is not UTF-8."""
    OVERFLOW = "overflow"
    """Its reader did not read, and had held up everything else for too long."""
    RECONNECTED = "reconnected"
    """The connection was made anew in the middle, and parts may be lost."""


_WHY = {
    StreamFailure.ABORTED: "the sender gave up",
    StreamFailure.SENDER_LEFT: "the sender left the room in the middle",
    StreamFailure.INCOMPLETE: "it ended with fewer bytes than announced",
    StreamFailure.TOO_LONG: "it has more bytes than announced",
    StreamFailure.TOO_LARGE: "it has more bytes than are accepted here",
    StreamFailure.GAP: "a part is missing",
    StreamFailure.BAD_COMPRESSION: "its content cannot be decompressed",
    StreamFailure.BAD_TEXT: "its text is not UTF-8",
    StreamFailure.OVERFLOW: "its reader read too little for too long",
    StreamFailure.RECONNECTED: "the connection was made anew in the middle of it",
}


class StreamError(RemoteProtocolError):
    """A stream did not end as it should: ``failure`` says why, ``detail`` has the sender's words, if it gave any."""

    def __init__(self, failure: StreamFailure, detail: str = "") -> None:
        super().__init__(f"the stream failed: {_WHY[failure]}" + (f": {detail}" if detail else ""))
        self.failure = failure
        self.detail = detail

    def __reduce__(self) -> tuple[type[StreamError], tuple[StreamFailure, str]]:
        return type(self), (self.failure, self.detail)


def decode_header(header: models.DataStream.Header) -> TextStreamInfo | ByteStreamInfo:
    """What a header says. Raises ParseError when it has no id, or is neither of text nor of bytes."""
    if not header.stream_id:
        raise ParseError("a stream without id")
    kind = header.WhichOneof("content_header")
    common: dict[str, Any] = {
        "stream_id": header.stream_id,
        "topic": header.topic,
        "mime_type": header.mime_type,
        "timestamp": header.timestamp,
        "size": header.total_length if header.HasField("total_length") else None,
        "attributes": dict(sorted(header.attributes.items())),  # protobuf leaves the order of a map open
    }
    if kind == "text_header":
        text = header.text_header
        return TextStreamInfo(
            **common,
            attachments=tuple(text.attached_stream_ids),
            reply_to_id=text.reply_to_stream_id,
            operation=TextOperation(text.operation_type),
            version=text.version,
            generated=text.generated,
        )
    if kind == "byte_header":
        return ByteStreamInfo(**common, name=header.byte_header.name)
    raise ParseError("a stream of neither text nor bytes")
