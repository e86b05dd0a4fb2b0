"""Senders: exact rows of packets, extensions, history, pauses, reports."""

from __future__ import annotations

import pytest

from sansio.base.errors import LocalProtocolError
from sansio.base.limits import PACER_BYTES, RTP_HISTORY_AUDIO, RTP_HISTORY_VIDEO
from sansio.rtp.format import ExtensionIds, Format
from sansio.rtp.packet import ONE_BYTE, TWO_BYTE, RtpPacket, decode_extensions
from sansio.rtp.payload import h264, vp8
from sansio.rtp.payload.red import MOST_COPY, decode_red
from sansio.rtp.rtcp import ReportBlock
from sansio.rtp.sender import IDENTIFY, MOST_PACKET, RESEND_BURST
from tests.unit.rtp.wire import (
    H264,
    IDS,
    OPUS,
    OPUS_PLAIN,
    PCMU,
    RED,
    UNIX,
    VP8,
    VP8_PLAIN,
    h264_frame,
    make,
    opus_frame,
    parsed,
    vp8_frame,
)

NONE = ExtensionIds()


def extensions(packet):
    return dict(decode_extensions(packet.profile, packet.data[packet.at : packet.end])) if packet.profile else {}


def flush(session, now):
    """Everything that waits in the pacer."""
    session.advance(now)
    while session.pacer.size:
        session.advance(session.pacer.due)
    return parsed(session)


def row(packets, first):
    """Number, timestamp (both relative) and marker."""
    return [
        ((packet.sequence - first.sequence) & 0xFFFF, (packet.timestamp - first.timestamp) & 0xFFFFFFFF, packet.marker)
        for packet in packets
    ]


# ------------------------------------------------------------------ audio


def test_the_exact_row_of_burst_starvation_mute_and_resume():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS)
    for now in (0.0, 0.0, 0.0, 0.06, 0.08):  # a burst, then steady
        assert sender.write(opus_frame(0), now)
    assert sender.write(opus_frame(0), 0.25)  # late by 150 ms: nobody notices
    assert sender.write(opus_frame(0), 0.27)
    assert sender.write(opus_frame(0), 0.59)  # starved for 300 ms
    sender.set_paused(True)
    assert not sender.write(opus_frame(0), 0.61)  # muted, and written all the same
    assert not sender.write(opus_frame(0), 0.63)
    sender.set_paused(False)
    assert sender.write(opus_frame(0), 0.65)
    sender.set_paused(True)
    sender.set_paused(True)
    sender.set_paused(False)  # muted, and nothing written for a second
    assert sender.write(opus_frame(0), 1.67)
    packets = parsed(session)
    assert row(packets, packets[0]) == [
        (0, 0, True),
        (1, 960, False),
        (2, 1920, False),
        (3, 2880, False),
        (4, 3840, False),
        (5, 4800, False),
        (6, 5760, False),
        (7, 6720 + 15 * 960, True),
        (8, 6720 + 18 * 960, True),
        (9, 6720 + 69 * 960, True),
    ]
    assert sender.stats().frames_dropped == 2
    assert {packet.ssrc for packet in packets} == {sender.ssrc}
    assert {packet.payload_type for packet in packets} == {111}


def test_timestamps_and_durations_of_the_writers_own():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS)
    sender.write(b"anything", 0.0, timestamp=5000, duration=480)
    sender.write(b"anything", 0.01, timestamp=5480, duration=480)
    sender.write(b"anything", 0.02, timestamp=6000, duration=480)
    packets = parsed(session)
    assert row(packets, packets[0]) == [(0, 0, True), (1, 480, False), (2, 1000, True)]


def test_a_byte_is_a_sample_of_pcmu():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(PCMU)
    sender.write(bytes(160), 0.0)
    sender.write(bytes(160), 0.02)
    packets = parsed(session)
    assert row(packets, packets[0])[1] == (1, 160, False)


def test_sequence_and_timestamp_begin_anywhere_and_wrap():
    starts = set()
    for seed in range(8):
        session = make(b"seed %d" % seed)
        sender = session.add_sender(OPUS)
        sender._sequence = 65535
        for _ in range(3):
            sender.write(opus_frame(1), 0.0)
        packets = parsed(session)
        assert [packet.sequence for packet in packets] == [65535, 0, 1]
        starts.add(packets[0].timestamp)
    assert len(starts) == 8


@pytest.mark.parametrize(
    ("frame", "options", "complaint"),
    [
        (b"", {}, "1 to"),
        (bytes(1300), {}, "1 to"),
        (b"\xf8", {"level": 128}, "levels"),
        (b"\xf8", {"level": -1}, "levels"),
        (b"\xff\x00", {}, "Opus"),
        (b"\xf8", {"duration": 0}, "duration"),
    ],
)
def test_audio_that_cannot_be_sent(frame, options, complaint):
    session = make(b"s")
    sender = session.add_sender(OPUS)
    before = sender.stats()
    with pytest.raises(LocalProtocolError, match=complaint):
        sender.write(frame, 0.0, **options)
    assert sender.stats() == before
    assert not sender.clock.started
    assert not session.rtp


def test_the_longest_audio_frame_fits():
    for ids in (NONE, IDS):
        session = make(b"s", extensions=ids)
        sender = session.add_sender(OPUS, mid="0")
        sender.write(b"\xf8" + bytes(sender.most_payload - 1), 0.0, level=1)
        assert len(session.rtp[0]) <= MOST_PACKET - 2


def test_redundant_audio():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(RED, redundancy=2)
    for number in range(4):
        sender.write(opus_frame(number), number * 0.02)
    blocks = [decode_red(packet.payload) for packet in parsed(session)]
    assert [[(age, data[4]) for _, age, data in each] for each in blocks] == [
        [(0, 0)],
        [(960, 0), (0, 1)],
        [(1920, 0), (960, 1), (0, 2)],
        [(1920, 1), (960, 2), (0, 3)],
    ]
    assert {kind for each in blocks for kind, _, _ in each} == {111}


def test_copies_are_of_the_frames_just_before():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(RED, redundancy=2)
    room = sender.most_payload
    sender.write(opus_frame(0), 0.0)
    sender.write(opus_frame(1), 1.0)  # a pause: the copy would be too old
    sender.write(b"\xf8" + bytes(MOST_COPY), 1.02)  # too long to be a copy
    sender.write(opus_frame(3), 1.04)
    sender.write(b"\xf8" + bytes(room - 40), 1.06)  # no room for a copy
    sender.set_paused(True)
    sender.write(opus_frame(5), 1.08)
    sender.set_paused(False)
    sender.write(opus_frame(6), 1.1)
    counts = [len(decode_red(packet.payload)) for packet in parsed(session)]
    assert counts == [1, 1, 2, 1, 1, 1]
    assert all(len(packet) <= MOST_PACKET for packet in session.rtp)


def test_no_redundancy_is_red_all_the_same():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(RED, redundancy=0)
    for number in range(3):
        sender.write(opus_frame(number), number * 0.02)
    assert {len(decode_red(packet.payload)) for packet in parsed(session)} == {1}
    assert sender._copies == []


# ------------------------------------------------------------------ video


def test_pictures():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(VP8)
    sender.write(vp8_frame(1, True), 1.0)
    sender.write(vp8_frame(2), 1.04)
    sender.write(vp8_frame(3), 1.04)  # in the same instant, and yet another picture
    packets = flush(session, 1.04)
    stamps = [(packet.timestamp - packets[0].timestamp) & 0xFFFFFFFF for packet in packets]
    assert stamps == [0] * 3 + [3600] * 3 + [3601] * 3
    assert [packet.marker for packet in packets] == [False, False, True] * 3
    assert vp8.assemble([packet.payload for packet in packets[:3]]) == (vp8_frame(1, True), True)
    pictures = [int.from_bytes(packet.payload[2:4], "big") & 0x7FFF for packet in packets]
    assert [(picture - pictures[0]) & 0x7FFF for picture in pictures] == [0] * 3 + [1] * 3 + [2] * 3
    assert sender.stats().keyframes == 1


def test_pictures_with_timestamps_of_the_writers_own():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(H264)
    sender.write(h264_frame(1, True, 100), 1.0, timestamp=0)
    sender.write(h264_frame(2, False, 100), 1.5, timestamp=9000)
    packets = flush(session, 1.5)
    assert (packets[1].timestamp - packets[0].timestamp) & 0xFFFFFFFF == 9000
    assert h264.assemble([packets[0].payload]) == (h264_frame(1, True, 100), True)


@pytest.mark.parametrize("format", [VP8, H264])
@pytest.mark.parametrize("ids", [NONE, IDS])
def test_packets_are_never_too_long_even_when_sent_again(format, ids):
    session = make(b"s", extensions=ids)
    sender = session.add_sender(format, mid="0123456789abcdef", rid="f")
    frame = vp8_frame(1, True, 20_000) if format is VP8 else h264_frame(1, True, 20_000)
    sender.write(frame, 0.0)
    packets = [packet for packet in flush(session, 0.0) if packet.payload]
    assert 1100 < max(len(packet.data) for packet in packets) <= MOST_PACKET - 2
    sender.handle_nack(tuple([packet.sequence for packet in packets]), 1.0)
    again = flush(session, 1.0)
    assert len(again) == len(packets)
    assert max(len(packet.data) for packet in again) <= MOST_PACKET


def test_video_that_cannot_be_sent():
    session = make(b"s")
    plain = session.add_sender(Format(125, "h264", 90000, mode=0))
    for sender, frame in ((session.add_sender(VP8), b""), (session.add_sender(H264), b"x"), (plain, h264_frame(1))):
        with pytest.raises(LocalProtocolError):
            sender.write(frame, 0.0)
        assert not sender.clock.started
    plain.write(h264_frame(1, size=500), 0.0)
    assert len(flush(session, 0.0)) == 1


def test_a_full_pacer_refuses_frames_and_wants_a_key_frame_then():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(VP8)
    assert sender.write(vp8_frame(0, True, PACER_BYTES), 0.0)
    assert not sender.write(vp8_frame(1), 0.0)
    assert sender.keyframe_wanted
    assert sender.counters["pacer_full"] == 1
    flush(session, 0.0)
    assert not sender.write(vp8_frame(2), 1.0)
    assert sender.write(vp8_frame(3, True), 1.04)
    assert not sender.keyframe_wanted
    assert sender.write(vp8_frame(4), 1.08)
    assert sender.stats().frames_dropped == 2


def test_a_paused_encoding_goes_on_with_a_key_frame():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(VP8)
    sender.write(vp8_frame(0, True, 10), 0.0)
    sender.set_paused(True)
    assert sender.paused
    assert not sender.write(vp8_frame(1, False, 10), 0.04)
    sender.set_paused(False)
    assert sender.keyframe_wanted
    assert not sender.write(vp8_frame(2, False, 10), 0.08)
    assert sender.write(vp8_frame(3, True, 10), 0.12)
    packets = flush(session, 0.12)
    assert [(packet.sequence - packets[0].sequence, packet.timestamp - packets[0].timestamp) for packet in packets] == [
        (0, 0),
        (1, 10800),
    ]


# ------------------------------------------------------------------ header extensions


def test_extensions_of_audio():
    session = make(b"s")
    sender = session.add_sender(OPUS, mid="3")
    sender.write(opus_frame(0), 0.5, level=35, voice=True)
    sender.write(opus_frame(0), 0.52, level=127)
    sender.write(opus_frame(0), 0.54)
    first, second, third = parsed(session)
    assert first.profile == ONE_BYTE
    seconds = int((UNIX + 0.5) % 64 * 262144) & 0xFFFFFF
    assert extensions(first) == {1: b"\xa3", 4: b"3", 2: seconds.to_bytes(3, "big"), 3: b"\0\0"}
    assert extensions(second)[1] == b"\x7f"
    assert 1 not in extensions(third)
    assert extensions(third)[3] == b"\0\2"


def test_extensions_of_video():
    session = make(b"s")
    sender = session.add_sender(VP8, mid="3", rid="h")
    sender.write(vp8_frame(0, True, 10), 0.5, level=3)
    packet = flush(session, 0.5)[-1]
    assert set(extensions(packet)) == {2, 3, 4, 10}
    assert extensions(packet)[10] == b"h"


def test_nothing_negotiated_nothing_sent():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS, mid="3", rid="x")
    sender.write(opus_frame(0), 0.5, level=3)
    assert session.rtp[0][0] == 0x80


def test_large_ids_take_the_two_byte_form():
    session = make(b"s", extensions=ExtensionIds(mid=20, audio_level=1, transport_cc=30))
    sender = session.add_sender(OPUS, mid="3")
    sender.write(opus_frame(0), 0.5, level=3)
    (packet,) = parsed(session)
    assert packet.profile == TWO_BYTE
    assert extensions(packet) == {1: b"\3", 20: b"3", 30: b"\0\0"}


def test_the_name_is_left_away_when_it_is_known():
    session = make(b"s")
    sender = session.add_sender(OPUS, mid="3")
    sender.write(opus_frame(0), 0.0)
    sender.handle_block(ReportBlock(sender.ssrc, 128, 3, 4, 480, 0, 0), 0.05)
    sender.write(opus_frame(0), 0.02)
    first, second = parsed(session)
    assert 4 in extensions(first)
    assert 4 not in extensions(second)
    stats = sender.stats()
    assert (stats.fraction_lost, stats.lost, stats.jitter, stats.rtt) == (0.5, 3, 0.01, 0.05)
    sender.handle_block(ReportBlock(sender.ssrc, 0, 3, 4, 480, 0, 0), None)
    assert sender.rtt == 0.05


def test_the_name_is_left_away_without_reports_too():
    session = make(b"s")
    sender = session.add_sender(OPUS, mid="3")
    for number in range(IDENTIFY + 5):
        sender.write(opus_frame(0), number * 0.02)
    named = [4 in extensions(packet) for packet in parsed(session)]
    assert named == [True] * (IDENTIFY + 1) + [False] * 4


# ------------------------------------------------------------------ retransmission


def test_rtx():
    session = make(b"s")
    sender = session.add_sender(VP8, mid="1", rid="h")
    sender.write(vp8_frame(0, True), 0.0)
    packets = [packet for packet in flush(session, 0.0) if packet.payload]
    sender.handle_nack((packets[1].sequence, packets[2].sequence), 0.1)
    again = flush(session, 0.1)
    for original, repeated in zip(packets[1:], again, strict=True):
        assert repeated.payload == original.sequence.to_bytes(2, "big") + original.payload
        assert (repeated.ssrc, repeated.payload_type) == (sender.rtx_ssrc, 97)
        assert (repeated.timestamp, repeated.marker) == (original.timestamp, original.marker)
        assert set(extensions(repeated)) == {2, 3, 4, 11}
    assert (again[1].sequence - again[0].sequence) & 0xFFFF == 1
    assert extensions(again[0])[3] == b"\0\3"
    stats = sender.stats()
    assert (stats.packets, stats.resent_packets, stats.nacks) == (3, 2, 2)
    assert stats.resent_bytes == sum(len(packet.data) for packet in again)
    assert session.sent.sent == 5


@pytest.mark.parametrize("format", [VP8, VP8_PLAIN])
def test_an_encoding_known_by_its_name_is_introduced(format):
    """Once, by padding: without names, so that the server has to read on, and of RTX with them at the end."""
    session = make(b"s")
    sender = session.add_sender(format, mid="1", rid="h")
    for number in range(2):
        sender.write(vp8_frame(number, not number, 10), number * 0.04)
    packets = flush(session, 0.04)
    rtx = [packet for packet in packets if packet.ssrc == sender.rtx_ssrc]
    first, *rest = [packet for packet in packets if packet.ssrc == sender.ssrc]
    assert (first.payload, first.payload_type, extensions(first)) == (b"", format.payload_type, {})
    assert [(packet.sequence - first.sequence) & 0xFFFF for packet in rest] == [1, 2]
    assert [extensions(packet)[10] for packet in rest] == [b"h", b"h"]
    assert [extensions(packet) for packet in rtx] == ([{}, {}, {4: b"1", 11: b"h"}] if format.rtx else [])
    assert all(packet.payload == b"" and packet.payload_type == format.rtx for packet in rtx)
    assert len({packet.sequence for packet in rtx}) == len(rtx)
    assert packets.index(first) < packets.index(rest[0])
    assert sender.stats().packets == 2


def test_the_same_packets_again_without_rtx():
    session = make(b"s")
    for format, frame in ((VP8_PLAIN, vp8_frame(0, True)), (OPUS, opus_frame(0))):
        sender = session.add_sender(format)
        sender.write(frame, 0.0)
        packets = flush(session, 0.0)
        sender.handle_nack(tuple([packet.sequence for packet in packets]), 0.1)
        assert [packet.data for packet in flush(session, 0.1)] == [packet.data for packet in packets]


def test_rtx_without_extensions():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(VP8)
    sender.write(vp8_frame(0, True, 10), 0.0)
    (packet,) = flush(session, 0.0)
    sender.handle_nack((packet.sequence,), 0.1)
    (again,) = flush(session, 0.1)
    assert again.profile == 0
    assert again.payload == packet.data[2:4] + packet.payload


def test_the_history_is_bounded():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS)
    for number in range(RTP_HISTORY_AUDIO + 10):
        sender.write(opus_frame(number), number * 0.02)
    packets = parsed(session)
    sender.handle_nack(tuple([packet.sequence for packet in packets]), 9.0)
    assert [packet.payload for packet in parsed(session)] == [packet.payload for packet in packets[10:]]
    assert sender.counters["nack_too_old"] == 10
    assert len(session.add_sender(VP8)._history) == RTP_HISTORY_VIDEO
    sender.handle_nack((0,), 10.0)  # never sent
    assert not session.rtp


def test_a_packet_is_not_repeated_too_often():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS)
    sender.write(opus_frame(0), 0.0)
    sequence = parsed(session)[0].sequence
    for now, expected in ((0.0, 1), (0.005, 0), (0.011, 1), (0.012, 0)):
        sender.handle_nack((sequence,), now)
        assert len(parsed(session)) == expected
    sender.rtt = 0.1
    for now, expected in ((0.05, 0), (0.062, 1)):
        sender.handle_nack((sequence,), now)
        assert len(parsed(session)) == expected
    assert sender.counters["nack_too_soon"] == 3


def test_retransmissions_are_limited_by_rate():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(VP8_PLAIN)
    sender.write(vp8_frame(0, True, 300_000), 0.0)
    packets = flush(session, 0.0)
    sequences = tuple([packet.sequence for packet in packets])
    sender.handle_nack(sequences, 1.0)
    resent = sum(len(packet.data) for packet in flush(session, 1.0))
    assert RESEND_BURST - MOST_PACKET <= resent <= RESEND_BURST
    assert sender.counters["resend_limited"] == 1
    sender.handle_nack(sequences[-20:], 1.1)
    assert sum(len(packet.data) for packet in flush(session, 1.1)) <= 0.1 * RESEND_BURST + 2 * MOST_PACKET


def test_a_full_pacer_takes_no_retransmissions():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(VP8)
    sender.write(vp8_frame(0, True, 10), 0.0)
    (packet,) = flush(session, 0.0)
    sender.write(vp8_frame(1, True, PACER_BYTES), 1.0)
    waiting = session.pacer.size
    sender.handle_nack((packet.sequence,), 1.0)
    assert session.pacer.size == waiting


def test_requests_that_were_not_negotiated():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS_PLAIN)
    sender.write(opus_frame(0), 0.0)
    sender.handle_nack((parsed(session)[0].sequence,), 0.1)
    assert not session.rtp
    assert sender.counters["nack_not_negotiated"] == 1


# ------------------------------------------------------------------ reports


def test_sender_reports():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS)
    for number in range(50):
        sender.write(opus_frame(0), number * 0.02)
    first = RtpPacket(session.rtp[0])
    report = sender.make_report(123, 1.0)
    assert (report.ssrc, report.ntp, report.packets, report.octets) == (sender.ssrc, 123, 50, 50 * 65)
    assert (report.timestamp - first.timestamp) & 0xFFFFFFFF == 48000
    assert sender.bitrate == 0.0
    for number in range(50):
        sender.write(opus_frame(0), 1 + number * 0.02)
    assert sender.make_report(124, 1.0).packets == 100  # no time has passed
    report = sender.make_report(124, 2.0)
    assert (report.timestamp - first.timestamp) & 0xFFFFFFFF == 96000
    assert sender.stats().bitrate == 50 * 65 * 8
    assert sender.reported == 100
    assert repr(sender) == f"RtpSender(opus, mid='', rid='', ssrc={sender.ssrc})"


def test_a_burst_does_not_shift_the_mapping():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS)
    for _ in range(50):
        sender.write(opus_frame(0), 0.0)
    first = RtpPacket(session.rtp[0])
    assert (sender.make_report(0, 0.5).timestamp - first.timestamp) & 0xFFFFFFFF == 24000


def test_what_is_remembered_of_packets_sent_again_is_bounded():
    session = make(b"s", extensions=NONE)
    sender = session.add_sender(OPUS)
    for number in range(3 * RTP_HISTORY_AUDIO):
        now = number * 0.02
        sender.write(opus_frame(number), now)
        sender.handle_nack((parsed(session)[-1].sequence,), now)
        parsed(session)
        assert len(sender._resent) <= RTP_HISTORY_AUDIO
    assert sender.resent_packets == 3 * RTP_HISTORY_AUDIO


def test_frames_that_waited_leave_as_they_were_written():
    session = make(b"s")
    first, second = session.add_sender(VP8), session.add_sender(VP8)
    first.write(vp8_frame(0, True, 11_000), 0.0)
    for sender, number in ((first, 1), (first, 2), (second, 0), (first, 3)):
        sender.write(vp8_frame(number, not number, 2500), 0.0)
    packets = flush(session, 0.0)
    first.handle_nack((packets[0].sequence,), 1.0)
    for sender, number in ((first, 4), (second, 1), (second, 2)):
        sender.write(vp8_frame(number, False, 2500), 1.0)
    session.remove_sender(second, 1.0)
    later = list(flush(session, 1.0))
    runs = [(packet.ssrc, packet.marker) for packet in packets]
    mine, other = first.ssrc, second.ssrc
    assert runs == [
        *[(mine, False)] * 9,
        (mine, True),
        *[(mine, False), (mine, False), (mine, True)] * 2,
        *[(other, False), (other, False), (other, True)],
        *[(mine, False), (mine, False), (mine, True)],
    ]
    assert [(packet.ssrc, packet.marker) for packet in later] == [
        (first.rtx_ssrc, False),
        *[(mine, False), (mine, False), (mine, True)],
    ]
    numbers = [int.from_bytes(extensions(packet)[IDS.transport_cc], "big") for packet in [*packets, *later]]
    assert numbers == list(range(len(numbers)))
