"""The pacer: bursts pass, more is spread, nothing waits long, urgent items come first, nothing is lost."""

from __future__ import annotations

import itertools

import pytest

from sansio.base.contract import INF
from sansio.base.limits import PACER_BYTES
from sansio.rtp.pacer import BURST, DRAIN, TICK, Pacer


def push(pacer, name, size, now, urgent=False):
    pacer.push([(size, name)], now, urgent)


def drain(pacer, until=INF):
    """What leaves, and when."""
    out = []
    while pacer.due <= until and pacer.due < INF:
        now = pacer.due
        out += [(now, name) for _, name in pacer.take(now)]
        assert pacer.due > now
    return out


def test_a_small_frame_leaves_at_once():
    pacer = Pacer()
    for item in range(3):
        push(pacer, item, 1000, 5.0)
    assert pacer.due == 5.0
    assert pacer.take(4.9) == []
    assert drain(pacer) == [(5.0, 0), (5.0, 1), (5.0, 2)]
    assert pacer.size == 0
    assert pacer.take(6.0) == []


def test_a_large_frame_is_spread():
    pacer = Pacer()
    for item in range(100):
        push(pacer, item, 1200, 1.0)
    out = drain(pacer)
    assert [item for _, item in out] == list(range(100))
    times = sorted({when for when, _ in out})
    assert len([when for when, _ in out if when == 1.0]) == BURST // 1200
    assert all(after - before >= TICK * 0.999 for before, after in itertools.pairwise(times))
    assert DRAIN * 0.5 < times[-1] - 1.0 <= DRAIN + 2 * TICK


def test_a_steady_stream_is_not_held_up():
    pacer = Pacer()
    for frame in range(100):
        now = frame * 0.04
        for item in range(10):
            push(pacer, item, 1200, now)
        out = drain(pacer)
        assert len(out) == 10
        assert out[-1][0] - now <= DRAIN + TICK


def test_nothing_waits_much_longer_than_the_drain_whatever_the_rate():
    pacer = Pacer(rate=1000.0)
    waits = []
    for frame in range(50):
        now = frame * 0.04
        for _ in range(200):
            push(pacer, now, 1200, now)
        waits += [when - pushed for when, pushed in drain(pacer, now + 0.04)]
    assert max(waits) < 2 * DRAIN


def test_urgent_items_come_first():
    pacer = Pacer()
    for item in range(30):
        push(pacer, item, 1200, 0.0)
    assert len(pacer.take(0.0)) == 10
    push(pacer, "again", 1200, 0.001, urgent=True)
    assert drain(pacer)[0][1] == "again"


def test_a_debt_is_paid_before_the_next_frame():
    pacer = Pacer(rate=100_000.0)
    push(pacer, "large", 10 * BURST, 0.0)
    assert pacer.take(0.0) == [(10 * BURST, "large")]
    push(pacer, "next", 100, 0.0)
    assert pacer.due > 0.0
    (late,) = drain(pacer)
    assert late[1] == "next"
    assert late[0] == pacer._at


def test_a_debt_is_paid_while_nothing_waits():
    pacer = Pacer(rate=100_000.0)
    push(pacer, "large", 10 * BURST, 10.0)
    assert pacer.take(10.0) == [(10 * BURST, "large")]
    push(pacer, "next", 100, 10.01)  # until now at the speed at which the large one was to drain
    debt = 9 * BURST - 0.01 * 10 * BURST / DRAIN
    assert pacer.due == pytest.approx(10.01 + debt / 100_000)
    assert len(drain(pacer)) == 1
    push(pacer, "last", 100, 20.0)
    assert pacer.due == 20.0


def test_full_and_cleared():
    pacer = Pacer()
    assert not pacer.full
    while not pacer.full:
        push(pacer, "x", 100_000, 0.0)
    assert pacer.size >= PACER_BYTES
    push(pacer, "y", 1, 0.0, urgent=True)
    pacer.clear()
    assert pacer.size == 0
    assert pacer.due == INF
    assert pacer.take(1.0) == []
    push(pacer, "z", 1, 2.0)
    assert pacer.take(2.0) == [(1, "z")]


def test_what_is_small_passes_an_empty_queue():
    pacer = Pacer()
    assert not pacer.passes(BURST + 1, 1.0)
    assert pacer.passes(BURST, 1.0)
    assert not pacer.passes(1000, 1.0)
    assert pacer.passes(BURST, 1.0 + DRAIN)  # a burst in the time in which a queue drains
    assert not pacer.passes(BURST, 1.0 + 1.5 * DRAIN)
    push(pacer, 0, 1000, 1.0 + 1.5 * DRAIN)
    assert not pacer.passes(1, 9.0)  # after what waits
    assert [name for _, name in drain(pacer)] == [0]
    assert pacer.passes(BURST, 9.0)
