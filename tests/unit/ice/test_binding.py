from __future__ import annotations

import pytest

from sansio.ice import binding, stun
from sansio.ice.agent import IceState
from sansio.ice.credentials import Credentials

from .alone import TID, B

CHECKING, CONNECTED = IceState.CHECKING, IceState.CONNECTED


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


class TestMessages:
    def credentials(self) -> Credentials:
        credentials = Credentials("ours", "secret")
        credentials.set_remote("them", "word")
        return credentials

    @pytest.mark.parametrize("controlling", [True, False])
    @pytest.mark.parametrize(("use_candidate", "nomination"), [(False, 0), (True, 0), (True, 5)])
    def test_a_check(self, controlling, use_candidate, nomination):
        data = binding.build_check(
            TID,
            self.credentials(),
            stun.u32_value(77),
            controlling=controlling,
            tie_breaker=9,
            use_candidate=use_candidate,
            nomination=nomination,
        )
        message = stun.decode(data)
        assert message.verify(stun.Key(b"word"))
        role = stun.ICE_CONTROLLING if controlling else stun.ICE_CONTROLLED
        assert stun.decode_u64(message.attributes[role]) == 9
        # from here on as the peer reads it, whose fragment comes first
        assert binding.read_username(message) == ("them", "ours")
        check = binding.read_check(message)
        assert (check.ufrag, check.priority) == ("ours", 77)
        assert (check.use_candidate, check.nomination) == (use_candidate, nomination)
        assert not message.unknown_required(binding.KNOWN)

    def test_a_nomination_counter_alone_nominates_and_has_24_bits(self):
        message = stun.Message(stun.BINDING_REQUEST, TID, {stun.NOMINATION: stun.u32_value(0xFF000007)})
        check = binding.read_check(message)
        assert (check.use_candidate, check.nomination) == (True, 7)
        assert binding.read_username(message) == ("", "")

    def test_answers(self):
        key = stun.Key(b"secret")
        success = stun.decode(binding.build_success(TID, B, key))
        assert success.type == stun.BINDING_SUCCESS
        assert stun.decode_xor_address(success.attributes[stun.XOR_MAPPED_ADDRESS], TID) == B
        conflict = stun.decode(binding.build_role_conflict(TID, key))
        assert stun.decode_error(conflict.attributes[stun.ERROR_CODE])[0] == 487
        unknown = stun.decode(binding.build_unknown_attribute(TID, [0x0777], key))
        assert stun.decode_error(unknown.attributes[stun.ERROR_CODE])[0] == 420
        assert stun.decode_unknown_attributes(unknown.attributes[stun.UNKNOWN_ATTRIBUTES]) == [0x0777]
        for answer in (success, conflict, unknown):
            assert answer.transaction_id == TID
            assert answer.verify(key)
