"""A pacer for bursts of video: a token bucket whose rate grows with its queue, so that nothing waits long.

The rate is the higher of the configured one and what empties the present queue within ``DRAIN`` seconds: the bitrate
need not be known, and a key frame is spread over about one frame's time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ..base.contract import INF
from ..base.limits import PACER_BYTES

Item = tuple[Any, ...]
"""Its size in bytes, and what the owner knows it by."""

DRAIN = 0.03
"""Seconds in which a queue leaves."""
TICK = 0.004
"""Seconds between two bursts at least: each costs the driver a wake-up."""
BURST = 12_000
"""Bytes that leave at once after a pause."""
RATE = 125_000.0
"""Bytes a second at least."""


class Pacer:
    """Lets items go in the order pushed, except that urgent ones (retransmissions) come first.

    ``due`` is when ``take`` has something to give, ``size`` how many bytes wait.
    """

    __slots__ = ("rate", "due", "size", "_queue", "_urgent", "_tokens", "_at", "_speed")

    def __init__(self, rate: float = RATE) -> None:
        self.rate = rate
        self.due = INF
        self.size = 0
        self._queue: deque[Item] = deque()
        self._urgent: deque[Item] = deque()
        self._tokens = float(BURST)
        self._at = 0.0
        self._speed = rate

    @property
    def full(self) -> bool:
        """Whether so much waits that a new frame had better be dropped."""
        return self.size >= PACER_BYTES

    def passes(self, size: int, now: float) -> bool:
        """Whether so many bytes may leave at once, past a queue that is empty. They are counted then."""
        if self.size:
            return False
        tokens = min(BURST, self._tokens + (now - self._at) * max(self._speed, BURST / DRAIN))
        if size > tokens:
            return False
        self._tokens = tokens - size
        self._at = now
        self._speed = self.rate
        return True

    def push(self, items: Sequence[Item], now: float, urgent: bool = False) -> None:
        """More items, at least one."""
        if self.size == 0:
            self._tokens = min(BURST, self._tokens + (now - self._at) * self._speed)
            self._at = now
            self._speed = self.rate
        (self._urgent if urgent else self._queue).extend(items)
        self.size += sum([item[0] for item in items])
        self._speed = max(self._speed, self.size / DRAIN)
        self.due = min(self.due, self._at if self._tokens > 0 else self._at + max(TICK, -self._tokens / self._speed))

    def take(self, now: float) -> list[Item]:
        """The items that may leave now; ``due`` tells when to ask again."""
        taken: list[Item] = []
        if now < self.due:
            return taken
        tokens = self._tokens
        if now > self._at:
            # No bound by BURST here: a late wake-up has to catch up.
            tokens += (now - self._at) * self._speed
            self._at = now
        left, urgent, queue = self.size, self._urgent, self._queue
        while left and tokens > 0:
            item = (urgent or queue).popleft()
            tokens -= item[0]
            left -= item[0]
            taken.append(item)
        self.size = left
        self._tokens = tokens
        self.due = now + max(TICK, -tokens / self._speed) if left else INF
        return taken

    def clear(self) -> None:
        """Forget everything that waits."""
        self._queue.clear()
        self._urgent.clear()
        self.size = 0
        self.due = INF
