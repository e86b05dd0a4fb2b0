"""RTP timestamps of what we send, and the moments they stand for."""

from __future__ import annotations

PAUSE = 0.2
"""Seconds behind the end of the last frame after which a late frame begins anew instead of continuing."""


class MediaClock:
    """Timestamps that count themselves on, and their mapping to our time for sender reports.

    Timestamps come from the lengths of the frames, never from the time at which they are written, so bursts and late
    writes do not show. Only a frame that comes more than ``PAUSE`` after the one before has ended is moved ahead, by
    whole frames, so that a pause is as long for the listener as it was.
    """

    __slots__ = ("rate", "next", "until", "started")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.next = 0
        """The timestamp behind the last frame."""
        self.until = 0.0
        """When that moment is, in our time."""
        self.started = False

    def count(self, duration: int, now: float) -> tuple[int, bool]:
        """The timestamp of a frame of ``duration`` units, and whether it begins after a pause or at all."""
        begins = not self.started
        late = now - self.until
        if begins:
            self.started = True
            self.until = now
        elif late > 0:
            self.until = now
            if late > PAUSE:
                begins = True
                self.next += round(late * self.rate / duration) * duration
        timestamp = self.next
        self.next = timestamp + duration
        self.until += duration / self.rate
        return timestamp, begins

    def set(self, timestamp: int, duration: int, now: float) -> bool:
        """A frame with a timestamp of its own; whether it does not continue the one before."""
        begins = not self.started or timestamp != self.next
        if begins or now > self.until:
            self.until = now
        self.started = True
        self.next = timestamp + duration
        self.until += duration / self.rate
        return begins

    def at(self, now: float) -> int:
        """The timestamp of a moment."""
        return self.next + round((now - self.until) * self.rate)
