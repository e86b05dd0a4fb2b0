"""What all tests share: Hypothesis draws the same examples in every run, within a bounded time."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "same-every-time",
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same-every-time")

# Whoever starts the tests in the background of a shell has them ignore interrupts, and so what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
