"""A firewall that lets the signalling through and no media: the error names what was tried."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import servers
from .conftest import absent


@pytest.fixture
def namespaces() -> None:
    """Skip unless this process may make network namespaces with a cable between them."""
    probe = "ip link add near type veth peer name far"
    able = os.geteuid() == 0 and all(shutil.which(name) for name in ("unshare", "nsenter", "ip"))
    if able:
        able = subprocess.run(["unshare", "-n", *probe.split()], capture_output=True, check=False).returncode == 0
    if not able:
        absent("No network namespaces (root, unshare, nsenter and ip are needed).")


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
