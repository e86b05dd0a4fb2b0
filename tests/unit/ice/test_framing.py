from __future__ import annotations

import random

import pytest

from sansio.ice import stun
from sansio.ice.framing import LONGEST_FRAME, FrameReader, TurnReader, frame


def chunked(reader, data, sizes):
    found, at = [], 0
    for size in sizes:
        found += reader.feed(data[at : at + size])
        at += size
    return found + reader.feed(data[at:])


@pytest.mark.parametrize("seed", range(5))
def test_frames_come_out_whatever_the_chunks(seed):
    draw = random.Random(seed)
    packets = [draw.randbytes(draw.choice([1, 2, 20, 1200, 3000])) for _ in range(20)]
    data = b"".join([frame(packet) for packet in packets])
    assert FrameReader().feed(data) == packets
    assert chunked(FrameReader(), data, [1] * len(data)) == packets
    assert chunked(FrameReader(), data, [draw.randrange(1, 500) for _ in range(200)]) == packets


def test_frames_empty_and_longest():
    reader = FrameReader()
    assert reader.feed(b"\0\0" + frame(b"a") + b"\0\0") == [b"a"]
    longest = bytes(LONGEST_FRAME)
    assert reader.feed(frame(longest)) == [longest]
    assert not reader.broken


def messages(draw):
    found = []
    for _ in range(20):
        if draw.random() < 0.5:
            content = draw.randbytes(draw.randrange(40))
            found.append(stun.build(0x0017, draw.randbytes(12), [(stun.DATA, content)]))
        else:
            content = draw.randbytes(draw.randrange(40))
            head = (0x4000 + draw.randrange(0x1000)).to_bytes(2, "big") + len(content).to_bytes(2, "big")
            found.append(head + content + bytes(-len(content) % 4))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_turn_messages_come_out_whatever_the_chunks(seed):
    draw = random.Random(seed)
    wanted = messages(draw)
    data = b"".join(wanted)
    assert TurnReader().feed(data) == wanted
    assert chunked(TurnReader(), data, [1] * len(data)) == wanted
    assert chunked(TurnReader(), data, [draw.randrange(1, 90) for _ in range(100)]) == wanted


@pytest.mark.parametrize("wrong", [b"\x50\0\0\0", b"\xff\0\0\0", b"\x00\x01\x00\x03"])
def test_turn_stream_that_cannot_be_read_on(wrong):
    reader = TurnReader()
    good = b"\x40\x00\x00\x01a\0\0\0"
    assert reader.feed(good + wrong + good) == [good]
    assert reader.broken
    assert reader.feed(good) == []
