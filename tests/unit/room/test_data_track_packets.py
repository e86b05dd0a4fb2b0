"""Packets of data tracks, and frames put together again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sansio.base import limits
from sansio.base.counters import Counters
from sansio.base.errors import LocalProtocolError, ParseError
from sansio.room.data_track_packets import DataTrackFrame, Reassembler, decode_packet, encode_frame

RECORDED = bytes.fromhex("1c00 0030 0000 0000 bd0fd343 0002 0208 00000000075bcd15".replace(" ", "")) + b"0123456789"
"""As LiveKit's JavaScript client sends it, and the server hands it on."""


def pack(frame, payload, sequence=0, *, handle=1, stamp=None):
    return [decode_packet(data) for data in encode_frame(handle, sequence, frame, 0, payload, stamp)]


@pytest.fixture
def counters():
    return Counters()


@pytest.fixture
def reassembler(counters):
    return Reassembler(counters)


def test_a_recorded_packet():
    packet = decode_packet(RECORDED)
    assert (packet.start, packet.final, packet.handle, packet.sequence, packet.frame) == (True, True, 48, 0, 0)
    assert (packet.timestamp, packet.user_timestamp, packet.encrypted) == (0xBD0FD343, 123456789, False)
    assert packet.payload == b"0123456789"
    assert encode_frame(48, 0, 0, 0xBD0FD343, b"0123456789", 123456789) == [RECORDED]


def test_large_frames_are_split_as_others_do():
    sizes = [len(data) for data in encode_frame(1, 2, 2, 0, bytes(40_000), 7)]
    assert sizes == [16_000, 16_000, 8_072]
    packets = pack(2, bytes(40_000), 0xFFFF, stamp=7)
    assert [(packet.start, packet.final) for packet in packets] == [(True, False), (False, False), (False, True)]
    assert [packet.sequence for packet in packets] == [0xFFFF, 0, 1]
    assert {packet.user_timestamp for packet in packets} == {7}
    assert len(encode_frame(1, 0, 0, 0, b"", None)[0]) == 12


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "shorter"),
        (RECORDED[:11], "shorter"),
        (b"\x20" + RECORDED[1:], "version 1"),
        (RECORDED[:13], "no length"),
        (RECORDED[:20], "beyond the end"),
        (RECORDED[:12] + b"\0\0\1\xff" + bytes(9), "beyond the block"),
    ],
)
def test_what_is_no_packet(data, words):
    with pytest.raises(ParseError, match=words if len(data) > 13 or not data else None):
        decode_packet(data)


def test_extensions_that_are_not_ours():
    block = b"\7\2ab" + b"\1\x0d" + bytes(13) + b"\2\4abcd" + b"\0\0\0"
    packet = decode_packet(RECORDED[:12] + (len(block) // 4).to_bytes(2, "big") + block[:-2] + b"payload")
    assert packet.encrypted
    assert packet.user_timestamp is None


@settings(max_examples=60)
@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    st.integers(0, 40_000),
)
def test_round_trip(sequence, frame, stamp, size):
    payload = random.Random(size).randbytes(size)
    packets = pack(frame, payload, sequence, stamp=stamp)
    reassembler = Reassembler(Counters())
    frames = [reassembler.add(packet) for packet in packets]
    assert frames[:-1] == [None] * (len(packets) - 1)
    assert frames[-1] == DataTrackFrame(payload, stamp)


def test_what_cannot_be_sent():
    with pytest.raises(LocalProtocolError, match="64 bits"):
        encode_frame(1, 0, 0, 0, b"", -1)
    most = limits.DATA_TRACK_PACKETS * 15_988
    assert len(encode_frame(1, 0, 0, 0, bytes(most), None)) == limits.DATA_TRACK_PACKETS
    with pytest.raises(LocalProtocolError, match="put together again"):
        encode_frame(1, 0, 0, 0, bytes(most + 1), None)


# ------------------------------------------------------------------ reassembly


def test_packets_of_a_frame_in_any_order(reassembler, counters):
    packets = pack(5, bytes(60_000), 0xFFFE)
    order = [3, 0, 2, 0, 1]
    assert [reassembler.add(packets[index]) for index in order] == [None] * 4 + [DataTrackFrame(bytes(60_000))]
    assert counters.snapshot() == {"data_track_duplicate": 1}
    assert reassembler.add(packets[0]) is None
    assert counters["data_track_late"] == 1


def test_what_is_missing_is_told_by_the_next_frame(reassembler, counters):
    first, second, third, fourth = [
        pack(number & 0xFFFF, bytes(20_000), 2 * number) for number in range(0xFFFE, 0x10002)
    ]
    assert [reassembler.add(packet) for packet in first][1].lost == 0
    assert reassembler.add(second[0]) is None
    assert reassembler.add(third[0]) is None
    assert reassembler.add(second[1]) is None
    assert reassembler.add(third[1]).lost == 1
    (single,) = pack(9, b"x")
    assert reassembler.add(fourth[0]) is None
    assert reassembler.add(single).lost == 8
    assert counters.snapshot() == {"data_track_incomplete": 2, "data_track_late": 1}
    reassembler.reset()
    assert reassembler.add(pack(3, b"y")[0]).lost == 0


def test_a_small_older_frame_does_not_end_a_newer_one(reassembler):
    large = pack(7, bytes(20_000))
    assert reassembler.add(pack(5, b"five")[0]).payload == b"five"
    assert reassembler.add(large[0]) is None
    assert reassembler.add(pack(6, b"six")[0]).payload == b"six"
    assert reassembler.add(large[1]) == DataTrackFrame(bytes(20_000))


def test_one_frame_is_limited(reassembler, counters, monkeypatch):
    packets = pack(1, bytes(60_000))
    monkeypatch.setattr(limits, "DATA_TRACK_PACKETS", 3)
    assert [reassembler.add(packet) for packet in packets] == [None] * 4
    assert counters.snapshot() == {"data_track_too_large": 1}
    monkeypatch.setattr(limits, "DATA_TRACK_FRAME_BYTES", 20_000)
    packets = pack(2, bytes(30_000))
    assert [reassembler.add(packet) for packet in packets] == [None] * 2
    assert counters["data_track_too_large"] == 2
    assert reassembler.add(pack(3, b"z")[0]).lost == 0  # they were told as what they are


@pytest.mark.parametrize("stray", [7, 0xFFF0])
def test_packets_that_do_not_belong_together(reassembler, counters, stray):
    packets = pack(1, bytes(40_000))
    packets[1].sequence = stray
    assert [reassembler.add(packet) for packet in packets] == [None] * 3
    assert counters.snapshot() == {"data_track_disordered": 1}


def test_more_packets_than_the_frame_has(reassembler, counters):
    packets = pack(1, bytes(60_000))
    packets[3].sequence = 1
    packets[3].final = True
    extra = pack(1, bytes(60_000))[2]
    assert reassembler.add(extra) is None
    assert reassembler.add(packets[0]) is None
    assert reassembler.add(packets[3]) is None
    assert counters.snapshot() == {"data_track_disordered": 1}
