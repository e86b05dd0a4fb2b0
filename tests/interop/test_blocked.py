"""A firewall that lets the signalling through and no media: the error names what was tried."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from . import servers
from .conftest import absent


def test_media_is_dropped_by_a_firewall(namespaces):
    program = servers.program()
    if program is None:
        absent("No server program to start in a namespace: set LIVEKIT_SERVER.")
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "tests.interop.blocked", str(program)],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["error"] == "MediaFailed"
    assert found["kind"] == "media_failed"
    assert 14 < found["seconds"] < 17
    assert "UDP" in found["advice"]
    udp = [line for line in found["pairs"] if "10.90.0.2:7882 udp" in line]
    assert udp
    for line in udp:
        assert line.startswith("host 10.90.0.1:")
        assert int(line.partition(" checks sent")[0].rpartition(" ")[2]) >= 5
        assert "failed" in line or "in progress" in line
        assert "no answer" in line
