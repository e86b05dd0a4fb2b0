"""The DTLS engine for real peers: OpenSSL behind pyOpenSSL, reading and writing memory.

Capped at DTLS 1.2, which every WebRTC peer speaks: how 1.3 frames its records would be new to the flight code.
"""

from __future__ import annotations

from contextlib import suppress

from OpenSSL import SSL, crypto

from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError
from .engine import SRTP_PROFILES, Accept, DtlsFailure, EngineError, Records, Role, SrtpProfile
from .identity import DtlsIdentity
from .records import SUITES, RecordLayer

DTLS_1_2 = 0xFEFD
CIPHERS = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
"""What Pion, browsers and aiortc have with an ECDSA certificate. None with CBC: there OpenSSL gives up an association
for one forged record, and every peer has to have the first of these (RFC 8827 section 6.5)."""
EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"
ENGINE_MTU = 16384
"""Beyond any flight, so that messages come whole: fragments are made in ``flights``, to the endpoint's MTU."""
RECORD_OVERHEAD = 37
"""Bytes that a suite adds to a record at most: header, nonce and tag of AES-GCM."""


def make_context(identity: DtlsIdentity, profiles: tuple[str, ...]) -> SSL.Context:
    """The settings that all associations of an identity share."""
    if identity.key is None or identity.parsed is None:
        raise LocalProtocolError("this identity has no certificate that OpenSSL can use")
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(DTLS_1_2)
    context.set_max_proto_version(DTLS_1_2)
    context.set_options(
        SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _judge)
    context.use_certificate(identity.parsed)
    context.use_privatekey(identity.key)
    context.set_cipher_list(CIPHERS)
    if profiles:
        context.set_tlsext_use_srtp(b":".join([b"SRTP_" + name.encode() for name in profiles]))
    return context


def _judge(connection: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, _ok: int) -> bool:
    """Called for each certificate: who signed it is nobody's concern, the peer's own has to be the announced one."""
    accept: Accept = connection.get_app_data()
    return depth > 0 or accept(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))


class OpenSslEngine:
    """One OpenSSL connection over memory."""

    __slots__ = ("_connection", "_server")

    def __init__(
        self, identity: DtlsIdentity, role: Role, accept: Accept, profiles: tuple[str, ...], entropy: Entropy
    ) -> None:
        """``entropy`` is not used: OpenSSL has its own, the one exception from determinism."""
        context = identity.contexts.get(profiles)
        if context is None:
            context = identity.contexts[profiles] = make_context(identity, profiles)
        connection = self._connection = SSL.Connection(context, None)
        connection.set_app_data(accept)
        connection.set_ciphertext_mtu(ENGINE_MTU)
        if role == "client":
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        self._server = role == "server"

    def handshake(self, datagram: bytes) -> bool:
        """See Engine. OpenSSL looks at its own clock in here, and may write a flight once more."""
        if datagram:
            self._connection.bio_write(datagram)
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise _engine_error(error) from None
        return True

    def take(self) -> bytes:
        """See Engine."""
        taken = b""
        while True:
            try:
                taken += self._connection.bio_read(ENGINE_MTU)
            except SSL.WantReadError:
                return taken

    def peer_certificate(self) -> bytes:
        """See Engine."""
        certificate = self._connection.get_peer_certificate()
        return b"" if certificate is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)

    def srtp_profile(self) -> SrtpProfile | None:
        """See Engine."""
        return SRTP_PROFILES.get(self._connection.get_selected_srtp_profile().decode().removeprefix("SRTP_"))

    def srtp_keys(self, profile: SrtpProfile) -> tuple[bytes, bytes]:
        """See Engine."""
        key, salt = profile.key, profile.salt
        block = self._connection.export_keying_material(EXPORTER_LABEL, 2 * (key + salt))
        salts = block[2 * key :]
        return block[:key] + salts[:salt], block[key : 2 * key] + salts[salt:]

    def control(self, record: bytes) -> bool:
        """See Engine."""
        return self._read(record) is not None

    def records(self) -> Records:
        """See Engine. OpenSSL keeps the records of the suites that hardly any peer chooses."""
        connection = self._connection
        suite = connection.get_cipher_name()
        if suite not in SUITES:
            return self
        secret, client, server = connection.master_key(), connection.client_random(), connection.server_random()
        assert secret is not None
        assert client is not None
        assert server is not None
        return RecordLayer(suite, secret, client, server, server=self._server)

    def seal(self, data: bytes) -> bytes:
        """See Records."""
        self._connection.send(data)
        return self._connection.bio_read(len(data) + RECORD_OVERHEAD)

    def open(self, record: bytes) -> bytes:
        """See Records."""
        return self._read(record) or b""

    def close(self) -> bytes:
        """See Records."""
        with suppress(SSL.Error):  # it refuses after a fatal error, and has an alert written about that already
            self._connection.shutdown()
        return self.take()

    def _read(self, record: bytes) -> bytes | None:
        """The application data that comes of a record; None when the peer has closed."""
        connection = self._connection
        if record:
            connection.bio_write(record)
        try:
            return connection.recv(ENGINE_MTU)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            return None
        except SSL.Error as error:
            raise _engine_error(error) from None


def _engine_error(error: SSL.Error) -> EngineError:
    """OpenSSL's reasons in one line. It names a received alert in words, and its own errors never so."""
    reasons = error.args[0] if error.args else None
    # a SysCallError has a number there
    detail = ", ".join([reason for _, _, reason in reasons]) if isinstance(reasons, list) else ""
    return EngineError(
        DtlsFailure.ALERT if " alert " in detail else DtlsFailure.PROTOCOL, detail or "OpenSSL broke off"
    )
