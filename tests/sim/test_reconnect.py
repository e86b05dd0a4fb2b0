"""A sample of the schedules of faults, and every one that has ever failed; ``reconnect`` plays a thousand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sansio.events import Disconnected
from sansio.testing.script import NAMES, SECONDS, Action, Script, Step, draw
from sansio.types import DisconnectReason
from tests.sim.reconnect import BUDGET, failure, play, shortest

SAMPLE = 40
DARK = Script(steps=(Step(Action.BOTH_SILENT, 0, 100, 15),))
SILENT = Script(steps=(Step(Action.MEDIA_SILENT, 0, 100, 13),))
FOUND = {
    "a proof before SCTP was up": "01b80f000a005a0004004e0304014d0100006200",
    "proof of a path that was gone again": "01c916000800370906005902",
    "a restart of ICE that gave up beside a living path": "019218000e0072070000ce0d02001708",
    "data dropped behind a data channel whose opening was late": "005418000a0023050300d60d",
    "patience of an outage that was over": "00320a000a0082070000b805020069090001730e0100900707012f0e080091020400b106",
    "an end without a reason": "029508000901d60f0500620f",
    "acknowledged out of order and never delivered": "010204000d015c0b0a015203",
    "a request for room that was lost with its link": "000b000006000a0c0a012702",
    "a request for an offer that was lost with its link": "000b00000301a00c06000a0c0a012702",
    "a probe after which nobody asked for consent": "03cc08000a003e000100730006004701",
    "another one, in silence": "009e0000030095090101570a",
    "a router that forgets": "0000100007006400",
    "a proof for an attempt whose link was lost before it came": (
        "023a0000000028010300160204005803000004030600260203004103"
    ),
    "a session that took the place of another and ended before anybody knew": "04bb020009007a000b003009",
}


@pytest.mark.parametrize("seed", range(SAMPLE))
def test_schedule(seed):
    play(draw(seed))


@pytest.mark.parametrize("found", FOUND)
def test_schedule_that_once_failed(found):
    play(Script.decode(bytes.fromhex(FOUND[found])))


# ------------------------------------------------------------------ how long it takes

BOUNDS = {
    # (what, for seconds): (seconds after its end until Reconnected, longest gap in the talk both ways)
    (Action.CUT, 0.05): (0.2, 0.6),
    (Action.SIGNAL_SILENT, 5.0): (None, 0.8),
    (Action.SIGNAL_SILENT, 20.0): (2.0, 0.8),
    (Action.SIGNAL_SILENT, 60.0): (2.0, 0.8),
    (Action.SIGNAL_SILENT, 300.0): (2.0, 0.8),
    (Action.MEDIA_SILENT, 1.0): (None, 2.0),
    (Action.MEDIA_SILENT, 5.0): (None, 6.0),
    (Action.MEDIA_SILENT, 20.0): (1.0, 21.0),
    (Action.MEDIA_SILENT, 60.0): (7.0, 68.0),
    (Action.BOTH_SILENT, 1.0): (None, 2.0),
    (Action.BOTH_SILENT, 5.0): (None, 6.0),
    (Action.BOTH_SILENT, 20.0): (7.0, 28.0),
    (Action.BOTH_SILENT, 60.0): (7.0, 68.0),
    (Action.RESTART_SERVER, 0.2): (2.0, 3.0),
    (Action.RESTART_SERVER, 20.0): (7.0, 34.0),
    (Action.MOVE, 0.2): (2.0, 2.0),
    (Action.REBIND, 0.05): (15.0, 2.2),
    (Action.ASK_RESUME, 0.05): (0.3, 0.6),
    (Action.ASK_RESTART, 0.05): (0.5, 1.0),
    (Action.FORGET, 0.05): (1.0, 1.2),
}
"""At 40 ms a round trip. A silence of signalling that pings do not notice ends without a word, as does one of media
that is shorter than 15 s; a router that forgets costs the link the time of its pings, and media nothing."""


@pytest.mark.parametrize("mode", [0, 2], ids=["single", "dual"])
@pytest.mark.parametrize(("action", "seconds"), BOUNDS, ids=lambda value: getattr(value, "name", value))
def test_an_outage_is_over_in_time(action, seconds, mode):
    script = Script(1, mode, 0, True, 0, (Step(action, 0, 60, SECONDS.index(seconds)),))
    drama = play(script)
    (begun, _, _) = drama.faults[0]
    after, most = BOUNDS[action, seconds]
    ends = [end - begun for _, end, _ in drama.watches["alice"].outages]
    if after is None:
        assert not ends
    else:
        (end,) = ends
        lasting = seconds if action in LASTING else 0.0
        assert end - lasting <= after
    for listener, speaker in (NAMES, NAMES[::-1]):
        times = [when for when, who, _ in drama.people[listener].heard if who == speaker and when > begun - 1.0]
        assert max(later - sooner for sooner, later in pairwise(times)) <= most


@pytest.mark.parametrize("wait", range(60, 72, 3))
@pytest.mark.parametrize("seconds", [60.0, 300.0])
def test_the_end_of_a_long_silence_is_seen_within_two_seconds(seconds, wait):
    """At 100 ms a round trip, whenever in the pace of the attempts that is."""
    drama = play(Script(1, 0, 1, True, 0, (Step(Action.SIGNAL_SILENT, 0, wait, SECONDS.index(seconds)),)))
    (begun, _, _) = drama.faults[0]
    ((_, end, _),) = drama.watches["alice"].outages
    assert begun + seconds < end <= begun + seconds + 2.0


@pytest.mark.parametrize("mode", [0, 2], ids=["single", "dual"])
@pytest.mark.parametrize("action", [Action.MEDIA_SILENT, Action.BOTH_SILENT], ids=lambda value: value.name)
def test_an_outage_that_lasts_longer_than_anybody_hopes(action, mode):
    """Five minutes without media: the session ends, in time and with a reason, and nothing of it is left."""
    drama = play(Script(1, mode, 0, True, 0, (Step(action, 0, 60, SECONDS.index(300.0)),)))
    (begun, _, _) = drama.faults[0]
    watch = drama.watches["alice"]
    assert BUDGET <= watch.ended - begun <= BUDGET + 30.0
    (end,) = [out for out in watch.node.outputs if isinstance(out, Disconnected)]
    assert end.reason in (DisconnectReason.SIGNAL_CLOSE, DisconnectReason.MEDIA_FAILURE)


LASTING = (Action.SIGNAL_SILENT, Action.MEDIA_SILENT, Action.BOTH_SILENT, Action.RESTART_SERVER, Action.MOVE)

# ------------------------------------------------------------------ the checks are checked

LEFT_UNSEEN = Script(steps=(Step(Action.VISIT), Step(Action.SIGNAL_SILENT, 0, 150, 10), Step(Action.VISIT, 0, 100)))
"""Somebody leaves while Alice hears nothing."""


@pytest.mark.parametrize(
    ("target", "change", "script", "wrong"),
    [
        ("sansio.room.data.DataReceiver._is_duplicate", lambda *args: True, Script(), "never reached"),
        (
            "sansio.room.peer.Peer.unproven",
            False,
            Script.decode(bytes.fromhex(FOUND["a proof before SCTP was up"])),
            "without a packet",
        ),
        ("sansio.room.state.RoomState._remove", lambda *args: None, LEFT_UNSEEN, "knows"),
        ("sansio.room.course.Course._close_transports", lambda *args: None, Script(), "ports"),
        ("sansio.room.data_lanes.DataLanes.inherit", lambda new, old: [], SILENT, "not reported"),
        ("sansio.lifecycle.machine.Lifecycle.set_flowing", lambda *args: None, DARK, "does not end"),
    ],
)
def test_what_must_hold_is_seen_when_it_does_not(monkeypatch, target, change, script, wrong):
    """The net has no holes: engines that are broken in one place each are caught, by the sentence that fits."""
    assert not failure(script)
    monkeypatch.setattr(target, change)
    assert wrong in failure(script)


def test_a_failing_schedule_is_made_short(monkeypatch):
    monkeypatch.setattr("sansio.room.data.DataReceiver._is_duplicate", lambda *args: True)
    script = shortest(draw(1))
    assert not script.steps
    assert "never reached" in failure(script)
