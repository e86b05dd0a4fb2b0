"""Sound and pictures, encoded and decoded here, with LiveKit's own clients at the other end: what goes in comes out."""

from __future__ import annotations

import pytest
import trio

from trio_client import (
    ActiveSpeakersChanged,
    Scenario,
    TrackSource,
    TrackSubscribed,
    VideoLayer,
    VideoQuality,
)
from trio_client.media import PcmAudioTrack, RawVideoTrack, decode_video

from .ours import MODES, joined, run
from .signals import HZ, PEAK, colour, listen, listen_twice, look, paint, sing, sing_two

RED, BLUE = (220, 30, 40), (30, 60, 210)


@MODES
@pytest.mark.parametrize(("rate", "channels"), [(48000, 1), (16000, 1), (44100, 2)])
def test_a_native_client_hears_our_tone(server, room, native, single, rate, channels):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            track = PcmAudioTrack("voice", rate, channels)
            publication = await ours.local_participant.publish_track(track, source=TrackSource.MICROPHONE)
            ours.start_soon(sing, track)
            await ours.wait_for(ActiveSpeakersChanged, lambda event: ours.local_participant in event.speakers)
            await peer.await_("track_subscribed")
            heard = await peer.acall("measure_sound", sid=publication.sid)
            assert heard["hz"] == pytest.approx(HZ, rel=0.02)
            assert heard["peak"] == pytest.approx(PEAK, rel=0.25)
            assert track.stats().lost < 10

    run(scenario)


@MODES
@pytest.mark.parametrize("red", [True, False], ids=["red", "plain"])
def test_each_ear_hears_its_own_tone(server, room, native, single, red):
    """Of a stereo track: the native client and ours."""
    peer = native("them")

    async def scenario() -> None:
        async with (
            joined(server, room, single=single) as ours,
            joined(server, room, "other", single=single) as other,
            other.events(TrackSubscribed) as events,
        ):
            track = PcmAudioTrack("music", 48000, 2, red=red)
            publication = await ours.local_participant.publish_track(track)
            ours.start_soon(sing_two, track, 400, 900)
            assert await listen_twice((await anext(events)).track) == pytest.approx([400, 900], rel=0.03)
            await peer.await_("track_subscribed")
            heard = await peer.acall("measure_ears", sid=publication.sid)
            assert heard["hz"] == pytest.approx([400, 900], rel=0.03)

    run(scenario)


@MODES
def test_a_tone_published_with_the_join_outlives_the_session(server, room, native, single):
    peer = native("them")
    peer.call("listen")

    async def scenario() -> None:
        track = PcmAudioTrack("voice", 24000)
        async with joined(server, room, single=single, publish=[track]) as ours, trio.open_nursery() as nursery:
            nursery.start_soon(sing, track)
            heard = await peer.await_("heard")
            await ours.simulate(Scenario.FULL_RECONNECT)
            again = await peer.await_("heard", where=lambda event: event["sid"] != heard["sid"])
            assert again["sid"] == track.publication.sid
            sound = await peer.acall("measure_sound", sid=again["sid"])
            assert sound["hz"] == pytest.approx(HZ, rel=0.02)
            nursery.cancel_scope.cancel()

    run(scenario)


@MODES
def test_we_hear_the_tone_of_a_native_client(server, room, native, single):
    peer = native("them")
    peer.call("publish_tone", hz=HZ, peak=PEAK)

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            hz, peak = await listen((await anext(events)).track)
            assert hz == pytest.approx(HZ, rel=0.02)
            assert peak == pytest.approx(PEAK, rel=0.25)

    run(scenario)


@MODES
@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_native_client_sees_our_colour(server, room, native, single, codec):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            track = RawVideoTrack("cam", 320, 240, codec, fps=15)
            publication = await ours.local_participant.publish_track(track)
            ours.start_soon(paint, track, RED)
            await peer.await_("track_subscribed")
            seen = await peer.acall("measure_colour", sid=publication.sid)
            assert seen["rgb"] == pytest.approx(RED, abs=16)

    run(scenario)


@MODES
def test_we_see_the_colour_of_a_native_client(server, room, native, single):
    peer = native("them")
    peer.call("publish_colour", rgb=BLUE)

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            track = (await anext(events)).track
            picture = await look(track)
            assert (picture.width, picture.height) == (320, 240)
            assert colour(picture) == pytest.approx(BLUE, abs=16)

    run(scenario)


@MODES
@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_browser_hears_and_sees_us(server, room, browser, single, codec):
    peer = browser("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            voice, cam = PcmAudioTrack("voice"), RawVideoTrack("cam", 320, 240, codec, fps=15)
            heard = await ours.local_participant.publish_track(voice)
            seen = await ours.local_participant.publish_track(cam)
            ours.start_soon(sing, voice)
            ours.start_soon(paint, cam, RED)
            for _ in range(2):
                await peer.await_("track_subscribed")
            sound = await peer.acall("measure_sound", sid=heard.sid)
            assert sound["hz"] == pytest.approx(HZ, rel=0.02)
            assert sound["peak"] == pytest.approx(PEAK, rel=0.25)
            shown = await peer.acall("measure_colour", sid=seen.sid)
            assert shown["rgb"] == pytest.approx(RED, abs=16)

    run(scenario, seconds=90)


@MODES
def test_we_hear_and_see_a_browser(server, room, browser, single):
    peer = browser("them")
    tone = peer.call("publish_tone", hz=HZ, peak=PEAK)["sid"]
    peer.call("publish_colour", rgb=BLUE)

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            tracks = {}
            for _ in range(2):
                event = await anext(events)
                tracks[event.track.sid == tone] = event.track
            hz, peak = await listen(tracks[True])
            assert hz == pytest.approx(HZ, rel=0.02)
            assert peak == pytest.approx(PEAK, rel=0.25)
            assert colour(await look(tracks[False])) == pytest.approx(BLUE, abs=16)

    run(scenario, seconds=90)


@MODES
def test_layers_of_pictures(server, room, single):
    """The other side chooses the size, and layers that it does not choose are not encoded."""

    async def scenario() -> None:
        async with (
            joined(server, room, single=single) as ours,
            joined(server, room, "theirs", single=single) as theirs,
            theirs.events(TrackSubscribed) as events,
        ):
            layers = [VideoLayer(width=160, height=120), VideoLayer(width=320, height=240)]
            track = RawVideoTrack("cam", 320, 240, fps=15, layers=layers)
            await ours.local_participant.publish_track(track)
            ours.start_soon(paint, track, BLUE)
            event = await anext(events)
            async with decode_video(event.track) as pictures:
                for quality, width in ((VideoQuality.HIGH, 320), (VideoQuality.LOW, 160), (VideoQuality.HIGH, 320)):
                    event.publication.set_video_quality(quality)
                    async for picture in pictures:
                        if picture.width == width:
                            break
                    assert colour(picture) == pytest.approx(BLUE, abs=16)

    run(scenario)
