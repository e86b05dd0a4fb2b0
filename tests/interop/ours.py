"""Our client in a test: bounded in time, joined over one peer connection or over two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import trio_client
from trio_client import ConnectOptions, Disconnected, Reconnected, Reconnecting, Room, SignalReconnecting

from .servers import Server

MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


def run(scenario: Callable[[], Any], seconds: float = 40) -> None:
    """Run a scenario, which fails when it takes longer."""

    async def bounded() -> None:
        with trio.fail_after(seconds):
            await scenario()

    trio.run(bounded)


@asynccontextmanager
async def joined(
    server: Server,
    room: str,
    identity: str = "ours",
    *,
    single: bool | None = True,
    url: str = "",
    publish: Sequence[Any] = (),
    auto_subscribe: bool = True,
    options: Mapping[str, Any] | None = None,
    **grants: Any,
) -> AsyncIterator[Room]:
    """Our client in a room of a server, which it may know by another ``url``.

    ``grants`` and what else ``tokens.join_token`` takes are for its token, ``options`` are those of ``ConnectOptions``.
    """
    token = server.token(room, identity, **grants)
    wishes = ConnectOptions(single_peer_connection=single, **(options or {}))
    async with trio_client.connect(
        url or server.url, token, publish=publish, auto_subscribe=auto_subscribe, options=wishes
    ) as found:
        yield found


def story(room: Room) -> list[str]:
    """What becomes of a session, from now on: a list of names of events that grows."""
    told: list[str] = []
    for kind in (SignalReconnecting, Reconnecting, Reconnected, Disconnected):
        room.on(kind, lambda event: told.append(event.name))
    return told


async def gone(server: Server, room: str, *left: str) -> None:
    """Within a second the server knows of nobody but these."""
    with trio.fail_after(1):
        while await server.aidentities(room) != sorted(left):
            await trio.sleep(0.02)
