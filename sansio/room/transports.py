"""One or two peer connections behind one face: what the engine knows of the media and data side of a session.

Single mode (``/rtc/v1``): one peer connection, always offered by us, carries everything. Dual mode (``/rtc``): the
publisher is offered by us and carries what we send, the subscriber is offered by the server and carries what we get.
Only this file knows which it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from .. import proto
from ..base.contract import INF, NOW, Address, ClosePort, Interface, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..base.wallclock import WallClock
from ..dtls.identity import DtlsIdentity
from ..ice.agent import IceState, IceStateChanged, PairReport, PairSelected
from ..ice.candidate import parse_init
from ..ice.gather import Gatherer, GatherOptions
from ..ice.paths import PathOptions, PathReport, Paths
from ..peer.connection import NegotiationFailed, PeerConnection
from ..peer.media import Sending, SendingStarted, TrackMapped, TrackUnmapped
from ..peer.transport import StreamOffered, TransportConnected, TransportFailed
from ..rtp.receiver import RtpReceiver
from ..rtp.session import FrameReadable, KeyframeWanted
from ..sctp.association import HeartbeatAcked, SctpUp
from ..sctp.channel import BufferedLow, ChannelClosed, ChannelOpened, ChannelReadable
from ..types import LinkStats
from .data import DataReceiver
from .data_lanes import DataLanes, Hold
from .data_track_channel import DATA_TRACK, DataTrackChannel
from .options import EngineOptions
from .peer import PUBLISHER, SUBSCRIBER, Peer
from .sections import SectionRequests
from .sync import sync_state

if TYPE_CHECKING:
    from ..proto import models, rtc

MAX_ROUNDS = 64


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


class Transports:
    """The peer connections of a session. ``outbox``: requests for the driver, signal requests as (kind, message)
    tuples, and TransportsUp, TransportsFailed, TransportsProven, DataReadable, DataWritable, and what media tells.
    ``due`` is the next deadline; whoever gives an input by another way than ``port_handler`` sets it to NOW.
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
        self.transmits = transmits
        self.ports: dict[int, Peer] = {}
        self.publisher: Peer | None = None
        self.next_port = first_port
        """The number of the next port: numbers are never used again within a session."""
        self.data = DataLanes(self, receiver)
        self.data_tracks = DataTrackChannel(self, receiver)
        # No call more than there must be for each packet.
        self.publish_data, self.send_packet, self.read_data = self.data.publish, self.data.send_packet, self.data.read
        self.send_data_track = self.data_tracks.send
        self._entropy = entropy
        self._identity = identity
        self._options = options
        self._wall = wall
        self._receiver = receiver
        self._cname = entropy.fork("cname").bytes(8).hex()
        self._interfaces: tuple[Interface, ...] = ()
        self._loopback = False
        self._generation = 0
        self._peers: list[Peer] = []
        self._primary: Peer | None = None
        self._sections = SectionRequests()
        self._first_offer: rtc.SessionDescription | None = None
        self._held_trickles: list[tuple[str, rtc.TrickleRequest]] = []
        self._joined = False
        self._announced = False
        self._proving = False
        self._offered = False

    # ------------------------------------------------------------------ sockets

    def gather(self, interfaces: Sequence[Interface], *, loopback: bool, now: float) -> None:
        """Open the sockets, on the loopback interface for a server that is on this machine."""
        self._loopback = loopback
        self.networks_changed(interfaces, now)
        self._add_peers(now)

    def networks_changed(self, interfaces: Sequence[Interface], now: float) -> None:
        """Open sockets on new addresses and close those whose address is gone; every path in use is put to the test.

        The same addresses again mean that a route has changed.
        """
        before = self._interfaces
        self._interfaces = tuple([interface for interface in interfaces if interface.loopback is self._loopback])
        for peer in self._peers:
            peer.networks_changed(self._interfaces, now, moved=self._interfaces != before)

    def fall_back_to_dual(self, now: float) -> None:
        """The server has no ``/rtc/v1``: two peer connections from here on."""
        self.close(now)
        self.single = False
        self._first_offer = None
        self._held_trickles.clear()
        self._add_peers(now)

    def _add_peers(self, now: float) -> None:
        self.publisher = self._add_peer(PUBLISHER, now)
        if not self.single:
            self._add_peer(SUBSCRIBER, now)

    def _add_peer(self, target: int, now: float) -> Peer:
        self._generation += 1
        entropy, options = self._entropy.fork(f"peer {self._generation}"), self._options
        connection = PeerConnection(
            entropy,
            self._identity,
            self.transmits,
            offerer=target == PUBLISHER,
            dtls_engine=options.dtls_engine,
            wall=self._wall,
            cname=self._cname,
        )
        low, high = options.port_range or (0, 0)
        gather = GatherOptions(port_low=low, port_high=high, interfaces=options.interfaces)
        gatherer = Gatherer(entropy.fork("gather"), self._allot, options=gather)
        relay_only = options.ice_policy == "relay"
        paths = Paths(entropy.fork("paths"), self._allot, options=PathOptions(streams=not relay_only))
        paths.add_servers(options.turn_servers, now)
        peer = Peer(target, self, connection, gatherer, paths, relay_only=relay_only)
        self._peers.append(peer)
        gatherer.start(self._interfaces, now)
        return peer

    def _allot(self) -> int:
        port = self.next_port
        self.next_port += 1
        return port

    @property
    def ready(self) -> bool:
        """Whether every socket asked for is open or has failed, so that descriptions carry our candidates."""
        return bool(self._peers) and all(peer.ready for peer in self._peers)

    def port_opened(self, port: int, address: Address, now: float) -> None:
        """See RoomEngine, as for the following ones."""
        if (peer := self.ports.get(port)) is not None:
            peer.port_opened(port, address, now)

    def port_failed(self, port: int, error: str, now: float) -> None:
        if (peer := self.ports.pop(port, None)) is not None:
            peer.port_failed(port, error, now)

    def send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        if (peer := self.ports.get(port)) is not None:
            peer.send_failed(port, addr, error, now)

    def port_blocked(self, port: int, blocked: bool) -> None:
        if (peer := self.ports.get(port)) is not None:
            peer.set_blocked(port, blocked)

    def port_handler(self, port: int) -> Callable[[int, bytes, Address, float], None]:
        peer = self.ports.get(port)
        return self._nobody if peer is None else peer.handler(port)

    def _nobody(self, port: int, data: bytes, addr: Address, now: float) -> None:
        self.counters.add("unknown_port")

    def resolved(self, token: int, addresses: list[str], now: float) -> None:
        for peer in self._peers:
            peer.resolved(token, addresses, now)

    # ------------------------------------------------------------------ negotiation

    def first_offer(self, now: float, *, delay: float = 0.0) -> rtc.SessionDescription:
        """The offer that travels inside the join request, or right behind the join; ``delay``: until the join.

        The more tracks of ours it holds, the fewer sections wait for those of others: what the server says first has to
        fit into the ten segments with which TCP begins, or the answer comes a round trip later.
        """
        assert self.publisher is not None
        if self.single:
            media = self.publisher.connection.media
            sent = len(media.sending)
            media.add_receive_sections(*[max(min(1, most), most - sent) for most in self._options.receive_sections])
        self._first_offer = _offer(self.publisher, now, delay)
        return self._first_offer

    def joined(self, response: rtc.JoinResponse, *, offer_sent: bool, now: float) -> None:
        """The server let us in: what it says of servers and of who is primary."""
        assert self.publisher is not None
        self._primary = self._peers[-1] if response.subscriber_primary and not self.single else self.publisher
        for peer in self._peers:
            peer.gatherer.add_servers(self._options.ice_servers, now)
            peer.configure(response, now)
        if not offer_sent:
            self.outbox.append(("offer", self._first_offer or self.first_offer(now)))
        self._joined = True
        self.outbox.extend(self._held_trickles)
        self._held_trickles.clear()

    def trickle(self, request: rtc.TrickleRequest) -> None:
        """Tell the server of a candidate of ours, once we have joined."""
        (self.outbox if self._joined else self._held_trickles).append(("trickle", request))

    def negotiate(self, now: float) -> None:
        """Offer the sections as they are now, when the answer to the offer before has come."""
        peer = self.publisher
        assert peer is not None
        if self._joined or peer.connection.negotiating:  # else they stand in the first offer
            self._negotiate(peer, now)
            self.due = NOW

    def _negotiate(self, peer: Peer, now: float) -> None:
        if peer.connection.negotiating:
            peer.offer_owed = True
            return
        peer.offer_owed = False
        self._offered = True
        self.outbox.append(("offer", _offer(peer, now)))
        peer.due = NOW

    def handle_signal(self, kind: str, message: Any, now: float) -> None:
        """One negotiation message of the server."""
        match kind:
            case "answer":
                self._handle_answer(message, now)
            case "offer":
                self._handle_offer(message, now)
            case "trickle":
                self._handle_trickle(message, now)
            case _:
                self._handle_requirement(message.num_audios, message.num_videos, now)

    def _handle_answer(self, answer: rtc.SessionDescription, now: float) -> None:
        peer = self.publisher
        assert peer is not None
        peer.connection.handle_answer(answer.sdp, answer.id, now, mid_to_track_id=answer.mid_to_track_id)
        if peer.connection.transport.channels is not None and not peer.channels:
            self.data.open(peer, now)
            if self.data_tracks.wanted:
                self.data_tracks.open(peer, now)
        peer.due = NOW
        if peer.offer_owed and not peer.connection.negotiating:
            self._negotiate(peer, now)

    def _handle_offer(self, offer: rtc.SessionDescription, now: float) -> None:
        if self.single:
            self.counters.add("unexpected_offer")
            return
        peer = self._peers[-1]
        answer = peer.connection.handle_offer(offer.sdp, now, mid_to_track_id=offer.mid_to_track_id)
        if answer is not None:
            self.outbox.append(("answer", _description("answer", answer, offer.id)))
        peer.due = NOW

    def _handle_trickle(self, message: rtc.TrickleRequest, now: float) -> None:
        peer = self._peers[0 if self.single or message.target == PUBLISHER else -1]
        try:
            trickled = parse_init(message.candidateInit)
        except ParseError:
            self.counters.add("bad_trickle")
            return
        if trickled.candidate is not None:
            peer.connection.add_remote_candidate(trickled.candidate, now)
        peer.due = NOW

    def _handle_requirement(self, audios: int, videos: int, now: float) -> None:
        """The server wants to send more tracks than there are free sections: add exactly these, then offer."""
        peer = self.publisher
        if peer is None or not self.single:
            self.counters.add("unexpected_requirement")
            return
        connection = peer.connection
        if not self._sections.follow(audios, videos, answers=connection.answers, in_use=connection.sections_in_use):
            self.counters.add("requirement_ignored")
            return
        connection.media.add_receive_sections(audios, videos)
        self._negotiate(peer, now)

    # ------------------------------------------------------------------ media

    def check_sending(self, codec: str) -> None:
        """Raise LocalProtocolError when there is no room for a track of ours."""
        assert self.publisher is not None
        self.publisher.connection.media.find_place(codec)

    def add_sending(self, codec: str, cid: str, rids: tuple[str, ...] = ()) -> Sending:
        """A section for a track of ours; ``negotiate`` tells the server of it."""
        assert self.publisher is not None
        return self.publisher.connection.media.add_sending(codec, cid, self._cname, rids)

    def remove_sending(self, sending: Sending, now: float) -> None:
        """A track of ours ends; ``negotiate`` tells the server."""
        assert self.publisher is not None
        self.publisher.connection.media.remove_sending(sending, now)
        self.publisher.touch_media()

    def touch_media(self) -> None:
        """Frames were written: what that owes leaves in the next ``advance``."""
        peer = self.publisher
        assert peer is not None
        peer.connection.transport.touch_media()
        self.due = peer.due = NOW

    def set_receiving(self, receiver: RtpReceiver, enabled: bool, now: float) -> None:
        """Keep the frames of a receiver, or drop them."""
        for peer in self._peers:
            rtp = peer.connection.transport.rtp
            if receiver in rtp.receivers:
                rtp.set_enabled(receiver, enabled, now)
                peer.touch_media()

    def request_keyframe(self, receiver: RtpReceiver) -> None:
        """Have a video begin anew."""
        receiver.request_keyframe()
        for peer in self._peers:
            peer.touch_media()

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
        assert self.publisher is not None
        media = self.publisher.connection.media
        media.add_receive_sections(max(0, audios - media.unused("audio")), max(0, videos - media.unused("video")))
        self.negotiate(now)

    # ------------------------------------------------------------------ resuming

    def suspect(self, now: float) -> bool:
        """Whether a path that was in use has been silent for longer than the server would be."""
        return any(peer.up and peer.suspect(now) for peer in self._peers)

    @property
    def rtt(self) -> float:
        """The longest round trip (seconds) of the paths in use, 0 while there is none."""
        return max([peer.connection.transport.ice.rtt for peer in self._peers], default=0.0)

    def flowing(self, now: float) -> bool:
        """Whether media and data go on although signalling is away: also by an old path while ICE looks for another."""
        return self._announced and not any(peer.up and peer.silent(now) for peer in self._peers)

    def local_host(self, now: float) -> str:
        """The address of this host by which media flows; empty when it does not."""
        if self.publisher is None or not self.flowing(now):
            return ""
        return self.publisher.connection.transport.ice.selected_host

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
        self._sections = SectionRequests()
        for peer in self._peers:
            peer.configure(response, now)
            peer.due = NOW
            peer.proving = peer.up
            peer.connection.transport.probe(now)
            if peer is self.publisher:
                unanswered, suspect = peer.connection.negotiating, peer.suspect(now)
                peer.connection.restart(now, ice=suspect)
                if suspect:
                    peer.paths.reopen(now)
                if unanswered or suspect or peer.offer_owed:
                    self._negotiate(peer, now)

    def mend(self, now: float) -> None:
        """Restart ICE where the path is suspect, while signalling works: the proof of a resume is late."""
        peer = self.publisher
        if peer is not None and peer.proving and not peer.connection.negotiating:
            peer.connection.restart(now, ice=True)
            peer.paths.reopen(now)
            self._negotiate(peer, now)

    def catch_up(self, audios: int, videos: int, now: float) -> None:
        """Some time after a resume: an offer, with so many tracks more, unless one was made since.

        A request of the server for an offer may be lost with the link that it went by, and is not repeated.
        """
        self.expect_tracks(audios, videos, now)
        if self.single and not self._offered:
            self.negotiate(now)

    # ------------------------------------------------------------------ data

    @property
    def urgent_room(self) -> bool:
        """See DataLanes, as for the following ones."""
        return self.data.urgent_room

    @property
    def accepted(self) -> int:
        return self.data.accepted

    @property
    def acknowledged(self) -> int:
        """How many of the ``accepted`` packets the server has acknowledged, as of the last ``advance``."""
        return self.data.unacknowledged.acknowledged

    @property
    def unacknowledged(self) -> bool:
        return self.data.in_flight

    def hold(self, size: int) -> Hold:
        return self.data.hold(size)

    def want_data_tracks(self, now: float) -> None:
        """The channel of data tracks is needed from now on."""
        self.data_tracks.want(now)

    def inherit(self, old: Transports) -> list[bytes]:
        """Take over from the transports before a restart what is not theirs alone; before those are closed.

        Returned are the packets of which it is not known whether they have arrived: see DataLanes.
        """
        self.data_tracks.wanted = old.data_tracks.wanted
        return self.data.inherit(old.data)

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline, which is also kept in ``due``."""
        if self.data.unacknowledged.sent:
            self.data.settle()
        for _ in range(MAX_ROUNDS):
            due = INF
            for peer in self._peers:
                if peer.gather_due <= now:
                    peer.advance_sockets(now)
                if peer.due <= now:
                    peer.due = peer.connection.advance(now)
                    if peer.connection.outbox:
                        self._drain_connection(peer, now)
                if peer.paths.by_number and self.transmits:
                    peer.redirect(now)
                if peer.paths.due <= now:
                    peer.advance_paths(now)
                due = min(due, peer.gather_due, peer.due, peer.paths.due)
            if self._proving and not any(peer.unproven for peer in self._peers):
                self._proving = False
                self.outbox.append(TransportsProven())
            if due > now:
                self.due = due
                return due
        raise AssertionError("children never settle")

    def _drain_connection(self, peer: Peer, now: float) -> None:
        outbox = peer.connection.outbox
        while outbox:
            event = outbox.popleft()
            match event:
                case FrameReadable():
                    self.outbox.append(event)
                case ChannelReadable(channel=channel):
                    if channel in peer.data_tracks:
                        self.data_tracks.receive(peer, channel)
                    elif channel in peer.lossy:
                        self.data.lossy_readable(peer, channel)
                    else:
                        self.data.receive(peer, channel, now)
                case TrackMapped() | TrackUnmapped() | KeyframeWanted() | SendingStarted():
                    self.outbox.append(event)
                case BufferedLow(channel=channel) if channel not in peer.data_tracks:
                    self.data.feed(channel not in peer.lossy, now)
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
                        peer.data_tracks.add(channel)
                    elif limit is not None:
                        peer.lossy.add(channel)
                case ChannelClosed(channel=channel):
                    peer.lossy.discard(channel)
                    peer.data_tracks.discard(channel)
                case StreamOffered(candidate=candidate):
                    peer.paths.add_remote(candidate, now)
                case IceStateChanged(state=IceState.CHECKING | IceState.DISCONNECTED):
                    peer.paths.reopen(now)  # the other ways may be needed again
                case IceStateChanged(state=IceState.CONNECTED):
                    peer.path_works(now)
                case PairSelected(port=port):
                    peer.selected(port, now, prove=self._proving)

    # ------------------------------------------------------------------ the end

    def close(self, now: float) -> None:
        """Close every peer connection and socket."""
        for peer in self._peers:
            peer.close(now)
        self.outbox.extend([ClosePort(port) for port in self.ports])
        self.ports.clear()
        self._peers.clear()
        self.publisher = self._primary = None
        self.data.clear()

    # ------------------------------------------------------------------ diagnostics

    def lacking(self) -> str:
        """What the connection that media waits for has not got yet, for an error message."""
        peer = self._primary or self.publisher
        assert peer is not None
        return peer.lacking()

    def pairs_report(self) -> list[PairReport]:
        """How each candidate pair of each peer connection ended."""
        return [report for peer in self._peers for report in peer.connection.transport.pairs_report()]

    def paths_report(self) -> list[PathReport]:
        """How each relay and each TCP connection fared."""
        return [report for peer in self._peers for report in peer.paths.report()]

    def link_stats(self) -> tuple[LinkStats, ...]:
        """How media fares on the way of each peer connection."""
        return tuple([peer.link_stats() for peer in self._peers])

    def diagnostics(self) -> dict[str, Any]:
        """Counters of every layer, JSON-ready."""
        return {
            **self.counters.snapshot(),
            "data": self._receiver.counters.snapshot(),
            "peers": [peer.diagnostics() for peer in self._peers],
        }


def _offer(peer: Peer, now: float, delay: float = 0.0) -> rtc.SessionDescription:
    return _description("offer", *peer.connection.create_offer(now, delay=delay))


def _description(kind: str, sdp: str, number: int) -> rtc.SessionDescription:
    return proto.rtc.SessionDescription(type=kind, sdp=sdp, id=number)
