"""When to try again after a lost connection, and when to give up."""

from __future__ import annotations

from attrs import frozen

from ..base.entropy import Entropy


@frozen(kw_only=True)
class ReconnectPolicy:
    """Full jitter under an exponential ceiling: attempt n waits a random time up to ``base * 2**(n - 1)`` seconds.

    The first attempt is made at once. ``ceiling`` bounds each wait, ``attempts`` their number; 0 means that a lost
    connection ends the session. Subclass it and override ``delay`` for another policy: it has to be a pure function.
    """

    attempts: int = 10
    base: float = 0.3
    ceiling: float = 7.0

    def delay(self, attempt: int, entropy: Entropy) -> float | None:
        """Seconds to wait before attempt number ``attempt`` (from 0), or None to give up."""
        if attempt >= self.attempts:
            return None
        if attempt == 0:
            return 0.0
        return entropy.uniform(0.0, min(self.base * 2.0 ** min(attempt - 1, 30), self.ceiling))
