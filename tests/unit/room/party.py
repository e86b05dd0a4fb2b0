"""People in a room of the small server, in virtual time, and what a test may do to them."""

from __future__ import annotations

from sansio import proto
from sansio.base.contract import NOW, SendSignal
from sansio.events import Connected
from sansio.sfu.participant import ServerParticipant
from sansio.testing.netem import Link
from sansio.testing.pairs import Rooms
from sansio.testing.world import World

GOOD = Link(latency=0.02)
BAD = Link(latency=0.03, jitter=0.02, loss=0.08, duplication=0.05, reorder=0.1)


class Party:
    """``names`` join one after the other; ``options`` are for all of them. Use it as a context manager."""

    def __init__(self, *names, seed=1, link=GOOD, server=None, signal_latency=0.01, **options):
        self.world = World(seed, link=link, signal_latency=signal_latency)
        self.rooms = Rooms(self.world, **(server or {}))
        self.engines = {}
        for name in names:
            self.join(name, **options)

    def __enter__(self):
        self.world.__enter__()
        return self

    def __exit__(self, *error):
        return self.world.__exit__(*error)

    @property
    def now(self):
        return self.world.now

    def enter(self, name, **options):
        """Begin to join."""
        self.engines[name] = self.rooms.enter(name, **options)
        return self.engines[name]

    def join(self, name, **options):
        self.enter(name, **options)
        self.run(lambda: self.found(name, Connected))
        return self.engines[name]

    def run(self, until, limit=60.0):
        self.world.run(until, limit)

    def wait(self, seconds):
        self.world.run_for(seconds)

    def found(self, name, kind):
        return self.rooms.outputs(name, kind)

    def requests(self, name, kind):
        """The requests of one kind that somebody has sent over the link."""
        requests = [proto.rtc.SignalRequest.FromString(output.data) for output in self.found(name, SendSignal)]
        return [getattr(request, kind) for request in requests if request.HasField(kind)]

    # ------------------------------------------------------------------ the server's side

    def there(self, name) -> ServerParticipant:
        """The server's half of somebody's session."""
        return self.rooms.server._find("room", name)

    def touch(self, name):
        """Something was done by hand to the server's half of somebody's session."""
        there = self.there(name)
        for peer in there.peers:
            peer.due = NOW
        self.rooms.server._dues[there] = NOW
        self.world.poke("server")

    def say(self, name, **message):
        """A message of the server to somebody."""
        ((kind, value),) = message.items()
        self.there(name).send(kind, value)
        self.world.poke("server")

    def require(self, name, audios, videos):
        self.say(
            name,
            media_sections_requirement=proto.rtc.MediaSectionsRequirement(num_audios=audios, num_videos=videos),
        )

    # ------------------------------------------------------------------ data

    def publish(self, name, payload, **how):
        taken = self.engines[name].publish_data(payload, now=self.now, **how)
        self.world.poke(name)
        return taken

    def read(self, name):
        found = []
        while (packet := self.engines[name].read_data()) is not None:
            found.append(packet)
        if found:
            self.world.poke(name)
        return found

    def hear(self, name, count, limit=60.0):
        """Read until so many packets are there; their payloads."""
        got = []
        self.run(lambda: got.extend(self.read(name)) or len(got) >= count, limit)
        return [packet.payload for packet in got]

    def stop(self, name, **how):
        self.engines[name].stop(self.now, **how)
        self.world.poke(name)

    def transport(self, name, which=0):
        return self.engines[name]._parts.transports._peers[which].connection.transport

    def tamper(self, name, change):
        """Let somebody see each message of the server as ``change(response)`` leaves it."""
        engine = self.engines[name]
        receive = engine.signal_received

        def received(signal, data, now):
            response = proto.rtc.SignalResponse.FromString(data)
            change(response)
            receive(signal, response.SerializeToString(), now)

        engine.signal_received = received
