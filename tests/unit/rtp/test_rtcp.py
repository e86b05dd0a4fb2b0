"""RTCP by hand from the RFCs' diagrams, round trips, truncation at every byte, lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio.base.errors import ParseError
from sansio.rtp.feedback import decode_arrivals
from sansio.rtp.rtcp import (
    CNAME,
    MID,
    ExtendedReport,
    FullIntra,
    Goodbye,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    decode_rtcp,
    encode_rtcp,
)

BLOCK = ReportBlock(0xA, 0x40, -2, 0x10005, 99, 0x12345678, 0x8000)

VECTORS = {
    "sender report": (
        "81c8000c 00000001 83aa7e80 40000000 00000102 00000003 00000004"
        "0000000a 40fffffe 00010005 00000063 12345678 00008000",
        SenderReport(1, 0x83AA7E8040000000, 0x102, 3, 4, (BLOCK,)),
    ),
    "empty receiver report": ("80c90001 00000001", ReceiverReport(1)),
    "receiver report": (
        "81c90007 00000001 0000000a 40fffffe 00010005 00000063 12345678 00008000",
        ReceiverReport(1, (BLOCK,)),
    ),
    "description": (
        "81ca0004 00000001 01046c69 76650f01 35000000",
        SourceDescription(((1, ((CNAME, b"live"), (MID, b"5"))),)),
    ),
    "description filled with a whole word": (
        "82ca0005 00000001 01026162 00000000 00000002 00000000",
        SourceDescription(((1, ((CNAME, b"ab"),)), (2, ()))),
    ),
    "goodbye": ("82cb0002 00000001 00000002", Goodbye((1, 2))),
    "goodbye with a reason": ("81cb0003 00000001 04646f6e 65000000", Goodbye((1,), b"done")),
    "nack": ("81cd0004 00000001 00000002 0064 8001 ffff 0001", Nack(1, 2, (100, 101, 116, 65535, 0))),
    "picture loss": ("81ce0002 00000001 00000002", PictureLoss(1, 2)),
    "full intra": ("84ce0004 00000001 00000000 00000002 07000000", FullIntra(1, ((2, 7),))),
    "estimate": ("8fce0005 00000001 00000000 52454d42 01 0bd090 00000002", Remb(1, 0x3D090 << 2, (2,))),
    "transport feedback": ("8fcd0003 00000001 00000002 01020304", TransportFeedback(1, 2, b"\1\2\3\4")),
    "reference time": ("80cf0004 00000001 04000002 83aa7e80 40000000", ExtendedReport(1, 0x83AA7E8040000000)),
    "answer to a reference time": (
        "80cf0005 00000001 05000003 00000002 7e804000 00008000",
        ExtendedReport(1, None, ((2, 0x7E804000, 0x8000),)),
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name):
    wire, packet = VECTORS[name]
    data = bytes.fromhex(wire)
    assert decode_rtcp(data) == [packet]
    assert type(decode_rtcp(data)[0]) is type(packet)
    assert encode_rtcp([packet]) == data


@pytest.mark.parametrize("name", VECTORS)
def test_truncation_at_every_byte(name):
    data = bytes.fromhex(VECTORS[name][0])
    for size in range(len(data)):
        with pytest.raises(ParseError):
            decode_rtcp(data[:size])


@pytest.mark.parametrize("name", VECTORS)
def test_a_length_cut_to_fit_never_breaks_it(name):
    """Whatever of the body is missing: known packets that are too short are errors or hold less."""
    data = bytes.fromhex(VECTORS[name][0])
    for words in range(len(data) // 4 - 1):
        short = data[:2] + words.to_bytes(2, "big") + data[4 : 4 + 4 * words]
        try:
            (packet,) = decode_rtcp(short) or (None,)
        except ParseError:
            continue
        if packet is not None:
            assert decode_rtcp(encode_rtcp([packet])) == [packet]


def test_a_compound():
    packets = [packet for _, packet in VECTORS.values()]
    data = encode_rtcp(packets)
    assert data == b"".join([bytes.fromhex(wire) for wire, _ in VECTORS.values()])
    assert decode_rtcp(data) == packets


def test_what_is_unknown_is_passed_over():
    application = bytes.fromhex("80cc0002 00000001 6e616d65")
    unknown = bytes.fromhex("80d20001 00000001")
    other_feedback = bytes.fromhex("83cd0002 00000001 00000002 82ce0002 00000001 00000002")
    other_estimate = bytes.fromhex("8fce0003 00000001 00000002 4e4f5045")
    last = bytes.fromhex("80c90001 00000009")
    assert decode_rtcp(application + unknown + other_feedback + other_estimate + last) == [ReceiverReport(9)]


def test_unknown_extended_blocks_are_passed_over():
    data = bytes.fromhex("80cf0006 00000001 01000001 aabbccdd 04000001 11111111 05000000")
    assert decode_rtcp(data) == [ExtendedReport(1)]
    assert encode_rtcp([ExtendedReport(1)]) == bytes.fromhex("80cf0001 00000001")


def test_both_extended_blocks_in_one():
    packet = ExtendedReport(1, 5, ((2, 3, 4), (5, 6, 7)))
    assert decode_rtcp(encode_rtcp([packet])) == [packet]


def test_padding_on_the_last_packet():
    data = bytes.fromhex("80c90001 00000001 a0c90002 00000002 00000004")
    assert decode_rtcp(data) == [ReceiverReport(1), ReceiverReport(2)]


def test_transport_feedback_of_the_real_server_is_filled_up_by_bytes():
    data = bytes.fromhex(
        "afcd000c f1e523bc 18a1c3f7 00000015 3d831500 200ce556 2002e700"
        "00000000 fa000000 00000107 00000000 00010c00 00000003"
    )
    (feedback,) = decode_rtcp(data)
    assert feedback == TransportFeedback(0xF1E523BC, 0x18A1C3F7, data[12:-3])
    assert len(decode_arrivals(feedback.body).deltas) == 21
    with pytest.raises(ParseError, match="padding"):
        decode_rtcp(data[:-1] + bytes([49]))


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        ("", "empty"),
        ("80c9", "shorter"),
        ("00c90001 00000001", "version"),
        ("80c90002 00000001", "beyond the end"),
        ("a0c90001 00000001 80c90001 00000001", "padding"),
        ("a0c90001 00000000", "padding"),
        ("a0c90001 00000003", "padding"),
        ("a0c90001 00000008", "padding"),
        ("a0c90000", "padding"),
        ("80c80005 00000001 83aa7e80 40000000 00000102 00000003", "ends early"),
        ("81c80006 00000001 83aa7e80 40000000 00000102 00000003 00000004", "blocks"),
        ("80c90000", "ends early"),
        ("82c90001 00000001", "blocks"),
        ("81ca0000", "ends early"),
        ("81ca0001 00000001", "without an end"),
        ("81ca0002 00000001 01020000", "without an end"),
        ("81ca0002 00000001 01016101", "item that ends early"),
        ("81ca0002 00000001 01096161", "item that reaches"),
        ("82cb0001 00000001", "goodbye"),
        ("81cb0002 00000001 05616161", "reason"),
        ("81cd0001 00000001", "feedback"),
        ("8fce0003 00000001 00000000 52454d42", "estimate"),
        ("8fce0004 00000001 00000000 52454d42 020bd090", "estimate"),
        ("80cf0000", "extended report that"),
        ("80cf0003 00000001 04000002 83aa7e80", "extended report block"),
    ],
)
def test_lies_are_parse_errors(wire, complaint):
    with pytest.raises(ParseError, match=complaint):
        decode_rtcp(bytes.fromhex(wire))


def test_a_chunk_that_fills_its_packet_without_room_for_zeros():
    # The packet ends in the middle of a word of zeros: padding was taken off it.
    data = bytes.fromhex("a1ca0003 00000001 01016100 00000004")
    assert decode_rtcp(data) == [SourceDescription(((1, ((1, b"a"),)),))]


def test_lost_counts_in_24_bits():
    for lost in (-0x800000, -1, 0, 1, 0x7FFFFF):
        packet = ReceiverReport(1, (ReportBlock(2, 0, lost, 0, 0, 0, 0),))
        assert decode_rtcp(encode_rtcp([packet])) == [packet]


def test_an_estimate_keeps_18_bits():
    for bitrate in (0, 1, 0x3FFFF, 0x40000, 123_456_789, 2**40):
        (packet,) = decode_rtcp(encode_rtcp([Remb(1, bitrate, (2, 3))]))
        assert packet.ssrcs == (2, 3)
        assert bitrate * (1 - 2**-17) <= packet.bitrate <= bitrate


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=40, unique=True))
def test_any_sequence_numbers_are_asked_for(sequences):
    (packet,) = decode_rtcp(encode_rtcp([Nack(1, 2, tuple(sequences))]))
    assert sorted(packet.sequences) == sorted(sequences)


def test_a_row_of_losses_is_short():
    assert len(encode_rtcp([Nack(1, 2, tuple([(65530 + place) & 0xFFFF for place in range(17)]))])) == 16
    assert decode_rtcp(encode_rtcp([Nack(1, 2, ())])) == [Nack(1, 2, ())]


@given(st.binary(max_size=100))
def test_random_bytes_give_packets_that_can_be_encoded(data):
    for kind in (200, 201, 202, 203, 205, 206, 207):
        for first in (0x80, 0x81, 0x84, 0x8F):
            body = data[: len(data) // 4 * 4]
            try:
                packets = decode_rtcp(bytes((first, kind)) + (len(body) // 4).to_bytes(2, "big") + body)
            except ParseError:
                continue
            assert decode_rtcp(encode_rtcp(packets)) == packets if packets else True
