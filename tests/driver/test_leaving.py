"""What is asked of a room while it is being left: it takes time to have reliable data acknowledged."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from trio_client import (
    DisconnectedError,
    DisconnectReason,
    LocalAudioTrack,
    ParticipantTrackPermission,
    Scenario,
    Transcription,
    VideoQuality,
)

from .running import run
from .simnet import sim_net
from .test_data_tracks import published
from .test_tracks_net import OPUS_FRAME, subscribed

REASON = DisconnectReason.USER_UNAVAILABLE


@asynccontextmanager
async def leaving(net, room):
    """For the length of a block the room is being left, and not left yet."""
    async with trio.open_nursery() as nursery:
        await room.local_participant.publish_data(b"never acknowledged")
        net.loss = lambda data: True
        nursery.start_soon(lambda: room.disconnect(reason=REASON))
        await trio.sleep(0.01)
        assert not room._session.ended.is_set()
        yield
        assert not room._session.ended.is_set()
        net.loss = lambda data: False


def test_nothing_more_can_be_asked_for():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            me, voice = alice.local_participant, LocalAudioTrack("mine")
            mine = await me.publish_track(voice)
            await bob.local_participant.publish_track(LocalAudioTrack("his"))
            await bob.local_participant.publish_data_track("pos")
            his, pos = (await subscribed(alice, "his")).publication, await published(alice)
            frames, ours = pos.subscribe(), await me.publish_data_track("ours")
            writer = await me.stream_text(topic="t")
            entry = await me.send_chat_message("hello")

            async def call(function, *args, **options):
                """A sync one."""
                function(*args, **options)

            async with leaving(net, alice):
                asked = [
                    me.publish_data(b"late"),
                    me.publish_data(b"late", reliable=False),
                    me.publish_data(b"late", wait_acked=True),
                    me.send_text("late"),
                    me.send_bytes(b"late"),
                    me.stream_text(topic="late")._open(),
                    me.stream_bytes("late")._open(),
                    writer.write("late"),
                    writer.aclose(),
                    me.send_chat_message("late"),
                    me.edit_chat_message(entry, "late"),
                    me.publish_transcription(Transcription("alice", mine.sid, ())),
                    me.publish_dtmf(digit="1"),
                    me.perform_rpc("bob", "late"),
                    me.publish_track(LocalAudioTrack("late")),
                    me.unpublish_track(mine),
                    me.publish_data_track("late"),
                    me.set_name("late"),
                    me.set_metadata("late"),
                    me.set_attributes({"late": "1"}),
                    mine.mute(),
                    mine.unmute(),
                    alice.simulate(Scenario.SPEAKER_UPDATE),
                    call(me.set_track_subscription_permissions),
                    call(
                        me.set_track_subscription_permissions,
                        allow_all_participants=False,
                        participant_permissions=[ParticipantTrackPermission("bob", True)],
                    ),
                    call(his.set_subscribed, False),
                    call(his.set_enabled, False),
                    call(his.set_video_quality, VideoQuality.LOW),
                    call(his.set_video_dimensions, 100, 100),
                    call(his.set_video_fps, 5),
                    call(pos.subscribe),
                ]
                for asking in asked:
                    with pytest.raises(DisconnectedError, match="we are leaving the room") as caught:
                        await asking
                    assert caught.value.reason is REASON
                # what ends something, or makes no sound of it, needs no connection
                frames.close()
                await ours.unpublish()
                await voice.write(OPUS_FRAME)
            with pytest.raises(DisconnectedError, match="disconnected: USER_UNAVAILABLE"):
                await me.publish_data(b"later")

    run(main)


def test_who_waits_for_room_is_told():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            ends = []

            async def send_on():
                while True:
                    await alice.local_participant.publish_data(bytes(60_000))

            async def send():
                with pytest.raises(DisconnectedError) as caught:
                    await send_on()
                ends.append(caught.value.reason)

            async with trio.open_nursery() as nursery:
                net.loss = lambda data: True
                nursery.start_soon(send)
                nursery.start_soon(send)
                await trio.sleep(0.1)
                net.loss = lambda data: False
                await alice.disconnect(reason=REASON)
            assert ends == [REASON] * 2

    run(main)


def test_what_is_cancelled_while_the_room_is_being_left():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, trio.open_nursery() as nursery:
            me, scope = alice.local_participant, trio.CancelScope()
            cancelled = []

            async def ask(operation, *args):
                with scope:
                    await operation(*args)
                cancelled.append(scope.cancelled_caught)

            nursery.start_soon(ask, me.publish_track, LocalAudioTrack("late"))
            await trio.sleep(0.001)
            async with leaving(net, alice):
                scope.cancel()
                await trio.sleep(0.01)
                assert cancelled == [True]

    run(main)


def test_a_stream_handler_that_answers_then_ends_nothing():
    async def main():
        async with sim_net() as net, net.connect("bob") as bob, net.connect("alice") as alice:
            answered, go = [], trio.Event()

            async def answer(reader, identity):
                await go.wait()
                try:
                    await alice.local_participant.send_text("yes")
                finally:
                    answered.append(identity)

            alice.register_text_stream_handler("t", answer)
            await bob.local_participant.send_text("well?", topic="t")
            await trio.sleep(1)
            async with leaving(net, alice):
                go.set()
                await trio.sleep(0.01)
                assert answered == ["bob"]

    run(main)
