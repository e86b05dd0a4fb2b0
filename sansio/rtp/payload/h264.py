"""H.264 in RTP (RFC 6184): single NAL units, aggregates (STAP-A) and fragments (FU-A).

Frames are access units in Annex B form, that is NAL units behind start codes, on both sides of this module.
"""

from __future__ import annotations

from ...base.errors import LocalProtocolError, ParseError
from .sps import decode_sps

START_CODE = b"\0\0\0\1"
IDR = 5
SPS = 7
DELIMITER = 9
STAP_A = 24
FU_A = 28


def split(frame: bytes) -> list[bytes]:
    """The NAL units of an access unit in Annex B form, without start codes and trailing zeros; empty ones left out."""
    units = []
    at = frame.find(b"\0\0\1")
    while at >= 0:
        begin = at + 3
        at = frame.find(b"\0\0\1", begin)
        unit = (frame[begin:at] if at >= 0 else frame[begin:]).rstrip(b"\0")
        if unit:
            units.append(unit)
    return units


def is_keyframe(units: list[bytes]) -> bool:
    """Whether an access unit, split into its NAL units, holds an IDR picture."""
    return any(unit[0] & 0x1F == IDR for unit in units)


def dimensions(frame: bytes) -> tuple[int, int]:
    """Width and height by the parameter set in an access unit, or in the beginning of one; zeros without one."""
    for unit in split(frame):
        if unit[0] & 0x1F == SPS:
            try:
                return decode_sps(unit)
            except ParseError:
                break
    return 0, 0


def starts(payload: bytes) -> bool:
    """Whether a payload begins an access unit for certain: nothing but parameter sets or a delimiter tells.

    A picture without them in front may have lost its first slice.
    """
    if not payload:
        return False
    kind = payload[0] & 0x1F
    if kind == STAP_A and len(payload) > 3:
        kind = payload[3] & 0x1F
    return kind in (SPS, DELIMITER)


def assemble(payloads: list[bytes]) -> tuple[bytes, bool]:
    """The access unit in the payloads of all its packets, in order, and whether it holds an IDR picture."""
    parts: list[bytes] = []
    keyframe = False
    fragments = False  # inside a fragmented unit
    for payload in payloads:
        kind = payload[0] & 0x1F
        if kind == FU_A:
            if len(payload) < 3:
                raise ParseError("H264: an empty fragment")
            head = payload[1]
            if head & 0x80:
                if fragments or head & 0x40:
                    raise ParseError("H264: fragments that begin twice, or end where they begin")
                fragments = True
                keyframe |= head & 0x1F == IDR
                parts += (START_CODE, bytes((payload[0] & 0xE0 | head & 0x1F,)))
            elif not fragments:
                raise ParseError("H264: a fragment without a beginning")
            parts.append(payload[2:])
            if head & 0x40:
                fragments = False
        elif fragments:
            raise ParseError("H264: fragments that do not end")
        elif kind == STAP_A:
            at, size = 1, len(payload)
            while at < size:
                begin = at + 2
                at = begin + int.from_bytes(payload[at:begin], "big")
                if at > size or at == begin:
                    raise ParseError("H264: an aggregate that lies about its lengths")
                keyframe |= payload[begin] & 0x1F == IDR
                parts += (START_CODE, payload[begin:at])
            if size == 1:
                raise ParseError("H264: an empty aggregate")
        elif 0 < kind < STAP_A:
            keyframe |= kind == IDR
            parts += (START_CODE, payload)
        else:
            raise ParseError("H264: a packetization that was not negotiated")
    if fragments:
        raise ParseError("H264: fragments that do not end")
    return b"".join(parts), keyframe


def packetize(units: list[bytes], size: int, mode: int) -> list[bytes]:
    """Payloads of at most ``size`` bytes for the NAL units of a frame. In mode 0 each is one of them (RFC 6184, 6.2).

    Raises LocalProtocolError for a frame without NAL units, and in mode 0 for a unit that does not fit.
    """
    if not units:
        raise LocalProtocolError("an H.264 frame is NAL units behind start codes (Annex B); this one has none")
    if mode == 0:
        if max([len(unit) for unit in units]) > size:
            raise LocalProtocolError(f"packetization mode 0 cannot carry NAL units of more than {size} bytes")
        return units
    payloads: list[bytes] = []
    small: list[bytes] = []
    room = 0
    for unit in units:
        length = len(unit)
        if small and (length > size or length + 2 > room):
            payloads.append(_aggregate(small))
            small = []
        if length > size:
            payloads += _fragment(unit, size)
        elif small:
            small.append(unit)
            room -= length + 2
        else:
            small = [unit]
            room = size - 3 - length
    if small:
        payloads.append(_aggregate(small))
    return payloads


def _aggregate(units: list[bytes]) -> bytes:
    if len(units) == 1:
        return units[0]
    importance = max([unit[0] & 0x60 for unit in units])
    parts = [bytes((importance | STAP_A,))]
    for unit in units:
        parts += (len(unit).to_bytes(2, "big"), unit)
    return b"".join(parts)


def _fragment(unit: bytes, size: int) -> list[bytes]:
    indicator = unit[0] & 0xE0 | FU_A
    kind = unit[0] & 0x1F
    room = size - 2
    length = len(unit) - 1
    count = -(-length // room)
    step = -(-length // count)
    payloads = []
    for at in range(1, len(unit), step):
        flags = 0x80 if at == 1 else 0x40 if at + step >= len(unit) else 0
        payloads.append(bytes((indicator, flags | kind)) + unit[at : at + step])
    return payloads
