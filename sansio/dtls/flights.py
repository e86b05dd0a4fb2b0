"""Handshake flights: from the records that an engine wrote to datagrams of our size, as often as we like.

OpenSSL writes a flight as one run of records and retransmits on a clock of its own. To resend under our timers we
take the flight apart into handshake messages and make new records of them: epoch 0 gets fresh sequence numbers, since a
repeated one is a replay to the peer (RFC 6347 section 4.1.2.6), and fragments that fit our MTU (section 4.2.3).
Encrypted records cannot be remade; they are repeated byte for byte, and a peer that already has one drops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from ..base.errors import ParseError
from ..base.limits import DTLS_RECORDS

CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23

VERSION = 0xFEFD
"""DTLS 1.2."""
RECORD_HEADER = 13
MESSAGE_HEADER = 12
LEAST_FRAGMENT = 32
"""Bytes of a message below which filling up a datagram is not worth a record of its own."""

read_record = Struct("!BBBHHIH").unpack_from
"""Content type, version (two bytes), epoch, sequence number (16 and 32 bits), length."""
pack_record = Struct("!BHQH").pack
"""Content type, version, epoch and sequence number, length."""


def split_records(data: bytes) -> tuple[list[tuple[int, int, int, int]], bool]:
    """The records of a datagram as (content type, epoch, start, end), and whether the datagram had nothing else.

    Reading stops at the first byte that cannot begin a DTLS record, and at ``DTLS_RECORDS`` records.
    """
    records: list[tuple[int, int, int, int]] = []
    start, size = 0, len(data)
    while start + RECORD_HEADER <= size and len(records) < DTLS_RECORDS:
        content, major, _, epoch, _, _, length = read_record(data, start)
        end = start + RECORD_HEADER + length
        if end > size or major != 0xFE or not CHANGE_CIPHER_SPEC <= content <= APPLICATION_DATA:
            break
        records.append((content, epoch, start, end))
        start = end
    return records, start == size


class Fragment(NamedTuple):
    """A piece of a handshake message, as it stands in a record (RFC 6347 section 4.2.2)."""

    kind: int
    length: int
    """Of the whole message."""
    seq: int
    offset: int
    body: bytes


def parse_fragments(data: bytes, start: int, end: int) -> list[Fragment]:
    """The fragments in the body of one unencrypted handshake record: usually one. Raises ParseError."""
    fragments = []
    while start < end:
        body = start + MESSAGE_HEADER
        if body > end:
            raise ParseError("handshake header")
        kind = data[start]
        length = int.from_bytes(data[start + 1 : start + 4], "big")
        seq = int.from_bytes(data[start + 4 : start + 6], "big")
        offset = int.from_bytes(data[start + 6 : start + 9], "big")
        start = body + int.from_bytes(data[start + 9 : body], "big")
        if start > end or offset + start - body > length:
            raise ParseError("handshake fragment")
        fragments.append(Fragment(kind, length, seq, offset, data[body:start]))
    if not fragments:
        raise ParseError("empty handshake record")
    return fragments


def pack_fragment(piece: Fragment) -> bytes:
    """The body of a handshake record with one fragment."""
    return b"%c%b%b%b%b%b" % (
        piece.kind,
        piece.length.to_bytes(3, "big"),
        piece.seq.to_bytes(2, "big"),
        piece.offset.to_bytes(3, "big"),
        len(piece.body).to_bytes(3, "big"),
        piece.body,
    )


class Message(NamedTuple):
    """A whole handshake message that is sent in the clear."""

    version: int
    kind: int
    seq: int
    body: bytes


class Plain(NamedTuple):
    """An unencrypted record that is not a handshake message: ChangeCipherSpec or an alert."""

    version: int
    content: int
    body: bytes


class Sealed(NamedTuple):
    """An encrypted record with its header, in practice Finished or an alert."""

    record: bytes


Part = Message | Plain | Sealed


def parse_flight(data: bytes) -> list[Part]:
    """The parts of the records that an engine wrote, fragments put together again. Raises ParseError."""
    parts: list[Part] = []
    open_message: Message | None = None  # with the bytes so far as its body
    open_length = 0
    start, size = 0, len(data)
    while start < size:
        if start + RECORD_HEADER > size:
            raise ParseError("record header")
        content, major, minor, epoch, _, _, length = read_record(data, start)
        body = start + RECORD_HEADER
        end = body + length
        if end > size:
            raise ParseError("record length")
        version = major << 8 | minor
        if epoch:
            parts.append(Sealed(data[start:end]))
        elif content == HANDSHAKE:
            for piece in parse_fragments(data, body, end):
                message = open_message or Message(version, piece.kind, piece.seq, b"")
                if (message.kind, message.seq, len(message.body)) != (piece.kind, piece.seq, piece.offset) or (
                    open_message is not None and piece.length != open_length
                ):
                    raise ParseError("fragments out of order")
                message = Message(message.version, piece.kind, piece.seq, message.body + piece.body)
                open_message, open_length = message, piece.length
                if len(message.body) == piece.length:
                    parts.append(message)
                    open_message = None
        elif content in (CHANGE_CIPHER_SPEC, ALERT):
            parts.append(Plain(version, content, data[body:end]))
        else:
            raise ParseError("content type")
        start = end
    if open_message is not None:
        raise ParseError("incomplete message")
    return parts


def pack_flight(parts: Sequence[Part], mtu: int, seq: int) -> tuple[list[bytes], int]:
    """Datagrams of at most ``mtu`` bytes with records numbered from ``seq`` in epoch 0, and the next free number.

    Messages are fragmented only when they do not fit a datagram of their own; an encrypted record longer than the MTU
    goes out as it is.
    """
    datagrams: list[bytes] = []
    current = b""
    for part in parts:
        if isinstance(part, Message):
            offset, length = 0, len(part.body)
            while True:
                room = mtu - len(current) - RECORD_HEADER - MESSAGE_HEADER
                left = length - offset
                whole_later = left <= mtu - RECORD_HEADER - MESSAGE_HEADER
                if left > room and current and (whole_later or room < LEAST_FRAGMENT):
                    datagrams.append(current)
                    current = b""
                    continue
                piece = part.body[offset : offset + room] if left else b""
                current += pack_record(HANDSHAKE, part.version, seq, MESSAGE_HEADER + len(piece))
                current += pack_fragment(Fragment(part.kind, length, part.seq, offset, piece))
                seq += 1
                offset += len(piece)
                if offset == length:
                    break
            continue
        if isinstance(part, Plain):
            record = pack_record(part.content, part.version, seq, len(part.body)) + part.body
            seq += 1
        else:
            record = part.record
        if current and len(current) + len(record) > mtu:
            datagrams.append(current)
            current = b""
        current += record
    if current:
        datagrams.append(current)
    return datagrams, seq


def last_message(parts: Sequence[Part]) -> int:
    """Sequence number of the last handshake message in the clear, -1 when there is none."""
    return max((part.seq for part in parts if isinstance(part, Message)), default=-1)


def changes_cipher(parts: Sequence[Part]) -> bool:
    """Whether this is the last flight of its sender: it ends with ChangeCipherSpec and Finished."""
    return any(isinstance(part, Plain) and part.content == CHANGE_CIPHER_SPEC for part in parts)


def new_parts(parts: Sequence[Part], stored: Sequence[Part]) -> list[Part]:
    """What an engine has written beyond a repetition of the stored flight.

    OpenSSL retransmits of its own accord when its clock says so, and may go on with the next flight in the same run.
    A flight that changes the cipher is the last one, so all that follows it is repetition.
    """
    if changes_cipher(stored):
        return []
    last = last_message(stored)
    return [part for part in parts if not isinstance(part, Message) or part.seq > last]
