"""Every way in which joining can fail, through ``connect``, against a scripted server on loopback."""

from __future__ import annotations

import logging
import random
import socket
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trio

import trio_client
from sansio import proto
from sansio.ice.candidate import Candidate
from trio_client import (
    ConnectError,
    ConnectOptions,
    DisconnectReason,
    JoinRefused,
    MediaFailed,
    RoomNotFound,
    ServerUnreachable,
    TokenRejected,
)

from .certificates import client_context, server_context
from .failing import TOKEN, join_error, ours, run
from .scripted import (
    Script,
    after,
    bytes_and_hang_up,
    closes,
    drip,
    drops,
    first,
    frames,
    hide,
    join_response,
    joins,
    keeps_alive,
    leaves,
    no_first_message,
    no_pong,
    paths,
    refuse,
    serve,
    silent,
    upgraded,
)
from .sfuhost import sfu_host

SINGLE, DUAL = ConnectOptions(single_peer_connection=True), ConnectOptions(single_peer_connection=False)
BOTH = pytest.mark.parametrize("options", [SINGLE, DUAL], ids=["v1", "v0"])
JWT = "invalid authorization token: token "


def fail(
    script: Script, options: ConnectOptions | None = None, *, virtual: bool = False, end: str = ""
) -> tuple[ConnectError, list[str]]:
    """Join a server with this script: the error, and the paths that were asked for."""
    found = []

    async def main() -> None:
        async with serve(script) as server:
            found.append(await join_error(server.url + end, options=options))
            await server.gone()
            found.append(server.paths)

    run(main, virtual=virtual)
    return found[0], found[1]


# ------------------------------------------------------------------ refused by HTTP

ANSWERS = [
    (401, "no permissions to access the room", TokenRejected, "grant"),
    (401, "invalid authorization header. Must start with Bearer ", TokenRejected, "Bearer"),
    (401, "invalid authorization token", TokenRejected, "token"),
    (401, JWT + "signature is invalid: signature is invalid", TokenRejected, "secret"),
    (401, "invalid API key", TokenRejected, "API key"),
    (401, JWT + "signature is invalid: signing method none is invalid", TokenRejected, "signature"),
    (401, JWT + "signature is invalid: signing method HS384 is invalid", TokenRejected, "signature"),
    (401, JWT + "has invalid claims: token is expired", TokenRejected, "expired"),
    (401, JWT + "has invalid claims: token is missing required claim: exp claim is required", TokenRejected, "expiry"),
    (401, JWT + "has invalid claims: token is not valid yet", TokenRejected, "clocks"),
    (401, "permissions denied", TokenRejected, "roomJoin"),
    (403, "forbidden", TokenRejected, "forbidden"),
    (400, "no room name", TokenRejected, "names no room"),
    (400, "identity cannot be empty", TokenRejected, "identity"),
    (400, "participant identity length exceeds limits: max length 256", TokenRejected, "256"),
    (400, "room name length exceeds limits: max length 256", TokenRejected, "256"),
    (400, "join_request is required", JoinRefused, "join_request is required"),
    (400, "cannot base64 decode wrapped join request", JoinRefused, "base64"),
    (400, "join request too large", JoinRefused, "metadata"),
    (404, "requested room does not exist", RoomNotFound, "Create the room"),
    (404, "404 page not found", ServerUnreachable, "address"),
    (407, "who are you", ServerUnreachable, "proxy"),
    (429, "slow down", JoinRefused, "later"),
    (451, "elsewhere", JoinRefused, "region"),
    (500, "connection closed by media", JoinRefused, "connection closed by media"),
    (502, "bad gateway", JoinRefused, "bad gateway"),
    (503, "node limits reached", JoinRefused, "node limits reached"),
    (200, "<html>", ServerUnreachable, "HTTP 200"),
]


@BOTH
@pytest.mark.parametrize(("status", "body", "kind", "word"), ANSWERS)
def test_refused_with_a_body(status, body, kind, word, options):
    error, asked = fail(refuse(status, body), options)
    assert type(error) is kind
    assert (error.report.status, error.report.body) == (status, body.strip())
    assert str(status) in error.report.what
    assert word in str(error)
    assert asked == ["/rtc/v1" if options is SINGLE else "/rtc"]


@BOTH
@pytest.mark.parametrize(
    ("status", "plain", "body", "kind"),
    [
        (404, 404, "requested room does not exist", RoomNotFound),
        (404, 404, "404 page not found", ServerUnreachable),
        (404, 404, "", ServerUnreachable),
        (401, 401, "invalid API key", TokenRejected),
        (500, 500, "internal server error", JoinRefused),
        (500, 401, "invalid API key", TokenRejected),
    ],
)
def test_refused_without_a_body(status, plain, body, kind, options):
    """The server is asked once more, without a WebSocket, and says why."""
    error, asked = fail(hide(status, plain, body), options)
    assert type(error) is kind
    assert (error.report.status, error.report.body) == (plain, body)
    path = "/rtc/v1" if options is SINGLE else "/rtc"
    assert asked == [path, path + "/validate"]


def test_asking_why_is_authorised_and_repeats_the_parameters():
    async def main():
        async with serve(refuse(404)) as server:
            await join_error(server.url, options=SINGLE)
            first, second = server.visits
            assert second.target.replace("/validate", "") == first.target
            assert first.headers["authorization"] == second.headers["authorization"] == f"Bearer {TOKEN}"
            assert second.method == "GET"
            assert second.plain
            assert TOKEN not in first.target

    run(main)


def test_the_server_would_let_us_in_but_something_takes_the_upgrade_away():
    error, _ = fail(hide(404, 200, "success"))
    assert type(error) is ServerUnreachable
    assert error.report.status == 404
    assert "in between" in error.report.why


@pytest.mark.parametrize(
    "script",
    [
        silent,
        bytes_and_hang_up(b""),
        bytes_and_hang_up(b"garbage\r\n\r\n"),
        bytes_and_hang_up(b"HTTP/1.1 404 No\r\nContent-Length: 100\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", 3.0),
        refuse(200, "x" * 1_000_000),
        refuse(204),
        refuse(302, "", {"Location": "http://127.0.0.1:1/"}),
    ],
    ids=["silent", "hang-up", "garbage", "cut", "drip", "huge", "no-content", "moved"],
)
def test_asking_why_in_vain(script):
    """What the WebSocket was answered stands, and it does not take long."""

    async def visit(visit):
        await (script(visit) if visit.plain else visit.answer(503))

    error, asked = fail(visit, virtual=True)
    assert type(error) is JoinRefused
    assert (error.report.status, error.report.body) == (503, "")
    assert len(asked) == 2


def test_asking_why_when_nobody_listens_any_more():
    async def main():
        async with serve(refuse(503)) as server:

            async def script(visit):
                server.stop()
                await trio.testing.wait_all_tasks_blocked(0.01)
                await visit.answer(503)

            server.script = script
            error = await join_error(server.url)
            assert type(error) is JoinRefused
            assert error.report.status == 503

    run(main)


@pytest.mark.parametrize("says", [True, False])
def test_a_request_that_is_too_long(says):
    """Refused before it was read; what is refused is the metadata."""
    metadata = "".join(random.Random(1).choices([chr(i) for i in range(0x4E00, 0x9FFF)], k=300_000))

    async def main():
        async def handle(stream):
            await stream.receive_some(1000)
            if says:
                await stream.send_all(b"HTTP/1.1 431 Too Large\r\nConnection: close\r\n\r\ntoo large")
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
            url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}"
            error = await join_error(url, options=ConnectOptions(single_peer_connection=True, metadata=metadata))
            if says:
                assert type(error) is JoinRefused
                assert (error.report.status, error.report.body) == (431, "too large")
                assert "metadata" in error.report.advice
            else:
                assert type(error) is ServerUnreachable
                assert "closed the connection" in error.report.why
            nursery.cancel_scope.cancel()

    run(main)


def test_a_long_answer_is_cut():
    error, _ = fail(refuse(500, "na " * 20_000 + "batman"))
    assert 100 < len(error.report.body) < 5000


def test_an_answer_that_repeats_the_token():
    """A server or proxy that echoes the request puts nothing secret into the error."""

    async def echo(visit):
        await visit.answer(502, f"GET {visit.target} {visit.headers} {TOKEN}")

    error, _ = fail(echo)
    assert "authorization" in error.report.body
    assert "join_request=" in error.report.body


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["https://user:hunter2@elsewhere.example/a?b=c", "/other", "", "http://[x"])
def test_redirected(status, location):
    """Not followed: the token is for the server that was named."""
    error, asked = fail(refuse(status, "", {"Location": location} if location else None))
    assert type(error) is ServerUnreachable
    assert error.report.status == status
    assert asked == ["/rtc/v1"]
    assert ("https://elsewhere.example" in str(error)) == location.startswith("https")
    assert "hunter2" not in str(error)


# ------------------------------------------------------------------ old servers, addresses


def test_an_old_server_is_joined_over_two_peer_connections():
    missing = refuse(404, "404 page not found")
    error, asked = fail(paths({"/rtc": leaves(3)}, missing))
    assert type(error) is JoinRefused
    assert asked == ["/rtc/v1", "/rtc"]
    error, asked = fail(paths({"/rtc": leaves(3)}, refuse(404)))
    assert type(error) is JoinRefused
    assert asked == ["/rtc/v1", "/rtc/v1/validate", "/rtc"]


def test_an_old_server_is_not_joined_over_one_if_that_is_insisted_on():
    error, asked = fail(paths({"/rtc": leaves(3)}), SINGLE)
    assert type(error) is ServerUnreachable
    assert error.report.kind == "service_not_found"
    assert asked == ["/rtc/v1"]


def test_no_livekit_at_all():
    error, asked = fail(refuse(404, "404 page not found"))
    assert type(error) is ServerUnreachable
    assert error.report.status == 404
    assert asked == ["/rtc/v1", "/rtc"]


@pytest.mark.parametrize("scheme", ["ws", "http"])
@pytest.mark.parametrize(
    ("end", "path"),
    [
        ("", "/rtc"),
        ("/", "/rtc"),
        ("//", "/rtc"),
        ("/pre/fix", "/pre/fix/rtc"),
        ("/pre/fix/", "/pre/fix/rtc"),
        ("/a%20b?c=d", "/a%20b/rtc"),
    ],
)
def test_addresses(scheme, end, path):
    async def main():
        async with serve(refuse(404)) as server:
            server.scheme = scheme
            error = await join_error(server.url + end, options=DUAL)
            assert error.report.status == 404
            assert server.paths == [path, path + "/validate"]
            assert all(("c=d" in visit.target) == ("c=d" in end) for visit in server.visits)

    run(main)


def test_an_ipv6_literal():
    async def main():
        async with serve(refuse(404), host="::1") as server:
            assert "[::1]" in server.url
            await join_error(server.url)
            assert {visit.headers["host"] for visit in server.visits} == {f"[::1]:{server.port}"}

    run(main)


def test_an_ipv6_literal_over_tls():
    async def main():
        async with serve(refuse(404, "requested room does not exist"), tls=server_context("::1"), host="::1") as server:
            error = await join_error(server.url, options=trusting())
            assert type(error) is RoomNotFound

    run(main)


def test_a_token_that_cannot_be_had():
    """What the function raises comes out, and nothing was asked of the server."""

    async def source():
        raise ZeroDivisionError

    async def main():
        async with serve(refuse(500)) as server:
            with pytest.raises(ZeroDivisionError):
                await trio_client.connect(server.url, source).__aenter__()
            assert server.connections == 0

    run(main)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "ws://",
        "ws://user:hunter2@example.com",
        "ws://example.com:99999",
        "ws://example.com/?access_token=hunter2",
        "ws://exa mple.com",
        "ws://[::1",
    ],
)
def test_unusable_addresses(url):
    async def main():
        with pytest.raises(ValueError) as caught:
            async with trio_client.connect(url, TOKEN):
                raise AssertionError
        assert "server address" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    run(main)


@pytest.mark.parametrize("token", ["", "a b", "a.b.c\n", "tökén", "Bearer x"])
def test_unusable_tokens(token):
    """Said at once, without a word to the server."""

    async def main():
        async with serve(refuse(500)) as server:
            with pytest.raises(ValueError) as caught:
                async with trio_client.connect(server.url, token):
                    raise AssertionError
            assert "token" in str(caught.value)
            assert len(token) < 2 or token not in str(caught.value)
            assert server.connections == 0

    run(main)


# ------------------------------------------------------------------ no HTTP, no WebSocket


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x00" * 1000,
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 401",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    ],
    ids=["nothing", "ssh", "zeros", "status", "bare-101", "wrong-accept", "cut", "long-header"],
)
def test_garbage(data):
    error, _ = fail(bytes_and_hang_up(data))
    assert type(error) is ServerUnreachable
    assert error.report.kind == "protocol"


@pytest.mark.parametrize("header", ["Extensions: permessage-deflate", "Extensions: x; y=z", "Protocol: other"])
def test_an_upgrade_to_something_else(header):
    """The server takes up what was not offered."""

    async def script(visit):
        await visit.upgrade(f"Sec-WebSocket-{header}\r\n")
        await visit.say("join", join_response())
        await visit.drain()

    error, _ = fail(script)
    assert type(error) is ServerUnreachable
    assert error.report.kind == "protocol"


def test_silence_before_the_upgrade():
    error, _ = fail(silent, virtual=True)
    assert type(error) is ServerUnreachable
    assert "15 s" in error.report.why
    assert "WebSocket handshake" in error.report.why


def test_a_slow_drip_of_headers():
    error, _ = fail(drip(b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 100, 3.0), virtual=True)
    assert type(error) is ServerUnreachable
    assert "15 s" in error.report.why


def test_a_refusal_just_in_time():
    error, _ = fail(after(14.0, refuse(503, "busy")), virtual=True)
    assert type(error) is JoinRefused
    assert error.report.status == 503


def test_nobody_listens():
    async def main():
        with trio.socket.socket() as unused:  # bound, but not listening
            await unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            error = await join_error(f"ws://127.0.0.1:{port}")
        assert type(error) is ServerUnreachable
        assert "refused" in str(error)

    run(main)


def test_a_host_that_does_not_answer(monkeypatch):
    async def main():
        error = await join_error("ws://192.0.2.1")
        assert type(error) is ServerUnreachable
        assert "connecting" in error.report.why

    async def never(*args, **options):
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    run(main, virtual=True)


def test_cancelled_while_a_name_is_looked_up(monkeypatch):
    """The thread that looks it up is left to itself."""
    asked, answered = threading.Event(), threading.Event()

    def slow(host, port, family=0, type=0, proto=0, flags=0):
        if not flags & socket.AI_NUMERICHOST:  # which Trio asks for first, without a thread
            asked.set()
            answered.wait(5)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async def main():
        with trio.move_on_after(0.2) as scope:
            async with trio_client.connect("ws://slow.example", TOKEN):
                raise AssertionError
        assert scope.cancelled_caught
        assert asked.is_set()
        assert trio.current_time() < scope.deadline + 0.5
        assert not ours()
        answered.set()

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    run(main)


def test_an_unknown_name():
    async def main():
        for host in ("no-such-host.invalid", f"{'a' * 64}.example"):
            error = await join_error(f"ws://{host}")
            assert type(error) is ServerUnreachable
            assert "name" in error.report.what

    run(main)


def test_a_lookup_that_fails(monkeypatch):
    async def broken(*args, **options):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(trio, "open_tcp_stream", broken)

    async def main():
        error = await join_error("ws://livekit.example")
        assert type(error) is ServerUnreachable
        assert "Temporary failure" in error.report.why

    run(main)


# ------------------------------------------------------------------ TLS


def trusting():
    return ConnectOptions(ssl_context=client_context())


PAST = datetime.now(UTC) - timedelta(days=2)


@pytest.mark.parametrize(
    ("certificate", "trusted", "word"),
    [
        ({"names": ["127.0.0.1"]}, False, "certificate is not accepted"),
        ({"names": ["other.example"]}, True, "127.0.0.1"),
        ({"names": ["127.0.0.1"], "not_before": PAST - timedelta(days=9), "not_after": PAST}, True, "expired"),
    ],
    ids=["unknown-authority", "wrong-name", "expired"],
)
def test_certificates(certificate, trusted, word):
    async def main():
        names = certificate["names"]
        rest = {name: value for name, value in certificate.items() if name != "names"}
        async with serve(refuse(500), tls=server_context(*names, **rest)) as server:
            error = await join_error(server.url, options=trusting() if trusted else None)
            assert type(error) is ServerUnreachable
            assert word in error.report.why
            assert "certificate" in error.report.advice
            assert not server.visits

    run(main)


def test_a_context_for_servers():
    async def main():
        async with serve(refuse(500), tls=server_context("127.0.0.1")) as server:
            error = await join_error(server.url, options=ConnectOptions(ssl_context=server_context("127.0.0.1")))
            assert type(error) is ServerUnreachable
            assert "ssl_context" in error.report.why

    run(main)


def test_a_host_that_no_certificate_has():
    async def main():
        async with serve(refuse(500), tls=server_context("127.0.0.1")) as server:
            error = await join_error(f"wss://.localhost:{server.port}")
            assert type(error) is ServerUnreachable

    run(main)


@pytest.mark.parametrize("scheme", ["wss", "https"])
def test_over_tls(scheme):
    async def main():
        async with serve(hide(404, 404, "requested room does not exist"), tls=server_context("127.0.0.1")) as server:
            server.scheme = scheme
            error = await join_error(server.url, options=trusting())
            assert type(error) is RoomNotFound
            assert len(server.visits) == 2

    run(main)


def test_wss_to_a_server_without_tls():
    async def main():
        async with serve(refuse(500)) as server:
            server.scheme = "wss"
            error = await join_error(server.url)
            assert type(error) is ServerUnreachable
            assert "ws or wss" in error.report.advice

    run(main)


def test_ws_to_a_server_with_tls():
    async def main():
        async with serve(refuse(500), tls=server_context("127.0.0.1")) as server:
            server.scheme = "ws"
            error = await join_error(server.url)
            assert type(error) is ServerUnreachable
            assert "wss" in str(error)

    run(main)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 54\r\n\r\n"
        b"<html>The plain HTTP request was sent to HTTPS port</ht>",
    ],
    ids=["alert", "go", "nginx"],
)
def test_ws_to_a_server_with_tls_that_says_so(answer):
    error, _ = fail(bytes_and_hang_up(answer))
    assert type(error) is ServerUnreachable
    assert "wss" in str(error)


def test_silence_in_the_tls_handshake():
    async def main():
        async with serve(silent) as server:
            server.scheme = "wss"
            error = await join_error(server.url)
            assert type(error) is ServerUnreachable
            assert "TLS" in error.report.why

    run(main, virtual=True)


# ------------------------------------------------------------------ an open WebSocket


@BOTH
def test_silence_after_the_upgrade(options):
    error, _ = fail(no_first_message, options, virtual=True)
    assert type(error) is ServerUnreachable
    assert "5 s" in error.report.what


def test_a_slow_drip_of_a_frame():
    error, _ = fail(upgraded(drip(b"\x82\x7e\x03\xe8" + bytes(1000), 1.0)), virtual=True)
    assert type(error) is ServerUnreachable
    assert "5 s" in error.report.what


@BOTH
@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 3000, 4001])
def test_closed_before_the_first_message(code, options):
    error, _ = fail(closes(code, f"because {TOKEN}"), options)
    assert type(error) is ServerUnreachable
    assert "before its first message" in error.report.what
    assert f"code {code}: because" in error.report.why


def test_dropped_before_the_first_message():
    error, _ = fail(drops)
    assert type(error) is ServerUnreachable
    assert "lost" in error.report.why


@BOTH
@pytest.mark.parametrize("reason", [*DisconnectReason, 999], ids=str)
def test_sent_away_with_the_first_message(reason, options):
    number = reason if isinstance(reason, int) else reason.value
    error, _ = fail(leaves(number), options)
    assert type(error) is JoinRefused
    assert error.reason is DisconnectReason(number)
    name = f"reason {number}" if isinstance(reason, int) else reason.name
    assert name in error.report.what


@pytest.mark.parametrize("action", [0, 1, 2, 3])
def test_sent_away_whatever_the_action(action):
    error, _ = fail(leaves(3, action))
    assert type(error) is JoinRefused
    assert error.reason is DisconnectReason.SERVER_SHUTDOWN


WRONG = [
    ("reconnect", proto.rtc.ReconnectResponse()),
    ("update", proto.rtc.ParticipantUpdate()),
    ("offer", proto.rtc.SessionDescription(type="offer", sdp="v=0")),
    ("trickle", proto.rtc.TrickleRequest(candidateInit="{}")),
    ("refresh_token", TOKEN),
    ("pong", 1),
    ("pong_resp", proto.rtc.Pong()),
    ("request_response", proto.rtc.RequestResponse()),
]


@pytest.mark.parametrize(("kind", "message"), WRONG, ids=[kind for kind, _ in WRONG])
def test_a_wrong_first_message(kind, message):
    error, _ = fail(first(kind, message))
    assert type(error) is ServerUnreachable
    assert kind in error.report.what
    assert "'join' first" in error.report.why


def test_undecodable_frames():
    error, _ = fail(frames(*[b"\xff" * 50] * 1000))
    assert type(error) is ServerUnreachable
    assert "decoded" in error.report.what


@pytest.mark.parametrize(
    "sent",
    [[b"\xff\xff"], [b""], ['{"join": {}}'] * 100, [b"\xfa\x7f\x00"]],
    ids=["undecodable", "empty", "text", "unknown-member"],
)
def test_frames_that_say_nothing(sent):
    error, _ = fail(frames(*sent), virtual=True)
    assert type(error) is ServerUnreachable
    assert "first message" in error.report.what


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + b"x" * 1000,
        b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
        b"\x89\x7e\x10\x00" + b"x" * 4096,
        b"\x81\x02\xff\xff",
        b"\x00\x01x",
        b"\x88\x01x",
    ],
    ids=["bits", "masked", "length", "long-ping", "not-utf-8", "continuation", "close-of-1"],
)
def test_frames_that_break_the_protocol(data):
    error, _ = fail(upgraded(bytes_and_hang_up(data)))
    assert type(error) is ServerUnreachable


def test_a_huge_frame():
    """It is not waited for, nor held in memory."""

    async def flood(visit):
        await visit.raw(b"\x82\x7f" + (1 << 40).to_bytes(8, "big"))
        for _ in range(400):
            await visit.raw(bytes(65536))

    error, _ = fail(upgraded(flood))
    assert type(error) is ServerUnreachable
    assert "1009" in error.report.why


@pytest.mark.parametrize("script", [refuse(404), closes(1011), joins(drops)], ids=["refused", "closed", "joined"])
def test_nothing_secret_is_logged(script, caplog):
    caplog.set_level(logging.DEBUG)
    fail(script)
    assert caplog.records
    assert not any(part in caplog.text for part in TOKEN.split("."))


# ------------------------------------------------------------------ let in, but


@BOTH
@pytest.mark.parametrize("how", ["close", "drop"])
def test_the_link_breaks_before_media(how, options):
    async def then(visit):
        await trio.sleep(0.05)
        if how == "close":
            await visit.close(1011, "mock")

    error, _ = fail(joins(then), options)
    assert type(error) is ServerUnreachable
    assert "before media" in error.report.what
    assert ("1011" if how == "close" else "lost") in error.report.why


def test_a_leave_before_media():
    async def then(visit):
        await visit.say("leave", proto.rtc.LeaveRequest(reason=proto.models.ROOM_DELETED))
        await visit.drain()

    error, _ = fail(joins(then))
    assert type(error) is JoinRefused
    assert error.reason is DisconnectReason.ROOM_DELETED


@BOTH
def test_no_pong(options):
    error, _ = fail(joins(no_pong), options, virtual=True)
    assert type(error) is ServerUnreachable
    assert "3 s" in error.report.why


@BOTH
def test_no_answer_to_the_offer(options):
    error, _ = fail(joins(keeps_alive), options, virtual=True)
    assert type(error) is MediaFailed
    assert error.report.kind == "media_failed"
    assert error.report.pairs == ()
    assert "15 s" in error.report.why
    assert "log" in error.report.advice


@pytest.mark.parametrize("sdp", ["", "nonsense", "v=0\r\n" * 1000, "m=audio 9 X Y\r\n"])
def test_an_answer_that_is_none(sdp):
    async def then(visit):
        while (request := await visit.request()) is not None and not request.HasField("leave"):
            await visit.say("answer", proto.rtc.SessionDescription(type="answer", sdp=sdp, id=1))

    error, _ = fail(joins(then), virtual=True)
    assert type(error) is MediaFailed


@pytest.mark.parametrize("single", [True, False], ids=["v1", "v0"])
def test_media_is_lost(single):
    """The candidate pairs are told, with what was tried and how it ended."""

    async def main():
        async with sfu_host() as host:
            host.lost = lambda data: True
            token = host.token()
            error = await join_error(host.url, token, ConnectOptions(single_peer_connection=single))
            assert type(error) is MediaFailed
            assert error.report.pairs
            port = host.sock.getsockname()[1]
            for line in error.report.pairs:
                assert line.startswith("host 127.0.0.1:")
                assert f"-> host 127.0.0.1:{port} udp: " in line
                assert int(line.rpartition(" checks sent")[0].rpartition(" ")[2]) > 1
                assert "checks sent, no answer" in line
                assert ": failed, " in line or ": in progress, " in line
            assert "UDP" in error.report.advice
            await host.web.gone()
            assert host.identities() == []

    run(main, virtual=True)


def test_media_cannot_be_sent():
    """The system refuses to send: the pair says why."""

    async def main():
        async with sfu_host() as host:
            host.lost = lambda data: True
            host.machine._candidate = Candidate("1", 1, "udp", 2130706431, "127.255.255.255", 9, "host")  # broadcast
            error = await join_error(host.url, host.token())
            assert type(error) is MediaFailed
            (line,) = error.report.pairs
            assert "-> host 127.255.255.255:9 udp: failed" in line
            assert "ermi" in line  # denied, or not permitted

    run(main, virtual=True)


def test_dtls_is_lost():
    """Checks pass, nothing else does."""

    async def main():
        async with sfu_host() as host:
            host.lost = lambda data: 20 <= data[0] < 64
            error = await join_error(host.url, host.token())
            assert type(error) is MediaFailed
            assert any("succeeded" in line for line in error.report.pairs)
            assert "DTLS" in error.report.why

    run(main, virtual=True)


def test_joining_works_after_all():
    """The servers above can be joined: one room, both paths, and an old server."""

    async def main():
        for options in ({}, {"path_v1": False}):
            async with sfu_host(**options) as host:
                for single in (None, False) if options else (True, False):
                    wish = ConnectOptions(single_peer_connection=single)
                    async with trio_client.connect(host.url, host.token(), options=wish) as room:
                        assert room.local_participant.identity == "ours"
                        assert host.identities() == ["ours"]
                    await host.web.gone()
                    assert host.identities() == []

    run(main)


def test_the_join_response_may_be_empty():
    error, _ = fail(first("join", proto.rtc.JoinResponse()), virtual=True)
    assert type(error) is MediaFailed
    assert join_response().IsInitialized()
