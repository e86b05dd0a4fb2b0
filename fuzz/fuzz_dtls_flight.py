"""Records, fragments and flights: whatever is accepted survives being packed anew."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.base.limits import DTLS_RECORDS
from sansio.dtls.flights import (
    HANDSHAKE,
    RECORD_HEADER,
    Message,
    Plain,
    Sealed,
    pack_flight,
    parse_flight,
    parse_fragments,
    split_records,
)


def one(data: bytes) -> None:
    """The first byte is the MTU, in steps; the rest is a datagram, or the records of a flight."""
    mtu = 64 + 5 * data[0] if data else 64
    data = data[1:]

    records, whole = split_records(data)
    place = 0
    for content, _, start, end in records:
        assert start == place
        assert end >= start + RECORD_HEADER
        place = end
        if content == HANDSHAKE:
            try:
                fragments = parse_fragments(data, start + RECORD_HEADER, end)
            except ParseError:
                continue
            assert fragments
            assert all(piece.offset + len(piece.body) <= piece.length for piece in fragments)
    assert place <= len(data)
    assert whole == (place == len(data))
    assert len(records) <= DTLS_RECORDS

    try:
        parts = parse_flight(data)
    except ParseError:
        return
    datagrams, after = pack_flight(parts, mtu, 7)
    assert parse_flight(b"".join(datagrams)) == parts
    assert after >= 7
    whole_records = [len(part.record) for part in parts if isinstance(part, Sealed)]
    whole_records += [RECORD_HEADER + len(part.body) for part in parts if isinstance(part, Plain)]
    longest = max([mtu, *whole_records])
    assert all(0 < len(datagram) <= longest for datagram in datagrams)
    assert len(datagrams) <= len(parts) + sum(len(part.body) for part in parts if isinstance(part, Message)) // 32 + 1
