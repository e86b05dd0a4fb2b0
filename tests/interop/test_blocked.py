"""A firewall that lets the signalling through and no media: the error names what was tried."""

from __future__ import annotations

from .namespaces import HERE, THERE, run_apart


def test_media_is_dropped_by_a_firewall(namespaces, server_program):
    found = run_apart("blocked", server_program)
    assert found["error"] == "MediaFailed"
    assert found["kind"] == "media_failed"
    assert 14 < found["seconds"] < 17
    assert "UDP" in found["advice"]
    udp = [line for line in found["pairs"] if f"{THERE}:7882 udp" in line]
    assert udp
    for line in udp:
        assert line.startswith(f"host {HERE}:")
        assert int(line.partition(" checks sent")[0].rpartition(" ")[2]) >= 5
        assert "failed" in line or "in progress" in line
        assert "no answer" in line
