"""The events of a room: one class per fact, frozen, past tense.

An event says what happened *then*, the room's objects show what is *now*: values that may change again before a
handler runs are carried as a snapshot (``previous``, ``changed``, the new value). Each class knows its forms:

* ``name`` and ``arguments``: the snake_case name and the positional arguments of a callback on the room, in the order
  of the JavaScript client;
* ``participant_name`` and ``participant_arguments``: the same for a callback on the participant that the event is
  about (``source``); empty when there is no such form.

``RoomEvent`` and ``ParticipantEvent`` name them, ``BY_NAME`` and ``PARTICIPANT_BY_NAME`` lead to the classes, and
``table()`` yields the rows of the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, fields, frozen

from .types import (
    ChatEntry,
    ConnectionQuality,
    ConnectionState,
    DataPacketKind,
    DisconnectReason,
    EncryptionType,
    Permissions,
    SipDtmf,
    StreamState,
    SubscriptionError,
    SubscriptionStatus,
    TranscriptionSegment,
)

if TYPE_CHECKING:
    from .room.data_tracks import RemoteDataTrack
    from .room.participant import LocalParticipant, Participant, RemoteParticipant
    from .room.publication import LocalTrackPublication, RemoteTrackPublication, TrackPublication
    from .room.track import RemoteTrack


@frozen
class Event:
    """Base of all events."""

    name: ClassVar[str] = ""
    arguments: ClassVar[tuple[str, ...]] = ()
    participant_name: ClassVar[str] = ""
    participant_arguments: ClassVar[tuple[str, ...]] = ()
    follows: ClassVar[str] = ""
    """What a listener may expect next, for the documentation."""

    @property
    def source(self) -> Participant | None:
        """The participant that the event is about, or None."""
        return getattr(self, "participant", None)

    def args(self) -> tuple[Any, ...]:
        """Positional arguments of a callback on the room."""
        return tuple([getattr(self, name) for name in self.arguments])

    def participant_args(self) -> tuple[Any, ...]:
        """Positional arguments of a callback on the participant."""
        return tuple([getattr(self, name) for name in self.participant_arguments])


# ------------------------------------------------------------------ connection


@frozen
class Connected(Event):
    """The room was joined and media can flow."""

    name = "connected"
    follows = "Everything else. Participants who were there before are in `remote_participants`, without an event."


@frozen
class ConnectionStateChanged(Event):
    """The room's connection state changed."""

    state: ConnectionState
    previous: ConnectionState

    name = "connection_state_changed"
    arguments = ("state",)
    follows = "The event that says why, such as Connected or Disconnected."


@frozen
class SignalReconnecting(Event):
    """The signalling link was lost and is being resumed. Media and data go on meanwhile."""

    name = "signal_reconnecting"
    follows = "Reconnected, or Reconnecting when the loss turns out to be a larger one."


@frozen
class Reconnecting(Event):
    """Media and data are interrupted; the connection is being mended or made anew."""

    name = "reconnecting"
    follows = "Reconnected, or Disconnected when it cannot be mended."


@frozen
class Reconnected(Event):
    """The connection works again: signalling is back, and every path is proven by an answer that came over it.

    `resumed`: it is the same session. Otherwise this client has joined anew with the same objects.
    """

    resumed: bool

    name = "reconnected"
    follows = "Events of what has changed meanwhile, and DataUnacknowledged when a new join may have lost data."


@frozen
class UnacknowledgedPacket:
    """A reliable data packet of ours of which it is not known whether it has arrived, as it was published."""

    payload: bytes
    topic: str
    destination_identities: tuple[str, ...]


@frozen
class DataUnacknowledged(Event):
    """A new join has cut off reliable data: the server had not acknowledged it, so it may have arrived or not.

    `packets`: those of `publish_data`, oldest first. Nothing is sent again by itself. `others` counts packets of other
    kinds (streams, calls), whose operations fail on their own.
    """

    packets: tuple[UnacknowledgedPacket, ...]
    others: int

    name = "data_unacknowledged"
    arguments = ("packets",)
    follows = "Nothing in particular."


@frozen
class Disconnected(Event):
    """The session ended for good, by `reason`.

    `detail`: why the last attempt to reconnect failed, as a sentence; empty when there was none.
    """

    reason: DisconnectReason
    detail: str = ""

    name = "disconnected"
    arguments = ("reason",)
    follows = "Nothing: it is the last event of a room. Participants and publications stay as they last were."


@frozen
class Moved(Event):
    """The server moved this participant to the room called `room_name`."""

    room_name: str
    previous_name: str

    name = "moved"
    arguments = ("room_name",)
    follows = (
        "ParticipantConnected and TrackPublished for those in the new room. Whoever is not there was told as "
        "disconnected before."
    )


@frozen
class TokenRefreshed(Event):
    """The server sent a fresh access token; reconnects use it. The token is a secret and not shown in the repr."""

    token: str = field(repr=False)

    name = "token_refreshed"
    follows = "Nothing in particular."


# ------------------------------------------------------------------ room


@frozen
class RoomMetadataChanged(Event):
    """The room's metadata changed."""

    metadata: str
    previous: str

    name = "room_metadata_changed"
    arguments = ("metadata",)
    follows = "RoomUpdated."


@frozen
class RecordingStatusChanged(Event):
    """A recording of the room began (`recording` true) or ended."""

    recording: bool

    name = "recording_status_changed"
    arguments = ("recording",)
    follows = "RoomUpdated."


@frozen
class RoomUpdated(Event):
    """Anything the server says about the room changed; `changed` has the new values by attribute name."""

    changed: Mapping[str, Any]

    name = "room_updated"
    follows = "Nothing in particular. The changes that have an event of their own were told before."


@frozen
class ActiveSpeakersChanged(Event):
    """Somebody began or stopped speaking, or the order or loudness of the speakers changed; loudest first."""

    speakers: tuple[Participant, ...]
    levels: tuple[float, ...]
    """Loudness of each speaker, 0 to 1."""

    name = "active_speakers_changed"
    arguments = ("speakers",)
    follows = "Nothing in particular."


# ------------------------------------------------------------------ participants


@frozen
class ParticipantConnected(Event):
    """A remote participant appeared in the room."""

    participant: RemoteParticipant

    name = "participant_connected"
    arguments = ("participant",)
    follows = "ParticipantActive when it can exchange media already, then TrackPublished for each of its tracks."


@frozen
class ParticipantDisconnected(Event):
    """A remote participant left, by `reason` as far as the server told it."""

    participant: RemoteParticipant
    reason: DisconnectReason

    name = "participant_disconnected"
    arguments = ("participant",)
    follows = (
        "Nothing for this object. A participant who comes back gets a new one, in a new ParticipantConnected. Its "
        "tracks were told as unpublished before."
    )


@frozen
class ParticipantActive(Event):
    """A participant's media connection is up."""

    participant: Participant

    name = "participant_active"
    arguments = ("participant",)
    participant_name = "active"
    follows = "Nothing in particular."


@frozen
class ParticipantMetadataChanged(Event):
    """A participant's metadata changed."""

    previous: str
    participant: Participant
    metadata: str

    name = "participant_metadata_changed"
    arguments = ("previous", "participant")
    participant_name = "participant_metadata_changed"
    participant_arguments = ("previous", "participant")
    follows = "Nothing in particular."


@frozen
class ParticipantNameChanged(Event):
    """A participant's display name changed to `new_name`."""

    new_name: str
    participant: Participant
    previous: str

    name = "participant_name_changed"
    arguments = ("new_name", "participant")
    participant_name = "participant_name_changed"
    participant_arguments = ("new_name",)
    follows = "Nothing in particular."


@frozen
class ParticipantAttributesChanged(Event):
    """Attributes of a participant changed; `changed` has the new values, "" for one that was deleted."""

    changed: Mapping[str, str]
    participant: Participant
    previous: Mapping[str, str]
    """All attributes as they were before."""

    name = "participant_attributes_changed"
    arguments = ("changed", "participant")
    participant_name = "attributes_changed"
    participant_arguments = ("changed",)
    follows = "Nothing in particular."


@frozen
class ParticipantPermissionsChanged(Event):
    """What a participant may do changed."""

    previous: Permissions | None
    participant: Participant
    permissions: Permissions

    name = "participant_permissions_changed"
    arguments = ("previous", "participant")
    participant_name = "participant_permissions_changed"
    participant_arguments = ("previous",)
    follows = "LocalTrackUnpublished for each own track that may no longer be published."


@frozen
class ConnectionQualityChanged(Event):
    """The server's opinion of a participant's connection changed. `score` is its raw number, up to 5."""

    quality: ConnectionQuality
    participant: Participant
    previous: ConnectionQuality
    score: float

    name = "connection_quality_changed"
    arguments = ("quality", "participant")
    participant_name = "connection_quality_changed"
    participant_arguments = ("quality",)
    follows = "Nothing in particular."


@frozen
class IsSpeakingChanged(Event):
    """A participant began (`speaking` true) or stopped speaking."""

    participant: Participant
    speaking: bool

    participant_name = "is_speaking_changed"
    participant_arguments = ("speaking",)
    follows = "ActiveSpeakersChanged on the room."


# ------------------------------------------------------------------ publications


@frozen
class TrackPublished(Event):
    """A remote participant published a track."""

    publication: RemoteTrackPublication
    participant: RemoteParticipant

    name = "track_published"
    arguments = ("publication", "participant")
    participant_name = "track_published"
    participant_arguments = ("publication",)
    follows = "Its media, when it is subscribed."


@frozen
class TrackUnpublished(Event):
    """A remote participant's track is gone."""

    publication: RemoteTrackPublication
    participant: RemoteParticipant

    name = "track_unpublished"
    arguments = ("publication", "participant")
    participant_name = "track_unpublished"
    participant_arguments = ("publication",)
    follows = "Nothing for this publication; ParticipantDisconnected when its participant has left."


@frozen
class TrackSubscribed(Event):
    """A track comes here now: `track` is its media, whose frames can be read."""

    track: RemoteTrack
    publication: RemoteTrackPublication
    participant: RemoteParticipant

    name = "track_subscribed"
    arguments = ("track", "publication", "participant")
    participant_name = "track_subscribed"
    participant_arguments = ("track", "publication")
    follows = "TrackUnsubscribed at its end."


@frozen
class TrackUnsubscribed(Event):
    """A track does not come here any more; `track.ended` says why. After a reconnect it may come as a new one."""

    track: RemoteTrack
    publication: RemoteTrackPublication
    participant: RemoteParticipant

    name = "track_unsubscribed"
    arguments = ("track", "publication", "participant")
    participant_name = "track_unsubscribed"
    participant_arguments = ("track", "publication")
    follows = "TrackUnpublished when its publisher ended it."


@frozen
class TrackMuted(Event):
    """A track was muted: a remote one by its publisher, an own one by the server."""

    publication: TrackPublication
    participant: Participant

    name = "track_muted"
    arguments = ("publication", "participant")
    participant_name = "track_muted"
    participant_arguments = ("publication",)
    follows = "TrackUnmuted, if ever."


@frozen
class TrackUnmuted(Event):
    """A track was unmuted."""

    publication: TrackPublication
    participant: Participant

    name = "track_unmuted"
    arguments = ("publication", "participant")
    participant_name = "track_unmuted"
    participant_arguments = ("publication",)
    follows = "Nothing in particular."


@frozen
class TrackStreamStateChanged(Event):
    """The server paused a subscribed video for want of bandwidth, or goes on with it."""

    publication: RemoteTrackPublication
    state: StreamState
    participant: RemoteParticipant

    name = "track_stream_state_changed"
    arguments = ("publication", "state", "participant")
    participant_name = "track_stream_state_changed"
    participant_arguments = ("publication", "state")
    follows = "Nothing in particular."


@frozen
class TrackSubscriptionPermissionChanged(Event):
    """The publisher allowed this participant to subscribe to a track, or took that back."""

    publication: RemoteTrackPublication
    allowed: bool
    participant: RemoteParticipant

    name = "track_subscription_permission_changed"
    arguments = ("publication", "allowed", "participant")
    participant_name = "track_subscription_permission_changed"
    participant_arguments = ("publication", "allowed")
    follows = "The media of the track ends, or comes back if it is wanted."


@frozen
class TrackSubscriptionStatusChanged(Event):
    """A subscription stands elsewhere now: asked for, here, or not wanted any more."""

    publication: RemoteTrackPublication
    status: SubscriptionStatus
    participant: RemoteParticipant

    name = "track_subscription_status_changed"
    arguments = ("publication", "status", "participant")
    participant_name = "track_subscription_status_changed"
    participant_arguments = ("publication", "status")
    follows = "TrackSubscribed for what is desired; TrackUnsubscribed for what is not, if it was here."


@frozen
class TrackSubscriptionFailed(Event):
    """The server gave up on a subscription. `participant` is None when nobody known publishes the track."""

    track_sid: str
    participant: RemoteParticipant | None
    error: SubscriptionError

    name = "track_subscription_failed"
    arguments = ("track_sid", "participant", "error")
    participant_name = "track_subscription_failed"
    participant_arguments = ("track_sid", "error")
    follows = "Nothing: subscribe again to retry."


@frozen
class LocalTrackPublished(Event):
    """The server accepted a track of ours."""

    publication: LocalTrackPublication
    participant: LocalParticipant

    name = "local_track_published"
    arguments = ("publication", "participant")
    participant_name = "local_track_published"
    participant_arguments = ("publication",)
    follows = "LocalTrackSubscribed with the first subscriber."


@frozen
class LocalTrackRepublished(Event):
    """A track of ours is published anew, after a full reconnect: the same publication with another sid."""

    publication: LocalTrackPublication
    previous_sid: str
    participant: LocalParticipant

    name = "local_track_republished"
    arguments = ("publication", "previous_sid", "participant")
    participant_name = "local_track_republished"
    participant_arguments = ("publication", "previous_sid")
    follows = "LocalTrackSubscribed with the first subscriber."


@frozen
class LocalTrackUnpublished(Event):
    """A track of ours is no longer published."""

    publication: LocalTrackPublication
    participant: LocalParticipant

    name = "local_track_unpublished"
    arguments = ("publication", "participant")
    participant_name = "local_track_unpublished"
    participant_arguments = ("publication",)
    follows = "Nothing for this publication."


@frozen
class LocalTrackSubscribed(Event):
    """The first remote participant subscribed to a track of ours."""

    publication: LocalTrackPublication
    participant: LocalParticipant

    name = "local_track_subscribed"
    arguments = ("publication", "participant")
    participant_name = "local_track_subscribed"
    participant_arguments = ("publication",)
    follows = "Nothing in particular."


@frozen
class LocalTrackLayersChanged(Event):
    """The layers of a video of ours that somebody wants are others now: `wanted` tells it of each, the lowest first.

    Frames of a layer that nobody wants are dropped, so that there is no need to encode them.
    """

    publication: LocalTrackPublication
    wanted: tuple[bool, ...]
    participant: LocalParticipant

    name = "local_track_layers_changed"
    arguments = ("publication", "wanted", "participant")
    participant_name = "local_track_layers_changed"
    participant_arguments = ("publication", "wanted")
    follows = "A layer that is wanted again begins with a key frame."


# ------------------------------------------------------------------ data


@frozen
class DataTrackPublished(Event):
    """A remote participant has published a data track."""

    track: RemoteDataTrack
    participant: RemoteParticipant

    name = "data_track_published"
    arguments = ("track",)
    participant_name = "data_track_published"
    participant_arguments = ("track",)
    follows = "DataTrackUnpublished at its end. Its frames come after `track.subscribe()`."


@frozen
class DataTrackUnpublished(Event):
    """A remote participant's data track is gone."""

    sid: str
    track: RemoteDataTrack
    participant: RemoteParticipant

    name = "data_track_unpublished"
    arguments = ("sid",)
    participant_name = "data_track_unpublished"
    participant_arguments = ("sid",)
    follows = "Nothing for this track; after a reconnect of its publisher it comes again, with another sid."


@frozen
class PacketReceived(Event):
    """Base of the events that data packets bring. Unread ones make their senders wait."""

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return 0


@frozen
class DataReceived(PacketReceived):
    """A data packet arrived.

    `participant` is None for packets from the server API (then `identity` is empty too) and for a sender who is not
    announced yet: the server tells a newcomer up to three seconds late, `identity` and `sid` are right at once.
    """

    payload: bytes
    participant: RemoteParticipant | None
    reliable: bool
    topic: str
    encryption: EncryptionType
    identity: str
    sid: str

    name = "data_received"
    arguments = ("payload", "participant", "kind", "topic", "encryption")
    participant_name = "data_received"
    participant_arguments = ("payload", "kind", "encryption")
    follows = "Nothing in particular."

    @property
    def kind(self) -> DataPacketKind:
        """RELIABLE or LOSSY."""
        return DataPacketKind.RELIABLE if self.reliable else DataPacketKind.LOSSY

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)


@frozen
class ChatMessage(PacketReceived):
    """Somebody wrote into the chat, or changed what they had written: then `entry` has the id of the one before.

    `participant` is None as in DataReceived; `identity` is right at once.
    """

    entry: ChatEntry
    participant: RemoteParticipant | None
    identity: str

    name = "chat_message"
    arguments = ("entry", "participant")
    participant_name = "chat_message"
    participant_arguments = ("entry",)
    follows = "Perhaps another one with the same id, when it is edited."

    @property
    def size(self) -> int:
        """Characters of the text."""
        return len(self.entry.message)


@frozen
class TranscriptionReceived(PacketReceived):
    """An agent tells what was said. `participant` is who spoke, ourselves perhaps, and `publication` on which track.

    Both are None when they are not known (any more). `identity` is the agent's.
    """

    segments: tuple[TranscriptionSegment, ...]
    participant: Participant | None
    publication: TrackPublication | None
    participant_identity: str
    track_sid: str
    identity: str

    name = "transcription_received"
    arguments = ("segments", "participant", "publication")
    participant_name = "transcription_received"
    participant_arguments = ("segments", "publication")
    follows = "Later versions of segments that are not final."

    @property
    def size(self) -> int:
        """Characters of the text, and something for each segment."""
        return sum([len(segment.text) + 100 for segment in self.segments])


@frozen
class SipDtmfReceived(PacketReceived):
    """Somebody who is connected by telephone pressed a key."""

    dtmf: SipDtmf
    participant: RemoteParticipant | None
    identity: str

    name = "sip_dtmf_received"
    arguments = ("dtmf", "participant")
    participant_name = "sip_dtmf_received"
    participant_arguments = ("dtmf",)
    follows = "Nothing in particular."

    @property
    def size(self) -> int:
        """Characters of the key."""
        return len(self.dtmf.digit)


# ------------------------------------------------------------------ names


class RoomEvent(Enum):
    """Names of the events of a room; the member is called as the class, the value is the snake_case name."""

    Connected = "connected"
    ConnectionStateChanged = "connection_state_changed"
    SignalReconnecting = "signal_reconnecting"
    Reconnecting = "reconnecting"
    Reconnected = "reconnected"
    DataUnacknowledged = "data_unacknowledged"
    Disconnected = "disconnected"
    Moved = "moved"
    TokenRefreshed = "token_refreshed"
    RoomMetadataChanged = "room_metadata_changed"
    RecordingStatusChanged = "recording_status_changed"
    RoomUpdated = "room_updated"
    ActiveSpeakersChanged = "active_speakers_changed"
    ParticipantConnected = "participant_connected"
    ParticipantDisconnected = "participant_disconnected"
    ParticipantActive = "participant_active"
    ParticipantMetadataChanged = "participant_metadata_changed"
    ParticipantNameChanged = "participant_name_changed"
    ParticipantAttributesChanged = "participant_attributes_changed"
    ParticipantPermissionsChanged = "participant_permissions_changed"
    ConnectionQualityChanged = "connection_quality_changed"
    TrackPublished = "track_published"
    TrackUnpublished = "track_unpublished"
    TrackSubscribed = "track_subscribed"
    TrackUnsubscribed = "track_unsubscribed"
    TrackMuted = "track_muted"
    TrackUnmuted = "track_unmuted"
    TrackStreamStateChanged = "track_stream_state_changed"
    TrackSubscriptionPermissionChanged = "track_subscription_permission_changed"
    TrackSubscriptionStatusChanged = "track_subscription_status_changed"
    TrackSubscriptionFailed = "track_subscription_failed"
    LocalTrackPublished = "local_track_published"
    LocalTrackRepublished = "local_track_republished"
    LocalTrackUnpublished = "local_track_unpublished"
    LocalTrackSubscribed = "local_track_subscribed"
    LocalTrackLayersChanged = "local_track_layers_changed"
    DataTrackPublished = "data_track_published"
    DataTrackUnpublished = "data_track_unpublished"
    DataReceived = "data_received"
    ChatMessage = "chat_message"
    TranscriptionReceived = "transcription_received"
    SipDtmfReceived = "sip_dtmf_received"


class ParticipantEvent(Enum):
    """Names of the events of one participant; the value is the snake_case name."""

    Active = "active"
    ParticipantMetadataChanged = "participant_metadata_changed"
    ParticipantNameChanged = "participant_name_changed"
    AttributesChanged = "attributes_changed"
    ParticipantPermissionsChanged = "participant_permissions_changed"
    ConnectionQualityChanged = "connection_quality_changed"
    IsSpeakingChanged = "is_speaking_changed"
    TrackPublished = "track_published"
    TrackUnpublished = "track_unpublished"
    TrackSubscribed = "track_subscribed"
    TrackUnsubscribed = "track_unsubscribed"
    TrackMuted = "track_muted"
    TrackUnmuted = "track_unmuted"
    TrackStreamStateChanged = "track_stream_state_changed"
    TrackSubscriptionPermissionChanged = "track_subscription_permission_changed"
    TrackSubscriptionStatusChanged = "track_subscription_status_changed"
    TrackSubscriptionFailed = "track_subscription_failed"
    LocalTrackPublished = "local_track_published"
    LocalTrackRepublished = "local_track_republished"
    LocalTrackUnpublished = "local_track_unpublished"
    LocalTrackSubscribed = "local_track_subscribed"
    LocalTrackLayersChanged = "local_track_layers_changed"
    DataTrackPublished = "data_track_published"
    DataTrackUnpublished = "data_track_unpublished"
    DataReceived = "data_received"
    ChatMessage = "chat_message"
    TranscriptionReceived = "transcription_received"
    SipDtmfReceived = "sip_dtmf_received"


ALL: tuple[type[Event], ...] = (
    Connected,
    ConnectionStateChanged,
    SignalReconnecting,
    Reconnecting,
    Reconnected,
    DataUnacknowledged,
    Disconnected,
    Moved,
    TokenRefreshed,
    RoomMetadataChanged,
    RecordingStatusChanged,
    RoomUpdated,
    ActiveSpeakersChanged,
    ParticipantConnected,
    ParticipantDisconnected,
    ParticipantActive,
    ParticipantMetadataChanged,
    ParticipantNameChanged,
    ParticipantAttributesChanged,
    ParticipantPermissionsChanged,
    ConnectionQualityChanged,
    IsSpeakingChanged,
    TrackPublished,
    TrackUnpublished,
    TrackSubscribed,
    TrackUnsubscribed,
    TrackMuted,
    TrackUnmuted,
    TrackStreamStateChanged,
    TrackSubscriptionPermissionChanged,
    TrackSubscriptionStatusChanged,
    TrackSubscriptionFailed,
    LocalTrackPublished,
    LocalTrackRepublished,
    LocalTrackUnpublished,
    LocalTrackSubscribed,
    LocalTrackLayersChanged,
    DataTrackPublished,
    DataTrackUnpublished,
    DataReceived,
    ChatMessage,
    TranscriptionReceived,
    SipDtmfReceived,
)
"""Every event class, in the order of the documentation."""

BY_NAME: Mapping[str, type[Event]] = {event.name: event for event in ALL if event.name}
"""Room form: snake_case name to class."""

PARTICIPANT_BY_NAME: Mapping[str, type[Event]] = {
    event.participant_name: event for event in ALL if event.participant_name
}
"""Participant form: snake_case name to class."""


@frozen
class EventRow:
    """One row of the documentation's event table."""

    class_name: str
    name: str
    arguments: tuple[str, ...]
    participant_name: str
    participant_arguments: tuple[str, ...]
    attributes: tuple[str, ...]
    when: str
    follows: str


def table() -> Iterator[EventRow]:
    """The rows of the event table: names, arguments, when each event fires and what follows it."""
    for event in ALL:
        yield EventRow(
            class_name=event.__name__,
            name=event.name,
            arguments=event.arguments,
            participant_name=event.participant_name,
            participant_arguments=event.participant_arguments,
            attributes=tuple([attribute.name for attribute in fields(event)]),
            when=" ".join((event.__doc__ or "").split()),
            follows=event.follows,
        )
