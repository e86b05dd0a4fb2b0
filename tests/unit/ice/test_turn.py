from __future__ import annotations

from collections import deque

import pytest

from sansio.base.contract import INF, Transmit
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import MAX_TURN_PEERS
from sansio.ice import stun
from sansio.ice.turn import (
    Allocated,
    AllocationLost,
    AllocationRedirected,
    PeerRefused,
    TurnAllocation,
    TurnOptions,
)
from sansio.testing.netem import Link
from sansio.testing.turnserver import TurnServer
from sansio.testing.world import World

SERVER = ("203.0.113.1", 3478)
CLIENT = ("192.0.2.1", 5000)
PEER = ("198.51.100.1", 6000)
OTHER = ("198.51.100.2", 6001)
PEER6 = ("2001:db8::9", 6000)


class Echo:
    """A peer that sends everything back, and keeps it."""

    def __init__(self):
        self.transmits, self.outbox, self.got = deque(), deque(), []

    def handle_datagram(self, port, data, addr, now):
        self.got.append((data, addr))
        self.transmits.append(Transmit(port, data, addr))

    def advance(self, now):
        return INF


class Line:
    """An allocation, a server and peers in a world."""

    def __init__(self, *, link=None, seed=1, families=(4,), password="pass", options=None, stream=False, **server):
        self.world = World(seed, link=link or Link(latency=0.02))
        self.server = TurnServer(Entropy(b"server"), **server)
        more = {} if options is None else {"options": options}
        self.turn = TurnAllocation(Entropy(b"client"), "user", password, stream=stream, families=families, **more)
        self.got = []
        self.peer = Echo()
        world = self.world
        world.add("server", self.server, {1: SERVER}, hosts=self.server.hosts)
        self.node = world.add("client", self.turn, {1: CLIENT}, peer=SERVER, deliver=self.deliver)
        world.add("peer", self.peer, {1: PEER, 2: OTHER, 3: PEER6})

    def deliver(self, port, data, addr, now):
        assert addr == SERVER
        inner = self.turn.unwrap(data)
        if inner is None:
            self.turn.handle_packet(data, now)
        else:
            self.got.append(inner)

    def start(self):
        self.turn.start(self.world.now)
        self.world.poke("client")
        return self

    def up(self):
        self.start()
        self.world.run(lambda: self.turn.allocated, limit=30)
        return self

    def send(self, data, peer=PEER):
        wrapped = self.turn.wrap(peer, data, self.world.now)
        if wrapped:
            self.turn.transmits.append(wrapped)
        self.world.poke("client")

    def events(self, kind):
        return [output for output in self.node.outputs if isinstance(output, kind)]

    def lost(self):
        self.world.run(lambda: self.turn.closed, limit=60)
        self.world.run_for(0)
        return self.node.outputs[-1]


def test_allocation_over_udp():
    line = Line().up()
    line.world.run_for(0)
    [event] = line.events(Allocated)
    assert event.relayed[0][0] == "203.0.113.1"
    assert event.mapped == CLIENT
    assert event.lifetime == 600
    assert line.world.now == pytest.approx(0.08)  # challenge and allocation: two round trips
    assert line.turn.rtt == pytest.approx(0.04)


def test_the_first_packet_to_a_peer_needs_no_extra_round_trip():
    line = Line().up()
    relayed = line.events(Allocated) or line.world.run_for(0) or line.events(Allocated)
    relayed = relayed[0].relayed[0]
    started = line.world.now
    line.send(b"hello")
    line.world.run(lambda: line.got, limit=5)
    assert line.got == [(PEER, b"hello")]
    assert line.peer.got == [(b"hello", relayed)]
    assert line.world.now == pytest.approx(started + 0.08)
    assert line.server.counters["by_indication"] == 1
    line.send(b"by channel")
    line.world.run(lambda: len(line.got) == 2, limit=5)
    assert line.got[1] == (PEER, b"by channel")
    assert line.server.counters["by_channel"] == 1


def test_wrapped_bytes():
    line = Line().up()
    assert line.turn.wrap(PEER, b"x", line.world.now)[:2] == b"\x00\x16"
    line.world.poke("client")
    line.world.run_for(1)
    assert line.turn.wrap(PEER, b"abc", line.world.now) == b"\x40\x00\x00\x03abc"
    line.turn._stream = True
    assert line.turn.wrap(PEER, b"abc", line.world.now) == b"\x40\x00\x00\x03abc\0"
    assert line.turn.wrap(PEER, b"abcd", line.world.now) == b"\x40\x00\x00\x04abcd"


def test_permit_lets_a_peer_in_before_anything_is_sent():
    line = Line().up()
    line.turn.permit(PEER, line.world.now)
    line.turn.permit(PEER, line.world.now)
    line.world.poke("client")
    line.world.run_for(1)
    [allocation] = line.server.allocations.values()
    assert list(allocation.permissions) == [PEER[0]]
    assert [peer for peer, _ in allocation.channels.values()] == [PEER]
    with pytest.raises(LocalProtocolError):
        line.turn.permit(("host.local", 1), line.world.now)
    with pytest.raises(LocalProtocolError):
        line.turn.permit((PEER[0], 0), line.world.now)


def test_before_the_allocation_nothing_can_be_sent():
    line = Line()
    assert line.turn.wrap(PEER, b"x", line.world.now) == b""
    line.turn.permit(PEER, 0.0)
    assert not line.turn.transmits
    assert line.turn.counters["not_relayed"] == 1


def test_it_stays_for_hours():
    line = Line(lifetime=600, nonce_time=1000.0).up()
    for _ in range(4 * 60):
        line.send(b"tick")
        line.world.run_for(30)
    assert len(line.got) == 240
    assert line.turn.allocated
    assert line.server.counters["refused_438"] >= 5
    assert line.server.counters["refused_401"] == 1
    assert line.server.counters["by_indication"] == 1


def test_a_peer_that_is_no_longer_used_is_let_go():
    line = Line().up()
    line.send(b"once")
    for _ in range(20):
        line.send(b"tick", OTHER)
        line.world.run_for(30)
    [allocation] = line.server.allocations.values()
    assert allocation.permissions[PEER[0]] < line.world.now
    assert allocation.permissions[OTHER[0]] > line.world.now
    assert list(line.turn._peers) == [OTHER]
    assert list(line.turn._permissions) == [OTHER[0]]
    line.send(b"again")
    line.world.run_for(1)
    assert (PEER, b"again") in line.got


def test_a_live_allocation_goes_on_with_a_new_password():
    line = Line(lifetime=600).up()
    line.send(b"before")
    line.world.run_for(1)
    assert line.turn.set_credentials("user", "pass")
    line.server.users["user"] = "changed"
    assert line.turn.set_credentials("user", "changed")
    assert not line.turn.set_credentials("another", "changed")
    line.world.run_for(1300)
    assert line.turn.allocated
    line.send(b"after")
    line.world.run_for(1)
    assert [data for _, data in line.got] == [b"before", b"after"]


def test_a_password_that_changes_while_a_request_is_under_way():
    line = Line(lifetime=600).up()
    line.world.run_for(539)
    line.server.users["user"] = "changed"
    refused = []
    refuse = line.server._refuse

    def watched(client, message, code, *rest):
        if not refused:
            line.turn.set_credentials("user", "changed")
        refused.append(code)
        refuse(client, message, code, *rest)

    line.server._refuse = watched
    line.world.run_for(100)
    assert refused == [401]
    assert line.turn.allocated


def test_a_password_may_change_before_the_challenge():
    line = Line(users={"user": "changed"})
    line.start()
    assert line.turn.set_credentials("user", "changed")
    line.world.run(lambda: line.turn.allocated, limit=5)


@pytest.mark.parametrize(("lifetime", "after"), [(600, 540.0), (100, 50.0), (20, 10.0)])
def test_refresh_comes_in_time(lifetime, after):
    line = Line(lifetime=lifetime).up()
    start = line.world.now
    line.world.run_for(1)
    assert line.turn.advance(line.world.now) == pytest.approx(start + after)


def test_close_gives_the_allocation_back():
    line = Line().up()
    line.turn.close(line.world.now)
    line.turn.close(line.world.now)
    line.world.poke("client")
    line.world.run_for(1)
    assert not line.server.allocations
    assert line.turn.closed
    assert line.turn.wrap(PEER, b"x", line.world.now) == b""
    assert line.turn.advance(line.world.now) == INF
    line.turn.handle_packet(b"\0" * 30, line.world.now)
    closed = Line()
    closed.turn.close(0.0)
    assert not closed.turn.transmits
    closed.turn.start(0.0)
    assert not closed.turn.transmits


def test_it_starts_once():
    line = Line().start()
    with pytest.raises(LocalProtocolError):
        line.turn.start(0.0)
    with pytest.raises(LocalProtocolError):
        TurnAllocation(Entropy(b""), "u", "p", stream=False, families=(6, 4))


def test_wrong_password():
    line = Line(password="wrong").start()
    assert line.lost() == AllocationLost("the credentials were refused", 401)
    assert line.world.now < 0.5


def test_no_server():
    line = Line().start()
    line.world.partition("client", "server")
    assert line.lost() == AllocationLost("the server does not answer")
    assert 10 < line.world.now < 30


def test_redirection():
    line = Line(alternate=("203.0.113.2", 3479)).start()
    assert line.lost() == AllocationRedirected(("203.0.113.2", 3479))


def test_quota():
    line = Line(quota=0).start()
    assert line.lost() == AllocationLost("486 Allocation Quota Reached", 486)


def test_an_allocation_of_somebody_before_us_is_cleared_away():
    line = Line().up()
    line.turn = TurnAllocation(Entropy(b"another"), "user", "pass", stream=False)
    line.node.machine, line.node.transmits = line.turn, line.turn.transmits
    line.up()
    assert line.server.counters["refused_437"] == 1
    assert len(line.server.allocations) == 1


def test_a_server_that_forgot_the_allocation():
    line = Line().up()
    line.world.run_for(1)
    line.server.forget()
    line.send(b"x")
    assert line.lost() == AllocationLost("437 Allocation Mismatch", 437)


def test_a_refresh_that_is_refused():
    line = Line().up()
    line.world.run_for(1)
    line.server.forget()
    line.world.run(lambda: line.turn.closed, limit=700)
    line.world.run_for(0)
    assert line.node.outputs[-1] == AllocationLost("437 Allocation Mismatch", 437)


@pytest.mark.parametrize(
    ("families", "hosts", "versions"),
    [
        ((4,), ("203.0.113.1", "2001:db8::1"), [4]),
        ((6,), ("203.0.113.1", "2001:db8::1"), [6]),
        ((4, 6), ("203.0.113.1", "2001:db8::1"), [4, 6]),
        ((4, 6), ("203.0.113.1",), [4]),
    ],
)
def test_families(families, hosts, versions):
    line = Line(families=families, hosts=hosts).up()
    line.world.run_for(0)
    [event] = line.events(Allocated)
    assert [6 if ":" in address else 4 for address, _ in event.relayed] == versions
    if 6 in versions:
        line.send(b"six", PEER6)
        line.world.run(lambda: line.got, limit=5)
        assert line.got == [(PEER6, b"six")]


def test_a_family_that_the_server_has_not():
    line = Line(families=(6,)).start()
    assert line.lost() == AllocationLost("440 Address Family not Supported", 440)


def test_a_peer_that_the_server_denies():
    line = Line(denied=(PEER[0],)).up()
    line.send(b"x")
    line.send(b"y", OTHER)
    line.world.run_for(1)
    assert line.events(PeerRefused) == [PeerRefused(PEER[0], "403 Forbidden")]
    assert line.turn.wrap(PEER, b"x", line.world.now) == b""
    assert line.got == [(OTHER, b"y")]
    assert list(line.turn._peers) == [OTHER]
    line.server.denied = ()
    for _ in range(20):
        line.send(b"tick", OTHER)
        line.world.run_for(20)
    line.send(b"again")
    line.world.run_for(1)
    assert line.got[-1] == (PEER, b"again")


def test_a_peer_denied_later_does_not_cost_the_others():
    line = Line().up()
    for _ in range(20):
        line.send(b"x")
        line.send(b"y", OTHER)
        line.world.run_for(20)
        line.server.denied = (PEER[0],)
    assert [event.address for event in line.events(PeerRefused)] == [PEER[0]]
    assert line.got[-1] == (OTHER, b"y")


def test_without_channels_indications_carry_everything():
    line = Line(channels=False).up()
    for _ in range(3):
        line.send(b"x")
        line.world.run_for(1)
    assert line.got == [(PEER, b"x")] * 3
    assert line.server.counters["by_indication"] == 3
    assert line.turn.counters["channel_refused"] == 1


def test_two_ports_of_one_host_share_the_permission():
    line = Line().up()
    second = (PEER[0], 7000)
    line.send(b"x")
    line.send(b"y", second)
    line.world.run_for(1)
    [allocation] = line.server.allocations.values()
    assert len(allocation.channels) == 2
    assert list(line.turn._permissions) == [PEER[0]]
    for _ in range(20):
        line.send(b"x")
        line.world.run_for(30)
    assert list(line.turn._peers) == [PEER]
    assert list(line.turn._permissions) == [PEER[0]]


def test_a_channel_that_was_never_confirmed_is_not_renewed():
    line = Line(channels=False).up()
    for _ in range(30):
        line.send(b"x")
        line.world.run_for(30)
    assert line.server.counters["refused_403"] == 1


def test_peers_are_bounded():
    line = Line().up()
    for number in range(MAX_TURN_PEERS + 5):
        line.turn.wrap((f"198.51.100.{number % 200}", 1000 + number), b"x", line.world.now)
    assert len(line.turn._peers) == MAX_TURN_PEERS
    assert line.turn.counters["peer_limit"] == 5
    next(iter(line.turn._peers.values())).used = False
    assert line.turn.wrap(("198.51.100.250", 1), b"x", line.world.now)
    assert len(line.turn._peers) == MAX_TURN_PEERS
    assert len(line.turn._channels) == MAX_TURN_PEERS


def test_channel_numbers_run_out():
    line = Line().up()
    line.turn._next_channel = 0x4FFF
    for _ in range(2):
        line.send(b"x")
        line.send(b"y", OTHER)
        line.world.run_for(1)
    assert sorted(line.got) == [(PEER, b"x")] * 2 + [(OTHER, b"y")] * 2
    assert line.server.counters["by_channel"] == 1
    for _ in range(20):
        line.send(b"x")
        line.send(b"y", OTHER)
        line.world.run_for(60)
    assert line.got[-1] == (OTHER, b"y")


@pytest.mark.parametrize("seed", range(8))
def test_over_a_bad_line(seed):
    link = Link(latency=0.02, jitter=0.05, loss=0.2, duplication=0.1, reorder=0.1)
    line = Line(link=link, seed=seed, nonce_time=100.0).up()
    for number in range(120):
        line.send(b"%d" % number)
        line.world.run_for(5)
    assert line.turn.allocated
    assert len({data for _, data in line.got}) > 25  # four lossy ways each
    assert {addr for addr, _ in line.got} == {PEER}
    assert line.server.counters["by_channel"] > 70
    line.turn.close(line.world.now)


# ---------------------------------------------------------------- what a server might answer


class Scripted:
    """An allocation whose server is the test."""

    def __init__(self, **more):
        self.turn = TurnAllocation(Entropy(b"client"), "user", "pass", stream=False, **more)
        self.now = 0.0
        self.key = stun.long_term_key("user", "realm", "pass")
        self.turn.start(0.0)

    def request(self):
        self.turn.advance(self.now)
        message = stun.decode(self.turn.transmits.popleft())
        return message

    def answer(self, request, attributes, *, error=0, key="mine", message_class=None):
        self.now += 0.01
        kind = stun.ERROR if error else stun.SUCCESS
        if message_class is not None:
            kind = message_class
        if error:
            attributes = [(stun.ERROR_CODE, stun.error_value(error, "no")), *attributes]
        data = stun.build(
            stun.message_type(request.method, kind),
            request.transaction_id,
            attributes,
            self.key if key == "mine" else key,
        )
        self.turn.handle_packet(data, self.now)

    def challenge(self, error=401, nonce=b"nonce", realm=b"realm"):
        self.answer(self.request(), [(stun.REALM, realm), (stun.NONCE, nonce)], error=error, key=None)

    def allocate(self, **more):
        self.challenge()
        request = self.request()
        self.answer(request, self.grant(request, **more))
        assert self.turn.allocated
        return self

    def grant(self, request, lifetime=600, relayed=("203.0.113.1", 7000)):
        attributes = [] if lifetime is None else [(stun.LIFETIME, stun.u32_value(lifetime))]
        if relayed:
            attributes.append((stun.XOR_RELAYED_ADDRESS, stun.xor_address_value(relayed, request.transaction_id)))
        return attributes

    def outputs(self):
        found = list(self.turn.outbox)
        self.turn.outbox.clear()
        return found


def test_requests_carry_what_they_should():
    script = Scripted(families=(4, 6))
    first = script.request()
    assert first.type == 0x0003
    assert first.attributes == {
        stun.REQUESTED_TRANSPORT: b"\x11\0\0\0",
        stun.ADDITIONAL_ADDRESS_FAMILY: b"\x02\0\0\0",
    }
    assert not first.integrity
    assert first.fingerprint
    script.answer(first, [(stun.REALM, b"realm"), (stun.NONCE, b"n")], error=401, key=None)
    second = script.request()
    assert second.verify(script.key)
    assert second.attributes[stun.USERNAME] == b"user"
    assert second.attributes[stun.REALM] == b"realm"
    assert second.attributes[stun.NONCE] == b"n"
    script.answer(second, script.grant(second, lifetime=None))
    assert script.outputs() == [Allocated((("203.0.113.1", 7000),), None, 600.0)]
    script.turn.wrap(PEER6, b"x", script.now)
    permission, channel = script.request(), script.request()
    id = permission.transaction_id
    assert permission.method == stun.METHOD_CREATE_PERMISSION
    assert stun.decode_xor_address(permission.attributes[stun.XOR_PEER_ADDRESS], id)[0] == PEER6[0]
    assert channel.method == stun.METHOD_CHANNEL_BIND
    assert channel.attributes[stun.CHANNEL_NUMBER] == b"\x40\0\0\0"
    script.turn.close(script.now)
    last = stun.decode(script.turn.transmits.popleft())
    assert last.method == stun.METHOD_REFRESH
    assert last.attributes[stun.LIFETIME] == bytes(4)


@pytest.mark.parametrize("error", [420, 440])
def test_a_server_that_knows_one_family_only(error):
    script = Scripted(families=(4, 6))
    script.challenge()
    lacking = stun.unknown_attributes_value([stun.ADDITIONAL_ADDRESS_FAMILY])
    script.answer(script.request(), [(stun.UNKNOWN_ATTRIBUTES, lacking)], error=error)
    request = script.request()
    assert stun.ADDITIONAL_ADDRESS_FAMILY not in request.attributes
    script.answer(request, script.grant(request))
    assert script.turn.allocated


def test_a_server_that_does_not_know_ipv6():
    script = Scripted(families=(6,))
    script.challenge()
    lacking = stun.unknown_attributes_value([stun.REQUESTED_ADDRESS_FAMILY])
    script.answer(script.request(), [(stun.UNKNOWN_ATTRIBUTES, lacking)], error=420)
    assert script.outputs() == [AllocationLost("420 no", 420)]


@pytest.mark.parametrize(("realm", "nonce"), [(b"", b"n"), (b"r", b""), (b"r" * 764, b"n"), (b"r", b"n" * 764)])
def test_challenges_that_lead_nowhere(realm, nonce):
    script = Scripted()
    script.challenge(realm=realm, nonce=nonce)
    assert script.outputs() == [AllocationLost("the credentials were refused", 401)]


def test_nonces_without_end():
    script = Scripted()
    script.challenge()
    for number in range(2):
        assert not script.outputs()
        script.challenge(error=438, nonce=b"%d" % number)
    assert script.outputs() == [AllocationLost("438 no", 438)]


def test_a_401_with_a_new_nonce_is_a_stale_nonce():
    script = Scripted().allocate()
    script.outputs()
    script.turn.wrap(PEER, b"x", script.now)
    script.challenge(nonce=b"other")
    script.turn.transmits.popleft()
    assert script.request().attributes[stun.NONCE] == b"other"


def test_a_new_realm_makes_a_new_key():
    script = Scripted()
    script.challenge()
    script.challenge(error=438, realm=b"another", nonce=b"2")
    assert script.request().verify(stun.long_term_key("user", "another", "pass"))


@pytest.mark.parametrize("grant", [{"relayed": None}, {"lifetime": 0}])
def test_an_allocation_of_nothing(grant):
    script = Scripted()
    script.challenge()
    request = script.request()
    script.answer(request, script.grant(request, **grant))
    assert script.outputs() == [AllocationLost("the server allocated nothing")]


def test_answers_that_are_not_believed():
    script = Scripted()
    script.challenge()
    request = script.request()
    grant = script.grant(request)
    script.answer(request, grant, key=None)
    script.answer(request, grant, key=stun.Key(b"wrong"))
    script.answer(request, [], error=486, key=stun.Key(b"wrong"))
    assert script.turn.counters["stun_bad_integrity"] == 3
    script.answer(request, [*grant, (0x7777, b"")])
    assert script.turn.counters["stun_unknown_attribute"] == 1
    script.answer(request, grant, message_class=stun.REQUEST)
    assert script.turn.counters["stun_unexpected"] == 1
    script.answer(request, [(stun.LIFETIME, b"1")])
    script.answer(request, [(stun.LIFETIME, stun.u32_value(1)), (stun.XOR_RELAYED_ADDRESS, b"")])
    script.answer(request, [(stun.ALTERNATE_SERVER, b"")], error=300)
    script.answer(request, [(stun.UNKNOWN_ATTRIBUTES, b"1")], error=420)
    assert script.turn.counters["stun_malformed"] == 4
    other = stun.Message(request.type, b"x" * 12, {})
    script.answer(other, grant)
    assert script.turn.counters["stun_unknown_transaction"] == 1
    script.turn.handle_packet(b"\x40\0\0\0", script.now)
    script.turn.handle_packet(b"\0\1\0\0\x21\x12\xa4\x42" + bytes(13), script.now)
    assert script.turn.counters["stun_malformed"] == 5
    assert not script.outputs()
    script.answer(request, grant)
    assert script.turn.allocated


def test_300_without_an_address():
    script = Scripted()
    script.challenge()
    script.answer(script.request(), [], error=300)
    assert script.outputs() == [AllocationLost("300 no", 300)]


def test_437_twice():
    script = Scripted()
    script.challenge()
    script.answer(script.request(), [], error=437)
    refresh = script.request()
    assert refresh.attributes[stun.LIFETIME] == bytes(4)
    script.answer(refresh, [], error=437)
    script.answer(script.request(), [], error=437)
    assert script.outputs() == [AllocationLost("437 no", 437)]


def refresh(script):
    script.outputs()
    script.now = script.turn.advance(script.now)
    request = script.request()
    assert request.method == stun.METHOD_REFRESH
    return request


def test_a_refresh_that_ends_the_allocation():
    script = Scripted().allocate()
    script.answer(refresh(script), [(stun.LIFETIME, bytes(4))])
    assert script.outputs() == [AllocationLost("the server ended the allocation")]


def test_a_refresh_shortens_the_lifetime():
    script = Scripted().allocate()
    script.answer(refresh(script), [(stun.LIFETIME, stun.u32_value(1))])
    assert script.turn.advance(script.now) == pytest.approx(script.now + 5.0)


def test_a_refresh_without_answer():
    script = Scripted().allocate()
    refresh(script)
    while not script.turn.closed:
        script.now = script.turn.advance(script.now)
    assert script.outputs() == [AllocationLost("the server does not answer")]


def test_permissions_without_answer():
    script = Scripted(options=TurnOptions(retransmissions=1)).allocate()
    script.turn.wrap(PEER, b"x", script.now)
    while script.turn.counters["request_unanswered"] < 2:
        script.now = script.turn.advance(script.now + 0.01)
    assert script.turn.allocated
    assert len(script.turn.transmits) == 4


def test_answers_for_peers_let_go_meanwhile():
    script = Scripted().allocate()
    script.turn.wrap(PEER, b"x", script.now)
    permission, channel = script.request(), script.request()
    script.turn._forget(script.turn._peers[PEER])
    script.answer(permission, [], error=403)
    script.answer(channel, [])
    script.outputs()
    assert not script.turn._permissions
    assert not script.turn._channels


def test_the_time_goes_forward_only():
    script = Scripted()
    script.now = 10.0
    due = script.turn.advance(10.0)
    assert script.turn.advance(5.0) == due


# ---------------------------------------------------------------- data from the server


def test_what_is_not_data_is_left_alone():
    script = Scripted().allocate()
    turn = script.turn
    assert turn.unwrap(b"\x40\0") is None
    assert turn.unwrap(b"\x80\0\0\0") is None
    assert turn.unwrap(b"\0\1\0\0") is None
    assert turn.unwrap(b"\x40\0\0\0") is None
    assert turn.counters["channel_unknown"] == 1
    turn.wrap(PEER, b"", script.now)
    assert turn.unwrap(b"\x40\0\0\2a") is None
    assert turn.counters["channel_truncated"] == 1
    assert turn.unwrap(b"\x40\0\0\2ab\0\0") == (PEER, b"ab")
    assert turn.unwrap(b"\x40\0\0\0") == (PEER, b"")


def indication(*attributes):
    id = b"i" * 12
    values = [
        (kind, stun.xor_address_value(value, id) if type(value) is tuple else value) for kind, value in attributes
    ]
    return stun.build(0x0017, id, values)


def test_data_indications():
    script = Scripted().allocate()
    turn = script.turn
    good = indication((stun.XOR_PEER_ADDRESS, PEER), (stun.DATA, b"abc"))
    assert turn.unwrap(good) is None
    assert turn.counters["peer_not_permitted"] == 1
    turn.permit(PEER, script.now)
    assert turn.unwrap(good) == (PEER, b"abc")
    for bad in (
        good[:-1],
        indication((stun.XOR_PEER_ADDRESS, b"123"), (stun.DATA, b"abc")),
        indication((stun.DATA, b"abc")),
        indication((stun.XOR_PEER_ADDRESS, PEER)),
        indication((stun.XOR_PEER_ADDRESS, PEER), (stun.DATA, b"abc"), (0x7777, b"")),
    ):
        assert turn.unwrap(bad) is None
    assert turn.counters["indication_malformed"] == 5


def test_whose_packets():
    script = Scripted()
    turn = script.turn
    request = script.request()
    assert turn.owns(b"\x40\0\0\0")
    assert turn.owns(b"\0\x17\0\0")
    assert turn.owns(b"\1\x13\0\0" + bytes(4) + request.transaction_id)
    assert not turn.owns(b"\1\x01\0\0" + bytes(16))
    assert not turn.owns(b"\1\x01")
