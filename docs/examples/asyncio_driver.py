"""A complete driver for asyncio, and the README's program on it: join, say who is there, send, print what arrives.

LIVEKIT_URL=ws://localhost:7880 LIVEKIT_TOKEN=... python asyncio_driver.py

The WebSocket is aiohttp's; any client that can send headers does as well.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import ifaddr

from sansio import (
    ClosePort,
    CloseSignal,
    DataReadable,
    DtlsIdentity,
    Ended,
    Entropy,
    Interface,
    JoinFailed,
    OpenSignal,
    OpenStream,
    OpenUdp,
    Resolve,
    RoomEngine,
    SendSignal,
    SignalFailure,
    WallClock,
)
from sansio.events import Connected, DataReceived, ParticipantConnected, ParticipantDisconnected


class UdpPort(asyncio.DatagramProtocol):
    """One UDP socket of the engine."""

    transport: asyncio.DatagramTransport

    def __init__(self, driver: AsyncioDriver, number: int) -> None:
        self.driver = driver
        self.number = number
        self.handle = driver.engine.port_handler(number)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.handle(self.number, data, addr[:2], self.driver.now())
        self.driver.pump_soon()  # once a burst, not once a datagram

    def send(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)

    def close(self) -> None:
        self.transport.close()


class StreamPort:
    """One TCP or TLS connection of the engine."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def send(self, data: bytes, addr: tuple[str, int]) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()


class AsyncioDriver:
    """Runs an engine. ``on_output`` gets events, answers and endings, in order; it may call the engine."""

    def __init__(self, engine: RoomEngine, on_output: Callable[[Any], None]) -> None:
        self.engine = engine
        self.on_output = on_output
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.ports: dict[int, UdpPort | StreamPort] = {}
        self.signals: dict[int, asyncio.Queue[bytes | None]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None
        self.pump_is_due = False

    async def run(self) -> None:
        """Join, and return when the session has ended and everything is closed."""
        self.engine.start(interfaces(), self.now())
        self.pump()
        await self.ended.wait()
        if self.timer is not None:
            self.timer.cancel()
        await asyncio.wait([*self.tasks, asyncio.ensure_future(asyncio.sleep(0))], timeout=2)
        for task in self.tasks:
            task.cancel()
        for port in self.ports.values():
            port.close()

    def feed(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One input: call a method of the engine with the time, then do what it owes."""
        result = method(*args, **kwargs, now=self.now())
        self.pump_soon()
        return result

    # ------------------------------------------------------------------ the pump

    def pump_soon(self) -> None:
        if not self.pump_is_due:
            self.pump_is_due = True
            self.loop.call_soon(self.pump)

    def pump(self) -> None:
        self.pump_is_due = False
        engine = self.engine
        due = engine.advance(self.now())
        while engine.transmits:
            transmit = engine.transmits.popleft()
            if (port := self.ports.get(transmit.port)) is not None:
                port.send(transmit.data, transmit.addr)
        while engine.outbox:
            self.perform(engine.outbox.popleft())
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_at(due, self.pump) if due < float("inf") else None

    def perform(self, output: Any) -> None:
        match output:
            case OpenUdp():
                self.spawn(self.open_udp(output))
            case OpenStream():
                self.spawn(self.open_stream(output))
            case ClosePort(port=number):
                if (port := self.ports.pop(number, None)) is not None:
                    port.close()
            case OpenSignal():
                self.signals[output.signal] = asyncio.Queue()
                self.spawn(self.open_signal(output))
            case SendSignal(signal=number, data=data):
                if (queue := self.signals.get(number)) is not None:
                    queue.put_nowait(data)
            case CloseSignal(signal=number):
                if (queue := self.signals.get(number)) is not None:
                    queue.put_nowait(None)
            case Resolve():
                self.spawn(self.resolve(output))
            case _:
                self.on_output(output)
                if isinstance(output, Ended):
                    self.ended.set()

    def spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # ------------------------------------------------------------------ requests

    async def open_udp(self, request: OpenUdp) -> None:
        for local in range(request.low, request.high + 1) if request.low else [0]:
            try:
                transport, port = await self.loop.create_datagram_endpoint(
                    lambda: UdpPort(self, request.port), local_addr=(request.host, local)
                )
            except OSError as error:
                failure = str(error)
                continue
            self.ports[request.port] = port
            self.feed(self.engine.port_opened, request.port, transport.get_extra_info("sockname")[:2])
            return
        self.feed(self.engine.port_failed, request.port, failure)

    async def open_stream(self, request: OpenStream) -> None:
        context = ssl.create_default_context() if request.tls else None
        name = request.server_name or None if request.tls else None
        try:
            reader, writer = await asyncio.open_connection(*request.addr, ssl=context, server_hostname=name)
            self.ports[request.port] = StreamPort(writer)
            self.feed(self.engine.port_opened, request.port, writer.get_extra_info("sockname")[:2])
            while data := await reader.read(65536):
                self.feed(self.engine.handle_datagram, request.port, data, request.addr)
            reason = "closed by the other end"
        except OSError as error:
            reason = str(error)
        if request.port in self.ports or not self.ended.is_set():
            self.ports.pop(request.port, None)
            self.feed(self.engine.port_failed, request.port, reason)

    async def resolve(self, request: Resolve) -> None:
        try:
            found = await self.loop.getaddrinfo(request.host, None, type=2)
        except OSError:
            found = []
        self.feed(self.engine.resolved, request.token, [entry[4][0] for entry in found])

    async def open_signal(self, request: OpenSignal) -> None:
        engine, number = self.engine, request.signal
        queue, reason = self.signals[number], "closed"
        async with aiohttp.ClientSession() as session:
            try:
                async with asyncio.timeout(request.timeout):
                    socket = await session.ws_connect(request.url, headers=request.headers, max_msg_size=0)
            except aiohttp.WSServerHandshakeError as error:
                failure = SignalFailure("http", "the server did not open a WebSocket", error.status, error.message)
                self.feed(engine.signal_failed, number, failure)
                return
            except (OSError, aiohttp.ClientError, TimeoutError) as error:
                kind = "timeout" if isinstance(error, TimeoutError) else "tcp"
                self.feed(engine.signal_failed, number, SignalFailure(kind, f"no connection: {error}"))
                return
            async with socket:
                self.feed(engine.signal_opened, number)
                writer = self.loop.create_task(self.write_signal(socket, queue))
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        self.feed(engine.signal_received, number, message.data)
                writer.cancel()
        del self.signals[number]
        self.feed(engine.signal_closed, number, reason)

    async def write_signal(self, socket: aiohttp.ClientWebSocketResponse, queue: asyncio.Queue[bytes | None]) -> None:
        while (data := await queue.get()) is not None:
            await socket.send_bytes(data)
        await socket.close()


def interfaces() -> list[Interface]:
    """The addresses of this host."""
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            found.append(Interface(adapter.name, address, loopback=address == "::1" or address.startswith("127.")))
    return found


async def main() -> None:
    loop = asyncio.get_running_loop()
    engine = RoomEngine(
        os.environ["LIVEKIT_URL"],
        os.environ["LIVEKIT_TOKEN"],
        entropy=Entropy(os.urandom(32)),
        wall=WallClock(time.time(), loop.time()),
        identity=DtlsIdentity.generate(time.time()),
    )

    def on_output(output: Any) -> None:
        match output:
            case Connected():
                print("joined", engine.state.name, "as", engine.state.local_participant.identity)
                print("already here:", sorted(engine.state.remote_participants))
                driver.feed(engine.publish_data, b"hello from asyncio", topic="chat")
            case ParticipantConnected(participant=participant):
                print(participant.identity, "came")
            case ParticipantDisconnected(participant=participant):
                print(participant.identity, "left")
            case DataReadable():
                while (packet := engine.read_data()) is not None:
                    if isinstance(packet, DataReceived):
                        print(packet.identity or "the server", "says", packet.payload)
                driver.pump_soon()
            case JoinFailed(error=error):
                print("could not join:", error)
            case Ended(reason=reason):
                print("ended:", reason.name)

    driver = AsyncioDriver(engine, on_output)
    loop.add_signal_handler(signal.SIGINT, lambda: driver.feed(engine.stop))
    await driver.run()


if __name__ == "__main__":
    asyncio.run(main())
