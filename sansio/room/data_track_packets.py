"""Frames of data tracks and the packets that carry them on the channel ``_data_track``.

A packet is twelve bytes, big-endian, then extensions if there are any, then a part of a frame::

    0      version (3 bits, 0), S: the frame begins, F: the frame ends, X: extensions follow, 2 bits unused
    1      unused
    2..3   handle of the track: the publisher's up, the subscriber's down
    4..5   sequence number of the packet
    6..7   number of the frame
    8..11  timestamp, 90 kHz

The extensions are a length (16 bits: the words of the whole block, less one), then entries of id, length and bytes; an
id of 0 begins the padding to whole words. Id 1 holds what decrypts the frame, id 2 a timestamp of the user's, 64 bits.
"""

from __future__ import annotations

import struct

from attrs import field, frozen

from ..base import limits
from ..base.counters import Counters
from ..base.errors import LocalProtocolError, ParseError

PACKET_BYTES = 16_000
"""A whole packet that we send, as in LiveKit's own clients."""
START, FINAL, EXTENSIONS = 0x10, 0x08, 0x04
ENCRYPTION, USER_TIMESTAMP = 1, 2

_HEADER = struct.Struct(">BBHHHI")
_STAMP = struct.Struct(">HBBQ")  # the block of a user's timestamp: three words, which need no padding


@frozen
class DataTrackFrame:
    """One frame of a data track.

    ``user_timestamp``: a number of 64 bits for the application, or None. ``lost``: how many frames are missing right
    before this one, as far as they were meant for us.
    """

    payload: bytes
    user_timestamp: int | None = None
    lost: int = field(default=0, eq=False)


class DataTrackPacket:
    """A packet that was decoded."""

    __slots__ = ("start", "final", "handle", "sequence", "frame", "timestamp", "user_timestamp", "encrypted", "payload")

    def __init__(self, flags: int, handle: int, sequence: int, frame: int, timestamp: int) -> None:
        self.start = bool(flags & START)
        self.final = bool(flags & FINAL)
        self.handle = handle
        self.sequence = sequence
        self.frame = frame
        self.timestamp = timestamp
        self.user_timestamp: int | None = None
        self.encrypted = False
        self.payload = b""


def decode_packet(data: bytes) -> DataTrackPacket:
    """Decode a packet. Raises ParseError."""
    if len(data) < _HEADER.size:
        raise ParseError("shorter than a header")
    flags, _, handle, sequence, frame, timestamp = _HEADER.unpack_from(data)
    if flags >> 5:
        raise ParseError(f"version {flags >> 5}")
    packet = DataTrackPacket(flags, handle, sequence, frame, timestamp)
    end = _HEADER.size
    if flags & EXTENSIONS:
        if len(data) < end + 2:
            raise ParseError("no length of the extensions")
        end += 4 * (int.from_bytes(data[end : end + 2], "big") + 1)
        if len(data) < end:
            raise ParseError("extensions beyond the end")
        _read_extensions(packet, data, _HEADER.size + 2, end)
    packet.payload = data[end:]
    return packet


def _read_extensions(packet: DataTrackPacket, data: bytes, offset: int, end: int) -> None:
    while offset + 2 <= end and data[offset]:
        kind, start = data[offset], offset + 2
        offset = start + data[offset + 1]
        if offset > end:
            raise ParseError("an extension beyond the block")
        if kind == USER_TIMESTAMP and offset - start == 8:
            packet.user_timestamp = int.from_bytes(data[start:offset], "big")
        elif kind == ENCRYPTION and offset - start == 13:
            packet.encrypted = True


def encode_frame(
    handle: int, sequence: int, frame: int, timestamp: int, payload: bytes, user_timestamp: int | None
) -> list[bytes]:
    """The packets of a frame, numbered from ``sequence`` on. Raises LocalProtocolError when it is too large."""
    flags, block = 0, b""
    if user_timestamp is not None:
        if not 0 <= user_timestamp < 1 << 64:
            raise LocalProtocolError("a user's timestamp has up to 64 bits, and is not negative")
        flags, block = EXTENSIONS, _STAMP.pack(2, USER_TIMESTAMP, 8, user_timestamp)
    room = PACKET_BYTES - _HEADER.size - len(block)
    count = max(1, -(-len(payload) // room))
    if count > limits.DATA_TRACK_PACKETS:
        raise LocalProtocolError(
            f"the frame has {len(payload)} bytes, more than the {limits.DATA_TRACK_PACKETS * room} that others put "
            "together again"
        )
    packets = []
    for number in range(count):
        first = flags | START * (number == 0) | FINAL * (number == count - 1)
        header = _HEADER.pack(first, 0, handle, (sequence + number) & 0xFFFF, frame & 0xFFFF, timestamp & 0xFFFFFFFF)
        packets.append(header + block + payload[number * room : (number + 1) * room])
    return packets


class Reassembler:
    """Puts the frames of one track together again: one at a time, and never an older one after a newer one."""

    __slots__ = ("counters", "_last", "_frame", "_parts", "_bytes", "_start", "_final", "_stamp")

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.reset()

    def reset(self) -> None:
        """The track begins anew."""
        self._last: int | None = None
        self._frame: int | None = None
        self._parts: dict[int, bytes] = {}
        self._bytes = 0
        self._start: int | None = None
        self._final: int | None = None
        self._stamp: int | None = None

    def add(self, packet: DataTrackPacket) -> DataTrackFrame | None:
        """The frame that this packet completes, if it does."""
        number = packet.frame
        if self._last is not None and _older(number, self._last):
            self.counters.add("data_track_late")
            return None
        if packet.start and packet.final:
            if self._frame is not None and _older(self._frame, number):
                self._give_up()
            return self._complete(number, packet.payload, packet.user_timestamp)
        if self._frame is None or _older(self._frame, number, same=False):
            if self._frame is not None:
                self._give_up()
            self._frame = number
        elif self._frame != number:
            self.counters.add("data_track_late")
            return None
        return self._add_part(packet)

    def _add_part(self, packet: DataTrackPacket) -> DataTrackFrame | None:
        sequence, parts = packet.sequence, self._parts
        if sequence in parts:
            self.counters.add("data_track_duplicate")
            return None
        parts[sequence] = packet.payload
        self._bytes += len(packet.payload)
        if packet.start:
            self._start, self._stamp = sequence, packet.user_timestamp
        if packet.final:
            self._final = sequence
        if len(parts) > limits.DATA_TRACK_PACKETS or self._bytes > limits.DATA_TRACK_FRAME_BYTES:
            self.counters.add("data_track_too_large")
            self._last = self._frame
            self._drop()
            return None
        if self._start is None or self._final is None:
            return None
        count = (self._final - self._start & 0xFFFF) + 1
        if len(parts) < count:
            return None
        pieces = [parts.get(self._start + number & 0xFFFF) for number in range(min(count, len(parts)))]
        if None in pieces or len(parts) > count:
            self.counters.add("data_track_disordered")
            self._drop()
            return None
        frame, stamp = packet.frame, self._stamp
        self._drop()
        return self._complete(frame, b"".join(pieces), stamp)  # type: ignore[arg-type]  # None was ruled out

    def _complete(self, number: int, payload: bytes, stamp: int | None) -> DataTrackFrame:
        lost = 0 if self._last is None else number - self._last - 1 & 0xFFFF
        self._last = number
        return DataTrackFrame(payload, stamp, lost)

    def _give_up(self) -> None:
        self.counters.add("data_track_incomplete")
        self._drop()

    def _drop(self) -> None:
        self._frame = self._start = self._final = self._stamp = None
        self._parts.clear()
        self._bytes = 0


def _older(number: int, than: int, *, same: bool = True) -> bool:
    """Whether a frame number is before another one, or the ``same``."""
    behind = than - number & 0xFFFF
    return behind < 0x8000 and (same or behind > 0)
