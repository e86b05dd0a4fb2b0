"""Which codecs are the same, where key frames begin, and the few changes to payloads."""

from __future__ import annotations

import pytest

from sansio.sdp.media import Codec
from sansio.sfu.codecs import (
    VIDEO,
    common_codecs,
    move_vp8,
    red_primary,
    retype_red,
    rtx_type,
    same_codec,
    starts_keyframe,
    vp8_counters,
    vp8_header,
)


def h264(fmtp, payload_type=1):
    return Codec(payload_type, "H264", 90000, 1, fmtp)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (Codec(1, "VP8", 90000), Codec(2, "vp8", 90000), True),
        (Codec(1, "VP8", 90000), Codec(2, "VP9", 90000), False),
        (Codec(1, "opus", 48000, 2), Codec(2, "opus", 48000, 1), False),
        (Codec(1, "opus", 48000, 2), Codec(2, "opus", 16000, 2), False),
        (
            h264("packetization-mode=1;profile-level-id=42e01f"),
            h264("profile-level-id=42E034;packetization-mode=1"),
            True,
        ),
        (
            h264("packetization-mode=1;profile-level-id=42e01f"),
            h264("packetization-mode=0;profile-level-id=42e01f"),
            False,
        ),
        (
            h264("packetization-mode=1;profile-level-id=42e01f"),
            h264("packetization-mode=1;profile-level-id=640032"),
            False,
        ),
        (h264(""), h264("packetization-mode=0;profile-level-id=420010"), True),
        (Codec(1, "VP9", 90000), Codec(2, "VP9", 90000, 1, "profile-id=0"), True),
        (Codec(1, "VP9", 90000), Codec(2, "VP9", 90000, 1, "profile-id=2"), False),
        (Codec(1, "AV1", 90000), Codec(2, "AV1", 90000, 1, "level-idx=5;profile=0;tier=0"), True),
        (Codec(1, "AV1", 90000), Codec(2, "AV1", 90000, 1, "profile=1"), False),
    ],
)
def test_the_same_format(a, b, same):
    assert same_codec(a, b) is same
    assert same_codec(b, a) is same


def test_common_codecs_keep_the_offered_numbers_and_take_their_retransmissions_along():
    offered = (
        Codec(45, "AV1", 90000),
        Codec(46, "rtx", 90000, 1, "apt=45"),
        Codec(102, "VP8", 90000),
        Codec(103, "rtx", 90000, 1, "apt=102"),
        Codec(120, "ulpfec", 90000),
        Codec(121, "rtx", 90000, 1, "apt=120"),
    )
    assert [codec.payload_type for codec in common_codecs(offered, "video")] == [45, 102, 46, 103]
    assert [codec.payload_type for codec in common_codecs(offered, "video", "vp8")] == [102, 45, 46, 103]
    assert common_codecs(offered, "audio") == ()
    assert rtx_type(offered, 102) == 103
    assert rtx_type(offered, 120) == 121
    assert rtx_type(offered, 1) == 0
    assert common_codecs(VIDEO, "video")[0].name == "VP8"


@pytest.mark.parametrize(
    ("name", "payload", "begins"),
    [
        ("vp8", "", False),
        ("vp8", "10 00", True),
        ("vp8", "10 01", False),
        ("vp8", "00 00", False),
        ("vp8", "11 00", False),
        ("vp8", "10", False),
        ("vp8", "90 80 05 00", True),
        ("vp8", "90 80 85 05 01", False),
        ("vp8", "90 f0 85 05 07 20 00", True),
        ("vp8", "90 80", False),
        ("h264", "67", True),
        ("h264", "65", True),
        ("h264", "41", False),
        ("h264", "78 00 01 09 00 02 67 00", True),
        ("h264", "78 00 02 09 00 00 02 41 00", False),
        ("h264", "7c 85", True),
        ("h264", "7c 05", False),
        ("h264", "7c", False),
        ("vp9", "08", True),
        ("vp9", "48", False),
        ("vp9", "00", False),
        ("vp9", "88 05 00", True),
        ("vp9", "a8 85 05 00", True),
        ("vp9", "a8 85 05 02", False),
        ("vp9", "28 02", False),
        ("vp9", "28", False),
        ("av1", "08", True),
        ("av1", "88", False),
        ("av1", "00", False),
        ("h265", "26 01", True),
        ("h265", "40 01", True),
        ("h265", "02 01", False),
        ("h265", "60 01 00 04 40 01", True),
        ("h265", "60 01", False),
        ("h265", "62 01 93", True),
        ("h265", "62 01 13", False),
        ("h265", "62 01", False),
    ],
)
def test_where_key_frames_begin(name, payload, begins):
    assert starts_keyframe(name, bytes.fromhex(payload)) is begins


def test_the_counters_of_vp8():
    long = bytes.fromhex("90 f0 85 05 07 20 00")
    assert vp8_header(long) == 6
    assert vp8_counters(long) == (0x505, 7)
    moved = move_vp8(long, 3, 250)
    assert vp8_counters(moved) == (0x508, 1)
    assert (moved[:2], moved[5:]) == (long[:2], long[5:])
    assert vp8_counters(move_vp8(long, 0x7FFF, 0)) == (0x504, 7)
    short = bytes.fromhex("90 80 7f 00 00")
    assert vp8_counters(short) == (0x7F, -1)
    assert vp8_counters(move_vp8(short, 1, 1)) == (0, -1)
    base = bytes.fromhex("90 40 07 00 00")
    assert vp8_counters(base) == (-1, 7)
    assert vp8_counters(move_vp8(base, 1, 1)) == (-1, 8)
    none = bytes.fromhex("10 00 00 00 00")
    assert vp8_counters(none) == (-1, -1)
    assert move_vp8(none, 1, 1) is none
    assert vp8_counters(bytes.fromhex("90 00 00 00 00")) == (-1, -1)
    assert vp8_header(bytes.fromhex("90 00 00")) == 2


def test_redundant_audio():
    block = bytes([0x80 | 111, 0, 0, 2, 111]) + b"oldnew"[1:]
    # one older copy of two bytes, then the newest
    assert red_primary(bytes([0x80 | 111, 0, 0, 2, 111]) + b"XXnewest") == b"newest"
    assert red_primary(bytes([111]) + b"alone") == b"alone"
    assert red_primary(b"") is None
    assert red_primary(bytes([0x80 | 111, 0])) is None
    assert red_primary(bytes([0x80 | 111, 0, 3, 255, 111])) is None
    assert red_primary(bytes([0x80 | 111, 0, 0, 0])) is None
    moved = retype_red(block, 96)
    assert (moved[0], moved[4]) == (0x80 | 96, 96)
    assert moved[1:4] + moved[5:] == block[1:4] + block[5:]
    assert retype_red(bytes([0x80 | 111, 0, 0, 0]), 96) == bytes([0x80 | 96, 0, 0, 0])
