"""Checks of the peer that come before its credentials: they are answered at once, and what they say is kept."""

from __future__ import annotations

from ..base.contract import Address
from ..base.limits import MAX_EARLY_CHECKS
from .binding import PeerCheck


class EarlyChecks:
    """What each of at most MAX_EARLY_CHECKS sources has said, together where it has said it in several checks."""

    __slots__ = ("_checks",)

    def __init__(self) -> None:
        self._checks: dict[tuple[int, Address], PeerCheck] = {}

    def __len__(self) -> int:
        return len(self._checks)

    def add(self, port: int, src: Address, check: PeerCheck) -> bool:
        """Keep a check; False when there is no room for its source."""
        known = self._checks.get((port, src))
        if known is None and len(self._checks) >= MAX_EARLY_CHECKS:
            return False
        if known is not None and known.ufrag == check.ufrag:
            check.use_candidate |= known.use_candidate
            check.nomination = max(check.nomination, known.nomination)
        self._checks[port, src] = check
        return True

    def take(self, ufrag: str) -> list[tuple[int, Address, PeerCheck]]:
        """The credentials are here: the checks made with them. All are forgotten."""
        found = [(port, src, check) for (port, src), check in self._checks.items() if check.ufrag == ufrag]
        self._checks.clear()
        return found

    def remove_port(self, port: int) -> None:
        """A port of ours is gone."""
        for key in [key for key in self._checks if key[0] == port]:
            del self._checks[key]

    def clear(self) -> None:
        """Forget every check."""
        self._checks.clear()
