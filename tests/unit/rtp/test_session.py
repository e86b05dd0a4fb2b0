"""The session: whose packets they are, RTCP on schedule, what is owed and when, bounds, the end."""

from __future__ import annotations

import pytest

from sansio.base.contract import INF
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import RTCP_REFERENCES, RTP_UNSIGNALLED_PACKETS, RTP_UNSIGNALLED_SSRCS
from sansio.rtp.feedback import Arrivals, decode_arrivals, encode_arrivals
from sansio.rtp.format import ExtensionIds
from sansio.rtp.packet import RtpPacket, element
from sansio.rtp.payload import vp8
from sansio.rtp.rtcp import (
    CNAME,
    MID,
    ExtendedReport,
    FullIntra,
    Goodbye,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    decode_rtcp,
    encode_rtcp,
)
from sansio.rtp.session import (
    EARLY_AGE,
    IDLE_SAMPLE,
    KEYFRAME_SPACING,
    REMEMBERED,
    SENDERS_PER_COMPOUND,
    FrameReadable,
    KeyframeWanted,
    RtpSession,
    StreamEnded,
    TrackSeen,
)
from tests.unit.rtp.wire import OPUS, RED, UNIX, VP8, make, opus_frame, parsed, rtp, vp8_frame

MIDDLE = 1 << 16


@pytest.fixture
def session():
    return make(b"me")


def advance(session, now):
    """The next deadline, with what the contract says of it."""
    due = session.advance(now)
    assert due > now
    sizes = len(session.rtp), len(session.rtcp), len(session.outbox)
    assert session.advance(now) == due
    if due < INF:
        assert session.advance((now + due) / 2) == due
    assert sizes == (len(session.rtp), len(session.rtcp), len(session.outbox))
    return due


def said(session):
    """The RTCP datagrams that a session has sent."""
    compounds = [decode_rtcp(data) for data in session.rtcp]
    session.rtcp.clear()
    return compounds


def events(session):
    found = list(session.outbox)
    session.outbox.clear()
    return found


def name(mid="", rid="", repaired=""):
    return b"".join([element(ident, value.encode()) for ident, value in ((4, mid), (10, rid), (11, repaired)) if value])


def hear(session, *packets, now=1.0):
    session.receive_rtcp(encode_rtcp(packets), now)


# ------------------------------------------------------------------ routing


def test_by_ssrc(session):
    receiver = session.add_receiver("audio", 0.0, mid="0", ssrc=7, rtx_ssrc=8)
    session.receive_rtp(rtp(1, 0), 0.0)
    session.receive_rtp(rtp(3, 1920), 0.01)
    session.receive_rtp(rtp(1, 960, b"\0\2again", ssrc=8, kind=97), 0.02)
    assert receiver.counters["rtx_unneeded"] == 0  # VP8's RTX: the packet is given to an audio stream
    assert receiver.repaired == 1
    assert events(session)[0].receiver is receiver
    assert session.receivers == (receiver,)


def test_by_mid_and_rid(session):
    audio = session.add_receiver("audio", 0.0, mid="0")
    high = session.add_receiver("video", 0.0, mid="1", rid="h")
    low = session.add_receiver("video", 0.0, mid="1", rid="q")
    session.receive_rtp(rtp(1, 0, ssrc=20, block=name("0")), 0.0)
    session.receive_rtp(rtp(1, 0, b"\x10\0key", ssrc=21, kind=96, block=name("1", "q"), marker=True), 0.0)
    session.receive_rtp(rtp(1, 0, b"\x10\0key", ssrc=22, kind=96, block=name("1", "h"), marker=True), 0.0)
    assert (audio.ssrc, low.ssrc, high.ssrc) == (20, 21, 22)
    session.receive_rtp(rtp(2, 0, ssrc=20), 0.0)  # the name is not needed any more
    assert audio.packets == 2
    session.receive_rtp(rtp(9, 0, b"\0\1", ssrc=31, kind=97, block=name("1", "", "q")), 0.0)
    assert low.rtx_ssrc == 31
    session.receive_rtp(rtp(10, 0, b"\0\1", ssrc=31, kind=97), 0.0)
    assert low.counters["rtx_unneeded"] == 2
    assert not any(isinstance(event, TrackSeen) for event in events(session))


def test_rtx_that_nobody_expects(session):
    session.receive_rtp(rtp(1, 0, b"\0\1", ssrc=30, kind=97, block=name("1")), 0.0)
    session.add_receiver("video", 0.0, mid="1")
    session.receive_rtp(rtp(1, 0, b"\0\1", ssrc=30, kind=97, block=name("1")), 0.0)  # before the stream itself
    session.receive_rtp(rtp(1, 0, b"\x10\0", ssrc=20, kind=96, block=name("1")), 0.0)
    session.receive_rtp(rtp(2, 0, b"\0\1", ssrc=30, kind=97, block=name("1")), 0.0)
    session.receive_rtp(rtp(2, 0, b"\0\1", ssrc=31, kind=97, block=name("1")), 0.0)  # it has one already
    assert session.counters["unknown_rtx"] == 3


def test_an_rtx_source_that_is_taken(session):
    one = session.add_receiver("video", 0.0, ssrc=7, rtx_ssrc=8)
    two = session.add_receiver("video", 0.0, ssrc=9, rtx_ssrc=8)
    assert (one.rtx_ssrc, two.rtx_ssrc) == (8, 0)


def test_packets_before_the_description(session):
    for number in range(5):
        session.receive_rtp(rtp(number, number * 960, ssrc=50, block=name("4")), 1.0 + number * 0.02)
    assert events(session) == [TrackSeen(50, "4")]
    receiver = session.add_receiver("audio", 1.2, ssrc=50)
    assert [event.receiver for event in events(session)] == [receiver]
    assert len(receiver) == 5
    assert receiver.read().arrival == 1.0


def test_packets_before_a_mid_is_expected(session):
    session.receive_rtp(rtp(1, 0, ssrc=49, block=name("3")), 1.0)
    session.receive_rtp(rtp(1, 0, ssrc=50, block=name("4")), 1.0)
    receiver = session.add_receiver("audio", 1.2, mid="4")
    assert receiver.ssrc == 50
    assert len(receiver) == 1


def test_old_packets_are_not_worth_keeping(session):
    session.receive_rtp(rtp(1, 0, ssrc=50), 1.0)
    session.receive_rtp(rtp(2, 960, ssrc=50), 2.0)
    receiver = session.add_receiver("audio", 1.5 + EARLY_AGE, ssrc=50)
    assert receiver.packets == 1


def test_unsignalled_packets_are_bounded(session):
    for number in range(RTP_UNSIGNALLED_PACKETS + 10):
        session.receive_rtp(rtp(number, 0, ssrc=50), 1.0)
    assert session.counters["unknown_ssrc"] == 10
    assert session.add_receiver("audio", 1.0, ssrc=50).packets == RTP_UNSIGNALLED_PACKETS


def test_unsignalled_sources_are_bounded(session):
    for ssrc in range(100, 100 + RTP_UNSIGNALLED_SSRCS + 5):
        session.receive_rtp(rtp(1, 0, ssrc=ssrc), 1.0)
    assert len(session._early) == RTP_UNSIGNALLED_SSRCS
    assert session.counters["unknown_ssrc"] == 5
    assert len(events(session)) == RTP_UNSIGNALLED_SSRCS
    session.receive_rtp(rtp(1, 0, ssrc=999), 1.0 + EARLY_AGE)  # the oldest makes room
    assert len(session._early) == RTP_UNSIGNALLED_SSRCS
    assert 100 not in session._early
    assert events(session) == [TrackSeen(999, "")]


def test_source_zero_is_not_ours(session):
    session.receive_rtp(rtp(1, 0, ssrc=0), 1.0)
    assert session.counters["unknown_ssrc"] == 1
    assert events(session) == []


def test_the_mid_from_a_source_description(session):
    receiver = session.add_receiver("audio", 0.0, mid="4")
    session.receive_rtp(rtp(1, 0, ssrc=50), 1.0)
    session.receive_rtp(rtp(1, 0, ssrc=51), 1.0)
    events(session)
    description = SourceDescription(
        (
            (50, ((CNAME, b"x"), (MID, b"4"))),
            (51, ((CNAME, b"x"), (MID, b"5"))),
            (52, ((MID, b"6"),)),
        )
    )
    hear(session, description)
    assert receiver.ssrc == 50
    assert receiver.packets == 1
    assert [event for event in events(session) if isinstance(event, TrackSeen)] == [TrackSeen(51, "5")]
    hear(session, description)
    assert events(session) == []
    session.receive_rtp(rtp(1, 0, ssrc=53), 1.0)
    hear(session, SourceDescription(((53, ((CNAME, b"x"),)),)))
    assert events(session) == [TrackSeen(53, "")]


def test_another_source_with_a_known_mid_is_told(session):
    session.add_receiver("audio", 0.0, mid="4")
    session.receive_rtp(rtp(1, 0, ssrc=50, block=name("4")), 1.0)
    events(session)
    session.receive_rtp(rtp(1, 0, ssrc=51, block=name("4")), 2.0)
    assert events(session) == [TrackSeen(51, "4")]


def test_a_mid_that_is_no_text(session):
    session.receive_rtp(rtp(1, 0, ssrc=50, block=element(4, b"\xff\xfe")), 1.0)
    assert events(session) == [TrackSeen(50, "\ufffd\ufffd")]


def test_without_the_extension_there_are_no_names():
    session = make(b"me", extensions=ExtensionIds())
    session.receive_rtp(rtp(1, 0, ssrc=50, block=name("4")), 1.0)
    assert events(session) == [TrackSeen(50, "")]
    session.set_extensions(ExtensionIds(mid=4))
    assert session.extensions.mid == 4
    session.receive_rtp(rtp(1, 0, ssrc=51, block=name("4")), 1.0)
    assert events(session) == [TrackSeen(51, "4")]


def test_what_is_no_rtp(session):
    session.receive_rtp(b"\x80", 1.0)
    session.receive_rtcp(b"\x80\xc9", 1.0)
    assert session.counters.snapshot() == {"bad_rtp": 1, "bad_rtcp": 1}


def test_receivers_that_cannot_be(session):
    session.add_receiver("video", 0.0, mid="1", ssrc=7, rtx_ssrc=8)
    session.add_receiver("audio", 0.0, mid="2")
    for kind, options in (
        ("text", {"ssrc": 1}),
        ("audio", {}),
        ("audio", {"ssrc": 7}),
        ("audio", {"ssrc": 8}),
        ("audio", {"mid": "2"}),
    ):
        with pytest.raises(LocalProtocolError):
            session.add_receiver(kind, 0.0, **options)
    assert len(session.receivers) == 2


def test_a_removed_receiver(session):
    receiver = session.add_receiver("video", 0.0, mid="1", ssrc=7, rtx_ssrc=8)
    named = session.add_receiver("audio", 0.0, mid="2")
    session.receive_rtp(rtp(1, 0, b"\x11\0", kind=96, marker=True), 0.0)  # a key frame is owed
    session.set_enabled(receiver, False, 0.0)
    session.remove_receiver(receiver, "unsubscribed")
    session.remove_receiver(receiver)
    session.remove_receiver(named)
    assert receiver.ended == "unsubscribed"
    assert events(session)[-2].receiver is receiver
    assert session.receivers == ()
    assert advance(session, 0.0) == INF
    assert said(session) == []
    again = session.add_receiver("audio", 0.0, mid="2", ssrc=7, rtx_ssrc=8)
    session.receive_rtp(rtp(1, 0), 0.0)
    assert again.packets == 1
    assert receiver.packets == 1


# ------------------------------------------------------------------ streams that nobody reads


def test_most_packets_of_an_idle_stream_need_not_be_decrypted(session):
    receiver = session.add_receiver("audio", 0.0, ssrc=7)
    assert not session.skips(rtp(1, 0))
    session.set_enabled(receiver, False, 0.0)
    taken = 0
    for number in range(70_000):
        data = rtp(number, number * 960)
        if not session.skips(data):
            taken += 1
            session.receive_rtp(data, number * 0.02)
        assert not session.skips(rtp(number, 0, ssrc=8))
    assert taken == -(-70_000 // IDLE_SAMPLE)
    assert len(receiver) == 0
    assert receiver.stats().lost == 0
    session.set_enabled(receiver, True, 1400.0)
    for number in range(70_000, 70_010):
        data = rtp(number, number * 960)
        assert not session.skips(data)
        session.receive_rtp(data, number * 0.02)
    assert len(receiver) == 10
    assert receiver.read().lost == 0


def test_a_stream_is_disabled_before_its_source_is_known(session):
    receiver = session.add_receiver("audio", 0.0, mid="1")
    session.set_enabled(receiver, False, 0.0)
    session.receive_rtp(rtp(1, 0, block=name("1")), 0.0)
    assert len(receiver) == 0
    assert not session.skips(rtp(2, 0))
    assert session.skips(rtp(3, 0))


def test_numbered_packets_are_never_skipped(session):
    receiver = session.add_receiver("audio", 0.0, ssrc=7)
    session.set_enabled(receiver, False, 0.0)
    session.receive_rtp(rtp(1, 0, block=element(3, b"\0\1")), 0.0)
    assert not any(session.skips(rtp(number, 0)) for number in range(2, 10))


# ------------------------------------------------------------------ feedback out


def test_requests_leave_with_the_burst(session):
    receiver = session.add_receiver("video", 0.0, ssrc=7)
    session.receive_rtp(rtp(1, 0, b"\x11\0", kind=96, marker=True), 1.0)
    session.receive_rtp(rtp(3, 0, b"\x11\0", kind=96, marker=True), 1.0)
    assert not session.rtcp
    advance(session, 1.0)
    assert said(session) == [[Nack(session.ssrc, 7, (2,)), PictureLoss(session.ssrc, 7)]]
    assert receiver.nacks == 1


def test_requests_in_full_compounds():
    session = make(b"me", reduced_size=False)
    session.add_receiver("video", 0.0, ssrc=7)
    session.receive_rtp(rtp(1, 0, b"\x11\0", kind=96, marker=True), 1.0)
    advance(session, 1.0)
    ((report, description, loss),) = said(session)
    assert report == ReceiverReport(session.ssrc)
    assert description == SourceDescription(((session.ssrc, ((CNAME, b"me"),)),))
    assert loss == PictureLoss(session.ssrc, 7)


def test_much_feedback_takes_several_datagrams(session):
    for ssrc in range(1, 41):
        session.add_receiver("audio", 0.0, ssrc=ssrc)
        for number in (0, 20, 40, 60, 80, 100, 120):
            session.receive_rtp(rtp(number, number * 960, ssrc=ssrc), 1.0)
    advance(session, 1.0)
    assert len(session.rtcp) > 1
    assert all(len(data) <= 1200 for data in session.rtcp)
    asked = [packet for compound in said(session) for packet in compound]
    assert [packet.media for packet in asked] == list(range(1, 41))
    assert all(len(packet.sequences) == 114 for packet in asked)


def test_transport_wide_feedback(session):
    for number in range(5):
        session.receive_rtp(rtp(number, 0, ssrc=70, block=element(3, bytes((0, number)))), 1.0 + number * 0.001)
    session.receive_rtp(rtp(5, 0, ssrc=70, block=element(3, b"\1")), 1.0)  # not a number
    due = advance(session, 1.01)
    assert due == pytest.approx(1.1)
    advance(session, due)
    ((feedback,),) = said(session)
    assert (feedback.sender, feedback.media) == (session.ssrc, 70)
    assert decode_arrivals(feedback.body) == Arrivals(0, 15, 0, (160, 4, 4, 4, 4))
    assert advance(session, due) == INF


# ------------------------------------------------------------------ reports out


def test_the_first_sender_report_follows_the_first_packet(session):
    sender = session.add_sender(OPUS, mid="0")
    quiet = session.add_sender(OPUS)
    assert advance(session, 0.0) == INF
    sender.write(opus_frame(0), 0.5)
    due = advance(session, 0.5)
    ((report, description),) = said(session)
    assert isinstance(report, SenderReport)
    assert (report.ssrc, report.packets) == (sender.ssrc, 1)
    assert report.ntp >> 32 == int(UNIX) + 2208988800
    assert report.timestamp == RtpPacket(session.rtp[0]).timestamp
    assert description == SourceDescription(((sender.ssrc, ((CNAME, b"me"),)),))
    assert 1.4 <= due <= 1.6
    sender.write(opus_frame(0), 0.52)
    assert advance(session, 0.52) == due
    assert said(session) == []
    quiet.write(opus_frame(0), 0.6)
    advance(session, 0.6)
    assert [packet.ssrc for packet in said(session)[0][:2]] == [sender.ssrc, quiet.ssrc]


def test_many_senders_take_several_compounds(session):
    senders = [session.add_sender(OPUS) for _ in range(SENDERS_PER_COMPOUND + 3)]
    for sender in senders:
        sender.write(opus_frame(0), 0.0)
    advance(session, 0.0)
    assert all(len(data) <= 1200 for data in session.rtcp)
    first, second = said(session)
    assert len(first) == SENDERS_PER_COMPOUND + 1
    assert len(second) == 3 + 1


def test_a_sender_that_fell_silent_stops_reporting(session):
    sender = session.add_sender(OPUS)
    sender.write(opus_frame(0), 0.0)
    now, reports = 0.0, 0
    while now < INF:
        due = advance(session, now)
        reports += len(said(session))
        last, now = now, due
    assert REMEMBERED - 2 < reports < REMEMBERED + 3
    assert last < REMEMBERED + 2
    sender.write(opus_frame(0), 100.0)
    assert advance(session, 100.0) < 102.0
    assert said(session)[0][0].packets == 2


def test_a_long_sleep_after_the_last_packet(session):
    """The packets between the last report and the silence are reported once, however late."""
    sender = session.add_sender(OPUS)
    sender.write(opus_frame(0), 0.0)
    advance(session, 0.0)
    sender.write(opus_frame(0), 0.02)
    said(session)
    due = advance(session, 50.0)
    assert said(session)[0][0].packets == 2
    assert advance(session, due) == INF
    assert said(session) == []


def test_receiver_reports(session):
    receiver = session.add_receiver("audio", 0.0, ssrc=7)
    session.add_receiver("audio", 0.0, ssrc=8)
    session.receive_rtp(rtp(1, 0), 5.0)
    due = advance(session, 5.0)
    assert due == 6.0
    hear(session, SenderReport(7, 0x1234_5678_0000_0000, 0, 1, 1), now=5.5)
    advance(session, due)
    ((report, description, extended),) = said(session)
    assert report == ReceiverReport(session.ssrc, (ReportBlock(7, 0, 0, 0x10001, 0, 0x5678_0000, 0x8000),))
    assert description.chunks[0][0] == session.ssrc
    assert extended.sender == session.ssrc
    assert extended.ntp >> 32 == int(UNIX) + 6 + 2208988800
    assert receiver.read().ntp_time is None


def test_many_receivers_take_several_compounds(session):
    for ssrc in range(1, 41):
        session.add_receiver("audio", 0.0, ssrc=ssrc)
        session.receive_rtp(rtp(1, 0, ssrc=ssrc), 5.0)
    advance(session, advance(session, 5.0))
    assert all(len(data) <= 1200 for data in session.rtcp)
    first, second = said(session)
    assert [len(first[0].blocks), len(second[0].blocks)] == [31, 9]
    assert isinstance(first[-1], ExtendedReport)
    assert isinstance(second[-1], SourceDescription)


def test_reference_times_are_answered(session):
    sender = session.add_sender(OPUS)
    sender.write(opus_frame(0), 0.0)
    due = advance(session, 0.0)
    said(session)
    hear(session, ExtendedReport(55, 0x1111_2222_3333_4444), now=0.4)
    hear(session, ExtendedReport(56, 0x1111_2222_3333_4444), now=0.4)
    hear(session, ExtendedReport(55, 0x1111_5555_3333_4444), now=due - 0.5)
    advance(session, due)
    answers = said(session)[-1][-1]
    assert answers.ntp is None
    assert [answer[:2] for answer in answers.answers] == [(55, 0x5555_3333), (56, 0x2222_3333)]
    assert answers.answers[0][2] == pytest.approx(0x8000, abs=2)
    advance(session, advance(session, due))
    assert not any(isinstance(packet, ExtendedReport) for compound in said(session) for packet in compound)


def test_reference_times_are_bounded(session):
    for ssrc in range(RTCP_REFERENCES + 5):
        hear(session, ExtendedReport(ssrc, 1 << 32))
    assert len(session._references) == RTCP_REFERENCES
    assert session.counters["too_many_references"] == 5


# ------------------------------------------------------------------ RTCP in


def test_round_trips_from_reports(session):
    sender = session.add_sender(OPUS)
    receiver = session.add_receiver("audio", 0.0, ssrc=7)
    middle = session._wallclock.ntp_at(1.0) >> 16 & 0xFFFFFFFF
    block = ReportBlock(sender.ssrc, 0, 0, 1, 0, middle, 0x4000)
    hear(session, ReceiverReport(9, (block, block._replace(ssrc=12345))), now=1.35)
    assert sender.rtt == session.rtt == receiver.rtt == pytest.approx(0.1, abs=1e-4)
    hear(session, SenderReport(9, 0, 0, 0, 0, (block,)), now=1.43)
    assert sender.rtt == pytest.approx(0.18, abs=1e-4)
    assert session.rtt == receiver.rtt == pytest.approx(0.11, abs=1e-4)
    hear(session, ReceiverReport(9, (block._replace(delay=0x10000),)), now=1.9999)  # rounded below zero
    assert sender.rtt == 0.0
    hear(session, ReceiverReport(9, (block._replace(last_report=0),)), now=2.0)  # no report has come to it
    assert sender.rtt == 0.0
    hear(session, ReceiverReport(9, (block,)), now=60.0)
    assert sender.rtt == 0.0
    assert session.counters["implausible_rtt"] == 1
    later = session.add_receiver("audio", 0.0, ssrc=8)
    assert later.rtt == session.rtt


def test_round_trips_from_reference_times(session):
    middle = session._wallclock.ntp_at(1.0) >> 16 & 0xFFFFFFFF
    hear(session, ExtendedReport(9, None, ((session.ssrc ^ 1, middle, 0), (session.ssrc, middle, 0))), now=1.25)
    assert session.rtt == pytest.approx(0.25, abs=1e-4)
    session.set_rtt(0.5)
    assert session.rtt == 0.5


def test_retransmission_on_request(session):
    sender = session.add_sender(OPUS)
    sender.write(opus_frame(0), 0.0)
    (packet,) = parsed(session)
    hear(session, Nack(9, sender.ssrc, (packet.sequence,)), Nack(9, 12345, (1,)))
    assert [again.data for again in parsed(session)] == [packet.data]


def test_requests_for_key_frames_are_limited(session):
    sender = session.add_sender(VP8)
    loss = PictureLoss(9, sender.ssrc)
    hear(session, loss, PictureLoss(9, 12345), now=1.0)
    hear(session, loss, now=1.1)
    (event,) = events(session)
    assert isinstance(event, KeyframeWanted)
    assert event.sender is sender
    assert sender.keyframe_wanted
    hear(session, loss, now=1.0 + KEYFRAME_SPACING)
    assert len(events(session)) == 1
    assert sender.stats().keyframe_requests == 3
    sender.set_paused(True)
    hear(session, loss, now=2.0)
    assert events(session) == []


def test_full_intra_requests_with_the_same_number_are_one(session):
    sender = session.add_sender(VP8)
    hear(session, FullIntra(9, ((sender.ssrc, 1), (12345, 1))), now=1.0)
    hear(session, FullIntra(9, ((sender.ssrc, 1),)), now=2.0)
    assert len(events(session)) == 1
    hear(session, FullIntra(9, ((sender.ssrc, 2),)), now=3.0)
    assert len(events(session)) == 1


def test_estimates_and_feedback(session):
    sender = session.add_sender(OPUS)
    for number in range(3):
        sender.write(opus_frame(0), number * 0.02)
    hear(session, Remb(9, 300_000, (sender.ssrc,)))
    assert session.bandwidth == 300_000
    hear(session, TransportFeedback(9, sender.ssrc, encode_arrivals(Arrivals(0, 0, 0, (4, None, 80)))))
    assert [result.arrival for result in session.sent.results] == [0.001, None, 0.021]
    assert {result.size for result in session.sent.results} == {len(session.rtp[0])}
    hear(session, TransportFeedback(9, sender.ssrc, bytes(4)))
    assert session.counters["bad_twcc"] == 1


def test_goodbye_of_a_source(session):
    receiver = session.add_receiver("audio", 0.0, ssrc=7)
    hear(session, Goodbye((7, 12345)))
    (event,) = events(session)
    assert isinstance(event, StreamEnded)
    assert event.receiver is receiver
    assert receiver.ended == ""


def test_reports_of_unknown_sources(session):
    hear(session, SenderReport(12345, 0, 0, 0, 0))
    assert advance(session, 1.0) == INF


# ------------------------------------------------------------------ senders


def test_senders_that_cannot_be(session):
    session.add_sender(OPUS, ssrc=5)
    for options in ({"ssrc": 5}, {"redundancy": 9}, {"redundancy": -1}):
        with pytest.raises(LocalProtocolError):
            session.add_sender(RED, **options)
    assert len(session.senders) == 1
    for cname in ("", "x" * 256):
        with pytest.raises(LocalProtocolError):
            make(b"me", **{"reduced_size": True}).__class__(session._entropy, session._wallclock, cname=cname)


def test_sources_that_are_drawn_are_free():
    class Rigged:
        def __init__(self):
            self.draws = [9, 0, 9, 7, 5, 5, 6, 8]

        def uint(self, bits):
            return self.draws.pop(0) if bits == 32 and self.draws else 1

    session = RtpSession(Rigged(), make(b"x")._wallclock, cname="me")
    assert session.ssrc == 9
    session.add_receiver("audio", 0.0, ssrc=7)
    sender = session.add_sender(OPUS)  # not 0, not ours, not one that we receive
    assert sender.ssrc == 5
    assert session.add_sender(OPUS).ssrc not in (5, 7, 9)


def test_sources_may_be_named_before_they_are_used(session):
    ssrc, rtx_ssrc = session.reserve_ssrc(), session.reserve_ssrc()
    assert ssrc != rtx_ssrc
    session.set_extensions(ExtensionIds(mid=9))
    sender = session.add_sender(VP8, mid="1", ssrc=ssrc, rtx_ssrc=rtx_ssrc)
    assert (sender.ssrc, sender.rtx_ssrc) == (ssrc, rtx_ssrc)
    sender.write(vp8_frame(0, True, 10), 0.0)
    advance(session, 0.0)
    assert RtpPacket(session.rtp[0]).extension(9) == b"1"


def test_a_source_of_the_peers_may_be_the_same_as_ours(session):
    """Each direction has its own keys and its own streams, so a collision does not matter."""
    sender = session.add_sender(OPUS, ssrc=7)
    receiver = session.add_receiver("audio", 0.0, ssrc=7)
    sender.write(opus_frame(0), 0.0)
    session.receive_rtp(session.rtp[0], 0.1)
    assert receiver.packets == 1
    hear(session, ReceiverReport(9, (ReportBlock(7, 0, 3, 0, 0, 0, 0),)), Goodbye((7,)))
    assert sender.lost == 3


def test_a_removed_sender_says_goodbye(session):
    sender = session.add_sender(VP8)
    silent = session.add_sender(OPUS)
    sender.write(vp8_frame(0, True, 50_000), 0.0)
    advance(session, 0.0)
    sent = len(session.rtp)
    said(session)
    session.remove_sender(sender, 0.0)
    session.remove_sender(sender, 0.0)
    session.remove_sender(silent, 0.0)
    ((report, _, goodbye),) = said(session)
    assert report == ReceiverReport(session.ssrc)
    assert goodbye == Goodbye((sender.ssrc,))
    now = 0.0
    while session.pacer.size:
        now = advance(session, now)
    assert len(session.rtp) == sent  # what was queued is dropped
    assert session.senders == ()
    assert not sender.write(vp8_frame(1, True), 1.0)
    fresh = session.add_sender(VP8)
    fresh.write(vp8_frame(0, True), 2.0)
    session.remove_sender(fresh, 2.0)  # before its first report


def test_retransmissions_of_a_removed_sender_are_dropped(session):
    sender = session.add_sender(VP8)
    sender.write(vp8_frame(0, True, 10), 0.0)
    advance(session, 0.0)
    (packet,) = parsed(session)
    hear(session, Nack(9, sender.ssrc, (packet.sequence,)), now=0.1)
    session.remove_sender(sender, 0.1)
    advance(session, 0.1)
    assert not session.rtp


def test_closing(session):
    senders = [session.add_sender(OPUS) for _ in range(33)]
    for sender in senders[:-1]:
        sender.write(opus_frame(0), 0.0)
    receiver = session.add_receiver("audio", 0.0, ssrc=7)
    video = session.add_receiver("video", 0.0, ssrc=8)
    session.receive_rtp(rtp(1, 0), 0.0)
    advance(session, 0.0)
    said(session)
    events(session)
    session.close(1.0)
    session.close(1.0)
    goodbyes = [compound[-1] for compound in said(session)]
    assert [len(goodbye.ssrcs) for goodbye in goodbyes] == [31, 1]
    assert receiver.ended == video.ended == "closed"
    assert receiver.read() is not None
    assert [type(event) for event in events(session)] == [FrameReadable]
    session.rtp.clear()
    # What comes later is accepted and ignored.
    session.receive_rtp(rtp(2, 0), 2.0)
    session.receive_rtp(rtp(2, 0, ssrc=99), 2.0)
    hear(session, PictureLoss(1, senders[0].ssrc), now=2.0)
    assert not senders[0].write(opus_frame(0), 2.0)
    assert not session.skips(rtp(3, 0))
    assert session.advance(2.0) == INF
    assert not session.rtp
    assert not session.rtcp
    assert not session.outbox
    with pytest.raises(LocalProtocolError):
        session.add_sender(OPUS)


def test_the_pacer_has_the_session_called(session):
    sender = session.add_sender(VP8)
    sender.write(vp8_frame(0, True, 60_000), 0.0)
    due = advance(session, 0.0)
    assert 0.0 < due < 0.05
    times = {due}
    while session.pacer.size:
        due = advance(session, due)
        times.add(due)
    packets = parsed(session)
    assert vp8.assemble([packet.payload for packet in packets]) == (vp8_frame(0, True, 60_000), True)
    assert len(times) > 3
