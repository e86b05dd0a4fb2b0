"""Remote procedure calls, both ways."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from sansio import proto
from sansio.base.entropy import Entropy
from sansio.room.rpc import ID as REQUEST_ID
from sansio.room.rpc import METHOD, TIMEOUT, VERSION, Rpc, RpcInvocation
from sansio.room.rpc_error import RpcError
from sansio.room.state import RoomState
from sansio.room.stream_info import StreamError, StreamFailure
from sansio.testing.conformance import Input, Script, Subject, call

Packet = proto.models.DataPacket
PEOPLE = ("bob", "carol", "ghost", "alice", "")


class Text:
    """A stream of ours."""

    def abort(self, reason: str) -> Any:
        return Packet(stream_trailer={"reason": reason})


class Desk(Rpc):
    """With a lane that takes some packets now and then, and handlers that answer when they are told to."""

    def __init__(self, entropy: Entropy) -> None:
        state = RoomState(deque())
        others: list[Any] = [
            {"identity": "bob", "sid": "PA_bob"},
            {"identity": "carol", "sid": "PA_carol", "client_protocol": 2},
        ]
        own: Any = {"identity": "alice", "sid": "PA_alice"}
        state.apply_join(proto.rtc.JoinResponse(participant=own, other_participants=others))
        super().__init__(state, deque(), entropy, self.make_text)
        self.methods["m"] = None
        self.room = 0
        self.tokens = 0
        self.ids: deque[str] = deque(maxlen=20)

    def make_text(self, text: str, now: float, **header: Any) -> tuple[Text, Iterator[Any]]:
        self.ids.append(header["attributes"][REQUEST_ID])
        return Text(), iter([Packet(stream_header={}), Packet(stream_chunk={"content": text.encode()})])

    @property
    def urgent_room(self) -> bool:
        return self.room > 0

    def send_packet(self, packet: Any, reliable: bool, urgent: bool, now: float) -> bool:
        self.room -= 1
        if packet.HasField("rpc_request"):
            self.ids.append(packet.rpc_request.id)
        return True

    def make_room(self, packets: int, now: float) -> None:
        self.room = packets
        self.pump(self, now)

    def try_call(self, identity: str, payload: str, timeout: float, now: float) -> None:
        self.tokens += 1
        with suppress(RpcError):
            self.call(self.tokens, identity, "m", payload, timeout, now)

    def reply(self, which: int, sender: str, kind: int, now: float) -> None:
        name = self.ids[which] if which < len(self.ids) else "nothing"
        if kind == 0:
            self.handle_ack(Packet(participant_identity=sender, rpc_ack={"request_id": name}), now)
        elif kind == 1:
            self.handle_response_stream(self.stream({REQUEST_ID: name}, sender, which), now)
        else:
            content: Any = {"error": {"code": kind}} if kind == 2 else {"payload": "x"}
            self.handle_response(Packet(participant_identity=sender, rpc_response={"request_id": name, **content}), now)

    def request(self, name: str, sender: str, method: str, streamed: bool, now: float) -> None:
        if streamed:
            attributes = {REQUEST_ID: name, METHOD: method, TIMEOUT: "5000", VERSION: "2"}
            self.handle_request_stream(self.stream(attributes, sender, len(sender)), now)
        else:
            asked = {"id": name, "method": method, "version": 1, "response_timeout_ms": 5000}
            self.handle_request(Packet(participant_identity=sender, rpc_request=asked), now)

    @staticmethod
    def stream(attributes: dict[str, str], sender: str, luck: int) -> Any:
        error = StreamError(StreamFailure.TOO_LARGE) if luck == 3 else None
        return SimpleNamespace(
            identity=sender,
            sid="PA_x",
            info=SimpleNamespace(attributes=attributes),
            whole=None if error else "x",
            error=error,
        )

    def answer(self, which: int, payload: str, now: float) -> None:
        found: list[RpcInvocation] = list(self._invocations.values())
        if which < len(found):
            if payload:
                self.respond(found[which], payload, now)
            else:
                self.fail(found[which], None, now)

    def participant_gone(self, identity: str, now: float) -> None:
        self.participant_left(identity, "PA_x")


def script(entropy: Entropy) -> Script:
    turn = yield None
    while True:
        del turn
        person, which = entropy.choice(PEOPLE), entropy.below(6)
        payload = "x" * (entropy.below(4) * 6000)
        match entropy.below(12):
            case 0 | 1 if person:
                turn = yield call("try_call", person, payload, 0.5 + entropy.below(20))
            case 2 | 3 | 4:
                name, method = entropy.choice(["1", "2", "3", ""]), entropy.choice(["m", "m", "n"])
                turn = yield call("request", name, person, method, bool(entropy.below(2)))
            case 5 | 6:
                turn = yield call("reply", which, person, entropy.below(4))
            case 7:
                turn = yield call("answer", which, payload)
            case 8 if not entropy.below(4):
                turn = yield entropy.choice([Input("restarted", timed=False), call("participant_gone", person)])
            case 9:
                turn = yield Input("cancel", (entropy.below(20),), timed=False)
            case _:
                turn = yield call("make_room", entropy.below(5))


def misuse(machine: Rpc) -> list[Input]:
    return [
        call("call", 1, "", "m", "x", 1.0),
        call("call", 1, "bob", "m", "x", -1.0),
        call("respond", None, 5),
    ]


SUBJECTS = {
    "room.rpc.Rpc": [
        Subject(
            make=Desk,
            script=script,
            misuse=misuse,
            drains=("outbox",),
            closed=lambda machine: False,
            backwards=False,
        )
    ],
}
