"""The sockets of a peer connection: full ones, broken ones, and those that go and come with the network."""

from __future__ import annotations

from sansio.base.contract import ClosePort, Interface
from sansio.testing.pairs import SERVER_ADDRESS
from tests.unit.room.party import Party


def test_data_waits_while_the_socket_that_it_goes_by_is_full():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        alice = party.engines["alice"]
        port = party.transport("alice").ice.selected_port
        alice.port_blocked(port, party.now)
        party.publish("alice", b"later")
        party.wait(1.0)
        assert party.read("bob") == []
        alice.port_writable(port, party.now)
        party.world.poke("alice")
        assert party.hear("bob", 1, limit=0.2) == [b"later"]


def test_a_full_socket_that_carries_no_data_does_not_matter():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        alice = party.engines["alice"]
        party.world.node("alice").hosts = (*party.world.node("alice").hosts, "10.8.0.1")
        alice.networks_changed([Interface("eth0", "10.2.0.1"), Interface("wlan0", "10.8.0.1")], party.now)
        party.world.poke("alice")
        party.wait(1.0)
        selected = party.transport("alice").ice.selected_port
        (other,) = [port for port in party.world.node("alice").ports if port != selected]
        alice.port_blocked(other, party.now)
        alice.port_blocked(99, party.now)
        party.publish("alice", b"through")
        assert party.hear("bob", 1, limit=0.2) == [b"through"]
        alice.port_writable(other, party.now)
        alice.port_writable(99, party.now)


def test_a_full_socket_that_goes_away_does_not_hold_data_for_ever():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        alice, node = party.engines["alice"], party.world.node("alice")
        node.hosts = (*node.hosts, "10.8.0.1")
        port = party.transport("alice").ice.selected_port
        alice.port_blocked(port, party.now)
        party.publish("alice", b"at last")
        party.wait(0.5)
        alice.networks_changed([Interface("wlan0", "10.8.0.1")], party.now)
        party.world.poke("alice")
        assert party.hear("bob", 1, limit=5.0) == [b"at last"]
        assert ClosePort(port) in party.found("alice", ClosePort)
        assert list(node.ports) == [party.transport("alice").ice.selected_port]


def test_a_socket_that_breaks_while_full_is_replaced_by_another():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        alice, node = party.engines["alice"], party.world.node("alice")
        node.hosts = (*node.hosts, "10.8.0.1")
        alice.networks_changed([Interface("eth0", "10.2.0.1"), Interface("wlan0", "10.8.0.1")], party.now)
        party.world.poke("alice")
        party.wait(1.0)
        port = party.transport("alice").ice.selected_port
        alice.port_blocked(port, party.now)
        party.publish("alice", b"the other way")
        alice.port_failed(port, "the socket can no longer be read", party.now)
        party.world.poke("alice")
        assert party.hear("bob", 1, limit=5.0) == [b"the other way"]


def test_a_failed_send_is_known_to_the_pair():
    with Party("alice") as party:
        alice = party.engines["alice"]
        port = party.transport("alice").ice.selected_port
        alice.port_send_failed(port, SERVER_ADDRESS, "no route to host", party.now)
        alice.port_send_failed(99, SERVER_ADDRESS, "whoever", party.now)
        alice.advance(party.now)
        assert [pair.last_error for pair in alice._parts.transports.pairs_report()] == ["no route to host"]
        assert alice.diagnostics()["engine"] == {"send_failed": 2}
