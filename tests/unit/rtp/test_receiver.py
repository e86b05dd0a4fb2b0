"""The base of receivers, by way of the audio one: numbers, statistics, requests, reordering, time lines."""

from __future__ import annotations

import itertools
from collections import deque

import pytest

from sansio.base.contract import INF
from sansio.base.limits import RTP_MISSING, RTP_REORDER_AUDIO
from sansio.rtp.audio import AudioReceiver
from sansio.rtp.packet import RtpPacket, build_rtp
from sansio.rtp.receiver import MAX_DROPOUT, NACK_LEAST, NACK_TRIES, REORDER, FrameReadable, RtpReceiver
from sansio.rtp.rtcp import Nack, ReportBlock
from tests.unit.rtp.wire import OPUS, OPUS_PLAIN, PCMU, RED, VP8, rtp

FORMATS = {each.payload_type: each for each in (OPUS, OPUS_PLAIN, RED, PCMU, VP8)}
NTP_2000 = (2208988800 + 946684800) << 32
"""The year 2000 as NTP time."""


class Bench:
    """A receiver with a clock that its packets move."""

    def __init__(self, make=AudioReceiver, **options):
        self.owed = []
        self.outbox = deque()
        self.receiver = make(FORMATS, {97: 96, 120: 111}, 1, self.owed.append, self.outbox, **options)
        self.receiver.ssrc = 7
        self.now = 100.0

    def feed(self, *sequences, kind=111, step=0.02, start=0, payload=None):
        """Packets of 20 ms whose timestamps follow from their numbers."""
        for sequence in sequences:
            body = b"%d" % sequence if payload is None else payload
            data = rtp(sequence, start + sequence * 960, body, kind=kind)
            self.receiver.receive(RtpPacket(data), self.now)
            self.now += step

    def read(self):
        frames = []
        while (frame := self.receiver.read()) is not None:
            frames.append(frame)
        return frames

    def got(self):
        return [(int(frame.data), frame.lost) for frame in self.read()]

    def advance(self, now=None):
        feedback = []
        self.now = self.now if now is None else now
        due = self.receiver.advance(self.now, feedback)
        assert due > self.now
        again = []
        assert self.receiver.advance(self.now, again) == due
        assert again == []
        return feedback, due


@pytest.fixture
def bench():
    return Bench()


def test_in_order(bench):
    bench.feed(1, 2, 3)
    assert bench.got() == [(1, 0), (2, 0), (3, 0)]
    assert bench.advance() == ([], INF)
    assert repr(bench.receiver) == "AudioReceiver(mid='', ssrc=7)"


def test_one_event_until_it_has_been_read(bench):
    bench.feed(1, 2)
    assert [event.receiver for event in bench.outbox] == [bench.receiver]
    assert isinstance(bench.outbox[0], FrameReadable)
    assert len(bench.receiver) == 2
    bench.receiver.read()
    bench.feed(3)
    assert len(bench.outbox) == 1
    assert len(bench.read()) == 2
    bench.feed(4)
    assert len(bench.outbox) == 2


def test_numbers_wrap(bench):
    bench.feed(*range(65530, 65545))
    assert [lost for _, lost in bench.got()] == [0] * 15
    assert bench.receiver.make_report(bench.now).highest == 0x20008


def test_reordering_within_a_burst_asks_for_nothing(bench):
    bench.feed(1, 3, 4, 2, 5)
    assert bench.got() == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]
    assert bench.advance() == ([], INF)


def test_packets_before_the_first_are_late(bench):
    bench.feed(5, 4, 6)
    assert bench.got() == [(5, 0), (6, 0)]
    assert bench.receiver.stats().late == 1


def test_the_first_packet_around_zero(bench):
    bench.feed(0, 65535, 1)
    assert bench.got() == [(0, 0), (1, 0)]


def test_duplicates(bench):
    bench.feed(1, 1, 2, 4, 4, 6, 4, 1, 3, 5, 3)
    assert bench.got() == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]
    assert bench.receiver.stats().duplicates == 3
    assert bench.receiver.stats().late == 2
    assert bench.receiver.stats().lost == 0


def test_requests_are_spaced_and_end(bench):
    receiver = bench.receiver
    receiver.rtt = 0.0001
    bench.feed(1, 2, 5)
    feedback, due = bench.advance()
    assert feedback == [Nack(1, 7, (3, 4))]
    assert due == pytest.approx(bench.now + NACK_LEAST)
    receiver.rtt = 0.13  # patience is at its most: half a second
    asked = []
    times = []
    while due < INF:
        feedback, due = bench.advance(bench.receiver.advance(bench.now, []))
        if feedback:
            asked += feedback
            times.append(bench.now)
    assert all(nack == Nack(1, 7, (3, 4)) for nack in asked)
    assert 2 <= len(asked) <= NACK_TRIES
    assert all(later - earlier >= NACK_LEAST for earlier, later in itertools.pairwise(times))
    assert bench.got() == [(1, 0), (2, 0), (5, 2)]
    assert receiver.counters["given_up"] == 2


def test_a_packet_is_not_asked_for_for_ever():
    class Patient(AudioReceiver):
        def _patience(self):
            return 1000.0

    bench = Bench(Patient)
    bench.receiver.rtt = 0.01
    bench.feed(1, 3)
    asked = 0
    for _ in range(NACK_TRIES):
        feedback, due = bench.advance()
        asked += len(feedback)
        bench.now = due
    assert asked == NACK_TRIES
    assert due > 1000.0


def test_a_late_packet_fills_its_gap(bench):
    bench.feed(1, 4)
    bench.advance()
    bench.feed(3)
    assert bench.got() == [(1, 0)]
    bench.feed(2)
    assert bench.got() == [(2, 0), (3, 0), (4, 0)]
    assert bench.advance() == ([], INF)


def test_without_negotiated_requests_only_reordering_is_waited_for(bench):
    bench.feed(1, 2, 4, kind=112)
    began = bench.now - 0.02
    assert bench.advance() == ([], began + REORDER)
    assert bench.advance(began + REORDER) == ([], INF)
    assert bench.got() == [(1, 0), (2, 0), (4, 1)]


def test_two_gaps_end_one_by_one(bench):
    bench.feed(1, 3, 5, kind=112)
    _, first = bench.advance()
    assert first == pytest.approx(bench.now - 0.04 + REORDER)
    _, due = bench.advance(first)
    assert bench.got() == [(1, 0), (3, 1)]
    assert due == pytest.approx(first + 0.02)
    bench.advance(due)
    assert bench.got() == [(5, 1)]


def test_a_gap_that_is_too_long_is_not_waited_for(bench):
    bench.feed(1, 3, RTP_MISSING + 4)
    assert bench.got() == [(1, 0), (3, 1), (RTP_MISSING + 4, RTP_MISSING)]
    assert bench.receiver.counters["gap_too_long"] == 1
    assert bench.receiver._missing == {}
    bench.feed(2 * RTP_MISSING + 5)
    assert len(bench.receiver._missing) == RTP_MISSING
    assert bench.got() == []


def test_packets_behind_a_gap_are_bounded(bench):
    bench.feed(1, *range(3, 3 + RTP_REORDER_AUDIO), step=0)
    assert len(bench.receiver._buffer) == RTP_REORDER_AUDIO
    assert bench.got() == [(1, 0)]
    bench.feed(3 + RTP_REORDER_AUDIO)
    assert bench.receiver._buffer == {}
    assert bench.receiver.counters["reorder_full"] == 1
    assert len(bench.read()) == bench.receiver.capacity


def test_a_jump_counts_when_it_is_followed(bench):
    bench.feed(1, 2)
    bench.feed(2 + MAX_DROPOUT + 1)
    assert bench.receiver.counters["jump"] == 1
    bench.feed(3)
    assert bench.got() == [(1, 0), (2, 0), (3, 0)]
    bench.feed(40_000, 40_001)
    assert bench.receiver.counters["restart"] == 1
    assert bench.got() == [(40_001, 1)]
    bench.feed(40_002, 30_000, 30_001)
    assert bench.got() == [(40_002, 0), (30_001, 1)]
    assert bench.receiver.stats().lost == 0
    assert bench.receiver.make_report(bench.now).lost == 0
    assert bench.receiver.stats().packets == 6


def test_a_restart_flushes_what_waits_and_goes_on_in_time(bench):
    bench.feed(1, 2, 4)
    bench.receiver.handle_report(NTP_2000, 0, bench.now)
    bench.feed(50_000, 50_001, start=123_456)
    frames = bench.read()
    assert [(int(frame.data), frame.lost) for frame in frames] == [(1, 0), (2, 0), (4, 1), (50_001, 1)]
    before, after = frames[-2:]
    assert after.time - before.time == pytest.approx(after.arrival - before.arrival)
    assert after.timestamp - before.timestamp == round((after.arrival - before.arrival) * 48000)
    assert after.ntp_time is None
    bench.feed(50_002, start=123_456)
    (frame,) = bench.read()
    assert frame.timestamp - after.timestamp == 960


def test_time_and_ntp_time(bench):
    bench.feed(1, start=-960 * 10)  # timestamps just below the wrap
    (frame,) = bench.read()
    assert (frame.timestamp, frame.time, frame.ntp_time) == (2**32 - 960 * 9, 0.0, None)
    bench.receiver.handle_report(NTP_2000, 960 * 3, bench.now)  # tells of a moment 12 frames on
    bench.feed(*range(2, 16), start=-960 * 10)
    frames = bench.read()
    assert [round(frame.time, 9) for frame in frames] == [round(0.02 * n, 9) for n in range(1, 15)]
    assert frames[-1].timestamp == 2**32 + 960 * 5
    assert frames[-1].ntp_time == pytest.approx(946684800 + 0.04, abs=1e-5)
    assert frames[0].ntp_time == pytest.approx(946684800 - 11 * 0.02, abs=1e-5)
    assert frames[0].arrival == 100.02


def test_a_report_of_an_earlier_moment_before_the_first_frame(bench):
    bench.receiver.handle_report(NTP_2000, (-960 * 10) & 0xFFFFFFFF, bench.now)
    bench.feed(0)
    (frame,) = bench.read()
    assert frame.ntp_time == pytest.approx(946684800 + 0.2, abs=1e-5)


def test_padding_alone_takes_a_number_and_no_place(bench):
    bench.feed(1)
    bench.receiver.receive(RtpPacket(b"\xa0" + rtp(2, 960, b"")[1:] + bytes(254) + b"\xff"), bench.now)
    bench.feed(3)
    assert bench.got() == [(1, 0), (3, 0)]


def test_the_payload_type_changes(bench):
    bench.feed(1, kind=111)
    bench.feed(2, kind=112)
    assert [frame.payload_type for frame in bench.read()] == [111, 112]
    bench.feed(3, kind=96)  # video is not for an audio stream
    bench.feed(4, kind=99)
    assert bench.receiver.counters["unknown_payload_type"] == 2
    assert bench.got() == []
    assert bench.receiver.format == OPUS_PLAIN


def test_another_clock_rate_goes_on_in_time(bench):
    bench.feed(1, 2)
    before = bench.read()[-1]
    bench.receiver.receive(RtpPacket(rtp(3, 5_000_000, b"x" * 160, kind=0)), bench.now)
    bench.receiver.receive(RtpPacket(rtp(4, 5_000_160, b"x" * 160, kind=0)), bench.now + 0.02)
    first, second = bench.read()
    assert first.time == pytest.approx(before.time + 0.02)
    assert second.time == pytest.approx(before.time + 0.04)
    assert second.timestamp - first.timestamp == 160


# ------------------------------------------------------------------ RTX


def rtx(sequence, original, timestamp, payload, kind=120):
    data = original.to_bytes(2, "big") + payload if payload is not None else b""
    return RtpPacket(build_rtp(kind, sequence, timestamp, 8, b"", data))


def test_rtx_brings_packets_back(bench):
    bench.feed(1, 2, 6, 7)
    bench.receiver.receive_rtx(rtx(900, 4, 4 * 960, b"4"), bench.now)
    assert bench.got() == [(1, 0), (2, 0)]
    bench.receiver.receive_rtx(rtx(901, 3, 3 * 960, b"3"), bench.now)
    bench.receiver.receive_rtx(rtx(902, 5, 5 * 960, b"5"), bench.now)
    frames = bench.read()
    assert [(int(frame.data), frame.lost) for frame in frames] == [(3, 0), (4, 0), (5, 0), (6, 0), (7, 0)]
    assert [frame.timestamp for frame in frames] == [960 * n for n in range(3, 8)]
    assert frames[0].payload_type == 111
    stats = bench.receiver.stats()
    assert (stats.repaired, stats.lost) == (3, 3)  # lost on the stream itself


def test_rtx_that_does_not_help(bench):
    bench.receiver.receive_rtx(rtx(1, 1, 0, b"x"), bench.now)  # before anything else
    bench.feed(1, 2, 4)
    for packet in (
        rtx(2, 1, 0, b"x"),
        rtx(3, 2, 0, b"x"),
        rtx(4, 4, 0, b"x"),
        rtx(5, 5, 0, b"x"),
        rtx(6, 30000, 0, b""),
    ):
        bench.receiver.receive_rtx(packet, bench.now)
    assert bench.receiver.counters["rtx_unneeded"] == 6
    bench.receiver.receive_rtx(rtx(7, 0, 0, None), bench.now)
    assert bench.receiver.counters["rtx_probe"] == 1
    bench.receiver.receive_rtx(rtx(8, 3, 0, b"x", kind=121), bench.now)
    assert bench.receiver.counters["unknown_payload_type"] == 1
    assert bench.got() == [(1, 0), (2, 0)]


# ------------------------------------------------------------------ reports


def test_the_first_report(bench):
    bench.feed(*range(100, 110))
    block = bench.receiver.make_report(bench.now)
    assert block == ReportBlock(7, 0, 0, 0x10000 + 109, 0, 0, 0)
    assert bench.receiver.bitrate == pytest.approx(10 * 3 * 8 / 0.2)


def test_losses_since_the_last_report(bench):
    bench.feed(*range(0, 10))
    bench.receiver.make_report(bench.now)
    bench.feed(*range(15, 20))
    block = bench.receiver.make_report(bench.now)
    assert (block.fraction_lost, block.lost) == (128, 5)
    bench.feed(20, 10, 11)
    block = bench.receiver.make_report(bench.now)
    assert (block.fraction_lost, block.lost) == (0, 3)
    block = bench.receiver.make_report(bench.now)
    assert (block.fraction_lost, block.lost) == (0, 3)
    assert bench.receiver.stats().lost == 3


def test_almost_everything_lost(bench):
    bench.feed(0)
    bench.receiver.make_report(bench.now)
    bench.feed(2999)
    assert bench.receiver.make_report(bench.now).fraction_lost == 255


def test_duplicates_may_outnumber_losses(bench):
    bench.feed(1, 2, 3, 1, 2)
    assert bench.receiver.make_report(bench.now).lost == -2
    assert bench.receiver.stats().lost == 0


def test_the_last_sender_report_is_answered(bench):
    bench.feed(1)
    bench.receiver.handle_report(0x1234_5678_9ABC_DEF0, 0, bench.now)
    block = bench.receiver.make_report(bench.now + 0.5)
    assert (block.last_report, block.delay) == (0x56789ABC, 0x8000)


def test_jitter():
    bench = Bench()
    bench.feed(*range(50), step=0.02)
    assert bench.receiver.stats().jitter < 1e-9
    for sequence in range(50, 150):  # alternately 5 ms early and late
        bench.now = 101.0 + (sequence - 50) * 0.02 + (0.005 if sequence % 2 else -0.005)
        bench.feed(sequence, step=0)
    assert bench.receiver.stats().jitter == pytest.approx(0.01, rel=0.02)
    assert bench.receiver.make_report(bench.now).jitter == pytest.approx(480, rel=0.02)
    jitter = bench.receiver.stats().jitter
    bench.feed(149)  # a duplicate does not count
    assert bench.receiver.stats().jitter == jitter


def test_jitter_over_a_timestamp_that_goes_back(bench):
    bench.receiver.receive(RtpPacket(rtp(1, 10_000)), 1.0)
    bench.receiver.receive(RtpPacket(rtp(2, 10_000 - 480)), 1.0)
    bench.receiver.receive(RtpPacket(rtp(3, 10_000 - 960)), 1.0)
    assert bench.receiver.stats().jitter == pytest.approx(0.01 / 16)


# ------------------------------------------------------------------ nobody reads


def test_a_stream_without_reader_keeps_nothing(bench):
    bench.receiver.set_enabled(False)
    bench.feed(1, 2, 100, 99, 2900)
    assert len(bench.receiver) == 0
    assert bench.outbox == deque()
    assert bench.advance() == ([], INF)
    assert bench.receiver.make_report(bench.now).lost <= 0
    assert bench.receiver._missing == {}
    assert bench.receiver._buffer == {}
    bench.receiver.set_enabled(True)
    bench.feed(2901, 2902)
    assert bench.got() == [(2901, 0), (2902, 0)]


def test_disabling_forgets_what_waits(bench):
    bench.feed(1, 2, 5)
    bench.receiver.set_enabled(False)
    bench.receiver.set_enabled(False)
    assert bench.receiver.read() is None
    assert bench.advance() == ([], INF)
    bench.feed(6)
    bench.receiver.set_enabled(True)
    bench.feed(7, 9)
    assert bench.got() == [(7, 0)]
    assert bench.advance()[0] == [Nack(1, 7, (8,))]


def test_the_end(bench):
    bench.feed(1)
    assert bench.got() == [(1, 0)]
    bench.receiver.end("removed")
    bench.receiver.end("again")
    assert bench.receiver.ended == "removed"
    assert len(bench.outbox) == 2  # the frame, and the end
    assert bench.receiver.read() is None


def test_the_end_while_a_frame_waits(bench):
    bench.feed(1)
    bench.receiver.end("removed")
    assert len(bench.outbox) == 1
    assert bench.got() == [(1, 0)]


def test_stats_before_anything(bench):
    stats = bench.receiver.stats()
    assert (stats.packets, stats.lost, stats.frames, stats.rtt) == (0, 0, 0, None)
    assert not bench.receiver.started


def test_the_base_makes_no_frames():
    bench = Bench(RtpReceiver, capacity=1, most_buffered=1)
    for call in (bench.receiver._lose, bench.receiver._patience):
        with pytest.raises(NotImplementedError):
            call()
    with pytest.raises(NotImplementedError):
        bench.feed(1)
    bench.receiver._salvage(1, RtpPacket(rtp(1, 1)))
    bench.receiver._reset()
