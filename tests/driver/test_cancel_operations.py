"""The operations of a participant, each cancelled at every checkpoint: done or not, and the next one works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_client import (
    ChatEntry,
    LocalAudioTrack,
    LocalVideoTrack,
    Reconnected,
    Room,
    Scenario,
    Transcription,
    TranscriptionSegment,
    VideoLayer,
)
from trio_client._session import SENDS
from trio_client._tracks import WRITES
from trio_client.media import PcmAudioTrack

from .simnet import SimNet, sim_net
from .sweep import Cut, sweep

FRAME = b"\xf8\xff\xfe"
KEY = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" + bytes(3000)


async def settled(net: SimNet) -> None:
    await trio.sleep(6 * net.latency)


def swept(operation: Callable[[Room], Awaitable[None]], check: Callable[[Room], Awaitable[None]], least: int) -> None:
    """Cancel ``operation`` at each checkpoint of all tasks; afterwards ``check``, which does it again, must hold."""

    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice:
            await cut(operation, alice)
            assert not alice._session._operations
            await settled(net)
            await check(alice)

    assert sweep(scenario, everybody=True) >= least


def test_attributes():
    async def change(room: Room) -> None:
        await room.local_participant.set_attributes({"a": "1"})

    async def check(room: Room) -> None:
        await room.local_participant.set_attributes({"a": "2", "b": "3"})
        assert dict(room.local_participant.attributes) == {"a": "2", "b": "3"}

    swept(change, check, 5)


@pytest.mark.parametrize("what", ["chat", "edit", "transcription", "dtmf"])
def test_messages(what):
    entry = ChatEntry("id", "one", 1)

    def say(room: Room) -> Awaitable[Any]:
        me = room.local_participant
        match what:
            case "chat":
                return me.send_chat_message("one")
            case "edit":
                return me.edit_chat_message(entry, "two")
            case "transcription":
                segment = TranscriptionSegment(id="s", text="words")
                return me.publish_transcription(Transcription("alice", "TR_1", (segment,)))
            case _:
                return me.publish_dtmf(digit="5")

    async def many(room: Room) -> None:
        for _ in range(2 * SENDS):  # one alone is not suspended
            await say(room)

    swept(many, many, 2)


def test_muting_and_ending_a_track():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice:
            track = LocalAudioTrack("voice")
            publication = await alice.local_participant.publish_track(track)

            async def work() -> None:
                await publication.mute()
                await publication.unmute()
                await publication.mute()
                await alice.local_participant.unpublish_track(publication)

            await cut(work)
            await settled(net)
            if alice.local_participant.track_publications:
                await publication.unmute()
                assert not publication.muted
                assert await track.write(FRAME)
                await alice.local_participant.unpublish_track(publication)
            await settled(net)
            assert not alice.local_participant.track_publications
            assert not alice._session._operations
            await alice.local_participant.publish_track(track)
            assert await track.write(FRAME)

    assert sweep(scenario, everybody=True) >= 4


def test_writing_to_layers():
    shapes = [VideoLayer(width=160, height=120), VideoLayer(width=320, height=240)]

    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("bob"), net.connect("alice") as alice:
            track = LocalVideoTrack("cam", layers=shapes)
            publication = await alice.local_participant.publish_track(track)
            await publication.wait_for_subscription()
            written = 0

            async def work() -> None:
                nonlocal written
                for layer in WRITES * track.layers:  # one frame alone is not suspended
                    written += await layer.write(KEY)

            await cut(work)
            assert sum([layer.stats().frames for layer in track.layers]) == written
            assert [await layer.write(KEY) for layer in track.layers] == [True, True]

    assert sweep(scenario) >= 2


def test_writing_samples_and_waiting_until_they_are_sent():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice:
            track = PcmAudioTrack("voice", queue=0.1, dtx=False)
            publication = await alice.local_participant.publish_track(track)

            async def work() -> None:
                await track.write(bytes(2 * 24_000))
                await track.drain()

            await cut(work)
            await track.write(bytes(2 * 960))
            await track.drain()
            assert track.queued == 0
            frames = publication.track.stats().frames
            assert frames == 26 if not cut.cancelled else 1 <= frames <= 26
            await alice.local_participant.unpublish_track(publication)

    assert sweep(scenario, everybody=True, step=3, fine=1) >= 10


@pytest.mark.parametrize("drill", [Scenario.SIGNAL_RECONNECT, Scenario.FULL_RECONNECT])
def test_drills(drill):
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice:
            with alice.events(Reconnected) as events:
                await cut(alice.simulate, drill)
                if not cut.cancelled:
                    await anext(aiter(events))
                await alice.local_participant.set_name("still here")

    assert sweep(scenario) >= 1
