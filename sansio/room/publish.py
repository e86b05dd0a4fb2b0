"""Our own tracks: requested from the server, put into a media section, muted, ended, published anew.

The request to add a track and the offer with its section go out together, inside the join request where a session
begins; the server pairs them by the cid. There is no way to take a request back. So a track that is given up meanwhile
keeps its section until the server has answered the offer, which completes the publication, and only then is the section
given up, which ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError
from ..base.limits import LOCAL_TRACKS
from ..peer.media import Sending
from ..rtp.sender import RtpSender
from ..types import SenderStats, TrackKind, VideoQuality
from .permissions import TrackPermissions
from .requests import Requests
from .state import RoomState
from .track import RIDS, LocalTrack, TrackDescription

if TYPE_CHECKING:
    from ..proto import models, rtc
    from .transports import Transports

PUBLISH_TIMEOUT = 10.0
"""Seconds that the server has to accept a track, once it has let us in."""

MOST_PENDING = 20
"""Tracks that the server may be asked for at a time: it refuses more whose media has not come yet."""

Send = Callable[[str, Any, float], None]


class Publisher:
    """The tracks of ours. ``send`` sends a signal request; the transports are given with each call, as a restart
    makes new ones."""

    def __init__(self, state: RoomState, requests: Requests, entropy: Entropy, send: Send) -> None:
        self._state = state
        self._requests = requests
        self._entropy = entropy
        self._send = send
        self.permissions = TrackPermissions(send)
        self.placed = False
        """Whether the first offer of the session is made: what is published before that stands in it."""
        self._tracks: dict[str, LocalTrack] = {}
        self._pending: dict[int, LocalTrack] = {}

    # ------------------------------------------------------------------ operations

    def publish(self, description: TrackDescription, transports: Transports, now: float) -> tuple[int, LocalTrack]:
        """Ask the server to take a track: the token of the request, whose result is the publication."""
        transports.check_sending(_codec(description))
        token, track = self.prepare(description, 0.0, now)
        if self._in_flight < MOST_PENDING:
            try:
                self._ask(track, transports, now)
            except LocalProtocolError:
                del self._tracks[track.cid], self._pending[token]
                self._requests.withdraw(token)
                raise
        return token, track

    def prepare(self, description: TrackDescription, patience: float, now: float) -> tuple[int, LocalTrack]:
        """A track that is to be published as the session begins; ``patience``: seconds until the join at most."""
        self._check_room()
        track = LocalTrack(description)
        track.cid = self._new_cid()
        token = self._requests.start("add_track", track.cid, timeout=patience + PUBLISH_TIMEOUT, now=now)
        self._tracks[track.cid] = track
        self._pending[token] = track
        return token, track

    def _ask(self, track: LocalTrack, transports: Transports, now: float) -> None:
        """Request and section of a track."""
        self._send("add_track", _add_track(track), now)
        self._place(track, transports)
        transports.negotiate(now)

    @property
    def _in_flight(self) -> int:
        """Tracks that the server has been asked for and has not got yet."""
        return sum(
            [track.sending is not None and not (track.confirmed and track.started) for track in self._tracks.values()]
        )

    def _ask_more(self, transports: Transports, now: float) -> None:
        """Ask for the tracks that had to wait for others."""
        if not self.placed:
            return
        for track in list(self._tracks.values()):
            if track.sending is None:
                if self._in_flight >= MOST_PENDING:
                    return
                try:
                    transports.check_sending(_codec(track.description))
                    self._ask(track, transports, now)
                except LocalProtocolError:  # no room just now; the request ends by time if there is none for long
                    return

    def _check_room(self) -> None:
        if len(self._tracks) >= LOCAL_TRACKS:
            raise LocalProtocolError(f"{LOCAL_TRACKS} tracks are published already")

    def cancel(self, token: int, transports: Transports, now: float) -> None:
        """Whoever asked does not wait any more: the track is ended as soon as it can be."""
        track = self._pending.pop(token, None)
        if track is not None:
            self._withdraw(track, transports, now)

    def unpublish(self, sid: str, transports: Transports, now: float) -> None:
        """End a published track."""
        track = self._by_sid(sid)
        if track is None:
            raise LocalProtocolError(f"no track {sid} of ours is published")
        self._state.remove_local_publication(sid)
        self._withdraw(track, transports, now)

    def set_muted(self, sid: str, muted: bool, now: float) -> None:
        """Mute a published track, or unmute it. Frames that are written while it is muted are dropped."""
        track = self._by_sid(sid)
        if track is None:
            raise LocalProtocolError(f"no track {sid} of ours is published")
        self._send("mute", proto.rtc.MuteTrackRequest(sid=sid, muted=muted), now)
        self._state.set_local_muted(sid, muted)
        self._heed_pauses(track)

    def _new_cid(self) -> str:
        return f"TR_{self._entropy.bytes(8).hex()}"

    def _by_sid(self, sid: str) -> LocalTrack | None:
        for track in self._tracks.values():
            if track.publication is not None and track.publication.sid == sid:
                return track
        return None

    def _withdraw(self, track: LocalTrack, transports: Transports, now: float) -> None:
        track.withdrawn = True
        if track.started or track.sending is None:
            self._finish(track, transports, now)

    def _finish(self, track: LocalTrack, transports: Transports, now: float) -> None:
        self._tracks.pop(track.cid, None)
        if track.sending is not None:
            transports.remove_sending(track.sending, now)
            transports.negotiate(now)
        self._ask_more(transports, now)

    @staticmethod
    def _heed_pauses(track: LocalTrack) -> None:
        for layer in range(len(track.wanted)):
            sender = track.sender(layer)
            if sender is not None:
                sender.set_paused(track.paused(layer))

    # ------------------------------------------------------------------ what the server says

    def handle_published(self, response: rtc.TrackPublishedResponse, now: float) -> None:
        """The server has accepted a track."""
        track = self._tracks.get(response.cid)
        if track is None or track.withdrawn:
            self._state.counters.add("unknown_track")
            return
        info: models.TrackInfo = response.track
        track.info = info
        if track.publication is None:
            publication = self._state.add_local_publication(info)
            publication.track = track.description.owner or track
            track.publication = publication
        else:
            previous = track.publication.sid
            self._state.rename_local_publication(track.publication, info)
            self.permissions.rename(previous, info.sid, now)
        self._requests.done("add_track", track.cid, track.publication)

    def handle_update(self, update: rtc.ParticipantUpdate, transports: Transports, now: float) -> None:
        """News of ourselves list the tracks that the server has got, and no longer waits for."""
        for info in update.participants:
            if info.sid == self._state.local_participant.sid:
                for listed in info.tracks:
                    track = self._by_sid(listed.sid)
                    if track is not None:
                        track.confirmed = True
                self._ask_more(transports, now)

    def handle_response(self, response: rtc.RequestResponse, transports: Transports, now: float) -> None:
        """What the server says of a request: one to publish anew, after a new start, may be refused."""
        if response.WhichOneof("request") == "add_track" and response.reason not in (
            proto.rtc.RequestResponse.OK,
            proto.rtc.RequestResponse.QUEUED,
        ):
            track = self._tracks.get(response.add_track.cid)
            if track is not None and track.publication is not None and not track.withdrawn:
                self._state.remove_local_publication(track.publication.sid)
                self._withdraw(track, transports, now)
        self.sweep(transports, now)

    def handle_mute(self, sid: str) -> None:
        """The server has muted or unmuted a track of ours; the state shows it already."""
        track = self._by_sid(sid)
        if track is not None:
            self._heed_pauses(track)

    def handle_unpublished(self, sid: str, transports: Transports, now: float) -> None:
        """The server has ended a track of ours."""
        track = self._by_sid(sid)
        if track is not None:
            self._withdraw(track, transports, now)

    def handle_started(self, sending: Sending, transports: Transports, now: float) -> LocalTrack | None:
        """A section is negotiated: its track, if that still lives."""
        track = self._tracks.get(sending.cid)
        if track is None:
            return None
        if track.withdrawn:
            self._finish(track, transports, now)
            return None
        self._heed_pauses(track)
        return track

    def handle_quality(self, update: rtc.SubscribedQualityUpdate) -> None:
        """Which layers of a track somebody wants. What is said of codecs that we do not send is passed over."""
        track = self._by_sid(update.track_sid)
        if track is None or track.description.kind is not TrackKind.VIDEO:
            self._state.counters.add("unknown_track")
            return
        description = track.description
        enabled = _enabled(update, description.codec)
        if enabled is None:
            return
        # A layer stands for its quality and for those below it that have none of their own, the last for all above.
        wanted, low = [], 0
        for quality in description.qualities:
            high = VideoQuality.HIGH if quality is description.qualities[-1] else quality
            wanted.append(any(low <= value <= high.value for value in enabled))
            low = high.value + 1
        self._state.set_layers_wanted(track.publication, tuple(wanted))
        if description.dynacast:
            track.wanted = tuple(wanted)
            self._heed_pauses(track)

    def sending(self, sender: RtpSender) -> tuple[LocalTrack, int] | None:
        """The track that this sender sends, and the layer."""
        for track in self._tracks.values():
            if track.sending is not None and sender in track.sending.senders:
                return track, track.sending.senders.index(sender)
        return None

    def sweep(self, transports: Transports, now: float) -> None:
        """Give up the tracks whose request has failed."""
        for token, track in list(self._pending.items()):
            if token not in self._requests:
                del self._pending[token]
                if track.publication is None:
                    self._withdraw(track, transports, now)

    def stats(self) -> dict[str, tuple[SenderStats, ...]]:
        """By the sid of the track: counters of each layer that can be sent, the lowest first."""
        return {
            track.publication.sid: tuple([sender.stats() for sender in track.senders])
            for track in self._tracks.values()
            if track.publication is not None
        }

    # ------------------------------------------------------------------ reconnecting

    def published(self) -> list[tuple[str, models.TrackInfo]]:
        """Cid and description of every published track, for the server that takes us back."""
        return [(track.cid, track.info) for track in self._tracks.values() if track.info is not None]

    def suspend(self) -> None:
        """The session starts anew, or ends: nothing is sent, and what was only asked for is given up.

        What is published is known to the next server by a new cid: the old one may still hold the place of the other.
        """
        self.placed = False
        self._pending.clear()
        live = [track for track in self._tracks.values() if track.publication is not None and not track.withdrawn]
        self._tracks.clear()
        for track in live:
            track.sending = None
            track.confirmed = False
            track.cid = self._new_cid()
            self._tracks[track.cid] = track

    # ------------------------------------------------------------------ a session begins

    def place(self, transports: Transports) -> list[rtc.AddTrackRequest]:
        """Put the tracks into sections of the first offer, as many as can be asked for at once: the requests that go
        along with it."""
        self.placed = True
        first = list(self._tracks.values())[:MOST_PENDING]
        for track in self._tracks.values():
            track.sending = None
        for track in first:
            self._place(track, transports)
        return [_add_track(track) for track in first]

    def announce(self, now: float) -> None:
        """The same requests by themselves, to be sent before the first offer."""
        for track in self._tracks.values():
            if track.sending is not None:
                self._send("add_track", _add_track(track), now)

    @staticmethod
    def _place(track: LocalTrack, transports: Transports) -> None:
        description = track.description
        track.sending = transports.add_sending(_codec(description), track.cid, description.rids)
        track.wanted = (True,) * len(description.qualities)


def _enabled(update: rtc.SubscribedQualityUpdate, codec: str) -> list[int] | None:
    """The qualities of a codec that are wanted; None where nothing is said of it."""
    if not update.subscribed_codecs:
        return [entry.quality for entry in update.subscribed_qualities if entry.enabled]
    for subscribed in update.subscribed_codecs:
        if subscribed.codec.lower().removeprefix("video/") == codec:
            return [entry.quality for entry in subscribed.qualities if entry.enabled]
    return None


def _codec(description: TrackDescription) -> str:
    return "red" if description.codec == "opus" and description.red else description.codec


def _add_track(track: LocalTrack) -> rtc.AddTrackRequest:
    description = track.description
    request = proto.rtc.AddTrackRequest(
        cid=track.cid, name=description.name, muted=track.muted, stream=description.stream
    )
    # any int: enums are open
    request.type = description.kind.value  # type: ignore[assignment]
    request.source = description.source.value  # type: ignore[assignment]
    request.simulcast_codecs.add(codec=_codec(description), cid=track.cid)  # the server answers it first
    if description.kind is TrackKind.AUDIO:
        features = proto.models.AudioTrackFeature
        request.disable_red = not description.red
        request.stereo, request.disable_dtx = description.stereo, not description.dtx
        if description.stereo:
            request.audio_features.append(features.TF_STEREO)
        if not description.dtx:
            request.audio_features.append(features.TF_NO_DTX)
    else:
        layers = description.layers or (None,)
        largest = layers[-1] or description
        request.width = description.width or largest.width
        request.height = description.height or largest.height
        for place, (layer, quality) in enumerate(zip(layers, description.qualities, strict=True)):
            entry = request.layers.add(spatial_layer=place, rid=RIDS[place] if description.rids else "")
            entry.quality = quality.value  # type: ignore[assignment]
            entry.width = layer.width if layer is not None else description.width
            entry.height = layer.height if layer is not None else description.height
            entry.bitrate = layer.bitrate if layer is not None else 0
    return request
