"""Tracks as users see them, over an engine that only notes what it is asked for."""

from __future__ import annotations

import gc
from collections import deque
from contextlib import asynccontextmanager

import pytest
import trio

import trio_client
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.events import (
    Connected,
    Disconnected,
    LocalTrackLayersChanged,
    LocalTrackSubscribed,
    LocalTrackUnpublished,
    ParticipantConnected,
    TrackSubscribed,
    TrackUnsubscribed,
)
from sansio.room.outputs import Ended, TrackKeyframeWanted, TrackReadable, TrackStarted
from sansio.room.requests import RequestDone, RequestError, RequestFailed
from sansio.room.state import RoomState
from sansio.room.track import LocalTrack
from sansio.rtp.format import Format
from sansio.rtp.packet import build_rtp
from sansio.rtp.payload import vp8
from sansio.rtp.session import RtpSession
from sansio.types import DisconnectReason, RequestReason, TrackKind, TrackSource, VideoQuality
from trio_client import (
    DisconnectedError,
    EncodedFrame,
    LocalAudioTrack,
    LocalProtocolError,
    LocalVideoTrack,
    ParticipantTrackPermission,
    PublishOptions,
    RequestRejected,
    VideoLayer,
)
from trio_client._connect import _to_publish
from trio_client._participant import LocalParticipant, RemoteParticipant
from trio_client._publication import LocalTrackPublication, RemoteTrackPublication
from trio_client._session import Session
from trio_client._tracks import RemoteAudioTrack, RemoteVideoTrack, make_remote_track

from .running import Bystander, run

OPUS = Format(111, "opus", 48000)
OPUS_FRAME = b"\xf8\xff\xfe"


class Engine:
    """Notes what it is asked for; requests are answered by the test."""

    def __init__(self, session):
        self.session = session
        self.calls = []
        self.writes = []
        self.takes = True
        self.tracks = {}
        self.rtp = RtpSession(Entropy(b"rtp"), WallClock(), cname="x")
        self.rtp.set_formats([OPUS])
        self.state = RoomState(deque())
        self.state.local_participant = LocalParticipant(session)

    def publish_track(self, description, now):
        token = len(self.tracks) + 1
        self.tracks[token] = core = LocalTrack(description)
        return token, core

    def write_frame(self, core, data, now, **options):
        self.writes.append((core, data, options))
        return self.takes

    def enable_track(self, track, enabled, now):
        self.calls.append(("enable", track.sid, enabled))
        self.rtp.set_enabled(track.receiver, enabled, now)

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.calls.append(
            (name, *[arg for arg in args if not isinstance(arg, float)], *kwargs.items())
        )


class Driver:
    broken = False

    def pump(self):
        pass

    def pump_soon(self):
        self.pump()

    def close_all(self):
        pass

    def inject(self, output):
        raise AssertionError


class Sender:
    keyframe_wanted = False
    paused = False

    def stats(self):
        return self


class Sending:
    def __init__(self, count=1):
        self.senders = tuple([Sender() for _ in range(count)])


class Stage:
    def __init__(self):
        self.session = Session()
        self.engine = Engine(self.session)
        self.session.attach(self.engine, Driver())
        self.me = self.engine.state.local_participant
        self.bob = RemoteParticipant(self.session, "bob", "PA_bob")
        self.bob_voice = RemoteTrackPublication(self.session, self.bob, "TR_b")
        self.events = []
        for kind in (TrackSubscribed, TrackUnsubscribed, ParticipantConnected):
            self.session.listeners.on(kind, self.events.append, once=False)

    def deliver(self, *outputs):
        for output in outputs:
            self.session.deliver(output)
        self.session.settled()

    def accept(self, token, sid="TR_own"):
        core = self.engine.tracks[token]
        core.publication = publication = LocalTrackPublication(self.session, self.me, sid)
        publication.track = core.description.owner
        self.deliver(RequestDone(token, publication))
        return publication

    def start(self, token):
        core = self.engine.tracks[token]
        core.sending = Sending(len(core.wanted))
        self.deliver(TrackStarted(core))
        return core

    def subscribe(self, kind="audio"):
        receiver = self.engine.rtp.add_receiver(kind, 0.0, ssrc=7)
        self.engine.rtp.set_enabled(receiver, False, 0.0)
        return make_remote_track(self.session, self.bob_voice, receiver)

    def receive(self, track, sequence, data=OPUS_FRAME):
        self.engine.rtp.receive_rtp(build_rtp(111, sequence, sequence * 960, 7, b"", data), trio.current_time())
        if self.engine.rtp.outbox:
            self.engine.rtp.outbox.clear()
            self.deliver(TrackReadable(track))

    def end(self, track, reason="unpublished"):
        track.ended = reason
        self.deliver(TrackUnsubscribed(track, track.publication, track.publication.participant))


def on_stage(scenario):
    def test():
        async def main():
            await scenario(Stage())

        run(main)

    test.__name__ = scenario.__name__
    return test


async def publish(stage, track, token=1, **options):
    """Publish a track, as far as that the server has accepted it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: stage.me.publish_track(track, **options))
        await trio.testing.wait_all_tasks_blocked()
        return stage.accept(token)


# ------------------------------------------------------------------ ours


@on_stage
async def test_publishing_and_writing(stage):
    track = LocalAudioTrack("voice", stereo=True, dtx=False, red=False)
    assert track.stats() is None
    with pytest.raises(LocalProtocolError, match="not published"):
        await track.write(OPUS_FRAME)
    publication = await publish(stage, track)
    assert track.publication is publication
    assert publication.stats() is None
    description = stage.engine.tracks[1].description
    assert (description.codec, description.name, description.source) == ("opus", "voice", TrackSource.MICROPHONE)
    assert (description.stereo, description.dtx, description.red) == (True, False, False)
    with pytest.raises(LocalProtocolError, match="already"):
        await stage.me.publish_track(track)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(track.write, OPUS_FRAME)
        await trio.testing.wait_all_tasks_blocked()
        assert not stage.engine.writes  # not negotiated yet
        core = stage.start(1)
    assert publication.stats() is track.stats() is core.sender()
    assert await track.write(EncodedFrame(data=b"x", timestamp=5, duration=960, level=10, voice=True))
    assert stage.engine.writes == [
        (core, OPUS_FRAME, {"layer": 0}),
        (core, b"x", {"timestamp": 5, "duration": 960, "level": 10, "voice": True, "layer": 0}),
    ]
    stage.engine.takes = False
    for _ in range(20):
        assert not await track.write(OPUS_FRAME)
    await publication.mute()
    await publication.unmute()
    await stage.me.unpublish_track(publication)
    await stage.me.unpublish_track("TR_other")
    assert stage.engine.calls == [
        ("set_track_muted", "TR_own", True),
        ("set_track_muted", "TR_own", False),
        ("unpublish_track", "TR_own"),
        ("unpublish_track", "TR_other"),
    ]
    stage.deliver(Connected())
    await stage.session.release()
    stage.deliver(LocalTrackUnpublished(publication, stage.me))
    assert (track.publication, track.kind, repr(track)) == (None, TrackKind.AUDIO, "<LocalAudioTrack 'voice'>")
    with pytest.raises(LocalProtocolError, match="not published"):
        await track.write(OPUS_FRAME)


@on_stage
async def test_a_refused_or_cancelled_track_can_be_published_again(stage):
    track = LocalVideoTrack("cam", codec="h264", width=4, height=2)
    async with trio.open_nursery() as nursery:

        async def refused():
            with pytest.raises(RequestRejected):
                await stage.me.publish_track(track)

        nursery.start_soon(refused)
        await trio.testing.wait_all_tasks_blocked()
        stage.deliver(RequestFailed(1, RequestError(RequestReason.NOT_ALLOWED)))
    with trio.move_on_after(1):
        await stage.me.publish_track(track)
    assert stage.engine.calls == [("cancel", 2)]
    await publish(stage, track, 3, name="other", source=TrackSource.SCREEN_SHARE, stream="s")
    description = stage.engine.tracks[3].description
    assert (description.codec, description.name, description.width, description.height) == ("h264", "other", 4, 2)
    assert (description.source, description.stream) == (TrackSource.SCREEN_SHARE, "s")


@on_stage
async def test_a_publication_that_is_cancelled_too_late_is_ended(stage):
    track = LocalAudioTrack("voice")
    engine_publish = stage.engine.publish_track

    def publish_at_once(description, now):
        token, core = engine_publish(description, now)
        stage.session.driver.pump = lambda: stage.accept(token) if core.publication is None else None
        return token, core

    stage.engine.publish_track = publish_at_once
    with trio.CancelScope() as scope:
        stage.session._ask = _cancelling(stage.session._ask, scope)
        await stage.me.publish_track(track)
    assert scope.cancelled_caught
    assert stage.engine.calls == [("unpublish_track", "TR_own")]
    assert track.publication is None
    publication = LocalTrackPublication(stage.session, stage.me, "TR_own")
    publication.track = track
    await stage.session.release()
    stage.deliver(LocalTrackUnpublished(publication, stage.me))


def _cancelling(ask, scope):
    def asking(*args):
        found = ask(*args)
        scope.cancel()
        found[1].event.set()
        return found

    return asking


@on_stage
async def test_tracks_that_come_with_the_join(stage):
    voice, cam = LocalAudioTrack("voice"), LocalVideoTrack("cam")
    with pytest.raises(LocalProtocolError, match="already"):
        stage.session.prepare_tracks([(voice, PublishOptions()), (voice, PublishOptions())])
    stage = Stage()
    screen = PublishOptions(source=TrackSource.SCREEN_SHARE, name="screen", stream="s")
    stage.session.prepare_tracks([(voice, PublishOptions()), (cam, screen)])
    description = stage.engine.tracks[2].description
    assert (description.source, description.name, description.stream) == (TrackSource.SCREEN_SHARE, "screen", "s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.session.first_tracks_published)
        await trio.testing.wait_all_tasks_blocked()
        publications = [stage.accept(1, "TR_1"), stage.accept(2, "TR_2")]
    assert [voice.publication, cam.publication] == publications
    stage.deliver(Disconnected(DisconnectReason.ROOM_DELETED), Ended(DisconnectReason.ROOM_DELETED))
    stage = Stage()
    stage.session.prepare_tracks([(voice, PublishOptions())])  # again in another room
    stage.deliver(RequestFailed(1, RequestError(RequestReason.NOT_ALLOWED)))
    with pytest.raises(RequestRejected):
        await stage.session.first_tracks_published()


def test_what_connect_takes_as_tracks():
    voice = LocalAudioTrack("voice")
    assert _to_publish(voice) == (voice, PublishOptions())
    assert _to_publish((voice, "name")) == (voice, PublishOptions(name="name"))
    source = TrackSource.MICROPHONE
    assert _to_publish((voice, source)) == (voice, PublishOptions(source=source))
    assert _to_publish((voice, PublishOptions(stream="s"))) == (voice, PublishOptions(stream="s"))


@asynccontextmanager
async def keyframe_waited_for(track):
    """A task waits for it while the block runs, and until it is wanted."""

    async def wait():
        await track.keyframe_wanted

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        yield


@on_stage
async def test_a_key_frame_is_waited_for(stage):
    track = LocalVideoTrack("cam")
    with pytest.raises(LocalProtocolError, match="not published"):
        await track.keyframe_wanted
    await publish(stage, track)
    core = stage.start(1)
    assert not track.keyframe_wanted
    async with keyframe_waited_for(track):
        core.sender().keyframe_wanted = True
        stage.deliver(TrackKeyframeWanted(core))
    assert track.keyframe_wanted
    await track.keyframe_wanted


@on_stage
async def test_the_layers_of_a_video(stage):
    shapes = [VideoLayer(width=160, height=90, bitrate=9), VideoLayer(width=320, height=180)]
    track = LocalVideoTrack("cam", layers=shapes)
    low, high = track.layers
    assert [(layer.quality.name, layer.width, layer.height, layer.bitrate) for layer in track.layers] == [
        ("LOW", 160, 90, 9),
        ("MEDIUM", 320, 180, 0),
    ]
    assert (low.paused, low.stats(), bool(low.wanted), bool(low.keyframe_wanted)) == (True, None, False, False)
    assert repr(low) == "<LocalLayer LOW of <LocalVideoTrack 'cam'>>"
    with pytest.raises(LocalProtocolError, match="not published"):
        await low.wanted
    publication = await publish(stage, track)
    assert stage.engine.tracks[1].description.layers == tuple(shapes)
    core = stage.start(1)
    with pytest.raises(LocalProtocolError, match="which one"):
        await track.write(b"x")
    with pytest.raises(LocalProtocolError, match="no layer 2"):
        await track.write(b"x", layer=2)
    await track.write(b"a", layer=1)
    await low.write(EncodedFrame(data=b"b"))
    assert [(data, options["layer"]) for _, data, options in stage.engine.writes] == [(b"a", 1), (b"b", 0)]
    assert low.stats() is core.sender(0)
    core.wanted = (True, False)
    assert (low.paused, high.paused) == (False, True)
    async with trio.open_nursery() as nursery:

        async def wait():
            await high.wanted

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        core.wanted = (True, True)
        stage.deliver(LocalTrackLayersChanged(publication, core.wanted, stage.me))
    core.sender(1).keyframe_wanted = True
    assert (bool(low.keyframe_wanted), bool(high.keyframe_wanted), bool(track.keyframe_wanted)) == (False, True, True)
    core.sender(1).paused = True
    assert not track.keyframe_wanted
    (plain,) = LocalVideoTrack("cam", width=8, height=4).layers
    assert (plain.quality.name, plain.width, plain.height, plain.bitrate) == ("HIGH", 8, 4, 0)


@on_stage
async def test_a_key_frame_that_is_wanted_because_another_frame_was_dropped(stage):
    track = LocalVideoTrack("cam")
    await publish(stage, track)
    core = stage.start(1)
    stage.engine.takes = False
    async with keyframe_waited_for(track):
        core.sender().keyframe_wanted = True
        assert not await track.write(b"x")


@on_stage
async def test_a_flood_of_frames_lets_others_run(stage):
    track, remote = LocalAudioTrack("voice"), stage.subscribe()
    await publish(stage, track)
    stage.start(1)
    other = Bystander()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.run)
        for _ in range(160):
            await track.write(OPUS_FRAME)
        assert other.turns >= 9
        other.turns = 0
        frames = remote.frames()
        for sequence in range(1, 161):
            stage.receive(remote, sequence)
            await anext(frames)
        assert other.turns >= 9
        nursery.cancel_scope.cancel()


@on_stage
async def test_the_end_of_the_room_wakes_writers(stage):
    track = LocalAudioTrack("voice")
    await publish(stage, track)
    async with trio.open_nursery() as nursery:

        async def write():
            with pytest.raises(DisconnectedError):
                await track.write(OPUS_FRAME)

        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        stage.deliver(Disconnected(DisconnectReason.ROOM_DELETED), Ended(DisconnectReason.ROOM_DELETED))


# ------------------------------------------------------------------ theirs


@on_stage
async def test_frames_are_read_until_the_track_ends(stage):
    track = stage.subscribe()
    assert isinstance(track, RemoteAudioTrack)
    got = []
    with track.frames(capacity=10) as frames:
        assert track.receiver.capacity == 10
        async with trio.open_nursery() as nursery:

            async def read():
                async for frame in frames:
                    got.append(frame.timestamp)

            nursery.start_soon(read)
            for sequence in range(1, 41):
                stage.receive(track, sequence)
                await trio.testing.wait_all_tasks_blocked()
            stage.end(track)
    assert got == [960 * sequence for sequence in range(1, 41)]
    assert frames.ended == "unpublished"
    assert "unpublished" in repr(frames)
    with pytest.raises(StopAsyncIteration):
        await anext(frames)


@on_stage
async def test_a_reader_that_is_closed_or_forgotten_makes_room_for_another(stage):
    track = stage.subscribe()
    with pytest.raises(LocalProtocolError, match="at least one"):
        track.frames(capacity=0)
    async with track.frames() as frames:
        stage.receive(track, 1)
        await anext(frames)
    frames.close()
    assert frames.ended == "closed"
    stage.receive(track, 2)
    with trio.move_on_after(1) as scope:
        await anext(track.frames())
    assert scope.cancelled_caught  # nothing was kept


def drain(frames):
    """What waits: the timestamps in frames, and what is told as lost before each."""
    found = []
    while (frame := frames.read()) is not None:
        found.append((frame.timestamp // 960, frame.lost))
    return found


@on_stage
async def test_every_reader_gets_every_frame_at_its_own_pace(stage):
    track = stage.subscribe()
    first = track.frames(capacity=5)
    stage.receive(track, 1)
    second, third = track.frames(), track.frames(capacity=3)
    assert track.receiver.capacity == 50
    for sequence in range(2, 9):
        stage.receive(track, sequence)
    assert drain(first) == [(4, 3), (5, 0), (6, 0), (7, 0), (8, 0)]
    assert drain(third) == [(6, 4), (7, 0), (8, 0)]
    assert [(await anext(second)).timestamp // 960 for _ in range(2)] == [2, 3]
    third.close()
    assert drain(third) == []
    stage.receive(track, 9)
    assert drain(first) == [(9, 0)]
    second.close()
    assert track.receiver.capacity == 5  # one is left, which reads from the receiver itself
    for sequence in range(10, 17):
        stage.receive(track, sequence)
    assert drain(first) == [(12, 2), (13, 0), (14, 0), (15, 0), (16, 0)]
    assert stage.engine.calls == [("enable", "TR_b", True)]
    last = track.frames()
    stage.receive(track, 17)
    stage.end(track)
    for frames in (first, last):
        assert [frame.timestamp // 960 async for frame in frames] == [17]
        assert frames.ended == "unpublished"
    assert first.read() is None


def picture(stage, track, number, keyframe=False):
    """A VP8 picture of one packet comes."""
    (payload,) = vp8.packetize(bytes([0 if keyframe else 1]) + b"picture", 1000, number)
    data = build_rtp(96 | 0x80, number, number * 960, 8, b"", payload)
    stage.engine.rtp.receive_rtp(data, trio.current_time())
    if stage.engine.rtp.outbox:
        stage.engine.rtp.outbox.clear()
        stage.deliver(TrackReadable(track))


@on_stage
async def test_every_reader_of_pictures_begins_with_a_key_frame(stage):
    stage.engine.rtp.set_formats([Format(96, "vp8", 90000, pli=True)])
    receiver = stage.engine.rtp.add_receiver("video", 0.0, ssrc=8)
    stage.engine.rtp.set_enabled(receiver, False, 0.0)
    track = make_remote_track(stage.session, stage.bob_voice, receiver)
    first = track.frames(capacity=3)
    picture(stage, track, 1, True)
    late = track.frames(capacity=3)
    assert stage.engine.calls == [("enable", "TR_b", True), ("request_keyframe", track)]
    picture(stage, track, 2)
    assert drain(late) == []
    picture(stage, track, 3, True)
    assert drain(late) == [(3, 1)]
    for number in (4, 5, 6):
        picture(stage, track, number)
    picture(stage, track, 7, True)
    assert drain(first) == [(7, 6)]
    for number in (8, 9):
        picture(stage, track, number)
    assert drain(first) == [(8, 0), (9, 0)]
    assert drain(late) == [(7, 3), (8, 0), (9, 0)]
    picture(stage, track, 10, True)
    for number in (11, 12, 13):
        picture(stage, track, number)  # the last one finds no room, and no key frame to go on with
    assert stage.engine.calls[2:] == [("request_keyframe", track)] * 3
    assert drain(late) == []
    first.close()
    picture(stage, track, 14)
    assert drain(late) == []  # alone, and still without a key frame
    picture(stage, track, 15, True)
    picture(stage, track, 16)
    picture(stage, track, 17, True)
    assert drain(late) == [(15, 5), (16, 0), (17, 0)]
    gone = track.frames()
    for number, keyframe in ((18, False), (19, True), (20, False), (21, False)):
        picture(stage, track, number, keyframe)
    assert drain(late) == [(19, 1), (20, 0), (21, 0)]
    assert drain(gone) == [(19, 1), (20, 0), (21, 0)]
    track.ended = "unsubscribed"
    track.request_keyframe()


@on_stage
async def test_a_forgotten_reader_is_none(stage):
    track = stage.subscribe()
    frames = track.frames()
    del frames
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()
    assert stage.engine.calls == [("enable", "TR_b", True), ("enable", "TR_b", False)]
    first = track.frames()
    del first
    second = track.frames()  # before the first was seen to be gone
    await trio.testing.wait_all_tasks_blocked()
    assert stage.engine.calls[-1] == ("enable", "TR_b", True)
    second.close()
    track.ended = "unpublished"
    track.frames()
    assert stage.engine.calls[-1] == ("enable", "TR_b", False)
    picture = stage.engine.rtp.add_receiver("video", 0.0, ssrc=8)
    assert isinstance(make_remote_track(stage.session, stage.bob_voice, picture), RemoteVideoTrack)


@on_stage
async def test_what_is_asked_of_a_remote_publication(stage):
    publication = stage.bob_voice
    assert publication.stats() is None
    publication.track = stage.subscribe()
    assert publication.stats() == publication.track.stats()
    stage.engine.calls.clear()
    publication.set_subscribed(False)
    publication.set_enabled(False)
    publication.set_video_quality(VideoQuality.LOW)
    publication.set_video_dimensions(320, 180)
    publication.set_video_fps(5)
    name, subscribed, *settings = stage.engine.calls[0][0], stage.engine.calls[0][2], *stage.engine.calls[1:]
    assert (name, subscribed) == ("set_subscribed", False)
    last = dict(settings[-1][2:])
    assert last == {"enabled": False, "quality": VideoQuality.LOW, "width": 320, "height": 180, "fps": 5}
    publication.set_video_quality(VideoQuality.MEDIUM)  # to the server dimensions go before any quality
    last = dict(stage.engine.calls[-1][2:])
    assert last == {"enabled": False, "quality": VideoQuality.MEDIUM, "width": 0, "height": 0, "fps": 5}


@on_stage
async def test_who_may_have_our_tracks(stage):
    rule = ParticipantTrackPermission("bob", allowed_track_sids=["TR_own"])
    stage.me.set_track_subscription_permissions(allow_all_participants=False, participant_permissions=[rule])
    assert stage.engine.calls == [("set_track_permissions", False, [rule])]


@on_stage
async def test_a_subscriber_is_waited_for(stage):
    publication = LocalTrackPublication(stage.session, stage.me, "TR_own")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publication.wait_for_subscription)
        await trio.testing.wait_all_tasks_blocked()
        publication.subscribed = True
        stage.deliver(LocalTrackSubscribed(publication, stage.me))


# ------------------------------------------------------------------ the first events


@on_stage
async def test_what_happens_as_the_room_is_joined_waits_for_the_block(stage):
    track = stage.subscribe()
    subscribed = TrackSubscribed(track, stage.bob_voice, stage.bob)
    stage.deliver(Connected(), subscribed)
    assert stage.events == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.session.wait_until, lambda: stage.events)
        await trio.testing.wait_all_tasks_blocked()
        await stage.session.release()
    assert stage.events == [subscribed]
    stage.deliver(ParticipantConnected(stage.bob))
    assert len(stage.events) == 2


@on_stage
async def test_a_room_that_ends_at_once_tells_what_happened_before(stage):
    stage.deliver(Connected(), ParticipantConnected(stage.bob), Disconnected(DisconnectReason.ROOM_DELETED))
    assert len(stage.events) == 1
    await stage.session.release()
    assert len(stage.events) == 1


def test_the_names_are_public():
    for name in ("LocalAudioTrack", "LocalVideoTrack", "RemoteAudioTrack", "RemoteVideoTrack", "Frames"):
        assert name in trio_client.__all__
