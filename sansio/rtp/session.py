"""All RTP of one transport: which stream a packet belongs to, and RTCP both ways. RFC 3550, 8843, 8852, 5506.

``receive_rtp`` and ``receive_rtcp`` take decrypted packets. ``rtp`` and ``rtcp`` hold what is to be encrypted and sent,
each in order; ``outbox`` holds FrameReadable, TrackSeen, KeyframeWanted and StreamEnded. Everything owed (requests,
feedback, reports, paced packets) leaves in ``advance``, once a burst.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen

from ..base.contract import INF, NOW
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError
from ..base.limits import RTCP_REFERENCES, RTP_UNSIGNALLED_PACKETS, RTP_UNSIGNALLED_SSRCS
from ..base.wallclock import WallClock
from .audio import AudioReceiver
from .feedback import ArrivalRecorder, SentRecorder, decode_arrivals, encode_arrivals
from .format import ExtensionIds, Format
from .pacer import Item, Pacer
from .packet import RtpPacket
from .receiver import FrameReadable, RtpReceiver
from .rtcp import (
    CNAME,
    MID,
    MOST_BLOCKS,
    ExtendedReport,
    FullIntra,
    Goodbye,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    decode_rtcp,
    encode_rtcp,
)
from .sender import MOST_PACKET, RtpSender
from .video import VideoReceiver

REPORT_INTERVAL = 1.0
"""Seconds between our reports, give or take a tenth; the first follows the first packet."""
SENDERS_PER_COMPOUND = 12
REMEMBERED = 10.0
"""Seconds after its last packet that a sender still makes reports."""
KEYFRAME_SPACING = 0.25
"""Seconds between two KeyframeWanted of one sender."""
EARLY_AGE = 2.0
"""Seconds that packets of an unknown source are worth keeping."""
IDLE_SAMPLE = 64
"""Of a stream that nobody reads, one packet in so many is decrypted, so that SRTP follows the rollover counter."""
MOST_RTT = 30.0

__all__ = ["FrameReadable", "KeyframeWanted", "RtpSession", "StreamEnded", "TrackSeen"]


@frozen
class TrackSeen:
    """Packets of a source that no receiver expects; ``mid`` is empty when they do not tell. A few are kept for it."""

    ssrc: int
    mid: str


@frozen(eq=False)
class KeyframeWanted:
    """The other side asks for a key frame."""

    sender: RtpSender


@frozen(eq=False)
class StreamEnded:
    """The source said goodbye (RTCP BYE)."""

    receiver: RtpReceiver


class _Early:
    """Packets of an unknown source."""

    __slots__ = ("since", "mid", "packets")

    def __init__(self, since: float, mid: str) -> None:
        self.since = since
        self.mid = mid
        self.packets: list[tuple[RtpPacket, float]] = []


class RtpSession:
    """The RTP side of one peer connection. ``cname`` names us in source descriptions; ``rtt`` may be told by ICE."""

    def __init__(
        self,
        entropy: Entropy,
        wallclock: WallClock,
        *,
        cname: str,
        extensions: ExtensionIds | None = None,
        reduced_size: bool = True,
    ) -> None:
        if not 0 < len(cname.encode()) < 256:
            raise LocalProtocolError("a CNAME has 1 to 255 bytes")
        self.rtp: deque[bytes] = deque()
        self.rtcp: deque[bytes] = deque()
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self.reduced_size = reduced_size
        self.ssrc = entropy.uint(32)
        self.rtt: float | None = None
        self.bandwidth: int | None = None
        """The last REMB, in bit/s."""
        self.sent = SentRecorder()
        self.pacer = Pacer()
        self.closed = False
        self._entropy = entropy
        self._wallclock = wallclock
        self._cname = cname.encode()
        self._extensions = extensions or ExtensionIds()
        self._arrivals = ArrivalRecorder()
        self._media_ssrc = 0  # of the last packet with a transport-wide number
        self._formats: dict[int, Format] = {}
        self._rtx_types: dict[int, int] = {}
        self._routes: dict[int, Callable[[RtpPacket, float], None]] = {}
        self._sources: dict[int, RtpReceiver] = {}
        self._receivers: list[RtpReceiver] = []
        self._by_name: dict[tuple[str, str], RtpReceiver] = {}
        self._early: dict[int, _Early] = {}
        self._idle: dict[bytes, int] = {}
        self._senders: dict[int, RtpSender] = {}
        self._reserved: set[int] = set()
        self._unreported: list[RtpSender] = []  # those whose next packet brings a report at once
        self._owing: list[RtpReceiver] = []
        self._owing_due = INF
        self._references: dict[int, tuple[int, float]] = {}
        self._report_due = INF

    # ------------------------------------------------------------------ what was negotiated

    @property
    def extensions(self) -> ExtensionIds:
        """The header extension ids; senders take them when they are made."""
        return self._extensions

    def set_extensions(self, extensions: ExtensionIds) -> None:
        """The ids of this transport."""
        self._extensions = extensions

    def set_formats(self, formats: Iterable[Format]) -> None:
        """What the payload types of packets to us mean. Types not named keep their meaning."""
        for format in formats:
            self._formats[format.payload_type] = format
            if format.rtx:
                self._rtx_types[format.rtx] = format.payload_type

    # ------------------------------------------------------------------ receivers

    def add_receiver(
        self, kind: str, now: float, *, mid: str = "", rid: str = "", ssrc: int = 0, rtx_ssrc: int = 0
    ) -> RtpReceiver:
        """A stream to receive, of ``kind`` "audio" or "video", known by its SSRC, or else by the mid (and rid) that
        its first packets carry. Packets that came early are received now."""
        if kind not in ("audio", "video"):
            raise LocalProtocolError("streams are audio or video")
        if ssrc in self._routes or (not ssrc and (not mid or (mid, rid) in self._by_name)):
            raise LocalProtocolError("another receiver has this source, or there is nothing to know it by")
        make = AudioReceiver if kind == "audio" else VideoReceiver
        receiver = make(self._formats, self._rtx_types, self.ssrc, self._owing.append, self.outbox)
        receiver.mid = mid
        receiver.rid = rid
        receiver.rtt = self.rtt
        self._receivers.append(receiver)
        if ssrc:
            self._bind(receiver, ssrc, rtx_ssrc, now)
        else:
            self._by_name[mid, rid] = receiver
            for early_ssrc, early in list(self._early.items()):
                if early.mid == mid and not rid:
                    self._bind(receiver, early_ssrc, 0, now)
                    break
        return receiver

    def _bind(self, receiver: RtpReceiver, ssrc: int, rtx_ssrc: int, now: float) -> None:
        receiver.ssrc = ssrc
        self._sources[ssrc] = receiver
        self._routes[ssrc] = receiver.receive
        if not receiver.enabled:
            self._idle[ssrc.to_bytes(4, "big")] = 0
        if rtx_ssrc:
            self._bind_rtx(receiver, rtx_ssrc)
        early = self._early.pop(ssrc, None)
        if early is not None:
            for packet, arrival in early.packets:
                if arrival > now - EARLY_AGE:
                    receiver.receive(packet, arrival)

    def _bind_rtx(self, receiver: RtpReceiver, rtx_ssrc: int) -> None:
        if rtx_ssrc not in self._routes:
            receiver.rtx_ssrc = rtx_ssrc
            self._routes[rtx_ssrc] = receiver.receive_rtx
            self._early.pop(rtx_ssrc, None)

    def remove_receiver(self, receiver: RtpReceiver, reason: str = "removed") -> None:
        """The stream is not received any more; what waits can still be read."""
        if receiver not in self._receivers:
            return
        self._receivers.remove(receiver)
        self._unbind(receiver)
        self._by_name.pop((receiver.mid, receiver.rid), None)
        receiver.end(reason)

    def _unbind(self, receiver: RtpReceiver) -> None:
        for ssrc in (receiver.ssrc, receiver.rtx_ssrc):
            self._routes.pop(ssrc, None)
            self._sources.pop(ssrc, None)
            self._idle.pop(ssrc.to_bytes(4, "big"), None)

    def set_enabled(self, receiver: RtpReceiver, enabled: bool, now: float) -> None:
        """Keep frames of a stream, as after ``add_receiver``, or drop them because nobody reads.

        A video stream that is enabled again asks for a key frame.
        """
        receiver.set_enabled(enabled)
        if receiver.ssrc:
            wire = receiver.ssrc.to_bytes(4, "big")
            if enabled:
                self._idle.pop(wire, None)
            else:
                self._idle[wire] = 0

    @property
    def receivers(self) -> tuple[RtpReceiver, ...]:
        """All receivers, in the order added."""
        return tuple(self._receivers)

    # ------------------------------------------------------------------ senders

    def add_sender(
        self,
        format: Format,
        *,
        mid: str = "",
        rid: str = "",
        redundancy: int = 1,
        ssrc: int = 0,
        rtx_ssrc: int = 0,
        extensions: ExtensionIds | None = None,
    ) -> RtpSender:
        """A stream to send. SSRCs that are not given are drawn, that of RTX when the format has it.

        ``extensions``: the header extension ids of its section; without them, those that the session has now.
        """
        if self.closed:
            raise LocalProtocolError("the session is closed")
        if not 0 <= redundancy <= 8:
            raise LocalProtocolError("up to eight copies")
        ssrc = ssrc or self.reserve_ssrc()
        if ssrc in self._senders:
            raise LocalProtocolError("another sender has this source")
        self._reserved |= {ssrc, rtx_ssrc}
        draw = self._entropy.uint
        sender = RtpSender(
            format,
            mid=mid,
            rid=rid,
            ssrc=ssrc,
            rtx_ssrc=rtx_ssrc or (self.reserve_ssrc() if format.rtx else 0),
            sequence=draw(15),  # SRTP's rollover counter is safer to guess when it does not wrap at once
            rtx_sequence=draw(15),
            offset=draw(32),
            ids=self._extensions if extensions is None else extensions,
            wallclock=self._wallclock,
            emit=self.rtp.append,
            pacer=self.pacer,
            recorder=self.sent,
            redundancy=redundancy,
        )
        self._senders[ssrc] = sender
        self._unreported.append(sender)
        return sender

    def reserve_ssrc(self) -> int:
        """A free SSRC, for a description that has to name it before what it sends is negotiated."""
        while True:
            ssrc = self._entropy.uint(32)
            if ssrc and ssrc != self.ssrc and ssrc not in self._reserved and ssrc not in self._routes:
                self._reserved.add(ssrc)
                return ssrc

    def remove_sender(self, sender: RtpSender, now: float) -> None:
        """The stream ends: what is queued of it is dropped, and the other side is told (BYE)."""
        if self._senders.pop(sender.ssrc, None) is None:
            return
        sender.closed = True
        if sender in self._unreported:
            self._unreported.remove(sender)
        if sender.packets:
            self._send_compound([Goodbye((sender.ssrc,))])

    @property
    def senders(self) -> tuple[RtpSender, ...]:
        """All senders, in the order added."""
        return tuple(self._senders.values())

    # ------------------------------------------------------------------ packets in

    def skips(self, data: bytes) -> bool:
        """Whether an SRTP packet need not even be decrypted: its stream has no reader, and it is not the one in
        IDLE_SAMPLE. Streams with transport-wide numbers are never skipped, since each packet has to be reported."""
        idle = self._idle
        if not idle or self._arrivals.active:
            return False
        ssrc = data[8:12]
        left = idle.get(ssrc)
        if left is None:
            return False
        if left:
            idle[ssrc] = left - 1
            return True
        idle[ssrc] = IDLE_SAMPLE - 1
        return False

    def receive_rtp(self, data: bytes, now: float) -> None:
        """One decrypted RTP packet."""
        try:
            packet = RtpPacket(data)
        except ParseError:
            self.counters.add("bad_rtp")
            return
        if packet.profile:
            ident = self._extensions.transport_cc
            if ident:
                number = packet.extension(ident)
                if number is not None and len(number) == 2:
                    self._media_ssrc = packet.ssrc
                    self._arrivals.record(number[0] << 8 | number[1], now)
        route = self._routes.get(packet.ssrc)
        if route is not None:
            route(packet, now)
        else:
            self._receive_unknown(packet, now)

    def _receive_unknown(self, packet: RtpPacket, now: float) -> None:
        ids = self._extensions
        ssrc = packet.ssrc
        if self.closed or not ssrc:  # 0 is a legal source, and our word for none
            self.counters.add("unknown_ssrc")
            return
        mid = packet.name(ids.mid)
        if packet.payload_type in self._rtx_types:
            receiver = self._by_name.get((mid, packet.name(ids.repaired_rid)))
            if receiver is None or not receiver.ssrc or receiver.rtx_ssrc:
                self.counters.add("unknown_rtx")
                return
            self._bind_rtx(receiver, ssrc)
            receiver.receive_rtx(packet, now)
            return
        receiver = self._by_name.get((mid, packet.name(ids.rid)))
        if receiver is not None and not receiver.ssrc:
            self._bind(receiver, ssrc, 0, now)
            receiver.receive(packet, now)
            return
        self._keep_early(packet, mid, now)

    def _keep_early(self, packet: RtpPacket, mid: str, now: float) -> None:
        ssrc = packet.ssrc
        early = self._early.get(ssrc)
        if early is None:
            if len(self._early) >= RTP_UNSIGNALLED_SSRCS:
                oldest = next(iter(self._early))
                if self._early[oldest].since > now - EARLY_AGE:
                    self.counters.add("unknown_ssrc")
                    return
                del self._early[oldest]
            early = self._early[ssrc] = _Early(now, mid)
            self.outbox.append(TrackSeen(ssrc, mid))
        if len(early.packets) >= RTP_UNSIGNALLED_PACKETS:
            self.counters.add("unknown_ssrc")
            return
        early.packets.append((packet, now))

    def receive_rtcp(self, data: bytes, now: float) -> None:
        """One decrypted RTCP datagram."""
        if self.closed:
            return
        try:
            packets = decode_rtcp(data)
        except ParseError:
            self.counters.add("bad_rtcp")
            return
        for packet in packets:
            match packet:
                case SenderReport():
                    receiver = self._sources.get(packet.ssrc)
                    if receiver is not None:
                        receiver.handle_report(packet.ntp, packet.timestamp, now)
                    self._handle_blocks(packet.blocks, now)
                case ReceiverReport():
                    self._handle_blocks(packet.blocks, now)
                case SourceDescription():
                    self._handle_description(packet, now)
                case Goodbye():
                    for ssrc in packet.ssrcs:
                        receiver = self._sources.get(ssrc)
                        if receiver is not None:
                            self.outbox.append(StreamEnded(receiver))
                case Nack():
                    sender = self._senders.get(packet.media)
                    if sender is not None:
                        sender.handle_nack(packet.sequences, now)
                case PictureLoss():
                    self._want_keyframe(packet.media, now)
                case FullIntra():
                    for ssrc, number in packet.requests:
                        sender = self._senders.get(ssrc)
                        if sender is not None and sender.fir_number != number:
                            sender.fir_number = number
                            self._want_keyframe(ssrc, now)
                case Remb():
                    self.bandwidth = packet.bitrate
                case TransportFeedback():
                    try:
                        self.sent.handle(decode_arrivals(packet.body))
                    except ParseError:
                        self.counters.add("bad_twcc")
                case _:
                    self._handle_extended(packet, now)

    def _handle_blocks(self, blocks: Sequence[ReportBlock], now: float) -> None:
        for block in blocks:
            sender = self._senders.get(block.ssrc)
            if sender is not None:
                sender.handle_block(block, self._measure_rtt(block.last_report, block.delay, now))

    def _measure_rtt(self, reference: int, delay: int, now: float) -> float | None:
        """The round-trip time by our own reference time and the peer's delay (RFC 3550 section 6.4.1)."""
        if not reference:
            return None
        middle = self._wallclock.ntp_at(now) >> 16 & 0xFFFFFFFF
        elapsed = (middle - reference - delay) & 0xFFFFFFFF
        if elapsed >= 0xFFFF0000:
            elapsed = 0  # rounded below zero
        rtt = elapsed / 65536
        if rtt > MOST_RTT:
            self.counters.add("implausible_rtt")
            return None
        self.set_rtt(rtt if self.rtt is None else self.rtt + (rtt - self.rtt) / 8)
        return rtt

    def set_rtt(self, rtt: float) -> None:
        """The round-trip time in seconds, from the ICE agent for a start; reports measure it later on."""
        self.rtt = rtt
        for receiver in self._receivers:
            receiver.rtt = rtt

    def _handle_description(self, packet: SourceDescription, now: float) -> None:
        for ssrc, items in packet.chunks:
            early = self._early.get(ssrc)
            if early is None or early.mid:
                continue
            for kind, value in items:
                if kind == MID:
                    early.mid = value.decode("utf-8", "replace")
                    receiver = self._by_name.get((early.mid, ""))
                    if receiver is not None and not receiver.ssrc:
                        self._bind(receiver, ssrc, 0, now)
                    else:
                        self.outbox.append(TrackSeen(ssrc, early.mid))
                    break

    def _handle_extended(self, packet: ExtendedReport, now: float) -> None:
        if packet.ntp is not None:
            if packet.sender in self._references or len(self._references) < RTCP_REFERENCES:
                self._references[packet.sender] = (packet.ntp >> 16 & 0xFFFFFFFF, now)
            else:
                self.counters.add("too_many_references")
        for ssrc, reference, delay in packet.answers:
            if ssrc == self.ssrc:
                self._measure_rtt(reference, delay, now)

    def _want_keyframe(self, ssrc: int, now: float) -> None:
        sender = self._senders.get(ssrc)
        if sender is None:
            return
        sender.keyframe_requests += 1
        if sender.paused or now - sender.keyframe_asked_at < KEYFRAME_SPACING:
            return
        sender.keyframe_asked_at = now
        sender.keyframe_wanted = True
        self.outbox.append(KeyframeWanted(sender))

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline."""
        if self.closed:
            return INF
        pacer = self.pacer
        if pacer.due <= now:
            self._release(now)
        if self._owing:
            self._advance_receivers(now)
        if self._arrivals.due <= now:
            self._send_arrivals()
        unreported = self._unreported
        if unreported:
            for sender in unreported:
                if sender.packets != sender.reported:
                    self._report_due = NOW
                    break
        if self._report_due <= now:
            self._send_reports(now)
        return min(pacer.due, self._owing_due, self._arrivals.due, self._report_due)

    def _release(self, now: float) -> None:
        payloads: list[bytes] = []  # of one frame
        first: Item = ()
        last = 0
        for item in self.pacer.take(now):
            again = len(item) == 3
            if first and (again or item[1] is not first[1] or item[3] != first[3]):
                self._send_run(first, payloads, last, now)
                first = ()
            if again:
                if not item[1].closed:
                    item[1].resend(item[2], now)
                continue
            if not first:
                first, payloads = item, []
            payloads.append(item[4])
            last = item[2]
        if first:
            self._send_run(first, payloads, last, now)

    @staticmethod
    def _send_run(first: Item, payloads: list[bytes], last: int, now: float) -> None:
        _, sender, second, stamp, _ = first
        if not sender.closed:
            sender.send(payloads, second, last, stamp, b"", now)

    def _advance_receivers(self, now: float) -> None:
        feedback: list[RtcpPacket] = []
        due = INF
        owing = self._owing
        kept = []
        for receiver in owing:
            if receiver.ended:
                continue
            next_due = receiver.advance(now, feedback)
            if next_due < INF:
                kept.append(receiver)
                due = min(due, next_due)
            if self._report_due == INF:
                self._report_due = now + REPORT_INTERVAL
        owing[:] = kept
        self._owing_due = due
        if feedback:
            self._send_feedback(feedback)

    def _send_arrivals(self) -> None:
        self._send_feedback(
            [
                TransportFeedback(self.ssrc, self._media_ssrc, encode_arrivals(report))
                for report in self._arrivals.reports()
            ]
        )

    # ------------------------------------------------------------------ RTCP out

    def _chunk(self, ssrc: int) -> tuple[int, tuple[tuple[int, bytes], ...]]:
        return ssrc, ((CNAME, self._cname),)

    def _send_compound(self, packets: list[RtcpPacket]) -> None:
        """A compound that begins as RFC 3550 section 6.1 asks."""
        head: list[RtcpPacket] = [ReceiverReport(self.ssrc), SourceDescription((self._chunk(self.ssrc),))]
        self.rtcp.append(encode_rtcp([*head, *packets]))

    def _send_feedback(self, packets: list[RtcpPacket]) -> None:
        """Feedback in as few datagrams as it fits."""
        group: list[bytes] = []
        size = 0
        head = b""
        if not self.reduced_size:
            head = encode_rtcp([ReceiverReport(self.ssrc), SourceDescription((self._chunk(self.ssrc),))])
        for packet in packets:
            data = encode_rtcp([packet])
            if group and len(head) + size + len(data) > MOST_PACKET:
                self.rtcp.append(head + b"".join(group))
                group, size = [], 0
            group.append(data)
            size += len(data)
        self.rtcp.append(head + b"".join(group))

    def _send_reports(self, now: float) -> None:
        ntp = self._wallclock.ntp_at(now)
        sending = [
            sender
            for sender in self._senders.values()
            if sender.packets != sender.reported or (sender.packets and now - sender.last_sent < REMEMBERED)
        ]
        for at in range(0, len(sending), SENDERS_PER_COMPOUND):
            group = sending[at : at + SENDERS_PER_COMPOUND]
            packets: list[RtcpPacket] = [sender.make_report(ntp, now) for sender in group]
            packets.append(SourceDescription(tuple([self._chunk(sender.ssrc) for sender in group])))
            self.rtcp.append(encode_rtcp(packets))
        self._unreported = [sender for sender in self._senders.values() if sender not in sending]
        blocks = [receiver.make_report(now) for receiver in self._receivers if receiver.started]
        if blocks or self._references:
            answers = [
                (ssrc, reference, min(0xFFFFFFFF, int((now - came) * 65536)))
                for ssrc, (reference, came) in self._references.items()
            ]
            self._references.clear()
            for at in range(0, max(1, len(blocks)), MOST_BLOCKS):
                packets = [
                    ReceiverReport(self.ssrc, tuple(blocks[at : at + MOST_BLOCKS])),
                    SourceDescription((self._chunk(self.ssrc),)),
                ]
                if at == 0:
                    packets.append(ExtendedReport(self.ssrc, ntp if blocks else None, tuple(answers)))
                self.rtcp.append(encode_rtcp(packets))
        if sending or blocks:
            self._report_due = now + self._entropy.uniform(0.9, 1.1) * REPORT_INTERVAL
        else:
            self._report_due = INF

    def close(self, now: float) -> None:
        """Say goodbye for every stream; what that sends is in ``rtcp`` on return. Receivers end."""
        if self.closed:
            return
        said = tuple([sender.ssrc for sender in self._senders.values() if sender.packets])
        for at in range(0, len(said), MOST_BLOCKS):
            self._send_compound([Goodbye(said[at : at + MOST_BLOCKS])])
        self.closed = True
        for sender in self._senders.values():
            sender.closed = True
        for receiver in self._receivers:
            receiver.end("closed")
        self.pacer.clear()
        self._routes.clear()
        self._early.clear()
        self._idle.clear()
