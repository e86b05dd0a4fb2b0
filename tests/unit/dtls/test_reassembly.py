"""Handshake messages out of fragments that come in any order, twice, contradicting, or invented."""

from __future__ import annotations

import itertools

import pytest

from sansio.base.entropy import Entropy
from sansio.base.limits import DTLS_MESSAGE, DTLS_MESSAGES_AHEAD
from sansio.dtls.flights import Fragment
from sansio.dtls.reassembly import Reassembler


def pieces(kind, seq, body, size):
    return [Fragment(kind, len(body), seq, i, body[i : i + size]) for i in range(0, max(1, len(body)), size)]


def bodies(messages):
    return [(message.kind, message.seq, message.body) for message in messages]


def test_whole_messages_come_out_in_order():
    inbound = Reassembler()
    for seq in (2, 0, 1):
        assert inbound.add(Fragment(seq + 10, 1, seq, 0, b"%d" % seq))
    assert bodies(inbound.take()) == [(10, 0, b"0"), (11, 1, b"1"), (12, 2, b"2")]
    assert inbound.next == 3
    assert inbound.take() == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_fragments_in_any_order(order):
    inbound = Reassembler()
    parts = pieces(11, 0, b"abcdefgh", 3)
    for index in order[:2]:
        assert inbound.add(parts[index])
        assert inbound.add(parts[index])
        assert inbound.take() == []
    assert inbound.add(parts[order[2]])
    assert bodies(inbound.take()) == [(11, 0, b"abcdefgh")]


def test_overlapping_fragments():
    inbound = Reassembler()
    for offset, body in ((0, b"abcd"), (2, b"cdef"), (0, b"ab")):
        assert inbound.add(Fragment(11, 8, 0, offset, body))
        assert inbound.take() == []
    assert inbound.add(Fragment(11, 8, 0, 5, b"fgh"))
    assert bodies(inbound.take()) == [(11, 0, b"abcdefgh")]


def test_empty_messages_and_empty_fragments():
    inbound = Reassembler()
    assert inbound.add(Fragment(11, 3, 1, 3, b""))
    assert inbound.add(Fragment(14, 0, 0, 0, b""))
    assert bodies(inbound.take()) == [(14, 0, b"")]
    assert inbound.add(Fragment(11, 3, 1, 0, b"abc"))
    assert bodies(inbound.take()) == [(11, 1, b"abc")]


def test_what_has_been_given_is_not_given_again():
    inbound = Reassembler()
    for _ in range(2):
        assert inbound.add(Fragment(1, 3, 0, 0, b"abc"))
        assert inbound.add(Fragment(2, 3, 1, 0, b"abc"))
    assert len(inbound.take()) == 2
    for piece in (Fragment(1, 3, 0, 0, b"xyz"), Fragment(2, 9, 1, 0, b"x")):
        assert inbound.add(piece)
    assert inbound.take() == []


def test_contradicting_fragments_are_refused():
    inbound = Reassembler()
    assert inbound.add(Fragment(11, 6, 0, 0, b"abc"))
    assert not inbound.add(Fragment(11, 7, 0, 3, b"defg"))
    assert not inbound.add(Fragment(12, 6, 0, 3, b"def"))
    assert inbound.add(Fragment(11, 6, 0, 3, b"def"))
    assert bodies(inbound.take()) == [(11, 0, b"abcdef")]


def test_a_message_in_one_piece_goes_before_forged_fragments():
    inbound = Reassembler()
    assert inbound.add(Fragment(2, 500, 0, 0, b"forged"))
    assert inbound.add(Fragment(11, 6, 0, 0, b"abcdef"))
    assert bodies(inbound.take()) == [(11, 0, b"abcdef")]
    assert not inbound._partial


def test_limits():
    inbound = Reassembler()
    assert not inbound.add(Fragment(11, DTLS_MESSAGE + 1, 0, 0, b"x"))
    assert not inbound.add(Fragment(11, 5, DTLS_MESSAGES_AHEAD + 1, 0, b"x"))
    for seq in range(DTLS_MESSAGES_AHEAD + 50):
        inbound.add(Fragment(11, DTLS_MESSAGE, seq, 7, b"x"))
    assert len(inbound._partial) == DTLS_MESSAGES_AHEAD + 1
    for seq in range(1, DTLS_MESSAGES_AHEAD + 50):
        inbound.add(Fragment(11, 1, seq, 0, b"x"))
    assert len(inbound._whole) == DTLS_MESSAGES_AHEAD
    assert len(inbound._partial) == 1


def test_random_fragments_of_random_messages():
    for seed in range(30):
        chance = Entropy(b"reassembly %d" % seed)
        messages = [(seq + 1, seq, chance.bytes(chance.below(200))) for seq in range(6)]
        waiting = [piece for kind, seq, body in messages for piece in pieces(kind, seq, body, 1 + chance.below(60))]
        waiting += [chance.choice(waiting) for _ in range(10)]
        inbound = Reassembler()
        given = []
        while waiting:
            assert inbound.add(waiting.pop(chance.below(len(waiting))))
            given += bodies(inbound.take())
        assert given == messages
