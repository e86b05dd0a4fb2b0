"""Streams that we send."""

from __future__ import annotations

import random
import zlib
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sansio import proto
from sansio.base import limits
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.wallclock import WallClock
from sansio.room import stream_out
from sansio.room.state import RoomState
from sansio.room.stream_info import StreamError, StreamFailure, TextOperation
from sansio.room.stream_out import OutgoingStreams

from .build import info, join

NEW = {"client_protocol": 2, "capabilities": [1, 2]}


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def make(*others):
    state = RoomState(deque())
    state.apply_join(join(*others))
    return OutgoingStreams(state, Entropy(b"streams"), WallClock(unix=1_700_000_000.0, now=10.0))


@pytest.fixture
def out():
    return make(info("old", "PA_old"))


def parts(packets):
    """Header, contents in order, trailer; checks ids and indices."""
    packets = list(packets)
    ids = {getattr(packet, packet.WhichOneof("value")).stream_id for packet in packets}
    assert len(ids) == 1
    header, trailer = packets[0].stream_header, packets[-1].stream_trailer
    chunks = [packet.stream_chunk for packet in packets[1:-1]]
    assert [chunk.chunk_index for chunk in chunks] == list(range(len(chunks)))
    assert all(len(chunk.content) <= 15_000 for chunk in chunks)
    return header, [chunk.content for chunk in chunks], trailer


# ------------------------------------------------------------------ written piece by piece


def test_a_text_written_in_pieces(out):
    stream = out.open_text(
        11.0,
        topic="t",
        attributes={"k": "v"},
        destination_identities=["old", "x"],
        reply_to_id="r",
        attachments=["a"],
        operation=TextOperation.UPDATE,
        version=3,
    )
    packets = [stream.header, *stream.write("part one "), *stream.write("äö"), *stream.finish({"end": "yes"})]
    assert all(packet.destination_identities == ["old", "x"] for packet in packets)
    header, contents, trailer = parts(packets)
    assert (header.topic, header.mime_type, dict(header.attributes)) == ("t", "text/plain", {"k": "v"})
    assert header.timestamp == 1_700_000_001_000
    assert not header.HasField("total_length")
    assert header.WhichOneof("content_header") == "text_header"
    assert header.text_header.attached_stream_ids == ["a"]
    assert (header.text_header.operation_type, header.text_header.version) == (1, 3)
    assert header.text_header.reply_to_stream_id == "r"
    assert contents == [b"part one ", "äö".encode()]
    assert (trailer.reason, dict(trailer.attributes)) == ("", {"end": "yes"})
    assert stream.sent == 13
    assert stream.closed
    assert not out.open


def test_ids_are_random_uuids_or_given(out):
    ids = {out.open_bytes(0.0).info.stream_id for _ in range(50)}
    assert len(ids) == 50
    for one in ids:
        assert [len(part) for part in one.split("-")] == [8, 4, 4, 4, 12]
        assert one[14] == "4"
        assert one[19] in "89ab"
    assert out.open_bytes(0.0, stream_id="mine").info.stream_id == "mine"


def test_bytes_of_a_known_size(out):
    stream = out.open_bytes(0.0, name="f", topic="t", mime_type="image/png", total_size=40_000)
    data = noise(40_000)
    header, contents, _ = parts([stream.header, *stream.write(memoryview(data)), *stream.finish()])
    assert (header.byte_header.name, header.mime_type, header.total_length) == ("f", "image/png", 40_000)
    assert [len(content) for content in contents] == [15_000, 15_000, 10_000]
    assert b"".join(contents) == data


@pytest.mark.parametrize("data", [b"abcd", bytearray(b"abcd"), memoryview(b"a-b-c-d-")[::2], memoryview(b"abcd")])
def test_bytes_of_any_kind(out, data):
    stream = out.open_bytes(0.0)
    assert [packet.stream_chunk.content for packet in stream.write(data)] == [b"abcd"]


def test_nothing_written_is_nothing_sent(out):
    assert list(out.open_bytes(0.0).write(b"")) == []
    assert list(out.open_text(0.0).write("")) == []


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 40_000))
def test_text_is_split_between_characters(width, lead, count):
    char = {1: "a", 2: "ä", 3: "€", 4: "😀"}[width]
    text = "a" * lead + char * count
    _, contents, _ = parts(make(info("old", "PA_old")).send_text(text, 0.0)[1])
    assert "".join([content.decode() for content in contents]) == text
    assert all(len(content) > 14_996 for content in contents[:-1])


def test_stopping_in_the_middle_loses_and_doubles_nothing(out):
    stream = out.open_bytes(0.0)
    data = noise(50_000)
    packets = stream.write(data)
    sent = [next(packets), next(packets)]  # the second was made, but is not counted as sent
    packets.close()
    assert stream.sent == 15_000
    sent[1:] = stream.write(data[stream.sent :])
    assert b"".join([packet.stream_chunk.content for packet in sent]) == data
    assert [packet.stream_chunk.chunk_index for packet in sent] == [0, 1, 2, 3]


def test_more_or_less_than_announced_is_refused(out):
    stream = out.open_bytes(0.0, total_size=10)
    list(stream.write(b"12345"))
    with pytest.raises(LocalProtocolError, match="announced with 10 bytes, but 5 were written"):
        stream.finish()
    with pytest.raises(LocalProtocolError, match="cannot have more"):
        stream.write(b"123456")
    list(stream.write(b"67890"))
    assert [packet.WhichOneof("value") for packet in stream.finish()] == ["stream_trailer"]


def test_aborted(out):
    stream = out.open_text(0.0, destination_identities=["old"])
    list(stream.write("x"))
    packet = stream.abort("no more")
    assert packet.stream_trailer == proto.models.DataStream.Trailer(stream_id=stream.info.stream_id, reason="no more")
    assert packet.destination_identities == ["old"]
    assert stream.abort("again") is None
    for act in (lambda: stream.write("x"), stream.finish, stream.check):
        with pytest.raises(LocalProtocolError, match="closed"):
            act()
    assert out.open_text(0.0).abort("").stream_trailer.reason == "aborted"  # without one it would be a good end


def test_a_restart_breaks_what_is_open(out):
    stream = out.open_text(0.0)
    writing = stream.write("x")
    next(writing)
    out.restarted()
    assert not out.open
    for act in (lambda: stream.write("x"), stream.finish, stream.check):
        with pytest.raises(StreamError) as caught:
            act()
        assert caught.value.failure is StreamFailure.RECONNECTED
    assert stream.abort("why") is None
    assert list(out.open_text(0.0).write("x"))


def test_a_restart_while_the_trailer_is_on_its_way(out):
    stream = out.open_text(0.0)
    ending = stream.finish()
    next(ending)
    out.restarted()
    assert list(ending) == []
    assert stream.closed


# ------------------------------------------------------------------ misuse


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"topic": 5}, "not the header of a stream"),
        ({"topic": "\ud800"}, "not the header of a stream"),
        ({"attributes": {"k": 5}}, "not the header of a stream"),
        ({"total_size": -1}, "not the header of a stream"),
        ({"destination_identities": "bob"}, "not one string"),
        ({"destination_identities": [5]}, "not the header of a stream"),
        ({"attributes": {"k": "v" * 15_000}}, "more than the 15000"),
    ],
)
def test_headers_that_cannot_be(out, arguments, words):
    for make_stream in (out.open_text, out.open_bytes):
        with pytest.raises(LocalProtocolError, match=words):
            make_stream(0.0, **arguments)
    assert not out.open


def test_kinds_do_not_mix(out):
    with pytest.raises(LocalProtocolError, match="takes str, not bytes"):
        out.open_text(0.0).write(b"x")
    with pytest.raises(LocalProtocolError, match="takes bytes, not str"):
        out.open_bytes(0.0).write("x")
    with pytest.raises(LocalProtocolError, match="takes str, not bytes"):
        out.send_text(b"x", 0.0)
    with pytest.raises(LocalProtocolError, match="takes bytes, not int"):
        out.send_bytes(5, 0.0)
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        out.send_text("\ud800", 0.0)
    with pytest.raises(LocalProtocolError, match="byte stream"):
        out.open_bytes(0.0, name=5)
    with pytest.raises(LocalProtocolError, match="text stream"):
        out.open_text(0.0, reply_to_id=5)
    with pytest.raises(LocalProtocolError, match="too large for one packet"):
        out.open_text(0.0).finish({"k": "v" * 15_000})


def test_open_streams_are_limited(out, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_OUT", 2)
    first = out.open_text(0.0)
    out.open_bytes(0.0)
    with pytest.raises(LocalProtocolError, match="2 streams of ours are open"):
        out.open_text(0.0)
    first.abort("room for others")
    out.open_text(0.0)


# ------------------------------------------------------------------ known as a whole


def one(packets):
    (packet,) = packets
    return packet.stream_header


def test_an_old_recipient_gets_the_old_form(out):
    header, contents, _ = parts(out.send_text("hi", 0.0, topic="t")[1])
    assert header.total_length == 2
    assert not header.HasField("inline_content")
    assert contents == [b"hi"]
    header, contents, _ = parts(out.send_bytes(b"", 0.0, name="n")[1])
    assert header.total_length == 0
    assert contents == []


def test_new_recipients_get_it_in_one_packet():
    out = make(info("new", "PA_new", **NEW))
    header = one(out.send_text("hi", 0.0, topic="t")[1])
    assert header.inline_content == b"hi"
    assert header.total_length == 2
    assert header.compression == proto.models.DataStream.NONE
    text = "compressible " * 5000
    stream, packets = out.send_text(text, 0.0)
    header = one(packets)
    assert header.compression == proto.models.DataStream.DEFLATE_RAW
    assert zlib.decompress(header.inline_content, wbits=-15).decode() == text
    assert header.total_length == stream.sent == stream.info.size == 65_000
    assert stream.closed
    header = one(out.send_bytes(b"", 0.0)[1])
    assert header.HasField("inline_content")
    header = one(out.send_bytes(bytes(1000), 0.0, compress=False)[1])
    assert header.compression == proto.models.DataStream.NONE
    assert not out.open


def test_what_does_not_fit_inside_is_chunked_and_compressed_if_that_helps():
    out = make(info("new", "PA_new", **NEW))
    data = noise(40_000)
    header, contents, _ = parts(out.send_bytes(data, 0.0)[1])
    assert header.compression == proto.models.DataStream.NONE
    assert not header.HasField("inline_content")
    assert b"".join(contents) == data
    digits = noise(30_000).hex().encode()
    stream, packets = out.send_bytes(digits, 0.0)
    header, contents, _ = parts(packets)
    assert header.compression == proto.models.DataStream.DEFLATE_RAW
    assert header.total_length == stream.sent == 60_000
    assert len(contents) == 3
    assert zlib.decompress(b"".join(contents), wbits=-15) == digits


def test_large_payloads_are_judged_by_a_sample():
    out = make(info("new", "PA_new", **NEW))
    data = noise(300_000)
    header, contents, _ = parts(out.send_bytes(data, 0.0)[1])
    assert header.compression == proto.models.DataStream.NONE
    assert b"".join(contents) == data
    digits = noise(200_000).hex()
    header, contents, _ = parts(out.send_text(digits, 0.0)[1])
    assert header.compression == proto.models.DataStream.DEFLATE_RAW
    assert zlib.decompress(b"".join(contents), wbits=-15).decode() == digits
    header, contents, _ = parts(out.send_text(digits, 0.0, compress=False)[1])
    assert header.compression == proto.models.DataStream.NONE
    assert b"".join(contents).decode() == digits


def test_who_has_to_understand_it():
    out = make(
        info("old", "PA_1", client_protocol=1, capabilities=[2]),
        info("plain", "PA_2", client_protocol=2),
        info("new", "PA_3", **NEW),
    )
    assert out.accepted([]) == (False, False)
    assert out.accepted(["old"]) == (False, False)
    assert out.accepted(["new"]) == (True, True)
    assert out.accepted(["new", "plain"]) == (True, False)
    assert out.accepted(["new", "nobody"]) == (False, False)
    assert make().accepted([]) == (True, True)
    assert one(out.send_text("a" * 500, 0.0, destination_identities=["plain"])[1]).inline_content == b"a" * 500


def test_a_stream_written_in_pieces_may_be_compressed():
    out = make(info("new", "PA_new", **NEW))
    digits = noise(100_000).hex().encode()
    stream = out.open_bytes(0.0, total_size=len(digits))
    out.compressing(stream, digits[:1000])
    packets = [stream.header]
    for start in range(0, len(digits), 50_000):
        writing = stream.write(digits[start : start + 50_000])
        packets += writing
    packets += stream.finish()
    header, contents, _ = parts(packets)
    assert header.compression == proto.models.DataStream.DEFLATE_RAW
    assert zlib.decompress(b"".join(contents), wbits=-15) == digits
    stream = out.open_bytes(0.0, total_size=1)
    out.compressing(stream, noise(1000))
    assert stream.header.stream_header.compression == proto.models.DataStream.NONE


def test_the_sample_is_smaller_than_what_is_compressed_at_once():
    assert stream_out.SAMPLE <= stream_out.AT_ONCE
