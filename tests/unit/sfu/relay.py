"""A publisher's and a subscriber's media relay, with a track between them, and packets to put in."""

from __future__ import annotations

from sansio import proto
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.rtp.packet import RtpPacket, build_rtp, element
from sansio.rtp.rtcp import decode_rtcp, encode_rtcp
from sansio.sdp.codecs import ABS_SEND_TIME, AUDIO_LEVEL, MID, REPAIRED_RID, RID, TRANSPORT_CC
from sansio.sdp.media import Codec
from sansio.sfu.downstream import DownTrack
from sansio.sfu.media import MediaRelay
from sansio.sfu.track import UpTrack

rtc, models = proto.rtc, proto.models

OPUS = Codec(111, "opus", 48000, 2, "minptime=10", ("nack",))
RED = Codec(63, "red", 48000, 2, "111/111")
VP8 = Codec(96, "VP8", 90000, 1, "", ("nack", "nack pli"))
RTX = Codec(97, "rtx", 90000, 1, "apt=96")
H264 = Codec(108, "H264", 90000, 1, "packetization-mode=1;profile-level-id=42e01f", ("nack",))
AV1 = Codec(35, "AV1", 90000)
ALL = (OPUS, RED, VP8, RTX, H264, AV1)
IDS = {AUDIO_LEVEL: 1, ABS_SEND_TIME: 2, TRANSPORT_CC: 3, MID: 4, RID: 10, REPAIRED_RID: 11}

KEY = b"\x10\x00\x00\x9d\x01\x2a"
DELTA = b"\x10\x01\x00\x00"


def add_track(**fields):
    fields = {"cid": "c", "type": models.VIDEO, **fields}
    return rtc.AddTrackRequest(**fields)


class Relay:
    """``up`` is what the publisher's connection has, ``down`` the subscriber's; ``taken`` what left it."""

    def __init__(
        self, kind="video", *, rids=(), streams=((1000, 2000),), codecs=ALL, takes=ALL, seed=b"relay", **fields
    ):
        self.now = 0.0
        self.wakes = []
        request = add_track(type=models.VIDEO if kind == "video" else models.AUDIO, **fields)
        self.track = UpTrack("TR_1", "PA_1", request)
        self.up = MediaRelay(Entropy(seed + b" up"), WallClock(1e9), lambda: self.wakes.append("up"))
        self.down = MediaRelay(Entropy(seed + b" down"), WallClock(1e9), lambda: self.wakes.append("down"))
        self.up.codecs = {codec.payload_type: codec for codec in codecs}
        self.up.extensions = dict(IDS)
        self.takes = takes
        self.track.describe("video/VP8" if kind == "video" else "audio/opus", "0")
        self.up.publish("0", self.track, streams, rids)
        self.sent = 0
        self.track_down = self.subscribe()

    def subscribe(self, *, start=True, ssrc=5000, rtx=6000, who="PA_2"):
        down = DownTrack(self.track, who, Entropy(b"down"), ssrc, rtx)
        down.mid = "1"
        self.track.downs[who] = down
        self.down.add_down(down)
        if start:
            self.down.start_down(down, self.takes, self.now)
        return down

    def put(
        self,
        payload=DELTA,
        *,
        sequence=None,
        timestamp=None,
        ssrc=1000,
        kind=96,
        mid="",
        rid="",
        repaired="",
        level=None,
        marker=False,
        number=None,
    ):
        """One packet of the publisher; what that makes leave to the subscriber."""
        if sequence is None:
            sequence = self.sent
        self.sent = sequence + 1
        block = b""
        for uri, value in ((MID, mid), (RID, rid), (REPAIRED_RID, repaired)):
            if value:
                block += element(IDS[uri], value.encode())
        if level is not None:
            block += element(IDS[AUDIO_LEVEL], bytes([level]))
        if number is not None:
            block += element(IDS[TRANSPORT_CC], number.to_bytes(2, "big"))
        stamp = int(self.now * 90000) if timestamp is None else timestamp
        data = build_rtp(kind | marker << 7, sequence & 0xFFFF, stamp & 0xFFFFFFFF, ssrc, block, payload)
        self.up.receive_rtp(data, self.now)
        return self.taken()

    def taken(self):
        found = [RtpPacket(data) for data in self.down.rtp]
        self.down.rtp.clear()
        return found

    def told(self, relay=None):
        """The RTCP that the publisher gets (or the other)."""
        relay = relay or self.up
        due = relay.advance(self.now)
        assert due > self.now
        assert relay.advance(self.now) == due
        found = [packet for data in relay.rtcp for packet in decode_rtcp(data)]
        relay.rtcp.clear()
        return found

    def say(self, *packets):
        """RTCP of the subscriber."""
        self.down.receive_rtcp(encode_rtcp(packets), self.now)

    def say_up(self, *packets):
        """RTCP of the publisher."""
        self.up.receive_rtcp(encode_rtcp(packets), self.now)

    def wait(self, seconds):
        self.now += seconds
