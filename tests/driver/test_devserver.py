"""The development server on real loopback sockets: our client in it, and everything else that may connect."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import time

import pytest
import trio

import trio_client
import trio_client.devserver
from sansio.base.contract import ClosePort, CloseSignal, Interface, SendSignal, Transmit
from sansio.base.limits import SFU_HTTP_BODY, SFU_MESSAGE
from sansio.sfu import routes
from sansio.sfu.options import DropSignal
from sansio.sfu.token import Claims, mint
from trio_client import ConnectOptions, DataReceived, ParticipantConnected, Reconnected, TokenRejected
from trio_client.devserver import DevServer, _http, _ice_tcp, _server

MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


def run(scenario, **options):
    async def main():
        with trio.fail_after(30):
            async with trio_client.devserver.serve(**options) as server:
                await scenario(server)
                await quiet(server)

    trio.run(main)


async def quiet(server: DevServer) -> None:
    """Every connection ends; nothing is kept of it."""
    while server._connections:
        await trio.sleep(0.01)
    assert not server._links
    assert not server._numbers
    assert not server._refusals
    assert not server._asked


@contextlib.asynccontextmanager
async def connection(server: DevServer):
    host, _, port = server.url.removeprefix("ws://").rpartition(":")
    async with await trio.open_tcp_stream(host.strip("[]"), int(port)) as stream:
        yield stream


async def ask(server: DevServer, *parts: bytes) -> bytes:
    """What is answered to these bytes, until the server hangs up."""
    answer = b""
    async with connection(server) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            for part in parts:
                await stream.send_all(part)
            while data := await stream.receive_some():
                answer += data
    return answer


def upgrade(server: DevServer, target: str) -> bytes:
    return (
        f"GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


@contextlib.asynccontextmanager
async def websocket(server: DevServer, identity: str = "raw"):
    """A participant's WebSocket, as bytes: let in by the server, which waits for media that never comes."""
    async with connection(server) as stream:
        await stream.send_all(upgrade(server, f"/rtc?access_token={server.token(identity)}"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some(1)
        assert head.startswith(b"HTTP/1.1 101")
        yield stream


# ------------------------------------------------------------------ clients of ours


@MODES
def test_two_participants(single):
    async def scenario(server):
        options = ConnectOptions(single_peer_connection=single)
        alice_token = server.token("alice", room="r", name="Alice", can_update_own_metadata=True)
        async with trio_client.connect(server.url, alice_token, options=options) as alice:
            arrivals = alice.events(ParticipantConnected)
            async with trio_client.connect(server.url, server.token("bob", room="r"), options=options) as bob:
                assert server.identities("r") == ["alice", "bob"]
                assert (await anext(arrivals)).participant.identity == "bob"
                got = bob.events(DataReceived)
                await alice.local_participant.publish_data(b"hello", topic="t")
                assert (await anext(got)).payload == b"hello"
                assert bob.remote_participants["alice"].name == "Alice"
            await alice.wait_until(lambda: not alice.remote_participants)
        assert server.identities("r") == []

    run(scenario)


def test_a_cut_link_is_resumed_and_the_room_goes_on():
    async def scenario(server):
        async with (
            trio_client.connect(server.url, server.token("alice")) as alice,
            trio_client.connect(server.url, server.token("bob")) as bob,
        ):
            with alice.events(Reconnected) as back, bob.events(DataReceived) as got:
                assert server.cut("alice")
                assert (await anext(back)).resumed
                await alice.local_participant.publish_data(b"after")
                assert (await anext(got)).payload == b"after"
        assert not server.cut("alice")

    run(scenario)


def test_somebody_is_removed():
    async def scenario(server):
        async with trio_client.connect(server.url, server.token("alice")) as alice:
            assert server.remove("alice")
            with pytest.raises(trio_client.DisconnectedError, match="PARTICIPANT_REMOVED"):
                await alice.wait_until(lambda: False)
            assert not server.remove("alice")

    run(scenario)


def test_a_refused_token():
    async def scenario(server):
        with pytest.raises(TokenRejected) as caught:
            async with trio_client.connect(server.url, "nonsense"):
                pass
        assert (caught.value.report.status, caught.value.report.body) == (401, "invalid authorization token")

    run(scenario)


def test_on_every_address_and_over_ipv6():
    async def scenario(server):
        async with trio_client.connect(server.url, server.token("alice", room="demo")):
            assert server.identities() == ["alice"]

    async def by_loopback(server):
        server.url = server.url.replace(server.url[5:].partition(":")[0], "127.0.0.1")
        await scenario(server)

    run(scenario, bind="0.0.0.0")
    run(by_loopback, bind="0.0.0.0")
    run(scenario, bind="::1")
    run(scenario, bind="0.0.0.0", node_ip="127.0.0.1")


def test_the_announced_addresses(monkeypatch):
    assert _server._addresses("10.1.2.3") == ["10.1.2.3"]
    monkeypatch.setattr(_server, "list_interfaces", list)
    assert _server._addresses("0.0.0.0") == ["127.0.0.1"]
    assert _server._addresses("::") == ["::1"]
    there = [Interface("lo", "127.0.0.1", True), Interface("lo", "::1", True), Interface("eth0", "192.0.2.2")]
    monkeypatch.setattr(_server, "list_interfaces", lambda: there)
    assert _server._addresses("0.0.0.0") == ["192.0.2.2", "127.0.0.1"]


def test_other_keys():
    async def scenario(server):
        async with trio_client.connect(server.url, server.token("alice")):
            pass

    run(scenario, keys={"mine": "another secret of decent length, as is usual"})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"bind": "192.0.2.1"}, "Cannot listen on 192.0.2.1, any TCP port: Cannot assign .*Bind to an address"),
        ({"bind": "192.0.2.1", "port": 7880}, "Cannot listen on 192.0.2.1, TCP port 7880: .*127.0.0.1 for"),
        ({"bind": "no such.name"}, "Cannot listen on no such.name, any TCP port: .*Bind to an address"),
        ({"bind": "localhost"}, "Cannot listen on localhost, any TCP port: This is no IP address. Bind to an address"),
    ],
)
def test_addresses_that_are_not_of_this_host(options, match):
    async def scenario(server):
        raise AssertionError

    with pytest.raises(OSError, match=match):
        run(scenario, **options)


@pytest.mark.parametrize(
    ("options", "match"), [({"node_ip": "example.org"}, "does not appear to be"), ({"keys": {}}, "without any API key")]
)
def test_options_that_let_nobody_in(options, match):
    async def scenario(server):
        raise AssertionError

    with pytest.raises(ValueError, match=match):
        run(scenario, **options)


def test_requests_are_shown_without_tokens():
    request = _http.HttpRequest("GET", "/rtc?access_token=secret", (("authorization", "Bearer secret"),), b"secret")
    assert "secret" not in repr(request)


def test_ports_for_privileged_users(monkeypatch):
    """Root may have them, so the refusal is made up."""

    def refuse(host, low, high):
        raise PermissionError(errno.EACCES, "Permission denied")

    async def scenario(server):
        raise AssertionError

    monkeypatch.setattr(_server, "open_udp", refuse)
    with pytest.raises(PermissionError, match=r"127.0.0.1, UDP port 53: Permission denied. Take a port from 1024 on"):
        run(scenario, udp_port=53)


def test_ports_that_are_taken():
    async def scenario(server):
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"TCP port {port}: Address already in use. Stop what listens there"):
            async with trio_client.devserver.serve(port=port):
                pass
        with pytest.raises(OSError, match=f"UDP port {server.udp_port}: Address already in use"):
            async with trio_client.devserver.serve(udp_port=server.udp_port):
                pass

    run(scenario)


# ------------------------------------------------------------------ the block


def test_an_exception_of_the_block_comes_out_as_it_is():
    async def main():
        async with (
            trio_client.devserver.serve() as server,
            trio_client.connect(server.url, server.token("alice")),
        ):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trio.run(main)


def test_a_cancelled_block():
    async def main():
        with trio.move_on_after(0.5) as scope:
            async with trio_client.devserver.serve(), trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        assert scope.cancelled_caught

    trio.run(main)


def test_an_error_beside_a_cancellation():
    """A group that holds Cancelled goes through the nursery, which sorts it out."""

    async def main():
        with trio.CancelScope() as scope:
            async with trio_client.devserver.serve(), trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
                raise KeyError("mine")

    with pytest.raises(ExceptionGroup):
        trio.run(main)


def test_leaving_hangs_up_on_everybody():
    async def main():
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                joined, gone = trio.Event(), trio.Event()

                async def client(url, token):
                    with contextlib.suppress(trio_client.DisconnectedError):
                        async with trio_client.connect(url, token) as room:
                            joined.set()
                            await room.wait_until(lambda: room.state.name != "CONNECTED")
                    gone.set()

                async with trio_client.devserver.serve() as server:
                    nursery.start_soon(client, server.url, server.token("alice"))
                    await joined.wait()
                await gone.wait()

    trio.run(main)


# ------------------------------------------------------------------ plain HTTP


def test_plain_http():
    async def scenario(server):
        answer = await ask(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nOK")
        assert b"Access-Control-Allow-Origin: *" in answer
        assert b"HTTP/1.1 404" in await ask(server, b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"HTTP/1.1 204" in await ask(
            server, b"OPTIONS /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        head = b"POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        async with connection(server) as stream:
            await stream.send_all(head)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            await stream.send_all(b"body")
            assert b"HTTP/1.1 404" in await rest(stream)
        assert b"HTTP/1.1 404" in await ask(server, upgrade(server, "/elsewhere"))
        token = server.token("alice")
        target = f"/rtc/validate?access_token={token}".encode()
        assert b"\r\n\r\nsuccess" in await ask(server, b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")

    run(scenario)


def test_methods_with_rules_of_their_own():
    """HEAD is answered without a body, and nobody gets a tunnel."""

    async def scenario(server):
        answer = await ask(server, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Length: 2\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")
        assert b"HTTP/1.1 404 " in await ask(server, upgrade(server, "/rtc").replace(b"GET", b"HEAD"))
        for target in (b"h:1", b"/"):
            assert b"HTTP/1.1 405 " in await ask(server, b"CONNECT " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"HTTP/1.1 405 " in await ask(server, upgrade(server, "/rtc").replace(b"GET", b"CONNECT"))

    run(scenario)


# ------------------------------------------------------------------ garbage


def rpc(server: DevServer, method: str) -> bytes:
    claims = Claims("admin", "demo", "devkey", room_join=False, room_admin=True)
    token = mint(claims, server.keys["devkey"], time.time())
    body = json.dumps({"room": "demo", "destination_identity": "alice", "method": method, "payload": "x"}).encode()
    return (
        f"POST /twirp/livekit.RoomService/PerformRpc HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def test_a_participant_is_called():
    async def scenario(server):
        async with trio_client.connect(server.url, server.token("alice")) as alice:

            @alice.local_participant.register_rpc_method("echo")
            async def echo(data):
                return data.payload

            @alice.local_participant.register_rpc_method("sleep")
            async def sleep(data):
                sleeping.set()
                await trio.sleep_forever()

            sleeping = trio.Event()
            assert (await ask(server, rpc(server, "echo"))).endswith(b'"payload": "x"\n}')
            assert b" 400 " in await ask(server, rpc(server, "nonsense"))
            async with trio.open_nursery() as nursery, connection(server) as stream:
                await stream.send_all(rpc(server, "sleep"))
                await sleeping.wait()
                nursery.start_soon(alice.disconnect)
                assert b" 404 " in await stream.receive_some()

    run(scenario)


def test_what_is_no_http():
    async def scenario(server):
        assert b"HTTP/1.1 400" in await ask(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert b"HTTP/1.1 400" in await ask(server, b"GET / HTTP/1.1\r\n\r\n")  # without a host
        assert b"HTTP/1.1 431" in await ask(server, b"GET / HTTP/1.1\r\nX: " + b"x" * (_http.MAX_HEAD + 10))
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n"
        assert b"HTTP/1.1 413" in await ask(server, head, b"x" * (SFU_HTTP_BODY + 10))
        for part in (b"", b"GET / HT", head):
            async with connection(server) as stream:
                await stream.send_all(part)

    run(scenario)


def test_a_request_that_takes_too_long(monkeypatch):
    monkeypatch.setattr(_http, "REQUEST_TIMEOUT", 0.1)

    async def scenario(server):
        assert await ask(server, b"GET / HT") == b""
        async with trio_client.connect(server.url, server.token("alice")) as room:
            await trio.sleep(0.3)  # a WebSocket has no such limit
            assert room.state.name == "CONNECTED"

    run(scenario)


def test_too_many_connections(monkeypatch):
    monkeypatch.setattr(_server, "MAX_CONNECTIONS", 1)

    async def scenario(server):
        async with connection(server) as first:
            await first.send_all(b"GET")
            while not server._connections:
                await trio.sleep(0.01)
            assert await ask(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == b""
        await quiet(server)
        assert server.counters["connection_limit"] == 1

    run(scenario)


def test_datagrams_that_mean_nothing():
    async def scenario(server):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(100):
                sock.sendto(b"\x00garbage", ("127.0.0.1", server.udp_port))
        async with trio_client.connect(server.url, server.token("alice")):
            pass

    run(scenario)


class Unlucky:
    """A UDP port whose socket reports errors."""

    def __init__(self, port):
        self.port = port
        self.address = port.address
        self.left = {"send": 3, "receive": 3}

    def fail(self, kind):
        if self.left[kind]:
            self.left[kind] -= 1
            raise ConnectionRefusedError

    def recvfrom(self, size):
        self.fail("receive")
        return self.port.recvfrom(size)

    def sendto(self, data, addr):
        self.fail("send")
        return self.port.sendto(data, addr)

    def __getattr__(self, name):
        return getattr(self.port, name)


def test_errors_of_the_socket(monkeypatch):
    opened = _server.open_udp
    monkeypatch.setattr(_server, "open_udp", lambda *args: Unlucky(opened(*args)))

    async def scenario(server):
        async with trio_client.connect(server.url, server.token("alice")):
            pass
        assert server.counters.snapshot() == {"send_failed": 3, "receive_failed": 3}

    run(scenario)


# ------------------------------------------------------------------ media over TCP


@MODES
def test_media_over_tcp(single):
    async def scenario(server):
        options = ConnectOptions(single_peer_connection=single)
        async with (
            trio_client.connect(server.url, server.token("alice"), options=options) as alice,
            trio_client.connect(server.url, server.token("bob"), options=options) as bob,
        ):
            got = bob.events(DataReceived)
            for number in range(100):
                await alice.local_participant.publish_data(bytes([number]) * 10_000)
            for number in range(100):
                assert (await anext(got)).payload == bytes([number]) * 10_000
            assert alice.stats().datagrams_sent > 100
            assert server._streams
        while server._streams:
            await trio.sleep(0.01)

    run(scenario, udp=False)


def test_media_connections_of_nobody():
    async def scenario(server):
        for data in (b"", b"\x00\x04junk", b"\xff\xff" + b"x" * 70_000):
            async with await trio.open_tcp_stream("127.0.0.1", server.tcp_port) as stream:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(data)
                    if data:  # the server hangs up
                        assert await rest(stream) == b""
        async with await trio.open_tcp_stream("127.0.0.1", server.tcp_port) as stream:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        while server._streams:
            await trio.sleep(0.01)

    run(scenario)


def test_too_many_media_connections(monkeypatch):
    monkeypatch.setattr(routes, "SFU_STREAMS", 0)

    async def scenario(server):
        async with await trio.open_tcp_stream("127.0.0.1", server.tcp_port) as stream:
            assert await rest(stream) == b""

    run(scenario)


def test_a_media_connection_that_is_not_read(monkeypatch):
    """What comes beyond is dropped."""
    monkeypatch.setattr(_ice_tcp, "WAITING_BYTES", 100_000)

    async def scenario(server):
        async with await trio.open_tcp_stream("127.0.0.1", server.tcp_port) as stream:
            while not server._streams:
                await trio.sleep(0.01)
            ((number, connection),) = server._streams.items()
            while connection.send(bytes(10_000)):
                await trio.sleep(0)
            server._machine.transmits.append(Transmit(number, bytes(10_000), ("127.0.0.1", 1)))
            server._machine.transmits.append(Transmit(99, b"", ("127.0.0.1", 1)))
            server._pump()
            assert server.counters["stream_dropped"] == 2
            assert await stream.receive_some()
        while server._streams:
            await trio.sleep(0.01)

    run(scenario)


# ------------------------------------------------------------------ WebSockets


def test_scripted_misbehaviour():
    """A link that the machine drops, and one that it closes."""

    async def scenario(server):
        async with websocket(server) as stream:
            (number,) = server._links
            server._machine.outbox += [DropSignal(number), DropSignal(99), CloseSignal(99), SendSignal(99, b"")]
            server._machine.outbox.append(ClosePort(99))
            server._pump()
            await rest(stream)
        await quiet(server)

    run(scenario)


RESET = b"\1\0\0\0\0\0\0\0"
"""For SO_LINGER: closing resets the connection."""
PING, CLOSE, TEXT, BINARY = 0x89, 0x88, 0x81, 0x82


def frame(kind: int, data: bytes, *, masked: bool = True) -> bytes:
    size = len(data)
    head = bytes([kind, 0x80 * masked | size]) if size < 126 else bytes([kind, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4 * masked) + data


async def rest(stream: trio.abc.Stream) -> bytes:
    data = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while more := await stream.receive_some():
            data += more
    return data


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ([frame(PING, b"ping"), frame(CLOSE, b"\x03\xe8")], b"\x8a\x04ping\x88\x02\x03\xe8"),
        ([frame(TEXT, b"{}"), frame(CLOSE, b"\x03\xe8")], b"\x88\x02\x03\xe8"),
        ([frame(CLOSE, b"", masked=False)], b"\x88"),
        ([frame(0x83, b"")], b"\x88"),
        ([frame(BINARY, b"\xff")], b"\x88\x02\x03\xe8"),
        ([frame(BINARY & 0x0F, b"x"), frame(0x80, b"y" * (SFU_MESSAGE + 1))], b"\x88\x02\x03\xf1"),
    ],
    ids=["ping", "text", "unmasked", "opcode", "no message", "too long"],
)
def test_frames(sent, answer):
    async def scenario(server):
        async with websocket(server) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                for part in sent:
                    await stream.send_all(part)
            assert answer in await rest(stream)
        await quiet(server)
        assert server.identities() == []

    run(scenario)


def test_a_message_that_is_too_long_ends_the_session():
    """Also where media would keep it alive without a link."""

    async def scenario(server):
        async with websocket(server) as stream:
            server._machine.participant("demo", "raw").active = True
            await stream.send_all(frame(BINARY, bytes(SFU_MESSAGE + 1)))
            assert (await rest(stream)).endswith(b"\x88\x02\x03\xf1")
        assert server.identities() == []

    run(scenario)


def test_a_link_that_breaks():
    async def scenario(server):
        async with websocket(server) as stream:
            stream.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )  # a reset in place of an end
        await quiet(server)
        async with connection(server) as stream:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            await stream.send_all(upgrade(server, f"/rtc?access_token={server.token('a')}"))
        await quiet(server)

    run(scenario)


@pytest.mark.parametrize(("name", "limit"), [("MAX_QUEUE", 8), ("MAX_WAITING", 1_000_000)])
def test_a_client_that_never_reads(name, limit, monkeypatch):
    monkeypatch.setattr(_http, name, limit)

    async def scenario(server):
        async with websocket(server) as stream:
            (link,) = server._links.values()
            link._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            with contextlib.suppress(trio.BrokenResourceError):
                for _ in range(100):
                    link.send(b"x" * 100_000)
                    await trio.sleep(0)
            link.send(b"too late")
            await quiet(server)
            assert await rest(stream) is not None

    run(scenario)


def test_a_client_that_does_not_answer_our_closing(monkeypatch):
    monkeypatch.setattr(_http, "CLOSE_TIMEOUT", 0.1)

    async def scenario(server):
        async with websocket(server) as stream:
            (link,) = server._links.values()
            link.close()
            link.close()
            link.send(b"behind the end")
            assert (await rest(stream)).endswith(b"\x88\x02\x03\xe8")
        await quiet(server)

    run(scenario)
