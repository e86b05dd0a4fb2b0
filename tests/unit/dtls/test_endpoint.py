"""Handshakes on a virtual wire: in order, under loss, duplication and reordering, with the wrong peer."""

from __future__ import annotations

import itertools

import pytest

from sansio.base.entropy import Entropy

LATENCY = 0.005


def test_handshake_takes_two_round_trips_and_whole_flights(pair, engine):
    wire = pair(engine)
    wire.run()
    assert wire.now == pytest.approx(4 * LATENCY)
    assert [name for _, name, _ in wire.log] == ["client", "server", "client", "server"]
    wire.exchange()
    assert wire.events["client"][0].profile == "AEAD_AES_128_GCM"


def losing(*lost):
    return lambda sender, index: [] if (sender, index) in lost else [LATENCY]


FIRST = [("client", 0), ("server", 0), ("client", 1), ("server", 1)]


@pytest.mark.parametrize("lost", [*itertools.combinations(FIRST, 1), *itertools.combinations(FIRST, 2)])
def test_lost_flights_cost_little(pair, engine, lost):
    wire = pair(engine, fate=losing(*lost))
    wire.run()
    wire.exchange()
    assert wire.now < 0.3


@pytest.mark.parametrize("mtu", [1200, 300])
def test_any_one_or_two_lost_datagrams(pair, engine, mtu):
    perfect = pair(engine, mtu=mtu)
    perfect.run()
    names = [("client", i) for i in range(perfect.sent["client"] + 2)]
    names += [("server", i) for i in range(perfect.sent["server"] + 2)]
    for lost in [*itertools.combinations(names, 1), *itertools.combinations(names, 2)]:
        wire = pair(engine, mtu=mtu, fate=losing(*lost))
        wire.run()
        wire.exchange()
        assert wire.now < 0.3, lost
        assert all(len(data) <= mtu for _, _, data in wire.log)


@pytest.mark.parametrize("mtu", [1200, 300])
def test_chaos(pair, engine, mtu):
    for seed in range(40):
        chance = Entropy(b"chaos %d" % seed)

        def fate(sender, index, chance=chance):
            if chance.random() < 0.25:
                return []
            return [chance.uniform(0.001, 0.04) for _ in range(2 if chance.random() < 0.3 else 1)]

        wire = pair(engine, mtu=mtu, fate=fate)
        wire.run(limit=20)
        wire.exchange()
