"""The contract that every machine of this package obeys.

A machine takes inputs (``handle_*`` and domain operations, with ``now`` last), appends what it wants done to two
deques, and says by the return value of ``advance`` when it wants to be called again:

    feed any number of inputs -> ``advance(now)`` -> drain ``transmits`` and ``outbox`` -> sleep until the deadline

The clauses C1-C10 that ``tests`` check of each machine:

C1  ``handle_*`` returns None and never raises because of peer bytes; it may already append outputs.
C2  ``advance(now)`` performs everything due at or before ``now`` and everything owed by earlier inputs.
C3  It returns an absolute time strictly greater than ``now``, or ``INF``.
C4  A second ``advance(now)`` with no input in between changes nothing and returns the same value.
C5  ``advance(t)`` before the deadline and without input produces nothing. Deadlines may be early, never late.
C6  Time does not go backwards: a smaller ``now`` counts as the last one.
C7  Operations validate first: they raise LocalProtocolError with the state untouched, or succeed.
C8  The same construction arguments and inputs give the same outputs, byte for byte.
C9  After the machine has closed, inputs are ignored and ``advance`` returns ``INF``.
C10 Memory is bounded by named limits whatever the peer sends.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Protocol

from attrs import frozen

INF = math.inf
"""No deadline."""
NOW = -math.inf
"""A deadline that has always passed: the machine owes work."""

Address = tuple[str, int]
"""IP address and port; IPv6 addresses without scope and flow are normalised to two elements by the driver."""


class Transmit:
    """One datagram for the network: send ``data`` from ``port`` to ``addr``.

    ``keep`` tells what to do when the socket would block: keep the datagram for the next writable moment (handshakes
    and data, whose loss costs a retransmission timeout) or drop it (media, which is stale by then).
    """

    __slots__ = ("port", "data", "addr", "keep")

    def __init__(self, port: int, data: bytes, addr: Address, keep: bool = True) -> None:
        self.port = port
        self.data = data
        self.addr = addr
        self.keep = keep

    def __repr__(self) -> str:
        return f"Transmit(port={self.port}, {len(self.data)} bytes, addr={self.addr})"


class Machine(Protocol):
    """What a parent or driver needs to know of any machine."""

    outbox: deque[Any]

    def advance(self, now: float) -> float: ...


# ------------------------------------------------------------------ facts a driver tells


@frozen
class Interface:
    """One address of one network interface of this host."""

    name: str
    address: str
    loopback: bool = False


# ------------------------------------------------------------------ requests to the driver
# Each carries an id allotted by the core and never reused within a session, and gets exactly one answer input.


@frozen
class OpenUdp:
    """Bind a UDP socket to ``host``: any free port, or one in ``low..high`` when ``low`` is not 0.

    Answer: ``port_opened(port, address, now)`` or ``port_failed(port, error, now)``.
    """

    port: int
    host: str
    low: int = 0
    high: int = 0


@frozen
class OpenStream:
    """Connect a TCP (or TLS) stream to ``addr``; answered like OpenUdp."""

    port: int
    addr: Address
    tls: bool = False
    server_name: str = ""


@frozen
class ClosePort:
    """Close a UDP socket or stream. No answer."""

    port: int


@frozen
class OpenSignal:
    """Open a WebSocket. Answer: ``signal_opened(signal, now)`` or ``signal_failed(signal, failure, now)``.

    ``headers`` carries the Authorization header: never log or repr it. ``local``: an address of this host that works at
    present, to be tried where the system's own choice is not answered; empty when none is known.
    """

    signal: int
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 15.0
    local: str = ""

    def __repr__(self) -> str:
        return f"OpenSignal(signal={self.signal}, timeout={self.timeout})"


@frozen
class SendSignal:
    """Send one binary WebSocket message. No answer."""

    signal: int
    data: bytes

    def __repr__(self) -> str:
        return f"SendSignal(signal={self.signal}, {len(self.data)} bytes)"


@frozen
class CloseSignal:
    """Close the WebSocket after what was sent before has been written. No answer is needed."""

    signal: int
    code: int = 1000


@frozen
class Resolve:
    """Look up a host name. Answer: ``resolved(token, addresses, now)``, empty when there is none."""

    token: int
    host: str


@frozen
class NeedToken:
    """Ask the user's source for an access token. Answer: ``token_renewed(request, token, now)`` or
    ``token_failed(request, reason, now)``, within ``timeout`` seconds.
    """

    request: int
    timeout: float = 15.0


@frozen
class SignalFailure:
    """Why a WebSocket could not be opened.

    ``kind``: "dns", "tcp", "tls", "http" (``status`` and ``body`` tell more), "protocol" or "timeout".
    ``detail`` is one plain sentence without any secret.
    """

    kind: str
    detail: str
    status: int = 0
    body: str = ""


Request = OpenUdp | OpenStream | ClosePort | OpenSignal | SendSignal | CloseSignal | Resolve | NeedToken
