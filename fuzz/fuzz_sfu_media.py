"""The small server's media: packets of publishers and feedback of subscribers that nobody would send."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz._held import held
from fuzz._turn import settle
from sansio import proto
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.rtp.packet import RtpPacket, build_rtp, element
from sansio.rtp.rtcp import (
    FullIntra,
    Nack,
    PictureLoss,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    decode_rtcp,
    encode_rtcp,
)
from sansio.sdp.codecs import ABS_SEND_TIME, AUDIO_LEVEL, DEPENDENCY_DESCRIPTOR, MID, REPAIRED_RID, RID, TRANSPORT_CC
from sansio.sfu.codecs import AUDIO, VIDEO
from sansio.sfu.downstream import DownTrack
from sansio.sfu.media import MediaRelay
from sansio.sfu.track import UpTrack

MOST_STEPS = 200
MOST_HELD = 4_000_000
CODECS = {codec.payload_type: codec for codec in (*AUDIO, *VIDEO)}
TYPES = (96, 96, 97, 98, 108, 125, 35, 116, 111, 63, 0, 77)
IDS = {AUDIO_LEVEL: 1, ABS_SEND_TIME: 2, TRANSPORT_CC: 3, MID: 4, DEPENDENCY_DESCRIPTOR: 5, RID: 10, REPAIRED_RID: 11}
STARTS = (
    b"\x10\x00\x00\x9d",
    b"\x90\xc0\x80\x05\x07\x00\x00",
    b"\x90\xc0\x80\x06\x08\x01\x00",
    b"\x67\x42",
    b"\x08",
    b"\x7c\x85",
)


class Stage:
    """A publisher with a voice and a layered picture, and three subscribers that take different codecs."""

    def __init__(self, first: int) -> None:
        self.now = 0.0
        self.up = MediaRelay(Entropy(b"up"), WallClock(1e9), lambda: None)
        self.up.codecs, self.up.extensions = dict(CODECS), dict(IDS)
        kinds = (proto.models.AUDIO, proto.models.VIDEO)
        self.tracks = [UpTrack(f"TR_{kind}", "PA", proto.rtc.AddTrackRequest(cid="c", type=kind)) for kind in kinds]
        rids = ("q", "h", "f")[: 1 + (first & 3)] if first & 4 else ()
        for mid, track in enumerate(self.tracks):
            track.describe("audio/red" if track.kind == "audio" else "video/VP8", str(mid))
        self.up.publish("0", self.tracks[0], ((1, None),), ())
        self.up.publish("1", self.tracks[1], ((2, 3), (4, 5)), rids)
        self.downs: list[DownTrack] = []
        self.relays: list[MediaRelay] = []
        for number, takes in enumerate(((*AUDIO, *VIDEO), (AUDIO[0], VIDEO[0]), AUDIO[1:])):
            relay = MediaRelay(Entropy(b"down %d" % number), WallClock(1e9), lambda: None)
            relay.extensions = dict(IDS)
            self.relays.append(relay)
            for track in self.tracks:
                down = DownTrack(track, f"PA_{number}", Entropy(b"x"), 100 + len(self.downs), 200 + len(self.downs))
                track.downs[f"PA_{number}"] = down
                relay.add_down(down)
                relay.start_down(down, tuple(takes), 0.0)
                self.downs.append(down)

    def settle(self) -> None:
        for relay in (self.up, *self.relays):
            settle(relay, self.now)
            while relay.rtcp:
                decode_rtcp(relay.rtcp.popleft())
            while relay.rtp:
                packet = RtpPacket(relay.rtp.popleft())
                assert 100 <= packet.ssrc < 300


def one(data: bytes) -> None:
    """The first byte chooses the layers; then come operations of a byte and what they read."""
    source = iter(data)
    stage = Stage(next(source, 0))
    for _, op in zip(range(MOST_STEPS), source, strict=False):
        _act(op & 7, op >> 3, source, stage)
        stage.settle()
    assert held(stage) <= MOST_HELD, f"holds {held(stage)}"
    for relay in stage.relays:
        relay.close(stage.now)


def _act(what: int, choice: int, source: Iterator[int], stage: Stage) -> None:
    now = stage.now
    relay = stage.relays[choice % 3]
    down = stage.downs[choice % len(stage.downs)]
    match what:
        case 0 | 1 | 2:
            stage.up.receive_rtp(_packet(choice, source, now), now)
        case 3:
            size = next(source, 0) & 63
            raw = bytes([next(source, 0) for _ in range(size)])
            stage.up.receive_rtp(raw, now)
            relay.receive_rtcp(raw, now)
            stage.up.receive_rtcp(raw, now)
        case 4:
            sequence = (down._last_sequence - next(source, 0)) & 0xFFFF
            packets = (
                Nack(1, down.ssrc, (sequence, sequence ^ 1)),
                PictureLoss(1, down.ssrc),
                FullIntra(1, ((down.ssrc, choice),)),
                ReceiverReport(1, (ReportBlock(down.ssrc, choice * 8, 0, 0, 0, 0, 0),)),
            )
            relay.receive_rtcp(encode_rtcp([packets[next(source, 0) & 3]]), now)
        case 5:
            report = SenderReport(choice & 7, next(source, 0) << 32, next(source, 0) << 24, 1, 1)
            stage.up.receive_rtcp(encode_rtcp([report]), now)
        case 6:
            match choice & 3:
                case 0:
                    down.set_enabled(bool(choice & 4), now)
                case 1:
                    down.set_max_layer(choice >> 2 & 3, now)
                case 2:
                    down.track.set_muted(bool(choice & 8), now)
                case _:
                    down.pause()
        case _:
            stage.now += (0.001, 0.02, 0.6, 4.0)[choice & 3]


def _packet(choice: int, source: Iterator[int], now: float) -> bytes:
    kind = TYPES[next(source, 0) % len(TYPES)]
    jump = next(source, 0)
    sequence = (int(now * 100) + jump * (257 if choice & 16 else 1)) & 0xFFFF
    block = b""
    names = next(source, 0)
    if names & 1:
        block += element(IDS[MID], b"%d" % (names >> 1 & 1))
    if names & 4:
        block += element(IDS[RID], (b"q", b"h", b"f", b"x")[names >> 3 & 3])
    if names & 32:
        block += element(IDS[REPAIRED_RID], b"q")
    if names & 64:
        block += element(IDS[TRANSPORT_CC], sequence.to_bytes(2, "big"))
    if names & 128:
        block += element(IDS[AUDIO_LEVEL], bytes([jump & 0x7F]))
    payload = STARTS[choice % len(STARTS)][: jump & 7 or 7] + bytes(next(source, 0) & 31)
    ssrc = (1, 2, 3, 4, 5, 6, 7, 8)[choice & 7]
    return build_rtp(kind | (choice & 8) << 4, sequence, int(now * 90000) & 0xFFFFFFFF, ssrc, block, payload)
