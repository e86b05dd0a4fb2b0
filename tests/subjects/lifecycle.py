"""The lifecycle of a session."""

from __future__ import annotations

from sansio.base.entropy import Entropy
from sansio.lifecycle.machine import Lifecycle
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.lifecycle.table import State, Trigger
from sansio.testing.conformance import Script, Subject, call


def script(entropy: Entropy) -> Script:
    turn = yield call("trigger", Trigger.START)
    while True:
        del turn
        turn = yield call("trigger", entropy.choice(list(Trigger)[1:-3])) if entropy.below(3) else None


SUBJECTS = {
    "lifecycle.machine.Lifecycle": [
        Subject(
            make=lambda entropy: Lifecycle(ReconnectPolicy(), entropy),
            script=script,
            drains=("outbox",),
            closed=lambda machine: machine.state is State.CLOSED,
        )
    ],
}
