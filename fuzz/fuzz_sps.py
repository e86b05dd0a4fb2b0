"""Parameter sets of H.264, and the sizes of pictures."""

from __future__ import annotations

from contextlib import suppress

from sansio.base.errors import ParseError
from sansio.rtp.payload import h264, vp8
from sansio.rtp.payload.sps import MOST_PIXELS, decode_sps


def one(data: bytes) -> None:
    with suppress(ParseError):
        width, height = decode_sps(data)
        assert 0 < width <= MOST_PIXELS
        assert 0 < height <= MOST_PIXELS
    for dimensions in (h264.dimensions, vp8.dimensions):
        width, height = dimensions(data)
        assert min(width, height) >= 0
