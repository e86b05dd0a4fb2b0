"""One client, seen from the server: its signalling link, its peer connections, what it publishes and takes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import frozen

from .. import proto
from ..base.contract import INF, NOW, Address, CloseSignal, SendSignal, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError
from ..base.limits import SFU_HELD_DATA, SFU_HELD_PACKETS, SFU_SEND_BUFFER
from ..base.wallclock import WallClock
from ..dtls.engine import EngineFactory
from ..dtls.identity import DtlsIdentity
from ..ice.candidate import Candidate, parse_init
from ..peer.transport import TransportConnected, TransportFailed
from ..sctp.channel import ChannelClosed, ChannelOpened, ChannelReadable, DataChannels
from ..sdp.build import MAX_MESSAGE_SIZE
from ..sdp.media import Contradiction
from .connection import ServerConnection
from .downstream import DownTrack
from .token import Claims
from .track import UpTrack

if TYPE_CHECKING:
    from ..proto import models, rtc
    from .room import Room

RELIABLE = "_reliable"
LOSSY = "_lossy"
DATA_TRACK = "_data_track"
JOIN_TIMEOUT = 60.0
"""Seconds that a client has to bring its primary peer connection up."""
REFRESH_INTERVAL = 300.0
"""Seconds from one refreshed token to the next."""


@frozen(kw_only=True)
class Setting:
    """What all participants of a server share. ``ready`` holds those who owe something from outside."""

    outbox: deque[Any]
    ready: dict[ServerParticipant, None]
    identity: DtlsIdentity
    engine: EngineFactory
    wall: WallClock


class ServerPeer:
    """One peer connection of a client. ``channels`` maps labels to ids; of two with one label the later one counts.

    ``opened``: ours have been opened, as the server does on the subscriber connection.
    """

    __slots__ = ("channels", "connection", "due", "labels", "lossy", "opened", "owner", "target", "transmits", "up")

    def __init__(
        self, target: int, entropy: Entropy, setting: Setting, owner: ServerParticipant, *, offerer: bool
    ) -> None:
        self.owner = owner
        self.target = target
        self.transmits: deque[Transmit] = deque()
        self.connection = ServerConnection(
            entropy, setting.identity, self.transmits, setting.engine, setting.wall, self.wake, offerer=offerer
        )
        self.channels: dict[str, int] = {}
        self.labels: dict[int, str] = {}
        self.lossy: dict[int, bool] = {}
        self.opened = False
        self.due = NOW
        self.up = False

    def wake(self) -> None:
        """It owes something from outside."""
        self.due = NOW
        self.owner.wake()


class Choice:
    """What a participant has said about a track of another: whether it wants it, and how."""

    __slots__ = ("disabled", "setting", "wanted")

    def __init__(self) -> None:
        self.wanted: bool | None = None
        self.disabled = False
        self.setting: rtc.UpdateTrackSettings | None = None


class ServerParticipant:
    """The server's half of a session.

    ``peers`` holds one peer connection in single mode (we answer), two in dual mode: the publisher (we answer) and
    the subscriber (we offer). ``received`` is filled with (label, reliable, data) of the client's data channels.
    ``pending`` are announced tracks by the client's name for them, ``tracks`` those that flow, by sid; ``downs`` what
    it is subscribed to, by the sid of the track.
    """

    def __init__(
        self,
        sid: str,
        claims: Claims,
        signal: int,
        entropy: Entropy,
        setting: Setting,
        join: rtc.JoinRequest,
        *,
        single: bool,
        now: float,
    ) -> None:
        models = proto.models
        self.sid = sid
        self.claims = claims
        self.signal = signal
        self.single = single
        self.room: Room
        self.counters = Counters()
        self.received: deque[tuple[str, bool, bytes]] = deque()
        self.active = False
        self.failed = False
        self.closed = False
        self.join_due = now + JOIN_TIMEOUT
        self.lost_due = INF
        self.refresh_due = NOW
        self.last_sequence = 0
        self.auto_subscribe = join.connection_settings.auto_subscribe
        self.client = join.client_info
        self.pending: dict[str, UpTrack] = {}
        self.queued: dict[str, list[rtc.AddTrackRequest]] = {}
        self.tracks: dict[str, UpTrack] = {}
        self.downs: dict[str, DownTrack] = {}
        self.choices: dict[str, Choice] = {}
        self.unplaced: list[DownTrack] = []
        self.told_speakers: dict[str, float] = {}
        self.told_qualities: dict[str, int] = {}
        self.seen_at = now
        self.permit_all = True
        self.permits: list[rtc.TrackPermission] = []
        self.info: models.ParticipantInfo = models.ParticipantInfo(
            sid=sid, identity=claims.identity, name=claims.name, metadata=join.metadata or claims.metadata, version=1
        )
        self.info.state = models.ParticipantInfo.JOINED
        self.info.kind = _kind(claims.kind)
        unix = setting.wall.unix_at(now)
        self.info.joined_at, self.info.joined_at_ms = int(unix), int(unix * 1000)
        self.info.client_protocol = self.client.client_protocol
        self.info.capabilities.extend(self.client.capabilities)
        self.info.attributes.update(claims.attributes)
        self.info.attributes.update({name: value for name, value in join.participant_attributes.items() if value})
        self.set_permission(claims)
        self._outbox = setting.outbox
        self._ready = setting.ready
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._released = False
        self._asked: tuple[int, int] | None = None
        self.peers = [ServerPeer(0, entropy.fork("publisher"), setting, self, offerer=False)]
        if not single:
            self.peers.append(ServerPeer(1, entropy.fork("subscriber"), setting, self, offerer=True))

    def set_permission(self, claims: Claims) -> None:
        """What it may do, by its token or by the API."""
        self.claims = claims
        permission = self.info.permission
        permission.Clear()
        permission.can_publish = claims.can_publish
        permission.can_subscribe = claims.can_subscribe
        permission.can_publish_data = claims.can_publish_data
        permission.can_update_metadata = claims.can_update_own_metadata
        permission.hidden = claims.hidden
        sources: Any = [SOURCES[name] for name in claims.can_publish_sources if name in SOURCES]
        permission.can_publish_sources.extend(sources)

    @property
    def subscriber(self) -> ServerPeer:
        """The peer connection on which it gets tracks and data."""
        return self.peers[-1]

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

    def hang_up(self) -> int:
        """Close the signalling link; returns its number, 0 when there was none."""
        signal, self.signal = self.signal, 0
        if signal:
            self._outbox.append(CloseSignal(signal))
        return signal

    def wake(self) -> None:
        """Something was changed from outside: ``advance`` has to be called."""
        self._ready[self] = None

    # ------------------------------------------------------------------ negotiation

    def handle_offer(self, offer: rtc.SessionDescription, now: float) -> None:
        """The client's offer for its publisher or single connection."""
        peer = self.peers[0]
        connection = peer.connection
        try:
            connection.read_offer(offer.sdp, now)
        except Contradiction:
            self.counters.add("bad_offer")
            self.failed_negotiation()
            return
        except ParseError:
            # One that cannot be read at all is passed over, as LiveKit's server does; the client's own timer ends it.
            self.counters.add("bad_offer")
            return
        peer.due = NOW
        fresh = self.room.match_sections(self)
        if self.single:
            self._asked = None
            for down in connection.drop_lost_places():
                self.unplaced.append(down)
            self._place()
        answer = proto.rtc.SessionDescription(type="answer", sdp=connection.answer(now), id=offer.id)
        answer.mid_to_track_id.update(connection.mid_to_track_id())
        self.send("answer", answer)
        self._send_trickles(peer)
        for track in fresh:
            self.room.published(self, track, now)
        if self.single:
            self._check_formats()
        self.wake()

    def failed_negotiation(self) -> None:
        """The client contradicts itself: it has to begin anew."""
        leave = proto.rtc.LeaveRequest(action=proto.rtc.LeaveRequest.RECONNECT, reason=proto.models.STATE_MISMATCH)
        self.send("leave", leave)
        self.closed = True
        self.wake()

    def offer_subscriber(self) -> None:
        """Our offer for the subscriber connection, in dual mode."""
        peer = self.peers[1]
        connection = peer.connection
        sdp, number = connection.offer()
        peer.due = NOW
        offer = proto.rtc.SessionDescription(type="offer", sdp=sdp, id=number)
        offer.mid_to_track_id.update(connection.mid_to_track_id())
        self.send("offer", offer)
        self._send_trickles(peer)

    def restart_subscriber(self, now: float) -> None:
        """The client is back on a new link: the subscriber connection gets new ICE credentials."""
        self.peers[1].connection.restart(now)
        self.offer_subscriber()

    def _send_trickles(self, peer: ServerPeer) -> None:
        candidates = peer.connection.take_trickles()
        for place, candidate in enumerate(candidates, 1):
            trickle = proto.rtc.TrickleRequest(candidateInit=candidate, final=place == len(candidates))
            trickle.target = proto.rtc.SUBSCRIBER if peer.target else proto.rtc.PUBLISHER
            self.send("trickle", trickle)

    def handle_answer(self, answer: rtc.SessionDescription, now: float) -> None:
        """The client's answer to our offer."""
        if self.single:
            self.counters.add("unexpected_answer")
            return
        peer = self.peers[1]
        peer.due = NOW
        try:
            if not peer.connection.read_answer(answer.sdp, answer.id, now):
                return
        except ParseError:
            self.counters.add("bad_answer")
            self.failed_negotiation()
            return
        self._check_formats()
        channels = peer.connection.transport.channels
        if channels is not None and not peer.opened:
            peer.opened = True  # once: a client may have closed them, and the association may be over
            for label in (RELIABLE, LOSSY, DATA_TRACK):
                lossy = label != RELIABLE
                number = channels.open(label, ordered=not lossy, max_retransmits=0 if lossy else None, now=now)
                peer.channels[label] = number
                peer.labels[number] = label
                if lossy:
                    peer.lossy[number] = True
        self.wake()

    def handle_trickle(self, trickle: rtc.TrickleRequest, now: float) -> bool:
        """A candidate of the client; False for one that cannot be read."""
        peer = self.peers[0 if self.single or trickle.target == 0 else 1]
        try:
            candidate = parse_init(trickle.candidateInit).candidate
        except ParseError:
            self.counters.add("bad_trickle")
            return False
        if candidate is not None:
            peer.connection.transport.add_remote(candidate, now)
            peer.due = NOW
        return True

    def add_candidates(self, candidates: list[tuple[Candidate, int]], now: float) -> None:
        """The addresses at which the server is reached."""
        for peer in self.peers:
            for candidate, port in candidates:
                peer.connection.add_candidate(candidate, port, now)

    # ------------------------------------------------------------------ what it takes

    def takes_from(self, publisher: ServerParticipant) -> bool:
        """Whether it gets any track of somebody."""
        return any(sid in self.downs for sid in publisher.tracks)

    def subscribe(self, track: UpTrack) -> DownTrack:
        """A track begins its way to the client."""
        down = self.subscriber.connection.make_down(track, self.sid)
        self.downs[track.sid] = track.downs[self.sid] = down
        self.unplaced.append(down)
        self.wake()
        return down

    def unsubscribe(self, track: UpTrack) -> None:
        """It ends it."""
        down = self.downs.pop(track.sid)
        track.downs.pop(self.sid, None)
        if down in self.unplaced:
            self.unplaced.remove(down)
        self.subscriber.connection.remove_down(down)
        self.wake()

    def _place(self) -> None:
        connection = self.subscriber.connection
        self.unplaced = [down for down in self.unplaced if not connection.place(down)]

    def negotiate(self) -> None:
        """Say what is new on the connection that takes tracks: by an offer, or by asking for one."""
        connection = self.subscriber.connection
        if self.unplaced:
            self._place()
            connection.unsettled = connection.unsettled or self.single
        if not connection.described or not self.signal:
            return
        if not self.single:
            if connection.unsettled and not connection.negotiating:
                self.offer_subscriber()
            return
        if not connection.unsettled:
            return
        connection.unsettled = False
        audios = len([down for down in self.unplaced if down.track.kind == "audio"])
        videos = len(self.unplaced) - audios
        if self._asked is not None and audios <= self._asked[0] and videos <= self._asked[1]:
            return  # the offer that was asked for is on its way
        before = self._asked or (0, 0)
        self._asked = (max(audios, before[0]), max(videos, before[1]))
        requirement = proto.rtc.MediaSectionsRequirement(
            num_audios=max(0, audios - before[0]), num_videos=max(0, videos - before[1])
        )
        self.send("media_sections_requirement", requirement)

    def _check_formats(self) -> None:
        """Tell of tracks in whose section nothing of what the publisher sends is taken."""
        for down in self.downs.values():
            if down.sending and not down.unsupported and not down.takes_something():
                down.unsupported = True
                error = proto.rtc.SubscriptionResponse(track_sid=down.track.sid, err=proto.models.SE_CODEC_UNSUPPORTED)
                self.send("subscription_response", error)

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
            taken = reliable and self._hold(data)
        elif channels.buffered(channel) + len(data) > SFU_SEND_BUFFER:
            taken = False
        else:
            taken = _send(peer, channels, channel, data, now)
        if not taken:
            self.counters.add("data_undeliverable")

    def _hold(self, data: bytes) -> bool:
        if len(self._held) >= SFU_HELD_PACKETS or self._held_bytes + len(data) > SFU_HELD_DATA:
            return False
        self._held.append(data)
        self._held_bytes += len(data)
        return True

    def send_frame(self, data: bytes, now: float) -> None:
        """A packet of a data track, unless there is no channel, or too much waits there."""
        peer = self.peers[-1]
        channel, channels = peer.channels.get(DATA_TRACK), peer.connection.transport.channels
        if channel is not None and channels is not None and channels.buffered(channel) > SFU_HELD_DATA:
            self.counters.add("frame_dropped")
        elif channel is None or channels is None or not _send(peer, channels, channel, data, now):
            self.counters.add("frame_undeliverable")

    def _release(self, now: float) -> None:
        """Both channels are open: what was held goes out."""
        self._released = True
        held, self._held, self._held_bytes = self._held, deque(), 0
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
        self.negotiate()
        due = INF
        for peer in self.peers:
            while peer.due <= now:
                peer.due = self._advance_peer(peer, now)
            due = min(due, peer.due)
        return due

    def _advance_peer(self, peer: ServerPeer, now: float) -> float:
        transport = peer.connection.transport
        due = transport.advance(now)
        outbox = transport.outbox
        while outbox:
            event = outbox.popleft()
            match event:
                case TransportConnected():
                    peer.up = True
                    self.active = self.active or peer is self.peers[-1]
                case TransportFailed(layer=layer):
                    # What a client closes on its way out (SCTP, DTLS) is no failure: it says leave, or falls silent.
                    self.failed = self.failed or layer == "ice"
                case ChannelOpened(channel=channel, label=label, max_retransmits=limit):
                    peer.channels[label] = channel
                    peer.labels[channel] = label
                    if limit is not None:
                        peer.lossy[channel] = True
                    if peer is self.peers[-1] and RELIABLE in peer.channels and LOSSY in peer.channels:
                        self._release(now)
                case ChannelReadable(channel=channel):
                    channels = transport.channels
                    assert channels is not None
                    label = peer.labels.get(channel, "")
                    while (data := channels.read(channel)) is not None:
                        self.received.append((label, channel not in peer.lossy, data))
                    transport.touch_data()
                    due = NOW
                case ChannelClosed(channel=channel):
                    peer.lossy.pop(channel, None)
                    peer.labels.pop(channel, None)
                    peer.channels = {label: number for label, number in peer.channels.items() if number != channel}
        return due

    def close(self, now: float) -> None:
        """Close both peer connections."""
        for peer in self.peers:
            peer.connection.close(now)


def _send(peer: ServerPeer, channels: DataChannels, channel: int, data: bytes, now: float) -> bool:
    """Send on a channel; False when the client has begun to close it, or the association is over."""
    try:
        channels.send(channel, data, now)
    except LocalProtocolError:
        return False
    peer.connection.transport.touch_data()
    peer.due = NOW
    return True


SOURCES = {"camera": 1, "microphone": 2, "screen_share": 3, "screen_share_audio": 4}
"""The sources of tracks as tokens write them."""


def _kind(name: str) -> Any:
    kinds = proto.models.ParticipantInfo.Kind
    return kinds.Value(name.upper()) if name.upper() in kinds.keys() else kinds.Value("STANDARD")  # noqa: SIM118
