"""The OpenSSL engine against OpenSSL peers that are not ours: cookies, refusals, other suites."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from sansio.base.entropy import Entropy
from sansio.dtls import DtlsConnected, DtlsEndpoint, DtlsFailed, DtlsFailure, DtlsIdentity
from sansio.dtls.flights import ALERT, split_records
from sansio.dtls.openssl import EXPORTER_LABEL, _engine_error

OURS = DtlsIdentity.generate(1.8e9, Entropy(b"ours"))
THEIRS = DtlsIdentity.generate(1.8e9, Entropy(b"theirs"))
DTLS_1_0 = 0xFEFF


def other_context(*, ciphers=None, srtp=b"SRTP_AES128_CM_SHA1_80", certificate=True, most=0xFEFD, options=0):
    """A context that nothing of ours has made."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU | options)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *args: True)
    context.set_min_proto_version(DTLS_1_0)
    context.set_max_proto_version(most)
    if certificate:
        context.use_certificate(THEIRS.parsed)
        context.use_privatekey(THEIRS.key)
    if ciphers:
        context.set_cipher_list(ciphers)
    if srtp:
        context.set_tlsext_use_srtp(srtp)
    return context


class Other:
    """The other end: an OpenSSL connection driven by hand, each flight in one datagram."""

    def __init__(self, context, role):
        self.connection = SSL.Connection(context, None)
        self.connection.set_ciphertext_mtu(1200)
        (self.connection.set_connect_state if role == "client" else self.connection.set_accept_state)()
        self.connected = False
        self.failed = False

    def handle(self, data):
        """Feed a datagram and return what is to be sent."""
        if data:
            self.connection.bio_write(data)
        try:
            self.connection.do_handshake()
            self.connected = True
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self.failed = True
        return self.written()

    def written(self):
        try:
            return self.connection.bio_read(65536)
        except SSL.WantReadError:
            return b""


def endpoint(role, fingerprint=THEIRS.fingerprint):
    end = DtlsEndpoint(OURS, entropy=Entropy(b"end"))
    end.set_remote_fingerprint(*fingerprint)
    end.start(role, 0.0)
    return end


def run(end, other, log=None):
    """Both ways until nothing is sent any more."""
    data = other.handle(b"")
    while data or end.datagrams:
        if data:
            end.handle_datagram(data, 0.0)
        data = b""
        while end.datagrams:
            ours = end.datagrams.popleft()
            if log is not None:
                log.append(ours)
            data += other.handle(ours)
    return end


def check_connected(end, other, profile):
    (connected,) = end.outbox
    assert other.connected
    assert isinstance(connected, DtlsConnected)
    assert connected.profile == profile
    other.connection.bio_write(end.seal(b"ping"))
    assert other.connection.recv(100) == b"ping"
    other.connection.send(b"pong")
    end.handle_datagram(other.written(), 0.0)
    assert list(end.plaintexts) == [b"pong"]


@pytest.mark.parametrize("role", ["client", "server"])
def test_keys_are_the_exported_ones(role):
    other = Other(other_context(), "server" if role == "client" else "client")
    end = run(endpoint(role), other)
    check_connected(end, other, "AES128_CM_SHA1_80")
    block = other.connection.export_keying_material(EXPORTER_LABEL, 60)
    client, server = block[:16] + block[32:46], block[16:32] + block[46:]
    (connected,) = end.outbox
    assert (connected.local_key, connected.remote_key) == ((client, server) if role == "client" else (server, client))


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize(
    "cipher",
    [
        b"ECDHE-ECDSA-AES128-GCM-SHA256",
        b"ECDHE-ECDSA-AES256-GCM-SHA384",
        b"ECDHE-ECDSA-CHACHA20-POLY1305",
    ],
)
def test_each_suite(role, cipher):
    other = Other(other_context(ciphers=cipher), "server" if role == "client" else "client")
    end = run(endpoint(role), other)
    assert other.connection.get_cipher_name() == cipher.decode()
    check_connected(end, other, "AES128_CM_SHA1_80")
    for size in (1, 1000, 16384):
        other.connection.bio_write(end.seal(bytes(size)))
        assert other.connection.recv(20000) == bytes(size)


@pytest.mark.parametrize("role", ["client", "server"])
def test_our_preference_wins_where_we_choose(role):
    other = Other(other_context(srtp=b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM"), role="client")
    if role == "server":
        end = run(endpoint("server"), other)
        check_connected(end, other, "AEAD_AES_128_GCM")
        assert other.connection.get_cipher_name() == "ECDHE-ECDSA-AES128-GCM-SHA256"
    else:
        other = Other(other_context(srtp=b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM"), role="server")
        check_connected(run(endpoint("client"), other), other, "AES128_CM_SHA1_80")


@pytest.mark.parametrize("srtp", [b"", b"SRTP_AES128_CM_SHA1_32"])
def test_peer_without_a_profile_of_ours(srtp):
    for role, theirs in (("client", "server"), ("server", "client")):
        other = Other(other_context(srtp=srtp), theirs)
        check_connected(run(endpoint(role), other), other, None)


# ------------------------------------------------------------------ the cookie (RFC 6347 section 4.2.1)


def cookie_context(options=0):
    context = other_context(options=options)
    context.set_cookie_generate_callback(lambda connection: b"a cookie of this server")
    context.set_cookie_verify_callback(lambda connection, cookie: cookie == b"a cookie of this server")
    return context


def test_client_returns_the_cookie():
    other = Other(cookie_context(SSL.OP_COOKIE_EXCHANGE), "server")
    log = []
    end = run(endpoint("client"), other, log)
    assert len(log) == 3
    assert b"a cookie of this server" in log[1]
    check_connected(end, other, "AES128_CM_SHA1_80")


def test_client_returns_the_cookie_to_a_server_without_state():
    other = Other(cookie_context(), "server")
    end = endpoint("client")
    for _ in range(2):
        try:
            other.connection.bio_write(end.datagrams.popleft())
            other.connection.DTLSv1_listen()
        except SSL.WantReadError:
            end.handle_datagram(other.written(), 0.0)
    end.handle_datagram(other.handle(b""), 0.0)
    run(end, other)
    check_connected(end, other, "AES128_CM_SHA1_80")


@pytest.mark.parametrize("lost", [0, 1])
def test_client_survives_a_lost_or_repeated_cookie(lost):
    """The first answer with the cookie is lost, or the server's request for it comes twice."""
    other = Other(cookie_context(SSL.OP_COOKIE_EXCHANGE), "server")
    end = endpoint("client")
    request = other.handle(end.datagrams.popleft())
    end.handle_datagram(request, 0.0)
    hello = end.datagrams.popleft()
    if lost:
        end.advance(0.08)
        hello = end.datagrams.popleft()
    else:
        end.handle_datagram(request[:10] + b"\x01" + request[11:], 0.001)
        assert not end.datagrams
    end.handle_datagram(other.handle(hello), 0.1)
    run(end, other)
    check_connected(end, other, "AES128_CM_SHA1_80")


# ------------------------------------------------------------------ refusals


def alerts(end):
    """Descriptions of the alerts in the clear that an endpoint has to send."""
    found = []
    for data in end.datagrams:
        found += [
            data[start + 14] for content, epoch, start, _ in split_records(data)[0] if (content, epoch) == (ALERT, 0)
        ]
    return found


def refused(context, role):
    """An endpoint that has met a peer which it refuses, with the alert still to be sent."""
    other = Other(context, "server" if role == "client" else "client")
    end = endpoint(role)
    data = other.handle(b"")
    for _ in range(4):
        if end.outbox:
            break
        if data:
            end.handle_datagram(data, 0.0)
        if not end.outbox:
            data = b"".join([other.handle(ours) for ours in end.datagrams])
            end.datagrams.clear()
    return end, other


def test_no_common_suite_is_told_to_the_peer():
    end, other = refused(other_context(ciphers=b"ECDHE-RSA-AES128-GCM-SHA256"), "server")
    assert list(end.outbox) == [DtlsFailed(DtlsFailure.PROTOCOL, "no shared cipher")]
    assert alerts(end) == [40]
    other.handle(end.datagrams.popleft())
    assert other.failed


def test_peer_without_a_certificate_is_refused():
    end, _ = refused(other_context(certificate=False), "server")
    assert list(end.outbox) == [DtlsFailed(DtlsFailure.PROTOCOL, "peer did not return a certificate")]
    assert alerts(end) == [40]
    assert not end.plaintexts


def test_old_version_is_refused():
    end, _ = refused(other_context(most=DTLS_1_0, ciphers=b"ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"), "server")
    (failed,) = end.outbox
    assert failed.reason == DtlsFailure.PROTOCOL
    assert alerts(end) == [70]


@pytest.mark.parametrize("role", ["client", "server"])
def test_wrong_certificate_is_told_to_the_peer(role):
    other = Other(other_context(), "server" if role == "client" else "client")
    end = endpoint(role, OURS.fingerprint)
    data = other.handle(b"")
    while not end.outbox:
        if data:
            end.handle_datagram(data, 0.0)
        if not end.outbox:
            data = other.handle(end.datagrams.popleft())
    (failed,) = end.outbox
    assert failed.reason == DtlsFailure.FINGERPRINT
    assert len(alerts(end)) == 1
    other.handle(end.datagrams.popleft())
    assert other.failed
    assert not other.connected


def test_broken_finished_is_dropped_and_the_whole_one_taken():
    other = Other(other_context(), "client")
    end = endpoint("server")
    end.handle_datagram(other.handle(b""), 0.0)
    flight = other.handle(end.datagrams.popleft())
    end.handle_datagram(flight[:-1] + bytes([flight[-1] ^ 1]), 0.0)
    assert not end.outbox
    end.handle_datagram(flight, 0.0)
    run(end, other)
    check_connected(end, other, "AES128_CM_SHA1_80")


def test_renegotiation_is_refused():
    """A client that insists breaks off with a fatal alert; for a server it was only a question."""
    other = Other(other_context(), "server")
    end = run(endpoint("client"), other)
    other.connection.renegotiate()
    end.handle_datagram(other.handle(b""), 0.0)
    (warning,) = end.datagrams
    assert warning[0] == ALERT
    end.datagrams.clear()
    assert end.counters.snapshot() == {"dtls_unexpected": 1}
    check_connected(end, other, "AES128_CM_SHA1_80")

    other = Other(other_context(), "client")
    end = run(endpoint("server"), other)
    end.outbox.clear()
    other.connection.renegotiate()
    end.handle_datagram(other.handle(b""), 0.0)
    assert not end.outbox
    end.handle_datagram(other.handle(end.datagrams.popleft()), 0.0)
    (failed,) = end.outbox
    assert failed.reason == DtlsFailure.ALERT
    assert not end.connected


def test_errors_in_one_line():
    error = _engine_error(SSL.Error([("SSL routines", "", "bad length"), ("SSL routines", "", "decode error")]))
    assert (error.reason, error.detail) == (DtlsFailure.PROTOCOL, "bad length, decode error")
    error = _engine_error(SSL.Error([("SSL routines", "", "tlsv1 alert unknown ca")]))
    assert (error.reason, error.detail) == (DtlsFailure.ALERT, "tlsv1 alert unknown ca")
    for bare in (SSL.Error(), SSL.Error([]), SSL.SysCallError(-1, "Unexpected EOF")):
        assert _engine_error(bare).detail == "OpenSSL broke off"


def test_rsa_peer_is_refused_cleanly():
    """A server with an RSA certificate has no suite in common with us."""
    context = other_context()
    key = rsa.generate_private_key(65537, 2048)
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    old = THEIRS.parsed
    certificate = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .sign(key, SHA256())
    )
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    other = Other(context, "server")
    end = endpoint("client")
    end.handle_datagram(other.handle(end.datagrams.popleft()), 0.0)
    assert end.advance(2.0) == float("inf")
    (failed,) = end.outbox
    assert failed == DtlsFailed(DtlsFailure.ALERT, "alert 40 from the peer")
