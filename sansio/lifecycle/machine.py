"""The lifecycle of one session: runs the table, counts attempts, and says when to make the next one."""

from __future__ import annotations

from collections import deque

from attrs import frozen

from ..base.contract import INF, NOW
from ..base.entropy import Entropy
from .policy import ReconnectPolicy
from .table import TABLE, Mode, State, Trigger


@frozen
class Entered:
    """The session has entered ``state`` from ``previous`` by ``trigger``. The owner does what belongs to it."""

    state: State
    previous: State
    trigger: Trigger


class Lifecycle:
    """See ``table``. ``mode`` is what the next attempt will be, ``attempt`` how many were made since the last success.

    Media that is lost while a resume waits for its turn makes the resume restart ICE; it does not make it a restart.
    A resume that found the server and went wrong makes every further attempt a restart, until one succeeds; the first
    of them is made at once, since the server can be reached. The wait for the next attempt begins with the last one, so
    what an attempt has waited for an answer in vain is part of it. The owner tells with ``set_flowing`` whether media
    flows while the connection is being mended.
    """

    def __init__(self, policy: ReconnectPolicy, entropy: Entropy) -> None:
        self.outbox: deque[Entered] = deque()
        self.state = State.IDLE
        self.mode = Mode.RESUME
        self.attempt = 0
        self._policy = policy
        self._entropy = entropy
        self._flowing = True
        self._due = INF
        self._begun = NOW  # when the last attempt began
        self._ends_at = INF
        self._now = NOW

    @property
    def reconnecting(self) -> bool:
        """Whether a lost connection is being mended."""
        return self.state in (State.WAITING, State.RESUMING, State.RESTARTING)

    def trigger(self, trigger: Trigger, now: float) -> bool:
        """Something has happened. Whether it changed the state."""
        now = self._now = max(now, self._now)
        found = TABLE.get((self.state, trigger))
        if found is None:
            return False
        state, mode = found
        if mode is not Mode.KEEP and not (self.mode is Mode.RESTART and state is State.WAITING):
            if self.state is State.RESUMING and mode is Mode.RESTART:
                self.attempt = 0
            self.mode = mode
        if trigger is Trigger.DUE:
            self._begun = now
            if self.mode is Mode.RESTART:
                state = State.RESTARTING
        previous, self.state = self.state, state
        self._due = INF
        if state is State.CONNECTED:
            self.attempt = 0
            self._flowing, self._ends_at = True, INF
        self.outbox.append(Entered(state, previous, trigger))
        if previous is State.CONNECTED and not self._flowing:
            self._ends_at = now + self._policy.budget
        if state is State.WAITING:
            self._wait(now if previous is State.CONNECTED else self._begun, now)
        return True

    def _wait(self, since: float, now: float) -> None:
        delay = self._policy.delay(self.attempt, self._flowing, self._entropy)
        self.attempt += 1
        if delay is None:
            self.trigger(Trigger.EXHAUSTED, now)
        else:
            self._due = since + delay

    def set_flowing(self, flowing: bool, now: float) -> None:
        """Whether media flows although the connection is lost. While it does not, the policy's budget runs out."""
        now = self._now = max(now, self._now)
        if flowing:
            self._ends_at = INF
        elif self._ends_at == INF:
            self._ends_at = now + self._policy.budget
        self._flowing = flowing

    def hurry(self) -> None:
        """The network has changed: make the waiting attempt now."""
        if self.state is State.WAITING:
            self._due = NOW

    def advance(self, now: float) -> float:
        """Begin the attempt that is due, or give up; the next deadline."""
        now = self._now = max(now, self._now)
        if not self.reconnecting:
            return INF
        if self._ends_at <= now:
            self.trigger(Trigger.EXHAUSTED, now)
            return INF
        if self._due <= now:
            self.trigger(Trigger.DUE, now)
        return min(self._due, self._ends_at)
