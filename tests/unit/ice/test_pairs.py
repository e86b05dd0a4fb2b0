from __future__ import annotations

from sansio.base.limits import MAX_PAIRS
from sansio.ice.credentials import Credentials
from sansio.ice.pairs import FAILED, IN_PROGRESS, SUCCEEDED, WAITING, CheckList, Local, Pair, Remote

CREDENTIALS = Credentials("ufrag", "password")


def make(candidate, number=1, *, port=1, controlling=True, type="host", protocol="udp"):
    local = Local(port, candidate("192.0.2.1", 5000 + port, protocol=protocol), None)
    remote = Remote(candidate("198.51.100.1", number, type, priority=1000 + number))
    return Pair(local, remote, CREDENTIALS, controlling)


def test_rank_goes_by_kind_then_by_priority(candidate):
    checks = CheckList(CREDENTIALS, True)
    low, high, relayed = make(candidate, 1), make(candidate, 2), make(candidate, 3, type="relay")
    for pair in (relayed, low, high):
        assert checks.add(pair)
    assert checks.all() == [high, low, relayed]
    assert len(checks) == 3
    assert checks.get(1, ("198.51.100.1", 2)) is high
    assert checks.get(2, ("198.51.100.1", 2)) is None
    assert repr(high) == "Pair(1, ('198.51.100.1', 2), waiting)"


def test_priority_follows_the_role(candidate):
    checks = CheckList(CREDENTIALS, True)
    pair = make(candidate)
    checks.add(pair)
    before = pair.priority
    checks.set_role(False)
    assert pair.priority == before - 1  # ours is the larger one: the tie bit goes
    checks.set_role(True)
    assert pair.priority == before


def test_triggered_checks_come_first_and_once(candidate):
    checks = CheckList(CREDENTIALS, True)
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
    checks = CheckList(CREDENTIALS, True)
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
    checks = CheckList(CREDENTIALS, True)
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
    checks = CheckList(CREDENTIALS, True)
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


def test_a_new_generation_begins_empty(candidate):
    checks = CheckList(CREDENTIALS, True)
    pair = make(candidate)
    checks.add(pair)
    checks.trigger(pair)
    following = Credentials("other", "password")
    checks.begin_generation(following)
    assert (len(checks), checks.peek(), checks.credentials) == (0, None, following)


def test_who_has_given_up_may_try_again(candidate):
    checks = CheckList(CREDENTIALS, True)
    assert not checks.all_failed
    valid, asked, refused, waiting = [make(candidate, number) for number in (4, 3, 2, 1)]
    for pair in (valid, asked, refused, waiting):
        checks.add(pair)
    valid.state = SUCCEEDED
    asked.state = refused.state = IN_PROGRESS
    refused.last_error = "400"
    checks.give_up()
    assert [pair.state for pair in checks.all()] == [SUCCEEDED, FAILED, FAILED, WAITING]
    assert [pair.last_error for pair in checks.all()] == ["", "no answer", "400", ""]
    checks.retry_failed()
    assert [pair.state for pair in checks.all()] == [SUCCEEDED, WAITING, WAITING, WAITING]
    assert checks.peek() is asked
    checks.remove(waiting)
    for pair in checks.all():
        pair.state = FAILED
    assert checks.all_failed


def test_round_trips_are_smoothed_and_clear_ones_preferred(candidate):
    pair = make(candidate)
    pair.measure(0.010, clear=False)
    pair.measure(0.020, clear=False)
    assert pair.rtt == 0.020
    pair.measure(0.100, clear=True)
    assert pair.rtt == 0.100
    pair.measure(0.200, clear=True)
    assert pair.rtt == 0.125
    pair.measure(0.001, clear=False)
    assert pair.rtt == 0.125


def test_how_the_peer_sees_a_port(candidate):
    local = Local(1, candidate("192.0.2.1", 5000), None)
    reflexive = candidate("203.0.113.1", 6000, "srflx")
    local.add_reflexive(reflexive)
    local.add_reflexive(reflexive)
    local.add_reflexive(local.base)
    assert local.reflexive == [reflexive]
    assert local.seen_as(("203.0.113.1", 6000)) is reflexive
    assert local.seen_as(("192.0.2.1", 5000)) is local.base
    discovered = local.seen_as(("203.0.113.1", 6001))
    assert (discovered.type, discovered.transport_address) == ("prflx", ("203.0.113.1", 6001))
    assert (discovered.related_address, discovered.related_port) == ("192.0.2.1", 5000)
    stream = Local(2, candidate("192.0.2.1", 9, protocol="tcp", tcptype="active"), ("198.51.100.1", 443))
    assert stream.seen_as(("203.0.113.1", 6001)) is stream.base


def test_report(candidate):
    pair = make(candidate, type="relay")
    report = pair.report(selected=True)
    assert (report.local, report.remote) == (pair.local.base, pair.remote.candidate)
    assert (report.type, report.protocol, report.state) == ("relayed UDP", "udp", "waiting")
    assert (report.selected, report.rtt, report.checks_sent, report.last_error) == (True, 0.0, 0, "")
    pair.mapped = candidate("203.0.113.1", 6000, "prflx")
    assert pair.report(selected=False).local is pair.mapped
