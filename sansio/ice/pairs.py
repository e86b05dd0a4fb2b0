"""Candidate pairs and the check list (RFC 8445 section 6.1.2)."""

from __future__ import annotations

from collections import deque

from ..base.contract import Address
from ..base.limits import MAX_PAIRS
from . import stun
from .candidate import TCP, Candidate
from .preference import pair_priority, path_kind, peer_reflexive_priority

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


class Remote:
    """A candidate of the peer; the candidate is replaced when a discovered one is signalled later."""

    __slots__ = ("candidate", "addr")

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.addr = candidate.transport_address


class Credentials:
    """Both sides' user fragments and passwords of one ICE generation; the remote ones come later."""

    __slots__ = ("local_ufrag", "local_pwd", "local_key", "remote_ufrag", "remote_pwd", "remote_key", "username")

    def __init__(self, local_ufrag: str, local_pwd: str) -> None:
        self.local_ufrag = local_ufrag
        self.local_pwd = local_pwd
        self.local_key = stun.Key(local_pwd.encode())
        self.remote_ufrag = ""
        self.remote_pwd = ""
        self.remote_key = self.local_key  # a stand-in until ``complete``
        self.username = b""

    @property
    def complete(self) -> bool:
        """Whether the remote side is known."""
        return self.remote_ufrag != ""

    def set_remote(self, ufrag: str, pwd: str) -> None:
        """Complete the generation."""
        self.remote_ufrag = ufrag
        self.remote_pwd = pwd
        self.remote_key = stun.Key(pwd.encode())
        self.username = f"{ufrag}:{self.local_ufrag}".encode()


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

    def order(self, controlling: bool) -> None:
        """Compute the priority anew: the role or a candidate has changed."""
        ours, theirs = self.local.base.priority, self.remote.candidate.priority
        self.kind = path_kind(self.local.base, self.remote.candidate)
        self.priority = pair_priority(ours, theirs) if controlling else pair_priority(theirs, ours)
        self.rank = (self.kind, -self.priority)


class CheckList:
    """The pairs of one generation, at most MAX_PAIRS, and the queue of triggered checks."""

    __slots__ = ("_pairs", "_triggered")

    def __init__(self) -> None:
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

    def trigger(self, pair: Pair) -> None:
        """Have a pair checked before the ordinary ones (RFC 8445 section 7.3.1.4)."""
        pair.state = WAITING
        if not pair.queued:
            pair.queued = True
            self._triggered.append(pair)

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

    def order(self, controlling: bool) -> None:
        """Compute every priority anew after a change of role."""
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
