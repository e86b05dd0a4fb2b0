from __future__ import annotations

import pytest

from sansio.base.counters import Counters
from sansio.base.limits import MAX_CHECKS_IN_FLIGHT, MAX_PAIRS, MAX_REMOTE_CANDIDATES
from sansio.ice import stun
from sansio.ice.agent import IceState, PairSelected
from sansio.ice.candidate import Candidate
from sansio.ice.credentials import Credentials
from sansio.ice.pairing import Pairing
from sansio.ice.pairs import CheckList

from .alone import A, B, uses

DISCONNECTED = IceState.DISCONNECTED


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
        assert len(alone.agent._pairing.locals[1].reflexive) == 1
        alone.agent.add_local(candidate("203.0.113.1", 10, "srflx"), 1, 0.0)
        assert len(alone.agent._pairing.locals[1].reflexive) == 2


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
        assert len(alone.agent._checks) == MAX_CHECKS_IN_FLIGHT
        # a check by a pair that had no room
        paired = {report.remote.port for report in alone.agent.pairs_report() if report.local.port == 5001}
        left = next(port for port in range(1000, 1000 + MAX_REMOTE_CANDIDATES) if port not in paired)
        for report in alone.agent._pairs.all():
            report.state = 3
        alone.request(src=("198.51.100.1", left), port=2)
        assert not alone.agent.is_valid_source(2, ("198.51.100.1", left))

    def test_a_new_generation_and_the_end(self, candidate):
        counters = Counters()
        pairs = CheckList(Credentials("ours", "secret"), True)
        pairing = Pairing(pairs, counters)
        assert pairing.add_local(candidate(*A), 1, None)
        assert pairing.add_remote(candidate(*B))
        assert len(pairs) == 1
        pairing.begin_generation(Credentials("other", "secret"))
        assert (list(pairing.locals), len(pairing.remotes), len(pairs)) == ([1], 0, 0)
        assert pairing.add_remote(candidate(*B))
        assert pairs.all()[0].credentials.local_ufrag == "other"
        pairing.clear()
        assert (len(pairing.locals), len(pairing.remotes), len(pairs)) == (0, 0, 0)

    def test_removal(self, alone, candidate):
        alone = alone()
        alone.agent.add_local(candidate("192.0.2.7", 7, rank=1), 2, 0.0)
        alone.agent.add_local(candidate("192.0.2.8", 8, rank=1), 3, 0.0)
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        checks = alone.sent()
        assert len(alone.agent._checks) == 3
        alone.agent.remove_local(3, 0.0)
        assert len(alone.agent._checks) == 2
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
