"""The contract, clause by clause, as a suite that any machine can be put through.

A ``Subject`` says how to make a machine and draws inputs for it; ``exercise`` feeds them at drawn times (in bursts, at
deadlines, long after, and going backwards) and checks after each one what ``sansio/base/contract.py`` promises. A
failure carries the last inputs as a note, and repeats with the same seed.
"""

from __future__ import annotations

import math
import types
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from enum import Enum
from operator import attrgetter
from typing import Any

from attrs import field, frozen

from ..base.contract import INF, NOW
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError

HISTORY_SHOWN = 20
QUIET_SHORT, QUIET_LONG = 0.005, 2.0
"""Seconds for which a machine is left alone before its deadline; mostly few, so that conversations come about."""
CLOSING_TURNS = 1000
SIZE_CHECKED_EVERY = 50
MISUSE_EVERY = 25
WATCHED_EVERY = 4
NOT_STATE = ("_now", "now", "_last", "due", "_due")
"""Attributes that misuse may touch: the last time a machine was told, and deadlines, which may always be early."""


@frozen
class Input:
    """One call of a method, of a machine or a part of it (``"part.method"``); ``now`` is added unless not ``timed``."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(factory=dict)
    timed: bool = True

    def __str__(self) -> str:
        return f"{self.name}{self.args!r:.120}{dict(self.kwargs) or ''}"


def call(name: str, /, *args: Any, **kwargs: Any) -> Input:
    """An input: the method ``name`` with these arguments and the time."""
    return Input(name, args, kwargs)


@frozen
class Turn:
    """What a script is told before it draws the next input.

    The time, the next deadline, the latest outputs, what the call returned, and the machine, of which it may only read
    public facts.
    """

    now: float
    due: float
    outputs: list[Any]
    machine: Any
    result: Any = None


Script = Generator[Input | None, Turn, None]
"""Draws inputs: yields one (None: time passes), is sent the turn that it caused. One that returns ends the exercise."""


@frozen(kw_only=True)
class Subject:
    """A machine to put through the suite.

    ``make``: a fresh machine; the same each time for the same entropy. ``script``: draws inputs. ``drains``: the deques
    it fills. ``misuse``: inputs that must raise LocalProtocolError in the state that the machine is in. ``close`` and
    ``closed``: how to end it for good, if it can be, and how to see that it has ended. ``answering``: handlers that
    return something after all, such as whether the bytes were theirs. ``repeats``: whether outputs are
    the same byte for byte in a second run (not so with OpenSSL). ``backwards``: whether it must cope with a time that
    goes back; a part of a machine need not if its owner does. ``longest``: seconds that may pass between two inputs;
    few let long conversations come about. ``most``: what ``size`` may reach.
    """

    make: Callable[[Entropy], Any]
    script: Callable[[Entropy], Script]
    drains: tuple[str, ...] = ("transmits", "outbox")
    misuse: Callable[[Any], Iterable[Input]] = lambda machine: ()
    close: Input | None = None
    closed: Callable[[Any], bool] = attrgetter("closed")
    answering: tuple[str, ...] = ()
    repeats: bool = True
    backwards: bool = True
    longest: float = 20.0
    most: int = 100_000


class ContractBroken(AssertionError):
    """A machine does not do what the contract says."""


# ------------------------------------------------------------------ looking at machines


def describe(value: Any, _above: tuple[Any, ...] = ()) -> Any:
    """A value as plain tuples, texts and numbers that can be compared, whatever ``__eq__`` its class has."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Enum):
        return str(value)
    if any(value is other for other in _above):
        return "(above)"
    above = (*_above, value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Mapping):
        return ("mapping", *[(describe(key, above), describe(item, above)) for key, item in value.items()])
    if isinstance(value, set | frozenset):
        return ("set", *sorted([repr(describe(item, above)) for item in value]))
    if isinstance(value, Sequence | deque):
        return ("sequence", *[describe(item, above) for item in value])
    if isinstance(value, type | types.FunctionType | types.MethodType | types.BuiltinFunctionType):
        return value.__qualname__
    if hasattr(value, "SerializeToString"):
        return (type(value).__name__, value.SerializeToString(deterministic=True))
    names = attributes(value)
    return (type(value).__qualname__, *[(name, describe(getattr(value, name), above)) for name in names])


def attributes(value: Any) -> list[str]:
    """Names of the instance attributes that a value has now, slots and dictionary."""
    names = [name for kind in type(value).__mro__ for name in _slots(kind) if hasattr(value, name)]
    names += list(getattr(value, "__dict__", ()))
    return [name for name in names if name not in NOT_STATE and not name.startswith("__")]


def _slots(kind: type) -> Sequence[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    private = f"_{kind.__name__.lstrip('_')}"
    return [f"{private}{name}" if name.startswith("__") and not name.endswith("__") else name for name in names]


def size(value: Any) -> int:
    """How much a machine holds: items of containers, and bytes and characters, all the way down."""
    return _size(describe(value))


def _size(value: Any) -> int:
    if isinstance(value, tuple):
        return len(value) + sum(_size(item) for item in value)
    return len(value) if isinstance(value, str | bytes) else 1


# ------------------------------------------------------------------ the suite


class Exercise:
    """One run of a subject: a machine, its clock, and what was done to it."""

    def __init__(self, subject: Subject, seed: bytes) -> None:
        self.subject = subject
        self.seed = seed
        self.machine = self._make()
        self.draw = Entropy(seed).fork("times")
        self.history: list[tuple[float, Input | None]] = []
        self.record: list[tuple[float, Input | None, float, Any]] = []
        self.now = 1000.0
        self.due = INF
        self.result: Any = None

    def _make(self) -> Any:
        return self.subject.make(Entropy(self.seed).fork("machine"))

    def run(self, steps: int) -> None:
        """Feed up to ``steps`` inputs, then close, then do it all once more and compare."""
        try:
            self._run(steps)
        except Exception as error:
            lines = [f"  {now:.6f} {item or '(time passes)'}" for now, item in self.history[-HISTORY_SHOWN:]]
            error.add_note("\n".join([f"seed {self.seed!r}, step {len(self.history)}, the last inputs:", *lines]))
            raise

    def _run(self, steps: int) -> None:
        script = self.subject.script(Entropy(self.seed).fork("script"))
        item: Input | None = next(script)
        for step in range(steps):
            given = self._time()
            outputs = self.turn(item, given)
            if step % MISUSE_EVERY == 0:
                self._misuse()
            if step % SIZE_CHECKED_EVERY == 0:
                self._bounded()
            try:
                item = script.send(Turn(self.now, self.due, outputs, self.machine, self.result))
            except StopIteration:
                break
        self._bounded()
        if self.subject.repeats:
            self._repeat()
        if self.subject.close is not None:
            self._close(self.subject.close, script)

    def _time(self) -> float:
        """The time of the next input: mostly soon, now and then at or after the deadline, or in the past."""
        kind = self.draw.below(20)
        if kind < 4 or not self.history:
            return self.now
        if kind < 12:
            return self.now + self.draw.uniform(0.0, 0.02)
        longest = self.subject.longest
        if kind < 15:
            return self.now + self.draw.uniform(0.0, min(0.5, longest))
        if kind < 18:
            return min(self.due if self.due < INF else self.now + 1.0, self.now + longest)
        if kind == 18:
            return self.now + self.draw.uniform(0.0, longest)
        return self.now - (self.draw.uniform(0.0, 5.0) if self.subject.backwards else 0.0)

    def turn(self, item: Input | None, given: float) -> list[Any]:
        """One input (None: only time) at the time ``given``, and the checks after it; what came out."""
        self.history.append((given, item))
        self.result = self.feed(self.machine, item, given) if item is not None else None
        self.now = max(self.now, given)
        self.due = self._advance(given)
        outputs = self.drain(self.machine)
        # described now: outputs may carry live objects, which change later
        self.record.append((self.now, item, self.due, describe(outputs)))
        again = self._advance(given)
        self._nothing("C4", "a second advance at the same time")
        if again != self.due:
            raise ContractBroken(
                f"C4: a second advance at the same time returns {again}, the first returned {self.due}"
            )
        wait = QUIET_LONG if len(self.history) % 16 == 0 else QUIET_SHORT
        quiet = min(
            self.now + min(wait, self.subject.longest),
            self.now + (self.due - self.now) / 2,
            math.nextafter(self.due, NOW),
        )
        later = self._advance(quiet)
        self._nothing("C5", f"an advance at {quiet}, before the deadline {self.due},")
        if later != self.due:
            raise ContractBroken(f"C5: the deadline {self.due} became {later} while nothing happened")
        self.now = quiet
        return outputs

    def feed(self, machine: Any, item: Input, now: float) -> Any:
        """Give a machine one input: peer bytes never raise, misuse changes nothing. What the call returned."""
        timed = {"now": now} if item.timed else {}
        method = attrgetter(item.name)(machine)
        if item.name.startswith("handle_"):
            result = method(*item.args, **item.kwargs, **timed)
            if result is not None and item.name not in self.subject.answering:
                raise ContractBroken(f"C1: {item.name} returned {result!r}")
            return result
        # describing takes far longer than most operations, so only some of them are watched
        watched = len(self.history) % WATCHED_EVERY == 0
        before = describe(machine) if watched else None
        try:
            return method(*item.args, **item.kwargs, **timed)
        except LocalProtocolError:
            if watched:
                self._untouched(machine, before, item)
            return None

    def _untouched(self, machine: Any, before: Any, item: Input) -> Any:
        after = describe(machine)
        if after != before:
            changed = [new for old, new in zip(before, after, strict=False) if old != new]
            raise ContractBroken(f"C7: {item} raised LocalProtocolError and yet changed {changed!r:.300}")
        return after

    def _misuse(self) -> None:
        before = describe(self.machine)
        for item in self.subject.misuse(self.machine):
            timed = {"now": self.now} if item.timed else {}
            try:
                attrgetter(item.name)(self.machine)(*item.args, **item.kwargs, **timed)
            except LocalProtocolError:
                before = self._untouched(self.machine, before, item)
            else:
                raise ContractBroken(f"C7: {item} was taken, though it is misuse")

    def _advance(self, now: float) -> float:
        due: float = self.machine.advance(now)
        if not due > max(now, self.now):
            raise ContractBroken(f"C3: advance({now}) returned {due}, with {self.now} the latest time it knew")
        return due

    def drain(self, machine: Any) -> list[Any]:
        """Take everything out of a machine's deques."""
        outputs = []
        for name in self.subject.drains:
            queue = attrgetter(name)(machine)
            while queue:
                outputs.append(queue.popleft())
        return outputs

    def _nothing(self, clause: str, when: str) -> None:
        outputs = self.drain(self.machine)
        if outputs:
            raise ContractBroken(f"{clause}: {when} produced {outputs!r:.300}")

    def _bounded(self) -> None:
        held = size(self.machine)
        if held > self.subject.most:
            raise ContractBroken(f"C10: the machine holds {held} things, more than {self.subject.most}")

    def _repeat(self) -> None:
        """The same inputs to a second machine, without the extra advances and with times that never go back."""
        twin = self._make()
        for now, item, due, outputs in self.record:
            if item is not None:
                self.feed(twin, item, now)
            again = twin.advance(now)
            twins = self.drain(twin)
            if describe(twins) != outputs:
                raise ContractBroken(
                    f"C8: at {now}, {item or 'time'} made a second machine put out\n  {twins!r:.500}\n"
                    f"where the first one had put out\n  {outputs!r:.500}"
                )
            if again != due:
                raise ContractBroken(
                    f"C8: at {now}, a second machine wants to be called at {again}, the first at {due}"
                )

    def _close(self, close: Input, script: Script) -> None:
        item: Input | None = close
        for _ in range(CLOSING_TURNS):
            self.turn(item, self.now if item else min(self.due, self.now + 60.0))
            item = None
            if self.subject.closed(self.machine):
                break
        else:
            raise ContractBroken(f"C9: not closed after {CLOSING_TURNS} turns")
        for _ in range(20):
            try:
                item = script.send(Turn(self.now, self.due, [], self.machine))
            except StopIteration:
                item = None
            outputs = self.turn(item, self.now + 1.0)
            if outputs:
                raise ContractBroken(f"C9: after its end, {item or 'time'} made the machine put out {outputs!r:.300}")
            if self.due != INF:
                raise ContractBroken(f"C9: after its end the machine has a deadline, {self.due}")


def exercise(subject: Subject, seed: bytes, steps: int = 300) -> Exercise:
    """Put a fresh machine of the subject through the suite; raises ContractBroken, or whatever leaves the machine."""
    run = Exercise(subject, seed)
    run.run(steps)
    return run
