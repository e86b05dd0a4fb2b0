"""RoomEngine: one participant's session as one machine. The thing that drivers embed.

A driver feeds it what its sockets and timers say and performs the requests in ``outbox``; users' operations are plain
method calls. See ``sansio.base.contract`` for the shape of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import asdict

from ..base.contract import INF, NOW, Address, Interface, SignalFailure
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError
from ..base.wallclock import WallClock
from ..dtls.identity import DtlsIdentity
from ..events import TokenRefreshed
from ..ice.agent import PairReport
from ..ice.paths import PathReport
from ..peer.media import SendingStarted, TrackMapped, TrackUnmapped
from ..rtp.session import FrameReadable, KeyframeWanted
from ..signal.session import ServerMessage, SignalJoined, SignalLost, SignalRefused, SignalResumed
from ..types import DisconnectReason, LinkStats, ReceiverStats, SenderStats
from .course import Course
from .data_lanes import DataReadable
from .operations import Operations
from .options import EngineOptions
from .outputs import TrackKeyframeWanted, TrackReadable, TrackStarted
from .parts import Parts
from .state import Factories
from .transports import TransportsFailed, TransportsProven, TransportsUp

MAX_ROUNDS = 64


class RoomEngine(Operations):
    """A participant in a LiveKit room: the driver's side is here, the user's side in ``Operations``.

    ``state`` is always current; events in ``outbox`` tell what changed after it has changed. After ``Ended`` all
    inputs are ignored.
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
        parts = Parts(
            url,
            token,
            options or EngineOptions(),
            entropy=entropy,
            wall=wall,
            identity=identity,
            factories=factories or Factories(),
        )
        super().__init__(parts, Course(parts, entropy.fork("lifecycle")))
        self.url = url
        self.transmits = parts.transmits
        self.outbox = parts.outbox
        self.counters = parts.counters

    def __repr__(self) -> str:
        return f"<RoomEngine {self.state.name!r} {self.state.connection.name}>"

    @property
    def closed(self) -> bool:
        """Whether everything is over."""
        return self._course.closed

    # ------------------------------------------------------------------ the driver's inputs

    def start(self, interfaces: Sequence[Interface], now: float) -> None:
        """Begin to join: sockets first, so that the host candidates travel inside the join request."""
        now = self._time(now)
        if self._course.begun:
            raise LocalProtocolError("this engine was started or stopped before")
        self._course.start(interfaces, now)

    def stop(
        self, now: float, *, reason: DisconnectReason = DisconnectReason.CLIENT_INITIATED, flush: bool = True
    ) -> None:
        """Leave: reliable data in flight gets ``flush_timeout`` to be acknowledged, then the server is told.

        ``reason``: what others are told, as far as the server passes it on (CLIENT_INITIATED, USER_UNAVAILABLE,
        USER_REJECTED, AGENT_ERROR); of several stops the first one's. ``flush`` False: the data gets no time, or no
        more time where it is being waited for.
        """
        self._course.stop(reason, self._time(now), flush=flush)

    def networks_changed(self, interfaces: Sequence[Interface], now: float) -> None:
        """The addresses or routes of this host have changed.

        Sockets follow the addresses, and the server is told of new candidates. Every path and the link are put to the
        test at once, and a waiting attempt to reconnect is made.
        """
        self._course.networks_changed(interfaces, self._time(now))

    def port_opened(self, port: int, address: Address, now: float) -> None:
        """OpenUdp succeeded; ``address`` is the bound one."""
        now = self._time(now)
        self._parts.transports.port_opened(port, address, now)
        self._parts.transports.due = NOW

    def port_failed(self, port: int, error: str, now: float) -> None:
        """OpenUdp failed, or the socket broke later."""
        now = self._time(now)
        self._parts.transports.port_failed(port, error, now)
        self._parts.transports.due = NOW

    def port_handler(self, port: int) -> Callable[[int, bytes, Address, float], None]:
        """The per-packet entry of a port: look it up once, call it with (port, data, source, now).

        Alone of all inputs it trusts ``now`` not to go back.
        """
        return self._parts.transports.port_handler(port)

    def handle_datagram(self, port: int, data: bytes, addr: Address, now: float) -> None:
        """One datagram that arrived on a port."""
        now = self._time(now)
        self._parts.transports.port_handler(port)(port, data, addr, now)

    def port_send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        """The system refused to send (no route, filtered)."""
        now = self._time(now)
        self.counters.add("send_failed")
        self._parts.transports.send_failed(port, addr, error, now)
        self._parts.transports.due = NOW

    def port_blocked(self, port: int, now: float) -> None:
        """The socket of a port is full."""
        self._parts.transports.port_blocked(port, True)

    def port_writable(self, port: int, now: float) -> None:
        """The socket of a port takes datagrams again."""
        self._parts.transports.port_blocked(port, False)
        self._parts.transports.due = NOW

    def resolved(self, token: int, addresses: list[str], now: float) -> None:
        """A name was looked up."""
        now = self._time(now)
        self._parts.transports.resolved(token, addresses, now)
        self._parts.transports.due = NOW

    def signal_opened(self, signal: int, now: float) -> None:
        """The WebSocket is open."""
        self._link.handle_opened(signal, self._time(now))

    def signal_failed(self, signal: int, failure: SignalFailure, now: float) -> None:
        """The WebSocket could not be opened."""
        self._link.handle_failed(signal, failure, self._time(now))

    def signal_received(self, signal: int, data: bytes, now: float) -> None:
        """One binary message arrived."""
        self._link.handle_message(signal, data, self._time(now))

    def signal_closed(self, signal: int, reason: str, now: float) -> None:
        """The WebSocket was closed, by whoever."""
        self._link.handle_closed(signal, reason, self._time(now))

    def token_renewed(self, request: int, token: str, now: float) -> None:
        """The source has given an access token. Raises UnusableToken, as if it had not, when that cannot be one."""
        self._time(now)
        if self._link.handle_token(request, token):
            self._course.due = NOW

    def token_failed(self, request: int, reason: str, now: float) -> None:
        """The source has given none: that counts as an attempt that found no server. ``reason`` is a sentence."""
        now = self._time(now)
        if self._link.handle_no_token(request):
            self.counters.add("token_failed")
            self._course.handle_no_token(reason, now)

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline."""
        now = self._time(now)
        course = self._course
        if course.closed:
            return INF
        parts, link, requests = self._parts, self._link, self._requests
        streams, rpc, frames = self.streams_in, self._rpc, self.data_tracks
        for _ in range(MAX_ROUNDS):
            transports = parts.transports  # a restart makes new ones
            first = min(transports.due, streams.due, rpc.due, frames.due, link.due, requests.due, course.due)
            if first > now:
                return first
            if link.due <= now:
                link.due = link.session.advance(now)
                self._drain_session(now)
            if transports.due <= now:
                transports.advance(now)
                self._drain_transports(now)
            if course.closed:
                return INF
            if streams.due <= now:
                streams.advance(now)
            if frames.due <= now:
                frames.advance(now)
            if rpc.due <= now:
                rpc.advance(now)
            if rpc.waiting:
                rpc.pump(transports, now)
            if requests.due <= now:
                requests.advance(now)
                self._publisher.sweep(transports, now)
                frames.sweep(now)
            if course.due <= now:
                course.advance(now)
                if course.closed:
                    return INF
        raise AssertionError("children never settle")

    @property
    def owing(self) -> bool:
        """Whether something was done since the last ``advance`` that the next one has work with."""
        return min(self._parts.transports.due, self._link.due, self._requests.due, self._course.due) == NOW

    def impatient(self, now: float) -> bool:
        """Whether what arrives should be handled at once, since somebody is waiting for answers to calls."""
        return now < self._rpc.busy_until

    def why_due(self) -> str:
        """Which part produced the current deadline."""
        due = {
            "transports": self._parts.transports.due,
            "streams": self.streams_in.due,
            "rpc": self._rpc.due,
            "data tracks": self.data_tracks.due,
            "link": self._link.due,
            "requests": self._requests.due,
            "course": self._course.due,
        }
        return min(due, key=lambda name: due[name])

    # ------------------------------------------------------------------ signalling

    def _drain_session(self, now: float) -> None:
        outbox, course = self._link.session.outbox, self._course
        while outbox and not course.closed:
            event = outbox.popleft()
            match event:
                case ServerMessage(kind=kind, message=message):
                    self._handle_server(kind, message, now)
                case SignalJoined(response=response):
                    course.handle_join(response, now)
                case SignalResumed(response=response):
                    course.handle_resumed(response, now)
                case SignalRefused(reason=refusal):
                    course.handle_refused(refusal, now)
                case SignalLost(reason=reason):
                    course.handle_link_lost(reason, now)
                case _:
                    self.outbox.append(event)  # SendSignal, CloseSignal

    def _handle_server(self, kind: str, message: Any, now: float) -> None:
        state, publisher, data_tracks = self.state, self._publisher, self.data_tracks
        transports = self._parts.transports
        match kind:
            case "update":
                state.apply_update(message)
                publisher.handle_update(message, transports, now)
                self._subscriptions.settle()
                data_tracks.settle(now)
                self._course.handle_update(now)
            case "speakers_changed":
                state.apply_speakers(message)
            case "connection_quality":
                state.apply_quality(message)
            case "room_update":
                state.apply_room_update(message)
            case "mute":
                state.apply_mute(message.sid, message.muted)
                publisher.handle_mute(message.sid)
            case "track_published":
                publisher.handle_published(message, now)
            case "track_unpublished":
                state.apply_track_unpublished(message)
                publisher.handle_unpublished(message.track_sid, transports, now)
            case "subscribed_quality_update":
                publisher.handle_quality(message)
            case "track_subscribed":
                state.apply_track_subscribed(message)
            case "stream_state_update":
                state.apply_stream_state(message)
            case "subscription_permission_update":
                state.apply_subscription_permission(message)
            case "subscription_response":
                state.apply_subscription_response(message)
            case "room_moved":
                self._link.credentials.moved(message.token)
                state.apply_room_moved(message)
                self._subscriptions.settle()
                data_tracks.settle(now)
            case "publish_data_track_response":
                data_tracks.handle_published(message.info, now)
            case "unpublish_data_track_response":
                data_tracks.handle_unpublished(message.info)
            case "data_track_subscriber_handles":
                data_tracks.handle_handles(message)
            case "request_response":
                self._requests.handle_response(message, now)
                publisher.handle_response(message, transports, now)
                data_tracks.sweep(now)
            case "refresh_token":
                if self._link.credentials.refreshed(message):
                    self.outbox.append(TokenRefreshed(message))
                else:
                    self.counters.add("token_unusable")
            case "leave":
                self._course.handle_leave(message, now)
            case "answer" | "offer" | "trickle" | "media_sections_requirement":
                transports.handle_signal(kind, message, now)
                transports.due = NOW
                if kind == "answer":
                    self._course.handle_answer(now)
            case _:
                self.counters.add("signal_ignored")

    # ------------------------------------------------------------------ transports

    def _drain_transports(self, now: float) -> None:
        transports, link, course, publisher = self._parts.transports, self._link, self._course, self._publisher
        outbox = transports.outbox
        while outbox and not course.closed:
            event = outbox.popleft()
            if type(event) is FrameReadable:  # for nearly every packet of media
                if (readable := self._subscriptions.track_of(event.receiver)) is not None:
                    self.outbox.append(TrackReadable(readable))
                continue
            if type(event) is DataReadable:  # the same of data
                self.outbox.append(event)
                continue
            match event:
                case tuple():  # (kind, message): a signal request of the negotiation
                    if link.session.connected:
                        link.send(event[0], event[1], now)
                case TransportsUp():
                    course.handle_up(now)
                case TrackMapped():
                    self._subscriptions.handle_mapped(event)
                case TrackUnmapped():
                    self._subscriptions.handle_unmapped(event)
                case SendingStarted(sending=sending):
                    started = publisher.handle_started(sending, transports, now)
                    if started is not None:
                        self.outbox.append(TrackStarted(started))
                case KeyframeWanted(sender=sender):
                    if (asked := publisher.sending(sender)) is not None:
                        self.outbox.append(TrackKeyframeWanted(*asked))
                case TransportsProven():
                    course.handle_proven(now)
                case TransportsFailed(detail=detail, path=path):
                    course.handle_media_failed(detail, path, now)
                case _:
                    self.outbox.append(event)  # OpenUdp, ClosePort, Resolve, DataWritable
        acknowledgements = self._parts.acknowledgements
        if acknowledgements.awaited:
            acknowledgements.settle(transports.acknowledged)
        unwelcome = self._subscriptions.unwelcome
        while unwelcome and link.session.ready:
            link.send("subscription", unwelcome.pop(0), now)
        if course.stopping is not None or link.wanted:
            course.due = NOW
        if course.life.reconnecting:
            course.tell_flowing(now)

    # ------------------------------------------------------------------ diagnostics

    def media_report(self) -> tuple[list[PairReport], list[PathReport]]:
        """How each candidate pair stands, and each relay and TCP connection; ``ice.verdict`` makes sense of both."""
        return self._parts.transports.pairs_report(), self._parts.transports.paths_report()

    def sent_stats(self) -> dict[str, tuple[SenderStats, ...]]:
        """What was sent of our tracks: by sid, the counters of each layer, the lowest first."""
        return self._publisher.stats()

    def received_stats(self) -> dict[str, ReceiverStats]:
        """What came of the subscribed tracks of others, by sid."""
        return self._subscriptions.stats()

    def link_stats(self) -> tuple[LinkStats, ...]:
        """How media fares on the way of each peer connection."""
        return self._parts.transports.link_stats()

    def diagnostics(self) -> dict[str, Any]:
        """Counters of every layer and the candidate pairs, JSON-ready and without any secret."""
        return {
            "connection": self.state.connection.name,
            "mode": "single" if self._parts.transports.single else "dual",
            "signal": {"rtt": self._link.session.rtt, **self._link.session.counters.snapshot()},
            "engine": self.counters.snapshot(),
            "streams": self.streams_in.diagnostics(),
            "data_tracks": self.data_tracks.counters.snapshot(),
            "rpc": self._rpc.diagnostics(),
            "transports": self._parts.transports.diagnostics(),
            "sent": {sid: [asdict(layer) for layer in layers] for sid, layers in self.sent_stats().items()},
            "received": {sid: asdict(stats) for sid, stats in self.received_stats().items()},
        }
