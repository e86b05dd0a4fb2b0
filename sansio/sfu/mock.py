"""Scripted misbehaviour, chosen by the token: the ``lk.mock`` attribute as LiveKit's own test server reads it.

Its value is JSON: ``{"signal": mode, "leaveAction": number or name}``. Unlike there, a session that is let in is a real
one, media and all.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from attrs import frozen

from .. import proto
from ..base.contract import INF, CloseSignal
from .options import AcceptSignal, DropSignal, leave_signal
from .token import Claims

ATTRIBUTE = "lk.mock"
MODES = (
    "happy",
    "validate_500",
    "validate_service_not_found",
    "room_not_found",
    "no_first_message",
    "no_pong",
    "close_before_join",
    "close_when_connected",
    "drop_when_connected",
    "leave_when_connected",
    "leave_first_message",
    "leave_during_reconnect",
    "drop_on_close",
)
_ACTIONS = ("DISCONNECT", "RESUME", "RECONNECT")

BEFORE_JOIN = 0.05
"""Seconds from the handshake to the close of ``close_before_join``."""
WHEN_CONNECTED = 0.2
"""Seconds from the join to what the ``…_when_connected`` modes do."""
PING_INTERVAL = 1
PING_TIMEOUT = 3
CLOSE_CODE = 1011

REFUSALS = {
    "validate_500": (500, "internal server error"),
    "validate_service_not_found": (404, "not found"),
    "room_not_found": (404, "requested room does not exist"),
}
"""Status and body with which both the handshake and the validation are answered."""


@frozen
class Script:
    """How to misbehave; ``action`` is that of the leave messages it sends."""

    mode: str
    action: int = 0


def script_of(claims: Claims) -> Script | None:
    """The script in a token; None without one. What cannot be read is ``happy``."""
    text = claims.attributes.get(ATTRIBUTE, "")
    if not text:
        return None
    try:
        control = json.loads(text)
    except (ValueError, RecursionError):
        return Script("happy")
    if not isinstance(control, dict):
        return Script("happy")
    mode = control.get("signal")
    action = control.get("leaveAction", 0)
    if isinstance(action, str) and action.upper() in _ACTIONS:
        action = _ACTIONS.index(action.upper())
    known = isinstance(action, int) and not isinstance(action, bool) and 0 <= action < len(_ACTIONS)
    return Script(mode if mode in MODES else "happy", action if known else 0)


class Scripts:
    """Those that are played, by the numbers of their links. ``heeded``: whether tokens may ask for any."""

    def __init__(self, outbox: deque[Any], *, heeded: bool) -> None:
        self._outbox = outbox
        self._heeded = heeded
        self._links: dict[int, tuple[Script, float]] = {}

    def _script(self, claims: Claims) -> Script | None:
        return script_of(claims) if self._heeded else None

    def refusal(self, claims: Claims) -> tuple[int, str] | None:
        """Status and body for somebody who is to be kept out."""
        script = self._script(claims)
        return REFUSALS.get(script.mode) if script is not None else None

    def begin(self, signal: int, claims: Claims, *, reconnect: bool, now: float) -> bool:
        """Somebody who is let in asks for a link; True when it has been answered, and there is to be no session."""
        script = self._script(claims)
        if script is None:
            return False
        mode = script.mode
        if mode in ("no_first_message", "leave_first_message") or (mode == "leave_during_reconnect" and reconnect):
            self._outbox.append(AcceptSignal(signal))
            if mode != "no_first_message":
                self._send_leave(signal, script)
            return True
        if mode == "close_before_join":
            self._outbox.append(AcceptSignal(signal))
            self._links[signal] = (script, now + BEFORE_JOIN)
            return True
        self._links[signal] = (script, now + WHEN_CONNECTED if mode.endswith("_when_connected") else INF)
        return False

    def _send_leave(self, signal: int, script: Script) -> None:
        self._outbox.append(leave_signal(signal, script.action, proto.models.SERVER_SHUTDOWN))

    def ping_times(self, signal: int) -> tuple[int, int] | None:
        """Interval and timeout of the pings of a link that follows a script."""
        return (PING_INTERVAL, PING_TIMEOUT) if signal in self._links else None

    def swallows(self, signal: int, request: str) -> bool:
        """Whether a request (the name of the message) is to be passed over."""
        found = self._links.get(signal)
        return found is not None and found[0].mode == "no_pong" and request in ("ping", "ping_req")

    def closing(self, signal: int) -> CloseSignal | DropSignal:
        """How the server closes a link; its script is over."""
        found = self._links.pop(signal, None)
        return DropSignal(signal) if found is not None and found[0].mode == "drop_on_close" else CloseSignal(signal)

    def forget(self, signal: int) -> None:
        """A link is gone."""
        self._links.pop(signal, None)

    def clear(self) -> None:
        """All are over."""
        self._links.clear()

    @property
    def due(self) -> float:
        """When ``advance`` has to be called."""
        return min([due for _, due in self._links.values()], default=INF)

    def advance(self, now: float) -> list[int]:
        """Play what is due; the links that have ended by that."""
        ended = []
        for signal, (script, due) in list(self._links.items()):
            if due <= now:
                self._links[signal] = (script, INF)
                if script.mode == "leave_when_connected":
                    self._send_leave(signal, script)
                    continue
                dropping = script.mode == "drop_when_connected"
                self._outbox.append(DropSignal(signal) if dropping else CloseSignal(signal, CLOSE_CODE))
                ended.append(signal)
        return ended
