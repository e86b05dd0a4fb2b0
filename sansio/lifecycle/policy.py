"""When to try again after a lost connection, and when to give up."""

from __future__ import annotations

from attrs import frozen

from ..base.entropy import Entropy


@frozen(kw_only=True)
class ReconnectPolicy:
    """Full jitter under an exponential ceiling: attempt n waits a random time up to ``base * 2**(n - 1)`` seconds.

    The first attempt is made at once. Each wait begins with the attempt before, and the next one follows at once where
    that has taken longer, since to go unanswered is to wait. While media flows all the same, each wait is at most
    ``flowing_ceiling`` and attempts go on for as long as it does. Once media is lost too, each wait is at most
    ``ceiling``, and the session ends when it has been lost for ``budget`` seconds, whatever is under way then.

    ``attempts`` bounds their number as well; 0 means that a lost connection ends the session. Subclass it and override
    ``delay`` for another policy: it has to be a pure function.
    """

    base: float = 0.1
    ceiling: float = 7.0
    flowing_ceiling: float = 2.0
    budget: float = 120.0
    attempts: int | None = None

    def delay(self, attempt: int, flowing: bool, entropy: Entropy) -> float | None:
        """Seconds from the beginning of the last attempt, or from the loss, until attempt number ``attempt`` (from 0).

        None: give up.
        """
        if self.attempts is not None and attempt >= self.attempts:
            return None
        if attempt == 0:
            return 0.0
        ceiling = self.flowing_ceiling if flowing else self.ceiling
        return entropy.uniform(0.0, min(self.base * 2.0 ** min(attempt - 1, 30), ceiling))
