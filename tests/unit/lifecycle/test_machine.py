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
    life.trigger(Trigger.UNREACHABLE, 2.0)
    due = life.advance(2.0)
    assert 2.0 < due < 2.1
    assert (life.state, life.mode, life.attempt) == (State.WAITING, Mode.RESUME, 2)
    assert life.advance(due) == INF
    assert life.state is State.RESUMING


def test_an_attempt_that_was_not_answered_was_a_wait_itself() -> None:
    life = connected()
    life.trigger(Trigger.SIGNAL_LOST, 2.0)
    now = 2.0
    for _ in range(20):
        life.advance(now)
        assert life.state is State.RESUMING
        now += 2.5  # longer than any wait
        life.trigger(Trigger.UNREACHABLE, now)
    life.advance(now)
    life.trigger(Trigger.UNREACHABLE, now + 0.1)
    due = life.advance(now + 0.1)
    assert now + 0.1 < due < now + 2.0, "of which 0.1 s have passed"
    life.advance(due)
    life.trigger(Trigger.UP, due)
    life.trigger(Trigger.SIGNAL_LOST, due + 100.0)
    life.advance(due + 100.0)
    assert life.state is State.RESUMING


def test_a_policy_may_let_the_first_attempt_wait() -> None:
    class Slow(ReconnectPolicy):
        def delay(self, attempt: int, flowing: bool, entropy: Entropy) -> float | None:
            return 5.0

    life = connected(Slow())
    for at in (2.0, 50.0):
        life.trigger(Trigger.SIGNAL_LOST, at)
        assert life.advance(at) == at + 5.0
        life.advance(at + 5.0)
        life.trigger(Trigger.UP, at + 6.0)


def test_a_resume_that_went_wrong_makes_all_further_attempts_restarts() -> None:
    life = connected()
    life.trigger(Trigger.SIGNAL_LOST, 2.0)
    life.advance(2.0)
    life.trigger(Trigger.UNREACHABLE, 2.5)
    life.advance(2.9)
    assert life.state is State.RESUMING
    life.trigger(Trigger.FAILED, 3.0)
    life.advance(3.0)
    assert life.state is State.RESTARTING  # at once
    life.trigger(Trigger.UNREACHABLE, 5.0)
    assert life.advance(5.0) > 5.0
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


def test_without_media_its_time_is_bounded() -> None:
    life = connected(ReconnectPolicy(budget=20.0, flowing_ceiling=0.5))
    life.trigger(Trigger.SIGNAL_LOST, 100.0)
    life.advance(100.0)
    now, attempts = 100.0, 0
    while now < 200.0:  # while media flows there is no end
        life.trigger(Trigger.UNREACHABLE, now)
        now, attempts = life.advance(now), attempts + 1
        assert life.advance(now) == INF
        assert life.state is State.RESUMING
    assert attempts > 150
    life.set_flowing(False, now)
    assert life.advance(now) == now + 20
    life.set_flowing(True, now + 1)
    assert life.advance(now + 1) == INF
    life.set_flowing(False, now + 2)
    life.set_flowing(False, now + 3)
    life.trigger(Trigger.UNREACHABLE, now + 3)
    due = life.advance(now + 3)
    assert now + 3 < due < now + 10
    assert life.advance(due) == now + 22
    assert life.state is State.RESUMING
    assert life.advance(now + 22) == INF  # in the middle of an attempt
    assert life.state is State.CLOSED
    assert life.outbox[-1] == Entered(State.CLOSED, State.RESUMING, Trigger.EXHAUSTED)


def test_the_time_begins_with_the_loss() -> None:
    life = connected(ReconnectPolicy(budget=20.0))
    life.set_flowing(False, 2.0)  # nothing is lost yet
    assert life.advance(100.0) == INF
    life.trigger(Trigger.MEDIA_LOST, 100.0)
    assert life.advance(100.0) == 120.0


def test_a_success_gives_the_whole_time_back() -> None:
    life = connected(ReconnectPolicy(budget=20.0))
    life.trigger(Trigger.MEDIA_LOST, 2.0)
    life.set_flowing(False, 2.0)
    assert life.advance(2.0) == 22.0
    life.trigger(Trigger.UP, 10.0)
    assert life.advance(10.0) == INF
    life.trigger(Trigger.MEDIA_LOST, 21.0)
    life.set_flowing(False, 21.0)
    assert life.advance(21.0) == 41.0


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


@given(
    st.lists(st.tuples(st.sampled_from(Trigger), st.floats(0, 10), st.booleans()), max_size=40), st.binary(max_size=8)
)
def test_any_triggers_leave_it_in_order(steps: list[tuple[Trigger, float, bool]], seed: bytes) -> None:
    life = Lifecycle(ReconnectPolicy(attempts=3, budget=15.0), Entropy(seed))
    now, last, flowing = 0.0, State.IDLE, True
    for trigger, wait, flows in steps:
        now += wait
        before = life.state
        if life.reconnecting:
            flowing = flows
            life.set_flowing(flows, now)
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
        flowing = flowing or not life.reconnecting
        assert (due < INF) == (life.state is State.WAITING or not flowing)
