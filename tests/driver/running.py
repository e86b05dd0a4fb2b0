"""Running a test of Trio. Each has an end, also one that waits for what never comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from trio_client._threads import time_stands
from trio_client.testing._clock import VirtualClock

VIRTUAL = 2000.0
"""Seconds that a test in virtual time may take; a test that waits in a loop gets there in some real seconds."""
REAL = 60.0
"""Seconds that any other may take, on a machine that is busy with other things."""


def run(main: Callable[[], Awaitable[object]], *, threshold: float = 0.0) -> None:
    """Run a test in virtual time. ``threshold``: real seconds of quiet before time jumps, for those with sockets.

    Time stands while worker threads of the package work, when there is no threshold.
    """
    if threshold:
        trio.run(bounded, main, VIRTUAL, clock=trio.testing.MockClock(autojump_threshold=threshold))
        return
    time = VirtualClock()

    async def with_threads() -> None:
        time_stands.set(time.standing)
        await main()

    trio.run(bounded, with_threads, VIRTUAL, clock=time.clock)


def run_real(main: Callable[[], Awaitable[object]]) -> None:
    """Run a test in real time."""
    trio.run(bounded, main, REAL)


async def bounded(main: Callable[[], Awaitable[object]], limit: float) -> None:
    """A test, which fails when it takes longer."""
    with trio.fail_after(limit):
        await main()


class Bystander:
    """A task that counts how often it gets its turn."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self) -> None:
        while True:
            self.turns += 1
            await trio.lowlevel.checkpoint()
