"""A certificate and its key: who we are in DTLS, announced by fingerprint in SDP (RFC 8122, RFC 8827 section 6.5)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from OpenSSL import SSL

HASHES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Fingerprint algorithms that are accepted, and their lengths in bytes."""

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
VALIDITY = timedelta(days=365)
"""Peers compare fingerprints and ignore dates; a session must merely not outlive the certificate."""


def certificate_digest(certificate: bytes, algorithm: str) -> bytes:
    """Hash of a certificate (DER) under one of ``HASHES``."""
    return hashlib.new(algorithm.replace("-", ""), certificate).digest()


def parse_fingerprint(algorithm: str, value: str) -> tuple[str, bytes]:
    """The algorithm in lower case and the hash of a fingerprint in SDP form, any case. Raises ParseError."""
    algorithm = algorithm.lower()
    if algorithm not in HASHES:
        raise ParseError("fingerprint algorithm")
    try:
        digest = bytes.fromhex(value.replace(":", ""))
    except ValueError:
        raise ParseError("fingerprint is not hexadecimal") from None
    if len(digest) != HASHES[algorithm]:
        raise ParseError("fingerprint length")
    return algorithm, digest


class DtlsIdentity:
    """A self-signed certificate and its private key; shareable among any number of endpoints.

    ``certificate`` is DER; ``fingerprint`` is what SDP announces: ``("sha-256", "AA:BB:...")``.
    """

    __slots__ = ("certificate", "fingerprint", "key", "parsed", "contexts")

    def __init__(
        self,
        certificate: bytes,
        key: ec.EllipticCurvePrivateKey | None = None,
        parsed: x509.Certificate | None = None,
    ) -> None:
        """Without key and parsed certificate it serves the plain engine only, which takes any bytes for one."""
        self.certificate = certificate
        self.fingerprint = ("sha-256", certificate_digest(certificate, "sha-256").hex(":").upper())
        self.key = key
        self.parsed = parsed
        self.contexts: dict[tuple[str, ...], SSL.Context] = {}  # the OpenSSL engine's: 0.2 ms each, so they are kept

    def __repr__(self) -> str:
        return f"DtlsIdentity({self.fingerprint[1]})"

    @classmethod
    def generate(cls, unix_now: float, entropy: Entropy | None = None) -> DtlsIdentity:
        """A fresh ECDSA P-256 key with a self-signed certificate, valid from a day before ``unix_now`` for a year.

        The key comes from the random generator of ``cryptography`` unless ``entropy`` is given: then key and
        certificate follow from it, byte for byte.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256

        if entropy is None:
            key = ec.generate_private_key(ec.SECP256R1())
            serial = x509.random_serial_number()
        else:
            # 64 bits more than the order, so that the bias of the reduction is negligible (FIPS 186-5 A.2.1)
            key = ec.derive_private_key(1 + entropy.uint(320) % (P256_ORDER - 1), ec.SECP256R1())
            serial = 1 + entropy.uint(152)
        # the common name that browsers use: a random one would only tell sessions apart
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "WebRTC")])
        now = datetime.fromtimestamp(int(unix_now), UTC)
        parsed = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + VALIDITY)
            .sign(key, SHA256(), ecdsa_deterministic=entropy is not None)
        )
        return cls._of(parsed, key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> DtlsIdentity:
        """A certificate and its unencrypted elliptic-curve key. Raises LocalProtocolError when they do not fit."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            parsed = x509.load_pem_x509_certificate(certificate)
            private = load_pem_private_key(key, None)
        except (ValueError, TypeError):
            raise LocalProtocolError("not a certificate and an unencrypted key in PEM form") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != parsed.public_key():
            raise LocalProtocolError("the key is not an elliptic-curve key of the certificate")
        return cls._of(parsed, private)

    @classmethod
    def _of(cls, parsed: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> DtlsIdentity:
        from cryptography.hazmat.primitives.serialization import Encoding

        return cls(parsed.public_bytes(Encoding.DER), key, parsed)
