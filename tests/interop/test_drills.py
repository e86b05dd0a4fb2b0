"""Every drill of ``room.simulate``, on the real server: how the session takes it, and that it is whole afterwards."""

from __future__ import annotations

import pytest
import trio

from trio_client import (
    ActiveSpeakersChanged,
    ConnectionState,
    DataReceived,
    Disconnected,
    DisconnectReason,
    Reconnected,
    Reconnecting,
    Room,
    Scenario,
    SignalReconnecting,
)

from .ours import MODES, joined, run

RESUMED = [SignalReconnecting, Reconnected]
ARMED = (Scenario.DISCONNECT_SIGNAL_ON_RESUME, Scenario.DISCONNECT_SIGNAL_ON_RESUME_NO_MESSAGES)
"""These do nothing by themselves: they spoil the next resume."""


async def reconnected(room: Room, *drills: Scenario) -> list[type]:
    """Stage drills: the kinds of events up to Reconnected."""
    story: list[type] = []
    async with room.events(SignalReconnecting, Reconnecting, Reconnected, Disconnected) as events:
        for drill in drills:
            await room.simulate(drill)
        async for event in events:
            story.append(type(event))
            if isinstance(event, Reconnected):
                return story
    raise AssertionError(f"the session ended: {story}")


@MODES
@pytest.mark.parametrize(
    ("drill", "resumed"),
    [
        (Scenario.SIGNAL_RECONNECT, True),
        (Scenario.FULL_RECONNECT, False),
        (Scenario.NODE_FAILURE, False),
        (Scenario.MIGRATION, False),  # the server is alone: it lets nobody resume
        (Scenario.DISCONNECT_SIGNAL_ON_RESUME, True),
        (Scenario.DISCONNECT_SIGNAL_ON_RESUME_NO_MESSAGES, True),
    ],
)
def test_the_session_goes_on(server, room, native, single, drill, resumed):
    peer = native("them")
    peer.call("echo")

    async def scenario() -> None:
        async with joined(server, room, single=single, canUpdateOwnMetadata=True) as ours:
            me = ours.local_participant
            sid = me.sid
            await peer.await_("participant_connected")
            if drill in ARMED:
                story = await reconnected(ours, drill, Scenario.SIGNAL_RECONNECT)
            else:
                story = await reconnected(ours, drill)
            if resumed:
                await ours.wait_until(lambda: ours.state is ConnectionState.CONNECTED)
                assert Reconnecting not in story
            assert (me.sid == sid) is resumed
            async with ours.events(DataReceived) as events:
                if not resumed:
                    await peer.await_("participant_connected")
                for number in range(3):
                    await me.publish_data(b"%d" % number, wait_acked=True)
                    assert (await anext(aiter(events))).payload == b"%d" % number
            await me.set_metadata("whole again")
            assert list(ours.remote_participants) == ["them"]
            assert await trio.to_thread.run_sync(server.identities, room) == ["ours", "them"]

    run(scenario)


@MODES
def test_the_next_join_is_over_tcp(server, room, single):
    async def scenario() -> None:
        async with joined(server, room, single=single, canUpdateOwnMetadata=True) as ours:
            await ours.simulate(Scenario.FORCE_TCP)
            await ours.local_participant.set_metadata("the server has heard of it")
            assert await reconnected(ours, Scenario.FULL_RECONNECT) == [Reconnecting, Reconnected]
            chosen = {pair.protocol for pair in ours._session.engine.media_report()[0] if pair.selected}
            assert chosen == {"tcp"}

    run(scenario)


@MODES
@pytest.mark.parametrize("drill", [Scenario.SUBSCRIBER_BANDWIDTH, Scenario.LEAVE_REQUEST_FULL_RECONNECT])
def test_drills_that_nothing_shows_of(server, room, native, single, drill):
    """The first throttles what the server forwards of video; the second is one that the server does not know."""
    peer = native("them")
    peer.call("echo")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            await peer.await_("participant_connected")
            async with ours.events(DataReceived, SignalReconnecting, Reconnecting, Disconnected) as events:
                await ours.simulate(drill)
                await ours.local_participant.publish_data(b"still here", wait_acked=True)
                event = await anext(aiter(events))
                assert isinstance(event, DataReceived)
                assert event.payload == b"still here"

    run(scenario)


@MODES
def test_the_server_ends_the_session(server, room, single):
    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(Reconnecting, Disconnected) as events:
            await ours.simulate(Scenario.SERVER_LEAVE)
            assert [event async for event in events] == [Disconnected(DisconnectReason.SERVER_SHUTDOWN)]

    run(scenario)


@MODES
def test_the_server_says_that_somebody_speaks(server, room, single):
    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(ActiveSpeakersChanged) as events:
            changes = aiter(events)
            await ours.simulate(Scenario.SPEAKER_UPDATE)
            assert (await anext(changes)).speakers == (ours.local_participant,)
            assert ours.local_participant.is_speaking
            assert (await anext(changes)).speakers == ()
            assert not ours.local_participant.is_speaking

    run(scenario)
