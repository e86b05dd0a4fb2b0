"""Scenarios that must run the same every time: ``python -m tests.sim.scenarios NAME SEED`` prints one's whole trace."""

from __future__ import annotations

import sys
from collections.abc import Callable

from sansio.events import Connected, Reconnected
from sansio.ice.agent import IceState
from sansio.room.data_track_packets import DataTrackFrame
from sansio.room.stream_in import IncomingStream, StreamOpened
from sansio.sctp.association import SctpLost
from sansio.testing.netem import Link
from sansio.testing.pairs import A, B, Rooms, dtls_pair, host_candidate, ice_pair, sctp_pair
from sansio.testing.world import World
from sansio.types import Scenario
from tests.unit.testing.toys import Echo, Pinger


def bad(**changes: float) -> Link:
    """A network that does everything wrong, a little."""
    settings = {"latency": 0.03, "jitter": 0.02, "loss": 0.1, "duplication": 0.05, "reorder": 0.1, **changes}
    return Link(**settings)


def ping(seed: int) -> World:
    """Toy machines."""
    with World(seed, link=bad()) as world:
        pinger = Pinger(B, 30, world.entropy.fork("pinger"))
        world.add("a", pinger, {1: A})
        world.add("b", Echo(), {1: B})
        pinger.start(world.now)
        world.run(lambda: pinger.closed)
        assert pinger.answered == list(range(30))
    return world


def dtls(seed: int) -> World:
    """A handshake and then datagrams both ways, with the plain engine."""
    with World(seed, link=bad()) as world:
        a, b = dtls_pair(world)
        world.run(lambda: a.connected and b.connected, limit=60)
        for n in range(100):
            for name, machine in (("a", a), ("b", b)):
                machine.datagrams.append(machine.seal(b"%d from %s" % (n, name.encode())))
                world.poke(name)
            world.run_for(0.01)
        a.close(world.now)
        world.poke("a")
        world.run_for(1.0)
        assert len(set(b.plaintexts)) == len(b.plaintexts) > 60
        assert len(set(a.plaintexts)) == len(a.plaintexts) > 60
    return world


def ice(seed: int) -> World:
    """Connect, lose the path for a while, restart, go on."""
    with World(seed, link=bad()) as world:
        a, b = ice_pair(world)
        world.run(lambda: a.state is b.state is IceState.CONNECTED, limit=30)
        world.partition("a", "b")
        world.run(lambda: a.state is b.state is IceState.DISCONNECTED, limit=30)
        world.partition("a", "b", down=False)
        world.run(lambda: a.state is b.state is IceState.CONNECTED, limit=30)
        a.restart(world.now)
        b.restart(world.now)
        for agent, other, there in ((a, b, B), (b, a, A)):
            agent.set_remote_credentials(other.local_ufrag, other.local_pwd, world.now)
            agent.add_remote(host_candidate(there), world.now)
        for name in "ab":
            world.poke(name)
        world.run(lambda: a.state is b.state is IceState.CONNECTED, limit=30)
        a.close(world.now)
        b.close(world.now)
        world.run_until_quiet()
    return world


def sctp(seed: int) -> World:
    """Reliable messages of all sizes both ways, once each and in order; unreliable ones at most once; a clean end."""
    with World(seed, link=bad(rate=500_000)) as world:
        a, b = sctp_pair(world)
        reliable = a.open("reliable", now=world.now)
        lossy = a.open("lossy", ordered=False, max_retransmits=0, now=world.now)
        draw = world.entropy.fork("messages")
        sent = {"a": [], "b": []}
        lossy_sent = [b"lossy %d" % n for n in range(50)]
        world.run(lambda: b.writable(reliable) and b.writable(lossy), limit=60)
        for n in range(50):
            for name, machine in (("a", a), ("b", b)):
                message = b"%d " % n + draw.bytes(draw.below(draw.choice([10, 1000, 20_000])))
                sent[name].append(message)
                machine.send(reliable, message, world.now)
                world.poke(name)
            a.send(lossy, lossy_sent[n], world.now)
            world.run_for(0.02)
        got: dict[str, list[bytes]] = {"a": [], "b": []}
        lossy_got: list[bytes] = []

        def read() -> bool:
            for name, machine in (("a", a), ("b", b)):
                while (message := machine.read(reliable)) is not None:
                    got[name].append(message)
                    world.poke(name)
            while (message := b.read(lossy)) is not None:
                lossy_got.append(message)
            return len(got["a"]) == len(got["b"]) == 50

        world.run(read, limit=120)
        assert got == {"a": sent["b"], "b": sent["a"]}
        assert len(set(lossy_got)) == len(lossy_got) > 20
        assert set(lossy_got) <= set(lossy_sent)
        a.shutdown(world.now)
        world.poke("a")
        world.run_until_quiet(limit=120)
        for name in "ab":
            ends = [output.reason for output in world.node(name).outputs if isinstance(output, SctpLost)]
            assert ends == ["shutdown"]
    return world


def room(seed: int) -> World:
    """Three join one after another, talk all to all, and leave."""
    with World(seed, link=bad()) as world:
        rooms = Rooms(world)
        engines = {}
        for name in ("alice", "bob", "carol"):
            engines[name] = rooms.enter(name)
            world.run(lambda name=name: rooms.outputs(name, Connected), limit=60)
        for n in range(20):
            for name, engine in engines.items():
                assert engine.publish_data(b"%s %d" % (name.encode(), n), now=world.now)
                engine.publish_data(b"lossy", reliable=False, now=world.now)
                world.poke(name)
            world.run_for(0.05)
        got: dict[str, list[bytes]] = {name: [] for name in engines}

        def read() -> bool:
            for name, engine in engines.items():
                while (packet := engine.read_data()) is not None:
                    world.poke(name)
                    if packet.payload != b"lossy":
                        got[name].append(packet.payload)
            return all(len(packets) == 40 for packets in got.values())

        world.run(read, limit=60)
        for name, packets in got.items():
            for other in engines:
                said = [b"%s %d" % (other.encode(), n) for n in range(20)] if other != name else []
                assert [packet for packet in packets if packet.startswith(other.encode())] == said
        for name, engine in engines.items():
            engine.stop(world.now)
            world.poke(name)
        world.run_until_quiet(limit=120)
        assert all(engine.closed for engine in engines.values())
    return world


def old_server(seed: int) -> World:
    """Two peer connections each, since the server knows no other way; links that are cut, names, a removal."""
    with World(seed, link=bad(latency=0.05)) as world:
        rooms = Rooms(world, path_v1=False)
        alice, bob = rooms.enter("alice", attributes=(("k", "v"), ("a", "b"))), rooms.enter("bob", metadata="about me")
        world.run(lambda: rooms.outputs("alice", Connected) and rooms.outputs("bob", Connected), limit=60)
        got: list[bytes] = []
        for n in range(3):
            alice.set_attributes({"n": str(n), "m": "x", "k": ""}, world.now)
            for m in range(5):
                assert alice.publish_data(b"%d %d" % (n, m) + bytes(1000 * n), now=world.now)
            world.poke("alice")
            world.run_for(0.3)
            world.cut_signals("alice" if n % 2 else "bob")

        def read() -> bool:
            while (packet := bob.read_data()) is not None:
                got.append(packet.payload.rstrip(b"\0"))
                world.poke("bob")
            return len(got) == 15

        world.run(read, limit=60)
        assert got == [b"%d %d" % (n, m) for n in range(3) for m in range(5)]
        world.run(lambda: bob.state.connection.name == alice.state.connection.name == "CONNECTED", limit=60)
        rooms.server.remove("room", "alice", world.now)
        world.poke("server")
        world.run(lambda: alice.closed, limit=60)
        bob.stop(world.now)
        world.poke("bob")
        world.run_until_quiet(limit=120)
        assert bob.closed
    return world


def streams(seed: int) -> World:
    """Streams with attributes and frames of data tracks, both ways at once, through a new session of one."""
    with World(seed, link=bad()) as world:
        rooms = Rooms(world)
        engines = {name: rooms.enter(name) for name in ("alice", "bob", "carol")}
        world.run(lambda: all(rooms.outputs(name, Connected) for name in engines), limit=60)
        world.run_for(3.0)
        tracks = {}
        for name, engine in engines.items():
            engine.streams_in.listen(text=True, topic="t")
            tracks[name] = engine.publish_data_track(f"track of {name}", world.now)[1]
            world.poke(name)
        world.run_for(3.0)
        frames = []
        for name, engine in engines.items():
            for other in engine.state.remote_participants.values():
                frames += [engine.subscribe_data_track(track, 100, world.now) for track in other.data_tracks.values()]
            world.poke(name)
        assert len(frames) == 6
        for n in range(8):
            for name, engine in engines.items():
                attributes = dict.fromkeys("zyxwvabc", name)
                stream = engine.streams_out.open_text(world.now, topic="t", attributes=attributes)
                for packet in [stream.header, *stream.write("text" * n * 1000), *stream.finish({"q": "1", "p": "2"})]:
                    assert engine.send_packet(packet, now=world.now)
                engine.push_data_track(tracks[name], DataTrackFrame(bytes(n * 500), n), world.now)
                world.poke(name)
            world.run_for(0.1)
        got: dict[str, list[str]] = {name: [] for name in engines}
        gathered: dict[str, list[IncomingStream]] = {name: [] for name in engines}

        def read() -> bool:
            for name, engine in engines.items():
                opened = [event.stream for event in rooms.outputs(name, StreamOpened)]
                for stream in opened[len(gathered[name]) :]:
                    stream.gather(world.now)
                gathered[name] = opened
                got[name] = [str(stream.whole) for stream in opened if stream.done]
                if engine.owing:
                    world.poke(name)
            return all(len(texts) == 16 for texts in got.values())

        world.run(read, limit=60)
        for texts in got.values():
            assert sorted(texts, key=len) == ["text" * (n // 2) * 1000 for n in range(16)]
        assert sum(1 for stream in frames if stream.read() is not None) == 6
        engines["alice"].simulate(Scenario.FULL_RECONNECT, world.now)
        world.poke("alice")
        world.run(lambda: rooms.outputs("alice", Reconnected), limit=60)
        world.run_for(3.0)
        for name, engine in engines.items():
            engine.stop(world.now)
            world.poke(name)
        world.run_until_quiet(limit=120)
        assert all(engine.closed for engine in engines.values())
    return world


def media(seed: int) -> World:
    """A voice and a picture in three sizes through the server, over a bad network, with a change of layers."""
    from tests.sim.test_sfu_media import Layered, subscribed
    from tests.unit.room.party import BAD, Party

    with Party("alice", "bob", seed=seed, link=BAD) as party:
        show = Layered(party)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(2.0)
        show.play(2.0, layers=(0,))
        show.play(1.0)
        assert show.layers("bob")[1]
        return party.world


SCENARIOS: dict[str, Callable[[int], World]] = {
    "ping": ping,
    "dtls": dtls,
    "ice": ice,
    "sctp": sctp,
    "room": room,
    "old_server": old_server,
    "streams": streams,
    "media": media,
}


def main() -> None:
    name, seed = sys.argv[1:]
    world = SCENARIOS[name](int(seed))
    for line in world.trace:
        print(line)
    print(world.now, world.digest())


if __name__ == "__main__":
    main()
