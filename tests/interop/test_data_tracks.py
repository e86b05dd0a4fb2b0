"""Data tracks with LiveKit's own clients, through the real server."""

from __future__ import annotations

import contextlib
import hashlib
from contextlib import suppress

import pytest
import trio

from trio_client import (
    DataTrackFrame,
    DataTrackPublished,
    DataTrackStream,
    PushFrameError,
    Reconnected,
    RemoteDataTrack,
    RequestReason,
    RequestRejected,
    Room,
    Scenario,
    SubscribeDataTrackError,
)

from .native_peer import pattern
from .ours import MODES, joined, run
from .peers import PeerFailed

SIZES = [1, 1000, 15_000, 40_000]
"""The others send nothing at all for an empty frame. The server may drop a packet of the largest, as it likes."""


async def appeared(room: Room) -> RemoteDataTrack:
    """The data track that is there, or comes next."""

    def tracks() -> list[RemoteDataTrack]:
        return [track for other in room.remote_participants.values() for track in other.data_tracks.values()]

    await room.wait_until(tracks)
    return tracks()[0]


async def read(frames: DataTrackStream, count: int) -> list[DataTrackFrame]:
    with trio.fail_after(15):
        return [await anext(frames) for _ in range(count)]


@MODES
def test_frames_both_ways(server, room, other, single):
    peer = other("them")
    peer.call("follow_data_tracks")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            await peer.await_("participant_connected")
            track = await ours.local_participant.publish_data_track("ours")
            told = await peer.await_("data_track")
            assert (told["name"], told["sid"], told["identity"]) == ("ours", track.info.sid, "ours")
            await trio.sleep(1)
            for number, size in enumerate([0, *SIZES]):
                got = None
                for _ in range(10):
                    track.try_push(DataTrackFrame(pattern(size), number))
                    with suppress(PeerFailed):
                        got = await peer.await_("frame", timeout=2)
                        break
                sha = hashlib.sha256(pattern(size)).hexdigest()
                assert got is not None
                assert (got["size"], got["sha"], got["stamp"]) == (size, sha, number)
            track.try_push(b"without")
            got = await peer.await_("frame", where=lambda event: event["size"] == 7)
            assert got["stamp"] is None
            await track.unpublish()
            assert (await peer.await_("data_track_unpublished"))["sid"] == told["sid"]

            published = await peer.acall("publish_data_track", name="theirs")
            remote = await appeared(ours)
            assert (remote.name, remote.sid, remote.publisher_identity) == ("theirs", published["sid"], "them")
            async with remote.subscribe(capacity=64) as frames:
                await trio.sleep(1)
                for size in SIZES:
                    found = None
                    for _ in range(10):
                        await peer.acall("push_frames", sizes=[size])
                        with trio.move_on_after(2):
                            found = await anext(frames)
                            break
                    assert found == DataTrackFrame(pattern(size), 1)
                await peer.acall("unpublish_data_track")
                assert [frame async for frame in frames] == []
            assert frames.ended == "unpublished"

    run(scenario)


def test_what_the_server_refuses(server, room):
    async def scenario() -> None:
        async with joined(server, room, canPublishData=False) as ours:
            with pytest.raises(RequestRejected) as caught:
                await ours.local_participant.publish_data_track("ours")
            assert caught.value.reason is RequestReason.NOT_ALLOWED
            assert not ours._session.engine.data_tracks.local

    run(scenario)


def test_who_may_not_subscribe(server, room, native):
    peer = native("them")
    peer.call("publish_data_track", name="theirs")

    async def scenario() -> None:
        async with joined(server, room, canSubscribe=False) as ours:
            remote = await appeared(ours)
            with pytest.raises(SubscribeDataTrackError):
                await anext(remote.subscribe())

    run(scenario)


@MODES
@pytest.mark.parametrize("scenario_of_ours", [Scenario.SIGNAL_RECONNECT, Scenario.FULL_RECONNECT])
def test_reconnecting_keeps_tracks_and_subscriptions(server, room, native, single, scenario_of_ours):
    peer = native("them")
    peer.call("follow_data_tracks")
    peer.call("publish_data_track", name="theirs")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            await peer.await_("participant_connected")
            track = await ours.local_participant.publish_data_track("ours")
            await peer.await_("data_track")
            frames = (await appeared(ours)).subscribe()
            await trio.sleep(1)
            await peer.acall("push_frames", sizes=[10])
            assert (await read(frames, 1))[0].payload == pattern(10)
            async with ours.events(Reconnected) as events:
                await ours.simulate(scenario_of_ours)
                await anext(events)
            await trio.sleep(3)  # to the native client a track that is published again goes on
            track.try_push(b"again")
            await peer.await_("frame", where=lambda event: event["size"] == 5)
            await peer.acall("push_frames", sizes=[20])
            assert (await read(frames, 1))[0].payload == pattern(20)

    run(scenario, 60)


def test_our_two_clients(server, room):
    """A publisher whose session begins anew: its subscriber goes on."""

    async def scenario() -> None:
        async with joined(server, room, "alice") as alice, joined(server, room, "bob") as bob:
            async with bob.events(DataTrackPublished) as events:
                track = await alice.local_participant.publish_data_track("pos")
                frames = (await anext(events)).track.subscribe(capacity=200)
            await trio.sleep(1)
            track.try_push(b"before")
            assert (await read(frames, 1))[0].payload == b"before"
            async with alice.events(Reconnected) as reconnected:
                await alice.simulate(Scenario.FULL_RECONNECT)
                await anext(reconnected)
            got = None
            with trio.fail_after(20):
                while got is None:
                    with contextlib.suppress(PushFrameError):
                        track.try_push(b"after")
                    with trio.move_on_after(0.2):
                        got = await anext(frames)
            assert got.payload == b"after"
            assert not frames.ended

    run(scenario, 60)
