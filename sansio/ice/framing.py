"""Messages on byte streams: RFC 4571 frames of ICE-TCP, and STUN and ChannelData messages of TURN.

Both readers take the stream in chunks of any size and give whole messages; what they keep of an unfinished one is
bounded by its 16-bit length.
"""

from __future__ import annotations

from struct import Struct

_LENGTH = Struct("!H")
_TURN_HEADER = Struct("!HH")
_unpack_length = _LENGTH.unpack_from
_unpack_turn_header = _TURN_HEADER.unpack_from

LONGEST_FRAME = 0xFFFF
"""Bytes of one RFC 4571 frame."""


def frame(data: bytes) -> bytes:
    """A packet as it goes on an ICE-TCP stream: its length in 16 bits, then itself (RFC 4571 section 2)."""
    return _LENGTH.pack(len(data)) + data


class FrameReader:
    """Reads RFC 4571 frames, and passes over empty ones. Nothing can be wrong in this format: never ``broken``."""

    __slots__ = ("_kept", "broken")

    def __init__(self) -> None:
        self._kept = b""
        self.broken = False

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that ``data`` completes, in order."""
        if self._kept:
            data = self._kept + data
        packets: list[bytes] = []
        at, size = 0, len(data)
        while at + 2 <= size:
            end = at + 2 + _unpack_length(data, at)[0]
            if end > size:
                break
            if end > at + 2:
                packets.append(data[at + 2 : end])
            at = end
        self._kept = data[at:]
        return packets


class TurnReader:
    """Reads what a TURN server sends on a stream: STUN messages, and ChannelData padded to multiples of four bytes.

    The two differ in their first two bits, and each carries its length (RFC 8656 section 12.5). ``broken`` becomes
    true when something else comes: there is no finding back, so nothing more is read.
    """

    __slots__ = ("_kept", "broken")

    def __init__(self) -> None:
        self._kept = b""
        self.broken = False

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, in order; ChannelData with its padding."""
        messages: list[bytes] = []
        if self.broken:
            return messages
        if self._kept:
            data = self._kept + data
        at, size = 0, len(data)
        while at + 4 <= size:
            kind, length = _unpack_turn_header(data, at)
            if kind < 0x4000:
                end = at + 20 + length
                if length & 3:
                    self.broken = True
            else:
                end = at + 4 + length + (-length & 3)
                if kind >= 0x5000:
                    self.broken = True
            if self.broken:
                self._kept = b""
                return messages
            if end > size:
                break
            messages.append(data[at:end])
            at = end
        self._kept = data[at:]
        return messages
