"""Joins that the real server refuses, each for its own reason."""

from __future__ import annotations

import random

import pytest
import trio

import trio_client
from tests.driver.failing import join_error
from trio_client import (
    ConnectError,
    ConnectOptions,
    JoinRefused,
    RoomNotFound,
    ServerUnreachable,
    TokenRejected,
)

from . import tokens
from .ours import MODES
from .servers import KEY, SECRET, Server


def refused(url: str, token: str, single: bool | None, **options: object) -> ConnectError:
    found = []

    async def main() -> None:
        with trio.fail_after(20):
            wishes = ConnectOptions(single_peer_connection=single, **options)
            found.append(await join_error(url, token, wishes))

    trio.run(main)
    return found[0]


def bad_tokens(server: Server) -> dict[str, tuple[str, int, str, str]]:
    """By name: a token, the status, a part of the body, a word of ours."""
    key, secret = server.key, server.secret

    def join(**options: object) -> str:
        return tokens.join_token(key, secret, "room", "ours", **options)

    return {
        "signature": (tokens.join_token(key, secret[::-1], "room", "ours"), 401, "signature is invalid", "secret"),
        "key": (tokens.join_token("nokey", secret, "room", "ours"), 401, "invalid API key", "API key"),
        "expired": (join(lifetime=-600), 401, "token is expired", "expired"),
        "not-yet": (
            tokens.mint(key, secret, {"nbf": 9_999_999_999, "exp": 9_999_999_999}),
            401,
            "not valid yet",
            "clock",
        ),
        "malformed": ("nonsense", 401, "invalid authorization token", "token"),
        "no-grant": (tokens.mint(key, secret, {"sub": "ours"}), 401, "no permissions", "grant"),
        "no-join": (join(roomJoin=False), 401, "permissions denied", "roomJoin"),
        "no-room": (tokens.join_token(key, secret, "", "ours"), 400, "no room name", "names no room"),
        "no-identity": (tokens.join_token(key, secret, "room", ""), 400, "identity cannot be empty", "identity"),
        "identity": (tokens.join_token(key, secret, "room", "x" * 257), 400, "identity length", "256"),
        "room": (tokens.join_token(key, secret, "x" * 257, "ours"), 400, "room name length", "256"),
    }


@MODES
@pytest.mark.parametrize("name", list(bad_tokens(Server("", KEY, SECRET))))
def test_tokens(server, name, single):
    token, status, body, word = bad_tokens(server)[name]
    error = refused(server.url, token, single)
    assert type(error) is TokenRejected
    assert error.report.status == status
    assert body in error.report.body
    assert word in str(error)


def test_metadata_without_the_grant(server):
    token = server.token("room", "ours", canUpdateOwnMetadata=False)
    error = refused(server.url, token, True, metadata="mine")
    assert type(error) is TokenRejected
    assert "canUpdateOwnMetadata" in str(error)


def test_metadata_that_no_request_can_carry(server):
    noise = "".join(random.Random(1).choices([chr(i) for i in range(0x4E00, 0x9FFF)], k=600_000))
    error = refused(server.url, server.token("room", "ours"), True, metadata=noise)
    assert type(error) is JoinRefused
    assert error.report.status in (400, 431)
    assert "metadata" in error.report.advice


@pytest.mark.parametrize("single", [True, False, None], ids=["single", "dual", "no-fall-back"])
def test_a_room_that_is_not_there(own_server, single):
    server = own_server("room:\n  auto_create: false\n")
    error = refused(server.url, server.token("nowhere", "ours"), single)
    assert type(error) is RoomNotFound
    assert (error.report.status, error.report.body) == (404, "requested room does not exist")


def test_a_wrong_path(server):
    error = refused(server.url + "/no/such/path", server.token("room", "ours"), None)
    assert type(error) is ServerUnreachable
    assert error.report.kind == "service_not_found"


def test_a_full_server(own_server, room):
    server = own_server("limit:\n  num_tracks: -1\nroom:\n  max_participants: 1\n")

    async def main() -> None:
        async with trio_client.connect(server.url, server.token(room, "first")):
            error = await join_error(server.url, server.token(room, "second"))
            assert type(error) is JoinRefused
            assert error.report.status in (500, 503), error
            assert "may be full" in str(error)

    trio.run(main)


def test_a_server_that_is_gone(own_server):
    server = own_server()
    server.stop(kill=True)
    error = refused(server.url, server.token("room", "ours"), None)
    assert type(error) is ServerUnreachable
    assert "refused" in str(error)
