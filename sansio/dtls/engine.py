"""What the endpoint needs of a DTLS implementation: records in, records out, keys. Time and loss are our business."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Literal, NamedTuple, Protocol

from attrs import field, frozen

from ..base.entropy import Entropy
from .identity import DtlsIdentity

Role = Literal["client", "server"]


class SrtpProfile(NamedTuple):
    """An SRTP protection profile that ``use_srtp`` can agree on (RFC 5764 section 4.1.2, RFC 7714 section 14.2)."""

    name: str
    code: int
    key: int
    """Bytes of a master key."""
    salt: int
    """Bytes of a master salt."""


SRTP_PROFILES = {
    profile.name: profile
    for profile in (
        SrtpProfile("AEAD_AES_128_GCM", 0x0007, 16, 12),
        SrtpProfile("AEAD_AES_256_GCM", 0x0008, 32, 12),
        SrtpProfile("AES128_CM_SHA1_80", 0x0001, 16, 14),
    )
}
"""What we can do, in our order of preference: a server picks its first that the client offers."""

DEFAULT_PROFILES = tuple(SRTP_PROFILES)


class DtlsFailure(Enum):
    """Why a DTLS endpoint gave up."""

    FINGERPRINT = "fingerprint"
    """The peer's certificate is not the one that signalling announced."""
    ALERT = "alert"
    """The peer sent a fatal alert."""
    TIMEOUT = "timeout"
    """The handshake took too long."""
    PROTOCOL = "protocol"
    """The peer broke the protocol, or there is no common cipher suite or version."""


class EngineError(Exception):
    """An engine gave up. The alert that it may owe the peer is still to be taken."""

    def __init__(self, reason: DtlsFailure, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Engine(Protocol):
    """One end of one DTLS 1.2 association.

    Datagrams consist of well-formed records. Handshake messages in the clear come whole, once and in order, a record
    each; unauthenticated alerts do not come in, and encrypted records that are not handshake only once it is complete.
    """

    def handshake(self, datagram: bytes) -> bool:
        """Go on with the handshake, with or without a new datagram; True when it is complete.

        A client begins with an empty datagram. Raises EngineError when the handshake has failed for good.
        """

    def take(self) -> bytes:
        """The records written since the last call. Whole flights; no datagram boundaries."""

    def peer_certificate(self) -> bytes:
        """The peer's certificate (DER), once the handshake is complete; empty when there is none."""

    def srtp_profile(self) -> SrtpProfile | None:
        """The profile agreed on, None when there is no common one."""

    def srtp_keys(self, profile: SrtpProfile) -> tuple[bytes, bytes]:
        """Master key and salt, joined, of the client and of the server (RFC 5764 section 4.2)."""

    def records(self) -> Records:
        """What seals and opens application data from here on, once the handshake is complete."""

    def control(self, record: bytes) -> bool:
        """Take an encrypted record that is not application data; empty: look after what still waits inside.

        False when the peer has closed. Raises EngineError for a fatal alert.
        """


class Records(Protocol):
    """Application data of one association, a record each way at a time."""

    def seal(self, data: bytes) -> bytes:
        """The encrypted record that carries ``data``."""

    def open(self, record: bytes) -> bytes:
        """What a record of application data carries; empty if it is forged or replayed.

        Raises EngineError when the association is broken.
        """

    def close(self) -> bytes:
        """The record that tells the peer that we leave."""


Accept = Callable[[bytes], bool]
"""Tells whether a certificate (DER) is the peer's; engines ask as early as they can, so that the alert fits."""

EngineFactory = Callable[[DtlsIdentity, Role, Accept, tuple[str, ...], Entropy], Engine]
"""Makes an engine from identity, role, judge of certificates, names of SRTP profiles, and randomness."""


def default_engine(
    identity: DtlsIdentity, role: Role, accept: Accept, profiles: tuple[str, ...], entropy: Entropy
) -> Engine:
    """The OpenSSL engine, imported on first use: pyOpenSSL takes longer to import than all of this project."""
    from .openssl import OpenSslEngine

    return OpenSslEngine(identity, role, accept, profiles, entropy)


def preload() -> None:
    """Import now what the first identity and the first handshake import otherwise: about 40 ms.

    For drivers that have a better moment for it, such as while a connection is being made, in a thread.
    """
    from cryptography.hazmat.backends.openssl import backend
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from . import openssl

    del backend, serialization, ec, openssl


@frozen
class DtlsConnected:
    """The handshake is complete and the peer is the announced one.

    ``profile`` names the SRTP profile, None when there is no common one; ``local_key`` and ``remote_key`` are master
    key and salt, joined, for what we send and for what we receive.
    """

    profile: str | None
    local_key: bytes = field(repr=False)
    remote_key: bytes = field(repr=False)


@frozen
class DtlsClosed:
    """The association has ended in good order, by the peer's close_notify or by ``close``."""


@frozen
class DtlsFailed:
    """The association is over. ``detail`` is one line for humans."""

    reason: DtlsFailure
    detail: str


DtlsOutput = DtlsConnected | DtlsClosed | DtlsFailed
