"""Records, fragments and flights."""

from __future__ import annotations

from pathlib import Path

import pytest

from sansio.base.errors import ParseError
from sansio.base.limits import DTLS_RECORDS
from sansio.dtls.flights import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    Message,
    Plain,
    Sealed,
    changes_cipher,
    last_message,
    new_parts,
    pack_flight,
    pack_record,
    parse_flight,
    parse_fragments,
    split_records,
)

DATA = Path(__file__).parents[2] / "data" / "dtls"
CAPTURES = {path.stem: path.read_bytes() for path in sorted(DATA.glob("*.bin"))}
V = 0xFEFD
FINISHED = Sealed(pack_record(HANDSHAKE, V, 1 << 48, 48) + bytes(48))
CHANGE = Plain(V, CHANGE_CIPHER_SPEC, b"\1")
FLIGHT = [Message(V, 11, 1, bytes(range(250))), Message(V, 14, 2, b""), Message(V, 15, 3, b"v" * 75), CHANGE, FINISHED]


def record(content, body, *, epoch=0, seq=0, version=V):
    return pack_record(content, version, epoch << 48 | seq, len(body)) + body


def fragment(kind, seq, length, offset, body):
    sizes = [n.to_bytes(3, "big") for n in (length, offset, len(body))]
    return bytes([kind]) + sizes[0] + seq.to_bytes(2, "big") + sizes[1] + sizes[2] + body


# ------------------------------------------------------------------ records


def test_split_records():
    data = record(HANDSHAKE, b"abc") + record(APPLICATION_DATA, b"", epoch=1) + record(ALERT, b"de", epoch=2)
    assert split_records(data) == ([(HANDSHAKE, 0, 0, 16), (APPLICATION_DATA, 1, 16, 29), (ALERT, 2, 29, 44)], True)
    assert split_records(b"") == ([], True)


@pytest.mark.parametrize(
    "tail",
    [
        b"\0",
        record(HANDSHAKE, b"abc")[:-1],
        record(19, b""),
        record(24, b""),
        record(HANDSHAKE, b"", version=0x0303),
    ],
)
def test_split_records_stops_at_what_is_none(tail):
    good = record(HANDSHAKE, b"abc")
    assert split_records(good + tail) == ([(HANDSHAKE, 0, 0, 16)], False)


def test_split_records_has_a_limit():
    records, whole = split_records(record(ALERT, b"") * (DTLS_RECORDS + 1))
    assert len(records) == DTLS_RECORDS
    assert not whole
    assert split_records(record(ALERT, b"") * DTLS_RECORDS)[1]


def test_split_records_at_every_truncation():
    data = CAPTURES["server-as-client-3-certificate-to-finished"]
    full, whole = split_records(data)
    assert (len(full), whole) == (5, True)
    ends = [end for _, _, _, end in full]
    for size in range(len(data)):
        records, whole = split_records(data[:size])
        assert len(records) == sum(end <= size for end in ends)
        assert whole == (size in (0, *ends))


# ------------------------------------------------------------------ fragments


def test_parse_fragments_takes_several_in_a_record():
    data = b"__" + fragment(1, 7, 10, 4, b"abc") + fragment(2, 8, 0, 0, b"")
    first, second = parse_fragments(data, 2, len(data))
    assert first == (1, 10, 7, 4, b"abc")
    assert second == (2, 0, 8, 0, b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        fragment(1, 0, 5, 0, b"abcde")[:-1],
        fragment(1, 0, 5, 0, b"abcde")[:11],
        fragment(1, 0, 5, 1, b"abcde"),
        fragment(1, 0, 4, 0, b"abcde"),
        fragment(1, 0, 5, 0, b"abcde") + b"\0",
    ],
)
def test_parse_fragments_refuses(body):
    with pytest.raises(ParseError):
        parse_fragments(body, 0, len(body))


# ------------------------------------------------------------------ flights


def test_parse_flight_of_whole_messages():
    data = b"".join(pack_flight(FLIGHT, 1200, 0)[0])
    assert parse_flight(data) == FLIGHT
    assert parse_flight(b"") == []


@pytest.mark.parametrize("name", list(CAPTURES))
@pytest.mark.parametrize("mtu", [60, 100, 300, 1200])
def test_captured_flights_survive_new_records(name, mtu):
    parts = parse_flight(CAPTURES[name])
    datagrams, after = pack_flight(parts, mtu, 1000)
    assert parse_flight(b"".join(datagrams)) == parts
    sealed = max((len(part.record) for part in parts if isinstance(part, Sealed)), default=0)
    assert all(len(data) <= max(mtu, sealed) for data in datagrams)
    clear = [
        data[start + 5 : start + 11] for data in datagrams for _, epoch, start, _ in split_records(data)[0] if not epoch
    ]
    assert [int.from_bytes(number, "big") for number in clear] == list(range(1000, after))


def test_a_flight_that_fits_is_one_datagram_as_it_was():
    for data in CAPTURES.values():
        first = int.from_bytes(data[5:11], "big")
        assert pack_flight(parse_flight(data), 1200, first)[0] == [data]


def test_messages_are_fragmented_only_when_they_must_be():
    parts = [Message(V, 2, 0, bytes(200)), Message(V, 12, 1, bytes(200)), Message(V, 14, 2, b"")]
    datagrams, _ = pack_flight(parts, 300, 0)
    assert [len(data) for data in datagrams] == [225, 250]
    parts = [Message(V, 2, 0, bytes(60)), Message(V, 11, 1, bytes(500)), Message(V, 14, 2, b"")]
    datagrams, _ = pack_flight(parts, 300, 0)
    assert [len(data) for data in datagrams] == [300, 300, 60 + 25]
    # too little room left to be worth a record
    parts = [Message(V, 2, 0, bytes(230)), Message(V, 11, 1, bytes(500))]
    datagrams, _ = pack_flight(parts, 300, 0)
    assert [len(data) for data in datagrams] == [255, 300, 250]


def test_encrypted_records_are_repeated_as_they_are():
    datagrams, after = pack_flight([CHANGE, FINISHED], 70, 5)
    assert datagrams == [record(CHANGE_CIPHER_SPEC, b"\1", seq=5), FINISHED.record]
    assert after == 6
    assert pack_flight([FINISHED], 30, 5) == ([FINISHED.record], 5)
    assert pack_flight([], 1200, 5) == ([], 5)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16",
        record(HANDSHAKE, fragment(1, 0, 3, 0, b"abc"))[:-1],
        record(HANDSHAKE, fragment(1, 0, 5, 0, b"abc")),
        record(HANDSHAKE, fragment(1, 0, 5, 2, b"cde")),
        record(HANDSHAKE, fragment(1, 0, 5, 0, b"abc") + fragment(1, 0, 6, 3, b"de")),
        record(HANDSHAKE, fragment(1, 0, 5, 0, b"abc") + fragment(1, 1, 5, 3, b"de")),
        record(HANDSHAKE, fragment(1, 0, 5, 0, b"abc") + fragment(2, 0, 5, 3, b"de")),
        record(HANDSHAKE, b""),
        record(APPLICATION_DATA, b"x"),
        record(99, b"x"),
    ],
)
def test_parse_flight_refuses(data):
    with pytest.raises(ParseError):
        parse_flight(data)


def test_every_truncation_is_refused_or_ends_at_a_record():
    data = b"".join(pack_flight(FLIGHT, 100, 0)[0])
    for size in range(len(data)):
        try:
            parts = parse_flight(data[:size])
        except ParseError:
            continue
        assert parts == FLIGHT[: len(parts)]


def test_what_a_repetition_adds():
    hello = [Message(V, 2, 0, b"hello"), Message(V, 14, 1, b"")]
    last = [CHANGE, FINISHED]
    assert new_parts(hello, []) == hello
    assert new_parts(hello, hello) == []
    assert new_parts(hello + last, hello) == last
    assert new_parts(hello + FLIGHT, [Message(V, 1, 0, b"")]) == [hello[1], *FLIGHT]
    assert new_parts(FLIGHT, FLIGHT) == []
    assert new_parts(last, last) == []


def test_what_a_flight_has():
    assert last_message(FLIGHT) == 3
    assert last_message([CHANGE]) == -1
    assert changes_cipher(FLIGHT)
    assert not changes_cipher([Plain(V, ALERT, b"\1\0"), FINISHED, Message(V, 20, 0, b"")])
