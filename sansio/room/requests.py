"""User operations that wait for the server's answer.

Each has a token, which is also its ``request_id`` on the wire, and ends in exactly one of ``RequestDone`` and
``RequestFailed`` in the outbox, unless it was cancelled. The server answers by RequestResponse; only metadata and
data-blob requests come back with their id, all others with id 0 and an echo of the request, so those are found by a
key taken from it (the cid of a track, the handle of a data track).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from .. import proto
from ..base.contract import INF, NOW
from ..base.counters import Counters
from ..base.errors import LocalProtocolError, RemoteProtocolError
from ..base.limits import PENDING_REQUESTS
from ..types import DisconnectReason, RequestReason
from .rpc_error import RpcError

if TYPE_CHECKING:
    from ..proto import rtc


class RequestError(RemoteProtocolError):
    """The server did not do what it was asked for; ``reason`` is for programs, ``message`` the server's words."""

    def __init__(self, reason: RequestReason, message: str = "") -> None:
        super().__init__(f"{_WHY[reason]}: {message}" if message else _WHY[reason])
        self.reason = reason
        self.message = message


@frozen
class RequestDone:
    """The server has carried out the operation ``token``; ``result`` is what the operation returns."""

    token: int
    result: Any = None


@frozen
class RequestFailed:
    """The operation ``token`` has failed."""

    token: int
    error: RequestError | RpcError


class _Pending:
    __slots__ = ("kind", "key", "deadline")

    def __init__(self, kind: str, key: Any, deadline: float) -> None:
        self.kind = kind
        self.key = key
        self.deadline = deadline


class Requests:
    """The table of operations in flight. ``timeout`` is in seconds, for operations that give none of their own.

    ``due`` is when ``advance`` has to be called.
    """

    __slots__ = ("outbox", "counters", "due", "_timeout", "_last", "_pending")

    def __init__(self, outbox: deque[Any], *, timeout: float = 5.0) -> None:
        self.outbox = outbox
        self.counters = Counters()
        self.due = INF
        self._timeout = timeout
        self._last = 0
        self._pending: dict[int, _Pending] = {}

    def __contains__(self, token: int) -> bool:
        """Whether an operation still waits."""
        return token in self._pending

    def __len__(self) -> int:
        return len(self._pending)

    # ------------------------------------------------------------------ operations

    def update_metadata(
        self,
        now: float,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> tuple[int, str, rtc.UpdateParticipantMetadata]:
        """Change our own name, metadata or attributes: the token, and the request to send.

        Attributes that are not named stay; the value "" deletes one. Name and metadata cannot be emptied: on the wire
        an empty string means "unchanged", and the server would say OK and do nothing, so that is refused here.
        Raises LocalProtocolError for that, for anything but strings, and when too many requests wait. Sizes are the
        server's to judge (RequestReason.LIMIT_EXCEEDED): its limits are configurable.
        """
        for what, value in (("name", name), ("metadata", metadata)):
            if value == "":
                raise LocalProtocolError(
                    f"the {what} cannot be set to an empty string: the protocol reads that as 'leave it as it is'"
                )
        try:
            message = proto.rtc.UpdateParticipantMetadata(
                name=name, metadata=metadata, attributes=None if attributes is None else dict(attributes)
            )
        except (TypeError, ValueError, UnicodeError) as error:
            raise LocalProtocolError(f"name, metadata and attributes must be text: {error}") from None
        token = self.start("update_metadata", now=now)
        message.request_id = token
        return token, "update_metadata", message

    def start(self, kind: str, key: Any = None, *, timeout: float | None = None, now: float) -> int:
        """Enter an operation and get its token. ``kind`` is the member of SignalRequest that is sent.

        ``key`` finds it by the echo when the answer has no id: the track's cid for ``add_track``, its sid for ``mute``,
        ``update_audio_track`` and ``update_video_track``, the handle for ``publish_data_track`` and
        ``unpublish_data_track``. Raises LocalProtocolError when too many wait.
        """
        if len(self._pending) >= PENDING_REQUESTS:
            raise LocalProtocolError(f"{PENDING_REQUESTS} requests wait for the server's answer already")
        token = self.number()
        deadline = now + (self._timeout if timeout is None else timeout)
        self._pending[token] = _Pending(kind, key, deadline)
        self.due = NOW
        return token

    def number(self) -> int:
        """A token of its own for an operation that somebody else looks after."""
        self._last += 1
        return self._last

    def done(self, kind: str, key: Any, result: Any = None) -> bool:
        """An answer of its own kind has come (TrackPublished, say): end the operation. False if none waits for it."""
        token = self._by_key(kind, key)
        if token:
            del self._pending[token]
            self.outbox.append(RequestDone(token, result))
        return bool(token)

    def cancel(self, token: int) -> None:
        """Forget an operation: its answer will be ignored. Nothing happens if it has ended already."""
        self._pending.pop(token, None)

    def withdraw(self, token: int) -> None:
        """The newest operation could not be sent: it never was, and its number is free again."""
        del self._pending[token]
        self._last -= 1

    def fail_all(self, reason: DisconnectReason) -> None:
        """The session is over: nothing will be answered any more."""
        for token in self._pending:
            self.outbox.append(RequestFailed(token, RequestError(RequestReason.ROOM_ENDED, reason.name)))
        self._pending.clear()

    # ------------------------------------------------------------------ inputs

    def handle_response(self, response: rtc.RequestResponse, now: float) -> None:
        """The server's answer; one that nobody waits for is counted."""
        reason = RequestReason(response.reason)
        token = response.request_id if response.request_id in self._pending else self._by_echo(response)
        if not token:
            self.counters.add("unknown_request")
        elif reason is RequestReason.QUEUED:  # a promise; the real answer is still to come
            self.counters.add("request_queued")
        else:
            del self._pending[token]
            if reason is RequestReason.OK:
                self.outbox.append(RequestDone(token))
            else:
                self.outbox.append(RequestFailed(token, RequestError(reason, response.message)))

    def advance(self, now: float) -> float:
        """Let operations fail whose time is over; the next deadline."""
        for token in [token for token, pending in self._pending.items() if pending.deadline <= now]:
            del self._pending[token]
            self.outbox.append(RequestFailed(token, RequestError(RequestReason.TIMED_OUT)))
        self.due = min([pending.deadline for pending in self._pending.values()], default=INF)
        return self.due

    # ------------------------------------------------------------------ finding

    def _by_echo(self, response: rtc.RequestResponse) -> int:
        kind = response.WhichOneof("request")
        if kind is None:
            return 0
        echo = getattr(response, kind)
        if kind == "update_metadata":
            token: int = echo.request_id
            return token if token in self._pending else 0
        member = _KEYS.get(kind)
        return self._by_key(kind, getattr(echo, member)) if member is not None else 0

    def _by_key(self, kind: str, key: Any) -> int:
        """The oldest operation of that kind and key; 0 when there is none."""
        for token, pending in self._pending.items():
            if pending.kind == kind and pending.key == key:
                return token
        return 0


class Acknowledgements:
    """Who waits until the server has acknowledged the reliable data so far.

    ``awaited`` has, oldest first, how many packets have to be acknowledged, and the token of who waits for it.
    """

    __slots__ = ("awaited", "_outbox")

    def __init__(self, outbox: deque[Any]) -> None:
        self.awaited: deque[tuple[int, int]] = deque()
        self._outbox = outbox

    def add(self, packets: int, token: int) -> None:
        """The operation ``token`` is done when so many packets are acknowledged."""
        self.awaited.append((packets, token))

    def settle(self, packets: int) -> None:
        """So many are acknowledged."""
        awaited = self.awaited
        while awaited and awaited[0][0] <= packets:
            self._outbox.append(RequestDone(awaited.popleft()[1]))

    def cancel(self, token: int) -> None:
        """Nobody waits with this token any more."""
        self.awaited = deque([entry for entry in self.awaited if entry[1] != token])

    def fail_all(self, reason: RequestReason) -> None:
        """What is not acknowledged now never will be."""
        for _, token in self.awaited:
            self._outbox.append(RequestFailed(token, RequestError(reason)))
        self.awaited.clear()


_KEYS: Mapping[str, str] = {
    "add_track": "cid",
    "mute": "sid",
    "update_audio_track": "track_sid",
    "update_video_track": "track_sid",
    "publish_data_track": "pub_handle",
    "unpublish_data_track": "pub_handle",
}
"""What identifies a request in its echo."""

_WHY: Mapping[RequestReason, str] = {
    RequestReason.UNACKNOWLEDGED: "a new join came before the server had acknowledged the data",
    RequestReason.ROOM_ENDED: "the session ended before the answer",
    RequestReason.TIMED_OUT: "the server did not answer in time",
    RequestReason.OK: "done",
    RequestReason.NOT_FOUND: "the server knows no such object",
    RequestReason.NOT_ALLOWED: "the access token does not allow this",
    RequestReason.LIMIT_EXCEEDED: "a limit of the server is exceeded",
    RequestReason.QUEUED: "queued",
    RequestReason.UNSUPPORTED_TYPE: "the server does not support this type",
    RequestReason.UNCLASSIFIED_ERROR: "the server reports an error",
    RequestReason.INVALID_HANDLE: "the handle is not valid",
    RequestReason.INVALID_NAME: "the name is not valid",
    RequestReason.DUPLICATE_HANDLE: "the handle is in use",
    RequestReason.DUPLICATE_NAME: "the name is in use",
    RequestReason.INVALID_REQUEST: "the request is not valid",
}
