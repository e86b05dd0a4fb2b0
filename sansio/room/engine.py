"""RoomEngine: one participant's session as one machine. The thing that drivers embed.

A driver feeds it what its sockets and timers say and performs the requests in ``outbox``; users' operations are plain
method calls. See ``sansio.base.contract`` for the shape of both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, frozen

from .. import proto
from ..base.contract import (
    INF,
    NOW,
    Address,
    ClosePort,
    Interface,
    NeedToken,
    OpenSignal,
    OpenStream,
    OpenUdp,
    SignalFailure,
    Transmit,
)
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError
from ..base.limits import RPC_PAYLOAD
from ..base.wallclock import WallClock
from ..dtls.identity import DtlsIdentity
from ..events import PacketReceived, Reconnected, Reconnecting, SignalReconnecting, TokenRefreshed
from ..ice.agent import PairReport
from ..ice.paths import PathReport
from ..ice.verdict import path_verdict
from ..lifecycle.machine import Lifecycle
from ..lifecycle.table import Mode, State, Trigger
from ..peer.media import SendingStarted, TrackMapped, TrackUnmapped
from ..rtp.session import FrameReadable, KeyframeWanted
from ..signal import urls
from ..signal.refusal import Refusal, RefusalKind, refusal_of_leave
from ..signal.session import (
    ServerMessage,
    SignalJoined,
    SignalLost,
    SignalOptions,
    SignalRefused,
    SignalResumed,
    SignalSession,
)
from ..types import (
    ChatEntry,
    ConnectionState,
    DisconnectReason,
    LinkStats,
    ReceiverStats,
    RequestReason,
    Scenario,
    SenderStats,
    VideoQuality,
)
from .credentials import Credentials
from .data import DataReceiver, unacknowledged
from .data_lanes import DataWritable, Hold
from .data_track_packets import DataTrackFrame
from .data_tracks import DataTracks, DataTrackStream, LocalDataTrack, RemoteDataTrack
from .options import EngineOptions
from .participant import RemoteParticipant
from .permissions import ParticipantTrackPermission
from .publication import RemoteTrackPublication
from .publish import Publisher
from .requests import RequestDone, RequestError, RequestFailed, Requests
from .rpc import DEFAULT_TIMEOUT, REQUEST_TOPIC, RESPONSE_TOPIC, Rpc, RpcInvocation
from .rpc_error import RpcError
from .state import Factories, RoomState
from .stream_in import IncomingStreams
from .stream_out import CAP_DEFLATE, OutgoingStreams
from .subscribe import Subscriptions, track_settings
from .track import LocalTrack, RemoteTrack, TrackDescription
from .transports import Transports, TransportsFailed, TransportsProven, TransportsUp

if TYPE_CHECKING:
    from ..proto import models, rtc

MAX_ROUNDS = 64
CLIENT_PROTOCOL = 2
"""What we tell others that we read: calls by stream (1), streams in one packet (2)."""
LEAVE_GRACE = 1.0
"""Seconds that a session whose media has failed waits for the server to say why."""
RESYNC_TIME = 1.0
"""Seconds from the first to the last piece in which the server tells, after a resume, who is still there."""
HURRIED_LEAST = 2.5
HURRIED_TRIPS = 20
"""Seconds, and round trips, that an attempt to resume has while media flows: the longer of both."""
HURRIED_ATTEMPTS = 8
"""After so many attempts each has that once more."""
MEND_AFTER = 3.0
"""Seconds that a resume waits for the proof of a path before it restarts ICE there."""


@frozen
class MediaFailure:
    """Signalling worked, but no peer connection came up.

    ``pairs`` tells how each candidate pair ended, ``ways`` how each relay and TCP connection did.
    """

    detail: str
    pairs: tuple[PairReport, ...] = ()
    ways: tuple[PathReport, ...] = ()

    @property
    def verdict(self) -> str:
        """One sentence about what was tried and how each kind of path ended; empty when nothing was tried."""
        return path_verdict(self.pairs, self.ways) if self.pairs or self.ways else ""


@frozen
class JoinFailed:
    """The session never began: the server refused it or ended it again, or media could not be connected."""

    error: Refusal | MediaFailure


@frozen
class Ended:
    """Everything is closed and nothing is owed. Appears exactly once, last."""

    reason: DisconnectReason


@frozen(eq=False)
class TrackReadable:
    """``track.read()`` has something to give. Not repeated until it gave None."""

    track: RemoteTrack


@frozen(eq=False)
class TrackStarted:
    """A track of ours is negotiated: frames written from now on are sent."""

    track: LocalTrack


@frozen(eq=False)
class TrackKeyframeWanted:
    """A subscriber of a video track of ours needs a key frame of a layer."""

    track: LocalTrack
    layer: int = 0


class RoomEngine:
    """A participant in a LiveKit room.

    ``state`` is always current; events in ``outbox`` tell what changed after it has changed. After ``Ended`` all
    inputs are ignored. ``streams_in`` has the streams of text and bytes that others send, ``streams_out`` makes ours:
    each of their packets goes through ``send_packet``.
    """

    def __init__(
        self,
        url: str,
        token: str,
        options: EngineOptions | None = None,
        *,
        entropy: Entropy,
        wall: WallClock,
        identity: DtlsIdentity,
        factories: Factories | None = None,
    ) -> None:
        self.options = options or EngineOptions()
        urls.validate_url(url)
        self.url = url
        self._credentials = Credentials(token, renewable=self.options.renew_token, wall=wall)
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self.state = RoomState(self.outbox, factories, auto_subscribe=self.options.auto_subscribe)
        self.closed = False
        self._wall = wall
        self._session = self._new_session()
        self._requests = Requests(self.outbox, timeout=self.options.request_timeout)
        self._entropy = entropy
        self._chat_ids = entropy.fork("chat")
        self._identity = identity
        self._receiver = DataReceiver(self.state)
        self._publisher = Publisher(self.state, self._requests, entropy.fork("publisher"), self._send_signal)
        self._subscriptions = Subscriptions(self.state, self.outbox, (factories or Factories()).remote_track)
        self.streams_in = IncomingStreams(self.outbox, self._hold, max_bytes=self.options.max_stream_bytes)
        self.streams_out = OutgoingStreams(self.state, entropy.fork("streams"), wall)
        self._rpc = rpc = Rpc(self.state, self.outbox, entropy.fork("rpc"), self.streams_out.send_text)
        self.streams_in.intercept(REQUEST_TOPIC, rpc.handle_request_stream, RPC_PAYLOAD)
        self.streams_in.intercept(RESPONSE_TOPIC, rpc.handle_response_stream, RPC_PAYLOAD)
        self._receiver.handlers.update(
            stream_header=self.streams_in.handle_header,
            stream_chunk=self.streams_in.handle_chunk,
            stream_trailer=self.streams_in.handle_trailer,
            rpc_request=rpc.handle_request,
            rpc_ack=rpc.handle_ack,
            rpc_response=rpc.handle_response,
        )
        self.state.on_left.append(self._participant_left)
        self.data_tracks = DataTracks(self.outbox, self._requests, entropy.fork("data tracks"), self._send_signal)
        self._receiver.data_track = self.data_tracks.handle_packet
        self.state.on_data_track = self.data_tracks.appeared
        self.state.on_data_track_gone = self._data_track_gone
        self.state.on_own_data_tracks = self.data_tracks.handle_own
        self._first_answer = False
        self._generation = 0
        self._transports = self._new_transports(single=self.options.single_peer_connection is not False, first_port=1)
        self._started = False
        self._signal = 0
        self._signal_wanted = False
        self._signal_was_open = False
        self._joined = False
        self._connected = False
        self._media_deadline = INF
        self._stopping: DisconnectReason | None = None
        self._flush_deadline = INF
        self._offer_in_join = False
        self._life = Lifecycle(self.options.reconnect, entropy.fork("lifecycle"))
        self._media_trigger = Trigger.MEDIA_LOST
        self._resume_reason = 0
        self._interfaces: tuple[Interface, ...] = ()
        self._lost: list[bytes] = []
        self._awaited: deque[tuple[int, int]] = deque()
        """How many packets have to be acknowledged, and the token of who waits for it."""
        self._end_reason = DisconnectReason.UNKNOWN_REASON
        self._failure = ""
        self._token_request = 0
        self._token_asked = False
        self._prove_deadline = INF
        self._mend_at = INF
        self._resync_at = INF
        self._due: dict[str, float] = {"session": INF, "requests": INF, "self": INF, "life": INF}
        self._now = NOW

    def __repr__(self) -> str:
        return f"<RoomEngine {self.state.name!r} {self.state.connection.name}>"

    def _new_session(self) -> SignalSession:
        # The driver bounds the opening and knows what it was waiting for; this bound is for a driver that does not.
        first_message = self.options.first_message_timeout
        options = SignalOptions(
            open_timeout=self.options.open_timeout + first_message, first_message_timeout=first_message
        )
        return SignalSession(wall=self._wall, options=options)

    def _new_transports(self, *, single: bool, first_port: int) -> Transports:
        self._generation += 1
        return Transports(
            self._entropy.fork(f"transports {self._generation}"),
            self._identity,
            self.transmits,
            self._receiver,
            self.options,
            single=single,
            first_port=first_port,
            wall=self._wall,
        )

    # ------------------------------------------------------------------ the driver's inputs

    def start(self, interfaces: Sequence[Interface], now: float) -> None:
        """Begin to join: sockets first, so that the host candidates travel inside the join request."""
        now = self._time(now)
        if self._started or self._stopping is not None:
            raise LocalProtocolError("this engine was started or stopped before")
        self._started = self._signal_wanted = True
        self._interfaces = tuple(interfaces)
        self._life.trigger(Trigger.START, now)
        self._transports.gather(interfaces, loopback=urls.is_loopback(self.url), now=now)
        self._transports.due = NOW

    def networks_changed(self, interfaces: Sequence[Interface], now: float) -> None:
        """The addresses or routes of this host have changed.

        Sockets follow the addresses, and the server is told of new candidates. Every path and the link are put to the
        test at once, and a waiting attempt to reconnect is made.
        """
        now = self._time(now)
        self._interfaces = tuple(interfaces)
        self._transports.networks_changed(interfaces, now)
        self._transports.due = NOW
        self._session.check(now)
        self._life.hurry()
        self._due["life"] = self._due["session"] = NOW

    def port_opened(self, port: int, address: Address, now: float) -> None:
        """OpenUdp succeeded; ``address`` is the bound one."""
        now = self._time(now)
        self._transports.port_opened(port, address, now)
        self._transports.due = NOW

    def port_failed(self, port: int, error: str, now: float) -> None:
        """OpenUdp failed, or the socket broke later."""
        now = self._time(now)
        self._transports.port_failed(port, error, now)
        self._transports.due = NOW

    def port_handler(self, port: int) -> Callable[[int, bytes, Address, float], None]:
        """The per-packet entry of a port: look it up once, call it with (port, data, source, now).

        Alone of all inputs it trusts ``now`` not to go back.
        """
        return self._transports.port_handler(port)

    def handle_datagram(self, port: int, data: bytes, addr: Address, now: float) -> None:
        """One datagram that arrived on a port."""
        now = self._time(now)
        self._transports.port_handler(port)(port, data, addr, now)

    def port_send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        """The system refused to send (no route, filtered)."""
        now = self._time(now)
        self.counters.add("send_failed")
        self._transports.send_failed(port, addr, error, now)
        self._transports.due = NOW

    def port_blocked(self, port: int, now: float) -> None:
        """The socket of a port is full."""
        self._transports.port_blocked(port, True)

    def port_writable(self, port: int, now: float) -> None:
        """The socket of a port takes datagrams again."""
        self._transports.port_blocked(port, False)
        self._transports.due = NOW

    def signal_opened(self, signal: int, now: float) -> None:
        """The WebSocket is open."""
        now = self._time(now)
        if signal == self._signal and not self.closed:
            self._signal_was_open = True
            self._session.handle_opened(now)
            self._due["session"] = NOW

    def signal_failed(self, signal: int, failure: SignalFailure, now: float) -> None:
        """The WebSocket could not be opened."""
        now = self._time(now)
        if signal == self._signal and not self.closed:
            self._session.handle_failed(failure, now)
            self._due["session"] = NOW

    def signal_received(self, signal: int, data: bytes, now: float) -> None:
        """One binary message arrived."""
        now = self._time(now)
        if signal == self._signal and not self.closed:
            self._session.handle_message(data, now)
            self._due["session"] = NOW

    def signal_closed(self, signal: int, reason: str, now: float) -> None:
        """The WebSocket was closed, by whoever."""
        now = self._time(now)
        if signal == self._signal and not self.closed:
            self._session.handle_closed(reason, now)
            self._due["session"] = NOW

    def resolved(self, token: int, addresses: list[str], now: float) -> None:
        """A name was looked up."""
        now = self._time(now)
        self._transports.resolved(token, addresses, now)
        self._transports.due = NOW

    def token_renewed(self, request: int, token: str, now: float) -> None:
        """The source has given an access token. Raises UnusableToken, as if it had not, when that cannot be one."""
        now = self._time(now)
        if request == self._token_request and self._token_asked and not self.closed:
            self._credentials.renewed(token)
            self._token_asked = False
            self._due["self"] = NOW

    def token_failed(self, request: int, reason: str, now: float) -> None:
        """The source has given none: that counts as an attempt that found no server. ``reason`` is a sentence."""
        now = self._time(now)
        if request == self._token_request and self._token_asked and not self.closed:
            self.counters.add("token_failed")
            self._token_asked = False
            self._failure = reason
            if self._signal_wanted:
                self._trigger(Trigger.UNREACHABLE, now)

    # ------------------------------------------------------------------ the user's operations

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
        if not self._joined or self._stopping is not None or self.closed:
            raise LocalProtocolError("not connected: data can be published between connect and disconnect")
        self._transports.due = NOW
        return self._transports.publish_data(payload, reliable, topic, destination_identities, now)

    def send_packet(
        self, packet: models.DataPacket, *, reliable: bool = True, urgent: bool = False, now: float
    ) -> bool:
        """Queue a data packet with any payload; its destination identities are set by the caller.

        Like ``publish_data``. An ``urgent`` one goes before those that wait, also before their sequence numbers.
        """
        now = self._time(now)
        if not self._joined or self._stopping is not None or self.closed:
            raise LocalProtocolError("not connected: data can be published between connect and disconnect")
        self._transports.due = NOW
        return self._transports.send_packet(packet, reliable, urgent, now)

    def chat_entry(self, message: str, now: float, *, edits: ChatEntry | None = None) -> ChatEntry:
        """A message for the chat, or one that ``edits`` another: ``messages.chat_packet`` makes its packet."""
        now = self._time(now)
        unix = int(self._wall.unix_at(now) * 1000)
        if edits is not None:
            return evolve(edits, message=message, edit_timestamp=unix)
        return ChatEntry(self._chat_ids.uuid(), message, unix)

    def wait_acknowledged(self, now: float) -> int:
        """A token for what ``publish_data`` has accepted so far of reliable packets.

        RequestDone: the server has acknowledged all of it. RequestFailed with RequestReason.UNACKNOWLEDGED: a new join
        came first, and what has arrived is not known.
        """
        now = self._time(now)
        self._check_connected()
        token = self._requests.number()
        self._awaited.append((self._transports.accepted, token))
        self._transports.due = NOW
        return token

    def _hold(self, size: int) -> Hold:
        return self._transports.hold(size)

    def _data_track_gone(self, track: RemoteDataTrack, reason: DisconnectReason | None) -> None:
        self.data_tracks.disappeared(track, reason, self._now)

    # ------------------------------------------------------------------ the user's operations: data tracks

    def publish_data_track(self, name: str, now: float) -> tuple[int, LocalDataTrack]:
        """Publish a data track: the token, whose RequestDone brings the track, and the track."""
        now = self._time(now)
        self._check_connected()
        token, track = self.data_tracks.publish(name, now)
        self._transports.want_data_tracks(now)
        self._due["requests"] = NOW
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
        if not track.published or not self._transports.send_data_track(packets, now):
            return False
        self.data_tracks.sent(track, len(packets))
        return True

    def subscribe_data_track(self, track: RemoteDataTrack, capacity: int, now: float) -> DataTrackStream:
        """Ask for the frames of a data track. DataTrackReadable tells of them."""
        now = self._time(now)
        self._check_connected()
        stream = self.data_tracks.subscribe(track, capacity, now)
        self._transports.want_data_tracks(now)
        return stream

    def unsubscribe_data_track(self, stream: DataTrackStream, now: float) -> None:
        """Give a subscription up."""
        now = self._time(now)
        if self._joined and self._stopping is None and not self.closed:
            self.data_tracks.unsubscribe(stream, now)

    # ------------------------------------------------------------------ data in

    def _participant_left(self, participant: RemoteParticipant) -> None:
        self.streams_in.participant_left(participant.identity, participant.sid, self._now)
        self._rpc.participant_left(participant.identity, participant.sid)

    def read_data(self) -> PacketReceived | None:
        """The next event that a data packet has brought, DataReceived or another one, or None.

        Unread reliable data closes the SCTP window to the server.
        """
        return self._transports.read_data(self._now)

    @property
    def owing(self) -> bool:
        """Whether something was done since the last ``advance`` that the next one has work with."""
        return min(self._transports.due, *self._due.values()) == NOW

    def impatient(self, now: float) -> bool:
        """Whether what arrives should be handled at once, since somebody is waiting for answers to calls."""
        return now < self._rpc.busy_until

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
        if not self._joined or self._stopping is not None or self.closed:
            raise LocalProtocolError("not connected: nothing can be requested")
        token, kind, message = self._requests.update_metadata(now, **changes)
        try:
            self._session.send(kind, message, now)
        except LocalProtocolError:
            self._requests.withdraw(token)
            raise
        self._due["session"] = self._due["requests"] = NOW
        return token

    def simulate(self, scenario: Scenario, now: float) -> None:
        """Stage a drill. Raises LocalProtocolError unless the session is connected."""
        now = self._time(now)
        if self._life.state is not State.CONNECTED or self._stopping is not None:
            raise LocalProtocolError("not connected: drills are for a connected session")
        if scenario is Scenario.SIGNAL_RECONNECT:
            self._trigger(Trigger.SIGNAL_LOST, now)
        elif scenario is Scenario.FULL_RECONNECT:
            self._trigger(Trigger.LEAVE_RESTART, now)
        else:
            value: Any = _SPEAKER_SECONDS if scenario is Scenario.SPEAKER_UPDATE else True
            self._session.send("simulate", proto.rtc.SimulateScenario(**{scenario.value: value}), now)
            self._due["session"] = NOW

    def cancel(self, token: int, now: float) -> None:
        """Forget a request: its answer will be ignored, and a track that it was to publish is ended."""
        self._requests.cancel(token)
        self._awaited = deque([entry for entry in self._awaited if entry[1] != token])
        self._rpc.cancel(token)
        self._publisher.cancel(token, self._transports, now)
        self.data_tracks.cancel(token, now)

    # ------------------------------------------------------------------ the user's operations: calls

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
        self._pump_rpc(now)
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
        self._pump_rpc(now)

    def rpc_fail(self, invocation: RpcInvocation, error: RpcError | None, now: float) -> None:
        """Let a call fail, with APPLICATION_ERROR if no error is given. Does nothing when nobody waits any more."""
        now = self._time(now)
        self._rpc.fail(invocation, error, now)
        self._pump_rpc(now)

    def _pump_rpc(self, now: float) -> None:
        """Calls and answers go before all other data. What finds no room is tried again when something has left."""
        if self._joined and not self.closed:
            self._rpc.pump(self._transports, now)

    # ------------------------------------------------------------------ the user's operations: media

    def _check_connected(self) -> None:
        if not self._joined or self._stopping is not None or self.closed:
            raise LocalProtocolError("not connected: nothing can be requested")

    def _send_signal(self, kind: str, message: Any, now: float) -> None:
        self._session.send(kind, message, now)
        self._due["session"] = NOW

    def publish_track(self, description: TrackDescription, now: float) -> tuple[int, LocalTrack]:
        """Publish a track: the token, whose RequestDone brings the publication, and the track, which takes frames from
        TrackStarted on.

        Before ``start`` too: then the track is part of the join, and costs no round trip of its own.
        """
        if not self._publisher.placed and self._stopping is None and not self.closed:
            patience = self.options.open_timeout + self.options.first_message_timeout
            token, track = self._publisher.prepare(description, patience, now)
        else:
            self._check_connected()
            token, track = self._publisher.publish(description, self._transports, now)
        self._due["requests"] = NOW
        return token, track

    def unpublish_track(self, sid: str, now: float) -> None:
        """End a track of ours."""
        self._check_connected()
        self._publisher.unpublish(sid, self._transports, now)

    def set_track_muted(self, sid: str, muted: bool, now: float) -> None:
        """Mute a track of ours, or unmute it."""
        self._check_connected()
        self._publisher.set_muted(sid, muted, now)

    def set_track_permissions(
        self, everybody: bool, permissions: Iterable[ParticipantTrackPermission], now: float
    ) -> None:
        """Who may subscribe to our tracks: everybody, or the named ones; each call replaces what was set before."""
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
        self._transports.touch_media()
        return sender.write(data, now, timestamp=timestamp, duration=duration, level=level, voice=voice)

    def enable_track(self, track: RemoteTrack, enabled: bool, now: float) -> None:
        """Keep the frames of a subscribed track, or drop them: nobody reads."""
        self._transports.set_receiving(track.receiver, enabled, now)

    def request_keyframe(self, track: RemoteTrack, now: float) -> None:
        """Ask the publisher of a video for a key frame, unless that was done a moment ago."""
        self._transports.request_keyframe(track.receiver)

    def set_subscribed(self, publication: RemoteTrackPublication, subscribed: bool, now: float) -> None:
        """Ask the server for a track, or to send it no longer. TrackSubscribed and TrackUnsubscribed tell the rest."""
        self._check_connected()
        self._send_signal("subscription", self._subscriptions.set_subscribed(publication, subscribed), now)

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
        self._check_connected()
        settings = track_settings(
            publication.sid, enabled=enabled, quality=quality, width=width, height=height, fps=fps
        )
        self._send_signal("track_setting", settings, now)
        self._subscriptions.remember(publication.sid, settings)

    def stop(self, now: float) -> None:
        """Leave: reliable data in flight gets ``flush_timeout`` to be acknowledged, then the server is told."""
        now = self._time(now)
        if self.closed or self._stopping is not None:
            return
        self._stopping = DisconnectReason.CLIENT_INITIATED
        flush = self._connected and self._transports.unacknowledged
        self._flush_deadline = now + self.options.flush_timeout if flush else NOW
        self._due["self"] = NOW

    # ------------------------------------------------------------------ time

    def _time(self, now: float) -> float:
        """The time of an input, never earlier than the last."""
        if now > self._now:
            self._now = now
        return self._now

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline."""
        now = self._time(now)
        if self.closed:
            return INF
        due, transports, streams, rpc = self._due, self._transports, self.streams_in, self._rpc
        frames = self.data_tracks
        for _ in range(MAX_ROUNDS):
            first = min(transports.due, streams.due, rpc.due, frames.due, *due.values())
            if first > now:
                return first
            if due["session"] <= now:
                due["session"] = self._session.advance(now)
                self._drain_session(now)
            if transports.due <= now:
                transports.advance(now)
                self._drain_transports(now)
            if self.closed:
                return INF
            if streams.due <= now:
                streams.advance(now)
            if frames.due <= now:
                frames.advance(now)
            if rpc.due <= now:
                rpc.advance(now)
            if rpc.waiting:
                self._pump_rpc(now)
            if due["requests"] <= now:
                due["requests"] = self._requests.advance(now)
                self._publisher.sweep(self._transports, now)
                self.data_tracks.sweep(now)
            if due["life"] <= now:
                due["life"] = self._life.advance(now)
                self._drain_life(now)
                if self.closed:
                    return INF
                transports = self._transports  # a restart has made new ones
            if due["self"] <= now:
                due["self"] = self._advance_self(now)
                if self.closed:
                    return INF
        raise AssertionError("children never settle")

    def why_due(self) -> str:
        """Which part produced the current deadline."""
        parts = {"transports": self._transports.due, "streams": self.streams_in.due, "rpc": self._rpc.due}
        due = {**parts, "data tracks": self.data_tracks.due, **self._due}
        return min(due, key=lambda name: due[name])

    def _advance_self(self, now: float) -> float:
        if self._stopping is not None:
            if self._transports.unacknowledged and now < self._flush_deadline:
                return self._flush_deadline
            self._end(self._stopping, None, now)
            return INF
        if self._signal_wanted and self._transports.ready and not self._needs_token(now):
            self._open_signal(now)
        if now >= self._media_deadline:
            self._media_deadline = INF
            if not self._connected:
                detail = f"{self._transports.lacking()} within {self.options.media_timeout:g} s"
                self._end(DisconnectReason.MEDIA_FAILURE, self._media_failure(detail), now)
                return INF
            self._end_reason = DisconnectReason.MEDIA_FAILURE
            self._trigger(self._media_trigger, now)
        if now >= self._mend_at:
            self._mend_at = INF
            self._transports.mend(now)
            self._transports.due = NOW
        if now >= self._resync_at:
            self._resync_at = INF
            self.state.end_resync()
            self._transports.catch_up(*self._missing(), now)
            self._transports.due = NOW
        if now >= self._prove_deadline:
            self._prove_deadline = INF
            self._trigger(Trigger.FAILED, now)
        return min(self._media_deadline, self._mend_at, self._resync_at, self._prove_deadline)

    # ------------------------------------------------------------------ reconnecting

    def _trigger(self, trigger: Trigger, now: float) -> None:
        if trigger in _RESUME_REASONS and not self._life.reconnecting:
            self._resume_reason = _RESUME_REASONS[trigger]
            self._failure = ""
        self._tell_flowing(now)
        self._life.trigger(trigger, now)
        self._due["life"] = NOW

    def _tell_flowing(self, now: float) -> None:
        """Media decides how long and how often a reconnect is tried; its loss is told when it comes second."""
        flowing = self._transports.flowing(now)
        self._life.set_flowing(flowing, now)
        self._due["life"] = NOW
        if not flowing and self.state.connection is ConnectionState.SIGNAL_RECONNECTING:
            self._tell_reconnecting()

    def _drain_life(self, now: float) -> None:
        while self._life.outbox and not self.closed:
            entered = self._life.outbox.popleft()
            match entered.state:
                case State.WAITING:
                    self._enter_waiting(now)
                case State.RESUMING:
                    self._signal_wanted = True
                    self._due["self"] = NOW
                case State.RESTARTING:
                    self._enter_restarting(now)
                case State.CONNECTED if entered.previous is not State.JOINING:
                    self._enter_connected(entered.previous is State.RESUMING, now)
                case State.CLOSED:
                    self._end(self._end_reason, None, now)

    def _enter_waiting(self, now: float) -> None:
        """The connection is lost: what remains of the link is closed, and the user is told once."""
        self._session.drop(now)
        self._flush_session()
        self._signal_wanted = False
        self._media_deadline = self._mend_at = self._prove_deadline = INF
        self._resync_at = INF
        self.state.abandon_resync()
        if self._life.mode is Mode.RESUME and not self._transports.suspect(now):
            if self.state.connection is ConnectionState.CONNECTED:
                self.state.set_connection_state(ConnectionState.SIGNAL_RECONNECTING)
                self.outbox.append(SignalReconnecting())
        else:
            self._tell_reconnecting()

    def _tell_reconnecting(self) -> None:
        if self.state.connection is not ConnectionState.RECONNECTING:
            self.state.set_connection_state(ConnectionState.RECONNECTING)
            self.outbox.append(Reconnecting())

    def _enter_restarting(self, now: float) -> None:
        """Join anew with the same objects, over new peer connections."""
        self._tell_reconnecting()
        self._requests.fail_all(DisconnectReason.STATE_MISMATCH)
        self._publisher.suspend()
        self._subscriptions.end_all("reconnecting")
        self.streams_in.restarted(now)
        self.data_tracks.suspend(now)
        self._first_answer = False
        old = self._transports
        new = self._new_transports(single=old.single, first_port=old.next_port)
        self._lost += new.inherit(old)
        if not new.accepted:  # nothing was taken over that could still be acknowledged
            self._fail_awaited(RequestReason.UNACKNOWLEDGED)
            self.streams_out.restarted()
            self._rpc.restarted()
        self._close_transports(now)
        self._transports = new
        self._transports.gather(self._interfaces, loopback=urls.is_loopback(self.url), now=now)
        self._transports.due = NOW
        self._tell_flowing(now)
        self._signal_wanted = True
        self._due["self"] = NOW

    def _enter_connected(self, resumed: bool, now: float) -> None:
        self._media_deadline = self._mend_at = self._prove_deadline = INF
        self._credentials.accepted()
        if resumed:
            self._session.flush(now)
            self._due["session"] = NOW
        else:  # a server subscribes us to everything when media is up, whatever it was told before
            for request in self._subscriptions.restated(self.options.auto_subscribe):
                self._send_signal("subscription", request, now)
        self.state.set_connection_state(ConnectionState.CONNECTED)
        self.outbox.append(Reconnected(resumed))
        if self._lost:
            self.outbox.append(unacknowledged(self._lost))
            self._lost = []
        self.outbox.extend([DataWritable(False), DataWritable(True)])  # whoever waits finds the new channels

    def _fail_awaited(self, reason: RequestReason) -> None:
        for _, token in self._awaited:
            self.outbox.append(RequestFailed(token, RequestError(reason)))
        self._awaited.clear()

    def _handle_resumed(self, response: rtc.ReconnectResponse, now: float) -> None:
        """The server took us back: first of all it is told what we have."""
        self.state.begin_resync()
        self._mend_at = now + MEND_AFTER
        self._prove_deadline = now + self.options.media_timeout
        auto = self.options.auto_subscribe
        state = self._transports.sync_state(auto, self._subscriptions.differing(auto), self._publisher.published())
        self.data_tracks.sync(state)
        self._session.send("sync_state", state, now)
        self._publisher.permissions.say(now)
        for settings in self._subscriptions.settings:
            self._session.send("track_setting", settings, now)
        self._transports.resumed(response, now)
        self._transports.due = self._due["session"] = self._due["self"] = NOW

    def _handle_attempt_refused(self, refusal: Refusal, now: float) -> None:
        """An attempt to resume or to restart did not get in."""
        leave = refusal.leave
        if leave is not None:
            self._handle_leave(leave, now)
            return
        self._failure = f"{refusal.what} {refusal.why}".strip()
        match refusal.kind:
            case RefusalKind.TOKEN_REJECTED if self._credentials.rejected(now):
                self._trigger(Trigger.UNREACHABLE, now)
            case RefusalKind.TOKEN_REJECTED | RefusalKind.ROOM_NOT_FOUND | RefusalKind.REFUSED:
                self._end_reason = DisconnectReason.JOIN_FAILURE
                self._trigger(Trigger.REFUSED, now)
            case RefusalKind.PROTOCOL | RefusalKind.SERVICE_NOT_FOUND if self._signal_was_open:
                self._trigger(Trigger.FAILED, now)
            case _:
                self._trigger(Trigger.UNREACHABLE, now)

    def _handle_leave(self, leave: rtc.LeaveRequest, now: float) -> None:
        actions = proto.rtc.LeaveRequest
        reason = DisconnectReason(leave.reason)
        if not self._connected:
            self._end(reason, refusal_of_leave(leave), now)
        elif leave.action == actions.DISCONNECT:
            self._end_reason = reason
            self._trigger(Trigger.REFUSED, now)
        else:
            if reason is not DisconnectReason.UNKNOWN_REASON:
                self._end_reason = reason  # should the server not be found again
            else:
                self._end_reason = DisconnectReason.SIGNAL_CLOSE
            resume = leave.action == actions.RESUME
            self._trigger(Trigger.LEAVE_RESUME if resume else Trigger.LEAVE_RESTART, now)

    # ------------------------------------------------------------------ signalling

    def _needs_token(self, now: float) -> bool:
        """Whether an attempt to reconnect has to wait for a token; the source is asked for it."""
        if not self._life.reconnecting or not self._credentials.wanted(now):
            return False
        if not self._token_asked:
            self._token_asked = True
            self._token_request += 1
            self.outbox.append(NeedToken(self._token_request, self.options.open_timeout))
        return True

    def _open_signal(self, now: float) -> None:
        self._signal_wanted = self._signal_was_open = False
        self._signal += 1
        single = self._transports.single
        settings = urls.JoinSettings(
            auto_subscribe=self.options.auto_subscribe,
            subscriber_allow_pause=self.options.allow_pause,
            metadata=self.options.metadata,
            attributes=dict(self.options.attributes),
            client_protocol=CLIENT_PROTOCOL,
            capabilities=(CAP_DEFLATE,),
        )
        if self._life.state is State.RESUMING:
            sid = self.state.local_participant.sid
            url = urls.resume_url(self.url, settings, sid=sid, reason=self._resume_reason, single=single)
        else:
            tracks = self._publisher.place(self._transports)
            self._offer_in_join = False
            url = urls.join_url(self.url, settings, single=single)
            if single:
                delay = self.options.open_timeout + self.options.first_message_timeout
                offer = self._transports.first_offer(now, delay=delay)
                whole = urls.join_url(self.url, settings, offer=offer, add_tracks=tracks)
                # Who may not have our tracks has to be told before they are announced.
                if urls.fits_request_line(whole) and not (tracks and self._publisher.permissions.restricted):
                    self._offer_in_join, url = True, whole
        timeout = self._open_timeout()
        self._session.start(self._signal, resume=self._life.state is State.RESUMING, now=now)
        local = self._transports.local_host(now) if self._life.reconnecting else ""
        headers = self._credentials.headers(now)
        self.outbox.append(OpenSignal(self._signal, url, headers, timeout, local))
        self._due["session"] = NOW

    def _open_timeout(self) -> float:
        """How long an attempt may take.

        While media flows a resume is not urgent, and what was asked of a network that is away is repeated ever more
        seldom: a fresh attempt finds its return sooner. ``HURRIED_TRIPS`` round trips are several times what one takes;
        should this server take longer all the same, later attempts get more.
        """
        rtt, most = self._transports.rtt, self.options.open_timeout
        if self._life.state is not State.RESUMING or not rtt or not self._transports.flowing(self._now):
            return most
        return min(most, max(HURRIED_LEAST, HURRIED_TRIPS * rtt) * (1 + self._life.attempt // HURRIED_ATTEMPTS))

    def _drain_session(self, now: float) -> None:
        outbox = self._session.outbox
        while outbox and not self.closed:
            event = outbox.popleft()
            match event:
                case ServerMessage(kind=kind, message=message):
                    self._handle_server(kind, message, now)
                case SignalJoined(response=response):
                    self._handle_join(response, now)
                case SignalResumed(response=response):
                    self._handle_resumed(response, now)
                case SignalRefused(reason=refusal):
                    if self._connected and self._stopping is None:
                        self._handle_attempt_refused(refusal, now)
                    else:
                        self._handle_refused(refusal, now)
                case SignalLost(reason=reason):
                    self.counters.add("signal_lost")
                    if self._connected and self._stopping is None:
                        self._end_reason = DisconnectReason.SIGNAL_CLOSE
                        self._trigger(Trigger.SIGNAL_LOST, now)
                    else:
                        self._end(DisconnectReason.SIGNAL_CLOSE, _link_lost(reason), now)
                case _:
                    self.outbox.append(event)  # SendSignal, CloseSignal

    def _handle_refused(self, refusal: Refusal, now: float) -> None:
        fall_back = (
            refusal.kind is RefusalKind.SERVICE_NOT_FOUND
            and self._transports.single
            and self.options.single_peer_connection is None
        )
        if fall_back and self._stopping is None:
            # A server from before /rtc/v1: the same join with two peer connections.
            self._session = self._new_session()
            self._transports.fall_back_to_dual(now)
            self._transports.due = NOW
            self._signal_wanted = True
            return
        leave = refusal.leave
        reason = DisconnectReason(leave.reason) if leave is not None else DisconnectReason.JOIN_FAILURE
        self._end(reason, refusal, now)

    def _handle_join(self, response: rtc.JoinResponse, now: float) -> None:
        self._joined = True
        self.state.apply_join(response)
        self._media_deadline = now + self.options.media_timeout
        self._due["self"] = min(self._due["self"], self._media_deadline)
        if self.options.metadata and not self._transports.single:
            # /rtc has no parameter for it
            update = proto.rtc.UpdateParticipantMetadata(metadata=self.options.metadata)
            self._session.send("update_metadata", update, now)
            self._due["session"] = NOW
        self._publisher.permissions.say(now)
        for settings in self._subscriptions.settings:
            self._send_signal("track_setting", settings, now)
        if not self._offer_in_join:
            self._publisher.announce(now)  # ahead of the offer that has their sections
            self._due["session"] = NOW
        self.data_tracks.rejoined(now)
        self._transports.joined(response, offer_sent=self._offer_in_join, now=now)
        self._transports.due = NOW

    def _handle_server(self, kind: str, message: Any, now: float) -> None:
        state = self.state
        match kind:
            case "update":
                state.apply_update(message)
                self._publisher.handle_update(message, self._transports, now)
                self._subscriptions.settle()
                self.data_tracks.settle(now)
                if state.resyncing and self._resync_at == INF:
                    self._resync_at = now + RESYNC_TIME
                    self._due["self"] = NOW
            case "speakers_changed":
                state.apply_speakers(message)
            case "connection_quality":
                state.apply_quality(message)
            case "room_update":
                state.apply_room_update(message)
            case "mute":
                state.apply_mute(message.sid, message.muted)
                self._publisher.handle_mute(message.sid)
            case "track_published":
                self._publisher.handle_published(message, now)
            case "track_unpublished":
                state.apply_track_unpublished(message)
                self._publisher.handle_unpublished(message.track_sid, self._transports, now)
            case "subscribed_quality_update":
                self._publisher.handle_quality(message)
            case "track_subscribed":
                state.apply_track_subscribed(message)
            case "stream_state_update":
                state.apply_stream_state(message)
            case "subscription_permission_update":
                state.apply_subscription_permission(message)
            case "subscription_response":
                state.apply_subscription_response(message)
            case "room_moved":
                self._credentials.moved(message.token)
                state.apply_room_moved(message)
                self._subscriptions.settle()
                self.data_tracks.settle(now)
            case "publish_data_track_response":
                self.data_tracks.handle_published(message.info, now)
            case "unpublish_data_track_response":
                self.data_tracks.handle_unpublished(message.info)
            case "data_track_subscriber_handles":
                self.data_tracks.handle_handles(message)
            case "request_response":
                self._requests.handle_response(message, now)
                self._publisher.handle_response(message, self._transports, now)
                self.data_tracks.sweep(now)
            case "refresh_token":
                if self._credentials.refreshed(message):
                    self.outbox.append(TokenRefreshed(message))
                else:
                    self.counters.add("token_unusable")
            case "leave":
                self._handle_leave(message, now)
            case "answer" | "offer" | "trickle" | "media_sections_requirement":
                self._transports.handle_signal(kind, message, now)
                self._transports.due = NOW
                if kind == "answer" and not self._first_answer:
                    self._first_answer = True
                    self._transports.expect_tracks(*self._missing(), now)
            case _:
                self.counters.add("signal_ignored")

    def _missing(self) -> tuple[int, int]:
        """Audio and video tracks that the server has, or will have, for us without a section of ours."""
        return self._subscriptions.missing(self._transports.carried) if self.options.auto_subscribe else (0, 0)

    # ------------------------------------------------------------------ transports

    def _drain_transports(self, now: float) -> None:
        outbox = self._transports.outbox
        while outbox and not self.closed:
            event = outbox.popleft()
            if type(event) is FrameReadable:  # for nearly every packet of media
                if (readable := self._subscriptions.track_of(event.receiver)) is not None:
                    self.outbox.append(TrackReadable(readable))
                continue
            match event:
                case tuple():  # (kind, message): a signal request of the negotiation
                    if self._session.connected:
                        self._session.send(event[0], event[1], now)
                        self._due["session"] = NOW
                case TransportsUp():
                    self._media_deadline = INF
                    if not self._connected:
                        self._connected = True
                        self.state.connected()
                    self._subscriptions.connected()
                    self._trigger(Trigger.UP, now)
                case TrackMapped():
                    self._subscriptions.handle_mapped(event)
                case TrackUnmapped():
                    self._subscriptions.handle_unmapped(event)
                case SendingStarted(sending=sending):
                    started = self._publisher.handle_started(sending, self._transports, now)
                    if started is not None:
                        self.outbox.append(TrackStarted(started))
                case KeyframeWanted(sender=sender):
                    if (asked := self._publisher.sending(sender)) is not None:
                        self.outbox.append(TrackKeyframeWanted(*asked))
                case TransportsProven():
                    self._trigger(Trigger.UP, now)
                case TransportsFailed(detail=detail, path=path):
                    self._media_failed(detail, path, now)
                case _:
                    self.outbox.append(event)  # OpenUdp, ClosePort, Resolve, DataReadable, DataWritable
        awaited = self._awaited
        while awaited and awaited[0][0] <= self._transports.acknowledged:
            self.outbox.append(RequestDone(awaited.popleft()[1]))
        unwelcome = self._subscriptions.unwelcome
        while unwelcome and self._session.connected:
            self._send_signal("subscription", unwelcome.pop(0), now)
        if self._stopping is not None or self._signal_wanted:
            self._due["self"] = NOW
        if self._life.reconnecting:
            self._tell_flowing(now)

    def media_report(self) -> tuple[list[PairReport], list[PathReport]]:
        """How each candidate pair stands, and each relay and TCP connection; ``ice.verdict`` makes sense of both."""
        return self._transports.pairs_report(), self._transports.paths_report()

    def _media_failure(self, detail: str) -> MediaFailure:
        pairs, ways = self.media_report()
        return MediaFailure(detail, tuple(pairs), tuple(ways))

    def _media_failed(self, detail: str, path: bool, now: float) -> None:
        if not self._connected:
            self._end(DisconnectReason.MEDIA_FAILURE, self._media_failure(detail), now)
            return
        # A server that ends the session closes both ways at once, and the packets may be first: its reason counts.
        self.counters.add("media_failed")
        self._flush_deadline = NOW
        # A path can be mended by ICE; what lies above it (DTLS, SCTP, descriptions) is lost with its peer connection.
        self._media_trigger = Trigger.MEDIA_LOST if path else Trigger.FAILED
        self._media_deadline = min(self._media_deadline, now + LEAVE_GRACE)
        self._due["self"] = min(self._due["self"], self._media_deadline)

    # ------------------------------------------------------------------ the end

    def _end(self, reason: DisconnectReason, error: Refusal | MediaFailure | None, now: float) -> None:
        """The session is over: tell the server and the user, fail what is pending, close everything.

        ``error`` is for a user who still waits to be connected. Whoever has stopped the session has ended it.
        """
        reason = self._stopping or reason
        self._session.leave(now)
        self._flush_session()
        self._subscriptions.end_all("disconnected")
        self.data_tracks.end()
        self._rpc.ended()
        self._publisher.suspend()
        if self._connected:
            self.state.disconnected(reason, "" if self._stopping else self._failure)
        elif error is not None:
            self.outbox.append(JoinFailed(error))
        self.state.set_connection_state(ConnectionState.DISCONNECTED)
        self._requests.fail_all(reason)
        self._fail_awaited(RequestReason.ROOM_ENDED)
        self._close_transports(now)
        self.closed = True
        self.outbox.append(Ended(reason))

    def _flush_session(self) -> None:
        """What the session wants sent goes out now, so that an old link is closed before a new one is opened."""
        self.outbox.extend(self._session.outbox)
        self._session.outbox.clear()

    def _close_transports(self, now: float) -> None:
        self._transports.close(now)
        unopened = [event.port for event in self._transports.outbox if isinstance(event, OpenUdp | OpenStream)]
        for event in self._transports.outbox:
            if isinstance(event, ClosePort) and event.port not in unopened:
                self.outbox.append(event)
        self._transports.outbox.clear()

    # ------------------------------------------------------------------ diagnostics

    def sent_stats(self) -> dict[str, tuple[SenderStats, ...]]:
        """What was sent of our tracks: by sid, the counters of each layer, the lowest first."""
        return self._publisher.stats()

    def received_stats(self) -> dict[str, ReceiverStats]:
        """What came of the subscribed tracks of others, by sid."""
        return self._subscriptions.stats()

    def link_stats(self) -> tuple[LinkStats, ...]:
        """How media fares on the way of each peer connection."""
        return self._transports.link_stats()

    def diagnostics(self) -> dict[str, Any]:
        """Counters of every layer and the candidate pairs, JSON-ready and without any secret."""
        return {
            "connection": self.state.connection.name,
            "mode": "single" if self._transports.single else "dual",
            "signal": {"rtt": self._session.rtt, **self._session.counters.snapshot()},
            "engine": self.counters.snapshot(),
            "streams": self.streams_in.diagnostics(),
            "data_tracks": self.data_tracks.counters.snapshot(),
            "rpc": self._rpc.diagnostics(),
            "transports": self._transports.diagnostics(),
            "sent": {sid: [asdict(layer) for layer in layers] for sid, layers in self.sent_stats().items()},
            "received": {sid: asdict(stats) for sid, stats in self.received_stats().items()},
        }


_SPEAKER_SECONDS = 3
_RESUME_REASONS = {Trigger.SIGNAL_LOST: 1, Trigger.MEDIA_LOST: 2, Trigger.LEAVE_RESUME: 0}
"""ReconnectReason on the wire; the server feeds its own choice of paths with it."""


def _link_lost(reason: str) -> Refusal:
    return Refusal(
        RefusalKind.UNREACHABLE,
        "The signalling link broke before media was connected.",
        reason[:1].upper() + reason[1:] + ".",
        "Try again later.",
    )


__all__ = ["Ended", "JoinFailed", "MediaFailure", "RequestDone", "RequestFailed", "RoomEngine"]
