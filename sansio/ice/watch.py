"""How the selected pair fares: consent (RFC 7675), silence, and the doubt that follows from it. Times in seconds."""

from __future__ import annotations

from ..base.contract import INF, NOW
from ..base.entropy import Entropy
from .facts import IceOptions


class Watch:
    """The clocks by which a selected pair is judged.

    ``heard`` is the time of the last authenticated sign of the peer, by any pair; ``answered`` that of the last answer
    by the selected pair, and ``missed`` how many consent checks went without one since. ``consent_at`` is when the next
    consent check is to leave, INF while one is under way. ``doubted_at`` is since when the pair is in doubt, and
    ``probe_at`` when it and others are to be checked again on that account; both INF while it is not.
    """

    __slots__ = ("heard", "answered", "missed", "consent_at", "doubted_at", "probe_at", "_after", "_jitter", "_options")

    def __init__(self, options: IceOptions, jitter: Entropy) -> None:
        self.heard = NOW
        self.answered = NOW
        self.missed = 0
        self.consent_at = INF
        self.doubted_at = INF
        self.probe_at = INF
        self._after = INF
        self._jitter = jitter
        self._options = options

    @property
    def expires(self) -> float:
        """When consent ends, unless the selected pair answers: nothing may be sent by it then."""
        return self.answered + self._options.consent_expiry

    # ---------------------------------------------------------------- the pair in use

    def begin(self, now: float) -> None:
        """A pair was selected. Where the last one was in doubt, this one has to show first that it is better."""
        self.answered = now
        self.missed = 0
        self.consent_at = self._after = self._following(now)
        if self.doubted_at < INF:
            self.doubted_at = now

    def end(self) -> None:
        """No pair is selected."""
        self.consent_at = INF

    def hear(self, now: float) -> None:
        """The peer has shown itself."""
        if now > self.heard:
            self.heard = now

    def answer(self, sent: float, now: float) -> None:
        """The selected pair answered to a check that left first at ``sent``."""
        self.answered = now
        self.missed = 0
        if sent >= self.doubted_at:
            self.calm()

    # ---------------------------------------------------------------- consent checks

    def consent_leaves(self, now: float) -> None:
        """A consent check leaves; the next one is due a while after it, once it has been answered."""
        self._after = self._following(now)
        self.consent_at = INF

    def consent_over(self) -> None:
        """A consent check was answered, for better or worse."""
        self.consent_at = self._after

    def consent_lost(self, now: float) -> None:
        """A consent check had no answer: the next one leaves at once."""
        self.consent_at = min(self.consent_at, now)
        self.missed += 1

    def _following(self, now: float) -> float:
        interval = self._options.consent_interval
        return now + self._jitter.uniform(0.8 * interval, 1.2 * interval)

    # ---------------------------------------------------------------- doubt

    def doubt(self, now: float) -> None:
        """The selected pair may be dead."""
        if self.doubted_at == INF:
            self.doubted_at = self.probe_at = now

    def calm(self) -> None:
        """There is nothing to doubt, or no longer."""
        self.doubted_at = self.probe_at = INF

    def probe_leaves(self, now: float) -> None:
        """Probes leave; the next ones do after ``probe_interval``."""
        self.probe_at = now + self._options.probe_interval

    def silent_since(self, rtt: float, now: float) -> float:
        """The time of a doubt which the pair, whose round trip is ``rtt``, has had time to disprove; INF otherwise."""
        return self.doubted_at if now >= self.doubted_at + max(self._options.doubt, 3 * rtt) else INF
