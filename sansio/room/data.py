"""Data packets: encoding and decoding, numbering, duplicates, and what is kept to be sent again after a resume.

Reliable packets are numbered 1, 2, 3, ... by their sender, over all receivers, so a gap means nothing. The number
guards against packets that the server repeats around a join or a resume: a number not above the last one of the same
session (``participant_sid``) is a duplicate. Packets of the server API have neither sender nor number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from .. import proto
from ..base import limits
from ..base.counters import Counters
from ..base.errors import LocalProtocolError, ParseError
from ..events import DataReceived
from ..types import EncryptionType

if TYPE_CHECKING:
    from ..proto import models
    from .state import RoomState


def decode_data_packet(data: bytes) -> models.DataPacket:
    """A message of the channels ``_reliable`` and ``_lossy``. Raises ParseError."""
    try:
        return proto.models.DataPacket.FromString(data)
    except proto.DecodeError as error:
        raise ParseError(f"not a data packet: {error}") from None


_SEQUENCE_TAG = b"\x80\x01"
"""Field 16 (sequence) as a varint; appended to an encoded packet it counts as part of it."""
_SEQUENCE_BYTES = 7
"""The most that a number takes."""

Handler: TypeAlias = "Callable[[models.DataPacket, float], None]"
"""Takes packets of one payload, with the time."""


def _sequence(number: int) -> bytes:
    if number < 1 << 14:  # the loop takes four times as long
        return bytes((128, 1, number & 127 | 128, number >> 7)) if number > 127 else bytes((128, 1, number))
    encoded = bytearray(_SEQUENCE_TAG)
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


class DataSender:
    """Encodes data packets, numbers the reliable ones, and keeps those to be sent again after a resume.

    Packets may be encoded in one order and sent in another, so they are numbered when they go to their channel.
    ``max_size`` is the largest whole packet in bytes.
    """

    __slots__ = ("max_size", "_packet", "_next", "_kept", "_kept_bytes")

    def __init__(self) -> None:
        self.max_size = limits.DATA_PACKET_BYTES
        self._packet: type[models.DataPacket] = proto.models.DataPacket
        self._next = 1
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0

    def remote_limit(self, size: int) -> None:
        """What the peer's SDP says about its largest message; 0 is "nothing said"."""
        self.max_size = min(size or limits.DATA_PACKET_BYTES, limits.DATA_PACKET_BYTES)

    def encode(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        reliable: bool,
        topic: str = "",
        destination_identities: Iterable[str] = (),
    ) -> bytes:
        """A packet with the user's ``payload``, for everybody or for the named identities.

        Raises LocalProtocolError when the whole packet is larger than ``max_size``, and for arguments of wrong types.
        """
        if not isinstance(payload, bytes):
            if not isinstance(payload, bytearray | memoryview):
                raise LocalProtocolError(f"the payload must be bytes, not {type(payload).__name__}")
            payload = bytes(payload)
        if isinstance(destination_identities, str):
            raise LocalProtocolError("destination_identities must be several identities, not one string")
        packet = self._packet()
        user = packet.user
        user.payload = payload
        try:
            if topic:
                user.topic = topic
            packet.destination_identities.extend(destination_identities)
        except (TypeError, ValueError) as error:  # also what is no valid Unicode
            raise LocalProtocolError(f"topic and destination_identities must be text: {error}") from None
        return self.finish(packet, reliable=reliable)

    def finish(self, packet: models.DataPacket, *, reliable: bool) -> bytes:
        """Encode a packet with any payload. Raises LocalProtocolError when it is too large."""
        size = 0
        if reliable:
            size = _SEQUENCE_BYTES
        else:
            packet.kind = packet.LOSSY  # for servers that do not go by the channel
        data = packet.SerializeToString()
        size += len(data)
        if size > self.max_size:
            raise LocalProtocolError(
                f"the data packet has {size} bytes in all, more than the {self.max_size} that fit into one: "
                "send less, or a byte stream"
            )
        return data

    def number(self, data: bytes) -> bytes:
        """An encoded reliable packet goes to its channel now: it gets the next number, and is kept for a resume.

        When more than ``DATA_RESEND_BYTES`` are kept the oldest are forgotten.
        """
        data += _sequence(self._next)
        self._next += 1
        self._kept.append(data)
        self._kept_bytes += len(data)
        while self._kept_bytes > limits.DATA_RESEND_BYTES:
            self._kept_bytes -= len(self._kept.popleft())
        return data

    def received(self, sequence: int) -> None:
        """The server has all reliable packets up to this number (last_message_seq of a resume)."""
        first = self._next - len(self._kept)
        for _ in range(min(sequence - first + 1, len(self._kept))):
            self._kept_bytes -= len(self._kept.popleft())

    def to_resend(self) -> list[bytes]:
        """What is kept, oldest first: packets to send again, with the numbers they had."""
        return list(self._kept)

    def reset(self) -> None:
        """A new session with the server: numbers begin at 1 again, nothing is kept."""
        self._next = 1
        self._kept.clear()
        self._kept_bytes = 0


class _Sender:
    __slots__ = ("sequence", "seen")

    def __init__(self, sequence: int, seen: float) -> None:
        self.sequence = sequence
        self.seen = seen


class DataReceiver:
    """Turns messages of the data channels into events, and gives payloads that are not the user's to ``handlers``.

    ``handlers`` has a function for each payload that somebody understands, by its name in the packet ("rpc_ack").
    """

    __slots__ = ("counters", "handlers", "_own", "_remote", "_parse", "_error", "_senders", "_purge_at")

    def __init__(self, state: RoomState) -> None:
        self.counters = Counters()
        self.handlers: dict[str, Handler] = {}
        self._own = state.local_participant
        self._remote = state.remote_participants
        self._parse = proto.models.DataPacket.FromString
        self._error = proto.DecodeError
        self._senders: dict[str, _Sender] = {}
        self._purge_at = 0.0

    def receive(self, data: bytes, reliable: bool, now: float) -> DataReceived | None:
        """One message of a channel; None for what is not for the user, which is handled or counted."""
        try:
            packet = self._parse(data)
        except self._error:
            self.counters.add("data_undecodable")
            return None
        identity = packet.participant_identity
        if identity and identity == self._own.identity:
            self.counters.add("data_from_ourselves")
            return None
        sid = packet.participant_sid
        sequence = packet.sequence
        if reliable and sequence and sid and self._is_duplicate(sid, sequence, now):
            self.counters.add("data_duplicate")
            return None
        if not packet.HasField("user"):
            kind = packet.WhichOneof("value")
            handler = self.handlers.get(kind)
            if handler is not None:
                handler(packet, now)
            else:
                self.counters.add("data_unknown_payload" if kind is None else "data_unhandled_payload")
            return None
        user = packet.user
        return DataReceived(
            user.payload,
            self._remote.get(identity),
            reliable,
            user.topic,
            EncryptionType.NONE,
            identity,
            sid,
        )

    def last_sequences(self) -> list[tuple[str, int]]:
        """Sender sid and its last reliable number, for the sync state of a resume."""
        return [(sid, sender.sequence) for sid, sender in self._senders.items()]

    def _is_duplicate(self, sid: str, sequence: int, now: float) -> bool:
        sender = self._senders.get(sid)
        if sender is None:
            self._make_room(now)
            self._senders[sid] = _Sender(sequence, now)
            return False
        sender.seen = now
        if sequence <= sender.sequence:
            return True
        sender.sequence = sequence
        return False

    def _make_room(self, now: float) -> None:
        """Before a new sender: forget the silent ones now and then, and the oldest one when there are too many."""
        if now >= self._purge_at:
            self._purge_at = now + limits.DATA_SENDER_TTL
            oldest = now - limits.DATA_SENDER_TTL
            self._senders = {sid: sender for sid, sender in self._senders.items() if sender.seen > oldest}
        if len(self._senders) >= limits.DATA_SENDERS:
            del self._senders[next(iter(self._senders))]
            self.counters.add("data_sender_forgotten")
