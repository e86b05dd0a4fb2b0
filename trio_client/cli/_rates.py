"""How fast a counter of bytes goes, for whoever shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import trio


async def rates(count: Callable[[], int], interval: float) -> AsyncIterator[float]:
    """Kilobits a second, every ``interval`` seconds, for ever."""
    last = count()
    while True:
        await trio.sleep(interval)
        now = count()
        yield (now - last) * 8 / 1000 / interval
        last = now
