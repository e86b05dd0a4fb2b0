"""A sample of the schedules of faults, and every one that has ever failed; ``reconnect`` plays a thousand."""

from __future__ import annotations

import pytest

from sansio.testing.script import Action, Script, Step, draw
from tests.sim.reconnect import failure, play, shortest

SAMPLE = 60
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
    "another one, in silence": "009e0000030095090101570a",
    "a router that forgets": "0000100007006400",
}


@pytest.mark.parametrize("seed", range(SAMPLE))
def test_schedule(seed):
    play(draw(seed))


@pytest.mark.parametrize("found", FOUND)
def test_schedule_that_once_failed(found):
    play(Script.decode(bytes.fromhex(FOUND[found])))


LEFT_UNSEEN = Script(steps=(Step(Action.VISIT), Step(Action.SIGNAL_SILENT, 0, 150, 10), Step(Action.VISIT, 0, 100)))
"""Somebody leaves while Alice hears nothing."""


@pytest.mark.parametrize(
    ("target", "change", "script", "wrong"),
    [
        ("sansio.room.data.DataReceiver._is_duplicate", lambda *args: True, Script(), "never reached"),
        (
            "sansio.room.transports._unproven",
            lambda peer: False,
            Script.decode(bytes.fromhex(FOUND["a proof before SCTP was up"])),
            "without a packet",
        ),
        ("sansio.room.state.RoomState._remove", lambda *args: None, LEFT_UNSEEN, "knows"),
        ("sansio.room.engine.RoomEngine._close_transports", lambda *args: None, Script(), "ports"),
        ("sansio.room.transports.Transports.inherit", lambda new, old: [], SILENT, "not reported"),
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
