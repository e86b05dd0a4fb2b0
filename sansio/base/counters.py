"""Counters of what was dropped, and why."""

from __future__ import annotations


class Counters:
    """Counts by short snake_case reason. The set of reasons is fixed by the code, never by the peer."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, reason: str, n: int = 1) -> None:
        """Count ``n`` more of ``reason``."""
        self._counts[reason] = self._counts.get(reason, 0) + n

    def __getitem__(self, reason: str) -> int:
        return self._counts.get(reason, 0)

    def snapshot(self) -> dict[str, int]:
        """A copy, for statistics."""
        return dict(self._counts)
