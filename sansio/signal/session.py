"""The signalling session: one logical link to the server over successive WebSockets.

The owner opens the WebSockets (``OpenSignal``) and tells the session with ``start``; the session judges what comes
first, keeps the link alive, and holds back requests while the link is away. Once ``start`` was called, exactly one of
these follows in the outbox:

- ``SignalJoined`` or ``SignalResumed``: the link is up;
- ``SignalRefused``: it could not be opened.

A link that is up ends with ``SignalLost`` (it broke), with ``ServerMessage("leave", …)`` (the server ended it), or
silently after ``leave()``. Whenever the session is the one to end it, a ``CloseSignal`` goes out first.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from .. import proto
from ..base.contract import INF, CloseSignal, SendSignal, SignalFailure
from ..base.counters import Counters
from ..base.errors import LocalProtocolError
from ..base.limits import (
    SIGNAL_EARLY,
    SIGNAL_EARLY_BYTES,
    SIGNAL_MESSAGE_IN,
    SIGNAL_MESSAGE_OUT,
    SIGNAL_PINGS,
    SIGNAL_QUEUE,
    SIGNAL_UNDECODABLE,
)
from ..base.timers import TimerTable
from ..base.wallclock import WallClock
from ..types import DisconnectReason
from .refusal import (
    Refusal,
    refusal_of_close,
    refusal_of_failure,
    refusal_of_first_message,
    refusal_of_garbage,
    refusal_of_leave,
    refusal_of_silence,
)

if TYPE_CHECKING:
    from ..proto import rtc

PASS_LIST = frozenset(("sync_state", "trickle", "offer", "answer", "simulate", "leave"))
"""Requests that belong to the resuming itself, and so are not held back by it."""


@frozen(kw_only=True)
class SignalOptions:
    """Patience, in seconds: for the link with its first message, and for the first message of an open WebSocket."""

    open_timeout: float = 15.0
    first_message_timeout: float = 5.0


# ------------------------------------------------------------------ outputs


@frozen(eq=False)
class SignalJoined:
    """The server let us in."""

    response: rtc.JoinResponse = field(repr=False)


@frozen(eq=False)
class SignalResumed:
    """The server took the resumed link; send ``sync_state`` before anything else, and ``flush`` when all is back."""

    response: rtc.ReconnectResponse = field(repr=False)


@frozen(eq=False)
class ServerMessage:
    """A message of the server: ``kind`` is the member of SignalResponse, ``message`` its value.

    Keep-alive answers are not among them. After ``leave`` the link is closed.
    """

    kind: str
    message: Any = field(repr=False)


@frozen
class SignalLost:
    """A link that was up broke. ``reason`` is one plain sentence."""

    reason: str


@frozen
class SignalRefused:
    """The link could not be opened."""

    reason: Refusal


Output = SendSignal | CloseSignal | SignalJoined | SignalResumed | ServerMessage | SignalLost | SignalRefused


class _State(enum.Enum):
    DOWN = enum.auto()
    """No WebSocket."""
    OPENING = enum.auto()
    """The WebSocket is being opened."""
    OPENED = enum.auto()
    """Waiting for the first message."""
    RESUMING = enum.auto()
    """Resumed; only the pass-list may be sent."""
    UP = enum.auto()


_LINK, _PING, _SILENCE = range(3)
CHECK_TIMEOUT = 1.5
"""Seconds in which a link must show that it has survived a change of the network."""


class SignalSession:
    """The machine of the signalling link.

    ``rtt`` is the round trip of the last answered ping in seconds, or None. ``connected`` says whether the link is up.
    The handlers carry no id of the link: the owner passes on only what concerns the WebSocket it named in ``start``.
    """

    def __init__(self, *, wall: WallClock, options: SignalOptions = SignalOptions()) -> None:
        self.outbox: deque[Output] = deque()
        self.rtt: float | None = None
        self.counters = Counters()
        self._wall = wall
        self._options = options
        self._state = _State.DOWN
        self._signal = 0
        self._resume = False
        self._timers = TimerTable(3)
        self._now = -INF
        self._ping_interval = 0.0
        self._ping_timeout = 0.0
        self._patience = 0.0
        self._pings: deque[tuple[int, float]] = deque(maxlen=SIGNAL_PINGS)
        self._undecodable = 0
        self._early: list[ServerMessage] = []
        self._early_bytes = 0
        self._queue: deque[bytes] = deque()

    def __repr__(self) -> str:
        return f"SignalSession({self._state.name}, signal={self._signal}, queued={len(self._queue)})"

    @property
    def connected(self) -> bool:
        """Whether the link is up: the server's first message has come and the link has not ended since."""
        return self._state is _State.UP or self._state is _State.RESUMING

    @property
    def ready(self) -> bool:
        """Whether a request goes out at once, whatever it is."""
        return self._state is _State.UP

    @property
    def queued(self) -> int:
        """Requests that wait for the link."""
        return len(self._queue)

    # -------------------------------------------------------------- the owner's calls

    def start(self, signal: int, *, resume: bool, now: float) -> None:
        """The owner is opening WebSocket ``signal``: to resume the session, or to join as new.

        A new join forgets the requests that were queued, since they speak of the old session.
        """
        if self._state is not _State.DOWN:
            raise LocalProtocolError("the signalling link is already open or opening")
        self._tick(now)
        self._state = _State.OPENING
        self._signal = signal
        self._resume = resume
        self._undecodable = self._early_bytes = 0
        self._early.clear()
        self._pings.clear()
        self.rtt = None
        self._timers.arm(_LINK, self._now + self._options.open_timeout)
        if not resume:
            self._queue.clear()
            self._ping_interval = self._ping_timeout = 0.0

    def send(self, kind: str, message: Any, now: float) -> bool:
        """Send the request ``kind`` (a member of SignalRequest), or queue it until the link is back.

        While the link is away or resuming, requests are queued, and go out with the join or with ``flush``. Those of
        the pass-list speak of the negotiation on the current link: they go out while resuming, and are dropped, with
        False returned, when there is no link to send them on.

        Raises LocalProtocolError for an unknown kind, a message of the wrong type, one that is too long for the
        server, and when the queue is full.
        """
        self._tick(now)
        data = self._encode(kind, message)
        if self._state is _State.UP or (self._state is _State.RESUMING and kind in PASS_LIST):
            self.outbox.append(SendSignal(self._signal, data))
            return True
        if kind in PASS_LIST:
            self.counters.add("not_sent")
            return False
        if len(self._queue) >= SIGNAL_QUEUE:
            raise LocalProtocolError("too many requests wait for the signalling link")
        self._queue.append(data)
        return True

    def flush(self, now: float) -> None:
        """The resumed session is whole again: what was queued goes out in order, and so does the first ping."""
        self._tick(now)
        if self._state is _State.RESUMING:
            self._up()

    def leave(self, now: float, *, reason: DisconnectReason = DisconnectReason.CLIENT_INITIATED) -> None:
        """Tell the server that we leave, and why, and close the link. What is still queued is dropped.

        Also on a link that is still being opened: the server has a participant before it answers the handshake, so a
        driver that may have asked already waits a moment for the answer and then says it.
        """
        self._tick(now)
        if self._state is _State.DOWN:
            return
        request = proto.rtc.LeaveRequest(action=proto.rtc.LeaveRequest.DISCONNECT)
        request.reason = reason.value  # type: ignore[assignment]  # any int: enums are open
        self.outbox.append(SendSignal(self._signal, self._encode("leave", request)))
        self._queue.clear()
        self._end(close=True)

    def drop(self, now: float) -> None:
        """Close the link without a word, to open another one. What was queued stays queued."""
        self._tick(now)
        if self._state is not _State.DOWN:
            self._end(close=True)

    def check(self, now: float) -> None:
        """The network has changed: the server is asked at once, and has to answer within ``CHECK_TIMEOUT``."""
        self._tick(now)
        if self._state is _State.UP and self._ping_interval and self._ping_timeout:
            self._ping()
            self._patience = min(self._ping_timeout, CHECK_TIMEOUT)
            self._timers.arm_earlier(_SILENCE, self._now + self._patience)

    # -------------------------------------------------------------- the driver's answers

    def handle_opened(self, now: float) -> None:
        """The WebSocket is open."""
        self._tick(now)
        if self._state is _State.OPENING:
            self._state = _State.OPENED
            self._timers.arm_earlier(_LINK, self._now + self._options.first_message_timeout)

    def handle_failed(self, failure: SignalFailure, now: float) -> None:
        """The WebSocket could not be opened."""
        self._tick(now)
        if self._state is _State.OPENING:
            self._refuse(refusal_of_failure(failure), close=False)

    def handle_closed(self, reason: str, now: float) -> None:
        """The WebSocket has closed without our asking. Whatever its close code: the server uses 1000 for everything."""
        self._tick(now)
        if self._state is _State.OPENING or self._state is _State.OPENED:
            self._refuse(refusal_of_close(reason), close=False)
        elif self._state is not _State.DOWN:
            self._lose(reason or "the server closed the signalling link", close=False)

    def handle_message(self, data: bytes, now: float) -> None:
        """One binary message of the WebSocket."""
        self._tick(now)
        if self._state is _State.DOWN or self._state is _State.OPENING:
            self.counters.add("unexpected_message")
            return
        response = proto.rtc.SignalResponse()
        try:
            if len(data) > SIGNAL_MESSAGE_IN:
                raise proto.DecodeError
            response.ParseFromString(data)
        except proto.DecodeError:
            self._handle_undecodable()
            return
        self._undecodable = 0
        self._rearm_silence()
        kind = response.WhichOneof("message")
        if kind is None:
            self.counters.add("unknown_message")
        elif self._state is _State.OPENED:
            self._handle_first(kind, getattr(response, kind), len(data))
        else:
            self._handle_later(kind, getattr(response, kind))

    def advance(self, now: float) -> float:
        """Do what is due; returns when to call again."""
        self._tick(now)
        timers = self._timers
        if timers.due(_LINK, self._now):
            opened = self._state is _State.OPENED
            waited = self._options.first_message_timeout if opened else self._options.open_timeout
            self._refuse(refusal_of_silence(waited, opened), close=True)
        if timers.due(_SILENCE, self._now):
            self._lose(f"nothing came from the server for {self._patience:g} s", close=True)
        if timers.due(_PING, self._now):
            self._ping()
        return timers.next()

    # -------------------------------------------------------------- messages

    def _handle_first(self, kind: str, message: Any, size: int) -> None:
        wanted = "reconnect" if self._resume else "join"
        if kind == wanted:
            self._timers.stop(_LINK)
            if self._resume:
                self._state = _State.RESUMING
                self.outbox.append(SignalResumed(message))
                self._rearm_silence()
                self.outbox.extend(self._early)
                self._early.clear()
            else:
                self._ping_interval = float(max(message.ping_interval, 0))
                self._ping_timeout = float(max(message.ping_timeout, 0))
                self.outbox.append(SignalJoined(message))
                self._up()
        elif kind == "leave":
            self._refuse(refusal_of_leave(message), close=True)
        elif self._resume and kind not in ("join", "pong", "pong_resp"):
            # The server swaps the participant to the new socket before it sends `reconnect` there, so that messages
            # of its other workers can come first.
            self._early_bytes += size
            if len(self._early) >= SIGNAL_EARLY or self._early_bytes > SIGNAL_EARLY_BYTES:
                self._refuse(refusal_of_first_message(kind, wanted), close=True)
            else:
                self._early.append(ServerMessage(kind, message))
        else:
            self._refuse(refusal_of_first_message(kind, wanted), close=True)

    def _handle_later(self, kind: str, message: Any) -> None:
        if kind == "pong_resp":
            self._handle_pong(message.last_ping_timestamp)
        elif kind == "pong":
            pass  # answers the legacy ping, which we do not send; it counts as a sign of life
        elif kind in ("join", "reconnect"):
            self.counters.add("unexpected_message")
        elif kind == "leave":
            self.outbox.append(CloseSignal(self._signal))
            self.outbox.append(ServerMessage(kind, message))
            self._end(close=False)
        else:
            self.outbox.append(ServerMessage(kind, message))

    def _handle_undecodable(self) -> None:
        self.counters.add("undecodable_message")
        self._undecodable += 1
        if self._undecodable < SIGNAL_UNDECODABLE:
            return
        if self._state is _State.OPENED:
            self._refuse(refusal_of_garbage(), close=True)
        else:
            self._lose("the messages of the server cannot be decoded", close=True)

    # -------------------------------------------------------------- keep-alive

    def _ping(self) -> None:
        stamp = int(self._wall.unix_at(self._now) * 1000)
        ping = proto.rtc.Ping(timestamp=stamp)
        if self.rtt is not None:
            ping.rtt = max(1, round(self.rtt * 1000))  # 0 would say "unknown"
        self._pings.append((stamp, self._now))
        self.outbox.append(SendSignal(self._signal, self._encode("ping_req", ping)))
        self._timers.arm(_PING, self._now + self._ping_interval)

    def _handle_pong(self, stamp: int) -> None:
        for sent, at in self._pings:
            if sent == stamp:
                self.rtt = self._now - at
                return
        self.counters.add("unexpected_pong")

    def _rearm_silence(self) -> None:
        """Any message is a sign of life; without both values from the join there is no watch at all."""
        if self._ping_interval and self._ping_timeout and self.connected:
            self._patience = self._ping_timeout
            self._timers.arm(_SILENCE, self._now + self._patience)

    # -------------------------------------------------------------- states

    def _up(self) -> None:
        self._state = _State.UP
        self._rearm_silence()
        while self._queue:
            self.outbox.append(SendSignal(self._signal, self._queue.popleft()))
        if self._ping_interval and self._ping_timeout:
            self._ping()

    def _refuse(self, reason: Refusal, *, close: bool) -> None:
        self._end(close=close)
        self.outbox.append(SignalRefused(reason))

    def _lose(self, reason: str, *, close: bool) -> None:
        self._end(close=close)
        self.outbox.append(SignalLost(reason))

    def _end(self, *, close: bool) -> None:
        if close:
            self.outbox.append(CloseSignal(self._signal))
        self._state = _State.DOWN
        self._early.clear()
        self._timers.stop_all()

    def _tick(self, now: float) -> None:
        if now > self._now:
            self._now = now

    def _encode(self, kind: str, message: Any) -> bytes:
        try:
            data: bytes = proto.rtc.SignalRequest(**{kind: message}).SerializeToString(deterministic=True)
        except (ValueError, TypeError) as exc:
            raise LocalProtocolError(f"no valid request {kind!r}: {type(exc).__name__}") from None
        if not data or len(data) > SIGNAL_MESSAGE_OUT:
            raise LocalProtocolError(f"the request {kind!r} is empty or longer than the server accepts")
        return data
