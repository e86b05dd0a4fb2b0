"""What users do in a session: the operations of the engine.

They validate first: LocalProtocolError means that nothing has changed. Those that the server answers return a token,
and RequestDone or RequestFailed with it ends them; ``cancel`` forgets one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve

from .. import proto
from ..base.contract import NOW
from ..base.errors import LocalProtocolError
from ..events import PacketReceived
from ..lifecycle.table import State, Trigger
from ..types import ChatEntry, Scenario, VideoQuality
from .course import Course
from .data_track_packets import DataTrackFrame
from .data_tracks import DataTrackStream, LocalDataTrack, RemoteDataTrack
from .parts import Parts
from .permissions import ParticipantTrackPermission
from .publication import RemoteTrackPublication
from .rpc import DEFAULT_TIMEOUT, RpcInvocation
from .rpc_error import RpcError
from .subscribe import subscription, track_settings
from .track import LocalTrack, RemoteTrack, TrackDescription

if TYPE_CHECKING:
    from ..proto import models

_NUMBERED = {Scenario.SPEAKER_UPDATE: 3, Scenario.SUBSCRIBER_BANDWIDTH: 100_000}
"""Drills that take a number, and the one that they take unless told."""
_FORCED = {Scenario.FORCE_TCP: proto.rtc.CandidateProtocol.TCP, Scenario.FORCE_TLS: proto.rtc.CandidateProtocol.TLS}
"""How long the server pretends that somebody speaks, in the drill of that name."""
_NO_DATA = "not connected: data can be published between connect and disconnect"


class Operations:
    """What the engine is for users: its ``parts`` and their ``course``, and what may be done with them.

    ``streams_in`` has the streams of text and bytes that others send, ``streams_out`` makes ours: each of their packets
    goes through ``send_packet``.
    """

    def __init__(self, parts: Parts, course: Course) -> None:
        self.options = parts.options
        self.state = parts.state
        self.streams_in = parts.streams_in
        self.streams_out = parts.streams_out
        self.data_tracks = parts.data_tracks
        self._parts = parts
        self._course = course
        self._link = parts.link
        self._requests = parts.requests
        self._publisher = parts.publisher
        self._subscriptions = parts.subscriptions
        self._rpc = parts.rpc
        self._time = parts.time

    def _check_connected(self) -> None:
        if not self._course.open:
            raise LocalProtocolError("not connected: nothing can be requested")

    # ------------------------------------------------------------------ data

    def publish_data(
        self,
        payload: bytes,
        *,
        reliable: bool = True,
        topic: str = "",
        destination_identities: Iterable[str] = (),
        now: float,
    ) -> bool:
        """Queue one data packet (livekit.DataPacket with a UserPacket).

        True: queued whole within the byte budget. False: the budget is full and nothing was queued; try again after
        ``DataWritable(reliable)``. Raises LocalProtocolError for a packet above 64 000 bytes and when the session is
        not connected.
        """
        now = self._time(now)
        if not self._course.open:
            raise LocalProtocolError(_NO_DATA)
        transports = self._parts.transports
        transports.due = NOW
        return transports.publish_data(payload, reliable, topic, destination_identities, now)

    def send_packet(
        self, packet: models.DataPacket, *, reliable: bool = True, urgent: bool = False, now: float
    ) -> bool:
        """Queue a data packet with any payload; its destination identities are set by the caller.

        Like ``publish_data``. An ``urgent`` one goes before those that wait, also before their sequence numbers.
        """
        now = self._time(now)
        if not self._course.open:
            raise LocalProtocolError(_NO_DATA)
        transports = self._parts.transports
        transports.due = NOW
        return transports.send_packet(packet, reliable, urgent, now)

    def chat_entry(self, message: str, now: float, *, edits: ChatEntry | None = None) -> ChatEntry:
        """A message for the chat, or one that ``edits`` another: ``messages.chat_packet`` makes its packet."""
        now = self._time(now)
        unix = int(self._parts.wall.unix_at(now) * 1000)
        if edits is not None:
            return evolve(edits, message=message, edit_timestamp=unix)
        return ChatEntry(self._parts.chat_ids.uuid(), message, unix)

    def wait_acknowledged(self, now: float) -> int:
        """A token for what ``publish_data`` has accepted so far of reliable packets.

        RequestDone: the server has acknowledged all of it. RequestFailed with RequestReason.UNACKNOWLEDGED: a new join
        came first, and what has arrived is not known.
        """
        now = self._time(now)
        self._check_connected()
        token = self._requests.number()
        transports = self._parts.transports
        self._parts.acknowledgements.add(transports.accepted, token)
        transports.due = NOW
        return token

    def read_data(self) -> PacketReceived | None:
        """The next event that a data packet has brought, DataReceived or another one, or None.

        Unread reliable data closes the SCTP window to the server.
        """
        return self._parts.transports.read_data(self._parts.now)

    # ------------------------------------------------------------------ data tracks

    def publish_data_track(self, name: str, now: float) -> tuple[int, LocalDataTrack]:
        """Publish a data track: the token, whose RequestDone brings the track, and the track."""
        now = self._time(now)
        self._check_connected()
        token, track = self.data_tracks.publish(name, now)
        self._parts.transports.want_data_tracks(now)
        return token, track

    def unpublish_data_track(self, track: LocalDataTrack, now: float) -> None:
        """End a data track of ours."""
        now = self._time(now)
        self._check_connected()
        self.data_tracks.unpublish(track, now)

    def push_data_track(self, track: LocalDataTrack, frame: DataTrackFrame, now: float) -> bool:
        """Send a frame now; False when that is not possible, or frames come faster than they leave.

        Raises LocalProtocolError for a frame of more than 128 packets.
        """
        now = self._time(now)
        packets = self.data_tracks.encode(track, frame, now)
        if not track.published or not self._parts.transports.send_data_track(packets, now):
            return False
        self.data_tracks.sent(track, len(packets))
        return True

    def subscribe_data_track(self, track: RemoteDataTrack, capacity: int, now: float) -> DataTrackStream:
        """Ask for the frames of a data track. DataTrackReadable tells of them."""
        now = self._time(now)
        self._check_connected()
        stream = self.data_tracks.subscribe(track, capacity, now)
        self._parts.transports.want_data_tracks(now)
        return stream

    def unsubscribe_data_track(self, stream: DataTrackStream, now: float) -> None:
        """Give a subscription up."""
        now = self._time(now)
        if self._course.open:
            self.data_tracks.unsubscribe(stream, now)

    # ------------------------------------------------------------------ requests

    def set_name(self, name: str, now: float) -> int:
        """Ask the server to change our name; answered by RequestDone or RequestFailed with the returned token."""
        now = self._time(now)
        return self._request_metadata(now, name=name)

    def set_metadata(self, metadata: str, now: float) -> int:
        """Ask the server to change our metadata."""
        now = self._time(now)
        return self._request_metadata(now, metadata=metadata)

    def set_attributes(self, attributes: Mapping[str, str], now: float) -> int:
        """Ask the server to set (or with "" to delete) attributes of ours."""
        now = self._time(now)
        return self._request_metadata(now, attributes=attributes)

    def _request_metadata(self, now: float, **changes: Any) -> int:
        self._check_connected()
        token, kind, message = self._requests.update_metadata(now, **changes)
        try:
            self._link.send(kind, message, now)
        except LocalProtocolError:
            self._requests.withdraw(token)
            raise
        return token

    def simulate(self, scenario: Scenario, now: float, *, value: int | None = None) -> None:
        """Stage a drill. Raises LocalProtocolError unless the session is connected, and for a value that it lacks."""
        now = self._time(now)
        if self._course.life.state is not State.CONNECTED or self._course.stopping is not None:
            raise LocalProtocolError("not connected: drills are for a connected session")
        if value is not None and (scenario not in _NUMBERED or not 0 <= value < 1 << 31):
            raise LocalProtocolError(f"{scenario.name} takes no such value: {value}")
        if scenario is Scenario.SIGNAL_RECONNECT:
            self._course.trigger(Trigger.SIGNAL_LOST, now)
        elif scenario is Scenario.FULL_RECONNECT:
            self._course.trigger(Trigger.LEAVE_RESTART, now)
        elif scenario in _FORCED:
            forced = proto.rtc.SimulateScenario(switch_candidate_protocol=_FORCED[scenario])
            self._link.send("simulate", forced, now)
        else:
            wanted: Any = _NUMBERED.get(scenario, True) if value is None else value
            self._link.send("simulate", proto.rtc.SimulateScenario(**{scenario.value: wanted}), now)

    def cancel(self, token: int, now: float) -> None:
        """Forget a request: its answer will be ignored, and a track that it was to publish is ended."""
        now = self._time(now)
        self._requests.cancel(token)
        self._parts.acknowledgements.cancel(token)
        self._rpc.cancel(token)
        self._publisher.cancel(token, self._parts.transports, now)
        self.data_tracks.cancel(token, now)

    # ------------------------------------------------------------------ calls

    def perform_rpc(
        self, identity: str, method: str, payload: str, now: float, *, response_timeout: float = DEFAULT_TIMEOUT
    ) -> int:
        """Call a method of a participant: RequestDone brings the answer, RequestFailed an RpcError.

        Raises RpcError when it is certain from the start that the call must fail.
        """
        now = self._time(now)
        self._check_connected()
        token = self._requests.number()
        self._rpc.call(token, identity, method, payload, response_timeout, now)
        self._rpc.pump(self._parts.transports, now)
        return token

    def register_rpc_method(self, method: str, handler: object) -> None:
        """Take calls to a method, each told by RpcInvoked with this handler. It takes the place of an earlier one."""
        self._rpc.methods[method] = handler

    def unregister_rpc_method(self, method: str) -> None:
        """Take no more calls to a method; those under way go on."""
        self._rpc.methods.pop(method, None)

    def rpc_respond(self, invocation: RpcInvocation, payload: str, now: float) -> None:
        """Answer a call. Does nothing when nobody waits for it any more."""
        now = self._time(now)
        self._rpc.respond(invocation, payload, now)
        self._rpc.pump(self._parts.transports, now)

    def rpc_fail(self, invocation: RpcInvocation, error: RpcError | None, now: float) -> None:
        """Let a call fail, with APPLICATION_ERROR if no error is given. Does nothing when nobody waits any more."""
        now = self._time(now)
        self._rpc.fail(invocation, error, now)
        self._rpc.pump(self._parts.transports, now)

    # ------------------------------------------------------------------ media

    def publish_track(self, description: TrackDescription, now: float) -> tuple[int, LocalTrack]:
        """Publish a track: the token, whose RequestDone brings the publication, and the track, which takes frames from
        TrackStarted on.

        Before ``start`` too: then the track is part of the join, and costs no round trip of its own.
        """
        now = self._time(now)
        if not self._publisher.placed and self._course.stopping is None and not self._course.closed:
            patience = self.options.open_timeout + self.options.first_message_timeout
            token, track = self._publisher.prepare(description, patience, now)
        else:
            self._check_connected()
            token, track = self._publisher.publish(description, self._parts.transports, now)
        return token, track

    def unpublish_track(self, sid: str, now: float) -> None:
        """End a track of ours."""
        now = self._time(now)
        self._check_connected()
        self._publisher.unpublish(sid, self._parts.transports, now)

    def set_track_muted(self, sid: str, muted: bool, now: float) -> None:
        """Mute a track of ours, or unmute it."""
        now = self._time(now)
        self._check_connected()
        self._publisher.set_muted(sid, muted, now)

    def set_track_permissions(
        self, everybody: bool, permissions: Iterable[ParticipantTrackPermission], now: float
    ) -> None:
        """Who may subscribe to our tracks: everybody, or the named ones; each call replaces what was set before."""
        now = self._time(now)
        self._check_connected()
        self._publisher.permissions.set(everybody, permissions, now)

    def write_frame(
        self,
        track: LocalTrack,
        data: bytes,
        now: float,
        *,
        timestamp: int | None = None,
        duration: int | None = None,
        level: int | None = None,
        voice: bool = False,
        layer: int = 0,
    ) -> bool:
        """Send one encoded frame of a layer of a track; False when it was dropped. See ``RtpSender.write``."""
        sender = track.sender(layer)
        if sender is None:
            return False
        self._parts.transports.touch_media()
        return sender.write(data, now, timestamp=timestamp, duration=duration, level=level, voice=voice)

    def enable_track(self, track: RemoteTrack, enabled: bool, now: float) -> None:
        """Keep the frames of a subscribed track, or drop them: nobody reads."""
        self._parts.transports.set_receiving(track.receiver, enabled, self._time(now))

    def request_keyframe(self, track: RemoteTrack, now: float) -> None:
        """Ask the publisher of a video for a key frame, unless that was done a moment ago."""
        self._parts.transports.request_keyframe(track.receiver)

    def set_subscribed(self, publication: RemoteTrackPublication, subscribed: bool, now: float) -> None:
        """Ask the server for a track, or to send it no longer. TrackSubscribed and TrackUnsubscribed tell the rest."""
        now = self._time(now)
        self._check_connected()
        self._link.send("subscription", subscription(publication, subscribed), now)
        self._subscriptions.set_subscribed(publication, subscribed)

    def set_track_settings(
        self,
        publication: RemoteTrackPublication,
        now: float,
        *,
        enabled: bool = True,
        quality: VideoQuality | None = None,
        width: int = 0,
        height: int = 0,
        fps: int = 0,
    ) -> None:
        """Tell the server how a track is to come; every call replaces what the one before has said."""
        now = self._time(now)
        self._check_connected()
        settings = track_settings(
            publication.sid, enabled=enabled, quality=quality, width=width, height=height, fps=fps
        )
        self._link.send("track_setting", settings, now)
        self._subscriptions.remember(publication.sid, settings)
