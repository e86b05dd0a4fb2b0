"""Our checks: when each leaves, how it is repeated, and whose an answer is (RFC 8445 sections 6.1.4 and 7.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..base.contract import INF, NOW, Address, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.limits import MAX_CHECKS_IN_FLIGHT
from . import stun
from .binding import KNOWN, build_check
from .facts import IceOptions
from .pairs import FAILED, IN_PROGRESS, SUCCEEDED, WAITING, CheckList, Pair
from .transactions import Transaction, Transactions

_ROUNDING = 1e-6


class Check:
    """What a transaction was for. ``controlling`` is the role that it told the peer."""

    __slots__ = ("pair", "use_candidate", "consent", "controlling")

    def __init__(self, pair: Pair, use_candidate: bool, consent: bool, controlling: bool) -> None:
        self.pair = pair
        self.use_candidate = use_candidate
        self.consent = consent
        self.controlling = controlling


class Checks:
    """The checks of a check list that are under way, and those for the consent of the selected pair."""

    __slots__ = ("tie_breaker", "_pairs", "_transmits", "_counters", "_options", "_ids", "_under_way", "_pace", "_rtt")

    def __init__(
        self, pairs: CheckList, transmits: deque[Transmit], counters: Counters, entropy: Entropy, options: IceOptions
    ) -> None:
        self.tie_breaker = entropy.fork("ice-tie-breaker").uint(64)
        self._pairs = pairs
        self._transmits = transmits
        self._counters = counters
        self._options = options
        self._ids = entropy.fork("ice-transactions")
        self._under_way: Transactions[Check] = Transactions()
        self._pace = NOW
        self._rtt = 0.0  # of the pair that answered last: the best guess for one that has not answered yet

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def full(self) -> bool:
        """Whether new pairs have to wait for an answer or a timeout."""
        return len(self._under_way) >= MAX_CHECKS_IN_FLIGHT

    @property
    def next(self) -> float:
        """When ``repeat_due`` has work; may be early, never late."""
        return self._under_way.next

    # ---------------------------------------------------------------- sending

    def send_due(self, now: float) -> float:
        """Send the checks whose turn it is; returns when the next one's turn comes."""
        while True:
            pair = self._pairs.peek()
            if pair is None or self.full:
                return INF
            if self._pace > now + _ROUNDING:
                return self._pace
            self.send_in_turn(pair, now)

    def send_in_turn(self, pair: Pair, now: float, *, use_candidate: bool = False) -> None:
        """Send a check that takes one place of the pacing; unused ones are saved up to the size of a burst."""
        pacing = self._options.pacing
        self._pace = max(self._pace, now - pacing * (self._options.burst - 1)) + pacing
        self.send(pair, now, use_candidate=use_candidate)

    def send(
        self, pair: Pair, now: float, *, use_candidate: bool = False, nomination: int = 0, consent: bool = False
    ) -> None:
        """Send a check at once. ``nomination`` is the counter that goes with USE-CANDIDATE, 0 for none."""
        options = self._options
        credentials = pair.credentials
        if consent:
            rto, retransmissions = max(options.consent_timeout, 3 * pair.rtt), 0
        elif pair.reliable:
            rto, retransmissions = options.stream_timeout, 0
        else:
            rtt = pair.rtt or self._rtt
            rto = min(max(2 * rtt, options.rto_min), options.rto_max) if rtt else options.rto
            retransmissions = options.retransmissions
        controlling = self._pairs.controlling
        id = self._ids.bytes(12)
        transaction = Transaction(
            id,
            build_check(
                id,
                credentials,
                pair.local.priority_value,
                controlling=controlling,
                tie_breaker=self.tie_breaker,
                use_candidate=use_candidate,
                nomination=nomination,
            ),
            pair.local.port,
            pair.remote.addr,
            Check(pair, use_candidate, consent, controlling),
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
        self._under_way.add(transaction)
        self._transmit(transaction)

    def repeat_due(self, now: float) -> list[Check]:
        """Send again what has not been answered for long enough; returns the checks that are given up."""
        again, lost = self._under_way.due(now)
        for transaction in again:
            self._transmit(transaction)
        return [transaction.owner for transaction in lost]

    def repeat_early(self, pair: Pair, now: float) -> None:
        """The peer can reach us by a pair whose check is under way: it may have been too early, so send it again."""
        for transaction in self._under_way:
            if (
                transaction.owner.pair is pair
                and transaction.left
                and now >= transaction.last_sent + self._options.pacing
            ):
                self._repeat(transaction, now)

    def probe(self, current: Pair | None, others: Sequence[Pair], now: float) -> None:
        """Check the pair in doubt at once, and others as soon as their turn comes, or again where one is under way."""
        if current is not None and not any(
            transaction.owner.pair is current and transaction.first_sent == now for transaction in self._under_way
        ):
            self.send(current, now, consent=True)
        for pair in others:
            if pair.state in (SUCCEEDED, FAILED):
                self._pairs.trigger(pair)
        for transaction in self._under_way:
            check = transaction.owner
            waited = now - transaction.last_sent >= self._options.probe_interval - _ROUNDING
            if waited and not check.consent and check.pair in others and transaction.left:
                self._repeat(transaction, now)

    def _repeat(self, transaction: Transaction[Check], now: float) -> None:
        self._under_way.sent_again(transaction, now)
        self._transmit(transaction)

    def _transmit(self, transaction: Transaction[Check]) -> None:
        transaction.owner.pair.checks_sent += 1
        self._transmits.append(Transmit(transaction.port, transaction.data, transaction.addr))

    # ---------------------------------------------------------------- answers

    def answered(self, port: int, message: stun.Message, src: Address) -> Transaction[Check] | None:
        """The check that a response answers; None for what is nobody's or not to be believed, which is counted."""
        transaction = self._under_way.get(message.transaction_id)
        if transaction is None:
            self._counters.add("stun_unknown_transaction")
        elif not message.verify(transaction.key):
            self._counters.add("stun_bad_integrity")
        elif (port, src) != (transaction.port, transaction.addr):
            self._counters.add("stun_asymmetric")  # RFC 8445 section 7.2.5.2.1
        elif message.unknown_required(KNOWN):
            self._counters.add("stun_unknown_attribute")
        else:
            return transaction
        return None

    def succeeded(self, transaction: Transaction[Check], now: float) -> None:
        """A check is over, and has shown a round trip."""
        self._under_way.remove(transaction)
        pair = transaction.owner.pair
        pair.measure(transaction.rtt(now), clear=transaction.sends == 1)
        self._rtt = pair.rtt

    def refused(self, transaction: Transaction[Check]) -> None:
        """A check is over, answered by an error."""
        self._under_way.remove(transaction)

    # ---------------------------------------------------------------- what is no longer wanted

    def withdraw_nominations(self) -> None:
        """Stop repeating USE-CANDIDATE for pairs that are no longer meant; their checks begin anew without it."""
        for transaction in self._under_way:
            check = transaction.owner
            if check.use_candidate:
                self._under_way.remove(transaction)
                if check.pair.state == IN_PROGRESS:
                    check.pair.state = WAITING

    def drop_consent(self) -> None:
        """Another pair is selected, or none: whether the last one answers does not matter any more."""
        for transaction in self._under_way:
            if transaction.owner.consent:
                self._under_way.remove(transaction)

    def drop_all_but_consent(self) -> None:
        """A new generation begins, in which the selected pair stays in use for the while."""
        for transaction in self._under_way:
            if not transaction.owner.consent:
                self._under_way.remove(transaction)

    def drop_pair(self, pair: Pair) -> None:
        """A pair is gone."""
        for transaction in self._under_way:
            if transaction.owner.pair is pair:
                self._under_way.remove(transaction)

    def clear(self) -> None:
        """Wait for no answer any more."""
        self._under_way.clear()
