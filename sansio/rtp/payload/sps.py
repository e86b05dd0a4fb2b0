"""The size of an H.264 picture, from its sequence parameter set (ITU-T H.264 section 7.3.2.1)."""

from __future__ import annotations

from ...base.errors import ParseError

MOST_BYTES = 512
"""What is looked at of a parameter set; real ones have some tens of bytes."""
MOST_REFERENCES = 255
MOST_PIXELS = 65535
_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""The profiles whose sets tell of the chroma format."""


class _Bits:
    """Reads bits, most significant first."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        self._left = 8 * len(data)
        self._value = int.from_bytes(data, "big")

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ParseError("SPS: ends early")
        return self._value >> self._left & (1 << count) - 1

    def unsigned(self) -> int:
        """An Exp-Golomb number (section 9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 31:
                raise ParseError("SPS: a number that is too long")
        return (1 << zeros) - 1 + (self.take(zeros) if zeros else 0)

    def signed(self) -> int:
        value = self.unsigned()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def decode_sps(unit: bytes) -> tuple[int, int]:
    """Width and height in pixels of a parameter set, given as its NAL unit. Raises ParseError."""
    bits = _Bits(unit[:MOST_BYTES].replace(b"\0\0\3", b"\0\0")[1:])  # without emulation prevention and NAL header
    profile = bits.take(8)
    bits.take(16)
    bits.unsigned()
    chroma = 1
    if profile in _WITH_CHROMA:
        chroma = bits.unsigned()
        if chroma == 3 and bits.take(1):
            chroma = 0  # three planes apart, each of which counts as grey
        bits.unsigned()
        bits.unsigned()
        bits.take(1)
        if bits.take(1):
            for place in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling(bits, 16 if place < 6 else 64)
    bits.unsigned()
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        count = bits.unsigned()
        if count > MOST_REFERENCES:
            raise ParseError("SPS: too many reference frames")
        for _ in range(count):
            bits.signed()
    bits.unsigned()
    bits.take(1)
    width, height = 16 * (bits.unsigned() + 1), 16 * (bits.unsigned() + 1)
    fields = 0 if bits.take(1) else 1  # the pictures may be halves, of every other line
    if fields:
        height *= 2
        bits.take(1)
    bits.take(1)
    if bits.take(1):
        across, down = 2 if chroma in (1, 2) else 1, (2 if chroma == 1 else 1) << fields
        width -= across * (bits.unsigned() + bits.unsigned())
        height -= down * (bits.unsigned() + bits.unsigned())
    if not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS):
        raise ParseError("SPS: no picture has this size")
    return width, height


def _skip_scaling(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) & 0xFF
        last = following or last
