from __future__ import annotations

from collections import deque

import pytest

from sansio.base.contract import INF
from sansio.base.counters import Counters
from sansio.base.entropy import Entropy
from sansio.base.limits import MAX_CHECKS_IN_FLIGHT
from sansio.ice import binding, stun
from sansio.ice.agent import IceOptions
from sansio.ice.checks import Checks
from sansio.ice.credentials import Credentials
from sansio.ice.pairs import FAILED, IN_PROGRESS, SUCCEEDED, WAITING, CheckList, Local, Pair, Remote

from .alone import A, B


class TestTriggeredChecks:
    def test_a_failed_pair_gets_another_chance(self, alone, candidate):
        alone = alone(options=IceOptions(retransmissions=0))
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        alone.sent()
        alone.advance(0.2)
        [report] = alone.agent.pairs_report()
        assert (report.state, report.last_error) == ("failed", "no answer")
        alone.request()
        alone.advance()
        assert [check.type for check, _, _ in alone.sent()] == [stun.BINDING_SUCCESS, stun.BINDING_REQUEST]

    def test_a_pair_in_progress_is_repeated_but_not_in_a_row(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.now = 0.03
        alone.request()
        alone.request()
        answers = alone.sent()
        assert [message.type for message, _, _ in answers] == [
            stun.BINDING_SUCCESS,
            stun.BINDING_REQUEST,
            stun.BINDING_SUCCESS,
        ]
        assert answers[1][0] == check

    def test_a_valid_pair_is_not_checked_again(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.request()
        alone.advance()
        assert [check.type for check, _, _ in alone.sent()] == [stun.BINDING_SUCCESS]


class TestSchedule:
    def test_first_checks_leave_in_a_burst_then_paced(self, alone, candidate):
        alone = alone(options=IceOptions(burst=3, pacing=0.02))
        for number in range(6):
            alone.agent.add_remote(candidate("192.0.2.9", 1000 + number, priority=1000 - number), 0.0)
        times = []
        while alone.now < 0.08:
            due = alone.advance()
            times += [(alone.now, addr[1]) for _, addr, _ in alone.sent()]
            alone.now = due
        assert [port for _, port in times] == [1000, 1001, 1002, 1003, 1004, 1005]
        assert [at for at, _ in times] == pytest.approx([0, 0, 0, 0.02, 0.04, 0.06])
        assert alone.agent.pairs_report()[0].checks_sent == 1

    def test_retransmission_starts_early_doubles_and_goes_on(self, alone, candidate):
        """A path that comes back at any time of the search is found within a second."""
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        times = []
        while alone.now < 14.0:
            due = alone.advance()
            times += [alone.now for _ in alone.sent()]
            alone.now = due
        assert times == pytest.approx([0, 0.1, 0.3, 0.7] + [0.7 + 0.8 * n for n in range(1, 17)])
        assert alone.agent.pairs_report()[0].checks_sent == 20


class Bench:
    """Checks of their own, of a list with one pair for each of the peer's ports."""

    def __init__(self, candidate, ports=1, **options):
        credentials = Credentials("ours", "secret")
        credentials.set_remote("them", "word")
        self.list = CheckList(credentials, True)
        self.counters = Counters()
        self.transmits = deque()
        self.checks = Checks(self.list, self.transmits, self.counters, Entropy(b"bench"), IceOptions(**options))
        self.local = Local(1, candidate(*A), None)
        self.pairs = [
            Pair(self.local, Remote(candidate(B[0], B[1] + number, priority=1000 - number)), credentials, True)
            for number in range(ports)
        ]
        for pair in self.pairs:
            self.list.add(pair)

    def sent(self) -> list[stun.Message]:
        found = [stun.decode(transmit.data) for transmit in self.transmits]
        self.transmits.clear()
        return found

    def answer(self, request, *, src=B, port=1, key=b"word", more=()):
        id = request.transaction_id
        message = stun.decode(stun.build(stun.BINDING_SUCCESS, id, more, stun.Key(key)))
        return self.checks.answered(port, message, src)


@pytest.fixture(name="bench")
def bench_function(candidate):
    return lambda *args, **options: Bench(candidate, *args, **options)


class TestUnderWay:
    def test_how_long_a_check_waits(self, bench):
        bench = bench(4)
        first, second, third, consent = bench.pairs
        bench.checks.send(first, 0.0)
        assert bench.checks.next == pytest.approx(0.1)
        [request] = bench.sent()
        bench.checks.succeeded(bench.answer(request), 0.04)
        assert (first.rtt, bench.checks.next) == (pytest.approx(0.04), INF)
        bench.checks.send(second, 1.0)
        assert bench.checks.next == pytest.approx(1.08), "twice the round trip that another pair has shown"
        bench.checks.clear()
        third.rtt = 0.001
        bench.checks.send(third, 1.0)
        assert bench.checks.next == pytest.approx(1.05), "no less than rto_min"
        bench.checks.clear()
        bench.checks.send(consent, 2.0, consent=True)
        assert bench.checks.next == pytest.approx(3.0)
        consent.rtt = 0.5
        bench.checks.clear()
        bench.checks.send(consent, 2.0, consent=True)
        assert bench.checks.next == pytest.approx(3.5)
        assert [check.consent for check in bench.checks.repeat_due(3.5)] == [True]

    def test_whom_an_answer_is_believed(self, bench):
        bench = bench()
        bench.checks.send_due(0.0)
        [request] = bench.sent()
        assert bench.answer(request, key=b"wrong") is None
        assert bench.answer(request, src=A) is None
        assert bench.answer(request, port=2) is None
        assert bench.answer(request, more=[(0x0777, b"")]) is None
        assert bench.answer(stun.Message(1, b"another one!", {})) is None
        assert bench.counters.snapshot() == {
            "stun_bad_integrity": 1,
            "stun_asymmetric": 2,
            "stun_unknown_attribute": 1,
            "stun_unknown_transaction": 1,
        }
        transaction = bench.answer(request)
        assert transaction.owner.pair is bench.pairs[0]
        bench.checks.refused(transaction)
        assert bench.answer(request) is None

    def test_a_full_house_waits(self, bench):
        bench = bench(MAX_CHECKS_IN_FLIGHT + 1, burst=1000)
        assert bench.checks.send_due(0.0) == INF
        assert len(bench.checks) == MAX_CHECKS_IN_FLIGHT
        assert bench.checks.full
        assert bench.pairs[-1].state == WAITING

    def test_a_repetition_out_of_turn_keeps_the_schedule(self, bench):
        bench = bench(2)
        pair = bench.pairs[0]
        bench.checks.send_due(0.0)
        bench.sent()
        bench.checks.repeat_early(pair, 0.01)
        assert not bench.sent()
        bench.checks.repeat_early(pair, 0.02)
        assert len(bench.sent()) == 1
        assert pair.checks_sent == 2
        assert bench.checks.next == pytest.approx(0.1)

    def test_probes(self, bench):
        bench = bench(4)
        current, valid, failed, asked = bench.pairs
        current.state = valid.state = SUCCEEDED
        failed.state = FAILED
        bench.checks.send(asked, 0.0)
        bench.sent()
        bench.checks.probe(current, [valid, failed, asked], 0.3)
        assert len(bench.sent()) == 2
        assert (current.checks_sent, asked.checks_sent) == (1, 2)
        assert (valid.state, failed.state, asked.state) == (WAITING, WAITING, IN_PROGRESS)
        bench.checks.probe(current, [asked], 0.3)
        assert not bench.sent(), "both were just asked"
        bench.checks.probe(None, [asked], 0.55)
        assert asked.checks_sent == 3
        assert current.checks_sent == 1

    def test_what_is_no_longer_wanted(self, bench):
        bench = bench(4)
        nominated, plain, selected, valid = bench.pairs
        valid.state = SUCCEEDED
        bench.checks.send(nominated, 0.0, use_candidate=True)
        bench.checks.send(valid, 0.0, use_candidate=True, nomination=1)
        bench.checks.send(plain, 0.0)
        bench.checks.send(selected, 0.0, consent=True)
        carried = [binding.read_check(message) for message in bench.sent()]
        assert [(check.use_candidate, check.nomination) for check in carried] == [
            (True, 0),
            (True, 1),
            (False, 0),
            (False, 0),
        ]
        bench.checks.withdraw_nominations()
        assert (nominated.state, valid.state, len(bench.checks)) == (WAITING, SUCCEEDED, 2)
        bench.checks.send(nominated, 0.0)
        bench.checks.drop_pair(plain)
        assert len(bench.checks) == 2
        bench.checks.drop_all_but_consent()
        assert len(bench.checks) == 1
        bench.checks.drop_consent()
        assert len(bench.checks) == 0
        bench.checks.send(plain, 0.0)
        bench.checks.drop_consent()
        assert len(bench.checks) == 1
        bench.checks.clear()
        assert bench.checks.next == INF
