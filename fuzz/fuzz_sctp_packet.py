"""SCTP packets: what is accepted is the same after being encoded anew, down to the parameters."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.base.limits import SCTP_CHUNKS, SCTP_PARAMETERS
from sansio.sctp import chunks

BODIES = {
    chunks.INIT: (chunks.decode_init, chunks.encode_init),
    chunks.INIT_ACK: (chunks.decode_init, chunks.encode_init),
    chunks.SACK: (chunks.decode_sack, chunks.encode_sack),
    chunks.FORWARD_TSN: (chunks.decode_forward_tsn, chunks.encode_forward_tsn),
    chunks.RE_CONFIG: (chunks.decode_parameters, chunks.encode_parameters),
    chunks.HEARTBEAT: (chunks.decode_parameters, chunks.encode_parameters),
}
PARAMETERS = {
    chunks.OUTGOING_RESET: (chunks.decode_reset_request, chunks.encode_reset_request),
    chunks.RESET_RESPONSE: (chunks.decode_reset_response, chunks.encode_reset_response),
}


def one(data: bytes) -> None:
    try:
        packet = chunks.decode_packet(data)
    except ParseError:
        return
    assert len(packet.chunks) <= SCTP_CHUNKS
    encoded = chunks.encode_packet(packet)
    assert chunks.decode_packet(encoded) == packet
    assert len(data) <= len(encoded) <= len(data) + 3
    sealed = chunks.with_checksum(encoded[:8] + bytes(4) + encoded[12:])
    assert chunks.checksum(sealed) == int.from_bytes(sealed[8:12], "little")
    for kind, _, body in packet.chunks:
        assert len(chunks.describe_causes(body)) < 1000
        if kind not in BODIES:
            continue
        decode, encode = BODIES[kind]
        try:
            value = decode(body)
        except ParseError:
            continue
        assert decode(encode(value)) == value
        if kind == chunks.RE_CONFIG:
            assert len(value) <= SCTP_PARAMETERS
            for parameter, content in value:
                if parameter in PARAMETERS:
                    _again(*PARAMETERS[parameter], content)


def _again(decode, encode, content: bytes) -> None:
    try:
        value = decode(content)
    except ParseError:
        return
    assert decode(encode(value)) == value
