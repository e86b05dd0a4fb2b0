"""The signalling session machine: first messages, keep-alive, queueing, endings."""

from __future__ import annotations

from typing import Any

import pytest

from sansio import proto
from sansio.base import limits
from sansio.base.contract import INF, CloseSignal, SendSignal, SignalFailure
from sansio.base.errors import LocalProtocolError
from sansio.base.wallclock import WallClock
from sansio.signal.refusal import RefusalKind
from sansio.signal.session import (
    ServerMessage,
    SignalJoined,
    SignalLost,
    SignalOptions,
    SignalResumed,
    SignalSession,
)
from sansio.types import DisconnectReason


def response(**member: Any) -> bytes:
    return bytes(proto.rtc.SignalResponse(**member).SerializeToString())


def join(interval: int = 5, timeout: int = 15) -> bytes:
    return response(join=proto.rtc.JoinResponse(ping_interval=interval, ping_timeout=timeout))


def drain(session: SignalSession) -> list[Any]:
    out = list(session.outbox)
    session.outbox.clear()
    return out


def sent(outputs: list[Any]) -> list[tuple[str, Any]]:
    found = []
    for output in outputs:
        if isinstance(output, SendSignal):
            request = proto.rtc.SignalRequest.FromString(output.data)
            kind = request.WhichOneof("message")
            assert kind is not None
            found.append((kind, getattr(request, kind)))
    return found


def new() -> SignalSession:
    return SignalSession(wall=WallClock(1_800_000_000.0, 100.0))


def joined(interval: int = 5, timeout: int = 15) -> SignalSession:
    session = new()
    session.start(1, resume=False, now=100.0)
    session.handle_opened(100.1)
    session.handle_message(join(interval, timeout), 100.2)
    session.advance(100.2)
    drain(session)
    return session


def lost() -> SignalSession:
    session = joined()
    session.handle_closed("gone", 101.0)
    assert drain(session) == [SignalLost("gone")]
    return session


def resuming() -> SignalSession:
    session = lost()
    session.start(2, resume=True, now=102.0)
    session.handle_opened(102.1)
    session.handle_message(response(reconnect=proto.rtc.ReconnectResponse(last_message_seq=7)), 102.2)
    (resumed,) = drain(session)
    assert isinstance(resumed, SignalResumed)
    assert resumed.response.last_message_seq == 7
    return session


# ------------------------------------------------------------------ the first message


def test_join_comes_first_and_is_followed_by_a_ping() -> None:
    session = new()
    assert session.advance(99.0) == INF
    session.start(1, resume=False, now=100.0)
    assert session.advance(100.0) == 115.0
    session.handle_opened(100.1)
    assert session.advance(100.1) == pytest.approx(105.1)
    assert not session.connected
    session.handle_message(join(), 100.2)
    assert session.connected
    outputs = drain(session)
    assert isinstance(outputs[0], SignalJoined)
    assert outputs[0].response.ping_interval == 5
    assert sent(outputs) == [("ping_req", proto.rtc.Ping(timestamp=1_800_000_000_200))]
    assert session.advance(100.2) == pytest.approx(105.2)


def test_waiting_for_the_first_message_ends() -> None:
    session = new()
    session.start(1, resume=False, now=100.0)
    session.handle_opened(100.1)
    assert session.advance(105.0) == pytest.approx(105.1)
    assert session.advance(105.2) == INF
    close, refused = drain(session)
    assert close == CloseSignal(1)
    assert refused.reason.kind is RefusalKind.UNREACHABLE
    assert "5 s" in refused.reason.what
    assert session.advance(200.0) == INF
    assert not session.outbox


def test_waiting_for_the_websocket_ends() -> None:
    session = SignalSession(wall=WallClock(), options=SignalOptions(open_timeout=3.0))
    session.start(1, resume=False, now=0.0)
    assert session.advance(3.0) == INF
    close, refused = drain(session)
    assert close == CloseSignal(1)
    assert refused.reason.kind is RefusalKind.UNREACHABLE
    assert "3 s" in str(refused.reason)


def test_the_first_message_has_no_more_time_than_the_whole_opening() -> None:
    session = new()
    session.start(1, resume=False, now=100.0)
    session.handle_opened(114.0)
    assert session.advance(114.0) == 115.0


def test_a_websocket_that_cannot_be_opened_is_a_refusal_without_a_close() -> None:
    session = new()
    session.start(1, resume=False, now=100.0)
    session.handle_failed(SignalFailure("http", "", 401, "invalid API key"), 100.5)
    (refused,) = drain(session)
    assert refused.reason.kind is RefusalKind.TOKEN_REJECTED
    assert session.advance(100.5) == INF


def test_a_close_before_the_first_message_is_a_refusal() -> None:
    for opened in (False, True):
        session = new()
        session.start(1, resume=False, now=100.0)
        if opened:
            session.handle_opened(100.0)
        session.handle_closed("1011 something", 100.2)
        (refused,) = drain(session)
        assert refused.reason.kind is RefusalKind.UNREACHABLE
        assert "1011 something" in str(refused.reason)


@pytest.mark.parametrize("resume", [False, True])
def test_a_leave_as_first_message_is_a_refusal(resume: bool) -> None:
    session = lost() if resume else new()
    session.start(3, resume=resume, now=102.0)
    session.handle_opened(102.0)
    leave = proto.rtc.LeaveRequest(
        action=proto.rtc.LeaveRequest.RECONNECT, reason=proto.models.DisconnectReason.STATE_MISMATCH
    )
    session.handle_message(response(leave=leave), 102.1)
    close, refused = drain(session)
    assert close == CloseSignal(3)
    assert refused.reason.kind is RefusalKind.REFUSED
    assert refused.reason.leave == leave
    assert "STATE_MISMATCH" in refused.reason.what


@pytest.mark.parametrize(
    ("resume", "first"),
    [
        (False, {"reconnect": {}}),
        (False, {"refresh_token": "t"}),
        (True, {"join": {}}),
        (True, {"pong": 1}),
        (True, {"pong_resp": {}}),
    ],
)
def test_any_other_first_message_is_a_protocol_error(resume: bool, first: dict[str, Any]) -> None:
    session = lost() if resume else new()
    session.start(3, resume=resume, now=102.0)
    session.handle_opened(102.0)
    session.handle_message(response(**first), 102.1)
    close, refused = drain(session)
    assert close == CloseSignal(3)
    assert refused.reason.kind is RefusalKind.PROTOCOL
    assert next(iter(first)) in refused.reason.what


def test_messages_that_overtake_a_reconnect_wait_for_it() -> None:
    session = lost()
    session.start(2, resume=True, now=102.0)
    session.handle_opened(102.0)
    session.handle_message(response(speakers_changed={}), 102.1)
    session.handle_message(response(refresh_token="newer"), 102.1)
    assert not session.outbox
    session.handle_message(response(reconnect={}), 102.2)
    resumed, speakers, token = drain(session)
    assert isinstance(resumed, SignalResumed)
    assert (speakers.kind, token.kind) == ("speakers_changed", "refresh_token")


def test_messages_that_overtake_a_reconnect_are_bounded() -> None:
    session = lost()
    session.start(2, resume=True, now=102.0)
    session.handle_opened(102.0)
    for _ in range(limits.SIGNAL_EARLY):
        session.handle_message(response(speakers_changed={}), 102.1)
    assert not session.outbox
    session.handle_message(response(speakers_changed={}), 102.1)
    close, refused = drain(session)
    assert close == CloseSignal(2)
    assert refused.reason.kind is RefusalKind.PROTOCOL


def test_the_bytes_of_messages_that_overtake_a_reconnect_are_bounded() -> None:
    data = response(refresh_token="x" * (limits.SIGNAL_EARLY_BYTES // 2 - 16))  # two have room
    session = lost()
    for signal in 2, 3:  # each link begins to count anew
        session.start(signal, resume=True, now=102.0)
        session.handle_opened(102.0)
        session.handle_message(data, 102.1)
        session.handle_message(data, 102.1)
        assert not session.outbox
        session.handle_message(data, 102.1)
        close, refused = drain(session)
        assert close == CloseSignal(signal)
        assert refused.reason.kind is RefusalKind.PROTOCOL


def test_an_unknown_first_message_is_skipped() -> None:
    session = new()
    session.start(1, resume=False, now=100.0)
    session.handle_opened(100.0)
    session.handle_message(b"", 100.0)
    session.handle_message(b"\xfa\x3e\x00", 100.0)  # field 1007
    assert session.counters["unknown_message"] == 2
    session.handle_message(join(), 100.1)
    assert session.connected


# ------------------------------------------------------------------ keep-alive


def test_pings_carry_the_round_trip_once_it_is_known() -> None:
    session = joined()
    assert session.rtt is None
    session.handle_message(response(pong_resp={"last_ping_timestamp": 1_800_000_000_200}), 100.2384)
    assert session.rtt == pytest.approx(0.0384)
    assert session.advance(105.19) == pytest.approx(105.2)
    assert not session.outbox
    assert session.advance(105.3) == pytest.approx(110.3)
    assert sent(drain(session)) == [("ping_req", proto.rtc.Ping(timestamp=1_800_000_005_300, rtt=38))]


def test_a_round_trip_below_a_millisecond_is_not_called_unknown() -> None:
    session = joined()
    session.handle_message(response(pong_resp={"last_ping_timestamp": 1_800_000_000_200}), 100.2001)
    session.advance(106.0)
    ((_, ping),) = sent(drain(session))
    assert ping.rtt == 1


def test_pongs_that_answer_nothing_are_counted() -> None:
    session = joined()
    session.handle_message(response(pong_resp={"last_ping_timestamp": 17}), 100.3)
    session.handle_message(response(pong=17), 100.3)
    assert session.rtt is None
    assert session.counters["unexpected_pong"] == 1
    assert not session.outbox


def test_remembered_pings_are_bounded() -> None:
    session = joined()
    for step in range(limits.SIGNAL_PINGS):
        now = session.advance(100.2 + step)
        session.advance(now)
        session.handle_message(response(speakers_changed={}), now)
    session.handle_message(response(pong_resp={"last_ping_timestamp": 1_800_000_000_200}), 130.0)
    assert session.counters["unexpected_pong"] == 1


def test_silence_ends_the_link() -> None:
    session = joined()
    now = 100.2
    while not any(isinstance(output, SignalLost) for output in session.outbox):
        now = session.advance(now)
    outputs = drain(session)
    assert now == INF
    assert outputs[-2:] == [CloseSignal(1), SignalLost("nothing came from the server for 15 s")]
    assert [kind for kind, _ in sent(outputs)] == ["ping_req", "ping_req"]
    assert not session.connected


def test_after_a_change_of_the_network_the_link_has_to_answer_soon() -> None:
    session = joined()
    session.advance(102.0)
    drain(session)
    session.check(102.0)
    assert [kind for kind, _ in sent(drain(session))] == ["ping_req"]
    assert session.advance(102.0) == 103.5
    session.handle_message(response(pong=17), 102.1)
    assert session.advance(103.5) == 107.0  # the next ping
    drain(session)
    session.check(104.0)
    session.advance(105.5)
    assert drain(session)[-1] == SignalLost("nothing came from the server for 1.5 s")
    session.check(106.0)
    assert session.advance(106.0) == INF


def test_a_link_that_is_not_watched_is_not_checked() -> None:
    session = new()
    session.check(100.0)
    session.start(1, resume=False, now=100.0)
    session.handle_opened(100.0)
    session.check(100.0)
    session.handle_message(join(0, 0), 100.0)
    session.check(100.0)
    assert sent(drain(session)) == []


def test_any_message_is_a_sign_of_life() -> None:
    session = joined()
    now = 100.2
    for _ in range(20):
        now += 10
        session.handle_message(response(speakers_changed={}), now)
        session.advance(now)
    assert session.connected
    assert not [output for output in drain(session) if isinstance(output, SignalLost)]


@pytest.mark.parametrize(("interval", "timeout"), [(0, 15), (5, 0), (0, 0), (-1, 15), (5, -3)])
def test_without_both_values_there_is_no_keep_alive(interval: int, timeout: int) -> None:
    session = new()
    session.start(1, resume=False, now=100.0)
    session.handle_opened(100.0)
    session.handle_message(join(interval, timeout), 100.0)
    assert sent(drain(session)) == []
    assert session.advance(100.0) == INF


def test_the_keep_alive_of_a_resumed_link_begins_with_the_flush() -> None:
    session = resuming()
    assert session.advance(102.2) == pytest.approx(117.2)  # silence is watched already
    session.flush(104.0)
    assert [kind for kind, _ in sent(drain(session))] == ["ping_req"]
    assert session.advance(104.0) == 109.0


# ------------------------------------------------------------------ requests


def test_requests_go_out_at_once_while_the_link_is_up() -> None:
    session = joined()
    assert session.send("offer", proto.rtc.SessionDescription(type="offer", sdp="v=0", id=4), 101.0)
    assert session.send("ping", 5, 101.0)
    outputs = drain(session)
    assert [output.signal for output in outputs] == [1, 1]
    assert sent(outputs) == [("offer", proto.rtc.SessionDescription(type="offer", sdp="v=0", id=4)), ("ping", 5)]


def test_the_bytes_of_a_request_do_not_depend_on_the_order_of_a_map() -> None:
    forms = []
    for names in (("a", "b", "c"), ("c", "b", "a")):
        session = joined()
        session.send(
            "update_metadata", proto.rtc.UpdateParticipantMetadata(attributes=dict.fromkeys(names, "1")), 101.0
        )
        forms.append(drain(session)[0].data)
    assert forms[0] == forms[1]


@pytest.mark.parametrize(
    ("kind", "message"),
    [("nonsense", 1), ("offer", 5), ("ping", "x"), ("offer", None), ("refresh_token", "server only")],
)
def test_invalid_requests_are_the_callers_fault(kind: str, message: Any) -> None:
    session = joined()
    with pytest.raises(LocalProtocolError):
        session.send(kind, message, 101.0)
    assert not session.outbox
    assert session.connected


def test_a_request_too_long_for_the_server_is_not_sent() -> None:
    session = joined()
    with pytest.raises(LocalProtocolError, match="longer"):
        session.send("offer", proto.rtc.SessionDescription(sdp="x" * limits.SIGNAL_MESSAGE_OUT), 101.0)
    assert not session.outbox


def test_while_resuming_only_the_pass_list_is_sent() -> None:
    session = resuming()
    assert session.send("mute", proto.rtc.MuteTrackRequest(sid="TR_1", muted=True), 102.3)
    assert session.send("sync_state", proto.rtc.SyncState(), 102.3)
    assert session.send("update_metadata", proto.rtc.UpdateParticipantMetadata(name="n"), 102.3)
    assert session.send("trickle", proto.rtc.TrickleRequest(candidateInit="{}"), 102.3)
    for kind in ("offer", "answer"):
        assert session.send(kind, proto.rtc.SessionDescription(), 102.4)
    assert session.send("simulate", proto.rtc.SimulateScenario(), 102.4)
    outputs = drain(session)
    assert [output.signal for output in outputs] == [2] * 5
    assert [kind for kind, _ in sent(outputs)] == ["sync_state", "trickle", "offer", "answer", "simulate"]
    assert session.queued == 2
    session.flush(103.0)
    assert [kind for kind, _ in sent(drain(session))] == ["mute", "update_metadata", "ping_req"]
    assert session.queued == 0
    session.flush(103.0)
    assert not session.outbox


def test_while_the_link_is_away_requests_wait_and_negotiation_is_dropped() -> None:
    session = lost()
    assert session.send("mute", proto.rtc.MuteTrackRequest(sid="TR_1"), 101.0)
    assert not session.send("offer", proto.rtc.SessionDescription(), 101.0)
    assert session.counters["not_sent"] == 1
    session.flush(101.0)
    assert not session.outbox
    session.start(2, resume=True, now=102.0)
    session.handle_failed(SignalFailure("tcp", "refused"), 102.1)
    drain(session)
    session.start(3, resume=True, now=103.0)
    session.handle_opened(103.0)
    assert session.send("mute", proto.rtc.MuteTrackRequest(sid="TR_2"), 103.0)
    session.handle_message(response(reconnect={}), 103.1)
    session.flush(103.2)
    outputs = drain(session)
    assert [message.sid for kind, message in sent(outputs) if kind == "mute"] == ["TR_1", "TR_2"]


def test_a_new_join_forgets_what_waited_and_sends_what_came_since() -> None:
    session = lost()
    session.send("mute", proto.rtc.MuteTrackRequest(sid="TR_old"), 101.0)
    session.start(2, resume=False, now=102.0)
    session.send("update_metadata", proto.rtc.UpdateParticipantMetadata(name="n"), 102.0)
    session.handle_opened(102.0)
    session.handle_message(join(), 102.1)
    outputs = drain(session)
    assert isinstance(outputs[0], SignalJoined)
    assert [kind for kind, _ in sent(outputs)] == ["update_metadata", "ping_req"]


def test_waiting_requests_are_bounded() -> None:
    session = lost()
    mute = proto.rtc.MuteTrackRequest(sid="TR_1")
    for _ in range(limits.SIGNAL_QUEUE):
        session.send("mute", mute, 101.0)
    with pytest.raises(LocalProtocolError, match="too many"):
        session.send("mute", mute, 101.0)
    assert session.queued == limits.SIGNAL_QUEUE


# ------------------------------------------------------------------ messages of the server


def test_messages_come_out_with_their_kind() -> None:
    session = joined()
    session.handle_message(response(trickle={"candidateInit": "{}"}), 101.0)
    session.handle_message(response(answer={"sdp": "v=0", "id": 3}), 101.0)
    trickle, answer = drain(session)
    assert (trickle.kind, trickle.message.candidateInit) == ("trickle", "{}")
    assert (answer.kind, answer.message.id) == ("answer", 3)
    assert "v=0" not in repr(answer)


def test_a_second_join_or_reconnect_is_counted() -> None:
    session = joined()
    session.handle_message(join(), 101.0)
    session.handle_message(response(reconnect={}), 101.0)
    assert session.counters["unexpected_message"] == 2
    assert not session.outbox


def test_tokens_are_passed_on_and_never_shown() -> None:
    session = joined()
    session.handle_message(response(refresh_token="secret-1"), 101.0)
    session.handle_message(response(room_moved={"token": "secret-2"}), 101.0)
    refresh, moved = outputs = drain(session)
    assert (refresh.kind, refresh.message) == ("refresh_token", "secret-1")
    assert (moved.kind, moved.message.token) == ("room_moved", "secret-2")
    assert "secret" not in repr(session) + repr(outputs)


def test_undecodable_messages_are_skipped_until_there_are_three_in_a_row() -> None:
    session = joined()
    garbage = b"\x0a\xff\xff"
    for _ in range(5):
        session.handle_message(garbage, 101.0)
        session.handle_message(garbage, 101.0)
        session.handle_message(response(speakers_changed={}), 101.0)
    assert {type(output) for output in drain(session)} == {ServerMessage}
    for _ in range(limits.SIGNAL_UNDECODABLE):
        session.handle_message(garbage, 102.0)
    assert drain(session) == [CloseSignal(1), SignalLost("the messages of the server cannot be decoded")]
    assert session.counters["undecodable_message"] == 10 + limits.SIGNAL_UNDECODABLE


def test_undecodable_first_messages_are_a_refusal() -> None:
    session = new()
    session.start(1, resume=False, now=100.0)
    session.handle_opened(100.0)
    for _ in range(limits.SIGNAL_UNDECODABLE):
        session.handle_message(b"\x0a\xff\xff", 100.1)
    close, refused = drain(session)
    assert close == CloseSignal(1)
    assert refused.reason.kind is RefusalKind.PROTOCOL


def test_an_oversized_message_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sansio.signal.session.SIGNAL_MESSAGE_IN", 100)
    session = joined()
    session.handle_message(response(refresh_token="x" * 100), 101.0)
    assert session.counters["undecodable_message"] == 1
    assert not session.outbox


# ------------------------------------------------------------------ endings


def test_a_close_of_a_link_that_was_up_is_a_loss() -> None:
    for session in (joined(), resuming()):
        session.handle_closed("", 103.0)
        assert drain(session) == [SignalLost("the server closed the signalling link")]
        assert session.advance(103.0) == INF


def test_a_leave_of_the_server_closes_the_link() -> None:
    session = joined()
    leave = proto.rtc.LeaveRequest(action=proto.rtc.LeaveRequest.RESUME)
    session.handle_message(response(leave=leave), 101.0)
    close, message = drain(session)
    assert close == CloseSignal(1)
    assert (message.kind, message.message) == ("leave", leave)
    assert not session.connected
    session.handle_closed("1000", 101.1)
    session.handle_message(response(speakers_changed={}), 101.1)
    assert not session.outbox
    assert session.counters["unexpected_message"] == 1
    assert session.advance(101.1) == INF


def test_leaving_tells_the_server_and_closes() -> None:
    for session in (joined(), resuming()):
        session.send("mute", proto.rtc.MuteTrackRequest(), 103.0)
        drain(session)
        session.leave(103.0)
        outputs = drain(session)
        leave = proto.rtc.LeaveRequest(reason=proto.models.DisconnectReason.CLIENT_INITIATED)
        assert sent(outputs) == [("leave", leave)]
        assert isinstance(outputs[-1], CloseSignal)
        assert session.queued == 0
        session.handle_closed("1000", 103.1)
        session.leave(103.1)
        assert not session.outbox
        assert session.advance(103.1) == INF


def test_leaving_for_a_reason() -> None:
    session = joined()
    session.leave(103.0, reason=DisconnectReason.USER_REJECTED)
    ((_, leave),) = sent(drain(session))
    assert leave.reason == proto.models.DisconnectReason.USER_REJECTED


def test_leaving_before_the_websocket_is_open_says_so_when_it_opens() -> None:
    session = new()
    session.start(4, resume=False, now=100.0)
    session.leave(100.0)
    outputs = drain(session)
    assert [kind for kind, _ in sent(outputs)] == ["leave"]
    assert outputs[-1] == CloseSignal(4)
    session.handle_opened(100.1)
    session.handle_failed(SignalFailure("tcp", "x"), 100.1)
    assert session.advance(100.2) == INF
    assert not session.outbox


def test_leaving_while_the_first_message_is_awaited_tells_the_server() -> None:
    session = new()
    session.start(4, resume=False, now=100.0)
    session.handle_opened(100.0)
    session.leave(100.0)
    assert [kind for kind, _ in sent(list(session.outbox))] == ["leave"]


def test_a_dropped_link_is_closed_without_a_word_and_what_waited_still_waits() -> None:
    session = joined()
    session.drop(101.0)
    assert drain(session) == [CloseSignal(1)]
    session.send("mute", proto.rtc.MuteTrackRequest(sid="TR_x"), 101.0)
    session.drop(101.0)
    assert drain(session) == []
    assert session.queued == 1


def test_starting_twice_is_the_callers_fault() -> None:
    session = joined()
    with pytest.raises(LocalProtocolError):
        session.start(2, resume=True, now=101.0)
    assert session.connected


# ------------------------------------------------------------------ the contract


def test_time_does_not_go_back_and_advance_is_quiet() -> None:
    session = joined()
    due = session.advance(100.2)
    assert session.advance(50.0) == due
    assert session.advance((100.2 + due) / 2) == due
    assert not session.outbox
    session.handle_opened(90.0)  # out of place: ignored
    session.handle_failed(SignalFailure("tcp", "x"), 90.0)
    assert session.connected
    assert repr(session) == "SignalSession(UP, signal=1, queued=0)"


def test_the_same_inputs_give_the_same_outputs() -> None:
    traces = []
    for _ in range(2):
        session = joined()
        session.send("trickle", proto.rtc.TrickleRequest(candidateInit="{}"), 101.0)
        session.advance(106.0)
        traces.append([output.data for output in drain(session)])
    assert traces[0] == traces[1]
