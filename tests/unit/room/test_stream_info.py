"""What headers of streams say, and the errors of streams."""

from __future__ import annotations

import pickle

import pytest

from sansio import proto
from sansio.base.errors import ParseError
from sansio.room.stream_info import (
    ByteStreamInfo,
    StreamError,
    StreamFailure,
    TextOperation,
    TextStreamInfo,
    decode_header,
)

Stream = proto.models.DataStream


def test_text():
    header = Stream.Header(
        stream_id="a",
        timestamp=5,
        topic="t",
        mime_type="text/plain",
        total_length=0,
        attributes={"k": "v"},
        text_header=Stream.TextHeader(
            operation_type=Stream.UPDATE,
            version=2,
            reply_to_stream_id="b",
            attached_stream_ids=["c", "d"],
            generated=True,
        ),
    )
    assert decode_header(header) == TextStreamInfo(
        stream_id="a",
        topic="t",
        mime_type="text/plain",
        timestamp=5,
        size=0,
        attributes={"k": "v"},
        attachments=("c", "d"),
        reply_to_id="b",
        operation=TextOperation.UPDATE,
        version=2,
        generated=True,
    )


def test_bytes():
    header = Stream.Header(stream_id="a", byte_header=Stream.ByteHeader(name="f.bin"))
    assert decode_header(header) == ByteStreamInfo(stream_id="a", name="f.bin")
    assert decode_header(header).size is None


def test_an_unknown_operation_makes_a_text_all_the_same():
    header = Stream.Header(stream_id="a", text_header=Stream.TextHeader(operation_type=77))
    assert decode_header(header).operation is TextOperation.CREATE


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (Stream.Header(text_header=Stream.TextHeader()), "without id"),
        (Stream.Header(stream_id="a"), "neither text nor bytes"),
    ],
)
def test_headers_of_nothing(header, words):
    with pytest.raises(ParseError, match=words):
        decode_header(header)


@pytest.mark.parametrize("failure", list(StreamFailure))
def test_each_failure_says_why(failure):
    error = StreamError(failure)
    assert len(str(error)) > 30
    assert str(StreamError(failure, "their words")) == f"{error}: their words"
    again = pickle.loads(pickle.dumps(StreamError(failure, "x")))
    assert (again.failure, again.detail) == (failure, "x")
