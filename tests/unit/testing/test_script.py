"""Scripts as bytes and text, schedules from seeds, shrinking, and what each step does on the stage."""

from __future__ import annotations

import itertools

import pytest

from sansio.base.contract import OpenSignal
from sansio.events import (
    Disconnected,
    ParticipantConnected,
    ParticipantMetadataChanged,
    Reconnected,
    Reconnecting,
    SignalReconnecting,
)
from sansio.room.messages import dtmf_packet
from sansio.room.requests import RequestDone
from sansio.testing.script import (
    ACTIONS,
    FAULTS,
    NAMES,
    SECONDS,
    STEPS,
    Action,
    Script,
    Stage,
    Step,
    draw,
    shrink,
)
from sansio.types import ConnectionState, DisconnectReason, SipDtmf

# ------------------------------------------------------------------ data


@pytest.mark.parametrize("seed", range(50))
def test_a_schedule_survives_its_bytes(seed):
    script = draw(seed)
    assert Script.decode(script.encode()) == script
    assert 1 <= len(script.steps) <= 10
    assert draw(seed) == script


def test_any_bytes_are_a_script():
    for data in (b"", b"\xff" * 3, bytes(range(256)), b"\xff" * 500):
        script = Script.decode(data)
        assert Script.decode(script.encode()) == script
        assert len(script.steps) <= STEPS
    assert Script.decode(b"") == Script()
    assert Script.decode(b"\0\0\0\0\x05").steps == (Step(ACTIONS[5]),)


def test_schedules_hold_every_fault_and_length():
    steps = [step for seed in range(300) for step in draw(seed).steps]
    assert {step.action for step in steps} >= set(FAULTS)
    assert {step.long for step in steps} == set(range(len(SECONDS)))
    assert {step.who for step in steps} == {0, 1}


def test_a_script_tells_what_it_is():
    script = Script(7, 2, 1, True, 12, (Step(Action.CUT, 1, 100, 3),))
    text = str(script)
    assert text.splitlines()[0] == "seed 7, two peer connections, link 1, routers, tokens for 5 s"
    assert text.splitlines()[1].strip() == "0.31 s later, bob, 1 s: the signalling link is cut"
    assert Script.decode(bytes.fromhex(text.splitlines()[-1].strip())) == script
    assert "no routers" in str(Script())


def test_shrinking_keeps_what_matters_only():
    script = draw(3)
    guilty = script.steps[-1]
    tried = []

    def fails(candidate):
        tried.append(candidate)
        return guilty in candidate.steps and candidate.mode == script.mode

    small = shrink(script, fails)
    assert small.steps == (guilty,)
    assert (small.link, small.routers, small.lifetime) == (0, False, 0)
    assert small.mode == script.mode
    assert len(tried) < 40


# ------------------------------------------------------------------ the stage


def play(*steps, then=0.0, **setting):
    stage = Stage(Script(steps=steps, **setting))
    stage.open()
    stage.play()
    stage.run(then)
    return stage


def told(stage, name="alice"):
    kinds = (SignalReconnecting, Reconnecting, Reconnected, Disconnected)
    return [type(out).__name__ for out in stage.world.node(name).outputs if isinstance(out, kinds)]


def step(action, seconds=1.0, *, who="alice", wait=60):
    return Step(action, NAMES.index(who), wait, SECONDS.index(seconds))


@pytest.mark.parametrize("mode", range(4))
def test_people_talk_all_the_time(mode):
    stage = play(then=3.0, mode=mode)
    assert stage.now == pytest.approx(stage.over + 3.0, abs=3.0)
    for name, other in (NAMES, NAMES[::-1]):
        said = [payload for _, payload in stage.people[name].said]
        heard = [payload for _, who, payload in stage.people[other].heard if who == name]
        assert len(said) > 10
        assert heard == said[: len(heard)]
        assert len(said) - len(heard) <= 2
    links = stage.rooms.outputs("alice", OpenSignal)
    assert ["/rtc/v1" in link.url for link in links] == {0: [True], 1: [True], 2: [False], 3: [True, False]}[mode]


def test_a_cut_and_a_silence():
    assert told(play(step(Action.CUT), then=1.0)) == ["SignalReconnecting", "Reconnected"]
    stage = play(step(Action.SIGNAL_SILENT, 20.0), then=30.0)
    assert told(stage) == ["SignalReconnecting", "Reconnected"]
    assert stage.over == pytest.approx(stage.faults[0][0] + 40.2)


def test_silences_may_overlap():
    stage = play(step(Action.MEDIA_SILENT, 5.0), step(Action.BOTH_SILENT, 1.0, wait=1))
    stage.run(2.0)
    assert stage.world.link("alice", "server").down
    stage.run(4.0)
    assert not stage.world.link("alice", "server").down
    assert not told(stage)


def test_loss_ends():
    stage = play(step(Action.LOSS, 2.0), link=1)
    assert stage.world.link("alice", "server").loss == 0.3
    stage.run(3.0)
    assert stage.world.link("server", "alice").loss == 0.02


def test_the_server_is_started_again_once_however_often_it_is_killed():
    stage = play(step(Action.RESTART_SERVER, 1.0), step(Action.RESTART_SERVER, 3.0, wait=1))
    for action in (Action.FORGET, Action.DISMISS, Action.ASK_RESUME):
        stage.perform(step(action))
    stage.run(2.0)
    assert not stage.server_up
    stage.run(20.0)
    assert stage.server_up
    assert told(stage) == told(stage, "bob") == ["SignalReconnecting", "Reconnecting", "Reconnected"]


@pytest.mark.parametrize("routers", [False, True])
def test_an_address_changes_and_is_noticed(routers):
    stage = play(step(Action.MOVE, 3.0), step(Action.MOVE, 1.0, wait=1), then=25.0, routers=routers)
    (host,) = stage.world.node("alice").hosts
    assert {address[0] for address in stage.world.node("alice").ports.values()} == {host}
    assert told(stage)[-1] == "Reconnected"
    assert stage.people["alice"].engine.state.connection is ConnectionState.CONNECTED


def test_a_router_forgets():
    stage = play(step(Action.REBIND), then=0.0)
    assert stage.over == stage.faults[0][0], "there is no router"
    stage = play(step(Action.REBIND), then=25.0, routers=True)
    assert told(stage) == ["SignalReconnecting", "Reconnected"]
    heard = [when for when, who, _ in stage.people["alice"].heard if who == "bob"]
    assert max(b - a for a, b in itertools.pairwise(heard)) < 3.0


@pytest.mark.parametrize(
    ("action", "resumed"), [(Action.ASK_RESUME, True), (Action.ASK_RESTART, False), (Action.FORGET, False)]
)
def test_what_the_server_asks_for_happens(action, resumed):
    stage = play(step(action), then=3.0)
    assert [report.resumed for report in stage.rooms.outputs("alice", Reconnected)] == [resumed]


def test_a_participant_is_removed():
    stage = play(step(Action.DISMISS), step(Action.REQUEST), then=1.0)
    (end,) = stage.rooms.outputs("alice", Disconnected)
    assert end.reason is DisconnectReason.PARTICIPANT_REMOVED
    assert stage.people["alice"].tokens == []
    said = len(stage.people["alice"].said)
    stage.say("alice", 5)
    assert len(stage.people["alice"].said) == said


def test_requests_and_bursts():
    stage = play(step(Action.REQUEST), step(Action.SAY), then=3.0)
    assert [done.token for done in stage.rooms.outputs("alice", RequestDone)] == stage.people["alice"].tokens
    assert [event.metadata for event in stage.rooms.outputs("bob", ParticipantMetadataChanged)] == ["0 of alice"]
    assert len([payload for _, _, payload in stage.people["bob"].heard if len(payload) > 1500]) == 20
    for _ in range(60):
        stage.say("alice", 20, 30_000)
    assert len(stage.people["alice"].said) < 1200, "not all were taken"


def test_packets_of_other_kinds_are_read_and_are_no_talk():
    stage = play(then=1.0)
    alice, bob = (stage.people[name] for name in NAMES)
    stage.world.run_for(0.2)
    stage.listen()
    heard = len(bob.heard)
    assert alice.engine.send_packet(dtmf_packet(SipDtmf(1, "1"), ()), now=stage.now)
    stage.say("alice", 1)  # comes after it
    stage.world.run_for(0.2)
    stage.listen()
    assert [payload for _, _, payload in bob.heard[heard:]] == [alice.said[-1][1]]


def test_a_visitor_comes_and_goes_and_comes_again():
    stage = play(step(Action.VISIT), step(Action.VISIT, wait=150), then=2.0)
    assert stage.people["carol 1"].engine.closed
    stage.perform(step(Action.VISIT))
    stage.run(2.0)
    visits = [event.participant.identity for event in stage.rooms.outputs("bob", ParticipantConnected)]
    assert visits == ["carol", "carol"]


@pytest.mark.parametrize("lifetime", [14, 15])
def test_tokens_expire_and_some_have_a_source(lifetime):
    stage = play(step(Action.CUT, wait=245), then=5.0, lifetime=lifetime)
    stage.perform(step(Action.CUT))
    stage.run(45.0)
    stage.perform(step(Action.CUT))
    stage.run(5.0)
    ends = stage.rooms.outputs("alice", Disconnected)
    assert [end.reason for end in ends] == ([] if lifetime == 15 else [DisconnectReason.JOIN_FAILURE])


def test_a_source_that_answers_too_late():
    stage = play(step(Action.CUT, wait=255), lifetime=13)
    stage.run(0.05)
    stage.people["alice"].engine.stop(stage.now)
    stage.world.poke("alice")
    stage.run(1.0)
    assert stage.people["alice"].engine.closed
