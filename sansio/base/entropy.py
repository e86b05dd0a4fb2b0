"""Injected randomness: every random draw of the core comes from an Entropy given at construction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Entropy:
    """A deterministic stream of random bytes from a seed, forkable by label.

    ``fork(label)`` gives a stream that depends on the seed and the label only, so a new draw in one component does not
    shift the draws of another. Blocks are BLAKE2b keyed with the seed over a counter: as strong as its seed, so a
    driver seeds it from the system (32 bytes) and tests with a constant.
    """

    __slots__ = ("_key", "_counter", "_pool")

    def __init__(self, seed: bytes) -> None:
        self._key = hashlib.blake2b(seed, digest_size=32, person=b"sansio-seed").digest()
        self._counter = 0
        self._pool = b""

    def __repr__(self) -> str:
        return "Entropy(...)"

    @property
    def state(self) -> bytes:
        """What ``of_state`` makes a fresh stream of: as secret as the seed."""
        return self._key

    @classmethod
    def of_state(cls, state: bytes) -> Entropy:
        """The stream of that ``state``, from its beginning."""
        made = cls(b"")
        made._key = state
        return made

    def fork(self, label: str) -> Entropy:
        """An independent stream for one component."""
        return Entropy(hashlib.blake2b(label.encode(), key=self._key, digest_size=32, person=b"sansio-fork").digest())

    def bytes(self, n: int) -> bytes:
        """The next ``n`` random bytes."""
        while len(self._pool) < n:
            block = hashlib.blake2b(self._counter.to_bytes(8, "big"), key=self._key, digest_size=64).digest()
            self._counter += 1
            self._pool += block
        out, self._pool = self._pool[:n], self._pool[n:]
        return out

    def uint(self, bits: int) -> int:
        """A uniform integer of ``bits`` bits."""
        return int.from_bytes(self.bytes((bits + 7) // 8), "big") & ((1 << bits) - 1)

    def uuid(self) -> str:
        """A random UUID, version 4 (RFC 9562 section 5.4)."""
        text = f"{self.uint(128) & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def random(self) -> float:
        """A uniform float in [0, 1)."""
        return self.uint(53) / (1 << 53)

    def uniform(self, low: float, high: float) -> float:
        """A uniform float in [low, high)."""
        return low + (high - low) * self.random()

    def below(self, n: int) -> int:
        """A uniform integer in [0, n); the bias of the reduction is below 2**-32 for n < 2**32."""
        return self.uint(64) % n

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def token(self, n: int, alphabet: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") -> str:
        """``n`` random characters; the default alphabet is RFC 8839's ice-char."""
        return "".join([alphabet[b % len(alphabet)] for b in self.bytes(n)])
