"""Tracks between two rooms over the simulated network, and every coroutine of theirs cancelled at each checkpoint."""

from __future__ import annotations

import pytest
import trio

from trio_client import (
    DisconnectedError,
    LocalAudioTrack,
    LocalProtocolError,
    LocalTrackSubscribed,
    LocalVideoTrack,
    PublishOptions,
    RemoteTrack,
    Room,
    RoomNotFound,
    TrackSource,
    VideoLayer,
    VideoQuality,
)

from .running import run
from .simnet import SimNet, sim_net
from .sweep import Cut, sweep

OPUS_FRAME = b"\xf8\xff\xfe"
KEY = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" + bytes(3000)
DELTA = b"\x11" + bytes(900)


async def subscribed(room: Room, name: str) -> RemoteTrack:
    """The track of that name, once it comes here."""
    tracks: list[RemoteTrack] = []

    def found() -> bool:
        for participant in room.remote_participants.values():
            tracks.extend([each.track for each in participant.track_publications.values() if each.name == name])
        tracks[:] = [track for track in tracks if track is not None]
        return bool(tracks)

    await room.wait_until(found)
    return tracks[0]


async def settled(net: SimNet) -> None:
    await trio.sleep(6 * net.latency)


def sections(net: SimNet, identity: str = "alice") -> list[str]:
    """The directions of the sections for media in the last offer of somebody."""
    (session,) = [each for each in net.sessions if each.engine.state.local_participant.identity == identity]
    offer = session.engine._parts.transports.publisher.connection.last_offer
    lines = offer.split("m=application")[1].split("\r\n")
    return [line[2:] for line in lines if line in ("a=sendonly", "a=inactive")]


def test_tracks_that_come_with_the_join_are_heard_and_seen():
    async def main() -> None:
        async with sim_net() as net, net.connect("bob") as bob:
            voice, cam = LocalAudioTrack("voice"), LocalVideoTrack("cam")
            screen = (cam, PublishOptions(source=TrackSource.SCREEN_SHARE, name="screen"))
            async with net.connect("alice", publish=[voice, screen]) as alice:
                publications = alice.local_participant.track_publications
                assert publications == {each.publication.sid: each.publication for each in (voice, cam)}
                sound, picture = await subscribed(bob, "voice"), await subscribed(bob, "screen")
                await voice.publication.wait_for_subscription()
                readers = [sound.frames(), sound.frames(), picture.frames()]
                await cam.publication.wait_for_subscription()
                await settled(net)
                for number in range(20):
                    assert await voice.write(OPUS_FRAME + bytes([number]))
                    assert await cam.write(KEY if number == 0 or cam.keyframe_wanted else DELTA)
                    await trio.sleep(0.02)
                for reader in readers[:2]:
                    heard = [(await anext(reader)).data for _ in range(20)]
                    assert heard == [OPUS_FRAME + bytes([number]) for number in range(20)]
                frames = [await anext(readers[2]) for _ in range(6)]
                assert frames[0].data == KEY
                assert all(frame.data in (KEY, DELTA) for frame in frames)
                late = picture.frames()
                with trio.fail_after(2):
                    await cam.keyframe_wanted  # for whoever comes late
                await cam.write(KEY)
                assert (await anext(late)).keyframe
                await trio.sleep(2)
                stats = bob.stats().received
                assert (stats[picture.sid].width, stats[picture.sid].height) == (320, 240)
                assert alice.stats().sent[voice.publication.sid][0].lost == 0
                assert alice.stats().sent[voice.publication.sid][0].rtt == pytest.approx(0.02, abs=0.005)
            for reader in readers:
                async for _ in reader:
                    pass
                assert reader.ended == "unpublished"

    run(main)


def test_layers_that_nobody_wants_are_paused():
    async def main() -> None:
        shapes = [
            VideoLayer(width=160, height=120),
            VideoLayer(width=320, height=240),
            VideoLayer(width=640, height=480),
        ]
        keys = [KEY[:6] + bytes([shape.width & 0xFF, shape.width >> 8]) + KEY[8:] for shape in shapes]
        cam = LocalVideoTrack("cam", layers=shapes)
        async with sim_net() as net, net.connect("bob") as bob, net.connect("alice", publish=[cam]) as alice:
            remote = await subscribed(bob, "cam")
            publication = remote.publication

            async def show() -> None:
                while True:
                    for layer, key in zip(cam.layers, keys, strict=True):
                        await layer.write(key if layer.keyframe_wanted or layer.stats().keyframes == 0 else DELTA)
                    await trio.sleep(0.04)

            async def comes(width: int) -> None:
                async for _ in frames:
                    if remote.stats().width == width:
                        return

            alice.start_soon(show)
            frames = remote.frames()
            await comes(640)
            publication.set_video_quality(VideoQuality.LOW)
            await comes(160)
            await alice.wait_until(lambda: [layer.paused for layer in cam.layers] == [False, True, True])
            publication.set_video_quality(VideoQuality.MEDIUM)
            await cam.layers[1].wanted
            await comes(320)
            assert cam.layers[2].paused
            publication.set_video_quality(VideoQuality.HIGH)
            await comes(640)
            assert [layer.paused for layer in cam.layers] == [False] * 3
            publication.set_subscribed(False)
            await alice.wait_until(lambda: cam.publication.layers_wanted == (False, False, False))
            assert not await cam.write(keys[0], layer=0)

    run(main)


def test_joining_with_tracks():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net:
            voice = LocalAudioTrack("voice")

            async def session() -> None:
                async with net.connect("alice", publish=[voice]):
                    assert voice.publication is not None
                    await voice.write(OPUS_FRAME)

            await cut(session)
            await settled(net)
            assert net.identities() == []
            async with net.connect("alice", publish=[voice]):  # the track is free again, whatever happened
                assert await voice.write(OPUS_FRAME)

    assert sweep(scenario) > 4
    assert sweep(scenario, everybody=True, step=3) > 30


def test_a_track_is_free_again_when_connect_was_called_wrongly():
    async def main() -> None:
        async with sim_net() as net:
            voice = LocalAudioTrack("voice")
            for wrong, error in (
                ({"on": {"nonsense": print}}, ValueError),
                ({"rpc_methods": {"": print}}, LocalProtocolError),
            ):
                with pytest.raises(error):
                    await net.connect("alice", publish=[voice], **wrong).__aenter__()
            async with net.connect("alice", publish=[voice]):
                assert await voice.write(OPUS_FRAME)

    run(main)


def test_a_writer_that_waits_for_a_join_that_fails():
    async def main() -> None:
        async with sim_net(auto_create=False) as net:
            voice = LocalAudioTrack("voice")

            async def speak() -> None:
                with pytest.raises(DisconnectedError):
                    await voice.write(OPUS_FRAME)

            async def join() -> None:
                with pytest.raises(RoomNotFound):
                    async with net.connect("alice", publish=[voice]):
                        raise AssertionError

            async with trio.open_nursery() as nursery:
                nursery.start_soon(join)
                await trio.sleep(net.latency / 2)
                nursery.start_soon(speak)

    run(main)


def test_publishing():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice:
            track = LocalAudioTrack("voice")
            await cut(alice.local_participant.publish_track, track)
            await settled(net)
            published = [] if cut.cancelled else ["a=sendonly"]
            assert list(alice.local_participant.track_publications.values()) == (
                [track.publication] if published else []
            )
            assert sections(net).count("sendonly") == len(published)
            if cut.cancelled:
                assert track.publication is None
                await alice.local_participant.publish_track(track)
            assert await track.write(OPUS_FRAME)

    assert sweep(scenario) >= 1
    assert sweep(scenario, everybody=True) > 5


def test_writing_and_waiting_to_write():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            track = LocalVideoTrack("cam")
            await alice.local_participant.publish_track(track)
            remote = await subscribed(bob, "cam")
            frames = remote.frames()
            (layer,) = track.layers
            await track.write(KEY)
            await anext(frames)
            remote.request_keyframe()

            async def work() -> None:
                await layer.wanted
                await layer.keyframe_wanted
                await layer.write(KEY)
                await track.publication.wait_for_subscription()

            await cut(work)
            await track.write(KEY)
            with trio.fail_after(2):
                assert (await anext(frames)).data == KEY
            await alice.local_participant.unpublish_track(track.publication)
            with pytest.raises(LocalProtocolError):
                await layer.keyframe_wanted

    assert sweep(scenario) >= 3


def test_reading_loses_nothing():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            track = LocalAudioTrack("voice")
            await alice.local_participant.publish_track(track)
            remote = await subscribed(bob, "voice")
            got: list[bytes] = []
            with remote.frames() as frames, remote.frames() as other:

                async def read() -> None:
                    async for frame in frames:
                        got.append(frame.data)
                        if len(got) == 6:
                            return

                async def speak() -> None:
                    for number in range(6):
                        await track.write(OPUS_FRAME + bytes([number]))
                        await trio.sleep(0.02)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(speak)
                    await cut(read)
                with trio.move_on_after(1):
                    if len(got) < 6:
                        await read()
                assert got == [OPUS_FRAME + bytes([number]) for number in range(6)]
                assert [(await anext(other)).data for _ in range(6)] == got
            assert not remote.receiver.enabled

    assert sweep(scenario) >= 4


def test_the_first_subscriber_is_told():
    async def main() -> None:
        async with sim_net() as net, net.connect("alice") as alice, alice.events(LocalTrackSubscribed) as events:
            track = LocalAudioTrack("voice")
            publication = await alice.local_participant.publish_track(track)
            assert not publication.subscribed
            async with net.connect("bob"):
                event = await anext(events)
                assert (event.publication, publication.subscribed) == (publication, True)

    run(main)
