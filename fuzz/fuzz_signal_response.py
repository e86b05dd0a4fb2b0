"""One message of the server, in each state of the session."""

from __future__ import annotations

from sansio import proto
from sansio.base.contract import CloseSignal, SendSignal
from sansio.base.wallclock import WallClock
from sansio.signal.session import ServerMessage, SignalJoined, SignalLost, SignalRefused, SignalResumed, SignalSession

CONSUMED = ("join", "reconnect", "pong", "pong_resp")


def one(data: bytes) -> None:
    join = proto.rtc.SignalResponse(join={"ping_interval": 5, "ping_timeout": 15}).SerializeToString()
    for resume, first in ((False, b""), (True, b""), (False, join)):
        session = SignalSession(wall=WallClock())
        session.start(1, resume=resume, now=0.0)
        session.handle_opened(0.0)
        if first:
            session.handle_message(first, 0.0)
        session.outbox.clear()
        session.handle_message(data, 1.0)
        for output in session.outbox:
            if isinstance(output, ServerMessage):
                assert output.kind not in CONSUMED
                assert output.kind in proto.rtc.SignalResponse.DESCRIPTOR.fields_by_name
            elif isinstance(output, SendSignal):
                assert proto.rtc.SignalRequest.FromString(output.data).WhichOneof("message") == "ping_req"
            else:
                assert isinstance(output, SignalJoined | SignalResumed | SignalRefused | SignalLost | CloseSignal)
            assert repr(output)
        session.outbox.clear()
        assert session.advance(1.0) > 1.0
        assert not session.outbox
