"""Scripted misbehaviour, chosen by the token: the ``lk.mock`` attribute as LiveKit's own test server reads it.

Its value is JSON: ``{"signal": mode, "leaveAction": number or name}``. Unlike there, a session that is let in is a real
one, media and all.
"""

from __future__ import annotations

import json

from attrs import frozen

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
