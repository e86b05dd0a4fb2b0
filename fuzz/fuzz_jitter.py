"""Receivers in a session: packets in any order, with gaps, jumps, RTX, RED, reports; the contract and the bounds."""

from __future__ import annotations

import math

from fuzz._turn import settle, waiting
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.limits import (
    RTP_FRAMES_AUDIO,
    RTP_FRAMES_VIDEO,
    RTP_MISSING,
    RTP_REORDER_AUDIO,
    RTP_REORDER_VIDEO,
    RTP_UNSIGNALLED_SSRCS,
)
from sansio.base.wallclock import WallClock
from sansio.rtp.format import ExtensionIds, Format
from sansio.rtp.packet import build_rtp, element
from sansio.rtp.payload.red import encode_red
from sansio.rtp.rtcp import Goodbye, SenderReport, encode_rtcp
from sansio.rtp.session import RtpSession

FORMATS = (
    Format(111, "opus", 48000, nack=True, rtx=112),
    Format(63, "red", 48000, primary=111),
    Format(0, "pcmu", 8000),
    Format(96, "vp8", 90000, rtx=97, nack=True, pli=True),
    Format(108, "h264", 90000, fir=True),
)
VIDEO_PAYLOADS = (b"\x10\x00key", b"\x10\x01delta", b"\x00more", b"", b"\x90\x80", b"\x67sps", b"\x65idr", b"\x7c\x85x")


class World:
    """A session with an audio and a video stream, and the time."""

    def __init__(self) -> None:
        self.session = RtpSession(
            Entropy(b"jitter"), WallClock(1.8e9), cname="fuzz", extensions=ExtensionIds(mid=4, transport_cc=3)
        )
        self.session.set_formats(FORMATS)
        self.audio = self.session.add_receiver("audio", 0.0, ssrc=1, rtx_ssrc=3)
        self.video = self.session.add_receiver("video", 0.0, ssrc=2, rtx_ssrc=4)
        self.now = 0.0
        self.numbers = {1: 65500, 2: 100}
        self.broken = True
        self.transport = 0

    def packet(self, ssrc: int, sequence: int, kind: int, payload: bytes, marker: bool) -> None:
        self.transport += 1
        block = element(3, (self.transport & 0xFFFF).to_bytes(2, "big")) if self.transport % 3 == 0 else b""
        second = kind | 0x80 if marker else kind
        stamp = (sequence * 960 if ssrc in (1, 3) else sequence // 2 * 3600) & 0xFFFFFFFF
        self.session.receive_rtp(build_rtp(second, sequence & 0xFFFF, stamp, ssrc, block, payload), self.now)

    def check(self) -> None:
        """What holds after every step."""
        session = self.session
        due = settle(session, self.now)
        if due < INF:
            sizes = waiting(session)
            assert session.advance(min((self.now + due) / 2, math.nextafter(due, 0.0))) == due
            assert waiting(session) == sizes
        assert all(len(data) <= 1200 for data in session.rtcp)
        session.rtcp.clear()
        session.outbox.clear()
        assert len(self.audio) <= RTP_FRAMES_AUDIO
        assert len(self.video) <= RTP_FRAMES_VIDEO
        assert len(self.audio._buffer) <= RTP_REORDER_AUDIO
        assert len(self.video._buffer) <= RTP_REORDER_VIDEO
        assert len(session._early) <= RTP_UNSIGNALLED_SSRCS
        for receiver in (self.audio, self.video):
            missing = receiver._missing
            assert len(missing) <= RTP_MISSING
            if missing:
                assert receiver._next in missing
                assert not missing.keys() & receiver._buffer.keys()
                assert len(missing) + len(receiver._buffer) == receiver._highest + 1 - receiver._next
            else:
                assert not receiver._buffer
        assert (due < INF) or not (self.audio._missing or self.video._missing)

    def read(self) -> None:
        last = -1.0
        while (frame := self.audio.read()) is not None:
            assert frame.data
            assert frame.lost >= 0
            last = max(last, frame.arrival)
        assert last <= self.now
        while (frame := self.video.read()) is not None:
            # Only a key frame may follow what is missing.
            assert frame.keyframe or not (frame.lost or self.broken)
            self.broken = False


def one(data: bytes) -> None:
    """Two bytes an operation: what, and how."""
    world = World()
    for place in range(0, min(len(data), 600) - 1, 2):
        what, how = data[place] & 15, data[place + 1]
        ssrc = 1 if data[place] & 16 else 2
        if what < 8:  # the next packet, or one a little before or ahead
            step = (1, 1, 1, 1, 2, 5, -3, 0)[what]
            number = world.numbers[ssrc] + step
            world.numbers[ssrc] = max(world.numbers[ssrc], number)
            media(world, ssrc, number, how)
        elif what == 8:  # far away
            world.numbers[ssrc] += how * 130
            media(world, ssrc, world.numbers[ssrc], how)
        elif what == 9:
            number = world.numbers[ssrc] - (how & 31)
            original = (number & 0xFFFF).to_bytes(2, "big") + (b"again" if ssrc == 1 else b"\x10\0again")
            kind = 112 if ssrc == 1 else 97
            world.packet(ssrc + 2, number, kind, original if how < 240 else original[: how & 3], bool(how & 32))
        elif what == 10:
            stamp = (world.numbers[ssrc] - how) * 960 & 0xFFFFFFFF
            report = SenderReport(ssrc, (how << 40) + (3 << 60), stamp, 0, 0)
            world.session.receive_rtcp(encode_rtcp([report, Goodbye((ssrc,))][: 1 + how % 2]), world.now)
        elif what == 11:
            world.now += how * 0.004
        elif what == 12:
            world.read()
        elif what == 13:
            receiver = (world.audio, world.video)[how & 1]
            world.broken |= receiver is world.video and receiver.enabled != bool(how & 2)
            world.session.set_enabled(receiver, bool(how & 2), world.now)
        elif what == 14:
            world.packet(100 + (how & 63), how, 111, b"early", False)
        else:
            world.session.set_rtt(how * 0.002)
            (world.audio, world.video)[how & 1].capacity = 1 + (how & 31)
        world.now += 0.001
        world.check()
    world.read()
    end = world.now + 1.5
    due = world.session.advance(world.now)
    while due < end:
        due = world.session.advance(due)
    assert not world.audio._missing  # nothing is waited for for ever
    assert not world.video._missing


def media(world: World, ssrc: int, number: int, how: int) -> None:
    if ssrc == 1:
        kind = (111, 111, 63, 63, 0, 111, 63, 96)[how & 7]
        payload = bytes((how,)) * (how >> 4)
        if kind == 63 and how < 200:
            payload = encode_red(111, payload or b"x", [(960 * age, b"copy") for age in range(how & 16 and 2, 0, -1)])
    else:
        kind = 108 if how & 0x80 else 96
        payload = VIDEO_PAYLOADS[how & 7]
    world.packet(ssrc, number, kind, payload, bool(how & 8))
