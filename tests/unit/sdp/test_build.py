"""Offers and answers of our own."""

from __future__ import annotations

from sansio.sdp.build import LocalSection, LocalTransport, build_offer
from sansio.sdp.codecs import AUDIO_EXTENSIONS, AUDIO_RECEIVE_CODECS
from sansio.sdp.media import Fingerprint, parse_sdp

TRANSPORT = LocalTransport(
    ice_ufrag="abcd",
    ice_pwd="p" * 24,
    fingerprint=Fingerprint("sha-256", bytes(range(32))),
    candidates=("candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host",),
)


def test_an_offer_says_what_was_asked_for() -> None:
    text = build_offer(
        7,
        1,
        TRANSPORT,
        [
            LocalSection(kind="application", mid="0"),
            LocalSection(kind="audio", mid="1", codecs=AUDIO_RECEIVE_CODECS, extensions=AUDIO_EXTENSIONS),
        ],
    )
    sdp = parse_sdp(text)
    assert sdp.bundle == ("0", "1")
    assert sdp.candidates == TRANSPORT.candidates
    assert sdp.application is not None
    assert sdp.application.sctp_port == 5000
    audio = sdp.media[1]
    assert audio.direction == "recvonly"
    assert [codec.name for codec in audio.codecs] == ["opus", "red"]
    assert audio.setup == "actpass"
    assert audio.fingerprints == (TRANSPORT.fingerprint,)
