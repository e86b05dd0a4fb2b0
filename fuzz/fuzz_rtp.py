"""RTP packets with their header extensions, and redundant audio in them."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.rtp.packet import ONE_BYTE, TWO_BYTE, RtpPacket, build_rtp, decode_extensions
from sansio.rtp.payload import opus
from sansio.rtp.payload.red import decode_red, encode_red, primary


def one(data: bytes) -> None:
    """Parse, look at everything, build again what can be built."""
    try:
        packet = RtpPacket(data)
    except ParseError:
        return
    assert len(packet.payload) <= len(data) - 12
    assert len(packet.csrcs) == data[0] & 15
    if packet.profile:
        block = data[packet.at : packet.end]
        found = {ident: packet.extension(ident) for ident in range(256)}
        try:
            elements = decode_extensions(packet.profile, block)
        except ParseError:
            elements = []
        known: set[int] = set()
        for ident, value in elements:
            assert ident in known or found[ident] == value
            known.add(ident)
        if packet.profile not in (ONE_BYTE, TWO_BYTE):
            assert packet.profile & 0xFFF0 == TWO_BYTE or not elements
    else:
        block = b""
    second = packet.payload_type | (0x80 if packet.marker else 0)
    again = RtpPacket(
        build_rtp(
            second, packet.sequence, packet.timestamp, packet.ssrc, block, packet.payload, packet.profile or ONE_BYTE
        )
    )
    assert (again.marker, again.payload_type, again.sequence) == (packet.marker, packet.payload_type, packet.sequence)
    assert (again.timestamp, again.ssrc, again.payload) == (packet.timestamp, packet.ssrc, packet.payload)
    assert 0 <= opus.duration(packet.payload) <= 5760
    redundant(packet.payload)


def redundant(payload: bytes) -> None:
    try:
        blocks = decode_red(payload)
    except ParseError:
        return
    kind, _, frame = blocks[-1]
    assert primary(payload) == frame
    again = decode_red(encode_red(kind, frame, [(age, data) for _, age, data in blocks[:-1]]))
    assert [block[1:] for block in again] == [block[1:] for block in blocks]
