"""The ICE agent (RFC 8445): checks, nomination, consent (RFC 7675), restart, trickle both ways (RFC 8838).

Deliberate departures, all for the shortest join:

* no Frozen state, and the first checks leave in a burst before the pacing sets in;
* the top pair's first check carries USE-CANDIDATE already, unless the peer is lite: a controlled peer then selects it
  half a round trip later. Any other nomination is a regular one; while the peer may still follow an earlier one, it
  carries a NOMINATION counter, whose highest value wins at peers that know it;
* a pair in progress is checked again at once when the peer's own check arrives on it, with the same transaction;
* unauthenticated requests get no answer at all (RFC 8489 would send 400 or 401), so that we reflect nothing.
"""

from __future__ import annotations

from collections import deque

from ..base.contract import INF, NOW, Address, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError
from ..base.limits import MAX_CHECKS_IN_FLIGHT, MAX_EARLY_CHECKS, MAX_REMOTE_CANDIDATES, MAX_SOURCES
from . import stun
from .candidate import HOST, PRFLX, RELAY, TCP, Candidate
from .facts import IceOptions, IceState, IceStateChanged, PairReport, PairSelected, RoleChanged
from .pairs import (
    FAILED,
    IN_PROGRESS,
    PAIR_STATE_NAMES,
    SUCCEEDED,
    WAITING,
    CheckList,
    Credentials,
    Local,
    Pair,
    Remote,
)
from .preference import (
    PATH_NAMES,
    can_pair,
    nomination_wait,
    usable_address,
)
from .transactions import Transaction, Transactions

__all__ = ["IceAgent", "IceOptions", "IceState", "IceStateChanged", "PairReport", "PairSelected", "RoleChanged"]

_NEW = IceState.NEW
_CHECKING = IceState.CHECKING
_CONNECTED = IceState.CONNECTED
_DISCONNECTED = IceState.DISCONNECTED
_FAILED = IceState.FAILED
_CLOSED = IceState.CLOSED


class _Check:
    """What a transaction was for."""

    __slots__ = ("pair", "use_candidate", "consent", "controlling")

    def __init__(self, pair: Pair, use_candidate: bool, consent: bool, controlling: bool) -> None:
        self.pair = pair
        self.use_candidate = use_candidate
        self.consent = consent
        self.controlling = controlling


class _PeerCheck:
    """What a check of the peer said; kept while its credentials are still on their way."""

    __slots__ = ("ufrag", "priority", "use_candidate", "nomination")

    def __init__(self, ufrag: str, priority: int, use_candidate: bool, nomination: int) -> None:
        self.ufrag = ufrag
        self.priority = priority
        self.use_candidate = use_candidate
        self.nomination = nomination


# What a Binding request or response may contain that must be understood.
_KNOWN = frozenset(
    {
        stun.MAPPED_ADDRESS,
        stun.USERNAME,
        stun.ERROR_CODE,
        stun.UNKNOWN_ATTRIBUTES,
        stun.REALM,
        stun.NONCE,
        stun.USERHASH,
        stun.PASSWORD_ALGORITHM,
        stun.XOR_MAPPED_ADDRESS,
        stun.PRIORITY,
        stun.USE_CANDIDATE,
    }
)
_ROLE_CONFLICT = 487
_UNKNOWN_ATTRIBUTE = 420
_ROUNDING = 1e-6


class IceAgent:
    """One component's ICE agent. Ports are the caller's numbers for sockets, streams or relay allocations.

    ``selected_port`` and ``selected_addr`` say where data goes now; ``selected_addr`` is None while there is nowhere.
    """

    def __init__(self, entropy: Entropy, *, controlling: bool, options: IceOptions | None = None) -> None:
        self.controlling = controlling
        self.state = IceState.NEW
        self.selected_port = -1
        self.selected_addr: Address | None = None
        self.remote_lite = False
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[PairSelected | IceStateChanged | RoleChanged] = deque()
        self.counters = Counters()
        self._options = options or IceOptions()
        self._secrets = entropy.fork("ice-credentials")
        self._ids = entropy.fork("ice-transactions")
        self._jitter = entropy.fork("ice-jitter")
        self._tie_breaker = entropy.fork("ice-tie-breaker").uint(64)
        self._now = NOW
        self._due = INF

        self._locals: dict[int, Local] = {}
        self._remotes: dict[tuple[str, Address], Remote] = {}
        self._pairs = CheckList()
        self._transactions: Transactions[_Check] = Transactions()
        self._early: dict[tuple[int, Address], _PeerCheck] = {}
        self._sources: dict[tuple[int, Address], int] = {}
        self._generation = 0
        self._previous: Credentials | None = None  # of the generation before a restart, while its pair is in use
        self._remote_ended = False
        self._prflx_count = 0

        self._selected: Pair | None = None
        self._selected_by_peer = False
        self._offered = False  # a USE-CANDIDATE of this generation has left
        self._nomination = 0  # last NOMINATION value we sent
        self._peer_nomination = 0  # and the highest one the peer sent
        self._decide_at = INF
        self._pace = NOW
        self._rtt = 0.0

        self._search_from = INF
        self._heard = NOW  # last authenticated sign of the peer
        self._consent_ok = NOW  # last answer by the selected pair
        self._consent_at = INF  # next consent check; INF while one is under way
        self._consent_next = INF
        self._consent_missed = 0
        self._doubted_at = INF  # since when the selected pair is in doubt
        self._probe_at = INF

        self._credentials = self._new_credentials()

    # ---------------------------------------------------------------- facts

    @property
    def local_ufrag(self) -> str:
        """Our user fragment, for the description."""
        return self._credentials.local_ufrag

    @property
    def local_pwd(self) -> str:
        """Our password, for the description."""
        return self._credentials.local_pwd

    @property
    def remote_ufrag(self) -> str:
        """The peer's user fragment; empty until it is known."""
        return self._credentials.remote_ufrag

    @property
    def remote_pwd(self) -> str:
        """The peer's password; empty until it is known."""
        return self._credentials.remote_pwd

    @property
    def rtt(self) -> float:
        """Smoothed round trip (seconds) of the selected pair, 0 without one."""
        return self._selected.rtt if self._selected is not None else 0.0

    @property
    def selected_host(self) -> str:
        """The address of ours that the selected pair leaves from; empty without one, and for a relay."""
        pair = self._selected
        return pair.local.base.address if pair is not None and pair.local.base.type == HOST else ""

    @property
    def _current(self) -> Pair | None:
        """The selected pair, unless it is the one of before a restart."""
        pair = self._selected
        return pair if pair is not None and pair.credentials is self._credentials else None

    def silent_for(self, now: float) -> float:
        """Seconds since the last authenticated sign of the peer; INF before the first."""
        return now - self._heard

    def is_valid_source(self, port: int, src: Address) -> bool:
        """Whether data from there is the peer's: a check of ours was answered from it, or we answered one of its.

        Senders may use any pair they validated, not only the selected one.
        """
        return (port, src) in self._sources

    def pairs_report(self) -> list[PairReport]:
        """Every pair, best first."""
        return [
            PairReport(
                local=pair.mapped or pair.local.base,
                remote=pair.remote.candidate,
                type=PATH_NAMES[pair.kind],
                protocol=pair.local.base.protocol,
                state=PAIR_STATE_NAMES[pair.state],
                selected=pair is self._selected,
                rtt=pair.rtt,
                checks_sent=pair.checks_sent,
                last_error=pair.last_error,
            )
            for pair in self._pairs.all()
        ]

    # ---------------------------------------------------------------- inputs from above

    def add_local(self, candidate: Candidate, port: int, now: float, *, peer: Address | None = None) -> None:
        """A candidate of ours came up on ``port``.

        The first one of a port is its base, a host or relay candidate; reflexive ones of the same port are only kept to
        name the path, since checks leave from the base anyway (RFC 8445 section 6.1.2.4). ``peer`` is the far end of a
        connected stream.
        """
        if not candidate.usable or not usable_address(candidate.address):
            raise LocalProtocolError("local candidate needs an IP address, a port and component 1")
        known = self._locals.get(port)
        if known is None and candidate.type not in (HOST, RELAY):
            raise LocalProtocolError("a reflexive candidate needs its base first")
        if (candidate.protocol == TCP) != (peer is not None):
            raise LocalProtocolError("a stream candidate, and only that, has a peer")
        now = self._enter(now)
        if self.state == _CLOSED:
            return
        if known is not None:
            addresses = [other.transport_address for other in (known.base, *known.reflexive)]
            if candidate.transport_address not in addresses:
                known.reflexive.append(candidate)
            return
        local = Local(port, candidate, peer)
        self._locals[port] = local
        self._renew_search(now)
        for remote in self._remotes.values():
            self._pair_up(local, remote)

    def remove_local(self, port: int, now: float) -> None:
        """A port of ours is gone, with every pair on it."""
        self._enter(now)
        if self._locals.pop(port, None) is None:
            return
        for pair in self._pairs.of_port(port):
            self._drop_pair(pair)
        for key in [key for key in self._sources if key[0] == port]:
            del self._sources[key]
        for key in [key for key in self._early if key[0] == port]:
            del self._early[key]
        if self._selected is not None and self._selected.local.port == port:
            self._unselect()
            self._begin_doubt(self._now)

    def set_remote_credentials(self, ufrag: str, pwd: str, now: float, *, lite: bool = False) -> None:
        """The peer's description arrived. The same credentials again change nothing; others mean that it restarted."""
        if not ufrag or not pwd:
            raise LocalProtocolError("remote ICE credentials are empty")
        now = self._enter(now)
        if self.state == _CLOSED:
            return
        credentials = self._credentials
        if credentials.complete:
            if (credentials.remote_ufrag, credentials.remote_pwd) == (ufrag, pwd):
                return
            self._begin_generation(Credentials(credentials.local_ufrag, credentials.local_pwd))
            credentials = self._credentials
        credentials.set_remote(ufrag, pwd)
        self.remote_lite = lite
        if lite and not self.controlling:
            self._switch_role(True)  # RFC 8445 section 6.1.1: a lite agent never controls a full one
        self._search_from = now
        self._set_state(_CHECKING)
        for key in [key for key, remote in self._remotes.items() if _stale(remote.candidate, ufrag)]:
            self.counters.add("candidate_stale")
            self._forget_remote(key)
        early, self._early = self._early, {}
        for (port, src), check in early.items():
            if check.ufrag == ufrag:
                self._learn(port, src, check, now)

    def add_remote(self, candidate: Candidate, now: float) -> None:
        """A signalled candidate of the peer; what we cannot use is counted and ignored."""
        now = self._enter(now)
        if self.state == _CLOSED:
            return
        if not candidate.usable or candidate.tcptype == "active" or not usable_address(candidate.address):
            self.counters.add("candidate_unusable")
            return
        if self._credentials.remote_ufrag and _stale(candidate, self._credentials.remote_ufrag):
            self.counters.add("candidate_stale")
            return
        key = candidate.protocol, candidate.transport_address
        remote = self._remotes.get(key)
        if remote is not None:
            if remote.candidate.type != PRFLX:
                self.counters.add("candidate_duplicate")
                return
            # the peer's own word on a candidate that we had discovered (RFC 8838 section 11.4)
            remote.candidate = candidate
            for pair in self._pairs.of_remote(remote):
                pair.order(self.controlling)
        else:
            remote = self._new_remote(candidate)
            if remote is None:
                return
        self._renew_search(now)
        for local in self._locals.values():
            self._pair_up(local, remote)

    def end_of_remote(self, now: float) -> None:
        """The peer has no more candidates: once every pair has failed, the agent need not wait any longer."""
        self._enter(now)
        self._remote_ended = True

    def restart(self, now: float) -> None:
        """New local credentials; data keeps its path until the new generation has selected one (RFC 8445 section 9)."""
        now = self._enter(now)
        if self.state == _CLOSED:
            return
        self._begin_generation(self._new_credentials())
        if self.state != _NEW:
            self._set_state(_CHECKING)

    def send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        """The network refused to send from ``port`` to ``addr``: better pairs need not be waited for on its account."""
        self._enter(now)
        pair = self._pairs.get(port, addr)
        if pair is not None:
            pair.blocked = True
            pair.last_error = error
            if pair is self._selected:
                self._begin_doubt(self._now)

    def doubt(self, now: float) -> None:
        """The network has changed: whether the selected pair still works is to be found out at once."""
        now = self._enter(now)
        self._begin_doubt(now)

    def note_inbound(self, now: float) -> None:
        """Authenticated data came from the peer; once a burst is enough."""
        if now > self._heard:
            self._heard = now
        if self.state == _DISCONNECTED:
            self._due = NOW

    def close(self, now: float) -> None:
        """End: nothing is sent or answered from now on."""
        self._enter(now)
        if self.state == _CLOSED:
            return
        self._unselect()
        self._transactions.clear()
        self._pairs.clear()
        self._locals.clear()
        self._remotes.clear()
        self._early.clear()
        self._sources.clear()
        self._set_state(_CLOSED)

    # ---------------------------------------------------------------- inputs from the network

    def handle_stun(self, port: int, data: bytes, src: Address, now: float) -> None:
        """A datagram (or stream frame) that looks like STUN."""
        if self.state == _CLOSED:
            return
        try:
            message = stun.decode(data)
            now = self._enter(now)
            if message.type == stun.BINDING_REQUEST:
                self._handle_request(port, message, src, now)
            elif message.type in (stun.BINDING_SUCCESS, stun.BINDING_ERROR):
                self._handle_response(port, message, src, now)
            elif message.type != stun.BINDING_INDICATION:  # a keepalive needs nothing
                self.counters.add("stun_unexpected")
        except ParseError:
            self.counters.add("stun_malformed")

    def _handle_request(self, port: int, message: stun.Message, src: Address, now: float) -> None:
        attributes = message.attributes
        username = attributes.get(stun.USERNAME, b"")
        ours, _, theirs = username.decode("utf-8", "replace").partition(":")
        credentials = self._credentials
        previous = self._previous
        if ours != credentials.local_ufrag:
            if previous is None or ours != previous.local_ufrag:
                self.counters.add("stun_bad_username")
                return
            credentials = previous
        elif credentials.remote_ufrag and theirs != credentials.remote_ufrag:
            if previous is None or theirs != previous.remote_ufrag:
                self.counters.add("stun_bad_username")
                return
            credentials = previous
        if not message.verify(credentials.local_key):
            self.counters.add("stun_bad_integrity")
            return
        local = self._locals.get(port)
        if local is None or self.state == _FAILED:
            self.counters.add("stun_not_answered")
            return

        priority = stun.decode_u32(attributes.get(stun.PRIORITY, b"\0\0\0\0"))
        nomination = stun.decode_u32(attributes.get(stun.NOMINATION, b"\0\0\0\0")) & 0xFFFFFF
        use_candidate = stun.USE_CANDIDATE in attributes or nomination > 0
        unknown = message.unknown_required(_KNOWN)
        kind = stun.BINDING_ERROR
        if unknown:
            self.counters.add("stun_unknown_attribute")
            answer = [
                (stun.ERROR_CODE, stun.error_value(_UNKNOWN_ATTRIBUTE, "Unknown Attribute")),
                (stun.UNKNOWN_ATTRIBUTES, stun.unknown_attributes_value(unknown)),
            ]
        elif not self._settle_role(attributes):
            answer = [(stun.ERROR_CODE, stun.error_value(_ROLE_CONFLICT, "Role Conflict"))]
        else:
            kind = stun.BINDING_SUCCESS
            answer = [(stun.XOR_MAPPED_ADDRESS, stun.xor_address_value(src, message.transaction_id))]
        data = stun.build(kind, message.transaction_id, answer, credentials.local_key)
        self.transmits.append(Transmit(port, data, src))
        if kind == stun.BINDING_ERROR:
            return
        self._heard = max(self._heard, now)
        if credentials is previous:
            return  # the old path's consent: nothing new is to be learnt from it
        check = _PeerCheck(theirs, priority, use_candidate, nomination)
        if credentials.complete:
            self._learn(port, src, check, now)
        else:
            self._remember_early(port, src, check)

    def _settle_role(self, attributes: dict[int, bytes]) -> bool:
        """Find and repair a role conflict (RFC 8445 section 7.3.1.1); False when the peer has to give way."""
        theirs = attributes.get(stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED)
        if theirs is None:
            return True
        peer_is_larger = stun.decode_u64(theirs) > self._tie_breaker
        if peer_is_larger == self.controlling:
            self._switch_role(not self.controlling)
            return True
        self.counters.add("role_conflict_refused")
        return False

    def _remember_early(self, port: int, src: Address, check: _PeerCheck) -> None:
        known = self._early.get((port, src))
        if known is None and len(self._early) >= MAX_EARLY_CHECKS:
            self.counters.add("early_check_limit")
            return
        if known is not None and known.ufrag == check.ufrag:
            check.use_candidate |= known.use_candidate
            check.nomination = max(check.nomination, known.nomination)
        self._early[port, src] = check
        self._accept_source(port, src)

    def _learn(self, port: int, src: Address, check: _PeerCheck, now: float) -> None:
        """A check of the peer was answered: find or make its pair, check it in turn, heed a nomination."""
        pair = self._pairs.get(port, src)
        if pair is None:
            local = self._locals[port]
            remote = self._remotes.get((local.base.protocol, src))
            if remote is None:
                remote = self._discover(local, src, check.priority)
                if remote is None:
                    return
            pair = self._new_pair(local, remote)
            if pair is None:
                return
        self._accept_source(port, src)
        pair.heard = True
        pair.blocked = False
        if pair.state == IN_PROGRESS:
            self._repeat_check(pair, now)
        elif pair.state != SUCCEEDED:
            self._pairs.trigger(pair)
        if check.use_candidate and not self.controlling:
            if pair.state == SUCCEEDED:
                self._follow_nomination(pair, check.nomination, now)
            else:
                pair.nominated = True
                pair.nomination = max(pair.nomination, check.nomination)

    def _repeat_check(self, pair: Pair, now: float) -> None:
        """The peer can reach us by a pair whose check is under way: it may have been too early, so send it again."""
        for transaction in self._transactions:
            check = transaction.owner
            if check.pair is pair and transaction.left and now >= transaction.last_sent + self._options.pacing:
                self._transactions.sent_again(transaction, now)
                self._transmit(transaction)

    def _discover(self, local: Local, src: Address, priority: int) -> Remote | None:
        """A peer-reflexive candidate of the peer (RFC 8445 section 7.3.1.3)."""
        self._prflx_count += 1
        return self._new_remote(
            Candidate(
                foundation=f"prflx{self._prflx_count}",
                component=1,
                protocol=local.base.protocol,
                priority=priority,
                address=src[0],
                port=src[1],
                type=PRFLX,
            )
        )

    def _handle_response(self, port: int, message: stun.Message, src: Address, now: float) -> None:
        transaction = self._transactions.get(message.transaction_id)
        if transaction is None:
            self.counters.add("stun_unknown_transaction")
            return
        if not message.verify(transaction.key):
            self.counters.add("stun_bad_integrity")
            return
        if (port, src) != (transaction.port, transaction.addr):
            self.counters.add("stun_asymmetric")  # RFC 8445 section 7.2.5.2.1
            return
        if message.unknown_required(_KNOWN):
            self.counters.add("stun_unknown_attribute")
            return
        attributes = message.attributes
        if message.type == stun.BINDING_SUCCESS:
            value = attributes.get(stun.XOR_MAPPED_ADDRESS)
            mapped = None if value is None else stun.decode_xor_address(value, message.transaction_id)
            self._transactions.remove(transaction)
            self._check_succeeded(transaction, mapped, now)
        else:
            code, reason = stun.decode_error(attributes.get(stun.ERROR_CODE, b""))
            self._transactions.remove(transaction)
            self._check_refused(transaction.owner, code, reason)

    def _check_succeeded(self, transaction: Transaction[_Check], mapped: Address | None, now: float) -> None:
        check = transaction.owner
        pair = check.pair
        rtt = transaction.rtt(now)
        # an answer to a repeated request shows too short a round trip at worst; a clear one then replaces it
        if transaction.sends == 1:
            pair.rtt = pair.rtt + (rtt - pair.rtt) / 4 if pair.rtt_clear else rtt
            pair.rtt_clear = True
        elif not pair.rtt_clear:
            pair.rtt = rtt
        self._rtt = pair.rtt
        self._heard = max(self._heard, now)
        pair.heard = True
        pair.blocked = False
        pair.last_error = ""
        rebound = False
        if mapped is not None:
            before, pair.mapped = pair.mapped, self._name_mapped(pair.local, mapped)
            rebound = before is not None and before.transport_address != pair.mapped.transport_address
        self._accept_source(pair.local.port, pair.remote.addr)
        if pair is self._selected:
            self._consent_ok = now
            self._consent_missed = 0
            if transaction.first_sent >= self._doubted_at:
                self._doubted_at = self._probe_at = INF
            if check.consent:
                self._consent_at = self._consent_next
        if check.consent:
            if rebound and self.controlling and pair is self._current:
                # A NAT on the way has forgotten us: the peer answers to our new address, but sends to the old one.
                self._nominate(pair, now)
            return
        if pair.state != SUCCEEDED:
            self._pairs.taken(pair)
            pair.state = SUCCEEDED
            pair.validated_at = now
        if self.controlling:
            current = self._current
            if check.use_candidate and (current is None or pair.kind < current.kind):
                self._select(pair, False, now)
        elif pair.nominated:
            self._follow_nomination(pair, pair.nomination, now)

    def _name_mapped(self, local: Local, mapped: Address) -> Candidate:
        """Which candidate of ours the peer sees: a known one, or a peer-reflexive one (RFC 8445 section 7.2.5.3.1)."""
        for candidate in (local.base, *local.reflexive):
            if candidate.transport_address == mapped or candidate.protocol == TCP:
                return candidate
        base = local.base
        return Candidate(
            foundation=f"prflx-{base.foundation}",
            component=1,
            protocol=base.protocol,
            priority=stun.decode_u32(local.priority_value),
            address=mapped[0],
            port=mapped[1],
            type=PRFLX,
            related_address=base.address,
            related_port=base.port,
        )

    def _check_refused(self, check: _Check, code: int, reason: str) -> None:
        pair = check.pair
        if code == _ROLE_CONFLICT:
            if check.controlling == self.controlling:
                self._switch_role(not self.controlling)
            if check.consent:
                self._consent_at = self._consent_next
            else:
                self._pairs.trigger(pair)
            return
        pair.last_error = f"{code} {reason}".strip()
        self.counters.add("check_refused")
        if check.consent:
            self._consent_at = self._consent_next
        elif pair.state == IN_PROGRESS:
            pair.state = FAILED

    # ---------------------------------------------------------------- time

    def advance(self, now: float) -> float:
        """Do what is due; the time of the next call. See ``sansio.base.contract``."""
        if now > self._now:
            self._now = now
        if now < self._due:
            return self._due
        now = self._now
        if self.state >= _FAILED:
            self._due = INF
            return INF
        self._run_transactions(now)
        watch_at = self._watch(now)
        if self.state == _FAILED:
            self._due = INF
            return INF
        consent_at = self._run_consent(now)
        self._decide(now)
        if now >= self._probe_at:
            self._probe(now)
        check_at = self._send_checks(now)
        self._due = min(self._transactions.next, watch_at, consent_at, self._probe_at, self._decide_at, check_at)
        return self._due

    def _enter(self, now: float) -> float:
        """Note an input: its time, never earlier than the last, and that ``advance`` has work."""
        if now > self._now:
            self._now = now
        self._due = NOW
        return self._now

    def _run_transactions(self, now: float) -> None:
        again, lost = self._transactions.due(now)
        for transaction in again:
            self._transmit(transaction)
        for transaction in lost:
            check = transaction.owner
            pair = check.pair
            if check.consent:
                self._consent_at = min(self._consent_at, now)
                self._consent_missed += 1
                self._begin_doubt(now)
            elif pair.state == IN_PROGRESS:
                pair.state = FAILED
                pair.last_error = pair.last_error or "no answer"

    def _watch(self, now: float) -> float:
        """Judge silence; returns when to look again."""
        options = self._options
        if self.state == _NEW:
            return INF
        expires = INF
        if self._selected is not None:
            expires = self._consent_ok + options.consent_expiry
        if self.state == _CHECKING:
            if now >= expires:
                self._unselect()  # the old path, during a restart: consent has expired, so sending must cease
                expires = INF
            gives_up = self._search_from + options.connect_timeout
            if self._selected is not None and now < self._consent_ok + options.failed_after:
                if now >= gives_up:  # the old path still answers, so there is time to search on
                    gives_up = self._search_again(now)
            elif now >= gives_up or (self._remote_ended and self._all_failed()):
                self._fail()
            return min(expires, gives_up)
        disconnects = self._heard + options.disconnected_after
        fails = min(self._heard + options.failed_after, expires)
        if now >= fails:
            self._fail()
            return INF
        if now >= disconnects or self._selected is None:
            self._set_state(_DISCONNECTED)
            self._begin_doubt(now)
            return fails
        self._set_state(_CONNECTED)
        return min(disconnects, fails)

    def _search_again(self, now: float) -> float:
        """Check all that has failed once more; returns when to give up."""
        self._search_from = now
        for pair in self._pairs.all():
            if pair.state == FAILED:
                self._pairs.trigger(pair)
        return now + self._options.connect_timeout

    def _all_failed(self) -> bool:
        pairs = self._pairs.all()
        return bool(pairs) and all(pair.state == FAILED for pair in pairs)

    def _fail(self) -> None:
        # The pairs stay for the report: nothing else looks at them now, and a new generation begins without them.
        for pair in self._pairs.all():
            if pair.state == IN_PROGRESS:
                pair.state = FAILED
                pair.last_error = pair.last_error or "no answer"
        self._unselect()
        self._transactions.clear()
        self._doubted_at = self._probe_at = INF
        self._set_state(_FAILED)

    def _run_consent(self, now: float) -> float:
        """Keep the selected pair's consent fresh, which is its keepalive as well (RFC 7675 section 5.1)."""
        pair = self._selected
        if pair is None:
            return INF
        if now >= self._consent_at:
            interval = self._options.consent_interval
            self._consent_at = INF
            self._consent_next = now + self._jitter.uniform(0.8 * interval, 1.2 * interval)
            self._send_check(pair, now, consent=True)
        return self._consent_at

    def _begin_doubt(self, now: float) -> None:
        """The selected pair may be dead. After a restart there are checks enough."""
        if self._doubted_at == INF and self.state in (_CONNECTED, _DISCONNECTED):
            self._doubted_at = self._probe_at = now

    def _probe(self, now: float) -> None:
        """Check the pair in doubt and the best others again, with the credentials in hand."""
        self._probe_at = now + self._options.probe_interval
        current = self._current
        if current is not None and not any(
            check.owner.pair is current and check.first_sent == now for check in self._transactions
        ):
            self._send_check(current, now, consent=True)
        others = [pair for pair in self._pairs.all() if pair is not current][: self._options.probes]
        for pair in others:
            if pair.state in (SUCCEEDED, FAILED):
                self._pairs.trigger(pair)
        for transaction in self._transactions:
            check = transaction.owner
            waited = now - transaction.last_sent >= self._options.probe_interval - _ROUNDING
            if waited and not check.consent and check.pair in others and transaction.left:
                self._transactions.sent_again(transaction, now)
                self._transmit(transaction)

    # ---------------------------------------------------------------- checks

    def _send_checks(self, now: float) -> float:
        """Send the checks whose turn it is; returns when the next one's turn comes."""
        if not self._credentials.complete:
            return INF
        if self.controlling and not self._offered and not self.remote_lite and self._current is None:
            favourite = self._pairs.favourite()
            if favourite is not None and favourite.state == WAITING and self._may_check():
                self._take_turn(now)
                self._send_check(favourite, now, use_candidate=True)
        while True:
            pair = self._pairs.peek()
            if pair is None or not self._may_check():
                return INF
            if self._pace > now + _ROUNDING:
                return self._pace
            self._take_turn(now)
            self._send_check(pair, now)

    def _take_turn(self, now: float) -> None:
        """Use one place of the pacing; unused ones are saved up to the size of a burst."""
        pacing = self._options.pacing
        self._pace = max(self._pace, now - pacing * (self._options.burst - 1)) + pacing

    def _may_check(self) -> bool:
        return len(self._transactions) < MAX_CHECKS_IN_FLIGHT

    def _send_check(
        self, pair: Pair, now: float, *, use_candidate: bool = False, consent: bool = False, nomination: int = 0
    ) -> None:
        options = self._options
        credentials = pair.credentials
        role = stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED
        attributes = [
            (stun.USERNAME, credentials.username),
            (role, stun.u64_value(self._tie_breaker)),
            (stun.PRIORITY, pair.local.priority_value),
        ]
        if use_candidate:
            self._offered = True
            attributes.append((stun.USE_CANDIDATE, b""))
            if nomination:
                attributes.append((stun.NOMINATION, stun.u32_value(nomination)))
        id = self._ids.bytes(12)
        if consent:
            rto, retransmissions = max(options.consent_timeout, 3 * pair.rtt), 0
        elif pair.reliable:
            rto, retransmissions = options.stream_timeout, 0
        else:
            rtt = pair.rtt or self._rtt
            rto = min(max(2 * rtt, options.rto_min), options.rto_max) if rtt else options.rto
            retransmissions = options.retransmissions
        transaction = Transaction(
            id,
            stun.build(stun.BINDING_REQUEST, id, attributes, credentials.remote_key),
            pair.local.port,
            pair.remote.addr,
            _Check(pair, use_candidate, consent, self.controlling),
            key=credentials.remote_key,
            rto=rto,
            retransmissions=retransmissions,
            now=now,
            limit=options.rto_limit,
        )
        if pair.state == WAITING:
            self._pairs.taken(pair)
        if not pair.checks_sent:
            pair.first_check = now
        pair.checks_sent += 1
        self._transactions.add(transaction)
        self.transmits.append(Transmit(transaction.port, transaction.data, transaction.addr))

    def _transmit(self, transaction: Transaction[_Check]) -> None:
        transaction.owner.pair.checks_sent += 1
        self.transmits.append(Transmit(transaction.port, transaction.data, transaction.addr))

    # ---------------------------------------------------------------- nomination and selection

    def _decide(self, now: float) -> None:
        """As the controlling agent, nominate the best pair once its time has come."""
        self._decide_at = INF
        if not self.controlling or not self._credentials.complete:
            return
        current = self._current
        silent = current is not None and now >= self._doubted_at + max(self._options.doubt, 3 * current.rtt)
        top: Pair | None = None
        best: Pair | None = None
        for pair in self._pairs.all():
            if (
                pair.state == FAILED
                or pair.blocked
                or (silent and (pair is current or pair.validated_at < self._doubted_at))
            ):
                continue
            top = top or pair
            if pair.state == SUCCEEDED:
                best = pair
                break
        if best is None or top is None or best is current:
            return
        if current is not None:
            if silent or best.kind < current.kind:
                self._nominate(best, now)
            return
        at = best.validated_at
        if best.kind > top.kind and top.checks_sent:
            at = top.first_check  # how long the better way has had to answer, not how long this one has waited
        at += nomination_wait(best.kind, top.kind, best is top, best.rtt)
        if now >= at:
            self._nominate(best, now)
        else:
            self._decide_at = at

    def _nominate(self, pair: Pair, now: float) -> None:
        """Tell the peer to use a valid pair, and use it: data may go by any valid pair (RFC 8445 section 12.1)."""
        self._withdraw_nominations()
        if self._offered:
            self._nomination += 1
            self._send_check(pair, now, use_candidate=True, nomination=self._nomination)
        else:
            self._send_check(pair, now, use_candidate=True)
        self._select(pair, False, now)

    def _withdraw_nominations(self) -> None:
        """Stop repeating USE-CANDIDATE for pairs that are no longer meant; their checks begin anew without it."""
        for transaction in self._transactions:
            check = transaction.owner
            if check.use_candidate:
                self._transactions.remove(transaction)
                if check.pair.state == IN_PROGRESS:
                    check.pair.state = WAITING

    def _follow_nomination(self, pair: Pair, nomination: int, now: float) -> None:
        """As the controlled agent, heed the peer's nomination of a valid pair.

        With a counter the highest wins. Without, a second nomination is followed to a pair of higher priority, as
        aggressive nomination (RFC 5245) needs it, or away from a pair that no longer answers.
        """
        pair.nominated = False
        pair.nomination = 0
        current = self._current
        if nomination:
            if nomination <= self._peer_nomination:
                return
            self._peer_nomination = nomination
        elif (
            current is not None
            and self._selected_by_peer
            and not self._consent_missed
            # behind a counted nomination, one without a counter is an older one
            and (self._peer_nomination or pair.priority < current.priority)
        ):
            return
        self._selected_by_peer = True
        if pair is not current:
            self._select(pair, True, now)

    def _select(self, pair: Pair, by_peer: bool, now: float) -> None:
        self._drop_consent_checks()
        self._selected = pair
        self._selected_by_peer = by_peer
        self.selected_port = pair.local.port
        self.selected_addr = pair.remote.addr
        self._previous = None
        interval = self._options.consent_interval
        self._consent_ok = now
        self._consent_missed = 0
        self._consent_at = self._consent_next = now + self._jitter.uniform(0.8 * interval, 1.2 * interval)
        if self._doubted_at < INF:
            self._doubted_at = now  # it has to show first that it is better
        self.outbox.append(
            PairSelected(
                local=pair.mapped or pair.local.base,
                remote=pair.remote.candidate,
                port=pair.local.port,
                addr=pair.remote.addr,
                rtt=pair.rtt,
            )
        )
        self._set_state(_CONNECTED)

    def _unselect(self) -> None:
        self._drop_consent_checks()
        self._selected = None
        self._previous = None
        self.selected_port = -1
        self.selected_addr = None

    def _drop_consent_checks(self) -> None:
        for transaction in self._transactions:
            if transaction.owner.consent:
                self._transactions.remove(transaction)

    # ---------------------------------------------------------------- bookkeeping

    def _new_credentials(self) -> Credentials:
        # RFC 8839 section 5.4 asks for 24 random bits in the fragment and 128 in the password: 48 and 144
        return Credentials(self._secrets.token(8), self._secrets.token(24))

    def _begin_generation(self, credentials: Credentials) -> None:
        """ICE restart: all is found out anew but for our candidates; the selected pair stays in use for the while."""
        if self._selected is not None and self._selected.credentials is self._credentials:
            self._previous = self._credentials
        for transaction in self._transactions:
            if not (transaction.owner.consent and transaction.owner.pair is self._selected):
                self._transactions.remove(transaction)
        self._pairs.clear()
        self._remotes.clear()
        self._early.clear()
        selected = self.selected_port, self.selected_addr
        for key in [key for key, generation in self._sources.items() if generation < self._generation]:
            if key != selected:
                del self._sources[key]
        self._generation += 1
        self._credentials = credentials
        self._remote_ended = False
        self._offered = False
        self._peer_nomination = 0
        self._search_from = INF
        self._decide_at = INF
        self._doubted_at = self._probe_at = INF

    def _switch_role(self, controlling: bool) -> None:
        self.controlling = controlling
        self._withdraw_nominations()
        self._pairs.order(controlling)
        self._selected_by_peer = False
        self.outbox.append(RoleChanged(controlling))

    def _set_state(self, state: IceState) -> None:
        if state != self.state:
            self.state = state
            self.outbox.append(IceStateChanged(state))

    def _renew_search(self, now: float) -> None:
        if self._search_from != INF:
            self._search_from = now

    def _new_remote(self, candidate: Candidate) -> Remote | None:
        if len(self._remotes) >= MAX_REMOTE_CANDIDATES:
            self.counters.add("remote_candidate_limit")
            return None
        remote = Remote(candidate)
        self._remotes[candidate.protocol, remote.addr] = remote
        return remote

    def _forget_remote(self, key: tuple[str, Address]) -> None:
        for pair in self._pairs.of_remote(self._remotes.pop(key)):
            self._drop_pair(pair)

    def _pair_up(self, local: Local, remote: Remote) -> None:
        """Pair a port with a candidate where packets can go (RFC 8445 section 6.1.2.2)."""
        if local.base.protocol != remote.candidate.protocol or self._pairs.get(local.port, remote.addr) is not None:
            return
        if local.peer is not None:
            if local.peer != remote.addr:
                return
        elif not can_pair(local.base.address, remote.candidate.address):
            return
        self._new_pair(local, remote)

    def _new_pair(self, local: Local, remote: Remote) -> Pair | None:
        pair = Pair(local, remote, self._credentials, self.controlling)
        if not self._pairs.add(pair):
            self.counters.add("pair_limit")
            return None
        return pair

    def _drop_pair(self, pair: Pair) -> None:
        self._pairs.remove(pair)
        for transaction in self._transactions:
            if transaction.owner.pair is pair:
                self._transactions.remove(transaction)

    def _accept_source(self, port: int, addr: Address) -> None:
        key = port, addr
        if key not in self._sources and len(self._sources) >= MAX_SOURCES:
            keep = self.selected_port, self.selected_addr
            del self._sources[next(other for other in self._sources if other != keep)]
            self.counters.add("source_limit")
        self._sources[key] = self._generation


def _stale(candidate: Candidate, ufrag: str) -> bool:
    """Whether a candidate names another ICE generation than ``ufrag``."""
    return candidate.ufrag not in ("", ufrag)
