"""Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01), both ways.

The receiving end notes when each numbered packet came (``ArrivalRecorder``) and reports it; the sending end remembers
what it sent (``SentRecorder``) and turns reports into one result a packet, for a bandwidth estimator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from ..base.contract import INF, NOW
from ..base.errors import ParseError
from ..base.limits import TWCC_RESULTS, TWCC_SENT, TWCC_STATUSES, TWCC_WINDOW
from ..base.serial import Unwrapper

_unpack_fixed = Struct("!HHI").unpack_from
_pack_fixed = Struct("!HHI").pack
_unpack_half = Struct("!H").unpack_from
_pack_half = Struct("!H").pack

TICK = 0.000250
"""Unit of the deltas, in seconds."""
TICKS_PER_REFERENCE = 256
"""The reference time counts 64 ms."""
INTERVAL = 0.1
"""Seconds from the first unreported packet to the report."""
ENOUGH = 100
"""Packets that are reported at once."""


class Arrivals(NamedTuple):
    """One report. ``reference`` is in units of 64 ms, 24 bits; ``deltas`` has an entry a packet from ``base`` on: ticks
    of 250 us since the one before that arrived (the first: since ``reference``), or None for a packet that did not."""

    base: int
    reference: int
    number: int
    deltas: tuple[int | None, ...]


def decode_arrivals(body: bytes) -> Arrivals:
    """Read the body of a TransportFeedback. Raises ParseError."""
    size = len(body)
    if size < 8:
        raise ParseError("TWCC: shorter than its fixed part")
    base, count, word = _unpack_fixed(body)
    if count > TWCC_SENT:
        raise ParseError("TWCC: tells of more packets than are remembered")
    symbols: list[int] = []
    at = 8
    while len(symbols) < count:
        if at + 2 > size:
            raise ParseError("TWCC: chunks that end early")
        chunk = _unpack_half(body, at)[0]
        at += 2
        if chunk < 0x8000:
            symbols += [chunk >> 13] * (chunk & 0x1FFF)
        elif chunk < 0xC000:
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
        else:
            symbols += [chunk >> shift & 3 for shift in range(12, -1, -2)]
    deltas: list[int | None] = []
    for symbol in symbols[:count]:
        if symbol == 0:
            deltas.append(None)
        elif symbol == 1:
            if at >= size:
                raise ParseError("TWCC: deltas that end early")
            deltas.append(body[at])
            at += 1
        elif symbol == 2:
            if at + 2 > size:
                raise ParseError("TWCC: deltas that end early")
            delta = _unpack_half(body, at)[0]
            deltas.append(delta - 0x10000 if delta & 0x8000 else delta)
            at += 2
        else:
            raise ParseError("TWCC: a reserved symbol")
    return Arrivals(base, word >> 8, word & 0xFF, tuple(deltas))


def encode_arrivals(arrivals: Arrivals) -> bytes:
    """The body of a TransportFeedback, filled up to whole words. Deltas have to fit 16 bits."""
    symbols = [0 if delta is None else 1 if 0 <= delta < 256 else 2 for delta in arrivals.deltas]
    parts = [_pack_fixed(arrivals.base, len(symbols), arrivals.reference << 8 | arrivals.number)]
    at, count = 0, len(symbols)
    while at < count:
        symbol = symbols[at]
        run = 1
        while at + run < count and run < 0x1FFF and symbols[at + run] == symbol:
            run += 1
        if run >= 14 or at + run == count or (symbol == 2 and run >= 7):
            parts.append(_pack_half(symbol << 13 | run))
            at += run
            continue
        if 2 in symbols[at : at + 14]:
            chunk, width, room = 0xC000, 2, 7
        else:
            chunk, width, room = 0x8000, 1, 14
        shift = width * (room - 1)
        for each in symbols[at : at + room]:
            chunk |= each << shift
            shift -= width
        parts.append(_pack_half(chunk))
        at += room
    for delta in arrivals.deltas:
        if delta is not None:
            parts.append(bytes((delta,)) if 0 <= delta < 256 else _pack_half(delta & 0xFFFF))
    body = b"".join(parts)
    return body + bytes(-len(body) & 3)


class ArrivalRecorder:
    """Notes arrivals, and makes the reports of them.

    ``due`` is when ``reports`` has to be called. Packets that come after they were reported as missing stay missing;
    a number far from all others begins a new row.
    """

    __slots__ = ("due", "_arrivals", "_base", "_last", "_number")

    def __init__(self) -> None:
        self.due = INF
        self._arrivals: dict[int, float] = {}  # unreported, by unwrapped number
        self._base = -1  # the next number to report
        self._last = -1  # the highest number so far
        self._number = 0

    @property
    def active(self) -> bool:
        """Whether any packet carried a number."""
        return self._base >= 0

    def record(self, number: int, now: float) -> None:
        """A packet with this transport-wide number came."""
        last = self._last
        step = (number - last) & 0xFFFF
        index = last + step if step < 0x8000 else last + step - 0x10000
        arrivals = self._arrivals
        ahead = index - self._base
        if not 0 <= ahead < TWCC_WINDOW or last < 0:
            if -TWCC_WINDOW < ahead < 0 <= last:
                return
            arrivals.clear()
            self._base = self._last = index = number + (last & ~0xFFFF) + 0x20000  # never negative
        elif index > last:
            self._last = index
        if not arrivals:
            self.due = now + INTERVAL
        elif len(arrivals) >= ENOUGH:
            self.due = NOW
        arrivals.setdefault(index, now)

    def reports(self) -> list[Arrivals]:
        """Everything since the last call, in as many reports as the format needs."""
        self.due = INF
        arrivals, self._arrivals = self._arrivals, {}
        made: list[Arrivals] = []
        base = self._base
        deltas: list[int | None] = []
        reference = last = 0  # ticks
        for index in sorted(arrivals):
            ticks = round(arrivals[index] / TICK)
            missing = index - base - len(deltas)
            if deltas and not (-0x8000 <= ticks - last <= 0x7FFF and len(deltas) + missing < TWCC_STATUSES):
                made.append(self._report(base, reference, deltas))
                base += len(deltas)
                deltas = []
                missing = index - base
            while missing >= TWCC_STATUSES:  # a row of losses alone
                made.append(self._report(base, ticks // TICKS_PER_REFERENCE, [None] * TWCC_STATUSES))
                base += TWCC_STATUSES
                missing -= TWCC_STATUSES
            if not deltas:
                reference = ticks // TICKS_PER_REFERENCE
                last = reference * TICKS_PER_REFERENCE
            deltas += [None] * missing
            deltas.append(ticks - last)
            last = ticks
        if deltas:
            made.append(self._report(base, reference, deltas))
            self._base = base + len(deltas)
        return made

    def _report(self, base: int, reference: int, deltas: list[int | None]) -> Arrivals:
        number = self._number
        self._number = (number + 1) & 0xFF
        return Arrivals(base & 0xFFFF, reference & 0xFFFFFF, number, tuple(deltas))


class PacketResult(NamedTuple):
    """What became of one packet that we sent."""

    number: int
    """Transport-wide, unwrapped."""
    size: int
    """Bytes of the RTP packet."""
    sent: float
    """Our time."""
    arrival: float | None
    """The peer's time in seconds from a moment of its own, None when the packet is reported as missing."""


_SENT_MASK = TWCC_SENT - 1


class SentRecorder:
    """Allots transport-wide numbers and matches the peer's reports with what was sent."""

    __slots__ = ("results", "sent", "acknowledged", "missing", "_ring", "_next", "_unwrap_time")

    def __init__(self) -> None:
        self.results: deque[PacketResult] = deque(maxlen=TWCC_RESULTS)
        """For an estimator, which empties it; without one it holds the latest."""
        self.sent = 0
        self.acknowledged = 0
        self.missing = 0
        self._ring: list[tuple[int, int, float] | None] = []  # made when first needed: most sessions only receive
        self._next = 0
        self._unwrap_time = Unwrapper(24)

    def allot(self, size: int, now: float) -> int:
        """The number for a packet of ``size`` bytes that leaves now."""
        return self.allot_run((size,), 0, now)

    def allot_run(self, sizes: Sequence[int], headers: int, now: float) -> int:
        """The number for the first of some packets that leave now, of these sizes beside their headers; the others
        follow on, modulo 65536."""
        first = number = self._next
        if not first:
            self._ring = [None] * TWCC_SENT
        ring = self._ring
        for size in sizes:
            ring[number & _SENT_MASK] = (number, size + headers, now)
            number += 1
        self._next = number
        self.sent += len(sizes)
        return first & 0xFFFF

    def handle(self, arrivals: Arrivals) -> None:
        """A report of the peer. Packets reported before, or too long ago, are passed over."""
        if not self._ring:
            return
        newest = self._next - 1
        first = newest - ((newest - arrivals.base) & 0xFFFF)
        ticks = self._unwrap_time(arrivals.reference) * TICKS_PER_REFERENCE
        ring = self._ring
        for number, delta in enumerate(arrivals.deltas, first):
            if delta is not None:
                ticks += delta
            place = number % TWCC_SENT
            entry = ring[place]
            if entry is None or entry[0] != number:
                continue
            if delta is None:
                self.missing += 1
                self.results.append(PacketResult(number, entry[1], entry[2], None))
            else:
                self.acknowledged += 1
                self.results.append(PacketResult(number, entry[1], entry[2], ticks * TICK))
            ring[place] = None
