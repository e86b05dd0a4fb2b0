"""The access tokens of a session: which one to show, and when another has to be asked for.

A token of the server (``refresh_token``) goes before the one that the session began with, as long as neither its own
end nor the server speaks against it: it carries the grants as they are now. When none is left that could be accepted,
the user's source is asked, if there is one.
"""

from __future__ import annotations

import base64
import json

from ..base.contract import INF
from ..base.limits import SIGNAL_TOKEN
from ..base.wallclock import WallClock
from ..signal import urls

MARGIN = 5.0
"""Seconds before its end from which on a token is not shown any more: showing it takes time."""
_LATEST = 1e12


def expiry(token: str) -> float:
    """The Unix time (seconds) at which a JSON Web Token ends (RFC 7519 section 4.1.4); INF when it does not say.

    Nothing is verified: the token is our own, and only the server's opinion of it counts.
    """
    body = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        end = float(claims["exp"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return INF
    return end if 0 < end < _LATEST else INF


class Credentials:
    """See the head of the module. ``renewable`` says whether there is a source."""

    __slots__ = ("renewable", "_tokens", "_rejected", "_fresh", "_wall")

    def __init__(self, token: str, *, renewable: bool, wall: WallClock) -> None:
        urls.request_headers(token)
        self.renewable = renewable
        self._tokens = [token]
        self._rejected: list[str] = []
        self._fresh = ""
        self._wall = wall

    def headers(self, now: float) -> tuple[tuple[str, str], ...]:
        """What the next attempt shows. Never log it."""
        return urls.request_headers(self._best(now) or self._tokens[0])

    def wanted(self, now: float) -> bool:
        """Whether the source has to be asked before the next attempt."""
        return self.renewable and not self._best(now)

    def _best(self, now: float) -> str:
        latest = self._wall.unix_at(now) + MARGIN
        for token in self._tokens:
            if token not in self._rejected and expiry(token) > latest:
                return token
        return ""

    def refreshed(self, token: str) -> bool:
        """The server has sent a newer one; False when that cannot be sent back, and is not kept."""
        if not _usable(token):
            return False
        self._tokens = [token, self._tokens[-1]]
        self._rejected = [old for old in self._rejected if old in self._tokens]
        return True

    def moved(self, token: str) -> None:
        """The server has sent one for another room, if any: those before are of no use there."""
        if _usable(token):
            self._tokens = [token]
            self._rejected.clear()

    def renewed(self, token: str) -> None:
        """The source has given one. Raises UnusableToken when it cannot be sent."""
        urls.request_headers(token)
        self._tokens = [token]
        self._rejected.clear()
        self._fresh = token

    def rejected(self, now: float) -> bool:
        """The server does not accept what it was shown. Whether there is, or may be, one that it has not seen."""
        shown = self._best(now) or self._tokens[0]
        if shown not in self._rejected:
            self._rejected.append(shown)
        return bool(self._best(now)) or (self.renewable and shown != self._fresh)

    def accepted(self) -> None:
        """The session is whole again: what the source gave for it is as good as any other from now on."""
        self._fresh = ""
        self._rejected.clear()


def _usable(token: str) -> bool:
    try:
        urls.request_headers(token)
    except urls.UnusableToken:
        return False
    return len(token) <= SIGNAL_TOKEN
