"""Tasks that work together on what a caller sees as one thing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def together() -> AsyncIterator[trio.Nursery]:
    """A nursery for the parts of one operation: the first error of a part is the error of the whole, no group of it."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    errors, _ = group.split(lambda error: not isinstance(error, BaseExceptionGroup | trio.Cancelled))
    error: BaseException = group if errors is None else errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
