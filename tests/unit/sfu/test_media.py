"""The media of one peer connection: whose packet is it, and what is said about it."""

from __future__ import annotations

import pytest

from sansio.base.contract import INF
from sansio.base.limits import RTCP_REFERENCES, SFU_SOURCES
from sansio.rtp.feedback import decode_arrivals
from sansio.rtp.packet import RtpPacket, build_rtp
from sansio.rtp.rtcp import (
    ExtendedReport,
    Goodbye,
    Nack,
    ReceiverReport,
    Remb,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    decode_rtcp,
)
from tests.unit.sfu.relay import DELTA, KEY, Relay


def kinds(packets, kind):
    return [packet for packet in packets if isinstance(packet, kind)]


def test_what_cannot_be_read_or_placed_is_counted():
    relay = Relay()
    relay.up.receive_rtp(b"\x80", 0.0)
    relay.up.receive_rtcp(b"\x80", 0.0)
    relay.put(KEY, ssrc=99)
    relay.put(KEY, ssrc=99, mid="9")
    relay.put(KEY, kind=77)
    assert relay.up.counters.snapshot() == {
        "bad_rtp": 1,
        "bad_rtcp": 1,
        "unknown_source": 2,
        "unknown_payload_type": 1,
    }
    assert not relay.up.skips(b"")


def test_layers_are_bound_by_their_names():
    relay = Relay(rids=("q", "h"), streams=(), layers=[{"quality": 0, "height": 180}, {"quality": 1, "height": 360}])
    relay.put(KEY, ssrc=1, mid="0", rid="h")
    relay.put(KEY, ssrc=1, sequence=0)
    relay.put(KEY, ssrc=2, mid="0", rid="x")
    relay.put(KEY, ssrc=3, mid="0", rid="h")
    assert relay.up.counters.snapshot() == {"duplicate": 1, "unknown_source": 2}
    (stream,) = relay.track.streams
    assert (stream.ssrc, stream.rid, stream.layer) == (1, "h", 1)
    assert [(layer.ssrc, layer.rid) for layer in relay.track.info.layers] == [(0, ""), (1, "h")]


def test_a_section_without_layers_takes_an_unnamed_source_by_its_mid():
    relay = Relay(rids=("",), streams=())
    relay.put(KEY, ssrc=7, mid="0")
    assert relay.track.streams[0].ssrc == 7


def test_retransmissions_of_the_publisher_fill_gaps():
    relay = Relay()
    relay.put(KEY, sequence=1)
    relay.put(DELTA, sequence=3)
    (nack,) = kinds(relay.told(), Nack)
    assert (nack.media, nack.sequences) == (1000, (2,))
    (repaired,) = relay.put((2).to_bytes(2, "big") + DELTA, ssrc=2000, kind=97, sequence=500)
    assert (repaired.payload, repaired.payload_type) == (DELTA, 96)
    assert relay.put((2).to_bytes(2, "big") + DELTA, ssrc=2000, kind=97, sequence=501) == []
    assert relay.put(b"", ssrc=2000, kind=97, sequence=502) == []
    assert relay.put(b"\0\2", ssrc=2000, kind=96, sequence=503) == []
    assert relay.put(b"\0\2", ssrc=2000, kind=55, sequence=503) == []


def test_retransmissions_of_layers_are_bound_by_their_names():
    relay = Relay(rids=("q", "h"), streams=())
    relay.put(KEY, ssrc=1, mid="0", rid="q", sequence=1)
    relay.put(DELTA, ssrc=1, sequence=3)
    (repaired,) = relay.put((2).to_bytes(2, "big") + DELTA, ssrc=50, kind=97, mid="0", repaired="q", sequence=9)
    assert repaired.payload == DELTA
    relay.put(b"\0\2x", ssrc=51, kind=97, mid="0", repaired="q", sequence=9)
    relay.put(b"\0\2x", ssrc=52, kind=97, mid="0", repaired="h", sequence=9)
    assert relay.up.counters["unknown_source"] == 2


def test_a_source_is_bound_once_and_sources_are_limited(monkeypatch):
    assert SFU_SOURCES > 1
    monkeypatch.setattr("sansio.sfu.media.SFU_SOURCES", 1)
    relay = Relay(streams=((1, None), (2, 3)))
    assert [stream.ssrc for stream in relay.up.streams] == [1]
    assert relay.up.counters.snapshot() == {"source_refused": 1}
    relay.put(KEY, ssrc=2)
    assert relay.up.counters["unknown_source"] == 1


def test_a_track_that_ends_takes_its_sources_along():
    relay = Relay()
    relay.up.unpublish("0")
    assert relay.up.streams == ()
    relay.put(KEY)
    relay.put(b"\0\1x", ssrc=2000, kind=97)
    assert relay.up.counters["unknown_source"] == 2


def test_arrivals_are_reported_where_packets_are_numbered():
    relay = Relay()
    for number in (10, 11, 13):
        relay.put(DELTA, number=number)
        relay.wait(0.01)
    relay.put(DELTA, mid="0")
    assert not kinds(relay.told(), TransportFeedback)
    relay.wait(0.1)
    (feedback,) = kinds(relay.told(), TransportFeedback)
    arrivals = decode_arrivals(feedback.body)
    assert (feedback.media, arrivals.base, [delta is not None for delta in arrivals.deltas]) == (
        1000,
        10,
        [True, True, False, True],
    )


def test_publishers_get_reports_every_second_while_they_send():
    relay = Relay()
    relay.put(KEY)
    relay.say_up(SenderReport(1000, 5 << 32, 1, 1, 1), SenderReport(9, 1, 1, 1, 1))
    relay.wait(0.5)
    relay.put(DELTA)
    relay.wait(0.5)
    reports = relay.told()
    blocks = [block for report in kinds(reports, ReceiverReport) for block in report.blocks]
    assert [(block.ssrc, block.last_report) for block in blocks] == [(1000, 0x50000)]
    (extended,) = kinds(reports, ExtendedReport)
    assert extended.ntp is not None
    due = relay.up.advance(relay.now)
    assert 0.9 <= due - relay.now <= 1.1
    relay.wait(5.0)
    relay.told()
    assert relay.up.advance(relay.now) == INF
    relay.put(DELTA)
    assert relay.up.advance(relay.now) < INF


def test_what_never_comes_is_given_up():
    relay = Relay()
    relay.put(KEY, sequence=1)
    relay.put(DELTA, sequence=3)
    asked = 0
    for _ in range(40):
        asked += len(kinds(relay.told(), Nack))
        relay.wait(0.1)
    assert asked == 5
    assert not relay.track.streams[0].missing


def test_nothing_is_reported_of_tracks_that_ended():
    relay = Relay()
    relay.put(KEY)
    relay.up.unpublish("0")
    relay.wait(1.0)
    assert relay.told() == []
    assert relay.up.advance(relay.now) == INF


def test_reference_times_are_answered():
    relay = Relay()
    for sender in range(RTCP_REFERENCES + 1):
        relay.say(ExtendedReport(sender, 7 << 32))
    relay.wait(1.0)
    (extended,) = kinds(relay.told(relay.down), ExtendedReport)
    assert len(extended.answers) == RTCP_REFERENCES
    assert extended.answers[0] == (0, 7 << 16, 65536)
    assert extended.ntp is None
    relay.say(ExtendedReport(1))
    assert relay.down.advance(relay.now) == INF


def test_what_says_nothing_to_a_server_is_passed_over():
    relay = Relay()
    relay.told()
    relay.say(Remb(1, 1000, (5000,)), SourceDescription(((1, ((1, b"x"),)),)), Goodbye((5000,)))
    assert relay.told() == []
    relay.up.set_rtt(0.05)
    assert relay.up.rtt == 0.05


def test_goodbyes():
    relay = Relay()
    relay.put(KEY)
    relay.down.remove_down(relay.track_down)
    relay.down.remove_down(relay.track_down)
    packets = [packet for data in relay.down.rtcp for packet in decode_rtcp(data)]
    assert kinds(packets, Goodbye) == [Goodbye((5000,))]
    relay.down.rtcp.clear()
    relay = Relay()
    relay.put(KEY)
    assert relay.down.downs == (relay.track_down,)
    relay.down.close(relay.now)
    relay.down.close(relay.now)
    packets = [packet for data in relay.down.rtcp for packet in decode_rtcp(data)]
    assert kinds(packets, Goodbye) == [Goodbye((5000,))]
    assert relay.down.advance(relay.now) == INF
    relay.down.rtcp.clear()
    relay.down.remove_down(relay.track_down)
    assert not relay.down.rtcp
    idle = Relay()
    idle.down.remove_down(idle.track_down)
    assert not idle.down.rtcp


def test_levels_of_sound_are_heard():
    relay = Relay("audio", streams=((1000, None),))
    for number in range(60):
        relay.wait(0.02)
        relay.put(b"opus", kind=111, level=12, timestamp=number * 960)
    assert relay.track.meter.read(relay.now) > 0.1
    relay.put(b"opus", kind=111)


def test_a_track_may_have_sources_of_several_layers_without_names():
    relay = Relay(streams=((1, 11), (2, 12), (3, 13), (4, 14)))
    assert [(stream.ssrc, stream.layer, stream.rtx_ssrc) for stream in relay.track.streams] == [
        (1, 0, 11),
        (2, 1, 12),
        (3, 2, 13),
    ]
    assert RtpPacket(build_rtp(96, 1, 1, 1, b"", b"")).ssrc == 1


@pytest.mark.parametrize("waiting", [True, False])
def test_a_key_frame_is_asked_of_nobody_that_does_not_send(waiting):
    relay = Relay()
    if not waiting:
        relay.put(DELTA)
    relay.wait(5.0)
    relay.told()
    relay.track.streams[0].ask_keyframe(relay.now)
    assert relay.told() == []
    assert relay.track.streams[0].keyframe_due == INF
