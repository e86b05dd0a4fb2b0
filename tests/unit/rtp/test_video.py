"""Video: pictures from packets, key frames after losses, the ring that is emptied up to a key frame."""

from __future__ import annotations

import pytest

from sansio.base import limits
from sansio.base.contract import INF
from sansio.rtp import video
from sansio.rtp.packet import RtpPacket
from sansio.rtp.payload import h264, vp8
from sansio.rtp.receiver import REORDER
from sansio.rtp.rtcp import FullIntra, Nack, PictureLoss
from sansio.rtp.video import KEYFRAME_SPACING, VideoReceiver
from tests.unit.rtp import test_receiver
from tests.unit.rtp.wire import H264, VP8_PLAIN, Format, h264_frame, rtp, vp8_frame

SILENT = Format(103, "vp8", 90000)
PICTURES = Format(104, "vp8", 90000, pli=True)
test_receiver.FORMATS.update({each.payload_type: each for each in (H264, VP8_PLAIN, SILENT, PICTURES)})
PLI = PictureLoss(1, 7)


class Bench(test_receiver.Bench):
    def __init__(self, kind=96):
        super().__init__(VideoReceiver)
        self.kind = kind
        self.sequence = 100

    def pictures(self, *numbers, lose=(), marker=True, size=2500, kind=None):
        """Pictures of three packets; a negative number is a key frame. ``lose``: indices of packets over all."""
        kind = self.kind if kind is None else kind
        place = 0
        for signed in numbers:
            keyframe, number = signed < 0, abs(signed)
            if kind == 108:
                payloads = h264.packetize(h264.split(h264_frame(number, keyframe, size)), 1000, 1)
            else:
                payloads = vp8.packetize(vp8_frame(number, keyframe, size), 1000, number)
            for index, payload in enumerate(payloads):
                last = index == len(payloads) - 1
                if place not in lose:
                    self.packet(payload, number, last and marker, kind=kind)
                self.sequence += 1
                place += 1
            self.now += 0.04

    def packet(self, payload, number, marker, kind=96, sequence=None):
        data = rtp(self.sequence if sequence is None else sequence, number * 3600, payload, kind=kind, marker=marker)
        self.receiver.receive(RtpPacket(data), self.now)

    def got(self):
        return [(-1 if frame.keyframe else 1) * int.from_bytes(frame.data[1:5], "big") or 0 for frame in self.read()]


@pytest.fixture
def bench():
    return Bench()


def test_pictures(bench):
    bench.pictures(-1, 2, 3)
    frames = bench.read()
    assert [frame.data for frame in frames] == [vp8_frame(1, True), vp8_frame(2), vp8_frame(3)]
    assert [frame.keyframe for frame in frames] == [True, False, False]
    assert [frame.timestamp for frame in frames] == [3600, 7200, 10800]
    assert [frame.lost for frame in frames] == [0, 0, 0]
    assert bench.advance() == ([], INF)
    assert bench.receiver.stats().keyframes == 1


def test_pictures_without_markers(bench):
    bench.pictures(-1, 2, 3, marker=False)
    assert bench.got() == [-1, 2]
    bench.pictures(4)
    assert bench.got() == [3, 4]


def test_h264():
    bench = Bench(108)
    bench.pictures(-1, 2, 3)
    assert [frame.data for frame in bench.read()] == [h264_frame(1, True), h264_frame(2), h264_frame(3)]
    bench.pictures(4, 5, -6, 7, lose=(1,))
    bench.advance(bench.now + 1)
    frames = bench.read()
    assert [frame.data for frame in frames] == [h264_frame(6, True), h264_frame(7)]
    assert [frame.lost for frame in frames] == [2, 0]


def test_a_stream_that_begins_without_a_key_frame(bench):
    bench.pictures(1, 2)
    assert bench.got() == []
    assert bench.advance() == ([PLI], INF)
    bench.pictures(-3, 4)
    frames = bench.read()
    assert [frame.lost for frame in frames] == [2, 0]
    assert bench.receiver.stats().frames_dropped == 2
    assert bench.receiver.stats().keyframe_requests == 1


def test_a_stream_that_begins_in_the_middle_of_a_key_frame(bench):
    bench.pictures(-1, 2, -3, lose=(0,))
    frames = bench.read()
    assert [frame.data for frame in frames] == [vp8_frame(3, True)]
    assert frames[0].lost == 2


def test_requests_are_limited(bench):
    bench.pictures(1)
    feedback, due = bench.advance(10.0)
    assert (feedback, due) == ([PLI], INF)
    bench.pictures(2)
    assert bench.advance(10.1) == ([], 10.0 + KEYFRAME_SPACING)
    bench.pictures(3)
    assert bench.advance(10.2) == ([], 10.0 + KEYFRAME_SPACING)
    assert bench.advance(10.0 + KEYFRAME_SPACING)[0] == [PLI]
    bench.receiver.rtt = 1.0
    bench.receiver.request_keyframe()
    assert bench.advance(11.0)[0] == [PLI]
    bench.receiver.request_keyframe()
    assert bench.advance(11.5) == ([], 13.0)
    bench.pictures(-4)  # has come meanwhile
    assert bench.advance(11.6) == ([], INF)


def test_fir_where_pli_was_not_negotiated():
    bench = Bench(100)
    bench.pictures(1, kind=100)
    assert bench.advance()[0] == [FullIntra(1, ((7, 1),))]
    bench.pictures(2, kind=100)
    assert bench.advance(bench.now + 1)[0] == [FullIntra(1, ((7, 2),))]


def test_no_request_where_none_was_negotiated():
    bench = Bench(103)
    bench.pictures(1, kind=103)
    assert bench.advance() == ([], INF)
    assert bench.receiver.keyframe_requests == 0


def test_a_loss_is_repaired(bench):
    bench.pictures(-1, 2, 3, lose=(4,))
    assert bench.got() == [-1]
    assert bench.advance()[0] == [Nack(1, 7, (104,))]
    payload = vp8.packetize(vp8_frame(2), 1000, 2)[1]
    bench.packet(payload, 2, False, sequence=104)
    assert bench.got() == [2, 3]


def test_a_loss_that_stays_costs_everything_up_to_a_key_frame(bench):
    bench.pictures(-1, 2, 3, lose=(4,))
    assert bench.advance(bench.now + 1.0)[0] == [PLI]
    bench.pictures(4, -5, 6)
    frames = bench.read()
    assert [frame.lost for frame in frames] == [0, 3, 0]
    assert [frame.data[4] for frame in frames] == [1, 5, 6]


@pytest.mark.parametrize(
    ("numbers", "lose", "expected"),
    [
        ((-1, 2, -3, 4), {3}, [(1, 0), (3, 1), (4, 0)]),  # the first packet of picture 2
        ((-1, 2, -3, 4), {4}, [(1, 0), (3, 1), (4, 0)]),
        ((-1, 2, -3, 4), {5}, [(1, 0), (3, 1), (4, 0)]),  # its last
        ((-1, 2, -3, 4), {3, 4, 5}, [(1, 0), (3, 1), (4, 0)]),  # all of it
        ((-1, 2, -3, -4), {5, 6}, [(1, 0), (4, 2)]),  # its last and the first of the next
        ((-1, -2, -3, 4), {2, 3}, [(3, 2), (4, 0)]),
    ],
)
def test_what_is_lost_around_pictures(numbers, lose, expected):
    bench = Bench(104)
    bench.pictures(*numbers, lose=lose)
    bench.advance(bench.now + REORDER + 0.2)
    frames = bench.read()
    assert [(frame.data[4], frame.lost) for frame in frames] == expected
    assert [frame.data for frame in frames] == [vp8_frame(each, -each in numbers) for each, _ in expected]


def test_padding_between_a_loss_and_a_picture_proves_nothing():
    bench = Bench(104)
    bench.pictures(-1)
    bench.sequence += 1  # lost
    bench.packet(b"", 1, False, kind=104)
    bench.sequence += 1
    payloads = vp8.packetize(vp8_frame(3, True), 1000, 3)
    for payload in payloads[1:]:  # the lost one was its beginning
        bench.packet(payload, 3, payload is payloads[-1], kind=104)
        bench.sequence += 1
    bench.advance(bench.now + 1)
    assert bench.got() == [-1]
    bench.pictures(-4)
    assert bench.got() == [-4]


def test_bad_payloads_drop_the_picture(bench):
    bench.pictures(-1)
    bench.packet(b"\x90", 2, True)
    bench.sequence += 1
    bench.pictures(3, -4)
    frames = bench.read()
    assert [frame.lost for frame in frames] == [0, 2]
    assert bench.receiver.counters["bad_payload"] == 1


def test_an_unknown_payload_type_between_pictures(bench):
    bench.pictures(-1)
    bench.packet(b"x", 2, True, kind=111)
    bench.sequence += 1
    bench.packet(b"x", 3, False, kind=77)
    bench.sequence += 1
    assert bench.receiver.counters["unknown_payload_type"] == 2
    bench.pictures(4)
    assert bench.got() == [-1, 4]


def test_the_codec_changes(bench):
    bench.pictures(-1, 2)
    bench.pictures(-3, 4, kind=108)
    bench.pictures(-5, 6, kind=96)
    frames = bench.read()
    assert [frame.payload_type for frame in frames] == [96, 96, 108, 108, 96, 96]
    assert frames[2].data == h264_frame(3, True)


@pytest.mark.parametrize(("name", "value"), [("RTP_FRAME_PACKETS", 3), ("RTP_FRAME_BYTES", 2600)])
def test_pictures_are_bounded(bench, monkeypatch, name, value):
    assert getattr(limits, name) > 1000
    monkeypatch.setattr(video, name, value)
    bench.pictures(-1)
    bench.pictures(2, size=3500)
    assert bench.receiver.counters["frame_too_long"] == 1
    assert bench.receiver._parts is None
    bench.pictures(3, -4)
    frames = bench.read()
    assert [frame.data[4] for frame in frames] == [1, 4]
    assert frames[1].lost == 2


# ------------------------------------------------------------------ the ring


def test_a_full_ring_is_emptied_up_to_the_newest_key_frame(bench):
    bench.receiver.capacity = 5
    bench.pictures(-1, 2, -3, 4, 5)
    bench.pictures(6)
    frames = bench.read()
    assert [frame.data[4] for frame in frames] == [3, 4, 5, 6]
    assert [frame.lost for frame in frames] == [2, 0, 0, 0]
    assert bench.advance() == ([], INF)


def test_a_full_ring_without_another_key_frame_is_emptied(bench):
    bench.receiver.capacity = 3
    bench.pictures(-1, 2, 3, 4, 5)
    assert len(bench.receiver) == 0
    assert bench.advance()[0] == [PLI]
    bench.pictures(-6, 7)
    frames = bench.read()
    assert [frame.data[4] for frame in frames] == [6, 7]
    assert [frame.lost for frame in frames] == [5, 0]
    assert bench.receiver.stats().frames_dropped == 5


def test_a_key_frame_finds_a_full_ring(bench):
    bench.receiver.capacity = 3
    bench.pictures(-1, 2, 3, -4)
    frames = bench.read()
    assert [frame.data[4] for frame in frames] == [4]
    assert frames[0].lost == 3


def test_the_ring_is_bounded(bench):
    bench.pictures(-1, *range(2, 2 * limits.RTP_FRAMES_VIDEO), size=10)
    assert len(bench.receiver) <= limits.RTP_FRAMES_VIDEO
    bench.pictures(*[-1] * 2 * limits.RTP_FRAMES_VIDEO, size=10)
    assert len(bench.receiver) <= limits.RTP_FRAMES_VIDEO


def test_packets_behind_a_gap_are_bounded(bench):
    bench.pictures(-1)
    bench.sequence += 1
    for _ in range(limits.RTP_REORDER_VIDEO + 1):
        bench.packet(b"\x10\x01", 9, False)
        bench.sequence += 1
    assert bench.receiver.counters["reorder_full"] == 1
    assert len(bench.receiver._buffer) == 0


# ------------------------------------------------------------------ nobody reads


def test_a_reader_that_comes_late_asks_for_a_key_frame(bench):
    bench.receiver.set_enabled(False)
    bench.pictures(-1, 2)
    bench.receiver.request_keyframe()
    assert bench.advance() == ([], INF)
    bench.receiver.set_enabled(True)
    assert bench.advance()[0] == [PLI]
    bench.pictures(3, -4)
    assert bench.got() == [-4]


def test_enabling_before_anything_came_asks_for_nothing(bench):
    bench.receiver.set_enabled(False)
    bench.receiver.set_enabled(True)
    assert bench.advance() == ([], INF)


def test_patience_follows_the_round_trip(bench):
    assert bench.receiver._patience() == REORDER
    bench.pictures(-1)
    assert bench.receiver._patience() == pytest.approx(0.7)
    bench.receiver.rtt = 0.0
    assert bench.receiver._patience() == 0.2
    bench.receiver.rtt = 1.0
    assert bench.receiver._patience() == 1.0


def test_no_request_for_a_request_while_repairing(bench):
    bench.pictures(-1, 2, 3, lose=(4,))
    bench.receiver.request_keyframe()
    feedback, due = bench.advance()
    assert feedback == [Nack(1, 7, (104,)), PLI]
    bench.receiver.request_keyframe()
    feedback, due = bench.advance()
    assert due < bench.now + KEYFRAME_SPACING
