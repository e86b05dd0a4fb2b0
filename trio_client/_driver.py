"""The driver: sockets, timers and tasks around one engine. It takes no protocol decision.

Any task calls the engine directly (calls are synchronous, so they are atomic under Trio) and then ``pump``, which does
what the engine owes: datagrams go straight to the sockets, requests are performed, everything else goes to the sink.
There is no task, channel or hop per packet, and one deadline for all timers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

from ._core import (
    INF,
    Address,
    ClosePort,
    CloseSignal,
    Counters,
    Interface,
    NeedToken,
    OpenSignal,
    OpenStream,
    OpenUdp,
    Resolve,
    SendSignal,
    Transmit,
)
from ._net import NetworkNews, list_interfaces, open_news, resolve
from ._options import TokenSource
from ._ports import DATAGRAM_BYTES, Pace, Port, PortFactory, open_udp, take_run
from ._signal import Link, LinkFactory, SignalError, WebSocketLink
from ._streams import Stream, StreamError, StreamFactory, TcpStream

if TYPE_CHECKING:
    from ._core import RoomEngine

BURST = 64
"""Datagrams that are read from one socket before the engine's work is done and others get their turn."""
BACKLOG = 256
"""Datagrams that one full socket holds back."""
MAX_TURNS = 10_000
"""Rounds of one pump; more is a bug."""
WATCH = 10.0
"""Seconds between two looks at the addresses of this host, where the kernel tells nothing."""
LOOK_AGAIN = 0.2
"""The same when the kernel tells something, or datagrams cannot be sent."""


class Sink(Protocol):
    """Where the outputs go that are not for the driver."""

    def deliver(self, output: Any) -> None:
        """One output of the engine."""

    def settled(self) -> None:
        """Outputs were delivered, and the engine owes nothing for now."""


class _OpenPort:
    __slots__ = ("port", "send_run", "sendto", "scope", "backlog")

    def __init__(self, port: Port) -> None:
        self.port = port
        self.sendto = port.sendto
        self.send_run = port.send_run
        self.scope = trio.CancelScope()
        self.backlog: deque[Transmit] = deque()


class Driver:
    """Runs one engine. The keyword arguments are the doors to the system, for tests to replace."""

    def __init__(
        self,
        engine: RoomEngine,
        sink: Sink,
        *,
        open_port: PortFactory = open_udp,
        open_stream: StreamFactory = TcpStream,
        open_link: LinkFactory = WebSocketLink,
        lookup: Callable[[str], Awaitable[list[str]]] = resolve,
        interfaces: Callable[[], list[Interface]] = list_interfaces,
        open_news: Callable[[], NetworkNews | None] = open_news,
        token_source: TokenSource | None = None,
    ) -> None:
        self.engine = engine
        self.counters = Counters()
        self.sent = self.received = self.sent_bytes = self.received_bytes = 0
        self.broken = False
        """An exception left the engine: it cannot be used any more."""
        self._sink = sink
        self._open_port = open_port
        self._stream_factory = open_stream
        self._open_link = open_link
        self._lookup = lookup
        self._list_interfaces = interfaces
        self._open_news = open_news
        self._token_source = token_source
        self.running = trio.Event()
        self._nursery: trio.Nursery
        self._ports: dict[int, _OpenPort] = {}
        self._streams: dict[int, Stream] = {}
        self._links: dict[int, Link] = {}
        self._links_gone = trio.Event()
        self._links_gone.set()
        self._pumping = False
        self._again = False
        self._doubt = trio.Event()
        self._routed = False
        self._sleep = trio.CancelScope()
        self._due = INF
        self._dozing: trio.lowlevel.Task | None = None
        """The task of the timers, while it waits."""
        self._perform: dict[type[Any], Callable[[Any], None]] = {
            OpenUdp: self._open_udp,
            OpenStream: self._open_stream,
            ClosePort: self._close_port,
            OpenSignal: self._open_signal,
            SendSignal: self._send_signal,
            CloseSignal: self._close_signal,
            Resolve: self._resolve,
            NeedToken: self._need_token,
        }

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Be there for the engine until ``shut``. Shielded: a cancelled room still has to take its leave."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._timers, name="trio_client timers")
                self.running.set()
                await trio.sleep_forever()

    @trio.lowlevel.enable_ki_protection
    def start(self) -> None:
        """Let the engine begin, and watch the addresses of this host from now on."""
        news = self._open_news()  # before the first look, so that nothing is missed between the two
        if news is not None:
            self._nursery.start_soon(self._listen, news, name="trio_client network news")
        interfaces = self._list_interfaces()
        self.engine.start(interfaces, trio.current_time())
        self._nursery.start_soon(self._watch, interfaces, name="trio_client networks")
        self.pump()

    def shut(self) -> None:
        """Cancel every task and with them close every socket."""
        self._nursery.cancel_scope.cancel()

    async def links_closed(self) -> None:
        """Wait until no signalling link is left."""
        await self._links_gone.wait()

    def close_all(self) -> None:
        """Close what is still open: the engine has ended."""
        for port in [*self._ports, *self._streams]:
            self._close_port(ClosePort(port))
        for link in list(self._links.values()):
            link.close()

    # ------------------------------------------------------------------ the pump

    @trio.lowlevel.enable_ki_protection
    def pump(self, now: float | None = None) -> None:
        """Do everything that the engine owes, and set the alarm for what it will owe.

        ``now``: the time, for who has just asked for it.
        """
        if self._pumping:
            self._again = True  # called by a handler of an event: the pump below it goes round once more
            return
        self._pumping = True
        engine, transmits, outbox = self.engine, self.engine.transmits, self.engine.outbox
        perform, deliver = self._perform, self._sink.deliver
        try:
            for _ in range(MAX_TURNS):
                self._again = False
                due = engine.advance(trio.current_time() if now is None else now)
                now = None
                if transmits:
                    self._transmit(transmits)
                if outbox:
                    while outbox:
                        output = outbox.popleft()
                        act = perform.get(type(output))
                        if act is not None:
                            act(output)
                        else:
                            deliver(output)
                    self._sink.settled()
                if not self._again:
                    break
            else:
                raise AssertionError("engine and driver never settle")
        except BaseException:
            self.broken = True
            raise
        finally:
            self._pumping = False
        if due < self._due:  # an alarm that is too early does no harm, and setting one for each packet would cost
            self._due = self._sleep.deadline = due

    def inject(self, output: Any) -> None:
        """Deliver an output as if the engine had made it, in its turn."""
        self.engine.outbox.append(output)
        self.pump()

    def pump_soon(self) -> None:
        """Pump once the tasks that can run now have had their turn: what they give leaves together, at the cost of one
        pump. For media, of which many tracks are written at the same moment."""
        task, self._dozing = self._dozing, None
        if task is not None:  # else it is on its way
            trio.lowlevel.reschedule(task)

    async def _timers(self) -> None:
        """Pump when something is due, and when ``pump_soon`` asks for it."""
        task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._dozing = None
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            with self._sleep:
                while True:
                    self._dozing = task
                    await trio.lowlevel.wait_task_rescheduled(abort)
                    self.pump()
            self._sleep = trio.CancelScope()
            self._due = INF
            self.pump()

    async def _listen(self, news: NetworkNews) -> None:
        """Note what the kernel tells, until the driver is shut."""
        try:
            while True:
                await news.wait()
                self._routed = True
                self._doubt.set()
                await trio.sleep(LOOK_AGAIN)  # a change comes in several pieces
        finally:
            news.close()

    async def _watch(self, interfaces: list[Interface]) -> None:
        """Tell the engine when addresses or routes have changed.

        They are looked at when the kernel tells of a change, when sending fails, and now and then.
        """
        while True:
            with trio.move_on_after(WATCH):
                await self._doubt.wait()
            self._doubt = trio.Event()
            routed, self._routed = self._routed, False
            found = self._list_interfaces()
            if routed or set(found) != set(interfaces):
                interfaces = found
                self.engine.networks_changed(found, trio.current_time())
                self.pump()
            await trio.sleep(LOOK_AGAIN)

    # ------------------------------------------------------------------ datagrams out

    def _transmit(self, transmits: deque[Transmit]) -> None:
        ports = self._ports
        while transmits:
            transmit = transmits.popleft()
            port = ports.get(transmit.port)
            if port is None:
                self._transmit_stream(transmit)
            elif transmits and port.send_run is not None and len(transmits[0].data) == len(transmit.data):
                self._send_run(port, take_run(transmit, transmits))
            else:
                self._send(port, transmit)

    def _send(self, port: _OpenPort, transmit: Transmit) -> None:
        if port.backlog:
            self._hold(port, transmit)
            return
        try:
            self.sent_bytes += port.sendto(transmit.data, transmit.addr)
            self.sent += 1
        except BlockingIOError:
            self._block(port, transmit)
        except OSError as error:
            self._send_failed(transmit, error)

    def _send_run(self, port: _OpenPort, run: list[Transmit]) -> None:
        """Send datagrams of one size by one call; one by one where that is refused, which also tells why."""
        first = run[0]
        if len(run) > 1 and not port.backlog and port.send_run is not None:
            try:
                self.sent_bytes += port.send_run([transmit.data for transmit in run], len(first.data), first.addr)
                self.sent += len(run)
                return
            except BlockingIOError:
                pass
            except OSError:
                port.send_run = None  # not every network card and tunnel can do it
        for transmit in run:
            self._send(port, transmit)

    def _transmit_stream(self, transmit: Transmit) -> None:
        stream = self._streams.get(transmit.port)
        if stream is None:
            self.counters.add("port_closed")
            return
        was_full = stream.full
        if stream.send(transmit.data, transmit.keep):
            self.sent += 1
            self.sent_bytes += len(transmit.data)
        else:
            self.counters.add("dropped_backlog" if transmit.keep else "dropped_stale")
        if stream.full and not was_full:
            self.engine.port_blocked(transmit.port, trio.current_time())
            self._again = True

    def _send_failed(self, transmit: Transmit, error: OSError) -> None:
        self.counters.add("send_failed")
        self._doubt.set()
        self.engine.port_send_failed(transmit.port, transmit.addr, error.strerror or str(error), trio.current_time())
        self._again = True

    def _block(self, port: _OpenPort, transmit: Transmit) -> None:
        """The socket is full: keep what must not be lost until it takes datagrams again."""
        self._hold(port, transmit)
        if port.backlog:
            self.engine.port_blocked(transmit.port, trio.current_time())
            self._again = True
            self._nursery.start_soon(self._flush, transmit.port, port, name="trio_client flush")

    def _hold(self, port: _OpenPort, transmit: Transmit) -> None:
        if not transmit.keep:
            self.counters.add("dropped_stale")
        elif len(port.backlog) >= BACKLOG:
            self.counters.add("dropped_backlog")
        else:
            port.backlog.append(transmit)

    async def _flush(self, number: int, port: _OpenPort) -> None:
        backlog = port.backlog
        try:
            while backlog:
                await port.port.wait_writable()
                self._flush_some(port)
        except trio.ClosedResourceError:  # the port was closed meanwhile
            return
        self.engine.port_writable(number, trio.current_time())
        self.pump()

    def _flush_some(self, port: _OpenPort) -> None:
        backlog = port.backlog
        while backlog:
            transmit = backlog[0]
            try:
                self.sent_bytes += port.sendto(transmit.data, transmit.addr)
                self.sent += 1
            except BlockingIOError:
                return
            except OSError as error:
                self._send_failed(transmit, error)
            backlog.popleft()

    # ------------------------------------------------------------------ datagrams in

    async def _receive(self, number: int, opened: _OpenPort) -> None:
        port = opened.port
        recvfrom, six = port.recvfrom, ":" in port.address[0]
        handle = self.engine.port_handler(number)
        current_time = trio.current_time
        pace, total, fresh, most = Pace(), 0, 0, BURST
        try:
            with opened.scope:
                while True:
                    if pace.steady and fresh:  # else it pauses by itself
                        await trio.sleep(pace.pause)
                    else:
                        await port.wait_readable()
                    now, before, more = current_time(), total, True
                    while more:
                        count = size = errors = 0
                        for _ in range(most):
                            try:
                                data, addr = recvfrom(DATAGRAM_BYTES)
                            except BlockingIOError:
                                more = False
                                break
                            except OSError:  # an ICMP error of something sent before, on some systems
                                errors += 1
                                continue
                            count += 1
                            size += len(data)
                            handle(number, data, (addr[0].partition("%")[0], addr[1]) if six else addr, now)
                        if errors:
                            self.counters.add("receive_failed", errors)
                            if errors == BURST:
                                self._lost(number)
                                return
                        if count:
                            self.received += count
                            self.received_bytes += size
                            total += count
                            self.pump(now)
                            pace.judge(data, size / count)
                            pace.note(total, self.sent, now)
                            if pace.steady and self.engine.impatient(now):
                                pace.steady = False
                        if more and most == BURST:
                            await trio.lowlevel.checkpoint()
                            now = current_time()
                        most = BURST
                    fresh = total - before
                    most = BURST if fresh > 1 else 1  # where they come one by one, each is dealt with at once
        finally:
            port.close()

    def _lost(self, number: int) -> None:
        """A socket gives nothing but errors: its interface has gone."""
        self._ports.pop(number, None)
        self.engine.port_failed(number, "the socket can no longer be read", trio.current_time())
        self.pump()

    # ------------------------------------------------------------------ requests: ports

    def _open_udp(self, request: OpenUdp) -> None:
        now = trio.current_time()
        self._again = True
        try:
            port = self._open_port(request.host, request.low, request.high)
        except OSError as error:
            self.engine.port_failed(request.port, error.strerror or str(error), now)
            return
        opened = self._ports[request.port] = _OpenPort(port)
        self._nursery.start_soon(self._receive, request.port, opened, name=f"trio_client port {request.port}")
        self.engine.port_opened(request.port, port.address, now)

    def _open_stream(self, request: OpenStream) -> None:
        stream = self._streams[request.port] = self._stream_factory(request)
        self._nursery.start_soon(self._run_stream, request, stream, name=f"trio_client port {request.port}")

    async def _run_stream(self, request: OpenStream, stream: Stream) -> None:
        engine, port, source = self.engine, request.port, request.addr

        def opened(address: Address) -> None:
            engine.port_opened(port, address, trio.current_time())
            self.pump()

        def received(data: bytes) -> None:
            self.received += 1
            self.received_bytes += len(data)
            engine.handle_datagram(port, data, source, trio.current_time())
            self.pump()

        def drained() -> None:
            engine.port_writable(port, trio.current_time())
            self.pump()

        try:
            reason = await stream.run(opened, received, drained)
        except StreamError as error:
            reason = str(error)
        if self._streams.pop(port, None) is not None:  # not closed by the engine
            engine.port_failed(port, reason, trio.current_time())
            self.pump()

    def _close_port(self, request: ClosePort) -> None:
        # The receive task owns the socket: closing it here would let that task wait on a descriptor that is gone.
        if (opened := self._ports.pop(request.port, None)) is not None:
            opened.scope.cancel()
        elif (stream := self._streams.pop(request.port, None)) is not None:
            stream.close()

    # ------------------------------------------------------------------ requests: signalling and names

    def _open_signal(self, request: OpenSignal) -> None:
        link = self._links[request.signal] = self._open_link(request)
        if self._links_gone.is_set():
            self._links_gone = trio.Event()
        self._nursery.start_soon(self._run_link, request.signal, link, name="trio_client signalling")

    async def _run_link(self, signal: int, link: Link) -> None:
        engine = self.engine

        def opened() -> None:
            engine.signal_opened(signal, trio.current_time())
            self.pump()

        def received(message: bytes) -> None:
            engine.signal_received(signal, message, trio.current_time())
            self.pump()

        try:
            reason = await link.run(opened, received)
        except SignalError as error:
            engine.signal_failed(signal, error.failure, trio.current_time())
        else:
            engine.signal_closed(signal, reason, trio.current_time())
        finally:
            del self._links[signal]
            if not self._links:
                self._links_gone.set()
        self.pump()

    def _send_signal(self, request: SendSignal) -> None:
        if (link := self._links.get(request.signal)) is not None:
            link.send(request.data)

    def _close_signal(self, request: CloseSignal) -> None:
        if (link := self._links.get(request.signal)) is not None:
            link.close()

    def _resolve(self, request: Resolve) -> None:
        self._nursery.start_soon(self._look_up, request, name="trio_client lookup")

    async def _look_up(self, request: Resolve) -> None:
        addresses = await self._lookup(request.host)
        self.engine.resolved(request.token, addresses, trio.current_time())
        self.pump()

    def _need_token(self, request: NeedToken) -> None:
        self._nursery.start_soon(self._ask_token, request, name="trio_client token source")

    async def _ask_token(self, request: NeedToken) -> None:
        """Ask the user's source. Whatever goes wrong there is a reason to try again, not the end of the room."""
        source, number = self._token_source, request.request
        assert source is not None
        try:
            with trio.fail_after(request.timeout):
                token = await source()
            if not isinstance(token, str):
                raise TypeError(f"it returned {type(token).__name__}, not str")
            self.engine.token_renewed(number, token, trio.current_time())
        except Exception as error:
            late = isinstance(error, trio.TooSlowError) and not str(error)
            why = f"no answer within {request.timeout:g} s" if late else f"{type(error).__name__}: {error}"
            self.engine.token_failed(number, f"The token source failed: {why}", trio.current_time())
        self.pump()
