"""The receiving half of an association: TSN tracking, reassembly, the receive window and SACKs (RFC 9260 section 6).

Complete messages wait in their stream until they are read; everything that waits, here or half assembled, counts
against the advertised window, so a slow reader slows the sender down. Fragments join into runs of consecutive TSNs
whatever their order of arrival, at a constant cost for each.

TSNs are unbounded integers here and cut to 32 bits on the wire.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from ..base.contract import INF
from ..base.counters import Counters
from ..base.limits import (
    SCTP_CHUNK_COST,
    SCTP_DUPLICATES,
    SCTP_EARLY_MESSAGES,
    SCTP_GAPS,
    SCTP_MESSAGE_IN,
    SCTP_OVERRUN,
    SCTP_STREAMS,
    SCTP_TSN_AHEAD,
)
from .chunks import BEGIN, END, MASK32, SACK, SACK_HEAD, UNORDERED, pack_longs, pack_shorts

PPID_DCEP = 50
PPID_TEXT = 51
PPID_BINARY = 53
PPID_TEXT_PARTIAL = 54
PPID_TEXT_EMPTY = 56
PPID_BINARY_EMPTY = 57

_PPID_NOTHING = -1
"""Holds the place of an ordered message that was too long to keep."""

NO_RING = 1 << 30
"""A ring that never drops; the receive window bounds it."""


class TextMessage(bytes):
    """A message that the peer sent as a string, UTF-8 by agreement and unchecked; all other messages are ``bytes``."""

    __slots__ = ()


class InStream:
    """One incoming stream: ``ready`` messages to be read, ``waiting`` ones by stream sequence number.

    ``ring`` is how many unread messages are kept; the oldest go first. ``listed`` is set while the stream stands in the
    receiver's ``readable``.
    """

    __slots__ = ("sid", "next_ssn", "ready", "waiting", "ring", "listed")

    def __init__(self, sid: int) -> None:
        self.sid = sid
        self.next_ssn = 0
        self.ready: deque[bytes] = deque()
        self.waiting: dict[int, tuple[int, bytes, int]] = {}
        self.ring = SCTP_EARLY_MESSAGES
        self.listed = False


class Run:
    """Consecutive fragments of one message; ``parts`` is None once the message has grown too long to keep."""

    __slots__ = ("first", "last", "begin", "end", "parts", "size", "cost", "sid", "ssn", "flags", "ppid")

    def __init__(self, tsn: int, flags: int, sid: int, ssn: int, ppid: int, data: bytes) -> None:
        self.first = tsn
        self.last = tsn
        self.begin = bool(flags & BEGIN)
        self.end = bool(flags & END)
        self.parts: deque[bytes] | None = deque((data,))
        self.size = len(data)
        self.cost = len(data) + SCTP_CHUNK_COST
        self.sid = sid
        self.ssn = ssn
        self.flags = flags & UNORDERED
        self.ppid = ppid


class Receiver:
    """Takes DATA and FORWARD-TSN, keeps messages until they are read, and owes SACKs.

    ``readable`` holds streams that have become readable, ``control`` the channel protocol's own messages as
    (stream, bytes). ``broken`` is a text once the peer has broken the protocol beyond repair.
    """

    __slots__ = (
        "counters",
        "window",
        "held",
        "cum",
        "gaps",
        "by_first",
        "by_last",
        "streams",
        "readable",
        "control",
        "duplicates",
        "unacked",
        "sack_now",
        "sack_due",
        "advertised",
        "broken",
    )

    def __init__(self, counters: Counters, window: int) -> None:
        self.counters = counters
        self.window = window
        self.held = 0
        self.cum = -1
        self.gaps: list[list[int]] = []
        self.by_first: dict[int, Run] = {}
        self.by_last: dict[int, Run] = {}
        self.streams: dict[int, InStream] = {}
        self.readable: list[InStream] = []
        self.control: list[tuple[int, bytes]] = []
        self.duplicates: list[int] = []
        self.unacked = 0
        self.sack_now = False
        self.sack_due = INF
        self.advertised = window
        self.broken = ""

    # ------------------------------------------------------------------ DATA

    def handle_data(self, flags: int, tsn32: int, sid: int, ssn: int, ppid: int, data: bytes) -> None:
        """Take one DATA chunk with at least one byte."""
        cum = self.cum
        delta = (tsn32 - cum) & MASK32
        if delta != 1 or self.gaps or self.held >= self.window:
            if not self._place(delta):
                return
        else:
            self.cum = cum + 1
        stream = self.streams.get(sid)
        if stream is None:
            stream = self._new_stream(sid)
            if stream is None:
                return
        self.held += len(data) + SCTP_CHUNK_COST
        if flags & 3 != 3:
            self._fragment(cum + delta, flags, sid, ssn, ppid, data)
        elif flags & UNORDERED:
            self._deliver(stream, ppid, data, len(data) + SCTP_CHUNK_COST)
        elif ssn == stream.next_ssn:
            stream.next_ssn = (ssn + 1) & 0xFFFF
            if ppid == PPID_BINARY:
                # The common case of ``_deliver``, unrolled.
                ready = stream.ready
                ready.append(data)
                if not stream.listed:
                    stream.listed = True
                    self.readable.append(stream)
                if len(ready) > stream.ring:
                    self._drop_oldest(stream)
            else:
                self._deliver(stream, ppid, data, len(data) + SCTP_CHUNK_COST)
            if stream.waiting:
                self._flush(stream)
        else:
            self._wait(stream, ssn, ppid, data, len(data) + SCTP_CHUNK_COST)

    def _place(self, delta: int) -> bool:
        """Enter a TSN at ``cum + delta``; False when the chunk is a duplicate or cannot be kept."""
        self.sack_now = True
        tsn = self.cum + delta
        gaps = self.gaps
        if delta == 0 or delta >= 0x80000000:
            self._duplicate(tsn)
            return False
        if delta > SCTP_TSN_AHEAD:
            self.counters.add("tsn_too_far")
            return False
        if self.held >= self.window and (self.held >= self.window + SCTP_OVERRUN or not gaps or tsn > gaps[-1][1]):
            self.counters.add("window_full")
            return False
        if delta == 1:
            if gaps and gaps[0][0] == tsn + 1:
                tsn = gaps.pop(0)[1]
            self.cum = tsn
            return True
        if not gaps or tsn > gaps[-1][1]:
            if gaps and tsn == gaps[-1][1] + 1:
                gaps[-1][1] = tsn
                return True
            index = len(gaps)
        else:
            index = bisect_left(gaps, [tsn])
            if index < len(gaps) and gaps[index][0] == tsn:
                self._duplicate(tsn)
                return False
            if index:
                before = gaps[index - 1]
                if tsn <= before[1]:
                    self._duplicate(tsn)
                    return False
                if before[1] == tsn - 1:
                    before[1] = tsn
                    if index < len(gaps) and gaps[index][0] == tsn + 1:
                        before[1] = gaps.pop(index)[1]
                    return True
            if gaps[index][0] == tsn + 1:
                gaps[index][0] = tsn
                return True
        if len(gaps) >= SCTP_GAPS:
            self.counters.add("gap_limit")
            return False
        gaps.insert(index, [tsn, tsn])
        return True

    def _duplicate(self, tsn: int) -> None:
        self.counters.add("data_duplicate")
        if len(self.duplicates) < SCTP_DUPLICATES:
            self.duplicates.append(tsn & MASK32)

    def _new_stream(self, sid: int) -> InStream | None:
        if len(self.streams) >= SCTP_STREAMS:
            self.counters.add("stream_limit")
            return None
        stream = self.streams[sid] = InStream(sid)
        return stream

    # ------------------------------------------------------------------ delivery

    def _deliver(self, stream: InStream, ppid: int, data: bytes, cost: int) -> None:
        if ppid == PPID_DCEP:
            self.held -= cost
            self.control.append((stream.sid, data))
            stream.ring = NO_RING  # what comes behind it in the same packet is the new channel's, all of it
            return
        if ppid == _PPID_NOTHING:
            return
        # What is read gives back its length and one SCTP_CHUNK_COST.
        if ppid in (PPID_BINARY_EMPTY, PPID_TEXT_EMPTY):
            data = b""
        if ppid in (PPID_TEXT, PPID_TEXT_PARTIAL, PPID_TEXT_EMPTY):
            data = TextMessage(data)
        self.held += len(data) + SCTP_CHUNK_COST - cost
        stream.ready.append(data)
        if not stream.listed:
            stream.listed = True
            self.readable.append(stream)
        if len(stream.ready) > stream.ring:
            self._drop_oldest(stream)

    def _drop_oldest(self, stream: InStream) -> None:
        self.held -= len(stream.ready.popleft()) + SCTP_CHUNK_COST
        self.counters.add("unread_dropped")

    def _wait(self, stream: InStream, ssn: int, ppid: int, data: bytes, cost: int) -> None:
        """Keep an ordered message until those before it are there."""
        if (ssn - stream.next_ssn) & 0xFFFF >= 0x8000 or ssn in stream.waiting:
            # Late for a message that was skipped, or the number is taken; either way it cannot be delivered.
            self.held -= cost
            self.counters.add("ssn_unexpected")
            return
        stream.waiting[ssn] = (ppid, data, cost)

    def _flush(self, stream: InStream) -> None:
        waiting = stream.waiting
        while waiting:
            entry = waiting.pop(stream.next_ssn, None)
            if entry is None:
                break
            stream.next_ssn = (stream.next_ssn + 1) & 0xFFFF
            self._deliver(stream, *entry)

    def _fragment(self, tsn: int, flags: int, sid: int, ssn: int, ppid: int, data: bytes) -> None:
        left = None if flags & BEGIN else self.by_last.get(tsn - 1)
        right = None if flags & END else self.by_first.get(tsn + 1)
        unordered = flags & UNORDERED
        if left is not None:
            if left.end:
                left = None
            elif left.sid != sid or left.ssn != ssn or left.flags != unordered:
                self._break(len(data))
                return
        if right is not None:
            if right.begin:
                right = None
            elif right.sid != sid or right.ssn != ssn or right.flags != unordered:
                self._break(len(data))
                return
        if left is None:
            run = self.by_first[tsn] = Run(tsn, flags, sid, ssn, ppid, data)
        else:
            run = left
            del self.by_last[tsn - 1]
            run.last = tsn
            run.end = bool(flags & END)
            run.size += len(data)
            run.cost += len(data) + SCTP_CHUNK_COST
            if run.parts is not None:
                run.parts.append(data)
        if right is not None:
            del self.by_first[tsn + 1]
            del self.by_last[right.last]
            run.last = right.last
            run.end = right.end
            run.size += right.size
            run.cost += right.cost
            if run.parts is None or right.parts is None:
                run.parts = None
            elif len(right.parts) <= len(run.parts):
                run.parts += right.parts
            else:
                right.parts.extendleft(reversed(run.parts))
                run.parts = right.parts
        if run.size > SCTP_MESSAGE_IN and run.parts is not None:
            run.parts = None
        if run.parts is None and run.cost:
            self.held -= run.cost
            run.cost = 0
        if run.begin and run.end:
            del self.by_first[run.first]
            self._complete(run)
        else:
            self.by_last[run.last] = run

    def _complete(self, run: Run) -> None:
        stream = self.streams[run.sid]
        if run.parts is None:
            self.counters.add("message_too_long")
            if not run.flags:
                self._wait(stream, run.ssn, _PPID_NOTHING, b"", 0)
                self._flush(stream)
            return
        data = b"".join(run.parts)
        if run.flags:
            self._deliver(stream, run.ppid, data, run.cost)
        elif run.ssn == stream.next_ssn:
            stream.next_ssn = (run.ssn + 1) & 0xFFFF
            self._deliver(stream, run.ppid, data, run.cost)
            self._flush(stream)
        else:
            self._wait(stream, run.ssn, run.ppid, data, run.cost)

    def _break(self, size: int) -> None:
        self.broken = "fragments of one message disagree"
        self.held -= size + SCTP_CHUNK_COST

    # ------------------------------------------------------------------ reading

    def read(self, stream: InStream) -> bytes | None:
        """Take one message; reopening the window substantially owes a SACK."""
        data = self.take(stream)
        if data is not None:
            self.credit(len(data))
        return data

    def take(self, stream: InStream) -> bytes | None:
        """Take one message that stays charged to the window until ``credit`` is told its size."""
        if not stream.ready:
            stream.listed = False
            return None
        return stream.ready.popleft()

    def credit(self, size: int) -> None:
        """A message of this size that was taken is not held any more."""
        self.held = held = self.held - size - SCTP_CHUNK_COST
        window = self.window
        if self.advertised < window >> 1 and window - held - self.advertised >= window >> 2:
            self.sack_now = True

    def charge(self, size: int) -> None:
        """So much is held outside, until ``credit`` is told the same size."""
        self.held += size + SCTP_CHUNK_COST

    def release(self, stream: InStream) -> None:
        """Forget what a stream still holds."""
        for data in stream.ready:
            self.held -= len(data) + SCTP_CHUNK_COST
        stream.ready.clear()
        for _, _, cost in stream.waiting.values():
            self.held -= cost
        stream.waiting.clear()

    def detach(self, sid: int) -> None:
        """The peer has reset the stream: numbering starts anew; what is ready may still be read by who has it."""
        stream = self.streams.pop(sid, None)
        if stream is None:
            return
        for _, _, cost in stream.waiting.values():
            self.held -= cost
        stream.waiting.clear()
        for run in [run for run in self.by_first.values() if run.sid == sid]:
            self._purge(run)

    # ------------------------------------------------------------------ FORWARD-TSN (RFC 3758 section 3.6)

    def handle_forward(self, cum32: int, skipped: list[tuple[int, int]]) -> None:
        """Take a FORWARD-TSN: nothing up to ``cum32`` will be sent any more."""
        self.sack_now = True
        delta = (cum32 - self.cum) & MASK32
        if delta == 0 or delta >= 0x80000000:
            return
        cum = self.cum + delta
        gaps = self.gaps
        while gaps and gaps[0][0] <= cum + 1:
            cum = max(cum, gaps.pop(0)[1])
        forward = self.cum + delta
        self.cum = cum
        for run in [run for run in self.by_first.values() if run.first <= forward + (not run.begin)]:
            self._purge(run)
        for sid, ssn in skipped:
            stream = self.streams.get(sid)
            if stream is None:
                stream = self._new_stream(sid)
                if stream is None:
                    continue
            self._skip(stream, ssn)

    def _skip(self, stream: InStream, ssn: int) -> None:
        """Go on behind an ordered message that will not come, delivering what waited before it."""
        ahead = (ssn + 1 - stream.next_ssn) & 0xFFFF
        if ahead >= 0x8000:
            return
        waiting = stream.waiting
        for number in sorted(waiting, key=lambda number: (number - stream.next_ssn) & 0xFFFF):
            if (number - stream.next_ssn) & 0xFFFF < ahead:
                self._deliver(stream, *waiting.pop(number))
        stream.next_ssn = (ssn + 1) & 0xFFFF
        self._flush(stream)

    def _purge(self, run: Run) -> None:
        del self.by_first[run.first]
        del self.by_last[run.last]
        self.held -= run.cost
        self.counters.add("message_incomplete")

    # ------------------------------------------------------------------ SACK

    def take_sack(self, room: int) -> bytes:
        """The SACK chunk owed, in at most ``room`` bytes (at least 16)."""
        self.unacked = 0
        self.sack_now = False
        self.sack_due = INF
        free = self.window - self.held
        self.advertised = free = max(free, 0)
        cum = self.cum
        gaps = self.gaps
        if not gaps and not self.duplicates:
            return SACK_HEAD.pack(SACK, 0, 16, cum & MASK32, free, 0, 0)
        gaps = gaps[: (room - 16) // 4]
        shorts: list[int] = []
        for first, last in gaps:
            shorts.append(first - cum)
            shorts.append(last - cum)
        duplicates = self.duplicates[: (room - 16) // 4 - len(gaps)]
        self.duplicates = []
        length = 16 + 4 * (len(gaps) + len(duplicates))
        head = SACK_HEAD.pack(SACK, 0, length, cum & MASK32, free, len(gaps), len(duplicates))
        return head + pack_shorts(shorts) + pack_longs(duplicates)
