"""Why a signalling link could not be opened: a typed reason, and a sentence a person can act on."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

from attrs import field, frozen

from .. import proto
from ..base.contract import SignalFailure
from ..base.limits import SIGNAL_ERROR_BODY

if TYPE_CHECKING:
    from ..proto import rtc


class RefusalKind(enum.Enum):
    """The kinds of refusal; what a client does next hangs on the kind alone."""

    TOKEN_REJECTED = "token_rejected"
    """The server does not accept the token: asking again with the same one is pointless."""
    ROOM_NOT_FOUND = "room_not_found"
    """The room does not exist and the server creates none by itself."""
    SERVICE_NOT_FOUND = "service_not_found"
    """No signalling service at this path: an old server behind ``/rtc/v1`` (try ``/rtc``), or the wrong address."""
    SERVER_ERROR = "server_error"
    """The server is there but cannot take us now."""
    UNREACHABLE = "unreachable"
    """No answer: name lookup, TCP, TLS, or silence."""
    REFUSED = "refused"
    """The server took the link and said leave, or keeps us out for a reason that is not the token."""
    PROTOCOL = "protocol"
    """What answered does not speak the protocol as we know it."""


@frozen
class Refusal:
    """Why the link could not be opened.

    ``what``, ``why`` and ``advice`` are sentences without any secret; ``str()`` joins them. ``status`` and ``body`` are
    of the HTTP answer (0 and empty without one). ``leave`` is the server's leave request, where one came first.
    """

    kind: RefusalKind
    what: str
    why: str
    advice: str
    status: int = 0
    body: str = ""
    leave: rtc.LeaveRequest | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return " ".join([part for part in (self.what, self.why, self.advice) if part])

    @property
    def retryable(self) -> bool:
        """Whether the same attempt may succeed later."""
        return self.kind in (RefusalKind.SERVER_ERROR, RefusalKind.UNREACHABLE)


def refusal_of_failure(failure: SignalFailure) -> Refusal:
    """The reason behind a WebSocket that the driver could not open."""
    if failure.kind == "http":
        return _of_status(failure.status, clean(failure.body), clean(failure.detail))
    detail = _sentence(clean(failure.detail))
    if failure.kind == "protocol":
        what = "The server's answer is no WebSocket handshake."
        return Refusal(RefusalKind.PROTOCOL, what, detail, _WRONG_ADDRESS, failure.status, clean(failure.body))
    what, advice = _UNREACHABLE.get(failure.kind, _UNREACHABLE["tcp"])
    return Refusal(RefusalKind.UNREACHABLE, what, detail, advice)


def refusal_of_leave(leave: rtc.LeaveRequest) -> Refusal:
    """The server opened the link only to say leave."""
    name = _reason_name(leave.reason)
    why, advice = _LEAVE.get(name, ("", "Join anew."))
    return Refusal(
        RefusalKind.REFUSED, f"The server let us in only to send us away ({name}).", why, advice, leave=leave
    )


def refusal_of_first_message(kind: str, wanted: str) -> Refusal:
    """The first message was neither the wanted one nor a leave."""
    return Refusal(
        RefusalKind.PROTOCOL,
        f"The server's first message was {kind!r}.",
        f"The protocol wants {wanted!r} first.",
        "Check that the address is that of a LiveKit server and that its version is a current one.",
    )


def refusal_of_garbage() -> Refusal:
    """The first messages could not be decoded."""
    return Refusal(
        RefusalKind.PROTOCOL,
        "The server's first messages could not be decoded.",
        "They are no protobuf.",
        _WRONG_ADDRESS,
    )


def refusal_of_silence(seconds: float, opened: bool) -> Refusal:
    """Nothing came in time: no WebSocket, or a WebSocket without a first message."""
    if opened:
        what = f"The server opened the link but sent no first message for {seconds:g} s."
        return Refusal(RefusalKind.UNREACHABLE, what, "It may be overloaded, or a proxy holds messages back.", _LATER)
    what, advice = _UNREACHABLE["timeout"]
    return Refusal(RefusalKind.UNREACHABLE, what, f"Waited {seconds:g} s.", advice)


def refusal_of_close(reason: str) -> Refusal:
    """The link was opened and closed again before a first message."""
    what = "The server closed the link before its first message."
    return Refusal(RefusalKind.UNREACHABLE, what, _sentence(clean(reason)), _LATER)


def clean(text: str) -> str:
    """Peer text made fit to show: bounded, on one line, without anything that looks like a token."""
    text = text[: 4 * SIGNAL_ERROR_BODY]
    text = _SECRET.sub(r"\1…", text)
    text = _JWT.sub("…", text)
    text = "".join([char if char.isprintable() else " " for char in text]).strip()
    return text[:SIGNAL_ERROR_BODY]


# ------------------------------------------------------------------ tables

_SECRET = re.compile(r"(?i)((?:access_token|join_request|token)=|bearer\s+)[^\s&\"'<>]+")
_JWT = re.compile(r"eyJ[A-Za-z0-9_\-]{5,}(?:\.[A-Za-z0-9_\-]*)*")

_LATER = "Try again later."
_WRONG_ADDRESS = "Check that the address is that of a LiveKit server, its port, and whether it is ws or wss."

_UNREACHABLE = {
    "dns": ("The name of the server cannot be looked up.", "Check the address for typing errors and the DNS."),
    "tcp": ("The server cannot be reached.", "Check address, port and firewalls, and that the server runs."),
    "tls": ("No secure connection to the server.", "Check the server's certificate, and whether it is ws or wss."),
    "timeout": ("The server did not answer in time.", "Check address, port and firewalls, and that the server runs."),
}

# (part of the body, why, advice) of an answer about the token; the bodies are those of livekit-server
_TOKEN = (
    ("token is expired", "It has expired.", "Mint a new token; the clocks of server and minter must agree."),
    ("not valid yet", "It is not valid yet.", "Check the clocks of the server and of the machine that mints tokens."),
    ("exp claim", "It has no expiry.", "Mint a token with an expiry."),
    ("invalid api key", "The server does not know its API key.", "Check API key and server address: they must match."),
    ("signature is invalid", "Its signature is wrong.", "Check that it was signed with the secret of its API key."),
    ("permissions denied", "It lacks the grant roomJoin.", "Mint a token that grants roomJoin and names the room."),
    (
        "no permissions to access the room",
        "It lacks a grant: a video grant, or canUpdateOwnMetadata to join with metadata or attributes.",
        "Mint a token with these grants.",
    ),
    ("no room name", "It names no room.", "Mint a token that names the room."),
    ("identity", "Its identity is empty or too long.", "Mint a token whose identity has 1 to 256 characters."),
    ("room name length", "The name of its room is too long.", "Room names have at most 256 characters."),
)

_LEAVE = {
    "CLIENT_INITIATED": ("This client has left.", "Join anew."),
    "DUPLICATE_IDENTITY": (
        "Somebody joined with the same identity.",
        "Give each participant its own identity.",
    ),
    "SERVER_SHUTDOWN": ("The server is shutting down.", "Join again later or on another server."),
    "PARTICIPANT_REMOVED": ("This participant was removed from the room.", "Do not rejoin without being asked to."),
    "ROOM_DELETED": ("The room was deleted.", "Join another room."),
    "STATE_MISMATCH": ("The server does not hold the session that was to be resumed.", "Join anew."),
    "JOIN_FAILURE": ("The server could not complete the join.", _LATER),
    "ROOM_CLOSED": ("The room has closed.", "Join another room."),
}


def _of_status(status: int, body: str, detail: str) -> Refusal:
    lowered = body.lower()
    # A page for browsers says nothing that fits into a sentence; ``body`` has it.
    why = _sentence(f'The server says "{body}"') if body and not body.startswith("<") else ""
    if status in (401, 403) or (status == 400 and ("identity" in lowered or "room name" in lowered)):
        what = f"The server rejected the token (HTTP {status})."
        for part, meaning, advice in _TOKEN:
            if part in lowered:
                return Refusal(RefusalKind.TOKEN_REJECTED, what, meaning, advice, status, body)
        return Refusal(RefusalKind.TOKEN_REJECTED, what, why, "Mint a new token for this server.", status, body)
    if status == 400 and "https" in lowered:
        what = "The server wants a secure connection (HTTP 400)."
        return Refusal(RefusalKind.UNREACHABLE, what, why, "Use wss in place of ws in the address.", status, body)
    about_request = any(word in lowered for word in ("join request", "join_request", "attributes"))
    if status in (413, 414, 431) or (status == 400 and about_request):
        what = f"The server does not take our join request (HTTP {status})."
        advice = "Join with smaller metadata and attributes; if it has none, server and client may not fit together."
        return Refusal(RefusalKind.REFUSED, what, why, advice, status, body)
    if status == 404 and "requested room does not exist" in lowered:
        what = "The room does not exist (HTTP 404)."
        meaning = "This server does not create rooms when somebody joins."
        return Refusal(RefusalKind.ROOM_NOT_FOUND, what, meaning, "Create the room first.", status, body)
    if status == 404:
        what = "No signalling service at this address (HTTP 404)."
        return Refusal(RefusalKind.SERVICE_NOT_FOUND, what, why, _WRONG_ADDRESS, status, body)
    if status == 429 or 500 <= status < 600:
        what = f"The server cannot take us now (HTTP {status})."
        # livekit-server's words for a full room, and for a session that it could not begin.
        advice = "The room may be full. " + _LATER if "closed by media" in lowered else _LATER
        return Refusal(RefusalKind.SERVER_ERROR, what, why, advice, status, body)
    if status == 451:
        what = "This project is not served here (HTTP 451)."
        return Refusal(RefusalKind.REFUSED, what, why, "Join in a region that the project is pinned to.", status, body)
    if status == 407:
        what = "A proxy wants credentials (HTTP 407)."
        return Refusal(RefusalKind.UNREACHABLE, what, why, "Give the proxy what it asks for.", status, body)
    if 300 <= status < 400:
        what = f"The server sends us elsewhere (HTTP {status})."
        advice = "Use the address of the server itself, with wss where it wants a secure connection."
        return Refusal(RefusalKind.PROTOCOL, what, _sentence(detail), advice, status, body)
    what = f"The server answered HTTP {status} in place of a WebSocket."
    return Refusal(RefusalKind.PROTOCOL, what, why, _WRONG_ADDRESS, status, body)


def _reason_name(reason: int) -> str:
    names = proto.models.DisconnectReason
    return str(names.Name(reason)) if reason in names.values() else f"reason {reason}"


def _sentence(text: str) -> str:
    text = text.strip()
    if text and text[-1] not in ".!?…":
        text += "."
    return text[:1].upper() + text[1:]
