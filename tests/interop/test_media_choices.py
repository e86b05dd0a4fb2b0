"""What a subscriber asks of the real server: whether a track comes, how large, how often; and what it pauses."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trio_client import RemoteTrack, Scenario, StreamState, TrackStreamStateChanged, TrackSubscribed, VideoQuality

from .ours import MODES, joined, run


class Watcher:
    """Reads a track: when its frames came."""

    def __init__(self, track: RemoteTrack) -> None:
        self.track = track
        self.times: list[float] = []

    async def watch(self) -> None:
        async for _ in self.track.frames():
            self.times.append(trio.current_time())

    async def rate(self, seconds: float) -> float:
        """Frames a second, from now on."""
        before = len(self.times)
        await trio.sleep(seconds)
        return (len(self.times) - before) / seconds

    async def until(self, condition: Any) -> None:
        while not condition():
            await trio.sleep(0.05)


@MODES
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_track_is_paused_and_comes_again(server, room, native, single, kind):
    """We stay subscribed meanwhile, and the same reader goes on."""
    peer = native("them")
    peer.call("publish_tone", hz=480, peak=8000) if kind == "audio" else peer.call("publish_video")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            event = await anext(events)
            watcher = Watcher(event.track)
            ours.start_soon(watcher.watch)
            await watcher.until(lambda: len(watcher.times) > 10)
            for _ in range(2):
                event.publication.set_enabled(False)
                await watcher.until(lambda: trio.current_time() - watcher.times[-1] > 1.5)
                assert event.publication.subscribed
                assert event.publication.track is event.track
                event.publication.set_enabled(True)
                assert await watcher.rate(4) > 4
            assert event.track.ended == ""

    run(scenario)


@MODES
@pytest.mark.parametrize("other", ["native", "browser"])
def test_the_size_decides_which_layer_comes(server, room, single, other, request):
    """The smallest that covers it, until a quality is asked for."""
    small, large = (480, 640) if other == "native" else (320, 640)
    peer = request.getfixturevalue(other)("them")
    peer.call("publish_video", **({"width": 640, "height": 480, "simulcast": True} if other == "native" else {}))

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            event = await anext(events)
            watcher = Watcher(event.track)
            ours.start_soon(watcher.watch)
            for size in (small, large, small):
                event.publication.set_video_dimensions(size, size * 3 // 4)
                await watcher.until(lambda size=size: event.track.stats().width == size)
            event.publication.set_video_dimensions(large, large * 3 // 4)
            await watcher.until(lambda: event.track.stats().width == large)
            event.publication.set_video_quality(VideoQuality.LOW)
            await watcher.until(lambda: event.track.stats().width == small)

    run(scenario, seconds=60)


@MODES
def test_fewer_frames_a_second_are_enough(server, room, native, single):
    """The native client sends layers in time, of which the server leaves the upper ones out."""
    native("them").call("publish_video", width=640, height=480, simulcast=True)

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            event = await anext(events)
            watcher = Watcher(event.track)
            ours.start_soon(watcher.watch)
            await watcher.until(lambda: len(watcher.times) > 30)
            every = await watcher.rate(3)
            event.publication.set_video_fps(5)
            await trio.sleep(1)
            some = await watcher.rate(3)
            event.publication.set_video_fps(30)
            await trio.sleep(1)
            again = await watcher.rate(3)
            print(every, some, again, event.track.stats())
            assert some < 0.7 * every
            assert again > 1.3 * some

    run(scenario)


@MODES
def test_the_server_pauses_what_the_way_has_no_room_for(server, room, native, single):
    """It tells of that with two peer connections; with one LiveKit 1.13 says nothing of it."""
    native("them").call("publish_video", width=640, height=480)

    async def scenario() -> None:
        async with (
            joined(server, room, single=single, options={"allow_pause": True}) as ours,
            ours.events(TrackSubscribed) as events,
            ours.events(TrackStreamStateChanged) as states,
        ):
            event = await anext(events)
            watcher = Watcher(event.track)
            ours.start_soon(watcher.watch)
            await trio.sleep(4)  # the server has measured what the video takes
            assert watcher.times
            for capacity, state in ((1000, StreamState.PAUSED), (10_000_000, StreamState.ACTIVE)):
                await ours.simulate(Scenario.SUBSCRIBER_BANDWIDTH, capacity)
                if not single:
                    told = await anext(states)
                    assert (told.publication, told.state) == (event.publication, state)
                    assert event.publication.stream_state is state
                if state is StreamState.PAUSED:
                    await watcher.until(lambda: trio.current_time() - watcher.times[-1] > 1.5)
            assert await watcher.rate(3) > 3
            assert event.track.ended == ""

    run(scenario)
