"""Both stream framings: any chunking gives the same messages, and what is kept is bounded."""

from __future__ import annotations

from collections.abc import Callable

from sansio.ice.framing import FrameReader, TurnReader, frame

MOST_KEPT = 20 + 0x10000 + 3


def one(data: bytes) -> None:
    sizes = [1 + data[at % len(data)] % 97 for at in range(7)] if data else [1]
    for make in (FrameReader, TurnReader):
        whole = make()
        messages = whole.feed(data)
        assert len(whole._kept) <= MOST_KEPT
        for chunks in ([1], sizes):
            reader = make()
            assert _chunked(reader.feed, data, chunks) == messages
            assert (reader._kept, reader.broken) == (whole._kept, whole.broken)
    for packet in FrameReader().feed(data):
        assert FrameReader().feed(frame(packet)) == [packet]
    for message in TurnReader().feed(data):
        assert len(message) % 4 == 0
        assert TurnReader().feed(message) == [message]


def _chunked(feed: Callable[[bytes], list[bytes]], data: bytes, sizes: list[int]) -> list[bytes]:
    found: list[bytes] = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += feed(data[at : at + size])
        at += size
        turn += 1
    return found
