"""Audio streams: one packet is one frame, and RED brings lost ones back (RFC 2198)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..base.errors import ParseError
from ..base.limits import RTP_FRAMES_AUDIO, RTP_REORDER_AUDIO
from .format import Format
from .packet import RtpPacket
from .payload.red import decode_red, primary
from .receiver import DEFAULT_RTT, REORDER, RtpReceiver

PATIENCE_LEAST = 0.15
PATIENCE_MOST = 0.5
"""Seconds that the sound is held up for a packet that was asked for again."""


class AudioReceiver(RtpReceiver):
    """A ring of audio frames; when it is full the oldest goes."""

    __slots__ = ("_red",)

    kind = "audio"

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
            capacity=RTP_FRAMES_AUDIO,
            most_buffered=RTP_REORDER_AUDIO,
        )
        self._red = False

    def _switch(self, packet: RtpPacket) -> bool:
        if not super()._switch(packet):
            return False
        self._red = self.format is not None and self.format.codec == "red"
        return True

    def _deliver(self, packet: RtpPacket) -> None:
        data: bytes | None = packet.payload
        if not data:
            return  # padding alone
        if packet.payload_type != self._payload_type and not self._switch(packet):
            return
        if self._red:
            data = primary(packet.payload)
            if data is None:
                self.counters.add("bad_payload")
                self._lost += 1
                return
        ring = self._ring
        ring.append(self._frame(data, packet.timestamp, packet.arrival, False))
        if len(ring) > self.capacity:
            self._overflow()
        if not self._announced:
            self._announced = True
            self._outbox.append(self._readable)

    def _overflow(self) -> None:
        ring = self._ring
        while len(ring) > self.capacity:
            dropped = ring.popleft()
            self.frames_dropped += 1
            ring[0].lost += dropped.lost + 1

    def _lose(self) -> None:
        self._lost += 1

    def _salvage(self, index: int, packet: RtpPacket) -> None:
        if not self._red or packet.payload_type != self._payload_type:
            return
        try:
            blocks = decode_red(packet.payload)
        except ParseError:
            return  # counted when its turn comes
        missing = self._missing
        for back in range(len(blocks) - 1, 0, -1):  # the oldest first
            kind, age, data = blocks[-1 - back]
            if index - back in missing and data:
                copy = packet.copy()
                copy.payload_type = kind
                copy.timestamp = (packet.timestamp - age) & 0xFFFFFFFF
                copy.payload = data
                self.counters.add("red_recovered")
                self._fill(index - back, copy)

    def _patience(self) -> float:
        if self.format is None or not self.format.nack:
            return REORDER
        # Room for three requests, the first at once. LiveKit's server answers none in the first 100 ms after a packet,
        # or two round trips where it has measured that they take a millisecond or more.
        patience = 0.05 + 3.5 * (DEFAULT_RTT if self.rtt is None else self.rtt)
        return min(PATIENCE_MOST, max(PATIENCE_LEAST, patience))
