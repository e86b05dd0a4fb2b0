"""A signalling server whose every move a test writes: HTTP/1.1 and WebSocket over real loopback sockets.

    async with serve(refuse(401, "invalid API key")) as server:
        trio_client.connect(server.url, TOKEN)

A script is an async function of a Visit (one request and its connection). What it does not answer is cut off.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError

from sansio import proto

UPGRADED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "


def accepting(key: str, more: str = "") -> bytes:
    """The answer that accepts a WebSocket handshake (RFC 6455 section 4.2.2), with more lines of header."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return f"{UPGRADED}{base64.b64encode(digest).decode()}\r\n{more}\r\n".encode()


class Visit:
    """One request, and the means to answer it."""

    def __init__(self, stream: trio.abc.Stream, head: bytes) -> None:
        self.stream = stream
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target = lines[0].split(" ")[:2]
        self.path = urlsplit(self.target).path
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        self.frames = Connection(ConnectionType.SERVER)
        self._messages: deque[bytes] = deque()
        self._part = bytearray()
        self._sending = trio.Lock()
        self._ended = False

    @property
    def plain(self) -> bool:
        """Whether it asks for no WebSocket."""
        return "upgrade" not in self.headers

    async def raw(self, data: bytes) -> None:
        """These bytes, whatever they are."""
        async with self._sending:
            await self.stream.send_all(data)

    async def answer(self, status: int, body: str = "", headers: Mapping[str, str] | None = None) -> None:
        """A plain HTTP answer."""
        fields = {"Content-Length": str(len(body.encode())), **(headers or {})}
        head = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        await self.raw(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n{body}".encode())

    async def upgrade(self, more: str = "") -> None:
        """Accept the WebSocket, with more lines of header."""
        await self.raw(accepting(self.headers["sec-websocket-key"], more))

    async def say(self, kind: str, message: Any) -> None:
        """A signalling message: the member ``kind`` of SignalResponse."""
        await self.binary(proto.rtc.SignalResponse(**{kind: message}).SerializeToString())

    async def binary(self, data: bytes) -> None:
        """A binary frame."""
        await self.raw(self.frames.send(BytesMessage(data)))

    async def text(self, data: str) -> None:
        """A text frame."""
        await self.raw(self.frames.send(TextMessage(data)))

    async def goodbye(self, code: int, reason: str = "") -> None:
        """A close frame."""
        with suppress(LocalProtocolError):  # the other end may have closed first
            await self.raw(self.frames.send(CloseConnection(code, reason)))

    async def close(self, code: int, reason: str = "") -> None:
        """A close frame; then the connection, once the other end has answered."""
        await self.goodbye(code, reason)
        await self.drain()

    async def message(self) -> bytes | None:
        """The next message of the client, None when it has ended; its pings and its close frame are answered."""
        while not self._messages and not self._ended:
            data = await self.stream.receive_some()
            self.frames.receive_data(bytes(data) if data else None)
            for event in self.frames.events():
                if isinstance(event, BytesMessage):
                    self._part += event.data
                    if event.message_finished:
                        self._messages.append(bytes(self._part))
                        self._part.clear()
                elif isinstance(event, CloseConnection):
                    self._ended = True
                    with suppress(LocalProtocolError):  # our own close frame was first
                        await self.raw(self.frames.send(event.response()))
                else:
                    assert isinstance(event, Ping), event
                    await self.raw(self.frames.send(event.response()))
        return self._messages.popleft() if self._messages else None

    async def request(self) -> Any:
        """The same, as a SignalRequest."""
        data = await self.message()
        return None if data is None else proto.rtc.SignalRequest.FromString(data)

    async def drain(self) -> list[str]:
        """Read until the client ends: the kinds of its requests."""
        kinds = []
        with suppress(trio.BrokenResourceError):
            while (request := await self.request()) is not None:
                kinds.append(str(request.WhichOneof("message")))
        return kinds

    async def silence(self) -> None:
        """Read, and say nothing, until the client gives up."""
        while await self.stream.receive_some():
            pass


Script = Callable[[Visit], Awaitable[object]]


class ScriptedServer:
    """A running server. ``visits`` has every request so far; ``open`` is how many connections there are."""

    def __init__(self, script: Script, scheme: str, host: str) -> None:
        self.script = script
        self.scheme = scheme
        self.host = host
        self.port = 0
        self.open = 0
        self.connections = 0
        self.visits: list[Visit] = []
        self._left = trio.Event()
        self.stop: Callable[[], None] = lambda: None
        """Take no more connections."""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [visit.path for visit in self.visits]

    async def gone(self) -> None:
        """Wait until every client has closed its connection."""
        with trio.fail_after(20):
            while self.open:
                await self._left.wait()

    async def handle(self, stream: trio.abc.Stream) -> None:
        self.open += 1
        self.connections += 1
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                head = b""
                while b"\r\n\r\n" not in head:
                    data = await stream.receive_some()
                    if not data:
                        return
                    head += data
                    if not head[:1].isalpha():  # a TLS handshake, say
                        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                        return
                visit = Visit(stream, head.partition(b"\r\n\r\n")[0])
                self.visits.append(visit)
                await self.script(visit)
                await stream.aclose()
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            self.open -= 1
            self._left.set()
            self._left = trio.Event()


@asynccontextmanager
async def serve(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[ScriptedServer]:
    """Run a script for every connection to a free port."""
    server = ScriptedServer(script, "wss" if tls else "ws", host)
    (listener,) = await trio.open_tcp_listeners(0, host=host)
    server.port = listener.socket.getsockname()[1]
    listening: Any = listener if tls is None else trio.SSLListener(listener, tls, https_compatible=True)
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            with trio.CancelScope() as scope:
                server.stop = scope.cancel
                await trio.serve_listeners(server.handle, [listening], handler_nursery=nursery)

        nursery.start_soon(listen)
        yield server
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------ scripts


def refuse(status: int, body: str = "", headers: Mapping[str, str] | None = None) -> Script:
    """The same answer to everything."""

    async def script(visit: Visit) -> None:
        await visit.answer(status, body, headers)

    return script


def hide(status: int, plain_status: int, plain_body: str) -> Script:
    """No body for a WebSocket; another answer for who asks without one, at the path for that."""

    async def script(visit: Visit) -> None:
        if visit.plain and visit.path.endswith("/validate"):
            await visit.answer(plain_status, plain_body)
        else:
            await visit.answer(status)

    return script


def bytes_and_hang_up(data: bytes) -> Script:
    """These bytes in place of an HTTP answer."""

    async def script(visit: Visit) -> None:
        await visit.raw(data)

    return script


async def silent(visit: Visit) -> None:
    """No answer to the handshake."""
    await visit.silence()


def upgraded(rest: Script) -> Script:
    """Accept the WebSocket, and go on with another script."""

    async def script(visit: Visit) -> None:
        if visit.plain:
            await visit.answer(200, "success")
        else:
            await visit.upgrade()
            await rest(visit)

    return script


@upgraded
async def no_first_message(visit: Visit) -> None:
    """An open WebSocket, and nothing else."""
    await visit.drain()


def drip(data: bytes, seconds: float) -> Script:
    """An answer byte by byte."""

    async def script(visit: Visit) -> None:
        for byte in data:
            await visit.raw(bytes([byte]))
            await trio.sleep(seconds)
        await visit.silence()

    return script


def closes(code: int, reason: str = "") -> Script:
    """Closes before the first message."""

    @upgraded
    async def script(visit: Visit) -> None:
        await visit.close(code, reason)

    return script


@upgraded
async def drops(visit: Visit) -> None:
    """Ends the connection without a close frame."""


def leaves(reason: int, action: int = 0) -> Script:
    """The first message is a leave."""

    @upgraded
    async def script(visit: Visit) -> None:
        leave = proto.rtc.LeaveRequest()
        leave.reason, leave.action = reason, action  # type: ignore[assignment]
        await visit.say("leave", leave)
        await visit.drain()

    return script


def first(kind: str, message: Any) -> Script:
    """A first message that is none."""

    @upgraded
    async def script(visit: Visit) -> None:
        await visit.say(kind, message)
        await visit.drain()

    return script


def frames(*sent: bytes | str) -> Script:
    """Frames in place of a first message: binary or text."""

    @upgraded
    async def script(visit: Visit) -> None:
        for data in sent:
            await (visit.text(data) if isinstance(data, str) else visit.binary(data))
        await visit.drain()

    return script


def join_response() -> Any:
    """A join response without media behind it."""
    join = proto.rtc.JoinResponse(ping_interval=1, ping_timeout=3)
    join.room.sid, join.room.name = "RM_scripted", "room"
    join.participant.sid, join.participant.identity = "PA_scripted", "ours"
    join.server_info.version = "scripted"
    return join


def joins(then: Script) -> Script:
    """Lets the client in, and goes on with another script; no media will ever connect."""

    @upgraded
    async def script(visit: Visit) -> None:
        await visit.say("join", join_response())
        await then(visit)

    return script


async def keeps_alive(visit: Visit) -> None:
    """Answers pings and the leave, as a server does."""
    while (request := await visit.request()) is not None:
        if request.HasField("ping_req"):
            pong = proto.rtc.Pong(last_ping_timestamp=request.ping_req.timestamp)
            await visit.say("pong_resp", pong)
        elif request.HasField("leave"):
            await visit.close(1000)
            return


async def no_pong(visit: Visit) -> None:
    """Reads, and answers nothing."""
    await visit.drain()


def paths(routes: Mapping[str, Script], otherwise: Script | None = None) -> Script:
    """A script for each path."""
    missing = otherwise or refuse(404, "404 page not found")

    async def script(visit: Visit) -> None:
        await routes.get(visit.path, missing)(visit)

    return script


def after(seconds: float, then: Script) -> Script:
    """Wait, then go on."""

    async def script(visit: Visit) -> None:
        await trio.sleep(seconds)
        await then(visit)

    return script
