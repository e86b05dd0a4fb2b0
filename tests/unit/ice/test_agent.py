from __future__ import annotations

import pytest

from sansio.base.contract import INF
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import MAX_PAIRS
from sansio.ice import stun
from sansio.ice.agent import IceOptions, IceState, IceStateChanged, PairSelected, RoleChanged

from .alone import A, B, uses

NEW, CHECKING, CONNECTED, _, FAILED, CLOSED = IceState


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
            net.a.agent._pairing.locals[1].base, net.b.agent._pairing.locals[1].base, 1, B, pytest.approx(0.05)
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
            tie = one.agent._checks.tie_breaker
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
        one.request(role=stun.ICE_CONTROLLING, tie=one.agent._checks.tie_breaker + 1)
        assert not one.agent.controlling
        assert one.sent()[0][0].type == stun.BINDING_SUCCESS
        other = alone(controlling=False)
        other.request(role=stun.ICE_CONTROLLED, tie=other.agent._checks.tie_breaker)
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
        assert net.a.agent._watch.missed == 0
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
            assert net.a.agent._watch.missed == 0
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

    def test_new_answers_to_old_checks_are_nobodys(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.advance()
        [(check, _, _)] = alone.sent()
        alone.agent.restart(0.0)
        alone.respond(check)
        assert alone.agent.counters["stun_unknown_transaction"] == 1


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
        assert list(agent._pairing.locals) == [1]

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
