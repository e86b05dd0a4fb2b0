from __future__ import annotations

from collections import deque
from itertools import count

import pytest

from sansio.base.contract import INF, ClosePort, OpenStream, Resolve, Transmit
from sansio.base.entropy import Entropy
from sansio.base.limits import MAX_ICE_STREAMS, MAX_TURN_ALLOCATIONS, MAX_TURN_SERVERS
from sansio.ice import stun
from sansio.ice.agent import IceAgent, PairSelected
from sansio.ice.candidate import Candidate
from sansio.ice.framing import FrameReader, frame
from sansio.ice.gather import CandidateFound, PortLost
from sansio.ice.paths import PathOptions, PathReport, Paths, TurnServerConfig
from sansio.testing.netem import Link
from sansio.testing.turnserver import TurnServer
from sansio.testing.world import World

A, B, B_TCP = ("192.0.2.1", 5000), ("198.51.100.1", 7882), ("198.51.100.1", 7881)
TURN = ("203.0.113.1", 3478)
TLS = ("203.0.113.1", 443)
URLS = {
    "udp": "turn:203.0.113.1:3478?transport=udp",
    "tcp": "turn:203.0.113.1:3478?transport=tcp",
    "tls": "turns:203.0.113.1:443?transport=tcp",
}


def config(url, username="user", password="pass"):
    return TurnServerConfig(url, username, password)


def host(address, port, priority=2130706431):
    return Candidate("1", 1, "udp", priority, address, port, "host")


def passive(address=B_TCP):
    return Candidate("2", 1, "tcp", 1671430143, *address, "host", tcptype="passive")


class Side:
    """An agent with one socket and roundabout ways, as a session puts them together."""

    def __init__(self, *, urls=(), direct=True, options=None):
        self.transmits, self.outbox, self.got = deque(), deque(), []
        self.agent = IceAgent(Entropy(b"a"), controlling=True)
        self.paths = Paths(Entropy(b"paths"), count(10).__next__, options=options or PathOptions())
        self.agent.add_local(host(*A), 1, 0.0)
        self.paths.base_opened(host(*A), 1, 0.0)
        self.paths.add_servers([config(URLS[kind]) for kind in urls], 0.0)
        self.direct = direct
        self.selected = []
        self.raw = 0

    def handle_datagram(self, port, data, addr, now):
        inner = self.paths.receive(port, data, addr, now) if self.paths.live else None
        for number, packet, source in [(port, data, addr)] if inner is None else inner:
            if packet[0] < 4:
                self.agent.handle_stun(number, packet, source, now)
            elif self.agent.is_valid_source(number, source):
                self.got.append(packet)

    def port_opened(self, port, address, now):
        self.paths.port_opened(port, address, now)

    def port_failed(self, port, error, now):
        self.paths.port_failed(port, error, now)

    def resolved(self, token, addresses, now):
        self.paths.resolved(token, addresses, now)

    def send(self, data):
        self.transmits.append(Transmit(self.agent.selected_port, data, self.agent.selected_addr))

    def advance(self, now):
        while True:
            due = self.agent.advance(now)
            self.transmits.extend(self.agent.transmits)
            self.agent.transmits.clear()
            while self.agent.outbox:
                event = self.agent.outbox.popleft()
                if isinstance(event, PairSelected):
                    self.selected.append((now, event))
                    self.paths.selected(event.port, now)
            for _ in range(len(self.transmits)):
                transmit = self.transmits.popleft()
                if transmit.addr == B and transmit.port == 1 and not self.direct:
                    continue  # a firewall
                if not self.paths.send(transmit, self.transmits, now):
                    self.transmits.append(transmit)
            due = min(due, self.paths.advance(now))
            self.transmits.extend(self.paths.transmits)
            self.paths.transmits.clear()
            fresh = False
            while self.paths.outbox:
                event = self.paths.outbox.popleft()
                if isinstance(event, CandidateFound):
                    self.agent.add_local(event.candidate, event.port, now, peer=event.peer)
                    fresh = True
                elif isinstance(event, PortLost):
                    self.agent.remove_local(event.port, now)
                    fresh = True
                else:
                    self.outbox.append(event)
            if not fresh:
                return due


class Server:
    """The peer: one UDP socket, and a listener for TCP connections."""

    def __init__(self):
        self.transmits, self.outbox, self.got = deque(), deque(), []
        self.agent = IceAgent(Entropy(b"b"), controlling=False)
        self.agent.add_local(host(*B), 1, 0.0)
        self.readers = {}

    def stream_accepted(self, port, address, now):
        self.readers[port] = FrameReader()
        self.agent.add_local(passive(), port, now, peer=address)

    def stream_closed(self, port, now):
        self.agent.remove_local(port, now)

    def handle_datagram(self, port, data, addr, now):
        reader = self.readers.get(port)
        for packet in [data] if reader is None else reader.feed(data):
            if packet[0] < 4:
                self.agent.handle_stun(port, packet, addr, now)
            else:
                self.got.append(packet)
                self.transmits.append(Transmit(port, packet if reader is None else frame(packet), addr))

    def advance(self, now):
        due = self.agent.advance(now)
        while self.agent.transmits:
            transmit = self.agent.transmits.popleft()
            if transmit.port in self.readers:
                transmit.data = frame(transmit.data)
            self.transmits.append(transmit)
        self.agent.outbox.clear()
        return due


class Scene:
    def __init__(self, *, urls=(), tcp=False, direct=True, link=None, seed=1, options=None, **server):
        self.world = World(seed, link=link or Link(latency=0.02))
        self.a, self.b = Side(urls=urls, direct=direct, options=options), Server()
        self.turn = TurnServer(Entropy(b"turn"), **server)
        self.world.add("turn", self.turn, {1: TURN}, hosts=self.turn.hosts)
        self.world.add("a", self.a, {1: A}, hosts=["192.0.2.1"])
        self.world.add("b", self.b, {1: B})
        self.world.listen_stream(TURN, "turn")
        self.world.listen_stream(TLS, "turn")
        self.world.listen_stream(B_TCP, "b")
        self.a.agent.set_remote_credentials(self.b.agent.local_ufrag, self.b.agent.local_pwd, 0.0)
        self.b.agent.set_remote_credentials(self.a.agent.local_ufrag, self.a.agent.local_pwd, 0.0)
        self.a.agent.add_remote(host(*B), 0.0)
        if tcp:
            self.a.agent.add_remote(passive(), 0.0)
            self.a.paths.add_remote(passive(), 0.0)

    def connect(self):
        self.world.run(lambda: self.a.agent.selected_addr is not None, limit=20)
        return self.a.selected[-1][1]

    def settle(self, seconds=2.0):
        self.world.run_for(seconds)
        return self.a.selected[-1][1]

    def say(self, data):
        self.a.send(data)
        self.world.poke("a")
        self.world.run(lambda: data in self.a.got, limit=5)


# ---------------------------------------------------------------- with agents, in a world


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls"])
def test_a_relay_carries_what_cannot_go_directly(kind):
    scene = Scene(urls=[kind], direct=False)
    event = scene.connect()
    assert (event.local.type, event.local.relay_protocol) == ("relay", kind)
    assert event.local.related_address == "192.0.2.1"
    scene.say(b"\x80hello")
    assert scene.b.got == [b"\x80hello"]
    [report] = scene.a.paths.report()
    target = "203.0.113.1 port 443" if kind == "tls" else "203.0.113.1 port 3478"
    assert report == PathReport(f"relay over {kind}", target, "open", "")
    carrier = scene.a.paths.carrier(event.port)
    assert (carrier == 1) == (kind == "udp")
    assert scene.a.paths.carrier(1) == 1


def test_tcp_carries_what_udp_cannot():
    scene = Scene(tcp=True, direct=False)
    event = scene.connect()
    assert (event.local.protocol, event.local.tcptype, event.local.port) == ("tcp", "active", 9)
    assert event.addr == B_TCP
    scene.say(b"\x80hello")
    assert scene.a.paths.report() == [PathReport("tcp", "198.51.100.1 port 7881", "open", "")]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_paths_and_what_happens_to_the_others(seed):
    link = Link(latency=0.02, jitter=0.02, loss=0.05, reorder=0.05)
    scene = Scene(urls=["udp", "tcp", "tls"], tcp=True, link=link, seed=seed)
    event = scene.settle()
    assert event.addr == B
    assert event.local.type != "relay"
    assert event.port == 1
    assert {report.state for report in scene.a.paths.report()} == {"open"}
    assert len(scene.turn.allocations) == 3
    scene.world.run_for(15)
    assert {report.state for report in scene.a.paths.report()} == {"closed"}
    assert len(scene.turn.allocations) <= 1  # a lost Refresh leaves one to expire
    assert not scene.a.paths.live
    assert scene.a.paths.advance(scene.world.now) == INF
    scene.a.paths.reopen(scene.world.now)
    scene.world.poke("a")
    scene.world.run_for(5)
    assert {report.state for report in scene.a.paths.report()} == {"open"}


@pytest.mark.parametrize(
    ("urls", "tcp", "best"),
    [
        (["udp", "tcp", "tls"], True, "udp"),
        (["tcp", "tls"], True, ""),
        (["tcp", "tls"], False, "tcp"),
        (["tls"], False, "tls"),
    ],
)
def test_without_direct_udp_the_next_best_is_taken(urls, tcp, best):
    scene = Scene(urls=urls, tcp=tcp, direct=False)
    event = scene.settle()
    assert event.local.relay_protocol == best
    scene.say(b"\x80x")
    scene.world.run_for(20)
    scene.say(b"\x80y")
    states = [report.state for report in scene.a.paths.report()]
    assert states.count("open") == 1
    assert states.count("closed") == len(urls) + tcp - 1


def test_it_goes_on_by_a_relay_for_long():
    scene = Scene(urls=["tcp"], direct=False, lifetime=60.0, nonce_time=100.0)
    scene.connect()
    for number in range(20):
        scene.world.run_for(60)
        scene.say(b"\x80%d" % number)


def test_a_broken_stream_is_opened_again():
    scene = Scene(urls=["tcp"], tcp=True, direct=False)
    scene.settle()
    scene.world.cut_streams("a")
    scene.world.run_for(0.1)
    assert [report.error for report in scene.a.paths.report()] == ["closed by the other end"] * 2
    assert scene.a.agent.selected_addr is None
    scene.world.run_for(3)
    assert [report.state for report in scene.a.paths.report()] == ["open"] * 2


def test_ipv6_relays_have_a_number_of_their_own():
    scene = Scene(urls=["udp"], direct=False, hosts=("203.0.113.1", "2001:db8::1"))
    scene.connect()
    numbers = dict(scene.a.paths.by_number)
    assert len(numbers) == 2
    scene.say(b"\x80x")


# ---------------------------------------------------------------- alone


class Alone:
    def __init__(self, **options):
        self.paths = Paths(Entropy(b"alone"), count(10).__next__, options=PathOptions(**options))
        self.now = 0.0

    def turn(self, now=None):
        self.now = self.now if now is None else now
        self.paths.advance(self.now)
        found = list(self.paths.outbox)
        self.paths.outbox.clear()
        return found

    def sent(self):
        found = list(self.paths.transmits)
        self.paths.transmits.clear()
        return found

    def base(self, port=1, address="192.0.2.1"):
        self.paths.base_opened(host(address, 5000), port, self.now)

    def states(self):
        return [report.state for report in self.paths.report()]


def test_nothing_is_opened_without_a_socket_that_gets_there():
    alone = Alone()
    alone.paths.add_servers([config(url) for url in URLS.values()], 0.0)
    alone.paths.add_remote(passive(), 0.0)
    assert alone.turn() == []
    alone.base(1, "127.0.0.1")
    alone.base(2, "2001:db8::5")
    assert alone.turn() == []
    assert not alone.paths.live
    alone.base(3)
    assert alone.turn() == [
        OpenStream(10, TURN),
        OpenStream(11, TLS, tls=True, server_name="203.0.113.1"),
        OpenStream(12, B_TCP),
    ]
    assert [transmit.addr for transmit in alone.sent()] == [TURN]
    assert alone.paths.live


def test_servers_that_cannot_be_used():
    alone = Alone()
    urls = ["nonsense", "stun:192.0.2.1", "turns:192.0.2.1?transport=udp"]
    alone.paths.add_servers([config(url) for url in urls], 0.0)
    assert alone.paths.counters.snapshot() == {"server_url_malformed": 1, "server_unsupported": 2}
    alone.paths.add_servers([config(f"turn:203.0.113.{n}") for n in range(1, MAX_TURN_SERVERS + 3)], 0.0)
    assert alone.paths.counters["server_limit"] == 2
    alone.base()
    alone.base(2, "192.0.2.2")
    alone.turn()
    assert len(alone.states()) == MAX_TURN_ALLOCATIONS
    assert alone.paths.counters["allocation_limit"] > 0
    assert "pass" not in repr(config("turn:x"))


def test_credentials_are_renewed():
    alone = Alone()
    alone.paths.add_servers([config(URLS["tcp"])], 0.0)
    alone.base()
    [request] = alone.turn()
    alone.paths.add_servers([config(URLS["tcp"], "new", "secret")], 0.0)
    alone.paths.port_opened(request.port, ("192.0.2.1", 40000), 0.0)
    alone.turn()
    [transmit] = alone.sent()
    asked = stun.decode(transmit.data)
    challenge = stun.build(
        0x0113,
        asked.transaction_id,
        [(stun.ERROR_CODE, stun.error_value(401)), (stun.REALM, b"r"), (stun.NONCE, b"n")],
    )
    assert alone.paths.receive(transmit.port, challenge[:10], TURN, 0.0) == []
    assert alone.paths.receive(transmit.port, challenge[10:], TURN, 0.0) == []
    alone.turn()
    [transmit] = alone.sent()
    assert stun.decode(transmit.data).attributes[stun.USERNAME] == b"new"
    # and refused all the same: not asked again
    asked = stun.decode(transmit.data)
    refusal = stun.build(0x0113, asked.transaction_id, [(stun.ERROR_CODE, stun.error_value(401)), (stun.NONCE, b"n")])
    alone.paths.receive(transmit.port, refusal, TURN, 0.0)
    assert ClosePort(transmit.port) in alone.turn()
    assert alone.paths.report()[0].error == "the credentials were refused"
    assert alone.turn(100.0) == []


@pytest.mark.parametrize("user", ["user", "another"])
def test_a_relay_that_is_up_gets_the_new_credentials(user):
    """With another user name it cannot: it goes on until the server refuses it, and is then opened anew."""
    scene = Scene(urls=["udp"], direct=False, options=PathOptions(streams=False, settle_after=1e9))
    scene.world.run(lambda: any(report.state == "open" for report in scene.a.paths.report()), limit=10)
    scene.turn.users = {"user": "new", "another": "new"}
    scene.a.paths.add_servers([config(URLS["udp"], user, "new")], scene.world.now)
    scene.a.paths.add_servers([config(URLS["udp"], user, "new")], scene.world.now)
    scene.world.run_for(580)
    assert [report.state for report in scene.a.paths.report()] == ["open"]
    allocated = [entry.username for entry in scene.turn.allocations.values()]
    assert allocated == [user]


def test_names_are_looked_up():
    alone = Alone()
    alone.base()
    alone.base(2, "2001:db8::5")
    urls = ["turns:turn.example.org:443", "turn:gone.example.org?transport=tcp", "turn:slow.example.org"]
    alone.paths.add_servers([config(url) for url in urls], 0.0)
    first, second, third = alone.turn()
    assert [first.host, second.host, third.host] == ["turn.example.org", "gone.example.org", "slow.example.org"]
    alone.paths.resolved(first.token, ["nonsense", "203.0.113.5", "203.0.113.6", "2001:db8::7"], 0.0)
    alone.paths.resolved(first.token, ["203.0.113.9"], 0.0)
    alone.paths.resolved(second.token, [], 0.0)
    opened = alone.turn()
    assert [(request.addr, request.server_name) for request in opened] == [
        (("203.0.113.5", 443), "turn.example.org"),
        (("2001:db8::7", 443), "turn.example.org"),
    ]
    alone.turn(5.0)
    reports = alone.paths.report()[2:]
    assert [(report.kind, report.target, report.error) for report in reports] == [
        ("relay over tcp", "gone.example.org port 3478", "the name is not known"),
        ("relay over udp", "slow.example.org port 3478", "the name is not known in time"),
    ]
    alone.paths.reopen(6.0)
    assert [request.host for request in alone.turn(6.0)] == ["gone.example.org", "slow.example.org"]


def test_streams_that_cannot_be_opened_are_tried_again_a_few_times():
    alone = Alone(tries=3)
    alone.base()
    alone.paths.add_remote(passive(), 0.0)
    times = []
    while alone.now < 1000:
        for request in alone.turn():
            if isinstance(request, OpenStream):
                times.append(alone.now)
                alone.paths.port_failed(request.port, "connection refused", alone.now)
        alone.now = min(alone.paths.advance(alone.now), 1000)
    assert times == [0.0, 1.0, 3.0, 7.0]
    assert alone.paths.report() == [PathReport("tcp", "198.51.100.1 port 7881", "failed", "connection refused")]
    alone.paths.port_failed(999, "?", alone.now)
    alone.paths.port_opened(999, A, alone.now)
    alone.paths.selected(1, alone.now)
    assert alone.paths.advance(alone.now + 10) == INF
    assert alone.states() == ["failed"]


def test_the_peers_candidates():
    alone = Alone()
    alone.base()
    for candidate in (
        host(*B),
        Candidate("2", 1, "tcp", 1, *B_TCP, "host", tcptype="active"),
        Candidate("2", 1, "tcp", 1, "name.local", 1, "host", tcptype="passive"),
        passive(("127.0.0.1", 80)),
    ):
        alone.paths.add_remote(candidate, 0.0)
    assert alone.turn() == []
    for number in range(MAX_ICE_STREAMS + 1):
        alone.paths.add_remote(passive(("198.51.100.1", 1000 + number)), 0.0)
        alone.paths.add_remote(passive(("198.51.100.1", 1000 + number)), 0.0)
    assert len(alone.turn()) == MAX_ICE_STREAMS - 1
    assert alone.paths.counters["stream_limit"] >= 1
    without = Alone(streams=False)
    without.base(1, "192.0.2.9")
    without.paths.add_remote(passive(), 0.0)
    assert without.turn() == []


def test_streams_of_the_peer():
    alone = Alone()
    alone.base(1, "192.0.2.9")
    alone.paths.add_remote(passive(), 0.0)
    [request] = alone.turn()
    assert (alone.paths.is_stream(request.port), alone.paths.is_stream(1)) == (True, False)
    assert alone.paths.receive(request.port, b"early", B_TCP, 0.0) == ()
    alone.paths.port_opened(request.port, ("192.0.2.1", 40000), 0.0)
    alone.paths.port_opened(request.port, ("192.0.2.1", 40000), 0.0)
    [found] = alone.turn()
    assert found.peer == B_TCP
    assert found.candidate.address == "192.0.2.1"
    packets = frame(b"one") + frame(b"two")
    assert alone.paths.receive(request.port, packets[:4], B_TCP, 0.0) == []
    inner = alone.paths.receive(request.port, packets[4:], B_TCP, 0.0)
    assert inner == [(found.port, b"one", B_TCP), (found.port, b"two", B_TCP)]
    out = deque()
    assert alone.paths.send(Transmit(found.port, b"abc", B_TCP, False), out, 0.0)
    assert (out[0].port, out[0].data, out[0].addr, out[0].keep) == (request.port, b"\0\3abc", B_TCP, False)
    assert not alone.paths.send(Transmit(1, b"abc", B_TCP), out, 0.0)
    assert alone.paths.receive(1, b"x", B, 0.0) is None
    assert alone.paths.relay_only(0.0) == [1]
    assert alone.turn() == [PortLost(found.port), ClosePort(request.port)]
    alone.paths.add_remote(passive(), 0.0)
    assert alone.turn() == []
    assert alone.paths.report() == []


def relayed(**server):
    """A relay over UDP that is up, with a server which the test plays by hand."""
    alone = Alone()
    alone.base()
    alone.paths.add_servers([config(URLS["udp"])], 0.0)
    machine = TurnServer(Entropy(b"server"), **server)
    carry(alone, machine)
    return alone, machine


def carry(alone, machine, target=TURN):
    found = []
    for _ in range(6):
        found += alone.turn()
        for transmit in alone.sent():
            if transmit.addr == target:
                machine.handle_datagram(1, transmit.data, A, alone.now)
        machine.advance(alone.now)
        while machine.outbox:
            output = machine.outbox.popleft()
            if not isinstance(output, ClosePort):
                machine.port_opened(output.port, (output.host, output.port), alone.now)
        while machine.transmits:
            transmit = machine.transmits.popleft()
            if transmit.port == 1:
                alone.paths.receive(1, transmit.data, target, alone.now)
    return found


def test_packets_by_a_relay_over_udp():
    alone, _ = relayed()
    [number] = alone.paths.by_number
    out = deque()
    assert alone.paths.send(Transmit(number, b"abc", B), out, 0.0)
    assert [transmit.addr for transmit in out] == [TURN] * 3  # permission, channel, packet
    assert [transmit.port for transmit in out] == [1] * 3
    id = b"i" * 12
    data = stun.build(0x0017, id, [(stun.XOR_PEER_ADDRESS, stun.xor_address_value(B, id)), (stun.DATA, b"back")])
    assert alone.paths.receive(1, data, TURN, 0.0) == [(number, b"back", B)]
    # what else comes from the server's address is for others on the socket
    assert alone.paths.receive(1, stun.build(0x0101, id, []), TURN, 0.0) is None
    six = ("2001:db8::9", 5)
    alone.paths.by_number[number].allocation.permit(six, 0.0)
    data = stun.build(0x0017, id, [(stun.XOR_PEER_ADDRESS, stun.xor_address_value(six, id)), (stun.DATA, b"six")])
    assert alone.paths.receive(1, data, TURN, 0.0) == [(-1, b"six", six)]


def test_a_peer_that_the_server_refuses_is_in_the_report():
    alone, machine = relayed(denied=(B[0],))
    [number] = alone.paths.by_number
    out = deque()
    alone.paths.send(Transmit(number, b"abc", B), out, 0.0)
    for transmit in out:
        machine.handle_datagram(1, transmit.data, A, 0.0)
    carry(alone, machine)
    assert alone.paths.report()[0].error == "no relaying to 198.51.100.1: 403 Forbidden"
    out.clear()
    assert alone.paths.send(Transmit(number, b"abc", B), out, 0.0)
    assert not out


def test_redirections():
    alone, machine = relayed(alternate=("203.0.113.2", 3478))
    assert [report.target for report in alone.paths.report()] == ["203.0.113.1 port 3478", "203.0.113.2 port 3478"]
    assert alone.paths.report()[0].error == "redirected to 203.0.113.2 port 3478"
    for hop in range(3, 7):
        alone.now += 0.3
        machine = TurnServer(Entropy(b"other"), alternate=(f"203.0.113.{hop}", 3478))
        carry(alone, machine, (f"203.0.113.{hop - 1}", 3478))
    assert len(alone.paths.report()) == 4  # three redirections at most
    alone, machine = relayed(alternate=("127.0.0.1", 3478))
    assert len(alone.paths.report()) == 1


def test_redirection_of_a_stream():
    alone = Alone()
    alone.base()
    alone.paths.add_servers([config(URLS["tls"])], 0.0)
    [first] = alone.turn()
    machine = TurnServer(Entropy(b"server"), alternate=("203.0.113.2", 443))
    machine.stream_accepted(1, A, 0.0)
    alone.paths.port_opened(first.port, A, 0.0)
    found = []
    for _ in range(4):
        found += alone.turn()
        for transmit in alone.sent():
            machine.handle_datagram(1, transmit.data, A, 0.0)
        while machine.transmits:
            alone.paths.receive(first.port, machine.transmits.popleft().data, TLS, 0.0)
    assert found[0] == ClosePort(first.port)
    assert (found[1].addr, found[1].tls, found[1].server_name) == (("203.0.113.2", 443), True, "203.0.113.1")


def test_a_server_on_a_stream_that_speaks_something_else():
    alone = Alone(tries=0)
    alone.base()
    alone.paths.add_servers([config(URLS["tcp"])], 0.0)
    [request] = alone.turn()
    alone.paths.port_opened(request.port, A, 0.0)
    assert alone.paths.receive(request.port, b"\x80what is this", TURN, 0.0) == []
    assert alone.turn() == [ClosePort(request.port)]
    assert alone.paths.report()[0].error == "the server sends something else than TURN"


def test_a_socket_that_cannot_send_to_the_server():
    alone = Alone(tries=1)
    alone.base()
    alone.paths.add_servers([config(URLS["udp"])], 0.0)
    alone.turn()
    alone.paths.send_failed(1, B, "no route", 0.0)
    alone.paths.send_failed(1, TURN, "no route", 0.0)
    assert alone.paths.report()[0].error == "no route"
    assert alone.states() == ["failed"]
    alone.turn(1.0)
    assert alone.states() == ["opening"]
    up, _ = relayed()
    up.paths.send_failed(1, TURN, "no buffer", 0.0)
    assert up.states() == ["open"]


@pytest.mark.parametrize("address", [("0.0.0.0", 5), ("224.0.0.1", 5), ("203.0.113.1", 0)])
def test_a_relayed_address_that_none_can_be(address):
    alone = Alone()
    alone.base()
    alone.paths.add_servers([config(URLS["udp"])], 0.0)
    machine = TurnServer(Entropy(b"server"))
    alone.turn()
    [challenged] = alone.sent()
    machine.handle_datagram(1, challenged.data, A, 0.0)
    alone.paths.receive(1, machine.transmits.popleft().data, TURN, 0.0)
    alone.turn()
    [request] = alone.sent()
    machine.handle_datagram(1, request.data, A, 0.0)
    machine.port_opened(machine.outbox.popleft().port, address, 0.0)
    alone.paths.receive(1, machine.transmits.popleft().data, TURN, 0.0)
    assert alone.turn() == []


def test_a_socket_that_is_lost():
    alone, _ = relayed()
    [number] = alone.paths.by_number
    alone.paths.base_lost(2, 0.0)
    alone.base(3, "192.0.2.3")
    alone.paths.base_lost(3, 0.0)
    assert alone.paths.relay_only(0.0) == [1]
    assert alone.turn() == []
    alone.paths.base_lost(1, 0.0)
    assert alone.turn() == [PortLost(number)]
    assert alone.paths.report() == []
    out = deque()
    assert not alone.paths.send(Transmit(number, b"x", B), out, 0.0)


def test_what_was_not_chosen_is_closed_and_not_opened_again():
    alone, _ = relayed()
    [number] = alone.paths.by_number
    alone.paths.add_servers([config(URLS["tls"])], 0.0)
    [request] = alone.turn()
    alone.paths.selected(number, 0.0)
    alone.turn(5.0)
    alone.paths.selected(number, 5.0)  # chosen anew: the time begins again
    assert alone.turn(14.0) == []
    assert alone.turn(15.0) == [ClosePort(request.port)]
    assert alone.states() == ["open", "closed"]
    assert alone.paths.live
    alone.paths.add_servers([config(URLS["tcp"])], 16.0)
    alone.paths.selected(number, 16.0)
    assert alone.turn(40.0) == []
    alone.paths.reopen(41.0)
    assert [type(output) for output in alone.turn(41.0)] == [OpenStream, OpenStream]


def test_close():
    alone, _ = relayed()
    alone.paths.add_remote(passive(), 0.0)
    alone.paths.add_servers([config("turn:turn.example.org")], 0.0)
    opened, lookup = alone.turn()
    assert isinstance(lookup, Resolve)
    alone.paths.close(0.0)
    alone.paths.close(0.0)
    assert ClosePort(opened.port) in alone.paths.outbox
    [refresh] = alone.sent()
    assert stun.decode(refresh.data).attributes[stun.LIFETIME] == bytes(4)
    alone.turn()
    paths = alone.paths
    paths.base_opened(host(*A), 5, 1.0)
    paths.add_servers([config(URLS["udp"])], 1.0)
    paths.add_remote(passive(), 1.0)
    paths.resolved(lookup.token, ["203.0.113.5"], 1.0)
    paths.reopen(1.0)
    assert alone.turn(100.0) == []
    assert alone.paths.due == INF
