"""Remote procedure calls: the machine alone, with a peer made of packets."""

from __future__ import annotations

import math
from collections import deque
from types import SimpleNamespace

import pytest

from sansio import proto
from sansio.base import limits
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.rpc import (
    DEFAULT_TIMEOUT,
    PAYLOAD_BYTES,
    REQUEST_TOPIC,
    RESPONSE_TOPIC,
    Rpc,
    RpcCancelled,
    RpcInvoked,
)
from sansio.room.rpc_error import RpcError, RpcErrorCode
from sansio.room.state import RoomState
from sansio.room.stream_info import StreamError, StreamFailure

from .build import info, join, update

Packet = proto.models.DataPacket


class Lane:
    """Room for a number of packets; keeps what was sent."""

    def __init__(self):
        self.room = 1000
        self.sent = []
        self.largest = 64_000

    @property
    def urgent_room(self):
        return self.room > 0

    def send_packet(self, packet, reliable, urgent, now):
        assert reliable
        assert urgent
        if packet.ByteSize() > self.largest:
            raise LocalProtocolError("too large")
        self.room -= 1
        self.sent.append(packet)
        return True


class Text:
    """A stream of ours, of three packets."""

    def __init__(self):
        self.aborted = None

    def abort(self, reason):
        self.aborted = reason
        return Packet(stream_trailer={"reason": reason})


def broken(failure):
    """The error of a stream."""
    return StreamError(StreamFailure[failure])


class Booth:
    """One side of calls. ``bob`` takes version 1, ``carol`` version 2."""

    def __init__(self, streams=True, version="1.9.0"):
        self.outbox = deque()
        self.state = RoomState(self.outbox)
        response = join(info("bob", "PA_bob"), info("carol", "PA_carol", client_protocol=1))
        response.server_info.version = version
        self.state.apply_join(response)
        self.rpc = Rpc(self.state, self.outbox, Entropy(b"x"), self.send_text if streams else None)
        self.lane = Lane()
        self.now = 100.0
        self.texts = []
        self.text_error = None
        self.token = 0

    def send_text(self, text, now, **header):
        if self.text_error:
            raise self.text_error
        stream = Text()
        self.texts.append((stream, text, header))
        parts = [Packet(stream_header={"topic": header["topic"]}), Packet(stream_chunk={"content": text.encode()})]
        return stream, iter([*parts, Packet(stream_trailer={})])

    def pump(self):
        self.rpc.pump(self.lane, self.now)
        sent, self.lane.sent = self.lane.sent, []
        return sent

    def call(self, identity="bob", method="m", payload="p" * 1000, response_timeout=15.0):
        self.token += 1
        self.rpc.call(self.token, identity, method, payload, response_timeout, self.now)
        return self.token

    def asked(self, **arguments):
        """A call in version 1 that was sent; its id."""
        self.call(**arguments)
        return self.pump()[-1].rpc_request.id

    def hear(self, sender="bob", sid="", **payload):
        packet = Packet(participant_identity=sender, participant_sid=sid, **payload)
        kind = packet.WhichOneof("value")
        getattr(self.rpc, "handle_" + kind.removeprefix("rpc_"))(packet, self.now)

    def hear_stream(self, kind, attributes, whole="", sender="carol", error=None):
        stream = SimpleNamespace(
            identity=sender, sid="PA_x", info=SimpleNamespace(attributes=attributes), whole=whole, error=error
        )
        getattr(self.rpc, f"handle_{kind}_stream")(stream, self.now)

    def request(self, id="r1", method="greet", payload="hi", sender="bob", sid="", **fields):
        fields = {"version": 1, "response_timeout_ms": 8000, **fields}
        self.hear(sender, sid, rpc_request={"id": id, "method": method, "payload": payload, **fields})

    def invoked(self, **fields):
        self.rpc.methods["greet"] = "handler"
        self.request(**fields)
        output = self.outbox.pop()
        assert isinstance(output, RpcInvoked)
        return output.invocation

    def advance(self, seconds):
        self.now += seconds
        return self.rpc.advance(self.now)

    def told(self):
        told = [*self.outbox]
        self.outbox.clear()
        return told

    def failure(self):
        (failed,) = self.told()
        assert isinstance(failed, RequestFailed)
        return failed.error


@pytest.fixture
def booth():
    return Booth()


# ------------------------------------------------------------------ calling, version 1


def test_a_call_is_one_packet_and_its_answer_another(booth):
    token = booth.call(method="greet", payload="hello", response_timeout=20.0)
    assert booth.rpc.waiting
    (packet,) = booth.pump()
    assert not booth.rpc.waiting
    request = packet.rpc_request
    assert packet.destination_identities == ["bob"]
    assert (request.method, request.payload, request.version) == ("greet", "hello", 1)
    assert request.response_timeout_ms == 20_000
    assert len(request.id) == 36
    booth.hear(rpc_ack={"request_id": request.id})
    booth.hear(rpc_response={"request_id": request.id, "payload": "you too"})
    assert booth.told() == [RequestDone(token, "you too")]
    assert booth.advance(100) == INF
    assert booth.rpc.diagnostics() == {"calls": 0, "invocations": 0}


def test_whoever_is_in_a_hurry_still_leaves_time_for_the_way(booth):
    booth.call(response_timeout=0.5)
    (packet,) = booth.pump()
    assert packet.rpc_request.response_timeout_ms == 8000
    booth.call(response_timeout=1e9)
    (packet,) = booth.pump()
    assert packet.rpc_request.response_timeout_ms == 0xFFFFFFFF


def test_an_answer_without_acknowledgement_is_one(booth):
    id = booth.asked()
    booth.hear(rpc_response={"request_id": id})
    assert booth.told() == [RequestDone(1, "")]


def test_errors_of_the_other_side_are_passed_on(booth):
    id = booth.asked()
    booth.hear(rpc_response={"request_id": id, "error": {"code": 4711, "message": "no tea", "data": "x"}})
    error = booth.failure()
    assert (error.code, error.message, error.data) == (4711, "no tea", "x")


def test_an_answer_that_is_compressed_is_not_understood(booth):
    id = booth.asked()
    booth.hear(rpc_response={"request_id": id, "compressed_payload": b"x"})
    assert booth.failure().code == RpcErrorCode.UNSUPPORTED_VERSION


def test_replies_to_nothing_and_of_others_are_dropped(booth):
    id = booth.asked()
    for sender, name in (("carol", id), ("bob", "other"), ("carol", "other")):
        booth.hear(sender, rpc_ack={"request_id": name})
        booth.hear(sender, rpc_response={"request_id": name, "payload": "x"})
        booth.hear_stream("response", {"lk.rpc_request_id": name}, "x", sender)
    booth.hear_stream("response", {}, "x")
    assert booth.told() == []
    assert booth.rpc.counters.snapshot() == {"rpc_reply_of_another": 3, "rpc_reply_to_nothing": 7}
    booth.hear("", rpc_response={"request_id": id, "payload": "hidden"})
    assert booth.told() == [RequestDone(1, "hidden")]
    booth.hear(rpc_response={"request_id": id, "payload": "twice"})
    assert booth.told() == []


def test_no_acknowledgement_within_seven_seconds_of_sending(booth):
    booth.lane.room = 0
    booth.call()
    assert booth.pump() == []
    assert booth.advance(5.0) == 115.0
    booth.lane.room = 1
    assert len(booth.pump()) == 1
    assert booth.advance(6.9) == pytest.approx(112.0)
    assert booth.advance(0.2) == INF
    assert booth.failure().code == RpcErrorCode.CONNECTION_TIMEOUT


def test_no_answer_in_time(booth):
    id = booth.asked(response_timeout=20.0)
    booth.hear(rpc_ack={"request_id": id})
    assert booth.advance(19.9) == 120.0
    assert booth.advance(0.1) == INF
    assert booth.failure().code == RpcErrorCode.RESPONSE_TIMEOUT
    booth.hear(rpc_response={"request_id": id, "payload": "late"})
    assert booth.told() == []


def test_a_deadline_that_comes_before_the_acknowledgement(booth):
    booth.asked(response_timeout=2.0)
    assert booth.advance(2.0) == INF
    assert booth.failure().code == RpcErrorCode.RESPONSE_TIMEOUT


def test_a_call_that_could_not_leave_in_time_is_not_sent_later(booth):
    booth.lane.room = 0
    booth.call(response_timeout=2.0)
    booth.pump()
    booth.advance(2.0)
    assert booth.failure().code == RpcErrorCode.RESPONSE_TIMEOUT
    assert not booth.rpc.waiting


def test_a_cancelled_call_is_forgotten(booth):
    booth.call()
    id = booth.asked()
    booth.rpc.cancel(1)
    booth.rpc.cancel(2)
    booth.rpc.cancel(2)
    booth.hear(rpc_response={"request_id": id, "payload": "late"})
    assert booth.told() == []
    assert booth.advance(100) == INF


def test_the_other_side_leaves(booth):
    booth.asked()
    booth.call("carol")
    booth.rpc.participant_left("bob", "PA_bob")
    assert booth.failure().code == RpcErrorCode.RECIPIENT_DISCONNECTED
    booth.rpc.participant_left("carol", "PA_carol")
    assert booth.failure().code == RpcErrorCode.RECIPIENT_DISCONNECTED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"identity": ""}, "1 to 1024 bytes"),
        ({"method": "x" * (limits.RPC_NAME + 1)}, "1 to 1024 bytes"),
        ({"identity": "x" * (limits.RPC_NAME + 1)}, "1 to 1024 bytes"),
        ({"method": 5}, "the method of a call must be str, not int"),
        ({"payload": b"x"}, "the payload of a call must be str, not bytes"),
        ({"payload": "\ud800"}, "cannot be sent"),
        ({"response_timeout": 0}, "positive number"),
        ({"response_timeout": math.nan}, "positive number"),
        ({"response_timeout": "5"}, "positive number"),
    ],
)
def test_wrong_arguments(booth, arguments, words):
    with pytest.raises(LocalProtocolError, match=words):
        booth.call(**arguments)
    assert not booth.rpc.waiting
    assert booth.rpc.due == INF


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"payload": "x" * (PAYLOAD_BYTES + 1)}, RpcErrorCode.REQUEST_PAYLOAD_TOO_LARGE),
        ({"payload": "é" * (PAYLOAD_BYTES // 2 + 1)}, RpcErrorCode.REQUEST_PAYLOAD_TOO_LARGE),
        ({"identity": "alice"}, RpcErrorCode.RECIPIENT_NOT_FOUND),
    ],
)
def test_calls_that_cannot_succeed(booth, arguments, code):
    with pytest.raises(RpcError) as caught:
        booth.call(**arguments)
    assert caught.value.code == code
    assert not booth.rpc.waiting


@pytest.mark.parametrize("allowed", [True, False])
def test_calls_need_the_permission_to_publish_data(booth, allowed):
    own = booth.state.local_participant
    permission = {"can_subscribe": True, "can_publish_data": allowed}
    booth.state.apply_update(update(info("alice", own.sid, 9, permission=permission)))
    if allowed:
        booth.call()
        return
    with pytest.raises(RpcError) as caught:
        booth.call()
    assert caught.value.code == RpcErrorCode.SEND_FAILED


def test_the_largest_payload_of_version_1(booth):
    booth.call(payload="x" * PAYLOAD_BYTES)
    (packet,) = booth.pump()
    assert len(packet.rpc_request.payload) == PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        ("1.7.9", False),
        ("0.15.1", False),
        ("1.8.0", True),
        ("1.10.0", True),
        ("2.0.0-rc1", True),
        ("0.0.0-dev", True),
        ("", True),
    ],
)
def test_servers_that_are_too_old(version, supported):
    booth = Booth(version=version)
    if supported:
        booth.call()
        return
    with pytest.raises(RpcError) as caught:
        booth.call()
    assert caught.value.code == RpcErrorCode.UNSUPPORTED_SERVER
    assert version in str(caught.value)


def test_calls_are_bounded(booth, monkeypatch):
    monkeypatch.setattr(limits, "RPC_CALLS", 3)
    for _ in range(3):
        booth.call()
    with pytest.raises(RpcError) as caught:
        booth.call()
    assert caught.value.code == RpcErrorCode.SEND_FAILED
    booth.rpc.cancel(1)
    booth.call()


def test_a_packet_that_the_server_does_not_take_ends_its_call(booth):
    booth.lane.largest = 10
    booth.call()
    assert booth.pump() == []
    assert booth.failure().code == RpcErrorCode.SEND_FAILED
    booth.request()
    assert booth.pump() == []
    assert booth.rpc.counters["rpc_packet_too_large"] == 3
    booth.lane.largest = 20
    booth.call("carol", payload="x" * 1000)
    booth.pump()
    assert booth.failure().code == RpcErrorCode.SEND_FAILED
    assert booth.texts[0][0].aborted
    assert not booth.rpc.waiting


# ------------------------------------------------------------------ calling, version 2


def test_who_takes_streams_is_called_by_one(booth):
    token = booth.call("carol", "greet", "x" * 20_000, 20.0)
    packets = booth.pump()
    assert [packet.WhichOneof("value") for packet in packets] == ["stream_header", "stream_chunk", "stream_trailer"]
    ((_, text, header),) = booth.texts
    id = header["attributes"]["lk.rpc_request_id"]
    assert text == "x" * 20_000
    assert header == {
        "topic": REQUEST_TOPIC,
        "destination_identities": ["carol"],
        "attributes": {
            "lk.rpc_request_id": id,
            "lk.rpc_request_method": "greet",
            "lk.rpc_request_response_timeout_ms": "20000",
            "lk.rpc_request_version": "2",
        },
    }
    booth.hear("carol", rpc_ack={"request_id": id})
    booth.hear_stream("response", {"lk.rpc_request_id": id}, "y" * 20_000)
    assert booth.told() == [RequestDone(token, "y" * 20_000)]


@pytest.mark.parametrize(("size", "streams"), [(0, False), (999, False), (1000, True)])
def test_small_payloads_go_in_version_1_whoever_gets_them(booth, size, streams):
    booth.call("carol", payload="x" * size)
    assert booth.pump()[0].HasField("rpc_request") is not streams
    invocation = booth.invoked(sender="carol")
    booth.pump()
    booth.rpc.respond(invocation, "x" * size, booth.now)
    assert booth.pump()[0].HasField("rpc_response") is not streams
    streamed(booth, id="s2")
    invocation = booth.outbox.pop().invocation
    booth.pump()
    booth.rpc.respond(invocation, "x" * size, booth.now)
    assert booth.pump()[0].HasField("rpc_response") is not streams


def test_an_error_ends_a_call_by_stream(booth):
    booth.call("carol")
    booth.pump()
    id = booth.texts[0][2]["attributes"]["lk.rpc_request_id"]
    booth.hear("carol", rpc_response={"request_id": id, "error": {"code": 1400}})
    assert booth.failure().code == 1400


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        ("SENDER_LEFT", RpcErrorCode.RECIPIENT_DISCONNECTED),
        ("TOO_LARGE", RpcErrorCode.RESPONSE_PAYLOAD_TOO_LARGE),
        ("RECONNECTED", RpcErrorCode.SEND_FAILED),
        ("BAD_TEXT", RpcErrorCode.APPLICATION_ERROR),
    ],
)
def test_an_answer_that_breaks_off(booth, failure, code):
    booth.call("carol")
    booth.pump()
    id = booth.texts[0][2]["attributes"]["lk.rpc_request_id"]
    booth.hear_stream("response", {"lk.rpc_request_id": id}, None, error=broken(failure))
    assert booth.failure().code == code


def test_streams_take_turns_after_single_packets_and_are_acknowledged_after_their_end(booth):
    booth.lane.room = 3
    booth.call("carol", "one")
    booth.call("carol", "two")
    booth.call("bob", "three")
    booth.request()
    kinds = [packet.WhichOneof("value") for packet in booth.pump()]
    assert kinds == ["rpc_ack", "rpc_response", "rpc_request"]
    booth.lane.room = 4
    kinds = [packet.WhichOneof("value") for packet in booth.pump()]
    assert kinds == ["stream_header", "stream_header", "stream_chunk", "stream_chunk"]
    assert booth.rpc.due == 107.0  # that of the call to Bob
    booth.rpc.cancel(3)
    booth.advance(10.0)
    booth.lane.room = 3
    assert len(booth.pump()) == 2
    assert booth.rpc.due == 115.0
    assert booth.advance(4.9) == 115.0


def test_no_acknowledgement_within_seven_seconds_of_the_end_of_a_stream(booth):
    booth.lane.room = 2
    booth.call("carol", response_timeout=60.0)
    booth.pump()
    assert booth.advance(20.0) == 160.0  # it is still being sent
    booth.lane.room = 2
    assert [packet.WhichOneof("value") for packet in booth.pump()] == ["stream_trailer"]
    assert booth.advance(6.9) == pytest.approx(127.0)
    assert booth.advance(0.2) == INF
    assert booth.failure().code == RpcErrorCode.CONNECTION_TIMEOUT


def test_a_cancelled_call_stops_its_stream(booth):
    booth.lane.room = 2
    booth.call("carol", "one")
    booth.call("carol", "two")
    booth.call("carol", "three")
    booth.pump()
    for token in (1, 2, 3):
        booth.rpc.cancel(token)
    booth.lane.room = 10
    assert [packet.WhichOneof("value") for packet in booth.pump()] == ["stream_trailer", "stream_trailer"]
    assert [text[0].aborted for text in booth.texts] == ["the call was cancelled"] * 3
    assert not booth.rpc.waiting


def test_too_many_streams(booth):
    booth.text_error = LocalProtocolError("256 streams are open")
    with pytest.raises(RpcError) as caught:
        booth.call("carol")
    assert caught.value.code == RpcErrorCode.SEND_FAILED
    assert "256 streams" in str(caught.value)
    invocation = booth.invoked(sender="carol")
    booth.rpc.respond(invocation, "x" * 1000, booth.now)
    packet = booth.pump()[-1]
    assert packet.rpc_response.error.code == RpcErrorCode.SEND_FAILED


def test_without_streams_everything_is_version_1():
    booth = Booth(streams=False)
    booth.call("carol")
    (packet,) = booth.pump()
    assert packet.rpc_request.version == 1
    with pytest.raises(RpcError):
        booth.call("carol", payload="x" * 20_000)
    invocation = booth.invoked(sender="carol")
    booth.rpc.respond(invocation, "x", booth.now)
    assert booth.pump()[-1].rpc_response.payload == "x"


# ------------------------------------------------------------------ being called


def test_a_call_is_acknowledged_and_then_told(booth):
    invocation = booth.invoked(payload="hello", response_timeout_ms=9000)
    assert (invocation.request_id, invocation.caller_identity, invocation.method) == ("r1", "bob", "greet")
    assert (invocation.payload, invocation.response_timeout, invocation.handler) == ("hello", 9.0, "handler")
    assert invocation.deadline == 109.0
    assert booth.rpc.due == 109.0
    assert repr(invocation) == "<RpcInvocation 'greet' by 'bob'>"
    assert booth.pump() == [Packet(rpc_ack={"request_id": "r1"}, destination_identities=["bob"])]
    booth.rpc.respond(invocation, "well", booth.now)
    answer = Packet(rpc_response={"request_id": "r1", "payload": "well"}, destination_identities=["bob"])
    assert booth.pump() == [answer]
    assert repr(invocation) == "<RpcInvocation 'greet' by 'bob' done>"
    booth.rpc.respond(invocation, "again", booth.now)
    booth.rpc.fail(invocation, None, booth.now)
    assert not booth.rpc.waiting
    assert booth.advance(100) == INF
    assert booth.told() == []


def test_calls_of_the_server_are_answered_to_the_identity_that_they_name(booth):
    invocation = booth.invoked(id="5f0f", sender="5f0f")
    booth.rpc.respond(invocation, "x", booth.now)
    assert [packet.destination_identities for packet in booth.pump()] == [["5f0f"], ["5f0f"]]


def test_a_call_without_a_time_gets_the_usual_one(booth):
    assert booth.invoked(response_timeout_ms=0).response_timeout == DEFAULT_TIMEOUT


def test_unknown_methods(booth):
    booth.request(method="dance")
    ack, answer = booth.pump()
    assert ack.rpc_ack.request_id == "r1"
    assert answer.rpc_response.error.code == RpcErrorCode.UNSUPPORTED_METHOD
    assert answer.rpc_response.error.message == "Method not supported at destination"
    assert booth.told() == []


@pytest.mark.parametrize("fields", [{"version": 2}, {"version": 0}, {"compressed_payload": b"x"}])
def test_unknown_versions(booth, fields):
    booth.rpc.methods["greet"] = None
    booth.request(**fields)
    _, answer = booth.pump()
    assert answer.rpc_response.error.code == RpcErrorCode.UNSUPPORTED_VERSION


def test_requests_without_id_or_sender_are_dropped(booth):
    booth.rpc.methods["greet"] = None
    booth.request(id="")
    booth.request(sender="")
    assert booth.rpc.counters["rpc_request_anonymous"] == 2
    assert not booth.rpc.waiting
    assert booth.told() == []


def test_a_request_that_comes_twice_runs_once(booth):
    booth.invoked()
    booth.request()
    assert booth.rpc.counters["rpc_request_duplicate"] == 1
    assert booth.told() == []
    assert booth.invoked(sender="carol").caller_identity == "carol"  # ids are its sender's own


def test_errors_are_cut_to_what_may_travel(booth):
    invocation = booth.invoked()
    booth.rpc.fail(invocation, RpcError(5, "é" * 200, "x" * 20_000), booth.now)
    error = booth.pump()[-1].rpc_response.error
    assert (error.code, error.message, error.data) == (5, "é" * 128, "x" * PAYLOAD_BYTES)
    invocation = booth.invoked()
    booth.rpc.fail(invocation, RpcError(5, "a" + "é" * 200), booth.now)
    assert booth.pump()[-1].rpc_response.error.message == "a" + "é" * 127


@pytest.mark.parametrize("code", [-1, 1 << 32, "x", None])
def test_codes_that_cannot_travel(booth, code):
    error = RpcError(5, "\ud800")
    error.code = code
    booth.rpc.fail(booth.invoked(), error, booth.now)
    sent = booth.pump()[-1].rpc_response.error
    assert (sent.code, sent.message) == (RpcErrorCode.APPLICATION_ERROR, "?")


def test_a_failure_without_a_reason(booth):
    booth.rpc.fail(booth.invoked(), None, booth.now)
    error = booth.pump()[-1].rpc_response.error
    assert (error.code, error.message) == (1500, "Application error in method handler")


def test_an_answer_that_the_caller_cannot_take(booth):
    booth.rpc.respond(booth.invoked(), "x" * (PAYLOAD_BYTES + 1), booth.now)
    assert booth.pump()[-1].rpc_response.error.code == RpcErrorCode.RESPONSE_PAYLOAD_TOO_LARGE
    booth.rpc.respond(booth.invoked(), "x" * PAYLOAD_BYTES, booth.now)
    assert len(booth.pump()[-1].rpc_response.payload) == PAYLOAD_BYTES


@pytest.mark.parametrize(("payload", "words"), [(5, "must return str, not int"), ("\ud800", "cannot be sent")])
def test_what_is_no_answer(booth, payload, words):
    invocation = booth.invoked()
    with pytest.raises(LocalProtocolError, match=words):
        booth.rpc.respond(invocation, payload, booth.now)
    assert not invocation.done


def test_a_method_that_takes_too_long_is_cancelled(booth):
    invocation = booth.invoked()
    booth.pump()
    booth.invoked(id="r2", response_timeout_ms=20_000)
    booth.pump()
    assert booth.advance(8.0) == 120.0
    (cancelled,) = booth.told()
    assert isinstance(cancelled, RpcCancelled)
    assert cancelled.invocation is invocation
    booth.rpc.respond(invocation, "late", booth.now)
    assert not booth.rpc.waiting


def test_the_caller_leaves(booth):
    invocation = booth.invoked()
    booth.pump()
    other = booth.invoked(sender="carol")
    booth.rpc.participant_left("bob", "PA_bob")
    assert [output.invocation for output in booth.told()] == [invocation]
    assert not other.done


def test_a_caller_that_is_back_before_its_leaving_is_known(booth):
    old = booth.invoked(id="r1", sid="PA_bob")
    new = booth.invoked(id="r2", sid="PA_bob2")
    streamed(booth, sender="bob", id="r3")
    newest = booth.outbox.pop().invocation
    booth.rpc.participant_left("bob", "PA_bob")
    assert [output.invocation for output in booth.told()] == [old]
    booth.rpc.participant_left("bob", "PA_bob2")
    booth.rpc.participant_left("bob", "PA_x")
    assert [output.invocation for output in booth.told()] == [new, newest]


def test_who_calls_and_who_is_called_has_no_time(booth):
    assert booth.rpc.busy_until < booth.now
    booth.call()
    assert booth.rpc.busy_until == booth.now + 0.1
    booth.now += 5.0
    booth.request(method="unknown")
    assert booth.rpc.busy_until < booth.now
    booth.invoked()
    assert booth.rpc.busy_until == booth.now + 0.1


def test_calls_of_others_are_bounded(booth, monkeypatch):
    monkeypatch.setattr(limits, "RPC_INVOCATIONS", 3)
    monkeypatch.setattr(limits, "RPC_INVOCATIONS_PER_CALLER", 2)
    first = booth.invoked(id="1")
    booth.invoked(id="2")
    booth.pump()
    booth.request(id="3")
    ack, answer = booth.pump()
    assert ack.HasField("rpc_ack")
    assert (answer.rpc_response.request_id, answer.rpc_response.error.code) == ("3", 1500)
    booth.invoked(id="1", sender="carol")
    booth.request(id="1", sender="dave")
    assert booth.rpc.counters["rpc_request_refused"] == 2
    booth.rpc.respond(first, "x", booth.now)
    booth.invoked(id="4")


def test_replies_that_cannot_leave_are_bounded(booth, monkeypatch):
    monkeypatch.setattr(limits, "RPC_REPLIES", 4)
    booth.lane.room = 0
    for number in range(10):
        booth.request(id=str(number), method="unknown")
    assert booth.rpc.counters["rpc_request_dropped"] == 8
    booth.lane.room = 10
    assert len(booth.pump()) == 4


# ------------------------------------------------------------------ being called by stream


ATTRIBUTES = {
    "lk.rpc_request_id": "s1",
    "lk.rpc_request_method": "greet",
    "lk.rpc_request_response_timeout_ms": "9000",
    "lk.rpc_request_version": "2",
}


def streamed(booth, whole="x" * 20_000, sender="carol", error=None, **changes):
    booth.rpc.methods["greet"] = "handler"
    attributes = {**ATTRIBUTES, **{f"lk.rpc_request_{name}": value for name, value in changes.items()}}
    booth.hear_stream("request", attributes, whole, sender, error)


@pytest.mark.parametrize("sender", ["carol", "newcomer"])
def test_a_call_by_stream_is_answered_by_stream(booth, sender):
    streamed(booth, sender=sender)
    (invoked,) = booth.told()
    invocation = invoked.invocation
    assert (invocation.caller_identity, invocation.payload, invocation.response_timeout) == (sender, "x" * 20_000, 9.0)
    assert [packet.WhichOneof("value") for packet in booth.pump()] == ["rpc_ack"]
    booth.rpc.respond(invocation, "y" * 20_000, booth.now)
    ((_, text, header),) = booth.texts
    assert text == "y" * 20_000
    assert header == {
        "topic": RESPONSE_TOPIC,
        "destination_identities": [sender],
        "attributes": {"lk.rpc_request_id": "s1"},
    }
    assert len(booth.pump()) == 3


def test_a_call_in_version_1_of_who_takes_streams(booth):
    booth.rpc.respond(booth.invoked(sender="carol"), "y" * 1000, booth.now)
    assert booth.texts[0][2]["attributes"] == {"lk.rpc_request_id": "r1"}


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("250", 0.25), ("", 15.0), ("x", 15.0), ("-5", 15.0), ("1" * 11, 15.0), ("٣", 15.0)]
)
def test_the_time_of_a_call_by_stream(booth, timeout, seconds):
    streamed(booth, response_timeout_ms=timeout)
    (invoked,) = booth.told()
    assert invoked.invocation.response_timeout == seconds


def test_calls_by_stream_that_are_not_as_they_should(booth):
    def code():
        ack, answer = booth.pump()
        assert ack.rpc_ack.request_id == "s1"
        return answer.rpc_response.error.code

    streamed(booth, version="3")
    assert code() == RpcErrorCode.UNSUPPORTED_VERSION
    streamed(booth, method="dance")
    assert code() == RpcErrorCode.UNSUPPORTED_METHOD
    streamed(booth, whole=None, error=broken("TOO_LARGE"))
    assert code() == RpcErrorCode.REQUEST_PAYLOAD_TOO_LARGE
    streamed(booth, whole=None, error=broken("BAD_TEXT"))
    assert code() == RpcErrorCode.APPLICATION_ERROR
    streamed(booth, id="")
    assert not booth.rpc.waiting
    assert booth.told() == []


# ------------------------------------------------------------------ the session


def test_a_restart_ends_what_was_under_way_and_keeps_what_was_not_sent(booth):
    booth.asked()
    booth.call("carol")
    booth.lane.room = 1
    booth.pump()
    booth.call("carol")
    booth.lane.room = 0
    unsent = booth.call()
    invocation = booth.invoked()
    booth.rpc.restarted()
    *failed, cancelled = booth.told()
    assert [(output.token, output.error.code) for output in failed] == [
        (n, RpcErrorCode.SEND_FAILED) for n in (1, 2, 3)
    ]
    assert isinstance(cancelled, RpcCancelled)
    assert cancelled.invocation is invocation
    booth.lane.room = 10
    (packet,) = booth.pump()
    booth.hear(rpc_response={"request_id": packet.rpc_request.id, "payload": "x"})
    assert booth.told() == [RequestDone(unsent, "x")]


def test_the_end_of_the_session(booth):
    booth.asked()
    booth.call()
    booth.call("carol")
    invocation = booth.invoked()
    booth.rpc.ended()
    (cancelled,) = booth.told()
    assert cancelled.invocation is invocation
    assert not booth.rpc.waiting
    assert booth.advance(100) == INF
