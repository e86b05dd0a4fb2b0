from __future__ import annotations

from sansio.base.limits import MAX_PAIRS
from sansio.ice.pairs import FAILED, IN_PROGRESS, SUCCEEDED, WAITING, CheckList, Credentials, Local, Pair, Remote

CREDENTIALS = Credentials("ufrag", "password")


def make(candidate, number=1, *, port=1, controlling=True, type="host", protocol="udp"):
    local = Local(port, candidate("192.0.2.1", 5000 + port, protocol=protocol), None)
    remote = Remote(candidate("198.51.100.1", number, type, priority=1000 + number))
    return Pair(local, remote, CREDENTIALS, controlling)


def test_rank_goes_by_kind_then_by_priority(candidate):
    checks = CheckList()
    low, high, relayed = make(candidate, 1), make(candidate, 2), make(candidate, 3, type="relay")
    for pair in (relayed, low, high):
        assert checks.add(pair)
    assert checks.all() == [high, low, relayed]
    assert len(checks) == 3
    assert checks.get(1, ("198.51.100.1", 2)) is high
    assert checks.get(2, ("198.51.100.1", 2)) is None
    assert repr(high) == "Pair(1, ('198.51.100.1', 2), waiting)"


def test_priority_follows_the_role(candidate):
    checks = CheckList()
    pair = make(candidate)
    checks.add(pair)
    before = pair.priority
    checks.order(False)
    assert pair.priority == before - 1  # ours is the larger one: the tie bit goes
    checks.order(True)
    assert pair.priority == before


def test_triggered_checks_come_first_and_once(candidate):
    checks = CheckList()
    first, second, third = (make(candidate, number) for number in (3, 2, 1))
    for pair in (first, second, third):
        checks.add(pair)
    assert checks.peek() is first
    third.state = FAILED
    checks.trigger(third)
    checks.trigger(third)
    assert checks.peek() is third
    checks.taken(third)
    assert third.state == IN_PROGRESS
    assert checks.peek() is first
    checks.taken(first)
    assert checks.peek() is second
    checks.taken(second)
    assert checks.peek() is None


def test_removal(candidate):
    checks = CheckList()
    one, other = make(candidate, 1), make(candidate, 2, port=2)
    checks.add(one)
    checks.add(other)
    checks.trigger(one)
    assert checks.of_port(1) == [one]
    assert checks.of_remote(other.remote) == [other]
    checks.remove(one)
    assert checks.peek() is other
    checks.clear()
    assert len(checks) == 0


def test_favourite_was_heard_of_and_is_not_blocked(candidate):
    checks = CheckList()
    assert checks.favourite() is None
    best, heard, relayed = make(candidate, 3), make(candidate, 2), make(candidate, 4, type="relay")
    for pair in (best, heard, relayed):
        checks.add(pair)
    relayed.heard = True
    assert checks.favourite() is best
    heard.heard = True
    assert checks.favourite() is heard
    heard.blocked = True
    assert checks.favourite() is best
    best.state = FAILED
    assert checks.favourite() is relayed


def test_a_full_list_prefers_better_pairs(candidate):
    checks = CheckList()
    pairs = [make(candidate, number) for number in range(100, 100 + MAX_PAIRS)]
    for pair in pairs:
        assert checks.add(pair)
    assert not checks.add(make(candidate, 50))
    assert checks.add(make(candidate, 1000))
    assert len(checks) == MAX_PAIRS
    assert checks.get(*pairs[0].key) is None
    for pair in checks.all():
        pair.state = SUCCEEDED
    assert not checks.add(make(candidate, 2000))
    assert len(checks) == MAX_PAIRS


def test_streams_are_reliable(candidate):
    assert make(candidate, protocol="tcp").reliable
    assert not make(candidate).reliable


def test_credentials():
    credentials = Credentials("ours", "secret")
    assert not credentials.complete
    credentials.set_remote("theirs", "word")
    assert credentials.complete
    assert credentials.username == b"theirs:ours"
    assert credentials.remote_key.secret == b"word"
    assert WAITING == 0
