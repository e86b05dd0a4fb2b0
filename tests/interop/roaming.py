"""A client with two networks to a real server, and what happens when one of them goes.

``unshare -n python -m tests.interop.roaming SERVER``: see ``namespaces``. There are two cables to the server, of which
the first is the way of choice. Tells for each fault how long reliable data was not acknowledged, what the room told,
and by which address it goes on.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from trio_client import Room

from .namespaces import Far, far_side, ip, main
from .ours import joined, story
from .servers import OwnServer

THERE = "10.90.9.1"
HERE = ("10.90.1.1", "10.90.2.1")
FAR = ("10.90.1.2", "10.90.2.2")


class Cables:
    """Two cables between this namespace and another, and an address of the server's that both lead to."""

    def __init__(self, far: Far) -> None:
        self.far = far
        far.ip("link add there type veth peer name nowhere")
        far.ip(f"addr add {THERE}/32 dev there")
        far.ip("link set there up")
        far.ip("link set nowhere up")
        for number in (0, 1):
            far.lay_cable(f"near{number}", f"far{number}")
            far.ip(f"addr add {FAR[number]}/24 dev far{number}")
            far.ip(f"link set far{number} up")
            far.ip(f"route replace {HERE[number]}/32 dev far{number} src {THERE}")
            self.plug(number)

    def plug(self, number: int) -> None:
        """The network comes up: an address, a route, and what comes from the address goes by this cable."""
        ip(f"link set near{number} up")
        ip(f"addr add {HERE[number]}/24 dev near{number}")
        ip(f"route add {THERE} via {FAR[number]} src {HERE[number]} metric {10 + number}")
        ip(f"route add {THERE} via {FAR[number]} table {10 + number}")
        ip(f"rule add from {HERE[number]} table {10 + number} pref {100 + number}")

    def unplug(self, number: int) -> None:
        """The network goes down, and the system knows."""
        ip(f"rule del pref {100 + number}")
        ip(f"addr del {HERE[number]}/24 dev near{number}")
        ip(f"link set near{number} down")

    def drop(self, number: int) -> None:
        """Everything on the cable vanishes from now on, and nobody is told."""
        self.far.ip(f"rule add pref {number + 1} iif far{number} blackhole")
        self.far.ip(f"rule add pref {number + 3} to {HERE[number]} blackhole")

    def pass_on(self, number: int) -> None:
        """The end of that."""
        self.far.ip(f"rule del pref {number + 1}")
        self.far.ip(f"rule del pref {number + 3}")


async def go(room: Room, fault: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    """Publish all the while and see how long nothing was acknowledged."""
    told = story(room)
    times: list[float] = []
    sid = room.local_participant.sid

    async def publish() -> None:
        while True:
            await room.local_participant.publish_data(b"x", wait_acked=True)
            times.append(trio.current_time())
            await trio.sleep(0.02)

    room.start_soon(publish)
    await trio.sleep(2)
    start = trio.current_time()
    await fault()
    await trio.sleep(8)
    edges = [start, *[at for at in times if at > start], trio.current_time()]
    gap = max([later - earlier for earlier, later in itertools.pairwise(edges)])
    (peer,) = json.loads(room.diagnostics())["core"]["transports"]["peers"]
    return {
        "gap": round(gap, 3),
        "story": list(told),
        "selected": peer["ice"]["selected"],
        "same session": room.local_participant.sid == sid,
    }


async def scenario(server: OwnServer, cables: Cables, name: str) -> dict[str, Any]:
    async def black_hole() -> None:
        cables.drop(0)

    async def unplugged() -> None:
        cables.unplug(0)

    async def other_network() -> None:
        cables.unplug(0)
        await trio.sleep(0.5)
        cables.plug(1)

    faults = {"black hole": black_hole, "unplugged": unplugged, "other network": other_network}
    if name == "other network":
        cables.unplug(1)
    async with joined(server, name, single=None) as room:
        found = await go(room, faults[name])
    if name == "black hole":
        cables.pass_on(0)
    else:
        cables.plug(0)
    return found


def roaming(program: str) -> dict[str, Any]:
    with far_side() as far:
        cables = Cables(far)
        with OwnServer(program, host=THERE, prefix=far.prefix) as server:
            names = ("black hole", "unplugged", "other network")
            return {name: trio.run(scenario, server, cables, name) for name in names}


if __name__ == "__main__":
    main(roaming)
