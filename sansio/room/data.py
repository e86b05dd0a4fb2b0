"""Data packets: encoding and decoding, numbering, duplicates, and which of ours are not acknowledged.

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
from ..events import DataReceived, DataUnacknowledged, PacketReceived, UnacknowledgedPacket
from ..types import EncryptionType
from .messages import EVENTS

if TYPE_CHECKING:
    from ..proto import models
    from ..sctp.channel import DataChannels
    from ..sctp.sender import OutChunk
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
    """Encodes data packets and numbers the reliable ones.

    Packets may be encoded in one order and sent in another, so they are numbered when they go to their channel.
    ``max_size`` is the largest whole packet in bytes.
    """

    __slots__ = ("max_size", "_packet", "_next")

    def __init__(self) -> None:
        self.max_size = limits.DATA_PACKET_BYTES
        self._packet: type[models.DataPacket] = proto.models.DataPacket
        self._next = 1

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
        data = packet.SerializeToString(deterministic=True)  # headers of streams have a map
        size += len(data)
        if size > self.max_size:
            raise LocalProtocolError(
                f"the data packet has {size} bytes in all, more than the {self.max_size} that fit into one: "
                "send less, or a byte stream"
            )
        return data

    def number(self, data: bytes) -> bytes:
        """An encoded reliable packet goes to its channel now: it gets the next number."""
        data += _sequence(self._next)
        self._next += 1
        return data


class Unacknowledged:
    """Reliable packets that went to their channel and were not acknowledged yet, oldest first.

    ``acknowledged`` counts those that were, but for urgent ones, which overtake the others: so packet number n in the
    order of ``publish_data`` is acknowledged once it is n. ``sent`` has the others: for each
    what its channel calls it, its form without a number, and whether it is urgent.
    """

    __slots__ = ("acknowledged", "sent")

    def __init__(self) -> None:
        self.acknowledged = 0
        self.sent: deque[tuple[OutChunk, bytes, bool]] = deque()

    def add(self, message: OutChunk, data: bytes, urgent: bool) -> None:
        """A packet went to its channel."""
        self.sent.append((message, data, urgent))

    def settle(self, channels: DataChannels) -> None:
        """Let go of what was acknowledged."""
        sent = self.sent
        while sent and channels.acknowledged(sent[0][0]):
            if not sent.popleft()[2]:
                self.acknowledged += 1

    def packets(self) -> list[bytes]:
        """What is left, encoded."""
        return [data for _, data, _ in self.sent]

    def unsent(self) -> list[tuple[bytes, bool]] | None:
        """The packets, and which are urgent, if no whole one has ever left this host; else None."""
        if self.acknowledged or any(message.sends for message, _, _ in self.sent):
            return None
        return [(data, urgent) for _, data, urgent in self.sent]


def unacknowledged(packets: Iterable[bytes]) -> DataUnacknowledged:
    """The event that tells of encoded packets of ours."""
    users, others = [], 0
    for packet in map(decode_data_packet, packets):
        if packet.HasField("user"):
            to = tuple(packet.destination_identities)
            users.append(UnacknowledgedPacket(packet.user.payload, packet.user.topic, to))
        else:
            others += 1
    return DataUnacknowledged(tuple(users), others)


def _ignore(data: bytes) -> None:
    """Nobody wants data tracks."""


class _Sender:
    __slots__ = ("sequence", "seen")

    def __init__(self, sequence: int, seen: float) -> None:
        self.sequence = sequence
        self.seen = seen


class DataReceiver:
    """Turns messages of the data channels into events, and gives payloads that are not the user's to ``handlers``.

    ``handlers`` has a function for each payload that somebody understands, by its name in the packet ("rpc_ack").
    """

    __slots__ = (
        "counters",
        "handlers",
        "data_track",
        "_state",
        "_own",
        "_remote",
        "_parse",
        "_error",
        "_senders",
        "_purge_at",
    )

    def __init__(self, state: RoomState) -> None:
        self.counters = Counters()
        self.handlers: dict[str, Handler] = {}
        self.data_track: Callable[[bytes], None] = _ignore
        """Takes the packets of data tracks, which have a channel of their own."""
        self._state = state
        self._own = state.local_participant
        self._remote = state.remote_participants
        self._parse = proto.models.DataPacket.FromString
        self._error = proto.DecodeError
        self._senders: dict[str, _Sender] = {}
        self._purge_at = 0.0

    def receive(self, data: bytes, reliable: bool, now: float) -> PacketReceived | None:
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
            if (make := EVENTS.get(kind)) is not None:
                return make(packet, self._state)
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
