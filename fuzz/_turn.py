"""What follows each input to a machine: the call of ``advance``, held to the contract."""

from __future__ import annotations

from collections import deque
from typing import Any

from sansio.base.contract import INF

QUEUES = ("transmits", "datagrams", "packets", "rtp", "rtcp", "outbox")


def waiting(machine: Any) -> int:
    """How much a machine has put out that its owner has not taken yet."""
    queues = [getattr(machine, name, None) for name in QUEUES]
    return sum([len(queue) for queue in queues if isinstance(queue, deque)])


def settle(machine: Any, now: float, most: float = INF) -> float:
    """The next deadline: later than ``now``, and when asked again the same, with nothing more done.

    ``most``: how much the machine may have put out by then.
    """
    due: float = machine.advance(now)
    assert due > now
    before = waiting(machine)
    assert machine.advance(now) == due
    assert waiting(machine) == before
    assert before <= most, "too much in answer to one input"
    return due
