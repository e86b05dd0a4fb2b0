"""The lifecycle of a session under any triggers: it is always in order, and always ends up somewhere."""

from __future__ import annotations

from fuzz._turn import settle
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.lifecycle.machine import Lifecycle
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.lifecycle.table import IGNORED, TABLE, State, Trigger

TRIGGERS = tuple(Trigger)


def one(data: bytes) -> None:
    life = Lifecycle(ReconnectPolicy(attempts=4), Entropy(data[:4]))
    now, last = 0.0, State.IDLE
    for byte in data[4:200]:
        trigger = TRIGGERS[byte % len(TRIGGERS)]
        now += (byte >> 4) / 4
        before = life.state
        if byte & 8:
            life.set_flowing(byte & 16 != 0, now)
        assert ((before, trigger) in TABLE) != ((before, trigger) in IGNORED)
        assert life.trigger(trigger, now) == ((before, trigger) in TABLE)
        due = settle(life, now)
        while life.outbox:
            entered = life.outbox.popleft()
            assert entered.previous is last
            last = entered.state
        assert last is life.state
        assert due < INF or life.state is not State.WAITING
        assert due == INF or life.reconnecting
        assert life.reconnecting == (life.state in (State.WAITING, State.RESUMING, State.RESTARTING))
