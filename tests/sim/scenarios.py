"""Scenarios that must run the same every time: ``python -m tests.sim.scenarios NAME SEED`` prints one's whole trace."""

from __future__ import annotations

import sys
from collections.abc import Callable

from sansio.testing.netem import Link
from sansio.testing.pairs import A, B, dtls_pair
from sansio.testing.world import World
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


SCENARIOS: dict[str, Callable[[int], World]] = {"ping": ping, "dtls": dtls}


def main() -> None:
    name, seed = sys.argv[1:]
    world = SCENARIOS[name](int(seed))
    for line in world.trace:
        print(line)
    print(world.now, world.digest())


if __name__ == "__main__":
    main()
