"""A network of machines in virtual time: one clock, one heap of things to come, one seed.

Nodes are machines that obey the contract. The world plays their driver: it feeds them what arrives, calls ``advance``
when it is due, sends what they transmit over links, and answers their requests. Nothing waits: the clock jumps.

    with World(seed=1, link=Link(latency=0.02, loss=0.05)) as world:
        world.add("a", a, {1: ("10.0.0.1", 5000)})
        world.add("b", b, {1: ("10.0.0.2", 5000)})
        world.at(3.0, world.partition, "a", "b")
        world.run(lambda: a.closed and b.closed, limit=60)

Used as a context manager it adds the seed and the last lines of the trace to any exception that leaves the block.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from types import TracebackType
from typing import Any

from attrs import define, field

from ..base.contract import (
    INF,
    NOW,
    Address,
    ClosePort,
    CloseSignal,
    Machine,
    OpenSignal,
    OpenStream,
    OpenUdp,
    Resolve,
    SendSignal,
    Transmit,
)
from ..base.entropy import Entropy
from .nat import FILTERED, NO_ADDRESS, REFUSED, Protocol, Site
from .netem import Link
from .signals import Signals
from .streams import Streams

MAX_ROUNDS = 1000
"""Rounds of one instant before the machines are said to keep each other busy for ever."""
TRACE_SHOWN = 40
"""Lines of the trace that a failure shows."""


class SimulationFailed(AssertionError):
    """The world could not do what was asked: too late, gone quiet, or a machine that breaks the contract."""


@define
class TraceLine:
    """One fate of one datagram or signalling message."""

    time: float
    source: str
    target: str
    length: int
    kind: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.time:12.6f} {self.source} > {self.target} {self.length} {self.kind} {self.verdict}"


def kind_of(data: bytes) -> str:
    """What a datagram is by its first byte (RFC 7983)."""
    first = data[0] if data else 256
    if first < 4:
        return "stun"
    if 20 <= first < 64:
        return "dtls"
    if 64 <= first < 80:
        return "turn"
    if 128 <= first < 192:
        return "rtp"
    return "other"


@define(eq=False)
class Node:
    """A machine in the world, with the addresses of its ports and what its surroundings do for it."""

    name: str
    machine: Any
    ports: dict[int, Address]
    hosts: Sequence[str]
    peer: Address | None
    deliver: Callable[[int, bytes, Address, float], None] | None
    transmits: deque[Any]
    perform: Callable[[Any, float], None] | None
    site: Site | None = None
    due: float = NOW
    outputs: list[Any] = field(factory=list)

    def leave(self, protocol: Protocol, source: Address, far: Address, now: float) -> Address | str:
        """See ``Site.leave``."""
        return source if self.site is None else self.site.leave(protocol, source, far, now)

    def wake(self) -> None:
        """It was given an input, so it is due."""
        self.due = NOW


class World:
    """See the head of the module. ``seed`` decides every draw; ``link`` is the behaviour of links not set otherwise."""

    def __init__(
        self,
        seed: int | bytes = 0,
        *,
        link: Link | None = None,
        start: float = 0.0,
        kind: Callable[[bytes], str] = kind_of,
        signal_latency: float = 0.01,
    ) -> None:
        self.seed = seed
        self.entropy = Entropy(seed if isinstance(seed, bytes) else b"%d" % seed)
        self.now = start
        self.trace: list[TraceLine] = []
        self.names: dict[str, list[str]] = {}
        self._contents = hashlib.sha256()
        self._standing = 0  # steps taken at this instant
        self.signal_latency = signal_latency
        self._default = link or Link()
        self._kind = kind
        self._nodes: dict[str, Node] = {}
        self._links: dict[tuple[str, str], tuple[Link, Entropy]] = {}
        self._routes: dict[Address, tuple[Node, int]] = {}
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._scheduled = 0
        self._next_port = 40000
        self._sites: dict[str, Site] = {}
        self._signals = Signals(self)
        self._streams = Streams(self)

    # ------------------------------------------------------------------ building

    def add(
        self,
        name: str,
        machine: Machine,
        ports: dict[int, Address] | None = None,
        *,
        hosts: Iterable[str] = (),
        peer: Address | None = None,
        deliver: Callable[[int, bytes, Address, float], None] | None = None,
        transmits: deque[Any] | None = None,
        perform: Callable[[Any, float], None] | None = None,
    ) -> Node:
        """Put a machine into the world.

        ``ports``: its open sockets. ``hosts``: the addresses at which it may open more by ``OpenUdp``. ``deliver``:
        called with each datagram (default: the machine's ``handle_datagram``). ``transmits``: the deque of its
        datagrams (default: the machine's ``transmits``); of type ``Transmit``, or plain bytes, which go to ``peer``
        from its first port. ``perform``: called with each output that the world does not answer itself; all are kept
        in ``node.outputs``.
        """
        if deliver is None:
            deliver = getattr(machine, "handle_datagram", None)
        sending: deque[Any] = getattr(machine, "transmits", deque()) if transmits is None else transmits
        node = Node(name, machine, {}, tuple(hosts), peer, deliver, sending, perform)
        self._nodes[name] = node
        for port, address in (ports or {}).items():
            self._bind(node, port, address)
        return node

    def link(self, source: str, target: str) -> Link:
        """The link of one direction, to be changed in place."""
        return self.direction(source, target)[0]

    def links(self, a: str, b: str) -> tuple[Link, Link]:
        """Both directions."""
        return self.link(a, b), self.link(b, a)

    def set_link(self, a: str, b: str, link: Link) -> None:
        """Give both directions the behaviour of ``link``, from now on."""
        for source, target in ((a, b), (b, a)):
            self._links[source, target] = (link.copy(), self.direction(source, target)[1])

    def partition(self, a: str, b: str, down: bool = True) -> None:
        """Let nothing pass between two nodes any more; or again, with ``down=False``."""
        for link in self.links(a, b):
            link.down = down

    def move(self, name: str, port: int, address: Address) -> None:
        """Give a port another address: what is on its way to the old one is lost."""
        node = self._nodes[name]
        self._routes.pop(node.ports[port], None)
        self._bind(node, port, address)

    def place(self, site: Site, *names: str) -> None:
        """Put nodes behind a router."""
        for name in names:
            self._nodes[name].site = site
        if site.nat is not None:
            self._sites[site.nat.external] = site

    def rebind(self, site: Site, external: str = "") -> None:
        """Let the NAT of a site forget whom it translated; its TCP connections lead nowhere from now on."""
        assert site.nat is not None
        site.nat.rebind(external)
        self._sites[site.nat.external] = site
        for node in self._nodes.values():
            if node.site is site:
                self._strand(node.name)

    def readdress(self, name: str, hosts: Iterable[str]) -> None:
        """Give a node other IP addresses: sockets on the old ones cannot send, and connections lead nowhere.

        The machine is not told: that is up to the caller, by its ``networks_changed``.
        """
        self._nodes[name].hosts = tuple(hosts)
        self._strand(name)

    def _strand(self, name: str) -> None:
        self._streams.strand(name)
        self._signals.strand(name)

    def remove(self, name: str) -> None:
        """Kill a node: its ports close without a word, and who has a connection to it is told that it broke.

        Another node of the name may be added later. Who listened is gone too.
        """
        self._streams.cut(name)
        self._signals.cut(name, "connection reset")
        node = self._nodes.pop(name)
        for address in node.ports.values():
            self._routes.pop(address, None)
        self._signals.servers = {host: entry for host, entry in self._signals.servers.items() if entry[0] is not node}
        self._streams.listeners = {a: other for a, other in self._streams.listeners.items() if other is not node}

    def at(self, time: float, function: Callable[..., object], *args: Any) -> None:
        """Call ``function(*args)`` at an absolute time, or at once when that has passed."""
        self._scheduled += 1
        heappush(self._heap, (max(time, self.now), self._scheduled, function, args))

    def poke(self, name: str) -> None:
        """Tell the world that somebody gave a node an input directly, so that it is due."""
        self._nodes[name].wake()

    def node(self, name: str) -> Node:
        """A node by its name."""
        return self._nodes[name]

    def listen(self, host: str, name: str, *, judges: bool = False) -> None:
        """Let a node take the signalling links to ``host`` (as in the URL, with the port if that has one).

        Its machine has ``signal_accepted(signal, url, headers, now)`` beside the inputs of a client's link. With
        ``judges`` a link opens only when ``accept_signal`` is called, and does not when ``refuse_signal`` is.
        """
        self._signals.servers[host] = (self._nodes[name], judges)

    def listen_stream(self, address: Address, name: str) -> None:
        """Let a node take TCP connections to ``address``; a TLS one is like any other.

        Its machine gets ``stream_accepted(port, address, now)``, the bytes like a datagram of that port, and
        ``stream_closed(port, now)``.
        """
        self._streams.listeners[address] = self._nodes[name]

    # ------------------------------------------------------------------ running

    def run(self, until: Callable[[], object], limit: float = 3600.0) -> None:
        """Run until ``until()`` holds; fail when that is not so ``limit`` seconds from now, or can never be."""
        end = self.now + limit
        self._settle()
        while not until():
            when = self._next()
            if when == INF:
                raise self.failure("nothing will ever happen again, and what was waited for has not happened")
            if when > end:
                raise self.failure(f"not done within {limit} s")
            self._step(when)

    def run_for(self, seconds: float) -> None:
        """Run for some time, and leave the clock at its end."""
        end = self.now + seconds
        self._settle()
        while (when := self._next()) <= end:
            self._step(when)
        self.now = end

    def run_until_quiet(self, limit: float = 3600.0) -> None:
        """Run until nothing will ever happen again; fail when that is not so within ``limit`` seconds."""
        end = self.now + limit
        self._settle()
        while (when := self._next()) < INF:
            if when > end:
                raise self.failure(f"not quiet within {limit} s")
            self._step(when)

    def _next(self) -> float:
        when = self._heap[0][0] if self._heap else INF
        for node in self._nodes.values():
            when = min(when, node.due)
        return when

    def _step(self, when: float) -> None:
        if when > self.now:
            self.now, self._standing = when, 0
        self._standing += 1
        if self._standing > MAX_ROUNDS:
            raise self.failure("livelock: something happens again and again without time passing")
        while self._heap and self._heap[0][0] <= self.now:
            _, _, function, args = heappop(self._heap)
            function(*args)
        self._settle()

    def _settle(self) -> None:
        """Give every node that is due its turn, until none is."""
        for _ in range(MAX_ROUNDS):
            ready = [node for node in self._nodes.values() if node.due <= self.now]
            if not ready:
                return
            for node in ready:
                self._turn(node)
        raise self.failure("livelock: the machines keep each other busy without time passing")

    def _turn(self, node: Node) -> None:
        node.due = node.machine.advance(self.now)
        if not node.due > self.now:
            raise self.failure(
                f"busy loop: {node.name} wants to be called at {node.due}, which is not after {self.now}"
            )
        while node.transmits:
            self._send(node, node.transmits.popleft())
        while node.machine.outbox:
            self._perform(node, node.machine.outbox.popleft())

    # ------------------------------------------------------------------ datagrams

    def _bind(self, node: Node, port: int, address: Address) -> None:
        if address in self._routes:
            raise ValueError(f"{address} is taken")
        node.ports[port] = address
        self._routes[address] = (node, port)

    def direction(self, source: str, target: str) -> tuple[Link, Entropy]:
        """The link of one direction, and what its verdicts are drawn from."""
        found = self._links.get((source, target))
        if found is None:
            found = self._links[source, target] = (self._default.copy(), self.entropy.fork(f"{source}>{target}"))
        return found

    def _send(self, node: Node, item: Transmit | bytes) -> None:
        if isinstance(item, Transmit):
            port, data, target = item.port, item.data, item.addr
        elif node.peer is not None:
            port, data, target = next(iter(node.ports)), item, node.peer
        else:
            raise self.failure(f"{node.name} sends plain bytes and has no peer")
        if self._streams.send(node, port, data):
            return
        source = node.ports.get(port)
        if source is None:
            self.note(node.name, target, data, "closed port")
            return
        if node.hosts and source[0] not in node.hosts:
            self._refuse(node, port, target, data, NO_ADDRESS)
            return
        local = self._routes.get(target)
        if local is not None and local[0].site is node.site:
            self._carry(node.name, local[0].name, source, target, data, None)
            return
        left = node.leave("udp", source, target, self.now)
        if isinstance(left, str):
            if left == REFUSED:
                self._refuse(node, port, target, data, left)
            else:
                self.note(node.name, target, data, left)
            return
        site = self._sites.get(target[0])
        receiver = self._routes.get(target)
        if site is not None and site.nat is not None:
            inner = site.nat.inner(target) if site is not node.site or site.nat.hairpin else None
            receiver = self._routes.get(inner) if inner is not None else None
        elif receiver is not None and not _seen(receiver[0], target):
            receiver = None
        if receiver is None:
            self.note(node.name, target, data, "unreachable")
        else:
            self._carry(node.name, receiver[0].name, left, target, data, site)

    def _refuse(self, node: Node, port: int, target: Address, data: bytes, verdict: str) -> None:
        """The sender is told at once, if it wants to know."""
        self.note(node.name, target, data, verdict)
        if hasattr(node.machine, "port_send_failed"):
            self.answer(node, 0.0, "port_send_failed", port, target, verdict)

    def _carry(self, name: str, there: str, source: Address, target: Address, data: bytes, site: Site | None) -> None:
        link, entropy = self.direction(name, there)
        for verdict, arrival in link.judge(len(data), self.now, entropy):
            self.note(name, there, data, verdict)
            if arrival < INF:
                self.at(arrival, self._arrive, target, data, source, site)

    def _arrive(self, target: Address, data: bytes, source: Address, site: Site | None) -> None:
        inner: Address | None = target
        if site is not None and site.nat is not None:
            inner = site.nat.incoming(source, target, self.now)
            if inner is None:
                self.note("nat", target, data, FILTERED)
                return
        there = self._routes.get(inner) if inner is not None else None
        if there is None:
            return
        node, port = there
        if node.deliver is None:
            raise self.failure(f"{node.name} takes no datagrams")
        node.deliver(port, data, source, self.now)
        node.wake()

    def note(self, source: str, target: str | Address, data: bytes, verdict: str, kind: str = "") -> None:
        """Add a line to the trace."""
        name = target if isinstance(target, str) else f"{target[0]}:{target[1]}"
        self.trace.append(TraceLine(self.now, source, name, len(data), kind or self._kind(data), verdict))
        self._contents.update(data)

    # ------------------------------------------------------------------ requests

    def _perform(self, node: Node, output: Any) -> None:
        node.outputs.append(output)
        if isinstance(output, OpenUdp):
            self._open_udp(node, output)
        elif isinstance(output, OpenStream):
            self._streams.open(node, output)
        elif isinstance(output, ClosePort):
            self._routes.pop(node.ports.pop(output.port, ("", 0)), None)
            self._streams.close(node, output.port)
        elif isinstance(output, Resolve):
            self.answer(node, self.signal_latency, "resolved", output.token, list(self.names.get(output.host, [])))
        elif isinstance(output, OpenSignal):
            self._signals.open(node, output)
        elif isinstance(output, SendSignal):
            self._signals.send(node, output)
        elif isinstance(output, CloseSignal):
            self._signals.close(node, output.signal)
        elif node.perform is not None:
            node.perform(output, self.now)
            node.wake()

    def answer(self, node: Node, delay: float, method: str, *args: Any) -> None:
        """Give a node an input some seconds from now."""
        self.at(self.now + delay, self.feed, node, method, args)

    def feed(self, node: Node, method: str, args: tuple[Any, ...]) -> None:
        """Give a node an input now."""
        getattr(node.machine, method)(*args, self.now)
        node.wake()

    def _open_udp(self, node: Node, request: OpenUdp) -> None:
        if request.host not in node.hosts:
            self.answer(node, 0.0, "port_failed", request.port, f"{request.host} is not an address of {node.name}")
            return
        low, high = (request.low, request.high) if request.low else (self._next_port, 65535)
        free = next((number for number in range(low, high + 1) if (request.host, number) not in self._routes), 0)
        if not free:
            self.answer(node, 0.0, "port_failed", request.port, "no port is free")
            return
        self._next_port = max(self._next_port, free + 1)
        address = (request.host, free)
        self._bind(node, request.port, address)
        self.answer(node, 0.0, "port_opened", request.port, address)

    # ------------------------------------------------------------------ connections

    def cut_streams(self, name: str) -> None:
        """Break every TCP connection of a node; both ends are told."""
        self._streams.cut(name)

    def cut_signals(self, name: str, reason: str = "cut") -> None:
        """End every signalling link of a node at once; both ends are told, and what is on its way is lost."""
        self._signals.cut(name, reason)

    def silence_signals(self, name: str, down: bool = True) -> None:
        """Let the signalling links of a client lead nowhere without telling anybody; or again, with ``down=False``.

        What was sent in between comes then, as TCP repeats it; requests for new links are repeated too, until their
        time is over.
        """
        self._signals.silence(name, down)

    def accept_signal(self, name: str, signal: int) -> None:
        """The server ``name`` takes the link; nothing when the client has given it up meanwhile."""
        self._signals.accept(self._nodes[name], signal)

    def refuse_signal(self, name: str, signal: int, status: int, body: str) -> None:
        """The server ``name`` answers the request for a link with an HTTP error."""
        self._signals.refuse(self._nodes[name], signal, status, body)

    def drop_signal(self, name: str, signal: int) -> None:
        """The server ``name`` cuts a link without closing it; the client finds out like of any other end."""
        self._signals.close(self._nodes[name], signal)

    def distrust(self, where: Address | str, reason: str) -> None:
        """TLS to an address, or to the host of a ``wss`` URL, fails for this reason: see ``nat.EXPIRED``."""
        if isinstance(where, str):
            self._signals.untrusted[where] = reason
        else:
            self._streams.untrusted[where] = reason

    def connections(self, name: str) -> int:
        """How many signalling links and TCP connections a node holds."""
        return self._signals.count(name) + self._streams.count(name)

    # ------------------------------------------------------------------ telling

    def digest(self) -> str:
        """A hash of the contents of all that was sent, in order: equal traces with equal digests are equal runs."""
        return self._contents.hexdigest()

    def story(self, lines: int = TRACE_SHOWN) -> str:
        """The seed and the last lines of the trace."""
        shown = "\n".join([str(line) for line in self.trace[-lines:]])
        return f"seed {self.seed!r}, at {self.now:.6f}, {len(self.trace)} lines of trace, the last:\n{shown}"

    def failure(self, what: str) -> SimulationFailed:
        """An exception that tells what is wrong and how it came about."""
        return SimulationFailed(f"{what}\n{self.story()}")

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None and not isinstance(error, SimulationFailed):
            error.add_note(self.story())


def _seen(node: Node, address: Address) -> bool:
    """Whether an address of a node means anything outside its own network."""
    return node.site is None or node.site.nat is None or ":" in address[0]
