"""A DTLS engine without any secrecy, for simulations and fuzzing: never for a network.

The same flights, message numbers and sizes as DTLS 1.2 with ECDSA certificates, but every byte follows from the
endpoint's entropy, and records are legible: a payload that was changed on the way still gets through, so that mutated
datagrams reach what lies above. Only a plain engine understands another one.
"""

from __future__ import annotations

import hashlib

from ..base.entropy import Entropy
from ..base.limits import DTLS_EARLY_RECORDS
from .engine import SRTP_PROFILES, Accept, DtlsFailure, EngineError, Records, Role, SrtpProfile
from .flights import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    RECORD_HEADER,
    VERSION,
    Fragment,
    pack_fragment,
    pack_record,
    parse_fragments,
    split_records,
)
from .identity import DtlsIdentity

CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, SERVER_KEY, CERTIFICATE_REQUEST = 1, 2, 11, 12, 13
SERVER_DONE, CERTIFICATE_VERIFY, CLIENT_KEY, FINISHED = 14, 15, 16, 20

SERVER_FLIGHT = (SERVER_HELLO, CERTIFICATE, SERVER_KEY, CERTIFICATE_REQUEST, SERVER_DONE)
CLIENT_FLIGHT = (CERTIFICATE, CLIENT_KEY, CERTIFICATE_VERIFY)
HELLO_SIZE = {CLIENT_HELLO: 146, SERVER_HELLO: 64}
PADDING = {SERVER_KEY: 112, CERTIFICATE_REQUEST: 48, SERVER_DONE: 0, CLIENT_KEY: 33, CERTIFICATE_VERIFY: 75}
"""Messages that have nothing to say here, in the size that they have elsewhere."""

FIRST_ENCRYPTED = 1 << 48
"""Epoch 1, sequence number 0."""
NONCE = 8
TAG = 16
WINDOW = 64
"""Sequence numbers that the replay check remembers (RFC 6347 section 4.1.2.6)."""
CLOSE_NOTIFY = b"\1\0"
UNEXPECTED_MESSAGE = b"\2\x0a"
BAD_CERTIFICATE = b"\2\x2a"
DECRYPT_ERROR = b"\2\x33"


def plain_identity(entropy: Entropy) -> DtlsIdentity:
    """An identity for plain engines, made without cryptography: random bytes in the size of a certificate."""
    return DtlsIdentity(entropy.bytes(281))


class PlainEngine:
    """One end of a handshake that only looks like one."""

    __slots__ = (
        *("_certificate", "_client", "_accept", "_profiles", "_random", "_out", "_complete"),
        *("_sent_messages", "_sent_clear", "_sent_sealed", "_next", "_expected", "_early", "_cipher_changed"),
        *("_transcript", "_peer_certificate", "_profile", "_secret", "_tag", "_peer_tag", "_highest", "_seen"),
    )

    def __init__(
        self, identity: DtlsIdentity, role: Role, accept: Accept, profiles: tuple[str, ...], entropy: Entropy
    ) -> None:
        self._certificate = identity.certificate
        self._client = role == "client"
        self._accept = accept
        self._profiles = [SRTP_PROFILES[name] for name in profiles]
        self._random = entropy.bytes(32)
        self._out = b""
        self._complete = False
        self._sent_messages = self._sent_clear = self._sent_sealed = 0
        self._next = 0
        self._expected = SERVER_FLIGHT if self._client else (CLIENT_HELLO, *CLIENT_FLIGHT)
        self._early: list[bytes] = []
        self._cipher_changed = False
        self._transcript = hashlib.sha256()
        self._peer_certificate = b""
        self._profile: SrtpProfile | None = None
        self._secret = b""
        self._tag = b""
        self._peer_tag = b""
        self._highest = -1
        self._seen = 0

    # ------------------------------------------------------------------ the handshake

    def handshake(self, datagram: bytes) -> bool:
        """See Engine."""
        if self._client and not self._sent_messages:
            self._hello(CLIENT_HELLO, b"".join([profile.code.to_bytes(2, "big") for profile in self._profiles]))
        for content, epoch, start, end in split_records(datagram)[0]:
            if epoch:
                if len(self._early) < DTLS_EARLY_RECORDS:
                    self._early.append(datagram[start:end])
            elif content == HANDSHAKE:
                for piece in parse_fragments(datagram, start + RECORD_HEADER, end):
                    self._expect(piece.kind)
                    self._receive(piece.kind, piece.body)
            elif content == CHANGE_CIPHER_SPEC and self._next == len(self._expected):
                self._cipher_changed = True
        if self._cipher_changed:
            self._finish()
        return self._complete

    def _expect(self, kind: int) -> None:
        if self._next == len(self._expected) or kind != self._expected[self._next]:
            raise self._fatal(UNEXPECTED_MESSAGE, f"message {kind} is not due")
        self._next += 1

    def _receive(self, kind: int, body: bytes) -> None:
        self._transcript.update(body)
        if kind == CLIENT_HELLO:
            codes = [body[i : i + 2] for i in range(32, len(body), 2)]
            shared = [profile for profile in self._profiles if profile.code.to_bytes(2, "big") in codes]
            self._profile = shared[0] if shared else None
            self._hello(SERVER_HELLO, shared[0].code.to_bytes(2, "big") if shared else b"")
            self._flight(SERVER_FLIGHT[1:])
            self._derive(body[:32], self._random)
        elif kind == SERVER_HELLO:
            code = int.from_bytes(body[32:34], "big")
            self._profile = next((profile for profile in self._profiles if profile.code == code), None)
            self._derive(self._random, body[:32])
        elif kind == CERTIFICATE:
            self._peer_certificate = body
            if not self._accept(body):
                raise self._fatal(BAD_CERTIFICATE, "certificate refused")
        elif kind == SERVER_DONE:
            self._flight(CLIENT_FLIGHT)
            self._send_finished()

    def _derive(self, client_random: bytes, server_random: bytes) -> None:
        self._secret = hashlib.sha256(client_random + server_random).digest()
        client, server = self._expand(b"client", TAG), self._expand(b"server", TAG)
        self._tag, self._peer_tag = (client, server) if self._client else (server, client)

    def _expand(self, label: bytes, size: int) -> bytes:
        return hashlib.sha512(self._secret + label).digest()[:size]

    def _finish(self) -> None:
        """Look for the peer's Finished among the encrypted records."""
        waiting, self._early = self._early, []
        for record in waiting:
            payload = self.open(record)
            if not payload or self._complete:
                continue
            if payload != self._verify_data(not self._client):
                raise self._fatal(DECRYPT_ERROR, "Finished does not fit the handshake")
            self._complete = True
            if not self._client:
                self._send_finished()

    # ------------------------------------------------------------------ what is written

    def _hello(self, kind: int, codes: bytes) -> None:
        self._message(kind, (self._random + codes).ljust(HELLO_SIZE[kind], b"\0"))

    def _flight(self, kinds: tuple[int, ...]) -> None:
        for kind in kinds:
            self._message(kind, self._certificate if kind == CERTIFICATE else bytes(PADDING[kind]))

    def _message(self, kind: int, body: bytes) -> None:
        self._transcript.update(body)
        self._clear(HANDSHAKE, pack_fragment(Fragment(kind, len(body), self._sent_messages, 0, body)))
        self._sent_messages += 1

    def _send_finished(self) -> None:
        self._clear(CHANGE_CIPHER_SPEC, b"\1")
        self._out += self._encrypted(HANDSHAKE, self._verify_data(self._client))

    def _verify_data(self, client: bool) -> bytes:
        label = b"client finished" if client else b"server finished"
        return bytes([FINISHED]) + bytes(11) + self._expand(label + self._transcript.digest(), 12)

    def _clear(self, content: int, body: bytes) -> None:
        self._out += pack_record(content, VERSION, self._sent_clear, len(body)) + body
        self._sent_clear += 1

    def _encrypted(self, content: int, body: bytes) -> bytes:
        number = FIRST_ENCRYPTED | self._sent_sealed
        self._sent_sealed += 1
        nonce = number.to_bytes(NONCE, "big")
        return pack_record(content, VERSION, number, NONCE + len(body) + TAG) + nonce + body + self._tag

    def _fatal(self, alert: bytes, detail: str) -> EngineError:
        self._clear(ALERT, alert)
        return EngineError(DtlsFailure.PROTOCOL, detail)

    # ------------------------------------------------------------------ afterwards

    def take(self) -> bytes:
        """See Engine."""
        taken, self._out = self._out, b""
        return taken

    def peer_certificate(self) -> bytes:
        """See Engine."""
        return self._peer_certificate

    def srtp_profile(self) -> SrtpProfile | None:
        """See Engine."""
        return self._profile

    def srtp_keys(self, profile: SrtpProfile) -> tuple[bytes, bytes]:
        """See Engine."""
        size = profile.key + profile.salt
        return self._expand(b"client srtp", size), self._expand(b"server srtp", size)

    def records(self) -> Records:
        """See Engine."""
        return self

    def control(self, record: bytes) -> bool:
        """See Engine."""
        payload = self.open(record)
        if payload and record[0] == ALERT:
            if payload == CLOSE_NOTIFY:
                return False
            if payload[:1] == b"\2":
                raise EngineError(DtlsFailure.ALERT, f"alert {payload[1:].hex()}")
        return True

    def seal(self, data: bytes) -> bytes:
        """See Records."""
        return self._encrypted(APPLICATION_DATA, data)

    def open(self, record: bytes) -> bytes:
        """See Records. What other encrypted records carry as well."""
        number = int.from_bytes(record[3:11], "big") - FIRST_ENCRYPTED
        age = self._highest - number
        if len(record) < RECORD_HEADER + NONCE + TAG or not record.endswith(self._peer_tag):
            return b""
        if age >= WINDOW or (age >= 0 and self._seen >> age & 1):
            return b""
        if age < 0:
            self._seen = (self._seen << min(-age, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self._highest = number
        else:
            self._seen |= 1 << age
        return record[RECORD_HEADER + NONCE : -TAG]

    def close(self) -> bytes:
        """See Records."""
        return self._encrypted(ALERT, CLOSE_NOTIFY)
