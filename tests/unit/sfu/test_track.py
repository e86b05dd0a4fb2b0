"""What is known of a published track."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base.limits import SFU_NAME, SHORT_LIST
from sansio.sfu.track import UpTrack, track_prefix
from sansio.sfu.upstream import LIVE, UpStream

rtc, models = proto.rtc, proto.models


@pytest.mark.parametrize(
    ("kind", "source", "prefix"),
    [(0, 2, "TR_AM"), (1, 1, "TR_VC"), (1, 3, "TR_VS"), (0, 4, "TR_As"), (0, 0, "TR_A"), (1, 99, "TR_V")],
)
def test_sids_tell_kind_and_source(kind, source, prefix):
    assert track_prefix(kind, source) == prefix


@pytest.mark.parametrize(
    ("source", "stream", "expected"),
    [
        (1, "", "camera"),
        (2, "", "camera"),
        (3, "", "screen"),
        (4, "", "screen"),
        (0, "", "unknown"),
        (1, "mine", "mine"),
    ],
)
def test_streams_group_tracks_by_source_unless_they_are_named(source, stream, expected):
    request = rtc.AddTrackRequest(cid="c", type=models.VIDEO, source=source, stream=stream)
    assert UpTrack("TR_1", "PA_1", request).info.stream == expected


def test_a_track_without_codecs_gets_one_with_its_section():
    track = UpTrack("TR_1", "PA_1", rtc.AddTrackRequest(cid="c", type=models.AUDIO))
    assert (track.kind, track.cid, track.stream_id, track.codec) == ("audio", "c", "PA_1|TR_1", "")
    track.describe("audio/red", "3")
    (codec,) = track.info.codecs
    assert (codec.mime_type, codec.mid, codec.cid) == ("audio/red", "3", "c")
    assert (track.mid, track.info.mid, track.info.mime_type) == ("3", "3", "audio/red")


def test_names_of_codecs_are_names_of_the_track_too():
    request = rtc.AddTrackRequest(
        cid="a", type=models.VIDEO, simulcast_codecs=[{"codec": "VP9", "cid": "b"}, {"codec": "vp8"}]
    )
    track = UpTrack("TR_1", "PA_1", request)
    assert track.cids == ["a", "b"]
    assert [(codec.mime_type, codec.video_layer_mode) for codec in track.info.codecs] == [
        ("video/vp9", 2),
        ("video/vp8", 1),
    ]


def test_what_a_client_says_of_a_track_is_limited():
    request = rtc.AddTrackRequest(cid="c", type=models.VIDEO, name="n" * (SFU_NAME + 1))
    request.audio_features.extend([models.TF_STEREO] * (SHORT_LIST + 1))
    for _ in range(SHORT_LIST + 1):
        request.layers.add()
        codec = request.simulcast_codecs.add(cid="d")
        codec.layers.extend([models.VideoLayer()] * (SHORT_LIST + 1))
    track = UpTrack("TR_1", "PA_1", request)
    info = track.info
    assert (len(info.name), len(track.cids)) == (SFU_NAME, SHORT_LIST + 1)
    assert len(info.layers) == len(info.codecs) == len(info.audio_features) == len(info.codecs[0].layers) == SHORT_LIST


def test_the_best_layer():
    track = UpTrack("TR_1", "PA_1", rtc.AddTrackRequest(cid="c", type=models.VIDEO))
    assert track.best(2, 0.0) is None
    streams = [
        UpStream(track, number, layer, rid) for number, (layer, rid) in enumerate(((2, "f"), (0, "q"), (1, "h")))
    ]
    for stream in streams:
        track.add_stream(stream)
    high, low, middle = streams
    assert track.streams == [low, middle, high]
    assert track.stream_of("h") is middle
    assert track.stream_of("x") is None
    assert track.best(2, 0.0) is low  # none is sent yet
    low.last_at = middle.last_at = high.last_at = 10.0
    assert [track.best(most, 10.0) for most in range(3)] == [low, middle, high]
    low.last_at = 0.0
    assert track.best(0, 10.0) is middle
    assert track.best(2, 10.0 + 2 * LIVE) is low
    assert [track.layer_of(rid, ("a", "b", "c", "d")) for rid in ("a", "c", "d")] == [0, 2, 2]
    assert track.layer_of("f", ("f", "q")) == 2
