"""Sound and pictures, encoded and decoded here, with LiveKit's own clients at the other end: what goes in comes out."""

from __future__ import annotations

import array
import itertools
import math

import av
import pytest
import trio

import trio_client
from trio_client import (
    ActiveSpeakersChanged,
    ConnectOptions,
    Scenario,
    TrackSource,
    TrackSubscribed,
    VideoLayer,
    VideoQuality,
)
from trio_client.media import PcmAudioTrack, RawVideoTrack, decode_audio, decode_video

from .ours import MODES, joined, run

HZ, PEAK = 480, 8000
RED, BLUE = (220, 30, 40), (30, 60, 210)


def sine(begin, count, rate, channels=1):
    wave = [round(PEAK * math.sin(math.tau * HZ * n / rate)) for n in range(begin, begin + count)]
    return array.array("h", [value for value in wave for _ in range(channels)])


async def sing(track):
    """A tone in pieces of an awkward length."""
    at, piece = 0, track.sample_rate // 30
    while True:
        await track.write(sine(at, piece, track.sample_rate, track.channels))
        at += piece


async def paint(track, rgb):
    """Pictures of one colour, with a corner that changes."""
    frame = av.VideoFrame(320, 240, "rgb24")
    number, due = 0, trio.current_time()
    while True:
        row = bytes(rgb) * 320
        corner = bytes([255 * (number % 2)] * 24) + row[24:]
        line = frame.planes[0].line_size
        frame.planes[0].update(b"".join([part.ljust(line, b"\0") for part in [corner] * 8 + [row] * 232]))
        await track.write(frame)
        number += 1
        due += 1 / 15
        await trio.sleep_until(due)


def rgb_of(frame):
    """The colour in the middle."""
    found = frame.reformat(format="rgb24")
    at = found.height // 2 * found.planes[0].line_size + found.width // 2 * 3
    return tuple(bytes(found.planes[0])[at : at + 3])


async def listen(track, seconds=0.5):
    """Frequency and peak of some sound, after a second of it."""
    samples = array.array("h")
    async with decode_audio(track, 24000, frame_ms=20) as decoded:
        async for frame in decoded:
            if frame.time > 1:
                samples.extend(frame.data)
            if len(samples) > 24000 * seconds:
                break
    crossings = sum((a < 0) != (b < 0) for a, b in itertools.pairwise(samples))
    return crossings / 2 / (len(samples) / 24000), max(map(abs, samples))


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
def test_a_tone_published_with_the_join_outlives_the_session(server, room, native, single):
    peer = native("them")
    peer.call("listen")

    async def scenario() -> None:
        track = PcmAudioTrack("voice", 24000)
        options = ConnectOptions(single_peer_connection=single)
        async with (
            trio_client.connect(server.url, server.token(room, "ours"), publish=[track], options=options) as ours,
            trio.open_nursery() as nursery,
        ):
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


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_native_client_sees_our_colour(server, room, native, codec):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            track = RawVideoTrack("cam", 320, 240, codec, fps=15)
            publication = await ours.local_participant.publish_track(track)
            ours.start_soon(paint, track, RED)
            await peer.await_("track_subscribed")
            seen = await peer.acall("measure_colour", sid=publication.sid)
            assert seen["rgb"] == pytest.approx(RED, abs=16)

    run(scenario)


def test_we_see_the_colour_of_a_native_client(server, room, native):
    peer = native("them")
    peer.call("publish_colour", rgb=BLUE)

    async def scenario() -> None:
        async with joined(server, room) as ours, ours.events(TrackSubscribed) as events:
            track = (await anext(events)).track
            async with decode_video(track) as pictures:
                async for picture in pictures:
                    if picture.time > 0.5:
                        break
            assert (picture.width, picture.height) == (320, 240)
            assert rgb_of(picture) == pytest.approx(BLUE, abs=16)

    run(scenario)


def test_a_browser_hears_and_sees_us(server, room, browser):
    peer = browser("them")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            voice, cam = PcmAudioTrack("voice"), RawVideoTrack("cam", 320, 240, fps=15)
            heard = await ours.local_participant.publish_track(voice)
            seen = await ours.local_participant.publish_track(cam)
            ours.start_soon(sing, voice)
            ours.start_soon(paint, cam, RED)
            for _ in range(2):
                await peer.await_("track_subscribed")
            sound = await peer.acall("measure_sound", sid=heard.sid)
            assert sound["hz"] == pytest.approx(HZ, rel=0.02)
            assert sound["peak"] == pytest.approx(PEAK, rel=0.25)
            colour = await peer.acall("measure_colour", sid=seen.sid)
            assert colour["rgb"] == pytest.approx(RED, abs=16)

    run(scenario, seconds=90)


def test_we_hear_and_see_a_browser(server, room, browser):
    peer = browser("them")
    tone = peer.call("publish_tone", hz=HZ, peak=PEAK)["sid"]
    peer.call("publish_colour", rgb=BLUE)

    async def scenario() -> None:
        async with joined(server, room) as ours, ours.events(TrackSubscribed) as events:
            tracks = {}
            for _ in range(2):
                event = await anext(events)
                tracks[event.track.sid == tone] = event.track
            hz, peak = await listen(tracks[True])
            assert hz == pytest.approx(HZ, rel=0.02)
            assert peak == pytest.approx(PEAK, rel=0.25)
            async with decode_video(tracks[False]) as pictures:
                async for picture in pictures:
                    if picture.time > 0.5:
                        break
            assert rgb_of(picture) == pytest.approx(BLUE, abs=16)

    run(scenario, seconds=90)


def test_layers_of_pictures(server, room):
    """The other side chooses the size, and layers that it does not choose are not encoded."""

    async def scenario() -> None:
        async with (
            joined(server, room) as ours,
            joined(server, room, "theirs") as theirs,
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
                    assert rgb_of(picture) == pytest.approx(BLUE, abs=16)

    run(scenario)
