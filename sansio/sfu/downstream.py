"""One track on its way to one subscriber: packets of the chosen layer under numbers of our own.

Nothing is taken apart: a packet leaves as it came, with source, payload type, sequence number and timestamp rewritten.
The numbers go on without a jump when the layer changes or the track pauses, so that the subscriber sees one stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING

from ..base.contract import NOW
from ..base.entropy import Entropy
from ..base.limits import RTP_HISTORY_AUDIO, RTP_HISTORY_VIDEO
from ..rtp.packet import ONE_BYTE, TWO_BYTE, RtpPacket, build_rtp, element
from ..rtp.rtcp import SenderReport
from ..sdp.codecs import ABS_SEND_TIME, DEPENDENCY_DESCRIPTOR
from ..sdp.media import Codec
from .codecs import move_vp8, red_primary, retype_red, rtx_type, same_codec, vp8_counters

if TYPE_CHECKING:
    from .track import UpTrack
    from .upstream import UpStream

_pack_header = Struct("!BBHII").pack
_unpack_header = Struct("!BBHII").unpack_from

REPEAT_SPACING = 0.02
"""Seconds in which a packet is sent again once at most."""
BEST = 2
"""The highest layer that there can be."""

_KEEP, _RETYPE, _OPEN = range(3)  # what to do with a payload


class DownTrack:
    """A subscribed track. ``enabled`` and ``max_layer`` are the subscriber's wish; ``sending`` says that its section
    has been negotiated. ``wake`` is called when packets have been appended to ``out``.

    ``mid`` is the section that carries it, empty while it waits for one.
    """

    def __init__(self, track: UpTrack, subscriber: str, entropy: Entropy, ssrc: int, rtx_ssrc: int) -> None:
        self.track = track
        self.subscriber = subscriber
        self.ssrc = ssrc
        self.rtx_ssrc = rtx_ssrc
        self.mid = ""
        self.enabled = True
        self.max_layer = BEST
        self.sending = False
        self.stream: UpStream | None = None
        self.packets = 0
        self.octets = 0
        self.reported = 0
        self.loss = 0.0
        self.unsupported = False
        self._out: deque[bytes] = deque()
        self._wake: Callable[[], None] = lambda: None
        self._codecs: tuple[Codec, ...] = ()
        self._formats: dict[int, tuple[int, int, int]] = {}
        self._inner = 0  # payload type inside redundant audio, as the subscriber has it
        self._send_time = 0
        self._descriptor = 0
        self._resync = True
        self._first = 0  # the earliest sequence number of the present stream that is forwarded
        self._sequence_offset = 0
        self._timestamp_offset = 0
        self._last_sequence = entropy.uint(16)
        self._last_timestamp = entropy.uint(32)
        self._last_at = NOW
        self._rtx_sequence = entropy.uint(16)
        self._vp8_moves = (0, 0)
        self._vp8_last = (-1, -1)
        size = RTP_HISTORY_VIDEO if track.kind == "video" else RTP_HISTORY_AUDIO
        self._history: list[tuple[int, bytes, int, list[float]] | None] = [None] * size

    def start(
        self,
        out: deque[bytes],
        wake: Callable[[], None],
        codecs: tuple[Codec, ...],
        extensions: dict[str, int],
        now: float,
    ) -> None:
        """Its section is negotiated: packets go to ``out``. ``codecs`` are those that the subscriber takes."""
        self._out, self._wake, self._codecs = out, wake, codecs
        self._formats.clear()
        video = self.track.kind == "video"
        self._send_time = extensions.get(ABS_SEND_TIME, 0) if video else 0
        self._descriptor = extensions.get(DEPENDENCY_DESCRIPTOR, 0) if video else 0
        if not self.sending:
            self.sending = True
            self._resync = True
            self.ask_keyframe(now)

    def pause(self) -> None:
        """Nothing is sent until a key frame, or the next packet of audio."""
        self._resync = True

    def set_enabled(self, enabled: bool, now: float) -> None:
        """The subscriber switches the track off or on."""
        if enabled != self.enabled:
            self.enabled = enabled
            self._resync = True
            self.ask_keyframe(now)

    def set_max_layer(self, layer: int, now: float) -> None:
        """The subscriber wants no layer above this."""
        if layer != self.max_layer:
            self.max_layer = layer
            self.ask_keyframe(now)

    def ask_keyframe(self, now: float) -> None:
        """Have the publisher asked for a key frame of the layer that should be sent."""
        if self.track.kind == "video" and self.sending and self.enabled:
            wanted = self.track.best(self.max_layer, now)
            if wanted is not None:
                wanted.ask_keyframe(now)
                self.track.touch()

    def takes_something(self) -> bool:
        """Whether the subscriber takes any codec that the publisher sends."""
        media = self.track.media
        if media is None:
            return True
        name = self.track.info.mime_type.partition("/")[2].lower()
        sent = [codec for codec in media.codecs.values() if codec.name.lower() == name]
        return not sent or any(self._format(codec)[0] >= 0 for codec in sent)

    # ------------------------------------------------------------------ packets

    def forward(self, stream: UpStream, packet: RtpPacket, codec: Codec, keyframe: bool, now: float) -> None:
        """A packet of one of the track's layers. ``keyframe``: a key frame begins with it."""
        if not self.sending or not self.enabled:
            return
        if stream is not self.stream or self._resync:
            if not self._accepts(stream, keyframe, now):
                return
            self._change(stream, packet, codec, now)
        else:
            behind = (packet.sequence - self._first) & 0xFFFF
            if behind >= 0x8000:
                return  # from before the change
            if behind > 0x4000:
                self._first = (packet.sequence - 0x2000) & 0xFFFF
        found = self._formats.get(packet.payload_type)
        if found is None:
            found = self._formats[packet.payload_type] = self._format(codec)
        payload_type, _, treatment = found
        if payload_type < 0:
            self.unsupported = True
            return
        payload = packet.payload
        if treatment:
            if treatment == _OPEN:
                opened = red_primary(payload)
                if opened is None:
                    return
                payload = opened
            else:
                payload = retype_red(payload, self._inner)
        elif self.track.layered and codec.name == "VP8" and payload:
            if self._vp8_moves != (0, 0):
                payload = move_vp8(payload, *self._vp8_moves)
            self._vp8_last = vp8_counters(payload)
        sequence = (packet.sequence + self._sequence_offset) & 0xFFFF
        timestamp = (packet.timestamp + self._timestamp_offset) & 0xFFFFFFFF
        if (sequence - self._last_sequence) & 0xFFFF < 0x8000:
            self._last_sequence, self._last_timestamp, self._last_at = sequence, timestamp, now
        self._send(payload_type | packet.marker << 7, sequence, timestamp, packet, codec, payload, now)

    def _accepts(self, stream: UpStream, keyframe: bool, now: float) -> bool:
        """Whether this packet may begin or replace what is sent."""
        if self.track.kind == "audio":
            return True
        current = self.stream
        if current is not None and stream is not current and current.live(now) and current.layer <= self.max_layer:
            if not current.layer < stream.layer <= self.max_layer:
                return False
        elif stream.layer > self.max_layer and self.track.best(self.max_layer, now) is not stream:
            return False
        if not keyframe:
            self.ask_keyframe(now)
        return keyframe

    def _change(self, stream: UpStream, packet: RtpPacket, codec: Codec, now: float) -> None:
        """Go on with another stream, or with the same after a pause: numbers follow on the last ones sent."""
        self.stream = stream
        self._resync = False
        self._first = packet.sequence
        self._sequence_offset = self._last_sequence + 1 - packet.sequence
        passed = 0 if self._last_at == NOW else max(1, int((now - self._last_at) * codec.clock_rate))
        self._timestamp_offset = self._last_timestamp + passed - packet.timestamp
        if self.track.layered and codec.name == "VP8" and self._vp8_last[0] >= 0:
            picture, base = vp8_counters(packet.payload)
            self._vp8_moves = (self._vp8_last[0] + 1 - picture, self._vp8_last[1] + 1 - base)

    def _format(self, codec: Codec) -> tuple[int, int, int]:
        """How a codec of the publisher is sent: payload type, that of its retransmissions, what to do with payloads."""
        for ours in self._codecs:
            if same_codec(ours, codec):
                treatment = _KEEP
                if codec.name.lower() == "red":
                    if self.track.info.disable_red:
                        break
                    self._inner = _inner_type(ours)
                    if self._inner != _inner_type(codec):
                        treatment = _RETYPE
                return ours.payload_type, rtx_type(self._codecs, ours.payload_type), treatment
        if codec.name.lower() == "red":
            for ours in self._codecs:
                if ours.name.lower() == "opus":
                    return ours.payload_type, 0, _OPEN
        return -1, 0, _KEEP

    def _send(
        self, second: int, sequence: int, timestamp: int, packet: RtpPacket, codec: Codec, payload: bytes, now: float
    ) -> None:
        block = b""
        profile = ONE_BYTE
        if self._send_time:
            stamp = (int(now * 262144) & 0xFFFFFF).to_bytes(3, "big")
            described = None
            if self._descriptor and codec.name == "AV1":
                described = packet.extension(self.track.descriptor_id)
            if described is None:
                block = element(self._send_time, stamp)
            else:
                profile = TWO_BYTE
                block = element(self._send_time, stamp, True) + element(self._descriptor, described, True)
        data = build_rtp(second, sequence, timestamp, self.ssrc, block, payload, profile)
        self.packets += 1
        self.octets += len(payload)
        history = self._history
        history[sequence % len(history)] = (sequence, data, len(data) - len(payload), [NOW])
        self._out.append(data)
        self._wake()

    def resend(self, sequences: tuple[int, ...], now: float) -> None:
        """The subscriber misses packets: what is remembered is sent again, as RTX (RFC 4588) where that is agreed."""
        history = self._history
        for sequence in sequences:
            entry = history[sequence % len(history)]
            if entry is None or entry[0] != sequence or now - entry[3][0] < REPEAT_SPACING:
                continue
            entry[3][0] = now
            data, at = entry[1], entry[2]
            first, second, _, timestamp, _ = _unpack_header(data)
            repeats = rtx_type(self._codecs, second & 0x7F)
            if repeats and self.rtx_ssrc:
                self._rtx_sequence = (self._rtx_sequence + 1) & 0xFFFF
                head = _pack_header(first, second & 0x80 | repeats, self._rtx_sequence, timestamp, self.rtx_ssrc)
                data = head + data[12:at] + sequence.to_bytes(2, "big") + data[at:]
            self._out.append(data)
            self._wake()

    def make_report(self, ntp: int, now: float) -> SenderReport | None:
        """A sender report: the publisher's clock as we know it, under our numbers. None before the first packet."""
        stream = self.stream
        if stream is None or self.packets == self.reported:
            return None
        self.reported = self.packets
        media = self.track.media
        if stream.report is not None and media is not None:
            # All streams of a publisher keep their relation in time, whatever the way here did to their reports.
            base, _, told = stream.report
            passed = ntp / 4294967296 - media.time_of(told)
        else:
            base, passed = stream.last_timestamp, now - stream.last_at
        timestamp = base + self._timestamp_offset + int(passed * stream.clock)
        return SenderReport(self.ssrc, ntp, timestamp & 0xFFFFFFFF, self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF)


def _inner_type(codec: Codec) -> int:
    """The payload type inside redundant audio."""
    first = codec.fmtp.partition("/")[0]
    return int(first) & 0x7F if first.isascii() and first.isdecimal() and len(first) <= 3 else 0
