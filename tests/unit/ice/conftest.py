"""Agents on a virtual network."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.ice.agent import IceAgent, IceOptions, IceState, PairSelected
from sansio.ice.candidate import Candidate, ip_version
from sansio.ice.preference import candidate_priority, local_preference, type_preference

from .alone import A, Alone, B


def make_candidate(
    address: str = "192.0.2.1",
    port: int = 5000,
    type: str = "host",
    *,
    protocol: str = "udp",
    rank: int = 0,
    priority: int | None = None,
    **more,
) -> Candidate:
    """A candidate with the priority that our own gathering gives it."""
    if priority is None:
        preference = type_preference(type, protocol, more.get("relay_protocol", ""))
        priority = candidate_priority(preference, local_preference(rank, address) if ip_version(address) else 0)
    return Candidate("1", 1, protocol, priority, address, port, type, **more)


class Node:
    """An agent with its ports: the address of each, as the network sees it."""

    def __init__(self, name: str, controlling: bool, options: IceOptions, seed: bytes) -> None:
        self.name = name
        self.agent = IceAgent(Entropy(seed).fork(name), controlling=controlling, options=options)
        self.ports: dict[int, tuple[str, int]] = {}
        self.due = -INF
        self.events: list[tuple[float, object]] = []

    def selections(self) -> list[tuple[float, PairSelected]]:
        return [(at, event) for at, event in self.events if isinstance(event, PairSelected)]

    def states(self) -> list[IceState]:
        return [event.state for _, event in self.events if hasattr(event, "state")]


class Net:
    """Two agents and the datagrams between them.

    ``fate(source, destination, index)`` gives the delays of the copies of a datagram: an empty list loses it.
    ``nat`` maps a source address to the one that the other side sees.
    """

    def __init__(
        self,
        *,
        delay: float = 0.05,
        fate: Callable[[tuple[str, int], tuple[str, int], int], list[float]] | None = None,
        roles: tuple[bool, bool] = (True, False),
        options: IceOptions | None = None,
        seed: bytes = b"net",
    ) -> None:
        self.now = 0.0
        self.delay = delay
        self.fate = fate or (lambda source, destination, index: [self.delay])
        self.nat: dict[tuple[str, int], tuple[str, int]] = {}
        self.wire: list[tuple[float, int, tuple[str, int], tuple[str, int], bytes]] = []
        self.log: list[tuple[float, str, tuple[str, int], tuple[str, int], stun.Message]] = []
        self.count = 0
        options = options or IceOptions()
        self.a = Node("a", roles[0], options, seed)
        self.b = Node("b", roles[1], options, seed)

    def add(self, node: Node, candidate: Candidate, port: int | None = None, **more) -> int:
        """Give an agent a candidate on a new port."""
        port = port if port is not None else len(node.ports) + 1
        node.ports.setdefault(port, candidate.transport_address)
        node.agent.add_local(candidate, port, self.now, **more)
        node.due = -INF
        return port

    def introduce(self, node: Node, other: Node, *, candidates: bool = True, **more) -> None:
        """Tell a node the other's description."""
        node.agent.set_remote_credentials(other.agent.local_ufrag, other.agent.local_pwd, self.now, **more)
        if candidates:
            self.trickle(node, other)
        node.due = -INF

    def trickle(self, node: Node, other: Node) -> None:
        for local in other.agent._pairing.locals.values():
            for candidate in (local.base, *local.reflexive):
                node.agent.add_remote(candidate, self.now)
        node.due = -INF

    def connect(self) -> None:
        self.introduce(self.a, self.b)
        self.introduce(self.b, self.a)

    def settle(self) -> None:
        for _ in range(100):
            ready = [node for node in (self.a, self.b) if node.due <= self.now]
            if not ready:
                return
            for node in ready:
                node.due = node.agent.advance(self.now)
                assert node.due > self.now
                self.drain(node)
        raise AssertionError("agents never settle")

    def drain(self, node: Node) -> None:
        while node.agent.transmits:
            transmit = node.agent.transmits.popleft()
            source = node.ports[transmit.port]
            source = self.nat.get(source, source)
            self.log.append((self.now, node.name, source, transmit.addr, stun.decode(transmit.data)))
            for delay in self.fate(source, transmit.addr, self.count):
                heapq.heappush(self.wire, (self.now + delay, self.count, source, transmit.addr, transmit.data))
            self.count += 1
        while node.agent.outbox:
            node.events.append((self.now, node.agent.outbox.popleft()))

    def deliver(self, source: tuple[str, int], destination: tuple[str, int], data: bytes) -> None:
        for node in (self.a, self.b):
            for port, address in node.ports.items():
                if self.nat.get(address, address) == destination and node.agent.state is not None:
                    node.agent.handle_stun(port, data, source, self.now)
                    node.due = -INF
                    self.drain(node)

    def run(self, until: float) -> None:
        self.settle()
        while True:
            following = min(self.wire[0][0] if self.wire else INF, self.a.due, self.b.due)
            if following > until:
                self.now = until
                return
            self.now = max(self.now, following)
            while self.wire and self.wire[0][0] <= self.now:
                _, _, source, destination, data = heapq.heappop(self.wire)
                self.deliver(source, destination, data)
            self.settle()

    def requests(self, name: str) -> list[tuple[float, stun.Message]]:
        return [
            (at, message) for at, who, _, _, message in self.log if who == name and message.type == stun.BINDING_REQUEST
        ]


def lossy(seed: int, loss: float = 0.2, duplicate: float = 0.1, low: float = 0.01, high: float = 0.2):
    """A fate drawn from a seed: loss, duplication, and delays that reorder."""
    draw = random.Random(seed)

    def fate(source, destination, index):
        if draw.random() < loss:
            return []
        copies = 2 if draw.random() < duplicate else 1
        return [draw.uniform(low, high) for _ in range(copies)]

    return fate


@pytest.fixture(name="Net")
def net_class():
    return Net


@pytest.fixture(name="lossy")
def lossy_function():
    return lossy


@pytest.fixture(name="candidate")
def candidate_function():
    return make_candidate


@pytest.fixture(name="net")
def simple_net(candidate):
    """Two agents with one host candidate each, not introduced yet; 50 ms one way."""
    net = Net(delay=0.05)
    net.add(net.a, candidate(*A))
    net.add(net.b, candidate(*B))
    return net


@pytest.fixture(name="alone")
def alone_function(candidate):
    return lambda **more: Alone(candidate, **more)
