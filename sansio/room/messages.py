"""Chat, transcriptions and telephone keys: the data packets that carry them, and the events that tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import proto
from ..base import limits
from ..base.errors import LocalProtocolError
from ..events import ChatMessage, PacketReceived, SipDtmfReceived, TranscriptionReceived
from ..types import ChatEntry, SipDtmf, Transcription, TranscriptionSegment

if TYPE_CHECKING:
    from ..proto import models
    from .participant import Participant
    from .state import RoomState

KEYS = "0123456789*#ABCD"
"""The keys of a telephone, each at its code (RFC 4733 section 3.2)."""


# ------------------------------------------------------------------ out


def _packet(destination_identities: Iterable[str]) -> models.DataPacket:
    if isinstance(destination_identities, str):
        raise LocalProtocolError("destination_identities must be several identities, not one string")
    return proto.models.DataPacket(destination_identities=destination_identities)


def chat_packet(entry: ChatEntry, destination_identities: Iterable[str] = ()) -> models.DataPacket:
    """Raises LocalProtocolError for what cannot be sent."""
    try:
        packet = _packet(destination_identities)
        chat = packet.chat_message
        chat.id = entry.id
        chat.message = entry.message
        chat.timestamp = entry.timestamp
        chat.deleted = entry.deleted
        chat.generated = entry.generated
        if entry.edit_timestamp is not None:
            chat.edit_timestamp = entry.edit_timestamp
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"not a chat message: {error}") from None
    return packet


def transcription_packet(transcription: Transcription, destination_identities: Iterable[str] = ()) -> models.DataPacket:
    """Raises LocalProtocolError for what cannot be sent."""
    try:
        packet = _packet(destination_identities)
        packet.transcription.transcribed_participant_identity = transcription.participant_identity
        packet.transcription.track_id = transcription.track_sid
        for segment in transcription.segments:
            packet.transcription.segments.add(
                id=segment.id,
                text=segment.text,
                start_time=segment.start_time,
                end_time=segment.end_time,
                final=segment.final,
                language=segment.language,
            )
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"not a transcription: {error}") from None
    return packet


def dtmf_packet(dtmf: SipDtmf, destination_identities: Iterable[str] = ()) -> models.DataPacket:
    """Raises LocalProtocolError for what cannot be sent."""
    try:
        packet = _packet(destination_identities)
        packet.sip_dtmf.code = dtmf.code
        packet.sip_dtmf.digit = dtmf.digit
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"not a telephone key: {error}") from None
    return packet


def dtmf_of(digit: str) -> SipDtmf:
    """The key with this digit on it. Raises LocalProtocolError when no telephone has one."""
    if len(digit) != 1 or digit.upper() not in KEYS:
        raise LocalProtocolError(f"no key of a telephone is {digit!r}; they are {KEYS}")
    return SipDtmf(KEYS.index(digit.upper()), digit.upper())


# ------------------------------------------------------------------ in


def chat_event(packet: models.DataPacket, state: RoomState) -> PacketReceived:
    """What a packet with a chat message tells."""
    chat, identity = packet.chat_message, packet.participant_identity
    edited = chat.edit_timestamp if chat.HasField("edit_timestamp") else None
    entry = ChatEntry(chat.id, chat.message, chat.timestamp, edited, chat.deleted, chat.generated)
    return ChatMessage(entry, state.remote_participants.get(identity), identity)


def transcription_event(packet: models.DataPacket, state: RoomState) -> PacketReceived:
    """What a packet with a transcription tells."""
    transcription = packet.transcription
    identity, own = transcription.transcribed_participant_identity, state.local_participant
    speaker: Participant | None = own if identity == own.identity else state.remote_participants.get(identity)
    segments = [
        TranscriptionSegment(
            segment.id, segment.text, segment.start_time, segment.end_time, segment.language, segment.final
        )
        for segment in transcription.segments[: limits.TRANSCRIPTION_SEGMENTS]
    ]
    return TranscriptionReceived(
        tuple(segments),
        speaker,
        speaker.track_publications.get(transcription.track_id) if speaker is not None else None,
        identity,
        transcription.track_id,
        packet.participant_identity,
    )


def dtmf_event(packet: models.DataPacket, state: RoomState) -> PacketReceived:
    """What a packet with a telephone key tells."""
    key, identity = packet.sip_dtmf, packet.participant_identity
    return SipDtmfReceived(SipDtmf(key.code, key.digit), state.remote_participants.get(identity), identity)


EVENTS = {"chat_message": chat_event, "transcription": transcription_event, "sip_dtmf": dtmf_event}
"""What turns a packet into an event for the user, by the name of its payload."""
