"""VP8 payloads: descriptors of RFC 7741 section 4.2 by hand, round trips, lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio.base.errors import ParseError
from sansio.rtp.payload import vp8

DESCRIPTORS = [
    "10",  # the shortest: a start
    "30",  # a picture that no other needs
    "90 80 11",  # a picture id of 7 bits
    "90 80 9711",  # of 15 bits
    "90 40 05",  # TL0PICIDX
    "90 20 40",  # TID
    "90 10 05",  # KEYIDX
    "90 e0 9711 05 60",  # as browsers send with temporal layers
    "90 f0 11 05 65",
    "90 00",
]


@pytest.mark.parametrize("head", DESCRIPTORS)
def test_descriptor(head):
    payload = bytes.fromhex(head)
    assert vp8.starts(payload + b"data")
    assert vp8.assemble([payload + b"data"]) == (b"data", True)
    for size in range(len(payload) + 1):
        with pytest.raises(ParseError):
            vp8.assemble([payload[:size], b"\0more"] if size == 0 else [payload[:size]])
    for size in range(len(payload) + 1):
        with pytest.raises(ParseError):
            vp8.assemble([b"\x10first", payload[:size]])


@pytest.mark.parametrize("first", [0x00, 0x11, 0x17, 0x80, 0x81, 0x20])
def test_what_does_not_start_a_frame(first):
    assert not vp8.starts(bytes((first, 0, 1, 2)))
    with pytest.raises(ParseError, match="beginning"):
        vp8.assemble([bytes((first, 0, 1, 2))])


def test_the_reserved_bit_does_not_matter():
    assert vp8.starts(b"\x18x")
    assert not vp8.starts(b"")


def test_key_frames():
    assert vp8.is_keyframe(b"\x10")
    assert not vp8.is_keyframe(b"\x11")
    assert not vp8.is_keyframe(b"")
    assert vp8.assemble([b"\x10\x01x"]) == (b"\x01x", False)


def test_packetize_by_hand():
    payloads = vp8.packetize(b"abcdefg", 4 + 3, 0x1234)
    assert payloads == [
        bytes.fromhex("90 80 9234") + b"abc",
        bytes.fromhex("80 80 9234") + b"def",
        bytes.fromhex("80 80 9234") + b"g",
    ]


@given(st.binary(min_size=1, max_size=400), st.integers(5, 120), st.integers(0, 0x7FFF))
def test_what_is_cut_is_put_together_again(frame, size, picture):
    payloads = vp8.packetize(frame, size, picture)
    assert max(map(len, payloads)) <= size
    assert max(map(len, payloads)) - min(map(len, payloads[:-1] or payloads)) <= 0
    assert [vp8.starts(payload) for payload in payloads] == [True] + [False] * (len(payloads) - 1)
    assert vp8.assemble(payloads) == (frame, vp8.is_keyframe(frame))


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_random_payloads_never_break_it(payloads):
    try:
        frame, keyframe = vp8.assemble([b"\x10" + payloads[0], *payloads[1:]])
    except ParseError:
        return
    assert vp8.is_keyframe(frame) == keyframe
