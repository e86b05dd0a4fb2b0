"""What the server and its driver say to each other, and how the server is set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from attrs import field, frozen

from .. import proto
from ..base.contract import Address, SendSignal
from ..dtls.engine import EngineFactory, default_engine

PORT = 1
"""The one UDP port of the server. TCP connections have numbers of the driver's choice, from 2 up."""

Headers = tuple[tuple[str, str], ...]


@frozen
class AcceptSignal:
    """Answer the WebSocket handshake with 101."""

    signal: int


@frozen
class RefuseSignal:
    """Answer the WebSocket handshake with an HTTP error."""

    signal: int
    status: int
    body: str


@frozen
class DropSignal:
    """Cut the TCP connection of a link without a closing handshake, as a crash would: scripted misbehaviour."""

    signal: int


def leave_signal(signal: int, action: Any, reason: Any) -> SendSignal:
    """A leave on a link that has no session. ``action`` and ``reason`` are numbers of the enumerations."""
    response = proto.rtc.SignalResponse(leave=proto.rtc.LeaveRequest(action=action, reason=reason))
    return SendSignal(signal, response.SerializeToString(deterministic=True))


@frozen
class Note:
    """Something for the log of a person who watches: ``what`` is "joined", "resumed" or "left"."""

    what: str
    room: str
    identity: str


CORS = ("Access-Control-Allow-Origin", "*")


class HttpResponse(NamedTuple):
    """The answer to an HTTP request. The length of the body is not among the headers."""

    status: int
    headers: Headers
    body: bytes

    @classmethod
    def plain(cls, status: int, text: str) -> HttpResponse:
        """An answer in plain text."""
        return cls(status, (("Content-Type", "text/plain; charset=utf-8"), CORS), text.encode())


@frozen
class AnswerHttp:
    """The answer to an HTTP request for which ``handle_http`` gave a number in place of one."""

    number: int
    response: HttpResponse


@frozen(kw_only=True)
class ServerOptions:
    """How a server behaves.

    ``keys``: API key to secret. ``auto_create``: whether a join makes its room. ``path_v1``: whether ``/rtc/v1``
    exists, as it does not on old servers. ``resume``: whether clients that come back are known. ``more_addresses``:
    further addresses at which the UDP port is reachable. ``tcp_address``: where TCP connections for ICE are taken, if
    anywhere. ``udp``: whether the UDP port is announced. ``mock``: whether the ``lk.mock`` attribute of a token is
    heeded. ``empty_timeout``, ``departure_timeout``: seconds for which a room stays that nobody has entered yet, or
    that everybody has left. ``max_participants``: of one room, 0 for no limit. ``remote_unmute``: whether the API may
    unmute tracks. ``refresh_tokens``: whether clients get fresh tokens, at the join and every five minutes.
    """

    keys: Mapping[str, str] = field(repr=False)
    auto_create: bool = True
    path_v1: bool = True
    resume: bool = True
    ping_interval: int = 5
    ping_timeout: int = 15
    more_addresses: tuple[Address, ...] = ()
    tcp_address: Address | None = None
    udp: bool = True
    mock: bool = True
    empty_timeout: float = 300.0
    departure_timeout: float = 20.0
    max_participants: int = 0
    remote_unmute: bool = False
    refresh_tokens: bool = True
    dtls_engine: EngineFactory = default_engine
