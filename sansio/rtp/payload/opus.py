"""Opus in RTP (RFC 7587): one Opus packet is one payload. What its first byte tells (RFC 6716 section 3.1)."""

from __future__ import annotations

_FRAME = (
    *(480, 960, 1920, 2880) * 3,  # SILK: 10, 20, 40, 60 ms
    *(480, 960) * 2,  # hybrid: 10, 20 ms
    *(120, 240, 480, 960) * 4,  # CELT: 2.5, 5, 10, 20 ms
)
"""Samples of one frame at 48 kHz, by configuration number."""


def duration(packet: bytes) -> int:
    """Samples at 48 kHz of an Opus packet, whatever its own bandwidth; 0 when it cannot be one."""
    if not packet:
        return 0
    toc = packet[0]
    code = toc & 3
    if code == 0:
        frames = 1
    elif code < 3:
        frames = 2
    elif len(packet) < 2:
        return 0
    else:
        frames = packet[1] & 0x3F
    samples = frames * _FRAME[toc >> 3]
    return samples if samples <= 5760 else 0  # RFC 6716 [R5]: at most 120 ms


def stereo(packet: bytes) -> bool:
    """Whether an Opus packet that is not empty holds two channels."""
    return bool(packet[0] & 4)
