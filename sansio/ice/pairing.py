"""The candidates of both sides, and the pairs that they make (RFC 8445 sections 6.1.2.2 and 7.3.1.3)."""

from __future__ import annotations

from ..base.contract import Address
from ..base.counters import Counters
from ..base.limits import MAX_REMOTE_CANDIDATES
from .candidate import PRFLX, Candidate
from .credentials import Credentials
from .pairs import CheckList, Local, Pair, Remote
from .preference import can_pair, usable_address


class Pairing:
    """Keeps a check list complete: each port of ours with each candidate of the peer that its packets can reach."""

    __slots__ = ("locals", "remotes", "_pairs", "_counters", "_discovered")

    def __init__(self, pairs: CheckList, counters: Counters) -> None:
        self.locals: dict[int, Local] = {}
        self.remotes: dict[tuple[str, Address], Remote] = {}
        self._pairs = pairs
        self._counters = counters
        self._discovered = 0

    # ---------------------------------------------------------------- our side

    def add_local(self, candidate: Candidate, port: int, peer: Address | None) -> bool:
        """A candidate of ours; whether its port is a new one. See ``IceAgent.add_local``."""
        known = self.locals.get(port)
        if known is not None:
            known.add_reflexive(candidate)
            return False
        local = self.locals[port] = Local(port, candidate, peer)
        for remote in self.remotes.values():
            self._pair_up(local, remote)
        return True

    def remove_local(self, port: int) -> list[Pair]:
        """A port of ours is gone; returns the pairs that went with it."""
        self.locals.pop(port, None)
        gone = self._pairs.of_port(port)
        for pair in gone:
            self._pairs.remove(pair)
        return gone

    # ---------------------------------------------------------------- the peer's side

    def add_remote(self, candidate: Candidate) -> bool:
        """A signalled candidate of the peer; False when it is of no use, which is counted."""
        if not candidate.usable or candidate.tcptype == "active" or not usable_address(candidate.address):
            self._counters.add("candidate_unusable")
            return False
        credentials = self._pairs.credentials
        if credentials.complete and _stale(candidate, credentials.remote_ufrag):
            self._counters.add("candidate_stale")
            return False
        remote = self.remotes.get((candidate.protocol, candidate.transport_address))
        if remote is None:
            remote = self._new_remote(candidate)
            if remote is None:
                return False
        elif remote.candidate.type == PRFLX:
            # the peer's own word on a candidate that we had discovered (RFC 8838 section 11.4)
            remote.candidate = candidate
            for pair in self._pairs.of_remote(remote):
                pair.order(self._pairs.controlling)
        else:
            self._counters.add("candidate_duplicate")
            return False
        for local in self.locals.values():
            self._pair_up(local, remote)
        return True

    def sift(self, ufrag: str) -> None:
        """The peer's user fragment is known: candidates that name another one are of an earlier generation."""
        for key in [key for key, remote in self.remotes.items() if _stale(remote.candidate, ufrag)]:
            self._counters.add("candidate_stale")
            for pair in self._pairs.of_remote(self.remotes.pop(key)):
                self._pairs.remove(pair)

    def heard(self, port: int, src: Address, priority: int) -> Pair | None:
        """The pair by which a check of the peer came, found or made; None where there is no room for another.

        ``priority`` is for the candidate of the peer that it may have discovered to us.
        """
        pair = self._pairs.get(port, src)
        if pair is not None:
            return pair
        local = self.locals[port]
        remote = self.remotes.get((local.base.protocol, src))
        if remote is None:
            remote = self._discover(local, src, priority)
            if remote is None:
                return None
        return self._new_pair(local, remote)

    def _discover(self, local: Local, src: Address, priority: int) -> Remote | None:
        self._discovered += 1
        return self._new_remote(
            Candidate(
                foundation=f"prflx{self._discovered}",
                component=1,
                protocol=local.base.protocol,
                priority=priority,
                address=src[0],
                port=src[1],
                type=PRFLX,
            )
        )

    def _new_remote(self, candidate: Candidate) -> Remote | None:
        if len(self.remotes) >= MAX_REMOTE_CANDIDATES:
            self._counters.add("remote_candidate_limit")
            return None
        remote = Remote(candidate)
        self.remotes[candidate.protocol, remote.addr] = remote
        return remote

    # ---------------------------------------------------------------- pairs

    def _pair_up(self, local: Local, remote: Remote) -> None:
        """Pair a port with a candidate where packets can go."""
        if local.base.protocol != remote.candidate.protocol or self._pairs.get(local.port, remote.addr) is not None:
            return
        if local.peer is not None:
            if local.peer != remote.addr:
                return
        elif not can_pair(local.base.address, remote.candidate.address):
            return
        self._new_pair(local, remote)

    def _new_pair(self, local: Local, remote: Remote) -> Pair | None:
        pair = Pair(local, remote, self._pairs.credentials, self._pairs.controlling)
        if not self._pairs.add(pair):
            self._counters.add("pair_limit")
            return None
        return pair

    # ---------------------------------------------------------------- beginning and end

    def begin_generation(self, credentials: Credentials) -> None:
        """An ICE restart: of what is known, our own candidates stay."""
        self.remotes.clear()
        self._pairs.begin_generation(credentials)

    def clear(self) -> None:
        """Forget everything."""
        self.locals.clear()
        self.remotes.clear()
        self._pairs.clear()


def _stale(candidate: Candidate, ufrag: str) -> bool:
    """Whether a candidate names another ICE generation than ``ufrag``."""
    return candidate.ufrag not in ("", ufrag)
