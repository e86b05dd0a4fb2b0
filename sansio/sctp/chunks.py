"""SCTP packets, chunks and parameters (RFC 9260 section 3; RFC 3758, 6525, 9653).

``decode_*`` raise ParseError and nothing else. The hot path, DATA and SACK chunks inside a packet, is read in place by
the association with the ``Struct`` objects of this module; everything rarer goes through the functions below.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

import google_crc32c

from ..base import limits
from ..base.errors import ParseError

MASK32 = 0xFFFFFFFF

# ---- chunk types
DATA = 0
INIT = 1
INIT_ACK = 2
SACK = 3
HEARTBEAT = 4
HEARTBEAT_ACK = 5
ABORT = 6
SHUTDOWN = 7
SHUTDOWN_ACK = 8
ERROR = 9
COOKIE_ECHO = 10
COOKIE_ACK = 11
SHUTDOWN_COMPLETE = 14
RE_CONFIG = 130
FORWARD_TSN = 192

# ---- flags of DATA
END = 1
BEGIN = 2
UNORDERED = 4
IMMEDIATE = 8
"""The I bit (RFC 7053): please acknowledge at once."""

TAG_REFLECTED = 1
"""The T bit of ABORT and SHUTDOWN-COMPLETE: the packet carries its receiver's view of the tag."""

# ---- parameter types
HEARTBEAT_INFO = 1
STATE_COOKIE = 7
UNRECOGNIZED = 8
OUTGOING_RESET = 13
INCOMING_RESET = 14
TSN_RESET = 15
RESET_RESPONSE = 16
ADD_OUTGOING = 17
ADD_INCOMING = 18
ZERO_CHECKSUM = 0x8001
SUPPORTED_EXTENSIONS = 0x8008
FORWARD_TSN_SUPPORTED = 0xC000

EDMID_DTLS = 1
"""The error detection method "SCTP over DTLS" (RFC 9653 section 6)."""

# ---- error causes
INVALID_STREAM = 1
MISSING_PARAMETER = 2
STALE_COOKIE = 3
OUT_OF_RESOURCE = 4
UNRECOGNIZED_CHUNK = 6
INVALID_PARAMETER = 7
UNRECOGNIZED_PARAMETERS = 8
NO_USER_DATA = 9
COOKIE_WHILE_SHUTTING_DOWN = 10
RESTART = 11
USER_ABORT = 12
PROTOCOL_VIOLATION = 13

CAUSE_NAMES = {
    INVALID_STREAM: "invalid stream identifier",
    MISSING_PARAMETER: "missing mandatory parameter",
    STALE_COOKIE: "stale cookie",
    OUT_OF_RESOURCE: "out of resource",
    UNRECOGNIZED_CHUNK: "unrecognized chunk type",
    INVALID_PARAMETER: "invalid mandatory parameter",
    UNRECOGNIZED_PARAMETERS: "unrecognized parameters",
    NO_USER_DATA: "no user data",
    COOKIE_WHILE_SHUTTING_DOWN: "cookie received while shutting down",
    RESTART: "restart of an association with new addresses",
    USER_ABORT: "user initiated abort",
    PROTOCOL_VIOLATION: "protocol violation",
}

# ---- results of a re-configuration request (RFC 6525 section 4.4)
RESET_NOTHING = 0
RESET_DONE = 1
RESET_DENIED = 2
RESET_WRONG_SSN = 3
RESET_BUSY = 4
RESET_BAD_SEQUENCE = 5
RESET_IN_PROGRESS = 6

COMMON = Struct(">HHII")
"""Ports, verification tag, checksum (which is little-endian, see ``checksum``)."""
COMMON_SIZE = 12
DATA_HEAD = Struct(">BBHIHHI")
"""Type, flags, length, TSN, stream, stream sequence number, payload protocol identifier."""
DATA_SIZE = 16
DATA_FIELDS = Struct(">xBHIHHI")
SACK_HEAD = Struct(">BBHIIHH")
"""Type, flags, length, cumulative TSN, window, number of gap blocks, number of duplicates."""
SACK_FIELDS = Struct(">IIHH")
CHUNK_HEAD = Struct(">BBH")
_PARAMETER_HEAD = Struct(">HH")
_INIT_FIELDS = Struct(">IIHHI")
_U32 = Struct(">I")
_RESET_REQUEST = Struct(">III")
_RESET_RESPONSE = Struct(">II")

PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
"""What follows n bytes, by n % 4."""

_NO_CHECKSUM = b"\0\0\0\0"


class Chunk(NamedTuple):
    """One chunk of a packet; ``body`` is what follows the four bytes of the header, without padding."""

    kind: int
    flags: int
    body: bytes


class Packet(NamedTuple):
    """One SCTP packet. ``checksum`` is the field as a little-endian integer."""

    source: int
    destination: int
    tag: int
    checksum: int
    chunks: list[Chunk]


class Init(NamedTuple):
    """The body of INIT and INIT-ACK (RFC 9260 sections 3.3.2 and 3.3.3)."""

    tag: int
    window: int
    outbound: int
    inbound: int
    tsn: int
    parameters: list[tuple[int, bytes]]


class Sack(NamedTuple):
    """The body of SACK (RFC 9260 section 3.3.4); gap blocks are offsets from the cumulative TSN."""

    cumulative: int
    window: int
    gaps: list[tuple[int, int]]
    duplicates: list[int]


class ForwardTsn(NamedTuple):
    """The body of FORWARD-TSN (RFC 3758 section 3.2): skipped ordered messages as (stream, sequence number)."""

    cumulative: int
    streams: list[tuple[int, int]]


class ResetRequest(NamedTuple):
    """An Outgoing SSN Reset Request (RFC 6525 section 4.1)."""

    sequence: int
    response: int
    last_tsn: int
    streams: list[int]


class ResetResponse(NamedTuple):
    """A Re-configuration Response (RFC 6525 section 4.4), without the optional TSNs."""

    sequence: int
    result: int


# ------------------------------------------------------------------ packets


def checksum(packet: bytes) -> int:
    """CRC32c of a packet with its checksum field taken as zero; the field is written little-endian."""
    crc: int = google_crc32c.value(packet[:8] + _NO_CHECKSUM + packet[12:])
    return crc


def with_checksum(packet: bytes) -> bytes:
    """The packet with its checksum field, zero so far, filled in."""
    return packet[:8] + int(google_crc32c.value(packet)).to_bytes(4, "little") + packet[12:]


def decode_packet(packet: bytes) -> Packet:
    """Split a packet into its chunks; the checksum is not verified. Padding of the last chunk may be missing."""
    size = len(packet)
    if size < COMMON_SIZE:
        raise ParseError("SCTP packet shorter than its header")
    source, destination, tag, _ = COMMON.unpack_from(packet)
    chunks: list[Chunk] = []
    at = COMMON_SIZE
    while at < size:
        if len(chunks) == limits.SCTP_CHUNKS:
            raise ParseError("too many chunks")
        if size - at < 4:
            raise ParseError("chunk header cut off")
        kind, flags, length = CHUNK_HEAD.unpack_from(packet, at)
        if length < 4 or at + length > size:
            raise ParseError("chunk length does not fit")
        chunks.append(Chunk(kind, flags, packet[at + 4 : at + length]))
        at += (length + 3) & ~3
    return Packet(source, destination, tag, int.from_bytes(packet[8:12], "little"), chunks)


def encode_packet(packet: Packet) -> bytes:
    """The bytes of a packet, with the checksum field as given."""
    parts = [COMMON.pack(packet.source, packet.destination, packet.tag, 0)[:8], packet.checksum.to_bytes(4, "little")]
    parts += [encode_chunk(chunk.kind, chunk.flags, chunk.body) for chunk in packet.chunks]
    return b"".join(parts)


def encode_chunk(kind: int, flags: int = 0, body: bytes = b"") -> bytes:
    """One chunk with its padding."""
    return CHUNK_HEAD.pack(kind, flags, 4 + len(body)) + body + PADDING[len(body) & 3]


# ------------------------------------------------------------------ parameters and causes


def decode_parameters(body: bytes, at: int = 0) -> list[tuple[int, bytes]]:
    """The (type, value) pairs from offset ``at`` on. Error causes have the same form."""
    out: list[tuple[int, bytes]] = []
    size = len(body)
    while at < size:
        if len(out) == limits.SCTP_PARAMETERS:
            raise ParseError("too many parameters")
        if size - at < 4:
            raise ParseError("parameter header cut off")
        kind, length = _PARAMETER_HEAD.unpack_from(body, at)
        if length < 4 or at + length > size:
            raise ParseError("parameter length does not fit")
        out.append((kind, body[at + 4 : at + length]))
        at += (length + 3) & ~3
    return out


def encode_parameters(parameters: list[tuple[int, bytes]]) -> bytes:
    """The parameters one after another; the last one's padding is left to the chunk (RFC 9260 section 3.2.1)."""
    out = b""
    for kind, value in parameters:
        out += PADDING[len(out) & 3] + _PARAMETER_HEAD.pack(kind, 4 + len(value)) + value
    return out


def encode_cause(code: int, information: bytes = b"") -> bytes:
    """One error cause (RFC 9260 section 3.3.10)."""
    return _PARAMETER_HEAD.pack(code, 4 + len(information)) + information


def describe_causes(body: bytes) -> str:
    """A short plain text for the causes of an ABORT or ERROR; whatever cannot be read is left out."""
    try:
        causes = decode_parameters(body)
    except ParseError:
        return "unreadable causes"
    words = []
    for code, information in causes:
        name = CAUSE_NAMES.get(code, f"cause {code}")
        if code in (USER_ABORT, PROTOCOL_VIOLATION) and information:
            text = information[: limits.SCTP_DETAIL].decode("ascii", "replace")
            name += ": " + "".join([c if c.isprintable() else "?" for c in text])
        words.append(name)
    return "; ".join(words)[: 4 * limits.SCTP_DETAIL]


# ------------------------------------------------------------------ bodies


def decode_init(body: bytes) -> Init:
    """The body of an INIT or INIT-ACK chunk."""
    if len(body) < 16:
        raise ParseError("INIT too short")
    tag, window, outbound, inbound, tsn = _INIT_FIELDS.unpack_from(body)
    return Init(tag, window, outbound, inbound, tsn, decode_parameters(body, 16))


def encode_init(init: Init) -> bytes:
    """The body of an INIT or INIT-ACK chunk."""
    fields = _INIT_FIELDS.pack(init.tag, init.window, init.outbound, init.inbound, init.tsn)
    return fields + encode_parameters(init.parameters)


def decode_sack(body: bytes) -> Sack:
    """The body of a SACK chunk."""
    if len(body) < 12:
        raise ParseError("SACK too short")
    cumulative, window, gap_count, duplicate_count = SACK_FIELDS.unpack_from(body)
    if len(body) != 12 + 4 * (gap_count + duplicate_count):
        raise ParseError("SACK length does not fit")
    at = 12 + 4 * gap_count
    shorts = Struct(f">{2 * gap_count}H").unpack_from(body, 12)
    gaps = list(zip(shorts[::2], shorts[1::2], strict=True))
    return Sack(cumulative, window, gaps, list(Struct(f">{duplicate_count}I").unpack_from(body, at)))


def encode_sack(sack: Sack) -> bytes:
    """The body of a SACK chunk."""
    shorts = [offset for gap in sack.gaps for offset in gap]
    count = len(sack.duplicates)
    return (
        SACK_FIELDS.pack(sack.cumulative, sack.window, len(sack.gaps), count)
        + Struct(f">{len(shorts)}H").pack(*shorts)
        + Struct(f">{count}I").pack(*sack.duplicates)
    )


def decode_forward_tsn(body: bytes) -> ForwardTsn:
    """The body of a FORWARD-TSN chunk."""
    if len(body) < 4 or len(body) & 3:
        raise ParseError("FORWARD-TSN length does not fit")
    shorts = Struct(f">{(len(body) - 4) // 2}H").unpack_from(body, 4)
    return ForwardTsn(_U32.unpack_from(body)[0], list(zip(shorts[::2], shorts[1::2], strict=True)))


def encode_forward_tsn(forward: ForwardTsn) -> bytes:
    """The body of a FORWARD-TSN chunk."""
    shorts = [value for pair in forward.streams for value in pair]
    return _U32.pack(forward.cumulative) + Struct(f">{len(shorts)}H").pack(*shorts)


def decode_reset_request(value: bytes) -> ResetRequest:
    """The value of an Outgoing SSN Reset Request parameter; no streams listed means all of them."""
    if len(value) < 12 or len(value) & 1:
        raise ParseError("reset request length does not fit")
    sequence, response, last_tsn = _RESET_REQUEST.unpack_from(value)
    count = (len(value) - 12) // 2
    return ResetRequest(sequence, response, last_tsn, list(Struct(f">{count}H").unpack_from(value, 12)))


def encode_reset_request(request: ResetRequest) -> bytes:
    """The value of an Outgoing SSN Reset Request parameter."""
    fields = _RESET_REQUEST.pack(request.sequence, request.response, request.last_tsn)
    return fields + Struct(f">{len(request.streams)}H").pack(*request.streams)


def decode_reset_response(value: bytes) -> ResetResponse:
    """The value of a Re-configuration Response parameter; the optional TSNs behind it are ignored."""
    if len(value) < 8:
        raise ParseError("reset response too short")
    return ResetResponse(*_RESET_RESPONSE.unpack_from(value))


def encode_reset_response(response: ResetResponse) -> bytes:
    """The value of a Re-configuration Response parameter."""
    return _RESET_RESPONSE.pack(response.sequence, response.result)


_SHORTS: tuple[Struct, ...] = tuple([Struct(f">{2 * n}H") for n in range(9)])


def unpack_shorts(data: bytes, at: int, count: int) -> tuple[int, ...]:
    """``count`` 16-bit integers, an even number, from offset ``at``."""
    if count <= 16:
        return _SHORTS[count >> 1].unpack_from(data, at)
    return Struct(f">{count}H").unpack_from(data, at)


def pack_shorts(values: list[int]) -> bytes:
    """16-bit integers, one after another."""
    return Struct(f">{len(values)}H").pack(*values)


def pack_longs(values: list[int]) -> bytes:
    """32-bit integers, one after another."""
    return Struct(f">{len(values)}I").pack(*values)
