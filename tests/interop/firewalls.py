"""Joins a real server through firewalls, with a TURN server beside it.

``unshare -n python -m tests.interop.firewalls SERVER COTURN`` (as root) makes a second network namespace for both, a
cable between the two, and for each join rules at the far end that drop silently what the firewall does not pass. It
prints a line of JSON: for each firewall the seconds to connect, the way that the server says media goes, and ours.
"""

from __future__ import annotations

import json
import shlex
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

import trio_client

from . import coturn, tokens
from .blocked import HERE, KEY, SECRET, THERE, sh, wait_for

CONFIG = f"""
port: 7880
bind_addresses: ["{THERE}"]
rtc:
  udp_port: 7882
  tcp_port: 7881
  use_external_ip: false
  node_ip: {THERE}
  stun_servers: ["{THERE}:443"]
  turn_servers:
    - {{host: {THERE}, port: 443, protocol: udp, username: {coturn.USER}, credential: {coturn.PASSWORD}}}
    - {{host: {THERE}, port: 443, protocol: tls, username: {coturn.USER}, credential: {coturn.PASSWORD}}}
keys:
  {KEY}: {SECRET}
"""
UDP_443 = "pref 4 iif far ipproto udp dport 443 lookup local"
NO_UDP = "pref 5 iif far ipproto udp blackhole"
NO_MEDIA_TCP = "pref 6 iif far ipproto tcp dport 7881 blackhole"
FIREWALLS = {
    "open": [],
    "udp 443 only": [UDP_443, NO_UDP, NO_MEDIA_TCP],
    "no udp": [NO_UDP],
    "tcp 443 only": [NO_UDP, NO_MEDIA_TCP],
}


def lay_cable(holder: int) -> str:
    """Between this namespace and that of a process; returns the words that make ``ip`` work over there."""
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


async def join(relay: coturn.Coturn, log: Path) -> dict[str, object]:
    trusting = ssl.create_default_context()
    relay.authority.configure_trust(trusting)
    options = trio_client.ConnectOptions(ssl_context=trusting, single_peer_connection=True)
    token = tokens.join_token(KEY, SECRET, "room", "ours")
    before = len(log.read_text())
    start = trio.current_time()
    try:
        async with trio_client.connect(f"ws://{THERE}:7880", token, options=options) as room:
            seconds = trio.current_time() - start
            await room.local_participant.publish_data(b"hello")
            await trio.sleep(1.5)
            (peer,) = json.loads(room.diagnostics())["core"]["transports"]["peers"]
            ways = {way["kind"]: way["state"] for way in peer["paths"]}
    except trio_client.ConnectError as error:
        return {"error": str(error), "pairs": error.report.pairs, "ways": error.report.ways}
    said = log.read_text()[before:].partition('"connectionType": "')[2].partition('"')[0]
    return {"seconds": round(seconds, 3), "server": said, "selected": peer["ice"]["selected"], "ways": ways}


def main(program: str, turn_program: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder) / "config.yaml", Path(folder) / "log"
        config.write_text(CONFIG)
        holder = subprocess.Popen(["unshare", "-n", "sleep", "120"])
        running = [holder]
        try:
            time.sleep(0.3)  # until it is in a namespace of its own
            inside = lay_cable(holder.pid)
            prefix = ("nsenter", "-t", str(holder.pid), "-n")
            with log.open("ab") as output:
                command = [*prefix, program, "--config", str(config)]
                running.append(subprocess.Popen(command, stdout=output, stderr=output))
            relay = coturn.Coturn(turn_program, host=THERE, port=443, prefix=prefix)
            running.append(relay.process)
            wait_for(f"http://{THERE}:7880")
            found: dict[str, object] = {}
            trio.run(join, relay, log)  # so that no firewall is charged with the imports
            for name, rules in FIREWALLS.items():
                for rule in rules:
                    subprocess.run(shlex.split(inside + "rule add " + rule), check=True)
                found[name] = trio.run(join, relay, log)
                for rule in rules:
                    subprocess.run(shlex.split(inside + "rule del " + rule), check=True)
            print(json.dumps(found))
        finally:
            for process in running:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
