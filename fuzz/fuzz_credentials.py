"""Access tokens, of the user's source and of the server: whatever they hold, one that can be sent is at hand."""

from __future__ import annotations

from sansio.base.wallclock import WallClock
from sansio.room.credentials import Credentials, expiry
from sansio.signal.urls import UnusableToken

FIRST = "first"


def one(data: bytes) -> None:
    tokens = data.decode("utf-8", "replace").split("\n")
    held = Credentials(FIRST, renewable=len(data) % 2 == 1, wall=WallClock(1.8e9, 0.0))
    for number, token in enumerate(tokens[:50]):
        assert expiry(token) > 0
        now = number * 100.0
        match number % 4:
            case 0:
                held.refreshed(token)
            case 1:
                held.moved(token)
            case 2:
                held.rejected(now)
            case _:
                try:
                    held.renewed(token)
                except UnusableToken:
                    held.accepted()
        assert held.headers(now)[0][1].isprintable()
        assert held.renewable or not held.wanted(now)
