"""Serial number arithmetic (RFC 1982) for 16- and 32-bit counters that wrap."""

from __future__ import annotations


def gt32(a: int, b: int) -> bool:
    """Whether ``a`` comes after ``b`` in 32-bit serial order."""
    return 0 < ((a - b) & 0xFFFFFFFF) < 0x80000000


def gt16(a: int, b: int) -> bool:
    """Whether ``a`` comes after ``b`` in 16-bit serial order."""
    return 0 < ((a - b) & 0xFFFF) < 0x8000


class Unwrapper:
    """Turns a wrapping counter of ``bits`` bits into a growing integer, tolerating reordering of half the range."""

    __slots__ = ("_size", "_last")

    def __init__(self, bits: int) -> None:
        self._size = 1 << bits
        self._last = -1

    def __call__(self, value: int) -> int:
        size = self._size
        if self._last < 0:
            self._last = value
            return value
        delta = (value - self._last) % size
        if delta >= size // 2:
            delta -= size
        unwrapped = self._last + delta
        if delta > 0:
            self._last = unwrapped
        return unwrapped
