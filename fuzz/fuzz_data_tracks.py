"""Packets of data tracks, put together to frames.

The bytes are frames of two bytes of length and a packet. What was put together is what packets of one frame, from its
first to its last, hold; frames come in order.
"""

from __future__ import annotations

from sansio.base import limits
from sansio.base.counters import Counters
from sansio.base.errors import ParseError
from sansio.room.data_track_packets import PACKET_BYTES, Reassembler, decode_packet, encode_frame


def one(data: bytes) -> None:
    counters = Counters()
    reassembler = Reassembler(counters)
    offset, seen, frames = 0, 0, 0
    last = None
    while offset + 2 <= len(data):
        end = offset + 2 + int.from_bytes(data[offset : offset + 2], "big")
        packet, offset = data[offset + 2 : end], end
        try:
            decoded = decode_packet(packet)
        except ParseError:
            continue
        assert packet.endswith(decoded.payload)
        again = encode_frame(
            decoded.handle, decoded.sequence, decoded.frame, decoded.timestamp, decoded.payload, decoded.user_timestamp
        )
        if len(decoded.payload) < PACKET_BYTES - 24:
            (copy,) = map(decode_packet, again)
            assert (copy.start, copy.final, copy.payload) == (True, True, decoded.payload)
            assert copy.user_timestamp == decoded.user_timestamp
        seen += len(decoded.payload)
        frame = reassembler.add(decoded)
        if frame is not None:
            frames += 1
            assert len(frame.payload) <= seen
            assert last is None or (decoded.frame - last) & 0xFFFF in range(1, 0x8001)
            assert last is None or frame.lost == (decoded.frame - last - 1) & 0xFFFF
            last = decoded.frame
        last = reassembler._last
        assert len(reassembler._parts) <= limits.DATA_TRACK_PACKETS
        assert reassembler._bytes == sum(map(len, reassembler._parts.values()))
    assert frames + sum(counters.snapshot().values()) <= len(data)
