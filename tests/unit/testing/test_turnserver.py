"""The TURN server of simulations, where the tests of the client do not get it to."""

from __future__ import annotations

import pytest

from sansio.base.contract import INF, ClosePort, OpenUdp
from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.testing.turnserver import TurnServer

CLIENT, PEER = ("192.0.2.1", 5000), ("198.51.100.1", 6000)
ID = b"transaction!"
KEY = stun.long_term_key("user", "example.org", "pass")
ALLOCATE, REFRESH, PERMIT, BIND, CONNECT = 0x003, 0x004, 0x008, 0x009, 0x00A


class Desk:
    def __init__(self, **options):
        self.server = TurnServer(Entropy(b"server"), **options)
        self.now = 0.0
        self.nonce = b""
        self.nonce = self.ask(ALLOCATE, key=None).attributes[stun.NONCE]

    def answers(self):
        found = [transmit.data for transmit in self.server.transmits]
        self.server.transmits.clear()
        return found

    def ask(self, method, *attributes, key=KEY, username=b"user", id=ID, port=1):
        credentials = [(stun.USERNAME, username), (stun.REALM, b"example.org"), (stun.NONCE, self.nonce)]
        data = stun.build(method, id, [*attributes, *(credentials if key else [])], key)
        return self.give(data, port)

    def give(self, data, port=1, source=CLIENT):
        self.server.handle_datagram(port, data, source, self.now)
        found = self.answers()
        return stun.decode(found[-1]) if found else None

    def code(self, *args, **more):
        return stun.decode_error(self.ask(*args, **more).attributes[stun.ERROR_CODE])[0]

    def allocate(self, *attributes):
        assert self.ask(ALLOCATE, *attributes) is None
        while self.server.outbox:
            request = self.server.outbox.popleft()
            self.server.port_opened(request.port, (request.host, request.port), self.now)
        [answer] = self.answers()
        assert stun.decode(answer).verify(KEY)
        return answer


def peer(address=PEER):
    return (stun.XOR_PEER_ADDRESS, stun.xor_address_value(address, ID))


def channel(number):
    return (stun.CHANNEL_NUMBER, stun.u32_value(number << 16))


def test_binding_and_garbage():
    desk = Desk()
    answer = desk.give(stun.build(stun.BINDING_REQUEST, ID, []))
    assert stun.decode_xor_address(answer.attributes[stun.XOR_MAPPED_ADDRESS], ID) == CLIENT
    for data in (b"", b"garbage", stun.build(0x0011, ID, []), stun.build(0x0101, ID, []), stun.build(0x0016, ID, [])):
        assert desk.give(data) is None
    assert desk.server.counters["malformed"] == 3
    desk.give(b"\x40\0\0\0")
    assert desk.server.counters["channel_unknown"] == 1


def test_an_allocation_and_its_repetition():
    desk = Desk()
    answer = desk.allocate()
    assert desk.give(stun.build(ALLOCATE, ID, [], None)).message_class == stun.ERROR  # unsigned
    assert stun.encode(desk.ask(ALLOCATE), KEY) == answer  # the same request once more
    assert desk.code(ALLOCATE, id=b"another one!") == 437
    assert desk.code(CONNECT) == 400
    assert desk.server.advance(0.0) == 600.0
    assert desk.server.advance(600.0) == INF
    assert isinstance(desk.server.outbox.popleft(), ClosePort)
    assert desk.code(REFRESH) == 437


def test_a_repetition_while_the_relay_is_being_opened():
    desk = Desk()
    assert desk.ask(ALLOCATE) is None
    assert desk.ask(ALLOCATE) is None
    assert len(desk.server.outbox) == 1
    request = desk.server.outbox.popleft()
    desk.server.port_failed(request.port, "none free", 0.0)
    [answer] = desk.answers()
    assert stun.decode_error(stun.decode(answer).attributes[stun.ERROR_CODE])[0] == 508
    desk.server.port_opened(request.port, PEER, 0.0)
    desk.server.port_failed(request.port, "again", 0.0)
    assert not desk.answers()


def test_strangers():
    desk = Desk()
    assert desk.code(ALLOCATE, username=b"other") == 401
    assert desk.code(ALLOCATE, key=stun.Key(b"wrong")) == 401
    desk.nonce = b"old"
    assert desk.code(ALLOCATE) == 438


@pytest.mark.parametrize("wrong", [0x3FFF, 0x5000])
def test_channels_and_permissions(wrong):
    desk = Desk(denied=("203.0.113.9",))
    desk.allocate()
    assert desk.code(PERMIT) == 400
    assert desk.code(PERMIT, peer(("203.0.113.9", 1))) == 403
    assert desk.code(BIND, peer(), channel(wrong)) == 400
    assert desk.ask(BIND, peer(), channel(0x4000)).message_class == stun.SUCCESS
    assert desk.ask(BIND, peer(), channel(0x4000)).message_class == stun.SUCCESS
    assert desk.code(BIND, peer(), channel(0x4001)) == 400
    assert desk.code(BIND, peer(("198.51.100.2", 1)), channel(0x4000)) == 400


def send(data, address=PEER):
    return stun.build(0x0016, ID, [peer(address), (stun.DATA, data)])


def test_data_both_ways():
    desk = Desk(hosts=("203.0.113.1", "2001:db8::1"))
    desk.allocate()
    relay = next(iter(desk.server._relays))
    desk.server.handle_datagram(1, send(b"x"), CLIENT, 0.0)
    assert not desk.server.transmits
    assert desk.server.counters["send_not_permitted"] == 1
    desk.server.handle_datagram(relay, b"back", PEER, 0.0)
    assert desk.server.counters["peer_not_permitted"] == 1
    desk.ask(PERMIT, peer(), peer(("2001:db8::9", 1)))
    desk.server.handle_datagram(1, send(b"x"), CLIENT, 0.0)
    [transmit] = desk.server.transmits
    assert (transmit.port, transmit.data, transmit.addr) == (relay, b"x", PEER)
    desk.server.transmits.clear()
    desk.server.handle_datagram(1, send(b"x", ("2001:db8::9", 1)), CLIENT, 0.0)
    assert desk.server.counters["family_mismatch"] == 1
    answer = desk.give(b"back", relay, PEER)
    assert answer.attributes[stun.DATA] == b"back"
    desk.ask(BIND, peer(), channel(0x4000))
    desk.server.handle_datagram(relay, b"back", PEER, 0.0)
    assert desk.answers() == [b"\x40\0\0\4back"]
    desk.server.handle_datagram(1, b"\x40\0\0\2xy", CLIENT, 0.0)
    assert desk.answers() == [b"xy"]


def test_families():
    desk = Desk(hosts=("2001:db8::1",))
    assert desk.code(ALLOCATE) == 440
    for family in (b"", b"\7\0\0\0"):
        assert desk.code(ALLOCATE, (stun.REQUESTED_ADDRESS_FAMILY, family)) == 440
    desk.allocate((stun.REQUESTED_ADDRESS_FAMILY, b"\2\0\0\0"))
    both = Desk(hosts=("203.0.113.1", "2001:db8::1"))
    answer = stun.decode(both.allocate((stun.ADDITIONAL_ADDRESS_FAMILY, b"\2\0\0\0")))
    assert len(answer.all(stun.XOR_RELAYED_ADDRESS)) == 2


def test_lifetimes():
    desk = Desk()
    answer = stun.decode(desk.allocate((stun.LIFETIME, stun.u32_value(60))))
    assert stun.decode_u32(answer.attributes[stun.LIFETIME]) == 60
    assert stun.decode_u32(desk.ask(REFRESH).attributes[stun.LIFETIME]) == 600
    desk.ask(REFRESH, (stun.LIFETIME, bytes(4)))
    assert not desk.server.allocations


def test_clients_on_streams():
    desk = Desk()
    server = desk.server
    server.stream_accepted(70, CLIENT, 0.0)
    data = stun.build(stun.BINDING_REQUEST, ID, [])
    server.handle_datagram(70, data[:10], CLIENT, 0.0)
    assert not desk.answers()
    server.handle_datagram(70, data[10:], CLIENT, 0.0)
    assert len(desk.answers()) == 1
    desk.ask(ALLOCATE, port=70)
    opened = [output for output in server.outbox if isinstance(output, OpenUdp)]
    server.port_opened(opened[0].port, ("203.0.113.1", 1), 0.0)
    desk.answers()
    desk.ask(BIND, peer(), channel(0x4000), port=70)
    server.handle_datagram(opened[0].port, b"abcde", PEER, 0.0)
    assert desk.answers() == [b"\x40\0\0\5abcde\0\0\0"]
    server.stream_closed(70, 0.0)
    assert not server.allocations


def test_switches():
    desk = Desk(quota=0)
    assert desk.code(ALLOCATE) == 486
    desk.server.alternate = ("203.0.113.2", 3478)
    assert desk.code(ALLOCATE) == 300
    desk = Desk(channels=False)
    desk.allocate()
    assert desk.code(BIND, peer(), channel(0x4000)) == 403
    desk.server.forget()
    assert desk.code(REFRESH) == 437
    assert desk.server.advance(0.0) == INF


def test_the_right_channel_among_several_and_none():
    desk = Desk()
    desk.allocate()
    relay = next(iter(desk.server._relays))
    other = ("198.51.100.7", 7)
    desk.ask(PERMIT, peer(), peer(other))
    desk.ask(BIND, peer(other), channel(0x4000))
    desk.ask(BIND, peer(), channel(0x4001))
    desk.server.handle_datagram(relay, b"x", PEER, 0.0)
    assert desk.answers() == [b"\x40\1\0\1x"]
