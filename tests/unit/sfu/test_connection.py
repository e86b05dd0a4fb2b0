"""Descriptions and sections of one peer connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from sansio import proto
from sansio.base.contract import CloseSignal
from sansio.base.limits import SFU_SECTIONS
from sansio.sdp.media import parse_sdp
from tests.unit.sfu.door import Door, receiving, sending

rtc, models = proto.rtc, proto.models
DESCRIPTIONS = Path(__file__).parents[2] / "data" / "sdp"


def joined():
    door = Door()
    return door, door.enter("alice"), door.enter("bob")


# ------------------------------------------------------------------ the client offers


def test_an_answer_has_the_shape_of_livekits():
    door, alice, _ = joined()
    first = door.offer(alice, receiving("audio", "1"), sending("video", "2", "cam", rids=("f", "q")))
    text = door.messages("answer", alice)[-1].sdp
    assert "a=candidate" not in text
    assert [media.direction for media in first.media] == ["sendrecv", "sendonly", "recvonly"]
    assert [media.setup for media in first.media] == ["active"] * 3
    assert first.bundle == ("0", "1", "2")
    assert first.media[0].max_message_size == 65535
    audio, video = first.media[1:]
    assert [codec.name for codec in audio.codecs] == ["opus", "red"]
    assert audio.msid is None
    assert [rid.id for rid in video.rids] == ["f", "q"]
    assert video.simulcast.recv == (("f",), ("q",))
    assert [(trickle.final, trickle.target) for trickle in door.messages("trickle", alice)] == [(True, 0)]
    second = door.offer(alice, receiving("audio", "1"), sending("video", "2", "cam", rids=("f", "q")))
    assert len(second.candidates) == 1
    assert second.media[0].end_of_candidates
    assert len(door.messages("trickle", alice)) == 1


def test_new_credentials_begin_anew():
    door, alice, _ = joined()
    first = door.offer(alice)
    again = door.offer(alice)
    assert again.media[0].ice_ufrag == first.media[0].ice_ufrag
    restarted = door.offer(alice, ice_ufrag="other", ice_pwd="9876543210987654321098")
    assert restarted.media[0].ice_ufrag != first.media[0].ice_ufrag
    assert not restarted.candidates
    assert len(door.messages("trickle", alice)) == 2
    peer = door.there("alice").peers[0]
    assert door.server._routes._names[restarted.media[0].ice_ufrag] == (door.there("alice"), 0)
    assert peer.connection.transport.ice.local_ufrag == restarted.media[0].ice_ufrag


def test_red_comes_first_where_a_track_may_be_redundant():
    door, alice, _ = joined()
    door.add_track(alice, "one")
    door.add_track(alice, "two", disable_red=True, audio_features=[models.TF_STEREO, models.TF_NO_DTX])
    answer = door.offer(alice, sending("audio", "1", "one"), sending("audio", "2", "two"))
    one, two = answer.media[1:]
    assert [codec.name for codec in one.codecs] == ["red", "opus"]
    assert "usedtx=1" in one.codecs[1].fmtp
    assert "stereo" not in one.codecs[1].fmtp
    assert [codec.name for codec in two.codecs] == ["opus", "red"]
    assert "usedtx" not in two.codecs[0].fmtp
    assert "stereo=1;maxaveragebitrate=510000" in two.codecs[0].fmtp


def test_the_announced_codec_comes_first():
    door, alice, _ = joined()
    door.add_track(alice, "cam", "video", simulcast_codecs=[{"codec": "H264", "cid": "cam"}])
    answer = door.offer(alice, sending("video", "1", "cam"))
    assert answer.media[1].codecs[0].name == "H264"
    assert door.there("alice").info.tracks[0].mime_type == "video/H264"


def test_a_track_says_which_codec_it_will_be():
    door, alice, _ = joined()
    door.publish(alice, "mic", "1", disable_red=True)
    door.publish(alice, "cam", "2", "video", [sending("audio", "1", "mic")])
    assert [track.mime_type for track in door.there("alice").info.tracks] == ["audio/opus", "video/VP8"]


def test_sections_that_cannot_be_used_are_rejected():
    door, alice, _ = joined()
    strange = "m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:9\r\na=rtpmap:98 t140/1000\r\n"
    strange += "a=rtcp-mux\r\na=ice-ufrag:client\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\n"

    def change(sdp):
        sdp = sdp.replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 0 1 2 9")
        return sdp.replace("opus/48000", "speex/16000").replace("red/48000", "silk/16000") + strange

    answer = door.offer(alice, sending("audio", "1", "mic"), receiving("audio", "2"), change=change)
    assert [media.rejected for media in answer.media] == [False, True, True, True]
    assert answer.media[1].formats == ("0",)


def test_an_offer_that_is_active_gets_a_passive_answer():
    door, alice, _ = joined()
    answer = door.offer(alice, change=lambda sdp: sdp.replace("a=setup:actpass", "a=setup:active"))
    assert answer.media[0].setup == "passive"


@pytest.mark.parametrize(
    "change",
    [
        lambda sdp: "nonsense",
        lambda sdp: sdp.replace("m=application 9", "m=application 0"),
        lambda sdp: sdp.replace("sha-256", "sha-1"),
    ],
)
def test_offers_of_no_use_are_passed_over(change):
    door, alice, _ = joined()
    assert door.offer(alice, change=change) is None
    assert door.there("alice").counters.snapshot() == {"bad_offer": 1}


def test_fewer_sections_than_before_are_impossible():
    door, alice, _ = joined()
    door.offer(alice, receiving("audio", "1"))
    assert door.offer(alice) is None


def test_a_section_with_another_mid_is_another():
    """A place in the description may be taken anew (RFC 9429 section 5.2.2); what was there has ended."""
    door, alice, _ = joined()
    door.publish(alice, "mic", "1")
    door.offer(alice, sending("audio", "9", "mic", 1001))
    assert not door.there("alice").tracks
    assert not door.there("bob").downs
    track = door.add_track(alice, "mic")
    assert list(door.there("alice").tracks) == [track.sid]
    door.offer(alice, receiving("audio", "10", "inactive"))
    assert not door.there("alice").tracks


def test_sections_that_change_places_carry_nothing():
    door, alice, _ = joined()
    for name in ("one", "two"):
        door.add_track(alice, name)
    one, two = sending("audio", "1", "one"), sending("audio", "2", "two")
    door.offer(alice, one, two)
    assert len(door.there("alice").tracks) == 2
    door.offer(alice, two, one)
    assert not door.there("alice").tracks


def test_a_section_may_become_one_of_another_kind():
    door, alice, bob = joined()
    door.publish(alice, "mic", "1")
    place, other = receiving("audio", "1"), receiving("video", "2")
    assert door.offer(bob, place).media[1].msid is not None
    answer = door.offer(bob, other)
    assert (answer.media[1].kind, answer.media[1].mid, answer.media[1].direction) == ("video", "2", "sendonly")
    assert answer.media[1].msid is None
    assert "VP8" in [codec.name for codec in answer.media[1].codecs]
    assert len(door.there("bob").unplaced) == 1
    assert door.offer(bob, other, receiving("audio", "3")).media[2].msid is not None


def test_sections_are_limited(monkeypatch):
    assert SFU_SECTIONS > 2
    monkeypatch.setattr("sansio.sfu.connection.SFU_SECTIONS", 2)
    door, alice, bob = joined()
    assert door.offer(alice, receiving("audio", "1"), receiving("audio", "2")) is None
    dual = door.enter("dual", single=False)
    sids = [door.publish(alice, "mic", "1"), door.publish(bob, "mic", "1")]
    door.answer_offer(dual)
    there = door.there("dual")
    assert sorted(there.downs) == sorted(sids)
    assert [down.track.sid for down in there.unplaced] == sids[1:]


def test_an_offer_that_contradicts_itself_ends_the_session():
    door, alice, _ = joined()

    def change(sdp):
        head, _, tail = sdp.rpartition("a=ice-ufrag:client")
        return head + "a=ice-ufrag:other" + tail

    assert door.offer(alice, receiving("audio", "1"), change=change) is None
    (leave,) = door.messages("leave", alice)
    assert (leave.action, leave.reason) == (rtc.LeaveRequest.RECONNECT, models.STATE_MISMATCH)
    assert CloseSignal(alice) in door.outputs


def test_candidates_in_an_offer_are_used_as_far_as_they_can_be_read():
    door, alice, _ = joined()
    lines = "a=candidate:1 1 udp 1 10.0.0.9 9 typ host\r\na=candidate:nonsense 1\r\n"
    door.offer(alice, change=lambda sdp: sdp + lines)
    connection = door.there("alice").peers[0].connection
    assert [pair.remote.address for pair in connection.transport.ice.pairs_report()] == ["10.0.0.9"]
    assert connection.counters.snapshot() == {"bad_candidate": 1}


def test_extension_ids_beyond_a_byte_are_of_no_use():
    door, alice, _ = joined()
    extra = "a=extmap:4096 urn:ietf:params:rtp-hdrext:toffset\r\n"
    door.offer(alice, receiving("audio", "1"), change=lambda sdp: sdp + extra)
    assert "urn:ietf:params:rtp-hdrext:toffset" not in door.there("alice").peers[0].connection.media.extensions


@pytest.mark.parametrize("path", sorted(DESCRIPTIONS.glob("*c2s-*offer*.sdp")), ids=lambda path: path.name)
def test_offers_of_real_clients_get_answers_that_fit(path):
    text = path.read_text().replace("\r\n", "\n").replace("\n", "\r\n")
    if text == "garbage":
        return
    offer = parse_sdp(text)
    door, alice, _ = joined()
    door.request(alice, offer=rtc.SessionDescription(type="offer", sdp=text, id=1))
    answer = parse_sdp(door.messages("answer", alice)[-1].sdp)
    assert len(answer.media) == len(offer.media)
    for asked, given in zip(offer.media, answer.media, strict=True):
        if given.rejected:
            continue
        assert given.mid == asked.mid
        types = {codec.payload_type: codec for codec in asked.codecs}
        assert all(types[codec.payload_type].name == codec.name for codec in given.codecs)
        ids = {extension.id: extension.uri for extension in asked.extensions}
        assert all(ids[extension.id] == extension.uri for extension in given.extensions)


# ------------------------------------------------------------------ places for tracks


def test_places_are_asked_for_and_taken():
    door, alice, bob = joined()
    door.offer(bob)
    sids = [door.publish(alice, "a", "1"), door.publish(alice, "b", "2", "audio", [sending("audio", "1", "a")])]
    asked = [(each.num_audios, each.num_videos) for each in door.messages("media_sections_requirement", bob)]
    assert asked == [(1, 0), (1, 0)]
    answer = door.offer(bob, receiving("audio", "1"))
    assert answer.media[1].msid.track == sids[0]
    # one is still without a place
    assert door.messages("media_sections_requirement", bob)[-1].num_audios == 1
    answer = door.offer(bob, receiving("audio", "1"), receiving("audio", "2"))
    assert [media.msid.track for media in answer.media[1:]] == sids
    assert len(door.messages("media_sections_requirement", bob)) == 3


def test_a_place_that_was_left_is_inactive_until_it_is_taken_again():
    door, alice, bob = joined()
    door.offer(bob, receiving("audio", "1"))
    sid = door.publish(alice, "mic", "1")
    first = door.offer(bob, receiving("audio", "1"))
    wanted = rtc.UpdateSubscription(track_sids=[sid])
    door.request(bob, subscription=wanted)
    wanted.subscribe = True
    door.request(bob, subscription=wanted)
    # not the same place at once: the client would take the two for one
    assert door.there("bob").unplaced
    assert door.offer(bob, receiving("audio", "1")).media[1].direction == "inactive"
    answer = door.offer(bob, receiving("audio", "1"))
    assert answer.media[1].direction == "sendonly"
    assert answer.media[1].ssrcs != first.media[1].ssrcs


def test_a_place_that_the_client_turns_round_is_given_up():
    door, alice, bob = joined()
    door.offer(bob, receiving("audio", "1"))
    sid = door.publish(alice, "mic", "1")
    door.offer(bob, receiving("audio", "1"))
    down = door.there("bob").downs[sid]
    assert down.sending
    answer = door.offer(bob, receiving("audio", "1", "inactive"), receiving("audio", "2"))
    assert [media.direction for media in answer.media[1:]] == ["inactive", "sendonly"]
    assert (down.mid, down.sending) == ("2", True)


def test_video_without_retransmissions_has_one_source():
    door, alice, bob = joined()
    door.offer(bob, receiving("video", "1"))
    door.publish(alice, "cam", "1", "video")
    answer = door.offer(bob, receiving("video", "1"))
    ((ssrc, rtx),) = answer.media[1].streams()
    assert ssrc
    assert rtx
    door, alice, bob = joined()
    bare = evolve(receiving("video", "1").codecs[0], rtx=0)
    plain = evolve(receiving("video", "1"), codecs=(bare,))
    door.offer(bob, plain)
    sid = door.publish(alice, "cam", "1", "video")
    door.offer(bob, plain)
    assert door.there("bob").downs[sid].rtx_ssrc == 0


# ------------------------------------------------------------------ we offer


def test_the_subscriber_connection_grows_with_its_tracks():
    door, alice, _ = joined()
    bob = door.enter("dual", single=False)
    first = door.answer_offer(bob)
    assert [media.kind for media in first.media] == ["application"]
    assert not first.candidates
    sid = door.publish(alice, "mic", "1")
    cam = door.publish(alice, "cam", "2", "video", [sending("audio", "1", "mic")])
    second = door.answer_offer(bob)  # while the first was open, only one track was there
    assert [media.direction for media in second.media] == ["sendrecv", "sendrecv"]
    third = door.answer_offer(bob)
    assert [media.msid.track for media in third.media[1:]] == [sid, cam]
    assert third.media[1].msid.stream == f"{door.there('alice').sid}|{sid}"
    assert len(third.media[2].streams()) == 1
    assert third.media[2].streams()[0][1]
    assert len(third.candidates) == 1
    message = door.messages("offer", bob)[-1]
    assert dict(message.mid_to_track_id) == {"1": sid, "2": cam}
    downs = door.there("dual").downs
    assert all(down.sending for down in downs.values())
    # one ends
    door.offer(alice, receiving("audio", "1", "inactive"), sending("video", "2", "cam"))
    fourth = door.answer_offer(bob)
    assert (fourth.media[1].direction, fourth.media[1].msid) == ("recvonly", None)
    # and its place is taken
    again = door.add_track(alice, "again").sid
    door.offer(alice, sending("audio", "1", "again"), sending("video", "2", "cam"))
    assert again in downs
    fifth = door.answer_offer(bob)
    assert fifth.media[1].msid.track == again


def test_answers_that_fit_no_offer_are_counted():
    door = Door()
    bob = door.enter("bob", single=False)
    offer = door.messages("offer", bob)[-1]
    answer = rtc.SessionDescription(type="answer", sdp="nonsense", id=offer.id + 1)
    door.request(bob, answer=answer)
    assert door.there("bob").peers[1].connection.counters.snapshot() == {"stale_answer": 1}
    answer.id = 0
    door.request(bob, answer=answer)
    assert [leave.action for leave in door.messages("leave", bob)] == [rtc.LeaveRequest.RECONNECT]


def test_an_answer_that_rejects_everything_ends_the_session():
    door = Door()
    bob = door.enter("bob", single=False)
    door.answer_offer(bob, lambda sdp: sdp.replace("m=application 9", "m=application 0"))
    assert [leave.reason for leave in door.messages("leave", bob)] == [models.STATE_MISMATCH]


def test_a_section_that_the_subscriber_does_not_want_carries_nothing():
    door, alice, _ = joined()
    bob = door.enter("dual", single=False)
    door.answer_offer(bob)
    sid = door.publish(alice, "mic", "1")
    door.answer_offer(bob, lambda sdp: sdp.replace("a=recvonly", "a=inactive"))
    assert not door.there("dual").downs[sid].sending


def test_a_codec_that_the_subscriber_does_not_take_is_told():
    door, alice, bob = joined()
    sid = door.publish(alice, "cam", "1", "video", simulcast_codecs=[{"codec": "h264", "cid": "cam"}])
    only = receiving("video", "1")
    only = evolve(only, codecs=only.codecs[:1])
    door.offer(bob, only)
    (told,) = door.messages("subscription_response", bob)
    assert (told.track_sid, told.err) == (sid, models.SE_CODEC_UNSUPPORTED)
    door.offer(bob, only)
    assert len(door.messages("subscription_response", bob)) == 1


def test_offers_for_those_who_take_no_redundancy():
    door, alice, _ = joined()
    bob = door.enter("dual", single=False)
    door.there("dual").peers[1].connection.red = False
    door.answer_offer(bob)
    door.publish(alice, "mic", "1")
    audio = door.answer_offer(bob).media[1]
    assert [codec.name for codec in audio.codecs] == ["opus", "PCMU", "PCMA"]
    assert audio.codecs[0].feedback == ("nack",)
