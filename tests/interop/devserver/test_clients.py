"""LiveKit's own clients join the development server beside ours: what each does, the other sees."""

from __future__ import annotations

import array
import contextlib
import math
from itertools import pairwise

import av
import pytest
import trio

from trio_client import (
    DataReceived,
    LocalProtocolError,
    ParticipantMetadataChanged,
    Reconnected,
    RpcError,
    TrackMuted,
    TrackSubscribed,
    TrackUnmuted,
)
from trio_client.media import PcmAudioTrack, RawVideoTrack, decode_audio, decode_video

from ..ours import MODES, joined, run

OTHERS = pytest.mark.parametrize("other", ["native", "browser"])
RATE = 48000
LONG = 90.0
"""Seconds for each: several clients on a busy machine."""


@pytest.fixture
def start(request):
    """A function that starts a client of a kind, joined."""
    return lambda other, identity="them": request.getfixturevalue(other)(identity)


@MODES
@OTHERS
def test_state_and_data(server, room, start, other, single):
    them = start(other)

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            me = ours.local_participant
            await them.await_("participant_connected", where=lambda e: e["args"][0]["identity"] == "ours")
            await ours.wait_until(lambda: "them" in ours.remote_participants)
            assert server.background.identities(room) == ["them", "ours"]

            with ours.events(ParticipantMetadataChanged) as changes:
                await them.acall("set_metadata", metadata="theirs")
                async for change in changes:
                    if change.participant.identity == "them":
                        break
                assert change.metadata == "theirs"
            await me.set_metadata("mine")
            await them.await_("participant_metadata_changed")
            await me.set_attributes({"mood": "fine"})
            await them.await_("participant_attributes_changed")

            with ours.events(DataReceived) as got:
                for reliable in (True, False):
                    await them.asend(b"from them", topic="t", reliable=reliable)
                    event = await anext(got)
                    assert (event.payload, event.topic, event.reliable) == (b"from them", "t", reliable)
                    assert event.identity == "them"
            for reliable in (True, False):
                await me.publish_data(b"from us", topic="t", reliable=reliable)
                found = await them.await_data(b"from us")
                assert (found["reliable"], found["topic"], found["identity"]) == (reliable, "t", "ours")

            await them.acall("leave")
            await ours.wait_until(lambda: not ours.remote_participants)

    run(scenario, LONG)
    assert server.background.identities(room) == []


@OTHERS
def test_we_leave_and_are_removed(server, room, start, other):
    them = start(other)

    async def scenario() -> None:
        async with joined(server, room):
            await them.await_("participant_connected")
        await them.await_("participant_disconnected", where=lambda e: e["args"][0]["identity"] == "ours")
        assert server.background.remove("them", room)
        await them.await_("disconnected")

    run(scenario, LONG)


@OTHERS
def test_links_that_break(server, room, start, other):
    """Each side's in turn: it comes back, in the same session, and data flows both ways."""
    them = start(other)

    async def scenario() -> None:
        async with joined(server, room) as ours:
            await them.await_("participant_connected")
            with ours.events(DataReceived) as got, ours.events(Reconnected) as back:
                await them.asend(b"before")
                assert (await anext(got)).payload == b"before"
                sid = ours.remote_participants["them"].sid
                assert server.background.cut("them", room)
                await them.await_("reconnected", timeout=20)
                await them.asend(b"after theirs")
                assert (await anext(got)).payload == b"after theirs"
                assert ours.remote_participants["them"].sid == sid
                assert server.background.cut("ours", room)
                assert (await anext(back)).resumed
                await ours.local_participant.publish_data(b"after ours")
                await them.await_data(b"after ours")

    run(scenario, LONG)


# ------------------------------------------------------------------ sound and pictures


async def pitch(track) -> float:
    """Of half a second of sound, after a quarter."""
    samples: list[int] = []
    async for frame in decode_audio(track, sample_rate=RATE, channels=1):
        samples += frame.data
        if len(samples) >= RATE * 3 // 4:
            break
    half = samples[RATE // 4 :]
    return sum([(a < 0) != (b < 0) for a, b in pairwise(half)]) / 2 / (len(half) / RATE)


async def colour(track) -> list[int]:
    """In the middle of the fifth picture."""
    count = 0
    async for picture in decode_video(track):
        count += 1
        if count == 5:
            pixels = picture.reformat(format="rgb24")
            at = picture.height // 2 * pixels.planes[0].line_size + picture.width // 2 * 3
            return list(bytes(pixels.planes[0])[at : at + 3])
    raise AssertionError("no pictures")


async def sing(track) -> None:
    """400 Hz, for as long as the track is published."""
    wave = array.array("h", [round(9000 * math.sin(math.tau * 400 * n / RATE)) for n in range(960)])  # 8 periods
    with contextlib.suppress(LocalProtocolError):
        while True:
            await track.write(wave)


async def settles(measure, expected: float) -> None:
    """Measure until it is right: a busy machine makes gaps in the sound. The test's own limit ends it otherwise."""
    while (found := await measure()) != pytest.approx(expected, abs=6):
        print("measured", found)


async def paint(track, rgb) -> None:
    while True:
        picture = av.VideoFrame(320, 240, "rgb24")
        picture.planes[0].update(bytes(rgb) * (picture.planes[0].buffer_size // 3))
        await track.write(picture)
        await trio.sleep(1 / 15)


@MODES
@OTHERS
def test_a_tone_each_way(server, room, start, other, single):
    them = start(other)

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            with ours.events(TrackSubscribed, TrackMuted, TrackUnmuted) as events:
                sid = (await them.acall("publish_tone", hz=523, peak=9000))["sid"]
                subscribed = await anext(events)
                await settles(lambda: pitch(subscribed.track), 523)
                await them.acall("mute", sid=sid)
                assert isinstance(await anext(events), TrackMuted)
                assert subscribed.publication.muted
                await them.acall("mute", sid=sid, muted=False)
                assert isinstance(await anext(events), TrackUnmuted)

            track = PcmAudioTrack("ours")
            publication = await ours.local_participant.publish_track(track)
            ours.start_soon(sing, track)
            await them.await_("track_subscribed")

            async def measure() -> float:
                return (await them.acall("measure_sound", sid=publication.sid))["hz"]

            await settles(measure, 400)
            await publication.mute()
            await them.await_("track_muted")
            await publication.unmute()
            await them.await_("track_unmuted")
            await ours.local_participant.unpublish_track(publication)
            await them.await_("track_unsubscribed")

    run(scenario, LONG)


@MODES
@OTHERS
def test_pictures_each_way(server, room, start, other, single):
    them = start(other)

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            with ours.events(TrackSubscribed) as events:
                await them.acall("publish_colour", rgb=[200, 40, 40])
                track = (await anext(events)).track
                assert await colour(track) == pytest.approx([200, 40, 40], abs=40)
            video = RawVideoTrack("ours", 320, 240, fps=15)
            publication = await ours.local_participant.publish_track(video)
            ours.start_soon(paint, video, [40, 60, 200])
            await them.await_("track_subscribed")
            measured = await them.acall("measure_colour", sid=publication.sid)
            assert measured["rgb"] == pytest.approx([40, 60, 200], abs=40)

    run(scenario, LONG)


# ------------------------------------------------------------------ the others among themselves


def test_calls_between_the_others(server, room, start):
    """The native client and the browser call each other through our server; and ours calls both."""
    native, browser = start("native", "native"), start("browser", "browser")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            await ours.wait_until(lambda: len(ours.remote_participants) == 2)
            for peer in (native, browser):
                await peer.acall("serve")
                await peer.await_("participant_connected", where=lambda e: e["args"][0]["identity"] == "ours")
            for caller, callee in ((native, "browser"), (browser, "native")):
                found = await caller.acall("call", to=callee, method="echo", payload="hello")
                assert found == {"answer": "hello"}
                found = await caller.acall("call", to=callee, method="refuse", payload="{}")
                assert found["code"] == 4711
                assert await ours.local_participant.perform_rpc(callee, "echo", "from ours") == "from ours"
                with pytest.raises(RpcError):
                    await ours.local_participant.perform_rpc(callee, "nonsense", "")

    run(scenario, LONG)
