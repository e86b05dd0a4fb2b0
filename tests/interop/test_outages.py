"""Outages of a real server's network, told by nobody: every one ends in Reconnected, or is not even noticed.

With ``INTEROP_LONG`` set in the environment the outages last up to five minutes, and the whole of it 20.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from .namespaces import run_apart

SECONDS = (1, 5, 20, 60, 300) if os.environ.get("INTEROP_LONG") else (1, 5)
NOTICED = 19
"""Seconds of a silence of signalling that pings notice, after 15: so requests to connect are swallowed at its end."""
BUDGET, LAG = 120, 15
"""Seconds without media after which a session is given up, and until it is known that there is none."""
BACK = {"signalling": 6.0, "media": 6.0, "both": 14.0}
"""Seconds after the end of an outage within which the session is there again; two or seven between attempts."""


@pytest.mark.parametrize("kind", BACK)
def test_packets_vanish_for_a_while(namespaces, server_program, kind):
    times = (*SECONDS, NOTICED) if kind == "signalling" else SECONDS
    lengths = [str(seconds) for seconds in times]
    outages = run_apart("outages", server_program, kind, *lengths, timeout=sum(times) + 40 * len(times))
    assert list(outages) == lengths
    for length, outage in outages.items():
        what = {"outage": f"{kind} {length}", **{key: value for key, value in outage.items() if key != "got"}}
        print(what)
        story = outage["story"]
        assert story[-1] == "disconnected", what
        assert story.count("disconnected") == 1, what
        assert max(Counter(outage["got"]).values()) == 1, f"something has arrived twice: {what}"
        assert outage["got"] == sorted(outage["got"]), f"out of order: {what}"
        if kind != "signalling" and int(length) > BUDGET:
            assert BUDGET < outage["ended"] < BUDGET + LAG + 10, what
            continue
        assert not outage["ended"], what  # but when the block was left
        if len(story) > 1:
            assert story[-2] == "reconnected", what
        assert outage["back"] < BACK[kind], what
        missing = sorted({*range(outage["sent"])} - {*outage["got"]})
        assert set(missing) <= {*outage["unacknowledged"]}, f"what is missing was not reported: {what}"
        if outage["same"]:
            assert missing == [], what
        if int(length) <= 5:
            assert outage["same"], what
        if kind == "signalling":
            # Media goes on all the while; only a busy machine makes frames late.
            assert outage["same"], what
            assert outage["lost"] == 0, what
            assert outage["silence"] < 1.0, what
            if int(length) >= NOTICED:
                assert story == ["signal_reconnecting", "reconnected", "disconnected"], what
