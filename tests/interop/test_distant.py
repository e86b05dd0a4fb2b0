"""The signalling link to a server 100 ms away is cut: it is back after three round trips, and sound never stops.

One is of a new TCP connection, one of the WebSocket with the server's answer, and one proves that media still passes.
"""

from __future__ import annotations

import pytest

from . import slow_cable
from .conftest import absent
from .namespaces import run_apart

RTT = 0.1


@pytest.fixture
def slow_cables(namespaces) -> None:
    if not slow_cable.able():
        absent("No TUN devices for a cable with a delay.")


def test_a_cut_link_to_a_distant_server(slow_cables, server_program):
    found = run_apart("distant", server_program, str(RTT), "5")
    print(found)
    assert len(found) == 5
    for cut in found:
        assert cut["resumed"]
        assert cut["lost"] == 0
        assert cut["silence"] < 0.5  # a busy machine makes frames late
    assert 2 * RTT < min(cut["seconds"] for cut in found) < 3.3 * RTT
