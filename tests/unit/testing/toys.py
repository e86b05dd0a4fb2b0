"""Toy machines that obey the contract, and some that break it: they test the test kit."""

from __future__ import annotations

from collections import deque

from sansio.base.contract import INF, Transmit
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.timers import TimerTable


class Pinger:
    """Sends ``count`` numbered pings one after another, each again after 0.2 s until answered, at most ten times."""

    RETRY = 0.2
    MOST_TRIES = 10
    MOST_EARLY = 8

    def __init__(self, peer=("10.0.0.2", 5000), count=5, entropy=None):
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[tuple] = deque()
        self.peer = peer
        self.count = count
        self.entropy = entropy or Entropy(b"pinger")
        self.timers = TimerTable(1)
        self.next = 0
        self.tries = 0
        self.answered: list[int] = []
        self.early: list[int] = []
        self.closed = False
        self.last = 0.0

    def start(self, now):
        if self.tries:
            raise LocalProtocolError("started twice")
        self._send(self._clamp(now))

    def _clamp(self, now):
        self.last = max(now, self.last)
        return self.last

    def _send(self, now):
        self.tries += 1
        self.transmits.append(Transmit(1, b"\x00ping%c" % self.next + self.entropy.bytes(2), self.peer))
        self.timers.arm(0, now + self.RETRY)

    def handle_datagram(self, port, data, addr, now):
        now = self._clamp(now)
        if self.closed or not data.startswith(b"\x00pong") or len(data) != 6:
            return
        number = data[5]
        if number != self.next or not self.tries:
            if len(self.early) < self.MOST_EARLY:
                self.early.append(number)
            return
        self.answered.append(number)
        self.outbox.append(("answered", number))
        self.next += 1
        self.tries = 0
        if self.next == self.count:
            self.close(now)
        else:
            self._send(now)

    def close(self, now):
        if not self.closed:
            self.closed = True
            self.timers.stop_all()
            self.transmits.clear()
            self.outbox.append(("closed",))

    def advance(self, now):
        now = self._clamp(now)
        if self.timers.due(0, now):
            if self.tries == self.MOST_TRIES:
                self.close(now)
            else:
                self._send(now)
        return self.timers.next()


class Echo:
    """Answers each ping."""

    def __init__(self):
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque = deque()
        self.seen: list[tuple[float, bytes, tuple[str, int]]] = []

    def handle_datagram(self, port, data, addr, now):
        self.seen.append((now, data, addr))
        self.transmits.append(Transmit(port, b"\x00pong" + data[5:6], addr))

    def advance(self, now):
        return INF


class Burst:
    """Sends plain bytes of the lengths given, all at once, and keeps what arrives."""

    def __init__(self, *lengths, first=128):
        self.packets: deque[bytes] = deque(bytes([first]) * n for n in lengths)
        self.outbox: deque = deque()
        self.seen: list[tuple[float, bytes]] = []

    def take(self, data, now):
        self.seen.append((now, data))

    def advance(self, now):
        return INF


class Busy:
    """Wants to be called again at once."""

    def __init__(self):
        self.outbox: deque = deque()

    def advance(self, now):
        return now


class Client:
    """Asks its driver for everything there is to ask for, and notes the answers."""

    def __init__(self, *requests):
        self.outbox: deque = deque(requests)
        self.answers: list[tuple] = []

    def ask(self, *requests):
        self.outbox.extend(requests)

    def __getattr__(self, name):
        if name.startswith(("port_", "signal_", "resolved")):
            return lambda *args: self.answers.append((name, *args[:-1]))
        raise AttributeError(name)

    def advance(self, now):
        return INF
