"""The state of a room: participants, publications, speakers, and the events that tell how it changed.

Every ``apply_*`` method takes one message of the server, changes the state, and appends one event a fact to the
outbox, after the fact is visible in the state. The rules of the protocol that hold here:

* Participants are keyed by identity; a known identity with another sid is somebody who left and came back.
* Of two infos about one sid the one with the lower version is older and ignored. Equal versions are applied: the
  server sends several infos of one version that differ.
* ``tracks`` and ``attributes`` of an info are complete lists: what is missing there is gone.
* A DISCONNECTED info may contain nothing but identity and sid, and counts only if the sid is the one we know, or of
  a session that began later: one that took the place of the one we know, and ended before anybody was told of it.
* Our own info never removes or mutes a track of ours: the server says that by messages of their own.

What does not fit (unknown sids, stale versions, more than the limits allow) is counted and ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import frozen

from .. import events
from ..base import limits
from ..base.counters import Counters
from ..events import Event
from ..types import (
    ConnectionQuality,
    ConnectionState,
    DisconnectReason,
    ParticipantKind,
    ParticipantState,
    Permissions,
    ServerInfo,
    StreamState,
    SubscriptionError,
    TrackSource,
    utc_from_ms,
)
from .data_tracks import RemoteDataTrack
from .participant import LocalParticipant, Participant, RemoteParticipant
from .publication import LocalTrackPublication, RemoteTrackPublication
from .track import RemoteTrack

if TYPE_CHECKING:
    from ..proto import models, rtc
    from ..rtp.receiver import RtpReceiver

_DISCONNECTED = 3
"""ParticipantInfo.State on the wire."""


@frozen
class Factories:
    """What makes the live objects, so that a facade can put its own subclasses in their place."""

    local_participant: Callable[[], LocalParticipant] = LocalParticipant
    remote_participant: Callable[[str, str], RemoteParticipant] = RemoteParticipant
    local_publication: Callable[[LocalParticipant, str], LocalTrackPublication] = LocalTrackPublication
    remote_publication: Callable[[RemoteParticipant, str], RemoteTrackPublication] = RemoteTrackPublication
    remote_track: Callable[[RemoteTrackPublication, RtpReceiver], RemoteTrack] = RemoteTrack
    remote_data_track: Callable[[models.DataTrackInfo, str], RemoteDataTrack] = RemoteDataTrack


class RoomState:
    """What is known of a room. Attributes show what is now; do not set them from outside.

    ``remote_participants`` is a read-only view, identity to participant; ``active_speakers`` has the loudest first;
    ``empty_timeout`` and ``departure_timeout`` are in seconds; ``creation_time`` is in UTC. ``joined`` tells whether
    a join response was ever applied.
    """

    __slots__ = (
        "name",
        "sid",
        "metadata",
        "num_participants",
        "num_publishers",
        "max_participants",
        "empty_timeout",
        "departure_timeout",
        "creation_time",
        "is_recording",
        "server_info",
        "connection",
        "joined",
        "local_participant",
        "remote_participants",
        "active_speakers",
        "counters",
        "on_unpublish",
        "on_data_track",
        "on_data_track_gone",
        "on_own_data_tracks",
        "on_left",
        "_auto_subscribe",
        "_factories",
        "_outbox",
        "_emit",
        "_remote",
        "_by_sid",
        "_speakers",
        "_levels",
        "_bytes",
        "_mentioned",
    )

    def __init__(self, outbox: deque[Any], factories: Factories | None = None, *, auto_subscribe: bool = True) -> None:
        self.name = ""
        self.sid = ""
        self.metadata = ""
        self.num_participants = 0
        self.num_publishers = 0
        self.max_participants = 0
        self.empty_timeout = 0
        self.departure_timeout = 0
        self.creation_time: datetime | None = None
        self.is_recording = False
        self.server_info = ServerInfo()
        self.connection = ConnectionState.DISCONNECTED
        self.joined = False
        self.counters = Counters()
        self.on_unpublish: Callable[[RemoteTrackPublication], None] = _ignore
        """Called before the event for a publication of somebody else that is gone."""
        self.on_data_track: Callable[[RemoteDataTrack], None] = _ignore
        """Called before the event for a data track of somebody else."""
        self.on_data_track_gone: Callable[[RemoteDataTrack, DisconnectReason | None], None] = _ignore
        """Called before the event for one that is gone, with the reason for which its publisher has left, if it has."""
        self.on_own_data_tracks: Callable[[Iterable[models.DataTrackInfo]], None] = _ignore
        """Called with the server's list of ours."""
        self.on_left: list[Callable[[RemoteParticipant], None]] = []
        """Called after the event for somebody who has left."""
        self._factories = factories or Factories()
        self._auto_subscribe = auto_subscribe
        self._outbox = outbox
        self._emit: Callable[[Event], None] = outbox.append
        self._remote: dict[str, RemoteParticipant] = {}
        self._by_sid: dict[str, RemoteParticipant] = {}
        self._speakers: list[Participant] = []
        self._levels: tuple[float, ...] = ()
        self._bytes = 0
        self._mentioned: set[str] | None = None
        self.local_participant = self._factories.local_participant()
        self.remote_participants: Mapping[str, RemoteParticipant] = MappingProxyType(self._remote)
        self.active_speakers: tuple[Participant, ...] = ()

    # ------------------------------------------------------------------ connection

    def set_connection_state(self, state: ConnectionState) -> None:
        """Change the connection state, with an event if it is a change."""
        previous = self.connection
        if state is not previous:
            self.connection = state
            self._emit(events.ConnectionStateChanged(state, previous))

    def connected(self) -> None:
        """Media can flow for the first time."""
        self.set_connection_state(ConnectionState.CONNECTED)
        self._emit(events.Connected())

    def disconnected(self, reason: DisconnectReason, detail: str = "") -> None:
        """The session has ended. Participants stay as they last were: they did not leave, we did."""
        self.set_connection_state(ConnectionState.DISCONNECTED)
        self._emit(events.Disconnected(reason, detail))

    # ------------------------------------------------------------------ whole pictures

    def apply_join(self, join: rtc.JoinResponse) -> None:
        """Take over a join response.

        The first one is the beginning and tells nothing: there was no state that could have changed. A later one (a
        full reconnect) is compared with what was known, and the differences are told.
        """
        if not self.joined:
            self._emit = _tell_nobody
        self._apply_server(join)
        self._apply_own(join.participant, replaces=True)
        self._stop_speakers()
        self._retain(join.other_participants)
        self._apply_room(join.room)
        for info in join.other_participants:
            self._apply_info(info)
        self.joined = True
        self._emit = self._outbox.append

    def apply_room_moved(self, moved: rtc.RoomMovedResponse) -> None:
        """We are in another room now. The token in the message is the caller's business."""
        previous = self.name
        self._stop_speakers()
        self._retain(moved.other_participants)
        self.name = moved.room.name
        self._emit(events.Moved(self.name, previous))
        self._apply_own(moved.participant, replaces=True)
        self._apply_room(moved.room)
        for info in moved.other_participants:
            self._apply_info(info)

    def begin_resync(self) -> None:
        """From now on note who is mentioned: after a resume the server tells everybody who is there, in pieces."""
        self._mentioned = set()

    def abandon_resync(self) -> None:
        """The whole picture will not arrive: nobody is gone for not having been mentioned."""
        self._mentioned = None

    @property
    def resyncing(self) -> bool:
        """Whether the whole picture is awaited."""
        return self._mentioned is not None

    def end_resync(self) -> None:
        """The whole picture has arrived: whoever was not mentioned since ``begin_resync`` is gone."""
        mentioned, self._mentioned = self._mentioned, None
        if mentioned is None:
            return
        for participant in list(self._remote.values()):
            if participant.identity not in mentioned:
                self._remove(participant, DisconnectReason.UNKNOWN_REASON)

    def _retain(self, infos: Iterable[models.ParticipantInfo]) -> None:
        """Remove everybody whose session is not in the list."""
        sids = {info.sid for info in infos}
        for participant in list(self._remote.values()):
            if participant.sid not in sids:
                self._remove(participant, DisconnectReason.UNKNOWN_REASON)

    # ------------------------------------------------------------------ participants

    def apply_update(self, update: rtc.ParticipantUpdate) -> None:
        """News of some participants, ourselves perhaps among them."""
        for info in update.participants:
            self._apply_info(info)

    def _apply_info(self, info: models.ParticipantInfo) -> None:
        identity, sid, own = info.identity, info.sid, self.local_participant
        if not identity or not sid:
            self.counters.add("participant_without_id")
            return
        if identity == own.identity or sid == own.sid:
            self._apply_own(info)
            return
        known = self._remote.get(identity)
        if info.state == _DISCONNECTED:
            if known is not None and (known.sid == sid or _is_later(info, known)):
                self._remove(known, DisconnectReason(info.disconnect_reason))
            else:
                self.counters.add("disconnect_of_unknown")
            return
        if known is not None and known.sid != sid:
            self._remove(known, DisconnectReason.UNKNOWN_REASON)
            known = None
        if self._mentioned is not None and known is not None:
            self._mentioned.add(identity)
        if known is not None and info.version < known._version:
            self.counters.add("stale_participant_info")
            return
        size = info.ByteSize()
        grown = self._bytes + size - (known._size if known is not None else 0)
        if size > limits.PARTICIPANT_INFO_BYTES or grown > limits.ROOM_STATE_BYTES:
            self.counters.add("participant_info_too_large")
            return
        if known is None:
            known = self._add(identity, sid)
            if known is None:
                return
        self._bytes = grown
        known._size = size
        self._apply_remote(known, info)

    def _add(self, identity: str, sid: str) -> RemoteParticipant | None:
        """A newcomer, in the tables but not yet announced; None when there is no place."""
        if sid in self._by_sid:
            self.counters.add("sid_of_somebody_else")
            return None
        if len(self._remote) >= limits.PARTICIPANTS:
            self.counters.add("too_many_participants")
            return None
        participant = self._factories.remote_participant(identity, sid)
        self._remote[identity] = self._by_sid[sid] = participant
        if self._mentioned is not None:
            self._mentioned.add(identity)
        return participant

    def _apply_remote(self, participant: RemoteParticipant, info: models.ParticipantInfo) -> None:
        previous = participant.state
        if participant._version < 0:
            emit, self._emit = self._emit, _tell_nobody
            self._apply_common(participant, info)
            self._emit = emit
            self._emit(events.ParticipantConnected(participant))
        else:
            self._apply_common(participant, info)
        if participant.state is ParticipantState.ACTIVE and previous is not ParticipantState.ACTIVE:
            self._emit(events.ParticipantActive(participant))
        self._apply_tracks(participant, info)
        self._apply_data_tracks(participant, info)

    def _apply_own(self, info: models.ParticipantInfo, *, replaces: bool = False) -> None:
        """News of ourselves. ``replaces``: the beginning of a session, whatever version was known before."""
        own = self.local_participant
        if not replaces:
            if info.state == _DISCONNECTED:  # of an earlier session, or followed by the message that ends this one
                self.counters.add("own_disconnect")
                return
            if info.sid == own.sid and info.version < own._version:
                self.counters.add("stale_participant_info")
                return
        own.identity = info.identity or own.identity
        own.sid = info.sid or own.sid
        self._apply_common(own, info)
        for track in info.tracks:
            publication = own._publications.get(track.sid)
            if publication is not None:
                publication._update(track)
        self.on_own_data_tracks(info.data_tracks)

    def _apply_common(self, participant: Participant, info: models.ParticipantInfo) -> None:
        emit = self._emit
        participant._version = info.version
        participant.state = ParticipantState(info.state)
        participant.kind = ParticipantKind(info.kind)
        participant.kind_value = info.kind
        participant.joined_at = _joined_at(info)
        participant.is_publisher = info.is_publisher
        participant.client_protocol = info.client_protocol
        participant.capabilities = tuple(info.capabilities[: limits.SHORT_LIST])
        name = participant.name
        if info.name != name:
            participant.name = info.name
            emit(events.ParticipantNameChanged(info.name, participant, name))
        metadata = participant.metadata
        if info.metadata != metadata:
            participant.metadata = info.metadata
            emit(events.ParticipantMetadataChanged(metadata, participant, info.metadata))
        before, attributes = participant.attributes, self._attributes(info)
        if attributes != before:
            changed = {key: value for key, value in attributes.items() if before.get(key) != value}
            changed.update({key: "" for key in before if key not in attributes})
            participant.attributes = MappingProxyType(attributes)
            emit(events.ParticipantAttributesChanged(changed, participant, before))
        if info.HasField("permission"):
            allowed, permissions = participant.permissions, _permissions(info.permission)
            if permissions != allowed:
                participant.permissions = permissions
                emit(events.ParticipantPermissionsChanged(allowed, participant, permissions))

    def _attributes(self, info: models.ParticipantInfo) -> dict[str, str]:
        """Sorted, because protobuf leaves the order of a map open."""
        items = sorted(info.attributes.items())
        if len(items) > limits.ATTRIBUTES_PER_PARTICIPANT:
            self.counters.add("too_many_attributes", len(items) - limits.ATTRIBUTES_PER_PARTICIPANT)
            del items[limits.ATTRIBUTES_PER_PARTICIPANT :]
        return dict(items)

    def _remove(self, participant: RemoteParticipant, reason: DisconnectReason) -> None:
        for sid in list(participant._publications):
            self._unpublish(participant, sid)
        for sid in list(participant._data_tracks):
            self._unpublish_data_track(participant, sid, reason)
        del self._remote[participant.identity]
        del self._by_sid[participant.sid]
        self._bytes -= participant._size
        if self._mentioned is not None:
            self._mentioned.discard(participant.identity)
        participant.state = ParticipantState.DISCONNECTED
        participant.disconnect_reason = reason
        spoke = participant.is_speaking
        if spoke:
            participant.is_speaking = False
            participant.audio_level = 0.0
            self._speakers.remove(participant)
        self._emit(events.ParticipantDisconnected(participant, reason))
        for told in self.on_left:
            told(participant)
        if spoke:
            self._speakers_changed()

    def _find(self, sid: str) -> Participant | None:
        """Whoever has this sid, ourselves included."""
        if sid and sid == self.local_participant.sid:
            return self.local_participant
        return self._by_sid.get(sid)

    # ------------------------------------------------------------------ publications of others

    def _apply_tracks(self, participant: RemoteParticipant, info: models.ParticipantInfo) -> None:
        """The complete list of a participant's tracks: first what is gone, then what changed and what is new."""
        publications: dict[str, RemoteTrackPublication] = participant._publications
        tracks = {track.sid: track for track in info.tracks if track.sid}
        for sid in [sid for sid in publications if sid not in tracks]:
            self._unpublish(participant, sid)
        for sid, track in tracks.items():
            publication = publications.get(sid)
            if publication is None:
                if len(publications) >= limits.TRACKS_PER_PARTICIPANT:
                    self.counters.add("too_many_tracks")
                    continue
                publication = self._factories.remote_publication(participant, sid)
                publication.desired = self._auto_subscribe
                publication._update(track)
                publications[sid] = publication
                self._emit(events.TrackPublished(publication, participant))
            else:
                muted = publication.muted
                publication._update(track)
                if publication.muted != muted:
                    self._emit_muted(publication, participant)

    def _apply_data_tracks(self, participant: RemoteParticipant, info: models.ParticipantInfo) -> None:
        """The complete list of a participant's data tracks."""
        tracks: dict[str, RemoteDataTrack] = participant._data_tracks
        listed = {track.sid: track for track in info.data_tracks if track.sid}
        for sid in [sid for sid in tracks if sid not in listed]:
            self._unpublish_data_track(participant, sid, None)
        for sid, described in listed.items():
            if sid in tracks:
                continue
            if len(tracks) >= limits.DATA_TRACKS_PER_PARTICIPANT:
                self.counters.add("too_many_data_tracks")
                break
            tracks[sid] = track = self._factories.remote_data_track(described, participant.identity)
            self.on_data_track(track)
            self._emit(events.DataTrackPublished(track, participant))

    def _unpublish_data_track(self, participant: RemoteParticipant, sid: str, reason: DisconnectReason | None) -> None:
        track = participant._data_tracks.pop(sid)
        self.on_data_track_gone(track, reason)
        self._emit(events.DataTrackUnpublished(sid, track, participant))

    def _unpublish(self, participant: RemoteParticipant, sid: str) -> None:
        publication = participant._publications.pop(sid)
        self.on_unpublish(publication)
        self._emit(events.TrackUnpublished(publication, participant))

    def _emit_muted(self, publication: Any, participant: Participant) -> None:
        event = events.TrackMuted if publication.muted else events.TrackUnmuted
        self._emit(event(publication, participant))

    def remote_publication(self, participant_sid: str, track_sid: str) -> RemoteTrackPublication | None:
        """The publication ``track_sid`` of the remote participant ``participant_sid``, None while it is not known."""
        participant = self._by_sid.get(participant_sid)
        return participant._publications.get(track_sid) if participant is not None else None

    def _publication(self, participant_sid: str, track_sid: str) -> RemoteTrackPublication | None:
        publication = self.remote_publication(participant_sid, track_sid)
        if publication is None:
            self.counters.add("unknown_track")
        return publication

    def apply_stream_state(self, update: rtc.StreamStateUpdate) -> None:
        """The server paused subscribed videos, or goes on with them."""
        for info in update.stream_states:
            publication = self._publication(info.participant_sid, info.track_sid)
            if publication is not None:
                state = StreamState(info.state)
                if state is not publication.stream_state:
                    publication.stream_state = state
                    self._emit(events.TrackStreamStateChanged(publication, state, publication.participant))

    def apply_subscription_permission(self, update: rtc.SubscriptionPermissionUpdate) -> None:
        """A publisher lets us have a track, or not. The server also says "allowed" whenever a subscription starts."""
        publication = self._publication(update.participant_sid, update.track_sid)
        if publication is not None and publication.subscription_allowed != update.allowed:
            publication.subscription_allowed = update.allowed
            self._emit(events.TrackSubscriptionPermissionChanged(publication, update.allowed, publication.participant))

    def apply_subscription_response(self, response: rtc.SubscriptionResponse) -> None:
        """The server gave up on a subscription."""
        sid = response.track_sid
        owner = next((someone for someone in self._remote.values() if sid in someone._publications), None)
        self._emit(events.TrackSubscriptionFailed(sid, owner, SubscriptionError(response.err)))

    # ------------------------------------------------------------------ publications of ours

    def add_local_publication(self, info: models.TrackInfo) -> LocalTrackPublication:
        """The server accepted a track of ours (TrackPublished). Accepting it again only updates the publication."""
        own = self.local_participant
        publication: LocalTrackPublication | None = own._publications.get(info.sid)
        if publication is not None:
            publication._update(info)
            return publication
        publication = self._factories.local_publication(own, info.sid)
        publication._update(info)
        publication.muted = info.muted
        own._publications[info.sid] = publication
        self._emit(events.LocalTrackPublished(publication, own))
        return publication

    def remove_local_publication(self, sid: str) -> None:
        """A track of ours has ended."""
        publication: LocalTrackPublication = self.local_participant._publications.pop(sid)
        self._emit(events.LocalTrackUnpublished(publication, self.local_participant))

    def rename_local_publication(self, publication: LocalTrackPublication, info: models.TrackInfo) -> None:
        """A track of ours was published anew, in a new session: the same publication under another sid."""
        own, previous = self.local_participant._publications, publication.sid
        own.pop(previous, None)
        publication.sid = info.sid
        publication._update(info)
        publication.subscribed, publication.layers_wanted = False, ()
        own[info.sid] = publication
        self._emit(events.LocalTrackRepublished(publication, previous, self.local_participant))

    def set_local_muted(self, sid: str, muted: bool) -> None:
        """A track of ours is muted, or not any more."""
        publication: LocalTrackPublication = self.local_participant._publications[sid]
        if publication.muted != muted:
            publication.muted = muted
            self._emit_muted(publication, self.local_participant)

    def set_layers_wanted(self, publication: LocalTrackPublication | None, wanted: tuple[bool, ...]) -> None:
        """Which layers of a video of ours somebody wants."""
        if publication is not None and publication.layers_wanted != wanted:
            publication.layers_wanted = wanted
            self._emit(events.LocalTrackLayersChanged(publication, wanted, self.local_participant))

    def _own_publication(self, sid: str) -> LocalTrackPublication | None:
        publication: LocalTrackPublication | None = self.local_participant._publications.get(sid)
        if publication is None:
            self.counters.add("unknown_track")
        return publication

    def apply_mute(self, sid: str, muted: bool) -> None:
        """The server muted or unmuted the track ``sid`` of ours."""
        publication = self._own_publication(sid)
        if publication is not None:
            publication.muted_on_server = muted
            self.set_local_muted(sid, muted)

    def apply_track_unpublished(self, message: rtc.TrackUnpublishedResponse) -> None:
        """The server ended a track of ours, say because a permission was taken back."""
        if self._own_publication(message.track_sid) is not None:
            self.remove_local_publication(message.track_sid)

    def apply_track_subscribed(self, message: rtc.TrackSubscribed) -> None:
        """Somebody subscribed to a track of ours for the first time."""
        publication = self._own_publication(message.track_sid)
        if publication is not None and not publication.subscribed:
            publication.subscribed = True
            self._emit(events.LocalTrackSubscribed(publication, self.local_participant))

    # ------------------------------------------------------------------ speakers and quality

    def apply_speakers(self, update: rtc.SpeakersChanged) -> None:
        """Whoever began, goes on or stopped speaking; who is not in the message goes on as before."""
        for info in update.speakers:
            participant = self._find(info.sid)
            if participant is None:
                self.counters.add("unknown_participant")
                continue
            participant.audio_level = _level(info.level) if info.active else 0.0
            if participant.is_speaking != info.active:
                participant.is_speaking = info.active
                if info.active:
                    self._speakers.append(participant)
                else:
                    self._speakers.remove(participant)
                self._emit(events.IsSpeakingChanged(participant, info.active))
        self._speakers_changed()

    def _speakers_changed(self) -> None:
        self._speakers.sort(key=lambda participant: -participant.audio_level)
        speakers = tuple(self._speakers)
        levels = tuple([participant.audio_level for participant in speakers])
        if speakers != self.active_speakers or levels != self._levels:
            self.active_speakers, self._levels = speakers, levels
            self._emit(events.ActiveSpeakersChanged(speakers, levels))

    def _stop_speakers(self) -> None:
        """A new session begins in silence: what the server tells of speakers are differences."""
        speakers, self._speakers = self._speakers, []
        for participant in speakers:
            participant.is_speaking = False
            participant.audio_level = 0.0
            self._emit(events.IsSpeakingChanged(participant, False))
        self._speakers_changed()

    def apply_quality(self, update: rtc.ConnectionQualityUpdate) -> None:
        """The server's opinion of connections, ours included."""
        for info in update.updates:
            participant = self._find(info.participant_sid)
            if participant is None:
                self.counters.add("unknown_participant")
                continue
            quality, previous = ConnectionQuality(info.quality), participant.connection_quality
            participant.connection_score = info.score
            if quality is not previous:
                participant.connection_quality = quality
                self._emit(events.ConnectionQualityChanged(quality, participant, previous, info.score))

    # ------------------------------------------------------------------ the room itself

    def apply_room_update(self, update: rtc.RoomUpdate) -> None:
        """News of the room, complete."""
        self._apply_room(update.room)

    def _apply_room(self, room: models.Room) -> None:
        changed: dict[str, Any] = {}
        metadata = self.metadata
        for attribute, value in (
            ("sid", room.sid or self.sid),  # LiveKit Cloud may tell it later than the rest
            ("name", room.name),
            ("metadata", room.metadata),
            ("num_participants", room.num_participants),
            ("num_publishers", room.num_publishers),
            ("max_participants", room.max_participants),
            ("empty_timeout", room.empty_timeout),
            ("departure_timeout", room.departure_timeout),
            ("creation_time", utc_from_ms(room.creation_time_ms or room.creation_time * 1000)),
            ("is_recording", room.active_recording),
        ):
            if getattr(self, attribute) != value:
                setattr(self, attribute, value)
                changed[attribute] = value
        if "metadata" in changed:
            self._emit(events.RoomMetadataChanged(room.metadata, metadata))
        if "is_recording" in changed:
            self._emit(events.RecordingStatusChanged(room.active_recording))
        if changed:
            self._emit(events.RoomUpdated(changed))

    def _apply_server(self, join: rtc.JoinResponse) -> None:
        info = join.server_info
        self.server_info = ServerInfo(
            edition=info.edition,
            version=info.version or join.server_version,
            protocol=info.protocol,
            region=info.region or join.server_region,
            node_id=info.node_id,
            agent_protocol=info.agent_protocol,
        )


def _ignore(*facts: object) -> None:
    """Nobody keeps track of publications."""


def _is_later(info: models.ParticipantInfo, known: RemoteParticipant) -> bool:
    """Whether an info is of a session that began after the one that we know under this identity."""
    joined_at = _joined_at(info)
    return joined_at is not None and known.joined_at is not None and joined_at > known.joined_at


def _joined_at(info: models.ParticipantInfo) -> datetime | None:
    return utc_from_ms(info.joined_at_ms or info.joined_at * 1000)


def _tell_nobody(event: Event) -> None:
    """Where events go that describe a beginning and not a change."""


def _permissions(info: models.ParticipantPermission) -> Permissions:
    return Permissions(
        can_subscribe=info.can_subscribe,
        can_publish=info.can_publish,
        can_publish_data=info.can_publish_data,
        can_publish_sources=tuple([TrackSource(value) for value in info.can_publish_sources[: limits.SHORT_LIST]]),
        hidden=info.hidden,
        can_update_metadata=info.can_update_metadata,
        agent=info.agent,
        can_subscribe_metrics=info.can_subscribe_metrics,
    )


def _level(level: float) -> float:
    """Clamped to 0..1; not-a-number is silence, so that sorting by it makes sense."""
    if level >= 1.0:
        return 1.0
    return level if level > 0.0 else 0.0
