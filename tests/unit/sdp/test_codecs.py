"""The table of codecs and extensions."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from sansio.sdp.codecs import (
    AUDIO_CODECS,
    AUDIO_EXTENSIONS,
    AUDIO_RECEIVE_CODECS,
    EXTENSIONS,
    H264_MODE0,
    H264_MODE1,
    OPUS,
    RED,
    VIDEO_CODECS,
    VIDEO_EXTENSIONS,
    VP8,
    CodecSpec,
)
from sansio.sdp.media import Codec, Extension


def h264(fmtp: str) -> Codec:
    return Codec(100, "H264", 90000, 1, fmtp)


@pytest.mark.parametrize(
    ("spec", "codec", "expected"),
    [
        (OPUS, Codec(109, "OPUS", 48000, 2, "x=1"), True),
        (OPUS, Codec(111, "opus", 48000, 1), False),
        (OPUS, Codec(111, "opus", 24000, 2), False),
        (OPUS, Codec(111, "red", 48000, 2), False),
        (RED, Codec(63, "red", 48000, 2, "111/111"), True),
        (VP8, Codec(120, "vp8", 90000), True),
        (VP8, Codec(120, "VP9", 90000), False),
        (H264_MODE1, h264("packetization-mode=1;profile-level-id=42e01f"), True),
        (H264_MODE1, h264("packetization-mode=1;profile-level-id=42E034"), True),
        (H264_MODE1, h264("packetization-mode=1;profile-level-id=42001f"), True),
        (H264_MODE1, h264("packetization-mode=1;profile-level-id=640032"), False),
        (H264_MODE1, h264("packetization-mode=1;profile-level-id=4d001f"), False),
        (H264_MODE1, h264("packetization-mode=0;profile-level-id=42e01f"), False),
        (H264_MODE0, h264("packetization-mode=0;profile-level-id=42e01f"), True),
        (H264_MODE0, h264("profile-level-id=42e01f"), True),
        (H264_MODE0, h264(""), True),
        (H264_MODE1, h264("packetization-mode=1"), True),
    ],
)
def test_matching(spec: CodecSpec, codec: Codec, expected: bool) -> None:
    assert spec.matches(codec) is expected


def numbers(specs: Iterable[CodecSpec]) -> list[int]:
    return [number for spec in specs for number in (spec.payload_type, spec.rtx) if number]


def test_a_payload_type_means_one_codec() -> None:
    found = numbers((*AUDIO_CODECS, *VIDEO_CODECS))
    assert len(set(found)) == len(found)
    assert not [number for number in found if 64 <= number < 96], "RTCP would be taken for these (RFC 5761)"
    assert numbers(AUDIO_RECEIVE_CODECS) == numbers(AUDIO_CODECS)
    assert "stereo=1" in AUDIO_RECEIVE_CODECS[0].fmtp


def test_an_extension_id_means_one_extension() -> None:
    def table(extensions: Iterable[Extension]) -> dict[int, str]:
        return {extension.id: extension.uri for extension in extensions}

    audio, video = table(AUDIO_EXTENSIONS), table(VIDEO_EXTENSIONS)
    assert len(audio) == len(AUDIO_EXTENSIONS)
    assert len(video) == len(VIDEO_EXTENSIONS)
    assert {id_ for id_ in audio.keys() & video.keys() if audio[id_] != video[id_]} == set()
    assert set(audio.values()) | set(video.values()) == set(EXTENSIONS)
    assert max(audio | video) < 15, "the one-byte form has ids 1 to 14 (RFC 8285)"
