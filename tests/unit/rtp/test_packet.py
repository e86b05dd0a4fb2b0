"""RTP packets and header extensions: the RFCs' layouts by hand, truncation at every byte, lies about lengths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio.base.errors import ParseError
from sansio.rtp.packet import (
    MARKER,
    ONE_BYTE,
    TWO_BYTE,
    RtpPacket,
    build_rtp,
    decode_extensions,
    element,
    needs_two_byte,
)

PLAIN = bytes.fromhex("80 6f 1234 00000102 deadbeef") + b"payload"


def test_a_plain_packet():
    packet = RtpPacket(PLAIN)
    assert (packet.payload_type, packet.marker, packet.sequence) == (111, False, 0x1234)
    assert (packet.timestamp, packet.ssrc, packet.payload) == (0x102, 0xDEADBEEF, b"payload")
    assert packet.csrcs == ()
    assert packet.profile == 0
    assert packet.extension(1) is None
    assert repr(packet) == "RtpPacket(ssrc=3735928559, payload_type=111, sequence=4660, timestamp=258, 7 bytes)"


def test_marker_and_the_highest_payload_type():
    packet = RtpPacket(b"\x80\xff" + PLAIN[2:])
    assert packet.marker
    assert packet.payload_type == 127


def test_everything_at_once():
    data = (
        bytes.fromhex("b2 e0 0001 ffffffff 00000001 0000000a 0000000b")  # version 2, padding, extension, two CSRCs
        + bytes.fromhex("bede 0002 10 85 00 32 0102 03 00")  # level 0x85, a byte of padding, three bytes, padding
        + b"media"
        + b"\0\0\3"
    )
    packet = RtpPacket(data)
    assert packet.marker
    assert packet.payload_type == 96
    assert packet.timestamp == 0xFFFFFFFF
    assert packet.csrcs == (10, 11)
    assert packet.payload == b"media"
    assert packet.extension(1) == b"\x85"
    assert packet.extension(3) == b"\1\2\3"
    assert packet.extension(2) is None


def test_the_example_of_rfc_8285():
    """Section 4.2: elements of 1, 2 and 4 bytes with padding between and behind."""
    block = bytes.fromhex("10 aa 21 bbbb 00 00 33 cccccccc")
    packet = RtpPacket(build_rtp(96, 1, 2, 3, block, b"x"))
    assert [packet.extension(ident) for ident in (1, 2, 3)] == [b"\xaa", b"\xbb\xbb", b"\xcc" * 4]
    assert decode_extensions(ONE_BYTE, block) == [(1, b"\xaa"), (2, b"\xbb\xbb"), (3, b"\xcc" * 4)]


def test_the_two_byte_form():
    """Section 4.3: lengths of 0, 1 and 4, and ids up to 255."""
    block = bytes.fromhex("01 00 02 01 bb 00 ff 04 cccccccc")
    for profile in (TWO_BYTE, TWO_BYTE | 0xF):
        packet = RtpPacket(build_rtp(96, 1, 2, 3, block, b"x", profile))
        assert [packet.extension(ident) for ident in (1, 2, 255, 4)] == [b"", b"\xbb", b"\xcc" * 4, None]
        assert decode_extensions(profile, block) == [(1, b""), (2, b"\xbb"), (255, b"\xcc" * 4)]


def test_an_unknown_profile_has_no_elements():
    packet = RtpPacket(build_rtp(96, 1, 2, 3, b"\x10\xaa\0\0", b"x", 0x2000))
    assert packet.payload == b"x"
    assert packet.extension(1) is None
    assert decode_extensions(0x2000, b"\x10\xaa\0\0") == []


@pytest.mark.parametrize("block", ["f0 aa 10 bb", "02 aaaa 00 10 bb 00 00"])
def test_reserved_ids_end_a_block(block):
    """15, and 0 with a length."""
    packet = RtpPacket(build_rtp(96, 1, 2, 3, bytes.fromhex(block), b"x"))
    assert packet.extension(1) is None
    assert packet.extension(15) is None
    assert packet.extension(0) is None
    assert decode_extensions(ONE_BYTE, bytes.fromhex(block)) == []


@pytest.mark.parametrize(
    ("profile", "block"),
    [(ONE_BYTE, "10 aa 37 bb"), (TWO_BYTE, "01 01 aa 02"), (TWO_BYTE, "01 01 aa 00 02 03 bb bb")],
)
def test_an_element_that_lies_ends_the_block(profile, block):
    packet = RtpPacket(build_rtp(96, 1, 2, 3, bytes.fromhex(block), b"x" * 20, profile))
    assert packet.extension(1) == b"\xaa"
    assert packet.extension(2) is None
    assert packet.extension(3) is None
    with pytest.raises(ParseError):
        decode_extensions(profile, bytes.fromhex(block))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (PLAIN[:11], "shorter than a header"),
        (b"", "shorter than a header"),
        (b"\x00" + PLAIN[1:], "version"),
        (b"\x40" + PLAIN[1:], "version"),
        (b"\xc0" + PLAIN[1:], "version"),
        (b"\x8f" + PLAIN[1:], "beyond the end"),
        (b"\x90" + PLAIN[1:12] + b"\xbe\xde\0", "no room"),
        (b"\x90" + PLAIN[1:12] + b"\xbe\xde\0\1\0\0\0", "beyond the end"),
        (b"\xa0" + PLAIN[1:12] + b"abc\0", "padding"),
        (b"\xa0" + PLAIN[1:12] + b"abc\5", "padding"),
        (b"\xa0" + PLAIN[1:12], "padding"),
        (b"\xb0" + PLAIN[1:12] + b"\xbe\xde\0\1\x10\1\0\1", "padding"),
    ],
)
def test_lies_are_parse_errors(data, complaint):
    with pytest.raises(ParseError, match=complaint):
        RtpPacket(data)


def test_padding_alone():
    packet = RtpPacket(b"\xa0" + PLAIN[1:12] + bytes(254) + b"\xff")
    assert packet.payload == b""


def test_truncation_at_every_byte():
    block = element(1, b"\x85") + element(3, b"\1\2\3")
    whole = bytearray(build_rtp(96 | MARKER, 7, 8, 9, block, b"media"))
    for size in range(len(whole)):
        data = bytes(whole[:size])
        if size < 24:
            with pytest.raises(ParseError):
                RtpPacket(data)
        else:
            assert RtpPacket(data).payload == b"media"[: size - 24]


def test_building():
    assert build_rtp(111, 0x1234, 0x102, 0xDEADBEEF, b"", b"payload") == PLAIN
    data = build_rtp(96 | MARKER, 1, 2, 3, element(1, b"\x85"), b"x")
    assert data == bytes.fromhex("90e00001 00000002 00000003 bede0001 10850000 78")
    two = build_rtp(96, 1, 2, 3, element(200, b"\x85", True), b"x", TWO_BYTE)
    assert two == bytes.fromhex("90600001 00000002 00000003 10000001 c8018500 78")


def test_which_elements_need_the_two_byte_form():
    assert not needs_two_byte([(1, b"x"), (14, b"x" * 16)])
    assert needs_two_byte([(15, b"x")])
    assert needs_two_byte([(1, b"")])
    assert needs_two_byte([(1, b"x" * 17)])


def test_a_copy_is_independent():
    packet = RtpPacket(build_rtp(96 | MARKER, 1, 2, 3, element(1, b"\x85"), b"x"))
    packet.arrival = 4.5
    copy = packet.copy()
    copy.payload, copy.sequence, copy.timestamp, copy.payload_type = b"other", 9, 8, 7
    assert (packet.payload, packet.sequence, packet.timestamp, packet.payload_type) == (b"x", 1, 2, 96)
    assert (copy.ssrc, copy.marker, copy.arrival, copy.extension(1)) == (3, True, 4.5, None)


@given(
    two=st.booleans(),
    elements=st.lists(st.tuples(st.integers(1, 14), st.binary(min_size=1, max_size=16)), max_size=6),
    payload=st.binary(max_size=50),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
)
def test_what_is_built_is_read_again(two, elements, payload, sequence, timestamp, ssrc):
    profile = TWO_BYTE if two else ONE_BYTE
    block = b"".join([element(ident, value, two) for ident, value in elements])
    packet = RtpPacket(build_rtp(96, sequence, timestamp, ssrc, block, payload, profile))
    assert (packet.sequence, packet.timestamp, packet.ssrc, packet.payload) == (sequence, timestamp, ssrc, payload)
    first = {}
    for ident, value in elements:
        first.setdefault(ident, value)
    assert {ident: packet.extension(ident) for ident in first} == first
    assert decode_extensions(profile, block) == elements


@given(st.binary(max_size=80))
def test_random_bytes_never_break_it(data):
    extended = b"\x90\x60" + bytes(10)
    for start in (b"", b"\x80", b"\xbf", extended + b"\xbe\xde\0\4", extended + b"\x10\0\0\4"):
        try:
            packet = RtpPacket(start + data)
        except ParseError:
            continue
        for ident in range(17):
            value = packet.extension(ident)
            assert value is None or value in packet.data
