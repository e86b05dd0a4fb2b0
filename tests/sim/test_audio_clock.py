"""A day of sound: the timestamps are still those of the samples, at both ends."""

from __future__ import annotations

from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.rtp.clock import MediaClock
from sansio.rtp.format import Format
from sansio.rtp.session import RtpSession

DAY = 24 * 3600
OPUS = Format(111, "opus", 48000)


def test_a_day_of_frames_that_are_written_late_or_early():
    """The writer keeps to a clock of its own, which wakes it up late by up to 15 ms; the RTP clock counts samples."""
    clock = MediaClock(48000)
    for number in range(DAY * 1000 // 60):
        now = 0.06 * number + (number * 7919 % 16) / 1000
        timestamp, begins = clock.count(2880, now)
        if timestamp != 2880 * number or begins != (number == 0):
            raise AssertionError(f"frame {number}: {timestamp}, {begins}")
    # What sender reports say of the moment: the sample that is due then.
    assert abs(clock.at(DAY) - DAY * 48000) < 0.02 * 48000


def test_a_day_through_the_wire():
    """Sender and receiver, a frame every ten seconds: RTP timestamps wrap around on the way."""
    wall = WallClock(1_700_000_000.0)
    near, far = (RtpSession(Entropy(name), wall, cname="x") for name in (b"near", b"far"))
    far.set_formats([OPUS])
    sender = near.add_sender(OPUS)
    receiver = far.add_receiver("audio", 0.0, ssrc=sender.ssrc)
    wrapped = 0
    before = -1
    for number in range(DAY // 10):
        now = 10.0 * number
        sender.write(b"\xf8\xff\xfe", now, timestamp=480_000 * number)
        near.advance(now)
        while near.rtp:
            data = near.rtp.popleft()
            stamp = int.from_bytes(data[4:8], "big")
            wrapped += stamp < before
            before = stamp
            far.receive_rtp(data, now + 0.05)
        while near.rtcp:
            far.receive_rtcp(near.rtcp.popleft(), now + 0.05)
        frame = receiver.read()
        assert frame is not None
        assert frame.time == now
        if frame.ntp_time is not None:
            assert abs(frame.ntp_time - (1_700_000_000.0 + now)) < 0.001
        far.rtcp.clear()
        far.outbox.clear()
        near.outbox.clear()
    assert frame.ntp_time is not None
    assert wrapped == 1
