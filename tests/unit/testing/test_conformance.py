"""The suite lets a machine pass that keeps the contract, and catches one that breaks any clause of it."""

from __future__ import annotations

from collections import deque
from enum import Enum

import pytest
from attrs import frozen

from sansio.base.contract import INF, Transmit
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.testing.conformance import (
    ContractBroken,
    Exercise,
    Input,
    Subject,
    attributes,
    call,
    describe,
    exercise,
    size,
)
from tests.unit.testing.toys import Pinger


def ping_script(entropy):
    """Starts, then answers most pings, doubles some, sends garbage, and is quiet at times."""
    turn = yield call("start")
    while True:
        item = None
        kind = entropy.below(10)
        pings = [output.data for output in turn.outputs if isinstance(output, Transmit)]
        if kind == 0:
            item = call("handle_datagram", 1, entropy.bytes(entropy.below(9)), ("10.0.0.2", 5000))
        elif kind == 1:
            item = call("handle_datagram", 1, b"\x00pong" + entropy.bytes(1), ("10.0.0.2", 5000))
        elif kind == 2:
            item = call("start")
        elif pings:
            item = call("handle_datagram", 1, b"\x00pong" + pings[-1][5:6], ("10.0.0.2", 5000))
        turn = yield item


def subject(kind=Pinger, **changes):
    settings = {
        "make": lambda entropy: kind(count=40, entropy=entropy),
        "script": ping_script,
        "misuse": lambda machine: [call("start")] if machine.tries else [],
        "close": call("close"),
        "most": 2000,
    }
    return Subject(**{**settings, **changes})


@pytest.mark.parametrize("seed", range(10))
def test_a_good_machine_passes(seed):
    run = exercise(subject(), b"%d" % seed)
    assert len(run.record) >= 301
    assert run.machine.answered


def test_a_script_may_end_and_a_machine_may_have_no_end():
    def short(entropy):
        yield call("start")
        yield None

    run = exercise(subject(script=short, close=None), b"1")
    assert len(run.record) == 2
    assert not run.machine.closed
    run = exercise(subject(script=short), b"1")
    assert run.machine.closed


class Returning(Pinger):
    def handle_datagram(self, *args, **kwargs):
        super().handle_datagram(*args, **kwargs)
        return self.tries


class Raising(Pinger):
    def handle_datagram(self, port, data, addr, now):
        data[4]  # IndexError for what is too short
        super().handle_datagram(port, data, addr, now)


class Late(Pinger):
    """Forgets in ``advance`` what a datagram made it owe."""

    def advance(self, now):
        due = super().advance(now)
        return min(due, self.last)


class Twice(Pinger):
    """Sends in each ``advance`` after the first answer."""

    def advance(self, now):
        if self.answered:
            self.transmits.append(Transmit(1, b"x", self.peer))
        return super().advance(now)


class Wandering(Pinger):
    """Its deadline moves with each call."""

    calls = 0

    def advance(self, now):
        self.calls += 1
        return super().advance(now) + self.calls


class Fidgeting(Pinger):
    """Sends when it is called before its deadline."""

    asked = 0.0

    def advance(self, now):
        if now > self.asked > 0.0 and not self.timers.at(0) <= now:
            self.transmits.append(Transmit(1, b"x", self.peer))
        self.asked = now
        return super().advance(now)


class Moving(Pinger):
    """Its deadline moves when it is called early at another time."""

    def advance(self, now):
        due = super().advance(now)
        return due if due == INF else self.last + 0.1


class Rewound(Pinger):
    """Goes back in time when told to."""

    def _clamp(self, now):
        return now


class Messy(Pinger):
    """Changes before it refuses."""

    def start(self, now):
        self.early.append(1)
        super().start(now)


class Lenient(Pinger):
    def start(self, now):
        if not self.tries:
            super().start(now)


class Random(Pinger):
    made = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        Random.made += 1
        self.entropy = Entropy(b"%d" % Random.made)


class Forgetful(Pinger):
    """The second machine of its kind has another deadline."""

    made = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        Forgetful.made += 1
        self.RETRY = Forgetful.made


class Undead(Pinger):
    def handle_datagram(self, port, data, addr, now):
        if self.closed:
            self.outbox.append("still here")
        super().handle_datagram(port, data, addr, now)


class Restless(Pinger):
    def advance(self, now):
        due = super().advance(now)
        return self.next + 1e9 if self.closed else due


class Endless(Pinger):
    def close(self, now):
        pass


class Hoarding(Pinger):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.hoard = []

    def handle_datagram(self, port, data, addr, now):
        self.hoard.append(data * 20)
        super().handle_datagram(port, data, addr, now)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Returning, "C1: handle_datagram returned"),
        (Late, "C3: advance"),
        (Twice, "C4: a second advance at the same time produced"),
        (Wandering, "C4: a second advance at the same time returns"),
        (Fidgeting, "C5: an advance at .* produced"),
        (Moving, "C5: the deadline .* became"),
        (Rewound, "C3|C6|C8"),
        (Messy, "C7: start.* changed"),
        (Lenient, "C7: start.* was taken"),
        (Random, "C8: .* made a second machine put out"),
        (Forgetful, "C8: .* a second machine wants to be called at"),
        (Undead, "C9: .* put out"),
        (Restless, "C9: .* has a deadline"),
        (Endless, "C9: not closed"),
        (Hoarding, "C10: the machine holds"),
    ],
)
def test_a_broken_machine_is_caught(kind, message):
    count = 2000 if kind in (Endless, Restless) else 40
    broken = subject(make=lambda entropy: kind(count=count, entropy=entropy))

    def try_seeds():
        for seed in range(20):
            exercise(broken, b"%d" % seed)

    with pytest.raises(ContractBroken, match=message) as caught:
        try_seeds()
    assert "the last inputs" in caught.value.__notes__[0]


def test_a_handler_may_be_known_to_answer():
    exercise(subject(Returning, answering=("handle_datagram",)), b"1")


def test_what_leaves_a_machine_is_not_hidden():
    with pytest.raises(IndexError) as caught:
        exercise(subject(Raising), b"1")
    assert "seed b'1'" in caught.value.__notes__[0]
    assert "handle_datagram" in caught.value.__notes__[0]


def test_random_bytes_are_no_reason_where_they_are_expected():
    exercise(subject(Random, repeats=False), b"1")


def test_time_is_drawn_in_every_way():
    run = Exercise(subject(), b"1")
    run.turn(call("start"), 1000.0)
    times = [run._time() - run.now for _ in range(400)]
    assert min(times) < -0.1
    assert max(times) > 1.0
    assert 0.0 in times
    assert run.due - run.now in times
    run.due = INF
    assert 1.0 in [run._time() - run.now for _ in range(400)]


def test_parts_of_a_machine_are_reached_and_scripts_are_told_what_calls_return():
    class Part:
        def count(self, now):
            return 7

    class Whole(Pinger):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.part = Part()
            self.part.outbox = deque(["x"])

    told = []

    def script(entropy):
        turn = yield call("part.count")
        told.append(turn.result)
        turn = yield None
        told.append(turn.result)

    drains = ("transmits", "outbox", "part.outbox")
    run = exercise(subject(Whole, script=script, drains=drains, close=None, misuse=lambda machine: []), b"1")
    assert told == [7, None]
    assert run.record[0][3] == ("sequence", "x")


def test_a_part_of_a_machine_may_be_spared_a_time_that_goes_back():
    spared = subject(Rewound, backwards=False)
    run = exercise(spared, b"1")
    times = [now for now, _ in run.history]
    assert times == sorted(times)


def test_an_input_without_a_time():
    class Timeless(Pinger):
        def note(self, what):
            self.outbox.append(what)

    def script(entropy):
        yield Input("note", ("x",), timed=False)
        yield None

    run = exercise(subject(Timeless, script=script, close=None, misuse=lambda machine: []), b"1")
    assert run.record[0][3] == ("sequence", "x")
    assert str(Input("note", ("x",), {"y": 1})) == "note('x',){'y': 1}"


# ------------------------------------------------------------------ describing and measuring


class Colour(Enum):
    RED = 1


@frozen(eq=False)
class Odd:
    x: int


class Slotted:
    __slots__ = ("__private", "_now", "a", "b")

    def __init__(self):
        self.a = [1]
        self.__private = 2
        self._now = 3.0


class Single:
    __slots__ = "only"  # noqa: PLC0205 - one name may stand alone


class Proto:
    def SerializeToString(self, deterministic):
        return b"wire" if deterministic else b"any"


def test_values_are_described_by_what_they_hold():
    assert describe(Odd(1)) == describe(Odd(1)) == ("Odd", ("x", 1))
    assert describe({"k": bytearray(b"v"), 1: memoryview(b"w")}) == ("mapping", ("k", b"v"), (1, b"w"))
    assert describe({3, 1, 2}) == describe(frozenset([2, 1, 3])) == ("set", "1", "2", "3")
    assert describe(deque([None, True, 1.5])) == ("sequence", None, True, 1.5)
    assert describe(Colour.RED) == "Colour.RED"
    assert describe(Odd) == "Odd"
    assert describe(len) == "len"
    assert describe([].append) == "list.append"
    assert describe(Proto()) == ("Proto", b"wire")
    loop = [1]
    loop.append(loop)
    assert describe(loop) == ("sequence", 1, "(above)")


def test_attributes_are_found_in_slots_and_dictionary_without_clocks():
    assert attributes(Slotted()) == ["_Slotted__private", "a"]
    assert describe(Slotted()) == ("Slotted", ("_Slotted__private", 2), ("a", ("sequence", 1)))
    assert attributes(Single()) == []
    assert "outbox" in attributes(Pinger())
    assert "last" in attributes(Pinger())


def test_size_counts_all_the_way_down():
    assert size(b"12345") == 5
    assert size(7) == 1
    small, large = size([[1, 2], "abc"]), size([[1, 2] * 100, "abc" * 100])
    assert large > small + 400


def test_misuse_leaves_a_machine_as_it_was():
    machine = Pinger()
    machine.start(0.0)
    before = describe(machine)
    with pytest.raises(LocalProtocolError):
        machine.start(0.0)
    assert describe(machine) == before
