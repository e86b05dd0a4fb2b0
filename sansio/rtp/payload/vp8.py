"""VP8 in RTP (RFC 7741): a descriptor before a piece of the frame."""

from __future__ import annotations

from ...base.errors import ParseError

DESCRIPTOR = 4
"""Bytes before each piece that we send: the extended form with a picture id of 15 bits, as the server expects."""


def _begin(payload: bytes) -> int:
    """Where the VP8 data begins behind the descriptor."""
    size = len(payload)
    if size < 2:
        raise ParseError("VP8: no data")
    at = 1
    if payload[0] & 0x80:
        flags = payload[1]
        at = 2
        if flags & 0x80:  # picture id
            if size <= at:
                raise ParseError("VP8: no picture id")
            at += 2 if payload[at] & 0x80 else 1
        if flags & 0x40:  # TL0PICIDX
            at += 1
        if flags & 0x30:  # TID, Y, KEYIDX
            at += 1
    if at >= size:
        raise ParseError("VP8: no data behind the descriptor")
    return at


def starts(payload: bytes) -> bool:
    """Whether a payload begins a frame: the start of its first partition."""
    return bool(payload) and payload[0] & 0x17 == 0x10


def is_keyframe(frame: bytes) -> bool:
    """Whether a whole frame is a key frame (RFC 6386 section 9.1)."""
    return bool(frame) and not frame[0] & 1


def dimensions(frame: bytes) -> tuple[int, int]:
    """Width and height of a key frame, or of the beginning of one; zeros when it does not tell."""
    if len(frame) < 10 or frame[3:6] != b"\x9d\x01\x2a":
        return 0, 0
    return int.from_bytes(frame[6:8], "little") & 0x3FFF, int.from_bytes(frame[8:10], "little") & 0x3FFF


def assemble(payloads: list[bytes]) -> tuple[bytes, bool]:
    """The frame in the payloads of all its packets, in order, and whether it is a key frame."""
    if not starts(payloads[0]):
        raise ParseError("VP8: the frame has no beginning")
    frame = b"".join([payload[_begin(payload) :] for payload in payloads])
    return frame, not frame[0] & 1


def packetize(frame: bytes, size: int, picture: int) -> list[bytes]:
    """Payloads of at most ``size`` bytes, about equally long, for a frame that is not empty."""
    room = size - DESCRIPTOR
    count = -(-len(frame) // room)
    step = -(-len(frame) // count)
    tail = b"\x80" + (0x8000 | picture & 0x7FFF).to_bytes(2, "big")
    head, more = b"\x90" + tail, b"\x80" + tail
    return [(more if at else head) + frame[at : at + step] for at in range(0, len(frame), step)]
