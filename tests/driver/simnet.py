"""A server and a network in memory, under Trio's mock clock: the real driver and engine, no real socket.

``SimNet`` runs the core's small server and gives the driver the doors it needs: ports, signalling links, interfaces.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import trio

from sansio.base.contract import CloseSignal, Interface, OpenSignal, SendSignal, SignalFailure
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.dtls.identity import DtlsIdentity
from sansio.dtls.plain import PlainEngine
from sansio.room.engine import RoomEngine
from sansio.room.options import EngineOptions
from sansio.sfu.server import AcceptSignal, RefuseSignal, ServerOptions, SfuServer
from sansio.sfu.token import Claims, mint
from trio_client._connect import Handlers, ToPublish, live_objects, open_room
from trio_client._driver import Driver
from trio_client._options import ConnectOptions
from trio_client._room import Room
from trio_client._rpc import RpcHandler
from trio_client._session import Session
from trio_client._signal import SignalError

UNIX = 1_700_000_000.0
SERVER = ("10.0.0.1", 7882)
CLIENT = "10.0.0.2"
WALL = WallClock(UNIX, 0.0)


class SimPort:
    """A UDP port of the simulated network; ``full`` makes it refuse to send."""

    send_run = None

    def __init__(self, net: SimNet, address: tuple[str, int]) -> None:
        self.net = net
        self.address = address
        self.inbox: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.full = False
        self.closed = False
        self.fails: list[OSError] = []
        self._wake = trio.Event()

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        if self.fails:
            raise self.fails.pop()
        if not self.inbox:
            raise BlockingIOError
        data, addr = self.inbox.popleft()
        return data[:size], addr

    def sendto(self, data: bytes, addr: tuple[str, int]) -> int:
        assert not self.closed
        if self.full:
            raise BlockingIOError
        self.net.carry(self.address, addr, data)
        return len(data)

    def set_full(self, full: bool) -> None:
        self.full = full
        self._wake.set()

    def arrive(self, data: bytes, addr: tuple[str, int]) -> None:
        self.inbox.append((data, addr))
        self._wake.set()

    def poke(self) -> None:
        self._wake.set()

    async def wait_readable(self) -> None:
        await self._wait(lambda: bool(self.inbox or self.fails))

    async def wait_writable(self) -> None:
        await self._wait(lambda: not self.full)

    async def _wait(self, ready: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not ready():
            if self.closed:
                raise trio.ClosedResourceError
            if self._wake.is_set():
                self._wake = trio.Event()
            await self._wake.wait()
        if self.closed:
            raise trio.ClosedResourceError

    def close(self) -> None:
        self.closed = True
        self.net.ports.pop(self.address, None)
        self._wake.set()


class SimLink:
    """A signalling link of the simulated network."""

    def __init__(self, net: SimNet, request: OpenSignal) -> None:
        self.net = net
        self.request = request
        self.number = next(net.numbers)
        self.sent: list[bytes] = []
        self.answer: AcceptSignal | RefuseSignal | None = None
        self.inbox: deque[bytes] = deque()
        self.ended = ""
        self._wake = trio.Event()
        self._opening = trio.CancelScope(deadline=trio.current_time() + request.timeout)

    async def run(self, opened: Callable[[], None], received: Callable[[bytes], None]) -> str:
        net = self.net
        net.links[self.number] = self
        net.at(net.latency, net.server.signal_accepted, self.number, self.request.url, self.request.headers)
        try:
            with self._opening:
                while self.answer is None:
                    await self._sleep()
            if self.answer is None:
                raise SignalError(SignalFailure("timeout", "no answer"))
            if isinstance(self.answer, RefuseSignal):
                raise SignalError(SignalFailure("http", "refused", self.answer.status, self.answer.body))
            opened()
            while True:
                while self.inbox:
                    received(self.inbox.popleft())
                    await trio.lowlevel.checkpoint()
                if self.ended:
                    return self.ended
                await self._sleep()
        finally:
            del net.links[self.number]
            net.at(net.latency, net.server.signal_closed, self.number, "gone")

    async def _sleep(self) -> None:
        await self._wake.wait()
        self._wake = trio.Event()

    def wake(self) -> None:
        self._wake.set()

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        if not self.ended:
            self.net.at(self.net.latency, self.net.server.signal_received, self.number, data)

    def close(self) -> None:
        if self.answer is None:
            self._opening.cancel()
        else:  # the closing handshake
            self.net.at(2 * self.net.latency, lambda now: self.end("closed by us"))

    def end(self, reason: str) -> None:
        self.ended = self.ended or reason
        self._wake.set()


class SimNet:
    """One server and everybody's sockets. ``loss(data)`` says which datagrams are lost."""

    def __init__(self, *, latency: float = 0.01, **server: Any) -> None:
        self.latency = latency
        self.loss: Callable[[bytes], bool] = lambda data: False
        self.news: Any = None
        """What the driver gets as the kernel's news of the network."""
        self.accepting = True
        """Whether the server answers WebSocket handshakes."""
        self.ports: dict[tuple[str, int], SimPort] = {}
        self.links: dict[int, SimLink] = {}
        self.all_links: list[SimLink] = []
        self.all_ports: list[SimPort] = []
        self.sessions: list[Session] = []
        self.numbers = itertools.count(1)
        self.server = SfuServer(
            SERVER,
            ServerOptions(keys={"key": "secret"}, dtls_engine=PlainEngine, **server),
            entropy=Entropy(b"server"),
            wall=WALL,
            identity=DtlsIdentity(b"server certificate"),
        )
        self._next_port = itertools.count(50000)
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._wake = trio.Event()
        self._rooms = itertools.count(1)

    # ------------------------------------------------------------------ running

    def at(self, delay: float, function: Callable[..., object], *args: Any) -> None:
        """Call ``function(*args, now)`` after ``delay``."""
        heapq.heappush(self._heap, (trio.current_time() + delay, next(self._order), function, args))
        self._wake.set()

    async def run(self) -> None:
        due = 0.0
        while True:
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                _, _, function, args = heapq.heappop(self._heap)
                function(*args, now)
            due = self._turn(now)
            wait = min(due, self._heap[0][0]) if self._heap else due
            with trio.move_on_at(wait):
                await self._wake.wait()
            self._wake = trio.Event()

    def _turn(self, now: float) -> float:
        server = self.server
        due = server.advance(now)
        while server.transmits:
            transmit = server.transmits.popleft()
            self.carry(SERVER, transmit.addr, transmit.data)
        while server.outbox:
            output = server.outbox.popleft()
            link = self.links.get(output.signal)
            if link is None:
                continue
            match output:
                case AcceptSignal() | RefuseSignal():
                    if self.accepting:
                        self.at(self.latency, self._answer, link, output)
                case SendSignal(data=data):
                    self.at(self.latency, self._deliver, link, data)
                case CloseSignal():
                    self.at(self.latency, lambda link, now: link.end("closed with code 1000"), link)
        return due

    def _answer(self, link: SimLink, answer: Any, now: float) -> None:
        link.answer = answer
        link.wake()

    def _deliver(self, link: SimLink, data: bytes, now: float) -> None:
        link.inbox.append(data)
        link.wake()

    def carry(self, source: tuple[str, int], target: tuple[str, int], data: bytes) -> None:
        if self.loss(data):
            return
        if target == SERVER:
            self.at(self.latency, self.server.handle_datagram, 1, data, source)
        else:
            self.at(self.latency, self._arrive, target, data, source)

    def _arrive(self, target: tuple[str, int], data: bytes, source: tuple[str, int], now: float) -> None:
        if (port := self.ports.get(target)) is not None:
            port.arrive(data, source)

    # ------------------------------------------------------------------ the driver's doors

    def open_port(self, host: str, low: int, high: int) -> SimPort:
        port = SimPort(self, (host, next(self._next_port)))
        self.ports[port.address] = port
        self.all_ports.append(port)
        return port

    def open_link(self, request: OpenSignal) -> SimLink:
        link = SimLink(self, request)
        self.all_links.append(link)
        return link

    def interfaces(self) -> list[Interface]:
        return [Interface("eth0", CLIENT)]

    async def lookup(self, host: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        return []

    def identities(self, room: str = "room") -> list[str]:
        """Who is in a room by the server's books."""
        found = self.server._rooms.get(room)
        return sorted(found.participants) if found is not None else []

    # ------------------------------------------------------------------ joining

    def connect(
        self,
        identity: str = "alice",
        *,
        room: str = "room",
        options: ConnectOptions | None = None,
        on: Handlers | None = None,
        rpc_methods: Mapping[str, RpcHandler] | None = None,
        token: Callable[[], Awaitable[str]] | None = None,
        publish: Iterable[ToPublish] = (),
        **engine_options: Any,
    ) -> AbstractAsyncContextManager[Room]:
        number = next(self._rooms)

        async def prepare(session: Session) -> None:
            claims = Claims(identity, room, "key", can_update_own_metadata=True)
            engine = RoomEngine(
                "ws://server",
                await token() if token is not None else mint(claims, "secret", UNIX),
                EngineOptions(dtls_engine=PlainEngine, renew_token=token is not None, **engine_options),
                entropy=Entropy(b"client %d" % number),
                wall=WALL,
                identity=DtlsIdentity(b"client certificate %d" % number),
                factories=live_objects(session),
            )
            driver = Driver(
                engine,
                session,
                open_port=self.open_port,
                open_link=self.open_link,
                lookup=self.lookup,
                interfaces=self.interfaces,
                open_news=lambda: self.news,
                token_source=token,
            )
            session.attach(engine, driver)
            self.sessions.append(session)

        return open_room(prepare, options or ConnectOptions(), on or {}, rpc_methods or {}, publish)


@asynccontextmanager
async def sim_net(**options: Any) -> AsyncIterator[SimNet]:
    """A running network; whatever is still open at the end is an error."""
    net = SimNet(**options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(net.run)
        yield net
        nursery.cancel_scope.cancel()
    assert not net.links
    assert all(port.closed for port in net.all_ports)
