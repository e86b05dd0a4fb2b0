"""Delays before attempts."""

from __future__ import annotations

from sansio.base.entropy import Entropy
from sansio.lifecycle.policy import ReconnectPolicy


def test_the_first_attempt_is_made_at_once() -> None:
    assert ReconnectPolicy().delay(0, Entropy(b"x")) == 0.0


def test_later_attempts_wait_up_to_a_growing_ceiling() -> None:
    policy, entropy = ReconnectPolicy(), Entropy(b"x")
    for attempt, most in ((1, 0.3), (2, 0.6), (3, 1.2), (6, 7.0), (9, 7.0)):
        delays = [policy.delay(attempt, entropy) for _ in range(200)]
        assert all(delay is not None and 0 <= delay < most for delay in delays)
        assert max(delay for delay in delays if delay is not None) > 0.9 * most


def test_it_gives_up_after_the_last_attempt() -> None:
    policy = ReconnectPolicy(attempts=2)
    assert policy.delay(1, Entropy(b"x")) is not None
    assert policy.delay(2, Entropy(b"x")) is None
    assert ReconnectPolicy(attempts=0).delay(0, Entropy(b"x")) is None


def test_absurd_attempt_numbers_do_not_overflow() -> None:
    delay = ReconnectPolicy(attempts=10**9).delay(10**6, Entropy(b"x"))
    assert delay is not None
    assert 0 <= delay < 7
