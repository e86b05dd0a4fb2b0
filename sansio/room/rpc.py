"""Remote procedure calls, ours and those of others.

Two forms travel. Version 1 is one packet each way with a payload of at most 15 360 bytes. Version 2, for peers from
client_protocol 1 on, puts payloads of any size into text streams. Other clients use version 2 with whoever understands
it; here small payloads go in version 1 to everybody, who has to take it (calls of the server have no other form): that
costs half as much. Both are acknowledged, and refused, by packets of their own. An acknowledgement leaves before the
method runs: the caller waits 7 s for it, and for the answer as long as it likes.

A call is known by its id together with the identity it went to, so nobody can answer for another. Packets wait here
while the urgent lane to the server is full. What is answered is bounded by what is being answered: once
``RPC_INVOCATIONS`` are under way, or while acknowledgements cannot leave, further calls get an error or nothing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from .. import proto
from ..base import limits
from ..base.contract import INF
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError
from .requests import RequestDone, RequestFailed
from .rpc_error import RpcError, RpcErrorCode
from .stream_info import StreamFailure

if TYPE_CHECKING:
    from ..proto import models
    from .state import RoomState
    from .stream_in import IncomingStream

REQUEST_TOPIC = "lk.rpc_request"
RESPONSE_TOPIC = "lk.rpc_response"
ID, METHOD = "lk.rpc_request_id", "lk.rpc_request_method"
TIMEOUT, VERSION = "lk.rpc_request_response_timeout_ms", "lk.rpc_request_version"

PAYLOAD_BYTES = 15_360
"""Payload of version 1, and data of an error."""
MESSAGE_BYTES = 256
"""Message of an error."""
ROUND_TRIP = 7.0
"""Seconds for the acknowledgement."""
SHORTEST = ROUND_TRIP + 1.0
"""Seconds that the other side is given at least, however short the caller waits."""
DEFAULT_TIMEOUT = 15.0
"""Seconds for the answer, if nothing is said."""
STREAMS_PROTOCOL = 1
"""From this client_protocol on a peer takes version 2."""
STREAM_FROM = 1000
"""Bytes of payload from which a stream is worth its while: compression begins to help."""
BUSY = 0.1
"""Seconds after a call in which the next one is expected."""
OLDEST_SERVER = (1, 8, 0)
UNRELEASED = (0, 0, 0)
"""What servers call themselves that were built for development."""


class TextStream(Protocol):
    """A text stream of ours, as far as it concerns us."""

    def abort(self, reason: str) -> models.DataPacket | None:
        """The packet that says that no more will come."""


class SendText(Protocol):
    """Makes a text stream: itself, and its packets."""

    def __call__(
        self,
        text: str,
        now: float,
        *,
        topic: str,
        attributes: dict[str, str],
        destination_identities: list[str],
    ) -> tuple[TextStream, Iterator[models.DataPacket]]: ...


class UrgentLane(Protocol):
    """Where packets go that are to be sent before others."""

    @property
    def urgent_room(self) -> bool:
        """Whether it takes one now."""

    def send_packet(self, packet: models.DataPacket, reliable: bool, urgent: bool, now: float) -> bool:
        """Take one. Raises LocalProtocolError when it is too large."""


class RpcInvocation:
    """A call of somebody to a method of ours; answered by ``respond`` or ``fail`` of the machine, once.

    ``response_timeout`` is in seconds; at ``deadline`` the caller has given up. ``handler`` is what was registered,
    ``owner`` is for whoever runs it. ``done``: answered, or not wanted any more.
    """

    __slots__ = (
        "request_id",
        "caller_identity",
        "method",
        "payload",
        "response_timeout",
        "deadline",
        "handler",
        "owner",
        "done",
        "_sid",
        "_streamed",
    )

    def __init__(
        self,
        request_id: str,
        caller_identity: str,
        method: str,
        payload: str,
        response_timeout: float,
        handler: Any,
        now: float,
        *,
        sid: str = "",
        streamed: bool = False,
    ) -> None:
        self.request_id = request_id
        self.caller_identity = caller_identity
        self.method = method
        self.payload = payload
        self.response_timeout = response_timeout
        self.deadline = now + response_timeout
        self.handler = handler
        self.owner: Any = None
        self.done = False
        self._sid = sid
        self._streamed = streamed

    def __repr__(self) -> str:
        return f"<RpcInvocation {self.method!r} by {self.caller_identity!r}{' done' if self.done else ''}>"


@frozen(eq=False)
class RpcInvoked:
    """A method of ours is called; it is acknowledged already."""

    invocation: RpcInvocation


@frozen(eq=False)
class RpcCancelled:
    """Nobody waits for the answer any more: its time is over, the caller has left, or the session has ended."""

    invocation: RpcInvocation


class _Call:
    __slots__ = ("token", "id", "identity", "acknowledge_by", "answer_by", "over")

    def __init__(self, token: int, id: str, identity: str, answer_by: float) -> None:
        self.token = token
        self.id = id
        self.identity = identity
        self.acknowledge_by = INF
        self.answer_by = answer_by
        self.over = False


class _Text:
    """A text stream that is being sent. ``call``: whose request it is."""

    __slots__ = ("stream", "packets", "call", "begun")

    def __init__(self, stream: TextStream, packets: Iterator[models.DataPacket], call: _Call | None) -> None:
        self.stream = stream
        self.packets = packets
        self.call = call
        self.begun = False


class Rpc:
    """Calls under way, both ways. ``due`` is when ``advance`` has to be called; ``waiting`` says that ``pump`` has
    packets. A call ends in RequestDone or RequestFailed (with an RpcError) in ``outbox``, unless it was cancelled.
    """

    def __init__(
        self,
        state: RoomState,
        outbox: deque[Any],
        entropy: Entropy,
        send_text: SendText | None = None,
    ) -> None:
        self.outbox = outbox
        self.counters = Counters()
        self.due = INF
        self.busy_until = -INF
        """Until then calls are likely to go on, and who makes them is waiting."""
        self.methods: dict[str, Any] = {}
        """Handlers by the names of their methods."""
        self._state = state
        self._entropy = entropy
        self._send_text = send_text
        self._calls: dict[str, _Call] = {}
        self._invocations: dict[tuple[str, str], RpcInvocation] = {}
        self._callers: dict[str, int] = {}
        self._replies: deque[models.DataPacket] = deque()
        self._requests: dict[str, tuple[models.DataPacket, _Call]] = {}
        self._texts: deque[_Text] = deque()

    # ------------------------------------------------------------------ calling

    def call(self, token: int, identity: str, method: str, payload: str, response_timeout: float, now: float) -> None:
        """Call a method of somebody. Raises LocalProtocolError for arguments that cannot be right, and RpcError when
        it is certain from the start that the call must fail.
        """
        size = self._check(identity, method, payload, response_timeout)
        peer = self._state.remote_participants.get(identity)
        streamed = peer is not None and self._streams(peer.client_protocol >= STREAMS_PROTOCOL, size)
        if not streamed and size > PAYLOAD_BYTES:
            raise RpcError.of(
                RpcErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
                f"{size} bytes of payload, more than the {PAYLOAD_BYTES} that {identity!r} takes",
            )
        if len(self._calls) >= limits.RPC_CALLS:
            raise RpcError.of(RpcErrorCode.SEND_FAILED, f"{limits.RPC_CALLS} calls are under way already")
        id = self._entropy.uuid()
        call = _Call(token, id, identity, now + response_timeout)
        timeout = max(response_timeout, SHORTEST) * 1000
        if streamed:
            attributes = {ID: id, METHOD: method, TIMEOUT: str(int(min(timeout, 0xFFFFFFFF))), VERSION: "2"}
            try:
                self._stream(REQUEST_TOPIC, payload, attributes, identity, call, now)
            except LocalProtocolError as error:
                raise RpcError.of(RpcErrorCode.SEND_FAILED, str(error)) from None
        else:
            packet = proto.models.DataPacket(destination_identities=[identity])
            request = packet.rpc_request
            request.id = id
            request.method = method
            request.payload = payload
            request.response_timeout_ms = int(min(timeout, 0xFFFFFFFF))
            request.version = 1
            self._requests[id] = packet, call
        self._calls[id] = call
        self.busy_until = now + BUSY
        self.due = min(self.due, call.answer_by)

    def _check(self, identity: str, method: str, payload: str, response_timeout: float) -> int:
        """The bytes of the payload."""
        sizes = []
        for what, value in (("identity", identity), ("method", method), ("payload", payload)):
            if not isinstance(value, str):
                raise LocalProtocolError(f"the {what} of a call must be str, not {type(value).__name__}")
            try:
                sizes.append(len(value.encode()))
            except UnicodeEncodeError as error:
                raise LocalProtocolError(f"the {what} of a call cannot be sent: {error}") from None
        if not 0 < sizes[0] <= limits.RPC_NAME or not 0 < sizes[1] <= limits.RPC_NAME:
            raise LocalProtocolError(f"identity and method of a call have 1 to {limits.RPC_NAME} bytes each")
        if not (isinstance(response_timeout, int | float) and isfinite(response_timeout) and response_timeout > 0):
            raise LocalProtocolError(f"response_timeout must be a positive number of seconds, not {response_timeout}")
        if identity == self._state.local_participant.identity:
            raise RpcError.of(RpcErrorCode.RECIPIENT_NOT_FOUND, "the server gives nobody's packets back to itself")
        permissions = self._state.local_participant.permissions
        if permissions is not None and not permissions.can_publish_data:
            raise RpcError.of(RpcErrorCode.SEND_FAILED, "the server does not let us publish data")
        version = self._state.server_info.version
        numbers = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", version)
        if numbers is not None and UNRELEASED < tuple(map(int, numbers.groups())) < OLDEST_SERVER:
            raise RpcError.of(RpcErrorCode.UNSUPPORTED_SERVER, f"it is version {version}, and 1.8.0 is needed")
        return sizes[2]

    def cancel(self, token: int) -> None:
        """Forget a call: what is not sent yet stays unsent, and a late answer is dropped."""
        for call in self._calls.values():
            if call.token == token:
                self._forget(call)
                return

    def _forget(self, call: _Call) -> None:
        call.over = True
        del self._calls[call.id]
        self._requests.pop(call.id, None)

    def _fail(self, call: _Call, error: RpcError) -> None:
        self._forget(call)
        self.outbox.append(RequestFailed(call.token, error))

    # ------------------------------------------------------------------ answers to our calls

    def _find(self, id: str, identity: str) -> _Call | None:
        call = self._calls.get(id)
        if call is None or identity not in (call.identity, ""):  # hidden participants have no identity
            self.counters.add("rpc_reply_to_nothing" if call is None else "rpc_reply_of_another")
            return None
        return call

    def handle_ack(self, packet: models.DataPacket, now: float) -> None:
        """The other side has the request."""
        call = self._find(packet.rpc_ack.request_id, packet.participant_identity)
        if call is not None:
            call.acknowledge_by = INF

    def handle_response(self, packet: models.DataPacket, now: float) -> None:
        """An answer in version 1, or an error in any."""
        response = packet.rpc_response
        call = self._find(response.request_id, packet.participant_identity)
        if call is None:
            return
        kind = response.WhichOneof("value")
        if kind == "error":
            error = response.error
            self._fail(call, RpcError(error.code, error.message, error.data))
        elif kind == "compressed_payload":  # which no client is known to send
            self._fail(call, RpcError.of(RpcErrorCode.UNSUPPORTED_VERSION, "the answer is compressed"))
        else:
            self._forget(call)
            self.outbox.append(RequestDone(call.token, response.payload))

    def handle_response_stream(self, stream: IncomingStream, now: float) -> None:
        """An answer in version 2 has come to its end, well or not."""
        call = self._find(stream.info.attributes.get(ID, ""), stream.identity)
        if call is None:
            return
        if stream.error is not None:
            code = _CODES.get(stream.error.failure, RpcErrorCode.APPLICATION_ERROR)
            self._fail(call, RpcError.of(code, str(stream.error)))
        else:
            self._forget(call)
            self.outbox.append(RequestDone(call.token, stream.whole))

    # ------------------------------------------------------------------ calls of others

    def handle_request(self, packet: models.DataPacket, now: float) -> None:
        """A call in version 1."""
        request = packet.rpc_request
        error = None
        if request.version != 1 or request.compressed_payload:
            error = RpcError.of(RpcErrorCode.UNSUPPORTED_VERSION)
        timeout = request.response_timeout_ms / 1000
        caller = packet.participant_identity, packet.participant_sid
        self._invoke(caller, request.id, request.method, request.payload, timeout, error, False, now)

    def handle_request_stream(self, stream: IncomingStream, now: float) -> None:
        """A call in version 2 has come to its end, well or not."""
        attributes = stream.info.attributes
        error = None
        if stream.error is not None:
            large = stream.error.failure is StreamFailure.TOO_LARGE
            code = RpcErrorCode.REQUEST_PAYLOAD_TOO_LARGE if large else RpcErrorCode.APPLICATION_ERROR
            error = RpcError.of(code, str(stream.error))
        elif attributes.get(VERSION) != "2":
            error = RpcError.of(RpcErrorCode.UNSUPPORTED_VERSION)
        text = attributes.get(TIMEOUT, "")
        timeout = int(text) / 1000 if re.fullmatch(r"[0-9]{1,10}", text) else 0.0
        payload = stream.whole if isinstance(stream.whole, str) else ""
        id, method = attributes.get(ID, ""), attributes.get(METHOD, "")
        self._invoke((stream.identity, stream.sid), id, method, payload, timeout, error, True, now)

    def _invoke(
        self,
        who: tuple[str, str],
        id: str,
        method: str,
        payload: str,
        timeout: float,
        error: RpcError | None,
        streamed: bool,
        now: float,
    ) -> None:
        caller, sid = who
        key = caller, id
        if not id or not caller:
            self.counters.add("rpc_request_anonymous")
            return
        if key in self._invocations:
            self.counters.add("rpc_request_duplicate")
            return
        if len(self._replies) >= limits.RPC_REPLIES:
            self.counters.add("rpc_request_dropped")
            return
        packet = proto.models.DataPacket(destination_identities=[caller])
        packet.rpc_ack.request_id = id
        self._replies.append(packet)
        if error is None and method not in self.methods:
            error = RpcError.of(RpcErrorCode.UNSUPPORTED_METHOD)
        count = self._callers.get(caller, 0)
        if error is None and (
            len(self._invocations) >= limits.RPC_INVOCATIONS or count >= limits.RPC_INVOCATIONS_PER_CALLER
        ):
            self.counters.add("rpc_request_refused")
            error = RpcError.of(RpcErrorCode.APPLICATION_ERROR, "too many calls at once")
        if error is not None:
            self._send_error(caller, id, error)
            return
        handler = self.methods[method]
        timeout = timeout or DEFAULT_TIMEOUT
        invocation = RpcInvocation(id, caller, method, payload, timeout, handler, now, sid=sid, streamed=streamed)
        self._invocations[key] = invocation
        self._callers[caller] = count + 1
        self.busy_until = now + BUSY
        self.due = min(self.due, invocation.deadline)
        self.outbox.append(RpcInvoked(invocation))

    def respond(self, invocation: RpcInvocation, payload: str, now: float) -> None:
        """Answer a call. Raises LocalProtocolError unless the payload is text; does nothing when nobody waits.

        An answer that the caller cannot take becomes the error RESPONSE_PAYLOAD_TOO_LARGE for it.
        """
        if not isinstance(payload, str):
            raise LocalProtocolError(f"a method must return str, not {type(payload).__name__}")
        try:
            size = len(payload.encode())
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"what the method returned cannot be sent: {error}") from None
        if not self._end(invocation):
            return
        caller, id = invocation.caller_identity, invocation.request_id
        peer = self._state.remote_participants.get(caller)
        understood = invocation._streamed or (peer is not None and peer.client_protocol >= STREAMS_PROTOCOL)
        if self._streams(understood, size):
            try:
                self._stream(RESPONSE_TOPIC, payload, {ID: id}, caller, None, now)
            except LocalProtocolError as error:
                self._send_error(caller, id, RpcError.of(RpcErrorCode.SEND_FAILED, str(error)))
        elif size > PAYLOAD_BYTES:
            detail = f"{size} bytes, more than {PAYLOAD_BYTES}"
            self._send_error(caller, id, RpcError.of(RpcErrorCode.RESPONSE_PAYLOAD_TOO_LARGE, detail))
        else:
            packet = proto.models.DataPacket(destination_identities=[caller])
            packet.rpc_response.request_id = id
            packet.rpc_response.payload = payload
            self._replies.append(packet)

    def fail(self, invocation: RpcInvocation, error: RpcError | None, now: float) -> None:
        """Let a call fail, with APPLICATION_ERROR unless told otherwise; does nothing when nobody waits."""
        if self._end(invocation):
            error = error or RpcError.of(RpcErrorCode.APPLICATION_ERROR)
            self._send_error(invocation.caller_identity, invocation.request_id, error)

    def _send_error(self, caller: str, id: str, error: RpcError) -> None:
        packet = proto.models.DataPacket(destination_identities=[caller])
        packet.rpc_response.request_id = id
        told = packet.rpc_response.error
        code = error.code
        told.code = code if isinstance(code, int) and 0 <= code < 1 << 32 else RpcErrorCode.APPLICATION_ERROR
        told.message = _cut(error.message, MESSAGE_BYTES)
        told.data = _cut(error.data, PAYLOAD_BYTES)
        self._replies.append(packet)

    def _end(self, invocation: RpcInvocation) -> bool:
        """The invocation is over. False if it was already."""
        if invocation.done:
            return False
        invocation.done = True
        caller = invocation.caller_identity
        del self._invocations[caller, invocation.request_id]
        count = self._callers[caller] - 1
        if count:
            self._callers[caller] = count
        else:
            del self._callers[caller]
        return True

    def _cancel(self, invocation: RpcInvocation) -> None:
        self._end(invocation)
        self.outbox.append(RpcCancelled(invocation))

    # ------------------------------------------------------------------ who goes, and when

    def participant_left(self, identity: str, sid: str) -> None:
        """Somebody has left: it will not answer, and it does not wait for answers.

        Who comes back at once may have called again before we are told that it had left: ``sid`` tells the sessions
        apart.
        """
        for call in [call for call in self._calls.values() if call.identity == identity]:
            self._fail(call, RpcError.of(RpcErrorCode.RECIPIENT_DISCONNECTED))
        for one in [one for one in self._invocations.values() if one.caller_identity == identity]:
            if one._sid in ("", sid):
                self._cancel(one)

    def restarted(self) -> None:
        """The session has begun anew: to the others we had left, so they have forgotten our calls and theirs to us."""
        for call in [call for call in self._calls.values() if call.id not in self._requests]:
            detail = "the connection was made anew during the call, which may have been carried out"
            self._fail(call, RpcError.of(RpcErrorCode.SEND_FAILED, detail))
        self._replies.clear()
        self._texts.clear()
        self._cancel_all()

    def ended(self) -> None:
        """The session is over. Whoever waits for our calls learns that from its end."""
        self._calls.clear()
        self._requests.clear()
        self._replies.clear()
        self._texts.clear()
        self._cancel_all()

    def _cancel_all(self) -> None:
        for invocation in list(self._invocations.values()):
            self._cancel(invocation)

    def advance(self, now: float) -> float:
        """End what has waited too long; the next deadline."""
        if self.due > now:
            return self.due
        due = INF
        for call in list(self._calls.values()):
            # Both at once means that nobody acknowledged, which says more.
            if call.acknowledge_by <= now:
                self._fail(call, RpcError.of(RpcErrorCode.CONNECTION_TIMEOUT))
            elif call.answer_by <= now:
                self._fail(call, RpcError.of(RpcErrorCode.RESPONSE_TIMEOUT))
            else:
                due = min(due, call.acknowledge_by, call.answer_by)
        for invocation in list(self._invocations.values()):
            if invocation.deadline <= now:
                self._cancel(invocation)
            else:
                due = min(due, invocation.deadline)
        self.due = due
        return due

    # ------------------------------------------------------------------ sending

    @property
    def waiting(self) -> bool:
        """Whether ``pump`` has packets."""
        return bool(self._replies or self._requests or self._texts)

    def pump(self, lane: UrgentLane, now: float) -> None:
        """Send what waits, as far as there is room: replies first, the streams last and in turn."""
        replies, requests, texts = self._replies, self._requests, self._texts
        while replies and lane.urgent_room:
            self._put(lane, replies.popleft(), None, now)
        while requests and lane.urgent_room:
            packet, call = requests.pop(next(iter(requests)))
            if self._put(lane, packet, call, now):
                self._sent(call, now)
        while texts and lane.urgent_room:
            text = texts.popleft()
            if text.call is not None and text.call.over:
                last = text.stream.abort("the call was cancelled")
                if last is not None and text.begun:
                    self._put(lane, last, None, now)
                continue
            part = next(text.packets, None)
            if part is None:
                if text.call is not None:
                    self._sent(text.call, now)
            elif self._put(lane, part, text.call, now):
                text.begun = True
                texts.append(text)
            else:
                text.stream.abort("a packet was too large")

    def _put(self, lane: UrgentLane, packet: models.DataPacket, call: _Call | None, now: float) -> bool:
        """Send one packet. One that is too large for the server, as none should be, ends its call."""
        try:
            return lane.send_packet(packet, True, True, now)
        except LocalProtocolError as error:
            self.counters.add("rpc_packet_too_large")
            if call is not None:
                self._fail(call, RpcError.of(RpcErrorCode.SEND_FAILED, str(error)))
            return False

    def _sent(self, call: _Call, now: float) -> None:
        call.acknowledge_by = now + ROUND_TRIP
        self.due = min(self.due, call.acknowledge_by)

    def _streams(self, understood: bool, size: int) -> bool:
        """Whether a payload of this size goes as a stream to somebody who does or does not understand that."""
        return understood and size >= STREAM_FROM and self._send_text is not None

    def _stream(
        self, topic: str, text: str, attributes: dict[str, str], to: str, call: _Call | None, now: float
    ) -> None:
        assert self._send_text is not None
        stream, packets = self._send_text(text, now, topic=topic, attributes=attributes, destination_identities=[to])
        self._texts.append(_Text(stream, packets, call))

    def diagnostics(self) -> dict[str, Any]:
        """Counters, JSON-ready."""
        return {"calls": len(self._calls), "invocations": len(self._invocations), **self.counters.snapshot()}


_CODES = {
    StreamFailure.SENDER_LEFT: RpcErrorCode.RECIPIENT_DISCONNECTED,
    StreamFailure.TOO_LARGE: RpcErrorCode.RESPONSE_PAYLOAD_TOO_LARGE,
    StreamFailure.RECONNECTED: RpcErrorCode.SEND_FAILED,
}
"""What the failure of a stream means for the call that it would have answered."""


def _cut(text: object, size: int) -> str:
    """As much of a text as fits, not cut inside a character."""
    return str(text).encode(errors="replace")[:size].decode(errors="ignore")
