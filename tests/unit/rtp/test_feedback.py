"""Transport-wide feedback: bodies by hand, round trips, both recorders, wraps, lies, limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio.base.contract import INF, NOW
from sansio.base.errors import ParseError
from sansio.base.limits import TWCC_RESULTS, TWCC_SENT, TWCC_STATUSES, TWCC_WINDOW
from sansio.rtp.feedback import (
    ENOUGH,
    INTERVAL,
    ArrivalRecorder,
    Arrivals,
    PacketResult,
    SentRecorder,
    decode_arrivals,
    encode_arrivals,
)


def test_by_hand():
    body = bytes.fromhex("0001 0007 000002 03 2007 01020304050607 000000")
    assert decode_arrivals(body) == Arrivals(1, 2, 3, (1, 2, 3, 4, 5, 6, 7))
    assert encode_arrivals(Arrivals(1, 2, 3, (1, 2, 3, 4, 5, 6, 7))) == body


def test_one_bit_a_packet():
    deltas = (1, None, 2, None, 3, None, 4, None, 5, None, 6, None, 7, None, None, 8)
    body = bytes.fromhex("ffff 0010 000000 00 aaaa 9000 0102030405060708")
    assert decode_arrivals(body) == Arrivals(65535, 0, 0, deltas)
    assert encode_arrivals(Arrivals(65535, 0, 0, deltas)) == body


def test_two_bits_a_packet():
    deltas = (1, None, 256, -1, None)
    body = bytes.fromhex("0064 0005 ffffff ff d280 01 0100 ffff 00")
    assert decode_arrivals(body) == Arrivals(100, 0xFFFFFF, 255, deltas)
    assert encode_arrivals(Arrivals(100, 0xFFFFFF, 255, deltas)) == body


def test_long_runs():
    deltas = (*[None] * 9000, *[0x7FFF] * 7, *[-0x8000] * 3, 0)
    arrivals = Arrivals(5, 6, 7, deltas[-TWCC_SENT:])
    assert decode_arrivals(encode_arrivals(arrivals)) == arrivals
    assert len(encode_arrivals(arrivals)) < 48


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("", "fixed part"),
        ("0001 0001 000000", "fixed part"),
        ("0001 0001 000000 00", "chunks"),
        ("0001 0001 000000 00 00", "chunks"),
        ("0001 0001 000000 00 0000 2000", "chunks"),  # runs of none
        ("0001 0001 000000 00 2001", "deltas"),
        ("0001 0001 000000 00 4001 00", "deltas"),
        ("0001 0001 000000 00 6001 0000", "reserved"),
        ("0001 2001 000000 00 2001 0000", "more packets"),
    ],
)
def test_lies(body, complaint):
    with pytest.raises(ParseError, match=complaint):
        decode_arrivals(bytes.fromhex(body))


@given(
    st.lists(st.none() | st.integers(0, 255) | st.integers(-0x8000, 0x7FFF), max_size=60),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFF),
)
def test_what_is_encoded_is_decoded(deltas, base, reference):
    arrivals = Arrivals(base, reference, 9, tuple(deltas))
    body = encode_arrivals(arrivals)
    assert len(body) % 4 == 0
    assert decode_arrivals(body) == arrivals


# ------------------------------------------------------------------ the receiving end


def test_a_report_comes_in_time():
    recorder = ArrivalRecorder()
    assert not recorder.active
    assert recorder.reports() == []
    assert recorder.due == INF
    recorder.record(10, 1.0)
    recorder.record(12, 1.01)
    recorder.record(12, 1.02)  # a duplicate does not count
    assert recorder.active
    assert recorder.due == 1.0 + INTERVAL
    (report,) = recorder.reports()
    assert report == Arrivals(10, 15, 0, (160, None, 40))
    assert recorder.due == INF
    recorder.record(11, 1.2)  # reported as missing already
    assert recorder.due == INF
    recorder.record(14, 1.2)
    (report,) = recorder.reports()
    assert report == Arrivals(13, 18, 1, (None, 192))


def test_many_packets_are_reported_at_once():
    recorder = ArrivalRecorder()
    for number in range(ENOUGH + 1):
        recorder.record(number, 1.0)
    assert recorder.due == NOW


def test_reordered_packets_have_negative_deltas():
    recorder = ArrivalRecorder()
    recorder.record(65535, 1.0)
    recorder.record(1, 1.01)
    recorder.record(0, 1.02)
    (report,) = recorder.reports()
    assert report.deltas == (160, 80, -40)


def test_packets_before_the_first_are_not_told():
    recorder = ArrivalRecorder()
    recorder.record(5, 1.0)
    recorder.record(4, 1.0)
    (report,) = recorder.reports()
    assert report.base == 5


def test_a_report_ends_where_a_delta_does_not_fit():
    recorder = ArrivalRecorder()
    recorder.record(1, 1.0)
    recorder.record(3, 10.0)
    first, second = recorder.reports()
    assert first == Arrivals(1, 15, 0, (160,))
    assert second == Arrivals(2, 156, 1, (None, 64))


def test_long_losses_take_reports_of_their_own():
    recorder = ArrivalRecorder()
    recorder.record(0, 1.0)
    recorder.record(2 * TWCC_STATUSES + 5, 1.0)
    reports = recorder.reports()
    assert [len(report.deltas) for report in reports] == [1, TWCC_STATUSES, TWCC_STATUSES, 5]
    assert [report.number for report in reports] == [0, 1, 2, 3]
    assert reports[-1].deltas == (None, None, None, None, 160)
    assert all(len(encode_arrivals(report)) < 1000 for report in reports)


def test_a_number_far_away_begins_a_new_row():
    recorder = ArrivalRecorder()
    recorder.record(0, 1.0)
    recorder.record(TWCC_WINDOW, 1.0)
    (report,) = recorder.reports()
    assert report.base == TWCC_WINDOW
    recorder.record(1, 1.1)
    (report,) = recorder.reports()
    assert report.base == 1


def test_unreported_numbers_are_bounded():
    recorder = ArrivalRecorder()
    for number in range(3 * TWCC_WINDOW):
        recorder.record(number & 0xFFFF, 1.0)
        assert len(recorder._arrivals) <= TWCC_WINDOW


def test_the_number_of_reports_wraps():
    recorder = ArrivalRecorder()
    for number in range(300):
        recorder.record(number, 1.0)
        assert recorder.reports()[0].number == number & 0xFF


# ------------------------------------------------------------------ the sending end


def test_results():
    sent = SentRecorder()
    assert [sent.allot(100 + size, size * 0.01) for size in range(4)] == [0, 1, 2, 3]
    sent.handle(Arrivals(0, 1, 0, (4, None, 8)))
    assert list(sent.results) == [
        PacketResult(0, 100, 0.0, 0.065),
        PacketResult(1, 101, 0.01, None),
        PacketResult(2, 102, 0.02, 0.067),
    ]
    assert (sent.sent, sent.acknowledged, sent.missing) == (4, 2, 1)
    sent.handle(Arrivals(0, 1, 1, (4, 4, 8, 8, 8)))  # only the last but one is news
    assert (sent.acknowledged, sent.missing) == (3, 1)


def test_numbers_and_reference_times_wrap():
    sent = SentRecorder()
    for _ in range(70_000):
        sent.allot(1, 0.0)
    number = 69_999
    sent.handle(Arrivals((number - 1) & 0xFFFF, 0xFFFFFF, 0, (0,)))
    sent.handle(Arrivals(number & 0xFFFF, 0, 0, (0,)))
    first, second = sent.results
    assert (first.number, second.number) == (number - 1, number)
    assert second.arrival - first.arrival == pytest.approx(0.064)


def test_reports_of_what_was_never_sent():
    sent = SentRecorder()
    sent.handle(Arrivals(5, 0, 0, (1, 2, 3)))
    sent.allot(1, 0.0)
    sent.handle(Arrivals(65535, 0, 0, (1, None)))
    assert [result.number for result in sent.results] == [0]


def test_results_and_memory_of_what_was_sent_are_bounded():
    sent = SentRecorder()
    for number in range(TWCC_SENT + TWCC_RESULTS):
        sent.allot(1, 0.0)
        if number >= TWCC_SENT:
            sent.handle(Arrivals(number & 0xFFFF, 0, 0, (1,)))
    sent.handle(Arrivals(0, 0, 0, (1,) * 10))
    assert len(sent.results) == TWCC_RESULTS
    assert len(sent._ring) == TWCC_SENT
    assert sent.acknowledged == TWCC_RESULTS


def test_one_end_reads_the_other():
    recorder, sent = ArrivalRecorder(), SentRecorder()
    for place in range(1000):
        number = sent.allot(500, place * 0.005)
        if place % 7:
            recorder.record(number, place * 0.005 + 0.02)
        if recorder.due <= place * 0.005 + 0.02:
            for report in recorder.reports():
                sent.handle(decode_arrivals(encode_arrivals(report)))
    assert sent.acknowledged + sent.missing >= 970
    for result in sent.results:
        assert (result.arrival is None) == (result.number % 7 == 0)
        if result.arrival is not None:
            assert result.arrival - result.sent == pytest.approx(0.02, abs=0.0003)
