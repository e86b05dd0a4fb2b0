from __future__ import annotations

import itertools

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.ice.agent import IceOptions, IceState, IceStateChanged
from sansio.ice.watch import Watch

from .alone import A, B, uses

CONNECTED, DISCONNECTED, FAILED = IceState.CONNECTED, IceState.DISCONNECTED, IceState.FAILED


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
        heard = net.a.agent._watch.heard
        net.fate = lambda source, destination, index: []
        net.run(60.0)
        states = [(at, event.state) for at, event in net.a.events if isinstance(event, IceStateChanged)][2:]
        assert [state for _, state in states] == [DISCONNECTED, FAILED]
        heard = net.a.agent._watch.heard
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
        alone.now = alone.agent._watch.consent_at
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
        net, heard = paths.net, paths.net.a.agent._watch.heard
        paths.dead.add(TWO[0])
        net.run(20.0)
        port, at = paths.moved()
        assert port == 2
        assert heard + 2.5 <= at < heard + 3.3
        assert net.b.agent.selected_addr == TWO[1]
        assert net.a.agent.state == net.b.agent.state == CONNECTED
        assert FAILED not in net.a.states()
        assert net.a.agent._watch.probe_at == INF

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
        assert agent._watch.doubted_at == INF

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
        assert alone.agent._watch.probe_at == INF
        alone.connect(candidate)
        alone.agent.close(alone.now)
        alone.agent.doubt(alone.now)
        assert alone.agent._watch.probe_at == INF

    def test_a_restart_ends_the_doubt(self, alone, candidate):
        alone = alone().connect(candidate)
        alone.agent.doubt(alone.now)
        alone.agent.restart(alone.now)
        assert alone.agent._watch.probe_at == INF

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


class TestClocks:
    @pytest.fixture
    def watch(self):
        watch = Watch(IceOptions(), Entropy(b"watch"))
        watch.begin(100.0)
        return watch

    def test_consent_checks_follow_one_another(self, watch):
        assert 101.52 <= watch.consent_at <= 102.28
        assert watch.expires == 130.0
        watch.consent_leaves(102.0)
        assert watch.consent_at == INF
        watch.consent_over()
        assert 103.52 <= watch.consent_at <= 104.28
        watch.consent_leaves(104.0)
        watch.consent_lost(105.0)
        assert (watch.consent_at, watch.missed) == (105.0, 1)
        watch.answer(103.0, 106.0)
        assert (watch.answered, watch.expires, watch.missed) == (106.0, 136.0, 0)
        watch.end()
        assert watch.consent_at == INF

    def test_a_doubt_lasts_until_a_later_check_is_answered(self, watch):
        watch.doubt(110.0)
        watch.doubt(111.0)
        assert (watch.doubted_at, watch.probe_at) == (110.0, 110.0)
        watch.probe_leaves(110.0)
        assert watch.probe_at == 110.25
        watch.answer(109.9, 110.1)
        assert watch.doubted_at == 110.0
        watch.answer(110.0, 110.2)
        assert (watch.doubted_at, watch.probe_at) == (INF, INF)

    def test_how_long_a_doubt_waits_for_an_answer(self, watch):
        assert watch.silent_since(0.1, 110.0) == INF
        watch.doubt(110.0)
        assert watch.silent_since(0.1, 110.4) == INF
        assert watch.silent_since(0.1, 110.5) == 110.0
        assert watch.silent_since(0.5, 111.0) == INF
        assert watch.silent_since(0.5, 111.5) == 110.0

    def test_the_pair_that_takes_over_has_to_prove_itself(self, watch):
        watch.doubt(110.0)
        watch.begin(112.0)
        assert watch.doubted_at == 112.0
        watch.calm()
        watch.begin(113.0)
        assert watch.doubted_at == INF

    def test_signs_of_the_peer_do_not_go_back(self, watch):
        assert watch.heard == -INF
        watch.hear(5.0)
        watch.hear(4.0)
        assert watch.heard == 5.0
