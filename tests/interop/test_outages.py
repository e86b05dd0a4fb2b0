"""Outages of a real server's network, told by nobody: every one ends in Reconnected, or is not even noticed.

With ``INTEROP_LONG`` set in the environment the outages last up to a minute; that takes ten minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from . import servers
from .conftest import absent

SECONDS = ("1", "5", "20", "60") if os.environ.get("INTEROP_LONG") else ("1", "5")


def test_packets_vanish_for_a_while(namespaces):
    program = servers.program()
    if program is None:
        absent("No server program to start in a namespace: set LIVEKIT_SERVER.")
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "tests.interop.outages", str(program), *SECONDS],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert run.returncode == 0, run.stderr
    for name, outage in json.loads(run.stdout).items():
        story = outage["story"]
        assert story[-1] == "disconnected", name  # when the block was left, and not before
        assert story.count("disconnected") == 1, name
        if len(story) > 1:
            assert story[-2] == "reconnected", name
        assert max(Counter(outage["got"]).values()) == 1, f"{name}: something has arrived twice"
        assert outage["got"] == sorted(outage["got"]), f"{name}: out of order"
        missing = sorted({*range(outage["sent"])} - {*outage["got"]})
        assert set(missing) <= {*outage["lost"]}, f"{name}: what is missing was not reported"
        if outage["same"]:
            assert missing == [], name
        if name in ("signalling 1", "signalling 5", "media 1", "media 5", "both 1", "both 5"):
            assert outage["same"], name
