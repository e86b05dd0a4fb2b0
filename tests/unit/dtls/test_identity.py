"""Certificates and fingerprints."""

from __future__ import annotations

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError, ParseError
from sansio.dtls import DtlsIdentity, parse_fingerprint

NOW = 1_800_000_000.25


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def test_generated_certificate_is_p256_and_valid_around_now():
    identity = DtlsIdentity.generate(NOW)
    certificate = x509.load_der_x509_certificate(identity.certificate)
    now = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    assert certificate.not_valid_before_utc <= now - datetime.timedelta(hours=23)
    assert certificate.not_valid_after_utc >= now + datetime.timedelta(days=300)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.public_key().curve.name == "secp256r1"
    certificate.verify_directly_issued_by(certificate)


def test_each_generated_identity_is_another():
    assert DtlsIdentity.generate(NOW).fingerprint != DtlsIdentity.generate(NOW).fingerprint


def test_with_entropy_the_certificate_follows_from_it():
    first, again, other = (DtlsIdentity.generate(NOW, Entropy(seed)) for seed in (b"a", b"a", b"b"))
    assert first.certificate == again.certificate
    assert first.certificate != other.certificate
    x509.load_der_x509_certificate(first.certificate).verify_directly_issued_by(
        x509.load_der_x509_certificate(again.certificate)
    )


def test_fingerprint_is_in_sdp_form():
    identity = DtlsIdentity.generate(NOW)
    algorithm, value = identity.fingerprint
    assert algorithm == "sha-256"
    assert bytes.fromhex(value.replace(":", "")) == hashlib.sha256(identity.certificate).digest()
    assert value == value.upper()
    assert value.count(":") == 31


def test_repr_has_no_key():
    identity = DtlsIdentity.generate(NOW, Entropy(b"repr"))
    assert repr(identity) == f"DtlsIdentity({identity.fingerprint[1]})"


def test_from_pem():
    made = DtlsIdentity.generate(NOW)
    loaded = DtlsIdentity.from_pem(made.parsed.public_bytes(Encoding.PEM), pem(made.key))
    assert loaded.fingerprint == made.fingerprint
    assert loaded.certificate == made.certificate


def test_from_pem_refuses_what_does_not_fit():
    made = DtlsIdentity.generate(NOW)
    certificate = made.parsed.public_bytes(Encoding.PEM)
    for key in (
        pem(DtlsIdentity.generate(NOW).key),
        pem(rsa.generate_private_key(65537, 1024)),
        pem(made.key, BestAvailableEncryption(b"secret")),
        b"nonsense",
    ):
        with pytest.raises(LocalProtocolError):
            DtlsIdentity.from_pem(certificate, key)
    with pytest.raises(LocalProtocolError):
        DtlsIdentity.from_pem(b"nonsense", pem(made.key))


@pytest.mark.parametrize(("algorithm", "size"), [("sha-256", 32), ("SHA-384", 48), ("Sha-512", 64)])
def test_fingerprints_are_read_in_any_case(algorithm, size):
    digest = bytes(range(100, 100 + size))
    for text in (digest.hex(":"), digest.hex(":").upper(), digest.hex()):
        assert parse_fingerprint(algorithm, text) == (algorithm.lower(), digest)


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [("sha-1", "00" * 20), ("md5", "00" * 16), ("sha-256", "00" * 31), ("sha-256", "zz" * 32), ("sha-256", "")],
)
def test_other_fingerprints_are_refused(algorithm, value):
    with pytest.raises(ParseError):
        parse_fingerprint(algorithm, value)
