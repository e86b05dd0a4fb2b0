"""Deterministic, forkable randomness."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections import Counter

import pytest

from sansio.base.entropy import Entropy


def test_the_same_seed_gives_the_same_stream():
    a, b = Entropy(b"seed"), Entropy(b"seed")
    assert [a.bytes(7) for _ in range(100)] == [b.bytes(7) for _ in range(100)]
    assert Entropy(b"seed").bytes(16) != Entropy(b"sged").bytes(16)


def test_the_stream_is_the_documented_one():
    key = hashlib.blake2b(b"seed", digest_size=32, person=b"sansio-seed").digest()
    blocks = b"".join(hashlib.blake2b(n.to_bytes(8, "big"), key=key, digest_size=64).digest() for n in range(3))
    assert Entropy(b"seed").bytes(130) == blocks[:130]


def test_a_stream_does_not_depend_on_how_it_is_cut():
    whole = Entropy(b"seed").bytes(1000)
    pieces, i = Entropy(b"seed"), 0
    while i < 1000:
        n = min(1 + i % 97, 1000 - i)
        assert pieces.bytes(n) == whole[i : i + n]
        i += n
    assert Entropy(b"seed").bytes(0) == b""


def test_a_fork_depends_on_seed_and_label_only():
    parent = Entropy(b"seed")
    before = parent.fork("ice").bytes(32)
    parent.bytes(1000)
    assert parent.fork("ice").bytes(32) == before
    assert parent.fork("dtls").bytes(32) != before
    assert Entropy(b"other").fork("ice").bytes(32) != before
    assert parent.fork("ice").fork("ice").bytes(32) != before


def test_a_fork_leaves_its_parent_alone():
    parent = Entropy(b"seed")
    parent.fork("a")
    assert parent.bytes(32) == Entropy(b"seed").bytes(32)


@pytest.mark.parametrize("bits", [1, 7, 8, 16, 31, 32, 53, 64])
def test_uint_has_the_bits_asked_for(bits):
    entropy = Entropy(b"seed")
    values = [entropy.uint(bits) for _ in range(400)]
    assert all(0 <= value < 1 << bits for value in values)
    seen = 0
    for value in values:
        seen |= value
    assert seen == (1 << bits) - 1


def test_random_and_uniform_stay_in_their_ranges_and_fill_them():
    entropy = Entropy(b"seed")
    values = [entropy.random() for _ in range(2000)]
    assert all(0 <= value < 1 for value in values)
    assert math.isclose(sum(values) / len(values), 0.5, abs_tol=0.03)
    values = [entropy.uniform(-3, 5) for _ in range(2000)]
    assert all(-3 <= value < 5 for value in values)
    assert math.isclose(sum(values) / len(values), 1.0, abs_tol=0.2)


def test_below_and_choice_reach_every_item_about_equally():
    entropy = Entropy(b"seed")
    counts = Counter(entropy.below(6) for _ in range(3000))
    assert sorted(counts) == list(range(6))
    assert all(400 < n < 600 for n in counts.values())
    counts = Counter(entropy.choice("abc") for _ in range(3000))
    assert sorted(counts) == ["a", "b", "c"]
    assert all(900 < n < 1100 for n in counts.values())


def test_token_draws_from_its_alphabet():
    entropy = Entropy(b"seed")
    assert len(entropy.token(24)) == 24
    assert set(entropy.token(4000)) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    assert set(entropy.token(200, "01")) == {"0", "1"}


def test_repr_tells_nothing_of_the_seed():
    assert repr(Entropy(b"seed")) == "Entropy(...)"


def test_uuids_are_of_version_4_and_all_different():
    entropy = Entropy(b"seed")
    made = [uuid.UUID(entropy.uuid()) for _ in range(100)]
    assert {(one.version, one.variant) for one in made} == {(4, uuid.RFC_4122)}
    assert len(set(made)) == 100


def test_a_stream_is_made_anew_from_its_state():
    first = Entropy(b"seed").fork("part")
    drawn = first.bytes(5), first.fork("x").bytes(5)
    again = Entropy.of_state(first.state)
    assert (again.bytes(5), again.fork("x").bytes(5)) == drawn
