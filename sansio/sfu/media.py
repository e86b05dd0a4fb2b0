"""RTP and RTCP of one peer connection of a client: what it publishes comes in, what it subscribed to goes out.

It stands where a client has its RTP session, behind the SRTP of a ``PeerTransport``: decrypted packets come by
``receive_rtp`` and ``receive_rtcp``; what is to be protected and sent is in ``rtp`` and ``rtcp``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..base.contract import INF, NOW
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..base.limits import RTCP_REFERENCES, SFU_SOURCES
from ..base.wallclock import WallClock
from ..rtp.feedback import ArrivalRecorder, encode_arrivals
from ..rtp.packet import RtpPacket
from ..rtp.rtcp import (
    CNAME,
    MOST_BLOCKS,
    ExtendedReport,
    FullIntra,
    Goodbye,
    Nack,
    PictureLoss,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    decode_rtcp,
    encode_rtcp,
)
from ..rtp.rtcp import (
    MID as MID_ITEM,
)
from ..sdp.codecs import AUDIO_LEVEL, MID, REPAIRED_RID, RID, TRANSPORT_CC
from ..sdp.media import Codec
from .codecs import starts_keyframe
from .downstream import DownTrack
from .track import UpTrack
from .upstream import UpStream

REPORT_INTERVAL = 1.0
"""Seconds between two receiver reports to a publisher."""
SENDER_INTERVAL = 3.0
"""Seconds between two sender reports to a subscriber."""
REPORTS_PER_COMPOUND = 8
FIRST_RTT = 0.1


class MediaRelay:
    """See the head of the module. ``codecs`` and ``extensions`` are what this connection has negotiated: payload types
    and URIs. ``wake`` is called when something is owed from outside, and ``advance`` has to be called for it."""

    def __init__(self, entropy: Entropy, wall: WallClock, wake: Callable[[], None]) -> None:
        self.rtp: deque[bytes] = deque()
        self.rtcp: deque[bytes] = deque()
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self.codecs: dict[int, Codec] = {}
        self.extensions: dict[str, int] = {}
        self.rtt = FIRST_RTT
        self.closed = False
        self._entropy = entropy
        self._wall = wall
        self._wake = wake
        self._ssrc = entropy.uint(32) or 1
        self._sources: dict[int, UpStream] = {}
        self._repairs: dict[int, UpStream] = {}
        self._sections: dict[str, tuple[UpTrack, tuple[str, ...]]] = {}
        self._downs: dict[int, DownTrack] = {}
        self._arrivals = ArrivalRecorder()
        self._media_ssrc = 0
        self._clock_lead = INF
        self._references: dict[int, tuple[int, float]] = {}
        self._report_due = INF
        self._sender_due = INF

    # ------------------------------------------------------------------ sections

    def publish(self, mid: str, track: UpTrack, streams: Sequence[tuple[int, int | None]], rids: Sequence[str]) -> None:
        """A section of the client carries a track: by sources that it named, or by the names of layers."""
        self._sections[mid] = (track, tuple(rids))
        track.media = self
        track.layered = max(len(rids), len(streams)) > 1
        if not rids:
            for layer, (ssrc, rtx) in enumerate(streams[:3]):
                self._bind(track, ssrc, layer, "", rtx or 0)

    def unpublish(self, mid: str) -> None:
        """The section carries nothing any more."""
        track, _ = self._sections.pop(mid)
        self._sources = {ssrc: stream for ssrc, stream in self._sources.items() if stream.track is not track}
        self._repairs = {ssrc: stream for ssrc, stream in self._repairs.items() if stream.track is not track}

    def _bind(self, track: UpTrack, ssrc: int, layer: int, rid: str, rtx: int) -> UpStream | None:
        if len(self._sources) >= SFU_SOURCES or ssrc in self._sources:
            self.counters.add("source_refused")
            return None
        stream = UpStream(track, ssrc, layer, rid, rtx)
        self._sources[ssrc] = stream
        if rtx:
            self._repairs[rtx] = stream
        track.add_stream(stream)
        return stream

    def add_down(self, down: DownTrack) -> None:
        """A subscribed track goes out here."""
        self._downs[down.ssrc] = down

    def remove_down(self, down: DownTrack) -> None:
        """It does no longer."""
        if self._downs.pop(down.ssrc, None) is not None and down.packets and not self.closed:
            self.rtcp.append(encode_rtcp([ReceiverReport(self._ssrc), Goodbye((down.ssrc,))]))
            self._wake()

    def start_down(self, down: DownTrack, codecs: tuple[Codec, ...], now: float) -> None:
        """The section of a subscribed track is negotiated."""
        down.start(self.rtp, self.wake_sender, codecs, self.extensions, now)

    def wake_sender(self) -> None:
        """Packets were appended to ``rtp``."""
        if self._sender_due == INF:
            self._sender_due = NOW  # the next advance sets it
        self._wake()

    def touch(self) -> None:
        """A stream owes a request for a key frame."""
        self._wake()

    def time_of(self, ntp: int) -> float:
        """When the client's clock showed an NTP time: by ours, in seconds since 1900."""
        return ntp / 4294967296 + self._clock_lead

    @property
    def streams(self) -> tuple[UpStream, ...]:
        """The sources that the client sends."""
        return tuple(self._sources.values())

    @property
    def downs(self) -> tuple[DownTrack, ...]:
        """The subscribed tracks."""
        return tuple(self._downs.values())

    # ------------------------------------------------------------------ packets in

    def skips(self, data: bytes) -> bool:
        """Whether a packet need not be decrypted: never."""
        return False

    def receive_rtp(self, data: bytes, now: float) -> None:
        """One decrypted RTP packet."""
        try:
            packet = RtpPacket(data)
        except ParseError:
            self.counters.add("bad_rtp")
            return
        packet.arrival = now
        extensions = self.extensions
        ident = extensions.get(TRANSPORT_CC)
        if ident and packet.profile:
            number = packet.extension(ident)
            if number is not None and len(number) == 2:
                self._media_ssrc = packet.ssrc
                self._arrivals.record(number[0] << 8 | number[1], now)
        stream = self._sources.get(packet.ssrc)
        if stream is None:
            repaired = self._repairs.get(packet.ssrc) or self._find_repaired(packet)
            if repaired is not None:
                self._receive_repair(repaired, packet, now)
                return
            stream = self._find_stream(packet)
            if stream is None:
                self.counters.add("unknown_source")
                return
        self._receive(stream, packet, now)

    def _receive(self, stream: UpStream, packet: RtpPacket, now: float) -> None:
        codec = self.codecs.get(packet.payload_type)
        if codec is None:
            self.counters.add("unknown_payload_type")
            return
        if not stream.started:
            stream.clock = codec.clock_rate
            stream.nack = "nack" in codec.feedback
        if self._report_due == INF:
            self._report_due = now + REPORT_INTERVAL
        if not stream.receive(packet, now):
            self.counters.add("duplicate")
            return
        track = stream.track
        video = track.kind == "video"
        if not video:
            ident = self.extensions.get(AUDIO_LEVEL)
            level = packet.extension(ident) if ident else None
            if level:
                track.meter.observe(level[0] & 0x7F, packet.timestamp, codec.clock_rate, now)
        keyframe = video and starts_keyframe(codec.name.lower(), packet.payload)
        if keyframe:
            stream.keyframe_due = INF  # whoever asked for one has it
        track.forward(stream, packet, codec, keyframe, now)

    def _name(self, packet: RtpPacket, uri: str) -> str:
        return packet.name(self.extensions.get(uri, 0))

    def _find_stream(self, packet: RtpPacket) -> UpStream | None:
        """Bind a source that no description named, by the names in its header extensions (RFC 8852)."""
        section = self._sections.get(self._name(packet, MID))
        if section is None:
            return None
        track, rids = section
        rid = self._name(packet, RID)
        if rid not in rids:
            return None
        if track.stream_of(rid) is not None:
            return None  # a layer has one source
        return self._bind(track, packet.ssrc, track.layer_of(rid, rids), rid, 0)

    def _find_repaired(self, packet: RtpPacket) -> UpStream | None:
        section = self._sections.get(self._name(packet, MID))
        rid = self._name(packet, REPAIRED_RID)
        if section is None or not rid:
            return None
        stream = section[0].stream_of(rid)
        if stream is None or stream.rtx_ssrc:
            return None
        stream.rtx_ssrc = packet.ssrc
        self._repairs[packet.ssrc] = stream
        return stream

    def _receive_repair(self, stream: UpStream, packet: RtpPacket, now: float) -> None:
        """A packet sent again (RFC 4588); without a payload it only fills the line."""
        codec = self.codecs.get(packet.payload_type)
        if codec is None or codec.apt is None or len(packet.payload) < 2:
            return
        original = packet.copy()
        original.payload_type = codec.apt
        original.ssrc = stream.ssrc
        original.sequence = int.from_bytes(packet.payload[:2], "big")
        original.payload = packet.payload[2:]
        if original.sequence in stream.missing:
            self._receive(stream, original, now)

    # ------------------------------------------------------------------ RTCP in

    def receive_rtcp(self, data: bytes, now: float) -> None:
        """One decrypted RTCP datagram."""
        try:
            packets = decode_rtcp(data)
        except ParseError:
            self.counters.add("bad_rtcp")
            return
        for packet in packets:
            match packet:
                case SenderReport(ssrc=ssrc, ntp=ntp, timestamp=timestamp, blocks=blocks):
                    stream = self._sources.get(ssrc)
                    if stream is not None:
                        sent = ntp / 4294967296
                        self._clock_lead = min(self._clock_lead, self._wall.ntp_at(now) / 4294967296 - sent)
                        stream.handle_report(ntp, timestamp, now)
                    self._handle_blocks(blocks)
                case ReceiverReport(blocks=blocks):
                    self._handle_blocks(blocks)
                case Nack(media=ssrc, sequences=sequences):
                    down = self._downs.get(ssrc)
                    if down is not None:
                        down.resend(sequences, now)
                case PictureLoss(media=ssrc):
                    self._want_keyframe(ssrc, now)
                case FullIntra(requests=requests):
                    for ssrc, _ in requests:
                        self._want_keyframe(ssrc, now)
                case ExtendedReport(sender=sender, ntp=reference):
                    if reference is not None:
                        self._note_reference(sender, reference, now)
                case _:
                    pass  # descriptions, estimates, goodbyes: nothing is done about them

    def _note_reference(self, sender: int, reference: int, now: float) -> None:
        """A receiver's clock, which it will be told of again (RFC 3611 section 4.4)."""
        if sender in self._references or len(self._references) < RTCP_REFERENCES:
            self._references[sender] = (reference >> 16 & 0xFFFFFFFF, now)
            self._report_due = min(self._report_due, now + REPORT_INTERVAL)

    def _handle_blocks(self, blocks: Sequence[ReportBlock]) -> None:
        for block in blocks:
            down = self._downs.get(block.ssrc)
            if down is not None:
                down.loss = block.fraction_lost / 256

    def _want_keyframe(self, ssrc: int, now: float) -> None:
        down = self._downs.get(ssrc)
        if down is not None and down.track.kind == "video":
            if down.stream is not None:
                down.stream.ask_keyframe(now)
                down.track.touch()
            else:
                down.ask_keyframe(now)

    # ------------------------------------------------------------------ time

    def set_rtt(self, rtt: float) -> None:
        """The round-trip time to the client in seconds."""
        self.rtt = rtt

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline."""
        if self.closed:
            return INF
        feedback: list[RtcpPacket] = []
        due = INF
        for stream in self._sources.values():
            if stream.keyframe_due <= now:
                stream.keyframe_due = INF
                if stream.live(now):  # one that has yet to begin does so with a key frame
                    stream.keyframe_at = now
                    feedback.append(PictureLoss(self._ssrc, stream.ssrc))
            if stream.nack_due <= now:
                numbers = stream.take_nacks(self.rtt, now)
                if numbers:
                    feedback.append(Nack(self._ssrc, stream.ssrc, tuple(numbers)))
            due = min(due, stream.keyframe_due, stream.nack_due)
        if self._arrivals.due <= now:
            feedback += [
                TransportFeedback(self._ssrc, self._media_ssrc, encode_arrivals(report))
                for report in self._arrivals.reports()
            ]
        for packet in feedback:
            self.rtcp.append(encode_rtcp([packet]))
        if self._report_due <= now:
            self._send_reports(now)
        if self._sender_due <= now:
            self._send_sender_reports(now)
        return min(due, self._arrivals.due, self._report_due, self._sender_due)

    def _send_reports(self, now: float) -> None:
        blocks = [stream.make_report(now) for stream in self._sources.values() if stream.started]
        answers = tuple(
            [
                (ssrc, middle, min(0xFFFFFFFF, int((now - came) * 65536)))
                for ssrc, (middle, came) in self._references.items()
            ]
        )
        self._references.clear()
        for at in range(0, len(blocks), MOST_BLOCKS):
            self.rtcp.append(encode_rtcp([ReceiverReport(self._ssrc, tuple(blocks[at : at + MOST_BLOCKS]))]))
        if blocks or answers:
            ntp = self._wall.ntp_at(now) if blocks else None
            self.rtcp.append(encode_rtcp([ReceiverReport(self._ssrc), ExtendedReport(self._ssrc, ntp, answers)]))
        live = any(stream.live(now) for stream in self._sources.values())
        self._report_due = now + REPORT_INTERVAL * self._entropy.uniform(0.9, 1.1) if live else INF

    def _send_sender_reports(self, now: float) -> None:
        if self._sender_due == NOW:
            self._sender_due = now + SENDER_INTERVAL
            return
        ntp = self._wall.ntp_at(now)
        made = []
        for down in self._downs.values():
            report = down.make_report(ntp, now)
            if report is not None:
                made.append((report, down))
        for at in range(0, len(made), REPORTS_PER_COMPOUND):
            group = made[at : at + REPORTS_PER_COMPOUND]
            packets: list[RtcpPacket] = [report for report, _ in group]
            packets.append(SourceDescription(tuple([_chunk(down) for _, down in group])))
            self.rtcp.append(encode_rtcp(packets))
        self._sender_due = now + SENDER_INTERVAL if made else INF

    def close(self, now: float) -> None:
        """The connection closes: goodbye for what is sent."""
        if self.closed:
            return
        self.closed = True
        sent = [down.ssrc for down in self._downs.values() if down.packets]
        for at in range(0, len(sent), MOST_BLOCKS):
            self.rtcp.append(encode_rtcp([ReceiverReport(self._ssrc), Goodbye(tuple(sent[at : at + MOST_BLOCKS]))]))


def _chunk(down: DownTrack) -> tuple[int, tuple[tuple[int, bytes], ...]]:
    return down.ssrc, ((CNAME, down.track.stream_id.encode()), (MID_ITEM, down.mid.encode()))
