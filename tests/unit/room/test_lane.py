"""What waits to be sent on one channel."""

from __future__ import annotations

from sansio.room.lane import Lane


def lane(budget=100):
    return Lane(reliable=True, budget=budget, high=10, low=5)


def test_urgent_packets_go_first_and_each_kind_in_order():
    one = lane()
    assert not one
    for data, urgent in ((b"a", False), (b"U", True), (b"b", False), (b"V", True)):
        one.put(data, urgent)
    assert one
    assert [one.pop() for _ in range(4)] == [b"U", b"V", b"a", b"b"]
    assert not one
    assert one.bytes == 0


def test_full_above_the_budget_until_a_quarter_of_it():
    one = lane()
    for _ in range(10):
        one.put(bytes(10), False)
    assert not one.full
    one.put(b"x", True)
    assert one.full
    for left in (100, 90, 80, 70, 60, 50, 40, 30):
        one.pop()
        assert one.bytes == left
        assert one.full
    one.pop()
    assert one.bytes == 20
    assert not one.full


def test_cleared():
    one = lane(1)
    one.put(b"xx", True)
    one.put(b"xx", False)
    one.clear()
    assert not one
    assert not one.full
    assert one.bytes == 0
