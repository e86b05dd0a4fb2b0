"""What Chromium with LiveKit's own client sees and hears of a publisher, up to the end of its tracks."""

from __future__ import annotations

import pytest
import trio

from trio_client import LocalAudioTrack, LocalVideoTrack, TrackMuted, TrackSubscribed, TrackUnmuted

from .ours import MODES, joined, run
from .signals import pictures, play, show, tone


@MODES
@pytest.mark.parametrize("red", [True, False], ids=["red", "plain"])
def test_a_browser_hears_us(server, room, browser, single, red):
    packets = tone()
    peer = browser("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            me = ours.local_participant
            track = LocalAudioTrack("voice", red=red, dtx=False)
            for _ in range(2):  # and once more, with the same track
                publication = await me.publish_track(track)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(play, track, packets)
                    await peer.await_("track_subscribed")
                    sound = await peer.acall("measure_sound", sid=publication.sid)
                    assert sound["hz"] == pytest.approx(440, rel=0.02)
                    await publication.mute()
                    await peer.await_("track_muted")
                    sound = await peer.acall("measure_sound", sid=publication.sid)
                    assert sound["peak"] < 100
                    await publication.unmute()
                    await peer.await_("track_unmuted")
                    sound = await peer.acall("measure_sound", sid=publication.sid)
                    assert sound["hz"] == pytest.approx(440, rel=0.02)
                    nursery.cancel_scope.cancel()
                await me.unpublish_track(publication)
                await peer.await_("track_unpublished")

    run(scenario, seconds=90)


@MODES
@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_browser_sees_us(server, room, browser, single, codec):
    frames = pictures(codec)
    peer = browser("them")
    peer.call("listen")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            track = LocalVideoTrack("cam", codec=codec, width=320, height=240)
            publication = await ours.local_participant.publish_track(track)
            ours.start_soon(show, [track], [frames])
            await track.keyframe_wanted
            seen = await peer.await_("seen")
            assert (seen["sid"], seen["width"], seen["height"]) == (publication.sid, 320, 240)
            await publication.mute()
            await peer.await_("track_muted")
            await publication.unmute()
            await peer.await_("track_unmuted")

    run(scenario, seconds=90)


@MODES
@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_frames_of_a_browser_arrive(server, room, browser, single, codec):
    """Complete and in order; its mute is seen, and its end."""
    peer = browser("them")
    voice = peer.call("publish_tone", hz=480, peak=8000)["sid"]
    cam = peer.call("publish_colour", rgb=[30, 60, 210], codec=codec)["sid"]

    async def scenario() -> None:
        async with (
            joined(server, room, single=single) as ours,
            ours.events(TrackSubscribed) as events,
            ours.events(TrackMuted, TrackUnmuted) as mutes,
        ):
            tracks = {}
            for _ in range(2):
                track = (await anext(events)).track
                tracks[track.sid] = track
            for sid, count in ((cam, 30), (voice, 100)):
                frames = tracks[sid].frames()
                for number in range(count):
                    frame = await anext(frames)
                    assert frame.data
                    assert frame.keyframe or number or sid == voice
                    assert frame.lost == 0 or not number
            assert tracks[cam].stats().codec == codec
            for muted in (True, False):
                await peer.acall("mute", sid=voice, muted=muted)
                event = await anext(mutes)
                assert (event.publication.sid, event.publication.muted) == (voice, muted)
            await peer.acall("leave")
            async for _ in frames:
                pass
            assert frames.ended in ("unpublished", "unsubscribed")

    run(scenario, seconds=90)
