"""Operations that wait for the server's answer."""

from __future__ import annotations

from collections import deque

import pytest

from sansio import proto
from sansio.base import limits
from sansio.base.contract import INF, NOW
from sansio.base.errors import LocalProtocolError, RemoteProtocolError
from sansio.room.requests import Acknowledgements, RequestDone, RequestError, RequestFailed, Requests
from sansio.types import DisconnectReason, RequestReason


@pytest.fixture
def requests():
    return Requests(deque(), timeout=5.0)


def answer(request_id=0, reason=0, message="", **echo):
    return proto.rtc.RequestResponse(request_id=request_id, reason=reason, message=message, **echo)


def outcomes(requests):
    seen = list(requests.outbox)
    requests.outbox.clear()
    return seen


def test_metadata_requests_say_only_what_changes(requests):
    token, kind, message = requests.update_metadata(1.0, name="Al")
    assert (token, kind) == (1, "update_metadata")
    assert message == proto.rtc.UpdateParticipantMetadata(name="Al", request_id=1)
    assert requests.update_metadata(1.0, metadata="m")[2] == proto.rtc.UpdateParticipantMetadata(
        metadata="m", request_id=2
    )
    attributes = {"a": "1", "gone": ""}
    third = requests.update_metadata(1.0, attributes=attributes)[2]
    assert third == proto.rtc.UpdateParticipantMetadata(attributes=attributes, request_id=3)
    assert requests.update_metadata(1.0, attributes={})[2] == proto.rtc.UpdateParticipantMetadata(request_id=4)
    assert len(requests) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "the name cannot be set to an empty string"),
        ({"metadata": ""}, "the metadata cannot be set to an empty string"),
        ({"name": 3}, "must be text"),
        ({"metadata": b"\xff"}, "must be text"),
        ({"name": "\ud800"}, "must be text"),
        ({"attributes": {"a": 1}}, "must be text"),
        ({"attributes": {1: "a"}}, "must be text"),
        ({"attributes": {"a": "\ud800"}}, "must be text"),
        ({"attributes": 5}, "must be text"),
        ({"attributes": "text"}, "must be text"),
    ],
)
def test_what_cannot_be_asked_for(requests, changes, words):
    with pytest.raises(LocalProtocolError, match=words):
        requests.update_metadata(0.0, **changes)
    assert len(requests) == 0
    assert requests.advance(0.0) == INF


def test_the_answer_by_id(requests):
    first = requests.update_metadata(0.0, name="a")[0]
    second = requests.update_metadata(0.0, name="b")[0]
    requests.handle_response(answer(second), 0.1)
    requests.handle_response(answer(first, 2, "no grant"), 0.1)
    done, failed = outcomes(requests)
    assert done == RequestDone(second)
    assert done.result is None
    assert isinstance(failed, RequestFailed)
    assert failed.token == first
    assert failed.error.reason is RequestReason.NOT_ALLOWED
    assert failed.error.message == "no grant"
    assert str(failed.error) == "the access token does not allow this: no grant"
    assert isinstance(failed.error, RemoteProtocolError)
    assert len(requests) == 0


def test_an_answer_nobody_waits_for_is_counted(requests):
    token = requests.update_metadata(0.0, name="a")[0]
    requests.handle_response(answer(99), 0.0)
    requests.handle_response(answer(0), 0.0)
    requests.handle_response(answer(0, 1, update_metadata={"request_id": 99}), 0.0)
    requests.handle_response(answer(0, 1, trickle={"candidateInit": "x"}), 0.0)
    requests.handle_response(answer(0, 1, mute={"sid": "TR_x"}), 0.0)
    assert requests.counters["unknown_request"] == 5
    assert not outcomes(requests)
    requests.handle_response(answer(token), 0.0)
    requests.handle_response(answer(token), 0.0)
    assert outcomes(requests) == [RequestDone(token)]


@pytest.mark.parametrize(
    ("kind", "key", "echo"),
    [
        ("add_track", "cid-1", {"add_track": {"cid": "cid-1"}}),
        ("mute", "TR_1", {"mute": {"sid": "TR_1", "muted": True}}),
        ("update_audio_track", "TR_1", {"update_audio_track": {"track_sid": "TR_1"}}),
        ("update_video_track", "TR_1", {"update_video_track": {"track_sid": "TR_1"}}),
        ("publish_data_track", 7, {"publish_data_track": {"pub_handle": 7}}),
        ("unpublish_data_track", 7, {"unpublish_data_track": {"pub_handle": 7}}),
    ],
)
def test_the_answer_by_echo(requests, kind, key, echo):
    other = requests.start(kind, "other", now=0.0)
    wrong_kind = requests.start("other", key, now=0.0)
    token = requests.start(kind, key, timeout=10.0, now=0.0)
    requests.handle_response(answer(0, 3, **echo), 0.0)
    (failed,) = outcomes(requests)
    assert failed.token == token
    assert failed.error.reason is RequestReason.LIMIT_EXCEEDED
    assert sorted(requests._pending) == [other, wrong_kind]


def test_the_echo_of_metadata_has_the_id(requests):
    token = requests.update_metadata(0.0, name="a")[0]
    requests.handle_response(answer(0, 0, update_metadata={"request_id": token}), 0.0)
    assert outcomes(requests) == [RequestDone(token)]


def test_the_oldest_of_equal_keys_is_answered_first(requests):
    first = requests.start("mute", "TR_1", now=0.0)
    second = requests.start("mute", "TR_1", now=0.0)
    assert requests.done("mute", "TR_1", "result")
    assert requests.done("mute", "TR_1")
    assert not requests.done("mute", "TR_1")
    assert outcomes(requests) == [RequestDone(first, "result"), RequestDone(second)]


def test_queued_is_a_promise_and_no_answer(requests):
    token = requests.start("add_track", "c", now=0.0)
    requests.handle_response(answer(0, 4, add_track={"cid": "c"}), 0.0)
    assert not outcomes(requests)
    assert requests.counters["request_queued"] == 1
    assert requests.done("add_track", "c")
    assert outcomes(requests) == [RequestDone(token)]


def test_unknown_reasons_are_failures(requests):
    token = requests.update_metadata(0.0, name="a")[0]
    requests.handle_response(answer(token, 99), 0.0)
    assert outcomes(requests)[0].error.reason is RequestReason.UNCLASSIFIED_ERROR


def test_deadlines(requests):
    first = requests.update_metadata(0.0, name="a")[0]
    second = requests.start("mute", "TR_1", timeout=2.0, now=0.0)
    third = requests.start("mute", "TR_2", timeout=20.0, now=0.0)
    assert requests.advance(0.0) == 2.0
    assert requests.advance(1.999) == 2.0
    assert not outcomes(requests)
    assert requests.advance(2.0) == 5.0
    assert requests.advance(2.0) == 5.0
    assert [(failed.token, failed.error.reason) for failed in outcomes(requests)] == [(second, RequestReason.TIMED_OUT)]
    requests.handle_response(answer(second), 2.0)
    assert requests.advance(6.0) == 20.0
    assert [failed.token for failed in outcomes(requests)] == [first]
    assert requests.advance(1.0) == 20.0
    requests.cancel(third)
    assert requests.advance(6.0) == INF


def test_a_new_request_is_due_at_once_so_that_its_deadline_becomes_known(requests):
    assert requests.due == INF
    requests.start("add_track", "c", now=1.0)
    assert requests.due == NOW
    assert requests.advance(1.0) == requests.due == 6.0
    requests.start("add_track", "d", timeout=2.0, now=2.0)
    assert requests.due == NOW
    assert requests.advance(2.0) == requests.due == 4.0
    assert requests.advance(7.0) == requests.due == INF


def test_a_cancelled_request_has_no_outcome(requests):
    token = requests.update_metadata(0.0, name="a")[0]
    requests.cancel(token)
    requests.cancel(token)
    requests.cancel(999)
    requests.handle_response(answer(token), 0.0)
    assert requests.advance(100.0) == INF
    assert not outcomes(requests)


def test_the_end_of_the_session_fails_all(requests):
    tokens = [requests.update_metadata(0.0, name=name)[0] for name in "abc"]
    requests.fail_all(DisconnectReason.ROOM_DELETED)
    seen = outcomes(requests)
    assert [failed.token for failed in seen] == tokens
    assert {failed.error.reason for failed in seen} == {RequestReason.ROOM_ENDED}
    assert str(seen[0].error) == "the session ended before the answer: ROOM_DELETED"
    requests.fail_all(DisconnectReason.ROOM_DELETED)
    assert not outcomes(requests)


def test_requests_are_bounded(requests):
    for _ in range(limits.PENDING_REQUESTS):
        requests.update_metadata(0.0, name="a")
    with pytest.raises(LocalProtocolError, match="256 requests wait"):
        requests.update_metadata(0.0, name="a")
    assert len(requests) == limits.PENDING_REQUESTS
    requests.advance(5.0)
    assert len(requests) == 0
    assert requests.update_metadata(5.0, name="a")[0] == limits.PENDING_REQUESTS + 1


def test_every_reason_has_words():
    for reason in RequestReason:
        assert str(RequestError(reason))


def test_what_could_not_be_sent_is_withdrawn(requests):
    kept = requests.update_metadata(0.0, name="a")[0]
    token = requests.update_metadata(0.0, name="b")[0]
    requests.withdraw(token)
    assert len(requests) == 1
    assert requests.update_metadata(0.0, name="c")[0] == token
    requests.handle_response(answer(kept), 0.0)
    assert outcomes(requests) == [RequestDone(kept)]


# ------------------------------------------------------------------ acknowledgements


def test_who_waits_for_acknowledgements_is_told_in_order():
    outbox = deque()
    waiting = Acknowledgements(outbox)
    for packets, token in ((0, 1), (2, 2), (2, 3), (5, 4), (6, 5)):
        waiting.add(packets, token)
    waiting.settle(1)
    assert list(outbox) == [RequestDone(1)]
    waiting.cancel(3)
    waiting.cancel(99)
    waiting.settle(5)
    assert list(outbox) == [RequestDone(1), RequestDone(2), RequestDone(4)]
    outbox.clear()
    waiting.fail_all(RequestReason.UNACKNOWLEDGED)
    (failed,) = outbox
    assert (failed.token, failed.error.reason) == (5, RequestReason.UNACKNOWLEDGED)
    assert not waiting.awaited
