"""Timestamps of what is sent: exact rows for bursts, late writes, pauses and timestamps of the writer's own."""

from __future__ import annotations

import pytest

from sansio.rtp.clock import PAUSE, MediaClock


def count(clock, *times, duration=960):
    return [clock.count(duration, now) for now in times]


def test_steady_frames():
    clock = MediaClock(48000)
    assert count(clock, 5.0, 5.02, 5.04) == [(0, True), (960, False), (1920, False)]
    assert clock.at(5.04) == 1920
    assert clock.at(5.06) == clock.next == 2880


def test_a_burst_goes_on_where_it_ends():
    clock = MediaClock(48000)
    assert count(clock, 0.0, 0.0, 0.0, 0.0, 0.08) == [(960 * n, n == 0) for n in range(5)]
    assert clock.at(0.08) == 4 * 960


def test_late_frames_do_not_show():
    clock = MediaClock(48000)
    assert count(clock, 0.0, 0.1, 0.3, 0.32) == [(960 * n, n == 0) for n in range(4)]


def test_a_pause_is_as_long_for_the_listener():
    clock = MediaClock(48000)
    count(clock, 0.0, 0.02)  # ends at 0.04
    late = 0.04 + PAUSE
    assert count(clock, late + 0.005) == [(1920 + 10 * 960, True)]  # by whole frames
    assert count(clock, late + 0.025) == [(1920 + 11 * 960, False)]
    assert clock.at(late + 0.045) == clock.next


def test_a_clock_that_is_a_little_slow_never_jumps():
    clock = MediaClock(48000)
    for number in range(50_000):
        assert clock.count(960, number * 0.020002) == (number * 960, number == 0)


def test_timestamps_of_the_writers_own():
    clock = MediaClock(48000)
    assert clock.set(1000, 960, 0.0)
    assert not clock.set(1960, 960, 0.0)
    assert not clock.set(2920, 960, 0.01)
    assert clock.until == pytest.approx(0.06)
    assert clock.set(10_000, 960, 0.02)
    assert clock.until == pytest.approx(0.04)
    assert not clock.set(10_960, 960, 0.1)
    assert clock.until == pytest.approx(0.12)
    assert clock.count(960, 0.12) == (11_920, False)


def test_video_without_durations():
    clock = MediaClock(90000)
    clock.set(0, 0, 1.0)
    assert clock.at(1.04) == 3600
    clock.set(3600, 0, 1.04)
    assert clock.at(2.04) == 93600
