"""Where data of the peer may come from."""

from __future__ import annotations

from ..base.contract import Address
from ..base.counters import Counters
from ..base.limits import MAX_SOURCES


class Sources:
    """The peer's transport addresses that a check has proved, each with our port it came to; at most MAX_SOURCES.

    Those of a generation live through one restart, since packets of before it are still on their way. ``keep``, which
    some methods take, is the one in use: it is never let go.
    """

    __slots__ = ("known", "_generation", "_counters")

    def __init__(self, counters: Counters) -> None:
        self.known: dict[tuple[int, Address], int] = {}
        """The last generation in which each was proved."""
        self._generation = 0
        self._counters = counters

    def accept(self, port: int, addr: Address, keep: tuple[int, Address | None]) -> None:
        """A check was answered from there, or we answered one; the oldest gives way to it when there are too many."""
        key = port, addr
        if key not in self.known and len(self.known) >= MAX_SOURCES:
            del self.known[next(other for other in self.known if other != keep)]
            self._counters.add("source_limit")
        self.known[key] = self._generation

    def begin_generation(self, keep: tuple[int, Address | None]) -> None:
        """An ICE restart: what was last proved before the present generation is forgotten."""
        for key in [key for key, generation in self.known.items() if generation < self._generation and key != keep]:
            del self.known[key]
        self._generation += 1

    def remove_port(self, port: int) -> None:
        """A port of ours is gone."""
        for key in [key for key in self.known if key[0] == port]:
            del self.known[key]

    def clear(self) -> None:
        """Accept nothing any more."""
        self.known.clear()
