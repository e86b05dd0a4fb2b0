"""Records of application data under AES-GCM, past OpenSSL (RFC 6347 section 4.1, RFC 5288).

Every packet of data comes through here, and through OpenSSL's memory buffers it would cost twice as much. The keys are
those that OpenSSL has agreed on. The peer's handshake records and alerts stay with OpenSSL and application data never
gets there, so each record meets one replay window, always the same one.
"""

from __future__ import annotations

import hmac
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .flights import ALERT, APPLICATION_DATA, RECORD_HEADER, VERSION

FIRST = 1 << 48 | 32
"""Epoch 1, number 32. The numbers below are left to what OpenSSL sends in this epoch: Finished, once more for each time
that the peer repeats its own. A peer that got our first data without it still has a place for it in its window of 64.
"""
WINDOW = 64
"""A record this far behind the newest counts as replayed (RFC 6347 section 4.1.2.6)."""
SALT = 4
NONCE = 8
TAG = 16
OVERHEAD = RECORD_HEADER + NONCE + TAG
SUITES = {"ECDHE-ECDSA-AES128-GCM-SHA256": (16, "sha256"), "ECDHE-ECDSA-AES256-GCM-SHA384": (32, "sha384")}
"""By OpenSSL's name: bytes of a key, and the hash of the key derivation."""
CLOSE_NOTIFY = b"\1\0"

pack_head = Struct("!BHQHQ").pack
"""The record header (content type, version, epoch and number, length), and the explicit part of the nonce."""
pack_additional = Struct("!QBHH").pack
"""What is authenticated beside the data: the header in another order, with the length of the data."""
read_head = Struct("!HQ2x8s").unpack_from
"""Version, epoch and number, the explicit part of the nonce; from the second byte on."""
pack_number = Struct("!Q").pack


def expand(secret: bytes, seed: bytes, size: int, digest: str) -> bytes:
    """``size`` bytes of the pseudorandom function of TLS 1.2; the seed begins with its label (RFC 5246 section 5)."""
    block, chain = b"", seed
    while len(block) < size:
        chain = hmac.digest(secret, chain, digest)
        block += hmac.digest(secret, chain + seed, digest)
    return block[:size]


class RecordLayer:
    """Seals and opens the application data of one association. See Records."""

    __slots__ = ("_decrypt", "_encrypt", "_highest", "_next", "_our_salt", "_seen", "_their_salt")

    def __init__(self, suite: str, secret: bytes, client_random: bytes, server_random: bytes, *, server: bool) -> None:
        """``suite``: one of SUITES; ``secret``: the master secret; ``server``: whether this end is the server."""
        size, digest = SUITES[suite]
        # RFC 5246 section 6.3; no MAC keys with an AEAD
        block = expand(secret, b"key expansion" + server_random + client_random, 2 * (size + SALT), digest)
        client_key, server_key = block[:size], block[size : 2 * size]
        client_salt, server_salt = block[2 * size : -SALT], block[-SALT:]
        if server:
            ours, theirs, self._our_salt, self._their_salt = server_key, client_key, server_salt, client_salt
        else:
            ours, theirs, self._our_salt, self._their_salt = client_key, server_key, client_salt, server_salt
        self._encrypt = AESGCM(ours).encrypt
        self._decrypt = AESGCM(theirs).decrypt
        self._next = FIRST
        self._highest = 0
        self._seen = 0  # bit n: the record n before the highest has come

    def seal(self, data: bytes, content: int = APPLICATION_DATA) -> bytes:
        """See Records.

        The explicit nonce is the record's number, so ours never repeat. OpenSSL, with the same key, starts at 64 random
        bits and counts: its few records and 2^32 of ours share a nonce in one of 2^32 associations, the bound that
        NIST SP 800-38D (section 8) sets.
        """
        number = self._next
        self._next = number + 1
        size = len(data)
        nonce = self._our_salt + pack_number(number)
        sealed = self._encrypt(nonce, data, pack_additional(number, content, VERSION, size))
        return pack_head(content, VERSION, number, size + NONCE + TAG, number) + sealed

    def open(self, record: bytes) -> bytes:
        """See Records."""
        size = len(record) - OVERHEAD
        if size < 0:
            return b""
        version, number, nonce = read_head(record, 1)
        age = self._highest - number
        if age >= 0 and (age >= WINDOW or self._seen >> age & 1):
            return b""
        additional = pack_additional(number, APPLICATION_DATA, version, size)
        try:
            data = self._decrypt(self._their_salt + nonce, record[RECORD_HEADER + NONCE :], additional)
        except InvalidTag:
            return b""
        if age >= 0:
            self._seen |= 1 << age
        else:
            self._seen = (self._seen << -age | 1) & 0xFFFFFFFFFFFFFFFF if -age < WINDOW else 1
            self._highest = number
        return data

    def close(self) -> bytes:
        """See Records."""
        return self.seal(CLOSE_NOTIFY, ALERT)
