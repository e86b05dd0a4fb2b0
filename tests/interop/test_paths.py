"""Media by TCP and by relays: the real server, coturn, and LiveKit's own client in the room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from trio_client import DataReceived, IceOptions, MediaFailed, Room, TurnServer

from .conftest import absent
from .coturn import PASSWORD, USER, Coturn, program
from .ours import MODES, joined, run
from .peers import Peer

KINDS = pytest.mark.parametrize("kind", ["udp", "tcp", "tls"])


@pytest.fixture(scope="module")
def _relay() -> Iterator[Coturn | None]:
    if found := program():
        with Coturn(found) as relay:
            yield relay
    else:
        yield None


@pytest.fixture
def relay(_relay: Coturn | None) -> Coturn:
    """A coturn server."""
    if _relay is None:
        absent("No coturn: install it, so that turnserver is on the path.")
    return _relay


def by_relay(relay: Coturn, *kinds: str) -> dict[str, object]:
    """Options: nothing but these ways through the relay."""
    servers = [TurnServer(relay.url(kind), USER, PASSWORD) for kind in kinds]
    return {"ice": IceOptions(policy="relay", servers=servers), "ssl_context": relay.trusting()}


async def talk(ours: Room, peer: Peer) -> None:
    """Data to the other and back."""
    await peer.await_("participant_connected")
    await ours.local_participant.publish_data(b"from us")
    await peer.await_data(b"from us")
    with ours.events(DataReceived) as got:
        await peer.asend(b"from them")
        assert (await anext(got)).payload == b"from them"


def peers(room: Room) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(room.diagnostics())["core"]["transports"]["peers"]
    return found


def ways(room: Room) -> dict[str, str]:
    return {way["kind"]: way["state"] for peer in peers(room) for way in peer["paths"]}


@MODES
def test_tcp_alone(own_server, native, room, single):
    server = own_server(rtc="  force_tcp: true\n")
    peer = native()
    peer.join(server.url, server.token(room, "them"))

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            assert ways(ours) == {"tcp": "open"}
            await talk(ours, peer)

    run(scenario)
    assert '"connectionType": "tcp"' in server.log()


@KINDS
@MODES
def test_relays_alone(server, native, room, relay, kind, single):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room, single=single, options=by_relay(relay, kind)) as ours:
            assert ways(ours) == {f"relay over {kind}": "open"}
            await talk(ours, peer)

    run(scenario)


@KINDS
def test_relays_that_the_server_names(own_server, relay, room, kind):
    port = relay.tls_port if kind == "tls" else relay.port
    server = own_server(
        rtc="  turn_servers:\n"
        f"    - host: 127.0.0.1\n      port: {port}\n      protocol: {kind}\n"
        f"      username: {USER}\n      credential: {PASSWORD}\n"
    )

    async def scenario() -> None:
        async with joined(server, room, single=None, options=by_relay(relay)) as ours:
            assert ways(ours) == {f"relay over {kind}": "open"}

    run(scenario)
    assert '"connectionType": "turn"' in server.log()


def test_direct_udp_is_preferred(server, relay, room):
    servers = [TurnServer(relay.url(kind), USER, PASSWORD) for kind in ("udp", "tcp", "tls")]
    options = {"ice": IceOptions(servers=servers), "ssl_context": relay.trusting()}
    every = dict.fromkeys(["relay over udp", "relay over tcp", "relay over tls", "tcp"], "open")

    async def scenario() -> None:
        async with joined(server, room, single=None, options=options) as ours:
            while ways(ours) != every:
                await trio.sleep(0.05)
            await trio.sleep(1)  # within which a better way takes over from one that was sooner
            (peer,) = peers(ours)
            assert "the best kind of path" in peer["verdict"]

    run(scenario)


def test_an_untrusted_certificate_and_a_wrong_password(server, relay, room):
    wrong = TurnServer(relay.url("udp"), USER, "wrong")
    untrusted = TurnServer(relay.url("tls"), USER, PASSWORD)
    options = {"ice": IceOptions(policy="relay", servers=[wrong, untrusted])}

    async def scenario() -> None:
        with pytest.raises(MediaFailed) as caught:
            async with joined(server, room, single=None, options=options):
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
