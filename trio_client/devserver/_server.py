"""The sockets around ``sansio.sfu``: a TCP port for HTTP and WebSockets, a UDP and a TCP port for everybody's media."""

from __future__ import annotations

import errno
import ipaddress
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import trio

from .._core import (
    INF,
    AnswerHttp,
    ClosePort,
    CloseSignal,
    Counters,
    DropSignal,
    HttpResponse,
    RefuseSignal,
    SendSignal,
)
from .._groups import leaves
from .._net import list_interfaces
from .._ports import DATAGRAM_BYTES, UdpPort, open_udp
from ._http import HttpRequest, SignalLink, serve_connection
from ._ice_tcp import IceStream

if TYPE_CHECKING:
    from .._core import SfuServer

UDP = 1
"""Number of the UDP port in the machine."""
BURST = 64
"""Datagrams that are read before the machine's work is done and others get their turn."""
MAX_CONNECTIONS = 2048
"""TCP connections at a time; who comes beyond is hung up on."""
STOP_TIMEOUT = 0.5
"""Seconds for the last words when the server stops."""

Log = Callable[[str, str, str], object]
"""Called with what happened ("joined", "resumed", "left"), the room's name and the participant's identity."""


class DevServer:
    """A running development server, from ``serve``. ``keys`` is API key to secret."""

    def __init__(self, machine: SfuServer, udp: UdpPort, keys: Mapping[str, str], log: Log | None = None) -> None:
        self.keys = dict(keys)
        self.counters = Counters()
        """What the sockets dropped, by reason."""
        self.url = ""
        """Where clients connect to: ``ws://host:port``."""
        self.udp_port = udp.address[1]
        self.tcp_port = 0
        """Where media may come by TCP."""
        self._log = log
        self._machine = machine
        self._udp = udp
        self._links: dict[int, SignalLink] = {}
        self._links_gone = trio.Event()
        self._streams: dict[int, IceStream] = {}
        self._ports = itertools.count(UDP + 1)
        self._numbers: dict[SignalLink, int] = {}
        self._next = itertools.count(1)
        self._refusals: dict[int, HttpResponse] = {}
        self._asked: dict[int, trio.MemorySendChannel[HttpResponse]] = {}
        self._connections = 0
        self._due = INF
        self._sleep = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<DevServer {self.url}>"

    # ------------------------------------------------------------------ what users call

    def token(self, identity: str, *, room: str = "demo", ttl: float = 3600.0, **grants: Any) -> str:
        """An access token for this server, signed with its first key and valid for ``ttl`` seconds.

        ``grants``: ``name``, ``metadata``, ``attributes`` of the participant, and what it may do: ``can_publish``,
        ``can_subscribe``, ``can_publish_data``, ``can_update_own_metadata``, ``hidden`` and what else
        ``sansio.sfu.token.Claims`` has.
        """
        from .._core import Claims, mint

        key, secret = next(iter(self.keys.items()))
        return mint(Claims(identity, room, key, **grants), secret, time.time(), ttl)

    def identities(self, room: str = "demo") -> list[str]:
        """Who is in a room, in the order of joining."""
        return self._machine.identities(room)

    def cut(self, identity: str, room: str = "demo") -> bool:
        """End somebody's signalling connection without a word, as a bad network does; False if there is none."""
        link = self._links.get(self._machine.signal_of(room, identity))
        if link is not None:
            link.cut()
        return link is not None

    def remove(self, identity: str, room: str = "demo") -> bool:
        """Remove somebody from a room, as RemoveParticipant of the server API does; False if there is nobody."""
        removed = self._machine.remove(room, identity, trio.current_time())
        self._pump()
        return removed

    async def _stop(self) -> None:
        """Tell everybody that it is over, and give their links a moment to end."""
        self._machine.stop(trio.current_time())
        self._pump()
        with trio.CancelScope(deadline=trio.current_time() + STOP_TIMEOUT, shield=True):
            while self._links:
                self._links_gone = trio.Event()
                await self._links_gone.wait()

    # ------------------------------------------------------------------ the pump

    def _pump(self) -> None:
        """Do everything that the machine owes, and set the alarm for what it will owe."""
        machine, links, sendto = self._machine, self._links, self._udp.sendto
        due = machine.advance(trio.current_time())
        transmits, outbox = machine.transmits, machine.outbox
        while transmits:
            transmit = transmits.popleft()
            if transmit.port != UDP:
                stream = self._streams.get(transmit.port)
                if stream is None or not stream.send(transmit.data):
                    self.counters.add("stream_dropped")
                continue
            try:
                sendto(transmit.data, transmit.addr)
            except OSError:  # full, or a client's address that cannot be reached: lost, as datagrams are
                self.counters.add("send_failed")
        while outbox:
            match outbox.popleft():
                case SendSignal(signal=signal, data=data):
                    if signal in links:
                        links[signal].send(data)
                case CloseSignal(signal=signal, code=code):
                    if signal in links:
                        links[signal].close(code)
                case DropSignal(signal=signal):
                    if signal in links:
                        links[signal].cut()
                case ClosePort(port=port):
                    if port in self._streams:
                        self._streams[port].close()
                case AnswerHttp(number=number, response=response):
                    if number in self._asked:  # whoever asked may have gone
                        self._asked[number].send_nowait(response)
                case RefuseSignal(signal=signal, status=status, body=body):
                    self._refusals[signal] = HttpResponse.plain(status, body)
        notes = machine.notes
        while notes:
            note = notes.popleft()
            if self._log is not None:
                self._log(note.what, note.room, note.identity)
        if due < self._due:  # an alarm that is too early does no harm
            self._due = self._sleep.deadline = due

    async def _timers(self) -> None:
        while True:
            with self._sleep:
                await trio.sleep_forever()
            self._sleep = trio.CancelScope()
            self._due = INF
            self._pump()

    async def _receive(self) -> None:
        udp = self._udp
        handle, recvfrom = self._machine.handle_datagram, udp.recvfrom
        while True:
            await udp.wait_readable()
            more = True
            while more:
                now = trio.current_time()
                for _ in range(BURST):
                    try:
                        data, addr = recvfrom(DATAGRAM_BYTES)
                    except BlockingIOError:
                        more = False
                        break
                    except OSError:  # an ICMP error of something sent before, on some systems
                        self.counters.add("receive_failed")
                        continue
                    handle(UDP, data, addr[:2], now)
                self._pump()
                await trio.lowlevel.checkpoint()

    # ------------------------------------------------------------------ connections

    async def _serve(self, stream: trio.SocketStream) -> None:
        """A connection for HTTP or a WebSocket; ``serve_listeners`` closes it, as it does those for media."""
        self._connections += 1
        try:
            if self._connections > MAX_CONNECTIONS:
                self.counters.add("connection_limit")
            else:
                await serve_connection(self, stream)
        finally:
            self._connections -= 1

    async def _serve_stream(self, stream: trio.SocketStream) -> None:
        machine, number = self._machine, next(self._ports)
        try:
            addr = stream.socket.getpeername()[:2]
        except OSError:
            return  # it has gone already
        connection = self._streams[number] = IceStream(stream)

        def received(data: bytes) -> None:
            machine.handle_datagram(number, data, addr, trio.current_time())
            self._pump()

        machine.stream_accepted(number, addr, trio.current_time())
        self._pump()
        try:
            await connection.run(received)
        finally:
            del self._streams[number]
            machine.stream_closed(number, trio.current_time())
            self._pump()

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to a plain HTTP request; called by its connection."""
        found = self._machine.handle_http(
            request.method, request.target, request.headers, request.body, trio.current_time()
        )
        if not isinstance(found, int):
            self._pump()
            return found
        self._asked[found], later = trio.open_memory_channel[HttpResponse](1)
        try:
            self._pump()
            return await later.receive()
        finally:
            del self._asked[found]

    def open_signal(self, request: HttpRequest, link: SignalLink) -> HttpResponse | None:
        """Let a WebSocket in, or say why not; called by its connection."""
        number = next(self._next)
        self._links[number], self._numbers[link] = link, number
        self._machine.signal_accepted(number, self.url + request.target, request.headers, trio.current_time())
        self._pump()
        refusal = self._refusals.pop(number, None)
        if refusal is not None:
            del self._links[number], self._numbers[link]
        return refusal

    def signal_received(self, link: SignalLink, data: bytes) -> None:
        """A message has come over a WebSocket; called by its connection."""
        self._machine.signal_received(self._numbers[link], data, trio.current_time())
        self._pump()

    def signal_closed(self, link: SignalLink) -> None:
        """A WebSocket has ended; called by its connection."""
        number = self._numbers.pop(link)
        del self._links[number]
        self._links_gone.set()
        self._machine.signal_closed(number, "gone", trio.current_time())
        self._pump()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _addresses(host: str) -> list[str]:
    """The addresses under which a socket that is bound to ``host`` is reached, the one to be named first in front."""
    if not ipaddress.ip_address(host).is_unspecified:
        return [host]
    six = ":" in host
    found = [interface.address for interface in list_interfaces() if (":" in interface.address) == six]
    found.sort(key=lambda address: ipaddress.ip_address(address).is_loopback)
    return found or ["::1" if six else "127.0.0.1"]


@asynccontextmanager
async def serve(
    *,
    port: int = 0,
    keys: Mapping[str, str] | None = None,
    udp_port: int = 0,
    tcp_port: int = 0,
    bind: str = "127.0.0.1",
    node_ip: str = "",
    log: Log | None = None,
    **options: Any,
) -> AsyncIterator[DevServer]:
    """Run a development server for the length of a block. Not made for production.

    ``port``: TCP, for HTTP and WebSockets; ``udp_port`` and ``tcp_port``: for everybody's media, the latter where UDP
    is blocked; 0 takes any free one. ``keys``: API key to secret; unless given, one that everybody knows (``devkey``).
    ``bind``: the address of this host to listen on, loopback unless told otherwise; ``node_ip``: the one that clients
    are to use, if it is another. ``log``: called for whoever comes and goes, with what happened ("joined", "resumed",
    "left"), room and identity. ``options`` are those of ``sansio.sfu.server.ServerOptions``. Raises OSError when a port
    cannot be bound, which says which, why, and what to do; ValueError for a ``node_ip`` that is no IP address, and for
    ``keys`` without any.

    Leaving the block, or cancelling it, hangs up on everybody.
    """
    from .._core import DEVELOPMENT_KEY, DtlsIdentity, ServerOptions, SfuServer
    from .._entropy import system_entropy, system_wall

    if node_ip:
        ipaddress.ip_address(node_ip)
    if keys is None:
        keys = dict([DEVELOPMENT_KEY])
    elif not keys:
        raise ValueError("a server without any API key lets nobody in")
    wall = system_wall()
    failure: BaseException | None = None
    async with AsyncExitStack() as stack:
        web, media = [await _listen(stack, number, bind) for number in (port, tcp_port)]
        with _told(bind, "UDP", udp_port):
            udp = open_udp(bind, udp_port, udp_port)
        stack.callback(udp.close)
        address, *more = [node_ip] if node_ip else _addresses(bind)
        machine = SfuServer(
            (address, udp.address[1]),
            ServerOptions(
                keys=keys,
                more_addresses=tuple([(other, udp.address[1]) for other in more]),
                tcp_address=(address, media.socket.getsockname()[1]),
                **options,
            ),
            entropy=system_entropy(),
            wall=wall,
            identity=DtlsIdentity.generate(wall.unix),
        )
        server = DevServer(machine, udp, keys, log)
        host = f"[{address}]" if ":" in address else address
        server.url = f"ws://{host}:{web.socket.getsockname()[1]}"
        server.tcp_port = media.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server._timers, name="devserver timers")
            nursery.start_soon(server._receive, name="devserver datagrams")
            nursery.start_soon(trio.serve_listeners, server._serve, [web], name="devserver connections")
            nursery.start_soon(trio.serve_listeners, server._serve_stream, [media], name="devserver media")
            try:
                yield server
            except BaseException as error:
                # Kept aside: a nursery would wrap it.
                if any(isinstance(leaf, trio.Cancelled) for leaf in leaves(error)):
                    raise
                failure = error
            finally:
                await server._stop()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


async def _listen(stack: AsyncExitStack, port: int, host: str) -> trio.SocketListener:
    with _told(host, "TCP", port):
        if not _is_address(host):  # names may stand for several, and clients are told addresses
            raise OSError(errno.EADDRNOTAVAIL, "This is no IP address")
        (listener,) = await trio.open_tcp_listeners(port, host=host)
    # not aclose, whose checkpoint would put Cancelled in place of what comes out of the block
    stack.callback(listener.socket.close)
    return listener


_ADVICE = {
    errno.EADDRINUSE: "Stop what listens there, or take another port (0: any free one)",
    errno.EACCES: "Take a port from 1024 on: those below are for privileged users",
}
_BIND = "Bind to an address of this host: 127.0.0.1 for programs on it, 0.0.0.0 for its whole network"


@contextmanager
def _told(host: str, protocol: str, port: int) -> Iterator[None]:
    """An OSError of binding a socket becomes one that says which, why, and what to do."""
    try:
        yield
    except OSError as error:
        which = f"{protocol} port {port}" if port else f"any {protocol} port"
        advice = _ADVICE.get(error.errno or 0, _BIND)
        raise OSError(error.errno, f"Cannot listen on {host}, {which}: {error.strerror}. {advice}") from None
