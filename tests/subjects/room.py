"""The parts of the room engine that run on time."""

from __future__ import annotations

from collections import deque

from sansio import proto
from sansio.base.entropy import Entropy
from sansio.room.requests import Requests
from sansio.testing.conformance import Input, Script, Subject, call
from sansio.types import DisconnectReason


def requests_script(entropy: Entropy) -> Script:
    rtc, number = proto.rtc, 0
    turn = yield None
    while True:
        del turn
        kind = entropy.below(10)
        item: Input | None = None
        if kind < 3:
            number += 1
            item = call("start", "mute", f"TR_{number}", timeout=entropy.choice([None, 0.5, 10.0]))
        elif kind == 3:
            item = call("update_metadata", name=entropy.choice(["", "me"]), attributes={"k": "v"})
        elif kind == 4:
            item = Input("cancel", (1 + entropy.below(number + 1),), timed=False)
        elif kind == 5:
            item = Input("done", ("mute", f"TR_{entropy.below(number + 1)}"), timed=False)
        elif kind == 6 and entropy.below(8) == 0:
            item = Input("fail_all", (DisconnectReason.SERVER_SHUTDOWN,), timed=False)
        elif kind < 9:
            mute = rtc.MuteTrackRequest(sid=f"TR_{entropy.below(number + 1)}")
            reason = entropy.below(12)
            answer = rtc.RequestResponse(request_id=entropy.below(number + 2), reason=reason, mute=mute)
            item = call("handle_response", answer)
        turn = yield item


SUBJECTS = {
    "room.requests.Requests": [
        Subject(
            make=lambda entropy: Requests(deque()),
            script=requests_script,
            drains=("outbox",),
            misuse=lambda machine: [call("update_metadata", name=""), call("update_metadata", metadata=5)],
            backwards=False,  # the engine's clock, which does not go back
        )
    ],
}
