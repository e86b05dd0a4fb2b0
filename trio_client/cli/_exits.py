"""How a command ends: the exit codes, and the paragraph that says what went wrong."""

from __future__ import annotations

from enum import IntEnum

import trio

from .._core import DisconnectReason, UnusableToken, UrlError
from .._errors import (
    ConnectError,
    DisconnectedError,
    JoinRefused,
    MediaFailed,
    RequestRejected,
    RoomNotFound,
    ServerUnreachable,
    TokenRejected,
)
from .._groups import leaves


class Exit(IntEnum):
    """Exit codes; ``docs/guide/cli.md`` explains each."""

    OK = 0
    BUG = 1
    USAGE = 2
    TOKEN_REJECTED = 3
    ROOM_NOT_FOUND = 4
    UNREACHABLE = 5
    REFUSED = 6
    MEDIA_FAILED = 7
    DISCONNECTED = 8
    REJECTED = 9
    SYSTEM = 10
    EXTRA = 11
    CHECK = 12
    INTERRUPTED = 130
    PIPE = 141


MEANING = {
    Exit.OK: "done; or stopped by you, where a command runs until it is stopped",
    Exit.BUG: "a bug of ours: there is a traceback",
    Exit.USAGE: "the command line is wrong",
    Exit.TOKEN_REJECTED: "the server does not accept the token",
    Exit.ROOM_NOT_FOUND: "there is no such room, and the server creates none by itself",
    Exit.UNREACHABLE: "no LiveKit server answered at the address",
    Exit.REFUSED: "the server is there but keeps us out",
    Exit.MEDIA_FAILED: "the server let us in, but no packet of media gets through",
    Exit.DISCONNECTED: "the server ended the session before the command was done",
    Exit.REJECTED: "the server did not do what was asked of it",
    Exit.SYSTEM: "a file or a port could not be opened, read or written",
    Exit.EXTRA: "the [media] extra, PyAV, is not installed",
    Exit.CHECK: "everything ran, but something that had to be seen was not",
    Exit.INTERRUPTED: "interrupted",
    Exit.PIPE: "whoever read the output has gone",
}

_CONNECT = {
    TokenRejected: Exit.TOKEN_REJECTED,
    RoomNotFound: Exit.ROOM_NOT_FOUND,
    ServerUnreachable: Exit.UNREACHABLE,
    JoinRefused: Exit.REFUSED,
    MediaFailed: Exit.MEDIA_FAILED,
}


class Failure(Exception):
    """Ends a command with an exit code and a paragraph."""

    def __init__(self, code: Exit, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def sent_away(reason: DisconnectReason) -> Failure:
    """What a command ends with when the server has ended its session."""
    text = f"The server ended the session: {reason.name}."
    if reason is DisconnectReason.DUPLICATE_IDENTITY:
        text += " Somebody joined with the same identity: take another one, with --identity or in the token."
    return Failure(Exit.DISCONNECTED, text)


def explain(error: BaseException) -> Failure | None:
    """How to end for this exception, or group of some; None if it is a bug."""
    failures = [_explain(leaf) for leaf in leaves(error)]
    found = [failure for failure in failures if failure is not None]
    return found[0] if len(found) == len(failures) else None


def _explain(error: BaseException) -> Failure | None:
    match error:
        case Failure():
            return error
        case KeyboardInterrupt():
            return Failure(Exit.INTERRUPTED, "")
        case UnusableToken() | UrlError():
            return Failure(Exit.USAGE, f"{str(error)[:1].upper()}{str(error)[1:]}.")
        case ConnectError():
            lines = [str(error), *error.report.pairs, *error.report.ways]
            return Failure(_CONNECT.get(type(error), Exit.REFUSED), "\n  ".join(lines))
        case DisconnectedError():
            return sent_away(error.reason)
        case trio.TooSlowError():
            return Failure(Exit.CHECK, "It took too long: what was waited for did not come.")
        case RequestRejected():
            return Failure(Exit.REJECTED, f"The server did not do what was asked: {error}.")
        case BrokenPipeError():  # the reader of a pipe has gone, head for instance
            return Failure(Exit.PIPE, "")
        case OSError():
            name = f"{error.filename}: " if error.filename else ""
            return Failure(Exit.SYSTEM, f"{name}{error.strerror or error}.")
        case _:
            return None
