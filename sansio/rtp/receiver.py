"""One received stream: sequence, statistics, retransmission requests, reordering. RFC 3550, 4585, 4588.

``AudioReceiver`` and ``VideoReceiver`` make frames of the packets, which they get in order. Frames wait in a bounded
ring until they are read; there is no event for each, only one when the ring stops being empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from ..base.contract import INF
from ..base.counters import Counters
from ..base.limits import RTP_MISSING
from ..base.wallclock import NTP_EPOCH
from ..types import ReceiverStats
from .format import Format
from .frame import Frame
from .packet import RtpPacket
from .rtcp import Nack, ReportBlock, RtcpPacket

MAX_DROPOUT = 3000
"""A sequence number further ahead or behind is a restart of the source when the next follows it (RFC 3550 A.1)."""
NACK_TRIES = 8
NACK_LEAST = 0.02
NACK_MOST = 0.4
"""Seconds between two requests for a packet: the second comes after about a round trip, later ones grow apart."""
REORDER = 0.05
"""Seconds that a missing packet is waited for when it cannot be asked for."""
DEFAULT_RTT = 0.1


@frozen(eq=False)
class FrameReadable:
    """``receiver.read()`` has something to give, or the stream has ended. Not repeated until it gave None."""

    receiver: RtpReceiver


class _Missing:
    __slots__ = ("noted", "tries", "due")

    def __init__(self, noted: float, due: float) -> None:
        self.noted = noted
        self.tries = 0
        self.due = due


class RtpReceiver:
    """The base of both kinds. Made by ``RtpSession.add_receiver``.

    ``enabled``: whether frames are kept; set through the session. ``capacity``: frames that wait at most, which may be
    lowered. ``ended``: why the stream has ended, empty while it lives.
    """

    __slots__ = (
        "kind",
        "mid",
        "rid",
        "ssrc",
        "rtx_ssrc",
        "enabled",
        "capacity",
        "ended",
        "counters",
        "rtt",
        "packets",
        "bytes",
        "repaired",
        "nacks",
        "keyframe_requests",
        "frames",
        "keyframes",
        "frames_dropped",
        "bitrate",
        "format",
        "_formats",
        "_rtx_types",
        "_local",
        "_owe",
        "_owing",
        "_outbox",
        "_readable",
        "_announced",
        "_ring",
        "_lost",
        "_highest",
        "_next",
        "_first",
        "_uncounted",
        "_after_jump",
        "_rejoined",
        "_buffer",
        "_most_buffered",
        "_missing",
        "_payload_type",
        "_clock_rate",
        "_jitter",
        "_jitter_at",
        "_jitter_timestamp",
        "_anchored",
        "_timestamp",
        "_shift",
        "_time",
        "_time_base",
        "_time_timestamp",
        "_frame_arrival",
        "_ntp_base",
        "_report",
        "_report_at",
        "_prior_expected",
        "_prior_packets",
        "_prior_bytes",
        "_prior_at",
        "_fraction_lost",
    )

    kind: str

    def __init__(
        self,
        formats: Mapping[int, Format],
        rtx_types: Mapping[int, int],
        local_ssrc: int,
        owe: Callable[[Any], None],
        outbox: deque[Any],
        *,
        capacity: int,
        most_buffered: int,
    ) -> None:
        self.mid = ""
        self.rid = ""
        self.ssrc = 0
        self.rtx_ssrc = 0
        self.enabled = True
        self.capacity = capacity
        self.ended = ""
        self.counters = Counters()
        self.rtt: float | None = None
        self.packets = 0
        self.bytes = 0
        self.repaired = 0
        self.nacks = 0
        self.keyframe_requests = 0
        self.frames = 0
        self.keyframes = 0
        self.frames_dropped = 0
        self.bitrate = 0.0
        self.format: Format | None = None
        self._formats = formats
        self._rtx_types = rtx_types
        self._local = local_ssrc
        self._owe = owe
        self._owing = False
        self._outbox = outbox
        self._readable = FrameReadable(self)
        self._announced = False
        self._ring: deque[Frame] = deque()
        self._lost = 0  # frames since the last one that went into the ring
        self._highest = -1  # unwrapped sequence numbers, -1 before the first packet
        self._next = -1
        self._first = 0  # where the RFC's statistics begin, and the packets that came before
        self._uncounted = 0
        self._after_jump = -1
        self._rejoined = -1  # the highest number when a reader came
        self._buffer: dict[int, RtpPacket] = {}  # behind a gap
        self._most_buffered = most_buffered
        # Empty, or holds ``_next``: every number from ``_next`` to ``_highest`` is here or in ``_buffer``.
        self._missing: dict[int, _Missing] = {}
        self._payload_type = -1
        self._clock_rate = 1
        self._jitter = 0.0  # seconds
        self._jitter_at = 0.0
        self._jitter_timestamp = -1
        self._anchored = False  # whether the fields of the time line below hold
        self._timestamp = 0
        self._shift = 0
        self._time = 0.0
        self._time_base = 0.0
        self._time_timestamp = 0
        self._frame_arrival = 0.0
        self._ntp_base: float | None = None
        self._report: tuple[int, int] | None = None  # NTP and RTP timestamp of the last sender report
        self._report_at = 0.0
        self._prior_expected = 0
        self._prior_packets = 0
        self._prior_bytes = 0
        self._prior_at = 0.0
        self._fraction_lost = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mid={self.mid!r}, ssrc={self.ssrc})"

    # ------------------------------------------------------------------ reading

    def read(self) -> Frame | None:
        """The next frame, or None when there is none now."""
        ring = self._ring
        if ring:
            return ring.popleft()
        self._announced = False
        return None

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._ring)

    @property
    def started(self) -> bool:
        """Whether a packet has come."""
        return self._highest >= 0

    def end(self, reason: str) -> None:
        """The stream is over; what waits can still be read."""
        if not self.ended:
            self.ended = reason
            self._announce()

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._outbox.append(self._readable)

    # ------------------------------------------------------------------ packets in

    def receive(self, packet: RtpPacket, now: float) -> None:
        """One packet of the stream itself."""
        highest = self._highest
        if (packet.sequence - highest) & 0xFFFF == 1 and highest >= 0:
            index = self._highest = highest + 1
        else:
            index = self._place(packet, now)
            if index < 0:
                return
        packet.arrival = now
        self.packets += 1
        self.bytes += len(packet.payload)
        timestamp = packet.timestamp
        if timestamp != self._jitter_timestamp and index == self._highest:
            self._measure(timestamp, now)
        if index == self._next:
            self._next = index + 1
            if self.enabled:
                if self._missing:
                    del self._missing[index]
                self._deliver(packet)
                if self._buffer:
                    self._drain()
        elif index < self._next:
            self.counters.add("late")
        else:
            self._hold(index, packet)

    def receive_rtx(self, packet: RtpPacket, now: float) -> None:
        """One packet of the retransmission stream (RFC 4588): the original's number stands before its payload."""
        payload = packet.payload
        if len(payload) < 2:
            self.counters.add("rtx_probe")
            return
        original = self._rtx_types.get(packet.payload_type)
        if original is None:
            self.counters.add("unknown_payload_type")
            return
        packet.sequence = sequence = payload[0] << 8 | payload[1]
        index = self._highest - ((self._highest - sequence) & 0xFFFF)
        if index not in self._missing:
            self.counters.add("rtx_unneeded")
            return
        packet.payload = payload[2:]
        packet.payload_type = original
        packet.arrival = now
        self.repaired += 1
        self._fill(index, packet)

    def _place(self, packet: RtpPacket, now: float) -> int:
        """The unwrapped number of a packet that is not simply the next one; -1 to pass it over."""
        sequence = packet.sequence
        highest = self._highest
        if highest < 0:
            index = self._first = self._next = self._highest = sequence + 0x10000  # so that none is ever negative
            self._prior_at = now
            self._register()
            return index
        ahead = (sequence - highest) & 0xFFFF
        if ahead == 0:
            self.counters.add("duplicate")
            return -1
        if ahead <= MAX_DROPOUT:
            index = self._highest = highest + ahead
            if self.enabled and highest != self._rejoined:
                self._gap(highest + 1, index, now)
            else:
                # Of a stream that nobody reads, the transport may look at a few packets only: no loss is told.
                self._first += ahead - 1
                self._next = index
            return index
        if 0x10000 - ahead <= MAX_DROPOUT:
            index = highest + ahead - 0x10000
            if index in self._buffer:
                self.counters.add("duplicate")
                return -1
            return index
        if sequence != self._after_jump:
            self._after_jump = (sequence + 1) & 0xFFFF
            self.counters.add("jump")
            return -1
        self.counters.add("restart")
        self._skip_to(highest + 1)
        index = self._first = self._next = self._highest = ((highest >> 16) + 2 << 16) + sequence
        self._after_jump = -1
        self._prior_expected = 0
        self._prior_packets = self._uncounted = self.packets
        self._anchored = False
        self._report = None
        self._lose()
        return index

    def _gap(self, begin: int, end: int, now: float) -> None:
        missing = self._missing
        if len(missing) + end - begin > RTP_MISSING:
            self.counters.add("gap_too_long")
            self._skip_to(end)
            return
        due = now if self.format is not None and self.format.nack else INF
        for index in range(begin, end):
            missing[index] = _Missing(now, due)
        self._register()

    def _hold(self, index: int, packet: RtpPacket) -> None:
        """Keep a packet behind a gap."""
        self._missing.pop(index, None)
        buffer = self._buffer
        buffer[index] = packet
        self._salvage(index, packet)
        if len(buffer) > self._most_buffered:
            self.counters.add("reorder_full")
            self._skip_to(min(buffer))

    def _fill(self, index: int, packet: RtpPacket) -> None:
        """A missing packet is here after all."""
        del self._missing[index]
        if index == self._next:
            self._next = index + 1
            self._deliver(packet)
            self._drain()
        else:
            self._buffer[index] = packet

    def _drain(self) -> None:
        pop = self._buffer.pop
        while (packet := pop(self._next, None)) is not None:
            self._next += 1
            self._deliver(packet)

    def _skip_to(self, end: int) -> None:
        """Go on at ``end`` whatever is missing before."""
        while self._next < end:
            index = self._next
            self._next = index + 1
            packet = self._buffer.pop(index, None)
            if packet is not None:
                self._deliver(packet)
            else:
                self._missing.pop(index, None)
                self._lose()
        self._drain()

    def _measure(self, timestamp: int, now: float) -> None:
        """Interarrival jitter (RFC 3550 section 6.4.1), of the first packet of each timestamp."""
        if self.format is None:
            return
        if self._jitter_timestamp >= 0:
            step = (timestamp - self._jitter_timestamp) & 0xFFFFFFFF
            if step > 0x7FFFFFFF:
                step -= 0x100000000
            difference = now - self._jitter_at - step / self._clock_rate
            self._jitter += ((difference if difference >= 0 else -difference) - self._jitter) * 0.0625
        self._jitter_timestamp = timestamp
        self._jitter_at = now

    # ------------------------------------------------------------------ what the kinds do
    # Audio and video override these; the class itself is never put on a route.

    def _deliver(self, packet: RtpPacket) -> None:
        """The next packet in order."""
        raise NotImplementedError  # audio and video differ in it; this class alone is never put on a route

    def _lose(self) -> None:
        """The next packet in order will never come."""
        raise NotImplementedError  # audio and video differ in it; this class alone is never put on a route

    def _salvage(self, index: int, packet: RtpPacket) -> None:
        """A packet behind a gap may tell what is in the gap."""

    def _patience(self) -> float:
        """Seconds that a missing packet is waited for."""
        raise NotImplementedError  # audio and video differ in it; this class alone is never put on a route

    # ------------------------------------------------------------------ frames

    def _switch(self, packet: RtpPacket) -> bool:
        """The payload type is another than before; whether we know it."""
        format = self._formats.get(packet.payload_type)
        if format is None or format.kind != self.kind:
            self.counters.add("unknown_payload_type")
            return False
        if format.clock_rate != self._clock_rate:
            self._clock_rate = format.clock_rate
            self._anchored = False
            self._jitter_timestamp = -1
        self._payload_type = format.payload_type
        self.format = format
        return True

    def _frame(self, data: bytes, packet_timestamp: int, arrival: float, keyframe: bool) -> Frame:
        """A frame on the stream's time line."""
        if self._anchored:
            last = self._timestamp
            step = (packet_timestamp + self._shift - last) & 0xFFFFFFFF
            timestamp = last + step if step < 0x80000000 else last + step - 0x100000000
        else:
            timestamp = self._anchor(packet_timestamp, arrival)
        self._timestamp = timestamp
        rate = self._clock_rate
        self._time = time = self._time_base + (timestamp - self._time_timestamp) / rate
        self._frame_arrival = arrival
        base = self._ntp_base
        self.frames += 1
        frame = Frame(
            data,
            timestamp,
            time,
            base + timestamp / rate if base is not None else None,
            arrival,
            keyframe,
            self._lost,
            self._payload_type,
        )
        self._lost = 0
        return frame

    def _anchor(self, packet_timestamp: int, arrival: float) -> int:
        """The first frame, or the first after a break of the time line, which then goes on by our own clock."""
        if self.frames:
            elapsed = max(0.0, arrival - self._frame_arrival)
            timestamp = self._timestamp + round(elapsed * self._clock_rate)
            self._time_base = self._time + elapsed
        else:
            timestamp = packet_timestamp
        self._shift = timestamp - packet_timestamp
        self._time_timestamp = timestamp
        self._timestamp = timestamp
        self._anchored = True
        self._map_ntp()
        return timestamp

    def _map_ntp(self) -> None:
        if self._report is None:
            self._ntp_base = None
            return
        ntp, reported = self._report
        step = (reported + self._shift - self._timestamp) & 0xFFFFFFFF
        if step > 0x7FFFFFFF:
            step -= 0x100000000
        self._ntp_base = ntp / 4294967296 - NTP_EPOCH - (self._timestamp + step) / self._clock_rate

    # ------------------------------------------------------------------ reports

    def handle_report(self, ntp: int, timestamp: int, now: float) -> None:
        """A sender report of the stream."""
        self._report = (ntp, timestamp)
        self._report_at = now
        if self._anchored:
            self._map_ntp()

    def make_report(self, now: float) -> ReportBlock:
        """The block of our next receiver report; also the end of an interval of the bitrate."""
        expected = self._highest - self._first + 1
        lost = expected - (self.packets - self._uncounted)
        recent = expected - self._prior_expected
        recent_lost = recent - (self.packets - self._prior_packets)
        fraction = min(255, recent_lost * 256 // recent) if recent > 0 and recent_lost > 0 else 0
        self._fraction_lost = fraction / 256
        self._prior_expected = expected
        self._prior_packets = self.packets
        if now > self._prior_at:
            self.bitrate = (self.bytes - self._prior_bytes) * 8 / (now - self._prior_at)
            self._prior_bytes = self.bytes
            self._prior_at = now
        last_report = delay = 0
        if self._report is not None:
            last_report = self._report[0] >> 16 & 0xFFFFFFFF
            delay = min(0xFFFFFFFF, int((now - self._report_at) * 65536))
        return ReportBlock(
            self.ssrc,
            fraction,
            max(-0x800000, min(0x7FFFFF, lost)),
            self._highest & 0xFFFFFFFF,
            min(0xFFFFFFFF, int(self._jitter * self._clock_rate)),
            last_report,
            delay,
        )

    def request_keyframe(self) -> None:
        """Ask the sender of a video for a key frame, as soon as the last request is old enough."""

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of a video in pixels, zeros where there are none."""
        return 0, 0

    def stats(self) -> ReceiverStats:
        """Where the stream stands."""
        expected = self._highest - self._first + 1 if self._highest >= 0 else 0
        width, height = self.dimensions
        return ReceiverStats(
            codec=self.format.codec if self.format is not None else "",
            width=width,
            height=height,
            fraction_lost=self._fraction_lost,
            packets=self.packets,
            bytes=self.bytes,
            lost=max(0, expected - (self.packets - self._uncounted)),
            jitter=self._jitter,
            duplicates=self.counters["duplicate"],
            late=self.counters["late"],
            repaired=self.repaired,
            nacks=self.nacks,
            keyframe_requests=self.keyframe_requests,
            frames=self.frames,
            keyframes=self.keyframes,
            frames_dropped=self.frames_dropped,
            bitrate=self.bitrate,
            rtt=self.rtt,
        )

    # ------------------------------------------------------------------ time

    def _register(self) -> None:
        """Have the session call ``advance``."""
        if not self._owing:
            self._owing = True
            self._owe(self)

    def set_enabled(self, enabled: bool) -> None:
        """Keep frames from now on, or drop those that wait and all to come."""
        if enabled == self.enabled:
            return
        self.enabled = enabled
        self._missing.clear()
        self._buffer.clear()
        self._ring.clear()
        self._next = self._highest + 1
        self._rejoined = self._highest
        self._lost = 0
        self._reset()

    def _reset(self) -> None:
        """Forget the frame that is being put together."""

    def advance(self, now: float, feedback: list[RtcpPacket]) -> float:
        """Give up what was waited for long enough, and ask for the rest; INF ends the calls until ``owe`` is called."""
        due = self._advance_missing(now, feedback) if self._missing else INF
        if due == INF:
            self._owing = False
        return due

    def _advance_missing(self, now: float, feedback: list[RtcpPacket]) -> float:
        missing = self._missing
        while missing:
            due = missing[self._next].noted + self._patience()  # which may change with what is let through
            if due > now:
                break
            self.counters.add("given_up")
            self._skip_to(self._next + 1)
        else:
            return INF
        ask = []
        spacing = min(NACK_MOST, max(NACK_LEAST, 1.1 * (DEFAULT_RTT if self.rtt is None else self.rtt)))
        for index, entry in missing.items():
            if entry.due <= now:
                ask.append(index & 0xFFFF)
                entry.due = now + spacing * 1.25**entry.tries
                entry.tries += 1
                if entry.tries == NACK_TRIES:
                    entry.due = INF
            if entry.due < due:
                due = entry.due
        if ask:
            self.nacks += len(ask)
            feedback.append(Nack(self._local, self.ssrc, tuple(ask)))
        return due
