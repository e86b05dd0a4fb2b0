"""Whole rooms: clients come, talk, lose their links and their network, and go; a small model says what must hold.

Each two bytes are a step: an operation and its argument. When the steps are over the network is healed and everything
settles. Then every operation of a user must have ended, everybody must see exactly who is there, and of the reliable
messages of each sender nobody may have got one twice, or out of order, or changed, or one that was not for it; a
message between two sessions that were never made anew must have arrived.
"""

from __future__ import annotations

from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.events import Connected, Reconnected
from sansio.room.engine import RoomEngine
from sansio.room.outputs import Ended, JoinFailed
from sansio.room.requests import RequestDone, RequestFailed
from sansio.testing.netem import Link
from sansio.testing.pairs import Rooms
from sansio.testing.world import World
from sansio.types import ConnectionState

NAMES = ("alice", "bob", "carol")
STEPS = 20
SETTLE = 90.0
LINKS = (
    Link(latency=0.01),
    Link(latency=0.05, jitter=0.02, loss=0.05),
    Link(latency=0.1, jitter=0.05, loss=0.15, duplication=0.1, reorder=0.2),
)


class Member:
    """One session of one identity, and what the model knows of it."""

    def __init__(self, name: str, node: str, engine: RoomEngine) -> None:
        self.name = name
        self.node = node
        self.engine = engine
        self.got: list[tuple[str, bytes]] = []
        self.leaving = False
        self.requests: list[int] = []


class Message:
    """A reliable message, and who was in the room when it was published."""

    def __init__(self, sender: Member, payload: bytes, audience: list[Member], to: str) -> None:
        self.sender = sender
        self.payload = payload
        self.audience = audience
        self.to = to


class Scenario:
    def __init__(self, world: World, single: bool) -> None:
        self.world = world
        self.single = single
        self.rooms = Rooms(world)
        self.members: list[Member] = []
        self.here: dict[str, Member] = {}
        self.messages: list[Message] = []
        self.noise = world.entropy.fork("noise")

    def step(self, operation: int, argument: int) -> None:
        name = NAMES[argument % len(NAMES)]
        member = self.here.get(name)
        match operation % 10:
            case 0:
                if member is None:
                    self.join(name, argument)
            case 1 | 2 | 3:
                if member is not None:
                    self.publish(member, 1 + argument // 16, NAMES[(argument >> 2) % 3] if argument & 128 else "")
            case 4:
                if member is not None:
                    self.world.cut_signals(member.node)
            case 5:
                if member is not None:
                    self.world.partition(member.node, "server", down=bool(argument & 64))
            case 6:
                if member is not None:
                    self.request(member, argument)
            case 7:
                if member is not None and argument & 32:
                    self.leave(member)
            case 8:
                if member is not None:
                    self.garbage(member, argument)
            case _:
                self.run(argument / 32)
        self.run(0.02)

    def run(self, seconds: float) -> None:
        self.world.run_for(seconds)
        self.read()

    def read(self) -> None:
        for member in self.members:
            if member.engine.closed:
                continue
            while (packet := member.engine.read_data()) is not None:
                member.got.append((packet.identity, packet.payload))
                self.world.poke(member.node)
        for name, member in list(self.here.items()):
            if member.engine.closed:
                del self.here[name]

    def join(self, name: str, argument: int) -> None:
        node = f"{name}{len(self.members)}"
        single = self.single if argument & 16 else None
        member = Member(name, node, self.rooms.enter(name, node=node, single_peer_connection=single))
        self.world.set_link(node, "server", LINKS[argument // 32 % len(LINKS)])
        self.members.append(member)
        self.here[name] = member

    def connected(self, member: Member) -> bool:
        return bool(self.rooms.outputs(member.node, Connected)) and not member.engine.closed

    def publish(self, sender: Member, count: int, to: str) -> None:
        if not self.connected(sender) or sender.leaving:
            return
        for _ in range(count):
            payload = b"%s %d" % (sender.node.encode(), len(self.messages))
            audience = [other for other in self.here.values() if other is not sender and self.connected(other)]
            destinations = (to,) if to else ()
            if sender.engine.publish_data(payload, destination_identities=destinations, now=self.world.now):
                self.messages.append(Message(sender, payload, audience, to))
        self.world.poke(sender.node)

    def request(self, member: Member, argument: int) -> None:
        try:
            member.requests.append(member.engine.set_metadata(f"m{argument}", self.world.now))
        except LocalProtocolError:
            assert not self.connected(member) or member.leaving
        self.world.poke(member.node)

    def leave(self, member: Member) -> None:
        member.leaving = True
        member.engine.stop(self.world.now)
        self.world.poke(member.node)

    def garbage(self, member: Member, argument: int) -> None:
        for port in list(self.world.node(member.node).ports):
            data = bytes([argument]) + self.noise.bytes(argument % 60)
            member.engine.handle_datagram(port, data, self.rooms.server_address, self.world.now)
        self.world.poke(member.node)

    # ------------------------------------------------------------------ what must hold

    def settle(self) -> None:
        for member in self.members:
            self.world.partition(member.node, "server", down=False)
            if not member.engine.closed:
                self.world.set_link(member.node, "server", LINKS[0])
        for _ in range(int(SETTLE)):
            self.run(1.0)

    def made_anew(self, member: Member) -> bool:
        return any(not event.resumed for event in self.rooms.outputs(member.node, Reconnected))

    def check(self) -> None:
        live = {name: member for name, member in self.here.items() if self.connected(member)}
        for member in self.members:
            engine = member.engine
            if engine.closed:
                assert len(self.rooms.outputs(member.node, Ended)) == 1
                assert not self.world.node(member.node).ports, "a closed session left a port behind"
            else:
                assert engine.state.connection is ConnectionState.CONNECTED, engine
                seen = sorted(engine.state.remote_participants)
                assert seen == sorted(name for name in live if name != member.name), (member.node, seen, sorted(live))
            assert not (self.rooms.outputs(member.node, JoinFailed) and self.rooms.outputs(member.node, Connected))
            answered = [
                output.token
                for output in self.world.node(member.node).outputs
                if isinstance(output, RequestDone | RequestFailed)
            ]
            assert sorted(answered) == sorted(member.requests), (member.node, answered, member.requests)
        self.check_messages()

    def check_messages(self) -> None:
        by_payload = {message.payload: message for message in self.messages}
        for member in self.members:
            numbers: dict[str, int] = {}
            for identity, payload in member.got:
                message = by_payload[payload]
                assert message.sender.name == identity
                assert message.to in ("", member.name), "a message for somebody else"
                number = int(payload.split()[1])
                node = message.sender.node
                assert number > numbers.get(node, -1), f"{member.node} got {payload!r} twice or out of order"
                numbers[node] = number
        for message in self.messages:
            steady = not (message.sender.engine.closed or self.made_anew(message.sender))
            for member in message.audience:
                wanted = message.to in ("", member.name) and not (member.engine.closed or self.made_anew(member))
                if steady and wanted:
                    assert any(payload == message.payload for _, payload in member.got), (
                        f"{member.node} never got {message.payload!r}"
                    )


def one(data: bytes) -> None:
    seed = Entropy(data[:4]).bytes(8)
    with World(seed, link=LINKS[0]) as world:
        scenario = Scenario(world, single=bool(data[:1] and data[0] & 1))
        scenario.join("alice", 16)
        scenario.join("bob", 17 + 32)
        scenario.run(2.0)
        steps = data[4 : 4 + 2 * STEPS]
        for operation, argument in zip(steps[::2], steps[1::2], strict=False):
            scenario.step(operation, argument)
        scenario.settle()
        scenario.check()
