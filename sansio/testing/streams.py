"""TCP connections of a world: reliable and ordered, over the links that datagrams take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from ..base.contract import INF, Address, OpenStream
from .nat import BLOCKED, REFUSED
from .netem import OK

if TYPE_CHECKING:
    from .world import Node, World

OPEN_TIMEOUT = 10.0
"""Seconds after which a connection that meets silence has failed, as with the driver."""
PORTAL_PAGE = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n"
"""What a captive portal says to whoever speaks to it."""
PORTAL_TLS = "no TLS session: certificate verify failed: Hostname mismatch"


@define(eq=False)
class _Stream:
    """Two ends, each a node and the number it knows the connection by, and when the last bytes for it arrive."""

    ends: list[tuple[Node, int]]
    addresses: list[Address]
    last: list[float]
    stale: bool = False
    """Its packets lead nowhere any more, and neither end is told."""


class Streams:
    """See the head of the module; a part of World."""

    def __init__(self, world: World) -> None:
        self.listeners: dict[Address, Node] = {}
        self.untrusted: dict[Address, str] = {}
        self._world = world
        self._streams: dict[tuple[str, int], _Stream] = {}
        self._portals: dict[tuple[str, int], Address] = {}
        self._next = 100_000

    def open(self, node: Node, request: OpenStream) -> None:
        """Connect, or say why not: each request gets one answer."""
        world, addr = self._world, request.addr
        server = self.listeners.get(addr)
        hosts = [host for host in node.hosts if (":" in host) == (":" in addr[0])]
        left = node.leave("tcp", (hosts[0], 0) if hosts else ("", 0), addr, world.now)
        portal = node.site is not None and node.site.portal and left not in (BLOCKED, REFUSED)
        found = portal or (server is not None and bool(hosts))
        world.note(node.name, addr, b"", left if isinstance(left, str) else OK if found else "refused", "stream-open")
        if left == REFUSED:
            self._fail(node, request, 0.0, "connection refused")
        elif left == BLOCKED:
            self._fail(node, request, OPEN_TIMEOUT, f"no connection within {OPEN_TIMEOUT:g} s")
        elif portal:
            self._open_portal(node, request)
        elif server is None or not hosts:
            self._fail(node, request, 2 * world.signal_latency, "connection refused")
        else:
            assert not isinstance(left, str)
            self._connect(node, request, server, left[0])

    def _connect(self, node: Node, request: OpenStream, server: Node, host: str) -> None:
        world = self._world
        there, back = world.links(node.name, server.name)
        if there.down or back.down:
            self._fail(node, request, OPEN_TIMEOUT, f"no connection within {OPEN_TIMEOUT:g} s")
            return
        rtt = there.latency + back.latency
        if request.tls and request.addr in self.untrusted:
            self._fail(node, request, 2 * rtt, self.untrusted[request.addr])
            return
        self._next += 1
        address = (host, 30000 + self._next % 10000)
        opened = world.now + (2 * rtt if request.tls else rtt)  # TLS 1.3 takes one round trip more
        stream = _Stream([(node, request.port), (server, self._next)], [address, request.addr], [opened, 0.0])
        for end, number in stream.ends:
            self._streams[end.name, number] = stream
        world.answer(server, opened - world.now - back.latency, "stream_accepted", self._next, address)
        world.answer(node, opened - world.now, "port_opened", request.port, address)

    def _open_portal(self, node: Node, request: OpenStream) -> None:
        """The portal is next door, and takes every connection for the one it is meant for."""
        if request.tls:
            self._fail(node, request, 0.0, PORTAL_TLS)
            return
        self._portals[node.name, request.port] = request.addr
        self._world.answer(node, 0.0, "port_opened", request.port, (node.hosts[0], 30000 + request.port))

    def _fail(self, node: Node, request: OpenStream, delay: float, error: str) -> None:
        self._world.answer(node, delay, "port_failed", request.port, error)

    def send(self, node: Node, port: int, data: bytes) -> bool:
        """Send on a connection: what is lost on the way comes a little later, and all that was sent after it.

        False when this port is none.
        """
        world = self._world
        portal = self._portals.pop((node.name, port), None)
        if portal is not None:
            world.note(node.name, portal, data, OK, "stream")
            world.at(world.now, self._deliver, node, port, PORTAL_PAGE, portal)
            world.answer(node, 0.0, "port_failed", port, "closed by the other end")
            return True
        stream = self._streams.get((node.name, port))
        if stream is None:
            return False
        side = stream.ends.index((node, port))
        other, number = stream.ends[1 - side]
        link, entropy = world.direction(node.name, other.name)
        verdict, arrival = link.judge(len(data), world.now, entropy)[0]
        world.note(node.name, other.name, data, "stale" if stream.stale else verdict, "stream")
        if link.down or stream.stale:
            return True
        if arrival == INF:
            arrival = world.now + 3 * link.latency + link.hold_back
        stream.last[1 - side] = max(stream.last[1 - side], arrival)
        world.at(stream.last[1 - side], self._arrive, stream, other, number, data, stream.addresses[side])
        return True

    def _arrive(self, stream: _Stream, node: Node, port: int, data: bytes, source: Address) -> None:
        if self._streams.get((node.name, port)) is stream and not stream.stale:
            self._deliver(node, port, data, source)

    def _deliver(self, node: Node, port: int, data: bytes, source: Address) -> None:
        assert node.deliver is not None, f"{node.name} takes no datagrams"
        node.deliver(port, data, source, self._world.now)
        node.wake()

    def _of(self, name: str) -> list[_Stream]:
        return [stream for (owner, _), stream in self._streams.items() if owner == name]

    def cut(self, name: str) -> None:
        """Break every connection of a node; both ends are told."""
        for stream in self._of(name):
            for side in (0, 1):
                self._end(stream, side, self._world.now)

    def strand(self, name: str) -> None:
        """Every connection of a node leads nowhere from now on, as after a change of its address."""
        for stream in self._of(name):
            stream.stale = True

    def close(self, node: Node, port: int) -> None:
        """One end closes its port; the other is told behind what was sent."""
        self._portals.pop((node.name, port), None)
        stream = self._streams.pop((node.name, port), None)
        if stream is not None and not stream.stale:
            side = 1 - stream.ends.index((node, port))
            self._end(stream, side, max(stream.last[side], self._world.now + self._world.signal_latency))

    def _end(self, stream: _Stream, side: int, when: float) -> None:
        node, number = stream.ends[side]
        self._world.at(when, self._gone, stream, node, number, side)

    def _gone(self, stream: _Stream, node: Node, number: int, side: int) -> None:
        if self._streams.get((node.name, number)) is stream:
            del self._streams[node.name, number]
            gone: tuple[str, tuple[Any, ...]] = ("stream_closed", (number,))
            if side == 0:
                gone = ("port_failed", (number, "closed by the other end"))
            self._world.feed(node, *gone)

    def count(self, name: str) -> int:
        """How many connections a node holds."""
        return len([owner for owner, _ in [*self._streams, *self._portals] if owner == name])
