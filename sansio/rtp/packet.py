"""RTP packets (RFC 3550 section 5.1) and their header extensions (RFC 8285).

Hot path: one object a packet, parsed by its constructor; extensions are looked up in the bytes when asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from ..base.errors import ParseError

_unpack_header = Struct("!BBHII").unpack_from
_unpack_two = Struct("!HH").unpack_from
_pack_header = Struct("!BBHII").pack
_pack_extended = Struct("!BBHIIHH").pack

ONE_BYTE = 0xBEDE
"""The profile of extension blocks whose elements have headers of one byte: ids 1-14, 1-16 bytes of data."""
TWO_BYTE = 0x1000
"""The profile of elements with two bytes of header: ids 1-255, 0-255 bytes; the last four bits are free."""
MARKER = 0x80
"""Or'ed to the payload type in the second byte."""

_FILL = (b"", b"\0\0\0", b"\0\0", b"\0")  # by length of the block modulo 4


class RtpPacket:
    """A received packet. ``RtpPacket(data)`` parses it, or raises ParseError.

    ``payload`` is without padding, so that it is empty in packets that only probe or keep alive. ``sequence`` and
    ``timestamp`` are as on the wire.
    """

    __slots__ = (
        "data",
        "payload_type",
        "marker",
        "sequence",
        "timestamp",
        "ssrc",
        "payload",
        "profile",
        "at",
        "end",
        "arrival",
    )

    data: bytes
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    profile: int
    """Of the extension block, 0 without one."""
    at: int
    """Where the elements of the extension block begin in ``data``."""
    end: int
    """Where they end."""
    arrival: float
    """When it came; set by the receiver."""

    def __init__(self, data: bytes) -> None:
        size = len(data)
        if size < 12:
            raise ParseError("RTP: shorter than a header")
        first, second, self.sequence, self.timestamp, self.ssrc = _unpack_header(data)
        self.data = data
        self.payload_type = second & 0x7F
        self.marker = second > 0x7F
        if first == 0x80:
            self.profile = 0
            self.payload = data[12:]
            return
        if first & 0xC0 != 0x80:
            raise ParseError("RTP: not version 2")
        at = 12 + 4 * (first & 0x0F)
        if first & 0x10:
            if size < at + 4:
                raise ParseError("RTP: no room for the extension header")
            self.profile, words = _unpack_two(data, at)
            self.at = at = at + 4
            self.end = at = at + 4 * words
        else:
            self.profile = 0
        if at > size:
            raise ParseError("RTP: sources or extensions reach beyond the end")
        if first & 0x20:
            fill = data[-1]
            if not 0 < fill <= size - at:
                raise ParseError("RTP: padding that lies about its length")
            self.payload = data[at : size - fill]
        else:
            self.payload = data[at:]

    def __repr__(self) -> str:
        return (
            f"RtpPacket(ssrc={self.ssrc}, payload_type={self.payload_type}, sequence={self.sequence}, "
            f"timestamp={self.timestamp}, {len(self.payload)} bytes)"
        )

    def copy(self) -> RtpPacket:
        """A packet with the same header, whose fields may be changed. It has no extensions."""
        other = RtpPacket.__new__(RtpPacket)
        other.data = self.data
        other.payload_type = self.payload_type
        other.marker = self.marker
        other.sequence = self.sequence
        other.timestamp = self.timestamp
        other.ssrc = self.ssrc
        other.payload = self.payload
        other.profile = 0
        other.arrival = self.arrival
        return other

    @property
    def csrcs(self) -> tuple[int, ...]:
        """The contributing sources of a mixer."""
        data = self.data
        return tuple([int.from_bytes(data[at : at + 4], "big") for at in range(12, 12 + 4 * (data[0] & 0x0F), 4)])

    def name(self, ident: int) -> str:
        """The text of a header extension element, such as a MID; empty without one. ``ident`` 0: none is agreed on."""
        value = self.extension(ident) if ident else None
        return value.decode("utf-8", "replace") if value else ""

    def extension(self, ident: int) -> bytes | None:
        """The data of one header extension element; None when the packet has none of that id.

        Elements behind one that lies about its length do not exist.
        """
        profile = self.profile
        if profile == ONE_BYTE:
            data, at, end = self.data, self.at, self.end
            while at < end:
                head = data[at]
                if head == 0:
                    at += 1
                    continue
                stop = at + 2 + (head & 0x0F)
                if not 0x10 <= head < 0xF0:  # RFC 8285 section 4.2: reserved ids end the block
                    return None
                if head >> 4 == ident:
                    return data[at + 1 : stop] if stop <= end else None
                at = stop
        elif profile & 0xFFF0 == TWO_BYTE:
            data, at, end = self.data, self.at, self.end
            while at < end:
                found = data[at]
                if found == 0:
                    at += 1
                    continue
                if at + 2 > end:
                    return None
                stop = at + 2 + data[at + 1]
                if found == ident:
                    return data[at + 2 : stop] if stop <= end else None
                at = stop
        return None


def decode_extensions(profile: int, block: bytes) -> list[tuple[int, bytes]]:
    """All elements of an extension block; an unknown profile has none. Raises ParseError for lengths that lie."""
    found: list[tuple[int, bytes]] = []
    two = profile & 0xFFF0 == TWO_BYTE
    if profile != ONE_BYTE and not two:
        return found
    at, end = 0, len(block)
    while at < end:
        head = block[at]
        if head == 0:
            at += 1
            continue
        if two:
            if at + 2 > end:
                raise ParseError("RTP: an extension without a length")
            ident, start = head, at + 2
            stop = start + block[at + 1]
        else:
            if head >= 0xF0 or head < 0x10:
                break
            ident, start = head >> 4, at + 1
            stop = start + 1 + (head & 0x0F)
        if stop > end:
            raise ParseError("RTP: an extension that reaches beyond its block")
        found.append((ident, block[start:stop]))
        at = stop
    return found


def needs_two_byte(elements: list[tuple[int, bytes]]) -> bool:
    """Whether some element does not fit the one-byte form."""
    return any(ident > 14 or not 1 <= len(value) <= 16 for ident, value in elements)


def element(ident: int, value: bytes, two_byte: bool = False) -> bytes:
    """One extension element with its header. The id and length have to fit the form."""
    if two_byte:
        return bytes((ident, len(value))) + value
    return bytes((ident << 4 | (len(value) - 1),)) + value


def packer(size: int) -> Callable[..., bytes]:
    """What makes the header of a packet whose extension block is ``size`` bytes and a number of two, filled up to whole
    words: a function of 0x90, ``second``, sequence, timestamp, SSRC, profile, ``block_words(size)``, the bytes and the
    number. It saves putting the block together for each of a run of packets."""
    return Struct(f"!BBHIIHH{size}sH{4 * block_words(size) - size - 2}x").pack


def block_words(size: int) -> int:
    """Words of an extension block of ``size`` bytes and a number of two."""
    return size + 5 >> 2


def build_rtp(
    second: int, sequence: int, timestamp: int, ssrc: int, block: bytes, payload: bytes, profile: int = ONE_BYTE
) -> bytes:
    """A packet without padding or CSRCs. ``second`` is the payload type, or'ed with MARKER; ``block`` holds extension
    elements in the form of ``profile``, and is filled up to whole words; an empty one makes a packet without."""
    if block:
        block += _FILL[len(block) & 3]
        return _pack_extended(0x90, second, sequence, timestamp, ssrc, profile, len(block) >> 2) + block + payload
    return _pack_header(0x80, second, sequence, timestamp, ssrc) + payload
