"""VP8 payloads: a picture from pieces with descriptors, and pieces of a picture."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.rtp.payload import vp8


def pieces(data: bytes) -> list[bytes]:
    """Payloads with a byte of length before each."""
    found = []
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        found.append(data[at + 1 : end])
        at = end
    return found


def one(data: bytes) -> None:
    """The bytes are payloads, each behind its length; and a whole picture behind the size of its pieces."""
    payloads = pieces(data)
    for payload in payloads:
        vp8.starts(payload)
    if payloads:
        try:
            frame, keyframe = vp8.assemble(payloads)
        except ParseError:
            pass
        else:
            assert frame
            assert keyframe == vp8.is_keyframe(frame)
    if len(data) > 1:
        size = 5 + data[0]
        payloads = vp8.packetize(data[1:], size, len(data))
        assert max(map(len, payloads)) <= size
        assert [vp8.starts(payload) for payload in payloads] == [True] + [False] * (len(payloads) - 1)
        assert vp8.assemble(payloads)[0] == data[1:]
