"""A pacer for bursts of video: a token bucket whose rate grows with its queue, so that nothing waits long.

The rate is the higher of the configured one and what empties the present queue within ``DRAIN`` seconds: the bitrate
need not be known, and a key frame is spread over about one frame's time.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from ..base.contract import INF
from ..base.limits import PACER_BYTES

Item = TypeVar("Item")

DRAIN = 0.03
"""Seconds in which a queue leaves."""
TICK = 0.004
"""Seconds between two bursts at least: each costs the driver a wake-up."""
BURST = 12_000
"""Bytes that leave at once after a pause."""
RATE = 125_000.0
"""Bytes a second at least."""


class Pacer(Generic[Item]):
    """Items with a size in bytes, let go in the order pushed, except that urgent ones (retransmissions) come first.

    ``due`` is when ``pop`` has something to give.
    """

    __slots__ = ("rate", "due", "size", "_queue", "_urgent", "_tokens", "_at", "_speed")

    def __init__(self, rate: float = RATE) -> None:
        self.rate = rate
        self.due = INF
        self.size = 0
        """Bytes that wait."""
        self._queue: deque[tuple[Item, int]] = deque()
        self._urgent: deque[tuple[Item, int]] = deque()
        self._tokens = float(BURST)
        self._at = 0.0
        self._speed = rate

    @property
    def full(self) -> bool:
        """Whether so much waits that a new frame had better be dropped."""
        return self.size >= PACER_BYTES

    def push(self, item: Item, size: int, now: float, urgent: bool = False) -> None:
        """One more item."""
        if self.size == 0:
            self._tokens = min(BURST, self._tokens + (now - self._at) * self._speed)
            self._at = now
            self._speed = self.rate
        (self._urgent if urgent else self._queue).append((item, size))
        self.size += size
        self._speed = max(self._speed, self.size / DRAIN)
        self.due = min(self.due, self._at if self._tokens > 0 else self._at + max(TICK, -self._tokens / self._speed))

    def pop(self, now: float) -> Item | None:
        """The next item that may leave; None when none may, and ``due`` tells when to ask again."""
        if now < self.due:
            return None
        if now > self._at:
            # No bound by BURST here: a late wake-up has to catch up.
            self._tokens += (now - self._at) * self._speed
            self._at = now
        if self._tokens <= 0:
            self.due = now + max(TICK, -self._tokens / self._speed)
            return None
        item, size = (self._urgent or self._queue).popleft()
        self.size -= size
        self._tokens -= size
        if not self.size:
            self.due = INF
        return item

    def clear(self) -> None:
        """Forget everything that waits."""
        self._queue.clear()
        self._urgent.clear()
        self.size = 0
        self.due = INF
