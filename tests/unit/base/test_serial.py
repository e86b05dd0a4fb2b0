"""Serial number arithmetic, around the wrap above all."""

from __future__ import annotations

import pytest

from sansio.base.serial import Unwrapper, gt16, gt32


@pytest.mark.parametrize(("gt", "bits"), [(gt16, 16), (gt32, 32)])
def test_serial_order(gt, bits):
    size, half = 1 << bits, 1 << bits - 1
    for start in (0, 1, half - 1, half, half + 1, size - 2, size - 1):
        assert not gt(start, start)
        for step in (1, 2, half - 1):
            later = (start + step) % size
            assert gt(later, start)
            assert not gt(start, later)
        # RFC 1982 leaves exactly half the range undefined: neither is later here
        opposite = (start + half) % size
        assert not gt(opposite, start)
        assert not gt(start, opposite)


def test_unwrapper_counts_on_over_the_wrap():
    unwrap = Unwrapper(16)
    assert [unwrap(n % 65536) for n in range(65000, 65000 + 200_000, 1000)] == list(range(65000, 265_000, 1000))


def test_unwrapper_tolerates_reordering_on_both_sides_of_the_wrap():
    unwrap = Unwrapper(16)
    assert unwrap(65534) == 65534
    assert unwrap(1) == 65537
    assert unwrap(65535) == 65535
    assert unwrap(0) == 65536
    assert unwrap(2) == 65538
    assert unwrap(2) == 65538


def test_unwrapper_takes_a_jump_of_half_the_range_as_a_step_back():
    unwrap = Unwrapper(16)
    unwrap(40_000)
    assert unwrap(40_000 + 0x7FFF - 65536) == 40_000 + 0x7FFF
    again = Unwrapper(16)
    again(40_000)
    assert again(40_000 - 0x8000) == 40_000 - 0x8000


def test_unwrapper_may_give_numbers_before_its_first_one():
    unwrap = Unwrapper(16)
    assert unwrap(0) == 0
    assert unwrap(65535) == -1
    assert unwrap(1) == 1


def test_unwrapper_of_32_bits():
    unwrap = Unwrapper(32)
    assert unwrap(0xFFFFFFFF) == 0xFFFFFFFF
    assert unwrap(3) == 0x100000003
