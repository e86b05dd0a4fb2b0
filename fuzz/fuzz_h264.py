"""H.264 payloads: an access unit from packets, and packets of an access unit."""

from __future__ import annotations

from fuzz.fuzz_vp8 import pieces
from sansio.base.errors import LocalProtocolError, ParseError
from sansio.rtp.payload import h264


def one(data: bytes) -> None:
    """The bytes are payloads, each behind its length; and an access unit behind the size of its packets."""
    payloads = [payload for payload in pieces(data) if payload]
    for payload in payloads:
        h264.starts(payload)
    if payloads:
        try:
            frame, _ = h264.assemble(payloads)
        except ParseError:
            pass
        else:
            assert frame.startswith(h264.START_CODE)
    if len(data) > 1:
        size = 8 + data[0]
        units = h264.split(data[1:])
        for mode in (0, 1):
            try:
                payloads = h264.packetize(units, size, mode)
            except LocalProtocolError:
                assert not units or mode == 0
                continue
            assert max(map(len, payloads)) <= size
            if all(0 < unit[0] & 0x1F < h264.STAP_A for unit in units):
                frame, keyframe = h264.assemble(payloads)
                assert h264.split(frame) == units
                assert keyframe == h264.is_keyframe(units)
