"""The codecs and header extensions that this client negotiates, as data.

Payload types are those of the server's own table, so that both directions name a codec by the same number.
"""

from __future__ import annotations

from attrs import evolve, frozen

from .media import Codec, Extension, parse_fmtp

VIDEO_FEEDBACK = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
"""RTCP feedback of video: estimates, key frame requests, retransmission (RFC 4585, 5104)."""
AUDIO_FEEDBACK = ("nack",)


@frozen
class CodecSpec:
    """A codec that we speak. ``rtx`` is the payload type of its retransmissions, 0 for none."""

    kind: str
    name: str
    payload_type: int
    clock_rate: int
    channels: int = 1
    fmtp: str = ""
    feedback: tuple[str, ...] = ()
    rtx: int = 0

    def matches(self, codec: Codec) -> bool:
        """Whether a peer's codec is this one, whatever its payload type.

        H.264 is told apart by packetization mode and profile (RFC 6184): all the baseline family is one, since the
        level is only a limit, and we pass frames on without decoding them.
        """
        if codec.name.lower() != self.name.lower() or codec.clock_rate != self.clock_rate:
            return False
        if codec.channels != self.channels:
            return False
        if self.name != "H264":
            return True
        ours, theirs = parse_fmtp(self.fmtp), codec.parameters
        mode = theirs.get("packetization-mode", "0") == ours.get("packetization-mode", "0")
        # profile-level-id may be left out, and then means plain baseline
        return mode and theirs.get("profile-level-id", "42000a")[:2].lower() == ours["profile-level-id"][:2]


OPUS = CodecSpec("audio", "opus", 111, 48000, 2, "minptime=10;useinbandfec=1", AUDIO_FEEDBACK)
RED = CodecSpec("audio", "red", 63, 48000, 2, "111/111")
VP8 = CodecSpec("video", "VP8", 96, 90000, 1, "", VIDEO_FEEDBACK, 97)
H264_MODE1 = CodecSpec(
    "video",
    "H264",
    108,
    90000,
    1,
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    VIDEO_FEEDBACK,
    109,
)
H264_MODE0 = CodecSpec(
    "video",
    "H264",
    125,
    90000,
    1,
    "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
    VIDEO_FEEDBACK,
    126,
)

OPUS_RECEIVE = evolve(OPUS, fmtp="minptime=10;stereo=1;useinbandfec=1")
"""Opus in sections that wait for tracks: whether a track is stereo is not known by then, so stereo is welcome."""

AUDIO_CODECS = (OPUS, RED)
AUDIO_RECEIVE_CODECS = (OPUS_RECEIVE, RED)
VIDEO_CODECS = (VP8, H264_MODE1, H264_MODE0)

# ------------------------------------------------------------------ header extensions

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
ABS_CAPTURE_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
DEPENDENCY_DESCRIPTOR = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"

# One id means one extension on the whole bundled transport, so the ids below are allotted together.
AUDIO_EXTENSIONS = (Extension(1, AUDIO_LEVEL), Extension(4, MID))
VIDEO_EXTENSIONS = (
    Extension(2, ABS_SEND_TIME),
    Extension(3, TRANSPORT_CC),
    Extension(4, MID),
    Extension(10, RID),
    Extension(11, REPAIRED_RID),
)
EXTENSIONS = (MID, RID, REPAIRED_RID, AUDIO_LEVEL, TRANSPORT_CC, ABS_SEND_TIME)
"""The URIs that we accept in an offer of the server."""
