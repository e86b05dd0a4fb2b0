from __future__ import annotations

from sansio.base.counters import Counters
from sansio.base.limits import MAX_SOURCES
from sansio.ice.sources import Sources

A, B, C = ("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.3", 3)
NOTHING = (-1, None)


def test_the_oldest_gives_way_but_not_the_one_in_use():
    counters = Counters()
    sources = Sources(counters)
    sources.accept(1, A, NOTHING)
    sources.accept(1, B, NOTHING)
    for number in range(MAX_SOURCES):
        sources.accept(2, ("198.51.100.2", number), (1, A))
    assert len(sources.known) == MAX_SOURCES
    assert (1, A) in sources.known
    assert (1, B) not in sources.known
    assert counters["source_limit"] == 2
    sources.accept(1, A, (1, A))
    assert counters["source_limit"] == 2


def test_they_live_through_one_restart_unless_proved_again_or_in_use():
    sources = Sources(Counters())
    for addr in (A, B, C):
        sources.accept(1, addr, NOTHING)
    sources.begin_generation((1, A))
    assert list(sources.known) == [(1, A), (1, B), (1, C)]
    sources.accept(1, B, (1, A))
    sources.begin_generation((1, A))
    assert list(sources.known) == [(1, A), (1, B)]
    sources.begin_generation(NOTHING)
    assert not sources.known


def test_removal():
    sources = Sources(Counters())
    sources.accept(1, A, NOTHING)
    sources.accept(2, A, NOTHING)
    sources.remove_port(1)
    assert list(sources.known) == [(2, A)]
    sources.clear()
    assert not sources.known
