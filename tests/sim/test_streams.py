"""Streams of text and bytes over a network that loses packets, in virtual time."""

from __future__ import annotations

import random

import pytest

from sansio.events import Connected, ParticipantConnected, Reconnected
from sansio.room.stream_in import IncomingStream, StreamOpened
from sansio.room.stream_info import StreamFailure
from sansio.testing.netem import Link
from sansio.testing.pairs import Rooms
from sansio.testing.world import World
from sansio.types import Scenario

LOSSY = Link(latency=0.05, loss=0.01)
"""1 % loss, 100 ms there and back."""
WORSE = Link(latency=0.05, jitter=0.03, loss=0.05, duplication=0.05, reorder=0.1)


class Writers:
    """Takes turns between streams to send, as far as the budget allows."""

    def __init__(self, world, engine):
        self.world, self.engine = world, engine
        self.waiting = []

    def add(self, packets):
        self.waiting.append((iter(packets), None))

    def turn(self):
        """Send what there is room for; whether all is sent."""
        sent = False
        while self.waiting:
            packets, packet = self.waiting.pop(0)
            packet = packet or next(packets, None)
            if packet is None:
                continue
            if not self.engine.send_packet(packet, now=self.world.now):
                self.waiting.insert(0, (packets, packet))
                break
            sent = True
            self.waiting.append((packets, None))
        if sent:
            self.world.poke("alice")
        return not self.waiting


class Readers:
    """Reads every stream of one engine as it comes."""

    def __init__(self, world, rooms, engine):
        self.world, self.rooms, self.engine = world, rooms, engine
        self.got: dict[IncomingStream, list] = {}
        self.open = []
        self.done = []

    def turn(self):
        """Read what is there; how many streams have ended."""
        opened = self.rooms.outputs("bob", StreamOpened)
        for event in opened[len(self.got) :]:
            self.got[event.stream] = []
            self.open.append(event.stream)
        for stream in list(self.open):
            while (piece := stream.read(self.world.now)) is not None:
                self.got[stream].append(piece)
            if stream.done:
                self.open.remove(stream)
                self.done.append(stream)
        if self.engine.owing:
            self.world.poke("bob")
        return len(self.done)


def joined(world):
    rooms = Rooms(world)
    alice, bob = rooms.enter("alice"), rooms.enter("bob")
    world.run(lambda: rooms.outputs("alice", Connected) and rooms.outputs("bob", Connected), limit=30)
    world.run(lambda: bob.state.remote_participants and alice.state.remote_participants, limit=30)
    world.run_for(1.0)
    for text in (False, True):
        bob.streams_in.listen(text=text, topic="t")
    return rooms, alice, bob


@pytest.mark.parametrize("link", [LOSSY, WORSE], ids=["lossy", "worse"])
def test_fifty_streams_at_once_each_complete_exactly_once_and_in_order(link):
    with World(7, link=link) as world:
        rooms, alice, bob = joined(world)
        writers, readers = Writers(world, alice), Readers(world, rooms, bob)
        sent = {}
        for number in range(50):
            data = random.Random(number).randbytes(20_000 + 1_500 * number)
            if number % 5 == 0:
                text = data.hex()[: len(data)]
                stream, packets = alice.streams_out.send_text(text, world.now, topic="t")
                sent[stream.info.stream_id] = text
            else:
                stream, packets = alice.streams_out.send_bytes(data, world.now, topic="t", name=f"{number}")
                sent[stream.info.stream_id] = data
            writers.add(packets)
        world.run(lambda: (readers.turn() >= 50) & writers.turn(), limit=600)
        assert not any(stream.error for stream in readers.done)
        assert len(readers.done) == len(readers.got) == 50
        for stream, pieces in readers.got.items():
            expected = sent.pop(stream.info.stream_id)
            assert ("" if isinstance(expected, str) else b"").join(pieces) == expected
        assert bob.streams_in.diagnostics() == {"streams": 0, "unread": 0}


def test_a_resume_in_the_middle_loses_nothing():
    with World(8, link=LOSSY) as world:
        rooms, alice, bob = joined(world)
        writers, readers = Writers(world, alice), Readers(world, rooms, bob)
        data = random.Random(1).randbytes(3_000_000)
        writers.add(alice.streams_out.send_bytes(data, world.now, topic="t")[1])
        cuts = iter([(alice, "alice"), (bob, "bob")])
        size = 500_000

        def step():
            nonlocal size
            readers.turn()
            if sum(len(piece) for pieces in readers.got.values() for piece in pieces) > size:
                size += 1_000_000
                for engine, name in [next(cuts)] if size < 2_600_000 else []:
                    engine.simulate(Scenario.SIGNAL_RECONNECT, world.now)
                    world.poke(name)
            return writers.turn() and readers.turn()

        world.run(step, limit=600)
        assert len(rooms.outputs("alice", Reconnected)) == len(rooms.outputs("bob", Reconnected)) == 1
        ((stream, pieces),) = readers.got.items()
        assert stream.error is None
        assert b"".join(pieces) == data


def test_what_a_new_join_cuts_off_ends_on_both_sides():
    with World(9, link=LOSSY) as world:
        rooms, alice, bob = joined(world)
        writers, readers = Writers(world, alice), Readers(world, rooms, bob)
        stream, packets = alice.streams_out.send_bytes(bytes(3_000_000), world.now, topic="t", compress=False)
        writers.add(packets)
        world.run(lambda: writers.turn() or readers.got or readers.turn(), limit=60)
        world.run(lambda: writers.turn() or readers.turn() or any(readers.got.values()), limit=60)
        alice.simulate(Scenario.FULL_RECONNECT, world.now)
        world.poke("alice")
        world.run(lambda: rooms.outputs("alice", Reconnected), limit=60)
        world.run(readers.turn, limit=60)
        assert readers.done[0].error.failure is StreamFailure.SENDER_LEFT
        assert stream not in alice.streams_out.open
        world.run(lambda: len(rooms.outputs("bob", ParticipantConnected)) >= 1, limit=60)
        writers.waiting.clear()
        writers.add(alice.streams_out.send_text("again", world.now, topic="t")[1])
        world.run(lambda: (readers.turn() == 2) & writers.turn(), limit=60)
        assert readers.got[readers.done[1]] == ["again"]
