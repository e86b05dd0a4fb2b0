"""DCEP: the bytes of RFC 8832, round trips, truncation at every byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio.base.errors import ParseError
from sansio.sctp import dcep

LOSSY = bytes.fromhex("03 81 0000 00000000 0006 0000") + b"_lossy"
LIMIT = st.integers(0, 0xFFFFFFFF)
TEXT = st.text(max_size=20)


def test_the_lossy_channel_of_livekit():
    assert dcep.encode_open(dcep.Open("_lossy", "", False, 0, None, 0)) == LOSSY
    assert dcep.decode_message(LOSSY) == dcep.Open("_lossy", "", False, 0, None, 0)


def test_the_reliable_channel_of_livekit():
    assert (
        dcep.encode_open(dcep.Open("_reliable", "", True, None, None, 0))
        == bytes.fromhex("03 00 0000 00000000 0009 0000") + b"_reliable"
    )


def test_acknowledgement():
    assert dcep.ACK_MESSAGE == b"\x02"
    assert dcep.decode_message(dcep.ACK_MESSAGE) is None


@given(TEXT, TEXT, st.booleans(), st.none() | LIMIT, st.none() | LIMIT, st.integers(0, 65535))
def test_opens_round_trip(label, protocol, ordered, retransmits, lifetime, priority):
    if retransmits is not None:
        lifetime = None
    message = dcep.Open(label, protocol, ordered, retransmits, lifetime, priority)
    encoded = dcep.encode_open(message)
    assert dcep.decode_message(encoded) == message
    for size in range(len(encoded)):
        with pytest.raises(ParseError):
            dcep.decode_message(encoded[:size])


def test_nonsense():
    for data in (b"", b"\x04" + bytes(11), LOSSY + b"x", b"\x03\x03" + bytes(10), b"\x03\x7f" + bytes(10)):
        with pytest.raises(ParseError):
            dcep.decode_message(data)


def test_text_that_is_not_utf8():
    assert dcep.decode_message(b"\x03\0\0\0\0\0\0\0\0\1\0\1\xff\xfe").label == "\ufffd"
