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
    SignalFailure,
    Transmit,
)
from ..base.entropy import Entropy
from .netem import OK, Link

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
    due: float = NOW
    outputs: list[Any] = field(factory=list)


@define(eq=False)
class _Pipe:
    """A signalling link: two ends, each a node and the number it knows the link by."""

    ends: list[tuple[Node, int]]
    open: bool = False
    last: float = 0.0


@define(eq=False)
class _Stream:
    """A TCP connection: two ends, each a node and the number it knows it by, and when the last bytes for it arrive."""

    ends: list[tuple[Node, int]]
    addresses: list[Address]
    last: list[float]


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
        self._servers: dict[str, tuple[Node, bool]] = {}
        self._pipes: dict[tuple[str, int], _Pipe] = {}
        self._next_signal = 1000
        self._listeners: dict[Address, Node] = {}
        self._streams: dict[tuple[str, int], _Stream] = {}
        self._next_stream = 100_000

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
        return self._link(source, target)[0]

    def links(self, a: str, b: str) -> tuple[Link, Link]:
        """Both directions."""
        return self.link(a, b), self.link(b, a)

    def set_link(self, a: str, b: str, link: Link) -> None:
        """Give both directions the behaviour of ``link``, from now on."""
        for source, target in ((a, b), (b, a)):
            self._links[source, target] = (link.copy(), self._link(source, target)[1])

    def partition(self, a: str, b: str, down: bool = True) -> None:
        """Let nothing pass between two nodes any more; or again, with ``down=False``."""
        for link in self.links(a, b):
            link.down = down

    def move(self, name: str, port: int, address: Address) -> None:
        """Give a port another address: what is on its way to the old one is lost."""
        node = self._nodes[name]
        self._routes.pop(node.ports[port], None)
        self._bind(node, port, address)

    def at(self, time: float, function: Callable[..., object], *args: Any) -> None:
        """Call ``function(*args)`` at an absolute time, or at once when that has passed."""
        self._scheduled += 1
        heappush(self._heap, (max(time, self.now), self._scheduled, function, args))

    def poke(self, name: str) -> None:
        """Tell the world that somebody gave a node an input directly, so that it is due."""
        self._nodes[name].due = NOW

    def node(self, name: str) -> Node:
        """A node by its name."""
        return self._nodes[name]

    def listen(self, host: str, name: str, *, judges: bool = False) -> None:
        """Let a node take the signalling links to ``host`` (as in the URL, with the port if that has one).

        Its machine has ``signal_accepted(signal, url, headers, now)`` beside the inputs of a client's link. With
        ``judges`` a link opens only when ``accept_signal`` is called, and does not when ``refuse_signal`` is.
        """
        self._servers[host] = (self._nodes[name], judges)

    def listen_stream(self, address: Address, name: str) -> None:
        """Let a node take TCP connections to ``address``; a TLS one is like any other.

        Its machine gets ``stream_accepted(port, address, now)``, the bytes like a datagram of that port, and
        ``stream_closed(port, now)``.
        """
        self._listeners[address] = self._nodes[name]

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

    def _link(self, source: str, target: str) -> tuple[Link, Entropy]:
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
        stream = self._streams.get((node.name, port))
        if stream is not None:
            self._send_stream(node, port, stream, data)
            return
        source = node.ports.get(port)
        if source is None:
            self._note(node.name, target, data, "closed port")
            return
        there = self._routes.get(target)
        if there is None:
            self._note(node.name, target, data, "unreachable")
            return
        link, entropy = self._link(node.name, there[0].name)
        for verdict, arrival in link.judge(len(data), self.now, entropy):
            self._note(node.name, there[0].name, data, verdict)
            if arrival < INF:
                self.at(arrival, self._arrive, target, data, source)

    def _arrive(self, target: Address, data: bytes, source: Address) -> None:
        there = self._routes.get(target)
        if there is None:
            return
        node, port = there
        if node.deliver is None:
            raise self.failure(f"{node.name} takes no datagrams")
        node.deliver(port, data, source, self.now)
        node.due = NOW

    def _note(self, source: str, target: str | Address, data: bytes, verdict: str, kind: str = "") -> None:
        name = target if isinstance(target, str) else f"{target[0]}:{target[1]}"
        self.trace.append(TraceLine(self.now, source, name, len(data), kind or self._kind(data), verdict))
        self._contents.update(data)

    # ------------------------------------------------------------------ requests

    def _perform(self, node: Node, output: Any) -> None:
        node.outputs.append(output)
        if isinstance(output, OpenUdp):
            self._open_udp(node, output)
        elif isinstance(output, OpenStream):
            self._open_stream(node, output)
        elif isinstance(output, ClosePort):
            self._routes.pop(node.ports.pop(output.port, ("", 0)), None)
            self._close_stream(node, output.port)
        elif isinstance(output, Resolve):
            self._answer(node, self.signal_latency, "resolved", output.token, list(self.names.get(output.host, [])))
        elif isinstance(output, OpenSignal):
            self._open_signal(node, output)
        elif isinstance(output, SendSignal):
            self._send_signal(node, output)
        elif isinstance(output, CloseSignal):
            self._end_signal(node, output.signal)
        elif node.perform is not None:
            node.perform(output, self.now)
            node.due = NOW

    def _answer(self, node: Node, delay: float, method: str, *args: Any) -> None:
        self.at(self.now + delay, self._feed, node, method, args)

    def _feed(self, node: Node, method: str, args: tuple[Any, ...]) -> None:
        getattr(node.machine, method)(*args, self.now)
        node.due = NOW

    def _open_udp(self, node: Node, request: OpenUdp) -> None:
        if request.host not in node.hosts:
            self._answer(node, 0.0, "port_failed", request.port, f"{request.host} is not an address of {node.name}")
            return
        low, high = (request.low, request.high) if request.low else (self._next_port, 65535)
        free = [n for n in range(low, high + 1) if (request.host, n) not in self._routes][:1]
        if not free:
            self._answer(node, 0.0, "port_failed", request.port, "no port is free")
            return
        self._next_port = max(self._next_port, free[0] + 1)
        address = (request.host, free[0])
        self._bind(node, request.port, address)
        self._answer(node, 0.0, "port_opened", request.port, address)

    # ------------------------------------------------------------------ streams

    def _open_stream(self, node: Node, request: OpenStream) -> None:
        server = self._listeners.get(request.addr)
        self._note(node.name, request.addr, b"", OK if server else "refused", "stream-open")
        hosts = [host for host in node.hosts if (":" in host) == (":" in request.addr[0])]
        if server is None or not hosts:
            self._answer(node, self.signal_latency, "port_failed", request.port, "connection refused")
            return
        there, back = self.links(node.name, server.name)
        if there.down or back.down:
            return  # silence
        self._next_stream += 1
        address = (hosts[0], 30000 + self._next_stream % 10000)
        opened = self.now + there.latency + back.latency
        stream = _Stream([(node, request.port), (server, self._next_stream)], [address, request.addr], [opened, 0.0])
        for end, number in stream.ends:
            self._streams[end.name, number] = stream
        self._answer(server, there.latency, "stream_accepted", self._next_stream, address)
        self._answer(node, there.latency + back.latency, "port_opened", request.port, address)

    def _send_stream(self, node: Node, port: int, stream: _Stream, data: bytes) -> None:
        """What is lost on the way comes a little later, and all that was sent after it."""
        side = stream.ends.index((node, port))
        other, number = stream.ends[1 - side]
        link, entropy = self._link(node.name, other.name)
        verdict, arrival = link.judge(len(data), self.now, entropy)[0]
        self._note(node.name, other.name, data, verdict, "stream")
        if link.down:
            return
        if arrival == INF:
            arrival = self.now + 3 * link.latency + link.hold_back
        stream.last[1 - side] = max(stream.last[1 - side], arrival)
        self.at(stream.last[1 - side], self._arrive_stream, stream, other, number, data, stream.addresses[side])

    def _arrive_stream(self, stream: _Stream, node: Node, port: int, data: bytes, source: Address) -> None:
        if self._streams.get((node.name, port)) is stream and node.deliver is not None:
            node.deliver(port, data, source, self.now)
            node.due = NOW

    def cut_streams(self, name: str) -> None:
        """Break every TCP connection of a node; both ends are told."""
        for stream in [stream for (owner, _), stream in self._streams.items() if owner == name]:
            for side in (0, 1):
                self._end_stream(stream, side, self.now)

    def _close_stream(self, node: Node, port: int) -> None:
        stream = self._streams.pop((node.name, port), None)
        if stream is not None:
            side = 1 - stream.ends.index((node, port))
            self._end_stream(stream, side, max(stream.last[side], self.now + self.signal_latency))

    def _end_stream(self, stream: _Stream, side: int, when: float) -> None:
        node, number = stream.ends[side]
        self.at(when, self._stream_gone, stream, node, number, side)

    def _stream_gone(self, stream: _Stream, node: Node, number: int, side: int) -> None:
        if self._streams.get((node.name, number)) is stream:
            del self._streams[node.name, number]
            gone = ("stream_closed", (number,)) if side else ("port_failed", (number, "closed by the other end"))
            self._feed(node, *gone)

    # ------------------------------------------------------------------ signalling

    def cut_signals(self, name: str, reason: str = "cut") -> None:
        """End every signalling link of a node at once; both ends are told, and what is on its way is lost."""
        for pipe in [pipe for (owner, _), pipe in self._pipes.items() if owner == name]:
            self._drop(pipe)
            for node, signal in pipe.ends:
                self._answer(node, 0.0, "signal_closed", signal, reason)

    def accept_signal(self, name: str, signal: int) -> None:
        """The server ``name`` takes the link; nothing when the client has given it up meanwhile."""
        there = self._other_end(self._nodes[name], signal)
        if there is not None:
            pipe, client, number = there
            self._answer(client, self.signal_latency, "signal_opened", number)
            pipe.last = self.now + self.signal_latency

    def refuse_signal(self, name: str, signal: int, status: int, body: str) -> None:
        """The server ``name`` answers the request for a link with an HTTP error."""
        there = self._other_end(self._nodes[name], signal)
        if there is not None:
            pipe, client, number = there
            self._drop(pipe)
            failure = SignalFailure("http", f"the server answered {status}", status, body)
            self._answer(client, self.signal_latency, "signal_failed", number, failure)

    def _open_signal(self, node: Node, request: OpenSignal) -> None:
        host = request.url.partition("://")[2].partition("/")[0].partition("?")[0]
        server, judges = self._servers.get(host, (None, False))
        self._note(node.name, host, b"", OK if server else "refused", "signal-open")
        if server is None:
            failure = SignalFailure("tcp", f"nobody listens at {host}")
            self._answer(node, self.signal_latency, "signal_failed", request.signal, failure)
            return
        self._next_signal += 1
        pipe = _Pipe([(node, request.signal), (server, self._next_signal)], open=True)
        self._pipes[node.name, request.signal] = pipe
        self._pipes[server.name, self._next_signal] = pipe
        half = self.signal_latency
        self._answer(server, half, "signal_accepted", self._next_signal, request.url, request.headers)
        if not judges:
            self._answer(node, 2 * half, "signal_opened", request.signal)
        pipe.last = self.now + 2 * half

    def _other_end(self, node: Node, signal: int) -> tuple[_Pipe, Node, int] | None:
        pipe = self._pipes.get((node.name, signal))
        if pipe is None or not pipe.open:
            return None
        (a, a_signal), (b, b_signal) = pipe.ends
        return (pipe, b, b_signal) if (a, a_signal) == (node, signal) else (pipe, a, a_signal)

    def _send_signal(self, node: Node, request: SendSignal) -> None:
        there = self._other_end(node, request.signal)
        target = there[1].name if there else "nobody"
        self._note(node.name, target, request.data, OK if there else "closed", "signal")
        if there is not None:
            pipe, other, signal = there
            pipe.last = max(pipe.last, self.now + self.signal_latency)
            self.at(pipe.last, self._arrive_signal, pipe, other, signal, request.data)

    def _arrive_signal(self, pipe: _Pipe, node: Node, signal: int, data: bytes) -> None:
        if pipe.open:
            self._feed(node, "signal_received", (signal, data))

    def _end_signal(self, node: Node, signal: int) -> None:
        there = self._other_end(node, signal)
        if there is not None:
            pipe, other, other_signal = there
            self.at(max(pipe.last, self.now + self.signal_latency), self._closed, pipe, other, other_signal)

    def _closed(self, pipe: _Pipe, node: Node, signal: int) -> None:
        if pipe.open:
            self._drop(pipe)
            self._feed(node, "signal_closed", (signal, "closed by the other end"))

    def _drop(self, pipe: _Pipe) -> None:
        pipe.open = False
        for node, signal in pipe.ends:
            del self._pipes[node.name, signal]

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
