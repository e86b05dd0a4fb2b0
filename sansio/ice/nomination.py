"""Which valid pair is to be used: the choice of a controlling agent, and when a controlled one follows the peer's."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.contract import INF
from .pairs import FAILED, SUCCEEDED, Pair
from .preference import nomination_wait


def choose(ranked: Sequence[Pair], current: Pair | None, silent_since: float, now: float) -> tuple[Pair | None, float]:
    """The pair that a controlling agent is to nominate now, if any, and when to ask again.

    ``ranked`` are all pairs, best first; ``current`` is the selected one. It gives way to a better kind of path alone,
    unless it is in doubt and silent: then ``silent_since`` is the time of the doubt, INF otherwise, and whatever has
    answered since is better.
    """
    silent = silent_since < INF
    top: Pair | None = None
    best: Pair | None = None
    for pair in ranked:
        if pair.state == FAILED or pair.blocked or (silent and (pair is current or pair.validated_at < silent_since)):
            continue
        top = top or pair
        if pair.state == SUCCEEDED:
            best = pair
            break
    if best is None or top is None or best is current:
        return None, INF
    if current is not None:
        return best if silent or best.kind < current.kind else None, INF
    at = best.validated_at
    if best.kind > top.kind and top.checks_sent:
        at = top.first_check  # how long the better way has had to answer, not how long this one has waited
    at += nomination_wait(best.kind, top.kind, best is top, best.rtt)
    return (best, INF) if now >= at else (None, at)


class Nominations:
    """What was nominated, by us and by the peer.

    ``offered``: a USE-CANDIDATE of this generation has left. The counters are those of NOMINATION
    (draft-thatcher-ice-renomination); ours goes on through restarts.
    """

    __slots__ = ("offered", "_ours", "_peers", "_by_peer")

    def __init__(self) -> None:
        self.offered = False
        self._ours = 0
        self._peers = 0
        self._by_peer = False  # whether the selected pair is the peer's choice

    def begin_generation(self) -> None:
        """An ICE restart."""
        self.offered = False
        self._peers = 0

    def role_changed(self) -> None:
        """What was selected so far was not chosen by who chooses now."""
        self._by_peer = False

    def offer(self) -> int:
        """A USE-CANDIDATE is about to leave: the counter to go with it. The first of a generation needs none: 0."""
        if not self.offered:
            self.offered = True
            return 0
        self._ours += 1
        return self._ours

    def heeds(self, pair: Pair, counter: int, current: Pair | None, *, failing: bool) -> bool:
        """Whether a controlled agent follows the peer's nomination of a valid pair.

        With a counter the highest wins. Without (``counter`` is 0), a second nomination is followed to a pair of higher
        priority, as aggressive nomination (RFC 5245) needs it, or away from a pair that is ``failing`` to answer.
        """
        if counter:
            if counter <= self._peers:
                return False
            self._peers = counter
        elif (
            current is not None
            and self._by_peer
            and not failing
            # behind a counted nomination, one without a counter is an older one
            and (self._peers or pair.priority < current.priority)
        ):
            return False
        self._by_peer = True
        return True
