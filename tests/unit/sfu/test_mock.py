"""Scripted misbehaviour by the token."""

from __future__ import annotations

import json

import pytest

from sansio import proto
from sansio.base.contract import CloseSignal
from sansio.sfu.mock import MODES, Script, script_of
from sansio.sfu.server import AcceptSignal, DropSignal, RefuseSignal
from sansio.sfu.token import Claims, mint
from sansio.signal.urls import JoinSettings, resume_url
from tests.unit.sfu.door import UNIX, Door

rtc, models = proto.rtc, proto.models


def control(mode, action=None):
    value = {"signal": mode}
    if action is not None:
        value["leaveAction"] = action
    return {"lk.mock": json.dumps(value)}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", None),
        ("{", Script("happy")),
        ("[]", Script("happy")),
        ("[" * 100000, Script("happy")),
        ('{"signal": "no_pong"}', Script("no_pong")),
        ('{"signal": "nonsense"}', Script("happy")),
        ('{"signal": 5, "leaveAction": true}', Script("happy")),
        ('{"signal": "no_pong", "leaveAction": "reconnect"}', Script("no_pong", 2)),
        ('{"leaveAction": 1}', Script("happy", 1)),
        ('{"leaveAction": 9}', Script("happy")),
        ('{"leaveAction": "nonsense"}', Script("happy")),
    ],
)
def test_what_a_token_asks_for(text, script):
    assert script_of(Claims("a", "r", attributes={"lk.mock": text})) == script


@pytest.mark.parametrize(
    ("mode", "status", "body"),
    [
        ("validate_500", 500, "internal server error"),
        ("validate_service_not_found", 404, "not found"),
        ("room_not_found", 404, "requested room does not exist"),
    ],
)
def test_refusals(mode, status, body):
    door = Door()
    assert door.knock(attributes=control(mode)) == RefuseSignal(1, status, body)
    token = mint(Claims("a", "r", "key", attributes=control(mode)), "secret", UNIX)
    answer = door.server.handle_http("GET", f"/rtc/validate?access_token={token}", (), b"", 0.0)
    assert (answer.status, answer.body.decode()) == (status, body)


def test_no_session_at_all():
    door = Door()
    assert door.knock(attributes=control("no_first_message")) == AcceptSignal(1)
    assert door.turn(60.0) == []
    assert door.knock(attributes=control("close_before_join")) == AcceptSignal(2)
    assert door.turn(0.04) == []
    assert door.turn(0.02) == [CloseSignal(2, 1011)]
    assert door.knock(attributes=control("leave_first_message", "RESUME")) == AcceptSignal(3)
    (leave,) = door.messages("leave", 3)
    assert (leave.action, leave.reason) == (rtc.LeaveRequest.RESUME, models.SERVER_SHUTDOWN)
    assert not door.messages("join")
    assert door.server.identities("room") == []


@pytest.mark.parametrize(
    ("mode", "output"),
    [("close_when_connected", CloseSignal(1, 1011)), ("drop_when_connected", DropSignal(1))],
)
def test_links_that_end_soon(mode, output):
    door = Door()
    door.knock(attributes=control(mode))
    (join,) = door.messages("join")
    assert (join.ping_interval, join.ping_timeout) == (1, 3)
    assert door.turn(0.1) == []
    assert door.turn(0.1) == [output]
    assert door.there("alice") is None
    assert door.turn(0.1) == []


def test_a_room_that_is_left_by_that_ends_in_time():
    door = Door(departure_timeout=1)
    door.knock(attributes=control("close_when_connected"))
    door.now += 0.2
    due = door.server.advance(door.now)
    assert door.there("alice") is None
    assert due == door.server.advance(door.now) == door.now + 1


def test_a_link_that_ends_while_media_is_up():
    door = Door()
    door.knock(attributes=control("drop_when_connected"))
    door.there("alice").active = True
    assert DropSignal(1) in door.turn(0.2)
    assert door.there("alice").signal == 0


def test_a_leave_soon_after_the_join():
    door = Door()
    door.knock(attributes=control("leave_when_connected", 2))
    door.turn(0.2)
    (leave,) = door.messages("leave", 1)
    assert leave.action == rtc.LeaveRequest.RECONNECT
    assert door.there("alice")
    door.turn(10.0)
    assert len(door.messages("leave", 1)) == 1


def test_a_leave_on_coming_back():
    door = Door()
    door.knock(attributes=control("leave_during_reconnect"))
    assert door.messages("join")
    url = resume_url("ws://x", JoinSettings(), sid=door.there("alice").sid)
    assert door.knock(url, attributes=control("leave_during_reconnect")) == AcceptSignal(2)
    assert [leave.action for leave in door.messages("leave", 2)] == [rtc.LeaveRequest.DISCONNECT]


def test_pings_without_answers():
    door = Door()
    door.knock(attributes=control("no_pong"))
    door.request(1, ping_req=rtc.Ping(timestamp=1))
    door.request(1, ping=1)
    assert not door.messages("pong_resp")
    door.request(1, mute=rtc.MuteTrackRequest(sid="x"))
    assert door.messages("request_response")


def test_a_link_that_is_cut_where_it_should_be_closed():
    door = Door()
    door.knock(attributes=control("drop_on_close"))
    assert door.request(1, leave=rtc.LeaveRequest())[-1] == DropSignal(1)


def test_happiness_and_servers_that_do_not_play():
    door = Door(mock=False)
    for mode in MODES:
        assert isinstance(door.knock(attributes=control(mode)), AcceptSignal)
    door = Door()
    door.knock(attributes=control("happy"))
    door.request(1, ping_req=rtc.Ping(timestamp=1))
    assert door.messages("pong_resp")
    assert door.request(1, leave=rtc.LeaveRequest())[-1] == CloseSignal(1)
