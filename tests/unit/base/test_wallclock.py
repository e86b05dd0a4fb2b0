"""Wall-clock and NTP time of a moment."""

from __future__ import annotations

import pytest

from sansio.base.wallclock import NTP_EPOCH, WallClock


def test_unix_time_follows_the_machine_clock():
    wall = WallClock(unix=1_700_000_000.0, now=12.5)
    assert wall.unix_at(12.5) == 1_700_000_000.0
    assert wall.unix_at(13.75) == 1_700_000_001.25
    assert wall.unix_at(2.5) == 1_699_999_990.0
    assert WallClock().unix_at(3.0) == 3.0


def test_the_ntp_epoch_is_seventy_years_with_seventeen_leap_days():
    assert NTP_EPOCH == (70 * 365 + 17) * 86400


@pytest.mark.parametrize(
    ("unix", "seconds", "fraction"),
    [
        (0.0, 0x83AA7E80, 0),
        (0.5, 0x83AA7E80, 0x80000000),
        (0.25, 0x83AA7E80, 0x40000000),
        (1_700_000_000.75, (1_700_000_000 + NTP_EPOCH) & 0xFFFFFFFF, 0xC0000000),
        (2_085_978_496.0, 0, 0),  # 7 February 2036: the era rolls over
    ],
)
def test_ntp_time(unix, seconds, fraction):
    ntp = WallClock(unix=unix, now=100.0).ntp_at(100.0)
    assert ntp >> 32 == seconds
    assert ntp & 0xFFFFFFFF == fraction
