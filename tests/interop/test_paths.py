"""Media by TCP and by relays: the real server, coturn, and LiveKit's own client in the room."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import trio_client
from trio_client import ConnectOptions, DataReceived, IceOptions, MediaFailed, Room, TurnServer

from . import coturn
from .conftest import absent
from .peers import Peer
from .servers import Server

KINDS = pytest.mark.parametrize("kind", ["udp", "tcp", "tls"])
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


@pytest.fixture(scope="module")
def _relay() -> Iterator[coturn.Coturn | None]:
    program = coturn.program()
    if program is None:
        yield None
        return
    relay = coturn.Coturn(program)
    yield relay
    relay.remove()


@pytest.fixture
def relay(_relay: coturn.Coturn | None) -> coturn.Coturn:
    """A coturn server."""
    if _relay is None:
        absent("No coturn: install it, so that turnserver is on the path.")
    assert _relay
    return _relay


def run(scenario: Callable[[], Any], seconds: float = 40) -> None:
    async def bounded() -> None:
        with trio.fail_after(seconds):
            await scenario()

    trio.run(bounded)


def trusting(relay: coturn.Coturn) -> ssl.SSLContext:
    context = ssl.create_default_context()
    relay.authority.configure_trust(context)
    return context


@asynccontextmanager
async def joined(server: Server, room: str, **options: Any) -> AsyncIterator[Room]:
    wish = ConnectOptions(**options)
    async with trio_client.connect(server.url, server.token(room, "ours"), options=wish) as found:
        yield found


async def talk(ours: Room, peer: Peer) -> None:
    """Data to the other and back."""
    await peer.await_("participant_connected")
    await ours.local_participant.publish_data(b"from us")
    await peer.await_data(b"from us")
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            event = await ours.wait_for(DataReceived)
            assert event.payload == b"from them"

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        await peer.asend(b"from them")


def ways(room: Room) -> dict[str, str]:
    peers = json.loads(room.diagnostics())["core"]["transports"]["peers"]
    return {way["kind"]: way["state"] for peer in peers for way in peer["paths"]}


@MODES
def test_tcp_alone(own_server, native, room, single):
    server = own_server(rtc="  force_tcp: true\n")
    peer = native()
    peer.join(server.url, server.token(room, "them"))

    async def scenario() -> None:
        async with joined(server, room, single_peer_connection=single) as ours:
            assert ways(ours) == {"tcp": "open"}
            await talk(ours, peer)

    run(scenario)
    assert '"connectionType": "tcp"' in server.log()


@KINDS
@MODES
def test_relays_alone(server, native, room, relay, kind, single):
    peer = native("them")
    server_wish = TurnServer(relay.url(kind), coturn.USER, coturn.PASSWORD)

    async def scenario() -> None:
        ice = IceOptions(policy="relay", servers=[server_wish])
        async with joined(server, room, ice=ice, ssl_context=trusting(relay), single_peer_connection=single) as ours:
            assert ways(ours) == {f"relay over {kind}": "open"}
            await talk(ours, peer)

    run(scenario)


@KINDS
def test_relays_that_the_server_names(own_server, relay, room, kind):
    port = relay.tls_port if kind == "tls" else relay.port
    server = own_server(
        rtc="  turn_servers:\n"
        f"    - host: 127.0.0.1\n      port: {port}\n      protocol: {kind}\n"
        f"      username: {coturn.USER}\n      credential: {coturn.PASSWORD}\n"
    )

    async def scenario() -> None:
        async with joined(server, room, ice=IceOptions(policy="relay"), ssl_context=trusting(relay)) as ours:
            assert ways(ours) == {f"relay over {kind}": "open"}

    run(scenario)
    assert '"connectionType": "turn"' in server.log()


def test_direct_udp_is_preferred(server, relay, room):
    servers = [TurnServer(relay.url(kind), coturn.USER, coturn.PASSWORD) for kind in ("udp", "tcp", "tls")]

    async def scenario() -> None:
        async with joined(server, room, ice=IceOptions(servers=servers), ssl_context=trusting(relay)) as ours:
            await trio.sleep(0.5)
            found = ways(ours)
            assert found == {
                "relay over udp": "open",
                "relay over tcp": "open",
                "relay over tls": "open",
                "tcp": "open",
            }
            peers = json.loads(ours.diagnostics())["core"]["transports"]["peers"]
            selected = [peer["ice"]["selected"] for peer in peers]
            targets = [way["target"] for peer in peers for way in peer["paths"] if way["kind"] == "tcp"]
            assert [f"{host} port {port}" for host, port in selected] != targets

    run(scenario)


def test_an_untrusted_certificate_and_a_wrong_password(server, relay, room):
    wrong = TurnServer(relay.url("udp"), coturn.USER, "wrong")
    untrusted = TurnServer(relay.url("tls"), coturn.USER, coturn.PASSWORD)

    async def scenario() -> None:
        with pytest.raises(MediaFailed) as caught:
            async with joined(server, room, ice=IceOptions(policy="relay", servers=[wrong, untrusted])):
                raise AssertionError("media cannot have connected")
        by_udp, by_tls = caught.value.report.ways
        assert by_udp == f"relay over udp at 127.0.0.1 port {relay.port}: failed, the credentials were refused"
        assert by_tls.startswith(
            f"relay over tls at 127.0.0.1 port {relay.tls_port}: failed, the server's certificate is"
        )
        assert caught.value.report.verdict.startswith(
            "TURN over UDP was offered, but the credentials were refused; "
            "TURN over TLS was offered, but its certificate is not trusted ("
        )
        assert caught.value.report.verdict in str(caught.value)

    run(scenario)
