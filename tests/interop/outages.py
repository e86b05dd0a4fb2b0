"""A client and a real server with a network between them that swallows packets for a while.

``unshare -n python -m tests.interop.outages SERVER SECONDS...`` (as root) makes a second network namespace for the
server, a cable to it, and rules that drop silently, for each of so many seconds: signalling, media, and both. It prints
a line of JSON: for each outage the story that the room told, whether it is the same session, and what became of the
numbered messages that were published all the while. With its process all of that vanishes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import trio

import trio_client
from trio_client import (
    ConnectionState,
    DataReceived,
    DataUnacknowledged,
    Disconnected,
    NotAcknowledged,
    Reconnected,
    Reconnecting,
    SignalReconnecting,
)

from . import tokens
from .blocked import HERE, KEY, SECRET, THERE, sh, wait_for

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
RULES = {
    "signalling": ["pref 4 iif far ipproto tcp dport 7880 blackhole"],
    "media": ["pref 5 iif far ipproto udp blackhole", "pref 6 iif far ipproto tcp dport 7881 blackhole"],
    "both": ["pref 7 iif far blackhole"],
}
"""What reaches the server is dropped; so it does not answer, and its own packets are not answered either."""


def lay_cable(holder: int) -> str:
    """Between this namespace and that of a process; the words that make ``ip`` work over there."""
    inside = f"nsenter -t {holder} -n ip "
    sh("ip link set lo up")
    sh("ip link add near type veth peer name far")
    sh(f"ip link set far netns {holder}")
    sh(f"ip addr add {HERE}/24 dev near")
    sh("ip link set near up")
    sh(inside + "link set lo up")
    sh(inside + f"addr add {THERE}/24 dev far")
    sh(inside + "link set far up")
    sh(inside + "rule add pref 10 lookup local")
    sh(inside + "rule del pref 0")
    return inside


async def listen(room_name: str) -> None:
    """On the server's side, where no outage reaches: print the numbers that arrive, until the input ends."""
    got: list[int] = []
    token = tokens.join_token(KEY, SECRET, room_name, "listener")
    async with trio_client.connect(f"ws://{THERE}:7880", token) as room:
        room.on(DataReceived, lambda event: got.append(int(event.payload)) if not event.topic else None)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
    print(json.dumps(got))


async def outage(holder: int, inside: str, name: str, seconds: float) -> dict[str, object]:
    """One outage of a session that another one listens to."""
    room_name = f"{name} {seconds:g}"
    url = f"ws://{THERE}:7880"
    command = ["nsenter", "-t", str(holder), "-n", sys.executable, "-m", "tests.interop.outages", "--listen", room_name]
    listener = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert listener.stdout
    await trio.to_thread.run_sync(listener.stdout.readline)
    story: list[str] = []
    lost: list[int] = []
    sent = 0
    async with trio_client.connect(url, tokens.join_token(KEY, SECRET, room_name, "ours")) as room:
        for kind in (SignalReconnecting, Reconnecting, Reconnected, Disconnected):
            room.on(kind, lambda event: story.append(event.name))
        room.on(DataUnacknowledged, lambda event: lost.extend([int(packet.payload) for packet in event.packets]))
        sid = room.local_participant.sid

        async def publish() -> None:
            nonlocal sent
            while True:
                await room.local_participant.publish_data(b"%d" % sent)
                sent += 1
                await trio.sleep(0.05)

        with trio.CancelScope() as publishing:

            async def faults() -> None:
                await trio.sleep(1)
                for rule in RULES[name]:
                    sh(inside + "rule add " + rule)
                await trio.sleep(seconds)
                for rule in RULES[name]:
                    sh(inside + "rule del " + rule)
                back = trio.current_time()
                with suppress(NotAcknowledged):
                    await room.local_participant.publish_data(b"-1", topic="mark", wait_acked=True)
                await room.wait_until(lambda: room.state is ConnectionState.CONNECTED)
                found["back"] = round(trio.current_time() - back, 2)
                await trio.sleep(1)
                publishing.cancel()

            found: dict[str, object] = {}
            room.start_soon(faults)
            await publish()
        await trio.sleep(1)
        same = room.local_participant.sid == sid
    said, _ = await trio.to_thread.run_sync(listener.communicate)
    return {**found, "story": story, "same": same, "sent": sent, "got": json.loads(said), "lost": lost}


def main(program: str, *seconds: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder) / "config.yaml", Path(folder) / "log"
        config.write_text(CONFIG)
        holder = subprocess.Popen(["unshare", "-n", "sleep", "3600"])
        running = [holder]
        try:
            time.sleep(0.3)  # until it is in a namespace of its own
            inside = lay_cable(holder.pid)
            with log.open("ab") as output:
                command = ["nsenter", "-t", str(holder.pid), "-n", program, "--config", str(config)]
                running.append(subprocess.Popen(command, stdout=output, stderr=output))
            wait_for(f"http://{THERE}:7880")
            found = {}
            for length in seconds:
                for name in RULES:
                    found[f"{name} {float(length):g}"] = trio.run(outage, holder.pid, inside, name, float(length))
            print(json.dumps(found))
        finally:
            for process in running:
                process.kill()
                process.wait()


if __name__ == "__main__":
    if sys.argv[1] == "--listen":
        trio.run(listen, sys.argv[2])
    else:
        main(*sys.argv[1:])
