"""The mapping from the machine's monotonic time to wall-clock time, fixed once per session."""

from __future__ import annotations

from attrs import frozen

NTP_EPOCH = 2208988800
"""Seconds from 1900 to 1970."""


@frozen
class WallClock:
    """Unix time at one moment of the driver's clock; wall-clock jumps do not exist inside a session."""

    unix: float = 0.0
    now: float = 0.0

    def unix_at(self, now: float) -> float:
        """Unix time (seconds) of a moment."""
        return self.unix + (now - self.now)

    def ntp_at(self, now: float) -> int:
        """64-bit NTP time (RFC 3550 section 4) of a moment."""
        seconds = self.unix_at(now) + NTP_EPOCH
        whole = int(seconds)
        return (whole & 0xFFFFFFFF) << 32 | int((seconds - whole) * 4294967296)
