"""A small fixed table of deadlines, indexed by small integers."""

from __future__ import annotations

from .contract import INF


class TimerTable:
    """``n`` timers, each armed at an absolute time or stopped. For up to about ten timers a linear minimum is best."""

    __slots__ = ("_at",)

    def __init__(self, n: int) -> None:
        self._at = [INF] * n

    def arm(self, index: int, at: float) -> None:
        """Set a timer to an absolute time, whatever it was before."""
        self._at[index] = at

    def arm_earlier(self, index: int, at: float) -> None:
        """Set a timer unless it is armed for an earlier time."""
        if at < self._at[index]:
            self._at[index] = at

    def stop(self, index: int) -> None:
        """Disarm a timer."""
        self._at[index] = INF

    def stop_all(self) -> None:
        """Disarm every timer."""
        self._at = [INF] * len(self._at)

    def armed(self, index: int) -> bool:
        """Whether a timer is armed."""
        return self._at[index] != INF

    def at(self, index: int) -> float:
        """When a timer is due; INF when it is stopped."""
        return self._at[index]

    def due(self, index: int, now: float) -> bool:
        """True once when the timer's time has come; it is stopped by asking."""
        if self._at[index] <= now:
            self._at[index] = INF
            return True
        return False

    def next(self) -> float:
        """The earliest deadline, or INF."""
        return min(self._at)
