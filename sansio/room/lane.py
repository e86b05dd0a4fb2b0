"""What waits to be sent on one data channel: ordinary packets in order, urgent ones before them.

SCTP sends a channel's messages in the order in which it got them, and the server drops reliable packets whose numbers
go backwards. So SCTP is given little more than it can send at once, a packet is numbered only when SCTP takes it, and
until then an urgent one can still go first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

URGENT_BUDGET = 1 << 18
"""Bytes of urgent packets that may wait."""


class Lane:
    """Packets, encoded and not numbered, for one of the channels.

    ``budget``: bytes that may wait before the lane says no; it says yes again at a quarter of that. Urgent packets
    have a budget of their own: ``urgent_full``. ``high`` and ``low``: the thresholds of what SCTP is given ahead of its
    sending. ``refused``: somebody was told no.
    """

    __slots__ = (
        "reliable",
        "budget",
        "high",
        "low",
        "bytes",
        "urgent_bytes",
        "full",
        "urgent_full",
        "refused",
        "_urgent",
        "_waiting",
    )

    def __init__(self, *, reliable: bool, budget: int, high: int, low: int) -> None:
        self.reliable = reliable
        self.budget = budget
        self.high = high
        self.low = low
        self.bytes = 0
        self.urgent_bytes = 0
        self.full = False
        self.urgent_full = False
        self.refused = False
        self._urgent: deque[bytes] = deque()
        self._waiting: deque[bytes] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._urgent)

    def put(self, data: bytes, urgent: bool) -> None:
        """Queue one packet."""
        (self._urgent if urgent else self._waiting).append(data)
        self._count(urgent, len(data))

    def _count(self, urgent: bool, size: int) -> None:
        if urgent:
            self.urgent_bytes += size
            self.urgent_full = self.urgent_bytes > URGENT_BUDGET
        else:
            self.bytes += size
            self.full = self.bytes > (self.budget >> 2 if self.full else self.budget)

    @property
    def urgent(self) -> bool:
        """Whether the packet that goes next is an urgent one."""
        return bool(self._urgent)

    def __iter__(self) -> Iterator[bytes]:
        """The packets in the order in which they go."""
        yield from self._urgent
        yield from self._waiting

    def pop(self) -> bytes:
        """The packet that goes next."""
        urgent = bool(self._urgent)
        data = (self._urgent or self._waiting).popleft()
        self._count(urgent, -len(data))
        return data

    def restore(self, packets: Sequence[tuple[bytes, bool]]) -> None:
        """Packets, and which are urgent, that were taken come back, before those of their kind."""
        for data, urgent in reversed(packets):
            (self._urgent if urgent else self._waiting).appendleft(data)
            self._count(urgent, len(data))

    def clear(self) -> None:
        """Nothing waits any more."""
        self._urgent.clear()
        self._waiting.clear()
        self.bytes = self.urgent_bytes = 0
        self.full = self.urgent_full = False
