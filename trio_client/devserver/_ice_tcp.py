"""One TCP connection for media: the server's end of ICE over TCP. The machine frames, and knows whose it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

WAITING_BYTES = 1 << 20
"""Bytes that may wait to be written; what comes beyond is dropped."""
READ_BYTES = 65536


class IceStream:
    """Reads until the other end is gone, or ``close`` is called."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._queue: deque[bytes] = deque()
        self._waiting = 0
        self._wake = trio.Event()
        self._scope = trio.CancelScope()

    async def run(self, received: Callable[[bytes], None]) -> None:
        """Be the connection."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read(received)
                nursery.cancel_scope.cancel()

    async def _read(self, received: Callable[[bytes], None]) -> None:
        try:
            while data := await self._stream.receive_some(READ_BYTES):
                received(bytes(data))
        except trio.BrokenResourceError:
            pass

    async def _write(self) -> None:
        try:
            while True:
                while self._queue:
                    data = b"".join(self._queue)
                    self._queue.clear()
                    await self._stream.send_all(data)
                    self._waiting -= len(data)
                self._wake = trio.Event()
                await self._wake.wait()
        except trio.BrokenResourceError:
            self.close()

    def send(self, data: bytes) -> bool:
        """Queue some bytes; False if too many wait already. Never blocks."""
        if self._waiting + len(data) > WAITING_BYTES:
            return False
        self._queue.append(data)
        self._waiting += len(data)
        self._wake.set()
        return True

    def close(self) -> None:
        """End the connection."""
        self._scope.cancel()
