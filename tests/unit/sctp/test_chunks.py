"""The SCTP codec: vectors, round trips, truncation at every byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio.base.errors import ParseError
from sansio.base.limits import SCTP_CHUNKS, SCTP_DETAIL, SCTP_PARAMETERS
from sansio.sctp import chunks

# An INIT, as the LiveKit server sends it: reconfiguration and forward TSN by the extensions list, zero checksum.
SERVER_INIT = bytes.fromhex(
    "138813880000000000000000010000241122334400100000ffffffffa1b2c3d48008000682c000008001000800000001"
)
U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
PARAMETERS = st.lists(st.tuples(U16, st.binary(max_size=9)), max_size=5)


def test_crc32c_of_rfc_3720_vectors():
    # RFC 3720 section B.4, over packets of 32 bytes whose checksum field is not zero: it must not count.
    plain = bytes(8) + b"\xff\xff\xff\xff" + bytes(20)
    assert chunks.checksum(plain) == 0x8A9136AA
    assert chunks.with_checksum(bytes(32))[8:12] == (0x8A9136AA).to_bytes(4, "little")


def test_packet_of_the_server():
    packet = chunks.decode_packet(SERVER_INIT)
    assert (packet.source, packet.destination, packet.tag, packet.checksum) == (5000, 5000, 0, 0)
    (chunk,) = packet.chunks
    assert (chunk.kind, chunk.flags) == (chunks.INIT, 0)
    init = chunks.decode_init(chunk.body)
    assert init == chunks.Init(
        0x11223344,
        1 << 20,
        65535,
        65535,
        0xA1B2C3D4,
        [(chunks.SUPPORTED_EXTENSIONS, b"\x82\xc0"), (chunks.ZERO_CHECKSUM, b"\0\0\0\1")],
    )
    assert chunks.encode_packet(packet) == SERVER_INIT
    assert chunks.encode_init(init) == chunk.body


def test_padding_of_the_last_chunk_may_be_missing():
    whole = chunks.encode_packet(chunks.Packet(1, 2, 3, 4, [chunks.Chunk(11, 0, b""), chunks.Chunk(9, 1, b"abc")]))
    assert chunks.decode_packet(whole[:-1]) == chunks.decode_packet(whole)


@pytest.mark.parametrize(
    ("decode", "data", "good"),
    [
        (chunks.decode_packet, SERVER_INIT, {12}),
        (chunks.decode_init, SERVER_INIT[16:], {16, 22, 23, 24}),
        (chunks.decode_sack, chunks.encode_sack(chunks.Sack(5, 6, [(2, 3), (5, 9)], [4])), set()),
        (chunks.decode_forward_tsn, chunks.encode_forward_tsn(chunks.ForwardTsn(7, [(1, 2), (3, 4)])), {4, 8}),
        (chunks.decode_reset_request, chunks.encode_reset_request(chunks.ResetRequest(1, 2, 3, [4, 5])), {12, 14}),
        (chunks.decode_reset_response, chunks.encode_reset_response(chunks.ResetResponse(1, 6)), set()),
        (chunks.decode_parameters, chunks.encode_parameters([(1, b"abcde"), (2, b"")]), {0, 9, 10, 11, 12}),
    ],
)
def test_truncation_at_every_byte(decode, data, good):
    decode(data)
    for size in range(len(data)):
        if size in good:
            decode(data[:size])
        else:
            with pytest.raises(ParseError):
                decode(data[:size])


def test_lengths_below_the_header_are_refused():
    with pytest.raises(ParseError):
        chunks.decode_packet(bytes(12) + b"\x00\x00\x00\x03")
    with pytest.raises(ParseError):
        chunks.decode_parameters(b"\x00\x01\x00\x03")


def test_limits_on_chunks_and_parameters():
    body = b"\x0b\0\0\4" * SCTP_CHUNKS
    assert len(chunks.decode_packet(bytes(12) + body).chunks) == SCTP_CHUNKS
    with pytest.raises(ParseError):
        chunks.decode_packet(bytes(12) + body + b"\x0b\0\0\4")
    parameters = b"\0\1\0\4" * SCTP_PARAMETERS
    assert len(chunks.decode_parameters(parameters)) == SCTP_PARAMETERS
    with pytest.raises(ParseError):
        chunks.decode_parameters(parameters + b"\0\1\0\4")


@given(
    U16, U16, U32, U32, st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=9)), max_size=6)
)
def test_packets_round_trip(source, destination, tag, checksum, made):
    packet = chunks.Packet(source, destination, tag, checksum, [chunks.Chunk(*one) for one in made])
    assert chunks.decode_packet(chunks.encode_packet(packet)) == packet


@given(U32, U32, U16, U16, U32, PARAMETERS)
def test_inits_round_trip(tag, window, outbound, inbound, tsn, parameters):
    init = chunks.Init(tag, window, outbound, inbound, tsn, parameters)
    assert chunks.decode_init(chunks.encode_init(init)) == init


@given(U32, U32, st.lists(st.tuples(U16, U16), max_size=20), st.lists(U32, max_size=5))
def test_sacks_round_trip(cumulative, window, gaps, duplicates):
    sack = chunks.Sack(cumulative, window, gaps, duplicates)
    assert chunks.decode_sack(chunks.encode_sack(sack)) == sack


@given(U32, st.lists(st.tuples(U16, U16), max_size=5), U32, U32, st.lists(U16, max_size=5))
def test_forward_and_resets_round_trip(cumulative, streams, one, two, sids):
    forward = chunks.ForwardTsn(cumulative, streams)
    assert chunks.decode_forward_tsn(chunks.encode_forward_tsn(forward)) == forward
    request = chunks.ResetRequest(one, two, cumulative, sids)
    assert chunks.decode_reset_request(chunks.encode_reset_request(request)) == request
    response = chunks.ResetResponse(one, two)
    assert chunks.decode_reset_response(chunks.encode_reset_response(response)) == response


@given(st.lists(U16, max_size=60))
def test_shorts(values):
    values = values[: len(values) & ~1]
    packed = chunks.pack_shorts(values)
    assert list(chunks.unpack_shorts(b"xy" + packed, 2, len(values))) == values
    assert chunks.pack_longs(values)[3::4] == packed[1::2]


def test_causes_in_words():
    body = chunks.encode_cause(chunks.USER_ABORT, b"gone \0fishing\xff") + b"\0\0" + chunks.encode_cause(99)
    assert chunks.describe_causes(body) == "user initiated abort: gone ?fishing\ufffd; cause 99"
    assert chunks.describe_causes(chunks.encode_cause(chunks.PROTOCOL_VIOLATION)) == "protocol violation"
    assert chunks.describe_causes(chunks.encode_cause(chunks.NO_USER_DATA, b"1234")) == "no user data"
    assert chunks.describe_causes(b"\0\1\0\0") == "unreadable causes"
    assert chunks.describe_causes(b"") == ""
    long = chunks.encode_cause(chunks.USER_ABORT, b"x" * 60_000)
    assert chunks.describe_causes(long) == "user initiated abort: " + "x" * SCTP_DETAIL
    assert len(chunks.describe_causes(long * 9)) == 4 * SCTP_DETAIL
