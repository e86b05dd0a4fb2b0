"""Redundant audio (RFC 2198): one payload carries a frame and copies of frames before it."""

from __future__ import annotations

from ...base.errors import ParseError
from ...base.limits import RED_BLOCKS

MOST_OFFSET = 0x3FFF
"""The most that a copy may be older than the frame, in units of the clock."""
MOST_COPY = 0x3FF
"""The most bytes of a copy."""


def decode_red(payload: bytes) -> list[tuple[int, int, bytes]]:
    """Payload type, age in units of the clock and data of each block, the oldest first and the frame itself last."""
    heads: list[tuple[int, int, int]] = []
    at, size = 0, len(payload)
    while True:
        if at >= size:
            raise ParseError("RED: no frame")
        first = payload[at]
        if first < 0x80:
            break
        if at + 4 > size:
            raise ParseError("RED: a header that ends early")
        if len(heads) >= RED_BLOCKS:
            raise ParseError("RED: too many blocks")
        rest = int.from_bytes(payload[at + 1 : at + 4], "big")
        heads.append((first & 0x7F, rest >> 10, rest & MOST_COPY))
        at += 4
    kind = payload[at]
    at += 1
    blocks = []
    for copy_kind, age, length in heads:
        if at + length > size:
            raise ParseError("RED: a block that reaches beyond the end")
        blocks.append((copy_kind, age, payload[at : at + length]))
        at += length
    blocks.append((kind, 0, payload[at:]))
    return blocks


def primary(payload: bytes) -> bytes | None:
    """The frame itself; None when the payload lies. The hot path of a stream without loss."""
    at = skip = 0
    size = len(payload)
    while at < size:
        if payload[at] < 0x80:
            start = at + 1 + skip
            return payload[start:] if start <= size else None
        if at + 4 > size:
            return None
        skip += (payload[at + 2] & 3) << 8 | payload[at + 3]
        at += 4
    return None


def encode_red(kind: int, frame: bytes, copies: list[tuple[int, bytes]]) -> bytes:
    """A payload with ``frame`` of payload type ``kind`` and ``copies`` (age, data), the oldest first.

    Ages and sizes are at most MOST_OFFSET and MOST_COPY.
    """
    heads = [(kind | 0x80) << 24 | age << 10 | len(data) for age, data in copies]
    return b"".join(
        [*[head.to_bytes(4, "big") for head in heads], bytes((kind,)), *[data for _, data in copies], frame]
    )
