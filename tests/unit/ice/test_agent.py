from __future__ import annotations

import pytest

from sansio.ice import stun
from sansio.ice.agent import IceState


def test_shortest_join_the_first_check_nominates_and_the_answer_selects(Net, candidate):
    net = Net(delay=0.05)
    net.add(net.a, candidate("192.0.2.1", 5000))
    net.add(net.b, candidate("192.0.2.2", 6000))
    net.connect()
    net.run(5.0)
    at, first = net.requests("a")[0]
    assert at == 0.0
    assert stun.USE_CANDIDATE in first.attributes
    assert stun.ICE_CONTROLLING in first.attributes
    [(at, selected)] = net.a.selections()
    assert at == pytest.approx(0.1)
    assert (selected.port, selected.addr) == (1, ("192.0.2.2", 6000))
    assert net.a.agent.selected_addr == ("192.0.2.2", 6000)
    [(at, selected)] = net.b.selections()
    assert at == pytest.approx(0.1)
    assert net.a.states() == net.b.states() == [IceState.CHECKING, IceState.CONNECTED]
