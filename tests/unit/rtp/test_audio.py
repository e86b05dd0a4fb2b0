"""Audio: the ring that drops the oldest, and RED."""

from __future__ import annotations

import pytest

from sansio.base.limits import RTP_FRAMES_AUDIO
from sansio.rtp.packet import RtpPacket
from sansio.rtp.payload.red import encode_red
from sansio.rtp.receiver import REORDER
from tests.unit.rtp.test_receiver import Bench
from tests.unit.rtp.wire import rtp


@pytest.fixture
def bench():
    return Bench()


def red(bench, sequence, copies=2, payload=None):
    """A packet of frame ``sequence`` with copies of those before."""
    if payload is None:
        ages = range(copies, 0, -1)
        payload = encode_red(111, b"%d" % sequence, [(960 * age, b"%d" % (sequence - age)) for age in ages])
    bench.receiver.receive(RtpPacket(rtp(sequence, sequence * 960, payload, kind=63)), bench.now)
    bench.now += 0.02


def test_a_full_ring_drops_the_oldest_and_counts_it(bench):
    bench.feed(*range(RTP_FRAMES_AUDIO + 10))
    assert bench.receiver.stats().frames_dropped == 10
    got = bench.got()
    assert got[0] == (10, 10)
    assert got[1:] == [(n, 0) for n in range(11, RTP_FRAMES_AUDIO + 10)]


def test_losses_before_dropped_frames_are_counted_too(bench):
    bench.receiver.capacity = 2
    bench.feed(1, 3, 4, 5, kind=112)
    bench.advance(bench.now + REORDER)
    assert bench.got() == [(4, 3), (5, 0)]


def test_a_ring_made_smaller(bench):
    bench.feed(1, 2, 3)
    bench.receiver.capacity = 1
    bench.feed(4)
    assert bench.got() == [(4, 3)]


def test_red_frames(bench):
    for sequence in (1, 2, 3):
        red(bench, sequence)
    frames = bench.read()
    assert [(frame.data, frame.timestamp, frame.payload_type) for frame in frames] == [
        (b"%d" % n, 960 * n, 63) for n in (1, 2, 3)
    ]
    assert bench.receiver.counters["red_recovered"] == 0


def test_red_fills_gaps_at_once(bench):
    red(bench, 1)
    red(bench, 4)
    frames = bench.read()
    assert [(int(frame.data), frame.timestamp, frame.lost) for frame in frames] == [
        (n, 960 * n, 0) for n in (1, 2, 3, 4)
    ]
    assert bench.receiver.counters["red_recovered"] == 2
    red(bench, 3)  # the original comes late
    assert bench.got() == []
    assert bench.receiver.stats().late == 1


def test_red_fills_part_of_a_gap(bench):
    red(bench, 1)
    red(bench, 6)
    assert bench.got() == [(1, 0)]
    bench.advance(bench.now + REORDER)
    assert bench.got() == [(4, 2), (5, 0), (6, 0)]


def test_a_later_packet_fills_an_older_gap(bench):
    red(bench, 1)
    red(bench, 3, copies=0)
    assert bench.got() == [(1, 0)]
    red(bench, 4)
    assert bench.got() == [(2, 0), (3, 0), (4, 0)]


def test_timestamps_of_copies_wrap(bench):
    bench.receiver.receive(RtpPacket(rtp(1, -960, b"\x6f1", kind=63)), bench.now)
    payload = encode_red(111, b"3", [(960, b"2")])
    bench.receiver.receive(RtpPacket(rtp(3, 960, payload, kind=63)), bench.now)
    assert [frame.timestamp for frame in bench.read()] == [2**32 - 960, 2**32, 2**32 + 960]


def test_bad_red_is_a_lost_frame(bench):
    red(bench, 1)
    red(bench, 2, payload=b"\xef\xff")
    red(bench, 3)
    assert bench.got() == [(1, 0), (3, 1)]
    assert bench.receiver.counters["bad_payload"] == 1


def test_bad_red_behind_a_gap(bench):
    red(bench, 1)
    red(bench, 3, payload=b"\xef\xff")
    assert bench.got() == [(1, 0)]
    red(bench, 4, copies=2)
    assert bench.got() == [(2, 0), (4, 1)]


def test_an_empty_copy_is_no_frame(bench):
    red(bench, 1)
    red(bench, 3, payload=encode_red(111, b"3", [(960, b"")]))
    assert bench.got() == [(1, 0)]


def test_red_after_plain_packets_and_back(bench):
    bench.feed(1)
    red(bench, 2)
    bench.feed(3)
    red(bench, 5)  # the current format is not RED, so that its copies are not looked at before its turn
    bench.feed(4)
    assert bench.got() == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]


def test_patience_follows_the_round_trip(bench):
    assert bench.receiver._patience() == REORDER
    bench.feed(1)
    assert bench.receiver._patience() == pytest.approx(0.4)
    bench.receiver.rtt = 0.05
    assert bench.receiver._patience() == pytest.approx(0.225)
    bench.receiver.rtt = 0.002  # LiveKit's server sends nothing again before 100 ms are over
    assert bench.receiver._patience() == 0.15
    bench.receiver.rtt = 2.0
    assert bench.receiver._patience() == 0.5


def test_patience_follows_the_format_that_is_let_through(bench):
    """What comes behind one gap may be of another format, whose packets can be asked for."""
    bench.feed(1, kind=112)
    bench.feed(3, 5)  # both wait, and nothing tells yet that they are of that format
    first = bench.advance()[1]
    _, due = bench.advance(first)
    assert bench.got() == [(1, 0), (3, 1)]
    assert due == pytest.approx(first - REORDER + 0.02 + bench.receiver._patience())
    assert bench.receiver._patience() == pytest.approx(0.4)
