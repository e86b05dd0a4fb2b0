"""RED: the layout of RFC 2198 section 3 by hand, round trips, lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio.base.errors import ParseError
from sansio.base.limits import RED_BLOCKS
from sansio.rtp.payload.red import MOST_COPY, MOST_OFFSET, decode_red, encode_red, primary

# Type 111 960 units ago with 3 bytes, then the frame of type 111.
WIRE = bytes.fromhex("ef 0f0003 6f") + b"old" + b"frame"


def test_one_copy():
    assert decode_red(WIRE) == [(111, 960, b"old"), (111, 0, b"frame")]
    assert encode_red(111, b"frame", [(960, b"old")]) == WIRE
    assert primary(WIRE) == b"frame"


def test_no_copy():
    assert decode_red(b"\x6fframe") == [(111, 0, b"frame")]
    assert encode_red(111, b"frame", []) == b"\x6fframe"
    assert primary(b"\x6fframe") == b"frame"
    assert primary(b"\x6f") == b""


def test_the_largest_copy():
    copies = [(MOST_OFFSET, bytes(MOST_COPY)), (1, b"")]
    payload = encode_red(0, b"x", copies)
    assert decode_red(payload) == [(0, *copy) for copy in copies] + [(0, 0, b"x")]
    assert primary(payload) == b"x"


def test_truncation_at_every_byte():
    for size in range(8):
        with pytest.raises(ParseError):
            decode_red(WIRE[:size])
        assert primary(WIRE[:size]) is None
    assert decode_red(WIRE[:8])[-1] == (111, 0, b"")


def test_too_many_blocks():
    payload = encode_red(111, b"x", [(place, b"") for place in range(RED_BLOCKS)])
    assert len(decode_red(payload)) == RED_BLOCKS + 1
    with pytest.raises(ParseError, match="too many"):
        decode_red(encode_red(111, b"x", [(place, b"") for place in range(RED_BLOCKS + 1)]))


@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, MOST_OFFSET), st.binary(max_size=60)), max_size=RED_BLOCKS),
    st.integers(0, 127),
)
def test_what_is_built_is_read_again(frame, copies, kind):
    payload = encode_red(kind, frame, copies)
    assert decode_red(payload) == [*[(kind, *copy) for copy in copies], (kind, 0, frame)]
    assert primary(payload) == frame


@given(st.binary(max_size=60))
def test_both_readers_agree(payload):
    try:
        expected = decode_red(payload)[-1][2]
    except ParseError as error:
        if "too many" not in str(error):
            assert primary(payload) is None
    else:
        assert primary(payload) == expected
