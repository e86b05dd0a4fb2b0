"""One or two peer connections behind one face: negotiation, sockets and data channels of a session.

Single mode (``/rtc/v1``): one peer connection, always offered by us, carries everything. Dual mode (``/rtc``): the
publisher is offered by us and carries what we send, the subscriber is offered by the server and carries what we get.
Only this file knows which it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from .. import proto
from ..base.contract import INF, NOW, Address, ClosePort, Interface, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..base.limits import SECTION_REQUESTS
from ..base.wallclock import WallClock
from ..dtls.identity import DtlsIdentity
from ..events import PacketReceived
from ..ice.agent import IceState, IceStateChanged, PairReport, PairSelected
from ..ice.candidate import HOST, parse_init, to_init
from ..ice.gather import CandidateFound, Gatherer, GatheringDone, GatherOptions, PortLost
from ..ice.paths import PathOptions, PathReport, Paths, TurnServerConfig
from ..ice.verdict import path_verdict
from ..peer.connection import NegotiationFailed, PeerConnection
from ..peer.media import Sending, SendingStarted, TrackMapped, TrackUnmapped
from ..peer.transport import StreamOffered, TransportConnected, TransportFailed
from ..rtp.receiver import RtpReceiver
from ..rtp.session import FrameReadable, KeyframeWanted
from ..sctp.association import ESTABLISHED, HeartbeatAcked, SctpUp
from ..sctp.channel import BufferedLow, ChannelClosed, ChannelOpened, ChannelReadable, DataChannels
from ..types import LinkStats
from .data import DataReceiver, DataSender, Unacknowledged
from .lane import Lane
from .options import EngineOptions
from .sync import sync_state

if TYPE_CHECKING:
    from ..proto import models, rtc

RELIABLE = "_reliable"
LOSSY = "_lossy"
DATA_TRACK = "_data_track"
PUBLISHER = 0
SUBSCRIBER = 1
MAX_ROUNDS = 64

SUSPICION = 2.5
"""Seconds of silence after which a path is suspect: the server checks its paths every 2 s."""
RELIABLE_BUDGET = 1 << 20
"""Bytes of reliable packets that may wait to be sent before ``publish_data`` says no."""
LOSSY_BUDGET = 1 << 16
"""The same for lossy packets: what waits longer than this is stale."""
RELIABLE_AHEAD = 1 << 16
"""Bytes of reliable packets that SCTP is given ahead of its sending; urgent packets wait behind these."""
LOSSY_AHEAD = 1 << 14
"""The same for lossy packets."""
DATA_TRACK_BUDGET = 1 << 18
"""Bytes of data tracks that may wait to be sent before frames are refused."""


@frozen
class TransportsUp:
    """The primary peer connection is up: media and data can flow."""


@frozen
class TransportsFailed:
    """A peer connection cannot go on; or only its path is gone, which ICE can mend (``path``)."""

    detail: str
    path: bool = False


@frozen
class TransportsProven:
    """After a resume: over every path that was in use an answer of the server has come."""


@frozen
class DataReadable:
    """``read_data`` has something; read until it returns None."""


@frozen
class DataWritable:
    """``publish_data`` of this kind takes packets again."""

    reliable: bool


class Hold:
    """Received data that is kept outside and stays charged to the receive window until it is released."""

    __slots__ = ("_transports", "_peer", "_size")

    def __init__(self, transports: Transports, peer: _Peer, size: int) -> None:
        self._transports = transports
        self._peer = peer
        self._size = size

    def release(self) -> None:
        """It is not kept any more. Once only; harmless after a restart."""
        self._transports._credit(self._peer, self._size)


class _Peer:
    """A peer connection with the sockets that it owns."""

    __slots__ = (
        "blocked",
        "channels",
        "connection",
        "data_tracks",
        "due",
        "gather_due",
        "gatherer",
        "lossy",
        "negotiate",
        "paths",
        "proving",
        "ready",
        "target",
        "up",
    )

    def __init__(self, target: int, connection: PeerConnection, gatherer: Gatherer, paths: Paths) -> None:
        self.target = target
        self.connection = connection
        self.gatherer = gatherer
        self.paths = paths
        self.due = INF
        self.gather_due = NOW
        self.ready = False
        self.up = False
        self.negotiate = False
        self.proving = False
        self.channels: dict[str, int] = {}
        self.lossy: dict[int, bool] = {}
        self.data_tracks: dict[int, bool] = {}
        self.blocked: dict[int, bool] = {}


@frozen
class _Requirement:
    """Media sections that the server asked for, and how things stood then."""

    audios: int
    videos: int
    answers: int
    sections_in_use: int


class Transports:
    """The peer connections of a session. ``outbox``: requests for the driver, signal requests as (kind, message)
    tuples, and TransportsUp, TransportsFailed, DataReadable, DataWritable. ``due`` is the next deadline; whoever gives
    an input by another way than ``port_handler`` sets it to NOW.
    """

    def __init__(
        self,
        entropy: Entropy,
        identity: DtlsIdentity,
        transmits: deque[Transmit],
        receiver: DataReceiver,
        options: EngineOptions,
        *,
        single: bool,
        first_port: int = 1,
        wall: WallClock | None = None,
    ) -> None:
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self.single = single
        self.due = INF
        self._entropy = entropy
        self._identity = identity
        self._transmits = transmits
        self._options = options
        self._wall = wall
        self._cname = entropy.fork("cname").bytes(8).hex()
        self._sender = DataSender()
        self._unacknowledged = Unacknowledged()
        self.accepted = 0
        """Reliable packets that ``publish_data`` has accepted; ``acknowledged`` of them have reached the server."""
        self._receiver = receiver
        self._interfaces: tuple[Interface, ...] = ()
        self._next_port = first_port
        self._generation = 0
        self._owner: dict[int, _Peer] = {}
        self._indirect: dict[int, Paths] = {}
        """The agents' numbers of relays and streams, whose packets are not for the driver as they are."""
        self._relay_only = options.ice_policy == "relay"
        self._peers: list[_Peer] = []
        self._publisher: _Peer | None = None
        self._primary: _Peer | None = None
        self._readable: deque[tuple[_Peer, int]] = deque()
        self._unread: deque[tuple[PacketReceived, _Peer, int]] = deque()
        self._arriving: _Peer | None = None
        self.data_tracks_wanted = False
        self._lanes = (
            Lane(reliable=False, budget=LOSSY_BUDGET, high=LOSSY_AHEAD, low=LOSSY_AHEAD // 2),
            Lane(reliable=True, budget=RELIABLE_BUDGET, high=RELIABLE_AHEAD, low=RELIABLE_AHEAD // 2),
        )
        self._requirement = _Requirement(0, 0, 0, 0)
        self._unmet = 0
        self._first_offer: rtc.SessionDescription | None = None
        self._joined = False
        self._loopback = False
        self._held_trickles: list[tuple[str, rtc.TrickleRequest]] = []
        self._announced = False
        self._proving = False
        self._offered = False

    # ------------------------------------------------------------------ sockets

    def gather(self, interfaces: Sequence[Interface], *, loopback: bool, now: float) -> None:
        """Open the sockets, on the loopback interface for a server that is on this machine."""
        self._loopback = loopback
        self.networks_changed(interfaces, now)
        self._publisher = self._new_peer(PUBLISHER, now)
        if not self.single:
            self._new_peer(SUBSCRIBER, now)

    def networks_changed(self, interfaces: Sequence[Interface], now: float) -> None:
        """Open sockets on new addresses and close those whose address is gone; every path in use is put to the test.

        The same addresses again mean that a route has changed.
        """
        before = self._interfaces
        self._interfaces = tuple([interface for interface in interfaces if interface.loopback is self._loopback])
        for peer in self._peers:
            peer.gatherer.start(self._interfaces, now)
            peer.gather_due = NOW
            if peer.up:
                peer.connection.transport.doubt(now)
                peer.due = NOW
                if self._interfaces != before:
                    peer.paths.reopen(now)
                    self._heed_connected(peer, now)

    def fall_back_to_dual(self, now: float) -> None:
        """The server has no ``/rtc/v1``: two peer connections from here on."""
        self._close_peers(now)
        self.single = False
        self._first_offer = None
        self._held_trickles.clear()
        self._publisher = self._new_peer(PUBLISHER, now)
        self._new_peer(SUBSCRIBER, now)

    def _new_peer(self, target: int, now: float) -> _Peer:
        self._generation += 1
        entropy = self._entropy.fork(f"peer {self._generation}")
        connection = PeerConnection(
            entropy,
            self._identity,
            self._transmits,
            offerer=target == PUBLISHER,
            dtls_engine=self._options.dtls_engine,
            wall=self._wall,
            cname=self._cname,
        )
        low, high = self._options.port_range or (0, 0)
        gather = GatherOptions(port_low=low, port_high=high, interfaces=self._options.interfaces)
        gatherer = Gatherer(entropy.fork("gather"), self._allot, options=gather)
        paths = Paths(entropy.fork("paths"), self._allot, options=PathOptions(streams=not self._relay_only))
        paths.add_servers(self._options.turn_servers, now)
        peer = _Peer(target, connection, gatherer, paths)
        self._peers.append(peer)
        gatherer.start(self._interfaces, now)
        return peer

    def _allot(self) -> int:
        port = self._next_port
        self._next_port += 1
        return port

    @property
    def ready(self) -> bool:
        """Whether every socket asked for is open or has failed, so that descriptions carry our candidates."""
        return bool(self._peers) and all(peer.ready for peer in self._peers)

    def port_opened(self, port: int, address: Address, now: float) -> None:
        if (peer := self._owner.get(port)) is not None:
            peer.gatherer.port_opened(port, address, now)
            peer.paths.port_opened(port, address, now)
            peer.gather_due = NOW

    def port_failed(self, port: int, error: str, now: float) -> None:
        if (peer := self._owner.pop(port, None)) is not None:
            peer.gatherer.port_failed(port, error, now)
            peer.paths.port_failed(port, error, now)
            peer.gather_due = NOW
            peer.blocked.pop(port, None)

    def send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        if (peer := self._owner.get(port)) is not None:
            peer.connection.transport.send_failed(port, addr, error, now)
            peer.paths.send_failed(port, addr, error, now)
            peer.due = NOW

    def port_handler(self, port: int) -> Callable[[int, bytes, Address, float], None]:
        peer = self._owner.get(port)
        if peer is None:
            return self._nobody
        receive = peer.connection.transport.receive_datagram
        gatherer, paths = peer.gatherer, peer.paths
        stream = paths.is_stream(port)

        def handle(port: int, data: bytes, addr: Address, now: float) -> None:
            self.due = NOW
            if stream or not data or not (20 <= data[0] < 64 or data[0] >= 128):  # not DTLS, not media (RFC 7983)
                if paths.live and (inner := paths.receive(port, data, addr, now)) is not None:
                    for number, packet, source in inner:
                        receive(number, packet, source, now)
                    peer.due = NOW
                    return
                if gatherer.active and gatherer.handle_stun(port, data, addr, now):
                    peer.gather_due = NOW
                    return
            receive(port, data, addr, now)
            peer.due = NOW

        return handle

    def _nobody(self, port: int, data: bytes, addr: Address, now: float) -> None:
        self.counters.add("unknown_port")

    def port_blocked(self, port: int, blocked: bool) -> None:
        if (peer := self._owner.get(port)) is not None:
            if blocked:
                peer.blocked[port] = True
            else:
                peer.blocked.pop(port, None)
            self._heed_blocked(peer)

    @staticmethod
    def _heed_blocked(peer: _Peer) -> None:
        """Data waits while the socket that it goes by is full, whatever the others do."""
        transport = peer.connection.transport
        transport.set_blocked(peer.paths.carrier(transport.ice.selected_port) in peer.blocked)
        peer.due = NOW

    def resolved(self, token: int, addresses: list[str], now: float) -> None:
        for peer in self._peers:
            peer.gatherer.resolved(token, addresses, now)
            peer.paths.resolved(token, addresses, now)
            peer.gather_due = NOW

    # ------------------------------------------------------------------ negotiation

    def first_offer(self, now: float, *, delay: float = 0.0) -> rtc.SessionDescription:
        """The offer that travels inside the join request, or right behind the join; ``delay``: until the join.

        The more tracks of ours it holds, the fewer sections wait for those of others: what the server says first has to
        fit into the ten segments with which TCP begins, or the answer comes a round trip later.
        """
        assert self._publisher is not None
        if self.single:
            media = self._publisher.connection.media
            sent = len(media.sending)
            media.add_receive_sections(*[max(min(1, most), most - sent) for most in self._options.receive_sections])
        self._first_offer = self._description("offer", *self._publisher.connection.create_offer(now, delay=delay))
        return self._first_offer

    @staticmethod
    def _description(kind: str, sdp: str, number: int) -> rtc.SessionDescription:
        return proto.rtc.SessionDescription(type=kind, sdp=sdp, id=number)

    def joined(self, response: rtc.JoinResponse, *, offer_sent: bool, now: float) -> None:
        """The server let us in: what it says of servers and of who is primary."""
        assert self._publisher is not None
        self._primary = self._peers[-1] if response.subscriber_primary and not self.single else self._publisher
        for peer in self._peers:
            peer.gatherer.add_servers(self._options.ice_servers, now)
            self._heed_configuration(peer, response, now)
        if not offer_sent:
            self.outbox.append(("offer", self._first_offer or self.first_offer(now)))
        self._joined = True
        self.outbox.extend(self._held_trickles)
        self._held_trickles.clear()

    @property
    def next_port(self) -> int:
        """The number of the next port: numbers are never used again within a session."""
        return self._next_port

    def _heed_configuration(self, peer: _Peer, response: rtc.JoinResponse | rtc.ReconnectResponse, now: float) -> None:
        """What the server says of STUN and TURN servers, and of how media has to go."""
        servers = [(server, url) for server in response.ice_servers for url in server.urls]
        peer.gatherer.add_servers([url for _, url in servers if url.startswith("stun")], now)
        if response.client_configuration.force_relay == proto.models.ClientConfigSetting.ENABLED:
            self._relay_only = True
        if self._relay_only:
            for port in peer.paths.relay_only(now):
                peer.connection.remove_local_port(port, now)
                peer.due = NOW
        peer.paths.add_servers(
            [TurnServerConfig(url, server.username, server.credential) for server, url in servers if url[:4] == "turn"],
            now,
        )
        peer.gather_due = NOW

    # ------------------------------------------------------------------ resuming

    def suspect(self, now: float) -> bool:
        """Whether a path that was in use has been silent for longer than the server would be."""
        return any(peer.up and _suspect(peer, now) for peer in self._peers)

    @property
    def rtt(self) -> float:
        """The longest round trip (seconds) of the paths in use, 0 while there is none."""
        return max([peer.connection.transport.ice.rtt for peer in self._peers], default=0.0)

    def flowing(self, now: float) -> bool:
        """Whether media and data go on although signalling is away: also by an old path while ICE looks for another."""
        return self._announced and not any(peer.up and _silent(peer, now) for peer in self._peers)

    def local_host(self, now: float) -> str:
        """The address of this host by which media flows; empty when it does not."""
        if self._publisher is None or not self.flowing(now):
            return ""
        return self._publisher.connection.transport.ice.selected_host

    def sync_state(
        self, auto_subscribe: bool, differing: Iterable[str], published: Iterable[tuple[str, models.TrackInfo]]
    ) -> rtc.SyncState:
        """What we have, for the server that takes us back."""
        told = self._peers[-1].connection
        return sync_state(
            offer=told.last_offer,
            answer=told.last_answer,
            channels=[(label, number, peer.target) for peer in self._peers for label, number in peer.channels.items()],
            received=self._receiver.last_sequences(),
            auto_subscribe=auto_subscribe,
            differing=differing,
            published=published,
        )

    def resumed(self, response: rtc.ReconnectResponse, now: float) -> None:
        """The server took us back: prove every path that was in use, and mend those that are suspect.

        ICE is restarted only on a suspect path: the server drops its selected pair on a restart. The subscriber
        connection is restarted by the server itself.
        """
        self._proving = True
        self._offered = False
        self._requirement, self._unmet = _Requirement(0, 0, 0, 0), 0
        for peer in self._peers:
            self._heed_configuration(peer, response, now)
            peer.due = NOW
            transport = peer.connection.transport
            peer.proving = peer.up
            transport.probe(now)
            if peer is self._publisher:
                unanswered, suspect = peer.connection.negotiating, _suspect(peer, now)
                peer.connection.restart(now, ice=suspect)
                if suspect:
                    peer.paths.reopen(now)
                if unanswered or suspect or peer.negotiate:
                    self._negotiate(peer, now)

    def mend(self, now: float) -> None:
        """Restart ICE where the path is suspect, while signalling works: the proof of a resume is late."""
        peer = self._publisher
        if peer is not None and peer.proving and not peer.connection.negotiating:
            peer.connection.restart(now, ice=True)
            peer.paths.reopen(now)
            self._negotiate(peer, now)

    def _negotiate(self, peer: _Peer, now: float) -> None:
        if peer.connection.negotiating:
            peer.negotiate = True
            return
        peer.negotiate = False
        self._offered = True
        self.outbox.append(("offer", self._description("offer", *peer.connection.create_offer(now))))
        peer.due = NOW

    def handle_signal(self, kind: str, message: Any, now: float) -> None:
        """One negotiation message of the server."""
        match kind:
            case "answer":
                assert self._publisher is not None
                peer = self._publisher
                peer.connection.handle_answer(message.sdp, message.id, now, mid_to_track_id=message.mid_to_track_id)
                self._open_channels(peer, now)
                peer.due = NOW
                if peer.negotiate and not peer.connection.negotiating:
                    self._negotiate(peer, now)
            case "offer":
                if self.single:
                    self.counters.add("unexpected_offer")
                    return
                peer = self._peers[-1]
                answer = peer.connection.handle_offer(message.sdp, now, mid_to_track_id=message.mid_to_track_id)
                if answer is not None:
                    self.outbox.append(("answer", self._description("answer", answer, message.id)))
                peer.due = NOW
            case "trickle":
                self._trickle(message, now)
            case _:
                self._require_sections(message.num_audios, message.num_videos, now)

    def _trickle(self, message: rtc.TrickleRequest, now: float) -> None:
        index = 0 if self.single or message.target == PUBLISHER else -1
        peer = self._peers[index]
        try:
            trickled = parse_init(message.candidateInit)
        except ParseError:
            self.counters.add("bad_trickle")
            return
        if trickled.candidate is not None:
            peer.connection.add_remote_candidate(trickled.candidate, now)
        peer.due = NOW

    def _require_sections(self, audios: int, videos: int, now: float) -> None:
        """The server wants to send more tracks than there are free sections: add exactly these, then offer.

        The server repeats a requirement at once when an offer did not meet it. That is followed a few times only (a
        busy loop of thousands a second otherwise). One that was met may come again any number of times.
        """
        peer = self._publisher
        if peer is None or not self.single:
            self.counters.add("unexpected_requirement")
            return
        connection, last = peer.connection, self._requirement
        new = _Requirement(audios, videos, connection.answers, connection.sections_in_use)
        if (audios, videos) != (last.audios, last.videos) or new.sections_in_use > last.sections_in_use:
            self._unmet = 0
        elif (audios or videos) and new.answers > last.answers:
            self._unmet += 1
            if self._unmet > SECTION_REQUESTS:
                self.counters.add("requirement_ignored")
                return
        self._requirement = new
        connection.media.add_receive_sections(audios, videos)
        self._negotiate(peer, now)

    # ------------------------------------------------------------------ media

    def check_sending(self, codec: str) -> None:
        """Raise LocalProtocolError when there is no room for a track of ours."""
        assert self._publisher is not None
        self._publisher.connection.media.find_place(codec)

    def add_sending(self, codec: str, cid: str, rids: tuple[str, ...] = ()) -> Sending:
        """A section for a track of ours; ``negotiate`` tells the server of it."""
        assert self._publisher is not None
        return self._publisher.connection.media.add_sending(codec, cid, self._cname, rids)

    def remove_sending(self, sending: Sending, now: float) -> None:
        """A track of ours ends; ``negotiate`` tells the server."""
        assert self._publisher is not None
        self._publisher.connection.media.remove_sending(sending, now)
        self.touch_media()

    def negotiate(self, now: float) -> None:
        """Offer the sections as they are now, when the answer to the offer before has come."""
        peer = self._publisher
        assert peer is not None
        if self._joined or peer.connection.negotiating:  # else they stand in the first offer
            self._negotiate(peer, now)
            self.due = NOW

    def touch_media(self) -> None:
        """Frames were written: what that owes leaves in the next ``advance``."""
        peer = self._publisher
        assert peer is not None
        peer.connection.transport.touch_media()
        self.due = peer.due = NOW

    def set_receiving(self, receiver: RtpReceiver, enabled: bool, now: float) -> None:
        """Keep the frames of a receiver, or drop them."""
        for peer in self._peers:
            transport = peer.connection.transport
            if receiver in transport.rtp.receivers:
                transport.rtp.set_enabled(receiver, enabled, now)
                transport.touch_media()
                self.due = peer.due = NOW

    def request_keyframe(self, receiver: RtpReceiver) -> None:
        """Have a video begin anew."""
        receiver.request_keyframe()
        for peer in self._peers:
            peer.connection.transport.touch_media()
            self.due = peer.due = NOW

    @property
    def carried(self) -> tuple[str, ...]:
        """The sids of the tracks that sections carry."""
        return tuple([sid for peer in self._peers for sid in peer.connection.media.mapped])

    def expect_tracks(self, audios: int, videos: int, now: float) -> None:
        """The server will send this many tracks more than the first answer has told: ask for them at once.

        Whether that answer tells of the tracks in the room is a race in the server, which asks for a new offer late.
        """
        if not self.single or not (audios or videos):
            return
        assert self._publisher is not None
        media = self._publisher.connection.media
        media.add_receive_sections(max(0, audios - media.unused("audio")), max(0, videos - media.unused("video")))
        self.negotiate(now)

    def catch_up(self, audios: int, videos: int, now: float) -> None:
        """Some time after a resume: an offer, with so many tracks more, unless one was made since.

        A request of the server for an offer may be lost with the link that it went by, and is not repeated.
        """
        self.expect_tracks(audios, videos, now)
        if self.single and not self._offered:
            self.negotiate(now)

    def _open_channels(self, peer: _Peer, now: float) -> None:
        """Both channels at once: the server holds reliable data back until both exist."""
        channels = peer.connection.transport.channels
        if channels is None or peer.channels:
            return
        peer.channels[RELIABLE] = channels.open(RELIABLE, now=now)
        peer.channels[LOSSY] = channels.open(LOSSY, ordered=False, max_retransmits=0, now=now)
        peer.lossy[peer.channels[LOSSY]] = True
        self._sender.remote_limit(peer.connection.max_message_size)
        for lane in self._lanes:
            channels.set_thresholds(peer.channels[RELIABLE if lane.reliable else LOSSY], lane.low, lane.high)
            self._feed(lane, now)
        if self.data_tracks_wanted:
            self._open_data_tracks(peer, channels, now)

    def want_data_tracks(self, now: float) -> None:
        """The channel of data tracks is needed from now on."""
        peer = self._publisher
        assert peer is not None
        channels = peer.connection.transport.channels
        if not self.data_tracks_wanted and peer.channels and channels is not None:
            self._open_data_tracks(peer, channels, now)
        self.data_tracks_wanted = True

    def _open_data_tracks(self, peer: _Peer, channels: DataChannels, now: float) -> None:
        channel = peer.channels[DATA_TRACK] = channels.open(DATA_TRACK, ordered=False, max_retransmits=0, now=now)
        channels.set_thresholds(channel, 0, DATA_TRACK_BUDGET)
        peer.data_tracks[channel] = True
        peer.connection.transport.touch_data()
        self.due = peer.due = NOW

    def send_data_track(self, packets: list[bytes], now: float) -> bool:
        """Send the packets of a frame, unless earlier ones still wait."""
        peer = self._publisher
        channels = peer.connection.transport.channels if peer is not None else None
        if peer is None or channels is None or channels.association.state > ESTABLISHED:
            return False
        channel = peer.channels.get(DATA_TRACK)
        if channel is None or not channels.writable(channel):
            return False
        for packet in packets:
            channels.send(channel, packet, now)
        peer.connection.transport.touch_data()
        self.due = peer.due = NOW
        return True

    # ------------------------------------------------------------------ data

    def publish_data(
        self, payload: bytes, reliable: bool, topic: str, destination_identities: Iterable[str], now: float
    ) -> bool:
        """See RoomEngine.publish_data."""
        lane = self._lanes[reliable]
        if not self._has_room(lane):
            lane.refused = True
            return False
        data = self._sender.encode(
            payload, reliable=reliable, topic=topic, destination_identities=destination_identities
        )
        self._send(lane, data, False, now)
        return True

    def send_packet(self, packet: models.DataPacket, reliable: bool, urgent: bool, now: float) -> bool:
        """See RoomEngine.send_packet."""
        lane = self._lanes[reliable]
        if not (self.urgent_room if urgent and reliable else self._has_room(lane)):
            lane.refused = True
            return False
        self._send(lane, self._sender.finish(packet, reliable=reliable), urgent, now)
        return True

    def _has_room(self, lane: Lane) -> bool:
        peer = self._publisher
        assert peer is not None
        return not lane.full and peer.connection.transport.association.state <= ESTABLISHED

    @property
    def urgent_room(self) -> bool:
        """Whether the reliable channel takes an urgent packet."""
        peer = self._publisher
        assert peer is not None
        return not self._lanes[True].urgent_full and peer.connection.transport.association.state <= ESTABLISHED

    def _send(self, lane: Lane, data: bytes, urgent: bool, now: float) -> None:
        """To the channel at once if nothing is before it, else in line."""
        if lane.reliable and not urgent:
            self.accepted += 1
        peer = self._publisher
        assert peer is not None
        channels = peer.connection.transport.channels
        channel = peer.channels.get(RELIABLE if lane.reliable else LOSSY)
        if channels is None or channel is None or lane or not channels.writable(channel):
            lane.put(data, urgent)
            return
        self._give(channels, channel, data, lane.reliable, urgent, now)
        peer.connection.transport.touch_data()
        self.due = peer.due = NOW

    def _give(
        self, channels: DataChannels, channel: int, data: bytes, reliable: bool, urgent: bool, now: float
    ) -> None:
        if reliable:
            self._unacknowledged.add(channels.send(channel, self._sender.number(data), now), data, urgent)
        else:
            channels.send(channel, data, now)

    @property
    def acknowledged(self) -> int:
        """How many of the ``accepted`` packets the server has acknowledged, as of the last ``advance``."""
        return self._unacknowledged.acknowledged

    def _feed(self, lane: Lane, now: float) -> None:
        """Give the channel what waits for it, as far as it takes it."""
        peer = self._publisher
        assert peer is not None
        transport = peer.connection.transport
        channels, channel = transport.channels, peer.channels[RELIABLE if lane.reliable else LOSSY]
        assert channels is not None
        if lane and transport.association.state <= ESTABLISHED:
            while lane and channels.writable(channel):
                urgent = lane.urgent
                self._give(channels, channel, lane.pop(), lane.reliable, urgent, now)
            transport.touch_data()
            peer.due = NOW
        if lane.refused and not lane.full and not lane.urgent_full:
            lane.refused = False
            self.outbox.append(DataWritable(lane.reliable))

    def hold(self, size: int) -> Hold:
        """Only while a packet is being handled: keep so many bytes of it charged to the receive window."""
        peer = self._arriving
        assert peer is not None
        peer.connection.transport.association.receiver.charge(size)
        return Hold(self, peer, size)

    def _receive(self, peer: _Peer, channel: int, now: float) -> None:
        """Handle what a reliable channel holds: the user's packets wait to be read, and are held until then."""
        channels = peer.connection.transport.channels
        assert channels is not None
        take, receive, unread = channels.take, self._receiver.receive, self._unread
        self._arriving = peer
        while (data := take(channel)) is not None:
            event = receive(data, True, now)
            if event is None:
                self._credit(peer, len(data))
                continue
            if not unread:
                self._tell_readable()
            unread.append((event, peer, len(data)))
        self._arriving = None

    def _receive_data_track(self, peer: _Peer, channel: int) -> None:
        channels = peer.connection.transport.channels
        assert channels is not None
        while (data := channels.take(channel)) is not None:
            self._credit(peer, len(data))
            self._receiver.data_track(data)

    def _credit(self, peer: _Peer, size: int) -> None:
        receiver = peer.connection.transport.association.receiver
        receiver.credit(size)
        if receiver.sack_now:  # the window has opened far enough for the server to be told
            peer.connection.transport.touch_data()
            peer.due = self.due = NOW

    def inherit(self, old: Transports) -> list[bytes]:
        """Take over from the transports before a restart what is not theirs alone; before those are closed.

        What they had received and nobody has read is not lost. What they had accepted goes on waiting here if they
        could not even begin to send. Otherwise the reliable packets are returned, encoded, that the server has not
        acknowledged: of them it is not known whether they have arrived.
        """
        self._unread.extend(old._unread)
        self.data_tracks_wanted = old.data_tracks_wanted
        unsent = old._unacknowledged.unsent()
        if unsent is None:
            return [*old._unacknowledged.packets(), *old._lanes[True]]
        old._lanes[True].restore(unsent)
        self._lanes, old._lanes = old._lanes, self._lanes
        self.accepted = old.accepted
        return []

    def _tell_readable(self) -> None:
        if not self._readable and not self._unread:
            self.outbox.append(DataReadable())

    def read_data(self, now: float) -> PacketReceived | None:
        """The next user packet of any channel; other payloads and duplicates are passed over."""
        if self._unread:
            event, peer, size = self._unread.popleft()
            self._credit(peer, size)
            return event
        readable = self._readable
        while readable:
            peer, channel = readable[0]
            channels = peer.connection.transport.channels
            data = channels.take(channel) if channels is not None else None
            if data is None:
                readable.popleft()
                continue
            self._credit(peer, len(data))
            self._arriving = peer
            lossy = self._receiver.receive(data, False, now)
            self._arriving = None
            if lossy is not None:
                return lossy
        return None

    @property
    def unacknowledged(self) -> bool:
        """Whether reliable data of ours is still on its way to the server."""
        peer = self._publisher
        if self._lanes[True]:
            return True
        return peer is not None and bool(peer.channels) and not peer.connection.transport.association.sender.idle()

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline, which is also kept in ``due``."""
        if self._unacknowledged and self._publisher is not None:
            channels = self._publisher.connection.transport.channels
            assert channels is not None
            self._unacknowledged.settle(channels)
        for _ in range(MAX_ROUNDS):
            due = INF
            for peer in self._peers:
                if peer.gather_due <= now:
                    peer.gather_due = peer.gatherer.advance(now)
                    self._drain_candidates(peer, peer.gatherer, now)
                    peer.ready = peer.gatherer.ports_settled
                if peer.due <= now:
                    peer.due = peer.connection.advance(now)
                    if peer.connection.outbox:
                        self._drain_connection(peer, now)
                if self._indirect and self._transmits:
                    self._redirect(now)
                if peer.paths.due <= now:
                    peer.paths.advance(now)
                    self._drain_candidates(peer, peer.paths, now)
                due = min(due, peer.gather_due, peer.due, peer.paths.due)
            if self._proving and not any(_unproven(peer) for peer in self._peers):
                self._proving = False
                self.outbox.append(TransportsProven())
            if due > now:
                self.due = due
                return due
        raise AssertionError("children never settle")

    def _redirect(self, now: float) -> None:
        """Give the packets for relays and streams the form in which their carriers take them, in place and order."""
        transmits, indirect = self._transmits, self._indirect
        for _ in range(len(transmits)):
            transmit = transmits.popleft()
            paths = indirect.get(transmit.port)
            if paths is None or not paths.send(transmit, transmits, now):
                transmits.append(transmit)

    def _drain_candidates(self, peer: _Peer, source: Gatherer | Paths, now: float) -> None:
        self._transmits.extend(source.transmits)
        source.transmits.clear()
        while source.outbox:
            event = source.outbox.popleft()
            match event:
                case CandidateFound(candidate=candidate, port=port, peer=far):
                    if source is peer.paths:
                        self._indirect[port] = peer.paths
                    else:
                        if candidate.type == HOST:
                            peer.paths.base_opened(candidate, port, now)
                        if self._relay_only:
                            continue
                    described = peer.connection.described
                    peer.connection.add_local_candidate(candidate, port, now, peer=far)
                    peer.due = NOW
                    if described:
                        init = to_init(candidate, mid="0", index=0, ufrag=peer.connection.transport.ice.local_ufrag)
                        trickle = proto.rtc.TrickleRequest(candidateInit=init)
                        trickle.target = peer.target  # type: ignore[assignment]
                        (self.outbox if self._joined else self._held_trickles).append(("trickle", trickle))
                case PortLost(port=port):
                    if self._indirect.pop(port, None) is None:
                        peer.paths.base_lost(port, now)
                    peer.connection.remove_local_port(port, now)
                    peer.due = NOW
                case GatheringDone():
                    pass
                case ClosePort(port=port):
                    self._owner.pop(port, None)
                    peer.blocked.pop(port, None)
                    self.outbox.append(event)
                case _:
                    if hasattr(event, "port"):
                        self._owner[event.port] = peer
                    self.outbox.append(event)

    def _drain_connection(self, peer: _Peer, now: float) -> None:
        outbox = peer.connection.outbox
        while outbox:
            event = outbox.popleft()
            match event:
                case FrameReadable() | TrackMapped() | TrackUnmapped() | KeyframeWanted() | SendingStarted():
                    self.outbox.append(event)
                case ChannelReadable(channel=channel):
                    if channel in peer.data_tracks:
                        self._receive_data_track(peer, channel)
                    elif channel in peer.lossy:
                        self._tell_readable()
                        self._readable.append((peer, channel))
                    else:
                        self._receive(peer, channel, now)
                case BufferedLow(channel=channel) if channel not in peer.data_tracks:
                    self._feed(self._lanes[channel not in peer.lossy], now)
                case TransportConnected():
                    peer.up = True
                    peer.proving = False
                    if peer is self._primary and not self._announced:
                        self._announced = True
                        self.outbox.append(TransportsUp())
                case TransportFailed(layer=layer, detail=detail):
                    self.outbox.append(TransportsFailed(f"{layer.upper()}: {detail}", path=layer == "ice"))
                case HeartbeatAcked() | SctpUp():
                    peer.proving = False
                case NegotiationFailed(detail=detail):
                    self.outbox.append(TransportsFailed(f"negotiation: {detail}"))
                case ChannelOpened(channel=channel, label=label, max_retransmits=limit):
                    if label == DATA_TRACK:
                        peer.data_tracks[channel] = True
                    elif limit is not None:
                        peer.lossy[channel] = True
                case ChannelClosed(channel=channel):
                    peer.lossy.pop(channel, None)
                    peer.data_tracks.pop(channel, None)
                case StreamOffered(candidate=candidate):
                    peer.paths.add_remote(candidate, now)
                case IceStateChanged(state=IceState.CHECKING | IceState.DISCONNECTED):
                    peer.paths.reopen(now)  # the other ways may be needed again
                case IceStateChanged(state=IceState.CONNECTED):
                    self._heed_connected(peer, now)
                case PairSelected(port=port):
                    peer.paths.selected(port, now)
                    self._heed_blocked(peer)
                    if peer.up:
                        peer.connection.transport.path_restored(now)
                        if self._proving:  # a proof of the path before is none of this one
                            peer.proving = True
                            peer.connection.transport.probe(now)

    @staticmethod
    def _heed_connected(peer: _Peer, now: float) -> None:
        """A path works: the other ways are closed again some seconds from now."""
        ice = peer.connection.transport.ice
        if ice.state is IceState.CONNECTED:
            peer.paths.selected(ice.selected_port, now)

    # ------------------------------------------------------------------ the end

    def close(self, now: float) -> None:
        """Close every peer connection and socket."""
        self._close_peers(now)

    def _close_peers(self, now: float) -> None:
        for peer in self._peers:
            peer.connection.close(now)
            self._redirect(now)
            peer.paths.close(now)
            self._transmits.extend(peer.paths.transmits)
        for port in self._owner:
            self.outbox.append(ClosePort(port))
        self._owner.clear()
        self._indirect.clear()
        self._peers.clear()
        self._readable.clear()
        self._unread.clear()
        for lane in self._lanes:
            lane.clear()
        self._publisher = self._primary = None

    # ------------------------------------------------------------------ diagnostics

    def lacking(self) -> str:
        """What the connection that media waits for has not got yet, for an error message."""
        peer = self._primary or self._publisher
        assert peer is not None
        if peer.connection.remote is None:
            return "the server did not answer our offer" if peer.target == PUBLISHER else "the server made no offer"
        transport = peer.connection.transport
        if transport.ice.selected_addr is None:
            none = "no candidate of the server fitted one of ours"
            return "no pair of candidates got through" if transport.pairs_report() else none
        return "a pair of candidates got through, but no DTLS session was agreed on over it"

    def pairs_report(self) -> list[PairReport]:
        """How each candidate pair of each peer connection ended."""
        return [report for peer in self._peers for report in peer.connection.transport.pairs_report()]

    def paths_report(self) -> list[PathReport]:
        """How each relay and each TCP connection fared."""
        return [report for peer in self._peers for report in peer.paths.report()]

    def link_stats(self) -> tuple[LinkStats, ...]:
        """How media fares on the way of each peer connection."""
        return tuple([peer.connection.link_stats(_target_name(peer)) for peer in self._peers])

    def diagnostics(self) -> dict[str, Any]:
        """Counters of every layer, JSON-ready."""
        return {
            **self.counters.snapshot(),
            "data": self._receiver.counters.snapshot(),
            "peers": [
                {
                    **asdict(peer.connection.link_stats(_target_name(peer))),
                    **peer.connection.diagnostics(),
                    "paths": [asdict(report) for report in peer.paths.report()],
                    "verdict": path_verdict(peer.connection.transport.pairs_report(), peer.paths.report()),
                }
                for peer in self._peers
            ],
        }


def _target_name(peer: _Peer) -> str:
    return "publisher" if peer.target == PUBLISHER else "subscriber"


def _unproven(peer: _Peer) -> bool:
    """Whether a path that was in use has not answered since the resume, or is gone again."""
    return peer.proving or (peer.up and peer.connection.transport.ice.selected_addr is None)


def _silent(peer: _Peer, now: float) -> bool:
    ice = peer.connection.transport.ice
    return ice.selected_addr is None or ice.silent_for(now) > SUSPICION


def _suspect(peer: _Peer, now: float) -> bool:
    return peer.connection.transport.ice.state is not IceState.CONNECTED or _silent(peer, now)
