"""The Data Channel Establishment Protocol (RFC 8832): OPEN and ACK."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ..base.errors import ParseError

ACK = 2
OPEN = 3

RELIABLE = 0x00
REXMIT = 0x01
TIMED = 0x02
UNORDERED = 0x80

_OPEN = Struct(">BBHIHH")


class Open(NamedTuple):
    """DATA_CHANNEL_OPEN. ``max_retransmits`` and ``max_lifetime_ms`` are None unless the channel has that limit."""

    label: str
    protocol: str
    ordered: bool
    max_retransmits: int | None
    max_lifetime_ms: int | None
    priority: int


def decode_message(data: bytes) -> Open | None:
    """An OPEN, or None for an ACK. Texts that are not UTF-8 have their bad bytes replaced."""
    if not data:
        raise ParseError("empty DCEP message")
    if data[0] == ACK:
        return None
    if data[0] != OPEN or len(data) < _OPEN.size:
        raise ParseError("not a DCEP message")
    _, kind, priority, parameter, label_length, protocol_length = _OPEN.unpack_from(data)
    if len(data) != _OPEN.size + label_length + protocol_length:
        raise ParseError("DCEP lengths do not fit")
    reliability = kind & ~UNORDERED
    if reliability > TIMED:
        raise ParseError("unknown channel type")
    middle = _OPEN.size + label_length
    return Open(
        data[_OPEN.size : middle].decode("utf-8", "replace"),
        data[middle:].decode("utf-8", "replace"),
        not kind & UNORDERED,
        parameter if reliability == REXMIT else None,
        parameter if reliability == TIMED else None,
        priority,
    )


def encode_open(message: Open) -> bytes:
    """The bytes of an OPEN; label and protocol take at most 65535 bytes each."""
    kind, parameter = RELIABLE, 0
    if message.max_retransmits is not None:
        kind, parameter = REXMIT, message.max_retransmits
    elif message.max_lifetime_ms is not None:
        kind, parameter = TIMED, message.max_lifetime_ms
    if not message.ordered:
        kind |= UNORDERED
    label = message.label.encode()
    protocol = message.protocol.encode()
    return _OPEN.pack(OPEN, kind, message.priority, parameter, len(label), len(protocol)) + label + protocol


ACK_MESSAGE = bytes((ACK,))
