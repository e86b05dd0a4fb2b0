"""Whose a packet is, on the UDP port and on TCP connections."""

from __future__ import annotations

import json

from sansio import proto
from sansio.base.contract import ClosePort, Transmit
from sansio.base.limits import SFU_ADDRESSES, SFU_STREAMS
from sansio.ice import stun
from tests.unit.room.party import Party
from tests.unit.sfu.door import Door, asked

rtc = proto.rtc

# ------------------------------------------------------------------ datagrams


def check(ufrag, key=None):
    attributes = [(stun.USERNAME, ufrag.encode() + b":x"), (stun.PRIORITY, stun.u32_value(1))]
    return stun.build(stun.BINDING_REQUEST, b"transaction!", attributes, stun.Key(key.encode()) if key else None)


def test_datagrams_of_strangers_are_counted():
    door = Door()
    door.knock()
    for data in (b"", b"\0\1", b"\x16\xfe\xfd", check("nobody")):
        door.server.handle_datagram(1, data, ("10.0.0.9", 9), 0.0)
    assert door.server.counters.snapshot() == {"unknown_address": 4}
    door.turn()


def test_a_name_alone_does_not_make_an_address_known():
    door = Door()
    door.knock()
    ice = door.server._find("room", "alice").peers[0].connection.transport.ice
    address = ("10.0.0.9", 9)
    door.server.handle_datagram(1, check(ice.local_ufrag, "wrong password wrong password"), address, 0.0)
    door.server.handle_datagram(1, b"\x16\xfe\xfd", address, 0.0)
    assert door.server.counters.snapshot() == {"unknown_address": 1}
    door.server.handle_datagram(1, check(ice.local_ufrag, ice.local_pwd), address, 0.0)
    door.server.handle_datagram(1, b"\x16\xfe\xfd", address, 0.0)
    assert door.server.counters.snapshot() == {"unknown_address": 1}


def test_addresses_have_a_limit(monkeypatch):
    assert SFU_ADDRESSES > 2
    monkeypatch.setattr("sansio.sfu.routes.SFU_ADDRESSES", 2)
    door = Door()
    door.knock()
    ice = door.server._find("room", "alice").peers[0].connection.transport.ice
    for port in range(1, 4):
        door.server.handle_datagram(1, check(ice.local_ufrag, ice.local_pwd), ("10.0.0.9", port), 0.0)
    # one that is known already may go to another owner
    door.server.handle_datagram(1, check(ice.local_ufrag, ice.local_pwd), ("10.0.0.9", 1), 0.0)
    assert door.server.counters.snapshot() == {"address_limit": 1}
    assert len(door.server._routes.addresses) == 2


def test_where_the_server_sends_first_answers_are_expected(monkeypatch):
    door = Door()
    door.knock(asked())
    participant = door.server._find("room", "alice")
    participant.peers[0].transmits.append(Transmit(1, b"check", ("10.0.0.9", 9)))
    door.request(1, ping_req=rtc.Ping(timestamp=1))  # so that the participant has a turn
    door.server.handle_datagram(1, b"\x16\xfe\xfd", ("10.0.0.9", 9), 0.0)
    assert door.server.counters.snapshot() == {}


def test_names_of_before_a_restart_are_forgotten():
    with Party("alice", single_peer_connection=False) as party:
        server, there = party.rooms.server, party.there("alice")
        for _ in range(3):
            there.restart_subscriber(party.now)
            server._routes.learn_names(there)
            party.world.poke("server")
            party.wait(1.0)
        names = [peer.connection.transport.ice.local_ufrag for peer in there.peers]
        assert list(server._routes._names) == names


# ------------------------------------------------------------------ TCP

TCP = ("10.1.0.1", 7881)
THEIRS = ("10.0.0.9", 50000)


def framed(data):
    return len(data).to_bytes(2, "big") + data


def tcp_door():
    door = Door(tcp_address=TCP, more_addresses=(("10.1.0.2", 7882),))
    door.knock(asked())
    ice = door.server._find("room", "alice").peers[0].connection.transport.ice
    return door, ice


def test_every_address_is_announced():
    door, _ = tcp_door()
    door.offer(1)
    found = [json.loads(trickle.candidateInit)["candidate"].split(" ")[2:6] for trickle in door.messages("trickle")]
    assert [(kind, host, port) for kind, _, host, port in found] == [
        ("udp", "10.1.0.1", "7882"),
        ("udp", "10.1.0.2", "7882"),
        ("tcp", "10.1.0.1", "7881"),
    ]
    assert "tcptype passive" in door.messages("trickle")[-1].candidateInit


def test_without_udp_only_tcp_is_announced():
    door = Door(tcp_address=TCP, udp=False)
    door.offer(door.enter("alice"))
    assert ["tcp" in trickle.candidateInit for trickle in door.messages("trickle")] == [True]


def test_a_connection_is_led_by_its_first_frame():
    door, ice = tcp_door()
    door.server.stream_accepted(7, THEIRS, door.now)
    data = framed(check(ice.local_ufrag, ice.local_pwd))
    for at in range(len(data)):
        door.server.handle_datagram(7, data[at : at + 1], THEIRS, door.now)
    door.server.advance(door.now)
    answers = [transmit for transmit in door.server.transmits if transmit.port == 7]
    assert answers
    assert int.from_bytes(answers[0].data[:2], "big") == len(answers[0].data) - 2
    door.server.transmits.clear()
    door.server.handle_datagram(7, data, THEIRS, door.now)
    door.server.advance(door.now)
    assert [transmit.port for transmit in door.server.transmits][:1] == [7]
    assert door.server._find("room", "alice").is_valid_source(0, 7, THEIRS)
    assert THEIRS not in door.server._routes.addresses
    door.server.stream_closed(7, door.now)
    assert not door.server._find("room", "alice").is_valid_source(0, 7, THEIRS)
    door.server.stream_closed(7, door.now)
    door.server.handle_datagram(7, data, THEIRS, door.now)
    door.turn()


def test_connections_of_nobody_are_closed():
    door, _ = tcp_door()
    door.server.stream_accepted(7, THEIRS, door.now)
    door.server.handle_datagram(7, framed(check("nobody")) + framed(b"more"), THEIRS, door.now)
    assert door.turn() == [ClosePort(7)]
    assert door.server.counters.snapshot() == {"unknown_stream": 1}
    door.server.stream_accepted(8, THEIRS, door.now)
    assert ClosePort(8) not in door.turn(29.0)
    assert ClosePort(8) in door.turn(1.0)


def test_without_an_address_for_them_connections_are_closed():
    door = Door()
    door.knock(asked())
    ice = door.server._find("room", "alice").peers[0].connection.transport.ice
    door.server.stream_accepted(7, THEIRS, door.now)
    door.server.handle_datagram(7, framed(check(ice.local_ufrag, ice.local_pwd)), THEIRS, door.now)
    assert door.turn() == [ClosePort(7)]


def test_connections_are_limited(monkeypatch):
    assert SFU_STREAMS > 1
    monkeypatch.setattr("sansio.sfu.routes.SFU_STREAMS", 1)
    door, _ = tcp_door()
    door.server.stream_accepted(7, THEIRS, door.now)
    door.server.stream_accepted(8, THEIRS, door.now)
    assert door.turn() == [ClosePort(8)]
    assert door.server.counters.snapshot() == {"stream_limit": 1}


def test_who_leaves_takes_the_connections_along():
    door, ice = tcp_door()
    for number in (7, 8):
        door.server.stream_accepted(number, THEIRS, door.now)
    door.server.handle_datagram(7, framed(check(ice.local_ufrag, ice.local_pwd)), THEIRS, door.now)
    fresh = door.request(1, leave=rtc.LeaveRequest())
    assert ClosePort(7) in fresh
    assert list(door.server._streams._streams) == [8]
