"""Why a join was refused. The statuses and bodies are those of a real server."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base import limits
from sansio.base.contract import SignalFailure
from sansio.signal.refusal import (
    RefusalKind,
    clean,
    refusal_of_close,
    refusal_of_failure,
    refusal_of_first_message,
    refusal_of_garbage,
    refusal_of_leave,
    refusal_of_silence,
)

TOKEN = RefusalKind.TOKEN_REJECTED
INVALID = "invalid authorization token: token "

ANSWERS = [
    (401, "no permissions to access the room", TOKEN, "grant"),
    (401, "invalid authorization header. Must start with Bearer", TOKEN, "Must start with Bearer"),
    (401, "invalid authorization token", TOKEN, "invalid authorization token"),
    (401, INVALID + "signature is invalid: signature is invalid", TOKEN, "secret"),
    (401, "invalid API key", TOKEN, "API key"),
    (401, INVALID + "signature is invalid: signing method none is invalid", TOKEN, "secret"),
    (401, INVALID + "has invalid claims: token is expired", TOKEN, "expired"),
    (401, INVALID + "has invalid claims: token is missing required claim: exp claim is required", TOKEN, "no expiry"),
    (401, INVALID + "has invalid claims: token is not valid yet", TOKEN, "clocks"),
    (401, "permissions denied", TOKEN, "roomJoin"),
    (400, "no room name", TOKEN, "names no room"),
    (400, "identity cannot be empty", TOKEN, "identity"),
    (400, "participant identity length exceeds limits: max length 256", TOKEN, "identity"),
    (400, "room name length exceeds limits: max length 256", TOKEN, "too long"),
    (403, "", TOKEN, "new token"),
    (400, "join_request is required", RefusalKind.REFUSED, "join_request is required"),
    (400, "join request too large", RefusalKind.REFUSED, "metadata"),
    (414, "", RefusalKind.REFUSED, "metadata"),
    (431, "", RefusalKind.REFUSED, "metadata"),
    (400, "cannot decode attributes", RefusalKind.REFUSED, "attributes"),
    (400, "Client sent an HTTP request to an HTTPS server.", RefusalKind.UNREACHABLE, "wss"),
    (400, "what", RefusalKind.PROTOCOL, "HTTP 400"),
    (404, "requested room does not exist", RefusalKind.ROOM_NOT_FOUND, "Create the room"),
    (404, "404 page not found", RefusalKind.SERVICE_NOT_FOUND, "address"),
    (404, "", RefusalKind.SERVICE_NOT_FOUND, "address"),
    (407, "", RefusalKind.UNREACHABLE, "proxy"),
    (429, "slow down", RefusalKind.SERVER_ERROR, "later"),
    (451, "", RefusalKind.REFUSED, "region"),
    (500, "connection closed by media", RefusalKind.SERVER_ERROR, "may be full"),
    (503, "", RefusalKind.SERVER_ERROR, "later"),
    (200, "<html>", RefusalKind.PROTOCOL, "HTTP 200"),
    (301, "", RefusalKind.PROTOCOL, "HTTP 301"),
]


def test_a_page_for_browsers_is_kept_and_not_read_out():
    refusal = refusal_of_failure(SignalFailure("http", "detail", 404, "<!DOCTYPE HTML><html><h1>Error</h1></html>"))
    assert "<" not in str(refusal)
    assert "Error" in refusal.body


@pytest.mark.parametrize(("status", "body", "kind", "word"), ANSWERS)
def test_http_answers(status: int, body: str, kind: RefusalKind, word: str) -> None:
    refusal = refusal_of_failure(SignalFailure("http", "detail", status, body))
    assert refusal.kind is kind
    assert word in str(refusal)
    assert (refusal.status, refusal.body) == (status, body)
    assert str(status) in refusal.what
    assert refusal.advice.endswith(".")
    assert refusal.retryable is (kind in (RefusalKind.SERVER_ERROR, RefusalKind.UNREACHABLE))


@pytest.mark.parametrize("kind", ["dns", "tcp", "tls", "timeout", "something new"])
def test_unreachable_servers(kind: str) -> None:
    refusal = refusal_of_failure(SignalFailure(kind, "no route to host"))
    assert refusal.kind is RefusalKind.UNREACHABLE
    assert refusal.retryable
    assert "No route to host." in str(refusal)
    assert refusal.status == 0


def test_the_four_ways_not_to_reach_a_server_read_differently() -> None:
    kinds = ("dns", "tcp", "tls", "timeout")
    assert len({refusal_of_failure(SignalFailure(kind, "")).what for kind in kinds}) == 4


def test_what_is_no_websocket() -> None:
    refusal = refusal_of_failure(SignalFailure("protocol", "expected 101!"))
    assert refusal.kind is RefusalKind.PROTOCOL
    assert refusal.why == "Expected 101!"
    assert not refusal.retryable


def test_a_handshake_that_was_answered_otherwise_keeps_its_status() -> None:
    refusal = refusal_of_failure(SignalFailure("protocol", "a proxy", 404, "token=x"))
    assert (refusal.kind, refusal.status, refusal.body) == (RefusalKind.PROTOCOL, 404, "token=…")


def test_redirects_say_where_to() -> None:
    refusal = refusal_of_failure(SignalFailure("http", "it points to https://example.com", 308))
    assert (refusal.kind, refusal.status) == (RefusalKind.PROTOCOL, 308)
    assert refusal.why == "It points to https://example.com."
    assert "wss" in refusal.advice


@pytest.mark.parametrize("name", proto.models.DisconnectReason.keys())
def test_leaves(name: str) -> None:
    leave = proto.rtc.LeaveRequest(reason=proto.models.DisconnectReason.Value(name))
    refusal = refusal_of_leave(leave)
    assert refusal.kind is RefusalKind.REFUSED
    assert refusal.leave is leave
    assert name in refusal.what
    assert refusal.advice
    assert not refusal.retryable


def test_a_leave_for_a_reason_from_the_future() -> None:
    leave = proto.rtc.LeaveRequest.FromString(b"\x10\x63")
    assert "reason 99" in str(refusal_of_leave(leave))


def test_the_other_refusals_say_what_happened() -> None:
    assert "'pong'" in refusal_of_first_message("pong", "join").what
    assert "'join'" in refusal_of_first_message("pong", "join").why
    assert refusal_of_garbage().kind is RefusalKind.PROTOCOL
    assert "5 s" in str(refusal_of_silence(5.0, True))
    assert "15 s" in str(refusal_of_silence(15.0, False))
    assert str(refusal_of_silence(15.0, False)) != str(refusal_of_silence(15.0, True))
    assert refusal_of_close("").why == ""
    assert "  " not in str(refusal_of_close(""))


# ------------------------------------------------------------------ what peers write


@pytest.mark.parametrize(
    "text",
    [
        "GET /rtc?access_token=SECRETSECRET&x=1",
        "Bearer SECRETSECRET",
        "token=SECRETSECRET",
        "bearer\tSECRETSECRET",
        "join_request=SECRETSECRET",
        "the token eyJSECRETSECRET.eyJSECRETSECRET.SECRET-_1 is bad",
        "x" * (4 * limits.SIGNAL_ERROR_BODY - 8) + "eyJSECRETSECRET",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert "SECRET" not in clean(text)
    refusal = refusal_of_failure(SignalFailure("http", "", 401, text))
    assert "SECRET" not in repr(refusal) + str(refusal) + refusal.body


def test_bodies_are_bounded_and_on_one_line() -> None:
    assert clean("a\nb\x1b[31m\tc\u202e") == "a b [31m c"
    assert len(clean("x" * 100_000)) == limits.SIGNAL_ERROR_BODY
    assert clean("  ") == ""
