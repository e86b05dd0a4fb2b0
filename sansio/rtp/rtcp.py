"""RTCP packets and compounds: RFC 3550 section 6, feedback of RFC 4585 and 5104, extended reports of RFC 3611.

``decode_rtcp`` passes over what it does not know; ``encode_rtcp`` writes the packets in the order given. Which of them
have to come first is up to the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from ..base.errors import ParseError

_unpack_head = Struct("!BBH").unpack_from
_pack_head = Struct("!BBH").pack
_unpack_sender = Struct("!IQIII").unpack_from
_pack_sender = Struct("!IQIII").pack
_unpack_block = Struct("!IIIIII").unpack_from
_pack_block = Struct("!IIIIII").pack
_unpack_pair = Struct("!II").unpack_from
_pack_pair = Struct("!II").pack
_unpack_halves = Struct("!HH").unpack_from
_pack_halves = Struct("!HH").pack
_unpack_triple = Struct("!III").unpack_from
_pack_triple = Struct("!III").pack

SENDER_REPORT = 200
RECEIVER_REPORT = 201
DESCRIPTION = 202
GOODBYE = 203
TRANSPORT_FEEDBACK = 205
PAYLOAD_FEEDBACK = 206
EXTENDED_REPORT = 207

CNAME = 1
MID = 15
"""The item that tells the media section of a source (RFC 8843)."""
MOST_BLOCKS = 31


class ReportBlock(NamedTuple):
    """What a receiver tells of one source (RFC 3550 section 6.4.1), in the units of the wire."""

    ssrc: int
    fraction_lost: int
    """Of 256, since the last report."""
    lost: int
    """Since the beginning; negative when duplicates outnumber losses."""
    highest: int
    """Extended highest sequence number, 32 bits."""
    jitter: int
    """In units of the clock."""
    last_report: int
    """The middle 32 bits of the NTP time of the last sender report, 0 before the first."""
    delay: int
    """Since that report, in 1/65536 s."""


class SenderReport(NamedTuple):
    ssrc: int
    ntp: int
    """64 bits."""
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


class ReceiverReport(NamedTuple):
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


class SourceDescription(NamedTuple):
    """Chunks of a source and its items, each a type and a value of at most 255 bytes."""

    chunks: tuple[tuple[int, tuple[tuple[int, bytes], ...]], ...]


class Goodbye(NamedTuple):
    ssrcs: tuple[int, ...]
    reason: bytes = b""


class Nack(NamedTuple):
    """Sequence numbers of ``media`` that are asked for again (RFC 4585 section 6.2.1)."""

    sender: int
    media: int
    sequences: tuple[int, ...]


class PictureLoss(NamedTuple):
    """A key frame of ``media`` is asked for (RFC 4585 section 6.3.1)."""

    sender: int
    media: int


class FullIntra(NamedTuple):
    """A key frame of each source is asked for; the same number again is the same request (RFC 5104 section 4.3.1)."""

    sender: int
    requests: tuple[tuple[int, int], ...]


class Remb(NamedTuple):
    """The receiver's estimate for all of ``ssrcs`` together, in bit/s (draft-alvestrand-rmcat-remb)."""

    sender: int
    bitrate: int
    ssrcs: tuple[int, ...]


class TransportFeedback(NamedTuple):
    """Arrival times of packets by transport-wide number; ``body`` is read by ``feedback.decode_arrivals``."""

    sender: int
    media: int
    body: bytes


class ExtendedReport(NamedTuple):
    """Of RFC 3611 the blocks for round-trip times: a receiver's reference time, and answers to those of others."""

    sender: int
    ntp: int | None = None
    """The sender's own reference time, 64 bits."""
    answers: tuple[tuple[int, int, int], ...] = ()
    """SSRC, middle 32 bits of its last reference time, delay since it came in 1/65536 s."""


RtcpPacket = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Goodbye
    | Nack
    | PictureLoss
    | FullIntra
    | Remb
    | TransportFeedback
    | ExtendedReport
)

# ------------------------------------------------------------------ decoding


def decode_rtcp(data: bytes) -> list[RtcpPacket]:
    """The packets of a compound, or of a reduced-size one (RFC 5506), that we know. Raises ParseError."""
    packets: list[RtcpPacket] = []
    at, size = 0, len(data)
    if not size:
        raise ParseError("RTCP: empty")
    while at < size:
        if at + 4 > size:
            raise ParseError("RTCP: shorter than a header")
        first, kind, words = _unpack_head(data, at)
        if first & 0xC0 != 0x80:
            raise ParseError("RTCP: not version 2")
        end = following = at + 4 + 4 * words
        if end > size:
            raise ParseError("RTCP: a packet that reaches beyond the end")
        if first & 0x20:
            fill = data[end - 1]
            # Whole words (RFC 3550, 6.4.1), except that LiveKit's server and libwebrtc fill transport-wide feedback up
            # to a word by a byte, two or three.
            part = fill & 3 and kind != TRANSPORT_FEEDBACK
            if end != size or fill == 0 or part or fill > 4 * words:
                raise ParseError("RTCP: padding that lies about its length")
            end -= fill
        packet = _decode_one(first & 0x1F, kind, data, at + 4, end)
        if packet is not None:
            packets.append(packet)
        at = following
    return packets


def _decode_one(count: int, kind: int, data: bytes, at: int, end: int) -> RtcpPacket | None:
    match kind:
        case 200:
            if at + 24 > end:
                raise ParseError("RTCP: a sender report that ends early")
            ssrc, ntp, timestamp, packets, octets = _unpack_sender(data, at)
            return SenderReport(ssrc, ntp, timestamp, packets, octets, _decode_blocks(count, data, at + 24, end))
        case 201:
            if at + 4 > end:
                raise ParseError("RTCP: a receiver report that ends early")
            ssrc = int.from_bytes(data[at : at + 4], "big")
            return ReceiverReport(ssrc, _decode_blocks(count, data, at + 4, end))
        case 202:
            return _decode_description(count, data, at, end)
        case 203:
            return _decode_goodbye(count, data, at, end)
        case 205 | 206:
            if at + 8 > end:
                raise ParseError("RTCP: feedback that ends early")
            sender, media = _unpack_pair(data, at)
            if kind == TRANSPORT_FEEDBACK:
                return _decode_transport(count, sender, media, data, at + 8, end)
            return _decode_payload(count, sender, media, data, at + 8, end)
        case 207:
            return _decode_extended(data, at, end)
    return None


def _decode_blocks(count: int, data: bytes, at: int, end: int) -> tuple[ReportBlock, ...]:
    if at + 24 * count > end:
        raise ParseError("RTCP: report blocks that end early")
    blocks = []
    for _ in range(count):
        ssrc, loss, highest, jitter, last_report, delay = _unpack_block(data, at)
        lost = loss & 0xFFFFFF
        if lost & 0x800000:
            lost -= 0x1000000
        blocks.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last_report, delay))
        at += 24
    return tuple(blocks)


def _decode_description(count: int, data: bytes, at: int, end: int) -> SourceDescription:
    chunks = []
    for _ in range(count):
        if at + 4 > end:
            raise ParseError("RTCP: a description that ends early")
        ssrc = int.from_bytes(data[at : at + 4], "big")
        begin = at
        at += 4
        items = []
        while True:
            if at >= end:
                raise ParseError("RTCP: a chunk without an end")
            kind = data[at]
            if kind == 0:
                break
            if at + 2 > end:
                raise ParseError("RTCP: an item that ends early")
            stop = at + 2 + data[at + 1]
            if stop > end:
                raise ParseError("RTCP: an item that reaches beyond the end")
            items.append((kind, data[at + 2 : stop]))
            at = stop
        at += 4 - ((at - begin) & 3)  # one to four zeros up to the next word; ``end`` is at one too
        chunks.append((ssrc, tuple(items)))
    return SourceDescription(tuple(chunks))


def _decode_goodbye(count: int, data: bytes, at: int, end: int) -> Goodbye:
    behind = at + 4 * count
    if behind > end:
        raise ParseError("RTCP: a goodbye that ends early")
    ssrcs = tuple([int.from_bytes(data[place : place + 4], "big") for place in range(at, behind, 4)])
    reason = b""
    if behind < end:
        stop = behind + 1 + data[behind]
        if stop > end:
            raise ParseError("RTCP: a reason that reaches beyond the end")
        reason = data[behind + 1 : stop]
    return Goodbye(ssrcs, reason)


def _decode_transport(form: int, sender: int, media: int, data: bytes, at: int, end: int) -> RtcpPacket | None:
    if form == 1:
        sequences = []
        for place in range(at, end - 3, 4):
            sequence, following = _unpack_halves(data, place)
            sequences.append(sequence)
            while following:
                sequence += 1
                if following & 1:
                    sequences.append(sequence & 0xFFFF)
                following >>= 1
        return Nack(sender, media, tuple(sequences))
    if form == 15:
        return TransportFeedback(sender, media, data[at:end])
    return None


def _decode_payload(form: int, sender: int, media: int, data: bytes, at: int, end: int) -> RtcpPacket | None:
    if form == 1:
        return PictureLoss(sender, media)
    if form == 4:
        requests = [(_unpack_pair(data, place)[0], data[place + 4]) for place in range(at, end - 7, 8)]
        return FullIntra(sender, tuple(requests))
    if form == 15 and data[at : at + 4] == b"REMB":
        if at + 8 > end:
            raise ParseError("RTCP: an estimate that ends early")
        behind = at + 8 + 4 * data[at + 4]
        if behind > end:
            raise ParseError("RTCP: an estimate for sources that are not there")
        rate = int.from_bytes(data[at + 5 : at + 8], "big")
        ssrcs = [int.from_bytes(data[place : place + 4], "big") for place in range(at + 8, behind, 4)]
        return Remb(sender, (rate & 0x3FFFF) << (rate >> 18), tuple(ssrcs))
    return None


def _decode_extended(data: bytes, at: int, end: int) -> ExtendedReport:
    if at + 4 > end:
        raise ParseError("RTCP: an extended report that ends early")
    sender = int.from_bytes(data[at : at + 4], "big")
    at += 4
    ntp = None
    answers: list[tuple[int, int, int]] = []
    while at < end:  # both are multiples of four from the same point
        kind, _, words = _unpack_head(data, at)
        begin = at + 4
        at = begin + 4 * words
        if at > end:
            raise ParseError("RTCP: an extended report block that reaches beyond the end")
        if kind == 4 and words == 2:
            ntp = int.from_bytes(data[begin:at], "big")
        elif kind == 5:
            answers += [_unpack_triple(data, place) for place in range(begin, at - 11, 12)]
    return ExtendedReport(sender, ntp, tuple(answers))


# ------------------------------------------------------------------ encoding


def encode_rtcp(packets: Sequence[RtcpPacket]) -> bytes:
    """The bytes of these packets, one behind the other. Counts and lengths have to fit their fields."""
    return b"".join([_encode_one(packet) for packet in packets])


def _encode_one(packet: RtcpPacket) -> bytes:
    match packet:
        case SenderReport(ssrc, ntp, timestamp, count, octets, blocks):
            body = _pack_sender(ssrc, ntp, timestamp, count, octets) + _encode_blocks(blocks)
            return _packet(len(blocks), SENDER_REPORT, body)
        case ReceiverReport(ssrc, blocks):
            return _packet(len(blocks), RECEIVER_REPORT, ssrc.to_bytes(4, "big") + _encode_blocks(blocks))
        case SourceDescription(chunks):
            body = b"".join([_encode_chunk(ssrc, items) for ssrc, items in chunks])
            return _packet(len(chunks), DESCRIPTION, body)
        case Goodbye(ssrcs, reason):
            body = b"".join([ssrc.to_bytes(4, "big") for ssrc in ssrcs])
            if reason:
                body += _filled(bytes((len(reason),)) + reason)
            return _packet(len(ssrcs), GOODBYE, body)
        case Nack(sender, media, sequences):
            return _packet(1, TRANSPORT_FEEDBACK, _pack_pair(sender, media) + _encode_sequences(sequences))
        case TransportFeedback(sender, media, body):
            return _packet(15, TRANSPORT_FEEDBACK, _pack_pair(sender, media) + _filled(body))
        case PictureLoss(sender, media):
            return _packet(1, PAYLOAD_FEEDBACK, _pack_pair(sender, media))
        case FullIntra(sender, requests):
            entries = [_pack_pair(ssrc, number << 24) for ssrc, number in requests]
            return _packet(4, PAYLOAD_FEEDBACK, _pack_pair(sender, 0) + b"".join(entries))
        case Remb(sender, bitrate, ssrcs):
            shift = max(0, bitrate.bit_length() - 18)
            rate = len(ssrcs) << 24 | shift << 18 | bitrate >> shift
            body = _pack_pair(sender, 0) + b"REMB" + rate.to_bytes(4, "big")
            return _packet(15, PAYLOAD_FEEDBACK, body + b"".join([ssrc.to_bytes(4, "big") for ssrc in ssrcs]))
        case _:
            body = packet.sender.to_bytes(4, "big")
            if packet.ntp is not None:
                body += _pack_head(4, 0, 2) + packet.ntp.to_bytes(8, "big")
            if packet.answers:
                answers = [_pack_triple(*answer) for answer in packet.answers]
                body += _pack_head(5, 0, 3 * len(answers)) + b"".join(answers)
            return _packet(0, EXTENDED_REPORT, body)


def _packet(count: int, kind: int, body: bytes) -> bytes:
    return _pack_head(0x80 | count, kind, len(body) >> 2) + body


def _filled(body: bytes) -> bytes:
    return body + bytes(-len(body) & 3)


def _encode_blocks(blocks: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        [
            _pack_block(
                block.ssrc,
                block.fraction_lost << 24 | block.lost & 0xFFFFFF,
                block.highest,
                block.jitter,
                block.last_report,
                block.delay,
            )
            for block in blocks
        ]
    )


def _encode_chunk(ssrc: int, items: tuple[tuple[int, bytes], ...]) -> bytes:
    parts = [ssrc.to_bytes(4, "big")]
    for kind, value in items:
        parts += (bytes((kind, len(value))), value)
    return _filled(b"".join(parts) + b"\0")


def _encode_sequences(sequences: tuple[int, ...]) -> bytes:
    """Pairs of a sequence number and a mask of the 16 behind it, in the order given."""
    parts = []
    base, mask = -1, 0
    for sequence in sequences:
        ahead = (sequence - base - 1) & 0xFFFF
        if base >= 0 and ahead < 16 and not mask >> ahead:
            mask |= 1 << ahead
            continue
        if base >= 0:
            parts.append(_pack_halves(base, mask))
        base, mask = sequence, 0
    if base >= 0:
        parts.append(_pack_halves(base, mask))
    return b"".join(parts)
