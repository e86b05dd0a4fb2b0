"""What a link does to datagrams: delay, loss, duplication, reordering, a rate with a queue, an MTU, a cut."""

from __future__ import annotations

from attrs import define, evolve, field

from ..base.contract import INF
from ..base.entropy import Entropy

OK = "ok"
DUPLICATE = "dup"
HELD_BACK = "late"
LOST = "lost"
TOO_LONG = "mtu"
QUEUE_FULL = "queue"
DOWN = "down"


@define(eq=False)
class Link:
    """One direction between two hosts. Every attribute may be changed while the world runs.

    ``latency`` and ``jitter``: seconds; each datagram takes ``latency`` plus up to ``jitter``, and jitter alone does
    not reorder. ``loss``, ``duplication``, ``reorder``: probabilities; a reordered datagram is held back for
    ``hold_back`` seconds while later ones pass. ``burst``: mean length of a row of losses; 1 makes them independent.
    ``rate``: bytes a second, behind a queue of ``queue`` bytes. ``mtu``: the longest UDP payload. ``down``: nothing
    passes.
    """

    latency: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    burst: float = 1.0
    duplication: float = 0.0
    reorder: float = 0.0
    hold_back: float = 0.05
    rate: float = INF
    queue: int = 64 * 1024
    mtu: int = 65507
    down: bool = False
    _in_burst: bool = field(default=False, init=False)
    _wire_free: float = field(default=0.0, init=False)
    _last_arrival: float = field(default=0.0, init=False)

    def copy(self) -> Link:
        """A link of the same behaviour with a state of its own."""
        return evolve(self)

    def judge(self, length: int, now: float, entropy: Entropy) -> list[tuple[str, float]]:
        """The fate of one datagram: a verdict and an arrival time (INF when it never arrives) for each copy of it.

        Every datagram draws the same number of random values whatever it contains and whatever the link is set to, so
        that neither contents nor a changed setting shift the fates of those that follow.
        """
        lost, doubled, held, delay, second_delay = [entropy.random() for _ in range(5)]
        gone = self._is_lost(lost)
        if self.down:
            return [(DOWN, INF)]
        if length > self.mtu:
            return [(TOO_LONG, INF)]
        departure = now
        if self.rate < INF:
            departure = max(now, self._wire_free)
            if (departure - now) * self.rate > self.queue:
                return [(QUEUE_FULL, INF)]
            self._wire_free = departure = departure + length / self.rate
        if gone:
            return [(LOST, INF)]
        arrival = departure + self.latency + self.jitter * delay
        if held < self.reorder:
            fate = (HELD_BACK, arrival + self.hold_back)
        else:
            self._last_arrival = arrival = max(arrival, self._last_arrival)
            fate = (OK, arrival)
        if doubled < self.duplication:
            return [fate, (DUPLICATE, fate[1] + self.jitter * second_delay)]
        return [fate]

    def _is_lost(self, draw: float) -> bool:
        """Losses in rows of mean length ``burst`` (Gilbert's model), ``loss`` of all datagrams in the long run."""
        if self.burst <= 1 or self.loss <= 0 or self.loss >= 1:
            return draw < self.loss
        stay = 1 - 1 / self.burst
        enter = (1 - stay) * self.loss / (1 - self.loss)
        self._in_burst = draw < (stay if self._in_burst else enter)
        return self._in_burst
