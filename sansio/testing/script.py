"""Scenarios of faults as data: bytes for fuzzing and replay, text for people, and a stage on which they are played.

A ``Script`` is a setting and a row of steps; any bytes are one. ``Stage`` plays it: Alice and Bob are in a room of the
small server, talk all the time, and a third comes and goes, while the steps cut, silence, move and restart things.
What must hold is up to whoever plays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from attrs import evolve, frozen

from .. import proto
from ..base.contract import Interface, NeedToken
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError
from ..events import Connected, DataReceived
from ..room.engine import RoomEngine
from ..sfu.participant import ServerParticipant
from .nat import Dependence, Nat, Site
from .netem import Link
from .pairs import Rooms
from .signals import LONGEST_WAIT, RETRANSMISSION
from .world import World

STEPS = 24
"""Steps of a script; what bytes say beyond is not read."""
SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 16.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0)
"""How long a fault may last."""
LIFETIMES = (3600.0,) * 12 + (5.0, 15.0, 30.0, 60.0)
"""Seconds from the join after which the server takes the tokens no more."""
LINKS = (
    Link(latency=0.02),
    Link(latency=0.05, jitter=0.02, loss=0.02),
    Link(latency=0.1, jitter=0.05, loss=0.08, duplication=0.05, reorder=0.1),
    Link(latency=0.002),
)
LEEWAY = 60.0
"""Seconds that servers take an expired token."""
TICK = 0.25
"""Seconds between two messages of everybody."""
NAMES = ("alice", "bob")
VISITOR = "carol"
LOSSY = 0.3
RENEWAL = 0.1
"""Seconds in which a source gives another token; every second lifetime has one."""
TOLD_AT_MOST = 10.0
"""Seconds after which a driver has noticed another address by itself."""


NOTICED = 25.0
"""Seconds after which a signalling link that leads nowhere has been noticed by its pings."""


class Action(Enum):
    """What a step does. Most do it to one person, and many for some time."""

    CUT = "the signalling link is cut"
    SIGNAL_SILENT = "signalling falls silent"
    MEDIA_SILENT = "media falls silent"
    BOTH_SILENT = "everything falls silent"
    LOSS = "a third of the datagrams is lost"
    RESTART_SERVER = "the server is killed, and started again"
    MOVE = "the address changes, which is noticed in the end"
    REBIND = "the router forgets whom it translated"
    ASK_RESUME = "the server asks for a resume"
    ASK_RESTART = "the server asks for a new join"
    FORGET = "the server forgets the session"
    DISMISS = "the server removes the participant"
    REQUEST = "the metadata is changed"
    SAY = "a burst of messages"
    VISIT = "somebody comes, or goes"


ACTIONS = tuple(Action)
FAULTS = ACTIONS[: ACTIONS.index(Action.DISMISS)]


@frozen
class Step:
    """``wait`` (hundredths of seconds grow by 3.5 % a unit) after the one before, do something to ``NAMES[who]``."""

    action: Action
    who: int = 0
    wait: int = 0
    long: int = 0

    @property
    def delay(self) -> float:
        """Seconds before it."""
        return 0.01 * 1.035**self.wait if self.wait else 0.0

    @property
    def seconds(self) -> float:
        """How long it lasts, if it does."""
        return SECONDS[self.long]

    def __str__(self) -> str:
        return f"{self.delay:7.2f} s later, {NAMES[self.who]}, {self.seconds:g} s: {self.action.value}"


@frozen
class Script:
    """A setting and what happens in it.

    ``mode``: 0 and 1 for one peer connection, 2 for two, 3 for a server that knows no other way. ``link``: which of
    LINKS. ``routers``: whether everybody is behind one that translates. ``lifetime``: which of LIFETIMES.
    """

    seed: int = 0
    mode: int = 0
    link: int = 0
    routers: bool = False
    lifetime: int = 0
    steps: tuple[Step, ...] = ()

    def encode(self) -> bytes:
        """The bytes of which ``decode`` makes the same script."""
        setting = self.mode | self.link << 2 | self.routers << 4
        head = self.seed.to_bytes(2, "big") + bytes([setting, self.lifetime])
        steps = [bytes([ACTIONS.index(step.action), step.who, step.wait, step.long]) for step in self.steps]
        return head + b"".join(steps)

    @classmethod
    def decode(cls, data: bytes) -> Script:
        """The script that some bytes are, whatever they are."""
        head = data[:4].ljust(4, b"\0")
        steps = []
        for at in range(4, min(len(data), 4 + 4 * STEPS), 4):
            action, who, wait, long = data[at : at + 4].ljust(4, b"\0")
            steps.append(Step(ACTIONS[action % len(ACTIONS)], who % len(NAMES), wait, long % len(SECONDS)))
        return cls(
            int.from_bytes(head[:2], "big"),
            head[2] & 3,
            head[2] >> 2 & 3,
            bool(head[2] & 16),
            head[3] % 16,
            tuple(steps),
        )

    def without(self, index: int) -> Script:
        """The same without one step; what comes after it comes as much earlier."""
        return evolve(self, steps=self.steps[:index] + self.steps[index + 1 :])

    def __str__(self) -> str:
        modes = ("one peer connection", "one peer connection", "two peer connections", "a server of before /rtc/v1")
        setting = (
            f"seed {self.seed}, {modes[self.mode]}, link {self.link}, {'' if self.routers else 'no '}routers, "
            f"tokens for {LIFETIMES[self.lifetime]:g} s"
        )
        return "\n".join([setting, *[f"  {step}" for step in self.steps], f"  {self.encode().hex()}"])


def draw(seed: int) -> Script:
    """A schedule of faults for a seed: one to ten, mostly upon Alice; one in eight is many short ones in a row."""
    entropy = Entropy(b"schedule %d" % seed)
    row = entropy.below(8) == 0
    steps = []
    for _ in range(10 if row else 1 + entropy.below(10)):
        action = entropy.choice(FAULTS) if row or entropy.below(3) else entropy.choice(ACTIONS)
        if action is Action.DISMISS and entropy.below(4):
            action = Action.CUT
        long = entropy.below(5) if row else entropy.below(len(SECONDS))
        steps.append(Step(action, int(entropy.below(4) == 0), entropy.below(120 if row else 220), long))
    return Script(
        seed & 0xFFFF, entropy.below(4), entropy.below(4), bool(entropy.below(2)), entropy.below(16), tuple(steps)
    )


def shrink(script: Script, fails: Callable[[Script], bool]) -> Script:
    """The shortest script on the way from ``script`` on which ``fails`` still holds: steps go, then settings."""
    shorter = True
    while shorter:
        shorter = False
        for index in reversed(range(len(script.steps))):
            less = script.without(index)
            if fails(less):
                script, shorter = less, True
        plain: Iterable[dict[str, Any]] = ({"lifetime": 0}, {"routers": False}, {"link": 0}, {"mode": 0})
        for change in plain:
            simpler = evolve(script, **change)
            if simpler != script and fails(simpler):
                script, shorter = simpler, True
    return script


# ------------------------------------------------------------------ playing


class Person:
    """Somebody in the room: what was said (time, payload) and heard (time, identity, payload), and asked for."""

    def __init__(self, name: str, node: str, engine: RoomEngine, site: Site | None) -> None:
        self.name = name
        self.node = node
        self.engine = engine
        self.site = site
        self.said: list[tuple[float, bytes]] = []
        self.heard: list[tuple[float, str, bytes]] = []
        self.tokens: list[int] = []
        self.addresses = 0


class Stage:
    """A script that is being played.

    ``faults``: when something happened to whom, and what. ``over``: when the last of what has happened so far ends.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.world = World(script.seed, link=LINKS[script.link], signal_latency=LINKS[script.link].latency)
        self.rooms = Rooms(self.world, path_v1=script.mode != 3, refresh_tokens=script.lifetime < 12)
        self.people: dict[str, Person] = {}
        self.faults: list[tuple[float, str, Action]] = []
        self.over = self.world.now
        self.silences: dict[tuple[str, str], int] = {}
        self.server_up = True
        self.expires = self.world.now + LIFETIMES[script.lifetime]
        self.visits = 0
        self._restarts = 0

    @property
    def now(self) -> float:
        return self.world.now

    def enter(self, name: str, node: str = "") -> Person:
        """Somebody joins."""
        site = None
        if self.script.routers:
            number = len(self.people) + 1
            filtering = tuple(Dependence)[(self.script.seed + number) % 3]
            site = Site(Nat(f"198.51.{number}.1", Dependence.PORT, filtering, expiry=40.0))
        engine = self.rooms.enter(
            name,
            node=node,
            site=site,
            token=self.rooms.token(name, ttl=self.expires - self.now - LEEWAY),
            single_peer_connection=(None, True, False, None)[self.script.mode],
            renew_token=bool(self.script.lifetime & 1),
            make=self.maker(name),
        )
        person = self.people[node or name] = Person(name, node or name, engine, site)
        self.world.node(node or name).perform = lambda output, now: self.output(person, output)
        return person

    def maker(self, name: str) -> Callable[..., RoomEngine]:
        """What makes somebody's engine; for a stage that records."""
        return RoomEngine

    def output(self, person: Person, output: Any) -> None:
        """Something that an engine puts out and that is not for the network."""
        if isinstance(output, NeedToken):
            self.world.at(self.now + RENEWAL, self._renew, person, output.request)

    def _renew(self, person: Person, request: int) -> None:
        if not person.engine.closed:
            person.engine.token_renewed(request, self.rooms.token(person.name), self.now)
            self.world.poke(person.node)

    def open(self) -> None:
        """Alice and Bob are in the room and see each other."""
        for name in NAMES:
            self.enter(name)
            self.world.run(lambda name=name: self.rooms.outputs(name, Connected), limit=60)  # type: ignore[misc]
        self.run(1.5)

    def play(self) -> None:
        """Every step, with the talk that goes on all the time."""
        for step in self.script.steps:
            self.run(step.delay)
            self.perform(step)

    def run(self, seconds: float) -> None:
        """Let time pass, and everybody talk and listen."""
        end = self.now + seconds
        while self.now + TICK <= end:
            self.world.run_for(TICK)
            for name in NAMES:
                self.say(name, 1)
            self.listen()
        self.world.run_for(max(0.0, end - self.now))
        self.listen()

    def say(self, name: str, count: int, size: int = 40) -> None:
        """Reliable messages to all, as many as are taken."""
        person = self.people[name]
        for _ in range(count):
            if person.engine.closed:
                return
            payload = b"%s %d " % (name.encode(), len(person.said)) + bytes(size)
            if person.engine.publish_data(payload, now=self.now):
                person.said.append((self.now, payload))
        self.world.poke(name)

    def listen(self) -> None:
        """Read what has come."""
        for node, person in self.people.items():
            while (packet := person.engine.read_data()) is not None:
                if isinstance(packet, DataReceived):
                    person.heard.append((self.now, packet.identity, packet.payload))
                self.world.poke(node)

    # ------------------------------------------------------------------ steps

    def perform(self, step: Step) -> None:
        """Do what a step says, and see to its end."""
        name = NAMES[step.who]
        person = self.people[name]
        self.faults.append((self.now, name, step.action))
        self.over = max(self.over, self.now)
        match step.action:
            case Action.CUT:
                self.world.cut_signals(name)
            case Action.SIGNAL_SILENT:
                self._silence(name, step.seconds, "signal")
            case Action.MEDIA_SILENT:
                self._silence(name, step.seconds, "media")
            case Action.BOTH_SILENT:
                self._silence(name, step.seconds, "signal", "media")
            case Action.LOSS:
                self._silence(name, step.seconds, "loss")
            case Action.RESTART_SERVER:
                self._restart_server(step.seconds)
            case Action.MOVE:
                self._move(person, step.seconds)
            case Action.REBIND:
                self._rebind(person)
            case Action.ASK_RESUME:
                self._ask(name, proto.rtc.LeaveRequest.RESUME)
            case Action.ASK_RESTART:
                self._ask(name, proto.rtc.LeaveRequest.RECONNECT)
            case Action.FORGET:
                there = self._there(name)
                if there is not None:
                    self.rooms.server.vanish(there, self.now)
                    self.world.poke("server")
            case Action.DISMISS:
                if self.server_up:
                    self.rooms.server.remove("room", name, self.now)
                    self.world.poke("server")
            case Action.REQUEST:
                self._request(person)
            case Action.SAY:
                self.say(name, 20, 1500)
            case _:
                self._visit()

    def _until(self, when: float, function: Callable[..., object], *args: Any) -> None:
        self.over = max(self.over, when)
        self.world.at(when, function, *args)

    def _silence(self, name: str, seconds: float, *what: str) -> None:
        """Faults of one kind may overlap: the last to end ends them."""
        for kind in what:
            self.silences[name, kind] = self.silences.get((name, kind), 0) + 1
            self._apply(name, kind)
            self._until(self.now + seconds, self._unsilence, name, kind)
            if kind == "signal":  # what was said in the silence comes when it is repeated
                self.over = max(self.over, self.now + seconds + min(seconds + RETRANSMISSION, LONGEST_WAIT))

    def _unsilence(self, name: str, kind: str) -> None:
        self.silences[name, kind] -= 1
        self._apply(name, kind)

    def _apply(self, name: str, kind: str) -> None:
        active = self.silences[name, kind] > 0
        if kind == "signal":
            self.world.silence_signals(name, active)
        elif kind == "media":
            self.world.partition(name, "server", active)
        else:
            for link in self.world.links(name, "server"):
                link.loss = LOSSY if active else LINKS[self.script.link].loss

    def _restart_server(self, seconds: float) -> None:
        self._restarts += 1
        if self.server_up:
            self.server_up = False
            self.rooms.stop_server()
        self._until(self.now + seconds, self._start_server, self._restarts)

    def _start_server(self, number: int) -> None:
        if number == self._restarts:
            self.server_up = True
            self.rooms.start_server()

    def _move(self, person: Person, seconds: float) -> None:
        """A driver notices by itself after a while."""
        person.addresses += 1
        host = f"10.{100 + len(person.name)}.{person.addresses // 250}.{person.addresses % 250}"
        self.world.readdress(person.name, [host])
        self._until(self.now + min(seconds, TOLD_AT_MOST), self._tell, person, host)
        self.over = max(self.over, self.now + NOTICED)

    def _tell(self, person: Person, host: str) -> None:
        if self.world.node(person.name).hosts == (host,):
            person.engine.networks_changed([Interface("eth0", host)], self.now)
            self.world.poke(person.name)

    def _there(self, name: str) -> ServerParticipant | None:
        return self.rooms.server.participant("room", name) if self.server_up else None

    def _rebind(self, person: Person) -> None:
        if person.site is not None:
            self.world.rebind(person.site)
            self.over = max(self.over, self.now + NOTICED)

    def _ask(self, name: str, action: Any) -> None:
        there = self._there(name)
        if there is not None:
            there.send("leave", proto.rtc.LeaveRequest(action=action))
            self.world.poke("server")

    def _request(self, person: Person) -> None:
        try:
            person.tokens.append(person.engine.set_metadata(f"{len(person.tokens)} of {person.name}", self.now))
        except LocalProtocolError:
            return
        self.world.poke(person.name)

    def _visit(self) -> None:
        """The visitor comes, or goes if there is one."""
        for node, person in self.people.items():
            if person.name == VISITOR and not person.engine.closed:
                person.engine.stop(self.now)
                self.world.poke(node)
                return
        self.visits += 1
        self.enter(VISITOR, f"{VISITOR} {self.visits}")
