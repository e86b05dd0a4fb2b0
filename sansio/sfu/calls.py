"""Calls of methods of a participant, made by the server for whoever asked over HTTP (PerformRpc).

The call goes down as a data packet, under an identity that nobody else has; the acknowledgement and the response that
come back to it are not for the others in the room.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import proto
from ..base.contract import INF
from ..base.limits import SFU_CALLS
from .participant import ServerParticipant

if TYPE_CHECKING:
    from ..proto import models

ACK_TIMEOUT = 7.0
"""Seconds for the participant to say that it has the call."""
RESPONSE_TIMEOUT = 15.0
"""Seconds for its response, where the request does not say."""
LONGEST_PAYLOAD = 15 << 10

TOO_LARGE = (1402, "Request payload too large", "")
NOT_ACKNOWLEDGED = (1501, "Connection timeout", "")
NOT_ANSWERED = (1502, "Response timeout", "")
GONE = (1503, "Recipient disconnected", "")
"""Code, message and data, as LiveKit's clients have them."""


class CallEnded(NamedTuple):
    """What became of call ``number``: its ``payload``, unless there is an ``error``. ``kind``: type of the answer."""

    number: int
    kind: str
    payload: str = ""
    error: tuple[int, str, str] | None = None


class _Call:
    __slots__ = ("ack_due", "kind", "number", "participant", "response_due")

    def __init__(self, number: int, kind: str, participant: ServerParticipant, timeout: float, now: float) -> None:
        self.number = number
        self.kind = kind
        self.participant = participant
        self.ack_due = now + ACK_TIMEOUT
        self.response_due = now + timeout


class RoomCalls:
    """Those that are under way in a room. What becomes of them goes to ``ended``; ``due`` is when ``tick`` has to be
    called, INF where there are none."""

    def __init__(self, ended: deque[CallEnded]) -> None:
        self.ended = ended
        self.due = INF
        self._calls: dict[str, _Call] = {}

    @property
    def full(self) -> bool:
        """Whether no further call can be made for now."""
        return len(self._calls) >= SFU_CALLS

    def begin(
        self, number: int, kind: str, caller: str, participant: ServerParticipant, request: Any, now: float
    ) -> None:
        """Call number ``number``, as ``caller``."""
        if len(request.payload.encode()) > LONGEST_PAYLOAD:
            self.ended.append(CallEnded(number, kind, error=TOO_LARGE))
            return
        milliseconds = request.response_timeout_ms or int(RESPONSE_TIMEOUT * 1000)
        self._calls[caller] = _Call(number, kind, participant, milliseconds / 1000, now)
        self._schedule()
        packet = proto.models.DataPacket(kind=proto.models.DataPacket.RELIABLE, participant_identity=caller)
        rpc = packet.rpc_request
        rpc.id, rpc.method, rpc.payload = caller, request.method, request.payload
        rpc.response_timeout_ms, rpc.version = milliseconds, 1
        participant.send_data(packet.SerializeToString(deterministic=True), True, now)
        participant.wake()

    def take(self, sender: ServerParticipant, packet: models.DataPacket) -> bool:
        """Whether a packet was for a call of ours; it is done with then."""
        ack, response = packet.rpc_ack, packet.rpc_response  # the one that it is not says nothing
        caller = ack.request_id or response.request_id
        call = self._calls.get(caller)
        if call is None or call.participant is not sender:
            return False
        if ack.request_id:
            call.ack_due = INF
            self._schedule()
        elif response.HasField("error"):
            error = response.error
            self._end(caller, "", (error.code, error.message, error.data))
        else:
            self._end(caller, response.payload, None)
        return True

    def forget(self, participant: ServerParticipant) -> None:
        """Somebody has left, and will not answer."""
        for caller in [caller for caller, call in self._calls.items() if call.participant is participant]:
            self._end(caller, "", GONE)

    def tick(self, now: float) -> None:
        """Give up what took too long."""
        for caller, call in list(self._calls.items()):
            if call.ack_due <= now:
                self._end(caller, "", NOT_ACKNOWLEDGED)
            elif call.response_due <= now:
                self._end(caller, "", NOT_ANSWERED)

    def _end(self, caller: str, payload: str, error: tuple[int, str, str] | None) -> None:
        call = self._calls.pop(caller)
        self.ended.append(CallEnded(call.number, call.kind, payload, error))
        self._schedule()

    def _schedule(self) -> None:
        self.due = min([min(call.ack_due, call.response_due) for call in self._calls.values()], default=INF)
