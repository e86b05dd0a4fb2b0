"""Remote procedure calls through whole sessions."""

from __future__ import annotations

import pytest

from sansio.base.errors import LocalProtocolError
from sansio.base.limits import RPC_PAYLOAD
from sansio.events import Reconnected
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.rpc import RpcCancelled, RpcInvoked
from sansio.room.rpc_error import RpcError, RpcErrorCode
from sansio.types import Scenario

from .party import Party


@pytest.fixture
def party():
    with Party("alice", "bob") as party:
        party.wait(5.0)
        yield party


def call(party, payload="x", method="m", **how):
    token = party.engines["alice"].perform_rpc("bob", method, payload, party.now, **how)
    party.world.poke("alice")
    return token


def invocation(party, count=1):
    party.run(lambda: len(party.found("bob", RpcInvoked)) == count, limit=party.now + 5)
    return party.found("bob", RpcInvoked)[-1].invocation


def failures(party, count=1):
    party.run(lambda: len(party.found("alice", RequestFailed)) == count, limit=party.now + 20)
    return [(failed.token, failed.error.code) for failed in party.found("alice", RequestFailed)]


def test_a_call_is_answered(party):
    bob = party.engines["bob"]
    bob.register_rpc_method("m", "handler")
    token = call(party, "hello", response_timeout=20.0)
    one = invocation(party)
    assert (one.payload, one.handler, one.caller_identity, one.response_timeout) == ("hello", "handler", "alice", 20.0)
    bob.rpc_respond(one, "and to you", party.now)
    party.world.poke("bob")
    party.run(lambda: party.found("alice", RequestDone), limit=party.now + 5)
    assert party.found("alice", RequestDone) == [RequestDone(token, "and to you")]
    assert bob.diagnostics()["rpc"] == {"calls": 0, "invocations": 0}


def test_the_acknowledgement_leaves_before_the_handler_is_told(party):
    party.engines["bob"].register_rpc_method("m", None)
    sent = []
    engine = party.engines["bob"]
    engine._rpc.pump, pump = lambda lane, now: (sent.append(len(engine.outbox)), pump(lane, now)), engine._rpc.pump
    call(party)
    invocation(party)
    assert sent == [1]  # pumped in the same advance that made the output, whose transmits a driver sends first


def test_a_call_fails(party):
    bob = party.engines["bob"]
    bob.register_rpc_method("m", None)
    first = call(party)
    bob.rpc_fail(invocation(party), RpcError(5, "no"), party.now)
    party.world.poke("bob")
    assert failures(party) == [(first, 5)]
    bob.unregister_rpc_method("m")
    bob.unregister_rpc_method("m")
    second = call(party)
    assert failures(party, 2)[1:] == [(second, RpcErrorCode.UNSUPPORTED_METHOD)]


def test_deadlines_on_both_sides(party):
    party.engines["bob"].register_rpc_method("m", None)
    start = party.now
    token = call(party, response_timeout=2.0)
    one = invocation(party)
    assert party.engines["alice"].why_due()
    assert failures(party) == [(token, RpcErrorCode.RESPONSE_TIMEOUT)]
    assert party.now == start + 2.0
    party.run(lambda: party.found("bob", RpcCancelled), limit=party.now + 10)
    assert party.found("bob", RpcCancelled)[0].invocation is one
    assert 8.0 < party.now - start < 8.1


def test_a_cancelled_call_is_forgotten(party):
    bob = party.engines["bob"]
    bob.register_rpc_method("m", None)
    party.engines["alice"].cancel(call(party), party.now)
    bob.rpc_respond(invocation(party), "late", party.now)
    party.world.poke("bob")
    party.wait(1.0)
    assert party.found("alice", RequestDone) == []
    assert party.engines["alice"].diagnostics()["rpc"]["rpc_reply_to_nothing"] >= 1


def test_whoever_leaves_ends_calls_both_ways(party):
    party.engines["bob"].register_rpc_method("m", None)
    party.engines["alice"].register_rpc_method("m", None)
    token = call(party)
    invocation(party)
    party.engines["bob"].perform_rpc("alice", "m", "", party.now)
    party.world.poke("bob")
    party.run(lambda: party.found("alice", RpcInvoked), limit=party.now + 5)
    party.stop("bob")
    assert failures(party) == [(token, RpcErrorCode.RECIPIENT_DISCONNECTED)]
    party.wait(1.0)
    assert len(party.found("alice", RpcCancelled)) == 1
    assert len(party.found("bob", RpcCancelled)) == 1


def test_who_calls_is_impatient(party):
    alice, bob = party.engines["alice"], party.engines["bob"]
    bob.register_rpc_method("m", None)
    assert not alice.impatient(party.now)
    call(party)
    invocation(party)
    assert alice.impatient(party.now)
    assert bob.impatient(party.now)
    party.wait(1.0)
    assert not alice.impatient(party.now)
    assert not bob.impatient(party.now)


def test_calls_need_a_session(party):
    engine = party.engines["alice"]
    engine.register_rpc_method("m", None)
    party.engines["bob"].perform_rpc("alice", "m", "", party.now)
    party.world.poke("bob")
    party.run(lambda: party.found("alice", RpcInvoked), limit=party.now + 5)
    party.stop("alice")
    with pytest.raises(LocalProtocolError, match="not connected"):
        call(party)
    party.wait(1.0)
    assert engine.closed
    outputs = len(party.rooms.outputs("alice", object))
    engine.rpc_respond(party.found("alice", RpcInvoked)[0].invocation, "nobody waits", party.now)
    assert len(party.rooms.outputs("alice", object)) == outputs
    assert not engine.transmits
    assert not engine.outbox


def test_a_new_join(party):
    bob = party.engines["bob"]
    bob.register_rpc_method("m", None)
    token = call(party)
    one = invocation(party)
    party.engines["alice"].simulate(Scenario.FULL_RECONNECT, party.now)
    party.world.poke("alice")
    assert failures(party) == [(token, RpcErrorCode.SEND_FAILED)]
    again = call(party, "while away")
    party.run(lambda: party.found("alice", Reconnected), limit=party.now + 20)
    party.run(lambda: one.done, limit=party.now + 5)
    bob.rpc_respond(one, "nobody waits", party.now)
    bob.rpc_respond(invocation(party, 2), "here", party.now)
    party.world.poke("bob")
    party.run(lambda: party.found("alice", RequestDone), limit=party.now + 5)
    assert party.found("alice", RequestDone) == [RequestDone(again, "here")]


def test_payloads_that_come_as_streams_are_limited(party):
    alice, bob = party.engines["alice"], party.engines["bob"]
    bob.register_rpc_method("m", None)
    alice.register_rpc_method("m", None)
    for engine, name in ((alice, "bob"), (bob, "alice")):
        engine.state.remote_participants[name].client_protocol = 1
    first = call(party, "x" * RPC_PAYLOAD)
    bob.rpc_respond(invocation(party), "y" * (RPC_PAYLOAD + 1), party.now)
    party.world.poke("bob")
    assert failures(party) == [(first, RpcErrorCode.RESPONSE_PAYLOAD_TOO_LARGE)]
    second = call(party, "x" * (RPC_PAYLOAD + 1))
    assert failures(party, 2)[1:] == [(second, RpcErrorCode.REQUEST_PAYLOAD_TOO_LARGE)]
