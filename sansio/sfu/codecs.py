"""What the relay has to know of codecs and payloads: which are offered, which are the same, where key frames begin.

Payloads are passed on as they are, with two exceptions: redundant audio (RFC 2198) is opened for those who do not take
it, and the counters in the VP8 descriptor (RFC 7741) are moved where another layer goes on.
"""

from __future__ import annotations

from ..sdp.media import Codec

_FEEDBACK = ("ccm fir", "nack", "nack pli", "goog-remb")
_NACK = ("nack",)


def _video(payload_type: int, name: str, fmtp: str = "") -> tuple[Codec, Codec]:
    return (
        Codec(payload_type, name, 90000, 1, fmtp, _FEEDBACK),
        Codec(payload_type + 1, "rtx", 90000, 1, f"apt={payload_type}"),
    )


_H264 = "level-asymmetry-allowed=1;packetization-mode={};profile-level-id=42e01f"

AUDIO = (
    Codec(111, "opus", 48000, 2, "minptime=10;useinbandfec=1", _NACK),
    Codec(63, "red", 48000, 2, "111/111"),
    Codec(0, "PCMU", 8000, 1, "", _NACK),
    Codec(8, "PCMA", 8000, 1, "", _NACK),
)
VIDEO = (
    *_video(96, "VP8"),
    *_video(98, "VP9", "profile-id=0"),
    *_video(100, "VP9", "profile-id=1"),
    *_video(125, "H264", _H264.format(0)),
    *_video(108, "H264", _H264.format(1)),
    *_video(35, "AV1"),
    *_video(116, "H265"),
)
"""What a subscriber is offered, with the payload types of LiveKit's server."""

PUBLISHER_FEEDBACK = ("transport-cc", "goog-remb", "ccm fir", "nack", "nack pli")


def same_codec(a: Codec, b: Codec) -> bool:
    """Whether two payload types, perhaps of two connections, mean one format."""
    name = a.name.lower()
    if name != b.name.lower() or a.clock_rate != b.clock_rate or a.channels != b.channels:
        return False
    if name in ("vp8", "opus", "red", "pcmu", "pcma", "h265"):
        return True
    ours, theirs = a.parameters, b.parameters
    if name == "h264":
        mode = ours.get("packetization-mode", "0") == theirs.get("packetization-mode", "0")
        # profile and its constraints, without the level, which is only a limit (RFC 6184 section 8.1)
        return mode and (
            ours.get("profile-level-id", "420010")[:4].lower() == theirs.get("profile-level-id", "420010")[:4].lower()
        )
    key = "profile-id" if name == "vp9" else "profile"
    return ours.get(key, "0") == theirs.get(key, "0")


def common_codecs(offered: tuple[Codec, ...], kind: str, first: str = "") -> tuple[Codec, ...]:
    """The offered codecs that are in the table, each with its retransmissions; that called ``first`` comes first."""
    table = [ours for ours in (AUDIO if kind == "audio" else VIDEO) if ours.name != "rtx"]
    known = [codec for codec in offered if any(same_codec(codec, ours) for ours in table)]
    if first:
        known = [codec for codec in known if codec.name.lower() == first] + [
            codec for codec in known if codec.name.lower() != first
        ]
    types = [codec.payload_type for codec in known]
    repeats = [codec for codec in offered if codec.name.lower() == "rtx" and codec.apt in types]
    return tuple(known + repeats)


def rtx_type(codecs: tuple[Codec, ...], payload_type: int) -> int:
    """The payload type that repeats another, 0 for none."""
    for codec in codecs:
        if codec.apt == payload_type:
            return codec.payload_type
    return 0


# ------------------------------------------------------------------ key frames


def starts_keyframe(name: str, payload: bytes) -> bool:
    """Whether the first packet of a key frame has this payload. ``name`` is a video codec in lower case."""
    if not payload:
        return False
    match name:
        case "vp8":
            return _starts_vp8(payload)
        case "h264":
            return _starts_h264(payload)
        case "vp9":
            head = payload[0]
            if head & 0x48 != 0x08:  # not predicted from other pictures, begins a layer frame
                return False
            at = 1
            if head & 0x80:
                at += 2 if payload[1:2] >= b"\x80" else 1
            return not head & 0x20 or (len(payload) > at and not payload[at] >> 1 & 7)
        case "av1":
            return payload[0] & 0x88 == 0x08  # a coded video sequence begins, with a whole element
        case _:
            return _starts_h265(payload)


def _starts_vp8(payload: bytes) -> bool:
    if payload[0] & 0x17 != 0x10:  # the start of the first partition
        return False
    at = vp8_header(payload)
    return len(payload) > at and not payload[at] & 1


def _starts_h264(payload: bytes) -> bool:
    kind = payload[0] & 0x1F
    if kind == 24:  # several units
        at = 1
        while at + 2 < len(payload):
            if payload[at + 2] & 0x1F in (5, 7):
                return True
            at += 2 + int.from_bytes(payload[at : at + 2], "big")
        return False
    if kind == 28:  # a piece
        return len(payload) > 1 and payload[1] & 0x9F in (0x85, 0x87)
    return kind in (5, 7)


def _starts_h265(payload: bytes) -> bool:
    kind = payload[0] >> 1 & 0x3F
    if kind == 48:
        kind = payload[4] >> 1 & 0x3F if len(payload) > 4 else 0
    elif kind == 49:
        kind = payload[2] & 0x3F if len(payload) > 2 and payload[2] & 0x80 else 0
    return 16 <= kind <= 21 or 32 <= kind <= 34


# ------------------------------------------------------------------ the VP8 descriptor


def vp8_header(payload: bytes) -> int:
    """Length of the VP8 payload descriptor, which may be more than there is."""
    if not payload[0] & 0x80:
        return 1
    if len(payload) < 3:
        return len(payload)
    parts = payload[1]
    at = 2
    if parts & 0x80:
        at += 2 if payload[2] & 0x80 else 1
    if parts & 0x40:
        at += 1
    return at + 1 if parts & 0x30 else at


def vp8_counters(payload: bytes) -> tuple[int, int]:
    """Picture id and TL0PICIDX of a VP8 payload, -1 for what it does not have."""
    if len(payload) < 5 or not payload[0] & 0x80:
        return -1, -1
    parts, at = payload[1], 2
    picture = base = -1
    if parts & 0x80:
        picture = payload[2]
        at = 3
        if picture & 0x80:
            picture = (picture & 0x7F) << 8 | payload[3]
            at = 4
    if parts & 0x40:
        base = payload[at]
    return picture, base


def move_vp8(payload: bytes, picture: int, base: int) -> bytes:
    """The payload with its picture id and TL0PICIDX, where it has them, moved forward by these."""
    found, level = vp8_counters(payload)
    if found < 0 and level < 0:
        return payload
    moved = bytearray(payload)
    at = 2
    if found >= 0:
        if payload[2] & 0x80:
            found = (found + picture) & 0x7FFF
            moved[2] = 0x80 | found >> 8
            moved[3] = found & 0xFF
            at = 4
        else:
            moved[2] = (found + picture) & 0x7F
            at = 3
    if level >= 0:
        moved[at] = (level + base) & 0xFF
    return bytes(moved)


# ------------------------------------------------------------------ redundant audio


def red_primary(payload: bytes) -> bytes | None:
    """The newest of the copies in a redundant payload (RFC 2198), None when it is none."""
    at = 0
    behind = 0
    while at < len(payload) and payload[at] & 0x80:
        if at + 4 > len(payload):
            return None
        behind += (payload[at + 2] & 3) << 8 | payload[at + 3]
        at += 4
    start = at + 1 + behind
    return payload[start:] if start <= len(payload) and at < len(payload) else None


def retype_red(payload: bytes, payload_type: int) -> bytes:
    """The payload with another payload type in every block header."""
    moved = bytearray(payload)
    at = 0
    while at < len(moved) and moved[at] & 0x80:
        moved[at] = 0x80 | payload_type
        at += 4
    if at < len(moved):
        moved[at] = payload_type
    return bytes(moved)
