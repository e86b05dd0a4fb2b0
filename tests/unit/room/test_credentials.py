"""Which token is shown, and when another one is asked for."""

from __future__ import annotations

import base64
import json

import pytest

from sansio.base.contract import INF
from sansio.base.limits import SIGNAL_TOKEN
from sansio.base.wallclock import WallClock
from sansio.room.credentials import Credentials, expiry
from sansio.sfu.token import Claims, mint
from sansio.signal.urls import UnusableToken

UNIX = 1.8e9
CLAIMS = Claims("me", "room", "key")


def token(ttl: float, name: str = "") -> str:
    return mint(Claims("me", "room", "key", name), "secret", UNIX, ttl)


def body(value: object) -> str:
    return "h." + base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode() + ".s"


def shown(credentials: Credentials, now: float) -> str:
    return credentials.headers(now)[0][1].removeprefix("Bearer ")


def credentials(first: str, renewable: bool = True) -> Credentials:
    return Credentials(first, renewable=renewable, wall=WallClock(UNIX, 0.0))


def test_the_end_of_a_token():
    assert expiry(token(60.0)) == UNIX + 60
    assert expiry(body({"exp": 17.5})) == 17.5


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "no.dots-enough",
        "a.b.c",
        "a.....c",
        "h.!!!!.s",
        "h.é.s",
        body({}),
        body([]),
        body({"exp": "soon"}),
        body({"exp": None}),
        body({"exp": -1}),
        body({"exp": 1e13}),
        body({"exp": 10**400}),
        "h." + base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".s",
    ],
)
def test_a_token_that_does_not_say_when_it_ends(odd):
    assert expiry(odd) == INF


def test_what_cannot_be_sent_is_no_token():
    with pytest.raises(UnusableToken):
        credentials("two words")
    given = credentials("first")
    with pytest.raises(UnusableToken):
        given.renewed("line\nbreak")
    assert shown(given, 0.0) == "first"


def test_the_servers_newest_goes_first_while_it_lasts():
    given, newer, newest = token(3600), token(600, "a"), token(600, "b")
    held = credentials(given)
    held.refreshed(newer)
    held.refreshed(newest)
    assert shown(held, 594.0) == newest
    assert not held.wanted(594.0)
    assert shown(held, 596.0) == given  # a moment before the end is too late
    assert not held.wanted(596.0)
    assert held.wanted(3596.0)
    assert shown(held, 3596.0) == newest  # the server may think otherwise


@pytest.mark.parametrize("odd", ["", "two words", "line\nbreak", "é", "t" * (SIGNAL_TOKEN + 1)])
def test_what_the_server_sends_may_be_no_token(odd):
    held = credentials("first")
    assert not held.refreshed(odd)
    held.moved(odd)
    assert shown(held, 0.0) == "first"


def test_nothing_is_wanted_without_a_source():
    assert not credentials(token(10), renewable=False).wanted(20.0)


def test_a_token_from_the_source_takes_the_place_of_the_others():
    held = credentials(token(10))
    held.refreshed(token(20, "refreshed"))
    assert held.wanted(30.0)
    held.renewed("opaque")
    assert not held.wanted(1e9)
    assert shown(held, 30.0) == "opaque"


def test_after_a_move_the_token_for_the_old_room_is_not_used():
    held = credentials(token(3600))
    held.moved("for the new room".replace(" ", "-"))
    assert shown(held, 0.0) == "for-the-new-room"
    held.refreshed(token(10))
    assert shown(held, 100.0) == "for-the-new-room"


def test_after_a_rejection_the_next_one_is_tried():
    given, refreshed = token(3600), token(3600, "refreshed")
    held = credentials(given)
    held.refreshed(refreshed)
    assert held.rejected(0.0)
    assert shown(held, 0.0) == given
    assert held.rejected(0.0)  # there is the source
    assert held.wanted(0.0)
    held.renewed("fresh")
    assert shown(held, 0.0) == "fresh"
    assert not held.rejected(0.0)  # now there is nothing more to be hoped for


def test_without_a_source_the_last_rejection_is_the_end():
    held = credentials("only", renewable=False)
    assert not held.rejected(0.0)
    assert shown(held, 0.0) == "only"
    assert not held.rejected(0.0)


def test_after_a_success_the_source_may_be_asked_anew():
    held = credentials("first")
    held.renewed("second")
    held.accepted()
    assert held.rejected(0.0)
    assert held.wanted(0.0)


def test_rejected_tokens_that_are_gone_are_forgotten():
    held = credentials("first")
    for number in range(5):
        assert held.refreshed(f"token-{number}")
        assert held.rejected(0.0)
        assert shown(held, 0.0) == "first"
    assert held._rejected == ["token-4"]
