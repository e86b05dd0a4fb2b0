"""Tasks that work together on what a caller sees as one thing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ._groups import leaves


@asynccontextmanager
async def together() -> AsyncIterator[trio.Nursery]:
    """A nursery for the parts of one operation: the first error of a part is the error of the whole, no group of it."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        errors = list(leaves(group))
        first = next((error for error in errors if not isinstance(error, trio.Cancelled)), errors[0])
        raise first from first.__cause__
