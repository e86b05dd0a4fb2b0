"""The small server on real loopback sockets: what a client meets that joins one for real, without a server program."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from wsproto.utilities import LocalProtocolError

from sansio.base.contract import CloseSignal, SendSignal
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.dtls.identity import DtlsIdentity
from sansio.sfu.server import PORT, AcceptSignal, RefuseSignal, ServerOptions, SfuServer
from sansio.sfu.token import Claims, mint
from trio_client._entropy import system_wall

from .scripted import ScriptedServer, Visit, serve

KEYS = {"key": "secret"}


class SfuHost:
    """A driver of SfuServer. ``lost(data)`` says which datagrams are lost, either way."""

    def __init__(self, wall: WallClock, options: dict[str, Any]) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(("127.0.0.1", 0))
        self.wall = wall
        self.machine = SfuServer(
            self.sock.getsockname(),
            ServerOptions(keys=KEYS, **options),
            entropy=Entropy(b"sfu host"),
            wall=wall,
            identity=DtlsIdentity.generate(wall.unix),
        )
        self.lost: Callable[[bytes], bool] = lambda data: False
        self.web: ScriptedServer
        self._visits: dict[int, Visit] = {}
        self._answers: dict[int, Any] = {}
        self._outgoing: dict[int, trio.MemorySendChannel[bytes | None]] = {}
        self._wake = trio.Event()

    @property
    def url(self) -> str:
        return self.web.url

    def token(self, identity: str = "ours", room: str = "room") -> str:
        """A token to join with."""
        claims = Claims(identity, room, "key", can_update_own_metadata=True)
        return mint(claims, KEYS["key"], self.wall.unix_at(trio.current_time()))

    def identities(self, room: str = "room") -> list[str]:
        """Who is in a room by the server's books."""
        found = self.machine._rooms.get(room)
        return sorted(found.participants) if found is not None else []

    # ------------------------------------------------------------------ WebSockets

    async def visit(self, visit: Visit) -> None:
        number = len(self.web.visits)
        headers = tuple(visit.headers.items())
        outgoing, queue = trio.open_memory_channel[bytes | None](1000)
        self._outgoing[number] = outgoing
        self.machine.signal_accepted(number, f"ws://host{visit.target}", headers, trio.current_time())
        self.pump()
        answer = self._answers.pop(number)
        try:
            if isinstance(answer, RefuseSignal):
                await visit.answer(answer.status, answer.body)
                return
            await visit.upgrade()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, visit, queue)
                with suppress(trio.BrokenResourceError):
                    while (data := await visit.message()) is not None:
                        self.machine.signal_received(number, data, trio.current_time())
                        self.pump()
                nursery.cancel_scope.cancel()
        finally:
            del self._outgoing[number]
            self.machine.signal_closed(number, "gone", trio.current_time())
            self.pump()

    async def _write(self, visit: Visit, queue: trio.MemoryReceiveChannel[bytes | None]) -> None:
        try:
            async for data in queue:
                if data is None:
                    await visit.goodbye(1000)
                else:
                    await visit.binary(data)
        except (trio.BrokenResourceError, LocalProtocolError):
            pass  # lost, or closed by the client: the reader notices

    # ------------------------------------------------------------------ datagrams and time

    def pump(self) -> None:
        machine = self.machine
        self._due = machine.advance(trio.current_time())
        while machine.transmits:
            transmit = machine.transmits.popleft()
            if not self.lost(transmit.data):
                self.sock.sendto(transmit.data, transmit.addr)
        while machine.outbox:
            match machine.outbox.popleft():
                case AcceptSignal(signal=signal) | RefuseSignal(signal=signal) as answer:
                    self._answers[signal] = answer
                case SendSignal(signal=signal, data=data):
                    if signal in self._outgoing:
                        self._outgoing[signal].send_nowait(data)
                case CloseSignal(signal=signal):
                    if signal in self._outgoing:
                        self._outgoing[signal].send_nowait(None)
        self._wake.set()

    async def receive(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.sock)
            data, addr = self.sock.recvfrom(2048)
            if not self.lost(data):
                self.machine.handle_datagram(PORT, data, addr, trio.current_time())
                self.pump()

    async def timers(self) -> None:
        self.pump()
        while True:
            self._wake = trio.Event()
            with trio.move_on_at(self._due):
                await self._wake.wait()
                continue
            self.pump()


@asynccontextmanager
async def sfu_host(**options: Any) -> AsyncIterator[SfuHost]:
    """A running server; ``options`` are of ServerOptions."""
    host = SfuHost(system_wall(), options)
    try:
        async with serve(host.visit) as host.web, trio.open_nursery() as nursery:
            nursery.start_soon(host.receive)
            nursery.start_soon(host.timers)
            yield host
            nursery.cancel_scope.cancel()
    finally:
        host.sock.close()
