"""A source as it comes in: order, losses, reports, and the level of sound."""

from __future__ import annotations

import pytest

from sansio.base.contract import INF, NOW
from sansio.base.limits import RTP_MISSING
from sansio.rtp.packet import RtpPacket, build_rtp
from sansio.sfu.upstream import (
    KEYFRAME_SPACING,
    LIVE,
    NACK_TRIES,
    LevelMeter,
    UpStream,
)


def packet(sequence, timestamp=0):
    return RtpPacket(build_rtp(96, sequence & 0xFFFF, timestamp, 7, b"", b"abc"))


def stream(nack=True):
    made = UpStream(None, 7, 0, "")
    made.nack = nack
    return made


def test_packets_in_order_and_again():
    found = stream()
    assert not found.started
    assert not found.live(0.0)
    assert [found.receive(packet(number), 0.0) for number in (65534, 65535, 0, 0, 65535)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert found.started
    assert found.live(0.5)
    assert not found.live(LIVE)
    assert found.nack_due == INF


def test_a_gap_is_asked_for_until_it_is_filled_or_given_up():
    found = stream()
    found.receive(packet(10), 0.0)
    found.receive(packet(13), 0.0)
    assert found.nack_due == NOW
    assert found.take_nacks(0.1, 0.0) == [11, 12]
    assert found.nack_due == pytest.approx(0.1)
    assert found.receive(packet(12), 0.05)
    assert not found.receive(packet(12), 0.05)
    now, asked = 0.0, 0
    while found.nack_due < INF:
        now = found.nack_due
        asked += len(found.take_nacks(0.1, now))
    assert asked == NACK_TRIES - 1
    assert not found.receive(packet(11), now)  # too late: nobody waits for it any more


def test_each_gap_has_its_own_time():
    found = stream()
    found.receive(packet(10), 0.0)
    found.receive(packet(12), 0.0)
    assert found.take_nacks(0.1, 0.0) == [11]
    found.receive(packet(14), 0.05)
    assert found.take_nacks(0.1, 0.05) == [13]
    assert found.nack_due == pytest.approx(0.1)


def test_without_feedback_nothing_is_asked_for():
    found = stream(nack=False)
    found.receive(packet(10), 0.0)
    found.receive(packet(13), 0.0)
    assert not found.missing
    assert not found.receive(packet(11), 0.0)


def test_too_many_losses_are_mended_by_a_key_frame():
    found = stream()
    found.receive(packet(0), 0.0)
    found.receive(packet(RTP_MISSING + 5), 1.0)
    assert not found.missing
    assert found.keyframe_due == 1.0


def test_requests_for_key_frames_are_joined():
    found = stream()
    found.ask_keyframe(5.0)
    assert found.keyframe_due == 5.0
    found.keyframe_due, found.keyframe_at = INF, 5.0
    found.ask_keyframe(5.1)
    found.ask_keyframe(5.2)
    assert found.keyframe_due == 5.0 + KEYFRAME_SPACING


def test_reports():
    found = stream(nack=False)
    for number in (0, 1, 2, 4, 5):
        found.receive(packet(number, number * 900), number * 0.01)
    block = found.make_report(1.0)
    assert (block.ssrc, block.lost, block.fraction_lost, block.highest) == (7, 1, 42, 5)
    assert (block.last_report, block.delay, block.jitter) == (0, 0, 0)
    assert found.loss == pytest.approx(42 / 256)
    found.handle_report(0x1234_5678_9ABC_DEF0, 0, 2.0)
    found.receive(packet(6, 9000), 2.0)
    block = found.make_report(2.5)
    assert (block.lost, block.fraction_lost) == (1, 0)
    assert (block.last_report, block.delay) == (0x56789ABC, 0x8000)
    assert block.jitter > 0
    assert found.make_report(3.0).fraction_lost == 0


def test_a_timestamp_that_wraps_is_no_jitter():
    found = stream()
    found.receive(packet(0, 0xFFFFFFFF), 0.0)
    found.receive(packet(1, 899), 0.01)
    assert found.make_report(1.0).jitter == 0


# ------------------------------------------------------------------ sound


def listen(meter, level, seconds, now=0.0):
    for number in range(int(seconds / 0.02)):
        now += 0.02
        meter.observe(level, int(now * 48000), 48000, now)
    return now


def test_speech_is_heard_and_silence_is_not():
    meter = LevelMeter()
    now = listen(meter, 10, 1.0)
    assert 0.1 < meter.read(now) <= 10 ** (-10 / 20) + 0.01
    now = listen(meter, 100, 1.0, now)
    assert meter.read(now) == 0.0


def test_a_click_is_no_speech():
    meter = LevelMeter()
    now = listen(meter, 100, 0.1)
    now = listen(meter, 0, 0.1, now)
    now = listen(meter, 100, 0.3, now)
    assert meter.read(now) == 0.0


def test_who_stops_sending_is_silent_after_a_while():
    meter = LevelMeter()
    now = listen(meter, 5, 1.0)
    assert meter.read(now + 0.5) > 0
    assert meter.read(now + 1.0) == 0.0


def test_a_jump_of_the_timestamp_counts_as_one_packet():
    meter = LevelMeter()
    meter.observe(10, 0, 48000, 0.0)
    meter.observe(10, 480000, 48000, 0.02)
    assert meter.read(0.02) == 0.0
