"""Two agents whose messages are delivered, lost, repeated, broken and invented as the bytes say.

In the end both restart over a line without fault: whatever went on before, they must find each other.
"""

from __future__ import annotations

from fuzz._turn import settle
from sansio.base import limits
from sansio.base.contract import INF, Address
from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.ice.agent import IceAgent, IceState
from sansio.ice.candidate import Candidate

MOST_STEPS = 200
MOST_TRANSMITS = 2 * limits.MAX_PAIRS + 10
"""Of one input: every pair's check may become due at once, and those of triggered ones."""
KINDS = ("host", "srflx", "relay", "prflx")


class Side:
    """An agent with three ports, and what it has sent."""

    def __init__(self, name: str, controlling: bool) -> None:
        self.agent = IceAgent(Entropy(b"fuzz").fork(name), controlling=controlling)
        self.name = name
        self.sent: list[tuple[int, bytes, Address]] = []
        for port in (1, 2, 3):
            self.agent.add_local(self.candidate(port), port, 0.0)

    def address(self, port: int) -> Address:
        return ("192.0.2.1" if self.name == "a" else "192.0.2.2"), 5000 + port

    def candidate(self, port: int) -> Candidate:
        host, number = self.address(port)
        kind = "relay" if port == 3 else "host"
        return Candidate(f"{port}", 1, "udp", (130 - 20 * port) << 24, host, number, kind)

    def settle(self, now: float) -> float:
        """The contract, after each input; returns the deadline."""
        agent = self.agent
        due = settle(agent, now)
        assert len(agent.transmits) <= MOST_TRANSMITS
        for transmit in agent.transmits:
            stun.decode(transmit.data)
            self.sent.append((transmit.port, transmit.data, transmit.addr))
        agent.transmits.clear()
        agent.outbox.clear()
        del self.sent[:-64]
        assert len(agent._pairing.remotes) <= limits.MAX_REMOTE_CANDIDATES
        assert len(agent._pairs) <= limits.MAX_PAIRS
        assert len(agent._early) <= limits.MAX_EARLY_CHECKS
        assert len(agent._sources.known) <= limits.MAX_SOURCES
        assert len(agent._checks) <= limits.MAX_CHECKS_IN_FLIGHT + 4
        if agent.selected_addr is None:
            assert agent.state not in (IceState.CONNECTED,)
        else:
            assert agent.is_valid_source(agent.selected_port, agent.selected_addr)
            assert agent.state in (IceState.CHECKING, IceState.CONNECTED, IceState.DISCONNECTED)
        return due


class Bytes:
    """The input, byte by byte; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def take(self, n: int) -> bytes:
        self.at += n
        return self.data[self.at - n : self.at].ljust(n, b"\0")


def introduce(one: Side, other: Side, now: float, candidates: int = 7) -> None:
    one.agent.set_remote_credentials(other.agent.local_ufrag, other.agent.local_pwd, now)
    for port in (1, 2, 3):
        if candidates >> port - 1 & 1:
            one.agent.add_remote(other.candidate(port), now)


def deliver(side: Side, other: Side, item: tuple[int, bytes, Address], now: float, data: bytes | None = None) -> None:
    port, original, addr = item
    for number in (1, 2, 3):
        if other.address(number) == addr:
            other.agent.handle_stun(number, original if data is None else data, side.address(port), now)


def invent(side: Side, source: Bytes) -> bytes:
    """A message signed as a peer gone mad would sign it: with the right password."""
    agent = side.agent
    kind = source.byte()
    attributes = []
    if kind & 1:
        name = f"{agent.local_ufrag}:{agent.remote_ufrag or 'early'}".encode()
        attributes.append((stun.USERNAME, name))
    for _ in range(source.byte() % 6):
        attribute = (
            stun.PRIORITY,
            stun.USE_CANDIDATE,
            stun.NOMINATION,
            stun.ICE_CONTROLLING,
            stun.ICE_CONTROLLED,
            stun.ERROR_CODE,
            stun.XOR_MAPPED_ADDRESS,
            0x7777,
        )[source.byte() % 8]
        attributes.append((attribute, source.take((0, 4, 8, 3)[source.byte() % 4])))
    message_type = (stun.BINDING_REQUEST, stun.BINDING_SUCCESS, stun.BINDING_ERROR, 0x0013)[kind >> 1 & 3]
    transaction = source.take(12)
    password = agent.local_pwd
    if message_type in (stun.BINDING_SUCCESS, stun.BINDING_ERROR):
        password = agent.remote_pwd
        open_ones = list(agent._checks._under_way)
        if open_ones:
            transaction = open_ones[source.byte() % len(open_ones)].id
    return stun.build(message_type, transaction, attributes, stun.Key(password.encode()))


def one(data: bytes) -> None:
    source = Bytes(data)
    roles = source.byte()
    sides = [Side("a", bool(roles & 1)), Side("b", bool(roles & 2))]
    now = 100.0
    dues = [side.settle(now) for side in sides]
    for _ in range(MOST_STEPS):
        if not source:
            break
        step = source.byte()
        which = step & 1
        side, other = sides[which], sides[1 - which]
        operation = step >> 1 & 15
        argument = source.byte()
        if operation <= 4 and side.sent:
            item = side.sent.pop(argument % len(side.sent)) if operation < 4 else side.sent[argument % len(side.sent)]
            deliver(side, other, item, now)
        elif operation == 5 and side.sent:
            item = side.sent[argument % len(side.sent)]
            broken = bytearray(item[1])
            broken[source.byte() % len(broken)] ^= 1 << argument % 8
            deliver(side, other, item, now, bytes(broken))
        elif operation == 6:
            side.agent.handle_stun(1 + argument % 3, source.take(argument % 40), other.address(1), now)
        elif operation == 7:
            port = 1 + argument % 4
            address = other.address(port) if argument & 4 else (f"198.51.100.{argument}", 1 + argument)
            side.agent.handle_stun(port, invent(side, source), address, now)
        elif operation == 8:
            introduce(side, other, now, argument)
        elif operation == 9:
            side.agent.set_remote_credentials("else", "where", now, lite=bool(argument & 1))
        elif operation == 10:
            host = (f"198.51.100.{argument}", "192.0.2.77", "::1", "name.local")[argument & 3]
            candidate = Candidate(
                "f", argument % 3, "udp", argument << 20, host, argument * 7, KINDS[argument >> 2 & 3]
            )
            side.agent.add_remote(candidate, now)
        elif operation == 11 and argument < 64:
            side.agent.restart(now)
        elif operation == 12:
            side.agent.note_inbound(now)
            side.agent.send_failed(1 + argument % 3, other.address(1 + argument % 2), "no route", now)
        elif operation == 13 and argument < 64:
            port = 1 + argument % 3
            side.agent.remove_local(port, now)
            side.agent.add_local(side.candidate(port), port, now)
        elif operation == 14:
            side.agent.end_of_remote(now)
        else:
            ahead = min(dues) if argument & 1 else now + argument / 100
            now = max(now, min(ahead, now + 60.0))
        dues = [side.settle(now) for side in sides]
    _reunite(sides, now)


def _reunite(sides: list[Side], now: float) -> None:
    for side in sides:
        side.sent.clear()
        side.agent.restart(now)
    for side, other in (sides, reversed(sides)):
        introduce(side, other, now)
    end = now + 3.0
    while now < end:
        dues = [side.settle(now) for side in sides]
        under_way = [side.sent[:] for side in sides]
        for side in sides:
            side.sent.clear()
        now = min([now + 0.01, *dues]) if any(under_way) else min(*dues, end)
        for side, other, items in zip(sides, reversed(sides), under_way, strict=True):
            for item in items:
                deliver(side, other, item, now)
    a, b = sides
    for side, other in ((a, b), (b, a)):
        assert side.agent.state == IceState.CONNECTED, side.agent.pairs_report()
        assert side.agent.selected_addr == other.address(other.agent.selected_port)
    assert a.agent.controlling != b.agent.controlling
    for side in sides:
        side.agent.close(now)
        assert side.agent.advance(now) == INF
