"""RTCP compounds: what is decoded can be encoded, and is the same then."""

from __future__ import annotations

from sansio.base.entropy import Entropy
from sansio.base.errors import ParseError
from sansio.base.wallclock import WallClock
from sansio.rtp.format import Format
from sansio.rtp.rtcp import Nack, TransportFeedback, decode_rtcp, encode_rtcp
from sansio.rtp.session import RtpSession

OPUS = Format(111, "opus", 48000, nack=True)


def one(data: bytes) -> None:
    """Decode and encode; and give it to a session with streams of the SSRCs 1 and 2."""
    session = RtpSession(Entropy(b"rtcp"), WallClock(1.8e9), cname="fuzz")
    session.set_formats([OPUS])
    sender = session.add_sender(OPUS, ssrc=1)
    sender.write(b"\xf8abc", 0.0)
    session.add_receiver("audio", 0.0, ssrc=2)
    session.receive_rtcp(data, 0.5)
    assert session.advance(0.5) > 0.5
    try:
        packets = decode_rtcp(data)
    except ParseError:
        return
    if packets:
        again = decode_rtcp(encode_rtcp(packets))
        assert [_plain(packet) for packet in again] == [_plain(packet) for packet in packets]


def _plain(packet: object) -> object:
    if isinstance(packet, Nack):  # an order of its own, and numbers told twice
        return packet.sender, packet.media, sorted(set(packet.sequences))
    if isinstance(packet, TransportFeedback):  # filled up to a word
        return packet._replace(body=packet.body + bytes(-len(packet.body) & 3))
    return packet
