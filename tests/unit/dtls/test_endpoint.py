"""Handshakes on a virtual wire: in order, under loss, duplication and reordering, with wrong or broken peers."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import DTLS_MESSAGE, DTLS_MESSAGES_AHEAD, DTLS_RECORDS
from sansio.dtls import (
    DtlsClosed,
    DtlsConnected,
    DtlsEndpoint,
    DtlsFailed,
    DtlsFailure,
    DtlsIdentity,
    DtlsOptions,
    preload,
)
from sansio.dtls.engine import EngineError
from sansio.dtls.flights import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    Sealed,
    pack_flight,
    pack_record,
    parse_flight,
)
from sansio.dtls.plain import PlainEngine, plain_identity

DATA = Path(__file__).parents[2] / "data" / "dtls"
LATENCY = 0.005
FIRST = [("client", 0), ("server", 0), ("client", 1), ("server", 1)]


def losing(*lost):
    return lambda sender, index: [] if (sender, index) in lost else [LATENCY]


def record(content, body, *, epoch=0, seq=500):
    return pack_record(content, 0xFEFD, epoch << 48 | seq, len(body)) + body


def message(kind, seq, length, offset, body, number=500):
    sizes = [n.to_bytes(3, "big") for n in (length, offset, len(body))]
    header = bytes([kind]) + sizes[0] + seq.to_bytes(2, "big") + sizes[1] + sizes[2]
    return record(HANDSHAKE, header + body, seq=number)


def renumbered(datagram, number):
    """The same records with other sequence numbers in epoch 0, as a peer that retransmits sends them."""
    (again,), _ = pack_flight(parse_flight(datagram), 65000, number)
    return again


# ------------------------------------------------------------------ the handshake


def test_handshake_takes_two_round_trips_and_whole_flights(pair, engine):
    wire = pair(engine)
    wire.run()
    assert wire.now == pytest.approx(4 * LATENCY)
    assert [name for _, name, _ in wire.log] == ["client", "server", "client", "server"]
    wire.exchange()
    assert wire.events["client"][0].profile == "AEAD_AES_128_GCM"
    assert wire.client.counters.snapshot() == wire.server.counters.snapshot() == {}
    assert wire.settle() == INF


def test_plain_handshake_is_the_same_every_time(pair):
    logs = []
    for seed in (b"1", b"1", b"2"):
        wire = pair("plain", seed=seed)
        wire.run()
        wire.send("client", wire.client.seal(b"data"))
        logs.append((wire.log, wire.events["client"][0].local_key))
    assert logs[0] == logs[1] != logs[2]


def test_sealed_sizes_are_those_of_gcm(pair, engine):
    wire = pair(engine)
    wire.run()
    assert [len(wire.client.seal(bytes(n))) for n in (1, 1163)] == [38, 1200]


@pytest.mark.parametrize("profile", ["AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES128_CM_SHA1_80"])
def test_each_srtp_profile(pair, engine, profile):
    size = {"AEAD_AES_128_GCM": 28, "AEAD_AES_256_GCM": 44, "AES128_CM_SHA1_80": 30}[profile]
    wire = pair(engine, options=DtlsOptions(srtp_profiles=(profile,)))
    wire.run()
    wire.exchange()
    connected = wire.events["client"][0]
    assert connected.profile == profile
    assert len(connected.local_key) == len(connected.remote_key) == size
    assert connected.local_key != connected.remote_key
    assert connected.local_key.hex() not in repr(connected)
    assert repr(connected) == f"DtlsConnected(profile='{profile}')"


@pytest.mark.parametrize("theirs", [(), ("AES128_CM_SHA1_80",)])
def test_no_common_srtp_profile_shows(pair, engine, theirs):
    wire = pair(
        engine,
        options=DtlsOptions(srtp_profiles=("AEAD_AES_256_GCM",)),
        server_options=DtlsOptions(srtp_profiles=theirs),
    )
    wire.run()
    assert wire.events["client"] == wire.events["server"] == [DtlsConnected(None, b"", b"")]
    wire.exchange()


def test_server_picks_its_first_common_profile(pair, engine):
    wire = pair(
        engine,
        options=DtlsOptions(srtp_profiles=("AES128_CM_SHA1_80", "AEAD_AES_128_GCM")),
        server_options=DtlsOptions(srtp_profiles=("AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES128_CM_SHA1_80")),
    )
    wire.run()
    assert wire.events["server"][0].profile == "AEAD_AES_128_GCM"


FIRST_USE = """
import sys
from sansio.base.entropy import Entropy
from sansio.dtls import DtlsEndpoint, DtlsIdentity, preload

print("OpenSSL" in sys.modules)
preload()
before = set(sys.modules)
identity = DtlsIdentity.generate(1.8e9)
endpoint = DtlsEndpoint(identity, entropy=Entropy(b"x"))
endpoint.set_remote_fingerprint(*identity.fingerprint)
endpoint.start("client", 0.0)
print(sorted(set(sys.modules) - before))
"""


def test_after_preload_the_first_use_imports_nothing():
    preload()
    found = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n[]\n"


# ------------------------------------------------------------------ loss and disorder


@pytest.mark.parametrize("lost", [*itertools.combinations(FIRST, 1), *itertools.combinations(FIRST, 2)])
def test_lost_flights_cost_little(pair, engine, lost):
    wire = pair(engine, fate=losing(*lost))
    wire.run()
    wire.exchange()
    assert wire.now < 0.3


@pytest.mark.parametrize("mtu", [1200, 300])
def test_any_one_or_two_lost_datagrams(pair, engine, mtu):
    perfect = pair(engine, mtu=mtu)
    perfect.run()
    names = [("client", i) for i in range(perfect.sent["client"] + 2)]
    names += [("server", i) for i in range(perfect.sent["server"] + 2)]
    for lost in [*itertools.combinations(names, 1), *itertools.combinations(names, 2)]:
        wire = pair(engine, mtu=mtu, fate=losing(*lost))
        wire.run()
        wire.exchange()
        assert wire.now < 0.3, lost
        assert all(len(data) <= mtu for _, _, data in wire.log)


@pytest.mark.parametrize("mtu", [1200, 300])
def test_chaos(pair, engine, mtu):
    for seed in range(40):
        chance = Entropy(b"chaos %d" % seed)

        def fate(sender, index, chance=chance):
            if chance.random() < 0.25:
                return []
            return [chance.uniform(0.001, 0.04) for _ in range(2 if chance.random() < 0.3 else 1)]

        wire = pair(engine, mtu=mtu, fate=fate)
        wire.run(limit=20)
        wire.exchange()
        wire.run(limit=wire.now + 5, until=lambda: False)
        assert not wire.wire
        assert wire.sent["client"] + wire.sent["server"] < 150


def test_shuffled_fragments_need_no_timer(pair, engine):
    """Handshake messages may come in any order; only ChangeCipherSpec and Finished must not overtake them."""
    for seed in range(20):
        chance = Entropy(b"shuffle %d" % seed)
        wire = pair(engine, mtu=300, fate=lambda sender, index, chance=chance: [chance.uniform(0.001, 0.01)])
        wire.run(until=lambda wire=wire: wire.sent["client"] > 1)
        assert wire.now < 0.03
        wire.run()
        wire.exchange()


def test_repetition_backs_off_and_then_the_handshake_times_out(pair, engine):
    wire = pair(engine, fate=lambda sender, index: [])
    wire.run(limit=100, until=lambda: False)
    times = [when for when, name, _ in wire.log if name == "client"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[:5] == pytest.approx([0.08, 0.16, 0.32, 0.64, 1.0])
    assert gaps[5:] == pytest.approx([1.0] * (len(gaps) - 5))
    assert wire.now == 30.0
    for name in ("client", "server"):
        (failed,) = wire.events[name]
        assert failed == DtlsFailed(DtlsFailure.TIMEOUT, failed.detail)
        assert wire.ends[name].advance(wire.now) == INF


def test_timers_follow_the_round_trip_time(pair):
    for rtt, first in ((0.0, 0.05), (0.1, 0.17), (0.2, 0.32), (3.0, 1.0)):
        wire = pair("plain", announce=False)
        wire.client.set_rtt(rtt)
        wire.client.set_remote_fingerprint(*wire.server._identity.fingerprint)
        wire.client.start("client", 10.0)
        assert wire.client.advance(10.0) == pytest.approx(10.0 + first)


def test_long_path_without_a_hint_repeats_and_still_connects(pair, engine):
    wire = pair(engine, fate=lambda sender, index: [0.35])
    wire.run()
    wire.exchange()
    assert wire.now == pytest.approx(4 * 0.35)


def test_long_path_with_a_hint_does_not_repeat(pair, engine):
    wire = pair(engine, announce=False, fate=lambda sender, index: [0.15])
    for name, end in wire.ends.items():
        end.set_remote_fingerprint(*wire.ends[wire.other(name)]._identity.fingerprint)
        end.set_rtt(0.3)
        end.start(name, 0.0)
    wire.run()
    wire.exchange()
    assert len(wire.log) == 4


def test_two_client_hellos_at_once_are_answered_once(pair, engine):
    wire = pair(engine)
    wire.settle()
    hello = wire.log[0][2]
    wire.server.handle_datagram(hello, 0.01)
    assert len(wire.server.datagrams) == 1
    wire.server.handle_datagram(renumbered(hello, 7), 0.011)
    assert len(wire.server.datagrams) == 1
    assert wire.server.counters["dtls_repeated"] == 1


def test_a_repeated_client_hello_repeats_the_answer_at_most_so_often(pair, engine):
    wire = pair(engine)
    wire.settle()
    hello = wire.log[0][2]
    for i in range(100):
        wire.server.handle_datagram(renumbered(hello, i), 0.001 * i)
    assert len(wire.server.datagrams) == 3
    first, *others = wire.server.datagrams
    assert {len(data) for data in others} == {len(first)}
    assert len(set(wire.server.datagrams)) == 3  # numbered anew
    # and the handshake goes on as if nothing had been
    wire.server.datagrams.clear()
    wire.now = 0.1
    wire.send("server", first)
    wire.run()
    wire.exchange()


def test_client_hello_of_the_real_server(pair):
    """The server's own ClientHello, twice, as it comes when an answer takes longer than 100 ms."""
    hello = (DATA / "server-as-client-1-client-hello.bin").read_bytes()
    wire = pair("openssl", announce=False)
    wire.server.set_remote_fingerprint("sha-256", "00" * 32)
    wire.server.start("server", 0.0)
    wire.server.handle_datagram(hello, 0.001)
    wire.server.handle_datagram(renumbered(hello, 1), 0.101)
    one, two = wire.server.datagrams
    assert [part.kind for part in parse_flight(one)] == [2, 11, 12, 13, 14]
    assert parse_flight(one) == parse_flight(two)
    server_hello = parse_flight(one)[0].body
    assert server_hello[:2] == b"\xfe\xfd"
    assert server_hello[35:37] == b"\xc0\x2b"
    assert bytes.fromhex("000e 0005 0002 0007 00") in server_hello  # use_srtp with AEAD_AES_128_GCM


def test_hello_verify_of_the_real_server(pair):
    """It asks for a cookie, twice."""
    wire = pair("openssl")
    wire.settle()
    for again, name in enumerate(("server-as-server-1-hello-verify", "server-as-server-2-hello-verify-again")):
        wire.client.handle_datagram((DATA / f"{name}.bin").read_bytes(), 0.01 + 0.001 * again)
    (second,) = wire.client.datagrams
    (hello,) = parse_flight(second)
    assert (hello.kind, hello.seq) == (1, 1)
    assert hello.body[35:56] == bytes.fromhex("145e39baf3601646587b20bab6024577f8e1fbc165")
    assert wire.client.advance(0.02) == pytest.approx(0.09)


def test_peer_that_lost_our_last_flight_gets_it_again_and_again(pair, engine):
    wire = pair(engine, fate=losing(*[("server", i) for i in range(1, 6)]))
    wire.run()
    wire.exchange()
    assert wire.server.counters["dtls_resent"] == 5


def test_connected_server_repeats_at_most_so_often_and_client_never(pair, engine):
    wire = pair(engine)
    wire.run()
    client_flight, server_flight = wire.log[2][2], wire.log[3][2]
    wire.server.datagrams.clear()
    for i in range(50):
        wire.server.handle_datagram(renumbered(client_flight, 10 + i), 1.0 + 0.001 * i)
        wire.client.handle_datagram(renumbered(server_flight, 10 + i), 1.0 + 0.001 * i)
    assert len(wire.server.datagrams) == 2
    assert not wire.client.datagrams
    assert wire.client.advance(2.0) == wire.server.advance(2.0) == INF
    assert len(wire.server.datagrams) == 2
    assert not wire.server.outbox
    wire.exchange()


def test_application_data_that_overtakes_the_last_flight_is_kept(pair, engine):
    wire = pair(engine, fate=lambda sender, index: [0.02] if (sender, index) == ("server", 1) else [LATENCY])
    wire.run(until=lambda: wire.server.connected)
    for word in (b"one", b"two"):
        wire.client.handle_datagram(wire.server.seal(word), wire.now)
    assert not wire.client.plaintexts
    wire.run()
    assert list(wire.client.plaintexts) == [b"one", b"two"]
    wire.client.plaintexts.clear()
    wire.exchange()


def test_application_data_in_the_datagram_of_the_last_flight(pair, engine):
    wire = pair(engine, fate=lambda sender, index: [] if (sender, index) == ("server", 1) else [LATENCY])
    wire.run(until=lambda: wire.server.connected)
    wire.client.handle_datagram(wire.log[-1][2] + wire.server.seal(b"one") + wire.server.seal(b"two"), wire.now)
    assert wire.client.connected
    assert list(wire.client.plaintexts) == [b"one", b"two"]


# ------------------------------------------------------------------ who the peer is


@pytest.mark.parametrize("fooled", ["client", "server"])
def test_wrong_fingerprint_delivers_nothing(pair, engine, fooled):
    wire = pair(engine, announce=False)
    for name, end in wire.ends.items():
        right = wire.ends[wire.other(name)]._identity.fingerprint
        end.set_remote_fingerprint(*(("sha-256", "00" * 32) if name == fooled else right))
        end.start(name, 0.0)
    wire.run(limit=40, until=lambda: False)
    other = wire.other(fooled)
    (failed,) = wire.events[fooled]
    assert failed == DtlsFailed(DtlsFailure.FINGERPRINT, failed.detail)
    (told,) = wire.events[other]
    assert told == DtlsFailed(DtlsFailure.ALERT, told.detail)
    assert not wire.client.connected
    assert not wire.server.connected
    assert wire.now < 2


@pytest.mark.parametrize("fooled", ["client", "server"])
def test_certificate_is_judged_at_the_end_even_if_the_engine_does_not_ask(fooled):
    def careless(identity, role, accept, profiles, entropy):
        return PlainEngine(identity, role, lambda certificate: True, profiles, entropy)

    ends = {
        name: DtlsEndpoint(plain_identity(Entropy(name.encode())), entropy=Entropy(name.encode()), engine=careless)
        for name in ("client", "server")
    }
    for name, end in ends.items():
        other = ends["server" if name == "client" else "client"]
        end.set_remote_fingerprint(*(("sha-384", "00" * 48) if name == fooled else other._identity.fingerprint))
        end.start(name, 0.0)
    for _ in range(4):
        for name, end in ends.items():
            while end.datagrams:
                ends["server" if name == "client" else "client"].handle_datagram(end.datagrams.popleft(), 0.0)
    assert [event.reason for event in ends[fooled].outbox] == [DtlsFailure.FINGERPRINT]
    assert not ends[fooled].plaintexts
    if fooled == "server":
        assert not ends["client"].connected  # it never saw our Finished


@pytest.mark.parametrize("algorithm", ["SHA-256", "sha-384", "Sha-512"])
def test_other_hashes_for_fingerprints(pair, engine, algorithm):
    from sansio.dtls.identity import certificate_digest

    wire = pair(engine, announce=False)
    for name, end in wire.ends.items():
        certificate = wire.ends[wire.other(name)]._identity.certificate
        end.set_remote_fingerprint(algorithm, certificate_digest(certificate, algorithm.lower()).hex(":"))
        end.start(name, 0.0)
    wire.run()
    wire.exchange()


# ------------------------------------------------------------------ the end


@pytest.mark.parametrize("name", ["client", "server"])
def test_close_tells_the_peer(pair, engine, name):
    wire = pair(engine)
    wire.run()
    for events in wire.events.values():
        events.clear()
    wire.ends[name].close(wire.now)
    wire.ends[name].close(wire.now)
    wire.run(limit=5, until=lambda: False)
    assert wire.events == {"client": [DtlsClosed()], "server": [DtlsClosed()]}
    for end in wire.ends.values():
        assert not end.connected
        end.handle_datagram(b"\x17\xfe\xfd\x00\x01" + bytes(30), 9.0)
        end.close(9.0)
        assert end.advance(9.0) == INF
        assert not end.outbox
        assert not end.datagrams
        with pytest.raises(LocalProtocolError):
            end.seal(b"late")
        with pytest.raises(LocalProtocolError):
            end.start("client", 9.0)


def test_close_before_the_end_of_the_handshake_is_silent(pair, engine):
    wire = pair(engine)
    wire.settle()
    wire.client.close(0.0)
    assert list(wire.client.outbox) == [DtlsClosed()]
    assert not wire.client.datagrams
    fresh = pair(engine, announce=False).client
    fresh.close(0.0)
    assert list(fresh.outbox) == [DtlsClosed()]


def test_peer_that_closes_at_once(pair, engine):
    wire = pair(engine, fate=losing(("server", 1)))
    wire.run(until=lambda: wire.server.connected)
    last = wire.log[-1][2]
    sealed = wire.server.seal(b"bye")
    wire.server.close(wire.now)
    wire.client.handle_datagram(last + sealed + wire.server.datagrams.pop(), wire.now)
    assert [type(event) for event in wire.client.outbox] == [DtlsConnected, DtlsClosed]
    assert list(wire.client.plaintexts) == [b"bye"]
    assert not wire.client.connected


def test_an_alert_from_anybody_only_shortens_the_handshake(pair, engine):
    wire = pair(engine)
    wire.settle()
    fatal = record(ALERT, b"\x02\x28")
    wire.client.handle_datagram(fatal, 0.001)
    wire.client.handle_datagram(fatal, 0.9)
    wire.client.handle_datagram(record(ALERT, b"\x01\x00"), 0.9)
    assert wire.client.counters["dtls_alert_ignored"] == 2
    assert not wire.client.outbox
    assert wire.client.advance(1.0) == pytest.approx(1.001)
    assert wire.client.advance(1.002) == INF
    assert list(wire.client.outbox) == [DtlsFailed(DtlsFailure.ALERT, "alert 40 from the peer")]


def test_a_forged_alert_does_not_stop_a_good_handshake(pair, engine):
    wire = pair(engine)
    wire.settle()
    for end in wire.ends.values():
        end.handle_datagram(record(ALERT, b"\x02\x28"), 0.0)
    wire.run()
    wire.run(limit=40, until=lambda: False)
    wire.exchange()


# ------------------------------------------------------------------ hostile datagrams

HOSTILE = {
    "empty": b"",
    "one byte": b"\x16",
    "garbage": b"\x16" * 40,
    "wrong version": b"\x16\x03\x03" + bytes(10),
    "cut record": record(HANDSHAKE, bytes(20))[:-1],
    "cut message": record(HANDSHAKE, b"\x02\0\0\x05\0\0\0\0\0\0\0\x05abc"),
    "empty handshake record": record(HANDSHAKE, b""),
    "fragment outside its message": message(2, 0, 4, 2, b"abc"),
    "huge message": message(1, 0, DTLS_MESSAGE + 1, 0, b"abc"),
    "message far ahead": message(1, 200, 50, 0, b"abc"),
    "clear application data": record(APPLICATION_DATA, b"hello"),
    "bad cipher change": record(CHANGE_CIPHER_SPEC, b"\2"),
    "early cipher change": record(CHANGE_CIPHER_SPEC, b"\1"),
    "bad alert": record(ALERT, b"\2"),
    "forged encrypted data": record(APPLICATION_DATA, bytes(60), epoch=1),
    "forged encrypted handshake": record(HANDSHAKE, bytes(60), epoch=1),
    "forged encrypted alert": record(ALERT, bytes(26), epoch=1),
    "far epoch": record(APPLICATION_DATA, bytes(60), epoch=7),
    "short encrypted data": record(APPLICATION_DATA, b"", epoch=1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_datagrams_change_nothing(pair, engine, name):
    """Before, between and after every flight, at both ends."""
    data = HOSTILE[name]
    wire = pair(engine)
    for end in wire.ends.values():
        end.handle_datagram(data, 0.0)
    wire.settle()
    for step in range(5):
        for end in wire.ends.values():
            end.handle_datagram(data, wire.now)
        wire.run(until=lambda step=step: sum(wire.sent.values()) > step + 1)
    wire.run()
    for end in wire.ends.values():
        end.handle_datagram(data, wire.now)
        assert end.counters.snapshot()
    wire.exchange()


def test_ends_that_have_not_started_count_and_drop(pair):
    end = pair("plain", announce=False).client
    end.handle_datagram(record(HANDSHAKE, b"x"), 0.0)
    assert end.counters["dtls_early"] == 1
    assert end.advance(0.0) == INF
    assert not end.datagrams


def test_forged_and_replayed_data_are_counted(pair, engine):
    wire = pair(engine)
    wire.run()
    sealed = wire.client.seal(b"once")
    wire.server.handle_datagram(sealed, 1.0)
    wire.server.handle_datagram(sealed, 1.0)
    wire.server.handle_datagram(sealed[:-1] + bytes([sealed[-1] ^ 1]), 1.0)
    wire.server.handle_datagram(sealed + b"tail", 1.0)
    assert list(wire.server.plaintexts) == [b"once"]
    assert wire.server.counters.snapshot() == {"dtls_undecryptable": 3, "dtls_malformed": 1}


def test_several_records_in_a_datagram(pair, engine):
    wire = pair(engine)
    wire.run()
    words = [b"a", b"bb", b"ccc"]
    sealed = [wire.client.seal(word) for word in words]
    forged = record(APPLICATION_DATA, bytes(40), epoch=1, seq=99)
    wire.server.handle_datagram(forged.join(sealed), 1.0)
    assert list(wire.server.plaintexts) == words
    assert wire.server.counters.snapshot() == {"dtls_undecryptable": 2}


def test_records_out_of_order_and_far_apart(pair, engine):
    wire = pair(engine)
    wire.run()
    sealed = [wire.client.seal(b"%d" % i) for i in range(200)]
    for i in (10, 5, 5, 11, 150, 100, 20, 151, 150, 100):
        wire.server.handle_datagram(sealed[i], 1.0)
    assert list(wire.server.plaintexts) == [b"10", b"5", b"11", b"150", b"100", b"151"]
    assert wire.server.counters["dtls_undecryptable"] == 4


def test_record_limit_of_a_datagram(pair, engine):
    wire = pair(engine)
    wire.run()
    sealed = [wire.client.seal(b"%d" % i) for i in range(DTLS_RECORDS + 5)]
    wire.server.handle_datagram(b"".join(sealed), 1.0)
    assert len(wire.server.plaintexts) == DTLS_RECORDS
    assert wire.server.counters.snapshot() == {"dtls_malformed": 1}


def test_handshake_messages_have_limits(pair, engine):
    wire = pair(engine)
    wire.settle()
    wire.server.handle_datagram(message(1, 0, DTLS_MESSAGE + 1, 0, b"x"), 0.0)
    wire.server.handle_datagram(message(1, DTLS_MESSAGES_AHEAD + 1, 50, 0, b"x"), 0.0)
    assert wire.server.counters["dtls_malformed"] == 2
    wire.server.handle_datagram(message(1, DTLS_MESSAGES_AHEAD, DTLS_MESSAGE, 0, b"x", 501), 0.0)
    assert wire.server.counters["dtls_malformed"] == 2
    wire.run()
    wire.exchange()


def test_many_early_records_are_bounded_and_forgotten(pair, engine):
    """More than are kept: the real Finished is lost among them, and comes through when it is repeated."""
    wire = pair(engine)
    wire.run(until=lambda: wire.sent["server"] == 1)
    for i in range(300):
        wire.server.handle_datagram(record(HANDSHAKE, bytes(60), epoch=1, seq=1000 + i), wire.now)
    wire.run()
    wire.exchange()
    assert wire.now < 0.3


def test_handshake_with_every_bit_of_a_flight_flipped_does_not_raise(pair):
    """Whatever comes out, it is an orderly one."""
    perfect = pair("openssl")
    perfect.run()
    for flight in range(4):
        size = len(perfect.log[flight][2])
        for place in range(0, size, 7):
            wire = pair("openssl")
            wire.run(until=lambda wire=wire, flight=flight: len(wire.log) > flight)
            _, _, name, data = wire.wire.pop()
            broken = bytearray(data)
            broken[place % len(data)] ^= 1 << place % 8
            wire.ends[name].handle_datagram(bytes(broken), wire.now)
            wire.settle()
            for events in wire.events.values():
                assert len(events) <= 1


# ------------------------------------------------------------------ local misuse


def test_misuse_is_refused_and_changes_nothing(pair, engine):
    wire = pair(engine, announce=False)
    end = wire.client
    for misuse in (
        lambda: end.start("client", 0.0),
        lambda: end.seal(b"early"),
        lambda: end.set_remote_fingerprint("sha-1", "00" * 20),
        lambda: end.set_remote_fingerprint("sha-256", "00"),
        lambda: end.set_rtt(-1.0),
        lambda: end.set_rtt(INF),
        lambda: end.set_rtt(float("nan")),
    ):
        with pytest.raises(LocalProtocolError):
            misuse()
    end.set_remote_fingerprint(*wire.server._identity.fingerprint)
    with pytest.raises(LocalProtocolError):
        end.start("both", 0.0)
    wire.server.set_remote_fingerprint(*end._identity.fingerprint)
    wire.server.start("server", 0.0)
    end.start("client", 0.0)
    for again in (
        lambda: end.start("client", 0.0),
        lambda: end.set_remote_fingerprint(*wire.server._identity.fingerprint),
    ):
        with pytest.raises(LocalProtocolError):
            again()
    wire.run()
    for size in (0, 16385):
        with pytest.raises(LocalProtocolError):
            end.seal(bytes(size))
    wire.exchange()
    wire.server.handle_datagram(end.seal(bytes(16384)), 1.0)
    assert wire.server.plaintexts.pop() == bytes(16384)


def test_construction_is_checked():
    identity = plain_identity(Entropy(b"x"))
    with pytest.raises(LocalProtocolError):
        DtlsEndpoint(identity, entropy=Entropy(b"x"), mtu=255)
    with pytest.raises(LocalProtocolError):
        DtlsEndpoint(identity, entropy=Entropy(b"x"), options=DtlsOptions(srtp_profiles=("NULL",)))
    end = DtlsEndpoint(identity, entropy=Entropy(b"x"))
    end.set_remote_fingerprint("sha-256", "00" * 32)
    with pytest.raises(LocalProtocolError):  # a plain identity has no key
        end.start("client", 0.0)
    assert end.advance(0.0) == INF
    assert not end.outbox


def test_time_does_not_go_backwards(pair):
    wire = pair("plain", announce=False)
    end = wire.client
    end.advance(5.0)
    end.set_remote_fingerprint(*wire.server._identity.fingerprint)
    end.start("client", 1.0)
    assert end.advance(2.0) == pytest.approx(5.08)


def test_quiet_between_deadlines(pair, engine):
    wire = pair(engine, fate=lambda sender, index: [])
    wire.settle()
    due = wire.client.advance(0.0)
    assert wire.client.advance(due * 0.999) == due
    assert not wire.client.datagrams
    assert wire.client.advance(due) > due
    assert len(wire.client.datagrams) == 1


def test_identity_keeps_one_context_for_each_set_of_profiles(pair):
    identity = DtlsIdentity.generate(1.8e9, Entropy(b"contexts"))
    for _ in range(2):
        for profiles in (("AEAD_AES_128_GCM",), ("AES128_CM_SHA1_80",)):
            end = DtlsEndpoint(identity, entropy=Entropy(b"x"), options=DtlsOptions(srtp_profiles=profiles))
            end.set_remote_fingerprint(*identity.fingerprint)
            end.start("client", 0.0)
    assert len(identity.contexts) == 2


# ------------------------------------------------------------------ engines that repeat themselves


class Repeater(PlainEngine):
    """Like OpenSSL when its clock says so: writes the last flight again, with a new Finished."""

    __slots__ = ("last", "due")

    def __init__(self, *args):
        super().__init__(*args)
        self.last = b""
        self.due = False

    def handshake(self, datagram):
        if self.due:
            self.due = False
            self._out += self.again()
        return super().handshake(datagram)

    def control(self, record):
        going_on = super().control(record)
        if self.due:
            self.due = False
            self._out += self.again()
        return going_on

    def again(self):
        """The last flight with fresh numbers everywhere."""
        self._sent_sealed += 5
        parts = parse_flight(self.last)
        if isinstance(parts[-1], Sealed):
            parts[-1] = Sealed(self._encrypted(HANDSHAKE, parts[-1].record[21:-16]))
        (datagram,), _ = pack_flight(parts, 65000, 900)
        return datagram

    def take(self):
        taken = super().take()
        self.last = taken or self.last
        return taken


@pytest.fixture
def repeaters():
    ends = {}
    for name in ("client", "server"):
        identity = plain_identity(Entropy(name.encode()))
        ends[name] = DtlsEndpoint(identity, entropy=Entropy(name.encode()), engine=Repeater)
    ends["client"].set_remote_fingerprint(*ends["server"]._identity.fingerprint)
    ends["server"].set_remote_fingerprint(*ends["client"]._identity.fingerprint)
    ends["server"].start("server", 0.0)
    ends["client"].start("client", 0.0)
    return ends


def test_what_an_engine_repeats_is_not_sent_by_itself(repeaters):
    client, server = repeaters["client"], repeaters["server"]
    hello = client.datagrams.popleft()
    client._engine.due = True
    client.handle_datagram(message(2, 3, 50, 0, b"x"), 0.01)
    assert not client.datagrams
    assert client.advance(0.01) == pytest.approx(0.08)
    client._engine.due = True
    client.advance(0.08)
    (again,) = client.datagrams
    assert parse_flight(again) == parse_flight(hello)
    assert not server.datagrams


def test_what_an_engine_adds_to_a_repetition_is_the_next_flight(repeaters):
    client, server = repeaters["client"], repeaters["server"]
    server.handle_datagram(client.datagrams.popleft(), 0.0)
    client._engine.due = True
    client.handle_datagram(server.datagrams.popleft(), 0.01)
    (flight,) = client.datagrams
    assert [getattr(part, "kind", None) for part in parse_flight(flight)] == [11, 16, 15, None, None]
    server.handle_datagram(flight, 0.02)
    assert server.connected


def test_a_connected_engine_that_repeats_its_last_flight_has_it_sent(repeaters):
    client, server = repeaters["client"], repeaters["server"]
    server.handle_datagram(client.datagrams.popleft(), 0.0)
    client.handle_datagram(server.datagrams.popleft(), 0.0)
    server.handle_datagram(client.datagrams.popleft(), 0.0)
    old = server.datagrams.popleft()
    server._engine.due = True
    server.handle_datagram(record(HANDSHAKE, bytes(48), epoch=1, seq=3), 1.0)
    (new,) = server.datagrams
    assert len(new) == len(old)
    assert new[14:] != old[14:]
    client.handle_datagram(new, 1.0)
    assert client.connected


def test_only_a_server_answers_and_only_until_data_comes(repeaters):
    """OpenSSL at both ends would answer each other's repeated Finished for ever."""
    client, server = repeaters["client"], repeaters["server"]
    server.handle_datagram(client.datagrams.popleft(), 0.0)
    client.handle_datagram(server.datagrams.popleft(), 0.0)
    server.handle_datagram(client.datagrams.popleft(), 0.0)
    client.handle_datagram(server.datagrams.popleft(), 0.0)
    assert client.connected
    assert server.connected
    stale = record(HANDSHAKE, bytes(48), epoch=1, seq=3)
    client._engine.due = True
    client.handle_datagram(stale, 1.0)
    assert not client.datagrams
    server.handle_datagram(record(CHANGE_CIPHER_SPEC, b"\1"), 1.0)
    assert len(server.datagrams) == 1
    server.handle_datagram(client.seal(b"data"), 2.0)
    server._engine.due = True
    server.handle_datagram(stale, 3.0)
    server.handle_datagram(record(CHANGE_CIPHER_SPEC, b"\1"), 4.0)
    assert len(server.datagrams) == 1


def test_an_engine_may_give_up_on_its_own_clock():
    class Impatient(PlainEngine):
        __slots__ = ()

        def handshake(self, datagram):
            if self._sent_messages:
                raise EngineError(DtlsFailure.PROTOCOL, "read timeout expired")
            return super().handshake(datagram)

    end = DtlsEndpoint(plain_identity(Entropy(b"x")), entropy=Entropy(b"x"), engine=Impatient)
    end.set_remote_fingerprint("sha-256", "00" * 32)
    end.start("client", 0.0)
    end.datagrams.clear()
    assert end.advance(0.08) == INF
    assert list(end.outbox) == [DtlsFailed(DtlsFailure.PROTOCOL, "read timeout expired")]
    assert not end.datagrams


def test_an_engine_may_give_up_over_data():
    class Touchy(PlainEngine):
        __slots__ = ()

        def open(self, record):
            if record[:1] == b"\x17":
                raise EngineError(DtlsFailure.PROTOCOL, "bad record")
            return super().open(record)

    ends = {}
    for name, engine in (("client", PlainEngine), ("server", Touchy)):
        ends[name] = DtlsEndpoint(plain_identity(Entropy(b"x")), entropy=Entropy(name.encode()), engine=engine)
        ends[name].set_remote_fingerprint(*plain_identity(Entropy(b"x")).fingerprint)
        ends[name].start(name, 0.0)
    client, server = ends["client"], ends["server"]
    while not client.connected:
        server.handle_datagram(client.datagrams.popleft(), 0.0)
        client.handle_datagram(server.datagrams.popleft(), 0.0)
    server.handle_datagram(client.seal(b"data"), 1.0)
    assert server.outbox[-1] == DtlsFailed(DtlsFailure.PROTOCOL, "bad record")
    assert not server.plaintexts
    client.handle_datagram(server.datagrams.popleft(), 1.0)
    assert client.outbox[-1] == DtlsClosed()


def test_a_connected_engine_may_send_alerts(pair):
    wire = pair("plain")
    wire.run()
    wire.server._engine._out = wire.server._engine._encrypted(ALERT, b"\x01\x64")
    wire.server.handle_datagram(record(HANDSHAKE, bytes(48), epoch=1, seq=3), 1.0)
    (alert,) = wire.server.datagrams
    wire.client.handle_datagram(alert, 1.0)
    assert not wire.client.outbox
    wire.exchange()


def test_a_fatal_alert_ends_a_connected_endpoint(pair):
    wire = pair("plain")
    wire.run()
    wire.client.handle_datagram(wire.server._engine._encrypted(ALERT, b"\x02\x50"), 1.0)
    assert list(wire.client.outbox) == [DtlsFailed(DtlsFailure.ALERT, "alert 50")]
    assert wire.client.advance(1.0) == INF
