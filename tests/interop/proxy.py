"""A relay of TCP in front of a server, whose connections can be cut. Media does not go through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

from .servers import Server


class Proxy:
    """``url`` is the server's as seen through it. It may refuse connections, or swallow what comes through them."""

    def __init__(self, server: Server, host: str) -> None:
        target = urlsplit(server.url)
        assert target.hostname
        assert target.port
        self._target = target.hostname, target.port
        self._host = host
        self.url = ""
        self.refusing = False
        self.stalled = False
        self._streams: list[trio.SocketStream] = []

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host=self._host)
            self.url = f"ws://{self._host}:{listener.socket.getsockname()[1]}"
            task_status.started()
            await trio.serve_listeners(self._relay, [listener], handler_nursery=nursery)

    async def _relay(self, near: trio.SocketStream) -> None:
        if self.refusing:
            await near.aclose()
            return
        far = await trio.open_tcp_stream(*self._target)
        self._streams += [near, far]
        async with near, far, trio.open_nursery() as nursery:
            for source, sink in ((near, far), (far, near)):
                nursery.start_soon(self._copy, source, sink, nursery.cancel_scope)

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in source:
                if not self.stalled:
                    await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def cut(self) -> None:
        """Close every connection."""
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.aclose()


@asynccontextmanager
async def proxied(server: Server, host: str = "127.0.0.1") -> AsyncIterator[Proxy]:
    """A proxy in front of the server, at an address of ours: a client takes the loopback for that of media as well."""
    proxy = Proxy(server, host)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        yield proxy
        nursery.cancel_scope.cancel()
