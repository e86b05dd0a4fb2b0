"""Offers of a server: the lossless codec, the views, and an answer that keeps the rules."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.sdp.build import LocalTransport, build_answer
from sansio.sdp.description import parse_description
from sansio.sdp.media import Fingerprint, check_sdp, read_sdp

TRANSPORT = LocalTransport(
    ice_ufrag="abcd",
    ice_pwd="abcdefghijklmnopqrstuvwx",
    fingerprint=Fingerprint("sha-256", bytes(32)),
    candidates=("candidate:1 1 udp 1 192.0.2.1 9 typ host",),
)


def one(data: bytes) -> None:
    try:
        description = parse_description(data.decode("utf-8", "replace"))
    except ParseError:
        return
    assert parse_description(str(description)) == description
    try:
        offer = read_sdp(description)
    except ParseError:
        return
    answer = read_sdp(parse_description(build_answer(offer, 1, 1, TRANSPORT)))
    assert [media.kind for media in answer.media] == [media.kind for media in offer.media]
    assert [media.mid for media in answer.media] == [media.mid for media in offer.media]
    assert not [media for media in answer.media if media.sends and media.kind != "application"]
    for ours, theirs in zip(answer.media, offer.media, strict=True):
        assert ours.rejected or not theirs.rejected
        assert not {codec.payload_type for codec in ours.codecs} - {codec.payload_type for codec in theirs.codecs}
        assert ours.streams() == ()
    if not check_sdp(offer):
        assert not check_sdp(answer)
