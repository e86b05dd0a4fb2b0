"""Candidate pairs and the check list (RFC 8445 section 6.1.2)."""

from __future__ import annotations

from collections import deque

from ..base.contract import Address
from ..base.limits import MAX_PAIRS
from . import stun
from .candidate import PRFLX, TCP, Candidate
from .credentials import Credentials
from .facts import PairReport
from .preference import PATH_NAMES, pair_priority, path_kind, peer_reflexive_priority

# Pair states. RFC 8445's Frozen is left out: with one component and one stream, unfreezing only delays checks.
WAITING = 0
IN_PROGRESS = 1
SUCCEEDED = 2
FAILED = 3
PAIR_STATE_NAMES = ("waiting", "in progress", "succeeded", "failed")


class Local:
    """A port of ours: its base candidate (host or relay) and the reflexive candidates known for it.

    ``peer`` is the other end of a connected stream: such a port pairs with that address alone.
    """

    __slots__ = ("port", "base", "peer", "reflexive", "priority_value")

    def __init__(self, port: int, base: Candidate, peer: Address | None) -> None:
        self.port = port
        self.base = base
        self.peer = peer
        self.reflexive: list[Candidate] = []
        self.priority_value = stun.u32_value(peer_reflexive_priority(base))

    def add_reflexive(self, candidate: Candidate) -> None:
        """Another name for the port; a known one changes nothing."""
        addresses = [known.transport_address for known in (self.base, *self.reflexive)]
        if candidate.transport_address not in addresses:
            self.reflexive.append(candidate)

    def seen_as(self, mapped: Address) -> Candidate:
        """Which candidate of ours the peer sees: a known one, or a peer-reflexive one (RFC 8445 section 7.2.5.3.1)."""
        for candidate in (self.base, *self.reflexive):
            if candidate.transport_address == mapped or candidate.protocol == TCP:
                return candidate
        base = self.base
        return Candidate(
            foundation=f"prflx-{base.foundation}",
            component=1,
            protocol=base.protocol,
            priority=stun.decode_u32(self.priority_value),
            address=mapped[0],
            port=mapped[1],
            type=PRFLX,
            related_address=base.address,
            related_port=base.port,
        )


class Remote:
    """A candidate of the peer; the candidate is replaced when a discovered one is signalled later."""

    __slots__ = ("candidate", "addr")

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.addr = candidate.transport_address


class Pair:
    """A local port and a remote address, what its checks have shown, and how it ranks.

    ``rank`` orders pairs, smaller is better: the kind of path first, then RFC 8445's priority. ``blocked`` means that
    the network refused the last sending. ``heard`` means that an authenticated message came by it. ``nominated`` and
    ``nomination`` keep the peer's wish until our own check has succeeded.
    """

    __slots__ = (
        "local",
        "remote",
        "credentials",
        "mapped",
        "kind",
        "priority",
        "rank",
        "state",
        "queued",
        "blocked",
        "heard",
        "nominated",
        "nomination",
        "rtt",
        "rtt_clear",
        "validated_at",
        "first_check",
        "checks_sent",
        "last_error",
    )

    def __init__(self, local: Local, remote: Remote, credentials: Credentials, controlling: bool) -> None:
        self.local = local
        self.remote = remote
        self.credentials = credentials
        self.mapped: Candidate | None = None
        self.state = WAITING
        self.queued = False
        self.blocked = False
        self.heard = False
        self.nominated = False
        self.nomination = 0
        self.rtt = 0.0
        self.rtt_clear = False
        self.validated_at = 0.0
        self.first_check = 0.0
        self.checks_sent = 0
        self.last_error = ""
        self.order(controlling)

    def __repr__(self) -> str:
        return f"Pair({self.local.port}, {self.remote.addr}, {PAIR_STATE_NAMES[self.state]})"

    @property
    def key(self) -> tuple[int, Address]:
        """What packets show: our port and the peer's address."""
        return self.local.port, self.remote.addr

    @property
    def reliable(self) -> bool:
        """Whether the path itself repeats lost packets."""
        return self.local.base.protocol == TCP

    @property
    def named(self) -> Candidate:
        """Our end as the peer sees it, as far as that is known."""
        return self.mapped or self.local.base

    def measure(self, rtt: float, *, clear: bool) -> None:
        """Note a round trip. It is not ``clear`` where the request was repeated: it shows too short a time at worst,
        and a clear one then replaces it.
        """
        if clear:
            self.rtt = self.rtt + (rtt - self.rtt) / 4 if self.rtt_clear else rtt
            self.rtt_clear = True
        elif not self.rtt_clear:
            self.rtt = rtt

    def give_up(self) -> None:
        """A check under way, if any, is not answered any more; a valid pair stays one."""
        if self.state == IN_PROGRESS:
            self.state = FAILED
            self.last_error = self.last_error or "no answer"

    def report(self, *, selected: bool) -> PairReport:
        """How it stands."""
        return PairReport(
            local=self.named,
            remote=self.remote.candidate,
            type=PATH_NAMES[self.kind],
            protocol=self.local.base.protocol,
            state=PAIR_STATE_NAMES[self.state],
            selected=selected,
            rtt=self.rtt,
            checks_sent=self.checks_sent,
            last_error=self.last_error,
        )

    def order(self, controlling: bool) -> None:
        """Compute the priority anew: the role or a candidate has changed."""
        ours, theirs = self.local.base.priority, self.remote.candidate.priority
        self.kind = path_kind(self.local.base, self.remote.candidate)
        self.priority = pair_priority(ours, theirs) if controlling else pair_priority(theirs, ours)
        self.rank = (self.kind, -self.priority)


class CheckList:
    """The pairs of one generation, at most MAX_PAIRS, and the queue of triggered checks.

    ``credentials`` are the generation's, and ``controlling`` is our role, by which priorities are computed.
    """

    __slots__ = ("credentials", "controlling", "_pairs", "_triggered")

    def __init__(self, credentials: Credentials, controlling: bool) -> None:
        self.credentials = credentials
        self.controlling = controlling
        self._pairs: dict[tuple[int, Address], Pair] = {}
        self._triggered: deque[Pair] = deque()

    def __len__(self) -> int:
        return len(self._pairs)

    def get(self, port: int, addr: Address) -> Pair | None:
        """The pair that a packet belongs to."""
        return self._pairs.get((port, addr))

    def all(self) -> list[Pair]:
        """Every pair, best first."""
        return sorted(self._pairs.values(), key=_rank)

    @property
    def all_failed(self) -> bool:
        """Whether there are pairs and each has failed."""
        return bool(self._pairs) and all(pair.state == FAILED for pair in self._pairs.values())

    def add(self, pair: Pair) -> bool:
        """Take in a pair; a full list lets go of its worst waiting pair for a better one, else refuses."""
        if len(self._pairs) >= MAX_PAIRS:
            waiting = [other for other in self._pairs.values() if other.state == WAITING]
            worst = max(waiting, key=_rank, default=None)
            if worst is None or worst.rank <= pair.rank:
                return False
            self.remove(worst)
        self._pairs[pair.key] = pair
        return True

    def remove(self, pair: Pair) -> None:
        """Forget a pair."""
        del self._pairs[pair.key]
        if pair.queued:
            self._triggered.remove(pair)
            pair.queued = False

    def of_port(self, port: int) -> list[Pair]:
        """The pairs that send from a port."""
        return [pair for pair in self._pairs.values() if pair.local.port == port]

    def of_remote(self, remote: Remote) -> list[Pair]:
        """The pairs that send to a candidate."""
        return [pair for pair in self._pairs.values() if pair.remote is remote]

    def clear(self) -> None:
        """Forget every pair."""
        self._pairs.clear()
        self._triggered.clear()

    def begin_generation(self, credentials: Credentials) -> None:
        """An ICE restart: none of the pairs belongs to it."""
        self.clear()
        self.credentials = credentials

    def trigger(self, pair: Pair) -> None:
        """Have a pair checked before the ordinary ones (RFC 8445 section 7.3.1.4)."""
        pair.state = WAITING
        if not pair.queued:
            pair.queued = True
            self._triggered.append(pair)

    def retry_failed(self) -> None:
        """Have all that has failed checked once more, the best first."""
        for pair in self.all():
            if pair.state == FAILED:
                self.trigger(pair)

    def give_up(self) -> None:
        """No check will be answered any more."""
        for pair in self._pairs.values():
            pair.give_up()

    def peek(self) -> Pair | None:
        """The pair to be checked next: triggered ones first, then the best waiting one."""
        if self._triggered:
            return self._triggered[0]
        return min((pair for pair in self._pairs.values() if pair.state == WAITING), key=_rank, default=None)

    def taken(self, pair: Pair) -> None:
        """Note that a pair's check was sent."""
        pair.state = IN_PROGRESS
        if pair.queued:
            pair.queued = False
            self._triggered.remove(pair)

    def set_role(self, controlling: bool) -> None:
        """Our role has changed, and every priority with it."""
        self.controlling = controlling
        for pair in self._pairs.values():
            pair.order(controlling)

    def favourite(self) -> Pair | None:
        """The pair that deserves the nomination in advance: of the best kind, heard of first, then by priority."""
        live = [pair for pair in self._pairs.values() if pair.state != FAILED and not pair.blocked]
        return min(live, key=_favour, default=None)


def _rank(pair: Pair) -> tuple[int, int]:
    return pair.rank


def _favour(pair: Pair) -> tuple[int, bool, int]:
    return pair.kind, not pair.heard, -pair.priority
