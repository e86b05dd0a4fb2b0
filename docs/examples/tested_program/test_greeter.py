"""Its tests. ``livekit_simulation`` and ``livekit_devserver`` come with trio-livekit; nothing is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from greeter import greet

import trio_client
from trio_client import DataReceived, Room, TokenRejected


@asynccontextmanager
async def visit(url: str, greeter: str, visitor: str) -> AsyncIterator[tuple[Room, trio.MemoryReceiveChannel[bytes]]]:
    """A room with the greeter in it, as a visitor sees it, and what the visitor is told."""
    hear, heard = trio.open_memory_channel[bytes](100)

    def listen(event: DataReceived) -> None:
        hear.send_nowait(event.payload)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(greet, url, greeter)
        # Handlers given to connect miss nothing: the greeting may come before the block begins.
        async with trio_client.connect(url, visitor, on={DataReceived: listen}) as room:
            yield room, heard
        nursery.cancel_scope.cancel()


def test_a_visitor_is_greeted_and_told_the_time(livekit_simulation):
    """In virtual time: ten minutes pass at once."""
    sim = livekit_simulation

    async def scenario() -> None:
        async with visit(sim.url, sim.token("greeter"), sim.token("ann")) as (room, heard):
            assert await heard.receive() == b"hello ann"
            await trio.sleep(600)
            await room.local_participant.publish_data(b"time?")
            assert await heard.receive() == b"600 s"

    sim.run(scenario)


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_bad_network(livekit_simulation, loss):
    """A connection that breaks, and packets that are lost: the greeter comes back."""
    sim = livekit_simulation

    async def scenario() -> None:
        async with visit(sim.url, sim.token("greeter"), sim.token("ann")) as (_room, heard):
            assert await heard.receive() == b"hello ann"
            sim.loss = loss
            assert sim.cut("greeter")
            assert await heard.receive() == b"here again"

    sim.run(scenario)


def test_with_a_bad_token(livekit_simulation):
    sim = livekit_simulation

    async def scenario() -> None:
        with pytest.raises(TokenRejected):
            await greet(sim.url, "nonsense")

    sim.run(scenario)


def test_on_real_sockets(livekit_devserver):
    """The same program against a development server, which other clients can join as well."""
    server = livekit_devserver

    async def scenario() -> None:
        with trio.fail_after(20):
            async with visit(server.url, server.token("greeter"), server.token("ann")) as (_room, heard):
                assert await heard.receive() == b"hello ann"
                assert sorted(server.identities()) == ["ann", "greeter"]
                assert server.cut("greeter")
                assert await heard.receive() == b"here again"

    trio.run(scenario)
    assert server.identities() == []
