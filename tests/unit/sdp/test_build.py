"""Offers and answers of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from sansio.base.errors import LocalProtocolError
from sansio.sdp.build import MAX_MESSAGE_SIZE, LocalSection, LocalTransport, build_answer, build_offer
from sansio.sdp.codecs import (
    AUDIO_CODECS,
    AUDIO_EXTENSIONS,
    AUDIO_RECEIVE_CODECS,
    H264_MODE0,
    H264_MODE1,
    OPUS,
    VIDEO_CODECS,
    VIDEO_EXTENSIONS,
    VP8,
    CodecSpec,
)
from sansio.sdp.description import parse_description
from sansio.sdp.media import Extension, Fingerprint, Msid, SdpSession, parse_sdp, read_sdp

FOLDER = Path(__file__).parents[2] / "data" / "sdp"
SERVER_OFFERS = sorted(FOLDER.glob("*s2c-offer*.sdp"))

TRANSPORT = LocalTransport(
    ice_ufrag="abcd",
    ice_pwd="p" * 24,
    fingerprint=Fingerprint("sha-256", bytes(range(32))),
    candidates=(
        "candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host",
        "candidate:2 1 tcp 1 192.0.2.1 9 typ host tcptype active",
    ),
)
DATA = LocalSection(kind="application", mid="0")
AUDIO_IN = LocalSection(kind="audio", mid="1", codecs=AUDIO_RECEIVE_CODECS, extensions=AUDIO_EXTENSIONS)
VIDEO_IN = LocalSection(kind="video", mid="2", codecs=VIDEO_CODECS, extensions=VIDEO_EXTENSIONS)
AUDIO_OUT = LocalSection(
    kind="audio",
    mid="3",
    direction="sendonly",
    codecs=AUDIO_CODECS,
    extensions=AUDIO_EXTENSIONS,
    msid=Msid("stream", "cid-a"),
    streams=((1000, None),),
    cname="me",
)
VIDEO_OUT = LocalSection(
    kind="video",
    mid="4",
    direction="sendonly",
    codecs=(VP8,),
    extensions=VIDEO_EXTENSIONS,
    msid=Msid("stream", "cid-v"),
    streams=((2000, 2001),),
    cname="me",
)
SIMULCAST_OUT = LocalSection(
    kind="video",
    mid="5",
    direction="sendonly",
    codecs=VIDEO_CODECS,
    extensions=VIDEO_EXTENSIONS,
    msid=Msid("stream", "cid-s"),
    rids=("q", "h", "f"),
)
ALL = (DATA, AUDIO_IN, VIDEO_IN, AUDIO_OUT, VIDEO_OUT, SIMULCAST_OUT)


def offer(*sections: LocalSection, transport: LocalTransport = TRANSPORT) -> str:
    return build_offer(7, 1, transport, sections)


# ------------------------------------------------------------------ offers


def test_an_offer_says_what_was_asked_for() -> None:
    sdp = parse_sdp(offer(*ALL))
    assert sdp.origin == "- 7 1 IN IP4 127.0.0.1"
    assert sdp.bundle == ("0", "1", "2", "3", "4", "5")
    assert sdp.ice_options == ("trickle",)
    assert sdp.extmap_allow_mixed
    assert not sdp.ice_lite
    assert sdp.candidates == TRANSPORT.candidates
    assert [media.kind for media in sdp.media] == [section.kind for section in ALL]
    assert [media.direction for media in sdp.media[1:]] == [section.direction for section in ALL[1:]]
    for media, section in zip(sdp.media, ALL, strict=True):
        assert (media.ice_ufrag, media.ice_pwd, media.setup) == ("abcd", "p" * 24, "actpass")
        assert media.fingerprints == (TRANSPORT.fingerprint,)
        assert media.port == 9
        assert media.msid == section.msid
        assert media.extensions == section.extensions
        assert media.streams() == section.streams
        assert tuple([rid.id for rid in media.rids]) == section.rids
        assert (media.candidates == ()) is (media.index > 0)
        assert not media.end_of_candidates
    assert sdp.application is not None
    assert (sdp.application.sctp_port, sdp.application.max_message_size) == (5000, MAX_MESSAGE_SIZE)
    assert sdp.application.protocol == "UDP/DTLS/SCTP"
    assert sdp.application.formats == ("webrtc-datachannel",)


def test_the_codecs_of_an_offer() -> None:
    sdp = parse_sdp(offer(*ALL))
    video = sdp.media[2]
    assert video.formats == ("96", "97", "108", "109", "125", "126")
    for spec in VIDEO_CODECS:
        codec = video.codec(spec.payload_type)
        assert codec is not None
        assert spec.matches(codec)
        assert codec.feedback == spec.feedback
        assert video.rtx_of(spec.payload_type) == spec.rtx
    assert sdp.media[1].codecs[0].parameters["stereo"] == "1"
    assert "stereo" not in sdp.media[3].codecs[0].parameters


def test_the_msid_comes_before_the_sources() -> None:
    text = offer(DATA, VIDEO_OUT)
    assert text.index("a=msid:stream cid-v") < text.index("a=ssrc-group:FID 2000 2001") < text.index("a=ssrc:2000")
    assert "a=ssrc:2001 cname:me" in text


def test_simulcast_is_written_as_the_server_reads_it() -> None:
    text = offer(SIMULCAST_OUT)
    assert "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n" in text
    assert "a=ssrc" not in text


def test_an_offer_is_the_same_every_time_and_survives_the_codec() -> None:
    text = offer(*ALL)
    assert text == offer(*ALL)
    assert str(parse_description(text)) == text
    assert text.endswith("\r\n")
    assert "\r\n\r\n" not in text


def test_the_password_is_not_shown() -> None:
    assert "pppp" not in repr(TRANSPORT)


def bad_transport(**changes: Any) -> LocalTransport:
    return evolve(TRANSPORT, **changes)


@pytest.mark.parametrize(
    "transport",
    [
        bad_transport(ice_ufrag="abc"),
        bad_transport(ice_ufrag="x" * 257),
        bad_transport(ice_ufrag="ab cd"),
        bad_transport(ice_pwd="short"),
        bad_transport(ice_pwd="p" * 257),
        bad_transport(ice_pwd="p" * 22 + "\r\n"),
        bad_transport(candidates=("a=candidate:1",)),
        bad_transport(candidates=("candidate:1 1\r\na=x",)),
        bad_transport(candidates=("candidate:1  1",)),
    ],
)
def test_transports_that_cannot_be_written(transport: LocalTransport) -> None:
    with pytest.raises(LocalProtocolError):
        offer(DATA, transport=transport)
    with pytest.raises(LocalProtocolError):
        build_answer(parse_sdp(offer(DATA)), 1, 1, transport)


OTHER_96 = CodecSpec("video", "VP9", 96, 90000)
RTX_TAKEN = evolve(VP8, payload_type=100, rtx=97)


@pytest.mark.parametrize(
    "sections",
    [
        (),
        (DATA, DATA),
        (evolve(DATA, mid=""),),
        (evolve(DATA, mid="a b"),),
        (evolve(AUDIO_IN, kind="text"),),
        (evolve(AUDIO_IN, codecs=()),),
        (evolve(AUDIO_IN, direction="both"),),
        (VIDEO_IN, evolve(VIDEO_IN, mid="9", codecs=(OTHER_96,))),
        (VIDEO_IN, evolve(VIDEO_IN, mid="9", codecs=(RTX_TAKEN,))),
        (AUDIO_IN, evolve(AUDIO_IN, mid="9", extensions=(Extension(1, "urn:other"),))),
        (evolve(AUDIO_OUT, msid=None),),
        (evolve(AUDIO_OUT, streams=()),),
        (evolve(AUDIO_OUT, msid=Msid("", "x")),),
        (evolve(AUDIO_OUT, msid=Msid("x", "y z")),),
        (evolve(AUDIO_OUT, msid=Msid("x", "y\r\na=z")),),
        (evolve(AUDIO_OUT, cname=""),),
        (evolve(SIMULCAST_OUT, rids=("q;h",)),),
        (evolve(SIMULCAST_OUT, rids=("q", "")),),
        (evolve(SIMULCAST_OUT, rids=("ä",)),),
        (AUDIO_OUT, evolve(AUDIO_OUT, mid="9")),
        (evolve(AUDIO_OUT, streams=((1 << 32, None),)),),
        (evolve(AUDIO_OUT, streams=((-1, None),)),),
        (evolve(VIDEO_OUT, streams=((5, 5),)),),
    ],
)
def test_sections_that_do_not_fit_together(sections: tuple[LocalSection, ...]) -> None:
    with pytest.raises(LocalProtocolError):
        offer(*sections)


# ------------------------------------------------------------------ answers


def answer(text: str, **options: Any) -> SdpSession:
    """Our answer, interpreted; what we reject is not subject to the rules."""
    return parse_sdp(build_answer(parse_sdp(text), 3, 2, TRANSPORT, **options))


@pytest.mark.parametrize("path", SERVER_OFFERS, ids=lambda path: path.stem)
def test_answers_to_recorded_offers(path: Path) -> None:
    given = parse_sdp(path.read_text())
    sdp = answer(path.read_text())
    assert sdp.origin == "- 3 2 IN IP4 127.0.0.1"
    assert sdp.bundle == given.bundle
    assert [media.mid for media in sdp.media] == [media.mid for media in given.media]
    assert [media.kind for media in sdp.media] == [media.kind for media in given.media]
    assert sdp.extmap_allow_mixed == given.extmap_allow_mixed
    assert sdp.candidates == TRANSPORT.candidates
    for ours, theirs in zip(sdp.media, given.media, strict=True):
        assert (ours.ice_ufrag, ours.setup, ours.port) == ("abcd", "active", 9)
        if ours.kind == "application":
            assert ours.sctp_port == 5000
            continue
        assert ours.direction == ("recvonly" if theirs.msid else "inactive")
        assert ours.codecs
        assert ours.msid is None
        for codec in ours.codecs:
            offered = theirs.codec(codec.payload_type)
            assert offered is not None
            assert (offered.name, offered.fmtp) == (codec.name, codec.fmtp)
            assert set(codec.feedback) <= set(offered.feedback)
            assert codec.name in ("opus", "red", "VP8", "H264", "rtx")
            assert codec.apt is None or ours.codec(codec.apt)
        assert set(ours.extensions) <= set(theirs.extensions)


def test_recorded_offers_cover_active_and_released_sections() -> None:
    directions = [
        media.direction
        for path in SERVER_OFFERS
        for media in parse_sdp(path.read_text()).media
        if media.kind != "application"
    ]
    assert "sendrecv" in directions
    assert "recvonly" in directions


def test_only_what_both_sides_know_is_kept() -> None:
    text = offer(DATA, evolve(VIDEO_OUT, codecs=VIDEO_CODECS), AUDIO_OUT)
    sdp = answer(text, codecs=(OPUS, evolve(H264_MODE1, feedback=("nack pli", "x"), rtx=0)), extensions=())
    video, audio = sdp.media[1:]
    assert [codec.payload_type for codec in video.codecs] == [108]
    assert video.codecs[0].feedback == ("nack pli",)
    assert video.extensions == ()
    assert [codec.name for codec in audio.codecs] == ["opus"]


def test_our_limit_of_messages_is_told() -> None:
    found = answer(offer(DATA)).application
    assert found is not None
    assert found.max_message_size == MAX_MESSAGE_SIZE


def test_stereo_is_welcome_where_it_is_sent() -> None:
    for fmtp, expected in (
        ("minptime=10;sprop-stereo=1", "minptime=10;sprop-stereo=1;stereo=1"),
        ("sprop-stereo=1;stereo=0", "sprop-stereo=1;stereo=0"),
        ("sprop-stereo=0", "sprop-stereo=0"),
    ):
        sdp = answer(offer(evolve(AUDIO_OUT, codecs=(evolve(OPUS, fmtp=fmtp),))))
        assert sdp.media[0].codecs[0].fmtp == expected


def test_sections_that_are_rejected() -> None:
    text = offer(DATA, VIDEO_OUT, AUDIO_OUT, AUDIO_IN, VIDEO_IN)
    given = parse_sdp(text)
    media = list(given.media)
    media[0] = evolve(media[0], sctp_port=None)
    media[3] = evolve(media[3], port=0, mid="")
    media[4] = evolve(media[4], kind="text")
    built = build_answer(evolve(given, media=tuple(media), extmap_allow_mixed=False), 1, 1, TRANSPORT, codecs=(OPUS,))
    assert str(parse_description(built)) == built
    sdp = read_sdp(parse_description(built))
    assert [part.port for part in sdp.media] == [0, 0, 9, 0, 0]
    assert [part.mid for part in sdp.media] == ["0", "4", "3", "", "2"]
    assert [part.protocol for part in sdp.media] == [part.protocol for part in given.media]
    assert sdp.bundle == ("3",)
    assert sdp.media[2].candidates == TRANSPORT.candidates
    assert not sdp.extmap_allow_mixed
    assert sdp.media[1].formats == ("96", "97")


def test_an_application_section_of_another_protocol_is_rejected() -> None:
    given = parse_sdp(offer(DATA, AUDIO_OUT))
    media = (evolve(given.media[0], protocol="TCP/BFCP"), given.media[1])
    sdp = read_sdp(parse_description(build_answer(evolve(given, media=media), 1, 1, TRANSPORT)))
    assert [part.rejected for part in sdp.media] == [True, False]


def test_h264_modes_keep_the_numbers_of_the_offer() -> None:
    specs = (evolve(H264_MODE0, payload_type=100, rtx=101), evolve(H264_MODE1, payload_type=102, rtx=103))
    sdp = answer(offer(evolve(VIDEO_OUT, codecs=specs)))
    assert [(codec.payload_type, codec.apt) for codec in sdp.media[0].codecs] == [
        (100, None),
        (101, 100),
        (102, None),
        (103, 102),
    ]
