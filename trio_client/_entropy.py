"""Where the core's randomness and wall clock come from."""

from __future__ import annotations

import os
import time

import trio

from ._core import Entropy, WallClock


def system_entropy() -> Entropy:
    """A stream seeded by the operating system."""
    return Entropy(os.urandom(32))


def system_wall() -> WallClock:
    """The wall clock of this moment, tied to Trio's clock."""
    return WallClock(unix=time.time(), now=trio.current_time())
