"""H.264 payloads: the structures of RFC 6184 section 5 by hand, round trips in both modes, lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio.base.errors import LocalProtocolError, ParseError
from sansio.rtp.payload import h264

CODE = h264.START_CODE
SPS, PPS, IDR, SLICE = b"\x67sps", b"\x68pps", b"\x65" + b"i" * 20, b"\x41" + b"p" * 20


def annexb(*units):
    return b"".join([CODE + unit for unit in units])


def test_units_of_an_access_unit():
    assert h264.split(annexb(SPS, PPS, IDR)) == [SPS, PPS, IDR]
    assert h264.split(b"\0\0\1" + SPS + b"\0\0\1" + PPS) == [SPS, PPS]
    assert h264.split(b"\0\0\0\0\1" + SPS + b"\0\0\0\0" + CODE + CODE + PPS + b"\0") == [SPS, PPS]
    assert h264.split(b"junk") == []
    assert h264.split(b"") == []


def test_key_frames():
    assert h264.is_keyframe(h264.split(annexb(SPS, PPS, IDR)))
    assert h264.is_keyframe([SPS, IDR])
    assert not h264.is_keyframe([SLICE])
    assert not h264.is_keyframe([])


def test_single_units():
    assert h264.assemble([SLICE]) == (annexb(SLICE), False)
    assert h264.assemble([SPS, PPS, IDR]) == (annexb(SPS, PPS, IDR), True)


def test_an_aggregate():
    payload = b"\x78" + b"\0\4" + SPS + b"\0\4" + PPS + b"\0\x15" + IDR
    assert h264.assemble([payload]) == (annexb(SPS, PPS, IDR), True)
    assert h264.packetize([SPS, PPS, IDR], 100, 1) == [payload]


def test_fragments():
    unit = b"\x65" + bytes(range(1, 11))
    payloads = [b"\x7c\x85" + unit[1:5], b"\x7c\x05" + unit[5:9], b"\x7c\x45" + unit[9:]]
    assert h264.assemble(payloads) == (annexb(unit), True)
    assert h264.packetize([unit], 6, 1) == payloads
    assert h264.assemble([b"\x5c\x81ab", b"\x5c\x41c"]) == (annexb(b"\x41abc"), False)


def test_what_starts_for_certain():
    assert h264.starts(SPS)
    assert h264.starts(b"\x09\x10")
    assert h264.starts(b"\x78\0\4" + SPS)
    assert not h264.starts(b"\x78\0\4" + PPS)
    assert not h264.starts(b"\x78\0\4")
    assert not h264.starts(IDR)
    assert not h264.starts(b"\x7c\x87x")
    assert not h264.starts(b"")


@pytest.mark.parametrize(
    ("payloads", "complaint"),
    [
        ([b"\x7c\x85"], "empty fragment"),
        ([b"\x7c"], "empty fragment"),
        ([b"\x7c\x05xx"], "without a beginning"),
        ([b"\x7c\x85xx"], "do not end"),
        ([b"\x7c\x85xx", SLICE], "do not end"),
        ([b"\x7c\x85xx", b"\x7c\x85xx"], "begin twice"),
        ([b"\x7c\xc5xx"], "begin twice"),
        ([b"\x78"], "empty aggregate"),
        ([b"\x78\0"], "lies"),
        ([b"\x78\0\0"], "lies"),
        ([b"\x78\0\5abc"], "lies"),
        ([b"\x78\0\1a\0\4"], "lies"),
        ([b"\x79ab"], "not negotiated"),
        ([b"\x7dab"], "not negotiated"),
        ([b"\x60ab"], "not negotiated"),
        ([b"\x7fab"], "not negotiated"),
    ],
)
def test_lies(payloads, complaint):
    with pytest.raises(ParseError, match=complaint):
        h264.assemble(payloads)


def test_mode_0_takes_whole_units_only():
    assert h264.packetize([SPS, PPS, IDR], 30, 0) == [SPS, PPS, IDR]
    with pytest.raises(LocalProtocolError, match="more than 20 bytes"):
        h264.packetize([SPS, IDR], 20, 0)


def test_a_frame_without_units():
    for mode in (0, 1):
        with pytest.raises(LocalProtocolError, match="start codes"):
            h264.packetize(h264.split(b"\x65abc"), 100, mode)


def test_small_units_share_packets_and_large_ones_are_cut():
    sei = b"\x06" + b"s" * 9
    payloads = h264.packetize([SPS, PPS, b"\x65" + b"i" * 99, sei, b"\x41" + b"p" * 28, sei], 40, 1)
    kinds = [payload[0] & 0x1F for payload in payloads]
    assert kinds == [24, 28, 28, 28, 6, 1, 6]
    assert all(len(payload) <= 40 for payload in payloads)


unit = st.tuples(
    st.sampled_from([0x41, 0x65, 0x67, 0x68, 0x06]),
    st.binary(max_size=150).map(lambda body: body.replace(b"\0", b"\x80")),
).map(lambda parts: bytes((parts[0],)) + parts[1])


@given(st.lists(unit, min_size=1, max_size=6), st.integers(10, 90))
def test_what_is_cut_is_put_together_again(units, size):
    payloads = h264.packetize(units, size, 1)
    assert max(map(len, payloads)) <= size
    assert h264.assemble(payloads) == (annexb(*units), any(each[0] == 0x65 for each in units))


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4))
def test_random_payloads_never_break_it(payloads):
    try:
        frame, _ = h264.assemble(payloads)
    except ParseError:
        return
    assert frame.startswith(CODE)
