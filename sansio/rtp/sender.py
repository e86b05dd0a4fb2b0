"""One sent stream: packets, their history for retransmission, sender reports, what the receiver tells of it.

Every encoding of a simulcast track is a sender of its own. Made by ``RtpSession.add_sender``.
"""

from __future__ import annotations

from collections.abc import Callable

from ..base.counters import Counters
from ..base.errors import LocalProtocolError
from ..base.limits import RTP_HISTORY_AUDIO, RTP_HISTORY_VIDEO
from ..base.wallclock import WallClock
from ..types import SenderStats
from .clock import MediaClock
from .feedback import SentRecorder
from .format import ExtensionIds, Format
from .pacer import Pacer
from .packet import MARKER, ONE_BYTE, TWO_BYTE, block_words, build_rtp, element, needs_two_byte, packer
from .payload import h264, opus, vp8
from .payload.red import MOST_COPY, MOST_OFFSET, encode_red
from .rtcp import ReportBlock, SenderReport

MOST_PACKET = 1200
"""Bytes of an RTP packet, so that with SRTP, UDP and tunnels below it fits any path."""
RESEND_SPACING = 0.01
"""Seconds between two retransmissions of the same packet, at least half a round trip."""
RESEND_RATE = 125_000.0
"""Bytes a second that retransmissions may take at least; half of what the stream itself takes, if that is more."""
RESEND_BURST = 125_000.0
NEVER = -1e9
OVERHEAD = 16
"""Bytes of a packet's headers, for the pacer."""
IDENTIFY = 500
"""Packets after which mid and rid are left away at the latest; otherwise with the first report about the stream."""


_Sent = tuple[int, bytes, int]
"""A packet that may be asked for again: its number, itself, where its payload begins."""


class RtpSender:
    """``write`` frames; packets appear in the session's ``rtp``, at once or, for video, as its pacer lets them go.

    ``keyframe_wanted`` is set when the receiver asks, and cleared when a key frame is written.
    """

    __slots__ = (
        "format",
        "mid",
        "rid",
        "ssrc",
        "rtx_ssrc",
        "closed",
        "counters",
        "clock",
        "keyframe_wanted",
        "keyframe_asked_at",
        "packets",
        "bytes",
        "frames",
        "keyframes",
        "frames_dropped",
        "resent_packets",
        "resent_bytes",
        "nacks",
        "keyframe_requests",
        "bitrate",
        "lost",
        "fraction_lost",
        "jitter",
        "rtt",
        "reported",
        "last_sent",
        "fir_number",
        "_paused",
        "_resumed",
        "_needs_keyframe",
        "_emit",
        "_pacer",
        "_recorder",
        "_ids",
        "_ntp_shift",
        "_profile",
        "_identity",
        "_rtx_identity",
        "_level_head",
        "_time_head",
        "_number_head",
        "_room",
        "_audio",
        "_head_size",
        "_offset",
        "_sequence",
        "_rtx_sequence",
        "_picture",
        "_history",
        "_resent",
        "_packers",
        "_mask",
        "_resend_tokens",
        "_resend_at",
        "_copies",
        "_redundancy",
        "_prior_bytes",
        "_prior_at",
    )

    def __init__(
        self,
        format: Format,
        *,
        mid: str,
        rid: str,
        ssrc: int,
        rtx_ssrc: int,
        sequence: int,
        rtx_sequence: int,
        offset: int,
        ids: ExtensionIds,
        wallclock: WallClock,
        emit: Callable[[bytes], None],
        pacer: Pacer,
        recorder: SentRecorder,
        redundancy: int = 1,
    ) -> None:
        self.format = format
        self.mid = mid
        self.rid = rid
        self.ssrc = ssrc
        self.rtx_ssrc = rtx_ssrc
        self.closed = False
        self.counters = Counters()
        self.clock = MediaClock(format.clock_rate)
        self.keyframe_wanted = False
        self.keyframe_asked_at = NEVER
        self.packets = 0
        self.bytes = 0
        self.frames = 0
        self.keyframes = 0
        self.frames_dropped = 0
        self.resent_packets = 0
        self.resent_bytes = 0
        self.nacks = 0
        self.keyframe_requests = 0
        self.bitrate = 0.0
        self.lost = 0
        self.fraction_lost = 0.0
        self.jitter = 0.0
        self.rtt: float | None = None
        self.reported = 0  # packets when the last sender report went out
        self.last_sent = 0.0
        self.fir_number = -1
        self._paused = False
        self._resumed = False
        self._needs_keyframe = False
        self._audio = format.kind == "audio"
        self._emit = emit
        self._pacer = pacer
        self._recorder = recorder
        self._ntp_shift = wallclock.unix_at(0.0) % 64
        self._offset = offset
        self._sequence = sequence
        self._rtx_sequence = rtx_sequence
        self._picture = offset & 0x7FFF
        size = RTP_HISTORY_AUDIO if self._audio else RTP_HISTORY_VIDEO
        self._mask = size - 1
        self._history: list[_Sent | None] = [None] * size if format.nack else []
        self._resent: dict[int, float] = {}  # when packets were sent again, by number; old entries do no harm
        self._packers: dict[int, tuple[Callable[..., bytes], int]] = {}
        self._resend_tokens = RESEND_BURST
        self._resend_at = 0.0
        self._copies: list[tuple[int, bytes]] = []
        self._redundancy = redundancy
        self._prior_bytes = 0
        self._prior_at = -1.0
        self._prepare_extensions(ids)

    def __repr__(self) -> str:
        return f"RtpSender({self.format.codec}, mid={self.mid!r}, rid={self.rid!r}, ssrc={self.ssrc})"

    def _prepare_extensions(self, ids: ExtensionIds) -> None:
        """The constant parts of the extension block, in the shortest form that holds them all."""
        own = [(ids.mid, self.mid), (ids.rid, self.rid)]
        repaired = [(ids.mid, self.mid), (ids.repaired_rid, self.rid)]
        names = [(ident, value.encode()) for ident, value in own if ident and value]
        rtx_names = [(ident, value.encode()) for ident, value in repaired if ident and value]
        every = [
            *names,
            *rtx_names,
            *[(ids.audio_level, b"0") for _ in range(1) if ids.audio_level and self._audio],
            *[(ids.abs_send_time, b"000") for _ in range(1) if ids.abs_send_time],
            *[(ids.transport_cc, b"00") for _ in range(1) if ids.transport_cc],
        ]
        two = needs_two_byte(every)
        self._profile = TWO_BYTE if two else ONE_BYTE
        self._identity = b"".join([element(ident, value, two) for ident, value in names])
        self._rtx_identity = b"".join([element(ident, value, two) for ident, value in rtx_names])
        self._level_head = element(ids.audio_level, b"0", two)[:-1] if ids.audio_level and self._audio else b""
        self._head_size = 2 if two else 1
        # Headers of elements of 3 and 2 bytes; nothing without.
        self._time_head = (
            (ids.abs_send_time << 8 | 3 if two else ids.abs_send_time << 4 | 2) if ids.abs_send_time else 0
        )
        self._number_head = element(ids.transport_cc, b"00", two)[:-2] if ids.transport_cc else b""
        block = max(len(self._identity), len(self._rtx_identity))
        block += sum([len(element(ident, value, two)) for ident, value in every[len(names) + len(rtx_names) :]])
        # Headers, the block in whole words, and the number that RTX puts in front of the payload.
        self._room = MOST_PACKET - 12 - (4 + (block + 3 & ~3) if block else 0) - 2

    # ------------------------------------------------------------------ writing

    @property
    def most_payload(self) -> int:
        """Bytes of the longest payload, which is the longest frame of audio."""
        return self._room

    def write(
        self,
        frame: bytes,
        now: float,
        *,
        timestamp: int | None = None,
        duration: int | None = None,
        level: int | None = None,
        voice: bool = False,
    ) -> bool:
        """Send one encoded frame; False when it was not sent: paused, waiting for a key frame, or too much is queued.

        ``timestamp`` and ``duration`` are in units of the clock. Without a timestamp audio counts itself on by the
        frames' durations (of Opus they are known) and video takes the time of writing. ``level``: loudness in -dBov,
        0 (loudest) to 127, and ``voice`` whether it is speech (RFC 6464). Raises LocalProtocolError for a frame that
        cannot be sent in this format; nothing has happened then.
        """
        format = self.format
        if self._audio:
            return self._write_audio(frame, now, timestamp, duration, level, voice)
        if not frame:
            raise LocalProtocolError("a frame has at least one byte")
        if format.codec == "vp8":
            payloads = vp8.packetize(frame, self._room, self._picture)
            keyframe = vp8.is_keyframe(frame)
        else:
            units = h264.split(frame)
            payloads = h264.packetize(units, self._room, format.mode)
            keyframe = h264.is_keyframe(units)
        stamp = self._video_stamp(timestamp, now)
        pacer = self._pacer
        if self._paused or self.closed or (self._needs_keyframe and not keyframe):
            self.frames_dropped += 1
            return False
        if pacer.full:
            self.counters.add("pacer_full")
            self.frames_dropped += 1
            self._needs_keyframe = True
            self.keyframe_wanted = True
            return False
        if keyframe:
            self._needs_keyframe = False
            self.keyframe_wanted = False
            self.keyframes += 1
        self.frames += 1
        self._picture = (self._picture + 1) & 0x7FFF
        second = format.payload_type
        if pacer.passes(len(frame) + OVERHEAD * len(payloads), now):
            self.send(payloads, second, second | MARKER, stamp, b"", now)
        else:
            items = [(len(payload) + OVERHEAD, self, second, stamp, payload) for payload in payloads]
            items[-1] = (*items[-1][:2], second | MARKER, stamp, payloads[-1])
            pacer.push(items, now)
        return True

    def _write_audio(
        self, frame: bytes, now: float, timestamp: int | None, duration: int | None, level: int | None, voice: bool
    ) -> bool:
        format = self.format
        if not 0 < len(frame) <= self._room:
            raise LocalProtocolError(f"an audio frame has 1 to {self._room} bytes")
        if level is not None and not 0 <= level <= 127:
            raise LocalProtocolError("audio levels are 0 (loudest) to 127 (silent)")
        if duration is None:
            # The codecs that are not Opus have a byte a sample.
            duration = opus.duration(frame) if format.codec in ("opus", "red") else len(frame)
        if duration <= 0:
            raise LocalProtocolError("not an Opus packet, or no duration")
        if timestamp is None:
            timestamp, begins = self.clock.count(duration, now)
        else:
            begins = self.clock.set(timestamp, duration, now)
        if self._paused or self.closed:
            self._copies.clear()
            self.frames_dropped += 1
            return False
        if self._resumed:
            self._resumed = False
            begins = True
        payload = frame if format.codec != "red" else self._with_copies(frame, timestamp)
        self.frames += 1
        block = b""
        if self._level_head and level is not None:
            block = self._level_head + bytes((level | 0x80 if voice else level,))
        # The marker tells the beginning of a talkspurt (RFC 3551 section 4.1).
        second = format.payload_type | MARKER if begins else format.payload_type
        self.send([payload], second, second, (timestamp + self._offset) & 0xFFFFFFFF, block, now)
        return True

    def _video_stamp(self, timestamp: int | None, now: float) -> int:
        clock = self.clock
        if timestamp is None:
            timestamp = max(clock.at(now), clock.next + 1) if clock.started else 0
        clock.set(timestamp, 0, now)
        return (timestamp + self._offset) & 0xFFFFFFFF

    def _with_copies(self, frame: bytes, timestamp: int) -> bytes:
        """A RED payload with as many copies of the frames before as fit."""
        room = self._room - len(frame) - 1
        copies: list[tuple[int, bytes]] = []
        for stamp, data in reversed(self._copies):
            age = timestamp - stamp
            room -= 4 + len(data)
            if not 0 < age <= MOST_OFFSET or room < 0:
                break
            copies.insert(0, (age, data))
        if len(frame) <= MOST_COPY:
            self._copies.append((timestamp, frame))
            del self._copies[: len(self._copies) - self._redundancy]
        else:
            self._copies.clear()  # the copies have to be of the packets just before
        return encode_red(self.format.primary, frame, copies)

    def send(self, payloads: list[bytes], second: int, last: int, stamp: int, block: bytes, now: float) -> None:
        """Packets of one frame leave: of audio when it is written, of video as the pacer lets them go.

        ``second`` is the second byte of all but the last of them, ``last`` its; ``block`` is for each of them.
        """
        if self._identity:
            if self.rid and not self.packets:
                self._introduce(stamp)
            block += self._identity
            if self.packets >= IDENTIFY:
                self._identity = b""
        if self._time_head:
            block += self._send_time(now)
        ssrc, profile, history, mask, emit = self.ssrc, self._profile, self._history, self._mask, self._emit
        sequence = self._sequence
        sizes = [len(payload) for payload in payloads]
        left = len(sizes)
        self.packets += left
        self.bytes += sum(sizes)
        self.last_sent = now
        if self._number_head:
            block += self._number_head
            size = len(block)
            pack, words = self._packers.get(size) or self._make_packer(size)
            headers = 16 + 4 * words
            number = self._recorder.allot_run(sizes, headers, now)
            for payload in payloads:
                left -= 1
                kind = second if left else last
                data = pack(0x90, kind, sequence, stamp, ssrc, profile, words, block, number) + payload
                if history:
                    history[sequence & mask] = (sequence, data, headers)
                emit(data)
                sequence = (sequence + 1) & 0xFFFF
                number = (number + 1) & 0xFFFF
        else:
            for payload in payloads:
                left -= 1
                data = build_rtp(second if left else last, sequence, stamp, ssrc, block, payload, profile)
                if history:
                    history[sequence & mask] = (sequence, data, len(data) - len(payload))
                emit(data)
                sequence = (sequence + 1) & 0xFFFF
        self._sequence = sequence

    def _introduce(self, stamp: int) -> None:
        """Have the server learn which stream repairs which, before anything is lost.

        Of an encoding known by its rid alone, LiveKit's server notices the names only in a packet that it has to read
        on for, because the first one had none; with names in the first packet it forwards the stream and never finds
        its retransmissions. So both streams begin with padding: without names, and of RTX once more with them.
        """
        self._pad(self.format.payload_type, self._sequence, stamp, self.ssrc, b"")
        self._sequence = (self._sequence + 1) & 0xFFFF
        if self.rtx_ssrc:
            for block in (b"", b"", self._rtx_identity):
                self._pad(self.format.rtx, self._rtx_sequence, stamp, self.rtx_ssrc, block)
                self._rtx_sequence = (self._rtx_sequence + 1) & 0xFFFF

    def _pad(self, kind: int, sequence: int, stamp: int, ssrc: int, block: bytes) -> None:
        """A packet of padding alone (RFC 3550 section 5.1)."""
        data = build_rtp(kind, sequence, stamp, ssrc, block, b"\0\0\0\4", self._profile)
        self._emit(bytes((data[0] | 0x20,)) + data[1:])

    def _send_time(self, now: float) -> bytes:
        """The extension that tells when a packet leaves, as 6.18 bits of seconds."""
        time = int((now + self._ntp_shift) * 262144) & 0xFFFFFF
        return (self._time_head << 24 | time).to_bytes(self._head_size + 3, "big")

    def _make_packer(self, size: int) -> tuple[Callable[..., bytes], int]:
        made = self._packers[size] = (packer(size), block_words(size))  # of a few sizes: with and without mid and rid
        return made

    # ------------------------------------------------------------------ pausing

    @property
    def paused(self) -> bool:
        """Whether frames are dropped: muted, or nobody wants this encoding."""
        return self._paused

    def set_paused(self, paused: bool) -> None:
        """Drop frames from now on, or send them again: video from the next key frame on, which is wanted then."""
        if paused == self._paused:
            return
        self._paused = paused
        if not paused:
            self._resumed = True
            if not self._audio:
                self._needs_keyframe = True
                self.keyframe_wanted = True

    # ------------------------------------------------------------------ what the receiver tells

    def handle_nack(self, sequences: tuple[int, ...], now: float) -> None:
        """Packets are asked for again: by RTX where it was negotiated, else the same packets once more."""
        history = self._history
        if not history:
            self.counters.add("nack_not_negotiated")
            return
        self.nacks += len(sequences)
        rate = max(RESEND_RATE, self.bitrate / 16)
        self._resend_tokens = min(RESEND_BURST, self._resend_tokens + max(0.0, now - self._resend_at) * rate)
        self._resend_at = now
        spacing = RESEND_SPACING if self.rtt is None else max(RESEND_SPACING, self.rtt / 2)
        pacer = self._pacer
        for sequence in sequences:
            entry = history[sequence & self._mask]
            if entry is None or entry[0] != sequence:
                self.counters.add("nack_too_old")
                continue
            if now - self._resent.get(sequence, NEVER) < spacing:
                self.counters.add("nack_too_soon")
                continue
            size = len(entry[1])
            if self._resend_tokens < size:
                self.counters.add("resend_limited")
                break
            self._resend_tokens -= size
            if len(self._resent) > self._mask:
                self._resent.clear()
            self._resent[sequence] = now
            if self._audio:
                self.resend(entry, now)
            elif not pacer.full:
                pacer.push([(size, self, entry)], now, urgent=True)

    def resend(self, entry: _Sent, now: float) -> None:
        """Send a packet of the history again (RFC 4588 section 4, or as it was)."""
        _, data, begin = entry
        if self.rtx_ssrc and self.format.rtx:
            block = self._rtx_identity
            payload = data[2:4] + data[begin:]
            if self._time_head:
                block += self._send_time(now)
            if self._number_head:
                block += self._number_head
                number = self._recorder.allot(16 + 4 * block_words(len(block)) + len(payload), now)
                block += number.to_bytes(2, "big")
            sequence = self._rtx_sequence
            self._rtx_sequence = (sequence + 1) & 0xFFFF
            second = data[1] & MARKER | self.format.rtx
            stamp = int.from_bytes(data[4:8], "big")
            data = build_rtp(second, sequence, stamp, self.rtx_ssrc, block, payload, self._profile)
        self.resent_packets += 1
        self.resent_bytes += len(data)
        self._emit(data)

    def handle_block(self, block: ReportBlock, rtt: float | None) -> None:
        """A receiver report about this stream, and the round-trip time that follows from it."""
        self._identity = b""  # it knows the stream by now
        self.lost = block.lost
        self.fraction_lost = block.fraction_lost / 256
        self.jitter = block.jitter / self.format.clock_rate
        if rtt is not None:
            self.rtt = rtt

    # ------------------------------------------------------------------ reports

    def make_report(self, ntp: int, now: float) -> SenderReport:
        """Our sender report; also the end of an interval of the bitrate."""
        self.reported = self.packets
        if now > self._prior_at:
            if self._prior_at >= 0:
                self.bitrate = (self.bytes - self._prior_bytes) * 8 / (now - self._prior_at)
            self._prior_bytes = self.bytes
            self._prior_at = now
        stamp = (self.clock.at(now) + self._offset) & 0xFFFFFFFF
        return SenderReport(self.ssrc, ntp, stamp, self.packets & 0xFFFFFFFF, self.bytes & 0xFFFFFFFF)

    def stats(self) -> SenderStats:
        """Where the stream stands."""
        return SenderStats(
            codec=self.format.codec,
            packets=self.packets,
            bytes=self.bytes,
            frames=self.frames,
            keyframes=self.keyframes,
            frames_dropped=self.frames_dropped,
            resent_packets=self.resent_packets,
            resent_bytes=self.resent_bytes,
            nacks=self.nacks,
            keyframe_requests=self.keyframe_requests,
            bitrate=self.bitrate,
            lost=self.lost,
            fraction_lost=self.fraction_lost,
            jitter=self.jitter,
            rtt=self.rtt,
        )
