"""Calls that the server makes for whoever asked over HTTP."""

from __future__ import annotations

import json

import pytest

from sansio import proto
from sansio.base.limits import SFU_CALLS
from sansio.sfu.calls import ACK_TIMEOUT, LONGEST_PAYLOAD, RESPONSE_TIMEOUT
from sansio.sfu.server import AnswerHttp
from tests.unit.sfu.door import Door
from tests.unit.sfu.test_api import token

models = proto.models
CALL = {"room": "room", "destination_identity": "alice", "method": "m", "payload": "p"}


class Caller:
    """Somebody who asks over HTTP, and alice, to whom the call goes; her media is not up, so that it is kept."""

    def __init__(self):
        self.door = Door()
        self.link = self.door.enter("alice")
        self.alice = self.door.there("alice")

    def ask(self, kind="application/json", **changes):
        """The number of a call, or status and answer."""
        headers = (("authorization", f"Bearer {token()}"), ("Content-Type", kind))
        request = {**CALL, **changes}
        body = json.dumps(request).encode()
        if kind == "application/protobuf":
            body = proto.room.PerformRpcRequest(**request).SerializeToString()
        found = self.door.server.handle_http(
            "POST", "/twirp/livekit.RoomService/PerformRpc", headers, body, self.door.now
        )
        return found if isinstance(found, int) else (found.status, json.loads(found.body)["msg"])

    def request(self):
        """What alice was sent last."""
        return models.DataPacket.FromString(self.alice._held[-1])

    def say(self, who=None, **value):
        """A data packet of somebody's."""
        packet = models.DataPacket(**value)
        self.alice.room.relay(who or self.alice, True, packet.SerializeToString(), self.door.now)

    def answers(self, later=0.0):
        """What was answered since."""
        self.door.outputs.clear()
        self.door.turn(later)
        return [
            (each.number, each.response.status, each.response.body)
            for each in self.door.outputs
            if isinstance(each, AnswerHttp)
        ]


@pytest.fixture
def caller():
    return Caller()


def failure(answers):
    ((_, status, body),) = answers
    return status, json.loads(body)["msg"]


def test_a_call_and_its_answer(caller):
    bob = caller.door.there("bob") if caller.door.enter("bob") else None
    number = caller.ask(response_timeout_ms=3000)
    packet = caller.request()
    rpc = packet.rpc_request
    assert (rpc.method, rpc.payload, rpc.response_timeout_ms, rpc.version) == ("m", "p", 3000, 1)
    assert packet.participant_identity == rpc.id
    assert caller.answers() == []
    response = models.RpcResponse(request_id=rpc.id, payload="answer")
    caller.say(who=bob, rpc_response=response)  # it is alice who was asked
    assert caller.answers() == []
    caller.say(rpc_ack=models.RpcAck(request_id=rpc.id))
    caller.say(rpc_ack=models.RpcAck(request_id="of another call"))
    caller.say(rpc_response=response)
    assert caller.answers() == [(number, 200, b'{\n"payload": "answer"\n}')]
    caller.say(rpc_response=response)
    assert caller.answers() == []
    for held in bob._held:  # of those packets only what was not for the server
        assert models.DataPacket.FromString(held).rpc_ack.request_id != rpc.id


def test_an_answer_in_protobuf(caller):
    number = caller.ask("application/protobuf")
    caller.say(rpc_response=models.RpcResponse(request_id=caller.request().rpc_request.id, payload="x"))
    assert caller.answers() == [(number, 200, proto.room.PerformRpcResponse(payload="x").SerializeToString())]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        ((1400, "Method not supported at destination", ""), 400, "RpcError 1400: Method not supported at destination"),
        ((4711, "no tea", "{}"), 500, "RpcError 4711: no tea: {}"),
    ],
)
def test_a_method_that_fails(caller, error, status, text):
    caller.ask()
    code, message, data = error
    refusal = models.RpcError(code=code, message=message, data=data)
    caller.say(rpc_response=models.RpcResponse(request_id=caller.request().rpc_request.id, error=refusal))
    assert failure(caller.answers()) == (status, text)


def test_nobody_acknowledges(caller):
    caller.ask()
    caller.door.turn(1.0)
    assert isinstance(caller.ask(), int)  # another one, which has more time
    assert failure(caller.answers(ACK_TIMEOUT - 1.0)) == (408, "RpcError 1501: Connection timeout")


@pytest.mark.parametrize(("asked", "seconds"), [({}, RESPONSE_TIMEOUT), ({"response_timeout_ms": 2500}, 2.5)])
def test_nobody_answers(caller, asked, seconds):
    caller.ask(**asked)
    caller.say(rpc_ack=models.RpcAck(request_id=caller.request().rpc_request.id))
    assert caller.answers(seconds - 0.1) == []
    assert failure(caller.answers(0.2)) == (408, "RpcError 1502: Response timeout")


@pytest.mark.parametrize("end", ["leaves", "stops"])
def test_the_called_goes(caller, end):
    caller.ask()
    caller.door.outputs.clear()
    if end == "leaves":
        caller.door.request(caller.link, leave=proto.rtc.LeaveRequest())
    else:
        caller.door.server.stop(caller.door.now)
        caller.door.turn()
    (answer,) = [each for each in caller.door.outputs if isinstance(each, AnswerHttp)]
    assert answer.response.status == 404


def test_what_cannot_be_called(caller):
    caller.ask(payload="x" * (LONGEST_PAYLOAD + 1))
    assert failure(caller.answers()) == (400, "RpcError 1402: Request payload too large")
    assert caller.ask(destination_identity="") == (400, "destination identity is required")
    assert caller.ask(destination_identity="nobody") == (503, "no response from servers")
    assert caller.ask(room="elsewhere")[0] == 401


def test_calls_have_a_limit(caller):
    for _ in range(SFU_CALLS):
        assert isinstance(caller.ask(), int)
    assert caller.ask() == (503, "no response from servers")
