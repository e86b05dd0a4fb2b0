"""LiveKit's own clients join the development server beside ours: what each does, the other sees."""

from __future__ import annotations

import contextlib

import pytest

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
from trio_client.media import PcmAudioTrack, RawVideoTrack

from ..ours import MODES, joined, run
from ..signals import colour, listen, look, paint, sing

LONG = 90.0
"""Seconds for each: several clients on a busy machine."""


@MODES
def test_state_and_data(server, room, other, single):
    them = other("them")

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


def test_we_leave_and_are_removed(server, room, other):
    them = other("them")

    async def scenario() -> None:
        async with joined(server, room):
            await them.await_("participant_connected")
        await them.await_("participant_disconnected", where=lambda e: e["args"][0]["identity"] == "ours")
        assert server.background.remove("them", room)
        await them.await_("disconnected")

    run(scenario, LONG)


def test_links_that_break(server, room, other):
    """Each side's in turn: it comes back, in the same session, and data flows both ways."""
    them = other("them")

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


async def sing_to_the_end(track) -> None:
    """For as long as the track is published."""
    with contextlib.suppress(LocalProtocolError):
        await sing(track, 400)


async def settles(measure, expected: float) -> None:
    """Measure until it is right: a busy machine makes gaps in the sound. The test's own limit ends it otherwise."""
    while (found := await measure()) != pytest.approx(expected, abs=6):
        print("measured", found)


@MODES
def test_a_tone_each_way(server, room, other, single):
    them = other("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            with ours.events(TrackSubscribed, TrackMuted, TrackUnmuted) as events:
                sid = (await them.acall("publish_tone", hz=523, peak=9000))["sid"]
                subscribed = await anext(events)

                async def heard() -> float:
                    return (await listen(subscribed.track))[0]

                await settles(heard, 523)
                await them.acall("mute", sid=sid)
                assert isinstance(await anext(events), TrackMuted)
                assert subscribed.publication.muted
                await them.acall("mute", sid=sid, muted=False)
                assert isinstance(await anext(events), TrackUnmuted)

            track = PcmAudioTrack("ours")
            publication = await ours.local_participant.publish_track(track)
            ours.start_soon(sing_to_the_end, track)
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
def test_pictures_each_way(server, room, other, single):
    them = other("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            with ours.events(TrackSubscribed) as events:
                await them.acall("publish_colour", rgb=[200, 40, 40])
                track = (await anext(events)).track
                assert colour(await look(track)) == pytest.approx([200, 40, 40], abs=40)
            video = RawVideoTrack("ours", 320, 240, fps=15)
            publication = await ours.local_participant.publish_track(video)
            ours.start_soon(paint, video, [40, 60, 200])
            await them.await_("track_subscribed")
            measured = await them.acall("measure_colour", sid=publication.sid)
            assert measured["rgb"] == pytest.approx([40, 60, 200], abs=40)

    run(scenario, LONG)


# ------------------------------------------------------------------ the others among themselves


def test_calls_between_the_others(server, room, native, browser):
    """The native client and the browser call each other through our server; and ours calls both."""
    one, two = native("native"), browser("browser")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            await ours.wait_until(lambda: len(ours.remote_participants) == 2)
            for peer in (one, two):
                await peer.acall("serve")
                await peer.await_("participant_connected", where=lambda e: e["args"][0]["identity"] == "ours")
            for caller, callee in ((one, "browser"), (two, "native")):
                found = await caller.acall("call", to=callee, method="echo", payload="hello")
                assert found == {"answer": "hello"}
                found = await caller.acall("call", to=callee, method="refuse", payload="{}")
                assert found["code"] == 4711
                assert await ours.local_participant.perform_rpc(callee, "echo", "from ours") == "from ours"
                with pytest.raises(RpcError):
                    await ours.local_participant.perform_rpc(callee, "nonsense", "")

    run(scenario, LONG)
