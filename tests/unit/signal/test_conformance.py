"""The signalling session keeps the contract."""

from __future__ import annotations

from typing import Any

import pytest

from sansio import proto
from sansio.base import limits
from sansio.base.contract import SendSignal, SignalFailure
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.signal.session import SignalLost, SignalRefused, SignalSession
from sansio.testing.conformance import Input, Script, Subject, call, exercise

REQUESTS = (
    ("mute", proto.rtc.MuteTrackRequest(sid="TR_x")),
    ("trickle", proto.rtc.TrickleRequest(candidateInit="{}")),
    ("sync_state", proto.rtc.SyncState()),
    ("offer", proto.rtc.SessionDescription(type="offer", sdp="v=0", id=1)),
)


def make(entropy: Entropy) -> SignalSession:
    session = SignalSession(wall=WallClock(1_800_000_000.0, 1000.0))
    session.advance(1000.0)  # the time from which the exercise counts: an earlier one is the past
    return session


def response(**member: Any) -> Input:
    return call("handle_message", proto.rtc.SignalResponse(**member).SerializeToString())


def server(entropy: Entropy) -> Script:
    """A server that mostly behaves: lets in, answers pings, hands out tokens; and a user that asks for things."""
    signal = 0
    turn = yield None
    while True:
        signal += 1
        resume = signal > 1 and entropy.below(4) > 0
        yield call("start", signal, resume=resume)
        if entropy.below(8) == 0:
            yield call("handle_failed", SignalFailure("tcp", "refused"))
            continue
        yield call("handle_opened")
        if entropy.below(10) == 0:
            yield response(leave={"reason": 6})
            continue
        if resume:
            if entropy.below(3) == 0:
                yield response(speakers_changed={})
            yield response(reconnect={"last_message_seq": 4})
            yield call("send", *REQUESTS[2])
            yield call("send", *REQUESTS[0])
            turn = yield call("flush")
        else:
            turn = yield response(join={"ping_interval": 5, "ping_timeout": 15})
        while not any(isinstance(output, SignalLost | SignalRefused) for output in turn.outputs):
            kind = entropy.below(40)
            pings = [output.data for output in turn.outputs if isinstance(output, SendSignal)]
            if kind == 0:
                yield call("handle_closed", "1006")
                break
            if kind == 1:
                yield call("leave")
                break
            if kind == 2:
                yield response(leave={"action": 1})
                break
            if kind < 6:
                turn = yield call("handle_message", entropy.bytes(entropy.below(20)))
            elif kind < 12:
                turn = yield call("send", *entropy.choice(REQUESTS))
            elif kind < 16:
                turn = yield response(refresh_token="t")
            elif pings and kind < 30:
                stamp = proto.rtc.SignalRequest.FromString(pings[-1]).ping_req.timestamp
                turn = yield response(pong_resp={"last_ping_timestamp": stamp})
            else:
                turn = yield None


def misuse(session: SignalSession) -> list[Input]:
    found = [call("send", "nonsense", 1), call("send", "offer", None)]
    if session.connected:
        found.append(call("start", 99, resume=False))
    if session.queued >= limits.SIGNAL_QUEUE:
        found.append(call("send", *REQUESTS[0]))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_contract(seed: int) -> None:
    subject = Subject(make=make, script=server, drains=("outbox",), misuse=misuse, most=10_000)
    run = exercise(subject, b"signal %d" % seed, 250)
    assert len(run.record) == 250
