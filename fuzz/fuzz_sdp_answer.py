"""Answers of a server: everything that is asked of them later works whatever they say."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.sdp.media import parse_sdp
from sansio.sdp.tracks import track_of


def one(data: bytes) -> None:
    try:
        answer = parse_sdp(data.decode("utf-8", "replace"))
    except ParseError:
        return
    assert answer.transport is None or answer.transport in answer.media
    assert not [candidate for candidate in answer.candidates if not candidate.startswith("candidate:")]
    for media in answer.media:
        assert answer.by_mid(media.mid) is not None
        sources = [ssrc for pair in media.streams() for ssrc in pair if ssrc is not None]
        assert len({ssrc for ssrc, _ in media.streams()}) == len(media.streams())
        assert not [ssrc for ssrc in sources if not 0 <= ssrc < 1 << 32]
        for codec in media.codecs:
            found = media.codec(codec.payload_type)
            assert found is not None
            assert found.clock_rate > 0
            assert media.rtx_of(codec.payload_type) is None or codec.payload_type in [each.apt for each in media.codecs]
        for extension in media.extensions:
            assert media.extension(extension.uri) is not None
        track = track_of(media, {media.mid: "TR_x"})
        assert track is None or track.track_sid.startswith("TR_")
