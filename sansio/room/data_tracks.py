"""Data tracks: frames for whoever subscribes, sent once and late for nobody.

A publisher asks the server for a track by a handle of its own choice; the server gives it a sid, and tells the others
by its participant's info. A subscriber asks for a sid and is told the handle by which packets come to it. When a
session begins anew we publish ours again by the same handles, and ask for what we had subscribed to. When a publisher's
session begins anew, its track comes again with another sid: what was subscribed to it goes on with the new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import frozen

from .. import proto
from ..base import limits
from ..base.contract import INF
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError
from ..types import DisconnectReason
from .data_track_packets import DataTrackFrame, Reassembler, decode_packet, encode_frame

if TYPE_CHECKING:
    from ..proto import models, rtc
    from .requests import Requests

PUBLISH_TIMEOUT = 10.0
"""Seconds that the server has to take a track."""
SUBSCRIBE_TIMEOUT = 10.0
"""Seconds that it has to say by which handle a track comes."""
RETURN_TIME = 15.0
"""Seconds for which a subscription waits for a publisher that may only be reconnecting."""
NAME_BYTES = 256
CLOCK = 90_000

_FINAL = (
    DisconnectReason.CLIENT_INITIATED,
    DisconnectReason.PARTICIPANT_REMOVED,
    DisconnectReason.ROOM_DELETED,
    DisconnectReason.ROOM_CLOSED,
)
"""Whoever left for one of these does not come back by itself."""

Send = Callable[[str, Any, float], None]


@frozen(eq=False)
class DataTrackReadable:
    """``stream.read()`` has something to give, or the stream has ended. Not repeated until ``read`` gave None."""

    stream: DataTrackStream


class LocalDataTrack:
    """A data track of ours. ``sid`` is the server's name for it, which changes when a session begins anew."""

    __slots__ = ("name", "handle", "sid", "published", "_listed", "_sequence", "_frame")

    def __init__(self, name: str, handle: int) -> None:
        self.name = name
        self.handle = handle
        self.sid = ""
        self.published = False
        self._listed = False
        self._sequence = 0
        self._frame = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, sid={self.sid!r})"


class RemoteDataTrack:
    """A data track of somebody else. ``published`` until it is gone; ``uses_e2ee``: its frames are encrypted."""

    __slots__ = (
        "sid",
        "name",
        "handle",
        "publisher_identity",
        "uses_e2ee",
        "published",
        "_streams",
        "_frames",
        "_deadline",
    )

    def __init__(self, info: models.DataTrackInfo, publisher_identity: str) -> None:
        self.sid = info.sid
        self.name = info.name
        self.handle = info.pub_handle
        self.publisher_identity = publisher_identity
        self.uses_e2ee = info.encryption != 0
        self.published = True
        self._streams: list[DataTrackStream] = []
        self._frames: Reassembler | None = None
        self._deadline = INF

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, sid={self.sid!r}, of={self.publisher_identity!r})"


class DataTrackStream:
    """A subscription: the latest ``capacity`` frames that nobody has read; the oldest go first.

    ``ended`` says why no more will come, "" while more may. ``dropped`` counts frames that were not read in time.
    """

    __slots__ = ("track", "capacity", "ended", "dropped", "owner", "_frames", "_missing", "_told")

    def __init__(self, track: RemoteDataTrack, capacity: int) -> None:
        self.track = track
        self.capacity = capacity
        self.ended = ""
        self.dropped = 0
        self.owner: Any = None
        self._frames: deque[DataTrackFrame] = deque()
        self._missing = 0
        self._told = False

    def read(self) -> DataTrackFrame | None:
        """The next frame, or None."""
        if not self._frames:
            self._told = bool(self.ended)
            return None
        frame, missing = self._frames.popleft(), self._missing
        if missing:
            self._missing = 0
            frame = DataTrackFrame(frame.payload, frame.user_timestamp, frame.lost + missing)
        return frame

    def push(self, frame: DataTrackFrame) -> bool:
        """Take a frame; whether a reader is to be told."""
        if len(self._frames) >= self.capacity:
            self._missing += 1 + self._frames.popleft().lost
            self.dropped += 1
        self._frames.append(frame)
        told, self._told = self._told, True
        return not told


class DataTracks:
    """The data tracks of a session. ``send`` sends a signal request. ``due`` is when ``advance`` has to be called."""

    def __init__(self, outbox: deque[Any], requests: Requests, entropy: Entropy, send: Send) -> None:
        self.outbox = outbox
        self.counters = Counters()
        self.due = INF
        self.local: dict[int, LocalDataTrack] = {}
        self._requests = requests
        self._send = send
        self._clock = entropy.uint(32)
        self._last_handle = 0
        self._pending: dict[int, LocalDataTrack] = {}
        self._wanted: list[RemoteDataTrack] = []
        self._unwanted: list[RemoteDataTrack] = []
        """Those that the server could not be told yet to send no longer."""
        self._handles: dict[int, RemoteDataTrack] = {}
        self._waiting: dict[tuple[str, int, str], tuple[list[DataTrackStream], Reassembler, float]] = {}

    # ------------------------------------------------------------------ ours

    def publish(self, name: str, now: float) -> tuple[int, LocalDataTrack]:
        """Ask the server for a track: the token of the request, whose result is the track."""
        if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= NAME_BYTES:
            raise LocalProtocolError(f"a data track needs a name of up to {NAME_BYTES} bytes")
        if any(track.name == name for track in self.local.values()):
            raise LocalProtocolError(f"a data track of ours has the name {name!r} already")
        if len(self.local) >= limits.LOCAL_DATA_TRACKS:
            raise LocalProtocolError(f"there are {limits.LOCAL_DATA_TRACKS} data tracks of ours already")
        while True:
            self._last_handle = self._last_handle % 0xFFFF + 1
            if self._last_handle not in self.local:
                break
        track = LocalDataTrack(name, self._last_handle)
        token = self._ask(track, now)
        return token, track

    def _ask(self, track: LocalDataTrack, now: float) -> int:
        request = proto.rtc.PublishDataTrackRequest(pub_handle=track.handle)
        try:
            request.name = track.name
        except (TypeError, ValueError) as error:
            raise LocalProtocolError(f"not the name of a data track: {error}") from None
        token = self._requests.start("publish_data_track", track.handle, timeout=PUBLISH_TIMEOUT, now=now)
        try:
            self._send("publish_data_track_request", request, now)
        except LocalProtocolError:
            self._requests.withdraw(token)
            raise
        self.local[track.handle] = track
        self._pending[token] = track
        return token

    def handle_published(self, info: models.DataTrackInfo, now: float) -> None:
        """The server has taken a track."""
        track = self.local.get(info.pub_handle)
        if track is None:  # given up meanwhile
            self.counters.add("data_track_unwanted")
            with suppress(LocalProtocolError):  # too many requests wait: it stays there, empty, as long as we do
                self._unpublish(info.pub_handle, now)
            return
        track.sid = info.sid
        track.published = True
        track._listed = False
        self._requests.done("publish_data_track", track.handle, track)
        self.sweep(now)

    def sweep(self, now: float) -> None:
        """Requests may have ended: forget the tracks that the server has refused, or that nobody waits for."""
        for token in [token for token in self._pending if token not in self._requests]:
            track = self._pending.pop(token)
            if not track.published:
                self.local.pop(track.handle, None)

    def cancel(self, token: int, now: float) -> None:
        """Nobody waits for the track of this request any more."""
        track = self._pending.pop(token, None)
        if track is not None:
            del self.local[track.handle]

    def unpublish(self, track: LocalDataTrack, now: float) -> None:
        """End a track of ours. Nothing happens if it has ended."""
        if self.local.get(track.handle) is not track:
            return
        if track.published:
            self._unpublish(track.handle, now)
            track.published = False
        del self.local[track.handle]

    def _unpublish(self, handle: int, now: float) -> None:
        request = proto.rtc.UnpublishDataTrackRequest(pub_handle=handle)
        self._send("unpublish_data_track_request", request, now)

    def handle_unpublished(self, info: models.DataTrackInfo) -> None:
        """The server has ended a track, at our request or not."""
        track = self.local.get(info.pub_handle)
        if track is not None and track.sid == info.sid:
            self._lose(track)

    def handle_own(self, infos: Iterable[models.DataTrackInfo]) -> None:
        """The complete list of our tracks: one that was there, and is missing, has lost its permission."""
        listed = [info.sid for info in infos]
        for track in [track for track in self.local.values() if track.published]:
            if track.sid in listed:
                track._listed = True
            elif track._listed:
                self._lose(track)

    def _lose(self, track: LocalDataTrack) -> None:
        track.published = False
        del self.local[track.handle]

    def encode(self, track: LocalDataTrack, frame: DataTrackFrame, now: float) -> list[bytes]:
        """The packets of a frame, which ``sent`` is to be told of when they are."""
        timestamp = self._clock + int(now * CLOCK)
        return encode_frame(track.handle, track._sequence, track._frame, timestamp, frame.payload, frame.user_timestamp)

    def sent(self, track: LocalDataTrack, packets: int) -> None:
        """A frame of so many packets was sent."""
        track._sequence = track._sequence + packets & 0xFFFF
        track._frame = track._frame + 1 & 0xFFFF

    # ------------------------------------------------------------------ those of others

    def appeared(self, track: RemoteDataTrack) -> None:
        """Somebody has published a track."""
        waiting = self._waiting.pop((track.publisher_identity, track.handle, track.name), None)
        if waiting is not None and waiting[0]:
            track._streams, track._frames, _ = waiting
            track._frames.reset()
            for stream in track._streams:
                stream.track = track
            self._wanted.append(track)

    def disappeared(self, track: RemoteDataTrack, reason: DisconnectReason | None, now: float) -> None:
        """A track is gone; ``reason``: with its participant."""
        track.published = False
        streams, track._streams = track._streams, []
        for tracks in (self._wanted, self._unwanted):
            if track in tracks:
                tracks.remove(track)
        if reason is None or reason in _FINAL or track._frames is None:
            self._end(streams, "unpublished" if reason is None else "participant left")
        elif streams:
            key = track.publisher_identity, track.handle, track.name
            if key in self._waiting or len(self._waiting) >= limits.DATA_TRACKS_AWAITED:
                self._end(streams, "participant left")
                return
            until = now + RETURN_TIME
            self._waiting[key] = (streams, track._frames, until)
            self.due = min(self.due, until)

    def subscribe(self, track: RemoteDataTrack, capacity: int, now: float) -> DataTrackStream:
        """Ask for a track, if it does not come yet."""
        if capacity < 1:
            raise LocalProtocolError("a subscription holds at least one frame")
        if not track.published:
            raise LocalProtocolError("the data track is not published any more")
        if len(track._streams) >= limits.DATA_TRACK_STREAMS:
            raise LocalProtocolError(f"the data track has {limits.DATA_TRACK_STREAMS} subscriptions already")
        if track not in self._wanted:
            self._want(track, True, now)
            self._wanted.append(track)
            if track in self._unwanted:
                self._unwanted.remove(track)
            track._frames = Reassembler(self.counters)
        stream = DataTrackStream(track, capacity)
        track._streams.append(stream)
        return stream

    def settle(self, now: float) -> None:
        """Ask for tracks whose publishers have come back, and give up those that nobody wants any more."""
        with suppress(LocalProtocolError):  # too many requests wait for the link; it is done when they have gone out
            for track in self._wanted:
                if track._deadline == INF and track not in self._handles.values():
                    self._want(track, True, now)
        self._give_up(now)

    def _give_up(self, now: float) -> None:
        """Tell the server of tracks that nobody wants any more."""
        with suppress(LocalProtocolError):  # as above
            while self._unwanted:
                self._want(self._unwanted[0], False, now)
                del self._unwanted[0]

    def _want(self, track: RemoteDataTrack, wanted: bool, now: float) -> None:
        update = proto.rtc.UpdateDataSubscription()
        update.updates.add(track_sid=track.sid, subscribe=wanted)
        self._send("update_data_subscription", update, now)
        track._deadline = now + SUBSCRIBE_TIMEOUT if wanted else INF
        self.due = min(self.due, track._deadline)

    def unsubscribe(self, stream: DataTrackStream, now: float) -> None:
        """A subscription is not wanted any more; the last one of a track tells the server, later if need be."""
        track = stream.track
        if not stream.ended and track._streams == [stream]:
            self._wanted.remove(track)
            self._unwanted.append(track)
            self._give_up(now)
        stream._frames.clear()
        if stream.ended:
            return
        stream.ended = "unsubscribed"
        self._tell(stream)
        for streams in [track._streams, *[streams for streams, _, _ in self._waiting.values()]]:
            if stream in streams:
                streams.remove(stream)

    def handle_handles(self, message: rtc.DataTrackSubscriberHandles) -> None:
        """The complete list of what comes to us, and by which handle."""
        wanted = {track.sid: track for track in self._wanted}
        self._handles = {}
        for handle, entry in sorted(message.sub_handles.items(), key=_handle):
            track = wanted.get(entry.track_sid)
            if track is None:
                self.counters.add("data_track_unknown")  # its subscription has just been given up
                continue
            self._handles[handle] = track
            track._deadline = INF

    def handle_packet(self, data: bytes) -> None:
        """A message of the channel."""
        try:
            packet = decode_packet(data)
        except ParseError:
            self.counters.add("data_track_undecodable")
            return
        track = self._handles.get(packet.handle)
        if track is None or track._frames is None:
            self.counters.add("data_track_unhandled")
            return
        if packet.encrypted:
            self.counters.add("data_track_encrypted")
            return
        frame = track._frames.add(packet)
        if frame is not None:
            for stream in track._streams:
                if stream.push(frame):
                    self.outbox.append(DataTrackReadable(stream))

    # ------------------------------------------------------------------ the session

    def sync(self, state: rtc.SyncState) -> None:
        """What a resumed session tells the server: our tracks, and those of others that we want."""
        for track in self.local.values():
            if track.published:
                info = state.publish_data_tracks.add().info
                info.pub_handle, info.sid, info.name = track.handle, track.sid, track.name
        for wanted in self._wanted:
            state.data_subscription.updates.add(track_sid=wanted.sid, subscribe=True)

    def suspend(self, now: float) -> None:
        """The session is lost, and another one will begin; before its requests are made."""
        self._handles = {}
        self.sweep(now)
        for track in self.local.values():
            track.published = False
        for wanted in self._wanted:
            wanted._deadline = INF
        self._unwanted.clear()

    def rejoined(self, now: float) -> None:
        """A new session has begun: publish what we had, and ask for what came to us."""
        for track in list(self.local.values()):
            self._ask(track, now)
        self.settle(now)

    def end(self) -> None:
        """Everything is over."""
        for track in self._wanted:
            self._end(track._streams, "room ended")
        for streams, _, _ in self._waiting.values():
            self._end(streams, "room ended")
        self._wanted = []
        self._unwanted.clear()
        self._waiting.clear()
        self._handles = {}
        for local in self.local.values():
            local.published = False
        self.local.clear()

    def advance(self, now: float) -> float:
        """Give up what does not come; the next deadline."""
        due = INF
        for key, (streams, _, until) in list(self._waiting.items()):
            if until <= now:
                del self._waiting[key]
                self._end(streams, "participant left")
            else:
                due = min(due, until)
        for track in list(self._wanted):
            if track._deadline <= now:
                track._deadline = INF
                self._wanted.remove(track)
                streams, track._streams = track._streams, []
                self._end(streams, "refused")
            else:
                due = min(due, track._deadline)
        self.due = due
        return due

    def _end(self, streams: Iterable[DataTrackStream], why: str) -> None:
        for stream in streams:
            stream.ended = why
            self._tell(stream)

    def _tell(self, stream: DataTrackStream) -> None:
        if not stream._told:
            stream._told = True
            self.outbox.append(DataTrackReadable(stream))

    @property
    def active(self) -> bool:
        """Whether the channel is needed."""
        return bool(self.local or self._wanted)


def _handle(item: tuple[int, Any]) -> int:
    return item[0]
