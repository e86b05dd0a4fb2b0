"""What the garbage collector may call: it comes at any time, in any thread, also when the run of Trio is over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import trio


def run_soon(token: trio.lowlevel.TrioToken, fn: Callable[..., object], *args: object) -> None:
    """Call ``fn(*args)`` in the run of ``token``, in its turn; not at all if that run has ended."""
    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(fn, *args)
