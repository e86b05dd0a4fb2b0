"""What users may catch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from ._core import DisconnectReason, RequestReason


@frozen(kw_only=True)
class ConnectReport:
    """The facts behind a join that failed.

    ``what``, ``why`` and ``advice`` are the sentences of the error message. ``kind`` is the short name of what failed
    ("token_rejected", "unreachable", "media_failed" ...). ``server`` is the server's address, without path and query.
    ``status`` and ``body`` are those of the HTTP answer (0 and empty when there was none). ``verdict`` is one sentence
    on how each kind of path for media ended, ``pairs`` has a line for each candidate pair that was tried, ``ways`` for
    each relay and TCP connection opened for media, and ``table`` is both as text in columns. Nothing in a report is
    secret.
    """

    what: str
    why: str = ""
    advice: str = ""
    kind: str = ""
    server: str = ""
    status: int = 0
    body: str = ""
    verdict: str = ""
    pairs: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()
    table: str = ""

    def __str__(self) -> str:
        server = f"(Server: {self.server})" if self.server else ""
        return " ".join([part for part in (self.what, self.why, self.advice, server) if part])


class ConnectError(Exception):
    """The room could not be joined. The message says what failed, why, and what to do; ``report`` has the facts."""

    def __init__(self, report: ConnectReport) -> None:
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> tuple[type[ConnectError], tuple[ConnectReport]]:
        return type(self), (self.report,)


class TokenRejected(ConnectError):
    """The server does not accept the access token."""


class RoomNotFound(ConnectError):
    """The room does not exist, and the server does not create rooms when somebody joins."""


class ServerUnreachable(ConnectError):
    """No LiveKit server answered at this address: name lookup, TCP, TLS, a time-out, or something else that answers."""


class JoinRefused(ConnectError):
    """The server is there but keeps us out. ``reason`` is the server's, None when it gave none."""

    def __init__(self, report: ConnectReport, reason: DisconnectReason | None = None) -> None:
        super().__init__(report)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ConnectError], tuple[ConnectReport, DisconnectReason | None]]:  # type: ignore[override]
        return type(self), (self.report, self.reason)


class MediaFailed(ConnectError):
    """The server let us in, but no media connection (ICE, DTLS) came up; ``report.pairs`` tells what was tried."""


class DisconnectedError(Exception):
    """The room has ended (or the participant has left), by ``reason``: what was asked for cannot be any more.

    Also from the moment on in which we begin to leave: what was asked for before goes out still, and nothing else.
    """

    def __init__(self, reason: DisconnectReason, message: str = "") -> None:
        super().__init__(message or f"disconnected: {reason.name}")
        self.reason = reason

    def __reduce__(self) -> tuple[type[DisconnectedError], tuple[DisconnectReason, str]]:
        return type(self), (self.reason, str(self))


class RequestRejected(Exception):
    """The server did not do what was asked of it, for ``reason``."""

    def __init__(self, reason: RequestReason, message: str = "") -> None:
        super().__init__(f"{reason.name}: {message}" if message else reason.name)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[RequestRejected], tuple[RequestReason, str]]:
        return type(self), (self.reason, self.message)


class NotAcknowledged(Exception):
    """A new join came before the server had acknowledged the packet: whether it has arrived is not known."""

    def __init__(self) -> None:
        super().__init__("a new join came before the server had acknowledged the packet; it may have arrived or not")

    def __reduce__(self) -> tuple[type[NotAcknowledged], tuple[()]]:
        return type(self), ()


class DataTooLarge(ValueError):
    """A data packet holds more than one packet can carry; split it."""


class PushFrameError(Exception):
    """A frame of a data track was not sent: the message says why. There is nothing to retry: send the next one."""


class SubscribeDataTrackError(Exception):
    """The server did not let a data track come here."""


class SlowConsumer(Exception):
    """Events came faster than they were read: ``capacity`` were waiting, and this stream has ended with them."""

    def __init__(self, capacity: int) -> None:
        super().__init__(
            f"{capacity} events were waiting unread, so this stream has ended; read faster, ask for fewer event "
            f"types, or use overflow='drop_oldest'"
        )
        self.capacity = capacity

    def __reduce__(self) -> tuple[type[SlowConsumer], tuple[int]]:
        return type(self), (self.capacity,)
