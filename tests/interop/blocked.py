"""Joins a real server across a network that passes signalling and nothing else.

``unshare -n python -m tests.interop.blocked SERVER`` (as root) makes a second network namespace for the server, a cable
between the two, and rules at the server's end that drop every UDP datagram and every TCP packet for media. It prints a
line of JSON: what ``connect`` raised and its report. With its process all of that vanishes.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import attrs
import trio

import trio_client
from tests.driver.failing import check_error

from . import tokens

HERE, THERE = "10.90.0.1", "10.90.0.2"
KEY, SECRET = "devkey", "secret" * 6
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


def sh(command: str) -> None:
    subprocess.run(shlex.split(command), check=True, stdout=subprocess.DEVNULL)


def lay_cable(holder: int) -> None:
    """Between this namespace and that of a process; media is dropped at the other end."""
    inside = f"nsenter -t {holder} -n ip "
    sh("ip link set lo up")
    sh("ip link add near type veth peer name far")
    sh(f"ip link set far netns {holder}")
    sh(f"ip addr add {HERE}/24 dev near")
    sh("ip link set near up")
    sh(inside + "link set lo up")
    sh(inside + f"addr add {THERE}/24 dev far")
    sh(inside + "link set far up")
    sh(inside + "rule add pref 5 iif far ipproto udp blackhole")
    sh(inside + "rule add pref 6 iif far ipproto tcp dport 7881 blackhole")
    sh(inside + "rule add pref 10 lookup local")
    sh(inside + "rule del pref 0")


def wait_for(url: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(url)


async def join() -> dict[str, object]:
    token = tokens.join_token(KEY, SECRET, "room", "ours")
    start = trio.current_time()
    try:
        async with trio_client.connect(f"ws://{THERE}:7880", token):
            return {"error": None}
    except trio_client.ConnectError as error:
        check_error(error, token.split("."))
        seconds = trio.current_time() - start
        return {"error": type(error).__name__, "text": str(error), "seconds": seconds, **attrs.asdict(error.report)}


def main(program: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(CONFIG)
        holder = subprocess.Popen(["unshare", "-n", "sleep", "120"])
        running = [holder]
        try:
            time.sleep(0.3)  # until it is in a namespace of its own
            lay_cable(holder.pid)
            command = ["nsenter", "-t", str(holder.pid), "-n", program, "--config", str(config)]
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            wait_for(f"http://{THERE}:7880")
            print(json.dumps(trio.run(join)))
        finally:
            for process in running:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
