"""Recorded sessions of a real server, through the session machine."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sansio import proto
from sansio.base.contract import CloseSignal, SendSignal
from sansio.base.wallclock import WallClock
from sansio.signal.refusal import RefusalKind
from sansio.signal.session import (
    ServerMessage,
    SignalJoined,
    SignalLost,
    SignalRefused,
    SignalResumed,
    SignalSession,
)

FILES = sorted((Path(__file__).parents[2] / "data" / "signal").glob("*.jsonl"))
KEEP_ALIVE = ("pong", "pong_resp")


def kind_of(output: Any) -> str:
    match output:
        case SignalJoined():
            return "join"
        case SignalResumed():
            return "reconnect"
        case SignalRefused(reason=reason) if reason.leave is not None:
            return "leave"
        case ServerMessage(kind=kind, message=message):
            assert message is not None
            return kind
    raise AssertionError(output)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recorded_message_comes_out_as_what_it_is(path: Path) -> None:
    session = SignalSession(wall=WallClock())
    heard: list[str] = []
    said: list[str] = []
    said_on_this_link = 0
    lost = 0
    now = 0.0

    def drain() -> None:
        nonlocal lost
        while session.outbox:
            output = session.outbox.popleft()
            if isinstance(output, SendSignal):
                assert proto.rtc.SignalRequest.FromString(output.data).WhichOneof("message") == "ping_req"
            elif isinstance(output, SignalLost):
                lost += 1
            elif isinstance(output, SignalRefused) and output.reason.kind is RefusalKind.UNREACHABLE:
                assert not said_on_this_link
            elif not isinstance(output, CloseSignal):
                heard.append(kind_of(output))

    current, ended = 0, True
    for row in map(json.loads, path.read_text().splitlines()):
        now = float(row["t"])
        if row["type"] == "open":
            session.handle_closed("replaced", now)
            drain()
            session.start(row["conn"], resume=row["resume"], now=now)
            session.handle_opened(now)
            current, ended = row["conn"], False
            said_on_this_link = 0
        elif row["type"] == "c2s" or row["conn"] != current:
            continue  # a stalled link speaks on while the next one is in use already
        elif row["type"] == "s2c" and not ended:
            if row["kind"] not in KEEP_ALIVE:
                said.append(row["kind"])
                said_on_this_link += 1
            session.handle_message(base64.b64decode(row["raw"]), now)
            session.flush(now)
            ended = row["kind"] == "leave"
        elif row["type"] == "close":
            session.handle_closed("recorded", now)
            ended = True
        drain()
        assert session.advance(now) > now
        drain()
    assert said
    assert heard == said
    assert lost <= sum("reconnect" in kind or kind == "join" for kind in said)
    assert session.counters["undecodable_message"] == 0
    assert session.counters["unexpected_message"] == 0
