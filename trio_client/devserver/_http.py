"""One TCP connection of the development server: an HTTP request, which may turn into a WebSocket.

A connection carries one request. Every wait and every size is bounded, since anything at all may connect.
"""

from __future__ import annotations

import math
from contextlib import suppress
from http import HTTPStatus
from typing import Protocol

import h11
import trio
from attrs import field, frozen
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping
from wsproto.utilities import LocalProtocolError, RemoteProtocolError, generate_accept_token

from .._core import SFU_HTTP_BODY, SFU_MESSAGE, HttpResponse

REQUEST_TIMEOUT = 10.0
"""Seconds for the whole of a request, and again for its answer."""
MAX_HEAD = 1 << 20
"""Bytes of a request's first line and headers: the address may carry the client's offer."""
MAX_QUEUE = 1024
"""Messages that may wait to be written; one more cuts the link, since the client does not read."""
MAX_WAITING = 16 << 20
"""Bytes of them together."""
CLOSE_TIMEOUT = 1.0
"""Seconds for the last messages and the closing handshake."""
READ_BYTES = 65536


@frozen
class HttpRequest:
    """A whole request. ``target`` is path and query, which may hold a token."""

    method: str
    target: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


class Site(Protocol):
    """What the connections are for."""

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to a plain request. It comes at once, or when a participant that is called has answered."""

    def open_signal(self, request: HttpRequest, link: SignalLink) -> HttpResponse | None:
        """None lets the WebSocket in; otherwise the refusal."""

    def signal_received(self, link: SignalLink, data: bytes) -> None:
        """A binary message has come."""

    def signal_closed(self, link: SignalLink) -> None:
        """The link is gone; called once for each that was let in."""


async def serve_connection(site: Site, stream: trio.SocketStream) -> None:
    """Read one request from a new connection and answer it."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    scope = trio.CancelScope(deadline=trio.current_time() + REQUEST_TIMEOUT)
    with suppress(trio.BrokenResourceError, _Gone), scope:
        try:
            request, key = await _read_request(http, stream)
        except h11.RemoteProtocolError as error:
            if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                status = HTTPStatus(error.error_status_hint)
                await _write_answer(http, stream, HttpResponse.plain(status, status.phrase))
            return
        if key:
            link = SignalLink(stream)
            refusal = site.open_signal(request, link)
            if refusal is None:
                scope.deadline = math.inf
                await link.run(http, key, site)
            else:
                await _write_answer(http, stream, refusal)
        else:
            scope.deadline = math.inf
            answer = await site.answer(request)
            scope.deadline = trio.current_time() + REQUEST_TIMEOUT
            await _write_answer(http, stream, answer, bare=request.method == "HEAD")


class _Gone(Exception):
    """The connection ended before its request was whole."""


async def _read_request(http: h11.Connection, stream: trio.abc.Stream) -> tuple[HttpRequest, bytes]:
    """The request, and the key of the WebSocket that it asks for, if it does."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                await stream.send_all(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            data = await stream.receive_some(READ_BYTES)
            if not data:
                raise _Gone
            http.receive_data(bytes(data))
        elif isinstance(event, h11.Request):
            head = event
            if head.method == b"CONNECT":  # after any answer but an error h11 would take what follows for a tunnel
                raise h11.RemoteProtocolError("no tunnels", error_status_hint=405)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > SFU_HTTP_BODY:
                raise h11.RemoteProtocolError("body too long", error_status_hint=413)
        else:
            break
    if not isinstance(event, h11.EndOfMessage) or head is None:
        raise _Gone
    headers = tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers])
    request = HttpRequest(head.method.decode(), head.target.decode("latin-1"), headers, bytes(body))
    named = {name.lower(): value for name, value in headers}
    wanted = request.method == "GET" and named.get("upgrade", "").lower() == "websocket"
    return request, named.get("sec-websocket-key", "").encode() if wanted else b""


async def _write_answer(
    http: h11.Connection, stream: trio.SocketStream, answer: HttpResponse, *, bare: bool = False
) -> None:
    """``bare``: without the body, as HEAD is answered (RFC 9110 section 9.3.2)."""
    headers = [*answer.headers, ("Connection", "close")]
    if answer.status != 204:
        headers.append(("Content-Length", str(len(answer.body))))
    data = http.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    data += http.send(h11.Data(data=answer.body)) or b"" if answer.body and not bare else b""
    await stream.send_all(data + (http.send(h11.EndOfMessage()) or b""))
    # A client that still sends would see a reset in place of the answer, were the connection closed now.
    await stream.send_eof()
    with suppress(trio.BrokenResourceError), trio.move_on_after(CLOSE_TIMEOUT):
        while await stream.receive_some(READ_BYTES):
            pass


class SignalLink:
    """The server's end of a WebSocket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._frames = Connection(ConnectionType.SERVER)
        self._scope = trio.CancelScope()
        self._outgoing, self._queue = trio.open_memory_channel[bytes](MAX_QUEUE)
        self._waiting = 0

    # ------------------------------------------------------------------ what the server calls

    def send(self, data: bytes) -> None:
        """Queue a message. Never blocks; does nothing on a link that ends."""
        self._put(BytesMessage(data))

    def close(self, code: int = 1000) -> None:
        """Write what is queued, then close."""
        self._put(CloseConnection(code))
        self._outgoing.close()

    def cut(self) -> None:
        """End the connection without a word, as a network does."""
        self._scope.cancel()

    def _put(self, event: Event) -> None:
        try:
            data = self._frames.send(event)
            self._outgoing.send_nowait(data)
        except trio.WouldBlock:
            self.cut()
        except (trio.ClosedResourceError, trio.BrokenResourceError, LocalProtocolError):
            pass  # it has ended, or its end was said
        else:
            self._waiting += len(data)
            if self._waiting > MAX_WAITING:
                self.cut()

    # ------------------------------------------------------------------ life

    async def run(self, http: h11.Connection, key: bytes, site: Site) -> None:
        """Say yes to the handshake, and be the link until it ends."""
        try:
            with self._scope:
                accept = [
                    ("Upgrade", "websocket"),
                    ("Connection", "Upgrade"),
                    ("Sec-WebSocket-Accept", generate_accept_token(key).decode()),
                ]
                await self._stream.send_all(
                    http.send(h11.InformationalResponse(status_code=101, headers=accept)) or b""
                )
                self._frames.receive_data(http.trailing_data[0])
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read(site)
                    self._outgoing.close()
                    self._hurry()
        finally:
            self._outgoing.close()
            self._queue.close()
            site.signal_closed(self)

    def _hurry(self) -> None:
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + CLOSE_TIMEOUT)

    async def _write(self) -> None:
        try:
            async for data in self._queue:
                await self._stream.send_all(data)
                self._waiting -= len(data)
        except trio.BrokenResourceError:
            self.cut()
        else:
            self._hurry()  # the client may answer our close frame, or hang up

    async def _read(self, site: Site) -> None:
        """Read until the client closes, breaks the protocol or is gone."""
        message = bytearray()
        with suppress(trio.BrokenResourceError, RemoteProtocolError):
            while True:
                for event in self._frames.events():
                    match event:
                        case BytesMessage():
                            message += event.data
                            if len(message) > SFU_MESSAGE:
                                self._put(CloseConnection(1009))
                                site.signal_received(self, bytes(message))  # which ends the session
                                return
                            if event.message_finished:
                                site.signal_received(self, bytes(message))
                                message.clear()
                        case Ping():
                            self._put(event.response())
                        case CloseConnection():
                            self._put(event.response())
                            return
                data = await self._stream.receive_some(READ_BYTES)
                if not data:
                    return
                self._frames.receive_data(bytes(data))
