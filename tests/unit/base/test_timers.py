"""The table of deadlines."""

from __future__ import annotations

from sansio.base.contract import INF
from sansio.base.timers import TimerTable


def test_a_new_table_has_no_deadline():
    timers = TimerTable(3)
    assert timers.next() == INF
    assert [timers.armed(i) for i in range(3)] == [False] * 3
    assert timers.at(1) == INF
    assert not timers.due(1, 1e9)


def test_next_is_the_earliest():
    timers = TimerTable(3)
    timers.arm(0, 5.0)
    timers.arm(2, 3.0)
    assert timers.next() == 3.0
    timers.stop(2)
    assert timers.next() == 5.0
    timers.arm(0, 9.0)
    assert (timers.next(), timers.at(0), timers.armed(0)) == (9.0, 9.0, True)
    timers.arm(1, 1.0)
    timers.stop_all()
    assert timers.next() == INF


def test_arm_earlier_only_moves_towards_now():
    timers = TimerTable(1)
    timers.arm_earlier(0, 5.0)
    assert timers.at(0) == 5.0
    timers.arm_earlier(0, 7.0)
    assert timers.at(0) == 5.0
    timers.arm_earlier(0, 2.0)
    assert timers.at(0) == 2.0


def test_due_is_true_once_at_the_very_moment():
    timers = TimerTable(2)
    timers.arm(0, 5.0)
    assert not timers.due(0, 4.999)
    assert timers.armed(0)
    assert timers.due(0, 5.0)
    assert not timers.due(0, 5.0)
    assert not timers.armed(0)
    assert timers.next() == INF
