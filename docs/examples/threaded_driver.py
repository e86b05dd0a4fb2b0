"""A complete driver without any framework, and the README's program on it.

One thread owns the engine: it waits in ``select`` for sockets until the engine's deadline. Whatever blocks (names, TCP,
TLS, the WebSocket) has a thread of its own and posts its findings to the owner; nothing else may touch the engine.

LIVEKIT_URL=ws://localhost:7880 LIVEKIT_TOKEN=... python threaded_driver.py
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import ifaddr
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, RejectConnection, RejectData, Request

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

BURST = 64
"""Datagrams read from one socket before the engine gets its turn."""


class SignalLink:
    """A WebSocket on a blocking socket; ``run`` is its thread, ``send`` and ``close`` may be called by the owner."""

    def __init__(self, driver: ThreadedDriver, request: OpenSignal) -> None:
        self.driver = driver
        self.request = request
        self.lock = threading.Lock()  # the protocol object is used by two threads
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.socket: socket.socket | None = None
        self.message = b""
        self.opened = False

    def run(self) -> None:
        engine, number = self.driver.engine, self.request.signal
        try:
            self.connect()
            reason = self.read()
        except OSError as error:
            reason = str(error)
        finally:
            if self.socket is not None:
                self.socket.close()
        if self.opened:
            self.driver.post(engine.signal_closed, number, reason)
        elif reason:
            self.driver.post(engine.signal_failed, number, SignalFailure("tcp", reason))

    def connect(self) -> None:
        url = urlsplit(self.request.url)
        secure = url.scheme in ("wss", "https")
        address = (url.hostname or "", url.port or (443 if secure else 80))
        plain = socket.create_connection(address, timeout=self.request.timeout)
        self.socket = ssl.create_default_context().wrap_socket(plain, server_hostname=url.hostname) if secure else plain
        target = f"{url.path}?{url.query}" if url.query else url.path
        headers = [(name.encode(), value.encode()) for name, value in self.request.headers]
        self.write(Request(host=url.netloc, target=target, extra_headers=headers))

    def read(self) -> str:
        assert self.socket is not None
        while True:
            data = self.socket.recv(65536)
            with self.lock:
                self.protocol.receive_data(data or None)
                events = list(self.protocol.events())
            for event in events:
                if (end := self.handle(event)) is not None:
                    return end

    def handle(self, event: Any) -> str | None:
        engine, number = self.driver.engine, self.request.signal
        match event:
            case AcceptConnection():
                self.opened = True
                assert self.socket is not None
                self.socket.settimeout(None)
                self.driver.post(engine.signal_opened, number)
            case RejectConnection(status_code=status, has_body=has_body):
                if not has_body:
                    self.reject(status, b"")
                    return ""
                self.status = status
            case RejectData(data=data, body_finished=finished):
                self.message += data
                if finished:
                    self.reject(self.status, self.message)
                    return ""
            case BytesMessage(data=data, message_finished=finished):
                self.message += data
                if finished:
                    self.driver.post(engine.signal_received, number, self.message)
                    self.message = b""
            case Ping():
                self.write(event.response())
            case CloseConnection():
                with contextlib.suppress(Exception):
                    self.write(event.response())
                return "closed by the server"
        return None

    def reject(self, status: int, body: bytes) -> None:
        failure = SignalFailure("http", "the server did not open a WebSocket", status, body.decode(errors="replace"))
        self.driver.post(self.driver.engine.signal_failed, self.request.signal, failure)

    def write(self, event: Any) -> None:
        with self.lock:
            data = self.protocol.send(event)
        if self.socket is not None:
            self.socket.sendall(data)

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.write(BytesMessage(data))

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.write(CloseConnection(1000))


class ThreadedDriver:
    """Runs an engine on the thread that calls ``run``; ``post`` is for all others."""

    def __init__(self, engine: RoomEngine, on_output: Callable[[Any], None]) -> None:
        self.engine = engine
        self.on_output = on_output
        self.now = time.monotonic
        self.selector = selectors.DefaultSelector()
        self.posted: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
        self.waker, waiter = socket.socketpair()
        self.selector.register(waiter, selectors.EVENT_READ, lambda: waiter.recv(4096))
        self.waiter = waiter
        self.udp: dict[int, socket.socket] = {}
        self.streams: dict[int, socket.socket] = {}
        self.links: dict[int, SignalLink] = {}
        self.threads: list[threading.Thread] = []

    def post(self, method: Callable[..., Any], *args: Any) -> None:
        """Have the owner call ``method(*args, now)``; from any thread."""
        self.posted.put((method, args))
        with contextlib.suppress(OSError):
            self.waker.send(b"\0")

    def run(self) -> None:
        """Join, and return when the session has ended."""
        self.engine.start(interfaces(), self.now())
        while not self.engine.closed:
            due = self.pump()
            if self.engine.closed:
                break
            for key, _ in self.selector.select(None if due == float("inf") else max(0.0, due - self.now())):
                key.data()
            while not self.posted.empty():
                method, args = self.posted.get()
                method(*args, now=self.now())
        self.pump()
        for thread in self.threads:
            thread.join(timeout=2)
        for opened in (*self.udp.values(), *self.streams.values(), self.waker, self.waiter):
            opened.close()
        self.selector.close()

    # ------------------------------------------------------------------ the pump

    def pump(self) -> float:
        engine = self.engine
        while True:
            due = engine.advance(self.now())
            while engine.transmits:
                self.transmit(engine.transmits.popleft())
            if not engine.outbox:
                return due
            while engine.outbox:
                self.perform(engine.outbox.popleft())

    def transmit(self, transmit: Any) -> None:
        try:
            if (port := self.udp.get(transmit.port)) is not None:
                port.sendto(transmit.data, transmit.addr)
            elif (stream := self.streams.get(transmit.port)) is not None:
                stream.sendall(transmit.data)
        except BlockingIOError:
            pass  # lost, as datagrams may be
        except OSError as error:
            self.engine.port_send_failed(transmit.port, transmit.addr, str(error), self.now())

    def receive(self, number: int, port: socket.socket, handle: Callable[..., None]) -> None:
        now = self.now()
        for _ in range(BURST):
            try:
                data, addr = port.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError:
                continue
            handle(number, data, addr[:2], now)

    def perform(self, output: Any) -> None:
        match output:
            case OpenUdp():
                self.open_udp(output)
            case OpenStream():
                self.spawn(self.run_stream, output)
            case ClosePort(port=number):
                if (port := self.udp.pop(number, None)) is not None:
                    self.selector.unregister(port)
                    port.close()
                elif (stream := self.streams.pop(number, None)) is not None:
                    stream.close()
            case OpenSignal(signal=number):
                self.links[number] = SignalLink(self, output)
                self.spawn(self.links[number].run)
            case SendSignal(signal=number, data=data):
                self.links[number].send(data)
            case CloseSignal(signal=number):
                self.links.pop(number).close()
            case Resolve():
                self.spawn(self.resolve, output)
            case _:
                self.on_output(output)

    def spawn(self, work: Callable[..., None], *args: Any) -> None:
        self.threads.append(threading.Thread(target=work, args=args, daemon=True))
        self.threads[-1].start()

    # ------------------------------------------------------------------ requests

    def open_udp(self, request: OpenUdp) -> None:
        family = socket.AF_INET6 if ":" in request.host else socket.AF_INET
        port = socket.socket(family, socket.SOCK_DGRAM)
        port.setblocking(False)
        failure = "no port is free"
        for number in range(request.low, request.high + 1) if request.low else [0]:
            try:
                port.bind((request.host, number))
            except OSError as error:
                failure = str(error)
                continue
            self.udp[request.port] = port
            receive = partial(self.receive, request.port, port, self.engine.port_handler(request.port))
            self.selector.register(port, selectors.EVENT_READ, receive)
            self.engine.port_opened(request.port, port.getsockname()[:2], self.now())
            return
        port.close()
        self.engine.port_failed(request.port, failure, self.now())

    def run_stream(self, request: OpenStream) -> None:
        engine = self.engine
        try:
            stream = socket.create_connection(request.addr, timeout=10)
            if request.tls:
                name = request.server_name or request.addr[0]
                stream = ssl.create_default_context().wrap_socket(stream, server_hostname=name)
            stream.settimeout(None)
            self.streams[request.port] = stream
            self.post(engine.port_opened, request.port, stream.getsockname()[:2])
            while data := stream.recv(65536):
                self.post(engine.handle_datagram, request.port, data, request.addr)
            reason = "closed by the other end"
        except OSError as error:
            reason = str(error)
        self.post(engine.port_failed, request.port, reason)

    def resolve(self, request: Resolve) -> None:
        try:
            found = socket.getaddrinfo(request.host, None, type=socket.SOCK_DGRAM)
        except OSError:
            found = []
        self.post(self.engine.resolved, request.token, [str(entry[4][0]) for entry in found])


def interfaces() -> list[Interface]:
    """The addresses of this host."""
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            found.append(Interface(adapter.name, address, loopback=address == "::1" or address.startswith("127.")))
    return found


def main() -> None:
    engine = RoomEngine(
        os.environ["LIVEKIT_URL"],
        os.environ["LIVEKIT_TOKEN"],
        entropy=Entropy(os.urandom(32)),
        wall=WallClock(time.time(), time.monotonic()),
        identity=DtlsIdentity.generate(time.time()),
    )

    def on_output(output: Any) -> None:
        match output:
            case Connected():
                print("joined", engine.state.name, "as", engine.state.local_participant.identity)
                print("already here:", sorted(engine.state.remote_participants))
                engine.publish_data(b"hello from threaded", topic="chat", now=driver.now())
            case ParticipantConnected(participant=participant):
                print(participant.identity, "came")
            case ParticipantDisconnected(participant=participant):
                print(participant.identity, "left")
            case DataReadable():
                while (packet := engine.read_data()) is not None:
                    if isinstance(packet, DataReceived):
                        print(packet.identity or "the server", "says", packet.payload)
            case JoinFailed(error=error):
                print("could not join:", error)
            case Ended(reason=reason):
                print("ended:", reason.name)

    driver = ThreadedDriver(engine, on_output)
    signal.signal(signal.SIGINT, lambda *_: driver.post(engine.stop))
    driver.run()


if __name__ == "__main__":
    main()
