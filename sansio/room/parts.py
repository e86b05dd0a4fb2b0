"""The parts of a session, and how they know each other."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..base.contract import NOW, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.limits import RPC_PAYLOAD
from ..base.wallclock import WallClock
from ..dtls.identity import DtlsIdentity
from ..types import DisconnectReason
from .data import DataReceiver
from .data_lanes import Hold
from .data_tracks import DataTracks, RemoteDataTrack
from .link import SignalLink
from .options import EngineOptions
from .participant import RemoteParticipant
from .publish import Publisher
from .requests import Acknowledgements, Requests
from .rpc import REQUEST_TOPIC, RESPONSE_TOPIC, Rpc
from .state import Factories, RoomState
from .stream_in import IncomingStreams
from .stream_out import OutgoingStreams
from .subscribe import Subscriptions
from .transports import Transports


class Parts:
    """One of each. All of them live as long as the engine, but for ``transports``: a new join has new ones."""

    def __init__(
        self,
        url: str,
        token: str,
        options: EngineOptions,
        *,
        entropy: Entropy,
        wall: WallClock,
        identity: DtlsIdentity,
        factories: Factories,
    ) -> None:
        self.options = options
        self.wall = wall
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self.now = NOW
        self._entropy = entropy
        self._identity = identity
        self.chat_ids = entropy.fork("chat")
        self.link = link = SignalLink(url, token, options, self.outbox, wall)
        self.state = RoomState(self.outbox, factories, auto_subscribe=options.auto_subscribe)
        self.requests = Requests(self.outbox, timeout=options.request_timeout)
        self.acknowledgements = Acknowledgements(self.outbox)
        self.publisher = Publisher(self.state, self.requests, entropy.fork("publisher"), link.send)
        self.subscriptions = Subscriptions(self.state, self.outbox, factories.remote_track)
        self.streams_in = IncomingStreams(self.outbox, self._hold, max_bytes=options.max_stream_bytes)
        self.streams_out = OutgoingStreams(self.state, entropy.fork("streams"), wall)
        self.rpc = Rpc(self.state, self.outbox, entropy.fork("rpc"), self.streams_out.send_text)
        self.data_tracks = DataTracks(self.outbox, self.requests, entropy.fork("data tracks"), link.send)
        self.receiver = DataReceiver(self.state)
        self._generation = 0
        self.transports = self.new_transports(single=options.single_peer_connection is not False, first_port=1)
        self._connect()

    def _connect(self) -> None:
        """Who is told of what."""
        receiver, state = self.receiver, self.state
        streams, rpc, data_tracks = self.streams_in, self.rpc, self.data_tracks
        streams.intercept(REQUEST_TOPIC, rpc.handle_request_stream, RPC_PAYLOAD)
        streams.intercept(RESPONSE_TOPIC, rpc.handle_response_stream, RPC_PAYLOAD)
        receiver.handlers.update(
            stream_header=streams.handle_header,
            stream_chunk=streams.handle_chunk,
            stream_trailer=streams.handle_trailer,
            rpc_request=rpc.handle_request,
            rpc_ack=rpc.handle_ack,
            rpc_response=rpc.handle_response,
        )
        receiver.data_track = data_tracks.handle_packet
        state.on_left.append(self._participant_left)
        state.on_data_track = data_tracks.appeared
        state.on_data_track_gone = self._data_track_gone
        state.on_own_data_tracks = data_tracks.handle_own

    def new_transports(self, *, single: bool, first_port: int) -> Transports:
        """Peer connections for a session that begins, or begins anew."""
        self._generation += 1
        return Transports(
            self._entropy.fork(f"transports {self._generation}"),
            self._identity,
            self.transmits,
            self.receiver,
            self.options,
            single=single,
            first_port=first_port,
            wall=self.wall,
        )

    def time(self, now: float) -> float:
        """The time of an input, never earlier than the last."""
        if now > self.now:
            self.now = now
        return self.now

    # ------------------------------------------------------------------ what one part tells another

    def _hold(self, size: int) -> Hold:
        return self.transports.hold(size)

    def _participant_left(self, participant: RemoteParticipant) -> None:
        self.streams_in.participant_left(participant.identity, participant.sid, self.now)
        self.rpc.participant_left(participant.identity, participant.sid)

    def _data_track_gone(self, track: RemoteDataTrack, reason: DisconnectReason | None) -> None:
        self.data_tracks.disappeared(track, reason, self.now)
