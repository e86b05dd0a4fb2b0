"""Commands that run until they are stopped."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

STOP = (signal.SIGINT, signal.SIGTERM)


@asynccontextmanager
async def until_stopped() -> AsyncIterator[trio.CancelScope]:
    """A block that ends quietly on an interrupt, or at the deadline that its scope is given."""
    with trio.CancelScope() as scope, trio.open_signal_receiver(*STOP) as signals:

        async def watch() -> None:
            async for _ in signals:
                scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            yield scope
            nursery.cancel_scope.cancel()


def stop_after(scope: trio.CancelScope, seconds: float | None) -> None:
    """Set the scope's deadline, if there is to be one."""
    if seconds is not None:
        scope.deadline = trio.current_time() + seconds
