from __future__ import annotations

import itertools

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import (
    MAX_CHECKS_IN_FLIGHT,
    MAX_EARLY_CHECKS,
    MAX_PAIRS,
    MAX_REMOTE_CANDIDATES,
    MAX_SOURCES,
)
from sansio.ice import stun
from sansio.ice.agent import IceAgent, IceOptions, IceState, IceStateChanged, PairSelected, RoleChanged
from sansio.ice.candidate import Candidate

NEW, CHECKING, CONNECTED, DISCONNECTED, FAILED, CLOSED = IceState

A, B = ("192.0.2.1", 5000), ("192.0.2.2", 6000)
TID = b"transaction!"


@pytest.fixture(name="net")
def simple_net(Net, candidate):
    """Two agents with one host candidate each, not introduced yet; 50 ms one way."""
    net = Net(delay=0.05)
    net.add(net.a, candidate(*A))
    net.add(net.b, candidate(*B))
    return net


def uses(message: stun.Message) -> bool:
    return stun.USE_CANDIDATE in message.attributes


class Alone:
    """One agent, played against by hand with the peer's credentials "them" and "secret"."""

    def __init__(self, candidate, *, controlling=True, options=None, known=True, local=True, **more):
        self.agent = IceAgent(Entropy(b"alone"), controlling=controlling, options=options or IceOptions())
        self.now = 0.0
        if local:
            self.agent.add_local(candidate(*A), 1, 0.0)
        if known:
            self.agent.set_remote_credentials("them", "secret", 0.0, **more)

    def advance(self, now=None):
        self.now = self.now if now is None else now
        return self.agent.advance(self.now)

    def sent(self) -> list[tuple[stun.Message, tuple[str, int], int]]:
        found = [(stun.decode(sent.data), sent.addr, sent.port) for sent in self.agent.transmits]
        self.agent.transmits.clear()
        return found

    def events(self):
        found = list(self.agent.outbox)
        self.agent.outbox.clear()
        return found

    def request(
        self,
        *more: tuple[int, bytes],
        src=B,
        port=1,
        role=stun.ICE_CONTROLLED,
        tie=0,
        ufrag="them",
        key=None,
        priority=True,
        username=None,
    ):
        """Have a check of the peer arrive."""
        attributes = [(stun.USERNAME, username or f"{self.agent.local_ufrag}:{ufrag}".encode())]
        if role:
            attributes.append((role, stun.u64_value(tie)))
        if priority:
            attributes.append((stun.PRIORITY, stun.u32_value(1853759231)))
        data = stun.build(
            stun.BINDING_REQUEST, TID, [*attributes, *more], stun.Key((key or self.agent.local_pwd).encode())
        )
        self.agent.handle_stun(port, data, src, self.now)

    def respond(self, message, *, src=B, port=1, mapped=A, kind=stun.BINDING_SUCCESS, key=b"secret", more=()):
        """Answer one of its checks."""
        id = message.transaction_id
        attributes = [(stun.XOR_MAPPED_ADDRESS, stun.xor_address_value(mapped, id))] if mapped else []
        data = stun.build(kind, id, [*attributes, *more], stun.Key(key))
        self.agent.handle_stun(port, data, src, self.now)

    def refuse(self, message, code=400, **more):
        self.respond(
            message, mapped=None, kind=stun.BINDING_ERROR, more=((stun.ERROR_CODE, stun.error_value(code)),), **more
        )

    def connect(self, candidate):
        """Select the pair of A and B."""
        self.agent.add_remote(candidate(*B), self.now)
        self.advance()
        [(check, _, _)] = self.sent()
        self.now += 0.1
        self.respond(check)
        self.advance()
        assert self.agent.selected_addr == B
        self.sent(), self.events()
        return self


@pytest.fixture(name="alone")
def alone_function(candidate):
    return lambda **more: Alone(candidate, **more)


class TestShortestJoin:
    def test_the_first_check_nominates_and_its_answer_selects(self, net):
        net.connect()
        net.run(5.0)
        at, first = net.requests("a")[0]
        assert at == 0.0
        assert uses(first)
        assert stun.ICE_CONTROLLING in first.attributes
        [(at, selected)] = net.a.selections()
        assert at == pytest.approx(0.1)
        assert selected == PairSelected(
            net.a.agent._locals[1].base, net.b.agent._locals[1].base, 1, B, pytest.approx(0.05)
        )
        assert (net.a.agent.selected_port, net.a.agent.selected_addr) == (1, B)
        [(at, _)] = net.b.selections()
        assert at == pytest.approx(0.1)
        assert net.a.states() == net.b.states() == [CHECKING, CONNECTED]

    @pytest.mark.parametrize("rtt", [0.002, 0.02, 0.1, 0.3])
    def test_credentials_and_candidate_known_at_once_cost_one_round_trip(self, net, rtt):
        """The server knew us before: it has checked, and answers at once."""
        net.delay = rtt / 2
        net.introduce(net.b, net.a)
        net.run(1.0)
        start = net.now
        net.introduce(net.a, net.b)
        net.run(start + 2.0)
        first = next((at, message) for at, message in net.requests("a"))
        assert first[0] == start
        assert uses(first[1])
        [(at, _)] = net.a.selections()
        assert at == pytest.approx(start + rtt)
        [(at, _)] = net.b.selections()
        assert at == pytest.approx(start + rtt / 2), "the peer selects when the nomination arrives"

    def test_trickled_candidate_is_checked_in_the_same_instant(self, net):
        net.introduce(net.a, net.b, candidates=False)
        net.introduce(net.b, net.a, candidates=False)
        net.run(1.0)
        assert not net.log
        net.trickle(net.a, net.b)
        net.run(3.0)
        assert net.requests("a")[0][0] == 1.0
        assert net.a.selections()[0][0] == pytest.approx(1.1)
        assert net.b.selections()[0][0] == pytest.approx(1.15)

    def test_local_candidate_that_comes_last(self, Net, candidate):
        net = Net()
        net.add(net.b, candidate(*B))
        net.connect()
        net.run(1.0)
        net.add(net.a, candidate(*A))
        net.run(2.0)
        assert net.a.selections()[0][0] == pytest.approx(1.1)

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


class TestEarlyChecks:
    def test_they_are_answered_and_remembered(self, net):
        net.introduce(net.b, net.a)
        net.run(1.0)
        assert net.a.agent.state == NEW
        assert net.a.agent.is_valid_source(1, B)
        assert not net.a.agent.is_valid_source(1, A)
        assert not net.a.agent.is_valid_source(2, B)
        assert net.b.agent.pairs_report()[0].state == "succeeded"
        net.introduce(net.a, net.b, candidates=False)
        net.run(2.0)
        assert net.a.selections()[0][0] == pytest.approx(1.1)
        assert net.a.agent.pairs_report()[0].remote.type == "prflx"
        net.trickle(net.a, net.b)
        net.run(3.0)
        [report] = net.a.agent.pairs_report()
        assert report.remote.type == "host"
        assert report.selected

    def test_a_nomination_among_them_counts(self, Net, candidate):
        net = Net(roles=(False, True))
        net.add(net.a, candidate(*A))
        net.add(net.b, candidate(*B))
        net.introduce(net.b, net.a)
        net.run(1.0)
        assert net.b.agent.state == CONNECTED
        net.introduce(net.a, net.b, candidates=False)
        net.run(2.0)
        assert net.a.selections()[0][0] == pytest.approx(1.1)

    def test_what_they_said_is_put_together(self, alone):
        alone = alone(controlling=False, known=False)
        alone.request((stun.NOMINATION, stun.u32_value(3)), role=stun.ICE_CONTROLLING)
        alone.request(role=stun.ICE_CONTROLLING)
        alone.request(role=stun.ICE_CONTROLLING, src=("192.0.2.3", 1), ufrag="other")
        alone.request(role=stun.ICE_CONTROLLING, src=("192.0.2.4", 1), ufrag="other")
        alone.request(role=stun.ICE_CONTROLLING, src=("192.0.2.4", 1))
        assert len(alone.sent()) == 5
        alone.agent.set_remote_credentials("them", "secret", 0.0)
        alone.advance()
        checks = alone.sent()
        assert [addr for _, addr, _ in checks] == [B, ("192.0.2.4", 1)]
        alone.respond(checks[0][0])
        assert alone.agent.selected_addr == B

    def test_limit(self, alone):
        alone = alone(known=False)
        for number in range(MAX_EARLY_CHECKS + 1):
            alone.request(src=("192.0.2.9", 1000 + number))
        assert len(alone.sent()) == MAX_EARLY_CHECKS + 1
        assert alone.agent.counters["early_check_limit"] == 1
        assert not alone.agent.is_valid_source(1, ("192.0.2.9", 1000 + MAX_EARLY_CHECKS))
        alone.request(src=("192.0.2.9", 1000))
        assert alone.agent.counters["early_check_limit"] == 1

    def test_the_port_may_go(self, alone):
        alone = alone(known=False)
        alone.request()
        alone.agent.remove_local(1, 0.0)
        alone.agent.set_remote_credentials("them", "secret", 0.0)
        alone.advance()
        assert not alone.agent.pairs_report()

    def test_deaf_peer(self, Net, candidate):
        net = Net(fate=lambda source, destination, index: [0.05] if net.now >= 2.0 or source == B else [])
        net.add(net.a, candidate(*A))
        net.add(net.b, candidate(*B))
        net.introduce(net.a, net.b)
        net.run(2.0)
        net.introduce(net.b, net.a)
        net.run(4.0)
        assert net.a.selections()[0][0] == pytest.approx(2.15), "not at 3.1, when the next repetition was due"


class TestLite:
    def test_nominated_only_after_a_plain_check(self, alone, candidate):
        alone = alone(lite=True)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        assert not uses(check)
        alone.respond(check)
        alone.advance()
        [(nomination, _, _)] = alone.sent()
        assert uses(nomination)
        assert stun.NOMINATION not in nomination.attributes
        assert alone.agent.selected_addr == B
        alone.respond(nomination)
        assert alone.agent.state == CONNECTED
        assert len([event for event in alone.events() if isinstance(event, PairSelected)]) == 1

    def test_a_lite_peer_never_controls(self, alone):
        alone = alone(controlling=False, lite=True)
        assert alone.agent.controlling
        assert RoleChanged(True) in alone.events()


class TestRoleConflict:
    @pytest.mark.parametrize("roles", [(True, True), (False, False)])
    @pytest.mark.parametrize("seed", [b"1", b"2", b"3", b"4"])
    def test_both_alike(self, Net, candidate, roles, seed):
        net = Net(roles=roles, seed=seed)
        net.add(net.a, candidate(*A))
        net.add(net.b, candidate(*B))
        net.connect()
        net.run(3.0)
        assert net.a.agent.controlling != net.b.agent.controlling
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        changes = [event for node in (net.a, net.b) for _, event in node.events if isinstance(event, RoleChanged)]
        assert len(changes) == 1

    def test_the_larger_tie_breaker_stays_and_refuses(self, alone):
        for controlling, role in ((True, stun.ICE_CONTROLLING), (False, stun.ICE_CONTROLLED)):
            one = alone(controlling=controlling)
            tie = one.agent._tie_breaker
            # equal counts as larger on the side that was asked
            for theirs in (tie, tie - 1) if controlling else (tie + 1,):
                one.request(role=role, tie=theirs)
                [(answer, _, _)] = one.sent()
                assert answer.type == stun.BINDING_ERROR
                assert stun.decode_error(answer.attributes[stun.ERROR_CODE]) == (487, "Role Conflict")
                assert answer.verify(stun.Key(one.agent.local_pwd.encode()))
                assert one.agent.controlling is controlling
                assert not one.agent.pairs_report()

    def test_the_smaller_one_gives_way(self, alone):
        one = alone(controlling=True)
        one.request(role=stun.ICE_CONTROLLING, tie=one.agent._tie_breaker + 1)
        assert not one.agent.controlling
        assert one.sent()[0][0].type == stun.BINDING_SUCCESS
        other = alone(controlling=False)
        other.request(role=stun.ICE_CONTROLLED, tie=other.agent._tie_breaker)
        assert other.agent.controlling

    def test_487_switches_and_repeats(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.agent.add_remote(candidate("192.0.2.3", 1), 0.0)
        alone.advance()
        (first, _, _), (second, addr, _) = alone.sent()
        assert uses(first) != uses(second)
        alone.refuse(first, 487, src=B if addr != B else addr)
        assert alone.agent.controlling is False
        alone.advance()
        again = alone.sent()
        assert [stun.ICE_CONTROLLED in check.attributes for check, _, _ in again] == [True]
        assert not uses(again[0][0])
        # the other answer to the old role changes nothing more
        alone.refuse(second, 487, src=("192.0.2.3", 1))
        assert alone.agent.controlling is False

    def test_a_conflict_over_a_consent_check(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.advance(alone.now + 3.1)
        [(consent, _, _)] = alone.sent()
        alone.refuse(consent, 487)
        assert not alone.agent.controlling
        assert alone.agent.selected_addr == B
        due = alone.advance()
        assert due < INF
        assert not alone.sent()

    def test_without_a_role_there_is_no_conflict(self, alone):
        alone = alone()
        alone.request(role=0)
        assert alone.sent()[0][0].type == stun.BINDING_SUCCESS


class TestReflexive:
    def test_both_behind_nat(self, Net, candidate):
        net = Net()
        net.add(net.a, candidate(*A))
        net.add(net.b, candidate(*B))
        net.nat = {A: ("203.0.113.1", 100), B: ("203.0.113.2", 200)}
        net.add(net.b, candidate("203.0.113.2", 200, "srflx"), 1)
        net.introduce(net.a, net.b)
        net.introduce(net.b, net.a, candidates=False)
        net.run(3.0)
        [(_, a)] = net.a.selections()
        assert (a.local.type, a.local.transport_address) == ("prflx", ("203.0.113.1", 100))
        assert (a.local.related_address, a.local.related_port) == A
        assert a.remote.type == "srflx"
        [(_, b)] = net.b.selections()
        assert b.local.type == "srflx"
        assert (b.remote.type, b.addr) == ("prflx", ("203.0.113.1", 100))
        net.b.agent.add_remote(candidate("203.0.113.1", 100, "srflx"), net.now)
        [report] = net.b.agent.pairs_report()
        assert (report.remote.type, report.selected) == ("srflx", True)

    def test_the_signalled_candidate_pairs_with_every_port(self, alone, candidate):
        alone = alone()
        alone.agent.add_local(candidate("192.0.2.7", 7), 2, 0.0)
        alone.request()
        assert len(alone.agent.pairs_report()) == 1
        alone.agent.add_remote(candidate(*B), 0.0)
        assert len(alone.agent.pairs_report()) == 2
        assert {report.remote.type for report in alone.agent.pairs_report()} == {"host"}

    def test_known_remote_on_another_path_is_paired_when_its_check_arrives(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate("127.0.0.1", 80), 0.0)
        assert not alone.agent.pairs_report()
        alone.request(src=("127.0.0.1", 80))
        assert alone.agent.pairs_report()[0].remote.type == "host"

    def test_the_answer_need_not_tell_our_address(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.respond(check, mapped=None)
        assert alone.agent.pairs_report()[0].local.type == "host"

    def test_own_candidates_of_one_port_are_kept_once(self, alone, candidate):
        alone = alone()
        for _ in range(3):
            alone.agent.add_local(candidate("203.0.113.1", 9, "srflx"), 1, 0.0)
            alone.agent.add_local(candidate(*A), 1, 0.0)
        assert len(alone.agent._locals[1].reflexive) == 1
        alone.agent.add_local(candidate("203.0.113.1", 10, "srflx"), 1, 0.0)
        assert len(alone.agent._locals[1].reflexive) == 2


class TestPairing:
    def test_families_and_scopes(self, alone, candidate):
        alone = alone()
        alone.agent.add_local(candidate("2001:db8::1", 1), 2, 0.0)
        alone.agent.add_local(candidate("127.0.0.1", 1), 3, 0.0)
        for address in ("198.51.100.1", "2001:db8::9", "127.0.0.1", "::1", "fe80::1"):
            alone.agent.add_remote(candidate(address, 9), 0.0)
        pairs = {(report.local.address, report.remote.address) for report in alone.agent.pairs_report()}
        assert pairs == {
            ("192.0.2.1", "198.51.100.1"),
            ("2001:db8::1", "2001:db8::9"),
            ("127.0.0.1", "127.0.0.1"),
        }

    def test_unusable_and_repeated_candidates(self, alone, candidate):
        alone = alone()
        for strange in (
            candidate("host.local", 1),
            Candidate("1", 2, "udp", 1, "198.51.100.1", 1, "host"),
            candidate("0.0.0.0", 1),
            candidate("198.51.100.1", 1, protocol="tcp", tcptype="active"),
        ):
            alone.agent.add_remote(strange, 0.0)
        assert alone.agent.counters["candidate_unusable"] == 4
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.agent.add_remote(candidate(*B), 0.0)
        assert alone.agent.counters["candidate_duplicate"] == 1
        alone.agent.add_remote(candidate("198.51.100.1", 1, ufrag="them"), 0.0)
        alone.agent.add_remote(candidate("198.51.100.2", 1, ufrag="older"), 0.0)
        assert alone.agent.counters["candidate_stale"] == 1
        assert len(alone.agent.pairs_report()) == 2

    def test_candidates_before_the_credentials_are_sifted(self, alone, candidate):
        alone = alone(known=False)
        alone.agent.add_remote(candidate(*B, ufrag="older"), 0.0)
        alone.agent.add_remote(candidate("192.0.2.3", 1, ufrag="them"), 0.0)
        alone.agent.set_remote_credentials("them", "secret", 0.0)
        assert [report.remote.address for report in alone.agent.pairs_report()] == ["192.0.2.3"]
        assert alone.agent.counters["candidate_stale"] == 1

    def test_streams_pair_with_their_far_end_only_and_are_not_repeated(self, alone, candidate):
        alone = alone(local=False)
        stream = candidate("192.0.2.1", 9, protocol="tcp", tcptype="active")
        alone.agent.add_local(stream, 5, 0.0, peer=("198.51.100.1", 7881))
        alone.agent.add_remote(candidate("198.51.100.1", 7881, protocol="tcp", tcptype="passive"), 0.0)
        alone.agent.add_remote(candidate("198.51.100.2", 7881, protocol="tcp", tcptype="passive"), 0.0)
        alone.agent.add_remote(candidate("198.51.100.1", 7881), 0.0)
        [report] = alone.agent.pairs_report()
        assert (report.protocol, report.type, report.remote.address) == ("tcp", "direct TCP", "198.51.100.1")
        assert alone.advance() == pytest.approx(10.0)
        [(check, _, _)] = alone.sent()
        assert uses(check)
        alone.now = 0.1
        alone.request(src=("198.51.100.1", 7881), port=5)
        assert len(alone.sent()) == 1, "an answer and nothing else"
        alone.now = 0.3
        alone.respond(check, src=("198.51.100.1", 7881), port=5, mapped=("203.0.113.4", 33000))
        [selected] = [event for event in alone.events() if isinstance(event, PairSelected)]
        assert selected.local == stream
        assert selected.rtt == pytest.approx(0.3)

    def test_limits(self, alone, candidate):
        alone = alone()
        for number in range(MAX_REMOTE_CANDIDATES + 1):
            alone.agent.add_remote(candidate("198.51.100.1", 1000 + number), 0.0)
        assert alone.agent.counters["remote_candidate_limit"] == 1
        alone.request(src=("198.51.100.2", 1))
        assert alone.agent.counters["remote_candidate_limit"] == 2
        assert not alone.agent.is_valid_source(1, ("198.51.100.2", 1))
        alone.agent.add_local(candidate("192.0.2.1", 5001, rank=1), 2, 0.0)
        assert len(alone.agent.pairs_report()) == MAX_PAIRS
        assert alone.agent.counters["pair_limit"] == 2 * MAX_REMOTE_CANDIDATES - MAX_PAIRS
        while alone.now < 2.0:
            alone.now = alone.advance()
        assert len(alone.agent._transactions) == MAX_CHECKS_IN_FLIGHT
        # a check by a pair that had no room
        paired = {report.remote.port for report in alone.agent.pairs_report() if report.local.port == 5001}
        left = next(port for port in range(1000, 1000 + MAX_REMOTE_CANDIDATES) if port not in paired)
        for report in alone.agent._pairs.all():
            report.state = 3
        alone.request(src=("198.51.100.1", left), port=2)
        assert not alone.agent.is_valid_source(2, ("198.51.100.1", left))

    def test_sources_are_bounded_and_the_selected_one_stays(self, alone, candidate):
        alone = alone().connect(candidate)
        agent = alone.agent
        for generation in range(6):
            for number in range(MAX_EARLY_CHECKS):
                agent._accept_source(1, ("198.51.100.1", 10 * number + generation))
        for number in range(MAX_SOURCES):
            agent._accept_source(1, ("198.51.100.2", number))
        assert len(agent._sources) == MAX_SOURCES
        assert agent.is_valid_source(1, B)
        assert agent.counters["source_limit"] > 0

    def test_removal(self, alone, candidate):
        alone = alone()
        alone.agent.add_local(candidate("192.0.2.7", 7, rank=1), 2, 0.0)
        alone.agent.add_local(candidate("192.0.2.8", 8, rank=1), 3, 0.0)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        checks = alone.sent()
        assert len(alone.agent._transactions) == 3
        alone.agent.remove_local(3, 0.0)
        assert len(alone.agent._transactions) == 2
        for check, _, port in checks[:2]:
            alone.respond(check, port=port)
        alone.advance()
        assert alone.agent.selected_port == 1
        alone.sent(), alone.events()
        alone.agent.remove_local(1, 1.0)
        alone.agent.remove_local(1, 1.0)
        assert alone.agent.selected_addr is None
        assert not alone.agent.is_valid_source(1, B)
        alone.advance(1.0)
        assert alone.agent.selected_port == 2
        [(nomination, _, port)] = alone.sent()
        assert port == 2
        assert uses(nomination)
        assert stun.decode_u32(nomination.attributes[stun.NOMINATION]) == 1
        alone.agent.remove_local(2, 2.0)
        alone.advance(2.0)
        assert alone.agent.selected_port == -1
        assert alone.agent.state == DISCONNECTED
        assert alone.agent.rtt == 0.0


class TestNomination:
    """As the controlling side."""

    def two_kinds(self, alone, candidate, **more):
        alone = alone(**more)
        alone.agent.add_local(candidate("203.0.113.5", 5, "relay"), 2, 0.0)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        direct, relayed = alone.sent()
        assert (direct[2], relayed[2]) == (1, 2)
        assert uses(direct[0])
        assert not uses(relayed[0])
        return alone, direct[0], relayed[0]

    def test_a_lower_kind_waits_then_is_nominated(self, alone, candidate):
        alone, _, relayed = self.two_kinds(alone, candidate)
        alone.now = 0.04
        alone.respond(relayed, port=2)
        alone.advance()
        assert alone.agent.selected_addr is None
        alone.advance(0.119)  # three round trips from the first check of the better kind
        assert alone.agent.selected_addr is None
        alone.sent()
        alone.advance(0.121)
        assert alone.agent.selected_port == 2
        sent = alone.sent()
        assert uses(sent[0][0])
        assert stun.decode_u32(sent[0][0].attributes[stun.NOMINATION]) == 1
        # the first nomination is withdrawn: the direct pair is checked anew without it
        assert [(port, uses(check)) for check, _, port in sent] == [(2, True), (1, False)]
        # it answers late: a better kind takes over, with a higher counter
        alone.now = 0.3
        alone.respond(sent[1][0])
        alone.advance()
        [again] = [check for check, _, port in alone.sent() if port == 1]
        assert stun.decode_u32(again.attributes[stun.NOMINATION]) == 2
        assert alone.agent.selected_port == 1
        assert [event.port for event in alone.events() if isinstance(event, PairSelected)] == [2, 1]

    def test_a_lower_kind_that_comes_when_the_better_has_had_its_time(self, alone, candidate):
        alone, _, relayed = self.two_kinds(alone, candidate)
        alone.advance(0.14)
        alone.now = 0.2
        alone.respond(relayed, port=2)  # the round trip from the last sending is short
        alone.advance()
        assert alone.agent.selected_port == 2

    def test_the_better_kind_in_time_spares_the_second_nomination(self, alone, candidate):
        alone, direct, relayed = self.two_kinds(alone, candidate)
        alone.now = 0.04
        alone.respond(relayed, port=2)
        alone.advance()
        alone.now = 0.06
        alone.respond(direct)
        alone.advance()
        assert alone.agent.selected_port == 1
        assert not alone.sent()

    def test_a_nomination_without_answer_leaves_the_pair_valid(self, alone, candidate):
        """Consent decides about a selected pair, nothing else does."""
        alone = alone(lite=True, options=IceOptions(retransmissions=0))
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        alone.respond(alone.sent()[0][0])
        alone.advance()
        alone.advance(1.0)
        assert not alone.agent._transactions
        assert alone.agent.pairs_report()[0].state == "succeeded"
        assert alone.agent.selected_addr == B

    def test_a_refused_or_blocked_better_pair_is_not_waited_for(self, alone, candidate):
        for harm in ("refuse", "block"):
            one, direct, relayed = self.two_kinds(alone, candidate)
            if harm == "refuse":
                one.refuse(direct)
                assert one.agent.counters["check_refused"] == 1
                [report, _] = one.agent.pairs_report()
                assert (report.state, report.last_error) == ("failed", "400")
            else:
                one.agent.send_failed(1, B, "Network is unreachable", 0.0)
                one.agent.send_failed(1, ("192.0.2.9", 9), "Network is unreachable", 0.0)
                assert one.agent.pairs_report()[0].last_error == "Network is unreachable"
            one.now = 0.04
            one.respond(relayed, port=2)
            one.advance()
            assert one.agent.selected_port == 2

    def test_a_blocked_pair_that_answers_is_as_good_as_ever(self, alone, candidate):
        one, direct, _ = self.two_kinds(alone, candidate)
        one.agent.send_failed(1, B, "No buffer space", 0.0)
        one.respond(direct)
        one.advance()
        assert one.agent.selected_port == 1
        assert one.agent.pairs_report()[0].last_error == ""

    def test_a_pair_of_the_same_kind_waits_a_moment_only(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B, rank=0), 0.0)
        alone.agent.add_remote(candidate("192.0.2.3", 3, rank=1), 0.0)
        alone.advance()
        (top, _, _), (other, _, _) = alone.sent()
        alone.now = 0.1
        alone.respond(other, src=("192.0.2.3", 3))
        assert alone.advance() <= 0.1501
        alone.now = 0.14
        alone.advance()
        assert alone.agent.selected_addr is None
        alone.advance(0.151)
        assert alone.agent.selected_addr == ("192.0.2.3", 3)
        nomination, check = alone.sent()[-2:]
        assert uses(nomination[0])
        # the top pair answers to its first check, which was withdrawn, then to the plain one: no reason to move
        alone.respond(top)
        assert alone.agent.counters["stun_unknown_transaction"] == 1
        alone.respond(check[0])
        alone.advance()
        assert alone.agent.selected_addr == ("192.0.2.3", 3)
        assert not alone.sent()

    def test_a_late_answer_to_the_advance_nomination_of_an_equal_pair_does_not_move(self, alone, candidate):
        """Withdrawn nominations are no longer known; an answered one of the same kind as the selected stays behind."""
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.now = 0.1
        alone.respond(check)
        alone.agent.add_remote(candidate("192.0.2.3", 3), 0.1)
        alone.advance()
        [(other, _, _)] = alone.sent()
        assert not uses(other)
        alone.respond(other, src=("192.0.2.3", 3))
        alone.advance()
        assert alone.agent.selected_addr == B

    def test_relay_first_because_it_is_all_there_is(self, alone, candidate):
        alone = alone(local=False)
        alone.agent.add_local(candidate("203.0.113.5", 5, "relay", relay_protocol="tls"), 2, 0.0)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        assert uses(check)
        alone.respond(check, port=2)
        alone.advance()
        assert alone.agent.selected_port == 2
        alone.agent.add_local(candidate(*A), 1, 1.0)
        alone.advance(1.0)
        [(check, _, _)] = alone.sent()
        assert not uses(check)
        alone.respond(check)
        alone.advance()
        [(nomination, _, _)] = alone.sent()
        assert stun.decode_u32(nomination.attributes[stun.NOMINATION]) == 1
        assert alone.agent.selected_port == 1

    def test_a_check_heard_of_makes_the_favourite(self, alone, candidate):
        """Of two equal paths, the one that the server has already used is likelier to work."""
        alone = alone(known=False)
        alone.agent.add_local(candidate("192.0.2.7", 7, rank=1), 2, 0.0)
        alone.request(port=2)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.sent()
        alone.agent.set_remote_credentials("them", "secret", 0.0)
        alone.advance()
        assert [(port, uses(check)) for check, _, port in alone.sent()] == [(2, True), (1, False)]


class TestControlled:
    def ready(self, alone, candidate, **more):
        """A controlled agent with two valid pairs, the first of higher priority."""
        alone = alone(controlling=False, **more)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.agent.add_remote(candidate("192.0.2.3", 3, rank=1), 0.0)
        alone.advance()
        for check, addr, _ in alone.sent():
            assert not uses(check)
            alone.respond(check, src=addr)
        alone.advance()
        assert alone.agent.state == CHECKING
        return alone

    def nominate(self, alone, src, value=None, plain=True):
        more = [(stun.USE_CANDIDATE, b"")] if plain else []
        if value is not None:
            more.append((stun.NOMINATION, stun.u32_value(value)))
        alone.request(*more, src=src, role=stun.ICE_CONTROLLING)

    def test_a_higher_pair_is_followed_a_lower_one_not(self, alone, candidate):
        alone = self.ready(alone, candidate)
        self.nominate(alone, ("192.0.2.3", 3))
        assert alone.agent.selected_addr == ("192.0.2.3", 3)
        self.nominate(alone, B)
        assert alone.agent.selected_addr == B
        self.nominate(alone, ("192.0.2.3", 3))
        assert alone.agent.selected_addr == B
        self.nominate(alone, B)
        assert len([event for event in alone.events() if isinstance(event, PairSelected)]) == 2

    def test_the_highest_counter_wins(self, alone, candidate):
        alone = self.ready(alone, candidate)
        self.nominate(alone, B, 5)
        self.nominate(alone, ("192.0.2.3", 3), 4)
        assert alone.agent.selected_addr == B
        self.nominate(alone, ("192.0.2.3", 3), 6, plain=False)
        assert alone.agent.selected_addr == ("192.0.2.3", 3)
        self.nominate(alone, ("192.0.2.3", 3), 0xFF000007)
        self.nominate(alone, B, 7)
        assert alone.agent.selected_addr == ("192.0.2.3", 3)

    def test_away_from_a_silent_pair(self, alone, candidate):
        alone = self.ready(alone, candidate)
        self.nominate(alone, B)
        alone.advance(4.0)
        alone.sent()
        alone.advance(5.1)
        probe = next(check for check, addr, _ in alone.sent() if addr == ("192.0.2.3", 3))
        self.nominate(alone, ("192.0.2.3", 3))
        assert alone.agent.selected_addr == B
        alone.respond(probe, src=("192.0.2.3", 3))
        assert alone.agent.selected_addr == ("192.0.2.3", 3)

    def test_a_nomination_waits_for_our_own_check(self, alone, candidate):
        alone = alone(controlling=False)
        self.nominate(alone, B)
        assert alone.agent.selected_addr is None
        alone.advance()
        check = alone.sent()[-1][0]
        alone.respond(check)
        assert alone.agent.selected_addr == B

    def test_after_a_change_of_role_the_peer_decides(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.agent.add_remote(candidate("192.0.2.3", 3, rank=1), alone.now)
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.respond(check, src=("192.0.2.3", 3))
        tie = alone.agent._tie_breaker + 1
        alone.request((stun.USE_CANDIDATE, b""), src=("192.0.2.3", 3), role=stun.ICE_CONTROLLING, tie=tie)
        assert alone.agent.selected_addr == ("192.0.2.3", 3)

    def test_use_candidate_of_a_controlled_peer_means_nothing(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.request((stun.USE_CANDIDATE, b""))
        assert alone.agent.selected_addr is None


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
        ] or [message.type for message, _, _ in answers].count(stun.BINDING_REQUEST) == 1
        repeated = next(message for message, _, _ in answers if message.type == stun.BINDING_REQUEST)
        assert repeated == check

    def test_a_valid_pair_is_not_checked_again(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.request()
        alone.advance()
        assert [check.type for check, _, _ in alone.sent()] == [stun.BINDING_SUCCESS]


class TestConsent:
    def test_checks_go_on_at_varied_intervals(self, net):
        net.connect()
        net.run(60.0)
        times = [at for at, _ in net.requests("a")][2:]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert len(gaps) > 15
        assert all(1.52 <= gap <= 2.28 for gap in gaps)
        assert len({round(gap, 3) for gap in gaps}) > 10
        assert not any(uses(message) for at, message in net.requests("a") if at > 1)
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        assert net.a.agent.rtt == pytest.approx(0.1, rel=0.3)

    def test_silence_disconnects_then_fails(self, net):
        net.connect()
        net.run(5.0)
        heard = net.a.agent._heard
        net.fate = lambda source, destination, index: []
        net.run(60.0)
        states = [(at, event.state) for at, event in net.a.events if isinstance(event, IceStateChanged)][2:]
        assert [state for _, state in states] == [DISCONNECTED, FAILED]
        heard = net.a.agent._heard
        assert [at for at, _ in states] == pytest.approx([heard + 2.5, heard + 15])
        assert net.a.agent.selected_addr is None
        assert net.a.agent.advance(net.now) == INF
        assert [report.selected for report in net.a.agent.pairs_report()] == [False]

    def test_a_break_is_survived(self, net):
        net.connect()
        net.run(5.0)
        net.fate = lambda source, destination, index: []
        net.run(14.0)
        assert net.a.agent.state == DISCONNECTED
        net.fate = lambda source, destination, index: [0.05]
        net.run(17.0)
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        assert len(net.a.selections()) == 1

    def test_inbound_data_counts_for_the_state_but_not_for_consent(self, net):
        net.connect()
        net.run(5.0)
        net.fate = lambda source, destination, index: []
        start = net.now
        while net.now < start + 29.0:
            net.run(net.now + 1.0)
            net.a.agent.note_inbound(net.now)
            net.a.due = net.a.agent.advance(net.now)
            assert net.a.agent.state == CONNECTED or net.now > start + 26
        net.run(start + 31.0)
        assert net.a.agent.state == FAILED

    def test_data_reconnects(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.advance(6.0)
        assert alone.agent.state == DISCONNECTED
        alone.agent.note_inbound(6.5)
        alone.agent.note_inbound(6.4)
        alone.advance(6.5)
        assert alone.agent.state == CONNECTED

    def test_a_refused_consent_check_is_no_consent(self, alone, candidate):
        alone = alone().connect(candidate)
        start = failed_at = alone.now
        while alone.agent.state == CONNECTED:
            failed_at = alone.now
            due = alone.advance()
            alone.agent.note_inbound(alone.now)
            for check, _, _ in alone.sent():
                alone.refuse(check, 403)
            alone.now = due
        assert alone.agent.state == FAILED
        assert failed_at == pytest.approx(start + 30.0)

    def test_a_doubt_before_the_first_check_does_not_end_them(self, alone, candidate):
        """What a probe brings is no reason to ask no more: thirty seconds later the path would be given up."""
        alone = alone().connect(candidate)
        alone.agent.doubt(alone.now)
        start = alone.now
        while alone.now < start + 40.0:
            alone.agent.note_inbound(alone.now)
            alone.advance()
            for check, _, _ in alone.sent():
                alone.respond(check)
            alone.now = min(alone.advance(), alone.now + 1.0)
        assert alone.agent.state == CONNECTED
        assert alone.agent.selected_addr == B

    def consent_seen_from(self, alone, mapped):
        alone.now = alone.agent._consent_at
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.now += 0.05
        alone.respond(check, mapped=mapped)
        alone.advance()
        nominations = [message for message, _, _ in alone.sent()]
        for nomination in nominations:
            alone.respond(nomination, mapped=mapped)
        alone.advance()
        return [stun.decode_u32(message.attributes[stun.NOMINATION]) for message in nominations]

    def test_a_controlled_agent_cannot_nominate_when_its_nat_forgets(self, alone, candidate):
        alone = alone(controlling=False)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.request((stun.USE_CANDIDATE, b""), role=stun.ICE_CONTROLLING)
        alone.respond(check)
        alone.advance()
        alone.sent(), alone.events()
        assert self.consent_seen_from(alone, ("198.51.100.1", 7)) == []
        assert not alone.events()

    def test_two_missed_answers_move_to_a_pair_that_answers(self, Net, candidate):
        dead = []
        net = Net(fate=lambda source, destination, index: [] if {source, destination} & set(dead) else [0.05])
        second = ("192.0.2.11", 5001)
        net.add(net.a, candidate(*A))
        net.add(net.a, candidate(*second, rank=1))
        net.add(net.b, candidate(*B))
        net.connect()
        net.run(5.0)
        assert net.a.agent.selected_port == 1
        dead.append(A)
        cut = net.now
        net.run(20.0)
        assert net.a.agent.selected_port == 2
        assert net.b.agent.selected_addr == second
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        at, _ = net.a.selections()[-1]
        assert at < cut + 5.5
        nominations = [message for _, message in net.requests("a") if stun.NOMINATION in message.attributes]
        assert stun.decode_u32(nominations[-1].attributes[stun.NOMINATION]) >= 1
        assert FAILED not in net.a.states()


TWO = (("192.0.2.10", 5000), ("192.0.2.11", 5001))


class Paths:
    """A client with two addresses, and what the network does to each of them."""

    def __init__(self, Net, candidate, **options):
        self.dead = set()
        self.net = net = Net(
            fate=lambda source, destination, index: [] if {source, destination} & self.dead else [0.05]
        )
        for rank, address in enumerate(TWO):
            net.add(net.a, candidate(*address, rank=rank))
        net.add(net.b, candidate(*B))
        net.connect()
        net.run(5.0)
        assert net.a.agent.selected_port == 1

    def moved(self):
        """The port in use, and since when."""
        at, event = self.net.a.selections()[-1]
        return event.port, at


class TestDoubt:
    def test_a_silent_path_gives_way_to_one_that_answers(self, Net, candidate):
        paths = Paths(Net, candidate)
        net, heard = paths.net, paths.net.a.agent._heard
        paths.dead.add(TWO[0])
        net.run(20.0)
        port, at = paths.moved()
        assert port == 2
        assert heard + 2.5 <= at < heard + 3.3
        assert net.b.agent.selected_addr == TWO[1]
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        assert FAILED not in net.a.states()
        assert net.a.agent._probe_at == INF

    @pytest.mark.parametrize("sign", ["doubt", "send_failed", "remove_local"])
    def test_a_sign_from_outside_is_not_waited_for(self, Net, candidate, sign):
        paths = Paths(Net, candidate)
        net, agent = paths.net, paths.net.a.agent
        paths.dead.add(TWO[0])
        if sign == "doubt":
            agent.doubt(net.now)
        elif sign == "send_failed":
            agent.send_failed(1, B, "Network is unreachable", net.now)
        else:
            agent.remove_local(1, net.now)
        net.a.due = -INF
        start = net.now
        net.run(20.0)
        assert paths.moved()[0] == 2
        assert paths.moved()[1] - start < (0.01 if sign == "remove_local" else 0.8)
        assert net.b.agent.selected_addr == TWO[1]

    def test_a_path_that_answers_is_kept(self, Net, candidate):
        paths = Paths(Net, candidate)
        net, agent = paths.net, paths.net.a.agent
        agent.doubt(net.now)
        net.a.due = -INF
        net.run(30.0)
        assert len(net.a.selections()) == 1
        assert agent._doubted_at == INF

    def test_everything_is_probed_until_something_answers(self, Net, candidate):
        paths = Paths(Net, candidate)
        net = paths.net
        paths.dead |= {*TWO}
        start = net.now
        net.run(start + 12.0)
        assert net.a.agent.state == DISCONNECTED
        for address in TWO:
            times = [
                at for at, name, source, _, message in net.log
                if name == "a" and source == address and message.type == stun.BINDING_REQUEST and at > start + 4
            ]  # fmt: skip
            gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
            assert max(gaps) <= 0.5
            assert len(times) < 60
        paths.dead.remove(TWO[1])
        net.run(start + 13.0)
        assert paths.moved()[0] == 2
        assert net.a.agent.state == CONNECTED

    def test_only_the_best_others_are_probed(self, Net, candidate):
        net = Net(options=IceOptions(probes=3))
        for rank in range(6):
            net.add(net.a, candidate(f"192.0.2.{10 + rank}", 5000, rank=rank))
        net.add(net.b, candidate(*B))
        net.connect()
        net.run(5.0)
        net.fate = lambda source, destination, index: []
        start = net.now
        net.run(start + 10.0)
        checked = {source for at, name, source, _, message in net.log
                   if name == "a" and at > start + 4 and message.type == stun.BINDING_REQUEST}  # fmt: skip
        assert len(checked) == 4

    def test_the_second_choice_may_be_dead_too(self, Net, candidate):
        """The port in use is taken away; the next best is nominated unseen, and given up again for one that answers."""
        paths = Paths(Net, candidate)
        net, agent = paths.net, paths.net.a.agent
        net.add(net.a, candidate("192.0.2.12", 5002, rank=2))
        net.trickle(net.a, net.b)
        net.run(7.0)
        paths.dead.add(TWO[1])
        agent.remove_local(1, net.now)
        net.a.due = -INF
        start = net.now
        net.run(start + 0.01)
        assert paths.moved()[0] == 2
        net.run(start + 1.0)
        assert paths.moved()[0] == 3

    def test_the_address_in_use(self, alone, candidate):
        one = alone()
        assert one.agent.selected_host == ""
        assert one.agent.silent_for(0.0) == INF
        one.connect(candidate)
        assert one.agent.silent_for(one.now + 1) == 1.0
        assert one.agent.selected_host == A[0]
        one.agent._selected.local.base = candidate("203.0.113.9", 9, "relay", relay_protocol="udp")
        assert one.agent.selected_host == ""

    def test_before_there_is_a_path_there_is_nothing_to_doubt(self, alone, candidate):
        alone = alone()
        alone.agent.doubt(0.0)
        assert alone.agent._probe_at == INF
        alone.connect(candidate)
        alone.agent.close(alone.now)
        alone.agent.doubt(alone.now)
        assert alone.agent._probe_at == INF

    def test_a_restart_ends_the_doubt(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.agent.doubt(alone.now)
        alone.agent.restart(alone.now)
        assert alone.agent._probe_at == INF

    def test_a_nat_that_forgets_us_is_told_to_the_peer(self, Net, candidate):
        net = Net()
        net.nat = {A: ("203.0.113.1", 100)}
        net.add(net.a, candidate(*A))
        net.add(net.b, candidate(*B))
        net.introduce(net.a, net.b)
        net.introduce(net.b, net.a, candidates=False)
        net.run(5.0)
        assert net.b.agent.selected_addr == ("203.0.113.1", 100)
        net.nat[A] = ("203.0.113.1", 200)
        net.run(9.0)
        assert net.b.agent.selected_addr == ("203.0.113.1", 200)
        net.run(40.0)
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        (_, first), (_, second) = net.a.selections()
        assert (first.addr, second.addr, second.local.port) == (B, B, 200)

    def test_the_controlled_side_probes_but_does_not_choose(self, Net, candidate):
        dead = set()
        net = Net(
            roles=(False, True), fate=lambda source, destination, index: [] if {source, destination} & dead else [0.05]
        )
        for rank, address in enumerate(TWO):
            net.add(net.a, candidate(*address, rank=rank))
        net.add(net.b, candidate(*B))
        net.connect()
        net.run(5.0)
        assert net.b.agent.selected_addr == TWO[0]
        dead.add(TWO[0])
        net.run(20.0)
        assert net.b.agent.selected_addr == TWO[1]
        assert net.a.agent.selected_port == 2
        assert net.a.agent.state == net.b.agent.state == CONNECTED


class TestSearch:
    def test_no_answer_fails_after_the_last_candidate(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 3.0)
        alone.now = 3.0
        failed_at = 0.0
        while alone.agent.state == CHECKING:
            failed_at, alone.now = alone.now, alone.advance()
        assert alone.agent.state == FAILED
        assert failed_at == pytest.approx(18.0)
        assert [report.state for report in alone.agent.pairs_report()] == ["failed"]
        alone.now = 19.0
        alone.sent()
        alone.request()
        assert not alone.sent()
        assert alone.agent.counters["stun_not_answered"] == 1

    def test_all_pairs_failed_and_no_more_to_come(self, alone, candidate):
        alone = alone(options=IceOptions(retransmissions=1))
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        alone.advance(0.1)
        alone.advance(0.5)
        assert alone.agent.state == CHECKING
        alone.agent.end_of_remote(0.5)
        alone.advance()
        assert alone.agent.state == FAILED

    def test_end_of_candidates_alone_is_not_the_end(self, alone):
        alone = alone()
        alone.agent.end_of_remote(0.0)
        alone.advance()
        assert alone.agent.state == CHECKING

    def test_without_credentials_there_is_no_deadline(self, alone, candidate):
        alone = alone(known=False)
        alone.agent.add_remote(candidate(*B), 0.0)
        assert alone.advance() == INF


class TestRestart:
    def test_data_keeps_its_path_until_the_new_pair_is_selected(self, net):
        net.connect()
        net.run(3.0)
        old = net.a.agent.local_ufrag, net.a.agent.local_pwd
        net.a.agent.restart(net.now)
        net.b.agent.restart(net.now)
        assert (net.a.agent.local_ufrag, net.a.agent.local_pwd) != old
        assert net.a.agent.remote_ufrag == ""
        for node in (net.a, net.b):
            node.due = -INF
        net.run(12.0)
        # signalling takes its time: consent of the old pair goes on with the old credentials
        assert net.a.agent.state == CHECKING
        assert net.a.agent.selected_addr == B
        assert net.a.agent._consent_missed == 0
        assert net.a.agent.is_valid_source(1, B)
        consents = [message for at, message in net.requests("a") if 3.1 < at < 12]
        assert len(consents) >= 3
        assert all(old[0] in message.attributes[stun.USERNAME].decode() for message in consents)
        net.connect()
        net.run(20.0)
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        assert len(net.a.selections()) == len(net.b.selections()) == 2
        assert net.a.selections()[1][0] == pytest.approx(12.1)
        late = [message.attributes[stun.USERNAME].decode() for at, message in net.requests("a") if at >= 12]
        assert all(net.a.agent.local_ufrag in name for name in late)
        assert net.a.agent.pairs_report()[0].selected

    def test_twice_before_the_first_is_done(self, net):
        net.connect()
        net.run(3.0)
        for _ in range(2):
            net.a.agent.restart(net.now)
            net.b.agent.restart(net.now)
            net.a.due = net.b.due = -INF
            net.run(net.now + 4.0)
            assert net.a.agent.selected_addr == B
            assert net.a.agent._consent_missed == 0
        net.connect()
        net.run(net.now + 1.0)
        assert net.a.agent.state == CONNECTED

    def test_the_search_goes_on_while_the_old_path_answers(self, alone, candidate):
        alone = alone().connect(candidate)
        old = alone.agent.local_ufrag.encode()
        alone.agent.restart(alone.now)
        alone.agent.set_remote_credentials("them2", "secret", alone.now)
        alone.agent.add_remote(candidate(*B), alone.now)
        new = []
        start = alone.now
        while alone.now < start + 40.0:
            due = alone.advance()
            for check, _, _ in alone.sent():
                if check.attributes[stun.USERNAME] == b"them:" + old:
                    alone.respond(check)
                    due = alone.advance()
                else:
                    new.append((alone.now, check))
            alone.now = due
        assert alone.agent.state == CHECKING
        assert alone.agent.selected_addr == B
        assert alone.now - new[-1][0] < 1.5
        alone.respond(new[-1][1])
        alone.advance()
        assert alone.agent.state == CONNECTED

    def test_all_pairs_of_a_restart_may_fail_at_once_while_the_old_path_answers(self, alone, candidate):
        alone = alone(options=IceOptions(retransmissions=0)).connect(candidate)
        alone.agent.restart(alone.now)
        alone.agent.set_remote_credentials("them2", "secret", alone.now)
        alone.agent.add_remote(candidate(*B), alone.now)
        alone.agent.end_of_remote(alone.now)
        alone.advance()
        alone.advance(alone.now + 1.0)
        assert [report.state for report in alone.agent.pairs_report()] == ["failed"]
        assert alone.agent.state == CHECKING
        assert alone.advance() > alone.now

    def test_the_old_path_is_left_when_its_consent_expires(self, net):
        net.connect()
        net.run(3.0)
        net.a.agent.restart(net.now)
        net.a.due = -INF
        net.fate = lambda source, destination, index: []
        net.run(40.0)
        assert net.a.agent.selected_addr is None
        assert net.a.agent.state == CHECKING

    def test_from_failure(self, net):
        net.connect()
        net.run(3.0)
        net.fate = lambda source, destination, index: []
        net.run(30.0)
        assert net.a.agent.state == net.b.agent.state == FAILED
        net.fate = lambda source, destination, index: [0.05]
        net.a.agent.restart(net.now)
        net.b.agent.restart(net.now)
        net.connect()
        net.run(32.0)
        assert net.a.agent.state == net.b.agent.state == CONNECTED

    def test_new_credentials_of_the_peer_alone(self, net):
        net.connect()
        net.run(3.0)
        net.b.agent.restart(net.now)
        net.connect()
        assert net.a.agent.state == CHECKING
        assert net.a.agent.remote_ufrag == net.b.agent.local_ufrag
        assert net.a.agent.remote_pwd == net.b.agent.local_pwd
        net.run(5.0)
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        assert len(net.a.selections()) == 2

    def test_the_peers_old_checks_are_answered_meanwhile(self, alone, candidate):
        alone = alone().connect(candidate)
        old = alone.agent.local_ufrag, alone.agent.local_pwd
        alone.agent.set_remote_credentials("them2", "secret2", alone.now)
        alone.request(ufrag="them")
        [(answer, _, _)] = alone.sent()
        assert answer.type == stun.BINDING_SUCCESS
        alone.agent.restart(alone.now)
        alone.request(username=f"{old[0]}:them".encode(), key=old[1])
        assert alone.sent()[0][0].verify(stun.Key(old[1].encode()))
        assert not alone.agent.pairs_report()
        alone.request(username=b"nobody:them")
        alone.agent.set_remote_credentials("them3", "secret3", alone.now)
        alone.request(ufrag="them2")
        assert alone.agent.counters["stun_bad_username"] == 2

    def test_the_same_credentials_again_change_nothing(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.agent.set_remote_credentials("them", "secret", alone.now)
        alone.advance()
        assert alone.agent.selected_addr == B
        assert not alone.sent()
        assert not alone.events()

    def test_before_the_start(self, alone):
        alone = alone(known=False)
        before = alone.agent.local_ufrag
        alone.agent.restart(0.0)
        assert alone.agent.local_ufrag != before
        assert alone.agent.state == NEW

    def test_sources_of_the_generation_before_the_last_are_forgotten_but_for_the_selected(self, alone, candidate):
        alone = alone().connect(candidate)
        other = ("192.0.2.3", 3)
        alone.request(src=other)
        for number in (2, 3):
            alone.agent.restart(alone.now)
            assert alone.agent.is_valid_source(1, other) is (number == 2)
            assert alone.agent.is_valid_source(1, B)

    def test_nomination_counters_go_on(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.agent._nomination = 5
        alone.agent.restart(alone.now)
        assert alone.agent._nomination == 5

    def test_new_answers_to_old_checks_are_nobodys(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.agent.restart(0.0)
        alone.respond(check)
        assert alone.agent.counters["stun_unknown_transaction"] == 1


class TestStrangers:
    """What is not authenticated is counted and dropped, and answered by nothing."""

    @pytest.mark.parametrize(
        ("more", "reason"),
        [
            ({"key": "wrong"}, "stun_bad_integrity"),
            ({"username": b"nobody:them"}, "stun_bad_username"),
            ({"username": b"\xff\xfe"}, "stun_bad_username"),
            ({"ufrag": "else"}, "stun_bad_username"),
            ({"port": 7}, "stun_not_answered"),
        ],
    )
    def test_requests(self, alone, more, reason):
        alone = alone()
        alone.request(**more)
        alone.advance()
        assert not alone.sent()
        assert alone.agent.counters.snapshot() == {reason: 1}
        assert not alone.agent.is_valid_source(1, B)

    @pytest.mark.parametrize(
        "more",
        [
            (stun.PRIORITY, b"123"),
            (stun.NOMINATION, b"123"),
            (stun.ICE_CONTROLLING, b"123"),
        ],
    )
    def test_malformed_values(self, alone, more):
        alone = alone()
        alone.request(more, role=0, priority=False)
        assert not alone.sent()
        assert alone.agent.counters["stun_malformed"] == 1

    def test_bare_requests_indications_and_rubbish(self, alone):
        alone = alone()
        alone.agent.handle_stun(1, stun.build(stun.BINDING_REQUEST, TID, []), B, 0.0)
        assert alone.agent.counters["stun_bad_username"] == 1
        alone.agent.handle_stun(1, stun.build(stun.BINDING_INDICATION, TID, []), B, 0.0)
        alone.agent.handle_stun(1, stun.build(0x0003, TID, []), B, 0.0)
        alone.agent.handle_stun(1, b"\0\1", B, 0.0)
        assert alone.agent.counters["stun_unexpected"] == 1
        assert alone.agent.counters["stun_malformed"] == 1
        assert not alone.sent()

    def test_unknown_attributes_of_a_request(self, alone):
        alone = alone()
        alone.request((0x0777, b""), (0x8777, b""))
        [(answer, _, _)] = alone.sent()
        assert stun.decode_error(answer.attributes[stun.ERROR_CODE])[0] == 420
        assert stun.decode_unknown_attributes(answer.attributes[stun.UNKNOWN_ATTRIBUTES]) == [0x0777]
        assert not alone.agent.pairs_report()
        assert alone.agent.counters["stun_unknown_attribute"] == 1

    def test_requests_without_priority_are_tolerated(self, alone):
        alone = alone()
        alone.request(priority=False)
        assert alone.agent.pairs_report()[0].remote.priority == 0

    def test_responses(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.respond(check, key=b"wrong")
        alone.respond(check, src=("192.0.2.9", 9))
        alone.respond(check, port=2)
        alone.respond(check, more=[(0x0777, b"")])
        alone.respond(check, mapped=None, more=[(stun.XOR_MAPPED_ADDRESS, b"short")])
        alone.respond(check, mapped=None, kind=stun.BINDING_ERROR)
        alone.respond(stun.Message(1, TID, {}))
        assert alone.agent.counters.snapshot() == {
            "stun_bad_integrity": 1,
            "stun_asymmetric": 2,
            "stun_unknown_attribute": 1,
            "stun_malformed": 2,
            "stun_unknown_transaction": 1,
        }
        assert alone.agent.state == CHECKING
        alone.respond(check)
        alone.respond(check)
        assert alone.agent.state == CONNECTED
        assert alone.agent.counters["stun_unknown_transaction"] == 2

    def test_a_refused_nomination_of_a_valid_pair_leaves_it_valid(self, alone, candidate):
        alone = alone(lite=True)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        alone.respond(alone.sent()[0][0])
        alone.advance()
        alone.refuse(alone.sent()[0][0], 500)
        [report] = alone.agent.pairs_report()
        assert (report.state, report.last_error) == ("succeeded", "500")


class TestMisuse:
    def test_local_candidates(self, alone, candidate):
        agent = alone().agent
        stream = candidate("192.0.2.1", 9, protocol="tcp", tcptype="active")
        for strange, more in (
            (candidate("name.local", 1), {}),
            (candidate("203.0.113.1", 1, "srflx"), {}),
            (stream, {}),
            (candidate("192.0.2.5", 9), {"peer": B}),
        ):
            with pytest.raises(LocalProtocolError):
                agent.add_local(strange, 9, 0.0, **more)
        assert list(agent._locals) == [1]

    @pytest.mark.parametrize("credentials", [("", "pwd"), ("ufrag", "")])
    def test_credentials(self, alone, credentials):
        with pytest.raises(LocalProtocolError):
            alone(known=False).agent.set_remote_credentials(*credentials, 0.0)

    def test_time_does_not_go_back(self, alone, candidate):
        alone = alone().connect(candidate)
        due = alone.advance(1.0)
        assert alone.agent.advance(0.5) == due
        alone.agent.add_remote(candidate("192.0.2.3", 3), 0.2)
        assert alone.agent.advance(0.1) > 1.0


class TestClosing:
    def test_nothing_happens_any_more(self, alone, candidate):
        alone = alone().connect(candidate)
        agent = alone.agent
        agent.close(alone.now)
        agent.close(alone.now)
        assert alone.events() == [IceStateChanged(CLOSED)]
        assert agent.selected_addr is None
        alone.request()
        agent.add_local(candidate("192.0.2.7", 7), 7, alone.now)
        agent.add_remote(candidate("192.0.2.3", 3), alone.now)
        agent.set_remote_credentials("x", "y", alone.now)
        agent.remove_local(1, alone.now)
        agent.restart(alone.now)
        agent.end_of_remote(alone.now)
        agent.send_failed(1, B, "gone", alone.now)
        agent.note_inbound(alone.now)
        assert alone.advance() == INF
        assert not alone.sent()
        assert not alone.events()
        assert not agent.is_valid_source(1, B)
        assert agent.pairs_report() == []


class TestUnderLoss:
    """Loss of a fifth, a tenth twice, delays that reorder: both sides still agree."""

    @pytest.mark.parametrize("seed", range(25))
    def test_both_agree(self, Net, lossy, candidate, seed):
        net = Net(fate=lossy(seed), seed=b"%d" % seed)
        for number in range(1 + seed % 3):
            net.add(net.a, candidate("192.0.2.1", 5000 + number, rank=number))
            net.add(net.b, candidate("192.0.2.2", 6000 + number, rank=number))
        net.connect()
        net.run(8.0)
        self.check(net)
        net.a.agent.restart(net.now)
        net.b.agent.restart(net.now)
        net.connect()
        net.run(16.0)
        self.check(net)

    def check(self, net):
        a, b = net.a.agent, net.b.agent
        assert a.state == b.state == CONNECTED
        assert a.selected_addr == net.b.ports[b.selected_port]
        assert b.selected_addr == net.a.ports[a.selected_port]

    @pytest.mark.parametrize("seed", range(6))
    def test_with_roles_in_conflict(self, Net, lossy, candidate, seed):
        net = Net(fate=lossy(seed + 100), roles=(seed % 2 == 0,) * 2, seed=b"%d" % seed)
        net.add(net.a, candidate(*A))
        net.add(net.b, candidate(*B))
        net.introduce(net.b, net.a)
        net.run(0.5)
        net.introduce(net.a, net.b)
        net.run(8.0)
        self.check(net)
        assert net.a.agent.controlling != net.b.agent.controlling

    def test_many_candidates(self, Net, lossy, candidate):
        net = Net(fate=lossy(5))
        for number in range(12):
            net.add(net.a, candidate("192.0.2.1", 5000 + number, rank=number))
            net.add(net.b, candidate("192.0.2.2", 6000 + number, rank=number))
        net.connect()
        net.run(10.0)
        self.check(net)
        assert len(net.a.agent.pairs_report()) == MAX_PAIRS

    def test_the_same_seed_gives_the_same_run(self, Net, lossy, candidate):
        logs = []
        for _ in range(2):
            net = Net(fate=lossy(3))
            net.add(net.a, candidate(*A))
            net.add(net.b, candidate(*B))
            net.connect()
            net.run(10.0)
            logs.append([(at, who, stun.encode(message)) for at, who, _, _, message in net.log])
        assert logs[0] == logs[1]
