"""The states of a session and what leads from one to the next. Data only: effects are the owner's.

``TABLE`` holds every transition, ``IGNORED`` every pair of state and trigger that deliberately changes nothing; a test
checks that no pair is in neither.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a session is."""

    IDLE = "idle"
    JOINING = "joining"
    CONNECTED = "connected"
    WAITING = "waiting"
    """Until the next attempt to resume or to restart."""
    RESUMING = "resuming"
    """The same participant with a new signalling link; media may flow all the while."""
    RESTARTING = "restarting"
    """A new join with the same objects."""
    CLOSED = "closed"


class Trigger(Enum):
    """What can happen to it."""

    START = "start"
    UP = "up"
    """Joined, and media is connected; or resumed, and every path is proven."""
    SIGNAL_LOST = "signal_lost"
    MEDIA_LOST = "media_lost"
    LEAVE_RESUME = "leave_resume"
    """The server asks for a resume."""
    LEAVE_RESTART = "leave_restart"
    """The server asks for a new join, or does not know us any more."""
    UNREACHABLE = "unreachable"
    """An attempt found no server."""
    FAILED = "failed"
    """An attempt found the server and went wrong."""
    DUE = "due"
    """The wait is over."""
    REFUSED = "refused"
    """The server will not have us: token, room, or a leave for good."""
    EXHAUSTED = "exhausted"
    """The policy gives up."""
    STOP = "stop"
    """The user leaves."""


class Mode(Enum):
    """What the next attempt will be."""

    RESUME = "resume"
    RESTART = "restart"
    KEEP = "keep"
    """As before."""


S, T, M = State, Trigger, Mode

TABLE: dict[tuple[State, Trigger], tuple[State, Mode]] = {
    (S.IDLE, T.START): (S.JOINING, M.KEEP),
    (S.IDLE, T.STOP): (S.CLOSED, M.KEEP),
    # A first join is not repeated behind the caller's back: it fails, and says why.
    (S.JOINING, T.UP): (S.CONNECTED, M.RESUME),
    (S.JOINING, T.SIGNAL_LOST): (S.CLOSED, M.KEEP),
    (S.JOINING, T.MEDIA_LOST): (S.CLOSED, M.KEEP),
    (S.JOINING, T.LEAVE_RESUME): (S.CLOSED, M.KEEP),
    (S.JOINING, T.LEAVE_RESTART): (S.CLOSED, M.KEEP),
    (S.JOINING, T.UNREACHABLE): (S.CLOSED, M.KEEP),
    (S.JOINING, T.FAILED): (S.CLOSED, M.KEEP),
    (S.JOINING, T.REFUSED): (S.CLOSED, M.KEEP),
    (S.JOINING, T.STOP): (S.CLOSED, M.KEEP),
    (S.CONNECTED, T.SIGNAL_LOST): (S.WAITING, M.RESUME),
    (S.CONNECTED, T.MEDIA_LOST): (S.WAITING, M.RESUME),
    (S.CONNECTED, T.LEAVE_RESUME): (S.WAITING, M.RESUME),
    (S.CONNECTED, T.LEAVE_RESTART): (S.WAITING, M.RESTART),
    (S.CONNECTED, T.FAILED): (S.WAITING, M.RESTART),
    (S.CONNECTED, T.REFUSED): (S.CLOSED, M.KEEP),
    (S.CONNECTED, T.STOP): (S.CLOSED, M.KEEP),
    (S.WAITING, T.DUE): (S.RESUMING, M.KEEP),  # or RESTARTING, by mode: see Lifecycle
    (S.WAITING, T.EXHAUSTED): (S.CLOSED, M.KEEP),
    (S.WAITING, T.STOP): (S.CLOSED, M.KEEP),
    (S.RESUMING, T.UP): (S.CONNECTED, M.RESUME),
    (S.RESUMING, T.UNREACHABLE): (S.WAITING, M.RESUME),
    (S.RESUMING, T.SIGNAL_LOST): (S.WAITING, M.RESUME),
    (S.RESUMING, T.LEAVE_RESUME): (S.WAITING, M.RESUME),
    (S.RESUMING, T.LEAVE_RESTART): (S.WAITING, M.RESTART),
    (S.RESUMING, T.MEDIA_LOST): (S.WAITING, M.RESTART),
    (S.RESUMING, T.FAILED): (S.WAITING, M.RESTART),
    (S.RESUMING, T.REFUSED): (S.CLOSED, M.KEEP),
    (S.RESUMING, T.EXHAUSTED): (S.CLOSED, M.KEEP),
    (S.RESUMING, T.STOP): (S.CLOSED, M.KEEP),
    (S.RESTARTING, T.UP): (S.CONNECTED, M.RESUME),
    (S.RESTARTING, T.UNREACHABLE): (S.WAITING, M.RESTART),
    (S.RESTARTING, T.SIGNAL_LOST): (S.WAITING, M.RESTART),
    (S.RESTARTING, T.MEDIA_LOST): (S.WAITING, M.RESTART),
    (S.RESTARTING, T.LEAVE_RESUME): (S.WAITING, M.RESTART),
    (S.RESTARTING, T.LEAVE_RESTART): (S.WAITING, M.RESTART),
    (S.RESTARTING, T.FAILED): (S.WAITING, M.RESTART),
    (S.RESTARTING, T.REFUSED): (S.CLOSED, M.KEEP),
    (S.RESTARTING, T.EXHAUSTED): (S.CLOSED, M.KEEP),
    (S.RESTARTING, T.STOP): (S.CLOSED, M.KEEP),
}

IGNORED: frozenset[tuple[State, Trigger]] = frozenset(
    # Nothing has begun, or all is over.
    [(S.IDLE, trigger) for trigger in T if trigger not in (T.START, T.STOP)]
    + [(S.CLOSED, trigger) for trigger in T]
    # It starts once; only a wait can be over, and only what is being mended can be given up.
    + [(state, T.START) for state in (S.JOINING, S.CONNECTED, S.WAITING, S.RESUMING, S.RESTARTING)]
    + [(state, T.DUE) for state in (S.JOINING, S.CONNECTED, S.RESUMING, S.RESTARTING)]
    + [(state, T.EXHAUSTED) for state in (S.JOINING, S.CONNECTED)]
    # No attempt runs, so none can go wrong; what is lost is lost already.
    + [(S.CONNECTED, T.UP), (S.CONNECTED, T.UNREACHABLE)]
    + [
        (S.WAITING, trigger)
        for trigger in (T.UP, T.SIGNAL_LOST, T.LEAVE_RESUME, T.LEAVE_RESTART, T.UNREACHABLE, T.FAILED, T.REFUSED)
    ]
    + [(S.WAITING, T.MEDIA_LOST)]
)
