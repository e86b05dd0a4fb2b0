"""A signalling link of the real server is cut: the session is resumed, and data goes on all the while."""

from __future__ import annotations

from functools import partial

import trio

import trio_client
from trio_client import (
    ConnectionState,
    ConnectOptions,
    DataReceived,
    Disconnected,
    Reconnected,
    Reconnecting,
    SignalReconnecting,
)

from .ours import MODES, run


class Proxy:
    """A TCP relay in front of the server, whose connections can be cut. Media does not go through it."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.refusing = False
        self.stalled = False
        self._streams: list[trio.SocketStream] = []

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.port = listener.socket.getsockname()[1]
            task_status.started()
            await trio.serve_listeners(self._relay, [listener], handler_nursery=nursery)

    async def _relay(self, near: trio.SocketStream) -> None:
        if self.refusing:
            await near.aclose()
            return
        far = await trio.open_tcp_stream("127.0.0.1", self.target)
        self._streams += [near, far]
        async with near, far, trio.open_nursery() as nursery:
            for source, sink in ((near, far), (far, near)):
                nursery.start_soon(self._copy, source, sink, nursery.cancel_scope)

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in source:
                if not self.stalled:
                    await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def cut(self) -> None:
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.aclose()


def story(events: list[object]) -> list[str]:
    wanted = (SignalReconnecting, Reconnecting, Reconnected, Disconnected)
    return [type(event).__name__ for event in events if isinstance(event, wanted)]


def mended(events: list[object], times: int) -> bool:
    return story(events).count("Reconnected") >= times


@MODES
def test_a_cut_link_is_resumed_and_data_goes_on(server, room, native, single):
    peer = native("them")
    peer.call("echo")
    port = int(server.url.rpartition(":")[2])

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            proxy = Proxy(port)
            await nursery.start(proxy.serve)
            url, token = f"ws://127.0.0.1:{proxy.port}", server.token(room, "ours", canUpdateOwnMetadata=True)
            options = ConnectOptions(single_peer_connection=single)
            events: list[object] = []
            async with trio_client.connect(url, token, options=options) as ours:
                me = ours.local_participant
                await peer.await_("participant_connected")
                for kind in (SignalReconnecting, Reconnecting, Reconnected, Disconnected):
                    ours.on(kind, events.append)
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
                assert story(events) == ["SignalReconnecting", "Reconnected"] * 2
            nursery.cancel_scope.cancel()

    run(scenario)


def test_a_server_out_of_reach_for_a_while_is_found_again(server, room, native):
    peer = native("them")
    peer.call("echo")
    port = int(server.url.rpartition(":")[2])

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            proxy = Proxy(port)
            await nursery.start(proxy.serve)
            url, token = f"ws://127.0.0.1:{proxy.port}", server.token(room, "ours")
            async with trio_client.connect(url, token) as ours, ours.events(Reconnected, DataReceived) as events:
                await peer.await_("participant_connected")
                proxy.refusing = True
                await proxy.cut()
                await trio.sleep(2)
                assert ours.state is ConnectionState.SIGNAL_RECONNECTING
                proxy.refusing = False
                changes = aiter(events)
                assert (await anext(changes)).resumed
                await ours.local_participant.publish_data(b"ping")
                assert (await anext(changes)).payload == b"ping"
            nursery.cancel_scope.cancel()

    run(scenario)


@MODES
def test_a_server_that_was_restarted_is_joined_anew(own_server, room, single):
    own = own_server()

    async def scenario() -> None:
        options = ConnectOptions(single_peer_connection=single)
        async with trio_client.connect(own.url, own.token(room, "ours"), options=options) as ours:
            me = ours.local_participant
            sid = me.sid
            async with ours.events(Reconnected) as events:
                await trio.to_thread.run_sync(lambda: own.stop(kill=True))
                await trio.to_thread.run_sync(own.start)
                event = await anext(aiter(events))
            assert not event.resumed
            assert ours.local_participant is me
            assert me.sid != sid
            assert await trio.to_thread.run_sync(own.identities, room) == ["ours"]
            await me.publish_data(b"works")

    run(scenario)


def test_ten_outages_in_a_row(server, room, native):
    peer = native("them")
    peer.call("echo")
    port = int(server.url.rpartition(":")[2])

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            proxy = Proxy(port)
            await nursery.start(proxy.serve)
            url, token = f"ws://127.0.0.1:{proxy.port}", server.token(room, "ours")
            events: list[object] = []
            async with trio_client.connect(url, token) as ours:
                await peer.await_("participant_connected")
                for kind in (SignalReconnecting, Reconnecting, Reconnected, Disconnected):
                    ours.on(kind, events.append)
                got: list[bytes] = []
                ours.on(DataReceived, lambda event: got.append(event.payload))
                sid, number = ours.local_participant.sid, 0
                for outage in range(10):
                    proxy.refusing = outage % 2 == 1
                    await proxy.cut()
                    for _ in range(5):
                        await ours.local_participant.publish_data(b"%d" % number)
                        number += 1
                        await trio.sleep(0.05)
                    proxy.refusing = False
                    await ours.wait_until(partial(mended, events, outage + 1))
                await ours.wait_until(lambda: len(got) == number)
                assert got == [b"%d" % n for n in range(number)]
                assert ours.local_participant.sid == sid
                assert story(events) == ["SignalReconnecting", "Reconnected"] * 10
            nursery.cancel_scope.cancel()

    run(scenario, 60)


def test_a_token_that_is_no_longer_accepted_after_the_outage_is_replaced(own_server, room):
    """The server comes back with another secret: the token and every refreshed one are worthless."""
    own = own_server()
    asked: list[str] = []

    async def source() -> str:
        asked.append(own.secret)
        return own.token(room, "ours")

    async def scenario() -> None:
        async with trio_client.connect(own.url, source) as ours, ours.events(Reconnected) as events:
            await trio.sleep(0.5)
            await trio.to_thread.run_sync(lambda: own.stop(kill=True))
            config = own.folder / "config.yaml"
            new = "another secret" * 3
            config.write_text(config.read_text().replace(own.secret, new))
            own.secret = new
            await trio.to_thread.run_sync(own.start)
            event = await anext(aiter(events))
            assert not event.resumed
            assert len(asked) == 2
            await ours.local_participant.publish_data(b"works", wait_acked=True)

    run(scenario)


def test_a_link_that_swallows_everything_is_noticed(server, room):
    """The TCP connections stay, and nothing comes out of them: the keep-alive of 15 s finds out; media goes on."""
    port = int(server.url.rpartition(":")[2])

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            proxy = Proxy(port)
            await nursery.start(proxy.serve)
            url, token = f"ws://127.0.0.1:{proxy.port}", server.token(room, "ours")
            async with trio_client.connect(url, token) as ours, ours.events(SignalReconnecting, Reconnected) as events:
                proxy.stalled = True
                changes = aiter(events)
                assert isinstance(await anext(changes), SignalReconnecting)
                await ours.local_participant.publish_data(b"goes on", wait_acked=True)
                proxy.stalled = False
                assert (await anext(changes)).resumed
            nursery.cancel_scope.cancel()

    run(scenario)
