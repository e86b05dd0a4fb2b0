"""Which way media takes through which firewall, and how soon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from . import coturn, servers
from .conftest import absent


def test_the_best_way_that_each_firewall_leaves(namespaces):
    program, turn_program = servers.program(), coturn.program()
    if program is None:
        absent("No server program to start in a namespace: set LIVEKIT_SERVER.")
    if turn_program is None:
        absent("No coturn: install it, so that turnserver is on the path.")
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "tests.interop.firewalls", str(program), str(turn_program)],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert {name: result.get("server") for name, result in found.items()} == {
        "open": "udp",
        "udp 443 only": "turn",
        "no udp": "tcp",
        "tcp 443 only": "turn",
    }
    ways = {name: [way for way, state in result["ways"].items() if state == "open"] for name, result in found.items()}
    assert sorted(ways["open"]) == ["relay over tls", "relay over udp", "tcp"]
    assert sorted(ways["udp 443 only"]) == ["relay over tls", "relay over udp"]
    assert sorted(ways["no udp"]) == ["relay over tls", "tcp"]
    assert ways["tcp 443 only"] == ["relay over tls"]
    assert all(result["seconds"] < 1.0 for result in found.values())
