"""The table is complete: every pair of state and trigger leads somewhere or is ignored on purpose."""

from __future__ import annotations

import itertools

from sansio.lifecycle.table import IGNORED, TABLE, Mode, State, Trigger


def test_every_pair_is_in_exactly_one_of_both_tables() -> None:
    for pair in itertools.product(State, Trigger):
        assert (pair in TABLE) != (pair in IGNORED), pair


def test_the_user_can_leave_from_every_state() -> None:
    for state in State:
        if state is not State.CLOSED:
            assert TABLE[state, Trigger.STOP] == (State.CLOSED, Mode.KEEP)


def test_nothing_leads_out_of_the_end() -> None:
    assert not [pair for pair in TABLE if pair[0] is State.CLOSED]


def test_every_state_can_be_reached() -> None:
    reached = {State.IDLE, State.RESTARTING}  # RESTARTING by mode, see test_machine
    for _ in State:
        reached |= {TABLE[pair][0] for pair in TABLE if pair[0] in reached}
    assert reached == set(State)
