"""The server as one machine: rooms, signalling links, media and data of all clients, the HTTP API.

Its driver (the development server's, the simulator's) does this:

**Signalling.** When somebody asks for a WebSocket at ``/rtc`` or ``/rtc/v1`` (any path with an Upgrade header will do),
it allots a number and tells ``signal_accepted(signal, url, headers, now)``, ``url`` being the whole request target or
URL, *before* it answers the handshake. One of ``AcceptSignal(signal)`` and ``RefuseSignal(signal, status, body)`` is in
the outbox afterwards and says how to answer. Then ``signal_received(signal, data, now)`` for each binary message,
``SendSignal(signal, data)`` to send one, ``CloseSignal(signal, code)`` to close when all before it is written,
``DropSignal(signal)`` to cut without a close. ``signal_closed(signal, reason, now)`` when the link is gone for any
reason, also after CloseSignal; what is still sent to it is thrown away.

**Packets.** One UDP port, number ``PORT`` (1), for all clients: ``handle_datagram(PORT, data, addr, now)``; what goes
out is in ``transmits`` as ``Transmit(port, data, addr)``. TCP connections to ``options.tcp_address`` (ICE/TCP, RFC 4571
frames): the driver allots a number from 2 up (never used before) and tells ``stream_accepted(port, addr, now)``, then
the bytes as they come, in any pieces, by the same ``handle_datagram(port, data, addr, now)``, and
``stream_closed(port, now)`` at its end. A Transmit with that number holds bytes for the stream, framed already;
``ClosePort(port)`` in the outbox closes it (no answer).

**HTTP.** Every other request: ``handle_http(method, target, headers, body, now)`` returns ``(status, headers, body)``
at once: health check at ``/``, ``/rtc/validate`` and ``/rtc/v1/validate``, RoomService by Twirp; 404 elsewhere.
``headers`` are pairs in any letter case. A number in place of that (PerformRpc waits for a participant) means that the
answer comes later, as ``AnswerHttp(number, response)`` in the outbox; nobody need wait for it.

**Time.** ``advance(now)`` returns the next deadline. ``stop(now)`` tells every client that the server shuts down (leave
with SERVER_SHUTDOWN) and closes its links; afterwards ``closed`` is true.

**Log.** ``notes`` holds ``Note``s of who came and went, for whoever wants to show them; the oldest give way.

Nothing is reported back for datagrams that could not be sent.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import evolve

from .. import proto
from ..base.contract import INF, NOW, Address, CloseSignal, Transmit
from ..base.entropy import Entropy
from ..base.limits import SFU_MESSAGE, SFU_NOTES, SFU_PARTICIPANTS, SFU_PREFERENCES
from ..base.wallclock import WallClock
from ..dtls.identity import DtlsIdentity
from ..ice.candidate import Candidate
from ..ice.framing import frame
from . import api
from .joining import Knock, Refused, read_knock, split_target
from .mock import Scripts
from .options import (
    PORT,
    AcceptSignal,
    AnswerHttp,
    DropSignal,
    Headers,
    HttpResponse,
    Note,
    RefuseSignal,
    ServerOptions,
    leave_signal,
)
from .participant import DATA_TRACK, LOSSY, REFRESH_INTERVAL, RELIABLE, ServerParticipant, Setting
from .registry import ALNUM, Registry
from .requests import handle_request
from .room import Room
from .routes import Routes, Streams
from .token import Claims, mint

__all__ = [
    "PORT",
    "AcceptSignal",
    "AnswerHttp",
    "DropSignal",
    "HttpResponse",
    "Note",
    "RefuseSignal",
    "ServerOptions",
    "SfuServer",
]

RESUME_TIME = 5.0
"""Seconds that a client whose media has failed has to come back."""
VERSION = "1.13.5"
"""Of the LiveKit server that this one is like; clients look at it to see what they may do."""
DEBUG_INFO = "trio-livekit development server"
PROTOCOL = 17
SHORT_TOKEN = 600.0
"""Seconds that a refreshed token is valid at least."""
UDP_PRIORITY = 2130706431
TCP_PREFERRED, TLS_PREFERRED = 1, 2
"""Values of CandidateProtocol."""


class SfuServer(Registry):
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
        super().__init__(options, entropy, wall)
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[Any] = deque()
        self.notes: deque[Note] = deque(maxlen=SFU_NOTES)
        self.closed = False
        self._ready: dict[ServerParticipant, None] = {}
        self._setting = Setting(
            outbox=self.outbox, ready=self._ready, identity=identity, engine=options.dtls_engine, wall=wall
        )
        self._candidate = Candidate("1", 1, "udp", UDP_PRIORITY, address[0], address[1], "host")
        self._signals: dict[int, ServerParticipant] = {}
        self._routes = Routes(self.counters)
        self._streams = Streams(options.tcp_address, self._routes, self.counters, self.outbox)
        self._dues: dict[ServerParticipant, float] = {}
        self._scripts = Scripts(self.outbox, heeded=options.mock)
        self._armed: dict[str, tuple[str, float]] = {}
        self._preferences: dict[tuple[str, str], int] = {}
        self._joins = 0
        self._now = NOW

    # ------------------------------------------------------------------ signalling links

    def signal_accepted(self, signal: int, url: str, headers: Headers, now: float) -> None:
        """Somebody asks for a WebSocket."""
        now = self._time(now)
        try:
            knock = self._admit(url, headers, now)
            self._check_limits(knock)
        except Refused as refused:
            self.outbox.append(RefuseSignal(signal, refused.status, refused.body))
            return
        if self._scripts.begin(signal, knock.claims, reconnect=knock.join.reconnect, now=now):
            return
        if knock.join.reconnect:
            self._resume(signal, knock.claims, knock.join.participant_sid, now)
        else:
            self.outbox.append(AcceptSignal(signal))
            self._join(signal, knock.claims, knock.join, knock.single, now)

    def _admit(self, url: str, headers: Headers, now: float) -> Knock:
        """What the handshake and its validation check alike. Raises Refused."""
        if self.closed:
            raise Refused(503, "server is shutting down")
        knock = read_knock(url, headers, self._options, self._wall.unix_at(now))
        refusal = self._scripts.refusal(knock.claims)
        if refusal is not None:
            raise Refused(*refusal)
        if not knock.join.reconnect and knock.claims.room not in self._rooms and not self._options.auto_create:
            raise Refused(404, "requested room does not exist")
        return knock

    def _check_limits(self, knock: Knock) -> None:
        if knock.join.reconnect:
            return
        room = self._rooms.get(knock.claims.room)
        if len(self._dues) >= SFU_PARTICIPANTS or not self.has_place(knock.claims.room):
            raise Refused(503, "node limits reached")
        if room is None or knock.claims.identity in room.participants:
            return
        if 0 < room.info.max_participants <= len(room.participants):
            raise Refused(503, "room max participants exceeded")

    # ------------------------------------------------------------------ joining and coming back

    def _join(self, signal: int, claims: Claims, join: Any, single: bool, now: float) -> None:
        room = self._rooms.get(claims.room)
        if room is None:
            room = self.create_room(proto.room.CreateRoomRequest(name=claims.room), now)
        old = room.participants.get(claims.identity)
        if old is not None:
            self.dismiss(old, proto.models.DUPLICATE_IDENTITY, now)
        self._joins += 1
        participant = ServerParticipant(
            "PA_" + self._entropy.token(12, ALNUM),
            claims,
            signal,
            self._entropy.fork(f"participant {self._joins}"),
            self._setting,
            join,
            single=single,
            now=now,
        )
        participant.add_candidates(self._candidates(claims), now)
        others = room.visible()
        room.enter(participant, now)
        self._signals[signal] = participant
        self._dues[participant] = NOW
        self._routes.learn_names(participant)
        self._send_join(room, participant, others)
        self.refresh_token(participant, now)
        self.notes.append(Note("joined", room.name, claims.identity))
        if not single:
            participant.offer_subscriber()
        for request in join.add_track_requests:
            handle_request(self, participant, proto.rtc.SignalRequest(add_track=request), now)
        room.reconcile_all(participant, now)
        if join.HasField("publisher_offer"):
            participant.handle_offer(join.publisher_offer, now)
        self._routes.learn_names(participant)

    def _candidates(self, claims: Claims) -> list[tuple[Candidate, int]]:
        """Our addresses, as far as this client is to use them."""
        options = self._options
        found = []
        if options.udp and self._preferences.get((claims.room, claims.identity), 0) != TCP_PREFERRED:
            udp = self._candidate
            found.append((udp, PORT))
            for place, (host, port) in enumerate(options.more_addresses, 2):
                found.append((evolve(udp, foundation=str(place), address=host, port=port), PORT))
        if self._streams.candidate is not None:
            found.append((self._streams.candidate, -1))
        return found

    def _send_join(self, room: Room, participant: ServerParticipant, others: list[ServerParticipant]) -> None:
        models = proto.models
        response = proto.rtc.JoinResponse()
        response.room.CopyFrom(room.info)
        response.participant.CopyFrom(participant.info)
        response.other_participants.extend([other.info for other in others])
        response.server_version = VERSION
        response.subscriber_primary = not participant.single and participant.claims.can_subscribe
        preference = self._preferences.get((room.name, participant.claims.identity), 0)
        response.fast_publish = participant.claims.can_publish and not preference
        if preference:
            response.client_configuration.SetInParent()
            if preference == TLS_PREFERRED:
                response.client_configuration.force_relay = models.ClientConfigSetting.ENABLED
        usual = self._options.ping_interval, self._options.ping_timeout
        response.ping_interval, response.ping_timeout = self._scripts.ping_times(participant.signal) or usual
        self._describe(response.server_info)
        response.sif_trailer = room.trailer
        for mime in ("video/VP8", "video/H264", "video/VP9", "video/AV1", "audio/opus", "audio/red"):
            response.enabled_publish_codecs.append(models.Codec(mime=mime))
        participant.send("join", response)

    def _describe(self, info: Any) -> None:
        info.edition = proto.models.ServerInfo.Standard
        info.version = VERSION
        info.protocol = PROTOCOL
        info.debug_info = DEBUG_INFO
        info.node_id = "ND_development"

    def _resume(self, signal: int, claims: Claims, sid: str, now: float) -> None:
        """A client comes back on a new link: it is the same session if its media still lives."""
        armed, until = self._armed.pop(sid, ("", NOW))
        if armed == "no messages" and now < until:
            self.outbox.append(RefuseSignal(signal, 500, "connection closed by media"))
            return
        self.outbox.append(AcceptSignal(signal))
        participant = self._find(claims.room, claims.identity)
        if participant is None or participant.sid != sid or not participant.active or not self._options.resume:
            self.outbox.append(leave_signal(signal, proto.rtc.LeaveRequest.RECONNECT, proto.models.STATE_MISMATCH))
            self.outbox.append(CloseSignal(signal))
            return
        self._signals.pop(participant.hang_up(), None)
        participant.signal = signal
        participant.lost_due = INF
        self._signals[signal] = participant
        self._dues[participant] = NOW
        reconnect = proto.rtc.ReconnectResponse(last_message_seq=participant.last_sequence)
        self._describe(reconnect.server_info)
        participant.send("reconnect", reconnect)
        room = participant.room
        gone = [info for info, at in room.gone.values() if at >= participant.seen_at]
        if gone:
            participant.send("update", proto.rtc.ParticipantUpdate(participants=gone))
        shown = [other.info for other in room.participants.values() if other is participant or not other.claims.hidden]
        participant.send("update", proto.rtc.ParticipantUpdate(participants=shown))
        participant.send("room_update", proto.rtc.RoomUpdate(room=room.info))
        if not participant.single:
            participant.restart_subscriber(now)
            self._routes.learn_names(participant)
        self.refresh_token(participant, now)
        self.notes.append(Note("resumed", room.name, claims.identity))
        if armed and now < until:
            self._signals.pop(participant.hang_up(), None)

    # ------------------------------------------------------------------ messages of clients

    def signal_received(self, signal: int, data: bytes, now: float) -> None:
        """A message of a client."""
        now = self._time(now)
        participant = self._signals.get(signal)
        if participant is None:
            return
        self._dues[participant] = NOW
        participant.seen_at = now
        try:
            request = proto.rtc.SignalRequest.FromString(data) if len(data) <= SFU_MESSAGE else None
        except proto.DecodeError:
            request = None
        if request is None:
            # LiveKit's server ends the session over a message that it cannot decode, or that is too long.
            self._end_session(participant, proto.models.SIGNAL_CLOSE, now)
            return
        if self._scripts.swallows(signal, request.WhichOneof("message")):
            return
        handle_request(self, participant, request, now)
        if participant in self._dues:
            self._routes.learn_names(participant)  # an offer may have restarted ICE

    def signal_closed(self, signal: int, reason: str, now: float) -> None:
        """A client's WebSocket is gone. Its session lives on while its media does, as with LiveKit's server."""
        now = self._time(now)
        self._scripts.forget(signal)
        participant = self._signals.pop(signal, None)
        if participant is None:
            return
        participant.signal = 0
        if not participant.active:
            self._forget(participant, proto.models.SIGNAL_CLOSE, now)
        else:
            self._dues[participant] = NOW

    # ------------------------------------------------------------------ coming and going

    def dismiss(self, participant: ServerParticipant, reason: Any, now: float) -> None:
        """Tell a client why its session is over, and end it."""
        participant.send("leave", proto.rtc.LeaveRequest(reason=reason))
        self._end_session(participant, reason, now)

    def _lose(self, participant: ServerParticipant, now: float) -> None:
        """A client's media has failed: it has some seconds to resume. Without a link it is gone."""
        participant.failed = False
        participant.lost_due = now + RESUME_TIME if participant.signal else now
        actions = proto.rtc.LeaveRequest
        participant.send("leave", actions(action=actions.RESUME, reason=proto.models.CONNECTION_TIMEOUT))
        self._signals.pop(participant.hang_up(), None)

    def _end_session(self, participant: ServerParticipant, reason: Any, now: float) -> None:
        """End a session, and close its link."""
        signal = participant.signal
        self._forget(participant, reason, now)
        if signal:
            self.outbox.append(self._scripts.closing(signal))

    def _forget(self, participant: ServerParticipant, reason: Any, now: float) -> None:
        """End a session whose link is closed, or is to be."""
        room = participant.room
        self._signals.pop(participant.signal, None)
        participant.signal = 0
        room.leave(participant, reason, now)
        participant.close(now)
        self._flush(participant)
        del self._dues[participant]
        self._ready.pop(participant, None)
        self._armed.pop(participant.sid, None)
        self._routes.forget(participant)
        self._streams.forget(participant)
        self.notes.append(Note("left", room.name, participant.claims.identity))

    def remove(self, room: str, identity: str, now: float) -> bool:
        """RemoveParticipant of the server API; False when there is nobody of that identity."""
        now = self._time(now)
        participant = self._find(room, identity)
        if participant is None:
            return False
        self.dismiss(participant, proto.models.PARTICIPANT_REMOVED, now)
        return True

    def stop(self, now: float) -> None:
        """The server shuts down: everybody is told, every link closes."""
        now = self._time(now)
        for participant in list(self._dues):
            self.dismiss(participant, proto.models.SERVER_SHUTDOWN, now)
        self._streams.stop()
        self._rooms.clear()
        self._scripts.clear()
        self._answer_calls()
        self.closed = True

    # ------------------------------------------------------------------ for requests and the API

    def vanish(self, participant: ServerParticipant, now: float) -> None:
        """End somebody's session without a word, as when the server dies."""
        self._end_session(participant, proto.models.UNKNOWN_REASON, now)

    def refresh_token(self, participant: ServerParticipant, now: float) -> None:
        """A token with what the participant is and may do now, for its next connection."""
        if not self._options.refresh_tokens:
            participant.refresh_due = INF
            return
        participant.refresh_due = now + REFRESH_INTERVAL
        claims, info = participant.claims, participant.info
        unix = self._wall.unix_at(now)
        fresh = evolve(claims, name=info.name, metadata=info.metadata, attributes=dict(info.attributes))
        secret = self._options.keys.get(claims.key, "")
        ttl = max(SHORT_TOKEN, claims.expires - unix)
        participant.send("refresh_token", mint(fresh, secret, unix, ttl))

    def arm_resume(self, participant: ServerParticipant, what: str, until: float) -> None:
        """Spoil the participant's next resume, if it comes by then."""
        self._armed[participant.sid] = (what, until)

    def prefer(self, participant: ServerParticipant, protocol: int) -> None:
        """Which candidates the participant is told at its next join."""
        if len(self._preferences) >= SFU_PREFERENCES:
            del self._preferences[next(iter(self._preferences))]
        self._preferences[participant.room.name, participant.claims.identity] = protocol

    def delete_room(self, room: Room, reason: Any, now: float) -> None:
        """DeleteRoom of the server API: everybody is sent away."""
        for participant in list(room.participants.values()):
            self.dismiss(participant, reason, now)
        del self._rooms[room.name]

    def handle_http(self, method: str, target: str, headers: Headers, body: bytes, now: float) -> HttpResponse | int:
        """Answer an HTTP request that is not for a WebSocket; a number when the answer comes later."""
        now = self._time(now)
        if self.closed:
            return HttpResponse.plain(503, "server is shutting down")
        try:
            path, _ = split_target(target)
        except Refused as refused:
            return HttpResponse.plain(refused.status, refused.body)
        if path == "/":
            return HttpResponse.plain(200, "OK")
        if method == "OPTIONS":
            return api.preflight()
        if path in ("/rtc/validate", "/rtc/v1/validate"):
            return self._validate(target, headers, now)
        if path in ("/rtc", "/rtc/v1"):
            return HttpResponse.plain(404, "")
        if path.startswith(api.PREFIX):
            return api.handle(self, self._options, method, path, headers, body, now)
        return HttpResponse.plain(404, "404 page not found")

    def _answer_calls(self) -> None:
        """Answer those who have had a participant called."""
        while self._ended:
            ended = self._ended.popleft()
            self.outbox.append(AnswerHttp(ended.number, api.answer_call(ended)))

    def _validate(self, target: str, headers: Headers, now: float) -> HttpResponse:
        try:
            knock = self._admit(target.replace("/validate", "", 1), headers, now)
            self._check_limits(knock)
        except Refused as refused:
            return HttpResponse.plain(refused.status, refused.body)
        return HttpResponse.plain(200, "success")

    # ------------------------------------------------------------------ packets

    def handle_datagram(self, port: int, data: bytes, addr: Address, now: float) -> None:
        """A datagram on the shared port: to the owner of its address, else to the owner of its STUN user name. On a
        TCP connection: some bytes."""
        now = self._time(now)
        if port != PORT:
            self._streams.receive(port, data, now)
            return
        known = self._routes.addresses.get(addr)
        owner = known
        if known is None or (data[:1] and data[0] < 4):
            owner = self._routes.by_name(data) or known
        if owner is None:
            self.counters.add("unknown_address")
            return
        participant, target = owner
        participant.receive_datagram(target, port, data, addr, now)
        self._dues[participant] = NOW
        if owner is not known and participant.is_valid_source(target, port, addr):
            # Only now: anybody can write a user name, but not the integrity that ICE has just checked.
            self._routes.learn_address(addr, owner)

    def stream_accepted(self, port: int, addr: Address, now: float) -> None:
        """A TCP connection was accepted."""
        now = self._time(now)
        if self.closed:
            self._streams.refuse(port)
        else:
            self._streams.accept(port, addr, now)

    def stream_closed(self, port: int, now: float) -> None:
        """A TCP connection is gone."""
        self._streams.closed(port, self._time(now))

    def _flush(self, participant: ServerParticipant) -> None:
        """Send what a participant's peer connections want sent."""
        addresses = self._routes.addresses
        for peer in participant.peers:
            transmits = peer.transmits
            while transmits:
                transmit = transmits.popleft()
                if transmit.port != PORT:
                    transmit.data = frame(transmit.data)
                elif transmit.addr not in addresses:
                    # Its answers to our checks have no user name, and may come before its own first check.
                    self._routes.learn_address(transmit.addr, (participant, peer.target))
                self.transmits.append(transmit)

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline."""
        now = self._time(now)
        if self.closed:
            return INF
        while True:
            for participant in self._ready:
                if participant in self._dues:
                    self._dues[participant] = NOW
            self._ready.clear()
            due = [participant for participant, at in self._dues.items() if at <= now]
            if not due:
                later = min(self._advance_rooms(now), min(self._dues.values(), default=INF))
                if later > now and not self._ready:
                    self._answer_calls()
                    return later
                continue
            for participant in due:
                if participant in self._dues:  # not sent away by another's doing
                    self._advance_participant(participant, now)

    def _advance_rooms(self, now: float) -> float:
        """Scripts, rooms and nameless TCP connections; their next deadline."""
        for signal in self._scripts.advance(now):
            self.signal_closed(signal, "script", now)
        later = self._scripts.due
        for room in list(self._rooms.values()):
            if room.due <= now:
                room.tick(now)
                if room.closes_at <= now:
                    del self._rooms[room.name]
                    continue
            later = min(later, room.due)
        return min(later, self._streams.advance(now))

    def _time(self, now: float) -> float:
        """The time of an input, never earlier than the last."""
        if now > self._now:
            self._now = now
        return self._now

    def _advance_participant(self, participant: ServerParticipant, now: float) -> None:
        was_active = participant.active
        due = participant.advance(now)
        self._flush(participant)
        room = participant.room
        if participant.active and not was_active:
            participant.info.state = proto.models.ParticipantInfo.ACTIVE
            room.announce(participant)
        while participant.received:
            label, reliable, data = participant.received.popleft()
            if label in (RELIABLE, LOSSY):
                room.relay(participant, reliable, data, now)
            elif label == DATA_TRACK:
                room.data_tracks.relay(participant, data, now)
            else:
                room.relay_raw(participant, reliable, data, now)
        if participant.closed:
            self._end_session(participant, proto.models.STATE_MISMATCH, now)
            return
        if participant.refresh_due <= now:
            self.refresh_token(participant, now)
        due = min(due, participant.refresh_due)
        if participant.active:
            if participant.failed:
                self._lose(participant, now)
            if now >= participant.lost_due:
                self._end_session(participant, proto.models.CONNECTION_TIMEOUT, now)
            else:
                self._dues[participant] = min(due, participant.lost_due)
        elif now >= participant.join_due:
            self.dismiss(participant, proto.models.JOIN_FAILURE, now)
        else:
            self._dues[participant] = min(due, participant.join_due)
