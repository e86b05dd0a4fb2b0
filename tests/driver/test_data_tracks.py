"""Data tracks between two clients, over the simulated network."""

from __future__ import annotations

import gc

import pytest
import trio

from trio_client import (
    DataTrackFrame,
    DataTrackPublished,
    DisconnectedError,
    LocalProtocolError,
    PushFrameError,
    Reconnected,
    RequestRejected,
    Scenario,
    SubscribeDataTrackError,
)

from .running import run
from .simnet import sim_net
from .sweep import Cut, sweep


async def published(room, name="pos"):
    """The track of that name, once somebody has it."""
    found = None

    def there():
        nonlocal found
        for participant in room.remote_participants.values():
            for track in participant.data_tracks.values():
                if track.name == name:
                    found = track
        return found

    await room.wait_until(there)
    return found


def test_published_subscribed_and_ended():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            async with trio.open_nursery() as nursery:
                events = bob.events(DataTrackPublished)
                track = await alice.local_participant.publish_data_track("pos")
                assert track.is_published()
                assert track.info.name == "pos"
                assert track.info.sid in repr(track)
                remote = (await anext(events)).track
                assert remote is await published(bob)
                assert (remote.info, remote.publisher_identity) == (track.info, "alice")
                assert remote.is_published()
                frames = remote.subscribe(capacity=100)
                got = []

                async def read():
                    async for frame in frames:
                        got.append(frame)

                nursery.start_soon(read)
                await trio.sleep(1)
                sent = [DataTrackFrame(bytes(number * 300), number) for number in range(60)]
                for frame in sent:
                    track.try_push(frame)
                    await trio.sleep(0.01)
                track.try_push(b"bytes", user_timestamp=7)
                track.try_push(memoryview(b"view"))
                await trio.sleep(1)
                assert got == [*sent, DataTrackFrame(b"bytes", 7), DataTrackFrame(b"view")]
                await track.unpublish()
                await trio.sleep(1)
                with pytest.raises(PushFrameError, match="not published"):
                    track.try_push(b"late")
                assert not remote.is_published()
                assert frames.ended == "unpublished"
                assert "unpublished" in repr(frames)
            with pytest.raises(LocalProtocolError, match="not published"):
                remote.subscribe()
            await track.unpublish()

    run(main)


def test_a_slow_reader_gets_the_latest():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            track = await alice.local_participant.publish_data_track("pos")
            async with (await published(bob)).subscribe(capacity=2) as frames:
                await trio.sleep(1)
                for number in range(5):
                    track.try_push(b"%d" % number)
                    await trio.sleep(0.1)
                assert frames.dropped == 3
                first, second = await frames.read(), await frames.read()
                assert [(frame.payload, frame.lost) for frame in (first, second)] == [(b"3", 3), (b"4", 0)]
                with trio.move_on_after(1):
                    await frames.read()
                await frames.aclose()
                assert await frames.read() is None
            assert frames.ended == "unsubscribed"

    run(main)


def test_refusals(monkeypatch):
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            me = alice.local_participant
            track = await me.publish_data_track("pos")
            with pytest.raises(LocalProtocolError, match="already"):
                await me.publish_data_track("pos")
            remote = await published(bob)
            monkeypatch.setattr("sansio.sfu.data_tracks.SFU_DATA_SUBSCRIPTIONS", 0)
            frames = remote.subscribe()
            with pytest.raises(SubscribeDataTrackError):
                await anext(frames)
            net.loss = lambda data: True

            def flood():
                for _ in range(100):
                    track.try_push(bytes(100_000))

            with pytest.raises(PushFrameError, match="still wait"):
                flood()
            net.loss = lambda data: False
            monkeypatch.setattr("sansio.sfu.data_tracks.SFU_DATA_TRACKS", 1)
            with pytest.raises(RequestRejected, match="LIMIT_EXCEEDED"):
                await me.publish_data_track("other")
            await alice.disconnect()
            assert not track.is_published()
            with pytest.raises(DisconnectedError):
                await me.publish_data_track("more")
            await bob.disconnect()
            with pytest.raises(DisconnectedError):
                remote.subscribe()

    run(main)


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_new_session_in_the_middle(who):
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            track = await alice.local_participant.publish_data_track("pos")
            frames = (await published(bob)).subscribe()
            await trio.sleep(1)
            track.try_push(b"before")
            await trio.sleep(1)
            room = {"alice": alice, "bob": bob}[who]
            events = room.events(Reconnected)
            await room.simulate(Scenario.FULL_RECONNECT)
            await anext(events)
            await trio.sleep(3)
            track.try_push(b"after")
            assert [(await anext(frames)).payload for _ in range(2)] == [b"before", b"after"]

    run(main)


def test_a_stream_is_closed_although_too_many_requests_wait(monkeypatch):
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            await alice.local_participant.publish_data_track("pos")
            remote = await published(bob)
            frames = remote.subscribe()
            await trio.sleep(1)
            subscriptions = net.server._rooms["room"].data_tracks._subscriptions
            assert [len(mine) for mine in subscriptions.values()] == [1]
            events = bob.events(Reconnected)
            monkeypatch.setattr("sansio.signal.session.SIGNAL_QUEUE", 0)
            await bob.simulate(Scenario.SIGNAL_RECONNECT)
            with pytest.raises(LocalProtocolError, match="too many requests wait"):
                await bob.local_participant.set_name("Bob")
            await frames.aclose()
            assert frames.ended == "unsubscribed"
            await anext(events)
            await trio.sleep(1)
            assert [len(mine) for mine in subscriptions.values()] == [0]

    run(main)


def test_a_stream_that_is_forgotten_is_closed():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            await alice.local_participant.publish_data_track("pos")
            frames = (await published(bob)).subscribe()
            await trio.sleep(1)
            subscriptions = net.server._rooms["room"].data_tracks._subscriptions
            assert [len(mine) for mine in subscriptions.values()] == [1]
            del frames
            gc.collect()
            await trio.sleep(1)
            assert [len(mine) for mine in subscriptions.values()] == [0]

    run(main)


def test_the_room_ends():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            await alice.local_participant.publish_data_track("pos")
            frames = (await published(bob)).subscribe()
            async with trio.open_nursery() as nursery:

                async def read():
                    assert [frame async for frame in frames] == []

                nursery.start_soon(read)
                await trio.sleep(1)
                await bob.disconnect()
            assert frames.ended == "room ended"
            frames.close()

    run(main)


def test_several_tasks_read_one_stream():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            track = await alice.local_participant.publish_data_track("pos")
            frames = (await published(bob)).subscribe()
            got = []

            async def read():
                async for frame in frames:
                    got.append(frame.payload)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(read)
                await trio.sleep(1)
                for number in range(4):
                    track.try_push(b"%d" % number)
                    await trio.sleep(0.1)
                await track.unpublish()
            assert sorted(got) == [b"0", b"1", b"2", b"3"]

    run(main)


def test_cancelling_publication_at_every_checkpoint():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            await cut(alice.local_participant.publish_data_track, "pos")
            await trio.sleep(2)
            tracks = [track for other in bob.remote_participants.values() for track in other.data_tracks.values()]
            assert len(tracks) == (not cut.cancelled)
            assert len(alice._session.engine.data_tracks.local) == (not cut.cancelled)
            await alice.local_participant.publish_data_track("another")

    assert sweep(scenario, everybody=True) >= 3


def test_cancelling_a_reader_at_every_checkpoint():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            track = await alice.local_participant.publish_data_track("pos")
            remote = await published(bob)

            async def read() -> None:
                async with remote.subscribe() as frames:
                    for _ in range(3):
                        await anext(frames)

            async def push() -> None:
                for _ in range(40):
                    track.try_push(b"x")
                    await trio.sleep(0.1)

            alice.start_soon(push)
            await cut(read)
            await trio.sleep(1)
            assert not bob._session.engine.data_tracks._wanted
            subscriptions = net.server._rooms["room"].data_tracks._subscriptions
            assert [len(mine) for mine in subscriptions.values()] in ([], [0])

    assert sweep(scenario) >= 3
