"""Rooms in virtual time: the small server and every client's sockets, without a socket and without waiting.

``trio_client.connect`` goes here while a simulation runs, so programs are tested as they are. The clock jumps over
every wait.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from .._connect import connect
from .._core import (
    Address,
    CloseSignal,
    DtlsIdentity,
    Entropy,
    Interface,
    OpenSignal,
    OpenStream,
    SendSignal,
    SignalFailure,
    WallClock,
)
from .._network import current_network
from .._threads import time_stands
from ._clock import VirtualClock

if TYPE_CHECKING:
    from .._core import RoomEngine
    from .._options import ConnectOptions
    from .._room import Room

T = TypeVar("T")

UNIX = 1_800_000_000.0
"""When it all begins."""
URL = "ws://simulated.livekit"
SERVER: Address = ("10.0.0.1", 7882)
UDP = 1
"""Number of the UDP port in the server's machine."""


class Simulation:
    """A development server and a network in virtual time.

    ``latency``: seconds that a message takes, each way. ``loss``: the share of UDP datagrams that are lost, 0 to 1.
    Both may be changed at any time. ``seed``: chooses which ones; but Trio shuffles tasks that are ready
    at the same time, so two runs are alike, not equal. ``options`` are those of the server, as for
    ``trio_client.devserver.serve``.
    """

    def __init__(self, *, latency: float = 0.02, loss: float = 0.0, seed: int = 0, **options: Any) -> None:
        self.latency = latency
        self.loss = loss
        self.url = URL
        """What programs connect to; any other address is unreachable."""
        self._seed = b"trio-livekit simulation %d" % seed
        self._options = options
        self._net: _Net | None = None

    # ------------------------------------------------------------------ running

    def run(self, async_function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """``trio.run`` in virtual time, with this network; what ``async_function(*args)`` returns."""
        time = VirtualClock()
        result: T = trio.run(self._main, async_function, args, time, clock=time.clock)
        return result

    async def _main(self, async_function: Callable[..., Awaitable[T]], args: tuple[Any, ...], time: VirtualClock) -> T:
        net = self._net = _Net(self)
        current_network.set(net)
        time_stands.set(time.standing)
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(net.run, name="trio_client.testing network")
                try:
                    result = await async_function(*args)
                except BaseException as error:
                    failure = error  # kept aside: the nursery would wrap it
                nursery.cancel_scope.cancel()
        finally:
            self._net = None
        if failure is not None:
            raise failure
        return result

    # ------------------------------------------------------------------ the server

    def token(self, identity: str, *, room: str = "demo", ttl: float = 3600.0, **grants: Any) -> str:
        """An access token for the simulated server; see ``trio_client.devserver.DevServer.token``."""
        from .._core import DEVELOPMENT_KEY, Claims, mint

        key, secret = DEVELOPMENT_KEY
        unix = self._net.wall().unix_at(trio.current_time()) if self._net is not None else UNIX
        return mint(Claims(identity, room, key, **grants), secret, unix, ttl)

    def connect(self, identity: str, *, room: str = "demo", **options: Any) -> AbstractAsyncContextManager[Room]:
        """Join as ``identity``, with every right; ``options`` are those of ``trio_client.connect``."""
        return connect(self.url, self.token(identity, room=room, can_update_own_metadata=True), **options)

    def identities(self, room: str = "demo") -> list[str]:
        """Who is in a room, in the order of joining."""
        return self._running.server.identities(room)

    def cut(self, identity: str, room: str = "demo") -> bool:
        """End somebody's signalling connection without a word, as a bad network does; False if there is none."""
        net = self._running
        link = net.links.get(net.server.signal_of(room, identity))
        if link is not None:
            link.end("the connection was lost")
        return link is not None

    def remove(self, identity: str, room: str = "demo") -> bool:
        """Remove somebody from a room, as RemoveParticipant of the server API does; False if there is nobody."""
        net = self._running
        removed = net.server.remove(room, identity, trio.current_time())
        net.wake()
        return removed

    @property
    def _running(self) -> _Net:
        if self._net is None:
            raise RuntimeError("the simulation does not run")
        return self._net


class _Net:
    """What happens while it runs: one server, everybody's sockets, and a heap of what is on its way."""

    def __init__(self, simulation: Simulation) -> None:
        from .._core import DEVELOPMENT_KEY, PlainEngine, ServerOptions, SfuServer, plain_identity

        self.simulation = simulation
        self.ports: dict[Address, _Port] = {}
        self.links: dict[int, _Link] = {}
        self.numbers = itertools.count(1)
        self._hosts = itertools.count(2)
        self._free = itertools.count(50000)
        self._entropy = Entropy(simulation._seed)
        self._chance = self._entropy.fork("loss")
        self._wall = WallClock(unix=UNIX, now=trio.current_time())
        self.server = SfuServer(
            SERVER,
            ServerOptions(keys=dict([DEVELOPMENT_KEY]), dtls_engine=PlainEngine, **simulation._options),
            entropy=self._entropy.fork("server"),
            wall=self._wall,
            identity=plain_identity(self._entropy.fork("server identity")),
        )
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._wake = trio.Event()

    def wake(self) -> None:
        """Something has changed: look again at what is to be done."""
        self._wake.set()

    def later(self, function: Callable[[], object], delays: int = 1, *, earliest: float = 0.0) -> float:
        """Call this once it has come over the network, so many times over, but not before ``earliest``; when it is."""
        due = max(trio.current_time() + self.simulation.latency * delays, earliest)
        heapq.heappush(self._heap, (due, next(self._order), function))
        self.wake()
        return due

    async def run(self) -> None:
        """The network's only task."""
        while True:
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]()
            due = self._turn(now)
            with trio.move_on_at(min(due, self._heap[0][0]) if self._heap else due):
                await self._wake.wait()
            self._wake = trio.Event()

    def _turn(self, now: float) -> float:
        from .._core import DropSignal, RefuseSignal

        server = self.server
        due = server.advance(now)
        while server.transmits:
            transmit = server.transmits.popleft()
            self.carry(SERVER, transmit.addr, transmit.data)
        while server.outbox:
            output = server.outbox.popleft()
            link = self.links.get(getattr(output, "signal", 0))
            if link is None:
                continue
            match output:
                case SendSignal(data=data):
                    link.down.later(lambda link=link, data=data: link.arrive(data))  # type: ignore[misc]
                case CloseSignal(code=code):
                    reason = f"closed with code {code}"
                    link.down.later(lambda link=link, reason=reason: link.end(reason))  # type: ignore[misc]
                case RefuseSignal(status=status, body=body):
                    failure = SignalFailure("http", f"the server answered HTTP {status}", status, body)
                    link.down.later(lambda link=link, failure=failure: link.refuse(failure))  # type: ignore[misc]
                case DropSignal():
                    link.down.later(lambda link=link: link.end("the connection was lost"))  # type: ignore[misc]
                case _:  # AcceptSignal
                    link.down.later(link.accept)
        return due

    def carry(self, source: Address, target: Address, data: bytes) -> None:
        """A datagram sets out."""
        if self._chance.random() < self.simulation.loss:
            return
        if target == SERVER:
            self.later(lambda: self.server.handle_datagram(UDP, data, source, trio.current_time()))
        else:
            self.later(lambda: self._deliver(target, data, source))

    def _deliver(self, target: Address, data: bytes, source: Address) -> None:
        if (port := self.ports.get(target)) is not None:
            port.arrive(data, source)

    # ------------------------------------------------------------------ what a session stands on

    def wall(self) -> WallClock:
        return self._wall

    def entropy(self) -> Entropy:
        return self._entropy.fork(f"session {next(self.numbers)}")

    def identity(self, wall: WallClock) -> DtlsIdentity:
        from .._core import plain_identity

        return plain_identity(self._entropy.fork(f"identity {next(self.numbers)}"))

    def engine(self) -> Callable[..., RoomEngine]:
        from .._core import RoomEngine

        return RoomEngine

    def engine_options(self) -> dict[str, Any]:
        from .._core import PlainEngine

        return {"dtls_engine": PlainEngine}

    def doors(self, options: ConnectOptions) -> dict[str, Any]:
        host = f"10.0.{(number := next(self._hosts)) >> 8}.{number & 255}"
        return {
            "open_port": lambda bind, low, high: _Port(self, (host, next(self._free))),
            "open_stream": _NoStream,
            "open_link": lambda request: _Link(self, request),
            "lookup": _no_names,
            "interfaces": lambda: [Interface("eth0", host)],
        }


async def _no_names(host: str) -> list[str]:
    await trio.lowlevel.checkpoint()
    return []


class _Port:
    """A UDP port of the simulated network."""

    send_run = None

    def __init__(self, net: _Net, address: Address) -> None:
        self.address = address
        self._net = net
        self._inbox: deque[tuple[bytes, Address]] = deque()
        self._closed = False
        self._wake = trio.Event()
        net.ports[address] = self

    def recvfrom(self, size: int) -> tuple[bytes, Address]:
        if not self._inbox:
            raise BlockingIOError
        data, addr = self._inbox.popleft()
        return data[:size], addr

    def sendto(self, data: bytes, addr: Address) -> int:
        self._net.carry(self.address, addr, data)
        return len(data)

    def arrive(self, data: bytes, addr: Address) -> None:
        """A datagram is here."""
        self._inbox.append((data, addr))
        self._wake.set()

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self._closed:
                raise trio.ClosedResourceError
            self._wake = trio.Event()
            await self._wake.wait()

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._closed = True
        self._net.ports.pop(self.address, None)
        self._wake.set()


class _NoStream:
    """TCP connections for media are not simulated: each fails."""

    full = False

    def __init__(self, request: OpenStream) -> None:
        pass

    async def run(self, *args: object) -> str:
        from .._streams import StreamError

        await trio.lowlevel.checkpoint()
        raise StreamError("there is no TCP in the simulated network")

    def send(self, data: bytes, keep: bool) -> bool:
        return False

    def close(self) -> None:
        pass


class _Lane:
    """One direction of a link: what sets out later does not arrive earlier, however the latency changes."""

    def __init__(self, net: _Net) -> None:
        self._net = net
        self._last = 0.0

    def later(self, function: Callable[[], object], delays: int = 1) -> None:
        """Call this once it has come over."""
        self._last = self._net.later(function, delays, earliest=self._last)


class _Link:
    """A signalling link of the simulated network, as the driver sees it. ``down``: from the server to the client."""

    def __init__(self, net: _Net, request: OpenSignal) -> None:
        self.down = _Lane(net)
        self._up = _Lane(net)
        self._net = net
        self._request = request
        self._number = 0
        self._open = False
        self._failure: SignalFailure | None = None
        self._inbox: deque[bytes] = deque()
        self._end = ""
        self._wake = trio.Event()
        self._opening = trio.CancelScope(deadline=trio.current_time() + request.timeout)

    # ------------------------------------------------------------------ the driver's side

    async def run(self, opened: Callable[[], None], received: Callable[[bytes], None]) -> str:
        from .._signal import SignalError

        net, request = self._net, self._request
        if not request.url.startswith(URL):
            await trio.lowlevel.checkpoint()
            raise SignalError(SignalFailure("tcp", f"the simulated network has one server only, {URL}"))
        self._number = next(net.numbers)
        net.links[self._number] = self
        try:
            self._up.later(
                lambda: net.server.signal_accepted(self._number, request.url, request.headers, trio.current_time())
            )
            with self._opening:
                while not self._open and self._failure is None:
                    await self._sleep()
            if not self._open:
                raise SignalError(self._failure or SignalFailure("timeout", "no answer"))
            opened()
            while True:
                while self._inbox:
                    received(self._inbox.popleft())
                if self._end:
                    return self._end
                await self._sleep()
        finally:
            del net.links[self._number]
            self._up.later(lambda: net.server.signal_closed(self._number, "gone", trio.current_time()))

    async def _sleep(self) -> None:
        await self._wake.wait()
        self._wake = trio.Event()

    def send(self, data: bytes) -> None:
        if not self._end:
            net = self._net
            self._up.later(lambda: net.server.signal_received(self._number, data, trio.current_time()))

    def close(self) -> None:
        if self._open:
            self.down.later(lambda: self.end("closed by us"), delays=2)  # the closing handshake
        else:
            self._opening.cancel()

    # ------------------------------------------------------------------ the network's side

    def accept(self) -> None:
        """The server lets us in."""
        self._open = True
        self._wake.set()

    def refuse(self, failure: SignalFailure) -> None:
        """The server does not let us in."""
        self._failure = failure
        self._wake.set()

    def arrive(self, data: bytes) -> None:
        """A message is here."""
        self._inbox.append(data)
        self._wake.set()

    def end(self, reason: str) -> None:
        """The link has ended."""
        self._end = self._end or reason
        self._wake.set()
