"""A room: who is in it, which tracks there are, who gets which, and what everybody is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.contract import INF, NOW
from ..base.counters import Counters
from ..base.limits import SFU_GONE
from .calls import CallEnded, RoomCalls
from .data_tracks import DataTrackRoom
from .participant import Choice, ServerParticipant
from .track import UpTrack

if TYPE_CHECKING:
    from ..proto import models

SPEAKER_INTERVAL = 0.4
"""Seconds between two looks at who speaks."""
LEAST_LEVEL = 10 ** (-35 / 20)
QUALITY_INTERVAL = 5.0
"""Seconds between two judgements of connections."""
PAUSE_DELAY = 5.0
"""Seconds after which a publisher is told that a layer is not needed any more."""


class Room:
    """See the head of the module. ``info`` is what clients are told of it; ``due`` when ``tick`` has to be called.

    ``closes_at``: when it ends for want of participants. ``gone``: sids of those who left, with the time.
    """

    def __init__(
        self, info: models.Room, trailer: bytes, counters: Counters, ended: deque[CallEnded], now: float
    ) -> None:
        self.name = info.name
        self.sid = info.sid
        self.info = info
        self.trailer = trailer
        self.participants: dict[str, ServerParticipant] = {}
        self.counters = counters
        self.data_tracks = DataTrackRoom(counters)
        self.calls = RoomCalls(ended)
        self.closes_at = now + info.empty_timeout
        self.gone: dict[str, tuple[models.ParticipantInfo, float]] = {}
        self._told_counts = (0, 0)
        self._speaker_due = INF
        self._quality_due = INF
        self._forced: dict[str, float] = {}
        self._pauses: dict[str, float] = {}

    # ------------------------------------------------------------------ who is here

    def enter(self, participant: ServerParticipant, now: float) -> None:
        """Somebody joins."""
        self.participants[participant.claims.identity] = participant
        participant.room = self
        self.closes_at = INF
        self._count()
        self._quality_due = min(self._quality_due, now + QUALITY_INTERVAL)

    def leave(self, participant: ServerParticipant, reason: Any, now: float) -> None:
        """Somebody is gone: tracks end, others are told; but not when the same identity is about to come anew."""
        del self.participants[participant.claims.identity]
        self.data_tracks.forget(participant)
        self.calls.forget(participant)
        for track in list(participant.tracks.values()):
            self._end_track(track)
        for track_sid in list(participant.downs):
            track = participant.downs[track_sid].track
            participant.unsubscribe(track)
            self._judge_layers(track, now)
        info = participant.info
        info.state = proto.models.ParticipantInfo.DISCONNECTED
        info.disconnect_reason = reason
        info.version += 1
        info.ClearField("tracks")
        self._forced.pop(participant.sid, None)
        for other in self.participants.values():
            other.told_qualities.pop(participant.sid, None)
        if not participant.claims.hidden and reason != proto.models.DUPLICATE_IDENTITY:
            if len(self.gone) >= SFU_GONE:
                del self.gone[next(iter(self.gone))]
            self.gone[participant.sid] = (info, now)
            self.broadcast("update", proto.rtc.ParticipantUpdate(participants=[info]))
        self._count()
        if not self.participants:
            self.closes_at = now + self.info.departure_timeout

    def _count(self) -> None:
        """The numbers that a room tells of itself."""
        self.info.num_participants = len(self.participants)
        self.info.num_publishers = len([one for one in self.participants.values() if one.tracks])

    def visible(self) -> list[ServerParticipant]:
        """Those who are not hidden."""
        return [participant for participant in self.participants.values() if not participant.claims.hidden]

    def by_sid(self, sid: str) -> ServerParticipant | None:
        """Somebody by the sid of the session."""
        for participant in self.participants.values():
            if participant.sid == sid:
                return participant
        return None

    def broadcast(self, kind: str, message: Any) -> None:
        """Tell everybody."""
        for participant in self.participants.values():
            participant.send(kind, message)

    def announce(self, participant: ServerParticipant) -> None:
        """Something about a participant has changed: it is told itself, and all others unless it is hidden."""
        participant.info.version += 1
        update = proto.rtc.ParticipantUpdate(participants=[participant.info])
        if participant.claims.hidden:
            participant.send("update", update)
        else:
            self.broadcast("update", update)

    # ------------------------------------------------------------------ tracks

    def match_sections(self, participant: ServerParticipant) -> list[UpTrack]:
        """After an offer: which section carries which announced track. Tracks without one end. Returns new ones."""
        connection = participant.peers[0].connection
        ended = False
        for slot in connection.slots:
            track = slot.track
            if track is None:
                continue
            msid = slot.remote.msid if slot.remote is not None else None
            other = msid is not None and msid.track and msid.track != track.sdp_cid
            if not slot.sends or slot.mid != track.mid or other:
                self.unpublish(participant, track)
                ended = True
        fresh = []
        for slot in connection.publishing():
            remote = slot.remote
            if slot.track is not None or remote is None:
                continue
            name = (remote.msid.track or remote.msid.stream) if remote.msid is not None else ""
            track = self._take_pending(participant, slot.kind, name)
            if track is None:
                continue  # parked until it is announced
            track.sdp_cid = name
            slot.track = track
            rids = [rid.id for rid in remote.rids if rid.direction == "send"]
            connection.media.publish(slot.mid, track, remote.streams(), rids)
            track.describe(_mime(track, remote.codecs), slot.mid)
            participant.tracks[track.sid] = track
            fresh.append(track)
        if ended and not fresh:
            self._update_tracks(participant)
        return fresh

    def _take_pending(self, participant: ServerParticipant, kind: str, name: str) -> UpTrack | None:
        candidates = [track for track in participant.pending.values() if track.kind == kind]
        for track in candidates:
            if name in track.cids:
                return participant.pending.pop(track.cid)
        return participant.pending.pop(candidates[0].cid) if candidates else None

    def published(self, participant: ServerParticipant, track: UpTrack, now: float) -> None:
        """A track has got its section: everybody is told, and gets it who wants it."""
        self._update_tracks(participant)
        if track.kind == "audio" and self._speaker_due == INF:
            self._speaker_due = now + SPEAKER_INTERVAL
        for other in self.participants.values():
            if other is not participant:
                self.reconcile(other, track, participant, now)

    def _update_tracks(self, participant: ServerParticipant) -> None:
        info = participant.info
        info.ClearField("tracks")
        info.tracks.extend([track.info for track in participant.tracks.values()])
        info.is_publisher = bool(participant.tracks)
        self._count()
        self.announce(participant)

    def refresh_track(self, participant: ServerParticipant) -> None:
        """The description of a track has changed."""
        self._update_tracks(participant)

    def unpublish(self, participant: ServerParticipant, track: UpTrack) -> None:
        """A track ends, and nobody gets it any more."""
        participant.peers[0].connection.release(track)
        del participant.tracks[track.sid]
        self._end_track(track)

    def _end_track(self, track: UpTrack) -> None:
        self._pauses.pop(track.sid, None)
        for down in list(track.downs.values()):
            subscriber = self.by_sid(down.subscriber)
            assert subscriber is not None
            subscriber.unsubscribe(track)

    def find_track(self, sid: str) -> tuple[ServerParticipant, UpTrack] | None:
        """A published track and who publishes it."""
        for participant in self.participants.values():
            track = participant.tracks.get(sid)
            if track is not None:
                return participant, track
        return None

    # ------------------------------------------------------------------ subscriptions

    def reconcile_all(self, subscriber: ServerParticipant, now: float) -> None:
        """Give a participant what it should have, of everybody."""
        for publisher in list(self.participants.values()):
            if publisher is not subscriber:
                for track in list(publisher.tracks.values()):
                    self.reconcile(subscriber, track, publisher, now)

    def reconcile(
        self, subscriber: ServerParticipant, track: UpTrack, publisher: ServerParticipant, now: float
    ) -> None:
        """Begin or end a subscription, as the subscriber's choice and both sides' permission say."""
        choice = subscriber.choices.get(track.sid)
        wanted = subscriber.auto_subscribe
        if choice is not None and choice.wanted is not None:
            wanted = choice.wanted
        allowed = self.permits(publisher, track, subscriber)
        has = track.sid in subscriber.downs
        if wanted and subscriber.claims.can_subscribe and allowed:
            if not has:
                down = subscriber.subscribe(track)
                if choice is not None:
                    _apply_choice(choice, down, now)
                told = proto.rtc.SubscriptionPermissionUpdate(
                    participant_sid=publisher.sid, track_sid=track.sid, allowed=True
                )
                subscriber.send("subscription_permission_update", told)
                if not track.told_subscribed:
                    track.told_subscribed = True
                    publisher.send("track_subscribed", proto.rtc.TrackSubscribed(track_sid=track.sid))
                self._judge_layers(track, now)
        elif has:
            subscriber.unsubscribe(track)
            if not allowed:
                told = proto.rtc.SubscriptionPermissionUpdate(participant_sid=publisher.sid, track_sid=track.sid)
                subscriber.send("subscription_permission_update", told)
            self._judge_layers(track, now)

    def permits(self, publisher: ServerParticipant, track: UpTrack, subscriber: ServerParticipant) -> bool:
        """Whether a publisher lets somebody have a track."""
        if publisher.permit_all:
            return True
        for permit in publisher.permits:
            if permit.participant_sid == subscriber.sid or (
                permit.participant_identity and permit.participant_identity == subscriber.claims.identity
            ):
                return permit.all_tracks or track.sid in permit.track_sids
        return False

    def choose(self, subscriber: ServerParticipant, track_sid: str, choice: Choice, now: float) -> None:
        """A participant has said something about a track."""
        found = self.find_track(track_sid)
        if found is None:
            return
        publisher, track = found
        if publisher is not subscriber:
            self.reconcile(subscriber, track, publisher, now)
            down = subscriber.downs.get(track_sid)
            if down is not None:
                _apply_choice(choice, down, now)
                self._judge_layers(track, now)

    def restrict(self, publisher: ServerParticipant, now: float) -> None:
        """The publisher has said who may have its tracks."""
        for track in list(publisher.tracks.values()):
            for other in self.participants.values():
                if other is not publisher:
                    self.reconcile(other, track, publisher, now)

    def _judge_layers(self, track: UpTrack, now: float) -> None:
        """Tell a publisher of video which layers somebody takes: more at once, fewer after a while."""
        if track.kind != "video":
            return
        wanted = max([down.max_layer for down in track.downs.values() if down.enabled], default=-1)
        needed = tuple([layer <= wanted for layer in range(3)])
        before = track.told_qualities
        if needed == before or (before is None and wanted < 0):
            self._pauses.pop(track.sid, None)
        elif before is None or needed > before:
            self._tell_layers(track, needed)
        else:
            self._pauses.setdefault(track.sid, now + PAUSE_DELAY)

    def _tell_layers(self, track: UpTrack, needed: tuple[bool, ...]) -> None:
        self._pauses.pop(track.sid, None)
        track.told_qualities = needed
        found = self.find_track(track.sid)
        if found is None:
            return
        rtc = proto.rtc
        update = rtc.SubscribedQualityUpdate(track_sid=track.sid)
        layers = [
            rtc.SubscribedQuality(quality=name, enabled=enabled)
            for name, enabled in zip(("LOW", "MEDIUM", "HIGH"), needed, strict=True)
        ]
        update.subscribed_qualities.extend(layers)
        codec = track.info.mime_type.partition("/")[2].lower()
        update.subscribed_codecs.append(rtc.SubscribedCodec(codec=codec, qualities=layers))
        found[0].send("subscribed_quality_update", update)

    # ------------------------------------------------------------------ data

    def relay(self, sender: ServerParticipant, reliable: bool, data: bytes, now: float) -> None:
        """A packet of a data channel: to those it names, or to all others."""
        if not sender.claims.can_publish_data:
            self.counters.add("data_not_allowed")
            return
        try:
            packet = proto.models.DataPacket.FromString(data)
        except proto.DecodeError:
            self.counters.add("data_undecodable")
            return
        if reliable and packet.sequence:
            if packet.sequence <= sender.last_sequence:
                self.counters.add("data_duplicate")
                return
            sender.last_sequence = packet.sequence
        if self.calls.due < INF and self.calls.take(sender, packet):
            return
        packet.participant_identity = "" if sender.claims.hidden else sender.claims.identity
        packet.participant_sid = "" if sender.claims.hidden else sender.sid
        self.deliver(packet, reliable, sender, now)

    def relay_raw(self, sender: ServerParticipant, reliable: bool, data: bytes, now: float) -> None:
        """A message on a channel of another name: it goes on as user data."""
        packet = proto.models.DataPacket()
        packet.user.payload = data
        self.relay(sender, reliable, packet.SerializeToString(), now)

    def deliver(self, packet: models.DataPacket, reliable: bool, sender: ServerParticipant | None, now: float) -> None:
        """Send a packet down."""
        if packet.WhichOneof("value") == "user":
            user = packet.user
            wanted = list(packet.destination_identities) or list(user.destination_identities)
            sids = list(user.destination_sids)
            user.participant_identity, user.participant_sid = packet.participant_identity, packet.participant_sid
        else:
            wanted, sids = list(packet.destination_identities), []
        packet.kind = proto.models.DataPacket.RELIABLE if reliable else proto.models.DataPacket.LOSSY
        encoded = packet.SerializeToString(deterministic=True)
        for identity, other in self.participants.items():
            if other is not sender and ((not wanted and not sids) or identity in wanted or other.sid in sids):
                other.send_data(encoded, reliable, now)
                other.wake()

    # ------------------------------------------------------------------ time

    @property
    def due(self) -> float:
        """When ``tick`` has to be called."""
        pause = min(self._pauses.values(), default=INF)
        return min(self._speaker_due, self._quality_due, self.closes_at, self.calls.due, pause)

    def force_speaker(self, participant: ServerParticipant, until: float, now: float) -> None:
        """Count somebody as speaking for a while."""
        self._forced[participant.sid] = until
        self._speaker_due = min(self._speaker_due, now + SPEAKER_INTERVAL)

    def tick(self, now: float) -> None:
        """Do what is due, except to end."""
        for sid, at in list(self._pauses.items()):
            if at <= now:
                del self._pauses[sid]
                found = self.find_track(sid)
                if found is not None:
                    wanted = max([down.max_layer for down in found[1].downs.values() if down.enabled], default=-1)
                    self._tell_layers(found[1], tuple([layer <= wanted for layer in range(3)]))
        if self.calls.due <= now:
            self.calls.tick(now)
        if self._speaker_due <= now:
            self._judge_speakers(now)
        if self._quality_due <= now:
            self._judge_quality(now)

    def _judge_speakers(self, now: float) -> None:
        levels: dict[str, float] = {}
        audible = False
        for participant in self.participants.values():
            level = 0.0
            for track in participant.tracks.values():
                if track.kind == "audio" and not track.info.muted:
                    level = max(level, track.meter.read(now))
                    audible = True
            until = self._forced.get(participant.sid, NOW)
            if until > now:
                level, audible = 0.9, True
            else:
                self._forced.pop(participant.sid, None)
            if level >= LEAST_LEVEL:
                levels[participant.sid] = ceil(level * 8) / 8
        for participant in self.participants.values():
            self._tell_speakers(participant, levels)
        self._speaker_due = now + SPEAKER_INTERVAL if audible or levels else INF

    def _tell_speakers(self, participant: ServerParticipant, levels: dict[str, float]) -> None:
        mine = {sid: level for sid, level in levels.items() if sid == participant.sid or self._hears(participant, sid)}
        told = participant.told_speakers
        if mine == told:
            return
        participant.told_speakers = mine
        changed = [(sid, level, True) for sid, level in mine.items() if told.get(sid) != level]
        changed += [(sid, 0.0, False) for sid in told if sid not in mine]
        update = proto.rtc.SpeakersChanged()
        for sid, level, active in changed:
            update.speakers.append(proto.models.SpeakerInfo(sid=sid, level=level, active=active))
        participant.send("speakers_changed", update)

    def _hears(self, participant: ServerParticipant, sid: str) -> bool:
        other = self.by_sid(sid)
        return other is not None and (
            sid in self._forced or any(track.sid in participant.downs for track in other.tracks.values())
        )

    def _judge_quality(self, now: float) -> None:
        self._quality_due = now + QUALITY_INTERVAL if self.participants else INF
        scores = {}
        for participant in self.participants.values():
            if participant.active:
                scores[participant.sid] = _score(participant)
        for participant in self.participants.values():
            updates = []
            for sid, (quality, score) in scores.items():
                other = self.by_sid(sid)
                if other is not participant and not self._hears(participant, sid):
                    continue
                if participant.told_qualities.get(sid) != quality:
                    participant.told_qualities[sid] = quality
                    updates.append(
                        proto.rtc.ConnectionQualityInfo(participant_sid=sid, quality=quality, score=score)  # type: ignore[arg-type]
                    )
            if updates:
                participant.send("connection_quality", proto.rtc.ConnectionQualityUpdate(updates=updates))
        counts = (self.info.num_participants, self.info.num_publishers)
        if counts != self._told_counts:
            self._told_counts = counts
            self.broadcast("room_update", proto.rtc.RoomUpdate(room=self.info))


def _score(participant: ServerParticipant) -> tuple[int, float]:
    """Quality and score of a participant's connections, by what is lost on the way."""
    losses = [stream.loss for peer in participant.peers for stream in peer.connection.media.streams if stream.started]
    losses += [down.loss for peer in participant.peers for down in peer.connection.media.downs]
    loss = max(losses, default=0.0)
    qualities = proto.models
    if not all(peer.connection.transport.ice.selected_addr is not None for peer in participant.peers if peer.up):
        return int(qualities.LOST), 0.0
    if loss < 0.02:
        return int(qualities.EXCELLENT), 4.5
    if loss < 0.1:
        return int(qualities.GOOD), 3.5
    return int(qualities.POOR), 2.0


def _apply_choice(choice: Choice, down: Any, now: float) -> None:
    if choice.setting is not None:
        down.set_max_layer(down.track.layer_for(choice.setting), now)
    down.set_enabled(not choice.disabled, now)


def _mime(track: UpTrack, codecs: Sequence[Any]) -> str:
    """The codec that a section will carry: what was announced; else RED where it may, else the first."""
    names = [codec.name.lower() for codec in codecs]
    if track.kind == "audio" and track.codec not in names and "red" in names and not track.info.disable_red:
        return "audio/red"
    name = track.codec if track.codec in names else names[0] if names else ""
    for codec in codecs:
        if codec.name.lower() == name:
            return f"{track.kind}/{codec.name}"
    return f"{track.kind}/{name}"
