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
    SignalRefused,
    SignalResumed,
    SignalSession,
)


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
