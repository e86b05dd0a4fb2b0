"""Video streams: pictures put together from packets in order, and key frames asked for after losses."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..base.contract import INF
from ..base.errors import ParseError
from ..base.limits import RTP_FRAME_BYTES, RTP_FRAME_PACKETS, RTP_FRAMES_VIDEO, RTP_REORDER_VIDEO
from .format import Format
from .frame import Frame
from .packet import RtpPacket
from .payload import h264, vp8
from .receiver import DEFAULT_RTT, REORDER, RtpReceiver
from .rtcp import FullIntra, PictureLoss, RtcpPacket

PATIENCE_LEAST = 0.2
PATIENCE_MOST = 1.0
"""Seconds that pictures are held up for a packet that was asked for again."""
HEAD = 1024
"""Bytes kept of a key frame, which tell its size."""
KEYFRAME_SPACING = 0.5
"""Seconds between two requests for a key frame; the server passes them on at about this rate."""


class VideoReceiver(RtpReceiver):
    """A ring of pictures that can all be decoded in the order given.

    After a loss, pictures are dropped until a key frame comes, which is asked for as long as others come. A full ring
    is emptied up to the newest key frame in it, or completely, with the same consequence.
    """

    __slots__ = (
        "_starts",
        "_assemble",
        "_parts",
        "_part_bytes",
        "_open",
        "_open_timestamp",
        "_clean",
        "_hole",
        "_needs_keyframe",
        "_request",
        "_request_at",
        "_request_number",
        "_head",
    )

    kind = "video"

    def __init__(
        self,
        formats: Mapping[int, Format],
        rtx_types: Mapping[int, int],
        local_ssrc: int,
        owe: Callable[[Any], None],
        outbox: deque[Any],
    ) -> None:
        super().__init__(
            formats,
            rtx_types,
            local_ssrc,
            owe,
            outbox,
            capacity=RTP_FRAMES_VIDEO,
            most_buffered=RTP_REORDER_VIDEO,
        )
        self._starts = vp8.starts
        self._assemble = vp8.assemble
        self._parts: list[bytes] | None = None  # of the open picture; None when part of it is missing
        self._part_bytes = 0
        self._open = False
        self._open_timestamp = 0
        self._clean = False  # whether nothing is missing since the last packet
        self._hole = False  # whether packets between two pictures are missing
        self._needs_keyframe = True
        self._request = False
        self._request_at = 0.0
        self._request_number = 0
        self._head = b""  # of the last key frame

    def _switch(self, packet: RtpPacket) -> bool:
        if not super()._switch(packet):
            return False
        codec = vp8 if self.format is not None and self.format.codec == "vp8" else h264
        self._starts = codec.starts
        self._assemble = codec.assemble
        return True

    def _deliver(self, packet: RtpPacket) -> None:
        payload = packet.payload
        if not payload:
            return  # padding alone
        timestamp = packet.timestamp
        if not self._open or timestamp != self._open_timestamp:
            if self._open:
                self._finish(packet.arrival)  # its last packet came without a marker
            if packet.payload_type != self._payload_type and not self._switch(packet):
                return
            self._open = True
            self._open_timestamp = timestamp
            self._part_bytes = 0
            self._parts = [] if self._clean or self._starts(payload) else None
            if self._hole:
                self._hole = False
                if self._parts is not None:
                    self._lost += 1  # other pictures; else it is this one, counted when it ends
        parts = self._parts
        if parts is not None:
            parts.append(payload)
            self._part_bytes += len(payload)
            if self._part_bytes > RTP_FRAME_BYTES or len(parts) > RTP_FRAME_PACKETS:
                self.counters.add("frame_too_long")
                self._parts = None
        self._clean = True
        if packet.marker:
            self._finish(packet.arrival)

    def _finish(self, arrival: float) -> None:
        """The open picture has all packets that it will ever have."""
        parts, self._parts = self._parts, None
        self._open = False
        if parts is None:
            self._drop(1)
            return
        try:
            data, keyframe = self._assemble(parts)
        except ParseError:
            self.counters.add("bad_payload")
            self._drop(1)
            return
        if keyframe:
            self.keyframes += 1
            self._head = data[:HEAD]
            self._needs_keyframe = False
            self._request = False
        elif self._needs_keyframe:
            self._drop(1)
            return
        frame = self._frame(data, self._open_timestamp, arrival, keyframe)
        ring = self._ring
        if len(ring) >= self.capacity and not self._overflow(frame):
            return
        ring.append(frame)
        if not self._announced:
            self._announced = True
            self._outbox.append(self._readable)

    def _drop(self, count: int) -> None:
        """Pictures are lost to the reader: only a key frame can follow."""
        self._lost += count
        self.frames_dropped += count
        self._needs_keyframe = True
        self._request_keyframe()

    def _overflow(self, frame: Frame) -> bool:
        """Make room for ``frame``; whether it may follow what is left."""
        ring = self._ring
        keep = 0
        for place in range(len(ring) - 1, 0, -1):
            if ring[place].keyframe:
                keep = len(ring) - place
                break
        lost = 0
        while len(ring) > keep:
            lost += ring.popleft().lost + 1
            self.frames_dropped += 1
        if ring:
            ring[0].lost += lost
            return True
        if frame.keyframe:
            frame.lost += lost
            return True
        self._lost = lost + frame.lost
        self._drop(1)
        return False

    def _lose(self) -> None:
        self._clean = False
        if self._open:
            if self._parts is not None:
                self._parts = None  # counted when it ends
        else:
            self._hole = True
        self._needs_keyframe = True
        self._request_keyframe()

    def _reset(self) -> None:
        self._parts = None
        self._open = False
        self._clean = False
        self._hole = False
        self._needs_keyframe = True
        if self.enabled and self._highest >= 0:
            self._request_keyframe()

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of the last key frame, zeros before the first and where it does not tell."""
        codec = vp8 if self.format is not None and self.format.codec == "vp8" else h264
        size: tuple[int, int] = codec.dimensions(self._head)
        return size

    # ------------------------------------------------------------------ requests for key frames

    def request_keyframe(self) -> None:
        self._request_keyframe()

    def _request_keyframe(self) -> None:
        if self.enabled:
            self._request = True
            self._register()

    def advance(self, now: float, feedback: list[RtcpPacket]) -> float:
        due = self._advance_missing(now, feedback) if self._missing else INF
        if self._request:
            if self._request_at <= now:
                self._request = False
                self._request_at = now + max(KEYFRAME_SPACING, 0.0 if self.rtt is None else 2 * self.rtt)
                self._ask(feedback)
            elif self._request_at < due:
                due = self._request_at
        if due == INF:
            self._owing = False
        return due

    def _ask(self, feedback: list[RtcpPacket]) -> None:
        format = self.format
        if format is None or format.pli:
            feedback.append(PictureLoss(self._local, self.ssrc))
        elif format.fir:
            self._request_number = (self._request_number + 1) & 0xFF
            feedback.append(FullIntra(self._local, ((self.ssrc, self._request_number),)))
        else:
            return
        self.keyframe_requests += 1

    def _patience(self) -> float:
        if self.format is None or not self.format.nack:
            return REORDER
        rtt = DEFAULT_RTT if self.rtt is None else self.rtt
        return min(PATIENCE_MOST, max(PATIENCE_LEAST, 0.1 + 6 * rtt))
