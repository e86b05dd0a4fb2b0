"""The fixtures themselves: LiveKit's own clients meet in a room of the real server."""

from __future__ import annotations

import pytest

from .peers import PeerFailed


def test_native_clients_exchange_data_and_see_each_other(server, room, native):
    alice = native("alice", name="Alice")
    bob = native("bob", metadata="m", attributes={"k": "v"})
    assert server.identities(room) == ["alice", "bob"]
    came = alice.wait("participant_connected")
    assert (came["args"][0]["identity"], came["args"][0]["attributes"]) == ("bob", {"k": "v"})
    alice.send(b"\x00hello", topic="chat")
    got = bob.wait_data()
    assert (got["data"], got["identity"], got["topic"], got["reliable"]) == (b"\x00hello", "alice", "chat", True)
    bob.call("echo")
    alice.send(b"ping", reliable=False)
    assert alice.wait_data(b"ping")["identity"] == "bob"
    bob.call("leave")
    assert alice.wait("participant_disconnected")["args"][0]["identity"] == "bob"


def test_a_native_client_says_why_it_cannot_join(server, room, native):
    peer = native()
    with pytest.raises(PeerFailed, match="could not join"):
        peer.join(server.url, "no token")


def test_a_browser_exchanges_data_with_a_native_client(server, room, native, browser):
    alice = native("alice")
    page = browser("page")
    assert [p["identity"] for p in page.call("who")["remote"]] == ["alice"]
    assert alice.wait("participant_connected")["args"][0]["identity"] == "page"
    page.send(b"from the page", topic="t")
    got = alice.wait_data()
    assert (got["data"], got["identity"], got["topic"]) == (b"from the page", "page", "t")
    page.call("echo")
    alice.send(b"ping")
    assert alice.wait_data(b"ping")["identity"] == "page"


def test_a_server_of_ones_own_can_be_restarted(own_server):
    own = own_server()
    assert own.identities("none") == []
    own.stop()
    own.start()
    assert own.api("ListRooms").get("rooms", []) == []
