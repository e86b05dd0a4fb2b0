"""Tracks in the sections of two connections: mapped, moved, released, sent, refused."""

from __future__ import annotations

import pytest

from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SECTIONS
from sansio.peer.media import SendingStarted, TrackMapped, TrackUnmapped
from sansio.rtp.format import ExtensionIds
from sansio.rtp.packet import RtpPacket, build_rtp
from sansio.sdp.media import parse_sdp
from sansio.testing.netem import Link
from sansio.testing.world import World
from tests.unit.peer.ends import Connections

LINK = Link(latency=0.02)
STREAM = "PA_them|TR_voice"
OPUS_FRAME = b"\xf8\xff\xfe"
VP8_KEY = b"\x10\x00\x00\x9d\x01\x2a\x08\x00\x08\x00" + bytes(3000)


@pytest.fixture
def pair():
    return Connections(World(1, link=LINK))


def exchange(pair, change=lambda sdp: sdp, ids=None):
    """An offer of "a", and the answer of "b", changed."""
    offer, number = pair.ends["a"].create_offer(pair.world.now)
    answer = change(pair.ends["b"].handle_offer(offer, pair.world.now))
    pair.ends["a"].handle_answer(answer, number, pair.world.now, mid_to_track_id=ids or {})
    pair.touch("a")
    pair.touch("b")
    pair.world.run_for(0.001)
    return offer, answer


def with_tracks(tracks):
    """Have the answer send these tracks: mid to (stream, track, ssrc line or "")."""

    def change(sdp):
        head, *parts = sdp.split("m=")
        for place, part in enumerate(parts):
            mid = part.split("a=mid:")[1].split("\r\n")[0]
            if mid in tracks:
                stream, track, ssrc = tracks[mid]
                line = f"a=ssrc:{ssrc} cname:x\r\n" if ssrc else ""
                parts[place] = part.replace("a=inactive\r\n", "a=sendonly\r\n") + f"a=msid:{stream} {track}\r\n{line}"
        return "m=".join([head, *parts])

    return change


def mapped(pair, name="a"):
    return [(e.mid, e.participant_sid, e.track_sid, e.receiver.kind) for e in pair.outputs(name, TrackMapped)]


def unmapped(pair, name="a"):
    return [(e.mid, e.track_sid) for e in pair.outputs(name, TrackUnmapped)]


# ------------------------------------------------------------------ receiving


def test_sections_of_the_answer_are_mapped_moved_and_released(pair):
    media = pair.ends["a"].media
    media.add_receive_sections(2, 1)
    assert (media.unused("audio"), media.unused("video")) == (2, 1)
    exchange(pair)
    assert mapped(pair) == []
    exchange(pair, with_tracks({"1": ("PA_x|TR_a", "TR_a", 11), "3": ("PA_x|TR_v", "TR_v", 22)}))
    assert mapped(pair) == [("1", "PA_x", "TR_a", "audio"), ("3", "PA_x", "TR_v", "video")]
    assert media.mapped == ("TR_a", "TR_v")
    assert (media.unused("audio"), media.unused("video")) == (1, 0)
    first = pair.outputs("a", TrackMapped)[0].receiver
    assert (first.ssrc, first.enabled) == (11, False)
    exchange(pair, with_tracks({"1": ("PA_x|TR_a", "TR_a", 11), "3": ("PA_x|TR_v", "TR_v", 22)}))
    assert len(mapped(pair)) == 2  # nothing new
    # another track in the section, the same track with another source, and one that is gone
    exchange(pair, with_tracks({"1": ("PA_y|TR_b", "TR_b", 33), "2": ("PA_x|TR_a", "TR_a", 11)}))
    assert unmapped(pair) == [("1", "TR_a"), ("3", "TR_v")]
    assert mapped(pair)[2:] == [("1", "PA_y", "TR_b", "audio"), ("2", "PA_x", "TR_a", "audio")]
    assert first.ended == "unsubscribed"
    exchange(pair, with_tracks({"1": ("PA_y|TR_b", "TR_b", 44)}))
    assert unmapped(pair)[2:] == [("1", "TR_b"), ("2", "TR_a")]
    assert [e.receiver.ssrc for e in pair.outputs("a", TrackMapped)][-1] == 44


def test_the_message_tells_the_track_where_the_stream_has_a_name(pair):
    pair.ends["a"].media.add_receive_sections(1, 0)
    exchange(pair, with_tracks({"1": ("PA_x|camera", "abc", 0)}), ids={"1": "TR_a"})
    assert mapped(pair) == [("1", "PA_x", "TR_a", "audio")]
    (found,) = pair.outputs("a", TrackMapped)
    assert (found.receiver.mid, found.receiver.ssrc) == ("1", 0)


def test_two_sections_with_one_source_are_counted(pair):
    pair.ends["a"].media.add_receive_sections(2, 0)
    exchange(pair, with_tracks({"1": ("PA_x|TR_a", "TR_a", 11), "2": ("PA_x|TR_b", "TR_b", 11)}))
    assert mapped(pair) == [("1", "PA_x", "TR_a", "audio")]
    assert pair.ends["a"].counters["source_conflict"] == 1


def test_hundreds_of_sections_are_used_again_and_again(pair):
    media = pair.ends["a"].media
    media.add_receive_sections(300, 100)
    for turn in range(2):
        names = {mid: f"TR_{turn}_{mid}" for mid in range(1, 401)}
        carried = {str(mid): (f"PA_x|{name}", name, 1000 * turn + mid) for mid, name in names.items()}
        exchange(pair, with_tracks(carried))
        assert len(media.mapped) == 400
        assert (media.unused("audio"), media.unused("video")) == (0, 0)
    assert len(pair.ends["a"].transport.rtp.receivers) == 400
    exchange(pair)
    assert media.mapped == ()
    assert pair.ends["a"].transport.rtp.receivers == ()
    assert (len(mapped(pair)), len(unmapped(pair))) == (800, 800)
    assert pair.ends["a"].counters.snapshot() == {}


def test_a_source_that_moves_to_another_track_follows_the_description(pair):
    """The server gives a source number to another section: what comes then is for the other track."""
    a = pair.ends["a"]
    a.media.add_receive_sections(2, 0)
    exchange(pair, with_tracks({"1": ("PA_x|TR_a", "TR_a", 11), "2": ("PA_x|TR_b", "TR_b", 22)}))
    exchange(pair, with_tracks({"1": ("PA_x|TR_a", "TR_a", 22), "2": ("PA_x|TR_b", "TR_b", 11)}))
    first, second = pair.outputs("a", TrackMapped)[2:]
    assert [(event.track_sid, event.receiver.ssrc) for event in (first, second)] == [("TR_a", 22), ("TR_b", 11)]
    for event in (first, second):
        a.transport.rtp.set_enabled(event.receiver, True, pair.world.now)
    a.transport.rtp.receive_rtp(build_rtp(111, 1, 0, 22, b"", OPUS_FRAME), pair.world.now)
    assert (len(first.receiver), len(second.receiver)) == (1, 0)
    assert a.counters.snapshot() == {}


# ------------------------------------------------------------------ sending


@pytest.mark.parametrize(("codec", "frame"), [("opus", OPUS_FRAME), ("red", OPUS_FRAME), ("vp8", VP8_KEY)])
def test_a_track_is_sent_and_arrives(pair, codec, frame):
    a, b = pair.ends["a"], pair.ends["b"]
    sending = a.media.add_sending(codec, "TR_voice", STREAM)
    assert a.media.sending == (sending,)
    assert sending.senders == ()
    exchange(pair)
    pair.run(pair.connected)
    (started,) = pair.outputs("a", SendingStarted)
    assert started.sending is sending
    assert sending.senders[0].format.codec == codec
    assert (sending.senders[0].ssrc, sending.senders[0].rtx_ssrc or None) == sending.streams[0]
    (found,) = pair.outputs("b", TrackMapped)
    assert (found.participant_sid, found.track_sid, found.receiver.ssrc) == (
        "PA_them",
        "TR_voice",
        sending.streams[0][0],
    )
    assert found.receiver.rtx_ssrc == (sending.streams[0][1] or 0)
    b.transport.rtp.set_enabled(found.receiver, True, pair.world.now)
    sending.senders[0].write(frame, pair.world.now)
    a.transport.touch_media()
    pair.touch("a")
    pair.run(lambda: len(found.receiver) == 1)
    assert found.receiver.read().data == frame
    assert repr(sending) == f"Sending({codec}, cid='TR_voice', mid='1')"


@pytest.mark.parametrize(
    ("codec", "first", "second"),
    [
        ("opus", ["opus", "red"], ["opus"]),
        ("red", ["red", "opus"], ["red", "opus"]),
        ("vp8", ["VP8", "H264", "H264"], ["VP8"]),
        ("h264", ["H264", "VP8", "H264"], ["H264"]),
    ],
)
def test_the_first_section_of_a_kind_offers_every_codec(pair, codec, first, second):
    """Else the server's connection does not know the others, neither for tracks of ours nor for those of others."""
    a = pair.ends["a"]
    for number in range(2):
        a.media.add_sending(codec, f"TR_{number}", STREAM)
    offer, _ = exchange(pair)
    offered = [[spec.name for spec in media.codecs if spec.name != "rtx"] for media in parse_sdp(offer).media[1:]]
    assert offered == [first, second]
    assert [sending.senders[0].format.codec for sending in a.media.sending] == [codec, codec]


def test_a_track_is_sent_by_a_codec_of_its_own_or_not_at_all(pair):
    a = pair.ends["a"]
    cam = a.media.add_sending("vp8", "TR_cam", STREAM)

    def without(name):
        return lambda sdp: sdp.replace(f"{name}/90000", "other/90000")

    exchange(pair, without("VP8"))
    assert cam.senders == ()
    assert a.counters["sending_refused"] == 1
    exchange(pair, without("H264"))
    assert cam.senders[0].format.codec == "vp8"


def test_each_section_has_its_own_extensions(pair):
    a = pair.ends["a"]
    voice = a.media.add_sending("opus", "TR_voice", STREAM)
    a.media.add_receive_sections(0, 1)
    exchange(pair)
    ids = a.transport.rtp.extensions
    assert ids == ExtensionIds(mid=4, rid=10, repaired_rid=11, audio_level=1, abs_send_time=2, transport_cc=3)
    assert voice.senders[0].ssrc == voice.streams[0][0]
    voice.senders[0].write(OPUS_FRAME, pair.world.now)
    packet = a.transport.rtp.rtp.popleft()
    assert packet[12:16] == b"\xbe\xde\x00\x01"  # one word: the mid alone
    exchange(pair)  # a second answer does not start it again
    assert len(pair.outputs("a", SendingStarted)) == 1


def test_a_section_is_reused_once_the_server_has_released_it(pair):
    a = pair.ends["a"]
    first = a.media.add_sending("opus", "TR_1", STREAM)
    exchange(pair)
    sender = first.senders[0]
    a.media.remove_sending(first, pair.world.now)
    a.media.remove_sending(first, pair.world.now)
    assert sender.closed
    assert a.media.sending == ()
    second = a.media.add_sending("opus", "TR_2", STREAM)  # too early
    assert second.mid == "2"
    offer, _ = exchange(pair)
    assert [media.direction for media in parse_sdp(offer).media[1:]] == ["inactive", "sendonly"]
    third = a.media.add_sending("vp8", "TR_3", STREAM)  # of another kind
    assert third.mid == "3"
    fourth = a.media.add_sending("red", "TR_4", STREAM)
    assert fourth.mid == "1"
    assert fourth.streams != first.streams
    exchange(pair)
    assert fourth.senders[0].format.codec == "red"
    assert [e.track_sid for e in pair.outputs("b", TrackMapped)] == ["TR_1", "TR_2", "TR_4", "TR_3"]
    assert [e.track_sid for e in pair.outputs("b", TrackUnmapped)] == ["TR_1"]


def test_a_section_that_is_not_released_yet_is_not_reused(pair):
    a = pair.ends["a"]
    first = a.media.add_sending("opus", "TR_1", STREAM)
    a.media.remove_sending(first, pair.world.now)  # never offered, so without a sender
    exchange(pair, lambda sdp: sdp.replace("a=inactive", "a=recvonly"))
    assert a.media.add_sending("opus", "TR_2", STREAM).mid == "2"


def test_a_track_that_the_server_does_not_take_is_counted(pair):
    a = pair.ends["a"]
    sending = a.media.add_sending("opus", "TR_1", STREAM)
    exchange(pair, lambda sdp: sdp.replace("a=recvonly", "a=inactive"))
    assert sending.senders == ()
    assert a.counters["sending_refused"] == 1
    exchange(pair, lambda sdp: sdp.replace("opus/48000", "other/48000"))
    assert sending.senders == ()
    exchange(pair)
    assert len(sending.senders) == 1


@pytest.mark.parametrize("inner", ["999/999", "77/77", "x", "\u0661\u0661\u0661"])
def test_redundancy_of_nothing_known_is_passed_over(pair, inner):
    sending = pair.ends["a"].media.add_sending("red", "TR_1", STREAM)
    exchange(pair, lambda sdp: sdp.replace("a=fmtp:63 111/111", f"a=fmtp:63 {inner}"))
    assert sending.senders[0].format.codec == "opus"


def test_a_section_whose_codecs_we_do_not_know_carries_nothing(pair):
    pair.ends["a"].media.add_receive_sections(1, 0)
    tracks = with_tracks({"1": ("PA_x|TR_a", "TR_a", 11)})
    exchange(pair, lambda sdp: tracks(sdp).replace("opus/48000", "other/48000").replace("red/48000", "more/48000"))
    assert mapped(pair) == []


VIDEO_LAYERS = ("q", "h", "f")


def simulcast(taken):
    """Have the answer take these encodings."""

    def change(sdp):
        rids = "".join([f"a=rid:{rid} recv\r\n" for rid in taken])
        return sdp + (f"{rids}a=simulcast:recv {';'.join(taken)}\r\n" if taken else "")

    return change


def test_simulcast_has_a_sender_for_each_encoding(pair):
    a, b = pair.ends["a"], pair.ends["b"]
    sending = a.media.add_sending("vp8", "TR_cam", STREAM, VIDEO_LAYERS)
    offer, _ = exchange(pair, simulcast(["f", "~h", "q"]))
    media = parse_sdp(offer).media[1]
    assert [(rid.id, rid.direction) for rid in media.rids] == [("q", "send"), ("h", "send"), ("f", "send")]
    assert media.simulcast.send == (("q",), ("h",), ("f",))
    assert "a=ssrc" not in offer
    pair.run(pair.connected)
    assert [sender.rid for sender in sending.senders] == list(VIDEO_LAYERS)
    assert len({ssrc for sender in sending.senders for ssrc in (sender.ssrc, sender.rtx_ssrc)}) == 6
    seen, receive = [], b.transport.rtp.receive_rtp

    def watch(data, now):
        packet = RtpPacket(data)
        if packet.payload:
            seen.append(packet)
        receive(data, now)

    b.transport.rtp.receive_rtp = watch
    for sender in sending.senders:
        sender.write(VP8_KEY, pair.world.now)
    a.transport.touch_media()
    pair.touch("a")
    pair.run(lambda: len(seen) >= 9)
    names = {packet.ssrc: packet.extension(10) for packet in seen}
    assert names == {sender.ssrc: sender.rid.encode() for sender in sending.senders}
    a.media.remove_sending(sending, pair.world.now)
    assert all(sender.closed for sender in sending.senders)
    assert "simulcast" not in exchange(pair)[0]


def test_of_simulcast_that_the_server_does_not_take_the_largest_is_sent(pair):
    a = pair.ends["a"]
    some = a.media.add_sending("vp8", "TR_cam", STREAM, VIDEO_LAYERS)
    exchange(pair, simulcast(["q", "f"]))
    assert [sender and sender.rid for sender in some.senders] == ["q", None, "f"]
    assert a.counters["simulcast_refused"] == 1
    a.media.remove_sending(some, pair.world.now)
    none = a.media.add_sending("vp8", "TR_cam2", STREAM, VIDEO_LAYERS)
    exchange(pair)
    assert [sender and sender.rid for sender in none.senders] == [None, None, ""]
    assert a.counters["simulcast_refused"] == 2


def test_misuse_is_refused(pair):
    media = pair.ends["a"].media
    with pytest.raises(LocalProtocolError, match="not as theora"):
        media.add_sending("theora", "c", "s")
    media.add_receive_sections(SECTIONS, 0)
    with pytest.raises(LocalProtocolError, match="up to"):
        media.add_sending("opus", "c", "s")
