"""One source of a publisher, as it comes in: order, losses, reports, and the sound level."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING

from ..base.contract import INF, NOW
from ..base.limits import RTP_MISSING
from ..rtp.packet import RtpPacket
from ..rtp.rtcp import ReportBlock

if TYPE_CHECKING:
    from .track import UpTrack

LIVE = 1.0
"""Seconds since the last packet for which a source counts as sending."""
NACK_TRIES = 5
NACK_SPACING = 0.02
"""Least seconds from one request for a packet to the next."""
NACK_MOST = 0.4
NACK_BACKOFF = 1.25
KEYFRAME_SPACING = 0.5
"""Seconds between two requests for a key frame; whoever asks in between is served by the next."""


class UpStream:
    """A source: ``layer`` 0 is the lowest of a simulcast track.

    ``missing`` maps sequence numbers that are asked for to [tries, next time]. ``report`` is the last sender report:
    RTP timestamp, our time of its arrival, NTP time of the publisher.
    """

    __slots__ = (
        "clock",
        "keyframe_at",
        "keyframe_due",
        "last_at",
        "last_timestamp",
        "layer",
        "loss",
        "missing",
        "nack",
        "nack_due",
        "octets",
        "report",
        "rid",
        "rtx_ssrc",
        "ssrc",
        "track",
        "_base",
        "_expected_prior",
        "_highest",
        "_jitter",
        "_ntp_middle",
        "_received",
        "_received_prior",
        "_transit",
    )

    def __init__(self, track: UpTrack, ssrc: int, layer: int, rid: str, rtx_ssrc: int = 0) -> None:
        self.track = track
        self.ssrc = ssrc
        self.rtx_ssrc = rtx_ssrc
        self.layer = layer
        self.rid = rid
        self.clock = 90000
        self.nack = False
        self.nack_due = INF
        self.missing: dict[int, list[float]] = {}
        self.last_at = NOW
        self.last_timestamp = 0
        self.octets = 0
        self.loss = 0.0
        self.report: tuple[int, float, int] | None = None
        self.keyframe_at = NOW
        self.keyframe_due = INF
        self._base = -1
        self._highest = -1
        self._received = 0
        self._expected_prior = 0
        self._received_prior = 0
        self._jitter = 0.0
        self._transit: float | None = None
        self._ntp_middle = 0

    @property
    def started(self) -> bool:
        """Whether any packet has come."""
        return self._base >= 0

    def live(self, now: float) -> bool:
        """Whether it is being sent at present."""
        return now - self.last_at < LIVE

    def receive(self, packet: RtpPacket, now: float) -> bool:
        """Take a packet in; False for one that came before, or is too old to tell."""
        sequence = packet.sequence
        self._received += 1
        self.octets += len(packet.payload)
        if self._base < 0:
            self._base = self._highest = sequence + 0x10000  # room below for packets that come late
            self._note(packet, now)
            return True
        ahead = (sequence - self._highest) & 0xFFFF
        if ahead == 0:
            return False
        if ahead >= 0x8000:
            return self.missing.pop(sequence, None) is not None
        if ahead > 1 and self.nack:
            if ahead - 1 + len(self.missing) > RTP_MISSING:
                self.missing.clear()  # too many: a key frame mends more than they would
                self.keyframe_due = min(self.keyframe_due, now)
            else:
                for number in range(self._highest + 1, self._highest + ahead):
                    self.missing[number & 0xFFFF] = [0, now]
                self.nack_due = NOW
        self._highest += ahead
        self._note(packet, now)
        return True

    def _note(self, packet: RtpPacket, now: float) -> None:
        self.last_at = now
        self.last_timestamp = packet.timestamp
        transit = now * self.clock - packet.timestamp
        if self._transit is not None:
            step = abs(transit - self._transit)
            if step < 0x7FFFFFFF:  # not where the timestamp wraps
                self._jitter += (step - self._jitter) / 16
        self._transit = transit

    def handle_report(self, ntp: int, timestamp: int, now: float) -> None:
        """A sender report."""
        self._ntp_middle = ntp >> 16 & 0xFFFFFFFF
        self.report = (timestamp, now, ntp)

    # ------------------------------------------------------------------ what it owes

    def take_nacks(self, rtt: float, now: float) -> list[int]:
        """The numbers to ask for now; sets ``nack_due``."""
        wanted = []
        due = INF
        for number, state in list(self.missing.items()):
            if state[1] <= now:
                if state[0] >= NACK_TRIES:
                    del self.missing[number]
                    continue
                wanted.append(number)
                pause = min(max(rtt, NACK_SPACING) * NACK_BACKOFF ** state[0], NACK_MOST)
                state[0] += 1
                state[1] = now + pause
            due = min(due, state[1])
        self.nack_due = due
        return wanted

    def ask_keyframe(self, now: float) -> None:
        """Somebody needs a key frame: one request serves all who ask within KEYFRAME_SPACING."""
        self.keyframe_due = min(self.keyframe_due, max(now, self.keyframe_at + KEYFRAME_SPACING))

    def make_report(self, now: float) -> ReportBlock:
        """The report block since the last one (RFC 3550 appendix A.3)."""
        expected = self._highest - self._base + 1
        lost = max(-0x800000, min(expected - self._received, 0x7FFFFF))
        interval = expected - self._expected_prior
        gone = interval - (self._received - self._received_prior)
        self._expected_prior, self._received_prior = expected, self._received
        fraction = max(0, gone) * 256 // interval if interval > 0 else 0
        self.loss = fraction / 256
        delay = 0
        if self.report is not None:
            delay = min(0xFFFFFFFF, int((now - self.report[1]) * 65536))
        return ReportBlock(
            self.ssrc,
            min(fraction, 255),
            lost,
            (self._highest - 0x10000) & 0xFFFFFFFF,
            int(self._jitter) & 0xFFFFFFFF,
            self._ntp_middle,
            delay,
        )


ACTIVE_LEVEL = 35
"""Sound this many dB below the loudest, or less far, counts as speech."""
LEVEL_WINDOW = 0.4
ACTIVE_PART = 0.4
"""What part of a window has to be speech."""
LEVEL_SMOOTH = 2 / 3


class LevelMeter:
    """How loud an audio track is, from the levels in its packets (RFC 6464). ``level`` is 0 to 1."""

    __slots__ = ("level", "_loudest", "_loud", "_seen", "_last_timestamp", "_since")

    def __init__(self) -> None:
        self.level = 0.0
        self._loudest = 127
        self._loud = 0.0
        self._seen = 0.0
        self._last_timestamp = -1
        self._since = NOW

    def observe(self, level: int, timestamp: int, clock: int, now: float) -> None:
        """The level of one packet, in dB below the loudest possible."""
        last, self._last_timestamp, self._since = self._last_timestamp, timestamp, now
        duration = ((timestamp - last) & 0xFFFFFFFF) / clock
        if last < 0 or duration > LEVEL_WINDOW:
            duration = 0.02
        self._seen += duration
        if level <= ACTIVE_LEVEL:
            self._loud += duration
            self._loudest = min(self._loudest, level)
        if self._seen < LEVEL_WINDOW:
            return
        smoothed = 0.0
        if self._loud >= ACTIVE_PART * LEVEL_WINDOW:
            linear = 10 ** (-(self._loudest - 20 * log10(self._loud / LEVEL_WINDOW)) / 20)
            smoothed = self.level + (linear - self.level) * LEVEL_SMOOTH
        self.level = min(1.0, smoothed)
        self._seen = self._loud = 0.0
        self._loudest = 127

    def read(self, now: float) -> float:
        """The present level; nothing is heard from one who stopped sending."""
        if now - self._since > 2 * LEVEL_WINDOW:
            self.level = 0.0
        return self.level
