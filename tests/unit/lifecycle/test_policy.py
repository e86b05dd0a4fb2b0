"""Delays before attempts."""

from __future__ import annotations

import pytest

from sansio.base.entropy import Entropy
from sansio.lifecycle.policy import ReconnectPolicy


def test_the_first_attempt_is_made_at_once() -> None:
    assert ReconnectPolicy().delay(0, False, Entropy(b"x")) == 0.0


@pytest.mark.parametrize(("flowing", "most"), [(False, 7.0), (True, 2.0)])
def test_later_attempts_wait_up_to_a_growing_ceiling(flowing: bool, most: float) -> None:
    policy, entropy = ReconnectPolicy(), Entropy(b"x")
    for attempt, ceiling in ((1, 0.1), (2, 0.2), (3, 0.4), (8, most), (9, most), (1000, most)):
        delays = [policy.delay(attempt, flowing, entropy) for _ in range(200)]
        assert all(delay is not None and 0 <= delay < ceiling for delay in delays)
        assert max(delay for delay in delays if delay is not None) > 0.9 * ceiling


def test_it_gives_up_after_the_last_attempt() -> None:
    policy = ReconnectPolicy(attempts=2)
    assert policy.delay(1, True, Entropy(b"x")) is not None
    assert policy.delay(2, True, Entropy(b"x")) is None
    assert ReconnectPolicy(attempts=0).delay(0, True, Entropy(b"x")) is None


def test_absurd_attempt_numbers_do_not_overflow() -> None:
    delay = ReconnectPolicy().delay(10**6, False, Entropy(b"x"))
    assert delay is not None
    assert 0 <= delay < 7
