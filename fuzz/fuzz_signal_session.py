"""The signalling session under any order of calls, answers and messages."""

from __future__ import annotations

from sansio import proto
from sansio.base.contract import SignalFailure
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.signal.session import SignalSession
from sansio.testing.conformance import Input, Script, Subject, call, exercise

STEPS = 60


def one(data: bytes) -> None:
    subject = Subject(make=make, script=lambda _: operations(data), drains=("outbox",), most=20_000)
    exercise(subject, data[:4], STEPS)


def make(entropy: Entropy) -> SignalSession:
    session = SignalSession(wall=WallClock(1_800_000_000.0, 1000.0))
    session.advance(1000.0)  # the time from which the exercise counts: an earlier one is the past
    return session


def operations(data: bytes) -> Script:
    """One operation a byte; the byte after one that takes an argument is the argument."""
    rest = iter(data)
    signal = 0
    for code in rest:
        operation, variant = code & 15, code >> 4
        if operation == 0:
            signal += 1
        yield decode(operation, variant, next(rest, 0) if operation > 8 else 0, signal)
    yield None


def decode(operation: int, variant: int, argument: int, signal: int) -> Input | None:
    response = proto.rtc.SignalResponse
    match operation:
        case 0:
            return call("start", signal, resume=bool(variant & 1))
        case 1 | 2:
            return call("handle_opened")
        case 3:
            return call("handle_failed", SignalFailure(("dns", "tcp", "http", "protocol")[variant & 3], "x", 404, "y"))
        case 4:
            return call("handle_closed", "x" * (variant & 1))
        case 5:
            return call("flush")
        case 6:
            return call("leave")
        case 7:
            return call("handle_message", response(reconnect={"last_message_seq": variant}).SerializeToString())
        case 8:
            return None
        case 9:
            join = {"ping_interval": argument & 7, "ping_timeout": argument >> 4}
            return call("handle_message", response(join=join).SerializeToString())
        case 10:
            pong = {"last_ping_timestamp": 1_800_000_000_000 + argument}
            return call("handle_message", response(pong_resp=pong).SerializeToString())
        case 11:
            return call("handle_message", response(leave={"reason": argument & 15}).SerializeToString())
        case 12:
            return call("handle_message", bytes([argument]) * variant)
        case 13:
            return call("handle_message", response(refresh_token="t" * argument).SerializeToString())
        case 14:
            return call(
                "send", ("mute", "sync_state", "offer", "nonsense")[argument & 3], MESSAGES[argument & 3 ^ variant & 3]
            )
        case _:
            return call("send", "trickle", proto.rtc.TrickleRequest(candidateInit="c" * argument))


MESSAGES = (
    proto.rtc.MuteTrackRequest(sid="TR_x"),
    proto.rtc.SyncState(),
    proto.rtc.SessionDescription(type="offer", sdp="v=0", id=1),
    None,
)
