"""The typed views: what a section says, and the rules a description has to keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from sansio.base import limits
from sansio.base.errors import ParseError
from sansio.sdp.description import parse_description
from sansio.sdp.media import (
    Codec,
    Contradiction,
    Extension,
    Fingerprint,
    Msid,
    Rid,
    SdpMedia,
    SdpSession,
    Simulcast,
    SsrcGroup,
    check_sdp,
    parse_fmtp,
    parse_sdp,
    read_sdp,
)

FOLDER = Path(__file__).parents[2] / "data" / "sdp"
FILES = sorted(path for path in FOLDER.glob("*.sdp") if "request-errors" not in path.name)
DIGEST = ":".join(["AB"] * 32)

HEAD = f"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 {DIGEST}\r\n"
TRANSPORT = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n"


def one(*lines: str, m: str = "audio 9 UDP/TLS/RTP/SAVPF 111", head: str = HEAD) -> SdpMedia:
    """A description with one section, interpreted but not checked."""
    text = head + f"m={m}\r\n" + "".join([f"a={line}\r\n" for line in lines])
    return read_sdp(parse_description(text)).media[0]


def full(*sections: str, bundle: str = "0 1") -> str:
    return HEAD + f"a=group:BUNDLE {bundle}\r\n" + "".join(sections)


def section(mid: str, *lines: str, kind: str = "audio", transport: str = TRANSPORT, port: int = 9) -> str:
    return (
        f"m={kind} {port} UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\na=rtcp-mux\r\n"
        + transport
        + "".join([f"a={line}\r\n" for line in lines])
    )


# ------------------------------------------------------------------ recorded descriptions


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_descriptions_keep_the_rules(path: Path) -> None:
    sdp = parse_sdp(path.read_text())
    transport = sdp.transport
    assert transport is not None
    assert len(transport.fingerprints[0].digest) == 32
    assert [media.index for media in sdp.media] == list(range(len(sdp.media)))
    assert sdp.bundle == tuple([media.mid for media in sdp.media])
    for media in sdp.media:
        assert media.kind == "application" or media.codecs
        for codec in media.codecs:
            assert codec.apt is None or media.codec(codec.apt)


def test_an_offer_of_the_server_with_tracks() -> None:
    sdp = parse_sdp((FOLDER / "py-v0.subscribe-quality.09-s2c-offer-id36.sdp").read_text())
    assert not sdp.ice_lite
    assert sdp.extmap_allow_mixed
    assert sdp.transport is sdp.media[0]
    assert all(" 1 " in candidate for candidate in sdp.candidates)
    assert sdp.media[0].end_of_candidates
    video = next(media for media in sdp.media if media.kind == "video")
    assert video.sends
    assert video.msid is not None
    assert video.msid.stream.startswith("PA_")
    ((ssrc, rtx),) = video.streams()
    assert rtx is not None
    assert video.groups == (SsrcGroup("FID", (ssrc, rtx)),)
    assert video.cnames[ssrc] == video.cnames[rtx] == video.msid.stream
    assert video.codec(96) == Codec(96, "VP8", 90000, 1, "", ("ccm fir", "nack", "nack pli", "goog-remb"))
    assert video.rtx_of(96) == 97
    assert video.rtx_of(97) is None
    assert sdp.by_mid(video.mid) is video
    assert sdp.by_mid("nothing") is None


def test_an_answer_of_an_ice_lite_server() -> None:
    sdp = parse_sdp((FOLDER / "py-v1.pcap-icelite.02-s2c-answer-id0.sdp").read_text())
    assert sdp.ice_lite
    assert {media.setup for media in sdp.media} == {"active"}
    assert sdp.application is not None
    assert (sdp.application.sctp_port, sdp.application.max_message_size) == (5000, 65535)


def test_an_answer_to_simulcast() -> None:
    sdp = parse_sdp((FOLDER / "js-v0.publish-video-simulcast.06-s2c-answer-id2.sdp").read_text())
    video = next(media for media in sdp.media if media.rids)
    assert [rid.direction for rid in video.rids] == ["recv"] * len(video.rids)
    assert video.simulcast is not None
    assert video.simulcast.recv == tuple([(rid.id,) for rid in video.rids])
    assert video.receives
    assert not video.sends


# ------------------------------------------------------------------ single attributes


def test_values_at_session_level_are_inherited() -> None:
    head = HEAD + TRANSPORT + "a=extmap:3 urn:x\r\na=recvonly\r\na=end-of-candidates\r\n"
    media = one(head=head)
    assert media.ice_ufrag == "abcd"
    assert media.ice_pwd == "abcdefghijklmnopqrstuvwx"
    assert media.setup == "actpass"
    assert media.fingerprints == (Fingerprint("sha-256", b"\xab" * 32),)
    assert media.extensions == (Extension(3, "urn:x"),)
    assert media.direction == "recvonly"
    assert media.end_of_candidates
    media = one("ice-ufrag:own1", "setup:active", "inactive", "sendonly", "extmap:4/sendonly urn:y z", head=head)
    assert (media.ice_ufrag, media.setup, media.direction) == ("own1", "active", "inactive")
    assert media.extensions == (Extension(4, "urn:y", "sendonly"),)
    assert media.extension("urn:y") == 4
    assert media.extension("urn:x") is None
    assert "abcdefghijklmnopqrstuvwx" not in repr(media)


def test_defaults_of_a_bare_section() -> None:
    media = one()
    assert (media.mid, media.direction, media.setup, media.codecs, media.msid) == ("", "sendrecv", "", (), None)
    assert media.sends
    assert media.receives
    assert media.streams() == ()
    assert media.codec(111) is None
    assert media.port == 9
    assert media.formats == ("111",)


def test_codecs_come_in_the_order_of_the_m_line() -> None:
    media = one(
        "rtpmap:96 VP8/90000",
        "rtpmap:111 opus/48000/2",
        "fmtp:111 minptime=10; useinbandfec=1",
        "fmtp:111 ignored=1",
        "rtcp-fb:* nack",
        "rtcp-fb:96 ccm fir",
        "rtpmap:97 rtx/90000",
        "fmtp:97 apt=96",
        m="video 9/2 UDP/TLS/RTP/SAVPF 111 96 97 0 8 77 96",
    )
    assert media.codecs == (
        Codec(111, "opus", 48000, 2, "minptime=10; useinbandfec=1", ("nack",)),
        Codec(96, "VP8", 90000, 1, "", ("ccm fir", "nack")),
        Codec(97, "rtx", 90000, 1, "apt=96", ("nack",)),
        Codec(0, "PCMU", 8000, 1, "", ("nack",)),
        Codec(8, "PCMA", 8000, 1, "", ("nack",)),
    )
    assert media.codecs[0].parameters == {"minptime": "10", "useinbandfec": "1"}
    assert [codec.apt for codec in media.codecs] == [None, None, 96, None, None]
    assert Codec(97, "RTX", 90000, 1, "apt=x").apt is None
    assert Codec(97, "RTX", 90000, 1, "apt=1234").apt is None
    assert Codec(96, "VP8", 90000, 1, "apt=1").apt is None
    assert Codec(97, "rtx", 90000).apt is None


def test_format_parameters() -> None:
    assert parse_fmtp("") == {}
    assert parse_fmtp("A=1;b = 2 ;; c;a=3;d=e=f") == {"a": "1", "b": "2", "c": "", "d": "e=f"}
    assert parse_fmtp("111/111") == {"111/111": ""}


def test_sources_and_tracks() -> None:
    media = one(
        "ssrc:1 cname:c1",
        "ssrc:1 msid:old track",
        "ssrc:1 mslabel:x",
        "ssrc:2 cname:c2",
        "ssrc:2 cname:other",
        "ssrc:3",
        "ssrc-group:FID 1 2",
        "ssrc-group:SIM 1 3 4",
    )
    assert media.ssrcs == (1, 2, 3)
    assert media.cnames == {1: "c1", 2: "c2"}
    assert media.msid == Msid("old", "track")
    assert media.streams() == ((1, 2), (3, None))
    assert one("msid:new t", "ssrc:1 msid:old u").msid == Msid("new", "t")
    assert one("msid:alone").msid == Msid("alone", "")


def test_rids_and_simulcast() -> None:
    media = one("rid:q send", "rid:h send max-width=1;max-height=2", "simulcast:send q,~h;f recv x")
    assert media.rids == (Rid("q", "send"), Rid("h", "send", "max-width=1;max-height=2"))
    assert media.simulcast == Simulcast((("q", "~h"), ("f",)), (("x",),))
    assert one("simulcast:recv q").simulcast == Simulcast((), (("q",),))
    assert one("rid:q send").simulcast is None


def test_candidates_stay_strings() -> None:
    lines = ("candidate:1 1 udp 5 192.0.2.1 9 typ host", "candidate:1 2 udp 5 192.0.2.1 9 typ host", "candidate:bad")
    text = full(section("0", *lines), section("1"))
    sdp = parse_sdp(text)
    assert sdp.media[0].candidates == lines
    assert sdp.candidates == lines[:1]
    assert SdpSession("", (), ()).candidates == ()


def test_a_fingerprint_prints_as_it_is_written() -> None:
    assert str(Fingerprint("sha-256", b"\xab\x01")) == "sha-256 AB:01"
    media = one("fingerprint:SHA-1 ab:01", "fingerprint:sha-256 00")
    assert media.fingerprints == (Fingerprint("sha-1", b"\xab\x01"), Fingerprint("sha-256", b"\0"))


@pytest.mark.parametrize(
    "line",
    [
        "setup:nonsense",
        "mid:a b",
        "fingerprint:sha-256",
        "fingerprint:sha-256 GG",
        "fingerprint:sha-256 AB CD",
        "fingerprint:sha-256 ABCD",
        "fingerprint:sha-256 A:BC:D",
        "rtpmap:111 opus",
        "rtpmap:111 opus/x",
        "rtpmap:111 opus/0",
        "rtpmap:111 opus/48000/0",
        "rtpmap:111 opus/48000/999",
        "rtpmap:111 opus/99999999999999999999999",
        "rtpmap:111 opus/٤",
        "extmap:1",
        "extmap:0 urn:x",
        "extmap:x urn:x",
        "extmap:9999 urn:x",
        "ssrc:",
        "ssrc:-1 cname:x",
        "ssrc:4294967296 cname:x",
        "ssrc-group:FID",
        "ssrc-group:FID x y",
        "rid:q",
        "rid:q both",
        "simulcast:",
        "simulcast:send q recv",
        "simulcast:up q",
        "simulcast:send q send h",
        "sctp-port:99999",
        "max-message-size:-1",
    ],
)
def test_known_attributes_that_cannot_be_read(line: str) -> None:
    with pytest.raises(ParseError):
        one(line)


@pytest.mark.parametrize(
    "m",
    [
        "audio",
        "audio 9 RTP",
        "audio  9 RTP 1",
        "audio x RTP/AVP 0",
        "audio 65536 RTP/AVP 0",
        "audio 9/2/x RTP/AVP ",
        "",
    ],
)
def test_m_lines_that_cannot_be_read(m: str) -> None:
    with pytest.raises(ParseError):
        one(m=m)


def test_payload_types_must_fit() -> None:
    with pytest.raises(ParseError):
        one("rtpmap:128 x/8000", m="audio 9 UDP/TLS/RTP/SAVPF 128")
    with pytest.raises(ParseError):
        one("rtpmap:a x/8000", m="audio 9 UDP/TLS/RTP/SAVPF a")


def test_repetitions_and_formats_are_bounded() -> None:
    one(*["ssrc:1 cname:x"] * limits.SDP_REPEATS)
    with pytest.raises(ParseError, match="repeated"):
        one(*["ssrc:1 cname:x"] * (limits.SDP_REPEATS + 1))
    formats = " ".join(["0"] * limits.SDP_FORMATS)
    assert len(one(m="audio 9 UDP/TLS/RTP/SAVPF " + formats).codecs) == 1
    with pytest.raises(ParseError, match="formats"):
        one(m="audio 9 UDP/TLS/RTP/SAVPF 0 " + formats)


# ------------------------------------------------------------------ whole descriptions


def test_the_bundle_names_the_transport() -> None:
    other = TRANSPORT.replace("abcd", "efgh")
    text = full(section("0"), section("1", transport=other), bundle="1 0")
    sdp = read_sdp(parse_description(text))
    assert sdp.transport is sdp.media[1]
    text = full(section("0", port=0), section("1"), bundle="x")
    sdp = read_sdp(parse_description(text))
    assert sdp.transport is sdp.media[1]
    sdp = read_sdp(parse_description(full(section("0", port=0))))
    assert sdp.transport is None
    assert sdp.media[0].rejected
    assert not sdp.media[0].sends
    assert not sdp.media[0].receives
    assert check_sdp(sdp) == []


def test_other_groups_and_session_attributes() -> None:
    head = (
        HEAD + "a=group:LS 0\r\na=group:\r\na=group:BUNDLE 0\r\na=group:BUNDLE 1\r\na=ice-lite\r\na=ice-options:a b\r\n"
    )
    sdp = read_sdp(parse_description(head))
    assert sdp.bundle == ("0",)
    assert sdp.ice_lite
    assert sdp.ice_options == ("a", "b")
    assert not sdp.extmap_allow_mixed
    assert sdp.application is None
    assert sdp.origin == "- 1 1 IN IP4 0.0.0.0"
    assert read_sdp(parse_description("v=0\r\n")).origin == ""


def test_a_rejected_application_section_is_none() -> None:
    sdp = read_sdp(parse_description(HEAD + "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"))
    assert sdp.application is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (full(section("0"), section("0")), "same mid"),
        (full(section("0"), section("2")), "outside"),
        (full(section("0"), section("1")).replace("a=group:BUNDLE 0 1\r\n", ""), "not bundled"),
        (full(section("0"), section("1")).replace("a=mid:1\r\n", ""), "no mid"),
        (full(section("0"), section("1", transport=TRANSPORT.replace("abcd", "abc"))), "wrong length"),
        (full(section("0"), section("1", transport=TRANSPORT.replace("abcd", "x" * 257))), "wrong length"),
        (full(section("0"), section("1", transport=TRANSPORT.replace("vwx", ""))), "wrong length"),
        (full(section("0"), section("1")).replace(f"a=fingerprint:sha-256 {DIGEST}\r\n", ""), "no fingerprint"),
        (full(section("0", transport=TRANSPORT.replace("a=setup:actpass\r\n", ""))), "no setup"),
        (full(section("0"), section("1")).replace("a=rtcp-mux\r\n", ""), "rtcp-mux"),
        (full(section("0"), section("1", transport=TRANSPORT.replace("abcd", "abce"))), "different ICE"),
        (full(section("0"), section("1", "fingerprint:sha-256 00")), "different fingerprints"),
        (full(section("0"), section("1", transport=TRANSPORT.replace("actpass", "active"))), "different setup"),
    ],
)
def test_broken_rules_are_named(text: str, problem: str) -> None:
    problems = check_sdp(read_sdp(parse_description(text)))
    assert [found for found in problems if problem in found]
    with pytest.raises(ParseError) as raised:
        parse_sdp(text)
    assert (raised.type is Contradiction) == problem.startswith("different")


def test_a_single_section_needs_no_bundle() -> None:
    text = full(section("0")).replace("a=group:BUNDLE 0 1\r\n", "")
    assert parse_sdp(text).transport is not None


def test_truncation_anywhere_is_readable_or_a_parse_error() -> None:
    text = (FOLDER / "js-v0.publish-video-simulcast.06-s2c-answer-id2.sdp").read_text()
    readable = 0
    for end in range(0, len(text), 3):
        try:
            parse_sdp(text[:end])
        except ParseError:
            continue
        readable += 1
    assert 0 < readable < len(text) // 3
