"""Which track a section carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from sansio.sdp.media import Msid, SdpMedia, parse_sdp
from sansio.sdp.tracks import TrackRef, track_of

FOLDER = Path(__file__).parents[2] / "data" / "sdp"


def media(msid: Msid | None, port: int = 9) -> SdpMedia:
    return SdpMedia(0, "audio", port, "UDP/TLS/RTP/SAVPF", ("111",), mid="3", direction="sendonly", msid=msid)


@pytest.mark.parametrize(
    ("msid", "expected"),
    [
        (Msid("PA_a|TR_b", "TR_b"), TrackRef("PA_a", "TR_b")),
        (Msid("PA_a|camera", "TR_b"), TrackRef("PA_a", "TR_b")),
        (Msid("PA_a|TR_b", "x"), TrackRef("PA_a", "TR_b")),
        (Msid("PA_a|camera", "x"), TrackRef("PA_a", "TR_mid")),
        (Msid("PA_a"), TrackRef("PA_a", "TR_mid")),
        (Msid("xPA_a|TR_b", "TR_b"), None),
        (Msid("-", "TR_b"), None),
        (None, None),
    ],
)
def test_tracks(msid: Msid | None, expected: TrackRef | None) -> None:
    assert track_of(media(msid), {"3": "TR_mid"}) == expected


def test_nothing_names_the_track() -> None:
    assert track_of(media(Msid("PA_a|camera", "x")), {"4": "TR_mid"}) is None
    assert track_of(media(Msid("PA_a|TR_b", "TR_b"), port=0), {}) is None


def test_recorded_answers_tell_used_sections_from_waiting_ones() -> None:
    sdp = parse_sdp((FOLDER / "py-v1.join-existing-publisher.04-s2c-answer-id0.sdp").read_text())
    found = [track_of(part, {}) for part in sdp.media]
    assert any(found)
    assert [part.kind for part, track in zip(sdp.media, found, strict=True) if track and not part.ssrcs] == []
    waiting = [part for part, track in zip(sdp.media, found, strict=True) if track is None and part.codecs]
    assert [part for part in waiting if part.direction == "sendonly"]
