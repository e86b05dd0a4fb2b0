"""The signalling link against real sockets on loopback: WebSocket servers, and servers that are none."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import pairwise

import pytest
import trio
import trio_websocket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage

from sansio.base.contract import INF, OpenSignal
from trio_client import _signal
from trio_client._signal import MAX_QUEUE, SignalError, WebSocketLink

from .certificates import client_context, server_context
from .running import run, run_real
from .scripted import accepting

SECRET = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
HEADERS = (("Authorization", f"Bearer {SECRET}"), ("User-Agent", "test"))


@asynccontextmanager
async def raw_server(
    handler: Callable[[trio.SocketStream], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server of any kind; its port."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await handler(stream)

    async with trio.open_nursery() as nursery:
        if tls is None:
            listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
        else:
            listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, handle, 0, tls, host="127.0.0.1"))
            port = listeners[0].transport_listener.socket.getsockname()[1]
        yield port
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def websocket_server(
    handler: Callable[[trio_websocket.WebSocketRequest], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A WebSocket server; its port."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, handler, "127.0.0.1", 0, tls)
        yield server.port
        nursery.cancel_scope.cancel()


def answer(data: bytes, *, then_wait: bool = False) -> Callable[[trio.SocketStream], Awaitable[None]]:
    """A server that reads the request and writes ``data``."""

    async def handler(stream: trio.SocketStream) -> None:
        got = b""
        while b"\r\n\r\n" not in got:
            got += await stream.receive_some()
        if data:
            await stream.send_all(data)
        if then_wait:
            await trio.sleep_forever()
        await stream.aclose()

    return handler


class Client:
    """A link, run in a nursery, and what it told."""

    def __init__(self, url: str, timeout: float = 5.0, context: ssl.SSLContext | None = None) -> None:
        self.link = WebSocketLink(OpenSignal(1, url, HEADERS, timeout), context)
        self.opened = trio.Event()
        self.messages: list[bytes] = []
        self.arrived = trio.Event()
        self.error: SignalError | None = None
        self.reason = ""

    async def run(self) -> None:
        try:
            self.reason = await self.link.run(self.opened.set, self.received)
        except SignalError as error:
            self.error = error

    def received(self, message: bytes) -> None:
        self.messages.append(message)
        self.arrived.set()


async def failure_of(url: str, timeout: float = 5.0, context: ssl.SSLContext | None = None) -> SignalError:
    client = Client(url, timeout, context)
    with trio.fail_after(10):
        await client.run()
    assert client.error is not None
    assert not client.opened.is_set()
    for text in (str(client.error), repr(client.error), client.error.failure.detail, client.error.failure.body):
        assert SECRET not in text
    return client.error


# ------------------------------------------------------------------ what works


@pytest.mark.parametrize("tls", [False, True])
def test_messages_both_ways(tls):
    paths, headers = [], []

    async def echo(request):
        paths.append(request.path)
        headers.append(dict(request.headers))
        async with await request.accept() as socket:
            while True:
                await socket.send_message(b"echo " + await socket.get_message())

    async def main():
        context = server_context("127.0.0.1") if tls else None
        async with websocket_server(ignore_closed(echo), context) as port, trio.open_nursery() as nursery:
            scheme = "wss" if tls else "ws"
            client = Client(f"{scheme}://127.0.0.1:{port}/rtc/v1?join_request=x", context=client_context())
            nursery.start_soon(client.run)
            await client.opened.wait()
            client.link.send(b"one")
            client.link.send(b"two")
            while len(client.messages) < 2:
                client.arrived = trio.Event()
                await client.arrived.wait()
            client.link.close()
        assert client.messages == [b"echo one", b"echo two"]
        assert client.reason == "closed by us"
        assert paths == ["/rtc/v1?join_request=x"]
        assert headers[0][b"authorization"] == f"Bearer {SECRET}".encode()
        assert headers[0][b"user-agent"] == b"test"

    run_real(main)


def test_the_request():
    requests = []

    async def main():
        async def handler(stream):
            requests.append(bytes(await stream.receive_some()))
            await stream.send_all(b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno")

        async with raw_server(handler) as port:
            await failure_of(f"ws://127.0.0.1:{port}/a?b=c")
            await failure_of(f"ws://localhost:{port}")
        head = requests[0].lower()
        assert head.startswith(b"get /a?b=c http/1.1\r\n")
        assert b"host: 127.0.0.1:%d\r\n" % port in head
        assert b"sec-websocket-extensions" not in head
        assert requests[1].startswith(b"GET / HTTP/1.1\r\n")

    run_real(main)


def ignore_closed(handler):
    async def wrapped(request):
        with suppress(trio_websocket.ConnectionClosed):
            await handler(request)

    return wrapped


def test_what_was_sent_is_written_before_closing():
    got = []

    async def collect(request):
        async with await request.accept() as socket:
            while True:
                got.append(await socket.get_message())

    async def main():
        async with websocket_server(ignore_closed(collect)) as port, trio.open_nursery() as nursery:
            client = Client(f"ws://127.0.0.1:{port}/")
            nursery.start_soon(client.run)
            await client.opened.wait()
            for i in range(500):
                client.link.send(b"%d" % i)
            client.link.close()
            client.link.send(b"too late")
        assert got == [b"%d" % i for i in range(500)]

    run_real(main)


def test_the_server_closes():
    async def bye(request):
        socket = await request.accept()
        await socket.send_message("text is for others")
        await socket.send_message(b"last")
        await socket.aclose(4000, "enough")

    async def main():
        async with websocket_server(bye) as port:
            client = Client(f"ws://127.0.0.1:{port}/")
            await client.run()
        assert client.messages == [b"last"]
        assert client.reason == "closed with code 4000: enough"

    run_real(main)


def test_the_connection_breaks():
    async def main():
        async def handler(request):
            await request.accept()
            await trio.aclose_forcefully(request._connection._stream)

        async with websocket_server(handler) as port:
            client = Client(f"ws://127.0.0.1:{port}/")
            await client.run()
        assert client.reason == "the connection was lost"

    run_real(main)


def test_a_large_first_message():
    """Longer than what the handshake's answer may be, and perhaps read together with it."""

    async def handler(request):
        async with await request.accept() as socket:
            await socket.send_message(bytes(300_000))
            await socket.get_message()

    async def main():
        async with websocket_server(ignore_closed(handler)) as port, trio.open_nursery() as nursery:
            client = Client(f"ws://127.0.0.1:{port}/")
            nursery.start_soon(client.run)
            await client.arrived.wait()
            client.link.close()
        assert [len(message) for message in client.messages] == [300_000]

    run_real(main)


def test_a_message_beyond_the_limit_ends_the_link(monkeypatch):
    monkeypatch.setattr(_signal, "MAX_MESSAGE", 1000)

    async def handler(request):
        async with await request.accept() as socket:
            await socket.send_message(bytes(1001))
            await socket.get_message()

    async def main():
        async with websocket_server(ignore_closed(handler)) as port:
            client = Client(f"ws://127.0.0.1:{port}/")
            with trio.fail_after(5):
                await client.run()
        assert client.messages == []
        assert client.reason.startswith("closed with code 1009")

    run_real(main)


def test_a_server_that_does_not_read():
    async def handler(request):
        await request.accept()
        await trio.sleep_forever()

    async def main():
        async def deaf(stream):
            # trio-websocket's server always reads, so shake hands and stop reading by hand.
            got = b""
            while b"\r\n\r\n" not in got:
                got += await stream.receive_some()
            await stream.send_all(accept_for(got))
            await trio.sleep_forever()

        async with raw_server(deaf) as port, trio.open_nursery() as nursery:
            client = Client(f"ws://127.0.0.1:{port}/")
            nursery.start_soon(client.run)
            await client.opened.wait()
            start = trio.current_time()
            for _ in range(MAX_QUEUE + 2):
                client.link.send(bytes(100_000))
            client.link.send(b"after the end")
        assert "does not read" in client.reason
        assert trio.current_time() - start < 3

    run_real(main)


def test_closing_is_bounded():
    """A server that neither reads nor answers the close frame."""

    async def main():
        async def deaf(stream):
            got = b""
            while b"\r\n\r\n" not in got:
                got += await stream.receive_some()
            await stream.send_all(accept_for(got))
            await trio.sleep_forever()

        async with raw_server(deaf) as port, trio.open_nursery() as nursery:
            client = Client(f"ws://127.0.0.1:{port}/")
            nursery.start_soon(client.run)
            await client.opened.wait()
            for _ in range(200):
                client.link.send(bytes(100_000))
            start = trio.current_time()
            client.link.close()
        assert client.reason == "closed by us"
        assert trio.current_time() - start < _signal.CLOSE_TIMEOUT + 1

    run_real(main)


def accept_for(request: bytes) -> bytes:
    """The answer that accepts a WebSocket handshake."""
    (key,) = re.findall(r"(?i)\r\nsec-websocket-key: (\S+)", request.decode())
    return accepting(key)


# ------------------------------------------------------------------ what does not


@pytest.mark.parametrize(("status", "body"), [(401, b"invalid token"), (404, b""), (503, b"full"), (302, b"moved")])
def test_http_refusal(status, body):
    text = b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body

    async def main():
        async with raw_server(answer(text)) as port:
            failure = (await failure_of(f"ws://127.0.0.1:{port}/")).failure
        assert (failure.kind, failure.status, failure.body) == ("http", status, body.decode())

    run_real(main)


def test_http_body_of_unknown_length():
    async def main():
        async with raw_server(answer(b"HTTP/1.1 500 No\r\n\r\npart one, part two")) as port:
            failure = (await failure_of(f"ws://127.0.0.1:{port}/")).failure
        assert (failure.status, failure.body) == (500, "part one, part two")

    run_real(main)


def test_endless_http_body():
    async def endless(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 500 No\r\n\r\n")
        while True:
            await stream.send_all(bytes(65536))

    async def main():
        async with raw_server(endless) as port:
            failure = (await failure_of(f"ws://127.0.0.1:{port}/")).failure
        assert (failure.kind, failure.status) == ("http", 500)
        assert len(failure.body) < 200_000

    run_real(main)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200",
    ],
)
def test_no_websocket(data):
    async def main():
        async with raw_server(answer(data)) as port:
            failure = (await failure_of(f"ws://127.0.0.1:{port}/")).failure
        assert failure.kind == "protocol"

    run_real(main)


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("interim", [HINTS, CONTINUE + HINTS, HINTS * _signal.MAX_INTERIM])
def test_interim_answers_are_passed_over(interim, step):
    async def handler(stream: trio.SocketStream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive_some()
        for at in range(0, len(interim), step):
            await stream.send_all(interim[at : at + step])
            await trio.sleep(0)
        connection = WSConnection(ConnectionType.SERVER)
        connection.receive_data(head)
        await stream.send_all(connection.send(AcceptConnection()) + connection.send(BytesMessage(b"hello")))
        await stream.receive_some()

    async def main():
        got = []
        async with raw_server(handler) as port:
            link = WebSocketLink(OpenSignal(1, f"ws://127.0.0.1:{port}/", HEADERS, 5.0))

            def received(data: bytes) -> None:
                got.append(data)
                link.close()

            await link.run(lambda: None, received)
        assert got == [b"hello"]

    run_real(main)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HINTS + b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nbad", 401),
        (HINTS * (_signal.MAX_INTERIM + 1), 103),
    ],
)
def test_refusals_behind_interim_answers(data, status):
    async def main():
        async with raw_server(answer(data)) as port:
            failure = (await failure_of(f"ws://127.0.0.1:{port}/")).failure
        assert (failure.kind, failure.status) == ("http", status)

    run_real(main)


@pytest.mark.parametrize("data", [b"HTTP/1.1 103 Early Hints\r\n", b"HTTP/1.", HINTS, HINTS + b"HTTP/1.1 10"])
def test_nothing_but_interim_answers(data):
    async def main():
        async with raw_server(answer(data)) as port:
            failure = (await failure_of(f"ws://127.0.0.1:{port}/")).failure
        assert failure.kind == "protocol"

    run_real(main)


def test_an_endless_interim_answer():
    async def endless(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n")
        while True:
            await stream.send_all(b"X: " + bytes(4000).replace(b"\0", b"x") + b"\r\n")

    async def main():
        async with raw_server(endless) as port:
            failure = (await failure_of(f"ws://127.0.0.1:{port}/")).failure
        assert failure.kind == "protocol"

    run_real(main)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 101 Switch"])
def test_silence_is_a_timeout(data):
    async def main():
        async with raw_server(answer(data, then_wait=True)) as port:
            failure = (await failure_of(f"ws://127.0.0.1:{port}/", timeout=0.2)).failure
        assert failure.kind == "timeout"
        assert "0.2 s" in failure.detail
        assert "WebSocket handshake" in failure.detail

    run_real(main)


def test_nobody_listens():
    async def main():
        with trio.socket.socket() as unused:  # bound, but not listening
            await unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            failure = (await failure_of(f"ws://127.0.0.1:{port}/")).failure
        assert failure.kind == "tcp"
        assert "refused" in failure.detail

    run_real(main)


def test_a_connection_that_is_not_answered_is_tried_anew_also_from_another_address(monkeypatch):
    monkeypatch.setattr(_signal, "CONNECT_AGAIN", 0.05)
    tried = []
    open_tcp_stream = trio.open_tcp_stream

    async def watched(host, port, *, local_address=None):
        tried.append(local_address)
        if len(tried) < 7:  # nothing answers
            await trio.sleep_forever()
        return await open_tcp_stream(host, port, local_address=local_address)

    async def main():
        monkeypatch.setattr(trio, "open_tcp_stream", watched)
        async with raw_server(answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")) as port:
            request = OpenSignal(1, f"ws://127.0.0.1:{port}/", HEADERS, 10.0, "192.0.2.1")
            with pytest.raises(SignalError) as caught:
                await WebSocketLink(request).run(lambda: None, lambda data: None)
            assert caught.value.failure.status == 403
            # at the seventh turn it is the system's choice again
            assert tried == [None, "192.0.2.1"] * 3 + [None]
            tried.clear()
            request = OpenSignal(1, f"ws://127.0.0.1:{port}/", HEADERS, 0.3)
            with pytest.raises(SignalError) as caught:
                await WebSocketLink(request).run(lambda: None, lambda data: None)
            assert caught.value.failure.kind == "timeout"
            assert "connecting" in caught.value.failure.detail
            assert set(tried) == {None}

    run_real(main)


RTT = 0.1
SYN = (0.0, 1.0, 3.0, 7.0, 15.0, 31.0)
"""When Linux sends the first packet of a connection that is not answered; since 6.5 it does so more often."""


class SilentNet:
    """A network that swallows everything until ``back``. Its streams lead nowhere."""

    def __init__(self, monkeypatch, back: float, rtt: float = RTT) -> None:
        self.back, self.rtt = back, rtt
        self.asked: list[float] = []
        self.given: list[socket.socket] = []
        monkeypatch.setattr(trio, "open_tcp_stream", self.open_tcp_stream)

    async def open_tcp_stream(self, host, port, *, local_address=None):
        start = trio.current_time()
        for later in SYN:
            await trio.sleep_until(start + later)
            self.asked.append(trio.current_time())
            if trio.current_time() >= self.back:
                await trio.sleep(self.rtt)
                ours, theirs = trio.socket.socketpair()
                theirs.close()
                self.given.append(ours)
                return trio.SocketStream(ours)
        raise TimeoutError

    async def connect(self, timeout: float = 15.0, local: str = "") -> float | None:
        """When a connection stands, None when the attempt is over before."""
        link = WebSocketLink(OpenSignal(1, "ws://192.0.2.1/", HEADERS, timeout, local))
        with trio.move_on_after(timeout):
            stream = await link._open_tcp("192.0.2.1", 80)
            at = trio.current_time()
            assert [given.fileno() for given in self.given if given is not stream.socket] == [-1] * (
                len(self.given) - 1
            )
            stream.socket.close()
            return at
        assert [given.fileno() for given in self.given] == [-1] * len(self.given)
        return None


@pytest.mark.parametrize("back", [0.0, 0.01, 1.01, 3.01, 7.0, 8.01, 9.01, 11.01, 13.01, 13.9])
@pytest.mark.parametrize("local", ["", "192.0.2.2"])
def test_the_end_of_a_silence_is_seen_within_a_second(back, local, monkeypatch):
    async def main():
        net = SilentNet(monkeypatch, back)
        at = await net.connect(local=local)
        assert at is not None
        assert at - back <= 1.0 + RTT
        assert all(later - sooner <= 1.0 for sooner, later in pairwise(sorted(net.asked)))

    run(main)


@pytest.mark.parametrize(("local", "most"), [("192.0.2.2", 1.05), ("", 1.2)], ids=["media flows", "no media"])
def test_silence_is_not_asked_much_more_than_once_a_second(local, most, monkeypatch):
    async def main():
        net, attempts = SilentNet(monkeypatch, back=INF), (2.5, 5.0, 7.5, 10.0, 12.5, 15.0)
        for timeout in attempts:
            assert await net.connect(timeout, local) is None
        assert len(net.asked) <= most * sum(attempts)

    run(main)


@pytest.mark.parametrize("rtt", [2.5, 3.9, 12.0])
def test_a_network_that_is_slower_than_connections_are_tried_anew(rtt, monkeypatch):
    async def main():
        assert await SilentNet(monkeypatch, 0.0, rtt).connect() == rtt

    run(main)


@pytest.mark.parametrize("end", ["both answered", "one refused", "cancelled"])
def test_two_connections_end_at_once(end, monkeypatch):
    """One is used where there is one, and what is not used is closed."""
    given, scope, ready = [], trio.CancelScope(), trio.Event()

    async def open_tcp_stream(host, port, *, local_address=None):
        await ready.wait()
        if end == "one refused" and given:
            raise ConnectionRefusedError
        if end == "cancelled":
            scope.cancel()
        ours, theirs = trio.socket.socketpair()
        theirs.close()
        given.append(ours)
        return trio.SocketStream(ours)

    async def main():
        monkeypatch.setattr(trio, "open_tcp_stream", open_tcp_stream)
        link = WebSocketLink(OpenSignal(1, "ws://192.0.2.1/", HEADERS, 15.0))
        used = []
        async with trio.open_nursery() as nursery:

            async def answer_soon():
                await trio.sleep(3.0)
                ready.set()

            nursery.start_soon(answer_soon)
            with scope:
                used.append((await link._open_tcp("192.0.2.1", 80)).socket)
        assert len(given) == (1 if end == "one refused" else 2)
        assert len(used) == (0 if end == "cancelled" else 1)
        assert [sock for sock in given if sock.fileno() >= 0] == used
        for sock in used:
            sock.close()

    run(main)


def test_a_slow_name_server_is_given_its_time(monkeypatch):
    """It takes longer than a connection may, each time, and its first answer is lost: as long as the second lookup took
    is added."""
    monkeypatch.setattr(_signal, "CONNECT_AGAIN", 0.05)
    open_tcp_stream, getaddrinfo, count = trio.open_tcp_stream, trio.socket.getaddrinfo, 0

    async def slow_lookup(*args, **options):
        await trio.sleep(0.5)
        return await getaddrinfo(*args, **options)

    async def slow(host, port, *, local_address=None):
        nonlocal count
        count += 1
        await trio.sleep(0.5 if count > 1 else INF)
        return await open_tcp_stream(host, port, local_address=local_address)

    async def main():
        monkeypatch.setattr(trio.socket, "getaddrinfo", slow_lookup)
        monkeypatch.setattr(trio, "open_tcp_stream", slow)
        async with raw_server(answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")) as port:
            assert (await failure_of(f"ws://127.0.0.1:{port}/")).failure.status == 403

    run_real(main)


def test_an_address_that_cannot_be_used_does_no_harm(monkeypatch):
    monkeypatch.setattr(_signal, "CONNECT_AGAIN", 0.05)
    open_tcp_stream, count = trio.open_tcp_stream, 0

    async def watched(host, port, *, local_address=None):
        nonlocal count
        count += 1
        if count == 1:
            await trio.sleep_forever()
        return await open_tcp_stream(host, port, local_address=local_address)

    async def main():
        monkeypatch.setattr(trio, "open_tcp_stream", watched)
        async with raw_server(answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")) as port:
            request = OpenSignal(1, f"ws://127.0.0.1:{port}/", HEADERS, 10.0, "192.0.2.1")  # not one of this host
            with pytest.raises(SignalError) as caught:
                await WebSocketLink(request).run(lambda: None, lambda data: None)
        assert caught.value.failure.status == 403
        assert count == 3

    run_real(main)


def test_unknown_name():
    async def main():
        assert (await failure_of("ws://no-such-host.invalid/")).failure.kind == "dns"
        assert (await failure_of(f"ws://{'a' * 64}.example/")).failure.kind == "dns"

    run_real(main)


def test_tls_with_an_unknown_authority():
    async def main():
        async with raw_server(answer(b""), server_context("127.0.0.1")) as port:
            failure = (await failure_of(f"wss://127.0.0.1:{port}/")).failure
        assert failure.kind == "tls"
        assert "certificate" in failure.detail

    run_real(main)


def test_tls_with_the_wrong_name():
    async def main():
        async with raw_server(answer(b""), server_context("other.example")) as port:
            failure = (await failure_of(f"wss://127.0.0.1:{port}/", context=client_context())).failure
        assert failure.kind == "tls"
        assert "127.0.0.1" in failure.detail

    run_real(main)


def test_tls_to_a_server_without():
    async def main():
        async def plain(stream):
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with raw_server(plain) as port:
            failure = (await failure_of(f"wss://127.0.0.1:{port}/")).failure
        assert failure.kind == "tls"

    run_real(main)


def test_tls_to_a_server_that_hangs_up():
    async def main():
        async def hang_up(stream):
            await stream.receive_some()
            await stream.aclose()

        async with raw_server(hang_up) as port:
            failure = (await failure_of(f"wss://127.0.0.1:{port}/")).failure
        assert failure.kind == "tls"
        assert "closed the connection" in failure.detail

    run_real(main)


def test_tls_silence_is_a_timeout():
    async def main():
        async with raw_server(answer(b"", then_wait=True)) as port:
            failure = (await failure_of(f"wss://127.0.0.1:{port}/", timeout=0.2)).failure
        assert failure.kind == "timeout"
        assert "TLS" in failure.detail

    run_real(main)


def test_closed_before_it_was_open():
    async def main():
        async with raw_server(answer(b"", then_wait=True)) as port, trio.open_nursery() as nursery:
            client = Client(f"ws://127.0.0.1:{port}/")
            nursery.start_soon(client.run)
            await trio.sleep(0.05)
            client.link.close()
        assert client.error is not None
        assert not client.opened.is_set()

    run_real(main)


def test_closed_while_the_server_answers():
    """What was queued meanwhile is still written: a leave, for a server that has let us in."""
    got = []

    async def slow(request):
        await trio.sleep(0.2)
        async with await request.accept() as socket:
            got.append(await socket.get_message())

    async def main():
        async with websocket_server(ignore_closed(slow)) as port, trio.open_nursery() as nursery:
            client = Client(f"ws://127.0.0.1:{port}/")
            nursery.start_soon(client.run)
            await trio.sleep(0.1)
            client.link.send(b"leave")
            client.link.close()
        assert got == [b"leave"]
        assert not client.opened.is_set()
        assert client.reason == "closed by us"

    run_real(main)


def test_closed_while_the_server_is_silent(monkeypatch):
    monkeypatch.setattr(_signal, "CLOSE_TIMEOUT", 0.2)

    async def main():
        async with raw_server(answer(b"", then_wait=True)) as port, trio.open_nursery() as nursery:
            client = Client(f"ws://127.0.0.1:{port}/")
            nursery.start_soon(client.run)
            await trio.sleep(0.05)
            client.link.send(b"leave")
            client.link.close()
            start = trio.current_time()
        assert trio.current_time() - start < 1
        assert client.error is not None

    run_real(main)


def test_a_bug_in_the_callback_comes_out():
    async def handler(request):
        async with await request.accept() as socket:
            await socket.send_message(b"x")
            await socket.get_message()

    async def main():
        def bug(message: bytes) -> None:
            raise ZeroDivisionError

        async with websocket_server(ignore_closed(handler)) as port:
            link = WebSocketLink(OpenSignal(1, f"ws://127.0.0.1:{port}/", HEADERS))
            with pytest.raises(ExceptionGroup) as caught:
                await link.run(lambda: None, bug)
            assert caught.group_contains(ZeroDivisionError)

    run_real(main)


def test_the_wire_breaks_the_protocol():
    async def main():
        async def garbage(stream):
            got = b""
            while b"\r\n\r\n" not in got:
                got += await stream.receive_some()
            await stream.send_all(accept_for(got) + b"\xff\xff\xff\xff")
            await trio.sleep_forever()

        async with raw_server(garbage) as port:
            client = Client(f"ws://127.0.0.1:{port}/")
            with trio.fail_after(5):
                await client.run()
        assert client.error is None
        assert client.messages == []
        assert client.reason

    run_real(main)
