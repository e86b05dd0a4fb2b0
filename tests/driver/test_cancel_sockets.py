"""Cancel at every checkpoint with the real driver: real sockets, real TLS, a scripted server or the small one.

``test_cancel`` does the same in a simulated network, in more ways; here it is the links and ports that are real.
"""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
import trio

import trio_client
from trio_client import ConnectError, ConnectOptions, DataReceived, ParticipantConnected
from trio_client.devserver import serve as development_server

from .certificates import client_context, server_context
from .failing import TOKEN, ours, run
from .scripted import Script, hide, joins, keeps_alive, no_first_message, refuse, serve, silent
from .sfuhost import SfuHost, sfu_host
from .sweep import Cut, sweep

SCRIPTS = {
    "refused": refuse(401, "invalid API key"),
    "refused-without-a-body": hide(404, 404, "requested room does not exist"),
    "silent": silent,
    "no-first-message": no_first_message,
    "no-media": joins(keeps_alive),
}


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("name", list(SCRIPTS))
def test_joining_in_vain(name, tls):
    """A join that fails or lasts: cut at each step of any task, it ends at once, and the server sees it end."""
    script: Script = SCRIPTS[name]
    theirs, mine = server_context("127.0.0.1"), client_context()

    async def scenario(cut: Cut) -> None:
        threads = threading.active_count()
        async with serve(script, tls=theirs if tls else None) as server:

            async def join() -> None:
                with trio.move_on_after(0.05), suppress(ConnectError):
                    async with trio_client.connect(server.url, TOKEN, options=ConnectOptions(ssl_context=mine)):
                        raise AssertionError

            start = trio.current_time()
            await cut(join)
            assert trio.current_time() - start < 1
            assert not ours()
            await server.gone()
        assert threading.active_count() == threads

    assert sweep(scenario, everybody=True, virtual=False, step=23 if tls else 17) > 20


async def gone(host: SfuHost, *left: str) -> None:
    """Wait until the server has forgotten all but these: it is told, so that takes no timeout."""
    with trio.fail_after(1):
        while host.identities() != sorted(left):
            await trio.sleep(0.005)


@pytest.mark.parametrize("single", [True, False, None], ids=["v1", "v0", "fall-back"])
def test_joining_staying_leaving(single):
    async def scenario(cut: Cut) -> None:
        async with sfu_host(path_v1=single is True) as host:
            options = ConnectOptions(single_peer_connection=single)

            async def session() -> None:
                async with trio_client.connect(host.url, host.token(), options=options) as room:
                    await room.local_participant.publish_data(b"x")
                    await room.local_participant.set_name("Ours")

            start = trio.current_time()
            await cut(session)
            assert trio.current_time() - start < 2
            assert not ours()
            await gone(host)
            await host.web.gone()
            if cut.at % 3 == 1:  # and the next join is fine
                async with trio_client.connect(host.url, host.token("next"), options=options):
                    assert host.identities() == ["next"]
                await gone(host)

    assert sweep(scenario, everybody=True, virtual=False, step=17) > 30


def test_leaving_while_nothing_can_be_flushed():
    """Half of the close_timeout is for data, the rest is for telling the server."""

    async def main() -> None:
        async with sfu_host() as host:
            options = ConnectOptions(close_timeout=1.0)
            async with trio_client.connect(host.url, host.token(), options=options) as room:
                host.lost = lambda data: True
                await room.local_participant.publish_data(b"never acknowledged")
            await gone(host)

    run(main)


def test_in_a_room():
    """Sending, asking, waiting, reading and leaving, cut at each of their own checkpoints, in one room."""

    async def scenario(cut: Cut) -> None:
        async with sfu_host() as host, trio_client.connect(host.url, host.token("alice")) as alice:
            me = alice.local_participant

            async def busy() -> None:
                with trio.move_on_after(0.02):
                    await alice.wait_for(ParticipantConnected)
                with trio.move_on_after(0.02):
                    await alice.wait_until(lambda: False)
                async with trio_client.connect(host.url, host.token("bob")) as bob:
                    async with alice.events(DataReceived) as events:
                        await bob.local_participant.publish_data(b"1", destination_identities=["alice"])
                        async for event in events:
                            assert event.payload == b"1"
                            break
                    await me.set_metadata("m")
                    for _ in range(20):
                        await me.publish_data(bytes(1000))
                    await bob.disconnect()

            await cut(busy)
            await gone(host, "alice")
            assert not alice._session._operations
            assert not alice._session._conditions
            await me.set_name("still here")
            assert me.name == "still here"
            await alice.disconnect()
            await gone(host)

    assert sweep(scenario, virtual=False) > 10
    assert sweep(scenario, everybody=True, virtual=False, step=197, fine=47) > 60


def test_a_development_server():
    """Cut at each step of any task, with a client in its room and others at its doors: nothing is left of it."""

    async def scenario(cut: Cut) -> None:
        async def serves() -> None:
            async with development_server() as server, trio.open_nursery() as nursery:
                nursery.start_soon(knock, "127.0.0.1", int(server.url.rpartition(":")[2]))
                nursery.start_soon(knock, "127.0.0.1", server.tcp_port)
                async with trio_client.connect(server.url, server.token("ours", can_update_own_metadata=True)) as room:
                    await room.local_participant.set_attributes({"a": "b"})
                nursery.cancel_scope.cancel()

        await cut(serves)

    async def knock(host: str, port: int) -> None:
        async with await trio.open_tcp_stream(host, port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            with suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    pass

    assert sweep(scenario, everybody=True, virtual=False, step=7) > 30
