from __future__ import annotations

import pytest

from sansio.base.limits import MAX_EARLY_CHECKS
from sansio.ice import stun
from sansio.ice.agent import IceState
from sansio.ice.binding import PeerCheck
from sansio.ice.early import EarlyChecks

from .alone import A, B

NEW, CONNECTED = IceState.NEW, IceState.CONNECTED


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


class TestStore:
    def test_what_one_source_said_is_put_together_unless_it_began_anew(self):
        early = EarlyChecks()
        assert early.add(1, B, PeerCheck("them", 7, True, 3))
        assert early.add(1, B, PeerCheck("them", 7, False, 2))
        [(port, src, check)] = early.take("them")
        assert (port, src, check.use_candidate, check.nomination) == (1, B, True, 3)
        assert len(early) == 0
        early.add(1, B, PeerCheck("them", 7, True, 3))
        early.add(1, B, PeerCheck("other", 7, False, 0))
        [(_, _, check)] = early.take("other")
        assert (check.use_candidate, check.nomination) == (False, 0)

    def test_checks_of_others_are_forgotten(self):
        early = EarlyChecks()
        early.add(1, B, PeerCheck("older", 7, True, 3))
        assert early.take("them") == []
        assert early.take("older") == []

    def test_removal(self):
        early = EarlyChecks()
        early.add(1, B, PeerCheck("them", 7, False, 0))
        early.add(2, B, PeerCheck("them", 7, False, 0))
        early.remove_port(1)
        assert [port for port, _, _ in early.take("them")] == [2]
        early.add(2, B, PeerCheck("them", 7, False, 0))
        early.clear()
        assert len(early) == 0
