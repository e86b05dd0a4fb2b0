"""Joining against LiveKit's own mock of the signalling (``cmd/test-server`` of its server), in each of its modes.

Runs when ``LIVEKIT_MOCK`` is the URL of a running mock (``ws://127.0.0.1:9999``). It knows no media, so a join that it
lets in goes on until it is given up. The same cases, against our own server side, are in
``tests/driver/test_join_failures.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

import trio_client
from tests.driver.failing import join_error
from tests.driver.sweep import sockets
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

from . import tokens
from .conftest import absent

SINGLE = pytest.mark.parametrize("single", [True, False], ids=["v1", "v0"])


@pytest.fixture
def mock() -> str:
    """The mock's URL."""
    url = os.environ.get("LIVEKIT_MOCK")
    if not url:
        absent("No signalling mock: set LIVEKIT_MOCK (the URL of a running cmd/test-server of livekit-server).")
    assert url
    return url


def token(mode: str, **control: Any) -> str:
    attributes = {"lk.mock": json.dumps({"signal": mode, **control})}
    return tokens.join_token("devkey", "secret", "room", "ours", attributes=attributes)


def run(main: Callable[[], Awaitable[None]], *, virtual: bool = False) -> None:
    """Run, and see that no socket is left. ``virtual``: jump over what is waited for when nothing happens.

    The mock sleeps up to 0.2 s, in the time of its own.
    """
    before = sockets()
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.5) if virtual else None)
    assert sockets() == before


def error_of(url: str, token: str, single: bool | None, *, virtual: bool = False) -> ConnectError:
    found = []

    async def main() -> None:
        with trio.fail_after(30):
            found.append(await join_error(url, token, ConnectOptions(single_peer_connection=single)))

    run(main, virtual=virtual)
    return found[0]


@SINGLE
def test_validate_500(mock, single):
    error = error_of(mock, token("validate_500"), single)
    assert type(error) is JoinRefused
    assert (error.report.status, error.report.body) == (500, "internal server error")


@pytest.mark.parametrize("single", [True, False, None], ids=["v1", "v0", "fall-back"])
def test_validate_service_not_found(mock, single):
    error = error_of(mock, token("validate_service_not_found"), single)
    assert type(error) is ServerUnreachable
    assert error.report.kind == "service_not_found"
    assert (error.report.status, error.report.body) == (404, "404 page not found")


@pytest.mark.parametrize("single", [True, False, None], ids=["v1", "v0", "no-fall-back"])
def test_room_not_found(mock, single):
    error = error_of(mock, token("room_not_found"), single)
    assert type(error) is RoomNotFound
    assert (error.report.status, error.report.body) == (404, "requested room does not exist")


@SINGLE
@pytest.mark.parametrize("bad", ["signature", "expired", "malformed"])
def test_a_bad_token(mock, single, bad):
    text = {
        "signature": tokens.join_token("devkey", "wrong", "room", "ours"),
        "expired": tokens.join_token("devkey", "secret", "room", "ours", lifetime=-600),
        "malformed": "nonsense",
    }[bad]
    error = error_of(mock, text, single)
    assert type(error) is TokenRejected
    assert error.report.status == 401
    assert error.report.body == "invalid token"


@SINGLE
def test_no_first_message(mock, single):
    error = error_of(mock, token("no_first_message"), single, virtual=True)
    assert type(error) is ServerUnreachable
    assert "no first message for 5 s" in error.report.what


@SINGLE
def test_no_pong(mock, single):
    error = error_of(mock, token("no_pong"), single)
    assert type(error) is ServerUnreachable
    assert "Nothing came from the server for 3 s." in error.report.why


@SINGLE
def test_close_before_join(mock, single):
    error = error_of(mock, token("close_before_join"), single)
    assert type(error) is ServerUnreachable
    assert "before its first message" in error.report.what
    assert "1011" in error.report.why


@SINGLE
def test_close_when_connected(mock, single):
    error = error_of(mock, token("close_when_connected"), single)
    assert type(error) is ServerUnreachable
    assert "before media" in error.report.what
    assert "1011: mock close_when_connected" in error.report.why


@SINGLE
def test_drop_when_connected(mock, single):
    error = error_of(mock, token("drop_when_connected"), single)
    assert type(error) is ServerUnreachable
    assert "before media" in error.report.what
    assert "lost" in error.report.why


@SINGLE
@pytest.mark.parametrize("action", ["DISCONNECT", "RESUME", "RECONNECT"])
def test_leave_when_connected(mock, single, action):
    error = error_of(mock, token("leave_when_connected", leaveAction=action), single)
    assert type(error) is JoinRefused
    assert error.reason is DisconnectReason.SERVER_SHUTDOWN


@SINGLE
@pytest.mark.parametrize("action", ["DISCONNECT", "RESUME", "RECONNECT"])
def test_leave_first_message(mock, single, action):
    error = error_of(mock, token("leave_first_message", leaveAction=action), single)
    assert type(error) is JoinRefused
    assert error.reason is DisconnectReason.SERVER_SHUTDOWN


@SINGLE
@pytest.mark.parametrize("mode", ["happy", "leave_during_reconnect", "drop_on_close"])
def test_let_in_and_given_up(mock, single, mode):
    """Cancelled while it waits for media, in a quarter of a second, with everything closed."""

    async def main() -> None:
        options = ConnectOptions(single_peer_connection=single)
        with trio.move_on_after(1.0) as scope:
            async with trio_client.connect(mock, token(mode), options=options):
                raise AssertionError("no media, and connected")
        assert scope.cancelled_caught
        assert trio.current_time() < scope.deadline + 0.35

    run(main)


def test_no_media(mock):
    """The mock answers no offer."""
    error = error_of(mock, token("happy"), True)
    assert type(error) is MediaFailed
    assert error.report.pairs == ()
    assert "did not answer our offer within 15 s" in error.report.why
