"""Work in worker threads, for which virtual time waits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Args = TypeVarTuple("Args")

time_stands: trio.lowlevel.RunVar[Callable[[], AbstractContextManager[object]]] = trio.lowlevel.RunVar(
    "trio_client time stands", nullcontext
)
"""Makes what keeps time from jumping, where it is virtual: to Trio, a thread that works is nothing that happens."""


async def in_thread(work: Callable[[*Args], T], *args: *Args, limiter: trio.CapacityLimiter) -> T:
    """``trio.to_thread.run_sync``, which takes no virtual time."""
    with time_stands.get()():
        return await trio.to_thread.run_sync(work, *args, limiter=limiter)
