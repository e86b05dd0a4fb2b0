"""The ICE agent (RFC 8445): checks, nomination, consent (RFC 7675), restart, trickle both ways (RFC 8838).

Here the parts meet: ``Pairing`` and ``CheckList`` know the pairs, ``Checks`` checks them, ``nomination`` chooses one,
``Watch`` judges it. The agent carries what happens from one to the others, and keeps the state and the selected pair.

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
from . import binding, stun
from .binding import PeerCheck
from .candidate import HOST, RELAY, TCP, Candidate
from .checks import Check, Checks
from .credentials import Credentials, credentials_of, new_credentials
from .early import EarlyChecks
from .facts import IceOptions, IceState, IceStateChanged, PairReport, PairSelected, RoleChanged
from .nomination import Nominations, choose
from .pairing import Pairing
from .pairs import FAILED, IN_PROGRESS, SUCCEEDED, WAITING, CheckList, Pair
from .preference import DIRECT_UDP, usable_address
from .sources import Sources
from .transactions import Transaction
from .watch import Watch

__all__ = ["IceAgent", "IceOptions", "IceState", "IceStateChanged", "PairReport", "PairSelected", "RoleChanged"]

_NEW = IceState.NEW
_CHECKING = IceState.CHECKING
_CONNECTED = IceState.CONNECTED
_DISCONNECTED = IceState.DISCONNECTED
_FAILED = IceState.FAILED
_CLOSED = IceState.CLOSED


class IceAgent:
    """One component's ICE agent. Ports are the caller's numbers for sockets, streams or relay allocations.

    ``selected_port`` and ``selected_addr`` say where data goes now; ``selected_addr`` is None while there is nowhere.
    """

    def __init__(self, entropy: Entropy, *, controlling: bool, options: IceOptions | None = None) -> None:
        options = options or IceOptions()
        self.state = _NEW
        self.selected_port = -1
        self.selected_addr: Address | None = None
        self.remote_lite = False
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[PairSelected | IceStateChanged | RoleChanged] = deque()
        self.counters = Counters()
        self._options = options
        self._secrets = entropy.fork("ice-credentials")
        self._now = NOW
        self._due = INF
        self._pairs = CheckList(new_credentials(self._secrets), controlling)
        self._pairing = Pairing(self._pairs, self.counters)
        self._checks = Checks(self._pairs, self.transmits, self.counters, entropy, options)
        self._nominations = Nominations()
        self._watch = Watch(options, entropy.fork("ice-jitter"))
        self._early = EarlyChecks()
        self._sources = Sources(self.counters)
        self._selected: Pair | None = None
        self._search_from = INF
        self._remote_ended = False

    # ---------------------------------------------------------------- facts

    @property
    def controlling(self) -> bool:
        """Our role: whether we choose the pair."""
        return self._pairs.controlling

    @property
    def local_ufrag(self) -> str:
        """Our user fragment, for the description."""
        return self._pairs.credentials.local_ufrag

    @property
    def local_pwd(self) -> str:
        """Our password, for the description."""
        return self._pairs.credentials.local_pwd

    @property
    def remote_ufrag(self) -> str:
        """The peer's user fragment; empty until it is known."""
        return self._pairs.credentials.remote_ufrag

    @property
    def remote_pwd(self) -> str:
        """The peer's password; empty until it is known."""
        return self._pairs.credentials.remote_pwd

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
    def on_best_kind(self) -> bool:
        """Whether data goes by the best kind of path that there is, direct UDP."""
        return self._selected is not None and self._selected.kind == DIRECT_UDP

    @property
    def _current(self) -> Pair | None:
        """The selected pair, unless it is the one of before a restart."""
        pair = self._selected
        return pair if pair is not None and pair.credentials is self._pairs.credentials else None

    @property
    def _previous(self) -> Credentials | None:
        """The credentials of before a restart, while the selected pair is one of theirs."""
        pair = self._selected
        return pair.credentials if pair is not None and pair.credentials is not self._pairs.credentials else None

    def silent_for(self, now: float) -> float:
        """Seconds since the last authenticated sign of the peer; INF before the first."""
        return now - self._watch.heard

    def is_valid_source(self, port: int, src: Address) -> bool:
        """Whether data from there is the peer's: a check of ours was answered from it, or we answered one of its.

        Senders may use any pair they validated, not only the selected one.
        """
        return (port, src) in self._sources.known

    def pairs_report(self) -> list[PairReport]:
        """Every pair, best first."""
        return [pair.report(selected=pair is self._selected) for pair in self._pairs.all()]

    # ---------------------------------------------------------------- inputs from above

    def add_local(self, candidate: Candidate, port: int, now: float, *, peer: Address | None = None) -> None:
        """A candidate of ours came up on ``port``.

        The first one of a port is its base, a host or relay candidate; reflexive ones of the same port are only kept to
        name the path, since checks leave from the base anyway (RFC 8445 section 6.1.2.4). ``peer`` is the far end of a
        connected stream.
        """
        if not candidate.usable or not usable_address(candidate.address):
            raise LocalProtocolError("local candidate needs an IP address, a port and component 1")
        if candidate.type not in (HOST, RELAY) and port not in self._pairing.locals:
            raise LocalProtocolError("a reflexive candidate needs its base first")
        if (candidate.protocol == TCP) != (peer is not None):
            raise LocalProtocolError("a stream candidate, and only that, has a peer")
        now = self._enter(now)
        if self.state != _CLOSED and self._pairing.add_local(candidate, port, peer):
            self._renew_search(now)

    def remove_local(self, port: int, now: float) -> None:
        """A port of ours is gone, with every pair on it."""
        now = self._enter(now)
        for pair in self._pairing.remove_local(port):
            self._checks.drop_pair(pair)
        self._sources.remove_port(port)
        self._early.remove_port(port)
        if self._selected is not None and self._selected.local.port == port:
            self._unselect()
            self._begin_doubt(now)

    def set_remote_credentials(self, ufrag: str, pwd: str, now: float, *, lite: bool = False) -> None:
        """The peer's description arrived. The same credentials again change nothing; others mean that it restarted."""
        if not ufrag or not pwd:
            raise LocalProtocolError("remote ICE credentials are empty")
        now = self._enter(now)
        if self.state == _CLOSED:
            return
        if self._pairs.credentials.complete:
            if (self.remote_ufrag, self.remote_pwd) == (ufrag, pwd):
                return
            self._begin_generation(Credentials(self.local_ufrag, self.local_pwd))
        self._pairs.credentials.set_remote(ufrag, pwd)
        self.remote_lite = lite
        if lite and not self.controlling:
            self._switch_role(True)  # RFC 8445 section 6.1.1: a lite agent never controls a full one
        self._search_from = now
        self._set_state(_CHECKING)
        self._pairing.sift(ufrag)
        for port, src, check in self._early.take(ufrag):
            self._learn(port, src, check, now)

    def add_remote(self, candidate: Candidate, now: float) -> None:
        """A signalled candidate of the peer; what we cannot use is counted and ignored."""
        now = self._enter(now)
        if self.state != _CLOSED and self._pairing.add_remote(candidate):
            self._renew_search(now)

    def end_of_remote(self, now: float) -> None:
        """The peer has no more candidates: once every pair has failed, the agent need not wait any longer."""
        self._enter(now)
        self._remote_ended = True

    def restart(self, now: float) -> None:
        """New local credentials; data keeps its path until the new generation has selected one (RFC 8445 section 9)."""
        self._enter(now)
        if self.state == _CLOSED:
            return
        self._begin_generation(new_credentials(self._secrets))
        if self.state != _NEW:
            self._set_state(_CHECKING)

    def send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        """The network refused to send from ``port`` to ``addr``: better pairs need not be waited for on its account."""
        now = self._enter(now)
        pair = self._pairs.get(port, addr)
        if pair is not None:
            pair.blocked = True
            pair.last_error = error
            if pair is self._selected:
                self._begin_doubt(now)

    def doubt(self, now: float) -> None:
        """The network has changed: whether the selected pair still works is to be found out at once."""
        self._begin_doubt(self._enter(now))

    def note_inbound(self, now: float) -> None:
        """Authenticated data came from the peer; once a burst is enough."""
        watch = self._watch
        if now > watch.heard:
            watch.heard = now
        if self.state == _DISCONNECTED:
            self._due = NOW

    def close(self, now: float) -> None:
        """End: nothing is sent or answered from now on."""
        self._enter(now)
        if self.state == _CLOSED:
            return
        self._unselect()
        self._checks.clear()
        self._pairing.clear()
        self._early.clear()
        self._sources.clear()
        self._set_state(_CLOSED)

    # ---------------------------------------------------------------- checks of the peer

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
        credentials = credentials_of(*binding.read_username(message), self._pairs.credentials, self._previous)
        if credentials is None:
            self.counters.add("stun_bad_username")
            return
        key = credentials.local_key
        if not message.verify(key):
            self.counters.add("stun_bad_integrity")
            return
        if port not in self._pairing.locals or self.state == _FAILED:
            self.counters.add("stun_not_answered")
            return
        id = message.transaction_id
        check = binding.read_check(message)
        unknown = message.unknown_required(binding.KNOWN)
        if unknown:
            self.counters.add("stun_unknown_attribute")
            self.transmits.append(Transmit(port, binding.build_unknown_attribute(id, unknown, key), src))
            return
        if not self._settle_role(message):
            self.counters.add("role_conflict_refused")
            self.transmits.append(Transmit(port, binding.build_role_conflict(id, key), src))
            return
        self.transmits.append(Transmit(port, binding.build_success(id, src, key), src))
        self._watch.hear(now)
        if credentials is not self._pairs.credentials:
            return  # the old path's consent: nothing new is to be learnt from it
        if credentials.complete:
            self._learn(port, src, check, now)
        elif self._early.add(port, src, check):
            self._accept_source(port, src)
        else:
            self.counters.add("early_check_limit")

    def _settle_role(self, message: stun.Message) -> bool:
        """Find and repair a role conflict (RFC 8445 section 7.3.1.1); False when the peer has to give way."""
        theirs = message.attributes.get(stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED)
        if theirs is None:
            return True
        peer_is_larger = stun.decode_u64(theirs) > self._checks.tie_breaker
        if peer_is_larger != self.controlling:
            return False
        self._switch_role(not self.controlling)
        return True

    def _learn(self, port: int, src: Address, check: PeerCheck, now: float) -> None:
        """A check of the peer was answered: find or make its pair, check it in turn, heed a nomination."""
        pair = self._pairing.heard(port, src, check.priority)
        if pair is None:
            return
        self._accept_source(port, src)
        pair.heard = True
        pair.blocked = False
        if pair.state == IN_PROGRESS:
            self._checks.repeat_early(pair, now)
        elif pair.state != SUCCEEDED:
            self._pairs.trigger(pair)
        if check.use_candidate and not self.controlling:
            if pair.state == SUCCEEDED:
                self._follow_nomination(pair, check.nomination, now)
            else:
                pair.nominated = True
                pair.nomination = max(pair.nomination, check.nomination)

    # ---------------------------------------------------------------- answers to ours

    def _handle_response(self, port: int, message: stun.Message, src: Address, now: float) -> None:
        transaction = self._checks.answered(port, message, src)
        if transaction is None:
            return
        attributes = message.attributes
        if message.type == stun.BINDING_SUCCESS:
            value = attributes.get(stun.XOR_MAPPED_ADDRESS)
            mapped = None if value is None else stun.decode_xor_address(value, message.transaction_id)
            self._checks.succeeded(transaction, now)
            self._check_succeeded(transaction, mapped, now)
        else:
            code, reason = stun.decode_error(attributes.get(stun.ERROR_CODE, b""))
            self._checks.refused(transaction)
            self._check_refused(transaction.owner, code, reason)

    def _check_succeeded(self, transaction: Transaction[Check], mapped: Address | None, now: float) -> None:
        check = transaction.owner
        pair = check.pair
        watch = self._watch
        watch.hear(now)
        pair.heard = True
        pair.blocked = False
        pair.last_error = ""
        rebound = False
        if mapped is not None:
            before, pair.mapped = pair.mapped, pair.local.seen_as(mapped)
            rebound = before is not None and before.transport_address != pair.mapped.transport_address
        self._accept_source(pair.local.port, pair.remote.addr)
        if pair is self._selected:
            watch.answer(transaction.first_sent, now)
        if check.consent:
            watch.consent_over()
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
                self._select(pair, now)
        elif pair.nominated:
            self._follow_nomination(pair, pair.nomination, now)

    def _check_refused(self, check: Check, code: int, reason: str) -> None:
        pair = check.pair
        if check.consent:
            self._watch.consent_over()
        if code == binding.ROLE_CONFLICT:
            if check.controlling == self.controlling:
                self._switch_role(not self.controlling)
            if not check.consent:
                self._pairs.trigger(pair)
            return
        self.counters.add("check_refused")
        pair.last_error = f"{code} {reason}".strip()
        if not check.consent and pair.state == IN_PROGRESS:
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
        self._repeat_checks(now)
        judged_at = self._judge_search(now) if self.state <= _CHECKING else self._judge_path(now)
        if self.state == _FAILED:
            self._due = INF
            return INF
        self._run_consent(now)
        decide_at = self._decide(now)
        self._probe(now)
        check_at = self._send_checks(now)
        watch = self._watch
        self._due = min(self._checks.next, judged_at, watch.consent_at, watch.probe_at, decide_at, check_at)
        return self._due

    def _enter(self, now: float) -> float:
        """Note an input: its time, never earlier than the last, and that ``advance`` has work."""
        if now > self._now:
            self._now = now
        self._due = NOW
        return self._now

    def _repeat_checks(self, now: float) -> None:
        for check in self._checks.repeat_due(now):
            if check.consent:
                self._watch.consent_lost(now)
                self._begin_doubt(now)
            else:
                check.pair.give_up()

    def _judge_search(self, now: float) -> float:
        """Give up a search that has had its time; returns when to look again."""
        if self.state == _NEW:
            return INF
        options, watch = self._options, self._watch
        expires = watch.expires if self._selected is not None else INF
        if now >= expires:
            self._unselect()  # the old path, during a restart: consent has expired, so sending must cease
            expires = INF
        gives_up = self._search_from + options.connect_timeout
        if self._selected is not None and now < watch.answered + options.failed_after:
            if now >= gives_up:  # the old path still answers, so there is time to search on
                self._search_from = now
                self._pairs.retry_failed()
                gives_up = now + options.connect_timeout
        elif now >= gives_up or (self._remote_ended and self._pairs.all_failed):
            self._fail()
        return min(expires, gives_up)

    def _judge_path(self, now: float) -> float:
        """Judge the silence of a path that was found; returns when to look again."""
        options, watch = self._options, self._watch
        disconnects = watch.heard + options.disconnected_after
        fails = watch.heard + options.failed_after
        if self._selected is not None:
            fails = min(fails, watch.expires)
        if now >= fails:
            self._fail()
            return INF
        if now >= disconnects or self._selected is None:
            self._set_state(_DISCONNECTED)
            self._begin_doubt(now)
            return fails
        self._set_state(_CONNECTED)
        return min(disconnects, fails)

    def _fail(self) -> None:
        # The pairs stay for the report: nothing else looks at them now, and a new generation begins without them.
        self._pairs.give_up()
        self._unselect()
        self._checks.clear()
        self._watch.calm()
        self._set_state(_FAILED)

    def _run_consent(self, now: float) -> None:
        """Keep the selected pair's consent fresh, which is its keepalive as well (RFC 7675 section 5.1)."""
        if self._selected is not None and now >= self._watch.consent_at:
            self._watch.consent_leaves(now)
            self._checks.send(self._selected, now, consent=True)

    def _begin_doubt(self, now: float) -> None:
        """The selected pair may be dead. After a restart there are checks enough."""
        if self.state in (_CONNECTED, _DISCONNECTED):
            self._watch.doubt(now)

    def _probe(self, now: float) -> None:
        """Check the pair in doubt and the best others again, with the credentials in hand."""
        if now >= self._watch.probe_at:
            self._watch.probe_leaves(now)
            current = self._current
            others = [pair for pair in self._pairs.all() if pair is not current]
            self._checks.probe(current, others[: self._options.probes], now)

    def _send_checks(self, now: float) -> float:
        """Send the checks whose turn it is; returns when the next one's turn comes."""
        if not self._pairs.credentials.complete:
            return INF
        if self.controlling and not self._nominations.offered and not self.remote_lite and self._current is None:
            favourite = self._pairs.favourite()
            if favourite is not None and favourite.state == WAITING and not self._checks.full:
                self._nominations.offer()
                self._checks.send_in_turn(favourite, now, use_candidate=True)
        return self._checks.send_due(now)

    # ---------------------------------------------------------------- nomination and selection

    def _decide(self, now: float) -> float:
        """As the controlling agent, nominate the best pair once its time has come; returns when to ask again."""
        if not self.controlling or not self._pairs.credentials.complete:
            return INF
        current = self._current
        silent_since = INF if current is None else self._watch.silent_since(current.rtt, now)
        pair, decide_at = choose(self._pairs.all(), current, silent_since, now)
        if pair is not None:
            self._nominate(pair, now)
        return decide_at

    def _nominate(self, pair: Pair, now: float) -> None:
        """Tell the peer to use a valid pair, and use it: data may go by any valid pair (RFC 8445 section 12.1)."""
        self._checks.withdraw_nominations()
        self._checks.send(pair, now, use_candidate=True, nomination=self._nominations.offer())
        self._select(pair, now)

    def _follow_nomination(self, pair: Pair, counter: int, now: float) -> None:
        """As the controlled agent, heed the peer's nomination of a valid pair."""
        pair.nominated = False
        pair.nomination = 0
        current = self._current
        failing = self._watch.missed > 0
        if self._nominations.heeds(pair, counter, current, failing=failing) and pair is not current:
            self._select(pair, now)

    def _select(self, pair: Pair, now: float) -> None:
        self._checks.drop_consent()
        self._selected = pair
        self.selected_port = pair.local.port
        self.selected_addr = pair.remote.addr
        self._watch.begin(now)
        self.outbox.append(
            PairSelected(
                local=pair.named,
                remote=pair.remote.candidate,
                port=pair.local.port,
                addr=pair.remote.addr,
                rtt=pair.rtt,
            )
        )
        self._set_state(_CONNECTED)

    def _unselect(self) -> None:
        self._checks.drop_consent()
        self._selected = None
        self.selected_port = -1
        self.selected_addr = None
        self._watch.end()

    # ---------------------------------------------------------------- bookkeeping

    def _begin_generation(self, credentials: Credentials) -> None:
        """ICE restart: all is found out anew but for our candidates; the selected pair stays in use for the while."""
        self._checks.drop_all_but_consent()
        self._pairing.begin_generation(credentials)
        self._early.clear()
        self._sources.begin_generation((self.selected_port, self.selected_addr))
        self._nominations.begin_generation()
        self._watch.calm()
        self._remote_ended = False
        self._search_from = INF

    def _renew_search(self, now: float) -> None:
        """There is something new to try: the search has all its time again."""
        if self._pairs.credentials.complete:
            self._search_from = now

    def _switch_role(self, controlling: bool) -> None:
        self._pairs.set_role(controlling)
        self._checks.withdraw_nominations()
        self._nominations.role_changed()
        self.outbox.append(RoleChanged(controlling))

    def _accept_source(self, port: int, addr: Address) -> None:
        self._sources.accept(port, addr, (self.selected_port, self.selected_addr))

    def _set_state(self, state: IceState) -> None:
        if state != self.state:
            self.state = state
            self.outbox.append(IceStateChanged(state))
