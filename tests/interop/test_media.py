"""Audio and video between our client and LiveKit's own, through the real server, over one peer connection and two."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

import trio_client
from trio_client import (
    EncodedFrame,
    LocalAudioTrack,
    LocalTrackLayersChanged,
    LocalTrackUnpublished,
    LocalVideoTrack,
    TrackMuted,
    TrackSubscribed,
    TrackSubscriptionPermissionChanged,
    TrackUnsubscribed,
    VideoLayer,
    VideoQuality,
)

from .ours import MODES, joined, run
from .peers import Peer
from .servers import Server
from .signals import SILENCE, pictures, play, show, tone


@MODES
@pytest.mark.parametrize("first", [True, False], ids=["there", "later"])
def test_frames_of_a_native_publisher_arrive(server, room, native, single, first):
    peer = native("them")
    if first:
        peer.call("publish_audio")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            if not first:
                await peer.acall("publish_audio")
            event = await anext(events)
            track = event.track
            assert (track.name, event.participant.identity) == ("voice", "them")
            assert event.publication.track is track
            assert event.publication.subscribed
            times = []
            async with track.frames() as frames:
                async for frame in frames:
                    assert frame.data
                    times.append(frame.time)
                    if len(times) == 50:
                        break
            assert times == sorted(times)
            assert frames.ended == "closed"
            with trio.move_on_after(4):
                async for frame in track.frames():
                    if frame.ntp_time is not None:
                        break
            assert frame.ntp_time is not None

    run(scenario)


# ------------------------------------------------------------------ publishing


async def reported(track: Any) -> None:
    """Wait until the server has told of a track or layer what it got."""
    while track.stats().rtt is None:
        await trio.sleep(0.05)


@MODES
@pytest.mark.parametrize("red", [True, False], ids=["red", "plain"])
def test_a_native_client_hears_us(server, room, native, single, red):
    packets = tone()
    peer = native("them")
    peer.call("listen")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            me = ours.local_participant
            track = LocalAudioTrack("voice", red=red)
            publication = await me.publish_track(track)
            assert me.track_publications == {publication.sid: publication}
            assert publication.track is track
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play, track, packets)
                heard = await peer.await_("heard")
                assert heard["sid"] == publication.sid
                assert publication.mime_type == ("audio/red" if red else "audio/opus")
                await peer.await_("active_speakers_changed", where=lambda e: e["args"][0])
                await publication.mute()
                await peer.await_("track_muted")
                await peer.await_("silent")
                assert publication.muted
                assert not await track.write(packets[0])
                await publication.unmute()
                await peer.await_("track_unmuted")
                await peer.await_("heard")
                await reported(track)
                assert track.stats().lost == 0
                nursery.cancel_scope.cancel()
            await me.unpublish_track(publication)
            with pytest.raises(trio_client.LocalProtocolError, match="not published"):
                await track.write(packets[0])
            await peer.await_("track_unpublished")
            assert not me.track_publications

    run(scenario)


@MODES
@pytest.mark.parametrize(("stereo", "dtx"), [(True, False), (False, True)])
def test_a_track_is_published_again_as_it_was(server, room, native, single, stereo, dtx):
    """The server knows what kind of sound it is, and another client hears it both times."""
    packets = tone()
    peer = native("them")
    peer.call("listen")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            me = ours.local_participant
            track = LocalAudioTrack("voice", stereo=stereo, dtx=dtx)
            for _ in range(2):
                publication = await me.publish_track(track)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(play, track, packets)
                    assert (await peer.await_("heard"))["sid"] == publication.sid
                    nursery.cancel_scope.cancel()
                found = await server.aapi("GetParticipant", room, identity="ours")
                (told,) = found["tracks"]
                assert (told["stereo"], told["disable_dtx"]) == (stereo, not dtx)
                await me.unpublish_track(publication)
                await peer.await_("track_unpublished")

    run(scenario)


@MODES
@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_native_client_sees_us(server, room, native, single, codec):
    frames = pictures(codec)
    peer = native("them")
    peer.call("listen")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            track = LocalVideoTrack("cam", codec=codec, width=320, height=240)
            publication = await ours.local_participant.publish_track(track)
            ours.start_soon(show, [track], [frames])
            await track.keyframe_wanted
            seen = await peer.await_("seen")
            assert (seen["sid"], seen["width"], seen["height"]) == (publication.sid, 320, 240)
            assert publication.mime_type.lower() == f"video/{codec}"
            while not track.stats().keyframe_requests:
                await trio.sleep(0.05)

    run(scenario)


LAYERS = [
    VideoLayer(width=160, height=120, bitrate=100_000),
    VideoLayer(width=320, height=240, bitrate=300_000),
    VideoLayer(width=640, height=480, bitrate=900_000),
]
LOW, MEDIUM, HIGH = 0, 1, 2


def see_each_layer(server: Server, room: str, peer: Peer, single: bool, codec: str) -> None:
    """Another client chooses among our layers, and those that it does not want are paused."""
    frames = [pictures(codec, layer.width, layer.height) for layer in LAYERS]
    peer.call("listen")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(LocalTrackLayersChanged) as changes:
            track = LocalVideoTrack("cam", codec=codec, layers=LAYERS)
            sid = (await ours.local_participant.publish_track(track)).sid
            ours.start_soon(show, track.layers, frames)

            async def seen(width: int) -> None:
                found = await peer.await_("seen", where=lambda e: e["width"] == width, timeout=20)
                assert (found["sid"], found["height"]) == (sid, width * 3 // 4)

            async def wanted(*expected: bool) -> None:
                async for event in changes:
                    if event.wanted == expected:
                        assert [layer.paused for layer in track.layers] == [not one for one in expected]
                        return

            await seen(640)
            await peer.acall("set_video_quality", sid=sid, quality=LOW)
            await seen(160)
            await wanted(True, False, False)  # after five seconds
            await peer.acall("set_video_quality", sid=sid, quality=MEDIUM)
            await wanted(True, True, False)
            await seen(320)
            await peer.acall("set_video_quality", sid=sid, quality=HIGH)
            await track.layers[HIGH].wanted
            await seen(640)
            for layer in track.layers:
                await reported(layer)
            assert track.stats().packets == sum([layer.stats().packets for layer in track.layers])

    run(scenario, seconds=60)


@MODES
@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_native_client_chooses_among_our_layers(server, room, native, single, codec):
    see_each_layer(server, room, native("them"), single, codec)


@MODES
def test_a_browser_chooses_among_our_layers(server, room, browser, single):
    see_each_layer(server, room, browser("them"), single, "vp8")


def choose_among_theirs(server: Server, room: str, single: bool, sizes: dict[VideoQuality, int]) -> None:
    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            event = await anext(events)
            frames = event.track.frames()
            for quality in (VideoQuality.LOW, VideoQuality.HIGH, VideoQuality.LOW):
                event.publication.set_video_quality(quality)
                async for _ in frames:
                    stats = event.track.stats()
                    if stats.width == sizes[quality]:
                        break

    run(scenario, seconds=60)


@MODES
def test_we_choose_among_the_layers_of_a_native_client(server, room, native, single):
    native("them").call("publish_video", width=640, height=480, simulcast=True)
    choose_among_theirs(server, room, single, {VideoQuality.LOW: 480, VideoQuality.HIGH: 640})


@MODES
def test_what_we_have_chosen_outlives_the_session(server, room, native, single):
    peer = native("them")
    peer.call("publish_video", width=640, height=480, simulcast=True)
    voice = peer.call("publish_audio")["sid"]

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            tracks = [(await anext(events)).track for _ in range(2)]
            (video,) = [track for track in tracks if track.sid != voice]
            video.publication.set_video_quality(VideoQuality.LOW)
            ours.remote_participants["them"].track_publications[voice].set_subscribed(False)
            await ours.wait_for(TrackUnsubscribed)
            await ours.simulate(trio_client.Scenario.FULL_RECONNECT)
            await ours.wait_for(trio_client.Reconnected)
            async for event in events:  # the server may send the sound for a moment, until it is told again
                if event.track.sid == video.sid:
                    break
            again = event.track
            async for _ in again.frames():
                if again.stats().width == 480:
                    break
            sound = ours.remote_participants["them"].track_publications[voice]
            await ours.wait_until(lambda: not sound.subscribed)
            await trio.sleep(1)
            assert not sound.subscribed

    run(scenario)


@MODES
def test_we_choose_among_the_layers_of_a_browser(server, room, browser, single):
    browser("them").call("publish_video")
    choose_among_theirs(server, room, single, {VideoQuality.LOW: 320, VideoQuality.HIGH: 640})


@MODES
@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_pictures_of_a_native_publisher_arrive(server, room, native, single, codec):
    peer = native("them")
    peer.call("publish_video", codec=codec)

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            event = await anext(events)
            assert isinstance(event.track, trio_client.RemoteVideoTrack)
            count = 0
            async for frame in event.track.frames():
                assert frame.keyframe or count
                assert frame.lost == 0 or not count
                count += 1
                if count == 20:
                    break
            event.publication.set_subscribed(False)
            gone = await ours.wait_for(TrackUnsubscribed)
            assert (gone.track, gone.track.ended) == (event.track, "unsubscribed")
            event.publication.set_subscribed(True)
            again = await anext(events)
            assert again.track is not event.track
            await anext(again.track.frames())

    run(scenario)


@MODES
def test_an_unpublished_track_ends(server, room, native, single):
    peer = native("them")
    sid = peer.call("publish_audio")["sid"]

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            track = (await anext(events)).track
            assert track.sid == sid
            frames = track.frames(capacity=10)
            await anext(frames)
            await peer.acall("unpublish", sid=sid)
            async for _ in frames:
                pass
            assert frames.ended in ("unpublished", "unsubscribed")
            assert not ours.remote_participants["them"].track_publications

    run(scenario)


def test_publishing_without_the_grant_is_refused(server, room):
    async def scenario() -> None:
        async with joined(server, room, canPublish=False) as ours:
            track = LocalAudioTrack("voice")
            with pytest.raises(trio_client.RequestRejected) as caught:
                await ours.local_participant.publish_track(track)
            assert caught.value.reason is trio_client.RequestReason.NOT_ALLOWED
            assert track.publication is None

    run(scenario)


@MODES
def test_tracks_are_published_with_the_join(server, room, native, single):
    packets = tone()
    peer = native("them")
    peer.call("listen")

    async def scenario() -> None:
        voice, cam = LocalAudioTrack("voice"), LocalVideoTrack("cam", width=320, height=240)
        publish = [voice, (cam, trio_client.PublishOptions(source=trio_client.TrackSource.SCREEN_SHARE, name="screen"))]
        async with joined(server, room, single=single, publish=publish) as ours:
            publications = ours.local_participant.track_publications
            assert {voice.publication.sid: voice.publication, cam.publication.sid: cam.publication} == publications
            assert (cam.publication.name, cam.publication.source.name) == ("screen", "SCREEN_SHARE")
            for packet in packets:
                await voice.write(EncodedFrame(data=packet, level=10))
                await trio.sleep(0.02)
            heard = await peer.await_("heard")
            assert heard["sid"] == voice.publication.sid
        async with joined(server, room, single=single, publish=[(voice, "other name")]):
            assert voice.publication.name == "other name"
        with pytest.raises(trio_client.RequestRejected):
            async with joined(server, room, single=single, publish=[voice], canPublish=False):
                raise AssertionError

    run(scenario)


@MODES
def test_cancelled_publications_leave_room_for_more(server, room, native, single):
    """The server keeps up to twenty tracks that were asked for and never came."""
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            for _ in range(25):
                with trio.move_on_after(0) as scope:
                    await ours.local_participant.publish_track(LocalAudioTrack("never"))
                assert scope.cancelled_caught
            track = LocalAudioTrack("voice")
            publication = await ours.local_participant.publish_track(track)
            assert await track.write(SILENCE)
            await peer.await_("track_subscribed", where=lambda e: e["args"][1]["sid"] == publication.sid)

    run(scenario)


@MODES
def test_more_tracks_at_once_than_the_server_takes(server, room, single):
    """It refuses the twenty-first that it is asked for before the media of the others has come."""

    async def scenario() -> None:
        tracks = [LocalAudioTrack(f"voice {number}") for number in range(50)]
        async with (
            joined(server, room, single=single, publish=tracks[:25]) as ours,
            joined(server, room, "other", single=single) as other,
        ):
            async with trio.open_nursery() as nursery:
                for track in tracks[25:]:
                    nursery.start_soon(ours.local_participant.publish_track, track)
            assert len(ours.local_participant.track_publications) == 50

            def theirs() -> list[trio_client.RemoteTrackPublication]:
                names = {track.publication.sid for track in tracks if track.publication}
                found = other.remote_participants.get("ours")  # another object after the reconnect
                return [each for each in found.track_publications.values() if each.sid in names] if found else []

            async def all_here(here: bool = True) -> None:
                await other.wait_until(lambda: [each.subscribed for each in theirs()] == [here] * 50)

            await all_here()
            before = {track.publication.sid for track in tracks}
            await ours.simulate(trio_client.Scenario.FULL_RECONNECT)
            await ours.wait_until(lambda: before.isdisjoint({track.publication.sid for track in tracks}))
            assert all([await track.write(SILENCE) for track in tracks])
            await all_here()
            for subscribed in (False, True):
                for publication in theirs():
                    publication.set_subscribed(subscribed)
                await all_here(subscribed)
            them = other.remote_participants["ours"]
            track = them.track_publications[tracks[-1].publication.sid].track
            frames = track.frames()
            async with trio.open_nursery() as nursery:

                async def sound() -> None:
                    while True:  # nothing is forwarded before the server has our answer
                        await tracks[-1].write(SILENCE)
                        await trio.sleep(0.02)

                nursery.start_soon(sound)
                await anext(frames)
                nursery.cancel_scope.cancel()

    run(scenario, seconds=60)


@MODES
def test_a_browser_subscribes_to_our_track(server, room, browser, single):
    peer = browser("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            track = LocalAudioTrack("voice")
            await ours.local_participant.publish_track(track)
            ours.start_soon(play, track)
            await peer.await_("track_subscribed")
            await reported(track)
            assert track.stats().lost == 0

    run(scenario, seconds=90)


@MODES
def test_tracks_live_through_a_new_session(server, room, native, single):
    packets = tone()
    peer = native("them")
    peer.call("publish_audio")
    peer.call("listen")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            theirs = await anext(events)
            mine = LocalAudioTrack("voice")
            publication = await ours.local_participant.publish_track(mine)
            before = publication.sid
            ours.start_soon(play, mine, packets)
            await peer.await_("heard")
            frames = theirs.track.frames()
            await anext(frames)
            await ours.simulate(trio_client.Scenario.FULL_RECONNECT)
            async for _ in frames:
                pass
            assert frames.ended == "reconnecting"
            again = await anext(events)
            await anext(again.track.frames())
            heard = await peer.await_("heard")
            assert heard["sid"] == publication.sid != before

    run(scenario)


@MODES
def test_nothing_comes_unless_it_is_asked_for(server, room, native, single):
    peer = native("them")
    sid = peer.call("publish_audio")["sid"]

    async def scenario() -> None:
        async with joined(server, room, single=single, auto_subscribe=False) as ours:
            them = ours.remote_participants["them"]
            await ours.wait_until(lambda: sid in them.track_publications)  # told of behind the join, at times
            publication = them.track_publications[sid]
            with trio.move_on_after(1):
                await ours.wait_for(TrackSubscribed)
                pytest.fail("it came by itself")
            async with ours.events(TrackSubscribed) as events:
                publication.set_subscribed(True)
                event = await anext(events)
            assert event.publication is publication
            await anext(event.track.frames())

    run(scenario)


@MODES
def test_whom_we_let_have_our_tracks(server, room, native, single):
    peer = native("them")

    async def scenario() -> None:
        async with (
            joined(server, room, single=single) as ours,
            joined(server, room, "other", single=single) as other,
            other.events(TrackSubscriptionPermissionChanged, TrackUnsubscribed, TrackSubscribed) as seen,
        ):
            track = LocalAudioTrack("voice")
            publication = await ours.local_participant.publish_track(track)
            with trio.fail_after(5):
                await publication.wait_for_subscription()
            event = await anext(seen)
            assert isinstance(event, TrackSubscribed)
            rule = trio_client.ParticipantTrackPermission("them", allowed_track_sids=[publication.sid])
            ours.local_participant.set_track_subscription_permissions(
                allow_all_participants=False, participant_permissions=[rule]
            )
            told = [await anext(seen) for _ in range(2)]
            assert {type(event) for event in told} == {TrackSubscriptionPermissionChanged, TrackUnsubscribed}
            assert not event.publication.subscription_allowed
            assert event.publication.subscription_status is trio_client.SubscriptionStatus.DESIRED
            ours.local_participant.set_track_subscription_permissions(allow_all_participants=True)
            async for event in seen:
                if isinstance(event, TrackSubscribed):
                    break
            assert event.publication.subscription_allowed
            assert publication.subscribed
            await peer.await_("track_subscribed")
            assert not any(event["event"] == "track_unsubscribed" for event in peer.events)

    run(scenario)


@MODES
def test_statistics(server, room, native, single):
    packets = tone()
    peer = native("them")
    peer.call("publish_video")
    peer.call("publish_audio")

    async def scenario() -> None:
        voice = LocalAudioTrack("voice")
        async with (
            joined(server, room, single=single, publish=[voice]) as ours,
            ours.events(TrackSubscribed) as events,
        ):
            ours.start_soon(play, voice, packets)
            tracks = [(await anext(events)).track for _ in range(2)]
            for track in tracks:
                ours.start_soon(read, track)
            await trio.sleep(4)
            stats = ours.stats()
            assert list(stats.sent) == [voice.publication.sid]
            assert sorted(stats.received) == sorted([track.sid for track in tracks])
            (sent,) = stats.sent[voice.publication.sid]
            assert sent.codec == "red"
            assert sent.frames > 100
            assert sent.lost == 0
            assert sent.rtt is not None
            assert sent.bitrate > 10_000
            for received in stats.received.values():
                assert received.packets > 5  # silence takes few
                assert received.lost == 0
                assert received.fraction_lost == 0
                assert received.jitter > 0
                assert received.rtt is not None
                assert received.bitrate > 0
                assert received.frames_dropped < received.frames  # those before the first key frame
            (video,) = [received for received in stats.received.values() if received.width]
            assert (video.codec, video.width, video.height, video.keyframes) == ("vp8", 320, 240, 1)
            assert [link.target for link in stats.links] == (["publisher"] if single else ["publisher", "subscriber"])
            assert all(link.rtt is not None for link in stats.links)
            told = json.loads(ours.diagnostics())["core"]
            assert told["sent"][voice.publication.sid][0]["packets"] >= sent.packets
            assert voice.publication.stats().frames >= sent.frames

    run(scenario)


async def read(track: trio_client.RemoteTrack) -> None:
    async for _ in track.frames():
        pass


def test_two_readers_of_one_track(server, room, native):
    native("them").call("publish_video")

    async def scenario() -> None:
        async with joined(server, room) as ours, ours.events(TrackSubscribed) as events:
            track = (await anext(events)).track
            first = track.frames()
            for _ in range(5):
                await anext(first)
            second = track.frames()
            frame = await anext(second)
            assert frame.keyframe
            stamps = [frame.timestamp] + [(await anext(second)).timestamp for _ in range(9)]
            theirs = [(await anext(first)).timestamp]
            while theirs[-1] < stamps[-1]:
                theirs.append((await anext(first)).timestamp)
            assert theirs[-10:] == stamps

    run(scenario)


@MODES
def test_the_server_mutes_and_ends_our_track(server, room, native, single):
    peer = native("them")

    async def scenario() -> None:
        async with (
            joined(server, room, single=single) as ours,
            ours.events(TrackMuted, LocalTrackUnpublished) as events,
        ):
            track = LocalAudioTrack("voice")
            publication = await ours.local_participant.publish_track(track)
            ours.start_soon(play_until_ended, track)
            await peer.await_("track_subscribed")
            await server.aapi("MutePublishedTrack", room, identity="ours", trackSid=publication.sid, muted=True)
            event = await anext(events)
            assert (event.publication, publication.muted) == (publication, True)
            assert not await track.write(SILENCE)
            await server.aapi("UpdateParticipant", room, identity="ours", permission={"canSubscribe": True})
            event = await anext(events)
            assert event.publication is publication
            assert track.publication is None
            await peer.await_("track_unpublished")

    run(scenario)


async def play_until_ended(track: LocalAudioTrack) -> None:
    with pytest.raises(trio_client.LocalProtocolError, match="not published"):
        await play(track)
