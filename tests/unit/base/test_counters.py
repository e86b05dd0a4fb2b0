"""Counters of dropped packets."""

from __future__ import annotations

from sansio.base.counters import Counters


def test_a_reason_never_counted_is_zero_and_is_not_made_by_asking():
    counters = Counters()
    assert counters["bad_magic"] == 0
    assert counters.snapshot() == {}


def test_counts_add_up_by_reason():
    counters = Counters()
    counters.add("bad_magic")
    counters.add("too_short", 3)
    counters.add("bad_magic", 2)
    assert counters["bad_magic"] == 3
    assert counters.snapshot() == {"bad_magic": 3, "too_short": 3}


def test_a_snapshot_is_a_copy():
    counters = Counters()
    counters.add("a")
    snapshot = counters.snapshot()
    counters.add("a")
    snapshot["b"] = 1
    assert counters.snapshot() == {"a": 2}
