"""A room: who is in it, which tracks there are, who gets which, and whom data goes to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.contract import INF
from ..base.counters import Counters
from ..base.limits import SFU_GONE
from .calls import CallEnded, RoomCalls
from .data_tracks import DataTrackRoom
from .layers import Layers
from .participant import Choice, ServerParticipant
from .quality import Quality
from .speakers import Speakers
from .track import UpTrack

if TYPE_CHECKING:
    from ..proto import models


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
        self.speakers = Speakers(self)
        self.quality = Quality(self)
        self.layers = Layers(self)

    # ------------------------------------------------------------------ who is here

    def enter(self, participant: ServerParticipant, now: float) -> None:
        """Somebody joins."""
        self.participants[participant.claims.identity] = participant
        participant.room = self
        self.closes_at = INF
        self._count()
        self.quality.watch(now)

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
            self.layers.judge(track, now)
        info = participant.info
        info.state = proto.models.ParticipantInfo.DISCONNECTED
        info.disconnect_reason = reason
        info.version += 1
        info.ClearField("tracks")
        self.speakers.forget(participant)
        self.quality.forget(participant)
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
            self.refresh_tracks(participant)
        return fresh

    def _take_pending(self, participant: ServerParticipant, kind: str, name: str) -> UpTrack | None:
        candidates = [track for track in participant.pending.values() if track.kind == kind]
        for track in candidates:
            if name in track.cids:
                return participant.pending.pop(track.cid)
        return participant.pending.pop(candidates[0].cid) if candidates else None

    def published(self, participant: ServerParticipant, track: UpTrack, now: float) -> None:
        """A track has got its section: everybody is told, and gets it who wants it."""
        self.refresh_tracks(participant)
        if track.kind == "audio":
            self.speakers.watch(now)
        for other in self.participants.values():
            if other is not participant:
                self.reconcile(other, track, participant, now)

    def refresh_tracks(self, participant: ServerParticipant) -> None:
        """A participant has other tracks, or the description of one has changed."""
        info = participant.info
        info.ClearField("tracks")
        info.tracks.extend([track.info for track in participant.tracks.values()])
        info.is_publisher = bool(participant.tracks)
        self._count()
        self.announce(participant)

    def unpublish(self, participant: ServerParticipant, track: UpTrack) -> None:
        """A track ends, and nobody gets it any more."""
        participant.peers[0].connection.release(track)
        del participant.tracks[track.sid]
        self._end_track(track)

    def _end_track(self, track: UpTrack) -> None:
        self.layers.forget(track)
        by_sid = {participant.sid: participant for participant in self.participants.values()}
        for sid in list(track.downs):
            by_sid[sid].unsubscribe(track)

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
                self.layers.judge(track, now)
        elif has:
            subscriber.unsubscribe(track)
            if not allowed:
                told = proto.rtc.SubscriptionPermissionUpdate(participant_sid=publisher.sid, track_sid=track.sid)
                subscriber.send("subscription_permission_update", told)
            self.layers.judge(track, now)

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
                self.layers.judge(track, now)

    def restrict(self, publisher: ServerParticipant, now: float) -> None:
        """The publisher has said who may have its tracks."""
        for track in list(publisher.tracks.values()):
            for other in self.participants.values():
                if other is not publisher:
                    self.reconcile(other, track, publisher, now)

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
        return min(self.speakers.due, self.quality.due, self.closes_at, self.calls.due, self.layers.due)

    def tick(self, now: float) -> None:
        """Do what is due, except to end."""
        self.layers.tick(now)
        if self.calls.due <= now:
            self.calls.tick(now)
        if self.speakers.due <= now:
            self.speakers.tick(now)
        if self.quality.due <= now:
            self.quality.tick(now)
            self._tell_counts()

    def _tell_counts(self) -> None:
        counts = (self.info.num_participants, self.info.num_publishers)
        if counts != self._told_counts:
            self._told_counts = counts
            self.broadcast("room_update", proto.rtc.RoomUpdate(room=self.info))


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
