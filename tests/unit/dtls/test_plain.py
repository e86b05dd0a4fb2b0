"""The plain engine by itself: what it refuses, and what it lets pass for the sake of fuzzing."""

from __future__ import annotations

import pytest

from sansio.base.entropy import Entropy
from sansio.base.limits import DTLS_EARLY_RECORDS
from sansio.dtls import DtlsFailure
from sansio.dtls.engine import DEFAULT_PROFILES, EngineError
from sansio.dtls.flights import ALERT, HANDSHAKE, Message, Plain, Sealed, pack_flight, pack_record, parse_flight
from sansio.dtls.plain import PlainEngine, plain_identity

V = 0xFEFD


def engines():
    made = [
        PlainEngine(plain_identity(Entropy(b"id" + name)), role, lambda der: True, DEFAULT_PROFILES, Entropy(name))
        for name, role in ((b"c", "client"), (b"s", "server"))
    ]
    assert not made[0].handshake(b"")
    return made


def connect():
    client, server = engines()
    assert not server.handshake(client.take())
    assert not client.handshake(server.take())
    assert server.handshake(client.take())
    assert client.handshake(server.take())
    return client, server


def join(parts):
    return b"".join(pack_flight(parts, 65000, 0)[0])


def test_both_ends_agree():
    client, server = connect()
    assert client.peer_certificate() == plain_identity(Entropy(b"ids")).certificate
    assert server.peer_certificate() == plain_identity(Entropy(b"idc")).certificate
    profile = client.srtp_profile()
    assert profile == server.srtp_profile()
    assert client.srtp_keys(profile) == server.srtp_keys(profile)
    assert client.handshake(b"")
    assert client.take() == b""


def test_a_message_that_is_not_due_is_refused():
    _, server = engines()
    with pytest.raises(EngineError) as caught:
        server.handshake(join([Message(V, 16, 0, b"key")]))
    assert caught.value.reason == DtlsFailure.PROTOCOL
    assert parse_flight(server.take()) == [Plain(V, ALERT, b"\x02\x0a")]


def test_nothing_comes_after_the_last_message():
    client, server = engines()
    server.handshake(client.take())
    client.handshake(server.take())
    server.handshake(client.take())
    with pytest.raises(EngineError):
        server.handshake(join([Message(V, 11, 4, b"again")]))


def test_a_handshake_that_was_tampered_with_fails():
    client, server = engines()
    server.handshake(client.take())
    flight = parse_flight(server.take())
    assert flight[2].kind == 12
    flight[2] = flight[2]._replace(body=b"\1" + flight[2].body[1:])
    client.handshake(join(flight))
    with pytest.raises(EngineError):
        server.handshake(client.take())
    assert parse_flight(server.take())[-1] == Plain(V, ALERT, b"\x02\x33")


def test_a_refused_certificate_ends_the_handshake():
    client, _ = engines()
    server = PlainEngine(plain_identity(Entropy(b"s")), "server", lambda der: False, DEFAULT_PROFILES, Entropy(b"s"))
    server.handshake(client.take())
    client.handshake(server.take())
    with pytest.raises(EngineError):
        server.handshake(client.take())
    assert parse_flight(server.take()) == [Plain(V, ALERT, b"\x02\x2a")]


def test_changed_payloads_pass_and_strange_records_do_not():
    client, server = connect()
    sealed = bytearray(client.seal(b"payload"))
    sealed[21] ^= 1
    assert server.records().open(bytes(sealed)) == b"qayload"
    sealed = bytearray(client.seal(b"payload"))
    sealed[-1] ^= 1
    assert server.open(bytes(sealed)) == b""
    assert server.open(server.seal(b"my own")) == b""


def test_early_records_are_kept_up_to_a_limit():
    client, server = engines()
    for i in range(DTLS_EARLY_RECORDS + 10):
        server.handshake(pack_record(HANDSHAKE, V, 1 << 48 | i, 30) + bytes(30))
    assert len(server._early) == DTLS_EARLY_RECORDS
    server.handshake(client.take())
    client.handshake(server.take())
    assert not server.handshake(client.take())
    assert not server._early


def test_finished_before_its_cipher_change_waits():
    client, server = engines()
    server.handshake(client.take())
    client.handshake(server.take())
    flight = parse_flight(client.take())
    assert isinstance(flight[-1], Sealed)
    assert not server.handshake(flight[-1].record)
    assert server.handshake(join(flight[:-1]))
