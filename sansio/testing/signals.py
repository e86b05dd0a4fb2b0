"""Signalling links of a world: WebSockets as reliable, ordered pipes of messages, which can be cut or fall silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field

from ..base.contract import OpenSignal, SendSignal, SignalFailure
from .nat import BLOCKED, REFUSED
from .netem import OK

if TYPE_CHECKING:
    from .world import Node, World

CONNECT_AGAIN = 1.0
"""Seconds after which a connection request that met silence is repeated: TCP does so once, and a driver connects anew
before TCP would do so again, for as long as the attempt lasts."""
RETRANSMISSION = 0.2
"""Seconds after which bytes that met silence are repeated, doubled each time up to LONGEST_WAIT."""
LONGEST_WAIT = 30.0


@define(eq=False)
class _Pipe:
    """A link: two ends, the client's first, each a node and the number it knows the link by."""

    ends: list[tuple[Node, int]]
    open: bool = True
    last: float = 0.0
    left: list[Node] = field(factory=list)
    """Ends that have closed it, of which the other may not know yet."""
    held: list[tuple[Callable[..., object], tuple[Any, ...]]] = field(factory=list)
    stale: bool = False
    """Its packets lead nowhere any more, and neither end is told."""


class Signals:
    """See the head of the module; a part of World."""

    def __init__(self, world: World) -> None:
        self.servers: dict[str, tuple[Node, bool]] = {}
        self.untrusted: dict[str, str] = {}
        self._world = world
        self._pipes: dict[tuple[str, int], _Pipe] = {}
        self._silent: dict[str, float] = {}
        self._given_up: dict[tuple[str, int], None] = {}
        self._next = 1000

    # ------------------------------------------------------------------ opening

    def open(self, node: Node, request: OpenSignal, begun: float = -1.0) -> None:
        """Ask the server of a URL for a link."""
        world = self._world
        if (node.name, request.signal) in self._given_up:
            return
        begun = world.now if begun < 0 else begun
        scheme, _, rest = request.url.partition("://")
        host = rest.partition("/")[0].partition("?")[0]
        port = int(host.rpartition(":")[2]) if ":" in host else 443 if scheme == "wss" else 80
        tried = [node.leave("tcp", (own, 0), (host, port), world.now) for own in node.hosts or ("",)]
        left = next((one for one in tried if one != BLOCKED), BLOCKED)  # who has two families tries both
        if node.name in self._silent or left == BLOCKED:
            world.note(node.name, host, b"", BLOCKED, "signal-open")
            self._try_again(node, request, begun)
            return
        server, judges = self.servers.get(host, (None, False))
        world.note(node.name, host, b"", OK if server and left != REFUSED else "refused", "signal-open")
        if left == REFUSED:
            self._fail(node, request, 0.0, SignalFailure("tcp", "connection refused"))
        elif node.site is not None and node.site.portal:
            self._open_portal(node, request, scheme)
        elif server is None:
            self._fail(node, request, world.signal_latency, SignalFailure("tcp", f"nobody listens at {host}"))
        elif scheme == "wss" and host in self.untrusted:
            self._fail(node, request, 2 * world.signal_latency, SignalFailure("tls", self.untrusted[host]))
        else:
            self._connect(node, request, server, judges)

    def _connect(self, node: Node, request: OpenSignal, server: Node, judges: bool) -> None:
        self._next += 1
        pipe = _Pipe([(node, request.signal), (server, self._next)])
        self._pipes[node.name, request.signal] = pipe
        self._pipes[server.name, self._next] = pipe
        half = self._world.signal_latency
        self._world.answer(server, half, "signal_accepted", self._next, request.url, request.headers)
        if not judges:
            self._world.answer(node, 2 * half, "signal_opened", request.signal)
        pipe.last = self._world.now + 2 * half

    def _try_again(self, node: Node, request: OpenSignal, begun: float) -> None:
        world = self._world
        wait = CONNECT_AGAIN
        while begun + wait <= world.now:
            wait += CONNECT_AGAIN
        if wait < request.timeout:
            world.at(begun + wait, self.open, node, request, begun)
        else:
            self._fail(node, request, begun + request.timeout - world.now, SignalFailure("timeout", "no answer"))

    def _open_portal(self, node: Node, request: OpenSignal, scheme: str) -> None:
        if scheme == "wss":
            failure = SignalFailure("tls", "the certificate is that of portal.example")
        else:
            failure = SignalFailure("http", "the server answered 302", 302, "")
        self._fail(node, request, 0.0, failure)

    def _fail(self, node: Node, request: OpenSignal, delay: float, failure: SignalFailure) -> None:
        self._world.at(self._world.now + delay, self._failed, node, request.signal, failure)

    def _failed(self, node: Node, signal: int, failure: SignalFailure) -> None:
        if self._given_up.pop((node.name, signal), True):
            self._world.feed(node, "signal_failed", (signal, failure))

    def accept(self, node: Node, signal: int) -> None:
        """The server takes the link; nothing when the client has given it up meanwhile."""
        there = self._other_end(node, signal)
        if there is not None:
            pipe, client, number = there
            pipe.last = self._world.now + self._world.signal_latency
            self._pass(pipe, pipe.last, self._opened, pipe, client, number)

    def _opened(self, pipe: _Pipe, client: Node, number: int) -> None:
        if pipe.open:
            self._world.feed(client, "signal_opened", (number,))

    def refuse(self, node: Node, signal: int, status: int, body: str) -> None:
        """The server answers the request for a link with an HTTP error."""
        there = self._other_end(node, signal)
        if there is not None:
            pipe, client, number = there
            failure = SignalFailure("http", f"the server answered {status}", status, body)
            self._pass(pipe, self._world.now + self._world.signal_latency, self._refused, pipe, client, number, failure)

    def _refused(self, pipe: _Pipe, client: Node, number: int, failure: SignalFailure) -> None:
        if pipe.open:
            self._drop(pipe)
            self._world.feed(client, "signal_failed", (number, failure))

    # ------------------------------------------------------------------ messages

    def _other_end(self, node: Node, signal: int) -> tuple[_Pipe, Node, int] | None:
        pipe = self._pipes.get((node.name, signal))
        if pipe is None:
            return None
        (a, a_signal), (b, b_signal) = pipe.ends
        return (pipe, b, b_signal) if (a, a_signal) == (node, signal) else (pipe, a, a_signal)

    def _pass(self, pipe: _Pipe, when: float, function: Callable[..., object], *args: Any) -> None:
        """Do something at the other end once it gets there: later when the link is silent, never when it is stale."""
        if pipe.stale:
            return
        if pipe.ends[0][0].name in self._silent:
            pipe.held.append((function, args))
        else:
            self._world.at(when, function, *args)

    def send(self, node: Node, request: SendSignal) -> None:
        """A message to the other end."""
        world = self._world
        there = self._other_end(node, request.signal)
        target = there[1].name if there else "nobody"
        world.note(node.name, target, request.data, OK if there else "closed", "signal")
        if there is not None:
            pipe, other, signal = there
            pipe.last = max(pipe.last, world.now + world.signal_latency)
            self._pass(pipe, pipe.last, self._arrive, pipe, other, signal, request.data)

    def _arrive(self, pipe: _Pipe, node: Node, signal: int, data: bytes) -> None:
        if pipe.open:
            self._world.feed(node, "signal_received", (signal, data))

    # ------------------------------------------------------------------ ends

    def close(self, node: Node, signal: int) -> None:
        """One end closes; the other is told behind what was sent."""
        there = self._other_end(node, signal)
        if there is None:
            self._given_up[node.name, signal] = None
            return
        pipe, other, other_signal = there
        pipe.left.append(node)
        if pipe.stale:
            del self._pipes[node.name, signal]
            return
        when = max(pipe.last, self._world.now + self._world.signal_latency)
        self._pass(pipe, when, self._closed, pipe, other, other_signal)

    def _closed(self, pipe: _Pipe, node: Node, signal: int) -> None:
        if pipe.open:
            self._drop(pipe)
            self._world.feed(node, "signal_closed", (signal, "closed by the other end"))

    def _of(self, name: str) -> list[_Pipe]:
        return [pipe for (owner, _), pipe in self._pipes.items() if owner == name]

    def cut(self, name: str, reason: str) -> None:
        """End every link of a node at once; both ends are told, and what is on its way is lost."""
        for pipe in self._of(name):
            if pipe.stale:
                continue
            self._drop(pipe)
            for node, signal in pipe.ends:
                self._world.answer(node, 0.0, "signal_closed", signal, reason)

    def strand(self, name: str) -> None:
        """Every link of a node leads nowhere from now on, as after a change of its address; nobody is told."""
        for pipe in self._of(name):
            pipe.stale = True
            pipe.held.clear()

    def silence(self, name: str, down: bool) -> None:
        """Let nothing pass on the links of a client, old or new; or again: then what was sent meanwhile comes."""
        world = self._world
        if down:
            self._silent.setdefault(name, world.now)
            return
        since = self._silent.pop(name, world.now)
        again, wait = since, RETRANSMISSION
        while again < world.now:
            again, wait = again + wait, min(2 * wait, LONGEST_WAIT)
        for pipe in self._of(name):
            for function, args in pipe.held:
                pipe.last = max(pipe.last, again)
                world.at(pipe.last, function, *args)
            pipe.held.clear()

    def count(self, name: str) -> int:
        """How many links a node holds that it has not closed."""
        return len([pipe for pipe in self._of(name) if all(node.name != name for node in pipe.left)])

    def _drop(self, pipe: _Pipe) -> None:
        pipe.open = False
        for node, signal in pipe.ends:
            self._pipes.pop((node.name, signal), None)
