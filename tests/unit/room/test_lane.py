"""What waits to be sent on one channel."""

from __future__ import annotations

from sansio.room.lane import URGENT_BUDGET, Lane


def lane(budget=100):
    return Lane(reliable=True, budget=budget, high=10, low=5)


def test_urgent_packets_go_first_and_each_kind_in_order():
    one = lane()
    assert not one
    for data, urgent in ((b"a", False), (b"U", True), (b"b", False), (b"V", True)):
        one.put(data, urgent)
    assert one
    assert one.urgent
    assert list(one) == [b"U", b"V", b"a", b"b"]
    assert [one.pop() for _ in range(4)] == [b"U", b"V", b"a", b"b"]
    assert not one
    assert not one.urgent
    assert one.bytes == 0


def test_full_above_the_budget_until_a_quarter_of_it():
    one = lane()
    for _ in range(10):
        one.put(bytes(10), False)
    assert not one.full
    one.put(b"x", False)
    assert one.full
    for left in (91, 81, 71, 61, 51, 41, 31):
        one.pop()
        assert one.bytes == left
        assert one.full
    one.pop()
    assert one.bytes == 21
    assert not one.full


def test_urgent_packets_have_a_budget_of_their_own():
    one = lane()
    one.put(bytes(URGENT_BUDGET), True)
    assert not one.urgent_full
    one.put(b"x", True)
    assert one.urgent_full
    assert not one.full
    assert (one.urgent_bytes, one.bytes) == (URGENT_BUDGET + 1, 0)
    one.pop()
    assert not one.urgent_full
    one.restore([(bytes(URGENT_BUDGET), True)])
    assert one.urgent_full


def test_cleared():
    one = lane(1)
    one.put(b"xx", True)
    one.put(b"xx", False)
    one.clear()
    assert not one
    assert not one.full
    assert one.bytes == 0


def test_what_was_taken_can_be_put_back():
    one = lane()
    one.put(b"c", False)
    one.restore([(b"a", False), (b"U", True), (b"b", False)])
    assert list(one) == [b"U", b"a", b"b", b"c"]
    assert (one.bytes, one.urgent_bytes) == (3, 1)
    assert not one.full
    one.restore([(bytes(98), False)])
    assert one.full
