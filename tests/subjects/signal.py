"""The signalling session, with a server that says whatever it likes, and with one that mostly behaves."""

from __future__ import annotations

from typing import Any

from sansio import proto
from sansio.base import limits
from sansio.base.contract import SendSignal, SignalFailure
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.signal.session import SignalLost, SignalRefused, SignalSession
from sansio.testing.conformance import Input, Script, Subject, call

from .duet import mutated


def messages() -> list[bytes]:
    """A message of each sort that a server sends."""
    rtc, models = proto.rtc, proto.models
    contents = [
        {"join": rtc.JoinResponse(ping_interval=2, ping_timeout=5)},
        {"join": rtc.JoinResponse()},
        {"reconnect": rtc.ReconnectResponse()},
        {"leave": rtc.LeaveRequest(action=rtc.LeaveRequest.RESUME)},
        {"leave": rtc.LeaveRequest(reason=models.DisconnectReason.DUPLICATE_IDENTITY)},
        {"refresh_token": "new-token"},
        {"refresh_token": "t" * 70_000},
        {"pong": 5},
        {"pong_resp": rtc.Pong(last_ping_timestamp=1)},
        {"update": rtc.ParticipantUpdate(participants=[models.ParticipantInfo(sid="PA_x", identity="x")])},
        {"answer": rtc.SessionDescription(type="answer", sdp="v=0")},
        {"trickle": rtc.TrickleRequest(candidateInit="{}")},
    ]
    found = [bytes(rtc.SignalResponse(**content).SerializeToString()) for content in contents]
    return [*found, b"", b"\xff\xff"]


def script(entropy: Entropy) -> Script:
    choices, signal = messages(), 0
    expected: list[Input] = []
    queries = proto.rtc.TrackPermission
    turn = yield None
    while True:
        pings = []
        for output in turn.outputs:
            if isinstance(output, SendSignal):
                request = proto.rtc.SignalRequest.FromString(output.data)
                if request.WhichOneof("message") == "ping_req":
                    pings.append(request.ping_req.timestamp)
        kind = entropy.below(20)
        item: Input | None = None
        if expected and kind < 16:
            item = expected.pop(0)
        elif kind < 3:
            signal += 1
            resume = bool(entropy.below(2))
            item = call("start", signal, resume=resume)
            expected = [call("handle_opened"), call("handle_message", choices[2 if resume else entropy.below(2)])]
        elif kind < 6:
            item = call("handle_opened")
        elif kind == 6:
            failure = entropy.choice(["dns", "tcp", "tls", "http", "protocol", "timeout"])
            item = call("handle_failed", SignalFailure(failure, "why", status=entropy.choice([0, 401, 404, 503])))
        elif kind == 7:
            item = call("handle_closed", entropy.choice(["", "gone"]))
        elif pings and kind < 14:
            pong = proto.rtc.Pong(last_ping_timestamp=pings[-1])
            item = call("handle_message", bytes(proto.rtc.SignalResponse(pong_resp=pong).SerializeToString()))
        elif kind < 14:
            item = call("handle_message", entropy.choice(choices))
        elif kind == 14:
            item = call("handle_message", mutated(entropy.choice(choices), entropy))
        elif kind == 15:
            item = call("flush")
        elif kind == 16 and entropy.below(4) == 0:
            item = call("leave")
        elif kind < 19:
            item = entropy.choice(
                [
                    call("send", "trickle", proto.rtc.TrickleRequest(candidateInit="{}")),
                    call("send", "mute", proto.rtc.MuteTrackRequest(sid="TR_x", muted=True)),
                    call("send", "mute", queries()),
                    call("send", "nothing", queries()),
                ]
            )
        turn = yield item


# ------------------------------------------------------------------ a server that mostly behaves

REQUESTS = (
    ("mute", proto.rtc.MuteTrackRequest(sid="TR_x")),
    ("trickle", proto.rtc.TrickleRequest(candidateInit="{}")),
    ("sync_state", proto.rtc.SyncState()),
    ("offer", proto.rtc.SessionDescription(type="offer", sdp="v=0", id=1)),
)


def response(**member: Any) -> Input:
    return call("handle_message", proto.rtc.SignalResponse(**member).SerializeToString())


def behaving(entropy: Entropy) -> Script:
    """It lets in, answers pings and hands out tokens, and its user asks for things: so sessions grow old."""
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


def make(entropy: Entropy) -> SignalSession:
    session = SignalSession(wall=WallClock(1.8e9, 1000.0))
    session.advance(1000.0)  # the time from which the exercise counts: an earlier one is the past
    return session


def misuse(session: SignalSession) -> list[Input]:
    found = [call("send", "nothing", None), call("send", "mute", proto.rtc.TrackPermission())]
    if session.connected:
        found.append(call("start", 99, resume=False))
    if session.queued >= limits.SIGNAL_QUEUE:
        found.append(call("send", *REQUESTS[0]))
    return found


SUBJECTS = {
    "signal.session.SignalSession": [
        # a session may always be started again, so it never ends for good
        Subject(make=make, script=script, drains=("outbox",), misuse=misuse),
        Subject(make=make, script=behaving, drains=("outbox",), misuse=misuse, most=10_000),
    ],
}
