"""Streams that others send."""

from __future__ import annotations

import random
import zlib
from collections import deque

import pytest

from sansio import proto
from sansio.base import limits
from sansio.base.contract import INF
from sansio.base.errors import LocalProtocolError
from sansio.room.stream_in import SENDER_GRACE, IncomingStreams, StreamOpened, StreamReadable
from sansio.room.stream_info import StreamError, StreamFailure, TextStreamInfo

DataPacket, Stream = proto.models.DataPacket, proto.models.DataStream


def deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


class Hall:
    """Incoming streams, with short ways to feed them."""

    def __init__(self, **options):
        self.outbox = deque()
        self.held = 0
        self.streams = IncomingStreams(self.outbox, self._hold, **options)
        self.streams.listen(text=True, topic="t")
        self.streams.listen(text=False, topic="t")
        self.now = 0.0

    def _hold(self, size):
        hall = self
        hall.held += size

        class Hold:
            released = False

            def release(self):
                assert not self.released
                self.released = True
                hall.held -= size

        return Hold()

    def _packet(self, sender, **part):
        return DataPacket(participant_identity=sender, participant_sid=f"PA_{sender}", **part)

    def header(self, name="s", sender="bob", *, text=False, topic="t", **fields):
        header = Stream.Header(stream_id=name, topic=topic, **fields)
        (header.text_header if text else header.byte_header).SetInParent()
        self.streams.handle_header(self._packet(sender, stream_header=header), self.now)

    def open(self, name="s", sender="bob", **fields):
        """A stream that begins, as its reader gets it."""
        self.outbox.clear()
        self.header(name, sender, **fields)
        opened = self.outbox.popleft()
        assert isinstance(opened, StreamOpened)
        return opened.stream

    def chunk(self, index, content, name="s", sender="bob", version=0):
        chunk = Stream.Chunk(stream_id=name, chunk_index=index, content=content, version=version)
        self.streams.handle_chunk(self._packet(sender, stream_chunk=chunk), self.now)

    def trailer(self, name="s", sender="bob", **fields):
        trailer = Stream.Trailer(stream_id=name, **fields)
        self.streams.handle_trailer(self._packet(sender, stream_trailer=trailer), self.now)

    def read(self, stream):
        pieces = []
        while (piece := stream.read(self.now)) is not None:
            pieces.append(piece)
        return pieces

    def readable(self):
        """The streams that are said to be readable since the last call."""
        seen = [event.stream for event in self.outbox if isinstance(event, StreamReadable)]
        assert len(seen) == len(self.outbox)
        self.outbox.clear()
        return seen

    def counted(self):
        return self.streams.counters.snapshot()


@pytest.fixture
def hall():
    return Hall()


def failed(hall, stream):
    """What a stream gives before it fails, and why it does."""
    pieces = hall.read(stream)
    assert stream.done
    assert stream.error is not None
    assert hall.held == 0
    assert len(hall.streams) == 0
    return pieces, stream.error.failure


# ------------------------------------------------------------------ whole and sound


def test_a_stream_of_bytes(hall):
    stream = hall.open(total_length=6, attributes={"k": "v"}, mime_type="m", timestamp=3)
    assert (stream.identity, stream.sid, stream.info.size, stream.info.timestamp) == ("bob", "PA_bob", 6, 3)
    assert stream.read(0.0) is None
    assert not stream.done
    hall.chunk(0, b"abc")
    hall.chunk(1, b"")
    assert hall.readable() == [stream]
    assert hall.read(stream) == [b"abc"]
    hall.chunk(2, b"def")
    hall.trailer(attributes={"end": "yes"})
    assert hall.readable() == [stream]
    assert hall.read(stream) == [b"def"]
    assert stream.done
    assert stream.error is None
    assert stream.info.attributes == {"k": "v", "end": "yes"}
    assert "done" in repr(stream)
    assert (len(hall.streams), hall.held, hall.counted()) == (0, 0, {})
    assert hall.streams.advance(0.0) == INF


def test_a_stream_of_text_in_odd_places(hall):
    stream = hall.open(text=True)
    assert isinstance(stream.info, TextStreamInfo)
    data = "aä€😀".encode()
    for index in range(len(data)):
        hall.chunk(index, data[index : index + 1])
    hall.trailer()
    assert hall.read(stream) == ["a", "ä", "€", "😀"]
    assert stream.done
    assert stream.error is None


def test_an_inline_payload_is_the_whole_stream(hall):
    stream = hall.open(text=True, total_length=2, inline_content=b"hi")
    assert hall.read(stream) == ["hi"]
    assert stream.done
    stream = hall.open(total_length=0, inline_content=b"")
    assert hall.read(stream) == []
    assert stream.done
    assert stream.error is None
    data = bytes(200_000)
    stream = hall.open(total_length=200_000, inline_content=deflate(data), compression=Stream.DEFLATE_RAW)
    pieces = hall.read(stream)
    assert b"".join(pieces) == data
    assert max(len(piece) for piece in pieces) == limits.STREAM_INFLATE
    assert stream.error is None


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("size", [1, 7, 700, 15_000])
def test_compressed_chunks(hall, whole, size):
    data = noise(5_000).hex().encode() + bytes(150_000)
    packed = deflate(data)
    stream = hall.open(text=True, total_length=len(data), compression=Stream.DEFLATE_RAW)
    if whole:
        stream.gather(0.0)
    got = []
    for index, start in enumerate(range(0, len(packed), size)):
        hall.chunk(index, packed[start : start + size])
        if index % 3:
            got += hall.read(stream)
    hall.trailer()
    got += hall.read(stream)
    assert stream.error is None
    assert stream.done
    assert (stream.whole if whole else "".join(got)) == data.decode()
    assert (stream.whole is None) is not whole


def test_ids_belong_to_their_senders(hall):
    first, second = hall.open(sender="bob"), hall.open(sender="eve")
    hall.chunk(0, b"b", sender="bob")
    hall.chunk(0, b"e", sender="eve")
    hall.trailer(sender="eve", reason="mine")
    assert hall.read(first) == [b"b"]
    assert not first.done
    assert failed_of(hall, second) == ([b"e"], StreamFailure.ABORTED)


def failed_of(hall, stream):
    pieces = hall.read(stream)
    return pieces, stream.error.failure


# ------------------------------------------------------------------ as a whole


def test_read_as_a_whole(hall):
    stream = hall.open(text=True, total_length=5)
    hall.chunk(0, "aä".encode())
    hall.readable()
    stream.gather(1.0)
    assert not hall.streams._unread
    hall.chunk(1, b"")
    hall.chunk(2, b"bc")
    assert hall.readable() == []
    hall.trailer()
    assert hall.readable() == [stream]
    assert (stream.done, stream.error, stream.whole) == (True, None, "aäbc")
    assert (hall.streams.gathered, hall.held) == (0, 0)
    with pytest.raises(LocalProtocolError, match="as a whole"):
        stream.gather(1.0)


def test_the_rest_as_a_whole(hall):
    stream = hall.open(text=True, total_length=9)
    hall.chunk(0, "€".encode()[:2])
    hall.chunk(1, "€".encode()[2:] + b"abc")
    assert stream.read(0.0) == "€abc"
    hall.chunk(2, b"def")
    hall.trailer()
    stream.gather(0.0, limit=3)
    assert stream.whole == "def"
    packed = deflate(bytes(100_000))
    stream = hall.open(total_length=100_000, inline_content=packed, compression=Stream.DEFLATE_RAW)
    assert len(stream.read(0.0)) == limits.STREAM_INFLATE
    stream.gather(0.0)
    assert stream.whole == bytes(100_000 - limits.STREAM_INFLATE)


@pytest.mark.parametrize(("text", "rest"), [(True, ""), (False, b"")])
def test_nothing_is_left_of_what_was_read(hall, text, rest):
    stream = hall.open(text=text, inline_content=b"x")
    hall.read(stream)
    stream.gather(0.0)
    assert stream.whole == rest
    stream = hall.open(text=text, inline_content=b"x", total_length=5)
    hall.read(stream)
    stream.gather(0.0)
    assert stream.whole is None


def test_a_whole_is_limited(hall, monkeypatch):
    stream = hall.open()
    stream.gather(0.0, limit=5)
    hall.chunk(0, b"abc")
    hall.chunk(1, b"def")
    assert stream.error.failure is StreamFailure.TOO_LARGE
    assert stream.whole is None
    stream = hall.open(inline_content=b"abcdef")
    stream.gather(0.0, limit=5)
    assert stream.error.failure is StreamFailure.TOO_LARGE
    stream = hall.open()
    hall.chunk(0, b"abc")
    hall.chunk(1, b"def")
    stream.gather(0.0, limit=2)
    assert stream.error.failure is StreamFailure.TOO_LARGE
    # all of them together
    monkeypatch.setattr(limits, "STREAMS_WHOLE", 1000)
    first, second = hall.open("1"), hall.open("2")
    first.gather(0.0)
    second.gather(0.0)
    hall.chunk(0, bytes(600), "1")
    hall.chunk(0, bytes(600), "2")
    assert (first.error, second.error.failure) == (None, StreamFailure.TOO_LARGE)
    for index in range(1, 4):
        hall.chunk(index, b"", "1")
    assert first.error.failure is StreamFailure.TOO_LARGE  # tiny parts count as well
    assert hall.streams.gathered == 0


def test_what_swells_is_stopped_at_the_limit(hall):
    bomb = deflate(bytes(10_000_000))
    assert len(bomb) < 15_000
    stream = hall.open(inline_content=bomb, compression=Stream.DEFLATE_RAW)
    stream.gather(0.0, limit=1_000_000)
    assert stream.error.failure is StreamFailure.TOO_LARGE
    assert hall.streams.gathered == 0
    small = Hall(max_bytes=1_000_000)
    stream = small.open(inline_content=bomb, compression=Stream.DEFLATE_RAW)
    pieces, failure = failed(small, stream)
    assert failure is StreamFailure.TOO_LARGE
    assert sum(map(len, pieces)) < 1_000_000
    stream = small.open(total_length=1_000_001)
    assert failed(small, stream) == ([], StreamFailure.TOO_LARGE)
    stream = small.open()
    stream.gather(0.0, limit=2_000_000)
    small.chunk(0, bytes(1_000_001))
    small.trailer()
    assert stream.error.failure is StreamFailure.TOO_LARGE


def test_without_a_word_from_the_user_streams_are_limited_too(hall):
    stream = hall.open("1", total_length=limits.STREAM_BYTES + 1)
    assert failed(hall, stream) == ([], StreamFailure.TOO_LARGE)
    assert not hall.open("2", total_length=limits.STREAM_BYTES).done
    packer = zlib.compressobj(1, wbits=-15)
    pieces = [packer.compress(bytes(1 << 20)) for _ in range(limits.STREAM_WHOLE >> 20)]
    stream = hall.open("3", compression=Stream.DEFLATE_RAW)
    stream.gather(0.0)
    hall.chunk(0, b"".join(pieces) + packer.flush(zlib.Z_SYNC_FLUSH), "3")
    assert not stream.done
    hall.chunk(1, packer.compress(b"x") + packer.flush(), "3")
    assert stream.error.failure is StreamFailure.TOO_LARGE


def test_a_whole_that_becomes_longer_than_promised_is_ended_at_once(hall):
    stream = hall.open("1", total_length=5)
    stream.gather(0.0)
    hall.chunk(0, b"abc", "1")
    assert not stream.done
    hall.chunk(1, b"def", "1")
    assert stream.error.failure is StreamFailure.TOO_LONG
    stream = hall.open("2", total_length=limits.STREAM_INFLATE, compression=Stream.DEFLATE_RAW)
    stream.gather(0.0)
    hall.chunk(0, deflate(bytes(10_000_000)), "2")
    assert stream.error.failure is StreamFailure.TOO_LONG
    assert (hall.streams.gathered, hall.held) == (0, 0)


def test_a_whole_may_be_longer_than_promised_while_parts_are_replaced(hall):
    stream = hall.open(text=True, total_length=5)
    stream.gather(0.0)
    hall.chunk(0, b"abc")
    hall.chunk(0, b"abcdef", version=1)
    hall.chunk(0, b"abcde", version=2)
    hall.trailer()
    assert stream.whole == "abcde"


def test_a_whole_whose_replaced_parts_stay_too_long_fails_with_its_end(hall):
    stream = hall.open(text=True, total_length=5)
    stream.gather(0.0)
    hall.chunk(0, b"abc")
    hall.chunk(0, b"abcdef", version=1)
    assert not stream.done
    hall.trailer()
    assert stream.error.failure is StreamFailure.TOO_LONG
    assert (hall.streams.gathered, hall.held) == (0, 0)


def test_topics_of_the_core(hall):
    done = []
    hall.streams.intercept("rpc", lambda stream, now: done.append((stream, now)), 100)
    hall.now = 5.0
    hall.header("1", text=True, topic="rpc", inline_content=b"hello", attributes={"id": "7"})
    hall.header("2", text=True, topic="rpc")
    hall.chunk(0, bytes(101), "2")
    hall.header("3", text=True, topic="rpc", inline_content=b"\xff")
    hall.header("4", text=True, topic="rpc", inline_content=b"\xff\xff", compression=Stream.DEFLATE_RAW)
    hall.header("5", text=True, topic="rpc", inline_content=b"zz", compression=7)
    assert not hall.outbox
    assert [(one.info.stream_id, one.whole) for one, _ in done] == [
        ("1", "hello"),
        ("2", None),
        ("3", None),
        ("4", None),
        ("5", None),
    ]
    assert [one.error.failure.name for one, _ in done[1:]] == [
        "TOO_LARGE",
        "BAD_TEXT",
        "BAD_COMPRESSION",
        "BAD_COMPRESSION",
    ]
    assert {now for _, now in done} == {5.0}
    assert (hall.streams.gathered, hall.held) == (0, 0)


# ------------------------------------------------------------------ newer versions of parts


def test_a_newer_version_takes_the_place_of_an_unread_part(hall):
    stream = hall.open(text=True, total_length=10)
    hall.chunk(0, b"one ")
    hall.chunk(1, b"too ", version=1)
    hall.chunk(2, b"ab")
    hall.chunk(1, b"TWO ", version=1)
    hall.chunk(1, b"two ", version=2)
    hall.chunk(0, b"ONE ")
    hall.trailer()
    assert hall.read(stream) == ["one ", "two ", "ab"]
    assert stream.error is None
    assert hall.counted() == {"stream_chunk_duplicate": 2}
    assert hall.held == 0


def test_a_newer_version_of_what_was_read_is_too_late(hall):
    stream = hall.open(text=True)
    hall.chunk(0, b"one")
    assert hall.read(stream) == ["one"]
    hall.chunk(0, b"two", version=1)
    assert hall.read(stream) == []
    stream.gather(0.0)
    hall.chunk(0, b"two", version=1)
    hall.trailer()
    assert stream.whole == ""
    assert hall.counted() == {"stream_update_too_late": 2}


def test_a_newer_version_in_a_whole(hall):
    stream = hall.open(text=True)
    hall.chunk(0, b"one ")
    stream.gather(0.0)
    hall.chunk(1, b"two ")
    hall.chunk(2, b"three")
    hall.chunk(0, b"ONE ", version=1)
    hall.chunk(1, b"2 ", version=3)
    hall.chunk(1, b"old ", version=2)
    hall.trailer()
    assert stream.whole == "ONE 2 three"


def test_remembered_versions_are_limited(hall, monkeypatch):
    monkeypatch.setattr(limits, "STREAM_VERSIONS", 2)
    stream = hall.open(text=True)
    for index in range(4):
        hall.chunk(index, b"x")
    for index in range(3):
        hall.chunk(index, b"y", version=1)
    stream.gather(0.0)
    hall.chunk(3, b"y", version=1)
    hall.chunk(0, b"z", version=2)
    hall.trailer()
    assert stream.whole == "zyxx"
    assert hall.counted() == {"stream_update_refused": 2}


def test_compressed_parts_have_no_versions(hall):
    stream = hall.open(compression=Stream.DEFLATE_RAW)
    hall.chunk(0, deflate(b"abc"))
    hall.chunk(0, deflate(b"def"), version=1)
    hall.trailer()
    assert hall.read(stream) == [b"abc"]
    assert hall.counted() == {"stream_chunk_duplicate": 1}


# ------------------------------------------------------------------ broken


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("failure", "fields", "chunks", "before"),
    [
        (StreamFailure.INCOMPLETE, {"total_length": 5}, [(0, b"abc")], [b"abc"]),
        (StreamFailure.TOO_LONG, {"total_length": 2}, [(0, b"abc")], []),
        (StreamFailure.GAP, {}, [(0, b"abc"), (2, b"def")], [b"abc"]),
        (StreamFailure.BAD_COMPRESSION, {"compression": 9}, [], []),
        (StreamFailure.BAD_COMPRESSION, {"compression": 1}, [(0, b"\xff\xff")], []),
        (StreamFailure.BAD_COMPRESSION, {"compression": 1}, [(0, deflate(b"abc") + b"more")], []),
        (StreamFailure.BAD_COMPRESSION, {"compression": 1}, [(0, deflate(b"abc")), (1, b"more")], [b"abc"]),
        (StreamFailure.INCOMPLETE, {"compression": 1}, [(0, deflate(noise(99))[:-9])], None),
        (StreamFailure.BAD_TEXT, {"text": True}, [(0, b"abc"), (1, b"\xff")], ["abc"]),
        (StreamFailure.BAD_TEXT, {"text": True}, [(0, b"abc\xc3")], ["abc"]),
    ],
)
def test_failures(hall, whole, failure, fields, chunks, before):
    stream = hall.open(**fields)
    if whole and not stream.done:
        stream.gather(0.0)
    for index, content in chunks:
        hall.chunk(index, content)
    hall.trailer()
    pieces, why = failed(hall, stream)
    assert why is failure
    if not whole and before is not None:
        assert pieces == before
    assert stream.whole is None


def test_the_sender_gives_up(hall):
    stream = hall.open()
    hall.chunk(0, b"abc")
    hall.trailer(reason="changed my mind" * 100)
    assert failed(hall, stream) == ([b"abc"], StreamFailure.ABORTED)
    assert stream.error.detail == ("changed my mind" * 100)[:500]
    hall.chunk(1, b"late")
    hall.trailer()
    assert hall.counted() == {"stream_chunk_unknown": 1, "stream_trailer_unknown": 1}


def test_what_nobody_listens_for(hall):
    hall.header(topic="other")
    hall.header(text=True, topic="other")
    hall.chunk(0, b"x")
    hall.trailer()
    hall.streams.handle_header(DataPacket(stream_header=Stream.Header(stream_id="x", topic="t")), 0.0)
    assert not hall.outbox
    assert hall.counted() == {
        "stream_unheard": 2,
        "stream_chunk_unknown": 1,
        "stream_trailer_unknown": 1,
        "stream_bad_header": 1,
    }


def test_the_same_id_again(hall):
    stream = hall.open()
    hall.chunk(0, b"abc")
    hall.header(total_length=77)
    hall.chunk(1, b"def")
    hall.trailer()
    assert hall.read(stream) == [b"abc", b"def"]
    assert hall.counted() == {"stream_duplicate": 1}
    assert hall.open().info.size is None  # the id is free again


def test_streams_under_way_are_limited(hall, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_IN", 5)
    monkeypatch.setattr(limits, "STREAMS_PER_SENDER", 3)
    for number in range(5):
        hall.header(f"b{number}", "bob")
    for number in range(5):
        hall.header(f"e{number}", "eve")
    assert [event.stream.key for event in hall.outbox] == [
        ("bob", "b0"),
        ("bob", "b1"),
        ("bob", "b2"),
        ("eve", "e0"),
        ("eve", "e1"),
    ]
    assert hall.counted() == {"stream_refused": 5}
    hall.trailer("b1", "bob")
    hall.header("b5", "bob")
    assert hall.counted() == {"stream_refused": 5}
    assert hall.streams.diagnostics()["streams"] == 5


def test_topics(hall, monkeypatch):
    with pytest.raises(LocalProtocolError, match="text streams of the topic 't' have a handler"):
        hall.streams.listen(text=True, topic="t")
    with pytest.raises(LocalProtocolError, match="text streams of the topic 't' have a handler"):
        hall.streams.intercept("t", lambda stream, now: None, 1)
    hall.streams.unlisten(text=True, topic="t")
    hall.streams.unlisten(text=True, topic="unknown")
    hall.header("1", text=True)
    assert not hall.outbox
    assert hall.open("2")
    hall.streams.listen(text=True, topic="t")
    assert hall.open("3", text=True)
    monkeypatch.setattr(limits, "STREAM_TOPICS", 2)
    with pytest.raises(LocalProtocolError, match="2 topics"):
        hall.streams.listen(text=True, topic="u")


# ------------------------------------------------------------------ readers that do not read


def test_a_closed_stream_is_forgotten(hall):
    stream = hall.open()
    hall.chunk(0, b"abc")
    assert hall.held > 3
    stream.close(0.0)
    assert (stream.done, stream.error, hall.held, len(hall.streams)) == (True, None, 0, 0)
    stream.close(0.0)
    assert hall.read(stream) == []
    hall.chunk(1, b"def")
    assert hall.counted() == {"stream_chunk_unknown": 1}


def test_the_largest_stuck_stream_is_ended_when_too_much_waits(hall, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_UNREAD", 10_000)
    small, large = hall.open("s"), hall.open("l")
    hall.chunk(0, bytes(3_000), "s")
    hall.chunk(0, bytes(5_000), "l")
    assert hall.streams.advance(0.0) == INF
    hall.now = 7.0
    hall.chunk(1, bytes(3_000), "l")
    assert hall.streams.due == 7.0 + limits.STREAM_STALL
    assert hall.streams.advance(7.0) == 7.0 + limits.STREAM_STALL
    # whoever reads may take its time
    assert large.read(9.0) == bytes(5_000)
    assert hall.streams.advance(11.0) == INF
    hall.now = 12.0
    hall.chunk(2, bytes(3_000), "l")
    hall.chunk(3, bytes(3_000), "l")
    assert hall.streams.advance(12.0) == 16.0
    hall.outbox.clear()
    assert hall.streams.advance(16.0) == INF
    assert hall.read(large) == []
    assert large.error.failure is StreamFailure.OVERFLOW
    assert not small.done
    assert hall.read(small) == [bytes(3_000)]
    assert hall.counted() == {"stream_overflow": 1}


def test_a_reader_that_goes_on_reading_is_not_stuck(hall, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_UNREAD", 10_000)
    stream = hall.open()
    for index in range(8):
        hall.chunk(index, bytes(2_000))
    for second in range(3):
        assert stream.read(second * 3.0) is not None
        assert hall.streams.advance(second * 3.0) == max(second * 3.0, 0.0) + limits.STREAM_STALL
    hall.read(stream)
    assert hall.streams.advance(99.0) == INF


def test_tiny_parts_and_large_headers_count(hall, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_UNREAD", 10_000)
    for number in range(3):
        hall.header(f"h{number}", attributes={"k": "v" * 3_000})
    assert hall.streams.advance(0.0) == INF
    stream = hall.open("tiny")
    for index in range(1000 // limits.STREAM_PART_COST + 1):
        hall.chunk(index, b"", "tiny")
    assert hall.streams.advance(0.0) == limits.STREAM_STALL
    stream.close(0.0)
    assert hall.streams.advance(1.0) == INF


def test_what_is_read_does_not_count_any_more(hall):
    stream = hall.open()
    before = hall.streams.diagnostics()["unread"]
    for index in range(5):
        hall.chunk(index, bytes(1_000))
    assert hall.streams.diagnostics()["unread"] == before + 5 * (1_000 + limits.STREAM_PART_COST)
    hall.read(stream)
    assert not stream.done
    assert hall.streams.diagnostics()["unread"] == before


def test_streams_that_are_over_and_empty_count_until_they_are_read(hall, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_UNREAD", 100 * limits.STREAM_PART_COST)
    streams = []
    for number in range(100):
        streams.append(hall.open(f"{number}"))
        hall.trailer(f"{number}")
    assert (len(hall.streams), hall.streams.due) == (0, limits.STREAM_STALL)
    for stream in streams:
        assert stream.read(0.0) is None
        assert stream.done
    assert (hall.held, hall.streams.advance(0.0)) == (0, INF)


def test_what_a_trailer_says_counts_until_it_is_read(hall, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_UNREAD", 10_000)
    stream, whole = hall.open("s"), hall.open("w")
    whole.gather(0.0)
    hall.trailer("w", attributes={"k": "v" * 9_000})  # whoever has it all has to keep it
    hall.trailer("s", attributes={"k": "v" * 9_000})
    assert hall.held > 9_000
    assert hall.streams.due == INF
    hall.open("more", attributes={"k": "v" * 900})
    assert hall.streams.advance(0.0) == limits.STREAM_STALL
    assert hall.streams.advance(limits.STREAM_STALL) == INF
    assert stream.error.failure is StreamFailure.OVERFLOW
    assert hall.held < 1_000


# ------------------------------------------------------------------ who comes and goes


def test_a_sender_that_leaves_ends_its_streams_when_nothing_more_comes(hall):
    stream, other = hall.open(), hall.open(sender="eve")
    hall.streams.participant_left("bob", "PA_other", 0.0)  # an older session of the same name
    assert hall.streams.due == INF
    hall.streams.participant_left("bob", "PA_bob", 1.0)
    assert hall.streams.due == hall.streams.advance(1.0) == 1.0 + SENDER_GRACE
    hall.now = 2.0
    hall.chunk(0, b"was on its way")
    assert hall.streams.advance(1.0 + SENDER_GRACE) == 2.0 + SENDER_GRACE
    hall.streams.advance(2.0 + SENDER_GRACE)
    assert hall.read(stream) == [b"was on its way"]
    assert stream.error.failure is StreamFailure.SENDER_LEFT
    assert not other.done


def test_a_sender_that_leaves_after_its_last_word(hall):
    stream = hall.open()
    hall.streams.participant_left("bob", "PA_bob", 0.0)
    hall.chunk(0, b"all")
    hall.trailer()
    assert hall.streams.advance(9.0) == INF
    assert hall.read(stream) == [b"all"]
    assert stream.error is None


def test_a_sender_that_leaves_while_nothing_is_read(hall, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_UNREAD", 1000)
    stream = hall.open()
    hall.chunk(0, bytes(1000))
    hall.streams.participant_left("bob", "PA_bob", 0.0)
    assert stream.read(SENDER_GRACE) == bytes(1000)
    stream.read(SENDER_GRACE)
    hall.now = SENDER_GRACE
    hall.chunk(1, bytes(1000))
    assert hall.streams.advance(2 * SENDER_GRACE) == 2 * SENDER_GRACE + min(SENDER_GRACE, 2.0)
    assert not stream.done
    assert hall.read(stream) == [bytes(1000)]
    hall.streams.advance(4 * SENDER_GRACE)
    assert stream.done is False
    hall.read(stream)
    assert stream.error.failure is StreamFailure.SENDER_LEFT


def test_a_restart_ends_what_is_under_way(hall):
    stream = hall.open()
    whole = hall.open("w")
    whole.gather(0.0)
    hall.chunk(0, b"abc")
    hall.streams.restarted(0.0)
    assert failed(hall, stream) == ([b"abc"], StreamFailure.RECONNECTED)
    assert whole.error.failure is StreamFailure.RECONNECTED
    assert whole.whole is None
    assert isinstance(whole.error, StreamError)
