"""Virtual time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio.testing


class VirtualClock:
    """``clock`` jumps over every wait; it stands while a block of ``standing`` runs."""

    def __init__(self) -> None:
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        self._blocks = 0

    @contextmanager
    def standing(self) -> Iterator[None]:
        self._blocks += 1
        self.clock.autojump_threshold = math.inf
        try:
            yield
        finally:
            self._blocks -= 1
            if not self._blocks:
                self.clock.autojump_threshold = 0
