"""One client, seen from the server: its signalling link, its peer connections, its place in the room."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.contract import INF, NOW, Address, SendSignal, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..base.limits import SFU_HELD_DATA, SFU_SEND_BUFFER
from ..dtls.engine import EngineFactory
from ..dtls.identity import DtlsIdentity
from ..ice.candidate import Candidate, parse_init
from ..peer.connection import PeerConnection
from ..peer.transport import TransportConnected, TransportFailed
from ..sctp.association import ESTABLISHED
from ..sctp.channel import ChannelClosed, ChannelOpened, ChannelReadable
from ..sdp.build import MAX_MESSAGE_SIZE
from .token import Claims

if TYPE_CHECKING:
    from ..proto import models, rtc

RELIABLE = "_reliable"
LOSSY = "_lossy"
JOIN_TIMEOUT = 60.0
"""Seconds that a client has to bring its primary peer connection up."""


class ServerPeer:
    """One peer connection of a client. ``channels`` maps labels to ids; of two with one label the later one counts."""

    __slots__ = ("channels", "connection", "due", "lossy", "target", "transmits", "up")

    def __init__(
        self, target: int, entropy: Entropy, identity: DtlsIdentity, engine: EngineFactory, *, offerer: bool
    ) -> None:
        self.target = target
        self.transmits: deque[Transmit] = deque()
        self.connection = PeerConnection(entropy, identity, self.transmits, offerer=offerer, dtls_engine=engine)
        self.channels: dict[str, int] = {}
        self.lossy: dict[int, bool] = {}
        self.due = NOW
        self.up = False


class ServerParticipant:
    """The server's half of a session.

    ``peers`` holds one peer connection in single mode (we answer), two in dual mode: the publisher (we answer) and
    the subscriber (we offer). ``received`` is filled with (reliable, data) of the client's data channels.
    """

    def __init__(
        self,
        sid: str,
        claims: Claims,
        signal: int,
        outbox: deque[Any],
        entropy: Entropy,
        identity: DtlsIdentity,
        engine: EngineFactory,
        candidate: Candidate,
        port: int,
        *,
        single: bool,
        now: float,
    ) -> None:
        self.sid = sid
        self.claims = claims
        self.signal = signal
        self.single = single
        self.counters = Counters()
        self.received: deque[tuple[bool, bytes]] = deque()
        self.active = False
        self.failed = False
        self.join_due = now + JOIN_TIMEOUT
        self.lost_due = INF
        self.last_sequence = 0
        self.info: models.ParticipantInfo = proto.models.ParticipantInfo(
            sid=sid, identity=claims.identity, name=claims.name, metadata=claims.metadata, version=1
        )
        self.info.state = proto.models.ParticipantInfo.JOINED
        self.info.attributes.update(claims.attributes)
        permission = self.info.permission
        permission.can_publish = claims.can_publish
        permission.can_subscribe = claims.can_subscribe
        permission.can_publish_data = claims.can_publish_data
        permission.can_update_metadata = claims.can_update_own_metadata
        self._outbox = outbox
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._released = False
        self.peers = [ServerPeer(0, entropy.fork("publisher"), identity, engine, offerer=False)]
        if not single:
            self.peers.append(ServerPeer(1, entropy.fork("subscriber"), identity, engine, offerer=True))
        for peer in self.peers:
            peer.connection.add_local_candidate(candidate, port, now)

    # ------------------------------------------------------------------ signalling out

    def send(self, kind: str, message: Any) -> None:
        """One message to the client; nothing while its link is down."""
        if not self.signal:
            return
        response = proto.rtc.SignalResponse()
        if isinstance(message, str | int):
            setattr(response, kind, message)
        else:
            getattr(response, kind).CopyFrom(message)
        self._outbox.append(SendSignal(self.signal, response.SerializeToString(deterministic=True)))

    # ------------------------------------------------------------------ negotiation

    def handle_offer(self, offer: rtc.SessionDescription, now: float) -> None:
        """The client's offer for its publisher or single connection."""
        peer = self.peers[0]
        answer = peer.connection.handle_offer(offer.sdp, now)
        peer.due = NOW
        if answer is not None:
            self.send("answer", proto.rtc.SessionDescription(type="answer", sdp=answer, id=offer.id))

    def offer_subscriber(self, now: float) -> None:
        """Our offer for the subscriber connection, in dual mode."""
        peer = self.peers[1]
        sdp, number = peer.connection.create_offer(now)
        peer.due = NOW
        self.send("offer", proto.rtc.SessionDescription(type="offer", sdp=sdp, id=number))

    def restart_subscriber(self, now: float) -> None:
        """The client is back on a new link: the subscriber connection gets new ICE credentials."""
        self.peers[1].connection.restart(now, ice=True)
        self.offer_subscriber(now)

    def handle_answer(self, answer: rtc.SessionDescription, now: float) -> None:
        """The client's answer to our offer."""
        if self.single:
            self.counters.add("unexpected_answer")
            return
        peer = self.peers[1]
        peer.connection.handle_answer(answer.sdp, answer.id, now)
        peer.due = NOW
        channels = peer.connection.transport.channels
        if channels is not None and not peer.channels:
            peer.channels[RELIABLE] = channels.open(RELIABLE, now=now)
            peer.channels[LOSSY] = channels.open(LOSSY, ordered=False, max_retransmits=0, now=now)
            peer.lossy[peer.channels[LOSSY]] = True

    def handle_trickle(self, trickle: rtc.TrickleRequest, now: float) -> None:
        """A candidate of the client."""
        peer = self.peers[0 if self.single or trickle.target == 0 else 1]
        try:
            candidate = parse_init(trickle.candidateInit).candidate
        except ParseError:
            self.counters.add("bad_trickle")
            return
        if candidate is not None:
            peer.connection.add_remote_candidate(candidate, now)
            peer.due = NOW

    # ------------------------------------------------------------------ data

    def send_data(self, data: bytes, reliable: bool, now: float) -> None:
        """A data packet down to the client, on its primary connection."""
        if len(data) > MAX_MESSAGE_SIZE:
            self.counters.add("data_too_long")
            return
        peer = self.peers[-1]
        channel = peer.channels.get(RELIABLE if reliable else LOSSY)
        channels = peer.connection.transport.channels
        if channel is None or channels is None or (reliable and not self._released):
            # LiveKit's server holds reliable data until both channels are open.
            if reliable and self._held_bytes + len(data) <= SFU_HELD_DATA:
                self._held.append(data)
                self._held_bytes += len(data)
            else:
                self.counters.add("data_undeliverable")
            return
        if channels.association.state > ESTABLISHED or channels.buffered(channel) + len(data) > SFU_SEND_BUFFER:
            self.counters.add("data_undeliverable")
            return
        channels.send(channel, data, now)
        peer.connection.transport.touch_data()
        peer.due = NOW

    def _release(self, now: float) -> None:
        """Both channels are open: what was held goes out."""
        self._released = True
        held, self._held = self._held, deque()
        for data in held:
            self.send_data(data, True, now)

    # ------------------------------------------------------------------ packets and time

    def receive_datagram(self, target: int, port: int, data: bytes, addr: Address, now: float) -> None:
        """A datagram for one of the peer connections."""
        peer = self.peers[target]
        peer.connection.transport.receive_datagram(port, data, addr, now)
        peer.due = NOW

    def is_valid_source(self, target: int, port: int, addr: Address) -> bool:
        """Whether a check from there was answered, and so came from the client."""
        return self.peers[target].connection.transport.ice.is_valid_source(port, addr)

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline. Sets ``active`` and ``failed``, fills ``received``."""
        due = INF
        for peer in self.peers:
            while peer.due <= now:
                peer.due = peer.connection.advance(now)
                self._drain(peer, now)
            due = min(due, peer.due)
        return due

    def _drain(self, peer: ServerPeer, now: float) -> None:
        outbox = peer.connection.outbox
        while outbox:
            event = outbox.popleft()
            match event:
                case TransportConnected():
                    peer.up = True
                    if peer is self.peers[-1]:
                        self.active = True
                case TransportFailed(layer=layer):
                    # What a client closes on its way out (SCTP, DTLS) is no failure: it says leave, or falls silent.
                    self.failed = self.failed or layer == "ice"
                case ChannelOpened(channel=channel, label=label, max_retransmits=limit):
                    peer.channels[label] = channel
                    if limit is not None:
                        peer.lossy[channel] = True
                    if peer is self.peers[-1] and RELIABLE in peer.channels and LOSSY in peer.channels:
                        self._release(now)
                case ChannelReadable(channel=channel):
                    channels = peer.connection.transport.channels
                    assert channels is not None
                    while (data := channels.read(channel)) is not None:
                        self.received.append((channel not in peer.lossy, data))
                    peer.connection.transport.touch_data()
                    peer.due = NOW
                case ChannelClosed(channel=channel):
                    peer.lossy.pop(channel, None)
                    peer.channels = {label: number for label, number in peer.channels.items() if number != channel}

    def close(self, now: float) -> None:
        """Close both peer connections."""
        for peer in self.peers:
            peer.connection.close(now)
