"""Cancel at every checkpoint: run a scenario again and again, each time cancelling one step later.

    def test_something():
        async def scenario(cut):
            async with world() as w:            # set up, not cancelled
                await cut(the_coroutine, w)     # cancelled when it is suspended for the k-th time
                ...                             # check what must hold, whether it was cancelled or not
        sweep(scenario)

After each run no task and no socket may be left.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from .running import run, run_real

FINE = False
"""Whether sweeps take their ``fine`` step; tests/sim/test_sweeps.py has those that take long do it."""


class Cut(trio.abc.Instrument):
    """Runs one coroutine and cancels it when its task is suspended for the ``at``-th time.

    With ``everybody`` the steps of all tasks are counted, so that what a task waits for is cut into as well.
    ``counting``: whether steps count; a scenario may leave out those of a long beginning that others sweep.
    """

    def __init__(self, at: int, *, everybody: bool = False) -> None:
        self.at = at
        self.everybody = everybody
        self.counting = True
        self.count = 0
        self.cancelled = False
        self._task: trio.lowlevel.Task | None = None
        self._scope = trio.CancelScope()

    async def __call__(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        self._task = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(self)
        try:
            with self._scope:
                await fn(*args)
        finally:
            trio.lowlevel.remove_instrument(self)
        self.cancelled = self._scope.cancelled_caught

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.counting and (self.everybody or task is self._task):
            self.count += 1
            if self.count == self.at:
                self._scope.cancel()


def sweep(
    scenario: Callable[[Cut], Awaitable[None]],
    *,
    everybody: bool = False,
    virtual: bool = True,
    step: int = 1,
    fine: int = 0,
    limit: int = 100_000,
) -> int:
    """Run ``scenario`` with a cut at the 1st, 2nd ... checkpoint until it is not reached: how many there were.

    ``everybody``: count the steps of all tasks. ``virtual``: in virtual time. ``step``: try each ``step``-th only;
    ``fine``: a shorter step for when there is time.
    """
    if FINE and fine:
        step = fine
    for at in range(1, limit, step):
        cut = Cut(at, everybody=everybody)
        before = sockets()
        (run if virtual else run_real)(partial(_checked, scenario, cut))
        assert sockets() == before, f"sockets are left after a cut at checkpoint {at}"
        if cut.count < at:
            return at - 1
    raise AssertionError(f"not through after {limit} checkpoints")


async def _checked(scenario: Callable[[Cut], Awaitable[None]], cut: Cut) -> None:
    before = set(tasks())
    await scenario(cut)
    left = [task for task in tasks() if task not in before]
    assert not left, f"tasks are left after a cut at checkpoint {cut.at}: {left}"


def tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task there is."""
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting += nursery.child_tasks


def sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing itself
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count
