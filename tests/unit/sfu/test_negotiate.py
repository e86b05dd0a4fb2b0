"""Descriptions as the server writes them."""

from __future__ import annotations

from sansio.sdp.media import Codec, Extension, Fingerprint, Msid, SdpMedia, parse_sdp
from sansio.sfu.negotiate import (
    LocalSide,
    Plan,
    answer_codecs,
    answer_extensions,
    offered_codecs,
    write_description,
)

SIDE = LocalSide(
    session_id=5,
    version=2,
    ufrag="abcd",
    pwd="0123456789012345678901",
    fingerprint=Fingerprint("sha-256", bytes(32)),
    setup="actpass",
    candidates=("candidate:1 1 udp 1 10.0.0.1 1 typ host",),
)


def media(kind="audio", **fields):
    fields = {"index": 0, "kind": kind, "port": 9, "protocol": "UDP/TLS/RTP/SAVPF", "formats": (), **fields}
    return SdpMedia(**fields)


def test_a_description_reads_as_it_was_planned():
    rejected = media("audio", formats=("111",))
    plans = [
        Plan(kind="application", mid="0"),
        Plan(
            kind="video",
            mid="1",
            codecs=offered_codecs("video", red=True),
            extensions=(Extension(3, "urn:x"),),
            msid=Msid("PA|TR", "TR"),
            streams=((7, 8),),
        ),
        Plan(
            kind="video",
            mid="2",
            direction="recvonly",
            codecs=offered_codecs("video", red=True),
            rids=("q",),
            simulcast="q",
        ),
        Plan(kind="audio", mid="3", rejected=rejected),
    ]
    text = write_description(SIDE, plans)
    assert "0123456789012345678901" not in repr(SIDE)
    found = parse_sdp(text)
    assert found.bundle == ("0", "1", "2")
    assert found.candidates == SIDE.candidates
    assert found.media[0].end_of_candidates
    assert not found.media[1].end_of_candidates
    sending = found.media[1]
    assert (sending.msid, sending.streams(), sending.direction) == (Msid("PA|TR", "TR"), ((7, 8),), "sendrecv")
    assert sending.cnames == {7: "PA|TR", 8: "PA|TR"}
    assert sending.codecs == plans[1].codecs
    assert sending.extension("urn:x") == 3
    # msid before anything that needs it would be read in vain by those who go line by line
    assert text.index("a=ssrc-group:FID 7 8") < text.index("a=ssrc:7 cname")
    assert [rid.id for rid in found.media[2].rids] == ["q"]
    assert found.media[3].rejected
    assert text.endswith("m=audio 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n")


def test_answers_keep_what_both_know():
    codecs = (
        Codec(109, "opus", 48000, 2, "", ("nack", "transport-cc")),
        Codec(70, "red", 48000, 2, "109/109", ("nack",)),
        Codec(9, "G722", 8000),
    )
    found = answer_codecs(media(codecs=codecs), publishing=True, first="red", dtx=True, stereo=True)
    assert [(codec.payload_type, codec.feedback) for codec in found] == [(70, ()), (109, ("nack",))]
    assert found[1].fmtp == "usedtx=1;stereo=1;maxaveragebitrate=510000"
    again = answer_codecs(media(codecs=found), publishing=True, dtx=True, stereo=True)
    assert again[1].fmtp == found[1].fmtp
    (plain, _) = answer_codecs(media(codecs=codecs), publishing=False, dtx=True, stereo=True)
    assert plain.fmtp == ""
    video = (Codec(96, "VP8", 90000, 1, "x=1", ("nack", "nack pli", "nack rpsi")), Codec(97, "rtx", 90000, 1, "apt=96"))
    found = answer_codecs(media("video", codecs=video), publishing=True)
    assert [(codec.name, codec.feedback) for codec in found] == [("VP8", ("nack", "nack pli")), ("rtx", ())]


def test_answers_keep_the_clients_extension_ids():
    mid = "urn:ietf:params:rtp-hdrext:sdes:mid"
    offered = (Extension(7, mid, "sendonly"), Extension(8, "urn:unknown"))
    assert answer_extensions(media(extensions=offered)) == (Extension(7, mid),)
    rid = Extension(9, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id")
    assert answer_extensions(media("video", extensions=(rid,))) == (rid,)
    assert answer_extensions(media("audio", extensions=(rid,))) == ()


def test_where_redundancy_may_be_sent_lost_opus_is_not_asked_for():
    with_red, without = [offered_codecs("audio", red=red) for red in (True, False)]
    assert [(codec.name, codec.feedback) for codec in with_red][:2] == [("opus", ()), ("red", ())]
    assert [codec.name for codec in without] == ["opus", "PCMU", "PCMA"]
    assert without[0].feedback == ("nack",)
