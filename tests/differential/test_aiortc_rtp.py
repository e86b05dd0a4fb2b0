"""Our RTP, RTCP, VP8 and H.264 codecs against those of aiortc, which runs in a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sansio.base.errors import ParseError
from sansio.rtp.packet import RtpPacket
from sansio.rtp.payload import h264, vp8
from sansio.rtp.rtcp import (
    CNAME,
    Goodbye,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    SourceDescription,
    decode_rtcp,
    encode_rtcp,
)
from tests.unit.rtp.wire import OPUS, VP8, h264_frame, make, opus_frame, vp8_frame

PEER = Path(__file__).with_name("aiortc_rtp_peer.py")


@pytest.fixture(scope="module")
def aiortc():
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask(*question):
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()
        process.wait(10)


def same(packet, theirs):
    assert (packet.sequence, packet.timestamp, packet.ssrc) == (
        theirs["sequence"],
        theirs["timestamp"],
        theirs["ssrc"],
    )
    assert (int(packet.marker), packet.payload_type) == (theirs["marker"], theirs["payload_type"])
    assert (list(packet.csrcs), packet.payload.hex()) == (theirs["csrcs"], theirs["payload"])
    for ident, name in ((4, "mid"), (10, "rid"), (11, "repaired")):
        value = packet.extension(ident)
        assert (value and value.decode()) == theirs[name]
    level, time, number = packet.extension(1), packet.extension(2), packet.extension(3)
    assert (level and [level[0] > 127, level[0] & 127]) == theirs["level"]
    assert (time and int.from_bytes(time, "big")) == theirs["time"]
    assert (number and int.from_bytes(number, "big")) == theirs["number"]


def test_packets_of_our_senders(aiortc):
    session = make(b"me")
    audio, video = session.add_sender(OPUS, mid="0"), session.add_sender(VP8, mid="video", rid="h")
    for number in range(20):
        audio.write(opus_frame(number), number * 0.02, level=number, voice=number % 2 == 0)
        video.write(vp8_frame(number, number == 0), number * 0.04)
        session.advance(number * 0.04)
    session.advance(9.0)
    assert len(session.rtp) > 60
    originals = {}
    for data in session.rtp:
        packet = RtpPacket(data)
        theirs = aiortc("rtp", data.hex())
        same(packet, theirs)
        if theirs["again"] is None:  # padding, which announces the streams of the video
            assert packet.ssrc in (video.ssrc, video.rtx_ssrc)
            assert not theirs["payload"]
            continue
        same(packet, aiortc("rtp", theirs["again"]))
        same(RtpPacket(bytes.fromhex(theirs["again"])), theirs)
        originals[packet.ssrc, packet.sequence] = packet
    session.rtp.clear()
    asked = [sequence for ssrc, sequence in originals if ssrc == video.ssrc]
    video.handle_nack(tuple(asked), 10.0)
    session.advance(10.0)
    session.advance(10.1)
    assert len(session.rtp) == len(asked)
    for data in session.rtp:
        theirs = aiortc("rtx", data.hex(), 96, video.ssrc)
        original = originals[theirs["ssrc"], theirs["sequence"]]
        assert theirs["payload"] == original.payload.hex()
        assert (theirs["timestamp"], theirs["marker"]) == (original.timestamp, original.marker)


def test_mutated_packets(aiortc):
    """Both take the same packets, and read the same fields from them."""
    draw = random.Random(1)
    start = (
        bytes.fromhex("b2e00001ffffffff000000010000000a0000000b")
        + bytes.fromhex("bede0003 1085 413031 22010203 31aabb")
    ) + b"media\0\0\3"
    taken = 0
    for _ in range(3000):
        data = bytearray(start)
        for _ in range(draw.randrange(3)):
            data[draw.choice([0, 1, 23, 24, 26, 29, 33, len(data) - 1])] = draw.randrange(256)
        if draw.randrange(4) == 0:
            del data[draw.randrange(len(data)) :]
        try:
            packet = RtpPacket(bytes(data))
        except ParseError:
            assert "error" in aiortc("rtp", data.hex())
            continue
        theirs = aiortc("rtp", data.hex())
        if "error" in theirs:  # an element of the extensions that lies, or has another length than its kind
            continue
        assert theirs["payload"] == packet.payload.hex()
        assert theirs["csrcs"] == list(packet.csrcs)
        taken += 1
    assert taken > 1000


def compounds():
    draw = random.Random(2)

    def blocks(count):
        return tuple(
            [
                ReportBlock(
                    draw.getrandbits(32),
                    draw.getrandbits(8),
                    draw.randrange(-0x800000, 0x800000),
                    *[draw.getrandbits(32) for _ in range(4)],
                )
                for _ in range(count)
            ]
        )

    for count in range(0, 32, 3):
        yield [SenderReport(*[draw.getrandbits(bits) for bits in (32, 64, 32, 32, 32)], blocks(count))]
        yield [ReceiverReport(draw.getrandbits(32), blocks(count))]
        # One chunk: of more, theirs does not begin each at a whole word (RFC 3550 section 6.5).
        yield [SourceDescription(((count, ((CNAME, b"x" * count),)),))]
        yield [Goodbye(tuple(range(count)))]
        yield [Nack(1, 2, tuple(sorted(draw.sample(range(65536), count + 1))))]
        yield [Nack(1, 2, tuple([65500 + step for step in range(count + 1)]))]
        yield [PictureLoss(draw.getrandbits(32), draw.getrandbits(32))]
        yield [Remb(1, draw.getrandbits(17) << draw.randrange(20), tuple(range(count)))]
        yield [ReceiverReport(3), SourceDescription(((3, ((CNAME, b"me"),)),)), PictureLoss(3, 4), Goodbye((3,))]


def test_compounds(aiortc):
    for packets in compounds():
        data = encode_rtcp(packets)
        theirs = aiortc("rtcp", data.hex())
        assert isinstance(theirs, list), (packets, theirs)
        assert len(theirs) == len(packets)
        for packet, again in zip(packets, theirs, strict=True):
            assert decode_rtcp(bytes.fromhex(again)) == [packet]


def test_pictures(aiortc):
    for number, size in enumerate((1, 10, 1000, 1300, 2600, 9999)):
        frame = vp8_frame(number, number % 2 == 0, size)
        assert aiortc("vp8", [payload.hex() for payload in vp8.packetize(frame, 1100, number)]) == frame.hex()
        cut = [bytes.fromhex(payload) for payload in aiortc("cut vp8", frame.hex(), number)]
        assert vp8.assemble(cut) == (frame, number % 2 == 0)
        frame = h264_frame(number, number % 2 == 0, size)
        payloads = h264.packetize(h264.split(frame), 1100, 1)
        assert aiortc("h264", [payload.hex() for payload in payloads]) == frame.hex()
        cut = [bytes.fromhex(payload) for payload in aiortc("cut h264", frame.hex())]
        assert h264.assemble(cut) == (frame, number % 2 == 0)
