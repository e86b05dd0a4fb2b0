"""Sizes of H.264 pictures: parameter sets of a real encoder, and the rest of the grammar by hand."""

from __future__ import annotations

import pytest

from sansio.base.errors import ParseError
from sansio.rtp.payload import h264, vp8
from sansio.rtp.payload.sps import decode_sps


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("6742c028da01e0089f9610000003001000000301e8f1832a", (1920, 1080)),
        ("67f40016919680a42fe3e7840000030004000003007a3c58ba80", (642, 362)),  # 4:4:4
        ("677a0016bcb405217f113c20000003002000000303d1e2c5d4", (642, 362)),  # 4:2:2
        ("674d4028f403c0227ee10000030001000003001e9f162ea0", (1920, 1080)),  # interlaced
        ("6742c00ada0b13a10000030001000003001e8f1226a0", (176, 144)),
        ("6764000cf2d02833f1b080000003008000000f478a1550", (320, 180)),  # grey
    ],
)
def test_sets_of_an_encoder(unit, size):
    data = bytes.fromhex(unit)
    assert decode_sps(data) == size
    assert h264.dimensions(b"\0\0\0\1\x09\x10\0\0\1" + data + b"\0\0\1\x65abc") == size


class Bits:
    """Writes a parameter set."""

    def __init__(self, profile):
        self.text = f"{0x67:08b}{profile:08b}{0:016b}"
        self.ue(0)

    def u(self, *values):
        self.text += "".join([str(value) for value in values])
        return self

    def ue(self, *values):
        for value in values:
            text = f"{value + 1:b}"
            self.text += "0" * (len(text) - 1) + text
        return self

    def se(self, *values):
        return self.ue(*[2 * value - 1 if value > 0 else -2 * value for value in values])

    def size(self, width=20, height=15):
        """One reference frame, the size in macroblocks, whole frames, direct inference, no cropping."""
        return self.ue(1).u(0).ue(width - 1, height - 1).u(1, 1, 0)

    def data(self):
        raw = int(self.text.ljust(-(-len(self.text) // 8) * 8, "0"), 2).to_bytes(-(-len(self.text) // 8), "big")
        return raw.replace(b"\0\0\1", b"\0\0\3\1").replace(b"\0\0\0", b"\0\0\3\0")


def test_the_rare_parts_of_the_grammar():
    listed = Bits(100).ue(1, 0, 0).u(0, 1)
    listed.u(1).se(*([1] * 16))  # a list of sixteen
    listed.u(1).se(-8)  # one that is the default
    listed.u(0, 0, 0, 0).u(1).se(*([0] * 64)).u(0)
    assert decode_sps(listed.ue(0, 0, 0).size().data()) == (320, 240)
    planes = Bits(244).ue(3).u(1).ue(0, 0).u(0, 0)
    assert decode_sps(planes.ue(0, 2).size().data()) == (320, 240)
    twelve = Bits(244).ue(3).u(0).ue(0, 0).u(0, 1).u(*([0] * 12))
    assert decode_sps(twelve.ue(0, 2).size().data()) == (320, 240)
    cycle = Bits(66).ue(0, 1).u(1).se(-3, 4).ue(2).se(5, -6)
    assert decode_sps(cycle.size().data()) == (320, 240)
    halves = Bits(66).ue(0, 2).ue(1).u(0).ue(19, 7).u(0, 1, 1).u(1).ue(1, 1, 2, 2)
    assert decode_sps(halves.data()) == (316, 240)


@pytest.mark.parametrize(
    "unit",
    [
        b"",
        b"\x67\x42",
        Bits(66).ue(0, 1).u(1).se(0, 0).ue(256).data(),
        Bits(66).u(*([0] * 40)).data(),
        Bits(66).ue(0, 2).size(5000, 1).data(),
        Bits(66).ue(0, 2).ue(1).u(0).ue(0, 0).u(1, 1, 1).ue(100, 0, 0, 0).data(),
    ],
)
def test_sets_that_are_none(unit):
    with pytest.raises(ParseError):
        decode_sps(unit)
    assert h264.dimensions(b"\0\0\0\1\x67" + unit[1:]) == (0, 0)


def test_frames_that_do_not_tell():
    assert h264.dimensions(b"\0\0\0\1\x65abc") == (0, 0)
    assert vp8.dimensions(b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x40rest") == (320, 240)
    for frame in (b"", b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0", b"\x10\x00\x00\x9d\x01\x2b\x40\x01\xf0\x00"):
        assert vp8.dimensions(frame) == (0, 0)
