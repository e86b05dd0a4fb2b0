"""The record layer by itself, against OpenSSL at the other end, and inside an endpoint."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from sansio.base.entropy import Entropy
from sansio.base.limits import DTLS_EARLY_RECORDS
from sansio.dtls import DtlsClosed, DtlsConnected, DtlsEndpoint, DtlsFailed, DtlsFailure, DtlsIdentity, default_engine
from sansio.dtls.engine import DEFAULT_PROFILES
from sansio.dtls.flights import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    RECORD_HEADER,
    VERSION,
    pack_record,
    split_records,
)
from sansio.dtls.openssl import OpenSslEngine, make_context
from sansio.dtls.records import FIRST, NONCE, OVERHEAD, SUITES, WINDOW, RecordLayer, expand, pack_additional

ALL_SUITES = [*SUITES, "ECDHE-ECDSA-CHACHA20-POLY1305"]
ROLES = ["client", "server"]
CHANGE_CIPHER_SPEC_SIZE = RECORD_HEADER + 1


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize(
    ("digest", "secret", "seed", "output"),
    [
        (
            "sha256",
            "9bbe436ba940f017b17652849a71db35",
            "a0ba9f936cda311827a6f796ffd5198c",
            "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7"
            "077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66",
        ),
        (
            "sha384",
            "b80b733d6ceefcdc71566ea48e5567df",
            "cd665cf6a8447dd6ff8b27555edb7465",
            "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0e534cb40"
            "0fed2700884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d9184259b5bf8cd4d90fa0d"
            "31e2dec479e4f1a26066f2eea9a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703d73e56f",
        ),
    ],
)
def test_the_pseudorandom_function(digest, secret, seed, output):
    """The vectors that the TLS working group's list has had since 2009 (message 03416 of its archive)."""
    known = bytes.fromhex(output)
    for size in (0, 1, 32, 40, len(known)):
        made = expand(bytes.fromhex(secret), b"test label" + bytes.fromhex(seed), size, digest)
        assert made == known[:size]


def layers(suite="ECDHE-ECDSA-AES128-GCM-SHA256"):
    """A client's and a server's."""
    return [RecordLayer(suite, b"master" * 8, b"c" * 32, b"s" * 32, server=server) for server in (False, True)]


def changed(record, place, mask=1):
    return record[:place] + bytes([record[place] ^ mask]) + record[place + 1 :]


# ------------------------------------------------------------------ the layer by itself


@pytest.mark.parametrize("suite", SUITES)
def test_each_opens_what_the_other_seals_and_nothing_else(suite):
    client, server = layers(suite)
    for data in (b"x", bytes(1200), bytes(16384)):
        sealed = client.seal(data)
        assert len(sealed) == len(data) + OVERHEAD
        assert client.open(sealed) == b""
        assert server.open(sealed) == data
        assert client.open(server.seal(data)) == data
    (other, _) = layers(next(name for name in SUITES if name != suite))
    assert server.open(other.seal(b"x")) == b""


def test_numbers_and_nonces_count_from_the_first():
    client, _ = layers()
    for i in range(3):
        sealed = client.seal(b"data")
        assert sealed[:3] == b"\x17\xfe\xfd"
        assert int.from_bytes(sealed[3:11], "big") == int.from_bytes(sealed[13:21], "big") == FIRST + i
    assert FIRST - (1 << 48) < WINDOW


def test_what_was_changed_or_cut_is_not_opened():
    """The content type and the length are the caller's, and tested with it."""
    client, server = layers()
    sealed = client.seal(b"some data")
    for place in {*range(len(sealed))} - {0, 11, 12}:
        for bit in range(8):
            assert server.open(changed(sealed, place, 1 << bit)) == b""
    for size in range(len(sealed)):
        assert server.open(sealed[:size]) == b""
    assert server.open(sealed + b"\0") == b""
    # and none of it has moved the window
    assert server.open(sealed) == b"some data"


def test_records_of_other_content_are_not_data():
    client, server = layers()
    assert server.open(client.seal(b"\2\x50", ALERT)) == b""
    assert server.open(client.close()) == b""


def test_window():
    client, server = layers()
    sealed = [client.seal(b"%d" % i) for i in range(400)]
    steps = [
        (5, True),
        (5, False),
        (3, True),  # overtaken
        (3, False),
        (0, True),
        (66, True),  # 3 is the oldest inside
        (3, False),
        (4, True),
        (2, False),
        (129, True),  # a jump that leaves one: 66
        (66, False),
        (67, True),
        (65, False),
        (193, True),  # and one that leaves none
        (129, False),
        (130, True),
        (399, True),  # far
        (399, False),
        (336, True),
        (335, False),
        (398, True),
    ]
    for number, opens in steps:
        assert server.open(sealed[number]) == (b"%d" % number if opens else b""), number


@given(st.lists(st.integers(0, 200), max_size=100))
def test_window_against_a_model(order):
    client, server = layers()
    sealed = [client.seal(b"%d" % i) for i in range(201)]
    seen = set()
    for number in order:
        fresh = number not in seen and number > max(seen, default=0) - WINDOW
        assert server.open(sealed[number]) == (b"%d" % number if fresh else b"")
        if fresh:
            seen.add(number)


@given(st.binary(max_size=80))
def test_any_bytes_are_refused(data):
    _, server = layers()
    assert server.open(data) == b""


# ------------------------------------------------------------------ against OpenSSL


class WholeOpenSsl(OpenSslEngine):
    """OpenSSL for the records too, whatever the suite."""

    __slots__ = ()

    def records(self):
        return self


class Meeting:
    """Our endpoint and one of plain OpenSSL, connected unless told otherwise."""

    def __init__(self, role, suite="ECDHE-ECDSA-AES128-GCM-SHA256", *, theirs=WholeOpenSsl, connect=True):
        other = "server" if role == "client" else "client"
        made = {}
        for name, engine in ((role, default_engine), (other, theirs)):
            identity = DtlsIdentity.generate(1.8e9, Entropy(name.encode()))
            context = identity.contexts[DEFAULT_PROFILES] = make_context(identity, DEFAULT_PROFILES)
            context.set_cipher_list(suite.encode())
            made[name] = identity, DtlsEndpoint(identity, entropy=Entropy(name.encode()), engine=engine)
        self.ours, self.theirs = made[role][1], made[other][1]
        for name, end in ((role, self.ours), (other, self.theirs)):
            end.set_remote_fingerprint(*made[other if name == role else role][0].fingerprint)
        for name in ("server", "client"):
            made[name][1].start(name, 0.0)
        while connect and not (self.ours.connected and self.theirs.connected):
            self.carry()

    def carry(self, now=0.0):
        """Everything that is under way now, and what our end answers to that."""
        for end, other in ((self.theirs, self.ours), (self.ours, self.theirs)):
            while end.datagrams:
                other.handle_datagram(end.datagrams.popleft(), now)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("suite", ALL_SUITES)
def test_openssl_opens_ours_and_we_open_its(role, suite):
    meeting = Meeting(role, suite)
    ours, theirs = meeting.ours, meeting.theirs
    assert isinstance(ours._records, RecordLayer) is (suite in SUITES)
    for size in (1, 100, 1200, 16384):
        for end, other in ((ours, theirs), (theirs, ours)):
            other.handle_datagram(end.seal(bytes(size)), 1.0)
            assert other.plaintexts.pop() == bytes(size)
    assert ours.counters.snapshot() == theirs.counters.snapshot() == {}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("suite", ALL_SUITES)
@pytest.mark.parametrize("closer", ["ours", "theirs"])
def test_either_end_closes(role, suite, closer):
    meeting = Meeting(role, suite)
    for i in range(100):  # far beyond the numbers of the handshake
        meeting.theirs.handle_datagram(meeting.ours.seal(b"%d" % i), 1.0)
        meeting.ours.handle_datagram(meeting.theirs.seal(b"%d" % i), 1.0)
    getattr(meeting, closer).close(1.0)
    meeting.carry(1.0)
    for end in (meeting.ours, meeting.theirs):
        assert [type(event) for event in end.outbox] == [DtlsConnected, DtlsClosed]
        assert len(end.plaintexts) == 100


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("suite", ALL_SUITES)
def test_a_record_opens_once_whatever_it_comes_with(role, suite):
    meeting = Meeting(role, suite)
    ours, theirs = meeting.ours, meeting.theirs
    one, two, three, four = (theirs.seal(word) for word in (b"one", b"two", b"three", b"four"))
    forged = changed(theirs.seal(b"forged"), -1 % len(one))
    for datagram in (one, one + two, two, forged + two + three, three, four + four, one + four):
        ours.handle_datagram(datagram, 1.0)
    assert list(ours.plaintexts) == [b"one", b"two", b"three", b"four"]
    assert ours.counters.snapshot() == {"dtls_undecryptable": 8}


@pytest.mark.parametrize("suite", ALL_SUITES)
def test_every_change_to_a_record_is_noticed(suite):
    meeting = Meeting("client", suite)
    ours, theirs = meeting.ours, meeting.theirs
    sealed = theirs.seal(b"some data")
    for place in range(len(sealed)):
        for bit in range(8):
            ours.handle_datagram(changed(sealed, place, 1 << bit), 1.0)
    for size in range(1, len(sealed)):
        ours.handle_datagram(sealed[:size], 1.0)
    assert not ours.plaintexts
    assert sum(ours.counters.snapshot().values()) >= 9 * len(sealed) - 1
    ours.handle_datagram(sealed, 1.0)
    assert list(ours.plaintexts) == [b"some data"]


@pytest.mark.parametrize("suite", SUITES)
def test_alerts_between_data_in_one_datagram(suite):
    """Data goes to the layer, the alert to OpenSSL, and what follows the end is not looked at."""
    meeting = Meeting("client", suite)
    data = [meeting.theirs.seal(b"%d" % i) for i in range(3)]
    meeting.theirs.close(1.0)
    (end,) = meeting.theirs.datagrams
    meeting.ours.handle_datagram(data[0] + data[1] + end + data[2], 1.0)
    assert list(meeting.ours.plaintexts) == [b"0", b"1"]
    assert meeting.ours.outbox[-1] == DtlsClosed()


def test_an_empty_record_is_no_data():
    """RFC 5246 section 6.2.1 allows them, against traffic analysis."""
    meeting = Meeting("client", theirs=default_engine)
    meeting.ours.handle_datagram(meeting.theirs._records.seal(b""), 1.0)
    assert not meeting.ours.plaintexts


def test_content_of_its_own_key_that_makes_no_sense_ends_the_association():
    """And the peer hears of it, although OpenSSL's alert would have had a number from before all this data."""
    meeting = Meeting("server", theirs=default_engine)
    ours, theirs = meeting.ours, meeting.theirs
    for _ in range(100):
        theirs.handle_datagram(ours.seal(b"data"), 1.0)
    ours.handle_datagram(theirs._records.seal(b"\x0e" + bytes(11), HANDSHAKE), 1.0)
    failed = ours.outbox.pop()
    assert isinstance(failed, DtlsFailed)
    assert failed.reason == DtlsFailure.PROTOCOL
    assert not ours.connected
    (told,) = ours.datagrams
    assert told[0] == ALERT
    meeting.carry(1.0)
    assert theirs.outbox[-1] == DtlsClosed()


def test_content_that_makes_no_sense_ends_an_association_that_is_all_openssl():
    meeting = Meeting("client")
    meeting.theirs.handle_datagram(meeting.ours._records.seal(b"\x0e" + bytes(11), HANDSHAKE), 1.0)
    failed = meeting.theirs.outbox.pop()
    assert isinstance(failed, DtlsFailed)
    assert failed.reason == DtlsFailure.PROTOCOL
    meeting.carry(1.0)
    failed = meeting.ours.outbox.pop()
    assert isinstance(failed, DtlsFailed)
    assert failed.reason == DtlsFailure.ALERT


# ------------------------------------------------------------------ the last flight


@pytest.mark.parametrize("suite", ALL_SUITES)
def test_data_before_the_last_flight_is_kept_up_to_a_limit(suite):
    meeting = Meeting("client", suite, connect=False)
    while not meeting.theirs.connected:
        meeting.carry()
    last = meeting.theirs.datagrams.popleft()
    sealed = [meeting.theirs.seal(b"%d" % i) for i in range(DTLS_EARLY_RECORDS + 1)]
    for record in sealed:
        meeting.ours.handle_datagram(record, 1.0)
    assert len(meeting.ours._early) == DTLS_EARLY_RECORDS
    assert meeting.ours.counters.snapshot() == {"dtls_early": 1}
    meeting.ours.handle_datagram(last, 1.0)
    assert list(meeting.ours.plaintexts) == [b"%d" % i for i in range(DTLS_EARLY_RECORDS)]
    assert not meeting.ours._early
    # replays of what was kept are still replays
    meeting.ours.handle_datagram(sealed[-2] + sealed[-1], 1.0)
    assert len(meeting.ours.plaintexts) == DTLS_EARLY_RECORDS + 1


@pytest.mark.parametrize("end", ["times out", "is closed"])
def test_what_was_kept_is_given_up_with_the_handshake(end):
    meeting = Meeting("client", connect=False)
    meeting.ours.handle_datagram(pack_record(APPLICATION_DATA, VERSION, FIRST, 40) + bytes(40), 0.0)
    assert meeting.ours._early
    if end == "times out":
        meeting.ours.advance(60.0)
    else:
        meeting.ours.close(0.0)
    assert not meeting.ours._early
    assert not meeting.ours.plaintexts


class RawClient:
    """An OpenSSL client without any of our code around it, and the keys of what it sends and gets."""

    def __init__(self, server):
        identity = DtlsIdentity.generate(1.8e9, Entropy(b"raw"))
        server.set_remote_fingerprint(*identity.fingerprint)
        server.start("server", 0.0)
        context = make_context(identity, DEFAULT_PROFILES)
        self.connection = SSL.Connection(context, None)
        self.connection.set_app_data(lambda certificate: True)
        self.connection.set_ciphertext_mtu(1200)
        self.connection.set_connect_state()
        self._sealing = None

    @property
    def finished(self):
        """What seals new Finished messages, each with a number of its own."""
        self._sealing = self._sealing or self.layer(server=False)
        return self._sealing

    def take(self, datagram):
        """Feed a datagram and return what is written."""
        if datagram:
            self.connection.bio_write(datagram)
        with suppress(SSL.WantReadError):
            self.connection.do_handshake()
        return self.connection.bio_read(65536)

    def layer(self, *, server):
        raw = self.connection
        suite = raw.get_cipher_name()
        return RecordLayer(suite, raw.master_key(), raw.client_random(), raw.server_random(), server=server)

    def again(self, flight, *, anew):
        """The last flight with new numbers; with a new Finished too, as after OpenSSL's second of waiting."""
        made = b""
        for index, (content, epoch, start, end) in enumerate(split_records(flight)[0]):
            record = flight[start:end]
            if not epoch:
                made += pack_record(content, VERSION, 100 + index, end - start - RECORD_HEADER) + record[RECORD_HEADER:]
            elif anew:
                number = int.from_bytes(record[3:11], "big")
                theirs = self.layer(server=True)
                additional = pack_additional(number, content, VERSION, len(record) - OVERHEAD)
                finished = theirs._decrypt(
                    theirs._their_salt + record[RECORD_HEADER : RECORD_HEADER + NONCE],
                    record[RECORD_HEADER + NONCE :],
                    additional,
                )
                made += self.finished.seal(finished, HANDSHAKE)
            else:
                made += record
        return made


@pytest.mark.parametrize("changed_cipher", [False, True], ids=["flight lost", "only Finished lost"])
@pytest.mark.parametrize("anew", [False, True], ids=["Finished repeated", "new Finished"])
@pytest.mark.parametrize("answers", [1, 2])
def test_our_finished_is_lost_and_our_data_is_not(changed_cipher, anew, answers):
    """A peer whose window is 64 takes our Finished, old or new, after the first of our data.

    The first answer is the flight that was lost; a new Finished has OpenSSL make one too, which is the second answer.
    """
    server = DtlsEndpoint(DtlsIdentity.generate(1.8e9, Entropy(b"us")), entropy=Entropy(b"us"))
    client = RawClient(server)
    server.handle_datagram(client.take(b""), 0.0)
    flight = client.take(server.datagrams.popleft())
    server.handle_datagram(flight, 0.0)
    assert server.connected
    lost = server.datagrams.popleft()
    if changed_cipher:
        client.connection.bio_write(lost[:CHANGE_CIPHER_SPEC_SIZE])
    for i in range(WINDOW - 32):
        client.connection.bio_write(server.seal(b"early %d" % i))
        with pytest.raises(SSL.WantReadError):
            client.connection.do_handshake()
    for answer in range(answers):
        server.handle_datagram(client.again(flight, anew=anew), 1.0 + answer)
        (again,) = server.datagrams
        server.datagrams.clear()
        finished, lost_finished = again[CHANGE_CIPHER_SPEC_SIZE:], lost[CHANGE_CIPHER_SPEC_SIZE:]
        assert (finished != lost_finished) is (anew and answer == 1)
    client.connection.bio_write(again)
    client.connection.do_handshake()
    client.connection.bio_write(server.seal(b"late"))
    while client.connection.recv(100) != b"late":
        pass
    client.connection.send(b"answer")
    server.handle_datagram(client.connection.bio_read(1000), 3.0)
    assert list(server.plaintexts) == [b"answer"]
