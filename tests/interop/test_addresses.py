"""Addresses of every form lead to the real server, here through a proxy like those that servers stand behind."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trustme

import trio_client
from trio_client import ConnectOptions, ServerUnreachable

from .ours import MODES, run

PREFIX = "/live/kit"
AUTHORITY = trustme.CA()


class Front:
    """Takes connections on one address, with TLS or without, and passes on requests that have the prefix."""

    def __init__(self, target: int, *, tls: bool) -> None:
        self.target = target
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        self.paths: list[str] = []
        if self.context is not None:
            AUTHORITY.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(self.context)

    async def relay(self, stream: trio.SocketStream) -> None:
        near: trio.abc.Stream = stream
        if self.context is not None:
            near = trio.SSLStream(stream, self.context, server_side=True)
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                data = await near.receive_some()
                if not data:
                    return
                head += data
        except trio.BrokenResourceError:  # a client that does not trust us
            return
        path = head.split()[1].decode()
        self.paths.append(path.partition("?")[0])
        assert path.startswith(PREFIX)
        far = await trio.open_tcp_stream("127.0.0.1", self.target)
        async with near, far, trio.open_nursery() as nursery:
            await far.send_all(head.replace(PREFIX.encode(), b"", 1))
            for source, sink in ((near, far), (far, near)):
                nursery.start_soon(self._copy, source, sink, nursery.cancel_scope)

    async def _copy(self, source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some():
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def fronted(target: int, host: str, *, tls: bool) -> AsyncIterator[tuple[Front, int]]:
    front = Front(target, tls=tls)
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        (listener,) = await trio.open_tcp_listeners(0, host=host)
        nursery.start_soon(trio.serve_listeners, front.relay, [listener])
        yield front, listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@MODES
@pytest.mark.parametrize(
    ("scheme", "host"),
    [("ws", "127.0.0.1"), ("http", "localhost"), ("wss", "localhost"), ("https", "127.0.0.1"), ("wss", "::1")],
)
def test_every_form_of_address(server, room, scheme, host, single):
    tls = scheme in ("wss", "https")

    async def scenario() -> None:
        trusting = ssl.create_default_context()
        AUTHORITY.configure_trust(trusting)
        options = ConnectOptions(single_peer_connection=single, ssl_context=trusting)
        target = int(server.url.rpartition(":")[2])
        listening = "127.0.0.1" if host == "localhost" else host
        async with fronted(target, listening, tls=tls) as (front, port):
            url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{PREFIX}"
            async with trio_client.connect(url, server.token(room, "ours"), options=options) as ours:
                await ours.local_participant.publish_data(b"hello", wait_acked=True)
                assert await trio.to_thread.run_sync(server.identities, room) == ["ours"]
            assert front.paths == [f"{PREFIX}/rtc/v1" if single else f"{PREFIX}/rtc"]

    run(scenario)


def test_an_authority_that_is_not_trusted(server, room):
    async def scenario() -> None:
        target = int(server.url.rpartition(":")[2])
        async with fronted(target, "127.0.0.1", tls=True) as (_, port):
            with pytest.raises(ServerUnreachable, match="certificate"):
                async with trio_client.connect(f"wss://localhost:{port}{PREFIX}", server.token(room, "ours")):
                    raise AssertionError("nobody vouches for this server")

    run(scenario)
