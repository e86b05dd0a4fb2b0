"""Two RTP sessions and the network between them, in virtual time; and makers of packets and frames."""

from __future__ import annotations

import heapq
import itertools

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.rtp.format import ExtensionIds, Format
from sansio.rtp.packet import MARKER, RtpPacket, build_rtp
from sansio.rtp.session import RtpSession
from sansio.testing.netem import Link

IDS = ExtensionIds(mid=4, rid=10, repaired_rid=11, audio_level=1, abs_send_time=2, transport_cc=3)
OPUS = Format(111, "opus", 48000, nack=True)
OPUS_PLAIN = Format(112, "opus", 48000)
RED = Format(63, "red", 48000, primary=111)
PCMU = Format(0, "pcmu", 8000)
VP8 = Format(96, "vp8", 90000, rtx=97, nack=True, pli=True)
VP8_PLAIN = Format(100, "vp8", 90000, nack=True, fir=True)
H264 = Format(108, "h264", 90000, rtx=109, nack=True, pli=True)
FORMATS = (OPUS, OPUS_PLAIN, RED, PCMU, VP8, VP8_PLAIN, H264)
UNIX = 1_800_000_000.0


def make(label, **options):
    session = RtpSession(Entropy(label), WallClock(UNIX, 0.0), cname=label.decode(), **{"extensions": IDS, **options})
    session.set_formats(FORMATS)
    return session


def rtp(sequence, timestamp, payload=b"\xf8data", *, ssrc=7, kind=111, marker=False, block=b""):
    """A packet on the wire."""
    second = kind | MARKER if marker else kind
    return build_rtp(second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, block, payload)


def vp8_frame(number, keyframe=False, size=2500):
    """A frame that tells its number and is checked by ``number_of``."""
    return (b"\x10" if keyframe else b"\x11") + number.to_bytes(4, "big") + bytes([number & 0xFF]) * size


def h264_frame(number, keyframe=False, size=2500):
    body = number.to_bytes(4, "big").replace(b"\0", b"\xaa") + bytes([number % 255 + 1]) * size
    if keyframe:
        return b"\0\0\0\1\x67sps\0\0\0\1\x68pps\0\0\0\1\x65" + number.to_bytes(4, "big").hex().encode() + body
    return b"\0\0\0\1\x41" + number.to_bytes(4, "big").hex().encode() + body


def opus_frame(number):
    return b"\xf8" + number.to_bytes(4, "big") + bytes([number & 0xFF]) * 60


class Pair:
    """Session ``a`` sends to session ``b``; each direction is a link of its own."""

    def __init__(self, seed, *, there=None, back=None, formats=FORMATS, **options):
        self.now = 0.0
        self.a = make(b"a", **options)
        self.b = make(b"b", **options)
        self.links = {"a": there or Link(latency=0.05), "b": back or Link(latency=0.05)}
        self.entropy = Entropy(b"network %d" % seed)
        self.seen = []
        self.frames = {}
        self.dues = {"a": -INF, "b": -INF}
        self._heap = []
        self._order = itertools.count()
        self.trace = []

    def at(self, when, function, *args):
        heapq.heappush(self._heap, (when, next(self._order), function, args))

    def run(self, until):
        self._settle()
        while True:
            when = min(self._heap[0][0] if self._heap else INF, *self.dues.values())
            if when > until:
                break
            self.now = max(self.now, when)
            while self._heap and self._heap[0][0] <= self.now:
                _, _, function, args = heapq.heappop(self._heap)
                function(*args)
            self._settle()
        self.now = until

    def poke(self):
        """Something was done to a session from outside."""
        self.dues = {"a": -INF, "b": -INF}

    def _settle(self):
        for _ in range(100):
            ready = [name for name, due in self.dues.items() if due <= self.now]
            if not ready:
                return
            for name in ready:
                session = getattr(self, name)
                due = session.advance(self.now)
                assert due > self.now
                assert session.advance(self.now) == due
                self.dues[name] = due
                self._carry(name, session)
                self._read(session)
        raise AssertionError("livelock")

    def _carry(self, name, session):
        other = "b" if name == "a" else "a"
        for kind, queue in (("rtp", session.rtp), ("rtcp", session.rtcp)):
            while queue:
                data = queue.popleft()
                assert len(data) <= 1200
                for verdict, arrival in self.links[name].judge(len(data), self.now, self.entropy):
                    self.trace.append((round(self.now, 6), name, kind, len(data), verdict))
                    if arrival < INF:
                        self.at(arrival, self._arrive, other, kind, data)

    def _arrive(self, name, kind, data):
        session = getattr(self, name)
        if kind == "rtp":
            session.receive_rtp(data, self.now)
        else:
            session.receive_rtcp(data, self.now)
        self.dues[name] = -INF

    def _read(self, session):
        while session.outbox:
            self.seen.append(session.outbox.popleft())
        for receiver in session.receivers:
            got = self.frames.setdefault(receiver, [])
            while (frame := receiver.read()) is not None:
                got.append(frame)


def parsed(session):
    """The RTP packets that a session has sent."""
    packets = [RtpPacket(data) for data in session.rtp]
    session.rtp.clear()
    return packets
