"""Remote procedure calls: any packets of others, between calls and answers of ours.

The bytes are records: one byte for what happens, one for a number, one for a length, and as many bytes: a packet (of
any payload; a request id "#3" stands for that of our third call), or what it takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fuzz._turn import settle
from sansio import proto
from sansio.base import limits
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.wallclock import WallClock
from sansio.room.data import DataReceiver
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.rpc import ID, REQUEST_TOPIC, RESPONSE_TOPIC, Rpc, RpcCancelled, RpcInvocation, RpcInvoked
from sansio.room.rpc_error import RpcError
from sansio.room.state import RoomState
from sansio.room.stream_in import IncomingStreams
from sansio.room.stream_out import OutgoingStreams

PEOPLE = ("bob", "carol", "ghost", "alice")


class Hold:
    def release(self) -> None:
        pass


class Desk:
    """One side, with accounts of what was asked and answered."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outbox: deque[Any] = deque()
        self.room = 100
        state = RoomState(self.outbox)
        others: list[Any] = [
            {"identity": "bob", "sid": "PA_bob"},
            {"identity": "carol", "sid": "PA_carol", "client_protocol": 2, "capabilities": [2]},
        ]
        own: Any = {"identity": "alice", "sid": "PA_alice"}
        state.apply_join(proto.rtc.JoinResponse(participant=own, other_participants=others))
        self.outgoing = OutgoingStreams(state, Entropy(b"streams"), WallClock())
        self.rpc = Rpc(state, self.outbox, Entropy(b"rpc"), self.outgoing.send_text)
        self.rpc.methods["m"] = "handler"
        incoming = IncomingStreams(self.outbox, lambda size: Hold())
        incoming.intercept(REQUEST_TOPIC, self.rpc.handle_request_stream, 1000)
        incoming.intercept(RESPONSE_TOPIC, self.rpc.handle_response_stream, 1000)
        self.incoming = incoming
        self.receiver = DataReceiver(state)
        self.receiver.handlers.update(
            rpc_request=self.rpc.handle_request,
            rpc_ack=self.rpc.handle_ack,
            rpc_response=self.rpc.handle_response,
            stream_header=incoming.handle_header,
            stream_chunk=incoming.handle_chunk,
            stream_trailer=incoming.handle_trailer,
        )
        self.pending: dict[int, str] = {}
        self.running: list[RpcInvocation] = []
        self.ids: list[str] = []
        self.acknowledged: set[tuple[str, str]] = set()

    # ------------------------------------------------------------------ the lane

    @property
    def urgent_room(self) -> bool:
        return self.room > 0

    def send_packet(self, packet: Any, reliable: bool, urgent: bool, now: float) -> bool:
        assert self.room > 0
        self.room -= 1
        (to,) = packet.destination_identities
        match packet.WhichOneof("value"):
            case "rpc_ack":
                self.acknowledged.add((to, packet.rpc_ack.request_id))
            case "rpc_response":
                assert (to, packet.rpc_response.request_id) in self.acknowledged
                assert len(packet.rpc_response.error.message.encode()) <= 256
        return True

    # ------------------------------------------------------------------ what happens

    def call(self, number: int, payload: str) -> None:
        token = len(self.ids)
        with suppress(RpcError, LocalProtocolError):
            known = set(self.rpc._calls)
            self.rpc.call(token, PEOPLE[number % 4], "m", payload, 0.1 + number / 10, self.now)
            (name,) = set(self.rpc._calls) - known
            self.ids.append(name)
            self.pending[token] = name

    def packet(self, sender: int, data: bytes) -> None:
        with suppress(proto.DecodeError):
            packet = proto.models.DataPacket.FromString(data)
            kind = packet.WhichOneof("value")
            packet.participant_identity = ("", *PEOPLE)[sender % 5]
            if kind in ("rpc_ack", "rpc_response"):
                part = getattr(packet, kind)
                part.request_id = self.name(part.request_id)
            elif kind == "stream_header" and ID in packet.stream_header.attributes:
                attributes = packet.stream_header.attributes
                attributes[ID] = self.name(attributes[ID])
            self.receiver.receive(packet.SerializeToString(), True, self.now)

    def name(self, text: str) -> str:
        which = text[1:]
        if text[:1] == "#" and which.isascii() and which.isdecimal() and int(which) < len(self.ids):
            return self.ids[int(which)]
        return text

    def operate(self, what: int, number: int, content: bytes) -> None:
        text = content.decode(errors="replace")
        if what < 4:
            self.packet(number, content)
        elif what == 4:
            self.call(number, text * (1 + number))
        elif what == 5:
            self.room = number
            self.rpc.pump(self, self.now)
        elif what == 6:
            self.now += number / 20
        elif what == 7 and self.running:
            self.rpc.respond(self.running.pop(number % len(self.running)), text * (1 + number), self.now)
        elif what == 8 and self.running:
            self.rpc.fail(self.running.pop(number % len(self.running)), RpcError(number, text, text), self.now)
        elif what == 9:
            self.rpc.cancel(number)
            self.pending.pop(number, None)
        elif what == 10:
            self.rpc.participant_left(PEOPLE[number % 4], "PA_bob")
        elif what == 11 and number > 200:
            self.outgoing.restarted()
            self.incoming.restarted(self.now)
            self.rpc.restarted()
            self.drain()
            assert not self.running

    def drain(self) -> None:
        while self.outbox:
            match self.outbox.popleft():
                case RpcInvoked(invocation=invocation):
                    assert invocation.handler == "handler"
                    assert not invocation.owner
                    invocation.owner = True
                    self.running.append(invocation)
                case RpcCancelled(invocation=invocation):
                    assert invocation.done
                    self.running.remove(invocation)
                case RequestDone(token=token, result=result):
                    assert isinstance(result, str)
                    del self.pending[token]  # and never again
                case RequestFailed(token=token, error=error):
                    assert isinstance(error, RpcError)
                    del self.pending[token]

    def check(self) -> None:
        self.incoming.advance(self.now)
        settle(self.rpc, self.now)
        self.drain()
        assert {call.token for call in self.rpc._calls.values()} == set(self.pending)
        assert not any(invocation.done for invocation in self.running)
        assert len(self.running) == len(self.rpc._invocations) == sum(self.rpc._callers.values())
        assert len(self.running) <= limits.RPC_INVOCATIONS


def records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 3 <= len(data):
        what, number, length = data[at : at + 3]
        yield what % 12, number, data[at + 3 : at + 3 + length]
        at += 3 + length


def one(data: bytes) -> None:
    desk = Desk()
    for what, number, content in records(data):
        desk.operate(what, number, content)
        desk.check()
    desk.now += 10_000.0
    desk.check()
    assert not desk.pending
    assert not desk.running
