"""A signalling link of the real server is cut: the session is resumed, and data goes on all the while."""

from __future__ import annotations

import trio

import trio_client
from trio_client import ConnectionState, DataReceived, Reconnected, SignalReconnecting, TokenRefreshed

from .ours import MODES, joined, run, story
from .proxy import proxied


@MODES
def test_a_cut_link_is_resumed_and_data_goes_on(server, room, native, single):
    peer = native("them")
    peer.call("echo")

    async def scenario() -> None:
        async with proxied(server) as proxy, joined(server, room, url=proxy.url, single=single) as ours:
            me = ours.local_participant
            await peer.await_("participant_connected")
            told = story(ours)
            got: list[bytes] = []
            ours.on(DataReceived, lambda event: got.append(event.payload))
            sid = me.sid
            for number in range(30):
                if number in (5, 15):
                    await proxy.cut()
                await me.publish_data(b"%d" % number)
                await trio.sleep(0.05)
            await ours.wait_until(lambda: len(got) == 30)
            assert got == [b"%d" % number for number in range(30)]
            assert ours.state is ConnectionState.CONNECTED
            assert me.sid == sid
            assert list(ours.remote_participants) == ["them"]
            await me.set_metadata("still here")
            assert told == ["signal_reconnecting", "reconnected"] * 2

    run(scenario)


def test_a_server_out_of_reach_for_a_while_is_found_again(server, room, native):
    peer = native("them")
    peer.call("echo")

    async def scenario() -> None:
        async with (
            proxied(server) as proxy,
            joined(server, room, url=proxy.url, single=None) as ours,
            ours.events(Reconnected, DataReceived) as events,
        ):
            await peer.await_("participant_connected")
            proxy.refusing = True
            await proxy.cut()
            await trio.sleep(2)
            assert ours.state is ConnectionState.SIGNAL_RECONNECTING
            proxy.refusing = False
            assert (await anext(events)).resumed
            await ours.local_participant.publish_data(b"ping")
            assert (await anext(events)).payload == b"ping"

    run(scenario)


@MODES
def test_a_server_that_was_restarted_is_joined_anew(own_server, room, single):
    own = own_server()

    async def scenario() -> None:
        async with joined(own, room, single=single) as ours:
            me = ours.local_participant
            sid = me.sid
            async with ours.events(Reconnected) as events:
                await trio.to_thread.run_sync(lambda: own.stop(kill=True))
                await trio.to_thread.run_sync(own.start)
                event = await anext(events)
            assert not event.resumed
            assert ours.local_participant is me
            assert me.sid != sid
            assert await own.aidentities(room) == ["ours"]
            await me.publish_data(b"works", wait_acked=True)

    run(scenario)


def test_ten_outages_in_a_row(server, room, native):
    peer = native("them")
    peer.call("echo")

    async def scenario() -> None:
        async with proxied(server) as proxy, joined(server, room, url=proxy.url, single=None) as ours:
            await peer.await_("participant_connected")
            told = story(ours)
            got: list[bytes] = []
            ours.on(DataReceived, lambda event: got.append(event.payload))
            sid, number = ours.local_participant.sid, 0
            for outage in range(1, 11):
                proxy.refusing = outage % 2 == 0
                await proxy.cut()
                for _ in range(5):
                    await ours.local_participant.publish_data(b"%d" % number)
                    number += 1
                    await trio.sleep(0.05)
                proxy.refusing = False
                await ours.wait_until(lambda: told.count("reconnected") == outage)
            await ours.wait_until(lambda: len(got) == number)
            assert got == [b"%d" % n for n in range(number)]
            assert ours.local_participant.sid == sid
            assert told == ["signal_reconnecting", "reconnected"] * 10

    run(scenario, 60)


def test_a_token_that_is_no_longer_accepted_after_the_outage_is_replaced(own_server, room):
    """The server comes back with another secret: the token and every refreshed one are worthless."""
    own = own_server()
    asked: list[str] = []

    async def source() -> str:
        asked.append(own.secret)
        return own.token(room, "ours")

    async def scenario() -> None:
        refreshed = trio.Event()
        on = {TokenRefreshed: lambda _: refreshed.set()}
        async with trio_client.connect(own.url, source, on=on) as ours, ours.events(Reconnected) as events:
            await refreshed.wait()
            await trio.to_thread.run_sync(lambda: own.stop(kill=True))
            config = own.folder / "config.yaml"
            new = "another secret" * 3
            config.write_text(config.read_text().replace(own.secret, new))
            own.secret = new
            await trio.to_thread.run_sync(own.start)
            event = await anext(events)
            assert not event.resumed
            assert asked == ["secret" * 6, new]
            await ours.local_participant.publish_data(b"works", wait_acked=True)

    run(scenario)


def test_a_link_that_swallows_everything_is_noticed(server, room):
    """The TCP connections stay, and nothing comes out of them: the keep-alive of 15 s finds out; media goes on."""

    async def scenario() -> None:
        async with (
            proxied(server) as proxy,
            joined(server, room, url=proxy.url, single=None) as ours,
            ours.events(SignalReconnecting, Reconnected) as events,
        ):
            proxy.stalled = True
            assert isinstance(await anext(events), SignalReconnecting)
            await ours.local_participant.publish_data(b"goes on", wait_acked=True)
            proxy.stalled = False
            assert (await anext(events)).resumed

    run(scenario)
