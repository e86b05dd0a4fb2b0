"""UDP ports: raw non-blocking sockets that a receive task drains in bursts.

``trio.socket`` costs a checkpoint a packet in each direction; a plain socket with ``wait_readable`` costs one a burst.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import trio

from ._core import Address, Transmit

DATAGRAM_BYTES = 2048
"""Longest datagram that is read whole; nothing in WebRTC comes near."""
SOCKET_BUFFER = 2 * 1024 * 1024
"""Asked of the system for each direction; it may grant less."""

STEADY = (800.0, 4000.0)
"""Datagrams a second, on one socket, that come one by one: waking up for each costs ten times what it brings. Slower
ones are worth it, faster ones come in bursts anyway."""
PAUSE = 0.003
"""Seconds that a socket with a steady stream is left alone, so that one wake-up serves several datagrams."""
MEDIA_PAUSE = 0.004
"""The same while media comes, which listeners hold back for longer than that anyway."""
SOUND_PAUSE = 0.008
"""The same while it is sound alone: a packet is 20 ms of it, and no bandwidth is at stake."""
SOUND_BYTES = 700
"""Datagrams of media that are smaller than this on average are sound: 100 to 200 bytes, and with RED up to 600."""
PACE_WINDOW = 0.05
"""Seconds over which the pace of a socket is judged."""

RUN = 40
"""Datagrams that one call of the system sends at most; Linux allows 64."""
RUN_BYTES = 60_000
"""Bytes of them together, which have to fit one IP packet."""
_UDP_SEGMENT = 103  # udp(7); the socket module has no name for it


class Port(Protocol):
    """One bound UDP port. ``recvfrom`` and ``sendto`` never block: they raise BlockingIOError.

    ``send_run``: send datagrams of so many bytes each, of which the last may be shorter, to an address by one call;
    None where that cannot be done.
    """

    address: Address
    recvfrom: Callable[[int], tuple[bytes, Any]]
    sendto: Callable[[bytes, Address], int]
    send_run: Callable[[list[bytes], int, Address], int] | None

    wait_readable: Callable[[], Awaitable[None]]

    async def wait_writable(self) -> None: ...
    def close(self) -> None: ...


PortFactory = Callable[[str, int, int], Port]
"""(host, lowest, highest) to a bound port; any free port when lowest is 0. Raises OSError."""


class UdpPort:
    """A Port that is a socket of the system."""

    __slots__ = ("address", "recvfrom", "send_run", "sendto", "wait_readable", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        host, port = sock.getsockname()[:2]
        self.address: Address = (host, port)
        self.recvfrom: Callable[[int], tuple[bytes, Any]] = sock.recvfrom
        self.sendto: Callable[[bytes, Address], int] = sock.sendto
        self.send_run: Callable[[list[bytes], int, Address], int] | None = (
            self._send_run if sys.platform == "linux" else None
        )
        self.wait_readable: Callable[[], Awaitable[None]] = partial(trio.lowlevel.wait_readable, sock)
        self._sock = sock

    def _send_run(self, datagrams: list[bytes], size: int, address: Address) -> int:
        """By the segmentation offload of Linux, since 4.18, at a quarter of the cost."""
        segment = (socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", size))
        return self._sock.sendmsg(datagrams, [segment], 0, address)

    async def wait_writable(self) -> None:
        await trio.lowlevel.wait_writable(self._sock)

    def close(self) -> None:
        """Close the socket; whoever waits on it gets ClosedResourceError."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


def take_run(first: Transmit, transmits: deque[Transmit]) -> list[Transmit]:
    """``first`` and those behind it that can leave by the same call, which are taken out."""
    port, addr, size = first.port, first.addr, len(first.data)
    run = [first]
    most = min(RUN, RUN_BYTES // size)
    while transmits and len(run) < most:
        following = transmits[0]
        length = len(following.data)
        if length > size or following.port != port or following.addr != addr:
            break
        run.append(transmits.popleft())
        if length < size:
            break
    return run


class Pace:
    """Whether datagrams come in a steady stream, which is then read a little later and several at once.

    Not while we send as much as we get: then what comes are acknowledgements that our own sending waits for.
    """

    __slots__ = ("pause", "steady", "_since", "_received", "_sent")

    def __init__(self) -> None:
        self.steady = False
        self.pause = PAUSE
        self._since = self._received = self._sent = 0.0

    def judge(self, data: bytes, average: float) -> None:
        """How long a pause may be: by the last datagram of a burst, and the bytes of each on average."""
        if not data or not 128 <= data[0] < 192:  # RFC 7983
            self.pause = PAUSE
        else:
            self.pause = SOUND_PAUSE if average < SOUND_BYTES else MEDIA_PAUSE

    def note(self, received: int, sent: int, now: float) -> None:
        """Counters of the driver, after a burst was read."""
        elapsed = now - self._since
        if elapsed >= PACE_WINDOW:
            count = received - self._received
            low, high = STEADY
            self.steady = low * elapsed <= count <= high * elapsed and 4 * (sent - self._sent) <= 3 * count
            self._since, self._received, self._sent = now, received, sent


def open_udp(host: str, low: int = 0, high: int = 0) -> UdpPort:
    """Bind a socket to an address of this host, on any free port or one in ``low..high``. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _bind(sock, host, low, high)
    except BaseException:
        sock.close()
        raise
    return UdpPort(sock)


def _bind(sock: socket.socket, host: str, low: int, high: int) -> None:
    if low == 0:
        sock.bind((host, 0))
        return
    # From a random port on, so that many sessions in one range do not all try the taken ones first.
    count = high - low + 1
    start = random.randrange(count)
    for i in range(count):
        try:
            sock.bind((host, low + (start + i) % count))
            return
        except OSError as error:
            last = error
    raise last
