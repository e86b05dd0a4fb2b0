"""Schedules of faults from bytes (``sansio.testing.script``): what must hold of a session holds, and it plays back.

Alice's engine is recorded; afterwards the recording, played to a fresh engine, must put out the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from sansio.room.engine import RoomEngine
from sansio.testing.record import Recorder, replay
from sansio.testing.script import SECONDS, Script
from tests.sim.reconnect import Drama

LONGEST = SECONDS.index(30.0)
"""Of faults: longer ones end sessions, which takes minutes of a small network's traffic."""
STEPS = 8


class Recorded(Drama):
    """A drama in which Alice is recorded."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.lines: list[str] = []

    def maker(self, name: str) -> Callable[..., RoomEngine]:
        return Recorder(self.lines.append).engine if name == "alice" else super().maker(name)


def one(data: bytes) -> None:
    script = Script.decode(data)
    steps = [evolve(step, long=min(step.long, LONGEST)) for step in script.steps[:STEPS]]
    drama = Recorded(evolve(script, steps=tuple(steps)))
    with drama.world:
        drama.run_all()
    again = replay(drama.lines).engine
    assert again.closed
    assert again.diagnostics() == drama.people["alice"].engine.diagnostics()
