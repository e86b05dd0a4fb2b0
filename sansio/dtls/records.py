"""Records of application data under AES-GCM, past OpenSSL (RFC 6347 section 4.1, RFC 5288).

Every packet of data goes through here twice, and by OpenSSL's memory buffers it costs five times as much. The keys are
those that OpenSSL has agreed on; handshake and alerts of the peer stay with it.
"""

from __future__ import annotations

import hmac
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .flights import ALERT, APPLICATION_DATA, RECORD_HEADER, VERSION

FIRST = 1 << 48 | 32
"""Epoch 1; the numbers below are for what OpenSSL sends after ChangeCipherSpec: Finished, also again and again. A peer
that has our data and not yet our Finished takes that from its replay window of 64."""
WINDOW = 64
"""Records that may be overtaken; later ones count as replayed (RFC 6347 section 4.1.2.6)."""
OVERHEAD = 24
"""Bytes that the suite adds behind the header: the explicit part of the nonce and the tag."""
SUITES = {"AES128-GCM-SHA256": (16, "sha256"), "AES256-GCM-SHA384": (32, "sha384")}
"""By the end of OpenSSL's name: bytes of a key, and the hash of the key derivation."""
SALT = 4

_pack_head = Struct("!BHQHQ").pack
"""Content type, version, epoch and number, length; and the explicit part of the nonce, which is the number again."""
_pack_aad = Struct("!QBHH").pack
_read = Struct("!QH8s").unpack_from
_number = Struct("!Q").pack


def key_block(secret: bytes, seed: bytes, size: int, digest: str) -> bytes:
    """The key expansion of TLS 1.2 (RFC 5246 sections 5 and 6.3); ``seed``: server random, client random."""
    label = b"key expansion" + seed
    block, chain = b"", label
    while len(block) < size:
        chain = hmac.digest(secret, chain, digest)
        block += hmac.digest(secret, chain + label, digest)
    return block[:size]


class RecordLayer:
    """Seals and opens application data of one association."""

    __slots__ = ("_highest", "_next", "_open", "_open_salt", "_seal", "_seal_salt", "_seen")

    def __init__(self, suite: str, secret: bytes, client_random: bytes, server_random: bytes, *, server: bool) -> None:
        """``suite``: a key of SUITES; ``secret``: the master secret."""
        size, digest = SUITES[suite]
        block = key_block(secret, server_random + client_random, 2 * (size + SALT), digest)
        client, server_key = block[:size], block[size : 2 * size]
        client_salt, server_salt = block[2 * size : -SALT], block[-SALT:]
        ours, theirs = (server_key, client) if server else (client, server_key)
        self._seal_salt, self._open_salt = (server_salt, client_salt) if server else (client_salt, server_salt)
        self._seal = AESGCM(ours).encrypt
        self._open = AESGCM(theirs).decrypt
        self._next = FIRST
        self._highest = 0
        self._seen = 0  # bit n: the record n before the highest has come

    def seal(self, data: bytes, content: int = APPLICATION_DATA) -> bytes:
        """One record."""
        number = self._next
        self._next = number + 1
        size = len(data)
        sealed = self._seal(self._seal_salt + _number(number), data, _pack_aad(number, content, VERSION, size))
        return _pack_head(content, VERSION, number, size + OVERHEAD, number) + sealed

    def open(self, record: bytes) -> bytes | None:
        """What a record of application data holds; None if it is forged, replayed or older than the window."""
        if len(record) < RECORD_HEADER + OVERHEAD:
            return None
        number, size, nonce = _read(record, 3)
        age = self._highest - number
        if age >= 0 and (age >= WINDOW or self._seen >> age & 1):
            return None
        aad = _pack_aad(number, APPLICATION_DATA, VERSION, size - OVERHEAD)
        try:
            data = self._open(self._open_salt + nonce, record[21:], aad)
        except InvalidTag:
            return None
        if age < 0:
            self._highest = number
            self._seen = (self._seen << -age | 1) & 0xFFFFFFFFFFFFFFFF if age > -WINDOW else 1
        else:
            self._seen |= 1 << age
        return data

    def close_notify(self) -> bytes:
        """The record that says that we leave: OpenSSL's own would come too late for the peer's replay window."""
        return self.seal(b"\1\0", ALERT)
