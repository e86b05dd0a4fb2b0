"""A track on its way to a subscriber: one stream, whatever comes in."""

from __future__ import annotations

import pytest

from sansio.base.limits import RTP_HISTORY_VIDEO
from sansio.rtp.packet import decode_extensions
from sansio.rtp.rtcp import FullIntra, Nack, PictureLoss, ReceiverReport, ReportBlock, SenderReport
from sansio.sdp.codecs import ABS_SEND_TIME, DEPENDENCY_DESCRIPTOR
from sansio.sdp.media import Codec
from sansio.sfu.upstream import LIVE
from tests.unit.sfu.relay import AV1, DELTA, KEY, OPUS, RED, RTX, VP8, Relay

Q, H, F = 1001, 1002, 1003


def layered(**options):
    return Relay(rids=("q", "h", "f"), streams=(), **options)


def feed(relay, rid, ssrc, payload, sequence, **more):
    return relay.put(payload, ssrc=ssrc, mid="0", rid=rid, sequence=sequence, **more)


# ------------------------------------------------------------------ one layer


def test_nothing_before_a_key_frame_and_then_everything_under_our_numbers():
    relay = Relay()
    assert relay.put(DELTA) == []
    (first,) = relay.put(KEY, marker=True)
    (second,) = relay.put(DELTA)
    assert (first.ssrc, first.payload_type, first.marker, first.payload) == (5000, 96, True, KEY)
    assert (second.sequence - first.sequence) & 0xFFFF == 1
    assert not second.marker
    assert "down" in relay.wakes


def test_the_publisher_is_asked_for_a_key_frame_once():
    relay = Relay()
    assert relay.told() == []  # it will begin with one by itself
    relay.put(DELTA)
    relay.put(DELTA)
    assert [type(packet) for packet in relay.told()] == [PictureLoss]
    relay.put(DELTA)
    assert relay.told() == []
    relay.wait(0.6)
    relay.put(DELTA)
    (asked,) = [packet for packet in relay.told() if isinstance(packet, PictureLoss)]
    assert asked.media == 1000
    # so do requests of subscribers, however many
    relay.put(KEY)
    relay.wait(0.6)
    relay.put(DELTA)
    relay.say(PictureLoss(1, 5000), FullIntra(1, ((5000, 1), (77, 1))), PictureLoss(1, 78))
    assert len([packet for packet in relay.told() if isinstance(packet, PictureLoss)]) == 1
    relay.wait(3.0)
    relay.say(PictureLoss(1, 5000))
    assert not [packet for packet in relay.told() if isinstance(packet, PictureLoss)]  # it sends nothing at present


def test_a_request_is_met_by_a_key_frame_that_comes_anyway():
    relay = Relay()
    relay.put(DELTA)
    relay.told()
    relay.put(DELTA)
    relay.put(KEY)
    relay.wait(1.0)
    assert not [packet for packet in relay.told() if isinstance(packet, PictureLoss)]


def test_a_request_before_anything_was_sent_goes_to_the_best_layer():
    relay = Relay()
    relay.put(DELTA)
    relay.told()
    relay.wait(0.9)
    relay.say(PictureLoss(1, 5000))
    assert [packet.media for packet in relay.told() if isinstance(packet, PictureLoss)] == [1000]


def test_losses_and_late_packets_keep_their_places():
    relay = Relay()
    relay.put(KEY, sequence=65534)
    (a,) = relay.put(DELTA, sequence=65535)
    (b,) = relay.put(DELTA, sequence=2)
    (late,) = relay.put(DELTA, sequence=1)
    assert [(packet.sequence - a.sequence) & 0xFFFF for packet in (b, late)] == [3, 2]
    assert relay.put(DELTA, sequence=1) == []  # once is enough


def test_what_is_older_than_the_beginning_is_dropped():
    relay = Relay()
    relay.put(DELTA, sequence=10)
    relay.put(KEY, sequence=12)
    assert relay.put(DELTA, sequence=11) == []
    (later,) = relay.put(DELTA, sequence=13)
    assert later.payload == DELTA


def test_the_beginning_moves_on_with_the_stream():
    relay = Relay()
    relay.put(KEY, sequence=0)
    for sequence in range(0x1000, 0x1F000, 0x1000):
        assert len(relay.put(DELTA, sequence=sequence)) == 1


def test_a_pause_leaves_no_gap_in_sequence_but_in_time():
    relay = Relay()
    relay.put(KEY, timestamp=1000)
    (before,) = relay.put(DELTA, timestamp=1000)
    relay.track.set_muted(True, relay.now)
    relay.track.set_muted(True, relay.now)
    assert relay.put(DELTA) == []
    relay.wait(2.0)
    relay.track.set_muted(False, relay.now)
    assert relay.put(DELTA) == []
    (after,) = relay.put(KEY, timestamp=77)
    assert (after.sequence - before.sequence) & 0xFFFF == 1
    assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 180000


def test_a_subscriber_switches_it_off_and_on():
    relay = Relay()
    relay.put(KEY)
    relay.track_down.set_enabled(False, relay.now)
    relay.track_down.set_enabled(False, relay.now)
    assert relay.put(DELTA) == []
    relay.track_down.set_enabled(True, relay.now)
    assert relay.put(DELTA) == []
    assert len(relay.put(KEY)) == 1


def test_nothing_goes_out_before_the_section_is_negotiated():
    relay = Relay()
    waiting = relay.subscribe(start=False, ssrc=5001, who="PA_3")
    relay.put(KEY)
    assert waiting.packets == 0
    relay.down.start_down(waiting, relay.takes, relay.now)
    relay.down.start_down(waiting, relay.takes, relay.now)
    relay.put(KEY)
    assert waiting.packets == 1


# ------------------------------------------------------------------ layers


def test_the_best_layer_is_sent_from_its_key_frame_on():
    relay = layered()
    (first,) = feed(relay, "q", Q, KEY, 100, timestamp=500)
    relay.wait(0.5)
    assert feed(relay, "f", F, DELTA, 7000) == []
    assert [packet.media for packet in relay.told() if isinstance(packet, PictureLoss)][-1] == F
    (second,) = feed(relay, "q", Q, DELTA, 101, timestamp=45500)
    (third,) = feed(relay, "f", F, KEY, 7001, timestamp=9)
    assert feed(relay, "q", Q, DELTA, 102) == []
    assert feed(relay, "h", H, KEY, 40) == []
    (fourth,) = feed(relay, "f", F, DELTA, 7002, timestamp=3009)
    assert [(packet.sequence - first.sequence) & 0xFFFF for packet in (second, third, fourth)] == [1, 2, 3]
    assert (fourth.timestamp - third.timestamp) & 0xFFFFFFFF == 3000
    assert third.timestamp != second.timestamp
    assert feed(relay, "f", F, DELTA, 6999) == []
    assert {packet.ssrc for packet in (first, second, third, fourth)} == {5000}


def test_a_lower_layer_takes_over_when_the_best_one_stops():
    relay = layered()
    feed(relay, "f", F, KEY, 1)
    assert feed(relay, "q", Q, KEY, 1) == []
    relay.wait(LIVE + 0.1)
    assert feed(relay, "q", Q, DELTA, 2) == []
    assert len(feed(relay, "q", Q, KEY, 3)) == 1


def test_a_subscriber_that_wants_less_gets_less():
    relay = layered()
    feed(relay, "f", F, KEY, 1)
    feed(relay, "q", Q, DELTA, 1)
    relay.told()
    relay.wait(1.0)
    feed(relay, "f", F, DELTA, 2)
    feed(relay, "q", Q, DELTA, 2)
    relay.track_down.set_max_layer(0, relay.now)
    relay.track_down.set_max_layer(0, relay.now)
    assert [packet.media for packet in relay.told() if isinstance(packet, PictureLoss)] == [Q]
    assert len(feed(relay, "f", F, DELTA, 3)) == 1  # until the other begins
    assert len(feed(relay, "q", Q, KEY, 3)) == 1
    assert feed(relay, "f", F, KEY, 4) == []
    relay.track_down.set_max_layer(2, relay.now)
    assert len(feed(relay, "f", F, KEY, 5)) == 1


def test_a_layer_above_the_wish_is_better_than_nothing():
    relay = layered()
    relay.track_down.set_max_layer(0, relay.now)
    assert len(feed(relay, "h", H, KEY, 1)) == 1
    assert feed(relay, "f", F, KEY, 1) == []


def test_the_counters_of_vp8_go_on_across_layers():
    relay = layered()

    def frame(picture, base, key=False):
        return bytes([0x90, 0xC0, 0x80 | picture >> 8, picture & 0xFF, base, 0 if key else 1, 0, 0])

    feed(relay, "q", Q, frame(500, 20, True), 1)
    (last,) = feed(relay, "q", Q, frame(501, 21), 2)
    (first,) = feed(relay, "f", F, frame(9000, 200, True), 1)
    (second,) = feed(relay, "f", F, frame(9001, 201), 2)
    numbers = [
        (int.from_bytes(packet.payload[2:4], "big") & 0x7FFF, packet.payload[4]) for packet in (last, first, second)
    ]
    assert numbers == [(501, 21), (502, 22), (503, 23)]


def test_rids_of_another_make_have_their_order():
    relay = Relay(rids=("low", "high"), streams=())
    feed(relay, "low", Q, KEY, 1)
    feed(relay, "high", F, KEY, 1)
    assert [(stream.rid, stream.layer) for stream in relay.track.streams] == [("low", 0), ("high", 1)]
    assert relay.track_down.stream.rid == "high"


# ------------------------------------------------------------------ formats


def test_payload_types_are_those_of_the_subscriber():
    other = Codec(101, "VP8", 90000)
    relay = Relay(takes=(other,))
    (packet,) = relay.put(KEY)
    assert packet.payload_type == 101


def test_a_codec_that_the_subscriber_does_not_take_is_not_sent():
    relay = Relay(takes=(AV1,))
    assert relay.put(KEY) == []
    assert relay.track_down.unsupported
    assert not relay.track_down.takes_something()
    assert Relay().track_down.takes_something()
    relay.track.media = None
    assert relay.track_down.takes_something()


def audio(**options):
    return Relay("audio", streams=((1000, None),), **options)


BLOCK = bytes([0x80 | 111, 0, 0, 2, 111]) + b"XXnewest"


def test_audio_begins_at_once():
    relay = audio()
    (packet,) = relay.put(b"opus", kind=111, level=20)
    assert (packet.payload, packet.payload_type, packet.profile) == (b"opus", 111, 0)
    relay.track_down.ask_keyframe(relay.now)
    relay.say(PictureLoss(1, 5000))
    assert not [packet for packet in relay.told() if isinstance(packet, PictureLoss)]


def test_redundant_audio_goes_on_as_it_is_where_it_is_taken():
    relay = audio()
    (packet,) = relay.put(BLOCK, kind=63)
    assert (packet.payload, packet.payload_type) == (BLOCK, 63)


def test_redundant_audio_names_the_subscribers_payload_type_inside():
    relay = audio(takes=(Codec(109, "opus", 48000, 2), Codec(70, "red", 48000, 2, "109/109")))
    (packet,) = relay.put(BLOCK, kind=63)
    assert packet.payload_type == 70
    assert packet.payload == bytes([0x80 | 109, 0, 0, 2, 109]) + b"XXnewest"


def test_redundant_audio_is_opened_for_those_who_do_not_take_it():
    relay = audio(takes=(Codec(109, "opus", 48000, 2),))
    (packet,) = relay.put(BLOCK, kind=63)
    assert (packet.payload, packet.payload_type) == (b"newest", 109)
    assert relay.put(b"", kind=63) == []
    off = audio(disable_red=True)
    assert [packet.payload for packet in off.put(BLOCK, kind=63)] == [b"newest"]
    assert audio(takes=(VP8,)).put(BLOCK, kind=63) == []


def test_video_says_when_it_left():
    relay = Relay()
    relay.down.extensions = {ABS_SEND_TIME: 5}
    relay.track_down.sending = False
    relay.down.start_down(relay.track_down, relay.takes, relay.now)
    relay.wait(2.5)
    (packet,) = relay.put(KEY)
    assert packet.extension(5) == (int(2.5 * 262144) & 0xFFFFFF).to_bytes(3, "big")


def test_the_dependency_descriptor_of_av1_goes_along():
    relay = Relay()
    relay.track.describe("video/AV1", "0")
    relay.down.extensions = {ABS_SEND_TIME: 5, DEPENDENCY_DESCRIPTOR: 12}
    relay.up.extensions = {**relay.up.extensions, DEPENDENCY_DESCRIPTOR: 4}
    relay.down.start_down(relay.track_down, relay.takes, relay.now)
    (packet,) = relay.put(b"\x08rest", kind=35, mid="described")
    elements = dict(decode_extensions(packet.profile, packet.data[packet.at : packet.end]))
    assert elements[12] == b"described"
    assert len(elements[5]) == 3
    (plain,) = relay.put(b"\x10rest", kind=35)
    assert plain.extension(12) is None
    relay.track.media = None
    assert relay.track.descriptor_id == 0


# ------------------------------------------------------------------ repair and reports


def test_missing_packets_are_sent_again_as_rtx():
    relay = Relay()
    relay.put(KEY)
    (lost,) = relay.put(DELTA, marker=True)
    relay.wait(0.1)
    relay.say(Nack(1, 5000, (lost.sequence, 1234)), Nack(1, 77, (lost.sequence,)))
    (again,) = relay.taken()
    assert (again.ssrc, again.payload_type, again.marker) == (6000, 97, True)
    assert again.payload == lost.sequence.to_bytes(2, "big") + DELTA
    assert again.timestamp == lost.timestamp
    relay.say(Nack(1, 5000, (lost.sequence,)))
    assert relay.taken() == []  # a moment ago
    relay.wait(0.1)
    relay.say(Nack(1, 5000, (lost.sequence,)))
    (third,) = relay.taken()
    assert (third.sequence - again.sequence) & 0xFFFF == 1


def test_without_rtx_the_same_packet_is_sent_again():
    relay = Relay(takes=(VP8,))
    relay.put(KEY)
    (lost,) = relay.put(DELTA)
    relay.wait(0.1)
    relay.say(Nack(1, 5000, (lost.sequence,)))
    assert [packet.data for packet in relay.taken()] == [lost.data]


def test_the_history_is_bounded():
    relay = Relay(takes=(VP8, RTX))
    (first,) = relay.put(KEY)
    for _ in range(RTP_HISTORY_VIDEO):
        relay.put(DELTA)
    relay.wait(0.1)
    relay.say(Nack(1, 5000, (first.sequence,)))
    assert relay.taken() == []
    assert len(relay.track_down._history) == RTP_HISTORY_VIDEO
    assert len(audio(takes=(OPUS, RED)).track_down._history) < RTP_HISTORY_VIDEO


def test_sender_reports_carry_the_publishers_clock_under_our_numbers():
    relay = Relay()
    relay.told(relay.down)
    (packet,) = relay.put(KEY, timestamp=1000)
    relay.told(relay.down)
    relay.wait(3.0)
    report, chunk = relay.told(relay.down)
    assert isinstance(report, SenderReport)
    assert (report.ssrc, report.packets, report.octets) == (5000, 1, len(KEY))
    assert (report.timestamp - packet.timestamp) & 0xFFFFFFFF == 3 * 90000
    assert dict(chunk.chunks[0][1]) == {1: b"PA_1|TR_1", 15: b"1"}
    # after a report of the publisher, its word counts, even if it took longer than another
    relay.say_up(SenderReport(77, 1 << 40, 5000, 1, 1), SenderReport(1000, 1 << 40, 5000, 1, 1))
    relay.wait(0.25)
    relay.say_up(SenderReport(1000, 1 << 40, 5000, 1, 1))
    relay.put(DELTA, timestamp=2000)
    relay.told(relay.down)
    relay.wait(2.75)
    report = relay.told(relay.down)[0]
    assert (report.timestamp - packet.timestamp) & 0xFFFFFFFF == pytest.approx(4000 + 3 * 90000, abs=2)
    # and when nothing was sent there is nothing to tell
    relay.wait(3.0)
    assert not [packet for packet in relay.told(relay.down) if isinstance(packet, SenderReport)]
    assert relay.down.advance(relay.now) == float("inf")


def test_what_subscribers_lose_is_known():
    relay = Relay()
    relay.put(KEY)
    relay.say(ReceiverReport(1, (ReportBlock(5000, 64, 0, 0, 0, 0, 0), ReportBlock(99, 255, 0, 0, 0, 0, 0))))
    assert relay.track_down.loss == 0.25


def test_many_tracks_report_in_several_datagrams():
    relay = Relay()
    downs = [relay.subscribe(ssrc=7000 + number, who=f"PA_{10 + number}") for number in range(10)]
    assert [packet.ssrc for packet in relay.put(KEY)] == [5000, *range(7000, 7010)]
    assert all(down.packets == 1 for down in downs)
    relay.told(relay.down)
    relay.wait(3.0)
    relay.down.advance(relay.now)
    assert len(relay.down.rtcp) == 2


@pytest.mark.parametrize(("fmtp", "inner"), [("111/111", 111), ("", 0), ("x/y", 0), ("9999/1", 0)])
def test_the_type_inside_redundant_audio(fmtp, inner):
    relay = audio(takes=(OPUS, Codec(63, "red", 48000, 2, fmtp)))
    (packet,) = relay.put(BLOCK, kind=63)
    assert packet.payload[4] == inner
