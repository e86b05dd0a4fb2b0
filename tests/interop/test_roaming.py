"""One of two networks goes: media and data go on by the other, in the same session."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from . import servers
from .conftest import absent


def test_another_network_takes_over(namespaces):
    program = servers.program()
    if program is None:
        absent("No server program to start in a namespace: set LIVEKIT_SERVER.")
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "tests.interop.roaming", str(program)],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert all(result["same session"] for result in found.values())
    assert found["black hole"]["story"] == []  # signalling has not noticed anything yet
    for name in ("unplugged", "other network"):
        assert found[name]["story"] == ["signal_reconnecting", "reconnected"]
    # On an idle machine 3.0 s, where nobody tells of the fault; 0.1 s and 0.15 s, where the kernel does.
    most = {"black hole": 6.0, "unplugged": 3.0, "other network": 3.5}
    assert {name: result["gap"] for name, result in found.items() if result["gap"] > most[name]} == {}
