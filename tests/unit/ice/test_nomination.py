from __future__ import annotations

import pytest

from sansio.base.contract import INF
from sansio.ice import stun
from sansio.ice.agent import IceOptions, IceState, PairSelected
from sansio.ice.credentials import Credentials
from sansio.ice.nomination import Nominations, choose
from sansio.ice.pairs import FAILED, SUCCEEDED, WAITING, Local, Pair, Remote

from .alone import A, B, uses

CHECKING = IceState.CHECKING


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
        assert not alone.agent._checks
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
        assert not alone.agent.on_best_kind
        alone.agent.add_local(candidate(*A), 1, 1.0)
        alone.advance(1.0)
        [(check, _, _)] = alone.sent()
        assert not uses(check)
        alone.respond(check)
        alone.advance()
        [(nomination, _, _)] = alone.sent()
        assert stun.decode_u32(nomination.attributes[stun.NOMINATION]) == 1
        assert alone.agent.selected_port == 1
        assert alone.agent.on_best_kind

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
        tie = alone.agent._checks.tie_breaker + 1
        alone.request((stun.USE_CANDIDATE, b""), src=("192.0.2.3", 3), role=stun.ICE_CONTROLLING, tie=tie)
        assert alone.agent.selected_addr == ("192.0.2.3", 3)

    def test_use_candidate_of_a_controlled_peer_means_nothing(self, alone, candidate):
        alone = alone()
        alone.agent.add_remote(candidate(*B), 0.0)
        alone.request((stun.USE_CANDIDATE, b""))
        assert alone.agent.selected_addr is None


CREDENTIALS = Credentials("ufrag", "password")


class TestChoice:
    """The pure function, with pairs made for it."""

    def pair(self, candidate, rank, *, type="host", state=SUCCEEDED, validated_at=1.0):
        pair = Pair(
            Local(rank, candidate(*A, rank=rank), None), Remote(candidate(*B, type, rank=rank)), CREDENTIALS, True
        )
        pair.state = state
        pair.validated_at = validated_at
        return pair

    @pytest.fixture
    def ranked(self, candidate):
        """Two direct pairs and a relayed one, all valid."""
        return [self.pair(candidate, rank, type=type) for rank, type in enumerate(("host", "host", "relay"))]

    def test_nothing_to_choose_from(self, candidate):
        assert choose([], None, INF, 0.0) == (None, INF)
        assert choose([self.pair(candidate, 0, state=WAITING)], None, INF, 0.0) == (None, INF)
        assert choose([self.pair(candidate, 0, state=FAILED)], None, INF, 0.0) == (None, INF)

    def test_the_top_at_once_another_after_a_while(self, candidate):
        top, other = self.pair(candidate, 0), self.pair(candidate, 1)
        assert choose([top, other], None, INF, 1.0) == (top, INF)
        top.state = WAITING
        assert choose([top, other], None, INF, 1.0) == (None, 1.02)
        assert choose([top, other], None, INF, 1.02) == (other, INF)

    def test_a_better_kind_has_its_time_from_its_own_first_check(self, candidate):
        direct, relayed = self.pair(candidate, 0, state=WAITING), self.pair(candidate, 1, type="relay")
        assert choose([direct, relayed], None, INF, 1.0) == (None, 1.05)
        direct.checks_sent, direct.first_check = 1, 0.5
        assert choose([direct, relayed], None, INF, 1.0) == (relayed, INF)
        direct.blocked = True
        direct.checks_sent = 0
        assert choose([direct, relayed], None, INF, 1.0) == (relayed, INF)

    def test_a_selected_pair_gives_way_to_a_better_kind_only(self, ranked):
        first, second, relayed = ranked
        assert choose(ranked, first, INF, 9.0) == (None, INF)
        assert choose(ranked, second, INF, 9.0) == (None, INF)
        assert choose(ranked, relayed, INF, 9.0) == (first, INF)

    def test_a_silent_pair_gives_way_to_what_has_answered_since(self, ranked):
        first, _, relayed = ranked
        assert choose(ranked, first, 5.0, 9.0) == (None, INF)
        relayed.validated_at = 6.0
        assert choose(ranked, first, 5.0, 9.0) == (relayed, INF)
        first.validated_at = 6.0
        assert choose(ranked, first, 5.0, 9.0) == (relayed, INF)


class TestCounters:
    def test_ours_goes_on_through_restarts_but_the_first_of_each_needs_none(self):
        nominations = Nominations()
        assert [nominations.offer() for _ in range(3)] == [0, 1, 2]
        nominations.begin_generation()
        assert not nominations.offered
        assert [nominations.offer() for _ in range(2)] == [0, 3]
        assert nominations.offered

    def test_the_peers_begins_anew(self, candidate):
        pair = TestChoice().pair(candidate, 0)
        nominations = Nominations()
        assert nominations.heeds(pair, 5, None, failing=False)
        assert not nominations.heeds(pair, 5, pair, failing=False)
        nominations.begin_generation()
        assert nominations.heeds(pair, 1, None, failing=False)

    def test_without_counters_upwards_or_away_from_failure(self, candidate):
        high, low = TestChoice().pair(candidate, 0), TestChoice().pair(candidate, 1)
        nominations = Nominations()
        assert nominations.heeds(high, 0, low, failing=False), "chosen by us, before"
        assert not nominations.heeds(low, 0, high, failing=False)
        assert nominations.heeds(low, 0, high, failing=True)
        assert nominations.heeds(high, 0, low, failing=False)
        nominations.role_changed()
        assert nominations.heeds(low, 0, high, failing=False)
        assert nominations.heeds(low, 1, high, failing=False)
        assert not nominations.heeds(high, 0, low, failing=False), "an older one than that with a counter"
