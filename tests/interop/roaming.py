"""A client with two networks to a real server, and what happens when one of them goes.

``unshare -n python -m tests.interop.roaming SERVER`` (as root) makes a second network namespace for the server and two
cables to it, of which the first is the way of choice. It prints a line of JSON: for each fault how long reliable data
was not acknowledged, what the room told, and by which address it goes on. With its process all of that vanishes.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

import trio_client
from trio_client import Disconnected, Reconnected, Reconnecting, Room, SignalReconnecting

from . import tokens
from .blocked import KEY, SECRET, sh, wait_for

THERE = "10.90.9.1"
HERE = ("10.90.1.1", "10.90.2.1")
FAR = ("10.90.1.2", "10.90.2.2")
CONFIG = f"""
port: 7880
bind_addresses: ["{THERE}"]
rtc:
  udp_port: 7882
  tcp_port: 7881
  use_external_ip: false
  node_ip: {THERE}
  stun_servers: ["127.0.0.1:3478"]
keys:
  {KEY}: {SECRET}
"""


class Cables:
    """Two cables between this namespace and that of a process."""

    def __init__(self, holder: int) -> None:
        self.inside = f"nsenter -t {holder} -n ip "
        sh("ip link set lo up")
        sh(self.inside + "link set lo up")
        sh(self.inside + "link add there type veth peer name nowhere")
        sh(self.inside + f"addr add {THERE}/32 dev there")
        sh(self.inside + "link set there up")
        sh(self.inside + "link set nowhere up")
        for number in (0, 1):
            sh(f"ip link add near{number} type veth peer name far{number}")
            sh(f"ip link set far{number} netns {holder}")
            sh(self.inside + f"addr add {FAR[number]}/24 dev far{number}")
            sh(self.inside + f"link set far{number} up")
            sh(self.inside + f"route replace {HERE[number]}/32 dev far{number} src {THERE}")
            self.plug(number)

    def plug(self, number: int) -> None:
        """The network comes up: an address, a route, and what comes from the address goes by this cable."""
        sh(f"ip link set near{number} up")
        sh(f"ip addr add {HERE[number]}/24 dev near{number}")
        sh(f"ip route add {THERE} via {FAR[number]} src {HERE[number]} metric {10 + number}")
        sh(f"ip route add {THERE} via {FAR[number]} table {10 + number}")
        sh(f"ip rule add from {HERE[number]} table {10 + number} pref {100 + number}")

    def unplug(self, number: int) -> None:
        """The network goes down, and the system knows."""
        sh(f"ip rule del pref {100 + number}")
        sh(f"ip addr del {HERE[number]}/24 dev near{number}")
        sh(f"ip link set near{number} down")

    def drop(self, number: int) -> None:
        """Everything on the cable vanishes from now on, and nobody is told."""
        sh(self.inside + f"rule add pref {number + 1} iif far{number} blackhole")
        sh(self.inside + f"rule add pref {number + 3} to {HERE[number]} blackhole")

    def pass_on(self, number: int) -> None:
        """The end of that."""
        sh(self.inside + f"rule del pref {number + 1}")
        sh(self.inside + f"rule del pref {number + 3}")


async def go(room: Room, fault: Callable[[], Awaitable[None]], story: list[str]) -> dict[str, object]:
    """Publish all the while and see how long nothing was acknowledged."""
    times: list[float] = []

    async def publish() -> None:
        while True:
            await room.local_participant.publish_data(b"x", wait_acked=True)
            times.append(trio.current_time())
            await trio.sleep(0.02)

    room.start_soon(publish)
    await trio.sleep(1)
    start = trio.current_time()
    await fault()
    await trio.sleep(8)
    edges = [start, *[at for at in times if at > start], trio.current_time()]
    gap = max(later - earlier for earlier, later in itertools.pairwise(edges))
    (peer,) = json.loads(room.diagnostics())["core"]["transports"]["peers"]
    return {"gap": round(gap, 3), "story": list(story), "selected": peer["ice"]["selected"]}


async def scenario(cables: Cables, name: str) -> dict[str, object]:
    story: list[str] = []

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
    token = tokens.join_token(KEY, SECRET, name, "ours")
    async with trio_client.connect(f"ws://{THERE}:7880", token) as room:
        for kind in (SignalReconnecting, Reconnecting, Reconnected, Disconnected):
            room.on(kind, lambda event: story.append(event.name))
        await trio.sleep(1)
        sid = room.local_participant.sid
        found = await go(room, faults[name], story)
        found["same session"] = room.local_participant.sid == sid
    if name == "black hole":
        cables.pass_on(0)
    else:
        cables.plug(0)
    return found


def main(program: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder) / "config.yaml", Path(folder) / "log"
        config.write_text(CONFIG)
        holder = subprocess.Popen(["unshare", "-n", "sleep", "120"])
        running = [holder]
        try:
            time.sleep(0.3)  # until it is in a namespace of its own
            cables = Cables(holder.pid)
            with log.open("ab") as output:
                command = ["nsenter", "-t", str(holder.pid), "-n", program, "--config", str(config)]
                running.append(subprocess.Popen(command, stdout=output, stderr=output))
            wait_for(f"http://{THERE}:7880")
            found = {}
            for name in ("black hole", "unplugged", "other network"):
                found[name] = trio.run(scenario, cables, name)
            print(json.dumps(found))
        finally:
            for process in running:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
