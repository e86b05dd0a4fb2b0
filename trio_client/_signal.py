"""The signalling link: one WebSocket, opened, read, written and closed with every wait bounded.

trio-websocket does the framing. The TCP or TLS stream underneath is ours: connecting it apart tells name lookup, TCP
and TLS failures from each other, and closing it ourselves ends a link whose peer no longer answers.
"""

from __future__ import annotations

import itertools
import re
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import trio

from ._core import INF, OpenSignal, SignalFailure, explain_url
from ._groups import leaves
from ._http import get
from ._tasks import together
from ._tls import TlsError, open_tls

if TYPE_CHECKING:
    from trio_websocket import ConnectionClosed, WebSocketConnection

MAX_MESSAGE = 16 * 1024 * 1024
"""Longest message that is read; a longer one closes the link."""
MAX_QUEUE = 1024
"""Messages that may wait to be written; one more closes the link, since the server does not read."""
MAX_RESPONSE = 64 * 1024
"""Bytes of the handshake's HTTP answer, body included."""
MESSAGES_AHEAD = 32
"""Messages that are read from the socket before the ones before them were handed over."""
MAX_INTERIM = 8
"""Interim answers (HTTP 1xx) before the real one."""
READ_BYTES = 65536
CONNECT_AGAIN = 2.0
"""Seconds after which a TCP connection that is not answered is tried anew. The system repeats the first packet of each
after one second, and then later and later; so there is a packet every second that finds the end of a silence."""
EXPLAIN_TIMEOUT = 3.0
"""Seconds for asking the server once more, in plain HTTP, why it refuses the WebSocket."""
CLOSE_TIMEOUT = 1.0
"""Seconds for what is queued, the close frame and the peer's answer to it, all together."""


class SignalError(Exception):
    """The link could not be opened."""

    def __init__(self, failure: SignalFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class Link(Protocol):
    """A signalling link as the driver sees it; tests put their own in its place."""

    async def run(self, opened: Callable[[], None], received: Callable[[bytes], None]) -> str:
        """Open the link and read it until it ends: why it ended. Raises SignalError when it could not be opened."""

    def send(self, data: bytes) -> None:
        """Queue a message. Never blocks; does nothing on a link that ends."""

    def close(self) -> None:
        """Write what is queued, then close. A link that is not open yet is given up, unless something is queued."""


LinkFactory = Callable[[OpenSignal], Link]


class WebSocketLink:
    """A Link over ws:// or wss://. ``ssl_context`` None: the system's trusted authorities."""

    def __init__(self, request: OpenSignal, ssl_context: ssl.SSLContext | None = None) -> None:
        self._request = request
        self._ssl_context = ssl_context
        self._phase = "looking up the name or connecting"
        self.answer = bytearray()
        """What came before the handshake was done."""
        self._failure: SignalFailure | None = None
        self._asked = False
        self._open = False
        self._end = ""
        self._opening = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._written = trio.Event()
        self._outgoing, self._queue = trio.open_memory_channel[bytes](MAX_QUEUE)

    # ------------------------------------------------------------------ what the driver calls

    async def run(self, opened: Callable[[], None], received: Callable[[bytes], None]) -> str:
        stream: trio.abc.Stream | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._opening.deadline = trio.current_time() + self._request.timeout
                with self._opening:
                    stream = await self._connect()
                    socket = await self._handshake(nursery, stream)
                    self._open = True
                if not self._open:
                    nursery.cancel_scope.cancel()
                else:
                    if not self._end:
                        opened()
                    nursery.start_soon(self._write, socket)
                    await self._read(socket, received)
                    await self._finish(socket)
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            self._explain(group)
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)
            self._outgoing.close()
            self._queue.close()
        if not self._open:
            raise SignalError(await self._explained(self._failure or self._timed_out()))
        return self._end

    def send(self, data: bytes) -> None:
        try:
            self._outgoing.send_nowait(data)
        except trio.WouldBlock:
            self._stop(f"the server does not read: {MAX_QUEUE} messages wait to be written")
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass

    def close(self) -> None:
        if self._open:
            self._stop("closed by us")
        elif self._asked and self._outgoing.statistics().current_buffer_used:
            # The server may have let us in already: its answer is waited for a moment, so that it can be told.
            self._opening.deadline = min(self._opening.deadline, trio.current_time() + CLOSE_TIMEOUT)
            self._stop("closed by us")
        else:
            self._failure = self._failure or SignalFailure("protocol", "closed before it was open")
            self._opening.cancel()

    def _stop(self, reason: str) -> None:
        self._end = self._end or reason
        self._outgoing.close()
        self._reading.cancel()

    # ------------------------------------------------------------------ opening

    async def _connect(self) -> trio.abc.Stream:
        parts = urlsplit(self._request.url)
        secure = parts.scheme == "wss"
        host = parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        self._phase = "looking up the name or connecting"
        try:
            stream = await self._open_tcp(host, port)
        except OSError as error:
            raise self._failed(*_explain_connect(error)) from None
        except UnicodeError:
            raise self._failed("dns", "the host name is not a valid one") from None
        if not secure:
            return stream
        self._phase = "agreeing on TLS"
        try:
            return await open_tls(stream, host, self._ssl_context)
        except TlsError as error:
            raise self._failed("tls", str(error)) from None

    async def _open_tcp(self, host: str, port: int) -> trio.SocketStream:
        """Connect. Silence is answered by a fresh attempt every ``CONNECT_AGAIN``, in place of the one before.

        The first one goes on beside them where no media flows, since then the network may be one that takes longer than
        that. Every second one leaves from the address that media goes by, if there is one.
        """
        found: list[trio.SocketStream] = []

        async def attempt(local: str, patience: float) -> None:
            with trio.move_on_after(patience):
                try:
                    stream = await trio.open_tcp_stream(host, port, local_address=local or None)
                except OSError:
                    if not local:
                        raise
                    stream = await trio.open_tcp_stream(host, port)
                if found:  # both were answered at once
                    stream.socket.close()
                    return
                found.append(stream)
                attempts.cancel_scope.cancel()

        try:
            async with together() as attempts:
                attempts.start_soon(attempt, "", CONNECT_AGAIN if self._request.local else INF)
                await trio.sleep(CONNECT_AGAIN)
                start = trio.current_time()
                await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
                # it may be the name server that is slow
                patience = CONNECT_AGAIN + 2 * (trio.current_time() - start)
                for local in itertools.cycle((self._request.local, "")):
                    attempts.start_soon(attempt, local, patience)
                    await trio.sleep(CONNECT_AGAIN)
        except BaseException as error:
            if not found:
                raise
            if not isinstance(error, OSError):
                found[0].socket.close()
                raise
        return found[0]

    async def _handshake(self, nursery: trio.Nursery, stream: trio.abc.Stream) -> WebSocketConnection:
        import trio_websocket

        self._phase = "waiting for the WebSocket handshake"
        self._asked = True
        parts = urlsplit(self._request.url)
        host = parts.netloc.rpartition("@")[2]
        target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        return await trio_websocket.wrap_client_stream(
            nursery,
            _Guarded(stream, self),  # type: ignore[arg-type]  # any stream will do
            host,
            target,
            extra_headers=[(name.encode(), value.encode()) for name, value in self._request.headers],
            message_queue_size=MESSAGES_AHEAD,
            max_message_size=MAX_MESSAGE,
            receive_buffer_size=READ_BYTES,
        )

    async def _explained(self, failure: SignalFailure) -> SignalFailure:
        """A failure whose HTTP answer says nothing, with what the server says when it is asked without a WebSocket."""
        if failure.kind != "http" or failure.body or failure.status < 400:
            return failure
        deadline = min(self._opening.deadline, trio.current_time() + EXPLAIN_TIMEOUT)
        status, body = 0, ""
        with trio.CancelScope(deadline=deadline) as self._opening:
            try:
                stream = await self._connect()
            except _OpeningFailed:
                return failure
            try:
                status, body = await get(stream, explain_url(self._request.url), self._request.headers)
            finally:
                await trio.aclose_forcefully(stream)
        if status >= 400:
            return _http_failure(status, body.encode())
        if status == 200 and failure.status == 404:
            # What a request without the upgrade headers gets.
            detail = "the server would let us in, so something in between does not pass WebSockets on"
            return SignalFailure("protocol", detail, failure.status)
        return failure

    def _failed(self, kind: str, detail: str) -> _OpeningFailed:
        self._failure = SignalFailure(kind, detail)
        return _OpeningFailed()

    def _timed_out(self) -> SignalFailure:
        return SignalFailure("timeout", f"no success within {self._request.timeout:g} s, still {self._phase}")

    def _explain(self, group: BaseExceptionGroup[BaseException]) -> None:
        """Turn what ended the nursery into a failure or an end, if it is of the link; raise it anew if not."""
        from h11 import ProtocolError as HttpError
        from trio_websocket import ConnectionRejected
        from wsproto.utilities import ProtocolError

        _, rest = group.split((_OpeningFailed, ConnectionRejected, ProtocolError, HttpError))
        if rest is not None:
            raise rest
        for error in leaves(group):
            if isinstance(error, ConnectionRejected):
                headers = error.headers or ()
                self._failure = self._failure or _http_failure(error.status_code, error.body or b"", headers)
            elif isinstance(error, ProtocolError | HttpError):
                # trio-websocket answers the server's error with an event that a client cannot send; the cause is below.
                cause: BaseException = error
                while isinstance(cause.__context__, ProtocolError | HttpError):
                    cause = cause.__context__
                self._failure = self._failure or _no_handshake(self.answer, f"no WebSocket handshake: {cause}")
                self._end = self._end or f"the server broke the WebSocket protocol: {cause}"

    def ended_early(self, detail: str) -> None:
        """The stream ended, or grew too long, before the handshake was done."""
        if not self._open:
            self._failure = self._failure or _http_answer(self.answer) or _no_handshake(self.answer, detail)
            self._opening.cancel()

    @property
    def is_open(self) -> bool:
        return self._open

    # ------------------------------------------------------------------ reading, writing, closing

    async def _read(self, socket: WebSocketConnection, received: Callable[[bytes], None]) -> None:
        from trio_websocket import ConnectionClosed

        with self._reading:
            try:
                while True:
                    message = await socket.get_message()
                    if isinstance(message, bytes):  # text would be JSON, which a server sends only when it gets text
                        received(message)
            except ConnectionClosed as error:
                self._end = self._end or _explain_close(error)

    async def _write(self, socket: WebSocketConnection) -> None:
        from trio_websocket import ConnectionClosed

        try:
            async for message in self._queue:
                await socket.send_message(message)
        except ConnectionClosed as error:
            self._stop(_explain_close(error))
        self._written.set()

    async def _finish(self, socket: WebSocketConnection) -> None:
        """Wait for the writer, then for the closing handshake, both within ``CLOSE_TIMEOUT``."""
        with trio.move_on_after(CLOSE_TIMEOUT):
            self._stop(self._end)
            await self._written.wait()
            await socket.aclose()


_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[ \r](?:.*?(?P<end>\r\n\r\n))?", re.DOTALL)


class _OpeningFailed(Exception):
    """Ends the opening; the link has noted why."""


class _Guarded(trio.abc.Stream):
    """The link's stream: bounds what is read before the handshake is done, and tells of an end before that.

    trio-websocket waits for ever for a handshake on a stream that ends, and for the end of any HTTP body. wsproto takes
    an interim answer (RFC 9110 section 15.2) for a refusal, so those are left out.
    """

    def __init__(self, stream: trio.abc.Stream, link: WebSocketLink) -> None:
        self._stream = stream
        self._link = link
        self._held = b""
        self._interim = MAX_INTERIM

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        answer = self._link.answer
        if len(answer) >= MAX_RESPONSE:
            # The handshake may have been in what was read last; let the link see that before judging.
            await trio.lowlevel.checkpoint()
            self._link.ended_early(f"the server's answer to the handshake is longer than {MAX_RESPONSE} bytes")
        if self._link.is_open:
            answer.clear()
            return await self._stream.receive_some(max_bytes)
        while True:
            try:
                data = await self._stream.receive_some(max_bytes)
            except trio.BrokenResourceError:
                data = b""
            answer += data
            self._held += data
            if not data:
                self._link.ended_early("the server closed the connection in place of a WebSocket handshake")
            elif len(answer) < MAX_RESPONSE and self._leave_out_interim():
                continue
            held, self._held = self._held, b""
            return held

    def _leave_out_interim(self) -> bool:
        """Whether more has to be read before it is known what the server's answer is."""
        while self._interim and (found := _INTERIM.match(self._held)) is not None:
            if found["end"] is None:
                return True
            self._held = self._held[found.end() :]
            del self._link.answer[: found.end()]
            self._interim -= 1
            if not self._held:
                return True
        return b"HTTP/1.1 1".startswith(self._held[:10]) and len(self._held) < 13

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            # A server that refuses a request before it has read all of it; trio-websocket would not read its answer.
            while not self._link.is_open and await self.receive_some():
                pass
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


# ------------------------------------------------------------------ sentences


def _http_failure(status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> SignalFailure:
    detail = f"the server answered HTTP {status}"
    if 300 <= status < 400:
        for name, value in headers:
            if name.lower() == b"location":
                # Not followed: the token is for the server that was named. Its path and query may repeat our request.
                with suppress(ValueError):
                    parts = urlsplit(value.decode(errors="replace"))
                    if parts.netloc:
                        detail = f"it points to {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return SignalFailure("http", detail, status, body.decode(errors="replace"))


def _http_answer(answer: bytearray) -> SignalFailure | None:
    """The failure in an HTTP answer whose body has no end, if that is what it is."""
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split()
    if not end or len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return None
    if words[1] in (b"101", b"200"):
        return None
    return _http_failure(int(words[1]), body)


def _no_handshake(answer: bytearray, detail: str) -> SignalFailure:
    if answer.startswith(b"\x15\x03"):  # an alert record
        return SignalFailure("tls", "the server speaks TLS, and the address says ws in place of wss")
    return SignalFailure("protocol", detail)


def _explain_connect(error: OSError) -> tuple[str, str]:
    import socket

    if isinstance(error, socket.gaierror):
        return "dns", f"the name cannot be looked up: {error.strerror or error}"
    causes = [leaf.strerror or str(leaf) for leaf in leaves(error.__cause__) if isinstance(leaf, OSError)]
    return "tcp", "no TCP connection: " + ("; ".join(dict.fromkeys(causes)) or error.strerror or str(error))


def _explain_close(error: ConnectionClosed) -> str:
    reason = error.reason
    if reason is None or reason.code == 1006:
        return "the connection was lost"
    return f"closed with code {reason.code}" + (f": {reason.reason}" if reason.reason else "")
