"""Stream ports: TCP and TLS connections that carry whole messages of the core, for TURN and ICE over TCP."""

from __future__ import annotations

import os
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio

from ._core import Address, OpenStream
from ._groups import leaves
from ._tls import TlsError, open_tls

OPEN_TIMEOUT = 10.0
"""Seconds for TCP and TLS together."""
FLUSH_TIMEOUT = 0.5
"""Seconds for what is queued when the port is closed."""
SOFT_LIMIT = 256 * 1024
"""Bytes that wait to be written before stale media is dropped and the core is told that the port is full."""
HARD_LIMIT = 1024 * 1024
"""Bytes that wait to be written before everything is dropped."""
READ_BYTES = 65536


class StreamError(Exception):
    """The connection could not be made."""


class Stream(Protocol):
    """A stream port as the driver sees it; tests put their own in its place."""

    async def run(
        self, opened: Callable[[Address], None], received: Callable[[bytes], None], drained: Callable[[], None]
    ) -> str:
        """Connect and read until the connection ends: why it ended. Raises StreamError when there never was one.

        ``opened`` gets our address; ``drained`` is called when a port that was full has written everything.
        """

    def send(self, data: bytes, keep: bool) -> bool:
        """Queue one message, if ``keep`` and what waits allow it: whether it was queued. Never blocks."""

    @property
    def full(self) -> bool:
        """Whether more waits to be written than should."""

    def close(self) -> None:
        """Write what is queued, within a moment, then close."""


StreamFactory = Callable[[OpenStream], Stream]


class TcpStream:
    """A Stream over TCP, or TLS. ``ssl_context`` None: the system's trusted authorities."""

    def __init__(self, request: OpenStream, ssl_context: ssl.SSLContext | None = None) -> None:
        self._request = request
        self._ssl_context = ssl_context
        self._queue: deque[bytes] = deque()
        self._waiting = 0
        self._full = False
        self._wake = trio.Event()
        self._closing = False
        self._scope = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._end = ""

    async def run(
        self, opened: Callable[[Address], None], received: Callable[[bytes], None], drained: Callable[[], None]
    ) -> str:
        stream: trio.abc.Stream | None = None
        with self._scope:
            try:
                with trio.move_on_after(OPEN_TIMEOUT):
                    stream, address = await self._connect()
                if stream is None:
                    raise StreamError(f"no connection within {OPEN_TIMEOUT:g} s")
                opened(address)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, stream, drained)
                    await self._read(stream, received)
                    if not self._closing:
                        nursery.cancel_scope.cancel()
            finally:
                if stream is not None:
                    await trio.aclose_forcefully(stream)
        return self._end or "closed by us"

    async def _connect(self) -> tuple[trio.abc.Stream, Address]:
        try:
            tcp = await trio.open_tcp_stream(*self._request.addr)
        except OSError as error:
            first = next(leaves(error.__cause__ or error))
            number = getattr(first, "errno", None)  # its own text repeats the address
            raise StreamError(os.strerror(number) if number else str(first)) from None
        address = tcp.socket.getsockname()[:2]
        if not self._request.tls:
            return tcp, address
        try:
            return await open_tls(tcp, self._request.server_name or self._request.addr[0], self._ssl_context), address
        except TlsError as error:
            raise StreamError(str(error)) from None

    async def _read(self, stream: trio.abc.Stream, received: Callable[[bytes], None]) -> None:
        with self._reading:
            try:
                while data := await stream.receive_some(READ_BYTES):
                    received(bytes(data))
            except trio.BrokenResourceError:
                self._end = "the connection broke"
            self._end = self._end or "closed by the other end"

    async def _write(self, stream: trio.abc.Stream, drained: Callable[[], None]) -> None:
        try:
            while True:
                while self._queue:
                    data = b"".join(self._queue)
                    self._queue.clear()
                    await stream.send_all(data)
                    self._waiting -= len(data)
                if self._closing:
                    return
                if self._full:
                    self._full = False
                    drained()
                await self._wake.wait()
                self._wake = trio.Event()
        except trio.BrokenResourceError:
            self._end = "the connection broke"
            self._reading.cancel()

    def send(self, data: bytes, keep: bool) -> bool:
        if self._closing or self._waiting + len(data) > (HARD_LIMIT if keep else SOFT_LIMIT):
            return False
        self._queue.append(data)
        self._waiting += len(data)
        self._full = self._full or self._waiting >= SOFT_LIMIT
        self._wake.set()
        return True

    @property
    def full(self) -> bool:
        return self._full

    def close(self) -> None:
        self._closing = True
        self._scope.deadline = trio.current_time() + FLUSH_TIMEOUT
        self._reading.cancel()
        self._wake.set()
