"""Data tracks in a room of the development server: who publishes what, who subscribes, and packets handed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import proto
from ..base.counters import Counters
from ..base.limits import SFU_DATA_SUBSCRIPTIONS, SFU_DATA_TRACKS, SFU_NAME
from .participant import ServerParticipant

if TYPE_CHECKING:
    from ..proto import models, rtc

HEADER = 12


class _Track:
    def __init__(self, sid: str, handle: int, publisher: ServerParticipant) -> None:
        self.sid = sid
        self.handle = handle
        self.publisher = publisher
        self.subscribers: dict[ServerParticipant, int] = {}  # and the handles by which they know it


class DataTrackRoom:
    """The data tracks of one room."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._tracks: dict[str, _Track] = {}
        self._sent: dict[tuple[ServerParticipant, int], _Track] = {}
        self._subscriptions: dict[ServerParticipant, dict[int, _Track]] = {}
        self._last = 0

    def publish(self, participant: ServerParticipant, request: rtc.PublishDataTrackRequest, sid: str) -> bool:
        """A participant wants to publish; whether its info has changed. It is answered."""
        refused = self._refusal(participant, request)
        if refused:
            response = proto.rtc.RequestResponse(publish_data_track=request)
            response.reason = refused  # type: ignore[assignment]  # a member of the enum
            participant.send("request_response", response)
            return False
        track = _Track(sid, request.pub_handle, participant)
        self._tracks[sid] = self._sent[participant, request.pub_handle] = track
        info = participant.info.data_tracks.add(pub_handle=request.pub_handle, sid=sid, name=request.name)
        participant.send("publish_data_track_response", proto.rtc.PublishDataTrackResponse(info=info))
        return True

    def _refusal(self, participant: ServerParticipant, request: rtc.PublishDataTrackRequest) -> int:
        reasons, tracks = proto.rtc.RequestResponse, participant.info.data_tracks
        if not participant.claims.can_publish_data:
            return reasons.NOT_ALLOWED
        if not 0 < request.pub_handle <= 0xFFFF:
            return reasons.INVALID_HANDLE
        if not 0 < len(request.name) <= SFU_NAME:
            return reasons.INVALID_NAME
        if (participant, request.pub_handle) in self._sent:
            return reasons.DUPLICATE_HANDLE
        if any(track.name == request.name for track in tracks):
            return reasons.DUPLICATE_NAME
        return reasons.LIMIT_EXCEEDED if len(tracks) >= SFU_DATA_TRACKS else 0

    def unpublish(
        self, participant: ServerParticipant, request: rtc.UnpublishDataTrackRequest
    ) -> models.DataTrackInfo | None:
        """A participant ends a track: which, for the answer, which goes out after the update."""
        track = self._sent.pop((participant, request.pub_handle), None)
        if track is None:
            response = proto.rtc.RequestResponse(unpublish_data_track=request)
            response.reason = proto.rtc.RequestResponse.INVALID_HANDLE
            participant.send("request_response", response)
            return None
        self._drop(track)
        tracks = participant.info.data_tracks
        return tracks.pop([info.sid for info in tracks].index(track.sid))

    def _drop(self, track: _Track) -> None:
        del self._tracks[track.sid]
        for subscriber, handle in track.subscribers.items():
            del self._subscriptions[subscriber][handle]

    def subscribe(self, participant: ServerParticipant, message: rtc.UpdateDataSubscription) -> None:
        """A participant wants tracks, or wants them no longer. It is told all the handles that it has then."""
        mine = self._subscriptions.setdefault(participant, {})
        for update in message.updates:
            track = self._tracks.get(update.track_sid)
            if track is None or not participant.claims.can_subscribe:
                self._counters.add("data_subscription_ignored")
            elif not update.subscribe:
                handle = track.subscribers.pop(participant, 0)
                mine.pop(handle, None)
            elif participant not in track.subscribers and len(mine) < SFU_DATA_SUBSCRIPTIONS:
                self._last = self._last % 0xFFFF + 1
                while self._last in mine:
                    self._last = self._last % 0xFFFF + 1
                track.subscribers[participant] = self._last
                mine[self._last] = track
        handles = proto.rtc.DataTrackSubscriberHandles()
        for handle, track in mine.items():
            entry = handles.sub_handles[handle]
            entry.publisher_identity, entry.publisher_sid = track.publisher.claims.identity, track.publisher.sid
            entry.track_sid = track.sid
        participant.send("data_track_subscriber_handles", handles)

    def relay(self, sender: ServerParticipant, data: bytes, now: float) -> None:
        """Hand a packet on."""
        track = self._sent.get((sender, int.from_bytes(data[2:4], "big"))) if len(data) >= HEADER else None
        if track is None:
            self._counters.add("data_track_unknown")
            return
        for subscriber, handle in track.subscribers.items():
            subscriber.send_frame(data[:2] + handle.to_bytes(2, "big") + data[4:], now)
            subscriber.wake()

    def withdraw(self, participant: ServerParticipant) -> None:
        """Every track of a participant ends."""
        for key in [key for key in self._sent if key[0] is participant]:
            self._drop(self._sent.pop(key))
        participant.info.ClearField("data_tracks")

    def forget(self, participant: ServerParticipant) -> None:
        """A participant has left."""
        self.withdraw(participant)
        for track in self._subscriptions.pop(participant, {}).values():
            del track.subscribers[participant]
