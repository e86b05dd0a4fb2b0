"""Our client in a test: bounded in time, joined over one peer connection or over two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import trio_client
from trio_client import ConnectOptions, Room

from .servers import Server

MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


def run(scenario: Callable[[], Any], seconds: float = 40) -> None:
    async def bounded() -> None:
        with trio.fail_after(seconds):
            await scenario()

    trio.run(bounded)


@asynccontextmanager
async def joined(
    server: Server, room: str, identity: str = "ours", *, single: bool = True, **grants: Any
) -> AsyncIterator[Room]:
    options = ConnectOptions(single_peer_connection=single)
    async with trio_client.connect(server.url, server.token(room, identity, **grants), options=options) as found:
        yield found
