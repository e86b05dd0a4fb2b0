"""The server as one machine: rooms, signalling links, media and data of all clients, the HTTP API.

Its driver (the development server's, the simulator's) does this:

**Signalling.** When somebody asks for a WebSocket at ``/rtc`` or ``/rtc/v1`` (any path with an Upgrade header will do),
it allots a number and tells ``signal_accepted(signal, url, headers, now)``, ``url`` being the whole request target or
URL, *before* it answers the handshake. One of ``AcceptSignal(signal)`` and ``RefuseSignal(signal, status, body)`` is in
the outbox afterwards and says how to answer. Then ``signal_received(signal, data, now)`` for each binary message,
``SendSignal(signal, data)`` to send one, ``CloseSignal(signal, code)`` to close when all before it is written,
``DropSignal(signal)`` to cut without a close. ``signal_closed(signal, reason, now)`` when the link is gone for any
reason, also after CloseSignal; what is still sent to it is thrown away.

**Packets.** One UDP port, number ``PORT`` (1), for all clients: ``handle_datagram(PORT, data, addr, now)``; what goes out
is in ``transmits`` as ``Transmit(port, data, addr)``. TCP connections to ``options.tcp_address`` (ICE/TCP, RFC 4571
frames): the driver allots a number from 2 up (never used before) and tells ``stream_accepted(port, addr, now)``, then the
bytes as they come, in any pieces, by the same ``handle_datagram(port, data, addr, now)``, and ``stream_closed(port, now)``
at its end. A Transmit with that number holds bytes for the stream, framed already; ``ClosePort(port)`` in the outbox
closes it (no answer).

**HTTP.** Every other request: ``handle_http(method, target, headers, body, now)`` returns ``(status, headers, body)`` at
once: health check at ``/``, ``/rtc/validate`` and ``/rtc/v1/validate``, RoomService by Twirp; 404 elsewhere. ``headers`` are
pairs in any letter case.

**Time.** ``advance(now)`` returns the next deadline. ``outbox`` further holds ``Note``s for a log. ``stop(now)`` tells every
client that the server shuts down (leave with SERVER_SHUTDOWN) and closes its links; afterwards ``closed`` is true.

Nothing is reported back for datagrams that could not be sent.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from attrs import field, frozen

from .. import proto
from ..base.contract import INF, NOW, Address, CloseSignal, SendSignal, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..base.limits import (
    SFU_ADDRESSES,
    SFU_ATTRIBUTES,
    SFU_JOIN_REQUEST,
    SFU_METADATA,
    SFU_NAME,
    SFU_PARTICIPANTS,
)
from ..base.wallclock import WallClock
from ..dtls.engine import EngineFactory, default_engine
from ..dtls.identity import DtlsIdentity
from ..ice import stun
from ..ice.candidate import Candidate
from .participant import ServerParticipant
from .token import Claims, TokenError, verify

if TYPE_CHECKING:
    from ..proto import rtc

RESUME_TIME = 5.0
"""Seconds that a client whose media has failed has to come back."""
PORT = 1
"""The one UDP port of the server."""


@frozen
class AcceptSignal:
    """Answer the WebSocket handshake with 101."""

    signal: int


@frozen
class RefuseSignal:
    """Answer the WebSocket handshake with an HTTP error."""

    signal: int
    status: int
    body: str


@frozen(kw_only=True)
class ServerOptions:
    """``keys``: API key to secret. ``path_v1``: whether ``/rtc/v1`` exists, as it does not on old servers.
    ``resume``: whether clients that come back are known."""

    keys: Mapping[str, str] = field(repr=False)
    auto_create: bool = True
    path_v1: bool = True
    resume: bool = True
    ping_interval: int = 5
    ping_timeout: int = 15
    dtls_engine: EngineFactory = default_engine


class _Room:
    def __init__(self, name: str, sid: str) -> None:
        self.name = name
        self.sid = sid
        self.participants: dict[str, ServerParticipant] = {}


class SfuServer:
    """See the head of the module. ``address`` is that of the UDP port, as announced to clients."""

    def __init__(
        self,
        address: Address,
        options: ServerOptions,
        *,
        entropy: Entropy,
        wall: WallClock,
        identity: DtlsIdentity,
    ) -> None:
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self._options = options
        self._entropy = entropy
        self._wall = wall
        self._identity = identity
        self._candidate = Candidate("1", 1, "udp", 2130706431, address[0], address[1], "host")
        self._rooms: dict[str, _Room] = {}
        self._signals: dict[int, ServerParticipant] = {}
        self._ufrags: dict[str, tuple[ServerParticipant, int]] = {}
        self._addresses: dict[Address, tuple[ServerParticipant, int]] = {}
        self._dues: dict[ServerParticipant, float] = {}
        self._joins = 0
        self._now = NOW

    # ------------------------------------------------------------------ signalling links

    def signal_accepted(self, signal: int, url: str, headers: tuple[tuple[str, str], ...], now: float) -> None:
        """Somebody asks for a WebSocket."""
        now = self._time(now)
        try:
            join, single = self._parse(url)
            claims = self._authorise(headers, url, now)
            if (join.metadata or join.participant_attributes) and not claims.can_update_own_metadata:
                raise _Refused(401, "no permissions to access the room")
        except _Refused as refused:
            self.outbox.append(RefuseSignal(signal, refused.status, refused.body))
            return
        if join.reconnect:
            self.outbox.append(AcceptSignal(signal))
            self._resume(signal, claims, join.participant_sid, now)
        elif claims.room not in self._rooms and not self._options.auto_create:
            self.outbox.append(RefuseSignal(signal, 404, "requested room does not exist"))
        elif len(self._dues) >= SFU_PARTICIPANTS:
            self.outbox.append(RefuseSignal(signal, 503, "node limits reached"))
        else:
            self.outbox.append(AcceptSignal(signal))
            self._join(signal, claims, join, single, now)

    def _parse(self, url: str) -> tuple[rtc.JoinRequest, bool]:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _Refused(400, "cannot read the address") from None
        query = parse_qs(parts.query)
        if parts.path.endswith("/rtc/v1") and self._options.path_v1:
            if "join_request" not in query:
                raise _Refused(400, "join_request is required")
            return _decode_join(query["join_request"][0]), True
        if parts.path.endswith("/rtc"):
            return _decode_query(query), False
        raise _Refused(404, "404 page not found")

    def _authorise(self, headers: tuple[tuple[str, str], ...], url: str, now: float) -> Claims:
        token = ""
        for name, value in headers:
            if name.lower() == "authorization":
                if not value.startswith("Bearer "):
                    raise _Refused(401, "invalid authorization header. Must start with Bearer ")
                token = value[7:]
        token = token or parse_qs(urlsplit(url).query).get("access_token", [""])[0]
        if not token:
            raise _Refused(401, "no permissions to access the room")
        try:
            claims = verify(token, self._options.keys, self._wall.unix_at(now))
        except TokenError as error:
            raise _Refused(401, str(error)) from None
        if not claims.room_join:
            raise _Refused(401, "permissions denied")
        if not claims.identity or not claims.room:
            raise _Refused(400, "identity cannot be empty" if not claims.identity else "room name cannot be empty")
        return claims

    def _join(self, signal: int, claims: Claims, join: rtc.JoinRequest, single: bool, now: float) -> None:
        old = self._find(claims.room, claims.identity)
        if old is not None:
            self._dismiss(old, proto.models.DUPLICATE_IDENTITY, now)
        self._joins += 1
        room = self._rooms.get(claims.room)
        if room is None:
            room = self._rooms[claims.room] = _Room(claims.room, "RM_" + self._entropy.token(12, _ALNUM))
        participant = ServerParticipant(
            "PA_" + self._entropy.token(12, _ALNUM),
            claims,
            signal,
            self.outbox,
            self._entropy.fork(f"participant {self._joins}"),
            self._identity,
            self._options.dtls_engine,
            self._candidate,
            PORT,
            single=single,
            now=now,
        )
        participant.info.joined_at = int(self._wall.unix_at(now))
        participant.info.metadata = join.metadata or participant.info.metadata
        participant.info.attributes.update(join.participant_attributes)
        others = list(room.participants.values())
        room.participants[claims.identity] = participant
        self._signals[signal] = participant
        self._dues[participant] = NOW
        self._learn_ufrags(participant)
        self._send_join(room, participant, others)
        if not single:
            participant.offer_subscriber(now)
        elif join.HasField("publisher_offer"):
            participant.handle_offer(join.publisher_offer, now)

    def _resume(self, signal: int, claims: Claims, sid: str, now: float) -> None:
        """A client comes back on a new link: it is the same session if its media still lives."""
        participant = self._find(claims.room, claims.identity)
        if participant is None or participant.sid != sid or not participant.active or not self._options.resume:
            leave = proto.rtc.LeaveRequest(action=proto.rtc.LeaveRequest.RECONNECT, reason=proto.models.STATE_MISMATCH)
            response = proto.rtc.SignalResponse(leave=leave)
            self.outbox.append(SendSignal(signal, response.SerializeToString(deterministic=True)))
            self.outbox.append(CloseSignal(signal))
            return
        if participant.signal:
            self._signals.pop(participant.signal, None)
            self.outbox.append(CloseSignal(participant.signal))
        participant.signal = signal
        participant.lost_due = INF
        self._signals[signal] = participant
        self._dues[participant] = NOW
        participant.send("reconnect", proto.rtc.ReconnectResponse(last_message_seq=participant.last_sequence))
        infos = [other.info for other in self._rooms[claims.room].participants.values() if not other.claims.hidden]
        participant.send("update", proto.rtc.ParticipantUpdate(participants=infos))
        if not participant.single:
            participant.restart_subscriber(now)
            self._learn_ufrags(participant)

    def _learn_ufrags(self, participant: ServerParticipant) -> None:
        """Packets are led by them; those of before an ICE restart come from addresses that are known already."""
        self._ufrags = {ufrag: owner for ufrag, owner in self._ufrags.items() if owner[0] is not participant}
        for peer in participant.peers:
            self._ufrags[peer.connection.transport.ice.local_ufrag] = (participant, peer.target)

    def _send_join(self, room: _Room, participant: ServerParticipant, others: list[ServerParticipant]) -> None:
        response = proto.rtc.JoinResponse()
        response.room.sid, response.room.name = room.sid, room.name
        response.room.num_participants = len(room.participants)
        response.participant.CopyFrom(participant.info)
        response.other_participants.extend([other.info for other in others if not other.claims.hidden])
        response.subscriber_primary = not participant.single
        response.fast_publish = True
        response.ping_interval = self._options.ping_interval
        response.ping_timeout = self._options.ping_timeout
        response.server_info.version = "0.0.0-development"
        response.server_info.protocol = 17
        participant.send("join", response)

    # ------------------------------------------------------------------ messages of clients

    def signal_received(self, signal: int, data: bytes, now: float) -> None:
        """A message of a client."""
        now = self._time(now)
        participant = self._signals.get(signal)
        if participant is None:
            return
        self._dues[participant] = NOW
        try:
            request = proto.rtc.SignalRequest.FromString(data)
        except proto.DecodeError:
            # LiveKit's server ends the session over a message that it cannot decode.
            self._hang_up(participant, now)
            return
        kind = request.WhichOneof("message")
        match kind:
            case "offer":
                participant.handle_offer(request.offer, now)
                self._learn_ufrags(participant)  # the offer may have restarted ICE
            case "answer":
                participant.handle_answer(request.answer, now)
            case "trickle":
                participant.handle_trickle(request.trickle, now)
            case "ping_req":
                pong = proto.rtc.Pong(last_ping_timestamp=request.ping_req.timestamp)
                pong.timestamp = int(self._wall.unix_at(now) * 1000)
                participant.send("pong_resp", pong)
            case "update_metadata":
                self._update_metadata(participant, request.update_metadata)
            case "leave":
                self._dismiss(participant, proto.models.CLIENT_INITIATED, now)
            case _:
                self.counters.add("request_ignored")

    def _update_metadata(self, participant: ServerParticipant, update: rtc.UpdateParticipantMetadata) -> None:
        response = proto.rtc.RequestResponse(request_id=update.request_id)
        info = participant.info
        attributes = {**info.attributes, **update.attributes}
        attributes = {name: value for name, value in attributes.items() if value}
        if not participant.claims.can_update_own_metadata:
            response.reason = proto.rtc.RequestResponse.NOT_ALLOWED
            response.message = "does not have permission to update own metadata"
        elif (
            len(update.name) > SFU_NAME
            or len(update.metadata) > SFU_METADATA
            or sum([len(name) + len(value) for name, value in attributes.items()]) > SFU_ATTRIBUTES
        ):
            response.reason = proto.rtc.RequestResponse.LIMIT_EXCEEDED
            response.message = "name, metadata or attributes too long"
        if response.reason:
            participant.send("request_response", response)
            return
        info.name = update.name or info.name
        info.metadata = update.metadata or info.metadata
        info.attributes.clear()
        info.attributes.update(attributes)
        info.version += 1
        self._announce(self._rooms[participant.claims.room], participant)
        participant.send("request_response", response)

    def signal_closed(self, signal: int, reason: str, now: float) -> None:
        """A client's WebSocket is gone. Its session lives on while its media does, as with LiveKit's server."""
        now = self._time(now)
        participant = self._signals.pop(signal, None)
        if participant is None:
            return
        participant.signal = 0
        if not participant.active:
            self._forget(participant, now)

    # ------------------------------------------------------------------ coming and going

    def _announce(self, room: _Room, participant: ServerParticipant) -> None:
        if participant.claims.hidden:
            return
        update = proto.rtc.ParticipantUpdate(participants=[participant.info])
        for other in room.participants.values():
            other.send("update", update)

    def _dismiss(self, participant: ServerParticipant, reason: Any, now: float) -> None:
        """Tell a client why its session is over, and end it."""
        participant.send("leave", proto.rtc.LeaveRequest(reason=reason))
        self._hang_up(participant, now)

    def _lose(self, participant: ServerParticipant, now: float) -> None:
        """A client's media has failed: it has some seconds to resume. Without a link it is gone."""
        participant.failed = False
        participant.lost_due = now + RESUME_TIME if participant.signal else now
        actions = proto.rtc.LeaveRequest
        participant.send("leave", actions(action=actions.RESUME, reason=proto.models.CONNECTION_TIMEOUT))
        if participant.signal:
            self._signals.pop(participant.signal)
            self.outbox.append(CloseSignal(participant.signal))
            participant.signal = 0

    def _hang_up(self, participant: ServerParticipant, now: float) -> None:
        signal = participant.signal
        self._forget(participant, now)
        if signal:
            self.outbox.append(CloseSignal(signal))

    def _forget(self, participant: ServerParticipant, now: float) -> None:
        room = self._rooms[participant.claims.room]
        del room.participants[participant.claims.identity]
        if not room.participants:
            del self._rooms[room.name]
        self._signals.pop(participant.signal, None)
        participant.signal = 0
        participant.close(now)
        self._flush(participant)
        del self._dues[participant]
        self._ufrags = {ufrag: owner for ufrag, owner in self._ufrags.items() if owner[0] is not participant}
        self._addresses = {addr: owner for addr, owner in self._addresses.items() if owner[0] is not participant}
        participant.info.state = proto.models.ParticipantInfo.DISCONNECTED
        participant.info.version += 1
        self._announce(room, participant)

    def remove(self, room: str, identity: str, now: float) -> bool:
        """RemoveParticipant of the server API; False when there is nobody of that identity."""
        now = self._time(now)
        participant = self._find(room, identity)
        if participant is None:
            return False
        self._dismiss(participant, proto.models.PARTICIPANT_REMOVED, now)
        return True

    def identities(self, room: str) -> list[str]:
        """Who is in a room, in the order of joining."""
        found = self._rooms.get(room)
        return list(found.participants) if found is not None else []

    def signal_of(self, room: str, identity: str) -> int:
        """The number of somebody's signalling link, 0 when there is none."""
        participant = self._find(room, identity)
        return participant.signal if participant is not None else 0

    def _find(self, room: str, identity: str) -> ServerParticipant | None:
        found = self._rooms.get(room)
        return found.participants.get(identity) if found is not None else None

    # ------------------------------------------------------------------ packets and time

    def handle_datagram(self, port: int, data: bytes, addr: Address, now: float) -> None:
        """A datagram on the shared port: to the owner of its address, else to the owner of its STUN user name."""
        now = self._time(now)
        known = self._addresses.get(addr)
        owner = known
        if known is None or (data[:1] and data[0] < 4):
            owner = self._owner_by_name(data) or known
        if owner is None:
            self.counters.add("unknown_address")
            return
        participant, target = owner
        participant.receive_datagram(target, port, data, addr, now)
        self._dues[participant] = NOW
        if owner is not known and participant.is_valid_source(target, port, addr):
            # Only now: anybody can write a user name, but not the integrity that ICE has just checked.
            self._learn_address(addr, owner)

    def _learn_address(self, addr: Address, owner: tuple[ServerParticipant, int]) -> None:
        if addr not in self._addresses and len(self._addresses) >= SFU_ADDRESSES:
            self.counters.add("address_limit")
        else:
            self._addresses[addr] = owner

    def _flush(self, participant: ServerParticipant) -> None:
        """Send what a participant's peer connections want sent."""
        for peer in participant.peers:
            while peer.transmits:
                transmit = peer.transmits.popleft()
                if transmit.addr not in self._addresses:
                    # Its answers to our checks have no user name, and may come before its own first check.
                    self._learn_address(transmit.addr, (participant, peer.target))
                self.transmits.append(transmit)

    def _owner_by_name(self, data: bytes) -> tuple[ServerParticipant, int] | None:
        try:
            name = stun.decode(data).attributes.get(stun.USERNAME, b"")
        except ParseError:
            return None
        return self._ufrags.get(name.partition(b":")[0].decode("latin-1"))

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline."""
        now = self._time(now)
        while True:
            due = [participant for participant, at in self._dues.items() if at <= now]
            if not due:
                return min(self._dues.values(), default=INF)
            for participant in due:
                self._advance_participant(participant, now)

    def _time(self, now: float) -> float:
        """The time of an input, never earlier than the last."""
        if now > self._now:
            self._now = now
        return self._now

    def _advance_participant(self, participant: ServerParticipant, now: float) -> None:
        was_active = participant.active
        due = participant.advance(now)
        self._flush(participant)
        room = self._rooms[participant.claims.room]
        if participant.active and not was_active:
            participant.info.state = proto.models.ParticipantInfo.ACTIVE
            participant.info.version += 1
            self._announce(room, participant)
        while participant.received:
            reliable, data = participant.received.popleft()
            self._relay(room, participant, reliable, data, now)
        if participant.active:
            if participant.failed:
                self._lose(participant, now)
            if now >= participant.lost_due:
                self._hang_up(participant, now)
            else:
                self._dues[participant] = min(due, participant.lost_due)
        elif now >= participant.join_due:
            self._dismiss(participant, proto.models.JOIN_FAILURE, now)
        else:
            self._dues[participant] = min(due, participant.join_due)

    def _relay(self, room: _Room, sender: ServerParticipant, reliable: bool, data: bytes, now: float) -> None:
        if not sender.claims.can_publish_data:
            self.counters.add("data_not_allowed")
            return
        try:
            packet = proto.models.DataPacket.FromString(data)
        except proto.DecodeError:
            self.counters.add("data_undecodable")
            return
        if reliable and packet.sequence:
            if packet.sequence <= sender.last_sequence:
                self.counters.add("data_duplicate")
                return
            sender.last_sequence = packet.sequence
        packet.participant_identity = sender.claims.identity
        packet.participant_sid = sender.sid
        wanted = dict.fromkeys(packet.destination_identities)
        encoded = packet.SerializeToString(deterministic=True)
        for identity, other in room.participants.items():
            if other is not sender and (not wanted or identity in wanted):
                other.send_data(encoded, reliable, now)
                self._dues[other] = NOW


# ------------------------------------------------------------------ detail

_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class _Refused(Exception):
    def __init__(self, status: int, body: str) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def _decode_query(query: dict[str, list[str]]) -> rtc.JoinRequest:
    """What ``/rtc`` says in parameters of its own. LiveKit's server passes over attributes that it cannot read."""
    join = proto.rtc.JoinRequest()
    try:
        attributes = json.loads(base64.b64decode(query.get("attributes", [""])[0], altchars=b"-_", validate=True))
        if isinstance(attributes, dict):
            join.participant_attributes.update(
                {name: value for name, value in attributes.items() if isinstance(value, str) and value}
            )
    except (ValueError, RecursionError):
        join.Clear()
    join.reconnect = query.get("reconnect", [""])[0] in ("1", "true")
    join.participant_sid = query.get("sid", [""])[0]
    return join


def _decode_join(text: str) -> rtc.JoinRequest:
    try:
        wrapped = proto.rtc.WrappedJoinRequest.FromString(base64.b64decode(text, altchars=b"-_", validate=True))
        data = wrapped.join_request
        if wrapped.compression == proto.rtc.WrappedJoinRequest.GZIP:
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(data, SFU_JOIN_REQUEST)
            if unpacker.unconsumed_tail:
                raise _Refused(400, "join request too large")
        return proto.rtc.JoinRequest.FromString(data)
    except (ValueError, zlib.error, proto.DecodeError):
        raise _Refused(400, "cannot decode join_request") from None
