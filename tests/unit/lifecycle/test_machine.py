"""The lifecycle machine: attempts, escalation, giving up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.lifecycle.machine import Entered, Lifecycle
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.lifecycle.table import Mode, State, Trigger


def connected(policy: ReconnectPolicy | None = None) -> Lifecycle:
    life = Lifecycle(policy or ReconnectPolicy(), Entropy(b"seed"))
    assert life.trigger(Trigger.START, 0.0)
    assert life.trigger(Trigger.UP, 1.0)
    assert life.state is State.CONNECTED
    life.outbox.clear()
    return life


def test_a_lost_link_is_resumed_at_once() -> None:
    life = connected()
    life.trigger(Trigger.SIGNAL_LOST, 2.0)
    assert life.reconnecting
    assert life.advance(2.0) == INF
    assert list(life.outbox) == [
        Entered(State.WAITING, State.CONNECTED, Trigger.SIGNAL_LOST),
        Entered(State.RESUMING, State.WAITING, Trigger.DUE),
    ]
    life.trigger(Trigger.UP, 2.5)
    assert life.state is State.CONNECTED
    assert not life.reconnecting
    assert life.attempt == 0


def test_a_server_that_cannot_be_reached_keeps_the_resume_and_costs_an_attempt() -> None:
    life = connected()
    life.trigger(Trigger.SIGNAL_LOST, 2.0)
    life.advance(2.0)
    life.trigger(Trigger.UNREACHABLE, 3.0)
    due = life.advance(3.0)
    assert 3.0 < due < 3.3
    assert (life.state, life.mode, life.attempt) == (State.WAITING, Mode.RESUME, 2)
    assert life.advance(due) == INF
    assert life.state is State.RESUMING


def test_a_resume_that_went_wrong_makes_all_further_attempts_restarts() -> None:
    life = connected()
    life.trigger(Trigger.SIGNAL_LOST, 2.0)
    life.advance(2.0)
    life.trigger(Trigger.FAILED, 3.0)
    life.advance(4.0)
    assert life.state is State.RESTARTING
    life.trigger(Trigger.UNREACHABLE, 5.0)
    life.advance(20.0)
    assert life.state is State.RESTARTING
    life.trigger(Trigger.UP, 21.0)
    assert life.mode is Mode.RESUME
    life.trigger(Trigger.MEDIA_LOST, 30.0)
    life.advance(30.0)
    assert life.state is State.RESUMING


def test_the_server_can_ask_for_a_restart() -> None:
    life = connected()
    life.trigger(Trigger.LEAVE_RESTART, 2.0)
    life.advance(2.0)
    assert life.state is State.RESTARTING


def test_it_gives_up_when_the_policy_does() -> None:
    life = connected(ReconnectPolicy(attempts=1))
    life.trigger(Trigger.SIGNAL_LOST, 2.0)
    life.advance(2.0)
    life.trigger(Trigger.UNREACHABLE, 3.0)
    assert life.state is State.CLOSED
    assert life.outbox[-1] == Entered(State.CLOSED, State.WAITING, Trigger.EXHAUSTED)
    assert life.advance(4.0) == INF
    assert not life.trigger(Trigger.UP, 5.0)


def test_a_changed_network_makes_the_waiting_attempt_at_once() -> None:
    life = connected()
    life.hurry()
    assert life.advance(1.5) == INF
    life.trigger(Trigger.SIGNAL_LOST, 2.0)
    life.advance(2.0)
    life.trigger(Trigger.UNREACHABLE, 2.0)
    assert life.advance(2.0) > 2.0
    life.hurry()
    life.advance(2.0)
    assert life.state is State.RESUMING


@given(st.lists(st.tuples(st.sampled_from(Trigger), st.floats(0, 10)), max_size=40), st.binary(max_size=8))
def test_any_triggers_leave_it_in_order(steps: list[tuple[Trigger, float]], seed: bytes) -> None:
    life = Lifecycle(ReconnectPolicy(attempts=3), Entropy(seed))
    now, last = 0.0, State.IDLE
    for trigger, wait in steps:
        now += wait
        before = life.state
        changed = life.trigger(trigger, now)
        assert changed or life.state is before
        due = life.advance(now)
        assert due > now
        assert life.advance(now) == due
        while life.outbox:
            entered = life.outbox.popleft()
            assert entered.previous is last
            last = entered.state
        assert last is life.state
        assert (due < INF) == (life.state is State.WAITING)
